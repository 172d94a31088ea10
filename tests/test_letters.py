"""The step: what it refuses, and the other steps that can be made of it. (Of the letters, `test_door` asks.)"""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyddpm import forward
from tinyddpm.checker import assert_equal
from tinyddpm.forward import Schedule
from tinyddpm.letters import Step

from .strategies import edged_schedules, jumps, refused, steps

NAN = math.nan
HALF = {"beta": 0.5, "alpha": 0.5, "alpha_bar": 0.5, "alpha_bar_prev": 1.0, "noise_var": 0.5, "noise_var_prev": 0.0}
KINDS = {"float": float, "numpy": lambda x: np.full(2, x), "torch": lambda x: torch.tensor([x], dtype=torch.float64)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_a_share_of_variance(kind):
    make = KINDS[kind]
    assert tuple(Step(**{name: make(half) for name, half in HALF.items()})) is not None
    for field, value in itertools.product(HALF, (-0.1, 1.1, NAN, math.inf)):
        with refused([f"step.{field}", "lie in [0, 1]"]):
            Step(**{name: make(value if name == field else half) for name, half in HALF.items()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("alpha + beta must be 1", {"alpha": 0.4}),
        ("alpha_bar + noise_var must be 1", {"noise_var": 0.4}),
        ("alpha_bar_prev + noise_var_prev must be 1", {"noise_var_prev": 0.1}),
        ("alpha_bar must be alpha alpha_bar_prev", {"alpha_bar": 0.3, "noise_var": 0.7}),
    ],
)
def test_the_six_numbers_belong_together(kind, words, wrong):
    with refused([words]):
        Step(**{name: KINDS[kind](value) for name, value in {**HALF, **wrong}.items()})


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, ["step.beta", "real number", "'a'"], lambda: Step(**{**HALF, "beta": "a"})),
        (TypeError, ["step.beta", "real number", "True"], lambda: Step(**{**HALF, "beta": True})),
        (TypeError, ["step.beta", "real number", "[0.5]"], lambda: Step(**{**HALF, "beta": [0.5]})),
        (TypeError, ["step.beta", "real number", "1j"], lambda: Step(**{**HALF, "beta": 1j})),
        (TypeError, ["step.beta", "float16"], lambda: Step(**{**HALF, "beta": np.float16(0.5)})),
        (ValueError, ["one shape", "(2,)"], lambda: Step(**{**HALF, "beta": np.full(2, 0.5)})),
        (ValueError, ["alpha_bar", "[0, 1]", "1.5"], lambda: Step.from_alpha_bar(1.5)),
        (ValueError, ["alpha_bar", "[0, 1]", "nan"], lambda: Step.from_alpha_bar(NAN)),
        (ValueError, ["alpha_bar", "[0, 1]", "1.5"], lambda: Step.from_alpha_bar(torch.tensor(1.5))),
        (TypeError, ["alpha_bar", "float16"], lambda: Step.from_alpha_bar(torch.tensor(0.5, dtype=torch.float16))),
        (TypeError, ["alpha_bar", "[0.5]"], lambda: Step.from_alpha_bar([0.5])),
        (ValueError, ["alpha_bar + noise_var", "0.1"], lambda: Step.from_alpha_bar(0.5, 0.6)),
        (ValueError, ["sigma", "[0, 1e150]", "-1"], lambda: Step.from_sigma(-1.0)),
        (ValueError, ["sigma", "1e+200"], lambda: Step.from_sigma(1e200)),
        (ValueError, ["log_snr", "finite", "nan"], lambda: Step.from_log_snr(NAN)),
        (ValueError, ["log_snr", "finite", "inf"], lambda: Step.from_log_snr(math.inf)),
        (ValueError, ["log_alpha_bar", "at most 0", "0.1"], lambda: Step.from_log_alpha_bar(0.1)),
        (TypeError, ["like", "float16"], lambda: forward.linear().at([1], np.zeros(1, np.float16))),
        (TypeError, ["like", "float16"], lambda: forward.linear().at([1], torch.zeros(1, dtype=torch.float16))),
    ],
)
def test_bad_steps_are_refused_by_name(error, words, call):
    with refused(words, error):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, torch.float32, torch.bfloat16, torch.float64])
@given(schedule=edged_schedules())
def test_what_a_schedule_gives_is_a_step(dtype, schedule):
    """Rounded to any precision, its numbers still belong together."""
    t = np.unique(np.linspace(1, schedule.T, 7).astype(int))
    like = np.zeros(len(t), dtype) if isinstance(dtype, type) else torch.zeros(len(t), dtype=dtype)
    step = schedule.at(t, like)
    assert Step(*step) == step or all((a == b).all() for a, b in zip(Step(*step), step, strict=True))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("device", ["meta"])
def test_a_step_on_an_accelerator_is_not_read(device):
    outside = torch.full((3,), 7.0, device=device)
    assert Step.from_alpha_bar(outside).noise_var.device.type == device


# Steps of steps. -----------------------------------------------------------------------------------------------------


