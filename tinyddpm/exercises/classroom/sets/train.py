"""Exercises of chapter 6, training and sampling. Their file may use torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .... import forward, posterior, train
from ....arrays import Array, sqrt
from ....letters import Step
from ....mixture import Mixture, ring
from .. import answer, derive, implement
from ..judges import Number, figure

TORCH = ("torch",)
"""What the file of this chapter may import: one list for all, so that it is loaded once."""

implement, derive, answer = (partial(each, allowed=TORCH) for each in (implement, derive, answer))


# Algorithm 1. --------------------------------------------------------------------------------------------------------


def noisy_batch(x_0: Array, t: Array, noise: Array, beta: Array) -> Array:
    """A batch of samples, each noised to its own time."""
    return forward.diffuse(x_0, noise, forward.Schedule(beta).at(t, like=x_0))


derive(
    noisy_batch,
    "How noisy is each sample of a batch?",
    "The heart of Algorithm 1: noise each sample to its own time. `x_0` and `noise` have shape (batch, d), t has shape (batch,) "
    "and holds whole numbers in 1..T. `beta` holds beta_1 to beta_T, shape (T,). Give x_t, shape (batch, d).",
    15,
    (
        "What does x_t keep of x_0 after t steps? A product has to be taken first.",
        "`beta[0]` is beta_1. So which entry of `np.cumprod(1 - beta)` belongs to the time t?",
        "`kept = np.cumprod(1 - beta)[t - 1][:, None]`, then `sqrt(kept) x_0 + sqrt(1 - kept) noise`.",
    ),
    shapes="x_0 (3, d), noise (3, d), t (3), beta (5)",
    kind="implement",
)


def zero_velocity_loss(data_var: Array, step: Step) -> Array:
    """The mean square of the velocity: a weighted sum of two independent variables."""
    of_x_0, of_noise = forward.velocity(1.0, 0.0, step), forward.velocity(0.0, 1.0, step)
    return forward.merged_variance(data_var, 1.0, of_x_0, of_noise)


derive(
    zero_velocity_loss,
    "Which loss has a network that has learned nothing?",
    "The network shall predict the velocity, `sqrt(alpha_bar) noise - sqrt(noise_var) x_0`, and always says 0. Which loss has "
    "it at the time of `step`, averaged over samples, for one coordinate? The data have mean 0 and variance `data_var`.",
    10,
    (
        "The loss is the mean of the square of what should have been predicted.",
        "Noise and data are independent and have mean 0, so variances add. A factor comes out squared.",
        "`alpha_bar + noise_var data_var`.",
    ),
)


def _zero_loss(square: float) -> float:
    steps = forward.linear().steps
    return float(np.mean(zero_velocity_loss(square, steps)))


answer(
    "train.zero_loss",
    "Which loss must every network beat?",
    "The digits have a mean square of 0.72 in each pixel. The network predicts the velocity and always says 0. Which loss "
    "has it for each pixel, averaged over all t from 1 to 1000 of the linear schedule (beta from 0.0001 to 0.02)? Give a "
    "number, to 0.001. (Guess it first: for the cosine schedule it is 0.86.)",
    10,
    (
        "You need alpha_bar at all 1000 times.",
        "At each time the loss is `alpha_bar + (1 - alpha_bar) * 0.72`.",
        "With `kept = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))`, the mean of `kept + (1 - kept) * 0.72`.",
    ),
    kind="number",
    needs=("train.zero_velocity_loss",),
    judge=Number(lambda: _zero_loss(0.72), 1e-3, "the loss of a network that says 0"),
)

implement(
    "train.time_embedding",
    "Why does the network not know the time?",
    "The time as sines and cosines. `t` has shape (batch,), `dims` is even, and the result has shape (batch, dims): `sin(w_i t)` "
    "in the first half of the columns and `cos(w_i t)` in the second, with `w_i = 10000 ** (-2 i / dims)` for i from 0 to "
    "`dims / 2 - 1`. The code below gave plausible pictures, but the network did not know the time. Find the mistake. (It was in "
    "two tutorials. Whether sines and cosines alternate or stand in two halves does not matter in itself; here it must be "
    "two halves.)",
    15,
    (
        "Give it the same t twice, `t = [5, 5]`. Should the two rows be equal?",
        "`angle[::2]` takes every second row. What does a row stand for?",
        "Compute the angles for `np.arange(dims // 2)`, and put `np.sin` and `np.cos` of them side by side, along axis 1.",
    ),
    kind="bug",
    start=(
        "    angle = t[:, None] / 10000 ** (2 * np.arange(dims) / dims)\n"
        "    angle[::2] = np.sin(angle[::2])\n"
        "    angle[1::2] = np.cos(angle[1::2])\n"
        "    return angle"
    ),
)

implement(
    "train.stratified_times",
    "Which time is never trained?",
    "Times for a batch, spread evenly over 1..T from one uniform random number in [0, 1): whole numbers, shape (batch,). Each "
    "time is equally probable, and together they leave no gap. One time never comes with the code below. Find the mistake. "
    "(Two minimal implementations had it.)",
    10,
    (
        "Which is the largest number that floor can give here? And where does sampling begin?",
        "place is below 1, so `floor(n * place)` is at most n - 1. Each of the T times needs a share of 1 / T.",
        "`1 + floor(T * place)`.",
    ),
    kind="bug",
    start=(
        "    place = (uniform + np.arange(batch) / batch) % 1\n"
        "    return 1 + np.floor((T - 1) * place).astype(np.int64)"
    ),
)


def _scatter() -> float:
    from scipy import stats

    return float(stats.binom(128, 0.1).std())


answer(
    "train.scatter_of_times",
    "How uneven are random times?",
    "A batch has 128 times, drawn independently and uniformly from 1..T. How many fall into the last tenth of 1..T? That "
    "number varies from batch to batch. Give its standard deviation, to 0.01. (With the times of train.stratified_times it is "
    "12 or 13.)",
    5,
    (
        "Each time falls into the last tenth with probability 0.1, whatever the others do.",
        "A single one counts 1 or 0. Its variance is `p (1 - p)`, and variances of independent numbers add.",
        "`sqrt(128 * 0.1 * 0.9)`.",
    ),
    kind="number",
    judge=Number(_scatter, 0.01, "the standard deviation of the number of times in the last tenth"),
)

# What a network can learn at best. -----------------------------------------------------------------------------------


def _uneven() -> Mixture:
    """A line whose mean is not 0."""
    return Mixture([0.3, 0.7], [[-0.5], [1.5]], [0.05, 0.1])


def _pairs(data: Mixture, step: Step, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean and noisy samples on a line."""
    rng = np.random.default_rng(seed)
    x_0 = data.sample(n, rng)[:, 0]
    return x_0, forward.diffuse(x_0, rng.standard_normal(n), step)


