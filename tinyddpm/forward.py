r"""Chapter 1. The forward process: how a picture is turned into noise, and why one jump does it.

Time runs t = 1..T as in Ho et al. 2020, and alpha_bar of t = 0 is 1. `beta` is the variance that a step adds,
`alpha = 1 - beta` the share of variance that it keeps, `alpha_bar` the share kept since the start. Everything is a
variance; a standard deviation is called `std`. Randomness always comes in as an argument.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from .equation import Array, equation, exp, log, sqrt


class Step(NamedTuple):
    """The numbers that an equation needs at time t: all variances, or shares of variance.

    `noise_var` is 1 - alpha_bar, kept apart because subtracting would lose its digits where alpha_bar is near 1.
    `alpha_bar_prev` and `noise_var_prev` belong to t - 1; at t = 1 they are 1 and 0.
    """

    beta: Array
    alpha: Array
    alpha_bar: Array
    alpha_bar_prev: Array
    noise_var: Array
    noise_var_prev: Array


class Gaussian(NamedTuple):
    """A normal distribution with independent coordinates: `mean`, and `var`, the variance of each coordinate."""

    mean: Array
    var: Array


class Schedule:
    """The noise schedule beta_1..beta_T, in float64.

    ``schedule[t]`` is the `Step` at t as Python floats; ``schedule.at(t, like=x)`` a batch of them in the library, dtype
    and device of ``x``; ``len(schedule)`` and ``schedule.T`` the number of steps; ``schedule.steps`` all of them at
    once, as arrays over t = 1..T.

    Args:
        beta: beta_1..beta_T, each in (0, 1].
        alpha: 1 - beta, where more of its digits are known than subtracting leaves: near beta = 1, as in `respace`.

    Raises:
        ValueError: when ``beta`` is empty, not one-dimensional, or has a value outside (0, 1], or ``alpha`` is not 1 - beta.
    """

    def __init__(self, beta: Array, alpha: Array | None = None) -> None:
        beta = np.array(beta, dtype=np.float64)
        if beta.ndim != 1 or beta.size == 0:
            raise ValueError(f"beta must be a list of at least one number, got shape {beta.shape}")
        for t, value in enumerate(beta, start=1):
            _check_within("beta", value, low=0.0, high=1.0, at=f" at t = {t}")
        with np.errstate(divide="ignore"):  # beta = 1 is allowed: its logarithm is minus infinity, noise_var is 1
            noise_var = -np.expm1(np.cumsum(np.log1p(-beta)))
        if alpha is None:
            alpha, kept = 1 - beta, alpha_bar(beta)
        else:
            alpha = np.array(alpha, dtype=np.float64)
            if alpha.shape != beta.shape or not np.allclose(alpha, 1 - beta, rtol=0, atol=1e-12):
                raise ValueError(f"alpha must be 1 - beta, got {alpha!r}")
            kept = np.cumprod(alpha)
        self.steps = Step(beta, alpha, kept, np.append(1.0, kept[:-1]), noise_var, np.append(0.0, noise_var[:-1]))
        for column in self.steps:
            column.flags.writeable = False
        self._tables: dict[tuple[Any, ...], Array] = {}

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Array) -> Schedule:
        """The schedule whose cumulative products are these: beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}."""
        kept = np.array(alpha_bar, dtype=np.float64)
        if kept.ndim != 1 or kept.size == 0 or not np.all(np.diff(kept, prepend=1.0) < 0) or kept[-1] < 0:
            raise ValueError(f"alpha_bar must fall from below 1 to no less than 0, got {alpha_bar!r}")
        return cls(-np.diff(kept, prepend=1.0) / np.append(1.0, kept[:-1]))

    @property
    def beta(self) -> np.ndarray:
        """beta_1..beta_T."""
        return self.steps.beta

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self)

    def __len__(self) -> int:
        return len(self.beta)

    def __getitem__(self, t: int) -> Step:
        """The step at t, as Python floats, so that they take the dtype of whatever they meet."""
        try:
            t = operator.index(t)
        except TypeError:
            raise TypeError(f"t must be a whole number from 1 to {self.T}, got {t!r}") from None
        if not 1 <= t <= self.T:
            raise ValueError(f"t must lie in 1..{self.T}, got {t}")
        return Step(*(float(column[t - 1]) for column in self.steps))

    def __iter__(self) -> Iterator[Step]:
        """The steps at t = 1..T."""
        return (self[t] for t in range(1, self.T + 1))

    def at(self, t: Array, like: Array) -> Step:
        """The steps at a batch of times, shaped to broadcast with a batch of samples.

        Args:
            t: whole numbers in 1..T, one for each sample of ``like``, or a single one for all.
            like: floating-point samples, shape (batch, ...); gives the library, the dtype and the device.

        Raises:
            TypeError: when ``t`` is not of whole numbers or ``like`` is not floating point.
            ValueError: when a t is out of 1..T or the batch sizes differ.
        """
        xp, device = array_api_compat.array_namespace(like), array_api_compat.device(like)
        check_floating(like=like)
        on_device = array_api_compat.is_torch_array(t) and t.device.type != "cpu"
        if not on_device:
            t = self._checked(np.asarray(t))
        if t.ndim > 1 or (t.ndim == 1 and (like.ndim == 0 or t.shape[0] not in (1, like.shape[0]))):
            raise ValueError(
                f"t must be one number or one for each sample of like {tuple(like.shape)}, got {tuple(t.shape)}"
            )
        # An index out of range on an accelerator is trapped by the gather; looking at it here would stall the device.
        index = xp.asarray(t, device=device) - 1
        table = self._table(xp, like.dtype, device)
        columns = xp.take(table, xp.reshape(index, (-1,)), axis=1)
        shape = (*t.shape, *[1] * (like.ndim - t.ndim))
        return Step(*(xp.reshape(columns[i, ...], shape) for i in range(len(Step._fields))))

    def _checked(self, t: np.ndarray) -> np.ndarray:
        if t.dtype.kind not in "iu":
            raise TypeError(f"t must be whole numbers from 1 to {self.T}, got {t.dtype}")
        outside = t[(t < 1) | (t > self.T)]
        if outside.size:
            raise ValueError(f"t must lie in 1..{self.T}, got {outside.flat[0]}")
        return t.astype(np.int64)

    def _table(self, xp: Any, dtype: Any, device: Any) -> Array:
        key = (xp.__name__, str(dtype), str(device))
        if key not in self._tables:
            self._tables[key] = xp.asarray(np.stack(self.steps), dtype=dtype, device=device)
        return self._tables[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and np.array_equal(self.beta, other.beta)

    def __hash__(self) -> int:
        return hash(self.beta.tobytes())

    def __repr__(self) -> str:
        return f"Schedule(T={self.T}, beta_1={self.beta[0]:.6g}, beta_T={self.beta[-1]:.6g})"


# The schedules. ------------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Sec. 4")
def linear(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    r"""The schedule of DDPM: beta grows in equal steps.

    $$
    \beta_t = \beta_1 + \frac{t-1}{T-1}\,(\beta_T - \beta_1)
    $$

    Args:
        T: number of steps, at least 1.
        beta_1: the first variance, in (0, 1].
        beta_T: the last one, in (0, 1].
    """
    _check_schedule(T, beta_1=beta_1, beta_T=beta_T)
    return Schedule(np.linspace(beta_1, beta_T, T))


@equation("Rombach et al. 2022, released code; Lin et al. 2023, Table 1")
def scaled_linear(T: int = 1000, beta_1: float = 0.00085, beta_T: float = 0.012) -> Schedule:
    r"""The schedule of latent diffusion: the square root of beta grows in equal steps.

    $$
    \beta_t = \Big(\sqrt{\beta_1} + \frac{t-1}{T-1}\,\big(\sqrt{\beta_T} - \sqrt{\beta_1}\big)\Big)^2
    $$

    Args:
        T: number of steps, at least 1.
        beta_1: the first variance, in (0, 1].
        beta_T: the last one, in (0, 1].
    """
    _check_schedule(T, beta_1=beta_1, beta_T=beta_T)
    return Schedule(np.linspace(sqrt(beta_1), sqrt(beta_T), T) ** 2)


@equation("Su 2022, part 1, Eq. 18")
def proportional(T: int = 1000, beta_T: float = 0.02) -> Schedule:
    r"""Beta in proportion to t: close to DDPM's schedule, and easier to sum.

    $$
    \beta_t = \beta_T\,\frac{t}{T}
    $$

    Args:
        T: number of steps, at least 1.
        beta_T: the last variance, in (0, 1].
    """
    _check_schedule(T, beta_T=beta_T)
    return Schedule(beta_T * (np.arange(1, T + 1) / T))


@equation("Nichol & Dhariwal 2021, Eq. 17")
def cosine(T: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> Schedule:
    r"""The cosine schedule: alpha_bar follows a squared cosine down to 0, and beta is kept below ``beta_max``.

    $$
    \beta_t = \min\Big(1 - \frac{f(t)}{f(t-1)},\ \beta_{\max}\Big), \qquad
    f(t) = \cos^2\Big(\frac{t/T + s}{1 + s}\cdot\frac{\pi}{2}\Big)
    $$

    With $a$ and $b$ the angles at t and t - 1 and $m$ half-way between them, the code uses
    $1 - \cos^2 a / \cos^2 b = 2 \sin m \cos m\,\sin(a - b)/\cos^2 b$, where no digits cancel.

    Args:
        T: number of steps, at least 1.
        s: the offset that keeps beta_1 from being too small, at least 0.
        beta_max: the largest beta, in (0, 1].
    """
    _check_schedule(T, beta_max=beta_max)
    if not 0 <= s < math.inf:
        raise ValueError(f"s must be at least 0, got {s!r}")
    turn, t = math.pi / 2 / (1 + s), np.arange(1, T + 1)
    # A cosine is taken as the sine of what is missing to a right angle: exact where it comes near 0.
    sin_m, cos_m = np.sin(turn * ((t - 0.5) / T + s)), np.sin(turn * ((T - t + 0.5) / T))
    beta = 2 * sin_m * cos_m * np.sin(turn / T) / np.sin(turn * ((T - t + 1) / T)) ** 2
    return Schedule(np.minimum(beta, beta_max))


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "proportional": proportional,
    "cosine": cosine,
}
"""The named schedules, for a command line or a saved configuration."""


def schedule(name: str, T: int = 1000) -> Schedule:
    """The schedule of a name, with its published settings.

    Raises:
        ValueError: when the name is not one of `SCHEDULES`.
    """
    check_name("schedule", name, SCHEDULES)
    return SCHEDULES[name](T)


@equation("Lin et al. 2023, Alg. 1")
def zero_terminal_snr(schedule: Schedule) -> Schedule:
    r"""Shift and stretch the square roots of alpha_bar so that nothing of the picture is left at T.

    $$
    \sqrt{\bar\alpha_t}' = \sqrt{\bar\alpha_1}\;
    \frac{\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_T}}{\sqrt{\bar\alpha_1} - \sqrt{\bar\alpha_T}}
    $$

    The first step stays as it is and the last beta becomes 1. The code works with the falls of the square root from
    one t to the next, and sums them from the end, so that nothing is lost where they are small.

    Args:
        schedule: at least two steps.
    """
    if schedule.T < 2:
        raise ValueError(f"schedule must have at least 2 steps to be rescaled, got {schedule.T}")
    beta, alpha, _, kept, *_ = schedule.steps
    fall = (sqrt(kept) * beta / (1 + sqrt(alpha)))[1:]  # sqrt(alpha_bar_{t-1}) - sqrt(alpha_bar_t), for t = 2..T
    left = np.append(np.cumsum(fall[::-1])[::-1], 0.0)  # sqrt(alpha_bar_t) - sqrt(alpha_bar_T), for t = 1..T
    return Schedule(np.append(beta[0], fall * (left[:-1] + left[1:]) / left[:-1] ** 2))


@equation("Nichol & Dhariwal 2021, Sec. 4")
def respace(schedule: Schedule, taus: Sequence[int]) -> Schedule:
    r"""A schedule that visits only some times: the betas between two of them are merged into one.

    $$
    \beta_i = 1 - \frac{\bar\alpha_{\tau_i}}{\bar\alpha_{\tau_{i-1}}}, \qquad \bar\alpha_{\tau_0} = 1
    $$

    Args:
        schedule: the full one.
        taus: the times to keep, rising, within 1..T.

    Raises:
        ValueError: when the times do not rise or leave 1..T.
    """
    times = np.asarray(taus)
    if times.ndim != 1 or times.size == 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"taus must be rising times, at least one, got {taus!r}")
    last, starts = schedule._checked(times)[-1], np.append(0, times[:-1])
    with np.errstate(divide="ignore"):  # beta = 1, as in `Schedule`
        merged = -np.expm1(np.add.reduceat(np.log1p(-schedule.beta[:last]), starts))
    return Schedule(merged, alpha=np.multiply.reduceat(schedule.steps.alpha[:last], starts))


@equation("Ho et al. 2020, Sec. 2")
def alpha_bar(beta: Array) -> np.ndarray:
    r"""How much of the variance is still the picture's after t steps: the product of all alphas so far.

    $$
    \bar\alpha_t = \prod_{s=1}^t (1 - \beta_s), \qquad \bar\alpha_0 = 1
    $$

    Args:
        beta: beta_1..beta_T.

    Returns:
        alpha_bar_1..alpha_bar_T.
    """
    return np.cumprod(1 - np.asarray(beta, dtype=np.float64))


# One step, and why many steps are one. -------------------------------------------------------------------------------


@equation("Kingma & Welling 2014, Sec. 2.4")
def reparameterize(mean: Array, var: Array, noise: Array) -> Array:
    r"""A sample of $\mathcal N(\mu, \sigma^2)$, made of a sample of $\mathcal N(0, 1)$.

    $$
    x = \mu + \sqrt{\sigma^2}\,\epsilon
    $$

    Args:
        mean: any shape.
        var: the variance, not the standard deviation; at least 0, broadcastable with ``mean``.
        noise: standard normal, broadcastable with ``mean``.
    """
    check_operands(mean=mean, var=var, noise=noise)
    check_variance(var=var)
    return mean + sqrt(var) * noise


@equation("Ho et al. 2020, Eq. 2")
def transition(x_prev: Array, step: Step) -> Gaussian:
    r"""One step of noising: shrink what is there, add fresh noise.

    $$
    q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big)
    $$

    Args:
        x_prev: the sample at t - 1, any shape.
        step: the schedule at t.
    """
    check_operands(x_prev=x_prev, step=step)
    return Gaussian(sqrt(step.alpha) * x_prev, step.beta)


@equation("Song et al. 2021, Eq. 10", derived_from=[transition, reparameterize])
def diffuse_once(x_prev: Array, noise: Array, step: Step) -> Array:
    r"""One step of noising, as a sample.

    $$
    x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\epsilon
    $$

    Args:
        x_prev: the sample at t - 1, any shape.
        noise: standard normal, broadcastable with ``x_prev``.
        step: the schedule at t.
    """
    check_operands(x_prev=x_prev, noise=noise, step=step)
    return reparameterize(*transition(x_prev, step), noise)


@equation("Luo 2022, Eqs. 61-70")
def merged_variance(var_a: Array, var_b: Array, a: Array, b: Array) -> Array:
    r"""The variance of a weighted sum of two independent noises A and B: variances add, standard deviations do not.

    $$
    \operatorname{Var}(aA + bB) = a^2\,\sigma_A^2 + b^2\,\sigma_B^2
    $$

    Args:
        var_a: variance of A, at least 0.
        var_b: variance of B, at least 0.
        a: weight of A.
        b: weight of B.
    """
    check_operands(var_a=var_a, var_b=var_b, a=a, b=b)
    check_variance(var_a=var_a, var_b=var_b)
    return a**2 * var_a + b**2 * var_b


@equation("Luo 2022, Eqs. 61-70", derived_from=[transition, merged_variance])
def two_steps(x_prev_prev: Array, step_prev: Step, step: Step) -> Gaussian:
    r"""Two steps of noising are one: the older noise is shrunk once, and the two variances add.

    $$
    q(x_t \mid x_{t-2}) = \mathcal N\big(x_t;\ \sqrt{\alpha_t\,\alpha_{t-1}}\,x_{t-2},\ (1-\alpha_t\,\alpha_{t-1}) I\big)
    $$

    Args:
        x_prev_prev: the sample at t - 2, any shape.
        step_prev: the schedule at t - 1.
        step: the schedule at t.
    """
    check_operands(x_prev_prev=x_prev_prev, step=step)
    check_operands(x_prev_prev=x_prev_prev, step=step_prev)
    var = merged_variance(step_prev.beta, step.beta, a=sqrt(step.alpha), b=1)
    return Gaussian(sqrt(step.alpha * step_prev.alpha) * x_prev_prev, var)


@equation("Billingsley 1995, characteristic functions")
def characteristic_function(u: Array, mean: Array, var: Array) -> Array:
    r"""The characteristic function of a Gaussian, $\mathbb E\,e^{iuX}$.

    $$
    \varphi(u) = \exp\Big(i\,u\,\mu - \frac{\sigma^2 u^2}{2}\Big)
    $$

    Of independent variables it multiplies, and no two distributions share one: that is why the sum of two Gaussian
    noises is again Gaussian, and not only of the right variance.

    Args:
        u: the frequency, any shape.
        mean: mean of X.
        var: variance of X, at least 0.
    """
    check_operands(u=u, mean=mean, var=var)
    check_variance(var=var)
    return exp(1j * u * mean - var * u**2 / 2)


# One jump. -----------------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Eq. 4", derived_from=[transition, two_steps, characteristic_function, alpha_bar])
def marginal(x_0: Array, step: Step) -> Gaussian:
    r"""All t steps of noising in one.

    $$
    q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\big)
    $$

    Args:
        x_0: clean sample, any shape.
        step: the schedule at t.
    """
    check_operands(x_0=x_0, step=step)
    return Gaussian(sqrt(step.alpha_bar) * x_0, step.noise_var)


@equation("Ho et al. 2020, Sec. 3.2", derived_from=[marginal, reparameterize])
def diffuse(x_0: Array, noise: Array, step: Step) -> Array:
    r"""A sample at t, in one jump from the clean one.

    $$
    x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon
    $$

    Args:
        x_0: clean sample, any shape.
        noise: standard normal, broadcastable with ``x_0``.
        step: the schedule at t.
    """
    check_operands(x_0=x_0, noise=noise, step=step)
    return reparameterize(*marginal(x_0, step), noise)


@equation("VDM, Eqs. 20-22", derived_from=[marginal, merged_variance])
def skip(x_s: Array, alpha_bar_s: Array, alpha_bar_t: Array) -> Gaussian:
    r"""From any time s to any later time t.

    $$
    q(x_t \mid x_s) = \mathcal N\Big(x_t;\ \sqrt{\frac{\bar\alpha_t}{\bar\alpha_s}}\,x_s,\
    \Big(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\Big) I\Big)
    $$

    Args:
        x_s: the sample at s, any shape.
        alpha_bar_s: alpha_bar at s, above 0.
        alpha_bar_t: alpha_bar at t, at most ``alpha_bar_s``.
    """
    check_operands(x_s=x_s, alpha_bar_s=alpha_bar_s, alpha_bar_t=alpha_bar_t)
    kept = alpha_bar_t / check_signal(alpha_bar_s=alpha_bar_s)
    check_variance(**{"1 - alpha_bar_t / alpha_bar_s": 1 - kept})
    return Gaussian(sqrt(kept) * x_s, 1 - kept)


@equation("Ho et al. 2020, Eq. 2", derived_from=[transition])
def path_log_prob(path: Array, schedule: Schedule) -> Array:
    r"""Log-density of a whole noising path given its start: a Markov chain, so the steps multiply.

    $$
    \log q(x_{1:T} \mid x_0) = \sum_{t=1}^T \log q(x_t \mid x_{t-1})
    $$

    Args:
        path: x_0..x_T stacked, shape (T + 1, ...).
        schedule: T steps.

    Returns:
        One number in nats: the sum over t and over all coordinates.
    """
    if path.ndim == 0 or path.shape[0] != schedule.T + 1:
        raise ValueError(f"path must hold x_0..x_T, {schedule.T + 1} samples, got shape {tuple(path.shape)}")
    mean, var = transition(path[:-1, ...], schedule.at(np.arange(1, schedule.T + 1), like=path[1:, ...]))
    return -(((path[1:, ...] - mean) ** 2 / var + log(2 * math.pi * var)) / 2).sum()


# What a network may predict, and how each answer gives the others. ---------------------------------------------------


@equation("Ho et al. 2020, Eq. 15", derived_from=[diffuse])
def predict_x0(x_t: Array, noise: Array, step: Step) -> Array:
    r"""The clean sample that belongs to a noisy one and its noise: the jump, solved for x_0.

    $$
    \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}
    $$

    Args:
        x_t: noisy sample, any shape.
        noise: the noise in it, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t; its alpha_bar must be above 0.
    """
    check_operands(x_t=x_t, noise=noise, step=step)
    return (x_t - sqrt(step.noise_var) * noise) / sqrt(check_signal(alpha_bar=step.alpha_bar))


@equation("DDIM, Eq. 9", derived_from=[diffuse])
def predict_noise(x_t: Array, x_0: Array, step: Step) -> Array:
    r"""The noise that leads from a clean sample to a noisy one: the jump, solved for the noise.

    $$
    \epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}}
    $$

    Args:
        x_t: noisy sample, any shape.
        x_0: clean sample, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    check_operands(x_t=x_t, x_0=x_0, step=step)
    return (x_t - sqrt(step.alpha_bar) * x_0) / sqrt(step.noise_var)


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse])
def velocity(x_0: Array, noise: Array, step: Step) -> Array:
    r"""The velocity: how x_t moves when picture and noise are turned into each other.

    $$
    v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0
    $$

    Args:
        x_0: clean sample, any shape.
        noise: standard normal, broadcastable with ``x_0``.
        step: the schedule at t.
    """
    check_operands(x_0=x_0, noise=noise, step=step)
    return sqrt(step.alpha_bar) * noise - sqrt(step.noise_var) * x_0


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse, velocity])
def x0_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The clean sample, from a noisy one and its velocity; no division, so it holds where alpha_bar is 0 too.

    $$
    \hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v
    $$

    Args:
        x_t: noisy sample, any shape.
        velocity: its velocity, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    check_operands(x_t=x_t, velocity=velocity, step=step)
    return sqrt(step.alpha_bar) * x_t - sqrt(step.noise_var) * velocity


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse, velocity])
def noise_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The noise, from a noisy sample and its velocity.

    $$
    \hat\epsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,v
    $$

    Args:
        x_t: noisy sample, any shape.
        velocity: its velocity, or a prediction, broadcastable with ``x_t``.
        step: the schedule at t.
    """
    check_operands(x_t=x_t, velocity=velocity, step=step)
    return sqrt(step.noise_var) * x_t + sqrt(step.alpha_bar) * velocity


# How much is left, and what kind of diffusion this is. ---------------------------------------------------------------


@equation("VDM, Eq. 2; Lin et al. 2023, Eq. 5", derived_from=[marginal])
def snr(step: Step) -> Array:
    r"""Signal-to-noise ratio: the picture's share of the variance over the noise's.

    $$
    \mathrm{SNR}(t) = \frac{\bar\alpha_t}{1-\bar\alpha_t}
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return step.alpha_bar / step.noise_var


