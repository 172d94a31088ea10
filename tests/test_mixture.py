"""The running example, against autograd, torch.distributions and integrals over x_0."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from tinyddpm import forward, mixture
from tinyddpm.checker import assert_equal, checks
from tinyddpm.mixture import Mixture

from .strategies import numbers, positive, refused, steps_for


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


@checks(Mixture.log_joint, Mixture.responsibilities)
@given(some=mixtures())
def test_components_and_their_responsibilities_by_torch(some):
    x = torch.tensor(samples_for(some))
    reference = by_torch(some)
    each = reference.component_distribution.log_prob(x[:, None]) + torch.tensor(some.weights).log()
    for sample, like in ((x.numpy(), lambda v: v.numpy()), (x, lambda v: v)):
        assert_equal(some.log_joint(sample), like(each), atol=1e-12)
        assert_equal(some.responsibilities(sample), like(torch.softmax(each, -1)), atol=1e-12)


@checks(Mixture.log_prob, Mixture.responsibilities, Mixture.score)
def test_in_the_tails_and_with_a_weight_of_0_nothing_is_lost():
    """By 50 digits: densities that are 0 in floating point, and a component that nothing comes from."""
    some = Mixture([0.25, 0.75, 0.0], [[-1.0], [2.0], [0.5]], [0.02, 0.1, 3.0])
    for place in (-40.0, 45.0, 0.5):
        with mpmath.workdps(50):
            x = mpmath.mpf(place)
            each = [
                w * mpmath.exp(-((x - m) ** 2) / (2 * v)) / mpmath.sqrt(2 * mpmath.pi * v)
                for w, m, v in ((mpmath.mpf(1) / 4, -1, mpmath.mpf(0.02)), (mpmath.mpf(3) / 4, 2, mpmath.mpf(0.1)))
            ]
            shares = [float(one / sum(each)) for one in each]
            log_prob = float(mpmath.log(sum(each)))
        pull = shares[0] * (-1 - place) / 0.02 + shares[1] * (2 - place) / 0.1
        assert_equal(some.log_prob(np.array([place])), np.array(log_prob)[()], rtol=1e-13)
        assert_equal(some.responsibilities(np.array([place])), np.array([*shares, 0.0]), atol=1e-12)
        assert_equal(some.score(np.array([place])), np.array([pull]), rtol=1e-11)


@checks(
    Mixture.log_joint,
    Mixture.log_prob,
    Mixture.responsibilities,
    Mixture.score,
    Mixture.denoise,
    Mixture.noise,
    Mixture.posterior,
    Mixture.bayes,
    Mixture.reverse,
    Mixture.diffuse,
    Mixture.mean,
    Mixture.var,
)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
@pytest.mark.parametrize("shape", [(2,), (1, 2), (4, 2), (2, 3, 2), (2, 1, 3, 2)])
def test_a_batch_of_any_shape_is_its_members(like, shape):
    """One time for all; and a time for each member of the batch, as `schedule.at` gives them."""
    some, schedule, x = mixture.ring(3), forward.linear(100, 1e-3, 0.2), np.random.default_rng(2).normal(size=shape)
    times = (7,) if len(shape) == 1 else tuple(range(40, 40 + shape[0]))
    batch = schedule.at(times[0] if len(shape) == 1 else times, like=like(x))
    calls = {
        "log_joint": lambda x, s: some.log_joint(x),
        "log_prob": lambda x, s: some.log_prob(x),
        "responsibilities": lambda x, s: some.responsibilities(x),
        "score": lambda x, s: some.score(x),
        "denoise": lambda x, s: some.denoise(x, s),
        "noise": lambda x, s: some.noise(x, s),
        "mean of the posterior": lambda x, s: some.posterior(x, s).mean(),
        "variance of the posterior": lambda x, s: some.posterior(x, s).var(),
        "of Bayes' rule": lambda x, s: some.bayes(x, s).var(),
        "of the step back": lambda x, s: some.reverse(x, s).var(),
        "density after noise": lambda x, s: some.diffuse(s).log_prob(x),
    }
    for name, call in calls.items():
        together = call(like(x), batch)
        assert together.dtype == like(x).dtype and isinstance(together, torch.Tensor) == (like is torch.tensor), name
        for at in np.ndindex(shape[:-1]):
            step = schedule[times[at[0]] if at else times[0]]
            alone = call(x[at], step)
            assert together[at].shape == np.shape(alone), name
            np.testing.assert_allclose(together[at], alone, rtol=1e-12, atol=1e-13, err_msg=name)


@checks(Mixture.posterior, Mixture.reverse, Mixture.bayes, Mixture.diffuse)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_weights_means_and_variances_of_a_batch_have_one_shape(like):
    some, x = mixture.ring(3), like(np.zeros((5, 2)))
    step, batch = forward.linear()[300], forward.linear().at([1, 2, 3, 4, 5], like=x)
    for made in (some.posterior(x, step), some.reverse(x, batch), some.bayes(x, step), some.diffuse(batch)):
        assert (made.weights.shape, made.means.shape, made.variances.shape) == ((5, 3), (5, 3, 2), (5, 3))
        assert made.mean().shape == made.var().shape == (5, 2)
        assert type(made.weights) is type(made.means) is type(made.variances) is type(x)
    checked = Mixture(*(np.asarray(part) for part in some.posterior(x, step)._parameters))  # as anybody may make it
    assert_equal(checked.log_prob(np.ones((5, 2))), np.asarray(some.posterior(x, step).log_prob(x + 1)))


@checks(Mixture.diffuse, Mixture.bayes, Mixture.posterior, Mixture.reverse)
@pytest.mark.parametrize("like", [np.float32, lambda x: torch.tensor(x, dtype=torch.float32)])
@pytest.mark.parametrize("name", sorted(forward.SCHEDULES))
def test_the_coefficients_in_single_precision_are_right_to_their_last_digits(like, name):
    """With what a step of float32 keeps of 1 - alpha_bar, near t = 1 too, where subtracting loses three digits."""
    some, schedule = Mixture([0.3, 0.7], [[-1.2], [0.8]], [1e-6, 0.2]), forward.schedule(name, 1000)
    times = [1, 2, 3, 10, 500, 999, 1000]
    x = like(np.full((len(times), 1), 0.3))
    made, exact = some.diffuse(schedule.at(times, like=x)), [some.diffuse(schedule[t]) for t in times]
    back = some.posterior(x, schedule.at(times, like=x)), [some.posterior(np.array([0.3]), schedule[t]) for t in times]
    for i in range(len(times)):
        assert made.variances[i].dtype == x.dtype
        np.testing.assert_allclose(made.variances[i], exact[i].variances, rtol=2e-7)
        np.testing.assert_allclose(made.means[i], exact[i].means, rtol=2e-7)
        np.testing.assert_allclose(back[0].variances[i], back[1][i].variances, rtol=4e-7)  # two roundings more
        np.testing.assert_allclose(back[0].means[i], back[1][i].means, rtol=1e-5)


@checks(Mixture.log_prob, Mixture.score, Mixture.denoise, Mixture.noise, Mixture.reverse)
def test_gradients_vmap_and_jacobians_pass():
    """The slope of the best guess is the variance of the posterior, in units of the noise: Tweedie's formula, twice."""
    some, step = mixture.ring(3), forward.linear()[300]
    x = torch.tensor(samples_for(some) / 2, requires_grad=True)
    slope = torch.func.vmap(torch.func.jacrev(lambda y: some.denoise(y, step)))(x)
    scale = math.sqrt(step.alpha_bar) / step.noise_var
    assert_equal(torch.diagonal(slope, dim1=-2, dim2=-1), scale * some.posterior(x, step).var(), rtol=1e-9, atol=1e-12)
    for call in (some.log_prob, some.score, lambda y: some.noise(y, step), lambda y: some.reverse(y, step).mean()):
        assert call(x).requires_grad
        assert_equal(torch.func.vmap(call)(x), call(x), rtol=1e-12, atol=1e-13)


