"""The classroom: what the command does, and what it never does."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tinyddpm
from tinyddpm import cli
from tinyddpm.equation import CHAPTERS
from tinyddpm.exercises import classroom
from tinyddpm.exercises.classroom import KINDS, command, exercise, exercises, grader, judges
from tinyddpm.exercises.classroom.notebook import INSTALL, text

from .test_hostile import MEAN, RIGHT

ALL = [each.name for each in exercises()]
POSTERIOR = [each for each in exercises() if each.chapter == "posterior"]

PAGE = Path(__file__).parent.parent / "docs" / "classroom.md"

DONE = f"import numpy as np\ndef variance(step):\n    return {RIGHT}\ndef mean(x_t, x_0, step):\n    return {MEAN}\n"
WRONG = DONE.replace("step.beta * step.noise_var_prev /", "np.sqrt(step.beta) * step.noise_var_prev /")
ONLY = ["--only", "posterior.variance", "posterior.mean"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ask(capsys):
    """Runs `tinyddpm exercises`; gives the exit code and what it prints."""

    def run(*words):
        code = cli.main(["exercises", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


# What is declared. ---------------------------------------------------------------------------------------------------


def test_every_exercise_can_be_asked():
    assert len(ALL) == len(set(ALL))
    for each in exercises():
        assert each.kind in KINDS and each.chapter in CHAPTERS and 1 <= each.minutes <= 120, each.name
        assert len(each.hints) == 3 and all(each.hints) and each.title and each.statement, each.name
        assert all(need in ALL and ALL.index(need) < ALL.index(each.name) for need in each.needs), each.name
        compile(each.starter, each.name, "exec")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "essay"}, "kind of posterior.new must be one of implement, "),
        ({"judge": None}, "posterior.new must be compared with a function or judged"),
        ({"name": "posterior.mean"}, "exercise posterior.mean is there already"),
    ],
)
def test_a_wrong_declaration_is_refused(change, said):
    fields = {"name": "posterior.new", "kind": "number", "judge": lambda asked: "", **change}
    rest = {"title": "New?", "statement": "New.", "minutes": 5, "hints": ("a", "b", "c"), "arguments": ""}
    with pytest.raises(ValueError, match=re.escape(said)):
        classroom.add(classroom.Exercise(**fields, **rest))


# The command. --------------------------------------------------------------------------------------------------------


def test_the_list(ask):
    code, said = ask("list")
    assert code == 0 and said.splitlines()[-1].startswith(f"{len(ALL)} exercises, ")
    assert [line.split()[0] for line in said.splitlines()[:-1]] == ALL
    assert ask()[1] == said
    code, said = ask("list", "posterior")
    assert [line.split()[0] for line in said.splitlines()[:-1]] == [each.name for each in POSTERIOR]


def test_help_names_what_there_is(capsys):
    with pytest.raises(SystemExit):
        cli.main(["exercises", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in ("list", "start", "check", "hint", "reset", "notebook", "autograder"))


def test_a_student_begins_is_wrong_is_right_and_goes_on(ask, home):
    code, said = ask("start", "posterior")
    file = home / "exercises" / "posterior.py"
    assert code == 0 and f"{len(POSTERIOR)} exercises\nnext: {POSTERIOR[0].name}, {POSTERIOR[0].title}" in said
    text = file.read_text("utf-8")
    assert "NotImplementedError" in text and RIGHT not in text and MEAN not in text
    assert all(f"def {each.function}({each.arguments}):" in text for each in POSTERIOR)

    code, said = ask("check", *ONLY)
    assert (code, said.splitlines()[0]) == (0, "posterior  .. 0 of 2") and "next: posterior.variance, " in said

    file.write_text(WRONG.replace(MEAN, "no_such_name"), "utf-8")
    code, said = ask("check", *ONLY)
    assert code == 1 and "posterior.variance (2.6) fails" in said and "It equals the book's with" in said
    assert "raises NameError: name 'no_such_name' is not defined (line 5)" in re.sub(r"\n +", " ", said)

    file.write_text(DONE.replace(f"    return {MEAN}", "    raise NotImplementedError"), "utf-8")
    code, said = ask("check", *ONLY)
    assert code == 0
    assert said.splitlines() == [
        "posterior  #. 1 of 2",
        f"next: posterior.mean, {exercise('posterior.mean').title} (15 min)",
        "hint: tinyddpm exercises hint posterior.mean",
    ]

    file.write_text(DONE, "utf-8")
    assert ask("check", *ONLY) == (0, "posterior  ## 2 of 2\nAll done.\n")
    assert ask("check", "exercises/posterior.py", *ONLY)[0] == 0


def test_json(ask, home):
    (home / "posterior.py").write_text(WRONG, "utf-8")
    code, said = ask("check", ".", "--json", *ONLY)
    first, second = json.loads(said)
    assert code == 1 and second == {"name": "posterior.mean", "outcome": "passed", "words": ""}
    assert first["outcome"] == "failed" and "expected" in first["words"]


def test_what_is_said_twice_is_printed_once(ask, home):
    (home / "posterior.py").write_text("def variance(step) return 1\n", "utf-8")
    code, said = ask("check", ".", *ONLY)
    assert code == 1 and said.count("SyntaxError: expected ':' (line 1)") == 1 and "0 of 2" in said


def test_hints_go_from_a_nudge_to_the_formula(ask):
    hints = exercise("posterior.mean").hints
    assert ask("hint", "posterior.mean") == (
        0,
        f"posterior.mean, hint 1 of 3: {hints[0]}\nThe next: tinyddpm exercises hint posterior.mean 2\n",
    )
    assert ask("hint", "posterior.mean", "3")[1] == f"posterior.mean, hint 3 of 3: {hints[2]}\n"


# Nothing of the student's is overwritten. ----------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept(ask, home):
    ask("start", "posterior", "work")
    file = home / "work" / "posterior.py"
    before = file.read_bytes()
    assert "kept, it has all" in ask("start", "posterior", "work")[1] and file.read_bytes() == before

    file.write_text(f"# mine\n{DONE}", "utf-8")
    ask("start", "posterior", "work")
    assert file.read_text("utf-8").startswith(f"# mine\n{DONE}")

    mine = "# mine\ndef mean(x_t, x_0, step):\n    return 5"
    file.write_text(mine, "utf-8")
    said = ask("start", "posterior", "work")[1]
    text = file.read_text("utf-8")
    assert text.startswith(mine) and "def variance(step):" in text and text.count("def mean(") == 1
    assert "kept; added at its end: " in said and "posterior.variance" in said and "posterior.mean," not in said

    file.write_text("def mean(:\n", "utf-8")
    code, said = ask("start", "posterior", "work")
    assert code == 2 and "is no Python: invalid syntax (line 1)" in said and file.read_text("utf-8") == "def mean(:\n"


def test_a_reset_keeps_what_was_there(ask, home):
    file = home / "posterior.py"
    between = "# of variance\ndef variance(step):\n    return 1\n\n\nx = 3  # mine\n"
    mine = "@np.vectorize\ndef mean(x_t, x_0, step):\n    return 'ä'\n"
    file.write_text(f"import numpy as np\n{mine}{between}", "utf-8")
    for number in ("", "-2", "-3"):
        code, said = ask("reset", "posterior.mean", ".")
        kept = home / f"posterior-mean{number}.txt"
        assert code == 0 and f"yours is kept in {kept.name}" in said
        if not number:
            assert kept.read_text("utf-8") == mine
    text = file.read_text("utf-8")
    assert text == f"import numpy as np\n{exercise('posterior.mean').starter}{between}"
    assert ask("check", ".", "--only", "posterior.mean")[1].startswith("posterior  . 0 of 1")


# Errors. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "posteriors"], "chapter must be one of forward, posterior, elbo, "),
        (["list", "x"], "chapter must be one of forward, posterior, elbo, "),
        (["check", "nowhere"], "path must be a file of a chapter or a folder with one, got 'nowhere'; tinyddpm "),
        (["check", "notes.py"], "path must be one of forward, posterior, "),
        (["check", ".", "--only", "posterior.meen"], "exercise 'posterior.meen' is unknown; nearest: posterior.mean"),
        (["check", ".", "--watch", "--json"], "json must be left out where watch is given"),
        (["check", ".", "--set", "set.txt", "--only", "posterior.mean"], "set must be left out where only is given"),
        (["check", ".", "--set", "set.txt"], "set.txt, line 2: exercise 'posterior.meen' is unknown; nearest: "),
        (["check", ".", "--set", "none.txt"], "none.txt"),
        (["hint", "posterior.mean", "4"], "number must lie in 1..3, got 4"),
        (["hint", "mean"], "exercise 'mean' is unknown"),
        (["reset", "posterior.mean", "nowhere"], "folder must hold posterior.py, got 'nowhere'"),
        (["reset", "posterior.mean", "."], "has no function mean; tinyddpm exercises start posterior adds it"),
        (["notebook", "posterior", "set.txt"], "file must not be there yet, got 'set.txt'"),
        (["autograder", "."], "folder must be empty or not be there, got '.'"),
        (["autograder", "new", "--set", "points.txt"], "points.txt, line 1: points must be at least 0, got -1"),
        (["autograder", "new", "--set", "empty.txt"], "set must name an exercise, got 'empty.txt', which names none"),
    ],
)
def test_an_error_says_what_is_allowed(words, said, ask, home):
    (home / "notes.py").write_text("")
    (home / "posterior.py").write_text("")
    (home / "set.txt").write_text("posterior.mean\nposterior.meen\n")
    (home / "points.txt").write_text("posterior.mean -1\n")
    (home / "empty.txt").write_text("# nothing\n")
    before = sorted(os.listdir(home))
    code, printed = ask(*words)
    assert code == 2 and printed.startswith("tinyddpm: ") and said in printed
    assert sorted(os.listdir(home)) == before


def test_a_result_that_a_judge_does_not_expect_fails():
    each = classroom.Exercise(
        "posterior.odd", "number", "", "", 1, ("", "", ""), "", judge=lambda asked: "" if asked() + 1 > 0 else "no"
    )
    assert grader.judged(lambda: 1, each).passed
    assert grader.judged(lambda: "words", each).words.startswith("posterior.odd fails: it gives another kind")


def test_near():
    judge = judges.Number(lambda: 0.5, 0.01, "the height of the peak")
    assert judge(lambda: 0.505) == ""
    assert judge(lambda: 0.52) == "the height of the peak: 0.52 is not it"
    assert all(judge(lambda wrong=wrong: wrong) for wrong in (float("nan"), True, None, "0.5", [0.5]))


# Quick enough. -------------------------------------------------------------------------------------------------------


def begun(folder, *words, **more):
    """`tinyddpm exercises` in a process of its own."""
    settings = {**os.environ, "PYTHONPATH": str(Path(tinyddpm.__file__).parent.parent), "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, "-m", "tinyddpm", "exercises", *words]
    return subprocess.Popen(line, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True, **more)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
def test_watch_grades_at_every_save(home):
    pytest.importorskip("watchfiles")
    file, lines = home / "posterior.py", queue.Queue()
    file.write_text("def variance(step): raise NotImplementedError\n", "utf-8")

    def heard():
        said = [lines.get(timeout=20)]
        while command.WAITING not in said[-1]:
            said.append(lines.get(timeout=20))
        return "".join(said)

    with begun(home, "check", ".", "--watch", *ONLY) as process:
        threading.Thread(target=lambda: [*map(lines.put, process.stdout)], daemon=True).start()
        try:
            assert "0 of 2" in heard()
            for text, said in (
                (WRONG, "fails"),
                (DONE.replace("mean", "x"), "1 of 2"),
                ("def x(", "Error"),
                (DONE, "done"),
            ):
                time.sleep(0.1)
                file.write_text(text, "utf-8")
                assert said in heard()
            (home / "other.py").write_text("", "utf-8")  # not of a chapter
            with pytest.raises(queue.Empty):
                lines.get(timeout=0.3)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


# For teachers. -------------------------------------------------------------------------------------------------------


def test_a_set_chooses_exercises(ask, home):
    (home / "week1.txt").write_text("# the first week\nposterior.mean 3  # the mean\n\n", "utf-8")
    assert ask("start", "posterior", ".", "--set", "week1.txt")[0] == 0
    text = (home / "posterior.py").read_text("utf-8")
    assert "def mean(" in text and "def variance(" not in text
    assert ask("check", ".", "--set", "week1.txt")[1].startswith("posterior  . 0 of 1")
    code, said = ask("start", "forward", ".", "--set", "week1.txt")
    assert code == 2 and "chapter must have an exercise of this set, got 'forward'" in said


@pytest.fixture
def submitted(ask, home):
    """An autograder in Gradescope's layout, in a folder of ours; gives a function that grades a submission."""
    (home / "set.txt").write_text("posterior.variance 2\nposterior.mean 3\n", "utf-8")
    root = home / "autograder"
    code, said = ask("autograder", str(root / "source"), "--set", "set.txt", "--visibility", "after_due_date")
    assert code == 0 and "2 exercises, 5 points; students hand in posterior.py" in said
    for folder in ("submission", "results", "venv/bin"):
        (root / folder).mkdir(parents=True)
    python = root / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    (root / "run_autograder").write_bytes((root / "source" / "run_autograder").read_bytes())
    (root / "run_autograder").chmod(0o755)

    def run(text):
        if text:
            (root / "submission" / "posterior.py").write_text(text, "utf-8")
        settings = {**os.environ, "AUTOGRADER": str(root), "PYTHONPATH": str(Path(tinyddpm.__file__).parent.parent)}
        done = subprocess.run([str(root / "run_autograder")], cwd=root, env=settings, timeout=60, check=False)
        return done.returncode, json.loads((root / "results" / "results.json").read_text("utf-8"))

    return run


