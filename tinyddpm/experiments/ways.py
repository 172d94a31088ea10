"""Ways to sample from a run for the experiments of chapter 6: every sampler, and some that only an experiment wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import posterior
from ..arrays import Array
from ..runs.run import Run
from ..train.config import Config
from ..train.samplers import SAMPLERS, VARIANCES, Moment, Sampler

FIXED = sorted((name for name in VARIANCES if name != "learned"), key=lambda name: name != "posterior")
"""The variances that every run can be sampled with, the default first."""


def ways() -> dict[tuple[str, str], dict[str, str]]:
    """The options of each way, by sampler and variance; the variance is empty where the sampler has none."""
    return {
        (name, variance): {"sampler": name, **({"variance": variance} if variance else {})}
        for name, sampler in SAMPLERS.items()
        for variance in (FIXED if "variance" in sampler.options else [""])
    }


# Less variance in the last steps. ------------------------------------------------------------------------------------

LAST = 100
"""The last steps are those from this time on, of a thousand."""

ENDS: dict[str, Callable[[Moment], Array]] = {
    "posterior": lambda at: posterior.variance(at.step),
    "half": lambda at: at.var / 2,
    "none": lambda at: 0 * at.var,
}
"""What the variance is in the last steps."""


def ending(end: str) -> Sampler:
    """Algorithm 2 with another variance in the last steps, for a run of the recipe."""
    noisiest = Config().noise_schedule()[LAST].noise_var * (1 + 1e-9)  # times that are visited round a little

    def back(x_t: Array, x_0: Array, at: Moment) -> Array:
        var = ENDS[end](at) if at.step.noise_var <= noisiest else at.var
        return posterior.sampling_step(x_t, x_0, at.z, at.step, var)

    return Sampler(back, ("variance",))


# Batches that a batch norm sees. -------------------------------------------------------------------------------------


def in_batches(loaded: Run, n: int, seed: int, size: int | None) -> np.ndarray:
    """Samples of random classes, drawn in batches of a size that are each normalised by their own mean and variance.

    If there is no size, a batch norm normalises by the averages that it took while it was trained, as it is meant to.
    """
    rng, labels, parts = loaded.generator(seed), loaded.labels(n, how="random", seed=seed), []
    if labels is None:
        raise ValueError("run must have classes")
    for layer in loaded.model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train(size is not None)
            layer.momentum = 0.0  # its averages stay as they are
    for part in labels.split(size or n):
        *_, x_0 = loaded.states(len(part), rng, part)
        parts.append(x_0)
    loaded.model.eval()
    return torch.cat(parts).clamp(-1, 1).numpy()


def drawn(loaded: Run, n: int, seed: int, options: dict[str, Any]) -> np.ndarray:
    """Samples drawn in a way: by the options of `Run.sample`, or with ``batches`` by `in_batches`."""
    return (
        in_batches(loaded, n, seed, options["batches"]) if "batches" in options else loaded.sample(n, seed, **options)
    )
