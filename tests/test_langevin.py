"""Chapter 5: scores and diffusions, against autograd, exact laws of the running example, quadrature and exact orders of error."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, linalg, optimize, stats

from tinyddpm import forward, langevin, mixture, posterior, train
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule, Step
from tinyddpm.mixture import Mixture

from .strategies import betas, numbers, points, positive, refused, seeded, steps_for

CLASSES = mixture.two_classes()
SMOOTH = Mixture([0.3, 0.7], [[-1.2], [0.8]], [0.3, 0.2])
PLANE = Mixture([0.2, 0.5, 0.3], [[-1.0, 0.4], [0.8, 0.9], [0.3, -1.1]], [0.5, 0.4, 0.7])


def at(data, time):
    """The running example after so much noise: the clock is B, so that beta is 1."""
    return data.diffuse(Step.from_log_alpha_bar(-time))


def reverse_drift(data):
    return lambda x, time: langevin.reverse_drift(langevin.vp_drift(x, 1), 1, at(data, time).score(x))


def flow_drift(data):
    return lambda x, time: langevin.probability_flow_drift(langevin.vp_drift(x, 1), 1, at(data, time).score(x))


def cdf(data, x):
    """The distribution function of a one-dimensional mixture."""
    x = np.asarray(x)
    return (data.weights * stats.norm.cdf(x[..., None], data.means[:, 0], np.sqrt(data.variances))).sum(-1)


def slope(errors):
    """By which powers of the step errors fall that were measured at steps halved each time."""
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def vanishes(difference):
    """Whether an expression is 0 for all values of its symbols; the powers of 0.5 in it are roots."""
    return sympy.simplify(sympy.nsimplify(difference, rational=True)) == 0


# The score. ----------------------------------------------------------------------------------------------------------


@checks(langevin.score)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_the_score_of_a_density_whose_coordinates_hang_together(like):
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.7]])
    mean, x = np.array([0.3, -1.0, 2.0]), np.random.default_rng(0).normal(size=(4, 5, 3))

    def log_prob(y):
        inside = torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(covariance))
        return inside.log_prob(y.double())

    expected = like(np.linalg.solve(covariance, (mean - x)[..., None])[..., 0])
    with torch.no_grad():  # as samplers are run
        assert_equal(langevin.score(log_prob, like(x)), expected)


@checks(langevin.score)
def test_heavy_tails_pull_less():
    """Student's t: the score is -(n + 1) x / (n + x^2), which far out is smaller than near by."""
    x = np.linspace(-30, 30, 41)[:, None]
    found = langevin.score(lambda y: torch.distributions.StudentT(3.0).log_prob(y).sum(-1), x)
    assert_equal(found, -4 * x / (3 + x**2), atol=1e-14)


@checks(langevin.score, langevin.gaussian_score)
@given(x=points(2), var=positive())
def test_the_statisticians_score_of_a_mean_is_the_negative(x, var):
    x, mean = (np.atleast_1d(np.asarray(value)) for value in x)

    def log_prob(x, mean):
        normal = torch.distributions.Normal(torch.as_tensor(mean), math.sqrt(var))
        return normal.log_prob(torch.as_tensor(x)).sum(-1)

    ours = langevin.score(lambda y: log_prob(y, mean), x)
    assert_equal(langevin.score(lambda m: log_prob(x, m), mean), -ours, atol=1e-13)
    assert_equal(langevin.gaussian_score(x, mean, var), ours, atol=1e-13)


def line(n=6_001, end=12.0):
    """Points of a line and the distance between them, for the trapezoidal rule, which is exact here to rounding."""
    x = np.linspace(-end, end, n)[:, None]
    return x, float(x[1, 0] - x[0, 0])


@checks(langevin.score)
def test_scores_are_zero_on_average():
    x, width = line()
    weight = np.exp(SMOOTH.log_prob(x)) * width
    assert_equal(weight @ langevin.score(SMOOTH.log_prob, x), np.zeros(1), atol=1e-12)


@checks(langevin.score_from_noise, langevin.noise_from_score)
@given(x=points(2), step=steps_for(langevin.score_from_noise, langevin.noise_from_score))
def test_noise_is_the_score_of_one_jump_in_another_unit(x, step):
    x_0, noise = (np.atleast_1d(np.asarray(value)) for value in x)
    x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noise
    jump = torch.distributions.Normal(math.sqrt(step.alpha_bar) * torch.tensor(x_0), math.sqrt(step.noise_var))
    by_autograd = langevin.score(lambda y: jump.log_prob(y).sum(-1), x_t)
    size = 1e-14 / step.noise_var  # x_t is rounded, and the score divides by the variance
    assert_equal(langevin.score_from_noise(noise, step), by_autograd, atol=size)
    assert_equal(langevin.noise_from_score(by_autograd, step), noise, atol=size * math.sqrt(step.noise_var))


GRID, WIDTH = line(28_001, 14.0)


@checks(langevin.tweedie, langevin.noise_from_score, langevin.score_from_noise)
@given(step=steps_for(langevin.tweedie).filter(lambda s: s.noise_var > 1e-4), x_t=numbers())
def test_score_noise_and_best_guess_are_one_thing_by_three_routes(step, x_t):
    """By integrals over x_0, from the score of the diffused mixture, and from the noise that it amounts to."""
    here, root = np.array([[x_t]]), math.sqrt(step.alpha_bar)
    both = np.exp(CLASSES.log_prob(GRID)) * stats.norm.pdf(x_t, root * GRID[:, 0], math.sqrt(step.noise_var))
    assume(both.sum() * WIDTH > 1e-200)  # farther out in the tails the integral has no digits left
    x_0 = np.array([[both @ GRID[:, 0] / both.sum()]])
    noise = np.array([[both @ (x_t - root * GRID[:, 0]) / both.sum() / math.sqrt(step.noise_var)]])
    score = CLASSES.diffuse(step).score(here)
    size = {"atol": 1e-9 + 1e-13 / root}  # the guess divides by the root of alpha_bar
    assert_equal(langevin.tweedie(here, score, step), x_0, **size)
    assert_equal(forward.predict_x0(here, langevin.noise_from_score(score, step), step), x_0, **size)
    assert_equal(langevin.noise_from_score(score, step), noise, atol=1e-8 / math.sqrt(step.noise_var))
    assert_equal(langevin.score_from_noise(noise, step), score, atol=1e-8 / step.noise_var)


# Langevin dynamics. --------------------------------------------------------------------------------------------------


@checks(langevin.langevin_step)
@given(x=points(3), c=positive())
def test_the_other_convention_has_half_the_step_size(x, c):
    x, score, z = x
    assert_equal(langevin.langevin_step(x, score, 2 * c, z), x + c * score + math.sqrt(2 * c) * z, atol=1e-14)


@checks(langevin.langevin_step)
def test_a_langevin_step_is_reversible_but_for_order_three_halves():
    """p(x) q(x' given x) = p(x') q(x given x') as the step goes to 0: what makes p stationary. With another share of noise
    or drift the two sides would differ by order one half."""

    def log_move(x, y, step_size):
        there = langevin.langevin_step(x, SMOOTH.score(x), step_size, 0 * x)
        std = float((langevin.langevin_step(x, SMOOTH.score(x), step_size, 1 + 0 * x) - there)[0])
        assert std**2 == pytest.approx(step_size, rel=1e-9)
        return stats.norm.logpdf(y, there, std).sum()

    x, errors = np.array([0.3]), []
    for step_size in 0.01 * 0.5 ** np.arange(6):
        y = langevin.langevin_step(x, SMOOTH.score(x), step_size, np.array([1.7]))
        there, back = (SMOOTH.log_prob(a) + log_move(a, b, step_size) for a, b in ((x, y), (y, x)))
        errors.append(abs(there - back))
    assert slope(errors)[-1] == pytest.approx(1.5, abs=0.03)


@checks(langevin.langevin)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_without_a_score_langevin_dynamics_is_a_random_walk(like):
    x = like(np.array([[0.3, -1.0], [2.0, 0.1]]))
    found = langevin.langevin(lambda x: 0 * x, x, 0.25, 3, np.random.default_rng(5))
    walked = np.random.default_rng(5).standard_normal((3, 2, 2)).sum(0)
    assert_equal(found, x + like(walked / 2))
    assert langevin.langevin(lambda x: 0 * x, x, 0.25, 0, np.random.default_rng(5)) is x


def geometric(x, z, kept, sizes):
    """Where x -> kept x + sqrt(size) z leads in many steps: each z is shrunk by all steps that follow it."""
    after = kept ** np.arange(len(z) - 1, -1, -1)
    return kept ** len(z) * x + np.tensordot(after * np.sqrt(sizes), z, 1)


@checks(langevin.langevin)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
@pytest.mark.parametrize("shape", [(1,), (3, 2), (2, 3, 2)])
def test_towards_a_standard_normal_a_langevin_chain_is_a_geometric_sum(like, shape):
    x = np.random.default_rng(1).normal(size=shape)
    found = langevin.langevin(lambda x: -x, like(x), 0.3, 7, np.random.default_rng(5))
    z = np.random.default_rng(5).standard_normal((7, *shape))
    assert_equal(found, like(geometric(x, z, 0.85, [0.3] * 7)), atol=1e-14)


@checks(langevin.langevin, langevin.annealed_langevin)
def test_chains_of_tensors_draw_from_a_generator_of_torch_too():
    x = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    z = torch.randn((2, *x.shape), generator=seeded(3), dtype=torch.float64)
    still = langevin.langevin(lambda x: 0 * x, x, 0.25, 2, seeded(3))
    assert_equal(still, x + z.sum(0) / 2)
    annealed = langevin.annealed_langevin(lambda x, var: 0 * x, x, [4.0, 1.0], 0.25, 1, seeded(3))
    assert_equal(annealed, x + z[0] + z[1] / 2)


