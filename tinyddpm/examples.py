"""Arguments that an equation admits, made from its letters: what the door's tests and the judge of other code call it with.

`admitted` gives one set of arguments of a shape. `examples` gives many, the simplest first: single numbers at the second
time of a short schedule, then t = 1 and the last time, then batches in which every sample has a time of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import forward
from .arrays import convert, is_tensor
from .door import Argument
from .equation import Equation
from .forward import Schedule
from .letters import Step

SIZES: dict[str, Any] = {
    "n": 3,
    "m": 4,
    "d": 2,
    "k": 2,
    "batch": 3,
    "channels": 2,
    "features": 2,
    "L": 3,
    "history": 3,
    "...": (),
    "T": 5,
}
"""The lengths that stand for the letters of a shape."""


def _twice_as_many(x_t: Any, t: Any) -> Any:
    joined = importlib.import_module("torch").cat
    return joined([0.5 * x_t, 0.1 * x_t], dim=1)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "(x) -> x": lambda x, *rest: -x,
    "(x) -> fits x": lambda x: -x,
    "(x, time) -> x": lambda x, time: -(1 + time) * x,
    "(x, var) -> x": lambda x, var: -x / (1 + var),
    "(x) -> x[:-1]": lambda x: -(x**2).sum(-1) / 2,
    "(x_t, t) -> x_t": lambda x_t, t: 0.5 * x_t,
    "(x_t, t) -> any": lambda x_t, t: 0.5 * x_t,
    "(x_t, t) -> 2 x_t": _twice_as_many,
    "(x_t, step) -> Gaussian": lambda x_t, step: forward.Gaussian(0.5 * x_t, 1.0),
    "(time) -> number": lambda time: 1.0,
    "(snr) -> number": lambda snr: 1 / (1 + snr),
}
"""A function of each kind that an equation takes."""


def _torch() -> Any:
    return importlib.import_module("torch")


def _vae() -> Any:
    return importlib.import_module("tinyddpm.vae_vs_vdm")


def _mixture() -> Any:
    return importlib.import_module("tinyddpm.mixture")


SPECIAL: dict[str, Callable[[], Any]] = {
    "alpha_bar_max": lambda: 0.01,
    "axis": lambda: 0,
    "directions": lambda: np.eye(2),
    "dtype": lambda: _torch().float64,
    "rng": lambda: np.random.default_rng(0),
    "shape": lambda: (3, 2),
    "taus": lambda: [1, 3, 5],
    "times": lambda: np.array([0.1, 0.2, 0.4, 0.7]),
    "values": lambda: np.array([0.5, 1.0, 2.0]),
    "variances": lambda: np.array([4.0, 2.0, 1.0]),
    "step_size": lambda: 0.05,
    "start": lambda: None,
    "clip_noise": lambda: True,
    "shared": lambda: True,
}
"""Arguments of which the letter does not say enough."""

SHORT = forward.linear(5, 0.1, 0.3)


def _seeded() -> Any:
    return _torch().Generator().manual_seed(0)


def _with_times(ones: Callable[[int, int], Any], t: Any) -> dict[str, Any]:
    return {"x_0": ones(3, 2), "noise": ones(3, 2), "t": t}


OWN: dict[str, Callable[[], dict[str, Any]]] = {
    "elbo.diffusion_loss_continuous": lambda: {"snr_min": 0.2, "snr_max": 3.0},
    "elbo.vlb_terms": lambda: {"x_0": np.array([[0.1, -0.2], [0.3, 0.4]])},
    "langevin.minibatch_score": lambda: {"total": 7},
    "langevin.probability_flow_log_prob": lambda: {"time": 0.4},
    "train.encode": lambda: {"x_0": _torch().ones(3, 2), "times": [1, 3, 5], "steps": None},
    "train.learned_variance_loss": lambda: _with_times(_torch().ones, _torch().tensor([1, 2, 5])),
    "train.bound_loss": lambda: _with_times(_torch().ones, _torch().tensor([1, 2, 5])),
    "train.sample": lambda: {"rng": _seeded()},
    "train.sample_path": lambda: {"rng": _seeded(), "times": [1, 3, 5], "steps": None},
    "train.stratified_times": lambda: {"uniform": np.array([0.3])},
    "train.time_embedding": lambda: {"t": np.array([1, 4])},
    "train.training_loss": lambda: _with_times(lambda *shape: np.ones(shape), np.array([1, 2, 5])),
}
"""Arguments of equations that ask for more than the letters say."""

TIMES = {"step_s": 2, "step_u": 4, "step_next": 4}
"""The time of each step in `SHORT`; of all others 3."""


def value_for(argument: Argument, shape: tuple[int, ...], rng: np.random.Generator, like: Any = None) -> Any:
    """Something that an argument may be, of a shape: a float for (), else an array in the library of `like`."""
    if argument.kind in ("number", "scalar", "pixels", "table"):
        shape = () if argument.kind == "scalar" else shape
        low = max(argument.domain.low, -0.9 if argument.kind != "pixels" else 1)
        low = low + 0.1 * (low >= 0)
        drawn: Any = rng.uniform(low, min(argument.domain.high, low + 0.8), shape)
        drawn = float(drawn) if shape == () else drawn
        return drawn if like is None or shape == () or argument.kind == "table" else convert(drawn, like=like)
    if argument.kind == "noising":
        return 0.4
    if argument.kind == "whole":
        return int(max(argument.domain.low, 2 if argument.domain.high > 1 else 0))
    if argument.kind == "distribution":
        drawn = rng.uniform(0.1, 1.0, shape or (3,))
        return drawn / drawn.sum(None if argument.domain == "all axes" else -1, keepdims=True)
    if argument.kind == "covariance":
        return np.eye(shape[0]) * 0.7
    if argument.kind == "times":
        return np.array([1, 3, 5]) if not is_tensor(like) else _torch().tensor([1, 3, 5])
    if argument.kind == "choice":
        first = {"variance": "beta", "predicts": "noise", "sampler": "ancestral"}
        return argument.domain[0] if isinstance(argument.domain, tuple) else first[argument.name]
    if argument.kind == "function":
        return FUNCTIONS[argument.domain]
    raise ValueError(f"no value for {argument.name}, of kind {argument.kind}")


def shape_for(dims: tuple[str, ...], lengths: Mapping[str, Any] = SIZES) -> tuple[int, ...]:
    """A shape, from the letters in it."""
    sizes: list[int] = []
    for dim in dims:
        name, _, more = dim.partition("+") if "+" in dim else dim.partition("-")
        size = lengths.get(name, int(name) if name.isdigit() else 2)
        sizes += list(size) if isinstance(size, tuple) else [size + int(f"{dim[len(name)]}{more}") if more else size]
    return tuple(sizes)


def admitted(
    known: Equation, rng: np.random.Generator, shape: tuple[int, ...] = (), like: Any = None
) -> dict[str, Any]:
    """Arguments that an equation admits, by name; numbers have the shape, in the library of `like`."""
    schedule, given, special = SHORT, dict[str, Any](), OWN.get(known.name, dict)()
    for argument in known.arguments:
        own = _shape(known, argument, shape)
        if argument.name in special:
            value = special[argument.name]
        elif argument.name in SPECIAL:
            value = SPECIAL[argument.name]()
        elif argument.kind == "step":
            t, plain = TIMES.get(argument.name, 3), like is None or shape == ()
            value = schedule[t] if plain else schedule.at(t, like=like.reshape(-1)[:1].reshape([1] * len(own)))
        elif argument.kind == "object":
            value = _object(argument.domain, schedule)
        else:
            value = value_for(argument, own, rng, like)
        given[argument.name] = value
    return given


def _shape(
    known: Equation, argument: Argument, shape: tuple[int, ...], lengths: Mapping[str, Any] = SIZES
) -> tuple[int, ...]:
    said: Any = known.shapes.get(argument.name)
    said = known.shapes[said] if isinstance(said, str) else said
    if not said:
        return shape
    if lengths is not SIZES and shape == () and () in said:
        return ()
    return shape_for(said[0], lengths)


def _object(kind: str, schedule: Schedule) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "Schedule": lambda: schedule,
        "Mixture": lambda: _mixture().two_classes(),
        "Chain": chain,
        "Normal": lambda: _vae().Normal.standard(2),
    }
    return makers[kind]()


def chain() -> Any:
    """A hierarchical model of three levels in two dimensions."""
    return _vae().ideal_chain(forward.linear(3, 0.9, 0.99), np.zeros(2), np.eye(2))


def instance(known: Equation) -> tuple[Any, ...]:
    """What a method is called on: nothing for a function."""
    made: dict[str, Callable[[], Any]] = {
        "Mixture": lambda: _mixture().ring(),
        "LinearVAE": lambda: _vae().LinearVAE(np.ones((2, 2)) + np.eye(2), np.zeros(2), 0.5),
        "Chain": chain,
        "Linear": lambda: chain().decoder[0],
    }
    owner = known.function.__qualname__.rpartition(".")[0]
    return (made[owner](),) if owner else ()


# Many examples, the simplest first. ----------------------------------------------------------------------------------

SCHEDULES: tuple[tuple[str, Schedule], ...] = (
    ("betas 0.1, 0.2, 0.3, 0.4, 0.5", Schedule([0.1, 0.2, 0.3, 0.4, 0.5])),
    ("betas 0.5, 0.1, 0.3, 0.6", Schedule([0.5, 0.1, 0.3, 0.6])),
    ("linear, T = 1000", forward.linear(1000)),
    ("cosine, T = 50", forward.cosine(50)),
    ("betas 1e-6, 2e-6, 0.3", Schedule([1e-6, 2e-6, 0.3])),
)
"""Schedules that examples are taken from, and what they are called."""

PLACES = (
    *((0, 2), (0, 1), (0, 5), (0, 3), (1, 2), (1, 4), (2, 1), (2, 500), (2, 1000), (3, 1), (3, 25), (3, 50)),
    *((4, 1), (4, 2), (4, 3)),
)
"""Schedules by their place in `SCHEDULES`, and the times in them that are tried. None has a beta of 1: code that divides by
alpha is right elsewhere."""


class Example(dict[str, Any]):
    """Arguments by name, and in words where the steps come from."""

    where = ""


VARIANTS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((3,), {"n": 4, "features": 3}),
    ((3, 2), {"...": (2, 3), "n": 5, "d": 3}),
)
"""Shapes of the samples, and the lengths that differ from `SIZES` there."""


FITTED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "elbo.decoder_log_prob": lambda given: {"x_0": _grey(given["x_0"], given["bins"])}
}
"""Arguments that have to fit others, made from them."""


def _grey(x: Any, bins: int) -> Any:
    """The nearest of the grey levels from -1 to 1."""
    grey = np.rint((np.asarray(x) + 1) / 2 * (bins - 1)) / (bins - 1) * 2 - 1
    return float(grey) if np.ndim(x) == 0 else grey


ANGLES = ("train.interpolate",)
"""Equations with an angle between samples: two single numbers have none."""


def examples(known: Equation, tensors: bool = False) -> Iterator[Example]:
    """Arguments by name, the simplest first; not all of them are admitted.

    Args:
        known: the equation.
        tensors: with arrays as tensors, for an equation that computes with networks.
    """
    timed = any(argument.kind in ("step", "noising") for argument in known.arguments)
    for number, (shape, lengths) in enumerate(VARIANTS):
        if known.name in ANGLES and not lengths.get("..."):
            continue
        for place, (which, t) in enumerate(PLACES):
            if shape != () and place % 3 != 1:  # of arrays, fewer
                continue
            if not timed and place > (5 if shape == () else 8):
                break
            drawn = _Drawn(known, shape, {**SIZES, **lengths}, np.random.default_rng([number, place]), tensors)
            with suppress(KeyError, IndexError, ValueError):
                yield from drawn.at(SCHEDULES[which], t, simple=place < 2 and shape == ())


@dataclass
class _Drawn:
    """Arguments of one shape."""

    known: Equation
    shape: tuple[int, ...]
    lengths: Mapping[str, Any]
    rng: np.random.Generator
    tensors: bool

    def at(self, named: tuple[str, Schedule], t: int, simple: bool) -> Iterator[Example]:
        """At a time of a schedule: where they are simple, first with 1 for one number and 0 for all others."""
        (name, schedule), known, shape = named, self.known, self.shape
        base = Example(admitted(known, self.rng, shape, _like(shape, self.tensors) if shape or self.tensors else None))
        steps = [argument for argument in known.arguments if argument.kind == "step"]
        ts = _times(t, schedule.T)
        if any(ts[argument.name] > schedule.T for argument in steps):
            return
        for argument in steps:
            base[argument.name] = self.step(argument, schedule, ts[argument.name])
        base.where = f"t = {t} of {name}" if steps else ""
        own = OWN.get(known.name, dict)()
        for argument in known.arguments:
            if argument.name in own:
                base[argument.name] = self.like_own(own[argument.name])
            elif argument.name == "directions":
                base[argument.name] = self.array(self.rng.normal(size=(4, self.lengths["d"])))
            elif argument.name not in SPECIAL:
                drawn = self.value(argument)
                if drawn is not None:
                    base[argument.name] = drawn
        for given in (*self.units(base), base) if simple else (base,):
            if known.name in FITTED:
                given.update(FITTED[known.name](given))
            yield given

    def units(self, base: Example) -> Iterator[Example]:
        """The same with 1 for one number and 0 for all others, as far as the letters admit it."""
        numbers = [
            argument
            for argument in self.known.arguments
            if argument.kind in ("number", "pixels") and not np.ndim(base[argument.name])
        ]
        signed = [argument for argument in numbers if argument.domain.low < 0]
        for one in signed or numbers:
            made = Example(base)
            made.where = base.where
            for argument in numbers:  # what is never negative is 1: a variance of 0 hides the noise
                wanted = float(argument is one or argument not in signed)
                if argument.domain.low <= wanted <= argument.domain.high:
                    made[argument.name] = wanted
            yield made

    def step(self, argument: Argument, schedule: Schedule, t: int) -> Step:
        """A step; for batches, of two times that are one apart."""
        if t < 2 or len(self.shape) < 2:
            return schedule[t] if t else schedule[1].before
        each = np.array([t, t - 1, t])[: self.shape[0]]
        return schedule.at(each, like=_like((len(each), *[1] * (len(self.shape) - 1)), self.tensors))

    def value(self, argument: Argument) -> Any:
        """A number, an array, probabilities or a matrix; None of all else."""
        shape = _shape(self.known, argument, self.shape, self.lengths)
        if argument.kind in ("number", "pixels", "table"):
            return self.array(_numbers(argument, shape, self.rng))
        if argument.kind == "distribution":
            drawn = self.rng.uniform(0.1, 1.0, shape or (3,))
            return self.array(drawn / drawn.sum(None if argument.domain == "all axes" else -1, keepdims=True))
        if argument.kind == "covariance":
            root = self.rng.uniform(-1, 1, shape)
            return self.array(root @ root.T + 0.3 * np.eye(shape[0]))
        if argument.kind == "whole":
            return int(min(max(argument.domain.low, 2 * self.rng.integers(1, 5)), argument.domain.high))
        if argument.kind == "choice" and isinstance(argument.domain, tuple):
            return str(self.rng.choice(argument.domain))
        return None

    def like_own(self, value: Any) -> Any:
        """Random numbers in the place of arrays that only have the right shape."""
        if not hasattr(value, "shape") or "float" not in str(value.dtype):
            return value
        return convert(self.rng.uniform(-1, 1, tuple(value.shape)), like=value)

    def array(self, value: Any) -> Any:
        return convert(value, like=_like((1,), True)) if self.tensors and np.ndim(value) else value


USUAL = {"v": (0.0, 1.0)}
"""Where a number usually is, although it may be elsewhere."""


def _numbers(argument: Argument, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """A number of two decimals in the domain of a letter, or an array of them."""
    least, most = USUAL.get(argument.name, (-2.0, 2.0))
    low, high = max(argument.domain.low, least), min(argument.domain.high, most)
    if low > high:
        low, high = argument.domain.low, argument.domain.low + 2
    drawn = np.clip(np.round(rng.uniform(low, high, shape), 2), low + 0.01 * (low < high), high)
    return drawn if shape else float(drawn)


def _times(t: int, T: int) -> dict[str, int]:
    """The times of the steps of an equation around t: an earlier one, the next one, a later one."""
    return {"step": t, "step_prev": max(1, t - 1), "step_s": t // 2, "step_next": t + 1, "step_u": min(T + 1, t + 2)}


def _like(shape: tuple[int, ...], tensors: bool) -> Any:
    return _torch().zeros(shape, dtype=_torch().float64) if tensors else np.zeros(shape)


def call(known: Equation, given: Mapping[str, Any], function: Callable[..., Any] | None = None) -> Any:
    """The equation, or another function in its place, with arguments by name."""
    return (function or known.function)(*instance(known), **given)
