r"""Chapter 3. The bound: what a diffusion model is trained on, and why a squared error is all that is left of it.

A log-likelihood that nobody can compute is bounded from below by one that is a sum of small terms. Everything is in
nats. Samples have shape (batch, ...): a term is summed over the data's dimensions, and there is one for each sample; a
number or a batch of numbers, shape (batch,), has one dimension.

A reverse model is any callable ``model(x_t, step)`` that answers with $p_\theta(x_{t-1} \mid x_t)$ as a `Gaussian`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from scipy import integrate, special

from . import forward, posterior
from .equation import Array, equation, log, sqrt
from .forward import (
    Gaussian,
    Schedule,
    Step,
    check_floating,
    check_name,
    check_operands,
    check_positive,
    check_shape,
    check_signal,
    check_variance,
)
from .posterior import check_probabilities

ReverseModel: TypeAlias = Callable[[Any, Step], Gaussian]
"""``model(x_t, step)``, see above."""

# Information. --------------------------------------------------------------------------------------------------------


@equation("Bishop 2006, information theory")
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
    if isinstance(p, int | float | np.ndarray) and not np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1)):
        raise ValueError(f"p must lie in [0, 1], got {p!r}")
    with np.errstate(divide="ignore"):
        return -log(p)


@equation("Bishop 2006, information theory", derived_from=[information])
def entropy(p: Array) -> Array:
    r"""The mean surprise: how much one learns from an outcome.

    $$
    H(p) = -\sum_x p(x) \log p(x)
    $$

    Args:
        p: probabilities, shape (..., n); the last axis sums to 1.

    Returns:
        In nats, shape (...).
    """
    p = check_probabilities(p=p)
    return special.entr(p).sum(-1)  # entr(p) is -p log p, and 0 at p = 0


@equation("Bishop 2006, information theory", derived_from=[information])
def cross_entropy(p: Array, q: Array) -> Array:
    r"""The mean surprise of one who believes q while the outcomes come from p.

    $$
    H(p, q) = -\sum_x p(x) \log q(x)
    $$

    Args:
        p: probabilities of what happens, shape (..., n).
        q: probabilities believed in, broadcastable with ``p``.

    Returns:
        In nats, shape (...); infinite if something happens that q excludes.
    """
    p, q = _pair(p, q)
    return -special.xlogy(p, q).sum(-1)  # xlogy(p, q) is p log q, and 0 at p = 0


@equation("Bishop 2006, information theory", derived_from=[entropy, cross_entropy])
def kl(p: Array, q: Array) -> Array:
    r"""The Kullback-Leibler divergence: what believing q costs. Never negative, and 0 only for q = p.

    $$
    D_{\mathrm{KL}}(p \,\Vert\, q) = \sum_x p(x) \log \frac{p(x)}{q(x)} = H(p, q) - H(p)
    $$

    Args:
        p: probabilities of what happens, shape (..., n).
        q: probabilities believed in, broadcastable with ``p``.

    Returns:
        In nats, shape (...); infinite if something happens that q excludes.
    """
    # The terms p log(p/q) - p + q: what is added sums to 0, and none of them is below 0 but by rounding.
    return np.maximum(special.kl_div(*_pair(p, q)), 0).sum(-1)


@equation("Bishop 2006, information theory")
def jensen_gap(f: Callable[[Array], Array], values: Array, weights: Array) -> Array:
    r"""Mean of f against f of the mean: at least 0 for a convex f such as -log, at most 0 for a concave one such as log.

    $$
    \mathbb E[f(X)] - f(\mathbb E[X])
    $$

    Args:
        f: takes an array and answers in its shape.
        values: what X can be, shape (n,).
        weights: with what probability, shape (n,).
    """
    values, weights = np.asarray(values, dtype=np.float64), check_probabilities(weights=weights)
    if values.ndim != 1 or values.shape != weights.shape:
        raise ValueError(f"values and weights must have one shape (n,), got {values.shape} and {weights.shape}")
    values, weights = values[weights > 0], weights[weights > 0]  # f may be infinite where X never is
    return (weights * f(values)).sum() - f((weights * values).sum())


# Gaussians. ----------------------------------------------------------------------------------------------------------


@equation("Bishop 2006, the Gaussian distribution")
def gaussian_log_prob(x: Array, mean: Array, var: Array) -> Array:
    r"""Log-density of independent Gaussians.

    $$
    \log \mathcal N(x;\ \mu, \sigma^2) = -\frac{(x - \mu)^2}{2\sigma^2} - \frac{1}{2}\log\big(2\pi\sigma^2\big)
    $$

    A density, not a probability: where the variance is small it is far above 1, and its logarithm above 0.

    Args:
        x: samples, shape (batch, ...).
        mean: broadcastable with ``x``.
        var: above 0, broadcastable with ``x``.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    check_operands(x=x, mean=mean, var=var)
    check_positive(var=var)
    return _sum_dims(-((x - mean) ** 2) / var / 2 - log(2 * math.pi * var) / 2)


