"""Where the bits of a code go, for digits that no network has seen: the recipe, and what it takes to beat a histogram.

    python -m tinyddpm.experiments.bits

trains both, evaluates their bounds term by term, and computes what the histogram of each pixel costs when it is used as a
denoiser. All numbers are bits per dimension of the held-out digits, whose pixels have 17 values.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import tyro
from torch import Tensor

from .. import data, elbo, forward, posterior
from ..arrays import grid
from ..data import Data
from ..door import unchecked
from ..forward import PREDICTIONS, Step
from ..runs import judge, loop
from ..runs import run as runs
from ..runs.run import Run
from ..tables import table
from ..train import guided
from ..train.config import Config, check_lowest
from .results import RESULTS, Results, as_tables, exit_code, save, show
from .results import load as load_results

RECIPES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "likelihood": {
        "predicts": "x_0",
        "learned_variance": True,
        "categorical": True,
        "weighting": "bound",
        "times": "importance",
        "width": 16,
        "batch": 64,
    },
}
"""What is trained: the recipe of `tinyddpm train`, and a smaller network that knows the grey levels, on the bound."""

EDGES = np.unique(np.rint(10 ** np.linspace(0, 3, 31)).astype(int))
"""The last time of each group of times whose bits are added up."""

FINE = 100
"""Up to this time the noise is not much wider than a grey level."""

PARTS = (1, 10, 100, 1000)
"""The last times of the columns of the table."""


@dataclass(frozen=True)
class Options:
    """Train two networks for each seed, and measure where the bits of their codes go."""

    out: Path = Path("docs/assets/bits")
    """folder for the results; results that are in it already are not computed again"""
    seeds: int = 2
    """how many networks are trained of each kind"""
    draws: int = 2
    """how often the noise of the bound is drawn"""
    pictures: int = 899
    """how many held-out pictures are coded"""
    parts: int = 20
    """each picture is noised to one in so many times, in turn, so that all times are met"""
    steps: int = 1000
    """how many steps each network is trained"""
    runs: Path = Path("runs/bits")
    """folder for the networks"""
    page: Path | None = None
    """Markdown page whose tables are replaced"""


# Codes: what a network's output says of the step back. ---------------------------------------------------------------

Code: TypeAlias = Callable[[Tensor, Any, Step], tuple[Tensor, Any]]
"""From a predicted x_0, v (None without a learned variance) and the step: the x_0 to go by, and the variance of the step back."""


def by_beta(x_0: Tensor, v: Any, step: Step) -> tuple[Tensor, Any]:
    """The prediction as it is, with the larger variance."""
    return x_0, step.beta


def by_posterior(x_0: Tensor, v: Any, step: Step) -> tuple[Tensor, Any]:
    """The prediction as it is, with the smaller variance."""
    return x_0, posterior.variance(step)


def by_v(x_0: Tensor, v: Any, step: Step) -> tuple[Tensor, Any]:
    """The prediction as it is, with the variance that the network says."""
    return x_0, posterior.interpolated_variance(v, step)


def rounded(error: float, values: int) -> Code:
    """The prediction, taken for a grey level seen with this mean square error: its mean by Bayes' rule, and its variance."""

    def by_rounding(x_0: Tensor, v: Any, step: Step) -> tuple[Tensor, Any]:
        levels = grid(x_0.new_zeros(values))
        chances = (-((x_0[..., None] - levels) ** 2) / (2 * error)).softmax(-1)
        mean = (chances * levels).sum(-1)
        var = (chances * (levels - mean[..., None]) ** 2).sum(-1)
        return mean, posterior.interpolated_variance(elbo.best_v(var, step), step)

    return by_rounding


