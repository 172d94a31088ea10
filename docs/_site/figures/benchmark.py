"""The figures of chapter 6 that show what `python -m tinyddpm.experiments.benchmark` wrote."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from tinyddpm.experiments import benchmark

from .style import BLUE, GREEN, GREY, INK, ORANGE, PALETTE, PINK, Figure, figure, plain

MEASURED = Path(__file__).parents[2] / "assets" / "benchmark"

COLORS = dict(zip((benchmark.OURS, *benchmark.PEERS), (BLUE, ORANGE, GREEN, PINK), strict=True))


def quality() -> Figure:
    """The distance of every run against the seconds that it was trained; a line goes through the means."""
    results = benchmark.load(MEASURED)
    fig, ax = figure(1, 1, 3.6)
    ends = {}
    for name, by_budget in benchmark.runs(results).items():
        color = COLORS[name.partition(",")[0]]
        far = {budget: [each["frechet_distance"] for each in runs] for budget, runs in by_budget.items()}
        means = [np.mean(of) for of in far.values()]
        ax.plot([*far], means, color=color, linestyle=":" if name == benchmark.OURS else "-")
        for budget, of in far.items():
            ax.plot([budget] * len(of), of, "o", color=color, markersize=4, alpha=0.8, markeredgewidth=0)
        ends[name] = (means[-1], color)
    _floor(ax, results)
    plain(ax.yaxis)
    budgets = sorted({budget for by_budget in benchmark.runs(results).values() for budget in by_budget})
    ax.set(xscale="log", xlabel="seconds of training", ylabel="Fréchet distance")
    ax.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
    ax.xaxis.set_minor_locator(NullLocator())
    _name(ax, budgets[-1], ends)
    return fig


def sampling() -> Figure:
    """Networks sampled in several ways: the distance against network calls."""
    results = benchmark.load(MEASURED)
    fig, ax = figure(1, 1, 3.6)
    rows, _ = benchmark.sampled(results)
    named = [name.split("/") for name in rows]
    ways = [way for way in benchmark.SAMPLERS if any(way == name for name, _ in named)]
    for way, color, marker in zip(ways, cycle(PALETTE), cycle("osD^v"), strict=False):
        calls = sorted(int(count) for name, count in named if name == way)
        drawn = [[*rows[f"{way}/{count}"].values()] for count in calls]
        far, sd = [np.mean(each) for each in drawn], [np.std(each, ddof=1) for each in drawn]
        options: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.4}
        ax.errorbar(calls, far, sd, **options, label=way.replace("_", " "))
    ax.set(xscale="log", xlabel="network calls", ylabel="Fréchet distance")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    _floor(ax, results)
    plain(ax.yaxis)
    fig.legend(loc="outside lower center", ncols=4)
    return fig


def _floor(ax: Any, results: benchmark.Results) -> None:
    """Where real samples lie: a band from two halves of them to free draws of what was trained on; dotted, draws by class."""
    floor = {kind: np.mean(results["measured"]["floors"][kind]) for kind in benchmark.FLOORS}
    ax.axhspan(floor["halves"], floor["drawn"], color=GREY, alpha=0.3, linewidth=0)
    ax.axhline(floor["by_class"], color=INK, linewidth=1, linestyle=":")


def _name(ax: Any, x: float, ends: dict[str, tuple[float, str]]) -> None:
    """The name of each line at its right end, apart where two would touch."""
    low, high = np.log(ax.get_ylim())
    gap, place = 0.075 * (high - low), low - 1.0
    for name, (y, color) in sorted(ends.items(), key=lambda end: end[1][0]):
        place = max(np.log(y), place + gap)
        ax.annotate(
            name.replace(", ", ",\n"),
            (x, np.exp(place)),
            (8, 0),
            textcoords="offset points",
            color=color,
            va="center",
            fontsize=11,
            linespacing=1,
        )
