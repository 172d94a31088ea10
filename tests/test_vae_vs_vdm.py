"""Chapter 4: one joint Gaussian for whole chains, quadrature on the line, and networks of which the truth is known."""

import math
import subprocess
import sys
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize, stats
from torch.distributions import MultivariateNormal, kl_divergence
from torch.distributions import Normal as TorchNormal

from tinyddpm import elbo, forward, posterior, vae_vs_vdm
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Schedule
from tinyddpm.mixture import Mixture, standard_normal, two_classes
from tinyddpm.vae_vs_vdm import Chain, Linear, LinearVAE, Normal

from .strategies import betas, nodes, numbers, positive, refused

pytestmark = pytest.mark.usefixtures("one_thread")


# What the properties are tried on. -----------------------------------------------------------------------------------

SIZES = st.integers(1, 4)


def a_covariance(rng, d, low=0.2):
    """Any symmetric matrix whose eigenvalues are at least that."""
    root = rng.normal(size=(d, d))
    return root @ root.T / d + low * np.eye(d)


def a_normal(rng, d):
    return Normal(rng.normal(size=d), a_covariance(rng, d))


def a_linear(rng, k, d):
    """From k numbers to d."""
    return Linear(rng.normal(size=(d, k)) / math.sqrt(k), rng.normal(size=d), a_covariance(rng, d))


@st.composite
def generators(draw):
    """A source of matrices: too many numbers to draw them one by one."""
    return np.random.default_rng(draw(st.integers(0, 2**32)))


@st.composite
def chains(draw):
    """A chain of latents of any sizes, and a batch of data for it."""
    rng, sizes = draw(generators()), draw(st.lists(SIZES, min_size=2, max_size=7))
    encoder = [a_linear(rng, k, d) for k, d in pairwise(sizes)]
    decoder = [a_linear(rng, k, d) for d, k in pairwise(sizes)]
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    return Chain(encoder, decoder, a_normal(rng, sizes[-1])), rng.normal(size=(*shape, sizes[0]))


@st.composite
def linear_vaes(draw, k=SIZES):
    """A linear VAE, a batch of data, and an encoder: means and one covariance."""
    rng, d, k = draw(generators()), draw(SIZES), draw(k)
    vae = LinearVAE(rng.normal(size=(d, k)), rng.normal(size=d), 0.1 + draw(positive()))
    shape = draw(st.sampled_from([(), (3,), (2, 2)]))
    return vae, rng.normal(size=(*shape, d)), rng.normal(size=(*shape, k)), a_covariance(rng, k)


SHORT = st.lists(betas(1e-3, 0.99), min_size=1, max_size=5).map(Schedule)


def for_each(f, *arrays):
    """A function of vectors, of every vector of some batches."""
    shape = arrays[0].shape[:-1]
    rows = zip(*(a.reshape(-1, a.shape[-1]) for a in arrays), strict=True)
    return np.array([f(*row) for row in rows]).reshape(shape)


def log_density(x, mean, cov):
    return stats.multivariate_normal(mean, cov).logpdf(x)


def divergence(mean_q, cov_q, mean_p, cov_p):
    """One direction after the other, in the coordinates in which p is standard normal and q has no correlations."""
    variances, directions = linalg.eigh(cov_q, cov_p)
    off = np.linalg.solve(directions, np.linalg.solve(cov_p, mean_q - mean_p))
    return float((variances - 1 - np.log(variances) + off**2).sum() / 2)


def condition(mean, cov, seen, value):
    """What a joint Gaussian says of its other coordinates when the first `seen` of them are known."""
    precision = np.linalg.inv(cov)
    rest = np.linalg.inv(precision[seen:, seen:])
    return Normal(mean[seen:] - rest @ precision[seen:, :seen] @ (value - mean[:seen]), (rest + rest.T) / 2)


# Normal distributions of vectors. ------------------------------------------------------------------------------------


@checks(vae_vs_vdm.expected_log_prob)
@given(rng=generators(), d=st.integers(1, 2))
def test_the_mean_of_log_p_by_quadrature(rng, d):
    q, p = a_normal(rng, d), a_normal(rng, d)
    z, weights = nodes(20, d)  # exact, since log p is a polynomial of degree 2
    drawn = q.mean + z @ np.linalg.cholesky(q.cov).T
    expected = weights @ log_density(drawn, *p).reshape(-1)
    assert_equal(vae_vs_vdm.expected_log_prob(*q, *p), expected)
    assert_equal(vae_vs_vdm.expected_log_prob(q.mean, 0.0, *p), log_density(q.mean, *p))
    several = vae_vs_vdm.expected_log_prob(drawn[:3], 0.0, *p)
    assert_equal(several, np.array([log_density(one, *p) for one in drawn[:3]]))


@checks(vae_vs_vdm.expected_log_prob)
@given(rng=generators(), d=SIZES)
def test_the_mean_of_log_p_is_minus_entropy_and_divergence(rng, d):
    q, p = a_normal(rng, d), a_normal(rng, d)
    expected = -stats.multivariate_normal(*q).entropy() - divergence(*q, *p)
    assert_equal(vae_vs_vdm.expected_log_prob(*q, *p), expected, atol=1e-11)


@checks(vae_vs_vdm.normal_kl)
@given(rng=generators(), d=SIZES, batch=st.integers(1, 3))
def test_the_divergence_of_normal_distributions(rng, d, batch):
    (_, cov), p, means = a_normal(rng, d), a_normal(rng, d), rng.normal(size=(batch, d))
    expected = kl_divergence(*(MultivariateNormal(*map(torch.tensor, normal)) for normal in ((means, cov), p)))
    assert_equal(vae_vs_vdm.normal_kl(means, cov, *p), expected.numpy())
    assert_equal(for_each(lambda mean: divergence(mean, cov, *p), means), expected.numpy())  # the one of this file
    assert_equal(vae_vs_vdm.normal_kl(*p, *p), 0.0, atol=1e-13)


@checks(vae_vs_vdm.normal_kl)
@given(rng=generators(), d=SIZES)
def test_independent_coordinates_are_a_sum(rng, d):
    means, variances = rng.normal(size=(2, 1, d)), rng.uniform(0.1, 3, (2, 1, d))
    ours = vae_vs_vdm.normal_kl(means[0], np.diag(variances[0, 0]), means[1], np.diag(variances[1, 0]))
    assert_equal(ours, elbo.gaussian_kl(means[0], variances[0], means[1], variances[1]))


# One latent. ---------------------------------------------------------------------------------------------------------


@checks(vae_vs_vdm.kl_to_standard_normal)
@given(rng=generators(), d=SIZES)
def test_prior_matching_of_the_vae(rng, d):
    mean, var = torch.tensor(rng.normal(size=(3, d))), torch.tensor(rng.uniform(0.01, 4, (3, d)))
    expected = kl_divergence(TorchNormal(mean, var.sqrt()), TorchNormal(torch.zeros(d), torch.ones(d))).sum(1)
    assert_equal(vae_vs_vdm.kl_to_standard_normal(mean, var), expected, atol=1e-14)
    assert_equal(vae_vs_vdm.kl_to_standard_normal(mean.numpy(), var.numpy()), expected.numpy(), atol=1e-14)


