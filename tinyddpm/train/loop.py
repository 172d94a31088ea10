"""The trainer: from a config to a folder with weights, samples and a report."""

from __future__ import annotations

import copy
import gc
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..files import write
from ..forward import Schedule
from . import (
    Model,
    checkpoint,
    data,
    ema_update_,
    guided,
    learned_variance_loss,
    plots,
    stratified_times,
    training_loss,
)
from .config import Config
from .data import Data
from .lamb import Lamb
from .machine import device_of, half_pays, peak_memory_mb
from .run import Run, at_once
from .times import Times
from .unet import network, prediction, size_of

BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}{postfix}"

LOG_EVERY = 50
"""Steps between two lines of the log. Only there does the trainer wait for the device to tell what the loss is."""

MEMORY = 18
"""How soon the average forgets: step k has a share like k to this power, so that the last tenth of them has 86 percent."""

SEEN = 200
"""How often pictures are seen before more is done against learning them by heart."""

DROPOUT = (0.0, 0.05, 0.1, 0.15, 0.2)
"""The share that a block leaves out, one for each time pictures were seen so often; few, for each is compiled anew."""

MOVED = (0.25, 0.75)
"""The share of a batch that is moved: how much it grows in the same time, and the most that it grows to."""


@dataclass(frozen=True)
class Report:
    """What a run came to. The losses are squared errors of the prediction, per pixel."""

    run: str
    samples: str
    steps: int
    seconds: float
    images_per_second: float
    loss: float
    held_out_loss: float | None
    parameters: int
    peak_memory_mb: float | None

    def __str__(self) -> str:
        memory = "unknown" if self.peak_memory_mb is None else f"{self.peak_memory_mb:.0f} MB"
        held_out = (
            "" if self.held_out_loss is None else f", on held-out data {self.held_out_loss:.4f} (averaged weights)"
        )
        return (
            f"{self.steps} steps in {self.seconds:.1f} s, {self.images_per_second:.0f} images/s; "
            f"{self.parameters} parameters; peak memory {memory}\n"
            f"loss {self.loss:.4f}{held_out}\n"
            f"run      {self.run}\n"
            f"samples  {self.samples}"
        )


