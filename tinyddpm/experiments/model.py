"""What a trained model does with pictures that it did not draw: noised and brought back, mixed, between classes, rough.

    python -m tinyddpm.experiments.model
    python -m tinyddpm.experiments.model --parts back mix --page docs/model.md

Three networks are trained on the digits by the recipe, and three on the ring, whose exact denoiser is known. Beside those
of the digits stands the exact denoiser of a mixture around the training digits. What is measured of one model is written
down at once and not measured again: the command can be stopped at any time, and repeated.
"""

from __future__ import annotations

import math
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from .. import data, mixture
from ..door import check_name
from ..files import write
from ..forward import PREDICTIONS, Schedule, diffuse, from_unit_range, predict_noise
from ..mixture import Mixture
from ..runs import judge, loop, run
from ..tables import table
from ..train import Model, encode, guided, interpolate, metrics, sample, visited_times
from ..train.config import FREE, Config, check_lowest
from ..train.machine import at_once, one_thread
from .results import RESULTS, Results, as_tables, check_same, exit_code, save, show
from .results import load as load_results

PICTURES = "pictures.npz"

TIMES = (100, 200, 300, 400, 500, 600, 700, 800, 900)
"""To which pictures are noised."""

FEWER = (200, 400, 500, 600, 800)
"""To which pairs are noised, and drawings."""

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the second of two pictures that are mixed."""

MIDDLE = 500
"""The time at which they are mixed with all weights; the others are tried half and half."""

WALK, CODE = 20, 30
"""Steps of the sampler from T, fewer from earlier times; and of DDIM, there and back, for a code."""

AVERAGED = 10
"""Draws of which an average is taken."""

EXACT = "exact"
"""The name of the exact denoiser of the mixture, among networks that are called by their seeds."""

ERRORS = (("velocity", 0.0), ("velocity", 0.1), ("velocity", 0.3), ("noise", 0.1), ("noise", 0.3))
"""What is added to each number of a prediction, and to which."""


@dataclass(frozen=True)
class Options:
    """Measure what trained networks do with pictures that they did not draw."""

    out: Path = Path("docs/assets/model")
    """folder for the results; results that are in it already are not computed again"""
    parts: tuple[str, ...] = ("back", "known", "mix", "between", "edit", "clip")
    """what to measure: back, known, mix, between, edit, clip; none to only print the tables"""
    seeds: int = 3
    """how many networks of each kind are trained"""
    steps: int = 1000
    """how many steps each is trained"""
    pictures: int = 100
    """how many pictures an experiment begins with"""
    runs: Path = Path("runs/model")
    """folder for the networks"""
    page: Path | None = None
    """Markdown page whose tables are replaced"""

    def check(self) -> Options:
        """Refuse what cannot be measured, before anything is computed or written; gives the options back.

        Raises:
            ValueError: naming the option, what it was and what is allowed.
        """
        check_lowest(self, seeds=1, steps=1, pictures=20)
        for part in self.parts:
            check_name("parts", part, PARTS)
        return self


# The models. ---------------------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """A model that is examined: called as ``model(x_t, t, labels)``, with None for no label."""

    name: str
    model: Callable[..., Any]
    predicts: str
    schedule: Schedule

    def conditioned(self, labels: Tensor | None) -> Model:
        """The model with the labels that it gets."""
        return self.model if labels is None else guided(self.model, labels)


class Kernel:
    """The exact denoiser of a mixture: one component at every training picture, all of one variance.

    It is `Mixture.denoise` without an array of shape (batch, components, pixels).
    """

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, var: float, schedule: Schedule) -> None:
        self.means, self.labels = torch.from_numpy(pictures).flatten(1), torch.from_numpy(labels)
        self.var, self.schedule = var, schedule

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean of x_0 given x_t and the label; t is one time for all."""
        mean, gain, kept, _ = self._seen(x_t, t, labels)
        return (mean + gain * (x_t.flatten(1) - kept * mean)).reshape(x_t.shape)

    def uncertainty(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The variance of x_0 given x_t, per pixel, shape (batch,)."""
        mean, gain, kept, shares = self._seen(x_t, t, labels)
        step, pixels = self.schedule[int(t[0])], self.means.shape[1]
        within = self.var * step.noise_var / (step.alpha_bar * self.var + step.noise_var)
        between = (shares @ (self.means**2).sum(1) - (mean**2).sum(1)) / pixels
        return within + (1 - gain * kept) ** 2 * between

    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of pictures without noise."""
        shares = self._shares(x.flatten(1), 1.0, self.var, None)
        return (shares @ functional.one_hot(self.labels).to(x.dtype)).argmax(1)

    def sample(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures and their classes."""
        chosen = torch.randint(len(self.means), (n,), generator=rng)
        noise = torch.randn((n, self.means.shape[1]), generator=rng)
        side = math.isqrt(self.means.shape[1])
        return (self.means[chosen] + self.var**0.5 * noise).reshape(n, 1, side, side), self.labels[chosen]

    @property
    def mixture(self) -> Mixture:
        """The mixture itself."""
        k = len(self.means)
        return Mixture(np.full(k, 1 / k), self.means.numpy(), np.full(k, self.var))

    def _seen(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> tuple[Tensor, float, float, Tensor]:
        step = self.schedule[int(t[0])]
        kept, spread = step.alpha_bar**0.5, step.alpha_bar * self.var + step.noise_var
        shares = self._shares(x_t.flatten(1), kept, spread, labels)
        return shares @ self.means, kept * self.var / spread, kept, shares

    def _shares(self, x: Tensor, kept: float, spread: float, labels: Tensor | None) -> Tensor:
        nearness = (kept * x @ self.means.T - kept**2 * (self.means**2).sum(1) / 2) / spread
        if labels is not None:
            nearness = nearness.masked_fill(self.labels != labels[:, None], -math.inf)
        return nearness.softmax(1)


def bandwidth(pictures: np.ndarray) -> float:
    """The variance, of a few, under which each picture is most likely by the mixture of all others."""
    x = torch.from_numpy(pictures).flatten(1).double()
    square = torch.cdist(x, x).fill_diagonal_(math.inf) ** 2

    def likelihood(var: float) -> float:
        return (torch.logsumexp(-square / (2 * var), 1) - x.shape[1] / 2 * math.log(var)).mean().item()

    return max((0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2), key=likelihood)


class Lab:
    """The data, the models, and what pictures are compared with."""

    def __init__(self, options: Options) -> None:
        self.options, self.dataset = options, data.load(Config().data)
        assert self.dataset.train_labels is not None and self.dataset.held_out_labels is not None
        self.held_out = torch.from_numpy(self.dataset.held_out)
        self.labels = torch.from_numpy(self.dataset.held_out_labels)
        self.train = torch.from_numpy(self.dataset.train).flatten(1)
        self.judge, _ = judge.classifier(self.dataset)
        self.kernel = Kernel(
            self.dataset.train,
            self.dataset.train_labels,
            bandwidth(self.dataset.train),
            Config().noise_schedule(),
        )

    def subject(self, kind: str, name: str) -> Subject:
        """A network that learned the digits or the ring, by its seed, trained if it is not there; or the exact denoiser."""
        if name == EXACT:
            return Subject(EXACT, self.kernel, "x_0", self.kernel.schedule)
        own: dict[str, Any] = {"grid_every": math.inf, "judge": False, "resume": True, "data": kind}
        steps, folder = self.options.steps * (LONGER if kind == "ring" else 1), self.options.runs / f"{kind}-{name}"
        config = replace(Config(), steps=steps, seed=int(name), out=folder, **own)
        with redirect_stderr(StringIO()):
            loop.fit(config)
        return Subject(name, run.load(folder).model, config.predicts, config.noise_schedule())

    @cached_property
    def reach(self) -> float:
        """The distance within which 95 of 100 held-out digits have a training digit."""
        return float(np.quantile(self.far(self.held_out), 0.95))

    def far(self, x: Tensor) -> np.ndarray:
        """The distance of each picture to the nearest training digit."""
        return torch.cdist(x.flatten(1), self.train).amin(1).numpy()

    def seen(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The classes that the classifier sees, and how sure it is."""
        with torch.no_grad():
            shares = torch.cat([self.judge(part).softmax(1) for part in x.split(500)])
        sure, classes = shares.max(1)
        return classes.numpy(), sure.numpy()

    def looks(self, x: Tensor) -> dict[str, float]:
        """How much pictures look like digits: see `LOOKS`."""
        features = (self.judge.describe(pictures.numpy()) for pictures in (self.held_out, x))
        return {
            "like": float((self.far(x) <= self.reach).mean()),
            "sure": float(self.seen(x)[1].mean()),
            "frechet": metrics.frechet_distance(*features),
        }

    def some(self, n: int) -> Tensor:
        """The places of n held-out digits, spread evenly."""
        return torch.from_numpy(np.linspace(0, len(self.held_out) - 1, n).astype(int))

    def pairs(self, n: int) -> tuple[Tensor, Tensor]:
        """The places of n pairs of held-out digits of different classes."""
        rng = np.random.default_rng(0)
        places = rng.integers(0, len(self.held_out), (20 * n, 2))
        labels = self.labels.numpy()[places]
        first, second = torch.from_numpy(places[labels[:, 0] != labels[:, 1]][:n]).unbind(1)
        return first, second


LONGER = 4
"""So many times as many steps, of a smaller network, are made on the ring."""

POINTS = 2000
"""New points of the ring that the networks are measured with."""

LOOKS = {
    "like": "fraction with a training digit as near as 95 of 100 held-out digits have one",
    "sure": "mean probability that the classifier gives to the class that it sees",
    "frechet": "Fréchet distance to the held-out digits",
}


def noised(x_0: Tensor, t: int, schedule: Schedule, rng: torch.Generator) -> Tensor:
    """Pictures at time t."""
    return diffuse(x_0, torch.randn(x_0.shape, generator=rng), schedule.at(torch.full((len(x_0),), t), like=x_0))


def back(
    subject: Subject,
    x_t: Tensor,
    t: int,
    rng: torch.Generator,
    labels: Tensor | None = None,
    clip: float | None = 1.0,
    sampler: str = "ancestral",
    walk: int = WALK,
) -> Tensor:
    """One draw of x_0 for each picture at time t: the sampler, begun there."""
    options: dict[str, Any] = {"variance": "beta"} if sampler == "ancestral" else {}
    times, count = visited_times(t, min(walk, t)), at_once(tuple(x_t.shape[1:]))
    parts = []
    for begun in range(0, len(x_t), count):
        part = slice(begun, begun + count)
        model = subject.conditioned(None if labels is None else labels[part])
        given = {"times": times, "predicts": subject.predicts, "clip": clip, "start": x_t[part], **options}
        parts.append(sample(model, subject.schedule, tuple(x_t[part].shape), rng, sampler, **given))
    return torch.cat(parts)


@torch.no_grad()
def guess(subject: Subject, x_t: Tensor, t: int, labels: Tensor | None = None) -> Tensor:
    """The predicted x_0, which stands for the mean of all draws."""
    output = subject.conditioned(labels)(x_t, torch.full((len(x_t),), t))
    times = torch.full((len(x_t),), t)
    return PREDICTIONS[subject.predicts].x_0(x_t, output, subject.schedule.at(times, like=x_t))


def square(x: Tensor, y: Tensor) -> float:
    """The mean squared difference per pixel."""
    return ((x - y) ** 2).mean().item()


def fresh(name: str, *numbers: int) -> torch.Generator:
    """Noise of its own for a model and an experiment, the same in every run of the command."""
    seed = 99 if name == EXACT else int(name)
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0]))


