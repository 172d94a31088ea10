r"""Chapter 3. The bound: what a diffusion model is trained on, and why a squared error is all that is left of it.

A log-likelihood that nobody can compute is bounded from below by one that is a sum of small terms. Everything is in
nats. Samples have shape (batch, ...): a term is summed over the data's dimensions, and there is one for each sample; a
number or a batch of numbers, shape (batch,), has one dimension.

A reverse model is any callable ``model(x_t, step)`` that answers with $p_\theta(x_{t-1} \mid x_t)$ as a `Gaussian`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy import special

from . import forward, posterior
from .arrays import (
    Array,
    clipped,
    expm1,
    grid,
    inner,
    log,
    log1p,
    log1p_rest,
    log_ndtr,
    log_sum_exp,
    minimum,
    sqrt,
    stack,
    standard_normal,
    sum_dims,
    times_like,
    where,
)
from .equation import equation
from .forward import Gaussian, Schedule, Step

ReverseModel: TypeAlias = Callable[[Any, Step], Gaussian]
"""``model(x_t, step)``, see above."""

OUTCOMES = "p (n) or (..., n), q (n) or (..., n)"
"""The shapes of two distributions of the same outcomes: one of each, one against many, or pair by pair."""

# Information. --------------------------------------------------------------------------------------------------------


@equation("Bishop 2006, Sec. 1.6", where={"p": "number [0, 1]"})
def information(p: Array) -> Array:
    r"""How surprising an outcome is: 0 if it was certain, and for independent outcomes the surprises add.

    $$
    I = -\log p
    $$

    Args:
        p: its probability, in [0, 1], any shape.

    Returns:
        In nats, in the shape of ``p``; infinite for what cannot happen.
    """
    # Of what is certain it is 0, and not -0, as a minus alone would give.
    return 0.0 - log(p)


@equation("Bishop 2006, Sec. 1.6", derived_from=[information], unproved="outcomes")
def entropy(p: Array) -> Array:
    r"""The mean surprise: how much one learns from an outcome.

    $$
    H(p) = -\sum_x p(x) \log p(x)
    $$

    Returns:
        In nats, shape (...).
    """
    # entr(p) is -p log p, and 0 at p = 0
    return special.entr(p).sum(-1)


@equation("Bishop 2006, Sec. 1.6", derived_from=[information], shapes=OUTCOMES, unproved="outcomes")
def cross_entropy(p: Array, q: Array) -> Array:
    r"""The mean surprise of one who believes q while the outcomes come from p.

    $$
    H(p, q) = -\sum_x p(x) \log q(x)
    $$

    Returns:
        In nats, shape (...); infinite if something happens that q excludes.
    """
    # xlogy(p, q) is p log q, and 0 at p = 0
    return -special.xlogy(p, q).sum(-1)


@equation(
    "Bishop 2006, Sec. 1.6",
    derived_from=[entropy, cross_entropy],
    shapes=OUTCOMES,
    unproved="outcomes",
)
def kl(p: Array, q: Array) -> Array:
    r"""The Kullback-Leibler divergence: what believing q costs. Never negative, and 0 only for q = p.

    $$
    D_{\mathrm{KL}}(p \,\Vert\, q) = \sum_x p(x) \log \frac{p(x)}{q(x)} = H(p, q) - H(p)
    $$

    Returns:
        In nats, shape (...); infinite if something happens that q excludes.
    """
    # The terms are p log(p/q) - p + q. What is added sums to 0, and no term
    # is below 0 except by rounding.
    return np.maximum(special.kl_div(p, q), 0).sum(-1)


@equation("Bishop 2006, Sec. 1.6", shapes="values (n), weights (n)", unproved="outcomes")
def jensen_gap(f: Callable[[Array], Array], values: Array, weights: Array) -> Array:
    r"""Mean of f against f of the mean: at least 0 for a convex f such as -log, at most 0 for a concave one such as log.

    $$
    \mathbb E[f(X)] - f(\mathbb E[X])
    $$

    Args:
        f: takes an array and answers in its shape.
        weights: with what probability, shape (n,).
    """
    # f may be infinite where X never is
    values, weights = values[weights > 0], weights[weights > 0]
    return (weights * f(values)).sum() - f((weights * values).sum())


# Gaussians. ----------------------------------------------------------------------------------------------------------


@equation("Bishop 2006, Sec. 2.3")
def gaussian_log_prob(x: Array, mean: Array, var: Array) -> Array:
    r"""Log-density of independent Gaussians.

    $$
    \log \mathcal N(x;\ \mu, \sigma^2) = -\frac{(x - \mu)^2}{2\sigma^2} - \frac{1}{2}\log\big(2\pi\sigma^2\big)
    $$

    A density, not a probability: where the variance is small it is far above 1, and its logarithm above 0.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    return sum_dims(-((x - mean) ** 2) / var / 2 - log(2 * math.pi * var) / 2)


