"""The door: what `@equation` admits, by the letters of the arguments.

The body of an equation is its formula and nothing else; what comes in is checked here, once for all of them:

- Kind: Python numbers, NumPy arrays and scalars, tensors. Python integers become floats; integer and float16 arrays,
  lists, booleans and complex numbers are refused by name.
- Values: finite and in the domain of the letter. An accelerator's tensors are not read, since that would stall it.
- Library: all arrays are of one, and arrays of a step have the dtype of the samples.
- Shapes: every array has as many axes as the sample, each of its length or of length 1, and no other operand may
  enlarge the sample. A number goes with anything. An equation with other shapes says so, ``"x (..., d), v (..., d)"``,
  and which arrays have to fit one of these, ``"step fits x"``.

Under SymPy symbols, `torch.compile`, tracing, `vmap` and fake tensors it steps aside. An equation that another one calls
is not checked again.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import math
import numbers
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import array_api_compat
import numpy as np

from .arrays import is_array, is_symbolic, is_tensor, is_traced, to_numpy
from .letters import LARGEST, LETTERS, Gaussian, Interval, Letter, Step

STEP_ALONE = ((Step._fields.index("beta"), math.ulp(0.0)),)
"""What every step but `step_s` needs: a beta above 0, so a time from 1 on."""

HINTS = {
    "alpha": "at 0 the noise tells nothing of x_0; predict x_0 or the velocity",
    "alpha_bar": "at 0 the noise tells nothing of x_0; predict x_0 or the velocity",
    "alpha_bar_prev": "at 0 nothing of x_0 is left at t - 1",
    "noise_var_prev": "that is, t must be above 1",
    "noise_var": "at 0 there is no noise in the sample",
    "beta": "at 0 it is the time t = 0, to which no step of noising leads",
}
"""Why a field of a step must be above 0."""


Shapes: TypeAlias = tuple[tuple[str, ...], ...] | str
"""The shapes that an argument may have, each as the names of its lengths; or the argument that it has to fit."""


class Refused(Exception):
    """Bad input: the error to be raised, which the caller's frame raises itself."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Argument(NamedTuple):
    """One argument of an equation: its letter, and what this equation says of it beyond the letter."""

    name: str
    letter: Letter
    kind: str
    domain: Any
    optional: bool
    fields: tuple[tuple[Any, float], ...]

    def allowed(self) -> list[str]:
        """What it may be, in words for a docstring."""
        found = words(self.kind, self.domain, self.name)
        if self.kind == "step":
            positive = [at for at, least in self.fields if least > 0 and (at, least) not in STEP_ALONE]
            found += [f"with {Step._fields[at]} above 0" for at in positive]
        else:
            found += [f"with {field} at least {least:g}" for field, least in self.fields]
        return found


def words(kind: str, domain: Any, name: str = "") -> list[str]:
    """What a domain says, in words for a docstring or a table."""
    interval = Interval.read(domain) if isinstance(domain, str) and _is_interval(kind) else domain
    if kind == "covariance":
        said = f"positive {'' if interval.low > 0 else 'semi'}definite"
    elif isinstance(interval, Interval):
        said = "" if kind == "noising" else interval.words
    elif isinstance(domain, tuple):
        said = f"one of {', '.join(domain)}"
    elif kind == "choice":
        said = f"one of `{domain}`"
    elif kind == "function":
        said = f"called as ``{name}{domain.partition(' -> ')[0]}``"
    else:
        said = domain if kind == "object" else ""
    return [said] if said else []


def _is_interval(kind: str) -> bool:
    """Whether the domain of this kind is an interval of numbers."""
    return kind in ("number", "scalar", "pixels", "whole", "table", "covariance", "noising")