# Pictures that are not digits. ---------------------------------------------------------------------------------------

FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")
"""They come with Matplotlib."""


def letters() -> Tensor:
    """The 26 capital letters in three fonts, made as the digits were: drawn on 32x32 squares, of which each 4x4 are counted."""
    return torch.stack([_letter(letter, font) for font in FONTS for letter in string.ascii_uppercase])


def _letter(letter: str, font: str) -> Tensor:
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), letter, size=100, prop=FontProperties(family=font))  # type: ignore[arg-type]
    box = outline.get_extents()
    scale = min(30 / box.height, 24 / box.width)  # digits fill the height, and less of the width
    places = np.stack(np.meshgrid(np.arange(32) + 0.5, 31.5 - np.arange(32)), -1).reshape(-1, 2)
    centre = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2
    parts = [Outline(polygon) for polygon in outline.to_polygons()]  # a hole is inside two of them
    inside = np.sum([part.contains_points((places - 16) / scale + centre) for part in parts], 0) % 2
    counts = inside.reshape(8, 4, 8, 4).sum((1, 3))
    return torch.from_numpy(counts[None] / 8 - 1.0).float()


SEGMENTS = dict(
    zip(
        "0123456789",
        ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg"],
        strict=True,
    )
)
"""The strokes of each digit on a display of seven."""

