"""Differences between what was measured several times, against textbook formulas and against chance itself."""

import math

import numpy as np
import pytest
from scipy import stats

from tinyddpm.checker import assert_equal
from tinyddpm.experiments.differences import Difference, corrected, differences, equal_spread, found


def rows_of(logs):
    return {str(name): dict(enumerate(np.exp(row).tolist())) for name, row in enumerate(logs)}


def test_two_rows_are_a_paired_t_test():
    logs = np.random.default_rng(0).standard_normal((2, 6))
    made = differences(rows_of(logs), {"a": ("0", "1")})["a"]
    expected = stats.ttest_rel(*logs)
    low, high = expected.confidence_interval(0.95)
    assert_equal(
        np.array(made[:4]), np.array([np.exp((logs[0] - logs[1]).mean()), np.exp(low), np.exp(high), expected.pvalue])
    )
    assert made.df == 5 and made.holm == made.p


def test_many_rows_are_a_randomised_block_design():
    """By the sums of squares of a textbook's analysis of variance."""
    logs = np.random.default_rng(1).standard_normal((4, 3)) + 5 * np.arange(3)
    made = differences(rows_of(logs), {"a": ("2", "0")})["a"]
    rest = logs - logs.mean(1, keepdims=True) - logs.mean(0) + logs.mean()
    t = (logs[2] - logs[0]).mean() / math.sqrt((rest**2).sum() / 6 * 2 / 3)
    assert made.df == 6
    assert_equal(np.float64(made.p), 2 * stats.t.sf(abs(t), 6), rtol=1e-8)


def test_a_cell_that_is_missing_is_left_out():
    """Three rows in two blocks, of which one is in the first only, against least squares with dummies by hand."""
    rows = rows_of([[0.1, 0.4], [0.7, 1.3], [2.0, 9.0]])
    del rows["2"][1]
    made = differences(rows, {"a": ("2", "0"), "b": ("1", "0")})
    assert made["a"].df == made["b"].df == 1
    assert_equal(math.log(made["b"].ratio), (0.6 + 0.9) / 2)
    block = (0.3 + 0.6) / 2  # the second block against the first, from the two whole rows
    assert_equal(math.log(made["a"].ratio), 2.0 - (0.1 + 0.4 - block) / 2)


def test_what_cannot_be_compared_is_left_out():
    rows = {"a": {0: 1.0}, "b": {1: 2.0}, "c": {0: 4.0}, "d": {}}
    made = differences(rows, {"ab": ("a", "b"), "ca": ("c", "a"), "da": ("d", "a"), "ea": ("e", "a")})
    assert [*made] == ["ca"] and made["ca"].ratio == pytest.approx(4)
    assert all(math.isnan(number) for number in made["ca"][1:5]) and made["ca"].df == 0
    assert str(made["ca"]) == "4.00" and not made["ca"].sure
    assert differences({}, {"a": ("a", "b")}) == {} and found({}) == (0, 0, 0)


def test_holm_by_hand():
    """0.01, 0.02, 0.03 and 0.5 of four: times 4, 3, 2 and 1, never falling."""
    p = {"a": 0.03, "b": 0.01, "c": 0.5, "d": 0.02, "e": math.nan}
    made = corrected({name: Difference(1.0, 1.0, 1.0, each, math.nan, 3) for name, each in p.items()})
    assert [round(made[name].holm, 12) for name in "bdac"] == [0.04, 0.06, 0.06, 0.5] and math.isnan(made["e"].holm)
    assert found(made) == (4, 1, 3)  # Benjamini and Hochberg: 0.01, 0.02, 0.03 lie below 1, 2, 3 quarters of 0.05


def test_of_twenty_changes_that_change_nothing_one_is_called_significant_in_a_twentieth_of_the_cases():
    """The family-wise error in 400 experiments: at most 5 %, but for chance; uncorrected it is ten times as much."""
    rng, wrong, uncorrected = np.random.default_rng(0), 0, 0
    pairs = {str(name): (str(name), "0") for name in range(1, 21)}
    for _ in range(400):
        made = differences(rows_of(0.06 * rng.standard_normal((21, 3))), pairs).values()
        wrong += any(each.sure for each in made)
        uncorrected += any(each.p < 0.05 for each in made)
    assert wrong <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95) and uncorrected > 120


def test_the_spread_and_whether_it_is_equal():
    rng = np.random.default_rng(0)
    alike, unlike = rng.standard_normal((30, 4)), rng.standard_normal((30, 4)) * np.geomspace(0.01, 10, 30)[:, None]
    spread, p = equal_spread(rows_of(0.1 * alike))
    assert spread == pytest.approx(0.1, rel=0.2) and p > 0.05
    assert equal_spread(rows_of(unlike))[1] < 1e-6
    shifted = equal_spread(rows_of(0.1 * alike + 3 * np.arange(4)))  # what all rows share does not count
    assert_equal(np.array(shifted), np.array([spread, p]), rtol=1e-8)
    assert all(map(math.isnan, equal_spread({"a": {0: 1.0}})))
