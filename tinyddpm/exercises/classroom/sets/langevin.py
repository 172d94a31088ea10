"""Exercises of chapter 5, Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import langevin
from ....arrays import Array, exp
from ....mixture import Mixture
from .. import answer, derive, implement
from ..judges import Number, figure


def _soft() -> Mixture:
    """The two soft modes of the chapter's figures."""
    return Mixture([0.3, 0.7], [[-1.2], [0.8]], [0.3, 0.2])


def _line(reach: float, points: int = 4001) -> np.ndarray:
    return np.linspace(-reach, reach, points)


# The score. ----------------------------------------------------------------------------------------------------------

implement(
    "langevin.gaussian_score",
    "Which way is uphill on a Gaussian?",
    "The score of a Gaussian: the gradient of `log N(x; mean, var)` with respect to x, coordinate by coordinate. "
    "var is a variance, above 0. x, mean and var are numbers or arrays of one shape.",
    5,
    (
        "Take the logarithm of the density first. Which of its terms depend on x?",
        "Only `-(x - mean)**2 / (2 var)` does. Take its derivative.",
        "`(mean - x) / var`.",
    ),
)


def laplace_score(x: Array) -> Array:
    """The score of a Laplace density, by automatic differentiation."""
    return langevin.score(lambda at: -abs(at).sum(-1), x)


derive(
    laplace_score,
    "What is the score of a density with a tip?",
    "The Laplace density is in proportion to `exp(-abs(x))` in every coordinate. Give its score, in the shape of x, which is "
    "(..., d). No x is exactly 0. (What would Langevin dynamics do near 0?)",
    5,
    (
        "The constant of the density drops out. So take the derivative of the exponent.",
        "The derivative of `abs(x)` is 1 to the right of 0. What is it to the left?",
        "`-np.sign(x)`.",
    ),
    shapes="x (..., d)",
)


def two_peaks_score(x: Array, mean: Array, var: Array) -> Array:
    """The score of two equal Gaussians at plus and minus the mean, each pull by its responsibility."""
    right = 1 / (1 + exp(-2 * mean * x / var))
    return right * langevin.gaussian_score(x, mean, var) + (1 - right) * langevin.gaussian_score(x, -mean, var)


derive(
    two_peaks_score,
    "What is the score of two equal peaks?",
    "A density on a line is half `N(mean, var)` and half `N(-mean, var)`. Give its score at x, for one coordinate. "
    "It has a form without a sum over the two peaks. At x = 0 it is 0, and far out nothing may overflow.",
    15,
    (
        "The score is the mean of the scores of the two peaks, each weighted by its responsibility for x.",
        "The two responsibilities sum to 1, and the logarithm of their ratio is `2 mean x / var`. So their difference is a"
        " hyperbolic tangent.",
        "`(mean * tanh(mean * x / var) - x) / var`.",
    ),
    needs=("langevin.gaussian_score",),
)


def product_score(x: Array, mean_p: Array, var_p: Array, mean_q: Array, var_q: Array) -> Array:
    """The score of a product of two Gaussian densities, as that of the one Gaussian that the product is."""
    var = 1 / (1 / var_p + 1 / var_q)
    return langevin.gaussian_score(x, var * (mean_p / var_p + mean_q / var_q), var)


derive(
    product_score,
    "What is the score of a product?",
    "A density is in proportion to `N(x; mean_p, var_p) N(x; mean_q, var_q)`. Give its score at x, for one coordinate. "
    "The constant that makes the product sum to 1 is not needed.",
    5,
    (
        "The logarithm of a product is a sum.",
        "The gradient of a sum is the sum of the gradients, and a constant has none.",
        "`(mean_p - x) / var_p + (mean_q - x) / var_q`.",
    ),
    needs=("langevin.gaussian_score",),
)


def _third_class_variance() -> float:
    weights, means = [0.25, 0.25, 0.5], np.array([[-1.0], [0.0], [0.0]])
    means[2] = -Mixture(weights, means, [0.0] * 3).mean() / weights[2]
    return 1 - float(Mixture(weights, means, [0.0] * 3).var()[0])


