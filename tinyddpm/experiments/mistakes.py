"""The mistakes of chapter 6, made on purpose, one at a time: the loss falls, and the samples are noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import forward, posterior
from ..arrays import Array, sqrt
from ..data import Data
from ..runs.loop import LOG_EVERY
from ..train import Model, sample, visited_times
from ..train.config import Config
from ..train.samplers import Moment, Sampler
from ..train.trainer import Trainer


def walk(
    model: Model,
    schedule: forward.Schedule,
    shape: Sequence[int],
    rng: torch.Generator,
    steps: int,
    predicts: str,
    *,
    merged: bool = True,
    named: bool = True,
    scatter: Callable[[float], float] = sqrt,
    clip: float | None = 1.0,
) -> Tensor:
    """Algorithm 2 with options that are mistakes; with their defaults it makes none.

    Args:
        model: the network, called as ``model(x_t, t)``.
        schedule: the one it was trained with.
        shape: of the samples, (batch, ...).
        rng: gives x_T first and then one z for every step.
        steps: how many times to visit.
        predicts: what the sampler takes the output of the network for.
        merged: whether the betas of skipped times are merged into the next one.
        named: whether the network gets the time t in 1..T, not the place of t among the visited times.
        scatter: the standard deviation of the fresh noise, as a function of its variance.
        clip: the predicted x_0 is clipped to [-clip, clip]; None for no clipping.
    """
    times = visited_times(schedule.T, steps)
    places = torch.zeros(schedule.T + 1, dtype=torch.int64)
    places[times] = torch.arange(1, steps + 1)
    unmerged = {schedule[t].alpha_bar: schedule[t] for t in times}

    def back(x_t: Array, x_0: Array, at: Moment) -> Array:
        step = at.step if merged else min(unmerged.items(), key=lambda entry: abs(entry[0] - at.step.alpha_bar))[1]
        return posterior.mean(x_t, x_0, step) + scatter(posterior.variance(step)) * at.z  # this variance is 0 at t = 1

    network = model if named else (lambda x_t, t: model(x_t, places[t]))
    return sample(network, schedule, shape, rng, Sampler(back, ()), steps, predicts=predicts, clip=clip)


class Young(Trainer):
    """Averages the weights with a decay so near 1 that the random first weights keep most of the average."""

    def decay(self) -> float:
        return 0.9999


class Blind(Trainer):
    """Gives the network t = 1 at every time."""

    def conditioned(self, *condition: Tensor | None) -> Model:
        return blind(super().conditioned(*condition))


def blind(model: Model) -> Model:
    """The model, which gets t = 1 at every time."""
    return lambda x_t, t: model(x_t, torch.full_like(t, 1))


@dataclass(frozen=True)
class Mistake:
    """What is changed: options of `walk`, options of the config, the trainer, or the range of the pictures."""

    title: str
    walk: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    trainer: type[Trainer] = Trainer
    pixels: tuple[float, float] = (-1.0, 1.0)


VELOCITY = {"predicts": "velocity"}

STEPS = 50
"""How many times the sampler visits: ancestral steps need more than those of second order."""

MISTAKES = {
    "none": Mistake("no mistake"),
    "noise": Mistake("velocity read as noise", {"predicts": "noise"}, VELOCITY),
    "blind": Mistake("time always 1", trainer=Blind),
    "variance": Mistake("variance for std", {"scatter": lambda var: var}),
    "silent": Mistake("no noise added", {"scatter": lambda var: 0.0}),
    "range": Mistake("trained in 0..1", pixels=(0.0, 1.0)),
    "std": Mistake("std for variance", {"scatter": lambda var: var**0.25}),
    "place": Mistake("step's number for $t$", {"named": False}),
    "unclipped": Mistake("noise, unclipped", {"clip": None}, {"predicts": "noise", "schedule": "cosine"}),
    "betas": Mistake("betas not merged", {"merged": False}),
    "x_0": Mistake("velocity read as $x_0$", {"predicts": "x_0"}, VELOCITY),
    "young": Mistake("average too young", trainer=Young),
}
"""No mistake, and then every mistake: from those that hardly show to those that leave nothing but noise."""


def learn(mistake: Mistake, config: Config, dataset: Data) -> tuple[nn.Module, float]:
    """A network trained with a mistake, with averaged weights, and its loss over the last steps."""
    low, high = mistake.pixels
    dataset = dataset._replace(train=(low + (high - low) * (dataset.train + 1) / 2).astype(np.float32))
    assert config.steps is not None
    with torch.random.fork_rng(devices=[]):
        trainer = mistake.trainer(config, dataset, torch.device("cpu"))
        last = min(config.steps, LOG_EVERY)
        for step in range(config.steps):
            if step == config.steps - last:
                trainer.totals.zero_()
            trainer.step(step / config.steps)
    return trainer.averaged(), trainer.totals[0].item() / last


def draw(mistake: Mistake, model: Model, config: Config, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Samples, drawn with a mistake."""
    model = blind(model) if mistake.trainer is Blind else model
    rng, schedule = torch.Generator().manual_seed(seed), config.noise_schedule()
    samples = walk(model, schedule, shape, rng, min(STEPS, config.T), **{"predicts": config.predicts, **mistake.walk})
    return samples.clamp(-1, 1).numpy()
