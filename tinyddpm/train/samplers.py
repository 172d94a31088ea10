"""Algorithm 2 and its kin: every sampler is one step back, an equation, and `sample_path` walks with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import array_api_compat
import numpy as np

from .. import forward, langevin, posterior
from ..arrays import Array, clipped, sqrt, times_like
from ..door import check_shape, check_steps, row, unchecked
from ..equation import equation
from ..forward import PREDICTIONS, Prediction, Schedule, Step
from ..posterior import halves

if TYPE_CHECKING:  # torch takes long to import
    import torch

    from . import Model


class Moment(NamedTuple):
    """What a step back is made from besides x_t and the predicted x_0.

    Attributes:
        step: the schedule at t, of the times that are visited.
        step_s: the same at s, where the step leads.
        noise: the predicted noise.
        z: fresh noise.
        var: the variance of an ancestral step.
        eta: how much of DDIM's noise is fresh.
        before: the x_0 predicted one step before, and the schedule there; None at the first step.
    """

    step: Step
    step_s: Step
    noise: Array
    z: Array
    var: Array
    eta: float
    before: tuple[Array, Step] | None


class Sampler(NamedTuple):
    """A way to go back: the step, and which of the options of `sample_path` it reads that others do not."""

    step: Callable[[Array, Array, Moment], Array]
    options: tuple[str, ...] = ()


def _ancestral(x_t: Array, x_0: Array, at: Moment) -> Array:
    return posterior.sampling_step(x_t, x_0, at.z, at.step, at.var)


def _ddim(x_t: Array, x_0: Array, at: Moment) -> Array:
    return posterior.ddim_renoise(x_0, at.noise, at.z, at.step, at.step_s, at.eta)


def _second_order(x_t: Array, x_0: Array, at: Moment) -> Array:
    if at.before is None or at.step_s.noise_var == 0:  # at both ends DDIM's: nothing to go on from, and lambda infinite
        noise = forward.predict_noise(x_t, x_0, at.step)
        return _ddim(x_t, x_0, at._replace(noise=noise, eta=0.0))
    return second_order_step(x_t, x_0, *at.before, at.step, at.step_s)


def _reverse_sde(x_t: Array, x_0: Array, at: Moment) -> Array:
    if at.step.alpha_bar == 0:
        raise ValueError("sampler must not be reverse_sde where alpha_bar is 0: its time is infinite there")
    score = langevin.score_from_noise(at.noise, at.step)
    return langevin.reverse_sde_step(x_t, score, at.z, at.step, at.step_s)


SAMPLERS = {
    "ancestral": Sampler(_ancestral, ("variance",)),
    "ddim": Sampler(_ddim, ("eta", "clip_noise")),
    "second_order": Sampler(_second_order),
    "reverse_sde": Sampler(_reverse_sde, ("clip_noise",)),
}
"""Every sampler, by name: Algorithm 2, DDIM's step, one that needs few steps, and the reverse diffusion."""

VARIANCES: dict[str, Callable[[Step, Array | None], Array]] = {
    "beta": lambda step, v: step.beta,
    "posterior": lambda step, v: posterior.variance(step),
    "learned": lambda step, v: posterior.interpolated_variance(v, step),
}
"""Every variance of an ancestral step, from the schedule and from v, what the model says of it."""


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


WALK = {"model": "(x_t, t) -> any", "steps": "whole [1, inf)", "times": "times"}
"""What a walk asks of its arguments beyond their letters: `_Denoiser` checks what the model gives."""

RISING = {"times must rise": "times[1:] > times[:-1]"}
"""And of the times that it is given."""


@equation(
    "Lu et al. 2022, DPM-Solver++, second order, multistep",
    derived_from=[posterior.ddim_step, forward.log_snr_gain],
    where={"step_u.alpha_bar": "[0, 1]", "step_s.noise_var": "(0, 1]"},
    require={
        **forward.EARLIER,
        "step_u must be after step": "(step_u.alpha_bar < step.alpha_bar) | (step_u.noise_var > step.noise_var)",
    },
)
def second_order_step(x_t: Array, x_0: Array, x_0_before: Array, step_u: Step, step: Step, step_s: Step) -> Array:
    r"""DDIM's step from t back to s, but with an x_0 that goes on moving as it did since the time before.

    $$
    x_s = \sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,x_t
    + \Big(\sqrt{\bar\alpha_s} - \sqrt{\bar\alpha_t}\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\Big)
    \Big(x_0 + \frac{\lambda_s - \lambda_t}{2\,(\lambda_t - \lambda_u)}\,(x_0 - x_0')\Big), \qquad
    \lambda = \frac{1}{2} \log\frac{\bar\alpha}{1-\bar\alpha}
    $$

    Both differences are taken from the jumps between the times, where no digits cancel. The step to s = 0 is DDIM's.
    """
    gain = forward.log_snr_gain
    pace = gain(step, step_s) / gain(step_u, step) / 2
    shrink = sqrt(step_s.noise_var / step.noise_var)
    roots = sqrt(step_s.alpha_bar) + sqrt(step.alpha_bar) * shrink
    pull = step_s.alpha_bar * step.since(step_s).beta / step.noise_var / roots
    return shrink * x_t + pull * (x_0 + pace * (x_0 - x_0_before))


