"""The figures of chapter 5."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import norm

from tinyddpm import forward, langevin, posterior
from tinyddpm.forward import Schedule, Step
from tinyddpm.mixture import Mixture, standard_normal, two_classes

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, class_colour, density_of, figure

DATA = two_classes()
SOFT = Mixture([0.3, 0.7], [[-1.2], [0.8]], [0.3, 0.2])
"""Two modes with a low pass between them."""
APART = Mixture([0.2, 0.8], [[-2.0], [2.0]], [0.1, 0.1])
"""Two modes that no chain gets across."""
TWO = Mixture([0.5, 0.5], [[-1.0], [1.0]], [0.3, 0.3])
"""Two classes that overlap."""


def _cdf(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    means, stds = mixture.means[:, 0], np.sqrt(mixture.variances)
    return (mixture.weights * norm.cdf((np.asarray(x)[..., None] - means) / stds)).sum(-1)


def _at(data: Mixture, time: float) -> Mixture:
    """Data after so much noise; the clock is B."""
    return data.diffuse(Step.from_log_alpha_bar(-time))


def _back(data: Mixture, x: np.ndarray, time: float) -> np.ndarray:
    return langevin.reverse_drift(langevin.vp_drift(x, 1), 1, _at(data, time).score(x))


def _flow(data: Mixture, x: np.ndarray, time: float) -> np.ndarray:
    return langevin.probability_flow_drift(langevin.vp_drift(x, 1), 1, _at(data, time).score(x))


def _falling(steps: int, start: float = 8.0) -> np.ndarray:
    """Times from noise to data, with ever smaller steps where the modes are narrow."""
    return start * np.linspace(1, 0, steps + 1) ** 3


def landscape() -> Figure:
    """A density, the energy that belongs to it, and the score that leads down the one and up the other."""
    x = np.linspace(-2.9, 2.4, 400)
    density, score = density_of(SOFT, x), langevin.gaussian_score  # the spring of a single mode, to compare
    fig, (left, right) = figure(1, 2, height=2.9)
    left.plot(x, density, color=BLUE)
    left.fill_between(x, density, color=BLUE, alpha=0.12, lw=0)
    left.plot(x, -SOFT.log_prob(x[:, None]) / 8, color=GREY)
    for at in (-2.6, -1.6, -0.65, 0.2, 1.35, 1.95):
        force = float(SOFT.score(np.array([at]))[0])
        left.annotate(
            "",
            (at + 0.13 * force, -0.07),
            (at, -0.07),
            arrowprops={"arrowstyle": "->", "color": ORANGE, "lw": 1.6, "shrinkA": 0, "shrinkB": 0},
        )
    left.text(0.83, 0.66, "density", color=BLUE, ha="center", va="bottom")
    left.text(-1.35, 0.66, "energy", color=INK, ha="center")
    left.text(-0.45, -0.13, "score", color=ORANGE, ha="center", va="top")
    left.set(xlabel="$x$", ylim=(-0.27, 0.8), yticks=[0, 0.5])
    right.axhline(0, color=GREY, lw=0.8)
    for mean, var in zip(SOFT.means[:, 0], SOFT.variances, strict=True):
        right.plot(x, score(x, mean, var), color=GREY, lw=1, ls=":")
    right.plot(x, SOFT.score(x[:, None])[:, 0], color=ORANGE)
    right.set(xlabel="$x$", title="score", ylim=(-7, 6), yticks=[-5, 0, 5])
    right.text(0.1, 4.7, "spring of\nthe right mode", color=INK, ha="left", va="center", fontsize=11)
    right.text(-2.85, -4.6, "spring of\nthe left mode", color=INK, ha="left", va="center", fontsize=11)
    return fig


def climbing() -> Figure:
    """The same starts, uphill without noise and with it."""
    steps, delta = 600, 0.04
    fig, axes = figure(1, 3, height=3.0, width_ratios=[1.5, 1.5, 1], sharey=True)
    ends = []
    for ax, fresh in zip(axes[:2], (0.0, 1.0), strict=True):
        rng = np.random.default_rng(3)
        path = [2.0 * rng.standard_normal((600, 1))]
        for _ in range(steps):
            z = fresh * rng.standard_normal(path[-1].shape)
            path.append(langevin.langevin_step(path[-1], SOFT.score(path[-1]), delta, z))
        paths = np.stack(path)[..., 0]
        for i in range(14):
            ax.plot(paths[:, i], color=ORANGE if fresh == 0 else BLUE, lw=0.9, alpha=0.75)
        ax.set(xlabel="step", xticks=[0, 300, 600], ylim=(-3.4, 3.4))
        ends.append(np.concatenate(paths[300::50]) if fresh else paths[-1])
    axes[0].set(title="no noise", ylabel="$x$")
    axes[1].set(title="noise")
    axes[2].hist(ends[0], bins=np.linspace(-3, 3, 61), density=True, orientation="horizontal", color=ORANGE, alpha=0.6)
    axes[2].hist(ends[1], bins=np.linspace(-3, 3, 41), density=True, orientation="horizontal", color=BLUE, alpha=0.5)
    x = np.linspace(-3, 3, 400)
    axes[2].plot(density_of(SOFT, x), x, color=INK, lw=1.4)
    axes[2].set(title="the end", xlabel="density", xlim=(0, 1.1), xticks=[0, 1])
    return fig


def step_size() -> Figure:
    """Where the variance of Langevin dynamics on a standard normal ends, and that of the forward step."""
    deltas, n = np.linspace(0, 3.4, 200), 4000
    fig, ax = figure(height=2.8)
    ax.plot(deltas, [langevin.stationary_variance(d, 1.0) for d in deltas], color=ORANGE)
    ax.plot([0, 1], [1, 1], color=BLUE)
    rng = np.random.default_rng(0)
    for delta in (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        x = langevin.langevin(standard_normal().score, rng.standard_normal((n, 1)), delta, 60, rng)
        ax.plot(delta, x.var(), "o", color=ORANGE, ms=5)
    for beta in (0.1, 0.5, 1.0):
        step, x = forward.Schedule([beta])[1], rng.standard_normal((n, 1))
        for _ in range(60):
            x = forward.diffuse_once(x, rng.standard_normal(x.shape), step)
        ax.plot(beta, x.var(), "s", color=BLUE, ms=5)
    ax.axvline(4, color=GREY, lw=1, ls=":")
    ax.text(3.94, 5.4, "no end\nfrom 4 on", ha="right", va="top")
    ax.text(1.45, 2.1, r"Langevin: $1/(1 - \delta/4)$", color=ORANGE, ha="right")
    ax.text(1.07, 0.93, "forward step: 1", color=BLUE, va="center")
    ax.set(
        xlabel=r"$\delta$, or $\beta$", ylabel="variance at the end", xlim=(0, 4.05), ylim=(0.5, 6), yticks=[1, 2, 4, 6]
    )
    return fig


def brownian() -> Figure:
    """Brownian motion against DDPM's walk with the same noise: variance, memory and roughness."""
    schedule, rng = forward.linear(), np.random.default_rng(4)
    clock = np.concatenate([[0.0], np.cumsum(schedule.beta)])
    z = rng.standard_normal((schedule.T, 1500))
    start = rng.standard_normal(1500)  # variance 1
    free = start + langevin.brownian_path(clock, z)
    walk = [start]
    for step, fresh in zip(schedule, z, strict=True):
        walk.append(forward.diffuse_once(walk[-1], fresh, step))
    walked = np.stack(walk)
    fig, (left, middle, right) = figure(1, 3, height=2.8)
    for path, colour in ((free, ORANGE), (walked, BLUE)):
        left.plot(clock, path.var(1), color=colour)
        middle.plot(clock, [np.corrcoef(start, now)[0, 1] for now in path], color=colour)
        rough = [langevin.quadratic_variation(path[: i + 1, :1])[0] for i in range(20, 1001, 20)]
        right.plot(clock[20::20], rough, color=colour, ls="-" if colour == ORANGE else "--", lw=2.4)
    middle.plot(clock, 1 / np.sqrt(forward.brownian(0.0, clock).var + 1), color=GREY, lw=1, ls=":")
    middle.plot(clock, np.sqrt(np.append(1.0, schedule.steps.alpha_bar)), color=GREY, lw=1, ls=":")
    left.plot(clock, 1 + clock, color=GREY, lw=1, ls=":")
    left.text(7.2, 9.8, "Brownian", color=ORANGE, ha="right")
    left.text(9.8, 1.8, "DDPM", color=BLUE, ha="right")
    left.set(title="variance", xlabel=r"sum of $\beta$", ylim=(0, 12))
    middle.set(title="memory of $x_0$", xlabel=r"sum of $\beta$", ylim=(-0.12, 1.05), yticks=[0, 0.5, 1])
    right.set(title="roughness", xlabel=r"sum of $\beta$", ylim=(0, 12))
    for ax in (left, middle, right):
        ax.set(xlim=(0, 10.1), xticks=[0, 5, 10])
    return fig


