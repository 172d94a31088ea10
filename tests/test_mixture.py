"""The running example, against autograd, torch.distributions and integrals over x_0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from tinyddpm import forward, mixture
from tinyddpm.checker import assert_equal, checks
from tinyddpm.mixture import Mixture

from .strategies import numbers, positive, refused, steps


@st.composite
def mixtures(draw, d=None):
    """One to four components in one to three dimensions."""
    k, d = draw(st.integers(1, 4)), d or draw(st.integers(1, 3))
    weights = np.array(draw(st.lists(positive(), min_size=k, max_size=k)))
    means = draw(st.lists(st.lists(numbers(), min_size=d, max_size=d), min_size=k, max_size=k))
    variances = [v + 0.05 for v in draw(st.lists(positive(2.0), min_size=k, max_size=k))]
    return Mixture(weights / weights.sum(), means, variances)


def samples_for(some, n=5):
    return np.random.default_rng(0).normal(0, 3, (n, some.means.shape[-1]))


def by_torch(some):
    component = torch.distributions.Normal(
        torch.tensor(some.means), torch.tensor(some.variances).sqrt()[:, None].expand(some.means.shape)
    )
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor(some.weights)), torch.distributions.Independent(component, 1)
    )


@checks(Mixture.log_prob, Mixture.score, Mixture.mean, Mixture.var)
@given(some=mixtures())
def test_density_score_and_moments_by_torch(some):
    x = torch.tensor(samples_for(some), requires_grad=True)
    reference = by_torch(some)
    log_prob = reference.log_prob(x)
    (score,) = torch.autograd.grad(log_prob.sum(), x)
    for sample, like in ((x.detach().numpy(), lambda v: v.detach().numpy()), (x.detach(), lambda v: v.detach())):
        assert_equal(some.log_prob(sample), like(log_prob), atol=1e-12)
        assert_equal(some.score(sample), like(score), atol=1e-11)
    assert_equal(some.mean(), reference.mean.numpy(), atol=1e-13)
    assert_equal(some.var(), reference.variance.numpy(), atol=1e-12)


@checks(Mixture.score)
@given(some=mixtures())
def test_our_density_has_our_score(some):
    x = torch.tensor(samples_for(some), requires_grad=True)
    (score,) = torch.autograd.grad(some.log_prob(x).sum(), x)
    assert_equal(some.score(x.detach()), score, atol=1e-11)


def test_samples_come_from_the_density():
    some = Mixture([0.2, 0.5, 0.3], [[-2.0], [0.5], [3.0]], [0.3, 1.0, 0.05])
    x = some.sample(4000, np.random.default_rng(1))[:, 0]
    components = stats.norm(some.means[:, 0, None], np.sqrt(some.variances)[:, None])
    assert stats.kstest(x, lambda q: some.weights @ components.cdf(q)).pvalue > 0.01


# Noised, and given what is seen: against integrals over x_0. ----------------------------------------------------------

GRID = np.linspace(-14, 14, 28_001)[:, None]
WIDTH = GRID[1, 0] - GRID[0, 0]


def seen_with(some, x_t, step):
    """q(x_0, x_t) on the grid of x_0: the mixture's density times the Gaussian of one jump."""
    jump = stats.norm.pdf(x_t, math.sqrt(step.alpha_bar) * GRID[:, 0], math.sqrt(step.noise_var))
    return np.exp(some.log_prob(GRID)) * jump


@checks(Mixture.diffuse, Mixture.posterior, Mixture.denoise, Mixture.noise)
@given(some=mixtures(d=1), step=steps().filter(lambda s: s.noise_var > 1e-4), x_t=numbers())
def test_what_is_seen_and_where_it_began_by_integrals(some, step, x_t):
    both = seen_with(some, x_t, step)
    density = both.sum() * WIDTH
    here = np.array([[x_t]])
    assume(density > 1e-200)  # farther out in the tails the integral has no digits left
    assert_equal(some.diffuse(step.alpha_bar).log_prob(here), np.array([math.log(density)]), rtol=1e-9, atol=1e-10)
    x_0 = both @ GRID[:, 0] / both.sum()
    assert_equal(some.denoise(here, step), np.array([[x_0]]), atol=1e-9)
    noise = both @ (x_t - math.sqrt(step.alpha_bar) * GRID[:, 0]) / both.sum() / math.sqrt(step.noise_var)
    assert_equal(some.noise(here, step), np.array([[noise]]), atol=1e-8 / math.sqrt(step.noise_var))
    posterior = some.posterior(here, step)
    assert_equal(posterior.var(), np.array([[both @ (GRID[:, 0] - x_0) ** 2 / both.sum()]]), rtol=1e-8, atol=1e-9)
    density_of_x0 = np.exp(posterior.log_prob(GRID[12_000:16_000:500, None, :]))[:, 0]
    assert_equal(density_of_x0, both[12_000:16_000:500] / density, rtol=1e-7, atol=1e-9)