@equation(
    "Ho et al. 2020, Alg. 2; DDIM, Eq. 12",
    derived_from=[
        posterior.sampling_step,
        posterior.ddim_renoise,
        second_order_step,
        langevin.predictor_corrector_step,
        forward.respace,
    ],
    where={**WALK, "variance": "choice train.VARIANCES", "corrections": "whole [0, inf)"},
    require=RISING,
    shapes="times (n)",
    unproved="steps",
)
def sample_path(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    rng: torch.Generator,
    sampler: str | Sampler = "ancestral",
    steps: int | None = None,
    eta: float = 0.0,
    variance: str = "beta",
    clip: float | None = 1.0,
    predicts: str = "noise",
    dtype: torch.dtype | None = None,
    start: torch.Tensor | None = None,
    times: Sequence[int] | None = None,
    clip_noise: bool = True,
    corrections: int = 0,
    corrector_size: float = 0.1,
) -> Iterator[torch.Tensor]:
    r"""Sampling, for those who want to watch: noise alone, then every state on the way back, and x_0 last.

    $$
    x_T \sim \mathcal N(0, I), \qquad
    x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\Big(x_t -
    \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t, t)\Big) + \sigma_t\,z,
    \qquad t = T, \dots, 1
    $$

    Every step goes by the predicted x_0, which is known where alpha_bar is 0 too. Where steps are left out, the betas
    between two visited times are merged, as `forward.respace` does.

    Args:
        model: the network, called as ``model(x_t, t)``; t is in 1..T also where steps are left out.
        schedule: the one it was trained with.
        rng: gives x_T first, then one z for every step, and one for every correction after it. Its device is where the
            samples are made.
        sampler: one of `SAMPLERS`, or a `Sampler` of one's own: "ancestral" is Algorithm 2.
        steps: how many times to visit, as `visited_times` has it; all T if neither these nor ``times`` are given.
        eta: for "ddim": how much of the noise is fresh, from 0 for none to 1 for the "posterior" variance.
        variance: for "ancestral", one of `VARIANCES`: $\sigma_t^2$ is $\beta_t$ for "beta", $\tilde\beta_t$ for "posterior";
            "learned" is for a model trained by `learned_variance_loss`.
        predicts: what the model predicts: one of `forward.PREDICTIONS`.
        start: x_T, if it is not to be drawn: what `encode` gave, or a way between two of them.
        times: the times to visit, rising, in 1..T, in the place of ``steps``.
        clip_noise: for "ddim", "reverse_sde" and corrections: whether the noise is computed anew from the clipped x_0, as
            everything here is. False keeps the noise that the model predicts, as the diffusers library does by default.
        corrections: how many steps of Langevin dynamics follow each step, at its new time; each asks the model again.
        corrector_size: the step size of these, in units of the variance of the noise there.
    """
    import torch

    visited, back = _times(schedule, steps, times), row(SAMPLERS, sampler)
    respaced = forward.respace(schedule, visited)
    denoise = _Denoiser(model, predicts, variance, clip, clip_noise)

    where = {"generator": rng, "device": rng.device, "dtype": dtype}
    draw = partial(torch.randn, *shape, **where)
    x, before = draw(), None
    x = x if start is None else check_shape("start", start, tuple(shape))
    yield x
    for i in range(len(visited), 0, -1):
        step, z = respaced[i], draw()
        with torch.no_grad(), unchecked():
            x_0, noise, v = denoise(x, visited[i - 1], step)
            var = row(VARIANCES, variance)(step, v)
            at = Moment(step, step.before, noise, z, var, eta, before)
            predict = partial(back.step, x_0=x_0, at=at)
            score = partial(denoise.score, t=visited[i - 2], step=step.before)
            zs = [draw() for _ in range(corrections if i > 1 else 0)]
            size, before = corrector_size * at.step_s.noise_var, (x_0, step)
            x = langevin.predictor_corrector_step(x, predict, score, size, zs)
        yield x


class _Denoiser:
    """What a network says of a state: the predicted x_0, the noise that goes with it, and v, if it says one."""

    def __init__(
        self, model: Model, predicts: str | Prediction, variance: Any, clip: float | None, clip_noise: bool
    ) -> None:
        self.model, self.predicts, self.learned = model, row(PREDICTIONS, predicts), variance == "learned"
        self.clip, self.clip_noise = clip, clip_noise

    def __call__(self, x: Array, t: int, step: Step) -> tuple[Array, Array, Array | None]:
        output, v = halves(self.model(x, times_like(int(t), x)), x, self.learned)
        check_steps(self.predicts.x_0, step=step)
        free = self.predicts.x_0(x, output, step)
        x_0 = free if self.clip is None else clipped(free, -self.clip, self.clip)
        return x_0, forward.predict_noise(x, x_0 if self.clip_noise else free, step), v

    def score(self, x: Array, t: int, step: Step) -> Array:
        """The score that goes with the predicted noise."""
        return langevin.score_from_noise(self(x, t, step)[1], step)