answer(
    "langevin.third_class_variance",
    "Which variance do the classes need?",
    "Three classes on a line have weights 1/4, 1/4 and 1/2 and means -1, 0 and c. Choose c so that the mean of the mixture "
    "is 0. All classes have one and the same variance, so large that the variance of the mixture is 1. Give that variance.",
    10,
    (
        "Find c first: the mean of a mixture is the weighted mean of its means.",
        "The variance of a mixture is the mean of the variances, plus the variance of the means.",
        "c is 1/2, so the means have the variance `1/4 * 1 + 1/2 * 1/4`. The classes need what is missing to 1.",
    ),
    kind="number",
    judge=Number(_third_class_variance, 1e-6, "the variance of the classes"),
)

# Langevin dynamics. --------------------------------------------------------------------------------------------------

implement(
    "langevin.langevin_step",
    "Why are the samples too sharp?",
    "One step of Langevin dynamics from x, with fresh standard normal noise z. `step_size` is the variance of the noise "
    "that a step adds. In the code below is a mistake: the smaller the steps, the more the samples gather at the peaks. "
    "Find it. (Research code for energy-based models had it.)",
    10,
    (
        "Let the score be 0, and take n steps. Which variance should x have then, and which does it have here?",
        "Variances add, standard deviations do not. Noise of the variance step_size is z times what?",
        "`x + step_size / 2 * score + np.sqrt(step_size) * z`.",
    ),
    kind="bug",
    start="    return x + step_size * (0.5 * score + z)",
)


implement(
    "langevin.stationary_variance",
    "Where does the chain really end?",
    "The variance to which Langevin dynamics with steps of `step_size` converges if its target is `N(0, var)`. "
    "`step_size` is below `4 var`, so that it does converge.",
    10,
    (
        "What stays must be the same before and after a step.",
        "Solve `V = a**2 V + step_size` for V, where `a = 1 - step_size / (2 var)`.",
        "`var / (1 - step_size / (4 var))`.",
    ),
    needs=("langevin.langevin_step",),
)


def variance_after(step_size: Array, var: Array, steps: int) -> Array:
    """The variance after some steps from a single point, step by step."""
    shrink, reached = langevin.langevin_step(1.0, langevin.gaussian_score(1.0, 0.0, var), step_size, 0.0), 0 * var
    for _ in range(steps):
        reached = shrink**2 * reached + step_size
    return reached


derive(
    variance_after,
    "How wide is the chain after n steps?",
    "All chains begin at the point 0, and take `steps` steps of Langevin dynamics whose target is `N(0, var)`. Which "
    "variance do they have then, over all the noise? There is a form without a loop. After 0 steps it is 0.",
    20,
    (
        "A step multiplies x by a factor and adds independent noise. So how does the variance change in one step?",
        "V becomes `a**2 V + step_size`, with `a = 1 - step_size / (2 var)`. That is a geometric series.",
        "The variance at the end, `var / (1 - step_size / (4 var))`, times `1 - a ** (2 steps)`.",
    ),
    require={"step_size must be below 4 var": "step_size < 4 * var"},
    needs=("langevin.stationary_variance",),
)


def _forgetful(var: float) -> float:
    """The variance at the step size that forgets the start: a step is linear in the score, so two of them show where it is 0."""
    none, one = (langevin.langevin_step(1.0, langevin.gaussian_score(1.0, 0.0, var), size, 0.0) for size in (0.0, 1.0))
    return float(langevin.stationary_variance(none / (none - one), var))


