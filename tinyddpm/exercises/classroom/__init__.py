"""The classroom: exercises that the book itself grades.

An exercise is declared once, in the file of its chapter in `sets`: a statement, the arguments, three hints and how it is
graded. `grader` asks the student's functions, which run in a process of their own (`worker`); `command` is what
`tinyddpm exercises` does. The solutions are not here: they are in the folder `solutions` of the repository.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ... import against, door
from ...equation import CHAPTERS, Equation, find, nearest

KINDS = {
    "implement": "write an equation of the book",
    "derive": "write a form that is not in the book",
    "bug": "find the mistake in code that fails",
    "number": "say by a number what a figure or a table shows",
    "figure": "compute what a figure shows",
    "train": "train something until it is good enough",
}
"""What kinds of exercises there are."""

EXERCISES: dict[str, Exercise] = {}
"""Every exercise, by name, in the order in which they are done."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is asked, what helps, and how the answer is judged."""

    name: str
    """chapter and function, such as ``posterior.mean``; permanent"""
    kind: str
    """one of `KINDS`"""
    title: str
    statement: str
    """what is asked, in Markdown: letters, shapes and conventions, and nothing of the answer"""
    minutes: int
    """how long it takes"""
    hints: tuple[str, str, str]
    """from a nudge to the formula"""
    arguments: str
    """the arguments of the function, as they are written: ``x_t, x_0, step``"""
    needs: tuple[str, ...] = ()
    """exercises that come before it"""
    start: str = ""
    """the body that the student finds; if empty, it raises NotImplementedError"""
    known: Callable[[], Equation] | None = None
    """what a function is compared with"""
    judge: Callable[[Callable[..., Any]], str] | None = None
    """for an answer that is not compared with a function: given the student's function, it says what is wrong, or nothing"""
    allowed: tuple[str, ...] = ()
    """modules that the student's file may import beside NumPy and Python's own"""
    seconds: float = 10.0
    """how long one call may take"""

    @property
    def chapter(self) -> str:
        """The chapter that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def function(self) -> str:
        """The name of the function in the student's file."""
        return self.name.partition(".")[2]

    @property
    def starter(self) -> str:
        """The function as the student finds it."""
        body = self.start or "    raise NotImplementedError"
        lines = (textwrap.wrap(line, 96) or [""] for line in self.statement.strip().splitlines())
        words = "\n".join(f"    {line}".rstrip() for each in lines for line in each)
        title = self.title if self.title.endswith("?") else f"{self.title}."
        return f'def {self.function}({self.arguments}):\n    """{title}\n\n{words}\n    """\n{body.rstrip()}\n'


def exercises() -> tuple[Exercise, ...]:
    """Every exercise, in the order of the book."""
    for chapter in CHAPTERS:
        import_module(f"{__name__}.sets.{chapter}")
    return tuple(EXERCISES.values())


def exercise(name: str) -> Exercise:
    """The exercise of a name.

    Raises:
        ValueError: when there is none; the message names the nearest ones.
    """
    exercises()
    if name not in EXERCISES:
        raise ValueError(f"exercise {name!r} is unknown; nearest: {nearest(name, EXERCISES)}")
    return EXERCISES[name]


def check(function: Callable[..., Any], name: str) -> against.Verdict:
    """The verdict on a function of this process, as an equation or an exercise of this name.

    Raises:
        ValueError: when there is neither.
    """
    from .grader import judged

    exercises()
    each = EXERCISES.get(name)
    if each is None or each.judge is None:
        return against.compare(name if each is None or each.known is None else each.known(), function)
    grade = judged(function, each)
    outcome = {"passed": "passes", "failed": "fails"}.get(grade.outcome, "is not attempted")
    return against.Verdict(name, outcome, reason=grade.words.removeprefix(f"{name} fails: "))


def add(each: Exercise) -> Exercise:
    """Put an exercise into the list.

    Raises:
        ValueError: when its name is taken, its kind is unknown, or it has no way to be judged.
    """
    if each.name in EXERCISES and EXERCISES[each.name].title != each.title:
        raise ValueError(f"exercise {each.name} is there already")
    if each.kind not in KINDS:
        raise ValueError(f"kind of {each.name} must be one of {', '.join(KINDS)}, got {each.kind!r}")
    if (each.known is None) == (each.judge is None):
        raise ValueError(f"{each.name} must be compared with a function or judged in its own way, one of the two")
    EXERCISES[each.name] = each
    return each


def implement(
    name: str, title: str, statement: str, minutes: int, hints: tuple[str, str, str], **more: Any
) -> Exercise:
    """An exercise to write an equation of the book; it has the equation's name and, if nothing else is said, those of its arguments that it needs."""
    import_module(f"tinyddpm.{name.partition('.')[0]}")
    known, kind = find(name), more.pop("kind", "implement")
    parameters = inspect.signature(known.function).parameters.values()
    needed = ", ".join(each.name for each in parameters if each.default is each.empty)
    arguments = more.pop("arguments", needed)
    return add(Exercise(name, kind, title, statement, minutes, hints, arguments, known=lambda: known, **more))


def derive(
    reference: Callable[..., Any],
    title: str,
    statement: str,
    minutes: int,
    hints: tuple[str, str, str],
    *,
    where: dict[str, Any] | None = None,
    require: dict[str, str] | None = None,
    shapes: str = "",
    **more: Any,
) -> Exercise:
    """An exercise to write a form that is not in the book. It has the name and the arguments of the reference.

    Args:
        reference: reaches the same number by another road than the one that is asked for.
        title: a question, in a line.
        statement: what is asked.
        minutes: how long it takes.
        hints: three.
        where: what the arguments may be, as for `equation`.
        require: what must hold between them.
        shapes: of arguments that are not all of one shape.
        more: the other fields of `Exercise`.
    """
    chapter = reference.__module__.rpartition(".")[2]
    name = f"{chapter}.{reference.__name__}"
    call, arguments = door.guarded(name, reference, where or {}, require or {}, shapes)
    made = Equation(call, "an exercise", (), "", 0, tuple(arguments), door.read_shapes(shapes))
    written = ", ".join(inspect.signature(reference).parameters)
    kind = more.pop("kind", "derive")
    return add(Exercise(name, kind, title, statement, minutes, hints, written, known=lambda: made, **more))


def answer(
    name: str,
    title: str,
    statement: str,
    minutes: int,
    hints: tuple[str, str, str],
    judge: Callable[[Callable[..., Any]], str],
    **more: Any,
) -> Exercise:
    """An exercise whose answer is judged in its own way: a number, the numbers of a figure, or what was trained."""
    return add(
        Exercise(
            name, more.pop("kind"), title, statement, minutes, hints, more.pop("arguments", ""), judge=judge, **more
        )
    )
