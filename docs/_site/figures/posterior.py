"""The figures of chapter 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import norm, wasserstein_distance

from tinyddpm import forward, posterior
from tinyddpm.forward import Step
from tinyddpm.mixture import Mixture, two_classes

from .style import BLUE, GREEN, GREY, INK, ORANGE, VALLEY, VIOLET, Figure, class_colour, density_of, figure

DATA = two_classes()
SCHEDULE = forward.linear()


def _average(mixture: Mixture, f: Callable[[np.ndarray], Any], points: int = 2001) -> float:
    """E[f(x)] for a mixture on a line, by the trapezoid rule, which is exact to rounding for such smooth densities."""
    means, stds = np.asarray(mixture.means).ravel(), np.sqrt(np.asarray(mixture.variances).ravel())
    x = np.linspace((means - 9 * stds).min(), (means + 9 * stds).max(), points)
    return float(np.trapezoid(density_of(mixture, x) * np.reshape(f(x[:, None]), points), x))


def _step(alpha_bar_prev: float, beta: float) -> Step:
    """A step of any size from a given noise level."""
    return forward.Schedule.from_alpha_bar([alpha_bar_prev, alpha_bar_prev * (1 - beta)])[2]


def _ancestral(
    count: int, last: int = 1000, start: np.ndarray | None = None, fresh: float = 1, seed: int = 0
) -> Iterator[np.ndarray]:
    """The exact denoiser's chain from t = `last` down to 0: every state."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 1)) if start is None else start
    yield x
    for t in range(last, 0, -1):
        step = SCHEDULE[t]
        z = fresh * rng.standard_normal(x.shape)
        x = posterior.ancestral_step(x, DATA.noise(x, step), z, step, posterior.variance(step))
        yield x


def _ddim(x: np.ndarray, times: Any, eta: float = 0.0, seed: int = 0) -> Iterator[np.ndarray]:
    """DDIM with the exact denoiser along falling times: every state."""
    rng = np.random.default_rng(seed)
    yield x
    for t, s in pairwise(times):
        step, z = SCHEDULE[t], rng.standard_normal(x.shape)
        x = posterior.ddim_step(x, DATA.noise(x, step), z, step, SCHEDULE[s], eta)
        yield x


def _encode(x: np.ndarray, times: Any) -> np.ndarray:
    for s, t in pairwise(times):
        x = posterior.ddim_encode_step(x, DATA.noise(x, SCHEDULE[s]), SCHEDULE[s], SCHEDULE[t])
    return x


def counting() -> Figure:
    """300 photos as a square: the columns are the prior, the heights the likelihood."""
    prior, likelihood = np.array([1 / 3, 2 / 3]), np.array([[0.6, 0.4], [0.15, 0.85]])
    joint, after = posterior.joint(prior, likelihood), posterior.bayes(prior, likelihood)[:, 0]
    fig, (left, right) = figure(1, 2, height=2.9, width_ratios=[1.7, 1])
    names, colours = ("faces", "trees"), (ORANGE, BLUE)
    edge = 0.0
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        width, tall = prior[i], likelihood[i, 0]
        left.bar(edge, tall, width - 0.01, align="edge", color=colour)
        left.bar(edge, 1 - tall, width - 0.01, bottom=tall, align="edge", color=colour, alpha=0.25)
        middle = edge + width / 2
        left.text(middle, tall / 2, f"{300 * joint[i, 0]:.0f}", ha="center", va="center", color="white", weight="bold")
        left.text(middle, tall + (1 - tall) / 2, f"{300 * joint[i, 1]:.0f}", ha="center", va="center")
        left.text(middle, 1.03, name, ha="center", va="bottom", color=colour)
        edge += width
    left.set(xlim=(0, 1), ylim=(0, 1), xticks=[1 / 6, 2 / 3], xticklabels=["100", "200"], yticks=[0, 0.5, 1])
    left.set(xlabel="all 300 photos", ylabel="share")
    left.annotate("blurred", (0.985, 0.07), ha="right", va="center", color="white")
    left.annotate("sharp", (0.985, 0.9), ha="right", va="center")
    bottom = 0.0
    for share, name, colour, text in zip(after, names, colours, ("60", "30"), strict=True):
        right.bar(0.5, share, 0.7, bottom=bottom, color=colour)
        right.text(0.5, bottom + share / 2, f"{text} {name}", ha="center", va="center", color="white", weight="bold")
        bottom += share
    right.set(xlim=(0, 1), ylim=(0, 1), xticks=[0.5], xticklabels=["90"], yticks=[], xlabel="the blurred ones")
    return fig


