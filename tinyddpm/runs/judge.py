"""What a run is worth: its samples against real ones, each figure beside its floor."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import data, elbo
from ..data import Data
from ..files import optional, write, write_json
from ..train import guided, metrics
from ..train.machine import in_precision, one_thread, seed_here
from ..train.trainer import shifted
from . import checkpoint, plots, run

STEPS, BATCH = 1000, 128
"""How long the judge is trained."""

PICTURES, POINTS = 100, 2000
"""How many of the held-out data the bound is computed for."""


class Classifier(nn.Module):
    """A small network that tells classes apart; the 64 numbers before its last layer are the features of a picture."""

    def __init__(self, channels: int, edge: int, classes: int) -> None:
        super().__init__()
        sizes, layers = (channels, 32, 64, 64), list[nn.Module]()
        for i in range(3):
            layers += [nn.Conv2d(sizes[i], sizes[i + 1], 3, padding=1), nn.BatchNorm2d(sizes[i + 1]), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if edge > 8 or (i == 0 and edge > 1) else []
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3))
        self.features = nn.Sequential(nn.Linear(16 * 64, 64), nn.ReLU())
        self.scores = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.features(self.see(x)))

    @torch.no_grad()
    def describe(self, pictures: np.ndarray) -> np.ndarray:
        """The features of pictures, shape (n, 64)."""
        parts = torch.from_numpy(pictures).split(500)
        return torch.cat([self.features(self.see(part)) for part in parts]).numpy()


def classifier(dataset: Data, cache: Path | None = None) -> tuple[Classifier, float]:
    """The judge for a dataset and the share of held-out pictures that it gets right; trained once, then kept."""
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tinyddpm"
    kept = cache / f"judge-{data.checksum(dataset):08x}.safetensors"
    with torch.random.fork_rng(devices=[]):
        seed_here(0, torch.device("cpu"))
        judge = Classifier(dataset.train.shape[1], min(dataset.train.shape[2:]), dataset.classes)
        if kept.is_file():
            with suppress(ValueError, RuntimeError):  # damaged, or another version's: a new one is made
                tensors, state = checkpoint.read(kept)
                judge.load_state_dict(tensors)
                return judge.eval(), state["accuracy"]
        with one_thread():  # so that it is the same judge on any number of cores
            _learn(judge, dataset)
    judge.eval()
    pictures, labels = dataset.held_out, dataset.held_out_labels
    if not len(pictures):
        pictures, labels = dataset.train, dataset.train_labels
    with torch.no_grad():
        predicted = torch.cat([judge(part).argmax(1) for part in torch.from_numpy(pictures).split(500)])
    accuracy = float((predicted.numpy() == labels).mean())
    with optional():
        cache.mkdir(parents=True, exist_ok=True)
        checkpoint.save(kept, judge.state_dict(), {"accuracy": accuracy})
    return judge, accuracy


def _learn(judge: Classifier, dataset: Data) -> None:
    x, labels = torch.from_numpy(dataset.train), torch.from_numpy(dataset.train_labels)
    adam = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,))
        x_0 = shifted(x[chosen], torch.randint(-1, 2, (BATCH, 2)))  # a shape is the same there
        loss = functional.cross_entropy(judge(x_0), labels[chosen], label_smoothing=0.05)
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()


@dataclass(frozen=True)
class Verdict:
    """What `judge` measured; a figure is None where it cannot be. The bound is in bits per dimension."""

    samples: int
    frechet_distance: float | None = None
    frechet_floor: float | None = None
    accuracy: float | None = None
    sliced_wasserstein: float | None = None
    sliced_floor: float | None = None
    nearest_neighbours: float | None = None
    bound: float | None = None
    bound_error: float | None = None
    bound_floor: float | None = None
    bound_terms: list[float] | None = None
    bound_class: float | None = None
    histogram: float | None = None
    histogram_class: float | None = None
    unmeasured: tuple[str, ...] = ()
    """what could not be measured, and why"""

    def __str__(self) -> str:
        lines = [f"{self.samples} samples"]
        if self.frechet_distance is not None:
            lines.append(
                f"Fréchet distance     {self.frechet_distance:.4f}   (real against real {self.frechet_floor:.4f}; "
                f"the judge is right on {self.accuracy:.1%})"
            )
        if self.sliced_wasserstein is not None:
            lines.append(
                f"sliced Wasserstein   {self.sliced_wasserstein:.4f}   (real against real {self.sliced_floor:.4f})"
            )
        if self.nearest_neighbours is not None:
            lines.append(
                f"nearest neighbours   {self.nearest_neighbours:.2f}     (1: as new as held-out ones; 0.2: copies)"
            )
        if self.bound is not None and self.bound_terms is not None:
            floor = "" if self.bound_floor is None else f"; the truth itself {self.bound_floor:.3f}"
            error = "" if self.bound_error is None else f" ± {self.bound_error:.3f}"
            lines.append(f"bound                {self.bound:.3f}{error} (bits per dimension{floor})")
            T, parts = len(self.bound_terms) - 1, {"L_0": self.bound_terms[0]}
            for low in (10**power for power in range(5) if 10**power < T):
                high = min(10 * low, T)
                parts[f"t = {low + 1}..{high}"] = math.fsum(self.bound_terms[low:high])
            parts |= {"L_T": self.bound_terms[-1]}
            parts |= {"naming the class": self.bound_class} if self.bound_class else {}
            lines += [
                f"  {name:19s}{bits:{'.0e' if 0 < abs(bits) <= 0.001 else '.3f'}}" for name, bits in parts.items()
            ]
        if self.histogram is not None:
            named = "" if self.histogram_class is None else f"; {self.histogram_class:.3f} if the class is named first"
            lines.append(f"histogram            {self.histogram:.3f}   (of each pixel{named})")
        return "\n".join([*lines, *self.unmeasured])


def judge(
    folder: Path,
    n: int = 1000,
    seed: int = 0,
    best: bool = False,
    device: str = "cpu",
    announce: Callable[[Verdict], None] = lambda verdict: None,
    **options: Any,
) -> Verdict:
    """Draw samples from a run, compare them with data that was held out, announce what that came to, and write it down.

    Raises:
        ValueError: when there is no such run, or its data have changed since.
    """
    loaded, dataset = run.load(folder, best, device), checkpoint.read_data(folder)
    verdict = replace(
        compare(loaded.sample(n, seed, **options), dataset),
        **bound(loaded, dataset, device=str(loaded.generator(0).device)),
    )
    try:
        announce(verdict)
    finally:
        drawn = {"seed": seed, "best": best, **options}
        write_json(folder / "judge.json", {"drawn": drawn, **vars(verdict)})
    if verdict.bound_terms is not None:
        with optional():
            picture = plots.bound(verdict.bound_terms)
            write(folder / "bound.png", lambda file: file.write(picture))
    return verdict


def bound(loaded: run.Run, dataset: Data, n: int | None = None, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """The bound on minus the log-likelihood of n held-out data, term by term; and the truth, where it is known.

    Its error is one standard error, where the truth is known that of the difference: either comes from the noise that
    is drawn once for each of the data and each t. There is none of a single one. The histograms of the training pictures
    code the same pictures, of as many grey levels.

    The variance of a step is the network's own, where it has one, else the larger of the two fixed ones: data are wide
    beside the noise of small t, and there the smaller one makes the bound needlessly loose.
    """
    if not len(dataset.held_out):
        return {}
    n = n or (PICTURES if loaded.pictures else POINTS)
    rng, config, dims = torch.Generator(device).manual_seed(seed), loaded.config, math.prod(loaded.shape)
    x = torch.from_numpy(dataset.held_out[:n]).to(device)
    dataset = data.conditioned(dataset, config.conditional)
    labels = None if dataset.held_out_labels is None else dataset.held_out_labels[:n]
    learned = config.learned_variance

    model = loaded.model if labels is None else guided(loaded.model, torch.from_numpy(labels).to(device))
    model = in_precision(config.precision, rng.device)(model)
    clip, bins = (1.0, dataset.levels) if loaded.pictures else (None, None)
    variance, schedule = "learned" if learned else "beta", config.noise_schedule()
    with torch.no_grad():
        nats = elbo.vlb_terms(model, x, schedule, rng, config.predicts, variance, clip, bins).cpu()
    terms = elbo.bits_per_dim(nats.mean(1), dims).tolist()
    naming = 0.0 if labels is None else float(naming_bits(labels, loaded.counts, dims).mean())
    figures: dict[str, Any] = {"bound": math.fsum(terms) + naming, "bound_terms": terms, "bound_class": naming}
    each = nats.double().sum(0).numpy()
    if dataset.truth is not None:
        exact = -dataset.truth.log_prob(dataset.held_out[:n].astype(np.float64))
        figures["bound_floor"] = float(elbo.bits_per_dim(exact.mean(), dims))
        each = each - exact
    if loaded.pictures:
        figures["histogram"] = float(histogram_bits(dataset, n).mean())
        if labels is not None:
            figures["histogram_class"] = float(histogram_bits(dataset, n, by_class=True).mean())
    if len(each) > 1:
        figures["bound_error"] = float(elbo.bits_per_dim(each.std(ddof=1) / math.sqrt(len(each)), dims))
    return figures


def histogram_bits(dataset: Data, n: int, by_class: bool = False) -> np.ndarray:
    """What each of n held-out pictures costs by the `histogram` of every pixel in the training data, in bits per dimension.

    With ``by_class``, by the histograms of its own class, and with the bits that name the class.
    """

    def bits(train: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        numbers, chances = data.numbered(pictures, dataset.levels), data.histogram(train, dataset.levels)
        nats = -np.log(np.take_along_axis(chances[None], numbers[..., None], -1)).reshape(len(pictures), -1).sum(1)
        return elbo.bits_per_dim(nats, pictures[0].size)

    x, labels = dataset.held_out[:n], dataset.held_out_labels
    if not by_class or labels is None:
        return bits(dataset.train, x)
    costs = naming_bits(labels[:n], dataset.counts, x[0].size)
    for name in np.unique(labels[:n]):
        costs[labels[:n] == name] += bits(dataset.train[dataset.train_labels == name], x[labels[:n] == name])
    return costs


def naming_bits(labels: np.ndarray, counts: Sequence[int], dims: int) -> np.ndarray:
    """What it costs to name the class of each picture, by how often it is in the training data, in bits per dimension.

    It is part of the message: log p(x) is at least log p(x | class) + log p(class).
    """
    return elbo.bits_per_dim(-np.log(np.array(counts) / sum(counts))[labels], dims)


def compare(samples: np.ndarray, dataset: Data) -> Verdict:
    """Samples against real ones. The floor is the training data against the held-out: as far apart as chance has it."""
    real = dataset.held_out if len(dataset.held_out) else dataset.train
    if not np.isfinite(samples).all():
        raise ValueError("samples must be finite numbers")
    figures: dict[str, Any] = {}
    unmeasured = []

    def measure(name: str, figure: Callable[[], dict[str, float]]) -> None:
        try:
            figures.update(figure())
        except ValueError as problem:  # too few samples, or all alike
            unmeasured.append(f"{name:20s} not measured: {problem}")

    if samples.ndim == 2:
        n = min(len(samples), len(dataset.train), len(real))
        drawn = samples[np.linspace(0, len(samples) - 1, n).astype(int)]  # they come class by class
        far = metrics.sliced_wasserstein
        measure(
            "sliced Wasserstein",
            lambda: {"sliced_wasserstein": far(drawn, real[:n]), "sliced_floor": far(dataset.train[:n], real[-n:])},
        )
    elif dataset.classes:
        features, accuracy = classifier(dataset)
        at_real, at_fake = features.describe(real), features.describe(samples)
        pair = (at_real, features.describe(dataset.train)) if len(dataset.held_out) else (at_real[::2], at_real[1::2])
        distance = metrics.frechet_distance
        measure(
            "Fréchet distance",
            lambda: {
                "frechet_distance": distance(at_real, at_fake),
                "frechet_floor": distance(*pair),
                "accuracy": accuracy,
            },
        )
    if len(dataset.held_out) and samples.ndim == 4:
        sets = samples, dataset.train, dataset.held_out[:1000]
        measure("nearest neighbours", lambda: {"nearest_neighbours": metrics.nearest_neighbours(*sets)})
    return Verdict(len(samples), unmeasured=tuple(unmeasured), **figures)
