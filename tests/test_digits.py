"""Digits: in float64 and float32 the coefficient of every operand is right but for roundings, in bfloat16 finite.

Steps come as a trainer has them, from `schedule.at(t, like=x)`, for a step and for a jump over many. What a coefficient
should be is computed by the same function from exact betas, in numbers of fifty digits: that the formula is right, other
tests show. A coefficient is read off with one operand 1 and the others 0. None of this is asked of somebody else's code,
so these tests concern their equations and do not check them.
"""

import itertools

import mpmath
import numpy as np
import pytest
import torch

from tinyddpm import forward, posterior
from tinyddpm.arrays import to_numpy
from tinyddpm.letters import Step
from tinyddpm.mixture import Mixture

pytestmark = pytest.mark.usefixtures("fifty_digits")

ROUNDED = 2e-7
"""About three roundings of float32; a formula in which digits cancel is off by a hundred times as much and more."""

LONGER = 3e-7
"""The same for the noise in DDIM's step, which takes a dozen operations."""

TIMES = sorted({*range(1, 12), *np.geomspace(1, 1000, 40).astype(int).tolist(), *range(990, 1001)})
NEXT = [(t - 1, t) for t in TIMES]
FAR = [(s, t) for t in TIMES if t > 2 for s in sorted({0, 1, t // 2, t - 2})]


def exact_schedule(schedule):
    """The step to every t = 0..T in fifty digits, from the betas as they are."""
    kept, steps = mpmath.mpf(1), [Step._make(map(mpmath.mpf, (0, 1, 1, 1, 0, 0)))]
    for beta in map(mpmath.mpf, schedule.beta):
        now = kept * (1 - beta)
        steps.append(Step(beta, 1 - beta, now, kept, 1 - now, 1 - kept))
        kept = now
    return steps


SCHEDULES = {name: forward.schedule(name) for name in ("linear", "cosine")}
with mpmath.workdps(50):
    EXACT = {name: exact_schedule(schedule) for name, schedule in SCHEDULES.items()}


def operand(function, which, count, *rest):
    """The function of a number 1 in one place and 0 in the others, and of the rest."""
    return lambda one, *steps: function(*[one if i == which else 0 * one for i in range(count)], *steps, *rest)


def posterior_var(function):
    """The function with the variance of the posterior behind its step."""
    return lambda *given: function(*given, posterior.variance(given[-1]))


def both_ways(function):
    """A function that takes the step before the earlier one."""
    return lambda *given: function(*given[:-2], given[-1], given[-2])


def eta_last(function, eta):
    return lambda *given: function(*given, eta)


COEFFICIENTS = {
    ("forward.skip", "x_s"): lambda one, s, t: forward.skip(one, s, t).mean,
    ("forward.skip", "variance"): lambda one, s, t: forward.skip(one, s, t).var,
    ("posterior.ddim_encode_step", "x_s"): operand(posterior.ddim_encode_step, 0, 2),
    ("posterior.ddim_encode_step", "noise"): operand(posterior.ddim_encode_step, 1, 2),
}
for eta in (0.0, 0.3, 1.0):
    COEFFICIENTS["posterior.ddim_sigma", eta] = lambda one, s, t, eta=eta: posterior.ddim_sigma(t, s, eta) + 0 * one
    for place, (first, name) in enumerate([("x_0", "x_t"), ("noise", "noise"), ("z", "z")]):
        for function, letter in ((posterior.ddim_renoise, first), (posterior.ddim_step, name)):
            key = (f"posterior.{function.__name__}", f"{letter}, eta = {eta}")
            COEFFICIENTS[key] = operand(both_ways(eta_last(function, eta)), place, 3)
for place, (first, name) in enumerate([("x_t", "x_t"), ("x_0", "noise"), ("z", "z")]):
    for function, letter in ((posterior.sampling_step, first), (posterior.ancestral_step, name)):
        key = (f"posterior.{function.__name__}", letter)
        COEFFICIENTS[key] = operand(lambda *given, f=function: posterior_var(f)(*given[:-2], given[-1]), place, 3)


def named(table):
    return [
        pytest.param(coefficient, name, id=f"{name}: {of}", marks=pytest.mark.concerns(name))
        for (name, of), coefficient in table.items()
    ]


def steps_at(schedule, pairs, like):
    """Both steps of many pairs of times at once: those of a schedule, or jumps."""
    s, t = (np.array(times) for times in zip(*pairs, strict=True))
    step = schedule.at(t, like) if np.all(s == t - 1) else schedule.at(t, like, since=s)
    return step.before, step


@pytest.mark.parametrize(("coefficient", "name"), named(COEFFICIENTS))
def test_coefficients_in_every_precision(coefficient, name):
    for schedule, pairs in itertools.product(SCHEDULES, (NEXT, FAR)):
        compare_in_every_precision(coefficient, name, pairs, schedule)


def compare_in_every_precision(coefficient, name, pairs, schedule):
    exact = EXACT[schedule]
    truth = [
        coefficient(mpmath.mpf(1), exact[s], exact[t].since(exact[s]) if s < t - 1 else exact[t]) for s, t in pairs
    ]
    truth = np.array(truth, dtype=object).astype(np.float64)
    like = np.ones(len(pairs), np.float32)
    double = np.ones(len(pairs))
    np.testing.assert_allclose(coefficient(double, *steps_at(SCHEDULES[schedule], pairs, double)), truth, rtol=1e-12)
    found = coefficient(like, *steps_at(SCHEDULES[schedule], pairs, like))
    assert found.dtype == np.float32
    longer = name == "posterior.ddim_step"
    np.testing.assert_allclose(found.astype(np.float64), truth, rtol=LONGER if longer else ROUNDED, atol=0)
    short = torch.ones(len(pairs), dtype=torch.bfloat16)
    found = coefficient(short, *steps_at(SCHEDULES[schedule], pairs, short))
    assert found.dtype == torch.bfloat16
    np.testing.assert_allclose(to_numpy(found), truth, rtol=0.03, atol=0)


@pytest.mark.concerns("forward.log_snr_gain")
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("pairs", [NEXT, FAR], ids=["next", "far"])
def test_the_gain_in_log_snr(pairs, schedule):
    pairs, exact = [pair for pair in pairs if pair[0] > 0], EXACT[schedule]
    truth = [forward.log_snr_gain(exact[t].since(exact[s]), exact[s]) for s, t in pairs]
    for like, slack in (
        (np.ones(len(pairs), np.float32), ROUNDED),
        (torch.ones(len(pairs), dtype=torch.bfloat16), 0.03),
    ):
        step_s, step = steps_at(SCHEDULES[schedule], pairs, like)
        found = to_numpy(forward.log_snr_gain(step, step_s))
        np.testing.assert_allclose(found.astype(np.float64), np.array(truth, dtype=object).astype(float), rtol=slack)


@pytest.mark.concerns("forward.ornstein_uhlenbeck", "forward.sde_coefficients")
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_ornstein_uhlenbeck_process(schedule):
    """Its clock from a step, and it from its clock; rounding the clock moves the mean by half of the clock."""
    like, exact = np.ones(len(TIMES), np.float32), [EXACT[schedule][t] for t in TIMES]
    clock = forward.sde_coefficients(SCHEDULES[schedule].at(TIMES, like))
    np.testing.assert_allclose(clock, [float(forward.sde_coefficients(step)) for step in exact], rtol=ROUNDED)
    mean, var = forward.ornstein_uhlenbeck(like, clock)
    again = [forward.ornstein_uhlenbeck(mpmath.mpf(1), mpmath.mpf(float(B))) for B in clock]
    np.testing.assert_allclose(mean, [float(gaussian.mean) for gaussian in again], rtol=ROUNDED)
    np.testing.assert_allclose(var, [float(gaussian.var) for gaussian in again], rtol=ROUNDED)
    np.testing.assert_allclose(var, [float(step.noise_var) for step in exact], rtol=ROUNDED)
    short = torch.ones(len(TIMES), dtype=torch.bfloat16)
    _, var = forward.ornstein_uhlenbeck(short, forward.sde_coefficients(SCHEDULES[schedule].at(TIMES, short)))
    np.testing.assert_allclose(to_numpy(var), [float(step.noise_var) for step in exact], rtol=0.03)


@pytest.mark.concerns("mixture.Mixture.diffuse")
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_diffused_mixture(schedule, dtype):
    """Of a point at 1, what is left of it and what noise is added; with a variance of 1, 1 again."""
    like = torch.ones(len(TIMES), 1, dtype=dtype)
    step, exact = SCHEDULES[schedule].at(TIMES, like), [EXACT[schedule][t] for t in TIMES]
    slack = ROUNDED if dtype == torch.float32 else 0.03
    point, normal = (Mixture([1.0], [[1.0]], [var]).diffuse(step) for var in (0.0, 1.0))
    np.testing.assert_allclose(
        to_numpy(point.means).ravel(), [float(mpmath.sqrt(e.alpha_bar)) for e in exact], rtol=slack, atol=0
    )
    np.testing.assert_allclose(
        to_numpy(point.variances).ravel(), [float(e.noise_var) for e in exact], rtol=slack, atol=0
    )
    np.testing.assert_allclose(to_numpy(normal.variances).ravel(), 1.0, rtol=slack)


CONSTRUCTORS = {
    "from_sigma": (Step.from_sigma, np.geomspace(1e-4, 1e4, 60)),
    "from_log_snr": (Step.from_log_snr, np.linspace(-25, 25, 60)),
    "from_log_alpha_bar": (Step.from_log_alpha_bar, -np.geomspace(1e-6, 30, 60)),
}


@pytest.mark.parametrize("name", sorted(CONSTRUCTORS))
def test_steps_without_a_schedule(name):
    """Both what is left and what is added, from the number as float32 has it."""
    make, values = CONSTRUCTORS[name]
    for convert, slack in ((lambda v: v.astype(np.float32), ROUNDED), (lambda v: torch.tensor(v).bfloat16(), 0.03)):
        given = convert(values)
        exact = [make(mpmath.mpf(float(value))) for value in to_numpy(given)]
        for field in ("alpha_bar", "noise_var"):
            truth = np.array([float(getattr(step, field)) for step in exact])
            np.testing.assert_allclose(to_numpy(getattr(make(given), field)), truth, rtol=slack, atol=0, err_msg=field)


def test_in_bfloat16_two_times_that_look_alike_are_told_apart():
    """alpha_bar of t = 1 to 9 is 1 in bfloat16: only noise_var says which of them is the time before."""
    schedule, like = forward.linear(), torch.ones(1, dtype=torch.bfloat16)
    step, far = schedule.at([9], like), schedule.at([4], like)
    assert far.alpha_bar == step.alpha_bar_prev == 1
    exact = schedule[9].since(schedule[4]).beta
    assert step.since(far).beta.item() == pytest.approx(exact, rel=0.02)
    assert step.since(schedule.at([8], like)).beta.item() == pytest.approx(schedule[9].beta, rel=0.005)
