"""The command line: `tinyddpm train | sample | judge | check | exercises | mutants | equations | cite`.

Nothing here imports PyTorch before it is needed, so that help comes at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import tyro
from tyro.conf import Positional, subcommand

from .train.config import LABELS, Config, check_lowest, one_of
from .train.samplers import SAMPLERS, VARIANCES

CLASSES = "how the classes are chosen: in turn, each as often as in the data, or at random"
"""What --labels says."""

WIDTH = 120
"""Width of the table of equations, in characters."""


@dataclass(frozen=True)
class Sample:
    """Draw samples from a run, with its averaged weights: as a picture, as an animation of the sampling, or as an array."""

    run: Positional[Path]
    """folder of the run, such as runs/digits-1"""
    n: int = 64
    """how many samples"""
    seed: int = 0
    """seed of the noise"""
    out: Path = Path("samples.png")
    """file: .png for a picture, .gif for an animation from noise to samples, .npz for the array `samples`, shape (n, channels, height, width), with `labels` if the run is conditional"""
    states: int | None = None
    """for pictures as a .png: how many states to show between noise and sample, a row for each sample; if not given, only the samples"""
    sampler: Annotated[str, one_of("sampler", SAMPLERS)] = "second_order"
    steps: int | None = None
    """number of sampling steps; if not given, 20, or T if that is fewer"""
    variance: Annotated[
        str | None,
        one_of(
            "variance of ancestral steps", VARIANCES, "; if not given, learned if the run learned one, else posterior"
        ),
    ] = None
    eta: float = 0.0
    """for ddim: how much of the noise is drawn anew in each step, from 0 for none to 1"""
    clip: bool = True
    """clip the predicted x_0 of pictures to [-1, 1] in every step"""
    label: str | None = None
    """class to draw, by its name or number; if not given, all classes, as --labels says"""
    labels: Annotated[str, one_of(CLASSES, LABELS)] = "proportional"
    guidance: float = 0.0
    """strength w of classifier-free guidance; 0 for none"""
    best: bool = False
    """use the weights with the lowest held-out loss, not the last ones"""
    device: str = "auto"
    """auto, cpu, cuda"""


@dataclass(frozen=True)
class Judge:
    """Compare samples of a run with real data. Beside each distance stands its floor: that of real data to other real data.

    For pictures with labels, a small classifier is trained first. This takes about half a minute, once for each dataset.
    """

    run: Positional[Path]
    """folder of the run, such as runs/digits-1"""
    n: int = 1000
    """how many samples"""
    seed: int = 0
    """seed of the noise"""
    sampler: Annotated[str, one_of("sampler", SAMPLERS)] = "second_order"
    steps: int | None = None
    """number of sampling steps; if not given, 20, or T if that is fewer"""
    labels: Annotated[str, one_of(CLASSES, LABELS)] = "proportional"
    best: bool = False
    """use the weights with the lowest held-out loss, not the last ones"""
    device: str = "auto"
    """auto, cpu, cuda; the classifier always runs on the CPU, so that it is the same everywhere"""


@dataclass(frozen=True)
class Check:
    """Check functions of your own, or the book itself.

    `tinyddpm check PATH` judges the functions of a file, a folder or a module that are called like equations: a function
    `mean` in `posterior.py` is judged as posterior.mean. The exit code is 0 if all pass, 1 if one fails, 2 if nothing can
    be loaded. `tinyddpm check --library NAME` asks a library that is installed, such as diffusers, what holds in it.
    Without these, pytest runs the checks of the book; all arguments are then passed on to it, such as -k, or
    --equation posterior.mean.
    """


@dataclass(frozen=True)
class Mutants:
    """Plant every single slip in the body of every equation, and see the checks of the equation fail.

    The exit code is 1 if a mutant survives: no check fails, and it is not shown to be the same function.
    """

    names: Positional[tuple[str, ...]] = ()
    """names of equations, such as posterior.mean; if not given, all"""
    changed: bool = False
    """only equations whose code or slips are not those of the report"""
    workers: int = 1
    """how many processes work in parallel"""
    report: Path | None = None
    """file for the report; what it says of other equations is kept. If not given, docs/assets/mutants.json where there is such a folder"""


@dataclass(frozen=True)
class Exercises:
    """Exercises that the book grades: list, start CHAPTER, check, hint NAME, reset NAME; notebook and autograder for teachers."""


@dataclass(frozen=True)
class Equations:
    """List every equation: number, name and arguments, source."""


@dataclass(frozen=True)
class Cite:
    """Print the source of an equation, and its BibTeX."""

    name: Positional[str]
    """name of the equation, such as posterior.mean"""


Command: TypeAlias = (
    Annotated[Config, subcommand("train")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Judge, subcommand("judge")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Mutants, subcommand("mutants")]
    | Annotated[Exercises, subcommand("exercises")]
    | Annotated[Equations, subcommand("equations")]
    | Annotated[Cite, subcommand("cite")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    rest: list[str] = []
    if arguments[:1] == ["check"] and arguments[1:] not in (["-h"], ["--help"]):
        arguments, rest = ["check"], arguments[1:]
    if arguments[:1] == ["exercises"]:
        arguments, rest = ["exercises"], arguments[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal cannot show must not stop the command
    try:
        command = tyro.cli(
            Command,  # type: ignore[arg-type]
            prog="tinyddpm",
            description="A textbook on denoising diffusion that runs and checks itself.",
            args=[*_spelled_out(arguments)],
        )
        match command:
            case Config():
                train(command)
            case Sample():
                draw(command)
            case Judge():
                judge(command)
            case Check():
                if rest and rest[0].partition("=")[0] == "--library":
                    return check_library("=".join(rest).split("=", 1)[-1])
                own = len(rest) == 1 and not rest[0].startswith("-") and "::" not in rest[0]
                return check_others(rest[0]) if own else check(rest)
            case Mutants():
                return mutants(command)
            case Exercises():
                from .exercises.classroom import command as classroom

                return classroom.main(rest or ["list"])
            case Equations():
                list_equations()
            case Cite():
                cite(command.name)
    except KeyboardInterrupt:
        print("tinyddpm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the pipe has closed it, as in `tinyddpm equations | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would complain
    except (ValueError, ArithmeticError, OSError) as problem:
        print(f"tinyddpm: {problem}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as problem:
        if not _is_out_of_memory(problem):
            raise
        advice = "to train, take a smaller --batch or more --accumulate; to sample or judge, a smaller --n"
        print(f"tinyddpm: out of memory; {advice}. What was saved is kept ({problem})", file=sys.stderr)
        return 2
    return 0


def _spelled_out(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with --judge and --no-judge as "--judge True" and "--judge False": as options that can be None need it."""
    names = {name.name.replace("_", "-") for name in fields(Config) if name.type == "bool | None"}
    for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name = argument[2:].replace("_", "-")
        if argument.startswith("--no-") and name[3:] in names:
            yield from (f"--{name[3:]}", "False")
        else:
            yield argument
            if argument.startswith("--") and name in names and value not in ("True", "False", "None"):
                yield "True"


