"""A run on disk: a folder with the choices, the state, the log and samples. Each file is whole or absent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from ..files import write
from ..forward import check_name
from . import Model, guided, sample_path
from .config import CHOICES, FREE, Config, check_seed
from .unet import MLP, UNet, levels

CONFIG, LAST, BEST, LOG = "config.json", "last.safetensors", "best.safetensors", "log.jsonl"

UNET = ("width", "levels", "blocks", "T", "norm", "time", "skips", "attention")
"""The choices that the network takes as they are."""

STEPS = 20
"""How many times are visited if nobody says: on digits, more did not make the samples better."""

AT_ONCE, PIXELS = 500, 500 * 16**2
"""How many samples are made at a time, and of how many pixels at most, to save memory."""


def at_once(shape: tuple[int, ...]) -> int:
    """How many samples of this shape are made at a time."""
    return max(1, min(AT_ONCE, PIXELS // math.prod(shape[1:])))


@dataclass(frozen=True)
class Run:
    """A folder, the choices made, what the data was like and how often each class was in it, and the averaged network."""

    path: Path
    config: Config
    shape: tuple[int, ...]
    counts: tuple[int, ...]
    model: nn.Module

    def states(
        self,
        n: int,
        rng: torch.Generator,
        labels: torch.Tensor | None = None,
        sampler: str = "second_order",
        steps: int | None = None,
        guidance: float = 0.0,
        **options: Any,
    ) -> Iterator[torch.Tensor]:
        """The states of n samples on their way from noise; of a run with classes, of these."""
        if not math.isfinite(guidance):
            raise ValueError(f"guidance must be a finite number, got {guidance}")
        if guidance and (labels is None or not self.config.label_dropout):
            raise ValueError(
                f"guidance must be 0 for a run that was told no classes, or always told them, got {guidance}"
            )
        if sampler != "ancestral" and "variance" in options:
            raise ValueError(f"sampler must be ancestral where a variance is given, got {sampler!r}")
        if sampler != "ddim" and options.get("eta"):
            raise ValueError(f"sampler must be ddim where an eta is given, got {sampler!r}")
        model = self.model if labels is None else guided(self.model, labels.to(rng.device), guidance)
        learned = self.config.learned_variance
        options = {"variance": "learned" if learned else "posterior", "clip": 1.0 if self.pictures else None, **options}
        if options["variance"] == "learned" and not learned:
            raise ValueError("variance must be beta or posterior for a run that has not learned one, got 'learned'")
        asked = model if options["variance"] == "learned" else prediction(model, self.shape[0])
        schedule, predicts = self.config.noise_schedule(), self.config.predicts
        steps = min(STEPS, schedule.T) if steps is None else steps
        return sample_path(asked, schedule, (n, *self.shape), rng, sampler, steps, predicts=predicts, **options)

    def sample(self, n: int, seed: int, label: int | None = None, **options: Any) -> np.ndarray:
        """Samples, shape (n, channels, height, width), in [-1, 1]; or points, shape (n, dimensions)."""
        rng, labels, parts = self.generator(seed), self.labels(n, label), []
        count = at_once(self.shape)
        for done in range(0, n, count):  # each part begins with noise of its own
            part = None if labels is None else labels[done : done + count]
            *_, x_0 = self.states(min(count, n - done), rng, part, **options)
            parts.append(x_0)
        return self._finished(torch.cat(parts))

    def watch(self, n: int, seed: int, label: int | None = None, **options: Any) -> Iterator[np.ndarray]:
        """Every state of n samples on their way, as `sample` gives the last one."""
        return (self._finished(x) for x in self.states(n, self.generator(seed), self.labels(n, label), **options))

    def labels(self, n: int, label: int | None = None) -> torch.Tensor | None:
        """One class for n samples, or if none is asked for, all in turn, each as often as in the data; None without any."""
        if label is not None and not 0 <= label < len(self.counts):
            last = len(self.counts) - 1
            allowed = f"lie in 0..{last}" if self.counts else "not be given: the run is not conditional"
            raise ValueError(f"label must {allowed}, got {label}")
        if label is not None or not self.counts:
            return None if label is None else torch.full((n,), label)
        shares = np.cumsum(self.counts) / sum(self.counts)
        return torch.from_numpy(np.searchsorted(shares, (np.arange(n) + 0.5) / n))

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


def network(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that a config asks for, for data of this shape."""
    answers = 2 if config.learned_variance else 1
    if len(shape) == 1:
        return MLP(shape[0], 4 * config.width, T=config.T, classes=classes, time=config.time, answers=answers)
    chosen = {name: getattr(config, name) for name in UNET}
    halved = 2 ** ((config.levels or 1) - 1)
    if any(edge % halved for edge in shape[1:]):
        size = "x".join(map(str, shape[1:]))
        raise ValueError(
            f"levels must be fewer for pictures of {size}, which halve to whole pixels, got {config.levels}"
        )
    chosen |= {"levels": config.levels or levels(*shape[1:]), "dropout": config.dropout or 0.0, "shift": config.moves}
    return UNet(shape[0], classes=classes, answers=answers, **chosen)


