"""k-diffusion: its samplers and its wrapper of DDPM networks."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ...letters import Step
from .asked import SHRUNK, Asked, Find, Function, Place, Run, Stated, Walk, handing


def questions(find: Find) -> list[Asked]:
    """What k-diffusion is asked."""

    def denoiser(place: Place, output: Any) -> Any:
        module = importlib.import_module("k_diffusion.external")
        kept = torch.cumprod(1 - torch.tensor(place.beta, dtype=torch.float32), 0)
        return module.DiscreteEpsDDPMDenoiser(lambda *_, **__: output, kept, quantize=False)

    def edm_coefficients(step: Step) -> Any:
        place = find(step)
        made = denoiser(place, None)
        level = made.sigmas[place.t]
        return made.get_scalings(level)[1], level

    def predicted(shrunk: bool) -> Function:
        def predict_x0(x_t: Tensor, noise: Tensor, step: Step) -> Any:
            place = find(step)
            made = denoiser(place, noise)
            level = made.sigmas[place.t]
            x = x_t * (1 + level**2) ** 0.5 if shrunk else x_t
            return made(x, level.repeat(len(x_t)))

        return predict_x0

    def ddim_sigma(step: Step, step_s: Step) -> Any:
        place = find(step, step_s)
        module, levels = importlib.import_module("k_diffusion.sampling"), denoiser(place, None).sigmas
        there = levels[place.s] if place.s >= 0 else torch.zeros_like(levels[0])
        return module.get_ancestral_step(levels[place.t], there)[1]

    def scaled(step: Step, step_s: Step) -> Any:
        return ddim_sigma(step, step_s) * step_s.alpha_bar**0.5

    def stepped(name: str, shrunk: bool) -> Function:
        def ddim_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step) -> Any:
            place = find(step, step_s)
            module, levels = importlib.import_module("k_diffusion.sampling"), denoiser(place, None).sigmas
            there = levels[place.s] if place.s >= 0 else torch.zeros_like(levels[0])
            both = torch.stack([levels[place.t], there])
            kept = 1 / (1 + both**2)
            x = x_t / kept[0] ** 0.5 if shrunk else x_t
            how = {"noise_sampler": lambda *_: z} if name == "sample_euler_ancestral" else {}
            with handing(z):
                x = getattr(module, name)(lambda x, s, **_: x - levels[place.t] * noise, x, both, disable=True, **how)
            return x * kept[1] ** 0.5 if shrunk else x

        return ddim_step

    ve = "the formulas of Karras et al. 2022, which its README and docstrings name"
    return [
        Asked("forward.edm_coefficients", "DiscreteEpsDDPMDenoiser", edm_coefficients),
        Asked(
            "forward.predict_x0",
            "DiscreteEpsDDPMDenoiser",
            predicted(False),
            stated=Stated(SHRUNK, ve, predicted(True)),
        ),
        Asked("posterior.ddim_sigma", "get_ancestral_step", ddim_sigma, "", {"eta": 1.0}, Stated(SHRUNK, ve, scaled)),
        Asked(
            "posterior.ddim_step",
            "sample_euler",
            stepped("sample_euler", False),
            "",
            {"eta": 0.0},
            Stated(SHRUNK, ve, stepped("sample_euler", True)),
        ),
        Asked(
            "posterior.ddim_step",
            "sample_euler_ancestral",
            stepped("sample_euler_ancestral", False),
            "",
            {"eta": 1.0},
            Stated(SHRUNK, ve, stepped("sample_euler_ancestral", True)),
        ),
    ]


def walks() -> list[Walk]:
    """The samplers of k-diffusion."""

    def walk(name: str) -> Run:
        def run(ideal: Any, rows: int, steps: int) -> Any:
            sampling = importlib.import_module("k_diffusion.sampling")
            external = importlib.import_module("k_diffusion.external")
            linear = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
            sigmas = external.DiscreteEpsDDPMDenoiser(None, linear, quantize=False).get_sigmas(steps)

            def model(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
                kept = 1 / (1 + sigma[0].double() ** 2)
                answer: Tensor = ideal.x_0(x * kept**0.5, kept)
                return answer

            how = {"noise_sampler": lambda *_: torch.randn(rows, 1, 1, 1)} if "ancestral" in name else {}
            x = getattr(sampling, name)(model, torch.randn(rows, 1, 1, 1) * sigmas[0], sigmas, disable=True, **how)
            kept = 1 / (1 + sigmas.double() ** 2)
            return x, kept.tolist(), float((sigmas[0].double() ** 2 * kept[0]) ** 0.5)

        return run

    return [
        Walk("sample_euler", walk("sample_euler"), "ddim"),
        Walk("sample_euler_ancestral", walk("sample_euler_ancestral"), "ancestral"),
        Walk("sample_heun", walk("sample_heun"), ""),
        Walk("sample_dpmpp_2m", walk("sample_dpmpp_2m"), "second_order"),
    ]
