r"""Chapter 2. The posterior: one step back is a Gaussian that can be written down, if one knows where one started.

Bayes' rule turns the forward step around. What comes out has a mean that is linear in x_t and x_0, and a variance that
does not depend on either; sampling is nothing but drawing from it, with a network's guess in the place of x_0.
"""

from __future__ import annotations

import math

import numpy as np

from . import forward
from .arrays import Array, clipped, log, sqrt, where
from .door import check_shape
from .equation import equation
from .forward import Gaussian, Step, reparameterize

# Bayes' rule, where it can be counted. -------------------------------------------------------------------------------


@equation("Bishop 2006, Sec. 1.2", shapes="prior (n), likelihood (n, m)", unproved="outcomes")
def joint(prior: Array, likelihood: Array) -> np.ndarray:
    r"""The joint probability of a cause and what is seen: the product rule.

    $$
    p(x, y) = p(y \mid x)\,p(x)
    $$

    Returns:
        p(x, y), shape (n, m).
    """
    return prior[:, None] * likelihood


@equation("Bishop 2006, Sec. 1.2", derived_from=[joint], shapes="joint (n, m)", unproved="outcomes")
def marginalize(joint: Array, axis: int) -> np.ndarray:
    r"""Forget one of two variables by summing over it: the sum rule.

    $$
    p(y) = \sum_x p(x, y)
    $$
    """
    return joint.sum(axis=axis)


@equation(
    "Bishop 2006, Sec. 1.2",
    derived_from=[joint, marginalize],
    shapes="prior (n), likelihood (n, m)",
    unproved="outcomes",
)
def total_probability(prior: Array, likelihood: Array) -> np.ndarray:
    r"""How probable is what is seen, over all the causes it may have.

    $$
    p(y) = \sum_x p(y \mid x)\,p(x)
    $$

    Returns:
        p(y), shape (m,).
    """
    return marginalize(joint(prior, likelihood), axis=0)


@equation(
    "Bishop 2006, Sec. 1.2",
    derived_from=[joint, total_probability],
    require={"p(y) must be above 0 for every y": "prior @ likelihood > 0"},
    shapes="prior (n), likelihood (n, m)",
    unproved="outcomes",
)
def bayes(prior: Array, likelihood: Array) -> np.ndarray:
    r"""The posterior: how probable each cause is once something has been seen.

    $$
    p(x \mid y) = \frac{p(y \mid x)\,p(x)}{p(y)}
    $$

    Returns:
        p(x given y), shape (n, m), every column sums to 1.
    """
    return joint(prior, likelihood) / total_probability(prior, likelihood)


# One step back. ------------------------------------------------------------------------------------------------------


@equation(
    "Luo 2022, Eqs. 71-84",
    derived_from=[forward.transition, forward.marginal],
    where={"step.noise_var_prev": "(0, 1]"},
)
def precision(step: Step) -> Array:
    r"""The precision, one over the variance, of the forward posterior: what completing the square leaves.

    $$
    \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
    $$

    At t = 1 the variance is 0 and the precision infinite.
    """
    return step.alpha / step.beta + 1 / step.noise_var_prev


@equation("Ho et al. 2020, Eq. 7", derived_from=[precision])
def variance(step: Step) -> Array:
    r"""Variance of the forward posterior $q(x_{t-1} \mid x_t, x_0)$; 0 at t = 1.

    $$
    \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t
    $$
    """
    return step.noise_var_prev / step.noise_var * step.beta


@equation("Ho et al. 2020, Eq. 7", derived_from=[forward.transition, forward.marginal, precision])
def mean(x_t: Array, x_0: Array, step: Step) -> Array:
    r"""Mean of the forward posterior $q(x_{t-1} \mid x_t, x_0)$.

    $$
    \tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0
                + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t
    $$
    """
    from_x_0 = sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = sqrt(step.alpha) * step.noise_var_prev * x_t
    return (from_x_0 + from_x_t) / step.noise_var


