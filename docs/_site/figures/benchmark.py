"""The figures of chapter 6 that show what `python -m tinyddpm.train.benchmark` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tinyddpm.train.benchmark import OURS, split

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, figure

MEASURED = Path(__file__).parents[2] / "assets" / "benchmark" / "results.json"


def quality() -> Figure:
    """The Fréchet distance after some seconds of training, a line for each trainer and a dot for each run."""
    found = json.loads(MEASURED.read_text("utf-8"))
    runs: dict[str, dict[float, list[float]]] = {}
    for (_, name, *_), of in split(found, "quality"):
        for budget in of.keys() - {"parameters"}:
            runs.setdefault(name, {}).setdefault(float(budget), []).append(of[budget]["frechet_distance"])
    fig, ax = figure(1, 1, 3.6)
    _floor(ax, found)
    named = sorted(runs, key=lambda name: np.mean(runs[name][max(runs[name])]))
    above = 0.0
    for name, color in zip(named, (BLUE, GREEN, ORANGE, PINK, VIOLET), strict=False):
        seconds = sorted(runs[name])
        ax.plot(seconds, [np.mean(runs[name][budget]) for budget in seconds], color=color)
        for budget in seconds:
            ax.plot([budget] * len(runs[name][budget]), runs[name][budget], "o", color=color, markersize=4, alpha=0.8)
        above = max(1.25 * above, float(np.mean(runs[name][seconds[-1]])))  # names must not cover each other
        ax.text(1.06 * seconds[-1], above, name.replace(OURS, "ours"), color=color, va="center")
    ax.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="Fréchet distance")
    ax.set_xlim(right=3 * max(seconds))
    ax.set_xticks(seconds, [f"{budget:g}" for budget in seconds])
    _plain(ax)
    return fig


def calls() -> Figure:
    """The Fréchet distance of one network's samples, by sampler and by the number of its calls."""
    found = json.loads(MEASURED.read_text("utf-8"))
    drawn: dict[str, dict[int, list[float]]] = {}
    for (_, name, count), of in split(found, "sampling"):
        drawn.setdefault(name, {})[int(count)] = of["frechet_distances"]
    fig, ax = figure(1, 1, 3.2)
    _floor(ax, found)
    for (name, counts), color in zip(drawn.items(), (BLUE, ORANGE, GREEN), strict=True):
        ax.plot([*counts], [np.mean(each) for each in counts.values()], color=color, label=name.replace("_", " "))
        for count, each in counts.items():
            ax.plot([count] * len(each), each, "o", color=color, markersize=4, alpha=0.8, markeredgewidth=0)
    ax.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel="Fréchet distance")
    ax.set_xticks([*counts], [str(count) for count in counts])
    _plain(ax)
    ax.legend()
    return fig


def _floor(ax: Any, found: dict[str, Any]) -> None:
    """Real against real, and what as many draws from the training half come to by chance."""
    floors = found["floors"]
    ax.axhline(floors["half"], color=INK, linewidth=1, linestyle=":")
    low, high = floors["drawn"] - floors["drawn_sd"], floors["drawn"] + floors["drawn_sd"]
    ax.axhspan(low, high, color=GREY, alpha=0.3, linewidth=0)


def _plain(ax: Any) -> None:
    """Numbers without powers of ten."""
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