STROKES: dict[str, tuple[Any, Any]] = {
    "a": (0, slice(2, 6)),
    "b": (slice(0, 4), 5),
    "c": (slice(4, 8), 5),
    "d": (7, slice(2, 6)),
    "e": (slice(4, 8), 2),
    "f": (slice(0, 4), 2),
    "g": (3, slice(2, 6)),
}
"""Where they lie on 8x8 pixels."""


def drawings() -> Tensor:
    """Rough drawings of the ten digits: straight strokes, white on black."""
    pictures = torch.full((10, 1, 8, 8), -1.0)
    for digit, strokes in SEGMENTS.items():
        for stroke in strokes:
            pictures[int(digit), 0][STROKES[stroke]] = 1.0
    return pictures


def static(n: int) -> Tensor:
    """Pictures whose pixels are drawn evenly from the 17 grey levels, each for itself."""
    return torch.randint(0, 17, (n, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 8 - 1.0


# The experiments: each measures one model, and gives its numbers. ----------------------------------------------------


def measure_back(lab: Lab, subject: Subject) -> Results:
    """Pictures noised to t and brought back: held-out digits with their label and without, letters, and noise."""
    some = lab.some(lab.options.pictures)
    held_out = lab.held_out[some]
    kinds: dict[str, tuple[Tensor, Tensor | None]] = {
        "digits, label": (held_out, lab.labels[some]),
        "digits": (held_out, None),
        "letters": (letters(), None),
        "noise": (static(lab.options.pictures // 2), None),
    }
    results: Results = {}
    for number, (kind, (x_0, labels)) in enumerate(kinds.items()):
        figures: dict[str, list[float]] = {}
        for t in TIMES:
            rng = fresh(subject.name, 0, number, t)
            x_t = noised(x_0, t, subject.schedule, rng)
            drawn = back(subject, x_t, t, rng, labels)
            row = {"sample": square(drawn, x_0), "guess": square(guess(subject, x_t, t, labels), x_0)}
            if kind.startswith("digits"):
                nearest = torch.cdist(drawn.flatten(1), lab.held_out.flatten(1)).argmin(1)
                row["same"] = float((lab.seen(drawn)[0] == lab.labels[some].numpy()).mean())
                row["itself"] = (nearest == some).double().mean().item()
            else:
                others = torch.cat([x_0, lab.held_out]).flatten(1)
                nearest = torch.cdist(drawn.flatten(1), others).argmin(1)
                row["itself"] = from_itself(nearest, x_0)
            for name, value in {**row, **lab.looks(drawn)}.items():
                figures.setdefault(name, []).append(value)
        results[kind] = figures
    results["average"] = _averaged(lab, subject)
    return results


def from_itself(nearest: Tensor, x_0: Tensor) -> float:
    """The fraction of pictures whose nearest is the picture that they came from, or a copy of it."""
    flat = x_0.flatten(1)
    ours = nearest < len(flat)
    same = (flat[nearest.clamp(max=len(flat) - 1)] == flat).all(1)
    return (ours & same).double().mean().item()


def _averaged(lab: Lab, subject: Subject) -> dict[str, float]:
    """The error of one draw, of the average of some, and of the prediction, for the same digits at t = MIDDLE."""
    x_0 = lab.held_out[lab.some(lab.options.pictures // 3)]
    rng = fresh(subject.name, 1)
    x_t = noised(x_0, MIDDLE, subject.schedule, rng)
    draws = torch.stack([back(subject, x_t, MIDDLE, rng) for _ in range(AVERAGED)])
    return {
        "sample": ((draws - x_0) ** 2).mean().item(),
        "average": square(draws.mean(0), x_0),
        "guess": square(guess(subject, x_t, MIDDLE), x_0),
    }


def measure_known(lab: Lab, subject: Subject) -> Results:
    """Points of the ring: the error that the exact denoiser has too, and what the network adds."""
    truth, results = mixture.ring(), dict[str, list[float]]()
    points = truth.sample(POINTS, np.random.default_rng(1234)).astype(np.float32)
    x_0, clusters = torch.from_numpy(points), truth.responsibilities(points).argmax(1)
    for t in TIMES:
        rng, step = fresh(subject.name, 2, t), subject.schedule[t]
        x_t = noised(x_0, t, subject.schedule, rng)
        start = truth.posterior(x_t.double().numpy(), step)
        drawn = back(subject, x_t, t, rng, clip=None)
        row = {
            "nature": float(start.var().mean()),
            "guess": square(guess(subject, x_t, t), x_0),
            "fault": square(guess(subject, x_t, t).double(), torch.from_numpy(start.mean())),
            "sample": square(drawn, x_0),
            "same": float((truth.responsibilities(drawn.double().numpy()).argmax(1) == clusters).mean()),
            "exact same": float((start.weights[np.arange(POINTS), clusters]).mean()),
        }
        for name, value in row.items():
            results.setdefault(name, []).append(value)
    return results


def measure_mix(lab: Lab, subject: Subject) -> Results:
    """Two digits of different classes: mixed at time t, and on the arc between their codes."""
    first, second = lab.pairs(lab.options.pictures)
    a, b = lab.held_out[first], lab.held_out[second]
    labels = lab.labels[first].numpy(), lab.labels[second].numpy()

    def figures(x: Tensor) -> dict[str, float]:
        classes = lab.kernel.classes(x).numpy() if subject.name == EXACT else lab.seen(x)[0]
        looks = {} if subject.name == EXACT else lab.looks(x)
        return {
            "first": float((classes == labels[0]).mean()),
            "second": float((classes == labels[1]).mean()),
            **looks,
        }

    def mixed(t: int, weight: float, thin: bool) -> dict[str, float]:
        rng = fresh(subject.name, 3, t, int(100 * weight))
        x_t = mixture_at(a, b, t, weight, subject.schedule, rng, thin)
        return figures(back(subject, x_t, t, rng))

    results: Results = {
        "right": _listed(mixed(t, 0.5, False) for t in FEWER),
        "thin": _listed(mixed(t, 0.5, True) for t in FEWER),
        "weights": _listed(mixed(MIDDLE, weight, False) for weight in WEIGHTS),
    }
    if subject.name == EXACT:
        return results
    codes = [_coded(subject, x) for x in (a, b)]
    arc = [_decoded(subject, interpolate(codes[0], codes[1], weight)) for weight in WEIGHTS]
    results["arc"] = _listed(map(figures, arc))
    results["line"] = figures(_decoded(subject, (codes[0] + codes[1]) / 2))
    results["code"] = {
        "returned": square(arc[0], a),
        "variance": (codes[0] ** 2).mean().item(),
        "half": (((codes[0] + codes[1]) / 2) ** 2).mean().item(),
        "arc": (interpolate(codes[0], codes[1], 0.5) ** 2).mean().item(),
    }
    return results


def mixture_at(
    a: Tensor, b: Tensor, t: int, weight: float, schedule: Schedule, rng: torch.Generator, thin: bool
) -> Tensor:
    """Two pictures, each noised to t, mixed by weights 1 - w and w.

    The mixed noise has (1 - w)^2 + w^2 of the variance that belongs to t; unless ``thin``, as much fresh noise as is
    missing is added.
    """
    x_t = (1 - weight) * noised(a, t, schedule, rng) + weight * noised(b, t, schedule, rng)
    missing = 0.0 if thin else 1 - (1 - weight) ** 2 - weight**2
    return x_t + (missing * schedule[t].noise_var) ** 0.5 * torch.randn(a.shape, generator=rng)


def _coded(subject: Subject, x_0: Tensor) -> Tensor:
    times = visited_times(subject.schedule.T, CODE)
    parts = x_0.split(at_once(tuple(x_0.shape[1:])))
    return torch.cat(
        [encode(subject.model, subject.schedule, x, predicts=subject.predicts, times=times) for x in parts]
    )


def _decoded(subject: Subject, codes: Tensor) -> Tensor:
    return back(subject, codes, subject.schedule.T, torch.Generator(), sampler="ddim", walk=CODE, clip=None).clamp(
        -1, 1
    )


def _listed(rows: Any) -> dict[str, list[float]]:
    rows = list(rows)
    return {name: [row[name] for row in rows] for name in rows[0]}


def measure_between(lab: Lab, subject: Subject) -> Results:
    """Pictures drawn for a class, for two classes at once, and for none."""
    classes, n = lab.dataset.classes, 2 * lab.options.pictures
    pairs = [(c, d) for c in range(classes) for d in range(c)]
    chosen = torch.tensor([pairs[i % len(pairs)] for i in range(n)])
    c, d = chosen.unbind(1)

    def predictions(x_t: Tensor, t: Tensor, where: Tensor) -> Tensor:
        return (subject.model(x_t, t, where[:, 0]) + subject.model(x_t, t, where[:, 1])) / 2

    ways: dict[str, tuple[Subject, Tensor | None]] = {
        "label": (subject, c),
        "none": (subject, None),
        "predictions": (subject._replace(model=predictions), chosen),
    }
    if subject.name != EXACT:
        ways["embedding"] = (
            subject._replace(model=half_way(subject.model, pairs)),
            classes + torch.arange(n) % len(pairs),
        )
    results: Results = {}
    for number, (way, (asked, labels)) in enumerate(ways.items()):
        rng = fresh(subject.name, 4, number)
        x = back(asked, torch.randn((n, 1, 8, 8), generator=rng), subject.schedule.T, rng, labels)
        seen = lab.kernel.classes(x).numpy() if subject.name == EXACT else lab.seen(x)[0]
        results[way] = {
            "first": float((seen == c.numpy()).mean()),
            "second": float((seen == d.numpy()).mean()),
            "shares": (np.bincount(seen, minlength=classes) / n).tolist(),
            **({} if subject.name == EXACT else lab.looks(x)),
        }
    return results


def half_way(model: Any, pairs: Sequence[tuple[int, int]]) -> nn.Module:
    """The network with a further class for each pair, whose embedding is the mean of the two."""
    copied = deepcopy(model)
    rows = copied.condition.label.weight.detach()  # the first row is that of no class
    halves = torch.stack([(rows[c + 1] + rows[d + 1]) / 2 for c, d in pairs])
    copied.condition.label = nn.Embedding.from_pretrained(torch.cat([rows, halves]))
    return copied


def measure_edit(lab: Lab, subject: Subject) -> Results:
    """Rough drawings of digits noised to t and brought back, with the label that is meant and without."""
    count = lab.options.pictures // 10
    x_0, labels = drawings().repeat(count, 1, 1, 1), torch.arange(10).repeat(count)
    results: Results = {}
    for number, (kind, given) in enumerate({"label": labels, "no label": None}.items()):
        rows = []
        for t in FEWER:
            rng = fresh(subject.name, 5, number, t)
            drawn = back(subject, noised(x_0, t, subject.schedule, rng), t, rng, given)
            meant = float((lab.seen(drawn)[0] == labels.numpy()).mean())
            rows.append({"meant": meant, "apart": square(drawn, x_0), **lab.looks(drawn)})
        results[kind] = _listed(rows)
    return results


def measure_clip(lab: Lab, subject: Subject) -> Results:
    """Samples with the predicted x_0 clipped at every step, and only the last; with an error added to what is predicted."""
    n, classes = lab.options.pictures, lab.dataset.classes
    labels, schedule = torch.arange(n) % classes, subject.schedule
    results: Results = {"each": {}, "end": {}}
    for number, (what, error) in enumerate(ERRORS):
        asked = spoilt(subject, what, error) if error else subject
        for way, clip in {"each": 1.0, "end": None}.items():
            rng = fresh(subject.name, 6, number)
            x = back(asked, torch.randn((n, 1, 8, 8), generator=rng), schedule.T, rng, labels, clip=clip)
            row = {"outside": float((x.abs() > 1.1).double().mean()), **lab.looks(x.clamp(-1, 1))}
            for name, value in row.items():
                results[way].setdefault(name, []).append(value)
    return results


def spoilt(subject: Subject, predicts: str, error: float) -> Subject:
    """The model with a number added to all that it predicts, as noise or as velocity."""

    def model(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        step = subject.schedule.at(t, like=x_t)
        x_0 = guess(subject, x_t, int(t[0]), labels)
        noise = predict_noise(x_t, x_0, step)
        return PREDICTIONS[predicts].target(x_0, noise, step) + error

    return subject._replace(model=model, predicts=predicts)


# What is run. --------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """An experiment: its measurement, what the networks have learned, and whether the exact denoiser is measured too."""

    measure: Callable[[Lab, Subject], Results]
    kind: str = "digits"
    exact: bool = False


PARTS = {
    "back": Part(measure_back, exact=True),
    "known": Part(measure_known, "ring"),
    "mix": Part(measure_mix, exact=True),
    "between": Part(measure_between, exact=True),
    "edit": Part(measure_edit),
    "clip": Part(measure_clip),
}
"""The experiments by their names."""


def experiment(options: Options) -> Results:
    """Measure everything that is asked for and not in the results already; gives all results."""
    results = _load(options)
    if not options.parts:
        return results
    lab = Lab(options)
    results.setdefault("floors", floors(lab))
    save(options.out, results)
    for key, measure in _jobs(lab):
        if key not in results["runs"]:
            results["runs"][key] = _short(measure())
            save(options.out, results)
            print(key, flush=True)
    if not (options.out / PICTURES).is_file():
        shown = {name: from_unit_range(x.numpy()) for name, x in pictures(lab).items()}
        write(options.out / PICTURES, lambda file: np.savez_compressed(file, **shown))  # type: ignore[arg-type]
    return results


def _jobs(lab: Lab) -> Iterator[tuple[str, Callable[[], Results]]]:
    """What there is to measure, by name; the networks are trained when they are needed."""
    for seed in (*map(str, range(lab.options.seeds)), EXACT):
        for name in lab.options.parts:
            part = PARTS[name]
            if seed != EXACT or part.exact:
                yield (
                    f"{name}/{seed}",
                    lambda part=part, seed=seed: part.measure(lab, lab.subject(part.kind, seed)),  # type: ignore[misc]
                )


def floors(lab: Lab) -> Results:
    """The same figures of pictures that no model has touched: real digits, and what the experiments begin with."""
    first, second = lab.pairs(lab.options.pictures)
    average = (lab.held_out[first] + lab.held_out[second]) / 2
    labels = lab.labels.numpy()
    seen = lab.seen(average)[0]
    spread = (lab.held_out - torch.from_numpy(lab.dataset.train.mean(0))) ** 2
    strangers = square(lab.held_out[first], lab.held_out[second])
    few = torch.from_numpy(lab.dataset.train[np.linspace(0, len(lab.train) - 1, lab.options.pictures).astype(int)])
    return {
        "variance": lab.kernel.var,
        "accuracy": float((lab.seen(lab.held_out)[0] == labels).mean()),
        "mean picture": spread.mean().item(),
        "strangers": strangers,
        "training digits": lab.looks(few),
        "held-out digits": lab.looks(lab.held_out),
        "letters": lab.looks(letters()),
        "noise": lab.looks(static(lab.options.pictures)),
        "pixel average": {
            **lab.looks(average),
            "first": float((seen == labels[first]).mean()),
            "second": float((seen == labels[second]).mean()),
        },
        "drawings": {
            **lab.looks(drawings()),
            "meant": float((lab.seen(drawings())[0] == np.arange(10)).mean()),
        },
    }


def pictures(lab: Lab) -> dict[str, Tensor]:
    """The pictures that the page shows, all of the first network: shape (rows, columns, 8, 8)."""
    subject = lab.subject("digits", "0")
    rng = fresh("0", 7)
    one = [int((lab.labels == digit).nonzero()[0]) for digit in range(10)]

    def returned(x_0: Tensor, times: Sequence[int]) -> Tensor:
        rows = [x_0] + [back(subject, noised(x_0, t, subject.schedule, rng), t, rng) for t in times]
        return torch.stack(rows, 1)[:, :, 0]

    shown = torch.cat([lab.held_out[[one[3], one[8]]], letters()[[0, 10]], static(1)])
    a, b = lab.held_out[one[3]].expand(5, 1, 8, 8), lab.held_out[one[8]].expand(5, 1, 8, 8)
    share = torch.tensor(WEIGHTS)[:, None, None, None]
    rows = [(1 - share) * a + share * b]
    for t in (200, 500, 800):
        steady = torch.randn((1, 1, 8, 8), generator=rng)  # one noise for all weights, as DDPM has it
        times = torch.full((5,), t)
        x_t = diffuse(rows[0], steady.expand(5, 1, 8, 8), subject.schedule.at(times, like=a))
        rows.append(back(subject, x_t, t, rng))
    codes = _coded(subject, a[:1]), _coded(subject, b[:1])
    rows.append(torch.cat([_decoded(subject, interpolate(codes[0], codes[1], weight)) for weight in WEIGHTS]))
    pairs = [(3, 8), (4, 9), (1, 7)]
    ends = torch.randn((15, 1, 8, 8), generator=rng)
    asked = torch.arange(15) // 5
    chosen = torch.tensor(pairs)[asked]

    def predictions(x_t: Tensor, t: Tensor, where: Tensor) -> Tensor:
        return (subject.model(x_t, t, where[:, 0]) + subject.model(x_t, t, where[:, 1])) / 2

    T = subject.schedule.T
    ways = [
        back(subject._replace(model=half_way(subject.model, pairs)), ends, T, rng, 10 + asked),
        back(subject._replace(model=predictions), ends, T, rng, chosen),
    ]
    return {
        "back": returned(shown, (200, 400, 600, 800, 1000)),
        "mix": torch.stack(rows)[:, :, 0],
        "between": torch.cat([way.reshape(3, 5, 8, 8) for way in ways], 1),
        "edit": returned(drawings(), (200, 400, 600, 800)).transpose(0, 1),
    }


def _short(value: Any) -> Any:
    """The same with every number to five digits."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short(part) for part in value]
    return float(f"{value:.5g}")


def _load(options: Options) -> Results:
    """The results so far.

    Raises:
        ValueError: when they were made with other settings.
    """
    config = replace(Config(), steps=options.steps).saved()
    settings = {name: value for name, value in config.items() if name not in (*FREE, "seed")}
    settings |= {"pictures": options.pictures}
    if not (options.out / RESULTS).is_file():
        options.out.mkdir(parents=True, exist_ok=True)
        return {"settings": settings, "runs": {}}
    results = load(options.out)
    check_same(results["settings"], settings, options.out)
    return results


def load(folder: Path) -> Results:
    """What has been measured: the settings, the floors, and the figures of every experiment and model."""
    return load_results(folder, "model", ("settings", "runs"))


def load_pictures(folder: Path) -> dict[str, np.ndarray]:
    """The pictures that are shown, shape (rows, columns, 8, 8), uint8."""
    with np.load(folder / PICTURES) as file:
        return dict(file)


# The tables. ---------------------------------------------------------------------------------------------------------


def over_networks(results: Results, part: str, *keys: str) -> np.ndarray:
    """A figure of every network, the first axis being that of the networks; the second is mostly that of the times."""
    found = []
    for run_key in sorted(key for key in results["runs"] if key.startswith(f"{part}/") and not key.endswith(EXACT)):
        value = results["runs"][run_key]
        for key in keys:
            value = value[key]
        found.append(value)
    return np.array(found)


def exactly(results: Results, part: str, *keys: str) -> np.ndarray:
    """The same of the exact denoiser."""
    value = results["runs"].get(f"{part}/{EXACT}", {})
    for key in keys:
        value = value[key]
    return np.array(value)


def _cells(values: np.ndarray, digits: int = 3, share: bool = False) -> list[str]:
    """Mean and standard deviation over the networks, one cell for each column; of shares in percent."""
    values = np.atleast_2d(values.T).T if values.ndim == 1 else values
    scaled, places = (100 * values, 0) if share else (values, digits)
    means, sds = scaled.mean(0), scaled.std(0, ddof=1) if len(values) > 1 else 0 * scaled.mean(0)
    unit = " %" if share else ""
    return [f"{mean:.{places}f} ± {sd:.{places}f}{unit}" for mean, sd in zip(means, sds, strict=True)]


def _plain(values: np.ndarray, digits: int = 3, share: bool = False) -> list[str]:
    return [f"{100 * value:.0f} %" if share else f"{value:.{digits}f}" for value in np.atleast_1d(values)]


def _by_time(times: Sequence[int], columns: Mapping[str, Sequence[str]]) -> str:
    rows = zip(map(str, times), *columns.values(), strict=True)
    return table(["t:", *(f"{name}:" for name in columns)], rows)


def returned_table(results: Results) -> str:
    """Held-out digits noised to t and brought back."""
    return _by_time(
        TIMES,
        {
            "one draw, label": _cells(over_networks(results, "back", "digits, label", "sample")),
            "one draw": _cells(over_networks(results, "back", "digits", "sample")),
            "guess": _cells(over_networks(results, "back", "digits", "guess")),
            "guess of the mixture": _plain(exactly(results, "back", "digits", "guess")),
            "same digit, label": _cells(over_networks(results, "back", "digits, label", "same"), share=True),
            "same digit": _cells(over_networks(results, "back", "digits", "same"), share=True),
            "nearest is itself": _cells(over_networks(results, "back", "digits", "itself"), share=True),
        },
    )


def known_table(results: Results) -> str:
    """Points of the ring: the error of the exact denoiser, and what the networks add."""
    return _by_time(
        TIMES,
        {
            "exact": _plain(over_networks(results, "known", "nature").mean(0), 4),
            "network": _cells(over_networks(results, "known", "guess"), 4),
            "added": _cells(over_networks(results, "known", "fault"), 4),
            "same cluster, exact": _plain(over_networks(results, "known", "exact same").mean(0), share=True),
            "same cluster, network": _cells(over_networks(results, "known", "same"), share=True),
        },
    )


def strange_table(results: Results) -> str:
    """Letters and pictures of noise, noised to t and brought back."""
    columns: dict[str, Sequence[str]] = {}
    for kind in ("letters", "noise"):
        columns |= {
            f"{kind}: like a digit": _cells(over_networks(results, "back", kind, "like"), share=True),
            f"{kind}: nearest is itself": _cells(over_networks(results, "back", kind, "itself"), share=True),
        }
    return _by_time(TIMES, columns)


def mixed_table(results: Results) -> str:
    """Two digits of different classes, half and half."""

    def either(*keys: str) -> np.ndarray:
        return over_networks(results, "mix", *keys, "first") + over_networks(results, "mix", *keys, "second")

    def row(name: str, shares: str, *cells: list[str]) -> list[str]:
        return [name, shares, *(cell for of in cells for cell in of)]

    average, real = results["floors"]["pixel average"], results["floors"]["training digits"]
    rows = []
    for noise in ("right", "thin"):
        seen = _cells(either(noise), share=True)
        sure, far = (_cells(over_networks(results, "mix", noise, of), 2) for of in ("sure", "frechet"))
        rows += [row(f"mixed at t = {t}, {noise} noise", seen[i], [sure[i]], [far[i]]) for i, t in enumerate(FEWER)]
    ends = [over_networks(results, "mix", "weights", of)[:, [0, -1]].mean(1) for of in ("sure", "frechet")]
    rows.append([f"a digit from t = {MIDDLE}, not mixed", "", *(_cells(of, 2)[0] for of in ends)])
    half = WEIGHTS.index(0.5)
    arc = [over_networks(results, "mix", "arc", of)[:, half] for of in ("first", "second", "sure", "frechet")]
    line = [over_networks(results, "mix", "line", of) for of in ("first", "second", "sure", "frechet")]
    for name, (first, second, sure_of, far_of) in {"half-way on the arc": arc, "half-way on the line": line}.items():
        rows.append(row(name, _cells(first + second, share=True)[0], _cells(sure_of, 2), _cells(far_of, 2)))
    seen_average = f"{100 * (average['first'] + average['second']):.0f} %"
    rows.append(row("*average of the pixels*", seen_average, [f"{average['sure']:.2f}"], [f"{average['frechet']:.2f}"]))
    rows.append(row("*training digits*", "", [f"{real['sure']:.2f}"], [f"{real['frechet']:.2f}"]))
    return table(["half and half", "one of the two:", "sure:", "Fréchet distance:"], rows)


def between_table(results: Results) -> str:
    """Samples for a class, for two at once, and for none."""
    names = {
        "label": "one label",
        "embedding": "mean of two embeddings",
        "predictions": "mean of two predictions",
        "none": "no label",
    }
    rows = []
    for way, name in names.items():
        first, second, sure, far = (
            over_networks(results, "between", way, of) for of in ("first", "second", "sure", "frechet")
        )
        cells = [_cells(first, share=True)[0], _cells(second, share=True)[0]] if way != "none" else ["", ""]
        other = _cells(1 - first - second, share=True)[0] if way in ("embedding", "predictions") else ""
        # Single labels come in other proportions than the digits do: their Fréchet distance would say little.
        rows.append([name, *cells, other, _cells(sure, 2)[0], "" if way == "label" else _cells(far, 2)[0]])
    average, real = results["floors"]["pixel average"], results["floors"]["training digits"]
    shares = [f"{100 * average[of]:.0f} %" for of in ("first", "second")]
    rest = f"{100 * (1 - average['first'] - average['second']):.0f} %"
    rows.append(
        ["*average of two digits' pixels*", *shares, rest, f"{average['sure']:.2f}", f"{average['frechet']:.2f}"]
    )
    rows.append(["*training digits*", "", "", "", f"{real['sure']:.2f}", f"{real['frechet']:.2f}"])
    return table(["drawn for", "first:", "second:", "another:", "sure:", "Fréchet distance:"], rows)


def edited_table(results: Results) -> str:
    """Rough drawings noised to t and brought back."""
    columns: dict[str, Sequence[str]] = {}
    for kind, title in (("label", "label"), ("no label", "no label")):
        columns |= {
            f"{title}: from the drawing": _cells(over_networks(results, "edit", kind, "apart"), 2),
            f"{title}: digit that is meant": _cells(over_networks(results, "edit", kind, "meant"), share=True),
            f"{title}: Fréchet distance": _cells(over_networks(results, "edit", kind, "frechet"), 2),
        }
    return _by_time(FEWER, columns)


def clipped_table(results: Results) -> str:
    """Samples with the guess clipped at every step or only at the end, and with an error added to the noise."""
    rows = []
    for i, (what, error) in enumerate(ERRORS):
        cells = [f"{error:g} in the {what}" if error else "none"]
        for way in ("each", "end"):
            cells += [
                _cells(over_networks(results, "clip", way, "frechet")[:, i : i + 1], 3)[0],
                _cells(over_networks(results, "clip", way, "outside")[:, i : i + 1], share=True)[0],
            ]
        rows.append(cells)
    head = ["error", "every step:", "outside:", "only the end:", "outside:"]
    return table(head, rows)


TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "returned": ("back", returned_table),
    "known": ("known", known_table),
    "strange": ("back", strange_table),
    "mixed": ("mix", mixed_table),
    "between": ("between", between_table),
    "edited": ("edit", edited_table),
    "clipped": ("clip", clipped_table),
}
"""The tables, by their names on a page, and the experiments that they show."""


def tables(results: Results) -> dict[str, str]:
    """All of them, by the names that they have on a page."""
    kinds = {name: shown for name, (part, shown) in TABLES.items() if f"{part}/0" in results["runs"]}
    return as_tables(kinds, results)


# The command. --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    options = tyro.cli(Options, prog="python -m tinyddpm.experiments.model", args=arguments)

    def work() -> None:
        with one_thread():  # networks this small gain little from more, and the sums stay the same
            show(tables(experiment(options.check())), options.page)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
