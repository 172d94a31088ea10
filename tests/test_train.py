"""Chapter 6: Algorithms 1 and 2 against closed forms of Gaussian data, the trainer against itself, the command line."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from tinyddpm import cli, forward, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule
from tinyddpm.mixture import Mixture
from tinyddpm.train import data, loop, run
from tinyddpm.train.config import Config
from tinyddpm.train.unet import UNet

from .strategies import betas, numbers, positive


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small gain nothing from more, and tests that run beside each other lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


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
@given(batch=batches(), predicts=st.sampled_from(train.PREDICTS))
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
    with pytest.raises(ValueError, match=r"noise must have the shape \(2, 3\), got \(1, 3\)"):
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


tame = st.lists(betas(low=1e-3, high=0.9), min_size=1, max_size=8).map(Schedule)


@checks(train.sample_path, train.sample)
@settings(max_examples=60)
@given(
    schedule=tame,
    part=st.floats(0, 1),
    var=positive(),
    variance=st.sampled_from(train.VARIANCES),
    predicts=st.sampled_from(train.PREDICTS),
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


@checks(train.sample)
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
@pytest.mark.parametrize("sampler", train.SAMPLERS)
@pytest.mark.parametrize("variance", train.VARIANCES)
@pytest.mark.parametrize("predicts", train.PREDICTS)
def test_data_of_one_point_is_found(sampler, steps, variance, predicts):
    point, schedule = normal(1, 2, 2, seed=5) / 4, forward.cosine(30)
    options = {"steps": steps, "variance": variance, "predicts": predicts, "dtype": torch.float64}
    x_0 = train.sample(ideal(schedule, point, 0.0, predicts), schedule, (3, 2, 2), seeded(0), sampler, **options)
    assert_equal(x_0, point.expand(3, 2, 2), rtol=1e-9)


@checks(train.sample)
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("sampler", train.SAMPLERS)
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
def test_visited_times_are_even_and_include_both_ends(T, part):
    steps = 1 + round(part * (T - 1))
    times = train.visited_times(T, steps)
    assert len(times) == steps and times[-1] == T and (times[0] == 1 or steps == 1)
    jumps = {b - a for a, b in itertools.pairwise(times)}
    assert not jumps or (min(jumps) >= 1 and max(jumps) - min(jumps) <= 1)


@pytest.mark.parametrize("sampler", train.SAMPLERS)
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
        ({"sampler": "euler"}, "sampler must be one of ancestral, ddim, got 'euler'"),
        ({"variance": "learned"}, "variance must be one of beta, posterior"),
        ({"predicts": "score"}, "predicts must be one of noise, x_0, velocity"),
        ({"steps": 0}, r"steps must lie in 1..10, got 0"),
        ({"steps": 11}, r"steps must lie in 1..10, got 11"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"clip": -1.0, "sampler": "ddim"}, "clip must be above 0"),
        ({"eta": 1.5, "sampler": "ddim"}, "eta must lie in"),
    ],
)
def test_sampling_refuses_what_is_not_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        train.sample(lambda x, t: x, forward.linear(10), (2,), seeded(0), **options)


# The network and the pictures. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 6)])
def test_the_network_begins_at_zero_and_keeps_the_shape(shape):
    model, x, t = UNet(shape[0], width=8), torch.randn(4, *shape, generator=seeded(0)), torch.tensor([1, 2, 500, 1000])
    assert torch.equal(model(x, t), torch.zeros(4, *shape))


def awake(width=8):
    """A network none of whose weights are 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet(1, width)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_each_answer_depends_on_its_own_picture_and_time_alone():
    model, x, t = awake(), torch.randn(3, 1, 8, 8, generator=seeded(0)), torch.tensor([3, 300, 900])
    together = model(x, t)
    apart = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    assert_equal(together, apart, rtol=1e-4, atol=1e-4)
    later = model(x, torch.tensor([3, 301, 900]))
    assert torch.allclose(together[[0, 2]], later[[0, 2]], atol=1e-4)
    assert (together[1] - later[1]).abs().max() > 1e-2