def three_losses() -> Figure:
    """The three losses of score matching for a model with one parameter: parallel curves."""
    kept, axis = 0.6, np.linspace(-7, 7, 401)
    x_0, x = (a[..., None] for a in np.meshgrid(axis, axis, indexing="ij"))
    joint = np.exp(SOFT.log_prob(x_0)) * norm.pdf(x[..., 0], math.sqrt(kept) * x_0[..., 0], math.sqrt(1 - kept))
    joint *= (axis[1] - axis[0]) ** 2
    noisy, line = SOFT.diffuse(kept), axis[:, None]
    weight = density_of(noisy, axis) * (axis[1] - axis[0])
    settings = np.linspace(0.35, 2.2, 38)
    curves: list[list[float]] = [[], [], []]
    for a in settings:
        model, there = Mixture(noisy.weights, a * noisy.means, noisy.variances), x[0]
        answer, spread = model.score(there), np.gradient(model.score(line)[:, 0], axis)
        curves[0].append(float(weight @ langevin.explicit_score_matching(answer, noisy.score(line))))
        curves[1].append(float(weight @ langevin.implicit_score_matching(answer, spread)))
        everywhere = np.broadcast_to(answer, x.shape)
        curves[2].append(
            float((joint * langevin.denoising_score_matching(everywhere, x, math.sqrt(kept) * x_0, 1 - kept)).sum())
        )
    fig, ax = figure(height=2.8)
    for curve, colour, name in zip(curves, (GREEN, ORANGE, BLUE), ("explicit", "implicit", "denoising"), strict=True):
        ax.plot(settings, curve, color=colour)
        ax.text(2.23, curve[-1], name, color=colour, va="center")
    ax.axvline(1, color=GREY, lw=1, ls=":")
    ax.set(xlabel="place of the model's modes (truth: 1)", ylabel="loss", xlim=(0.35, 2.75), xticks=[0.5, 1, 1.5, 2])
    return fig


