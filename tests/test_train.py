"""Chapter 6: Algorithms 1 and 2 against closed forms of Gaussian data; the measures of quality against known distances."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch.autograd.functional import jacobian

from tinyddpm import forward, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule, Step
from tinyddpm.mixture import Mixture

from .strategies import betas, numbers, positive, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def kept(schedule, t):
    """The cumulative product at t, multiplied out."""
    return math.prod(1 - beta for beta in schedule.beta[:t])


# Algorithm 1. --------------------------------------------------------------------------------------------------------


@checks(train.time_embedding)
@given(times=st.lists(st.integers(1, 4000), min_size=1, max_size=5), half=st.integers(1, 20))
def test_the_embedding_by_hand(times, half):
    expected = np.empty((len(times), 2 * half))
    for row, t in enumerate(times):
        for i in range(half):
            angle = t / mpmath.mpf(10000) ** (mpmath.mpf(i) / half)
            expected[row, i], expected[row, half + i] = mpmath.sin(angle), mpmath.cos(angle)
    t = torch.tensor(times)
    embedded = train.time_embedding(t.double(), 2 * half)
    assert_equal(embedded.numpy(), expected, atol=1e-11)
    assert_equal(train.time_embedding(np.array(times, dtype=np.float64), 2 * half), expected, atol=1e-11)
    # Float32 cannot place an angle of 4000 better than this.
    torch.testing.assert_close(train.time_embedding(t, 2 * half), embedded.float(), rtol=0, atol=1e-3)


@checks(train.time_embedding)
def test_every_time_has_a_row_of_its_own():
    embedded = train.time_embedding(torch.arange(1, 1001).double(), 32)
    apart = torch.cdist(embedded, embedded) + 10 * torch.eye(1000)
    assert apart.min() > 0.5
    shuffled = torch.randperm(1000, generator=seeded(0))
    assert torch.equal(train.time_embedding(1.0 + shuffled.double(), 32), embedded[shuffled])


@pytest.mark.parametrize(("t", "dims", "named"), [(3, 5, "dims"), (3, 0, "dims"), ((3, 1), 4, "t must")])
def test_an_embedding_that_cannot_be(t, dims, named):
    with pytest.raises(ValueError, match=named):
        train.time_embedding(torch.ones(t), dims)


@checks(train.stratified_times)
@given(place=st.integers(0, 2**20 - 1), power=st.integers(0, 6), T=st.integers(1, 4000))
def test_stratified_times_by_hand(place, power, T):
    u, batch = Fraction(place, 2**20), 2**power  # binary fractions, so that floats are exact
    expected = [1 + math.floor(T * ((u + Fraction(i, batch)) % 1)) for i in range(batch)]
    times = train.stratified_times(torch.tensor(float(u), dtype=torch.float64), batch, T)
    assert_equal(times, torch.tensor(expected))


@checks(train.stratified_times)
@given(batch=st.integers(1, 12), T=st.integers(1, 12))
def test_stratified_times_are_uniform_and_leave_no_gap(batch, T):
    visits = torch.zeros(batch, T, dtype=torch.int64)
    for j in range(T * batch):  # u in the middle of every cell in which the times are constant
        times = train.stratified_times(torch.tensor((j + 0.5) / (T * batch), dtype=torch.float64), batch, T)
        visits[range(batch), times - 1] += 1
        for t in range(1, T + 1):
            assert abs((times <= t).sum() - batch * t / T) < 1
    assert_equal(visits, torch.full((batch, T), batch))


@given(batch=st.integers(1, 300), T=st.integers(1, 5000))
def test_stratified_times_stay_within_bounds(batch, T):
    for u in (0.0, math.nextafter(1.0, 0.0)):
        times = train.stratified_times(torch.tensor(u, dtype=torch.float64), batch, T)
        assert times.min() >= 1 and times.max() <= T


@st.composite
def batches(draw):
    """A schedule, clean samples of one to four dimensions, a time for each, and noise."""
    schedule = Schedule(draw(st.lists(betas(), min_size=1, max_size=6)))
    shape = draw(st.sampled_from([(3,), (4, 2), (2, 1, 3), (3, 1, 2, 2)]))
    t = draw(st.lists(st.integers(1, schedule.T), min_size=shape[0], max_size=shape[0]))
    x_0, noise = normal(2, *shape, seed=draw(st.integers(0, 99)))
    return schedule, x_0, torch.tensor(t), noise


def targets(schedule, x_0, t, noise):
    """What there is to predict, sample by sample; the velocity as the slope of the turn from picture into noise."""
    turned = []
    for x, eps, time in zip(x_0, noise, t.tolist(), strict=True):
        angle = torch.tensor(math.acos(math.sqrt(kept(schedule, time))), dtype=torch.float64)
        turned.append(jacobian(lambda a, x=x, eps=eps: a.cos() * x + a.sin() * eps, angle))
    return {"noise": noise, "x_0": x_0, "velocity": torch.stack(turned)}


@checks(train.training_loss)
@given(batch=batches(), predicts=st.sampled_from(sorted(forward.PREDICTIONS)))
def test_the_loss_of_a_model_that_knows_and_of_one_that_is_off(batch, predicts):
    schedule, x_0, t, noise = batch
    target = targets(schedule, x_0, t, noise)[predicts]
    seen = []

    def oracle(x_t, times):
        seen.append((x_t, times))
        return target

    knows = train.training_loss(oracle, x_0, t, noise, schedule, predicts)
    assert_equal(knows, torch.zeros(len(x_0), dtype=torch.float64), atol=1e-10)
    off = normal(*x_0.shape, seed=100)
    loss = train.training_loss(lambda *_: target - off, x_0, t, noise, schedule, predicts)
    expected = [math.fsum(number**2 for number in sample.flatten().tolist()) for sample in off]
    assert_equal(loss, torch.tensor(expected, dtype=torch.float64), rtol=1e-9)

    x_t, times = seen[0]
    assert_equal(times, t)
    shares = [kept(schedule, time) for time in t.tolist()]
    by_hand = [a**0.5 * x + (1 - a) ** 0.5 * eps for a, x, eps in zip(shares, x_0, noise, strict=True)]
    assert_equal(x_t, torch.stack(by_hand), rtol=1e-8, atol=1e-8)  # 1 - a loses digits here, not there


def test_the_loss_refuses_what_does_not_fit():
    x, t, schedule = normal(2, 3), torch.tensor([1, 5]), forward.linear(5)
    with pytest.raises(ValueError, match="predicts must be one of noise, x_0, velocity, got 'score'"):
        train.training_loss(lambda x, t: x, x, t, x, schedule, "score")
    with pytest.raises(ValueError, match=r"noise must have the shape .* with batch = 2, .*, got \(1, 3\)"):
        train.training_loss(lambda x, t: x, x, t, x[:1], schedule)
    with pytest.raises(ValueError, match=r"model.* must have the shape \(2, 3\), got \(2,\)"):
        train.training_loss(lambda x, t: x[:, 0], x, t, x, schedule)
    for outside in (0, 6):
        with pytest.raises(ValueError, match=f"t must lie in 1..5, got {outside}"):
            train.training_loss(lambda x, t: x, x, torch.tensor([1, outside]), x, schedule)


@checks(train.ema_update)
@given(values=st.lists(numbers(), min_size=1, max_size=12), decay=st.floats(0, 1))
def test_the_average_in_closed_form(values, decay):
    average = np.full(2, values[0])
    for value in values[1:]:
        average = train.ema_update(average, np.full(2, value), decay)
    exact, n = Fraction(decay), len(values) - 1
    weights = [exact**n, *((1 - exact) * exact ** (n - k) for k in range(1, n + 1))]
    assert sum(weights) == 1
    expected = float(sum(w * Fraction(value) for w, value in zip(weights, values, strict=True)))
    assert_equal(average, np.full(2, expected), atol=1e-13)


def test_a_decay_out_of_range_is_refused():
    for decay in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]"):
            train.ema_update(np.ones(2), np.ones(2), decay)


# Algorithm 2. --------------------------------------------------------------------------------------------------------


@checks(train.guided_noise)
@given(x=numbers(), means=st.tuples(numbers(), numbers()), stds=st.tuples(positive(), positive()), w=numbers())
def test_guidance_is_the_score_of_a_sharpened_class(x, means, stds, w):
    at, rest = torch.tensor(x, dtype=torch.float64, requires_grad=True), 0.7  # rest: the noise's share of the variance
    with_class, without = (
        torch.distributions.Normal(torch.tensor(m).double(), torch.tensor(s).double()).log_prob(at)
        for m, s in zip(means, stds, strict=True)
    )
    (guided,) = torch.autograd.grad(without + (1 + w) * (with_class - without), at, retain_graph=True)
    noise = [-(rest**0.5) * torch.autograd.grad(log_p, at)[0] for log_p in (with_class, without)]
    assert_equal(train.guided_noise(*noise, w), -(rest**0.5) * guided, atol=1e-9)
    assert_equal(train.guided_noise(*noise, 0.0), noise[0])


def ideal(schedule, mean, var, predicts="noise"):
    """The exact model for data from N(mean, var): what is expected of the noise, x_0 or velocity, given x_t."""

    def model(x_t, t):
        a = torch.tensor([kept(schedule, time) for time in t.tolist()], dtype=x_t.dtype)
        a = a.reshape(-1, *[1] * (x_t.ndim - 1))
        off = (x_t - a**0.5 * mean) / (a * var + 1 - a)
        noise, x_0 = (1 - a) ** 0.5 * off, mean + a**0.5 * var * off
        return {"noise": noise, "x_0": x_0, "velocity": a**0.5 * noise - (1 - a) ** 0.5 * x_0}[predicts]

    return model


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


# A variance of its own. ----------------------------------------------------------------------------------------------


def with_variance(model, v):
    """A model that also says v, the same for all samples and all times."""
    return lambda x_t, t: torch.cat([model(x_t, t), torch.full_like(x_t, 2 * v - 1)], dim=1)


@checks(train.learned_variance_loss)
@settings(max_examples=40)
@given(
    schedule=st.lists(betas(low=1e-3, high=0.9), min_size=2, max_size=6).map(Schedule),
    v=st.floats(-0.2, 1.2),
    predicts=st.sampled_from(sorted(forward.PREDICTIONS)),
    data=st.data(),
)
def test_the_loss_that_teaches_the_variance(schedule, v, predicts, data):
    """The second part is a divergence of two Gaussians, here from torch.distributions and Bayes' rule by least squares."""
    t = torch.tensor(data.draw(st.lists(st.integers(1, schedule.T), min_size=3, max_size=3)))
    x_0, noise = normal(2, 3, 2, 2, seed=3)
    model = ideal(schedule, 0.2, 0.5, predicts)
    found = train.learned_variance_loss(with_variance(model, v), x_0, t, noise, schedule, predicts, weight=0.01)
    simple = train.training_loss(model, x_0, t, noise, schedule, predicts)
    for i, time in enumerate(t.tolist()):
        if time == 1:
            assert_equal(found[i], simple[i])
            continue
        now, before = kept(schedule, time), kept(schedule, time - 1)
        a, b = now / before, 1 - now / before
        precision = a / b + 1 / (1 - before)  # of x at t - 1, seen from x at t and from x_0
        x_t = now**0.5 * x_0[i] + (1 - now) ** 0.5 * noise[i]
        guess = ideal(schedule, 0.2, 0.5, "x_0")(x_t[None], t[i : i + 1])[0]
        means = [(a**0.5 * x_t / b + before**0.5 * x / (1 - before)) / precision for x in (x_0[i], guess)]
        std = (b**v * precision ** (v - 1)) ** 0.5
        pair = (torch.distributions.Normal(mean, s) for mean, s in zip(means, (precision**-0.5, std), strict=True))
        bound = torch.distributions.kl_divergence(*pair).sum()
        assert_equal(found[i], simple[i] + 0.01 * schedule.T * bound, rtol=1e-8)