@equation("Ho et al. 2020, Eq. 6", derived_from=[mean, variance])
def posterior(x_t: Array, x_0: Array, step: Step) -> Gaussian:
    r"""The forward posterior: where x was one step ago, for one who knows where it is and where it began.

    $$
    q(x_{t-1} \mid x_t, x_0) = \mathcal N\big(x_{t-1};\ \tilde\mu_t,\ \tilde\beta_t I\big)
    $$
    """
    return Gaussian(mean(x_t, x_0, step), variance(step))


@equation("Ho et al. 2020, Eq. 11", derived_from=[mean, forward.predict_x0], where={"step.alpha": "(0, 1]"})
def mean_from_noise(x_t: Array, noise: Array, step: Step) -> Array:
    r"""The same mean, with the noise in the place of x_0.

    $$
    \tilde\mu_t = \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)
    $$
    """
    return (x_t - step.beta / sqrt(step.noise_var) * noise) / sqrt(step.alpha)


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[mean_from_noise], where={"step.alpha": "(0, 1]"})
def mean_from_score(x_t: Array, score: Array, step: Step) -> Array:
    r"""The mean of one step back, with the score, the gradient of log q(x_t), in the place of the noise.

    $$
    \tilde\mu_t = \frac{x_t + \beta_t\,\nabla_{x_t}\!\log q(x_t)}{\sqrt{\alpha_t}}
    $$

    With the score of q(x_t) it is the mean of q(x_{t-1} given x_t); with that of q(x_t given x_0), the posterior's.
    """
    return (x_t + step.beta * score) / sqrt(step.alpha)