@equation("VDM, Eq. 2; Lin et al. 2023, Eq. 5", derived_from=[snr])
def log_snr(step: Step) -> Array:
    r"""Logarithm of the signal-to-noise ratio; minus infinity where alpha_bar is 0.

    $$
    \log\mathrm{SNR}(t) = \log\bar\alpha_t - \log(1-\bar\alpha_t)
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return log(step.alpha_bar) - log(step.noise_var)


@equation("Su 2022, part 1, Eq. 5", derived_from=[diffuse_once, merged_variance])
def variance_after(var: Array, step: Step) -> Array:
    r"""The variance after one step, from the variance before: 1 stays 1.

    $$
    \sigma_t^2 = \alpha_t\,\sigma_{t-1}^2 + \beta_t
    $$

    Args:
        var: variance at t - 1, at least 0.
        step: the schedule at t.
    """
    check_operands(var=var, step=step)
    check_variance(var=var)
    return step.alpha * var + step.beta


@equation("derived here", derived_from=[alpha_bar, proportional])
def log_alpha_bar_limit(T: Array, beta_T: Array) -> Array:
    r"""How small alpha_bar gets when beta grows in proportion to t: the sum of logarithms, as an integral.

    $$
    \log\bar\alpha_T \approx T \int_0^1 \log(1 - \beta_T u)\,du
    = -T\,\frac{(1-\beta_T)\log(1-\beta_T) + \beta_T}{\beta_T}
    $$

    Args:
        T: number of steps.
        beta_T: the last variance, in (0, 1).
    """
    if isinstance(beta_T, float) and not 0 < beta_T < 1:
        raise ValueError(f"beta_T must lie in (0, 1), got {beta_T!r}")
    return -T * ((1 - beta_T) * log(1 - beta_T) + beta_T) / beta_T


@equation("Song et al. 2021, Eq. 9")
def brownian(x_0: Array, time: Array) -> Gaussian:
    r"""Brownian motion, the variance-exploding diffusion: the start is never forgotten, the variance never stops.

    $$
    q(x_\tau \mid x_0) = \mathcal N\big(x_\tau;\ x_0,\ \tau I\big)
    $$

    Args:
        x_0: where it starts, any shape.
        time: the time passed, at least 0.
    """
    check_operands(x_0=x_0, time=time)
    check_variance(time=time)
    return Gaussian(x_0, time)


@equation("Song et al. 2021, Eq. 11", derived_from=[marginal])
def ornstein_uhlenbeck(x_0: Array, integrated_beta: Array) -> Gaussian:
    r"""The variance-preserving diffusion, which the forward process discretises: it forgets where it began.

    $$
    q(x_\tau \mid x_0) = \mathcal N\big(x_\tau;\ e^{-B/2}\,x_0,\ (1 - e^{-B}) I\big), \qquad
    B = \int_0^\tau \beta(s)\,ds
    $$

    Args:
        x_0: where it starts, any shape.
        integrated_beta: B, the integral of beta over the time passed, at least 0.
    """
    check_operands(x_0=x_0, integrated_beta=integrated_beta)
    check_variance(integrated_beta=integrated_beta)
    return Gaussian(exp(-integrated_beta / 2) * x_0, 1 - exp(-integrated_beta))


# Pixels. -------------------------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Sec. 3.3")
def to_unit_range(pixels: Array) -> Array:
    r"""Pixels 0..255 to [-1, 1], where the noise lives.

    $$
    x = \frac{p}{127.5} - 1
    $$

    Args:
        pixels: 0..255, any shape.
    """
    return pixels / 127.5 - 1


@equation("Ho et al. 2020, Sec. 3.3", derived_from=[to_unit_range])
def from_unit_range(x: Array) -> np.ndarray:
    r"""Back to pixels: the nearest of 0..255; only here is a finished sample clipped.

    $$
    p = \operatorname{round}\big(\min(\max(127.5\,(x + 1),\ 0),\ 255)\big)
    $$

    Args:
        x: samples, any shape, as a NumPy array or a tensor on the CPU.

    Returns:
        A NumPy array of uint8.

    Raises:
        ValueError: when ``x`` holds NaN.
    """
    x = np.asarray(x)
    if np.isnan(x).any():
        raise ValueError("x holds NaN, which is no pixel")
    return np.rint(np.clip(127.5 * (x + 1), 0, 255)).astype(np.uint8)


# The same numbers in other papers' letters, and back. ----------------------------------------------------------------


class SuCoefficients(NamedTuple):
    """Su's letters: square roots of ours, so that alpha^2 + beta^2 = 1."""

    alpha: Array
    beta: Array
    alpha_bar: Array
    beta_bar: Array


