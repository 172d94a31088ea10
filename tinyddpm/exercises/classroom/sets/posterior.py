"""Exercises of chapter 2, the posterior."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from .... import forward, mixture, posterior
from ....arrays import Array, sqrt
from ....forward import Schedule, Step
from .. import answer, derive, implement
from ..judges import Number, figure

# Bayes' rule, where it can be counted. -------------------------------------------------------------------------------

implement(
    "posterior.bayes",
    "How probable is each cause of what was seen?",
    "`prior` is p(x), of shape (n,). `likelihood` is p(y given x), of shape (n, m), a row for each x. Give p(x given y), of"
    " shape (n, m): every column sums to 1.",
    10,
    (
        "Count. Of all cases, how many have this x and this y? Of all cases with this y, how many have this x?",
        "The joint probability p(x, y) is the prior times the likelihood, row by row; `prior[:, None]` is a column. Divide each of its columns by the column's sum.",
        "`joint = prior[:, None] * likelihood`, then `joint / joint.sum(axis=0)`.",
    ),
)


def _ill() -> float:
    found = posterior.bayes(np.array([0.001, 0.999]), np.array([[0.99, 0.01], [0.02, 0.98]]))
    return float(found[0, 0])


answer(
    "posterior.illness",
    "How probable is the illness after a positive test?",
    "One person in a thousand is ill. A test is positive for 99 percent of the ill and, by mistake, for 2 percent of the"
    " healthy. Somebody's test is positive. Give the probability that this person is ill, as a number between 0 and 1, to"
    " three digits after the point.",
    8,
    (
        "Count 100 000 people: how many are ill, and how many of those have a positive test?",
        "99 of 100 ill people have a positive test, and so have 2 percent of the 99 900 healthy.",
        "`99 / (99 + 1998)`.",
    ),
    Number(_ill, 5e-4, "the probability"),
    kind="number",
    needs=("posterior.bayes",),
)

# One step back. ------------------------------------------------------------------------------------------------------

implement(
    "posterior.variance",
    "How wide is one step back?",
    "Give the variance of the forward posterior q(x_{t-1} given x_t, x_0), for one coordinate. It must be 0 at t = 1.",
    10,
    (
        "The precisions of two Gaussians add: that of the step from t - 1 to t, seen from x_{t-1}, and that of q(x_{t-1} given x_0).",
        "The first precision is alpha / beta, the second 1 / noise_var_prev. At t = 1 the second is infinite: bring both to one fraction first.",
        "beta times noise_var_prev, divided by noise_var.",
    ),
)
implement(
    "posterior.mean",
    "Where does one step back lead?",
    "Give the mean of the forward posterior q(x_{t-1} given x_t, x_0). `x_t` and `x_0` are numbers or arrays of one shape; the"
    " result has that shape. It must hold at t = 1, too.",
    15,
    (
        "It is an average of two guesses of x_{t-1}, weighted by their precisions.",
        "The guess from x_t is x_t / sqrt(alpha), with precision alpha / beta; the guess from x_0 is sqrt(alpha_bar_prev) x_0, with precision 1 / noise_var_prev.",
        "`(sqrt(alpha_bar_prev) beta x_0 + sqrt(alpha) noise_var_prev x_t) / noise_var`.",
    ),
    needs=("posterior.variance",),
)


def weight_of_start(step: Step) -> Array:
    """How the mean answers to x_0, in units of the guess from x_0."""
    return posterior.mean(0.0, 1.0, step) / sqrt(step.alpha_bar_prev)


derive(
    weight_of_start,
    "How much does the mean listen to the picture?",
    "The mean of the forward posterior is an average of two guesses of x_{t-1}: `sqrt(alpha_bar_prev) x_0` and"
    " `x_t / sqrt(alpha)`. Give the weight of the first; the two weights sum to 1. It must be 1 at t = 1.",
    10,
    (
        "Each guess counts by its precision. What are the two precisions, and what is their sum?",
        "The weight is (1 / noise_var_prev), divided by (alpha / beta + 1 / noise_var_prev). Multiply both by beta noise_var_prev.",
        "What is left in the denominator is alpha noise_var_prev + beta, the noise budget: beta / noise_var.",
    ),
    needs=("posterior.mean",),
)
implement(
    "posterior.mean_from_velocity",
    "Where does one step back lead, by the velocity?",
    "Give the mean of the forward posterior from `x_t` and `velocity`, which is"
    " `v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0`. Both are numbers or arrays of one shape. There is a form that does"
    " not divide by alpha, and so holds where it is 0, too.",
    15,
    (
        "You know the mean with x_0. Which x_0 belongs to `x_t` and `velocity`?",
        "x_0 = sqrt(alpha_bar) x_t - sqrt(noise_var) v. Put it into the mean and sort. What is before x_t simplifies by the noise budget.",
        "`sqrt(alpha) x_t - sqrt(alpha_bar_prev) beta / sqrt(noise_var) velocity`.",
    ),
    needs=("posterior.mean",),
)

# Which variance? -----------------------------------------------------------------------------------------------------


def _as_wide_as_beta() -> float:
    step = forward.linear()[100]
    return float(brentq(lambda data_var: posterior.optimal_variance(step, data_var) - step.beta, 0.1, 10.0, xtol=1e-9))


answer(
    "posterior.data_variance_at_beta",
    "For which data is beta the right variance?",
    "For data from a normal distribution of variance s, the variance of x_{t-1} given x_t alone is"
    " `beta (alpha_bar_prev s + 1 - alpha_bar_prev) / (alpha_bar s + 1 - alpha_bar)`. Below some s it is less than beta, above"
    " it more. Which s is it? It is the same at every t.",
    8,
    (
        "When is the fraction behind beta equal to 1?",
        "The numerator is the variance of x_{t-1}, the denominator that of x_t. For which data does a step leave the variance as it is?",
        "A step takes a variance V to alpha V + beta. It stays as it is where V = alpha V + beta, and alpha + beta is 1.",
    ),
    Number(_as_wide_as_beta, 1e-3, "the variance of the data"),
    kind="number",
)


def _times() -> np.ndarray:
    found = []
    for T in (10, 100, 1000):
        steps = forward.cosine(T).steps
        found.append(np.flatnonzero(posterior.variance(steps) < 0.9 * steps.beta)[-1] + 1)
    return np.array(found)


answer(
    "posterior.few_step_times",
    "How long does the choice of variance matter?",
    "The cosine schedule has `1 - beta_t = f(t) / f(t - 1)`, with `f(t) = cos((t / T + 0.008) / 1.008 * pi / 2) ** 2`; no beta is"
    " above 0.999. Call the variance of the forward posterior beta_tilde_t. Give the last t at which beta_tilde_t is below"
    " 0.9 beta_t, for T = 10, T = 100 and T = 1000, as an array of three numbers.",
    20,
    (
        "Make the betas as an array first, then alpha_bar. What is beta_tilde_t / beta_t?",
        "It is (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), and alpha_bar_0 is 1. Compare the whole array with 0.9.",
        "`kept = np.append(1.0, np.cumprod(1 - beta))`; the last entry of `np.flatnonzero((1 - kept[:-1]) / (1 - kept[1:]) < 0.9)`, plus 1.",
    ),
    figure(lambda: [("T = 10, 100 and 1000", (), _times())]),
    kind="figure",
    needs=("posterior.variance",),
)
implement(
    "posterior.interpolated_variance",
    "Why is this learned variance right at both ends only?",
    "A network says with `v` where between two variances the right one is: 1 for beta, 0 for the variance of the forward"
    " posterior. Between them it counts on a logarithmic scale. The function agrees at `v = 0` and `v = 1` and nowhere else."
    " It must hold at t = 1, too, for `v` up to 1. Find the mistake.",
    10,
    (
        "Half-way between 1 and 100 on a logarithmic scale is 10. What does the function give there?",
        "log of the result is v log(beta) + (1 - v) log(small). Take the exponential: no logarithm needs to be left.",
        "`beta ** v * small ** (1 - v)`.",
    ),
    kind="bug",
    start="    small = step.noise_var_prev / step.noise_var * step.beta\n    return v * step.beta + (1 - v) * small",
    needs=("posterior.variance",),
)


def variance_of_start(step: Step, data_var: Array) -> Array:
    """All steps up to t as one: then the step back leads to x_0 itself."""
    return posterior.optimal_variance(step.whole, data_var)


derive(
    variance_of_start,
    "How uncertain is the picture for one who sees x_t?",
    "The data are from a normal distribution of variance `data_var`. Give the variance of x_0 given x_t, for one coordinate."
    " (Noised to t and denoised by the exact model, a sample differs from itself by twice that, in the mean square. Does it"
    " ever fall as t grows?)",
    15,
    (
        "What x_t says of x_0 and what the data say of it are two independent hints: their precisions add.",
        "x_t / sqrt(alpha_bar) is x_0 plus noise of variance noise_var / alpha_bar. The precisions are alpha_bar / noise_var and 1 / data_var.",
        "data_var noise_var, divided by (alpha_bar data_var + noise_var).",
    ),
    needs=("posterior.variance",),
)


def variance_of_step_back(step: Step, x0_var: Array) -> Array:
    """Two independent parts: the posterior's own noise, and x_0 as the mean answers to it."""
    return forward.merged_variance(posterior.variance(step), x0_var, 1, posterior.mean(0.0, 1.0, step))


