"""The door: what `@equation` admits, by the letters of the arguments.

The body of an equation is its formula and nothing else; what comes in is checked here, once for all of them:

- Kind: Python numbers, NumPy arrays and scalars, tensors. Python integers become floats; integer and float16 arrays,
  lists, booleans and complex numbers are refused by name.
- Values: finite and in the domain of the letter. An accelerator's tensors are not read, since that would stall it.
- Library: all arrays are of one, and arrays of a step have the dtype of the samples.
- Shapes: every array has as many axes as the sample, each of its length or of length 1, and no other operand may
  enlarge the sample. A number goes with anything. An equation with other shapes says so, ``"x (..., d), v (..., d)"``.

Under SymPy symbols, `torch.compile`, tracing, `vmap` and fake tensors it steps aside. An equation that another one calls
is not checked again.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import re
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import array_api_compat
import numpy as np

from .arrays import is_array, is_tensor, to_numpy
from .letters import LARGEST, LETTERS, Gaussian, Interval, Letter, Step

STEP_ALONE = ((Step._fields.index("beta"), math.ulp(0.0)),)
"""What every step needs unless the equation says more: a beta above 0, so a time from 1 on."""

HINTS = {
    "alpha": "at 0 the noise tells nothing of x_0; predict x_0 or the velocity",
    "alpha_bar": "at 0 the noise tells nothing of x_0; predict x_0 or the velocity",
    "noise_var_prev": "that is, t must be above 1",
    "noise_var": "at 0 there is no noise in the sample",
    "beta": "it is the step to t = 0, which no noise leads to",
}
"""Why a field of a step must be above 0."""


Shapes: TypeAlias = tuple[tuple[str, ...], ...]
"""The shapes that an argument may have, each as the names of its lengths."""


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
        if isinstance(self.domain, Interval) and self.kind != "noising":
            words = [self.domain.words]
        elif isinstance(self.domain, tuple):
            words = [f"one of {', '.join(self.domain)}"]
        elif self.kind == "function":
            words = [f"called as ``{self.name}{self.domain.partition(' -> ')[0]}``"]
        else:
            words = []
        if self.kind == "step":
            words += [f"with {Step._fields[at]} above 0" for at, _ in self.fields if self.fields is not STEP_ALONE]
        else:
            words += [f"with {field} at least {least:g}" for field, least in self.fields]
        return [*filter(None, words)]


class Requirement(NamedTuple):
    """What must hold between arguments: an expression of them, and what to say where it does not hold."""

    message: str
    code: Any
    names: tuple[str, ...]

    @classmethod
    def read(cls, message: str, expression: str) -> Requirement:
        """From words and an expression, such as ``"step_s.alpha_bar >= step.alpha_bar"``."""
        code = compile(expression, message, "eval")
        return cls(message, code, tuple(name for name in code.co_names if name in LETTERS))

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuse arguments that do not stand as they must; those that should not be read are not."""
        names = [name for name in self.names if name in given]
        if any(given[name] is None for name in names) or not names:
            return
        builtins = {"__import__": __import__}  # which NumPy may want, for a module that it loads late
        holds = eval(self.code, {"__builtins__": builtins, "abs": abs, "min": min, "shape": _shape}, dict(given))
        ends = _ends(holds)
        if ends is not None and not ends[0]:
            values = ", ".join(f"{name} = {_shown(given[name])}" for name in names)
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
        if kind in ("number", "pixels", "whole", "table", "covariance", "noising") and isinstance(domain, str):
            domain = Interval.read(domain)
        fields: tuple[tuple[Any, float], ...] = tuple(
            (Step._fields.index(field) if kind == "step" else field, Interval.read(text).low)
            for key, text in where.items()
            for argument, _, field in (key.partition("."),)
            if argument == parameter.name and field
        )
        if kind == "step" and not fields and parameter.name != "step_s":
            fields = STEP_ALONE
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
    admit = functools.partial(_admit, known, _read_shapes(shapes), requirements, method)
    # What the quick way admits: floats within bounds, and steps of floats. Anything else takes the long way.
    lows: list[Any] = []
    highs: list[Any] = []
    for argument in known:
        number, step = argument.kind in ("number", "pixels"), argument.kind == "step"
        lows.append(argument.domain.low if number else math.inf)
        highs.append(argument.domain.high if number else argument.fields if step else None)
    if method or shapes or require:
        lows = highs = []
    count, state = len(highs), _state

    def call(*args: Any, **kwargs: Any) -> Any:
        if _steps_aside() or state.inside:
            return function(*args, **kwargs)
        quick = len(args) <= count and not kwargs
        if quick:
            for value, low, high in zip(args, lows, highs, strict=False):
                kind = type(value)
                if kind is float:
                    if not low <= value or high is None or type(high) is tuple or not value <= high:
                        quick = False
                        break
                elif kind is Step and type(high) is tuple:
                    for index, least in high:
                        field = value[index]
                        if type(field) is not float or field < least:
                            quick = False
                            break
                    if type(value[0]) is not float:
                        quick = False
                    if not quick:
                        break
                else:
                    quick = False
                    break
        if not quick:
            try:
                args, kwargs = admit(args, kwargs)
            except Refused as refusal:
                problem = refusal.error
            else:
                problem = None
            if problem is not None:
                raise problem
        state.inside = True
        try:
            return function(*args, **kwargs)
        finally:
            state.inside = False

    functools.update_wrapper(call, function)
    call.__code__ = call.__code__.replace(co_name=function.__name__)  # so that a profile names the equation
    return call, known


