"""The experiments of chapter 6: the recipe with one thing changed at a time, or with one mistake in it.

    python -m tinyddpm.experiments.ablations --workers 2
    python -m tinyddpm.experiments.ablations --part memorisation
    python -m tinyddpm.experiments.ablations --part tables --page docs/experiments.md

Networks are trained for a number of steps, so that no result depends on how busy the machine was. All that has seed 0
comes first, then all that has seed 1, and so on. A result is written down as soon as it is there, and not computed again:
the command can be stopped at any time, and repeated.
"""

from __future__ import annotations

import json
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

from .. import data
from ..data import Data
from ..files import write
from ..forward import from_unit_range
from ..runs import checkpoint, judge, loop, run
from ..tables import small, spread, table
from ..train.config import FREE, Config, check_lowest
from ..train.samplers import Sampler
from .differences import LEVEL, Difference, corrected, differences, equal_spread, found
from .mistakes import MISTAKES, draw, learn
from .results import RESULTS, Results, as_tables, check_same, exit_code, save, show
from .results import load as load_results
from .ways import ENDS, FIXED, drawn, ending, ways

Changes: TypeAlias = dict[str, Any]
PICTURES = "pictures.npz"

# What is changed. ----------------------------------------------------------------------------------------------------

FREELY: Changes = {"clip": math.inf}
LAMB: Changes = {"optimiser": "lamb", "lr": 1e-3}
DESCENT: Changes = {"optimiser": "sgd", "lr": 2e-3, **FREELY}
NEITHER: Changes = {"dropout": 0.0, "shift": 0}
ORDINARY: Changes = {"zero_init": False}

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
    ("Neither dropout nor shifts?", {}, (NEITHER,)),
    ("Do the last layers begin at 0?", {}, (ORDINARY,)),
    ("LAMB, if they do not?", ORDINARY, ({**LAMB, **ORDINARY}, {**LAMB, "lr": 1e-2, **ORDINARY})),
    ("In which precision?", {}, ({"precision": "bfloat16"},)),
)
"""Each question, the changes that its variants are compared with, and the variants; one that is the recipe is left out."""

LENGTHS = (3000, 6000)
"""How many steps the longer runs take, with dropout and shifts and without."""

LONG: Changes = {"steps": LENGTHS[1]}
LONGER: tuple[tuple[Changes, tuple[Changes, ...]], ...] = (
    *(({"steps": steps}, ({"steps": steps, **NEITHER},)) for steps in LENGTHS),
    (LONG, ({**LONG, "dropout": 0.0}, {**LONG, "shift": 0})),
    ({"steps": LENGTHS[0]}, tuple({"steps": LENGTHS[0], "ladder": epochs} for epochs in (100.0, 400.0))),
    (LONG, ({**LONG, "weighting": "bound"},)),
)
"""Longer runs, and what they are compared with: the recipe for as many steps."""

DDPM: dict[str, Changes] = {variance: way for (_, variance), way in ways().items() if variance}
OTHERS: dict[str, Changes] = {name: way for (name, variance), way in ways().items() if not variance}
SAMPLING: dict[str, Changes] = {**DDPM, "unclipped": {**DDPM["posterior"], "clip": None}, **OTHERS}
"""Ways to sample from the recipe's networks, which are not trained again; the others are compared with the first."""

STEPS = (1000, 100, 20)
"""The numbers of steps that each of them samples with."""

OWN = "second_order-20"
"""The way in which the recipe itself is sampled."""

LESS: dict[str, tuple[str, str]] = {
    f"{variance}-then-{end}": (variance, end) for variance in reversed(FIXED) for end in ENDS if variance != end
}
"""Ways to sample with less variance in the last steps: the variance before, and how it ends."""

BATCHES: dict[str, int | None] = {"running-averages": None, "batches-of-500": 500, "batches-of-8": 8, "batches-of-1": 1}
"""What a batch norm normalises by when it samples: the running averages of its training, or the batch of samples."""

Figure: TypeAlias = Literal["frechet_distance", "nearest_neighbours"]


