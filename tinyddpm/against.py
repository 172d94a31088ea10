"""Somebody else's functions in the place of the book's: loaded from a file, compared, judged, and their slips named.

    judge({"posterior.mean": my_mean})       verdicts, without pytest
    load("posterior.py")                     the functions of a file, a folder or a module, by the names of the equations

A function is compared with the book's own on many examples, the simplest first. It is a plain function of Python floats
and NumPy arrays: tensors, symbols and the messages of the door are not asked of it. What it may differ by is measured:
how much the book's own result changes when its inputs change in their last digits, since code that subtracts alpha_bar
from 1 is right. If it differs, it is compared with every single slip (`slips`), then with pairs of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import re
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import door, equations
from .arrays import is_symbolic, is_tensor, to_numpy
from .equation import WIDTH, Equation, find, registry
from .examples import Example, call, examples
from .forward import Gaussian, Schedule
from .letters import Step
from .slips import likeliest_first, pairs

Function = Callable[..., Any]

MAPPING = "EQUATIONS"
"""A file may say which function is which equation, in a dictionary of this name."""

DIGITS, LAST = 1e-10, 1e-13
"""The relative difference that is allowed in any case, and by how much inputs are changed to measure what else is."""

SHARE = 0.1
"""The part of that change that is allowed: some fifty of the last digits of a float64."""

SECONDS = 10.0
"""How long one call may take."""

PATIENCE = 3.0
"""After so many seconds no more examples are tried."""

PAIRS = 3000
"""How many pairs of slips are tried."""

CONVENTIONS: dict[str, tuple[tuple[str, Function], ...]] = {
    "train.time_embedding": (("the cosines stand before the sines", lambda t, dims: _turned(t, dims)),),
    "train.guided_noise": (
        ("its w is 1 + w here", lambda noise_cond, noise_uncond, w: noise_uncond + w * (noise_cond - noise_uncond)),
    ),
}
"""Other conventions that are in use, by equation: what is different, and what is right then. They are no mistakes."""


def _turned(t: Any, dims: int) -> np.ndarray:
    sines, cosines = np.split(find("train.time_embedding").function(t, dims), 2, axis=1)
    return np.concatenate([cosines, sines], axis=1)


# Loading. ------------------------------------------------------------------------------------------------------------


class CannotLoad(ValueError):
    """A path from which no function can be taken; the message says why."""


@dataclass
class Loaded:
    """Functions by the names of the equations that they are meant to be, and what was left aside."""

    functions: dict[str, Function] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """functions that have the name of no equation"""


def load(path: str | Path) -> Loaded:
    """The functions of a file, a folder of files or a module.

    A file that is called like a chapter, such as `posterior.py`, has equations of this chapter. In any other file a
    function is called like an equation of any chapter, such as `mean` or `posterior_mean`; or the file has a dictionary
    `EQUATIONS`, such as ``{"posterior.mean": my_mean}``.

    Raises:
        CannotLoad: when there is nothing, when it cannot be imported, or when an equation is defined twice.
    """
    equations()
    place, found = Path(path), Loaded()
    if place.is_dir():
        files = [file for file in sorted(place.glob("*.py")) if file.stem in _chapters()]
        if not files:
            raise CannotLoad(f"{str(path)!r} has no file that is called like a chapter: {', '.join(_chapters())}")
        for file in files:
            _take(_imported(file), file.stem, found)
    elif place.suffix == ".py" or place.is_file():
        if not place.is_file():
            raise CannotLoad(f"{str(path)!r} is not there")
        _take(_imported(place), place.stem, found)
    else:
        try:
            module = importlib.import_module(str(path))
        except ImportError as problem:
            raise CannotLoad(f"{str(path)!r} is no file, no folder and no module: {problem}") from None
        _take(module, module.__name__.rpartition(".")[2], found)
    if not found.functions:
        near = f"; it defines {', '.join(found.others)}" if found.others else ""
        raise CannotLoad(f"{str(path)!r} defines no function that is called like an equation of the book{near}")
    return found


def _chapters() -> list[str]:
    """The chapters and the running example, as the names of equations begin."""
    return list(dict.fromkeys(name.partition(".")[0] for name in registry))


def _imported(file: Path) -> ModuleType:
    """A file as a module, under a name that hides nothing; what stands beside it can be imported from it."""
    name = f"against_{file.stem}_{abs(hash(file.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with limited(), redirect_stdout(StringIO()):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        raise CannotLoad(f"{file} cannot be imported: {_said(problem, file)}") from None
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def _said(problem: BaseException, file: Path | None = None) -> str:
    """An error in a line: its kind, its message and, where it is in the file, its line there."""
    lines = [at.lineno for at in traceback.extract_tb(problem.__traceback__) if file and Path(at.filename) == file]
    if isinstance(problem, SyntaxError) and problem.lineno:
        lines = [problem.lineno]
    words = problem.msg if isinstance(problem, SyntaxError) else str(problem)
    return f"{type(problem).__name__}{f': {words}' if words else ''}{f' (line {lines[-1]})' if lines else ''}"


def _take(module: ModuleType, stem: str, found: Loaded) -> None:
    """The functions of a module, by the names of equations."""
    given = getattr(module, MAPPING, None)
    if given is not None:
        if not isinstance(given, Mapping):
            raise CannotLoad(f"{MAPPING} must be a dictionary from names of equations to functions, got {given!r}")
        named = dict(given)
    else:
        named = {}
        for name, value in vars(module).items():
            if not inspect.isfunction(value) or value.__module__ != module.__name__ or name.startswith("_"):
                continue
            meant = _meant(name, stem)
            if meant is None:
                found.others.append(name)
            elif meant in named:
                raise CannotLoad(f"{meant} is defined twice: {named[meant].__name__} and {name}")
            else:
                named[meant] = value
    for name, function in named.items():
        try:
            find(name)
        except ValueError as problem:
            raise CannotLoad(str(problem)) from None
        if not callable(function):
            raise CannotLoad(f"{name} must be a function, got {function!r}")
        found.functions[name] = function


def _meant(name: str, stem: str) -> str | None:
    """The equation that a function in a file is meant to be."""
    if stem in _chapters():
        return f"{stem}.{name}" if f"{stem}.{name}" in registry else None
    # Methods have to be named by `EQUATIONS`. Of functions no two in the book have the same last name: a test holds that.
    functions = {known: known.rpartition(".")[2] for known in registry if known.count(".") == 1}
    return next((known for known, last in functions.items() if name in (last, known.replace(".", "_"))), None)


# A call of a foreign function. ---------------------------------------------------------------------------------------


class NotPossible(Exception):
    """What a foreign function did in the place of giving a result, in words."""


class TooLong(Exception):
    """A call that took longer than it may."""


@contextmanager
def limited(most: float | None = None) -> Iterator[None]:
    """Stop what takes longer than so many seconds, where signals can be used."""
    seconds = SECONDS if most is None else most
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong(f"takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def adapted(known: Equation, function: Function) -> Function:
    """A foreign function that takes its arguments as the book's does: by name if all names are those of the book, else by position.

    Raises:
        NotPossible: when it takes another number of arguments.
    """
    ours = [*inspect.signature(known.function).parameters.values()]
    needed = [p.name for p in ours if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    try:
        theirs = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # built in
        return function
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in theirs):
        return function
    names = [p.name for p in theirs]
    must = [p.name for p in theirs if p.default is p.empty]
    by_name = {*needed} <= {*names} and {*must} <= {p.name for p in ours}
    if not by_name and not len(must) <= len(needed) <= len(names):
        raise NotPossible(f"takes ({', '.join(names)}); the book's takes {known.signature}")
    signature = inspect.signature(known.function)

    def adapt(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        if by_name:
            return function(**{name: value for name, value in given.items() if name in names})
        return function(*[*given.values()][: len(names)])

    return adapt


def takes_tensors(function: Function) -> bool:
    """Whether a function computes with torch, and so is asked with tensors too: its file imports it."""
    spaces = getattr(inspect.unwrap(function), "__globals__", {})
    return any(
        isinstance(value, ModuleType) and value.__name__.partition(".")[0] == "torch" for value in spaces.values()
    )


def result_of(known: Equation, function: Function, given: Mapping[str, Any]) -> Any:
    """What a foreign function gives.

    Raises:
        NotPossible: when it raises, takes too long, or changes its arguments.
    """
    copies = {name: _copied(value) for name, value in given.items()}
    try:
        with limited(), redirect_stdout(StringIO()), np.errstate(all="ignore"):
            result = call(known, copies, function)
    except (NotImplementedError, NotPossible):
        raise
    except (Exception, SystemExit) as problem:
        file = inspect.unwrap(function).__code__.co_filename if hasattr(function, "__code__") else ""
        raise NotPossible(
            str(problem) if isinstance(problem, TooLong) else f"raises {_said(problem, Path(file))}"
        ) from None
    for name, value in given.items():
        if not _same(value, copies[name]):
            raise NotPossible(f"changes its argument {name} in place")
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if is_tensor(value):
        return value.clone()
    return Step._make(map(_copied, value)) if isinstance(value, Step) else value


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Step):
        return all(map(_same, before, after))
    return not (isinstance(before, np.ndarray) or is_tensor(before)) or bool((before == after).all())


# Comparing. ----------------------------------------------------------------------------------------------------------


class NotComparable(Exception):
    """A result of the book that is no number and no array."""


def parts(result: Any) -> list[np.ndarray]:
    """A result of the book as arrays.

    Raises:
        NotComparable: when it is something else.
    """
    if isinstance(result, Schedule):
        return [np.asarray(result.beta)]
    if isinstance(result, tuple | list):
        return [part for each in result for part in parts(each)]
    if hasattr(result, "weights") and hasattr(result, "means"):  # a mixture
        return [part for each in (result.weights, result.means, result.variances) for part in parts(each)]
    if is_tensor(result) or isinstance(result, np.ndarray | np.generic | float | int | complex):
        array = to_numpy(result)
        if array.dtype.kind in "fiu":
            return [array]
        if array.dtype.kind == "c":
            return [array.real, array.imag]
    raise NotComparable(type(result).__name__)


def their_parts(result: Any, expected: Any) -> list[np.ndarray]:
    """A foreign result as arrays, of the kinds and shapes that the book's has.

    Raises:
        NotPossible: when it has another kind or shape.
    """
    wanted = parts(expected)
    if result is None:
        raise NotPossible("gives None: is there a return?")
    if isinstance(expected, tuple):
        if not isinstance(result, tuple | list):
            raise NotPossible(f"gives {_kind(result)}; {len(expected)} values are asked for")
        if len(result) != len(expected):
            raise NotPossible(f"gives {len(result)} values; {len(expected)} are asked for")
        return [part for one, two in zip(result, expected, strict=True) for part in their_parts(one, two)]
    if isinstance(result, list | tuple):
        raise NotPossible(f"gives {_kind(result)}; {'a number' if not wanted[0].shape else 'an array'} is asked for")
    try:
        found = parts(result)
    except NotComparable:
        raise NotPossible(
            f"gives {_kind(result)}; {'a number' if not wanted[0].shape else 'an array'} is asked for"
        ) from None
    if len(found) != len(wanted):
        raise NotPossible("gives a complex number; a real one is asked for")
    if found[0].shape != wanted[0].shape:
        raise NotPossible(f"gives {_shape(found[0])}; {_shape(wanted[0])} is asked for")
    return found


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _shape(array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if array.shape else "a single number"


def allowances(known: Equation, given: Mapping[str, Any], expected: list[np.ndarray]) -> list[np.ndarray]:
    """How much a right result may differ: ten digits, and what the last digits of the inputs make.

    It is infinite where the book's own result is lost then, such as an angle between two parallel vectors.
    """
    allowed = [DIGITS * abs(each) + 1e-300 for each in expected]
    function = door.bare(known.function)
    for changed in _changed(given):
        try:
            with np.errstate(all="ignore"):
                other = parts(call(known, changed, function))
        except Exception:
            continue
        for place, (new, old) in enumerate(zip(other, expected, strict=False)):
            if new.shape == old.shape:
                with np.errstate(all="ignore"):
                    moved = np.where(new == old, 0.0, SHARE * abs(new - old))
                allowed[place] = allowed[place] + np.where(np.isnan(moved), np.inf, moved)
    return allowed


def _changed(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments with one of them changed in its last digits: a number in proportion, a number of a step by as much as 1 would be."""
    for name, value in given.items():
        if isinstance(value, Step):
            for place, of_step in enumerate(value):
                fields = [*value]
                fields[place] = of_step + LAST * (2.0 * (of_step < 1) - 1)  # 1 downwards, so that it stays in [0, 1]
                yield {**given, name: Step._make(fields)}
        elif isinstance(value, float) or (hasattr(value, "dtype") and "float" in str(value.dtype)):
            yield {**given, name: value * (1 + LAST)}


