r"""Chapter 6. Training and sampling: Algorithms 1 and 2, on a network small enough for a laptop.

A model is any callable ``model(x_t, t)``: it gets noisy samples, shape (batch, ...), and their times, whole
numbers in 1..T, shape (batch,), and gives an output in the shape of ``x_t``. What the output means is named by
``predicts``, one of `forward.PREDICTIONS`: the "noise", "x_0" or the "velocity". `samplers` draws from a model,
`metrics` says how good that is, `unet` has the networks, `trainer` trains them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

from .. import elbo, forward, posterior
from ..arrays import Array, is_array
from ..door import row
from ..equation import equation
from ..forward import PREDICTIONS, Schedule

Model: TypeAlias = Callable[[Any, Any], Any]
"""``model(x_t, t)``, see above."""

# Algorithm 1. --------------------------------------------------------------------------------------------------------


@equation(
    "Ho et al. 2020, Alg. 1 and Eq. 14",
    derived_from=[forward.diffuse, forward.velocity, elbo.simple_loss],
    shapes="x_0 (batch, ...), noise (batch, ...), t (batch)",
    unproved="arrays",
)
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
        predicts: what the model predicts: one of `forward.PREDICTIONS`.

    Returns:
        The squared norm for each sample, shape (batch,): a sum over the data's dimensions, no mean yet.
    """
    step = schedule.at(t, like=x_0)
    target = row(PREDICTIONS, predicts).target(x_0, noise, step)
    return elbo.simple_loss(target, model(forward.diffuse(x_0, noise, step), t))