def spend(run: Run, dataset: Data, options: Options, seed: int) -> dict[str, np.ndarray]:
    """The bits of every code of a network at t = 1..T, for each picture: shape (T, pictures), NaN where none was asked for.

    The error that rounding goes by is measured on the training pictures, as many as are coded.
    """
    config, rng, T = run.config, torch.Generator().manual_seed(seed), run.config.T
    schedule, predicted = config.noise_schedule(), PREDICTIONS[config.predicts]
    n = min(options.pictures, len(dataset.held_out))
    parts = (dataset.train, dataset.train_labels), (dataset.held_out, dataset.held_out_labels)
    known, new = ((torch.from_numpy(x[:n]), torch.from_numpy(np.asarray(labels)[:n])) for x, labels in parts)
    codes: dict[str, Code] = (
        {"learned": by_v}
        if config.learned_variance
        else {"beta": by_beta, "posterior": by_posterior, "rounded": by_beta}
    )
    bits = {name: np.full((T, n), np.nan) for name in codes}

    def predict(x_0: Tensor, labels: Tensor, t: int, step: Step) -> tuple[Tensor, Tensor, Any]:
        x_t = forward.diffuse(x_0, torch.randn(x_0.shape, generator=rng), step)
        output = guided(run.model, labels)(x_t, torch.full((len(x_0),), t))
        output, v = posterior.halves(output, x_t, config.learned_variance)
        return x_t, predicted.x_0(x_t, output, step).clamp(-1, 1), v

    with torch.no_grad(), unchecked():
        for t, step in enumerate(schedule, start=1):
            at = slice(t % options.parts, n, options.parts) if t > 1 else slice(n)
            if "rounded" in codes:
                x_0 = known[0][at]
                _, guess, _ = predict(x_0, known[1][at], t, step)
                codes["rounded"] = rounded(float(((guess - x_0) ** 2).mean()), dataset.levels)
            x_0 = new[0][at]
            x_t, guess, v = predict(x_0, new[1][at], t, step)
            for name, code in codes.items():
                x_0_hat, var = code(guess, v, step if name == "beta" else schedule[max(t, 2)])
                nats = term(x_t, x_0, posterior.mean(x_t, x_0_hat, step), var, t, step, dataset.levels)
                bits[name][t - 1, at] = elbo.bits_per_dim(nats, x_0[0].numel()).numpy()
    return bits


def term(x_t: Tensor, x_0: Tensor, mean: Tensor, var: Any, t: int, step: Step, levels: int) -> Tensor:
    """The term of the bound at t in nats, for a model with this step back."""
    if t == 1:
        return -elbo.decoder_log_prob(x_0, mean, var, levels)
    return elbo.denoising_matching(x_t, x_0, mean, var, step)


def summary(bits: np.ndarray, more: float, baseline: np.ndarray) -> dict[str, Any]:
    """The bits of each group of times, their sum with what is not a step, and how much less that is than a baseline.

    Args:
        bits: at t = 1..T for each picture, NaN where not measured.
        more: what the end of the noising and the name of the class cost.
        baseline: what each picture costs otherwise.
    """
    at_t = np.nanmean(bits, axis=1)
    ends = np.minimum([0, *EDGES], len(at_t))
    groups = [float(at_t[low:high].sum()) for low, high in pairwise(ends)]
    each = bits[0] + np.nanmean(bits[1:], axis=0) * (len(bits) - 1) - baseline
    return {
        "groups": groups,
        "bits": math.fsum(groups) + more,
        "difference_error": float(each.std(ddof=1) / math.sqrt(len(each))),
    }


# The histogram, as a denoiser. ---------------------------------------------------------------------------------------