class VDMCoefficients(NamedTuple):
    """The letters of VDM, of guidance and of distillation: z_t = alpha x + sigma noise."""

    alpha: Array
    sigma: Array


class EDMCoefficients(NamedTuple):
    """Karras' letters: x_t = scale (x + sigma noise)."""

    scale: Array
    sigma: Array


@equation("Su 2022, part 1, Eqs. 3 and 6", derived_from=[diffuse_once, diffuse])
def su_coefficients(step: Step) -> SuCoefficients:
    r"""Su's letters from ours.

    $$
    \alpha_t^{\mathrm S} = \sqrt{\alpha_t}, \quad \beta_t^{\mathrm S} = \sqrt{\beta_t}, \quad
    \bar\alpha_t^{\mathrm S} = \sqrt{\bar\alpha_t}, \quad \bar\beta_t^{\mathrm S} = \sqrt{1-\bar\alpha_t}
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return SuCoefficients(sqrt(step.alpha), sqrt(step.beta), sqrt(step.alpha_bar), sqrt(step.noise_var))


@equation("Su 2022, part 1, Eq. 6", derived_from=[su_coefficients])
def alpha_bar_from_su(alpha_bar: Array) -> Array:
    r"""Our alpha_bar from Su's.

    $$
    \bar\alpha_t = \big(\bar\alpha_t^{\mathrm S}\big)^2
    $$

    Args:
        alpha_bar: Su's, in [0, 1].
    """
    return alpha_bar**2


@equation("DDIM, Eq. 4", derived_from=[diffuse])
def ddim_coefficients(step: Step) -> Array:
    r"""DDIM's alpha, which is our alpha_bar; the discrete part of the score-SDE paper writes it so too.

    $$
    \alpha_t^{\mathrm{DDIM}} = \bar\alpha_t
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return step.alpha_bar