@equation("Bishop 2006, the Gaussian distribution", derived_from=[gaussian_log_prob, entropy])
def gaussian_entropy(var: Array, dims: Array) -> Array:
    r"""Entropy of a Gaussian with the same variance in every coordinate: the mean of minus the log-density.

    $$
    H = \frac{d}{2}\,\log\big(2\pi e\,\sigma^2\big)
    $$

    Args:
        var: above 0.
        dims: d, the number of coordinates.
    """
    check_positive(var=var)
    return dims / 2 * log(2 * math.pi * math.e * var)


@equation("Luo 2022, Eq. 86", derived_from=[gaussian_log_prob, kl])
def gaussian_kl(mean_q: Array, var_q: Array, mean_p: Array, var_p: Array) -> Array:
    r"""Divergence between Gaussians with independent coordinates.

    $$
    D_{\mathrm{KL}}(q \,\Vert\, p) = \frac{1}{2}\bigg(\frac{\sigma_q^2}{\sigma_p^2} - 1
    + \log\frac{\sigma_p^2}{\sigma_q^2} + \frac{(\mu_q - \mu_p)^2}{\sigma_p^2}\bigg)
    $$

    Args:
        mean_q: mean of the first, under which the mean is taken, shape (batch, ...).
        var_q: its variance, above 0.
        mean_p: mean of the second.
        var_p: its variance, above 0.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    check_operands(mean_q=mean_q, var_q=var_q, mean_p=mean_p, var_p=var_p)
    check_positive(var_q=var_q, var_p=var_p)
    return _sum_dims((var_q / var_p - 1 + log(var_p / var_q) + (mean_q - mean_p) ** 2 / var_p) / 2)


# The evidence and its bound. -----------------------------------------------------------------------------------------


@equation("Luo 2022, Eq. 2", derived_from=[posterior.bayes])
def evidence(log_joint: Array, log_posterior: Array) -> Array:
    r"""The log-likelihood of x, from any one z: the same number whichever z is taken.

    $$
    \log p(x) = \log p(x, z) - \log p(z \mid x)
    $$

    Args:
        log_joint: log p(x, z), any shape.
        log_posterior: log p(z given x), in the same shape.
    """
    check_operands(log_joint=log_joint, log_posterior=log_posterior)
    return log_joint - log_posterior


@equation("Luo 2022, Eqs. 3-16; Kingma & Welling 2014, Eq. 2", derived_from=[evidence, kl, jensen_gap])
def elbo(log_joint: Array, log_q: Array, weights: Array) -> Array:
    r"""The evidence lower bound: what is missing to log p(x) is the divergence from q(z) to the posterior.

    $$
    \mathrm{ELBO} = \mathbb E_{q(z)}\big[\log p(x, z) - \log q(z)\big]
    = \log p(x) - D_{\mathrm{KL}}\big(q(z) \,\Vert\, p(z \mid x)\big)
    $$

    Args:
        log_joint: log p(x, z) for every z, shape (..., n).
        log_q: log q(z), in the same shape.
        weights: of the mean over q, shape (..., n), summing to 1: q(z) itself where z can be counted, the weights of a
            quadrature, or 1/n for n samples. What has weight 0 does not count.

    Returns:
        Shape (...).
    """
    weights = check_probabilities(weights=weights)
    check_operands(log_joint=log_joint, log_q=log_q, weights=weights)
    with np.errstate(invalid="ignore"):  # minus infinity twice, where the weight is 0
        return np.where(weights > 0, weights * (np.asarray(log_joint) - log_q), 0.0).sum(-1)


@equation("Ho et al. 2020, Eq. 1", derived_from=[gaussian_log_prob])
def joint_log_prob(path: Array, model: ReverseModel, schedule: Schedule) -> Array:
    r"""Log-density of a whole path under the model, which starts in noise and comes back step by step.

    $$
    \log p_\theta(x_{0:T}) = \log p(x_T) + \sum_{t=1}^T \log p_\theta(x_{t-1} \mid x_t), \qquad
    p(x_T) = \mathcal N(0, I)
    $$

    Args:
        path: x_0..x_T stacked, shape (T + 1, batch, ...).
        model: the reverse model, as ``model(x_t, step)``.
        schedule: T steps.

    Returns:
        Shape (batch,).
    """
    _check_path("path", path, schedule.T + 1, "x_0..x_T")
    back = (gaussian_log_prob(path[t - 1], *model(path[t], schedule[t])) for t in range(1, schedule.T + 1))
    return sum(back, gaussian_log_prob(path[-1], 0.0, 1.0))


@equation("Ho et al. 2020, Eq. 3", derived_from=[elbo, forward.path_log_prob, joint_log_prob])
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


@equation("Ho et al. 2020, Eqs. 20-21", derived_from=[posterior.posterior, forward.marginal])
def telescope(x_0: Array, path: Array, schedule: Schedule) -> Array:
    r"""The factors that Bayes' rule leaves over cancel one another, up to the first and the last.

    $$
    \sum_{t=2}^T \log\frac{q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)} = \log q(x_1 \mid x_0) - \log q(x_T \mid x_0)
    $$

    Args:
        x_0: clean samples, shape (batch, ...).
        path: x_1..x_T stacked, shape (T, batch, ...).
        schedule: T steps.

    Returns:
        Shape (batch,).
    """
    _check_path("path", path, schedule.T, "x_1..x_T")
    first, last = (forward.marginal(x_0, schedule[t]) for t in (1, schedule.T))
    return gaussian_log_prob(path[0], *first) - gaussian_log_prob(path[-1], *last)


# The three kinds of terms. -------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Eq. 5", derived_from=[vlb, telescope, forward.marginal, gaussian_kl])
def prior_matching(x_0: Array, step: Step) -> Array:
    r"""L_T: how far the end of the noising is from pure noise. Nothing in it can be learned.

    $$
    D_{\mathrm{KL}}\big(q(x_T \mid x_0) \,\Vert\, p(x_T)\big)
    = \frac{1}{2}\Big(\bar\alpha_t\,\big(x_0^2 - 1\big) - \log(1 - \bar\alpha_t)\Big)
    $$

    Args:
        x_0: clean samples, shape (batch, ...).
        step: the schedule at T.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    check_operands(x_0=x_0, step=step)
    return _sum_dims((step.alpha_bar * (x_0**2 - 1) - log(step.noise_var)) / 2)


