"""Chapter 1: the forward process, against quantiles, characteristic functions, rotations and fifty digits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from tinyddpm import forward
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Gaussian, Schedule

from .strategies import betas, floats, numbers, points, positive, refused, schedules, steps

pytestmark = pytest.mark.usefixtures("fifty_digits")

# The schedules, at fifty digits. -------------------------------------------------------------------------------------


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


def exact_steps(betas):
    """The six columns of a schedule: beta, alpha, alpha_bar, alpha_bar_prev, noise_var, noise_var_prev."""
    kept = exact_products(betas)
    before = [mpmath.mpf(1), *kept[:-1]]
    return betas, [1 - b for b in betas], kept, before, [1 - k for k in kept], [1 - k for k in before]


@checks(forward.linear, forward.scaled_linear, forward.proportional, forward.cosine, forward.alpha_bar)
@pytest.mark.parametrize("T", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_schedules_at_fifty_digits(name, T):
    schedule, exact = forward.schedule(name, T), exact_steps(exact_betas(name, T))
    assert_equal(tuple(schedule.steps), tuple(floats(exact)), rtol=1e-13)
    assert_equal(forward.alpha_bar(schedule.beta), floats(exact)[2], rtol=1e-13)
    t, like = np.arange(1, T + 1), np.zeros(T, np.float32)
    for column, truth in zip(schedule.at(t, like), floats(exact), strict=True):
        assert column.dtype == np.float32
        np.testing.assert_allclose(column, truth, rtol=2e-7)


@checks(forward.zero_terminal_snr)
@pytest.mark.parametrize("T", [2, 7, 1000])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_zero_terminal_snr_at_fifty_digits(name, T):
    root = [mpmath.sqrt(kept) for kept in exact_products(exact_betas(name, T))]
    scaled = [root[0] * (r - root[-1]) / (root[0] - root[-1]) for r in root]
    schedule = forward.zero_terminal_snr(forward.schedule(name, T))
    betas = [1 - (now / before) ** 2 for before, now in zip([mpmath.mpf(1), *scaled], scaled, strict=False)]
    assert_equal(schedule.beta, floats(betas), rtol=1e-13)
    assert_equal(schedule.steps.alpha_bar, floats([r**2 for r in scaled]), rtol=1e-13)
    assert schedule[T].alpha_bar == 0.0 and schedule[T].noise_var == 1.0


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
    respaced = forward.respace(forward.schedule(name, T), taus)
    assert_equal(tuple(respaced.steps), tuple(floats(exact_steps(betas))), rtol=1e-13)


@checks(forward.linear, forward.scaled_linear, forward.snr)
def test_what_is_left_at_the_end_is_as_published():
    """Lin et al. 2023, Table 1."""
    for schedule, ratio, root in (
        (forward.linear(), 4.035993e-05, 0.006353),
        (forward.scaled_linear(), 0.004682, 0.068265),
    ):
        assert forward.snr(schedule[1000]) == pytest.approx(ratio, rel=1e-4)
        assert math.sqrt(schedule[1000].alpha_bar) == pytest.approx(root, rel=1e-4)


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
@given(x=points(), step=steps(), p=shares)
def test_one_step_is_the_gaussian_of_the_paper(x, step, p):
    mean, var = math.sqrt(1 - step.beta) * x, step.beta
    assert_equal(forward.transition(x, step), Gaussian(mean, var))
    assert_equal(forward.diffuse_once(x, stats.norm.ppf(p), step), quantile(p, mean, var), atol=1e-12)


@checks(forward.marginal, forward.diffuse)
@given(x=points(), schedule=schedules(), data=st.data(), p=shares)
def test_the_jump_uses_the_product_of_the_alphas(x, schedule, data, p):
    t = data.draw(st.sampled_from([1, schedule.T, (1 + schedule.T) // 2]))
    kept = exact_products([mpmath.mpf(beta) for beta in schedule.beta[:t]])[-1]
    mean, var = float(mpmath.sqrt(kept)) * x, float(1 - kept)
    assert_equal(forward.marginal(x, schedule[t]), Gaussian(mean, var))
    assert_equal(forward.diffuse(x, stats.norm.ppf(p), schedule[t]), quantile(p, mean, var), atol=1e-12)


# Why many steps are one. ---------------------------------------------------------------------------------------------


def after(gaussian, step):
    """One more step from a Gaussian: the mean through `transition`, the variance by the law of total variance."""
    shrunk, added = forward.transition(gaussian.mean, step)
    factor = forward.transition(1.0, step).mean
    return Gaussian(shrunk, factor**2 * gaussian.var + added)


@checks(forward.transition, forward.marginal)
@given(x=points(), schedule=schedules().filter(lambda s: s.T <= 1000))
def test_the_marginal_by_induction(x, schedule):
    now = Gaussian(x, 0.0)
    for t, step in enumerate(schedule, start=1):
        now = after(now, step)
        if t in (1, 2, schedule.T):
            assert_equal(now, forward.marginal(x, step))


@checks(forward.variance_after)
@given(var=positive(), step=steps())
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
@given(x=points(), first=betas(), second=betas(), u=numbers())
def test_two_steps_are_one(x, first, second, u):
    step_prev, step = Schedule([first, second])
    merged = forward.two_steps(x, step_prev, step)
    assert_equal(merged, after(after(Gaussian(x, 0.0), step_prev), step))
    shrink = math.sqrt(1 - second)
    older = forward.characteristic_function(shrink * u, math.sqrt(1 - first) * x, first)
    newer = forward.characteristic_function(u, 0.0, second)
    assert_equal(forward.characteristic_function(u, *merged), older * newer, atol=1e-12)


@checks(forward.skip)
@given(x=points(), schedule=schedules(), data=st.data())
def test_a_skip_continues_the_marginal(x, schedule, data):
    s = data.draw(st.integers(1, schedule.T))
    t = data.draw(st.integers(s, schedule.T))
    at_s, at_t = forward.marginal(x, schedule[s]), forward.marginal(x, schedule[t])
    mean, added = forward.skip(at_s.mean, schedule[s], schedule[t])
    factor = forward.skip(1.0, schedule[s], schedule[t]).mean
    assert_equal(Gaussian(mean, factor**2 * at_s.var + added), at_t, rtol=1e-9)
    assert_equal(forward.skip(x, schedule[t].before, schedule[t]), forward.transition(x, schedule[t]), rtol=1e-9)


@checks(forward.path_log_prob)
@given(schedule=st.lists(betas(1e-3, 0.9), min_size=1, max_size=5).map(Schedule), seed=st.integers(0, 99))
def test_a_path_is_a_gaussian_vector(schedule, seed):
    """The Markov product against the density of (x_1..x_T) as one Gaussian vector with all its covariances."""
    path = np.random.default_rng(seed).normal(size=(schedule.T + 1, 2))
    kept = schedule.steps.alpha_bar
    low, high = np.minimum.outer(kept, kept), np.maximum.outer(kept, kept)
    covariance = np.sqrt(low / high) * (1 - high)
    vector = [stats.multivariate_normal.logpdf(path[1:, i], np.sqrt(kept) * path[0, i], covariance) for i in range(2)]
    assert_equal(forward.path_log_prob(path, schedule), sum(vector), rtol=1e-8)
    assert_equal(forward.path_log_prob(torch.tensor(path), schedule), torch.tensor(sum(vector)), rtol=1e-8)


# Noise, x_0 and velocity: a rotation. --------------------------------------------------------------------------------


@checks(forward.velocity, forward.x0_from_velocity, forward.noise_from_velocity, forward.diffuse)
@given(x=points(2), step=steps())
def test_sample_and_velocity_are_picture_and_noise_turned(x, step):
    x_0, noise = x
    angle = math.atan2(math.sqrt(step.noise_var), math.sqrt(step.alpha_bar))
    x_t, v = forward.diffuse(x_0, noise, step), forward.velocity(x_0, noise, step)
    h = 1e-20  # a complex step: the derivative of the turn, without a difference
    assert_equal(x_t, math.cos(angle) * x_0 + math.sin(angle) * noise, atol=1e-14)
    assert_equal(v, (np.cos(angle + 1j * h) * x_0 + np.sin(angle + 1j * h) * noise).imag / h, atol=1e-14)
    assert_equal(forward.x0_from_velocity(x_t, v, step), x_0, atol=1e-13)
    assert_equal(forward.noise_from_velocity(x_t, v, step), noise, atol=1e-13)


@checks(forward.predict_x0, forward.predict_noise)
@given(x=points(2), step=steps())
def test_picture_and_noise_solve_the_jump(x, step):
    x_t, other = x
    kept, added = math.sqrt(step.alpha_bar), math.sqrt(step.noise_var)
    for found, pair in (
        (forward.predict_x0(x_t, other, step), lambda x_0: (x_0, other)),
        (forward.predict_noise(x_t, other, step), lambda noise: (other, noise)),
    ):
        x_0, noise = pair(found)
        size = kept * abs(x_0) + added * abs(noise)  # what cancels in the sum
        assert_equal(kept * x_0 + added * noise + 10 * size, x_t + 10 * size)


@checks(forward.snr, forward.log_snr)
@given(step=steps())
def test_the_ratio_is_what_the_marginal_says(step):
    mean, var = forward.marginal(1.0, step)
    assert_equal(forward.snr(step), mean**2 / var)
    # Of alpha_bar and 1 - alpha_bar the smaller one has all its digits.
    small = mpmath.mpf(min(step.alpha_bar, step.noise_var))
    odds = mpmath.log((1 - small) / small)
    assert_equal(forward.log_snr(step), float(odds if step.noise_var < 0.5 else -odds), atol=1e-12)
    assert_equal(math.exp(forward.log_snr(step)), forward.snr(step))


def test_nothing_is_left_where_alpha_bar_is_zero():
    last = forward.zero_terminal_snr(forward.linear())[1000]
    assert forward.snr(last) == 0.0 and forward.log_snr(last) == -math.inf


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
@given(x=points(), step=steps())
def test_the_forward_process_is_an_ornstein_uhlenbeck_process(x, step):
    there = forward.ornstein_uhlenbeck(x, forward.sde_coefficients(step))
    assert_equal(there, forward.marginal(x, step), atol=1e-15)


@checks(forward.ornstein_uhlenbeck)
@given(x=numbers(), time=positive(2.0))
def test_the_ornstein_uhlenbeck_moments_solve_their_equations(x, time):
    """d mean / dB = -mean / 2 and d var / dB = 1 - var, integrated by scipy."""
    solution = integrate.solve_ivp(lambda _, y: [-y[0] / 2, 1 - y[1]], (0, time), [x, 0.0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(forward.ornstein_uhlenbeck(x, time), solution.y[:, -1], rtol=1e-7, atol=1e-9)


# Pixels and letters. -------------------------------------------------------------------------------------------------


@checks(forward.to_unit_range, forward.from_unit_range)
def test_every_pixel_comes_back():
    pixels = np.arange(256, dtype=np.uint8)
    x = forward.to_unit_range(pixels)
    assert_equal(x, np.linspace(-1, 1, 256), atol=1e-15)
    assert_equal(forward.from_unit_range(x), pixels)
    assert_equal(forward.from_unit_range(torch.tensor(x)), pixels)
    assert_equal(forward.from_unit_range(x + 0.49 / 127.5), pixels)  # the nearest pixel
    assert_equal(forward.from_unit_range(np.array([-3.0, 3.0])), np.array([0, 255], dtype=np.uint8))


@checks(forward.su_coefficients, forward.vdm_coefficients, forward.edm_coefficients, forward.ddim_coefficients)
@given(x=points(3), step=steps())
def test_every_letter_says_the_same_jump(x, step):
    x_prev, x_0, noise = x
    su, vdm, edm = forward.su_coefficients(step), forward.vdm_coefficients(step), forward.edm_coefficients(step)
    x_t = forward.diffuse(x_0, noise, step)
    assert_equal(su.alpha * x_prev + su.beta * noise, forward.diffuse_once(x_prev, noise, step), atol=1e-14)
    assert_equal(su.alpha_bar * x_0 + su.beta_bar * noise, x_t, atol=1e-14)
    assert_equal(vdm.alpha * x_0 + vdm.sigma * noise, x_t, atol=1e-14)
    assert_equal(edm.scale * (x_0 + edm.sigma * noise), x_t, atol=1e-12)
    ddim = forward.ddim_coefficients(step)
    assert_equal(math.sqrt(ddim) * x_0 + math.sqrt(step.noise_var) * noise, x_t, atol=1e-12)


@checks(forward.alpha_bar_from_su, forward.alpha_bar_from_ddim, forward.alpha_bar_from_vdm, forward.alpha_bar_from_edm)
@checks(forward.alpha_bar_from_sde, forward.sde_coefficients, forward.su_coefficients, forward.edm_coefficients)
@given(step=steps(), scale=positive())
def test_letters_there_and_back(step, scale):
    alpha, sigma = forward.vdm_coefficients(step)
    for back in (
        forward.alpha_bar_from_su(forward.su_coefficients(step).alpha_bar),
        forward.alpha_bar_from_ddim(forward.ddim_coefficients(step)),
        forward.alpha_bar_from_vdm(alpha, sigma),
        forward.alpha_bar_from_vdm(scale * alpha, scale * sigma),
        forward.alpha_bar_from_edm(forward.edm_coefficients(step).sigma),
        forward.alpha_bar_from_sde(forward.sde_coefficients(step)),
    ):
        assert_equal(back, step.alpha_bar)


# The door. -----------------------------------------------------------------------------------------------------------

EARLY, STEP = forward.linear()[5], forward.linear()[500]
BLIND = Schedule([0.5, 1.0])[2]
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
        (ValueError, ["x_0 (3,)", "noise (2,)"], lambda: forward.diffuse(np.ones(3), np.ones(2), STEP)),
        (TypeError, ["x_0", "ndarray", "noise", "Tensor"], lambda: forward.diffuse(np.ones(3), torch.ones(3), STEP)),
        (ValueError, ["var", "at least 0", "-1"], lambda: forward.reparameterize(0.0, -1.0, 1.0)),
        (ValueError, ["var", "at least 0", "nan"], lambda: forward.reparameterize(0.0, NAN, 1.0)),
        (ValueError, ["alpha_bar", "above 0"], lambda: forward.predict_x0(1.0, 1.0, Schedule([1.0])[1])),
        (ValueError, ["step_s", "after step"], lambda: forward.skip(1.0, STEP, EARLY)),
        (ValueError, ["step_s.alpha_bar", "above 0"], lambda: forward.skip(1.0, BLIND, BLIND)),
        (
            ValueError,
            ["path", "T = 2", "(2, 1)"],
            lambda: forward.path_log_prob(np.ones((2, 1)), Schedule([0.1, 0.2])),
        ),
        (ValueError, ["beta_T", "(0, 1)", "1.0"], lambda: forward.log_alpha_bar_limit(10, 1.0)),
        (ValueError, ["time", "at least 0"], lambda: forward.brownian(0.0, -1.0)),
        (ValueError, ["x", "nan"], lambda: forward.from_unit_range(np.array([NAN]))),
    ],
)
def test_bad_input_is_refused_by_name(error, words, call):
    with refused(words, error):
        call()