derive(
    variance_of_step_back,
    "How wide is one step back without the picture?",
    "Somebody who sees x_t knows x_0 up to the variance `x0_var`, which is Var[x_0 given x_t]. Give the variance of x_{t-1}"
    " given x_t alone, for one coordinate.",
    12,
    (
        "The law of total variance: the variance that is left when x_0 is known, plus the variance of the mean because x_0 is not.",
        "The first part is that of the forward posterior. In the second, x_0 is multiplied by its coefficient in the posterior's mean; a factor comes out squared.",
        "`beta * noise_var_prev / noise_var + (sqrt(alpha_bar_prev) * beta / noise_var) ** 2 * x0_var`.",
    ),
    needs=("posterior.variance", "posterior.mean"),
)


def _mean_square_score() -> float:
    q = mixture.two_classes().diffuse(forward.linear()[150])
    x = np.linspace(-9, 9, 4001)[:, None]
    return float((np.exp(q.log_prob(x))[:, None] * q.score(x) ** 2).sum() * (x[1, 0] - x[0, 0]))


answer(
    "posterior.mean_square_score",
    "How large is the score on average?",
    "The best single variance of a step back, `analytic_variance` in the chapter, needs the mean squared score: the mean of"
    " (d log q(x_t) / dx_t)^2 over q(x_t). Give it for the running example at t = 150 of DDPM's betas,"
    " `np.linspace(1e-4, 0.02, 1000)`, to two digits after the point. The data: a third of the samples are from N(-1.4, 0.02),"
    " two thirds from N(0.7, 0.02), with variances in the second place.",
    20,
    (
        "q(x_t) is a mixture, too. What are the means and the variances of its two parts?",
        "The means are multiplied by sqrt(alpha_bar), the variances become `alpha_bar * 0.02 + 1 - alpha_bar`. The mean is an integral: a sum over a fine grid, times its width.",
        "With q on the grid x: `np.sum(np.gradient(q, x) ** 2 / q) * (x[1] - x[0])`, from -6 to 6.",
    ),
    Number(_mean_square_score, 6e-3, "the mean squared score"),
    kind="number",
    needs=("posterior.variance_of_step_back",),
)