@checks(Mixture.log_prob, Mixture.diffuse, Mixture.denoise)
def test_a_mixture_of_tensors_can_be_fitted():
    """Its parameters keep their gradients, whether the step is of numbers or of tensors; NumPy's samples are taken too."""
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64, requires_grad=True)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    some, x, step = Mixture(half, means, half), torch.full((3, 1), 0.3, dtype=torch.float64), forward.linear()[300]
    for value in (some.log_prob(x), some.diffuse(step).log_prob(x), some.denoise(x, step), some.diffuse(0.5).mean()):
        (slope,) = torch.autograd.grad(value.sum(), means, retain_graph=True)
        assert torch.all(slope != 0)
    plain = Mixture([0.5, 0.5], [[-1.0], [1.0]], [0.5, 0.5])
    assert_equal(some.log_prob(np.full((3, 1), 0.3)), plain.log_prob(np.full((3, 1), 0.3)))
    assert_equal(Mixture(torch.tensor([1]), torch.tensor([[0]]), torch.tensor([1])).mean(), torch.zeros(1))


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
@given(some=mixtures(d=1), step=steps_for(Mixture.noise).filter(lambda s: s.noise_var > 1e-4), x_t=numbers())
def test_what_is_seen_and_where_it_began_by_integrals(some, step, x_t):
    both = seen_with(some, x_t, step)
    density = both.sum() * WIDTH
    here = np.array([[x_t]])
    assume(density > 1e-200)  # farther out in the tails the integral has no digits left
    for noised in (step, step.alpha_bar):
        assert_equal(some.diffuse(noised).log_prob(here), np.array([math.log(density)]), rtol=1e-9, atol=1e-10)
    x_0 = both @ GRID[:, 0] / both.sum()
    assert_equal(some.denoise(here, step), np.array([[x_0]]), atol=1e-9)
    noise = both @ (x_t - math.sqrt(step.alpha_bar) * GRID[:, 0]) / both.sum() / math.sqrt(step.noise_var)
    assert_equal(some.noise(here, step), np.array([[noise]]), atol=1e-8 / math.sqrt(step.noise_var))
    posterior = some.posterior(here, step)
    assert_equal(posterior.var(), np.array([[both @ (GRID[:, 0] - x_0) ** 2 / both.sum()]]), rtol=1e-8, atol=1e-9)
    density_of_x0 = np.exp(posterior.log_prob(GRID[12_000:16_000:500, None, :]))[:, 0]
    assert_equal(density_of_x0, both[12_000:16_000:500] / density, rtol=1e-7, atol=1e-9)


