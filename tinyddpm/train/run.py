"""A run on disk: a folder with the choices, weights, log and samples. Each file is whole or absent."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from matplotlib import image

from .. import forward
from ..files import write
from . import sample
from .config import Config
from .unet import UNet

CONFIG, WEIGHTS, LOG = "config.json", "model.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Run:
    """A folder, the choices made, and the network with its averaged weights."""

    path: Path
    config: Config
    shape: tuple[int, int, int]
    model: UNet

    def sample(self, n: int, steps: int, seed: int, sampler: str = "ancestral") -> np.ndarray:
        """Samples in [-1, 1], shape (n, channels, height, width); made 500 at a time, to save memory."""
        rng = torch.Generator().manual_seed(seed)
        schedule = forward.schedule(self.config.schedule, self.config.T)
        parts = [
            sample(
                self.model,
                schedule,
                (min(500, n - done), *self.shape),
                rng,
                sampler,
                steps,
                variance="posterior",
                predicts=self.config.predicts,
            )
            for done in range(0, n, 500)
        ]
        return torch.cat(parts).clamp(-1, 1).numpy()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as `write` does."""
    write(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def write_grid(path: Path, samples: np.ndarray) -> None:
    """Write pictures in [-1, 1], shape (n, channels, height, width), as one PNG; small ones are enlarged, smoothly."""
    n, _, height, width = samples.shape
    columns, scale = math.ceil(math.sqrt(n)), max(1, 48 // height)
    rows, edge = math.ceil(n / columns), 2
    # The eye reads eight smooth strokes more easily than sixty-four squares.
    large = torch.nn.functional.interpolate(torch.from_numpy(samples), scale_factor=scale, mode="bicubic")
    height, width = large.shape[2:]
    tiles = np.full((rows * columns, height + edge, width + edge, 3), 255, np.uint8)
    tiles[:n, :height, :width] = np.moveaxis(forward.from_unit_range(large), 1, 3)
    grid = tiles.reshape(rows, columns, height + edge, width + edge, 3).swapaxes(1, 2)
    png = BytesIO()
    image.imsave(png, grid.reshape(rows * (height + edge), columns * (width + edge), 3), format="png")
    write(path, lambda file: file.write(png.getvalue()))


def create(config: Config, shape: tuple[int, ...]) -> Path:
    """A new folder for a run, with a number that no other has, and its choices in it."""
    config.out.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = config.out / f"{config.data}-{number}"
        try:
            path.mkdir()
            break
        except FileExistsError:
            continue
    write_json(path / CONFIG, {**asdict(config), "out": str(config.out), "shape": shape})
    return path


def save(path: Path, model: UNet, average: dict[str, torch.Tensor], step: int) -> None:
    """Write the weights, the averaged and the raw ones, in one file, so that they always belong together."""
    tensors = {f"average.{name}": value for name, value in average.items()}
    tensors |= {f"raw.{name}": value.detach() for name, value in model.named_parameters()}
    content = safetensors.torch.save(tensors, metadata={"step": str(step)})
    write(path / WEIGHTS, lambda file: file.write(content))


def load(path: Path) -> Run:
    """A run from its folder.

    Raises:
        ValueError: when there is none, naming those that there are.
    """
    if not (path / CONFIG).is_file():
        near = (
            *path.glob(f"*/{CONFIG}"),
            *path.parent.glob(f"*/{CONFIG}"),
            *Path("runs").glob(f"*/{CONFIG}"),
        )
        known = ", ".join(sorted({str(found.parent) for found in near})) or "none here"
        raise ValueError(f"run must be the folder of a run, got {str(path)!r}; there are: {known}")
    if not (path / WEIGHTS).is_file():
        raise ValueError(f"run {str(path)!r} has no {WEIGHTS}: it was stopped before its first save")
    chosen = json.loads((path / CONFIG).read_text("utf-8"))
    shape = tuple(chosen.pop("shape"))
    config = Config(**{**chosen, "out": Path(chosen["out"])}).check()
    with torch.device("meta"):  # no first weights are drawn, they would only be replaced
        model = UNet(shape[0], config.width)
    weights = safetensors.torch.load_file(path / WEIGHTS)
    averaged = {name: weights[f"average.{name}"] for name, _ in model.named_parameters()}
    model.load_state_dict(averaged, assign=True)
    return Run(path, config, shape, model.eval())