def _said(found: Any) -> str:
    return f"an array of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__


def _straight(asked: Callable[..., Any]) -> str:
    """Whether a straight line is as good as the best one, by exact moments."""
    data = _uneven()
    mean, var = float(data.mean()[0]), float(data.var()[0])
    for t, seed in ((300, 0), (100, 1), (600, 2)):
        step = forward.linear()[t]
        found = asked(*_pairs(data, step, 10_000, seed))
        if not isinstance(found, np.ndarray) or found.shape != (2,):
            return f"it gives {_said(found)}; an array of shape (2,) is asked for: a and b"
        if not np.isfinite(found).all():
            return "it gives numbers that are not finite"
        a, b = map(float, found)
        kept, seen = step.alpha_bar, step.alpha_bar * var + step.noise_var
        least = var * step.noise_var / seen
        off = a + b * kept**0.5 * mean - mean
        error = (1 - b * kept**0.5) ** 2 * var + b**2 * step.noise_var + off**2
        if error > 1.01 * least:
            return (
                f"at t = {t} of the linear schedule, the mean squared error of {a:.4g} + {b:.4g} x_t is too large:\n"
                f"  best      {least:.4g}\n  got       {error:.4g}"
            )
    return ""


answer(
    "train.linear_denoiser",
    "How good is a network with two weights?",
    "Train the smallest network that there is: it guesses x_0 as `a + b x_t`. `x_0` and `x_t` hold 10,000 samples on a line and the "
    "same with noise, shape (n,). Give `np.array([a, b])`, so that the mean squared error over new samples is at most 1 percent "
    "above that of the best straight line.",
    15,
    (
        "Two weights and a squared error: no steps of gradient descent are needed.",
        "It is linear regression. Mind that the mean of x_0 is not 0.",
        "`np.linalg.lstsq` with the columns 1 and x_t; or `b = cov(x_0, x_t) / var(x_t)` and `a = mean(x_0) - b mean(x_t)`.",
    ),
    kind="train",
    arguments="x_0, x_t",
    judge=_straight,
)


