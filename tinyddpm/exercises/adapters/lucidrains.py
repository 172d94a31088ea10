"""denoising-diffusion-pytorch, by Phil Wang (lucidrains)."""

from __future__ import annotations

import importlib
import math
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from ... import elbo, forward
from ... import posterior as book
from ...letters import Step
from .asked import SMALL, Asked, Find, Function, Place, Run, Stated, Walk, handing, indices

LUCIDRAINS = "denoising_diffusion_pytorch.denoising_diffusion_pytorch"
LEARNED = "denoising_diffusion_pytorch.learned_gaussian_diffusion"


class _Network(torch.nn.Module):
    """What its classes ask of a network: one channel, or two where the variance is learned."""

    self_condition = False

    def __init__(self, function: Function, channels: int = 1) -> None:
        super().__init__()
        self.function, self.channels, self.out_dim = function, 1, channels

    def forward(self, *given: Any) -> Any:
        """The function."""
        return self.function(*given)


def _lucidrains(place: Place, function: Function, learned: bool = False, **options: Any) -> Any:
    """Its diffusion over a table of betas: its own schedule, or this one in the place of its linear one."""
    module = importlib.import_module(LUCIDRAINS)
    own = {"beta_schedule": place.named} if place.named else {"beta_schedule": "linear"}
    made = importlib.import_module(LEARNED).LearnedGaussianDiffusion if learned else module.GaussianDiffusion
    options = {"objective": "pred_noise", "auto_normalize": False, "image_size": (1, 1), **own, **options}
    given = (lambda _: torch.tensor(place.beta)) if not place.named else module.linear_beta_schedule
    with mock.patch.object(module, "linear_beta_schedule", given):
        return made(_Network(function, 1 + learned), timesteps=len(place.beta), **options)


