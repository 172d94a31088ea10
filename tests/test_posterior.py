"""Chapter 2: the posterior, against Bayes' rule on densities, covariance matrices, and the mixture's exact answers."""

import math
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from tinyddpm import forward, mixture, posterior
from tinyddpm.arrays import convert
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule, Step

from .strategies import betas, floats, jumps, numbers, points, positive, refused, steps_for, ten_digits

# Bayes' rule by counting. --------------------------------------------------------------------------------------------


@st.composite
def urns(draw):
    """A prior and a likelihood as exact fractions: how many balls of which colour in which urn."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    counts = st.integers(1, 9)
    prior = draw(st.lists(counts, min_size=n, max_size=n))
    rows = draw(st.lists(st.lists(counts, min_size=m, max_size=m), min_size=n, max_size=n))
    return [Fraction(p, sum(prior)) for p in prior], [[Fraction(c, sum(row)) for c in row] for row in rows]


@checks(posterior.joint, posterior.marginalize, posterior.total_probability, posterior.bayes)
@given(urn=urns())
def test_bayes_rule_by_counting(urn):
    prior, likelihood = urn
    given_floats = floats(prior), floats(likelihood)
    both = [[p * q for q in row] for p, row in zip(prior, likelihood, strict=True)]
    seen = [sum(row[j] for row in both) for j in range(len(both[0]))]
    assert_equal(posterior.joint(*given_floats), floats(both))
    assert_equal(posterior.marginalize(floats(both), axis=0), floats(seen))
    assert_equal(posterior.marginalize(floats(both), axis=1), floats(prior))
    assert_equal(posterior.total_probability(*given_floats), floats(seen))
    assert_equal(
        posterior.bayes(*given_floats), floats([[p / s for p, s in zip(row, seen, strict=True)] for row in both])
    )


# One step back. ------------------------------------------------------------------------------------------------------


def exact_log_prob(x, mean, var):
    """Log-density of a Gaussian at fifty digits."""
    return -((x - mean) ** 2) / var / 2 - mpmath.log(2 * mpmath.pi * var) / 2


def log_posterior(beta, kept_prev, x_prev, x_t, x_0):
    """log q(x_{t-1} | x_t, x_0) by Bayes' rule on densities, from beta_t and alpha_bar_{t-1} alone."""
    kept = kept_prev * (1 - beta)
    return (
        exact_log_prob(x_t, mpmath.sqrt(1 - beta) * x_prev, beta)
        + exact_log_prob(x_prev, mpmath.sqrt(kept_prev) * x_0, 1 - kept_prev)
        - exact_log_prob(x_t, mpmath.sqrt(kept) * x_0, 1 - kept)
    )


def exact_pair(first, second):
    """beta_2 and alpha_bar_1 of a schedule of two steps, at fifty digits, and its second step."""
    return mpmath.mpf(second), 1 - mpmath.mpf(first), Schedule([first, second])[2]


with_ends = st.one_of(betas(), st.just(1.0))
"""A beta of 1 too, after which nothing of what was before is left."""


@checks(posterior.posterior, posterior.mean, posterior.variance)
@given(first=with_ends, second=with_ends, x=st.tuples(numbers(), numbers(), numbers()))
def test_the_posterior_is_bayes_rule(first, second, x):
    x_prev, x_t, x_0 = x
    with mpmath.workdps(50):
        beta, kept_prev, step = exact_pair(first, second)
        by_bayes = log_posterior(beta, kept_prev, *map(mpmath.mpf, x))
        mean, var = posterior.posterior(x_t, x_0, step)
        spread = 1 + float((x_prev - mean) ** 2 / var)  # the square is as wrong as the mean is, times its own size
        ours = stats.norm.logpdf(x_prev, mean, math.sqrt(var))
        slack = ten_digits(step) * spread * max(1, abs(mean) / math.sqrt(var))
        assert_equal(ours, np.float64(by_bayes), atol=slack)


@checks(posterior.precision, posterior.variance, posterior.mean)
@given(first=with_ends, second=with_ends, x=st.tuples(numbers(), numbers()))
def test_completing_the_square(first, second, x):
    """The log-density is a parabola in x_{t-1}: its curvature is minus the precision, its peak the mean."""
    with mpmath.workdps(50):
        beta, kept_prev, step = exact_pair(first, second)
        left, middle, right = (log_posterior(beta, kept_prev, mpmath.mpf(k), *map(mpmath.mpf, x)) for k in (-1, 0, 1))
        curvature, slope = left - 2 * middle + right, (right - left) / 2
        slack = ten_digits(step)
        assert_equal(posterior.precision(step), float(-curvature), rtol=slack)
        assert_equal(posterior.variance(step), float(-1 / curvature), rtol=slack)
        assert_equal(posterior.mean(*x, step), float(-slope / curvature), rtol=slack, atol=5 * slack)


@checks(posterior.variance)
@given(step=steps_for(posterior.precision))
def test_knowing_more_never_widens(step):
    assert 0 < posterior.variance(step) <= min(step.beta, step.noise_var_prev) * (1 + ten_digits(step))