def _exploded(data: Mixture, x: np.ndarray, var: float) -> np.ndarray:
    return Mixture(data.weights, data.means, data.variances + var).score(x)


def _chain(shares: np.ndarray, grid: np.ndarray, var: float, delta: float, steps: int) -> np.ndarray:
    """The distribution after some steps of Langevin dynamics on `APART` with noise of a variance on it."""
    mean = langevin.langevin_step(grid, _exploded(APART, grid[:, None], var)[:, 0], delta, 0 * grid)
    for _ in range(steps):
        shares = langevin.next_distribution(shares, grid, mean, delta)
    return shares


def _normal(grid: np.ndarray, std: float) -> np.ndarray:
    shares = norm.pdf(grid, scale=std)
    return shares / shares.sum()


def mode_weights() -> Figure:
    """Plain Langevin dynamics leaves a mode as full as it found it; annealed does not."""
    n, rng = 2000, np.random.default_rng(0)
    start = rng.standard_normal((n, 1))
    grid = 48 * (np.arange(1024) + 0.5) / 1024 - 24
    fig, (left, right) = figure(1, 2, height=3.1, width_ratios=[1, 1.25])
    plain, shares, done = _normal(grid, 1), [], 0
    for steps in (10, 30, 100, 300, 1000):
        plain, done = _chain(plain, grid, 0.0, 0.02, steps - done), steps
        shares.append(plain[grid < 0].sum())
    right.plot([10, 30, 100, 300, 1000], shares, "o-", color=ORANGE, ms=4)
    for levels, colour in ((4, VIOLET), (8, GREEN), (16, BLUE)):
        variances, found = np.geomspace(16, 0.01, levels).tolist(), []
        counts = [c for c in (2, 5, 15, 50, 150) if levels * c <= 1300]
        for steps in counts:
            law = _normal(grid, 4)
            for var in variances:
                law = _chain(law, grid, var, 0.005 * var / variances[-1], steps)
            found.append(law[grid < 0].sum())
        right.plot(levels * np.array(counts), found, "o-", color=colour, ms=4)
    x = langevin.langevin(APART.score, start, 0.02, 1000, rng)
    y = langevin.annealed_langevin(partial(_exploded, APART), 4 * start, np.geomspace(16, 0.01, 16), 0.005, 50, rng)
    bins, at = np.linspace(-3.5, 3.5, 57), np.linspace(-3.5, 3.5, 400)
    left.hist(x[:, 0], bins=bins, density=True, color=ORANGE, alpha=0.6)
    left.hist(y[:, 0], bins=bins, density=True, histtype="step", color=BLUE, lw=1.6)
    left.plot(at, density_of(APART, at), color=INK, lw=1.2)
    left.set(xlabel="$x$", ylabel="density", yticks=[0, 0.5, 1], xticks=[-2, 0, 2])
    right.axhline(0.2, color=GREY, lw=1, ls=":")
    right.text(1000, 0.475, "plain", color=ORANGE, ha="right", va="top")
    right.text(1200, 0.415, "annealed, levels:", ha="right", fontsize=11)
    right.text(1200, 0.375, "4", color=VIOLET, ha="right")
    right.text(1200, 0.335, "8", color=GREEN, ha="right")
    right.text(1200, 0.295, "16", color=BLUE, ha="right")
    right.set(
        xscale="log", xlabel="steps", title="share of the left mode", ylim=(0.15, 0.54), yticks=[0.2, 0.3, 0.4, 0.5]
    )
    return fig


