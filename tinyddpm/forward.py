r"""Chapter 1. The forward process: how a picture is turned into noise, and why one jump does it.

Time runs t = 1..T as in Ho et al. 2020, and alpha_bar of t = 0 is 1. `beta` is the variance that a step adds,
`alpha = 1 - beta` the share of variance that it keeps, `alpha_bar` the share kept since the start. Everything is a
variance; a standard deviation is called `std`. Randomness always comes in as an argument.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from .arrays import Array, exp, expm1, is_tensor, log, log1p, sqrt, to_numpy
from .door import check_name
from .equation import equation
from .letters import Gaussian as Gaussian
from .letters import Step as Step

EARLIER = {"step_s must not be after step": "step_s.alpha_bar >= step.alpha_bar"}
"""What a pair of times asks for: s before t."""


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
        beta = _numbers("beta", beta)
        outside = np.flatnonzero(~((beta > 0) & (beta <= 1)))  # NaN too
        if outside.size:
            t = outside[0] + 1
            raise ValueError(f"beta must lie in (0, 1], got {beta[t - 1]} at t = {t}")
        with np.errstate(divide="ignore"):  # beta = 1 is allowed: its logarithm is minus infinity, noise_var is 1
            noise_var = -np.expm1(np.cumsum(np.log1p(-beta)))
        if alpha is None:
            alpha, kept = 1 - beta, alpha_bar(beta)
        else:
            alpha = _numbers("alpha", alpha)
            if alpha.shape != beta.shape or not np.allclose(alpha, 1 - beta, rtol=0, atol=1e-12):
                raise ValueError(f"alpha must be 1 - beta, got {alpha!r}")
            kept = np.cumprod(alpha)
        columns = (beta, alpha, kept, np.append(1.0, kept[:-1]), noise_var, np.append(0.0, noise_var[:-1]))
        for column in columns:
            column.flags.writeable = False
        self.steps = Step._make(columns)
        self._tables: dict[tuple[Any, ...], Array] = {}

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Array) -> Schedule:
        """The schedule whose cumulative products are these: beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}."""
        kept = _numbers("alpha_bar", alpha_bar)
        if not np.all(np.diff(kept, prepend=1.0) < 0) or kept[-1] < 0:
            raise ValueError(f"alpha_bar must fall from below 1 to no less than 0, got {alpha_bar!r}")
        before = np.append(1.0, kept[:-1])
        return cls((before - kept) / before, alpha=kept / before)

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
        return Step._make(float(column[t - 1]) for column in self.steps)

    def __iter__(self) -> Iterator[Step]:
        """The steps at t = 1..T."""
        return (self[t] for t in range(1, self.T + 1))

    def at(self, t: Array, like: Array, since: Array | None = None) -> Step:
        """The steps at a batch of times, shaped to broadcast with a batch of samples.

        Args:
            t: whole numbers in 1..T, one for each sample of ``like``, or a single one for all.
            like: floating-point samples, shape (batch, ...); gives the library, the dtype and the device.
            since: if given, the steps jump from these earlier times to t, as `Step.since` does, but with all digits
                that float64 has; 0 for a jump from x_0. One for each t, or a single one for all. They are computed on
                the CPU, so an accelerator is waited for.

        Raises:
            TypeError: when ``t`` is not of whole numbers or ``like`` is not floating point.
            ValueError: when a t is out of 1..T, ``since`` is not before it or a time at which nothing of x_0 is left,
                or the batch sizes differ.
        """
        try:
            xp, device = array_api_compat.array_namespace(like), array_api_compat.device(like)
        except TypeError:
            raise TypeError(f"like must be an array or a tensor, got {type(like).__name__}") from None
        if str(like.dtype) in ("float16", "torch.float16"):
            raise TypeError(
                "like must not be float16, in which 1 - alpha_bar near t = 1 is lost: take bfloat16 or float32"
            )
        if not xp.isdtype(like.dtype, "real floating"):
            raise TypeError(f"like must be floating point, got {like.dtype}")
        if not (is_tensor(t) and t.device.type != "cpu"):
            t = self._checked(to_numpy(t))
        if t.ndim > 1 or (t.ndim == 1 and (like.ndim == 0 or t.shape[0] not in (1, like.shape[0]))):
            raise ValueError(
                f"t must be one number or one for each sample of like {tuple(like.shape)}, got {tuple(t.shape)}"
            )
        shape = (*t.shape, *[1] * (like.ndim - t.ndim))
        if since is not None:
            jump = self._jump(self._checked(to_numpy(t)), self._checked(to_numpy(since), "since", first=0))
            return Step._make(xp.reshape(xp.asarray(c, dtype=like.dtype, device=device), shape) for c in jump)
        # An index out of range on an accelerator is trapped by the gather; looking at it here would stall the device.
        index = xp.asarray(t, device=device) - 1
        columns = xp.take(self._table(xp, like.dtype, device), xp.reshape(index, (-1,)), axis=1)
        return Step._make(xp.reshape(columns[i, ...], shape) for i in range(len(Step._fields)))

    def _jump(self, t: np.ndarray, since: np.ndarray) -> Step:
        """The jumps from earlier times to t, in float64."""
        if since.shape not in ((), t.shape):
            raise ValueError(f"since must be one number or one for each t {t.shape}, got {since.shape}")
        if np.any(since >= t):
            raise ValueError(f"since must be before t, got {since.tolist()} and {t.tolist()}")
        columns = [np.append(first, column) for first, column in zip(_CLEAN, self.steps, strict=True)]
        start = Step._make(column[np.broadcast_to(since, t.shape)] for column in columns)
        if np.any(start.alpha_bar == 0):
            raise ValueError(f"since must be a time at which something of x_0 is left, got {since.tolist()}")
        return Step._make(column[t] for column in columns).since(start)

    def _checked(self, t: np.ndarray, name: str = "t", first: int = 1) -> np.ndarray:
        if t.dtype.kind not in "iu":
            raise TypeError(f"{name} must be whole numbers from {first} to {self.T}, got {t.dtype}")
        outside = t[(t < first) | (t > self.T)]
        if outside.size:
            raise ValueError(f"{name} must lie in {first}..{self.T}, got {outside.flat[0]}")
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


_CLEAN = (0.0, 1.0, 1.0, 1.0, 0.0, 0.0)
"""The numbers of t = 0: nothing has been added, all is kept."""


def _numbers(name: str, value: Array) -> np.ndarray:
    """A list of at least one number, as float64."""
    try:
        array = to_numpy(value)
    except ValueError:  # rows of different lengths
        array = np.array(value, dtype=object)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a list of numbers, got {value!r}")
    array = array.astype(np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a list of at least one number, got shape {array.shape}")
    return array


# Pixels, samples, one step. ------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, Sec. 3.3")
def to_unit_range(pixels: Array) -> Array:
    r"""Pixels 0..255 to [-1, 1], where the noise lives.

    $$
    x = \frac{p}{127.5} - 1
    $$
    """
    return pixels / 127.5 - 1


@equation("Ho et al. 2020, Sec. 3.3", derived_from=[to_unit_range], unproved="rounds")
def from_unit_range(x: Array) -> np.ndarray:
    r"""Back to pixels: the nearest of 0..255; only here is a finished sample clipped.

    $$
    p = \operatorname{round}\big(\min(\max(127.5\,(x + 1),\ 0),\ 255)\big)
    $$

    Returns:
        A NumPy array of uint8.
    """
    return np.rint(np.clip(127.5 * (to_numpy(x) + 1), 0, 255)).astype(np.uint8)


@equation("Kingma & Welling 2014, Sec. 2.4", where={"var": "[0, inf)"})
def reparameterize(mean: Array, var: Array, noise: Array) -> Array:
    r"""A sample of $\mathcal N(\mu, \sigma^2)$, made of a sample of $\mathcal N(0, 1)$.

    $$
    x = \mu + \sqrt{\sigma^2}\,\epsilon
    $$
    """
    return mean + sqrt(var) * noise


@equation("Ho et al. 2020, Eq. 2")
def transition(x_prev: Array, step: Step) -> Gaussian:
    r"""One step of noising: shrink what is there, add fresh noise.

    $$
    q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big)
    $$
    """
    return Gaussian(sqrt(step.alpha) * x_prev, step.beta)


@equation("Song et al. 2021, Eq. 10", derived_from=[transition, reparameterize])
def diffuse_once(x_prev: Array, noise: Array, step: Step) -> Array:
    r"""One step of noising, as a sample.

    $$
    x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\epsilon
    $$
    """
    return reparameterize(*transition(x_prev, step), noise)


@equation("Ho et al. 2020, Sec. 4", unproved="schedule")
def linear(T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
    r"""The schedule of DDPM: beta grows in equal steps.

    $$
    \beta_t = \beta_1 + \frac{t-1}{T-1}\,(\beta_T - \beta_1)
    $$

    The betas are made for T = 1000, where alpha_bar ends at 4e-5. With T = 10 the same ones end at 0.904: x_T is mostly x_0
    then, and no noise to begin sampling from. With fewer steps, take larger betas, or `respace` the long schedule.
    """
    return Schedule(np.linspace(beta_1, beta_T, T))


# Why the sample is shrunk. -------------------------------------------------------------------------------------------


@equation("derived here", derived_from=[diffuse_once], where={"var": "[0, inf)"})
def variance_after(var: Array, step: Step) -> Array:
    r"""The variance after one step, from the variance before: 1 stays 1.

    $$
    \sigma_t^2 = \alpha_t\,\sigma_{t-1}^2 + \beta_t
    $$
    """
    return step.alpha * var + step.beta


@equation("Song et al. 2021, Eq. 9")
def brownian(x_0: Array, time: Array) -> Gaussian:
    r"""Brownian motion, the variance-exploding diffusion: the start is never forgotten, the variance never stops.

    $$
    q(x_\tau \mid x_0) = \mathcal N\big(x_\tau;\ x_0,\ \tau I\big)
    $$
    """
    return Gaussian(x_0, time)


@equation(
    "Song et al. 2021, Eq. 11",
    derived_from=[diffuse_once, variance_after],
    where={"integrated_beta": "[0, inf]"},
)
def ornstein_uhlenbeck(x_0: Array, integrated_beta: Array) -> Gaussian:
    r"""The variance-preserving diffusion, which the forward process discretises: it forgets where it began.

    $$
    q(x_\tau \mid x_0) = \mathcal N\big(x_\tau;\ e^{-B/2}\,x_0,\ (1 - e^{-B}) I\big), \qquad
    B = \int_0^\tau \beta(s)\,ds
    $$
    """
    return Gaussian(exp(-integrated_beta / 2) * x_0, -expm1(-integrated_beta))


# Why two steps are one, and all of them one jump. --------------------------------------------------------------------


@equation("Luo 2022, Eqs. 61-70")
def merged_variance(var_a: Array, var_b: Array, a: Array, b: Array) -> Array:
    r"""The variance of a weighted sum of two independent noises A and B: variances add, standard deviations do not.

    $$
    \operatorname{Var}(aA + bB) = a^2\,\sigma_A^2 + b^2\,\sigma_B^2
    $$
    """
    return a**2 * var_a + b**2 * var_b


@equation("Billingsley 1995, Sec. 26", where={"var": "[0, inf)"})
def characteristic_function(u: Array, mean: Array, var: Array) -> Array:
    r"""The characteristic function of a Gaussian, $\mathbb E\,e^{iuX}$.

    $$
    \varphi(u) = \exp\Big(i\,u\,\mu - \frac{\sigma^2 u^2}{2}\Big)
    $$

    Of independent variables it multiplies, and no two distributions share one: that is why the sum of two Gaussian
    noises is again Gaussian, and not only of the right variance.
    """
    return exp(1j * u * mean - var * u**2 / 2)


@equation("Luo 2022, Eqs. 61-70", derived_from=[transition, merged_variance])
def two_steps(x_prev_prev: Array, step_prev: Step, step: Step) -> Gaussian:
    r"""Two steps of noising are one: the older noise is shrunk once, and the two variances add.

    $$
    q(x_t \mid x_{t-2}) = \mathcal N\big(x_t;\ \sqrt{\alpha_t\,\alpha_{t-1}}\,x_{t-2},\ (1-\alpha_t\,\alpha_{t-1}) I\big)
    $$
    """
    var = merged_variance(step_prev.beta, step.beta, a=sqrt(step.alpha), b=1)
    return Gaussian(sqrt(step.alpha * step_prev.alpha) * x_prev_prev, var)


@equation("Ho et al. 2020, Sec. 2", shapes="beta (T)", unproved="steps")
def alpha_bar(beta: Array) -> np.ndarray:
    r"""How much of the variance is still the picture's after t steps: the product of all alphas so far.

    $$
    \bar\alpha_t = \prod_{s=1}^t (1 - \beta_s), \qquad \bar\alpha_0 = 1
    $$

    Returns:
        alpha_bar_1..alpha_bar_T.
    """
    return np.cumprod(1 - beta)


@equation("Ho et al. 2020, Eq. 4", derived_from=[transition, two_steps, characteristic_function, alpha_bar])
def marginal(x_0: Array, step: Step) -> Gaussian:
    r"""All t steps of noising in one.

    $$
    q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\big)
    $$
    """
    return Gaussian(sqrt(step.alpha_bar) * x_0, step.noise_var)


@equation("Ho et al. 2020, Sec. 3.2", derived_from=[marginal, reparameterize])
def diffuse(x_0: Array, noise: Array, step: Step) -> Array:
    r"""A sample at t, in one jump from the clean one.

    $$
    x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon
    $$
    """
    return reparameterize(*marginal(x_0, step), noise)


@equation(
    "VDM, Eqs. 20-22",
    derived_from=[marginal, merged_variance],
    where={"step_s.alpha_bar": "(0, 1]"},
    require=EARLIER,
)
def skip(x_s: Array, step_s: Step, step: Step) -> Gaussian:
    r"""From any time s to any later time t.

    $$
    q(x_t \mid x_s) = \mathcal N\Big(x_t;\ \sqrt{\frac{\bar\alpha_t}{\bar\alpha_s}}\,x_s,\
    \Big(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\Big) I\Big)
    $$

    The code takes both numbers from `Step.since`, where no more digits cancel than must.
    """
    jump = step.since(step_s)
    return Gaussian(sqrt(jump.alpha) * x_s, jump.beta)


@equation("Ho et al. 2020, Eq. 2", derived_from=[transition], shapes="path (T+1, ...)", unproved="steps")
def path_log_prob(path: Array, schedule: Schedule) -> Array:
    r"""Log-density of a whole noising path given its start: a Markov chain, so the steps multiply.

    $$
    \log q(x_{1:T} \mid x_0) = \sum_{t=1}^T \log q(x_t \mid x_{t-1})
    $$

    Args:
        path: x_0..x_T stacked, shape (T + 1, ...).

    Returns:
        One number in nats: the sum over t and over all coordinates.
    """
    step = schedule.at(np.arange(1, schedule.T + 1), like=path[1:])
    mean, var = transition(path[:-1], step)
    square = (path[1:] - mean) ** 2
    return -(square / var + log(2 * math.pi * var)).sum() / 2


# What a network may predict, and how each of them gives the others. ---------------------------------------------------


@equation("Ho et al. 2020, Eq. 15", derived_from=[diffuse], where={"step.alpha_bar": "(0, 1]"})
def predict_x0(x_t: Array, noise: Array, step: Step) -> Array:
    r"""The clean sample that belongs to a noisy one and its noise: the jump, solved for x_0.

    $$
    \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}
    $$
    """
    return (x_t - sqrt(step.noise_var) * noise) / sqrt(step.alpha_bar)


@equation("DDIM, Eq. 7", derived_from=[diffuse])
def predict_noise(x_t: Array, x_0: Array, step: Step) -> Array:
    r"""The noise that leads from a clean sample to a noisy one: the jump, solved for the noise.

    $$
    \epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}}
    $$
    """
    return (x_t - sqrt(step.alpha_bar) * x_0) / sqrt(step.noise_var)


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse])
def velocity(x_0: Array, noise: Array, step: Step) -> Array:
    r"""The velocity: how x_t moves when picture and noise are turned into each other.

    $$
    v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0
    $$
    """
    return sqrt(step.alpha_bar) * noise - sqrt(step.noise_var) * x_0


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse, velocity])
def x0_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The clean sample, from a noisy one and its velocity; no division, so it holds where alpha_bar is 0 too.

    $$
    \hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v
    $$
    """
    return sqrt(step.alpha_bar) * x_t - sqrt(step.noise_var) * velocity