def _curved(asked: Callable[..., Any]) -> str:
    """Whether guesses are near the exact ones."""
    data, grid = _uneven(), np.linspace(0.01, 0.99, 99)
    for t, seed in ((300, 0), (150, 1)):
        step = forward.linear()[t]
        x_0, x_t = _pairs(data, step, 10_000, seed)
        at = np.quantile(x_t, grid)
        found = asked(x_0, x_t, at)
        if not isinstance(found, np.ndarray) or found.shape != at.shape:
            return f"it gives {_said(found)}; an array of shape {at.shape} is asked for"
        if not np.isfinite(found).all():
            return "it gives numbers that are not finite: is there a place with no sample?"
        exact = data.denoise(at[:, None], step)[:, 0]
        off = float(np.sqrt(((found - exact) ** 2).mean()))
        if off > 0.08:
            worst = int(abs(found - exact).argmax())
            return (
                f"at t = {t} of the linear schedule, the guesses are off by {off:.3g}, and by at most 0.08 is asked for;\n"
                f"  the farthest off is that for x_t = {at[worst]:.4g}:\n"
                f"  best      {exact[worst]:.4g}\n  got       {found[worst]:.4g}"
            )
    return ""


answer(
    "train.curved_denoiser",
    "How does one learn an average?",
    "The best guess of x_0 is no straight line. Learn it: `x_0` and `x_t` hold 10,000 samples on a line and the same with noise, "
    "shape (n,). Give your guess of x_0 for each x_t in `places`, shape (m,), which lie where 98 percent of the x_t lie. The "
    "root of their mean squared difference from the exact conditional mean must be at most 0.08. NumPy is enough.",
    20,
    (
        "The best guess for an x_t is the mean of all x_0 that have led to such an x_t.",
        "Sort the pairs by x_t into bins with equally many samples, and take the mean x_0 of each. Where do the bins stand?",
        "Fifty bins: `np.array_split` of both, sorted by x_t; then `np.interp(places, means_of_x_t, means_of_x_0)`.",
    ),
    kind="train",
    arguments="x_0, x_t, places",
    judge=_curved,
    needs=("train.linear_denoiser",),
)


def _floors(data: Mixture, alpha_bars: np.ndarray) -> np.ndarray:
    x, floors = np.linspace(-8, 8, 4001)[:, None], []
    for alpha_bar in alpha_bars:
        step = Step.from_alpha_bar(float(alpha_bar))
        p = np.exp(data.diffuse(step).log_prob(x))
        floors.append((p * data.posterior(x, step).var()[:, 0]).sum() / p.sum())
    return np.array(floors)


