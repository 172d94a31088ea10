"""MONAI: its schedulers, which began as a copy of those of diffusers."""

from __future__ import annotations

import importlib
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from ... import posterior
from ...letters import Step
from .asked import Asked, Find, Function, Place, Run, Walk
from .schedulers import Schedulers, by_table

NAMES = {"linear": "linear_beta", "cosine": "cosine"}

GIVEN = "given_to_tinyddpm"
"""The name under which MONAI gets a table of betas, by its own way for schedules that are not its own."""


def scheduler(kind: str, place: Place, **options: Any) -> Any:
    """A scheduler over a table; with so many steps that its DDIM leads from t to s."""
    module = importlib.import_module("monai.networks.schedulers")
    if GIVEN not in module.NoiseSchedules.names:
        module.NoiseSchedules.add_def(GIVEN, "betas as they are")(
            lambda num_train_timesteps, betas: torch.tensor(betas, dtype=torch.float32)
        )
    T = len(place.beta)
    table = {"schedule": NAMES[place.named]} if place.named else {"schedule": GIVEN, "betas": place.beta.tolist()}
    made = getattr(module, kind)(T, clip_sample=False, **table, **options)
    if kind == "DDIMScheduler":
        made.set_timesteps(T // (place.t - place.s))
    return made


def questions(find: Find) -> list[Asked]:
    """What MONAI is asked."""
    both = Schedulers(find, scheduler, itemgetter(0), itemgetter(1))

    def betas(name: str) -> Function:
        def schedule(T: int, beta_1: float, beta_T: float) -> Any:
            ddpm = importlib.import_module("monai.networks.schedulers").DDPMScheduler
            return ddpm(T, schedule=name, beta_start=beta_1, beta_end=beta_T).betas

        return schedule

    def cosine(T: int, s: float) -> Any:
        return importlib.import_module("monai.networks.schedulers").DDPMScheduler(T, schedule="cosine", s=s).betas

    def ddim_encode_step(x_s: Tensor, noise: Tensor, step_s: Step, step: Step) -> Any:
        place = find(step, step_s)
        return scheduler("DDIMScheduler", place).reversed_step(noise, place.s, x_s)[0]

    def encoded(x_s: Any, noise: Any, step_s: Step, step: Step) -> Any:
        """It begins at the first time of its table, not at x_0."""
        if step_s.noise_var == 0:
            raise ValueError("step_s must not be x_0")
        return posterior.ddim_encode_step(x_s, noise, step_s, step)

    back, later = "DDIMScheduler.reversed_step", "from t = 1 on"
    return [
        Asked("forward.linear", "NoiseSchedules linear_beta", betas("linear_beta")),
        Asked("forward.scaled_linear", "NoiseSchedules scaled_linear_beta", betas("scaled_linear_beta")),
        Asked("forward.cosine", "NoiseSchedules cosine", cosine, fixed={"beta_max": 0.999}),
        *both.questions({"posterior.interpolated_variance": "monai-learned-range"}),
        Asked("posterior.ddim_encode_step", back, ddim_encode_step, later, ours=encoded),
    ]


def walks() -> list[Walk]:
    """The samplers of MONAI."""

    def run(kind: str, schedule: str = "linear", **options: Any) -> Run:
        def make() -> Any:
            module = importlib.import_module("monai.networks.schedulers")
            return getattr(module, kind)(1000, schedule=NAMES[schedule], clip_sample=False, **options)

        return by_table(make, itemgetter(0))

    ddpm, ddim, few, stride = "DDPMScheduler", "DDIMScheduler", "monai-few-steps", "monai-ddim-next"
    large = run(ddpm, variance_type="fixed_large")
    return [
        Walk(f"{ddpm}, fixed_small", run(ddpm), "ancestral", claim=few),
        Walk(f"{ddpm}, fixed_large", large, "ancestral", "beta", claim=few),
        Walk(f"{ddpm}, fixed_small", run(ddpm, "cosine"), "ancestral", schedule="cosine", claim=few),
        Walk(ddim, run(ddim), "ddim", claim=stride),
        Walk(ddim, run(ddim, "cosine"), "ddim", schedule="cosine", claim=stride),
    ]
