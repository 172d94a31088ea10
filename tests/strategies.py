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

from tinyddpm import forward
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
