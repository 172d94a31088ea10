"""Chapter 3: the bound, against fractions, quadrature over whole paths, fifty digits, and a model that is exact."""

import heapq
import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats
from torch.distributions import Normal, kl_divergence

from tinyddpm import elbo, forward, mixture, posterior
from tinyddpm.checker import assert_equal, checks
from tinyddpm.forward import Gaussian, Schedule

from .strategies import betas, floats, numbers, points, positive, refused, seeded, steps, steps_for

pytestmark = pytest.mark.usefixtures("fifty_digits")


# Information, at fifty digits. ---------------------------------------------------------------------------------------


@st.composite
def distributions(draw, count=2, least=0):
    """As many exact distributions of the same outcomes, as rows of fractions."""
    n = draw(st.integers(1, 5))
    row = st.lists(st.integers(least, 9), min_size=n, max_size=n).filter(any)
    return [[Fraction(c, sum(counts)) for c in counts] for counts in (draw(row) for _ in range(count))]


def exact_log(fraction):
    return mpmath.log(mpmath.mpf(fraction.numerator) / fraction.denominator) if fraction else -mpmath.inf


def exact_mean(p, values):
    """Of what can happen."""
    return float(mpmath.fsum(mpmath.mpf(a.numerator) / a.denominator * b for a, b in zip(p, values, strict=True) if a))


def exact_kl(p, q):
    return exact_mean(p, [exact_log(a) - exact_log(b) if a else 0 for a, b in zip(p, q, strict=True)])


@checks(elbo.information)
@given(rows=distributions())
def test_information_is_the_logarithm_and_adds(rows):
    p, q = map(floats, rows)
    assert_equal(elbo.information(p), np.array([float(-exact_log(a)) for a in rows[0]]))
    assert_equal(elbo.information(p * q), elbo.information(p) + elbo.information(q))
    assert elbo.information(float(p[0])) == elbo.information(p)[0]
    assert_equal(elbo.information(torch.tensor(p)), torch.tensor(elbo.information(p)))


@checks(elbo.information)
def test_what_is_certain_tells_nothing_and_not_minus_nothing():
    for one in (1.0, np.float32(1), np.ones(2), torch.ones(2)):
        told = np.asarray(elbo.information(one))
        assert np.all(told == 0) and not np.any(np.signbit(told))


@checks(elbo.entropy, elbo.cross_entropy, elbo.kl)
@given(rows=distributions())
def test_discrete_means_at_fifty_digits(rows):
    """Impossible outcomes among them: 0 log 0 is 0, and what q excludes costs infinitely much."""
    p, q = rows
    assert_equal(elbo.entropy(floats(p)), np.float64(exact_mean(p, [-exact_log(a) for a in p])), atol=1e-15)
    assert_equal(elbo.cross_entropy(floats(p), floats(q)), np.float64(exact_mean(p, [-exact_log(b) for b in q])))
    assert_equal(elbo.kl(floats(p), floats(q)), np.float64(exact_kl(p, q)), atol=1e-15)
    assert_equal(elbo.entropy(floats(rows)), np.array([elbo.entropy(floats(p)), elbo.entropy(floats(q))]))
    for between in (elbo.cross_entropy, elbo.kl):
        both = [between(floats(p), floats(q)), between(floats(q), floats(q))]
        assert_equal(between(floats(rows), floats(q)), np.array(both), atol=1e-15)


@checks(elbo.cross_entropy, elbo.kl)
@given(rows=distributions(count=4, least=1))
def test_one_against_many_and_many_against_one(rows):
    p = floats(rows)
    for between in (elbo.cross_entropy, elbo.kl):
        assert_equal(between(p[0], p), np.array([between(p[0], row) for row in p]))
        assert_equal(between(p, p[0]), np.array([between(row, p[0]) for row in p]))
        pairs = np.array([[between(p[0], p[2]), between(p[1], p[3])]])
        assert_equal(between(p[None, :2], p[None, 2:]), pairs)


@checks(elbo.entropy, elbo.cross_entropy, elbo.kl)
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_probabilities_are_held_to_the_precision_in_which_they_come(library):
    """Softmaxes of single precision sum to 1 within its rounding, and what a third digit is missing from does not."""
    logits = np.random.default_rng(0).normal(scale=4, size=(200, 10)).astype(np.float32)
    soft = np.exp(logits - logits.max(-1, keepdims=True))
    soft /= soft.sum(-1, keepdims=True)
    exact = soft.astype(np.float64)
    assert np.any(abs(exact.sum(-1) - 1) > 1e-9)  # which would not do for double precision
    exact /= exact.sum(-1, keepdims=True)
    assert_equal(elbo.entropy(library(soft)), special.entr(exact).sum(-1))
    assert_equal(
        elbo.cross_entropy(library(soft[:100]), library(soft[100:])), -special.xlogy(exact[:100], exact[100:]).sum(-1)
    )
    assert_equal(elbo.kl(library(soft), library(soft)), np.zeros(200))
    for call in (
        elbo.entropy,
        lambda p: elbo.kl(p, library(soft[:1])),
        lambda q: elbo.cross_entropy(library(soft[:1]), q),
    ):
        with refused(["sum to 1"]):
            call(library(0.999 * soft[:1]))


@checks(elbo.kl)
@given(rows=distributions())
def test_kl_is_0_for_one_and_the_same_and_above_0_otherwise(rows):
    p, q = map(floats, rows)
    assert elbo.kl(p, p) == 0 == elbo.kl(q, q)
    assert elbo.kl(p, q) > 0 or rows[0] == rows[1]


@checks(elbo.kl)
@pytest.mark.careful
@pytest.mark.parametrize("apart", [1e-6, 1e-8, 1e-12, 1e-16])
def test_kl_is_not_below_0_for_what_is_nearly_the_same(apart):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=1000)
    q = p * (1 + apart * rng.normal(size=p.shape))
    q /= q.sum(-1, keepdims=True)
    assert np.all(elbo.kl(p, q) >= 0)
    np.testing.assert_allclose(elbo.kl(p, q), ((p - q) ** 2 / p).sum(-1) / 2, rtol=1e-4, atol=1e-15)


@checks(elbo.entropy, elbo.cross_entropy, elbo.kl)
@given(firsts=distributions(least=1), seconds=distributions(count=10, least=1))
def test_chain_rules(firsts, seconds):
    """What two outcomes tell together is what the first tells, and what the second still tells on average."""
    p, q = map(floats, firsts)
    p_next, q_next = floats(seconds[: len(p)]), floats(seconds[5 : 5 + len(p)])
    p_both, q_both = (p[:, None] * p_next).ravel(), (q[:, None] * q_next).ravel()
    assert_equal(elbo.entropy(p_both), elbo.entropy(p) + p @ elbo.entropy(p_next), atol=1e-15)
    cross = elbo.cross_entropy(p, q) + p @ elbo.cross_entropy(p_next, q_next)
    assert_equal(elbo.cross_entropy(p_both, q_both), cross, atol=1e-15)
    assert_equal(elbo.kl(p_both, q_both), elbo.kl(p, q) + p @ elbo.kl(p_next, q_next), atol=1e-14)


@checks(elbo.information, elbo.entropy, elbo.cross_entropy, elbo.kl)
@pytest.mark.careful
def test_what_cannot_happen():
    assert elbo.information(0.0) == math.inf
    assert np.array_equal(elbo.information(np.array([0.0, 1.0])), [math.inf, 0.0])
    assert elbo.cross_entropy([0.5, 0.5], [1.0, 0.0]) == math.inf == elbo.kl([0.5, 0.5], [1.0, 0.0])
    assert_equal(elbo.kl([1.0, 0.0], [0.5, 0.5]), np.log(2.0))
    assert elbo.entropy([0.0, 1.0]) == 0


@checks(elbo.information, elbo.entropy, elbo.cross_entropy, elbo.kl)
@pytest.mark.parametrize("small", [2.0**-40, 2.0**-60, 1e-200])
def test_what_is_nearly_impossible_counts_as_it_is(small):
    """No floor under the logarithm: with one, the entropy of what is nearly certain would be far off."""
    rare, common = mpmath.mpf(small), 1 - mpmath.mpf(small)
    p, half = np.array([small, 1 - small]), np.array([0.5, 0.5])
    assert_equal(elbo.information(small), float(-mpmath.log(rare)))
    if small > 2.0**-53:  # else one less it is one
        assert_equal(elbo.entropy(p), np.float64(-rare * mpmath.log(rare) - common * mpmath.log(common)))
    assert_equal(elbo.entropy(np.array([small, 1.0])), np.float64(-rare * mpmath.log(rare)))
    assert_equal(elbo.cross_entropy(half, p), np.float64(-(mpmath.log(rare) + mpmath.log(float(p[1]))) / 2))
    assert_equal(elbo.kl(np.array([0.0, 1.0]), p[::-1]), np.float64(-mpmath.log(rare)))


@checks(elbo.kl)
def test_a_constant_ratio_is_not_enough_for_no_divergence():
    """On the support of p, q is 0.8 p: the rest of q lies outside, and the divergence is what Jensen leaves of it."""
    assert_equal(elbo.kl(np.array([0.5, 0.5, 0.0]), np.array([0.4, 0.4, 0.2])), np.float64(-math.log(0.8)))


def shortest_code(p):
    """The lengths of the words of a code in which no word begins another, by Huffman's construction."""
    lengths = [0] * len(p)
    heap = [(share, [x]) for x, share in enumerate(p)]
    heapq.heapify(heap)
    while len(heap) > 1:
        (one, left), (two, right) = heapq.heappop(heap), heapq.heappop(heap)
        for x in left + right:
            lengths[x] += 1
        heapq.heappush(heap, (one + two, left + right))
    return lengths


def is_code(words):
    return not any(a != b and b.startswith(a) for a, b in itertools.permutations(words, 2))


@checks(elbo.entropy, elbo.cross_entropy)
@given(rows=distributions(count=1, least=1))
def test_no_code_is_shorter_than_the_entropy(rows):
    """The shortest code there is costs its letters' entropy or more, and less than a bit more."""
    (p,) = rows
    lengths = shortest_code(p)
    mean = float(sum(share * length for share, length in zip(p, lengths, strict=True)))
    entropy = elbo.entropy(floats(p)) / math.log(2)
    assert entropy - 1e-12 <= mean < entropy + 1
    if len(p) > 1:  # a code that uses all strings, so that its lengths are -log2 of probabilities
        assert sum(Fraction(1, 2**length) for length in lengths) == 1
        q = np.array([0.5**length for length in lengths])
        assert_equal(elbo.cross_entropy(floats(p), q) / math.log(2), np.float64(mean))


@checks(elbo.cross_entropy)
def test_lengths_of_code_words_obey_krafts_inequality():
    """All sets of three words of up to three letters; and sets of lengths for which the sum is too large have no code."""
    words = ["".join(word) for n in (1, 2, 3) for word in itertools.product("01", repeat=n)]
    found = {tuple(sorted(map(len, some))) for some in itertools.combinations(words, 3) if is_code(some)}
    lengths = itertools.combinations_with_replacement((1, 2, 3), 3)
    assert found == {some for some in lengths if sum(Fraction(1, 2**length) for length in some) <= 1}