@checks(posterior.variance, posterior.mean, posterior.posterior)
@pytest.mark.parametrize("like", [None, np.zeros((1, 1)), torch.zeros(1, 1, dtype=torch.float64)])
@given(beta=with_ends, x=st.tuples(numbers(), numbers()))
def test_the_last_step_back_is_certain(like, beta, x):
    """At t = 1 nothing is left to know: x_0 is known, and it stands one step before x_1."""
    schedule = Schedule([beta, 0.3])
    first, (x_t, x_0) = (schedule[1], x) if like is None else (schedule.at(1, like), [like + value for value in x])
    mean, var = posterior.posterior(x_t, x_0, first)
    assert_equal(var, 0.0 if like is None else 0 * like)
    assert_equal(posterior.variance(first), var)
    assert_equal(mean, x_0, rtol=ten_digits(schedule[1]))
    assert_equal(posterior.mean(x_t, x_0, first), mean)


def by_covariances(x_t, x_0, step):
    """Mean of x_{t-1} given x_t and x_0, from Cov(x_{t-1}, x_t | x_0) = sqrt(alpha) (1 - alpha_bar_{t-1})."""
    gain = math.sqrt(step.alpha) * step.noise_var_prev / step.noise_var
    return math.sqrt(step.alpha_bar_prev) * x_0 + gain * (x_t - math.sqrt(step.alpha_bar) * x_0)


FORMS = {
    posterior.mean: lambda x_0, noise, step: x_0,
    posterior.mean_from_noise: lambda x_0, noise, step: noise,
    posterior.mean_from_score: lambda x_0, noise, step: -noise / math.sqrt(step.noise_var),  # of q(x_t | x_0)
    posterior.mean_from_velocity: lambda x_0, noise, step: (
        math.sqrt(step.alpha_bar) * noise - math.sqrt(step.noise_var) * x_0
    ),
}
"""The four forms of the mean, and what each is told besides x_t."""


@checks(posterior.mean, posterior.mean_from_noise, posterior.mean_from_score, posterior.mean_from_velocity)
@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
@given(x=points(2), data=st.data())
def test_the_four_forms_of_the_mean_agree(form, x, data):
    (x_0, noise), step = x, data.draw(steps_for(form))
    x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noise
    divided = form in (posterior.mean_from_noise, posterior.mean_from_score)
    size = 10 * ten_digits(step) / (math.sqrt(step.alpha) if divided else 1)  # what is rounded in x_t grows by as much
    assert_equal(form(x_t, FORMS[form](x_0, noise, step), step), by_covariances(x_t, x_0, step), atol=size)


CLASSES = mixture.two_classes()


@checks(posterior.mean_from_score, posterior.mean_from_noise, posterior.mean_from_velocity, posterior.mean)
@given(
    step=steps_for(posterior.mean_from_noise).filter(lambda s: s.beta < 0.9),
    x=st.lists(numbers(), min_size=1, max_size=4),
)
def test_the_best_answers_give_the_mean_of_the_true_reverse_kernel(step, x):
    """All four forms are linear, so they hold on average too: with E[.|x_t] in them they give E[x_{t-1} | x_t]."""
    x_t = np.array(x)[:, None]
    expected = CLASSES.reverse(x_t, step).mean()
    x_0, noise = CLASSES.denoise(x_t, step), CLASSES.noise(x_t, step)
    v = math.sqrt(step.alpha_bar) * noise - math.sqrt(step.noise_var) * x_0
    score = CLASSES.diffuse(step).score(x_t)
    for mean in (
        posterior.mean(x_t, x_0, step),
        posterior.mean_from_noise(x_t, noise, step),
        posterior.mean_from_velocity(x_t, v, step),
        posterior.mean_from_score(x_t, score, step),
    ):
        assert_equal(mean, expected, rtol=1e-9, atol=1e-10)


# Which variance? -----------------------------------------------------------------------------------------------------


@checks(posterior.optimal_variance)
@given(step=steps_for(posterior.optimal_variance), data_var=positive())
def test_the_optimal_variance_by_conditioning(step, data_var):
    """Var(x_{t-1} | x_t) for Gaussian data, from the two by two covariance matrix."""
    with mpmath.workdps(50):
        root = mpmath.sqrt(step.alpha)
        before = mpmath.mpf(step.alpha_bar_prev) * data_var + step.noise_var_prev
        covariance = mpmath.matrix([[before, root * before], [root * before, root**2 * before + step.beta]])
        expected = float(1 / mpmath.inverse(covariance)[0, 0])
        assert_equal(posterior.optimal_variance(step, data_var), expected, rtol=ten_digits(step))
    assert_equal(posterior.optimal_variance(step, 0.0), posterior.variance(step), rtol=ten_digits(step))
    assert_equal(posterior.optimal_variance(step, 1.0), step.beta)


def over(marginal, n=5_001):
    """Points on the line and their weights under a one-dimensional mixture, by the trapezoidal rule."""
    x = np.linspace(-10, 10, n)[:, None]
    return x, np.exp(marginal.log_prob(x)) * (x[1] - x[0])


@checks(posterior.analytic_variance)
@given(step=steps_for(posterior.analytic_variance).filter(lambda s: s.beta < 0.9 and s.noise_var > 0.01))
def test_the_analytic_variance_is_the_average_variance_of_the_true_kernel(step):
    marginal = CLASSES.diffuse(step)
    x_t, weight = over(marginal)
    mean_square_score = float(weight @ marginal.score(x_t)[:, 0] ** 2)
    expected = float(weight @ CLASSES.reverse(x_t, step).var()[:, 0])
    assert_equal(posterior.analytic_variance(step, mean_square_score), expected, rtol=1e-9)