class Trainer:
    """All that changes while a run goes on, and the step that changes it.

    Every process draws the whole batch from a generator in the same state, and works on its part of it: so a run is
    the same with any number of processes, and one state of one generator is all that must be kept to go on with it.
    What is left out of the blocks can only be drawn from torch's own generator, which is seeded anew for each part.
    """

    def __init__(self, config: Config, found: Data, device: torch.device, rank: int = 0, processes: int = 1) -> None:
        self.config, self.device, self.rank, self.parts = config, device, rank, processes * config.accumulate
        if config.batch % self.parts:
            raise ValueError(
                f"batch must be a multiple of {self.parts}, processes times accumulate, got {config.batch}"
            )
        if config.times == "importance" and processes > 1:
            raise ValueError("times must be stratified or uniform in several processes, got 'importance'")
        self.schedule = config.noise_schedule()
        self.found = found = data.conditioned(found, config.conditional)
        self.x = torch.from_numpy(found.train).to(device)
        self.labels = None if found.train_labels is None else torch.from_numpy(found.train_labels).to(device)
        self.flip = found.flips if config.flip is None else config.flip
        self.shift = config.moves if self.x.ndim == 4 else 0
        if self.flip and self.x.ndim != 4:
            raise ValueError("flip must be False or left out for points, got True")
        torch.manual_seed(config.seed)
        cuda = device.type == "cuda"
        self.loss = learned_variance_loss if config.learned_variance else training_loss
        self.shape, self.counts = found.train.shape[1:], found.counts
        self.model = network(config, self.shape, found.classes)
        self.model.to(device)
        self.rng = torch.Generator(device)
        self.rng.set_state(torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state())
        if cuda:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dropouts = [layer for layer in self.model.modules() if isinstance(layer, nn.Dropout)]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.half = half_pays(device, self.shape) if config.precision == "auto" else config.precision == "bfloat16"
        # CUDA graphs: not with several processes, whose messages run beside the network, nor with a batch in parts,
        # of which the second would be written over the gradients of the first.
        mode = "reduce-overhead" if cuda and self.parts == 1 else "default"
        self.net: nn.Module = torch.compile(self.model, mode=mode) if config.compile else self.model  # type: ignore[assignment]
        if processes > 1:
            self.net = DistributedDataParallel(self.net, device_ids=[device.index] if cuda else None)
        self.optimiser = optimiser(config, list(self.model.parameters()))
        self.times = Times(config).to(device)
        self.steps, self.seconds, self.best = 0, 0.0, math.inf
        # The sums of losses and of gradients' norms since the last line of the log: telling them would stall a GPU.
        self.lost = torch.zeros(2, device=device)

    def answer(self, *told: Tensor | None) -> Model:
        """The network, asked about samples of these classes, moved by so much."""

        def answer(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                return self.net(x_t, t, *told).to(x_t.dtype)

        return answer

    def leave(self) -> None:
        """Let go of the other processes before their group ends: whoever holds it last can wait for its threads for ever."""
        if isinstance(self.net, DistributedDataParallel):
            self.net = self.model
            gc.collect()  # the wrapper is part of a cycle

    def draw(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
        """A whole batch: samples, their times, noise, and what is told of them: classes, and how they were moved."""
        batch, rng, device = self.config.batch, self.rng, self.device
        chosen = torch.randint(len(self.x), (batch,), generator=rng, device=device)
        x_0, labels = self.x[chosen], None if self.labels is None else self.labels[chosen]
        t = self.times.draw(batch, rng, self.steps)
        noise = torch.randn(x_0.shape, generator=rng, device=device)
        if self.flip:
            mirrored = torch.rand((batch, 1, 1, 1), generator=rng, device=device) < 0.5
            x_0 = torch.where(mirrored, x_0.flip(-1), x_0)
        if labels is not None:
            hidden = torch.rand(batch, generator=rng, device=device) < self.config.label_dropout
            labels = torch.where(hidden, -1, labels)
        if not self.shift:
            return x_0, t, noise, [labels]
        moved = torch.randint(-self.shift, self.shift + 1, (batch, 2), generator=rng, device=device)
        moved = moved * (torch.rand((batch, 1), generator=rng, device=device) < self.moved())
        return move(x_0, moved), t, noise, [labels, moved]

    def step(self, done: float) -> None:
        """One step of Algorithm 1, when so much of the run is done; nothing in it waits for the device."""
        config = self.config
        for group in self.optimiser.param_groups:
            warm = min(1, (self.steps + 1) / max(1, config.warm_up))
            group["lr"] = config.lr * warm * (1 + math.cos(math.pi * done)) / 2
        *drawn, told = self.draw()
        pixels = math.prod(self.shape)
        share = self.dropout()
        for layer in self.dropouts:
            layer.p = share
        self.optimiser.zero_grad()
        for part in range(self.rank * config.accumulate, (self.rank + 1) * config.accumulate):
            at = slice(part, None, self.parts)  # so that a part's times are as evenly spread as those of all
            x_0, t, noise = (of[at] for of in drawn)
            answer = self.answer(*(None if of is None else of[at] for of in told))
            last = part + 1 == (self.rank + 1) * config.accumulate
            alone = isinstance(self.net, DistributedDataParallel) and not last
            if share:
                torch.manual_seed(_mixed(config.seed, self.steps, part))
            with self.net.no_sync() if alone else nullcontext():  # type: ignore[operator]
                losses = self.loss(answer, x_0, t, noise, self.schedule, config.predicts)
                loss = self.times.weigh(t, losses).mean()
                (loss / config.accumulate / (pixels if config.loss == "mean" else 1)).backward()
            self.lost[0] += loss.detach() / pixels / config.accumulate
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.lost[1] += norm
        self.optimiser.step()
        self.steps += 1
        ema_update_([*self.average.parameters()], [*self.model.parameters()], self.decay())

    def dropout(self) -> float:
        """The share that a block leaves out in the next step: the more, the better the network knows the pictures already."""
        return DROPOUT[min(int(self.known()), len(DROPOUT) - 1)] if self.config.dropout is None else self.config.dropout

    def moved(self) -> float:
        """The share of the next batch that is moved, in the same way."""
        growth, most = MOVED
        return min(most, growth * self.known()) if self.config.shift is None else most

    def known(self) -> float:
        """How well the pictures are known by now: how often they were seen, in units of `SEEN`."""
        return self.steps * self.config.batch / len(self.x) / SEEN

    def decay(self) -> float:
        """How much of the average is kept in the step that was just made; a young average forgets faster."""
        if self.config.ema is None:
            return (1 - 1 / self.steps) ** (MEMORY + 1)
        return min(self.config.ema, self.steps / (self.steps + 10))

    def averaged(self) -> nn.Module:
        """The network with averaged weights; what is no weight, as a batch norm's counts, is not averaged but taken over."""
        for average, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            average.copy_(value)
        return self.average

    def line(self, count: int) -> dict[str, Any]:
        """A line of the log, about so many steps; the sums begin again."""
        self.check()
        loss, norm = (self.lost / count).tolist()
        self.lost.zero_()
        return {
            "step": self.steps,
            "seconds": round(self.seconds, 3),
            "loss": loss,
            "gradient": norm,
            "rate": self.optimiser.param_groups[0]["lr"],
            "images_per_second": round(self.steps * self.config.batch / self.seconds, 1),
        }

    def check(self) -> None:
        """Refuse to go on once a loss or a gradient was not finite.

        Raises:
            FloatingPointError: then.
        """
        if not self.lost.isfinite().all():
            raise FloatingPointError(
                f"the loss is no longer finite at step {self.steps}; try an lr below {self.config.lr}. What was saved is kept"
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is needed to go on: as tensors, and as JSON."""
        tensors = {f"raw.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.averaged().state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        tensors |= {f"times.{name}": value for name, value in self.times.state_dict().items()}
        tensors |= {"generator": self.rng.get_state(), "lost": self.lost}
        return tensors, {
            "steps": self.steps,
            "seconds": self.seconds,
            "best": self.best if self.best < math.inf else None,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Put everything back as `state` gave it.

        Raises:
            ValueError: when it is the state of another network.
        """
        for prefix, model in (("raw", self.model), ("average", self.average), ("times", self.times)):
            checkpoint.fill(model, tensors, prefix, checkpoint.LAST)
        moments: dict[int, dict[str, Tensor]] = {}
        parameters = list(self.model.parameters())
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, what = name.split(".")
                like = parameters[int(index)]  # its moments lie in memory as it does: fused optimisers rely on that
                kept = value if value.shape != like.shape else torch.empty_like(like).copy_(value)
                moments.setdefault(int(index), {})[what] = kept
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.lost.copy_(tensors["lost"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        if len(tensors["generator"]) == len(self.rng.get_state()):
            self.rng.set_state(tensors["generator"])
        else:  # saved on another kind of device, whose generators are other ones: the batches to come are new
            self.rng.manual_seed(_mixed(self.config.seed, self.steps))
        self.best = math.inf if state["best"] is None else state["best"]


def move(pictures: Tensor, by: Tensor) -> Tensor:
    """Each picture moved by its own pixels down and to the right, shape (batch, 2), its edge repeated behind it."""
    each = torch.arange(len(pictures), device=by.device)[:, None, None]
    rows, columns = (
        (torch.arange(edge, device=by.device) - by[:, axis, None]).clamp(0, edge - 1)
        for axis, edge in enumerate(pictures.shape[2:])
    )
    return pictures[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def optimiser(config: Config, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a name. Betas of 0.9 and 0.99: a run is too short for a longer memory."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=0.9)
    if config.optimiser == "lamb":
        return Lamb(parameters, config.lr, betas=(0.9, 0.99))
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, config.lr, betas=(0.9, 0.99), fused=True)


def fit(config: Config) -> Report | None:
    """Train, save as it goes, draw samples, report. Everything is in the folder that the report names.

    The seed is not felt outside: the global generators are put back afterwards.

    Returns:
        The report; None in all but the first of several processes.

    Raises:
        ValueError: when the config asks for what is not allowed; nothing has been computed or written then.
        FloatingPointError: when the loss is no longer finite; what was saved last is kept.
        OSError: when there is no room to save; what was saved before is kept.
        KeyboardInterrupt: passed on, after what was learned has been saved.
    """
    config.check()
    found = data.load(config.data, config.held_out)
    with _crew(config.device) as (device, rank, processes):
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            trainer = Trainer(config, found, device, rank, processes)
            facts = {
                "shape": list(trainer.shape),
                "examples": len(found.train),
                "classes": list(trainer.counts),
                "names": list(trainer.found.names),
                "checksum": data.checksum(found),
            }
            try:
                path = checkpoint.create(config, facts) if rank == 0 else None
                if config.resume and config.out and (config.out / checkpoint.LAST).is_file():
                    trainer.restore(*checkpoint.read(config.out / checkpoint.LAST))
                _agree(trainer, processes)
                log = train(trainer, path, processes)
            finally:
                trainer.leave()
        return None if path is None else report(trainer, path, log)


def train(trainer: Trainer, path: Path | None, processes: int = 1) -> list[dict[str, Any]]:
    """Steps until the time or their number is up; gives the log. The first process, which has a path, saves and logs."""
    config = trainer.config
    log = [] if path is None else _kept_log(path, trainer.steps)
    before, begun = trainer.seconds, time.monotonic()
    saved = drawn = begun
    pause = 0.1 if sys.stderr.isatty() else 10  # a file keeps every look of the bar
    bar = tqdm(total=1.0, desc=str(path), bar_format=BAR, disable=path is None, mininterval=pause)
    with _asked_to_stop() as asked, bar:
        while True:
            now = time.monotonic()
            trainer.seconds = before + now - begun
            done = min(1.0, trainer.steps / config.steps if config.steps else trainer.seconds / config.seconds)
            done = done if trainer.steps else 0.0  # however little time there is, one step is made
            stop = bool(asked)
            if processes > 1:  # the first process decides for all: their clocks differ
                told = torch.tensor([done, stop], dtype=torch.float64)
                distributed.broadcast(told, 0)
                done, stop = told[0].item(), bool(told[1])
            bar.update(done - bar.n)
            logged = log[-1]["step"] if log else 0
            if trainer.steps > logged and (trainer.steps % LOG_EVERY == 0 or done == 1):
                log.append(trainer.line(trainer.steps - logged))
                bar.set_postfix_str("loss {loss:.4f}, {images_per_second:.0f} images/s".format(**log[-1]))
                if path is not None:
                    with open(path / checkpoint.LOG, "a", encoding="utf-8") as file:
                        file.write(json.dumps(log[-1]) + "\n")
            if path is not None and trainer.steps and (now - saved > config.save_every or done == 1 or stop):
                save(trainer, path)
                saved = time.monotonic()
            if path is not None and now - drawn > config.grid_every and done < 1:
                draw(trainer, path, f"samples-{trainer.steps}.png")
                drawn = time.monotonic()
            if stop:
                raise KeyboardInterrupt
            if done == 1:
                return log
            trainer.step(done)


def save(trainer: Trainer, path: Path) -> None:
    """Write the state, and the averaged weights on their own when they are the best so far on held-out data."""
    trainer.check()
    tensors, state = trainer.state()
    if len(trainer.found.held_out):
        loss = held_out_loss(trainer, repeats=1)
        if loss < trainer.best:
            trainer.best = state["best"] = loss
            average = {name: value for name, value in tensors.items() if name.startswith("average.")}
            checkpoint.save(path / checkpoint.BEST, average, state)
    checkpoint.save(path / checkpoint.LAST, tensors, state)


def draw(trainer: Trainer, path: Path, name: str) -> Path:
    """Samples of the averaged weights, as a picture."""
    trainer.check()
    drawn = Run(path, trainer.config, trainer.shape, trainer.counts, trainer.averaged())
    samples = drawn.sample(100 if drawn.pictures else 2000, trainer.config.seed)
    write(path / name, lambda file: file.write(plots.grid(samples)))
    return path / name


def report(trainer: Trainer, path: Path, log: list[dict[str, Any]]) -> Report:
    """Draw samples, measure, and write what the run came to."""
    picture = draw(trainer, path, "samples.png")
    write(path / "loss.png", lambda file: file.write(plots.loss(log)))
    made = Report(
        run=str(path),
        samples=str(picture),
        steps=trainer.steps,
        seconds=trainer.seconds,
        images_per_second=log[-1]["images_per_second"],
        loss=log[-1]["loss"],
        held_out_loss=held_out_loss(trainer) if len(trainer.found.held_out) else None,
        parameters=size_of(trainer.model),
        peak_memory_mb=peak_memory_mb(trainer.device),
    )
    checkpoint.write_json(path / "report.json", vars(made))
    return made


def held_out_loss(trainer: Trainer, repeats: int = 4) -> float:
    """What `evaluate` says of the averaged weights on at most a thousand held-out samples, fewer of large pictures."""
    config, labels = trainer.config, trainer.found.held_out_labels
    x = torch.from_numpy(trainer.found.held_out[: 2 * at_once(trainer.shape)]).to(trainer.device)
    model: Any = trainer.averaged()
    if labels is not None:
        model = guided(model, torch.from_numpy(labels[: len(x)]).to(trainer.device))
    return evaluate(prediction(model, x.shape[1]), x, trainer.schedule, config.predicts, repeats)


def evaluate(
    model: Model, pictures: Tensor, schedule: Schedule, predicts: str, repeats: int = 10, seed: int = 0
) -> float:
    """The training loss per pixel on other pictures; times and noise are the same every time."""
    rng, total = torch.Generator(pictures.device).manual_seed(seed), torch.zeros((), device=pictures.device)
    for _ in range(repeats):
        u = torch.rand((), generator=rng, dtype=torch.float64, device=pictures.device)
        t = stratified_times(u, len(pictures), schedule.T)
        noise = torch.randn(pictures.shape, generator=rng, device=pictures.device)
        with torch.no_grad():
            total += training_loss(model, pictures, t, noise, schedule, predicts).mean()
    return total.item() / repeats / pictures[0].numel()


def _mixed(*numbers: int) -> int:
    """A seed made of several numbers, so that neighbours among them have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _agree(trainer: Trainer, processes: int) -> None:
    """Refuse to go on from different saves.

    Raises:
        ValueError: then: some processes have not found what the first has.
    """
    if processes > 1:
        steps = torch.tensor([trainer.steps, -trainer.steps])
        distributed.all_reduce(steps, distributed.ReduceOp.MAX)
        most, least = steps[0].item(), -steps[1].item()
        if most != least:
            raise ValueError(
                f"out must be a folder that all processes share, got {str(trainer.config.out)!r}, where they find "
                f"runs of {least} and of {most} steps"
            )


def _kept_log(path: Path, steps: int) -> list[dict[str, Any]]:
    """The lines of the log up to the step that was saved last; what came after it will come again."""
    file = path / checkpoint.LOG
    kept = []
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off in the middle
            break
        kept += [entry] if entry["step"] <= steps else []
    write(file, lambda out: out.write("".join(f"{json.dumps(entry)}\n" for entry in kept).encode()))
    return kept


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Collects the signals that ask for an end, so that a step is never left half done."""
    asked: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # others get none
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda got, _: asked.append(got))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _crew(kind: str) -> Iterator[tuple[torch.device, int, int]]:
    """The device, the number of this process, and how many there are: more than one when torchrun started them."""
    device, precision = device_of(kind), torch.get_float32_matmul_precision()
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        distributed.init_process_group()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32
    try:
        yield device, int(os.environ.get("RANK", 0)), processes
    finally:
        torch.set_float32_matmul_precision(precision)
        if processes > 1:
            distributed.destroy_process_group()