@equation("derived here", derived_from=[mean, forward.x0_from_velocity])
def mean_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The same mean, with the velocity in the place of x_0; no division by alpha, so it holds where alpha is 0 too.

    $$
    \tilde\mu_t = \sqrt{\alpha_t}\,x_t - \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{\sqrt{1-\bar\alpha_t}}\,v
    $$
    """
    pull = sqrt(step.alpha_bar_prev) * step.beta / sqrt(step.noise_var)
    return sqrt(step.alpha) * x_t - pull * velocity


# Which variance? -----------------------------------------------------------------------------------------------------


@equation("derived here", derived_from=[forward.marginal, forward.transition])
def optimal_variance(step: Step, data_var: Array) -> Array:
    r"""The true variance of x_{t-1} given x_t alone, for data from $\mathcal N(\mu, \sigma_0^2 I)$.

    $$
    \sigma_t^2 = \beta_t\,
    \frac{\bar\alpha_{t-1}\,\sigma_0^2 + 1-\bar\alpha_{t-1}}{\bar\alpha_t\,\sigma_0^2 + 1-\bar\alpha_t}
    $$

    It is $\tilde\beta_t$ when the data is one point and $\beta_t$ when the data has variance 1.
    """
    before = step.alpha_bar_prev * data_var + step.noise_var_prev
    return step.beta * before / (step.alpha_bar * data_var + step.noise_var)


@equation("Sohl-Dickstein et al. 2015, Eq. 24", derived_from=[variance])
def entropy_bounds(step: Step) -> tuple[Array, Array]:
    r"""Bounds on the entropy of a coordinate of x_{t-1} given x_t, on average; the upper for data of variance at most 1.

    $$
    H_{\min} = \frac{1}{2}\log\big(2\pi e\,\tilde\beta_t\big), \quad H_{\max} = \frac{1}{2}\log\big(2\pi e\,\beta_t\big)
    $$

    Returns:
        Both bounds in nats; the lower one is minus infinity at t = 1.
    """
    unit = 2 * math.pi * math.e
    return log(unit * variance(step)) / 2, log(unit * step.beta) / 2


@equation(
    "Nichol & Dhariwal 2021, Eq. 15",
    derived_from=[variance],
    require={"v must be at most 1 at t = 1, where the smaller variance is 0": "(v <= 1) | (step.noise_var_prev > 0)"},
)
def interpolated_variance(v: Array, step: Step) -> Array:
    r"""A learned variance: between the two choices, on a logarithmic scale.

    $$
    \sigma_t^2 = \exp\big(v\log\beta_t + (1-v)\log\tilde\beta_t\big) = \beta_t^{v}\;\tilde\beta_t^{\,1-v}
    $$

    Written with powers it is right at t = 1 too, where the logarithm of $\tilde\beta_1 = 0$ is not finite.
    """
    return step.beta**v * variance(step) ** (1 - v)


def halves(output: Array, x_t: Array, learned: bool = True) -> tuple[Array, Array | None]:
    """The prediction of a network and v: a network with a learned variance has twice the channels, the second for 2 v - 1.

    Raises:
        ValueError: when the output has another shape.
    """
    if not learned:
        return check_shape("model(x_t, t)", output, x_t.shape), None
    if x_t.ndim < 2:
        raise ValueError(f"shape must be (batch, channels, ...) for a learned variance, got {tuple(x_t.shape)}")
    channels = x_t.shape[1]
    check_shape("model(x_t, t)", output, (x_t.shape[0], 2 * channels, *x_t.shape[2:]))
    return output[:, :channels], (output[:, channels:] + 1) / 2


@equation(
    "Bao et al. 2022, Theorem 1",
    derived_from=[variance, mean_from_score],
    where={"step.alpha": "(0, 1]"},
    require={
        "mean_square_score must not be so large that the variance is negative": "mean_square_score * step.noise_var"
        " <= 1 + step.alpha * step.noise_var_prev / step.beta"
    },
)
def analytic_variance(step: Step, mean_square_score: Array) -> Array:
    r"""The best variance for the best mean, from how large the score is on average.

    $$
    \sigma_t^2 = \tilde\beta_t + \Bigg(\sqrt{\frac{1-\bar\alpha_t}{\alpha_t}}
    - \sqrt{1-\bar\alpha_{t-1}-\tilde\beta_t}\Bigg)^{2}\big(1 - (1-\bar\alpha_t)\,\Gamma_t\big), \qquad
    \Gamma_t = \mathbb E\,\frac{\lVert\nabla\log q(x_t)\rVert^2}{d}
    $$

    The bracket is $\beta_t / \sqrt{\alpha_t (1-\bar\alpha_t)}$, which the code uses: fewer digits cancel.
    """
    spread = step.beta**2 / (step.alpha * step.noise_var)
    return variance(step) + spread * (1 - step.noise_var * mean_square_score)


# Sampling. -----------------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Alg. 2", derived_from=[mean, forward.reparameterize], where={"var": "[0, inf)"})
def sampling_step(x_t: Array, x_0: Array, z: Array, step: Step, var: Array) -> Array:
    r"""One step of sampling from a predicted x_0: the posterior's mean and fresh noise, but none at t = 1.

    $$
    x_{t-1} = \tilde\mu_t + \sigma_t\,z, \qquad z = 0 \text{ at } t = 1
    $$

    It holds where alpha is 0 too, where the noise tells nothing of x_0.
    """
    back = mean(x_t, x_0, step)
    return where(step.noise_var_prev == 0, back, reparameterize(back, var, z))


@equation(
    "Ho et al. 2020, Alg. 2",
    derived_from=[sampling_step, mean_from_noise],
    where={"step.alpha_bar": "(0, 1]", "var": "[0, inf)"},
)
def ancestral_step(x_t: Array, noise: Array, z: Array, step: Step, var: Array, clip: float | None = None) -> Array:
    r"""The same step, as it is printed: from the predicted noise.

    $$
    x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)
    + \sigma_t\,z, \qquad z = 0 \text{ at } t = 1
    $$

    With ``clip`` the predicted x_0 is first clipped to [-clip, clip], as in the released code of DDPM.
    """
    if clip is not None:
        x_0 = clipped(forward.predict_x0(x_t, noise, step), -clip, clip)
        return sampling_step(x_t, x_0, z, step, var)
    back = mean_from_noise(x_t, noise, step)
    return where(step.noise_var_prev == 0, back, reparameterize(back, var, z))


@equation("DDIM, Eq. 16", derived_from=[variance], require=forward.EARLIER, where={"step_s.alpha_bar": "(0, 1]"})
def ddim_sigma(step: Step, step_s: Step, eta: Array) -> Array:
    r"""DDIM's standard deviation of a step from t back to s: eta = 1 is DDPM's smaller variance, eta = 0 is none.

    $$
    \sigma = \eta\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,\sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}
    $$

    Returns:
        A standard deviation, not a variance, as in the paper.
    """
    share = step_s.noise_var / step.noise_var
    return eta * sqrt(share * step.since(step_s).beta)


@equation("DDIM, Eq. 7", derived_from=[ddim_sigma], require=forward.EARLIER, where={"step_s.alpha_bar": "(0, 1]"})
def ddim_renoise(x_0: Array, noise: Array, z: Array, step: Step, step_s: Step, eta: Array) -> Array:
    r"""The second half of DDIM's step: a predicted x_0 is noised again to s, in part with the noise that it had at t.

    $$
    x_s = \sqrt{\bar\alpha_s}\,x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\,\epsilon + \sigma z
    $$

    The code writes $1-\bar\alpha_s-\sigma^2$ as a sum of what is never negative: the difference could round below 0.
    """
    sigma = ddim_sigma(step, step_s, eta)
    share = step_s.noise_var / step.noise_var * step.since(step_s).alpha
    kept = step_s.noise_var * (1 - eta**2 + eta**2 * share)
    return sqrt(step_s.alpha_bar) * x_0 + sqrt(kept) * noise + sigma * z


@equation(
    "DDIM, Eq. 12",
    derived_from=[ddim_renoise, forward.predict_x0],
    require=forward.EARLIER,
    where={"step.alpha_bar": "(0, 1]"},
)
def ddim_step(x_t: Array, noise: Array, z: Array, step: Step, step_s: Step, eta: Array) -> Array:
    r"""DDIM's step from t back to s: predict x_0, then noise it again to s, in part with the same noise.

    $$
    x_s = \sqrt{\bar\alpha_s}\,\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}
    + \sqrt{1-\bar\alpha_s-\sigma^2}\,\epsilon + \sigma z
    $$

    It is `ddim_renoise` of the x_0 that the noise predicts. The code sorts it as Algorithm 2 of DDPM is sorted, since the
    two parts of the noise nearly cancel in a small step; with eta = 1 the fraction below the noise is beta.
    """
    jump = step.since(step_s)
    share = step_s.noise_var / step.noise_var * jump.alpha
    kept = share * (1 - eta**2 + eta**2 * share)
    gone = jump.beta * (1 + eta**2 * share) / (1 + sqrt(kept))
    back = (x_t - gone / sqrt(step.noise_var) * noise) / sqrt(jump.alpha)
    return back + ddim_sigma(step, step_s, eta) * z


@equation("DDIM, Eq. 13", derived_from=[ddim_step], require=forward.EARLIER, where={"step_s.alpha_bar": "(0, 1]"})
def ddim_encode_step(x_s: Array, noise: Array, step_s: Step, step: Step) -> Array:
    r"""DDIM without fresh noise, run forwards: from s to a later t. It encodes a picture into its own noise.

    $$
    x_t = \sqrt{\bar\alpha_t}\,\Bigg(\frac{x_s}{\sqrt{\bar\alpha_s}}
    + \Bigg(\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}} - \sqrt{\frac{1-\bar\alpha_s}{\bar\alpha_s}}\Bigg)\,\epsilon\Bigg)
    $$

    The code brings the difference of the two roots to one fraction, where no digits cancel.
    """
    jump = step.since(step_s)
    roots = sqrt(step.noise_var) + sqrt(jump.alpha * step_s.noise_var)
    return sqrt(jump.alpha) * x_s + jump.beta / roots * noise