@pytest.mark.skipif(os.name == "nt", reason="Gradescope runs Linux")
def test_the_autograder_writes_results_with_partial_scores(submitted, home):
    code, results = submitted(WRONG)
    assert code == 0
    variance, mean = results["tests"]
    assert variance["name"] == f"posterior.variance: {exercise('posterior.variance').title}"
    assert (variance["score"], variance["max_score"], variance["status"]) == (0, 2, "failed")
    assert "expected" in variance["output"] and variance["visibility"] == "after_due_date"
    assert (mean["score"], mean["max_score"], mean["status"]) == (3, 3, "passed")
    assert results["output"] == "1 of 2 exercises are done." and results["stdout_visibility"] == "hidden"
    keys = {"name", "score", "max_score", "status", "output", "output_format", "visibility"}
    assert all(set(each) == keys for each in results["tests"])


@pytest.mark.skipif(os.name == "nt", reason="Gradescope runs Linux")
def test_the_autograder_says_what_is_missing_or_that_it_has_stopped(submitted, home):
    results = submitted("")[1]
    assert [each["score"] for each in results["tests"]] == [0, 0]
    assert "posterior.py is not among the files" in results["tests"][0]["output"]
    (home / "autograder" / "source" / "exercises.txt").unlink()
    code, results = submitted(DONE)
    assert code != 0 and results["score"] == 0 and "tell your teacher" in results["output"]