@equation("Bishop 2006, Sec. 2.3", derived_from=[gaussian_log_prob, entropy])
def gaussian_entropy(var: Array, dims: Array) -> Array:
    r"""Entropy of a Gaussian with the same variance in every coordinate: the mean of minus the log-density.

    $$
    H = \frac{d}{2}\,\log\big(2\pi e\,\sigma^2\big)
    $$
    """
    return dims / 2 * log(2 * math.pi * math.e * var)


@equation("Luo 2022, Eq. 86", derived_from=[gaussian_log_prob, kl])
def gaussian_kl(mean_q: Array, var_q: Array, mean_p: Array, var_p: Array) -> Array:
    r"""Divergence between Gaussians with independent coordinates.

    $$
    D_{\mathrm{KL}}(q \,\Vert\, p) = \frac{1}{2}\bigg(\frac{\sigma_q^2}{\sigma_p^2} - 1
    + \log\frac{\sigma_p^2}{\sigma_q^2} + \frac{(\mu_q - \mu_p)^2}{\sigma_p^2}\bigg)
    $$

    The mean is taken under q. With r the ratio of the variances, the code takes $\log r - (r - 1)$ at once: for nearly
    equal variances it is nearly $-(r-1)^2/2$, and subtracting would lose its digits.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    ratio, excess = var_q / var_p, (var_q - var_p) / var_p
    square = (mean_q - mean_p) ** 2 / var_p
    return sum_dims((square - log1p_rest(excess, ratio)) / 2)


# The evidence and its bound. -----------------------------------------------------------------------------------------


@equation("Luo 2022, Eq. 2", derived_from=[posterior.bayes])
def evidence(log_joint: Array, log_posterior: Array) -> Array:
    r"""The log-likelihood of x, from any one z: the same number whichever z is taken.

    $$
    \log p(x) = \log p(x, z) - \log p(z \mid x)
    $$
    """
    return log_joint - log_posterior


@equation(
    "Luo 2022, Eqs. 3-16; Kingma & Welling 2014, Eq. 2",
    derived_from=[evidence, kl, jensen_gap],
    where={"log_joint": "table [-inf, inf)", "log_q": "table [-inf, inf)"},
    require={"log_q must be finite where weights are above 0": "(log_q > -1e999) | (weights == 0)"},
    shapes="log_joint (n) or (..., n), log_q (n) or (..., n), weights (n) or (..., n)",
    unproved="outcomes",
)
def elbo(log_joint: Array, log_q: Array, weights: Array) -> Array:
    r"""The evidence lower bound: what is missing to log p(x) is the divergence from q(z) to the posterior.

    $$
    \mathrm{ELBO} = \mathbb E_{q(z)}\big[\log p(x, z) - \log q(z)\big]
    = \log p(x) - D_{\mathrm{KL}}\big(q(z) \,\Vert\, p(z \mid x)\big)
    $$

    Args:
        log_joint: log p(x, z) for every z, shape (..., n).
        log_q: log q(z), for every z.
        weights: of the mean over q, shape (..., n), summing to 1: q(z) itself where z can be counted, the weights of a
            quadrature, or 1/n for n samples. What has weight 0 does not count.

    Returns:
        Shape (...).
    """
    # Where the weight is 0, minus infinity may stand twice.
    with np.errstate(invalid="ignore"):
        return np.where(weights > 0, weights * (log_joint - log_q), 0.0).sum(-1)


@equation("Ho et al. 2020, Eq. 1", derived_from=[gaussian_log_prob], shapes="path (T+1, ...)", unproved="steps")
def joint_log_prob(path: Array, reverse_model: ReverseModel, schedule: Schedule) -> Array:
    r"""Log-density of a whole path under the model, which starts in noise and comes back step by step.

    $$
    \log p_\theta(x_{0:T}) = \log p(x_T) + \sum_{t=1}^T \log p_\theta(x_{t-1} \mid x_t), \qquad
    p(x_T) = \mathcal N(0, I)
    $$

    Args:
        path: x_0..x_T stacked, shape (T + 1, batch, ...).

    Returns:
        Shape (batch,).
    """
    total = gaussian_log_prob(path[-1], 0.0, 1.0)
    for x_prev, x_t, step in zip(path[:-1], path[1:], schedule, strict=True):
        total = total + gaussian_log_prob(x_prev, *reverse_model(x_t, step))
    return total


@equation(
    "Ho et al. 2020, Eq. 3",
    derived_from=[elbo, forward.path_log_prob, joint_log_prob],
    where={"log_q": "table [-inf, inf)", "log_p": "table [-inf, inf)"},
    require={"log_q must be finite where weights are above 0": "(log_q > -1e999) | (weights == 0)"},
    shapes="log_q (n) or (..., n), log_p (n) or (..., n), weights (n) or (..., n)",
    unproved="outcomes",
)
def vlb(log_q: Array, log_p: Array, weights: Array) -> Array:
    r"""The variational bound of DDPM: the bound with the whole path as the latent, and with the sign of a loss.

    $$
    L = \mathbb E_q\big[\log q(x_{1:T} \mid x_0) - \log p_\theta(x_{0:T})\big] \ge -\log p_\theta(x_0)
    $$

    Args:
        log_q: log q(x_1..x_T given x_0) for every path, shape (..., n), see `forward.path_log_prob`.
        log_p: log p(x_0..x_T), in the same shape, see `joint_log_prob`.
        weights: of the paths, as in `elbo`: 1/n for n sampled ones.

    Returns:
        Shape (...).
    """
    return -elbo(log_p, log_q, weights)


# The first way to take it apart. -------------------------------------------------------------------------------------


@equation("derived here", derived_from=[forward.transition, posterior.posterior])
def bridge(x_prev: Array, x_next: Array, step: Step, step_next: Step) -> Gaussian:
    r"""Where x is at t for one who sees it one step before and one step after: two hints, and their precisions add.

    $$
    q(x_t \mid x_{t-1}, x_{t+1}) = \mathcal N\Big(x_t;\ v\,\Big(\frac{\sqrt{\alpha_t}}{\beta_t}\,x_{t-1} +
    \frac{\sqrt{\alpha_{t+1}}}{\beta_{t+1}}\,x_{t+1}\Big),\ v I\Big), \qquad
    v = \frac{\beta_t\,\beta_{t+1}}{\alpha_{t+1}\,\beta_t + \beta_{t+1}}
    $$
    """
    both = step_next.alpha * step.beta + step_next.beta
    left = sqrt(step.alpha) * step_next.beta * x_prev
    right = sqrt(step_next.alpha) * step.beta * x_next
    return Gaussian((left + right) / both, step.beta * step_next.beta / both)


@equation("Luo 2022, Eqs. 34-44", derived_from=[vlb, bridge, forward.transition, gaussian_kl], unproved="function")
def consistency(x_prev: Array, x_next: Array, step: Step, step_next: Step, reverse_model: ReverseModel) -> Array:
    r"""The middle term of the first decomposition: at x_t, the step forward and the step back should agree.

    $$
    \begin{aligned}
    \mathbb E_{q(x_t \mid x_{t-1}, x_{t+1})}\bigg[\log\frac{q(x_t \mid x_{t-1})}{p_\theta(x_t \mid x_{t+1})}\bigg]
    ={}& D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}, x_{t+1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\big) \\
    &- D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}, x_{t+1}) \,\Vert\, q(x_t \mid x_{t-1})\big)
    \end{aligned}
    $$

    In print (Luo 2022, Eq. 45) it is $D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\big)$.
    That takes the mean over x_t as if x_{t+1} had not been made from it, and the terms then no longer add up to the bound.

    It is a mean over two random variables, x_{t-1} and x_{t+1}, where `denoising_matching` has one.

    Args:
        reverse_model: called as ``reverse_model(x_next, step_next)``.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    between = bridge(x_prev, x_next, step, step_next)
    on = forward.transition(x_prev, step)
    back = reverse_model(x_next, step_next)
    return gaussian_kl(*between, *back) - gaussian_kl(*between, *on)