@dataclass(frozen=True)
class Difference:
    """An example on which a function is not the book's."""

    given: Example
    wrong: str
    """what it did in the place of giving a result of this kind; empty if the numbers differ"""
    expected: str
    got: str
    part: int | None = None
    """which of several results differs, counted from 1"""


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is so of one foreign function."""

    name: str
    outcome: str
    """passes, fails, is not attempted, or is not compared"""
    examples: int = 0
    reason: str = ""
    difference: Difference | None = None
    slip: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is known against it."""
        return self.outcome != "fails"

    def __str__(self) -> str:
        number = f" ({registry[self.name].number})" if self.name in registry else ""
        lines = [f"{self.name}{number} {self.outcome}" + (f": {self.reason}" if self.reason else "")]
        if self.difference is not None:
            shown = self.difference
            lines += [f"  {line}" for line in _described(shown.given)]
            if shown.wrong:
                lines.append(f"  it {shown.wrong}")
            else:
                lines += [f"  expected  {shown.expected}", f"  got       {shown.got}"]
        if self.slip:
            lines.append(f"  It equals the book's {self.slip}.")
        return wrapped("\n".join(lines))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same as a small table, for notebooks."""
        head, *lines = re.sub(r"\n {4,}", " ", str(self)).splitlines()
        pairs = (re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines)
        rows = "".join(
            f"<tr><th>{escape(pair[0])}</th><td>{escape(pair[1])}</td></tr>"
            if len(pair) == 2
            else f'<tr><td colspan="2">{escape(pair[0])}</td></tr>'
            for pair in pairs
        )
        colour = {"passes": "green", "fails": "firebrick"}.get(self.outcome, "inherit")
        title = f'<tr><td colspan="2" style="color: {colour}"><b>{escape(head)}</b></td></tr>'
        return f'<table class="tinyddpm" style="text-align: left">{title}{rows}</table>'


def wrapped(text: str) -> str:
    """Lines of a verdict in the width of a page; values that go on in the next line stand under each other."""

    def indent(line: str) -> str:
        return " " * (12 if re.match(r"  \S+ {2,}| {12}", line) else 4)

    whole = re.sub(r"(\w) (?=-?\d)", "\\1\0", text)  # a number stays with its name
    parts = (textwrap.wrap(line, WIDTH, subsequent_indent=indent(line)) or [""] for line in whole.splitlines())
    return "\n".join(part for each in parts for part in each).replace("\0", " ")


def _described(given: Example) -> Iterator[str]:
    """The arguments of an example in plain numbers."""
    width = max((len(name) for name in given), default=0) + 2
    width = max(width, 10)
    for name, value in given.items():
        if isinstance(value, Step):
            told = given.where if name == "step" and given.where else ""
            fields = ", ".join(f"{at} {_number(of)}" for at, of in zip(Step._fields, value, strict=True))
            yield from ([f"{name:<{width}}{told}", f"{'':<{width}}{fields}"] if told else [f"{name:<{width}}{fields}"])
        elif value is not None:
            yield f"{name:<{width}}{_number(value)}"


def _number(value: Any) -> str:
    """A number or an array in few digits."""
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    if isinstance(value, np.ndarray) or is_tensor(value):
        array = to_numpy(value)
        few = array.size <= 12
        shown = np.array2string(array, precision=8, separator=", ", threshold=12, edgeitems=3 if few else 1)
        return ("" if few else f"shape {array.shape}: ") + " ".join(shown.split())
    text = repr(value)
    return text if len(text) < 80 and " at 0x" not in text else f"{_kind(value)} of the book"


def compare(equation: str | Equation, function: Function, name_slip: bool = True, try_pairs: bool = True) -> Verdict:
    """Compare a function with the book's own on all examples; where they differ, name the slip.

    Args:
        equation: its name, or an equation that is not in the registry.
        function: what stands in its place.
        name_slip: whether slips are looked for.
        try_pairs: whether pairs of slips are, where no single one explains the result; that takes seconds.

    Raises:
        ValueError: when there is no equation of this name.
    """
    equations()
    known = find(equation) if isinstance(equation, str) else equation
    name = known.name
    if any(argument.name == "rng" for argument in known.arguments):
        return Verdict(name, "is not compared", reason="it draws its own noise, and may draw it in another order")
    tensors = takes_tensors(function)
    tried: list[tuple[Example, list[np.ndarray] | None, list[np.ndarray]]] = []
    first: Difference | None = None
    begun = time.monotonic()
    try:
        theirs = adapted(known, function)
        for given, expected in admitted_examples(known, tensors):
            result, wrong, wanted = None, "", parts(expected)
            allowed = allowances(known, given, wanted)
            if not all(np.isfinite(each).all() for each in allowed):
                continue
            try:
                result = their_parts(result_of(known, theirs, given), expected)
            except NotPossible as problem:
                wrong = str(problem)
            tried.append((given, result, allowed))
            if first is None and (result is None or not _agree(result, wanted, allowed)):
                first = _difference(given, wrong, result, wanted, allowed)
            if time.monotonic() - begun > PATIENCE and len(tried) > 5:
                break
    except NotImplementedError:
        return Verdict(name, "is not attempted")
    except NotComparable as problem:
        return Verdict(name, "is not compared", reason=f"the book's gives {problem}")
    except NotPossible as problem:
        return Verdict(name, "fails", reason=str(problem))
    if not tried:
        needs = "it computes with networks of torch" if not tensors else "no example is admitted"
        return Verdict(name, "is not compared", reason=needs)
    if first is None:
        return Verdict(name, "passes", len(tried))
    for words, other in CONVENTIONS.get(name, ()):
        if _is(known, other, [each for each in tried if each[1] is not None]):
            return Verdict(name, "passes", len(tried), f"in another convention: {words}")
    return Verdict(
        name, "fails", len(tried), difference=first, slip=named(known, tried, try_pairs) if name_slip else ""
    )


def admitted_examples(known: Equation, tensors: bool = False) -> Iterator[tuple[Example, Any]]:
    """Examples that the door admits, and what the book's own function gives."""
    any_at_all = False
    for kind in (False, True) if tensors else (False,):
        for given in examples(known, kind):
            try:
                with np.errstate(all="ignore"):
                    expected = call(known, given)
                finite = all(np.isfinite(part).all() for part in parts(expected))
            except NotComparable:
                raise
            except Exception:  # not admitted, or of another library
                continue
            if finite or not any_at_all:
                any_at_all = True
                yield given, expected