@equation("Salimans & Ho 2022, Sec. 4 and App. D", derived_from=[diffuse, velocity])
def noise_from_velocity(x_t: Array, velocity: Array, step: Step) -> Array:
    r"""The noise, from a noisy sample and its velocity.

    $$
    \hat\epsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,v
    $$
    """
    return sqrt(step.noise_var) * x_t + sqrt(step.alpha_bar) * velocity


class Prediction(NamedTuple):
    """What a network may predict: the target of its training, and the x_0 that its output amounts to."""

    target: Callable[[Array, Array, Step], Array]
    x_0: Callable[[Array, Array, Step], Array]


PREDICTIONS = {
    "noise": Prediction(lambda x_0, noise, step: noise, predict_x0),
    "x_0": Prediction(lambda x_0, noise, step: x_0, lambda x_t, x_0, step: x_0),
    "velocity": Prediction(velocity, x0_from_velocity),
}
"""Every prediction, by name: ``target(x_0, noise, step)`` and ``x_0(x_t, output, step)``."""


# How much is left. ---------------------------------------------------------------------------------------------------


@equation("VDM, Eq. 2; Lin et al. 2023, Eq. 5", derived_from=[marginal])
def snr(step: Step) -> Array:
    r"""Signal-to-noise ratio: the picture's share of the variance over the noise's.

    $$
    \mathrm{SNR}(t) = \frac{\bar\alpha_t}{1-\bar\alpha_t}
    $$
    """
    return step.alpha_bar / step.noise_var