def _floor_cases() -> Iterator[tuple[str, tuple[Any, ...], np.ndarray]]:
    for data, kept in (
        (Mixture([1.0], [[0.0]], [1.0]), [0.5]),
        (Mixture([1 / 3, 2 / 3], [[-1.4], [0.7]], [0.02, 0.02]), [0.5]),
        (_uneven(), [0.9, 0.5, 0.1]),
    ):
        given = data.weights, data.means[:, 0], data.variances, np.array(kept)
        words = f"weights {given[0].round(4)}, means {given[1]}, variances {given[2]}, alpha_bar {given[3]}"
        yield words, given, _floors(data, given[3])


answer(
    "train.error_floor",
    "How small can the error be at best?",
    "The data are a mixture of Gaussians on a line: `weights`, `means` and `variances` have shape (k,). Even the best guess of x_0 "
    "from x_t has an error. Give its mean square over all x_0 and x_t, for each alpha_bar in `alpha_bars`, shape (n,), to four "
    "digits.",
    30,
    (
        "The best guess is the conditional mean, so the error is the conditional variance, averaged over x_t.",
        "By the law of total variance it is the variance of the data minus that of the best guess. The best guess at x_t is"
        " the mean over the components, weighted by their responsibilities for x_t.",
        "On a grid of x_t, with `s = alpha_bar v + 1 - alpha_bar`: the guess is the sum over k of"
        " `r_k (m + sqrt(alpha_bar) v / s (x_t - sqrt(alpha_bar) m))`. Average its square with the density of x_t.",
    ),
    kind="figure",
    arguments="weights, means, variances, alpha_bars",
    judge=figure(_floor_cases, digits=1e-4),
    needs=("train.curved_denoiser",),
)

# Averaged weights. ---------------------------------------------------------------------------------------------------

implement(
    "train.ema_update",
    "Why does the average run away?",
    "One step of the exponential moving average of the weights: `average` is what it was, `value` the new weight, and `decay` how "
    "much of the average is kept. With the code below the average grows without bound, while the loss is as it should be. Find "
    "the mistake. (A trainer for large models had it.)",
    5,
    (
        "Let `value` stay 0. What becomes of the average?",
        "In which direction must the average move, seen from `value`?",
        "`decay average + (1 - decay) value`.",
    ),
    kind="bug",
    start="    return average + (1 - decay) * (average - value)",
)


def _share_of_the_last(steps: int, decay: float) -> float:
    share = 0.0
    for _ in range(steps):
        share = train.ema_update(share, 1.0, decay)
    return share


def _half_life_decay(steps: int) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        decay = (low + high) / 2
        low, high = (decay, high) if _share_of_the_last(steps, decay) > 0.5 else (low, decay)
    return high


def half_life_decay(steps: int) -> float:
    """The decay at which the last steps make up half of the average, by bisection on the updates themselves."""
    return _half_life_decay(steps)  # no slips are made in it: most would take long


derive(
    half_life_decay,
    "How long is the memory of an average?",
    "An exponential moving average has run for long. With which decay do the last `steps` values make up exactly half of it? "
    "`steps` is a whole number, at least 1.",
    10,
    (
        "What is left of the old average after one update, and after two?",
        "After n updates `decay ** n` of it is left. The rest is from the last n values.",
        "`0.5 ** (1 / steps)`.",
    ),
    where={"steps": "whole [1, inf)"},
    needs=("train.ema_update",),
)

# Algorithm 2. --------------------------------------------------------------------------------------------------------


def _drawn(start: np.ndarray, z: np.ndarray, beta: np.ndarray, mean: float, var: float) -> np.ndarray:
    """Algorithm 2 with the exact network of a Gaussian."""
    data, schedule, x = Mixture([1.0], [[mean]], [var]), forward.Schedule(beta), start
    for t in range(len(beta), 0, -1):
        step = schedule[t]
        noise = data.noise(x[:, None], step)[:, 0]
        x = posterior.ancestral_step(x, noise, z[t - 1], step, step.beta)
    return x