class Ablation(NamedTuple):
    """A change, in the config or only in the sampling, and what it is compared with, by which figure."""

    question: str
    changes: Changes
    against: str = "base"
    sampling: Changes | None = None
    figure: Figure = "frechet_distance"

    @property
    def network(self) -> str:
        """The name of the change whose networks it takes."""
        return _name(self.changes)

    @property
    def part(self) -> str:
        """The table that it belongs to: longer runs, or what is done to the recipe or to how it is sampled."""
        if self.sampling is None:
            return "memorisation" if "steps" in self.changes else "changes"
        kinds = {"batches": "batches" in self.sampling, "less": isinstance(self.sampling.get("sampler"), Sampler)}
        return next((kind for kind, is_one in kinds.items() if is_one), "sampling")

    @property
    def group(self) -> tuple[str, str, str]:
        """What it is compared with: its part, its figure and, where the same networks are sampled again, which these are."""
        return ("sampling", self.figure, self.network) if self.sampling else (self.part, self.figure, "")


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
    for against, variants in LONGER:
        listed.setdefault(_name(against), Ablation("Longer", against, "", figure="nearest_neighbours"))
        for changes in variants:
            figure: Figure = "frechet_distance" if "weighting" in changes else "nearest_neighbours"
            listed.setdefault(_name(changes), Ablation("Longer", changes, _name(against), figure=figure))
    for steps in STEPS:
        for way, options in SAMPLING.items():
            if steps == max(STEPS) and way not in DDPM:
                continue  # it takes minutes, and only these two come from DDPM
            fewer = OWN if steps == max(STEPS) else f"posterior-{max(STEPS)}"
            compared = fewer if way == "posterior" else f"posterior-{steps}"
            listed[f"{way}-{steps}"] = Ablation(f"In {steps} steps", {}, compared, {**options, "steps": steps})
    for way, (variance, end) in LESS.items():
        less: Changes = {"sampler": ending(end), "variance": variance, "steps": 100}
        listed[f"{way}-100"] = Ablation("Less variance at the end", {}, f"{variance}-100", less)
    for way, size in BATCHES.items():
        meant = "" if size is None else "running-averages"
        listed[way] = Ablation("Batch norm", {"norm": "batch"}, meant, {"batches": size})
    return listed


ABLATIONS = _listed()
"""All ablations, by the names that --only takes."""

PARTS = {"changes": ("changes", "sampling", "less", "batches"), "memorisation": ("memorisation",)}
"""The ablations that belong to a part of the command."""

KEPT = {of.network for of in ABLATIONS.values() if of.sampling}
"""The networks that are kept, because they are sampled in other ways too."""

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
    part: Literal["all", "changes", "memorisation", "mistakes", "tables"] = "all"
    """what to do: the changes, which train for --steps or only sample; memorisation, the longer runs; mistakes; or all of these. The tables are printed in any case"""
    only: tuple[str, ...] = ()
    """names of changes; if not given, all. Beside short runs the recipe itself is always measured"""
    seeds: int = 3
    """how many networks are trained for each change"""
    steps: int = 1000
    """how many steps each is trained, except in longer runs"""
    samples: int = 1000
    """how many samples are judged"""
    workers: int = 1
    """how many processes work in parallel and share the cores"""
    runs: Path = Path("runs/ablations")
    """folder for the networks; only those are kept that are sampled in several ways"""
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
        return self.options.runs / f"{ABLATIONS[self.name].network}-{self.seed}"

    @property
    def trained(self) -> bool:
        """Whether its network is there."""
        return all((self.folder / file).is_file() for file in (checkpoint.LAST, checkpoint.REPORT))


def trained(job: Job) -> tuple[float, float, run.Run]:
    """The network of a job, after its training or the rest of it; with its losses on training and on held-out data."""
    if ABLATIONS[job.name].sampling:  # it is there already
        report = json.loads((job.folder / checkpoint.REPORT).read_text("utf-8"))
        return report["loss"], report["held_out_loss"], run.load(job.folder)
    config = replace(Config(), **{"steps": job.options.steps, "seed": job.seed, **ABLATIONS[job.name].changes})
    with redirect_stderr(StringIO()):  # the bars of several processes would write over each other
        made = loop.fit(replace(config, out=job.folder, resume=True, grid_every=math.inf))
    assert made is not None and made.held_out_loss is not None
    return made.loss, made.held_out_loss, run.load(job.folder)