@checks(langevin.stationary_variance, langevin.langevin_step)
def test_the_stationary_variance_by_algebra():
    x, z, mean, delta, var = sympy.symbols("x z mu delta v", positive=True)
    step = sympy.expand(langevin.langevin_step(x, langevin.gaussian_score(x, mean, var), delta, z))
    kept, fresh = step.coeff(x), step.coeff(z)  # linear in both, which are independent: their variances add
    assert vanishes(step.subs({x: mean, z: 0}) - mean)
    ends = langevin.stationary_variance(delta, var)
    assert vanishes(kept**2 * ends + fresh**2 - ends)


@checks(langevin.stationary_variance)
@given(var=positive(), share=st.floats(0.01, 0.99))
def test_the_stationary_variance_by_going_there(var, share):
    """The variance after a step, from that before, again and again until it stays."""
    step_size = 4 * var * share
    kept = langevin.langevin_step(1.0, -1 / var, step_size, 0.0)
    variance = 0.0
    for _ in range(40):  # doubles the number of steps: sum of kept^(2 i) for i below 2^40
        variance, kept = variance + kept**2 * variance if variance else step_size * (1 + kept**2), kept**2
    assert_equal(langevin.stationary_variance(step_size, var), variance)


@checks(langevin.langevin, langevin.stationary_variance)
def test_the_stationary_variance_by_running_the_chain():
    n, var, step_size = 20_000, 0.5, 0.6
    start = np.zeros((n, 1))
    x = langevin.langevin(
        lambda x: langevin.gaussian_score(x, 2.0, var), start, step_size, 60, np.random.default_rng(2)
    )
    ends = langevin.stationary_variance(step_size, var)
    assert ends > 1.4 * var
    # the variance of n normal numbers is known to sqrt(2 / n) of itself, the mean to std / sqrt(n); five of those
    assert abs(x.var() - ends) < 5 * math.sqrt(2 / n) * ends
    assert abs(x.mean() - 2) < 5 * math.sqrt(ends / n)


@checks(langevin.forward_as_langevin, langevin.langevin_gap)
@given(x=points(2), beta=betas())
def test_the_forward_step_is_langevin_but_for_the_gap(x, beta):
    x, z = x
    forward_step = forward.diffuse_once(x, z, Schedule([beta])[1])
    assert_equal(langevin.forward_as_langevin(x, beta, z), forward_step + langevin.langevin_gap(x, beta), atol=1e-14)


@checks(langevin.langevin_gap, langevin.forward_as_langevin)
@pytest.mark.careful
@given(x=numbers(), beta=st.one_of(betas(1e-9), st.just(1.0)))
def test_the_gap_is_of_second_order(x, beta):
    with mpmath.workdps(50):
        exact = (1 - mpmath.mpf(beta) / 2 - mpmath.sqrt(1 - mpmath.mpf(beta))) * x
    assert_equal(langevin.langevin_gap(x, beta), float(exact))
    least, most = beta**2 / 8 * abs(x), beta**2 / 2 * abs(x)
    assert least * (1 - 1e-12) <= abs(langevin.langevin_gap(x, beta)) <= most * (1 + 1e-12)
    assert langevin.forward_as_langevin(1.0, beta, 0.0) == 1 - beta / 2


@checks(langevin.minibatch_score)
def test_the_average_over_all_minibatches_is_the_score_of_the_posterior():
    seen = np.random.default_rng(3).normal(size=(5, 2))
    theta = np.array([0.4, -0.2])

    def log_posterior(theta):  # prior N(0, 1), observations N(theta, 0.5), up to a constant
        return -(theta**2).sum(-1) / 2 - ((torch.tensor(seen) - theta) ** 2).sum()

    pulls = 2 * (seen - theta)
    for size in (1, 2, 5):
        guesses = [
            langevin.minibatch_score(-theta, pulls[list(drawn)], 5) for drawn in itertools.combinations(range(5), size)
        ]
        assert_equal(np.mean(guesses, axis=0), langevin.score(log_posterior, theta))


@checks(langevin.minibatch_score)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_every_chain_has_its_own_minibatch(like):
    rng = np.random.default_rng(4)
    prior, pulls = rng.normal(size=(3, 2)), rng.normal(size=(4, 3, 2))
    expected = [[prior[i, j] + 10 / 4 * math.fsum(pulls[:, i, j]) for j in range(2)] for i in range(3)]
    assert_equal(langevin.minibatch_score(like(prior), like(pulls), 10), like(np.array(expected)))


# How a score is learned. ---------------------------------------------------------------------------------------------

MATRIX = np.array([[-1.2, 0.5], [0.1, -0.4]])
MODELS = {  # fields on the plane, and their divergences
    "nothing": (lambda x: 0 * x, lambda x: 0 * x[..., 0]),
    "linear": (lambda x: x @ MATRIX.T + np.array([0.3, -0.1]), lambda x: np.trace(MATRIX) + 0 * x[..., 0]),
    "bent": (
        lambda x: np.stack([np.tanh(x[..., 0] + 2 * x[..., 1]), np.sin(x[..., 0]) * x[..., 1]], -1),
        lambda x: 1 / np.cosh(x[..., 0] + 2 * x[..., 1]) ** 2 + np.sin(x[..., 0]),
    ),
}


def plane():
    """Points of a plane, and their weights under the example there."""
    axis = np.linspace(-7, 7, 141)
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return x, np.exp(PLANE.log_prob(x)) * (axis[1] - axis[0]) ** 2


@checks(langevin.explicit_score_matching, langevin.implicit_score_matching)
def test_explicit_and_implicit_score_matching_differ_by_a_constant():
    """The constant is half the mean square of the true score, whatever the model."""
    x, weight = plane()
    score = PLANE.score(x)
    constant = float(weight @ (score[:, 0] ** 2 + score[:, 1] ** 2)) / 2
    for model, spread in MODELS.values():
        explicit = langevin.explicit_score_matching(model(x), score)
        implicit = langevin.implicit_score_matching(model(x), spread(x))
        assert_equal(float(weight @ explicit) - float(weight @ implicit), constant)
    assert_equal(langevin.explicit_score_matching(score, score), np.zeros(len(x)))


@checks(langevin.denoising_score_matching, langevin.explicit_score_matching)
@pytest.mark.parametrize("kept", [0.2, 0.8])
def test_denoising_and_explicit_score_matching_differ_by_a_constant(kept):
    """Over clean and noisy samples together, against the score of the noisy ones: half of d / var less its mean square."""
    axis = np.linspace(-9, 9, 601)
    x_0, x_t = (a[..., None] for a in np.meshgrid(axis, axis, indexing="ij"))
    var, width = 1 - kept, axis[1] - axis[0]
    jump = stats.norm.pdf(x_t, math.sqrt(kept) * x_0, math.sqrt(var))[..., 0]
    joint = np.exp(SMOOTH.log_prob(x_0)) * jump * width**2
    score = SMOOTH.diffuse(kept).score(x_t)
    constant = (1 / var - float((joint * score[..., 0] ** 2).sum())) / 2
    for model in (lambda x: 0 * x, lambda x: 0.4 - 1.3 * x, lambda x: np.tanh(2 * x) - np.sin(x)):
        denoising = langevin.denoising_score_matching(model(x_t), x_t, math.sqrt(kept) * x_0, var)
        explicit = langevin.explicit_score_matching(model(x_t), score)
        assert_equal(float((joint * denoising).sum()) - float((joint * explicit).sum()), constant)


@checks(langevin.denoising_score_matching)
@given(
    x=st.lists(st.tuples(numbers(), numbers(), numbers()), min_size=1, max_size=4),
    step=steps_for(forward.diffuse, langevin.score_from_noise),
)
def test_the_loss_of_ddpm_is_denoising_score_matching(x, step):
    x_0, noise, noise_hat = np.array(x).T
    x_t = forward.diffuse(x_0, noise, step)
    answer = langevin.score_from_noise(noise_hat, step)
    found = langevin.denoising_score_matching(answer, x_t, *forward.marginal(x_0, step))
    expected = float(np.linalg.norm(noise - noise_hat) ** 2) / (2 * step.noise_var)
    assert_equal(found, expected, rtol=1e-9, atol=1e-12 / step.noise_var**1.5)


def swirl(x):
    """A field in space, for NumPy and torch."""
    xp = torch if torch.is_tensor(x) else np
    a, b, c = (x[..., i] for i in range(3))
    return xp.stack([xp.sin(a * b), a**2 * b**2 - c, xp.exp(-c) + a], -1)


def swirl_divergence(x):
    a, b, c = np.moveaxis(x, -1, 0)
    return b * np.cos(a * b) + 2 * a**2 * b - np.exp(-c)


@checks(
    langevin.explicit_score_matching,
    langevin.implicit_score_matching,
    langevin.denoising_score_matching,
    langevin.fokker_planck,
)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 1), (3, 2), (2, 3, 2)])
def test_there_is_one_loss_and_one_rate_for_each_sample(like, shape):
    """Sample by sample, in batches of every shape."""
    rng = np.random.default_rng(7)
    (a, b, c), (u, v) = rng.normal(size=(3, *shape)), rng.normal(size=(2, *shape[:-1]))
    found = [
        langevin.explicit_score_matching(*map(like, (a, b))),
        langevin.implicit_score_matching(*map(like, (a, u))),
        langevin.denoising_score_matching(*map(like, (a, b, c)), 0.7),
        langevin.fokker_planck(like(a), 1.3, *map(like, (b, u, v))),
    ]
    expected = [np.empty(shape[:-1]) for _ in found]
    for at in np.ndindex(shape[:-1]):
        explicit, square, pull, along = (
            math.fsum(term)
            for term in ((a[at] - b[at]) ** 2, a[at] ** 2, (a[at] - (c[at] - b[at]) / 0.7) ** 2, a[at] * b[at])
        )
        steep = math.fsum(b[at] ** 2)
        for loss, value in zip(
            expected,
            (explicit / 2, u[at] + square / 2, pull / 2, -u[at] - along + 0.845 * (v[at] + steep)),
            strict=True,
        ):
            loss[at] = value
    for one, truth in zip(found, expected, strict=True):
        assert_equal(one, like(truth), atol=1e-14)