@checks(train.learned_variance_loss)
def test_the_bound_teaches_the_variance_alone():
    schedule, (x_0, noise), t = forward.linear(10), normal(2, 4, 1, 3), torch.tensor([1, 4, 7, 10])
    answer, v = normal(4, 1, 3, seed=1).requires_grad_(), torch.zeros(4, 1, 3, dtype=torch.float64).requires_grad_()
    loss = train.learned_variance_loss(lambda *_: torch.cat([answer, v], dim=1), x_0, t, noise, schedule)
    loss.sum().backward()
    assert_equal(answer.grad, 2 * (answer.detach() - noise))
    assert torch.equal(v.grad[0], torch.zeros(1, 3).double()) and (v.grad[1:] != 0).all()


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


# Few steps, guidance, and the way there and back. --------------------------------------------------------------------


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


def test_guidance_asks_for_the_class_and_for_none():
    x, t, labels = normal(3, 2), torch.tensor([1, 2, 3]), torch.tensor([0, 4, 2])

    def model(x_t, t, labels):
        return x_t * t[:, None] + labels[:, None]

    assert_equal(train.guided(model, labels)(x, t), model(x, t, labels))
    none = model(x, t, torch.full((3,), -1))
    expected = train.guided_noise(model(x, t, labels), none, 2.0)
    assert_equal(train.guided(model, labels, 2.0)(x, t), expected)


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