def histogram_terms(dataset: Data, schedule: forward.Schedule, nodes: int = 41) -> Iterator[dict[str, float]]:
    """The bits at t = 1..T of the exact denoiser of independent pixels, each with its histogram of the training pictures.

    The mean over the noise is a Gauss-Hermite sum, that over the held-out pictures is exact.
    """
    K, pixels = dataset.levels, dataset.held_out[0].size
    logits = torch.from_numpy(data.histogram(dataset.train, K)).log().reshape(pixels, 1, 1, K)
    shares = data.histogram(dataset.held_out, K, smoothing=0.0).reshape(pixels, K)
    z, of_z = np.polynomial.hermite_e.hermegauss(nodes)
    weights = torch.from_numpy(shares[:, :, None] * of_z / of_z.sum() / pixels / math.log(2))
    x_0 = grid(logits)[:, None].expand(pixels, K, nodes)
    noise = torch.from_numpy(z).expand(pixels, K, nodes)
    bits = dict[str, float]()
    with unchecked():
        for t, step in enumerate(schedule, start=1):
            x_t = forward.diffuse(x_0, noise, step)
            chances = elbo.value_log_prob(x_t, logits.expand(pixels, K, nodes, K), step).exp()
            guess = chances @ grid(logits)
            var = (chances * (grid(logits) - guess[..., None]) ** 2).sum(-1)
            used = schedule[max(t, 2)]
            v, mean = elbo.best_v(var, used), posterior.mean(x_t, guess, step)
            variances = {"beta": step.beta, "posterior": posterior.variance(used)}
            variances["best"] = posterior.interpolated_variance(v, used)
            for name, model_var in variances.items():
                single = x_t, x_0, mean, model_var + 0 * mean  # a batch of single pixels
                flat_t, flat_0, flat_mean, flat_var = (each.reshape(-1) for each in single)
                nats = term(flat_t, flat_0, flat_mean, flat_var, t, step, K)
                bits[name] = float((nats.reshape(x_t.shape) * weights).sum())
            yield dict(bits)


# The experiment. -----------------------------------------------------------------------------------------------------


def measure(options: Options) -> Results:
    """Train and measure what is missing, and save it at once; gives all results."""
    check_lowest(options, seeds=1, draws=1, pictures=2, parts=1, steps=1)
    options.out.mkdir(parents=True, exist_ok=True)
    dataset, results = data.load("digits"), load(options.out) if (options.out / RESULTS).is_file() else {"runs": {}}
    schedule = Config().noise_schedule()
    n = min(options.pictures, len(dataset.held_out))
    if "histogram" not in results:
        results |= {
            "pictures": n,
            "training": len(dataset.train),
            "histogram": float(judge.histogram_bits(dataset, n).mean()),
        }
        results["histogram_class"] = float(judge.histogram_bits(dataset, n, by_class=True).mean())
        terms = list(histogram_terms(dataset, schedule))
        exact = {name: np.array([term[name] for term in terms])[:, None] for name in terms[0]}
        results["exact"] = {name: summary(np.repeat(of, 2, 1), 0.0, np.zeros(2)) for name, of in exact.items()}
        save(options.out, results)
    for seed in range(options.seeds):
        for name, changes in RECIPES.items():
            if (key := f"{name}/{seed}") in results["runs"]:
                continue
            folder = options.runs / f"{name}-{seed}"
            config = Config(**changes, steps=options.steps, seed=seed, out=folder, resume=True, grid_every=math.inf)
            report = loop.fit(config)
            if report is None:
                raise ValueError("bits must be measured in one process")
            facts = {"steps": config.steps, "width": config.width, "batch": config.batch, "seconds": report.seconds}
            results["runs"][key] = {**facts, **_codes(runs.load(folder), dataset, options)}
            save(options.out, results)
    return results


def _codes(run: Run, dataset: Data, options: Options) -> dict[str, Any]:
    """What every code of a network costs: the mean over the draws of the noise, and the spread."""
    n = min(options.pictures, len(dataset.held_out))
    baseline = judge.histogram_bits(dataset, n)
    x, step = torch.from_numpy(dataset.held_out[:n]), run.config.noise_schedule()[run.config.T]
    last = float(elbo.bits_per_dim(elbo.prior_matching(x, step).mean(), x[0].numel()))
    labels = np.asarray(dataset.held_out_labels)[:n]
    naming = float(judge.naming_bits(labels, run.counts, x[0].numel()).mean())
    draws = [spend(run, dataset, options, seed) for seed in range(options.draws)]
    codes = {}
    for name in draws[0]:
        each = [summary(draw[name], last + naming, baseline) for draw in draws]
        codes[name] = {
            "groups": np.mean([of["groups"] for of in each], axis=0).tolist(),
            "bits": [of["bits"] for of in each],
            "difference_error": float(np.mean([of["difference_error"] for of in each])),
        }
    return {"last": last, "naming": naming, "codes": codes}


