"""Grading: a student's functions in their own process, compared with the book's in this one."""

from __future__ import annotations

import base64
import inspect
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import against, equations
from ...letters import Step
from . import Exercise, worker

START = 20.0
"""How long a file may take to be imported, in seconds; three times as long if it may use more than NumPy."""

LONGEST = 50_000_000
"""How many characters an answer may have."""

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "USERPROFILE", "TINYDDPM_USER")
"""What a file is told of the surroundings; nothing that could be a password."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""An exercise is small, and starting threads takes longer than it does."""


class Stopped(Exception):
    """What ended the process of a file, in words."""


class Student:
    """A file in its own process; it ends with a ``with`` block.

    Raises:
        Stopped: when the file cannot be loaded; the message says why.
    """

    def __init__(self, file: Path, allowed: Iterable[str] = ()) -> None:
        self.file = file
        command = [sys.executable, "-I", str(Path(worker.__file__).resolve()), str(file.resolve()), *allowed]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=file.resolve().parent,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | ONE_THREAD,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue(maxsize=2)  # who says more than is asked has to wait
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            first = self._answer(START * (3 if command[4:] else 1))
            if "functions" not in first:
                raise Stopped(f"cannot be imported: {_plain(first.get('error', 'it says nothing'))}")
            self.functions = {str(name): _parameters(found) for name, found in dict(first["functions"]).items()}
        except Stopped:
            self.close()
            raise
        except Exception:
            self.close()
            raise Stopped("cannot be imported: it says what nobody asks") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError, OSError):  # when it is closed meanwhile
            while line := self._process.stdout.readline(LONGEST):
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Stopped(f"takes longer than {seconds:g} s") from None
        if not line:
            raise Stopped(f"ended its process{self._why()}")
        try:
            answer = dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise Stopped("gives an answer that is too long, or none") from None
        if "forbidden" in answer:
            raise Stopped(f"{_plain(answer['forbidden'])}, which an exercise does not need")
        return answer

    def _why(self) -> str:
        code = self._process.wait(5)
        return "" if code >= 0 else f" ({signal.strsignal(-code)})"

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._process.poll() is None

    def call(self, name: str, given: dict[str, Any], positional: int, seconds: float) -> Any:
        """What a function gives; the first arguments are given by position.

        Raises:
            NotImplementedError: when it is not written yet.
            against.NotPossible: when it raises, takes too long, or does what it must not.
        """
        assert self._process.stdin is not None
        values = [_encoded(value) for value in given.values()]
        asked = {"name": name, "names": [*given], "given": values, "positional": positional}
        try:
            if not self._lines.empty():
                answer = self._answer(0)  # why it has ended
                raise Stopped("answers before it is asked")
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            answer = self._answer(seconds)
            if answer.get("missing"):
                raise NotImplementedError
            if "error" in answer:
                raise against.NotPossible(_plain(answer["error"]))
            return _decoded(answer["result"])
        except (NotImplementedError, against.NotPossible):
            raise
        except Stopped as problem:
            self.close()
            raise against.NotPossible(str(problem)) from None
        except OSError:
            self.close()
            raise against.NotPossible("ended its process") from None
        except Exception:  # no answer of the worker
            self.close()
            raise against.NotPossible("gives an answer that cannot be read") from None
        except BaseException:  # Ctrl-C, or an alarm: what it says later must not be taken for another answer
            self.close()
            raise

    def function(self, each: Exercise) -> Callable[..., Any]:
        """A function of the file as one of this process."""
        parameters = self.functions[each.function]
        names = [parameter.name for parameter in parameters]

        def ask(*args: Any, **kwargs: Any) -> Any:
            known = [*names[: len(args)], *(f"number {place}" for place in range(len(names) + 1, len(args) + 1))]
            given = {**dict(zip(known, args, strict=True)), **kwargs}
            return self.call(each.function, given, len(args), each.seconds)

        ask.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return ask

    def close(self) -> None:
        """End the process, and what it has started."""
        with suppress(OSError, AttributeError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        while self._reader.is_alive():  # what is left in the pipe is read, so that the thread ends
            with suppress(queue.Empty):
                self._lines.get_nowait()
            self._reader.join(0.001)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def __enter__(self) -> Student:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parameters(found: Any) -> list[inspect.Parameter]:
    """The parameters of a function, as its process says them."""
    return [
        inspect.Parameter(
            str(name), getattr(inspect.Parameter, str(kind)), default=None if has else inspect.Parameter.empty
        )
        for name, kind, has in found
    ]


def _plain(words: Any) -> str:
    """What a file says in one line, without characters that move the cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in str(words)[:500])


def _encoded(value: Any) -> Any:
    if isinstance(value, Step):
        return {"step": [_encoded(each) for each in value]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu":
        array = np.ascontiguousarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {"array": data, "dtype": str(array.dtype), "shape": list(np.shape(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be handed to another process")


class _Thing:
    """A result that is no number, array or list of them: only its type is known."""


def _decoded(value: Any) -> Any:
    """A result, from what another process said: nothing in it is run."""
    if isinstance(value, dict) and "array" in value:
        dtype = np.dtype(str(value["dtype"]))
        if dtype.kind not in "fiuc":
            return type(str(dtype), (_Thing,), {})()
        flat = np.frombuffer(base64.b64decode(value["array"]), dtype=dtype)
        return flat.reshape([int(size) for size in value["shape"]])
    if isinstance(value, dict) and "tuple" in value:
        return tuple(map(_decoded, value["tuple"]))
    if isinstance(value, dict) and "list" in value:
        return [*map(_decoded, value["list"])]
    if isinstance(value, dict):
        return type(_plain(value.get("type", "thing"))[:40] or "thing", (_Thing,), {})()
    if isinstance(value, str | list) or (isinstance(value, int) and abs(value) > 2**63):
        raise TypeError(type(value).__name__)
    return value


@dataclass(frozen=True)
class Grade:
    """What became of one exercise."""

    name: str
    outcome: str
    """passed, failed, or not attempted"""
    words: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is done."""
        return self.outcome == "passed"


def grade(file: Path, chosen: Iterable[Exercise]) -> list[Grade]:
    """The grades of exercises in a file; a process is started again where one has ended it."""
    equations()
    grades: list[Grade] = []
    student: Student | None = None
    loaded: tuple[str, ...] = ()
    broken: dict[tuple[str, ...], str] = {}
    try:
        for each in chosen:
            if each.allowed in broken:
                grades.append(Grade(each.name, "failed", broken[each.allowed]))
                continue
            if student is None or not student.alive or loaded != each.allowed:
                if student is not None:
                    student.close()
                try:
                    student, loaded = Student(file, each.allowed), each.allowed
                except Stopped as problem:
                    broken[each.allowed] = f"{file.name} {problem}"
                    grades.append(Grade(each.name, "failed", broken[each.allowed]))
                    continue
            grades.append(_graded(student, each))
    finally:
        if student is not None:
            student.close()
    return grades


def _graded(student: Student, each: Exercise) -> Grade:
    if each.function not in student.functions:
        return Grade(each.name, "not attempted", f"{student.file.name} has no function {each.function}")
    return judged(student.function(each), each)


def judged(asked: Callable[..., Any], each: Exercise) -> Grade:
    """The grade of one function."""
    if each.judge is not None:
        try:
            words = each.judge(asked)
        except NotImplementedError:
            return Grade(each.name, "not attempted")
        except against.NotPossible as problem:
            return Grade(each.name, "failed", f"{each.name} fails: it {problem}")
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as problem:
            return Grade(each.name, "failed", f"{each.name} fails: it gives another kind of result ({problem})")
        return Grade(each.name, "failed" if words else "passed", f"{each.name} fails: {words}" if words else "")
    assert each.known is not None
    verdict = against.compare(each.known(), asked, try_pairs=False)  # pairs of slips take seconds
    if verdict.outcome == "is not attempted":
        return Grade(each.name, "not attempted")
    return Grade(
        each.name,
        "passed" if verdict.outcome == "passes" else "failed",
        "" if verdict.outcome == "passes" else str(verdict),
    )