@equation("Ho et al. 2020, Eq. 5", derived_from=[vlb, telescope, posterior.posterior, gaussian_kl])
def denoising_matching(x_t: Array, x_0: Array, model_mean: Array, model_var: Array, step: Step) -> Array:
    r"""L_{t-1}: how far the model's step back is from the one of somebody who knows x_0.

    $$
    D_{\mathrm{KL}}\big(q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta(x_{t-1} \mid x_t)\big)
    = \frac{1}{2}\bigg(\frac{\tilde\beta_t}{\sigma_t^2} - 1 + \log\frac{\sigma_t^2}{\tilde\beta_t}
    + \frac{(\tilde\mu_t - \mu_\theta)^2}{\sigma_t^2}\bigg)
    $$

    Args:
        x_t: noisy samples, shape (batch, ...).
        x_0: the clean ones.
        model_mean: $\mu_\theta(x_t, t)$.
        model_var: $\sigma_t^2$, above 0.
        step: the schedule at t > 1; at t = 1 the term is a likelihood, `decoder_log_prob`.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    _check_after_first(step)
    return gaussian_kl(*posterior.posterior(x_t, x_0, step), model_mean, model_var)


@equation("derived here", derived_from=[forward.transition, posterior.posterior])
def bridge(x_prev: Array, x_next: Array, step: Step, step_next: Step) -> Gaussian:
    r"""Where x is at t for one who sees it one step before and one step after: two hints, and their precisions add.

    $$
    q(x_t \mid x_{t-1}, x_{t+1}) = \mathcal N\Big(x_t;\ v\,\Big(\frac{\sqrt{\alpha_t}}{\beta_t}\,x_{t-1} +
    \frac{\sqrt{\alpha_{t+1}}}{\beta_{t+1}}\,x_{t+1}\Big),\ v I\Big), \qquad
    v = \frac{\beta_t\,\beta_{t+1}}{\alpha_{t+1}\,\beta_t + \beta_{t+1}}
    $$

    Args:
        x_prev: samples at t - 1, any shape.
        x_next: samples at t + 1, from the same paths.
        step: the schedule at t.
        step_next: the schedule at t + 1.
    """
    check_operands(x_prev=x_prev, x_next=x_next, step=step)
    check_operands(x_prev=x_prev, x_next=x_next, step=step_next)
    seen = step_next.alpha * step.beta + step_next.beta
    mean = (sqrt(step.alpha) * step_next.beta * x_prev + sqrt(step_next.alpha) * step.beta * x_next) / seen
    return Gaussian(mean, step.beta * step_next.beta / seen)


@equation("Luo 2022, Eqs. 34-45", derived_from=[vlb, bridge, forward.transition, gaussian_kl])
def consistency(x_prev: Array, x_next: Array, step: Step, step_next: Step, model: ReverseModel) -> Array:
    r"""The middle term of the first decomposition: at x_t, the step forward and the step back should agree.

    $$
    \begin{aligned}
    \mathbb E_{q(x_t \mid x_{t-1}, x_{t+1})}\bigg[\log\frac{q(x_t \mid x_{t-1})}{p_\theta(x_t \mid x_{t+1})}\bigg]
    ={}& D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}, x_{t+1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\big) \\
    &- D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}, x_{t+1}) \,\Vert\, q(x_t \mid x_{t-1})\big)
    \end{aligned}
    $$

    In print it is often $D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\big)$. That takes
    the mean over x_t as if x_{t+1} had not been made from it, and the terms then no longer add up to the bound.

    It is a mean over two random variables, x_{t-1} and x_{t+1}, where `denoising_matching` has one.

    Args:
        x_prev: samples at t - 1, shape (batch, ...).
        x_next: samples at t + 1, from the same paths.
        step: the schedule at t.
        step_next: the schedule at t + 1.
        model: the reverse model, as ``model(x_next, step_next)``.

    Returns:
        Shape (batch,), summed over the data's dimensions.
    """
    between = bridge(x_prev, x_next, step, step_next)
    back, on = model(x_next, step_next), forward.transition(x_prev, step)
    return gaussian_kl(*between, *back) - gaussian_kl(*between, *on)


@equation("Ho et al. 2020, Eq. 13", derived_from=[gaussian_log_prob, forward.to_unit_range])
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
        mean: broadcastable with ``x_0``.
        var: above 0, broadcastable with ``x_0``.
        bins: K, how many values a pixel can have, at least 2.

    Returns:
        Shape (batch,), summed over the data's dimensions.

    Raises:
        ValueError: when ``x_0`` leaves [-1, 1], ``var`` is not above 0 or ``bins`` is below 2.
    """
    check_operands(x_0=x_0, mean=mean, var=var)
    check_positive(var=var)
    _check_pixels(x_0, bins)
    half, off, std = 1 / (bins - 1), x_0 - mean, sqrt(var)
    side = -abs(off)  # the bin and its mirror image are equally probable; this one is below the mean
    upper, lower = _log_ndtr((side + half) / std), _log_ndtr((side - half) / std)
    xp = array_api_compat.array_namespace(upper)
    x_0 = x_0 + 0 * upper  # any of the three may be a plain number: all in one library
    bottom, top = x_0 < half - 1, x_0 > 1 - half
    inside = upper + xp.log(-xp.expm1(lower - upper))
    edge = _log_ndtr(xp.where(bottom, (off + half) / std, (half - off) / std))
    return _sum_dims(xp.where(bottom | top, edge, inside))