@checks(elbo.jensen_gap)
@given(rows=distributions(count=1), values=st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_jensens_inequality(rows, values):
    (p,) = rows
    values = values[: len(p)]
    mean = sum(w * x for w, x in zip(p, values, strict=True))
    variance = sum(w * (x - mean) ** 2 for w, x in zip(p, values, strict=True))
    x, w = np.array(values, dtype=np.float64), floats(p)
    assert_equal(elbo.jensen_gap(np.square, x, w), np.float64(variance), atol=1e-13)
    gap = exact_mean(p, [exact_log(Fraction(value)) for value in values]) - float(exact_log(mean))
    assert_equal(elbo.jensen_gap(np.log, x, w), np.float64(gap), atol=1e-14)
    assert_equal(elbo.jensen_gap(lambda x: 3 - 2 * x, x, w), np.float64(0), atol=1e-13)
    for convex in (np.square, np.exp, lambda x: -np.log(x)):
        size = 1e-15 * abs(convex(x)).max()
        assert elbo.jensen_gap(convex, x, w) >= -4 * size
        assert elbo.jensen_gap(lambda x, f=convex: -f(x), x, w) <= 4 * size


@checks(elbo.jensen_gap)
def test_what_has_no_weight_does_not_count_for_jensen():
    with np.errstate(divide="raise"):
        assert elbo.jensen_gap(np.log, np.array([0.0, 2.0]), np.array([0.0, 1.0])) == 0


# Gaussians. ----------------------------------------------------------------------------------------------------------


def summed(terms):
    """One number for each sample: the sum over its coordinates, one by one."""
    if np.ndim(terms) < 2:
        return np.asarray(terms)[()]
    return np.array([math.fsum(np.ravel(sample)) for sample in terms])


def log_normal(x, mean, var):
    return stats.norm.logpdf(x, mean, np.sqrt(var))


def normal(mean, var):
    return Normal(
        torch.as_tensor(mean, dtype=torch.float64),
        torch.as_tensor(var, dtype=torch.float64).sqrt(),
        validate_args=False,
    )


def divergence(mean_q, var_q, mean_p, var_p):
    """Between Gaussians, coordinate by coordinate."""
    return kl_divergence(normal(mean_q, var_q), normal(mean_p, var_p)).numpy()


def rule(n):
    """Nodes and weights of a mean over N(0, 1), exact for polynomials up to degree 2 n - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


NODES, WEIGHTS = rule(3)

# All terms of a bound on the line, as one fine sum: for smooth functions the trapezoidal rule is exact here.
FINE = np.linspace(-9, 9, 721)
FINE_WEIGHTS = stats.norm.pdf(FINE) * (FINE[1] - FINE[0])


@checks(elbo.gaussian_log_prob)
@given(x=points(3))
def test_gaussian_densities(x):
    x, mean, spread = x
    var = np.exp(spread)
    expected = summed(log_normal(x, mean, var))
    assert_equal(elbo.gaussian_log_prob(x, mean, var), expected, atol=1e-12)
    tensors = [torch.as_tensor(value, dtype=torch.float64) for value in (x, mean, var)]
    assert_equal(elbo.gaussian_log_prob(*tensors), torch.as_tensor(expected), atol=1e-12)
    single = elbo.gaussian_log_prob(*(value.to(torch.float32) for value in tensors))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-4)


@checks(elbo.gaussian_log_prob)
def test_a_density_may_be_above_1():
    assert elbo.gaussian_log_prob(0.0, 0.0, 1e-4) > 3


@checks(elbo.gaussian_log_prob)
@given(x=points(2), var=positive())
def test_the_slope_of_a_log_density_is_the_pull_towards_the_mean(x, var):
    """Autograd, through a mean and a variance that broadcast."""
    x, mean = (torch.as_tensor(value, dtype=torch.float64).requires_grad_() for value in x)
    elbo.gaussian_log_prob(x, mean, var).sum().backward()
    assert_equal(x.grad, ((mean - x) / var).detach())
    assert_equal(mean.grad, -x.grad)


@checks(elbo.gaussian_entropy)
@given(var=positive(), dims=st.integers(1, 5))
def test_gaussian_entropy(var, dims):
    mean_of_square = WEIGHTS @ -log_normal(math.sqrt(var) * NODES, 0, var)
    assert_equal(elbo.gaussian_entropy(var, dims), dims * mean_of_square, atol=1e-13)
    expected = stats.multivariate_normal.entropy(np.zeros(dims), var * np.eye(dims))
    assert_equal(elbo.gaussian_entropy(var, dims), expected, atol=1e-13)
    tensor = torch.tensor([var], dtype=torch.float64)
    assert_equal(elbo.gaussian_entropy(tensor, dims), torch.tensor([expected]), atol=1e-13)


@checks(elbo.gaussian_kl)
@given(x=points(4))
def test_gaussian_divergence(x):
    mean_q, mean_p, spread_q, spread_p = x
    q_p = mean_q, np.exp(spread_q / 2), mean_p, np.exp(spread_p / 2)
    expected = summed(divergence(*q_p))
    assert_equal(elbo.gaussian_kl(*q_p), expected, atol=1e-13)
    tensors = [torch.as_tensor(value, dtype=torch.float64) for value in q_p]
    assert_equal(elbo.gaussian_kl(*tensors), torch.as_tensor(expected), atol=1e-13)
    by_quadrature = sum(
        w * (log_normal(x, *q_p[:2]) - log_normal(x, *q_p[2:]))
        for w, x in zip(WEIGHTS, (q_p[0] + np.sqrt(q_p[1]) * node for node in NODES), strict=True)
    )
    assert_equal(elbo.gaussian_kl(*q_p), summed(by_quadrature), atol=1e-12)


@checks(elbo.gaussian_kl)
@given(x=points(1), var_q=positive(), var_p=positive())
def test_gaussian_divergence_broadcasts_and_is_not_symmetric(x, var_q, var_p):
    assert_equal(elbo.gaussian_kl(x, var_q, 0.5, var_p), summed(divergence(x, var_q, 0.5, var_p)), atol=1e-13)
    assert_equal(elbo.gaussian_kl(0.5, var_p, x, var_q), summed(divergence(0.5, var_p, x, var_q)), atol=1e-13)
    assert_equal(elbo.gaussian_kl(x, var_q, x, var_q), 0 * summed(x))


@checks(elbo.gaussian_kl)
@pytest.mark.careful
@given(
    var_p=positive(),
    excess=st.sampled_from([-0.9999, -0.5, -0.06, -1e-3, -1e-7, -1e-13, 1e-15, 1e-9, 1e-4, 0.04, 0.06, 1.0, 1e9]),
    off=st.sampled_from([0.0, 1e-9, 0.3]),
)
def test_the_divergence_of_nearly_equal_variances_keeps_its_digits(var_p, excess, off):
    """At fifty digits, of the very numbers that are handed over: for equal means it is about a quarter of the square."""
    var_q = var_p * (1 + excess)

    def exact(mean_q, var_q, mean_p, var_p):
        mean_q, var_q, mean_p, var_p = map(mpmath.mpf, (mean_q, var_q, mean_p, var_p))
        return float((var_q / var_p - 1 - mpmath.log(var_q / var_p) + (mean_q - mean_p) ** 2 / var_p) / 2)

    numbers = off, var_q, 0.0, var_p
    assert_equal(elbo.gaussian_kl(*numbers), exact(*numbers))
    arrays = [np.full((2, 3), number) for number in numbers]
    assert_equal(elbo.gaussian_kl(*arrays), np.full(2, 3 * exact(*numbers)))
    single = [np.float32(number) for number in numbers]
    for library in (np.asarray, torch.tensor):
        ours = elbo.gaussian_kl(*(library([one]) for one in single))
        np.testing.assert_allclose(ours, [exact(*map(float, single))], rtol=2e-6)


@checks(elbo.gaussian_kl)
def test_the_best_forward_fit_has_the_mean_and_the_variance_of_the_data():
    """Any other Gaussian costs its divergence from that one more; and the best reverse fit is the larger class."""
    x = np.linspace(-14, 14, 2001)
    data, log_data = CLASSES, CLASSES.log_prob(x[:, None])

    def forward_and_reverse(mean, var):
        log_q = log_normal(x, mean, var)
        ratio = (np.exp(log_data) * (log_data - log_q)).sum(), (np.exp(log_q) * (log_q - log_data)).sum()
        return np.array(ratio) * (x[1] - x[0])

    mean, var = data.mean().item(), data.var().item()
    least = forward_and_reverse(mean, var)[0]
    for other in ((0.3, 1.0), (-1.0, 0.4), (0.0, 2.5)):
        assert_equal(forward_and_reverse(*other)[0] - least, elbo.gaussian_kl(mean, var, *other))
    assert round(least, 3) == 1.319
    for start in (0.6, 0.75):
        found = optimize.minimize(lambda at: forward_and_reverse(at[0], math.exp(at[1]))[1], (start, -3), tol=1e-12)
        np.testing.assert_allclose([found.x[0], math.exp(found.x[1])], [0.7, 0.02], rtol=1e-4)
        assert found.fun == pytest.approx(-math.log(2 / 3))


@checks(elbo.gaussian_kl)
def test_the_divergence_has_gradients_where_the_variances_meet():
    """Half of 1/p - 1/q, which is 0 where they are equal."""
    for ratio in (0.3, 0.96, 1.0, 1.04, 3.0):
        var = torch.tensor([0.7 * ratio], dtype=torch.float64, requires_grad=True)
        elbo.gaussian_kl(0.0, var, 0.0, 0.7).sum().backward()
        assert_equal(var.grad, (1 / 0.7 - 1 / var.detach()) / 2, atol=1e-15)


# The evidence and its bound. -----------------------------------------------------------------------------------------


@st.composite
def guesses(draw):
    """A prior over causes z, the likelihood of one observation under each, and a guess q(z), as fractions."""
    prior, q = draw(distributions(count=2))
    share = st.fractions(Fraction(1, 9), Fraction(8, 9), max_denominator=9)
    return prior, [draw(share) for _ in prior], q


def world(guess):
    """p(x, z), p(z | x) and p(x), by counting."""
    prior, likelihood, _ = guess
    joint = [a * b for a, b in zip(prior, likelihood, strict=True)]
    return joint, [share / sum(joint) for share in joint], sum(joint)


def logs(fractions):
    return np.array([float(exact_log(fraction)) for fraction in fractions])


@checks(elbo.evidence)
@given(guess=guesses())
def test_every_cause_tells_the_same_evidence(guess):
    joint, after, seen = world(guess)
    possible = [z for z, share in enumerate(joint) if share]
    expected = np.full(len(possible), float(exact_log(seen)))
    assert_equal(elbo.evidence(logs(joint)[possible], logs(after)[possible]), expected, atol=1e-14)
    prior, likelihood = floats(guess[0]), floats(guess[1])
    table = np.stack([likelihood, 1 - likelihood], -1)
    by_bayes = elbo.evidence(*(np.log(law(prior, table)[possible, 0]) for law in (posterior.joint, posterior.bayes)))
    assert_equal(by_bayes, expected, atol=1e-13)


@checks(elbo.elbo)
@given(guess=guesses())
def test_evidence_is_bound_and_divergence(guess):
    """Also where q holds possible what is not (the bound is minus infinity), and the other way round (no matter)."""
    q, (joint, after, seen) = guess[2], world(guess)
    bound, log_p = elbo.elbo(logs(joint), logs(q), floats(q)), np.float64(exact_log(seen))
    assert_equal(bound, log_p - exact_kl(q, after), atol=1e-14)
    assert bound <= log_p + 1e-14
    tight = elbo.elbo(logs(joint), logs(after), floats(after))
    assert_equal(tight, log_p, atol=1e-14)
    both = elbo.elbo(np.stack([logs(joint)] * 2), np.stack([logs(q), logs(after)]), floats([q, after]))
    assert_equal(both, np.stack([bound, tight]), atol=1e-14)


@checks(elbo.elbo, elbo.vlb)
@given(guess=guesses())
def test_one_joint_for_many_guesses(guess):
    joint = logs(world(guess)[0])
    q = floats([guess[2], guess[0]])
    with np.errstate(divide="ignore"):
        log_q = np.log(q)
    each = np.array([elbo.elbo(joint, *row) for row in zip(log_q, q, strict=True)])
    assert_equal(elbo.elbo(joint, log_q, q), each)
    assert_equal(elbo.vlb(log_q, joint, q), -each)
    assert_equal(elbo.elbo(torch.tensor(joint), torch.tensor(log_q), torch.tensor(q)), each)


@checks(elbo.elbo, elbo.evidence, elbo.gaussian_kl)
@given(x=st.tuples(*[numbers()] * 3), var=st.tuples(*[positive()] * 2), slope=numbers())
def test_evidence_is_bound_and_divergence_on_gaussians(x, var, slope):
    """z from N(0, 1), x from N(a z + b, s): by quadrature under q, exact as everything is a parabola in z."""
    (x, shift, mean), (s, v) = x, var
    seen = s + slope**2
    after = slope * (x - shift) / seen, s / seen
    log_p = log_normal(x, shift, seen)
    z = mean + math.sqrt(v) * NODES
    log_joint = log_normal(z, 0, 1) + log_normal(x, slope * z + shift, s)
    bound = elbo.elbo(log_joint, log_normal(z, mean, v), WEIGHTS)
    # The divergence is as wrong as the posterior's variance is small.
    size = {"atol": 1e-12 * (1 + abs(bound))}
    assert_equal(bound + elbo.gaussian_kl(mean, v, *after), log_p, **size)
    assert_equal(elbo.evidence(log_joint, log_normal(z, *after)), np.full(3, log_p), atol=1e-12 * abs(log_joint).max())


# Chains on the line, where everything is linear algebra. -------------------------------------------------------------


def log_gaussian(x, mean, covariance):
    """Log-density of one Gaussian with a covariance matrix, at x of shape (batch, d)."""
    root = np.linalg.cholesky(covariance)
    return log_normal(np.linalg.solve(root, (x - mean).T), 0, 1).sum(0) - np.log(np.diag(root)).sum()


def divergence_of_laws(mean_q, covariance_q, mean_p, covariance_p):
    """Between two Gaussians with covariance matrices."""
    ratio, off = np.linalg.solve(covariance_p, covariance_q), mean_q - mean_p
    square = off @ np.linalg.solve(covariance_p, off)
    return (np.trace(ratio) - len(off) - np.linalg.slogdet(ratio)[1] + square) / 2


class Chain:
    """A short chain with affine Gaussian steps back: the slopes, offsets and variances are those of t = 1..T."""

    def __init__(self, betas, back):
        self.schedule = Schedule(betas)
        self.back = dict(zip(self.schedule, back, strict=True))

    def __repr__(self):
        return f"Chain({list(self.schedule.beta)}, {list(self.back.values())})"

    def model(self, x_t, step):
        slope, offset, var = self.back[step]
        return Gaussian(slope * x_t + offset, var)

    def law(self):
        """Mean and covariance of x_0..x_T under the model: every x as a sum of the noises so far."""
        T = self.schedule.T
        mean, rows = np.zeros(T + 1), np.eye(T + 1)
        for t in range(T, 0, -1):
            slope, offset, var = self.back[self.schedule[t]]
            mean[t - 1] = slope * mean[t] + offset
            rows[t - 1] = math.sqrt(var) * rows[t - 1] + slope * rows[t]
        return mean, rows @ rows.T

    def noised(self, x_0):
        """Mean and covariance of x_1..x_T under the noising."""
        mean, rows = np.zeros(self.schedule.T), np.eye(self.schedule.T)
        for i, beta in enumerate(self.schedule.beta):
            before = (mean[i - 1], rows[i - 1]) if i else (x_0, 0)
            mean[i] = math.sqrt(1 - beta) * before[0]
            rows[i] = math.sqrt(beta) * rows[i] + math.sqrt(1 - beta) * before[1]
        return mean, rows @ rows.T

    def log_prob(self, x_0):
        mean, covariance = self.law()
        return log_normal(x_0, mean[0], covariance[0, 0])

    def paths(self, x_0):
        """Paths x_0..x_T of a quadrature over all the noises, shape (T + 1, n), and their weights."""
        noises = np.stack(np.meshgrid(*[NODES] * self.schedule.T, indexing="ij")).reshape(self.schedule.T, -1)
        weights = np.prod(np.meshgrid(*[WEIGHTS] * self.schedule.T, indexing="ij"), axis=0).ravel()
        path = [np.full(len(weights), x_0)]
        for beta, noise in zip(self.schedule.beta, noises, strict=True):
            path.append(math.sqrt(1 - beta) * path[-1] + math.sqrt(beta) * noise)
        return np.stack(path), weights

    def log_probs(self, path):
        """Of a path under the noising, given its start, and under the model, step by step."""
        log_q, log_p = 0.0, log_normal(path[-1], 0, 1)
        for t, step in enumerate(self.schedule, start=1):
            slope, offset, var = self.back[step]
            log_q = log_q + log_normal(path[t], math.sqrt(1 - step.beta) * path[t - 1], step.beta)
            log_p = log_p + log_normal(path[t - 1], slope * path[t] + offset, var)
        return log_q, log_p


@st.composite
def chains(draw):
    """One to four steps, and an x_0."""
    T = draw(st.integers(1, 4))
    beta = st.one_of(st.sampled_from([0.01, 0.1, 0.5, 0.9]), st.integers(10, 900).map(lambda b: b / 1000))
    fifths = st.integers(-10, 10).map(lambda n: n / 5)
    back = st.tuples(fifths, fifths, st.integers(1, 20).map(lambda n: n / 10))
    several = {"min_size": T, "max_size": T}
    return Chain(draw(st.lists(beta, **several)), draw(st.lists(back, **several))), draw(numbers())


@checks(elbo.vlb)
@given(chain=chains())
def test_the_bound_of_a_chain_is_missing_the_divergence_of_the_paths(chain):
    """The law of all paths at once is one Gaussian; what the bound lacks is its divergence, given x_0."""
    chain, x_0 = chain
    path, weights = chain.paths(x_0)
    mean, covariance = chain.law()
    gain = covariance[1:, 0] / covariance[0, 0]
    given_x_0 = mean[1:] + gain * (x_0 - mean[0]), covariance[1:, 1:] - np.outer(gain, covariance[0, 1:])
    bound = elbo.vlb(*chain.log_probs(path), weights)
    assert_equal(bound, -chain.log_prob(x_0) + divergence_of_laws(*chain.noised(x_0), *given_x_0), atol=1e-9)
    assert bound >= -chain.log_prob(x_0) - 1e-9


@checks(elbo.vlb)
def test_the_bound_of_the_true_chain_has_no_gap():
    """Data from N(0, 1) stays N(0, 1): the true step back is the step forward, and the bound is the likelihood."""
    schedule = Schedule([0.1, 0.3, 0.5])
    chain = Chain(schedule.beta, [(math.sqrt(step.alpha), 0.0, step.beta) for step in schedule])
    path, weights = chain.paths(0.8)
    assert_equal(elbo.vlb(*chain.log_probs(path), weights), -log_normal(0.8, 0, 1))


@checks(elbo.joint_log_prob)
@given(chain=chains(), data=st.data())
def test_the_joint_density_is_one_gaussian(chain, data):
    chain, _ = chain
    path = np.array(data.draw(st.lists(st.tuples(*[numbers()] * (chain.schedule.T + 1)), min_size=1, max_size=3))).T
    whole = log_gaussian(path.T, *chain.law())
    ours = elbo.joint_log_prob(path, chain.model, chain.schedule)
    assert_equal(ours, whole, atol=1e-9)
    assert_equal(ours, chain.log_probs(path)[1], atol=1e-11)
    assert_equal(elbo.joint_log_prob(path[:, 0], chain.model, chain.schedule), ours[0])


def tame_schedules(least=1):
    """Up to five steps, none of them extreme."""
    return st.lists(betas(low=1e-3, high=0.9), min_size=least, max_size=5).map(Schedule)


def some_schedules(least=1):
    """The same, and with a beta of 1 somewhere, at which all is forgotten."""
    beta = st.one_of(st.just(1.0), betas(low=1e-3, high=0.9))
    return st.one_of(tame_schedules(least), st.lists(beta, min_size=least, max_size=5).map(Schedule))


@checks(elbo.joint_log_prob)
@given(schedule=some_schedules(), seed=st.integers(0, 99))
def test_the_joint_density_of_pictures(schedule, seed):
    """Term by term, in three dimensions, for a model that is not linear; in NumPy and in torch."""
    path = np.random.default_rng(seed).normal(size=(schedule.T + 1, 2, 3, 1))

    def model(x_t, step):
        return Gaussian(abs(x_t) - x_t**2, step.noise_var)

    terms = [log_normal(path[t - 1], *model(path[t], schedule[t])) for t in range(1, schedule.T + 1)]
    expected = summed(np.sum([*terms, log_normal(path[-1], 0, 1)], axis=0))
    assert_equal(elbo.joint_log_prob(path, model, schedule), expected)
    assert_equal(elbo.joint_log_prob(torch.tensor(path), model, schedule), torch.tensor(expected))


@checks(elbo.telescope)
@given(schedule=some_schedules(), seed=st.integers(0, 99), shape=st.sampled_from([(), (2,), (2, 3), (2, 1, 2, 2)]))
def test_the_telescope(schedule, seed, shape):
    """The factors themselves, and what Bayes' rule makes of them: the step back over the step forward."""
    x_0, *path = np.random.default_rng(seed).normal(size=(schedule.T + 1, *shape))
    x_0 = float(x_0) if shape == () else x_0
    kept = np.cumprod(1 - schedule.beta)
    marginals = [log_normal(x, math.sqrt(k) * x_0, 1 - k) for x, k in zip(path, kept, strict=True)]
    size = {"atol": 1e-11 * sum(abs(terms).max() for terms in marginals)}
    ratios = sum((before - now for before, now in itertools.pairwise(marginals)), np.zeros(shape))
    ours = elbo.telescope(x_0, np.stack(path), schedule)
    assert_equal(ours, summed(ratios), **size)
    tensors = (torch.tensor(value, dtype=torch.float64) for value in (x_0, np.stack(path)))
    assert_equal(elbo.telescope(*tensors, schedule), torch.tensor(ours), **size)
    back_over_on = np.zeros(shape)
    for t in range(2, schedule.T + 1):
        on = log_normal(path[t - 1], math.sqrt(schedule[t].alpha) * path[t - 2], schedule[t].beta)
        back_over_on += log_normal(path[t - 2], *posterior.posterior(path[t - 1], x_0, schedule[t])) - on
        size["atol"] += 1e-11 * abs(on).max()
    assert_equal(ours, summed(back_over_on), **size)


@checks(elbo.vlb, elbo.consistency, elbo.denoising_matching, elbo.prior_matching)
@given(chain=chains())
def test_both_decompositions_are_the_bound(chain):
    """All means over paths at once, by quadrature: exact, as every logarithm is of degree two in every noise."""
    chain, x_0 = chain
    schedule, T = chain.schedule, chain.schedule.T
    path, weights = chain.paths(x_0)
    whole = -elbo.vlb(*chain.log_probs(path), weights)
    slope, offset, var = chain.back[schedule[1]]
    reconstruction = weights @ log_normal(x_0, slope * path[1] + offset, var)

    first = reconstruction - weights @ divergence(math.sqrt(1 - schedule.beta[-1]) * path[-2], schedule.beta[-1], 0, 1)
    for t in range(1, T):
        first -= weights @ elbo.consistency(path[t - 1], path[t + 1], schedule[t], schedule[t + 1], chain.model)

    second = reconstruction - elbo.prior_matching(x_0, schedule[T])
    for t in range(2, T + 1):
        term = elbo.denoising_matching(path[t], path[0], *chain.model(path[t], schedule[t]), schedule[t])
        assert np.all(term >= -1e-13)
        second -= weights @ term
    assert_equal(first, whole, atol=1e-11)
    assert_equal(second, whole, atol=1e-11)
    assert whole <= chain.log_prob(x_0) + 1e-10


@checks(elbo.bridge)
@given(pair=tame_schedules(least=2), x=points(3))
def test_the_bridge_is_bayes_rule(pair, x):
    x_t, x_prev, x_next = x
    first, second = (float(beta) for beta in pair.beta[-2:])
    ours = log_normal(x_t, *elbo.bridge(x_prev, x_next, *list(pair)[-2:]))
    both = (1 - second) * first + second  # the variance of two steps at once
    by_bayes = (
        log_normal(x_t, math.sqrt(1 - first) * x_prev, first)
        + log_normal(x_next, math.sqrt(1 - second) * x_t, second)
        - log_normal(x_next, math.sqrt((1 - first) * (1 - second)) * x_prev, both)
    )
    assert_equal(ours, by_bayes, atol=1e-11 * (1 + 100 / first / second))


@checks(elbo.bridge)
@given(pair=some_schedules(least=2), x=points(2))
def test_the_bridge_by_covariances(pair, x):
    """Given x_{t-1}, the other two are jointly Gaussian: condition one on the other."""
    x_prev, x_next = x
    step, step_next = list(pair)[-2:]
    gain = math.sqrt(step_next.alpha) * step.beta / (step_next.alpha * step.beta + step_next.beta)
    before = math.sqrt(step.alpha) * x_prev
    mean, var = elbo.bridge(x_prev, x_next, step, step_next)
    assert_equal(mean, before + gain * (x_next - math.sqrt(step_next.alpha) * before), atol=1e-13)
    assert_equal(var, step.beta * (1 - gain * math.sqrt(step_next.alpha)), atol=1e-15)


@checks(elbo.bridge)
@given(x=points(2), beta=betas(1e-3, 0.999))
def test_who_forgets_all_says_nothing_of_a_neighbour(x, beta):
    """With a beta of 1 behind x_t only x_{t+1} counts; with one after it only x_{t-1}."""
    x_prev, x_next = x
    step, forgets = Schedule([0.3, beta])[2], Schedule([0.3, 1.0])[2]
    kept = math.sqrt(1 - beta)
    # x_t is standard normal, and x_{t+1} has the correlation sqrt(1 - beta) with it
    expected = Gaussian(kept * np.asarray(x_next)[()] + 0 * x_prev, beta)
    assert_equal(elbo.bridge(x_prev, x_next, forgets, step), expected, atol=1e-14)
    assert_equal(elbo.bridge(x_prev, x_next, step, forgets), Gaussian(kept * x_prev + 0 * x_next, beta), atol=1e-14)


@checks(elbo.bridge, elbo.consistency)
def test_neighbours_of_a_batch_of_times():
    """Steps as arrays and as tensors, one for each sample, against one after the other."""
    schedule, (x_prev, x_next) = forward.cosine(10), np.random.default_rng(0).normal(size=(2, 4, 2, 3))

    def model(x, step):
        return Gaussian(0.3 * x, step.beta)

    for library in (np.asarray, torch.from_numpy):
        pair = library(x_prev), library(x_next)
        batch = [schedule.at(times, like=pair[0]) for times in ([1, 3, 7, 9], [2, 4, 8, 10])]
        mean, var = elbo.bridge(*pair, *batch)
        agree = elbo.consistency(*pair, *batch, model)
        for i, t in enumerate((1, 3, 7, 9)):
            single = x_prev[i], x_next[i], schedule[t], schedule[t + 1]
            assert_equal(np.asarray(mean[i]), elbo.bridge(*single).mean)
            assert_equal(var[i].item(), elbo.bridge(*single).var)
            assert_equal(agree[i].item(), float(elbo.consistency(*single, model).sum()))


@checks(elbo.consistency)
@given(pair=tame_schedules(least=2), x=points(2), spread=numbers())
def test_consistency_by_integration(pair, x, spread):
    """The mean of log q - log p over x_t, which is as probable as the step to it and the step from it together."""
    x_prev, x_next = x
    step, step_next = list(pair)[-2:]
    back = Gaussian(x_next**2 / 5 - 1, math.exp(spread / 2))

    def model(x, step):
        assert step == step_next and x is x_next
        return back

    # The nodes only have to be where x_t can be, and close enough.
    narrow = 1 / (1 / step.beta + step_next.alpha / step_next.beta)
    centre = narrow * (
        math.sqrt(step.alpha) / step.beta * x_prev + math.sqrt(step_next.alpha) / step_next.beta * x_next
    )
    x_t = centre + math.sqrt(narrow) * np.linspace(-9, 9, 73).reshape(-1, *[1] * np.ndim(x_prev))
    on = log_normal(x_t, math.sqrt(step.alpha) * x_prev, step.beta)
    probable = on + log_normal(x_next, math.sqrt(step_next.alpha) * x_t, step_next.beta)
    probable = np.exp(probable - probable.max(0))
    expected = summed((probable * (on - log_normal(x_t, *back))).sum(0) / probable.sum(0))
    size = {"atol": 1e-10 * (1 + 100 / step.beta + 100 / step_next.beta) * math.exp(abs(spread) / 2)}
    assert_equal(elbo.consistency(x_prev, x_next, step, step_next, model), expected, **size)


@checks(elbo.consistency)
def test_consistency_as_it_is_often_printed_does_not_add_up():
    """A divergence from q(x_t | x_{t-1}) averages over x_t as if x_{t+1} were not made from it."""
    chain = Chain([0.5, 0.5], [(0.7, 0.1, 0.4), (0.6, -0.2, 0.5)])
    (before, _, after), weights = chain.paths(0.8)
    printed = divergence(math.sqrt(0.5) * before, 0.5, *chain.model(after, chain.schedule[2]))
    ours = elbo.consistency(before, after, *chain.schedule, chain.model)
    assert abs(weights @ printed - weights @ ours) > 0.1


@checks(elbo.vlb, elbo.joint_log_prob, elbo.denoising_matching)
def test_how_noisy_one_path_is_for_a_model_that_is_not_exact():
    """The narrow model of the page, a thousand steps: both sums are quadratic in Gaussians, of which the variance is known."""
    schedule, x_0, n = forward.linear(), 0.7, 800
    root = np.sqrt([1.0, *(step.alpha_bar for step in schedule)])
    covariance = np.minimum.outer(root, root) / np.maximum.outer(root, root) - np.outer(root, root)
    missed, guess = np.zeros((2, 1000, 1001))  # both sums are of squares of these combinations of x_0..x_1000
    for t, step in enumerate(schedule, start=1):
        missed[t - 1, [t - 1, t]] = np.array([1, -math.sqrt(step.alpha)]) / math.sqrt(2 * step.beta)
        share = math.sqrt(step.alpha_bar_prev * step.beta) / step.noise_var
        guess[t - 1, [0, t]] = share, -share * math.sqrt(step.alpha_bar)
    exact = []
    for part in (missed, guess):
        spread, off = part @ covariance @ part.T, part @ (x_0 * root)
        exact.append(math.sqrt(2 * (spread**2).sum() + 4 * off @ spread @ off))
    assert [round(std, 1) for std in exact] == [22.3, 5.5]

    def narrow(x_t, step):
        return Gaussian(math.sqrt(step.alpha) * x_t, step.beta / 2)

    rng = np.random.default_rng(0)
    path = [np.full(n, x_0)]
    for step in schedule:
        path.append(forward.diffuse_once(path[-1], rng.standard_normal(n), step))
    there = zip(path[:-1], path[1:], schedule, strict=True)
    log_q = sum(elbo.gaussian_log_prob(x_t, *forward.transition(x_prev, step)) for x_prev, x_t, step in there)
    whole = log_q - elbo.joint_log_prob(np.stack(path), narrow, schedule)
    parts = -elbo.gaussian_log_prob(path[0], *narrow(path[1], schedule[1]))
    for t in range(2, 1001):
        parts = parts + elbo.denoising_matching(path[t], path[0], *narrow(path[t], schedule[t]), schedule[t])
    for drawn, std in zip((whole, parts), exact, strict=True):
        assert drawn.std() == pytest.approx(std, rel=0.15)
    assert whole.mean() == pytest.approx(parts.mean() + elbo.prior_matching(x_0, schedule[1000]), abs=3)


# The bound of a mixture. ---------------------------------------------------------------------------------------------

CLASSES = mixture.two_classes()


def best_guess(x_t, step):
    """E[x_0 | x_t] of the mixture, for samples of any shape."""
    return CLASSES.denoise(x_t[..., None], step)[..., 0]


def best_model(x_t, step):
    return Gaussian(posterior.mean(x_t, best_guess(x_t, step), step), step.beta)


def model_log_prob(x_0, schedule, back=best_model, last=None):
    """log p(x_0) of a model on the line: its chain, integrated over a grid from x_T on."""
    grid = np.linspace(-9, 9, 1201)
    density, width = stats.norm.pdf(grid), grid[1] - grid[0]
    for t in range(schedule.T, 1, -1):
        mean, var = back(grid, schedule[t])
        density = np.exp(log_normal(grid[:, None], mean, var)) @ density * width
    mean, var = back(grid, schedule[1])
    likelihood = log_normal(x_0, mean, var) if last is None else last(mean, var)
    return math.log(np.exp(likelihood) @ density * width)


def expected_terms(x_0, schedule, back=best_model, last=None):
    """E L_0..E L_{T-1} and L_T on the line, by a fine sum over the noise, with densities and divergences of scipy and torch."""
    terms = []
    for t, step in enumerate(schedule, start=1):
        x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * FINE
        mean, var = back(x_t, step)
        if t == 1:
            term = -(log_normal(x_0, mean, var) if last is None else last(mean, var))
        else:
            term = divergence(*posterior.posterior(x_t, x_0, step), mean, var)
        terms.append(FINE_WEIGHTS @ term)
    end = divergence(math.sqrt(step.alpha_bar) * x_0, step.noise_var, 0, 1)
    return np.array([*terms, end])


SHORT = [[0.9], [0.5, 0.9], [0.3, 0.5, 0.9], [0.2, 0.3, 0.5, 0.9]]


@checks(elbo.denoising_matching, elbo.prior_matching)
@pytest.mark.parametrize("betas", SHORT, ids=len)
def test_the_bound_of_a_mixture_is_below_the_likelihood(betas):
    schedule = Schedule(betas)
    for x_0 in (-1.4, 0.0, 0.7):
        loss = elbo.prior_matching(x_0, schedule[schedule.T])
        for t, step in enumerate(schedule, start=1):
            x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * FINE
            if t == 1:
                loss -= FINE_WEIGHTS @ log_normal(x_0, *best_model(x_t, step))
            else:
                loss += FINE_WEIGHTS @ elbo.denoising_matching(x_t, x_0 + 0 * x_t, *best_model(x_t, step), step)
        assert_equal(loss, expected_terms(x_0, schedule).sum())
        assert -loss < model_log_prob(x_0, schedule)


@checks(elbo.vlb, elbo.joint_log_prob)
@pytest.mark.parametrize("betas", SHORT[:2], ids=len)
def test_the_bound_of_a_mixture_over_whole_paths(betas):
    """Before any decomposition: a fine sum over all noises at once, for a model that is not linear."""
    schedule, x_0 = Schedule(betas), 0.3
    noise, weight = (a[::2] for a in (FINE, 2 * FINE_WEIGHTS))
    noises = np.stack(np.meshgrid(*[noise] * schedule.T)).reshape(schedule.T, -1)
    weights = np.prod(np.meshgrid(*[weight] * schedule.T), axis=0).ravel()
    path, log_q = [np.full(len(weights), x_0)], 0.0
    for beta, z in zip(betas, noises, strict=True):
        path.append(math.sqrt(1 - beta) * path[-1] + math.sqrt(beta) * z)
        log_q = log_q + stats.norm.logpdf(z) - math.log(beta) / 2
    log_p = elbo.joint_log_prob(np.stack(path), best_model, schedule)
    assert_equal(elbo.vlb(log_q, log_p, weights / weights.sum()), expected_terms(x_0, schedule).sum())


@checks(elbo.prior_matching)
@given(x=points(), step=steps_for(elbo.prior_matching))
def test_how_far_the_end_is_from_noise(x, step):
    expected = summed(divergence(math.sqrt(step.alpha_bar) * np.asarray(x), step.noise_var, 0, 1))
    assert_equal(elbo.prior_matching(x, step), expected, atol=1e-13)
    tensor = torch.as_tensor(x, dtype=torch.float64)
    assert_equal(elbo.prior_matching(tensor, step), torch.as_tensor(expected), atol=1e-13)


@checks(elbo.prior_matching)
@pytest.mark.parametrize("T", [1000, 4000])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_the_divergence_of_the_end_keeps_its_digits(name, T):
    """At fifty digits, from the betas: the cosine schedule ends at alpha_bar of about 1e-9, where x_0 = 0 leaves its square."""
    schedule = forward.schedule(name, T)
    kept = mpmath.fprod(1 - mpmath.mpf(beta) for beta in schedule.beta.tolist())
    x_0 = np.array([[0.0, 0.0], [0.0, 0.3], [1.0, -0.7], [2.0, 0.78]])
    exact = np.array(
        [float(sum(kept * (mpmath.mpf(x) ** 2 - 1) - mpmath.log(1 - kept) for x in row) / 2) for row in x_0.tolist()]
    )
    assert_equal(elbo.prior_matching(x_0, schedule[T]), exact)
    assert elbo.prior_matching(0.0, schedule[T]) > 0
    for library in (np.asarray, torch.tensor):
        single = library(x_0.astype(np.float32))
        ours = elbo.prior_matching(single, schedule.at([T], like=single))
        assert str(ours.dtype).endswith("float32")
        np.testing.assert_allclose(ours, exact, rtol=1e-6)


@checks(elbo.prior_matching)
def test_pure_noise_at_the_end_costs_nothing():
    end = forward.zero_terminal_snr(forward.linear(50))[50]
    assert elbo.prior_matching(1.0, end) == 0
    assert np.all(elbo.prior_matching(np.ones((2, 3)), end) == 0)


@checks(elbo.prior_matching, elbo.bits_per_dim)
def test_the_linear_schedule_ends_in_noise_as_published():
    """Ho et al. 2020, Sec. 4: about 1e-5 bits per dimension."""
    x_0 = np.ones((1, 3, 4, 4))  # of unit second moment
    bits = elbo.bits_per_dim(elbo.prior_matching(x_0, forward.linear()[1000]), 48)[0]
    assert round(math.log10(bits)) == -5
    kept = math.exp(math.fsum(map(math.log1p, -np.linspace(1e-4, 0.02, 1000))))
    assert_equal(bits, -math.log1p(-kept) / 2 / math.log(2))
    assert 2.01e-5 < elbo.prior_matching(1.0, forward.linear()[1000]) < 2.02e-5  # the most of any pixel in [-1, 1]


@checks(elbo.denoising_matching)
@given(x=points(3), step=steps_for(elbo.denoising_matching), scale=positive())
def test_how_far_a_step_back_is_from_that_of_one_who_knows(x, step, scale):
    x_t, x_0, mean = x
    var = scale * posterior.variance(step)
    kept, kept_prev, beta = step.alpha_bar, step.alpha_bar_prev, step.beta
    gain = math.sqrt(1 - beta) * step.noise_var_prev / step.noise_var  # of x_{t-1} on x_t, given x_0
    centre = math.sqrt(kept_prev) * x_0 + gain * (x_t - math.sqrt(kept) * x_0)
    spread = 1 / ((1 - beta) / beta + 1 / step.noise_var_prev)
    expected = divergence(centre, spread, mean, var)
    ours = elbo.denoising_matching(x_t, x_0, mean, var, step)
    size = {"atol": 1e-12 * (1 + np.max(abs(centre - mean)) / var)}
    assert_equal(ours, summed(expected), **size)
    tensors = [torch.as_tensor(value, dtype=torch.float64) for value in (x_t, x_0, mean)]
    assert_equal(elbo.denoising_matching(*tensors, var, step), torch.as_tensor(summed(expected)), **size)


@checks(elbo.denoising_matching)
def test_a_batch_of_times():
    schedule, (x_t, x_0, mean) = forward.cosine(10), np.random.default_rng(0).normal(size=(3, 4, 2, 2))
    batch = schedule.at([2, 3, 7, 10], like=x_t)
    together = elbo.denoising_matching(x_t, x_0, mean, batch.beta, batch)
    for i, t in enumerate((2, 3, 7, 10)):
        expected = divergence(*posterior.posterior(x_t[i], x_0[i], schedule[t]), mean[i], schedule[t].beta)
        assert_equal(together[i], np.float64(expected.sum()))


# L_0: the probability of a pixel. ------------------------------------------------------------------------------------


def exact_pixel(x_0, mean, var, bins):
    """Log-probability of a pixel's bin, at fifty digits; every argument is taken as the number it is."""
    x_0, mean, std, half = mpmath.mpf(x_0), mpmath.mpf(mean), mpmath.sqrt(var), mpmath.mpf(1) / (bins - 1)
    low = -mpmath.inf if x_0 == -1 else (x_0 - half - mean) / std
    high = mpmath.inf if x_0 == 1 else (x_0 + half - mean) / std
    if low + high < 0:  # in the tail where the difference keeps its digits
        low, high = -high, -low
    root = mpmath.sqrt(2)
    return mpmath.log((mpmath.erfc(low / root) - mpmath.erfc(high / root)) / 2)


def grid_of(bins):
    return -1 + 2 * np.arange(bins) / (bins - 1)


BINS = st.sampled_from([2, 3, 16, 256, 1000])
VARIANCES = st.sampled_from([1e-8, 1e-4, 0.01, 0.3, 1.0, 100.0])


@checks(elbo.decoder_log_prob)
@given(bins=BINS, var=VARIANCES, mean=st.one_of(st.floats(-1, 1), st.floats(-3, 3)))
def test_the_probabilities_of_all_values_sum_to_1(bins, var, mean):
    probabilities = np.exp(elbo.decoder_log_prob(grid_of(bins), mean, var, bins))
    assert_equal(probabilities.sum(), np.float64(1))


@st.composite
def pixels(draw):
    """A value on the grid, often an end, a variance, and a mean up to 60 standard deviations away."""
    bins, var = draw(BINS), draw(st.sampled_from([1e-4, 0.01, 0.3, 1.0, 25.0]))
    value = draw(st.one_of(st.just(0), st.just(bins - 1), st.integers(0, bins - 1)))
    off = draw(st.one_of(st.sampled_from([-60, -5, 0, 5, 60]), st.integers(-60, 60)))
    return float(grid_of(bins)[value]), float(grid_of(bins)[value] + off * math.sqrt(var)), var, bins


FAR = [
    (float(grid_of(bins)[value]), float(grid_of(bins)[value] + off * math.sqrt(var)), var, bins)
    for bins, value in ((3, 1), (16, 5), (256, 200))
    for off in (-60, -30, 30, 60)
    for var in (1e-4, 1.0)
]
"""Pixels that are no end of the grid, far on either side of the mean."""


def with_each(examples):
    """A property that is tried on these examples too."""

    def tried(test):
        for some in examples:
            test = example(some)(test)
        return test

    return tried


@checks(elbo.decoder_log_prob)
@with_each(FAR)
@given(pixel=pixels())
def test_pixels_at_fifty_digits_out_to_sixty_deviations(pixel):
    x_0, mean, var, bins = pixel
    expected = np.float64(exact_pixel(*pixel))
    # At a probability near 1 it is exact to what 1 can be told from.
    assert_equal(elbo.decoder_log_prob(x_0, mean, var, bins), expected, atol=1e-15)
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (x_0, mean, var)]
    for some in (tensors, [tensors[0], mean, var], [x_0, tensors[1], var], [x_0, mean, tensors[2]]):
        assert_equal(elbo.decoder_log_prob(*some, bins), torch.tensor([expected]), atol=1e-15)


