"""The training loop: from a config to a folder with weights, samples and a report; in one process or in several."""

from __future__ import annotations

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

import torch
from torch import distributed
from tqdm import tqdm

from .. import data, elbo
from ..files import optional, write, write_json
from ..train.config import Config
from ..train.machine import device_of, in_precision, peak_memory_mb, whole_from
from ..train.trainer import Trainer
from ..train.unet import size_of
from . import checkpoint, plots
from .run import Run

BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}{postfix}"

LOG_EVERY = 50
"""Steps between two lines of the log. Only there does the process wait for the device, to read the loss."""

PRIOR_BITS = 0.01
"""A run warns of a larger L_T, in bits per dimension; that of DDPM's schedule of 1000 steps is far smaller."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that end a run after a last save: Ctrl-C, kill, a closed terminal. No system has all of them."""


@dataclass(frozen=True)
class Report:
    """The results of a run. The losses are squared errors of the prediction, per pixel; ``loss`` is from the log's last line."""

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


def fit(config: Config, announce: Callable[[Report], None] = lambda report: None) -> Report | None:
    """Train with regular saves, report, draw samples. All files are in the folder that the report names.

    The seed has no effect outside: the global generators are restored afterwards.

    Args:
        config: the options of the run.
        announce: called with the report before anything that may fail, such as drawing pictures.

    Returns:
        The report; None in all but the first of several processes.

    Raises:
        ValueError: when an option is not allowed; nothing has been computed or written then.
        FloatingPointError: when the loss is no longer finite; what was saved last is kept.
        OSError: when a save cannot be written; the save before it is kept.
        KeyboardInterrupt: after a last save, when one of `SIGNALS` came.
    """
    config.check()
    dataset = data.load(config.data, config.held_out)
    with (
        _process_group(config) as (device, rank, processes),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        trainer = Trainer(config, dataset, device, rank, processes)
        facts = {
            "shape": list(trainer.shape),
            "examples": len(dataset.train),
            "classes": list(trainer.counts),
            "names": list(trainer.dataset.names),
            "levels": dataset.levels,
            "checksum": data.checksum(dataset),
        }
        try:
            with checkpoint.opened(config, facts) if rank == 0 else nullcontext() as path:
                if config.resume and config.out and (config.out / checkpoint.LAST).is_file():
                    trainer.restore(*checkpoint.read(config.out / checkpoint.LAST), checkpoint.LAST)
                _check_same_step(trainer, processes)
                if path is not None:
                    print(dataset, *_warnings(trainer), sep="\n", file=sys.stderr)
                log = train(trainer, path, processes)
                return None if path is None else report(trainer, path, log, announce)
        finally:
            trainer.leave()


def _warnings(trainer: Trainer) -> list[str]:
    """Settings that are allowed but most likely a mistake: a schedule that does not end in noise alone."""
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
    """Train until the time is up or all steps are done; gives the log. Only the first process has a path: it saves and logs."""
    config = trainer.config
    log = [] if path is None else _kept_log(path, trainer.steps)
    if path is not None and trainer.steps:  # the run may have been killed between its two saves, or a file was deleted
        trainer.best = _best(path)
        save_best(trainer, path)
    before, begun = trainer.seconds, time.monotonic()
    saved = drawn = begun
    pause = 0.1 if sys.stderr.isatty() else 10  # in a file, every update of the bar stays
    bar = tqdm(total=1.0, desc=str(path), bar_format=BAR, disable=path is None, mininterval=pause)
    with _stop_signals() as received, bar:
        while True:
            now = time.monotonic()
            trainer.seconds = before + now - begun
            done = min(1.0, trainer.steps / config.steps if config.steps else trainer.seconds / config.seconds)
            done = done if trainer.steps else 0.0  # however little time there is, one step is made
            stop = bool(received)
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
    """Write the state, from which the run can be resumed; then the averaged weights, if they are the best so far."""
    trainer.check()
    checkpoint.save(path / checkpoint.LAST, *trainer.state())
    save_best(trainer, path)


def save_best(trainer: Trainer, path: Path) -> None:
    """Write the averaged weights, unless weights with a lower held-out loss are saved already."""
    best = trainer.best if (path / checkpoint.BEST).is_file() else math.inf
    if len(trainer.dataset.held_out) and (loss := trainer.held_out_loss(repeats=1)) < best:
        average = {f"average.{name}": value for name, value in trainer.averaged().state_dict().items()}
        checkpoint.save(path / checkpoint.BEST, average, {**trainer.state()[1], "best": loss})
        trainer.best = loss


def _best(path: Path) -> float:
    """The held-out loss of the best saved weights; infinite if there are none."""
    try:
        return checkpoint.read(path / checkpoint.BEST)[1]["best"]
    except (ValueError, KeyError, OSError):
        return math.inf


def draw(trainer: Trainer, path: Path, name: str) -> None:
    """Draw samples with the averaged weights, and write them as a picture."""
    trainer.check()
    run = Run(path, trainer.config, trainer.shape, trainer.counts, trainer.averaged())
    samples = run.sample(100 if run.pictures else 2000, trainer.config.seed)
    write(path / name, lambda file: file.write(plots.grid(samples)))


def report(trainer: Trainer, path: Path, log: list[dict[str, Any]], announce: Callable[[Report], None]) -> Report:
    """Measure the results of the run, announce and write them; then draw pictures, which may fail without harm."""
    if not log:
        raise ValueError(f"{str(path / checkpoint.LOG)!r} has gone, and with it what there is to report")
    made = Report(
        run=str(path),
        samples=str(path / "samples.png"),
        steps=trainer.steps,
        seconds=trainer.seconds,
        images_per_second=log[-1]["images_per_second"],
        loss=log[-1]["loss"],
        held_out_loss=trainer.held_out_loss() if len(trainer.dataset.held_out) else None,
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


def _check_same_step(trainer: Trainer, processes: int) -> None:
    """Refuse to resume when the processes have loaded different saves.

    Raises:
        ValueError: with the smallest and the largest number of steps that they have.
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
    """The lines of the log up to the last save; later steps will be trained and logged again."""
    file = path / checkpoint.LOG
    lines = []
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off in the middle
            break
        lines += [entry] if entry["step"] <= steps else []
    write(file, lambda out: out.write("".join(f"{json.dumps(entry)}\n" for entry in lines).encode()))
    return lines


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect `SIGNALS` in a list instead of acting on them at once, so that no step is interrupted halfway."""
    received: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # other threads receive no signals
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                before[number] = signal.signal(number, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _process_group(config: Config) -> Iterator[tuple[torch.device, int, int]]:
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
