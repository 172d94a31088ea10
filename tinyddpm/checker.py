"""The equation checker: a pytest plugin that counts coverage in equations.

This project's configuration loads it (`-p tinyddpm.checker`); other pytest runs in the environment are left alone.

A test says with `@checks(posterior.mean)` which equations it checks, and compares with `assert_equal`, which notes the
largest residual. What concerns an equation without checking its value, such as what its door refuses, is marked
`concerns`. At the end pytest prints how many equations there are, how many are checked and proved and by how much. A
whole run fails when an equation has no check; a partial one says why it is partial.

    pytest --equation posterior.mean          runs the checks of one equation (may be given several times)
    pytest --against=posterior.py             runs the checks of the equations that a file, a folder or a module defines,
                                              with its functions in the place of the book's
    pytest --equation-report=FILE             writes the status of every equation as JSON, for the site; a run of a part
                                              of the tests renews only what it ran, and says that it was partial
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from . import against, door, equations
from .arrays import Array, to_numpy
from .equation import find, registry
from .files import write

Test = TypeVar("Test", bound=Callable[..., Any])

PROPERTY = "tinyddpm.checker"

SUBSTITUTES = pytest.StashKey[dict[str, against.Substitute]]()
"""The functions of `--against`, by the names of their equations."""


def checks(*functions: Callable[..., Any]) -> Callable[[Test], Test]:
    """Say which equations the test below checks. The outermost decorator, above Hypothesis' `@given`.

    Raises:
        ValueError: when a function is no registered equation.
    """
    names = [find(function).name for function in functions]

    def mark(test: Test) -> Test:
        if hasattr(test, "hypothesis"):
            test.hypothesis.inner_test = _counted(test.hypothesis.inner_test)
            return pytest.mark.checks(*names)(test)
        return pytest.mark.checks(*names)(_counted(test))

    return mark


def assert_equal(actual: Array, expected: Array, rtol: float = 1e-10, atol: float = 0.0) -> None:
    """Compare library, shape and dtype, then every element: |a - b| <= atol + rtol max(|a|, |b|). NaN equals nothing.

    Args:
        actual: a number, an array, a tensor, or a tuple of them.
        expected: the same, by an independent route.
        rtol: largest relative difference.
        atol: largest absolute difference, for values that come near 0 by cancelling.

    Raises:
        AssertionError: naming the worst element.
    """
    if isinstance(actual, tuple) or isinstance(expected, tuple):
        sizes = [len(value) if isinstance(value, tuple) else 1 for value in (actual, expected)]
        _hold(sizes[0] == sizes[1], f"{sizes[0]} values, expected {sizes[1]}")
        for a, b in zip(actual, expected, strict=True):
            assert_equal(a, b, rtol, atol)
        return
    _hold(_kind(actual) == _kind(expected), f"{_kind(actual)}, expected {_kind(expected)}")
    a, b = to_numpy(actual), to_numpy(expected)
    _hold(a.shape == b.shape, f"shape {a.shape}, expected {b.shape}")
    if a.size == 0:
        return
    size = np.maximum(abs(a), abs(b))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        off = np.where(a == b, 0.0, abs(a - b))
        residual = np.where(off == 0, 0.0, off / (size + atol / rtol))
    worst = np.unravel_index(np.argmax(np.where(np.isnan(residual), np.inf, residual)), a.shape)
    _hold(
        bool(residual[worst] <= rtol),
        f"{a[worst]!r}, expected {b[worst]!r}, at {list(map(int, worst))}: "
        f"residual {residual[worst]:.2g} above {rtol:.2g}",
    )
    _record.residual = max(_record.residual or 0.0, float(residual[worst]))


def _hold(condition: bool, message: str) -> None:
    """An assertion that holds under ``python -O`` too, and where pytest does not rewrite it."""
    if not condition:
        raise AssertionError(message)


@dataclass
class _Record:
    """What one test has shown so far."""

    examples: int = 0
    residual: float | None = None
    asked: list[str] = field(default_factory=list)
    """functions of `--against` that were called"""


_record = _Record()


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same test, counting how often it is run: once an example."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        _record.examples += 1
        return function(*args, **kwargs)

    return run


def _kind(value: Array) -> str:
    """Library and dtype; Python's and NumPy's own scalars count as NumPy's."""
    if type(value).__module__.startswith("torch"):
        return str(value.dtype)
    return f"numpy.{np.asarray(value).dtype}"