@checks(langevin.divergence, langevin.hutchinson)
@given(x=st.lists(st.tuples(numbers(), numbers(), numbers()), min_size=1, max_size=4))
def test_divergence_exactly_and_as_the_mean_over_all_signs(x):
    x = np.array(x) / 3
    expected = swirl_divergence(x)
    assert_equal(langevin.divergence(swirl, x), expected, atol=1e-13)
    signs = [v + 0 * x for v in itertools.product((-1.0, 1.0), repeat=3)]
    assert_equal(np.mean([langevin.hutchinson(swirl, x, v) for v in signs], axis=0), expected, atol=1e-12)


@checks(langevin.hutchinson, langevin.divergence)
def test_one_guess_is_the_jacobian_between_the_direction_and_itself():
    rng = np.random.default_rng(1)
    x, v = torch.tensor(rng.normal(size=(2, 4, 3))), torch.tensor(rng.normal(size=(2, 4, 3)))
    jacobians = torch.func.vmap(torch.func.vmap(torch.func.jacrev(swirl)))(x)
    assert_equal(langevin.hutchinson(swirl, x, v), torch.einsum("abi,abij,abj->ab", v, jacobians, v), atol=1e-13)
    assert_equal(langevin.divergence(swirl, x), torch.einsum("abii->ab", jacobians), atol=1e-13)


# Many sizes of noise. ------------------------------------------------------------------------------------------------


@checks(langevin.annealed_langevin)
def test_annealing_walks_with_steps_in_proportion_to_the_noise():
    seen, variances = [], [9.0, 4.0, 1.0]

    def nothing(x, var):
        seen.append(var)
        return 0 * x

    x = np.array([[0.5], [-0.5]])
    found = langevin.annealed_langevin(nothing, x, variances, 0.01, 2, np.random.default_rng(4))
    z = np.random.default_rng(4).standard_normal((3, 2, 2, 1)).sum(1)
    assert_equal(found, x + 0.3 * z[0] + 0.2 * z[1] + 0.1 * z[2])
    assert seen == [9.0, 9.0, 4.0, 4.0, 1.0, 1.0]


@checks(langevin.annealed_langevin)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_annealing_takes_the_same_share_of_every_level(like):
    """Towards N(0, var) every step of every level shrinks by the same factor, 1 - 0.2 / 2, since it is 0.2 var long."""
    x, variances = np.random.default_rng(1).normal(size=(2, 3)), np.array([9.0, 4.0, 1.0])
    found = langevin.annealed_langevin(lambda x, var: -x / var, like(x), variances, 0.2, 2, np.random.default_rng(5))
    z = np.random.default_rng(5).standard_normal((6, 2, 3))
    assert_equal(found, like(geometric(x, z, 0.9, 0.2 * variances.repeat(2))), atol=1e-14)


def exploded(data, var):
    """Data with noise of so much variance on it, and not shrunk."""
    return Mixture(data.weights, data.means, data.variances + var)


@checks(langevin.annealed_langevin, langevin.langevin)
def test_langevin_dynamics_keeps_wrong_weights_of_modes_and_annealing_mends_them():
    """One in five belongs to the left mode. Plain chains stay on the side of the valley where they began; annealed ones find
    the right side, to 4 standard errors and 0.02 for what the last crossings, at middling noise, still leave."""
    data, n, rng = Mixture([0.2, 0.8], [[-2.0], [2.0]], [0.1, 0.1]), 2000, np.random.default_rng(0)
    start = rng.standard_normal((n, 1))
    plain = langevin.langevin(data.score, start, 0.02, 400, rng)
    assert np.mean((plain < 0) == (start < 0)) > 0.95
    assert np.mean(plain < 0) > 0.4
    for half in (plain[plain < 0], plain[plain > 0]):  # within a mode all is well
        assert abs(abs(half.mean()) - 2) < 5 * math.sqrt(0.1 / half.size) and half.var() == pytest.approx(0.1, rel=0.2)
    annealed = langevin.annealed_langevin(
        lambda x, var: exploded(data, var).score(x), 4 * start, np.geomspace(16, 0.01, 16), 0.005, 100, rng
    )
    assert abs(np.mean(annealed < 0) - 0.2) < 4 * math.sqrt(0.2 * 0.8 / n) + 0.02


# Two diffusions. -----------------------------------------------------------------------------------------------------


@checks(langevin.brownian_path)
@pytest.mark.parametrize("times", [[0.0, 0.3, 0.35, 1.0, 2.5], [4.0, 1.0, 0.7, 0.1]])
def test_two_looks_at_brownian_motion_share_the_time_before_the_first(times):
    """The path is linear in z, so its covariance can be read off: the shorter of the two times passed."""
    paths = langevin.brownian_path(times, np.eye(len(times) - 1))
    passed = abs(np.array(times) - times[0])
    assert_equal(paths @ paths.T, np.minimum.outer(passed, passed), atol=1e-15)
    torch_too = langevin.brownian_path(
        torch.tensor(times, dtype=torch.float64), torch.eye(len(times) - 1, dtype=torch.float64)
    )
    assert_equal(torch_too, torch.tensor(paths))


@checks(langevin.brownian_path, langevin.quadratic_variation)
@pytest.mark.parametrize("like", [np.float64, np.float32, torch.tensor])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 2), (2, 3, 1, 2)])
@pytest.mark.parametrize("times", [[0.0, 0.25], [3.0, 2.0, 1.75, -0.5], np.array([0.0, 1.0, 5.0, 5.25])])
def test_each_coordinate_of_brownian_motion_walks_by_its_own_noise(like, shape, times):
    """Increment by increment, for each coordinate alone; and the path is as rough as the sum of their squares."""
    z = like(np.random.default_rng(0).normal(size=(len(times) - 1, *shape)))
    path = langevin.brownian_path(times, z)
    assert path.shape == (len(times), *shape) and path.dtype == z.dtype and type(path) is type(z)
    expected = np.zeros(path.shape)
    for i, passed in enumerate(np.diff(times)):
        for at in np.ndindex(shape):
            expected[(i + 1, *at)] = expected[(i, *at)] + math.sqrt(abs(passed)) * float(z[(i, *at)])
    rtol = 1e-6 if like is np.float32 else 1e-12
    np.testing.assert_allclose(path, expected, rtol=rtol, atol=rtol)
    rough = langevin.quadratic_variation(path)
    squares = sum(abs(passed) * np.asarray(fresh) ** 2 for passed, fresh in zip(np.diff(times), z, strict=True))
    assert rough.shape == shape and rough.dtype == z.dtype
    np.testing.assert_allclose(rough, squares, rtol=10 * rtol)


@checks(langevin.quadratic_variation, langevin.brownian_path)
def test_the_quadratic_variation_of_brownian_motion_is_the_time_passed():
    n, time = 4000, 3.0
    times = np.linspace(0, time, n + 1)
    rng = np.random.default_rng(8)
    path = langevin.brownian_path(times, rng.standard_normal((n, 50)))
    found = langevin.quadratic_variation(path)
    assert found.shape == (50,)
    assert np.all(abs(found - time) < 5 * math.sqrt(2 / n) * time)  # a sum of n squares of variance 2 (time / n)^2
    assert abs(found.mean() - time) < 5 * math.sqrt(2 / n / 50) * time
    uneven = langevin.brownian_path([0.0, 0.5, 0.6, 2.0], np.array([[1.0], [-1.0], [-1.0]]))
    assert_equal(langevin.quadratic_variation(uneven), np.array([2.0]))  # signs have square 1 always
    smooth = langevin.quadratic_variation(np.sin(times)[:, None])
    assert smooth[0] == pytest.approx(integrate.quad(lambda t: math.cos(t) ** 2, 0, time)[0] * time / n, rel=1e-5)


@checks(langevin.quadratic_variation)
def test_the_walk_of_ddpm_is_as_rough_as_brownian_motion_but_does_not_run_off():
    schedule, n = forward.linear(), 400
    rng = np.random.default_rng(9)
    x = [np.full((n, 1), 1.5)]
    for step in schedule:
        x.append(forward.diffuse_once(x[-1], rng.standard_normal((n, 1)), step))
    rough = langevin.quadratic_variation(np.stack(x))
    total = float(schedule.beta.sum())
    assert abs(rough.mean() - total) < 0.01 * total  # 10.05; the square of a step is beta + O(beta^2)
    assert abs(x[-1].var() - 1) < 5 * math.sqrt(2 / n) and abs(x[-1].mean()) < 5 / math.sqrt(n)
    assert forward.brownian(1.5, total).var > 10


@checks(langevin.vp_drift, langevin.vp_diffusion)
def test_the_variance_preserving_diffusion_has_the_moments_of_ornstein_and_uhlenbeck():
    """d mean = f(mean) and d var = 2 f' var + g^2, for any noise rate that changes in time."""
    time, x_0, slow, fast = sympy.symbols("tau x_0 beta_min beta_max", positive=True)
    beta = slow + (fast - slow) * time
    mean, var = forward.ornstein_uhlenbeck(x_0, sympy.integrate(beta, (time, 0, time)))
    assert vanishes(sympy.diff(mean, time) - langevin.vp_drift(mean, beta))
    pull = sympy.diff(langevin.vp_drift(x_0, beta), x_0)
    assert vanishes(sympy.diff(var, time) - 2 * pull * var - langevin.vp_diffusion(beta) ** 2)


