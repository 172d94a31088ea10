"""Every way to sample from a run that has not learned a variance, for the experiments of chapter 6."""

from __future__ import annotations

from ..train.samplers import SAMPLERS, VARIANCES

FIXED = sorted((name for name in VARIANCES if name != "learned"), key=lambda name: name != "posterior")
"""The variances that every run can be sampled with, the default first."""


def ways() -> dict[tuple[str, str], dict[str, str]]:
    """The options of each way, by sampler and variance; the variance is empty where the sampler has none."""
    return {
        (name, variance): {"sampler": name, **({"variance": variance} if variance else {})}
        for name, sampler in SAMPLERS.items()
        for variance in (FIXED if "variance" in sampler.options else [""])
    }