class Requirement(NamedTuple):
    """What must hold between arguments: an expression of them, and what to say where it does not hold."""

    message: str
    code: Any
    names: tuple[str, ...]
    of_self: tuple[str, ...]

    @classmethod
    def read(cls, message: str, expression: str) -> Requirement:
        """From words and an expression, such as ``"step_s.alpha_bar >= step.alpha_bar"``."""
        nodes = [*ast.walk(ast.parse(expression))]
        called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        read = {node.id for node in nodes if isinstance(node, ast.Name)} - called
        of_self = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
        code = compile(expression, message, "eval")
        return cls(message, code, tuple(sorted(read & LETTERS.keys())), tuple(sorted(of_self)))

    def holds(self, given: dict[str, Any]) -> bool:
        """Whether it holds for plain numbers."""
        return bool(eval(self.code, {"shape": _shape}, given))

    def check(self, given: Mapping[str, Any], own: Any = None) -> None:
        """Refuse arguments that do not stand as they must; those that should not be read are not.

        Args:
            given: the arguments.
            own: the object whose method it is, ``self`` in the expression.
        """
        shown = {name: given.get(name) for name in self.names}
        shown |= {name: getattr(own, name) for name in self.of_self if name in vars(own)}
        if any(value is None for value in shown.values()):
            return
        ends = _ends(eval(self.code, {"shape": _shape}, {**given, "self": own}))
        if ends is not None and not ends[0]:
            # of what has a shape, the shape, where that is what the requirement asks for
            of_shapes = "shape" in self.code.co_names
            values = ", ".join(
                f"{name} of shape {_shape(value)}"
                if of_shapes and (isinstance(value, float) or is_array(value))
                else f"{name} = {_shown(value)}"
                for name, value in shown.items()
            )
            raise Refused(ValueError(f"{self.message}, got {values}"))


class _State(threading.local):
    inside = False


_state = _State()


def arguments(name: str, function: Callable[..., Any], where: Mapping[str, Any]) -> list[Argument]:
    """The arguments of a function, each with its letter.

    Raises:
        ValueError: when a letter has no row in `letters`, or ``where`` names what is no argument.
    """
    found = []
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    unknown = {key.partition(".")[0] for key in where} - {p.name for p in parameters}
    if unknown:
        raise ValueError(f"{name}: where names {', '.join(sorted(unknown))}, which is no argument")
    for parameter in parameters:
        letter = LETTERS.get(parameter.name)
        if letter is None:
            raise ValueError(
                f"{name}: the argument {parameter.name!r} has no row in tinyddpm/letters.py; add one: "
                f"letter({parameter.name!r}, its LaTeX, its meaning)"
            )
        kind, domain = letter.kind, where.get(parameter.name, letter.domain)
        if isinstance(domain, str) and domain.partition(" ")[0] in _KINDS:
            kind, _, domain = domain.partition(" ")
        if _is_interval(kind) and isinstance(domain, str):
            domain = Interval.read(domain)
        fields: tuple[tuple[Any, float], ...] = tuple(
            (Step._fields.index(field) if kind == "step" else field, Interval.read(text).low)
            for key, text in where.items()
            for argument, _, field in (key.partition("."),)
            if argument == parameter.name and field
        )
        if kind == "step" and parameter.name != "step_s":
            fields = (*STEP_ALONE, *(field for field in fields if field[0] != STEP_ALONE[0][0]))
        optional = parameter.default is None or "None" in str(parameter.annotation)
        found.append(Argument(parameter.name, letter, kind, domain, optional, fields))
    return found


def guarded(
    name: str, function: Callable[..., Any], where: Mapping[str, Any], require: Mapping[str, str], shapes: str
) -> tuple[Callable[..., Any], list[Argument]]:
    """The function behind its door, and its arguments."""
    known = arguments(name, function, where)
    parameters = list(inspect.signature(function).parameters.values())
    method = bool(parameters) and parameters[0].name == "self"
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = known[:-1]
    requirements = [Requirement.read(message, expression) for message, expression in require.items()]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    admit = functools.partial(_admit, known, read_shapes(shapes), requirements, defaults, method)
    plain = _quick_look(known, requirements) if not (method or shapes) else lambda args, kwargs: False
    state, checking = _state, not any(p.kind is p.VAR_KEYWORD for p in parameters)
    replaced = _replaced

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_traced() or state.inside:
            return function(*args, **kwargs)
        other = replaced.get(name) if replaced else None
        if not plain(args, kwargs):
            problem: Exception | None = None
            try:
                args, kwargs = admit(args, kwargs)
            except Refused as refusal:
                problem = refusal.error
            if problem is not None:  # raised here, so that it has no other frame of ours
                raise problem
        if other is not None and _is_test(sys._getframe(1)):
            return other(*args, **kwargs)
        state.inside = checking  # options that are handed on are checked where they arrive
        try:
            return function(*args, **kwargs)
        finally:
            state.inside = False

    functools.update_wrapper(call, function)
    call.arguments = known  # type: ignore[attr-defined]
    call.__code__ = call.__code__.replace(co_name=function.__name__)  # so that a profile names the equation
    return call, known


