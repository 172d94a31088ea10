"""The measures of quality against known distances."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize

from tinyddpm import train
from tinyddpm.checker import assert_equal, checks

from .strategies import numbers


def sets(seed, n=12, m=9, dims=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dims)) @ rng.standard_normal((dims, dims)), 2 * rng.standard_normal((m, dims)) + 1


@checks(train.frechet_distance)
@pytest.mark.careful
@settings(max_examples=40)
@given(seed=st.integers(0, 999), dims=st.integers(2, 4), n=st.integers(2, 9), m=st.integers(2, 9))
def test_the_frechet_distance_by_the_root_of_a_matrix(seed, dims, n, m):
    """The trace of the root is the sum of the roots of the eigenvalues; found here at thirty digits."""
    real, fake = sets(seed, n, m, dims)
    with mpmath.workdps(30):
        means = [[mpmath.fsum(column) / len(x) for column in x.T] for x in (real, fake)]
        covs = []
        for x, mean in zip((real, fake), means, strict=True):
            centred = mpmath.matrix([[value - middle for value, middle in zip(row, mean, strict=True)] for row in x])
            covs.append(centred.T * centred / (len(x) - 1))
        traces = [mpmath.fsum(cov[i, i] for i in range(dims)) for cov in covs]
        roots = [mpmath.sqrt(max(0, mpmath.re(value))) for value in mpmath.eig(covs[0] * covs[1], right=False)]
        apart = mpmath.fsum((a - b) ** 2 for a, b in zip(*means, strict=True))
        expected = (apart + sum(traces) - 2 * mpmath.fsum(roots)) / traces[0]
    assert_equal(train.frechet_distance(real, fake), float(expected), rtol=1e-6, atol=1e-6)  # roots of what is nearly 0


@checks(train.frechet_distance)
@given(seed=st.integers(0, 999), dims=st.integers(1, 6), n=st.integers(30, 60), m=st.integers(30, 60))
def test_the_frechet_distance_as_others_compute_it(seed, dims, n, m):
    """SciPy's root of the product, which is exact where both covariances are far from singular."""
    real, fake = sets(seed, n, m, dims)
    real = real + 0.5 * np.random.default_rng(seed + 1).standard_normal(real.shape)
    covs = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, fake)]
    apart = real.mean(0) - fake.mean(0)
    traces = np.trace(covs[0] + covs[1] - 2 * linalg.sqrtm(covs[0] @ covs[1]).real)
    assert_equal(train.frechet_distance(real, fake), float((apart @ apart + traces) / np.trace(covs[0])))


@checks(train.frechet_distance)
@pytest.mark.careful
def test_the_frechet_distance_where_it_is_known():
    real, _ = sets(0, n=50)
    total = np.var(real, axis=0, ddof=1).sum()
    assert abs(train.frechet_distance(real, real)) < 1e-12
    shift = np.array([1.0, -2.0, 3.0])
    assert_equal(train.frechet_distance(real, real + shift), 14 / total)
    centre = real.mean(0)
    assert_equal(train.frechet_distance(real, centre + 3 * (real - centre)), 4.0)  # (3 - 1)^2 of the total variance
    flat = real * [1, 1, 0]
    assert_equal(train.frechet_distance(flat, flat + shift), 14 / np.var(flat, axis=0, ddof=1).sum())


@checks(train.sliced_wasserstein)
@given(seed=st.integers(0, 999), n=st.integers(2, 8), dims=st.integers(1, 4))
def test_the_sliced_distance_by_the_best_pairs(seed, n, dims):
    """What sorting does, found by trying all ways to pair the points up."""
    a, b = sets(seed, n, n, dims)
    directions = np.random.default_rng(seed).standard_normal((5, dims))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    squares = []
    for u in directions:
        cost = (np.subtract.outer(a @ u, b @ u)) ** 2
        squares.append(cost[optimize.linear_sum_assignment(cost)].mean())
    assert_equal(train.sliced_wasserstein(a, b, directions), np.mean(squares) ** 0.5)


@checks(train.sliced_wasserstein)
@pytest.mark.careful
@given(shift=st.tuples(numbers(), numbers()), n=st.integers(2, 20))
def test_the_sliced_distance_of_a_shift(shift, n):
    a, _ = sets(1, n, n, 2)
    expected = math.hypot(*shift) / 2**0.5  # from an average side, half of the square is seen
    assert_equal(train.sliced_wasserstein(a, a[::-1] + shift), expected, rtol=1e-9, atol=1e-12)
    assert_equal(train.sliced_wasserstein(a[:, :1], a[:, :1] + shift[0]), abs(shift[0]), rtol=1e-9, atol=1e-12)


@checks(train.nearest_neighbours)
@given(seed=st.integers(0, 999), n=st.integers(2, 9), m=st.integers(2, 9))
def test_the_nearest_neighbours_one_by_one(seed, n, m):
    train_set, held_out = sets(seed, n, m)
    samples = sets(seed + 1, m + 1, 2)[0]

    def median(points):
        nearest = sorted(min(math.dist(point, known) for known in train_set) for point in points)
        return (nearest[(len(nearest) - 1) // 2] + nearest[len(nearest) // 2]) / 2

    expected = median(samples) / median(held_out)
    shaped = [x.reshape(len(x), 1, 3) for x in (samples, train_set, held_out)]
    assert_equal(train.nearest_neighbours(*shaped), expected, rtol=1e-9)
    assert train.nearest_neighbours(train_set, train_set, held_out) < 1e-6  # scikit-learn subtracts squares


@checks(train.nearest_neighbours)
@settings(max_examples=20)
@given(copies=st.integers(0, 9), shape=st.sampled_from([(3,), (1, 4, 5)]), seed=st.integers(0, 99))
def test_copies_are_neighbours_at_no_distance(copies, shape, seed):
    """Some of nine samples are copies: they count as 0, so the median falls until there are five of them."""
    rng = np.random.default_rng(seed)
    known, held_out, samples = (rng.standard_normal((n, *shape)) for n in (12, 6, 9))
    samples[:copies] = known[-copies:] if copies else samples[:0]
    samples = samples[rng.permutation(9)]

    def nearest(points):
        return [min(np.linalg.norm(point - other) for other in known) for point in points]

    assert sum(far == 0 for far in nearest(samples)) == copies
    expected = float(np.median(nearest(samples)) / np.median(nearest(held_out)))
    found = train.nearest_neighbours(samples, known, held_out)
    assert_equal(found, expected, rtol=1e-9, atol=1e-6 * (copies >= 5))  # scikit-learn subtracts squares
    assert (found < 1e-6) == (copies >= 5)


def test_measures_refuse_what_they_cannot_compare():
    x = np.ones((3, 2))
    for measure, sets_of, said in (
        (train.frechet_distance, (x * np.nan, x), "real must be finite, got"),
        (train.frechet_distance, (x, x[:1]), "real and fake must be at least two samples each"),
        (
            train.frechet_distance,
            (x, x[:, :1]),
            r"fake must have the shape \(m, features\) with features = 2, got \(3, 1\)",
        ),
        (train.frechet_distance, (x, x), "real must have more than one value"),
        (train.sliced_wasserstein, (x, x[:2]), r"fake must have the shape \(n, d\) with n = 3, d = 2, got \(2, 2\)"),
        (train.sliced_wasserstein, (np.ones((3, 4)), np.ones((3, 4))), "directions must be given as vectors in 4"),
        (train.nearest_neighbours, (x, x, x), "held_out must not be in train"),
    ):
        with pytest.raises(ValueError, match=said):
            measure(*sets_of)