def _steps_aside() -> bool:
    """Whether somebody is reading the code and not running it."""
    torch = sys.modules.get("torch")
    return torch is not None and (torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_name(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a choice that is not offered.

    Raises:
        ValueError: when it is none of those allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


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


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The equation without its door, for inner loops that have checked already."""
    return getattr(function, "__wrapped__", function)


# The long way. -------------------------------------------------------------------------------------------------------


def _admit(
    known: Sequence[Argument],
    shapes: Mapping[str, Shapes],
    requirements: Sequence[Requirement],
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
    _fitting(given, names, shapes)
    for argument in known:
        if argument.kind == "times" and "schedule" in given and given.get(argument.name) is not None:
            _within_schedule(argument.name, given[argument.name], given["schedule"].T)
    for requirement in requirements:
        requirement.check(given)
    return (
        (*own, *(given[argument.name] for argument in known[: len(rest)])),
        {name: given.get(name, value) for name, value in kwargs.items()},
    )


def _is_symbolic(value: Any) -> bool:
    if type(value) is float:
        return False
    if isinstance(value, Step):
        value = value[0]
    return type(value).__module__.partition(".")[0] in ("sympy", "mpmath")


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
        raise Refused(TypeError(f"{name} must be a number or an array, got a {type(value).__name__}: numpy.array makes one"))
    else:
        raise _refuse(name, "be a number, an array or a tensor", value, TypeError)
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
        raise _refuse(argument.name, "be probabilities, at least 0, over the last axis", value)
    slack = max(1e-9, 4 * precision * p.shape[-1])
    if not np.all(np.abs(p.sum(axis=-1) - 1) <= slack):
        raise _refuse(argument.name, "be probabilities that sum to 1 over the last axis", value)
    return p


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
            raise Refused(ValueError(f"{argument.name}.{field} must be at least {least:g}, got {getattr(value, field)}"))
    return value


def _function(argument: Argument, value: Any) -> Any:
    """The function, made to answer in the right shape."""
    if not callable(value):
        raise _refuse(argument.name, "be a function", value, TypeError)
    takes, _, gives = argument.domain.partition(" -> ")
    name = f"{argument.name}{takes}"

    def answer(*args: Any) -> Any:
        outside, _state.inside = _state.inside, False  # what a reader's function calls is checked again
        try:
            result = value(*args)
        finally:
            _state.inside = outside
        return checked_answer(name, result, args[0], gives)

    return answer


def checked_answer(name: str, result: Any, x: Any, gives: str) -> Any:
    """What a reader's function gave, in the shape that its letter promises.

    Raises:
        TypeError: when it is no array or number.
        ValueError: when it has another shape.
    """
    if gives in ("number", "any"):
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
    if gives.startswith("2 "):
        batch, channels, *rest = _shape(x)
        return check_shape(name, result, (batch, 2 * channels, *rest))
    return check_shape(name, result, _shape(x)[:-1] if gives.endswith("[:-1]") else _shape(x))


def _covariance(argument: Argument, value: Any) -> np.ndarray:
    """A covariance matrix in float64."""
    cov = _table(argument, value)
    if cov.ndim == 2 and cov.shape[0] == cov.shape[1]:
        if not np.allclose(cov, cov.T, rtol=1e-9, atol=0):
            raise _refuse(argument.name, "be a symmetric matrix", value)
        if np.linalg.eigvalsh(cov)[0] < 0 or not np.any(cov):
            raise _refuse(argument.name, "be positive definite", value)
    return cov


_KINDS: dict[str, Callable[[Argument, Any], Any]] = {
    "number": _number,
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


def _fitting(given: Mapping[str, Any], names: Mapping[str, Argument], said: Mapping[str, Shapes]) -> None:
    """Refuse shapes that do not fit, even where they would broadcast."""
    if said:
        _fitting_as_said(given, said)
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


def _read_shapes(text: str) -> dict[str, Shapes]:
    """From ``"x (..., d), v (..., d) or 0"``, with the alternatives of each in turn."""
    found = re.findall(r"(\w+) (\([^)]*\)(?: or (?:\([^)]*\)|0))*)", text)
    return {
        name: tuple(tuple(re.findall(r"\.\.\.|[\w+-]+", dims)) if dims != "0" else () for dims in said.split(" or "))
        for name, said in found
    }


def _fitting_as_said(given: Mapping[str, Any], said: Mapping[str, Shapes]) -> None:
    """Refuse shapes that are not those of the equation."""
    sizes: dict[str, Any] = {"T": given["schedule"].T} if "schedule" in given else {}
    for name, alternatives in said.items():
        if name in given and given[name] is not None:
            shape = _shape(given[name])
            if not any(_matches(shape, dims, sizes) for dims in alternatives):
                wanted = " or ".join(f"({', '.join(dims)}{',' if len(dims) == 1 else ''})" for dims in alternatives)
                known = ", ".join(f"{dim} = {size}" for dim, size in sizes.items() if dim in " ".join(map(" ".join, alternatives)))
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
