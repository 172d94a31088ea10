"""What a training step costs when one thing about it is changed: `python -m tinyddpm.experiments.steps`.

Each change is measured beside the unchanged step, in one process, one step of each in turn, so that both meet the same
machine. Nothing else should run on it meanwhile. A change that was measured before, with the same settings, is not
measured again.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any, cast

import torch
import tyro
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from .. import data
from ..tables import table
from ..train.config import Config, check_lowest
from ..train.machine import keep_memory
from ..train.trainer import Trainer, optimiser
from ..train.unet import ResidualBlock, size_of
from .results import RESULTS, Results, as_tables, check_same, exit_code, save, show
from .results import load as load_results

EDGE, CHANNELS = 32, 3
"""The pictures of these steps."""


def channels_last(trainer: Trainer) -> None:
    """All channels of a pixel side by side in memory, in the place of all pixels of a channel."""
    trainer.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer.x = trainer.x.to(memory_format=torch.channels_last)


def one_pass(trainer: Trainer) -> None:
    """Normalise, scale and shift at once: a group norm over the channels of the whole batch, whose weights are products."""

    def forward(block: Any, x: Tensor, embedding: Tensor) -> Tensor:
        h, norm = block.conv_in(functional.silu(block.norm_in(x))), block.norm_out
        scale, shift = block.scale_and_shift(embedding).chunk(2, dim=1)
        weight, bias = norm.weight * (1 + scale), norm.bias * (1 + scale) + shift
        together, groups = h.reshape(1, -1, *h.shape[2:]), len(h) * norm.num_groups
        together = functional.group_norm(together, groups, weight.flatten(), bias.flatten(), norm.eps)
        return block.shortcut(x) + block.conv_out(block.dropout(functional.silu(together.view_as(h))))

    _replace(trainer, ResidualBlock, forward)


def small_first(trainer: Trainer) -> None:
    """On the way up, convolve the small picture with 3x3 weights, then make four equal pixels of each."""
    _grow(trainer, lambda small, above: (_conv(small, above), nn.Upsample(scale_factor=2.0)))


def large_first(trainer: Trainer) -> None:
    """On the way up, make four equal pixels of each, then convolve the large picture with 3x3 weights."""
    _grow(trainer, lambda small, above: (nn.Upsample(scale_factor=2.0), _conv(small, above)))


def unfused(trainer: Trainer) -> None:
    """Adam weight by weight, many small operations in the place of one."""
    trainer.optimiser = torch.optim.Adam(
        trainer.model.parameters(), trainer.config.lr, betas=(0.9, 0.99), foreach=False
    )


def _conv(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def _grow(trainer: Trainer, layers: Callable[[int, int], Sequence[nn.Module]]) -> None:
    """Put other layers in the place of those that double the size."""
    grow = cast(Any, trainer.model.grow)
    for place, old in enumerate(grow):
        grow[place] = nn.Sequential(*layers(old.in_channels, old.out_channels))
    trainer.average = copy.deepcopy(trainer.model)
    trainer.optimiser = optimiser(trainer.config, list(trainer.model.parameters()))


def _replace(trainer: Trainer, kind: type[nn.Module], forward: Callable[..., Tensor]) -> None:
    for module in trainer.model.modules():
        if isinstance(module, kind):
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


CHANGES: dict[str, tuple[dict[str, Any], Callable[[Trainer], None] | None]] = {
    "channels last": ({}, channels_last),
    "normalise, scale and shift in one pass": ({}, one_pass),
    "convolve, then enlarge": ({}, small_first),
    "enlarge, then convolve": ({}, large_first),
    "skip connections added": ({"skips": "add"}, None),
    "no attention": ({"attention": False}, None),
    "Adam not fused": ({}, unfused),
    "width 40": ({"width": 40}, None),
    "width 48": ({"width": 48}, None),
    "compiled": ({"compile": True}, None),
}
"""What is changed: fields of the config, and something about the trainer made of it."""


@dataclass(frozen=True)
class Options:
    """Measure training steps with one thing changed; print how much faster or slower they are."""

    out: Path = Path("docs/assets/steps")
    """folder for the results; results that are in it already are not computed again"""
    only: tuple[str, ...] = ()
    """names of changes; if not given, all"""
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    """what to compute in"""
    pairs: int = 10
    """how many steps are timed of each"""
    edge: int = EDGE
    """edge of the pictures"""
    page: Path | None = None
    """Markdown page whose table is replaced"""

    def check(self) -> Options:
        """Refuse what cannot be measured; gives the options back.

        Raises:
            ValueError: naming the option, what it was and what is allowed.
        """
        check_lowest(self, pairs=2, edge=8)
        for option, names, allowed in (
            ("only", self.only, CHANGES),
            ("precisions", self.precisions, ("float32", "bfloat16")),
        ):
            for name in names:
                if name not in allowed:
                    raise ValueError(f"{option} must name some of: {', '.join(allowed)}; got {name!r}")
        return self


def trainer_of(precision: str, edge: int, changes: dict[str, Any], change: Callable[[Trainer], None] | None) -> Trainer:
    """A trainer on random pictures, changed, after the steps that are slower."""
    torch.manual_seed(0)
    x = 2 * torch.rand(128, CHANNELS, edge, edge) - 1
    config = Config(precision=precision, dropout=0.0, **changes)
    trainer = Trainer(config, data.split(x.numpy(), None, 0.0), torch.device("cpu"))
    if change:
        change(trainer)
    for _ in range(2):
        trainer.step(0.5)
    return trainer


def measure(name: str, precision: str, options: Options) -> dict[str, Any]:
    """The seconds of steps with a change and without it, in turn."""
    trainers = [trainer_of(precision, options.edge, {}, None), trainer_of(precision, options.edge, *CHANGES[name])]
    seconds: list[list[float]] = [[], []]
    for _ in range(options.pairs):
        for trainer, taken in zip(trainers, seconds, strict=True):
            begun = time.perf_counter()
            trainer.step(0.5)
            taken.append(time.perf_counter() - begun)
    return {
        "seconds": seconds[0],
        "seconds_changed": seconds[1],
        "parameters": [size_of(each.model) for each in trainers],
    }


def run(options: Options) -> Results:
    """Measure every change in every precision, except those that are in the results already; gives all results."""
    results: Results = {"settings": {"edge": options.edge, "pairs": options.pairs}, "measured": {}}
    if (options.out / RESULTS).is_file():
        before = load(options.out)
        check_same(before["settings"], results["settings"], options.out)
        results = before
    options.out.mkdir(parents=True, exist_ok=True)
    for precision in options.precisions:
        for name in options.only or CHANGES:
            if f"{name}/{precision}" not in results["measured"]:
                figures = results["measured"][f"{name}/{precision}"] = measure(name, precision, options)
                save(options.out, results)
                print("{}, {}: {:.2f} ± {:.2f} times as fast".format(name, precision, *faster(figures)), flush=True)
    return results


def faster(figures: dict[str, Any]) -> tuple[float, float]:
    """How many times as fast a changed step is, the mean of the pairs, and half of its 95 % confidence interval."""
    ratios = [before / after for before, after in zip(figures["seconds"], figures["seconds_changed"], strict=True)]
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5
    return statistics.fmean(ratios), float(stats.t.ppf(0.975, len(ratios) - 1)) * spread


def load(folder: Path) -> Results:
    """What has been measured: the settings, and for each change and precision the seconds of each step."""
    return load_results(folder, "steps", ("settings", "measured"))


def changes_table(results: Results) -> str:
    """Each change, and how many times as fast a step is with it."""
    names = dict.fromkeys(key.rpartition("/")[0] for key in results["measured"])
    precisions = dict.fromkeys(key.rpartition("/")[2] for key in results["measured"])
    rows = []
    for name in names:
        each = [results["measured"].get(f"{name}/{precision}") for precision in precisions]
        more = next(of["parameters"][1] / of["parameters"][0] for of in each if of)
        rows.append([name, f"{more:.2f}", *("{:.2f} ± {:.2f}".format(*faster(of)) if of else "" for of in each)])
    return table(["changed", "weights:", *(f"times as fast in {precision}:" for precision in precisions)], rows)


TABLES: dict[str, Callable[[Results], str]] = {"steps": changes_table}
"""The tables, by their names on a page."""


def tables(results: Results) -> dict[str, str]:
    """All of them, by the names that they have on a page."""
    return as_tables(TABLES, results)


# The command. --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.steps", args=arguments)
    keep_memory()
    return exit_code(lambda: show(tables(run(options.check())), options.page))


if __name__ == "__main__":
    sys.exit(main())