def two_ways_back() -> Figure:
    """The same starts, back along the stochastic equation and along the flow."""
    times, rng = _falling(400), np.random.default_rng(5)
    start = norm.ppf((np.arange(18) + 0.5) / 18)[:, None]
    w = langevin.brownian_path(times, rng.standard_normal((400, *start.shape)))
    noisy = langevin.euler_maruyama(partial(_back, DATA), lambda time: 1.0, start, times, w)
    smooth = langevin.heun(partial(_flow, DATA), start, times)
    fig, axes = figure(1, 2, height=3.0, sharey=True)
    clock = times ** (1 / 3)
    for ax, path, title in zip(
        axes, (noisy, smooth), ("stochastic, all of the score", "flow, half of it"), strict=True
    ):
        for i in range(len(start)):
            ax.plot(clock, path[:, i, 0], color=class_colour(path[-1, i, 0]), lw=1, alpha=0.85)
        ax.set(title=title, xlabel="$B$", xlim=(2, 0), ylim=(-3.3, 3.3))
        ax.set_xticks([2, 1, 0.3 ** (1 / 3), 0], ["8", "1", "0.3", "0"])
    axes[0].set_ylabel("$x$")
    return fig


def _transported(data: Mixture, x: np.ndarray, start: float, end: float) -> np.ndarray:
    """Where the flow carries points of a line, exactly: the share to the left of each stays."""
    there = _at(data, end)
    return np.array([[brentq(lambda y, u=u: _cdf(there, y) - u, -9, 9)] for u in _cdf(_at(data, start), x[:, 0])])


