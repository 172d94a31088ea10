"""Files, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write(path: Path, writer: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all: into another beside it, which takes its place once it is on disk."""
    begun = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(begun, "wb") as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(begun, path)
    finally:
        begun.unlink(missing_ok=True)