def measure(job: Job) -> dict[str, Any]:
    """Train, draw samples and judge them; a loss that is no longer finite is a result too."""
    ways, dataset = ABLATIONS[job.name].sampling or {}, data.load(Config().data)
    try:
        loss, held_out_loss, loaded = trained(job)
    except FloatingPointError as problem:
        return {"diverged": str(problem)}
    seeds = range(DRAWS * job.seed, DRAWS * (job.seed + 1))  # other noise for every network
    sets = [drawn(loaded, job.options.samples, seed, ways) for seed in seeds]
    if ABLATIONS[job.name].network not in KEPT:
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
    results, done = _load(options), 0
    parts = [part for name, parts in PARTS.items() if options.part in ("all", name) for part in parts]
    chosen = [name for name, of in ABLATIONS.items() if of.part in parts]
    names = [name for name in chosen if not options.only or name in ("base", *options.only)]
    for seed in range(options.seeds):
        jobs = [Job(name, seed, options) for name in names]
        sampled = [job for job in jobs if ABLATIONS[job.name].sampling]
        first = [job for job in jobs if job not in sampled and job.key not in results["runs"]]
        needed = {job.folder for job in sampled if job.key not in results["runs"]} - {job.folder for job in first}
        kept = [Job(name, seed, options) for name in sorted(KEPT)]
        first += [job for job in kept if job.folder in needed and not job.trained]
        for these in (first, sampled):
            for job, figures in _work(
                [job for job in these if job in first or job.key not in results["runs"]], options.workers
            ):
                _put(results, job, figures)
                save(options.out, results)
                done += 1
                print(f"{done}: {job.name}, seed {job.seed}: {_distance(figures)}", flush=True)
    return results


def _put(results: Results, job: Job, figures: Mapping[str, Any]) -> None:
    """Add what was measured; where a network came out otherwise than before, as on another machine, what was sampled from that one is dropped."""
    was = results["runs"].get(job.key, figures)
    results["runs"][job.key] = dict(figures)
    if was.get("held_out_loss") != figures.get("held_out_loss"):
        for name, of in ABLATIONS.items():
            if of.sampling and of.network == job.name:
                results["runs"].pop(f"{name}/{job.seed}", None)


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
    check_same(results["settings"], settings, options.out)
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


def by_length(results: Results, changes: Changes, figure: str) -> dict[int, list[float]]:
    """A figure of the recipe with these changes, by the number of steps of the run."""
    names = {results["settings"]["steps"]: _name(changes)}
    names |= {steps: _name({"steps": steps, **changes}) for steps in LENGTHS}
    each = {steps: [*by_seed(results, name, figure).values()] for steps, name in names.items()}
    return {steps: of for steps, of in sorted(each.items()) if of}


def groups(results: Results) -> dict[tuple[str, str, str], dict[str, dict[int, float]]]:
    """What is compared together, by `Ablation.group`: each row a figure of every network of a kind."""
    made: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
    for name, of in ABLATIONS.items():
        for row in filter(None, (of.against, name)):
            if found := by_seed(results, row, of.figure):
                made.setdefault(of.group, {})[row] = found
    return made


def compared(results: Results) -> dict[str, Difference]:
    """Every comparison that was made, by the name of the change, corrected for their number."""
    made: dict[str, Difference] = {}
    for group, rows in groups(results).items():
        pairs = {name: (name, of.against) for name, of in ABLATIONS.items() if of.group == group and of.against}
        made |= differences(rows, {name: pair for name, pair in pairs.items() if pair[0] != pair[1]})
    return corrected(made)


def changes_table(results: Results) -> str:
    """What was changed in the recipe."""
    return _comparison(results, "changed", "changes", {"held out": "held_out_loss", "neighbours": "nearest_neighbours"})


def sampling_table(results: Results) -> str:
    """How else the recipe's networks were sampled."""
    return _comparison(results, "sampled", "sampling", {"neighbours": "nearest_neighbours"})


def less_table(results: Results) -> str:
    """The recipe's networks, sampled with less variance in the last steps."""
    return _comparison(results, "variance", "less", {"neighbours": "nearest_neighbours"})