@checks(Mixture.reverse, Mixture.diffuse)
@given(some=mixtures(), step=steps(first=2))
def test_the_reverse_kernel_is_bayes_rule(some, step):
    """log q(x_{t-1} | x_t) = log q(x_t | x_{t-1}) + log q(x_{t-1}) - log q(x_t), point by point."""
    d = some.means.shape[-1]
    rng = np.random.default_rng(3)
    x_prev = rng.normal(0, 2, (4, d))
    x_t = math.sqrt(step.alpha) * x_prev + math.sqrt(step.beta) * rng.normal(size=(4, d))
    step_back = stats.norm.logpdf(x_t, math.sqrt(1 - step.beta) * x_prev, math.sqrt(step.beta)).sum(-1)
    before, now = some.diffuse(step.alpha_bar_prev), some.diffuse(step.alpha_bar)
    by_bayes = step_back + before.log_prob(x_prev) - now.log_prob(x_t)
    assert_equal(some.reverse(x_t, step).log_prob(x_prev), by_bayes, rtol=1e-7, atol=1e-7)


@checks(Mixture.reverse)
@given(
    some=mixtures(d=1), step=steps(first=2).filter(lambda s: s.beta > 1e-3 and s.noise_var_prev > 1e-4), x_t=numbers()
)
def test_the_moments_of_the_reverse_kernel_by_integrals(some, step, x_t):
    both = np.exp(some.diffuse(step.alpha_bar_prev).log_prob(GRID))
    both *= stats.norm.pdf(x_t, math.sqrt(step.alpha) * GRID[:, 0], math.sqrt(step.beta))
    assume(both.sum() > 1e-200)
    mean = both @ GRID[:, 0] / both.sum()
    kernel = some.reverse(np.array([[x_t]]), step)
    assert_equal(kernel.mean(), np.array([[mean]]), atol=1e-9)
    assert_equal(kernel.var(), np.array([[both @ (GRID[:, 0] - mean) ** 2 / both.sum()]]), rtol=1e-8, atol=1e-9)


@checks(Mixture.denoise, Mixture.noise, Mixture.posterior, Mixture.reverse)
def test_the_mean_of_a_batch_is_the_means_of_its_members():
    """Batches of times and both libraries give what single calls give."""
    schedule, some = forward.linear(100), mixture.ring(5)
    x = samples_for(some, 3)
    for like in (x, torch.tensor(x)):
        batch = schedule.at([1, 50, 100], like=like)
        for found in (
            lambda x, s: some.denoise(x, s),
            lambda x, s: some.noise(x, s),
            lambda x, s: some.posterior(x, s).var(),
            lambda x, s: some.reverse(x, s).mean(),
        ):
            together = found(like, batch)
            for i, t in enumerate((1, 50, 100)):
                np.testing.assert_allclose(together[i], found(x[i : i + 1], schedule[t])[0], rtol=1e-12)
    assert_equal(some.denoise(torch.tensor(x), schedule[50]), torch.tensor(some.denoise(x, schedule[50])))


@checks(Mixture.denoise)
@given(some=mixtures(), step=steps())
def test_the_best_guess_follows_the_score(some, step):
    """Tweedie's formula: sqrt(alpha_bar) E[x_0 | x_t] = x_t + (1 - alpha_bar) score."""
    x_t = samples_for(some)
    score = some.diffuse(step.alpha_bar).score(x_t)
    assert_equal(math.sqrt(step.alpha_bar) * some.denoise(x_t, step), x_t + step.noise_var * score, atol=1e-9)


# The examples and their peaks. ---------------------------------------------------------------------------------------


