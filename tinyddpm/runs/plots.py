"""Figures of a run: a grid of samples, how they come from noise, the loss, the bound. All as the bytes of a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from .. import forward

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grid(samples: np.ndarray, columns: int | None = None) -> bytes:
    """Samples as one PNG: pictures in rows and columns, points where they lie."""
    return _png(picture(samples, columns))


def way(states: Iterable[np.ndarray], shown: int) -> bytes:
    """Some of the states of a sampler as one PNG, evenly spaced from noise to the last: a row for each picture.

    Raises:
        ValueError: when there are fewer than are to be shown.
    """
    rows = np.stack([*states], 1)
    if shown > rows.shape[1]:
        raise ValueError(f"states must be at most {rows.shape[1]}, got {shown}")
    chosen = rows[:, np.linspace(0, rows.shape[1] - 1, shown).round().astype(int)]
    return grid(chosen.reshape(-1, *rows.shape[2:]), shown)


def gif(states: Iterable[np.ndarray], last: float = 2.0) -> bytes:
    """The states of a sampler as a GIF, which shows the last of them for some seconds."""
    frames = [Image.fromarray(picture(state)) for state in states]
    durations = [60] * (len(frames) - 1) + [int(1000 * last)]
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def loss(log: Sequence[dict[str, Any]]) -> bytes:
    """The loss over the steps, from the lines of a log, as a PNG."""
    figure, ax = _figure(6, 3)
    ax.semilogy([line["step"] for line in log], [line["loss"] for line in log])
    ax.set(xlabel="step", ylabel="loss")
    return _drawn(figure, bbox_inches="tight")


def bound(terms: Sequence[float]) -> bytes:
    """The terms of the bound over the times, L_1 to L_{T-1}, as a PNG; L_0 is of another kind and can be negative."""
    figure, ax = _figure(6, 3)
    ax.loglog(range(2, len(terms)), terms[1:-1])
    ax.set(xlabel="t", ylabel="bits per dimension")
    return _drawn(figure, bbox_inches="tight")


def picture(samples: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Samples as the pixels of one picture, (height, width, 3) of uint8; small pictures are enlarged, smoothly."""
    if samples.ndim == 2:
        return _scatter(samples)
    n, _, height, width = samples.shape
    columns, scale = columns or math.ceil(math.sqrt(n)), max(1, 48 // height)
    rows, edge = math.ceil(n / columns), 2
    # Eight smooth strokes are easier to read than sixty-four squares.
    seen = torch.from_numpy(samples[:, :3])  # without the transparency
    large = torch.nn.functional.interpolate(seen, scale_factor=scale, mode="bicubic")
    height, width = large.shape[2:]
    tiles = np.full((rows * columns, height + edge, width + edge, 3), 255, np.uint8)
    tiles[:n, :height, :width] = np.moveaxis(forward.from_unit_range(large), 1, 3)
    parted = tiles.reshape(rows, columns, height + edge, width + edge, 3).swapaxes(1, 2)
    return parted.reshape(rows * (height + edge), columns * (width + edge), 3)


def _scatter(points: np.ndarray) -> np.ndarray:
    """Points in the plane where they lie; points on a line as a histogram."""
    figure, ax = _figure(4, 4)
    if points.shape[1] == 1:
        ax.hist(points[:, 0], bins=60, range=(-3, 3), density=True)
    else:
        ax.scatter(*points[:, :2].T, s=2)
        ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    return np.asarray(Image.open(BytesIO(_drawn(figure))).convert("RGB"))


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure  # here, since it takes long to import

    figure = Figure((width, height), dpi=100)
    return figure, figure.subplots()


def _drawn(figure: Figure, **options: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", **options)
    return file.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