# The same term, for every quantity that a network may predict. -------------------------------------------------------


@equation("Ho et al. 2020, Eq. 8", derived_from=[denoising_matching])
def mean_weight(var: Array) -> Array:
    r"""The weight of $\lVert\tilde\mu_t - \mu_\theta\rVert^2$ in L_{t-1}, for a fixed variance of the model.

    $$
    w = \frac{1}{2\sigma_t^2}
    $$

    Args:
        var: $\sigma_t^2$, above 0.
    """
    check_positive(var=var)
    return 1 / (2 * var)


@equation("Luo 2022, Eq. 99", derived_from=[mean_weight, posterior.mean])
def x0_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert x_0 - \hat x_0\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\bar\alpha_{t-1}\,\beta_t^2}{(1-\bar\alpha_t)^2}
    $$

    Args:
        step: the schedule at t.
        var: $\sigma_t^2$, above 0.
    """
    check_operands(step=step, var=var)
    return mean_weight(var) * step.alpha_bar_prev * (step.beta / step.noise_var) ** 2


@equation("Ho et al. 2020, Eq. 12", derived_from=[mean_weight, posterior.mean_from_noise])
def noise_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert\epsilon - \hat\epsilon\rVert^2$ in L_{t-1}; `simple_loss` puts 1 in its place.

    $$
    w = \frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}
    $$

    Args:
        step: the schedule at t; its alpha must be above 0.
        var: $\sigma_t^2$, above 0.
    """
    check_operands(step=step, var=var)
    return mean_weight(var) * step.beta**2 / (check_signal(alpha=step.alpha) * step.noise_var)


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[mean_weight, posterior.mean_from_score])
def score_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert\nabla\log q(x_t \mid x_0) - \hat s\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\beta_t^2}{\alpha_t}
    $$

    Args:
        step: the schedule at t; its alpha must be above 0.
        var: $\sigma_t^2$, above 0.
    """
    check_operands(step=step, var=var)
    return mean_weight(var) * step.beta**2 / check_signal(alpha=step.alpha)


@equation("derived here", derived_from=[mean_weight, posterior.mean_from_velocity])
def velocity_weight(step: Step, var: Array) -> Array:
    r"""The weight of $\lVert v - \hat v\rVert^2$ in L_{t-1}.

    $$
    w = \frac{1}{2\sigma_t^2}\,\frac{\bar\alpha_{t-1}\,\beta_t^2}{1-\bar\alpha_t}
    $$

    Args:
        step: the schedule at t.
        var: $\sigma_t^2$, above 0.
    """
    check_operands(step=step, var=var)
    return mean_weight(var) * step.alpha_bar_prev * step.beta**2 / step.noise_var


@equation("VDM, Eq. 13; Luo 2022, Eq. 110", derived_from=[x0_weight, posterior.variance, forward.snr])
def snr_weight(step: Step) -> Array:
    r"""`x0_weight` for the variance $\tilde\beta_t$: what the step takes off the signal-to-noise ratio, halved.

    $$
    w = \frac{1}{2}\bigg(\frac{\bar\alpha_{t-1}}{1-\bar\alpha_{t-1}} - \frac{\bar\alpha_t}{1-\bar\alpha_t}\bigg)
    $$

    The code brings the difference to one fraction, where no digits cancel.

    Args:
        step: the schedule at t > 1; at t = 1 the ratio at t - 1 is infinite (an array gets ``inf``).
    """
    _check_after_first(step)
    return step.alpha_bar_prev * step.beta / (2 * step.noise_var_prev * step.noise_var)


@equation("derived here", derived_from=[denoising_matching])
def best_variance(step: Step, mean_square_error: Array) -> Array:
    r"""The variance of the model that makes the mean of L_{t-1} smallest: the least there can be, and the model's error.

    $$
    \sigma_t^2 = \tilde\beta_t + \frac{1}{d}\,\mathbb E\,\lVert\tilde\mu_t - \mu_\theta\rVert^2
    $$

    Args:
        step: the schedule at t.
        mean_square_error: of the model's mean, the average over samples and coordinates, at least 0.
    """
    check_operands(step=step, mean_square_error=mean_square_error)
    check_variance(mean_square_error=mean_square_error)
    return posterior.variance(step) + mean_square_error


# What one trains on. -------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Eq. 14", derived_from=[noise_weight])
def simple_loss(noise: Array, noise_hat: Array) -> Array:
    r"""The loss of DDPM: the bound with every weight set to 1.

    $$
    L_{\mathrm{simple}} = \lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2
    $$

    Args:
        noise: the noise that was added, shape (batch, ...).
        noise_hat: the prediction, in the same shape.

    Returns:
        Shape (batch,), summed over the data's dimensions, not averaged.
    """
    shapes = [tuple(getattr(value, "shape", ())) for value in (noise, noise_hat)]
    if shapes[0] != shapes[1]:  # a loss that broadcasts is a loss of something else
        raise ValueError(f"noise and noise_hat must have one shape, got {shapes[0]} and {shapes[1]}")
    check_operands(noise=noise, noise_hat=noise_hat)
    return _sum_dims((noise - noise_hat) ** 2)


@equation("Nichol & Dhariwal 2021, Eq. 16", derived_from=[simple_loss, vlb])
def hybrid_loss(simple: Array, bound: Array, weight: Array = 0.001) -> Array:
    r"""The loss that learns the variance too: the simple one for the mean, a little of the bound for the variance.

    $$
    L_{\mathrm{hybrid}} = L_{\mathrm{simple}} + \lambda\,L_{\mathrm{vlb}}
    $$

    Args:
        simple: `simple_loss`.
        bound: a term of the bound, such as `denoising_matching`, with the model's mean held fixed (``detach()``).
        weight: $\lambda$.
    """
    check_operands(simple=simple, bound=bound)
    return simple + weight * bound


@equation("Nichol & Dhariwal 2021, Sec. 3.3", derived_from=[vlb])
def importance_weights(losses: Array) -> Array:
    r"""How often to draw each t so that the bound is estimated with the least variance: most where losses are large.

    $$
    p_t \propto \sqrt{\mathbb E\big[L_t^2\big]}, \qquad \sum_t p_t = 1
    $$

    A loss drawn so has to be divided by $T p_t$ for its mean to stay the same.

    Args:
        losses: the last few losses of every t, shape (T, history).

    Returns:
        Shape (T,), summing to 1.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or not np.all(np.isfinite(losses)) or not np.any(losses):
        raise ValueError(f"losses must be a table (T, history) of finite numbers, not all 0, got {losses!r}")
    root_mean_square = sqrt((losses**2).mean(1))
    return root_mean_square / root_mean_square.sum()


