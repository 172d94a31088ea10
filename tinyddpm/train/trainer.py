"""The trainer: all that changes while a network is trained, and the step that changes it."""

from __future__ import annotations

import copy
import gc
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .. import data
from ..data import Data
from ..forward import Schedule
from . import Model, bound_loss, ema_update_, guided, learned_variance_loss, stratified_times, training_loss
from .config import Config
from .lamb import Lamb
from .machine import at_once, compile_mode, half_pays, seed_here
from .times import Times
from .unet import Categorical, fill, network, prediction

MEMORY = 18
"""Exponent of the weight average: step k weighs k**MEMORY, so that the last tenth of the steps has 86 percent."""

DROPOUT = (0.0, 0.05, 0.1, 0.15, 0.2)
"""The dropout rates, one for each stage, the last for all later ones; few, since each is compiled anew."""

SHIFTED = (0.25, 0.75)
"""The fraction of a batch that is shifted: how much it grows in a stage, and its largest value."""


class Trainer:
    """All that changes during a run, and the step that changes it.

    Every process draws the whole batch from a generator in the same state, and works on its part of it. So a run is
    the same with any number of processes, and to resume it, the state of one generator is enough. Dropout can only be
    drawn from torch's own generator, which is seeded anew for each part.
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
        self.shift = config.max_shift if self.x.ndim == 4 else 0
        if self.flip and self.x.ndim != 4:
            raise ValueError("flip must be False or left out for points, got True")
        if config.norm == "batch" and self.parts > 1 and self.x.ndim == 4:
            raise ValueError(
                f"norm must not be batch for a batch in {self.parts} parts: each would be normalised by itself"
            )
        seed_here(config.seed, device)
        cuda = device.type == "cuda"
        learned = bound_loss if config.weighting == "bound" else learned_variance_loss
        self.loss = learned if config.learned_variance else training_loss
        self.shape, self.counts = dataset.train.shape[1:], dataset.counts
        self.model = network(config, self.shape, dataset.classes, dataset.levels)
        if isinstance(self.model, Categorical):
            self.model.start(dataset)
        self.model.to(device)
        self.rng = torch.Generator(device)
        self.rng.set_state(torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state())
        if cuda:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dropouts = [layer for layer in self.model.modules() if isinstance(layer, nn.Dropout)]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.half = half_pays(device, self.shape) if config.precision == "auto" else config.precision == "bfloat16"
        mode = compile_mode(device, self.parts)
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
        """The network, conditioned on these classes and shifts."""

        def model(x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                return self.net(x_t, t, *condition).to(x_t.dtype)

        return model

    def leave(self) -> None:
        """Drop the wrapper of `net` before the process group is destroyed: else the process may wait for its threads for ever."""
        if isinstance(self.net, DistributedDataParallel):
            self.net = self.model
            gc.collect()  # the wrapper is part of a cycle

    def draw(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
        """A whole batch: samples, their times, noise, and what the network is conditioned on: classes and shifts."""
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
        shifts = shifts * (torch.rand((batch, 1), generator=rng, device=device) < self.shift_rate())
        return shifted(x_0, shifts), t, noise, [labels, shifts]

    def step(self, done: float) -> None:
        """One step of Algorithm 1; ``done`` is the fraction of the run that is over. Nothing in it waits for the device."""
        config = self.config
        for group in self.optimiser.param_groups:
            warm = min(1, (self.steps + 1) / max(1, config.warm_up))
            group["lr"] = config.lr * warm * (1 + math.cos(math.pi * done)) / 2
        *drawn, condition = self.draw()
        pixels = math.prod(self.shape)
        rate = self.dropout_rate()
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

    def dropout_rate(self) -> float:
        """The dropout rate of the next step: it grows with the epochs."""
        stage = min(int(self.stages()), len(DROPOUT) - 1)
        return DROPOUT[stage] if self.config.dropout is None else self.config.dropout

    def shift_rate(self) -> float:
        """The fraction of the next batch that is shifted: it grows in the same way."""
        growth, most = SHIFTED
        return min(most, growth * self.stages()) if self.config.shift is None else most

    def stages(self) -> float:
        """How far up the ladder of dropout and shifts the run is: one stage in so many epochs."""
        return self.steps * self.config.batch / len(self.x) / self.config.ladder

    def decay(self) -> float:
        """The decay of the moving average in the step that was just made; in the first steps it is smaller."""
        if self.config.ema is None:
            return (1 - 1 / self.steps) ** (MEMORY + 1)
        return min(self.config.ema, self.steps / (self.steps + 10))

    def averaged(self) -> nn.Module:
        """The network with averaged weights; buffers, such as the statistics of a batch norm, are copied as they are."""
        for average, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            average.copy_(value)
        return self.average

    def share(self) -> None:
        """Average the sums over all processes: each has only the losses of its own parts."""
        if self.processes > 1:
            distributed.all_reduce(self.totals)
            self.totals /= self.processes

    def line(self) -> dict[str, Any]:
        """A line of the log: loss and gradient are means over the steps since the last line; the sums restart at 0."""
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

    def held_out_loss(self, repeats: int = 4) -> float:
        """`evaluate` for the averaged weights, on at most a thousand held-out samples, fewer of large pictures."""
        config, labels = self.config, self.dataset.held_out_labels
        x = torch.from_numpy(self.dataset.held_out[: 2 * at_once(self.shape)]).to(self.device)
        model: Any = self.averaged()
        if labels is not None:
            model = guided(model, torch.from_numpy(labels[: len(x)]).to(self.device))
        return evaluate(prediction(model, x.shape[1]), x, self.schedule, config.predicts, repeats)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors, and a dictionary for JSON."""
        tensors = {f"raw.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.averaged().state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        tensors |= {f"times.{name}": value for name, value in self.times.state_dict().items()}
        tensors |= {"generator": self.rng.get_state(), "totals": self.totals}
        return tensors, {"steps": self.steps, "seconds": self.seconds, "unlogged": self.unlogged}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], source: str = "the state") -> None:
        """Load what `state` gave; ``source`` names it in the message.

        Raises:
            ValueError: when it belongs to another network.
        """
        for prefix, model in (("raw", self.model), ("average", self.average), ("times", self.times)):
            fill(model, tensors, prefix, source)
        moments: dict[int, dict[str, Tensor]] = {}
        parameters = list(self.model.parameters())
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, kind = name.split(".")
                like = parameters[int(index)]  # its moments lie in memory as it does: fused optimisers rely on that
                moment = value if value.shape != like.shape else torch.empty_like(like).copy_(value)
                moments.setdefault(int(index), {})[kind] = moment
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.totals.copy_(tensors["totals"])
        self.steps, self.seconds, self.unlogged = state["steps"], state["seconds"], state["unlogged"]
        if len(tensors["generator"]) == len(self.rng.get_state()):
            self.rng.set_state(tensors["generator"])
        else:  # saved on another kind of device, whose generator is another one: a new seed, so that no batch repeats
            self.rng.manual_seed(_mixed(self.config.seed, self.steps))


