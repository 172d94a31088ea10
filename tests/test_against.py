"""Somebody else's functions in the place of the book's: which are refused, which are not, and what is said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import against, checker, cli, door, forward, posterior
from tinyddpm.equation import CHAPTERS, find

OTHERS = Path(__file__).parent / "others"


def outcomes(folder, chapter):
    found = against.load(OTHERS / folder / f"{chapter}.py")
    assert not found.others and len(found.functions) >= 10
    return {name: against.compare(name, function, name_slip=False) for name, function in found.functions.items()}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_right_functions_pass_however_they_are_written(chapter):
    wrong = {name: str(verdict) for name, verdict in outcomes("right", chapter).items() if verdict.outcome != "passes"}
    assert not wrong


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_wrong_functions_fail_with_an_example(chapter):
    for name, verdict in outcomes("wrong", chapter).items():
        assert verdict.outcome == "fails" and verdict.difference is not None, name


SLIPS = {
    "posterior.variance": "with the square root of the whole: a standard deviation in the place of a variance",
    "posterior.mean": "with alpha_bar in the place of alpha_bar of t - 1",
    "posterior.mean_from_score": "with a minus in the place of a plus",
    "forward.diffuse": "without the square root of var, in forward.reparameterize",
}


@pytest.mark.parametrize("name", SLIPS)
def test_the_slip_is_named(name):
    chapter = name.partition(".")[0]
    found = against.load(OTHERS / "wrong" / f"{chapter}.py").functions[name]
    assert against.compare(name, found).slip == SLIPS[name]


def test_the_counter_example_is_the_simplest_in_plain_numbers():
    def mean(x_t, x_0, step):
        return (
            np.sqrt(step.alpha_bar_prev) * step.beta * x_0 + step.alpha * step.noise_var_prev * x_t
        ) / step.noise_var

    said = str(against.compare("posterior.mean", mean))
    assert said.splitlines()[:4] == [
        "posterior.mean (2.7) fails",
        "  x_t       1",
        "  x_0       0",
        "  step      t = 2 of betas 0.1, 0.2, 0.3, 0.4, 0.5",
    ]
    assert "            beta 0.2, alpha 0.8, alpha_bar 0.72, alpha_bar_prev 0.9,\n            noise_var 0.28," in said
    assert max(map(len, said.splitlines())) <= 80
    assert "Traceback" not in said and said.endswith("without the square root of alpha.")


def test_right_code_whose_terms_cancel_at_t_1_passes():
    def variance(step):
        return step.beta - step.beta**2 * step.alpha_bar_prev / step.noise_var

    def mean(x_t, x_0, step):
        noise = x_t - np.sqrt(step.alpha_bar) * x_0
        return (x_t - step.beta / (1 - step.alpha_bar) * noise) / np.sqrt(step.alpha)

    for name, function in {"posterior.variance": variance, "posterior.mean": mean}.items():
        assert against.compare(name, function).outcome == "passes"
        assert against.compare(name, lambda f=function, **given: f(**given) + 1e-12).outcome == "fails"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x_t, x_0, step: None, "it gives None: is there a return?"),
        (lambda x_t, x_0, step: [1.0], "it gives a list; a number is asked for"),
        (lambda x_t, x_0, step: "0.5", "it gives a str; a number is asked for"),
        (lambda x_t, x_0, step: np.zeros(3), "it gives an array of shape (3,); a single number is asked for"),
        (lambda x_t, x_0, step: 1 / 0, "it raises ZeroDivisionError: division by zero (line"),
        (lambda x_t, x_0: x_t, "takes (x_t, x_0); the book's takes (x_t, x_0, step)"),
    ],
)
def test_shape_and_type_come_first(function, said):
    verdict = against.compare("posterior.mean", function)
    assert verdict.outcome == "fails" and said in str(verdict) and "expected" not in str(verdict)


def test_what_changes_its_arguments_is_refused():
    def mean(x_t, x_0, step):
        if isinstance(x_t, np.ndarray):
            x_t *= 1.5
            return posterior.mean(x_t / 1.5, x_0, step)
        return posterior.mean(x_t, x_0, step)

    assert "changes its argument x_t in place" in str(against.compare("posterior.mean", mean))


def test_what_is_not_written_yet_has_not_failed():
    def mean(x_t, x_0, step):
        raise NotImplementedError

    verdict = against.compare("posterior.mean", mean)
    assert verdict.outcome == "is not attempted" and verdict.good


def test_a_function_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(against, "SECONDS", 0.1)

    def mean(x_t, x_0, step):
        while True:
            pass

    assert "takes longer than 0.1 s" in str(against.compare("posterior.mean", mean))


# Loading. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("posterior.py", "def mean(x_t, x_0, step): ...\ndef helper(): ...", ["posterior.mean"]),
        ("mine.py", "def bayes(prior, likelihood): ...", ["posterior.bayes"]),
        ("mine.py", "def posterior_mean(x_t, x_0, step): ...", ["posterior.mean"]),
        ("mine.py", "def f(a, b, c): ...\nEQUATIONS = {'posterior.mean': f}", ["posterior.mean"]),
        ("posterior.py", "from tinyddpm.posterior import variance\ndef mean(x_t, x_0, step): ...", ["posterior.mean"]),
    ],
)
def test_functions_are_found_by_their_names(name, content, names, tmp_path):
    (tmp_path / name).write_text(content)
    assert [*against.load(tmp_path / name).functions] == names


def test_a_folder_and_a_module(tmp_path, monkeypatch):
    (tmp_path / "posterior.py").write_text("from helpers import double\ndef variance(step): return double(1.0)")
    (tmp_path / "helpers.py").write_text("def double(x): return 2 * x")
    assert [*against.load(tmp_path).functions] == ["posterior.variance"]
    (tmp_path / "elsewhere.py").write_text("def bayes(prior, likelihood): ...")
    monkeypatch.syspath_prepend(tmp_path)
    assert [*against.load("elsewhere").functions] == ["posterior.bayes"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.py", "def score(x): ...\ndef langevin_score(x): ...", "langevin.score is defined twice"),
        (
            "posterior.py",
            "def mine(x): ...",
            "defines no function that is called like an equation of the book; it defines mine",
        ),
        ("posterior.py", "def mean(x:", "cannot be imported: SyntaxError"),
        (
            "posterior.py",
            "import nothing_of_this_name",
            "ModuleNotFoundError: No module named 'nothing_of_this_name' (line 1)",
        ),
        ("posterior.py", "import sys; sys.exit(0)", "cannot be imported: SystemExit: 0 (line 1)"),
        (
            "mine.py",
            "EQUATIONS = {'posterior.men': abs}",
            "equation 'posterior.men' is unknown; nearest: posterior.mean",
        ),
        ("mine.py", "EQUATIONS = 3", "EQUATIONS must be a dictionary"),
    ],
)
def test_what_cannot_be_loaded_says_why(name, content, said, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(against.CannotLoad) as problem:
        against.load(tmp_path / name)
    assert said in str(problem.value)


@pytest.mark.parametrize("path", ["nowhere.py", "no_such_module", "."])
def test_a_path_that_is_nothing(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", path]) == 2
    assert capsys.readouterr().err.startswith("tinyddpm: ")


# In the checks. ------------------------------------------------------------------------------------------------------

STEP = forward.Schedule([0.1, 0.2, 0.3])[2]


def test_only_a_test_meets_the_function_in_the_place_of_the_book_s():
    right = posterior.posterior(1.0, 0.5, STEP)
    with door.replacing(against.substitutes({"posterior.mean": lambda x_t, x_0, step: 0.0})):
        assert posterior.mean(1.0, 0.5, STEP) == 0.0
        assert posterior.posterior(1.0, 0.5, STEP) == right  # which calls the mean of the book
    assert posterior.mean(1.0, 0.5, STEP) == right.mean


def test_the_door_of_the_book_stays():
    mine = against.substitutes({"posterior.mean": lambda x_t, x_0, step: 0.0})
    with door.replacing(mine), pytest.raises(ValueError, match="x_t must be finite"):
        posterior.mean(np.nan, 0.5, STEP)


def test_what_needs_more_than_plain_numbers_is_not_asked():
    import sympy
    import torch

    (mine,) = against.substitutes({"posterior.mean": plain}).values()
    ended = forward.Schedule([0.1, 1.0])[2]
    for x, step in ((torch.ones(2), STEP), (sympy.Symbol("x"), STEP), (1.0, ended)):
        assert np.all(np.asarray(mine(x, x, step) == posterior.mean(x, x, step)))
    assert mine.asked == 0 and mine(1.0, 1.0, STEP) == 0.0 and mine.asked == 1


def plain(x_t, x_0, step):
    return 0.0


def test_results_come_in_the_precision_of_the_arguments():
    mine = against.substitutes({"posterior.posterior": lambda x_t, x_0, step: [x_t * np.float64(0.5), np.float64(1)]})
    x = np.ones(2, np.float32)
    found = mine["posterior.posterior"](x, x, STEP)
    assert isinstance(found, forward.Gaussian) and found.mean.dtype == np.float32 and found.var == 1


def test_arguments_by_name_or_by_position():
    by_name = against.adapted(find("posterior.mean"), lambda step, x_0, x_t: (step, x_0, x_t))
    assert by_name(1.0, 2.0, 3.0) == (3.0, 2.0, 1.0)
    by_place = against.adapted(find("posterior.mean"), lambda a, b, c: (a, b, c))
    assert by_place(1.0, 2.0, step=3.0) == (1.0, 2.0, 3.0)
    with pytest.raises(against.NotPossible, match="takes"):
        against.adapted(find("posterior.mean"), lambda x_t: x_t)


def test_check_says_all_of_it_and_ends_with_1(tmp_path, capsys, monkeypatch):
    file = tmp_path / "posterior.py"
    file.write_text(
        "import numpy as np\n"
        "def variance(step):\n    return np.sqrt(step.beta * step.noise_var_prev / step.noise_var)\n"
        "def mean(x_t, x_0, step):\n    raise NotImplementedError\n"
        "def helper():\n    pass\n"
    )
    asked = []

    def quickly(arguments, plugin):
        asked.append(arguments)
        plugin.asked = {"posterior.variance": {"failed": ["completing the square"], "passed": ["another"]}}
        return 1

    monkeypatch.setattr(checker, "quickly", quickly)
    assert cli.main(["check", str(file)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "posterior.variance (2.6) fails" in said and "posterior.mean (2.7) is not attempted" in said
    assert "not named like an equation, left aside: helper" in said
    assert "2 checks of the book called it; it failed: completing the square." in said
    assert asked == [["--against", str(file)]]


def test_options_of_pytest_from_outside_do_not_count(monkeypatch):
    seen = []
    monkeypatch.setenv("PYTEST_ADDOPTS", "--equation-report=report.json")
    monkeypatch.setattr(checker.pytest, "main", lambda *_, **__: seen.append(os.environ.get("PYTEST_ADDOPTS")) or 0)
    assert checker.quickly([], object()) == 0 and seen == [None]
    assert os.environ["PYTEST_ADDOPTS"] == "--equation-report=report.json"


PAGE = Path(__file__).parent.parent / "docs" / "check.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_page_shows_what_the_command_prints(tmp_path):
    """The whole way, as a reader goes it: a file, the command, its answer."""
    page = PAGE.read_text("utf-8")
    code, said = (
        re.search(pattern, page, re.DOTALL)[1]
        for pattern in (r"```python\n(.*?)```", r"<!-- record: check_posterior -->\n+```text\n(.*?)```")
    )
    (tmp_path / "posterior.py").write_text(code)
    command = [sys.executable, "-m", "tinyddpm", "check", "posterior.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, said, "")
