"""smalldiffusion: its schedules and its sampler."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...letters import Step
from .asked import SHRUNK, Asked, Find, Function, Place, Run, Stated, Walk


def questions(find: Find) -> list[Asked]:
    """What smalldiffusion is asked."""

    def sigma(place: Place, at: int) -> Any:
        module = importlib.import_module("smalldiffusion.diffusion")
        if at < 0:
            return torch.tensor(0.0)
        if place.named == "linear":
            return module.ScheduleDDPM(len(place.beta))[at]
        if place.named == "cosine":
            return module.ScheduleCosine(len(place.beta))[at]
        return module.Schedule(module.sigmas_from_betas(torch.tensor(place.beta, dtype=torch.float32)))[at]

    def edm_coefficients(step: Step) -> Any:
        place = find(step)
        level = sigma(place, place.t)
        return importlib.import_module("smalldiffusion.model").alpha(level).sqrt(), level

    def alpha_bar_from_edm(edm_sigma: Tensor) -> Any:
        return importlib.import_module("smalldiffusion.model").alpha(edm_sigma)

    def walked(mu: float, shrunk: bool) -> Function:
        def step_back(x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step) -> Any:
            module = importlib.import_module("smalldiffusion")
            place = find(step, step_s)
            levels = [sigma(place, place.t), sigma(place, place.s)]
            model = SimpleNamespace(
                eval=lambda: None, rand_input=lambda n: z, predict_eps_cfg=lambda *_: noise, input_dims=(1, 1, 1)
            )
            here, there = (1 / (1 + level**2) for level in levels)
            start = x_t / here**0.5 if shrunk else x_t
            (x,) = module.samples(model, levels, gam=1.0, mu=mu, xt=start, accelerator=SimpleNamespace(device="cpu"))
            return x * there**0.5 if shrunk else x

        return step_back

    ve = "the docstring of `Schedule`: parameterized by sigma"
    return [
        Asked("forward.edm_coefficients", "ScheduleDDPM, alpha", edm_coefficients),
        Asked("forward.alpha_bar_from_edm", "alpha", alpha_bar_from_edm),
        Asked(
            "posterior.ddim_step",
            "samples",
            walked(0.0, False),
            "gam=1, mu=0",
            {"eta": 0.0},
            Stated(SHRUNK, ve, walked(0.0, True)),
        ),
        Asked(
            "posterior.ddim_step",
            "samples",
            walked(0.5, False),
            "gam=1, mu=0.5",
            {"eta": 1.0},
            Stated(SHRUNK, ve, walked(0.5, True)),
        ),
    ]


def walks() -> list[Walk]:
    """The samplers of smalldiffusion."""

    def walk(gam: float, mu: float, schedule: str) -> Run:
        def run(ideal: Any, rows: int, steps: int) -> Any:
            module = importlib.import_module("smalldiffusion")
            made = module.ScheduleDDPM(1000) if schedule == "linear" else module.ScheduleCosine(1000)
            sigmas = made.sample_sigmas(steps)

            def noise(x: Tensor, sigma: Tensor, *_: Any) -> Tensor:
                kept = 1 / (1 + sigma.double() ** 2)
                answer: Tensor = ideal.noise(x * kept**0.5, kept)
                return answer

            model = SimpleNamespace(
                eval=lambda: None,
                rand_input=lambda n: torch.randn(n, 1, 1, 1),
                predict_eps_cfg=noise,
                input_dims=(1, 1, 1),
            )
            *_, x = module.samples(
                model, sigmas, gam=gam, mu=mu, batchsize=rows, accelerator=SimpleNamespace(device="cpu")
            )
            kept = 1 / (1 + sigmas.double() ** 2)
            return x, kept.tolist(), float((sigmas[0].double() ** 2 * kept[0]) ** 0.5)

        return run

    end: tuple[str, str, Mapping[str, Any]] = (
        "ends at its smallest sigma, not at 0",
        "the docstring of `Schedule.sample_sigmas`",
        {},
    )
    return [
        Walk("samples, gam 1, mu 0", walk(1.0, 0.0, "linear"), "ddim", stated=end),
        Walk("samples, gam 1, mu 0.5", walk(1.0, 0.5, "linear"), "ancestral", stated=end),
        Walk("samples, gam 2, mu 0", walk(2.0, 0.0, "linear"), ""),
        Walk("samples, gam 1, mu 0", walk(1.0, 0.0, "cosine"), "ddim", schedule="cosine", stated=end),
    ]