def product() -> Figure:
    """What is known without x_t, what x_t says, and both together."""
    x_0, x_t, step = 0.7, -0.6, _step(0.6, 0.3)
    curves = (
        (*forward.marginal(x_0, step.before), BLUE, "from $x_0$:\n$q(x_{t-1}|x_0)$", (1.35, 0.62)),
        (x_t / step.alpha**0.5, step.beta / step.alpha, ORANGE, "from $x_t$:\n$q(x_t|x_{t-1})$", (-1.75, 0.62)),
        (*posterior.posterior(x_t, x_0, step), GREEN, "both: $q(x_{t-1}|x_t,x_0)$", (0.05, 1.02)),
    )
    fig, ax = figure(height=2.8)
    x = np.linspace(-2.6, 2.6, 400)
    for mean, var, colour, text, place in curves:
        y = norm.pdf(x, mean, var**0.5)
        ax.plot(x, y, color=colour, lw=2.6 if colour == GREEN else 1.8)
        ax.fill_between(x, y, color=colour, alpha=0.12, lw=0)
        ax.plot([mean, mean], [0, norm.pdf(0, 0, var**0.5)], color=colour, lw=1, ls=":")
        ax.text(*place, text, color=colour, ha="center", va="center")
    ax.set(xlabel="$x_{t-1}$", ylabel="density", yticks=[0, 0.5], ylim=(0, 1.12), xlim=(-2.6, 2.6))
    return fig


def weights() -> Figure:
    """How much each of the two guesses counts in the mean."""
    t, step = np.arange(1, 1001), SCHEDULE.steps
    fig, ax = figure(height=2.7)
    ax.plot(t, posterior.mean(0.0, 1.0, step) / np.sqrt(step.alpha_bar_prev), color=BLUE)
    ax.plot(t, posterior.mean(1.0, 0.0, step) * np.sqrt(step.alpha), color=ORANGE)
    ax.text(7, 0.27, r"guess from $x_0$: $\sqrt{\bar\alpha_{t-1}}\,x_0$", color=BLUE)
    ax.text(12, 0.74, r"guess from $x_t$: $x_t/\sqrt{\alpha_t}$", color=ORANGE)
    ax.set(xscale="log", xlabel="$t$", ylabel="weight in the mean", ylim=(0, 1.03), xlim=(1, 1000), yticks=[0, 0.5, 1])
    return fig


def variances() -> Figure:
    """The best variance of the step back for four kinds of data, as a share of beta."""
    t = np.unique(np.geomspace(2, 1000, 60).astype(int))
    steps = [SCHEDULE[i] for i in t]
    fig, ax = figure(height=2.9)
    sharp = Mixture(DATA.weights, DATA.means, [2e-4, 2e-4])
    for data, colour in ((DATA, GREEN), (sharp, BLUE)):
        best = []
        for step in steps:
            q = data.diffuse(step)
            best.append(posterior.analytic_variance(step, _average(q, lambda x, q=q: q.score(x) ** 2)) / step.beta)
        ax.plot(t, best, color=colour)
    ax.plot(t, [posterior.optimal_variance(s, 1.0) / s.beta for s in steps], color=GREY)
    ax.plot(t, [posterior.variance(s) / s.beta for s in steps], color=ORANGE)
    ax.text(2.1, 1.012, r"$\mathcal{N}(0, I)$: $\beta_t$", color=INK, va="bottom")
    ax.text(2.1, 0.925, "two classes", color=GREEN)
    ax.text(2.1, 0.865, "sharp classes", color=BLUE)
    ax.text(7, 0.68, r"one point: $\tilde\beta_t$", color=ORANGE)
    ax.set(xscale="log", xlabel="$t$", ylabel=r"variance$\;/\;\beta_t$", ylim=(0.44, 1.09), xlim=(2, 1000))
    return fig