@checks(posterior.analytic_variance)
@pytest.mark.parametrize("t", [1, 3, 10])
def test_the_analytic_variance_is_the_least_loss_of_a_step(t):
    """The definition: of all single variances, that with the largest mean log-density of the true step back."""
    step = forward.cosine(10)[t]
    marginal = CLASSES.diffuse(step)
    x_t, weight = over(marginal, n=2001)
    kernels = CLASSES.reverse(x_t, step)
    square = float(weight @ (kernels.var() + 0 * x_t)[:, 0])  # of the distance from the true mean
    best = posterior.analytic_variance(step, float(weight @ marginal.score(x_t)[:, 0] ** 2))
    losses = [math.log(var) + square / var for var in (best * 0.999, best, best * 1.001)]
    assert losses[1] < min(losses[0], losses[2])


@checks(posterior.analytic_variance, posterior.optimal_variance)
@given(step=steps_for(posterior.analytic_variance), data_var=positive())
def test_two_optimal_variances_agree_on_gaussian_data(step, data_var):
    square = 1 / (step.alpha_bar * data_var + step.noise_var)  # E[score^2] of N(0, v) is 1 / v
    size = step.beta**2 / step.alpha / step.noise_var  # what cancels
    assert_equal(
        posterior.analytic_variance(step, square),
        posterior.optimal_variance(step, data_var),
        rtol=1e-9,
        atol=1e-12 * size,
    )


@checks(posterior.analytic_variance)
@given(step=steps_for(posterior.analytic_variance))
def test_the_analytic_variance_of_one_point_is_the_smaller_one(step):
    assert_equal(posterior.analytic_variance(step, 1 / step.noise_var), posterior.variance(step), atol=1e-15)


GREYS = mixture.Mixture([0.3, 0.1, 0.6], [[-1.0], [0.2], [1.0]], [0.0, 0.0, 0.0])
"""A pixel in [-1, 1], of variance 0.8."""


@st.composite
def pixels(draw):
    """Data on a few points of [-1, 1]: of mean anywhere and variance at most 1."""
    at = draw(st.lists(st.sampled_from([-1.0, -0.9, -0.3, 0.0, 0.5, 1.0]), min_size=1, max_size=4, unique=True))
    counts = draw(st.lists(st.integers(1, 5), min_size=len(at), max_size=len(at)))
    return mixture.Mixture(np.array(counts) / sum(counts), np.array(at)[:, None], np.zeros(len(at)))


@checks(posterior.variance, posterior.analytic_variance)
@given(data=st.one_of(pixels(), st.just(CLASSES)), beta=betas(1e-3, 0.9), kept=st.floats(0.05, 0.9))
def test_the_average_variance_lies_between_the_two(data, beta, kept):
    """For pixels and for the two classes: never above beta on average, never below beta tilde."""
    step = Schedule.from_alpha_bar([kept, kept * (1 - beta)])[2]
    marginal = data.diffuse(step)
    x_t, weight = over(marginal, n=2001)
    average = weight @ data.reverse(x_t, step).var()[:, 0]
    assert posterior.variance(step) * (1 - 1e-9) <= average <= step.beta * (1 + 1e-9)
    best = posterior.analytic_variance(step, float(weight @ marginal.score(x_t)[:, 0] ** 2))
    assert_equal(best, average, rtol=1e-8)


def test_at_a_single_point_or_for_wider_data_the_variance_is_above_beta():
    step = forward.linear()[50]
    assert CLASSES.reverse(np.array([-0.36]), step).var()[0] == pytest.approx(1.471 * step.beta, abs=5e-4 * step.beta)
    assert posterior.optimal_variance(step, 4.0) > step.beta


def entropy(kernels, points=1601):
    """The differential entropy of each of a batch of one-dimensional mixtures, by the trapezoidal rule."""
    x = np.linspace(-8, 8, points)[:, None, None]
    log_p = kernels.log_prob(x)
    return integrate.trapezoid(-np.exp(log_p) * log_p, x[:, :, 0], axis=0)


@checks(posterior.entropy_bounds)
@pytest.mark.parametrize("data", [CLASSES, GREYS], ids=["two classes", "a pixel of three greys"])
@pytest.mark.parametrize("beta", [0.02, 0.1, 0.4])
def test_the_entropy_of_the_true_kernel_lies_between_the_bounds(beta, data):
    """For data of variance at most 1, averaged over x_t; at t = 1 a pixel of a few greys has no density."""
    for step in [*Schedule([beta] * 3)][1:]:
        x_t, weight = over(data.diffuse(step), n=201)
        lower, upper = posterior.entropy_bounds(step)
        assert lower < weight @ entropy(data.reverse(x_t, step)) < upper


def test_of_all_distributions_with_one_variance_the_gaussian_has_the_largest_entropy():
    """By how much: the divergence from the Gaussian of the same mean and variance, by quadrature."""
    x = np.linspace(-9, 9, 4001)[:, None]
    for data in (CLASSES, CLASSES.diffuse(forward.linear()[150]), GREYS.diffuse(forward.linear()[300])):
        log_q, g = data.log_prob(x), stats.norm(data.mean()[0], math.sqrt(data.var()[0]))
        divergence = integrate.trapezoid(np.exp(log_q) * (log_q - g.logpdf(x[:, 0])), x[:, 0])
        least = integrate.trapezoid(-np.exp(log_q) * log_q, x[:, 0])
        assert divergence > 0.001 and g.entropy() - least == pytest.approx(divergence, abs=1e-10)


