r"""Chapter 2. The posterior: one step back is a Gaussian that can be written down, if one knows where one started.

Bayes' rule turns the forward step around. What comes out has a mean that is linear in x_t and x_0, and a variance that
does not depend on either; sampling is nothing but drawing from it, with a network's guess in the place of x_0.
"""

from __future__ import annotations

import math

import array_api_compat
import numpy as np

from . import forward
from .equation import Array, equation, log, sqrt
from .forward import Gaussian, Step, check_operands, check_signal, check_variance, reparameterize

# Bayes' rule, where it can be counted. -------------------------------------------------------------------------------


@equation("Bishop 2006, probability theory")
def joint(prior: Array, likelihood: Array) -> np.ndarray:
    r"""The joint probability of a cause and what is seen: the product rule.

    $$
    p(x, y) = p(y \mid x)\,p(x)
    $$

    Args:
        prior: p(x), shape (n,), sums to 1.
        likelihood: p(y given x), shape (n, m), every row sums to 1.

    Returns:
        p(x, y), shape (n, m).
    """
    prior, likelihood = check_probabilities(prior=prior), check_probabilities(likelihood=likelihood)
    if prior.ndim != 1 or likelihood.ndim != 2 or len(prior) != len(likelihood):
        raise ValueError(f"likelihood needs a row for each cause: {likelihood.shape} for prior {prior.shape}")
    return prior[:, None] * likelihood


@equation("Bishop 2006, probability theory", derived_from=[joint])
def marginalize(joint: Array, axis: int) -> np.ndarray:
    r"""Forget one of two variables by summing over it: the sum rule.

    $$
    p(y) = \sum_x p(x, y)
    $$

    Args:
        joint: p(x, y), shape (n, m), sums to 1.
        axis: the variable to forget: 0 for x, 1 for y.
    """
    joint = np.asarray(joint, dtype=np.float64)
    check_probabilities(joint=joint.ravel())
    return joint.sum(axis=axis)


@equation("Bishop 2006, probability theory", derived_from=[joint, marginalize])
def total_probability(prior: Array, likelihood: Array) -> np.ndarray:
    r"""How probable is what is seen, over all the causes it may have.

    $$
    p(y) = \sum_x p(y \mid x)\,p(x)
    $$

    Args:
        prior: p(x), shape (n,), sums to 1.
        likelihood: p(y given x), shape (n, m), every row sums to 1.

    Returns:
        p(y), shape (m,).
    """
    return marginalize(joint(prior, likelihood), axis=0)


@equation("Bishop 2006, probability theory", derived_from=[joint, total_probability])
def bayes(prior: Array, likelihood: Array) -> np.ndarray:
    r"""The posterior: how probable each cause is once something has been seen.

    $$
    p(x \mid y) = \frac{p(y \mid x)\,p(x)}{p(y)}
    $$

    Args:
        prior: p(x), shape (n,), sums to 1.
        likelihood: p(y given x), shape (n, m), every row sums to 1.

    Returns:
        p(x given y), shape (n, m), every column sums to 1.

    Raises:
        ValueError: when something that can be seen has probability 0: given the impossible, nothing is known.
    """
    seen = total_probability(prior, likelihood)
    if not np.all(seen > 0):
        raise ValueError(f"p(y) must be above 0 for every y, got {seen}")
    return joint(prior, likelihood) / seen


# One step back. ------------------------------------------------------------------------------------------------------


@equation("Luo 2022, Eqs. 71-84", derived_from=[forward.transition, forward.marginal])
def precision(step: Step) -> Array:
    r"""The precision, one over the variance, of the forward posterior: what completing the square leaves.

    $$
    \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
    $$

    Args:
        step: the schedule at t > 1; at t = 1 the precision is infinite (an array gets ``inf``).

    Raises:
        ValueError: at t = 1, for a step of Python floats.
    """
    check_operands(step=step)
    if isinstance(step.noise_var_prev, float) and step.noise_var_prev == 0:
        raise ValueError("step must be at t > 1: at t = 1 the variance is 0 and the precision infinite")
    return step.alpha / step.beta + 1 / step.noise_var_prev


@equation("Ho et al. 2020, Eq. 7", derived_from=[precision])
def variance(step: Step) -> Array:
    r"""Variance of the forward posterior $q(x_{t-1} \mid x_t, x_0)$; 0 at t = 1.

    $$
    \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return step.noise_var_prev / step.noise_var * step.beta


@equation("Ho et al. 2020, Eq. 7", derived_from=[forward.transition, forward.marginal, precision])
def mean(x_t: Array, x_0: Array, step: Step) -> Array:
    r"""Mean of the forward posterior $q(x_{t-1} \mid x_t, x_0)$.

    $$
    \tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0
                + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t
    $$

    Args:
        x_t: noisy sample, any shape.
        x_0: clean sample, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    check_operands(x_t=x_t, x_0=x_0, step=step)
    return (sqrt(step.alpha_bar_prev) * step.beta * x_0 + sqrt(step.alpha) * step.noise_var_prev * x_t) / step.noise_var


