"""The samplers: Algorithm 2 and its kin against closed forms of Gaussian data, and against a walk written plainly."""

import itertools
import math
from functools import cache
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyddpm import equations, forward, langevin, posterior, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule, Step
from tinyddpm.mixture import Mixture

from .runs import ideal, kept, normal, with_variance
from .strategies import betas, numbers, positive, seeded
from .test_forward import exact_products

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


def test_a_row_of_ones_own_does_as_well_as_a_name():
    own = {
        "sampler": train.Sampler(
            lambda x_t, x_0, at: at.step_s.alpha_bar**0.5 * x_0 + at.step_s.noise_var**0.5 * at.noise
        ),
        "predicts": forward.Prediction(lambda x_0, noise, step: -x_0, lambda x_t, answer, step: -answer),
        "variance": lambda step, v: step.beta / 3,
    }

    def run(model, **options):
        return train.sample(model, forward.linear(9), (4, 2), seeded(1), dtype=torch.float64, **options)

    guess = ideal(forward.linear(9), 0.1, 0.3, "x_0")
    by_name = run(guess, sampler="ddim", predicts="x_0")
    assert_equal(run(lambda x, t: -guess(x, t), sampler=own["sampler"], predicts=own["predicts"]), by_name, rtol=1e-12)
    third = run(guess, variance=own["variance"], predicts="x_0")
    assert all((third - run(guess, variance=name, predicts="x_0")).abs().max() > 1e-3 for name in ("beta", "posterior"))
    x, t = normal(3, 2), torch.tensor([1, 2, 9])
    loss = train.training_loss(lambda x_t, t: -x, x, t, normal(3, 2, seed=1), forward.linear(9), own["predicts"])
    assert torch.equal(loss, torch.zeros(3).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "learned"}, r"shape must be \(batch, channels, ...\) for a learned variance, got \(2,\)"),
        ({"steps": 3, "times": [1, 5]}, r"steps must not be given where times are, got 3 and \[1, 5\]"),
        ({"times": [5, 1]}, "times must rise"),
        ({"times": [1, 1]}, "times must rise"),
        ({"times": [0, 1]}, "times must lie in 1..10"),
        ({"times": [1, 11]}, "times must lie in 1..10"),
        ({"corrections": -1}, "corrections must be a whole number of at least 0, got -1"),
        ({"corrector_size": 0.0}, "corrector_size must be above 0, got 0.0"),
        ({"clip": math.nan}, "clip must be above 0, got nan"),
        ({"eta": -0.1}, r"eta must lie in \[0, 1\], got -0.1"),
        ({"start": torch.full((2,), math.nan)}, "start must be finite"),
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


def test_an_answer_that_is_no_tensor_is_named():
    """Such as the object that a network of the diffusers library gives."""
    schedule, x, t = forward.linear(5), normal(2, 3), torch.tensor([1, 5])
    for ask in (
        lambda model: train.training_loss(model, x, t, x, schedule),
        lambda model: train.sample(model, schedule, (2, 3), seeded(0)),
        lambda model: train.encode(model, schedule, x),
    ):
        with pytest.raises(TypeError, match=r"model\(x_t, t\) must be an array of shape \(2, 3\), got SimpleNamespace"):
            ask(lambda x, t: SimpleNamespace(sample=x))
        with pytest.raises(ValueError, match=r"model\(x_t, t\) must have the shape \(2, 3\), got \(2, 6\)"):
            ask(lambda x, t: torch.cat([x, x], dim=1))