@checks(elbo.decoder_log_prob)
@given(pixel=pixels())
def test_the_gradient_of_a_pixel_is_finite_and_right(pixel):
    x_0, mean, var, bins = pixel
    slopes = [
        mpmath.diff(lambda m: exact_pixel(x_0, m, mpmath.mpf(var), bins), mpmath.mpf(mean)),
        mpmath.diff(lambda v: exact_pixel(x_0, mean, v, bins), mpmath.mpf(var)),
    ]
    # What autograd loses: a probability of almost 1 is taken from 1, and two ends close together from each other.
    size = {"atol": 1e-15 / var * (10 + math.sqrt(var) * bins)}
    mean, var = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (mean, var))
    elbo.decoder_log_prob(torch.tensor([x_0], dtype=torch.float64), mean, var, bins).sum().backward()
    for ours, expected in zip((mean.grad, var.grad), slopes, strict=True):
        assert_equal(ours, torch.tensor([float(expected)], dtype=torch.float64), **size)


@checks(elbo.decoder_log_prob)
def test_pixels_of_pictures_are_summed():
    rng = np.random.default_rng(0)
    x_0, mean = grid_of(256)[rng.integers(0, 256, (2, 3, 4))], rng.normal(size=(2, 3, 4))
    var = np.array([[[0.1]], [[0.4]]])
    alone = [
        [math.fsum(float(exact_pixel(*pair, float(var[i, 0, 0]), 256)) for pair in zip(a, b, strict=True))]
        for i, (a, b) in enumerate(zip(x_0.reshape(2, -1), mean.reshape(2, -1), strict=True))
    ]
    expected = np.array(alone)[:, 0]
    assert_equal(elbo.decoder_log_prob(x_0, mean, var), expected)
    single = [array.astype(np.float32) for array in (x_0, mean, var)]
    for arrays in (single, list(map(torch.tensor, single))):
        ours = elbo.decoder_log_prob(*arrays)
        assert str(ours.dtype).endswith("float32")
        np.testing.assert_allclose(ours, expected, rtol=1e-4)