def reverse_kernel() -> Figure:
    """One big step back and one small one, and the best Gaussian for each."""
    fig, axes = figure(1, 2, height=2.7)
    for ax, beta, x_t in zip(axes, (0.5, 0.02), (-0.3, -0.3), strict=True):
        kernel = DATA.reverse(np.array([x_t]), _step(0.8, beta))
        mean, std = float(kernel.mean()[0]), float(kernel.var()[0]) ** 0.5
        x = np.linspace(-2.4, 1.8, 800) if beta > 0.1 else np.linspace(mean - 4 * std, mean + 4 * std, 400)
        ax.plot(x, norm.pdf(x, mean, std), color=GREY, ls="--")
        ax.plot(x, density_of(kernel, x), color=BLUE, lw=2.2)
        ax.fill_between(x, density_of(kernel, x), color=BLUE, alpha=0.12, lw=0)
        ax.set(title=rf"$\beta = {beta}$", xlabel="$x_{t-1}$", yticks=[], ylim=(0, None))
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_ylabel("density")
    axes[0].text(-0.95, 0.44, "best\nGaussian", color=INK, ha="center", va="bottom", fontsize=11)
    axes[0].set_ylim(0, 0.62)
    axes[0].text(-1.2, 0.05, "true", color=BLUE, ha="center", fontsize=11)
    return fig


def how_gaussian() -> Figure:
    """The distance of the true step back from a Gaussian falls with the size of the step."""
    betas = np.geomspace(1e-3, 0.5, 22)
    u, own, common = np.linspace(-10, 10, 2001), [], []
    for beta in betas:
        step = _step(0.8, beta)
        q = DATA.diffuse(step)

        def distance(x: np.ndarray, step: Step = step) -> np.ndarray:
            """KL from the kernel to the Gaussian of its mean and variance, for every x_t."""
            values = []
            for x_t in x:
                kernel = DATA.reverse(x_t, step)
                std = float(kernel.var()[0]) ** 0.5
                there = float(kernel.mean()[0]) + std * u
                log_p, log_g = kernel.log_prob(there[:, None]), norm.logpdf(u) - np.log(std)
                values.append(np.trapezoid(np.exp(log_p) * (log_p - log_g) - np.exp(log_p) + np.exp(log_g), there))
            return np.array(values)

        best = posterior.analytic_variance(step, _average(q, lambda x, q=q: q.score(x) ** 2))
        own.append(_average(q, distance, 161))

        def mismatch(x: np.ndarray, step: Step = step, best: float = best) -> np.ndarray:
            ratio = DATA.reverse(x, step).var() / best
            return (ratio - 1 - np.log(ratio)) / 2

        common.append(own[-1] + _average(q, mismatch, 401))
    fig, ax = figure(height=2.9)
    ax.plot(betas, common, color=ORANGE)
    ax.plot(betas, own, color=BLUE)
    ax.text(0.011, 2.0e-3, "one variance for all $x_t$", color=ORANGE, ha="right")
    ax.text(0.03, 2.2e-7, "its own variance at every $x_t$", color=BLUE, ha="center")
    x, before = np.linspace(-5, 5, 40_001), DATA.diffuse(step.before)
    bend = np.gradient(before.score(x[:, None])[:, 0], x)
    skew = np.gradient(bend, x)
    share = density_of(before, x) * (x[1] - x[0])
    for power, limit in ((2, (share @ bend**2 - (share @ bend) ** 2) / 4), (3, share @ skew**2 / 12)):
        ax.plot(betas[:15], limit * betas[:15] ** power, color=GREY, lw=1, ls=":")
    ax.text(1.05e-3, common[0] * 2.6, r"$\beta^2$", color=INK)
    ax.text(1.05e-3, own[0] * 5, r"$\beta^3$", color=INK)
    ax.set(xscale="log", yscale="log", xlabel=r"$\beta$ of the step", ylabel="KL (nats)", xlim=(1e-3, 0.5))
    return fig


@cache
def _chain(fresh: float) -> np.ndarray:
    return np.stack([x[:, 0] for x in _ancestral(1500, fresh=fresh)])


def ancestral() -> Figure:
    """Algorithm 2 with the exact denoiser turns noise into the two classes."""
    path = _chain(1.0)
    fig, (left, right) = figure(1, 2, height=3.0, width_ratios=[2.3, 1], sharey=True)
    times = np.arange(1000, -1, -1)
    for i in range(36):
        left.plot(times[::5], path[::5, i], color=class_colour(path[-1, i]), lw=0.8, alpha=0.75)
    left.set(xlabel="$t$", ylabel="$x_t$", xlim=(1000, 0), ylim=(-3, 3), xticks=[1000, 500, 0])
    right.hist(
        path[-1], bins=np.linspace(-2.2, 1.6, 62), density=True, orientation="horizontal", color=GREY, alpha=0.55
    )
    x = np.linspace(-2.2, 1.6, 500)
    right.plot(density_of(DATA, x), x, color=INK, lw=1.6)
    right.text(1.35, -1.75, "faces", color=ORANGE, ha="center")
    right.text(1.0, 1.35, "trees", color=BLUE, ha="center")
    right.set(xlabel="density of $x_0$", xticks=[0, 1, 2])
    return fig