@checks(vae_vs_vdm.kl_to_standard_normal)
@pytest.mark.careful
@pytest.mark.parametrize("excess", [-0.5, -1e-5, -1e-10, 1e-15, 1e-8, 0.03, 7.0])
@pytest.mark.parametrize("mean", [0.0, 1e-7, 0.4])
def test_prior_matching_keeps_its_digits_where_the_code_is_nearly_the_prior(excess, mean):
    """At fifty digits; a dying latent is a quarter of the square of what its variance lacks."""
    with mpmath.workdps(50):
        var = 1 + excess
        exact = (mpmath.mpf(mean) ** 2 + mpmath.mpf(var) - 1 - mpmath.log(mpmath.mpf(var))) / 2
        single = [mpmath.mpf(float(np.float32(value))) for value in (mean, var)]
        single = float((single[0] ** 2 + single[1] - 1 - mpmath.log(single[1])) / 2)
    assert_equal(vae_vs_vdm.kl_to_standard_normal(mean, var), float(exact))
    arrays = np.full((3, 2), mean), np.full((3, 2), var)
    assert_equal(vae_vs_vdm.kl_to_standard_normal(*arrays), np.full(3, 2 * float(exact)))
    for library in (np.asarray, torch.from_numpy):
        ours = vae_vs_vdm.kl_to_standard_normal(*(library(array.astype(np.float32)) for array in arrays))
        assert str(ours.dtype).endswith("float32")
        np.testing.assert_allclose(ours, np.full(3, 2 * single), rtol=1e-6)


@checks(vae_vs_vdm.vae_elbo)
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 1, 2, 2)])
@pytest.mark.parametrize("library", [np.asarray, torch.tensor])
def test_the_bound_of_a_vae_is_likelihood_and_divergence(shape, library):
    """One number for each sample, with the divergence of torch; and the variance may be one for all."""
    rng = np.random.default_rng(0)
    mean, var, seen = rng.normal(size=shape), rng.uniform(0.1, 3, shape), rng.normal(size=shape[:1])
    torch_kl = kl_divergence(TorchNormal(torch.tensor(mean), torch.tensor(var).sqrt()), TorchNormal(0.0, 1.0))
    expected = seen - (torch_kl.reshape(*shape[:1], -1).sum(-1) if len(shape) > 1 else torch_kl).numpy()
    ours = vae_vs_vdm.vae_elbo(*map(library, (seen, mean, var)))
    assert_equal(ours, library(expected))
    if len(shape) > 1:
        same = vae_vs_vdm.vae_elbo(library(seen), library(mean), 0.4)
        assert_equal(same, vae_vs_vdm.vae_elbo(library(seen), library(mean), library(np.full(shape, 0.4))))


@checks(LinearVAE.log_prob)
@given(known=linear_vaes())
def test_the_evidence_of_the_linear_vae(known):
    """The covariance entry by entry, from what its latents and its noise have in common."""
    vae, x, _, _ = known
    d, k = vae.W.shape
    cov = np.array(
        [[sum(vae.W[i, m] * vae.W[j, m] for m in range(k)) + vae.var * (i == j) for j in range(d)] for i in range(d)]
    )
    assert_equal(vae.log_prob(x), for_each(lambda one: log_density(one, vae.b, cov), x))


@checks(LinearVAE.posterior, LinearVAE.log_prob)
@given(known=linear_vaes())
def test_the_posterior_of_the_linear_vae_is_bayes_rule(known):
    """log p(z) + log p(x given z) - log p(x), at a point that has nothing to do with the posterior."""
    vae, x, z, _ = known
    mean, cov = vae.posterior(x)

    def by_bayes(x, z):
        d, k = vae.W.shape
        evidence = log_density(x, vae.b, vae.W @ vae.W.T + vae.var * np.eye(d))
        seen = log_density(x, vae.W @ z + vae.b, vae.var * np.eye(d))
        return log_density(z, np.zeros(k), np.eye(k)) + seen - evidence

    ours = for_each(lambda z, mean: log_density(z, mean, cov), z, mean)
    size = 1e-11 * (1 + abs(x).max() ** 2 + abs(z).max() ** 2) * (1 + (vae.W**2).sum()) / vae.var
    assert_equal(ours, for_each(by_bayes, x, z), atol=size)


@checks(LinearVAE.posterior)
@given(known=linear_vaes())
def test_the_posterior_of_the_linear_vae_by_conditioning(known):
    vae, x, _, _ = known
    d, k = vae.W.shape
    cov = np.block([[vae.W @ vae.W.T + vae.var * np.eye(d), vae.W], [vae.W.T, np.eye(k)]])
    mean, given_x = vae.posterior(x)
    joint = np.concatenate([vae.b, np.zeros(k)])
    expected = [condition(joint, cov, d, one) for one in x.reshape(-1, d)]
    size = {"rtol": 1e-9, "atol": 1e-9 * (1 + 1e-3 / vae.var)}  # the blocks are inverted, noise of variance var and all
    assert_equal(mean.reshape(-1, k), np.stack([one.mean for one in expected]), **size)
    assert_equal(given_x, expected[0].cov, **size)


@checks(LinearVAE.elbo, LinearVAE.log_prob, LinearVAE.posterior)
@given(known=linear_vaes(), diagonal=st.booleans())
def test_the_evidence_is_the_bound_and_the_divergence(known, diagonal):
    vae, x, mean, cov = known
    cov = np.diag(np.diag(cov)) if diagonal else cov
    truth = vae.posterior(x)
    missing = for_each(lambda q, p: divergence(q, cov, p, truth.cov), mean, truth.mean)
    bound = vae.elbo(x, mean, cov)
    assert_equal(vae.log_prob(x), bound + missing, atol=1e-12 * (1 + abs(bound).max()))
    assert np.all(bound <= vae.log_prob(x) + 1e-9)
    best = for_each(lambda x, mean: vae.elbo(x, mean, truth.cov), x, truth.mean)
    assert_equal(best, vae.log_prob(x), atol=1e-11 * (1 + 1 / vae.var))


@checks(LinearVAE.elbo, vae_vs_vdm.vae_elbo)
@given(known=linear_vaes(k=st.integers(1, 2)))
def test_the_bound_of_the_linear_vae_by_quadrature(known):
    """E[log p(x, z) - log q(z)], and with independent latents the same as a VAE would compute it."""
    vae, x, mean, cov = known
    (d, k), (z, weights) = vae.W.shape, nodes(12, known[0].W.shape[1])

    def by_quadrature(x, mean, cov):
        drawn = mean + z @ np.linalg.cholesky(cov).T
        seen = stats.norm.logpdf(x, drawn @ vae.W.T + vae.b, math.sqrt(vae.var)).sum(1)
        ratio = stats.norm.logpdf(drawn).sum(1) - log_density(drawn, mean, cov).reshape(-1)
        return weights @ seen, weights @ ratio

    expected = for_each(lambda x, mean: sum(by_quadrature(x, mean, cov)), x, mean)
    assert_equal(vae.elbo(x, mean, cov), expected, atol=1e-12)
    x, mean, var = x.reshape(-1, d), mean.reshape(-1, k), np.diag(cov)
    likelihood = np.array([by_quadrature(*row, np.diag(var))[0] for row in zip(x, mean, strict=True)])
    bound = vae_vs_vdm.vae_elbo(likelihood, mean, var + 0 * mean)
    assert_equal(bound, vae.elbo(x, mean, np.diag(var)), atol=1e-12)


@checks(LinearVAE.elbo, LinearVAE.posterior)
def test_what_an_encoder_with_independent_latents_loses():
    """0.24 nats at best for the decoder of the page, as a search finds; and nothing if the decoder's axes are turned."""
    W, b, x = np.array([[1.0, 0.6], [0.5, 0.4], [0.0, 0.8]]), np.array([0.1, 0.0, -0.2]), np.array([1.0, 0.2, 0.4])
    vae = LinearVAE(W, b, 0.1)
    found = optimize.minimize(lambda at: -vae.elbo(x, at[:2], np.diag(np.exp(at[2:]))), np.zeros(4), tol=1e-12)
    assert vae.log_prob(x) + found.fun == pytest.approx(0.2360, abs=5e-5)
    assert_equal(np.exp(found.x[2:]), 0.1 / (np.diag(W.T @ W) + 0.1), rtol=1e-4)

    def lost(angle):
        turned = LinearVAE(W @ [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], b, 0.1)
        assert_equal(turned.log_prob(x), vae.log_prob(x))
        mean, cov = turned.posterior(x)
        return turned.log_prob(x) - turned.elbo(x, mean, np.diag(1 / np.diag(np.linalg.inv(cov))))

    best = optimize.minimize_scalar(lost, bounds=(0, math.pi / 2), method="bounded", options={"xatol": 1e-10})
    assert lost(0.0) == pytest.approx(0.2360, abs=5e-5) and abs(best.fun) < 1e-12