@checks(langevin.ve_diffusion)
def test_the_variance_exploding_diffusion_adds_what_brownian_motion_does():
    time, smallest, growth = sympy.symbols("tau v lambda", positive=True)
    var = forward.brownian(0, smallest * sympy.exp(growth * time) - smallest).var
    assert vanishes(sympy.diff(var, time) - langevin.ve_diffusion(time, smallest, growth) ** 2)
    # in the paper's letters, with sigma from 0.01 to 50 in time 1: sigma sqrt(2 log(5000)) at its end
    assert_equal(langevin.ve_diffusion(1.0, 0.01**2, 2 * math.log(5000)), 50 * math.sqrt(2 * math.log(5000)))


@checks(langevin.vp_drift, langevin.vp_diffusion, langevin.euler_maruyama_step, langevin.forward_as_langevin)
@given(x=points(2), delta=positive())
def test_a_step_of_the_diffusion_is_a_langevin_step_on_the_normal_distribution(x, delta):
    """On the clock on which beta is 1, and on one that runs three times as fast."""
    x, z = x
    expected = langevin.forward_as_langevin(x, delta, z)
    for beta in (1.0, 3.0):
        drift, diffusion, dt = langevin.vp_drift(x, beta), langevin.vp_diffusion(beta), delta / beta
        step = langevin.euler_maruyama_step(x, drift, diffusion, dt, math.sqrt(dt) * z)
        assert_equal(step, expected, atol=1e-13)


# Densities in motion. ------------------------------------------------------------------------------------------------

TIMES = st.floats(0.02, 5.0)
PLACES = st.lists(st.tuples(numbers(), numbers()), min_size=1, max_size=4).map(lambda x: np.array(x) / 2)


WEIGHTS, MEANS, VARIANCES = (torch.tensor(p) for p in (PLANE.weights, PLANE.means, PLANE.variances))


def preserved(time):
    """By what the means shrink, and the variances, after so much noise on the book's clock."""
    return torch.exp(-time / 2), VARIANCES * torch.exp(-time) + 1 - torch.exp(-time)


def grown(time):
    """The same where variance is only added: 0.1 at time 0, and e times as much after each unit of time."""
    return 1.0, VARIANCES + 0.1 * torch.exp(time)


def rate(law, x, time):
    """d log p / d time of the example in the plane, by torch's distributions and derivatives."""

    def log_prob(time):
        shrunk, var = law(time)
        parts = torch.distributions.Normal(shrunk * MEANS, var.sqrt()[:, None].expand(MEANS.shape))
        family = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(WEIGHTS), torch.distributions.Independent(parts, 1)
        )
        return family.log_prob(torch.tensor(x))

    time = torch.tensor(time, dtype=torch.float64)
    return torch.autograd.functional.jacobian(log_prob, time).numpy()


@checks(langevin.fokker_planck, langevin.vp_drift, langevin.vp_diffusion)
@given(time=TIMES, x=PLACES, beta=st.sampled_from([1.0, 0.3, 4.0]))
def test_the_diffused_mixture_obeys_fokker_and_planck(time, x, beta):
    """On a clock that runs beta times as fast as B."""
    found = langevin.fokker_planck(
        langevin.vp_drift(x, beta),
        langevin.vp_diffusion(beta),
        at(PLANE, time).score(x),
        langevin.divergence(lambda y: langevin.vp_drift(y, beta), x),
        langevin.divergence(at(PLANE, time).score, x),
    )
    assert_equal(found, beta * rate(preserved, x, time), atol=1e-10)


@checks(langevin.fokker_planck, langevin.ve_diffusion)
@given(time=TIMES, x=PLACES)
def test_the_exploded_mixture_obeys_it_too(time, x):
    here = exploded(PLANE, 0.1 * math.exp(time))
    still, spread = 0 * x[:, 0], langevin.divergence(here.score, x)
    found = langevin.fokker_planck(0 * x, langevin.ve_diffusion(time, 0.1, 1.0), here.score(x), still, spread)
    assert_equal(found, rate(grown, x, time), atol=1e-10)


@checks(langevin.fokker_planck)
@given(x=PLACES)
def test_langevin_dynamics_leaves_its_target_as_it_is(x):
    score = PLANE.score(x)
    spread = langevin.divergence(PLANE.score, x)
    assert_equal(langevin.fokker_planck(score / 2, 1.0, score, spread / 2, spread) + 1, np.ones(len(x)))


@checks(langevin.reverse_drift, langevin.probability_flow_drift)
@given(time=TIMES, x=PLACES, beta=st.sampled_from([1.0, 4.0]))
def test_backwards_and_without_noise_the_densities_are_the_same(time, x, beta):
    """Forward in time with noise, forward without, and backward with noise: one change of the density."""
    score, g = at(PLANE, time).score, langevin.vp_diffusion(beta)
    expected = beta * rate(preserved, x, time)

    def change(drift, diffusion):
        spread = langevin.divergence(drift, x), langevin.divergence(score, x)
        return langevin.fokker_planck(drift(x), diffusion, score(x), *spread)

    def backward(y):
        return -langevin.reverse_drift(langevin.vp_drift(y, beta), g, score(y))

    def flow(y):
        return langevin.probability_flow_drift(langevin.vp_drift(y, beta), g, score(y))

    assert_equal(change(backward, g), -expected, atol=1e-10)
    assert_equal(change(flow, 0.0), expected, atol=1e-10)


@checks(langevin.reverse_drift, langevin.probability_flow_drift, langevin.euler_maruyama_step)
def test_ancestral_sampling_is_the_reverse_diffusion_and_ddim_the_flow_to_first_order():
    x, z, gaps = np.array([[0.4]]), np.array([[-0.8]]), []
    for beta in 0.01 * 0.5 ** np.arange(5):
        step = Schedule([0.4, beta])[2]
        score = SMOOTH.diffuse(step).score(x)
        noise, drift = langevin.noise_from_score(score, step), langevin.vp_drift(x, 1)
        ancestral = posterior.ancestral_step(x, noise, z, step, step.beta)
        back = langevin.reverse_drift(drift, 1, score)
        ddim = posterior.ddim_step(x, noise, z, step, step.before, 0.0)
        flow = langevin.probability_flow_drift(drift, 1, score)
        gaps.append(
            [
                float(abs(ancestral - langevin.euler_maruyama_step(x, back, 1, -beta, math.sqrt(beta) * z))[0, 0]),
                float(abs(ddim - langevin.euler_maruyama_step(x, flow, 0, -beta, 0.0))[0, 0]),
            ]
        )
    np.testing.assert_allclose(slope(gaps), 2, atol=0.02)


# The reverse diffusion as a sampler. ---------------------------------------------------------------------------------


def clock(time):
    return Step.from_log_alpha_bar(-time)


@checks(langevin.reverse_sde_step)
@given(x=points(3), start=st.floats(1e-3, 8.0), share=st.floats(1e-6, 0.999))
def test_the_reverse_diffusion_by_the_clock(x, start, share):
    """By 50 digits of the time that passes, where alpha_bar is the exponential of minus the time."""
    x_t, score, z = x
    end = start * (1 - share)
    with mpmath.workdps(50):
        passed = float(mpmath.mpf(start) - mpmath.mpf(end))
    found = langevin.reverse_sde_step(x_t, score, z, clock(start), clock(end))
    expected = x_t + passed * (x_t / 2 + score) + math.sqrt(passed) * z
    # the clock is read from two numbers near alpha_bar or 1 - alpha_bar, whichever has more digits
    off = 1e-14 * start / passed
    assert_equal(found, expected, rtol=1e-10 + off, atol=1e-13)


def exact_reverse(mean, var, x_t, start, end):
    """Where x was at an earlier time, for data of one Gaussian: conditioning one of two jointly Gaussian variables."""
    (m_t, v_t), (m_s, v_s) = ((math.exp(-b / 2) * mean, math.exp(-b) * var + 1 - math.exp(-b)) for b in (start, end))
    shared = math.exp(-(start - end) / 2) * v_s
    return m_s + shared / v_t * (x_t - m_t), v_s - shared**2 / v_t


def read_off(step_back, x_t):
    """Mean and variance of a step that is linear in its noise."""
    mean = step_back(0 * x_t)
    return float(mean[0]), float((step_back(1 + 0 * x_t) - mean)[0]) ** 2


@checks(langevin.reverse_sde_step)
@pytest.mark.parametrize("start", [0.2, 1.0, 4.0])
def test_a_step_of_the_reverse_diffusion_errs_by_the_square_of_its_length(start):
    """Against the exact kernel for one Gaussian, and against the moments of that for a mixture."""
    one, mean, var, x_t = Mixture([1.0], [[0.7]], [0.3]), 0.7, 0.3, np.array([0.4])
    gaps = []
    for length in 0.02 * 0.5 ** np.arange(6):
        step, step_s = clock(start), clock(start - length)
        kernel = SMOOTH.diffuse(step_s).bayes(x_t, step.since(step_s))
        found = [
            read_off(
                lambda z, s=step, e=step_s, d=data: langevin.reverse_sde_step(x_t, at(d, start).score(x_t), z, s, e),
                x_t,
            )
            for data in (one, SMOOTH)
        ]
        truth = [
            tuple(map(float, exact_reverse(mean, var, x_t[0], start, start - length))),
            (float(kernel.mean()[0]), float(kernel.var()[0])),
        ]
        gaps.append(abs(np.array(found) - np.array(truth)).ravel())
    np.testing.assert_allclose(slope(gaps)[-1], 2, atol=0.05)


