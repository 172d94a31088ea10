"""Files, written whole or not at all."""

import errno

import pytest

from tinyddpm.files import optional, write


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


def test_the_message_of_a_disk_that_cannot_be_written_to_is_seen(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", read_only)
    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: read_only())
    with pytest.raises(OSError, match=r"kept could not be written .*Read-only file system"):
        write(tmp_path / "kept", lambda file: file.write(b"new"))


def test_a_file_that_nothing_depends_on_is_only_reported(tmp_path, capsys):
    (tmp_path / "file").touch()
    with optional():
        write(tmp_path / "file" / "kept", lambda file: file.write(b"new"))  # no folder
    assert "kept could not be written" in capsys.readouterr().err
    with pytest.raises(ValueError), optional():
        raise ValueError
