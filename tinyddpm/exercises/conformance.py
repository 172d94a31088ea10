"""Other libraries beside the book: `python -m tinyddpm.exercises.conformance`, `tinyddpm check --library diffusers`.

Each function of a library (`adapters`) is asked whether it is an equation, with three residuals: with the library's
arithmetic in float64, so that rounding is apart from error; in the precision that it ships; and, for its samplers, the
spread of samples of Gaussian data where the network is exact. The verdict follows from what was measured:

    holds                            equal to what the digits allow, in both precisions
    differs by rounding              equal in float64, but not to five digits as shipped
    differs by a stated convention   not equal, but equal once what the library states is undone
    wrong                            none of these
    not asked                        the book has no such equation

A command saves what it measured of the libraries that are installed, with their versions, and keeps what was measured of
others. The page is made from that file.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from .. import against, equations, forward
from ..arrays import to_numpy
from ..door import unchecked
from ..equation import find
from ..files import write, write_json
from ..forward import Schedule
from ..letters import LETTERS, Interval, Step
from ..tables import renewed, table
from ..train.samplers import SAMPLERS, VARIANCES, Moment
from .adapters import LIBRARIES
from .adapters.asked import Asked, Library, Place, Walk, in_float64

HOLDS, ROUNDING, CONVENTION = "holds", "differs by rounding", "differs by a stated convention"
WRONG, NOT_ASKED = "wrong", "not asked"
VERDICTS = (HOLDS, ROUNDING, CONVENTION, WRONG, NOT_ASKED)

DIGITS = 1e-5
"""What may be missing in the precision that a library ships: float32 keeps seven digits, and two may be lost on the way."""

NOTHING = 1e-18
"""What counts as nothing: libraries keep variances above 1e-20, to take their logarithm."""

NEAR = 1e-3
"""By how much of itself a spread may differ from the one that the book's sampler has at the same times."""

REPORT = Path("docs/assets/conformance/results.json")
"""Where a checkout keeps what was measured."""


class NotInstalled(ValueError):
    """A library that is not here."""


# Where it is asked. --------------------------------------------------------------------------------------------------


@functools.cache
def named() -> dict[str, Schedule]:
    """The schedules that libraries make themselves."""
    return {"linear": forward.linear(), "cosine": forward.cosine()}


ODD = Schedule([0.1, 0.2, 0.3, 0.4, 0.5])
"""A schedule that no library makes itself."""

ALONE = (1, 2, 3, 10, 100, 500, 999, 1000)
"""Times at which a step is asked."""

JUMPS = ((1, 0), (2, 1), (20, 0), (21, 1), (500, 480), (1000, 900), (1000, 999))
"""Pairs of times, later and earlier, between which libraries can step."""


def place_in_float64(step: Step, step_s: Step | None = None) -> Place:
    """A table that has only the two times: any step can be asked of a library that takes betas."""
    earlier = step.before if step_s is None else step_s
    jump = step.since(earlier)
    if earlier.noise_var == 0:
        return Place(np.array([jump.beta]), 0, -1, "")
    return Place(np.array([earlier.noise_var, jump.beta]), 1, 0, "")


def place_as_shipped(step: Step, step_s: Step | None = None) -> Place:
    """The step in the table that a library makes itself.

    Raises:
        ValueError: when it is of no such schedule.
    """
    for name, schedule in named().items():
        found = np.flatnonzero(schedule.steps.noise_var == step.noise_var)
        if found.size:
            t, s = int(found[0]), int(found[0]) - 1
            if step_s is not None:
                earlier = np.flatnonzero(schedule.steps.noise_var == step_s.noise_var)
                s = int(earlier[0]) if earlier.size else -1
            return Place(schedule.beta, t, s, name)
    raise ValueError(f"step must be of {', '.join(named())}, got {step}")


class Example(dict[str, Any]):
    """Arguments of an equation by name, and in words where they come from."""

    where = ""