@checks(langevin.reverse_sde_step)
def test_the_walk_of_the_reverse_diffusion_ends_at_the_data_with_order_one():
    """For one Gaussian each step is linear, so mean and variance of the samples can be followed without any."""
    mean, var, errors = 0.7, 0.3, []
    data = Mixture([1.0], [[mean]], [var])
    for n in (64, 128, 256, 512):
        times = 4.0 * np.linspace(1, 0, n + 1) ** 2
        now = np.array([math.exp(-2.0) * mean, math.exp(-4.0) * var + 1 - math.exp(-4.0)])  # the true law at B = 4
        for start, end in itertools.pairwise(times):
            there, x = at(data, start), np.array([[0.0], [1.0]])
            at_0, at_1 = langevin.reverse_sde_step(x, there.score(x), 0 * x, clock(start), clock(end))[:, 0]
            fresh = langevin.reverse_sde_step(x, there.score(x), 1 + 0 * x, clock(start), clock(end))[0, 0] - at_0
            now = np.array([at_0 + (at_1 - at_0) * now[0], (at_1 - at_0) ** 2 * now[1] + fresh**2])
        errors.append(abs(now - [mean, var]))
    assert np.all(errors[-1] < 0.01)
    np.testing.assert_allclose(slope(errors)[-1], 1, atol=0.1)


@checks(langevin.reverse_sde_step)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_no_noise_is_added_where_the_reverse_diffusion_ends_sample_by_sample(like):
    schedule, x = Schedule([0.1, 0.3, 0.5]), like(np.array([[0.4, -1.0], [0.2, 0.3], [1.5, 0.0]]))
    step = schedule.at([1, 3, 1], like=x)
    still, noisy = (langevin.reverse_sde_step(x, -x, z + 0 * x, step, step.before) for z in (0.0, 1.0))
    length = -math.log(1 - 0.5)
    assert_equal(noisy - still, like(np.array([[0.0, 0.0], [math.sqrt(length)] * 2, [0.0, 0.0]])), atol=1e-15)
    for i, t in enumerate((1, 3, 1)):
        alone = langevin.reverse_sde_step(x[i], -x[i], 1 + 0 * x[i], schedule[t], schedule[t].before)
        assert_equal(noisy[i], alone, rtol=1e-14)


# From one time to the next. ------------------------------------------------------------------------------------------


@checks(langevin.euler_maruyama)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
def test_drift_and_noise_are_taken_at_the_beginning_of_each_step(like):
    """For a drift and a noise that do not depend on x, the path is a sum: Ito's, on the left."""
    times = np.array([0.0, 0.1, 0.4, 1.1])
    for when in (times, times[::-1]):
        w = np.random.default_rng(2).normal(size=(4, 2, 3))
        found = langevin.euler_maruyama(
            lambda x, t: t**2 + 0 * x, lambda t: 1 + t, like(np.full((2, 3), 0.7)), when, like(w)
        )
        sums = np.diff(when)[:, None, None] * when[:-1, None, None] ** 2 + np.diff(w, axis=0) * (
            1 + when[:-1, None, None]
        )
        expected = 0.7 + np.concatenate([np.zeros((1, 2, 3)), np.cumsum(sums, axis=0)])
        assert_equal(found, like(expected))


@checks(langevin.euler_maruyama, langevin.euler_maruyama_step)
def test_the_strong_and_the_weak_order_of_euler_and_maruyama_are_one():
    """For dx = -x/2 dt + e^{t/4} dw both errors are sums that need no samples. The path is linear in the increments of w:
    one path for each gives their weights, and Ito's isometry the mean square difference to the exact solution, whose
    weight of dw at s is exp(-(1 - s)/2 + s/4)."""

    def primitive(rate, s):
        return np.diff(np.exp(rate * s)) / rate

    strong, weak = [], []
    for n in (16, 32, 64, 128, 256):
        times = np.linspace(0, 1, n + 1)
        impulses = np.tri(n + 1, n, -1)[:, :, None]  # increment i alone is 1, for path i; the last path has none
        w = np.concatenate([impulses, np.zeros((n + 1, 1, 1))], axis=1)
        start = np.append(np.zeros(n), 1.0)[:, None]
        *weights, kept = langevin.euler_maruyama(lambda x, t: -x / 2, lambda t: math.exp(t / 4), start, times, w)[
            -1, :, 0
        ]
        weights = np.array(weights)
        exact = math.exp(-0.5) * primitive(0.75, times), math.exp(-1) * primitive(1.5, times)
        square = float((exact[1] - 2 * weights * exact[0] + weights**2 / n).sum())
        strong.append(math.sqrt(square + (kept - math.exp(-0.5)) ** 2))
        weak.append(abs((kept**2 + (weights**2 / n).sum()) - (math.exp(-1) + exact[1].sum())))
    np.testing.assert_allclose(slope(strong)[1:], 1, atol=0.03)
    np.testing.assert_allclose(slope(weak)[1:], 1, atol=0.03)


def transported(data, x, start, end):
    """Where the flow carries points of a line, exactly: it cannot overtake, so the share to the left of each stays."""
    shares, there = cdf(at(data, start), x[:, 0]), at(data, end)
    found = [optimize.brentq(lambda y, u=u: cdf(there, y) - u, -20, 20, xtol=1e-15, rtol=1e-15) for u in shares]
    return np.array(found)[:, None]


@checks(langevin.heun, langevin.probability_flow_drift)
def test_the_order_of_heun_is_two_and_that_of_euler_one():
    """Both ways along the flow of a mixture, against the quantiles, which know nothing of scores."""
    x = np.linspace(-2, 2, 7)[:, None]
    for start, end in ((2.0, 0.0), (0.0, 2.0)):
        exact, heun, euler = transported(SMOOTH, x, start, end), [], []
        for n in (16, 32, 64, 128):
            times = np.linspace(start, end, n + 1)
            heun.append(abs(langevin.heun(flow_drift(SMOOTH), x, times)[-1] - exact).max())
            path = langevin.euler_maruyama(flow_drift(SMOOTH), lambda t: 0.0, x, times, np.zeros((n + 1, 7, 1)))
            euler.append(abs(path[-1] - exact).max())
        assert slope(heun)[-1] == pytest.approx(2, abs=0.1)
        assert slope(euler)[-1] == pytest.approx(1, abs=0.1)


@checks(langevin.heun)
def test_heun_for_a_drift_of_time_alone_is_the_trapezoidal_rule():
    times = np.array([0.3, 0.5, 1.1, 1.2])
    for like in (np.float64, torch.tensor):
        found = langevin.heun(lambda x, t: t**2 + 0 * x, like(np.zeros((1, 1))), times)
        assert_equal(found[:, 0, 0], like(integrate.cumulative_trapezoid(times**2, times, initial=0)))


@checks(langevin.heun)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 2)])
def test_heun_turns_by_the_square_root_series(like, shape):
    """For the drift that turns the plane, dz = i z dt, each step multiplies by the first three terms of its exponential."""
    times, x = np.array([1.0, 0.7, 0.65, 0.1]), np.random.default_rng(0).normal(size=shape)
    turn = like(np.array([[0.0, 1.0], [-1.0, 0.0]]))
    found = langevin.heun(lambda x, t: x @ turn, like(x), times)
    z = [x[..., 0] + 1j * x[..., 1]]
    for h in np.diff(times):
        z.append(z[-1] * (1 + 1j * h - h**2 / 2))
    assert_equal(found, like(np.stack([np.real(z), np.imag(z)], -1)), atol=1e-14)


@checks(langevin.probability_flow_drift)
def test_a_library_follows_the_flow_to_its_tolerance():
    x = np.linspace(-2, 2, 9)[:, None]
    for kind in (np.float64, torch.tensor):
        path = langevin.integrate(flow_drift(CLASSES), kind(x), [3.0, 1.0, 0.01], tolerance=1e-10)
        assert_equal(path[0], kind(x))
        assert_equal(path[1], kind(transported(CLASSES, x, 3.0, 1.0)), rtol=1e-8, atol=1e-8)
        assert_equal(path[2], kind(transported(CLASSES, x, 3.0, 0.01)), rtol=1e-8, atol=1e-8)


def grid_of(n, end):
    x = np.linspace(-end, end, n, endpoint=False)
    return x, float(x[1] - x[0])


def test_a_distribution_on_a_grid_moves_as_the_integral_says():
    """One step that bends the line, against quadrature of N(y; m(x), v) p(x) over x."""
    x, width = grid_of(2048, 8)
    mean = x + 0.4 * np.sin(2 * x)
    p = np.exp(SMOOTH.log_prob(x[:, None]))
    found = langevin.next_distribution(p * width, x, mean, 0.05)
    fine, close = grid_of(20_000, 8)
    weight = np.exp(SMOOTH.log_prob(fine[:, None])) * close
    places = slice(600, 1500, 60)
    expected = stats.norm.pdf(x[places, None], fine + 0.4 * np.sin(2 * fine), math.sqrt(0.05)) @ weight
    np.testing.assert_allclose(found[places] / width, expected, atol=1e-5)
    assert_equal(float(found.sum()), float(p.sum() * width))