@given(step=steps(edges=True))
def test_the_time_before_the_whole_way_and_the_step_alone(step):
    """Each is a jump from x_0, so that its alpha is its alpha_bar, and is a step that may be made by hand."""
    for made, alpha_bar, noise_var in (
        (step.before, step.alpha_bar_prev, step.noise_var_prev),
        (step.whole, step.alpha_bar, step.noise_var),
        (step.alone, step.alpha, step.beta),
    ):
        assert made == Step(noise_var, alpha_bar, alpha_bar, 1.0, noise_var, 0.0)
    assert step.whole.before == Step(0.0, 1.0, 1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "like", [None, np.zeros(1), torch.zeros(1, dtype=torch.float64)], ids=["float", "numpy", "torch"]
)
@given(jump=jumps(edges=True))
def test_a_jump_between_two_times_at_fifty_digits(like, jump):
    step_s, step = jump
    with mpmath.workdps(50):
        kept_s, kept_t = (
            mpmath.mpf(each.alpha_bar) if each.alpha_bar < 0.5 else 1 - mpmath.mpf(each.noise_var) for each in jump
        )
        alpha, beta = float(kept_t / kept_s), float(1 - kept_t / kept_s)
    if like is not None:
        step_s, step = (Step._make(like + value for value in each) for each in jump)
    made = step.since(step_s)
    assert made.alpha_bar == step.alpha_bar and made.noise_var == step.noise_var
    assert made.alpha_bar_prev == step_s.alpha_bar and made.noise_var_prev == step_s.noise_var
    assert_equal(made.alpha, alpha if like is None else like + alpha, atol=1e-15)
    assert_equal(made.beta, beta if like is None else like + beta, rtol=1e-9)


@given(schedule=edged_schedules(), data=st.data())
def test_the_jump_from_the_time_before_is_the_step_itself(schedule, data):
    t = data.draw(st.sampled_from([1, schedule.T, (1 + schedule.T) // 2]))
    if schedule[t].alpha_bar_prev > 0:
        assert schedule[t].since(schedule[t].before) == schedule[t]
    for like in (np.zeros(1), np.zeros(1, np.float32), torch.zeros(1)):
        batch = schedule.at([t], like)
        if schedule[t].alpha_bar_prev > 0:
            assert all(a == b for a, b in zip(batch.since(batch.before), batch, strict=True))


@given(schedule=edged_schedules(), data=st.data())
def test_a_schedule_jumps_as_its_steps_do(schedule, data):
    """In one batch from several times to several others; 0 is x_0."""
    blind = next((t for t, step in enumerate(schedule, start=1) if step.alpha_bar == 0), schedule.T)
    t = data.draw(st.lists(st.integers(1, blind), min_size=1, max_size=4))
    since = [data.draw(st.one_of(st.just(0), st.just(at - 1), st.integers(0, at - 1))) for at in t]
    for like in (np.zeros((len(t), 2)), torch.zeros(len(t), 2, dtype=torch.float64)):
        batch = schedule.at(t, like, since=since)
        for i, (s, at) in enumerate(zip(since, t, strict=True)):
            single = schedule[at].since(schedule[s] if s else schedule[1].before)
            found = tuple(float(column[i].reshape(())) for column in batch)
            assert all(column.shape == (len(t), 1) for column in batch)
            np.testing.assert_allclose(found, tuple(single), rtol=1e-12, atol=1e-15)
    assert_equal(schedule.at(t, like, since=0).beta, schedule.at(t, like).noise_var, rtol=1e-9)


@pytest.mark.parametrize(
    ("error", "words", "since"),
    [
        (ValueError, ["since", "before t", "[7, 3]"], [7, 3]),
        (ValueError, ["since", "before t", "5"], 5),
        (ValueError, ["since", "(2,)", "(3,)"], [1, 2, 3]),
        (ValueError, ["since", "0..1000", "-1"], [-1, 3]),
        (TypeError, ["since", "whole", "float64"], [1.5, 3]),
    ],
)
def test_a_jump_from_nowhere_is_refused(error, words, since):
    with refused(words, error):
        forward.linear().at([5, 6], np.zeros((2, 1)), since=since)


def test_nothing_leads_on_from_where_nothing_is_left():
    with refused(["since", "x_0 is left"]):
        Schedule([0.5, 1.0, 0.2]).at([3], np.zeros(1), since=[2])


@given(sigma=st.floats(0, 1e4), log_snr=st.floats(-700, 700))
def test_steps_made_without_a_schedule_say_what_they_were_made_of(sigma, log_snr):
    step = Step.from_sigma(sigma)
    assert_equal(step.noise_var, sigma**2 * step.alpha_bar, atol=1e-300)
    assert_equal(step.alpha_bar + step.noise_var, 1.0)
    step = Step.from_log_snr(log_snr)
    assert_equal(forward.log_snr(step), log_snr, atol=1e-12) if step.noise_var else None
    assert_equal(step.alpha_bar + step.noise_var, 1.0)
    step = Step.from_log_alpha_bar(-sigma)
    assert_equal(step.alpha_bar, math.exp(-sigma))
    assert_equal(step.noise_var, -math.expm1(-sigma))


@given(step=steps(edges=True))
def test_logarithms_at_fifty_digits(step):
    with mpmath.workdps(50):
        for found, share, rest in (
            (step.log_alpha_bar, step.alpha_bar, step.noise_var),
            (step.log_alpha, step.alpha, step.beta),
        ):
            exact = mpmath.log(mpmath.mpf(share) if share < 0.5 else 1 - mpmath.mpf(rest)) if share else -mpmath.inf
            assert_equal(found, float(exact), atol=1e-15)
