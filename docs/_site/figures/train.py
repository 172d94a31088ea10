"""The figures of chapter 6."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.patches import FancyBboxPatch

from tinyddpm import forward, mixture, train
from tinyddpm.train.config import Config
from tinyddpm.train.unet import network

from ..draw import snippets
from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, density_of, figure

DATA = mixture.two_classes()
DOCS = Path(__file__).parents[2]
PAGE, RING = DOCS / "train.md", DOCS / "assets" / "ring.npz"


def first_network() -> Figure:
    """What the page's own loop has learned: its snippets are run, up to the one that counts the samples."""
    names: dict[str, Any] = {}
    for code in snippets(PAGE):
        if "near" in names:
            break
        with redirect_stdout(StringIO()):
            exec(compile(code, PAGE.name, "exec"), names)
    fig, axes = figure(1, 3, 2.3)
    shown = {"noise": names["start"], "samples": names["samples"], "data": names["points"][:1000]}
    for ax, (title, x) in zip(axes, shown.items(), strict=True):
        _dots(ax, np.asarray(x))
        _circles(ax, 3)
        ax.set_title(f"{title}: {names['near'](x)}")
        ax.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal")
        ax.set_axis_off()
    return fig


def unet() -> Figure:
    """The network of the digits: sizes and channels are read from the network itself."""
    model, edge = network(Config(), (1, 8, 8), 10), 8
    fig, ax = _canvas(5.5)
    left, centre, right = 1.03, 3.0, 4.97
    for level, (top, bottom) in enumerate(((0.72, 3.28), (3.36, 5.45))):
        _box(ax, centre, (top + bottom) / 2, "", GREY, 5.94, bottom - top, alpha=0.08, line=0)
        place = (centre, (2.9, 4.4)[level])
        ax.annotate(f"level {level + 1}: {edge >> level}x{edge >> level}", place, ha="center", weight="bold")

    def block(x: float, y: float, part: Any) -> None:
        sizes = f"{part.conv_in.in_channels} → {part.conv_in.out_channels}"
        _box(ax, x, y, f"block\n{sizes}", BLUE)
        ax.plot(x + 0.67, y - 0.16, "o", color=ORANGE, markersize=8)

    def conv(x: float, y: float, name: str, part: Any, first: int = 0) -> None:
        _box(ax, x, y, f"{name}\n{first or part.in_channels} → {part.out_channels}", GREY)

    ax.annotate("$x_t$: 1 channel", (left, 0.32), ha="center", va="center")
    ax.annotate("output: 1 channel", (right, 0.32), ha="center", va="center")
    conv(left, 1.1, "convolution", model.enter)
    conv(right, 1.1, "norm, SiLU, conv.", model.leave)
    for level, y in enumerate((2.0, 3.75)):
        block(left, y, model.down[level])
        block(right, y, model.up[level])
        channels = model.down[level].conv_out.out_channels
        _arrow(ax, (left + 0.88, y), (right - 0.88, y), PINK)
        ax.annotate(f"skip: {channels}", (centre, y + 0.22), ha="center", va="center", color=PINK)
    conv(left, 2.9, "halve: stride 2", model.shrink[0])
    conv(right, 2.9, "double: 2x2", model.grow[0])
    block(left, 4.95, model.middle_in)
    _box(ax, centre, 4.95, f"attention\n{model.attention.out.out_channels}", VIOLET, 1.6)
    block(right, 4.95, model.middle_out)
    numbers = model.condition.layers[-1].out_features
    _box(ax, centre, 0.62, f"$t$, class, shift\n→ {numbers} numbers", ORANGE, 1.75)
    ax.plot(centre, 1.14, "o", color=ORANGE, markersize=8)
    ax.annotate("to each block", (centre, 1.42), ha="center", va="center")
    for above, below in ((0.45, 0.8), (1.4, 1.7), (2.3, 2.6), (3.2, 3.45), (4.05, 4.65)):
        _arrow(ax, (left, above), (left, below))
        _arrow(ax, (right, below), (right, above))
    _arrow(ax, (left + 0.88, 4.95), (centre - 0.8, 4.95))
    _arrow(ax, (centre + 0.8, 4.95), (right - 0.88, 4.95))
    return fig