def test_a_gaussian_on_a_grid_stays_the_gaussian_that_ten_steps_make_of_it():
    """The reverse diffusion on N(0, 1.5): each step is linear, so that the variance goes from V to a^2 V + b^2. The
    variance is right on any grid, the density the better the finer it is."""
    data, errors = Mixture([1.0], [[0.0]], [1.5]), []
    for n in (512, 1024, 2048):
        (x, width), exact = grid_of(n, 12), 1.0
        p = stats.norm.pdf(x) * width
        for start, end in itertools.pairwise(times_back(10)[:-1]):
            s, e = clock(start), clock(end)
            pull = float(at(data, start).score(np.ones(1))[0])
            kept, fresh = (langevin.reverse_sde_step(y, pull * y, z, s, e) for y, z in ((1.0, 0.0), (0.0, 1.0)))
            exact = kept**2 * exact + fresh**2
            p = langevin.next_distribution(p, x, kept * x, fresh**2)
        assert float(p @ x**2) == pytest.approx(exact, rel=1e-9)
        errors.append(abs(p / width - stats.norm.pdf(x, scale=math.sqrt(exact))).max())
    assert errors == sorted(errors, reverse=True) and errors[-1] < 3e-6


def test_a_step_of_0_changes_nothing_and_a_shift_by_the_grid_shifts():
    x, width = grid_of(64, 4)
    p = np.random.default_rng(0).dirichlet(np.ones(64))
    assert_equal(langevin.next_distribution(p, x, x, 0.0), p, atol=1e-15)
    assert_equal(langevin.next_distribution(p, x, x + 3 * width, 0.0), np.roll(p, 3), atol=1e-15)


# How fast. -----------------------------------------------------------------------------------------------------------


@checks(langevin.fokker_planck, langevin.explicit_score_matching)
def test_the_divergence_to_the_target_falls_by_the_explicit_loss():
    """The chain is at any other mixture in the plane. Its change is that of Fokker and Planck, under the score and a wrong one."""
    chain = Mixture([0.6, 0.4], [[0.5, 0.1], [-0.7, -0.2]], [0.4, 0.6])
    axis = np.linspace(-7, 7, 141)
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    weight = np.exp(chain.log_prob(x)) * (axis[1] - axis[0]) ** 2
    own, target, ratio = chain.score(x), PLANE.score(x), chain.log_prob(x) - PLANE.log_prob(x)

    def change(field):
        spread = langevin.divergence(lambda y: field(y) / 2, x), langevin.divergence(chain.score, x)
        rate = langevin.fokker_planck(field(x) / 2, 1.0, own, *spread)
        assert abs(weight @ rate) < 1e-12
        return float(weight @ (rate * ratio))

    far = float(weight @ langevin.explicit_score_matching(target, own))
    assert_equal(change(PLANE.score), -far)
    for size in (0.1, 1.0, 3.0):

        def wrong(y, size=size):
            return PLANE.score(y) + size * (y @ MATRIX.T if isinstance(y, np.ndarray) else y @ torch.tensor(MATRIX.T))

        off = float(weight @ langevin.explicit_score_matching(wrong(x), target))
        assert change(wrong) <= -(far - off) / 2 + 1e-12
    assert change(wrong) > -far  # a wrong score is felt


def test_the_mean_time_to_cross_by_solving_for_it():
    """(T' s + T'') / 2 = -1 as a linear system on a grid, where nobody leaves on the left and T is 0 at the right peak;
    and the double integral that chapter 5 derives from it."""
    data = Mixture([0.2, 0.8], [[-1.0], [1.0]], [0.15, 0.15])

    def by_integrals(data, a, b):
        return 2 * integrate.quad(lambda y: cdf(data, y) / math.exp(data.log_prob(np.array([y]))[()]), a, b)[0]

    for mirror in (1, -1):
        some = Mixture(data.weights, mirror * data.means, data.variances)
        x = np.linspace(-4, 1, 5001)
        h = x[1] - x[0]
        density = np.exp(some.log_prob(np.append(x - h / 2, 1 + h / 2)[:, None]))  # between the points
        here = np.exp(some.log_prob(x[:, None]))
        bands = np.zeros((3, len(x) - 1))  # (p T')' = -2 p
        bands[0, 1:], bands[2, :-1] = density[1:-2], density[1:-2]
        bands[1] = -(density[:-2] + density[1:-1])
        bands[1, 0] = -density[1]
        times = linalg.solve_banded((1, 1), bands, -2 * here[:-1] * h**2)
        found = times[np.searchsorted(x, -1 - 1e-9)]
        assert found == pytest.approx(by_integrals(some, -1.0, 1.0), rel=1e-3)


# What the flow is good for. ------------------------------------------------------------------------------------------


@checks(langevin.probability_flow_log_prob, langevin.probability_flow_drift)
@pytest.mark.parametrize("data", [CLASSES, mixture.ring(3)], ids=["line", "plane"])
def test_the_likelihood_of_the_flow_is_that_of_the_mixture(data):
    x = data.sample(6, np.random.default_rng(0))
    found = langevin.probability_flow_log_prob(x, flow_drift(data), 2.0, at(data, 2.0).log_prob, tolerance=1e-9)
    assert_equal(found, data.log_prob(x), rtol=1e-7, atol=1e-7)


@checks(langevin.probability_flow_log_prob)
@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 1, 3, 2)])
def test_likelihoods_of_batches_of_every_shape(shape):
    x = np.random.default_rng(3).normal(size=shape)
    for like in (np.float64, torch.tensor):
        found = langevin.probability_flow_log_prob(like(x), flow_drift(PLANE), 0.5, at(PLANE, 0.5).log_prob)
        assert_equal(found, like(PLANE.log_prob(x)), rtol=1e-6, atol=1e-6)


@checks(langevin.probability_flow_log_prob)
def test_with_the_normal_distribution_for_a_prior_the_likelihood_is_as_good_as_it_fits():
    x = torch.tensor(CLASSES.sample(6, np.random.default_rng(0)))
    noise = torch.distributions.Normal(0.0, 1.0)
    off = [
        langevin.probability_flow_log_prob(x, flow_drift(CLASSES), end, lambda x: noise.log_prob(x).sum(-1))
        - CLASSES.log_prob(x)
        for end in (4.0, 12.0)
    ]
    assert 1e-5 < abs(off[0]).max() < 1e-1
    assert abs(off[1]).max() < 1e-4


@checks(langevin.probability_flow_log_prob, langevin.hutchinson)
def test_guessed_along_all_signs_the_likelihood_is_exact_on_average():
    """The path does not depend on the signs, so the average over all of them is that of the divergence."""
    x = PLANE.sample(3, np.random.default_rng(1))
    guesses = [
        langevin.probability_flow_log_prob(x, flow_drift(PLANE), 1.0, at(PLANE, 1.0).log_prob, v + 0 * x)
        for v in itertools.product((-1.0, 1.0), repeat=2)
    ]
    assert np.ptp(guesses, axis=0).min() > 1e-3
    assert_equal(np.mean(guesses, axis=0), PLANE.log_prob(x), rtol=1e-6, atol=1e-6)


LEVEL = 0.01
COUNT = 2000


def times_back(n, start=8.0):
    """From noise to data, with ever smaller steps where the modes are narrow."""
    return start * np.linspace(1, 0, n + 1) ** 3


def reverse_diffusion(x, rng, n=300):
    w = langevin.brownian_path(times_back(n), rng.standard_normal((n, *x.shape)))
    return langevin.euler_maruyama(reverse_drift(CLASSES), lambda time: 1.0, x, times_back(n), w)[-1]


def flow(x, rng):
    return langevin.heun(flow_drift(CLASSES), x, times_back(60))[-1]


def walk(sampler):
    """The trainer's sampler on the same times, with the exact noise in the place of a network."""

    def sample(x, rng, n=300):
        schedule, start = Schedule.from_alpha_bar(np.exp(-times_back(n)[-2::-1])), torch.tensor(x)
        model = lambda x, t: CLASSES.noise(x, schedule.at(t, like=x))  # noqa: E731
        options = {"start": start, "clip": None, "dtype": start.dtype}
        return train.sample(model, schedule, x.shape, seeded(int(rng.integers(1000))), sampler, **options).numpy()

    return sample


def annealed(x, rng):
    return langevin.annealed_langevin(
        lambda x, var: exploded(CLASSES, var).score(x), 4 * x, np.geomspace(16, 0.002, 20), 0.001, 80, rng
    )


def predictor_corrector(x, rng, n=40, corrections=3):
    """The corrector's step is in proportion to the narrowest variance at each time."""
    for start, end in itertools.pairwise(times_back(n)):
        here, there, z = at(CLASSES, start), at(CLASSES, end), rng.standard_normal(x.shape)
        x = langevin.predictor_corrector_step(
            x,
            lambda x, h=here, z=z, a=start, b=end: langevin.reverse_sde_step(x, h.score(x), z, clock(a), clock(b)),
            there.score,
            0.1 * there.variances[0],
            rng.standard_normal((corrections, *x.shape)),
        )
    return x


SAMPLERS = {
    "reverse diffusion": reverse_diffusion,
    "its steps": walk("reverse_sde"),
    "ancestral": walk("ancestral"),
    "flow": flow,
    "annealed": annealed,
    "corrected": predictor_corrector,
}


@checks(
    langevin.reverse_drift,
    langevin.probability_flow_drift,
    langevin.euler_maruyama,
    langevin.heun,
    langevin.annealed_langevin,
    langevin.predictor_corrector_step,
    langevin.reverse_sde_step,
)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_samples_of_the_exact_score_are_not_told_from_data(sampler):
    """Kolmogorov and Smirnov's test of two samples, at a level of 1 percent."""
    rng = np.random.default_rng(0)
    samples = sampler(rng.standard_normal((COUNT, 1)), rng)
    assert stats.ks_2samp(samples[:, 0], CLASSES.sample(COUNT, rng)[:, 0]).pvalue > LEVEL


