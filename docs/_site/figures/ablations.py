"""The figures of chapter 6 that show what `python -m tinyddpm.experiments.ablations` wrote."""

from __future__ import annotations

import textwrap
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from tinyddpm.experiments import ablations
from tinyddpm.experiments.mistakes import MISTAKES

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, figure, plain

MEASURED = Path(__file__).parents[2] / "assets" / "ablations"


FAR = 10
"""What is so many times as far as the recipe is written as a number, at the edge."""


def changes() -> Figure:
    """The Fréchet distance of every network, a row for each change; orange where it differs significantly."""
    results = ablations.load(MEASURED)
    measured, made = {key.rpartition("/")[0] for key in results["runs"]}, ablations.compared(results)
    names = [name for name, of in ablations.ABLATIONS.items() if name in measured and of.part == "changes"]
    labels = [textwrap.fill(ablations.short(name), 24) for name in names]
    asked = [ablations.ABLATIONS[name].question for name in names]
    heights = np.array([1 + 1.1 * label.count("\n") for label in labels])
    gaps = np.array([0.0, *(0.5 * (one != other) for one, other in pairwise(asked))])
    places = np.cumsum(heights + gaps) - heights / 2
    recipe = [*ablations.by_seed(results, "base").values()]
    edge = FAR * np.mean(recipe)
    fig, ax = figure(1, 1, 0.7 + 0.18 * (places[-1] + 1))
    ax.axvspan(min(recipe), max(recipe), color=GREY, alpha=0.3, linewidth=0)
    ax.axvline(results["floor"], color=INK, linewidth=1, linestyle=":")
    for name, place in zip(names, places, strict=True):
        far = np.array([*ablations.by_seed(results, name).values()])
        color = ORANGE if name in made and made[name].sure else BLUE
        near = far[far < edge]
        ax.plot(near, np.full(len(near), place), "o", color=color, markersize=4.5, alpha=0.8, markeredgewidth=0)
        if len(near) < len(far) or not len(far):
            said = f"{np.mean(far):.2g}" if len(far) else "diverged"
            ax.text(edge, place, f"{said} \u2192", color=color, ha="right", va="center", fontsize=11)
        else:
            ax.plot(np.mean(far), place, "|", color=INK, markersize=9)
    ax.set(xscale="log", xlim=(0.8 * results["floor"], edge), ylim=(places[-1] + 1, -0.3), xlabel="Fréchet distance")
    ax.set_yticks(places, labels)
    for label in ax.get_yticklabels():
        label.set(linespacing=1, fontsize=11)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    plain(ax.xaxis)
    return fig


def sampling() -> Figure:
    """The same networks, sampled in several ways and numbers of steps."""
    results = ablations.load(MEASURED)
    steps = sorted(ablations.STEPS)
    fig, ax = figure(1, 1, 3.2)
    ax.axhline(results["floor"], color=INK, linewidth=1, linestyle=":")
    by_way = {
        way: [(place, _by_steps(results, way, count)) for place, count in enumerate(steps)]
        for way in ablations.SAMPLING
    }
    measured = [
        (way, [(place, of) for place, of in far if of]) for way, far in by_way.items() if any(of for _, of in far)
    ]
    for (way, far), color in zip(measured, cycle((BLUE, ORANGE, GREY, GREEN, PINK, VIOLET)), strict=False):
        ax.plot([place for place, _ in far], [np.mean(of) for _, of in far], color=color, label=way.replace("_", " "))
        for place, of in far:
            ax.plot([place] * len(of), of, "o", color=color, markersize=4, alpha=0.8, markeredgewidth=0)
    ax.set(yscale="log", xlabel="steps", ylabel="Fréchet distance")
    ax.set_xticks(range(len(steps)), [str(count) for count in steps])
    plain(ax.yaxis)
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def memorisation() -> Figure:
    """How near samples are to the training data, and the held-out loss, against the length of the run."""
    results, lengths = ablations.load(MEASURED), set[int]()
    fig, axes = figure(1, 2, 3.0)
    labels = {"nearest_neighbours": "neighbours", "held_out_loss": "held-out loss"}
    for ax, (figured, label) in zip(axes, labels.items(), strict=True):
        for changes, kind, color in (({}, "the recipe", BLUE), (ablations.NEITHER, "no dropout, no shifts", ORANGE)):
            each = ablations.by_length(results, changes, figured)
            lengths |= {*each}
            ax.plot([*each], [np.mean(of) for of in each.values()], color=color, label=kind)
            for steps, of in each.items():
                ax.plot([steps] * len(of), of, "o", color=color, markersize=4.5, alpha=0.8, markeredgewidth=0)
        ax.set(xscale="log", xlabel="steps of training", ylabel=label)
    for ax in axes:
        ax.set_xticks(sorted(lengths), [f"{steps / 1000:g}k" for steps in sorted(lengths)])
        ax.xaxis.set_minor_locator(NullLocator())
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _by_steps(results: ablations.Results, way: str, steps: int) -> list[float]:
    """The distance of each network, sampled in one way and number of steps; nothing where that was not measured."""
    return [*ablations.by_seed(results, f"{way}-{steps}").values()]


def mistakes() -> Figure:
    """Digits drawn with each mistake."""
    measured, pictures = ablations.load(MEASURED)["mistakes"], ablations.load_pictures(MEASURED)
    names = [name for name in MISTAKES if name in pictures]
    rows = -(-len(names) // 3)
    fig, axes = figure(rows, 3, 2.35 * rows)
    layout: Any = fig.get_layout_engine()
    layout.set(h_pad=0.05, w_pad=0.02)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        count = int(len(pictures[name]) ** 0.5)
        tiles = pictures[name][: count**2].reshape(count, count, 8, 8).astype(float)
        framed = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        ax.imshow(framed.swapaxes(1, 2).reshape(9 * count, 9 * count)[:-1, :-1], cmap="gray", vmin=0, vmax=255)
        ax.set_title(MISTAKES[name].title)
        caption = f"loss {measured[name]['loss']:.2f}, distance {measured[name]['frechet_distance']:.3f}"
        ax.text(0.5, -0.03, caption, transform=ax.transAxes, ha="center", va="top", fontsize=10)
    return fig