def residual_block() -> Figure:
    fig, ax = _canvas(2.5)
    y, places = 1.2, (0.68, 1.5, 2.32, 3.14, 3.96, 4.78)
    words = ("norm\nSiLU", "conv.\n3x3", "norm", "scale\nshift", "SiLU\ndropout", "conv.\n3x3")
    for x, text in zip(places, words, strict=True):
        _box(ax, x, y, text, ORANGE if text == "scale\nshift" else BLUE if "conv" in text else GREY, 0.7)
    ends = [(0.18, 0.33), *((a + 0.35, b - 0.35) for a, b in pairwise(places)), (5.13, 5.34)]
    for start, stop in ends:
        _arrow(ax, (start, y), (stop, y))
    ax.annotate("$x$", (0.1, y), ha="center", va="center")
    _box(ax, 3.14, 0.32, "linear layer of the embedding", ORANGE, 2.75, 0.38)
    _arrow(ax, (3.14, 0.51), (3.14, 0.9))
    ax.annotate("+", (5.5, y), ha="center", va="center", size=16)
    ax.plot([0.1, 0.1, 5.5], [1.35, 2.05, 2.05], color=PINK, linewidth=1.4)
    _arrow(ax, (5.5, 2.05), (5.5, 1.36), PINK)
    _arrow(ax, (5.64, y), (5.95, y))
    ax.annotate("shortcut", (2.8, 2.27), ha="center", va="center", color=PINK)
    return fig


def _canvas(height: float) -> tuple[Figure, Any]:
    """An empty figure measured in inches, downwards from its upper left corner."""
    fig, ax = figure(1, 1, height)
    fig.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, 6), ylim=(height, 0))
    ax.set_axis_off()
    return fig, ax


def _box(
    ax: Any,
    x: float,
    y: float,
    text: str,
    color: str,
    wide: float = 1.75,
    high: float = 0.6,
    alpha: float = 0.2,
    line: float = 1.2,
) -> None:
    corner = (x - wide / 2, y - high / 2)
    shape = {"boxstyle": "round,pad=0,rounding_size=0.07", "linewidth": line, "edgecolor": color}
    ax.add_patch(FancyBboxPatch(corner, wide, high, facecolor=(color, alpha), **shape))
    ax.annotate(text, (x, y), ha="center", va="center", linespacing=1.15)


def _arrow(ax: Any, start: tuple[float, float], stop: tuple[float, float], color: str = INK) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    ax.annotate("", stop, start, arrowprops=style)


def _dots(ax: Any, points: np.ndarray, width: float = 1.8) -> None:
    """Points as one path of very short strokes: a page of thousands of elements is slow."""
    ends = points + np.array([0.005, 0])
    strokes = np.stack([points, ends, np.full_like(points, np.nan)], 1).reshape(-1, 2)
    (drawn,) = ax.plot(*strokes.T, color=BLUE, linewidth=width, alpha=0.6, solid_capstyle="round")
    drawn.get_path().should_simplify = False


def _circles(ax: Any, stds: float) -> None:
    """Circles around the Gaussians of the ring."""
    truth, angle = mixture.ring(), np.linspace(0, 2 * np.pi, 60)
    for mean in truth.means:
        circle = mean[:, None] + stds * np.sqrt(truth.variances[0]) * np.stack([np.cos(angle), np.sin(angle)])
        ax.plot(*circle, color=INK, linewidth=0.8)


def time_embedding() -> Figure:
    fig, (rows, alike) = figure(1, 2, width_ratios=[1.15, 1])
    t = torch.arange(1, 1001, dtype=torch.float64)
    embedded = train.time_embedding(t, 32)
    rows.imshow(embedded.T, aspect="auto", cmap="RdBu", vmin=-1, vmax=1, extent=(1, 1000, 32, 0))
    rows.set(xlabel="$t$", ylabel="$i$", xticks=[1, 500, 1000], yticks=[0, 16, 32])
    alike.plot(t, embedded @ embedded[99] / 16, color=BLUE, linewidth=0.8)
    alike.plot(t, embedded @ embedded[599] / 16, color=ORANGE, linewidth=0.8)
    alike.set(xlabel="$t$", ylabel="likeness", xticks=[100, 600], ylim=(-0.2, 1.05))
    return fig