@checks(langevin.predictor_corrector_step)
@pytest.mark.parametrize("like", [np.float64, torch.tensor])
@pytest.mark.parametrize("shape", [(1,), (3, 2), (2, 3, 2)])
def test_a_step_of_predictor_and_corrector_is_one_after_the_other(like, shape):
    x, *z = np.random.default_rng(0).normal(size=(4, *shape))
    one = 2 * x + 0.1 * (1 - 2 * x) + math.sqrt(0.2) * z[0]
    two = one + 0.1 * (1 - one) + math.sqrt(0.2) * z[1]
    fresh = like(np.stack(z))
    for n, expected in enumerate((2 * x, one, two)):
        found = langevin.predictor_corrector_step(like(x), lambda x: 2 * x, lambda x: 1 - x, 0.2, fresh[:n])
        assert_equal(found, like(expected), atol=1e-15)


@checks(langevin.predictor_corrector_step)
def test_corrections_mend_what_long_steps_spoil():
    """Twelve steps: the distance of the distribution functions to that of the data, without and with corrections."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((COUNT, 1))
    without, mended = (
        stats.kstest(predictor_corrector(x, rng, 12, corrections)[:, 0], lambda q: cdf(CLASSES, q)).statistic
        for corrections in (0, 20)
    )
    assert mended < without / 2


@checks(
    langevin.score,
    langevin.hutchinson,
    langevin.divergence,
    langevin.langevin,
    langevin.brownian_path,
    langevin.euler_maruyama,
    langevin.heun,
    langevin.probability_flow_log_prob,
)
@pytest.mark.careful
@pytest.mark.parametrize("like", [np.float32, lambda x: torch.tensor(x, dtype=torch.float32)])
def test_single_precision_stays_what_it_is(like):
    def all_of(x, z):
        w, times = langevin.brownian_path([1.0, 0.5, 0.0], z), [1.0, 0.5, 0.0]
        yield langevin.score(PLANE.log_prob, x)
        yield langevin.hutchinson(PLANE.score, x, z[0])
        yield langevin.divergence(PLANE.score, x)
        yield langevin.langevin(PLANE.score, x, 0.1, 3, np.random.default_rng(0))
        yield w
        yield langevin.euler_maruyama(reverse_drift(PLANE), lambda time: 1.0, x, times, w)
        yield langevin.heun(flow_drift(PLANE), x, times)
        yield langevin.integrate(flow_drift(PLANE), x, times)
        yield langevin.probability_flow_log_prob(x, flow_drift(PLANE), 0.5, at(PLANE, 0.5).log_prob)
        yield langevin.reverse_sde_step(x, PLANE.score(x), z[0], clock(1.0), clock(0.7))

    x, z = PLANE.sample(4, np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 4, 2))
    single = like(x)
    for found, exact in zip(all_of(single, like(z)), all_of(x, z), strict=True):
        assert type(found) is type(single) and found.dtype == single.dtype
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)


# Guidance. -----------------------------------------------------------------------------------------------------------


def log_class(k, x):
    """log p(class k given x) of the example in the plane, by Bayes' rule, in torch."""
    parts = torch.stack(
        [
            math.log(w) + torch.distributions.Normal(torch.tensor(m), math.sqrt(v)).log_prob(x).sum(-1)
            for w, m, v in zip(PLANE.weights, PLANE.means, PLANE.variances, strict=True)
        ],
        -1,
    )
    return torch.log_softmax(parts, -1)[..., k]


@checks(langevin.guided_score)
@given(x=PLACES, k=st.integers(0, 2), gamma=st.sampled_from([0.0, 0.5, 3.0]))
def test_guidance_is_bayes_rule(x, k, gamma):
    """With strength 1 it is the score of the class; else that of p(x) p(y given x)^gamma."""
    score, uphill = PLANE.score(x), langevin.score(lambda y: log_class(k, y), x)
    of_the_class = (PLANE.means[k] - x) / PLANE.variances[k]
    assert_equal(langevin.guided_score(score, uphill, 1.0), of_the_class, atol=1e-12)
    tilted = langevin.score(lambda y: PLANE.log_prob(y) + gamma * log_class(k, y), x)
    assert_equal(langevin.guided_score(score, uphill, gamma), tilted, atol=1e-12)


@checks(langevin.guided_score)
@given(x=PLACES, w=st.sampled_from([0.0, 0.5, 3.0]))
def test_guidance_without_a_classifier_is_the_same_with_one_more(x, w):
    """Ho and Salimans' w is gamma - 1, when the classifier's gradient is the difference of two scores."""
    step = forward.linear()[300]
    data, of_class = (some.diffuse(step) for some in (PLANE, Mixture([1.0], PLANE.means[:1], PLANE.variances[:1])))
    score, conditional = data.score(x), of_class.score(x)
    guided = langevin.guided_score(score, conditional - score, 1 + w)
    noises = langevin.noise_from_score(conditional, step), langevin.noise_from_score(score, step)
    assert_equal(langevin.noise_from_score(guided, step), train.guided_noise(*noises, w), atol=1e-12)


# The door. -----------------------------------------------------------------------------------------------------------