@equation("VDM, Eq. 5", derived_from=[snr])
def log_snr(step: Step) -> Array:
    r"""Logarithm of the signal-to-noise ratio; minus infinity where alpha_bar is 0.

    $$
    \log\mathrm{SNR}(t) = \log\bar\alpha_t - \log(1-\bar\alpha_t)
    $$
    """
    return step.log_alpha_bar - log(step.noise_var)


@equation(
    "derived here",
    derived_from=[log_snr, skip],
    where={"step_s.noise_var": "(0, 1]", "step_s.alpha_bar": "(0, 1]"},
    require=EARLIER,
)
def log_snr_gain(step: Step, step_s: Step) -> Array:
    r"""How much the logarithm of the signal-to-noise ratio grows from t back to s; infinite where alpha_bar_t is 0.

    $$
    \log\mathrm{SNR}(s) - \log\mathrm{SNR}(t)
    = \log\frac{\bar\alpha_s}{1-\bar\alpha_s} - \log\frac{\bar\alpha_t}{1-\bar\alpha_t}
    $$

    The code writes it as $\log\frac{1-\bar\alpha_t}{1-\bar\alpha_s} - \log\frac{\bar\alpha_t}{\bar\alpha_s}$ and takes both from the
    jump from s to t: between two near times no digits cancel.
    """
    jump = step.since(step_s)
    more_noise = jump.beta * step_s.alpha_bar / step_s.noise_var
    return log1p(more_noise) - jump.log_alpha