def _draw_cases() -> Iterator[tuple[str, tuple[Any, ...], np.ndarray]]:
    rng = np.random.default_rng(0)
    for beta in ([0.3], [0.1, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]):
        start, z = np.array([0.0, 1.0]), rng.standard_normal((len(beta), 2)).round(2)
        given = start, z, np.array(beta), 0.5, 0.4
        words = f"start {start}, z {z.tolist()}, beta {beta}, mean 0.5, var 0.4"
        yield words, given, _drawn(*given)


answer(
    "train.draw",
    "How are samples drawn?",
    "Algorithm 2, with a network that is known: the data are `N(mean, var)` on a line, and for them the exact prediction of the "
    "noise at t is `sqrt(1 - alpha_bar) (x_t - sqrt(alpha_bar) mean) / (alpha_bar var + 1 - alpha_bar)`. `start` is x_T, shape "
    "(n,). `z[t - 1]` is the fresh noise for the step from t to t - 1, so `z` has shape (T, n). `beta` holds beta_1 to beta_T. The "
    "variance of a step is beta_t. Give x_0, shape (n,).",
    20,
    (
        "Go from t = T down to 1. Which entries of `beta` and of `np.cumprod(1 - beta)` belong to t?",
        "The mean of a step is `(x_t - beta / sqrt(1 - alpha_bar) noise) / sqrt(alpha)`. What is different at t = 1?",
        "Add `sqrt(beta[t - 1]) z[t - 1]`, but only if t is above 1.",
    ),
    kind="implement",
    arguments="start, z, beta, mean, var",
    judge=figure(_draw_cases),
    needs=("train.noisy_batch",),
)


RING = np.linspace(0.1, 0.5, 20)
"""Few and large steps, so that noise left in the samples would show."""


def _learned(asked: Callable[..., Any]) -> str:
    """Whether samples are spread as the ring is, and are no copies."""
    data, n = ring(), 1000
    points = data.sample(4000, np.random.default_rng(0))
    found = asked(points, RING, n, 0)
    if not isinstance(found, np.ndarray) or found.shape != (n, 2):
        return f"it gives {_said(found)}; an array of shape ({n}, 2) is asked for"
    if not np.isfinite(found).all():
        return "it gives numbers that are not finite"
    found = found.astype(np.float64)
    apart = np.linalg.norm(found[:, None] - data.means, axis=-1)
    near = float((apart.min(1) < 3 * data.variances[0] ** 0.5).mean())
    if near < 0.65:
        return (
            f"{near:.0%} of the samples lie within three standard deviations of one of the eight centres; "
            "  at least 65% is asked for, and of the data it is 99%"
        )
    shares = np.bincount(apart.argmin(1), minlength=8) / n
    if shares.min() < 0.07 or shares.max() > 0.2:
        return (
            f"of the eight Gaussians, one gets {shares.min():.0%} of the samples and one {shares.max():.0%}; "
            "  each must get between 7% and 20%, and of the data it is 12.5%"
        )
    distance = train.sliced_wasserstein(data.sample(n, np.random.default_rng(1)), found)
    if distance > 0.25:
        return f"the sliced Wasserstein distance to the data is {distance:.2f}; at most 0.25 is asked for"
    new = train.nearest_neighbours(found, points, data.sample(n, np.random.default_rng(2)))
    return "the samples are copies of the points" if new < 0.5 else ""


answer(
    "train.learn_ring",
    "Can a few lines learn a ring?",
    "Learn the ring of eight Gaussians and draw from it. `points` holds 4,000 samples of it, shape (4000, 2), and `beta` holds "
    "beta_1 to beta_T; there are only 20 steps, from 0.1 to 0.5. Train a network (torch may be used), and give n new samples "
    "by Algorithm 2, shape (n, 2). At least 65 percent of them must lie within three standard deviations (0.42) of a centre, "
    "each Gaussian must get its share, and copies do not count. Seed everything with `seed`. You have a minute, but seconds "
    "are enough: first try 1,500 batches of 256.",
    60,
    (
        "Three hidden layers of 64 and a learning rate of 0.01 that falls to 0 will do. What does the network need to see"
        " besides x_t?",
        "Give it the time, one-hot or as sines and cosines, and sines and cosines of `2 x_t` and `4 x_t`, which let it turn"
        " quickly from place to place. Draw t from 1..T, both included.",
        "The loss is the mean of `(network(x_t, t) - noise)**2`. In the last step, t = 1, no noise may be added: its variance"
        " would be five times that of a Gaussian of the ring.",
    ),
    kind="train",
    arguments="points, beta, n, seed",
    judge=_learned,
    seconds=60.0,
    needs=("train.noisy_batch", "train.draw"),
)