X, RNG, TENSOR = np.zeros((3, 2)), np.random.default_rng(0), torch.zeros(3, 2)
LINE, PAIR = [0.0, 1.0], (forward.linear()[10], forward.linear()[9])
BLIND = Schedule([0.5, 1.0])[2]
THREE = forward.linear().at([1, 2, 3], like=np.ones(3))
MUTE = lambda x, var: 0 * x  # noqa: E731
STILL = (lambda x, t: 0 * x, lambda t: 1.0)
FLOW = (lambda x, t: 0 * x, 1.0, PLANE.log_prob)
STEPS = forward.linear().at([1, 2, 3], like=np.ones((3, 1)))
SUM = lambda x, *rest: x.sum(-1)  # noqa: E731
LOST = lambda x, *rest: x + math.nan  # noqa: E731


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, ["x", "floating point", "int64"], lambda: langevin.score(PLANE.log_prob, np.zeros((3, 2), int))),
        (ValueError, ["x", "(..., d)", "()"], lambda: langevin.score(PLANE.log_prob, 0.5)),
        (ValueError, ["log_prob(x)", "(3,)", "(3, 2)"], lambda: langevin.score(lambda x: -(x**2), X)),
        (TypeError, ["log_prob(x)", "torch"], lambda: langevin.score(lambda x: PLANE.log_prob(x.detach().numpy()), X)),
        (ValueError, ["var", "above 0", "0"], lambda: langevin.gaussian_score(0.3, 0.0, 0.0)),
        (ValueError, ["var", "above 0", "nan"], lambda: langevin.gaussian_score(0.3, 0.0, math.nan)),
        (ValueError, ["alpha_bar", "above 0"], lambda: langevin.tweedie(0.3, 0.1, BLIND)),
        (TypeError, ["step", "Step", "7"], lambda: langevin.score_from_noise(0.3, 7)),
        (ValueError, ["score (2,)", "step (3,)"], lambda: langevin.noise_from_score(np.ones(2), THREE)),
        (ValueError, ["step_size", "at least 0", "-0.1"], lambda: langevin.langevin_step(0.3, 0.1, -0.1, 0.0)),
        (ValueError, ["x (2,)", "score (3,)"], lambda: langevin.langevin_step(np.ones(2), np.ones(3), 0.1, 0.0)),
        (ValueError, ["steps", "at least 0", "-1"], lambda: langevin.langevin(PLANE.score, X, 0.1, -1, RNG)),
        (ValueError, ["score_field(x)", "(3, 2)", "(3,)"], lambda: langevin.langevin(PLANE.log_prob, X, 0.1, 1, RNG)),
        (TypeError, ["x", "floating point"], lambda: langevin.langevin(PLANE.score, X.astype(int), 0.1, 1, RNG)),
        (
            ValueError,
            ["not finite", "0.1", "too large"],
            lambda: langevin.langevin(lambda x: x + np.nan, X, 0.1, 1, RNG),
        ),
        (ValueError, ["step_size", "below 4 var", "4.0"], lambda: langevin.stationary_variance(4.0, 1.0)),
        (ValueError, ["var", "above 0"], lambda: langevin.stationary_variance(0.1, 0.0)),
        (ValueError, ["step_size", "[0, 1]", "1.5"], lambda: langevin.langevin_gap(0.3, 1.5)),
        (ValueError, ["likelihood_scores", "1 to total", "total = 2"], lambda: langevin.minibatch_score(X[0], X, 2)),
        (ValueError, ["divergence", "(3,)", "(3, 2)"], lambda: langevin.implicit_score_matching(X, X)),
        (ValueError, ["probe", "(..., d)", "(3,)", "(2,)"], lambda: langevin.hutchinson(PLANE.score, X, np.ones(2))),
        (ValueError, ["field(x)", "(3, 2)", "(3,)"], lambda: langevin.divergence(PLANE.log_prob, X)),
        (
            ValueError,
            ["variances", "fall"],
            lambda: langevin.annealed_langevin(MUTE, X, [1, 2], 0.1, 1, RNG),
        ),
        (
            ValueError,
            ["variances", "above 0"],
            lambda: langevin.annealed_langevin(MUTE, X, [1, 0], 0.1, 1, RNG),
        ),
        (ValueError, ["times", "rise or fall"], lambda: langevin.brownian_path([0.0, 1.0, 0.5], np.ones((2, 1)))),
        (ValueError, ["times", "at least two"], lambda: langevin.brownian_path([0.0], np.ones((0, 1)))),
        (ValueError, ["times", "nan"], lambda: langevin.heun(STILL[0], X, [0.0, math.nan])),
        (
            ValueError,
            ["z", "(n, ...)", "n = 2", "(3, 1)"],
            lambda: langevin.brownian_path([0.0, 1.0, 2.0], np.ones((3, 1))),
        ),
        (ValueError, ["path", "two states", "(1, 2)"], lambda: langevin.quadratic_variation(np.ones((1, 2)))),
        (ValueError, ["rate", "at least 0", "-1"], lambda: langevin.vp_drift(0.3, -1.0)),
        (ValueError, ["rate", "at least 0", "nan"], lambda: langevin.vp_diffusion(math.nan)),
        (ValueError, ["growth", "at least 0", "-1"], lambda: langevin.ve_diffusion(0.3, 0.1, -1.0)),
        (ValueError, ["score_divergence", "(3,)"], lambda: langevin.fokker_planck(X, 1.0, X, X[:, 0], X)),
        (ValueError, ["drift_divergence", "(3,)"], lambda: langevin.fokker_planck(X, 1.0, X, X, X[:, 0])),
        (
            ValueError,
            ["wiener", "(n+1, ..., d)", "n = 1", "(3, 2)"],
            lambda: langevin.euler_maruyama(*STILL, X, [0.0, 1.0], X),
        ),
        (
            ValueError,
            ["diffusion_field(time)", "a number", "1.0"],
            lambda: langevin.euler_maruyama(STILL[0], lambda t: np.ones((2, 1, 1)), X, [0.0, 1.0], np.zeros((2, 3, 2))),
        ),
        (
            ValueError,
            ["log_prior(x)", "(3,)", "(3, 2)"],
            lambda: langevin.probability_flow_log_prob(X, STILL[0], 1.0, lambda x: x),
        ),
        (
            ValueError,
            ["drift_field(x, time)", "(3, 2)", "(3,)"],
            lambda: langevin.heun(lambda x, t: x[:, 0], X, [0.0, 1.0]),
        ),
        (ValueError, ["not finite", "path"], lambda: langevin.heun(lambda x, t: x + math.nan, X, [0.0, 1.0])),
        (
            ValueError,
            ["not finite", "drift", "time"],
            lambda: langevin.integrate(lambda x, t: x / 0 * 0, torch.ones(2, 1), [0, 1]),
        ),
        (ArithmeticError, ["followed"], lambda: langevin.integrate(lambda x, t: x**2, np.ones((1, 1)), [0.0, 2.0])),
        (ValueError, ["time", "above 0"], lambda: langevin.probability_flow_log_prob(X, STILL[0], 0.0, PLANE.log_prob)),
        (
            ValueError,
            ["z", "(n, ..., d)", "(3,)", "(3, 2)"],
            lambda: langevin.predictor_corrector_step(X, PLANE.score, PLANE.score, 0.1, X),
        ),
        (ValueError, ["gamma (3,)"], lambda: langevin.guided_score(np.ones(2), np.ones(2), np.ones(3))),
        # What would broadcast, and answer another question.
        (ValueError, ["noise (3,)", "step (3, 1)"], lambda: langevin.score_from_noise(X[:, 0], STEPS)),
        (ValueError, ["x (3, 1)", "z (3,)"], lambda: langevin.langevin_step(X[:, :1], X[:, :1], 0.1, X[:, 0])),
        (ValueError, ["x (3, 2)", "mean (2,)"], lambda: langevin.gaussian_score(X, X[0], 1.0)),
        (ValueError, ["x_t (3, 1)", "score (3,)"], lambda: langevin.tweedie(X[:, :1], X[:, 0], PAIR[0])),
        (ValueError, ["score", "(..., d)", "(3, 1)"], lambda: langevin.explicit_score_matching(X, X[:, :1])),
        (ValueError, ["divergence", "(3,)", "()"], lambda: langevin.implicit_score_matching(X, 0.5)),
        (
            ValueError,
            ["mean", "fit x (3, 2)", "(1, 3, 2)"],
            lambda: langevin.denoising_score_matching(X, X, X[None], 1.0),
        ),
        (ValueError, ["var", "fit x (3, 2)", "(3,)"], lambda: langevin.denoising_score_matching(X, X, X, 1 + X[:, 0])),
        (ValueError, ["diffusion", "()", "(3, 1)"], lambda: langevin.fokker_planck(X, X[:, :1], X, X[:, 0], X[:, 0])),
        (
            ValueError,
            ["x_t (1, 2)", "step (3, 1)"],
            lambda: langevin.reverse_sde_step(X[:1], X[:1], X[:1], STEPS, PAIR[1]),
        ),
        (
            TypeError,
            ["step_size", "single number", "(3, 1)"],
            lambda: langevin.langevin(PLANE.score, X, 0.1 + X[:, :1], 1, RNG),
        ),
        (ValueError, ["dw (1, 3, 2)"], lambda: langevin.euler_maruyama_step(X, X, 1.0, 0.1, X[None])),
        # NaN and infinity, in numbers, arrays and tensors.
        (ValueError, ["x", "finite", "inf"], lambda: langevin.langevin_step(math.inf, 0.1, 0.1, 0.0)),
        (ValueError, ["z", "finite", "nan"], lambda: langevin.brownian_path(LINE, np.array([math.nan]))),
        (
            ValueError,
            ["wiener", "finite"],
            lambda: langevin.euler_maruyama(*STILL, X, LINE, np.full((2, 3, 2), math.inf)),
        ),
        (ValueError, ["score", "finite", "nan"], lambda: langevin.explicit_score_matching(TENSOR, TENSOR + math.nan)),
        (ValueError, ["x_t", "finite", "nan"], lambda: langevin.tweedie(TENSOR[0] + math.nan, TENSOR[0], PAIR[0])),
        (ValueError, ["likelihood_scores", "nan"], lambda: langevin.minibatch_score(X[0], X + math.nan, 5)),
        (ValueError, ["classifier_grad", "finite"], lambda: langevin.guided_score(0.1, math.nan, 1.0)),
        # Scalars of NumPy and tensors are asked as numbers are.
        (ValueError, ["step_size", "at least 0", "-1"], lambda: langevin.langevin_step(0.3, 0.1, np.float32(-1), 0.0)),
        (
            ValueError,
            ["step_size", "at least 0", "-1"],
            lambda: langevin.langevin(PLANE.score, X, np.float32(-1), 1, RNG),
        ),
        (ValueError, ["step_size", "[0, 1]", "1.5"], lambda: langevin.langevin_gap(TENSOR[0], 1.5 + TENSOR[0])),
        (ValueError, ["var", "above 0", "-1"], lambda: langevin.gaussian_score(TENSOR[0], TENSOR[0], TENSOR[0] - 1)),
        (ValueError, ["var", "above 0", "-1"], lambda: langevin.gaussian_score(0.3, 0.0, np.float32(-1))),
        (ValueError, ["rate", "at least 0", "-1"], lambda: langevin.vp_diffusion(TENSOR[0] - 1)),
        (ValueError, ["var_min", "at least 0", "-1"], lambda: langevin.ve_diffusion(0.3, np.float32(-1), 1.0)),
        (ValueError, ["time", "at least 0", "-1"], lambda: langevin.ve_diffusion(np.float32(-1), 0.1, 1.0)),
        (ValueError, ["step_size", "below 4 var"], lambda: langevin.stationary_variance(4 + TENSOR[0], 1 + TENSOR[0])),
        # Ranges, kinds and libraries.
        (ValueError, ["step_s", "not be after step"], lambda: langevin.reverse_sde_step(0.1, 0.1, 0.1, *PAIR[::-1])),
        (
            ValueError,
            ["step.alpha_bar", "above 0"],
            lambda: langevin.reverse_sde_step(0.1, 0.1, 0.1, BLIND, BLIND.before),
        ),
        (TypeError, ["step_s", "Step", "0.9"], lambda: langevin.reverse_sde_step(0.1, 0.1, 0.1, PAIR[0], 0.9)),
        (ValueError, ["total", "at least 1", "0"], lambda: langevin.minibatch_score(X[0], X, 0)),
        (ValueError, ["likelihood_scores", "1 to total"], lambda: langevin.minibatch_score(X[0], X[:0], 2)),
        (TypeError, ["x", "list"], lambda: langevin.langevin_step([0.3], [0.1], 0.1, [0.0])),
        (TypeError, ["rng", "generator", "0"], lambda: langevin.langevin(PLANE.score, X, 0.1, 1, 0)),
        (TypeError, ["rng", "NumPy"], lambda: langevin.langevin(PLANE.score, X, 0.1, 1, torch.Generator())),
        (TypeError, ["one library", "x", "score"], lambda: langevin.langevin_step(X, TENSOR, 0.1, X)),
        (TypeError, ["x", "int64"], lambda: langevin.heun(STILL[0], np.zeros((3, 2), int), LINE)),
        (TypeError, ["score_field", "function"], lambda: langevin.langevin(0.5, X, 0.1, 1, RNG)),
        (ValueError, ["score_field(x, var)", "(3,)"], lambda: langevin.annealed_langevin(SUM, X, [1.0], 0.1, 1, RNG)),
        (
            ValueError,
            ["predictor(x)", "(3,)"],
            lambda: langevin.predictor_corrector_step(X, SUM, PLANE.score, 0.1, X[None]),
        ),
        (ValueError, ["not finite", "0.1"], lambda: langevin.annealed_langevin(LOST, X, [1.0], 0.1, 1, RNG)),
        (
            ValueError,
            ["not finite", "path"],
            lambda: langevin.euler_maruyama(LOST, STILL[1], X, LINE, np.zeros((2, 3, 2))),
        ),
        (ValueError, ["tolerance", "(0, 1)", "0"], lambda: langevin.probability_flow_log_prob(X, *FLOW, tolerance=0)),
        (ValueError, ["probe", "(..., d)"], lambda: langevin.probability_flow_log_prob(X, *FLOW, X[0])),
    ],
)
def test_bad_input_is_refused_by_name(error, words, call):
    with refused(words, error):
        call()