def without_noise() -> Figure:
    """The same chain with z = 0: every start ends at the same point."""
    noisy, silent = _chain(1.0), _chain(0.0)
    times = np.arange(1000, -1, -1)
    fig, (left, right) = figure(1, 2, height=2.9)
    for i in range(36):
        left.plot(times[::5], silent[::5, i], color=VIOLET, lw=0.8, alpha=0.75)
    left.set(title="paths, $z = 0$", xlabel="$t$", ylabel="$x_t$", xlim=(1000, 0), ylim=(-3, 3), xticks=[1000, 500, 0])
    right.plot(times, noisy.var(1), color=GREEN)
    right.plot(times, silent.var(1), color=VIOLET)
    right.text(500, 2.2, "with $z$", color=GREEN, ha="center", va="bottom")
    right.text(560, 2e-5, "$z = 0$", color=VIOLET, ha="center")
    right.set(
        title="variance of $x_t$", xlabel="$t$", yscale="log", xlim=(1000, 0), ylim=(3e-8, 30), xticks=[1000, 500, 0]
    )
    return fig


PIXEL = Mixture(np.full(5, 0.2), np.linspace(-1, 1, 5)[:, None], np.zeros(5))
"""A pixel of five greys from -1 to 1: bounded data."""


def _pixels(predict: Callable[[np.ndarray, Step], np.ndarray], rows: int, clip: float | None) -> np.ndarray:
    """Samples of `PIXEL` by 250 steps with a wrong denoiser, for several sizes of the error at once."""
    rng, schedule = np.random.default_rng(0), forward.respace(SCHEDULE, range(4, 1001, 4))
    x = np.repeat(rng.standard_normal((1, 1000, 1)), rows, axis=0)
    for i in range(schedule.T, 0, -1):
        step, z = schedule[i], rng.standard_normal((1, 1000, 1)) + np.zeros((rows, 1, 1))
        x = posterior.ancestral_step(x, predict(x, step), z, step, step.beta, clip)
    return x[..., 0]


def clipping() -> Figure:
    """Clipping at every step against clipping once at the end, for two ways of being wrong."""
    truth = np.linspace(-1, 1, 5)
    errors, bounds = np.geomspace(0.01, 0.5, 9), np.linspace(1.25, 3.5, 10)

    def off(x: np.ndarray, step: Step) -> np.ndarray:
        return PIXEL.noise(x, step) + errors[:, None, None]

    def shy(x: np.ndarray, step: Step) -> np.ndarray:
        return np.clip(PIXEL.noise(x, step), -bounds[:, None, None], bounds[:, None, None])

    fig, (left, right) = figure(1, 2, height=3.0)
    for clip, colour, style in ((None, ORANGE, "-"), (1.0, BLUE, "--")):
        ends = _pixels(off, len(errors), clip).clip(-1, 1)
        left.plot(errors, [wasserstein_distance(x, truth) for x in ends], color=colour, ls=style)
        right.plot(bounds, 100 * (abs(_pixels(shy, len(bounds), clip)) > 1.1).mean(1), color=colour, ls=style)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="constant error $b$ of the noise",
        title="distance to the data",
        ylim=(8e-3, 1.2),
    )
    left.text(0.055, 0.3, "at the end", color=ORANGE, ha="center")
    left.text(0.2, 0.035, "every step", color=BLUE, ha="center")
    right.set(xlabel="largest noise $c$ it can say", title="lost samples, %", ylim=(-2, 36))
    right.text(1.75, 18, "at the end", color=ORANGE)
    right.text(2.4, 2.2, "every step", color=BLUE)
    return fig