def orders() -> Figure:
    """By which power of the step errors fall, with noise and without."""
    fig, (left, right) = figure(1, 2, height=3.1)
    fine, n, end = 1024, 1500, 2.0
    times, rng = np.linspace(2.5, 0.5, fine + 1), np.random.default_rng(0)
    z = rng.standard_normal((fine, n, 1))
    w, start = langevin.brownian_path(times, z), rng.standard_normal((n, 1))
    counts = np.array([8, 16, 32, 64, 128])

    def path(steps: int) -> np.ndarray:
        few = slice(None, None, fine // steps)
        return langevin.euler_maruyama(partial(_back, SOFT), lambda time: 1.0, start, times[few], w[few])[-1]

    def growth(steps: int) -> np.ndarray:
        """dx = x dw, whose noise depends on x."""
        few, x = w[:: fine // steps] / math.sqrt(end), np.ones((n, 1))
        for a, b in pairwise(few):
            x = langevin.euler_maruyama_step(x, 0.0, x, 1 / steps, b - a)
        return x

    exact, grown = path(fine), np.exp(w[-1] / math.sqrt(end) - 0.5)
    found = {
        "strong": [abs(path(k) - exact).mean() for k in counts],
        "weak": [abs((path(k) ** 2).mean() - (exact**2).mean()) for k in counts],
        "other": [abs(growth(k) - grown).mean() for k in counts],
    }
    for name, colour in (("strong", BLUE), ("weak", GREEN), ("other", ORANGE)):
        left.plot(end / counts, found[name], "o-", color=colour, ms=4)
    left.text(0.014, 0.12, "noise that\ndepends on $x$", color=ORANGE, va="bottom", fontsize=11)
    left.text(0.018, found["strong"][3] * 1.5, "path", color=BLUE, va="bottom")
    left.text(0.07, found["weak"][2] * 0.55, "average", color=GREEN, va="top")
    left.set(title="with noise", xscale="log", yscale="log", xlabel=r"step $\Delta B$", ylabel="error")
    x = np.linspace(-2, 2, 9)[:, None]
    there = _transported(SOFT, x, 2.5, 0.0)
    euler, heun = [], []
    for k in counts:
        when = np.linspace(2.5, 0, k + 1)
        still = np.zeros((k + 1, *x.shape))
        euler.append(
            abs(langevin.euler_maruyama(partial(_flow, SOFT), lambda time: 0.0, x, when, still)[-1] - there).mean()
        )
        heun.append(abs(langevin.heun(partial(_flow, SOFT), x, when)[-1] - there).mean())
    right.plot(2.5 / counts, euler, "o-", color=BLUE, ms=4)
    right.plot(2.5 / counts, heun, "o-", color=VIOLET, ms=4)
    right.text(0.04, euler[3] * 1.6, "Euler", color=BLUE, ha="center", va="bottom")
    right.text(0.06, heun[2] * 0.25, "Heun", color=VIOLET)
    right.set(title="without noise", xscale="log", yscale="log", xlabel=r"step $\Delta B$")
    for ax, curve, power in ((left, "strong", 1), (left, "other", 0.5), (right, euler, 1), (right, heun, 2)):
        errors = found[curve] if isinstance(curve, str) else curve
        width = (end if ax is left else 2.5) / counts
        ax.plot(width, errors[-1] * (width / width[-1]) ** power, color=GREY, lw=1, ls=":")
        ax.set_xticks([0.02, 0.1], ["0.02", "0.1"])
        ax.tick_params(which="minor", labelbottom=False)
    return fig


Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, Step], np.ndarray]
"""Where a step back leads from x, with the score there and noise z."""


def _reverse_sde(x: np.ndarray, score: np.ndarray, z: np.ndarray, step: Step) -> np.ndarray:
    return langevin.reverse_sde_step(x, score, z, step, step.before)


def _ancestral(x: np.ndarray, score: np.ndarray, z: np.ndarray, step: Step) -> np.ndarray:
    return posterior.ancestral_step(x, langevin.noise_from_score(score, step), z, step, step.beta)


