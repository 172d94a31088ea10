"""Files, written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def write(path: Path, writer: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all: into another beside it, which takes its place once it is on disk.

    Raises:
        OSError: when it cannot be written; what was there before is kept then.
    """
    begun = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(begun, "wb") as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(begun, path)
    except OSError as problem:
        raise OSError(f"{path} could not be written ({problem}); what was saved before is kept") from problem
    finally:
        with suppress(OSError):  # on a disk that cannot be written to, this fails too
            begun.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as `write` does."""
    write(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


@contextmanager
def optional() -> Iterator[None]:
    """For files that nothing depends on, such as caches and pictures: one that cannot be written is only reported."""
    try:
        yield
    except OSError as problem:
        print(f"tinyddpm: {problem}", file=sys.stderr)
