"""The figures of chapter 6."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tinyddpm import forward, mixture, train

from .style import BLUE, GREEN, GREY, INK, ORANGE, Figure, density_of, figure

DATA = mixture.two_classes()
RING = Path(__file__).parents[2] / "assets" / "ring.npz"


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
    where.scatter(*points.T, s=2, color=BLUE, alpha=0.35, edgecolors="none")
    angle = np.linspace(0, 2 * np.pi, 60)
    for mean in truth.means:
        circle = mean[:, None] + 2 * np.sqrt(truth.variances[0]) * np.stack([np.cos(angle), np.sin(angle)])
        where.plot(*circle, color=INK, linewidth=0.8)
    where.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    mode = np.linalg.norm(points[:, None] - truth.means, axis=-1).argmin(-1)
    shares, chance = np.bincount(mode, minlength=8) / len(mode), 2 * np.sqrt(1 / 8 * 7 / 8 / len(mode))
    often.axhspan(1 / 8 - chance, 1 / 8 + chance, color=GREY, alpha=0.3, linewidth=0)
    often.plot(np.arange(1, 9), shares, "o", color=BLUE)
    often.set(xlabel="mode", ylabel="share", xticks=np.arange(1, 9), ylim=(0.1, 0.15))
    return fig