answer(
    "langevin.forgetful_variance",
    "Which step forgets where it came from?",
    "The target is `N(0, 0.3)`, and one step size is special: after a single step with it, x does not depend on where it "
    "began. Which variance do the samples have then? Give a number. (The figure of the variance over the step size shows "
    "such a point for `N(0, 1)`.)",
    5,
    (
        "Write the step as a factor times x, plus noise. What must the factor be?",
        "`1 - step_size / (2 var)` is 0. What is left of the step is the noise.",
        "The variance is the step size, `2 var`.",
    ),
    kind="number",
    judge=Number(lambda: _forgetful(0.3), 1e-6, "the variance after the step that forgets its start"),
)


def _share_left(temperature: float) -> float:
    x = _line(8)
    log_p = _soft().log_prob(x[:, None]) / temperature
    p = np.exp(log_p - log_p.max())
    return float(p[x < -0.2].sum() / p.sum())


answer(
    "langevin.share_left",
    "Where do the shares go in the heat?",
    "With c times the usual noise, Langevin dynamics draws from a density in proportion to `p ** (1 / c**2)`. Let p be the "
    "mixture of the first figure: weights 0.3 and 0.7, means -1.2 and 0.8, variances 0.3 and 0.2. For c = 0.5, which share "
    "of the samples lies to the left of -0.2? Give a number, to 0.001. (Compare it with c = 1 and c = 2.)",
    15,
    (
        "No sampling is needed: on a line the density can be summed on a grid.",
        "`p ** (1 / c**2)` does not sum to 1. Divide the sum over the left part by the sum over all.",
        "With p on a fine grid x from -8 to 8: `(p**4)[x < -0.2].sum() / (p**4).sum()`.",
    ),
    kind="number",
    judge=Number(lambda: _share_left(0.25), 1e-3, "the share to the left of -0.2 for c = 0.5"),
)

# How a score is learned. ---------------------------------------------------------------------------------------------

implement(
    "langevin.implicit_score_matching",
    "How does one learn a score that nobody knows?",
    "The implicit loss of score matching, which needs no true score. `score_hat` is the model's answer at samples, shape "
    "(..., d), and `divergence` its divergence there, shape (...). Give one number a sample, shape (...): a sum over the d "
    "coordinates, and no mean over samples.",
    10,
    (
        "Multiply out half the squared distance to the true score. One of three terms holds the unknown and the model.",
        "Integration by parts turns that term, minus the score times `score_hat`, into the divergence.",
        "`divergence + (score_hat**2).sum(-1) / 2`.",
    ),
)


def best_multiple(samples: Array) -> float:
    """The a for which the implicit loss of the model -a x is least: the lowest point of a parabola through three of its values."""
    n, d = samples.shape
    less, none, more = (
        langevin.implicit_score_matching(-a * samples, -a * d * np.ones(n)).mean() for a in (-1.0, 0.0, 1.0)
    )
    return float((less - more) / (2 * (less - 2 * none + more)))


derive(
    best_multiple,
    "Which straight line fits a score best?",
    "The model of a score is `-a x`, and it shall learn from samples, shape (n, d). For which a is the mean of the implicit "
    "loss over the samples least? Give that number a. (Which Gaussian's score has the model become?)",
    15,
    (
        "What is the divergence of `-a x` in d dimensions? And the squared length of `-a x`?",
        "The mean loss is `-a d + a**2 / 2` times the mean of the squared length. Set its derivative to 0.",
        "`samples.size / (samples**2).sum()`.",
    ),
    shapes="samples (n, d)",
    needs=("langevin.implicit_score_matching",),
)

implement(
    "langevin.tweedie",
    "What is the best guess of the clean sample?",
    "Tweedie's formula: the mean of x_0, given x_t, from the score of the noisy samples at x_t. x_t and score are numbers "
    "or arrays of one shape.",
    10,
    (
        "Go uphill from x_t, and then undo what noising has done to the scale.",
        "Uphill by the variance of the noise, not by its standard deviation. x_0 was multiplied by `sqrt(alpha_bar)`.",
        "`(x_t + noise_var score) / sqrt(alpha_bar)`.",
    ),
)

# Many sizes of noise. ------------------------------------------------------------------------------------------------