@functools.cache
def _tables() -> dict[str, list[dict[str, Any]]]:
    """Arguments of equations that have more than letters."""
    pixel = np.array([-1.0, -0.5, 0.1, 0.3, 1.0])
    grid = np.round((pixel + 1) * 127.5) / 127.5 - 1
    return {
        "forward.linear": [{"T": 1000, "beta_1": 1e-4, "beta_T": 0.02}, {"T": 10, "beta_1": 0.1, "beta_T": 0.4}],
        "forward.scaled_linear": [{"T": 1000, "beta_1": 0.00085, "beta_T": 0.012}],
        "forward.cosine": [{"T": T, "s": 0.008, "beta_max": 0.999} for T in (1000, 50)],
        "forward.alpha_bar": [{"beta": schedule.beta} for schedule in named().values()],
        "forward.zero_terminal_snr": [{"schedule": forward.linear()}, {"schedule": forward.scaled_linear()}],
        "forward.ornstein_uhlenbeck": [
            {"x_0": np.array([0.5, -1.0, 0.3]), "integrated_beta": b} for b in (1e-4, 0.1, 2.0, 9.0)
        ],
        "elbo.decoder_log_prob": [
            {"x_0": grid, "mean": grid + far * std, "var": np.full(5, std**2)}
            for std in (0.005, 0.02, 0.1)
            for far in (0.0, 1.0, -2.0, 4.0)
        ],
        "elbo.gaussian_kl": [
            {name: np.array(values) for name, values in zip(("mean_q", "var_q", "mean_p", "var_p"), each, strict=True)}
            for each in [([0.1, 0.2], [0.5, 1.0], [0.3, -1.0], [0.7, 0.2])]
        ],
        "train.time_embedding": [{"t": np.array([0.0, 1.0, 10.0, 500.0, 999.0]), "dims": 16}],
    }


def examples(asked: Asked, shipped: Sequence[str] = ()) -> Iterator[Example]:
    """Arguments for a question: on odd schedules too, or only on those that a library ships."""
    known = find(asked.equation)
    parameters = inspect.signature(asked.ours or known.function).parameters
    names = [name for name, each in parameters.items() if each.default is each.empty or name in asked.fixed]
    if asked.equation in _tables() and asked.ours is None:
        seen = []
        for given in _tables()[asked.equation]:
            made = Example({**given, **{name: value for name, value in asked.fixed.items() if name in names}})
            made.where = f"T = {given['T']}" if "T" in given else ""
            if repr(made) not in seen:
                seen.append(repr(made))
                yield made
        return
    schedules = {name: named()[name] for name in shipped} if shipped else {"betas 0.1 to 0.5": ODD, **named()}
    for name, schedule in schedules.items():
        pairs = JUMPS if "step_s" in names else [(t, t - 1) for t in ALONE]
        for t, s in pairs:
            if t > schedule.T or (name == "cosine" and t == 1000):  # where its beta is cut, each library cuts elsewhere
                continue
            yield _example(names, schedule, t, s, name, asked)


def _example(names: Sequence[str], schedule: Schedule, t: int, s: int, name: str, asked: Asked) -> Example:
    rng, made = np.random.default_rng([t, s]), Example()
    made.where = f"t = {t}{f' to {s}' if 'step_s' in names else ''} of {name}"
    step = schedule[t]
    for argument in names:
        letter = LETTERS[argument]
        if argument in asked.fixed:
            value = asked.fixed[argument]
            made[argument] = value(step) if callable(value) else value
        elif argument == "step":
            made[argument] = step
        elif argument == "step_s":
            made[argument] = schedule[s] if s else schedule[1].before
        elif argument == "eta":
            made[argument] = 0.7
        elif argument == "v":
            made[argument] = rng.uniform(0, 1, 3)
        elif letter.kind in ("number", "scalar"):
            domain = Interval.read(letter.domain)
            low, high = max(domain.low, -1.0), min(domain.high, 1.0)
            made[argument] = float(rng.uniform(2, 6)) if letter.kind == "scalar" else rng.uniform(low, high, 3)
    return made


# Residuals. ----------------------------------------------------------------------------------------------------------


@dataclass
class Residual:
    """How far a function of a library is from an equation."""

    largest: float = 0.0
    """the largest relative difference"""
    within: bool = True
    """whether all differences are within what the inputs' last digits make"""
    where: str = ""
    """where it is largest"""
    count: int = 0

    def add(self, relative: float, within: bool, where: str) -> None:
        """Take another example in."""
        self.count += 1
        self.within &= within
        if not relative <= self.largest:
            self.largest, self.where = (relative if relative == relative else math.inf), where


