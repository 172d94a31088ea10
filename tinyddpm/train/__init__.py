r"""Chapter 6. Training and sampling: Algorithms 1 and 2, on a network small enough for a laptop.

A model is any callable ``model(x_t, t)``: it gets noisy samples, shape (batch, ...), and their times, whole
numbers in 1..T, shape (batch,), and answers in the shape of ``x_t``. What the answer means is named by
``predicts``: the "noise", "x_0" or the "velocity". `unet` has a network, `data` pictures, `loop` the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import array_api_compat

from .. import elbo, forward, posterior
from ..elbo import PREDICTS, predicted_x0
from ..equation import Array, equation, log, sqrt
from ..forward import Schedule, check_name, check_operands, check_shape

if TYPE_CHECKING:  # the command line reads this chapter for its help, and torch takes long to import
    import torch

Model: TypeAlias = Callable[[Any, Any], Any]
"""``model(x_t, t)``, see above."""

SAMPLERS = ("ancestral", "ddim", "second_order")
"""Algorithm 2, the sampler of DDIM, and one that needs few steps."""

VARIANCES = ("beta", "posterior", "learned")
"""The variance of an ancestral step: the two choices of DDPM, or what the model says."""


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
    check_name("predicts", predicts, PREDICTS)
    check_shape("noise", noise, x_0.shape)
    step = schedule.at(t, like=x_0)
    answer = check_shape("model(x_t, t)", model(forward.diffuse(x_0, noise, step), t), x_0.shape)
    target = {"noise": noise, "x_0": x_0, "velocity": forward.velocity(x_0, noise, step)}[predicts]
    return ((target - answer) ** 2).reshape(x_0.shape[0], -1).sum(1)


@equation(
    "Nichol & Dhariwal 2021, Eq. 16",
    derived_from=[training_loss, elbo.hybrid_loss, elbo.denoising_matching, posterior.interpolated_variance],
)
def learned_variance_loss(
    model: Model,
    x_0: Array,
    t: Array,
    noise: Array,
    schedule: Schedule,
    predicts: str = "noise",
    weight: float = 0.001,
) -> Array:
    r"""Algorithm 1 for a model that says its variance too: the bound teaches that, and the mean is held fixed in it.

    $$
    L = \big\lVert y - f_\theta(x_t, t)\big\rVert^2 + \lambda\,T\,
    D_{\mathrm{KL}}\big(q(x_{t-1} \mid x_t, x_0)\,\big\Vert\,\mathcal N(\mu,\ \beta_t^{v}\,\tilde\beta_t^{\,1-v})\big)
    $$

    Args:
        model: answers with twice the channels of ``x_t``: what it predicts, and $2v - 1$.
        x_0: clean samples, shape (batch, channels, ...).
        t: times in 1..T, shape (batch,). At t = 1 there is nothing to learn of a step without noise.
        noise: standard normal, in the shape of ``x_0``.
        schedule: at least two steps.
        predicts: what the first half of the answer is: "noise", "x_0" or "velocity".
        weight: $\lambda$.
    """
    said: list[Any] = []

    def first_half(x_t: Array, t: Array) -> Array:
        answer, v = _halves(model(x_t, t), x_t)
        said.extend((x_t, answer.detach(), (v + 1) / 2))
        return answer

    simple = training_loss(first_half, x_0, t, noise, schedule, predicts)
    x_t, answer, v = said
    step = schedule.at(t.clamp(min=2), like=x_0)
    mean = posterior.mean(x_t, predicted_x0(x_t, answer, step, predicts), step)
    bound = elbo.denoising_matching(x_t, x_0, mean, posterior.interpolated_variance(v, step), step)
    return elbo.hybrid_loss(simple, schedule.T * bound * (t > 1), weight)


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


def guided(model: Callable[[Any, Any, Any], Any], labels: Any, w: float = 0.0) -> Model:
    """A model of samples and times, made of one that takes labels too: it asks for these, with guidance of strength w.

    What `guided_noise` says of noise holds for x_0 and velocity as well: both are the noise, scaled and shifted by x_t.
    """

    def answer(x_t: Any, t: Any) -> Any:
        if w == 0:
            return model(x_t, t, labels)
        twice = array_api_compat.array_namespace(x_t).concat
        none = 0 * labels - 1
        both = model(twice([x_t, x_t]), twice([t, t]), twice([labels, none]))
        return guided_noise(both[: len(x_t)], both[len(x_t) :], w)

    return answer


@equation("Lu et al. 2022, DPM-Solver++, second order, multistep", derived_from=[posterior.ddim_step])
def second_order_step(
    x_t: Array, x_0: Array, x_0_before: Array, alpha_bar_before: Array, alpha_bar_t: Array, alpha_bar_s: Array
) -> Array:
    r"""DDIM's step from t back to s, but with an x_0 that goes on moving as it did since the time before.

    $$
    x_s = \sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,x_t
    + \Big(\sqrt{\bar\alpha_s} - \sqrt{\bar\alpha_t}\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\Big)
    \Big(x_0 + \frac{\lambda_s - \lambda_t}{2\,(\lambda_t - \lambda_u)}\,(x_0 - x_0')\Big), \qquad
    \lambda = \frac{1}{2} \log\frac{\bar\alpha}{1-\bar\alpha}
    $$

    Args:
        x_t: noisy sample, any shape.
        x_0: the x_0 predicted from it.
        x_0_before: $x_0'$, predicted one step before, at the time u > t.
        alpha_bar_before: alpha_bar at u, in [0, 1).
        alpha_bar_t: alpha_bar at t, above that at u.
        alpha_bar_s: alpha_bar at s < t, above that at t and below 1: the step to s = 0 is DDIM's.
    """
    check_operands(x_t=x_t, x_0=x_0, x_0_before=x_0_before)
    before, now, then = (log(kept / (1 - kept)) for kept in (alpha_bar_before, alpha_bar_t, alpha_bar_s))
    ahead = x_0 + (then - now) / (2 * (now - before)) * (x_0 - x_0_before)
    shrink = sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t))
    return shrink * x_t + (sqrt(alpha_bar_s) - sqrt(alpha_bar_t) * shrink) * ahead


def visited_times(T: int, steps: int) -> list[int]:
    """The times that a sampler of so many steps visits: from 1 to T, both included (T, if only one).

    They grow like squares, as those of DDIM's authors for CIFAR-10: near t = 1, where the last of the noise goes and the
    fine strokes come, steps must be short; but no time is visited twice.

    Raises:
        ValueError: when ``steps`` is not in 1..T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1..{T}, got {steps}")
    return [T] if steps == 1 else [max(i + 1, 1 + (T - 1) * i * i // (steps - 1) ** 2) for i in range(steps)]


@equation(
    "Ho et al. 2020, Alg. 2; DDIM, Eq. 12",
    derived_from=[posterior.ancestral_step, posterior.ddim_step, second_order_step, forward.respace],
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
    start: torch.Tensor | None = None,
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
        sampler: "ancestral" for Algorithm 2, "ddim" for DDIM's step, "second_order" for `second_order_step`.
        steps: how many times to visit, as `visited_times` has it; all T if not given.
        eta: for DDIM: how much of the noise is fresh, from 0 for none to 1 for the "posterior" variance.
        variance: for Algorithm 2: $\sigma_t^2$ is $\beta_t$ for "beta", $\tilde\beta_t$ for "posterior"; "learned" for a
            model trained by `learned_variance_loss`.
        clip: the predicted x_0 is clipped to [-clip, clip]; None for no clipping.
        predicts: what the model answers: "noise", "x_0" or "velocity".
        dtype: of the samples; torch's default if not given.
        start: x_T, if it is not to be drawn: what `encode` gave, or a way between two of them.
    """
    import torch

    check_name("sampler", sampler, SAMPLERS)
    check_name("variance", variance, VARIANCES)
    check_name("predicts", predicts, PREDICTS)
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, or None, got {clip!r}")
    times = visited_times(schedule.T, schedule.T if steps is None else steps)
    respaced = forward.respace(schedule, times)  # the betas of the steps between two visited times are merged
    x = torch.randn(*shape, generator=rng, device=rng.device, dtype=dtype)
    x = x if start is None else check_shape("start", start, shape)
    before: tuple[Any, float] | None = None  # the last x_0, and alpha_bar there
    yield x
    for i in range(len(times), 0, -1):
        step, t = respaced[i], torch.full((x.shape[0],), times[i - 1], device=x.device)
        z = torch.randn(*shape, generator=rng, device=rng.device, dtype=dtype)
        with torch.no_grad():
            answer, v = _halves(model(x, t), x) if variance == "learned" else (model(x, t), None)
            answer = check_shape("model(x_t, t)", answer, x.shape)
            x_0 = predicted_x0(x, answer, step, predicts)  # every step goes by x_0: it is known at alpha_bar = 0 too
            x_0 = x_0 if clip is None else x_0.clamp(-clip, clip)
            if sampler == "second_order" and before is not None and i > 1:
                x_s = second_order_step(x, x_0, *before, step.alpha_bar, step.alpha_bar_prev)
            elif sampler == "ancestral":
                x_s = posterior.mean(x, x_0, step)
                if i > 1:  # no noise at the last step: it would stay
                    var = step.beta if variance == "beta" else posterior.variance(step)
                    var = var if v is None else posterior.interpolated_variance((v + 1) / 2, step)
                    x_s = forward.reparameterize(x_s, var, z)
            else:
                noise = forward.predict_noise(x, x_0, step)
                fresh = eta if sampler == "ddim" else 0.0
                x_s = posterior.ddim_renoise(x_0, noise, z, step.alpha_bar, step.alpha_bar_prev, fresh)
            x, before = x_s, (x_0, step.alpha_bar)
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
        sampler: one of `SAMPLERS`.
        steps: how many times to visit; all T if not given.
        options: what else `sample_path` takes.
    """
    *_, x_0 = sample_path(model, schedule, shape, rng, sampler, steps, **options)
    return x_0


@equation("DDIM, Eq. 13", derived_from=[posterior.ddim_encode_step])
def encode(model: Model, schedule: Schedule, x_0: Array, steps: int | None = None, predicts: str = "noise") -> Array:
    r"""DDIM run forwards: the noise from which DDIM without fresh noise would make these samples.

    $$
    x_t = \sqrt{\bar\alpha_t}\,\hat x_0(x_s, s) + \sqrt{1-\bar\alpha_t}\,\hat\epsilon(x_s, s), \qquad
    0 = \tau_0 < \dots < s < t < \dots \le T
    $$

    At s = 0 there is no noise to be seen, and the network is asked at the first time that is visited.

    Args:
        model: the network, as for `sample_path`.
        schedule: the one it was trained with.
        x_0: samples, shape (batch, ...).
        steps: how many times to visit; all T if not given.
        predicts: what the model answers: "noise", "x_0" or "velocity".

    Returns:
        x_T, in the shape of ``x_0``: near standard normal, though too short with few steps; a ``start`` for `sample_path`.
    """
    import torch

    check_name("predicts", predicts, PREDICTS)
    times = visited_times(schedule.T, schedule.T if steps is None else steps)
    x, kept = x_0, 1.0
    with torch.no_grad():
        for s, t in zip([times[0], *times], times, strict=False):
            step, to = schedule[s], schedule[t].alpha_bar
            answer = check_shape("model(x_t, t)", model(x, torch.full((len(x),), s, device=x.device)), x.shape)
            noise = forward.predict_noise(x, predicted_x0(x, answer, step, predicts), step)
            x, kept = posterior.ddim_encode_step(x, noise, kept, to), to
    return x


@equation("Shoemake 1985, spherical linear interpolation")
def interpolate(a: Array, b: Array, share: Array) -> Array:
    r"""The way from one noise to another along a great circle: a straight way would leave where noise lives.

    $$
    x = \frac{\sin\big((1-s)\,\theta\big)}{\sin\theta}\,a + \frac{\sin(s\,\theta)}{\sin\theta}\,b, \qquad
    \cos\theta = \frac{\langle a, b\rangle}{\lVert a\rVert\,\lVert b\rVert}
    $$

    Args:
        a: one noise, with its direction over all its dimensions.
        b: the other, in the same shape.
        share: s, how much of the way, from 0 for ``a`` to 1 for ``b``.
    """
    if tuple(a.shape) != tuple(b.shape):
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    xp = array_api_compat.array_namespace(a, b)
    cos = xp.sum(a * b) / sqrt(xp.sum(a * a) * xp.sum(b * b))
    if not abs(cos) < 1:
        raise ValueError(f"a and b must point in different directions, got a cosine of {cos}")
    angle = xp.acos(cos)
    return (xp.sin((1 - share) * angle) * a + xp.sin(share * angle) * b) / xp.sin(angle)


def _halves(answer: Array, x_t: Array) -> tuple[Array, Array]:
    """The two halves of an answer with twice the channels."""
    check_shape("model(x_t, t)", answer, (x_t.shape[0], 2 * x_t.shape[1], *x_t.shape[2:]))
    return answer[:, : x_t.shape[1]], answer[:, x_t.shape[1] :]


# The measures of quality come last in the chapter.
from .metrics import frechet_distance as frechet_distance  # noqa: E402
from .metrics import nearest_neighbours as nearest_neighbours  # noqa: E402
from .metrics import sliced_wasserstein as sliced_wasserstein  # noqa: E402
