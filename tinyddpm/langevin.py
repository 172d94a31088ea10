r"""Chapter 5. Langevin dynamics, scores and the continuous limit: what the network learns is which way is uphill.

The score is the gradient of the log-density. Following it and adding noise draws samples; noise of many sizes makes that
work where the density is zero almost everywhere; and in the limit of small steps noising is a stochastic differential
equation, which can be run backwards with the score alone, with fresh noise or with none.

Time is a number on any clock. `rate` is then how fast the integrated noise B grows on it, and drifts are called as
``drift_field(x, time)``. The book's own clock is B itself, where the rate is 1, alpha_bar is $e^{-B}$, and the exact score
of the running example is ``data.diffuse(Step.from_log_alpha_bar(-B)).score(x)``. Samples have shape (..., d).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from . import forward, posterior
from .arrays import Array, convert, exp, gradient, joined, sqrt, stack, standard_normal, sums_so_far, to_numpy, where
from .door import check_finite, check_shape
from .equation import equation
from .forward import Step

Field: TypeAlias = Callable[[Array], Array]
"""An arrow at every point, such as a score: ``field(x)`` has the shape of x."""

Drift: TypeAlias = Callable[[Array, float], Array]
"""A field that changes in time: ``drift_field(x, time)`` has the shape of x."""


MONOTONE = {
    "times must rise or fall, at least two of them": "shape(times)[0] >= 2"
    " and ((times[1:] > times[:-1]).all() or (times[1:] < times[:-1]).all())"
}
"""What points in time must do."""


# The score. ----------------------------------------------------------------------------------------------------------


@equation("Hyvarinen 2005, Eq. 1; Song & Ermon 2019, Sec. 2", shapes="x (..., d)", unproved="function")
def score(log_prob: Callable[[Array], Array], x: Array) -> Array:
    r"""The score of a density: how its logarithm changes with the sample, by automatic differentiation.

    $$
    s(x) = \nabla_x \log p(x)
    $$

    The constant that makes a density sum to 1 drops out. A statistician's score is the gradient with respect to the
    parameters instead; for a mean the two differ by their sign alone, since only $x - \mu$ enters.

    Returns:
        In the shape and library of ``x``.
    """
    return gradient(log_prob, x)


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[score])
def gaussian_score(x: Array, mean: Array, var: Array) -> Array:
    r"""The score of a Gaussian: it pulls towards the mean, the harder the farther away.

    $$
    \nabla_x \log \mathcal N(x;\ \mu,\ \sigma^2 I) = \frac{\mu - x}{\sigma^2}
    $$
    """
    return (mean - x) / var


# Langevin dynamics. --------------------------------------------------------------------------------------------------


@equation("Song & Ermon 2019, Eq. 4", derived_from=[score])
def langevin_step(x: Array, score: Array, step_size: Array, z: Array) -> Array:
    r"""One step of Langevin dynamics: half a step uphill, and noise of a whole step's variance.

    $$
    x' = x + \frac{\delta}{2}\,\nabla_x \log p(x) + \sqrt{\delta}\,z
    $$

    The score-SDE paper's step size is half of this one: it writes $\epsilon$ and $\sqrt{2\epsilon}$.
    """
    return x + step_size / 2 * score + sqrt(step_size) * z


@equation(
    "Song & Ermon 2019, Eq. 4",
    derived_from=[langevin_step],
    where={"step_size": "scalar [0, inf)"},
    shapes="x (..., d)",
    unproved="steps",
)
def langevin(score_field: Field, x: Array, step_size: float, steps: int, rng: np.random.Generator) -> Array:
    r"""Langevin dynamics: after many small steps the samples come from p, wherever they began, if they can get about.

    $$
    x_{i+1} = x_i + \frac{\delta}{2}\,\nabla_x \log p(x_i) + \sqrt{\delta}\,z_i, \qquad i = 0, \dots, n - 1
    $$

    Args:
        x: where the samples begin, shape (..., d).
        rng: a generator of NumPy, or of torch for tensors; gives one z for each step.

    Returns:
        Where they are after n steps.

    Raises:
        ValueError: when they have run off to infinity, as they do where the step is too large.
    """
    for _ in range(steps):
        x = langevin_step(x, score_field(x), step_size, standard_normal(x, rng))
    return check_finite(f"x; a step_size of {step_size} is too large", x)


@equation(
    "derived here",
    derived_from=[langevin_step, gaussian_score],
    require={"step_size must be below 4 var": "step_size < 4 * var"},
)
def stationary_variance(step_size: Array, var: Array) -> Array:
    r"""Where the variance of Langevin dynamics on $\mathcal N(\mu, \sigma^2 I)$ really ends: above the target's.

    $$
    \sigma_\infty^2 = \frac{\sigma^2}{1 - \delta / (4\sigma^2)}
    $$

    Args:
        step_size: $\delta$, below $4\sigma^2$: from there on the chain runs off to infinity.
        var: the target's variance, above 0.
    """
    return var / (1 - step_size / (4 * var))


@equation(
    "Welling & Teh 2011, stochastic gradient Langevin dynamics",
    derived_from=[score],
    require={"likelihood_scores must hold 1 to total observations": "1 <= shape(likelihood_scores)[0] <= total"},
    shapes="prior_score (...), likelihood_scores (n, ...)",
    unproved="arrays",
)
def minibatch_score(prior_score: Array, likelihood_scores: Array, total: Array) -> Array:
    r"""The score of a posterior over parameters, guessed from a few of the N observations: right on average.

    $$
    \nabla_\theta \log p(\theta \mid x_{1:N}) \approx
    \nabla_\theta \log p(\theta) + \frac{N}{n} \sum_{i=1}^{n} \nabla_\theta \log p(x_i \mid \theta)
    $$

    In the place of the score in a Langevin step it gives stochastic gradient Langevin dynamics.
    """
    n = likelihood_scores.shape[0]
    return prior_score + total / n * likelihood_scores.sum(0)


@equation("derived here", derived_from=[langevin_step, gaussian_score])
def forward_as_langevin(x: Array, step_size: Array, z: Array) -> Array:
    r"""Langevin dynamics whose target is $\mathcal N(0, I)$: almost the forward step, with $\beta$ for $\delta$.

    $$
    x' = \Big(1 - \frac{\delta}{2}\Big)\,x + \sqrt{\delta}\,z, \qquad
    1 - \frac{\delta}{2} = \sqrt{1-\delta} + O(\delta^2)
    $$
    """
    return langevin_step(x, gaussian_score(x, mean=0, var=1), step_size, z)


@equation("derived here", derived_from=[forward_as_langevin, forward.diffuse_once], where={"step_size": "[0, 1]"})
def langevin_gap(x: Array, step_size: Array) -> Array:
    r"""How far Langevin dynamics on $\mathcal N(0, I)$ is ahead of the forward step with $\beta = \delta$ and the same noise.

    $$
    \Delta = \Big(1 - \frac{\delta}{2} - \sqrt{1-\delta}\Big)\,x
    = \frac{\delta^2\,x}{4\,\big(1 - \delta/2 + \sqrt{1-\delta}\big)}
    $$

    The denominator lies between 2 and 8, so the gap is between $\delta^2/8$ and $\delta^2/2$ times x.
    """
    return step_size**2 * x / (4 * (1 - step_size / 2 + sqrt(1 - step_size)))


# Brownian motion. ----------------------------------------------------------------------------------------------------


@equation(
    "Billingsley 1995, Sec. 37",
    derived_from=[forward.brownian],
    require=MONOTONE,
    shapes="times (n+1), z (n, ...)",
    unproved="steps",
)
def brownian_path(times: Array, z: Array) -> Array:
    r"""Brownian motion, looked at from time to time: independent increments, whose variance is the time passed.

    $$
    w_0 = 0, \qquad w_{i+1} = w_i + \sqrt{|\tau_{i+1} - \tau_i|}\,z_i
    $$

    Every second point of a path is the same path with steps twice as long. Times may fall: then it runs backwards.

    Args:
        z: standard normal, one for each increment, shape (n, ...).

    Returns:
        w at all times, shape (n + 1, ...).
    """
    std = sqrt(abs(np.diff(times))).reshape(-1, *[1] * (z.ndim - 1))
    return sums_so_far(convert(std, like=z) * z)


@equation(
    "Billingsley 1995, Sec. 37",
    derived_from=[brownian_path],
    require={"path must have at least two states": "shape(path)[0] >= 2"},
    shapes="path (n, ...)",
    unproved="steps",
)
def quadratic_variation(path: Array) -> Array:
    r"""The squared increments of a path, summed: for Brownian motion, the time passed, on almost every path.

    $$
    [w] = \sum_i (w_{i+1} - w_i)^2
    $$

    Of anything smooth it goes to 0 with the steps, so a drift leaves no trace in it.

    Args:
        path: one state a time, at least two, shape (n, ...).

    Returns:
        One number a coordinate, the shape of a single state.
    """
    return ((path[1:, ...] - path[:-1, ...]) ** 2).sum(0)


# How a score is learned. ---------------------------------------------------------------------------------------------


@equation("Hyvarinen 2005, Eq. 2", derived_from=[score], shapes="score_hat (..., d), score (..., d)", unproved="arrays")
def explicit_score_matching(score_hat: Array, score: Array) -> Array:
    r"""What one would like to make small: the distance of the answers to the true scores.

    $$
    J_{\mathrm{ESM}} = \frac{1}{2}\,\big\lVert s_\theta(x) - \nabla_x \log p(x) \big\rVert^2
    $$

    Returns:
        One number a sample, shape (...): the mean over samples of p is the loss.
    """
    return ((score_hat - score) ** 2).sum(-1) / 2


@equation(
    "Hyvarinen 2005, Eq. 3; Song & Ermon 2019, Eq. 1",
    derived_from=[explicit_score_matching],
    shapes="score_hat (..., d), divergence (...)",
    unproved="arrays",
)
def implicit_score_matching(score_hat: Array, divergence: Array) -> Array:
    r"""The same on average, up to a constant, without the true score: integration by parts has moved the gradient.

    $$
    J_{\mathrm{ISM}} = \nabla \cdot s_\theta(x) + \frac{1}{2}\,\lVert s_\theta(x) \rVert^2
    $$

    Args:
        divergence: that of $s_\theta$ at the samples, from `divergence` or `hutchinson`, shape (...).

    Returns:
        One number a sample, shape (...).
    """
    return divergence + (score_hat**2).sum(-1) / 2


@equation("Song & Ermon 2019, Eq. 1", derived_from=[implicit_score_matching], shapes="x (..., d)", unproved="function")
def divergence(field: Field, x: Array) -> Array:
    r"""The divergence of a field, exactly: along every axis in turn, at the price of d gradients.

    $$
    \nabla \cdot f(x) = \sum_{i=1}^d \frac{\partial f_i}{\partial x_i}
    $$

    Returns:
        One number a sample, shape (...).
    """
    axes = convert(np.eye(x.shape[-1]), like=x)
    return sum(gradient(field, x, axis + 0 * x) @ axis for axis in axes)


@equation(
    "Song et al. 2021, Eq. 40; Song & Ermon 2019, Eq. 3",
    derived_from=[divergence],
    shapes="x (..., d), probe (..., d)",
    unproved="function",
)
def hutchinson(field: Field, x: Array, probe: Array) -> Array:
    r"""The divergence of a field, guessed along one direction at the price of one gradient: right on average.

    $$
    \nabla \cdot f(x) \approx v^\top\,\frac{\partial f}{\partial x}\,v, \qquad \mathbb E[v\,v^\top] = I
    $$

    Returns:
        One number a sample, shape (...).
    """
    return (probe * gradient(field, x, probe)).sum(-1)


@equation(
    "Vincent 2011, denoising score matching; Song & Ermon 2019, Eq. 2",
    derived_from=[explicit_score_matching, gaussian_score],
    shapes="score_hat (..., d), x (..., d), mean fits x, var fits x",
    unproved="arrays",
)
def denoising_score_matching(score_hat: Array, x: Array, mean: Array, var: Array) -> Array:
    r"""The same on average, up to a constant, for samples with noise in them: the target is the score of the noise.

    $$
    J_{\mathrm{DSM}} = \frac{1}{2}\,\Big\lVert s_\theta(x) - \frac{\mu - x}{\sigma^2} \Big\rVert^2, \qquad
    x \sim \mathcal N(\mu, \sigma^2 I)
    $$

    With ``*forward.marginal(x_0, step)`` for mean and variance it is DDPM's loss, over $2\,(1-\bar\alpha_t)$.

    Args:
        x: noisy samples, shape (..., d).
        mean: the clean ones, scaled as in x.
        var: the variance of the noise, above 0.

    Returns:
        One number a sample, shape (...).
    """
    return explicit_score_matching(score_hat, gaussian_score(x, mean, var))


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[gaussian_score, forward.marginal])
def score_from_noise(noise: Array, step: Step) -> Array:
    r"""The score at a noisy sample, from the noise in it: the same arrow turned round, in another unit.

    $$
    \nabla_{x_t}\!\log q(x_t) = -\frac{\epsilon}{\sqrt{1-\bar\alpha_t}}
    $$

    With the noise itself it is the score of q(x_t given x_0); with the best guess of it, that of q(x_t).
    """
    return -noise / sqrt(step.noise_var)


@equation("Luo 2022, Three Equivalent Interpretations", derived_from=[score_from_noise])
def noise_from_score(score: Array, step: Step) -> Array:
    r"""The noise in a noisy sample, from the score at it.

    $$
    \epsilon = -\sqrt{1-\bar\alpha_t}\,\nabla_{x_t}\!\log q(x_t)
    $$
    """
    return -sqrt(step.noise_var) * score


@equation(
    "Efron 2011, Sec. 1; Luo 2022, Three Equivalent Interpretations",
    derived_from=[forward.marginal, score_from_noise, forward.predict_x0],
    where={"step.alpha_bar": "(0, 1]"},
)
def tweedie(x_t: Array, score: Array, step: Step) -> Array:
    r"""Tweedie's formula: the score of the noisy samples is all that the best guess of x_0 needs.

    $$
    \hat x_0 = \frac{x_t + (1-\bar\alpha_t)\,\nabla_{x_t}\!\log q(x_t)}{\sqrt{\bar\alpha_t}}
    $$
    """
    return (x_t + step.noise_var * score) / sqrt(step.alpha_bar)


# Many sizes of noise. ------------------------------------------------------------------------------------------------


@equation(
    "Song & Ermon 2019, annealed Langevin dynamics",
    derived_from=[langevin, denoising_score_matching],
    where={"score_field": "(x, var) -> x", "step_size": "scalar [0, inf)"},
    require={"variances must fall": "variances[1:] < variances[:-1]"},
    shapes="x (..., d), variances (L)",
    unproved="steps",
)
def annealed_langevin(
    score_field: Callable[[Array, float], Array],
    x: Array,
    variances: Array,
    step_size: float,
    steps: int,
    rng: np.random.Generator,
) -> Array:
    r"""Langevin dynamics on ever less noisy data: large noise joins the modes, small noise sharpens them.

    $$
    x \leftarrow x + \frac{\delta_i}{2}\,\nabla_x \log p_{\sigma_i}(x) + \sqrt{\delta_i}\,z, \qquad
    \delta_i = \delta\,\frac{\sigma_i^2}{\sigma_L^2}, \qquad n \text{ times for each } i = 1, \dots, L
    $$

    Args:
        score_field: the score of data with noise of a variance on it, called as ``score_field(x, var)``.
        x: where the samples begin, shape (..., d), about as wide as the largest noise.
        step_size: $\delta$, that of the last level, at least 0.
        steps: n, for each level.
        rng: a generator of NumPy, or of torch for tensors; gives one z for each step.
    """
    levels = variances.tolist()
    for var in levels:
        size = step_size * var / levels[-1]
        for z in (standard_normal(x, rng) for _ in range(steps)):
            x = langevin_step(x, score_field(x, var), size, z)
    return check_finite(f"x; a step_size of {step_size} is too large", x)


# Small steps without end: two diffusions. ----------------------------------------------------------------------------


@equation("Kloeden & Platen 1992, Sec. 10.2", derived_from=[brownian_path])
def euler_maruyama_step(x: Array, drift: Array, diffusion: Array, dt: Array, dw: Array) -> Array:
    r"""One step along a stochastic differential equation, with drift and noise as they are at its beginning.

    $$
    x_{\tau+\Delta\tau} = x + f\,\Delta\tau + g\,\Delta w
    $$
    """
    return x + drift * dt + diffusion * dw


@equation("Song et al. 2021, Eq. 11", derived_from=[forward_as_langevin, forward.ornstein_uhlenbeck])
def vp_drift(x: Array, rate: Array) -> Array:
    r"""The drift of the variance-preserving diffusion, DDPM's: towards 0, as Langevin dynamics on $\mathcal N(0, I)$.

    $$
    f(x, \tau) = -\frac{1}{2}\,\beta(\tau)\,x
    $$

    Args:
        rate: how fast B grows now, at least 0: 1 if time is B, $0.1 + 19.9\,\tau$ in the paper.
    """
    return -rate * x / 2


@equation("Song et al. 2021, Eq. 11", derived_from=[forward_as_langevin, forward.ornstein_uhlenbeck])
def vp_diffusion(rate: Array) -> Array:
    r"""The noise of the variance-preserving diffusion; its square is the variance added per unit of time.

    $$
    g(\tau) = \sqrt{\beta(\tau)}
    $$
    """
    return sqrt(rate)


@equation("Song et al. 2021, Eq. 9", derived_from=[forward.brownian])
def ve_diffusion(time: Array, var_min: Array, growth: Array) -> Array:
    r"""The noise of the variance-exploding diffusion, which has no drift, for noise that grows evenly on a log scale.

    $$
    g(\tau) = \sqrt{\lambda}\;\sigma_{\min}\,e^{\lambda\tau/2}, \qquad
    g^2 = \frac{d\sigma^2}{d\tau}, \qquad \sigma^2(\tau) = \sigma_{\min}^2\,e^{\lambda\tau}
    $$

    Args:
        growth: $\lambda$, at least 0: $2 \log(\sigma_{\max}/\sigma_{\min})$ if the largest noise comes at time 1.
    """
    return sqrt(growth) * sqrt(var_min) * exp(growth * time / 2)


# Back, with noise or without. ----------------------------------------------------------------------------------------


@equation(
    "Song et al. 2021, App. D.1 and Eq. 35",
    derived_from=[vp_drift, vp_diffusion],
    shapes="drift (..., d), score (..., d), diffusion (), drift_divergence (...), score_divergence (...)",
    unproved="arrays",
)
def fokker_planck(
    drift: Array, diffusion: Array, score: Array, drift_divergence: Array, score_divergence: Array
) -> Array:
    r"""The Fokker-Planck equation, for the logarithm: how the density of all samples changes where one stands.

    $$
    \frac{\partial}{\partial\tau} \log p_\tau = -\nabla \cdot f - f \cdot s
    + \frac{g^2}{2}\,\big(\nabla \cdot s + \lVert s \rVert^2\big), \qquad s = \nabla_x \log p_\tau(x)
    $$

    Args:
        diffusion: g, a number; 0 where nothing is random.

    Returns:
        One number a sample, shape (...).
    """
    spread = diffusion**2 / 2 * (score_divergence + (score**2).sum(-1))
    return spread - (drift * score).sum(-1) - drift_divergence


@equation("Song et al. 2021, Eq. 6", derived_from=[fokker_planck])
def reverse_drift(drift: Array, diffusion: Array, score: Array) -> Array:
    r"""The drift of the diffusion run backwards, with as much noise as forwards: time falls, and the score leads back.

    $$
    \tilde f = f - g^2\,\nabla_x \log p_\tau(x)
    $$
    """
    return drift - diffusion**2 * score


@equation("Song et al. 2021, Eq. 13", derived_from=[fokker_planck])
def probability_flow_drift(drift: Array, diffusion: Array, score: Array) -> Array:
    r"""The drift that has the same densities at all times and no noise at all: half of the score leads back.

    $$
    \bar f = f - \frac{1}{2}\,g^2\,\nabla_x \log p_\tau(x)
    $$

    It is the same forwards and backwards: it carries data to noise, and noise to data, along one and the same curve.
    """
    return drift - diffusion**2 * score / 2


@equation(
    "Song et al. 2021, Eqs. 6 and 11",
    derived_from=[reverse_drift, vp_drift, euler_maruyama_step],
    require=forward.EARLIER,
    where={"step.alpha_bar": "(0, 1]"},
)
def reverse_sde_step(x_t: Array, score: Array, z: Array, step: Step, step_s: Step) -> Array:
    r"""The reverse diffusion as a sampler: one step of Euler and Maruyama from t back to s, without noise to s = 0.

    $$
    x_s = x_t + \Delta B\,\Big(\frac{x_t}{2} + \nabla_{x_t}\!\log q(x_t)\Big) + \sqrt{\Delta B}\,z, \qquad
    \Delta B = \log\frac{\bar\alpha_s}{\bar\alpha_t}, \qquad z = 0 \text{ at } s = 0
    $$

    Time is B, the integral of beta, of which $\Delta B$ passes between s and t.
    """
    elapsed = -step.since(step_s).log_alpha
    drift = reverse_drift(vp_drift(x_t, 1.0), 1.0, score)
    noise = where(step_s.noise_var == 0, 0 * z, z)
    return euler_maruyama_step(x_t, drift, 1.0, -elapsed, sqrt(elapsed) * noise)


# Many steps. ---------------------------------------------------------------------------------------------------------


@equation(
    "Kloeden & Platen 1992, Sec. 10.2",
    derived_from=[euler_maruyama_step],
    require=MONOTONE,
    shapes="x (..., d), times (n+1), wiener (n+1, ..., d)",
    unproved="steps",
)
def euler_maruyama(
    drift_field: Drift, diffusion_field: Callable[[float], float], x: Array, times: Array, wiener: Array
) -> Array:
    r"""A path of a stochastic differential equation, for a given path of Brownian motion.

    $$
    x_{i+1} = x_i + f(x_i, \tau_i)\,(\tau_{i+1} - \tau_i) + g(\tau_i)\,(w_{i+1} - w_i)
    $$

    The noise does not depend on x, so on each path the error falls in proportion to the step, and so does that of averages.

    Args:
        x: where it begins, shape (..., d).
        wiener: Brownian motion at the same times, from `brownian_path`, shape (n + 1, ..., d).

    Returns:
        x at all times, shape (n + 1, ..., d).
    """
    steps = zip(pairwise(times.tolist()), wiener[1:] - wiener[:-1], strict=True)
    path = [x]
    for (start, end), dw in steps:
        f, g = drift_field(path[-1], start), diffusion_field(start)
        path.append(euler_maruyama_step(path[-1], f, g, end - start, dw))
    return check_finite("the path; its steps may be too long", stack(path))


@equation(
    "Karras et al. 2022, Alg. 1 without its last step",
    derived_from=[euler_maruyama_step],
    require=MONOTONE,
    shapes="x (..., d), times (n+1)",
    unproved="steps",
)
def heun(drift_field: Drift, x: Array, times: Array) -> Array:
    r"""A path without noise: go ahead as Euler would, look at the drift there, and take the mean of both.

    $$
    x_{i+1} = x_i + \frac{\tau_{i+1} - \tau_i}{2}\,\big(f(x_i, \tau_i) + f(x_i', \tau_{i+1})\big), \qquad
    x_i' = x_i + (\tau_{i+1} - \tau_i)\,f(x_i, \tau_i)
    $$

    Karras et al. take a last step of Euler, since at no noise their drift divides by 0; here every step is the same.

    Args:
        x: where it begins, shape (..., d).

    Returns:
        x at all times, shape (n + 1, ..., d).
    """
    path = [x]
    for start, end in pairwise(times.tolist()):
        f, dt = drift_field(path[-1], start), end - start
        ahead = drift_field(path[-1] + dt * f, end)
        path.append(path[-1] + dt * (f + ahead) / 2)
    return check_finite("the path; its steps may be too long", stack(path))


def integrate(drift_field: Drift, x: Array, times: Array, tolerance: float | None = None) -> Array:
    """As `heun`, to a tolerance, with steps that SciPy chooses.

    Args:
        drift_field: f, called as ``drift_field(x, time)``.
        x: where it begins, shape (..., d).
        times: rising, or falling to go back, shape (n + 1,): when to look.
        tolerance: relative and absolute, of each step, in the mean square over all of x; 1e-8 if not given, and 1e-5 in
            single precision, which has no more digits to give.

    Returns:
        x at all times, shape (n + 1, ..., d).

    Raises:
        ArithmeticError: when the drift cannot be followed, such as one that leads to infinity in a finite time.
    """
    from scipy.integrate import solve_ivp  # here, since it takes long to import

    def speed(time: float, state: np.ndarray) -> np.ndarray:
        arrow = drift_field(convert(state.reshape(x.shape), like=x), float(time))
        arrow = check_shape("drift_field(x, time)", arrow, x.shape)
        return check_finite(f"the drift at time {time}", to_numpy(arrow)).ravel()

    when, start = np.asarray(times, dtype=np.float64), to_numpy(x).ravel()
    least = tolerance or (1e-8 if start.dtype == np.float64 else 1e-5)
    solved = solve_ivp(speed, when[[0, -1]], start, "DOP853", when, rtol=least, atol=least)
    if not solved.success:
        raise ArithmeticError(f"the drift could not be followed: {solved.message}")
    return convert(solved.y.T.reshape(len(when), *x.shape), like=x)


def next_distribution(shares: np.ndarray, grid: np.ndarray, mean: np.ndarray, var: float) -> np.ndarray:
    r"""The distribution after a step $x' = m(x) + \sqrt{v}\,z$ on a line, without samples.

    The step makes of the density p the density $\int \mathcal N(x';\ m(x), v)\,p(x)\,dx$. Here the share of each grid
    point goes to m(x), split over the three nearest points so that its mean and variance are right, and is then spread by
    the noise, which is a product of Fourier transforms. It is as good as the grid is fine; halve the width and see. By
    rounding, and where the noise is narrower than the grid, a share can come out below 0.

    Args:
        shares: the probability of each grid point, shape (n,), summing to 1.
        grid: evenly spaced points, shape (n,), so far out that nothing reaches an end: the ends are joined.
        mean: m at the grid points, shape (n,).
        var: v, the variance of the noise, at least 0.

    Returns:
        The probability of each grid point after the step, shape (n,).
    """
    n, width = len(grid), grid[1] - grid[0]
    place = (mean - grid[0]) / width
    near = np.rint(place).astype(int)
    off = place - near
    parts = (-1, (off**2 - off) / 2), (0, 1 - off**2), (1, (off**2 + off) / 2)  # of mean `off` and variance 0
    moved = sum(np.bincount((near + k) % n, part * shares, n) for k, part in parts)
    frequency = 2 * np.pi * np.fft.rfftfreq(n, width)
    return np.fft.irfft(np.fft.rfft(moved) * np.exp(-var * frequency**2 / 2), n)


@equation(
    "Song et al. 2021, Alg. 1",
    derived_from=[reverse_drift, langevin_step, posterior.ancestral_step],
    shapes="x (..., d), z (n, ..., d), step_size ()",
    unproved="function",
)
def predictor_corrector_step(x: Array, predictor: Field, score_field: Field, step_size: Array, z: Array) -> Array:
    r"""One step back by any sampler, and then Langevin steps at the new time, which mend the distribution.

    $$
    x \leftarrow \mathrm{predictor}(x), \qquad
    \text{then } n \text{ times } x \leftarrow x + \frac{\delta}{2}\,\nabla_x \log p(x) + \sqrt{\delta}\,z_i
    $$

    Args:
        x: samples at one time, shape (..., d).
        predictor: takes them to the time before, as `reverse_sde_step` or `posterior.ancestral_step` does.
        score_field: the score at the time before, called as ``score_field(x)``.
        step_size: $\delta$ of the corrector, at least 0.
        z: fresh standard normal noise, one for each correction, shape (n, ..., d); n may be 0.
    """
    x = predictor(x)
    for fresh in z:
        x = langevin_step(x, score_field(x), step_size, fresh)
    return x


# What the flow and the score are good for. ---------------------------------------------------------------------------


@equation(
    "Song et al. 2021, Eq. 39",
    derived_from=[probability_flow_drift, divergence, hutchinson],
    where={"time": "scalar (0, inf)"},
    shapes="x (..., d), probe (..., d)",
    unproved="function",
)
def probability_flow_log_prob(
    x: Array,
    drift_field: Drift,
    time: float,
    log_prior: Callable[[Array], Array],
    probe: Array | None = None,
    tolerance: float | None = None,
) -> Array:
    r"""The log-density of data: follow the flow to the noise, and count how it spreads on the way.

    $$
    \log p_0(x_0) = \log p_T(x_T) + \int_0^T \nabla \cdot \bar f(x_\tau, \tau)\,d\tau
    $$

    Args:
        x: data, floating point, shape (..., d).
        drift_field: the drift $\bar f$ of the flow, called as ``drift_field(x, time)`` with tensors, and with x's own kind.
        time: T, above 0.
        probe: random signs in the shape of ``x``: if given, divergences are guessed along them, else they are exact.
        tolerance: of `integrate`.

    Returns:
        Log-densities in nats, shape (...).
    """
    spread = divergence if probe is None else partial(hutchinson, probe=probe)

    def speed(state: Array, now: float) -> Array:
        x, field = state[..., :-1], lambda x: drift_field(x, now)
        return joined(field(x), spread(field, x))

    *_, end = integrate(speed, joined(x, 0 * x[..., 0]), [0.0, time], tolerance)
    return log_prior(end[..., :-1]) + end[..., -1]


@equation("Luo 2022, Classifier Guidance", derived_from=[score])
def guided_score(score: Array, classifier_grad: Array, gamma: Array) -> Array:
    r"""Bayes' rule on scores, where what does not depend on x drops out: towards what a classifier takes for class y.

    $$
    \nabla_x \log p_\gamma(x \mid y) = \nabla_x \log p(x) + \gamma\,\nabla_x \log p(y \mid x)
    $$

    Args:
        gamma: 0 for no guidance, 1 for the score of p(x given y), more to exaggerate.
    """
    return score + gamma * classifier_grad
