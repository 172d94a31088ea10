"""The figures of chapter 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit, log_ndtr, ndtr

from tinyddpm import elbo, forward, posterior
from tinyddpm.forward import Gaussian, Schedule, Step
from tinyddpm.mixture import Mixture, two_classes

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, density_of, figure

DATA = two_classes()
SCHEDULE = forward.linear()


def _normal(x: np.ndarray, mean: float, var: float) -> np.ndarray:
    return np.exp(elbo.gaussian_log_prob(x, mean, var))


@cache
def _guess_error(kept: float) -> float:
    """E Var(x_0 given x_t) of the running example where alpha_bar is `kept`, by an integral over x_t."""
    step = Schedule.from_alpha_bar([kept])[1]
    x = np.linspace(-7, 7, 1401)[:, None]
    share = density_of(DATA.diffuse(kept), x[:, 0]) * (x[1] - x[0])
    return float((share * DATA.posterior(x, step).var()[:, 0]).sum())


def jensen() -> Figure:
    """A chord above a convex curve and a tangent below it."""
    fig, ax = figure(height=2.9)
    x, ends = np.linspace(0.22, 4.6, 400), np.array([0.5, 4.0])
    half, middle = np.array([0.5, 0.5]), ends.mean()
    on = float(elbo.information(0.5) + np.log(0.5)) - np.log(middle)  # -log(middle), which is no probability
    gap = elbo.jensen_gap(lambda v: -np.log(v), ends, half)
    ax.plot(x, -np.log(x), color=BLUE, lw=2.2)
    ax.plot(x[60:], on - (x[60:] - middle) / middle, color=GREY, lw=1.2, ls="--")
    ax.plot(ends, -np.log(ends), "o-", color=ORANGE, ms=6)
    ax.plot([middle, middle], [on, on + gap], color=GREEN, lw=3)
    ax.plot([middle, middle], [-1.75, on], color=GREY, lw=0.8, ls=":")
    ax.plot(middle, on, "o", color=BLUE, ms=5)
    ax.plot(middle, on + gap, "o", color=ORANGE, ms=5)
    ax.annotate(
        f"Jensen's gap: {gap:.2f}",
        (middle + 0.04, on + 0.6 * gap),
        (2.75, 0.35),
        color=GREEN,
        arrowprops={"arrowstyle": "-", "color": GREEN, "lw": 0.8},
    )
    ax.text(0.36, 1.12, r"$-\log x$", color=BLUE)
    ax.text(1.3, 0.42, "chord", color=ORANGE)
    ax.text(0.98, -0.62, "tangent", color=INK, ha="center")
    ax.text(middle + 0.08, -1.7, "mean of $X$", color=INK, va="bottom")
    ax.set(xlabel="$x$", xlim=(0.1, 4.7), ylim=(-1.75, 1.5), xticks=[0.5, 1, 2, 3, 4], yticks=[-1, 0, 1])
    return fig


def divergences() -> Figure:
    """The best Gaussian for two classes, by the forward and by the reverse divergence."""
    fig, axes = figure(1, 2, height=2.8, sharey=True)
    x = np.linspace(-3.1, 3.1, 1200)
    mean, var = float(DATA.mean()[0]), float(DATA.var()[0])
    fits = (("data in front", mean, var), ("$q$ in front", float(DATA.means[1, 0]), float(DATA.variances[1])))
    for ax, (name, centre, spread) in zip(axes, fits, strict=True):
        ax.fill_between(x, density_of(DATA, x), color=GREY, alpha=0.45, lw=0)
        ax.plot(x, _normal(x, centre, spread), color=BLUE if spread > 0.1 else ORANGE, lw=2)
        ax.set(xlabel="$x$", title=name, ylim=(0, 3.05), xlim=(-3.1, 3.1), xticks=[-2, 0, 2])
    axes[0].set_ylabel("density")
    axes[0].text(-1.4, 1.03, "data", color=INK, ha="center")
    axes[0].text(-0.1, 0.46, "$q$", color=BLUE, ha="center")
    axes[1].text(1.12, 2.4, "$q$", color=ORANGE)
    axes[1].text(-1.4, 1.03, "left out", color=INK, ha="center")
    return fig


def gap() -> Figure:
    """The bound for every belief about one blurred photo."""
    joint = np.log(posterior.joint([1 / 3, 2 / 3], [[0.6, 0.4], [0.15, 0.85]])[:, 0])
    face = np.linspace(1e-4, 1 - 1e-4, 600)
    q = np.stack([face, 1 - face], -1)
    bound = elbo.elbo(joint, np.log(q), q)
    log_p = float(np.log(np.exp(joint).sum()))
    fig, ax = figure(height=2.8)
    ax.axhline(log_p, color=ORANGE, lw=2)
    ax.plot(face, bound, color=BLUE, lw=2.2)
    ax.fill_between(face, bound, log_p, color=GREEN, alpha=0.18, lw=0)
    ax.plot(2 / 3, log_p, "o", color=BLUE, ms=6)
    ax.text(0.99, log_p + 0.02, r"$\log p(\mathrm{blurred})$", color=ORANGE, ha="right", va="bottom")
    ax.text(0.35, -1.78, "bound", color=BLUE)
    at = 0.13
    ax.annotate(
        "", (at, log_p), (at, float(np.interp(at, face, bound))), arrowprops={"arrowstyle": "<->", "color": GREEN}
    )
    ax.text(at + 0.02, -1.33, "divergence", color=GREEN, va="center")
    ax.text(2 / 3, log_p - 0.06, "posterior", color=INK, ha="center", va="top")
    ax.set(xlabel="$q$(face)", ylabel="nats", xlim=(0, 1), ylim=(-2.15, -1.05), yticks=[-2, -1.6, -1.2])
    return fig


def decompositions() -> Figure:
    """Which two arrows are compared at one state, in both decompositions."""
    fig, axes = figure(2, 1, height=3.5)
    names = ["$x_0$", "$x_1$", "$x_2$", "$x_3$", "$x_4$"]
    for ax in axes:
        ax.set(xlim=(-0.45, 4.45), ylim=(-0.95, 1.15))
        ax.set_axis_off()
        ax.plot([0, 4], [0, 0], color=GREY, lw=1, zorder=0)

    def states(ax: Any, target: int) -> None:
        for i, name in enumerate(names):
            ring = GREEN if i == target else GREY
            ax.plot(i, 0, "o", ms=27, mfc=(1, 1, 1, 0), mec=ring, mew=2.4 if i == target else 1.2)
            ax.text(i, 0, name, ha="center", va="center")

    def arrow(ax: Any, start: float, end: float, colour: str, bend: float) -> None:
        style = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 16, "shrinkB": 16, "mutation_scale": 14}
        ax.annotate("", (end, 0), (start, 0), arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"})

    above, below = axes
    for ax in axes:  # the line does not run through the circles
        ax.lines[0].remove()
        for i in range(4):
            ax.plot([i + 0.26, i + 0.74], [0, 0], color=GREY, lw=1)
    states(above, 2)
    arrow(above, 1, 2, ORANGE, -0.55)
    arrow(above, 3, 2, BLUE, 0.55)
    above.text(1.5, 0.56, r"$q(x_2|x_1)$", color=ORANGE, ha="center")
    above.text(2.5, 0.56, r"$p_\theta(x_2|x_3)$", color=BLUE, ha="center")
    above.text(-0.4, 0.95, "first: from both sides", color=INK, va="center")
    states(below, 1)
    arrow(below, 2, 1, BLUE, 0.55)
    arrow(below, 2, 1, ORANGE, -0.55)
    style = {"arrowstyle": "-|>", "color": ORANGE, "lw": 1.4, "ls": (0, (3, 2)), "shrinkA": 16, "shrinkB": 16}
    below.annotate("", (1, 0), (0, 0), arrowprops={**style, "mutation_scale": 12, "connectionstyle": "arc3,rad=0.55"})
    below.text(1.75, 0.56, r"$p_\theta(x_1|x_2)$", color=BLUE, ha="center")
    below.text(1.75, -0.62, r"$q(x_1|x_2,x_0)$", color=ORANGE, ha="center", va="center")
    below.text(-0.4, 0.95, "second: from one side", color=INK, va="center")
    return fig


@cache
def _one_step() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, and the standard deviation of value and derivative by three estimators of one step."""
    rng, times, n = np.random.default_rng(0), np.unique(np.geomspace(1, 999, 26).astype(int)), 20_000
    value, slope = [], []
    for t in times:
        step, after = SCHEDULE[int(t)], SCHEDULE[int(t) + 1]
        x_0 = DATA.sample(n, rng)
        x_prev = x_0 if t == 1 else forward.diffuse(x_0, rng.standard_normal(x_0.shape), SCHEDULE[int(t) - 1])
        x_t = forward.diffuse_once(x_prev, rng.standard_normal(x_0.shape), step)
        x_next = forward.diffuse_once(x_t, rng.standard_normal(x_0.shape), after)
        back = _exact_step(x_next, after)
        ratio = elbo.gaussian_log_prob(x_t, *forward.transition(x_prev, step))
        value.append(
            [
                (ratio - elbo.gaussian_log_prob(x_t, *back)).std(),
                elbo.consistency(x_prev, x_next, step, after, _exact_step).std(),
                elbo.denoising_matching(x_next, x_0, *back, after).std(),
            ]
        )
        targets = (x_t, elbo.bridge(x_prev, x_next, step, after).mean, posterior.mean(x_next, x_0, after))
        slope.append([((back.mean - target) / np.sqrt(after.beta)).std() for target in targets])
    return times, np.array(value), np.array(slope)


