"""The trainer beside others that are installed, in one run: `python -m tinyddpm.train.benchmark`.

Every measurement is made in a process of its own, so that its memory is its own, and written down at once: a
benchmark that was interrupted goes on where it was. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..cli import keep_memory
from ..files import write
from . import data, judge, loop, metrics, run
from .config import Config
from .peers import PEERS, Peer, matched
from .tables import renewed, table

PARTS = ("machine", "speed", "quality", "sampling")
"""What can be measured."""

OURS = "tinyddpm"

BATCH, SAMPLES = 128, 1000
"""Pictures in a step, and samples that are judged."""

SIZES = {"8x8": (8, 1, 520_000), "32x32": (32, 3, 1_600_000)}
"""Pictures to measure the speed with: their edge, channels, and about how many parameters a network for them has."""

RATE, KEPT = 1e-3, 0.995
"""Learning rate of the peers, and how much of the average of their weights is kept: better for runs this short than theirs."""

CALLS = (5, 10, 20, 50, 100, 250, 1000)
"""Network calls to draw a sample with."""


@dataclass(frozen=True)
class Options:
    """Measure this trainer and those beside it; peers that are not installed are left out."""

    out: Path = Path("docs/assets/benchmark")
    """folder for results.json"""
    work: Path = Path("runs/benchmark")
    """folder for the runs"""
    parts: tuple[str, ...] = PARTS
    """machine, speed, quality, sampling"""
    peers: tuple[str, ...] = tuple(PEERS)
    """lucidrains, diffusers, smalldiffusion"""
    budgets: tuple[float, ...] = (60.0, 180.0, 360.0)
    """seconds to train for"""
    seeds: int = 3
    """how many runs of ours for each budget"""
    peer_seeds: int = 1
    """how many of each peer, all budgets in one run"""
    device: str = "auto"
    """where the speed is measured: auto, cpu, cuda"""
    page: Path | None = None
    """a page whose tables are renewed"""
    job: str | None = None
    """one measurement, as JSON: what the processes of a benchmark are started with"""

    def check(self) -> None:
        """Refuse what cannot be measured, by name."""
        for name, allowed in (("parts", PARTS), ("peers", tuple(PEERS))):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(f"{name} must be of {', '.join(allowed)}, got {value!r}")
        if not self.budgets or min(self.budgets) <= 0 or self.seeds < 1 or self.peer_seeds < 0:
            raise ValueError("budgets must be above 0, seeds at least 1, peer_seeds at least 0")


# What a process of its own measures. ---------------------------------------------------------------------------------


def seconds(call: Callable[[], Any], device: torch.device, least: float = 1.0) -> float:
    """How long a call takes: the median of five rounds of about `least` seconds together, after a first one."""

    def lasting(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / count

    count = max(1, int(least / 5 / max(lasting(3), lasting(1))))
    return statistics.median(lasting(count) for _ in range(5))


def machine(device: str) -> dict[str, Any]:
    """What the machine is, and the most that it was seen to do, in GFLOP/s and GB/s."""
    on = run.device_of(device)
    size, cuda = (8192 if on.type == "cuda" else 2048), on.type == "cuda"
    peaks = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a = torch.randn(size, size, device=on, dtype=dtype)
        peaks[f"matrix product, {name}"] = 2 * size**3 / seconds(partial(torch.matmul, a, a), on) / 1e9
        best = 0.0
        for channels, edge in ((32, 32), (64, 8), (64, 32), (128, 16), (256, 8)):
            for layout in (torch.contiguous_format, torch.channels_last):
                x = torch.randn(BATCH, channels, edge, edge, device=on, dtype=dtype).to(memory_format=layout)
                weight = torch.randn(channels, channels, 3, 3, device=on, dtype=dtype).to(memory_format=layout)
                lasts = seconds(partial(nn.functional.conv2d, x, weight, padding=1), on, 0.5)
                best = max(best, 2 * 9 * x.numel() * channels / lasts / 1e9)
        peaks[f"3x3 convolution, {name}"] = best
    x = torch.randn(2**28 if cuda else 2**26, device=on)
    y = torch.empty_like(x)
    peaks["copy"] = 2 * x.numel() * 4 / seconds(lambda: y.copy_(x), on) / 1e9
    return {
        "name": torch.cuda.get_device_name(on) if cuda else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "peaks": peaks,
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def speed(name: str, size: str, device: str, compiled: bool) -> dict[str, Any]:
    """Steps of one contestant on random pictures: forward, backward, optimiser; on a GPU in bfloat16."""
    edge, channels, parameters = SIZES[size]
    on = run.device_of(device)
    torch.manual_seed(0)
    x = torch.rand(BATCH, channels, edge, edge) * 2 - 1
    if name == OURS:
        found = data.split(x.numpy(), None, 0.0)

        def make(width: int) -> loop.Trainer:
            levels = 2 if edge < 16 else 3
            config = Config(width=width, levels=levels, conditional="nothing", batch=BATCH)
            return loop.Trainer(config, found, on)

        trainer = matched(make, parameters)
        net, step = trainer.net, partial(trainer.step, 0.1)
    else:
        peer = matched(lambda width: PEERS[name][1](width, edge, channels), parameters)
        net = peer.net.to(on)
        step = partial(learn, peer, torch.optim.Adam(net.parameters(), RATE), x.to(on))
    with FlopCounterMode(display=False) as counter:
        step()
    if compiled:
        net.compile()
        step()
    lasts = seconds(step, on, 10.0)
    return {
        "parameters": size_of(net),
        "images_per_second": BATCH / lasts,
        "gflops": counter.get_total_flops() / lasts / 1e9,
        "memory_mb": loop.peak_memory_mb(on),
    }


def learn(peer: Peer, adam: torch.optim.Optimizer, x: Tensor) -> None:
    """One step of a peer."""
    adam.zero_grad()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        loss = peer.loss(x)
    loss.backward()
    nn.utils.clip_grad_norm_(peer.net.parameters(), 1.0)
    adam.step()


def quality(name: str, budgets: list[float], seed: int, work: str, told: bool) -> dict[str, Any]:
    """Samples of one run, judged: of ours for one budget, of a peer for each, its clock stopped meanwhile."""
    found = data.load("digits")
    return (ours if name == OURS else theirs)(name, budgets, seed, Path(work), told, found)


def ours(name: str, budgets: list[float], seed: int, work: Path, told: bool, found: data.Data) -> dict[str, Any]:
    """The two commands that anyone who measures would give."""
    (budget,) = budgets
    folder = work / f"{'labels' if told else 'pictures'}-{budget:g}-{seed}"
    file, drawn = work / f"{folder.name}.npz", work / f"{folder.name}-samples.npz"
    work.mkdir(parents=True, exist_ok=True)
    arrays = {"images": (found.train[:, 0] + 1) / 2, "labels": found.train_labels if told else None}
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    command = [sys.executable, "-m", "tinyddpm"]
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted benchmark left
    chosen = [f"--data={file}", f"--seconds={budget}", f"--out={folder}", f"--seed={seed}"]
    subprocess.run([*command, "train", *chosen], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = time.perf_counter()
    draw = [str(folder), f"--n={SAMPLES}", f"--out={drawn}", f"--seed={seed}"]
    subprocess.run([*command, "sample", *draw], check=True, stdout=subprocess.DEVNULL)
    lasts = time.perf_counter() - begun
    report = json.loads((folder / "report.json").read_text("utf-8"))
    figures = {"steps": report["steps"], "sampling_seconds": lasts, "memory_mb": report["peak_memory_mb"]}
    return {f"{budget:g}": {**figures, **judged(np.load(drawn)["samples"], found)}}


def theirs(name: str, budgets: list[float], seed: int, work: Path, told: bool, found: data.Data) -> dict[str, Any]:
    """One run of a peer, sampled at each budget with the average of its weights."""
    torch.manual_seed(seed)
    edge, channels, parameters = SIZES["8x8"]
    peer = matched(lambda width: PEERS[name][1](width, edge, channels), parameters)
    average, pictures = copy.deepcopy(peer.net.state_dict()), torch.from_numpy(found.train)
    adam, spent, steps, figures = torch.optim.Adam(peer.net.parameters(), RATE), 0.0, 0, {}
    for budget in sorted(budgets):
        peer.net.train()
        while spent < budget:
            begun = time.perf_counter()
            learn(peer, adam, pictures[torch.randint(len(pictures), (BATCH,))])
            with torch.no_grad():
                for kept, value in zip(average.values(), peer.net.state_dict().values(), strict=True):
                    kept.lerp_(value, 1 - min(KEPT, steps / (steps + 10))) if kept.is_floating_point() else kept.copy_(
                        value
                    )
            spent, steps = spent + time.perf_counter() - begun, steps + 1
        raw = copy.deepcopy(peer.net.state_dict())
        peer.net.load_state_dict(average)
        peer.net.eval()
        begun = time.perf_counter()
        with torch.no_grad():
            samples = peer.sample(SAMPLES).clamp(-1, 1).numpy()
        figures[f"{budget:g}"] = {
            "steps": steps,
            "sampling_seconds": time.perf_counter() - begun,
            "memory_mb": loop.peak_memory_mb(torch.device("cpu")),
            **judged(samples, found),
        }
        peer.net.load_state_dict(raw)
    return {"parameters": size_of(peer.net), **figures}


def judged(samples: np.ndarray, found: data.Data) -> dict[str, float | None]:
    """The Fréchet distance, and whether samples are copies."""
    verdict = judge.compare(samples, found)
    return {"frechet_distance": verdict.frechet_distance, "nearest_neighbours": verdict.nearest_neighbours}


def floors() -> dict[str, float]:
    """What the truth itself comes to: the real halves, and draws with replacement from the one that is trained on."""
    found, rng = data.load("digits"), np.random.default_rng(0)
    features, accuracy = judge.classifier(found)
    real, train = features.describe(found.held_out), features.describe(found.train)
    drawn = [metrics.frechet_distance(real, train[rng.integers(len(train), size=SAMPLES)]) for _ in range(20)]
    half = metrics.frechet_distance(real, train)
    return {"half": half, "drawn": float(np.mean(drawn)), "drawn_sd": float(np.std(drawn)), "accuracy": accuracy}


def sampling(folder: str, sampler: str, calls: int) -> dict[str, Any]:
    """One run sampled in one way, with three seeds."""
    found, loaded = data.load("digits"), run.load(Path(folder))
    loaded.sample(SAMPLES, 0, sampler=sampler, steps=5)  # the first time is slower
    lasting, distances = [], []
    for seed in range(3):
        begun = time.perf_counter()
        samples = loaded.sample(SAMPLES, seed, sampler=sampler, steps=calls)
        lasting.append(time.perf_counter() - begun)
        distances.append(judge.compare(samples, found).frechet_distance)
    return {"seconds": statistics.median(lasting), "frechet_distances": distances}


def size_of(net: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(value.numel() for value in net.parameters())


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "machine": machine,
    "speed": speed,
    "floors": floors,
    "quality": quality,
    "sampling": sampling,
}


# The benchmark. ------------------------------------------------------------------------------------------------------


def jobs(options: Options) -> Iterable[tuple[str, list[Any]]]:
    """The measurements, by names that say all that was chosen: what to measure, and the arguments."""
    there = [name for name in options.peers if find_spec(PEERS[name][0])]
    if "machine" in options.parts:
        yield "machine", [options.device]
    if "speed" in options.parts:
        gpu = run.device_of(options.device).type == "cuda"
        for size, name, compiled in itertools.product(SIZES, (OURS, *there), (False, True) if gpu else (False,)):
            yield f"speed/{size}/{name}{'/compiled' if compiled else ''}", [name, size, options.device, compiled]
    work = str(options.work)
    if "quality" in options.parts:
        yield "floors", []
        for told, budget, seed in itertools.product((False, True), options.budgets, range(options.seeds)):
            kind = "labels" if told else "pictures"
            yield f"quality/{OURS}, {kind}/{budget:g}/{seed}", [OURS, [budget], seed, work, told]
        for name, seed in itertools.product(there, range(options.peer_seeds)):
            told_of = "-".join(f"{budget:g}" for budget in options.budgets)
            yield f"quality/{name}/{told_of}/{seed}", [name, [*options.budgets], seed, work, False]
    if "sampling" in options.parts:
        folder = options.work / f"labels-{max(options.budgets):g}-0"
        for sampler, calls in itertools.product(("second_order", "ddim", "ancestral"), CALLS):
            yield f"sampling/{sampler}/{calls}", [str(folder), sampler, calls]


def benchmark(options: Options) -> dict[str, Any]:
    """Measure what is not in results.json yet, one after another; gives all of it."""
    options.check()
    for name in options.peers:
        if not find_spec(PEERS[name][0]):
            print(f"{name} is not installed: left out (pip install {PEERS[name][0].replace('_', '-')})")
    file = options.out / "results.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, arguments in jobs(options):
        if name not in found:
            print(name, flush=True)
            found[name] = apart(name.split("/")[0], arguments)
            run.write_json(file, found)
    return found


def apart(measure: str, arguments: list[Any]) -> dict[str, Any]:
    """A measurement in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        job = json.dumps([measure, arguments, answer.name])
        subprocess.run([sys.executable, "-m", __spec__.name, "--job", job], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.load(answer)
        return found


def tables(found: dict[str, Any]) -> dict[str, str]:
    """The tables that the chapter shows, as Markdown."""
    peak = found["machine"]["peaks"]["3x3 convolution, float32"] if "machine" in found else math.nan
    speeds = [
        (
            size,
            " ".join(name),
            f"{of['parameters'] / 1e6:.2f}",
            f"{of['images_per_second']:,.0f}",
            f"{of['gflops']:.0f}",
            f"{of['gflops'] / peak:.0%}",
            f"{of['memory_mb']:.0f}",
        )
        for (_, size, *name), of in split(found, "speed")
    ]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (_, name, *_), of in split(found, "quality"):
        for budget in of.keys() - {"parameters"}:
            runs.setdefault((name, budget), []).append(of[budget])
    qualities = [
        (
            name,
            budget,
            str(len(of)),
            f"{mean(of, 'steps'):,.0f}",
            spread([each["frechet_distance"] for each in of]),
            f"{mean(of, 'nearest_neighbours'):.2f}",
            f"{mean(of, 'sampling_seconds'):.1f}",
            f"{mean(of, 'memory_mb'):.0f}",
        )
        for (name, budget), of in sorted(
            runs.items(), key=lambda row: (float(row[0][1]), not row[0][0].startswith(OURS), row[0])
        )
    ]
    samplings = [
        (name, calls, f"{of['seconds']:.1f}", spread(of["frechet_distances"]))
        for (_, name, calls), of in split(found, "sampling")
    ]
    return {
        "speed": table(
            ["pictures", "trainer", "parameters (M):", "images/s:", "GFLOP/s:", "of the peak:", "memory (MB):"], speeds
        ),
        "quality": table(
            [
                "trainer",
                "seconds:",
                "runs:",
                "steps:",
                "Fréchet distance:",
                "neighbours:",
                "sampling (s):",
                "memory (MB):",
            ],
            qualities,
        ),
        "calls": table(["sampler", "calls:", "seconds:", "Fréchet distance:"], samplings),
    }


def split(found: dict[str, Any], part: str) -> Iterable[tuple[list[str], Any]]:
    """The measurements of a part, with their names taken apart."""
    return ((name.split("/"), of) for name, of in found.items() if name.startswith(f"{part}/"))


def mean(runs: list[dict[str, Any]], name: str) -> float:
    """One figure, on average over several runs."""
    return statistics.fmean(of[name] for of in runs)


def spread(values: list[float]) -> str:
    """A mean and, of several values, their standard deviation."""
    of_several = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{of_several}"


def main() -> int:
    """Run the benchmark, or one job of it; gives the exit code."""
    keep_memory()
    options = tyro.cli(Options, prog="python -m tinyddpm.train.benchmark")
    if options.job is not None:
        measure, arguments, answer = json.loads(options.job)
        Path(answer).write_text(json.dumps(MEASURES[measure](*arguments)), "utf-8")
        return 0
    try:
        found = benchmark(options)
        print(*tables(found).values(), sep="\n")
        if options.page is not None:
            page = renewed(options.page.read_text("utf-8"), tables(found)).encode()
            write(options.page, lambda file: file.write(page))
    except (ValueError, OSError, subprocess.CalledProcessError) as problem:
        print(f"benchmark: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