def _crossing_times(apart: np.ndarray) -> np.ndarray:
    """The mean times from peak to peak, by the two integrals of the chapter."""
    x = _line(6, 12001)
    width, times = x[1] - x[0], []
    for half in apart:
        p = np.exp(Mixture([0.5, 0.5], [[-half], [half]], [0.3, 0.3]).log_prob(x[:, None]))
        below = (p.cumsum() - p / 2) * width
        ends = np.where(np.isclose(abs(x), half), 0.5, 1.0)
        times.append(2 * (ends * below / p)[abs(x) < half + width / 4].sum() * width)
    return np.array(times)


answer(
    "langevin.crossing_times",
    "How long does it take to cross the pass?",
    "Two equal peaks stand at -m and m, each with variance 0.3. How long does Langevin dynamics with small steps take from "
    "the left peak to the right one, on average? `apart` holds some values of m, shape (n,). Give the mean times, shape "
    "(n,), each to 2 percent. (Then look at their logarithms: do they grow like the height of the pass?)",
    25,
    (
        "The section on many sizes of noise has the mean time as a double integral. Both integrals are sums on a grid.",
        "The inner integral is the share of the density below y: a cumulative sum of p times the width of the grid.",
        "`2 * (below / p)[abs(y) < m].sum() * width`, with p on a fine grid from -6 to 6.",
    ),
    kind="figure",
    arguments="apart",
    judge=figure(
        lambda: (
            (f"m = {', '.join(map(str, apart))}", (np.array(apart),), _crossing_times(np.array(apart)))
            for apart in ((1.0,), (1.5,), (2.0,), (1.0, 1.5, 2.0))
        ),
        digits=0.02,
    ),
)


def _settled(asked: Callable[..., Any]) -> str:
    """Whether samples of two modes far apart have the right shares and widths."""
    for weights, seed in (((0.2, 0.8), 0), ((0.7, 0.3), 1)):
        data, n = Mixture(weights, [[-2.0], [2.0]], [0.1, 0.1]), 2000
        words = f"for weights {weights[0]} and {weights[1]}, means -2 and 2, variances 0.1, {n} samples, seed {seed}"
        found = asked(data.weights, data.means[:, 0], data.variances, n, seed)
        if not isinstance(found, np.ndarray) or found.shape != (n,):
            shape = f"of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            return f"{words}, it gives {shape}; an array of shape ({n},) is asked for"
        if not np.isfinite(found).all():
            return f"{words}, it gives numbers that are not finite: is a step too large?"
        share = float((found < 0).mean())
        if abs(share - weights[0]) > 0.08:
            return f"{words}, the share on the left is wrong:\n  expected  {weights[0]}\n  got       {share:.3g}"
        width = float(np.median(abs(abs(found) - 2)) / 0.6745) ** 2
        if not 0.08 < width < 0.14:
            return f"{words}, the variance within a mode is wrong:\n  expected  0.1\n  got       {width:.3g}"
    return ""


answer(
    "langevin.annealed_samples",
    "Can a chain get the shares of the modes right?",
    "Draw n samples on a line from a mixture of Gaussians: `weights`, `means` and `variances` have shape (k,). Use Langevin "
    "dynamics and the exact score, and begin far out, in `N(0, 16)`. Plain Langevin dynamics never corrects the shares of "
    "two modes that are far apart, so add noise to the density and lower it level by level. Asked for are the right shares "
    "(to 0.08) and the right variance within a mode (0.08 to 0.14 for 0.1). Take random numbers from "
    "`np.random.default_rng(seed)`. Give an array of shape (n,), within 10 seconds.",
    35,
    (
        "Noise of a variance on the data makes the variances of the components larger. The means and weights stay.",
        "Sixteen levels from 16 down to 0.01 with fifty steps each do it. The step must shrink with the level.",
        "At the level var: the score of the mixture with `variances + var`, and steps of about `var / 2`.",
    ),
    kind="figure",
    arguments="weights, means, variances, n, seed",
    judge=_settled,
    needs=("langevin.langevin_step",),
)

