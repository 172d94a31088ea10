"""The checker: what it counts, what it compares, and that it can fail."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

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
    with pytest.raises(ValueError, match="schedule is not a registered equation"):
        checks(forward.schedule)


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
    result = pytester.runpytest_inprocess("-p", "tinyddpm.checker", *arguments)  # another process imports for seconds
    return result, result.stdout.str()


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
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
        test_concerned="""
            import pytest

            @pytest.mark.parametrize("name", [
                pytest.param(name, marks=pytest.mark.concerns(f"forward.{name}")) for name in ("snr", "log_snr")
            ])
            def test_concerned(name):
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
    result.assert_outcomes(passed=4, deselected=3)


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


WRONG_CONCERN = """
    @pytest.mark.concerns("forward.snr")
    def test_its_door():
        assert False
"""


def test_what_concerns_an_equation_can_fail_it_but_is_no_check(pytester):
    result, text = run(pytester, GOOD + WRONG_CONCERN, "--equation", "forward.snr", "--equation-report", "report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert json.loads((pytester.path / "report.json").read_text())["equations"]["forward.snr"]["status"] == "failed"
    alone = GOOD.replace("@checks(forward.snr, forward.log_snr)", '@pytest.mark.concerns("forward.snr")')
    result, text = run(pytester, alone, "--equation", "forward.snr")
    assert result.ret == pytest.ExitCode.TESTS_FAILED and "no check: forward.snr" in text


def test_an_equation_without_any_test_is_no_success(pytester):
    result, text = run(pytester, GOOD, "--equation", "posterior.mean")
    assert result.ret == pytest.ExitCode.TESTS_FAILED and "no check: posterior.mean" in text


PASSES = (
    GOOD
    + """
    @checks(*[known.function for known in __import__("tinyddpm").equations()])
    def test_all():
        pass

    @pytest.mark.parametrize("known", [
        pytest.param(known, marks=pytest.mark.proves(known.name)) for known in __import__("tinyddpm").equations()
    ])
    def test_all_proved(known):
        pass
"""
)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], ""),
        (["."], ""),
        (["-k", "ratio"], "-k was given"),
        (["-m", "checks"], "-m was given"),
        (["--deselect", "test_it.py::test_all"], "--deselect was given"),
        (["test_it.py"], "single files or tests were named"),
        (["test_it.py::test_all"], "single files or tests were named"),
        (["--ignore", "other"], "--ignore was given"),
        (["--stepwise"], "--stepwise was given"),
        (["--lf"], "--lf was given"),
        (["--collect-only"], "--collect-only was given"),
        (["--equation", "forward.snr"], "--equation picks"),
        (["part"], "not all folders of tests were named"),
    ],
)
def test_why_a_run_is_partial(pytester, monkeypatch, arguments, why):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(test_it="")
    pytester.mkdir("part")
    pytester.makeini("[pytest]\ntestpaths = .")
    config = pytester.parseconfig("-p", "tinyddpm.checker", *arguments)
    session = SimpleNamespace(shouldstop=False, shouldfail=False, testscollected=0)
    assert checker._Ledger(config)._partial(session) == why
    stopped = SimpleNamespace(shouldstop=False, shouldfail="stopping after 1 failures", testscollected=0)
    assert checker._Ledger(config)._partial(stopped) == (why or "stopping after 1 failures")
    cut = SimpleNamespace(shouldstop=False, shouldfail=False, testscollected=7)
    assert checker._Ledger(config)._partial(cut) == (why or "only 0 of 7 tests were run")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_partial_run_says_why_and_is_not_failed_for_missing_checks(pytester, workers):
    pytester.makeconftest("""
        def pytest_collection_modifyitems(config, items):
            config.hook.pytest_deselected(items=[items.pop()])
    """)
    result, text = run(pytester, GOOD, *workers)
    assert result.ret == pytest.ExitCode.OK, text
    assert "a partial run, since some tests were left out: equations without a check are not counted" in text
    assert "no check" not in text


def test_a_partial_run_renews_only_what_it_ran(pytester):
    result, text = run(pytester, PASSES, "--equation-report", "report.json")
    assert result.ret == pytest.ExitCode.OK and "a partial run" not in text
    whole = json.loads((pytester.path / "report.json").read_text())
    assert whole["summary"]["checked"] == len(equations()) and whole["partial"] == ""
    broken = PASSES.replace("step.alpha_bar / (1 - step.alpha_bar)", "step.alpha_bar")
    result, _ = run(pytester, broken, "--equation", "forward.snr", "--equation-report", "report.json")
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["partial"] == "--equation picks"
    assert report["equations"]["forward.snr"]["status"] == "failed"
    assert report["equations"]["posterior.mean"] == whole["equations"]["posterior.mean"]
    assert report["summary"]["checked"] == len(equations()) - 2  # log_snr shares the broken test


def test_a_comparison_fails_where_asserts_are_switched_off():
    code = "import tinyddpm.posterior; from tinyddpm.checker import assert_equal; assert_equal(0.9956, 42.0)"
    for flags in (["-O"], ["-OO"]):  # with the second, docstrings are gone too
        done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1 and "0.9956, expected 42.0" in done.stderr.replace("np.float64(", "").replace(
            ")", ""
        )


# With somebody else's functions. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (
            "step.alpha_bar / (1 - step.alpha_bar)",
            0,
            "forward.snr (1.23) passes\n  1 check of the book called it, and it passed.",
        ),
        ("step.alpha_bar * step.noise_var", 1, "1 check of the book called it; it failed: ratio."),
    ],
)
def test_a_run_against_a_file(pytester, body, code, said):
    path = pytester.makepyfile(forward=f"def snr(step):\n    return {body}\n")
    result, out = run(pytester, GOOD, "--against", str(path), "--tb=no")
    assert result.ret == code and said in out and "against" in out
    result.assert_outcomes(passed=1 - code, failed=code, deselected=2)


def test_a_function_that_no_check_calls_is_compared_all_the_same(pytester):
    path = pytester.makepyfile(
        posterior="def variance(step):\n    return step.beta * step.noise_var_prev / step.noise_var\n"
    )
    result, out = run(pytester, GOOD, "--against", str(path))
    assert result.ret == 0 and "posterior.variance (2.6) passes\n  No check of the book calls it" in out


@pytest.mark.parametrize(("report", "said"), [(None, "defines no function"), ("report.json", "leave it out")])
def test_a_run_against_what_cannot_be_loaded(report, said, tmp_path):
    path = tmp_path / "forward.py"
    path.write_text("def snr(step):\n    return 1.0\n" if report else "def other():\n    pass\n")
    options = {"equation": [], "against": str(path), "equation_report": report}
    config = SimpleNamespace(stash=pytest.Stash(), getoption=options.get, addinivalue_line=lambda *_: None)
    with pytest.raises(pytest.exit.Exception, match=said) as problem:
        checker.pytest_configure(config)
    assert problem.value.returncode == 2
