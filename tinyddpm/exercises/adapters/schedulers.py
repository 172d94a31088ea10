"""The schedulers of diffusers, and of what began as a copy of it: the same adapters for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...letters import Step
from .asked import LARGE, SMALL, Asked, Find, Function, Place, Run, handing, indices, unit

STEP = "DDPMScheduler.step"


def by_table(make: Callable[[], Any], sample: Callable[[Any], Tensor], **options: Any) -> Run:
    """The walk of a scheduler that looks up its times in a table of alpha_bar."""

    def run(ideal: Any, rows: int, steps: int) -> Any:
        scheduler = make()
        scheduler.set_timesteps(steps)
        kept, x = scheduler.alphas_cumprod.double(), torch.randn(rows, 1, 1, 1)
        for t in scheduler.timesteps:
            x = sample(scheduler.step(ideal.noise(x, kept[t]), int(t), x, **options))
        return x, [*kept[scheduler.timesteps].tolist(), 1.0], 1.0

    return run


@dataclass(frozen=True)
class Schedulers:
    """The schedulers of one library."""

    find: Find
    make: Callable[..., Any]
    """a scheduler, from the name of its class, a place and options"""
    sample: Callable[[Any], Tensor]
    """x_{t-1}, in what a step gives"""
    clean: Callable[[Any], Tensor]
    """the predicted x_0 in it"""

    def alpha_bar(self, beta: np.ndarray) -> Any:
        """Its table."""
        return self.make("DDPMScheduler", Place(beta, 1, 0, "")).alphas_cumprod

    def marginal(self, x_0: Tensor, step: Step) -> Any:
        """A mean by its noising without noise, and 1 - alpha_bar as it is formed in its steps."""
        place = self.find(step)
        scheduler = self.make("DDPMScheduler", place)
        return scheduler.add_noise(x_0, 0 * x_0, indices(place.t, x_0)), 1 - scheduler.alphas_cumprod[place.t]

    def diffuse(self, x_0: Tensor, noise: Tensor, step: Step) -> Any:
        """Its noising."""
        place = self.find(step)
        return self.make("DDPMScheduler", place).add_noise(x_0, noise, indices(place.t, x_0))

    def velocity(self, x_0: Tensor, noise: Tensor, step: Step) -> Any:
        """Its velocity."""
        place = self.find(step)
        return self.make("DDPMScheduler", place).get_velocity(x_0, noise, indices(place.t, x_0))

    def stepped(self, output: Tensor, x_t: Tensor, step: Step, z: Any, **options: Any) -> Any:
        """What its DDPM gives for a step, with this noise as the fresh one."""
        place = self.find(step)
        with handing(z):
            return self.make("DDPMScheduler", place, **options).step(output, place.t, x_t)

    def predict_x0(self, x_t: Tensor, noise: Tensor, step: Step) -> Any:
        """From the noise."""
        return self.clean(self.stepped(noise, x_t, step, 0 * x_t))

    def x0_from_velocity(self, x_t: Tensor, velocity: Tensor, step: Step) -> Any:
        """From the velocity."""
        return self.clean(self.stepped(velocity, x_t, step, 0 * x_t, prediction_type="v_prediction"))

    def mean(self, x_t: Tensor, x_0: Tensor, step: Step) -> Any:
        """A step without fresh noise, of a network that predicts x_0."""
        return self.sample(self.stepped(x_0, x_t, step, 0 * x_t, prediction_type="sample"))

    def mean_from_noise(self, x_t: Tensor, noise: Tensor, step: Step) -> Any:
        """A step without fresh noise, of a network that predicts noise."""
        return self.sample(self.stepped(noise, x_t, step, 0 * x_t))

    def mean_from_velocity(self, x_t: Tensor, velocity: Tensor, step: Step) -> Any:
        """A step without fresh noise, of a network that predicts the velocity."""
        return self.sample(self.stepped(velocity, x_t, step, 0 * x_t, prediction_type="v_prediction"))

    def variance(self, step: Step) -> Any:
        """The square of what a noise of 1 adds."""
        zero = torch.zeros(1, 1, 1, 1)
        return self.sample(self.stepped(zero, zero, step, unit(zero))) ** 2

    def ancestral(self, kind: str) -> Function:
        """A step with one of its variances."""

        def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
            return self.sample(self.stepped(noise, x_t, step, z, variance_type=kind))

        return ancestral_step

    def interpolated_variance(self, v: Tensor, step: Step) -> Any:
        """The square of what a noise of 1 adds, where the network says v."""
        both = torch.cat([0 * v, 2 * v - 1], dim=1)
        return self.sample(self.stepped(both, 0 * v, step, unit(v), variance_type="learned_range")) ** 2

    def ddim_step(self, x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step, eta: float) -> Any:
        """A step of its DDIM."""
        place = self.find(step, step_s)
        with handing(z):
            return self.sample(self.make("DDIMScheduler", place).step(noise, place.t, x_t, eta=eta))

    def ddim_sigma(self, step: Step, step_s: Step, eta: float) -> Any:
        """Its variance of DDIM, as a standard deviation."""
        place = self.find(step, step_s)
        return eta * self.make("DDIMScheduler", place)._get_variance(place.t, place.s) ** 0.5

    def questions(self, claims: dict[str, str] | None = None) -> list[Asked]:
        """What both are asked, and the sections about what is wrong, by the equation."""
        wrong = claims or {}
        asked = [
            Asked("forward.alpha_bar", "DDPMScheduler.alphas_cumprod", self.alpha_bar),
            Asked("forward.marginal", "add_noise, alphas_cumprod", self.marginal),
            Asked("forward.diffuse", "add_noise", self.diffuse),
            Asked("forward.velocity", "get_velocity", self.velocity),
            Asked("forward.predict_x0", STEP, self.predict_x0),
            Asked("forward.x0_from_velocity", STEP, self.x0_from_velocity),
            Asked("posterior.mean", STEP, self.mean),
            Asked("posterior.mean_from_noise", STEP, self.mean_from_noise),
            Asked("posterior.mean_from_velocity", STEP, self.mean_from_velocity),
            Asked("posterior.variance", STEP, self.variance),
            Asked("posterior.ancestral_step", STEP, self.ancestral("fixed_small"), "fixed_small", SMALL),
            Asked("posterior.ancestral_step", STEP, self.ancestral("fixed_large"), "fixed_large", LARGE),
            Asked("posterior.interpolated_variance", STEP, self.interpolated_variance, "learned_range"),
            Asked("posterior.ddim_step", "DDIMScheduler.step", self.ddim_step),
            Asked("posterior.ddim_sigma", "DDIMScheduler._get_variance", self.ddim_sigma),
        ]
        return [each.about(wrong.get(each.equation, "")) for each in asked]