# Many latents: everything about a chain is in one joint Gaussian. ----------------------------------------------------


def assembled(sources, steps, sizes):
    """Mean and covariance of all of z_0..z_T together, where z_t is drawn by steps[t] from z of sources[t], if any.

    As one linear system z = A z + b + noise, whose solution is (1 - A)^-1 (b + noise).
    """
    at = np.concatenate([[0], np.cumsum(sizes)])
    span = [slice(*edges) for edges in pairwise(at)]
    A, b, noise = np.zeros((at[-1],) * 2), np.zeros(at[-1]), np.zeros((at[-1],) * 2)
    for t, (source, step) in enumerate(zip(sources, steps, strict=True)):
        if source is not None:
            A[span[t], span[source]] = step.weight
        b[span[t]], noise[span[t], span[t]] = step[-2], step[-1]
    way = np.linalg.inv(np.eye(at[-1]) - A)
    return Normal(way @ b, way @ noise @ way.T)


@checks(Linear.marginal)
@given(rng=generators(), k=SIZES, d=SIZES)
def test_what_a_linear_step_makes_of_a_normal_law(rng, k, d):
    step, z = a_linear(rng, k, d), a_normal(rng, k)
    joint = assembled([None, 0], [z, step], [k, d])
    assert_equal(tuple(step.marginal(z)), (joint.mean[k:], joint.cov[k:, k:]))
    means = rng.normal(size=(2, 3, k))
    many = step.marginal(Normal(means, z.cov))
    assert_equal(many.mean, np.stack([[step.weight @ mean + step.bias for mean in row] for row in means]))
    point = step.marginal(Normal(z.mean, np.zeros((k, k))))  # of one that is known
    assert_equal(tuple(point), (step.weight @ z.mean + step.bias, step.cov))


@checks(Linear.posterior, Linear.marginal)
@given(rng=generators(), k=SIZES, d=SIZES)
def test_a_linear_step_turned_around_is_bayes_rule(rng, k, d):
    """By conditioning of the joint; and as densities: both ways of telling the pair are one."""
    step, z = a_linear(rng, k, d), a_normal(rng, k)
    back = step.posterior(z)
    joint = assembled([None, 0], [z, step], [k, d])
    order = [*range(k, k + d), *range(k)]  # y first, which is seen
    y = rng.normal(size=d)
    expected = condition(joint.mean[order], joint.cov[np.ix_(order, order)], d, y)
    assert_equal((back.mean(y), back.cov), tuple(expected), rtol=1e-9, atol=1e-10)
    assert_equal(back.cov, back.cov.T, atol=1e-14)
    x = rng.normal(size=k)
    forth = log_density(x, *z) + log_density(y, step.weight @ x + step.bias, step.cov)
    seen = log_density(y, *step.marginal(z))
    assert_equal(forth, seen + log_density(x, back.mean(y), back.cov), rtol=1e-9, atol=1e-9)
    means = rng.normal(size=(3, k))
    many = step.posterior(Normal(means, z.cov))
    for mean, bias in zip(means, many.bias, strict=True):
        assert_equal(bias, step.posterior(Normal(mean, z.cov)).bias, atol=1e-13)


@checks(Linear.posterior)
@given(known=linear_vaes())
def test_the_linear_vae_is_the_case_of_a_standard_prior(known):
    vae, x, _, _ = known
    back, truth = vae.decoder.posterior(Normal.standard(vae.W.shape[1])), vae.posterior(x)
    assert_equal((back.mean(x), back.cov), tuple(truth), rtol=1e-9, atol=1e-9)


@checks(Linear.posterior)
def test_what_is_known_is_not_changed_by_what_is_seen():
    rng = np.random.default_rng(0)
    step, x = a_linear(rng, 2, 3), rng.normal(size=2)
    back = step.posterior(Normal(x, np.zeros((2, 2))))
    assert_equal(tuple(back), (np.zeros((2, 3)), x, np.zeros((2, 2))))


class Whole:
    """A chain as a joint Gaussian p(x, z), and a Gaussian q(z given x) for one x."""

    def __init__(self, chain, x):
        sizes = [len(x), *(len(step.bias) for step in chain.encoder)]
        T, d = chain.T, sizes[0]
        self.x, self.d = x, d
        self.p = assembled([*range(1, T + 1), None], [*chain.decoder, chain.prior], sizes)
        point = Normal(x, np.zeros((d, d)))
        mean, cov = assembled([None, *range(T)], [point, *chain.encoder], sizes)
        self.q = Normal(mean[d:], (cov[d:, d:] + cov[d:, d:].T) / 2)

    def log_prob(self):
        return log_density(self.x, self.p.mean[: self.d], self.p.cov[: self.d, : self.d])

    def elbo(self):
        """E_q[log p(x, z)] and the entropy of q."""
        joint = log_density(np.concatenate([self.x, self.q.mean]), *self.p)
        spread = np.linalg.inv(self.p.cov)[self.d :, self.d :] * self.q.cov.T
        return joint - spread.sum() / 2 + stats.multivariate_normal(*self.q).entropy()

    def missing(self):
        """The divergence from q to the true posterior, of all latents at once."""
        return divergence(*self.q, *condition(*self.p, self.d, self.x))


@checks(Chain.residuals, Linear.marginal)
@given(known=chains())
def test_by_how_much_a_decoder_misses(known):
    """In the joint law of all latents given x: a linear function of two neighbours."""
    chain, x = known
    found = chain.residuals(x)
    assert len(found) == chain.T
    for at, one in enumerate(x.reshape(-1, x.shape[-1])):
        joint = Whole(chain, one).q
        sizes = np.cumsum([0, *(len(step.bias) for step in chain.encoder)])
        for t, (up, miss) in enumerate(zip(chain.decoder, found, strict=True)):
            pick = np.zeros((len(up.bias), sizes[-1]))  # z_{t-1} less the weight times z_t
            pick[:, sizes[t] : sizes[t + 1]] = -up.weight
            start = one if t == 0 else 0.0
            if t:
                pick[:, sizes[t - 1] : sizes[t]] = np.eye(len(up.bias))
            expected = start + pick @ joint.mean - up.bias, pick @ joint.cov @ pick.T
            mean = miss.mean.reshape(-1, len(up.bias))[at]
            assert_equal((mean, miss.cov), expected, rtol=1e-9, atol=1e-10)


def wholes(chain, x, what):
    return for_each(lambda one: getattr(Whole(chain, one), what)(), x)


@checks(Chain.log_prob)
@given(known=chains())
def test_the_evidence_of_a_chain(known):
    chain, x = known
    assert_equal(chain.log_prob(x), wholes(chain, x, "log_prob"), rtol=1e-9)


@checks(vae_vs_vdm.hierarchical_elbo)
@given(known=chains())
def test_the_bound_of_a_chain(known):
    chain, x = known
    assert_equal(vae_vs_vdm.hierarchical_elbo(chain, x), wholes(chain, x, "elbo"), rtol=1e-9)


@checks(vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo, Chain.log_prob)
@given(known=chains())
def test_the_evidence_of_a_chain_is_the_bound_and_the_divergence(known):
    chain, x = known
    missing, evidence = wholes(chain, x, "missing"), chain.log_prob(x)
    assert np.all(missing >= 0)
    for bound in (vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo):
        assert_equal(bound(chain, x) + missing, evidence, atol=1e-11 * (1 + missing.max()))


