"""How answers are judged that are compared with no function: a number, or the numbers of a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import against

Judge = Callable[[Callable[..., Any]], str]


@dataclass(frozen=True)
class Number:
    """Judges a number, which is computed only when an answer is there."""

    compute: Callable[[], float]
    """gives the right number"""
    digits: float
    """how far an answer may be from it"""
    words: str
    """of what it is the number, as the beginning of a sentence"""

    def __call__(self, asked: Callable[..., Any]) -> str:
        """What is wrong with an answer; empty if nothing is."""
        found = asked()
        if isinstance(found, bool) or not isinstance(found, int | float | np.ndarray) or np.ndim(found):
            return f"it gives {type(found).__name__}; a number is asked for"
        plain = found.item() if isinstance(found, np.ndarray) else found
        if isinstance(plain, complex):
            return "it gives a complex number; a real one is asked for"
        if not abs(plain) < 1e300:  # a whole number may be too large for a float
            return f"{self.words}: that is a finite number"
        return "" if abs(plain - self.compute()) <= self.digits else f"{self.words}: {float(plain):g} is not it"


def numbers(result: Any, count: int) -> list[float] | None:
    """So many finite numbers, of a list, a tuple or an array of them; None if it is something else."""
    listed = isinstance(result, list | tuple) or (isinstance(result, np.ndarray) and result.ndim == 1)
    flat = [*result] if listed else []
    plain = [each.item() if isinstance(each, np.generic) else each for each in flat]
    fine = all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e300 for each in plain)
    return [float(each) for each in plain] if fine and len(plain) == count else None


def figure(
    cases: Callable[[], Iterable[tuple[str, tuple[Any, ...], Any]]], digits: float = 1e-8, over_time: bool = False
) -> Judge:
    """Judges the numbers of a figure: kind and shape first, then the first number that is off.

    Where nothing is handed over the right number is not told: it would be the answer.

    Args:
        cases: the simplest first: what is handed over, in words and as arguments, and the right array.
        digits: how far an answer may be off, relative to the largest number of the array.
        over_time: whether the last axis is t = 1..T.
    """

    def judge(asked: Callable[..., Any]) -> str:
        for words, given, expected in cases():
            result = asked(*given)
            try:
                (found,), wanted = against.their_parts(result, expected), np.asarray(expected)
            except against.NotPossible as problem:
                return f"{f'for {words} it' if given else 'it'} {problem}"
            slack = digits * np.abs(wanted).max()
            off = np.argwhere(~(np.abs(found - wanted) <= slack))
            if len(off):
                at = tuple(int(index) for index in off[0])
                if not given:  # the expected number would be the answer
                    return f"{words}, {_place(at, over_time)}: {found[at]:.10g} is not it"
                return f"for {words}, {_place(at, over_time)}:\n  expected  {wanted[at]:.10g}\n  got       {found[at]:.10g}"
        return ""

    return judge


def _place(at: tuple[int, ...], over_time: bool) -> str:
    """One number of an array, in words."""
    if over_time:
        return f"{f'row {at[0]}, ' if len(at) > 1 else ''}t = {at[-1] + 1}"
    return f"entry {', '.join(map(str, at))} (counted from 0)" if at else "the number"