# How good samples are. -----------------------------------------------------------------------------------------------


def sets(seed, n=12, m=9, dims=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dims)) @ rng.standard_normal((dims, dims)), 2 * rng.standard_normal((m, dims)) + 1


@checks(train.frechet_distance)
@settings(max_examples=40)
@given(seed=st.integers(0, 999), dims=st.integers(2, 4), n=st.integers(2, 9), m=st.integers(2, 9))
def test_the_frechet_distance_by_the_root_of_a_matrix(seed, dims, n, m):
    """The trace of the root is the sum of the roots of the eigenvalues; found here at thirty digits."""
    real, fake = sets(seed, n, m, dims)
    with mpmath.workdps(30):
        means = [[mpmath.fsum(column) / len(x) for column in x.T] for x in (real, fake)]
        covs = []
        for x, mean in zip((real, fake), means, strict=True):
            centred = mpmath.matrix([[value - middle for value, middle in zip(row, mean, strict=True)] for row in x])
            covs.append(centred.T * centred / (len(x) - 1))
        traces = [mpmath.fsum(cov[i, i] for i in range(dims)) for cov in covs]
        roots = [mpmath.sqrt(max(0, mpmath.re(value))) for value in mpmath.eig(covs[0] * covs[1], right=False)]
        apart = mpmath.fsum((a - b) ** 2 for a, b in zip(*means, strict=True))
        expected = (apart + sum(traces) - 2 * mpmath.fsum(roots)) / traces[0]
    assert_equal(train.frechet_distance(real, fake), float(expected), rtol=1e-6, atol=1e-6)  # roots of what is nearly 0


