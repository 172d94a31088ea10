"""Files, written whole or not at all."""

import pytest

from tinyddpm.files import write


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "kept"
    write(path, lambda file: file.write(b"old"))
    with open(path, "rb") as reader:
        write(path, lambda file: file.write(b"new"))
        assert reader.read() == b"old"  # who has it open keeps the old file, whole
    assert path.read_bytes() == b"new"

    def fails(file):
        file.write(b"ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write(path, fails)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