# The second way: the three kinds of terms. ---------------------------------------------------------------------------


@equation(
    "Ho et al. 2020, Eqs. 20-21",
    derived_from=[posterior.posterior, forward.marginal],
    shapes="x_0 (...), path (T, ...)",
    unproved="steps",
)
def telescope(x_0: Array, path: Array, schedule: Schedule) -> Array:
    r"""The factors that Bayes' rule leaves over cancel one another, up to the first and the last.

    $$
    \sum_{t=2}^T \log\frac{q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)} = \log q(x_1 \mid x_0) - \log q(x_T \mid x_0)
    $$

    Args:
        path: x_1..x_T stacked, shape (T, batch, ...).

    Returns:
        Shape (batch,).
    """
    first, last = schedule[1], schedule[schedule.T]
    begin = gaussian_log_prob(path[0], *forward.marginal(x_0, first))
    return begin - gaussian_log_prob(path[-1], *forward.marginal(x_0, last))


@equation("Ho et al. 2020, Eq. 5", derived_from=[vlb, telescope, forward.marginal, gaussian_kl])
def prior_matching(x_0: Array, step: Step) -> Array:
    r"""L_T: how far the end of the noising is from pure noise. Nothing in it can be learned.

    $$
    D_{\mathrm{KL}}\big(q(x_T \mid x_0) \,\Vert\, p(x_T)\big)
    = \frac{1}{2}\Big(\bar\alpha_T\,\big(x_0^2 - 1\big) - \log(1 - \bar\alpha_T)\Big)
    $$

    The code takes $\log(1-\bar\alpha_T) + \bar\alpha_T$ at once: near the end it is nearly $-\bar\alpha_T^2/2$, and adding
    would lose its digits.

    Args:
        step: the schedule at T.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    rest = log1p_rest(-step.alpha_bar, step.noise_var)
    return sum_dims((step.alpha_bar * x_0**2 - rest) / 2)


@equation(
    "Ho et al. 2020, Eq. 5",
    derived_from=[vlb, telescope, posterior.posterior, gaussian_kl],
    where={"step.noise_var_prev": "(0, 1]"},
)
def denoising_matching(x_t: Array, x_0: Array, model_mean: Array, model_var: Array, step: Step) -> Array:
    r"""L_{t-1}: how far the model's step back is from the one of somebody who knows x_0.

    $$
    D_{\mathrm{KL}}\big(q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta(x_{t-1} \mid x_t)\big)
    = \frac{1}{2}\bigg(\frac{\tilde\beta_t}{\sigma_t^2} - 1 + \log\frac{\sigma_t^2}{\tilde\beta_t}
    + \frac{(\tilde\mu_t - \mu_\theta)^2}{\sigma_t^2}\bigg)
    $$

    Args:
        step: the schedule at t > 1; at t = 1 the term is a likelihood, `decoder_log_prob`.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    right = posterior.posterior(x_t, x_0, step)
    return gaussian_kl(*right, model_mean, model_var)


