"""The figures of the page that shows what `python -m tinyddpm.experiments.model` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinyddpm.experiments import model

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, Figure, figure

MEASURED = Path(__file__).parents[2] / "assets" / "model"


def coming_back() -> Figure:
    """The error of what comes back, and whether it is the same digit and the same picture, against t."""
    results = model.load(MEASURED)
    fig, (error, same) = figure(1, 2, 3.4)
    for kind, style, label in (("digits, label", "-", "one draw, with the label"), ("digits", "--", "one draw")):
        _curve(error, results, ("back", kind, "sample"), BLUE, label, style)
    _curve(error, results, ("back", "digits", "guess"), ORANGE, "the network's guess")
    for name, label in (("strangers", "another digit"), ("mean picture", "the mean picture")):
        error.axhline(results["floors"][name], color=GREY, linewidth=1, linestyle=":")
        error.text(min(model.TIMES), results["floors"][name], label, va="bottom", fontsize=10)
    for kind, style in (("digits, label", "-"), ("digits", "--")):
        _curve(same, results, ("back", kind, "same"), GREEN, "same digit" if style == "-" else "", style)
        _curve(same, results, ("back", kind, "itself"), PINK, "nearest is itself" if style == "-" else "", style)
    error.set(xlabel="$t$", ylabel="square per pixel", ylim=(0, 0.62))
    same.set(xlabel="$t$", ylabel="fraction", ylim=(0, 1.03))
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def returned() -> Figure:
    """A three, an eight, two letters and noise, noised to five times and brought back."""
    rows = model.load_pictures(MEASURED)["back"]
    return _grid(rows, ["original", *(f"$t = {t}$" for t in (200, 400, 600, 800, 1000))], 4.6)


def known() -> Figure:
    """The error of the exact denoiser, and what the network adds to it, against t."""
    results = model.load(MEASURED)
    fig, ax = figure(1, 1, 3.2)
    nature = model.over_networks(results, "known", "nature").mean(0)
    _curve(ax, results, ("known", "guess"), ORANGE, "network")
    ax.plot(model.TIMES, nature, "--", color=INK, linewidth=1.2, label="exact denoiser")
    _curve(ax, results, ("known", "fault"), PINK, "added by the network")
    ax.set(xlabel="$t$", ylabel="square per pixel", yscale="log")
    fig.legend(loc="outside lower center", ncols=3)
    return fig


def strange() -> Figure:
    """Letters and noise: whether what comes back is like a digit, and whether it is still what it was."""
    results = model.load(MEASURED)
    fig, axes = figure(1, 2, 3.2, sharey=True)
    for ax, kind, title in zip(axes, ("letters", "noise"), ("letters", "pixels of noise"), strict=True):
        _curve(ax, results, ("back", kind, "like"), GREEN, "like a digit" if kind == "letters" else "")
        _curve(ax, results, ("back", kind, "itself"), PINK, "nearest is itself" if kind == "letters" else "")
        ax.axhline(results["floors"]["held-out digits"]["like"], color=GREY, linewidth=1, linestyle=":")
        ax.set(xlabel="$t$", title=title, ylim=(0, 1.03))
    axes[0].set_ylabel("fraction")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def mixed() -> Figure:
    """Five ways from a three to an eight."""
    rows = model.load_pictures(MEASURED)["mix"]
    names = ("pixels", "$t = 200$", "$t = 500$", "$t = 800$", "arc")
    return _grid(rows, [f"{weight:g}" for weight in model.WEIGHTS], 4.6, names)


def between() -> Figure:
    """Pictures for two classes at once, three pairs."""
    rows = model.load_pictures(MEASURED)["between"]
    gap = np.full((len(rows), 1, *rows.shape[2:]), np.nan)
    rows = np.concatenate([rows[:, :5], gap, rows[:, 5:]], 1)
    return _grid(rows, [""] * rows.shape[1], 1.65, ("3 and 8", "4 and 9", "1 and 7"))


def edited() -> Figure:
    """Ten rough drawings, and what comes back from four times."""
    rows = model.load_pictures(MEASURED)["edit"]
    return _grid(rows, [""] * rows.shape[1], 3.3, ("drawing", *(f"$t = {t}$" for t in (200, 400, 600, 800))))


def _curve(ax: Any, results: model.Results, keys: tuple[str, ...], color: str, label: str, style: str = "-") -> None:
    """The mean over the networks, and a band from the lowest to the highest of them."""
    values = model.over_networks(results, *keys)
    ax.plot(model.TIMES, values.mean(0), style, color=color, label=label or None)
    ax.fill_between(model.TIMES, values.min(0), values.max(0), color=color, alpha=0.25, linewidth=0)


def _grid(rows: np.ndarray, columns: list[str], height: float, names: tuple[str, ...] = ()) -> Figure:
    """Pictures in rows and columns, with the names of both."""
    fig, axes = figure(*rows.shape[:2], height)
    layout: Any = fig.get_layout_engine()
    layout.set(h_pad=0.02, w_pad=0.02, hspace=0, wspace=0)
    for i, line in enumerate(axes):
        for j, ax in enumerate(line):
            ax.imshow(rows[i, j].astype(float), cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
            if i == 0 and columns[j]:
                ax.set_title(columns[j], fontsize=11)
        if names:
            line[0].text(-0.15, 0.5, names[i], transform=line[0].transAxes, ha="right", va="center", fontsize=11)
    return fig