def run(arguments: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Run pytest on the tests of the book: those in the wheel, or those beside the package in a checkout.

    Raises:
        ValueError: when there are none.
    """
    here = Path(__file__).resolve().parent
    tests = next((path for path in (here / "tests", here.parent / "tests") if path.is_dir()), None)
    if tests is None:
        raise ValueError(f"check found no tests, neither in {here} nor beside it")
    # The settings and the conftest.py of a project around the package are not for these tests.
    alone = ["-c", os.devnull, f"--rootdir={tests.parent}", f"--confcutdir={tests}", "-W", "error::RuntimeWarning"]
    options = ["-p", "tinyddpm.checker", "-p", "no:cacheprovider"]
    return int(pytest.main([str(tests), *alone, *options, *arguments], plugins=[*plugins]))


# What pytest calls. --------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("equations")
    group.addoption(
        "--equation",
        action="append",
        default=[],
        metavar="NAME",
        help="run only the checks of this equation (repeatable)",
    )
    group.addoption(
        "--against",
        metavar="PATH",
        help="judge the functions of a file, a folder or a module by the checks of the equations that they are called like",
    )
    group.addoption("--equation-report", metavar="FILE", help="write the status of every equation as JSON")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "checks(*names): the equations that this test checks",
        "concerns(*names): the equations that this test is about, though it does not check their values",
        "proves(name): the equation whose formula this test proves equal to its code",
        "unproved(name, reason): the equation whose formula is not proved, and why",
        "careful: a check that asks for more than the formula, such as digits that a textbook loses or values at its ends; "
        "not asked of other people's functions",
    ):
        config.addinivalue_line("markers", line)
    for name in config.getoption("equation"):
        equations()
        try:
            find(name)
        except ValueError as problem:
            raise pytest.UsageError(f"--equation: {problem}") from None
    path = config.getoption("against")
    config.stash[SUBSTITUTES] = {}
    if path:
        try:
            config.stash[SUBSTITUTES] = against.substitutes(against.load(path).functions)
        except (against.CannotLoad, against.NotPossible) as problem:
            pytest.exit(f"--against: {problem}", returncode=2)
        if config.getoption("equation_report"):
            pytest.exit(
                "--equation-report is about the book's own functions: leave it out with --against", returncode=2
            )
        look_quickly()
        if getattr(config.option, "tbstyle", "") == "auto":
            config.option.tbstyle = "no"  # the verdict says what is wrong, without what is inside the checks
    # Under xdist the one who hands out the work keeps the book.
    keeper = _Worker(config) if hasattr(config, "workerinput") else _Ledger(config)
    config.pluginmanager.register(keeper, f"{PROPERTY}.ledger")


def look_quickly() -> None:
    """Let Hypothesis stop at the first example that fails: `against` looks for the simplest one in its own way."""
    from hypothesis import Phase, Verbosity, settings

    phases = [Phase.explicit, Phase.generate]
    settings.register_profile(
        "against",
        settings.default,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    settings.load_profile("against")


MARKS = ("checks", "concerns", "proves")
"""The marks that name equations."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--equation`, do not even import a file whose checks are all of other equations: that takes the time."""
    wanted = _wanted(config)
    if not wanted or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text("utf-8")
    # Of somebody else's function neither the door nor the proof is asked for.
    marks = "checks" if config.stash[SUBSTITUTES] else "|".join(MARKS)
    if re.search(rf"\bmark\.({marks})\b", text):
        return None  # which equations it is about, it says when it runs
    calls = re.findall(r"^\s*@(?:\w+\.)*checks\(([^)]*)\)", text, re.MULTILINE)
    said = [words for call in calls for words in map(str.strip, call.split(",")) if words]
    meant = [{name for name in registry if f".{name}".endswith(f".{words}")} for words in said]
    # What is not plainly the name of an equation may be any of them.
    return not any(not names or names & wanted for names in meant) or None


def _wanted(config: pytest.Config) -> set[str]:
    """The equations that a run is about; empty if about all."""
    return {*config.getoption("equation"), *config.stash[SUBSTITUTES]}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted, foreign = _wanted(config), config.stash[SUBSTITUTES]
    if not wanted:
        return
    # Of somebody else's function only the values are asked for, not what the door says nor the proof.
    asked = [item for item in items if not (foreign and item.get_closest_marker("careful"))]
    chosen = [item for item in asked if wanted & ({*marked(item, "checks")} if foreign else _names(item))]
    left = set(map(id, chosen))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in left])
    items[:] = chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    global _record
    _record = _Record()
    foreign = item.config.stash[SUBSTITUTES]
    before = {name: substitute.asked for name, substitute in foreign.items()}
    try:
        with door.replacing(foreign):
            return (yield)
    finally:
        _record.asked = [name for name, substitute in foreign.items() if substitute.asked > before[name]]
        marks = {kind: marked(item, kind) for kind in ("checks", "concerns", "proves", "unproved")}
        # user_properties is what travels from xdist's workers with the report
        item.user_properties.append((PROPERTY, {**marks, **asdict(_record)}))