# L_0: the probability of a pixel. ------------------------------------------------------------------------------------


@equation(
    "Ho et al. 2020, Eq. 13",
    derived_from=[gaussian_log_prob, forward.to_unit_range],
    where={"x_0": "[-1, 1]"},
    unproved="integral",
)
def decoder_log_prob(x_0: Array, mean: Array, var: Array, bins: int = 256) -> Array:
    r"""L_0, up to its sign: the probability of a pixel's value is that of its bin; the bins at both ends are open.

    $$
    \log p_\theta(x_0 \mid x_1) = \log \int_{x_0 - \delta}^{x_0 + \delta} \mathcal N(x;\ \mu, \sigma^2)\,dx, \qquad
    \delta = \frac{1}{K - 1}
    $$

    The lower end is minus infinity at x_0 = -1, the upper one infinity at x_0 = 1, so that over all K values the
    probabilities sum to 1. Logarithms of the normal distribution function are taken in its lower tail, where they are
    exact however far out.

    Args:
        x_0: pixels on the grid of K values from -1 to 1, shape (batch, ...).

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    half, off, std = 1 / (bins - 1), x_0 - mean, sqrt(var)
    # The bin and its mirror image are equally probable; this one is below.
    side = -abs(off)
    upper, lower = log_ndtr((side + half) / std), log_ndtr((side - half) / std)
    edge = log_ndtr(where(x_0 < 0, off + half, half - off) / std)
    inside = upper + log(-expm1(lower - upper))
    return sum_dims(where(abs(x_0) > 1 - half, edge, inside))


@equation(
    "derived here",
    derived_from=[posterior.bayes, forward.marginal],
    shapes="x_t (..., d), logits (..., d, n), step fits x_t",
    unproved="outcomes",
)
def value_log_prob(x_t: Array, logits: Array, step: Step) -> Array:
    r"""Bayes' rule for one pixel: how probable each of its K values is for one who sees the pixel through its noise.

    $$
    \log p(k \mid x_t) = \ell_k - \frac{\big(x_t - \sqrt{\bar\alpha_t}\,x_k\big)^2}{2\,(1-\bar\alpha_t)} + \mathrm{const},
    \qquad x_k = \frac{2k}{K-1} - 1
    $$

    Where the noise is much finer than a grey level, the second term decides alone: $x_t$ is rounded to the next value.

    Args:
        logits: what is believed before the pixel itself is looked at, such as the logarithm of a histogram.

    Returns:
        Shape (..., K); the probabilities sum to 1.
    """
    means = sqrt(inner(step.alpha_bar)) * grid(logits)
    square = (inner(x_t) - means) ** 2
    log_joint = logits - square / inner(2 * step.noise_var)
    return log_joint - log_sum_exp(log_joint)[..., None]


# The same term, for every quantity that a network may predict. -------------------------------------------------------


@equation("Ho et al. 2020, Eq. 8", derived_from=[denoising_matching])
def mean_weight(var: Array) -> Array:
    r"""The weight of $\lVert\tilde\mu_t - \mu_\theta\rVert^2$ in L_{t-1}, for a fixed variance of the model.

    $$
    w = \frac{1}{2\sigma_t^2}
    $$
    """
    return 1 / (2 * var)


@equation("Luo 2022, Eq. 99", derived_from=[mean_weight, posterior.mean])
def x0_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert x_0 - \hat x_0\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\bar\alpha_{t-1}\,\beta_t^2}{(1-\bar\alpha_t)^2}
    $$
    """
    share = step.beta / step.noise_var
    return mean_weight(var) * step.alpha_bar_prev * share**2


