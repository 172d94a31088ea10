"""azula: its samplers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ... import forward
from ...letters import Step
from .asked import SMALL, Asked, Find, Function, Place, Run, Stated, Walk, handing


def _azula(kept: Sequence[Any], mean: Function) -> Any:
    """A denoiser of azula: at its time i / (n - 1) the share of x_0's variance is the i-th of these."""
    noise = importlib.import_module("azula.noise")
    denoise = importlib.import_module("azula.denoise")
    table = torch.tensor([float(each) for each in kept])

    class Given(noise.Schedule):  # type: ignore[name-defined,misc]
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            share = table[(t * (len(table) - 1)).round().long()]
            return share.sqrt(), (1 - share).sqrt()

    class Known(denoise.Denoiser):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.schedule = Given()

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
            return denoise.DiracPosterior(mean=mean(x_t, t))

    return Known()


def questions(find: Find) -> list[Asked]:
    """What azula is asked."""

    def shares(place: Place) -> list[float]:
        kept = torch.cumprod(1 - torch.tensor(place.beta, dtype=torch.float32), 0)
        return [float(kept[place.s]) if place.s >= 0 else 1.0, float(kept[place.t])]

    def stepped(x_t: Tensor, mean: Function, z: Tensor, place: Place, name: str, **options: Any) -> Any:
        module = importlib.import_module("azula.sample")
        sampler = getattr(module, name)(_azula(shares(place), mean), steps=1, silent=True, **options)
        with handing(z):
            return sampler.step(x_t, torch.tensor(1.0), torch.tensor(0.0))

    def ddim(squared: bool) -> Function:
        def ddim_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step, step_s: Step, eta: float) -> Any:
            place = find(step, step_s)
            mean = forward.predict_x0(x_t, noise, Step.from_alpha_bar(shares(place)[1]))
            return stepped(x_t, lambda *_: mean, z, place, "DDIMSampler", eta=eta**2 if squared else eta)

        return ddim_step

    def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
        place = find(step)
        mean = forward.predict_x0(x_t, noise, Step.from_alpha_bar(shares(place)[1]))
        return stepped(x_t, lambda *_: mean, z, place, "DDPMSampler")

    squares = Stated("eta is the square of DDIM's", "the formula in the docstring of `DDIMSampler`", ddim(True))
    return [
        Asked("posterior.ancestral_step", "DDPMSampler.step", ancestral_step, "", SMALL),
        Asked("posterior.ddim_step", "DDIMSampler.step", ddim(False), stated=squares),
    ]


def walks() -> list[Walk]:
    """The samplers of azula, with its own schedule."""

    def walk(name: str, **options: Any) -> Run:
        def run(ideal: Any, rows: int, steps: int) -> Any:
            sample = importlib.import_module("azula.sample")
            denoise = importlib.import_module("azula.denoise")
            schedule = importlib.import_module("azula.noise").VPSchedule()

            class Known(denoise.Denoiser):  # type: ignore[name-defined,misc]
                def __init__(self) -> None:
                    super().__init__()
                    self.schedule = schedule

                def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
                    alpha, sigma = (each.double() for each in schedule(t))
                    whole = alpha**2 + sigma**2
                    return denoise.DiracPosterior(mean=ideal.x_0(x_t / whole**0.5, alpha**2 / whole))

            sampler = getattr(sample, name)(Known(), steps=steps, silent=True, **options)
            alpha, sigma = (each.double().flatten() for each in schedule(sampler.timesteps))
            whole = alpha**2 + sigma**2
            x = sampler(sigma[0] * torch.randn(rows, 1, 1, 1))
            return x / whole[-1] ** 0.5, (alpha**2 / whole).tolist(), float(sigma[0] / whole[0] ** 0.5)

        return run

    end: tuple[str, str, Mapping[str, Any]] = ("ends at its smallest sigma, not at 0", "the module `azula.noise`", {})
    squares = ("eta is the square of DDIM's", "the formula in the docstring of `DDIMSampler`", {"eta": 0.5})
    return [
        Walk("DDPMSampler", walk("DDPMSampler"), "ancestral", schedule="its own", stated=end),
        Walk("DDIMSampler", walk("DDIMSampler"), "ddim", schedule="its own", stated=end),
        Walk(
            "DDIMSampler, eta 0.25", walk("DDIMSampler", eta=0.25), "ddim", eta=0.25, schedule="its own", stated=squares
        ),
    ]