def test_the_network_refuses_what_it_cannot_halve():
    for shape in ((2, 1, 7, 8), (2, 1, 8, 7), (2, 8, 8)):
        with pytest.raises(ValueError, match="x_t must be"):
            UNet(1, 8)(torch.zeros(shape), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 12"):
        UNet(1, 12)


def test_the_digits_are_two_halves_between_minus_one_and_one():
    found = data.load("digits")
    pictures = np.concatenate([found.train, found.held_out])
    assert pictures.shape == (1797, 1, 8, 8) and pictures.dtype == np.float32
    assert (pictures.min(), pictures.max()) == (-1, 1) and len(np.unique(pictures)) == 17
    counts = np.bincount(found.train_labels) - np.bincount(found.held_out_labels)
    assert abs(counts).max() <= 1 and len(counts) == 10
    assert len({picture.tobytes() for picture in found.train} & {picture.tobytes() for picture in found.held_out}) < 10
    assert all(map(np.array_equal, found, data.load("digits")))
    with pytest.raises(ValueError, match="data must be one of digits, got 'letters'"):
        data.load("letters")


# The trainer. --------------------------------------------------------------------------------------------------------

TINY = Config(steps=4, width=8, batch=8, T=20)


def tensors(path):
    with safetensors.safe_open(path / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three short runs: twice the same, and once with another seed."""
    out, before = tmp_path_factory.mktemp("runs"), torch.get_rng_state()
    reports = [loop.fit(replace(TINY, out=out, seed=seed)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)  # nothing seeds, or draws, globally
    return out, reports


def test_a_seed_repeats_a_run_bit_for_bit(trained):
    out, _ = trained
    first, again, other = (tensors(out / f"digits-{number}") for number in (1, 2, 3))
    assert all(torch.equal(first[name], again[name]) for name in first)
    begun_elsewhere = (first["raw.enter.weight"] - other["raw.enter.weight"]).abs().max()
    assert begun_elsewhere > 0.05  # further than four steps could take it
    assert {name.split(".")[0] for name in first} == {"average", "raw"}
    pictures = [(out / f"digits-{number}" / "samples.png").read_bytes() for number in (1, 2, 3)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_run_leaves_whole_files_and_a_report(trained):
    out, (report, *_) = trained
    files = {path.name for path in (out / "digits-1").iterdir()}
    assert files == {"config.json", "model.safetensors", "log.jsonl", "samples.png", "report.json"}
    assert json.loads((out / "digits-1" / "report.json").read_text()) == vars(report)
    raw = [value for name, value in tensors(out / "digits-1").items() if name.startswith("raw.")]
    assert report.parameters == sum(value.numel() for value in raw)
    assert report.steps == 4 and 0 < report.held_out_loss < 2
    assert "digits-1" in str(report) and "samples.png" in str(report)
    assert [json.loads(line)["step"] for line in (out / "digits-1" / "log.jsonl").read_text().splitlines()] == [4]


def test_a_run_is_loaded_with_its_averaged_weights(trained):
    out, _ = trained
    loaded = run.load(out / "digits-1")
    assert loaded.config == replace(TINY, out=out) and loaded.shape == (1, 8, 8)
    assert torch.equal(loaded.model.enter.weight, tensors(out / "digits-1")["average.enter.weight"])
    samples = loaded.sample(5, 10, seed=0)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == np.float32 and abs(samples).max() <= 1
    assert np.array_equal(samples, loaded.sample(5, 10, seed=0))
    with pytest.raises(ValueError, match=r"steps must lie in 1..20, got 21"):
        loaded.sample(5, 21, seed=0)


def test_training_helps(tmp_path):
    pictures = torch.from_numpy(data.load("digits").held_out)
    report = loop.fit(replace(TINY, out=tmp_path, steps=60, batch=64, lr=5e-3))
    untrained = loop.evaluate(lambda x, t: 0 * x, pictures, forward.cosine(20), "velocity")
    assert report.held_out_loss < 0.8 * untrained
    assert 0.8 < untrained < 1.1  # velocity has about the variance of the data


def test_the_clock_ends_a_run(tmp_path):
    report = loop.fit(replace(TINY, out=tmp_path, steps=None, seconds=0.05))
    assert 0.05 <= report.seconds < 5 and report.steps >= 1


def test_a_run_that_is_interrupted_keeps_what_it_learned(tmp_path, monkeypatch):
    calls = itertools.count()

    def interrupted(*arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return train.training_loss(*arguments)

    monkeypatch.setattr(loop, "training_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(replace(TINY, out=tmp_path, steps=100))
    assert run.load(tmp_path / "digits-1").sample(1, 2, seed=0).shape == (1, 1, 8, 8)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "training_loss", lambda *_: torch.tensor([math.nan], requires_grad=True))
    with pytest.raises(FloatingPointError, match="loss is nan at step 1"):
        loop.fit(replace(TINY, out=tmp_path))
    with pytest.raises(ValueError, match="stopped before its first save"):
        run.load(tmp_path / "digits-1")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "kept"
    run.write(path, lambda file: file.write(b"old"))
    with open(path, "rb") as reader:
        run.write(path, lambda file: file.write(b"new"))
        assert reader.read() == b"old"  # who has it open keeps the old file, whole
    assert path.read_bytes() == b"new"

    def fails(file):
        file.write(b"ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run.write(path, fails)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_the_grid_shows_every_sample_in_its_place(tmp_path):
    from matplotlib import image

    samples = np.linspace(-1, 1, 5).reshape(5, 1, 1, 1) * np.ones((5, 1, 4, 6))
    run.write_grid(tmp_path / "grid.png", samples)
    picture = image.imread(tmp_path / "grid.png")[..., 0]
    assert picture.shape == (2 * (4 * 12 + 2), 3 * (6 * 12 + 2))
    shades = picture.reshape(2, 50, 3, 74)[:, 10, :, 10].ravel()
    np.testing.assert_allclose(shades, [0, 0.25, 0.5, 0.75, 1, 1], atol=1 / 255)


@pytest.mark.parametrize(
    ("field", "value"),
    {
        "data": "letters",
        "schedule": "sine",
        "predicts": "score",
        "T": 0,
        "batch": 0,
        "steps": 0,
        "seconds": 0.0,
        "lr": math.nan,
        "ema": 1.0,
        "width": 12,
        "seed": -1,
    }.items(),
)
def test_a_config_that_cannot_be_run_is_refused_before_anything_is_written(tmp_path, field, value):
    with pytest.raises(ValueError, match=f"{field} must"):
        loop.fit(replace(TINY, out=tmp_path / "runs", **{field: value}))
    assert not (tmp_path / "runs").exists()


# The command line. ---------------------------------------------------------------------------------------------------


def test_train_prints_where_the_samples_are(tmp_path, capsys):
    arguments = ["train", "--steps", "1", "--width", "8", "--batch", "2", "--T", "5", "--out", str(tmp_path / "runs")]
    assert cli.main(arguments) == 0
    assert str(tmp_path / "runs" / "digits-1" / "samples.png") in capsys.readouterr().out


def test_sample_writes_a_picture_or_numbers(trained, tmp_path, capsys):
    folder = str(trained[0] / "digits-1")
    for file in ("grid.png", "numbers.npz"):
        assert cli.main(["sample", folder, "--n", "3", "--steps", "5", "--out", str(tmp_path / file)]) == 0
        assert str(tmp_path / file) in capsys.readouterr().out
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    samples = np.load(tmp_path / "numbers.npz")["samples"]
    assert samples.shape == (3, 1, 8, 8) and abs(samples).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "--schedule", "sine"],
            "schedule must be one of linear, scaled_linear, proportional, cosine, got 'sine'",
        ),
        (["train", "--T", "0"], "T must be a whole number of at least 1, got 0"),
        (["train", "--data", "letters"], "data must be one of digits, got 'letters'"),
        (["sample", "RUNS/digits-9"], "digits-1"),
        (["sample", "RUNS/digits-1", "--steps", "21"], "steps must lie in 1..20, got 21"),
        (["sample", "RUNS/digits-1", "--sampler", "euler"], "sampler must be one of ancestral, ddim, got 'euler'"),
        (["sample", "RUNS/digits-1", "--n", "0"], "n must be at least 1, got 0"),
        (["sample", "RUNS/digits-1", "--out", "samples.jpg"], "out must end in .png or .npz, got 'samples.jpg'"),
        (["sample", "RUNS/digits-1", "--out", "nowhere/a.png"], "out must be in a folder that exists"),
        (["cite", "posterior.meen"], "posterior.mean"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(trained, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main([argument.replace("RUNS", str(trained[0])) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_exits_with_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--stps", "3"])
    assert exit_.value.code == 2 and "--steps" in capsys.readouterr().err


def test_equations_fit_the_screen(capsys):
    assert cli.main(["equations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    (row,) = (line for line in lines if "posterior.mean(" in line)
    assert row.split()[1:5] == ["posterior.mean(x_t,", "x_0,", "step)", "Ho"] and row.endswith("Ho et al. 2020, Eq. 7")


def test_cite_prints_reference_and_bibtex(capsys):
    assert cli.main(["cite", "train.guided_noise"]) == 0
    printed = capsys.readouterr().out
    assert "Classifier-Free Diffusion Guidance" in printed and "@misc{" in printed and "Eq. 6" in printed


def test_check_passes_its_arguments_to_pytest(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(pytest, "main", lambda arguments: asked.append(arguments) or 1)
    assert cli.main(["check", "-k", "mean", "--equation", "posterior.mean"]) == 1
    assert asked[0][-4:] == ["-k", "mean", "--equation", "posterior.mean"] and "tinyddpm.checker" in asked[0]
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(["check"]) == 2
    assert 'pip install "tinyddpm[test]"' in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["check", "--help"]])
def test_help_does_not_wait_for_torch(arguments):
    script = (
        "import sys\nfrom tinyddpm import cli\n"
        f"try: cli.main({arguments})\nfinally: assert not {{'torch', 'sklearn', 'pytest'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "usage: tinyddpm" in done.stdout, done.stderr
