"""This trainer and others that are installed, measured on one machine: `python -m tinyddpm.experiments.benchmark`.

Every measurement runs in its own process, so that its memory can be measured, and is saved at once: a benchmark that was
interrupted continues where it stopped. It goes block by block: in each, every trainer is timed and trained once, with a
seed of its own, so that a machine that is slower on another day is so for all.

The same is counted for all. The part `pace` times a step with all that belongs to it: the draw of a batch and the average
of the weights. From it follows how many steps a trainer makes in a number of seconds, and so many it is trained. So the
samples do not depend on what else the machine does: only the parts machine, speed and pace need a quiet one. Classes are
drawn at random, also for a trainer that is conditioned on them. All are compiled in the same mode. What was measured by
other rules is refused: it cannot be compared.
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
from ..tables import small, spread, table
from ..train import ema_update_, metrics
from ..train.config import Config
from ..train.machine import compile_mode, device_of, keep_memory, peak_memory_mb
from ..train.trainer import DROPOUT, Trainer
from ..train.unet import network, size_of
from .differences import LEVEL, Difference, corrected, differences, found
from .peers import PEERS, Peer
from .results import RESULTS, Results, as_tables, check_same, exit_code, save, show
from .results import load as load_results
from .ways import FIXED, ways

PARTS = ("machine", "speed", "pace", "rates", "quality", "sampling")
"""What can be measured."""

OURS, LABELLED = "tinyddpm", "tinyddpm, with labels"
"""The names of this trainer, with pictures alone and with their labels too."""

RULES = {"clock": "pace", "labels": "random"}
"""What the seconds of a training are, and how the classes of its samples are chosen."""

OLD = {"clock": "command", "labels": "proportional"}
"""How both were once."""

BATCH, SAMPLES = 128, 1000
"""Pictures in a step, and samples that are judged."""

SIZES: dict[str, tuple[int, int, dict[str, int]]] = {
    "8x8": (8, 1, {}),
    "8x8, wide": (8, 1, {"width": 48}),
    "32x32": (32, 3, {}),
    "32x32, wide": (32, 3, {"width": 48}),
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

DRAWS, SEEDS = 200, 3
"""How often a floor is measured, and how often one network is sampled in each way."""

RATES = (5e-4, 1e-3, 2e-3)
"""The learning rates that are tried for each peer, beside the one that it recommends."""

PRODUCT, COPY = {"cpu": 2048, "cuda": 8192}, {"cpu": 2**26, "cuda": 2**28}
"""Edge of the matrices and length of the vector for measuring the peak performance of a machine."""

CALLS = (5, 10, 20, 50, 100)
"""Network calls that our samples are drawn with."""

TIMED_CALLS = 100
"""With at most so many network calls samples are timed; with more, they take longer in proportion."""

CONVOLUTIONS = ((32, 32), (64, 8), (64, 32), (128, 16), (256, 8))
"""Channels and edge of the convolutions for measuring it."""


@dataclass(frozen=True)
class Options:
    """Measure this trainer and others: seconds, memory, and how good the samples are.

    Trainers that are not installed are left out. A measurement that is in results.json, with the same settings, is not
    made again. Nothing else should run on the machine during the parts machine, speed and pace.
    """

    out: Path = Path("docs/assets/benchmark")
    """folder for results.json"""
    work: Path = Path("runs/benchmark")
    """folder for the runs"""
    page: Path | None = None
    """Markdown page whose tables are replaced"""
    parts: tuple[str, ...] = PARTS
    """what to measure: machine, speed, pace, rates, quality, sampling; none to only print the tables"""
    peers: tuple[str, ...] = tuple(PEERS)
    """other trainers to measure: lucidrains, diffusers, smalldiffusion"""
    budgets: tuple[float, ...] = (60.0, 180.0, 360.0)
    """training times, in seconds; a peer, whose rate is constant, meets all of them in one run"""
    seeds: int = 3
    """how many blocks: in each, every trainer is timed and trained once"""
    peer_steps: dict[str, int] = field(default_factory=dict)
    """network calls for a peer's samples, such as lucidrains 1000; if not given, 250, 250 and 20"""
    peer_rate: float = 1e-3
    """their learning rate, constant; the part rates tries others, and those that they recommend: 8e-5, 1e-4 and 7e-4"""
    calls: tuple[int, ...] = CALLS
    """network calls for our samples; Algorithm 2 is measured with all 1,000 as well"""
    run: Path | None = None
    """run to sample in several ways; if not given, those with labels of the largest budget, one in each block"""
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
        if max(*self.calls, *self.peer_steps.values(), 0) > 1000:
            raise ValueError("calls and peer_steps must be at most 1000")
        device_of(self.device)
        return self

    def settings(self) -> dict[str, dict[str, Any]]:
        """What must be the same for all measurements of a part that are compared with each other."""
        steps = {name: self.peer_steps.get(name, peer.steps) for name, peer in PEERS.items()}
        timed = {"device": self.device, "timing": self.timing}
        paced = {"timing": self.timing, "samples": SAMPLES}
        trained = {**RULES, "samples": SAMPLES, "peer_steps": steps}
        sampled = {**RULES, "samples": SAMPLES, "draws": SEEDS, "seconds": max(self.budgets)}
        return {
            "machine": timed,
            "speed": timed,
            "pace": paced,
            "rates": {**trained, "budget": min(self.budgets)},
            "quality": {**trained, "budgets": sorted(self.budgets), "peer_rate": self.peer_rate},
            "sampling": sampled if self.run is None else {**sampled, "seconds": None, "run": str(self.run)},
        }


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
            net.compile(mode=compile_mode(on))
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
    """Distances between real digits: two halves of all, stratified by class; held-out digits and draws from the training
    ones with replacement, either freely or with as many of each class as the data have."""
    from sklearn.model_selection import StratifiedShuffleSplit

    dataset, rng = data.load("digits"), np.random.default_rng(0)
    features, accuracy = judge.classifier(dataset)
    train, held_out = features.describe(dataset.train), features.describe(dataset.held_out)
    classes: Any = dataset.train_labels
    both, labels = np.concatenate([train, held_out]), np.concatenate([classes, dataset.held_out_labels])  # type: ignore[arg-type]
    halves = StratifiedShuffleSplit(DRAWS, test_size=0.5, random_state=0).split(both, labels)
    order = np.argsort(classes, kind="stable")
    places = order[((np.arange(SAMPLES) + 0.5) / SAMPLES * len(order)).astype(int)]  # so many of each class
    same = [np.flatnonzero(classes == classes[place]) for place in places]
    return {
        "accuracy": accuracy,
        "halves": [metrics.frechet_distance(both[half], both[rest]) for half, rest in halves],
        "drawn": [
            metrics.frechet_distance(held_out, train[rng.integers(len(train), size=SAMPLES)]) for _ in range(DRAWS)
        ],
        "by_class": [
            metrics.frechet_distance(held_out, train[[rng.choice(each) for each in same]]) for _ in range(DRAWS)
        ],
    }