@checks(vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo)
@given(known=chains())
def test_both_decompositions_are_the_bound(known):
    chain, x = known
    expected = vae_vs_vdm.hierarchical_elbo(chain, x)
    assert_equal(vae_vs_vdm.consistency_elbo(chain, x), expected, atol=1e-11)
    assert_equal(vae_vs_vdm.denoising_elbo(chain, x), expected, atol=1e-11)


@checks(vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo, Chain.log_prob)
@given(known=linear_vaes(), rng=generators())
def test_a_chain_of_one_is_a_vae(known, rng):
    vae, x, _, _ = known
    d, k = vae.W.shape
    encoder = a_linear(rng, d, k)
    chain = Chain([encoder], [vae.decoder], Normal(np.zeros(k), np.eye(k)))
    expected = for_each(lambda one: vae.elbo(one, encoder.weight @ one + encoder.bias, encoder.cov), x)
    for bound in (vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo):
        assert_equal(bound(chain, x), expected, atol=1e-11)
    assert_equal(chain.log_prob(x), vae.log_prob(x))


@checks(vae_vs_vdm.one_step_elbo, vae_vs_vdm.denoising_elbo)
@given(beta=betas(1e-3, 1.0), rng=generators(), d=st.integers(1, 2))
def test_a_diffusion_of_one_step_is_a_vae(beta, rng, d):
    """The likelihood by quadrature over the forward step, which is the encoder."""
    schedule, vae = Schedule([beta]), LinearVAE(rng.normal(size=(d, d)), rng.normal(size=d), 0.3)
    step, x_0, (z, weights) = schedule[1], rng.normal(size=(3, d)), nodes(12, d)
    encoder = Linear(math.sqrt(1 - beta) * np.eye(d), np.zeros(d), beta * np.eye(d))
    chain = Chain([encoder], [vae.decoder], Normal(np.zeros(d), np.eye(d)))
    x_1 = math.sqrt(1 - beta) * x_0[:, None] + math.sqrt(beta) * z
    seen = stats.norm.logpdf(x_0[:, None], x_1 @ vae.W.T + vae.b, math.sqrt(vae.var)).sum(-1) @ weights
    assert_equal(vae_vs_vdm.one_step_elbo(seen, x_0, step), vae_vs_vdm.denoising_elbo(chain, x_0), atol=1e-12)
    expected = seen - elbo.prior_matching(x_0, step)
    assert_equal(vae_vs_vdm.one_step_elbo(seen, x_0, step), expected, atol=1e-12)


# The chain on the line, against the terms of chapter 3. --------------------------------------------------------------


def any_decoders(rng, schedule):
    """A diffusion on the line with steps back that are nothing special: the chain, and the model of chapter 3."""
    encoder = [Linear([[math.sqrt(s.alpha)]], [0.0], [[s.beta]]) for s in schedule]
    decoder = [
        Linear(*([[v]], [m], [[c]])) for v, m, c in rng.uniform((0.3, -0.5, 0.2), (1.2, 0.5, 1.5), (schedule.T, 3))
    ]
    back = {s: (up[0][0][0], up[1][0], up[2][0][0]) for s, up in zip(schedule, decoder, strict=True)}

    def model(x, step):
        weight, bias, var = back[step]
        return forward.Gaussian(weight * x + bias, var)

    return Chain(encoder, decoder, Normal(np.zeros(1), np.eye(1))), model


def forward_draws(x_0, schedule, t, n=12):
    """x_{t-1} and x_{t+1} of paths that begin in x_0, shape (n * n,), and their weights; x_t is left free."""
    z, weights = nodes(n, 2)
    before = schedule[t].alpha_bar_prev
    x_prev = math.sqrt(before) * x_0 + math.sqrt(1 - before) * z[:, 0]
    on = schedule[t].alpha * schedule[t + 1].alpha
    return x_prev, math.sqrt(on) * x_prev + math.sqrt(1 - on) * z[:, 1], weights


def ends(x_0, schedule, model):
    """E[log p(x_0 given x_1)], and the divergence at T averaged over x_{T-1} and for x_0 alone."""
    z, weights = nodes(20)
    first, last = schedule[1], schedule[schedule.T]
    x_1 = math.sqrt(first.alpha) * x_0 + math.sqrt(first.beta) * z[:, 0]
    mean, var = model(x_1, first)
    seen = weights @ stats.norm.logpdf(x_0, mean, math.sqrt(var))
    before = math.sqrt(last.alpha_bar_prev) * x_0 + math.sqrt(1 - last.alpha_bar_prev) * z[:, 0]
    on_average = weights @ vae_vs_vdm.kl_to_standard_normal(*forward.transition(before, last))
    return seen, on_average, elbo.prior_matching(x_0, last)


LINE = st.lists(betas(0.05, 0.9), min_size=1, max_size=4, unique=True).map(Schedule)


@checks(vae_vs_vdm.denoising_elbo)
@given(schedule=LINE, rng=generators(), x_0=numbers())
def test_denoising_on_the_line_is_the_sum_of_chapter_3(schedule, rng, x_0):
    chain, model = any_decoders(rng, schedule)
    total, _, prior = ends(x_0, schedule, model)
    total -= prior
    z, weights = nodes(20)
    for t in range(2, schedule.T + 1):
        step = schedule[t]
        x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * z[:, 0]
        total -= weights @ elbo.denoising_matching(x_t, np.full_like(x_t, x_0), *model(x_t, step), step)
    assert_equal(vae_vs_vdm.denoising_elbo(chain, np.array([x_0])), total)


@checks(vae_vs_vdm.consistency_elbo, elbo.consistency)
@given(schedule=LINE, rng=generators(), x_0=numbers())
def test_consistency_on_the_line_is_the_sum_of_chapter_3(schedule, rng, x_0):
    chain, model = any_decoders(rng, schedule)
    total, last, _ = ends(x_0, schedule, model)
    total -= last
    for t in range(1, schedule.T):
        x_prev, x_next, weights = forward_draws(x_0, schedule, t)
        total -= weights @ elbo.consistency(x_prev, x_next, schedule[t], schedule[t + 1], model)
    assert_equal(vae_vs_vdm.consistency_elbo(chain, np.array([x_0])), total)


@checks(vae_vs_vdm.consistency_elbo, elbo.consistency)
@pytest.mark.parametrize("x_0", [-1.3, 0.0, 0.8])
def test_the_consistency_term_in_print_does_not_add_up(x_0):
    """KL(q(x_t | x_{t-1}) || p(x_t | x_{t+1})) takes x_t as if x_{t+1} did not depend on it.

    What it loses is the covariance of both, times the decoder's weight over its variance, wherever x_0 is.
    """
    schedule = Schedule([0.3, 0.4, 0.5])
    chain = vae_vs_vdm.ideal_chain(schedule, np.zeros(1), np.eye(1) / 4)
    steps = dict(zip(schedule, chain.decoder, strict=True))

    def model(x, step):
        weight, bias, cov = (float(part.squeeze()) for part in steps[step])
        return forward.Gaussian(weight * x + bias, cov)

    bound = float(Whole(chain, np.array([x_0])).elbo())
    printed, _, _ = ends(x_0, schedule, model)
    printed -= ends(x_0, schedule, model)[1]
    corrected, lost = printed, 0.0
    for t in (1, 2):
        x_prev, x_next, weights = forward_draws(x_0, schedule, t)
        on, back = forward.transition(x_prev, schedule[t]), model(x_next, schedule[t + 1])
        printed -= weights @ elbo.gaussian_kl(*on, *back)
        corrected -= weights @ elbo.consistency(x_prev, x_next, schedule[t], schedule[t + 1], model)
        weight, _, cov = (float(part.squeeze()) for part in steps[schedule[t + 1]])
        lost += weight * math.sqrt(schedule[t + 1].alpha) * schedule[t].beta / cov
    assert_equal(corrected, bound)
    assert_equal(vae_vs_vdm.consistency_elbo(chain, np.array([x_0])), np.float64(bound))
    assert_equal(bound - printed, np.float64(lost))
    assert lost > 0.8


