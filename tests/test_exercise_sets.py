"""The exercises of every chapter: what is handed out fails for the right reason, solutions pass, wrong answers do not.

A chapter is a file of each kind: `solutions/CHAPTER.py`; `solutions/right/CHAPTER.py`, right answers that are written in
another way than the solutions; `solutions/wrong/CHAPTER.py`, wrong ones. Each has one function for an exercise, of its name.
A file of wrong answers says in `SLIPS` how the judge names those that are a single slip, and in `STARTERS` the same of the
mistakes that are handed out.
"""

import ast
import runpy
from pathlib import Path

import pytest

from tinyddpm import against
from tinyddpm.equation import CHAPTERS
from tinyddpm.exercises.classroom import KINDS, command, exercises
from tinyddpm.exercises.classroom.grader import grade

HERE = Path(__file__).parent
SOLUTIONS = HERE.parent / "solutions"

OF = {chapter: [each for each in exercises() if each.chapter == chapter] for chapter in CHAPTERS}
"""The exercises of each chapter."""

chapters = pytest.mark.parametrize("chapter", [chapter for chapter in CHAPTERS if OF[chapter]])


@pytest.fixture(autouse=True)
def single_slips(monkeypatch):
    """Pairs of slips are not looked for: they take long, and no mistake here is one."""
    monkeypatch.setattr(against, "pairs", lambda known: iter(()))


def grades(file, chosen):
    """The grades of a file by name; it is skipped where it is not: the solutions do not travel with the package."""
    if not file.is_file():
        pytest.skip(f"{file.name} is not here")
    return {each.name: each for each in grade(file, chosen)}


def functions(file):
    """The names of the functions of a file that are no helpers."""
    tree = ast.parse(file.read_text("utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def outcomes(graded):
    return {name: (each.outcome, each.words) for name, each in graded.items()}


def assert_slips(named, graded, chapter):
    """Those slips are named."""
    words = {name: " ".join(each.words.split()).partition("It equals the book's ")[2] for name, each in graded.items()}
    expected = {f"{chapter}.{function}": f"{slip}." for function, slip in named.items()}
    assert {name: words[name] for name in expected} == expected


@chapters
def test_every_exercise_is_whole(chapter):
    before = [each.name for each in exercises()]
    for each in OF[chapter]:
        assert each.title.strip() and not each.title.endswith("."), each.name
        assert each.statement.strip().endswith((".", "?", ":", ")")), each.name
        assert 1 <= each.minutes <= 90, each.name
        assert each.kind in KINDS, each.name
        assert len(each.hints) == 3 and all(hint.strip().endswith((".", "?", ")")) for hint in each.hints), each.name
        assert len({*each.hints}) == 3, each.name
        assert {*each.needs} <= {*before[: before.index(each.name)]}, each.name
        assert bool(each.start) == (each.kind == "bug"), each.name
        (function,) = ast.parse(each.starter).body
        assert isinstance(function, ast.FunctionDef) and function.name == each.function


@chapters
def test_a_chapter_has_exercises_enough_and_of_different_kinds(chapter):
    assert len(OF[chapter]) >= 8
    assert len({each.kind for each in OF[chapter]}) >= 4
    assert len({each.title for each in OF[chapter]}) == len(OF[chapter])


@chapters
def test_nothing_that_is_handed_out_passes(chapter, tmp_path):
    """A mistake fails by its numbers, and its slip is named; all else is not attempted."""
    command.start(chapter, tmp_path)
    found = grades(tmp_path / f"{chapter}.py", OF[chapter])
    for each in OF[chapter]:
        words = found[each.name].words
        assert found[each.name].outcome == ("failed" if each.kind == "bug" else "not attempted"), words
        if each.kind == "bug":
            assert "expected" in words and "raises" not in words, words
    wrong = SOLUTIONS / "wrong" / f"{chapter}.py"
    if wrong.is_file():
        assert_slips(runpy.run_path(str(wrong))["STARTERS"], found, chapter)


@chapters
def test_every_solution_passes(chapter):
    file = SOLUTIONS / f"{chapter}.py"
    found = grades(file, OF[chapter])
    assert functions(file) == [each.function for each in OF[chapter]]
    assert outcomes(found) == {each.name: ("passed", "") for each in OF[chapter]}


@chapters
def test_a_right_answer_passes_however_it_is_written(chapter):
    file = SOLUTIONS / "right" / f"{chapter}.py"
    found = grades(file, OF[chapter])
    assert functions(file) == [each.function for each in OF[chapter]]
    assert outcomes(found) == {each.name: ("passed", "") for each in OF[chapter]}


@chapters
def test_a_wrong_answer_is_refused(chapter):
    file = SOLUTIONS / "wrong" / f"{chapter}.py"
    found = grades(file, OF[chapter])
    assert functions(file) == [each.function for each in OF[chapter]]
    for each in found.values():
        assert each.outcome == "failed" and each.words and "raises" not in each.words, each
    assert_slips(runpy.run_path(str(file))["SLIPS"], found, chapter)