def after(some, kept, added):
    """The distribution of sqrt(kept) x + N(0, added I), by torch."""
    return by_torch(Mixture(some.weights, math.sqrt(kept) * some.means, kept * some.variances + added))


@checks(Mixture.bayes, Mixture.posterior)
@given(some=mixtures(), step=steps_for(Mixture.bayes, Mixture.posterior))
def test_one_step_and_all_steps_at_once_are_bayes_rule(some, step):
    """log q(x | y) = log q(y | x) + log q(x) - log q(y), where y is x after the step, or after all steps up to t."""
    rng = np.random.default_rng(3)
    x, z = rng.normal(0, 2, (2, 4, some.means.shape[-1]))
    kernels = ((some.bayes, step.alpha, step.beta), (some.posterior, step.alpha_bar, step.noise_var))
    for kernel, kept, added in kernels:
        y = math.sqrt(kept) * x + math.sqrt(added) * z / 2
        there = -(((y - math.sqrt(kept) * x) ** 2).sum(-1) / added + x.shape[-1] * math.log(2 * math.pi * added)) / 2
        expected = there + some.log_prob(x) - after(some, kept, added).log_prob(torch.tensor(y)).numpy()
        # y - sqrt(kept) x is rounded, and divided by what may be a tiny variance
        assert_equal(kernel(y, step).log_prob(x), expected, rtol=1e-9, atol=1e-10 + 1e-15 / added)