@equation("Hang et al. 2023, Min-SNR weighting", derived_from=[forward.snr, x0_weight, noise_weight, velocity_weight])
def min_snr_weight(step: Step, gamma: float = 5.0, predicts: str = "noise") -> Array:
    r"""A weight that keeps the nearly clean times from ruling the training: the ratio as weight of x_0, but capped.

    $$
    w = \frac{\min\{\mathrm{SNR}(t), \gamma\}}{\mathrm{SNR}(t)}, \qquad \text{over } 1 \text{ for } x_0, \text{ over }
    \mathrm{SNR}(t) + 1 \text{ for the velocity}
    $$

    Args:
        step: the schedule at t.
        gamma: the cap, above 0.
        predicts: whose squared error is weighted: "noise", "x_0" or "velocity".
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma!r}")
    check_name("predicts", predicts, PREDICTS)
    if predicts == "noise":
        check_signal(alpha_bar=step.alpha_bar)
    ratio = forward.snr(step)
    capped = ratio * (ratio <= gamma) + gamma * (ratio > gamma)
    return capped / {"x_0": 1.0, "noise": ratio, "velocity": ratio + 1}[predicts]


# Su's way: two noises. -----------------------------------------------------------------------------------------------


@equation("Su 2022, part 1, Eq. 11", derived_from=[forward.diffuse_once, forward.diffuse])
def two_noise_sample(x_0: Array, noise_prev: Array, noise_t: Array, step: Step) -> Array:
    r"""A noisy sample made in two moves: jump to t - 1 with one noise, then one step with another.

    $$
    x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\epsilon_{t-1} + \sqrt{\beta_t}\,\epsilon_t
    $$

    Args:
        x_0: clean samples, any shape.
        noise_prev: the noise of the jump, standard normal.
        noise_t: the noise of the step, standard normal and independent.
        step: the schedule at t.
    """
    check_operands(x_0=x_0, noise_prev=noise_prev, noise_t=noise_t, step=step)
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

    Args:
        noise_prev: the noise of the jump to t - 1.
        noise_t: the noise of the step to t.
        step: the schedule at t.
    """
    check_operands(noise_prev=noise_prev, noise_t=noise_t, step=step)
    cos, sin = sqrt(step.alpha * step.noise_var_prev / step.noise_var), sqrt(step.beta / step.noise_var)
    return cos * noise_prev + sin * noise_t, sin * noise_prev - cos * noise_t