def test_kinds_are_refused_by_name():
    schedule, x = forward.linear(5), normal(2, 3)
    for ask, message in (
        (lambda: train.sample(3, schedule, (2,), seeded(0)), "model must be a function, got 3"),
        (lambda: train.sample(lambda x, t: x, 5, (2,), seeded(0)), "schedule must be a Schedule, got 5"),
        (lambda: train.sample(lambda x, t: x, schedule, (2,), seeded(0), steps=2.5), "steps must be a whole number"),
        (lambda: train.sample(lambda x, t: x, schedule, (2,), seeded(0), times=[1.5]), "times must be whole numbers"),
        (lambda: train.sample(lambda x, t: x, schedule, (2,), seeded(0), times=[]), "times must be whole numbers"),
        (lambda: train.encode(lambda x, t: x, schedule, [1.0]), "x_0 must be a number or an array, got a list"),
        (lambda: train.encode(lambda x, t: x, schedule, x.long()), "x_0 must be floating point, got int64"),
        (lambda: train.interpolate(x, [1.0], 0.5), "noise_b must be a number or an array, got a list"),
        (lambda: train.second_order_step(1.0, 1.0, 1.0, 0.1, 0.2, 0.3), "step_u must be a Step"),
    ):
        with pytest.raises(TypeError, match=message):
            ask()


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
    for steps in (30, 300):
        x_T = train.encode(model, schedule, x_0, steps, "velocity")
        options = {"steps": steps, "predicts": "velocity", "clip": None, "start": x_T}
        errors.append((train.sample(model, schedule, (20, 2), seeded(0), "ddim", **options) - x_0).abs().max())
    assert errors[1] < 0.05 and errors[1] < errors[0] / 5  # of first order: ten times the steps, a tenth of the error