@equation("Ho et al. 2020, Eq. 6", derived_from=[mean, variance])
def posterior(x_t: Array, x_0: Array, step: Step) -> Gaussian:
    r"""The forward posterior: where x was one step ago, for one who knows where it is and where it began.

    $$
    q(x_{t-1} \mid x_t, x_0) = \mathcal N\big(x_{t-1};\ \tilde\mu_t,\ \tilde\beta_t I\big)
    $$

    Args:
        x_t: noisy sample, any shape.
        x_0: clean sample, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    return Gaussian(mean(x_t, x_0, step), variance(step))


@equation("Ho et al. 2020, Eq. 11", derived_from=[mean, forward.predict_x0])
def mean_from_noise(x_t: Array, noise: Array, step: Step) -> Array:
    r"""The same mean, with the noise in the place of x_0.

    $$
    \tilde\mu_t = \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)
    $$

    Args:
        x_t: noisy sample, any shape.
        noise: the noise in it, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t; its alpha must be above 0.
    """
    check_operands(x_t=x_t, noise=noise, step=step)
    return (x_t - step.beta / sqrt(step.noise_var) * noise) / sqrt(check_signal(alpha=step.alpha))


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[mean_from_noise])
def mean_from_score(x_t: Array, score: Array, step: Step) -> Array:
    r"""The mean of one step back, with the score, the gradient of log q(x_t), in the place of the noise.

    $$
    \tilde\mu_t = \frac{x_t + \beta_t\,\nabla_{x_t}\!\log q(x_t)}{\sqrt{\alpha_t}}
    $$

    With the score of q(x_t) it is the mean of q(x_{t-1} given x_t); with that of q(x_t given x_0), the posterior's.

    Args:
        x_t: noisy sample, any shape.
        score: the score at ``x_t``, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t; its alpha must be above 0.
    """
    check_operands(x_t=x_t, score=score, step=step)
    return (x_t + step.beta * score) / sqrt(check_signal(alpha=step.alpha))


@equation("derived here", derived_from=[mean, forward.x0_from_velocity])
def mean_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The same mean, with the velocity in the place of x_0; no division by alpha, so it holds where alpha is 0 too.

    $$
    \tilde\mu_t = \sqrt{\alpha_t}\,x_t - \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{\sqrt{1-\bar\alpha_t}}\,v
    $$

    Args:
        x_t: noisy sample, any shape.
        velocity: its velocity, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    check_operands(x_t=x_t, velocity=velocity, step=step)
    return sqrt(step.alpha) * x_t - sqrt(step.alpha_bar_prev / step.noise_var) * step.beta * velocity


# Which variance? -----------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Sec. 3.2", derived_from=[forward.marginal, forward.transition])
def optimal_variance(step: Step, data_var: Array) -> Array:
    r"""The true variance of x_{t-1} given x_t alone, for data from $\mathcal N(\mu, \sigma_0^2 I)$.

    $$
    \sigma_t^2 = \beta_t\,
    \frac{\bar\alpha_{t-1}\,\sigma_0^2 + 1-\bar\alpha_{t-1}}{\bar\alpha_t\,\sigma_0^2 + 1-\bar\alpha_t}
    $$

    It is $\tilde\beta_t$ when the data is one point and $\beta_t$ when the data has variance 1.

    Args:
        step: the schedule at t.
        data_var: variance of the data, at least 0.
    """
    check_operands(step=step, data_var=data_var)
    check_variance(data_var=data_var)
    before = step.alpha_bar_prev * data_var + step.noise_var_prev
    return step.beta * before / (step.alpha_bar * data_var + step.noise_var)


@equation("Sohl-Dickstein et al. 2015, Eq. 24", derived_from=[variance])
def entropy_bounds(step: Step) -> tuple[Array, Array]:
    r"""Lower and upper bound on the entropy of one coordinate of x_{t-1} given x_t; the upper for data of unit variance.

    $$
    H_{\min} = \frac{1}{2}\log\big(2\pi e\,\tilde\beta_t\big), \quad H_{\max} = \frac{1}{2}\log\big(2\pi e\,\beta_t\big)
    $$

    Args:
        step: the schedule at t.

    Returns:
        Both bounds in nats; the lower one is minus infinity at t = 1.
    """
    return log(2 * math.pi * math.e * variance(step)) / 2, log(2 * math.pi * math.e * step.beta) / 2


@equation("Nichol & Dhariwal 2021, Eq. 15", derived_from=[variance])
def interpolated_variance(v: Array, step: Step) -> Array:
    r"""A learned variance: between the two choices, on a logarithmic scale.

    $$
    \sigma_t^2 = \exp\big(v\log\beta_t + (1-v)\log\tilde\beta_t\big) = \beta_t^{v}\;\tilde\beta_t^{\,1-v}
    $$

    Written with powers it is right at t = 1 too, where the logarithm of $\tilde\beta_1 = 0$ is not finite.

    Args:
        v: 0 for the smaller variance, 1 for the larger one, any shape.
        step: the schedule at t.
    """
    check_operands(v=v, step=step)
    return step.beta**v * variance(step) ** (1 - v)


@equation("Bao et al. 2022, Theorem 1", derived_from=[variance, mean_from_score])
def analytic_variance(step: Step, mean_square_score: Array) -> Array:
    r"""The best variance for the best mean, from how large the score is on average.

    $$
    \sigma_t^2 = \tilde\beta_t + \Bigg(\sqrt{\frac{1-\bar\alpha_t}{\alpha_t}}
    - \sqrt{1-\bar\alpha_{t-1}-\tilde\beta_t}\Bigg)^{2}\big(1 - (1-\bar\alpha_t)\,\Gamma_t\big), \qquad
    \Gamma_t = \mathbb E\,\frac{\lVert\nabla\log q(x_t)\rVert^2}{d}
    $$

    The bracket is $\beta_t / \sqrt{\alpha_t (1-\bar\alpha_t)}$, which the code uses: fewer digits cancel.

    Args:
        step: the schedule at t; its alpha must be above 0.
        mean_square_score: $\Gamma_t$, the mean of the squared score over samples and coordinates.
    """
    check_operands(step=step, mean_square_score=mean_square_score)
    spread = step.beta**2 / (check_signal(alpha=step.alpha) * step.noise_var)
    return variance(step) + spread * (1 - step.noise_var * mean_square_score)


# Sampling. -----------------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Alg. 2", derived_from=[mean_from_noise, forward.reparameterize])
def ancestral_step(x_t: Array, noise: Array, z: Array, step: Step, var: Array, clip: float | None = None) -> Array:
    r"""One step of sampling: the posterior's mean for the predicted noise, and fresh noise, but none at t = 1.

    $$
    x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)
    + \sigma_t\,z, \qquad z = 0 \text{ at } t = 1
    $$

    Args:
        x_t: noisy sample, any shape.
        noise: the noise predicted in it, broadcastable with ``x_t``.
        z: fresh standard normal noise, in the shape of ``x_t``.
        step: the schedule at t.
        var: $\sigma_t^2$, such as ``step.beta`` or ``variance(step)``.
        clip: if given, the predicted x_0 is first clipped to [-clip, clip], as the released code of DDPM does.
    """
    check_operands(x_t=x_t, noise=noise, z=z, var=var, step=step)
    if clip is None:
        centre = mean_from_noise(x_t, noise, step)
    else:
        centre = mean(x_t, _clipped(forward.predict_x0(x_t, noise, step), clip), step)
    return reparameterize(centre, var, _silent_at_the_end(z, step))


@equation("DDIM, Eq. 16", derived_from=[variance])
def ddim_sigma(alpha_bar_t: Array, alpha_bar_s: Array, eta: Array) -> Array:
    r"""DDIM's standard deviation of a step from t back to s: eta = 1 is DDPM's smaller variance, eta = 0 is none.

    $$
    \sigma = \eta\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,\sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}
    $$

    Args:
        alpha_bar_t: alpha_bar at t, below 1.
        alpha_bar_s: alpha_bar at s < t, at least ``alpha_bar_t``; 1 for s = 0.
        eta: how much of the noise is fresh, in [0, 1].

    Returns:
        A standard deviation, not a variance, as in the paper.
    """
    _check_ddim(alpha_bar_t=alpha_bar_t, alpha_bar_s=alpha_bar_s, eta=eta)
    return eta * sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) * sqrt(1 - alpha_bar_t / alpha_bar_s)


@equation("DDIM, Eq. 12", derived_from=[ddim_sigma, forward.predict_x0, forward.diffuse])
def ddim_step(x_t: Array, noise: Array, z: Array, alpha_bar_t: Array, alpha_bar_s: Array, eta: Array) -> Array:
    r"""DDIM's step from t back to s: predict x_0, then noise it again to s, in part with the same noise.

    $$
    x_s = \sqrt{\bar\alpha_s}\,\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}
    + \sqrt{1-\bar\alpha_s-\sigma^2}\,\epsilon + \sigma z
    $$

    Args:
        x_t: noisy sample, any shape.
        noise: the noise predicted in it, broadcastable with ``x_t``.
        z: fresh standard normal noise, in the shape of ``x_t``.
        alpha_bar_t: alpha_bar at t, in (0, 1).
        alpha_bar_s: alpha_bar at s < t, at least ``alpha_bar_t``; 1 for s = 0.
        eta: how much of the noise is fresh, in [0, 1].
    """
    check_operands(x_t=x_t, noise=noise, z=z, alpha_bar_t=alpha_bar_t, alpha_bar_s=alpha_bar_s, eta=eta)
    sigma = ddim_sigma(check_signal(alpha_bar_t=alpha_bar_t), alpha_bar_s, eta)
    x_0 = (x_t - sqrt(1 - alpha_bar_t) * noise) / sqrt(alpha_bar_t)
    # 1 - alpha_bar_s - sigma^2, as a sum of what is never negative: the difference could round below 0
    old = (1 - alpha_bar_s) * (1 - eta**2 + eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * alpha_bar_t / alpha_bar_s)
    return sqrt(alpha_bar_s) * x_0 + sqrt(old) * noise + sigma * z


@equation("DDIM, Eq. 13", derived_from=[ddim_step])
def ddim_encode_step(x_s: Array, noise: Array, alpha_bar_s: Array, alpha_bar_t: Array) -> Array:
    r"""DDIM without fresh noise, run forwards: from s to a later t. It encodes a picture into its own noise.

    $$
    x_t = \sqrt{\bar\alpha_t}\,\Bigg(\frac{x_s}{\sqrt{\bar\alpha_s}}
    + \Bigg(\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}} - \sqrt{\frac{1-\bar\alpha_s}{\bar\alpha_s}}\Bigg)\,\epsilon\Bigg)
    $$

    Args:
        x_s: the sample at s, any shape.
        noise: the noise predicted in it, broadcastable with ``x_s``.
        alpha_bar_s: alpha_bar at s, in (0, 1].
        alpha_bar_t: alpha_bar at t > s, at most ``alpha_bar_s``.
    """
    check_operands(x_s=x_s, noise=noise, alpha_bar_s=alpha_bar_s, alpha_bar_t=alpha_bar_t)
    shrink = sqrt(alpha_bar_t / check_signal(alpha_bar_s=alpha_bar_s))
    return shrink * x_s + (sqrt(1 - alpha_bar_t) - shrink * sqrt(1 - alpha_bar_s)) * noise


# The door: what bad input gets. --------------------------------------------------------------------------------------


def check_probabilities(**distribution: Array) -> np.ndarray:
    """Refuse what does not sum to 1 over the last axis, by name; gives it back in float64.

    Raises:
        ValueError: when a probability is negative or NaN, or they do not sum to 1.
    """
    ((name, value),) = distribution.items()
    p = np.asarray(value, dtype=np.float64)
    if p.ndim == 0 or not np.all(p >= 0) or not np.allclose(p.sum(axis=-1), 1, rtol=0, atol=1e-9):
        raise ValueError(f"{name} must be probabilities that sum to 1, got {value!r}")
    return p


def _check_ddim(**coefficients: Array) -> None:
    """Tensors are not read: that could stall their device."""
    host = {name: value for name, value in coefficients.items() if isinstance(value, int | float | np.ndarray)}
    for name, value in host.items():
        if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
            raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    t, s = host.get("alpha_bar_t", 0.0), host.get("alpha_bar_s", 1.0)
    if not np.all(np.asarray(t) <= s) or np.any(np.asarray(t) == 1):
        raise ValueError(f"alpha_bar_t must be below 1 and at most alpha_bar_s, got {t!r} and {s!r}")


def _silent_at_the_end(z: Array, step: Step) -> Array:
    """The noise, or zeros where the step is the last one, t = 1."""
    last = step.noise_var_prev == 0
    if isinstance(last, bool):
        return 0 * z if last else z
    return z * ~last


def _clipped(x: Array, bound: float) -> Array:
    if not bound > 0:
        raise ValueError(f"clip must be above 0, got {bound!r}")
    if isinstance(x, int | float):
        return float(np.clip(x, -bound, bound))
    return array_api_compat.array_namespace(x).clip(x, -bound, bound)
