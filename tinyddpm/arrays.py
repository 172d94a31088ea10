"""One body, four readings: the helpers with which a formula takes floats, NumPy arrays, tensors and SymPy symbols.

An equation is written with `+ - * / **` and `sqrt`, `exp`, `log`, `maximum`, `minimum` alone. `convert` and `to_numpy`
lead from one array library to another.
"""

from __future__ import annotations

import cmath
import math
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
"""A Python float, a NumPy array, a torch tensor or a SymPy expression."""

NUMPY, TRUTH = (np.ndarray, np.generic), (bool, np.bool_)
"""NumPy's arrays and scalars; a single truth value. Named here, since `torch.compile` traces no union with NumPy's types."""


def sqrt(x: Array) -> Array:
    """Square root, as a power, so that every library can take it."""
    return x**0.5


def exp(x: Array) -> Array:
    """Exponential in the library of ``x``."""
    return _library(x).exp(x)


def log(x: Array) -> Array:
    """Natural logarithm in the library of ``x``; of zero it is minus infinity, as in every array library."""
    if isinstance(x, int | float):
        return math.log(x) if x else -math.inf
    if isinstance(x, NUMPY):
        with np.errstate(divide="ignore"):
            return np.log(x)
    return _library(x).log(x)


def expm1(x: Array) -> Array:
    """exp(x) - 1, with all its digits where x is small."""
    return _library(x).expm1(x) if not is_symbolic(x) else exp(x) - 1


def log1p(x: Array) -> Array:
    """log(1 + x), with all its digits where x is small."""
    if isinstance(x, NUMPY):
        with np.errstate(divide="ignore"):  # of -1 it is minus infinity, as in every array library
            return np.log1p(x)
    return _library(x).log1p(x) if not is_symbolic(x) else log(1 + x)


def where(condition: Array, yes: Array, no: Array) -> Array:
    """The one where the condition holds, else the other; for a plain condition a plain choice."""
    if isinstance(condition, TRUTH):
        return yes if condition else no
    return array_api_compat.array_namespace(condition).where(condition, yes, no)


def clipped(x: Array, low: Array, high: Array) -> Array:
    """x, but no less than low and no more than high."""
    if isinstance(x, int | float):
        return min(max(x, low), high)
    return array_api_compat.array_namespace(x).clip(x, low, high)


def sum_dims(x: Array) -> Array:
    """The sum over the data's dimensions, all but the first; a number or a batch of numbers stays as it is."""
    return x.reshape(x.shape[0], -1).sum(1) if len(getattr(x, "shape", ())) > 1 else x


def log_sum_exp(x: Array) -> Array:
    """log(sum(exp(x))) over the last axis, without overflow: the largest is taken out of the sum."""
    xp = array_api_compat.array_namespace(x)
    x = np.asfortranarray(x) if isinstance(x, np.ndarray) else x  # in which NumPy is faster along a short last axis
    top = xp.max(x, axis=-1)
    return top + log(exp(x - top[..., None]).sum(-1))


def minimum(x: Array, y: Array) -> Array:
    """The smaller of the two, element by element."""
    return where(x < y, x, y)


def log1p_rest(x: Array, one_plus_x: Array) -> Array:
    """log(1 + x) - x, which is -x^2/2 near 0, with all the digits of x, or of 1 + x where that is small."""
    if is_symbolic(x):
        return log(one_plus_x) - x
    small, near = abs(x) < 0.05, one_plus_x < 0.5
    little = clipped(x, -0.05, 0.05)  # elsewhere its powers could overflow
    rest = 0.0 * little
    for power in range(13, 1, -1):  # the series, for which 0.05^14 is nothing
        rest = (-1.0) ** (power + 1) / power + little * rest
    far = where(near, log(one_plus_x), log1p(where(near, 0 * x, x))) - x
    return where(small, little * little * rest, far)


def log_ndtr(x: Array) -> Array:
    """Logarithm of the normal distribution function, in the library of x."""
    if is_tensor(x):
        return sys.modules["torch"].special.log_ndtr(x)
    from scipy import special  # here, since chapter 1 does without it

    return special.log_ndtr(x)


def stack(arrays: list[Array]) -> Array:
    """Arrays of one shape along a new first axis."""
    return array_api_compat.array_namespace(arrays[0]).stack(arrays)