def shifted(pictures: Tensor, shifts: Tensor) -> Tensor:
    """Each picture shifted down and to the right by its own pixels, ``shifts`` of shape (batch, 2); its edge is repeated."""
    each = torch.arange(len(pictures), device=shifts.device)[:, None, None]
    rows, columns = (
        (torch.arange(edge, device=shifts.device) - shifts[:, axis, None]).clamp(0, edge - 1)
        for axis, edge in enumerate(pictures.shape[2:])
    )
    return pictures[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def optimiser(config: Config, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a config names. Betas of 0.9 and 0.99: a run is too short for 0.999."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=0.9)
    if config.optimiser == "lamb":
        return Lamb(parameters, config.lr, betas=(0.9, 0.99))
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, config.lr, betas=(0.9, 0.99), fused=True)


def evaluate(
    model: Model, pictures: Tensor, schedule: Schedule, predicts: str, repeats: int = 10, seed: int = 0
) -> float:
    """The training loss per pixel on these pictures; times and noise come from the seed, the same in every call."""
    rng, total = torch.Generator(pictures.device).manual_seed(seed), torch.zeros((), device=pictures.device)
    for _ in range(repeats):
        u = torch.rand((), generator=rng, dtype=torch.float64, device=pictures.device)
        t = stratified_times(u, len(pictures), schedule.T)
        noise = torch.randn(pictures.shape, generator=rng, device=pictures.device)
        with torch.no_grad():
            total += training_loss(model, pictures, t, noise, schedule, predicts).mean()
    return total.item() / repeats / pictures[0].numel()


def _mixed(*numbers: int) -> int:
    """A seed made of several numbers; neighbouring numbers give independent seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
