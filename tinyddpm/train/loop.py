"""The trainer: from a config to a folder with weights, samples and a report."""

from __future__ import annotations

import copy
import gc
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from .. import data, elbo
from ..data import Data
from ..files import optional, write, write_json
from ..forward import Schedule
from . import (
    Model,
    checkpoint,
    ema_update_,
    guided,
    learned_variance_loss,
    plots,
    stratified_times,
    training_loss,
)
from .config import Config
from .lamb import Lamb
from .machine import device_of, half_pays, in_precision, peak_memory_mb, seed_here, whole_from
from .run import Run, at_once
from .times import Times
from .unet import network, prediction, size_of

BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}{postfix}"

LOG_EVERY = 50
"""Steps between two lines of the log. Only there does the trainer wait for the device to tell what the loss is."""

MEMORY = 18
"""Exponent of the weight average: step k weighs k**MEMORY, so that the last tenth of the steps has 86 percent."""

SEEN = 200
"""How often pictures are seen before more is done against learning them by heart."""

DROPOUT = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Dropout rates: the next one each time that pictures were seen so often; few, for each is compiled anew."""

SHIFTED = (0.25, 0.75)
"""Augmentation: by how much the shifted share of a batch grows in the same time, and the most that it grows to."""

PRIOR_BITS = 0.01
"""The trainer warns of a larger L_T, in bits per dimension; that of DDPM's schedule of 1000 steps is far smaller."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""What ends a run, once it has been saved: Ctrl-C, kill, a terminal that was closed. No system has all of them."""


