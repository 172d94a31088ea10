"""What the properties are tried on: schedules, steps of them, points of every shape; and what many files of tests need."""

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


def betas(low=1e-6, high=0.999):
    """Tiny, near-one and ordinary noise variances."""
    return st.one_of(
        st.sampled_from([low, 1e-4, 0.02, 0.5, high]),
        st.floats(low, high).map(lambda beta: float(f"{beta:.6g}")),
    )


def schedules():
    """The named schedules at many lengths, and short ones of any betas."""
    named = st.builds(_named, st.sampled_from(sorted(forward.SCHEDULES)), st.sampled_from(LENGTHS))
    return st.one_of(named, st.lists(betas(), min_size=1, max_size=8).map(forward.Schedule))


def edged_schedules():
    """The same, and schedules with a beta of 1, after which nothing of x_0 is left."""
    ended = st.tuples(st.lists(betas(), max_size=6), st.lists(betas(), max_size=2))
    zeroed = schedules().filter(lambda s: s.T > 1 and s.beta[-1] < 0.99).map(forward.zero_terminal_snr)
    return st.one_of(schedules(), zeroed, ended.map(lambda both: forward.Schedule([*both[0], 1.0, *both[1]])))


@st.composite
def steps(draw, first=1, edges=False):
    """A step at t = first, t = T or anywhere between; with edges, of schedules with a beta of 1 too."""
    schedule = draw((edged_schedules() if edges else schedules()).filter(lambda s: first <= s.T))
    t = draw(st.one_of(st.just(first), st.just(schedule.T), st.integers(first, schedule.T)))
    return schedule[t]


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


def numbers():
    """Readable floats in [-5, 5], 0 among them."""
    return st.integers(-5000, 5000).map(lambda thousandths: thousandths / 1000)


def positive(high=5.0):
    """Readable floats in (0, high]."""
    return st.integers(1, int(1000 * high)).map(lambda thousandths: thousandths / 1000)


@st.composite
def points(draw, count=1):
    """That many samples of one shape, from Python floats to four dimensions; a single one comes without a tuple."""
    shape = draw(st.sampled_from([None, (), (3,), (2, 3), (2, 1, 3), (2, 1, 2, 3)]))
    if shape is None:
        drawn = [draw(numbers()) for _ in range(count)]
    else:
        drawn = [draw(hnp.arrays(np.float64, shape, elements=numbers())) for _ in range(count)]
    return drawn[0] if count == 1 else tuple(drawn)


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
