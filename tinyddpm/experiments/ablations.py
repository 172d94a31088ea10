"""The experiments of chapter 6: the recipe with one thing changed at a time, or with one mistake in it.

    python -m tinyddpm.experiments.ablations --workers 2
    python -m tinyddpm.experiments.ablations --part mistakes
    python -m tinyddpm.experiments.ablations --part tables --page docs/experiments.md

Every network is trained for the same number of steps, so that no result depends on how busy the machine was. A result
is written down as soon as it is there, and not computed again: the command can be stopped at any time, and repeated.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import tyro
from scipy import stats

from .. import data
from ..data import Data
from ..files import write
from ..forward import from_unit_range
from ..runs import checkpoint, judge, loop, run
from ..train.config import FREE, Config, check_lowest
from .mistakes import MISTAKES, draw, learn
from .results import RESULTS, Results, as_tables, exit_code, save, show
from .results import load as load_results
from .tables import spread, table
from .ways import ways

Changes: TypeAlias = dict[str, Any]
PICTURES = "pictures.npz"

# What is changed. ----------------------------------------------------------------------------------------------------

FREELY: Changes = {"clip": math.inf}
LAMB: Changes = {"optimiser": "lamb", "lr": 1e-3}
DESCENT: Changes = {"optimiser": "sgd", "lr": 2e-3, **FREELY}

QUESTIONS: tuple[tuple[str, Changes, tuple[Changes, ...]], ...] = (
    # The advice: "the loss must be the squared norm; as a mean over the pixels it is so small that gradients get lost".
    # Adam and LAMB divide every gradient by its own size, so a sum differs from a mean only beside numbers that do not
    # scale with it: the limit of clipping, and their eps, 1e-8 and 1e-6. Hence both with and without clipping. To plain
    # descent a sum over 64 pixels is a rate 64 times as high.
    ("Sum or mean of the squares?", {}, ({"loss": "sum"}, FREELY)),
    ("Sum or mean, not clipped?", FREELY, ({"loss": "sum", **FREELY},)),
    ("Sum or mean, by plain descent?", DESCENT, ({"loss": "sum", **DESCENT},)),
    ("Normalised over what?", {}, tuple({"norm": norm} for norm in ("group", "layer", "instance", "batch"))),
    ("How is the time embedded?", {}, ({"time": "sinusoidal"}, {"time": "learned"})),
    ("How do skip connections join?", {}, ({"skips": "concatenate"}, {"skips": "add"})),
    ("Which optimiser?", {}, ({"optimiser": "adamw", "lr": 2e-3}, {"optimiser": "adamw", "lr": 1e-3})),
    ("LAMB, at which rate?", {}, (LAMB, {"optimiser": "lamb", "lr": 1e-2})),
    ("Which times are trained?", {}, tuple({"times": times} for times in ("stratified", "uniform", "importance"))),
    ("Which weight of each time?", {}, tuple({"weighting": times} for times in ("equal", "min_snr", "bound"))),
    ("What is predicted?", {}, tuple({"predicts": target} for target in ("velocity", "noise", "x_0"))),
    ("Which schedule?", {}, ({"schedule": "cosine"}, {"schedule": "linear"})),
    ("Which average of the weights?", {}, ({"ema": None}, {"ema": 0.9999}, {"ema": 0.0})),
    ("What is it conditioned on?", {}, ({"conditional": "clusters"}, {"conditional": "nothing"})),
    ("Are pictures shifted?", {}, ({"shift": None}, {"shift": 1})),
    ("Is attention needed?", {}, ({"attention": True}, {"attention": False})),
    ("How much dropout?", {}, ({"dropout": None}, {"dropout": 0.1})),
)
"""Each question, the changes that its variants are compared with, and the variants; one that is the recipe is left out."""

DDPM: dict[str, Changes] = {variance: way for (_, variance), way in ways().items() if variance}
OTHERS: dict[str, Changes] = {name: way for (name, variance), way in ways().items() if not variance}
SAMPLING: dict[str, Changes] = {**DDPM, "unclipped": {**DDPM["posterior"], "clip": None}, **OTHERS}
"""Ways to sample from the recipe's networks, which are not trained again; the others are compared with the first."""

STEPS = (1000, 100, 20)
"""The numbers of steps that each of them samples with."""


