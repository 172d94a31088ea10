"""The registry: every equation of the book is one short function.

`@equation` puts the door before a function, so that its body can be its formula alone, and notes it down with its
formula, its source and what it is derived from. `arrays` has the helpers with which one body is read four ways.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from . import door
from .arrays import Array as Array
from .arrays import convert as convert
from .arrays import exp as exp
from .arrays import log as log
from .arrays import sqrt as sqrt
from .arrays import to_numpy as to_numpy

CHAPTERS = ("forward", "posterior", "elbo", "vae_vs_vdm", "langevin", "train")
"""The chapters in the order of the book; a chapter's number is its place here, counted from 1."""

UNPROVED = {
    "schedule": "it makes a whole schedule",
    "steps": "it runs over all steps",
    "outcomes": "it runs over the outcomes of a discrete variable",
    "components": "it runs over the components of a mixture",
    "integral": "it is an integral",
    "cases": "it distinguishes cases",
    "matrices": "it computes on matrices",
    "function": "it takes a function",
    "rounds": "it rounds and clips",
    "arrays": "it computes on arrays or networks, not on single numbers",
}
"""Why a formula is not proved equal to its code, by the word that `@equation` takes for it."""

WIDTH = 80
"""Columns of code that fit a page."""

registry: dict[str, Equation] = {}
"""Every equation registered so far, by name, in the order of the book's code."""