def marked(item: pytest.Item, kind: str) -> list[str]:
    """What the marks of a kind say of a test: names of equations."""
    return [argument for mark in item.iter_markers(kind) for argument in mark.args]


def _names(item: pytest.Item) -> set[str]:
    about = (name for kind in MARKS for name in marked(item, kind))
    return {*about, *marked(item, "unproved")[:1]}


@dataclass
class _Ledger:
    """Collects what the tests showed, and says at the end what it means for each equation."""

    config: pytest.Config
    tests: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    proved: set[str] = field(default_factory=set)
    disproved: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    deselected: int = 0
    reported: set[str] = field(default_factory=set)
    answers: Answers = field(default_factory=lambda: Answers())
    verdicts: list[against.Verdict] = field(default_factory=list)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """Under xdist the workers collect, and know what was left out."""
        self.deselected += getattr(node, "workeroutput", {}).get(PROPERTY, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported.add(report.nodeid)
        shown = dict(report.user_properties).get(PROPERTY)
        if report.when != "call" or not isinstance(shown, dict):
            return
        self.answers.pytest_runtest_logreport(report)
        if shown["unproved"]:
            name, reason = shown["unproved"]
            self.reasons[name] = reason
        (self.proved if report.passed else self.disproved).update(shown["proves"])
        if report.skipped:
            return
        for name in (*shown["checks"], *(() if report.passed else (*shown["proves"], *shown["concerns"]))):
            self.tests[name].append(
                {
                    "id": report.nodeid,
                    "line": (report.location[1] or 0) + 1,
                    "outcome": report.outcome,
                    "examples": shown["examples"],
                    "residual": shown["residual"],
                }
            )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.partial = self._partial(session)
        self.report = self._status({})
        target = self.config.getoption("equation_report")
        if target:
            path = Path(target)
            before = json.loads(path.read_text("utf-8")) if self.partial and path.is_file() else {}
            whole = json.dumps(self._status(before.get("equations", {})), indent=1).encode()
            write(path, lambda file: file.write(whole))
        foreign, shown = self.config.stash[SUBSTITUTES], self.config.pluginmanager.has_plugin("terminalreporter")
        self.verdicts = against.judge({name: each.function for name, each in foreign.items()}, name_slip=shown)
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            judged = {verdict.name for verdict in self.verdicts if verdict.examples} | self.answers.asked.keys()
            bad = [verdict for verdict in self.verdicts if not verdict.good or verdict.name not in judged]
            if bad or self._missing():
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            elif foreign:
                session.exitstatus = pytest.ExitCode.OK  # comparing is enough where no check calls a function

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.config.stash[SUBSTITUTES]:
            terminalreporter.section(f"against {self.config.getoption('against')}")
            for verdict in self.verdicts:
                terminalreporter.write_line(f"{verdict}\n  {in_checks(self.answers.asked.get(verdict.name, {}))}")
            return
        picked = self.config.getoption("equation")
        if not self.tests and not self.proved and not picked:
            return
        say = terminalreporter.write_line
        terminalreporter.section("equations")
        for name in picked:
            row = self.report["equations"][name]
            say(f"{name} ({row['number']}): {row['status']}; {len(row['tests'])} tests, {_shown(row)}")
        if not picked:
            summary = self.report["summary"]
            say(
                f"{summary['equations']} equations, {summary['checked']} checked, {summary['proved']} proved; "
                f"{summary['tests']} tests, {_shown(summary)}"
            )
        if self.partial:
            say(f"a partial run, since {self.partial}: equations without a check are not counted")
        else:
            for reason, count in Counter(self.reasons.values()).most_common():
                names = ", ".join(name for name, why in self.reasons.items() if why == reason)
                say(f"not proved, since {reason} ({count}): {names}")
        for text, missing in self._missing().items():
            say(f"{text}: {', '.join(missing)}", red=True)

    def _missing(self) -> dict[str, list[str]]:
        """What makes a run fail: in a whole one, equations that nothing checks, or that are unproved without a reason;

        of the equations that were picked by name, those that nothing checks.
        """
        known, picked = self.report["equations"], self.config.getoption("equation")
        names = picked if picked else () if self.partial else known
        found = {"no check": [name for name in names if not any(t["examples"] for t in known[name]["tests"])]}
        if not picked:
            found["neither proved nor explained"] = [
                name for name in names if not (known[name]["proved"] or known[name]["unproved_reason"])
            ]
        return {text: names for text, names in found.items() if names}

    def _partial(self, session: pytest.Session) -> str:
        """Why this run is not one of all tests; empty if it is."""
        option, config = self.config.option, self.config
        if option.equation:
            return "--equation picks"
        if option.against:
            return "--against replaces"
        chosen = {
            "-k": option.keyword,
            "-m": option.markexpr,
            "--deselect": option.deselect,
            "--lf": _set("lf", option),
        }
        chosen |= {"--stepwise": _set("stepwise", option), "--collect-only": option.collectonly}
        for name, value in chosen.items():
            if value:
                return f"{name} was given"
        arguments = [*config.invocation_params.args, *os.environ.get("PYTEST_ADDOPTS", "").split()]
        if any(str(argument).startswith("--ignore") for argument in arguments):
            return "--ignore was given"
        roots = [Path(config.rootpath, path).resolve() for path in config.getini("testpaths")]
        folders = [Path(config.invocation_params.dir, argument).resolve() for argument in config.args]
        if any("::" in argument for argument in config.args) or not all(map(Path.is_dir, folders)):
            return "single files or tests were named"
        if not all(any(root.is_relative_to(folder) for folder in folders) for root in roots):
            return "not all folders of tests were named"
        if self.deselected:
            return "some tests were left out"
        if session.shouldstop or session.shouldfail:
            return str(session.shouldstop or session.shouldfail)
        if session.testscollected > len(self.reported):
            return f"only {len(self.reported)} of {session.testscollected} tests were run"
        return ""

    def _status(self, before: dict[str, Any]) -> dict[str, Any]:
        """What is known of every equation; of those tests that were not run, what was known before."""
        rows = {}
        for known in equations():
            old = before.get(known.name, {})
            tests = self.tests.get(known.name, [])
            fresh = {test["id"] for test in tests} | self.reported
            tests = [*tests, *(test for test in old.get("tests", ()) if test["id"] not in fresh)]
            outcomes = {test["outcome"] for test in tests}
            proved = known.name in self.proved or (bool(old.get("proved")) and known.name not in self.disproved)
            good = "proved" if proved else "checked"
            rows[known.name] = {
                "number": known.number,
                "status": "failed" if "failed" in outcomes else good if tests else "unchecked",
                "proved": proved,
                "unproved_reason": self.reasons.get(known.name, old.get("unproved_reason")),
                "tests": tests,
                "examples": sum(test["examples"] for test in tests),
                "residual": _largest(test["residual"] for test in tests),
            }
        every = {test["id"]: test for row in rows.values() for test in row["tests"]}.values()
        summary = {
            "equations": len(rows),
            "checked": sum(row["status"] in ("checked", "proved") for row in rows.values()),
            "proved": sum(row["proved"] for row in rows.values()),
            "tests": len(every),
            "examples": sum(test["examples"] for test in every),
            "residual": _largest(test["residual"] for test in every),
        }
        return {"equations": rows, "summary": summary, "partial": self.partial}


def quickly(arguments: Sequence[str], plugin: object) -> int:
    """The same for a plugin that only collects answers: nothing is printed, and options from outside do not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        return run([*arguments, *QUICKLY], [plugin])


QUICKLY = [*("--assert=plain", "-p", "no:terminal"), *("-p", "no:xdist", "-p", "no:unraisableexception")]
"""Options of pytest for runs that only collect answers."""


def in_words(test: str) -> str:
    """The name of a test as words: "the posterior is bayes rule"."""
    return test.rpartition("::")[2].partition("[")[0].removeprefix("test_").replace("_", " ")


def in_checks(asked: dict[str, list[str]]) -> str:
    """How a function of `--against` did in the checks that called it."""
    count = sum(map(len, asked.values()))
    if not count:
        return "No check of the book calls it with plain numbers."
    failed = [*dict.fromkeys(asked.get("failed", ()))]
    words = f"{count} check{'s' * (count > 1)} of the book called it"
    return f"{words}; it failed: {'; '.join(failed)}." if failed else f"{words}, and it passed."


@dataclass
class Answers:
    """A plugin that only collects how the functions of `--against` did in the checks that called them."""

    asked: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that called one of them."""
        shown = dict(report.user_properties).get(PROPERTY)
        for name in shown["asked"] if report.when == "call" and isinstance(shown, dict) else ():
            self.asked.setdefault(name, {}).setdefault(report.outcome, []).append(in_words(report.nodeid))

    @property
    def failed(self) -> list[str]:
        """The functions that a check failed."""
        return [name for name, by_outcome in self.asked.items() if by_outcome.get("failed")]

    def __str__(self) -> str:
        return "\n".join(against.wrapped(f"{name}: {in_checks(of)}") for name, of in self.asked.items())


@dataclass
class _Worker:
    """In a worker of xdist: counts what was left out, for the one who keeps the book."""

    config: Any
    deselected: int = 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)

    def pytest_sessionfinish(self) -> None:
        self.config.workeroutput[PROPERTY] = self.deselected


def _set(name: str, option: Any) -> bool:
    """Whether an option of a plugin is given, where the plugin is there."""
    return bool(getattr(option, name, False))


def _shown(row: dict[str, Any]) -> str:
    residual = "none measured" if row["residual"] is None else f"{row['residual']:.1e}"
    return f"{row['examples']} examples, largest residual {residual}"


def _largest(residuals: Any) -> float | None:
    return max((residual for residual in residuals if residual is not None), default=None)