@checks(elbo.decoder_log_prob)
@pytest.mark.parametrize("var", [1e-6, 1e-4, 0.01, 0.3, 1.0, 25.0])
@pytest.mark.parametrize("off", [-3.0, 0.0, 0.3, 3.0])
def test_pixels_in_single_precision(var, off):
    """The probability is a difference of two values of the distribution function: it is as exact as they are, and no more."""
    x_0 = np.clip(grid_of(256).astype(np.float32), -1, 1)
    mean = (x_0 + off * math.sqrt(var)).astype(np.float32)
    exact = np.array(
        [float(exact_pixel(*map(float, pair), var, 256)) for pair in zip(x_0[::15], mean[::15], strict=True)]
    )
    side = -abs(x_0.astype(np.float64) - mean)[::15]
    upper = special.log_ndtr((side + 1 / 255) / math.sqrt(var))
    size = 8 * np.finfo(np.float32).eps * (1 + abs(exact) + (1 + abs(upper)) * np.exp(np.maximum(upper - exact, 0)))
    for library in (np.asarray, torch.from_numpy):
        ours = elbo.decoder_log_prob(library(x_0), library(mean), var)
        assert str(ours.dtype).endswith("float32")
        assert np.all(abs(np.asarray(ours)[::15] - exact) <= size)