def _exact_step(x: np.ndarray, step: Step) -> Gaussian:
    return Gaussian(posterior.mean_from_noise(x, DATA.noise(x, step), step), step.beta)


def estimators() -> Figure:
    """How noisy one draw of one step is, in both decompositions."""
    times, value, slope = _one_step()
    fig, axes = figure(1, 2, height=3.1, sharey=True)
    for ax, curves, name in ((axes[0], value, "the value"), (axes[1], slope, "its derivative")):
        for curve, colour in zip(curves.T, (GREY, ORANGE, BLUE), strict=True):
            ax.plot(times, curve, color=colour, lw=2)
        ax.set(xscale="log", yscale="log", xlabel="$t$", title=name, xlim=(1, 1000), ylim=(2e-5, 4))
    axes[0].set_ylabel("standard deviation")
    axes[0].text(1.3, 1.3, "log-ratio", color=INK)
    axes[0].text(55, 0.14, "consistency", color=ORANGE)
    axes[0].text(3.5, 3e-3, "denoising\nmatching", color=BLUE)
    axes[1].text(1.3, 1.3, "log-ratio", color=INK)
    axes[1].text(30, 0.31, "consistency", color=ORANGE)
    axes[1].text(3.5, 1.2e-2, "denoising\nmatching", color=BLUE)
    return fig


