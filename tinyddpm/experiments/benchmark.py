"""This trainer and others that are installed, measured on one machine: `python -m tinyddpm.experiments.benchmark`.

Every measurement runs in its own process, so that its memory can be measured, and is saved at once: a benchmark that was
interrupted continues where it stopped. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .. import data
from ..door import check_name
from ..runs import judge, run
from ..train import ema_update_, metrics
from ..train.config import Config
from ..train.machine import device_of, keep_memory, peak_memory_mb
from ..train.trainer import Trainer
from ..train.unet import network, size_of
from .peers import PEERS, Peer
from .results import RESULTS, Results, as_tables, exit_code, save, show
from .results import load as load_results
from .tables import spread, table
from .ways import FIXED, ways

PARTS = ("machine", "speed", "quality", "sampling")
"""What can be measured."""

OURS, TOLD = "tinyddpm", "tinyddpm, labels told"
"""The names of this trainer, with pictures alone and with their labels too."""

BATCH, SAMPLES = 128, 1000
"""Pictures in a step, and samples that are judged."""

SIZES: dict[str, tuple[int, int, dict[str, int]]] = {
    "8x8": (8, 1, {}),
    "8x8, wide": (8, 1, {"width": 48}),
    "32x32": (32, 3, {"width": 40}),
}
"""Pictures to measure the speed with: edge, channels, and options of our network; the other networks have as many parameters."""

WAYS = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16", "bfloat16, compiled")}
"""The ways to train that the speed is measured in."""

SAMPLERS = {
    name if variance in ("", FIXED[0]) else f"{name}, {variance}": options
    for (name, variance), options in ways().items()
}
"""The ways to draw; `ancestral`, Algorithm 2, with the most steps is what all are compared with."""

KEPT = 0.995
"""The decay of the moving average of a peer's weights: better for runs this short than their own."""

DRAWS, SEEDS = 20, 3
"""How often a floor is measured, and how often one run is sampled in each way."""

PRODUCT, COPY = {"cpu": 2048, "cuda": 8192}, {"cpu": 2**26, "cuda": 2**28}
"""Edge of the matrices and length of the vector for measuring the peak performance of a machine."""

CONVOLUTIONS = ((32, 32), (64, 8), (64, 32), (128, 16), (256, 8))
"""Channels and edge of the convolutions for measuring it."""


@dataclass(frozen=True)
class Options:
    """Measure this trainer and others: seconds, memory, and how good the samples are.

    Trainers that are not installed are left out. A measurement that is in results.json, with the same settings, is not
    made again. Nothing else should run on the machine meanwhile.
    """

    out: Path = Path("docs/assets/benchmark")
    """folder for results.json"""
    work: Path = Path("runs/benchmark")
    """folder for the runs"""
    page: Path | None = None
    """Markdown page whose tables are replaced"""
    parts: tuple[str, ...] = PARTS
    """what to measure: machine, speed, quality, sampling; none to only print the tables"""
    peers: tuple[str, ...] = tuple(PEERS)
    """other trainers to measure: lucidrains, diffusers, smalldiffusion"""
    budgets: tuple[float, ...] = (60.0, 180.0, 360.0)
    """training times, in seconds"""
    seeds: int = 3
    """how many runs of ours for each budget"""
    peer_seeds: int = 1
    """how many runs of each peer, with all budgets in one run"""
    peer_steps: dict[str, int] = field(default_factory=dict)
    """network calls for a peer's samples, such as lucidrains 1000; if not given, 250, 1000 and 20"""
    peer_rate: float = 1e-3
    """their learning rate, constant: for runs this short better than the 8e-5, 1e-4 and 7e-4 that they recommend"""
    calls: tuple[int, ...] = (5, 10, 20, 50, 100)
    """network calls for our samples; Algorithm 2 is measured with all 1,000 as well"""
    run: Path | None = None
    """run to sample in several ways; if not given, the first with labels of the largest budget"""
    device: str = "auto"
    """device for measuring the speed: auto, cpu, cuda"""
    timing: float = 10.0
    """seconds to time the steps of a trainer for"""

    def check(self) -> Options:
        """Refuse what cannot be measured, by name; gives the options back.

        Raises:
            ValueError: naming the option, what it was and what is allowed.
        """
        names = {"parts": (self.parts, PARTS), "peers": (self.peers, tuple(PEERS))}
        for name, (values, allowed) in (names | {"peer_steps": (tuple(self.peer_steps), tuple(PEERS))}).items():
            for value in values:
                check_name(name, value, allowed)
        numbers: dict[str, tuple[float, ...]] = {"budgets": self.budgets, "calls": self.calls, "seeds": (self.seeds,)}
        numbers |= {"peer_rate": (self.peer_rate,), "timing": (self.timing,)}
        for name, each in (numbers | {"peer_steps": (1, *self.peer_steps.values())}).items():
            if not each or not all(0 < number < np.inf for number in each):
                raise ValueError(f"{name} must be above 0, got {', '.join(map(str, each)) or 'none'}")
        if self.peer_seeds < 0 or max(*self.calls, *self.peer_steps.values(), 0) > 1000:
            raise ValueError("peer_seeds must be at least 0, calls and peer_steps at most 1000")
        device_of(self.device)
        return self


