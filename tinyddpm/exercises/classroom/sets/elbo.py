"""Exercises of chapter 3, the bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .... import elbo, forward, posterior
from ....arrays import Array, sqrt
from ....forward import Gaussian, Schedule, Step
from .. import answer, derive, implement
from ..judges import Number, figure, numbers

SUMMED = (
    "A number is a sample of one dimension; an array of shape (n,) is n such samples, and the result has the same shape. "
    "An array of shape (n, ...) is n samples: sum over their dimensions, so that the result has the shape (n,)."
)
"""What the first axis is, and over what is summed."""

implement(
    "elbo.kl",
    "What does a wrong belief cost?",
    "The divergence D(p || q), in nats: how much longer messages get on average for one who believes in the"
    " probabilities `q` while the outcomes come from `p`. Both are arrays of shape (n,), above 0 and with the sum 1. The"
    " result is a number.",
    10,
    (
        "A message about an outcome of believed probability q takes `-log(q)` nats. How long would the best one be?",
        "Take the mean of the difference of both lengths. With which probabilities do the outcomes come?",
        "The sum of `p * (log(p) - log(q))`.",
    ),
)


def _coin() -> float:
    fair, biased = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    return float(elbo.kl(fair, biased) - elbo.kl(biased, fair)) / np.log(2)


answer(
    "elbo.coin",
    "Which of two wrong beliefs about a coin costs more?",
    "One believes that a coin is fair, but it shows heads with probability 0.9. Another believes in 0.9, but the"
    " coin is fair. Give what the second belief costs less what the first one costs, in bits for a toss, to three"
    " digits after the point.",
    10,
    (
        "Each price is a divergence. Which of its two distributions is the true one?",
        "The first costs the divergence with p = (0.9, 0.1) and q = (0.5, 0.5), the second the one with p and q swapped. From nats to bits one divides by `log(2)`.",
        "`(kl([0.5, 0.5], [0.9, 0.1]) - kl([0.9, 0.1], [0.5, 0.5])) / log(2)`.",
    ),
    Number(_coin, 6e-4, "the second price less the first, in bits"),
    kind="number",
    needs=("elbo.kl",),
)

implement(
    "elbo.gaussian_kl",
    "How far is one Gaussian from another?",
    "The divergence D(q || p) between Gaussians with independent coordinates, in nats; the mean is taken under q."
    f" `mean_q`, `var_q`, `mean_p` and `var_p` are means and variances. {SUMMED}",
    20,
    (
        "It is the mean of `log q - log p` under q. Each logarithm is a square and a constant.",
        "Under q the mean of `(x - mean_q)**2` is `var_q`. Write `x - mean_p` as `(x - mean_q) + (mean_q - mean_p)` to find that of `(x - mean_p)**2`.",
        "For each coordinate: `(var_q / var_p - 1 + log(var_p / var_q) + (mean_q - mean_p)**2 / var_p) / 2`.",
    ),
)


def _log_ratio(mean_q: Any, var_q: Any, mean_p: Any, var_p: Any) -> Any:
    """The mean of log q - log p under q: three points stand for a Gaussian, as in a mean of a square they may."""
    return sum(
        share
        * (
            elbo.gaussian_log_prob(mean_q + sqrt(var_q) * z, mean_q, var_q)
            - elbo.gaussian_log_prob(mean_q + sqrt(var_q) * z, mean_p, var_p)
        )
        for z, share in ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))
    )


def both_ways(mean_q: Array, var_q: Array, mean_p: Array, var_p: Array) -> Array:
    """Both divergences between two Gaussians, added up."""
    there = _log_ratio(mean_q, var_q, mean_p, var_p)
    back = _log_ratio(mean_p, var_p, mean_q, var_q)
    return there + back


derive(
    both_ways,
    "What is left of the logarithms when a divergence is taken both ways?",
    "D(q || p) + D(p || q) for two Gaussians, in nats: a number that does not depend on which of the two stands"
    f" in front. Write it without a logarithm. {SUMMED}",
    15,
    (
        "Write down the divergence of Gaussians twice, with q and p exchanged the second time.",
        "The two logarithms are those of a number and of one over it. In the squares of the means only the variance below differs.",
        "For each coordinate: `(var_q / var_p + var_p / var_q - 2 + (mean_q - mean_p)**2 * (1 / var_q + 1 / var_p)) / 2`.",
    ),
    needs=("elbo.gaussian_kl",),
)


def prior_gap(prior: Array, likelihood: Array) -> Array:
    """What the bound misses if the belief about the cause is the prior."""
    return elbo.kl(prior, posterior.bayes(prior, likelihood).T)


derive(
    prior_gap,
    "What does the bound miss if nobody looks at the photo?",
    "In the album of the chapter, one guesses the posterior by the prior: q(x) = p(x). Give the gap between log"
    " p(y) and the bound with this q, in nats, for each of the m things y that may be seen. Write it with the"
    " prior and the likelihood alone, without a posterior. `prior` has the shape (n,), `likelihood` the shape (n,"
    " m): row x holds the probabilities p(y given x). The result has the shape (m,).",
    20,
    (
        "The gap is the evidence, log p(y), less the bound. Neither needs Bayes' rule.",
        "With q = p(x), the two log p(x) in the bound cancel, and the mean of log p(y given x) is left.",
        "`log(prior @ likelihood) - prior @ log(likelihood)`.",
    ),
    shapes="prior (n), likelihood (n, m)",
    needs=("elbo.kl",),
)

implement(
    "elbo.elbo",
    "A bound that never touches",
    "The evidence lower bound, as a sum over n values of the latent z. `log_joint` is log p(x, z) for each of them, `log_q`"
    " is log q(z), and `weights` are those of the mean over q, with the sum 1: q(z) itself if these are all values, 1/n"
    " if they were drawn. All are arrays of shape (n,); the result is a number. The code below stays below log p(x)"
    " even if q is the posterior over a few values. Find out why.",
    10,
    (
        "Put in q = p(z given x). The bound must then be log p(x).",
        "A mean of two logarithms is taken, that of the joint and that of the guess. Which one is missing?",
        "The sum of `weights * (log_joint - log_q)`.",
    ),
    kind="bug",
    start="    return (weights * log_joint).sum()",
)


def _belief_curve() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    log_joint = np.log([1 / 3 * 0.6, 2 / 3 * 0.15])
    for words, face in (
        ("the belief 0.5", np.array([0.5])),
        ("the beliefs 0.1 and 0.9", np.array([0.1, 0.9])),
        ("99 beliefs from 0.01 to 0.99", np.arange(1, 100) / 100),
    ):
        q = np.stack([face, 1 - face], -1)
        yield words, (face,), elbo.elbo(log_joint, np.log(q), q)


answer(
    "elbo.belief_curve",
    "The bound over the belief",
    'Compute the curve of the figure "The bound for every belief about one blurred photo". A third of the photos'
    " show a face, two thirds a tree. Of the faces 60 % are blurred, of the trees 15 %. `face` is an array of"
    " shape (n,) of beliefs q(face) above 0 and below 1. Give the bound on log p(blurred) for each, in nats, as an"
    " array of the same shape.",
    15,
    (
        "The latent has two values. What are the two joint probabilities with blurred?",
        "log p(face, blurred) is `log(1/3 * 0.6)`, log p(tree, blurred) is `log(2/3 * 0.15)`, and q(tree) is `1 - face`.",
        "`face * (log(0.2) - log(face)) + (1 - face) * (log(0.1) - log(1 - face))`.",
    ),
    figure(_belief_curve),
    kind="figure",
    arguments="face",
    needs=("elbo.elbo",),
)


def _average_first() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    rng = np.random.default_rng(0)
    for words, log_joint, log_q in (
        ("log_joint [-1, -1] and log_q [0, 0]", np.array([-1.0, -1.0]), np.zeros(2)),
        ("log_joint [-1, -2] and log_q [0.5, -0.5]", np.array([-1.0, -2.0]), np.array([0.5, -0.5])),
        ("5 random draws", rng.normal(-3, 1, 5), rng.normal(0, 1, 5)),
        ("log_joint [-2000, -2001] and log_q [0, 0]", np.array([-2000.0, -2001.0]), np.zeros(2)),
        ("100 draws of a picture, about 7000 nats", rng.normal(7000, 9, 100), rng.normal(0, 1, 100)),
    ):
        yield words, (log_joint, log_q), np.logaddexp.reduce(log_joint - log_q) - np.log(len(log_q))


answer(
    "elbo.average_first",
    "Average before the logarithm",
    "A tighter bound: draw k latents z from q, average p(x, z) / q(z) over them and take the logarithm of the"
    " average. By Jensen's inequality its mean is still at most log p(x). `log_joint` and `log_q` are arrays of"
    " shape (k,), log p(x, z) and log q(z) of the draws. Give the logarithm of the average, a number in nats. For"
    " pictures the logarithms are in the thousands, above 0 or below.",
    15,
    (
        "The exponential of -2000 is 0 for the computer, and that of 7000 is infinite. What can be taken out of the average beforehand?",
        "Call the differences `l = log_joint - log_q` and take the largest, m, out: the average of exp(l) is exp(m) times that of exp(l - m).",
        "`m + log(mean(exp(l - m)))`, with `l = log_joint - log_q` and `m = max(l)`.",
    ),
    figure(_average_first),
    kind="derive",
    arguments="log_joint, log_q",
    needs=("elbo.elbo",),
)


def _path_loss() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    rng = np.random.default_rng(0)
    for beta, path in (
        ([0.2], np.array([1.0, 0.0])),
        ([0.1, 0.4], np.array([0.7, -0.5, 1.5])),
        ([0.1, 0.2, 0.3, 0.4, 0.5], rng.normal(0, 2, 6).round(2)),
    ):
        schedule = Schedule(beta)
        loss = forward.path_log_prob(path, schedule) - elbo.joint_log_prob(path, _exact, schedule)
        yield f"the betas {beta} and the path {path.tolist()}", (path, np.array(beta)), float(loss)


answer(
    "elbo.path_loss",
    "What a single path says of the bound",
    "The bound on -log p(x_0) is a mean over paths. Give its value for one path, log q(x_1, ..., x_T given x_0) less log"
    " p(x_0, ..., x_T), in nats. `path` is an array of shape (T + 1,) with the numbers x_0, ..., x_T, and `beta` one of"
    " shape (T,) with beta at t = 1, ..., T. The model starts with x_T from N(0, 1), and its step back from x_t has the mean"
    " `sqrt(1 - beta) x_t` and the variance beta. Write down the terms for T = 1 and for T = 2 first. What do you see when"
    " x_1, ..., x_T change?",
    20,
    (
        "For T = 1 there are three terms: the step into the noise, the start from noise and the step back. Which have a minus?",
        "The step into the noise has the mean `sqrt(1 - beta) x_{t-1}`, and its log-density is taken at x_t. The step back has the mean `sqrt(1 - beta) x_t`, and is taken at x_{t-1}.",
        "With `log_prob(x, mean, var)`: the sum over t of `log_prob(path[t], sqrt(1 - beta) * path[t-1], beta) - log_prob(path[t-1], sqrt(1 - beta) * path[t], beta)`, less `log_prob(path[T], 0, 1)`.",
    ),
    figure(_path_loss),
    kind="implement",
    arguments="path, beta",
)


def _below_zero(asked: Callable[..., Any]) -> str:
    found = numbers(asked(), 2)
    if found is None or max(map(abs, found)) > 1e6:
        return "two numbers are asked for, [x_prev, x_next], none of them beyond a million"
    x_prev, x_next = found
    step, step_next = (Schedule([beta])[1] for beta in (0.1, 0.2))
    value = elbo.consistency(x_prev, x_next, step, step_next, _exact)
    return (
        "" if value < 0 else f"for x_prev = {x_prev:g} and x_next = {x_next:g} it is {value:.4g}, which is not below 0"
    )


def _exact(x_t: Any, step: Step) -> Gaussian:
    """The true step back for data from N(0, 1)."""
    return Gaussian(sqrt(step.alpha) * x_t, step.beta)


answer(
    "elbo.below_zero",
    "Where is the consistency term negative?",
    "The middle term of the first decomposition is a difference of two divergences, so it may be below 0, as no"
    " divergence can. Find two neighbours for which it is. The step to t has beta = 0.1, the next one beta = 0.2,"
    " and the model's step back from t + 1 has the mean `sqrt(alpha) x_next` and the variance beta of that next"
    " step. Give two numbers as a list, `[x_prev, x_next]`.",
    20,
    (
        "The first divergence must be small and the second large: the bridge should lie where the step back leads, and far from where the step forward leads.",
        "Choose the ratio of x_prev and x_next so that the bridge and the step back have the same mean. Then the first divergence is a constant. What happens to the second if both are scaled up?",
        "With `x_prev = 0.85 x_next` both means are nearly the same. From `x_next = 3` on the second divergence is the larger one.",
    ),
    _below_zero,
    kind="number",
    needs=("elbo.gaussian_kl",),
)


def _telescoped() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    rng = np.random.default_rng(0)
    for words, schedule, x_0 in (
        ("betas 0.1, 0.2, x_0 = 1 and the path [1, 0]", Schedule([0.1, 0.2]), 1.0),
        ("betas 0.1, 0.2, 0.3, 0.4, 0.5 and x_0 = 0.7", Schedule([0.1, 0.2, 0.3, 0.4, 0.5]), 0.7),
        ("the linear schedule of 1000 steps and x_0 = -0.4", forward.linear(1000), -0.4),
    ):
        path = np.array([1.0, 0.0]) if schedule.T == 2 else rng.normal(0, 1, schedule.T)
        alpha_bar = np.array([step.alpha_bar for step in schedule])
        yield words, (x_0, path, alpha_bar), float(elbo.telescope(x_0, path, schedule))


answer(
    "elbo.telescoped",
    "A sum of a thousand terms that needs two",
    "Bayes' rule leaves log q(x_{t-1} given x_0) - log q(x_t given x_0) over at each t from 2 to T. Give the sum"
    " of these, a number. `x_0` is a number, `path` an array of shape (T,) with x_1, ..., x_T, and `alpha_bar` an"
    " array of shape (T,) with alpha_bar at t = 1, ..., T.",
    15,
    (
        "Write down the terms for t = 2 and t = 3 and look at what they have in common.",
        "q(x_t given x_0) is a Gaussian with the mean `sqrt(alpha_bar) x_0` and the variance `1 - alpha_bar`. Its log-density is needed at t = 1 and at t = T only.",
        "The log-density of `path[0]` with `alpha_bar[0]`, less that of `path[-1]` with `alpha_bar[-1]`, where a log-density is `-(x - mean)**2 / (2 * var) - log(2 * pi * var) / 2`.",
    ),
    figure(_telescoped),
    kind="implement",
    arguments="x_0, path, alpha_bar",
)

implement(
    "elbo.denoising_matching",
    "One term of the loss of DDPM",
    f"How far the model's step back is from that of somebody who knows x_0: the divergence of q(x_{{t-1}} given"
    " x_t, x_0) to the model's Gaussian, in nats. `model_mean` and `model_var` are its mean and its variance, and"
    f" `step` is at a t above 1. {SUMMED} The numbers of `step` may then be arrays that broadcast.",
    20,
    (
        "It is a divergence of two Gaussians. Those of chapter 2 give the first one.",
        "The forward posterior has the variance `beta * noise_var_prev / noise_var` and the mean `(sqrt(alpha_bar_prev) * beta * x_0 + sqrt(alpha) * noise_var_prev * x_t) / noise_var`.",
        "`gaussian_kl(mean, variance, model_mean, model_var)` with these two.",
    ),
    needs=("elbo.gaussian_kl",),
)
implement(
    "elbo.noise_weight",
    "What does an error in the noise cost?",
    "The weight of the squared error of the noise in L_{t-1}, for a model with the fixed variance var: with it"
    " the loss is the weight times `(noise - noise_hat)**2`, and a constant.",
    15,
    (
        "With a fixed variance only the squared distance of the two means depends on the model. What stands before it?",
        "The weight of the squared error of the mean is `1 / (2 * var)`. The mean contains the noise times `beta / sqrt(alpha * noise_var)`, with a minus.",
        "`beta**2 / (2 * var * alpha * noise_var)`.",
    ),
)


def posterior_velocity_weight(step: Step) -> Array:
    """The weight of the squared error of the velocity in L_{t-1}, for the smaller variance."""
    return elbo.velocity_weight(step, posterior.variance(step))


derive(
    posterior_velocity_weight,
    "What does an error in the velocity cost?",
    "The weight of the squared error of the velocity, `v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0`, in"
    " L_{t-1}, for a model with the variance of the forward posterior. Derive it from the weight of the noise."
    " Much cancels: it fits into one short fraction. `step` is at a t above 1.",
    20,
    (
        "For one and the same x_t, how do the errors of the noise and of the velocity compare?",
        "`noise = sqrt(alpha_bar) v + sqrt(noise_var) x_t`, so the error of the noise is `sqrt(alpha_bar)` times that of v. And the variance is `beta * noise_var_prev / noise_var`.",
        "`beta**2 * alpha_bar / (2 * var * alpha * noise_var)` with that variance, and with alpha_bar_prev for `alpha_bar / alpha`: `alpha_bar_prev * beta / (2 * noise_var_prev)`.",
    ),
    where={"step.noise_var_prev": "(0, 1]"},
    needs=("elbo.noise_weight",),
)


def _variance_price() -> float:
    def mean_loss(step: Step, var: float) -> float:
        error = posterior.optimal_variance(step, 1.0) - posterior.variance(step)  # of the mean, squared
        return float(elbo.denoising_matching(0.0, 0.0, error**0.5, var, step))

    steps = list(forward.linear(1000))[1:]
    return sum(mean_loss(step, posterior.variance(step)) - mean_loss(step, step.beta) for step in steps)


answer(
    "elbo.variance_price",
    "What does the wrong variance cost in all?",
    "The data is N(0, 1), the schedule the linear one of 1000 steps: beta rises evenly from 0.0001 to 0.02. The"
    " model has the exact mean at every step. Its variance is either beta or a smaller one, that of the forward"
    " posterior. Take the mean of L_{t-1} over the data and the noise, and its sum over t = 2, ..., 1000. By how"
    " many nats is the sum larger with the smaller variance? Give it to two digits after the point.",
    25,
    (
        "The mean of L_{t-1} is a function of the variance and of the mean squared error M of the model's mean. See the section on the best variance.",
        "For N(0, 1) the smaller variance and M add up to beta. With the variance s the mean of L_{t-1} is `(beta / s - 1 + log(s / smaller)) / 2`.",
        "Sum `(r - 1 - log(r)) / 2` over t = 2, ..., 1000, where r is `beta / smaller`, which is `noise_var / noise_var_prev`.",
    ),
    Number(_variance_price, 0.006, "the sum over all t, in nats"),
    kind="number",
)

implement(
    "elbo.min_snr_weight",
    "A weight that grows where it should be capped",
    "The weight of the squared error of the noise for min-SNR. As a weight of x_0 it is the signal-to-noise"
    " ratio, but no more than `snr_cap`; for the noise that is divided by the ratio. With the code below the"
    " noisiest times rule the training. Find out why.",
    10,
    (
        "Compute the weight at a ratio of 0.1, with a cap of 5. It should be 1.",
        "A cap keeps a number from getting larger. Which of two numbers is taken here?",
        "`np.minimum(snr, snr_cap)` in the place of `np.maximum(snr, snr_cap)`.",
    ),
    kind="bug",
    arguments="step, snr_cap",
    start="""    snr = step.alpha_bar / step.noise_var
    return np.maximum(snr, snr_cap) / snr""",
)


def information_between(snr_min: float, snr_max: float, data_var: float) -> float:
    """The loss of all times at once, for Gaussian data and the best model."""
    return elbo.diffusion_loss_continuous(lambda snr: data_var / (1 + data_var * snr), snr_min, snr_max)


derive(
    information_between,
    "What do infinitely many steps cost?",
    "In the limit of ever smaller steps the sum of all L_{t-1} is half of the integral of `E ||x_0 - x_0_hat||**2`"
    " over the signal-to-noise ratio, from `snr_min` to `snr_max`. The data is N(0, `data_var`), one number, and"
    " the model is the best one. Write the integral in closed form, in nats. (It is what x_t tells of x_0 at the"
    " clean end and not at the noisy one.) All arguments are single numbers.",
    20,
    (
        "Up to a known factor x_t is x_0 with noise of the variance 1 / SNR. How uncertain is x_0 then, if the best model sees x_t?",
        "Precisions add: `1 / data_var` and SNR. So the error is `data_var / (1 + data_var * SNR)`, whose integral is a logarithm.",
        "`log((1 + data_var * snr_max) / (1 + data_var * snr_min)) / 2`.",
    ),
    where={"data_var": "scalar [0, inf)"},
    require={"snr_max must be at least snr_min": "snr_max >= snr_min"},
)
