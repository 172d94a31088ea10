"""Can the checks fail? Every equation with every single slip in its body, under the checks of that equation.

    tinyddpm mutants                       all equations
    tinyddpm mutants posterior.mean        one equation
    tinyddpm mutants --changed             those whose code or slips are not those of the report

A mutant is caught when one of the checks fails with it. It stands in the place of the equation only where a test calls
it, as somebody else's function does (`pytest --against`). A mutant that no check catches must be the same function:
SymPy proves it, or a reason is given in `REASONS`. All others are survivors, and make the command fail.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from . import checker, door, equations
from .against import limited
from .equation import Equation, find
from .files import write_json
from .slips import Program, Slip, slips

REPORT = Path("docs/assets/mutants.json")
"""Where a checkout keeps the last report."""

LIMIT = 20.0
"""How long one check may run with a mutant, in seconds: a mutant that makes it run longer is caught."""

PROOF = 10.0
"""How long SymPy may try to prove that a mutant is the same function."""

PLAIN = ("vae_vs_vdm.ideal_chain",)
"""Equations without a place for a slip: they only call others in turn."""

SYMMETRIC = "only the square of a difference counts"
PRODUCT = "the order of a product does not count"
GREYS = "no grey level is there"

REASONS: dict[str, str] = {
    "elbo.joint_log_prob: total = _elbo_gaussian_log_prob(0.0, path[-1], 1.0)": SYMMETRIC,
    "elbo.decoder_log_prob: edge = log_ndtr(where(x_0 <= 0, off + half, half - off) / std)": GREYS,
    "elbo.decoder_log_prob: edge = log_ndtr(where(x_0 < 1, off + half, half - off) / std)": GREYS,
    "elbo.decoder_log_prob: return sum_dims(where(abs(x_0) >= 1 - half, edge, inside))": GREYS,
    "elbo.decoder_log_prob: return sum_dims(where(abs(x_0 ** 2) > 1 - half, edge, inside))": GREYS,
    "elbo.importance_weights: root_mean_square = sqrt((losses ** 2).sum(1))": "a factor falls out of the ratio",
    "vae_vs_vdm.expected_log_prob: off, precision = (mean_p - mean_q, np.linalg.inv(cov_p))": SYMMETRIC,
    "vae_vs_vdm.normal_kl: return own - _vae_vs_vdm_expected_log_prob(mean_p, cov_q, mean_q, cov_p)": SYMMETRIC,
    "vae_vs_vdm.elbo_gap: return float(loss - weight @ _elbo_gaussian_log_prob(0.0, x[:, 0], 1.0))": SYMMETRIC,
    "vae_vs_vdm.LinearVAE.log_prob: return _vae_vs_vdm_expected_log_prob(self.b, 0.0, x, cov)": SYMMETRIC,
    "vae_vs_vdm.LinearVAE.elbo: likelihood = _vae_vs_vdm_expected_log_prob(seen, spread, x, noise)": SYMMETRIC,
    "vae_vs_vdm.Linear.posterior: rest = gain @ self.weight - np.eye(len(gain))": "it comes in twice, as rest C rest^T",
    "langevin.denoising_score_matching: "
    "return _langevin_explicit_score_matching(_langevin_gaussian_score(x, mean, var), score_hat)": SYMMETRIC,
    "langevin.euler_maruyama: path.append(_langevin_euler_maruyama_step(path[-1], end - start, g, f, dw))": PRODUCT,
    "langevin.euler_maruyama: path.append(_langevin_euler_maruyama_step(path[-1], f, dw, end - start, g))": PRODUCT,
    "train.training_loss: return _elbo_simple_loss(model(_forward_diffuse(x_0, noise, step), t), target)": SYMMETRIC,
    "train.learned_variance_loss: simple = _elbo_simple_loss(output, predicted.target(x_0, noise, step))": SYMMETRIC,
    "train.time_embedding: i = xp.arange(dims / 2, dtype=t.dtype, device=array_api_compat.device(t))": "dims is even",
    "train.sliced_wasserstein: apart = np.sort(fake @ u.T, axis=0) - np.sort(real @ u.T, axis=0)": SYMMETRIC,
}
"""Why a mutant that no check catches is right all the same, by "name: changed statement"."""


@dataclass
class Score:
    """What became of the mutants of an equation."""

    mutants: int = 0
    killed: int = 0
    proved: list[str] = field(default_factory=list)
    """statements that are proved to be the same"""
    explained: dict[str, str] = field(default_factory=dict)
    """statements that are right for a reason"""
    survivors: list[str] = field(default_factory=list)
    code: str = ""
    """what identifies the code and the slips that were tried"""

    @property
    def caught(self) -> str:
        """How many of those that are wrong were caught."""
        return f"{self.killed} of {self.killed + len(self.survivors)}"


def identity(known: Equation) -> str:
    """What changes when the body of an equation or the slips in it do."""
    source = inspect.getsource(door.bare(known.function))
    program = Program(known)
    edits = "\n".join(edit.words for edit in program.edits(own=True))
    return hashlib.sha256(f"{source}\n{edits}".encode()).hexdigest()[:16]


class Mutation:
    """A plugin of pytest that runs the checks of some equations against their mutants, in the place of running them once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.scores = names, dict[str, Score]()

    def pytest_configure(self) -> None:
        """Before the tests are imported: each takes the settings of Hypothesis that there are then."""
        checker.look_quickly()

    def pytest_runtestloop(self, session: Any) -> bool:
        """The checks, once as they are and then with every mutant."""
        for name in self.names:
            items = [item for item in session.items if name in checker.marked(item, "checks")]
            known, started = find(name), time.monotonic()
            score = Score(code=identity(known))
            durations = {}
            for item in items:
                begun = time.monotonic()
                outcome = self._run(item)
                durations[item.nodeid] = time.monotonic() - begun
                if outcome == "failed":
                    raise RuntimeError(f"{item.nodeid} fails without any mutant: {self.last}")
            items.sort(key=lambda item: durations[item.nodeid])  # the quickest first
            for slip in slips(known, own=True):
                score.mutants += 1
                if self._kills(name, slip, items):
                    score.killed += 1
                elif same(known, slip):
                    score.proved.append(slip.code)
                elif (reason := REASONS.get(f"{name}: {slip.code}")) is not None:
                    score.explained[slip.code] = reason
                else:
                    score.survivors.append(slip.code)
            self.scores[name] = score
            print(
                f"{time.monotonic() - started:.0f} s {name}: {score.caught} caught, {len(score.proved)} proved the same, {len(score.explained)} explained",
                flush=True,
            )
            for code in score.survivors:
                print(f"  survives: {code}", flush=True)
        return True

    def _kills(self, name: str, slip: Slip, items: Iterable[Any]) -> bool:
        with door.replacing({name: slip.function}):
            return any(self._run(item) == "failed" for item in items)

    def _run(self, item: Any) -> str:
        """How a test ends. Without pytest's reports: to write a traceback takes longer than to run a check."""
        state, self.last = item.session._setupstate, ""
        state.teardown_exact(item)  # what the test before has left, but for what this one needs too
        try:
            item._initrequest()
            state.setup(item)
            with limited(LIMIT):
                item.runtest()
        except pytest.skip.Exception:
            pass
        except (Exception, pytest.fail.Exception) as problem:
            self.last = f"{type(problem).__name__}: {problem}"
        finally:
            state.teardown_exact(item.parent)
        return "failed" if self.last else "passed"