def decoder() -> Figure:
    """The bins of a pixel near the end of the range; the tail of the normal distribution by a formula with tanh."""
    fig, (left, right) = figure(1, 2, height=3.0, width_ratios=[1.25, 1])
    K, mean, var = 16, 0.76, 0.03
    greys = np.linspace(-1, 1, K)
    probability = np.exp(elbo.decoder_log_prob(greys, mean, var, bins=K))
    for i in range(K - 6, K):
        start, end = greys[i] - 1 / (K - 1), (1.45 if i == K - 1 else greys[i] + 1 / (K - 1))
        x = np.linspace(start, end, 60)
        colour = ORANGE if i == K - 1 else BLUE
        left.fill_between(x, _normal(x, mean, var), color=colour, alpha=0.22 + 0.22 * (i % 2), lw=0)
        if probability[i] > 0.05:
            left.text(min(greys[i], 1.01), 0.15, f"{probability[i]:.2f}", ha="center", fontsize=9.5)
    x = np.linspace(0.25, 1.45, 300)
    left.plot(x, _normal(x, mean, var), color=INK, lw=1.6)
    left.text(1.13, 1.05, "open to\ninfinity", color=ORANGE)
    left.set(xlabel="$x$", ylabel="density", xlim=(0.25, 1.45), ylim=(0, 2.6), xticks=[0.4, 0.6, 0.8, 1.0], yticks=[])
    u = np.linspace(0, 7, 200)
    tanh = (1 + np.tanh(np.sqrt(2 / np.pi) * (-u - 0.044715 * u**3))) / 2
    right.plot(u, np.exp(log_ndtr(-u)) / tanh, color=BLUE)
    for at in (4, 5, 6):
        ratio = ndtr(-at) / ((1 + np.tanh(np.sqrt(2 / np.pi) * (-at - 0.044715 * at**3))) / 2)
        right.plot(at, ratio, "o", color=BLUE, ms=5)
        right.text(at - 0.2, ratio * 1.25, f"{ratio:.2g}", ha="right")
    right.set(yscale="log", xlabel="std below the mean", title="exact / tanh", xlim=(0, 7), ylim=(0.7, 5e3))
    return fig


