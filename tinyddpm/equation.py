"""The registry: every equation of the book is one short function.

`@equation` notes a function down, with its formula, its source and what it is derived from, and gives the same
function back, so that calling it costs nothing more. The helpers `sqrt`, `exp` and `log` let one body be read four
ways: on Python floats, NumPy arrays, torch tensors and SymPy symbols. `convert` and `to_numpy` lead from one array
library to another.
"""

from __future__ import annotations

import cmath
import difflib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import array_api_compat
import numpy as np

Array: TypeAlias = Any
"""A Python float, a NumPy array, a torch tensor or a SymPy expression."""

CHAPTERS = ("forward", "posterior", "elbo", "vae_vs_vdm", "langevin", "train")
"""The chapters in the order of the book; a chapter's number is its place here, counted from 1."""

registry: dict[str, Equation] = {}
"""Every equation registered so far, by name, in the order of the book's code."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Equation:
    """One equation: the function, its formula and where both come from."""

    function: Callable[..., Any]
    source: str
    derived_from: tuple[Equation, ...]
    latex: str
    place: int

    @property
    def name(self) -> str:
        """Chapter and function, such as ``posterior.mean``."""
        return f"{self.chapter}.{self.function.__qualname__}"

    @property
    def chapter(self) -> str:
        """The module that holds the function, without its package; of a package that is a chapter, the package."""
        return _chapter(self.function)

    @property
    def number(self) -> str:
        """Chapter and place in it, such as ``2.5``; nobody types it. The running example counts as M."""
        known = self.chapter in CHAPTERS
        return f"{CHAPTERS.index(self.chapter) + 1 if known else self.chapter[0].upper()}.{self.place}"

    @property
    def signature(self) -> str:
        """The arguments as they are written in the code, without their types."""
        return f"({', '.join(map(_without_type, inspect.signature(self.function).parameters.values()))})"

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


def equation(source: str, derived_from: Iterable[Callable[..., Any]] = ()) -> Callable[[F], F]:
    r"""Register the function below as an equation of the book, unchanged.

    Args:
        source: where it is published, such as ``"Ho et al. 2020, Eq. 7"``; several are divided by ``"; "``.
        derived_from: the equations, as functions, that its derivation starts from.

    Raises:
        TypeError: when ``source`` is empty or not text, or ``derived_from`` names something that is no equation.
        ValueError: when the docstring has no ``$$`` formula, or the name is taken.
    """
    if not isinstance(source, str) or not source.strip():
        raise TypeError(f"source must say where the equation is published, got {source!r}")
    origins = tuple(_origin(function) for function in derived_from)

    def register(function: F) -> F:
        chapter = _chapter(function)
        name = f"{chapter}.{function.__qualname__}"
        formula = re.search(r"\$\$(.+?)\$\$", inspect.getdoc(function) or "", re.DOTALL)
        if formula is None:
            raise ValueError(f"{name}: the docstring has no display formula ($$ ... $$)")
        before = registry.get(name)
        if before and _written(before.function) != _written(function):  # the same lines again are a reloaded module
            raise ValueError(f"{name} is registered already: every equation needs a name of its own")
        place = before.place if before else 1 + sum(other.chapter == chapter for other in registry.values())
        registry[name] = Equation(function, source, origins, formula[1].strip(), place)
        return function

    return register


def find(what: str | Callable[..., Any]) -> Equation:
    """The equation of a name or of a function.

    Raises:
        ValueError: when there is none; the message names the nearest ones.
    """
    if isinstance(what, str):
        if what in registry:
            return registry[what]
        near = difflib.get_close_matches(what, registry, n=3, cutoff=0.4)
        raise ValueError(f"equation {what!r} is unknown; nearest: {', '.join(near) or 'none'}")
    for known in registry.values():
        if known.function is what:
            return known
    raise ValueError(f"{getattr(what, '__qualname__', what)} is not a registered equation")


def sqrt(x: Array) -> Array:
    """Square root, as a power, so that every library can take it."""
    return x**0.5


def exp(x: Array) -> Array:
    """Exponential in the library of ``x``."""
    return _library(x).exp(x)


def log(x: Array) -> Array:
    """Natural logarithm in the library of ``x``; of zero it is minus infinity, as in every array library."""
    return -math.inf if isinstance(x, int | float) and x == 0 else _library(x).log(x)


def convert(value: Array, like: Array) -> Array:
    """A number or an array in the library, dtype and device of another."""
    xp = array_api_compat.array_namespace(like)
    return xp.asarray(value, dtype=like.dtype, device=array_api_compat.device(like))


def to_numpy(value: Array) -> np.ndarray:
    """A number, an array or a tensor, wherever it is, as a NumPy array of its dtype."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _library(x: Array) -> Any:
    if isinstance(x, int | float):
        return math
    if isinstance(x, complex):
        return cmath
    if type(x).__module__.startswith("sympy."):
        return sys.modules["sympy"]
    return array_api_compat.array_namespace(x)


def _chapter(function: Callable[..., Any]) -> str:
    *packages, module = function.__module__.split(".")
    return packages[-1] if packages and packages[-1] in CHAPTERS else module


def _written(function: Callable[..., Any]) -> tuple[str, int]:
    """File and line of a function."""
    return function.__code__.co_filename, function.__code__.co_firstlineno


def _origin(function: Callable[..., Any]) -> Equation:
    try:
        return find(function)
    except ValueError as problem:
        raise TypeError(f"derived_from: {problem}") from None


def _without_type(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=inspect.Parameter.empty))