@pytest.mark.skipif(os.name == "nt", reason="Gradescope runs Linux")
def test_the_scripts_of_the_autograder_are_scripts(submitted, home):
    for name in ("setup.sh", "run_autograder"):
        script = home / "autograder" / "source" / name
        assert script.stat().st_mode & 0o111 and script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert f'pip" install tinyddpm=={tinyddpm.__version__}\n' in (home / "autograder/source/setup.sh").read_text(
        "utf-8"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_grader_that_is_root_runs_a_file_as_somebody_else(home, monkeypatch):
    monkeypatch.setenv("TINYDDPM_USER", "nobody")
    (home / "posterior.py").write_text(f"import os\n{DONE}    \ndef who():\n    return os.getuid()\n", "utf-8")
    with grader.Student(home / "posterior.py") as student:
        assert student.call("who", {}, 0, 5.0) != 0


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_six_weeks_are_made_of_exercises_that_there_are():
    weeks = re.findall(r"^\| (\d) \| (\[`.*) \| (\d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [number for number, *_ in weeks] == [*"123456"]
    for _, names, minutes in weeks:
        found = re.findall(r"\[`([\w.]+)`\]\(exercises\.md#\1\)", names)
        assert len(found) == len(names.split(", ")) and {*found} <= {*ALL}
        assert sum(exercise(name).minutes for name in found) == int(minutes)


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_page_shows_what_the_command_says(ask, home):
    (home / "posterior.py").write_text(
        "import numpy as np\ndef variance(step):\n    return np.sqrt(" + RIGHT + ")\n", "utf-8"
    )
    assert f"```text\n{ask('check', '.', *ONLY)[1]}```" in PAGE.read_text("utf-8")


# In a notebook. ------------------------------------------------------------------------------------------------------


def test_check_in_python_says_what_the_command_says(ask, home):
    (home / "posterior.py").write_text(WRONG, "utf-8")
    names = {}
    exec(WRONG, names)
    verdict = tinyddpm.check(names["variance"], "posterior.variance")
    assert str(verdict) == repr(verdict) == ask("check", ".", *ONLY)[1].partition("\nposterior  ")[0]
    table = verdict._repr_html_()
    assert table.startswith("<table") and "<th>expected</th><td>" in table and "2 of 5" not in table
    assert "<script" not in tinyddpm.against.Verdict("<script>", "fails", reason="<b>")._repr_html_()
    assert str(tinyddpm.check(names["mean"], "posterior.mean")) == "posterior.mean (2.7) passes"
    assert str(tinyddpm.check(lambda step: 1 / 0, "forward.snr")).startswith("forward.snr (1.")


def test_check_of_what_is_nothing_says_so():
    with pytest.raises(TypeError, match=r"function must be a function, got 'posterior\.mean'"):
        tinyddpm.check("posterior.mean", "posterior.mean")
    with pytest.raises(ValueError, match=r"nearest: posterior\.mean"):
        tinyddpm.check(len, "posterior.meen")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_notebook_runs_from_top_to_bottom(chapter, monkeypatch):
    monkeypatch.setattr(tinyddpm.against, "pairs", lambda known: iter(()))  # of slips; looking for them takes long
    made, names = json.loads(text(chapter)), {}
    said = []
    for cell in made["cells"]:
        if cell["cell_type"] == "code" and INSTALL not in cell["source"]:
            code, asked, rest = cell["source"].partition("tinyddpm.check(")
            exec(code, names)
            said.append(eval(asked + rest, names) if asked else None)
            assert cell["outputs"] == [] and cell["execution_count"] is None
    answers = [each for each in said if each is not None]
    assert [each.name for each in answers] == [each.name for each in exercises() if each.chapter == chapter]
    assert {each.outcome for each in answers} <= {"is not attempted", "fails"}
    pytest.importorskip("nbformat").validate(made)


def test_the_notebook_of_a_chapter_is_written(ask, home):
    assert ask("notebook", "posterior", "new.ipynb")[0] == 0
    made = json.loads((home / "new.ipynb").read_text("utf-8"))
    assert made["nbformat"] == 4 and INSTALL in made["cells"][1]["source"]
    assert RIGHT not in json.dumps(made) and "Hint 3" in json.dumps(made)


@pytest.mark.skipif(not PAGE.is_file(), reason="the notebooks do not travel with the package")
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebooks_of_the_repository_are_up_to_date(chapter):
    """`python -m tinyddpm.exercises.classroom.notebook notebooks` makes them again."""
    file = PAGE.parent.parent / "notebooks" / f"{chapter}.ipynb"
    assert file.read_text("utf-8") == text(chapter)