# The ring. -----------------------------------------------------------------------------------------------------------


def ring_radius(var: Array) -> Array:
    """The radius, from the variance of the means of a ring of radius 1."""
    means = ring(5).means / np.linalg.norm(ring(5).means[0])
    between = Mixture([0.2] * 5, means, [0.0] * 5).var()[0]
    return sqrt((1 - var) / between)


derive(
    ring_radius,
    "How large must a ring be?",
    "Equal Gaussians, three or more, stand evenly on a circle around 0 in the plane. Each has variance `var` in every "
    "coordinate, below 1. Which radius has the circle if the mixture has variance 1 in every coordinate?",
    10,
    (
        "The variance of a mixture is the mean of the variances, plus the variance of the means.",
        "Around a circle the mean of `cos**2` is one half. So which variance have the means in one coordinate?",
        "`radius**2 / 2 + var = 1`.",
    ),
    where={"var": "(0, 1)"},
)


def _far_share() -> float:
    data, axis = ring(), np.linspace(0, 4, 801)  # a quarter of the plane, as the ring is symmetric
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    p = np.exp(data.log_prob(x))
    p = p * np.where(x == 0, 0.5, 1.0).prod(1)
    apart = np.min([np.linalg.norm(x - mean, axis=1) for mean in data.means], axis=0)
    return float(p[apart > 3 * data.variances[0] ** 0.5].sum() / p.sum())


answer(
    "train.far_share",
    "How many samples lie far out by chance?",
    "Of samples of the ring of eight Gaussians in the plane, some lie more than three standard deviations from every centre, "
    "although nothing is wrong with them. Which share? Give a number between 0 and 1, to 0.0005. (The Gaussians hardly overlap, "
    "so that one of them is enough.)",
    10,
    (
        "In the plane, how is the squared distance from the centre of a Gaussian distributed?",
        "Divided by the variance it is a sum of two squares of standard normal numbers, which is exponentially distributed.",
        "`exp(-r**2 / 2)` with r = 3.",
    ),
    kind="number",
    judge=Number(_far_share, 5e-4, "the share beyond three standard deviations"),
)


def _centre_time() -> int:
    """The first t at which the density of the noisy ring falls away from 0, by its values at two points near it."""
    data, schedule, x = ring(), forward.linear(), np.array([[0.0, 0.0], [0.01, 0.0]])
    low, high = 1, schedule.T
    while low < high:
        t = (low + high) // 2
        at_0, beside = data.diffuse(schedule[t]).log_prob(x)
        low, high = (low, t) if at_0 > beside else (t + 1, high)
    return low


answer(
    "train.centre_time",
    "When does the ring close?",
    "Noise fills the hole in the ring of eight Gaussians (radius 1.4, variances 0.02). From which t on is the centre a peak "
    "of the density of x_t, under the linear schedule (T = 1000, beta from 0.0001 to 0.02)? Give that t.",
    25,
    (
        "At the centre the slope is 0. The second derivative in one direction decides.",
        "With the components at distance m and with variance s it is in proportion to `m**2 / 2 - s`, since `cos**2` is one half on"
        " average.",
        "The first t with `alpha_bar * 1.4**2 / 2 <= alpha_bar * 0.02 + 1 - alpha_bar`.",
    ),
    kind="number",
    judge=Number(lambda: float(_centre_time()), 0.5, "the first t at which the centre is a peak"),
)


