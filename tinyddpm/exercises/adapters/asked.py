"""What a library is asked, and what adapters have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from ...letters import Step

Function = Callable[..., Any]


class Place(NamedTuple):
    """Where a step stands in a library's table, which counts from 0."""

    beta: np.ndarray
    """the whole table"""
    t: int
    """the index of t"""
    s: int
    """the index of s, where the step leads; -1 for x_0"""
    named: str
    """the name of the schedule in the book, where the library makes it itself; else empty"""


Find = Callable[..., Place]
"""Gives the place of a step, or of a step and the one where it leads."""


@dataclass(frozen=True)
class Stated:
    """A convention of a library, with the adapter that undoes it."""

    words: str
    where: str
    """where the library says so"""
    function: Function


@dataclass(frozen=True)
class Asked:
    """One question: is this function of a library that equation?"""

    equation: str
    theirs: str
    """what is called"""
    function: Function
    option: str = ""
    """the setting of the library under which it is asked"""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """arguments that the library does not leave free, as numbers or as functions of the step"""
    stated: Stated | None = None
    claim: str = ""
    """the section of the page about it, if it is wrong"""
    ours: Function | None = None
    """what of the book it is compared with, if that is more than the equation alone"""
    whole: bool = False
    """whether the length of the table matters, so that it is asked only on those that the library ships"""

    def about(self, claim: str) -> Asked:
        """The same question, with the section of the page about it."""
        return replace(self, claim=claim)


Run = Callable[[Any, int, int], tuple[Tensor, list[float], float]]
"""A sampler of a library: from the network of `Ideal`, the number of rows and of steps to the samples, the share of
x_0's variance that is kept at each visited time, from noise to the end, and the std of the noise it begins with (where
the state is shrunk as the book's)."""


@dataclass(frozen=True)
class Walk:
    """One sampler of a library: its own loop, from its own list of times, with a network that is exact."""

    name: str
    run: Run
    kind: str
    """the step of the book that it should be: ancestral, ddim, second_order; or "" for none"""
    variance: str = "posterior"
    eta: float = 0.0
    schedule: str = "linear"
    stated: tuple[str, str, Mapping[str, Any]] | None = None
    """a convention: its words, where it is stated, and what of the book's sampler it changes"""
    claim: str = ""
    steps: tuple[int, ...] = (10, 20, 50, 300, 1000)
    """how many steps it takes: few, some, a number that does not divide 1000, and all"""


@dataclass(frozen=True)
class Library:
    """A library, how pip calls it, and what it is asked."""

    package: str
    distribution: str
    questions: Callable[[Find], list[Asked]]
    walks: Callable[[], list[Walk]]
    shipped: tuple[str, ...] = ("linear", "cosine")
    """the schedules on which its equations are asked in the precision it ships"""


def indices(at: int, like: Tensor) -> Tensor:
    """A time for each sample."""
    return torch.full((len(like),), at, dtype=torch.long)


def unit(like: Tensor) -> Tensor:
    """Noise that is 1 everywhere."""
    return torch.ones_like(like)


class handing:  # noqa: N801
    """A context in which `torch.randn` and its kin give these tensors, one after the other; the last one again and again."""

    def __init__(self, *draws: Any) -> None:
        self.draws, self.count = draws, 0

    def __call__(self, *_: Any, **__: Any) -> Tensor:
        """The next draw."""
        self.count += 1
        drawn: Tensor = self.draws[min(self.count, len(self.draws)) - 1]
        return drawn

    def __enter__(self) -> handing:
        self._patches = [mock.patch.object(torch, name, self) for name in ("randn", "randn_like")]
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: Any) -> None:
        for patch in self._patches:
            patch.stop()


class in_float64:  # noqa: N801
    """A context in which a library computes in float64 what it writes in float32: rounding apart from error."""

    def __enter__(self) -> None:
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        double, to_double = torch.float64, torch.Tensor.double
        self._patches: list[Any] = [
            mock.patch.object(torch, "float32", double),
            mock.patch.object(torch, "float", double),
            mock.patch.object(torch.Tensor, "float", to_double),
            mock.patch.object(np, "float32", np.float64),
        ]
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: Any) -> None:
        for patch in self._patches:
            patch.stop()
        torch.set_default_dtype(self._default)


def _posterior_variance(step: Step) -> float:
    return float(step.noise_var_prev / step.noise_var * step.beta)


def _beta(step: Step) -> float:
    return float(step.beta)


SMALL, LARGE = {"var": _posterior_variance}, {"var": _beta}
"""Variances of an ancestral step."""

SHRUNK = "states are x_t / sqrt(alpha_bar): x_0 is not shrunk"
"""A convention of two libraries."""