def prediction(model: Model, channels: int) -> Model:
    """The model without what it says of the variance, if it says anything: the first half of its answer."""
    return lambda x_t, t: model(x_t, t)[:, :channels]


def create(config: Config, facts: dict[str, Any]) -> Path:
    """The folder of a new run, with its choices in it and the facts of the data; or of the one to be resumed.

    Raises:
        ValueError: when the folder is taken, or holds a run with other choices or other data.
    """
    path = config.out or _numbered(Path(config.data).stem)
    path.mkdir(parents=True, exist_ok=True)
    if not config.resume and any(path.iterdir()):
        raise ValueError(f"out must be a new or an empty folder, got {str(path)!r}; --resume goes on with a run")
    if not (path / CONFIG).is_file():
        write_json(path / CONFIG, {"config": config.saved(), "data": facts})
    before, known = read_config(path)
    was, now = {**before.saved(), "data": known}, {**config.saved(), "data": facts}
    for name in was:
        if name not in FREE and was[name] != now[name]:
            raise ValueError(f"{name} must stay {was[name]!r}, as in the run {str(path)!r}, got {now[name]!r}")
    for left in (left for name in (LAST, BEST) for left in path.glob(f".{name}.*.part")):
        left.unlink(missing_ok=True)  # of a run that was killed while it saved
    return path


def _numbered(name: str) -> Path:
    """A new folder in runs, with a number that no other has."""
    Path("runs").mkdir(exist_ok=True)
    for number in count(1):
        path = Path("runs") / f"{name}-{number}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise AssertionError


def read_config(path: Path) -> tuple[Config, dict[str, Any]]:
    """The choices of a run, and the facts of its data."""
    try:
        saved = json.loads((path / CONFIG).read_text("utf-8"))
        return Config.of(saved["config"]), saved["data"]
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{str(path / CONFIG)!r} is not the config of a run: {problem}") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as `write` does."""
    write(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def save(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint: all of it in one file, so that what is in it always belongs together.

    Raises:
        OSError: when it cannot be written; the one before it is kept then.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = safetensors.torch.save(tensors, metadata={"state": json.dumps(state)})
    write(path, lambda file: file.write(content))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save` wrote. Only numbers and JSON are read, so that no file can run code.

    Raises:
        ValueError: when the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["state"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{str(path)!r} is damaged: {problem}; resume from a copy of it, or begin anew") from None


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], prefix: str, file: str) -> None:
    """Give a model the numbers that a file has for it, under names that begin with a prefix.

    Raises:
        ValueError: when they are those of another network.
    """
    try:
        model.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in model.state_dict()})
    except (KeyError, RuntimeError) as problem:
        raise ValueError(f"{file} does not belong to its config: {problem}") from None


def device_of(kind: str) -> torch.device:
    """The device of a name: "auto" is the GPU if there is one.

    Raises:
        ValueError: when there is no such device here.
    """
    check_name("device", kind, CHOICES["device"])
    cuda = torch.cuda.is_available()
    if kind == "cuda" and not cuda:
        raise ValueError("device must be cpu or auto here: PyTorch finds no GPU")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda and kind != "cpu" else torch.device("cpu")


def load(path: Path | str, best: bool = False, device: str = "cpu") -> Run:
    """A run from its folder, as it was saved last, or when it was at its best on held-out data.

    Raises:
        ValueError: when there is none, naming those that there are.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        near = (
            *path.glob(f"*/{CONFIG}"),
            *path.parent.glob(f"*/{CONFIG}"),
            *Path("runs").glob(f"*/{CONFIG}"),
        )
        known = ", ".join(sorted({str(found.parent) for found in near})) or "none here"
        raise ValueError(f"run must be the folder of a run, got {str(path)!r}; there are: {known}")
    weights = path / (BEST if best else LAST)
    if not weights.is_file():
        why = "nothing was held out, or it was" if best else "it was"
        raise ValueError(f"run {str(path)!r} has no {weights.name}: {why} stopped before its first save")
    config, facts = read_config(path)
    shape, counts = tuple(facts["shape"]), tuple(facts["classes"])
    tensors, _ = read(weights)
    with torch.random.fork_rng([]):  # its first weights are replaced at once, and the numbers for them put back
        model = network(config, shape, len(counts))
    fill(model, tensors, "average", repr(str(weights)))
    return Run(path, config, shape, counts, model.to(device_of(device)).eval())
