"""The picture on the page that compares families of generative models."""

from typing import Any

import numpy as np

from .style import BLUE, GREY, INK, ORANGE, Figure, figure

STEP = 2.2
"""Distance between two circles."""


def _node(ax: Any, at: float, letter: str, size: float = 1.0) -> None:
    ax.plot(at, 0, "o", ms=24 * size, mfc="none", mec=INK, mew=1)
    ax.text(at, -0.03, letter, ha="center", va="center")


def _arrow(ax: Any, start: float, end: float, colour: str, bend: float = 0.0, style: str = "-") -> None:
    """From one circle to another; a bent one passes above, or below if it leads back."""
    height = 0.3 * np.sign(bend) * np.sign(end - start)
    gap = 0.0 if bend else 0.55 * np.sign(end - start)
    ax.annotate(
        "",
        (end - gap, height),
        (start + gap, height),
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "connectionstyle": f"arc3,rad={-bend}",
            "lw": 1.4,
            "ls": style,
            "shrinkA": 3,
            "shrinkB": 3,
        },
    )


def tree() -> Figure:
    """Five families in a row each: what is drawn, in which order, and which arrows are learned."""
    fig, axes = figure(5, 1, height=5.4)
    names = ("GAN", "flow", "autoregressive", "VAE", "diffusion")
    likelihood = ("no likelihood", "exact likelihood", "exact likelihood", "bounded likelihood", "bounded likelihood")
    for ax, name, says in zip(axes, names, likelihood, strict=True):
        ax.text(-0.9, 0.18, name, ha="right", va="center", fontsize=11)
        ax.text(-0.9, -0.62, says, ha="right", va="center", fontsize=10, color=INK)
        ax.set(xlim=(-4.1, 7.6), ylim=(-1.5, 1.3))
        ax.set_axis_off()
    gan, flow, auto, vae, diffusion = axes

    for at, letter in ((0.0, "$z$"), (STEP, "$x$"), (2 * STEP, "$D$")):
        _node(gan, at, letter)
    _arrow(gan, 0, STEP, BLUE)
    _arrow(gan, STEP, 2 * STEP, ORANGE)
    gan.text(2 * STEP + 0.75, 0, "real or\nmade?", va="center", fontsize=10)

    _node(flow, 0, "$z$")
    _node(flow, STEP, "$x$")
    _arrow(flow, 0, STEP, BLUE, 0.25)
    _arrow(flow, STEP, 0, BLUE, 0.25)
    flow.text(STEP + 0.75, 0, "one map and its inverse", va="center", fontsize=10)

    for i in range(4):
        _node(auto, i * STEP, f"$x^{{({i + 1})}}$")
    for i in range(3):
        _arrow(auto, i * STEP, (i + 1) * STEP, BLUE)
    for start, end in ((0, 2), (1, 3), (0, 3)):
        _arrow(auto, start * STEP, end * STEP, BLUE, 0.1 + 0.06 * (end - start))

    _node(vae, 0, "$z$", 0.6)
    _node(vae, STEP, "$x$")
    _arrow(vae, 0, STEP, BLUE, 0.25)
    _arrow(vae, STEP, 0, ORANGE, 0.25)
    vae.text(STEP + 0.75, 0.55, "decoder", color=BLUE, va="center", fontsize=10)
    vae.text(STEP + 0.75, -0.55, "encoder", color=ORANGE, va="center", fontsize=10)

    for i, letter in enumerate(("$x_3$", "$x_2$", "$x_1$", "$x_0$")):
        _node(diffusion, i * STEP, letter)
    for i in range(3):
        _arrow(diffusion, i * STEP, (i + 1) * STEP, BLUE, 0.25)
        _arrow(diffusion, (i + 1) * STEP, i * STEP, GREY, 0.25, "--")
    return fig