@equation("DDIM, Eq. 4", derived_from=[ddim_coefficients])
def alpha_bar_from_ddim(alpha: Array) -> Array:
    r"""Our alpha_bar from DDIM's alpha: the same number under another letter.

    $$
    \bar\alpha_t = \alpha_t^{\mathrm{DDIM}}
    $$

    Args:
        alpha: DDIM's, in [0, 1].
    """
    return alpha


@equation("VDM, Eq. 1", derived_from=[diffuse])
def vdm_coefficients(step: Step) -> VDMCoefficients:
    r"""VDM's letters from ours.

    $$
    \alpha_t^{\mathrm{VDM}} = \sqrt{\bar\alpha_t}, \quad \sigma_t^{\mathrm{VDM}} = \sqrt{1-\bar\alpha_t}
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return VDMCoefficients(sqrt(step.alpha_bar), sqrt(step.noise_var))


@equation("VDM, Eq. 2", derived_from=[vdm_coefficients])
def alpha_bar_from_vdm(alpha: Array, sigma: Array) -> Array:
    r"""Our alpha_bar from VDM's alpha and sigma; dividing makes it right for any scale of theirs.

    $$
    \bar\alpha_t = \frac{(\alpha_t^{\mathrm{VDM}})^2}{(\alpha_t^{\mathrm{VDM}})^2 + (\sigma_t^{\mathrm{VDM}})^2}
    $$

    Args:
        alpha: VDM's, at least 0.
        sigma: VDM's, at least 0, not both 0.
    """
    check_operands(alpha=alpha, sigma=sigma)
    return alpha**2 / (alpha**2 + sigma**2)


@equation("Karras et al. 2022, Eq. 4", derived_from=[diffuse])
def edm_coefficients(step: Step) -> EDMCoefficients:
    r"""Karras' letters from ours: the noise level of the sample before it is scaled.

    $$
    s_t = \sqrt{\bar\alpha_t}, \quad \sigma_t^{\mathrm{EDM}} = \sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}
    $$

    Args:
        step: the schedule at t; its alpha_bar must be above 0.
    """
    check_operands(step=step)
    return EDMCoefficients(sqrt(step.alpha_bar), sqrt(step.noise_var / check_signal(alpha_bar=step.alpha_bar)))


@equation("Karras et al. 2022, Eq. 4", derived_from=[edm_coefficients])
def alpha_bar_from_edm(sigma: Array) -> Array:
    r"""Our alpha_bar from Karras' noise level.

    $$
    \bar\alpha_t = \frac{1}{1 + (\sigma_t^{\mathrm{EDM}})^2}
    $$

    Args:
        sigma: Karras', at least 0.
    """
    return 1 / (1 + sigma**2)


@equation("Song et al. 2021, Eq. 11", derived_from=[ornstein_uhlenbeck])
def sde_coefficients(step: Step) -> Array:
    r"""How long the score-SDE paper's process must run to be where ours is at t: B, the integral of its beta.

    $$
    B = -\log\bar\alpha_t
    $$

    Args:
        step: the schedule at t.
    """
    check_operands(step=step)
    return -log(step.alpha_bar)


@equation("Song et al. 2021, Eq. 11", derived_from=[sde_coefficients])
def alpha_bar_from_sde(integrated_beta: Array) -> Array:
    r"""Our alpha_bar from the score-SDE paper's integral of beta.

    $$
    \bar\alpha_t = e^{-B}
    $$

    Args:
        integrated_beta: B, at least 0.
    """
    return exp(-integrated_beta)


# The door: what bad input gets. --------------------------------------------------------------------------------------


def check_operands(**operands: Array) -> None:
    """Refuse what would not go together, by name: no `Step`, two libraries, or shapes that do not broadcast.

    Raises:
        TypeError: when ``step`` is not a `Step`, or the arrays are of two libraries.
        ValueError: when the shapes do not broadcast.
    """
    step = operands.get("step")
    if step is not None:
        if not isinstance(step, Step):
            raise TypeError(f"step must be a Step, as schedule[t] or schedule.at(t, like=x) gives it, got {step!r}")
        operands = {**operands, "step": step.alpha_bar}
    arrays = {name: value for name, value in operands.items() if hasattr(value, "shape") and value.shape != ()}
    if len({type(value).__module__.partition(".")[0] for value in arrays.values()}) > 1:
        kinds = ", ".join(f"{name} is a {_kind(value)}" for name, value in arrays.items())
        raise TypeError(f"all arrays must be of one library, but {kinds}")
    if len({tuple(value.shape) for value in arrays.values()}) > 1:
        try:
            np.broadcast_shapes(*(tuple(value.shape) for value in arrays.values()))
        except ValueError:
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in arrays.items())
            raise ValueError(f"shapes must broadcast, but they are {shapes}") from None


def check_floating(**samples: Array) -> None:
    """Refuse arrays that are not of floating-point numbers, by name.

    Raises:
        TypeError: when one is not.
    """
    for name, value in samples.items():
        if not array_api_compat.array_namespace(value).isdtype(value.dtype, "real floating"):
            raise TypeError(f"{name} must be floating point, got {value.dtype}")


def check_shape(name: str, value: Array, shape: Sequence[int]) -> Array:
    """Refuse another shape, even one that would broadcast; gives the value back.

    Raises:
        ValueError: when the value has another one.
    """
    found = tuple(getattr(value, "shape", ()))
    if found != tuple(shape):
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {found}")
    return value


def check_name(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a choice that is not offered.

    Raises:
        ValueError: when it is none of those allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_variance(**variances: Array) -> None:
    """Refuse a negative or NaN variance, by name (tensors are not read: that could stall their device).

    Raises:
        ValueError: when one is below 0 or NaN.
    """
    for name, value in variances.items():
        if isinstance(value, int | float | np.ndarray) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"{name} must be at least 0, got {value!r}")


def check_positive(**numbers: Array) -> None:
    """Refuse what is not above 0, or NaN, by name (tensors are not read, as in `check_variance`).

    Raises:
        ValueError: when one is not above 0.
    """
    for name, value in numbers.items():
        if isinstance(value, int | float | np.ndarray) and not np.all(np.asarray(value) > 0):
            raise ValueError(f"{name} must be above 0, got {value!r}")


def check_signal(**kept: Array) -> Array:
    """Refuse to divide by an alpha or alpha_bar that is 0, by name; gives the value back.

    Raises:
        ValueError: when it is 0: then nothing of the picture is left in the sample to be recovered.
    """
    ((name, value),) = kept.items()
    if isinstance(value, float) and value == 0:
        raise ValueError(
            f"{name} must be above 0 here: at 0 the noise tells nothing of x_0; predict x_0 or the velocity"
        )
    return value


def _check_schedule(T: int, **betas: float) -> None:
    if isinstance(T, bool) or not isinstance(T, int | np.integer) or T < 1:
        raise ValueError(f"T must be a whole number of at least 1, got {T!r}")
    for name, value in betas.items():
        _check_within(name, value, low=0.0, high=1.0)


def _check_within(name: str, value: float, low: float, high: float, at: str = "") -> None:
    if not low < value <= high:
        raise ValueError(f"{name} must lie in ({low:g}, {high:g}], got {value}{at}")


def _kind(value: Array) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"