@checks(Mixture.reverse, Mixture.diffuse)
@given(some=mixtures(), step=steps_for(Mixture.reverse))
def test_the_reverse_kernel_is_bayes_rule(some, step):
    """log q(x_{t-1} | x_t) = log q(x_t | x_{t-1}) + log q(x_{t-1}) - log q(x_t), point by point."""
    d = some.means.shape[-1]
    rng = np.random.default_rng(3)
    x_prev = rng.normal(0, 2, (4, d))
    x_t = math.sqrt(step.alpha) * x_prev + math.sqrt(step.beta) * rng.normal(size=(4, d))
    step_back = stats.norm.logpdf(x_t, math.sqrt(step.alpha) * x_prev, math.sqrt(step.beta)).sum(-1)
    before, now = some.diffuse(step.alpha_bar_prev), some.diffuse(step.alpha_bar)
    by_bayes = step_back + before.log_prob(x_prev) - now.log_prob(x_t)
    assert_equal(some.reverse(x_t, step).log_prob(x_prev), by_bayes, rtol=1e-7, atol=1e-7)


@checks(Mixture.reverse)
@given(some=mixtures(d=1), step=steps_for(Mixture.reverse).filter(lambda s: s.beta > 1e-3), x_t=numbers())
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
@given(some=mixtures(), step=steps_for(Mixture.denoise))
def test_the_best_guess_follows_the_score(some, step):
    """Tweedie's formula: sqrt(alpha_bar) E[x_0 | x_t] = x_t + (1 - alpha_bar) score."""
    x_t = samples_for(some)
    score = some.diffuse(step).score(x_t)
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
    fitted = Mixture(*(torch.tensor(part, requires_grad=True) for part in mixture.ring(3)._parameters))
    assert len(fitted.modes()) == 3


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


def test_a_wide_bump_between_narrow_peaks_is_found_too():
    some = Mixture([0.45, 0.45, 0.05, 0.05], [[-1.0], [1.0], [-1.0], [1.0]], [2.0, 2.0, 1e-3, 1e-3])
    np.testing.assert_allclose(np.sort(some.modes()[:, 0]), [-1, 0, 1], atol=2e-4)  # the narrow ones lean on the wide


@given(some=mixtures(d=1))
def test_on_a_line_all_peaks_are_found(some):
    """Against a far finer grid; peaks that the two cannot tell apart would be a tie."""
    x = np.linspace(some.means.min() - 1e-3, some.means.max() + 1e-3, 20_001)
    log_p = some.log_prob(x[:, None])
    higher = (log_p[1:-1] > log_p[:-2] + 1e-13) & (log_p[1:-1] >= log_p[2:])
    modes = np.sort(some.modes()[:, 0])
    assert all(abs(modes - peak).min() < 1e-3 + 3 * (x[1] - x[0]) for peak in x[1:-1][higher])
    assert len(modes) == 1 or higher.sum() >= len(modes)
    near = abs(modes[:, None] - some.means[:, 0]) <= np.sqrt(some.variances) * (1 + 1e-9)
    assert near.any(-1).all()  # which is why 1 standard deviation is far enough to look


def test_in_the_plane_a_peak_that_no_mean_leads_to_is_missed():
    """Three components on a triangle: the centre is a peak once their variance is half the radius squared."""
    angle = 2 * math.pi * np.arange(3) / 3
    some = Mixture(np.full(3, 1 / 3), np.stack([np.cos(angle), np.sin(angle)], -1), np.full(3, 0.51))
    around = 0.01 * np.stack([np.cos(angle / 2), np.sin(angle / 2)], -1)
    assert np.all(some.log_prob(around) < some.log_prob(np.zeros(2)))
    assert len(some.modes()) == 3  # as its docstring says