def _is_out_of_memory(problem: Exception) -> bool:
    """Whether memory ran out, on a GPU, in NumPy or in PyTorch on the CPU: they share no class of errors."""
    kinds = {kind.__name__ for kind in type(problem).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(problem)


def train(config: Config) -> None:
    """Train, print the report, and judge the samples where the config says so."""
    config.check()  # a mistake is reported at once, before PyTorch is imported
    from .data import AT_HAND
    from .runs.loop import fit
    from .train.machine import keep_memory

    keep_memory()
    report = fit(config, announce=_print)
    if report is None:  # of several processes, only the first prints
        return
    if config.data in AT_HAND if config.judge is None else config.judge:
        judge(Judge(Path(report.run), seed=config.seed, device=config.device))


def _print(result: object) -> None:
    print(result, flush=True)


def draw(command: Sample) -> None:
    """Draw samples from a run."""
    if command.out.suffix not in (".png", ".gif", ".npz"):
        raise ValueError(f"out must end in .png, .gif or .npz, got {str(command.out)!r}")
    if not command.out.parent.is_dir():
        raise ValueError(f"out must be in a folder that exists, got {str(command.out)!r}")
    check_lowest(command, n=1)
    if command.states is not None and (command.states < 2 or command.out.suffix != ".png"):
        raise ValueError(
            f"states must be at least 2, with a .png as out, got {command.states} and {str(command.out)!r}"
        )
    import numpy as np

    from .files import write
    from .runs import run
    from .train.machine import keep_memory

    keep_memory()
    names = ("sampler", "steps", "variance", "eta", "label", "labels", "guidance")
    options = {name: getattr(command, name) for name in names}
    options = {name: value for name, value in options.items() if value is not None}
    options |= {} if command.clip else {"clip": None}
    loaded = run.load(command.run, command.best, command.device)
    if command.out.suffix == ".npz":
        arrays: dict[str, Any] = {"samples": loaded.sample(command.n, command.seed, **options)}
        labels = loaded.labels(command.n, command.label, command.labels, command.seed)
        arrays |= {} if labels is None else {"labels": labels.numpy()}
        write(command.out, lambda file: np.savez_compressed(file, **arrays))
    else:
        from .runs import plots

        if command.states is not None and not loaded.pictures:
            raise ValueError(
                f"states must not be given for a run of points, got {command.states}; a .gif shows their way"
            )
        if command.out.suffix == ".gif":
            content = plots.gif(loaded.watch(command.n, command.seed, **options))
        elif command.states is not None:
            content = plots.way(loaded.watch(command.n, command.seed, **options), command.states)
        else:
            content = plots.grid(loaded.sample(command.n, command.seed, **options))
        write(command.out, lambda file: file.write(content))
    print(command.out)


def judge(command: Judge) -> None:
    """Print how good the samples of a run are."""
    from .runs import judge
    from .train.machine import keep_memory

    keep_memory()
    options: dict[str, Any] = {"sampler": command.sampler, "steps": command.steps, "labels": command.labels}
    judge.judge(command.run, command.n, command.seed, command.best, command.device, _print, **options)


def check_others(path: str) -> int:
    """Judge the functions of a file, a folder or a module; gives 0 if all pass, 1 if one fails, 2 if none can be loaded."""
    from . import against

    loaded = against.load(path)
    verdicts = []
    for name, function in loaded.functions.items():
        verdicts.append(against.compare(name, function))
        _print(verdicts[-1])
    if loaded.others:
        print(f"not named like an equation, left aside: {', '.join(loaded.others)}")
    failed = not all(verdict.good for verdict in verdicts)
    if any(verdict.outcome != "is not attempted" for verdict in verdicts):
        failed |= _in_the_checks(path)
    return int(failed)


def _in_the_checks(path: str) -> bool:
    """Say how functions do in the checks of the book; gives whether one fails."""
    if not _can_check():
        print(NEEDS)
        return False
    from . import checker

    answers = checker.Answers()
    code = checker.quickly(["--against", path], answers)
    if code not in (0, 1):
        raise RuntimeError(f"the checks of the book could not be run: pytest ended with {code}")
    _print(answers)
    return bool(answers.failed)


def check_library(name: str) -> int:
    """Say what holds in another library; gives 1 if something is wrong there, else 0."""
    from .exercises import conformance

    return conformance.check(name)


def check(arguments: list[str]) -> int:
    """Run pytest on the tests of the book."""
    if not _can_check():
        raise ValueError(NEEDS)
    from . import checker

    return checker.run(arguments)


def _can_check() -> bool:
    return find_spec("pytest") is not None and find_spec("hypothesis") is not None


NEEDS = 'check needs pytest and its helpers: pip install "tinyddpm[test]"'


def mutants(command: Mutants) -> int:
    """Run the checks against mutants; gives 1 if one survives."""
    check_lowest(command, workers=1)
    if not _can_check():
        raise ValueError(NEEDS)
    if command.changed and command.names:
        raise ValueError(f"changed must be left out where names are given, got {' '.join(command.names)}")
    from . import mutants

    report = command.report or (mutants.REPORT if mutants.REPORT.parent.is_dir() else None)
    names = mutants.changed(report or mutants.REPORT) if command.changed else command.names
    if command.changed and not names:
        print("no equation has changed since the report")
        return 0
    scores = mutants.run(names, command.workers)
    if report is not None:
        mutants.save(scores, report)
    every = scores.values()
    survivors = sum(len(score.survivors) for score in every)
    print(
        f"{len(scores)} equations: {sum(score.mutants for score in every)} mutants, "
        f"{sum(score.killed for score in every)} caught, "
        f"{sum(len(score.proved) for score in every)} proved the same function, "
        f"{sum(len(score.explained) for score in every)} the same for a reason, {survivors} survive"
    )
    return int(survivors > 0)


def list_equations() -> None:
    """Print the table of the equations."""
    from . import equations

    for row in equations():
        call = _cut(row.name + row.signature, 70)
        print(f"{row.number:<6}{call:<72}{_cut(row.source, WIDTH - 78)}".rstrip())


def cite(name: str) -> None:
    """Print the references of an equation."""
    from . import bibliography, equations
    from .equation import find

    equations()
    row = find(name)
    print(f"({row.number}) {row.name}: {row.source}")
    for origin in row.derived_from if row.source == bibliography.DERIVED else ():
        print(f"from ({origin.number}) {origin.name}: {origin.source}")
    for reference in bibliography.cite(row.source):
        print(f"\n{reference.text}\n\n{reference.bibtex}")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
