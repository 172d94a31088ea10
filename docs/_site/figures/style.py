"""How the figures of the book look: quiet axes, a palette for light and dark pages, letters that a phone can show."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tinyddpm.mixture import Mixture
from tinyddpm.palette import BLUE, GREEN, GREY, ORANGE, PALETTE, PINK, VIOLET  # noqa: F401 (for the chapters)

matplotlib.use("agg")

INK = "#010203"
"""The colour of text and axes: in the page it becomes the colour of the text around the figure."""

VALLEY = -0.35
"""Left of it a sample of `two_classes` is a face, right of it a tree."""

WIDTH = 6.0
"""Width of every figure in inches. A phone shows it at 0.8 of its size, so 12 pt letters are still 10 px there."""

SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 12,
    "image.interpolation": "nearest",
    "legend.fontsize": 11,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "cm",  # the letters of the page's formulas
    "savefig.transparent": True,
    # Letters as outlines: as text they would be set in whatever font the reader has, at widths measured in another.
    "svg.fonttype": "path",
    "svg.hashsalt": "tinyddpm",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 11,
    "xtick.major.width": 0.8,
    "ytick.color": INK,
    "ytick.labelsize": 11,
    "ytick.major.width": 0.8,
}


def figure(rows: int = 1, cols: int = 1, height: float = 2.6, **options: Any) -> tuple[Figure, Any]:
    """An empty figure of the book's width and its axes: one, a row, or an array of them, as `plt.subplots` gives.

    Args:
        rows: rows of axes.
        cols: columns of axes; more than three are too small to read on a phone, pictures apart.
        height: in inches; about 2.6 for a row.
        **options: for `Figure.subplots`, such as ``sharey=True`` or ``width_ratios=[2, 1]``.
    """
    matplotlib.rcParams.update(SETTINGS)
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    return fig, fig.subplots(rows, cols, **options)


def picture(ax: Any, pixels: Any, **options: Any) -> None:
    """Show a picture scaled to [-1, 1], a grey one (h, w) or a coloured one (h, w, 3), without axes.

    Values outside are clipped, as a screen would.
    """
    ax.imshow((pixels.clip(-1, 1) + 1) / 2, **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    ax.set_axis_off()


def density_of(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """The density of a mixture on the line, at points of shape (n,)."""
    return np.exp(mixture.log_prob(x[:, None]))


def class_colour(end: float) -> str:
    """The colour of a path of `two_classes`, by the class in which it ends."""
    return ORANGE if end < VALLEY else BLUE


def plain(axis: Any) -> None:
    """A logarithmic axis with plain numbers in the place of powers of ten."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