_loads: dict[Callable[..., Any], Any] = {}
"""The load of its module in which each function was registered."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, repr=False)
class Equation:
    """One equation: the function, its formula, where both come from and what its arguments are."""

    function: Callable[..., Any]
    source: str
    derived_from: tuple[Equation, ...]
    latex: str
    place: int
    arguments: tuple[door.Argument, ...]
    shapes: Mapping[str, door.Shapes]
    unproved: str | None = None

    def __repr__(self) -> str:
        return f"<equation ({self.number}) {self.name}>"

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
        return _signature(self.function)

    @property
    def code(self) -> str:
        """The function as it is shown: without its decorator, its docstring and its types."""
        return listing(door.bare(self.function))

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


def equation(
    source: str,
    derived_from: Iterable[Callable[..., Any]] = (),
    *,
    where: Mapping[str, Any] | None = None,
    require: Mapping[str, str] | None = None,
    shapes: str = "",
    unproved: str | None = None,
) -> Callable[[F], F]:
    r"""Register the function below as an equation of the book, and put the door before it.

    Args:
        source: where it is published, such as ``"Ho et al. 2020, Eq. 7"``; several are divided by ``"; "``.
        derived_from: the equations, as functions, that its derivation starts from.
        where: what this equation asks of an argument beyond its letter: another interval (``{"var": "[0, inf)"}``),
            another kind (``{"p": "number [0, 1]"}``), other choices, or a field of a step that must be above 0
            (``{"step.alpha": "(0, 1]"}``).
        require: what must hold between arguments, as words for the message and an expression for the check, such as
            ``{"snr_max must be at least snr_min": "snr_max >= snr_min"}``.
        shapes: of arguments that are not all of one shape, such as ``"x (..., d), divergence (...)"``.
        unproved: why its formula is not proved, a key of `UNPROVED`; None if it is.

    Raises:
        TypeError: when ``source`` is empty or not text, or ``derived_from`` names something that is no equation.
        ValueError: when the docstring has no ``$$`` formula, an argument's letter has no row in `letters`, the reason
            is none of `UNPROVED`, or the name is taken.
    """
    if not isinstance(source, str) or not source.strip():
        raise TypeError(f"source must say where the equation is published, got {source!r}")
    if unproved is not None and unproved not in UNPROVED:
        raise ValueError(f"unproved must be one of {', '.join(UNPROVED)}, got {unproved!r}")
    origins = tuple(_origin(function) for function in derived_from)

    def register(function: F) -> F:
        chapter = _chapter(function)
        name = f"{chapter}.{function.__qualname__}"
        formula = re.search(r"\$\$(.+?)\$\$", inspect.getdoc(function) or "", re.DOTALL)
        if formula is None and sys.flags.optimize < 2:  # under -OO there are no docstrings
            raise ValueError(f"{name}: the docstring has no display formula ($$ ... $$)")
        before = registry.get(name)
        if before and not _reloaded(door.bare(before.function), function):
            raise ValueError(f"{name} is registered already: every equation needs a name of its own")
        place = before.place if before else 1 + sum(other.chapter == chapter for other in registry.values())
        call, known = door.guarded(name, function, where or {}, require or {}, shapes)
        call.__doc__ = _with_arguments(name, function, known, shapes)
        _loads[function] = function.__globals__.get("__spec__")
        reason = UNPROVED[unproved] if unproved else None
        registry[name] = Equation(
            call,
            source,
            origins,
            formula[1].strip() if formula else "",
            place,
            tuple(known),
            door.read_shapes(shapes),
            reason,
        )
        return call  # type: ignore[return-value]

    return register


def nearest(name: str, names: Iterable[str]) -> str:
    """The names that are most like one that is unknown, for a message."""
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.4)) or "none"


def find(what: str | Callable[..., Any]) -> Equation:
    """The equation of a name or of a function.

    Raises:
        ValueError: when there is none; the message names the nearest ones.
    """
    if isinstance(what, str):
        if what in registry:
            return registry[what]
        raise ValueError(f"equation {what!r} is unknown; nearest: {nearest(what, registry)}")
    for known in registry.values():
        if known.function is what or door.bare(known.function) is what:
            return known
    raise ValueError(f"{getattr(what, '__qualname__', what)} is not a registered equation")


def listing(shown: Any) -> str:
    """The source of a function or a class as a page shows it: without decorators, docstrings and types."""
    lines = textwrap.dedent(inspect.getsource(shown)).splitlines()
    tree = ast.parse("\n".join(lines)).body[0]
    if isinstance(tree, ast.ClassDef):
        methods = [getattr(shown, part.name) for part in tree.body if isinstance(part, ast.FunctionDef)]
        inside = (textwrap.indent(listing(each), "    ") for each in methods)
        return f"{lines[tree.lineno - 1]}\n" + "\n\n".join(inside)
    assert isinstance(tree, ast.FunctionDef)
    first = tree.body[0] if ast.get_docstring(tree) is None else tree.body[1]
    start = first.lineno - 1
    while lines[start - 1].strip().startswith("#"):  # a comment above the first statement belongs to it
        start -= 1
    head = textwrap.wrap(f"def {tree.name}{_signature(shown)}:", WIDTH, subsequent_indent="        ")
    return "\n".join([*head, *lines[start:]])


def described(argument: door.Argument, shapes: str = "") -> str:
    """An argument in one line: what its letter means, and what it may be here."""
    letter, shape = argument.letter, re.search(rf"(?<!\w){argument.name} (\([^)]*\))", shapes)
    meaning = letter.meaning.replace(", any shape", "") if shape else letter.meaning
    parts = [meaning, f"shape {shape[1]}" if shape and "shape" not in meaning else "", *argument.allowed()]
    return "; ".join(filter(None, parts))


def _with_arguments(name: str, function: Callable[..., Any], known: Iterable[door.Argument], shapes: str) -> str:
    """The docstring with a line for every argument: its own where it has one, else that of the letter.

    Raises:
        ValueError: when it has a line for what is no argument.
    """
    text = inspect.cleandoc(function.__doc__ or "")
    head, found, tail = text.partition("\nArgs:\n")
    own, rest = re.match(r"((?:    [^\n]*\n?|\n(?=    ))*)(.*)", tail, re.DOTALL).groups() if found else ("", "")  # type: ignore[union-attr]
    if not found:  # before the first other section
        parts = re.split(r"(?m)^(?=(?:Returns|Raises|Yields):$)", text, maxsplit=1)
        head, rest = parts[0].rstrip("\n") + "\n", parts[1] if len(parts) > 1 else ""
    written = dict(re.findall(r"(?m)^    (\w+): ((?:.*\n?)(?:^        .*\n?)*)", own))
    if stale := written.keys() - inspect.signature(function).parameters.keys():
        raise ValueError(f"{name}: the docstring describes {', '.join(sorted(stale))}, which is no argument")
    described_here = {a.name: described(a, shapes) for a in known}
    lines = [f"    {argument}: {words.rstrip()}" for argument, words in {**described_here, **written}.items()]
    middle = "\nArgs:\n" + "\n".join(lines) + "\n" if lines else ""
    return (head.rstrip("\n") + "\n" + middle + ("\n" + rest.lstrip("\n") if rest.strip() else "")).rstrip() + "\n"


def _chapter(function: Callable[..., Any]) -> str:
    *packages, module = function.__module__.split(".")
    return packages[-1] if packages and packages[-1] in CHAPTERS else module


def _reloaded(before: Callable[..., Any], after: Callable[..., Any]) -> bool:
    """Whether a function comes again because its module was loaded again, wherever an edit has moved it since."""
    one_file = before.__code__.co_filename == after.__code__.co_filename
    load = after.__globals__.get("__spec__")  # a new one each time a module is loaded; None in a notebook's cells
    return (one_file or load is None) and (load is None or _loads.get(before) is not load)


def _origin(function: Callable[..., Any]) -> Equation:
    try:
        return find(function)
    except ValueError as problem:
        raise TypeError(f"derived_from: {problem}") from None


def _signature(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    return f"({', '.join(str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters)})"