# Sampling. -----------------------------------------------------------------------------------------------------------

implement(
    "posterior.sampling_step",
    "Why are all pictures grainy?",
    "One step of sampling: the mean of the forward posterior of `x_t` and the predicted `x_0`, plus fresh noise `z` times the"
    " standard deviation, which is the root of `var`. The pictures of this sampler are good but for a fine grain. Find the"
    " mistake. The fields of `step` can be arrays.",
    10,
    (
        "Which is the last step of a sampler, and what should its result be?",
        "At t = 1 the mean is the picture, and no noise should be added. There `noise_var_prev` is 0.",
        "`np.where(step.noise_var_prev == 0, mean, mean + np.sqrt(var) * z)`.",
    ),
    kind="bug",
    start="    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0\n"
    "    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t\n"
    "    mean = (from_x_0 + from_x_t) / step.noise_var\n"
    "    return mean + np.sqrt(var) * z",
    needs=("posterior.mean",),
)


def _deterministic(schedule: Schedule, data_var: float) -> np.ndarray:
    """By the score of the Gaussian q(x_t), from t = T down."""
    var, found = 1.0, []
    for t in range(schedule.T, 0, -1):
        step = schedule[t]
        of_x_t = forward.merged_variance(data_var, step.noise_var, step.alpha_bar**0.5, 1)
        var = var * posterior.mean_from_score(1.0, -1 / of_x_t, step) ** 2
        found.append(var)
    return np.array(found[::-1])