class Ablation(NamedTuple):
    """A change, in the config or only in the sampling, and what it is compared with."""

    question: str
    changes: Changes
    against: str = "base"
    sampling: Changes | None = None


def _name(changes: Changes) -> str:
    if replace(Config(), **changes) == Config():
        return "base"
    return ",".join(f"{field}={value}" for field, value in changes.items())


def _listed() -> dict[str, Ablation]:
    listed = {"base": Ablation("The recipe", {})}
    for question, against, variants in QUESTIONS:
        listed.setdefault(_name(against), Ablation(question, against))
        for changes in variants:
            listed.setdefault(_name(changes), Ablation(question, changes, _name(against)))
    for steps in STEPS:
        for way, options in SAMPLING.items():
            if steps == max(STEPS) and way not in DDPM:
                continue  # it takes minutes, and only these two come from DDPM
            compared = "base" if way == "posterior" else f"posterior-{steps}"
            listed[f"{way}-{steps}"] = Ablation(f"In {steps} steps", {}, compared, {**options, "steps": steps})
    return listed


ABLATIONS = _listed()
"""All ablations, by the names that --only takes."""

# The experiments. ----------------------------------------------------------------------------------------------------

DRAWS = 2
"""How often samples are drawn from a network; it is judged by the mean."""

SHOWN = 25
"""How many digits are saved of each mistake."""


@dataclass(frozen=True)
class Options:
    """Train the recipe with one thing changed at a time, or sample with one mistake; print how good the samples are."""

    out: Path = Path("docs/assets/ablations")
    """folder for the results; results that are in it already are not computed again"""
    part: Literal["changes", "mistakes", "tables"] = "changes"
    """what to do; the tables are printed in any case"""
    only: tuple[str, ...] = ()
    """names of changes; if not given, all. The recipe itself is always measured"""
    seeds: int = 3
    """how many networks are trained for each change"""
    steps: int = 1000
    """how many steps each is trained"""
    samples: int = 1000
    """how many samples are judged"""
    workers: int = 1
    """how many processes work in parallel and share the cores"""
    runs: Path = Path("runs/ablations")
    """folder for the networks; only those of the recipe are kept"""
    page: Path | None = None
    """Markdown page whose tables are replaced"""

    def check(self) -> Options:
        """Refuse what cannot be run, before anything is computed or written; gives the options back.

        Raises:
            ValueError: naming the option, what it was and what is allowed.
        """
        check_lowest(self, seeds=1, steps=1, samples=2, workers=1)
        for name in self.only:
            if name not in ABLATIONS:
                raise ValueError(f"only must name changes, got {name!r}; there are: {' '.join(ABLATIONS)}")
        return self


class Job(NamedTuple):
    """A network to train, and what to sample from it."""

    name: str
    seed: int
    options: Options

    @property
    def key(self) -> str:
        return f"{self.name}/{self.seed}"

    @property
    def folder(self) -> Path:
        kind = "base" if ABLATIONS[self.name].sampling else self.name
        return self.options.runs / f"{kind}-{self.seed}"


def trained(job: Job) -> tuple[float, float, run.Run]:
    """The network of a job, after its training or the rest of it; with its losses on training and on held-out data."""
    config = replace(Config(), steps=job.options.steps, seed=job.seed, **ABLATIONS[job.name].changes)
    with redirect_stderr(StringIO()):  # the bars of several processes would write over each other
        report = loop.fit(replace(config, out=job.folder, resume=True, grid_every=math.inf))
    assert report is not None and report.held_out_loss is not None
    return report.loss, report.held_out_loss, run.load(job.folder)


def measure(job: Job) -> dict[str, Any]:
    """Train, draw samples and judge them; a loss that is no longer finite is a result too."""
    ways, dataset = ABLATIONS[job.name].sampling or {}, data.load(Config().data)
    try:
        loss, held_out_loss, loaded = trained(job)
    except FloatingPointError as problem:
        return {"diverged": str(problem)}
    seeds = range(DRAWS * job.seed, DRAWS * (job.seed + 1))  # other noise for every network
    sets = [loaded.sample(job.options.samples, seed, **ways) for seed in seeds]
    if ABLATIONS[job.name].changes:
        shutil.rmtree(job.folder)
    return {"loss": loss, "held_out_loss": held_out_loss, **_judged(sets, dataset)}