def measure(asked: Asked, function: Callable[..., Any], given: Iterator[Example], dtype: Any) -> Residual:
    """Compare a function of a library with the equation on examples."""
    known, found = find(asked.equation), Residual()
    ours = asked.ours or known.function
    for example in given:
        try:
            result = ours(**example)
        except ValueError:  # not admitted
            continue
        expected = against.parts(result)
        if asked.ours is None:
            allowed = against.allowances(known, example, expected)
        else:
            allowed = [1e-9 * abs(each) for each in expected]
        theirs = _theirs(function, example, expected, dtype)
        for mine, other, slack in zip(expected, theirs, allowed, strict=True):
            off = abs(other - mine)
            size = abs(mine) if asked.equation in _tables() else abs(mine).max()
            relative = float(np.max(off / np.where(size == 0, 1.0, size)))
            found.add(relative, bool(np.all(off <= slack + NOTHING)), example.where)
    return found


def _theirs(
    function: Callable[..., Any], example: Example, expected: Sequence[np.ndarray], dtype: Any
) -> list[np.ndarray]:
    """What a library gives, as float64 arrays of the shapes that the book's results have."""
    parameters = inspect.signature(function).parameters
    free = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    given = {name: _tensor(name, value, dtype) for name, value in example.items() if free or name in parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(**given)
    several = result if isinstance(result, tuple) else (result,)
    made = []
    for one, mine in zip(several, expected, strict=True):
        flat = np.asarray(to_numpy(one), np.float64)
        made.append(
            flat.reshape(mine.shape) if flat.size == mine.size else np.broadcast_to(flat.reshape(-1), mine.shape)
        )
    return made


def _tensor(name: str, value: Any, dtype: Any) -> Any:
    if isinstance(value, np.ndarray) and name != "beta":
        made = torch.tensor(value, dtype=dtype)
        return made if name == "t" else made.reshape(1, 1, 1, -1)
    return value


def verdict(exact: Residual, shipped: Residual, undone: Residual | None) -> str:
    """What the residuals say: with the library's arithmetic in float64, as shipped, and with its convention undone in float64."""
    if exact.within:
        return HOLDS if shipped.largest <= DIGITS else ROUNDING
    return CONVENTION if undone is not None and undone.within else WRONG


def ask(library: Library) -> list[dict[str, Any]]:
    """The rows of the report about a library's functions."""
    rows = []
    exact, shipped = library.questions(place_in_float64), library.questions(place_as_shipped)
    for asked, again in zip(exact, shipped, strict=True):
        if asked.whole:
            asked = again
        with in_float64():
            first = measure(asked, asked.function, examples(asked, library.shipped * asked.whole), torch.float64)
            undone = None
            if not first.within and asked.stated is not None:
                undone = measure(asked, asked.stated.function, examples(asked), torch.float64)
        function = again.function if undone is None or again.stated is None else again.stated.function
        second = measure(again, function, examples(again, library.shipped), torch.float32)
        said = verdict(first, second, undone)
        row = {
            "equation": asked.equation,
            "theirs": asked.theirs,
            "option": asked.option,
            "verdict": said,
            "float64": _digits(first.largest if undone is None else undone.largest),
            "shipped": _digits(second.largest),
            "where": second.where if said in (HOLDS, ROUNDING, CONVENTION) else first.where,
            "examples": first.count,
        }
        if said == CONVENTION and asked.stated is not None:
            row |= {"convention": asked.stated.words, "stated": asked.stated.where, "naive": _digits(first.largest)}
        if said == WRONG:
            row["claim"] = asked.claim
        rows.append(row)
    return rows


def _digits(value: float) -> float | str:
    """Two digits, which is what a residual means; JSON has no infinity."""
    return float(f"{value:.1e}") if math.isfinite(value) else "not finite"


# The spread of samples. ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ideal:
    """The network that training would end at, for data from one Gaussian: the posterior mean of x_0."""

    mean: float = 0.2
    var: float = 0.25

    def x_0(self, x: Any, kept: Any) -> Any:
        """The predicted x_0 where this share of its variance is kept."""
        step = Step.from_alpha_bar(kept)
        mean = self.var * kept**0.5 * _double(x) + step.noise_var * self.mean
        return _as(x, mean / (kept * self.var + step.noise_var))

    def noise(self, x: Any, kept: Any) -> Any:
        """The predicted noise there."""
        step = Step.from_alpha_bar(kept)
        noise = step.noise_var**0.5 * (_double(x) - kept**0.5 * self.mean)
        return _as(x, noise / (kept * self.var + step.noise_var))


def _double(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) else x


def _as(x: Any, result: Any) -> Any:
    return result.to(x.dtype) if isinstance(x, Tensor) else result


IDEAL = Ideal()

SIZE = 0.05
"""How large the noise is by which a sampler is probed: so small that no library clips."""


@dataclass(eq=False)
class Probes:
    """In the place of `torch.randn`: each row of a batch gets noise in one draw only, the first in none, the last in all.

    A sampler whose network is linear gives a weighted sum of its draws. The rows show the weights, and the last one
    whether it is so.
    """

    rows: int
    weights: list[float] = field(default_factory=list)

    def __call__(self, *size: Any, **options: Any) -> Tensor:
        """The next draw, in the precision that is asked for."""
        first = size[0] if size else options["size"]
        shape = first.shape if isinstance(first, Tensor) else first if isinstance(first, tuple | list) else size
        like = options.get("dtype") or (first.dtype if isinstance(first, Tensor) else torch.get_default_dtype())
        place = len(self.weights)
        if shape[0] != self.rows or place + 2 >= self.rows:
            raise ValueError(
                f"rows must be more than the draws and the batch, got {self.rows} for {place + 1} of {shape}"
            )
        self.weights.append(math.cos(1 + place * math.sqrt(2)))
        drawn = torch.zeros(*shape, dtype=like)
        drawn[place + 1], drawn[-1] = SIZE, SIZE * self.weights[-1]
        return drawn

    def moments(self, samples: Tensor) -> tuple[float, float, float]:
        """The mean and the std of the samples, exactly, and by how much the last row is not the sum of the others."""
        out = samples.double().reshape(self.rows, -1)[:, 0]
        weights = (out[1:-1] - out[0]) / SIZE
        mixed = torch.tensor(self.weights, dtype=torch.float64) @ weights[: len(self.weights)]
        off = (out[-1] - out[0]) / SIZE - mixed
        return float(out[0]), float(weights.square().sum() ** 0.5), float(abs(off))


def walked(walk: Walk, steps: int) -> tuple[tuple[float, float, float], list[float], float]:
    """The moments of a library's samples, the shares that are kept at its times, and the std it begins with."""
    walk.run(IDEAL, 2, steps)  # so that all that is imported late keeps the real `torch.randn`
    probes = Probes(steps + 5)
    with mock.patch.object(torch, "randn", probes), mock.patch.object(torch, "randn_like", probes), torch.no_grad():
        samples, kept, start = walk.run(IDEAL, probes.rows, steps)
    return probes.moments(samples), kept, start


def booked(kept: Sequence[float], start: float, kind: str, variance: str, eta: float) -> tuple[float, float]:
    """The moments of samples of the book's own sampler that visits the same times."""
    levels = [Step.from_alpha_bar(share) for share in kept]
    probes = Probes(len(levels) + 5)
    x, before = start * probes(probes.rows, dtype=torch.float64), None
    with unchecked():
        for here, there in pairwise(levels):
            z = probes(probes.rows, dtype=torch.float64)
            if here.alpha_bar == there.alpha_bar:
                continue
            jump = here.since(there)
            x_0, noise = IDEAL.x_0(x, here.alpha_bar), IDEAL.noise(x, here.alpha_bar)
            var = VARIANCES[variance](jump, None)
            x = SAMPLERS[kind].step(x, x_0, Moment(jump, there, noise, z, var, eta, before))
            before = (x_0, jump)
    mean, std, _ = probes.moments(x)
    return mean, std


def spread(walk: Walk) -> dict[str, Any]:
    """The row of the report about a sampler."""
    rows: dict[str, list[Any]] = {"std": [], "mean": [], "ours": [], "ours_mean": [], "stated": []}
    agree, undone, off = True, walk.stated is not None, 0.0
    for steps in walk.steps:
        (mean, std, bent), kept, start = walked(walk, steps)
        off = max(off, bent)
        rows["std"].append(_short(std))
        rows["mean"].append(_short(mean))
        if not walk.kind:
            continue
        whole = kept if kept[-1] == 1 else [*kept, 1.0]
        wanted = booked(whole, start, walk.kind, walk.variance, walk.eta)
        rows["ours"].append(_short(wanted[1]))
        rows["ours_mean"].append(_short(wanted[0]))
        agree &= _near((mean, std), wanted)
        if walk.stated is not None:
            other = {"eta": walk.eta, "variance": walk.variance, **walk.stated[2]}
            changed = booked(kept, start, walk.kind, str(other["variance"]), float(other["eta"]))
            rows["stated"].append(_short(changed[1]))
            undone &= _near((mean, std), changed)
    said = NOT_ASKED if not walk.kind else HOLDS if agree else CONVENTION if undone else WRONG
    made = {
        "sampler": walk.name,
        "schedule": walk.schedule,
        "book": walk.kind,
        "variance": walk.variance,
        "eta": walk.eta,
    }
    made |= {"verdict": said, "steps": [*walk.steps], **{name: values for name, values in rows.items() if values}}
    made["linear_to"] = _digits(off)
    if said == CONVENTION and walk.stated is not None:
        made |= {"convention": walk.stated[0], "stated_in": walk.stated[1]}
    if said == WRONG:
        made["claim"] = walk.claim
    return made


def _near(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return all(abs(a - b) <= NEAR * IDEAL.var**0.5 for a, b in zip(one, two, strict=True))


def _short(value: float) -> float | None:
    return float(f"{value:.5f}") if math.isfinite(value) else None


# The report. ---------------------------------------------------------------------------------------------------------


def is_here(name: str) -> bool:
    """Whether a library is installed."""
    try:
        return find_spec(LIBRARIES[name].package) is not None
    except ModuleNotFoundError:  # not even the package that it is a part of
        return False


def installed() -> list[str]:
    """The libraries that are here."""
    return [name for name in LIBRARIES if is_here(name)]


def examined(name: str) -> dict[str, Any]:
    """Everything that is measured of a library.

    Raises:
        ValueError: when there is no such library, or it is not installed.
    """
    if name not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {name!r}")
    library = LIBRARIES[name]
    if not is_here(name):
        raise NotInstalled(f"library {name} is not installed: pip install {library.distribution}")
    equations()
    return {
        "distribution": library.distribution,
        "version": version(library.distribution),
        "with": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "equations": ask(library),
        "samplers": [spread(walk) for walk in library.walks()],
    }


def load(path: Path = REPORT) -> dict[str, Any]:
    """What was measured.

    Raises:
        ValueError: when there is nothing that can be read.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        report["libraries"]
    except FileNotFoundError:
        raise ValueError(f"{path} is not there; python -m tinyddpm.exercises.conformance measures it") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{path} is not what conformance wrote: {problem!r}") from None
    return report


def saved(found: Mapping[str, Any], path: Path = REPORT) -> dict[str, Any]:
    """Write a report: what is new in the place of the old, and of other libraries what was there."""
    before = load(path)["libraries"] if path.is_file() else {}
    libraries = {name: {**before, **found}[name] for name in LIBRARIES if name in before or name in found}
    report = {"data": {"mean": IDEAL.mean, "std": IDEAL.var**0.5}, "libraries": libraries}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)
    return report


def counted(of: Mapping[str, Any]) -> dict[str, int]:
    """How often each verdict was given about a library."""
    rows = [*of["equations"], *of["samplers"]]
    return {name: sum(row["verdict"] == name for row in rows) for name in VERDICTS}


# Tables. -------------------------------------------------------------------------------------------------------------


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """All tables of the page, by name: one over all libraries, and two for each."""
    libraries = report["libraries"]
    head = ["library", "version", *VERDICTS]
    rows = [
        [of["distribution"], of["version"], *(str(count) for count in counted(of).values())]
        for of in libraries.values()
    ]
    made = {"conformance": table(head, rows)}
    for name, of in libraries.items():
        slug = name.replace("-", "_")
        made[f"{slug}_equations"] = table(
            ["equation", "what is called", "verdict", "in float64", "as shipped"],
            [_row(row) for row in of["equations"]],
        )
        if of["samplers"]:
            steps = sorted({n for row in of["samplers"] for n in row["steps"]})
            made[f"{slug}_spread"] = table(
                ["sampler", *(f"{n} steps" for n in steps), "verdict"],
                [_spread_row(row, steps) for row in of["samplers"]],
            )
    return made


def _row(row: Mapping[str, Any]) -> list[str]:
    theirs = f"`{row['theirs']}`" + (f", {row['option']}" if row["option"] else "")
    numbers = [row[name] if isinstance(row[name], str) else f"{row[name]:.0e}" for name in ("float64", "shipped")]
    return [
        f"[[eq:{row['equation']}]] `{row['equation']}`",
        theirs,
        _said(row),
        *("0" if n == "0e+00" else n for n in numbers),
    ]


def _said(row: Mapping[str, Any]) -> str:
    if row["verdict"] == WRONG:
        return f"[{WRONG}](#{row['claim']})"
    return f"{row['verdict']}: {row['convention']}" if row["verdict"] == CONVENTION else row["verdict"]


def _spread_row(row: Mapping[str, Any], steps: Sequence[int]) -> list[str]:
    """The spread of a library and, where it is another, that of the book's sampler at the same times."""
    cells = {}
    for place, (n, std) in enumerate(zip(row["steps"], row["std"], strict=True)):
        shown = "NaN" if std is None else f"{std:.3f}"
        ours = row["ours"][place] if "ours" in row else None
        other = f" ({ours:.3f})" if ours is not None and (std is None or abs(std - ours) > 5e-4) else ""
        cells[n] = f"{shown}{other}"
    schedule = "" if row["schedule"] == "linear" else f", {row['schedule']}"
    return [f"{row['sampler']}{schedule}", *(cells.get(n, "") for n in steps), _said(row)]


def described(name: str, of: Mapping[str, Any]) -> str:
    """What was measured of a library, for a terminal."""
    lines = [f"{of['distribution']} {of['version']}"]
    for row in of["equations"]:
        option = f", {row['option']}" if row["option"] else ""
        more = f": {row['convention']} ({row['stated']})" if row["verdict"] == CONVENTION else ""
        lines.append(f"  {row['equation']:<32}{row['theirs']}{option}: {row['verdict']}{more}")
        lines.append(f"  {'':<32}float64 {row['float64']}, as shipped {row['shipped']}, {row['where']}")
    for row in of["samplers"]:
        lines.append(f"  {row['sampler']} ({row['schedule']}): {row['verdict']}")
        for title in ("std", "ours"):
            if title in row:
                values = "  ".join(f"{n}: {_shown(value)}" for n, value in zip(row["steps"], row[title], strict=True))
                lines.append(f"    {title:<6}{values}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4f}"


# The commands. -------------------------------------------------------------------------------------------------------


def check(name: str) -> int:
    """Print what is so of a library that is installed; gives 1 if something is wrong, else 0.

    Raises:
        ValueError: when there is no such library, or it is not installed.
    """
    of = examined(name)
    print(described(name, of))
    return int(counted(of)[WRONG] > 0)


@dataclass(frozen=True)
class Conformance:
    """Measure the libraries that are installed, save it, and put the tables on the page."""

    libraries: Positional[tuple[str, ...]] = ()
    """which; if not given, all that are installed"""
    report: Path = REPORT
    """file for what is measured; what it says of other libraries is kept"""
    page: Annotated[Path | None, tyro.conf.arg(help="page whose tables are renewed, such as docs/conformance.md")] = (
        None
    )
    measure: bool = True
    """measure; with --no-measure only the tables are renewed"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    command = tyro.cli(Conformance, args=arguments)
    try:
        found = {}
        for name in (command.libraries or installed()) if command.measure else ():
            found[name] = examined(name)
            print(described(name, found[name]), flush=True)
        report = saved(found, command.report) if found else load(command.report)
        if command.page is not None:
            content = renewed(command.page.read_text("utf-8"), tables(report)).encode()
            write(command.page, lambda file: file.write(content))
    except (ValueError, OSError) as problem:
        print(f"tinyddpm: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