def check_name(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a choice that is not offered.

    Raises:
        ValueError: when it is none of those allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def row(table: Mapping[str, Any], what: Any) -> Any:
    """The row of a name in a table of the book, or a reader's own row as it is."""
    return table[what] if isinstance(what, str) else what


def check_shape(name: str, value: Any, shape: Sequence[int]) -> Any:
    """Refuse another shape, even one that would broadcast; gives the value back.

    Raises:
        TypeError: when the value is no array.
        ValueError: when it has another shape.
    """
    if not isinstance(value, float | int) and not is_array(value):
        raise TypeError(f"{name} must be an array of shape {tuple(shape)}, got {type(value).__name__}")
    if _shape(value) != tuple(shape):
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {_shape(value)}")
    return value


def check_finite(name: str, value: Any) -> Any:
    """Refuse NaN and infinity at the end of a loop; gives the value back.

    Raises:
        ValueError: when there is one.
    """
    xp = array_api_compat.array_namespace(value)
    if not bool(xp.all(xp.isfinite(value))):
        raise ValueError(f"not finite: {name}")
    return value


def check_steps(function: Callable[..., Any], **steps: Step) -> None:
    """Refuse steps that an equation does not admit, and read nothing else: for inner loops that call it `bare`.

    Raises:
        ValueError: when a field is 0 that must be above 0 there.
    """
    for argument in getattr(function, "arguments", ()):
        if argument.name in steps:
            try:
                _step(argument, steps[argument.name])
            except Refused as refusal:
                raise refusal.error from None


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Equations called in here are called without their doors: for inner loops that have checked what they pass on.

    What a reader's function calls is checked all the same.
    """
    before, _state.inside = _state.inside, True
    try:
        yield
    finally:
        _state.inside = before


_replaced: dict[str, Callable[..., Any]] = {}
"""What answers in the place of an equation where a test calls it."""


@contextlib.contextmanager
def replacing(functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Put other functions in the place of equations, by name, behind their doors: but only where a test calls them.

    So what a test compares with is the book's own, even if it comes from an equation that is derived from this one.
    """
    before = dict(_replaced)
    _replaced.update(functions)
    try:
        yield
    finally:
        _replaced.clear()
        _replaced.update(before)


def _is_test(frame: Any) -> bool:
    """Whether this code is of a file of tests."""
    return str(frame.f_globals.get("__name__", "")).rpartition(".")[2].startswith("test_")


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The equation without its door, for inner loops that have checked already."""
    return getattr(function, "__wrapped__", function)


# The quick way: numbers and arrays within bounds, which need no other look. -------------------------------------------


def _quick_look(
    known: Sequence[Argument], requirements: Sequence[Requirement]
) -> Callable[[tuple[Any, ...], dict[str, Any]], bool]:
    """Whether all that is given is plain, and as it must be; what is not goes the long way."""
    rows = tuple(_plain_row(argument) for argument in known)
    names = tuple(argument.name for argument in known)
    by_name = dict(zip(names, rows, strict=True))

    def plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if len(args) > len(rows):
            return False
        pairs: Any = zip(args, rows, strict=False)
        if kwargs:
            pairs = (*pairs, *((value, by_name.get(name, _NEVER)) for name, value in kwargs.items()))
        arrays = []
        for value, (low, high, fields) in pairs:
            kind = type(value)
            if kind is float:
                if not low <= value <= high:
                    return False
            elif kind is Step and fields:
                if type(value[0]) is not float:
                    arrays.append((value[0], True))
                for index, least in fields:
                    field = value[index]
                    if not (field >= least if type(field) is float else _plain_array(field, least)):
                        return False
            elif low <= high and _plain_array(value, low, high):
                arrays.append((value, False))
            else:
                return False
        if arrays and not _alike(arrays):
            return False
        if not requirements:
            return True
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        plain = not arrays and len(given) == len(rows)
        return plain and all(requirement.holds(given) for requirement in requirements)

    return plain


_NEVER = (math.inf, -math.inf, ())
"""The row of what is never plain."""


def _plain_row(argument: Argument) -> tuple[float, float, tuple[tuple[int, float], ...]]:
    """The bounds of a number, or the fields of a step and what is the least that each may be."""
    if argument.kind in ("number", "scalar", "pixels"):
        return argument.domain.low, argument.domain.high, ()
    if argument.kind == "step":
        return math.inf, -math.inf, argument.fields or ((0, 0.0),)
    return _NEVER


def _plain_array(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether it is an array of floats, or a tensor on the CPU, within bounds; each is read as seldom as can be."""
    tensor = type(value) is not np.ndarray
    if tensor and not (is_tensor(value) and type(value) is sys.modules["torch"].Tensor and value.is_cpu):
        return False
    if _dtype(value.dtype, False):
        return False
    value = value.detach() if tensor else value
    try:
        if low == -LARGEST and high == LARGEST:
            # A sum is finite if all numbers are; one that overflows, or is under vmap, is looked at again.
            return math.isfinite(value.sum()) if tensor else np.logical_and.reduce(np.isfinite(value), None)
        least = value.min() if tensor else np.minimum.reduce(value, None)
        return low <= float(least) and (high == math.inf or float(value.max()) <= high)
    except (RuntimeError, ValueError):  # under vmap, or empty
        return False


def _alike(arrays: Sequence[tuple[Any, bool]]) -> bool:
    """Whether arrays, some of them of steps, are of one library and dtype and fit together."""
    first = arrays[0][0]
    kind, dtype = type(first), first.dtype
    for value, _ in arrays:
        if type(value) is not kind or value.dtype != dtype:
            return False
    return not _misfit(tuple([("", is_step, tuple(value.shape)) for value, is_step in arrays]))


# The long way. -------------------------------------------------------------------------------------------------------


def _admit(
    known: Sequence[Argument],
    shapes: Mapping[str, Shapes],
    requirements: Sequence[Requirement],
    defaults: Mapping[str, Any],
    method: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the equation is called with, once all of it has been checked."""
    own, rest = args[: int(method)], args[int(method) :]
    if len(rest) > len(known):
        return args, kwargs  # Python's own message says it best
    names = {argument.name: argument for argument in known}
    given = {argument.name: value for argument, value in zip(known, rest, strict=False)}
    if set(given) & set(kwargs):
        return args, kwargs
    given |= {name: value for name, value in kwargs.items() if name in names}
    if any(map(_is_symbolic, given.values())):
        return args, kwargs
    for name, value in given.items():
        given[name] = _value(names[name], value)
    _one_library(given, names)
    _fitting(given, names, shapes, [*own, *given.values()])
    for argument in known:
        if argument.kind == "times" and "schedule" in given and given.get(argument.name) is not None:
            _within_schedule(argument.name, given[argument.name], given["schedule"].T)
    for requirement in requirements:
        requirement.check({**defaults, **given}, *own)
    return (
        (*own, *(given[argument.name] for argument in known[: len(rest)])),
        {name: given.get(name, value) for name, value in kwargs.items()},
    )


def _is_symbolic(value: Any) -> bool:
    if type(value) is float:
        return False
    if isinstance(value, Step):
        value = value[0]
    return is_symbolic(value)


def _refuse(name: str, must: str, value: Any, kind: type[Exception] = ValueError) -> Refused:
    return Refused(kind(f"{name} must {must}, got {_shown(value)}"))


def _shown(value: Any) -> str:
    """A value in a message: a number as it is, an array by its extent."""
    if isinstance(value, np.ndarray) or is_tensor(value):
        array = to_numpy(value)
        if array.size > 8:
            if array.dtype.kind == "f" and np.isnan(array).any():
                return f"NaN among its {array.size} values"
            return f"values from {array.min()} to {array.max()}"
        return str(array.tolist())
    if isinstance(value, Step):
        return f"a Step with alpha_bar {_shown(value.alpha_bar)}"
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}..."


def _value(argument: Argument, value: Any) -> Any:
    """One argument, checked by itself."""
    if value is None and argument.optional:
        return None
    return _KINDS[argument.kind](argument, value)


def _number(argument: Argument, value: Any, whole: bool = False) -> Any:
    name, domain = argument.name, argument.domain
    if isinstance(value, float) and not isinstance(value, np.generic):
        pass
    elif isinstance(value, bool | np.bool_):
        raise _refuse(name, "be a number", value, TypeError)
    elif isinstance(value, int):
        value = float(value)
    elif is_array(value):
        return _array(name, domain, value, whole)
    elif isinstance(value, numbers.Real):
        value = float(value)
    elif isinstance(value, list | tuple):
        raise Refused(
            TypeError(f"{name} must be a number or an array, got a {type(value).__name__}: numpy.array makes one")
        )
    else:
        also = ", or a Step" if argument.kind == "noising" else ""
        raise _refuse(name, f"be a number, an array or a tensor{also}", value, TypeError)
    if not domain.low <= value <= domain.high:
        raise _refuse(name, domain.must, value)
    return value


@functools.cache
def _dtype(dtype: Any, whole: bool) -> str:
    """What is wrong with a dtype: empty where nothing is."""
    name = str(dtype).removeprefix("torch.")
    if name == "float16":
        return "not be float16, in which 1 - alpha_bar near t = 1 is lost: take bfloat16 or float32"
    if re.fullmatch(r"b?float\d+", name) or (whole and re.fullmatch(r"u?int\d+", name)):
        return ""
    return f"be floating point, got {name}; make it so first"


def _array(name: str, domain: Interval, value: Any, whole: bool) -> Any:
    wrong = _dtype(value.dtype, whole)
    if wrong:
        raise Refused(TypeError(f"{name} must {wrong}"))
    if whole and "int" in str(value.dtype):
        value = 1.0 * value
    _within(name, domain, value)
    return value


def _within(name: str, domain: Interval, value: Any) -> None:
    """Refuse what is not in the domain; NaN is in none."""
    ends = _ends(value)
    if ends is not None and not (domain.low <= ends[0] and ends[1] <= domain.high):
        raise _refuse(name, domain.must, value)


def _ends(value: Any) -> tuple[float, float] | None:
    """The least and the largest value, NaN if there is any; None of what is empty or should not be read."""
    if isinstance(value, np.ndarray | np.generic):
        return (float(value.min()), float(value.max())) if value.size else None
    if isinstance(value, float | int):
        return value, value
    if not is_tensor(value) or value.device.type != "cpu" or not value.numel():
        return None
    try:
        if value.dtype is sys.modules["torch"].bool:
            holds = bool(value.all())
            return holds, holds
        least, most = value.detach().aminmax()
        return float(least), float(most)
    except (RuntimeError, TypeError, NotImplementedError):  # under vmap, or of a fake tensor: there is nothing to read
        return None


def _scalar(argument: Argument, value: Any) -> Any:
    """A single number, as a float."""
    if is_array(value):
        if _shape(value) != ():
            raise Refused(TypeError(f"{argument.name} must be a single number, got an array of shape {_shape(value)}"))
        value = value.item() if is_tensor(value) else value[()]
        value = value.item() if isinstance(value, np.generic) else value
    return _number(argument, value)


def _pixels(argument: Argument, value: Any) -> Any:
    return _number(argument, value, whole=True)


def _step(argument: Argument, value: Any) -> Any:
    name = argument.name
    if not isinstance(value, Step):
        raise _refuse(
            name, "be a Step, as schedule[t], schedule.at(t, like=x) or Step.from_alpha_bar gives it", value, TypeError
        )
    for index, least in argument.fields:
        field = value[index]
        ends = _ends(field)
        if ends is not None and not ends[0] >= least:
            what = Step._fields[index]
            raise Refused(ValueError(f"{name}.{what} must be above 0 here: {HINTS[what]}"))
    return value


def _noising(argument: Argument, value: Any) -> Any:
    if isinstance(value, Step):
        return value
    return Step.from_alpha_bar(_number(argument, value))


def _whole(argument: Argument, value: Any) -> Any:
    name, domain = argument.name, argument.domain
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not domain.low <= value <= domain.high:
        high = "" if domain.high >= LARGEST else f" to {domain.high:g}"
        least = f"from {domain.low:g}{high}" if high else f"of at least {domain.low:g}"
        raise _refuse(name, f"be a whole number {least}", value, ValueError if whole else TypeError)
    return int(value)


def _times(argument: Argument, value: Any) -> Any:
    array = value if is_tensor(value) else np.asarray(value)
    if not re.match(r"u?int\d", str(array.dtype).removeprefix("torch.")):
        raise _refuse(argument.name, "be whole numbers, times in 1..T", value, TypeError)
    return array


def _table(argument: Argument, value: Any) -> np.ndarray:
    """A list or an array of numbers, in float64."""
    try:
        array = np.asarray(to_numpy(value) if is_tensor(value) else value)
        if array.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise _refuse(argument.name, "be a list or an array of numbers", value, TypeError) from None
    array = array.astype(np.float64)
    domain = argument.domain
    _within(argument.name, domain, array)
    return array


def _distribution(argument: Argument, value: Any) -> np.ndarray:
    """Probabilities in float64, to the precision in which they came."""
    try:
        given = to_numpy(value) if is_tensor(value) else np.asarray(value)
        if given.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise _refuse(argument.name, "be a list or an array of probabilities", value, TypeError) from None
    p = given.astype(np.float64)
    precision = np.finfo(given.dtype).eps if given.dtype.kind == "f" else np.finfo(np.float64).eps
    if p.ndim == 0 or not np.all(p >= 0):
        raise _refuse(argument.name, "be probabilities, at least 0", value)
    axis, where = (None, "") if argument.domain == "all axes" else (-1, " over the last axis")
    slack = max(1e-9, 4 * precision * (p.size if axis is None else p.shape[-1]))
    total = p.sum(axis=axis, keepdims=True)
    if not np.all(np.abs(total - 1) <= slack):
        raise _refuse(argument.name, f"be probabilities that sum to 1{where}", value)
    # What was rounded to float32 sums to 1 again, so that what is computed of it is not refused in its turn.
    return p if slack == 1e-9 else p / total


def _choice(argument: Argument, value: Any) -> Any:
    allowed = argument.domain
    if isinstance(allowed, str):  # a table of the book, in which a reader's own row will do as well
        module, _, attribute = allowed.rpartition(".")
        allowed = getattr(sys.modules[f"{__package__}.{module}"], attribute)
        if isinstance(value, type(next(iter(allowed.values())))):
            return value
    if not isinstance(value, str) or value not in allowed:
        raise _refuse(argument.name, f"be one of {', '.join(allowed)}", value)
    return value


def _object(argument: Argument, value: Any) -> Any:
    # By name and not by class: a notebook that reloads a chapter has the class twice.
    if argument.domain not in (base.__name__ for base in type(value).__mro__):
        raise _refuse(argument.name, f"be a {argument.domain}", value, TypeError)
    for field, least in argument.fields:
        if not getattr(value, field) >= least:
            raise Refused(
                ValueError(f"{argument.name}.{field} must be at least {least:g}, got {getattr(value, field)}")
            )
    return value


def _function(argument: Argument, value: Any) -> Any:
    """The function, with a check of the shape that it gives."""
    if not callable(value):
        raise _refuse(argument.name, "be a function", value, TypeError)
    takes, _, gives = argument.domain.partition(" -> ")
    name = f"{argument.name}{takes}"

    def checked(*args: Any) -> Any:
        outside, _state.inside = _state.inside, False  # what a reader's function calls is checked again
        try:
            result = value(*args)
        finally:
            _state.inside = outside
        return checked_answer(name, result, args[0], gives)

    checked.__name__ = name  # for messages
    return checked


def checked_answer(name: str, result: Any, x: Any, gives: str) -> Any:
    """What a reader's function gave, in the shape that its letter promises.

    Raises:
        TypeError: when it is no array or number.
        ValueError: when it has another shape.
    """
    if gives == "any":
        return result
    if gives == "number":
        if _shape(result) != () or not (isinstance(result, numbers.Real) or is_array(result)) or result != result:
            raise ValueError(f"{name} must give a number, got {_shown(result)}")
        return result
    if gives == "Gaussian":
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{name} must give a Gaussian, a mean and a variance, got {type(result).__name__}")
        mean, var = result
        ends = _ends(var)
        if ends is not None and not ends[0] > 0:
            raise ValueError(f"the variance of {name} must be above 0, got {_shown(var)}")
        checked_answer(f"the mean of {name}", mean, x, "x")
        return Gaussian(mean, var)
    if gives == "fits x":
        if not _fits(_shape(result), _shape(x)):
            raise ValueError(
                f"{name} must fit the shape {_shape(x)}, or be 1 long where it does not, got {_shape(result)}"
            )
        return result
    if gives.startswith("2 "):
        batch, channels, *rest = _shape(x)
        return check_shape(name, result, (batch, 2 * channels, *rest))
    return check_shape(name, result, _shape(x)[:-1] if gives.endswith("[:-1]") else _shape(x))


def _covariance(argument: Argument, value: Any) -> np.ndarray:
    """A covariance matrix in float64, or 0 where that is a shape it may have."""
    definite = argument.domain.low > 0
    if not definite and isinstance(value, float | int) and value == 0:
        return np.zeros(())
    try:
        return check_covariance(argument.name, value, definite)
    except (TypeError, ValueError) as problem:
        raise Refused(problem) from None


def check_covariance(name: str, value: Any, definite: bool = True) -> np.ndarray:
    """Refuse what is no covariance matrix, to the precision in which it came; gives it back in float64.

    Raises:
        TypeError: when it is not made of numbers.
        ValueError: when it is not square, finite, symmetric, and positive definite or semidefinite.
    """
    kind = f"a positive {'' if definite else 'semi'}definite matrix"
    try:
        given = to_numpy(value) if is_tensor(value) else np.asarray(value)
        if given.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {kind}, got {_shown(value)}") from None
    cov = given.astype(np.float64)
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ValueError(f"{name} must be {kind}, got {_shown(cov)}")
    if not np.isfinite(cov).all():
        raise ValueError(f"{name} must be finite, got {_shown(cov)}")
    precision = np.finfo(given.dtype).eps if given.dtype.kind == "f" else np.finfo(np.float64).eps
    slack = max(1e-9, 4 * len(cov) * precision) * abs(cov).max(initial=0.0)
    if not np.all(abs(cov - cov.T) <= slack):
        raise ValueError(f"{name} must be a symmetric matrix, got {_shown(cov)}")
    least = np.linalg.eigvalsh(cov)[0] if cov.size else math.inf
    if not (least > 0 if definite else least >= -slack):
        raise ValueError(f"{name} must be {kind}, got {_shown(cov)}")
    return cov


_KINDS: dict[str, Callable[[Argument, Any], Any]] = {
    "number": _number,
    "scalar": _scalar,
    "pixels": _pixels,
    "step": _step,
    "noising": _noising,
    "whole": _whole,
    "times": _times,
    "table": _table,
    "distribution": _distribution,
    "covariance": _covariance,
    "choice": _choice,
    "object": _object,
    "function": _function,
    "any": lambda argument, value: value,
}


# All of them together. -----------------------------------------------------------------------------------------------


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value[0] if isinstance(value, Step) else value, "shape", ()))


def _one_library(given: dict[str, Any], names: Mapping[str, Argument]) -> None:
    """Refuse a mixture of libraries, and a step of another dtype than the samples'."""
    arrays, kinds = {}, set()
    for name, value in given.items():
        if names[name].kind in _ELEMENTWISE:
            value = value[0] if isinstance(value, Step) else value
            if not isinstance(value, float) and is_array(value):
                arrays[name] = value
                kinds.add((type(value), value.dtype))
    if len(kinds) < 2:
        return
    tensors = [name for name, value in arrays.items() if is_tensor(value)]
    if tensors and len(tensors) < len(arrays):
        for name, value in arrays.items():
            if not is_tensor(value) and value.ndim == 0 and not isinstance(given[name], Step):
                given[name] = float(value)
            elif not is_tensor(value):
                words = f"{tensors[0]} is a {type(arrays[tensors[0]]).__name__}, {name} a {type(value).__name__}"
                raise Refused(TypeError(f"all arrays must be of one library, but {words}"))
    of_samples = {str(v.dtype) for n, v in arrays.items() if names[n].kind == "number" and v.ndim}
    for name, value in arrays.items():
        if names[name].kind == "step" and value.ndim and len(of_samples) == 1 and str(value.dtype) not in of_samples:
            raise Refused(
                TypeError(
                    f"{name} must have the dtype of the samples, {of_samples.pop()}, got {value.dtype}; "
                    "schedule.at(t, like=x) gives it so"
                )
            )


_ELEMENTWISE = ("number", "pixels", "step", "noising")


def _fitting(
    given: Mapping[str, Any], names: Mapping[str, Argument], said: Mapping[str, Shapes], objects: Sequence[Any]
) -> None:
    """Refuse shapes that do not fit, even where they would broadcast."""
    if said:
        known = {name: size for value in objects for name, size in getattr(value, "sizes", {}).items()}
        _fitting_as_said(given, said, known)
    shapes = []
    for name, value in given.items():
        kind = names[name].kind
        if kind in _ELEMENTWISE and name not in said and not isinstance(value, float):
            shape = _shape(value)
            if shape != ():
                shapes.append((name, kind == "step", shape))
    if len(shapes) > 1:
        problem = _misfit(tuple(shapes))
        if problem:
            raise Refused(ValueError(problem))


@functools.lru_cache
def _misfit(arrays: tuple[tuple[str, bool, tuple[int, ...]], ...]) -> str:
    """What is wrong with the shapes of arrays, of which some are steps; empty where nothing is."""
    samples = [shape for _, is_step, shape in arrays if not is_step] or [shape for _, _, shape in arrays]
    axes = max(map(len, samples))
    whole = tuple(map(max, zip(*(shape for shape in samples if len(shape) == axes), strict=True)))
    fits = all(
        len(shape) == axes and all(n in (1, m) for n, m in zip(shape, whole, strict=True)) for _, _, shape in arrays
    )
    if fits and whole in samples:
        return ""
    shapes = ", ".join(f"{name} {shape}" for name, _, shape in arrays)
    return f"shapes must be equal, or of as many axes with length 1 where they differ, but they are {shapes}"


def read_shapes(text: str) -> dict[str, Shapes]:
    """From ``"x (..., d), v (..., d) or 0, step fits x"``, with the alternatives of each in turn."""
    found = re.findall(r"(\w+) (\([^)]*\)(?: or (?:\([^)]*\)|0))*)", text)
    shapes: dict[str, Shapes] = {
        name: tuple(tuple(re.findall(r"\.\.\.|[\w+-]+", dims)) if dims != "0" else () for dims in said.split(" or "))
        for name, said in found
    }
    return {**shapes, **dict(re.findall(r"(\w+) fits (\w+)", text))}


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether it has as many axes as the whole, each of its length or of length 1."""
    return len(shape) == len(whole) and all(n in (1, m) for n, m in zip(shape, whole, strict=True))


def _fitting_as_said(given: Mapping[str, Any], said: Mapping[str, Shapes], own: Mapping[str, int]) -> None:
    """Refuse shapes that are not those of the equation, or of the objects that know sizes."""
    sizes: dict[str, Any] = {**own, **({"T": given["schedule"].T} if "schedule" in given else {})}
    for name, alternatives in said.items():
        if name in given and given[name] is not None:
            shape = _shape(given[name])
            if isinstance(alternatives, str):
                whole = _shape(given.get(alternatives))
                if shape != () and not _fits(shape, whole):
                    must = f"fit {alternatives} {whole}: as many axes, each of its length or of length 1"
                    raise Refused(ValueError(f"{name} must {must}, got {shape}"))
            elif not any(_matches(shape, dims, sizes) for dims in alternatives):
                wanted = " or ".join(f"({', '.join(dims)}{',' if len(dims) == 1 else ''})" for dims in alternatives)
                known = ", ".join(
                    f"{dim} = {size}" for dim, size in sizes.items() if dim in " ".join(map(" ".join, alternatives))
                )
                raise Refused(
                    ValueError(f"{name} must have the shape {wanted}{f' with {known}' if known else ''}, got {shape}")
                )


def _matches(shape: tuple[int, ...], dims: tuple[str, ...], sizes: dict[str, Any]) -> bool:
    """Whether a shape is as said; if so, the sizes of the letters in it are noted."""
    at = dims.index("...") if "..." in dims else len(dims)
    rest = len(shape) - len(dims) + ("..." in dims)
    if rest < 0 or (rest and "..." not in dims):
        return False
    pairs: list[tuple[str, Any]] = [*zip(dims[:at], shape[:at], strict=True)]
    if "..." in dims:
        pairs += [("...", shape[at : at + rest]), *zip(dims[at + 1 :], shape[at + rest :], strict=True)]
    new = dict(sizes)
    for dim, size in pairs:
        name, sign, more = re.fullmatch(r"(\.\.\.|\w+?)(?:([+-])(\d+))?", dim).groups()  # type: ignore[union-attr]
        value = size - int(f"{sign}{more}") if more else size
        if new.setdefault(name, int(name) if name.isdigit() else value) != value:
            return False
    sizes.update(new)
    return True


def _within_schedule(name: str, t: Any, T: int) -> None:
    """Refuse times that a schedule has not."""
    ends = _ends(t)
    if ends is not None and not (ends[0] >= 1 and ends[1] <= T):
        raise _refuse(name, f"lie in 1..{T}", t)