@checks(elbo.decoder_log_prob)
def test_the_usual_approximation_misses_the_tail():
    """The normal distribution function by tanh, and a clamp: too small at -5, and blind further out."""

    def approximate(x_0, mean, var):
        high, low = ((x_0 + half - mean) / math.sqrt(var) for half in (1 / 255, -1 / 255))
        cdf = [(1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2 for z in (low, high)]
        return math.log(max(cdf[1] - cdf[0], 1e-12))

    x_0 = float(grid_of(256)[100])
    for off, wrong in ((5, 1.0), (8, 5.0), (30, 400.0)):
        mean = x_0 + off * 0.1
        exact = float(exact_pixel(x_0, mean, 0.01, 256))
        assert abs(approximate(x_0, mean, 0.01) - exact) > wrong
        assert_equal(elbo.decoder_log_prob(x_0, mean, 0.01), np.float64(exact))
    assert elbo.bits_per_dim(-approximate(x_0, 5.0, 0.01), 1) == pytest.approx(39.86, abs=0.01)


@checks(elbo.decoder_log_prob)
def test_the_ends_are_open():
    for end in (-1.0, 1.0):
        assert elbo.decoder_log_prob(end, 3 * end, 1e-4) == 0
        assert elbo.decoder_log_prob(-end, 3 * end, 1e-4) < -1e4
        assert elbo.decoder_log_prob(end * (1 - 2 / 255), 3 * end, 1e-4) < -1e4


@checks(elbo.decoder_log_prob)
def test_a_closed_end_loses_half_where_the_deviation_is_well_above_a_bin():
    """What the last bin holds beyond its upper edge, for a mean at the end."""
    for std, lost in ((0.1, 0.48), (0.03, 0.45), (1 / 255, 0.16), (0.001, 0.0)):
        closed = stats.norm.cdf(1 / 255 / std) - stats.norm.cdf(-1 / 255 / std)
        assert np.exp(elbo.decoder_log_prob(1.0, 1.0, std**2)) - closed == pytest.approx(lost, abs=0.005)


# The same term, for every quantity that a network may predict. -------------------------------------------------------


@checks(elbo.mean_weight, elbo.x0_weight, elbo.noise_weight, elbo.score_weight, elbo.velocity_weight)
@given(x=points(3), step=steps(first=2), scale=positive())
def test_a_weight_times_a_squared_error_is_what_the_error_costs(x, step, scale):
    """L_{t-1} of a wrong answer, less that of the right one, through every form of the mean."""
    x_0, noise, error = x
    var = scale * posterior.variance(step)
    x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noise
    score = -noise / math.sqrt(step.noise_var)
    velocity = math.sqrt(step.alpha_bar) * noise - math.sqrt(step.noise_var) * x_0
    centre = posterior.mean(x_t, x_0, step)
    for weight, right, mean in (
        (elbo.mean_weight(var), centre, lambda answer: answer),
        (elbo.x0_weight(step, var), x_0, lambda answer: posterior.mean(x_t, answer, step)),
        (elbo.noise_weight(step, var), noise, lambda answer: posterior.mean_from_noise(x_t, answer, step)),
        (elbo.score_weight(step, var), score, lambda answer: posterior.mean_from_score(x_t, answer, step)),
        (elbo.velocity_weight(step, var), velocity, lambda answer: posterior.mean_from_velocity(x_t, answer, step)),
    ):
        reach = 1 / (1 + np.max(abs(mean(right + error) - centre)) / math.sqrt(var))  # an error of usual size
        wrong, true = (
            elbo.denoising_matching(x_t, x_0, mean(answer), var, step) for answer in (right + reach * error, right)
        )
        rounding = np.max(abs(x_t) + abs(x_0)) / math.sqrt(step.alpha) / math.sqrt(var)
        size = {"atol": 1e-13 * (1 + rounding)}
        assert_equal(summed(weight * (reach * error) ** 2), wrong - true, **size)


@checks(elbo.mean_weight, elbo.x0_weight, elbo.velocity_weight)
@given(x=points(3), step=steps_for(elbo.denoising_matching, elbo.x0_weight, elbo.velocity_weight), scale=positive())
def test_the_weights_hold_where_nothing_is_left_of_the_step_before(x, step, scale):
    """With alpha = 0 among the steps: by the difference of two divergences of torch, through the mean's own coefficients."""
    *_, error = x
    var = scale * step.beta * step.noise_var_prev / step.noise_var
    share = math.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var  # of x_0 in the mean
    for weight, slope in (
        (elbo.x0_weight(step, var), share),
        (elbo.velocity_weight(step, var), -share * math.sqrt(step.noise_var)),
    ):
        cost = divergence(slope * np.asarray(error), var, 0.0, var)
        # torch's divergence is a small difference of ones.
        assert_equal(summed(weight * np.square(error)), summed(cost), atol=1e-14)
        assert_equal(weight, elbo.mean_weight(var) * slope**2, atol=1e-300)


@checks(elbo.noise_weight)
def test_how_much_the_simple_loss_raises_the_weight_of_late_times():
    """As page 3 says: 0.27 at t = 2, 0.006 at t = 500, and up to 55 times more relative to t = 2."""
    weights = {t: elbo.noise_weight(step, step.beta) for t, step in enumerate(forward.linear(), start=1)}
    at = lambda t: Fraction(1, 2) * beta(t) / (1 - beta(t)) / (1 - math.prod(1 - beta(s) for s in range(1, t + 1)))  # noqa: E731
    beta = lambda t: Fraction(1, 10000) + Fraction(199, 10000) * Fraction(t - 1, 999)  # noqa: E731
    least = min(weights, key=weights.__getitem__)
    assert_equal(np.array([weights[t] for t in (2, least)]), np.array([float(at(t)) for t in (2, least)]))
    assert [round(weights[2], 2), round(weights[500], 3), round(weights[2] / weights[least], 1)] == [0.27, 0.006, 54.9]


@checks(elbo.snr_weight, elbo.x0_weight)
@given(first=betas(), second=st.one_of(st.just(1.0), betas()))
def test_a_step_weighs_half_of_what_it_takes_off_the_ratio(first, second):
    step = Schedule([first, second])[2]
    before = 1 - mpmath.mpf(first)
    now = before * (1 - mpmath.mpf(second))
    expected = float((before / (1 - before) - now / (1 - now)) / 2)
    assert_equal(elbo.snr_weight(step), expected)
    assert_equal(elbo.x0_weight(step, posterior.variance(step)), expected)


def cost_and_slope(x_t, x_0, mean, var, step):
    """The mean of L_{t-1} over a batch, and its derivative in the logarithm of the variance, by autograd."""
    log_var = torch.tensor(math.log(var), dtype=torch.float64, requires_grad=True)
    tensors = (torch.as_tensor(value, dtype=torch.float64) for value in (x_t, x_0, mean))
    cost = elbo.denoising_matching(*tensors, torch.exp(log_var), step).mean()
    cost.backward()
    return cost.item(), log_var.grad.item()


@checks(elbo.best_variance)
@given(
    step=steps_for(elbo.best_variance, elbo.denoising_matching),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
)
def test_the_best_variance_costs_least(step, seed, share):
    x_t, x_0, error = np.random.default_rng(seed).normal(size=(3, 4, 2, 3))
    mean = posterior.mean(x_t, x_0, step) + math.sqrt(share * posterior.variance(step)) * error
    mse = float(((posterior.mean(x_t, x_0, step) - mean) ** 2).mean())
    best = elbo.best_variance(step, mse)
    cost, slope = cost_and_slope(x_t, x_0, mean, best, step)
    assert abs(slope) < 1e-10
    for other in (0.9, 1.1):
        assert cost_and_slope(x_t, x_0, mean, other * best, step)[0] > cost


@checks(elbo.best_variance)
@given(step=steps_for(elbo.best_variance), data_var=positive())
def test_the_best_variance_of_the_best_model_of_gaussian_data(step, data_var):
    """The error of the best mean is how far x_0, given x_t, spreads, as the posterior's mean sees it."""
    spread = math.sqrt(data_var * step.noise_var / (step.alpha_bar * data_var + step.noise_var))
    mse = (posterior.mean(0.0, spread, step) - posterior.mean(0.0, 0.0, step)) ** 2
    assert_equal(elbo.best_variance(step, mse), posterior.optimal_variance(step, data_var))


@checks(elbo.best_variance)
@pytest.mark.parametrize("t", [1, 2, 5])
def test_the_best_variance_of_the_best_model_of_the_mixture(t):
    step = Schedule([0.1] * 5)[t]
    marginal, x = CLASSES.diffuse(step.alpha_bar), np.linspace(-10, 10, 4001)[:, None]
    weight = np.exp(marginal.log_prob(x)) * (x[1] - x[0])
    spread = float(weight @ CLASSES.posterior(x, step).var()[:, 0])
    mse = spread * posterior.mean(0.0, 1.0, step) ** 2
    square_score = float(weight @ marginal.score(x)[:, 0] ** 2)
    assert_equal(elbo.best_variance(step, mse), posterior.analytic_variance(step, square_score))


# What one trains on. -------------------------------------------------------------------------------------------------


@checks(elbo.simple_loss)
@given(x=points(2))
def test_the_simple_loss_is_a_sum(x):
    noise, answer = x
    expected = summed(np.square(np.subtract(noise, answer)))
    assert_equal(elbo.simple_loss(noise, answer), expected)
    tensors = [torch.as_tensor(value, dtype=torch.float64) for value in x]
    assert_equal(elbo.simple_loss(*tensors), torch.as_tensor(expected))


@checks(elbo.simple_loss)
@given(x=points(3), step=steps())
def test_the_simple_loss_is_the_bound_over_its_weight(x, step):
    x_0, noise, answer = x
    x_t = forward.diffuse(x_0, noise, step)
    right, wrong = (posterior.mean_from_noise(x_t, n, step) for n in (noise, answer))
    cost = elbo.gaussian_kl(wrong, step.beta, right, step.beta)  # the variances are equal: the squares alone are left
    size = 1e-14 * np.max(abs(np.asarray(x_t))) ** 2 / step.beta**2 * step.noise_var + 1e-11
    assert_equal(cost / elbo.noise_weight(step, step.beta), elbo.simple_loss(noise, answer), atol=size)


@checks(elbo.hybrid_loss)
@given(x=points(2), weight=positive())
def test_the_hybrid_loss(x, weight):
    """Linear in both parts, which autograd takes apart again."""
    simple, bound = (torch.as_tensor(value, dtype=torch.float64) for value in x)
    simple, bound = (simple**2).requires_grad_(), bound.requires_grad_()
    for given_weight, share in (((), 0.001), ((weight,), weight)):
        simple.grad = bound.grad = None
        loss = elbo.hybrid_loss(simple, bound, *given_weight)
        loss.sum().backward()
        assert_equal(simple.grad, torch.ones_like(simple))
        assert_equal(bound.grad, torch.full_like(bound, share))
        assert_equal(loss - simple, share * bound, atol=1e-14)


@checks(elbo.hybrid_loss)
def test_the_hybrid_loss_learns_the_variance_from_the_bound_alone():
    step = forward.linear()[500]
    x_t, x_0, noise, answer = torch.tensor(np.random.default_rng(0).normal(size=(4, 3, 2)))
    answer.requires_grad_()
    v = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    mean = posterior.mean_from_noise(x_t, answer, step).detach()
    bound = elbo.denoising_matching(x_t, x_0, mean, posterior.interpolated_variance(v, step), step)
    elbo.hybrid_loss(elbo.simple_loss(noise, answer), bound).sum().backward()
    assert_equal(answer.grad, 2 * (answer - noise).detach())
    assert v.grad != 0


@checks(elbo.hybrid_loss)
@given(terms=st.lists(st.tuples(positive(), positive()), min_size=1, max_size=9))
def test_the_published_weight_is_for_the_sum_over_all_times(terms):
    """One t drawn evenly: T times its term. The released code has the same number, T / 1000 times the term."""
    simple, bound = np.array(terms).T
    T = len(terms)
    each = elbo.hybrid_loss(simple, T * bound)
    assert_equal(each.mean(), np.float64(simple.mean() + 0.001 * math.fsum(bound)))
    assert_equal(each, simple + bound * (T / 1000))
    p = bound / bound.sum()  # or t drawn with these probabilities, and everything divided by T p_t
    weighted = elbo.hybrid_loss(simple / (T * p), bound / p)
    assert_equal(p @ weighted, np.float64(simple.mean() + 0.001 * math.fsum(bound)))
    assert_equal(elbo.hybrid_loss(torch.tensor(simple), torch.tensor(bound), 0.0), torch.tensor(simple))


TABLES = st.integers(1, 5).flatmap(
    lambda history: st.lists(st.lists(positive(), min_size=history, max_size=history), min_size=1, max_size=5)
)


@checks(elbo.importance_weights)
@given(losses=TABLES, seed=st.integers(0, 99))
def test_importance_sampling_keeps_the_mean_and_has_the_least_variance(losses, seed):
    losses = np.array(losses)
    T, history = losses.shape

    def moments(p):
        """Of the estimate: draw t from p, one of its losses, and divide by T p_t."""
        estimates, probability = losses / (T * p[:, None]), p[:, None] / history
        return (probability * estimates).sum(), (probability * estimates**2).sum()

    p = elbo.importance_weights(losses)
    assert_equal(p.sum(), np.float64(1))
    mean, square = moments(p)
    assert_equal(mean, losses.mean())
    others = np.random.default_rng(seed).dirichlet(np.ones(T), size=20)
    # A small step away from the least costs a square of it; the others are far from it.
    assert all(moments(other)[1] >= square * (1 - 1e-12) for other in [np.full(T, 1 / T), *others])
    # The least there is, by the inequality of Cauchy and Schwarz.
    assert_equal(square, np.float64(sum(math.sqrt(np.mean(np.square(row))) for row in losses) ** 2 / T**2))


@checks(elbo.importance_weights)
def test_importance_weights_are_uniform_only_for_even_losses():
    assert_equal(elbo.importance_weights(np.full((4, 10), 0.3)), np.full(4, 0.25))
    assert_equal(elbo.importance_weights([[3.0, 4.0], [0.0, 0.0], [5.0, 0.0]]), np.array([0.5, 0.0, 0.5]))


@checks(elbo.min_snr_weight)
@given(error=points(), step=steps(), gamma=positive(10.0))
def test_min_snr_is_one_weight_in_three_parametrisations(error, step, gamma):
    """Per squared error of x_0 it is the ratio, capped; the others weigh the same mistake the same."""
    kept = mpmath.mpf(step.alpha_bar)
    expected = float(min(kept / step.noise_var, mpmath.mpf(gamma)))
    assert_equal(elbo.min_snr_weight(step, gamma, "x_0"), expected)
    # One wrong answer, x_0 + error, and what it says of the noise and the velocity.
    noise_error = -math.sqrt(step.alpha_bar / step.noise_var) * error
    v_error = math.sqrt(step.alpha_bar) * noise_error - math.sqrt(step.noise_var) * error
    cost = summed(expected * np.square(error))
    assert_equal(summed(elbo.min_snr_weight(step, gamma, "noise") * np.square(noise_error)), cost, atol=1e-300)
    assert_equal(summed(elbo.min_snr_weight(step, gamma, "velocity") * np.square(v_error)), cost, atol=1e-300)


@checks(elbo.min_snr_weight)
@pytest.mark.parametrize("snr_cap", [0.5, 1.0, 5.0, 20.0])
def test_min_snr_as_the_authors_compute_it(snr_cap):
    """From square roots, by the least of a stack of two, for a batch of times on both sides of the cap."""
    schedule = forward.linear(1000)
    times = np.array([1, 10, 100, 260, 400, 1000])
    x = np.zeros((6, 2, 2))
    alpha, sigma = (np.sqrt(values[times - 1]) for values in (schedule.steps.alpha_bar, schedule.steps.noise_var))
    snr = (alpha / sigma) ** 2
    assert snr.min() < 0.5 and snr.max() > 20
    capped = np.stack([snr, snr_cap * np.ones(6)], axis=1).min(axis=1)
    for predicts, expected in {"x_0": capped, "noise": capped / snr, "velocity": capped / (snr + 1)}.items():
        expected = expected.reshape(6, 1, 1)
        assert_equal(elbo.min_snr_weight(schedule.at(times, like=x), snr_cap, predicts), expected)
        tensor = torch.from_numpy(x)
        ours = elbo.min_snr_weight(schedule.at(torch.from_numpy(times), like=tensor), snr_cap, predicts)
        assert_equal(ours, torch.from_numpy(expected))
        each = [elbo.min_snr_weight(schedule[t], snr_cap, predicts) for t in times.tolist()]
        assert_equal(np.array(each), expected.ravel())


@checks(elbo.min_snr_weight)
def test_min_snr_at_pure_noise():
    for predicts in ("x_0", "velocity"):
        assert elbo.min_snr_weight(BLIND, predicts=predicts) == 0
        batch = Schedule([0.5, 1.0]).at([1, 2], like=np.zeros(2))
        assert elbo.min_snr_weight(batch, predicts=predicts)[1] == 0


@checks(elbo.min_snr_weight)
def test_min_snr_takes_the_smaller():
    """With the larger in its place, a published bug, the weight at a ratio of 0.1 is 50 and not 1."""
    noisy, clean = Schedule.from_alpha_bar([0.1 / 1.1])[1], Schedule.from_alpha_bar([50 / 51])[1]
    assert_equal(elbo.min_snr_weight(noisy), 1.0)
    assert_equal(elbo.min_snr_weight(clean), 0.1)
    assert_equal(elbo.min_snr_weight(clean, predicts="velocity"), 5 / 51)
    precise = forward.linear().at([1], like=np.zeros(1, np.float32))
    assert elbo.min_snr_weight(precise, 5.0, "x_0") == 5


# Su's way: two noises. -----------------------------------------------------------------------------------------------


@checks(elbo.two_noise_sample)
@given(x=points(3), first=st.one_of(st.just(1.0), betas()), second=st.one_of(st.just(1.0), betas()))
def test_two_moves(x, first, second):
    x_0, noise_prev, noise_t = x
    before, step = Schedule([first, second])
    x_prev = math.sqrt(1 - first) * x_0 + math.sqrt(first) * noise_prev
    x_t = math.sqrt(1 - second) * x_prev + math.sqrt(second) * noise_t
    assert_equal(elbo.two_noise_sample(x_0, noise_prev, noise_t, step), x_t, atol=1e-13)
    assert_equal(forward.diffuse(x_0, noise_prev, before), x_prev, atol=1e-13)


@checks(elbo.rotate_noise, elbo.two_noise_sample, elbo.two_noise_target)
@given(x=points(3), step=steps_for(elbo.rotate_noise))
def test_the_rotation(x, step):
    """It keeps lengths and angles; x_t sees its first noise alone; and it can be undone."""
    x_0, noise_prev, noise_t = x
    noise, unseen = elbo.rotate_noise(noise_prev, noise_t, step)
    assert_equal(forward.diffuse(x_0, noise, step), elbo.two_noise_sample(x_0, noise_prev, noise_t, step), atol=1e-13)
    assert_equal(elbo.two_noise_target(noise, unseen, step), noise_t, atol=1e-13)
    assert_equal(noise**2 + unseen**2, noise_prev**2 + noise_t**2, atol=1e-13)
    columns = [elbo.rotate_noise(*unit, step) for unit in ((1.0, 0.0), (0.0, 1.0))]
    assert_equal(np.array(columns).T @ np.array(columns), np.eye(2), atol=1e-14)
    assert np.linalg.det(columns) < 0  # with a reflection
    assert columns[1][0] >= 0  # the fresh noise counts towards the merged one


@checks(elbo.two_noise_target)
@given(noise=numbers(), step=steps_for(elbo.two_noise_target))
def test_the_last_noise_for_one_who_sees_where_it_led(noise, step):
    """Mean and variance over what x_t does not hold, from the covariance of the noise with x_t, sqrt(beta)."""
    targets = elbo.two_noise_target(noise, NODES, step)
    mean = math.sqrt(step.beta) / step.noise_var * (math.sqrt(step.noise_var) * noise)
    assert_equal(WEIGHTS @ targets, np.float64(mean), atol=1e-14)
    assert_equal(WEIGHTS @ (targets - mean) ** 2, np.float64(1 - step.beta / step.noise_var), atol=1e-13)


@checks(elbo.two_noise_constant)
@given(x_0=st.lists(numbers(), min_size=1, max_size=3), step=steps_for(elbo.two_noise_constant), curve=numbers())
def test_what_two_noises_carry_along(x_0, step, curve):
    """By quadrature over both noises, and over the merged one, for an answer that is far from linear in x_t."""
    nodes, weights = rule(5)
    expected = 0.0
    for pixel in x_0:

        def answer(x_t):
            return curve * x_t**2 - x_t

        old, new = (a.ravel() for a in np.meshgrid(nodes, nodes))
        x_t = math.sqrt(step.alpha) * (math.sqrt(step.alpha_bar_prev) * pixel + math.sqrt(step.noise_var_prev) * old)
        x_t = x_t + math.sqrt(step.beta) * new
        two = np.outer(weights, weights).ravel() @ (new - answer(x_t)) ** 2
        x_t = math.sqrt(step.alpha_bar) * pixel + math.sqrt(step.noise_var) * nodes
        one = weights @ (math.sqrt(step.beta / step.noise_var) * nodes - answer(x_t)) ** 2
        expected += two - one
    size = 1e-12 * (1 + curve**2) * (1 + max(map(abs, x_0)) ** 4)
    assert_equal(elbo.two_noise_constant(step, len(x_0)), expected, atol=size)


@checks(elbo.su_weight, elbo.noise_weight)
@given(x=st.tuples(*[numbers()] * 3), step=steps(first=2), scale=positive())
def test_sus_weight_by_his_own_way(x, step, scale):
    """What a wrong noise adds to the mean squared error of x_{t-1}, over all that x_t does not hold."""
    x_0, noise, answer = x
    var = scale * posterior.variance(step)
    x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noise
    last = np.array([elbo.two_noise_target(noise, unseen, step) for unseen in NODES])
    x_prev = (x_t - math.sqrt(step.beta) * last) / math.sqrt(step.alpha)
    errors = [WEIGHTS @ (x_prev - posterior.mean_from_noise(x_t, guess, step)) ** 2 for guess in (answer, noise)]
    excess = float(errors[0] - errors[1]) / (2 * var)
    size = 1e-14 * float((abs(x_prev).max() + abs(x_t)) ** 2 + errors[0]) / step.alpha / var
    weight = elbo.su_weight(step, var)
    assert_equal(weight * (noise - answer) ** 2, excess, atol=size)
    assert_equal(weight, elbo.noise_weight(step, var))


# All times at once. --------------------------------------------------------------------------------------------------


@checks(elbo.diffusion_loss, elbo.snr_weight)
@given(schedule=some_schedules(), data_var=positive())
def test_the_sum_of_all_terms_on_gaussian_data(schedule, data_var):
    """Against divergences, by quadrature over x_0 and x_t, for the best prediction there is."""
    x_0, noise = (a.ravel() for a in np.meshgrid(math.sqrt(data_var) * NODES, NODES))
    weights = np.outer(WEIGHTS, WEIGHTS).ravel()
    expected, errors = 0.0, []
    for t in range(2, schedule.T + 1):
        step = schedule[t]
        seen = step.alpha_bar * data_var + step.noise_var
        x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noise
        best = math.sqrt(step.alpha_bar) * data_var / seen * x_t
        right, wrong = (posterior.posterior(x_t, picture, step) for picture in (x_0, best))
        expected += weights @ divergence(*right, *wrong)
        errors.append(data_var * step.noise_var / seen)
    loss = elbo.diffusion_loss(np.array(errors), schedule)
    assert_equal(loss, np.float64(expected), atol=1e-11)
    both = elbo.diffusion_loss(np.stack([errors, 2 * np.array(errors)], -1), schedule)
    assert_equal(both, np.array([loss, 2 * loss]))


def gaussian_error(data_var):
    """Var(x_0 | x_t) of Gaussian data, as a function of the ratio."""
    return lambda ratio: data_var / (1 + data_var * ratio)


@checks(elbo.diffusion_loss_continuous)
@given(data_var=positive(), low=st.integers(-8, 0), span=st.integers(0, 12), dims=st.integers(1, 3))
def test_the_continuous_loss_of_gaussian_data(data_var, low, span, dims):
    ends = math.exp(low), math.exp(low + span)
    loss = elbo.diffusion_loss_continuous(lambda ratio: dims * gaussian_error(data_var)(ratio), *ends)
    expected = dims / 2 * math.log((1 + data_var * ends[1]) / (1 + data_var * ends[0]))
    assert_equal(loss, expected, atol=1e-12)


@checks(elbo.diffusion_loss_continuous)
def test_no_way_costs_nothing_and_no_error_neither():
    assert elbo.diffusion_loss_continuous(gaussian_error(0.5), 2.0, 2.0) == 0
    assert elbo.diffusion_loss_continuous(lambda ratio: 0.0, 1e-3, 1e3) == 0


@checks(elbo.diffusion_loss_continuous)
def test_only_the_ends_of_the_ratio_matter():
    """VDM's integral over t, for two schedules of very different shape between the same ends."""
    low, high = math.exp(-6), math.exp(5)

    def error(ratio):
        return math.atan(1 / ratio) / (1 + ratio)

    def even(t):
        ratio = high * (low / high) ** t
        return ratio, ratio * math.log(low / high)

    def late(t):
        return high + (low - high) * t**3, 3 * (low - high) * t**2

    for ratio in (even, late):
        assert (ratio(0.0)[0], ratio(1.0)[0]) == (pytest.approx(high), pytest.approx(low))
        over_t = integrate.quad(lambda t, r=ratio: -r(t)[1] * error(r(t)[0]) / 2, 0, 1, epsabs=1e-11, limit=500)[0]
        assert_equal(elbo.diffusion_loss_continuous(error, low, high), over_t)


@checks(elbo.diffusion_loss, elbo.diffusion_loss_continuous)
def test_ever_smaller_steps_cost_ever_less():
    """The sum falls to the integral, and what is missing halves as the number of steps doubles."""
    low, high, error = math.exp(-5), math.exp(5), gaussian_error(0.3)
    limit, gaps = elbo.diffusion_loss_continuous(error, low, high), []
    for T in (101, 201, 401, 801):
        ratios = np.exp(np.linspace(5, -5, T))
        schedule = Schedule.from_alpha_bar(ratios / (1 + ratios))
        errors = [error(forward.snr(schedule[t])) for t in range(2, T + 1)]
        gaps.append(float(elbo.diffusion_loss(np.array(errors), schedule)) - limit)
    assert all(gap > 0 for gap in gaps)
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 2, rtol=0.02)
    rest = 2 * np.array(gaps[1:]) - gaps[:-1]  # the first order taken out: what is left is of second order
    np.testing.assert_allclose(rest[:-1] / rest[1:], 4, rtol=0.02)