def ddim() -> Figure:
    """The same starts, with fresh noise and without."""
    start = np.random.default_rng(11).standard_normal((24, 1))
    times = np.append(np.arange(1000, 1, -2), 1)
    fig, axes = figure(1, 2, height=2.8, sharey=True)
    for ax, eta, name in zip(axes, (1.0, 0.0), (r"$\eta = 1$", r"$\eta = 0$"), strict=True):
        path = np.stack([x[:, 0] for x in _ddim(start, times, eta)])
        for i in range(path.shape[1]):
            ax.plot(times[::3], path[::3, i], color=class_colour(path[-1, i]), lw=0.9, alpha=0.8)
        ax.set(title=name, xlabel="$t$", xlim=(1000, 0), ylim=(-3, 3), xticks=[800, 400, 0])
    axes[0].set_ylabel("$x_t$")
    return fig


def encoding() -> Figure:
    """The code of a sample is its quantile; the round trip returns as the steps get smaller."""
    fig, (left, right) = figure(1, 2, height=3.0)
    code = np.linspace(-3, 3, 241)[:, None]
    *_, end = _ddim(code, np.arange(1000, 0, -1))
    left.plot(code[:, 0], end[:, 0], color=BLUE, lw=6, alpha=0.45)
    x = np.linspace(-2.1, 1.5, 1500)
    weights, means, stds = DATA.weights, DATA.means[:, 0], np.sqrt(DATA.variances)
    share = (weights * norm.cdf((x[:, None] - means) / stds)).sum(1)
    left.plot(norm.ppf(share), x, color=ORANGE, ls="--", lw=1.4)
    left.text(-2.9, 0.9, "tree", color=INK)
    left.text(1.2, -1.5, "face", color=INK)
    left.text(-2.8, -0.55, "quantiles", color=ORANGE)
    left.text(1.0, 0.35, "DDIM", color=BLUE)
    left.set(xlabel="code $x_T$", ylabel="decoded $x_1$", xlim=(-3, 3))
    clean = DATA.sample(400, np.random.default_rng(0))
    x_1 = forward.diffuse(clean, np.random.default_rng(1).standard_normal(clean.shape), SCHEDULE[1])
    steps, errors = np.array([5, 10, 20, 50, 100, 200, 500, 999]), []
    for count in steps:
        times = np.linspace(1, 1000, count + 1).round().astype(int)
        *_, back = _ddim(_encode(x_1, times), times[::-1])
        errors.append(abs(back - x_1).mean())
    right.plot(steps, errors, "o-", color=BLUE, ms=4)
    right.plot(steps[2:], errors[-1] * steps[-1] / steps[2:], color=GREY, lw=1, ls=":")
    right.text(60, 0.055, "1 / steps", color=INK)
    right.set(xscale="log", yscale="log", xlabel="steps each way", title="round trip, mean error")
    return fig


def coming_back() -> Figure:
    """Noise to t, denoise to 0: how far from the start one arrives, and whether in the same class."""
    t = np.unique(np.append(np.linspace(1, 1000, 60), [20, 40, 60, 80]).astype(int))
    error, same = [], []
    for i in t:
        step = SCHEDULE[i]
        q = DATA.diffuse(step)
        error.append(2 * _average(q, lambda x, step=step: DATA.posterior(x, step).var()))
        same.append(_average(q, lambda x, step=step: (DATA.posterior(x, step).weights ** 2).sum(-1)))
    fig, (left, right) = figure(1, 2, height=2.8)
    left.plot(t, error, color=BLUE)
    right.plot(t, 100 * np.array(same), color=BLUE)
    rng = np.random.default_rng(5)
    for last in (50, 150, 250, 400, 700):
        clean = DATA.sample(1500, rng)
        noisy = forward.diffuse(clean, rng.standard_normal(clean.shape), SCHEDULE[last])
        *_, back = _ancestral(len(clean), last, noisy, seed=last)
        left.plot(last, ((back - clean) ** 2).mean(), "o", color=ORANGE, ms=5)
        right.plot(last, 100 * ((back < VALLEY) == (clean < VALLEY)).mean(), "o", color=ORANGE, ms=5)
    right.axhline(100 * 5 / 9, color=GREY, lw=1, ls=":")
    left.axhline(2, color=GREY, lw=1, ls=":")
    left.text(20, 2.03, "two strangers: 2", color=INK, va="bottom")
    right.text(20, 54.5, "by chance: 5/9", color=INK, va="top")
    left.text(330, 0.8, "exact", color=BLUE)
    left.text(440, 1.42, "sampled", color=ORANGE)
    left.set(xlabel="$t$", title="mean squared difference", ylim=(-0.05, 2.3))
    right.set(xlabel="$t$", title="same class, %", ylim=(48, 102))
    return fig
