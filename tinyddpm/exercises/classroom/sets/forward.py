"""Exercises of chapter 1, the forward process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq

from .... import forward, mixture
from ....arrays import Array, sqrt
from ....forward import EARLIER, Schedule, Step
from .. import answer, derive, implement
from ..judges import Number, figure

SHORT = [0.1, 0.2, 0.3, 0.4, 0.5]
"""The betas of the simplest schedule that a figure is asked of."""


def _schedules() -> Iterator[tuple[str, Schedule]]:
    yield "the betas 0.1, 0.2, 0.3, 0.4, 0.5", Schedule(SHORT)
    yield "the betas of DDPM", forward.linear()


# One step. -----------------------------------------------------------------------------------------------------------

implement(
    "forward.reparameterize",
    "Why do these samples hardly vary?",
    "The function should make a sample of the normal distribution with mean `mean` and variance `var` from standard normal"
    " noise. With `var = 0.01` the samples have the variance 0.0001. Find the mistake.",
    5,
    (
        "What is the variance of a number times `noise`, if `noise` has variance 1?",
        "A factor s multiplies the variance by s squared. Which s gives the variance `var`?",
        "The noise is multiplied by the standard deviation, which is the square root of `var`.",
    ),
    kind="bug",
    start="    return mean + var * noise",
)
implement(
    "forward.diffuse_once",
    "What does one step do to a sample?",
    "Make a sample of q(x_t given x_{t-1}) from `x_prev`, which is x_{t-1}, and standard normal `noise`. Both are numbers or"
    " arrays of one shape; the result has that shape.",
    8,
    (
        "The step shrinks what is there and adds noise. Which share of the variance is kept, and which is added?",
        "`step.alpha` is the share of variance that is kept, `step.beta` the variance of the new noise. A factor on a sample is a standard deviation.",
        "sqrt(alpha) times x_prev, plus sqrt(beta) times noise.",
    ),
    needs=("forward.reparameterize",),
)


def factor_keeping_variance(var: Array, step: Step) -> Array:
    """Solves for the square of the factor: the variance after the step is linear in it."""
    without = forward.merged_variance(var, step.beta, 0, 1)
    slope = forward.merged_variance(var, step.beta, 1, 1) - without
    return sqrt((var - without) / slope)


derive(
    factor_keeping_variance,
    "Which factor keeps the variance of any data?",
    "The data have the variance `var`, which is above beta. A step multiplies x_{t-1} by a positive factor c and adds noise"
    " of variance beta. Give the c after which the variance is `var` again. (For `var` = 1 the chapter knows it.)",
    10,
    (
        "Write down the variance after the step. The noise is independent of x_{t-1}.",
        "It is c squared times var, plus beta. Set it equal to var.",
        "c squared is 1 - beta / var.",
    ),
    where={"var": "(0, inf)"},
    require={"var must be above beta": "var > step.beta"},
    needs=("forward.diffuse_once",),
)

# All steps at once. --------------------------------------------------------------------------------------------------

implement(
    "forward.alpha_bar",
    "How much of the picture is left?",
    "`beta` is an array of beta_1..beta_T, of shape (T,). Give alpha_bar_1..alpha_bar_T, in the same shape. alpha_bar_0 = 1"
    " is not among them.",
    8,
    (
        "alpha_t is the share of variance that step t keeps. What is kept after two steps?",
        "The shares multiply: alpha_bar_t is the product of alpha_1..alpha_t. NumPy has a function for products of all beginnings of an array.",
        "`np.cumprod(1 - beta)`. Its first entry is 1 - beta_1: nothing is put before it.",
    ),
)
implement(
    "forward.diffuse",
    "How does one get to time t in one jump?",
    "Make a sample of q(x_t given x_0) from `x_0` and standard normal `noise`, without a loop over the steps. Both are numbers"
    " or arrays of one shape; the result has that shape. `step.noise_var` is 1 - alpha_bar.",
    8,
    (
        "It looks like one step, with the shares of all steps in the place of those of one.",
        "`step.alpha_bar` is the share of the variance of x_0 that is left, `step.noise_var` the variance of the noise.",
        "sqrt(alpha_bar) times x_0, plus sqrt(noise_var) times noise.",
    ),
    needs=("forward.diffuse_once", "forward.alpha_bar"),
)
answer(
    "forward.variance_without_root",
    "What does a forgotten root do to the variance?",
    "Somebody writes `x_t = sqrt(alpha_bar) x_0 + (1 - alpha_bar) noise`. The data have variance 1. Give the variance of this"
    " x_t for t = 1..T, as an array of shape (T,). `beta` is an array of beta_1..beta_T. Then plot it for DDPM's betas,"
    " `np.linspace(1e-4, 0.02, 1000)`: where is it worst?",
    12,
    (
        "Picture and noise are independent, so their variances add. A factor comes out squared.",
        "The picture's part is alpha_bar, since sqrt(alpha_bar) is squared. The noise's factor has no root: it is squared, too.",
        "`alpha_bar + (1 - alpha_bar) ** 2`, with `alpha_bar = np.cumprod(1 - beta)`.",
    ),
    figure(
        lambda: (
            (words, (schedule.beta,), forward.merged_variance(1.0, 1.0, each.alpha_bar**0.5, each.noise_var))
            for words, schedule in _schedules()
            for each in [schedule.steps]
        ),
        over_time=True,
    ),
    kind="figure",
    arguments="beta",
    needs=("forward.diffuse",),
)


def _kurtosis(schedule: Schedule) -> Any:
    """Each step shrinks the fourth cumulant of the older noise, and adds that of a uniform variable."""
    fourth, found = 0.0, []
    for step in schedule:
        fourth = step.alpha**2 * fourth + step.beta**2 * -1.2
        found.append(fourth / step.noise_var**2)
    return np.array(found)


answer(
    "forward.uniform_kurtosis",
    "How soon is uniform noise as good as normal noise?",
    "Every step adds uniform noise of variance 1, times sqrt(beta_t), in the place of normal noise. Call N_t all the noise in"
    " x_t, which is `x_t - sqrt(alpha_bar_t) x_0`. Give its excess kurtosis, `E[N_t^4] / E[N_t^2]^2 - 3`, for t = 1..T, as an"
    " array of shape (T,). It is 0 for normal noise and -1.2 for uniform noise. `beta` is an array of beta_1..beta_T. Then"
    " plot it for DDPM's betas: after how many steps could one take the noise for normal?",
    25,
    (
        "Of a sum of independent variables not the kurtosis adds, but the fourth cumulant, E[N^4] - 3 E[N^2]^2. What does a factor do to it?",
        "A factor a multiplies it by a^4. So a step takes the fourth cumulant k to alpha^2 k + beta^2 times that of uniform noise, which is -1.2.",
        "Begin with k = 0; at each step k = alpha^2 k - 1.2 beta^2; the answer at t is k / (1 - alpha_bar)^2.",
    ),
    figure(lambda: ((words, (each.beta,), _kurtosis(each)) for words, each in _schedules()), over_time=True),
    kind="figure",
    arguments="beta",
    needs=("forward.alpha_bar",),
)
answer(
    "forward.cosine_merge_time",
    "When do the two classes merge under the cosine schedule?",
    "Under DDPM's schedule the two classes of the running example have a single peak from t = 216 on, where alpha_bar is"
    " 0.6158; at t = 215 it is 0.6185. From which t on do they under the cosine schedule with T = 1000, for which `1 - beta_t = f(t) / f(t - 1)` with"
    " `f(t) = cos((t / T + 0.008) / 1.008 * pi / 2) ** 2`? An answer that is off by three or less counts.",
    10,
    (
        "Whether there is one peak depends on q(x_t) alone. What does q(x_t) depend on, beside the data?",
        "Only on alpha_bar_t. So look for the t of the other schedule with the same alpha_bar.",
        "alpha_bar_t is f(t) / f(0). Look for the first t at which it is below 0.6158.",
    ),
    Number(lambda: float(mixture.two_classes().merge_time(forward.cosine()) or 0), 3.0, "the time of merging"),
    kind="number",
    needs=("forward.alpha_bar",),
)


def merged_noise(noise_a: Array, noise_b: Array, step_s: Step, step: Step) -> Array:
    """Walks the two jumps from x_0 = 0, and asks which noise would have led there in one."""
    x_s = forward.diffuse(0 * noise_a, noise_a, step_s)
    x_t = forward.reparameterize(*forward.skip(x_s, step_s, step), noise_b)
    return forward.predict_noise(x_t, 0 * noise_a, step)


derive(
    merged_noise,
    "Two jumps, two noises: which single noise would do?",
    "A sample jumps from x_0 to time s with the noise `noise_a`, then from s to t with the noise `noise_b`. Give the noise"
    " with which one jump from x_0 to t leads to the same x_t. `step_s` and `step` are the numbers at s and at t. All noises"
    " are numbers or arrays of one shape.",
    20,
    (
        "Write x_t by both ways. The parts with x_0 are equal; compare the rest.",
        "From s to t the share alpha_bar_t / alpha_bar_s is kept. So noise_a arrives with variance (alpha_bar_t / alpha_bar_s) (1 - alpha_bar_s), noise_b with 1 - alpha_bar_t / alpha_bar_s.",
        "With `r = step.alpha_bar / step_s.alpha_bar`: `(sqrt(r * step_s.noise_var) * noise_a + sqrt(1 - r) * noise_b) / sqrt(step.noise_var)`.",
    ),
    where={"step_s.alpha_bar": "(0, 1]"},
    require=EARLIER,
    needs=("forward.diffuse",),
)


def path_correlation(step: Step) -> Array:
    """The covariance follows from the variance of the sum of both."""
    before, now = step.noise_var_prev, step.noise_var
    of_sum = forward.merged_variance(before, step.beta, 1 + sqrt(step.alpha), 1)
    return (of_sum - before - now) / 2 / sqrt(before * now)


derive(
    path_correlation,
    "How closely are two neighbours of a path related?",
    "Give the correlation of x_{t-1} and x_t, of one coordinate, for one who knows x_0. (It is above 0 whenever beta is below"
    " 1: so the product of the marginals is not the density of a path.) t is at least 2.",
    15,
    (
        "A correlation is a covariance, divided by both standard deviations. Given x_0, what varies in x_{t-1}, and what of it is in x_t?",
        "x_t is sqrt(alpha) x_{t-1} plus noise that is independent of it. So the covariance is sqrt(alpha) times the variance of x_{t-1}.",
        "sqrt(alpha) noise_var_prev, divided by sqrt(noise_var_prev noise_var).",
    ),
    where={"step.noise_var_prev": "(0, 1]"},
    needs=("forward.diffuse_once", "forward.diffuse"),
)

# What a network may be asked for, and how much is left. --------------------------------------------------------------

implement(
    "forward.x0_from_velocity",
    "Which picture belongs to a velocity?",
    "Give x_0 from `x_t` and `velocity`, which is `v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0`. Both are numbers or"
    " arrays of one shape. There is a form that divides by nothing, and so holds where alpha_bar is 0, too.",
    12,
    (
        "You have two linear equations, of `x_t` and of `velocity`, in x_0 and the noise. Remove the noise.",
        "Multiply the equation of `x_t` by sqrt(alpha_bar) and that of `velocity` by sqrt(1 - alpha_bar). In the difference the noise is gone, and x_0 has the factor alpha_bar + 1 - alpha_bar.",
        "`sqrt(alpha_bar) x_t - sqrt(noise_var) velocity`.",
    ),
    needs=("forward.diffuse",),
)
answer(
    "forward.cosine_even_time",
    "When are picture and noise equally strong?",
    "For data of variance 1 the signal-to-noise ratio is `alpha_bar / (1 - alpha_bar)`. Under DDPM's schedule it is below 1 for"
    " the first time at t = 260. At which t is it under the cosine schedule with T = 1000? Compute it, or read it off the"
    " figure of the schedules and then make sure. An answer that is off by one counts.",
    10,
    (
        "Which alpha_bar has a signal-to-noise ratio of 1?",
        "alpha_bar = 1/2. For the cosine schedule alpha_bar_t = f(t) / f(0), with `f(t) = cos((t / 1000 + 0.008) / 1.008 * pi / 2) ** 2`.",
        "Try t = 490..500 in f(t) / f(0), or solve cos(angle)^2 = f(0) / 2 for the angle, then for t.",
    ),
    Number(
        lambda: float(np.argmax(forward.snr(forward.cosine().steps) < 1) + 1), 1.0, "the time at which the ratio is 1"
    ),
    kind="number",
)


def _matching_beta() -> float:
    wanted = forward.linear()[1000].log_alpha_bar
    return float(brentq(lambda beta_T: forward.proportional(100, beta_T)[100].log_alpha_bar - wanted, 0.1, 0.3))


answer(
    "forward.matching_beta",
    "How large must beta be for a tenth of the steps?",
    "The schedule `beta_t = beta_T t / T` with T = 100 is to end at the same alpha_bar_T as DDPM's schedule, which has 1000"
    " betas in equal steps from 1e-4 to 0.02. Give beta_T to three digits. Begin with the integral of the chapter, then solve"
    " for it numerically with the sum.",
    20,
    (
        "Ten times fewer steps, so about ten times larger: 0.2. Is alpha_bar_T then too large or too small?",
        "log alpha_bar_T is the sum of log(1 - beta_t). DDPM's is -10.118. The sum falls as beta_T grows: halve an interval again and again.",
        "Bisect `np.log1p(-beta_T * np.arange(1, 101) / 100).sum() + 10.118` between 0.18 and 0.19.",
    ),
    Number(_matching_beta, 5e-4, "beta_T"),
    kind="number",
    needs=("forward.alpha_bar",),
)


def respaced_betas(beta: Array, taus: Sequence[int]) -> np.ndarray:
    """The book's own way, from schedule to schedule."""
    return forward.respace(Schedule(beta), taus).beta


derive(
    respaced_betas,
    "Why do samples stay noisy with few steps?",
    "A sampler visits only the times `taus`, a list of rising whole numbers within 1..T. `beta` is an array of beta_1..beta_T."
    " The function should give the beta of each jump from one visited time to the next, the first from 0, as an array of the"
    " length of `taus`. With it, the sampler takes too little noise away. Find the mistake.",
    15,
    (
        "How much noise is added between two visited times, and how much by the one step to the later of them?",
        "A jump is all the steps between the two times. The share that it keeps is the product of their alphas, alpha_bar at the later time over alpha_bar at the earlier.",
        "With `kept = np.append(1.0, np.cumprod(1 - beta))` and `before = [0, *taus[:-1]]`: `1 - kept[taus] / kept[before]`.",
    ),
    where={"beta": "(0, 1)"},
    shapes="beta (T)",
    kind="bug",
    start="    return beta[np.asarray(taus) - 1]",
    needs=("forward.alpha_bar",),
)