def learning(name: str, seed: int, rate: float) -> Iterator[tuple[Peer, list[Tensor], list[Tensor]]]:
    """A peer that learns the digits, step by step: with its weights and their average."""
    torch.manual_seed(seed)
    (edge, channels, _), cpu = SIZES["8x8"], torch.device("cpu")
    peer, pictures = (
        PEERS[name].make(edge, channels, ours_size("8x8"), cpu),
        torch.from_numpy(data.load("digits").train),
    )
    weights: list[Tensor] = [*peer.net.parameters()]
    average = [value.detach().clone() for value in weights]
    adam = peer.optimiser(weights, lr=rate)
    for count in itertools.count(1):
        peer.net.train()
        learn(peer, adam, pictures[torch.randint(len(pictures), (BATCH,))])
        ema_update_(average, weights, min(KEPT, count / (count + 10)))
        yield peer, weights, average


def pace(name: str, calls: list[int], timing: float) -> dict[str, Any]:
    """Steps in a second, with the draw of a batch and the average of the weights; and seconds for samples."""
    cpu = torch.device("cpu")
    if name == OURS:
        # With all the dropout and shifts that a long run ends with: they take time.
        config = Config(dropout=max(DROPOUT), shift=1)
        trainer = Trainer(config, data.load("digits"), cpu)
        drawer = run.Run(Path(), config, trainer.shape, trainer.counts, trainer.averaged())
        lasts = seconds(partial(trainer.step, 0.1), cpu, timing)

        def draw(steps: int) -> Any:
            return drawer.sample(SAMPLES, 0, steps=steps)

    else:
        learns = learning(name, 0, 1e-3)
        peer, *_ = next(learns)
        lasts = seconds(partial(next, learns), cpu, timing)
        peer.net.eval()
        draw = torch.no_grad()(partial(peer.sample, SAMPLES))
    draw(2)  # the first time is slower
    lasting = {}
    for each in calls:
        few, begun = min(TIMED_CALLS, each), time.perf_counter()
        draw(few)
        lasting[str(each)] = (time.perf_counter() - begun) * each / few
    return {"steps_per_second": 1 / lasts, "sampling_seconds": lasting}


