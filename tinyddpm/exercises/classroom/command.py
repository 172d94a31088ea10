"""`tinyddpm exercises`: list, start, check, hint, reset; notebook and autograder for teachers."""

from __future__ import annotations

import ast
import json
import math
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro
from tyro.conf import Positional, subcommand

from ... import __version__
from ...door import check_name
from ...equation import CHAPTERS
from ...files import write
from ...train.config import one_of
from . import Exercise, exercise, exercises, notebook
from .grader import Grade, grade
from .gradescope import RUN, SETUP, VISIBILITIES

FOLDER = Path("exercises")
"""Where a student's files are, if nobody says."""

WAITING = "Waiting for the next save; Ctrl-C ends."
"""What --watch says after each grading."""

HEAD = '''\
"""Exercises of chapter {number}, {chapter}.

Write the body of each function. Then run

    tinyddpm exercises check {folder}

`step` holds the numbers of one time t: beta, alpha, alpha_bar, alpha_bar_prev (of t - 1), noise_var (1 - alpha_bar) and
noise_var_prev (of t - 1). Numbers are Python floats or NumPy arrays. A hint: tinyddpm exercises hint NAME
"""

import numpy as np
'''
"""How a file begins."""


@dataclass(frozen=True)
class List:
    """List the exercises: name, kind, minutes, title."""

    chapter: Positional[str] = ""
    """only of this chapter; if not given, of all"""


@dataclass(frozen=True)
class Start:
    """Write the file of a chapter, with a function for each exercise. A file that is there is kept, and only what is missing in it is added."""

    chapter: Positional[str]
    """forward, posterior, elbo, vae_vs_vdm, langevin or train"""
    folder: Positional[Path] = FOLDER
    """where to write it"""
    set: Path | None = None
    """text file with the names of exercises, one a line; if not given, all of the chapter"""


@dataclass(frozen=True)
class Check:
    """Grade the exercises in a folder, or in one file. The exit code is 0 if none has failed, 1 if one has."""

    path: Positional[Path] = FOLDER
    """folder with files of chapters, or one such file"""
    only: tuple[str, ...] = ()
    """names of exercises; if not given, all"""
    set: Path | None = None
    """text file with the names of exercises, one a line"""
    watch: bool = False
    """grade again whenever a file is saved, until it is stopped by Ctrl-C"""
    json: bool = False
    """print JSON: name, outcome and words of each"""


@dataclass(frozen=True)
class Hint:
    """Show a hint, from a nudge to the formula."""

    name: Positional[str]
    """name of an exercise, such as posterior.mean"""
    number: Positional[int] = 1
    """which of its three hints"""


@dataclass(frozen=True)
class Reset:
    """Put an exercise back to its beginning. What was there is kept in a file beside it."""

    name: Positional[str]
    """name of an exercise, such as posterior.mean"""
    folder: Positional[Path] = FOLDER
    """where the file of its chapter is"""


@dataclass(frozen=True)
class Notebook:
    """Write the notebook of a chapter. A file that is there is kept."""

    chapter: Positional[str]
    """forward, posterior, elbo, vae_vs_vdm, langevin or train"""
    file: Positional[Path]
    """where to write it, such as posterior.ipynb"""


@dataclass(frozen=True)
class Autograder:
    """Write a folder for Gradescope: zip what is in it, and upload that as the autograder."""

    folder: Positional[Path]
    """where to write it; it must be empty or not be there"""
    set: Path | None = None
    """text file with the names of exercises, one a line, each with its points if they are not 1; if not given, all exercises"""
    visibility: Annotated[str, one_of("when students see the results", VISIBILITIES)] = "visible"
    install: str = f"tinyddpm=={__version__}"
    """what pip installs there: a version, an address, or the file of a wheel that is put beside setup.sh"""


Command: TypeAlias = (
    Annotated[List, subcommand("list")]
    | Annotated[Start, subcommand("start")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Hint, subcommand("hint")]
    | Annotated[Reset, subcommand("reset")]
    | Annotated[Notebook, subcommand("notebook")]
    | Annotated[Autograder, subcommand("autograder")]
)


def main(arguments: Sequence[str]) -> int:
    """Do what a command says; gives the exit code."""
    command = tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="tinyddpm exercises",
        description="Exercises that the book grades.",
        args=[*arguments],
    )
    match command:
        case List():
            show(command.chapter)
        case Start():
            print(start(command.chapter, command.folder, command.set))
        case Check():
            return watch(command) if command.watch else check(command)
        case Hint():
            print(hint(command.name, command.number))
        case Reset():
            print(reset(command.name, command.folder))
        case Notebook():
            print(save_notebook(command.chapter, command.file))
        case Autograder():
            print(autograder(command.folder, command.set, command.visibility, command.install))
    return 0