@checks(train.interpolate)
@settings(max_examples=40)
@given(
    lengths=st.tuples(positive(), positive()),
    shape=st.sampled_from([(2,), (5,), (3, 2), (2, 1, 4), (2, 3, 2, 2)]),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_the_way_between_noises_of_any_length_and_shape_pair_by_pair(lengths, shape, share, seed):
    """The angle by Kahan's formula, on unit vectors; the formula's two weights at fifty digits; each pair by itself."""
    a, b = (length * np.random.default_rng([seed, i]).standard_normal(shape) for i, length in enumerate(lengths))
    expected = np.empty(shape)
    for way, one, other in zip(*(x[None] if len(shape) == 1 else x for x in (expected, a, b)), strict=True):
        u, w = (x.ravel() / np.linalg.norm(x.ravel()) for x in (one, other))
        angle = mpmath.mpf(2 * math.atan2(np.linalg.norm(u - w), np.linalg.norm(u + w)))
        weights = [float(mpmath.sin(part * angle) / mpmath.sin(angle)) for part in (1 - mpmath.mpf(share), share)]
        way[...] = weights[0] * one + weights[1] * other
    found = train.interpolate(a, b, share)
    assert_equal(found, expected, rtol=1e-9, atol=1e-9)
    assert_equal(train.interpolate(*map(torch.from_numpy, (a, b)), share).numpy(), found, rtol=1e-12, atol=1e-12)
    assert_equal(train.interpolate(b, a, 1 - share), found, rtol=1e-9, atol=1e-9)
    assert_equal(train.interpolate(a, b, 0.0), a, rtol=1e-12)
    assert_equal(train.interpolate(a, b, 1.0), b, rtol=1e-12)


def test_a_pair_without_a_way_is_refused_among_others():
    a, b = np.eye(3), np.roll(np.eye(3), 1, axis=0)
    for other in (a[1], -a[1]):
        b[1] = other
        with pytest.raises(ValueError, match="noise_a and noise_b must point in different directions"):
            train.interpolate(a, b, 0.5)


@checks(train.interpolate)
@pytest.mark.careful
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


# The walk, written plainly. ------------------------------------------------------------------------------------------

BETAS = np.array([0.02, 0.3, 0.05, 0.11, 0.4, 0.07, 0.2, 0.15])
"""No two alike and not in order, so that no time can pass for another."""

OPTIONS = {
    "sampler": [*train.SAMPLERS],
    "variance": [*train.VARIANCES],
    "predicts": [*forward.PREDICTIONS],
    "visits": [
        {},
        {"steps": 1},
        {"steps": 3},
        {"steps": 5},
        {"times": [2]},
        {"times": [1, 3, 4, 8]},
        {"times": [2, 3, 7]},
    ],
    "eta": [0.0, 0.5, 1.0],
    "clip": [None, 1.0, 0.6],
    "clip_noise": [True, False],
    "start": [False, True],
    "corrections": [0, 2],
    "shape": [(3, 2), (2, 1, 3), (2, 2, 2, 1)],
}


def together(options, size, seed):
    """Choices of all options in which every combination of so many of them occurs."""
    rng = np.random.default_rng(seed)
    groups = [*itertools.combinations(options, size)]
    missing = {
        (group, chosen) for group in groups for chosen in itertools.product(*(range(len(options[n])) for n in group))
    }
    while missing:
        places = {name: int(rng.integers(len(values))) for name, values in options.items()}
        shown = {(group, tuple(places[name] for name in group)) for group in groups} & missing
        missing -= shown
        if shown:
            yield {name: values[places[name]] for name, values in options.items()}


def wavy(predicts, learned):
    """A model of no meaning, in NumPy: it depends on every coordinate and on the time, and is often out of range."""
    phase = {"noise": 0.2, "x_0": 1.1, "velocity": 2.3}[predicts]

    def model(x, t):
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        answer = 1.4 * np.sin(1.3 * x + 0.7 * t + phase) + 0.3 * np.roll(x, 1, axis=-1) + 0.1
        return np.concatenate([answer, 1.3 * np.cos(2 * x - t)], axis=1) if learned else answer

    return model


def in_torch(model, told=None):
    """The same for tensors; notes the times that it is asked for."""

    def answer(x_t, t):
        if told is not None:
            told.append(t.tolist())
        return torch.from_numpy(model(x_t.numpy(), t.numpy()))

    return answer


def times_of(visits, T):
    if "times" in visits:
        return visits["times"]
    n = visits.get("steps", T)
    return [T] if n == 1 else [max(i + 1, 1 + int((T - 1) * (i / (n - 1)) ** 2 + 1e-9)) for i in range(n)]


def plain_answers(model, x, t, kept, predicts, variance, clip, clip_noise):
    """The predicted x_0, the noise with it, and v: as Ho et al., Salimans & Ho and Nichol & Dhariwal have them."""
    answer, v = model(x, np.full(len(x), t)), None
    if variance == "learned":
        answer, said = np.split(answer, 2, axis=1)
        v = (said + 1) / 2
    signal, noise = np.sqrt(kept), np.sqrt(1 - kept)
    x_0 = {"noise": (x - noise * answer) / signal, "x_0": answer, "velocity": signal * x - noise * answer}[predicts]
    clipped = x_0 if clip is None else np.clip(x_0, -clip, clip)
    return clipped, (x - signal * (clipped if clip_noise else x_0)) / noise, v


def plain_walk(model, draw, *, sampler, variance, predicts, visits, eta, clip, clip_noise, start, corrections, shape):
    """Every state, with each formula as its paper prints it, in float64."""
    kept = {t: np.prod(1 - BETAS[:t]) for t in range(len(BETAS) + 1)}
    times, x, last = times_of(visits, len(BETAS)), draw(), None
    x = 0.7 * np.cos(np.arange(x.size)).reshape(shape) if start else x
    states, told = [x], []
    for t, s in zip(times[::-1], [*times[-2::-1], 0], strict=True):
        z, a_t, a_s = draw(), kept[t], kept[s]
        told.append(t)
        x_0, eps, v = plain_answers(model, x, t, a_t, predicts, variance, clip, clip_noise)
        alpha, beta = a_t / a_s, 1 - a_t / a_s
        if sampler == "ancestral":  # DDPM, Eqs. 6 and 7, with the betas between merged
            x_t, smaller = x, (1 - a_s) / (1 - a_t) * beta
            x = np.sqrt(a_s) * beta / (1 - a_t) * x_0 + np.sqrt(alpha) * (1 - a_s) / (1 - a_t) * x_t
            if s > 0:
                var = {"beta": lambda: beta, "posterior": lambda: smaller}  # noqa: B023
                var["learned"] = lambda: np.exp(v * np.log(beta) + (1 - v) * np.log(smaller))  # noqa: B023
                x = x + np.sqrt(var[variance]()) * z
        elif sampler == "reverse_sde":  # Song et al., Eq. 6, by Euler and Maruyama, with the integral of beta as time
            score, passed = -eps / np.sqrt(1 - a_t), np.log(a_s / a_t)
            x = x + passed * (x / 2 + score) + (np.sqrt(passed) * z if s > 0 else 0)
        elif sampler == "second_order" and last and s > 0:  # DPM-Solver++, Alg. 2
            lam = [np.log(np.sqrt(a) / np.sqrt(1 - a)) for a in (last[1], a_t, a_s)]
            h = lam[2] - lam[1]
            r = (lam[1] - lam[0]) / h
            ahead = (1 + 1 / (2 * r)) * x_0 - 1 / (2 * r) * last[0]
            x = np.sqrt((1 - a_s) / (1 - a_t)) * x - np.sqrt(a_s) * (np.exp(-h) - 1) * ahead
        else:  # DDIM, Eqs. 12 and 16
            sigma = eta * np.sqrt((1 - a_s) / (1 - a_t)) * np.sqrt(1 - a_t / a_s) if sampler == "ddim" else 0.0
            if sampler == "second_order":  # its first order goes by x_0 alone
                eps = (x - np.sqrt(a_t) * x_0) / np.sqrt(1 - a_t)
            x = np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s - sigma**2) * eps + sigma * z
        last = (x_0, a_t)
        for _ in range(corrections if s > 0 else 0):  # Song & Ermon, Eq. 4, at the new time
            told.append(s)
            eps, z = plain_answers(model, x, s, a_s, predicts, variance, clip, clip_noise)[1], draw()
            size = 0.2 * (1 - a_s)
            x = x - size / 2 * eps / np.sqrt(1 - a_s) + np.sqrt(size) * z
        states.append(x)
    return states, told


