r"""Chapter 6. Training and sampling: Algorithms 1 and 2, on a network small enough for a laptop.

A model is any callable ``model(x_t, t)``: it gets noisy samples, shape (batch, ...), and their times, whole
numbers in 1..T, shape (batch,), and answers in the shape of ``x_t``. What the answer means is named by
``predicts``: the "noise", "x_0" or the "velocity". `unet` has a network, `data` pictures, `loop` the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import array_api_compat

from .. import forward, posterior
from ..equation import Array, equation
from ..forward import Schedule, Step, check_operands

if TYPE_CHECKING:  # the command line reads this chapter for its help, and torch takes long to import
    import torch

Model: TypeAlias = Callable[[Any, Any], Any]
"""``model(x_t, t)``, see above."""

PREDICTS = ("noise", "x_0", "velocity")
"""What a model may answer."""

SAMPLERS = ("ancestral", "ddim")
"""Algorithm 2, and the sampler of DDIM."""

VARIANCES = ("beta", "posterior")
"""The two choices of DDPM for the variance of an ancestral step."""


# Algorithm 1. -----------------------------------------------------------------------------------------------


@equation("Ho et al. 2020, App. B")
def time_embedding(t: Array, dims: int) -> Array:
    r"""The time as sines and cosines: fast ones tell neighbours apart, slow ones far from near.

    $$
    e(t)_i = \sin(\omega_i t), \qquad e(t)_{i + d/2} = \cos(\omega_i t), \qquad
    \omega_i = 10000^{-2i/d}, \qquad i = 0, \dots, d/2 - 1
    $$

    Args:
        t: times, one for each sample, shape (batch,).
        dims: d, how many numbers describe a time; even, at least 2.

    Returns:
        A row for each time, shape (batch, d): float32 for whole numbers, else in the dtype of ``t``.
    """
    if dims < 2 or dims % 2:
        raise ValueError(f"dims must be an even number of at least 2, got {dims}")
    if t.ndim != 1:
        raise ValueError(f"t must have one time for each sample, shape (batch,), got shape {tuple(t.shape)}")
    xp = array_api_compat.array_namespace(t)
    t = t if xp.isdtype(t.dtype, "real floating") else xp.astype(t, xp.float32)
    i = xp.arange(dims // 2, dtype=t.dtype, device=array_api_compat.device(t))
    angle = t[:, None] * 10000 ** (-2 * i / dims)
    return xp.concat([xp.sin(angle), xp.cos(angle)], axis=1)


@equation("VDM, low-discrepancy sampling of t")
def stratified_times(u: Array, batch: int, T: int) -> Array:
    r"""Times for a batch, spread evenly: each is uniform on 1..T, but together they leave no gap.

    $$
    t_i = 1 + \Big\lfloor T \cdot \Big(\big(u + \tfrac{i}{B}\big) \bmod 1\Big) \Big\rfloor, \qquad
    i = 0, \dots, B - 1
    $$

    Args:
        u: one uniform random number in [0, 1), as an array or tensor of shape () or (1,), in float64.
        batch: B, how many times.
        T: the last time.

    Returns:
        Whole numbers (int64), shape (batch,).
    """
    xp = array_api_compat.array_namespace(u)
    place = (u + xp.arange(batch, dtype=u.dtype, device=array_api_compat.device(u)) / batch) % 1
    return 1 + xp.astype(xp.floor(T * place), xp.int64)


@equation("Ho et al. 2020, Alg. 1 and Eq. 14", derived_from=[forward.diffuse, forward.velocity])
def training_loss(
    model: Model, x_0: Array, t: Array, noise: Array, schedule: Schedule, predicts: str = "noise"
) -> Array:
    r"""Algorithm 1: noise the clean samples to their times, and see what the model makes of them.

    $$
    L = \big\lVert y - f_\theta(x_t, t)\big\rVert^2, \qquad
    x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon
    $$

    The target $y$ is $\epsilon$, $x_0$ or $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$.

    Args:
        model: the network $f_\theta$, called as ``model(x_t, t)``.
        x_0: clean samples, shape (batch, ...).
        t: times in 1..T, shape (batch,).
        noise: standard normal, in the shape of ``x_0``.
        schedule: T steps.
        predicts: what the model answers: "noise", "x_0" or "velocity".

    Returns:
        The squared norm for each sample, shape (batch,): a sum over the data's dimensions, no mean yet.
    """
    _check_name("predicts", predicts, PREDICTS)
    _check_shape("noise", noise, x_0.shape)
    step = schedule.at(t, like=x_0)
    answer = _check_shape("model(x_t, t)", model(forward.diffuse(x_0, noise, step), t), x_0.shape)
    target = {"noise": noise, "x_0": x_0, "velocity": forward.velocity(x_0, noise, step)}[predicts]
    return ((target - answer) ** 2).reshape(x_0.shape[0], -1).sum(1)


@equation("Ho et al. 2020, App. B")
def ema_update(average: Array, value: Array, decay: Array) -> Array:
    r"""The exponential moving average of the weights, one step on.

    $$
    \bar\theta \leftarrow \lambda\,\bar\theta + (1 - \lambda)\,\theta
    $$

    Args:
        average: the average so far, any shape.
        value: the new weights, in the shape of ``average``.
        decay: $\lambda$, how much of the average is kept, in [0, 1].
    """
    check_operands(average=average, value=value)
    if isinstance(decay, float | int) and not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], got {decay!r}")
    return decay * average + (1 - decay) * value


# Algorithm 2. -----------------------------------------------------------------------------------------------


@equation("Ho & Salimans 2022, Eq. 6")
def guided_noise(noise_cond: Array, noise_uncond: Array, w: Array) -> Array:
    r"""Classifier-free guidance: past the conditional prediction, away from the unconditional one.

    $$
    \tilde\epsilon = (1 + w)\,\epsilon(x_t, c) - w\,\epsilon(x_t)
    $$

    With w = 0 there is no guidance; elsewhere the same number is often written as a scale of 1 + w.

    Args:
        noise_cond: the noise predicted for a class or a text c.
        noise_uncond: the noise predicted without one, in the same shape.
        w: the strength.
    """
    check_operands(noise_cond=noise_cond, noise_uncond=noise_uncond)
    return (1 + w) * noise_cond - w * noise_uncond


def visited_times(T: int, steps: int) -> list[int]:
    """The times that a sampler of so many steps visits: evenly from 1 to T, both included (T, if only one).

    Raises:
        ValueError: when ``steps`` is not in 1..T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1..{T}, got {steps}")
    return [T] if steps == 1 else [1 + (T - 1) * i // (steps - 1) for i in range(steps)]


@equation(
    "Ho et al. 2020, Alg. 2; DDIM, Eq. 12",
    derived_from=[posterior.ancestral_step, posterior.ddim_step, forward.respace],
)
def sample_path(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    rng: torch.Generator,
    sampler: str = "ancestral",
    steps: int | None = None,
    eta: float = 0.0,
    variance: str = "beta",
    clip: float | None = 1.0,
    predicts: str = "noise",
    dtype: torch.dtype | None = None,
) -> Iterator[torch.Tensor]:
    r"""Sampling, for those who want to watch: noise alone, then every state on the way back, and x_0 last.

    $$
    x_T \sim \mathcal N(0, I), \qquad
    x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\Big(x_t -
    \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t, t)\Big) + \sigma_t\,z,
    \qquad t = T, \dots, 1
    $$

    Args:
        model: the network, called as ``model(x_t, t)``; t is in 1..T also where steps are left out.
        schedule: the one it was trained with.
        shape: of the samples, (batch, ...).
        rng: gives x_T first and then one z for every step. Its device is where the samples are made.
        sampler: "ancestral" for Algorithm 2, "ddim" for DDIM's step.
        steps: how many times to visit, spread evenly from T to 1; all T if not given.
        eta: for DDIM: how much of the noise is fresh, from 0 for none to 1 for the "posterior" variance.
        variance: for Algorithm 2: $\sigma_t^2$ is $\beta_t$ for "beta", $\tilde\beta_t$ for "posterior".
        clip: the predicted x_0 is clipped to [-clip, clip]; None for no clipping.
        predicts: what the model answers: "noise", "x_0" or "velocity".
        dtype: of the samples; torch's default if not given.
    """
    import torch

    _check_name("sampler", sampler, SAMPLERS)
    _check_name("variance", variance, VARIANCES)
    _check_name("predicts", predicts, PREDICTS)
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, or None, got {clip!r}")
    times = visited_times(schedule.T, schedule.T if steps is None else steps)
    respaced = forward.respace(schedule, times)  # the betas of the steps between two visited times are merged
    x = torch.randn(*shape, generator=rng, device=rng.device, dtype=dtype)
    yield x
    for i in range(len(times), 0, -1):
        step, t = respaced[i], torch.full((x.shape[0],), times[i - 1], device=x.device)
        z = torch.randn(*shape, generator=rng, device=rng.device, dtype=dtype)
        with torch.no_grad():
            answer = _check_shape("model(x_t, t)", model(x, t), x.shape)
            x_0 = predicted_x0(answer, x, step, predicts)  # every step goes by x_0: it is known at alpha_bar = 0 too
            x_0 = x_0 if clip is None else x_0.clamp(-clip, clip)
            if sampler == "ddim":
                noise = forward.predict_noise(x, x_0, step)
                x = posterior.ddim_renoise(x_0, noise, z, step.alpha_bar, step.alpha_bar_prev, eta)
            else:
                var = step.beta if variance == "beta" else posterior.variance(step)
                x = forward.reparameterize(posterior.mean(x, x_0, step), var, z if i > 1 else 0 * z)
        yield x


@equation("Ho et al. 2020, Eq. 1 and Alg. 2", derived_from=[sample_path])
def sample(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    rng: torch.Generator,
    sampler: str = "ancestral",
    steps: int | None = None,
    **options: Any,
) -> torch.Tensor:
    r"""New samples: where the path ends.

    $$
    x_0 \sim p_\theta(x_0) = \int p(x_T) \prod_{t=1}^T p_\theta(x_{t-1} \mid x_t)\,dx_{1:T}
    $$

    Args:
        model: the network, as for `sample_path`.
        schedule: the one it was trained with.
        shape: of the samples, (batch, ...).
        rng: a generator.
        sampler: "ancestral" or "ddim".
        steps: how many times to visit; all T if not given.
        options: what else `sample_path` takes.
    """
    *_, x_0 = sample_path(model, schedule, shape, rng, sampler, steps, **options)
    return x_0


def predicted_x0(answer: Array, x_t: Array, step: Step, predicts: str) -> Array:
    """The x_0 that the model's answer amounts to."""
    if predicts == "noise":
        return forward.predict_x0(x_t, answer, step)
    return forward.x0_from_velocity(x_t, answer, step) if predicts == "velocity" else answer


def _check_name(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _check_shape(name: str, value: Array, shape: Any) -> Array:
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(value.shape)}")
    return value