@dataclass(frozen=True)
class Report:
    """What a run came to. The losses are squared errors of the prediction, per pixel; ``loss`` is that of the log's last line."""

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
    Dropout can only be drawn from torch's own generator, which is seeded anew for each part.
    """

    def __init__(self, config: Config, dataset: Data, device: torch.device, rank: int = 0, processes: int = 1) -> None:
        self.config, self.device, self.rank, self.processes = config, device, rank, processes
        self.parts = processes * config.accumulate
        if config.batch % self.parts:
            raise ValueError(
                f"batch must be a multiple of {self.parts}, processes times accumulate, got {config.batch}"
            )
        if config.times == "importance" and processes > 1:
            raise ValueError("times must be stratified or uniform in several processes, got 'importance'")
        self.schedule = config.noise_schedule()
        self.dataset = dataset = data.conditioned(dataset, config.conditional)
        self.x = torch.from_numpy(dataset.train).to(device)
        self.labels = None if dataset.train_labels is None else torch.from_numpy(dataset.train_labels).to(device)
        self.flip = dataset.flips if config.flip is None else config.flip
        self.shift = config.moves if self.x.ndim == 4 else 0
        if self.flip and self.x.ndim != 4:
            raise ValueError("flip must be False or left out for points, got True")
        if config.norm == "batch" and self.parts > 1 and self.x.ndim == 4:
            raise ValueError(
                f"norm must not be batch for a batch in {self.parts} parts: each would be normalised by itself"
            )
        seed_here(config.seed, device)
        cuda = device.type == "cuda"
        self.loss = learned_variance_loss if config.learned_variance else training_loss
        self.shape, self.counts = dataset.train.shape[1:], dataset.counts
        self.model = network(config, self.shape, dataset.classes)
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
        # The sums of losses and of gradients' norms in the steps since the last line of the log. They stay on the device:
        # a GPU would have to be waited for.
        self.totals, self.unlogged = torch.zeros(2, device=device), 0

    def conditioned(self, *condition: Tensor | None) -> Model:
        """The network for samples of these classes, shifted by so much."""

        def model(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                return self.net(x_t, t, *condition).to(x_t.dtype)

        return model

    def leave(self) -> None:
        """Let go of the other processes before their group ends: whoever holds it last can wait for its threads for ever."""
        if isinstance(self.net, DistributedDataParallel):
            self.net = self.model
            gc.collect()  # the wrapper is part of a cycle

    def draw(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
        """A whole batch: samples, their times, noise, and their condition: classes, and how they were shifted."""
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
        shifts = torch.randint(-self.shift, self.shift + 1, (batch, 2), generator=rng, device=device)
        shifts = shifts * (torch.rand((batch, 1), generator=rng, device=device) < self.shifted())
        return shifted(x_0, shifts), t, noise, [labels, shifts]

    def step(self, done: float) -> None:
        """One step of Algorithm 1, when so much of the run is done; nothing in it waits for the device."""
        config = self.config
        for group in self.optimiser.param_groups:
            warm = min(1, (self.steps + 1) / max(1, config.warm_up))
            group["lr"] = config.lr * warm * (1 + math.cos(math.pi * done)) / 2
        *drawn, condition = self.draw()
        pixels = math.prod(self.shape)
        rate = self.dropout()
        for layer in self.dropouts:
            layer.p = rate
        self.optimiser.zero_grad()
        for part in range(self.rank * config.accumulate, (self.rank + 1) * config.accumulate):
            at = slice(part, None, self.parts)  # so that a part's times are as evenly spread as those of all
            x_0, t, noise = (values[at] for values in drawn)
            model = self.conditioned(*(None if values is None else values[at] for values in condition))
            last = part + 1 == (self.rank + 1) * config.accumulate
            alone = isinstance(self.net, DistributedDataParallel) and not last
            if rate:
                seed_here(_mixed(config.seed, self.steps, part), self.device)
            with self.net.no_sync() if alone else nullcontext():  # type: ignore[operator]
                losses = self.loss(model, x_0, t, noise, self.schedule, config.predicts)
                loss = self.times.weigh(t, losses).mean()
                (loss / config.accumulate / (pixels if config.loss == "mean" else 1)).backward()
            self.totals[0] += loss.detach() / pixels / config.accumulate
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.totals[1] += norm
        self.optimiser.step()
        self.steps, self.unlogged = self.steps + 1, self.unlogged + 1
        ema_update_([*self.average.parameters()], [*self.model.parameters()], self.decay())

    def dropout(self) -> float:
        """The dropout rate of the next step: it grows as pictures are seen again."""
        return DROPOUT[min(int(self.seen()), len(DROPOUT) - 1)] if self.config.dropout is None else self.config.dropout

    def shifted(self) -> float:
        """The share of the next batch that is shifted: it grows in the same way."""
        growth, most = SHIFTED
        return min(most, growth * self.seen()) if self.config.shift is None else most

    def seen(self) -> float:
        """How often the pictures were seen so far, in units of `SEEN`."""
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

    def share(self) -> None:
        """Let every process have the mean of all sums: each knows the losses of its own parts only."""
        if self.processes > 1:
            distributed.all_reduce(self.totals)
            self.totals /= self.processes

    def line(self) -> dict[str, Any]:
        """A line of the log: loss and gradient are means over the steps since the last one; the sums begin again."""
        self.share()
        self.check()
        loss, norm = (self.totals / self.unlogged).tolist()
        self.totals.zero_()
        self.unlogged = 0
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
        if not self.totals.isfinite().all():
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
        tensors |= {"generator": self.rng.get_state(), "totals": self.totals}
        return tensors, {"steps": self.steps, "seconds": self.seconds, "unlogged": self.unlogged}

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
        self.totals.copy_(tensors["totals"])
        self.steps, self.seconds, self.unlogged = state["steps"], state["seconds"], state["unlogged"]
        if len(tensors["generator"]) == len(self.rng.get_state()):
            self.rng.set_state(tensors["generator"])
        else:  # saved on another kind of device, whose generators are other ones: the batches to come are new
            self.rng.manual_seed(_mixed(self.config.seed, self.steps))


def shifted(pictures: Tensor, by: Tensor) -> Tensor:
    """Each picture shifted by its own pixels down and to the right, shape (batch, 2), its edge repeated behind it."""
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


def fit(config: Config, announce: Callable[[Report], None] = lambda report: None) -> Report | None:
    """Train, save as it goes, report, draw samples. Everything is in the folder that the report names.

    The seed is not felt outside: the global generators are put back afterwards.

    Args:
        config: the choices.
        announce: gets the report before anything else is tried with it, such as pictures.

    Returns:
        The report; None in all but the first of several processes.

    Raises:
        ValueError: when the config asks for what is not allowed; nothing has been computed or written then.
        FloatingPointError: when the loss is no longer finite; what was saved last is kept.
        OSError: when there is no room to save; what was saved before is kept.
        KeyboardInterrupt: passed on, after what was learned has been saved.
    """
    config.check()
    dataset = data.load(config.data, config.held_out)
    with _crew(config) as (device, rank, processes), torch.random.fork_rng([device] if device.type == "cuda" else []):
        trainer = Trainer(config, dataset, device, rank, processes)
        facts = {
            "shape": list(trainer.shape),
            "examples": len(dataset.train),
            "classes": list(trainer.counts),
            "names": list(trainer.dataset.names),
            "checksum": data.checksum(dataset),
        }
        try:
            with checkpoint.opened(config, facts) if rank == 0 else nullcontext() as path:
                if config.resume and config.out and (config.out / checkpoint.LAST).is_file():
                    trainer.restore(*checkpoint.read(config.out / checkpoint.LAST))
                _agree(trainer, processes)
                if path is not None:
                    print(dataset, *_warnings(trainer), sep="\n", file=sys.stderr)
                log = train(trainer, path, processes)
                return None if path is None else report(trainer, path, log, announce)
        finally:
            trainer.leave()


def _warnings(trainer: Trainer) -> list[str]:
    """What is allowed but hardly meant: a schedule that does not end in noise alone."""
    config, last = trainer.config, trainer.schedule[trainer.schedule.T]
    nats = elbo.prior_matching(trainer.x[:1000], last).mean()
    bits = elbo.bits_per_dim(nats, math.prod(trainer.shape)).item()
    if bits < PRIOR_BITS:
        return []
    return [
        f"warning: with T = {config.T} the {config.schedule} schedule ends at alpha_bar_T = {last.alpha_bar:.3g}, but "
        f"samples begin from noise alone: that costs {bits:.2f} bits per dimension (L_T). Take a larger --T, "
        "--schedule cosine or --zero-terminal-snr"
    ]


def train(trainer: Trainer, path: Path | None, processes: int = 1) -> list[dict[str, Any]]:
    """Steps until the time or their number is up; gives the log. The first process, which has a path, saves and logs."""
    config = trainer.config
    log = [] if path is None else _kept_log(path, trainer.steps)
    if path is not None and trainer.steps:  # it may have been killed between the two files, or one has gone
        trainer.best = _best(path)
        keep_best(trainer, path)
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
            due = trainer.steps > 0 and (now - saved > config.save_every or done == 1 or stop)
            if processes > 1:  # the first process decides for all: their clocks differ
                decided = torch.tensor([done, stop, due], dtype=torch.float64)
                distributed.broadcast(decided, 0)
                done, stop, due = decided[0].item(), bool(decided[1]), bool(decided[2])
            bar.update(done - bar.n)
            if trainer.unlogged and (trainer.steps % LOG_EVERY == 0 or done == 1):
                log.append(trainer.line())
                bar.set_postfix_str("loss {loss:.4f}, {images_per_second:.0f} images/s".format(**log[-1]))
                if path is not None:
                    with open(path / checkpoint.LOG, "a", encoding="utf-8") as file:
                        file.write(json.dumps(log[-1]) + "\n")
            if due:
                trainer.share()
                if path is not None:
                    save(trainer, path)
                saved = time.monotonic()
            if path is not None and now - drawn > config.grid_every and done < 1:
                with optional():
                    draw(trainer, path, f"samples-{trainer.steps}.png")
                drawn = time.monotonic()
            if stop:
                raise KeyboardInterrupt
            if done == 1:
                return log
            trainer.step(done)


def save(trainer: Trainer, path: Path) -> None:
    """Write the state, to go on from; and then the averaged weights on their own, if they are the best so far."""
    trainer.check()
    checkpoint.save(path / checkpoint.LAST, *trainer.state())
    keep_best(trainer, path)


def keep_best(trainer: Trainer, path: Path) -> None:
    """Write the averaged weights on their own when none are kept that do better on held-out data."""
    best = trainer.best if (path / checkpoint.BEST).is_file() else math.inf
    if len(trainer.dataset.held_out) and (loss := held_out_loss(trainer, repeats=1)) < best:
        average = {f"average.{name}": value for name, value in trainer.averaged().state_dict().items()}
        checkpoint.save(path / checkpoint.BEST, average, {**trainer.state()[1], "best": loss})
        trainer.best = loss


def _best(path: Path) -> float:
    """The loss of the weights that were kept as the best; infinite if they have gone."""
    try:
        return checkpoint.read(path / checkpoint.BEST)[1]["best"]
    except (ValueError, KeyError, OSError):
        return math.inf


def draw(trainer: Trainer, path: Path, name: str) -> None:
    """Samples of the averaged weights, as a picture."""
    trainer.check()
    run = Run(path, trainer.config, trainer.shape, trainer.counts, trainer.averaged())
    samples = run.sample(100 if run.pictures else 2000, trainer.config.seed)
    write(path / name, lambda file: file.write(plots.grid(samples)))


def report(trainer: Trainer, path: Path, log: list[dict[str, Any]], announce: Callable[[Report], None]) -> Report:
    """Measure, announce and write what the run came to; and then draw pictures, which may fail without harm."""
    if not log:
        raise ValueError(f"{str(path / checkpoint.LOG)!r} has gone, and with it what there is to report")
    made = Report(
        run=str(path),
        samples=str(path / "samples.png"),
        steps=trainer.steps,
        seconds=trainer.seconds,
        images_per_second=log[-1]["images_per_second"],
        loss=log[-1]["loss"],
        held_out_loss=held_out_loss(trainer) if len(trainer.dataset.held_out) else None,
        parameters=size_of(trainer.model),
        peak_memory_mb=peak_memory_mb(trainer.device),
    )
    try:
        announce(made)
    finally:
        write_json(path / checkpoint.REPORT, vars(made))
    with optional():
        draw(trainer, path, "samples.png")
        write(path / "loss.png", lambda file: file.write(plots.loss(log)))
    return made


def held_out_loss(trainer: Trainer, repeats: int = 4) -> float:
    """What `evaluate` says of the averaged weights on at most a thousand held-out samples, fewer of large pictures."""
    config, labels = trainer.config, trainer.dataset.held_out_labels
    x = torch.from_numpy(trainer.dataset.held_out[: 2 * at_once(trainer.shape)]).to(trainer.device)
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
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                before[number] = signal.signal(number, lambda got, _: asked.append(got))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _crew(config: Config) -> Iterator[tuple[torch.device, int, int]]:
    """The device, the number of this process, and how many there are: more than one when torchrun started them."""
    device, processes = device_of(config.device), whole_from("WORLD_SIZE", 1)
    if processes > 1:
        distributed.init_process_group()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        with in_precision(config.precision, device):
            yield device, whole_from("RANK", 0), processes
    finally:
        if processes > 1:
            distributed.destroy_process_group()