@checks(train.sample_path, train.sample, train.second_order_step)
def test_the_walk_is_the_one_of_the_papers_at_every_state_under_all_options_together():
    rows, points = (
        0,
        {**OPTIONS, "variance": ["beta", "posterior"], "shape": [(4,)]},
    )  # without channels to say a variance in
    for chosen in itertools.chain(together(OPTIONS, 3, seed=0), together(points, 2, seed=0)):
        model, told = wavy(chosen["predicts"], chosen["variance"] == "learned"), []
        noise = seeded(rows)

        def draw(noise=noise, shape=chosen["shape"]):
            return torch.randn(*shape, generator=noise, dtype=torch.float64).numpy()

        expected, times = plain_walk(model, draw, **chosen)
        options = {name: chosen[name] for name in OPTIONS if name not in ("visits", "start", "shape")} | chosen[
            "visits"
        ]
        options |= {"dtype": torch.float64, "corrector_size": 0.2}
        options |= {"start": torch.from_numpy(expected[0])} if chosen["start"] else {}
        path = [*train.sample_path(in_torch(model, told), Schedule(BETAS), chosen["shape"], seeded(rows), **options)]
        assert told == [[t] * chosen["shape"][0] for t in times], chosen
        assert len(path) == len(expected)
        for i, (state, by_hand) in enumerate(zip(path, expected, strict=True)):
            try:
                assert_equal(state.numpy(), by_hand, atol=1e-10 * abs(by_hand).max())
            except AssertionError as problem:
                raise AssertionError(f"state {i} of {chosen}: {problem}") from None
        last = train.sample(in_torch(model), Schedule(BETAS), chosen["shape"], seeded(rows), **options)
        assert torch.equal(last, path[-1])
        rows += 1
    assert rows > 60