@equation(
    "Nichol & Dhariwal 2021, Eq. 16",
    derived_from=[training_loss, elbo.hybrid_loss, elbo.denoising_matching, posterior.interpolated_variance],
    where={"schedule.T": "[2, inf)", "model": "(x_t, t) -> 2 x_t"},
    shapes="x_0 (batch, channels, ...), noise (batch, channels, ...), t (batch)",
    unproved="arrays",
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
        model: gives twice the channels of ``x_t``: what it predicts, and $2v - 1$.
        t: times in 1..T, shape (batch,). At t = 1 the bound's part is 0, where Nichol & Dhariwal have minus the decoder's
            log-likelihood.
        predicts: what the first half of the output is: one of `forward.PREDICTIONS`.
    """
    step, predicted = schedule.at(t, like=x_0), row(PREDICTIONS, predicts)
    x_t = forward.diffuse(x_0, noise, step)
    output, v = posterior.halves(model(x_t, t), x_0)
    simple = elbo.simple_loss(predicted.target(x_0, noise, step), output)
    x_0_hat = predicted.x_0(x_t, output.detach(), step)
    bound = _bound(x_t, x_0, x_0_hat, v, t, schedule)
    return elbo.hybrid_loss(simple, bound, weight)


@equation(
    "Ho et al. 2020, Eq. 5",
    derived_from=[elbo.denoising_matching, posterior.interpolated_variance],
    where={"schedule.T": "[2, inf)", "model": "(x_t, t) -> 2 x_t"},
    shapes="x_0 (batch, channels, ...), noise (batch, channels, ...), t (batch)",
    unproved="arrays",
)
def bound_loss(model: Model, x_0: Array, t: Array, noise: Array, schedule: Schedule, predicts: str = "noise") -> Array:
    r"""The bound itself as the loss, of a model that says its variance too: the mean and the variance both learn from it.

    $$
    L = T\,D_{\mathrm{KL}}\big(q(x_{t-1} \mid x_t, x_0)\,\big\Vert\,\mathcal N(\mu,\ \beta_t^{v}\,\tilde\beta_t^{\,1-v})\big)
    $$

    Its mean over an even t is the sum of all terms from t = 2 on; that of t = 1 is left out.

    Args:
        model: gives twice the channels of ``x_t``: what it predicts, and $2v - 1$.
        predicts: what the first half of the output is: one of `forward.PREDICTIONS`.
    """
    step = schedule.at(t, like=x_0)
    x_t = forward.diffuse(x_0, noise, step)
    output, v = posterior.halves(model(x_t, t), x_0)
    x_0_hat = row(PREDICTIONS, predicts).x_0(x_t, output, step)
    return _bound(x_t, x_0, x_0_hat, v, t, schedule)


def _bound(x_t: Array, x_0: Array, x_0_hat: Array, v: Array, t: Array, schedule: Schedule) -> Array:
    """T times the term of the bound at t, 0 at t = 1, of a model that predicts x_0 and says its variance."""
    step = schedule.at(t.clamp(min=2), like=x_0)  # at t = 1 there is no such term
    mean, var = posterior.mean(x_t, x_0_hat, step), posterior.interpolated_variance(v, step)
    return schedule.T * elbo.denoising_matching(x_t, x_0, mean, var, step) * (t > 1)


@equation(
    "Ho et al. 2020, App. B",
    where={"t": "pixels real", "dims": "whole [2, inf)"},
    require={"dims must be even": "dims % 2 == 0"},
    shapes="t (batch)",
    unproved="arrays",
)
def time_embedding(t: Array, dims: int) -> Array:
    r"""The time as sines and cosines: fast ones tell neighbours apart, slow ones far from near.

    $$
    e(t)_i = \sin(\omega_i t), \qquad e(t)_{i + d/2} = \cos(\omega_i t), \qquad
    \omega_i = 10000^{-2i/d}, \qquad i = 0, \dots, d/2 - 1
    $$

    All sines come first, then all cosines, both from fast to slow. Other code begins with the cosines, alternates the
    two or divides by d/2 - 1: that is the same up to the order of the columns, or nearly, but weights learned with one
    order do not fit another.

    Args:
        t: times, one for each sample, whole numbers or not.
        dims: d, how many numbers describe a time; even, at least 2.

    Returns:
        A row for each time, shape (batch, d): in the dtype of ``t``, or of whole numbers in the library's own for floats.
    """
    xp = array_api_compat.array_namespace(t)
    i = xp.arange(dims // 2, dtype=t.dtype, device=array_api_compat.device(t))
    angle = t[:, None] * 10000 ** (-2 * i / dims)
    return xp.concat([xp.sin(angle), xp.cos(angle)], axis=1)


@equation("VDM, low-discrepancy sampling of t", shapes="uniform () or (1)", unproved="arrays")
def stratified_times(uniform: Array, batch: int, T: int) -> Array:
    r"""Times for a batch, spread evenly: each is uniform on 1..T, but together they leave no gap.

    $$
    t_i = 1 + \Big\lfloor T \cdot \Big(\big(u + \tfrac{i}{B}\big) \bmod 1\Big) \Big\rfloor, \qquad
    i = 0, \dots, B - 1
    $$

    Args:
        uniform: one uniform random number in [0, 1), of shape () or (1,); in float64, or not every time can come.

    Returns:
        Whole numbers (int64), shape (batch,), in the library of ``uniform``; NumPy's for a plain number.
    """
    uniform = uniform if is_array(uniform) else np.asarray(uniform)
    xp = array_api_compat.array_namespace(uniform)
    device = array_api_compat.device(uniform)
    i = xp.arange(batch, dtype=uniform.dtype, device=device)
    place = (uniform + i / batch) % 1
    return 1 + xp.astype(xp.floor(T * place), xp.int64)


@equation("Ho et al. 2020, App. B")
def ema_update(average: Array, value: Array, decay: Array) -> Array:
    r"""The exponential moving average of the weights, one step on.

    $$
    \bar\theta \leftarrow \lambda\,\bar\theta + (1 - \lambda)\,\theta
    $$
    """
    return decay * average + (1 - decay) * value


def ema_update_(averages: list[Any], values: list[Any], decay: float) -> None:
    """`ema_update` of many tensors at once and in place: a few calls where one for each weight would be hundreds."""
    import torch

    with torch.no_grad():  # or each average would remember all before it
        torch._foreach_lerp_(averages, values, 1 - decay)


# Algorithm 2 and its kin. --------------------------------------------------------------------------------------------

from .samplers import SAMPLERS as SAMPLERS  # noqa: E402
from .samplers import VARIANCES as VARIANCES  # noqa: E402
from .samplers import Moment as Moment  # noqa: E402
from .samplers import Sampler as Sampler  # noqa: E402
from .samplers import encode as encode  # noqa: E402
from .samplers import interpolate as interpolate  # noqa: E402
from .samplers import sample as sample  # noqa: E402
from .samplers import sample_path as sample_path  # noqa: E402
from .samplers import second_order_step as second_order_step  # noqa: E402
from .samplers import visited_times as visited_times  # noqa: E402

# Samples of one class. -----------------------------------------------------------------------------------------------


@equation("Ho & Salimans 2022, Eq. 6")
def guided_noise(noise_cond: Array, noise_uncond: Array, w: Array) -> Array:
    r"""Classifier-free guidance: past the conditional prediction, away from the unconditional one.

    $$
    \tilde\epsilon = (1 + w)\,\epsilon(x_t, c) - w\,\epsilon(x_t)
    $$

    With w = 0 there is no guidance; elsewhere the same number is often written as a scale of 1 + w.
    """
    return (1 + w) * noise_cond - w * noise_uncond


def guided(model: Callable[[Any, Any, Any], Any], labels: Any, w: float = 0.0) -> Model:
    """A model of samples and times, made of one that takes labels too: it asks for these, with guidance of strength w.

    What `guided_noise` says of noise holds for x_0 and velocity as well: both are the noise, scaled and shifted by x_t.
    """

    def conditional_model(x_t: Any, t: Any) -> Any:
        if w == 0:
            return model(x_t, t, labels)
        twice = array_api_compat.array_namespace(x_t).concat
        none = 0 * labels - 1
        both = model(twice([x_t, x_t]), twice([t, t]), twice([labels, none]))
        return guided_noise(both[: len(x_t)], both[len(x_t) :], w)

    return conditional_model


# How good the samples are. -------------------------------------------------------------------------------------------

from .metrics import frechet_distance as frechet_distance  # noqa: E402
from .metrics import nearest_neighbours as nearest_neighbours  # noqa: E402
from .metrics import sliced_wasserstein as sliced_wasserstein  # noqa: E402