def best_variance() -> Figure:
    """The mean of one term of the bound over the model's variance, for three kinds of data."""
    step = SCHEDULE[5]
    least = float(posterior.variance(step))
    coefficient = float(posterior.mean(0.0, 1.0, step)) ** 2
    s = np.geomspace(0.75 * least, 2.6 * least, 300)
    fig, ax = figure(height=2.9)
    x = np.linspace(-3, 3, 6001)[:, None]
    sharp = Mixture(DATA.weights, DATA.means, [1e-3, 1e-3])
    share = density_of(sharp.diffuse(step.alpha_bar), x[:, 0]) * (x[1] - x[0])
    cases = (
        (0.0, ORANGE, "one point"),
        (coefficient * float((share * sharp.posterior(x, step).var()[:, 0]).sum()), VIOLET, "sharp classes"),
        (coefficient * step.noise_var, BLUE, r"$\mathcal{N}(0, I)$"),
    )
    for error, colour, name in cases:
        mean = elbo.denoising_matching(0.0, 0.0, np.full_like(s, error**0.5), s, step)
        best = elbo.best_variance(step, error)
        lowest = elbo.denoising_matching(0.0, 0.0, error**0.5, best, step)
        ax.plot(s / least, mean, color=colour)
        ax.plot(best / least, lowest, "o", color=colour, ms=6)
        ax.text(2.62, mean[-1], name, color=colour, va="center")
    ax.axvline(1, color=GREY, lw=0.8, ls=":")
    ax.axvline(step.beta / least, color=GREY, lw=0.8, ls=":")
    ax.text(1.01, 0.318, r"$\tilde\beta_t$", va="top")
    ax.text(step.beta / least + 0.01, 0.318, r"$\beta_t$", va="top")
    ax.set(xlabel=r"$\sigma_t^2\;/\;\tilde\beta_t$", ylabel="mean of $L_{t-1}$ (nats)", ylim=(-0.01, 0.32))
    ax.set(xlim=(0.72, 3.25), xticks=[1, 1.5, 2, 2.5])
    return fig


@cache
def _noise_errors() -> np.ndarray:
    """The exact denoiser's mean squared error of the noise, for t = 1..T."""
    t = np.unique(np.append(np.geomspace(1, 1000, 90).astype(int), np.arange(100, 500, 10)))
    error = [forward.snr(SCHEDULE[int(i)]) * _guess_error(SCHEDULE[int(i)].alpha_bar) for i in t]
    return np.interp(np.arange(1, 1001), t, error)