def of_chapter(chapter: str) -> list[Exercise]:
    """The exercises of a chapter.

    Raises:
        ValueError: when there is no such chapter.
    """
    check_name("chapter", chapter, CHAPTERS)
    return [each for each in exercises() if each.chapter == chapter]


def read_set(path: Path | None) -> dict[str, float]:
    """The exercises of a text file and their points: one a line, a comment behind a #. Without a file, all, one point each.

    Raises:
        ValueError: when a line is no exercise; the message names the line.
    """
    if path is None:
        return {each.name: 1.0 for each in exercises()}
    chosen: dict[str, float] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        match line.partition("#")[0].split():
            case []:
                continue
            case [name]:
                points = "1"
            case [name, points]:
                pass
            case _:
                raise ValueError(f"{path}, line {number} must be the name of an exercise and its points, got {line!r}")
        try:
            chosen[exercise(name).name] = float(points)
        except ValueError as problem:
            raise ValueError(f"{path}, line {number}: {problem}") from None
        if not 0 <= chosen[name] < math.inf:
            raise ValueError(f"{path}, line {number}: points must be at least 0, got {points}")
    if not chosen:
        raise ValueError(f"set must name an exercise, got {str(path)!r}, which names none")
    return chosen


def show(chapter: str) -> None:
    """Print the list of exercises."""
    chosen = of_chapter(chapter) if chapter else exercises()
    for each in chosen:
        print(f"{each.name:<36}{each.kind:<11}{each.minutes:>3} min  {each.title}")
    print(f"{len(chosen)} exercises, {sum(each.minutes for each in chosen) / 60:.1f} hours")


def start(chapter: str, folder: Path, chosen_by: Path | None = None) -> str:
    """Write the file of a chapter, or add to it what is missing; gives what was done in words."""
    wanted = read_set(chosen_by)
    chosen, file = [each for each in of_chapter(chapter) if each.name in wanted], folder / f"{chapter}.py"
    if not chosen:
        raise ValueError(f"chapter must have an exercise{' of this set' if chosen_by else ''}, got {chapter!r}")
    folder.mkdir(parents=True, exist_ok=True)
    if not file.is_file():
        head = HEAD.format(number=CHAPTERS.index(chapter) + 1, chapter=chapter, folder=folder)
        _write(file, "\n\n".join([head, *(each.starter for each in chosen)]))
        return f"{file}: {len(chosen)} exercises\nnext: {chosen[0].name}, {chosen[0].title}"
    text = file.read_text("utf-8")
    there = {name for name, *_ in _functions(text, file)}
    missing = [each for each in chosen if each.function not in there]
    if missing:
        _write(file, text.rstrip("\n") + "\n\n\n" + "\n\n".join(each.starter for each in missing))
        return f"{file}: kept; added at its end: {', '.join(each.name for each in missing)}"
    return f"{file}: kept, it has all {len(chosen)} exercises"


def _write(file: Path, text: str) -> None:
    write(file, lambda out: out.write(text.encode()))