def _agree(result: list[np.ndarray], expected: list[np.ndarray], allowed: list[np.ndarray]) -> bool:
    with np.errstate(all="ignore"):
        return all(
            bool(np.all((a == b) | (abs(a - b) <= slack) | (np.isnan(a) & np.isnan(b))))
            for a, b, slack in zip(result, expected, allowed, strict=True)
        )


def _difference(
    given: Example, wrong: str, result: list[np.ndarray] | None, expected: list[np.ndarray], allowed: list[np.ndarray]
) -> Difference:
    if result is None:
        return Difference(given, wrong, "", "")
    for place, (a, b, slack) in enumerate(zip(result, expected, allowed, strict=True)):
        if not _agree([a], [b], [slack]):
            part = place + 1 if len(expected) > 1 else None
            which = f", value {part} of {len(expected)}" if part else ""
            if a.size > 12:  # of many, the first that differs
                off = ~((a == b) | (abs(a - b) <= slack))
                at = tuple(int(index) for index in np.argwhere(off)[0])
                which, a, b = f"{which}, at {list(at)}", a[at], b[at]
            shown = (_number(of if np.ndim(of) else of[()]) for of in (b, a))
            return Difference(given, "", next(shown) + which, next(shown), part)
    raise AssertionError("they agree")


def named(
    known: Equation, tried: list[tuple[Example, list[np.ndarray] | None, list[np.ndarray]]], try_pairs: bool = True
) -> str:
    """The slip with which the book's function gives the same as the foreign one on all examples, in words; empty if there is none."""
    usual = [each for each in tried if each[1] is not None and all(np.isfinite(part).all() for part in each[1])]
    numbers = {number for _, result, _ in usual for part in result or () for number in part.flat}
    if len(usual) < max(2, len(tried) // 2) or len(numbers) < 2:  # a constant is no formula with a slip
        return ""
    usual.sort(key=lambda each: -sum(part.size for part in each[1] or ()))
    with np.errstate(all="ignore"):
        for slip in likeliest_first(known):
            if _is(known, slip.function, usual):
                return slip.words
        for slip in itertools.islice(pairs(known), PAIRS if try_pairs else 0):
            if _is(known, slip.function, usual):
                return slip.words
    return ""


def _is(
    known: Equation, other: Function, tried: Iterable[tuple[Example, list[np.ndarray] | None, list[np.ndarray]]]
) -> bool:
    """Whether another function gives what the foreign one gave, on all examples."""
    for given, result, allowed in tried:
        try:
            made = parts(call(known, given, other))
        except Exception:
            return False
        assert result is not None
        if [part.shape for part in made] != [part.shape for part in result]:
            return False
        if not _agree(made, result, [slack + 1e-7 * abs(part) for slack, part in zip(allowed, result, strict=True)]):
            return False
    return True


def judge(functions: Mapping[str, Function], name_slip: bool = True) -> list[Verdict]:
    """Compare functions, by the names of equations, with the book's own.

    Raises:
        ValueError: when a name is that of no equation.
    """
    equations()
    return [compare(find(name).name, function, name_slip) for name, function in functions.items()]


# In the checks. ------------------------------------------------------------------------------------------------------


@dataclass
class Substitute:
    """A foreign function as the checks of the book call it: with plain numbers and arrays; else the book's own answers.

    It is not asked where beta is 1 either: code that divides by alpha is right elsewhere.
    """

    known: Equation
    function: Function
    asked: int = 0

    def __post_init__(self) -> None:
        self._theirs, self._tensors = adapted(self.known, self.function), takes_tensors(self.function)
        self._kind = str(door.bare(self.known.function).__annotations__.get("return", ""))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Its result, in the precision of the arguments."""
        values = [*args, *kwargs.values()]
        flat = [each for value in values for each in (value if isinstance(value, Step) else [value])]
        strange = any(map(is_symbolic, flat)) or (not self._tensors and any(map(is_tensor, flat)))
        steps = [value for value in values if isinstance(value, Step)]
        if strange or any(np.any(to_numpy(step.alpha_bar) == 0) for step in steps):
            return door.bare(self.known.function)(*args, **kwargs)
        self.asked += 1
        with limited(), np.errstate(all="ignore"):
            result = self._theirs(*args, **kwargs)
        dtypes = {each.dtype for each in flat if isinstance(each, np.ndarray) and each.dtype.kind == "f"}
        if dtypes - {np.dtype(np.float64)}:  # a plain function need not know which numbers decide the precision
            result = _in_precision(result, parts(self.known.function(*args, **kwargs))[0].dtype)
        if self._kind == "Gaussian" and isinstance(result, tuple | list) and len(result) == 2:
            return Gaussian(*result)
        return Schedule(result) if self._kind == "Schedule" and isinstance(result, np.ndarray) else result


def _in_precision(result: Any, dtype: Any) -> Any:
    if isinstance(result, tuple | list) and not hasattr(result, "_fields"):
        return type(result)(_in_precision(each, dtype) for each in result)
    if isinstance(result, np.ndarray | np.generic) and result.dtype.kind == "f" and result.dtype != dtype:
        return result.astype(dtype)
    return result


def substitutes(functions: Mapping[str, Function]) -> dict[str, Substitute]:
    """Foreign functions, ready for `door.replacing`."""
    return {name: Substitute(find(name), function) for name, function in functions.items()}
