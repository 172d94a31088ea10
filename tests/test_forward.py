"""Chapter 1: the forward process, against quantiles, characteristic functions, rotations and fifty digits."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from tinyddpm import forward
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Gaussian, Schedule

from .strategies import (
    betas,
    edged_schedules,
    floats,
    jumps,
    numbers,
    points,
    positive,
    refused,
    schedules,
    steps_for,
    ten_digits,
)

pytestmark = pytest.mark.usefixtures("fifty_digits")

# The schedules, at fifty digits. -------------------------------------------------------------------------------------


@cache
def exact_betas(name, T):
    """The betas of a named schedule by their definition, at fifty digits."""
    one, first, last = mpmath.mpf(1), *map(mpmath.mpf, {"scaled_linear": (0.00085, 0.012)}.get(name, (1e-4, 0.02)))
    share = [mpmath.mpf(t) / (T - 1) if T > 1 else mpmath.mpf(0) for t in range(T)]
    if name == "linear":
        return [first + s * (last - first) for s in share]
    if name == "scaled_linear":
        return [(mpmath.sqrt(first) + s * (mpmath.sqrt(last) - mpmath.sqrt(first))) ** 2 for s in share]
    if name == "proportional":
        return [last * t / T for t in range(1, T + 1)]
    if name != "cosine":
        raise KeyError(f"the betas of {name!r} at fifty digits are missing: add them to exact_betas")
    offset = mpmath.mpf(0.008)
    f = [mpmath.cos((one * t / T + offset) / (1 + offset) * mpmath.pi / 2) ** 2 for t in range(T + 1)]
    return [min(1 - f[t] / f[t - 1], mpmath.mpf(0.999)) for t in range(1, T + 1)]


def exact_products(betas):
    """alpha_bar_1..alpha_bar_T."""
    kept, products = mpmath.mpf(1), []
    for beta in betas:
        kept *= 1 - beta
        products.append(kept)
    return products


def exact_kept(schedule, t):
    """alpha_bar at t of a schedule as it is, at fifty digits: of a beta near 1 its alpha has more digits."""
    alphas = (mpmath.mpf(s.alpha) if s.alpha < 0.5 else 1 - mpmath.mpf(s.beta) for s in schedule)
    return mpmath.fprod(alpha for alpha, _ in zip(alphas, range(t), strict=False))


def exact_steps(betas):
    """The six columns of a schedule: beta, alpha, alpha_bar, alpha_bar_prev, noise_var, noise_var_prev."""
    kept = exact_products(betas)
    before = [mpmath.mpf(1), *kept[:-1]]
    return betas, [1 - b for b in betas], kept, before, [1 - k for k in kept], [1 - k for k in before]


def assert_the_schedule_is(schedule, exact):
    """Beta and what it adds up to, to ten digits; what is left to 1 of numbers near 1 has no more than they have."""
    for name, column, truth in zip(schedule.steps._fields, schedule.steps, floats(exact), strict=True):
        assert_equal(column, truth, atol=0.0 if "beta" in name or "noise" in name else 1e-15)


@checks(forward.linear, forward.scaled_linear, forward.proportional, forward.cosine, forward.alpha_bar)
@pytest.mark.parametrize("T", [1, 2, 7, 100, 1000, 4000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_schedules_at_fifty_digits(name, T):
    schedule, exact = getattr(forward, name)(T), exact_steps(exact_betas(name, T))
    assert_the_schedule_is(schedule, exact)
    assert_equal(forward.alpha_bar(schedule.beta), floats(exact)[2])


@pytest.mark.parametrize("T", [2, 7, 1000, 4000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_our_own_schedules_keep_every_digit(name, T):
    """More than is asked of others: the forms of the code are chosen so that nothing cancels."""
    betas = exact_betas(name, T)
    taus = [1, *range(2, T, max(1, T // 7)), T]
    products = exact_products(betas)
    kept = [products[tau - 1] for tau in taus]
    merged = [1 - now / before for before, now in zip([mpmath.mpf(1), *kept], kept, strict=False)]
    root = [mpmath.sqrt(product) for product in products]
    scaled = [(root[0] * (r - root[-1]) / (root[0] - root[-1])) ** 2 for r in root]
    ended = [1 - now / before for before, now in zip([mpmath.mpf(1), *scaled], scaled, strict=False)]
    schedule = forward.schedule(name, T)
    for ours, exact in (
        (schedule, betas),
        (forward.respace(schedule, taus), merged),
        (forward.zero_terminal_snr(schedule), ended),
    ):
        columns = zip(ours.steps._fields, ours.steps, floats(exact_steps(exact)), strict=True)
        for field, column, truth in columns:
            assert_equal(column, truth, rtol=2e-13, atol=0.0 if "beta" in field or "noise" in field else 1e-15)


@checks(forward.linear, forward.scaled_linear, forward.proportional)
@given(T=st.integers(3, 50), ends=st.tuples(betas(), betas()))
def test_what_grows_in_equal_steps(T, ends):
    for grown in (forward.linear(T, *ends).beta, np.sqrt(forward.scaled_linear(T, *ends).beta)):
        assert_equal(np.diff(grown), np.full(T - 1, (grown[-1] - grown[0]) / (T - 1)), atol=1e-15)
    assert_equal(forward.linear(T, *ends).beta[[0, -1]], np.array(ends))
    assert_equal(forward.scaled_linear(T, *ends).beta[[0, -1]], np.array(ends))
    assert_equal(forward.proportional(T, ends[1]).beta / np.arange(1, T + 1), np.full(T, ends[1] / T))


@checks(forward.cosine)
@given(T=st.integers(2, 1000), s=st.floats(1e-4, 0.5))
def test_the_cosine_schedule_turns_at_constant_speed(T, s):
    """The angle whose squared cosine is left grows by the same amount in every step, until beta is clipped."""
    schedule = forward.cosine(T, s)
    free = np.append(0, np.flatnonzero(schedule.beta < 0.999) + 1)
    start = s / (1 + s) * math.pi / 2
    left = np.append(1.0, schedule.steps.alpha_bar)[free] * math.cos(start) ** 2
    step = math.pi / 2 / (1 + s) / T
    angles = np.arccos(np.sqrt(left))  # near 0 an arc cosine has half the digits of the cosine
    assert_equal(angles, start + step * np.arange(len(free)), atol=1e-11)
    assert np.all(schedule.beta[len(free) - 1 :] == 0.999)


@checks(forward.linear, forward.scaled_linear, forward.cosine, forward.snr)
@pytest.mark.parametrize(
    ("name", "ratio", "root"),
    [
        ("linear", 4.035993e-05, 0.006353),
        ("scaled_linear", 0.004682, 0.068265),
        pytest.param("cosine", 2.428735e-09, 4.928220e-05),
    ],
)
def test_what_is_left_at_the_end_is_as_published(name, ratio, root):
    """Lin et al. 2023, Table 1, before and after; theirs is computed in float32, in which the cosine's end is rounded."""
    schedule = forward.schedule(name)
    slack = 1e-3 if name == "cosine" else 1e-4
    assert forward.snr(schedule[1000]) == pytest.approx(ratio, rel=slack)
    assert math.sqrt(schedule[1000].alpha_bar) == pytest.approx(root, rel=slack)
    after = forward.zero_terminal_snr(schedule)
    assert forward.snr(after[1000]) == 0.0
    assert after[1].beta == pytest.approx(schedule[1].beta, rel=1e-10)


