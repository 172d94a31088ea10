"""Chapter 6, Algorithm 1: the losses, the times, the average of the weights; and guidance."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from tinyddpm import elbo, forward, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule

from .runs import ideal, kept, normal, with_variance
from .strategies import betas, numbers, positive, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_times_that_cannot_be():
    for t, error, message in (
        ([1, 2], TypeError, "t must be a number or an array, got a list"),
        (3.0, ValueError, r"t must have the shape \(batch,\), got \(\)"),
        (torch.tensor([1.0, math.nan]), ValueError, "t must be finite"),
        (torch.tensor([True]), TypeError, "t must be floating point, got bool"),
    ):
        with pytest.raises(error, match=message):
            train.time_embedding(t, 4)
    for uniform, batch, T, error, message in (
        (torch.tensor(1.0).double(), 4, 9, ValueError, r"uniform must lie in \[0, 1\), got 1.0"),
        (torch.tensor(0.5).double(), 0, 9, ValueError, "batch must be a whole number of at least 1, got 0"),
        (torch.tensor(0.5).double(), 4, 2.5, TypeError, "T must be a whole number of at least 1, got 2.5"),
        (torch.zeros(2).double(), 4, 9, ValueError, "uniform must have the shape"),
        ([0.5], 4, 9, TypeError, "uniform must be a number or an array, got a list"),
    ):
        with pytest.raises(error, match=message):
            train.stratified_times(uniform, batch, T)


@checks(train.stratified_times)
@given(place=st.integers(0, 2**20 - 1), power=st.integers(0, 6), T=st.integers(1, 4000))
def test_stratified_times_by_hand(place, power, T):
    u, batch = Fraction(place, 2**20), 2**power  # binary fractions, so that floats are exact
    expected = [1 + math.floor(T * ((u + Fraction(i, batch)) % 1)) for i in range(batch)]
    times = train.stratified_times(torch.tensor(float(u), dtype=torch.float64), batch, T)
    assert_equal(times, torch.tensor(expected))
    assert_equal(train.stratified_times(float(u), batch, T), np.array(expected))


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
        with pytest.raises(ValueError, match=rf"t must lie in 1..5, got \[1, {outside}\]"):
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


@checks(train.ema_update)
@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5, 0.9, 0.9999, 1.0])
def test_all_weights_at_once_are_averaged_as_each_alone(decay):
    """What the trainer calls, by torch's own step for many tensors."""
    shapes = [(3,), (2, 4), (1,), (2, 1, 3, 3)]
    averages, values = ([normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)] for seed in (0, 10))
    parameters = [torch.nn.Parameter(value) for value in values]
    expected = [train.ema_update(average, value, decay) for average, value in zip(averages, values, strict=True)]
    before = [average.data_ptr() for average in averages]
    train.ema_update_(averages, parameters, decay)
    assert [average.data_ptr() for average in averages] == before  # in place
    assert not any(average.requires_grad for average in averages)  # nothing remembers how it came about
    for average, each in zip(averages, expected, strict=True):
        assert_equal(average, each, rtol=1e-14, atol=1e-15)
    assert all(torch.equal(parameter, value) for parameter, value in zip(parameters, values, strict=True))


def test_a_decay_out_of_range_is_refused():
    for decay in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]"):
            train.ema_update(np.ones(2), np.ones(2), decay)


# A variance of its own. -----------------------------------------------------------------------------------------------


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


@checks(train.bound_loss)
@given(
    schedule=st.lists(betas(low=1e-3, high=0.9), min_size=2, max_size=5).map(Schedule),
    v=st.floats(-0.2, 1.2),
    predicts=st.sampled_from(sorted(forward.PREDICTIONS)),
)
def test_the_mean_of_the_bound_as_a_loss_is_the_bound(schedule, v, predicts):
    """Over all times, with the noise that `vlb_terms` draws: the sum of its terms from t = 2 on."""
    model, x_0 = with_variance(ideal(schedule, 0.2, 0.5, predicts), v), normal(1, 3, 2, 2, seed=3)[0].clamp(-1, 1)
    terms = elbo.vlb_terms(model, x_0, schedule, seeded(0), predicts, "learned", bins=None)
    rng, losses = seeded(0), []
    for t in range(1, schedule.T + 1):
        noise = torch.randn(x_0.shape, generator=rng, dtype=x_0.dtype)
        losses.append(train.bound_loss(model, x_0, torch.full((3,), t), noise, schedule, predicts))
    assert_equal(losses[0], torch.zeros(3, dtype=x_0.dtype))
    assert_equal(torch.stack(losses).mean(0), terms[1:-1].sum(0), rtol=1e-8)


@checks(train.bound_loss)
def test_the_bound_as_a_loss_teaches_the_mean_too():
    schedule, (x_0, noise), t = forward.linear(10), normal(2, 4, 1, 3), torch.tensor([1, 4, 7, 10])
    output = normal(4, 1, 3, seed=1).requires_grad_()
    both = torch.cat([output, torch.zeros_like(output)], dim=1)
    train.bound_loss(lambda *_: both, x_0, t, noise, schedule, "x_0").sum().backward()
    for i, time in enumerate(t.tolist()):
        step = schedule[time]
        if time == 1:
            assert not output.grad[i].any()
            continue
        var = math.sqrt(step.beta * step.beta * step.noise_var_prev / step.noise_var)  # half-way between the two
        weight = step.alpha_bar_prev * (step.beta / step.noise_var) ** 2 / var
        assert_equal(output.grad[i], 10 * weight * (output.detach() - x_0)[i], rtol=1e-8)


@checks(train.learned_variance_loss)
def test_the_bound_teaches_the_variance_alone():
    schedule, (x_0, noise), t = forward.linear(10), normal(2, 4, 1, 3), torch.tensor([1, 4, 7, 10])
    answer, v = normal(4, 1, 3, seed=1).requires_grad_(), torch.zeros(4, 1, 3, dtype=torch.float64).requires_grad_()
    loss = train.learned_variance_loss(lambda *_: torch.cat([answer, v], dim=1), x_0, t, noise, schedule)
    loss.sum().backward()
    assert_equal(answer.grad, 2 * (answer.detach() - noise))
    assert torch.equal(v.grad[0], torch.zeros(1, 3).double()) and (v.grad[1:] != 0).all()


# A class that is asked for. -------------------------------------------------------------------------------------------


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


@checks(train.guided_noise)
def test_guidance_asks_for_the_class_and_for_none():
    x, t, labels = normal(3, 2), torch.tensor([1, 2, 3]), torch.tensor([0, 4, 2])

    def model(x_t, t, labels):
        return x_t * t[:, None] + labels[:, None]

    assert_equal(train.guided(model, labels)(x, t), model(x, t, labels))
    none = model(x, t, torch.full((3,), -1))
    expected = train.guided_noise(model(x, t, labels), none, 2.0)
    assert_equal(train.guided(model, labels, 2.0)(x, t), expected)