@pytest.mark.parametrize(("t", "told"), [(50, 0.89293), (200, 0.48103), (600, 0.01311), (1000, 0.00002)])
def test_what_x_t_tells_of_x_0_is_the_mean_divergence_of_after_from_before(t, told):
    """Learning never raises entropy: the table's mutual information, from the side of x_0."""
    step = forward.linear()[t]
    x_t, weight = over(CLASSES.diffuse(step), n=401)
    after, x_0 = CLASSES.posterior(x_t, step), np.linspace(-2.4, 1.7, 1201)[:, None, None]
    log_after = after.log_prob(x_0)
    gained = integrate.trapezoid(np.exp(log_after) * (log_after - CLASSES.log_prob(x_0)), x_0[:, :, 0], axis=0)
    assert gained.min() > -1e-9 and weight @ gained == pytest.approx(told, abs=6e-6)


def test_what_is_known_of_the_class_and_what_the_denoiser_adds():
    """The numbers beside the table: 0.637 nats are the class, and 1.32 lie between the data and pure noise."""
    of_the_class = -float(CLASSES.weights @ np.log(CLASSES.weights))
    assert of_the_class == pytest.approx(0.637, abs=5e-4)
    x_t, weight = over(CLASSES.diffuse(forward.linear()[50]))
    responsible = CLASSES.posterior(x_t, forward.linear()[50]).weights
    assert weight @ -(responsible * np.log(np.maximum(responsible, 1e-300))).sum(-1) < 1e-5  # all of it is in x_50
    x = np.linspace(-9, 9, 4001)[:, None]
    log_q = CLASSES.log_prob(x)
    away = integrate.trapezoid(np.exp(log_q) * (log_q - stats.norm.logpdf(x[:, 0])), x[:, 0])
    assert away == pytest.approx(1.32, abs=0.005)
    last = forward.linear()[1000]
    x_t, weight = over(CLASSES.diffuse(last))
    assert weight @ CLASSES.posterior(x_t, last).var()[:, 0] == pytest.approx(0.99996, abs=5e-6)
    assert forward.snr(last) == pytest.approx(4.0e-5, abs=5e-7)


def test_a_markov_chain_read_backwards_is_one():
    """Two true steps back, each forgetting the state after it, lead where q(x_0 | x_2) says (by quadrature)."""
    first, second = Schedule([0.3, 0.4])[1], Schedule([0.3, 0.4])[2]
    x_1, x_0 = np.linspace(-6, 6, 2001)[:, None], np.array([-1.5, -1.2, 0.5, 0.8])[:, None, None]
    for x_2 in (-1.0, 0.0, 0.7):
        here = np.exp(CLASSES.reverse(np.array([x_2]), second).log_prob(x_1)) * (x_1[1] - x_1[0])
        by_two_steps = np.exp(CLASSES.reverse(x_1, first).log_prob(x_0)) @ here
        at_once = np.exp(CLASSES.posterior(np.array([x_2]), second).log_prob(x_0[:, 0]))
        assert_equal(by_two_steps, at_once, rtol=1e-9)


def test_a_linear_forward_step_has_a_step_back_with_two_peaks():
    """So that the forward step is linear and Gaussian is no reason for the step back to be."""
    large, small = (Schedule.from_alpha_bar([0.8, 0.8 * (1 - beta)])[2] for beta in (0.5, 0.02))
    peaks = []
    for step in (large, small):
        x = np.linspace(-2.5, 2.0, 4001)[:, None]
        peaks.append(int((np.diff(np.sign(np.diff(CLASSES.reverse(np.array([-0.3]), step).log_prob(x)))) < 0).sum()))
    assert peaks == [2, 1]


@checks(posterior.entropy_bounds)
@given(step=steps_for(posterior.precision))
def test_the_entropy_bounds_are_entropies(step):
    lower, upper = posterior.entropy_bounds(step)
    assert_equal(lower, float(stats.norm.entropy(scale=math.sqrt(posterior.variance(step)))), atol=1e-13)
    assert_equal(upper, float(stats.norm.entropy(scale=math.sqrt(step.beta))), atol=1e-13)


@checks(posterior.entropy_bounds)
@given(beta=with_ends)
def test_the_lower_entropy_bound_is_minus_infinity_at_the_last_step(beta):
    lower, upper = posterior.entropy_bounds(Schedule([beta])[1])
    assert lower == -math.inf
    assert_equal(upper, float(stats.norm.entropy(scale=math.sqrt(beta))), atol=1e-13)


@checks(posterior.interpolated_variance)
@given(step=steps_for(posterior.precision), v=st.floats(-0.5, 1.5))
def test_the_learned_variance_moves_evenly_on_a_logarithmic_scale(step, v):
    small, large = posterior.variance(step), step.beta
    assert_equal(posterior.interpolated_variance(0.0, step), small, rtol=1e-9)
    assert_equal(posterior.interpolated_variance(1.0, step), large)
    line = np.poly1d(np.polyfit([0, 1], np.log([small, large]), 1))
    assert_equal(posterior.interpolated_variance(v, step), math.exp(line(v)), rtol=1e-9)


@checks(posterior.interpolated_variance)
@given(beta=with_ends)
def test_the_learned_variance_at_the_last_step(beta):
    first = Schedule([beta])[1]
    assert posterior.interpolated_variance(0.5, first) == 0.0
    assert posterior.interpolated_variance(1.0, first) == first.beta