# The diffusion model. ------------------------------------------------------------------------------------------------

PURE = Schedule([0.5, 0.9, 0.99])
"""So much noise that nothing is left at the end."""


@st.composite
def noisings(draw):
    """A schedule that ends in noise, and normal data for it."""
    rng, d = draw(generators()), draw(st.integers(1, 3))
    schedule = Schedule([*draw(st.lists(betas(1e-3, 0.99), max_size=4)), draw(st.floats(0.995, 1))])
    return schedule, a_normal(rng, d), rng.normal(size=(3, d))


@checks(vae_vs_vdm.as_vdm, vae_vs_vdm.ideal_chain)
@given(known=noisings())
def test_a_diffusion_read_as_a_chain_and_back(known):
    schedule, data, _ = known
    assert_equal(vae_vs_vdm.as_vdm(vae_vs_vdm.ideal_chain(schedule, *data)).beta, schedule.beta)


def bent(**changes):
    """The ideal chain on the plane with some parts replaced: t=(weight, bias, cov) of the encoder, or the prior."""
    chain = vae_vs_vdm.ideal_chain(PURE, np.zeros(2), np.eye(2))
    encoder = [
        Linear(*(changes.get(f"{name}_{t}", part) for name, part in step._asdict().items()))
        for t, step in enumerate(chain.encoder, 1)
    ]
    return Chain(encoder, chain.decoder, changes.get("prior", chain.prior))


def smaller(kept=0):
    """From the plane to a line, at once or after some steps of a diffusion."""
    chain, rng = vae_vs_vdm.ideal_chain(PURE, np.zeros(2), np.eye(2)), np.random.default_rng(0)
    encoder, decoder = [*chain.encoder[:kept], a_linear(rng, 2, 1)], [*chain.decoder[:kept], a_linear(rng, 1, 2)]
    return Chain(encoder, decoder, a_normal(rng, 1))


@checks(vae_vs_vdm.as_vdm)
@pytest.mark.parametrize(
    ("words", "chain"),
    [
        (["encoder at t = 1", "2 dimensions", "got 1"], smaller()),
        (["encoder at t = 3", "2 dimensions", "got 1"], smaller(2)),
        (["encoder at t = 2", "sqrt(1 - beta)"], bent(weight_2=math.sqrt(0.1) * np.array([[1.0, 0.1], [0.0, 1.0]]))),
        (["encoder", "t = 2"], bent(weight_2=-math.sqrt(0.1) * np.eye(2))),
        (["encoder", "t = 1"], bent(weight_1=np.eye(2))),
        (["encoder", "t = 1"], bent(bias_1=np.array([0.0, 1e-6]))),
        (["encoder at t = 3", "bias", "1e-06"], bent(bias_3=np.array([1e-6, 0.0]))),
        (["encoder at t = 3", "weight"], bent(weight_3=-0.1 * np.eye(2))),
        (["encoder at t = 3", "cov", "0.01"], bent(cov_3=np.diag([0.99, 0.98]))),
        (["encoder at t = 2", "cov", "0.1"], bent(cov_2=np.array([[0.9, 0.1], [0.1, 0.9]]))),
        (["encoder at t = 3", "weight"], bent(cov_3=0.98 * np.eye(2))),
        (["beta", "(0, 1]", "1.5 at t = 3"], bent(cov_3=np.diag([1.5, 1.5]), weight_3=np.zeros((2, 2)))),
        (["prior", "N(0, I)"], bent(prior=Normal(np.array([0.0, 1e-6]), np.eye(2)))),
        (["prior", "N(0, I)"], bent(prior=Normal(np.zeros(2), 2 * np.eye(2)))),
        (["pure noise", "at most 0.01", "0.05"], vae_vs_vdm.ideal_chain(Schedule([0.5, 0.9]), np.zeros(2), np.eye(2))),
    ],
)
def test_each_restriction_is_named_when_it_alone_is_broken(words, chain):
    with refused(words):
        vae_vs_vdm.as_vdm(chain)


@checks(vae_vs_vdm.as_vdm)
def test_a_schedule_is_read_in_order():
    schedule = Schedule([0.3, 0.7, 0.5, 0.99, 0.6])
    chain = vae_vs_vdm.ideal_chain(schedule, np.zeros(3), np.eye(3))
    assert_equal(vae_vs_vdm.as_vdm(chain).beta, schedule.beta)
    assert vae_vs_vdm.as_vdm(chain).T == 5


@checks(vae_vs_vdm.as_vdm)
def test_how_much_may_be_left_is_a_choice():
    chain = vae_vs_vdm.ideal_chain(Schedule([0.5, 0.9]), np.zeros(2), np.eye(2))
    assert_equal(vae_vs_vdm.as_vdm(chain, alpha_bar_max=0.06).beta, np.array([0.5, 0.9]))


@checks(vae_vs_vdm.ideal_chain)
@given(schedule=SHORT, mean=numbers(), var=positive(), x=numbers())
def test_the_ideal_steps_back_on_the_line(schedule, mean, var, x):
    """Their variance is chapter 2's, and both moments are those of the running example with one component."""
    data = Mixture([1.0], [[mean]], [var])
    chain = vae_vs_vdm.ideal_chain(schedule, np.array([mean]), np.array([[var]]))
    for step, (weight, bias, cov) in zip(schedule, chain.decoder, strict=True):
        assert_equal(cov, np.array([[posterior.optimal_variance(step, var)]]), rtol=1e-9)
        truth = data.reverse(np.array([[x]]), step)
        assert_equal(weight @ [x] + bias, truth.mean()[0], rtol=1e-9, atol=1e-9)
        assert_equal(cov[0], truth.var()[0], rtol=1e-9)
        knowing = posterior.mean(x, data.denoise(np.array([[x]]), step)[0], step)
        assert_equal(weight @ [x] + bias, knowing, rtol=1e-9, atol=1e-9)


@checks(vae_vs_vdm.ideal_chain)
@given(known=noisings())
def test_the_ideal_steps_back_reverse_the_noising(known):
    """q(x_0..x_T) forwards and, started in q(x_T), backwards are one joint Gaussian."""
    schedule, data, _ = known
    chain, d, T = vae_vs_vdm.ideal_chain(schedule, *data), len(data.mean), schedule.T
    sizes = [d] * (T + 1)
    on = assembled([None, *range(T)], [data, *chain.encoder], sizes)
    end = Normal(on.mean[-d:], on.cov[-d:, -d:])
    back = assembled([*range(1, T + 1), None], [*chain.decoder, end], sizes)
    assert_equal(back, on, rtol=1e-9, atol=1e-9)


@checks(vae_vs_vdm.ideal_chain, vae_vs_vdm.denoising_elbo)
@given(known=noisings())
def test_all_that_the_ideal_model_loses_is_its_start(known):
    """log q(x_0) - ELBO is the mean of log q(x_T) - log p(x_T), for every x_0."""
    schedule, data, x = known
    chain, d, left = vae_vs_vdm.ideal_chain(schedule, *data), len(data.mean), np.prod(1 - schedule.beta)
    end = stats.multivariate_normal(math.sqrt(left) * data.mean, left * data.cov + (1 - left) * np.eye(d))
    z, weights = nodes(6, d)  # exact: both logarithms are of degree 2

    def at_the_end(x):
        x_T = math.sqrt(left) * x + math.sqrt(1 - left) * z
        return weights @ (end.logpdf(x_T) - stats.norm.logpdf(x_T).sum(1))

    lost = for_each(lambda x: log_density(x, *data), x) - vae_vs_vdm.denoising_elbo(chain, x)
    assert_equal(lost, for_each(at_the_end, x), rtol=1e-8, atol=1e-9)