def sums_so_far(x: Array) -> Array:
    """Sums along the first axis, from the empty sum, 0, to that of all."""
    return array_api_compat.array_namespace(x).cumulative_sum(x, axis=0, include_initial=True)


def joined(x: Array, last: Array) -> Array:
    """Samples with one more number each."""
    return array_api_compat.array_namespace(x).concat([x, last[..., None]], axis=-1)


def times_like(t: int, x: Array) -> Array:
    """A time for each sample of x, as whole numbers on its device."""
    return array_api_compat.array_namespace(x).full(x.shape[:1], t, device=array_api_compat.device(x))


def standard_normal(x: Array, rng: Any) -> Array:
    """Noise in the shape, library and dtype of x and on its device, from a generator of NumPy or, for tensors, of torch.

    Raises:
        TypeError: when it is no generator.
    """
    if hasattr(rng, "standard_normal"):
        return convert(rng.standard_normal(tuple(x.shape)), like=x)
    if type(rng).__name__ != "Generator" or not is_tensor(x):
        raise TypeError(f"rng must be a generator of {'NumPy or torch' if is_tensor(x) else 'NumPy'}, got {rng!r}")
    return sys.modules["torch"].randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)


def gradient(function: Callable[[Array], Array], x: Array, weight: Array | None = None) -> Array:
    """The gradient of what a function gives, weighted and summed, by torch's autograd, in the library of x.

    Raises:
        TypeError: when the function does not compute with torch; the message names it.
    """
    import torch  # here, since it takes long to import

    leaf = torch.as_tensor(x).detach().clone().requires_grad_()
    with torch.enable_grad():
        value = function(leaf)
    if not getattr(value, "requires_grad", False):
        name = getattr(function, "__name__", "the function")
        raise TypeError(f"{name} must be computed from x by torch alone, got {type(value).__name__}")
    weight = torch.ones_like(value) if weight is None else convert(weight, like=leaf)
    (slope,) = torch.autograd.grad(value, leaf, grad_outputs=weight)
    return slope if is_tensor(x) else slope.numpy()


def grid(like: Array) -> Array:
    """The values that a pixel can have, from -1 to 1: as many as the last axis is long, in its library, dtype and device."""
    xp = array_api_compat.array_namespace(like)
    return xp.linspace(-1, 1, like.shape[-1], dtype=like.dtype, device=array_api_compat.device(like))


def inner(value: Array) -> Array:
    """With one more axis at the end; a number stays as it is."""
    return value[..., None] if getattr(value, "shape", ()) != () else value


def convert(value: Array, like: Array) -> Array:
    """A number or an array in the library, dtype and device of another; a tensor keeps its gradient in torch."""
    if is_tensor(value):
        if is_tensor(like):
            return value.to(like)
        value = to_numpy(value)
    if isinstance(value, np.ndarray) and isinstance(like, NUMPY) and value.dtype == like.dtype:
        return value
    xp = array_api_compat.array_namespace(like)
    return xp.asarray(value, dtype=like.dtype, device=array_api_compat.device(like))


def to_numpy(value: Array) -> np.ndarray:
    """A number, an array or a tensor, wherever it is, as a NumPy array of its dtype; of bfloat16 as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.asarray(value)


def is_array(value: Any) -> bool:
    """Whether it is an array or a tensor of any library, or a NumPy scalar."""
    return isinstance(value, NUMPY) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; asks without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_traced() -> bool:
    """Whether somebody is reading the code and not running it: `torch.compile` or torch's tracer."""
    torch = sys.modules.get("torch")
    return torch is not None and (torch.compiler.is_compiling() or torch.jit.is_tracing())


def is_symbolic(x: Any) -> bool:
    """Whether it is a symbol or an expression of SymPy, or a number of mpmath."""
    return not isinstance(x, float) and type(x).__module__.partition(".")[0] in ("sympy", "mpmath")


def _library(x: Array) -> Any:
    if isinstance(x, int | float):
        return math
    if isinstance(x, complex):
        return cmath
    if is_symbolic(x):
        return sys.modules[type(x).__module__.partition(".")[0]]
    return array_api_compat.array_namespace(x)
