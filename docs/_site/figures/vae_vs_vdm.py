"""The figures of chapter 4."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinyddpm import data, forward, vae_vs_vdm
from tinyddpm.experiments import autoencoders
from tinyddpm.forward import Schedule
from tinyddpm.mixture import two_classes
from tinyddpm.vae_vs_vdm import LinearVAE

from .style import BLUE, GREEN, GREY, INK, ORANGE, VIOLET, Figure, density_of, figure

DATA = two_classes()
TRAINED = Path(__file__).parents[2] / "assets" / "vae"
"""What `python -m tinyddpm.experiments.autoencoders` wrote."""


def bound() -> Figure:
    """The bound of a linear VAE over what its encoder says: it touches the evidence at the true posterior."""
    vae, x = LinearVAE([[1.0]], [0.0], 0.25), np.array([1.5])
    mean, cov = vae.posterior(x)
    evidence = float(vae.log_prob(x))
    means, variances = np.linspace(0.2, 2.2, 200), np.geomspace(0.02, 2, 200)
    fig, (left, right) = figure(1, 2, height=2.8, sharey=True)
    left.plot(means, [float(vae.elbo(x, np.array([m]), cov)) for m in means], color=BLUE)
    right.plot(variances, [float(vae.elbo(x, mean, np.array([[v]]))) for v in variances], color=BLUE)
    for ax, truth, off in ((left, mean[0], 0.7), (right, cov[0, 0], 0.9)):
        ax.axhline(evidence, color=INK, lw=1, ls="--")
        ax.plot(truth, evidence, "o", color=BLUE, ms=6)
        low = vae.elbo(x, np.array([off]), cov) if ax is left else vae.elbo(x, mean, np.array([[off]]))
        ax.annotate("", (off, evidence), (off, float(low)), arrowprops={"arrowstyle": "<->", "color": ORANGE})
    left.text(0.67, -2.3, "KL", color=ORANGE, ha="right")
    right.text(0.8, -2.28, "KL", color=ORANGE, ha="right")
    left.text(0.22, evidence + 0.05, r"$\log p(x)$", color=INK, va="bottom")
    right.text(0.022, -3.3, "ELBO", color=BLUE)
    left.set(xlabel="mean of the encoder", ylabel="nats", ylim=(-4.2, -1.5))
    right.set(xlabel="its variance", xscale="log")
    return fig


def gradients() -> Figure:
    """The spread of single draws of both gradients: over the noise of the encoder, and over the number of latents."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal(100_000)
    stds = np.geomspace(0.03, 3, 25)
    fig, (left, right) = figure(1, 2, height=2.9, sharey=True)
    mean = 0.5
    moved, weighed, less = [], [], []
    for std in stds:
        moved.append(vae_vs_vdm.reparameterized_gradient(lambda z: 2 * z, mean, std**2, draw)[0].std())
        weighed.append(vae_vs_vdm.score_function_gradient(lambda z: z**2, mean, std**2, draw)[0].std())
        less.append(vae_vs_vdm.score_function_gradient(lambda z: z**2 - mean**2, mean, std**2, draw)[0].std())
    left.plot(stds, moved, color=BLUE)
    left.plot(stds, weighed, color=ORANGE)
    left.plot(stds, less, color=ORANGE, ls=":")
    left.text(0.45, 0.3, "move", color=BLUE)
    left.text(0.075, 5.0, "weigh", color=ORANGE)
    left.text(0.032, 0.7, "weigh, less $f(\\mu)$", color=ORANGE, fontsize=11)
    left.set(xscale="log", yscale="log", xlabel=r"$\sigma$ of the encoder", ylabel="spread of one draw")
    counts = np.array([1, 3, 10, 30, 100])
    moved, weighed = [], []
    for d in counts:
        noise = rng.standard_normal((20_000, d))

        def square(z: np.ndarray) -> np.ndarray:
            return (z**2).sum(-1, keepdims=True)

        moved.append(vae_vs_vdm.reparameterized_gradient(lambda z: 2 * z, mean, 0.25, noise)[0][:, 0].std())
        weighed.append(vae_vs_vdm.score_function_gradient(square, mean, 0.25, noise)[0][:, 0].std())
    right.plot(counts, moved, "o-", color=BLUE, ms=4)
    right.plot(counts, weighed, "o-", color=ORANGE, ms=4)
    right.text(12, 0.6, "move", color=BLUE)
    right.text(4, 14, "weigh", color=ORANGE)
    right.set(xscale="log", xlabel="number of latents", xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
    return fig


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pictures as rows, and the eigenvalues and eigenvectors of their covariance, largest first."""
    x = data.load("digits").train.reshape(-1, 64).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    return x, values[::-1], vectors[:, ::-1]


def collapse() -> Figure:
    """Which latents of the best linear VAE of the digits live, and how much each of them says."""
    x, values, vectors = _digits()
    fig, (left, right) = figure(1, 2, height=2.9)
    place = np.arange(1, 65)
    for var, colour, at in ((0.05, BLUE, (20, 0.75)), (0.2, GREEN, (8.2, 0.78)), (0.8, ORANGE, (5.2, 0.28))):
        alive = int((values > var).sum())
        vae = LinearVAE(vectors[:, :alive] * np.sqrt(values[:alive] - var), x.mean(0), var)
        mean, cov = vae.posterior(x)
        says = np.zeros(64)
        for j in range(alive):
            says[j] = vae_vs_vdm.kl_to_standard_normal(mean[:, j], cov[j, j]).mean()
        left.axhline(var, color=colour, lw=1, ls="--")
        right.plot(place, says, "o-", color=colour, ms=2.5, lw=1.2)
        right.text(*at, f"{var}", color=colour, fontsize=11, ha="left")
    left.plot(place, np.maximum(values, 1e-9), "o", color=INK, ms=2.5)
    left.set(yscale="log", ylim=(8e-4, 6), xlabel="direction", title=r"variance $\lambda$ of the data")
    for var, colour in ((0.05, BLUE), (0.2, GREEN), (0.8, ORANGE)):
        left.text(63, var * 1.1, rf"$\sigma^2 = {var}$", color=colour, ha="right", va="bottom", fontsize=11)
    right.set(xlabel="latent", title="mean KL of the latent, nats", xlim=(0, 65), ylim=(-0.04, 2.15))
    return fig


def families() -> Figure:
    """Four models as graphs: which arrows there are, and which are learned."""
    fig, axes = figure(4, 1, height=4.8)
    rows: tuple[tuple[str, list[float], str, bool], ...] = (
        ("VAE", [1.0, 0.55], ORANGE, False),
        ("Markovian\nhierarchical\nVAE", [1.0, 0.8, 0.65, 0.5], ORANGE, False),
        ("diffusion", [1.0, 1.0, 1.0, 1.0], GREY, False),
        ("NVAE", [1.0, 0.75, 0.6, 0.5], ORANGE, True),
    )
    for ax, (name, sizes, colour, dense) in zip(axes, rows, strict=True):
        n = len(sizes)
        xs = [2.2 * i for i in range(n)]
        letters = ["$x$", "$z$"] if n == 2 else (["$x$"] + [f"$z_{i}$" for i in range(1, n)])
        if name == "diffusion":
            letters = [f"$x_{i}$" for i in range(n)]
        for x, size, letter in zip(xs, sizes, letters, strict=True):
            ax.plot(x, 0, "o", ms=25 * size, mfc="none", mec=INK, mew=1)
            ax.text(x, -0.02, letter, ha="center", va="center")

        def arrow(a: float, b: float, up: float, hue: str, ax: object = ax, style: str = "-") -> None:
            ax.annotate(  # type: ignore[attr-defined]
                "",
                (b, 0.3 * np.sign(up)),
                (a, 0.3 * np.sign(up)),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": hue,
                    "connectionstyle": f"arc3,rad={-abs(up) if up * (b - a) > 0 else abs(up)}",
                    "lw": 1.4,
                    "ls": style,
                    "shrinkA": 3,
                    "shrinkB": 3,
                },
            )

        for i in range(n - 1):
            arrow(xs[i + 1], xs[i], -0.25, BLUE)
            if dense:
                arrow(xs[0], xs[i + 1], 0.12 + 0.06 * i, colour)
                if i:
                    arrow(xs[i + 1], xs[0], -(0.2 + 0.04 * i), BLUE)
            else:
                arrow(xs[i], xs[i + 1], 0.25, colour, style="--" if colour == GREY else "-")
        if dense:
            arrow(xs[3], xs[1], -0.3, BLUE)
        ax.text(-0.9, 0, name, ha="right", va="center", fontsize=11)
        ax.set(xlim=(-3.4, 7.4), ylim=(-1.75, 1.4))
        ax.set_axis_off()
    axes[0].text(3.2, 0.55, "encoder, learned", color=ORANGE, va="center", fontsize=11)
    axes[0].text(3.2, -0.55, "decoder, learned", color=BLUE, va="center", fontsize=11)
    axes[2].text(5.5, 1.25, "fixed", color=INK, ha="center", va="center", fontsize=11)
    return fig


def printed() -> Figure:
    """What the printed form of the consistency term loses: about one nat a step and coordinate."""
    mean, cov, x = np.array([0.2]), np.array([[0.5]]), np.array([0.7])
    fig, (left, right) = figure(1, 2, height=2.9)
    counts, lost = [2, 3, 5, 10, 20, 50, 100, 200, 500, 1000], []
    for T in counts:
        chain = vae_vs_vdm.ideal_chain(forward.cosine(T), mean, cov)
        lost.append(_lost_in_print(chain))
    right.plot(counts[1:], lost[1:], "o-", color=ORANGE, ms=4)
    right.plot(counts, [T - 1 for T in counts], color=GREY, lw=1, ls=":")
    right.text(15, 40, "$T - 1$", color=INK, ha="right")
    right.set(xscale="log", yscale="log", xlabel="$T$", title="nats lost", ylim=(0.08, 2000))
    few = list(range(2, 9))
    chains = [vae_vs_vdm.ideal_chain(forward.cosine(T), mean, cov) for T in few]
    exact = [float(vae_vs_vdm.hierarchical_elbo(chain, x)) for chain in chains]
    left.plot(few, exact, "o-", color=BLUE, ms=4)
    left.plot(few, [e - _lost_in_print(c) for e, c in zip(exact, chains, strict=True)], "o-", color=ORANGE, ms=4)
    left.text(8, exact[-1] + 0.08, "ELBO", color=BLUE, ha="right", va="bottom")
    left.text(5.2, -1.9, "as printed", color=ORANGE, ha="right", va="top")
    left.set(xlabel="$T$", title="nats", ylim=(-3.6, -0.4), xticks=[2, 4, 6, 8])
    return fig


def _lost_in_print(chain: vae_vs_vdm.Chain) -> float:
    """How much lower the first decomposition gets if x_t is averaged as if x_{t+1} had not been made from it."""
    return sum(
        float(np.trace(np.linalg.solve(up.cov, up.weight @ after.weight @ down.cov)))
        for down, after, up in zip(chain.encoder, chain.encoder[1:], chain.decoder[1:], strict=False)
    )


def _generated(schedule: Schedule, x: np.ndarray) -> np.ndarray:
    """The density that the best Gaussian steps, one variance at each t, make of pure noise; on a fine grid."""
    dx = x[1] - x[0]
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    for t in range(schedule.T, 0, -1):
        back = DATA.reverse(x[:, None], schedule[t])
        share = density_of(DATA.diffuse(schedule[t].alpha_bar), x) * dx
        var = share @ back.var()[:, 0]
        kernel = np.exp(-((x[:, None] - back.mean()[:, 0]) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)
        density = kernel @ density * dx
    return density


def few_steps() -> Figure:
    """What is generated by 1, 4, 16 and 64 Gaussian steps."""
    x = np.linspace(-5, 5, 1201)
    fig, axes = figure(2, 2, height=3.9, sharex=True, sharey=True)
    for ax, T in zip(axes.flat, (1, 4, 16, 64), strict=True):
        ax.fill_between(x, density_of(DATA, x), color=GREY, alpha=0.35, lw=0)
        ax.plot(x, _generated(forward.cosine(T), x), color=BLUE)
        ax.text(-2.85, 1.7, f"$T = {T}$", color=INK)
        ax.set(xlim=(-3, 2), yticks=[0, 1, 2], ylim=(0, 2.05))
    axes[0, 0].text(0.7, 0.55, "model", color=BLUE, ha="center")
    axes[0, 0].text(-0.05, 1.35, "data", color=INK, ha="right")
    for ax in axes[1]:
        ax.set_xlabel("$x_0$")
    return fig


def _respaced(T: int) -> Schedule:
    return forward.respace(forward.linear(), np.linspace(0, 1000, T + 1).round().astype(int)[1:].tolist())


def gap() -> Figure:
    """The nats that T Gaussian steps lose."""
    counts = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256])
    fig, (left, right) = figure(1, 2, height=3.1, sharey=True)
    for variance, colour in (("shared", ORANGE), ("each", BLUE)):
        lost = np.array([vae_vs_vdm.elbo_gap(DATA, forward.cosine(int(T)), variance) for T in counts])
        left.plot(counts, lost, "o-", color=colour, ms=3.5)
        power = 1 if variance == "shared" else 2
        late = counts >= 32
        left.plot(counts[late], lost[-1] * 0.5 * (counts[-1] / counts[late]) ** power, color=GREY, lw=1, ls=":")
        if variance == "shared":
            right.plot(counts, lost, "o-", color=ORANGE, ms=3.5)
    left.text(28, 0.15, "one variance\nat each $t$", color=ORANGE, va="center", fontsize=11)
    left.text(9, 0.0032, "one at\neach $x_t$", color=BLUE, ha="center", va="center", fontsize=11)
    left.text(170, 0.0021, "$1/T$", color=INK, ha="center", va="center", fontsize=11)
    left.text(62, 0.0008, "$1/T^2$", color=INK, ha="right", fontsize=11)
    schedules: tuple[tuple[str, Callable[[int], Schedule], str, tuple[float, float]], ...] = (
        ("linear", _respaced, GREEN, (20, 0.5)),
        ("even log SNR", _even, VIOLET, (45, 0.16)),
    )
    for name, make, colour, place in schedules:
        lost = np.array([vae_vs_vdm.elbo_gap(DATA, make(int(T))) for T in counts if T > 1])
        right.plot(counts[1:], lost, "o-", color=colour, ms=3.5)
        right.text(*place, name, color=colour, fontsize=11)
    right.text(3, 0.03, "cosine", color=ORANGE, fontsize=11)
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="$T$", ylim=(1.5e-4, 3))
    left.set_ylabel("nats lost")
    return fig


def _even(T: int) -> Schedule:
    """Steps of equal size in the logarithm of the signal-to-noise ratio, between the ends of the linear schedule."""
    log_snr = forward.log_snr(forward.linear().steps)
    return Schedule.from_alpha_bar(1 / (1 + np.exp(-np.linspace(log_snr[0], log_snr[-1], T))))


def one_step() -> Figure:
    """A model of one step, over how noisy its only latent is."""
    betas = 1 / (1 + np.exp(-np.linspace(-9, 9, 61)))
    fig, ax = figure(height=2.8)
    lost, ends = [], []
    for beta in betas:
        schedule = Schedule([beta])
        lost.append(vae_vs_vdm.elbo_gap(DATA, schedule))
        ends.append(_end(schedule[1].alpha_bar))
    odds = betas / (1 - betas)
    ax.plot(odds, lost, color=INK)
    ax.fill_between(odds, 0, ends, color=ORANGE, alpha=0.35, lw=0)
    ax.fill_between(odds, ends, lost, color=BLUE, alpha=0.35, lw=0)
    ax.text(1e-3, 0.55, "$z$ is not noise", color=ORANGE, ha="center")
    ax.text(60, 0.75, "one Gaussian\ncannot undo it", color=BLUE, ha="center", va="center")
    ax.set(
        xscale="log",
        xlabel=r"noise in $z$ over what is left of $x$, $\beta/(1-\beta)$",
        ylabel="nats lost",
        ylim=(0, 1.45),
        xlim=(odds[0], odds[-1]),
    )
    return fig


def _end(alpha_bar: float) -> float:
    """KL(q(x_T), N(0, 1)), by the trapezoidal rule."""
    x = np.linspace(-9, 9, 6001)
    log_q = DATA.diffuse(alpha_bar).log_prob(x[:, None])
    return float(np.trapezoid(np.exp(log_q) * (log_q + x**2 / 2 + math.log(2 * math.pi) / 2), x))


def samples() -> Figure:
    """What the autoencoder and the VAE restore, and what they make."""
    return autoencoders.draw_samples(*autoencoders.load(TRAINED), figure)


def plane() -> Figure:
    """Where the codes of both lie, and what is between them."""
    return autoencoders.draw_plane(*autoencoders.load(TRAINED), figure)


def trained_collapse() -> Figure:
    """Which latents live, exactly in the linear VAE and in the trained one."""
    return autoencoders.draw_collapse(*autoencoders.load(TRAINED), figure)


def trained_gradients() -> Figure:
    """How uncertain both gradients are while the VAE learns."""
    return autoencoders.draw_gradients(*autoencoders.load(TRAINED), figure)


def trained_bound() -> Figure:
    """The bound of the VAE, and of the autoencoder read as one, while they learn."""
    return autoencoders.draw_bound(*autoencoders.load(TRAINED), figure)