# From nats to bits per dimension. ------------------------------------------------------------------------------------


@checks(elbo.dequantize)
@given(levels=st.sampled_from([2, 3, 16, 256, 1000]), u=st.floats(0, 0.999), data=st.data())
def test_every_pixel_has_a_bin_of_its_own(levels, u, data):
    pixel = data.draw(st.integers(0, levels - 1))
    edges = np.linspace(-1, 1, levels + 1)
    x = elbo.dequantize(float(pixel), u, levels)
    assert_equal(x, np.interp(pixel + u, np.arange(levels + 1), edges), atol=1e-14)
    pixels, shifts = torch.full((2, 3), float(pixel)).double(), torch.full((1, 3), u, dtype=torch.float64)
    assert_equal(elbo.dequantize(pixels, shifts, levels), torch.full((2, 3), x, dtype=torch.float64))


@checks(elbo.dequantize, elbo.bits_per_dim)
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_a_dequantized_density_bounds_the_probability(levels):
    """By quadrature in every bin: Jensen's inequality, and equality for a density that is flat within the bins."""
    u, weight = np.polynomial.legendre.leggauss(40)
    u, weight = (u + 1) / 2, weight / 2
    data = mixture.Mixture([0.4, 0.6], [[-0.5], [0.4]], [0.05, 0.02])
    x = elbo.dequantize(*np.broadcast_arrays(np.arange(levels)[:, None].astype(float), u), levels)
    density = np.exp(data.log_prob(x[..., None]))
    with_probability = elbo.bits_per_dim(-np.log(density @ weight * 2 / levels), 1)
    with_density = elbo.bits_per_dim(-(np.log(density) @ weight), 1, levels)
    assert np.all(with_density > with_probability)
    inside = [special.ndtr((1 - m) / v**0.5) - special.ndtr((-1 - m) / v**0.5) for m, v in ((-0.5, 0.05), (0.4, 0.02))]
    mass = 0.4 * inside[0] + 0.6 * inside[1]
    assert_equal(np.exp2(-with_probability).sum(), np.float64(mass))
    flat = density.mean(1)
    assert_equal(
        elbo.bits_per_dim(-np.log(flat), 1, levels), elbo.bits_per_dim(-np.log(flat * 2 / levels), 1), atol=1e-13
    )


@checks(elbo.bits_per_dim)
@given(dims=st.integers(1, 3072), power=st.integers(1, 16), nats=numbers())
def test_pure_noise_costs_all_its_bits(dims, power, nats):
    """Uniform pixels of 2^b values cost b bits each, by probability as by density (one half on [-1, 1])."""
    levels = 2**power
    assert_equal(elbo.bits_per_dim(dims * math.log(levels), dims), float(power))
    assert_equal(elbo.bits_per_dim(dims * math.log(2), dims, levels), float(power))
    assert_equal(elbo.bits_per_dim(nats, dims, 256) - elbo.bits_per_dim(nats, dims), 7.0)
    batch = elbo.bits_per_dim(np.array([nats, 0.0]), dims, levels)
    assert_equal(2.0 ** (-dims * (batch[:1] - batch[1:])), np.array([math.exp(-nats)]))


# The bound of a real model. ------------------------------------------------------------------------------------------


class Replay:
    """A generator whose draws are given."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def standard_normal(self, shape):
        return next(self.draws).reshape(shape)


def network(schedule, predicts, asked=None, guess=None):
    """The best network for the mixture, in every coordinate on its own; notes the times that it was asked for.

    Or one with another guess of x_0, a function of x_t and the step.
    """

    def model(x_t, t):
        assert tuple(t.shape) == tuple(x_t.shape[:1]) and len({*t.tolist()}) == 1
        if asked is not None:
            asked.append(int(t[0]))
        step = schedule[int(t[0])]
        x_0 = (guess or best_guess)(x_t, step)
        noise = (x_t - math.sqrt(step.alpha_bar) * x_0) / math.sqrt(step.noise_var)
        velocity = math.sqrt(step.alpha_bar) * noise - math.sqrt(step.noise_var) * x_0
        return {"x_0": x_0, "noise": noise, "velocity": velocity}[predicts]

    return model


@checks(elbo.vlb_terms)
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 2, 1)], ids=len)
@pytest.mark.parametrize(
    ("variance", "clip", "bins"),
    [("beta", None, 256), ("posterior", 0.9, 16), ("beta", 1.0, None), ("posterior", None, None)],
)
def test_every_term_of_every_draw(shape, variance, clip, bins):
    """Draw by draw from the same noise, with divergences and densities of scipy and torch; in both libraries."""
    schedule, asked = Schedule([0.1, 0.2, 0.3, 0.6]), []
    x_0 = grid_of(bins or 256)[np.random.default_rng(1).integers(0, bins or 256, shape)]
    noises = np.random.default_rng(0).standard_normal((4, *shape))
    expected = []
    for t, step in enumerate(schedule, start=1):
        x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * noises[t - 1]
        guess = np.clip(best_guess(x_t, step), *((-clip, clip) if clip else (-9, 9)))
        gain = math.sqrt(step.alpha) * step.noise_var_prev / step.noise_var
        mean = math.sqrt(step.alpha_bar_prev) * guess + gain * (x_t - math.sqrt(step.alpha_bar) * guess)
        wise = schedule[max(t, 2)]
        var = step.beta if variance == "beta" else wise.beta * wise.noise_var_prev / wise.noise_var
        if t > 1:
            expected.append(summed(divergence(*posterior.posterior(x_t, x_0, step), mean, var)))
        elif bins is None:
            expected.append(-summed(log_normal(x_0, mean, var)))
        else:
            high = np.where(x_0 == 1, np.inf, (x_0 + 1 / (bins - 1) - mean) / math.sqrt(var))
            low = np.where(x_0 == -1, -np.inf, (x_0 - 1 / (bins - 1) - mean) / math.sqrt(var))
            expected.append(-summed(np.log(special.ndtr(high) - special.ndtr(low))))
    expected.append(summed(divergence(math.sqrt(step.alpha_bar) * x_0, step.noise_var, 0, 1)))
    options = {"variance": variance, "clip": clip, "bins": bins}
    for predicts in forward.PREDICTIONS:
        model = network(schedule, predicts, asked)
        ours = elbo.vlb_terms(model, x_0, schedule, np.random.default_rng(0), predicts, **options)
        assert_equal(ours, np.stack(expected))
        assert asked == [1, 2, 3, 4]
        asked.clear()


def overshooting(x_t, step):
    """A guess of x_0 that leaves [-1, 1] on both sides."""
    return 1.3 * x_t / (step.alpha_bar + step.noise_var / 4) ** 0.5


SHARE = 0.3
"""What the tests' models say of their variance: how far it is on the way from the smaller to the larger one."""


def walked(x_0, noises, schedule, guess, variance, clip, bins):
    """L_0..L_T draw by draw: every mean by Bayes' rule on precisions, every term by scipy."""
    terms = []
    for t, step in enumerate(schedule, start=1):
        kept, kept_prev = (np.prod(1 - schedule.beta[:n]) for n in (t, t - 1))
        beta = schedule.beta[t - 1]
        x_t = math.sqrt(kept) * x_0 + math.sqrt(1 - kept) * noises[t - 1]
        x_0_hat = guess(x_t, step)
        if clip is not None:
            x_0_hat = np.where(x_0_hat > clip, clip, np.where(x_0_hat < -clip, -clip, x_0_hat))
        if t == 1:
            beta_2 = schedule.beta[1]
            smaller = 1 / ((1 - beta_2) / beta_2 + 1 / beta)
            mean, var = (
                x_0_hat,
                {"beta": beta, "posterior": smaller, "learned": beta_2**SHARE * smaller ** (1 - SHARE)}[variance],
            )
            if bins is None:
                terms.append(-summed(log_normal(x_0, mean, var)))
                continue
            edges = [np.where(x_0 == side, side * np.inf, x_0 + side / (bins - 1)) for side in (1, -1)]
            high, low = (stats.norm.cdf(edge, mean, math.sqrt(var)) for edge in edges)
            far_high, far_low = (stats.norm.sf(edge, mean, math.sqrt(var)) for edge in edges)
            terms.append(-summed(np.log(np.where(x_0 < mean, high - low, far_low - far_high))))
        else:
            tilde = 1 / ((1 - beta) / beta + 1 / (1 - kept_prev))

            def back(x, x_t=x_t, beta=beta, kept_prev=kept_prev, tilde=tilde):
                return tilde * (math.sqrt(1 - beta) / beta * x_t + math.sqrt(kept_prev) / (1 - kept_prev) * x)

            var = {"beta": beta, "posterior": tilde, "learned": beta**SHARE * tilde ** (1 - SHARE)}[variance]
            terms.append(summed(divergence(back(x_0), tilde, back(x_0_hat), var)))
    left = np.prod(1 - schedule.beta)
    return np.stack([*terms, summed(divergence(math.sqrt(left) * x_0, 1 - left, 0, 1))])


def saying_its_variance(model):
    """A model with twice the channels, of which the second half is 2 v - 1."""

    def twice(x_t, t):
        answer = model(x_t, t)
        library = torch if isinstance(answer, torch.Tensor) else np
        return library.concatenate([answer, 0 * answer + 2 * SHARE - 1], 1)

    return twice


