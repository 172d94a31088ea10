"""The checker: what it counts, what it compares, and that it can fail."""

import json
import math

import numpy as np
import pytest
import scipy.special  # noqa: F401  (a compiled module loads once only, and the inner runs would each load it again)
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyddpm import checker, equations, forward
from tinyddpm.checker import assert_equal, checks


@pytest.mark.parametrize(
    ("words", "actual", "expected"),
    [
        ("residual", 1.0, 1.0 + 1e-9),
        ("[1]", np.array([1.0, 2.0]), np.array([1.0, 2.1])),
        ("nan", math.nan, math.nan),
        ("nan", np.array([1.0, math.nan]), np.array([1.0, math.nan])),
        ("inf", math.inf, -math.inf),
        ("inf", math.inf, 1.0),
        ("shape (1,), expected ()", np.array([1.0]), 1.0),
        ("shape (2, 1), expected (2,)", np.ones((2, 1)), np.ones(2)),
        ("float32, expected numpy.float64", np.float32(1), 1.0),
        ("torch.float64, expected numpy.float64", torch.tensor(1.0, dtype=torch.float64), 1.0),
        ("torch.float32, expected torch.float64", torch.tensor(1.0), torch.tensor(1.0, dtype=torch.float64)),
        ("1 values, expected 2", (1.0,), (1.0, 2.0)),
        ("expected 2", forward.Gaussian(1.0, 1.0), forward.Gaussian(1.0, 2.0)),
        ("int64, expected numpy.float64", 1, 1.0),
    ],
)
def test_what_is_not_equal(words, actual, expected):
    with pytest.raises(AssertionError) as problem:
        assert_equal(actual, expected)
    assert words in str(problem.value).replace("np.float64(", "").replace(")", ")")


def test_what_is_equal(monkeypatch):
    monkeypatch.setattr(checker, "_record", checker._Record())
    assert_equal(1.0, np.float64(1.0 + 1e-12))
    assert_equal(math.inf, math.inf)
    assert_equal(np.zeros(0), np.zeros(0))
    assert_equal(torch.ones(2, requires_grad=True), torch.ones(2))
    assert checker._record.residual == pytest.approx(1e-12, rel=1e-3)
    assert_equal(1e-12, 0.0, atol=1e-11)
    assert_equal(forward.Gaussian(1.0, 2.0), (1.0, 2.0))


def test_examples_are_counted(monkeypatch):
    monkeypatch.setattr(checker, "_record", checker._Record())

    @checks(forward.snr)
    @given(st.integers(0, 3))
    def property_test(x):
        pass

    property_test()
    assert checker._record.examples == 4
    assert [mark.args for mark in property_test.pytestmark] == [("forward.snr",)]


def test_only_equations_can_be_checked():
    with pytest.raises(ValueError, match="check_operands is not a registered equation"):
        checks(forward.check_operands)


# Runs of pytest inside pytest. ---------------------------------------------------------------------------------------

GOOD = """
    import pytest
    from hypothesis import given, settings, strategies as st
    from tinyddpm import forward
    from tinyddpm.checker import assert_equal, checks

    @checks(forward.snr, forward.log_snr)
    @settings(max_examples=7, derandomize=True, database=None)
    @given(st.integers(1, 1000))
    def test_ratio(t):
        step = forward.linear()[t]
        assert_equal(forward.snr(step), step.alpha_bar / (1 - step.alpha_bar), rtol=1e-9)

    @pytest.mark.proves("forward.snr")
    def test_proof():
        pass

    @pytest.mark.unproved("forward.linear", "it is made up")
    def test_excuse():
        pass
"""
WRONG = """
    @checks(forward.velocity)
    def test_wrong():
        assert_equal(1.0, 2.0)
"""


def run(pytester, text, *arguments):
    pytester.makepyfile(test_it=text)
    result = pytester.runpytest_subprocess("-p", "tinyddpm.checker", *arguments)
    return result, result.stdout.str()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_whole_run_counts_and_fails_on_an_unchecked_equation(pytester, workers):
    result, text = run(pytester, GOOD + WRONG.replace("2.0", "1.0"), "--equation-report", "report.json", *workers)
    total = len(equations())
    assert f"{total} equations, 3 checked, 1 proved; 2 tests, 8 examples, largest residual" in text
    assert "not proved, since it is made up (1): forward.linear" in text
    assert "no check: " in text and "posterior.mean" in text and "neither proved nor explained: " in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=4)
    report = json.loads((pytester.path / "report.json").read_text())
    snr = report["equations"]["forward.snr"]
    assert (snr["status"], snr["examples"], snr["number"]) == ("proved", 7, "1.23")
    assert snr["residual"] < 1e-9
    assert snr["tests"][0]["id"].endswith("test_it.py::test_ratio") and snr["tests"][0]["line"] == 6
    assert report["equations"]["forward.log_snr"]["status"] == "checked"
    assert report["equations"]["posterior.mean"]["status"] == "unchecked"
    assert report["equations"]["forward.linear"]["unproved_reason"] == "it is made up"
    assert report["summary"]["checked"] == 3


def test_one_equation_is_picked_by_name(pytester):
    result, text = run(pytester, GOOD + WRONG, "--equation", "forward.log_snr")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=3)
    assert "forward.log_snr (1.24): checked; 1 tests, 7 examples, largest residual" in text


def test_a_file_without_the_equation_is_not_imported(pytester):
    pytester.makepyfile(
        test_other="""
            from tinyddpm import posterior
            from tinyddpm.checker import checks

            @checks(posterior.mean, posterior.variance)
            def test_other():
                pass

            raise RuntimeError("imported")
        """,
        test_hidden="""
            from tinyddpm import forward as f
            from tinyddpm.checker import checks

            some = [f.log_snr]

            @checks(*some)
            def test_hidden():
                pass
        """,
        test_renamed="""
            from tinyddpm import forward as f
            from tinyddpm.checker import checks

            @checks(f.log_snr)
            def test_renamed():
                pass
        """,
    )
    result, _ = run(pytester, GOOD, "--equation", "forward.log_snr")
    result.assert_outcomes(passed=3, deselected=2)


def test_a_failed_check_is_a_failed_equation(pytester):
    result, _ = run(pytester, GOOD + WRONG, "test_it.py", "--equation-report", "report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["equations"]["forward.velocity"]["status"] == "failed"
    assert report["summary"]["checked"] == 2


def test_an_unknown_equation_is_refused(pytester):
    result, _ = run(pytester, GOOD, "--equation", "forward.snt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "equation 'forward.snt' is unknown; nearest: forward.snr" in result.stderr.str()