# The other schedules, and their end. ---------------------------------------------------------------------------------


@equation("Rombach et al. 2022, released code; Lin et al. 2023, Table 1", unproved="schedule")
def scaled_linear(T: int = 1000, beta_1: float = 0.00085, beta_T: float = 0.012) -> Schedule:
    r"""The schedule of latent diffusion: the square root of beta grows in equal steps.

    $$
    \beta_t = \Big(\sqrt{\beta_1} + \frac{t-1}{T-1}\,\big(\sqrt{\beta_T} - \sqrt{\beta_1}\big)\Big)^2
    $$
    """
    return Schedule(np.linspace(sqrt(beta_1), sqrt(beta_T), T) ** 2)


@equation("Su 2022, part 1, Eq. 18", unproved="schedule")
def proportional(T: int = 1000, beta_T: float = 0.02) -> Schedule:
    r"""Beta in proportion to t: close to DDPM's schedule, and easier to sum.

    $$
    \beta_t = \beta_T\,\frac{t}{T}
    $$
    """
    return Schedule(beta_T * (np.arange(1, T + 1) / T))


@equation("Nichol & Dhariwal 2021, Eq. 17", unproved="schedule")
def cosine(T: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> Schedule:
    r"""The cosine schedule: alpha_bar follows a squared cosine down to 0, and beta is kept below ``beta_max``.

    $$
    \beta_t = \min\Big(1 - \frac{f(t)}{f(t-1)},\ \beta_{\max}\Big), \qquad
    f(t) = \cos^2\Big(\frac{t/T + s}{1 + s}\cdot\frac{\pi}{2}\Big)
    $$

    With $a$ and $b$ the angles at t and t - 1 and $m$ half-way between them, the code uses
    $1 - \cos^2 a / \cos^2 b = 2 \sin m \cos m\,\sin(a - b)/\cos^2 b$, where no digits cancel. A cosine is taken as the sine
    of what is missing to a right angle, which is exact where it comes near 0.
    """
    turn, t = math.pi / 2 / (1 + s), np.arange(1, T + 1)
    sin_m = np.sin(turn * ((t - 0.5) / T + s))
    cos_m = np.sin(turn * ((T - t + 0.5) / T))
    cos_b = np.sin(turn * ((T - t + 1) / T))
    beta = 2 * sin_m * cos_m * np.sin(turn / T) / cos_b**2
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


@equation("derived here", derived_from=[alpha_bar, proportional], where={"beta_T": "number (0, 1)"})
def log_alpha_bar_limit(T: Array, beta_T: Array) -> Array:
    r"""How small alpha_bar gets when beta grows in proportion to t: the sum of logarithms, as an integral.

    $$
    \log\bar\alpha_T \approx T \int_0^1 \log(1 - \beta_T u)\,du
    = -T\,\frac{(1-\beta_T)\log(1-\beta_T) + \beta_T}{\beta_T}
    $$
    """
    return -T * ((1 - beta_T) * log1p(-beta_T) + beta_T) / beta_T


@equation(
    "Lin et al. 2023, Alg. 1",
    where={"schedule.T": "[2, inf)"},
    require={"schedule must keep something of x_0 until its last step": "schedule.steps.alpha_bar_prev[-1] > 0"},
    unproved="schedule",
)
def zero_terminal_snr(schedule: Schedule) -> Schedule:
    r"""Shift and stretch the square roots of alpha_bar so that nothing of the picture is left at T.

    $$
    \sqrt{\bar\alpha_t}' = \sqrt{\bar\alpha_1}\;
    \frac{\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_T}}{\sqrt{\bar\alpha_1} - \sqrt{\bar\alpha_T}}
    $$

    The first step stays as it is and the last beta becomes 1. The code works with the falls of the square root from
    one t to the next, and sums them from the end, so that nothing is lost where they are small.
    """
    beta, alpha, _, kept, *_ = schedule.steps
    fall = (sqrt(kept) * beta / (1 + sqrt(alpha)))[1:]  # from t - 1 to t
    left = np.append(np.cumsum(fall[::-1])[::-1], 0.0)  # from t to T
    lost = fall * (left[:-1] + left[1:]) / left[:-1] ** 2
    rest = (left[1:] / left[:-1]) ** 2
    return Schedule(np.append(beta[0], lost), np.append(alpha[0], rest))


@equation(
    "Nichol & Dhariwal 2021, Sec. 4",
    require={
        "taus must rise": "taus[1:] > taus[:-1]",
        "schedule must keep something of x_0 at all taus but the last": "schedule.steps.alpha_bar[taus[:-1] - 1] > 0",
    },
    shapes="taus (n)",
    unproved="schedule",
)
def respace(schedule: Schedule, taus: Sequence[int]) -> Schedule:
    r"""A schedule that visits only some times: the betas between two of them are merged into one.

    $$
    \beta_i = 1 - \frac{\bar\alpha_{\tau_i}}{\bar\alpha_{\tau_{i-1}}}, \qquad \bar\alpha_{\tau_0} = 1
    $$

    The code sums the logarithms of the alphas between two times, so that no digits cancel where they are near 1.
    """
    last, starts = taus[-1], np.append(0, taus[:-1])
    falls = np.add.reduceat(log1p(-schedule.beta[:last]), starts)
    kept = np.multiply.reduceat(schedule.steps.alpha[:last], starts)
    return Schedule(-expm1(falls), alpha=kept)


# The same numbers in other papers' letters, and back. ----------------------------------------------------------------


class SuCoefficients(NamedTuple):
    """Su's letters: square roots of ours, so that alpha^2 + beta^2 = 1."""

    alpha: Array
    beta: Array
    alpha_bar: Array
    beta_bar: Array


@equation("Su 2022, part 1, Eqs. 3 and 6", derived_from=[diffuse_once, diffuse])
def su_coefficients(step: Step) -> SuCoefficients:
    r"""Su's letters from ours.

    $$
    \alpha_t^{\mathrm S} = \sqrt{\alpha_t}, \quad \beta_t^{\mathrm S} = \sqrt{\beta_t}, \quad
    \bar\alpha_t^{\mathrm S} = \sqrt{\bar\alpha_t}, \quad \bar\beta_t^{\mathrm S} = \sqrt{1-\bar\alpha_t}
    $$
    """
    once = sqrt(step.alpha), sqrt(step.beta)
    return SuCoefficients(*once, sqrt(step.alpha_bar), sqrt(step.noise_var))


@equation("Su 2022, part 1, Eq. 6", derived_from=[su_coefficients])
def alpha_bar_from_su(su_alpha_bar: Array) -> Array:
    r"""Our alpha_bar from Su's.

    $$
    \bar\alpha_t = \big(\bar\alpha_t^{\mathrm S}\big)^2
    $$
    """
    return su_alpha_bar**2


@equation("DDIM, Eq. 4", derived_from=[diffuse])
def ddim_coefficients(step: Step) -> Array:
    r"""DDIM's alpha, which is our alpha_bar; the discrete part of the score-SDE paper writes it so too.

    $$
    \alpha_t^{\mathrm{DDIM}} = \bar\alpha_t
    $$
    """
    return step.alpha_bar


@equation("DDIM, Eq. 4", derived_from=[ddim_coefficients])
def alpha_bar_from_ddim(ddim_alpha: Array) -> Array:
    r"""Our alpha_bar from DDIM's alpha: the same number under another letter.

    $$
    \bar\alpha_t = \alpha_t^{\mathrm{DDIM}}
    $$
    """
    return ddim_alpha


class VDMCoefficients(NamedTuple):
    """The letters of VDM, of guidance and of distillation: z_t = alpha x + sigma noise."""

    alpha: Array
    sigma: Array


@equation("VDM, Eq. 1", derived_from=[diffuse])
def vdm_coefficients(step: Step) -> VDMCoefficients:
    r"""VDM's letters from ours.

    $$
    \alpha_t^{\mathrm{VDM}} = \sqrt{\bar\alpha_t}, \quad \sigma_t^{\mathrm{VDM}} = \sqrt{1-\bar\alpha_t}
    $$
    """
    return VDMCoefficients(sqrt(step.alpha_bar), sqrt(step.noise_var))


@equation(
    "VDM, Eq. 2",
    derived_from=[vdm_coefficients],
    require={"one of vdm_alpha and vdm_sigma must be above 0": "vdm_alpha**2 + vdm_sigma**2 > 0"},
)
def alpha_bar_from_vdm(vdm_alpha: Array, vdm_sigma: Array) -> Array:
    r"""Our alpha_bar from VDM's alpha and sigma; dividing makes it right for any scale of theirs.

    $$
    \bar\alpha_t = \frac{(\alpha_t^{\mathrm{VDM}})^2}{(\alpha_t^{\mathrm{VDM}})^2 + (\sigma_t^{\mathrm{VDM}})^2}
    $$
    """
    return vdm_alpha**2 / (vdm_alpha**2 + vdm_sigma**2)


class EDMCoefficients(NamedTuple):
    """Karras' letters: x_t = scale (x + sigma noise)."""

    scale: Array
    sigma: Array


@equation("Karras et al. 2022, Eq. 4", derived_from=[diffuse], where={"step.alpha_bar": "(0, 1]"})
def edm_coefficients(step: Step) -> EDMCoefficients:
    r"""Karras' letters from ours: the noise level of the sample before it is scaled.

    $$
    s_t = \sqrt{\bar\alpha_t}, \quad \sigma_t^{\mathrm{EDM}} = \sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}
    $$
    """
    ratio = step.noise_var / step.alpha_bar
    return EDMCoefficients(sqrt(step.alpha_bar), sqrt(ratio))


@equation("Karras et al. 2022, Eq. 4", derived_from=[edm_coefficients])
def alpha_bar_from_edm(edm_sigma: Array) -> Array:
    r"""Our alpha_bar from Karras' noise level.

    $$
    \bar\alpha_t = \frac{1}{1 + (\sigma_t^{\mathrm{EDM}})^2}
    $$
    """
    return 1 / (1 + edm_sigma**2)


@equation("Song et al. 2021, Eq. 11", derived_from=[ornstein_uhlenbeck])
def sde_coefficients(step: Step) -> Array:
    r"""How long the score-SDE paper's process must run to be where ours is at t: B, the integral of its beta.

    It is infinite where alpha_bar is 0.

    $$
    B = -\log\bar\alpha_t
    $$
    """
    return -step.log_alpha_bar


@equation("Song et al. 2021, Eq. 11", derived_from=[sde_coefficients], where={"integrated_beta": "[0, inf]"})
def alpha_bar_from_sde(integrated_beta: Array) -> Array:
    r"""Our alpha_bar from the score-SDE paper's integral of beta.

    $$
    \bar\alpha_t = e^{-B}
    $$
    """
    return exp(-integrated_beta)
