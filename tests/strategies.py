"""What the properties are tried on: schedules, steps of them, points of every shape; and what many files of tests need.

Each strategy is made once: Hypothesis looks through a new one before it draws, which takes longer than drawing.
"""

from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyddpm import forward, mixture, vae_vs_vdm
from tinyddpm.arrays import convert
from tinyddpm.equation import find

LENGTHS = (1, 2, 3, 10, 100, 1000, 4000)


@cache
def _named(name, T):
    return forward.schedule(name, T)


@cache
def _zeroed(name, T):
    return forward.zero_terminal_snr(_named(name, T))


@cache
def betas(low=1e-6, high=0.999):
    """Tiny, near-one and ordinary noise variances."""
    return st.one_of(
        st.sampled_from([low, 1e-4, 0.02, 0.5, high]),
        st.floats(low, high).map(lambda beta: float(f"{beta:.6g}")),
    )


@cache
def schedules():
    """The named schedules at many lengths, and short ones of any betas."""
    named = st.builds(_named, st.sampled_from(sorted(forward.SCHEDULES)), st.sampled_from(LENGTHS))
    return st.one_of(named, st.lists(betas(), min_size=1, max_size=5).map(forward.Schedule))


@cache
def edged_schedules():
    """The same, and schedules with a beta of 1, after which nothing of x_0 is left."""
    ended = st.tuples(st.lists(betas(), max_size=4), st.lists(betas(), max_size=2))
    zeroed = st.builds(_zeroed, st.sampled_from(sorted(forward.SCHEDULES)), st.sampled_from(LENGTHS[1:]))
    return st.one_of(schedules(), zeroed, ended.map(lambda both: forward.Schedule([*both[0], 1.0, *both[1]])))


PLACES = st.one_of(st.just(0), st.just(-1), st.integers(0, LENGTHS[-1] - 1))
"""A time of a schedule, counted from its first or its last; `_between` finds it in schedules of any length."""


def _between(first, last, place):
    return first + place % (last - first + 1)


@cache
def steps(first=1, edges=False):
    """A step at t = first, t = T or anywhere between; with edges, of schedules with a beta of 1 too."""
    long_enough = (edged_schedules() if edges else schedules()).filter(lambda schedule: first <= schedule.T)
    return st.builds(lambda schedule, place: schedule[_between(first, schedule.T, place)], long_enough, PLACES)


@cache
def steps_for(*functions):
    """Steps that all of these equations admit: at t = 1, with beta = 1 and with alpha = 0 wherever they may be."""
    fields = {
        (index, least)
        for function in functions
        for argument in find(function).arguments
        if argument.kind == "step"
        for index, least in argument.fields
    }
    return steps(edges=True).filter(lambda step: all(step[index] >= least for index, least in fields))


@cache
def jumps(edges=False):
    """Two times s < t of one schedule as steps, s = 0 and s = t - 1 among them; something of x_0 is left at s."""

    def pair(schedule, place, place_s):
        t = _between(1, schedule.T, place)
        s = _between(0, t - 1, place_s)
        return schedule[s] if s else schedule[1].before, schedule[t]

    chosen = edged_schedules() if edges else schedules()
    return st.builds(pair, chosen, PLACES, PLACES).filter(lambda both: both[0].alpha_bar > 0)


def ten_digits(*steps):
    """The relative error that a check allows: 1e-10, and what subtracting alpha_bar from 1 loses near t = 1.

    A textbook subtracts, so code that does is right; that ours keeps more digits, `test_digits` shows.
    """
    return 1e-10 + 1e-15 / min(var for step in steps for var in (step.noise_var, step.noise_var_prev) if var > 0)


@cache
def numbers():
    """Readable floats in [-5, 5], 0 among them."""
    return st.integers(-5000, 5000).map(lambda thousandths: thousandths / 1000)


@cache
def positive(high=5.0):
    """Readable floats in (0, high]."""
    return st.integers(1, int(1000 * high)).map(lambda thousandths: thousandths / 1000)


@cache
def points(count=1):
    """That many samples of one shape, from Python floats to four dimensions; a single one comes without a tuple."""
    kinds = [numbers()]
    kinds += [
        hnp.arrays(np.float64, shape, elements=numbers()) for shape in ((), (3,), (2, 3), (2, 1, 2), (2, 1, 1, 2))
    ]
    return st.one_of(kinds if count == 1 else [st.tuples(*[kind] * count) for kind in kinds])