def quality(name: str, steps: Mapping[str, int], seed: int, calls: int, rate: float) -> dict[str, Any]:
    """One run of a peer, sampled after the steps of each budget with the average of its weights."""
    learns, count, memory, figures = learning(name, seed, rate), 0, None, {}
    for budget, least in sorted(steps.items(), key=lambda each: each[1]):
        for _ in range(least - count):
            peer, weights, average = next(learns)
        count, memory = least, memory or peak_memory_mb(torch.device("cpu"))  # of training: drawing comes after
        raw = [value.detach().clone() for value in weights]
        peer.net.eval()
        with torch.no_grad():
            torch._foreach_copy_(weights, average)
            samples = peer.sample(SAMPLES, calls).clamp(-1, 1).numpy()
            torch._foreach_copy_(weights, raw)
        figures[budget] = {"steps": count, "memory_mb": memory, **judged(samples)}
    return {"parameters": size_of(peer.net), "budgets": figures}


def ours(work: Path, name: str, budget: float, steps: int, seed: int) -> dict[str, Any]:
    """One run of ours by its command, for the steps of a budget; with `labels` in the data file, or without."""
    dataset = data.load("digits")
    folder = folder_of(work, name, budget, seed)
    file = folder.with_name(f"{folder.name}-data.npz")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted benchmark left
    work.mkdir(parents=True, exist_ok=True)
    labels: dict[str, Any] = {"labels": dataset.train_labels} if name == LABELLED else {}
    np.savez(file, images=(dataset.train[:, 0] + 1) / 2, **labels)
    at_the_end = ("--save-every=inf", "--grid-every=inf")
    command("train", f"--data={file}", f"--steps={steps}", f"--out={folder}", f"--seed={seed}", *at_the_end)
    report = json.loads((folder / "report.json").read_text("utf-8"))
    figures = {"steps": report["steps"], "memory_mb": report["peak_memory_mb"]}
    figures |= apart("drawing", {"folder": str(folder), "seed": seed})
    return {"parameters": report["parameters"], "budgets": {f"{budget:g}": figures}}


def drawing(folder: str, seed: int) -> dict[str, Any]:
    """Samples of a run of ours, as the command draws them."""
    loaded = run.load(Path(folder))
    return judged(loaded.sample(SAMPLES, seed, labels=RULES["labels"]))


def folder_of(work: Path, name: str, budget: float, seed: int) -> Path:
    """Where a run of ours is."""
    return work / f"{'labels' if name == LABELLED else 'pictures'}-{budget:g}-{seed}"


def judged(samples: np.ndarray) -> dict[str, Any]:
    """The Fréchet distance, and whether samples are copies."""
    verdict = judge.compare(samples, data.load("digits"))
    return {"frechet_distance": verdict.frechet_distance, "nearest_neighbours": verdict.nearest_neighbours}


def sampling(folder: str, way: str, calls: int) -> dict[str, Any]:
    """One network sampled in one way, with three seeds; for each, noise and classes are the same in every way."""
    loaded = run.load(Path(folder))
    options: dict[str, Any] = {**SAMPLERS[way], "labels": RULES["labels"], "steps": calls}
    samples = (loaded.sample(SAMPLES, seed, **options) for seed in range(SEEDS))
    return {"frechet_distances": [judged(each)["frechet_distance"] for each in samples]}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "machine": machine,
    "speed": speed,
    "pace": pace,
    "floors": floors,
    "rates": quality,
    "quality": quality,
    "drawing": drawing,
    "sampling": sampling,
}
"""What is measured in a process of its own, by the first part of the measurement's name."""


def _prepared(device: str) -> torch.device:
    on = device_of(device)
    if on.type == "cuda":
        torch.set_float32_matmul_precision("high")  # as `loop.fit` does
    return on


# The benchmark. ------------------------------------------------------------------------------------------------------