# Sampling. -----------------------------------------------------------------------------------------------------------


@checks(posterior.sampling_step)
@given(x=points(3), step=steps_for(posterior.sampling_step), var=positive())
def test_a_sampling_step_draws_around_the_mean_of_the_posterior(x, step, var):
    """Mean and spread, read off from z = 0 and z; where t is 1 the spread is 0 whatever the variance is."""
    x_t, x_0, z = x
    middle = posterior.sampling_step(x_t, x_0, 0 * z, step, var)
    assert_equal(middle, by_covariances(x_t, x_0, step), atol=10 * ten_digits(step))
    fresh = 0.0 if step.noise_var_prev == 0 else math.sqrt(var)
    assert_equal(posterior.sampling_step(x_t, x_0, z, step, var), middle + fresh * z, atol=1e-14)


@checks(posterior.sampling_step, posterior.posterior)
@given(first=with_ends, second=with_ends, x=st.tuples(numbers(), numbers()), z=numbers())
def test_a_sampling_step_at_fifty_digits(first, second, x, z):
    with mpmath.workdps(50):
        beta, kept_prev, step = exact_pair(first, second)
        left, middle, right = (log_posterior(beta, kept_prev, mpmath.mpf(k), *map(mpmath.mpf, x)) for k in (-1, 0, 1))
        curvature, slope = left - 2 * middle + right, (right - left) / 2
        drawn = -slope / curvature + z / mpmath.sqrt(-curvature)
        found = posterior.sampling_step(*x, z, step, posterior.variance(step))
        assert_equal(found, float(drawn), atol=10 * ten_digits(step))


@checks(posterior.ancestral_step)
@given(x=points(3), step=steps_for(posterior.ancestral_step), var=positive())
def test_an_ancestral_step_draws_from_the_posterior(x, step, var):
    x_t, noise, z = x
    x_0 = (x_t - math.sqrt(step.noise_var) * noise) / math.sqrt(step.alpha_bar)
    fresh = 0.0 if step.noise_var_prev == 0 else math.sqrt(var) * z
    slack = 10 * ten_digits(step)
    size = slack / math.sqrt(step.alpha_bar)  # x_0 has been divided by it
    assert_equal(posterior.ancestral_step(x_t, noise, z, step, var), by_covariances(x_t, x_0, step) + fresh, atol=size)
    clipped = by_covariances(x_t, np.clip(x_0, -0.7, 0.7), step) + fresh
    assert_equal(posterior.ancestral_step(x_t, noise, z, step, var, clip=0.7), clipped, atol=slack)


@checks(posterior.ancestral_step, posterior.sampling_step)
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("like", [np.zeros((3, 2)), torch.zeros(3, 2, dtype=torch.float64)], ids=["numpy", "torch"])
def test_a_batch_of_times_is_silent_only_where_t_is_1(like, clip):
    schedule, rng = forward.cosine(10), np.random.default_rng(0)
    x_t, noise, z = (like + convert(rng.normal(size=(3, 2)), like) for _ in range(3))
    batch = schedule.at([1, 2, 10], like=like)
    together = posterior.ancestral_step(x_t, noise, z, batch, batch.beta, clip)
    for i, t in enumerate((1, 2, 10)):
        alone = posterior.ancestral_step(x_t[i], noise[i], z[i], schedule[t], schedule[t].beta, clip)
        assert_equal(together[i], alone, rtol=1e-9, atol=1e-10)
    silent = posterior.ancestral_step(x_t, noise, 0 * z, batch, batch.beta, clip)
    assert (together[0] == silent[0]).all() and (together[1:] != silent[1:]).all()


etas = st.sampled_from([0.0, 0.3, 0.5, 1.0])

DIFFERENCE = 1e-7
"""What the root of 1 - alpha_bar - sigma^2, as it is printed, may be off by: where it is near 0 it has half the digits."""


def exact_jump(step_s, step):
    """alpha_bar at s and t at fifty digits, from whichever of alpha_bar and noise_var has more of them."""
    return [
        mpmath.mpf(each.alpha_bar) if each.alpha_bar < 0.5 else 1 - mpmath.mpf(each.noise_var)
        for each in (step_s, step)
    ]


@checks(posterior.ddim_sigma)
@given(jump=jumps(edges=True), eta=etas)
def test_ddims_sigma_at_fifty_digits(jump, eta):
    """Squared, and for eta = 1, it is the variance of x_s given x_t and x_0: by inverting their covariance matrix."""
    step_s, step = jump
    with mpmath.workdps(60):
        kept_s, kept_t = exact_jump(step_s, step)
        var_s, var_t = 1 - kept_s, 1 - kept_t
        between = mpmath.sqrt(kept_t / kept_s) * var_s
        # The inverse of the two by two matrix has var_t / determinant where x_s meets itself.
        determinant = var_s * var_t - between**2
        assert_equal(posterior.ddim_sigma(step, step_s, eta), float(eta * mpmath.sqrt(determinant / var_t)), rtol=1e-9)