@cache
def nodes(n, d=1):
    """Points and weights of a mean over a standard normal of d coordinates (Gauss-Hermite)."""
    x, weight = np.polynomial.hermite_e.hermegauss(n)
    points = np.stack(np.meshgrid(*[x] * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.stack(np.meshgrid(*[weight / weight.sum()] * d, indexing="ij"), -1).reshape(-1, d).prod(-1)
    return points, weights


def seeded(seed):
    """A generator of torch that begins at a seed."""
    return torch.Generator().manual_seed(seed)


def floats(fractions):
    """Exact numbers of any kind as an array."""
    return np.array(fractions, dtype=object).astype(np.float64)


@contextmanager
def refused(words, error=ValueError):
    """What is done here must be refused, with a message in which all of the words stand."""
    with pytest.raises(error) as problem:
        yield
    assert all(word in str(problem.value) for word in words), str(problem.value)


# Arguments that an equation admits, made from its letters. -----------------------------------------------------------

SIZES = {
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

FUNCTIONS = {
    "(x) -> x": lambda x, *rest: -x,
    "(x) -> fits x": lambda x: -x,
    "(x, time) -> x": lambda x, time: -x,
    "(x, var) -> x": lambda x, var: -x / (1 + var),
    "(x) -> x[:-1]": lambda x: -(x**2).sum(-1) / 2,
    "(x_t, t) -> x_t": lambda x_t, t: 0.5 * x_t,
    "(x_t, t) -> any": lambda x_t, t: 0.5 * x_t,
    "(x_t, t) -> 2 x_t": lambda x_t, t: torch.cat([0.5 * x_t, 0.1 * x_t], dim=1),
    "(x_t, step) -> Gaussian": lambda x_t, step: forward.Gaussian(0.5 * x_t, 1.0),
    "(time) -> number": lambda time: 1.0,
    "(snr) -> number": lambda snr: 1 / (1 + snr),
}
"""A function of each kind that an equation takes."""

SPECIAL = {
    "alpha_bar_max": lambda: 0.01,
    "axis": lambda: 0,
    "directions": lambda: np.eye(2),
    "dtype": lambda: torch.float64,
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

OWN = {
    "elbo.diffusion_loss_continuous": lambda: {"snr_min": 0.2, "snr_max": 3.0},
    "elbo.vlb_terms": lambda: {"x_0": np.array([[0.1, -0.2], [0.3, 0.4]])},
    "langevin.minibatch_score": lambda: {"total": 7},
    "langevin.probability_flow_log_prob": lambda: {"time": 0.4},
    "train.encode": lambda: {"x_0": torch.ones(3, 2), "times": [1, 3, 5], "steps": None},
    "train.learned_variance_loss": lambda: {
        "x_0": torch.ones(3, 2),
        "noise": torch.ones(3, 2),
        "t": torch.tensor([1, 2, 5]),
    },
    "train.bound_loss": lambda: {
        "x_0": torch.ones(3, 2),
        "noise": torch.ones(3, 2),
        "t": torch.tensor([1, 2, 5]),
    },
    "train.sample": lambda: {"rng": seeded(0)},
    "train.sample_path": lambda: {"rng": seeded(0), "times": [1, 3, 5], "steps": None},
    "train.stratified_times": lambda: {"uniform": np.array([0.3])},
    "train.time_embedding": lambda: {"t": np.array([1, 4])},
    "train.training_loss": lambda: {"x_0": np.ones((3, 2)), "noise": np.ones((3, 2)), "t": np.array([1, 2, 5])},
}
"""Arguments of equations that ask for more than the letters say."""


def value_for(argument, shape, rng, like=None):
    """Something that an argument may be, of a shape: a float for (), else an array in the library of `like`."""
    if argument.kind in ("number", "scalar", "pixels", "table"):
        shape = () if argument.kind == "scalar" else shape
        low = max(argument.domain.low, -0.9 if argument.kind != "pixels" else 1)
        low = low + 0.1 * (low >= 0)
        drawn = rng.uniform(low, min(argument.domain.high, low + 0.8), shape)
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
        return np.array([1, 3, 5]) if like is None else convert_whole([1, 3, 5], like)
    if argument.kind == "choice":
        first = {"variance": "beta", "predicts": "noise", "sampler": "ancestral"}
        return argument.domain[0] if isinstance(argument.domain, tuple) else first[argument.name]
    if argument.kind == "function":
        return FUNCTIONS[argument.domain]
    raise ValueError(f"no value for {argument.name}, of kind {argument.kind}")


def convert_whole(values, like):
    return torch.tensor(values) if isinstance(like, torch.Tensor) else np.array(values)


def shape_for(dims):
    """A shape, from the letters in it."""
    sizes = []
    for dim in dims:
        name, _, more = dim.partition("+") if "+" in dim else dim.partition("-")
        size = SIZES.get(name, int(name) if name.isdigit() else 2)
        sizes += list(size) if isinstance(size, tuple) else [size + int(f"{dim[len(name)]}{more}") if more else size]
    return tuple(sizes)


def admitted(known, rng, shape=(), like=None):
    """Arguments that an equation admits, by name; numbers have the shape, in the library of `like`."""
    schedule, given, special = SHORT, {}, OWN.get(known.name, dict)()
    for argument in known.arguments:
        said = known.shapes.get(argument.name)
        said = known.shapes[said] if isinstance(said, str) else said
        own = shape_for(said[0]) if said else shape
        if argument.name in special:
            value = special[argument.name]
        elif argument.name in SPECIAL:
            value = SPECIAL[argument.name]()
        elif argument.kind == "step":
            t = {"step_s": 2, "step_u": 4, "step_next": 4}.get(argument.name, 3)
            plain = like is None or shape == ()
            value = schedule[t] if plain else schedule.at(t, like=like.reshape(-1)[:1].reshape([1] * len(own)))
        elif argument.kind == "object":
            value = {
                "Schedule": schedule,
                "Mixture": mixture.two_classes(),
                "Chain": chain(),
                "Normal": vae_vs_vdm.Normal.standard(2),
            }[argument.domain]
        else:
            value = value_for(argument, own, rng, like)
        given[argument.name] = value
    return given


def chain():
    return vae_vs_vdm.ideal_chain(forward.linear(3, 0.9, 0.99), np.zeros(2), np.eye(2))


def instance(known):
    """What a method is called on: nothing for a function."""
    made = {
        "Mixture": mixture.ring,
        "LinearVAE": lambda: vae_vs_vdm.LinearVAE(np.ones((2, 2)) + np.eye(2), np.zeros(2), 0.5),
        "Chain": chain,
        "Linear": lambda: chain().decoder[0],
    }
    owner = known.function.__qualname__.rpartition(".")[0]
    return (made[owner](),) if owner else ()
