"""The figures of the museum: what each mistake does to moments, densities or samples, all exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtri

from tinyddpm import elbo, forward, langevin, mixture, posterior, train
from tinyddpm.exercises import museum
from tinyddpm.forward import Schedule, Step

from .style import BLUE, GREY, ORANGE, Figure, density_of, figure, plain

DATA, LINEAR = mixture.two_classes(), forward.linear()
TIMES = np.arange(1, LINEAR.T + 1)


def noising() -> Figure:
    """The variance of noised data; its mean with uniform noise; its density when the data scale the noise."""
    fig, (left, middle, right) = figure(1, 3, height=2.7)
    kept, added = LINEAR.steps.alpha_bar, LINEAR.steps.noise_var
    for wrong, colour, name in ((kept + added**2, BLUE, "root missing"), (2 * kept, ORANGE, "wrong root")):
        left.plot(TIMES, wrong, color=colour, label=name)
    left.axhline(1, color=GREY, linestyle=(0, (4, 3)))
    left.set(xlabel="$t$", title="variance of $x_t$", ylim=(0, 2.8))
    left.legend(loc="upper right")
    mean, var, means, stds = 0.0, 1.0, [0.0], [1.0]
    for step in forward.linear(100, 1e-4, 0.068):
        mean, var = math.sqrt(step.alpha) * mean + step.beta / 2, step.alpha * var + step.beta**2 / 12
        means.append(mean)
        stds.append(math.sqrt(var))
    means, stds = np.array(means), np.array(stds)
    middle.fill_between(range(101), means - stds, means + stds, color=BLUE, alpha=0.3, linewidth=0)
    middle.plot(means, color=BLUE)
    for side in (-1, 1):
        middle.axhline(side, color=GREY, linestyle=(0, (4, 3)))
    middle.set(xlabel="$t$", title="uniform noise")
    step, x, nodes = LINEAR[250], np.linspace(-3.4, 3.4, 401), np.polynomial.hermite_e.hermegauss(40)
    right.plot(x, density_of(DATA.diffuse(step), x), color=GREY, linestyle=(0, (4, 3)))
    right.plot(x, _noise_times_data(x, step, *nodes), color=BLUE)
    right.set(xlabel="$x_{250}$", title="noise times data", yticks=[])
    return fig


def _noise_times_data(x: np.ndarray, step: Step, nodes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The density of x_t where the standard deviation of the noise is multiplied by x_0."""
    density = np.zeros_like(x)
    for share, (mean,), var in zip(DATA.weights, DATA.means, DATA.variances, strict=True):
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            middle, spread = museum.noise_times_data(mean + math.sqrt(var) * node, step)
            density += share * weight * np.exp(-((x - middle) ** 2) / spread / 2) / math.sqrt(2 * math.pi * spread)
    return density


def schedules() -> Figure:
    """What a factor too many does to the noise, what unmerged betas do to samples, and single precision."""
    fig, (left, middle, right) = figure(1, 3, height=2.7)
    course = Schedule(np.linspace(1e-4, 0.02, 501)[1:])
    ratio = (1 - museum.one_factor_too_many(course.beta)) / course.steps.noise_var
    left.plot(range(1, 501), ratio, color=BLUE)
    left.axhline(1, color=GREY, linestyle=(0, (4, 3)))
    left.set(xlabel="$t$", title="noise, times too large")
    left.set(xscale="log")
    taus = [*range(20, 1001, 20)]
    for back, colour, name in (
        (forward.respace(LINEAR, taus), GREY, "merged"),
        ([LINEAR[t] for t in taus], BLUE, "not merged"),
    ):
        middle.plot([*taus[::-1], 0], _spreads(back, 0.05), color=colour, label=name)
    middle.set(xlabel="$t$", title="std of samples", ylim=(0, 1.1))
    middle.invert_xaxis()
    middle.legend(loc="lower left")
    off = [abs(museum.single_precision(0.0, step)[1] / step.noise_var - 1) for step in LINEAR]
    right.plot(TIMES, off, color=BLUE, linewidth=0.8)
    right.set(xlabel="$t$", title="error of float32", xscale="log", yscale="log")
    return fig