@checks(posterior.ddim_renoise)
@given(jump=jumps(edges=True), eta=etas, x=points(3))
def test_ddim_renoises_to_the_marginal_at_any_eta(jump, eta, x):
    """The step is linear in picture, old noise and fresh noise: its weights are read off, and their squares counted."""
    step_s, step = jump
    picture, old, fresh = (posterior.ddim_renoise(*one, step, step_s, eta) for one in np.eye(3).tolist())
    slack = ten_digits(step)
    assert_equal(picture, math.sqrt(step_s.alpha_bar))
    assert_equal(old**2 + fresh**2, step_s.noise_var, atol=1e-15)
    assert min(old, fresh) >= 0
    with mpmath.workdps(60):
        kept_s, kept_t = exact_jump(step_s, step)
        # Of x_s and x_t given x_0: all of it is shared with the old noise, and for eta = 1 as in the forward chain.
        chain = mpmath.sqrt(kept_t / kept_s) * (1 - kept_s) / mpmath.sqrt(1 - kept_t)
        expected = (1 - kept_s) * (1 - mpmath.mpf(eta) ** 2) + (eta * chain) ** 2
        assert_equal(
            old**2, float(expected), rtol=slack, atol=1e-15
        )  # printed as a difference, 1 - alpha_bar - sigma^2
    x_0, noise, z = x
    made = posterior.ddim_renoise(x_0, noise, z, step, step_s, eta)
    assert_equal(made, picture * x_0 + old * noise + fresh * z, atol=1e-13)


@checks(posterior.ddim_renoise, posterior.sampling_step)
@given(x=points(3), step=steps_for(posterior.sampling_step).filter(lambda s: s.alpha_bar_prev > 0))
def test_ddim_with_all_the_noise_is_the_sampling_step(x, step):
    """Where nothing of x_0 is left at t as well: the noise is then x_t itself."""
    x_0, noise, z = x
    x_t = forward.diffuse(x_0, noise, step)
    expected = posterior.sampling_step(x_t, x_0, z, step, posterior.variance(step))
    lost = DIFFERENCE * math.sqrt(step.noise_var_prev) + 10 * ten_digits(step)
    assert_equal(posterior.ddim_renoise(x_0, noise, z, step, step.before, 1.0), expected, atol=lost)


@checks(posterior.ddim_step, posterior.ancestral_step, posterior.ddim_sigma)
@given(x=points(3), step=steps_for(posterior.ancestral_step))
def test_ddim_with_all_the_noise_is_the_ancestral_step(x, step):
    x_t, noise, z = x
    slack = 10 * ten_digits(step) / math.sqrt(step.alpha_bar)  # x_0 is divided by it
    ancestral = posterior.ancestral_step(x_t, noise, z, step, posterior.variance(step))
    lost = DIFFERENCE * math.sqrt(step.noise_var_prev) + slack
    assert_equal(posterior.ddim_step(x_t, noise, z, step, step.before, 1.0), ancestral, atol=lost)
    sigma = posterior.ddim_sigma(step, step.before, 1.0)
    assert_equal(sigma**2, posterior.variance(step), rtol=1e-9)


@checks(posterior.ddim_step)
@given(jump=jumps(edges=True).filter(lambda both: both[1].alpha_bar > 0), eta=etas, x=points(3))
def test_ddims_step_predicts_the_picture_and_noises_it_again(jump, eta, x):
    """Both halves by hand: the x_0 that the noise says, and of it a sample at s."""
    (step_s, step), (x_t, noise, z) = jump, x
    x_0 = (x_t - math.sqrt(step.noise_var) * noise) / math.sqrt(step.alpha_bar)
    sigma = posterior.ddim_sigma(step, step_s, eta)
    old = math.sqrt(max(step_s.noise_var - sigma**2, 0.0))
    by_hand = math.sqrt(step_s.alpha_bar) * x_0 + old * noise + sigma * z
    size = 10 * ten_digits(step) / math.sqrt(step.alpha_bar)
    lost = DIFFERENCE * math.sqrt(step_s.noise_var) + size
    assert_equal(posterior.ddim_step(x_t, noise, z, step, step_s, eta), by_hand, atol=lost)
    again = posterior.ddim_renoise(x_0, noise, z, step, step_s, eta)
    assert_equal(posterior.ddim_step(x_t, noise, z, step, step_s, eta), again, atol=lost)


@checks(posterior.ddim_encode_step, posterior.ddim_step)
@given(jump=jumps(edges=True), x=points(2))
def test_encoding_undoes_decoding(jump, x):
    """Of one picture and one noise, the samples at s and t lead to each other."""
    (step_s, step), (x_0, noise) = jump, x
    x_s, x_t = (math.sqrt(at.alpha_bar) * x_0 + math.sqrt(at.noise_var) * noise for at in (step_s, step))
    assert_equal(posterior.ddim_encode_step(x_s, noise, step_s, step), x_t, atol=10 * ten_digits(step))
    if step.alpha_bar > 0:
        decoded = posterior.ddim_step(x_t, noise, 0 * x_t, step, step_s, 0.0)
        slack = DIFFERENCE * math.sqrt(step_s.noise_var) + 10 * ten_digits(step) / math.sqrt(step.alpha_bar)
        assert_equal(decoded, x_s, atol=slack)


# What the page says. -------------------------------------------------------------------------------------------------