def weights() -> Figure:
    """The weight of each time, and where the loss lies."""
    t, errors = np.arange(2, 1001), _noise_errors()[1:]
    steps = [SCHEDULE[int(i)] for i in t]
    curves = (
        ([elbo.noise_weight(step, step.beta) for step in steps], BLUE),
        (np.ones(999), ORANGE),
        ([elbo.min_snr_weight(step) for step in steps], GREEN),
    )
    fig, (left, right) = figure(1, 2, height=3.0)
    for weight, colour in curves:
        left.plot(t, weight, color=colour)
        share = np.cumsum(np.array(weight) * errors)
        right.plot(t, 100 * share / share[-1], color=colour)
    left.text(3, 1.25, "simple", color=ORANGE)
    left.text(2.6, 0.035, "bound", color=BLUE)
    left.text(14, 0.0016, "min-SNR", color=GREEN)
    left.set(xscale="log", yscale="log", xlabel="$t$", title="weight", xlim=(2, 1000), ylim=(4e-4, 3))
    right.text(3.2, 55, "bound", color=BLUE)
    right.text(38, 24, "simple", color=ORANGE, ha="right")
    right.set(xscale="log", xlabel="$t$", title="loss up to $t$, %", xlim=(2, 1000), ylim=(0, 102))
    return fig


def two_noises() -> Figure:
    """The rotation, and how noisy one draw of the loss is with two noises and with one."""
    rng = np.random.default_rng(1)
    fig, (left, right) = figure(1, 2, height=3.2, width_ratios=[1, 1.15])
    step = Schedule([0.4, 0.32])[2]
    cloud = rng.standard_normal((2, 500))
    left.plot(*cloud, ".", color=GREY, ms=2.5, alpha=0.7)
    for direction, colour, name in (((1.0, 0.0), ORANGE, r"$\epsilon$"), ((0.0, 1.0), BLUE, r"$\omega$")):
        # The rotation is its own inverse: it turns the new axes into the old ones too.
        tip = 2.9 * np.array(elbo.rotate_noise(*direction, step))
        left.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.4})
        left.text(*(1.16 * tip), name, color=colour, ha="center", va="center", fontsize=15)
    left.axhline(0, color=GREY, lw=0.6)
    left.axvline(0, color=GREY, lw=0.6)
    left.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    left.set(xlabel=r"$\epsilon_{t-1}$", ylabel=r"$\epsilon_t$")
    times, spread = np.unique(np.geomspace(2, 1000, 24).astype(int)), []
    for t in times:
        now = SCHEDULE[int(t)]
        x_0, old, new = DATA.sample(20_000, rng), *rng.standard_normal((2, 20_000, 1))
        x_t = elbo.two_noise_sample(x_0, old, new, now)
        noise, _ = elbo.rotate_noise(old, new, now)
        part = np.sqrt(now.beta / now.noise_var)
        f = part * DATA.noise(x_t, now)
        spread.append([((new - f) ** 2).std(), ((part * noise - f) ** 2).std()])
    two, one = np.array(spread).T
    right.plot(times, two, color=VIOLET)
    right.plot(times, one, color=GREEN)
    right.text(25, 2.4, "two noises", color=VIOLET)
    right.text(7, 2e-3, "one noise", color=GREEN)
    right.set(xscale="log", yscale="log", xlabel="$t$", title="std of one draw", xlim=(2, 1000), ylim=(3e-7, 20))
    return fig


CLEAN, NOISY = 6.0, -6.0
SHAPES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "straight": (lambda u: u, BLUE),
    "slow start": (lambda u: u**3, ORANGE),
    "slow end": (lambda u: 1 - (1 - u) ** 3, GREEN),
    "wavy": (lambda u: u + 0.15 * np.sin(2 * np.pi * u), PINK),
}