ENCODED = {name: OPTIONS[name] for name in ("predicts", "visits")} | {"shape": [(3,), (3, 2), (2, 1, 3), (2, 2, 2, 1)]}


@checks(train.encode)
def test_encoding_is_the_one_of_the_paper_under_all_options_together():
    """DDIM, Eq. 13: in x over the root of alpha_bar, Euler's step over the ratio of noise to signal."""
    kept = {t: np.prod(1 - BETAS[:t]) for t in range(len(BETAS) + 1)}
    for chosen in together(ENCODED, 3, seed=0):
        x_0, told = np.cos(np.arange(math.prod(chosen["shape"]))).reshape(chosen["shape"]), []
        model, times, x, asked = wavy(chosen["predicts"], False), times_of(chosen["visits"], len(BETAS)), x_0, []
        for s, t in itertools.pairwise([0, *times]):
            asked.append(s or times[0])
            _, eps, _ = plain_answers(model, x, asked[-1], kept[asked[-1]], chosen["predicts"], "beta", None, True)
            ratio = [np.sqrt((1 - kept[time]) / kept[time]) for time in (s, t)]
            x = np.sqrt(kept[t]) * (x / np.sqrt(kept[s]) + (ratio[1] - ratio[0]) * eps)
        options = {"predicts": chosen["predicts"], **chosen["visits"]}
        found = train.encode(in_torch(model, told), Schedule(BETAS), torch.from_numpy(x_0), **options)
        assert told == [[t] * len(x_0) for t in asked], chosen
        assert_equal(found.numpy(), x, atol=1e-10 * abs(x).max())


# Digits. -------------------------------------------------------------------------------------------------------------


def long_schedules():
    ended = forward.zero_terminal_snr(forward.linear(1000))
    return [*(forward.schedule(name, 1000) for name in forward.SCHEDULES), ended]


def weights_by_mpmath(kept_u, kept_t, kept_s):
    """What each step multiplies its operands by, at fifty digits; kept_u belongs to the time after t."""
    root, (alpha, beta) = mpmath.sqrt, (kept_t / kept_s, 1 - kept_t / kept_s)
    noise_t, noise_s = 1 - kept_t, 1 - kept_s
    smaller = noise_s / noise_t * beta
    yield "sampling_step", (root(alpha) * noise_s / noise_t, root(kept_s) * beta / noise_t, root(smaller))
    for eta in (0.0, 0.5, 1.0):
        yield f"ddim_renoise {eta}", (root(kept_s), root(noise_s - eta**2 * smaller), eta * root(smaller))
    yield "ddim_encode_step", (root(alpha), root(noise_t) - root(alpha) * root(noise_s))
    if kept_t > 0:
        passed = -mpmath.log(alpha)
        yield "reverse_sde_step", (1 + passed / 2, passed, root(passed) if noise_s > 0 else 0)
    if kept_u is not None and noise_s > 0:
        lam = [mpmath.log(kept / (1 - kept)) / 2 if kept else -mpmath.inf for kept in (kept_u, kept_t, kept_s)]
        pace = (lam[2] - lam[1]) / 2 / (lam[1] - lam[0])
        pull = root(kept_s) - root(kept_t) * root(noise_s / noise_t)
        yield "second_order_step", (root(noise_s / noise_t), pull * (1 + pace), -pull * pace)


def weights_of_ours(schedule, i, dtype):
    """The same from the equations: three samples, in each of which one operand is 1, and the others are 0."""
    one = torch.eye(3, dtype=dtype)
    step, step_s = schedule.at(i, like=one[0]), schedule.at(i, like=one[0]).before
    yield "sampling_step", posterior.sampling_step(*one, step, posterior.variance(step))
    for eta in (0.0, 0.5, 1.0):
        yield f"ddim_renoise {eta}", posterior.ddim_renoise(*one, step, step_s, eta)
    yield "ddim_encode_step", posterior.ddim_encode_step(*one[:2, :2], step_s, step)
    if schedule[i].alpha_bar > 0:
        yield "reverse_sde_step", langevin.reverse_sde_step(*one, step, step_s)
    if 1 < i < schedule.T:
        yield "second_order_step", train.second_order_step(*one, schedule.at(i + 1, like=one[0]), step, step_s)