@checks(Mixture.mean, Mixture.var, Mixture.diffuse)
@pytest.mark.parametrize("some", [mixture.two_classes(), mixture.ring(3), mixture.ring(8), mixture.standard_normal(2)])
def test_the_examples_keep_mean_0_and_variance_1(some):
    for kept in (1.0, 0.9, 0.5, 0.0):
        noised = some.diffuse(kept)
        assert_equal(noised.mean() + 1, np.ones(some.means.shape[-1]))
        assert_equal(noised.var(), np.ones(some.means.shape[-1]))


def test_the_extreme_examples():
    step = forward.linear()[300]
    point = mixture.one_point([0.3, -0.2])
    assert_equal(point.denoise(np.ones((1, 2)), step), np.array([[0.3, -0.2]]))
    expected = math.sqrt(step.alpha_bar) * 0.7
    assert_equal(mixture.standard_normal(1).denoise(np.array([[0.7]]), step), np.array([[expected]]))


@given(half=st.floats(0.5, 3), var=st.floats(0.01, 0.2), kept=st.floats(0.05, 0.95))
def test_two_equal_peaks_merge_when_their_distance_is_two_deviations(half, var, kept):
    some = Mixture([0.5, 0.5], [[-half], [half]], [var, var]).diffuse(kept)
    ratio = kept * half**2 / (kept * var + 1 - kept)
    if abs(ratio - 1) > 0.01:
        assert len(some.modes()) == (2 if ratio > 1 else 1)


def test_modes_are_where_the_score_is_zero():
    for some in (mixture.two_classes(), mixture.ring(8), mixture.two_classes().diffuse(0.6)):
        peaks = some.modes()
        assert np.max(abs(some.score(peaks))) < 1e-8
    assert len(mixture.ring(8).modes()) == 8


def test_when_two_classes_merge():
    schedule, half, var = forward.linear(), 0.8, 0.05
    some = Mixture([0.5, 0.5], [[-half], [half]], [var, var])
    merged = [step.alpha_bar * half**2 <= step.alpha_bar * var + step.noise_var for step in schedule]
    assert some.merge_time(schedule) == 1 + merged.index(True)
    assert mixture.standard_normal().merge_time(schedule) == 0
    assert some.merge_time(forward.linear(10)) is None


def test_the_density_of_every_example_integrates_to_one():
    for kept in (1.0, 0.5, 0.01):
        log_p = mixture.two_classes().diffuse(kept).log_prob(GRID)
        assert_equal(float(integrate.trapezoid(np.exp(log_p), GRID[:, 0])), 1.0)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["weights", "sum to 1"], lambda: Mixture([0.5, 0.6], [[0.0], [1.0]], [1.0, 1.0])),
        (["weights", "at least 0"], lambda: Mixture([1.5, -0.5], [[0.0], [1.0]], [1.0, 1.0])),
        (["weights", "sum to 1"], lambda: Mixture([math.nan], [[0.0]], [1.0])),
        (["variances", "at least 0"], lambda: Mixture([1.0], [[0.0]], [-1.0])),
        (["means", "finite"], lambda: Mixture([1.0], [[math.inf]], [1.0])),
        (["weights (..., k)", "(0,)"], lambda: Mixture([], [], [])),
        (["weights (..., k)", "(3,)"], lambda: Mixture([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0, 1.0])),
        (["weights (..., k)", "(2,)"], lambda: Mixture([0.5, 0.5], [0.0, 1.0], [1.0, 1.0])),
        (["x", "(..., d)", "d = 1", "(4, 2)"], lambda: mixture.two_classes().log_prob(np.ones((4, 2)))),
        (["x", "(..., d)", "d = 1", "()"], lambda: mixture.two_classes().score(0.5)),
        (["variance of 0", "diffuse"], lambda: mixture.one_point([0.0]).log_prob(np.zeros((1, 1)))),
        (["alpha_bar", "[0, 1]", "1.2"], lambda: mixture.two_classes().diffuse(1.2)),
        (["k", "at least 1", "0"], lambda: mixture.ring(0)),
        (["one mixture", "batch"], lambda: mixture.ring().posterior(np.ones((3, 2)), forward.linear()[5]).modes()),
    ],
)
def test_bad_input_is_refused_by_name(words, call):
    with refused(words):
        call()


def test_a_batch_of_mixtures_cannot_be_sampled_at_once():
    batch = mixture.ring().posterior(np.ones((3, 2)), forward.linear()[5])
    with pytest.raises(ValueError, match="one mixture"):
        batch.sample(2, np.random.default_rng(0))