@checks(elbo.vlb_terms)
@pytest.mark.parametrize("variance", ["beta", "posterior", "learned"])
@pytest.mark.parametrize("clip", [None, 0.5, 1.0])
@pytest.mark.parametrize("bins", [None, 2, 16, 256])
@pytest.mark.parametrize("predicts", forward.PREDICTIONS)
def test_all_options_together_on_the_way(predicts, bins, clip, variance):
    """A network whose guesses leave [-1, 1] on both sides, against a walk that shares no formula with ours."""
    schedule, shape = Schedule([0.1, 0.2, 0.3, 0.6]), (5, 2, 3)
    x_0 = grid_of(bins or 256)[np.random.default_rng(1).integers(0, bins or 256, shape)]
    noises = np.random.default_rng(0).standard_normal((4, *shape))
    expected = walked(x_0, noises, schedule, overshooting, variance, clip, bins)
    model = network(schedule, predicts, guess=overshooting)
    if variance == "learned":
        model = saying_its_variance(model)
    options = {"predicts": predicts, "variance": variance, "clip": clip, "bins": bins}
    assert_equal(elbo.vlb_terms(model, x_0, schedule, np.random.default_rng(0), **options), expected)
    tensor = torch.from_numpy(x_0)
    assert_equal(elbo.vlb_terms(model, tensor, schedule, np.random.default_rng(0), **options), torch.tensor(expected))
    sides = [
        np.sign(overshooting(math.sqrt(s.alpha_bar) * x_0 + math.sqrt(s.noise_var) * z, s).clip(-2, 2).round())
        for s, z in zip(schedule, noises, strict=True)
    ]
    assert all({-1, 1} <= {*side.ravel().tolist()} for side in sides)  # both ends of the clip are met, at every t


@checks(elbo.vlb_terms)
@pytest.mark.parametrize("predicts", ["x_0", "velocity"])
def test_the_terms_where_nothing_is_left_at_the_end(predicts):
    schedule = Schedule([0.1, 0.4, 1.0])
    x_0 = grid_of(16)[np.random.default_rng(1).integers(0, 16, (4, 3))]
    noises = np.random.default_rng(0).standard_normal((3, 4, 3))
    expected = walked(x_0, noises, schedule, overshooting, "beta", 1.0, 16)
    model = network(schedule, predicts, guess=overshooting)
    ours = elbo.vlb_terms(model, x_0, schedule, np.random.default_rng(0), predicts, clip=1.0, bins=16)
    assert_equal(ours, expected)
    assert np.all(ours[-1] == 0)


@checks(elbo.vlb_terms)
@pytest.mark.parametrize("predicts", forward.PREDICTIONS)
def test_the_terms_in_torch(predicts):
    schedule, x_0 = Schedule([0.1, 0.3, 0.6]), torch.tensor(grid_of(256)[[[0, 200], [30, 255]]])
    rng = seeded(3)
    draws = Replay(torch.randn((2, 2), generator=rng, dtype=torch.float64).numpy() for _ in schedule)
    ours = elbo.vlb_terms(network(schedule, predicts), x_0, schedule, seeded(3), predicts)
    expected = elbo.vlb_terms(network(schedule, predicts), x_0.numpy(), schedule, draws, predicts)
    assert_equal(ours, torch.tensor(expected))
    single = elbo.vlb_terms(network(schedule, predicts), x_0.float(), schedule, torch.Generator(), predicts)
    assert single.dtype == torch.float32 and tuple(single.shape) == (4, 2) and bool(torch.isfinite(single).all())


@checks(elbo.vlb_terms)
@pytest.mark.parametrize("bins", [None, 256])
def test_the_terms_on_average_by_quadrature_and_by_chance(bins):
    """The mean over the noise, term by term: by a rule in the place of the generator, and by 20 000 draws."""
    schedule, x_0 = Schedule([0.1, 0.2, 0.3, 0.5, 0.9]), float(grid_of(256)[217])

    def last(mean, var):
        high, low = ((x_0 + half - mean) / math.sqrt(var) for half in (1 / 255, -1 / 255))
        with np.errstate(divide="ignore"):  # of where nothing of x_0 comes from
            return np.log(special.ndtr(high) - special.ndtr(low)) if bins else log_normal(x_0, mean, var)

    model, expected = network(schedule, "noise"), expected_terms(x_0, schedule, last=last)
    ruled = elbo.vlb_terms(model, np.full(FINE.shape, x_0), schedule, Replay(itertools.repeat(FINE)), bins=bins)
    assert_equal(ruled @ FINE_WEIGHTS, expected)
    # A bound on the likelihood: of a density, or of one of 256 values.
    assert expected.sum() > -model_log_prob(x_0, schedule, last=last)
    drawn = elbo.vlb_terms(model, np.full(20_000, x_0), schedule, np.random.default_rng(0), bins=bins)
    off = abs(drawn.mean(1) - expected) / (drawn.std(1) / math.sqrt(20_000) + 1e-12)
    assert np.all(off < 5), off


@checks(elbo.vlb_terms)
def test_what_is_meant_if_nothing_is_said():
    schedule, x_0 = Schedule([0.1, 0.3, 0.6]), grid_of(256)[[0, 100, 255]]
    said = {"predicts": "noise", "variance": "beta", "clip": None, "bins": 256}
    terms = [
        elbo.vlb_terms(network(schedule, "noise"), x_0, schedule, np.random.default_rng(0), **options)
        for options in ({}, said)
    ]
    assert_equal(*terms)


@checks(elbo.vlb_terms)
def test_a_single_step_has_a_likelihood_and_a_prior_only():
    schedule, x_0 = Schedule([0.5]), np.array([0.2, -0.4])
    terms = elbo.vlb_terms(lambda x_t, t: 0 * x_t, x_0, schedule, np.random.default_rng(0), "x_0", bins=None)
    assert_equal(terms, np.stack([-log_normal(x_0, 0, 0.5), divergence(math.sqrt(0.5) * x_0, 0.5, 0, 1)]))


# What a noisy pixel says of its grey level. ------------------------------------------------------------------------


@checks(elbo.value_log_prob)
@given(step=steps(), values=st.integers(2, 20), seed=st.integers(0, 99))
def test_what_a_noisy_pixel_can_have_been_by_bayes_rule(step, values, seed):
    """Against `posterior.bayes` with likelihoods of scipy, pixel by pixel; in both libraries."""
    rng = np.random.default_rng(seed)
    prior, x_k = rng.dirichlet(np.ones(values), (2, 3)), np.linspace(-1, 1, values)
    x_0 = x_k[rng.integers(0, values, (2, 3))]
    x_t = math.sqrt(step.alpha_bar) * x_0 + math.sqrt(step.noise_var) * rng.standard_normal((2, 3))
    logits = np.log(prior) + rng.standard_normal((2, 3, 1))  # a constant more changes nothing
    log_prob = stats.norm.logpdf(x_t[..., None], math.sqrt(step.alpha_bar) * x_k, math.sqrt(step.noise_var))
    likelihood = np.exp(log_prob - log_prob.max(-1, keepdims=True))
    expected = prior * likelihood / (prior * likelihood).sum(-1, keepdims=True)
    found = elbo.value_log_prob(x_t, logits, step)
    assert_equal(np.exp(found), expected, atol=1e-12)
    assert_equal(np.exp(found).sum(-1), np.ones((2, 3)))
    tensors = elbo.value_log_prob(torch.from_numpy(x_t), torch.from_numpy(logits), step)
    assert_equal(tensors, torch.from_numpy(found), atol=1e-9)


@checks(elbo.value_log_prob)
def test_fine_noise_rounds_and_noise_alone_leaves_what_was_believed():
    prior, x_t = np.array([0.1, 0.2, 0.3, 0.2, 0.2]), np.array([0.45])
    rounded = np.exp(elbo.value_log_prob(x_t, np.log(prior)[None], forward.cosine()[1]))
    assert rounded[0, 3] > 1 - 1e-12  # 0.5 is the next of -1, -0.5, 0, 0.5, 1
    blind = np.exp(elbo.value_log_prob(x_t, np.log(prior)[None], Schedule([0.5, 1.0])[2]))
    assert_equal(blind[0], prior)


@checks(elbo.best_v)
@given(schedule=st.lists(betas(low=1e-3, high=0.9), min_size=2, max_size=6).map(Schedule), x=st.floats(0.1, 3.0))
def test_the_best_v_is_that_of_the_variance_of_a_mixture(schedule, x):
    """x_0 is one of two points: x at t - 1 is then one of two Gaussians, whose variance is known by the law of totals."""
    step = schedule[schedule.T]
    chances, points = np.array([0.3, 0.7]), np.array([-x, x])
    x0_var = 4 * x**2 * 0.3 * 0.7
    means = np.array([posterior.mean(0.2, point, step) for point in points])
    second = (chances * (means**2 + posterior.variance(step))).sum()
    expected = second - (chances * means).sum() ** 2
    assert_equal(posterior.interpolated_variance(elbo.best_v(x0_var, step), step), expected, rtol=1e-9)
    assert elbo.best_v(0.0, step) == 0


@checks(elbo.best_v)
def test_the_best_v_is_the_share_of_the_noise_where_steps_are_short():
    step = forward.cosine(100_000)[30_000]
    for x0_var in (0.0, 0.01, 0.2):
        assert_equal(elbo.best_v(x0_var, step), x0_var / step.noise_var, rtol=1e-3)


# The door. -----------------------------------------------------------------------------------------------------------

FIRST, STEP = forward.linear()[1], forward.linear()[500]
BLIND = Schedule([0.5, 1.0])[2]
THREE = Schedule([0.1, 0.2, 0.3])
GENERATOR = np.random.default_rng(0)


BYTES = np.array([0, 127, 255], dtype=np.uint8)
PIXELS = np.array([[0.0, 127.0, 255.0]])
NOT = [math.nan, math.inf, -math.inf]


def keep(x_t, t):
    return x_t