@checks(vae_vs_vdm.ideal_chain, vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo)
@pytest.mark.parametrize("T", [100, 1000])
def test_long_chains(T):
    """The loss of data on the line, in the mean, is the divergence of its end from N(0, 1)."""
    schedule, mean, var = forward.linear(T), 0.7, 0.3
    chain = vae_vs_vdm.ideal_chain(schedule, np.array([mean]), np.array([[var]]))
    z, weights = nodes(6)
    x = mean + math.sqrt(var) * z
    left = schedule[T].alpha_bar
    expected = divergence(
        np.array([math.sqrt(left) * mean]), np.array([[left * var + 1 - left]]), np.zeros(1), np.eye(1)
    )
    evidence = weights @ stats.norm.logpdf(x[:, 0], mean, math.sqrt(var))
    for bound in (vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo):
        # A thousand terms, each of about one, are added up.
        assert_equal(evidence - weights @ bound(chain, x), np.float64(expected), atol=1e-13 * T)


# What Gaussian steps lose on a mixture. ------------------------------------------------------------------------------

GAPS = [(1, "cosine"), (2, "cosine"), (4, "cosine"), (3, "linear")]
WIDE, BACK = np.linspace(-7, 7, 561), np.linspace(-8, 8, 641)


def on_the_line(schedule, t, data):
    """The noisy data and its true steps back: x_t and weights, and the kernels' mean and variance."""
    x = WIDE[:, None]
    weights = np.exp(data.diffuse(schedule[t].alpha_bar).log_prob(x)) * (WIDE[1] - WIDE[0])
    kernel = data.reverse(x, schedule[t])
    return x, weights, kernel


def model_variance(weights, kernel, variance):
    back = kernel.var()[:, 0]
    return np.full_like(back, weights @ back) if variance == "shared" else back


@checks(vae_vs_vdm.elbo_gap)
@pytest.mark.parametrize("variance", ["shared", "each"])
@pytest.mark.parametrize(("T", "name"), GAPS)
def test_the_gap_is_the_sum_of_all_divergences(T, name, variance):
    """Each by quadrature, kernel by kernel."""
    data, schedule = two_classes(), forward.schedule(name, T)
    end = data.diffuse(schedule[T].alpha_bar).log_prob(WIDE[:, None])
    gap = np.trapezoid(np.exp(end) * (end - stats.norm.logpdf(WIDE)), WIDE)
    for t in range(1, T + 1):
        _, weights, kernel = on_the_line(schedule, t, data)
        var = model_variance(weights, kernel, variance)
        log_q = np.stack([kernel.log_prob(np.full((len(weights), 1), y)) for y in BACK])
        log_p = stats.norm.logpdf(BACK[:, None], kernel.mean()[:, 0], np.sqrt(var))
        gap += weights @ np.trapezoid(np.exp(log_q) * (log_q - log_p), BACK, axis=0)
    assert_equal(vae_vs_vdm.elbo_gap(data, schedule, variance), float(gap))


@checks(vae_vs_vdm.elbo_gap)
@pytest.mark.parametrize("T", [1, 2, 3])
def test_the_gap_by_the_terms_of_chapter_3(T):
    """log q(x_0) less the bound, with every mean over x_0 and x_t taken by quadrature."""
    data, schedule = two_classes(), forward.cosine(T)
    x_0 = np.linspace(-2.6, 1.9, 301)
    density = np.exp(data.log_prob(x_0[:, None])) * (x_0[1] - x_0[0])
    z = np.linspace(-8, 8, 201)
    weights = stats.norm.pdf(z) * (z[1] - z[0])
    bound = -density @ elbo.prior_matching(x_0, schedule[T])
    for t in range(1, T + 1):
        step = schedule[t]
        _, over, kernel = on_the_line(schedule, t, data)
        var = over @ kernel.var()[:, 0]
        x_t = math.sqrt(step.alpha_bar) * x_0[:, None] + math.sqrt(step.noise_var) * z
        mean = data.reverse(x_t[..., None], step).mean()[..., 0]
        for x, noisy, back, mass in zip(x_0, x_t, mean, density, strict=True):
            if t == 1:
                bound += mass * (weights @ stats.norm.logpdf(x, back, math.sqrt(var)))
            else:
                bound -= mass * (weights @ elbo.denoising_matching(noisy, np.full_like(noisy, x), back, var, step))
    evidence = density @ data.log_prob(x_0[:, None])
    assert_equal(vae_vs_vdm.elbo_gap(data, schedule), float(evidence - bound))