def test_why_beta_is_the_best_variance_of_few_steps():
    """Of five steps, in the one before the last, the best single variance is nearly beta, and beta tilde is not."""
    step = forward.respace(forward.linear(), [200, 400, 600, 800, 1000])[2]
    marginal = CLASSES.diffuse(step)
    x_t, weight = over(marginal)
    best = posterior.analytic_variance(step, float(weight @ marginal.score(x_t)[:, 0] ** 2))
    assert best / step.beta == pytest.approx(0.99, abs=0.005)
    assert posterior.variance(step) / step.beta == pytest.approx(0.42, abs=0.005)


def test_how_far_as_many_samples_of_the_data_are_from_it():
    """The floor of the figure on clipping: 1000 samples of five greys, over 200 draws."""
    greys, rng = np.linspace(-1, 1, 5), np.random.default_rng(0)
    floor = np.mean([stats.wasserstein_distance(rng.choice(greys, 1000), greys) for _ in range(200)])
    assert floor == pytest.approx(0.02, abs=0.005)


def test_codes_that_end_in_the_valley_are_as_rare_as_the_data_there():
    """Without fresh noise a code is a quantile: the share of codes between two ends is that of the data between them."""
    code = np.linspace(-0.435, -0.427, 401)
    x = code[:, None]
    for step in reversed([*forward.linear()]):
        x = posterior.ddim_step(x, CLASSES.noise(x, step), 0 * x, step, step.before, 0.0)
    ends, spread = np.array([-0.9, 0.2]), np.sqrt(CLASSES.variances)
    assert x[0, 0] < ends[0] and ends[1] < x[-1, 0] and (np.diff(x[:, 0]) > 0).all()
    codes = np.diff(stats.norm.cdf(np.interp(ends, x[:, 0], code)))[0]
    data = np.diff(stats.norm.cdf((ends[:, None] - CLASSES.means[:, 0]) / spread) @ CLASSES.weights)[0]
    assert codes == pytest.approx(0.0002, abs=5e-5) and data == pytest.approx(0.0002, abs=5e-5)


def test_the_round_trip_gets_better_about_as_the_steps_get_smaller():
    """The numbers of the page: the figure's 400 samples, there and back by 50 and by 800 steps."""
    schedule, clean = forward.linear(), CLASSES.sample(400, np.random.default_rng(0))
    x_1 = forward.diffuse(clean, np.random.default_rng(1).standard_normal(clean.shape), schedule[1])
    errors = []
    for count in (50, 800):
        times, x = np.linspace(1, 1000, count + 1).round().astype(int), x_1
        for s, t in pairwise(times):
            x = posterior.ddim_encode_step(x, CLASSES.noise(x, schedule[s]), schedule[s], schedule[t])
        for t, s in pairwise(times[::-1]):
            x = posterior.ddim_step(x, CLASSES.noise(x, schedule[t]), 0 * x, schedule[t], schedule[s], 0.0)
        errors.append(abs(x - x_1).mean())
    assert errors == pytest.approx([0.033, 0.0025], rel=0.02)


def test_the_printed_form_of_ddims_step_loses_two_digits():
    """The two coefficients of the noise nearly cancel: float32, with seven digits, keeps five."""
    steps = forward.linear().steps
    old = np.sqrt(steps.alpha_bar_prev * steps.noise_var / steps.alpha_bar)[1:]
    lost = old / abs(np.sqrt(steps.noise_var_prev)[1:] - old)
    assert 100 < lost.max() < 1000


# The door. -----------------------------------------------------------------------------------------------------------

