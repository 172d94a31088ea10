"""The samplers: Algorithm 2 and its kin against closed forms of Gaussian data, and against a walk written plainly."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyddpm import forward, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule, Step
from tinyddpm.mixture import Mixture

from .runs import ideal, kept, normal, with_variance
from .strategies import betas, numbers, positive, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def response(model, schedule, visits, **options):
    """How x_0 depends on x_T and on every z, for a linear model: solved for from more samples than unknowns."""
    n = 3 * (visits + 1)
    rng = seeded(1)
    drawn = torch.stack([torch.randn(n, generator=rng, dtype=torch.float64) for _ in range(visits + 1)], dim=1)
    x_0 = train.sample(model, schedule, (n,), seeded(1), clip=None, dtype=torch.float64, **options)
    answer = torch.linalg.lstsq(drawn, x_0[:, None])
    assert_equal((drawn @ answer.solution)[:, 0], x_0, rtol=1e-9, atol=1e-9)  # nothing else had a hand in it
    return answer.solution[:, 0]


BY_X0 = [name for name in train.SAMPLERS if name != "reverse_sde"]
"""Samplers that end at the last predicted x_0. The reverse diffusion goes by the score, and only nearly there."""

tame = st.lists(betas(low=1e-3, high=0.9), min_size=1, max_size=8).map(Schedule)


@checks(train.sample_path, train.sample)
@settings(max_examples=60)
@given(
    schedule=tame,
    part=st.floats(0, 1),
    var=positive(),
    variance=st.sampled_from(["beta", "posterior"]),
    predicts=st.sampled_from(sorted(forward.PREDICTIONS)),
)
def test_the_chain_of_gaussian_data(schedule, part, var, variance, predicts):
    """Each step back is a regression of x at the earlier time on x at the later; the chain multiplies them."""
    visits = 1 + round(part * (schedule.T - 1))
    times = [0, *train.visited_times(schedule.T, visits)]
    a = [kept(schedule, t) for t in times]
    spread = [share * var + 1 - share for share in a]
    slopes, fresh = [], []
    for i in range(1, len(times)):
        slopes.append((a[i] / a[i - 1]) ** 0.5 * spread[i - 1] / spread[i])
        beta = 1 - a[i] / a[i - 1]
        fresh.append(beta if variance == "beta" else beta * (1 - a[i - 1]) / (1 - a[i]))
    fresh[0] = 0  # no noise in the step that ends at t = 0
    down_to_0 = [math.prod(slopes[:i]) for i in range(len(slopes))]
    expected = [math.prod(slopes), *(down_to_0[i] * fresh[i] ** 0.5 for i in reversed(range(visits)))]
    model = ideal(schedule, 0.0, var, predicts)
    found = response(model, schedule, visits, steps=visits, variance=variance, predicts=predicts)
    assert_equal(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@checks(train.sample)
@settings(max_examples=30)
@given(schedule=tame, part=st.floats(0, 1))
def test_data_of_unit_variance_stays_so(schedule, part):
    """With the variance beta, and but for the noise that is left out at the end."""
    visits = 1 + round(part * (schedule.T - 1))
    found = response(ideal(schedule, 0.0, 1.0), schedule, visits, steps=visits, variance="beta")
    left = kept(schedule, train.visited_times(schedule.T, visits)[0])
    assert_equal((found**2).sum(), torch.tensor(left).double(), rtol=1e-9)


@checks(train.sample)
@settings(max_examples=30)
@given(schedule=tame, part=st.floats(0, 1))
def test_ddim_turns_unit_data_by_the_angles_between_the_times(schedule, part):
    visits = 1 + round(part * (schedule.T - 1))
    angles = [0.0, *(math.acos(kept(schedule, t) ** 0.5) for t in train.visited_times(schedule.T, visits))]
    turned = math.prod(math.cos(b - a) for a, b in itertools.pairwise(angles))
    found = response(ideal(schedule, 0.0, 1.0), schedule, visits, steps=visits, sampler="ddim")
    assert_equal(found, torch.tensor([turned] + visits * [0.0], dtype=torch.float64), rtol=1e-9, atol=1e-9)


@checks(train.sample_path, train.sample)
@settings(max_examples=30)
@given(schedule=tame, part=st.floats(0, 1), var=positive())
def test_ddim_with_all_its_noise_fresh_is_ddpm(schedule, part, var):
    visits, model = 1 + round(part * (schedule.T - 1)), ideal(schedule, 0.5, var)
    options = {"steps": visits, "clip": None, "dtype": torch.float64}
    ddim = train.sample(model, schedule, (4, 2), seeded(3), "ddim", eta=1.0, **options)
    ddpm = train.sample(model, schedule, (4, 2), seeded(3), variance="posterior", **options)
    assert_equal(ddim, ddpm, rtol=1e-9, atol=1e-9)


@checks(train.sample)
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
@pytest.mark.parametrize("sampler", BY_X0)
@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize("predicts", forward.PREDICTIONS)
def test_data_of_one_point_is_found(sampler, steps, variance, predicts):
    point, schedule = normal(1, 2, 2, seed=5) / 4, forward.cosine(30)
    options = {"steps": steps, "variance": variance, "predicts": predicts, "dtype": torch.float64}
    x_0 = train.sample(ideal(schedule, point, 0.0, predicts), schedule, (3, 2, 2), seeded(0), sampler, **options)
    assert_equal(x_0, point.expand(3, 2, 2), rtol=1e-9)


@checks(train.sample)
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("sampler", BY_X0)
@pytest.mark.parametrize("predicts", ["x_0", "velocity"])
def test_sampling_from_where_nothing_of_the_picture_is_left(sampler, steps, predicts):
    """Two points, and a schedule that ends at alpha_bar = 0: the first answer is their mean, the last is one of them."""
    schedule = forward.zero_terminal_snr(forward.linear(20))
    assert schedule.steps.alpha_bar[-1] == 0
    point = Mixture([0.5, 0.5], [[-0.5], [0.5]], [0.0, 0.0])

    def model(x_t, t):
        step = schedule[int(t[0])]
        if step.alpha_bar == 0:
            return {"x_0": 0 * x_t, "velocity": 0 * x_t}[predicts]
        x_0 = point.denoise(x_t, step)
        return {"x_0": x_0, "velocity": forward.velocity(x_0, forward.predict_noise(x_t, x_0, step), step)}[predicts]

    options = {"steps": steps, "predicts": predicts, "clip": None, "dtype": torch.float64}
    x_0 = train.sample(model, schedule, (200, 1), seeded(0), sampler, **options)
    ends = torch.full_like(x_0, 0.0 if steps == 1 else 0.5)
    assert_equal(x_0.abs(), ends, rtol=1e-9)
    assert steps == 1 or abs((x_0 > 0).sum() - 100) < 4 * 50**0.5  # four standard errors


def test_noise_tells_nothing_where_nothing_of_the_picture_is_left():
    for sampler in train.SAMPLERS:
        with pytest.raises(ValueError, match="alpha_bar must be above 0 here"):
            train.sample(lambda x, t: x, forward.zero_terminal_snr(forward.linear(5)), (2,), seeded(0), sampler)
    options = {"predicts": "x_0", "sampler": "reverse_sde"}
    with pytest.raises(ValueError, match="sampler must not be reverse_sde where alpha_bar is 0"):
        train.sample(lambda x, t: x, forward.zero_terminal_snr(forward.linear(5)), (2,), seeded(0), **options)


@checks(train.sample_path)
@pytest.mark.parametrize("sampler", train.SAMPLERS)
@pytest.mark.parametrize("steps", [None, 1, 2, 3, 9, 10])
def test_the_path_visits_T_to_1(sampler, steps):
    seen = []

    def model(x_t, t):
        seen.append(t)
        return 0 * x_t

    path = list(train.sample_path(model, forward.linear(10), (3, 2), seeded(0), sampler, steps))
    visits = 10 if steps is None else steps
    assert len(path) == visits + 1 and len(seen) == visits
    assert all(t.dtype == torch.int64 and t.shape == (3,) and len(set(t.tolist())) == 1 for t in seen)
    times = [int(t[0]) for t in seen]
    assert times == sorted(set(times), reverse=True)
    assert times[0] == 10
    assert times[-1] == 1 or visits == 1
    if steps in (None, 10):
        assert times == list(range(10, 0, -1))


@given(T=st.integers(1, 4000), part=st.floats(0, 1))
def test_visited_times_grow_like_squares_and_include_both_ends(T, part):
    steps = 1 + round(part * (T - 1))
    times = train.visited_times(T, steps)
    assert len(times) == len(set(times)) == steps and times[-1] == T and (times[0] == 1 or steps == 1)
    for i, t in enumerate(times[:-1]):  # the square, rounded down, unless times before it have taken its place
        assert (
            t == i + 1 >= 1 + (T - 1) * (i / (steps - 1)) ** 2 - 1e-9
            or 0 <= (1 + (T - 1) * (i / (steps - 1)) ** 2 - t) < 1 + 1e-9
        )


@checks(train.sample_path, train.sample)
@pytest.mark.parametrize("sampler", BY_X0)
def test_a_predicted_picture_is_clipped_on_request(sampler):
    def far_off(x_t, t):
        return torch.full_like(x_t, 5.0)

    for clip, ends_at in ((1.0, 1.0), (0.5, 0.5), (None, 5.0)):
        options = {"clip": clip, "predicts": "x_0", "dtype": torch.float64}
        x_0 = train.sample(far_off, forward.linear(20), (2, 3), seeded(0), sampler, **options)
        assert_equal(x_0, torch.full((2, 3), ends_at, dtype=torch.float64), rtol=1e-9)


def test_every_call_begins_with_noise_of_its_own_and_a_seed_repeats_it():
    model, schedule, rng = ideal(forward.linear(5), 0.0, 0.5), forward.linear(5), seeded(7)
    first, second, again = (list(train.sample_path(model, schedule, (4,), r)) for r in (rng, rng, seeded(7)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.isclose(first[0], second[0]).any()
    assert torch.is_grad_enabled()


def test_watching_leaves_the_watchers_gradients_alone():
    for x in train.sample_path(lambda x, t: x, forward.linear(3), (2,), seeded(0)):
        assert torch.is_grad_enabled() and not x.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "sampler must be one of ancestral, ddim, second_order, reverse_sde, got 'euler'"),
        ({"variance": "large"}, "variance must be one of beta, posterior, learned"),
        ({"predicts": "score"}, "predicts must be one of noise, x_0, velocity"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 11}, r"steps must lie in 1..10, got 11"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"clip": -1.0, "sampler": "ddim"}, "clip must be above 0"),
        ({"eta": 1.5, "sampler": "ddim"}, "eta must lie in"),
        ({"start": torch.zeros(3)}, r"start must have the shape \(2,\), got \(3,\)"),
    ],
)
def test_sampling_refuses_what_is_not_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        train.sample(lambda x, t: x, forward.linear(10), (2,), seeded(0), **options)


@checks(train.sample_path)
@settings(max_examples=20)
@given(schedule=tame, part=st.floats(0, 1), v=st.sampled_from([0.0, 1.0]))
def test_a_learned_variance_at_its_ends_is_one_of_the_two(schedule, part, v):
    visits, model = 1 + round(part * (schedule.T - 1)), ideal(schedule, 0.0, 0.4)
    options = {"steps": visits, "clip": None, "dtype": torch.float64}
    found = train.sample(with_variance(model, v), schedule, (3, 1, 2), seeded(1), variance="learned", **options)
    fixed = train.sample(model, schedule, (3, 1, 2), seeded(1), variance="beta" if v else "posterior", **options)
    assert_equal(found, fixed, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"must have the shape \(3, 2, 2\), got \(3, 1, 2\)"):
        train.sample(model, schedule, (3, 1, 2), seeded(1), variance="learned")


@checks(train.sample_path)
def test_no_learned_variance_is_too_large_for_the_last_step():
    """Nothing teaches it at t = 1, where the smaller of the two is 0: the step is the mean alone."""
    schedule = forward.linear(5)
    model, options = ideal(schedule, 0.0, 0.4), {"clip": None, "dtype": torch.float64}

    def at_last(v):
        said = with_variance(model, 1.0)

        def answer(x_t, t):
            made = said(x_t, t)
            made[:, 1:] = torch.where(t[:, None, None] == 1, v, made[:, 1:])
            return made

        return train.sample(answer, schedule, (3, 1, 2), seeded(1), variance="learned", **options)

    assert torch.equal(at_last(3.0), at_last(-1.0)) and at_last(3.0).isfinite().all()


# Few steps, and the way there and back. -------------------------------------------------------------------------------


@checks(train.second_order_step)
@given(
    x=st.lists(numbers(), min_size=3, max_size=3),
    shares=st.lists(st.integers(1, 999), min_size=3, max_size=3, unique=True).map(sorted),
)
def test_the_second_order_step_as_its_paper_writes_it(x, shares):
    """With signal and noise as alpha and sigma, h the steps of their log-ratio, and r the ratio of two such steps."""
    u, t, s = (mpmath.mpf(share) / 1000 for share in shares)
    lam = [mpmath.log(mpmath.sqrt(a) / mpmath.sqrt(1 - a)) for a in (u, t, s)]
    h, r = lam[2] - lam[1], (lam[1] - lam[0]) / (lam[2] - lam[1])
    ahead = (1 + 1 / (2 * r)) * x[1] - 1 / (2 * r) * x[2]
    expected = mpmath.sqrt((1 - s) / (1 - t)) * x[0] - mpmath.sqrt(s) * mpmath.expm1(-h) * ahead
    found = train.second_order_step(*x, *(Step.from_alpha_bar(share / 1000) for share in shares))
    assert_equal(found, float(expected), atol=1e-9)


@checks(train.second_order_step)
@given(
    x_t=numbers(), x_0=numbers(), shares=st.lists(st.integers(1, 99), min_size=3, max_size=3, unique=True).map(sorted)
)
def test_an_x0_that_stays_is_stepped_to_as_ddim_does(x_t, x_0, shares):
    u, t, s = (share / 100 for share in shares)
    noise = (x_t - t**0.5 * x_0) / (1 - t) ** 0.5
    steps = map(Step.from_alpha_bar, (u, t, s))
    assert_equal(train.second_order_step(x_t, x_0, x_0, *steps), s**0.5 * x_0 + (1 - s) ** 0.5 * noise, atol=1e-12)


@checks(train.second_order_step, train.sample_path)
def test_twice_the_steps_leave_a_quarter_of_the_error_and_a_half_for_ddim():
    """The way without fresh noise is known for Gaussian data: the standard deviation shrinks with that of the marginal."""
    schedule, var = forward.cosine(4000), 0.1
    model, x_T = ideal(schedule, 0.0, var), torch.ones(1, dtype=torch.float64)
    left = kept(schedule, 1)  # the last step, from t = 1, is the guess of x_0
    a_T = kept(schedule, 4000)
    exact = (var * left + 1 - left) ** 0.5 / (var * a_T + 1 - a_T) ** 0.5 * left**0.5 * var / (var * left + 1 - left)
    errors = {}
    for sampler in ("ddim", "second_order"):
        for steps in (100, 200, 400):
            options = {"steps": steps, "clip": None, "dtype": torch.float64, "start": x_T}
            found = train.sample(model, schedule, (1,), seeded(0), sampler, **options)
            errors[sampler, steps] = abs(found.item() - exact)
    for sampler, order in (("ddim", 1), ("second_order", 2)):
        orders = [math.log2(errors[sampler, n] / errors[sampler, 2 * n]) for n in (100, 200)]
        assert all(abs(found - order) < 0.25 for found in orders), (sampler, orders)


@checks(train.encode)
@settings(max_examples=30)
@given(schedule=tame, part=st.floats(0, 1), predicts=st.sampled_from(sorted(forward.PREDICTIONS)))
def test_encoding_turns_unit_data_by_the_angles_between_the_times(schedule, part, predicts):
    """As DDIM does on the way back; at t = 0 the network is asked at the first time, where it sees sin(angle) x of noise."""
    visits = 1 + round(part * (schedule.T - 1))
    angles = [math.acos(kept(schedule, t) ** 0.5) for t in train.visited_times(schedule.T, visits)]
    first = math.cos(angles[0]) + math.sin(angles[0]) ** 2
    turned = first * math.prod(math.cos(b - a) for a, b in itertools.pairwise(angles))
    x_0 = normal(3, 2)
    found = train.encode(ideal(schedule, 0.0, 1.0, predicts), schedule, x_0, visits, predicts)
    assert_equal(found, turned * x_0, rtol=1e-9)


@checks(train.encode, train.sample_path)
def test_what_was_encoded_comes_back():
    schedule, x_0 = forward.linear(1000), normal(20, 2, seed=3)
    model = ideal(schedule, 0.3, 0.5, "velocity")
    errors = []
    for steps in (50, 500):
        x_T = train.encode(model, schedule, x_0, steps, "velocity")
        options = {"steps": steps, "predicts": "velocity", "clip": None, "start": x_T}
        errors.append((train.sample(model, schedule, (20, 2), seeded(0), "ddim", **options) - x_0).abs().max())
    assert errors[1] < 0.05 and errors[1] < errors[0] / 5  # of first order: ten times the steps, a tenth of the error


@checks(train.interpolate)
@given(angle=st.floats(0.1, 3.0), share=st.floats(0, 1), length=positive())
def test_the_way_between_two_noises_is_a_turn(angle, share, length):
    a = np.array([length, 0.0])
    b = length * np.array([math.cos(angle), math.sin(angle)])
    expected = length * np.array([math.cos(share * angle), math.sin(share * angle)])
    assert_equal(train.interpolate(a, b, share), expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"noise_b must have the shape .*, got \(1,\)"):
        train.interpolate(a, b[:1], share)
    for other in (a, -a):  # there are many circles through both
        with pytest.raises(ValueError, match="noise_a and noise_b must point in different directions, got a cosine of"):
            train.interpolate(a, other, share)
