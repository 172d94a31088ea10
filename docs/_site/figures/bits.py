"""The figure of what `python -m tinyddpm.experiments.bits` wrote: where the bits go."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyddpm.experiments import bits

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, Figure, figure

MEASURED = Path(__file__).parents[2] / "assets" / "bits"

LINES = {
    ("recipe", "beta"): ("the recipe", ORANGE),
    ("recipe", "fine"): ("the recipe, rounded", PINK),
    ("exact", "best"): ("the histogram as a denoiser", GREEN),
    ("likelihood", "learned"): ("trained on the bound", BLUE),
}


def spent() -> Figure:
    """The bits from T down to t for each code, with the name of the class before the first."""
    results = bits.load(MEASURED)
    fig, ax = figure(1, 1, height=3.4)
    ax.axhline(results["histogram"], color=GREY, lw=1, ls=":")
    for (kind, code), (title, colour) in LINES.items():
        networks = bits.of_code(results, kind, code)
        if not networks:
            continue
        groups = np.mean([of["groups"] for of in networks], axis=0)
        total = np.mean([np.mean(of["bits"]) for of in networks])
        left = total - np.cumsum(groups)  # what is spent before the times up to an edge
        ax.plot([*bits.EDGES[::-1] + 1, 1], [*left[::-1], total], color=colour, label=title)
        ax.plot(1, total, "o", color=colour, ms=5, clip_on=False)
    ax.text(900, results["histogram"] + 0.06, "histogram", color=INK)
    ax.set(xscale="log", xlabel="$t$", ylabel="bits down to $t$", xlim=(1001, 1), ylim=(0, None))
    ax.set_xticks([1000, 100, 10, 2, 1], ["1000", "100", "10", "1", "0"])
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return fig