def questions(find: Find) -> list[Asked]:
    """What denoising-diffusion-pytorch is asked."""

    def made(step: Step, output: Any = None, **options: Any) -> tuple[Any, Place]:
        place = find(step)
        return _lucidrains(place, lambda *_: output, **options), place

    def linear(T: int) -> Any:
        return importlib.import_module(LUCIDRAINS).linear_beta_schedule(T)

    def cosine(T: int, s: float) -> Any:
        return importlib.import_module(LUCIDRAINS).cosine_beta_schedule(T, s)

    def alpha_bar(beta: np.ndarray) -> Any:
        return _lucidrains(Place(beta, 1, 0, ""), lambda *_: None).alphas_cumprod

    def marginal(x_0: Tensor, step: Step) -> Any:
        diffusion, place = made(step)
        mean = diffusion.q_sample(x_0, indices(place.t, x_0), 0 * x_0)
        return mean, diffusion.sqrt_one_minus_alphas_cumprod[place.t] ** 2

    def diffuse(x_0: Tensor, noise: Tensor, step: Step) -> Any:
        diffusion, place = made(step)
        return diffusion.q_sample(x_0, indices(place.t, x_0), noise)

    def method(name: str, order: str) -> Function:
        """A method of x_t or x_0, the time, and something else: in the order of the book's arguments, or turned."""

        def call(first: Tensor, second: Tensor, step: Step) -> Any:
            diffusion, place = made(step)
            return getattr(diffusion, name)(first, indices(place.t, first), second)

        names = order.split()
        return lambda **given: call(given[names[0]], given[names[1]], given["step"])

    def posterior(x_t: Tensor, x_0: Tensor, step: Step) -> Any:
        diffusion, place = made(step)
        mean, var, _ = diffusion.q_posterior(x_0, x_t, indices(place.t, x_t))
        return mean, var.flatten()[0]

    def ancestral_step(x_t: Tensor, noise: Tensor, z: Tensor, step: Step) -> Any:
        diffusion, place = made(step, noise)
        with handing(z):
            return diffusion.p_sample(x_t, place.t)[0]

    def interpolated_variance(v: Tensor, step: Step) -> Any:
        place = find(step)
        diffusion = _lucidrains(place, lambda *_: None, learned=True)
        both = torch.cat([0 * v, 2 * v - 1], dim=1)
        asked = {"x": 0 * v, "t": indices(place.t, v), "clip_denoised": False, "model_output": both}
        return diffusion.p_mean_variance(**asked)[1]

    def interpolated(v: Any, step: Step) -> Any:
        """At t = 1 its logarithm of the smaller variance, which is 0, is cut off."""
        if step.noise_var_prev == 0:
            raise ValueError("not asked")
        return book.interpolated_variance(v, step)

    def decoder_log_prob(x_0: Tensor, mean: Tensor, var: Tensor) -> Any:
        module = importlib.import_module(LEARNED)
        return module.discretized_gaussian_log_likelihood(x_0, means=mean, log_scales=var.log() / 2)

    def gaussian_kl(mean_q: Tensor, var_q: Tensor, mean_p: Tensor, var_p: Tensor) -> Any:
        module = importlib.import_module(LEARNED)
        return module.normal_kl(mean_q, var_q, mean_p, var_p)

    def of_logarithms(mean_q: Tensor, var_q: Tensor, mean_p: Tensor, var_p: Tensor) -> Any:
        return gaussian_kl(mean_q, var_q.log(), mean_p, var_p.log())

    def min_snr_weight(step: Step, snr_cap: float, predicts: str) -> Any:
        objective = {"noise": "pred_noise", "x_0": "pred_x0", "velocity": "pred_v"}[predicts]
        diffusion, place = made(step, objective=objective, min_snr_loss_weight=True, min_snr_gamma=snr_cap)
        return diffusion.loss_weight[place.t]

    def hybrid_loss(x_0: Tensor, noise: Tensor, noise_hat: Tensor, v: Tensor, step: Step) -> Any:
        place = find(step)
        output = torch.cat([noise_hat, 2 * v - 1], dim=1)
        diffusion = _lucidrains(place, lambda *_: output, learned=True)
        return diffusion.p_losses(x_0, indices(place.t, x_0), noise)

    def ours(x_0: Any, noise: Any, noise_hat: Any, v: Any, step: Step) -> Any:
        """Per coordinate and in bits, as they count."""
        x_t, T = forward.diffuse(x_0, noise, step), len(find(step).beta)
        mean, var = book.mean_from_noise(x_t, noise_hat, step), book.interpolated_variance(v, step)
        term = elbo.denoising_matching(x_t, x_0, mean, var, step)
        return elbo.hybrid_loss(elbo.simple_loss(noise, noise_hat).mean(), T * term.mean() / math.log(2))

    def exact_decoder(x_0: Tensor, mean: Tensor, var: Tensor) -> Any:
        with mock.patch.object(importlib.import_module(LEARNED), "approx_standard_normal_cdf", torch.special.ndtr):
            return decoder_log_prob(x_0, mean, var)

    def time_embedding(t: Tensor, dims: int) -> Any:
        return importlib.import_module(LUCIDRAINS).SinusoidalPosEmb(dims)(t)

    def embedding_by_d(t: Tensor, dims: int) -> Any:
        half = dims // 2
        return importlib.import_module(LUCIDRAINS).SinusoidalPosEmb(dims, theta=10000 ** (1 - 1 / half))(t)

    logs = Stated(
        "takes logarithms of variances", "its docstring: parameterized by mean and log-variance", of_logarithms
    )
    approximate = Stated(
        "a tanh in the place of the normal distribution function",
        "the name of `approx_standard_normal_cdf`",
        exact_decoder,
    )
    slow = Stated("divides by d/2 - 1, as DDPM's released code", "the code of `SinusoidalPosEmb` alone", embedding_by_d)
    clipped, capped = {**SMALL, "clip": 1.0}, {"snr_cap": 5.0}
    return [
        Asked("forward.linear", "linear_beta_schedule", linear, fixed={"T": 1000, "beta_1": 1e-4, "beta_T": 0.02}),
        Asked("forward.cosine", "cosine_beta_schedule", cosine, fixed={"beta_max": 0.999}),
        Asked("forward.alpha_bar", "alphas_cumprod", alpha_bar),
        Asked("forward.marginal", "q_sample and its table", marginal),
        Asked("forward.diffuse", "q_sample", diffuse),
        Asked("forward.velocity", "predict_v", method("predict_v", "x_0 noise")),
        Asked("forward.predict_x0", "predict_start_from_noise", method("predict_start_from_noise", "x_t noise")),
        Asked("forward.predict_noise", "predict_noise_from_start", method("predict_noise_from_start", "x_t x_0")),
        Asked("forward.x0_from_velocity", "predict_start_from_v", method("predict_start_from_v", "x_t velocity")),
        Asked("posterior.posterior", "q_posterior", posterior),
        Asked("posterior.ancestral_step", "p_sample", ancestral_step, "always clipped to 1", clipped),
        Asked(
            "posterior.interpolated_variance",
            "LearnedGaussianDiffusion.p_mean_variance",
            interpolated_variance,
            "from t = 2",
            ours=interpolated,
        ),
        Asked("elbo.decoder_log_prob", "discretized_gaussian_log_likelihood", decoder_log_prob, stated=approximate),
        Asked("elbo.gaussian_kl", "normal_kl", gaussian_kl, stated=logs),
        Asked(
            "elbo.hybrid_loss",
            "LearnedGaussianDiffusion.p_losses",
            hybrid_loss,
            "",
            {},
            None,
            "lucidrains-bound-weight",
            ours,
            whole=True,
        ),
        Asked("elbo.min_snr_weight", "loss_weight", min_snr_weight, "for noise", {**capped, "predicts": "noise"}),
        Asked("elbo.min_snr_weight", "loss_weight", min_snr_weight, "for x_0", {**capped, "predicts": "x_0"}),
        Asked(
            "elbo.min_snr_weight", "loss_weight", min_snr_weight, "for the velocity", {**capped, "predicts": "velocity"}
        ),
        Asked("train.time_embedding", "SinusoidalPosEmb", time_embedding, stated=slow),
    ]


def walks() -> list[Walk]:
    """The samplers of denoising-diffusion-pytorch: all steps with fresh noise, fewer with DDIM."""

    def walk(schedule: str, eta: float) -> Run:
        def run(ideal: Any, rows: int, steps: int) -> Any:
            place = Place(np.zeros(1000), 0, 0, schedule)

            def network(x: Tensor, t: Tensor, *_: Any) -> Tensor:
                answer: Tensor = ideal.noise(x, kept[int(t[0])])
                return answer

            diffusion = _lucidrains(place, network, sampling_timesteps=steps, ddim_sampling_eta=eta)
            kept = diffusion.alphas_cumprod.double()
            times = [*range(999, -1, -1)]
            if steps < 1000:
                times = torch.linspace(-1, 999, steps + 1).int().tolist()[:0:-1]
            return diffusion.sample(batch_size=rows), [*kept[times].tolist(), 1.0], 1.0

        return run

    fewer = (10, 20, 50, 300)

    def either(schedule: str) -> list[Walk]:
        return [
            Walk("sample, fewer steps: ddim_sample", walk(schedule, 0.0), "ddim", schedule=schedule, steps=fewer),
            Walk("sample, ddim_sampling_eta 1", walk(schedule, 1.0), "ancestral", schedule=schedule, steps=fewer),
            Walk(
                "sample, all steps: p_sample_loop", walk(schedule, 0.0), "ancestral", schedule=schedule, steps=(1000,)
            ),
        ]

    return either("linear") + either("cosine")