def _ddim(x: np.ndarray, score: np.ndarray, z: np.ndarray, step: Step) -> np.ndarray:
    return posterior.ddim_step(x, langevin.noise_from_score(score, step), z, step, step.before, 0.0)


def _euler(x: np.ndarray, score: np.ndarray, z: np.ndarray, step: Step) -> np.ndarray:
    return x + step.log_alpha * langevin.probability_flow_drift(langevin.vp_drift(x, 1), 1, score)


def _score(x: np.ndarray, step: Step) -> np.ndarray:
    return DATA.diffuse(step).score(x[:, None])[:, 0]


def _back_from_noise(steps: int) -> list[Step]:
    return list(Schedule.from_alpha_bar(np.exp(-_falling(steps)[-2::-1])))[::-1]


def _noisy(calls: int, kernel: Kernel, corrections: int = 0) -> float:
    """The distance to the data of what a step with noise leads to, by its distribution on a grid."""
    grid = np.linspace(-6, 6, 2048, endpoint=False)
    shares, ends = _normal(grid, 1), grid + (grid[1] - grid[0]) / 2
    for step in _back_from_noise(calls // (1 + corrections)):
        if step.noise_var_prev == 0:
            ends = kernel(ends, _score(ends, step), 0 * ends, step)
            break
        mean, moved = (kernel(grid, _score(grid, step), z, step) for z in (0 * grid, 1 + 0 * grid))
        shares = langevin.next_distribution(shares, grid, mean, float((moved - mean)[0]) ** 2)
        if corrections:
            delta = 0.3 * step.noise_var_prev
            mean = langevin.langevin_step(grid, _score(grid, step.before), delta, 0 * grid)
            shares = langevin.next_distribution(shares, grid, mean, delta)
    return float(abs(shares.cumsum() - _cdf(DATA, ends)).max())


def _annealed(calls: int) -> float:
    """Two steps at each level, down to a tenth of the classes' variance."""
    grid = np.linspace(-24, 24, 8192, endpoint=False)
    shares = _normal(grid, 4)
    for var in (levels := np.geomspace(16, 0.002, calls // 2).tolist()):
        delta = 0.002 * var / levels[-1]
        mean = langevin.langevin_step(grid, _exploded(DATA, grid[:, None], var)[:, 0], delta, 0 * grid)
        for _ in range(2):
            shares = langevin.next_distribution(shares, grid, mean, delta)
    return float(abs(shares.cumsum() - _cdf(DATA, grid + (grid[1] - grid[0]) / 2)).max())


def _silent(calls: int, walk: Callable[[int, np.ndarray], np.ndarray]) -> float:
    """The same without noise, where evenly spread starts leave nothing to chance."""
    shares = (np.arange(4000) + 0.5) / 4000
    return float(abs(_cdf(DATA, np.sort(walk(calls, ndtri(shares)))) - shares).max())


def _by_steps(kernel: Kernel, calls: int, x: np.ndarray) -> np.ndarray:
    for step in _back_from_noise(calls):
        x = kernel(x, _score(x, step), 0 * x, step)
    return x


def _by_heun(calls: int, x: np.ndarray) -> np.ndarray:
    return langevin.heun(partial(_flow, DATA), x[:, None], _falling(calls // 2))[-1, :, 0]


NOISY: dict[str, tuple[Callable[[int], float], str]] = {
    "reverse SDE": (partial(_noisy, kernel=_reverse_sde), BLUE),
    "ancestral": (partial(_noisy, kernel=_ancestral), GREEN),
    "corrected": (partial(_noisy, kernel=_reverse_sde, corrections=1), ORANGE),
    "annealed": (_annealed, PINK),
}
SILENT: dict[str, tuple[Callable[[int], float], str]] = {
    "flow, Euler": (partial(_silent, walk=partial(_by_steps, _euler)), BLUE),
    "DDIM": (partial(_silent, walk=partial(_by_steps, _ddim)), GREEN),
    "Heun": (partial(_silent, walk=_by_heun), VIOLET),
}
CALLS = (10, 20, 40, 80, 160)


def quality() -> Figure:
    """Calls of the score against the distance of samples to the data."""
    fig, axes = figure(1, 2, height=3.4, sharey=True)
    for ax, samplers in zip(axes, (NOISY, SILENT), strict=True):
        for distance, colour in samplers.values():
            ax.plot(CALLS, [distance(calls) for calls in CALLS], "o-", color=colour, ms=4)
        ax.set(xscale="log", yscale="log", xlabel="calls of the score", xlim=(8, 200), ylim=(3e-4, 0.6))
        ax.set_xticks([10, 40, 160], ["10", "40", "160"])
        ax.minorticks_off()
    left, right = axes
    for row, name in enumerate(("annealed", "corrected", "reverse SDE", "ancestral")):  # as they end, from the top
        left.text(10, 4e-3 * 0.52**row, name, color=NOISY[name][1], va="top", ha="left")
    right.text(55, 0.035, "Euler", color=BLUE)
    right.text(10, 0.02, "DDIM", color=GREEN)
    right.text(45, 0.0012, "Heun", color=VIOLET, ha="right")
    left.set(title="with noise", ylabel="distance to the data")
    right.set_title("without noise")
    return fig


def guidance() -> Figure:
    """Densities weighted by a class more than once, and what guided sampling draws in their place."""
    x = np.linspace(-3, 3.6, 1400)
    log_p, log_class = TWO.log_prob(x[:, None]), math.log(0.5) + norm.logpdf(x, 1, math.sqrt(0.3))
    fig, (left, right) = figure(1, 2, height=2.9, sharey=True)

    def tilted(gamma: float) -> np.ndarray:
        density = np.exp(log_p + gamma * (log_class - log_p))
        return density / np.trapezoid(density, x)

    for gamma, colour, place in (
        (0, GREY, (-1.2, 0.42)),
        (1, BLUE, (0.3, 0.66)),
        (3, ORANGE, (1.7, 0.8)),
        (10, PINK, (1.55, 0.95)),
    ):
        left.plot(x, tilted(gamma), color=colour)
        left.text(
            *place,
            rf"$\gamma = {gamma}$",
            color=colour,
            ha="center" if gamma == 0 else "right" if gamma == 1 else "left",
        )

    def guided(y: np.ndarray, time: float, rule: Callable[..., np.ndarray]) -> np.ndarray:
        there = _at(TWO, time)
        score, of_class = there.score(y), langevin.gaussian_score(y, there.means[1:], there.variances[1])
        return rule(langevin.vp_drift(y, 1), 1, langevin.guided_score(score, of_class - score, 3.0))

    n, rng, times = 6000, np.random.default_rng(0), _falling(150)
    start = norm.ppf((np.arange(n) + 0.5) / n)[:, None]
    w = langevin.brownian_path(times, rng.standard_normal((150, n, 1)))
    noisy = langevin.euler_maruyama(
        lambda y, time: guided(y, time, langevin.reverse_drift), lambda time: 1.0, start, times, w
    )[-1]
    flow = langevin.heun(lambda y, time: guided(y, time, langevin.probability_flow_drift), start, times)[-1]
    bins = np.linspace(-1, 3.4, 45)
    right.hist(flow[:, 0], bins=bins, density=True, color=VIOLET, alpha=0.35)
    right.hist(noisy[:, 0], bins=bins, density=True, color=GREEN, histtype="step", lw=1.5)
    right.plot(x, tilted(3), color=ORANGE)
    right.text(0.35, 0.8, "weighted", color=ORANGE, ha="right")
    right.text(2.1, 0.95, "flow", color=VIOLET)
    right.text(0.0, 0.45, "reverse\nSDE", color=GREEN, ha="right")
    left.set(title="weighted densities", xlabel="$x$", ylabel="density", xlim=(-2.6, 3.4), yticks=[0, 0.5, 1])
    right.set(title=r"sampled, $\gamma = 3$", xlabel="$x$", xlim=(-1.6, 3.4))
    return fig
