"""A run as files in a folder: its choices, its state, its log. Each file is whole or absent."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from ..files import write
from .config import FREE, Config

CONFIG, LAST, BEST, LOG = "config.json", "last.safetensors", "best.safetensors", "log.jsonl"


def create(config: Config, facts: dict[str, Any]) -> Path:
    """The folder of a new run, with its choices in it and the facts of the data; or of the one to be resumed.

    Raises:
        ValueError: when the folder is taken, or holds a run with other choices or other data.
    """
    path = config.out or _numbered(Path(config.data).stem)
    path.mkdir(parents=True, exist_ok=True)
    if not config.resume and any(path.iterdir()):
        raise ValueError(f"out must be a new or an empty folder, got {str(path)!r}; --resume goes on with a run")
    if not (path / CONFIG).is_file():
        write_json(path / CONFIG, {"config": config.saved(), "data": facts})
    before, known = read_config(path)
    was, now = {**before.saved(), "data": known}, {**config.saved(), "data": facts}
    for name in was:
        if name not in FREE and was[name] != now[name]:
            raise ValueError(f"{name} must stay {was[name]!r}, as in the run {str(path)!r}, got {now[name]!r}")
    for left in (left for name in (LAST, BEST) for left in path.glob(f".{name}.*.part")):
        left.unlink(missing_ok=True)  # of a run that was killed while it saved
    return path


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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as `write` does."""
    write(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def save(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint: all of it in one file, so that what is in it always belongs together.

    Raises:
        OSError: when it cannot be written; the one before it is kept then.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = safetensors.torch.save(tensors, metadata={"state": json.dumps(state)})
    write(path, lambda file: file.write(content))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save` wrote. Only numbers and JSON are read, so that no file can run code.

    Raises:
        ValueError: when the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["state"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{str(path)!r} is damaged: {problem}; resume from a copy of it, or begin anew") from None


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], prefix: str, file: str) -> None:
    """Give a model the numbers that a file has for it, under names that begin with a prefix.

    Raises:
        ValueError: when they are those of another network.
    """
    try:
        model.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in model.state_dict()})
    except (KeyError, RuntimeError) as problem:
        raise ValueError(f"{file} does not belong to its config: {problem}") from None