@cache
def kept_from_0(betas):
    """alpha_bar_0..alpha_bar_T at fifty digits."""
    return [mpmath.mpf(1), *exact_products(map(mpmath.mpf, betas))]


@checks(
    train.second_order_step,
    posterior.sampling_step,
    posterior.ddim_renoise,
    posterior.ddim_encode_step,
    langevin.reverse_sde_step,
)
@pytest.mark.parametrize("visits", [2, 10, 100, 1000])
def test_no_digits_are_lost_in_float32_and_nothing_overflows_in_bfloat16(visits, fifty_digits):
    """Coefficients from `schedule.at`. They are rounded once an operation; one that cancelled would lose far more."""
    for whole in long_schedules():
        kept = kept_from_0(tuple(whole.beta))
        times = [0, *train.visited_times(1000, visits)]
        schedule = forward.respace(whole, times[1:])
        near = {*range(1, 6), *range(visits - 5, visits + 1), *range(1, visits, 1 + visits // 9)}
        for i in sorted(near & {*range(1, visits + 1)}):
            kept_u = kept[times[i + 1]] if i < visits else None
            expected = dict(weights_by_mpmath(kept_u, kept[times[i]], kept[times[i - 1]]))
            for dtype, off in ((torch.float32, 2e-7), (torch.bfloat16, 0.02)):
                for name, weights in weights_of_ours(schedule, i, dtype):
                    exact = torch.tensor([*map(float, expected[name])], dtype=torch.float64)
                    # A second-order step has twice as many operations as the others.
                    bound = (2 * off if name == "second_order_step" else off) * exact.abs()
                    assert weights.dtype == dtype and weights.shape == exact.shape
                    assert ((weights.double() - exact).abs() <= bound).all(), (whole, times[i], name, weights, exact)
            for name, weights in weights_of_ours(schedule, i, torch.float64):
                exact = torch.tensor([*map(float, expected[name])], dtype=torch.float64)
                assert_equal(weights, exact, rtol=1e-14)


OF_A_PAIR = [known for known in equations() if {"step", "step_s"} <= {argument.name for argument in known.arguments}]


@pytest.mark.parametrize(
    "known", [pytest.param(known, id=known.name, marks=pytest.mark.concerns(known.name)) for known in OF_A_PAIR]
)
def test_a_step_that_is_led_to_counts_by_where_it_is(known):
    """It may be one of the schedule or a jump from x_0, which has other betas: both are at the same alpha_bar."""
    schedule, numbers = forward.linear(9, 0.1, 0.4), iter((0.4, -1.1, 0.7, 0.3))
    steps = {"step_u": schedule[8], "step": schedule[6], "step_s": schedule[3], "eta": 0.5}
    given = {
        argument.name: steps[argument.name] if argument.name in steps else next(numbers) for argument in known.arguments
    }
    assert_equal(known.function(**given), known.function(**{**given, "step_s": schedule[3].whole}), rtol=1e-13)


def test_a_time_is_after_another_where_only_one_of_their_shares_tells():
    like, schedule = torch.zeros(1, dtype=torch.bfloat16), forward.cosine(1000)
    steps = [schedule.at(t, like=like) for t in (4, 3, 2)]
    assert steps[0].alpha_bar == steps[1].alpha_bar
    assert train.second_order_step(like, like, like, *steps).isfinite()
    for wrong in ((steps[1], steps[1], steps[2]), (steps[2], steps[1], steps[2])):
        with pytest.raises(ValueError, match="step_u must be after step"):
            train.second_order_step(like, like, like, *wrong)