@checks(vae_vs_vdm.elbo_gap)
@pytest.mark.parametrize("variance", ["shared", "each"])
def test_many_small_steps_lose_less_than_one_big_one(variance):
    gaps = [vae_vs_vdm.elbo_gap(two_classes(), forward.cosine(T), variance) for T in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert all(after < before for before, after in pairwise(gaps))
    assert gaps[0] > 0.5 and 0 < gaps[-1] < 0.02


@checks(vae_vs_vdm.elbo_gap)
def test_what_a_single_step_loses():
    """With no noise or with nothing but noise as much as one Gaussian for all data; and 0.54 nats at best."""
    one_gaussian = math.log(2 * math.pi * math.e) / 2 - entropy_of(two_classes())
    for beta in (1e-9, 1 - 1e-9):
        assert vae_vs_vdm.elbo_gap(two_classes(), Schedule([beta])) == pytest.approx(one_gaussian, abs=1e-6)
    assert round(one_gaussian, 2) == 1.32
    best = optimize.minimize_scalar(
        lambda beta: vae_vs_vdm.elbo_gap(two_classes(), Schedule([beta])), bounds=(0.01, 0.5)
    )
    assert round(best.fun, 2) == 0.54


def entropy_of(mixture):
    x = np.linspace(-5, 5, 4001)[:, None]
    log_p = mixture.log_prob(x)
    return -(np.exp(log_p) * log_p).sum() * (x[1, 0] - x[0, 0])


@checks(vae_vs_vdm.elbo_gap)
def test_how_the_gap_falls_with_the_number_of_steps():
    """Like 1/T with one variance for each t and 1/T^2 with one for each x_t; the placing of the steps shifts the line."""

    def respaced(T):
        return forward.respace(forward.linear(), [round(1000 * t / T) for t in range(1, T + 1)])

    def even(T):
        high, low = (forward.log_snr(forward.linear()[t]) for t in (1, 1000))
        return Schedule.from_alpha_bar(1 / (1 + np.exp(-np.linspace(high, low, T))))

    def gaps(make, variance="shared"):
        return np.array([vae_vs_vdm.elbo_gap(two_classes(), make(T), variance) for T in (64, 256)])

    shared = {make: gaps(make) for make in (forward.cosine, respaced, even)}
    assert all(3.9 < few / many < 4.3 for few, many in shared.values())
    few, many = gaps(forward.cosine, "each")
    assert 12.5 < few / many < 13.5
    most = max(many for _, many in shared.values())
    assert round(most / shared[forward.cosine][1], 1) == 2.5


@checks(vae_vs_vdm.elbo_gap)
def test_a_model_can_be_better_than_its_bound():
    """The density that sixteen best Gaussian steps make of noise, on a grid: 0.0035 nats from the data, and not 0.11."""
    x, schedule = np.linspace(-5, 5, 901), forward.cosine(16)
    width, data = x[1] - x[0], two_classes()
    density = stats.norm.pdf(x)
    for step in reversed(list(schedule)):
        back, share = data.reverse(x[:, None], step), np.exp(data.diffuse(step).log_prob(x[:, None])) * width
        std = math.sqrt(share @ back.var()[:, 0])
        density = stats.norm.pdf(x[:, None], back.mean()[:, 0], std) @ density * width
    log_q = data.log_prob(x[:, None])
    apart = (np.exp(log_q) * (log_q - np.log(density))).sum() * width
    assert round(apart, 4) == 0.0035
    assert round(vae_vs_vdm.elbo_gap(data, schedule), 2) == 0.11


@checks(vae_vs_vdm.elbo_gap)
@given(schedule=SHORT, variance=st.sampled_from(["shared", "each"]))
def test_gaussian_data_loses_only_its_start(schedule, variance):
    assert_equal(vae_vs_vdm.elbo_gap(standard_normal(), schedule, variance), 0.0, atol=1e-10)
    mean, var, left = 0.4, 0.5, float(np.prod(1 - schedule.beta))
    expected = divergence(
        np.array([math.sqrt(left) * mean]), np.array([[left * var + 1 - left]]), np.zeros(1), np.eye(1)
    )
    data = Mixture([1.0], [[mean]], [var])
    assert_equal(vae_vs_vdm.elbo_gap(data, schedule, variance), expected, atol=1e-10)


@checks(vae_vs_vdm.elbo_gap)
def test_the_gap_of_narrow_data():
    """Almost two points: the density grows without end, and the model, with a variance between them, cannot follow."""
    wide, narrow = (Mixture([0.3, 0.7], [[-1.4], [1.4]], [var, var]) for var in (1e-9, 1e-11))
    grown = vae_vs_vdm.elbo_gap(narrow, forward.cosine(4)) - vae_vs_vdm.elbo_gap(wide, forward.cosine(4))
    assert grown == pytest.approx(math.log(100) / 2, abs=1e-5)


@checks(vae_vs_vdm.elbo_gap)
@settings(max_examples=30)
@given(schedule=SHORT)
def test_a_variance_for_every_sample_never_loses_more(schedule):
    each, shared = (vae_vs_vdm.elbo_gap(two_classes(), schedule, variance) for variance in ("each", "shared"))
    assert -1e-10 <= each <= shared + 1e-10


# How to differentiate a mean. ----------------------------------------------------------------------------------------

MU, V = sympy.symbols("mu v", positive=True)
FUNCTIONS = {
    "square": (lambda z: z**2, lambda z: 2 * z, MU**2 + V),
    "cube": (lambda z: z**3, lambda z: 3 * z**2, MU**3 + 3 * MU * V),
    "shifted": (lambda z: -((z - 3) ** 2) / 2, lambda z: 3 - z, -((MU - 3) ** 2 + V) / 2),
    "sine": (np.sin, np.cos, sympy.sin(MU) * sympy.exp(-V / 2)),
    "exponential": (np.exp, np.exp, sympy.exp(MU + V / 2)),
}
"""f, its derivative, and the mean of f over N(mu, v)."""

SLOPES = {
    name: [sympy.lambdify((MU, V), sympy.diff(mean, by)) for by in (MU, V)] for name, (_, _, mean) in FUNCTIONS.items()
}
"""What both gradients must be in the mean."""


@checks(vae_vs_vdm.reparameterized_gradient, vae_vs_vdm.score_function_gradient)
@pytest.mark.parametrize("name", FUNCTIONS)
@given(mean=numbers(), var=positive(2.0))
def test_both_gradients_are_right_in_the_mean(name, mean, var):
    f, df, _ = FUNCTIONS[name]
    exact = SLOPES[name]
    noise, weights = nodes(80)
    noise = noise[:, 0]
    truth = [float(slope(mean, var)) for slope in exact]
    for by_mean, by_var in (
        vae_vs_vdm.reparameterized_gradient(df, mean, var, noise),
        vae_vs_vdm.score_function_gradient(f, mean, var, noise),
    ):
        assert by_mean.shape == by_var.shape == noise.shape
        for drawn, expected in zip((by_mean, by_var), truth, strict=True):
            assert_equal(float(weights @ drawn), expected, atol=1e-12 * float(weights @ abs(drawn)) + 1e-13)


@checks(vae_vs_vdm.reparameterized_gradient, vae_vs_vdm.score_function_gradient)
@given(rng=generators(), mean=numbers(), var=positive())
def test_each_draw_is_what_autograd_says(rng, mean, var):
    """Of f at the moved sample, and of its log-density times f held fixed."""
    noise = torch.tensor(rng.normal(size=5))
    mu, v = (torch.full((5,), value, dtype=torch.float64, requires_grad=True) for value in (mean, var))
    moved = torch.sin(mu + v.sqrt() * noise)
    ours = vae_vs_vdm.reparameterized_gradient(torch.cos, mean, var, noise)
    assert_equal(ours, torch.autograd.grad(moved.sum(), (mu, v)), atol=1e-13)
    fixed = (mu + v.sqrt() * noise).detach()
    weighed = TorchNormal(mu, v.sqrt()).log_prob(fixed) * torch.sin(fixed)
    ours = vae_vs_vdm.score_function_gradient(torch.sin, mean, var, noise)
    assert_equal(ours, torch.autograd.grad(weighed.sum(), (mu, v)), rtol=1e-8, atol=1e-10 / var)


@checks(vae_vs_vdm.reparameterized_gradient, vae_vs_vdm.score_function_gradient)
@pytest.mark.parametrize("name", ["square", "shifted", "sine"])
def test_moving_the_sample_is_less_noisy(name):
    """Both variances exactly, by quadrature, for what a VAE meets: a narrow encoder."""
    f, df, _ = FUNCTIONS[name]
    noise, weights = nodes(80)
    noise = noise[:, 0]

    def variances(gradient):
        return [weights @ drawn**2 - (weights @ drawn) ** 2 for drawn in gradient]

    moved = variances(vae_vs_vdm.reparameterized_gradient(df, 0.8, 0.05, noise))
    weighed = variances(vae_vs_vdm.score_function_gradient(f, 0.8, 0.05, noise))
    assert all(10 * a < b for a, b in zip(moved, weighed, strict=True))


@checks(vae_vs_vdm.score_function_gradient, vae_vs_vdm.reparameterized_gradient)
@given(mean=numbers(), var=positive())
def test_a_constant_has_no_gradient(mean, var):
    """In the mean; a single draw of the score function says otherwise."""
    noise, weights = nodes(20)
    noise = noise[:, 0]
    for drawn in vae_vs_vdm.score_function_gradient(lambda z: 7 + 0 * z, mean, var, noise):
        assert_equal(float(weights @ drawn), 0.0, atol=1e-12 / var)
        assert weights @ drawn**2 > 0.9
    for drawn in vae_vs_vdm.reparameterized_gradient(lambda z: 0 * z, mean, var, noise):
        assert np.all(drawn == 0)


def test_the_chapter_does_not_wait_for_torch():
    code = "import sys; from tinyddpm import vae_vs_vdm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The door. -----------------------------------------------------------------------------------------------------------

EYE, PLANE = np.eye(2), LinearVAE(np.eye(2), np.zeros(2), 1.0)
STEPS = vae_vs_vdm.ideal_chain(PURE, np.zeros(2), EYE)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["cov_p", "positive definite"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), 0.0, np.zeros(2), 0 * EYE)),
        (["cov_p", "symmetric"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), 0.0, 0.0, np.triu(EYE + 1))),
        (["cov_p", "finite", "nan"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), 0.0, 0.0, math.nan * EYE)),
        (["mean_p", "d = 1", "(2,)"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(1), 0.0, np.zeros(2), EYE)),
        (["mean_p", "d = 2", "(3,)"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), 0.0, np.zeros(3), EYE)),
        (["cov_q", "matrix", "[1.0, 1.0]"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), np.ones(2), 0.0, EYE)),
        (["cov_q", "matrix", "3.0"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), 3.0, np.zeros(2), EYE)),
        (["cov_q", "semidefinite"], lambda: vae_vs_vdm.expected_log_prob(np.zeros(2), -EYE, np.zeros(2), EYE)),
        (["mean_q", "finite"], lambda: vae_vs_vdm.expected_log_prob(np.full(2, math.nan), 0.0, np.zeros(2), EYE)),
        (["cov_q", "2", "(1, 1)"], lambda: vae_vs_vdm.normal_kl(np.zeros(2), np.eye(1), np.zeros(2), EYE)),
        (["cov_q", "positive definite"], lambda: vae_vs_vdm.normal_kl(np.zeros(2), 0 * EYE, np.zeros(2), EYE)),
        (["var", "above 0", "-1"], lambda: vae_vs_vdm.kl_to_standard_normal(np.zeros(2), np.array([1.0, -1.0]))),
        (["var", "above 0", "0"], lambda: LinearVAE(EYE, np.zeros(2), 0)),
        (["var", "above 0", "nan"], lambda: LinearVAE(EYE, np.zeros(2), math.nan)),
        (["W", "(2, 2)", "(3,)"], lambda: LinearVAE(EYE, np.zeros(3), 1.0)),
        (["W", "(2,)"], lambda: LinearVAE(np.zeros(2), np.zeros(2), 1.0)),
        (["W", "finite"], lambda: LinearVAE(math.nan * EYE, np.zeros(2), 1.0)),
        (["x", "d = 2", "(1,)"], lambda: PLANE.log_prob(np.zeros(1))),
        (["x", "d = 2", "(3,)"], lambda: PLANE.log_prob(np.zeros(3))),
        (["x", "d = 2", "(3,)"], lambda: PLANE.posterior(np.zeros(3))),
        (["mean", "k = 2", "(3,)"], lambda: PLANE.elbo(np.zeros(2), np.zeros(3), EYE)),
        (["cov", "k = 2", "(3, 3)"], lambda: PLANE.elbo(np.zeros(2), np.zeros(2), np.eye(3))),
        (["cov", "matrix", "[1.0, 1.0]"], lambda: PLANE.elbo(np.zeros(2), np.zeros(2), np.ones(2))),
        (["cov", "positive definite"], lambda: PLANE.elbo(np.zeros(2), np.zeros(2), -EYE)),
        (["x", "d = 2", "()"], lambda: STEPS.log_prob(0.0)),
        (["x", "d = 2", "(1,)"], lambda: STEPS.log_prob(np.zeros(1))),
        (["x", "d = 2", "(3,)"], lambda: vae_vs_vdm.hierarchical_elbo(STEPS, np.zeros(3))),
        (["x", "d = 2", "(1,)"], lambda: vae_vs_vdm.denoising_elbo(STEPS, np.zeros(1))),
        (["x", "finite", "nan"], lambda: vae_vs_vdm.consistency_elbo(STEPS, np.full(2, math.nan))),
        (["normal", "k = 2", "(3,)"], lambda: STEPS.decoder[0].marginal(Normal.standard(3))),
        (["normal", "k = 2", "(1,)"], lambda: STEPS.decoder[0].posterior(Normal.standard(1))),
        (["x", "(..., 2)", "(1,)"], lambda: STEPS.marginals(np.zeros(1))),
        (["same number", "1 and 0"], lambda: Chain(STEPS.encoder[:1], [], STEPS.prior)),
        (["same number", "0 and 0"], lambda: Chain([], [], STEPS.prior)),
        (
            ["t = 1", "(1, 2)", "(2, 2)"],
            lambda: Chain([a_linear(np.random.default_rng(0), 2, 1)], STEPS.decoder[:1], STEPS.prior),
        ),
        (["cov of the encoder at t = 2", "positive"], lambda: bent(cov_2=-EYE)),
        (["mean of the prior", "(2,)", "(3,)"], lambda: bent(prior=Normal(np.zeros(3), np.eye(3)))),
        (["cov of the prior", "(2, 2)", "(3, 3)"], lambda: bent(prior=Normal(np.zeros(2), np.eye(3)))),
        (["mean of the prior", "finite"], lambda: bent(prior=Normal(np.full(2, math.nan), EYE))),
        (["weight of the encoder at t = 2", "finite"], lambda: bent(weight_2=math.inf * np.ones((2, 2)))),
        (["cov", "positive definite"], lambda: vae_vs_vdm.ideal_chain(PURE, np.zeros(2), -EYE)),
        (["cov", "d = 2", "(3, 3)"], lambda: vae_vs_vdm.ideal_chain(PURE, np.zeros(2), np.eye(3))),
        (["cov", "matrix", "0.5"], lambda: vae_vs_vdm.ideal_chain(PURE, 0.2, 0.5)),
        (["mean", "(d,)", "()"], lambda: vae_vs_vdm.ideal_chain(PURE, 0.2, [[0.5]])),
        (["log_likelihood", "(3,)", "(2, 1)"], lambda: vae_vs_vdm.vae_elbo(np.zeros(3), np.zeros((2, 1)), 1.0)),
        (["log_likelihood", "(3, 1)"], lambda: vae_vs_vdm.vae_elbo(np.zeros((3, 1)), np.zeros((3, 1)), 1.0)),
        (["mean (3, 1)", "var (3,)"], lambda: vae_vs_vdm.vae_elbo(np.zeros(3), np.zeros((3, 1)), np.ones(3))),
        (["log_likelihood", "nan"], lambda: vae_vs_vdm.vae_elbo(math.nan, 0.0, 1.0)),
        (["mean", "finite", "inf"], lambda: vae_vs_vdm.vae_elbo(0.0, math.inf, 1.0)),
        (["var", "nan"], lambda: vae_vs_vdm.vae_elbo(0.0, 0.0, math.nan)),
        (["log_likelihood", "x_0 of shape (3, 1)"], lambda: vae_vs_vdm.one_step_elbo(0.0, np.zeros((3, 1)), PURE[1])),
        (["mixture", "one dimension", "(1, 2)"], lambda: vae_vs_vdm.elbo_gap(standard_normal(2), PURE)),
        (["variance", "shared, each", "'beta'"], lambda: vae_vs_vdm.elbo_gap(two_classes(), PURE, "beta")),
        (["variances above 0"], lambda: vae_vs_vdm.elbo_gap(Mixture([1.0], [[0.0]], [0.0]), PURE)),
        (["var", "above 0", "-1"], lambda: vae_vs_vdm.reparameterized_gradient(np.cos, 0.0, -1.0, np.zeros(2))),
        (["var", "above 0", "-1"], lambda: vae_vs_vdm.score_function_gradient(np.cos, 0.0, -1.0, np.zeros(2))),
    ],
)
def test_bad_input_is_refused_by_name(words, call):
    with refused(words):
        call()


