"""diffusers: its schedulers."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ...letters import Step
from .asked import LARGE, SMALL, Asked, Find, Function, Place, Run, Stated, Walk
from .schedulers import STEP, Schedulers, by_table

MULTISTEP = "DPMSolverMultistepScheduler"

NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def scheduler(kind: str, place: Place, **options: Any) -> Any:
    """A scheduler over a table; with so many steps that its DDIM leads from t to s."""
    T = len(place.beta)
    table = {"beta_schedule": NAMES[place.named]} if place.named else {"trained_betas": place.beta.tolist()}
    made = getattr(importlib.import_module("diffusers"), kind)(T, **table, clip_sample=False, **options)
    if "DDIM" in kind:
        made.set_timesteps(T // (place.t - place.s))
    return made


def questions(find: Find) -> list[Asked]:
    """What diffusers is asked."""
    both = Schedulers(find, scheduler, lambda made: made.prev_sample, lambda made: made.pred_original_sample)

    def betas(name: str) -> Function:
        def schedule(T: int, beta_1: float, beta_T: float) -> Any:
            ddpm = importlib.import_module("diffusers").DDPMScheduler
            return ddpm(T, beta_schedule=name, beta_start=beta_1, beta_end=beta_T).betas

        return schedule

    def cosine(T: int, beta_max: float) -> Any:
        module = importlib.import_module("diffusers.schedulers.scheduling_ddpm")
        return module.betas_for_alpha_bar(T, max_beta=beta_max)

    def zero_terminal_snr(schedule: Any) -> Any:
        module = importlib.import_module("diffusers.schedulers.scheduling_ddim")
        return module.rescale_zero_terminal_snr(torch.tensor(schedule.beta, dtype=torch.float32))

    def told(step: Step) -> Any:
        place = find(step)
        return scheduler("DDPMScheduler", place, variance_type="fixed_small_log")._get_variance(place.t)

    def squared(step: Step) -> Any:
        return told(step) ** 2

    def ddim_encode_step(x_s: Tensor, noise: Tensor, step_s: Step, step: Step) -> Any:
        place = find(step, step_s)
        return scheduler("DDIMInverseScheduler", place).step(noise, place.t, x_s).prev_sample

    def embedding(**options: Any) -> Function:
        def time_embedding(t: Tensor, dims: int) -> Any:
            module = importlib.import_module("diffusers.models.embeddings")
            return module.get_timestep_embedding(t, dims, **options)

        return time_embedding

    by_d = Stated(
        "divides by d/2 - 1 unless `downscale_freq_shift=0`",
        "the docstring of `get_timestep_embedding`",
        embedding(downscale_freq_shift=0),
    )
    root = Stated("a standard deviation", "only how `DDPMScheduler.step` uses it", squared)
    small, large = "fixed_small_log", "fixed_large_log"
    log = "diffusers-fixed-large-log"
    return [
        Asked("forward.linear", "DDPMScheduler.betas", betas("linear")),
        Asked("forward.scaled_linear", "DDPMScheduler.betas", betas("scaled_linear")),
        Asked("forward.cosine", "betas_for_alpha_bar", cosine),
        Asked("forward.zero_terminal_snr", "rescale_zero_terminal_snr", zero_terminal_snr),
        *both.questions(),
        Asked("posterior.variance", "DDPMScheduler._get_variance", told, small, stated=root),
        Asked("posterior.ancestral_step", STEP, both.ancestral(small), small, SMALL),
        Asked("posterior.ancestral_step", STEP, both.ancestral(large), large, LARGE, claim=log),
        Asked("posterior.ddim_encode_step", "DDIMInverseScheduler.step", ddim_encode_step),
        Asked("train.time_embedding", "get_timestep_embedding", embedding(), stated=by_d),
    ]


def by_sigma(kind: str) -> Run:
    """A walk of a scheduler that goes by noise levels, with states that are not shrunk."""

    def run(ideal: Any, rows: int, steps: int) -> Any:
        made = getattr(importlib.import_module("diffusers"), kind)(1000)
        made.set_timesteps(steps)
        sigmas = made.sigmas.double()
        kept = 1 / (1 + sigmas**2)
        shrunk = kind.startswith("DPM")  # its states are those of the book
        first = float(made.init_noise_sigma)
        x = torch.randn(rows, 1, 1, 1) * first
        for t, now in zip(made.timesteps, kept[:-1], strict=True):
            seen = made.scale_model_input(x, t)
            x = made.step(ideal.noise(seen, now), t, x).prev_sample
        return x, kept.tolist(), first * (1.0 if shrunk else float(kept[0]) ** 0.5)

    return run


def walks() -> list[Walk]:
    """The samplers of diffusers."""

    def run(kind: str, schedule: str = "linear", eta: float = 0.0, **options: Any) -> Run:
        def make() -> Any:
            scheduler = getattr(importlib.import_module("diffusers"), kind)
            return scheduler(1000, beta_schedule=NAMES[schedule], clip_sample=False, **options)

        return by_table(make, lambda made: made.prev_sample, **({"eta": eta} if eta else {}))

    ddpm, ddim, again = "DDPMScheduler", "DDIMScheduler", "diffusers-fixed-large-log"
    made = []
    for spacing in ("leading", "trailing", "linspace"):
        how: dict[str, Any] = {"timestep_spacing": spacing}
        late = "diffusers-last-noise" if spacing == "trailing" else ""
        large = run(ddpm, variance_type="fixed_large", **how)
        made += [
            Walk(f"{ddpm}, fixed_small, {spacing}", run(ddpm, **how), "ancestral"),
            Walk(f"{ddpm}, fixed_large, {spacing}", large, "ancestral", "beta", claim=late),
            Walk(f"{ddim}, {spacing}", run(ddim, **how), "ddim", claim="diffusers-ddim-next"),
        ]
    small, large = (run(ddpm, variance_type=f"fixed_{size}_log") for size in ("small", "large"))
    return [
        *made,
        Walk(f"{ddpm}, fixed_small_log, leading", small, "ancestral"),
        Walk(f"{ddpm}, fixed_large_log, leading", large, "ancestral", "beta", claim=again),
        Walk(f"{ddim}, eta 1, leading", run(ddim, eta=1.0), "ddim", eta=1.0),
        Walk(f"{ddpm}, fixed_small, leading", run(ddpm, "cosine"), "ancestral", schedule="cosine"),
        Walk(f"{ddim}, leading", run(ddim, "cosine"), "ddim", schedule="cosine"),
        Walk("EulerDiscreteScheduler", by_sigma("EulerDiscreteScheduler"), "ddim"),
        Walk("EulerAncestralDiscreteScheduler", by_sigma("EulerAncestralDiscreteScheduler"), "ancestral"),
        Walk(MULTISTEP, by_sigma(MULTISTEP), "second_order", claim="diffusers-multistep-all"),
    ]