def _times(schedule: Schedule, steps: int | None, times: Sequence[int] | None) -> Any:
    """The times of a walk, as an array.

    Raises:
        ValueError: when both a number of steps and times are given.
    """
    if times is None:
        return np.array(visited_times(schedule.T, schedule.T if steps is None else steps))
    if steps is not None:
        raise ValueError(f"steps must not be given where times are, got {steps} and {[*map(int, times)]}")
    return np.array([int(t) for t in times])


@equation(
    "Ho et al. 2020, Eq. 1 and Alg. 2", derived_from=[sample_path], where={"model": WALK["model"]}, unproved="steps"
)
def sample(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    rng: torch.Generator,
    sampler: str | Sampler = "ancestral",
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
        sampler: one of `SAMPLERS`.
        steps: how many times to visit; all T if neither these nor ``times`` are given.
        options: what else `sample_path` takes.
    """
    path = sample_path(model, schedule, shape, rng, sampler, steps, **options)
    *_, x_0 = path
    return x_0


@equation(
    "DDIM, Eq. 13",
    derived_from=[posterior.ddim_encode_step],
    where=WALK,
    require=RISING,
    shapes="x_0 (batch, ...), times (n)",
    unproved="steps",
)
def encode(
    model: Model,
    schedule: Schedule,
    x_0: Array,
    steps: int | None = None,
    predicts: str = "noise",
    times: Sequence[int] | None = None,
) -> Array:
    r"""DDIM run forwards: the noise from which DDIM without fresh noise would make these samples.

    $$
    x_t = \sqrt{\bar\alpha_t}\,\hat x_0(x_s, s) + \sqrt{1-\bar\alpha_t}\,\hat\epsilon(x_s, s), \qquad
    0 = \tau_0 < \dots < s < t < \dots \le T
    $$

    At s = 0 there is no noise to be seen, and the network is asked at the first time that is visited.

    Args:
        model: the network, as for `sample_path`.
        schedule: the one it was trained with.
        steps: how many times to visit, as `visited_times` has it; all T if neither these nor ``times`` are given.
        predicts: what the model predicts: one of `forward.PREDICTIONS`.
        times: the times to visit, rising, in 1..T, in the place of ``steps``.

    Returns:
        x_T, in the shape of ``x_0``: near standard normal, though too short with few steps; a ``start`` for `sample_path`.
    """
    import torch

    visited, x = _times(schedule, steps, times), x_0
    respaced = forward.respace(schedule, visited)
    denoise = _Denoiser(model, predicts, "beta", None, True)
    with torch.no_grad():
        for i in range(1, len(visited) + 1):
            seen = max(i - 1, 1)
            _, noise, _ = denoise(x, visited[seen - 1], respaced[seen])
            step = respaced[i]
            x = posterior.ddim_encode_step(x, noise, step.before, step)
    return x


@equation(
    "Shoemake 1985, spherical linear interpolation",
    shapes="noise_a (n, ...), noise_b (n, ...), share ()",
    unproved="arrays",
)
def interpolate(noise_a: Array, noise_b: Array, share: Array) -> Array:
    r"""The way from one noise to another along a great circle: a straight way would leave where noise lives.

    $$
    x = \frac{\sin\big((1-s)\,\theta\big)}{\sin\theta}\,a + \frac{\sin(s\,\theta)}{\sin\theta}\,b, \qquad
    \cos\theta = \frac{\langle a, b\rangle}{\lVert a\rVert\,\lVert b\rVert}
    $$

    Args:
        noise_a: one noise, shape (d,), or a batch of them, shape (batch, ...): then pair by pair.
        noise_b: the other, in the same shape.
        share: s, how much of the way, from 0 for ``noise_a`` to 1 for ``noise_b``.
    """
    xp = array_api_compat.array_namespace(noise_a)
    cos = _cosine(noise_a, noise_b)
    angle = xp.acos(cos)
    near, far = xp.sin((1 - share) * angle), xp.sin(share * angle)
    return (near * noise_a + far * noise_b) / xp.sin(angle)


def _cosine(noise_a: Array, noise_b: Array) -> Array:
    """The cosine of the angle between two noises, pair by pair; refused where many circles go through both, or none."""
    xp, dims = array_api_compat.array_namespace(noise_a), tuple(range(1, noise_a.ndim)) or (0,)
    pairs = ((noise_a, noise_b), (noise_a, noise_a), (noise_b, noise_b))
    dot, square_a, square_b = (xp.sum(x * y, axis=dims, keepdims=True) for x, y in pairs)
    cos = dot / sqrt(square_a * square_b)
    if not bool(xp.all(abs(cos) < 1)):
        raise ValueError(f"noise_a and noise_b must point in different directions, got a cosine of {cos}")
    return cos