def same(known: Equation, slip: Slip) -> bool:
    """Whether SymPy proves that a mutant is the same function."""
    from . import prover

    try:
        given, _ = prover.arguments(known)
        with limited(PROOF):
            ours, theirs = known.function(**given), slip.function(**given)
            pairs = zip(*(each if isinstance(each, tuple) else (each,) for each in (ours, theirs)), strict=True)
            return all(prover.is_zero(one - two) for one, two in pairs)
    except Exception:
        return False


def run(names: Sequence[str], workers: int = 1) -> dict[str, Score]:
    """The scores of equations, by name; in several processes, each with some of them."""
    known = [row.name for row in equations()]
    for name in names:
        find(name)
    chosen = [name for name in known if not names or name in names]
    if workers > 1 and len(chosen) > 1:
        return _in_processes(chosen, workers)
    return _here(chosen)


def _here(names: Sequence[str]) -> dict[str, Score]:
    mutation = Mutation(names)
    options = [option for name in names for option in ("--equation", name)]
    code = checker.quickly(options, mutation)
    if mutation.scores.keys() != {*names}:
        raise RuntimeError(f"the checks could not be run: pytest ended with {code}")
    return mutation.scores


def _in_processes(names: Sequence[str], workers: int) -> dict[str, Score]:
    """Each process takes the next few equations as soon as it is free."""
    scores: dict[str, Score] = {}
    waiting, running = [names[at : at + 6] for at in range(0, len(names), 6)], list[tuple[Any, Path]]()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < workers:
                file = Path(folder, f"{len(waiting)}.json")
                command = [sys.executable, "-m", "tinyddpm.mutants", str(file), *waiting.pop(0)]
                running.append((subprocess.Popen(command, env=environment), file))
            time.sleep(0.2)
            for process, file in [*running]:
                if process.poll() is None:
                    continue
                running.remove((process, file))
                if process.returncode:
                    raise RuntimeError(f"a process of the mutants ended with {process.returncode}")
                scores |= {name: Score(**row) for name, row in json.loads(file.read_text("utf-8")).items()}
    return {name: scores[name] for name in names}


def load(path: Path = REPORT) -> dict[str, Score]:
    """The last report; empty if there is none."""
    if not path.is_file():
        return {}
    return {name: Score(**row) for name, row in json.loads(path.read_text("utf-8")).items()}


def save(scores: Mapping[str, Score], path: Path = REPORT) -> None:
    """Write a report: the rows that are new in the place of the old ones, in the order of the book."""
    rows = {**load(path), **scores}
    known = [row.name for row in equations()]
    write_json(path, {name: vars(rows[name]) for name in known if name in rows})


def changed(path: Path = REPORT) -> list[str]:
    """The equations of which the report is not about the code as it is."""
    rows = load(path)
    return [known.name for known in equations() if known.name not in rows or rows[known.name].code != identity(known)]


if __name__ == "__main__":
    target, *wanted = sys.argv[1:]
    equations()
    write_json(Path(target), {name: vars(score) for name, score in _here(wanted).items()})