def _functions(text: str, file: Path) -> list[tuple[str, int, int]]:
    """The functions of a file: name, first and last line, counted from 0 and as a slice.

    Raises:
        ValueError: when it is no Python.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as problem:
        raise ValueError(f"{file} is no Python: {problem.msg} (line {problem.lineno})") from None
    return [
        (
            node.name,
            min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1,
            node.end_lineno or node.lineno,
        )
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    ]


def files(path: Path) -> list[Path]:
    """The files of chapters at a path.

    Raises:
        ValueError: when there is none.
    """
    if path.is_file():
        check_name("path", path.stem, CHAPTERS)
        return [path]
    found = [path / f"{chapter}.py" for chapter in CHAPTERS if (path / f"{chapter}.py").is_file()]
    if not found:
        raise ValueError(
            f"path must be a file of a chapter or a folder with one, got {str(path)!r}; tinyddpm exercises start CHAPTER writes one"
        )
    return found


def graded(path: Path, only: Iterable[str] = ()) -> list[Grade]:
    """The grades of all exercises at a path, or of some."""
    wanted = [exercise(name).name for name in only]
    grades: list[Grade] = []
    for file in files(path):
        chosen = [each for each in of_chapter(file.stem) if not wanted or each.name in wanted]
        grades += grade(file, chosen)
    return grades


def check(command: Check) -> int:
    """Grade and print; gives 1 if an exercise has failed."""
    if command.only and command.set:
        raise ValueError(f"set must be left out where only is given, got {str(command.set)!r}")
    grades = graded(command.path, read_set(command.set) if command.set else command.only)
    if command.json:
        print(json.dumps([vars(each) for each in grades], indent=2))
    else:
        print(told(grades))
    return int(any(each.outcome == "failed" for each in grades))


def told(grades: Sequence[Grade]) -> str:
    """Grades in words: what failed and why, how far one is, and what comes next."""
    lines = [*dict.fromkeys(each.words for each in grades if each.outcome == "failed")]
    for chapter in dict.fromkeys(each.name.partition(".")[0] for each in grades):
        of = [each for each in grades if each.name.startswith(f"{chapter}.")]
        done = sum(each.passed for each in of)
        lines.append(f"{chapter:<11}{'#' * done}{'.' * (len(of) - done)} {done} of {len(of)}")
    rest = [each for each in grades if not each.passed]
    if rest:
        first = exercise(rest[0].name)
        lines.append(
            f"next: {first.name}, {first.title} ({first.minutes} min)\nhint: tinyddpm exercises hint {first.name}"
        )
    else:
        lines.append("All done.")
    return "\n".join(lines)


def watch(command: Check) -> int:
    """Grade whenever a file is saved."""
    if command.json:
        raise ValueError("json must be left out where watch is given, got both")
    try:
        from watchfiles import watch as changes
    except ImportError:
        raise ValueError('--watch needs a watcher of files: pip install "tinyddpm[classroom]"') from None
    names = {f"{chapter}.py" for chapter in CHAPTERS} if command.path.is_dir() else {command.path.name}
    code, folder = check(command), command.path if command.path.is_dir() else command.path.parent
    print(WAITING, flush=True)
    for changed in changes(folder, raise_interrupt=False, recursive=False, rust_timeout=1000):
        if {Path(path).name for _, path in changed} & names:
            begun = time.monotonic()
            try:
                code = check(command)
            except (ValueError, OSError) as problem:  # half of a save, or a file that has gone
                print(f"tinyddpm: {problem}")
            print(f"({time.monotonic() - begun:.1f} s) {WAITING}", flush=True)
    return code


def hint(name: str, number: int) -> str:
    """One of the hints of an exercise."""
    each = exercise(name)
    if not 1 <= number <= len(each.hints):
        raise ValueError(f"number must lie in 1..{len(each.hints)}, got {number}")
    more = f"\nThe next: tinyddpm exercises hint {name} {number + 1}" if number < len(each.hints) else ""
    return f"{name}, hint {number} of {len(each.hints)}: {each.hints[number - 1]}{more}"


def reset(name: str, folder: Path) -> str:
    """Put an exercise back to its beginning, and keep what was there."""
    each = exercise(name)
    file = folder / f"{each.chapter}.py"
    if not file.is_file():
        raise ValueError(f"folder must hold {file.name}, got {str(folder)!r}")
    text = file.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    place = next((rows for function, *rows in _functions(text, file) if function == each.function), None)
    if place is None:
        raise ValueError(f"{file} has no function {each.function}; tinyddpm exercises start {each.chapter} adds it")
    kept = _free(file.with_name(f"{file.stem}-{each.function}.txt"))
    _write(kept, "".join(lines[place[0] : place[1]]))
    _write(file, "".join([*lines[: place[0]], each.starter, *lines[place[1] :]]))
    return f"{file}: {each.function} is as it was at the beginning; yours is kept in {kept}"


def _free(path: Path) -> Path:
    """A path where nothing is yet."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def save_notebook(chapter: str, file: Path) -> str:
    """Write the notebook of a chapter; gives what was done in words.

    Raises:
        ValueError: when the file is there already.
    """
    chosen = of_chapter(chapter)
    if file.exists():
        raise ValueError(f"file must not be there yet, got {str(file)!r}")
    _write(file, notebook.text(chapter))
    return f"{file}: {len(chosen)} exercises"


def autograder(folder: Path, chosen_by: Path | None, visibility: str, install: str) -> str:
    """Write a folder for Gradescope; gives what was done in words.

    Raises:
        ValueError: when the folder is not empty.
    """
    points = read_set(chosen_by)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder must be empty or not be there, got {str(folder)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "exercises.txt", "".join(f"{name} {worth:g}\n" for name, worth in points.items()))
    _write(folder / "setup.sh", SETUP.format(install=shlex.quote(install)))
    _write(folder / "run_autograder", RUN.format(visibility=visibility))
    for name in ("setup.sh", "run_autograder"):
        (folder / name).chmod(0o755)
    files = sorted({f"{name.partition('.')[0]}.py" for name in points}, key=lambda file: CHAPTERS.index(file[:-3]))
    return (
        f"{folder}: {len(points)} exercises, {sum(points.values()):g} points; students hand in {', '.join(files)}\n"
        f"next: cd {folder} && zip ../autograder.zip *, and upload the file"
    )
