"""torchcfm and flow_matching: paths of their own, asked where they meet the book's."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor

from ...letters import Step
from .asked import Asked, Find, Function, Stated


def torchcfm_questions(find: Find) -> list[Asked]:
    """What torchcfm is asked: its variance-preserving path, on which its time is an angle."""

    def time(step: Step) -> Tensor:
        return torch.tensor([2 / math.pi * math.asin(step.alpha_bar**0.5)])

    def matcher() -> Any:
        return importlib.import_module("torchcfm").VariancePreservingConditionalFlowMatcher(sigma=0.0)

    def diffuse(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        return matcher().compute_mu_t(noise, x_0, time(step))

    def flow(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        here = time(step)
        return matcher().compute_conditional_flow(noise, x_0, here, diffuse(x_0, noise, step))

    def velocity(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        return -2 / math.pi * flow(x_0, noise, step)

    angle = Stated(
        "the derivative by a time that runs from noise to data: -pi/2 times the book's",
        "the docstring of `compute_conditional_flow`",
        velocity,
    )
    return [
        Asked("forward.diffuse", "compute_mu_t", diffuse),
        Asked("forward.velocity", "compute_conditional_flow", flow, stated=angle),
    ]


def flow_matching_questions(find: Find) -> list[Asked]:
    """What flow_matching is asked: its schedulers and what its paths make of a prediction."""

    def path(name: str, step: Step) -> tuple[Any, Tensor]:
        module = importlib.import_module("flow_matching.path.scheduler.scheduler")
        made = importlib.import_module("flow_matching.path").AffineProbPath(getattr(module, name)())
        return made, torch.tensor([2 / math.pi * math.asin(step.alpha_bar**0.5)])

    def diffuse(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        made, t = path("CosineScheduler", step)
        return made.sample(noise, x_0, t).x_t

    def flow(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        made, t = path("CosineScheduler", step)
        return made.sample(noise, x_0, t).dx_t

    def velocity(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        return -2 / math.pi * flow(x_0, noise, step)

    def predict_x0(x_t: Tensor, noise: Tensor, step: Step) -> Any:
        made, t = path("CosineScheduler", step)
        return made.epsilon_to_target(noise, x_t, t)

    def predict_noise(x_t: Tensor, x_0: Tensor, step: Step) -> Any:
        made, t = path("CosineScheduler", step)
        return made.target_to_epsilon(x_0, x_t, t)

    def x0_from(factor: float) -> Function:
        def x0_from_velocity(x_t: Tensor, velocity: Tensor, step: Step) -> Any:
            made, t = path("CosineScheduler", step)
            return made.velocity_to_target(factor * velocity, x_t, t)

        return x0_from_velocity

    def noise_from(factor: float) -> Function:
        def noise_from_velocity(x_t: Tensor, velocity: Tensor, step: Step) -> Any:
            made, t = path("CosineScheduler", step)
            return made.velocity_to_epsilon(factor * velocity, x_t, t)

        return noise_from_velocity

    def ornstein_uhlenbeck(x_0: Tensor, integrated_beta: float) -> Any:
        """Its VPScheduler at the time at which the integral of beta is this."""
        module = importlib.import_module("flow_matching.path.scheduler.scheduler")
        low, high = 0.1, 20.0
        # B = (high - low) u^2 / 2 + low u with u = 1 - t
        u = (math.sqrt(low**2 + 2 * (high - low) * integrated_beta) - low) / (high - low)
        made = module.VPScheduler(low, high)(torch.tensor(1 - u))
        return made.alpha_t * x_0, made.sigma_t**2

    words = "the derivative by a time that runs from noise to data: -pi/2 times the book's"
    where = "the formulas of `AffineProbPath`"
    return [
        Asked("forward.ornstein_uhlenbeck", "VPScheduler", ornstein_uhlenbeck),
        Asked("forward.diffuse", "AffineProbPath.sample, CosineScheduler", diffuse),
        Asked("forward.velocity", "AffineProbPath.sample", flow, stated=Stated(words, where, velocity)),
        Asked("forward.predict_x0", "epsilon_to_target", predict_x0),
        Asked("forward.predict_noise", "target_to_epsilon", predict_noise),
        Asked(
            "forward.x0_from_velocity",
            "velocity_to_target",
            x0_from(1.0),
            stated=Stated(words, where, x0_from(-math.pi / 2)),
        ),
        Asked(
            "forward.noise_from_velocity",
            "velocity_to_epsilon",
            noise_from(1.0),
            stated=Stated(words, where, noise_from(-math.pi / 2)),
        ),
    ]