def stratified_times() -> Figure:
    fig, axes = figure(2, 1, height=2.2, sharex=True)
    rng = torch.Generator().manual_seed(1)
    independent = torch.randint(1, 1001, (32,), generator=rng)
    stratified = train.stratified_times(torch.rand((), generator=rng, dtype=torch.float64), 32, 1000)
    for ax, times, color, title in (
        (axes[0], independent, ORANGE, "each by itself"),
        (axes[1], stratified, BLUE, "together"),
    ):
        ax.vlines(times, 0, 1, color=color, linewidth=2)
        ax.set_title(title, loc="left")
        ax.set(yticks=[], xlim=(0, 1001), ylim=(0, 1))
        ax.spines["left"].set_visible(False)
    axes[1].set(xlabel="$t$", xticks=[1, 250, 500, 750, 1000])
    return fig


def memory() -> Figure:
    """How much of each past step is in the average, found by averaging the unit vectors."""
    fig, ax = figure(1, 1)
    n = 1300
    for name, decay, color, place in (
        ("0.9999", lambda step: 0.9999, ORANGE, 0.0011),
        ("0.995", lambda step: 0.995, BLUE, 0.0042),
        ("$(1-1/n)^{19}$", lambda step: (1 - 1 / step) ** 19, GREEN, 0.0125),
    ):
        average = np.zeros(n + 1)
        average[0] = 1
        for step in range(1, n + 1):
            average = train.ema_update(average, np.eye(1, n + 1, step)[0], decay(step))
        ax.plot(np.arange(1, n + 1), average[1:], color=color)
        ax.annotate(
            rf"$\lambda$ = {name}: the first weights keep {average[0]:.1%}",
            (n * 0.02, place),
            color=color,
        )
    ax.set(xlabel="step of the training", ylabel="share of the average", xlim=(1, n), ylim=(0, 0.0153))
    return fig


def path() -> Figure:
    fig, axes = figure(1, 2, width_ratios=[3, 1], sharey=True)
    schedule = forward.linear()

    def exact(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return DATA.noise(x_t, schedule[int(t[0])])

    rng, options = torch.Generator().manual_seed(2), {"variance": "posterior", "clip": None, "dtype": torch.float64}
    states = torch.stack(list(train.sample_path(exact, schedule, (4000, 1), rng, steps=100, **options)))[..., 0]
    times = [*reversed(train.visited_times(1000, 100)), 0]
    axes[0].plot(times, states[:, :24], color=BLUE, linewidth=0.7, alpha=0.8)
    axes[0].set(xlabel="$t$", ylabel="$x_t$", xlim=(1000, 0))
    axes[1].hist(states[-1], bins=40, range=(-3, 3), density=True, orientation="horizontal", color=GREY)
    x = np.linspace(-3, 3, 400)
    axes[1].plot(density_of(DATA, x), x, color=INK)
    axes[1].set(xlabel="at $t$ = 0", xticks=[])
    return fig


def ring() -> Figure:
    """Points of a run on the ring, in the file that the page's command wrote, and how many fell to each mode."""
    points, truth = np.load(RING)["samples"], mixture.ring()
    fig, (where, often) = figure(1, 2, 2.9)
    _dots(where, points, 1.0)
    _circles(where, 2)
    where.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    mode = np.linalg.norm(points[:, None] - truth.means, axis=-1).argmin(-1)
    shares, chance = np.bincount(mode, minlength=8) / len(mode), 2 * np.sqrt(1 / 8 * 7 / 8 / len(mode))
    often.axhspan(1 / 8 - chance, 1 / 8 + chance, color=GREY, alpha=0.3, linewidth=0)
    often.plot(np.arange(1, 9), shares, "o", color=BLUE)
    often.set(xlabel="mode", ylabel="share", xticks=np.arange(1, 9), ylim=(0.1, 0.15))
    return fig