@equation("Su 2022, part 1", derived_from=[rotate_noise])
def two_noise_target(noise: Array, unseen: Array, step: Step) -> Array:
    r"""The rotation undone, for the noise of the last step: what Su's first loss asks a network for.

    $$
    \epsilon_t = \frac{\sqrt{\beta_t}\,\epsilon - \sqrt{\alpha_t\,(1-\bar\alpha_{t-1})}\,\omega}{\sqrt{1-\bar\alpha_t}}
    $$

    Args:
        noise: $\epsilon$, the noise in x_t.
        unseen: $\omega$, of which x_t holds nothing, so that no network can predict it.
        step: the schedule at t.
    """
    check_operands(noise=noise, unseen=unseen, step=step)
    return (sqrt(step.beta) * noise - sqrt(step.alpha * step.noise_var_prev) * unseen) / sqrt(step.noise_var)


@equation("Su 2022, part 1, Eq. 14", derived_from=[two_noise_target])
def two_noise_constant(step: Step, dims: Array) -> Array:
    r"""What the loss with two noises carries along for nothing: the mean square of the unseen part of its target.

    $$
    \mathbb E\,\lVert\epsilon_t - f\rVert^2
    - \mathbb E\,\Big\lVert\sqrt{\tfrac{\beta_t}{1-\bar\alpha_t}}\,\epsilon - f\Big\rVert^2
    = d\,\frac{\alpha_t\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}
    $$

    Args:
        step: the schedule at t.
        dims: d, the number of coordinates.
    """
    check_operands(step=step)
    return dims * step.alpha * step.noise_var_prev / step.noise_var


@equation("Su 2022, part 2, Eq. 8", derived_from=[two_noise_target, mean_weight, forward.su_coefficients])
def su_weight(step: Step, var: Array) -> Array:
    r"""Su's weight of the squared error of the noise, in Su's letters, with the half that he leaves out: `noise_weight`.

    $$
    w = \frac{\big(\beta_t^{\mathrm S}\big)^4}{2\,\big(\bar\beta_t^{\mathrm S}\big)^2\,\big(\alpha_t^{\mathrm S}\big)^2\,\sigma_t^2}
    $$

    Args:
        step: the schedule at t; its alpha must be above 0.
        var: $\sigma_t^2$, above 0.
    """
    check_operands(step=step, var=var)
    check_positive(var=var)
    check_signal(alpha=step.alpha)
    su = forward.su_coefficients(step)
    return su.beta**4 / (2 * su.beta_bar**2 * su.alpha**2 * var)