def load(folder: Path) -> Results:
    """What was measured."""
    return load_results(folder, "bits", ("runs",))


# The table. ----------------------------------------------------------------------------------------------------------

CODES = {
    ("exact", "beta"): "the histogram as a denoiser, $\\beta_t$",
    ("exact", "posterior"): "the histogram as a denoiser, $\\tilde\\beta_t$",
    ("exact", "best"): "the histogram as a denoiser, best variance",
    ("recipe", "beta"): "the recipe, $\\beta_t$",
    ("recipe", "posterior"): "the recipe, $\\tilde\\beta_t$",
    ("recipe", "rounded"): "the recipe, rounded",
    ("recipe", "fine"): "the recipe, rounded at $t \\le 100$",
    ("likelihood", "learned"): "trained on the bound",
}
"""The rows of the table: what was trained, if anything, and how its output was read."""


def of_code(results: Results, kind: str, code: str) -> list[dict[str, Any]]:
    """A code of every network of a kind; of the histogram, the only one there is."""
    if kind == "exact":
        return [results["exact"][code]]
    networks = [of for key, of in sorted(results["runs"].items()) if key.startswith(f"{kind}/")]
    return [_rounded_where_fine(of) if code == "fine" else of["codes"][code] for of in networks]


def _rounded_where_fine(of: dict[str, Any]) -> dict[str, Any]:
    """The code that rounds up to `FINE` only, put together from two that were measured; its error was not."""
    both = zip(EDGES, of["codes"]["rounded"]["groups"], of["codes"]["beta"]["groups"], strict=True)
    groups = [fine if edge <= FINE else wide for edge, fine, wide in both]
    total = math.fsum(groups) + of["last"] + of["naming"]
    return {"groups": groups, "bits": [total], "difference_error": math.nan}


def column(groups: Sequence[float], low: int, high: int) -> float:
    """The bits of the times after low, up to high."""
    return math.fsum(bits for edge, bits in zip(EDGES, groups, strict=True) if low < edge <= high)


def bits_table(results: Results) -> str:
    """The bits of every code, all together and by groups of times."""
    rows = [
        ["a histogram of each pixel", f"{results['histogram']:.3f}", *5 * [""]],
        ["one for each class, named first", f"{results['histogram_class']:.3f}", *5 * [""]],
    ]
    for (kind, code), title in CODES.items():
        networks = of_code(results, kind, code)
        if not networks:
            continue
        trained = [of for key, of in results["runs"].items() if key.startswith(f"{kind}/")]
        if trained:
            count = f"{len(trained)} network{'s' * (len(trained) > 1)}"
            title += f" ({count}, {trained[0]['steps']} steps, width {trained[0]['width']})"
        groups = np.mean([of["groups"] for of in networks], axis=0)
        each = [float(np.mean(of["bits"])) for of in networks]
        spread = f" ± {max(each) - min(each):.3f}" if len(each) > 1 else ""
        parts = [f"{column(groups, low, high):.3f}" for low, high in pairwise((0, *PARTS))]
        apart = f"{np.mean(each) - results['histogram']:+.3f}"
        error = float(np.mean([of["difference_error"] for of in networks]))
        apart += "" if math.isnan(error) else f" ± {error:.3f}"
        rows.append([title, f"{np.mean(each):.3f}{spread}", *parts, "" if kind == "exact" else apart])
    heads = ["code", "bits per dimension", "t = 1:", "t = 2..10:", "11..100:", "101..1000:", "to the histogram"]
    return table(heads, rows)


TABLES = {"bits": bits_table}
"""The tables, by their names on a page."""


def tables(results: Results) -> dict[str, str]:
    """All of them, by the names that they have on a page."""
    return as_tables(TABLES, results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.bits", description=__doc__, args=arguments)
    return exit_code(lambda: show(tables(measure(options)), options.page))


if __name__ == "__main__":
    sys.exit(main())