def blind_to_time(x, step):
    return Gaussian(x, 0.0)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, ["p", "[0, 1]", "1.5"], lambda: elbo.information(1.5)),
        (ValueError, ["p", "[0, 1]", "1.5"], lambda: elbo.information(np.float32(1.5))),
        (ValueError, ["p", "[0, 1]", "1.5"], lambda: elbo.information(torch.tensor([0.5, 1.5]))),
        (TypeError, ["p ", "number", "True"], lambda: elbo.information(True)),
        (TypeError, ["x ", "list"], lambda: elbo.gaussian_log_prob([1.0, 2.0], 0.0, 1.0)),
        (TypeError, ["noise_hat", "list"], lambda: elbo.simple_loss(np.ones(2), [1.0, 2.0])),
        (TypeError, ["x_0", "list"], lambda: elbo.vlb_terms(keep, [0.1, 0.2], THREE, GENERATOR)),
        (TypeError, ["x ", "number", "1j"], lambda: elbo.gaussian_log_prob(1j, 0.0, 1.0)),
        (TypeError, ["x ", "floating", "complex"], lambda: elbo.gaussian_log_prob(np.ones(2) * 1j, 0.0, 1.0)),
        (ValueError, ["var", "above 0", "-1"], lambda: elbo.gaussian_log_prob(0.0, 0.0, np.float32(-1))),
        (ValueError, ["var", "above 0", "-1"], lambda: elbo.gaussian_log_prob(0.0, 0.0, torch.tensor([-1.0]))),
        (ValueError, ["dims", "at least 1", "-3"], lambda: elbo.gaussian_entropy(1.0, -3)),
        (TypeError, ["dims", "whole", "2.0"], lambda: elbo.gaussian_entropy(1.0, 2.0)),
        (ValueError, ["f(x)", "(2,)", "()"], lambda: elbo.jensen_gap(lambda x: x.sum(), [1.0, 2.0], [0.5, 0.5])),
        (
            TypeError,
            ["reverse_model(x_t, step)", "Gaussian"],
            lambda: elbo.joint_log_prob(np.ones((4, 2)), lambda x, step: x, THREE),
        ),
        (
            ValueError,
            ["reverse_model(x_t, step)", "above 0"],
            lambda: elbo.joint_log_prob(np.ones((4, 2)), blind_to_time, THREE),
        ),
        (
            ValueError,
            ["reverse_model(x_t, step)", "(2,)", "(1, 2)"],
            lambda: elbo.joint_log_prob(np.ones((4, 2)), lambda x, step: Gaussian(x[None], 1.0), THREE),
        ),
        (
            ValueError,
            ["step.noise_var_prev", "t must be above 1"],
            lambda: elbo.denoising_matching(
                *[torch.zeros(2, 3)] * 3, 1.0, forward.linear().at([1, 5], like=torch.zeros(2, 3))
            ),
        ),
        (ValueError, ["weight", "at least 0", "-1"], lambda: elbo.hybrid_loss(1.0, 1.0, weight=-1.0)),
        (ValueError, ["simple", "at least 0", "-2"], lambda: elbo.hybrid_loss(-2.0, 1.0)),
        (TypeError, ["step", "Step", "5"], lambda: elbo.min_snr_weight(5)),
        (ValueError, ["dims", "at least 1", "-3"], lambda: elbo.two_noise_constant(STEP, -3)),
        (ValueError, ["pixels", "below levels", "300"], lambda: elbo.dequantize(300.0, 0.5, 256)),
        (ValueError, ["pixels", "at least 0", "-1"], lambda: elbo.dequantize(np.array([-1, 3]), 0.5, 256)),
        (ValueError, ["uniform", "[0, 1)", "1.5"], lambda: elbo.dequantize(3.0, 1.5, 256)),
        (ValueError, ["uniform", "[0, 1)", "1.0"], lambda: elbo.dequantize(3.0, 1.0, 256)),
        (TypeError, ["levels", "whole", "2.5"], lambda: elbo.dequantize(1.0, 0.5, 2.5)),
        (TypeError, ["levels", "whole", "2.5"], lambda: elbo.bits_per_dim(1.0, 1, levels=2.5)),
        (TypeError, ["dims", "whole", "(3, 32, 32)"], lambda: elbo.bits_per_dim(1.0, (3, 32, 32))),
        (ValueError, ["dims", "at least 1", "-3"], lambda: elbo.bits_per_dim(1.0, -3)),
        (ValueError, ["nats", "nan"], lambda: elbo.bits_per_dim(math.nan, 3)),
        (ValueError, ["nats", "-inf"], lambda: elbo.bits_per_dim(np.array([-math.inf]), 3)),
        (ValueError, ["square_error(snr)", "number"], lambda: elbo.diffusion_loss_continuous(np.atleast_1d, 1.0, 2.0)),
        (
            ValueError,
            ["square_error(snr)", "nan"],
            lambda: elbo.diffusion_loss_continuous(lambda snr: math.nan, 1.0, 2.0),
        ),
        (TypeError, ["rng", "generator", "0"], lambda: elbo.vlb_terms(keep, np.ones(2), THREE, rng=0)),
        (TypeError, ["rng", "generator"], lambda: elbo.vlb_terms(keep, np.ones(2), THREE, rng=seeded(0))),
        (ValueError, ["x_0", "nan"], lambda: elbo.vlb_terms(keep, np.array([math.nan]), THREE, GENERATOR, bins=None)),
        (
            ValueError,
            ["alpha_bar of schedule", "noise", "velocity"],
            lambda: elbo.vlb_terms(keep, np.ones(2), Schedule([0.5, 1.0]), GENERATOR),
        ),
        (ValueError, ["p", "[0, 1]", "nan"], lambda: elbo.information(np.array([0.5, math.nan]))),
        (ValueError, ["p ", "sum to 1"], lambda: elbo.entropy([0.5, 0.6])),
        (ValueError, ["q ", "at least 0", "nan"], lambda: elbo.cross_entropy([0.5, 0.5], [0.5, math.nan])),
        (ValueError, ["q ", "n = 2", "(1,)"], lambda: elbo.kl([0.5, 0.5], [1.0])),
        (ValueError, ["q ", "n = 1", "(2,)"], lambda: elbo.cross_entropy([1.0], [0.5, 0.5])),
        (ValueError, ["weights", "sum to 1"], lambda: elbo.jensen_gap(np.log, [1.0, 2.0], [0.5, 0.6])),
        (ValueError, ["weights", "n = 3", "(2,)"], lambda: elbo.jensen_gap(np.log, [1.0, 2.0, 3.0], [0.5, 0.5])),
        (ValueError, ["values", "(n,)", "(2, 1)"], lambda: elbo.jensen_gap(np.log, [[1.0]] * 2, [[1.0]] * 2)),
        (ValueError, ["var", "above 0", "0.0"], lambda: elbo.gaussian_log_prob(1.0, 0.0, 0.0)),
        (ValueError, ["x (2,)", "mean (3,)"], lambda: elbo.gaussian_log_prob(np.ones(2), np.ones(3), 1.0)),
        (TypeError, ["one library"], lambda: elbo.gaussian_log_prob(np.ones(2), torch.ones(2), 1.0)),
        (ValueError, ["var", "above 0", "-1"], lambda: elbo.gaussian_entropy(-1.0, 2)),
        (ValueError, ["var_q", "above 0"], lambda: elbo.gaussian_kl(0.0, 0.0, 0.0, 1.0)),
        (ValueError, ["var_p", "above 0", "nan"], lambda: elbo.gaussian_kl(0.0, 1.0, 0.0, math.nan)),
        (ValueError, ["mean_q (2,)", "mean_p (3,)"], lambda: elbo.gaussian_kl(np.ones(2), 1.0, np.ones(3), 1.0)),
        (ValueError, ["log_joint (2,)", "log_posterior (3,)"], lambda: elbo.evidence(np.ones(2), np.ones(3))),
        (ValueError, ["weights", "sum to 1"], lambda: elbo.elbo(np.zeros(2), np.zeros(2), [0.5, 0.6])),
        (ValueError, ["log_q", "n = 2", "(3,)"], lambda: elbo.elbo(np.zeros(2), np.zeros(3), [0.5, 0.5])),
        (ValueError, ["weights", "sum to 1"], lambda: elbo.vlb(np.zeros(2), np.zeros(2), [1.0, 1.0])),
        (
            ValueError,
            ["path", "T+1", "T = 3", "(3, 2)"],
            lambda: elbo.joint_log_prob(np.ones((3, 2)), best_model, THREE),
        ),
        (ValueError, ["path", "T = 3", "(4, 2)"], lambda: elbo.telescope(np.ones(2), np.ones((4, 2)), THREE)),
        (TypeError, ["step", "Step", "7"], lambda: elbo.prior_matching(1.0, 7)),
        (ValueError, ["step", "t must be above 1"], lambda: elbo.denoising_matching(1.0, 1.0, 1.0, 1.0, FIRST)),
        (TypeError, ["step", "Step", "7"], lambda: elbo.denoising_matching(1.0, 1.0, 1.0, 1.0, 7)),
        (ValueError, ["above 0", "0.0"], lambda: elbo.denoising_matching(1.0, 1.0, 1.0, 0.0, STEP)),
        (TypeError, ["step", "Step"], lambda: elbo.bridge(1.0, 1.0, STEP, 8)),
        (ValueError, ["x_prev (2,)", "x_next (3,)"], lambda: elbo.bridge(np.ones(2), np.ones(3), STEP, STEP)),
        (TypeError, ["step", "Step"], lambda: elbo.consistency(1.0, 1.0, 7, STEP, best_model)),
        (ValueError, ["var", "above 0"], lambda: elbo.decoder_log_prob(0.0, 0.0, 0.0)),
        (ValueError, ["bins", "at least 2", "1"], lambda: elbo.decoder_log_prob(0.0, 0.0, 1.0, bins=1)),
        (TypeError, ["bins", "whole", "25.5"], lambda: elbo.decoder_log_prob(0.0, 0.0, 1.0, bins=25.5)),
        (ValueError, ["x_0", "[-1, 1]", "127"], lambda: elbo.decoder_log_prob(np.array([127.0]), 0.0, 1.0)),
        (ValueError, ["x_0", "[-1, 1]", "nan"], lambda: elbo.decoder_log_prob(math.nan, 0.0, 1.0)),
        (ValueError, ["x_0 (2,)", "mean (3,)"], lambda: elbo.decoder_log_prob(np.zeros(2), np.zeros(3), 1.0)),
        (ValueError, ["var", "above 0"], lambda: elbo.mean_weight(0.0)),
        (ValueError, ["var", "above 0"], lambda: elbo.x0_weight(STEP, -1.0)),
        (TypeError, ["step", "Step"], lambda: elbo.x0_weight(7, 1.0)),
        (ValueError, ["alpha", "above 0"], lambda: elbo.noise_weight(BLIND, 1.0)),
        (ValueError, ["alpha", "above 0"], lambda: elbo.score_weight(BLIND, 1.0)),
        (TypeError, ["step", "Step"], lambda: elbo.velocity_weight(7, 1.0)),
        (ValueError, ["step", "t must be above 1"], lambda: elbo.snr_weight(FIRST)),
        (ValueError, ["mean_square_error", "at least 0"], lambda: elbo.best_variance(STEP, -1.0)),
        (ValueError, ["noise_hat", "(2, 1)", "(2,)"], lambda: elbo.simple_loss(np.ones((2, 1)), np.ones(2))),
        (ValueError, ["noise_hat", "()", "(2,)"], lambda: elbo.simple_loss(1.0, np.ones(2))),
        (TypeError, ["one library"], lambda: elbo.simple_loss(np.ones(2), torch.ones(2))),
        (ValueError, ["simple (2,)", "bound (3,)"], lambda: elbo.hybrid_loss(np.ones(2), np.ones(3))),
        (ValueError, ["losses", "not all be 0"], lambda: elbo.importance_weights(np.zeros((2, 2)))),
        (ValueError, ["losses", "finite"], lambda: elbo.importance_weights([[1.0, math.nan]])),
        (ValueError, ["losses", "(T, history)"], lambda: elbo.importance_weights([1.0, 2.0])),
        (ValueError, ["snr_cap", "above 0", "0"], lambda: elbo.min_snr_weight(STEP, snr_cap=0.0)),
        (ValueError, ["predicts", "velocity", "'v'"], lambda: elbo.min_snr_weight(STEP, predicts="v")),
        (ValueError, ["alpha_bar", "above 0"], lambda: elbo.min_snr_weight(BLIND)),
        (TypeError, ["step", "Step"], lambda: elbo.two_noise_sample(1.0, 1.0, 1.0, 7)),
        (ValueError, ["noise_prev (2,)", "noise_t (3,)"], lambda: elbo.rotate_noise(np.ones(2), np.ones(3), STEP)),
        (ValueError, ["noise (2,)", "unseen (3,)"], lambda: elbo.two_noise_target(np.ones(2), np.ones(3), STEP)),
        (TypeError, ["step", "Step"], lambda: elbo.two_noise_constant(7, 1)),
        (ValueError, ["alpha", "above 0"], lambda: elbo.su_weight(BLIND, 1.0)),
        (ValueError, ["var", "above 0"], lambda: elbo.su_weight(STEP, 0.0)),
        (ValueError, ["square_errors", "T-1", "T = 3", "(3,)"], lambda: elbo.diffusion_loss(np.ones(3), THREE)),
        (ValueError, ["square_errors", "T-1", "()"], lambda: elbo.diffusion_loss(1.0, THREE)),
        (ValueError, ["square_errors", "at least 0", "nan"], lambda: elbo.diffusion_loss([1.0, math.nan], THREE)),
        (ValueError, ["snr_min", "snr_max"], lambda: elbo.diffusion_loss_continuous(math.exp, 2.0, 1.0)),
        (ValueError, ["snr_min", "0.0"], lambda: elbo.diffusion_loss_continuous(math.exp, 0.0, 1.0)),
        (ValueError, ["pixels (2,)", "uniform (3,)"], lambda: elbo.dequantize(np.ones(2), np.zeros(3), 256)),
        (ValueError, ["levels", "at least 2", "0"], lambda: elbo.dequantize(3.0, 0.5, 0)),
        (ValueError, ["dims", "at least 1", "0"], lambda: elbo.bits_per_dim(1.0, 0)),
        (ValueError, ["levels", "at least 2", "1"], lambda: elbo.bits_per_dim(1.0, 1, levels=1)),
        (ValueError, ["predicts", "'v'"], lambda: elbo.vlb_terms(keep, np.ones(2), THREE, GENERATOR, predicts="v")),
        (
            ValueError,
            ["variance", "'beta2'"],
            lambda: elbo.vlb_terms(keep, np.ones(2), THREE, GENERATOR, variance="beta2"),
        ),
        (ValueError, ["clip", "above 0", "-1"], lambda: elbo.vlb_terms(keep, np.ones(2), THREE, GENERATOR, clip=-1.0)),
        (TypeError, ["x_0", "floating", "int64"], lambda: elbo.vlb_terms(keep, np.array([1, 2]), THREE, GENERATOR)),
        (
            ValueError,
            ["shape (2,)", "(1, 2)"],
            lambda: elbo.vlb_terms(lambda x, t: x[None], np.ones(2), THREE, GENERATOR),
        ),
        (
            ValueError,
            ["variance", "beta", "one step", "T=1"],
            lambda: elbo.vlb_terms(keep, np.ones(2), Schedule([0.5]), GENERATOR, variance="posterior"),
        ),
    ],
)
def test_bad_input_is_refused_by_name(error, words, call):
    with refused(words, error):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("x", lambda bad: elbo.gaussian_log_prob(bad, 0.0, 1.0)),
        ("mean", lambda bad: elbo.gaussian_log_prob(0.0, bad, 1.0)),
        ("var", lambda bad: elbo.gaussian_log_prob(0.0, 0.0, bad)),
        ("mean_q", lambda bad: elbo.gaussian_kl(bad, 1.0, 0.0, 1.0)),
        ("bound", lambda bad: elbo.hybrid_loss(1.0, bad)),
        ("simple", lambda bad: elbo.hybrid_loss(bad, 1.0)),
        ("weight", lambda bad: elbo.hybrid_loss(1.0, 1.0, bad)),
        ("noise_hat", lambda bad: elbo.simple_loss(0.0, bad)),
        ("x_0", lambda bad: elbo.prior_matching(bad, STEP)),
        ("x_t", lambda bad: elbo.denoising_matching(bad, 0.0, 0.0, 1.0, STEP)),
        ("model_var", lambda bad: elbo.denoising_matching(0.0, 0.0, 0.0, bad, STEP)),
        ("x_0", lambda bad: elbo.decoder_log_prob(bad, 0.0, 1.0)),
        ("mean", lambda bad: elbo.decoder_log_prob(0.0, bad, 1.0)),
        ("mean_square_error", lambda bad: elbo.best_variance(STEP, bad)),
        ("p", lambda bad: elbo.information(bad)),
        ("pixels", lambda bad: elbo.dequantize(bad, 0.5, 256)),
        ("uniform", lambda bad: elbo.dequantize(1.0, bad, 256)),
    ],
)
def test_what_is_no_number_is_refused_in_every_library(name, call):
    for library, bad in itertools.product((np.asarray, torch.tensor, np.float32, float), NOT):
        with refused([f"{name} must", str(bad)]):
            call(library(bad))


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_nan_in_the_means_of_the_bound(library, bad):
    half = library([0.5, 0.5])
    for call in (
        lambda: elbo.elbo(library([0.0, bad]), library([0.0, 0.0]), half),
        lambda: elbo.elbo(library([0.0, 0.0]), library([0.0, bad]), half),
        lambda: elbo.vlb(library([0.0, bad]), library([0.0, 0.0]), half),
        lambda: elbo.elbo(library([0.0, 0.0]), library([0.0, 0.0]), library([1.0, bad])),
    ):
        with refused([str(bad)]):
            call()
    for call in (elbo.elbo, lambda log_p, log_q, weights: elbo.vlb(log_q, log_p, weights)):
        with refused(["log_q", "finite", "weights"]):  # nothing is drawn where q is 0
            call(library([0.0, 0.0]), library([0.0, -math.inf]), half)
        assert np.isinf(call(library([0.0, -math.inf]), library([0.0, 0.0]), half))


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["x (3,)", "mean (3, 1)"], lambda a, b: elbo.gaussian_log_prob(a, b, 1.0)),
        (["x (3, 1)", "var (3,)"], lambda a, b: elbo.gaussian_log_prob(b, 0.0, abs(a) + 1)),
        (["mean_q (3,)", "var_q (3, 1)"], lambda a, b: elbo.gaussian_kl(a, abs(b) + 1, 0.0, 1.0)),
        (["x_t (3,)", "x_0 (3, 1)"], lambda a, b: elbo.denoising_matching(a, b, 0.0, 1.0, STEP)),
        (["x_0 (3,)", "model_mean (3, 1)"], lambda a, b: elbo.denoising_matching(a, a, b, 1.0, STEP)),
        (["x_prev (3, 1)", "x_next (3,)"], lambda a, b: elbo.bridge(b, a, STEP, STEP)),
        (["x_prev (3, 1)", "x_next (3,)"], lambda a, b: elbo.consistency(b, a, STEP, STEP, best_model)),
        (["x_0 (3,)", "mean (3, 1)"], lambda a, b: elbo.decoder_log_prob(a, b, 1.0)),
        (["noise_hat", "(3,)", "(3, 1)"], lambda a, b: elbo.simple_loss(a, b)),
        (["simple (3,)", "bound (3, 1)"], lambda a, b: elbo.hybrid_loss(abs(a), b)),
        (["log_joint (3,)", "log_posterior (3, 1)"], lambda a, b: elbo.evidence(a, b)),
        (["x_0 (3, 1)", "noise_prev (3,)"], lambda a, b: elbo.two_noise_sample(b, a, a, STEP)),
        (["noise_prev (3,)", "noise_t (3, 1)"], lambda a, b: elbo.rotate_noise(a, b, STEP)),
        (["pixels (3,)", "uniform (3, 1)"], lambda a, b: elbo.dequantize(abs(a), abs(b) / 2, 256)),
        (["path", "(3,)", "T = 3"], lambda a, b: elbo.telescope(b, a, THREE)),
    ],
)
def test_nothing_broadcasts_in_silence(library, words, call):
    with refused(words):
        call(library([-0.4, 0.2, 0.6]), library([[0.1], [-0.3], [0.5]]))


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_pixels_that_were_not_scaled_are_refused(library):
    for pixels in (PIXELS, PIXELS.astype(np.float32)):
        given = library(pixels)
        with refused(["x_0", "[-1, 1]", "255"]):
            elbo.decoder_log_prob(given, 0.0, 1.0)
        with refused(["x_0", "[-1, 1]", "255"]):
            elbo.vlb_terms(keep, given, THREE, GENERATOR)
    with refused(["x_0", "floating", "uint8"], TypeError):
        elbo.vlb_terms(keep, library(BYTES), THREE, GENERATOR)
    assert elbo.vlb_terms(keep, library(PIXELS), THREE, GENERATOR, bins=None).shape == (4, 1)  # data with a density


def test_bytes_are_spread_like_numbers():
    expected = (2 * (BYTES.astype(float) + 0.5)) / 256 - 1
    assert_equal(elbo.dequantize(BYTES, 0.5, 256), expected)
    assert_equal(elbo.dequantize(BYTES, np.full(3, 0.5), 256), expected)
    np.testing.assert_allclose(elbo.dequantize(torch.from_numpy(BYTES), 0.5, 256), expected, rtol=1e-6)