def test_covariances_are_held_to_the_precision_in_which_they_come():
    """A product of matrices is symmetric to its rounding, near 0 too; what differs by more is refused."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(8, 8)).astype(np.float32)
    near = np.float32(1e-6) * np.triu(np.ones((8, 8), np.float32), 1)
    cov, mean = root @ root.T + np.eye(8, dtype=np.float32), np.zeros(8)
    for library in (np.asarray, torch.from_numpy):
        assert np.isfinite(vae_vs_vdm.normal_kl(mean, library(cov + near), mean, np.eye(8)))
    with refused(["cov_q", "symmetric"]):
        vae_vs_vdm.normal_kl(mean, (cov + near).astype(np.float64), mean, np.eye(8))
    with refused(["cov_q", "symmetric"]):
        vae_vs_vdm.normal_kl(mean, cov + 1000 * near, mean, np.eye(8))
    almost = np.array([[1.0, 1e-17], [-1e-17, 1.0]])
    assert_equal(vae_vs_vdm.normal_kl(np.zeros(2), almost, np.zeros(2), EYE), np.float64(0), atol=1e-15)
    with refused(["cov_q", "matrix"], TypeError):
        vae_vs_vdm.normal_kl(np.zeros(2), EYE * 1j, np.zeros(2), EYE)