def _judged(sets: Sequence[np.ndarray], dataset: Data) -> dict[str, float]:
    verdicts = [vars(judge.compare(samples, dataset)) for samples in sets]
    return {
        figure: float(np.mean([each[figure] for each in verdicts]))
        for figure in ("frechet_distance", "nearest_neighbours")
    }


def change(options: Options) -> Results:
    """Measure every change with every seed, except those that are in the results already; gives all results."""
    results = _load(options)
    names = [name for name in ABLATIONS if not options.only or name in ("base", *options.only)]
    jobs = [Job(name, seed, options) for seed in range(options.seeds) for name in names]
    missing = [job for job in jobs if job.key not in results["runs"]]
    later = [job for job in missing if ABLATIONS[job.name].sampling]
    needed = {job.folder for job in later if not (job.folder / checkpoint.LAST).is_file()}
    first = [job for job in jobs if job not in later and (job in missing or job.folder in needed)]
    done = 0
    for jobs in (first, later):  # these sample from networks of those
        for job, figures in _work(jobs, options.workers):
            results["runs"][job.key] = figures
            save(options.out, results)
            done += 1
            print(f"{done} of {len(first + later)}: {job.name}, seed {job.seed}: {_distance(figures)}", flush=True)
    return results


def _work(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """The jobs and their results, in the order in which they finish."""
    if workers == 1:
        yield from ((job, measure(job)) for job in jobs)
        return
    share, spawn = max(1, torch.get_num_threads() // workers), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (share,)) as pool:
        begun = {pool.submit(measure, job): job for job in jobs}
        try:
            yield from ((begun[future], future.result()) for future in as_completed(begun))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # a training saves itself first
            raise


def mistake(options: Options) -> Results:
    """Draw digits with every mistake, except those that are in the results already; gives all results."""
    results, dataset = _load(options), data.load(Config().data)
    config, kept = replace(Config(), steps=options.steps, conditional="nothing"), load_pictures(options.out)
    learned: dict[tuple[Any, ...], tuple[Any, float]] = {}
    for name, made in MISTAKES.items():
        if name in results["mistakes"]:
            continue
        chosen = replace(config, **made.changes)
        way = (chosen, made.trainer, made.pixels)
        if way not in learned:  # several mistakes are made only when drawing
            learned[way] = learn(made, chosen, dataset)
        model, loss = learned[way]
        samples = draw(made, model, chosen, (options.samples, *dataset.train.shape[1:]))
        kept = {**kept, name: from_unit_range(samples[:SHOWN, 0])}
        write(options.out / PICTURES, lambda file, kept=kept: np.savez_compressed(file, **kept))  # type: ignore[misc]
        results["mistakes"][name] = figures = {"loss": loss, **_judged([samples], dataset)}
        save(options.out, results)
        print(f"{name}: {_distance(figures)}", flush=True)
    return results


def _distance(figures: Mapping[str, Any]) -> str:
    return figures.get("diverged") or "Fréchet distance {frechet_distance:.4f}".format(**figures)


def _load(options: Options) -> Results:
    """The results so far.

    Raises:
        ValueError: when they were made with other settings.
    """
    config = replace(Config(), steps=options.steps).saved()
    settings = {name: value for name, value in config.items() if name not in (*FREE, "seed")}
    settings["samples"] = options.samples
    if not (options.out / RESULTS).is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        dataset = data.load(Config().data)
        floor = judge.compare(dataset.train, dataset).frechet_distance
        return {"settings": settings, "floor": floor, "runs": {}, "mistakes": {}}
    results = load(options.out)
    was = results["settings"]
    for name in {**was, **settings}:
        if was.get(name) != settings.get(name):
            there = f"as in the results in {str(options.out)!r}; another --out begins anew"
            raise ValueError(f"{name} must stay {was.get(name)!r}, got {settings.get(name)!r}, {there}")
    return results


def load(folder: Path) -> Results:
    """What has been measured: the recipe's settings, the floor, and for each run and each mistake its figures."""
    return load_results(folder, "ablations", ("settings", "floor", "runs", "mistakes"))


def load_pictures(folder: Path) -> dict[str, np.ndarray]:
    """The digits drawn with each mistake, shape (number, 8, 8), uint8."""
    if not (folder / PICTURES).is_file():
        return {}
    with np.load(folder / PICTURES) as file:
        return dict(file)


# The tables. ---------------------------------------------------------------------------------------------------------


def by_seed(results: Results, name: str, figure: str = "frechet_distance") -> dict[int, float]:
    """A figure of every network of a kind that did not diverge."""
    runs = {int(key.rpartition("/")[2]): of for key, of in results["runs"].items() if key.rpartition("/")[0] == name}
    return {seed: runs[seed][figure] for seed in sorted(runs) if figure in runs[seed]}


def difference(results: Results, name: str) -> tuple[float, float, bool]:
    """How much larger the Fréchet distance is with a change than without it, seed by seed, and whether that is significant.

    Returns:
        The mean difference, its standard error (NaN for one seed), and whether it is more than chance would give in
        one of twenty changes that change nothing (Student's t).
    """
    one, other = by_seed(results, name), by_seed(results, ABLATIONS[name].against)
    each = np.array([one[seed] - other[seed] for seed in one if seed in other])
    if len(each) < 2:
        return float(each.mean()) if len(each) else math.nan, math.nan, False
    error = float(each.std(ddof=1) / math.sqrt(len(each)))
    return float(each.mean()), error, bool(abs(each.mean()) > stats.t.ppf(0.975, len(each) - 1) * error)


def changes_table(results: Results) -> str:
    """What was changed in the recipe."""
    figures = {"held out": "held_out_loss", "neighbours": "nearest_neighbours"}
    return _comparison(results, "changed", [name for name, of in ABLATIONS.items() if not of.sampling], figures)


def sampling_table(results: Results) -> str:
    """How else the recipe's networks were sampled."""
    figures = {"neighbours": "nearest_neighbours"}
    return _comparison(results, "sampled", [name for name, of in ABLATIONS.items() if of.sampling], figures)


def _comparison(results: Results, title: str, names: Sequence[str], figures: Mapping[str, str]) -> str:
    rows, above = list[list[str]](), ""
    for name in names:
        against = ABLATIONS[name].against
        runs = [of for key, of in results["runs"].items() if key.rpartition("/")[0] == name]
        if not runs:
            continue
        far, diverged = [*by_seed(results, name).values()], sum("diverged" in of for of in runs)
        cells = [spread(far)] if far else []
        apart = "" if name == "base" else _apart(*difference(results, name))
        if apart and against != "base":
            apart += " to the line above" if against == above else f" to {short(against)}"
        means = (list(by_seed(results, name, of).values()) for of in figures.values())
        rows.append(
            [
                short(name),
                ", ".join(cells + [f"{diverged} diverged"] * bool(diverged)),
                apart,
                *(f"{np.mean(of):.3f}" if of else "" for of in means),
            ]
        )
        above = name
    return table([title, "Fréchet distance", "difference", *figures], rows)


def short(name: str) -> str:
    """A name as tables and figures have it."""
    return "the recipe" if name == "base" else name.replace("optimiser=", "").replace(",", ", ")


def _apart(mean: float, error: float, sure: bool) -> str:
    if math.isnan(mean):
        return ""
    apart = f"{round(mean, 4) + 0.0:+.4f}" + ("" if math.isnan(error) else f" ± {error:.4f}")
    return f"**{apart}**" if sure else apart


def mistakes_table(results: Results) -> str:
    """The loss and the samples of every mistake."""
    rows = [
        [MISTAKES[name].title, f"{of['loss']:.4g}", f"{of['frechet_distance']:.4f}", f"{of['nearest_neighbours']:.2f}"]
        for name, of in results["mistakes"].items()
    ]
    return table(["mistake", "loss", "Fréchet distance", "neighbours"], rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "changes": changes_table,
    "sampling": sampling_table,
    "mistakes": mistakes_table,
}
"""The tables, by their names on a page."""


def tables(results: Results) -> dict[str, str]:
    """All of them, by the names that they have on a page."""
    return as_tables(TABLES, results)


# The command. --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.ablations", args=arguments)
    work = {"changes": change, "mistakes": mistake, "tables": _load}[options.part]
    return exit_code(lambda: show(tables(work(options.check())), options.page))


if __name__ == "__main__":
    sys.exit(main())
