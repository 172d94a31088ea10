"""A run that was trained: load it from its folder, draw samples from it, watch them come."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..door import check_name
from ..train import SAMPLERS, VARIANCES, Sampler, guided, sample_path
from ..train.config import LABELS, Config, check_seed
from ..train.machine import at_once, device_of, in_precision
from ..train.unet import fill, network, prediction
from .checkpoint import BEST, CONFIG, LAST, read, read_config

STEPS = 20
"""How many times are visited if nobody says: on digits, more did not make the samples better."""

STANDARD = {name: given.default for name, given in inspect.signature(sample_path).parameters.items()}
"""What an option of a sampler is if nobody says."""


def check_read(sampler: str | Sampler, options: dict[str, Any]) -> None:
    """Refuse an option that only other samplers read: it would change nothing. Corrections read `clip_noise` too.

    Raises:
        ValueError: naming those that read it.
    """
    way = SAMPLERS.get(sampler) if isinstance(sampler, str) else sampler
    if way is None:  # `sample_path` says which there are
        return
    read = ("clip_noise",) if options.get("corrections") else ()
    for name, value in options.items():
        readers = [of for of, other in SAMPLERS.items() if name in other.options]
        chosen = value != STANDARD.get(name) or name == "variance"  # which variance, a run decides by itself
        if readers and chosen and name not in (*way.options, *read):
            raise ValueError(f"sampler must be {' or '.join(readers)} where {name} is given, got {sampler!r}")


@dataclass(frozen=True)
class Run:
    """A folder, the choices made, what the data was like and how often each class was in it, and the averaged network."""

    path: Path
    config: Config
    shape: tuple[int, ...]
    counts: tuple[int, ...]
    model: nn.Module
    names: tuple[str, ...] = ()
    """of the classes; empty if they are called by their numbers"""

    def states(
        self,
        n: int,
        rng: torch.Generator,
        labels: torch.Tensor | None = None,
        sampler: str | Sampler = "second_order",
        steps: int | None = None,
        guidance: float = 0.0,
        **options: Any,
    ) -> Iterator[torch.Tensor]:
        """The states of n samples on their way from noise; of a run with classes, of these."""
        if not math.isfinite(guidance):
            raise ValueError(f"guidance must be a finite number, got {guidance}")
        if guidance and (labels is None or not self.config.label_dropout):
            raise ValueError(
                f"guidance must be 0 for a run trained without classes, or never without them, got {guidance}"
            )
        check_read(sampler, options)
        model = self.model if labels is None else guided(self.model, labels.to(rng.device), guidance)
        learned = self.config.learned_variance
        options = {"variance": "learned" if learned else "posterior", "clip": 1.0 if self.pictures else None, **options}
        if options["variance"] == "learned" and not learned:
            fixed = " or ".join(name for name in VARIANCES if name != "learned")
            raise ValueError(f"variance must be {fixed} for a run that has not learned one, got 'learned'")
        model = model if options["variance"] == "learned" else prediction(model, self.shape[0])
        model = in_precision(self.config.precision, rng.device)(model)  # as it was trained
        schedule, predicts = self.config.noise_schedule(), self.config.predicts
        if steps is None and options.get("times") is None:
            steps = min(STEPS, schedule.T)
        return sample_path(model, schedule, (n, *self.shape), rng, sampler, steps, predicts=predicts, **options)

    def sample(
        self, n: int, seed: int, label: int | str | None = None, labels: str = "proportional", **options: Any
    ) -> np.ndarray:
        """Samples, shape (n, channels, height, width), in [-1, 1]; or points, shape (n, dimensions).

        Args:
            n: how many.
            seed: of the noise, and of the labels where they are random.
            label: one class for all, by its name.
            labels: how the classes are chosen otherwise, one of `LABELS`.
            options: of `states`.
        """
        rng, classes, parts = self.generator(seed), self.labels(n, label, labels, seed), []
        count = at_once(self.shape)
        for done in range(0, n, count):  # each part begins with noise of its own
            part = None if classes is None else classes[done : done + count]
            *_, x_0 = self.states(min(count, n - done), rng, part, **options)
            parts.append(x_0)
        return self._finished(torch.cat(parts))

    def watch(
        self, n: int, seed: int, label: int | str | None = None, labels: str = "proportional", **options: Any
    ) -> Iterator[np.ndarray]:
        """Every state of n samples on their way, as `sample` gives the last one."""
        classes = self.labels(n, label, labels, seed)
        return (self._finished(x) for x in self.states(n, self.generator(seed), classes, **options))

    def labels(
        self, n: int, label: int | str | None = None, how: str = "proportional", seed: int = 0
    ) -> torch.Tensor | None:
        """The classes of n samples: one by its name, or chosen as one of `LABELS` says; None for a run without classes."""
        check_name("labels", how, LABELS)
        numbers = tuple(map(str, range(len(self.counts))))
        names = self.names or numbers
        if label is not None and str(label) not in names:
            allowed = f"lie in 0..{len(names) - 1}" if names == numbers else f"be one of {', '.join(names)}"
            raise ValueError(
                f"label must {allowed if names else 'not be given: the run is not conditional'}, got {label}"
            )
        if label is not None and how != "proportional":
            raise ValueError(f"labels must be left out where label is given, got {how!r} and {label!r}")
        if label is not None or not self.counts:
            return None if label is None else torch.full((n,), names.index(str(label)))
        shares = np.cumsum(self.counts) / sum(self.counts)
        # Not from the generator of the noise: with the same seed, classes and noise would depend on each other.
        places = np.random.default_rng(seed).random(n) if how == "random" else (np.arange(n) + 0.5) / n
        return torch.from_numpy(np.searchsorted(shares, places))

    def generator(self, seed: int) -> torch.Generator:
        """A generator where the network is."""
        check_seed(seed)
        return torch.Generator(next(self.model.parameters()).device).manual_seed(seed)

    @property
    def pictures(self) -> bool:
        """Whether samples are pictures, and not points."""
        return len(self.shape) == 3

    def _finished(self, x: torch.Tensor) -> np.ndarray:
        if not x.isfinite().all():
            raise FloatingPointError(f"the samples of {str(self.path)!r} are no longer finite")
        return (x.clamp(-1, 1) if self.pictures else x).cpu().numpy()


def load(path: Path | str, best: bool = False, device: str = "cpu") -> Run:
    """A run from its folder, as it was saved last, or when it was at its best on held-out data.

    Raises:
        ValueError: when there is none, naming those that there are.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        near = [found.parent for folder in (path, path.parent, Path("runs")) for found in folder.glob(f"*/{CONFIG}")]
        known = ", ".join(sorted({*map(str, near)})) or "none here"
        raise ValueError(f"run must be the folder of a run, got {str(path)!r}; there are: {known}")
    weights = path / (BEST if best else LAST)
    if not weights.is_file():
        why = "nothing was held out, or it was" if best else "it was"
        raise ValueError(f"run {str(path)!r} has no {weights.name}: {why} stopped before its first save")
    config, facts = read_config(path)
    shape, counts = tuple(facts["shape"]), tuple(facts["classes"])
    tensors, _ = read(weights)
    with torch.random.fork_rng([]):  # its first weights are replaced at once, and the numbers for them put back
        model = network(config, shape, len(counts), facts.get("levels", 256))
    fill(model, tensors, "average", repr(str(weights)))
    names = tuple(facts.get("names", ()))
    return Run(path, config, shape, counts, model.to(device_of(device)).eval(), names)