# All times at once. --------------------------------------------------------------------------------------------------


@equation("VDM, Eq. 13", derived_from=[denoising_matching, snr_weight])
def diffusion_loss(square_errors: Array, schedule: Schedule) -> Array:
    r"""The sum of all L_{t-1} for the variance $\tilde\beta_t$, from how well x_0 is predicted at every t.

    $$
    \sum_{t=2}^T L_{t-1} = \sum_{t=2}^T \frac{1}{2}\big(\mathrm{SNR}(t-1) - \mathrm{SNR}(t)\big)\,
    \mathbb E\,\lVert x_0 - \hat x_0(x_t, t)\rVert^2
    $$

    Args:
        square_errors: the mean squared norm of the error at t = 2..T, shape (T - 1, ...).
        schedule: T steps.

    Returns:
        Shape (...).
    """
    square_errors = np.asarray(square_errors, dtype=np.float64)
    if square_errors.ndim == 0 or len(square_errors) != schedule.T - 1:
        raise ValueError(f"square_errors must be for t = 2..{schedule.T}, got shape {square_errors.shape}")
    if not np.all(square_errors >= 0):
        raise ValueError(f"square_errors must be at least 0, got {square_errors!r}")
    weights = [snr_weight(schedule[t]) for t in range(2, schedule.T + 1)]
    return np.tensordot(np.array(weights), square_errors, axes=1)


@equation("VDM, Eqs. 15 and 18", derived_from=[diffusion_loss])
def diffusion_loss_continuous(square_error: Callable[[float], float], snr_min: float, snr_max: float) -> float:
    r"""Its limit for steps ever smaller: only the ends of the schedule are left in it, not its shape.

    $$
    L_\infty = -\frac{1}{2}\int_0^1 \mathrm{SNR}'(t)\;\mathbb E\,\lVert x_0 - \hat x_0\rVert^2\,dt
    = \frac{1}{2}\int_{\mathrm{SNR}_{\min}}^{\mathrm{SNR}_{\max}} \mathbb E\,\lVert x_0 - \hat x_0\rVert^2\,d\mathrm{SNR}
    $$

    Args:
        square_error: the mean squared norm of the error, as a function of the signal-to-noise ratio.
        snr_min: the ratio at the noisy end, above 0.
        snr_max: the ratio at the clean end, at least ``snr_min``.
    """
    if not 0 < snr_min <= snr_max < math.inf:
        raise ValueError(f"0 < snr_min <= snr_max is needed, got {snr_min!r} and {snr_max!r}")
    # In the logarithm of the ratio, in which schedules move evenly.
    return integrate.quad(
        lambda log_ratio: math.exp(log_ratio) * square_error(math.exp(log_ratio)) / 2,
        math.log(snr_min),
        math.log(snr_max),
        epsabs=1e-12,
        epsrel=1e-12,
        limit=500,
    )[0]


# From nats to bits per dimension. ------------------------------------------------------------------------------------


@equation("Theis et al. 2016", derived_from=[jensen_gap, forward.to_unit_range])
def dequantize(pixels: Array, u: Array, levels: Array) -> Array:
    r"""Whole numbers spread over their bins, so that a density can be asked for them: [-1, 1] is cut into K bins.

    $$
    x = \frac{2\,(p + u)}{K} - 1
    $$

    By Jensen's inequality, the mean of $\log p(x)$ over u, less $\log(K/2)$ for each coordinate, is at most the log of the
    probability of the bin.

    Args:
        pixels: 0..K-1, any shape.
        u: uniform in [0, 1), in the same shape.
        levels: K, such as 256.
    """
    check_operands(pixels=pixels, u=u)
    check_positive(levels=levels)
    return 2 * (pixels + u) / levels - 1


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
        nats: minus the log-likelihood of one example, or a bound on it.
        dims: d, how many coordinates an example has (32 x 32 x 3 = 3072 for CIFAR-10).
        levels: K, if ``nats`` is of a density; None if it is of a probability.
    """
    for name, value, least in (("dims", dims, 1), ("levels", levels, 2)):
        if isinstance(value, int | float) and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return nats / (dims * math.log(2)) + (0 if levels is None else math.log2(levels / 2))


# The bound of a real model. ------------------------------------------------------------------------------------------

PREDICTS = ("noise", "x_0", "velocity")
"""What a network may answer."""


@equation("Ho et al. 2020, Eq. 5", derived_from=[prior_matching, denoising_matching, decoder_log_prob])
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
        x_0: clean samples, shape (batch, ...), as an array or a tensor.
        schedule: T steps.
        rng: a generator of the library of ``x_0``, on its device; gives the noise of t = 1, then of t = 2, and so on.
        predicts: what the model answers: "noise", "x_0" or "velocity".
        variance: $\sigma_t^2$ is $\beta_t$ for "beta", $\tilde\beta_t$ for "posterior"; as that is 0 at t = 1, it is
            then taken from t = 2, as the released code of DDPM does.
        clip: if given, the predicted x_0 is clipped to [-clip, clip], as in the released code.
        bins: how many values a pixel has, for `decoder_log_prob`; None for data with a density.

    Returns:
        L_0..L_T in nats, shape (T + 1, batch). Its sum over the first axis, in the mean over the noise, is the bound.
    """
    _check_bound(x_0, predicts, variance, clip)
    xp = array_api_compat.array_namespace(x_0)
    terms = []
    for t, step in enumerate(schedule, start=1):
        x_t = forward.diffuse(x_0, _standard_normal(x_0, rng), step)
        x_0_hat = predicted_x0(x_t, _answer(model, x_t, t), step, predicts)
        mean = posterior.mean(x_t, x_0_hat if clip is None else xp.clip(x_0_hat, -clip, clip), step)
        var = step.beta if variance == "beta" else posterior.variance(schedule[max(t, min(2, schedule.T))])
        if t > 1:
            terms.append(denoising_matching(x_t, x_0, mean, var, step))
        elif bins is None:
            terms.append(-gaussian_log_prob(x_0, mean, var))
        else:
            terms.append(-decoder_log_prob(x_0, mean, var, bins))
    return xp.stack([*terms, prior_matching(x_0, schedule[schedule.T])])