@pytest.mark.parametrize(
    ("weights", "allowed"),
    [
        ([1 / 3, 2 / 3], True),
        (np.array([0.1] * 7 + [0.3], np.float32), True),
        (torch.softmax(torch.linspace(-3, 3, 50), 0), True),
        ([0.5, 0.5 + 1e-7], False),
        (np.array([0.5, 0.5 + 1e-5], np.float32), False),
    ],
)
def test_weights_sum_to_1_in_the_precision_in_which_they_come(weights, allowed):
    means = np.zeros((len(weights), 1), np.float32)
    parts = (
        (means, means[:, 0] + 1)
        if isinstance(weights, np.ndarray | list)
        else map(torch.tensor, (means, means[:, 0] + 1))
    )
    if allowed:
        Mixture(weights, *parts)
    else:
        with refused(["weights", "sum to 1"]):
            Mixture(weights, *parts)


SOME, STEP, X = mixture.two_classes(), forward.linear()[300], np.zeros((3, 1))


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, ["step", "Step", "500"], lambda: SOME.denoise(X, 500)),
        (TypeError, ["step", "Step", "0.5"], lambda: SOME.posterior(X, 0.5)),
        (TypeError, ["alpha_bar", "number", "Step", "'x'"], lambda: SOME.diffuse("x")),
        (TypeError, ["alpha_bar", "list"], lambda: SOME.diffuse([0.5])),
        (ValueError, ["alpha_bar", "[0, 1]", "-1"], lambda: SOME.diffuse(np.float32(-1))),
        (ValueError, ["alpha_bar", "[0, 1]", "1.5"], lambda: SOME.diffuse(torch.tensor([[1.5]]))),
        (ValueError, ["alpha_bar", "nan"], lambda: SOME.diffuse(math.nan)),
        (TypeError, ["x_t", "floating point", "int64"], lambda: SOME.denoise(np.zeros((3, 1), int), STEP)),
        (TypeError, ["x", "floating point", "int64"], lambda: SOME.log_prob(torch.zeros(3, 1, dtype=torch.int64))),
        (TypeError, ["x", "list"], lambda: SOME.score([[0.5]])),
        (TypeError, ["x", "float16"], lambda: SOME.score(X.astype(np.float16))),
        (ValueError, ["x", "finite", "nan"], lambda: SOME.log_prob(X + math.nan)),
        (ValueError, ["x", "finite", "inf"], lambda: SOME.responsibilities(torch.full((2, 1), math.inf))),
        (ValueError, ["x_t", "finite", "nan"], lambda: SOME.reverse(X + math.nan, STEP)),
        (ValueError, ["x_t", "(..., d)", "d = 1", "(3,)"], lambda: SOME.noise(X[:, 0], STEP)),
        (
            ValueError,
            ["step", "fit x_t (1, 1)", "(3, 1)"],
            lambda: SOME.denoise(X[:1], forward.linear().at([1, 2, 3], like=X)),
        ),
        (
            ValueError,
            ["step", "fit x_t (3, 1)", "(3,)"],
            lambda: SOME.bayes(X, forward.linear().at([1, 2, 3], like=X[:, 0])),
        ),
        (
            TypeError,
            ["step", "dtype", "float32"],
            lambda: SOME.denoise(X.astype(np.float32), forward.linear().at(5, like=X)),
        ),
        (TypeError, ["one library"], lambda: SOME.denoise(X, forward.linear().at(5, like=torch.zeros(3, 1)))),
        (ValueError, ["step.beta", "above 0"], lambda: SOME.reverse(X, STEP._replace(beta=0.0))),
        (ValueError, ["variance of 0", "[0.0]"], lambda: mixture.one_point([0.0]).responsibilities(torch.zeros(1, 1))),
        (ValueError, ["variance of 0"], lambda: Mixture([0.5, 0.5], [[0.0], [1.0]], [1.0, 0.0]).score(X)),
        (ValueError, ["variances", "finite", "inf"], lambda: Mixture([1.0], [[0.0]], [math.inf])),
        (ValueError, ["variances", "at least 0", "nan"], lambda: Mixture([1.0], [[0.0]], [math.nan])),
    ],
)
def test_what_the_door_refuses(error, words, call):
    with refused(words, error):
        call()


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
