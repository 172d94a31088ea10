"""The trainer: from a config to a folder with weights, samples and a report."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from .. import forward
from ..forward import Schedule
from . import Model, data, ema_update, run, stratified_times, training_loss
from .config import Config
from .unet import UNet

WARM_UP = 50
"""Over how many steps the learning rate rises."""

SAVE_EVERY = 10.0
"""Seconds between two saves: no more than this is lost when a run is killed."""

BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}{postfix}"

LOG_EVERY = 50
"""Steps between two lines of the log."""


@dataclass(frozen=True)
class Report:
    """What a run came to. The losses are squared errors of the prediction, per pixel."""

    run: str
    samples: str
    steps: int
    seconds: float
    images_per_second: float
    loss: float
    held_out_loss: float
    parameters: int
    peak_memory_mb: float | None

    def __str__(self) -> str:
        memory = "unknown" if self.peak_memory_mb is None else f"{self.peak_memory_mb:.0f} MB"
        return (
            f"{self.steps} steps in {self.seconds:.1f} s, {self.images_per_second:.0f} images/s; "
            f"{self.parameters} parameters; peak memory {memory}\n"
            f"loss {self.loss:.4f}, on held-out pictures {self.held_out_loss:.4f} (averaged weights)\n"
            f"run      {self.run}\n"
            f"samples  {self.samples}"
        )


def fit(config: Config) -> Report:
    """Train, save as it goes, draw samples, report. Everything is in the folder that the report names.

    The seed feeds generators of its own; nothing is seeded globally.

    Raises:
        ValueError: when the config asks for what is not allowed; nothing has been computed or written then.
        FloatingPointError: when the loss is no longer finite; the weights saved last are kept.
        KeyboardInterrupt: passed on, after what was learned has been saved.
    """
    config.check()
    pictures = data.load(config.data)
    train, held_out = torch.from_numpy(pictures.train), torch.from_numpy(pictures.held_out)
    schedule = forward.schedule(config.schedule, config.T)
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        torch.manual_seed(config.seed)
        model = UNet(train.shape[1], config.width)
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    rng = torch.Generator().manual_seed(config.seed)
    adam = torch.optim.Adam(model.parameters(), lr=config.lr, betas=(0.9, 0.99), fused=True)

    path = run.create(config, tuple(train.shape[1:]))
    step, done = 0, 0.0
    recent: list[float] = []
    log: list[str] = []
    begun = saved = time.monotonic()
    bar = tqdm(total=1.0, desc=str(path), bar_format=BAR, mininterval=0.5)
    try:
        while done < 1:
            for group in adam.param_groups:
                group["lr"] = config.lr * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * done)) / 2
            x_0 = train[torch.randint(len(train), (config.batch,), generator=rng)]
            t = stratified_times(torch.rand((), generator=rng, dtype=torch.float64), config.batch, config.T)
            noise = torch.randn(x_0.shape, generator=rng)
            loss = training_loss(model, x_0, t, noise, schedule, config.predicts).mean() / x_0[0].numel()
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            step += 1
            # A young average forgets faster, or it would hold on to the random weights that it began with.
            decay = min(config.ema, step / (step + 10))
            average = {name: ema_update(average[name], w.detach(), decay) for name, w in model.named_parameters()}

            if not loss.isfinite():
                raise FloatingPointError(f"the loss is {loss:g} at step {step}; try an lr below {config.lr}")
            recent = [*recent[-LOG_EVERY + 1 :], loss.item()]
            mean = sum(recent) / len(recent)
            seconds = time.monotonic() - begun
            done = min(1.0, step / config.steps if config.steps else seconds / config.seconds)
            bar.set_postfix_str(f"loss {mean:.4f}, {step * config.batch / seconds:.0f} images/s", refresh=False)
            bar.update(done - bar.n)
            if step % LOG_EVERY == 0 or done == 1:
                log.append(json.dumps({"step": step, "seconds": round(seconds, 3), "loss": mean}))
            if time.monotonic() - saved > SAVE_EVERY:
                _save(path, model, average, step, log)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if step:
            _save(path, model, average, step, log)
        raise
    finally:
        bar.close()
    _save(path, model, average, step, log)

    trained = run.load(path)
    run.write_grid(path / "samples.png", trained.sample(100, min(100, config.T), config.seed))
    report = Report(
        run=str(path),
        samples=str(path / "samples.png"),
        steps=step,
        seconds=seconds,
        images_per_second=step * config.batch / seconds,
        loss=mean,
        held_out_loss=evaluate(trained.model, held_out, schedule, config.predicts),
        parameters=sum(value.numel() for value in model.parameters()),
        peak_memory_mb=_peak_memory_mb(),
    )
    run.write_json(path / "report.json", vars(report))
    return report


def evaluate(
    model: Model, pictures: torch.Tensor, schedule: Schedule, predicts: str, repeats: int = 10, seed: int = 0
) -> float:
    """The training loss per pixel on other pictures; times and noise are the same every time."""
    rng, total = torch.Generator().manual_seed(seed), 0.0
    for _ in range(repeats):
        t = stratified_times(torch.rand((), generator=rng, dtype=torch.float64), len(pictures), schedule.T)
        noise = torch.randn(pictures.shape, generator=rng)
        with torch.no_grad():
            total += training_loss(model, pictures, t, noise, schedule, predicts).mean().item()
    return total / repeats / pictures[0].numel()


def _save(path: Path, model: UNet, average: dict[str, torch.Tensor], step: int, log: list[str]) -> None:
    run.save(path, model, average, step)
    run.write(path / run.LOG, lambda file: file.write("".join(f"{line}\n" for line in log).encode()))


def _peak_memory_mb() -> float | None:
    """The most memory that this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
