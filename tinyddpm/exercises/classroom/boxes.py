r"""The answer boxes of the pages: what a browser needs to judge a typed formula without Python.

`box` computes it from an exercise: how each letter may be typed, examples, what the book's function gives there and how
much a right answer may differ (`against`), and the values of every slip (`slips`). The formula itself is not in it. (A number
is, since it has to be compared with; no message shows it.) The browser's half is `docs/assets/boxes.js`.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ... import against
from ...equation import Equation
from ...examples import Example, call
from ...letters import FIELDS, LETTERS, Step
from ...slips import Program, likeliest_first
from . import Exercise
from .judges import Number

NUMBERS = ("number", "scalar", "pixels", "whole", "noising")
"""Kinds of letters that are one number in a formula."""

DIGITS = 7
"""Digits of the slips' values: they are compared to a part in a million, and a box stays small."""

VALUES, FEWEST = 1300, 6
"""About how many values all slips of a box have together, and at how many examples each has one at least."""

GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi"),
    *("rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
)
"""Greek letters that are names; the browser knows their signs."""


def box(exercise: Exercise) -> dict[str, Any]:
    """What the browser needs for one exercise.

    Raises:
        ValueError: when the answer is not one formula in letters that are numbers, and not one number.
    """
    if exercise.known is not None:
        known = exercise.known()
        if exercise.kind != "derive" and _has_cases(known):
            raise ValueError(f"exercise {exercise.name} has no box: its answer distinguishes cases")
        return {"name": exercise.name, **_formula(exercise.name, known)}
    if exercise.kind == "number" and isinstance(exercise.judge, Number):
        value, digits = float(exercise.judge.compute()), exercise.judge.digits
        examples = {"where": [""], "given": [[]], "expected": [value], "allowed": [digits]}
        return {"name": exercise.name, "letters": [], "coordinate": False, **examples, "slips_at": [], "slips": []}
    raise ValueError(f"exercise {exercise.name} has no box: its answer is neither a formula nor a number")


def _has_cases(known: Equation) -> bool:
    """Whether the book's own formula is different in some cases, such as in the last step: no one formula is right then."""
    nodes = (node for tree in Program(known).trees.values() for node in ast.walk(tree))
    return any(isinstance(node, ast.If | ast.IfExp) or getattr(node, "id", "") == "where" for node in nodes)


def _formula(name: str, known: Equation) -> dict[str, Any]:
    for argument in known.arguments:
        if argument.kind not in (*NUMBERS, "step"):
            raise ValueError(f"exercise {name} has no box: {argument.name} is not a number in a formula")
    tried = [*_tried(known)]
    if not tried:
        raise ValueError(f"exercise {name} has no box: its answer is not one number")
    return {
        "letters": letters(known),
        "coordinate": not _elementwise(known),
        "where": [given.where for given, _, _ in tried],
        "given": [[*_values(given)] for given, _, _ in tried],
        "expected": [expected for _, expected, _ in tried],
        "allowed": [float(f"{allowed:.3g}") for _, _, allowed in tried],
        **_slips(known, tried),
    }


def _tried(known: Equation) -> Iterator[tuple[Example, float, float]]:
    """The examples of `against.compare` that are single numbers: arguments, result, and what that may differ by."""
    seen: set[tuple[float, ...]] = set()
    for given, expected in against.admitted_examples(known):
        if not all(isinstance(value, int | float) for value in _values(given)):
            continue
        parts = against.parts(expected)
        if len(parts) != 1 or parts[0].shape:
            return
        (allowed,) = against.allowances(known, given, parts)
        values = tuple(_values(given))
        if math.isfinite(allowed) and np.isfinite(parts[0]) and values not in seen:
            seen.add(values)
            yield given, float(parts[0]), float(allowed)


def _values(given: Mapping[str, Any]) -> Iterator[Any]:
    """The values of the letters, in the order of `letters`."""
    for value in given.values():
        yield from value if isinstance(value, Step) else [value]


def _elementwise(known: Equation) -> bool:
    """Whether each number of a result belongs to one number of each argument; else the function adds over coordinates."""
    for given, expected in against.admitted_examples(known):
        try:
            shape = np.broadcast_shapes(*(np.shape(value) for value in _values(given)))
        except ValueError:  # one argument has coordinates, another has none
            return False
        if any(part.shape != shape for part in against.parts(expected)):
            return False
    return True