def _same_noise_time() -> int:
    level = forward.log_snr(forward.cosine()[400])
    return 1 + int(np.argmin(abs(forward.log_snr(forward.linear().steps) - level)))


answer(
    "train.same_noise_time",
    "Which times are equally noisy?",
    "At which t of the linear schedule (T = 1000, beta from 0.0001 to 0.02) is as much noise in x_t as at t = 400 of the cosine "
    "schedule (T = 1000, s = 0.008)? Give the nearest t.",
    15,
    (
        "Two times are equally noisy if their signal-to-noise ratios agree, so if their alpha_bar agree.",
        "For the cosine schedule alpha_bar is a quotient of two `cos**2`, without any product.",
        "`alpha_bar = cos((0.4 + s) / (1 + s) * pi / 2)**2 / cos(s / (1 + s) * pi / 2)**2`; then look for it in"
        " `np.cumprod(1 - beta)`.",
    ),
    kind="number",
    judge=Number(lambda: float(_same_noise_time()), 1.0, "the time of the linear schedule"),
)

# What can be done with noise. ----------------------------------------------------------------------------------------

implement(
    "train.guided_noise",
    "How is a class exaggerated?",
    "Classifier-free guidance with strength w: from the noise predicted for a class and the noise predicted without one, the "
    "noise to go on with. `w = 0` gives the prediction for the class. (Where 0 gives the prediction without a class, w is 1 less. "
    "That counts as right too.)",
    5,
    (
        "It goes on in the direction from the prediction without a class to the one with it.",
        "Start from `noise_cond`, and add w times the difference.",
        "`(1 + w) noise_cond - w noise_uncond`.",
    ),
)


def missing_variance(share: Array) -> Array:
    """What two mixed noises lack of variance 1."""
    return 1 - forward.merged_variance(1.0, 1.0, 1 - share, share)


derive(
    missing_variance,
    "How much noise is missing half-way?",
    "Two independent standard normal noises are mixed on a straight line, `(1 - share) a + share b`. How much variance must be "
    "added so that it is 1 again? `share` lies in [0, 1].",
    5,
    (
        "The variances of independent variables add. A factor comes out squared.",
        "What is mixed has the variance `(1 - share)**2 + share**2`.",
        "`2 share (1 - share)`.",
    ),
)

implement(
    "train.interpolate",
    "What is the way from one noise to another?",
    "The point on the great circle from `noise_a` to `noise_b`, `share` of the way along. The two have one shape: (batch, ...), and "
    "each pair has an angle of its own, over all axes but the first; or (d,), a single pair. `share` is a number.",
    20,
    (
        "What is the angle between two vectors? A scalar product and two lengths give its cosine.",
        "The weights are sines, divided by the sine of the whole angle. At share = 0 the weight of `noise_a` is 1.",
        "`(sin((1 - share) angle) noise_a + sin(share angle) noise_b) / sin(angle)`; for (batch, ...) sum over all axes but the"
        " first, with keepdims.",
    ),
    needs=("train.missing_variance",),
)

# How good the samples are. -------------------------------------------------------------------------------------------

implement(
    "train.sliced_wasserstein",
    "How far apart are two clouds of points?",
    "The sliced Wasserstein distance. `real` and `fake` have shape (n, d), as many points in both, and `directions` holds unit "
    "vectors, shape (k, d). Seen from one direction every point is a number, and sorting pairs the numbers of the two clouds "
    "best. Give the root of the mean of all squared differences, one number.",
    15,
    (
        "Project first: one matrix product gives the numbers of all points along all directions.",
        "Sort each direction by itself, in both clouds, and subtract.",
        "The root of the mean of `(np.sort(real @ directions.T, axis=0) - np.sort(fake @ directions.T, axis=0))**2`.",
    ),
    arguments="real, fake, directions",
)
