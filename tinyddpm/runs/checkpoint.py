"""A run as files in a folder: its choices, its state, its log. Each file is whole or absent."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from .. import data
from ..files import write, write_json
from ..train.config import FREE, Config

CONFIG, LAST, BEST, LOG, REPORT = "config.json", "last.safetensors", "best.safetensors", "log.jsonl", "report.json"

LOCK = ".lock"
"""The file that is locked while a run is trained; it is there only then, or after the process was killed."""


@contextmanager
def opened(config: Config, facts: dict[str, Any]) -> Iterator[Path]:
    """The folder of a new run, or of the one to be resumed, for this process alone; its choices and its data are in it.

    Raises:
        ValueError: when the folder is taken, or holds a run with other choices or other data, with a line for each
            difference; or when another process trains that run.
    """
    path = config.out or _numbered(Path(config.data).stem)
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if not config.resume and any(entry.name != LOCK for entry in path.iterdir()):
            raise ValueError(f"out must be a new or an empty folder, got {str(path)!r}; --resume goes on with a run")
        if not (path / CONFIG).is_file():
            write_json(path / CONFIG, {"config": config.saved(), "data": facts})
        before, facts_before = read_config(path)
        now = config.saved()
        differences = [
            f"{name} must stay {was!r}, as in the run {str(path)!r}, got {now[name]!r}"
            for name, was in before.saved().items()
            if name not in (*FREE, "data") and was != now[name]
        ]
        differences += [
            f"data must stay the same: its {name} {'were' if name.endswith('s') else 'was'} {_short(was)}, now {_short(facts.get(name))}"
            for name, was in facts_before.items()
            if was != facts.get(name)
        ]
        if differences:
            raise ValueError("\n".join(differences))
        for name in (CONFIG, LAST, BEST, LOG, REPORT, "loss.png", "samples*.png"):
            for left in path.glob(f".{name}.*.part"):
                left.unlink(missing_ok=True)  # of a process that was killed while it saved
        yield path


def _short(value: Any) -> str:
    return text if len(text := str(value)) <= 60 else f"{text[:60]}..."


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out of a run. The system takes the lock back when this process ends, however it does.

    Where a file system has no locks, as some networks, nobody is kept out.
    """
    file, windows = path / LOCK, sys.platform == "win32"
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT)
        try:
            _lock(handle)
            with suppress(FileNotFoundError):  # the one who had the lock has just removed the file
                if os.path.samestat(os.fstat(handle), os.stat(file)):
                    break
            os.close(handle)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            raise ValueError(
                f"run {str(path)!r} is being trained by another process, wait until it has ended"
            ) from None
        except OSError:
            break
    try:
        yield
    finally:
        if windows:  # which removes no open file; elsewhere it must be gone before others get the lock
            os.close(handle)
        with suppress(OSError):
            file.unlink()
        if not windows:
            os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file, or raise an error at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _numbered(name: str) -> Path:
    """A new folder in runs, with a number that no other has."""
    Path("runs").mkdir(exist_ok=True)
    for number in count(1):
        path = Path("runs") / f"{name}-{number}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise AssertionError


def read_config(path: Path) -> tuple[Config, dict[str, Any]]:
    """The choices of a run, and the facts of its data."""
    try:
        saved = json.loads((path / CONFIG).read_text("utf-8"))
        return Config.of(saved["config"]), saved["data"]
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{str(path / CONFIG)!r} is not the config of a run: {problem}") from None


def read_data(path: Path) -> data.Data:
    """The dataset of a run.

    Raises:
        ValueError: when it is no longer what the run was trained on.
    """
    config, facts = read_config(path)
    dataset = data.load(config.data, config.held_out)
    if data.checksum(dataset) != facts["checksum"]:
        raise ValueError(
            f"data {config.data!r} has changed since the run {str(path)!r} was trained; now it is {dataset}"
        )
    return dataset


def save(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint: all of it in one file, so that what is in it always belongs together, with a checksum.

    Raises:
        OSError: when it cannot be written; the one before it is kept then.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(state)
    content = safetensors.torch.save(tensors, metadata={"state": text, "checksum": _checksum(tensors, text)})
    write(path, lambda file: file.write(content))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save` wrote. Only numbers and JSON are read, so that no file can run code.

    Raises:
        ValueError: when the file is damaged, be it in a single bit.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        if metadata["checksum"] != _checksum(tensors, metadata["state"]):
            raise ValueError("its checksum is that of other numbers")
        return tensors, json.loads(metadata["state"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{str(path)!r} is damaged: {problem}; resume from a copy of it, or begin anew") from None


def _checksum(tensors: dict[str, torch.Tensor], text: str) -> str:
    total = zlib.crc32(text.encode())
    for name, value in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), total)
        total = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return f"{total:08x}"