@checks(train.frechet_distance)
def test_the_frechet_distance_where_it_is_known():
    real, _ = sets(0, n=50)
    total = np.var(real, axis=0, ddof=1).sum()
    assert abs(train.frechet_distance(real, real)) < 1e-12
    shift = np.array([1.0, -2.0, 3.0])
    assert_equal(train.frechet_distance(real, real + shift), 14 / total)
    centre = real.mean(0)
    assert_equal(train.frechet_distance(real, centre + 3 * (real - centre)), 4.0)  # (3 - 1)^2 of the total variance
    flat = real * [1, 1, 0]
    assert_equal(train.frechet_distance(flat, flat + shift), 14 / np.var(flat, axis=0, ddof=1).sum())


@checks(train.sliced_wasserstein)
@given(seed=st.integers(0, 999), n=st.integers(2, 8), dims=st.integers(1, 4))
def test_the_sliced_distance_by_the_best_pairs(seed, n, dims):
    """What sorting does, found by trying all ways to pair the points up."""
    a, b = sets(seed, n, n, dims)
    directions = np.random.default_rng(seed).standard_normal((5, dims))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    squares = []
    for u in directions:
        cost = (np.subtract.outer(a @ u, b @ u)) ** 2
        squares.append(cost[optimize.linear_sum_assignment(cost)].mean())
    assert_equal(train.sliced_wasserstein(a, b, directions), np.mean(squares) ** 0.5)


@checks(train.sliced_wasserstein)
@given(shift=st.tuples(numbers(), numbers()), n=st.integers(2, 20))
def test_the_sliced_distance_of_a_shift(shift, n):
    a, _ = sets(1, n, n, 2)
    expected = math.hypot(*shift) / 2**0.5  # from an average side, half of the square is seen
    assert_equal(train.sliced_wasserstein(a, a[::-1] + shift), expected, rtol=1e-9, atol=1e-12)
    assert_equal(train.sliced_wasserstein(a[:, :1], a[:, :1] + shift[0]), abs(shift[0]), rtol=1e-9, atol=1e-12)


@checks(train.nearest_neighbours)
@given(seed=st.integers(0, 999), n=st.integers(2, 9), m=st.integers(2, 9))
def test_the_nearest_neighbours_one_by_one(seed, n, m):
    train_set, held_out = sets(seed, n, m)
    samples = sets(seed + 1, m + 1, 2)[0]

    def median(points):
        nearest = sorted(min(math.dist(point, known) for known in train_set) for point in points)
        return (nearest[(len(nearest) - 1) // 2] + nearest[len(nearest) // 2]) / 2

    expected = median(samples) / median(held_out)
    shaped = [x.reshape(len(x), 1, 3) for x in (samples, train_set, held_out)]
    assert_equal(train.nearest_neighbours(*shaped), expected, rtol=1e-9)
    assert train.nearest_neighbours(train_set, train_set, held_out) < 1e-6  # scikit-learn subtracts squares


def test_measures_refuse_what_they_cannot_compare():
    x = np.ones((3, 2))
    for measure, sets_of, said in (
        (train.frechet_distance, (x * np.nan, x), "real must be finite, got"),
        (train.frechet_distance, (x, x[:1]), "real and fake must be at least two samples each"),
        (train.frechet_distance, (x, x[:, :1]), r"fake must have the shape \(m, features\) with features = 2, got \(3, 1\)"),
        (train.frechet_distance, (x, x), "real must have more than one value"),
        (train.sliced_wasserstein, (x, x[:2]), r"fake must have the shape \(n, d\) with n = 3, d = 2, got \(2, 2\)"),
        (train.sliced_wasserstein, (np.ones((3, 4)), np.ones((3, 4))), "directions must be given as vectors in 4"),
        (train.nearest_neighbours, (x, x, x), "held_out must not be in train"),
    ):
        with pytest.raises(ValueError, match=said):
            measure(*sets_of)