def batches_table(results: Results) -> str:
    """Networks with batch norm, sampled in batches of several sizes."""
    return _comparison(results, "normalised by", "batches", {"neighbours": "nearest_neighbours"})


def memorisation_table(results: Results) -> str:
    """Longer runs, with their figure; the ratio is of the neighbours, and of the distances for the weights of the bound."""
    figures = {"held out": "held_out_loss", "neighbours": "nearest_neighbours"}
    made = _comparison(results, "changed", "memorisation", figures)
    return made and f"{CURVES}\n\n{made}"


CURVES = """\
![Two panels over the number of steps, each with a line for the recipe and one without its remedies: the neighbours and \
the held-out loss](figure:ablations.memorisation)
*Neighbours (1: as new as held-out digits; 0.2: copies) and held-out loss against the length of the run, one dot for each \
network. `python -m tinyddpm.experiments.ablations --part memorisation`. In the table below, the ratio is of the \
neighbours; of the distances where the weights are those of the bound.*"""
"""The figure of the longer runs, as a page shows it."""


def _comparison(results: Results, title: str, part: str, figures: Mapping[str, str]) -> str:
    rows, above, made = list[list[str]](), "", compared(results)
    for name in (name for name, of in ABLATIONS.items() if of.part == part):
        runs = [of for key, of in results["runs"].items() if key.rpartition("/")[0] == name]
        if not runs:
            continue
        far, diverged = [*by_seed(results, name).values()], sum("diverged" in of for of in runs)
        cells = [spread(far)] if far else []
        apart = str(made[name]) if name in made else ""
        if apart and (against := ABLATIONS[name].against) != "base":
            apart += " to the line above" if against == above else f" to {short(against)}"
        means = (list(by_seed(results, name, of).values()) for of in figures.values())
        rows.append(
            [
                short(name),
                str(len(runs)),
                ", ".join(cells + [f"{diverged} diverged"] * bool(diverged)),
                apart,
                *(small(made[name].p, made[name].holm) if name in made else ["", ""]),
                *(f"{np.mean(of):.3f}" if of else "" for of in means),
            ]
        )
        above = name
    return table([title, "runs:", "Fréchet distance", "ratio", "p:", "Holm:", *figures], rows)


def comparisons_line(results: Results) -> str:
    """How many comparisons there are, how many are significant, and what that rests on."""
    made = compared(results)
    count, sure, discovered = found(made)
    if not count:
        return ""
    said = [
        f"All {count} comparisons of the ablations are corrected together: {sure} are significant by Holm's method at "
        f"{LEVEL:.0%} (bold), {discovered} by that of Benjamini and Hochberg."
    ]
    for (part, figure, network), rows in groups(results).items():
        tested = [made[name].df for name in rows if name in made and made[name].df]
        deviation, p = equal_spread(rows)
        if tested and not math.isnan(p):
            what = {"frechet_distance": "distances", "nearest_neighbours": "neighbours"}[figure]
            of = f" of {short(network)}" if network else ""
            said.append(
                f"The {what} in the {len(rows)} rows on {part}{of} have a common spread of {deviation:.1%} ({tested[0]} "
                f"degrees of freedom; Bartlett's test of equal spread: p = {p:.2f})."
            )
    return " ".join(said) + "\n"


def short(name: str) -> str:
    """A name as tables and figures have it."""
    return "the recipe" if name == "base" else name.replace("optimiser=", "").replace(",", ", ")


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
    "less": less_table,
    "batches": batches_table,
    "memorisation": memorisation_table,
    "comparisons": comparisons_line,
    "mistakes": mistakes_table,
}
"""The tables, by their names on a page."""


def tables(results: Results) -> dict[str, str]:
    """All of them, by the names that they have on a page."""
    return as_tables(TABLES, results)


# The command. --------------------------------------------------------------------------------------------------------


def work(options: Options) -> Results:
    """Do what the options ask for; gives all results."""
    if options.part in ("all", *PARTS):
        change(options)
    mistakes = options.part == "mistakes" or (options.part == "all" and not options.only)
    return mistake(options) if mistakes else _load(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.ablations", args=arguments)
    return exit_code(lambda: show(tables(work(options.check())), options.page))


if __name__ == "__main__":
    sys.exit(main())