FIRST, STEP = forward.linear()[1], forward.linear()[500]
BLIND, BLIND_BATCH = Schedule([0.5, 1.0])[2], Schedule([0.5, 1.0]).at([2], np.zeros(1))
AT_FOUR = forward.linear().at([1, 2, 3, 4], np.zeros(4))
COLUMN_AND_ROW = np.ones((4, 1)), np.ones(4)
NAN = math.nan


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, ["prior", "sum to 1"], lambda: posterior.joint([0.5, 0.6], [[1.0], [1.0]])),
        (ValueError, ["likelihood", "sum to 1"], lambda: posterior.bayes([0.5, 0.5], [[0.9], [1.0]])),
        (ValueError, ["prior", "at least 0"], lambda: posterior.joint([1.5, -0.5], [[1.0], [1.0]])),
        (ValueError, ["likelihood", "n = 1", "(2, 1)"], lambda: posterior.joint([1.0], [[1.0], [1.0]])),
        (ValueError, ["joint", "sum to 1"], lambda: posterior.marginalize([[0.5, 0.6]], 0)),
        (ValueError, ["p(y)", "above 0"], lambda: posterior.bayes([1.0], [[1.0, 0.0]])),
        (ValueError, ["step.noise_var_prev", "above 0", "above 1"], lambda: posterior.precision(FIRST)),
        (ValueError, ["joint", "(n, m)", "(2,)"], lambda: posterior.marginalize([0.5, 0.5], 0)),
        (ValueError, ["axis", "from 0 to 1", "2"], lambda: posterior.marginalize([[0.5, 0.5]], 2)),
        (ValueError, ["prior", "at least 0", "nan"], lambda: posterior.bayes([NAN, 1.0], [[1.0], [1.0]])),
        (TypeError, ["step", "Step", "7"], lambda: posterior.variance(7)),
        (ValueError, ["x_t (4, 1)", "x_0 (4,)"], lambda: posterior.mean(np.ones((4, 1)), np.ones(4), STEP)),
        (ValueError, ["x_t (4, 4)", "step (4,)"], lambda: posterior.mean(np.ones((4, 4)), np.ones((4, 4)), AT_FOUR)),
        (ValueError, ["x_t (4, 1)", "noise (4,)"], lambda: posterior.ancestral_step(*COLUMN_AND_ROW, 1.0, STEP, 0.1)),
        (
            ValueError,
            ["x_t (4, 1)", "z (4,)"],
            lambda: posterior.ancestral_step(COLUMN_AND_ROW[0], *COLUMN_AND_ROW, STEP, 0.1),
        ),
        (ValueError, ["x_0", "finite", "nan"], lambda: posterior.mean(1.0, NAN, STEP)),
        (ValueError, ["x_t", "finite", "inf"], lambda: posterior.mean(torch.tensor([math.inf]), torch.ones(1), STEP)),
        (ValueError, ["step.alpha", "above 0"], lambda: posterior.mean_from_noise(np.ones(1), np.ones(1), BLIND_BATCH)),
        (
            ValueError,
            ["step.alpha_bar", "above 0"],
            lambda: posterior.ancestral_step(*np.ones((3, 1)), BLIND_BATCH, 0.1),
        ),
        (ValueError, ["step.alpha_bar", "above 0"], lambda: posterior.ancestral_step(1.0, 1.0, 1.0, BLIND, 0.1)),
        (ValueError, ["step.beta", "above 0"], lambda: posterior.mean_from_noise(1.0, 1.0, FIRST.before)),
        (ValueError, ["mean_square_score", "negative", "100"], lambda: posterior.analytic_variance(STEP, 100.0)),
        (ValueError, ["v must be at most 1 at t = 1", "1.5"], lambda: posterior.interpolated_variance(1.5, FIRST)),
        (ValueError, ["step_s", "after step"], lambda: posterior.ddim_encode_step(1.0, 1.0, STEP, FIRST)),
        (ValueError, ["step_s", "after step"], lambda: posterior.ddim_renoise(1.0, 1.0, 1.0, FIRST, STEP, 1.0)),
        (ValueError, ["step_s.alpha_bar", "above 0"], lambda: posterior.ddim_encode_step(1.0, 1.0, BLIND, BLIND)),
        (ValueError, ["eta", "[0, 1]", "nan"], lambda: posterior.ddim_step(1.0, 1.0, 1.0, STEP, FIRST, NAN)),
        (ValueError, ["data_var", "at least 0"], lambda: posterior.optimal_variance(STEP, np.float32(-1.0))),
        (ValueError, ["x_t (2,)", "x_0 (3,)"], lambda: posterior.mean(np.ones(2), np.ones(3), STEP)),
        (ValueError, ["alpha", "above 0"], lambda: posterior.mean_from_noise(1.0, 1.0, BLIND)),
        (ValueError, ["alpha", "above 0"], lambda: posterior.mean_from_score(1.0, 1.0, BLIND)),
        (ValueError, ["alpha", "above 0"], lambda: posterior.analytic_variance(BLIND, 1.0)),
        (ValueError, ["data_var", "at least 0", "-1"], lambda: posterior.optimal_variance(STEP, -1.0)),
        (ValueError, ["clip", "above 0", "0"], lambda: posterior.ancestral_step(1.0, 1.0, 1.0, STEP, 0.1, clip=0)),
        (ValueError, ["var", "at least 0", "-0.1"], lambda: posterior.ancestral_step(1.0, 1.0, 1.0, STEP, -0.1)),
        (ValueError, ["eta", "[0, 1]", "1.5"], lambda: posterior.ddim_sigma(STEP, FIRST, 1.5)),
        (ValueError, ["alpha_bar", "[0, 1]", "nan"], lambda: Step.from_alpha_bar(math.nan)),
        (ValueError, ["step_s", "after step"], lambda: posterior.ddim_sigma(FIRST, STEP, 1.0)),
        (ValueError, ["step.beta", "above 0"], lambda: posterior.ddim_sigma(FIRST.before, FIRST.before, 1.0)),
        (ValueError, ["step.alpha_bar", "above 0"], lambda: posterior.ddim_step(1.0, 1.0, 1.0, BLIND, FIRST, 1.0)),
    ],
)
def test_bad_input_is_refused_by_name(error, words, call):
    with refused(words, error):
        call()


def test_where_nothing_is_left_x0_and_velocity_still_work():
    assert posterior.mean(0.4, 0.7, BLIND) == pytest.approx(math.sqrt(0.5) * 0.7)
    assert posterior.mean_from_velocity(0.4, -0.7, BLIND) == pytest.approx(math.sqrt(0.5) * 0.7)


def test_probabilities_in_float32_are_probabilities():
    """They sum to 1 to the precision in which they come, and so does what is made of them."""
    rng = np.random.default_rng(0)
    for n, m in [(3, 10), (50, 7), (2, 1000)]:
        prior, likelihood = (torch.tensor(rng.normal(size=shape), dtype=torch.float32) for shape in ((n,), (n, m)))
        prior, likelihood = prior.softmax(-1), likelihood.softmax(-1)
        for given_prior, given_likelihood in ((prior, likelihood), (prior.numpy(), likelihood.numpy())):
            joint = posterior.joint(given_prior, given_likelihood)
            assert_equal(joint.sum(), np.float64(1.0))
            assert_equal(posterior.marginalize(joint, 0), posterior.total_probability(given_prior, given_likelihood))
            assert_equal(posterior.bayes(given_prior, given_likelihood).sum(0), np.ones(m))