def _slips(known: Equation, tried: list[tuple[Example, float, float]]) -> dict[str, Any]:
    """Every slip, the likeliest first: its words and its values, None where it has none.

    Where there are many, they have values at some of the examples only, which tell them apart as well.
    """
    made = likeliest_first(known)
    many = min(len(tried), max(FEWEST, VALUES // max(1, len(made))))
    at = sorted({round(place * (len(tried) - 1) / max(1, many - 1)) for place in range(many)})
    found: dict[tuple[float | None, ...], str] = {}
    right = tuple(_short(tried[place][1]) for place in at)
    for slip in made:
        values = tuple(_value(known, tried[place][0], slip.function) for place in at)
        if values != right:  # else it changes nothing
            found.setdefault(values, slip.words)
    return {"slips_at": at, "slips": [[words, values] for values, words in found.items()]}


def _value(known: Equation, given: Example, function: Callable[..., Any]) -> float | None:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a slip may make complex numbers of real ones
            parts = against.parts(call(known, given, function))
    except Exception:
        return None
    return _short(parts[0].item()) if len(parts) == 1 and parts[0].size == 1 else None


def _short(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


# Letters and how they are typed. -------------------------------------------------------------------------------------


def letters(known: Equation) -> list[dict[str, Any]]:
    """The letters of an answer: a name, the formula that shows it, and all spellings, as the browser reads them.

    A letter of the form ``sigma^2`` brings another one, its root, which is what the reader means by sigma.
    """
    found: list[dict[str, Any]] = []
    for argument in known.arguments:
        if argument.kind == "step":
            found += _of_step(argument.name)
        else:
            tex = [each for each in LETTERS[argument.name].latex if each]
            found.append(_letter(argument.name, tex, [argument.name]))
    for place, each in enumerate([*found]):
        if each["tex"].endswith("^2") and (root := each["tex"].removesuffix("^2")) and spelled(root):
            found.append({**_letter(spelled(root), [root], []), "root": place})
    taken: set[str] = set()
    for each in sorted(found, key=lambda each: "root" in each):  # a spelling belongs to the first that has it
        each["spellings"] = [one for one in dict.fromkeys(each["spellings"]) if one not in taken]
        taken |= {*each["spellings"]}
    return found


INDICES = {"step": "t", "step_prev": "t-1", "step_next": "t+1"}
"""The index of the numbers of a step where its name does not say it."""


def _letter(name: str, tex: list[str], names: list[str]) -> dict[str, Any]:
    shown = tex[0] if tex else rf"\mathtt{{{name}}}".replace("_", r"\_")
    return {
        "name": name,
        "tex": shown,
        "fenced": bool(re.search(r"[-+](?![^{]*\})", shown)),  # in a product it needs parentheses
        "spellings": [other for each in [*names, *filter(None, map(spelled, tex))] for other in _also(each)],
    }


def _of_step(step: str) -> Iterator[dict[str, Any]]:
    """The numbers of a step: those of `step` have the index t, those of `step_s` the index s."""
    index = INDICES.get(step, step.removeprefix("step_"))
    before = {"t-1": "t-2", "t+1": "t"}.get(index, f"{index}-1")
    for field, (latex, _, _) in FIELDS.items():
        late = before if field.endswith("_prev") else index
        tex = re.sub(r"_(?:\{t-1\}|t)", f"_{{{late}}}" if len(late) > 1 else f"_{late}", latex)
        names = [f"{step}.{field}", f"{field.removesuffix('_prev')}_{late}"]
        yield _letter(field if index == "t" else names[1], [tex], [*names, field] if index == "t" else names)


def _also(name: str) -> Iterator[str]:
    """A spelling and its variants: alphabar and x0 for alpha_bar and x_0."""
    yield name
    if "_bar" in name and "." not in name:
        yield name.replace("_bar", "bar")
    if re.fullmatch(r"[a-z]_[a-z0-9]", name):
        yield name.replace("_", "")


_ACCENT = r"(?:\\(?P<accent>bar|hat|tilde)\s*)?"
_BASE = rf"(?P<brace>\{{)?(?:\\(?P<greek>{'|'.join(GREEK)})|(?P<latin>[A-Za-z]))(?(brace)\}})"
_INDEX = r"(?:_(?:\{(?P<long>[\w+-]+)\}|(?P<short>\w)))?"


def spelled(tex: str) -> str:
    r"""LaTeX of a letter as the name that the browser reads in it: ``alpha_bar_t-1`` for ``\bar\alpha_{t-1}``; empty if it has none."""
    found = re.fullmatch(_ACCENT + _BASE + _INDEX, tex.strip())
    if not found:
        return ""
    index = found["long"] or found["short"]
    return "_".join(filter(None, (found["greek"] or found["latin"], found["accent"], index)))
