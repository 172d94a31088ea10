"""bionemo-moco: its DDPM."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import langevin
from ... import posterior as book
from ...letters import Step
from .asked import SMALL, Asked, Find, Function, Place, Run, Walk, handing, indices


def _moco(place: Place, predicts: str = "noise") -> Any:
    """Its DDPM over a table of betas: by its own schedule, or by one that is given as its documentation says."""
    module = importlib.import_module
    ddpm = module("bionemo.moco.interpolants.discrete_time.continuous.ddpm")
    schedules = module("bionemo.moco.schedules.noise.discrete_noise_schedules")
    times = module("bionemo.moco.distributions.time.uniform")
    prior = module("bionemo.moco.distributions.prior.continuous.gaussian")
    T = len(place.beta)

    class Given(schedules.DiscreteNoiseSchedule):  # type: ignore[name-defined,misc]
        def _generate_schedule(self, nsteps: Any = None, device: Any = "cpu") -> Tensor:
            return 1 - torch.tensor(place.beta, dtype=torch.float32)

    own = {"linear": "DiscreteLinearNoiseSchedule", "cosine": "DiscreteCosineNoiseSchedule"}
    schedule = getattr(schedules, own[place.named])(T) if place.named else Given(T, schedules.TimeDirection.DIFFUSION)
    drawn = times.UniformTimeDistribution(discrete_time=True, nsteps=T)
    return ddpm.DDPM(drawn, prior.GaussianPrior(), schedule, predicts)


def questions(find: Find) -> list[Asked]:
    """What bionemo-moco is asked."""

    def linear(T: int, beta_1: float, beta_T: float) -> Any:
        importlib.import_module("bionemo.moco.interpolants")  # first, or the next import goes in a circle
        module = importlib.import_module("bionemo.moco.schedules.noise.discrete_noise_schedules")
        return 1 - module.DiscreteLinearNoiseSchedule(T, beta_1, beta_T).generate_schedule()

    def cosine(T: int, s: float) -> Any:
        module = importlib.import_module("bionemo.moco.schedules.noise.discrete_noise_schedules")
        return 1 - module.DiscreteCosineNoiseSchedule(T, s=s).generate_schedule()

    def alpha_bar(beta: np.ndarray) -> Any:
        return _moco(Place(beta, 1, 0, "")).alpha_bar

    def marginal(x_0: Tensor, step: Step) -> Any:
        place = find(step)
        made = _moco(place)
        mean = made.interpolate(x_0, indices(place.t, x_0), 0 * x_0)
        return mean, made.forward_noise_schedule[place.t] ** 2

    def diffuse(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place).interpolate(x_0, indices(place.t, x_0), noise)

    def velocity(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place).calculate_velocity(x_0, indices(place.t, x_0), noise)

    def predict_x0(x_t: Tensor, noise: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place).process_data_prediction(noise, x_t, indices(place.t, x_t))

    def predict_noise(x_t: Tensor, x_0: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place, "data").process_noise_prediction(x_0, x_t, indices(place.t, x_t))

    def x0_from_velocity(x_t: Tensor, velocity: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place, "velocity").process_data_prediction(velocity, x_t, indices(place.t, x_t))

    def noise_from_velocity(x_t: Tensor, velocity: Tensor, step: Step) -> Any:
        place = find(step)
        return _moco(place, "velocity").process_noise_prediction(velocity, x_t, indices(place.t, x_t))

    def score_from_x0(x_t: Tensor, noise: Tensor, step: Step) -> Any:
        place = find(step)
        x_0 = predict_x0(x_t, noise, step)
        return _moco(place).score(x_0, x_t, indices(place.t, x_t))

    def score(noise: Any, step: Step) -> Any:
        return langevin.score_from_noise(noise, step)

    def score_of_noise(noise: Tensor, step: Step) -> Any:
        return score_from_x0(0 * noise, noise, step)

    def stepped(output: Tensor, x_t: Tensor, step: Step, z: Any, predicts: str, name: str = "step", **how: Any) -> Any:
        place = find(step)
        with handing(z):
            return getattr(_moco(place, predicts), name)(output, indices(place.t, x_t), x_t, **how)

    def mean(x_t: Tensor, x_0: Tensor, step: Step) -> Any:
        return stepped(x_0, x_t, step, 0 * x_t, "data")

    def mean_from_noise(x_t: Tensor, noise: Tensor, step: Step) -> Any:
        return stepped(noise, x_t, step, 0 * x_t, "noise", "step_noise")

    def ancestral(name: str) -> Function:
        def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
            return stepped(noise, x_t, step, z, "noise", name)

        return ancestral_step

    def ddim_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step, eta: float) -> Any:
        return stepped(noise, x_t, step, z, "noise", "step_ddim", eta=eta)

    def ours(x_t: Any, noise: Any, z: Any, step: Step, eta: float) -> Any:
        """Its DDIM goes from each time to the one before."""
        return book.ddim_step(x_t, noise, z, step, step.before, eta)

    return [
        Asked("forward.linear", "DiscreteLinearNoiseSchedule", linear),
        Asked("forward.cosine", "DiscreteCosineNoiseSchedule", cosine, claim="moco-cosine"),
        Asked("forward.alpha_bar", "DDPM.alpha_bar", alpha_bar),
        Asked("forward.marginal", "interpolate and its table", marginal),
        Asked("forward.diffuse", "interpolate", diffuse),
        Asked("forward.velocity", "calculate_velocity", velocity),
        Asked("forward.predict_x0", "process_data_prediction", predict_x0),
        Asked("forward.predict_noise", "process_noise_prediction", predict_noise),
        Asked("forward.x0_from_velocity", "process_data_prediction", x0_from_velocity),
        Asked("forward.noise_from_velocity", "process_noise_prediction", noise_from_velocity),
        Asked("langevin.score_from_noise", "score", score_of_noise, ours=score),
        Asked("posterior.mean", "step", mean),
        Asked("posterior.mean_from_noise", "step_noise", mean_from_noise),
        Asked("posterior.ancestral_step", "step", ancestral("step"), "", SMALL, claim="moco-variance"),
        Asked("posterior.ancestral_step", "step_noise", ancestral("step_noise"), "", SMALL),
        Asked("posterior.ddim_step", "step_ddim", ddim_step, ours=ours),
    ]


def walks() -> list[Walk]:
    """The samplers of bionemo-moco: all steps."""

    def walk(name: str) -> Run:
        def run(ideal: Any, rows: int, steps: int) -> Any:
            made = _moco(Place(np.zeros(1000), 0, 0, "linear"))
            module = importlib.import_module("bionemo.moco.schedules.inference_time_schedules")
            kept, x = made.alpha_bar.double(), torch.randn(rows, 1, 1, 1)
            times = module.DiscreteLinearInferenceSchedule(1000, direction="diffusion").generate_schedule().long()
            for t in times:
                x = getattr(made, name)(ideal.noise(x, kept[t]), indices(int(t), x), x)
            return x, [*kept[times].tolist(), 1.0], 1.0

        return run

    return [
        Walk("step", walk("step"), "ancestral", claim="moco-variance", steps=(1000,)),
        Walk("step_noise", walk("step_noise"), "ancestral", steps=(1000,)),
        Walk("step_ddim", walk("step_ddim"), "ddim", steps=(1000,)),
    ]