def predicted_x0(x_t: Array, answer: Array, step: Step, predicts: str) -> Array:
    """The clean sample that a network's answer amounts to.

    Args:
        x_t: noisy sample, any shape.
        answer: what the network says of it.
        step: the schedule at t.
        predicts: what that means: "noise", "x_0" or "velocity".
    """
    check_name("predicts", predicts, PREDICTS)
    if predicts == "noise":
        return forward.predict_x0(x_t, answer, step)
    return answer if predicts == "x_0" else forward.x0_from_velocity(x_t, answer, step)


# The door: what bad input gets. --------------------------------------------------------------------------------------


def _sum_dims(x: Array) -> Array:
    """The sum over the data's dimensions, all but the first; a number or a batch of numbers stays as it is."""
    return x.reshape(x.shape[0], -1).sum(1) if len(getattr(x, "shape", ())) > 1 else x


def _log_ndtr(x: Array) -> Array:
    """Logarithm of the normal distribution function, in the library of x."""
    if array_api_compat.is_torch_array(x):
        import torch

        return torch.special.log_ndtr(x)
    return special.log_ndtr(x)


def _standard_normal(x: Array, rng: Any) -> Array:
    """Noise in the shape, library, dtype and on the device of x."""
    if array_api_compat.is_torch_array(x):
        import torch

        return torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)
    return rng.standard_normal(x.shape).astype(x.dtype)


def _answer(model: Callable[[Any, Any], Any], x_t: Array, t: int) -> Array:
    """What the network says of samples that are all at t, in their shape."""
    xp = array_api_compat.array_namespace(x_t)
    answer = model(x_t, xp.full(x_t.shape[:1], t, device=array_api_compat.device(x_t)))
    return check_shape("model(x_t, t)", answer, x_t.shape)


def _pair(p: Array, q: Array) -> tuple[np.ndarray, np.ndarray]:
    p, q = check_probabilities(p=p), check_probabilities(q=q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p and q must have the same outcomes, got shapes {p.shape} and {q.shape}")
    return p, q


def _check_after_first(step: Step) -> None:
    check_operands(step=step)
    if isinstance(step.noise_var_prev, float) and step.noise_var_prev == 0:
        raise ValueError("step must be at t > 1: at t = 1 nothing is uncertain any more, and the term is L_0")


def _check_path(name: str, path: Array, length: int, holds: str) -> None:
    if getattr(path, "ndim", 0) == 0 or path.shape[0] != length:
        raise ValueError(f"{name} must hold {holds}, {length} samples, got shape {tuple(getattr(path, 'shape', ()))}")


def _check_bound(x_0: Array, predicts: str, variance: str, clip: float | None) -> None:
    check_name("predicts", predicts, PREDICTS)
    if variance not in ("beta", "posterior"):
        raise ValueError(f"variance must be beta or posterior, got {variance!r}")
    check_floating(x_0=x_0)
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, got {clip!r}")


def _check_pixels(x_0: Array, bins: int) -> None:
    if not isinstance(bins, int | np.integer) or bins < 2:
        raise ValueError(f"bins must be a whole number of at least 2, got {bins!r}")
    if isinstance(x_0, int | float | np.ndarray) and not np.all(np.abs(x_0) <= 1 + 1e-6):
        raise ValueError(f"x_0 must lie in [-1, 1], got {x_0!r}")