@checks(forward.zero_terminal_snr)
@pytest.mark.parametrize("T", [2, 7, 1000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_zero_terminal_snr_at_fifty_digits(name, T):
    root = [mpmath.sqrt(kept) for kept in exact_products(exact_betas(name, T))]
    scaled = [root[0] * (r - root[-1]) / (root[0] - root[-1]) for r in root]
    schedule = forward.zero_terminal_snr(forward.schedule(name, T))
    betas = [1 - (now / before) ** 2 for before, now in zip([mpmath.mpf(1), *scaled], scaled, strict=False)]
    assert_the_schedule_is(schedule, exact_steps(betas))
    assert schedule[T].alpha_bar == 0.0 and schedule[T].noise_var == 1.0


@checks(forward.zero_terminal_snr)
@given(schedule=schedules().filter(lambda s: s.T > 2 and s.T <= 1000 and s.beta[1:].max() > 1e-4))
def test_zero_terminal_snr_moves_every_square_root_alike(schedule):
    """A straight line through two points: distances between square roots keep their proportions."""
    before, after = np.sqrt(schedule.steps.alpha_bar), np.sqrt(forward.zero_terminal_snr(schedule).steps.alpha_bar)
    assert after[-1] == 0.0
    assert_equal(after[0], before[0])
    proportions = [(x - x[-1]) / (x[0] - x[-1]) for x in (before, after)]
    assert_equal(*proportions, atol=1e-10)


@checks(forward.respace)
@given(data=st.data(), name=st.sampled_from(sorted(forward.SCHEDULES)))
def test_a_respaced_schedule_has_the_same_alpha_bars(data, name):
    taus = data.draw(st.lists(st.integers(1, 50), min_size=1, unique=True).map(sorted))
    compare_respaced(name, 50, taus)


@checks(forward.respace)
@pytest.mark.parametrize("count", [1, 10, 50, 1000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_the_usual_respacings(name, count):
    compare_respaced(name, 1000, list(range(1000 // count, 1001, 1000 // count)))


def compare_respaced(name, T, taus):
    """Every column against the products of the full schedule at fifty digits."""
    exact = exact_products(exact_betas(name, T))
    kept = [exact[tau - 1] for tau in taus]
    betas = [1 - now / before for before, now in zip([mpmath.mpf(1), *kept], kept, strict=False)]
    assert_the_schedule_is(forward.respace(forward.schedule(name, T), taus), exact_steps(betas))


@checks(forward.respace)
@given(schedule=edged_schedules(), data=st.data())
def test_a_merged_step_is_the_walk_over_those_left_out(schedule, data):
    last = next((t for t, step in enumerate(schedule, start=1) if step.alpha_bar == 0), min(schedule.T, 200))
    taus = data.draw(st.lists(st.integers(1, min(last, 200)), min_size=1, max_size=5, unique=True).map(sorted))
    for tau_before, tau, merged in zip([0, *taus], taus, forward.respace(schedule, taus), strict=False):
        walked = Gaussian(1.0, 0.0)
        for t in range(tau_before + 1, tau + 1):
            walked = after(walked, schedule[t])
        assert_equal(forward.transition(1.0, merged), walked, atol=1e-15)


def test_the_digits_of_a_small_share_are_kept():
    """One step over the whole cosine schedule keeps 2.4e-9; 1 - beta would have eight digits of it."""
    schedule = forward.cosine()
    whole = forward.respace(schedule, [1000])
    assert_equal(whole[1].alpha, schedule[1000].alpha_bar, rtol=1e-15)
    again = Schedule.from_alpha_bar(schedule.steps.alpha_bar)
    assert_equal(again.steps.alpha_bar, schedule.steps.alpha_bar, rtol=1e-13)


@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_forms_of_textbooks_are_the_same_to_ten_digits(name):
    """What somebody else's code may look like must pass these checks too."""
    schedule = forward.schedule(name)
    kept = np.cumprod(1 - schedule.beta)
    for taus in (range(1, 1001), range(20, 1001, 20), [1000]):
        visited = kept[np.array(taus) - 1]
        ratio = visited / np.append(1.0, visited[:-1])
        assert_equal(forward.respace(schedule, taus).beta, 1 - ratio)
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    assert_equal(forward.cosine().beta, np.minimum(1 - f[1:] / f[:-1], 0.999))
    assert_equal(forward.cosine().beta, np.minimum(1 - (f / f[0])[1:] / (f / f[0])[:-1], 0.999))


def test_a_named_schedule_is_the_one_by_its_function():
    assert forward.schedule("linear", 12) == forward.linear(12) != forward.cosine(12)
    assert hash(forward.linear(12)) == hash(forward.linear(12))
    assert repr(forward.linear()) == "Schedule(T=1000, beta_1=0.0001, beta_T=0.02)"


@given(schedule=schedules())
def test_a_schedule_comes_back_from_its_alpha_bars(schedule):
    back = Schedule.from_alpha_bar(schedule.steps.alpha_bar)
    assert_equal(back.beta, schedule.beta, atol=1e-15 * schedule.T, rtol=1e-9)


@given(schedule=schedules(), data=st.data())
def test_a_batch_of_times_is_the_single_times(schedule, data):
    t = data.draw(st.lists(st.integers(1, schedule.T), min_size=1, max_size=4))
    for like in (np.zeros((len(t), 2, 3)), torch.zeros(len(t), 2, dtype=torch.float64)):
        for times in (t, np.array(t), torch.tensor(t)):
            batch = schedule.at(times, like)
            for i, moment in enumerate(t):
                single = tuple(float(column[i].reshape(())) for column in batch)
                assert all(column.shape == (len(t), *[1] * (like.ndim - 1)) for column in batch)
                assert single == tuple(schedule[moment])
    assert schedule.at(t[0], like).beta.shape == (1, 1)
    assert [step.beta for step in schedule] == schedule.beta.tolist()


# Samples against quantiles: the number below which a share p of a distribution lies. ----------------------------------


def quantile(p, mean, var):
    return stats.norm.ppf(p, loc=mean, scale=np.sqrt(var))


shares = st.sampled_from([1e-6, 0.01, 0.2, 0.5, 0.7, 0.99])


@checks(forward.reparameterize)
@given(x=points(), var=positive(), p=shares)
def test_a_sample_is_a_quantile(x, var, p):
    assert_equal(forward.reparameterize(x, var, stats.norm.ppf(p)), quantile(p, x, var), atol=1e-13)


@checks(forward.transition, forward.diffuse_once)
@given(x=points(), step=steps_for(forward.transition, forward.diffuse_once), p=shares)
def test_one_step_is_the_gaussian_of_the_paper(x, step, p):
    mean, var = math.sqrt(step.alpha) * x, step.beta
    assert_equal(forward.transition(x, step), Gaussian(mean, var))
    assert_equal(forward.diffuse_once(x, stats.norm.ppf(p), step), quantile(p, mean, var), atol=1e-12)


@checks(forward.marginal, forward.diffuse)
@given(x=points(), schedule=edged_schedules(), data=st.data(), p=shares)
def test_the_jump_uses_the_product_of_the_alphas(x, schedule, data, p):
    t = data.draw(st.sampled_from([1, schedule.T, (1 + schedule.T) // 2]))
    kept = exact_kept(schedule, t)
    mean, var = float(mpmath.sqrt(kept)) * x, float(1 - kept)
    assert_equal(forward.marginal(x, schedule[t]), Gaussian(mean, var), rtol=ten_digits(schedule[t]))
    assert_equal(forward.diffuse(x, stats.norm.ppf(p), schedule[t]), quantile(p, mean, var), atol=1e-12)


# Why many steps are one. ---------------------------------------------------------------------------------------------


def after(gaussian, step):
    """One more step from a Gaussian: the mean through `transition`, the variance by the law of total variance."""
    shrunk, added = forward.transition(gaussian.mean, step)
    factor = forward.transition(1.0, step).mean
    return Gaussian(shrunk, factor**2 * gaussian.var + added)


@checks(forward.transition, forward.marginal)
@given(x=points(), schedule=edged_schedules().filter(lambda s: s.T <= 1000))
def test_the_marginal_by_induction(x, schedule):
    now = Gaussian(x, 0.0)
    for t, step in enumerate(schedule, start=1):
        now = after(now, step)
        if t in (1, 2, schedule.T):
            assert_equal(now, forward.marginal(x, step), rtol=ten_digits(step))


@checks(forward.variance_after)
@given(var=st.one_of(st.just(0.0), positive()), step=steps_for(forward.variance_after))
def test_variance_after_one_step(var, step):
    assert_equal(forward.variance_after(var, step), after(Gaussian(0.0, var), step).var)
    assert_equal(forward.variance_after(1.0, step), 1.0)


@checks(forward.characteristic_function)
@given(u=numbers(), mean=numbers(), var=positive(2.0))
def test_the_characteristic_function_is_an_integral(u, mean, var):
    node, weight = np.polynomial.hermite_e.hermegauss(150)
    integral = weight @ np.exp(1j * u * (mean + math.sqrt(var) * node)) / weight.sum()
    assert_equal(forward.characteristic_function(u, mean, var), complex(integral), atol=1e-11)


@checks(forward.merged_variance, forward.characteristic_function)
@given(u=numbers(), var=st.tuples(positive(), positive()), weight=st.tuples(numbers(), numbers()))
def test_the_sum_of_two_noises_by_characteristic_functions(u, var, weight):
    (a, b), (var_a, var_b) = weight, var
    product = forward.characteristic_function(a * u, 0.0, var_a) * forward.characteristic_function(b * u, 0.0, var_b)
    merged = forward.merged_variance(var_a, var_b, a, b)
    assert_equal(forward.characteristic_function(u, 0.0, merged), product, atol=1e-300)


@checks(forward.merged_variance)
def test_the_sum_of_two_noises_by_sampling():
    rng, n = np.random.default_rng(0), 400_000
    sample = 0.6 * rng.normal(0, math.sqrt(2.0), n) - 1.5 * rng.normal(0, math.sqrt(0.3), n)
    var = forward.merged_variance(2.0, 0.3, 0.6, -1.5)
    assert abs(sample.var() - var) < 5 * var * math.sqrt(2 / n)  # five standard errors of a Gaussian's variance
    assert stats.kstest(sample, "norm", args=(0, math.sqrt(var))).pvalue > 0.001


@checks(forward.two_steps)
@given(x=points(), schedule=edged_schedules().filter(lambda s: s.T > 1), data=st.data(), u=numbers())
def test_two_steps_are_one(x, schedule, data, u):
    """Anywhere in a schedule: by the law of total variance, and as a product of characteristic functions."""
    t = data.draw(st.one_of(st.just(2), st.just(schedule.T), st.integers(2, schedule.T)))
    step_prev, step = schedule[t - 1], schedule[t]
    merged = forward.two_steps(x, step_prev, step)
    assert_equal(merged, after(after(Gaussian(x, 0.0), step_prev), step), atol=1e-15)
    shrink = math.sqrt(step.alpha)
    older = forward.characteristic_function(shrink * u, math.sqrt(step_prev.alpha) * x, step_prev.beta)
    newer = forward.characteristic_function(u, 0.0, step.beta)
    assert_equal(forward.characteristic_function(u, *merged), older * newer, atol=1e-12)


@checks(forward.skip)
@given(x=points(), jump=jumps(edges=True))
def test_a_skip_continues_the_marginal(x, jump):
    step_s, step = jump
    at_s = forward.marginal(x, step_s) if step_s.noise_var else Gaussian(x, 0.0)
    mean, added = forward.skip(at_s.mean, step_s, step)
    factor = forward.skip(1.0, step_s, step).mean
    assert_equal(Gaussian(mean, factor**2 * at_s.var + added), forward.marginal(x, step), atol=1e-14)
    if step.alpha_bar_prev > 0:
        assert_equal(forward.skip(x, step.before, step), forward.transition(x, step))


@checks(forward.skip)
@given(schedule=edged_schedules().filter(lambda s: s.T <= 1000), data=st.data())
def test_a_skip_is_a_walk_over_all_steps_between(schedule, data):
    s = data.draw(st.integers(0, schedule.T - 1))
    t = data.draw(st.integers(s + 1, schedule.T))
    assume(s == 0 or schedule[s].alpha_bar > 0)
    walked = Gaussian(1.0, 0.0)
    for u in range(s + 1, t + 1):
        walked = after(walked, schedule[u])
    assert_equal(forward.skip(1.0, schedule[s + 1].before, schedule[t]), walked, atol=1e-15)


paths = st.sampled_from([(), (1,), (2,), (3,), (2, 3), (2, 1, 2, 3)])


@checks(forward.path_log_prob)
@given(
    schedule=edged_schedules().filter(lambda s: s.T <= 10 and s.beta.min() > 1e-3), shape=paths, seed=st.integers(0, 99)
)
def test_a_path_is_a_gaussian_vector(schedule, shape, seed):
    """The Markov product against the density of (x_1..x_T) as one Gaussian vector with all its covariances."""
    path = np.random.default_rng(seed).normal(size=(schedule.T + 1, *shape))
    share = np.array(
        [[np.prod(schedule.steps.alpha[s:t]) for t in range(1, schedule.T + 1)] for s in range(schedule.T + 1)]
    )
    variance, ahead = schedule.steps.noise_var, share[1:]  # ahead[s, t]: what is left at t of what was there at s
    covariance = np.triu(np.sqrt(ahead) * variance[:, None])
    covariance = covariance + np.triu(covariance, 1).T
    starts = np.sqrt(share[0]).reshape(-1, *[1] * len(shape)) * path[0]
    off = (path[1:] - starts).reshape(schedule.T, -1)
    vector = stats.multivariate_normal(cov=covariance).logpdf(off.T).sum()
    assert_equal(forward.path_log_prob(path, schedule), vector, rtol=1e-8)
    assert_equal(forward.path_log_prob(torch.tensor(path), schedule), torch.tensor(vector), rtol=1e-8)


def covariance_of_the_path(schedule):
    """Of x_1..x_T given x_0, as they are without assuming the Markov property: what x_s lends to x_t, and the rest."""
    T = schedule.T
    covariance = np.empty((T, T))
    for s in range(1, T + 1):
        own = forward.marginal(0.0, schedule[s]).var
        for t in range(s, T + 1):
            lent = forward.skip(1.0, schedule[s], schedule[t]).mean if t > s else 1.0
            covariance[s - 1, t - 1] = covariance[t - 1, s - 1] = lent * own
    return covariance


def no_direct_link(covariance):
    """Of Gaussian variables in a row: whether those that are no neighbours are unrelated once all others are known."""
    precision = np.linalg.inv(covariance)
    far = np.abs(np.subtract.outer(np.arange(len(precision)), np.arange(len(precision)))) > 1
    return np.abs(precision[far]).max() < 1e-9 * np.abs(precision).max()


@checks(forward.skip, forward.marginal)
@given(schedule=st.lists(betas(1e-3, 0.9), min_size=3, max_size=6).map(Schedule))
def test_the_past_says_nothing_more_once_the_present_is_known(schedule):
    covariance = covariance_of_the_path(schedule)
    assert no_direct_link(covariance)
    assert (covariance > 0).all()  # and yet nothing is independent of anything


def test_a_walker_who_keeps_half_of_the_last_move_is_no_markov_chain():
    """The example of the page: x_t = x_{t-1} + (x_{t-1} - x_{t-2}) / 2 + noise."""
    moves = np.linalg.inv(np.eye(5) - np.eye(5, k=-1) * 1.5 + np.eye(5, k=-2) * 0.5)
    assert not no_direct_link(moves @ moves.T)
    free = np.linalg.inv(np.eye(5) - np.eye(5, k=-1))
    assert no_direct_link(free @ free.T)


# Noise, x_0 and velocity: a rotation. --------------------------------------------------------------------------------


@checks(forward.velocity, forward.x0_from_velocity, forward.noise_from_velocity, forward.diffuse)
@given(x=points(2), step=steps_for(forward.velocity, forward.x0_from_velocity, forward.noise_from_velocity))
def test_sample_and_velocity_are_picture_and_noise_turned(x, step):
    x_0, noise = x
    angle = math.atan2(math.sqrt(step.noise_var), math.sqrt(step.alpha_bar))
    x_t, v = forward.diffuse(x_0, noise, step), forward.velocity(x_0, noise, step)
    h = 1e-20  # a complex step: the derivative of the turn, without a difference
    assert_equal(x_t, math.cos(angle) * x_0 + math.sin(angle) * noise, atol=1e-12)
    assert_equal(v, (np.cos(angle + 1j * h) * x_0 + np.sin(angle + 1j * h) * noise).imag / h, atol=1e-12)
    assert_equal(forward.x0_from_velocity(x_t, v, step), x_0, atol=1e-12)
    assert_equal(forward.noise_from_velocity(x_t, v, step), noise, atol=1e-12)


def assert_the_jump(x_t, x_0, noise, step):
    """x_t is made of the two, but for what cancels in their sum."""
    signal, rest = math.sqrt(step.alpha_bar) * x_0, math.sqrt(step.noise_var) * noise
    size = 10 * (abs(signal) + abs(rest))
    assert_equal(signal + rest + size, x_t + size)


@checks(forward.predict_x0)
@given(x=points(2), step=steps_for(forward.predict_x0))
def test_the_predicted_picture_solves_the_jump(x, step):
    x_t, noise = x
    assert_the_jump(x_t, forward.predict_x0(x_t, noise, step), noise, step)


@checks(forward.predict_noise)
@given(x=points(2), step=steps_for(forward.predict_noise))
def test_the_predicted_noise_solves_the_jump(x, step):
    x_t, x_0 = x
    assert_the_jump(x_t, x_0, forward.predict_noise(x_t, x_0, step), step)


@pytest.mark.parametrize("name", sorted(forward.PREDICTIONS))
@given(x=points(2), step=steps_for(forward.predict_x0))
def test_every_prediction_amounts_to_the_picture(name, x, step):
    """The target of training, given back as an answer, is x_0."""
    x_0, noise = x
    row, x_t = forward.PREDICTIONS[name], forward.diffuse(x_0, noise, step)
    assert_equal(row.x_0(x_t, row.target(x_0, noise, step), step), x_0, atol=1e-14 / math.sqrt(step.alpha_bar))


@checks(forward.snr, forward.log_snr)
@given(step=steps_for(forward.snr, forward.log_snr))
def test_the_ratio_is_what_the_marginal_says(step):
    mean, var = forward.marginal(1.0, step)
    assert_equal(forward.snr(step), mean**2 / var, rtol=ten_digits(step))
    if step.alpha_bar == 0:
        assert forward.snr(step) == 0.0 and forward.log_snr(step) == -math.inf
        return
    # Of alpha_bar and 1 - alpha_bar the smaller one has all its digits.
    small = mpmath.mpf(min(step.alpha_bar, step.noise_var))
    odds = mpmath.log((1 - small) / small)
    slack = ten_digits(step)
    assert_equal(forward.log_snr(step), float(odds if step.noise_var < 0.5 else -odds), atol=slack)
    assert_equal(math.exp(forward.log_snr(step)), forward.snr(step), rtol=slack)


@checks(forward.log_snr_gain)
@given(schedule=edged_schedules(), data=st.data())
def test_the_gain_in_log_snr_at_fifty_digits(schedule, data):
    """Between any two times, near ones among them."""
    assume(schedule.T > 1)
    t = data.draw(st.one_of(st.just(2), st.just(schedule.T), st.integers(2, schedule.T)))
    s = data.draw(st.one_of(st.just(1), st.just(t - 1), st.integers(1, t - 1)))
    assume(schedule[s].alpha_bar > 0)
    kept_s, kept_t = exact_kept(schedule, s), exact_kept(schedule, t)
    exact = mpmath.log(kept_s / (1 - kept_s)) - mpmath.log(kept_t / (1 - kept_t)) if kept_t else mpmath.inf
    slack = ten_digits(schedule[s], schedule[t])  # of each of two logarithms that are subtracted
    assert_equal(forward.log_snr_gain(schedule[t], schedule[s]), float(exact), atol=slack)


@checks(forward.log_alpha_bar_limit)
@given(T=st.integers(1, 2000), beta_T=st.floats(1e-3, 0.99))
def test_the_sum_of_logarithms_as_an_integral(T, beta_T):
    limit = forward.log_alpha_bar_limit(T, beta_T)
    integral, _ = integrate.quad(lambda u: math.log1p(-beta_T * u), 0, 1, epsabs=1e-13)
    assert_equal(limit, T * integral, rtol=1e-9)
    # The logarithm falls, so the sum over t = 1..T lies below the integral, by less than its last term.
    last = math.log1p(-beta_T)
    assert limit + last - 1e-9 <= math.fsum(np.log1p(-forward.proportional(T, beta_T).beta)) <= limit + 1e-9


@checks(forward.brownian, forward.ornstein_uhlenbeck)
@given(x=points(), time=positive(), more=positive())
def test_two_diffusions_go_on_as_they_began(x, time, more):
    for diffusion in (forward.brownian, forward.ornstein_uhlenbeck):
        middle = diffusion(x, time)
        factor, added = diffusion(1.0, more)
        assert_equal(Gaussian(factor * middle.mean, factor**2 * middle.var + added), diffusion(x, time + more))


@checks(forward.brownian)
@given(x=numbers(), time=positive(), n=st.integers(1, 400))
def test_brownian_motion_has_the_moments_of_a_coin_flip_walk(x, time, n):
    heads = stats.binom(n, 0.5)
    stride = math.sqrt(time / n)
    walk = Gaussian(x + stride * (2 * heads.mean() - n), (2 * stride) ** 2 * heads.var())
    assert_equal(forward.brownian(x, time), walk, atol=1e-11)


@checks(forward.ornstein_uhlenbeck, forward.sde_coefficients)
@given(x=points(), step=steps_for(forward.sde_coefficients))
def test_the_forward_process_is_an_ornstein_uhlenbeck_process(x, step):
    there = forward.ornstein_uhlenbeck(x, forward.sde_coefficients(step))
    assert_equal(there, forward.marginal(x, step), atol=1e-15)


@checks(forward.sde_coefficients)
@given(schedule=edged_schedules(), data=st.data())
def test_the_clock_of_the_continuous_process_at_fifty_digits(schedule, data):
    t = data.draw(st.sampled_from([1, schedule.T, (1 + schedule.T) // 2]))
    kept = exact_kept(schedule, t)
    clock = float(-mpmath.log(kept)) if kept else math.inf
    assert_equal(forward.sde_coefficients(schedule[t]), clock, rtol=ten_digits(schedule[t]))


@checks(forward.ornstein_uhlenbeck, forward.variance_after, forward.transition)
@pytest.mark.parametrize("time", [0.1, 1.0, 4.0])
def test_many_small_steps_become_an_ornstein_uhlenbeck_process(time):
    """The derivation of the page: n steps of beta = B / n. Twice the steps halve what is missing to the limit."""
    missing = []
    for n in (200, 400):
        schedule = Schedule(np.full(n, time / n))
        mean, var = 0.7, 0.0
        for step in schedule:
            mean, var = forward.transition(mean, step).mean, forward.variance_after(var, step)
        limit = forward.ornstein_uhlenbeck(0.7, time)
        missing.append((limit.mean - mean, limit.var - var))
    assert missing[0] == pytest.approx(2 * np.array(missing[1]), rel=0.03)
    assert abs(np.array(missing[1])).max() < 1e-2


@checks(forward.ornstein_uhlenbeck)
@given(x=numbers(), time=positive(2.0))
def test_the_ornstein_uhlenbeck_moments_solve_their_equations(x, time):
    """d mean / dB = -mean / 2 and d var / dB = 1 - var, integrated by scipy."""
    solution = integrate.solve_ivp(lambda _, y: [-y[0] / 2, 1 - y[1]], (0, time), [x, 0.0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(forward.ornstein_uhlenbeck(x, time), solution.y[:, -1], rtol=1e-7, atol=1e-9)


# What the pages say of these numbers. ---------------------------------------------------------------------------------


def test_what_chapter_1_says_of_proportional_betas():
    ratio = forward.snr(forward.proportional().steps) / forward.snr(forward.linear().steps)
    assert ratio.argmax() + 1 == 1 and ratio[0] == pytest.approx(5, abs=1e-3)
    assert np.all(ratio[168:] < 1.05) and ratio[167] > 1.05  # from t = 169 on
    assert ratio.argmin() + 1 == 413 and ratio.min() == pytest.approx(1.03, abs=0.005)
    assert ratio[-1] == pytest.approx(1.04, abs=0.005)


def test_what_chapter_1_says_of_the_ends_of_the_schedules():
    linear, cosine, bare = forward.linear(), forward.cosine(), forward.cosine(s=0.0)
    assert math.sqrt(bare[1].beta) == pytest.approx(0.0016, abs=5e-5)
    assert math.sqrt(cosine[1].beta) == pytest.approx(0.0064, abs=5e-5)
    assert (cosine.beta >= 0.999).sum() == 1
    assert [forward.snr(linear.steps)[t - 1] > 1 for t in (259, 260)] == [True, False]
    assert -math.log(linear[1000].alpha_bar) == pytest.approx(10.12, abs=0.005)
    assert linear.beta.sum() == pytest.approx(10.05, abs=0.005)
    assert math.sqrt(linear[1000].alpha_bar) * math.sqrt(3072) == pytest.approx(0.35, abs=0.005)
    assert math.sqrt(forward.scaled_linear()[1000].alpha_bar) * 64 == pytest.approx(4.4, abs=0.05)
    assert math.sqrt(1 / forward.snr(linear[1000])) == pytest.approx(157, abs=0.5)
    lost = math.sqrt(1e-4) * (math.sqrt(1 + 1.7e-4) - 1)  # of the noise of the first step, in grey levels of 1/127.5
    assert lost < 1e-6 and lost * 127.5 == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_how_to_tell_one_step_from_all_of_them(name):
    """The rule of the page on notation: in the middle of a long schedule, and not at its end."""
    schedule = forward.schedule(name)
    assert schedule[500].alpha > 0.98 and math.sqrt(schedule[500].alpha) > 0.99
    assert schedule[500].alpha_bar < 0.5 and math.sqrt(schedule[500].alpha_bar) < 0.71
    assert (schedule[1000].alpha > 0.97) == (name != "cosine")
    assert forward.cosine()[1000].alpha == pytest.approx(0.001)


# Pixels and letters. -------------------------------------------------------------------------------------------------


@checks(forward.to_unit_range, forward.from_unit_range)
def test_every_pixel_comes_back():
    pixels = np.arange(256, dtype=np.uint8)
    x = forward.to_unit_range(pixels)
    assert_equal(x, np.linspace(-1, 1, 256), atol=1e-15)
    torch.testing.assert_close(forward.to_unit_range(torch.tensor(pixels)), torch.linspace(-1, 1, 256))
    assert_equal(forward.from_unit_range(x), pixels)
    assert_equal(forward.from_unit_range(torch.tensor(x)), pixels)
    assert_equal(forward.from_unit_range(torch.tensor(x, dtype=torch.float32, requires_grad=True)), pixels)
    assert_equal(forward.from_unit_range(x + 0.49 / 127.5), pixels)  # the nearest pixel
    assert_equal(forward.from_unit_range(x - 0.49 / 127.5), pixels)
    assert_equal(forward.from_unit_range(np.array([-3.0, 3.0])), np.array([0, 255], dtype=np.uint8))
    ends = torch.tensor([-1.0, 1.0], dtype=torch.bfloat16)
    assert_equal(forward.from_unit_range(ends), np.array([0, 255], dtype=np.uint8))


LETTERS = (
    (forward.su_coefficients, lambda su: (su.alpha_bar, su.beta_bar)),
    (forward.vdm_coefficients, lambda vdm: (vdm.alpha, vdm.sigma)),
    (forward.edm_coefficients, lambda edm: (edm.scale, edm.scale * edm.sigma)),
    (forward.ddim_coefficients, lambda alpha: (math.sqrt(alpha), math.sqrt(1 - alpha))),
    (forward.sde_coefficients, lambda B: (math.exp(-B / 2), math.sqrt(-math.expm1(-B)))),
)
"""The two numbers of x_t = a x_0 + b noise, as each paper makes them of its letters."""


@checks(forward.su_coefficients, forward.vdm_coefficients, forward.edm_coefficients)
@checks(forward.ddim_coefficients, forward.sde_coefficients)
@pytest.mark.parametrize(("letters", "jump"), LETTERS, ids=[letters.__name__ for letters, _ in LETTERS])
@given(data=st.data(), x=points(2))
def test_every_letter_says_the_same_jump(letters, jump, data, x):
    step, (x_0, noise) = data.draw(steps_for(letters)), x
    a, b = jump(letters(step))
    assert_equal(a * x_0 + b * noise, forward.diffuse(x_0, noise, step), atol=1e-12)


@checks(forward.su_coefficients)
@given(x=points(2), step=steps_for(forward.su_coefficients))
def test_the_letters_of_su_for_one_step(x, step):
    x_prev, noise = x
    su = forward.su_coefficients(step)
    assert_equal(su.alpha * x_prev + su.beta * noise, forward.diffuse_once(x_prev, noise, step), atol=1e-14)


THERE_AND_BACK = (
    (forward.su_coefficients, lambda su, _: forward.alpha_bar_from_su(su.alpha_bar)),
    (forward.ddim_coefficients, lambda alpha, _: forward.alpha_bar_from_ddim(alpha)),
    (forward.vdm_coefficients, lambda vdm, _: forward.alpha_bar_from_vdm(vdm.alpha, vdm.sigma)),
    (forward.vdm_coefficients, lambda vdm, scale: forward.alpha_bar_from_vdm(scale * vdm.alpha, scale * vdm.sigma)),
    (forward.edm_coefficients, lambda edm, _: forward.alpha_bar_from_edm(edm.sigma)),
    (forward.sde_coefficients, lambda B, _: forward.alpha_bar_from_sde(B)),
)


@checks(forward.alpha_bar_from_su, forward.alpha_bar_from_ddim, forward.alpha_bar_from_vdm, forward.alpha_bar_from_edm)
@checks(forward.alpha_bar_from_sde, forward.sde_coefficients, forward.su_coefficients, forward.edm_coefficients)
@pytest.mark.parametrize(("there", "back"), THERE_AND_BACK, ids=[there.__name__ for there, _ in THERE_AND_BACK])
@given(data=st.data(), scale=positive())
def test_letters_there_and_back(there, back, data, scale):
    step = data.draw(steps_for(there))
    assert_equal(back(there(step), scale), step.alpha_bar)


# The door. -----------------------------------------------------------------------------------------------------------

EARLY, STEP = forward.linear()[5], forward.linear()[500]
BLIND, BLIND_BATCH = Schedule([0.5, 1.0])[2], Schedule([0.5, 1.0]).at([2], np.zeros(1))
AT_FOUR = forward.linear().at([1, 2, 3, 4], np.zeros(4))
NAN = math.nan


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, ["t", "1..1000", "0"], lambda: forward.linear()[0]),
        (ValueError, ["t", "1..1000", "1001"], lambda: forward.linear()[1001]),
        (ValueError, ["t", "1..1000", "-1"], lambda: forward.linear()[-1]),
        (TypeError, ["t", "whole", "1.5"], lambda: forward.linear()[1.5]),
        (ValueError, ["t", "1..1000", "1001"], lambda: forward.linear().at([1, 1001], np.zeros((2, 3)))),
        (ValueError, ["t", "1..1000", "0"], lambda: forward.linear().at(torch.tensor([0]), torch.zeros(1, 3))),
        (TypeError, ["t", "whole", "float"], lambda: forward.linear().at([0.5], np.zeros((1, 3)))),
        (ValueError, ["t", "(2, 3)", "(3,)"], lambda: forward.linear().at([1, 2, 3], np.zeros((2, 3)))),
        (TypeError, ["like", "floating", "int64"], lambda: forward.linear().at([1], np.zeros((1, 3), np.int64))),
        (ValueError, ["beta", "(0, 1]", "0.0", "t = 2"], lambda: Schedule([0.1, 0.0])),
        (ValueError, ["beta", "(0, 1]", "1.5", "t = 1"], lambda: Schedule([1.5])),
        (ValueError, ["beta", "(0, 1]", "nan"], lambda: Schedule([NAN])),
        (ValueError, ["beta", "at least one"], lambda: Schedule([])),
        (ValueError, ["beta", "at least one", "()"], lambda: Schedule(0.5)),
        (TypeError, ["beta", "list of numbers", "'abc'"], lambda: Schedule("abc")),
        (TypeError, ["beta", "list of numbers", "'0.5'"], lambda: Schedule(["0.5"])),
        (TypeError, ["beta", "list of numbers", "True"], lambda: Schedule([True])),
        (TypeError, ["beta", "list of numbers", "1j"], lambda: Schedule([1j])),
        (TypeError, ["beta", "list of numbers"], lambda: Schedule([[0.1], [0.1, 0.2]])),
        (TypeError, ["alpha", "list of numbers"], lambda: Schedule([0.5], alpha=["a"])),
        (TypeError, ["alpha_bar", "list of numbers", "'a'"], lambda: Schedule.from_alpha_bar("a")),
        (TypeError, ["like", "array or a tensor", "list"], lambda: forward.linear().at([1], [0.0])),
        (ValueError, ["alpha", "1 - beta"], lambda: Schedule([0.5], alpha=[0.4])),
        (ValueError, ["alpha_bar", "fall"], lambda: Schedule.from_alpha_bar([0.5, 0.6])),
        (ValueError, ["T", "at least 1", "0"], lambda: forward.linear(0)),
        (TypeError, ["T", "whole", "2.5"], lambda: forward.cosine(2.5)),
        (ValueError, ["beta_1", "(0, 1]", "-1"], lambda: forward.linear(10, beta_1=-1)),
        (ValueError, ["beta_T", "(0, 1]", "2"], lambda: forward.proportional(10, 2)),
        (ValueError, ["beta_max", "(0, 1]", "0"], lambda: forward.cosine(10, beta_max=0)),
        (ValueError, ["s", "at least 0", "-1"], lambda: forward.cosine(10, s=-1)),
        (ValueError, ["schedule", "linear", "'sigmoid'"], lambda: forward.schedule("sigmoid")),
        (ValueError, ["schedule", "at least 2"], lambda: forward.zero_terminal_snr(forward.linear(1))),
        (ValueError, ["taus", "rise", "[5, 5]"], lambda: forward.respace(forward.linear(), [5, 5])),
        (ValueError, ["taus", "1..1000", "2000"], lambda: forward.respace(forward.linear(), [5, 2000])),
        (TypeError, ["step", "Step", "500"], lambda: forward.marginal(1.0, 500)),
        (TypeError, ["taus", "whole numbers", "1.5"], lambda: forward.respace(forward.linear(), [1.5])),
        (ValueError, ["taus", "(n,)", "(1, 2)"], lambda: forward.respace(forward.linear(), [[1, 2]])),
        (ValueError, ["schedule", "x_0 at all taus"], lambda: forward.respace(Schedule([0.5, 1.0, 0.2]), [2, 3])),
        (ValueError, ["schedule", "x_0 until its last"], lambda: forward.zero_terminal_snr(Schedule([0.5, 1.0, 0.2]))),
        (ValueError, ["beta", "[0, 1]", "2.0"], lambda: forward.alpha_bar([2.0, 0.1])),
        (ValueError, ["x_0 (3,)", "noise (2,)"], lambda: forward.diffuse(np.ones(3), np.ones(2), STEP)),
        (ValueError, ["x_0 (4, 1)", "noise (4,)"], lambda: forward.diffuse(np.ones((4, 1)), np.ones(4), STEP)),
        (ValueError, ["x_0 (4, 1)", "noise (4,)"], lambda: forward.diffuse(torch.ones(4, 1), torch.ones(4), STEP)),
        (ValueError, ["x_0 (4, 4)", "step (4,)"], lambda: forward.marginal(np.ones((4, 4)), AT_FOUR)),
        (TypeError, ["x_0", "list", "numpy.array"], lambda: forward.diffuse([1.0, 2.0], 1.0, STEP)),
        (TypeError, ["x_0", "ndarray", "noise", "Tensor"], lambda: forward.diffuse(np.ones(3), torch.ones(3), STEP)),
        (ValueError, ["var", "at least 0", "-1"], lambda: forward.reparameterize(0.0, -1.0, 1.0)),
        (ValueError, ["var", "at least 0", "nan"], lambda: forward.reparameterize(0.0, NAN, 1.0)),
        (ValueError, ["step.alpha_bar", "above 0"], lambda: forward.predict_x0(1.0, 1.0, BLIND)),
        (ValueError, ["step.alpha_bar", "above 0"], lambda: forward.predict_x0(np.ones(1), np.ones(1), BLIND_BATCH)),
        (ValueError, ["step.alpha_bar", "above 0"], lambda: forward.edm_coefficients(BLIND_BATCH)),
        (ValueError, ["step.beta", "above 0", "t = 0"], lambda: forward.marginal(1.0, EARLY.whole.before)),
        (ValueError, ["step.beta", "above 0", "t = 0"], lambda: forward.predict_x0(1.0, 1.0, EARLY.whole.before)),
        (ValueError, ["step_s", "after step"], lambda: forward.log_snr_gain(EARLY, STEP)),
        (ValueError, ["step_s.noise_var", "above 0"], lambda: forward.log_snr_gain(STEP, EARLY.whole.before)),
        (ValueError, ["su_alpha_bar", "[0, 1]", "7.0"], lambda: forward.alpha_bar_from_su(7.0)),
        (ValueError, ["vdm_alpha", "vdm_sigma", "above 0"], lambda: forward.alpha_bar_from_vdm(0.0, 0.0)),
        (ValueError, ["pixels", "[0, 255]", "300"], lambda: forward.to_unit_range(300)),
        (ValueError, ["pixels", "[0, 255]", "-1"], lambda: forward.to_unit_range(np.array([-1, 5]))),
        (ValueError, ["step_s", "after step"], lambda: forward.skip(1.0, STEP, EARLY)),
        (ValueError, ["step_s.alpha_bar", "above 0"], lambda: forward.skip(1.0, BLIND, BLIND)),
        (
            ValueError,
            ["path", "T = 2", "(2, 1)"],
            lambda: forward.path_log_prob(np.ones((2, 1)), Schedule([0.1, 0.2])),
        ),
        (ValueError, ["beta_T", "(0, 1)", "1.0"], lambda: forward.log_alpha_bar_limit(10, 1.0)),
        (ValueError, ["time", "at least 0"], lambda: forward.brownian(0.0, -1.0)),
        (ValueError, ["time", "at least 0"], lambda: forward.brownian(0.0, np.float32(-1.0))),
        (ValueError, ["integrated_beta", "at least 0"], lambda: forward.ornstein_uhlenbeck(0.0, torch.tensor(-1.0))),
        (ValueError, ["x", "nan"], lambda: forward.from_unit_range(np.array([NAN]))),
    ],
)
def test_bad_input_is_refused_by_name(error, words, call):
    with refused(words, error):
        call()


@pytest.mark.filterwarnings("error")
def test_a_schedule_of_a_tensor_is_a_schedule():
    beta = torch.linspace(0.1, 0.2, 4, dtype=torch.float64, requires_grad=True)
    assert Schedule(beta) == Schedule(beta.detach().numpy()) == Schedule(beta.tolist())
    assert Schedule.from_alpha_bar(torch.tensor([0.5, 0.25])).beta.tolist() == [0.5, 0.5]
    assert forward.respace(Schedule(beta), torch.tensor([2, 4])) == forward.respace(Schedule(beta), [2, 4])