# The way back. -------------------------------------------------------------------------------------------------------

implement(
    "langevin.reverse_drift",
    "Why do the samples run away?",
    "The drift of the reverse diffusion, as it is multiplied by a dt below 0. `drift` and `diffusion` belong to the noising, "
    "and `score` to the density of the moment. With the code below, the samples run away from the data. Find the mistake.",
    10,
    (
        "Time falls on the way back. In which direction does a step with dt below 0 move x here?",
        "`x + drift * dt` must go uphill on the density, so what stands in the drift must point downhill.",
        "`drift - diffusion**2 * score`.",
    ),
    kind="bug",
    start="    return drift + diffusion**2 * score",
)


def partly_random_drift(drift: Array, diffusion: Array, score: Array, eta: Array) -> Array:
    """The drift of the way back with eta times the noise: between the flow and the reverse diffusion, by the share of the variance."""
    noisy = langevin.reverse_drift(drift, diffusion, score)
    still = langevin.probability_flow_drift(drift, diffusion, score)
    return eta**2 * noisy + (1 - eta**2) * still


derive(
    partly_random_drift,
    "Which drift goes with half the noise?",
    "The way back with noise of `eta` times `diffusion`, `eta` in [0, 1], shall have the same densities at all times. Which "
    "drift does that need? It is multiplied by a dt below 0, as the reverse drift is. `eta = 0` is the probability flow and "
    "`eta = 1` the reverse diffusion.",
    15,
    (
        "Half of the score undoes what the forward noise has spread. What is the other part of it for?",
        "The other part makes up for the noise that the way back adds, which has `eta**2` times the variance.",
        "`drift - (1 + eta**2) / 2 * diffusion**2 * score`.",
    ),
    needs=("langevin.reverse_drift",),
)


def ve_flow_drift(score: Array, time: Array, var_min: Array, growth: Array) -> Array:
    """The drift of the probability flow of the variance-exploding diffusion, which has no drift of its own."""
    return langevin.probability_flow_drift(0 * score, langevin.ve_diffusion(time, var_min, growth), score)


derive(
    ve_flow_drift,
    "How does noise that is only added flow back?",
    "Noise is only added, and its variance at a time is `var_min * exp(growth * time)`. Give the drift of the probability flow, "
    "from the score at that time. It is the same forwards and backwards.",
    15,
    (
        "There is no forward drift. How much variance is added per unit of time?",
        "The square of the diffusion is the derivative of the variance: growth times the variance.",
        "`-growth * var_min * exp(growth * time) * score / 2`.",
    ),
    needs=("langevin.partly_random_drift",),
)


def second_slope(x: Array, times: Array) -> Array:
    """A path of Heun's method where the drift is -time x."""
    return langevin.heun(lambda state, time: -time * state, x, times)


derive(
    second_slope,
    "Why is a second slope no better than one?",
    "Heun's method where the drift at x and time is `-time * x`. x has shape (..., d), and `times`, shape (n + 1,), rise. The "
    "result is x at all times, shape (n + 1, ..., d). The method should be of second order; the code below is only of first "
    "order. Find the mistake. (A major library had it.)",
    15,
    (
        "The two slopes of a step belong to two places. Do they also belong to two times?",
        "Heun's method goes ahead as Euler would, and looks at the drift there, when it is there.",
        "The second slope is `-end * (path[-1] + dt * slope)`.",
    ),
    shapes="x (..., d), times (n+1)",
    require=langevin.MONOTONE,
    kind="bug",
    start=(
        "    path = [x]\n"
        "    for start, end in zip(times[:-1], times[1:]):\n"
        "        dt = end - start\n"
        "        slope = -start * path[-1]\n"
        "        again = -start * (path[-1] + dt * slope)\n"
        "        path.append(path[-1] + dt * (slope + again) / 2)\n"
        "    return np.stack(path)"
    ),
)