answer(
    "posterior.variance_without_noise",
    "What is lost when a sampler adds no noise?",
    "The data are from a normal distribution of mean 0 and variance `data_var`. A sampler begins with x_T of variance 1 and"
    " goes from x_t to the exact mean E[x_{t-1} given x_t], and adds no fresh noise. Give the variances of its"
    " x_0, x_1, ..., x_{T-1}, as an array of shape (T,). `beta` is an array of beta_1..beta_T. Then plot them for DDPM's betas"
    " and `data_var = 1`: how much of the variance is left at the end?",
    20,
    (
        "For Gaussian data E[x_{t-1} given x_t] is x_t times a factor. Which one?",
        "With `V_t = alpha_bar_t data_var + 1 - alpha_bar_t` the variance of x_t is V_t and its covariance with x_{t-1} is sqrt(alpha_t) V_{t-1}. The factor is the covariance over V_t.",
        "Each step multiplies the variance by `alpha_t (V_{t-1} / V_t)^2`. Multiply these from T down: np.cumprod of the reversed array, reversed again.",
    ),
    figure(
        lambda: (
            (
                f"the betas {name} and data_var = {data_var:g}",
                (schedule.beta, data_var),
                _deterministic(schedule, data_var),
            )
            for name, schedule in _schedules()
            for data_var in (1.0, 0.25)
        )
    ),
    kind="figure",
    arguments="beta, data_var",
    needs=("posterior.mean",),
)


def _schedules() -> Iterator[tuple[str, Schedule]]:
    yield "0.1, 0.2, 0.3, 0.4, 0.5", Schedule([0.1, 0.2, 0.3, 0.4, 0.5])
    yield "of DDPM", forward.linear()


def _outside() -> float:
    data = mixture.two_classes()
    means, stds = data.means[:, 0], data.variances**0.5
    return float(data.weights @ (ndtr((-1 - means) / stds) + ndtr((means - 1) / stds)))


answer(
    "posterior.share_clipped",
    "How much of the data does a wrong bound cut off?",
    "In the running example a third of the samples are from N(-1.4, 0.02) and two thirds from N(0.7, 0.02), with variances in"
    " the second place. A sampler clips every predicted x_0 to [-1, 1]. Which share of the data lies outside, so that it can"
    " never come out as it is? Give a number between 0 and 1, to three digits after the point.",
    10,
    (
        "Look at the classes one by one: how many standard deviations is each from the bound?",
        "The standard deviation is 0.141. -1.4 is 2.8 of them outside of the bound, 0.7 is 2.1 of them inside.",
        "With the normal distribution function P: `P(2.83) / 3 + 2 P(-2.12) / 3`. In Python, `P(u) = (1 + math.erf(u / math.sqrt(2))) / 2`.",
    ),
    Number(_outside, 6e-4, "the share"),
    kind="number",
)
implement(
    "posterior.ddim_step",
    "How does one skip times?",
    "A step of DDIM from t back to any earlier time s. `noise` is the predicted noise in `x_t`, `z` fresh noise; all three are"
    " numbers or arrays of one shape. `step` and `step_s` are the numbers at t and at s. `eta` says how much of the noise is"
    " fresh: `sigma^2 = eta^2 (1 - alpha_bar_s) / (1 - alpha_bar_t) (1 - alpha_bar_t / alpha_bar_s)`.",
    20,
    (
        "Predict x_0, then noise it again to s. There the noise has the variance 1 - alpha_bar_s in all: a part of it is fresh.",
        "`x_0 = (x_t - sqrt(noise_var) noise) / sqrt(alpha_bar)`. The fresh noise has the variance sigma^2, so the old noise has 1 - alpha_bar_s - sigma^2.",
        "`sqrt(step_s.alpha_bar) x_0 + sqrt(step_s.noise_var - sigma^2) noise + sigma z`.",
    ),
)


