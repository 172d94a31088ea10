"""deepinv: the solvers of its variance-preserving diffusion."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import langevin
from ...letters import Step
from .asked import LARGE, SMALL, Asked, Find, Function, Run, Walk


def questions(find: Find) -> list[Asked]:
    """What deepinv is asked."""

    def stepped(name: str, x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step, **options: Any) -> Any:
        """A step from its time 1 to its time 0, of a diffusion that is at t and at s then."""
        place = find(step, step_s)
        kept = torch.cumprod(1 - torch.tensor(place.beta, dtype=torch.float64), 0)  # as it keeps them
        there = kept[place.s] if place.s >= 0 else 0 * kept[0] + 1
        at = {0.0: there, 1.0: kept[place.t]}
        given = SimpleNamespace(
            scale_t=lambda t: at[float(t)] ** 0.5,
            sigma_t=lambda t: (1 / at[float(t)] - 1) ** 0.5,
            score=lambda x, t: langevin.score_from_noise(noise, Step.from_alpha_bar(at[1.0])),
        )
        sampling = importlib.import_module("deepinv.sampling")
        solver = getattr(sampling, name)(timesteps=torch.tensor([1.0, 0.0]), **options)
        solver.randn_like = lambda x: z
        return solver.step(given, torch.tensor(1.0), torch.tensor(0.0), x_t)[0]

    def ddim_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step, eta: float) -> Any:
        return stepped("DDIMSolver", x_t, noise, z, step, step_s, eta=eta)

    def ancestral(variance: str) -> Function:
        def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
            return stepped("DDPMSolver", x_t, noise, z, step, step.before, variance=variance)

        return ancestral_step

    def ornstein_uhlenbeck(x_0: Tensor, integrated_beta: float) -> Any:
        """Its diffusion at the time at which the integral of beta is this."""
        low, high = 0.1, 20.0
        t = (math.sqrt(low**2 + 2 * (high - low) * integrated_beta) - low) / (high - low)
        made = importlib.import_module("deepinv.sampling").VariancePreservingDiffusion(None, low, high)
        scale = made.scale_t(t)
        return scale * x_0, (scale * made.sigma_t(t)) ** 2

    return [
        Asked("forward.ornstein_uhlenbeck", "VariancePreservingDiffusion", ornstein_uhlenbeck),
        Asked("posterior.ancestral_step", "DDPMSolver.step", ancestral("small"), "small", SMALL),
        Asked("posterior.ancestral_step", "DDPMSolver.step", ancestral("large"), "large", LARGE),
        Asked("posterior.ddim_step", "DDIMSolver.step", ddim_step),
    ]


def walks() -> list[Walk]:
    """The samplers of deepinv, with its own diffusion, from its time 1 to 0 in even steps."""

    def run(name: str, **options: Any) -> Run:
        def sample(ideal: Any, rows: int, steps: int) -> Any:
            sampling = importlib.import_module("deepinv.sampling")

            def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
                kept = 1 / (1 + sigma.double() ** 2)
                answer: Tensor = ideal.x_0(x * kept**0.5, kept)
                return answer

            solver = getattr(sampling, name)(timesteps=np.linspace(1, 0, steps + 1), **options)
            solver.randn_like = torch.randn_like
            made = sampling.VariancePreservingDiffusion(denoiser, solver=solver, minus_one_one=False)
            kept = [float(made.scale_t(t)) ** 2 for t in solver.timesteps]
            return made(x_init=(rows, 1, 1, 1)), kept, float(made.sigma_t(1.0) * made.scale_t(1.0))

        return sample

    own = "its own"
    return [
        Walk("DDPMSolver, small", run("DDPMSolver"), "ancestral", schedule=own),
        Walk("DDPMSolver, large", run("DDPMSolver", variance="large"), "ancestral", "beta", schedule=own),
        Walk("DDIMSolver", run("DDIMSolver"), "ddim", schedule=own),
        Walk("DDIMSolver, eta 0.5", run("DDIMSolver", eta=0.5), "ddim", eta=0.5, schedule=own),
    ]