def _spreads(forth: Iterable[Step], data_var: float) -> list[float]:
    """The standard deviation of samples of Gaussian data on the way back, by the exact denoiser and variance."""
    var, found = 1.0, [1.0]
    for step in [*forth][::-1]:
        pull = math.sqrt(step.alpha_bar) * data_var / (step.alpha_bar * data_var + step.noise_var)
        slope = posterior.mean(1.0, pull, step)
        var = slope**2 * var + posterior.optimal_variance(step, data_var)
        found.append(math.sqrt(var))
    return found


def steps_back() -> Figure:
    """Samples of DDIM with the exact denoiser, with three mistakes in the step."""
    taus, n = [*range(20, 1001, 20)], 20_000
    start = ndtri((np.arange(n) + 0.5) / n)[:, None]
    x = np.linspace(-2.9, 2.9, 301)
    fig, axes = figure(1, 3, height=2.5, sharey=True)
    wrong: tuple[tuple[str, Callable[..., Any]], ...] = (
        ("sign turned", lambda x_0, noise, z, step, step_s, eta: _right(x_0, -noise, z, step, step_s, eta)),
        ("$x_0$ for noise", museum.x_0_for_noise),
        ("one time off", museum.one_time_off),
    )
    for ax, (name, renoise) in zip(axes, wrong, strict=True):
        ax.hist(_walk(renoise, taus, start)[:, 0], bins=87, range=(-2.9, 2.9), density=True, color=BLUE, alpha=0.5)
        ax.plot(x, density_of(DATA, x), color=ORANGE, linewidth=1.2)
        ax.set(xlabel="$x_0$", title=name, yticks=[], ylim=(0, 2.2))
    return fig


def _right(x_0: Any, noise: Any, z: Any, step: Step, step_s: Step, eta: float) -> Any:
    return posterior.ddim_renoise(x_0, noise, 0 * x_0, step, step_s, eta)


def _walk(renoise: Callable[..., Any], taus: list[int], x: np.ndarray) -> np.ndarray:
    """DDIM without fresh noise, by the exact denoiser, with a step of one's own."""
    places = [LINEAR[t] for t in taus]
    for step, step_s in zip(places[::-1], [*places[-2::-1], LINEAR[1].before], strict=True):
        x_0 = DATA.denoise(x, step)
        x = renoise(x_0, forward.predict_noise(x, x_0, step), 0.0, step, step_s, 0.0)
    return x


