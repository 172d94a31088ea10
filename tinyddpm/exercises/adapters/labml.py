"""labml_nn, a text like this one: code with notes beside it."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...letters import Step
from .asked import LARGE, Asked, Find, Place, Walk, handing, indices


def _labml(place: Place, output: Any) -> Any:
    made = importlib.import_module("labml_nn.diffusion.ddpm").DenoiseDiffusion(
        lambda *_: output, len(place.beta), torch.device("cpu")
    )
    if not place.named:
        made.beta = made.sigma2 = torch.tensor(place.beta, dtype=torch.float32)
        made.alpha = 1 - made.beta
        made.alpha_bar = torch.cumprod(made.alpha, dim=0)
    return made


def questions(find: Find) -> list[Asked]:
    """What labml_nn is asked."""

    def linear(T: int) -> Any:
        return _labml(Place(np.zeros(T), 0, 0, "linear"), None).beta

    def marginal(x_0: Tensor, step: Step) -> Any:
        place = find(step)
        mean, var = _labml(place, None).q_xt_x0(x_0, indices(place.t, x_0))
        return mean, var.flatten()[0]

    def diffuse(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        place = find(step)
        return _labml(place, None).q_sample(x_0, indices(place.t, x_0), noise)

    def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
        place = find(step)
        with handing(z):
            return _labml(place, noise).p_sample(x_t, indices(place.t, x_t))

    def mean_from_noise(x_t: Tensor, noise: Tensor, step: Step) -> Any:
        return ancestral_step(x_t, noise, 0 * x_t, step)

    return [
        Asked("forward.linear", "DenoiseDiffusion.beta", linear, fixed={"beta_1": 1e-4, "beta_T": 0.02}),
        Asked("forward.marginal", "q_xt_x0", marginal),
        Asked("forward.diffuse", "q_sample", diffuse),
        Asked("posterior.mean_from_noise", "p_sample", mean_from_noise),
        Asked("posterior.ancestral_step", "p_sample", ancestral_step, "", LARGE, claim="labml-last-noise"),
    ]


def walks() -> list[Walk]:
    """The sampler of labml_nn: all steps."""

    def run(ideal: Any, rows: int, steps: int) -> Any:
        made, x = _labml(Place(np.zeros(1000), 0, 0, "linear"), None), torch.randn(rows, 1, 1, 1)
        kept = made.alpha_bar.double()
        made.eps_model = lambda x, t: ideal.noise(x, kept[int(t[0])])
        for t in range(999, -1, -1):
            x = made.p_sample(x, indices(t, x))
        return x, [*kept.flip(0).tolist(), 1.0], 1.0

    return [Walk("p_sample", run, "ancestral", "beta", claim="labml-last-noise", steps=(1000,))]