def jobs(options: Options, results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measurements to make, block by block: their names and settings. What needs a quiet machine comes first.

    Raises:
        ValueError: when the pace of a trainer is not known, from which its steps follow.
    """
    there = [name for name in options.peers if PEERS[name].installed]
    where, kept = {"device": options.device, "timing": options.timing}, options.settings()
    calls_of_peers = kept["quality"]["peer_steps"]
    for block in range(options.seeds):
        if "machine" in options.parts:
            yield f"machine/{block}", {**where, "timing": options.timing / 10}
        if "speed" in options.parts:
            ways = WAYS[device_of(options.device).type]
            for size, way, name in itertools.product(SIZES, ways, (OURS, *there)):
                yield f"speed/{size}/{way}/{name}/{block}", {"name": name, "size": size, "way": way, **where}
        if "pace" in options.parts:
            for name in (OURS, *there):
                calls = [*CALLS, 1000] if name == OURS else [calls_of_peers[name]]
                yield f"pace/{name}/{block}", {"name": name, "calls": calls, "timing": options.timing}
    for block in range(options.seeds):
        if "rates" in options.parts and not block:
            for name in there:
                for rate in sorted({*RATES, options.peer_rate, PEERS[name].rate}):
                    fewest = steps_of(results, name, [min(options.budgets)])
                    settings = {"name": name, "steps": fewest, "seed": 0, "rate": rate}
                    yield f"rates/{name}/{rate:g}", {**settings, "calls": calls_of_peers[name]}
        if "quality" in options.parts:
            if not block:
                yield "floors", {}
            for budget, name in itertools.product(options.budgets, (OURS, LABELLED)):
                (steps,) = steps_of(results, OURS, [budget]).values()
                settings = {"name": name, "budget": budget, "steps": steps, "seed": block}
                yield f"quality/{name}/{block}/{budget:g}", settings
            for name in there:
                by_budget = steps_of(results, name, options.budgets)
                settings = {"name": name, "steps": by_budget, "seed": block, "rate": options.peer_rate}
                yield f"quality/{name}/{block}", {**settings, "calls": calls_of_peers[name]}
        if "sampling" in options.parts and not (options.run and block):
            folder = options.run or folder_of(options.work, LABELLED, max(options.budgets), block)
            for way in SAMPLERS:
                most = [1000] if way == "ancestral" else []  # it takes minutes, and all others are compared with it
                for each in sorted({*options.calls, *most}):
                    yield f"sampling/{way}/{each}/{block}", {"folder": str(folder), "way": way, "calls": each}


def steps_of(results: Results, name: str, budgets: Sequence[float]) -> dict[str, int]:
    """How many steps a trainer makes in so many seconds, in its fastest round: what else a machine does makes it only slower.

    Raises:
        ValueError: when its pace was not measured.
    """
    measured = [figures["steps_per_second"] for (of, _), figures in of_part(results, "pace") if of == name]
    if not measured:
        raise ValueError(f"parts must include pace, from which the steps of {name} follow: it is not in the results")
    return {f"{budget:g}": max(1, round(max(measured) * budget)) for budget in sorted(budgets)}


def benchmark(options: Options) -> Results:
    """Make all measurements that are not in the results yet; gives all results. One that fails is reported and left out.

    Raises:
        ValueError: when the results there are from another machine or were made with other settings: they cannot be compared.
    """
    for name in options.peers:
        if not PEERS[name].installed:
            print(f"{name} is not installed, left out: pip install {PEERS[name].package.replace('_', '-')}")
    here = named(options.device)
    results = (
        load(options.out)
        if (options.out / RESULTS).is_file()
        else {
            "machine": here,
            "settings": {},
            "measured": {},
        }
    )
    if options.parts and results["machine"] != here:
        was, now = (", ".join(map(str, machine.values())) for machine in (results["machine"], here))
        raise ValueError(f"out must be a folder with results of this machine ({now}) or none, got those of {was}")
    for part in options.parts:
        settings = options.settings()[part]
        check_same(results["settings"].get(part) or settings, settings, options.out, part)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, settings in jobs(options, results):
        if results["measured"].get(name, {}).get("settings") == settings:
            continue
        print(name, end="", flush=True)
        measure, begun = name.split("/")[0], time.monotonic()
        try:
            by_command = settings.get("name") in (OURS, LABELLED) and measure == "quality"
            figures = ours(options.work, **settings) if by_command else apart(measure, settings)
        except (RuntimeError, ValueError, OSError) as problem:
            print(f": failed, left out: {problem}")
            continue
        print(f": {time.monotonic() - begun:.0f} s")
        results["measured"][name] = {"settings": settings, **figures}
        part = "quality" if measure == "floors" else measure
        results["settings"][part] = options.settings()[part]
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
    """What has been measured: `machine` names it, `settings` are those of each part, `measured` has the figures of each measurement."""
    return load_results(folder, "benchmark", ("machine", "settings", "measured"))


# The tables. ---------------------------------------------------------------------------------------------------------


def of_part(results: Results, part: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The measurements of a part: the rest of their names, and their figures."""
    return (
        (name.split("/")[1:], figures) for name, figures in results["measured"].items() if name.startswith(f"{part}/")
    )


def runs(results: Results) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """The figures of every run, by trainer and by budget."""
    by_name: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for (name, *_), measured in of_part(results, "quality"):
        for budget, figures in measured["budgets"].items():
            by_name.setdefault(name, {}).setdefault(float(budget), []).append(figures)
    return {name: dict(sorted(by_budget.items())) for name, by_budget in by_name.items()}


def distances(results: Results, budget: float) -> dict[str, dict[int, float]]:
    """The Fréchet distance of every run of a budget, by trainer and by block."""
    made: dict[str, dict[int, float]] = {}
    for (name, block, *_), measured in of_part(results, "quality"):
        if (figures := measured["budgets"].get(f"{budget:g}")) is not None:
            made.setdefault(name, {})[int(block)] = figures["frechet_distance"]
    return made


def several(values: Sequence[float], form: str) -> str:
    """A mean and, of several values, their standard deviation."""
    mean = format(statistics.fmean(values), form)
    return f"{mean} ± {statistics.stdev(values):{form}}" if len(values) > 1 else mean


def machine_table(results: Results) -> str:
    """What the machine is, and the most it was seen to do in each block."""
    about, measured = results["machine"], [figures for _, figures in of_part(results, "machine")]
    rows = [["processor", f"{about['name']}, {about['cores']} cores"], ["PyTorch", about["torch"]]]
    if measured:
        rows.append(["threads", str(measured[0]["threads"])])
        for name in measured[0]["peaks"]:
            unit = "GB/s" if name == "copy" else "GFLOP/s"
            rows.append([name, f"{several([each['peaks'][name] for each in measured], ',.0f')} {unit}"])
    return table(["what", "how much:"], rows)


def speed_table(results: Results) -> str:
    """A training step of every trainer."""
    peaks = {block: figures["peaks"] for (block,), figures in of_part(results, "machine")}
    measured: dict[tuple[str, str], dict[str, dict[str, dict[str, Any]]]] = {}
    for (size, way, name, block), figures in of_part(results, "speed"):
        measured.setdefault((size, name), {}).setdefault(way, {})[block] = figures
    ways, rows = list(dict.fromkeys(way for each in measured.values() for way in each)), []
    for (size, name), by_way in measured.items():
        some = [figures for figures in next(iter(by_way.values())).values()]
        rows.append([size, name, f"{some[0]['parameters'] / 1e6:.2f}"])
        for way in ways:
            blocks, kind = by_way.get(way, {}), way.partition(",")[0]
            most = {
                block: max((peak for what, peak in peaks[block].items() if what.endswith(kind)), default=0.0)
                for block in blocks
                if block in peaks
            }
            shares = [blocks[block]["gflops"] / peak for block, peak in most.items() if peak]
            rows[-1].append(several([each["images_per_second"] for each in blocks.values()], ",.0f") if blocks else "")
            rows[-1].append(f"{statistics.fmean(shares):.0%}" if shares else "")
        rows[-1].append(f"{statistics.fmean(each['memory_mb'] or np.nan for each in some):,.0f}")
    columns = (column for way in ways for column in (f"images/s in {way}:", "of the most:"))
    return table(["pictures", "trainer", "weights (M):", *columns, "memory (MB):"], rows)


def lead_table(results: Results) -> str:
    """How many times as many images/s ours has as the fastest of the others, in each size and way."""
    measured: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for (size, way, name, block), figures in of_part(results, "speed"):
        rows = measured.setdefault((size, way), {})
        rows.setdefault(name, {})[int(block)] = figures["images_per_second"]
    made: dict[str, Difference] = {}
    fastest = {}
    for key, speeds in measured.items():
        others = [name for name in speeds if name != OURS]
        if OURS in speeds and others:
            fastest[key] = max(others, key=lambda name: statistics.fmean(speeds[name].values()))
            made |= differences(speeds, {"/".join(key): (OURS, fastest[key])})
    made = corrected(made)
    return table(
        ["pictures", "numbers", "fastest other", "images/s of tinyddpm to its:"],
        [[*key, name, str(made["/".join(key)])] for key, name in fastest.items()],
    )


def pace_table(results: Results) -> str:
    """How many steps every trainer makes in a second, and how long it takes for its samples."""
    measured: dict[str, list[dict[str, Any]]] = {}
    for (name, _), figures in of_part(results, "pace"):
        measured.setdefault(name, []).append(figures)
    rows = []
    for name, each in measured.items():
        calls = str(run.STEPS) if name == OURS else next(iter(each[0]["sampling_seconds"]))
        steps, lasting = [of["steps_per_second"] for of in each], [of["sampling_seconds"][calls] for of in each]
        rows.append([name, str(len(each)), several(steps, ".1f"), calls, several(lasting, ".1f")])
    return table(["trainer", "rounds:", "steps/s:", "calls:", f"seconds for {SAMPLES:,}:"], rows)


def quality_table(results: Results) -> str:
    """How good the samples of every trainer are after every budget, and the floors."""
    by_name, rows = runs(results), []
    for budget in sorted({budget for by_budget in by_name.values() for budget in by_budget}):
        for name, figures in ((name, by_budget[budget]) for name, by_budget in by_name.items() if budget in by_budget):
            mean = {key: statistics.fmean(each[key] or np.nan for each in figures) for key in figures[0]}
            far = spread([each["frechet_distance"] for each in figures])
            rows.append([name, f"{budget:g}", str(len(figures)), f"{mean['steps']:,.0f}", far])
            rows[-1] += [f"{mean['nearest_neighbours']:.2f}", f"{mean['memory_mb']:,.0f}"]
    floor = results["measured"].get("floors", {})
    for key, title in FLOORS.items():
        if key in floor:
            rows.append([f"*{title}*", "", str(len(floor[key])), "", spread(floor[key]), "", ""])
    head = [
        "trainer",
        "seconds:",
        "runs:",
        "steps:",
        "Fréchet distance:",
        "neighbours:",
        "memory (MB):",
    ]
    return table(head, rows)


FLOORS = {
    "halves": "real half against real half",
    "drawn": f"{SAMPLES:,} real digits, drawn freely",
    "by_class": f"{SAMPLES:,} real digits, so many of each class",
}
"""What the floors are called."""


def compared(results: Results) -> dict[tuple[float, str, str], Difference]:
    """How many times as far every other trainer is as ours, in each budget; all corrected together.

    A trainer that ran only once is left out: nobody knows how much its next run would differ.
    """
    made: dict[str, Difference] = {}
    keys: dict[str, tuple[float, str, str]] = {}
    for budget in sorted({budget for by_budget in runs(results).values() for budget in by_budget}):
        rows = {name: row for name, row in distances(results, budget).items() if len(row) > 1}
        mine = [name for name in (LABELLED, OURS) if name in rows]
        pairs = [(other, each) for each in mine for other in rows if other not in (each, LABELLED)]
        asked = {f"{budget:g}/{other}/{each}": (other, each) for other, each in pairs}
        keys |= {name: (budget, *pair) for name, pair in asked.items()}
        made |= differences(rows, asked)
    return {keys[name]: each for name, each in corrected(made).items()}


def differences_table(results: Results) -> str:
    """How many times as far every other trainer is as ours."""
    made = compared(results)
    rows = [
        [f"{budget:g}", other, mine, str(each), *small(each.p, each.holm)]
        for (budget, other, mine), each in made.items()
    ]
    return table(["seconds:", "trainer", "compared with", "times as far", "p:", "Holm:"], rows)


def differences_line(results: Results) -> str:
    """How many of the differences are significant."""
    made = compared(results)
    count, sure, _ = found({"/".join(map(str, key)): each for key, each in made.items()})
    return (
        f"{sure} of these {count} differences are significant at {LEVEL:.0%} by Holm's method (bold).\n"
        if count
        else ""
    )


def rules_line(results: Results) -> str:
    """By which rules the samples were measured that the tables show."""
    rules = {name: value for name, value in results["settings"].get("quality", {}).items() if name in RULES}
    if rules == OLD:
        return (
            "The figures below were measured by older rules, on a machine about twice as fast as that of the tables above. The classes of tinyddpm's samples were in the proportions of the "
            "data, and those of the others came as chance had it, which favours tinyddpm. Its clock also ran while it saved "
            "and measured its loss on held-out digits. The sampler of diffusers called its network 1,000 "
            "times. Each of the others ran once. So a difference counts only where it is far larger than that between the last "
            "two floors of the table.\n"
        )
    return ""


def rates_table(results: Results) -> str:
    """The learning rates that were tried for the others."""
    tried = {(name, float(rate)): figures for (name, rate), figures in of_part(results, "rates")}
    rates = sorted({rate for _, rate in tried})
    rows = []
    for name in dict.fromkeys(name for name, _ in tried):
        each = [next(iter(tried[name, rate]["budgets"].values())) if (name, rate) in tried else None for rate in rates]
        rows.append([name, *(f"{figures['frechet_distance']:.4f}" if figures else "" for figures in each)])
    return table(["trainer", *(f"rate {rate:g}:" for rate in rates)], rows)


def sampled(results: Results) -> tuple[dict[str, dict[int, float]], int]:
    """The Fréchet distances of each way and number of calls, by block; and how many networks were sampled.

    A block is a network, of which the mean over its seeds is taken; or a seed, if there is only one network.
    """
    each: dict[str, dict[int, list[float]]] = {}
    for (way, calls, block), figures in of_part(results, "sampling"):
        each.setdefault(f"{way}/{calls}", {})[int(block)] = figures["frechet_distances"]
    networks = max(map(len, each.values()), default=0)
    if networks == 1:
        return {name: dict(enumerate(next(iter(row.values())))) for name, row in each.items()}, networks
    return {name: {block: statistics.fmean(of) for block, of in row.items()} for name, row in each.items()}, networks


def compared_samplers(results: Results) -> dict[str, Difference]:
    """How many times as far each way and number of calls is as Algorithm 2 with the most calls; corrected together."""
    rows, _ = sampled(results)
    most = max((int(calls) for (way, calls, _), _ in of_part(results, "sampling") if way == "ancestral"), default=0)
    truth = f"ancestral/{most}"
    return differences(rows, {name: (name, truth) for name in rows if name != truth})


def sampling_seconds(results: Results) -> dict[str, float]:
    """How long our samples take, by the number of calls."""
    rounds = [figures["sampling_seconds"] for (name, _), figures in of_part(results, "pace") if name == OURS]
    return {calls: statistics.fmean(each[calls] for each in rounds) for calls in (rounds[0] if rounds else ())}


def sampling_table(results: Results) -> str:
    """Networks of ours sampled in several ways; the ratio is to Algorithm 2 with the most calls."""
    rows, _ = sampled(results)
    lasting = sampling_seconds(results)
    made, lines = compared_samplers(results), []
    for name, row in rows.items():
        ratio = [str(made[name]), *small(made[name].p, made[name].holm)] if name in made else ["", "", ""]
        way, calls = name.split("/")
        lines.append([way, calls, f"{lasting[calls]:.1f}" if calls in lasting else "", spread([*row.values()]), *ratio])
    head = ["sampler", "calls:", f"seconds for {SAMPLES:,}:", "Fréchet distance:", "ratio", "p:", "Holm:"]
    return table(head, lines)


def sampled_line(results: Results) -> str:
    """What the table of samplers shows."""
    settings, (_, networks) = results["settings"].get("sampling", {}), sampled(results)
    if not networks:
        return ""
    ratio = "The ratio is to Algorithm 2 with the smaller variance and the most calls"
    if networks == 1:
        return (
            f"One network was sampled in each way with the same {settings['draws']} seeds. {ratio}; its interval and p are "
            "about the samples of this network, not about another one.\n"
        )
    return f"{networks} networks were sampled in each way, with {settings['draws']} seeds each. {ratio}.\n"


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine_table,
    "speed": speed_table,
    "lead": lead_table,
    "pace": pace_table,
    "rules": rules_line,
    "quality": quality_table,
    "differences": differences_table,
    "significant": differences_line,
    "rates": rates_table,
    "calls": sampling_table,
    "sampled": sampled_line,
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