def variances() -> Figure:
    """The variance of a step back with two mistakes, and the noise that is left by a noisy last step."""
    fig, (left, middle, right) = figure(1, 3, height=2.7)
    few = train.visited_times(1000, 10)
    steps = [*forward.respace(LINEAR, few)][1:]
    ratio = [museum.linear_interpolation(0.5, s) / posterior.interpolated_variance(0.5, s) for s in steps]
    left.plot(few[1:], ratio, "o-", color=BLUE)
    left.axhline(1, color=GREY, linestyle=(0, (4, 3)))
    left.set(xlabel="$t$", title="linear, too large", xscale="log")
    ratio = [museum.cancelled_variance(step) / posterior.variance(step) for step in list(LINEAR)[1:]]
    middle.plot(TIMES[1:], ratio, color=BLUE)
    middle.axhline(1, color=GREY, linestyle=(0, (4, 3)))
    middle.set(xlabel="$t$", title="no bar, too large")
    plain(middle.yaxis)
    counts = [10, 20, 50, 100, 200, 500, 1000]
    left_over = [127.5 * math.sqrt(LINEAR[1000 // count].noise_var) for count in counts]
    right.plot(counts, left_over, "o-", color=BLUE)
    right.set(xlabel="steps", title="left, in grey levels")
    plain(right.xaxis)
    plain(right.yaxis)
    right.set_xticks([10, 100, 1000])
    return fig


def weights() -> Figure:
    """The weight of the noise's error and of the velocity's, and the probability of a pixel, right and wrong."""
    fig, (left, middle, right) = figure(1, 3, height=2.7)
    snr = np.geomspace(0.01, 100, 201)
    steps = [Step.from_log_snr(math.log(ratio)) for ratio in snr]
    kinds = ((left, "noise", museum.larger_for_smaller), (middle, "velocity", museum.added_too_early))
    for ax, predicts, wrong in kinds:
        ax.plot(snr, [elbo.min_snr_weight(s, 5.0, predicts) for s in steps], color=GREY)
        ax.plot(snr, [wrong(s, 5.0, predicts) for s in steps], color=BLUE)
        ax.set(xscale="log", xlabel="SNR", title=f"weight, {predicts}")
    left.set(yscale="log")
    far = np.linspace(0, 8, 161)
    half = 1 / 255
    std = math.sqrt(LINEAR[1].beta)
    upper, lower = log_ndtr(-far + half / std), log_ndtr(-far - half / std)
    exact = upper + np.log(-np.expm1(lower - upper))
    found = [float(museum.decoder_tail(0.0, std * z, std**2)) for z in far]
    right.plot(far, exact / math.log(2), color=GREY)
    right.plot(far, np.array(found) / math.log(2), color=BLUE)
    right.set(xlabel="std off", title="$\\log_2$ of a pixel")
    return fig


def dynamics() -> Figure:
    """Where Langevin dynamics ends, by its step size, and how the error of Heun's method falls."""
    fig, (left, right) = figure(1, 2, height=2.7)
    sizes = np.geomspace(0.001, 1, 61)
    left.plot(sizes, np.sqrt(langevin.stationary_variance(sizes, 1.0)), color=GREY)
    left.plot(sizes, np.sqrt(sizes / (1 - sizes / 4)), color=BLUE)
    left.set(xscale="log", xlabel="step size", title="std of samples of $\\mathcal{N}(0,1)$", ylim=(0, 1.2))

    def drift(x: Any, time: float) -> Any:
        step = Step.from_log_alpha_bar(-time)
        return -x / 2 + x / (0.05 * step.alpha_bar + step.noise_var) / 2

    x, counts = np.ones((1, 1)), [4, 8, 16, 32, 64, 128]
    ends = [0.05 * math.exp(-time) - math.expm1(-time) for time in (2.0, 0.0)]
    exact = math.sqrt(ends[1] / ends[0])
    for method, colour in ((langevin.heun, GREY), (museum.second_slope_at_first_time, BLUE)):
        errors = [abs(method(drift, x, np.linspace(2.0, 0.0, n + 1))[-1, 0, 0] - exact) for n in counts]
        right.plot(counts, errors, "o-", color=colour)
    right.set(yscale="log", xlabel="steps", title="error of Heun's method")
    plain(right.xaxis)
    right.set_xticks(counts)
    return fig


def training() -> Figure:
    """How far an average is from weights that have come to rest, and one time's embedding in eight places of a batch."""
    fig, (left, right) = figure(1, 2, height=2.7)
    for update, colour, name in ((train.ema_update, GREY, "right"), (museum.runaway_average, BLUE, "added")):
        average, far = 0.9, [0.1]
        for _ in range(500):
            average = update(average, 1.0, 0.99)
            far.append(abs(average - 1.0))
        left.plot(far, color=colour, label=name)
    left.set(yscale="log", xlabel="step", title="distance of the average")
    left.legend(loc="upper left")
    embedded = museum.along_the_batch(np.full(8, 500.0), 16)
    right.imshow(embedded, cmap="gray", vmin=-1, vmax=1, aspect="auto")
    right.set(xlabel="column", ylabel="place in the batch", title="embedding of $t=500$", yticks=range(8))
    return fig