def schedules() -> Figure:
    """Four schedules with the same ends, and the one integral that all of them approach."""
    fig, (left, right) = figure(1, 2, height=3.1)
    u = np.linspace(0, 1, 200)
    for shape, colour in (SHAPES[name] for name in SHAPES):
        left.plot(u, CLEAN + (NOISY - CLEAN) * shape(u), color=colour)
    left.text(0.55, 4.6, "slow start", color=ORANGE)
    left.text(0.02, -5.6, "slow end", color=GREEN)
    left.text(0.5, -2.9, "wavy", color=PINK)
    left.text(0.17, 4.35, "straight", color=BLUE, rotation=-33, ha="center", va="center", fontsize=10)
    left.set(xlabel="$t/T$", title=r"$\log\,\mathrm{SNR}$", xlim=(0, 1), xticks=[0, 0.5, 1], yticks=[-6, -3, 0, 3, 6])
    level = np.linspace(NOISY, CLEAN, 160)
    height = np.array([np.exp(v) * _guess_error(float(expit(v))) / 2 for v in level])
    right.fill_between(level, height, color=GREY, alpha=0.35, lw=0)
    right.plot(level, height, color=INK, lw=1.6)
    for name, T in (("straight", 10), ("slow start", 10)):
        shape, colour = SHAPES[name]
        ends = CLEAN + (NOISY - CLEAN) * shape(np.linspace(0, 1, T))
        schedule = Schedule.from_alpha_bar(expit(ends))
        for t in range(2, T + 1):
            low, high = ends[t - 1], ends[t - 2]
            term = elbo.snr_weight(schedule[t]) * _guess_error(schedule[t].alpha_bar)
            right.plot([low, low, high, high], [0, *[term / (high - low)] * 2, 0], color=colour, lw=1.2)
    right.set(xlabel=r"$\log\,\mathrm{SNR}$", title="loss per unit of it", xlim=(-6, 6), ylim=(0, 0.85))
    right.set(xticks=[-6, -3, 0, 3, 6], yticks=[0, 0.4, 0.8])
    return fig


def bits() -> Figure:
    """The bound for pixels with 256 greys and their exact denoiser, added up from T to 0."""
    greys = forward.to_unit_range(np.arange(256.0))[:, None]
    share = np.exp(Mixture([1 / 3, 2 / 3], [[-0.7], [0.35]], [0.001, 0.001]).log_prob(greys))
    kept = share / share.sum() > 1e-6
    pixel = Mixture(share[kept] / share[kept].sum(), greys[kept], np.zeros(kept.sum()))
    truth = float(elbo.bits_per_dim(elbo.entropy(pixel.weights), dims=1))
    fig, (left, right) = figure(1, 2, height=3.0, width_ratios=[1, 1.5])
    left.bar(greys[:, 0], share / share.sum(), width=2 / 255, color=GREY)
    left.set(xlabel="grey value", title="the data", yticks=[], xlim=(-1, 1), xticks=[-1, 0, 1])
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(8)

    class Quadrature:
        """The nodes of a quadrature in the place of random noise."""

        def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.resize(nodes, shape[0])[:, None]

    x_0 = np.repeat(pixel.means, len(nodes), axis=0)
    shares = np.outer(pixel.weights, node_weights / node_weights.sum()).ravel()
    times = np.arange(1001)
    for variance, colour in (("beta", BLUE), ("posterior", ORANGE)):
        terms = elbo.vlb_terms(
            lambda x, t: pixel.noise(x, SCHEDULE[int(t[0])]), x_0, SCHEDULE, Quadrature(), variance=variance
        )
        spent = np.cumsum((terms @ shares)[::-1])[::-1]  # L_T, then L_T + L_{T-1}, ... at place t: down to L_t
        right.plot(times + 1, elbo.bits_per_dim(spent, dims=1), color=colour)
        right.plot(1, elbo.bits_per_dim(spent[0], dims=1), "o", color=colour, ms=5, clip_on=False)
    right.axhline(truth, color=GREY, lw=1, ls=":")
    right.text(950, truth + 0.12, "entropy of the data", color=INK)
    right.text(3.2, 3.7, r"$\tilde\beta_t$", color=ORANGE)
    right.text(3.0, 1.5, r"$\beta_t$", color=BLUE)
    right.set(xscale="log", xlabel="$t$", title="bits down to $t$", ylim=(0, 6.2), xlim=(1001, 1))
    right.set_xticks([1000, 100, 10, 2, 1], ["1000", "100", "10", "1", "0"])
    right.minorticks_off()
    return fig