@equation(
    "Ho et al. 2020, Eq. 12", derived_from=[mean_weight, posterior.mean_from_noise], where={"step.alpha": "(0, 1]"}
)
def noise_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert\epsilon - \hat\epsilon\rVert^2$ in L_{t-1}; `simple_loss` puts 1 in its place.

    $$
    w = \frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}
    $$
    """
    return mean_weight(var) * step.beta**2 / (step.alpha * step.noise_var)


@equation(
    "Luo 2022, Three Equivalent Interpretations",
    derived_from=[mean_weight, posterior.mean_from_score],
    where={"step.alpha": "(0, 1]"},
)
def score_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert\nabla\log q(x_t \mid x_0) - \hat s\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\beta_t^2}{\alpha_t}
    $$
    """
    return mean_weight(var) * step.beta**2 / step.alpha


@equation("derived here", derived_from=[mean_weight, posterior.mean_from_velocity])
def velocity_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert v - \hat v\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\bar\alpha_{t-1}\,\beta_t^2}{1-\bar\alpha_t}
    $$
    """
    share = step.beta**2 / step.noise_var
    return mean_weight(var) * step.alpha_bar_prev * share


ERROR_WEIGHTS = {"noise": noise_weight, "x_0": x0_weight, "velocity": velocity_weight}
"""The weight of the squared error of each of `forward.PREDICTIONS`."""


@equation(
    "VDM, Eq. 13; Luo 2022, Eq. 110",
    derived_from=[x0_weight, posterior.variance, forward.snr],
    where={"step.noise_var_prev": "(0, 1]"},
)
def snr_weight(step: Step) -> Array:
    r"""`x0_weight` for the variance $\tilde\beta_t$: what the step takes off the signal-to-noise ratio, halved.

    $$
    w = \frac{1}{2}\bigg(\frac{\bar\alpha_{t-1}}{1-\bar\alpha_{t-1}} - \frac{\bar\alpha_t}{1-\bar\alpha_t}\bigg)
    $$

    The code brings the difference to one fraction, where no digits cancel.

    Args:
        step: the schedule at t > 1; at t = 1 the ratio at t - 1 is infinite.
    """
    fall = step.alpha_bar_prev * step.beta
    return fall / (2 * step.noise_var_prev * step.noise_var)


@equation("derived here", derived_from=[denoising_matching])
def best_variance(step: Step, mean_square_error: Array) -> Array:
    r"""The variance of the model that makes the mean of L_{t-1} smallest: the least there can be, and the model's error.

    $$
    \sigma_t^2 = \tilde\beta_t + \frac{1}{d}\,\mathbb E\,\lVert\tilde\mu_t - \mu_\theta\rVert^2
    $$
    """
    return posterior.variance(step) + mean_square_error


@equation(
    "derived here",
    derived_from=[best_variance, posterior.interpolated_variance, posterior.mean],
    where={"step.noise_var_prev": "(0, 1]", "step.alpha_bar_prev": "(0, 1]"},
)
def best_v(x0_var: Array, step: Step) -> Array:
    r"""`best_variance` as a learned variance says it, for a model that knows how uncertain its own guess of x_0 is.

    $$
    v = \frac{\log\bigg(1 + \dfrac{\bar\alpha_{t-1}\,\beta_t}{(1-\bar\alpha_{t-1})\,(1-\bar\alpha_t)}\,
    \mathrm{Var}[x_0 \mid x_t]\bigg)}{\log\bigg(1 + \dfrac{\bar\alpha_{t-1}\,\beta_t}{1-\bar\alpha_{t-1}}\bigg)}
    $$

    For short steps it is nearly $\mathrm{Var}[x_0 \mid x_t] / (1-\bar\alpha_t)$: 0 for a guess that is certain.
    """
    gain = step.alpha_bar_prev * step.beta / step.noise_var_prev
    return log1p(gain * x0_var / step.noise_var) / log1p(gain)


# What one trains on. -------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Eq. 14", derived_from=[noise_weight], shapes="noise (...), noise_hat (...)")
def simple_loss(noise: Array, noise_hat: Array) -> Array:
    r"""The loss of DDPM: the bound with every weight set to 1.

    $$
    L_{\mathrm{simple}} = \lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2
    $$

    Returns:
        Shape (batch,), summed over the data's dimensions, not averaged.
    """
    return sum_dims((noise - noise_hat) ** 2)


@equation("Nichol & Dhariwal 2021, Eq. 16", derived_from=[simple_loss, vlb])
def hybrid_loss(simple: Array, bound: Array, weight: Array = 0.001) -> Array:
    r"""The loss that learns the variance too: the simple one for the mean, a little of the bound for the variance.

    $$
    L_{\mathrm{hybrid}} = L_{\mathrm{simple}} + \lambda\,L_{\mathrm{vlb}}
    $$

    The published weight, 0.001, multiplies the sum of the bound over all t. One term, at a t that is drawn evenly from
    1..T, estimates that sum only when it is multiplied by T: hand over T times the term, or the variance is trained T
    times too weakly. Terms at a t drawn with probability p_t are divided by p_t.

    Args:
        bound: the bound or an estimate of it, such as T times `denoising_matching`, with the model's mean held fixed
            (``detach()``).
    """
    return simple + weight * bound


@equation(
    "Nichol & Dhariwal 2021, Sec. 3.3",
    derived_from=[vlb],
    require={"losses must not all be 0": "(losses != 0).any()"},
    shapes="losses (T, history)",
    unproved="steps",
)
def importance_weights(losses: Array) -> Array:
    r"""How often to draw each t so that the bound is estimated with the least variance: most where losses are large.

    $$
    p_t \propto \sqrt{\mathbb E\big[L_t^2\big]}, \qquad \sum_t p_t = 1
    $$

    A loss drawn so has to be divided by $T p_t$ for its mean to stay the same.

    Returns:
        Shape (T,), summing to 1.
    """
    root_mean_square = sqrt((losses**2).mean(1))
    return root_mean_square / root_mean_square.sum()


@equation(
    "Hang et al. 2023, Min-SNR weighting",
    derived_from=[forward.snr, x0_weight, noise_weight, velocity_weight],
    require={
        "step.alpha_bar must be above 0 for noise: predict x_0 or the velocity": "predicts != 'noise'"
        " or (step.alpha_bar > 0)"
    },
    unproved="cases",
)
def min_snr_weight(step: Step, snr_cap: float = 5.0, predicts: str = "noise") -> Array:
    r"""A weight that keeps the nearly clean times from ruling the training: the ratio as weight of x_0, but capped.

    $$
    w = \frac{\min\{\mathrm{SNR}(t), \gamma\}}{\mathrm{SNR}(t)}, \qquad \text{over } 1 \text{ for } x_0, \text{ over }
    \mathrm{SNR}(t) + 1 \text{ for the velocity}
    $$

    Args:
        predicts: whose squared error is weighted: "noise", "x_0" or "velocity".
    """
    ratio = forward.snr(step)
    over = {"x_0": 1.0, "noise": ratio, "velocity": ratio + 1}
    return minimum(ratio, snr_cap) / over[predicts]


# Su's way: two noises. -----------------------------------------------------------------------------------------------


@equation("Su 2022, part 1, Eq. 11", derived_from=[forward.diffuse_once, forward.diffuse])
def two_noise_sample(x_0: Array, noise_prev: Array, noise_t: Array, step: Step) -> Array:
    r"""A noisy sample made in two moves: jump to t - 1 with one noise, then one step with another.

    $$
    x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\epsilon_{t-1} + \sqrt{\beta_t}\,\epsilon_t
    $$
    """
    old = sqrt(step.alpha * step.noise_var_prev) * noise_prev
    return sqrt(step.alpha_bar) * x_0 + old + sqrt(step.beta) * noise_t


@equation("Su 2022, part 1", derived_from=[two_noise_sample, forward.merged_variance])
def rotate_noise(noise_prev: Array, noise_t: Array, step: Step) -> tuple[Array, Array]:
    r"""Turn two noises into two others: one that is all that x_t sees, and one that it does not see at all.

    $$
    \epsilon = \frac{\sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\epsilon_{t-1} + \sqrt{\beta_t}\,\epsilon_t}{\sqrt{1-\bar\alpha_t}},
    \quad
    \omega = \frac{\sqrt{\beta_t}\,\epsilon_{t-1} - \sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\epsilon_t}{\sqrt{1-\bar\alpha_t}}
    $$

    A rotation (with a reflection), so the new noises are standard normal and independent as well.
    """
    cos = sqrt(step.alpha * step.noise_var_prev / step.noise_var)
    sin = sqrt(step.beta / step.noise_var)
    return cos * noise_prev + sin * noise_t, sin * noise_prev - cos * noise_t


@equation("Su 2022, part 1", derived_from=[rotate_noise])
def two_noise_target(noise: Array, unseen: Array, step: Step) -> Array:
    r"""The rotation undone, for the noise of the last step: what Su's first loss asks a network for.

    $$
    \epsilon_t = \frac{\sqrt{\beta_t}\,\epsilon - \sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\omega}{\sqrt{1-\bar\alpha_t}}
    $$
    """
    old = sqrt(step.alpha * step.noise_var_prev) * unseen
    return (sqrt(step.beta) * noise - old) / sqrt(step.noise_var)


@equation("derived here", derived_from=[two_noise_target])
def two_noise_constant(step: Step, dims: Array) -> Array:
    r"""What the loss with two noises carries along for nothing: the mean square of the unseen part of its target.

    $$
    \mathbb E\,\lVert\epsilon_t - f\rVert^2
    - \mathbb E\,\Big\lVert\sqrt{\tfrac{\beta_t}{1-\bar\alpha_t}}\,\epsilon - f\Big\rVert^2
    = d\,\frac{\alpha_t\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}
    $$
    """
    return dims * step.alpha * step.noise_var_prev / step.noise_var


@equation(
    "Su 2022, part 2, Eq. 8",
    derived_from=[two_noise_target, mean_weight, forward.su_coefficients],
    where={"step.alpha": "(0, 1]"},
)
def su_weight(step: Step, var: Array) -> Array:
    r"""Su's weight of the squared error of the noise, in Su's letters, with the half that he leaves out: `noise_weight`.

    $$
    w = \frac{\big(\beta_t^{\mathrm S}\big)^4}{2\,\big(\bar\beta_t^{\mathrm S}\big)^2\,\big(\alpha_t^{\mathrm S}\big)^2\,\sigma_t^2}
    $$
    """
    su = forward.su_coefficients(step)
    return su.beta**4 / (2 * su.beta_bar**2 * su.alpha**2 * var)


# All times at once. --------------------------------------------------------------------------------------------------


@equation(
    "VDM, Eq. 13", derived_from=[denoising_matching, snr_weight], shapes="square_errors (T-1, ...)", unproved="steps"
)
def diffusion_loss(square_errors: Array, schedule: Schedule) -> Array:
    r"""The sum of all L_{t-1} for the variance $\tilde\beta_t$, from how well x_0 is predicted at every t.

    $$
    \sum_{t=2}^T L_{t-1} = \sum_{t=2}^T \frac{1}{2}\big(\mathrm{SNR}(t-1) - \mathrm{SNR}(t)\big)\,
    \mathbb E\,\lVert x_0 - \hat x_0(x_t, t)\rVert^2
    $$

    Args:
        square_errors: the mean squared norm of the error at t = 2..T, shape (T - 1, ...).

    Returns:
        Shape (...).
    """
    weights = [snr_weight(schedule[t]) for t in range(2, schedule.T + 1)]
    return np.tensordot(np.array(weights), square_errors, axes=1)


@equation(
    "VDM, Eqs. 15 and 18",
    derived_from=[diffusion_loss],
    require={"snr_max must be at least snr_min": "snr_max >= snr_min"},
    unproved="integral",
)
def diffusion_loss_continuous(square_error: Callable[[float], float], snr_min: float, snr_max: float) -> float:
    r"""Its limit for steps ever smaller: only the ends of the schedule are left in it, not its shape.

    $$
    L_\infty = -\frac{1}{2}\int_0^1 \mathrm{SNR}'(t)\;\mathbb E\,\lVert x_0 - \hat x_0\rVert^2\,dt
    = \frac{1}{2}\int_{\mathrm{SNR}_{\min}}^{\mathrm{SNR}_{\max}} \mathbb E\,\lVert x_0 - \hat x_0\rVert^2\,d\mathrm{SNR}
    $$

    The code integrates over the logarithm of the ratio, in which schedules move evenly.
    """
    from scipy import integrate  # here, since it takes long to import

    def height(log_ratio: float) -> float:
        return math.exp(log_ratio) * square_error(math.exp(log_ratio)) / 2

    ends = math.log(snr_min), math.log(snr_max)
    return integrate.quad(height, *ends, epsabs=0, epsrel=1e-12, limit=500)[0]


# From nats to bits per dimension. ------------------------------------------------------------------------------------


@equation(
    "Theis et al. 2016",
    derived_from=[jensen_gap, forward.to_unit_range],
    where={"pixels": "[0, inf)"},
    require={"pixels must be below levels": "pixels < levels"},
)
def dequantize(pixels: Array, uniform: Array, levels: Array) -> Array:
    r"""Whole numbers spread over their bins, so that a density can be asked for them: [-1, 1] is cut into K bins.

    $$
    x = \frac{2\,(p + u)}{K} - 1
    $$

    By Jensen's inequality, the mean of $\log p(x)$ over u, less $\log(K/2)$ for each coordinate, is at most the log of the
    probability of the bin.

    Args:
        pixels: whole numbers from 0 to K - 1, any shape.
    """
    return 2 * (pixels + uniform) / levels - 1


@equation("Ho et al. 2020, Table 1; Song et al. 2021, released code", derived_from=[decoder_log_prob, dequantize])
def bits_per_dim(nats: Array, dims: int, levels: int | None = None) -> Array:
    r"""Bits that each coordinate takes to be coded without loss.

    $$
    b = \frac{L}{d\,\log 2} \qquad \text{for } L = -\log P(x), \qquad
    b = \frac{L}{d\,\log 2} + \log_2\frac{K}{2} \qquad \text{for } L = -\log p(x)
    $$

    The first is for a probability, such as that of `decoder_log_prob` or a bound on it. The second is for the density
    of dequantized data scaled to [-1, 1]: a bin is $2/K$ wide, and its probability is the density times that in every
    coordinate. For K = 256 this adds 7 bits.

    Args:
        dims: d, how many coordinates an example has (32 x 32 x 3 = 3072 for CIFAR-10).
        levels: K, if ``nats`` is of a density; None if it is of a probability.
    """
    bin_bits = 0.0 if levels is None else math.log2(levels / 2)
    return nats / (dims * math.log(2)) + bin_bits


# The bound of a real model. ------------------------------------------------------------------------------------------


@equation(
    "Ho et al. 2020, Eq. 5",
    derived_from=[prior_matching, denoising_matching, decoder_log_prob],
    where={"model": "(x_t, t) -> any"},
    require={
        "x_0 must lie in [-1, 1] where pixels have bins": "bins is None or abs(x_0) <= 1",
        "alpha_bar of schedule must be above 0 for noise: predict x_0 or the velocity": "predicts != 'noise'"
        " or schedule.steps.alpha_bar > 0",
        "variance must be beta for a schedule of one step": "variance == 'beta' or schedule.T > 1",
    },
    unproved="steps",
)
def vlb_terms(
    model: Callable[[Any, Any], Any],
    x_0: Array,
    schedule: Schedule,
    rng: Any,
    predicts: str = "noise",
    variance: str = "beta",
    clip: float | None = None,
    bins: int | None = 256,
) -> Array:
    r"""Every term of the bound, for a network: one draw of x_t for each sample and each t.

    $$
    -\log p_\theta(x_0) \le L_0 + \sum_{t=2}^T \mathbb E\,L_{t-1} + L_T, \qquad
    L_0 = -\mathbb E\log p_\theta(x_0 \mid x_1)
    $$

    Args:
        model: the network, called as ``model(x_t, t)`` with t of shape (batch,), as in the chapter on training.
        rng: of the library of ``x_0`` and on its device; gives the noise of t = 1, then of t = 2, and so on.
        variance: $\sigma_t^2$ is $\beta_t$ for "beta", $\tilde\beta_t$ for "posterior", between the two for "learned", with
            a model of twice the channels; as $\tilde\beta_1$ is 0, all but "beta" are taken from t = 2 there, as in the
            released code of DDPM.
        clip: the predicted x_0 is clipped to [-clip, clip], as in the released code; None for no clipping.
        bins: K, how many values a pixel can have, for `decoder_log_prob`; None for data with a density.

    Returns:
        L_0..L_T in nats, shape (T + 1, batch). Its sum over the first axis, in the mean over the noise, is the bound.
    """
    last = partial(decoder_log_prob, bins=bins) if bins else gaussian_log_prob
    terms = []
    for t, step in enumerate(schedule, start=1):
        x_t = forward.diffuse(x_0, standard_normal(x_0, rng), step)
        answer = model(x_t, times_like(t, x_0))
        answer, v = posterior.halves(answer, x_0, variance == "learned")
        guess = forward.PREDICTIONS[predicts].x_0(x_t, answer, step)
        guess = guess if clip is None else clipped(guess, -clip, clip)
        mean, var = posterior.mean(x_t, guess, step), step.beta
        if variance != "beta":
            v, later = 0.0 if v is None else v, schedule[max(t, 2)]
            var = posterior.interpolated_variance(v, later)
        if t > 1:
            terms.append(denoising_matching(x_t, x_0, mean, var, step))
        else:
            terms.append(-last(x_0, mean, var))
    return stack([*terms, prior_matching(x_0, step)])