# What is measured. ---------------------------------------------------------------------------------------------------


def seconds(call: Callable[[], Any], device: torch.device, least: float) -> float:
    """How long a call takes: the median of five rounds of about `least` seconds together, after three calls to warm up."""

    def lasting(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / count

    lasting(3)
    count = max(1, round(least / 5 / lasting(2)))
    return statistics.median(lasting(count) for _ in range(5))


def flops(forward: Callable[[], Any]) -> int:
    """Arithmetic of a training step, an addition and a multiplication being two: three times that of its forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return 3 * int(counter.get_total_flops())


def machine(device: str, timing: float) -> dict[str, Any]:
    """The peak performance of the machine, as measured, in GFLOP/s and GB/s."""
    on, peaks = _prepared(device), {}
    for dtype in (torch.float32, torch.bfloat16):
        size, kind, best = PRODUCT[on.type], str(dtype).removeprefix("torch."), 0.0
        a = torch.randn(size, size, device=on).to(dtype)
        peaks[f"matrix product, {kind}"] = 2 * size**3 / seconds(partial(torch.matmul, a, a), on, timing) / 1e9
        for channels, edge in CONVOLUTIONS:
            for layout in (torch.contiguous_format, torch.channels_last):
                x, weight = (
                    torch.randn(shape, device=on).to(dtype).to(memory_format=layout)
                    for shape in ((BATCH, channels, edge, edge), (channels, channels, 3, 3))
                )
                lasts = seconds(partial(nn.functional.conv2d, x, weight, padding=1), on, timing / 5)
                best = max(best, 2 * 9 * x.numel() * channels / lasts / 1e9)
        peaks[f"3x3 convolution, {kind}"] = best
    x = torch.randn(COPY[on.type], device=on)
    peaks["copy"] = 2 * 4 * x.numel() / seconds(partial(torch.empty_like(x).copy_, x), on, timing) / 1e9
    return {"threads": torch.get_num_threads(), "peaks": peaks}


def speed(name: str, size: str, device: str, way: str, timing: float) -> dict[str, Any]:
    """Steps of one trainer on random pictures: forward, backward, optimiser."""
    (edge, channels, chosen), on = SIZES[size], _prepared(device)
    precision, compiled = way.partition(",")[0], way.endswith("compiled")
    torch.manual_seed(0)
    x = 2 * torch.rand(BATCH, channels, edge, edge) - 1
    if name == OURS:
        # No dropout, as with the others; a rate that grows would be compiled anew while it is timed.
        config = Config(batch=BATCH, compile=compiled, precision=precision, dropout=0.0, **chosen)  # type: ignore[arg-type]
        trainer = Trainer(config, data.split(x.numpy(), None, 0.0), on)
        x_0, t, _, condition = trainer.draw()
        net, work, step = trainer.model, flops(lambda: trainer.model(x_0, t, *condition)), partial(trainer.step, 0.1)
    else:
        peer, x = PEERS[name].make(edge, channels, ours_size(size), on), x.to(on)
        net, adam = peer.net, peer.optimiser(peer.net.parameters(), lr=1e-3)
        work, step = flops(partial(peer.loss, x)), partial(learn, peer, adam, x, half=precision == "bfloat16")
        if compiled:
            net.compile()
    lasts = seconds(step, on, timing)
    return {
        "parameters": size_of(net),
        "images_per_second": BATCH / lasts,
        "gflops": work / lasts / 1e9,
        "memory_mb": peak_memory_mb(on),
    }


def ours_size(size: str) -> int:
    """How many parameters our network has when it is conditioned on clusters."""
    edge, channels, chosen = SIZES[size]
    with torch.device("meta"):
        return size_of(network(Config(**chosen), (channels, edge, edge), data.CLUSTERS))  # type: ignore[arg-type]


def learn(peer: Peer, adam: torch.optim.Optimizer, x: Tensor, half: bool = False) -> None:
    """One step of a peer, in bfloat16 if asked for."""
    adam.zero_grad()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        loss = peer.loss(x)
    loss.backward()
    if peer.clip < np.inf:
        nn.utils.clip_grad_norm_(peer.net.parameters(), peer.clip)
    adam.step()


def floors() -> dict[str, Any]:
    """Distances between real digits: two halves of all, stratified by class; held-out digits and draws from the training ones."""
    from sklearn.model_selection import StratifiedShuffleSplit

    dataset, rng = data.load("digits"), np.random.default_rng(0)
    features, accuracy = judge.classifier(dataset)
    train, held_out = features.describe(dataset.train), features.describe(dataset.held_out)
    both, labels = np.concatenate([train, held_out]), np.concatenate([dataset.train_labels, dataset.held_out_labels])  # type: ignore[arg-type]
    halves = StratifiedShuffleSplit(DRAWS, test_size=0.5, random_state=0).split(both, labels)
    return {
        "accuracy": accuracy,
        "halves": [metrics.frechet_distance(both[half], both[rest]) for half, rest in halves],
        "drawn": [
            metrics.frechet_distance(held_out, train[rng.integers(len(train), size=SAMPLES)]) for _ in range(DRAWS)
        ],
    }


def quality(name: str, budgets: list[float], seed: int, steps: int, rate: float) -> dict[str, Any]:
    """One run of a peer, sampled at each budget with the average of its weights while its clock stands still."""
    torch.manual_seed(seed)
    (edge, channels, _), cpu = SIZES["8x8"], torch.device("cpu")
    peer, pictures = (
        PEERS[name].make(edge, channels, ours_size("8x8"), cpu),
        torch.from_numpy(data.load("digits").train),
    )
    weights: list[Tensor] = [*peer.net.parameters()]
    average = [value.detach().clone() for value in weights]
    adam, spent, count, memory, figures = peer.optimiser(weights, lr=rate), 0.0, 0, None, {}
    for budget in sorted(budgets):
        peer.net.train()
        while spent < budget:
            begun = time.perf_counter()
            learn(peer, adam, pictures[torch.randint(len(pictures), (BATCH,))])
            count += 1
            ema_update_(average, weights, min(KEPT, count / (count + 10)))
            spent += time.perf_counter() - begun
        memory = memory or peak_memory_mb(cpu)  # of training: drawing comes after
        raw, begun = [value.detach().clone() for value in weights], time.perf_counter()
        peer.net.eval()
        with torch.no_grad():
            torch._foreach_copy_(weights, average)
            samples = peer.sample(SAMPLES, steps).clamp(-1, 1).numpy()
            torch._foreach_copy_(weights, raw)
        lasts = time.perf_counter() - begun
        figures[f"{budget:g}"] = {"steps": count, "sampling_seconds": lasts, "memory_mb": memory, **judged(samples)}
    return {"parameters": size_of(peer.net), "budgets": figures}


def ours(work: Path, name: str, budget: float, seed: int) -> dict[str, Any]:
    """One run of ours, by the two commands that a user would give; with `labels` in the data file, or without."""
    dataset = data.load("digits")
    folder = folder_of(work, name, budget, seed)
    file, drawn = (folder.with_name(f"{folder.name}-{what}.npz") for what in ("data", "samples"))
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted benchmark left
    work.mkdir(parents=True, exist_ok=True)
    labels: dict[str, Any] = {"labels": dataset.train_labels} if name == TOLD else {}
    np.savez(file, images=(dataset.train[:, 0] + 1) / 2, **labels)
    command("train", f"--data={file}", f"--seconds={budget}", f"--out={folder}", f"--seed={seed}")
    begun = time.perf_counter()
    command("sample", str(folder), f"--n={SAMPLES}", f"--out={drawn}", f"--seed={seed}")
    lasts, report = time.perf_counter() - begun, json.loads((folder / "report.json").read_text("utf-8"))
    figures = {"steps": report["steps"], "sampling_seconds": lasts, "memory_mb": report["peak_memory_mb"]}
    with np.load(drawn) as samples:
        figures |= judged(samples["samples"])
    return {"parameters": report["parameters"], "budgets": {f"{budget:g}": figures}}


def folder_of(work: Path, name: str, budget: float, seed: int) -> Path:
    """Where a run of ours is."""
    return work / f"{'labels' if name == TOLD else 'pictures'}-{budget:g}-{seed}"


def judged(samples: np.ndarray) -> dict[str, Any]:
    """The Fréchet distance, and whether samples are copies."""
    verdict = judge.compare(samples, data.load("digits"))
    return {"frechet_distance": verdict.frechet_distance, "nearest_neighbours": verdict.nearest_neighbours}


def sampling(folder: str, way: str, calls: int) -> dict[str, Any]:
    """One run sampled in one way, with three seeds."""
    loaded, lasting, distances = run.load(Path(folder)), [], []
    options: dict[str, Any] = SAMPLERS[way]
    loaded.sample(SAMPLES, 0, steps=2, **options)  # the first time is slower
    for seed in range(SEEDS):
        begun = time.perf_counter()
        samples = loaded.sample(SAMPLES, seed, steps=calls, **options)
        lasting.append(time.perf_counter() - begun)
        distances.append(judged(samples)["frechet_distance"])
    return {"seconds": statistics.median(lasting), "frechet_distances": distances}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "machine": machine,
    "speed": speed,
    "floors": floors,
    "quality": quality,
    "sampling": sampling,
}
"""What is measured in a process of its own, by the first part of the measurement's name."""


def _prepared(device: str) -> torch.device:
    on = device_of(device)
    if on.type == "cuda":
        torch.set_float32_matmul_precision("high")  # as `loop.fit` does
    return on


# The benchmark. ------------------------------------------------------------------------------------------------------


def jobs(options: Options) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measurements to make: their names and settings."""
    there = [name for name in options.peers if PEERS[name].installed]
    where = {"device": options.device, "timing": options.timing}
    if "machine" in options.parts:
        yield "machine", {**where, "timing": options.timing / 10}
    if "speed" in options.parts:
        ways = WAYS[device_of(options.device).type]
        for size, way, name in itertools.product(SIZES, ways, (OURS, *there)):
            yield f"speed/{size}/{way}/{name}", {"name": name, "size": size, "way": way, **where}
    if "quality" in options.parts:
        yield "floors", {}
        for name, budget, seed in itertools.product((OURS, TOLD), options.budgets, range(options.seeds)):
            yield f"quality/{name}/{seed}/{budget:g}", {"name": name, "budget": budget, "seed": seed}
        for name, seed in itertools.product(there, range(options.peer_seeds)):
            settings = {"name": name, "budgets": sorted(options.budgets), "seed": seed, "rate": options.peer_rate}
            yield f"quality/{name}/{seed}", {**settings, "steps": options.peer_steps.get(name, PEERS[name].steps)}
    if "sampling" in options.parts:
        folder = options.run or folder_of(options.work, TOLD, max(options.budgets), 0)
        for way in SAMPLERS:
            for calls in sorted({*options.calls, *([1000] if way == "ancestral" else [])}):
                yield f"sampling/{way}/{calls}", {"folder": str(folder), "way": way, "calls": calls}


def benchmark(options: Options) -> Results:
    """Make all measurements that are not in the results yet; gives all results. One that fails is reported and left out.

    Raises:
        ValueError: when the results there are from another machine: they cannot be compared.
    """
    for name in options.peers:
        if not PEERS[name].installed:
            print(f"{name} is not installed, left out: pip install {PEERS[name].package.replace('_', '-')}")
    here = named(options.device)
    results = load(options.out) if (options.out / RESULTS).is_file() else {"machine": here, "measured": {}}
    if options.parts and results["machine"] != here:
        was, now = (", ".join(map(str, machine.values())) for machine in (results["machine"], here))
        raise ValueError(f"out must be a folder with results of this machine ({now}) or none, got those of {was}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, settings in jobs(options):
        if results["measured"].get(name, {}).get("settings") == settings:
            continue
        print(name, end="", flush=True)
        measure, begun = name.split("/")[0], time.monotonic()
        try:
            by_command = settings.get("name") in (OURS, TOLD) and measure == "quality"
            figures = ours(options.work, **settings) if by_command else apart(measure, settings)
        except (RuntimeError, ValueError, OSError) as problem:
            print(f": failed, left out: {problem}")
            continue
        print(f": {time.monotonic() - begun:.0f} s")
        results["measured"][name] = {"settings": settings, **figures}
        save(options.out, results)
    return results


def named(device: str) -> dict[str, Any]:
    """What identifies a machine."""
    on = device_of(device)
    name = torch.cuda.get_device_name(on) if on.type == "cuda" else platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if on.type == "cpu" and cpu.is_file() and (match := re.search(r"model name\s*: (.*)", cpu.read_text("utf-8"))):
        name = match[1]
    return {"name": name, "device": on.type, "cores": os.cpu_count(), "torch": torch.__version__}


def apart(measure: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output.json")
        call(
            [
                sys.executable,
                "-m",
                "tinyddpm.experiments.benchmark",
                "--job",
                measure,
                json.dumps(settings),
                str(output),
            ]
        )
        figures: dict[str, Any] = json.loads(output.read_text("utf-8"))
        return figures


def command(*arguments: str) -> None:
    """`tinyddpm` with these arguments."""
    call([sys.executable, "-m", "tinyddpm", *arguments])


def call(arguments: list[str]) -> None:
    """Run a command quietly, with as many threads as there are cores.

    Raises:
        RuntimeError: when it fails, with the last line of its output.
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")


def load(folder: Path) -> Results:
    """What has been measured: `machine` names it, `measured` has each measurement's figures and the `settings` it was made with."""
    return load_results(folder, "benchmark", ("machine", "measured"))


# The tables. ---------------------------------------------------------------------------------------------------------


def of(results: Results, part: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The measurements of a part: the rest of their names, and their figures."""
    return (
        (name.split("/")[1:], figures) for name, figures in results["measured"].items() if name.startswith(f"{part}/")
    )


def runs(results: Results) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """The figures of every run, by trainer and by budget."""
    by_name: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for (name, *_), measured in of(results, "quality"):
        for budget, figures in measured["budgets"].items():
            by_name.setdefault(name, {}).setdefault(float(budget), []).append(figures)
    return {name: dict(sorted(by_budget.items())) for name, by_budget in by_name.items()}


def machine_table(results: Results) -> str:
    """What the machine is, and the most it was seen to do."""
    about, measured = results["machine"], results["measured"].get("machine", {"peaks": {}})
    rows = [["processor", f"{about['name']}, {about['cores']} cores"], ["PyTorch", about["torch"]]]
    if "threads" in measured:
        rows.append(["threads", str(measured["threads"])])
    units = {name: "GB/s" if name == "copy" else "GFLOP/s" for name in measured["peaks"]}
    return table(
        ["what", "how much:"], rows + [[name, f"{most:,.0f} {units[name]}"] for name, most in measured["peaks"].items()]
    )


def speed_table(results: Results) -> str:
    """A training step of every trainer."""
    peaks = results["measured"].get("machine", {"peaks": {}})["peaks"]
    measured = {(size, way, name): figures for (size, way, name), figures in of(results, "speed")}
    most: dict[str, float] = {}  # by what was computed in
    for _, way, _ in measured:
        kind = way.partition(",")[0]
        most[way] = max((peak for what, peak in peaks.items() if what.endswith(kind)), default=np.nan)
    rows = []
    for size, name in dict.fromkeys((size, name) for size, _, name in measured):
        each = [measured.get((size, way, name)) for way in most]
        some = next(filter(None, each))
        rows.append([size, name, f"{some['parameters'] / 1e6:.2f}"])
        for peak, figures in zip(most.values(), each, strict=True):
            speed = f"{figures['images_per_second']:,.0f}" if figures else ""
            rows[-1] += [speed, f"{figures['gflops'] / peak:.0%}" if figures and peak > 0 else ""]
        rows[-1].append(f"{some['memory_mb'] or np.nan:,.0f}")
    columns = (column for way in most for column in (f"images/s in {way}:", "of the most:"))
    return table(["pictures", "trainer", "weights (M):", *columns, "memory (MB):"], rows)


def quality_table(results: Results) -> str:
    """How good the samples of every trainer are after every budget, and the floors."""
    by_name, rows = runs(results), []
    for budget in sorted({budget for by_budget in by_name.values() for budget in by_budget}):
        for name, figures in ((name, by_budget[budget]) for name, by_budget in by_name.items() if budget in by_budget):
            mean = {key: statistics.fmean(each[key] or np.nan for each in figures) for key in figures[0]}
            far = spread([each["frechet_distance"] for each in figures])
            rows.append([name, f"{budget:g}", str(len(figures)), f"{mean['steps']:,.0f}", far])
            rows[-1] += [f"{mean['nearest_neighbours']:.2f}", f"{mean['sampling_seconds']:.1f}"]
            rows[-1] += [f"{mean['memory_mb']:,.0f}"]
    floor = results["measured"].get("floors", {})
    for key, title in (
        ("halves", "real half against real half"),
        ("drawn", f"{SAMPLES:,} draws from the training half"),
    ):
        if key in floor:
            rows.append([f"*{title}*", "", str(len(floor[key])), "", spread(floor[key]), "", "", ""])
    head = [
        "trainer",
        "seconds:",
        "runs:",
        "steps:",
        "Fréchet distance:",
        "neighbours:",
        "sampling (s):",
        "memory (MB):",
    ]
    return table(head, rows)


def sampling_table(results: Results) -> str:
    """One run sampled in several ways; the ratio is to Algorithm 2 with the most calls."""
    measured = {(way, int(calls)): figures for (way, calls), figures in of(results, "sampling")}
    most = max((calls for way, calls in measured if way == "ancestral"), default=0)
    truth = statistics.fmean(measured["ancestral", most]["frechet_distances"]) if most else np.nan
    rows = []
    for (way, calls), figures in measured.items():
        ratio = statistics.fmean(figures["frechet_distances"]) / truth
        far = spread(figures["frechet_distances"])
        rows.append([way, str(calls), f"{figures['seconds']:.1f}", far, f"{ratio:.2f}" if most else ""])
    return table(["sampler", "calls:", f"seconds for {SAMPLES:,}:", "Fréchet distance:", "ratio:"], rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine_table,
    "speed": speed_table,
    "quality": quality_table,
    "calls": sampling_table,
}
"""The tables, by their names on a page."""


def tables(results: Results) -> dict[str, str]:
    """The tables that a page can show, as Markdown."""
    return as_tables(TABLES, results)


# The command. --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--job"]:  # one of its processes
        _, measure, settings, output = arguments
        keep_memory()
        Path(output).write_text(json.dumps(MEASURES[measure](**json.loads(settings))), "utf-8")
        return 0
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.benchmark", args=arguments)
    return exit_code(lambda: show(tables(benchmark(options.check())), options.page))


if __name__ == "__main__":
    sys.exit(main())