def _there_and_back(alpha_bar: np.ndarray, data_var: float) -> float:
    """By the steps of DDIM without fresh noise, each with the average of the noises predicted at its two ends."""
    steps = [Step.from_alpha_bar(float(each)) for each in alpha_bar]

    def predicted(x: float, step: Step) -> float:
        return step.noise_var**0.5 * x / (step.alpha_bar * data_var + step.noise_var)

    def moved(x: float, noise: float, start: Step, end: Step) -> float:
        if start.alpha_bar > end.alpha_bar:
            return float(posterior.ddim_encode_step(x, noise, start, end))
        return float(posterior.ddim_step(x, noise, 0.0, start, end, 0.0))

    x = 1.0
    for start, end in (*pairwise(steps), *pairwise(steps[::-1])):
        first = predicted(x, start)
        x = moved(x, (first + predicted(moved(x, first, start, end), end)) / 2, start, end)
    return abs(x - 1)


def _ways() -> Iterator[tuple[str, tuple[Any, ...], np.ndarray]]:
    for data_var in (4.0, 0.1):
        for n in (1, 2, 10, 40):
            alpha_bar = 1 / (1 + np.linspace(0.2, 3, n + 1) ** 2)
            words = f"alpha_bar = {np.array2string(alpha_bar, precision=4, threshold=5)} and data_var = {data_var:g}"
            yield words, (alpha_bar, data_var), np.array(_there_and_back(alpha_bar, data_var))


answer(
    "posterior.heun_round_trip",
    "Does a method of second order bring the sample back?",
    "Encode a sample by DDIM without fresh noise, decode it again, and say how far it is off. The data are from a normal"
    " distribution of mean 0 and variance `data_var`; the noise predicted at x_t is then"
    " `sqrt(1 - alpha_bar_t) x_t / (alpha_bar_t data_var + 1 - alpha_bar_t)`. `alpha_bar` is an array of falling numbers, one for"
    " each time; the first is that of the sample, the last that of its code. With `y = x / sqrt(alpha_bar)` and"
    " `r = sqrt((1 - alpha_bar) / alpha_bar)` a step of DDIM is `y + (r_new - r_old) noise`. Make it a step of Heun's method: take"
    " the step, predict the noise again at its end, and take the step once more, from its beginning, with the average of both"
    " noises. Begin with x = 1, go there and back, and give the absolute difference from 1. Then plot it over the number of"
    " steps, for r in equal steps from 0.2 to 3, on two logarithmic axes: what is the slope, and what is that of DDIM itself?",
    35,
    (
        "Write one step as a function of x, the old and the new alpha_bar. The way back is the same function with the two exchanged.",
        "The first noise is that at x and the old alpha_bar. A step with it leads to a guess. The second noise is that at the guess and the new alpha_bar. The result is a step from x with (first + second) / 2.",
        "x after a step with noise e is `sqrt(new) * (x / sqrt(old) + (r(new) - r(old)) * e)`. Loop over alpha_bar, then over alpha_bar[::-1].",
    ),
    figure(_ways, digits=1e-6),
    kind="figure",
    arguments="alpha_bar, data_var",
    needs=("posterior.ddim_step",),
)
