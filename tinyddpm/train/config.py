"""What can be chosen for a run, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from .. import forward
from ..data import CONDITIONS, check_data
from ..door import check_name
from ..forward import PREDICTIONS, Schedule

CHOICES: dict[str, Collection[str]] = {
    "schedule": forward.SCHEDULES,
    "predicts": PREDICTIONS,
    "times": ("stratified", "uniform", "importance"),
    "loss": ("mean", "sum"),
    "weighting": ("equal", "min_snr", "bound"),
    "optimiser": ("adam", "adamw", "lamb", "sgd"),
    "norm": ("group", "layer", "instance", "batch"),
    "time": ("sinusoidal", "learned"),
    "skips": ("concatenate", "add"),
    "conditional": CONDITIONS,
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "float32", "bfloat16"),
}
"""What may be chosen, where it is one of a few words."""

FREE = ("out", "resume", "device", "compile", "save_every", "grid_every", "judge")
"""What may change when a run is resumed: where and how it runs, not what it learns."""


def one_of(words: str, choices: Collection[str], more: str = "") -> Doc:
    """The help of an option that is one of a few words."""
    return Doc(f"{words}: {', '.join(choices)}{more}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")


def check_lowest(options: Any, **lowest: int) -> None:
    """Refuse an option below the lowest value that it can have; None is no value."""
    for name, low in lowest.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


@dataclass(frozen=True)
class Config:
    """Train a small network to make pictures or points, draw samples from it and report.

    A run stopped by its clock (--seconds) is never quite the same twice; with a number of steps (--steps) the
    same seed gives the same weights, bit for bit, on the same machine's CPU. Started by torchrun, the same command
    trains in several processes, each on a part of every batch.
    """

    data: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, two_classes, ring, moons, rings, swiss_roll, an .npz, or a folder"""
    held_out: float = 0.0
    """share of a file or folder that is not trained on; the others have a part of their own for that"""
    seconds: float = 60.0
    """how long to train, all sittings together; the learning rate falls to 0 over this time"""
    steps: int | None = None
    """how many steps to train; if given, the clock is not looked at"""
    seed: int = 0
    """for the first weights, the noise and the samples"""
    out: Path | None = None
    """folder of the run; if not given, a new numbered one in runs"""
    resume: bool = False
    """go on where the run in --out stopped, or begin it if it is not there"""
    save_every: float = 10.0
    """seconds between two saves: no more than this is lost when a run is killed"""
    grid_every: float = 60.0
    """seconds between two pictures of samples on the way"""
    judge: bool | None = None
    """--judge or --no-judge: whether to measure the samples at the end, as `tinyddpm judge` does; if not given, those of digits and points, where it is soon done"""

    T: int = 1000
    """how many noise steps"""
    schedule: Annotated[str, one_of("noise schedule", CHOICES["schedule"])] = "cosine"
    zero_terminal_snr: bool = False
    """rescale the schedule so that nothing of a picture is left at T; not for noise prediction"""
    predicts: Annotated[str, one_of("what the network predicts", CHOICES["predicts"])] = "velocity"
    times: Annotated[str, one_of("how a batch's times are drawn", CHOICES["times"])] = "stratified"
    loss: Annotated[str, one_of("mean square, or the sum of squares, the squared norm", CHOICES["loss"])] = "mean"
    weighting: Annotated[str, one_of("how much the loss of a time counts", CHOICES["weighting"])] = "equal"
    learned_variance: bool = False
    """let the network say the variance of a step too"""

    batch: int = 128
    """how many pictures in a step"""
    accumulate: int = 1
    """in how many parts a batch is gone through, to save memory"""
    optimiser: Annotated[str, one_of("optimiser", CHOICES["optimiser"])] = "adam"
    lr: float = 2e-3
    """learning rate at its highest"""
    warm_up: int = 50
    """over how many steps the learning rate rises"""
    clip: float = 1.0
    """largest norm of a gradient; inf for any"""
    ema: float | None = None
    """how much of the average of the weights is kept in a step; if not given, the last tenth of them is averaged"""
    flip: bool | None = None
    """--flip or --no-flip: whether to mirror half of the pictures; if not given, where the dataset allows it"""
    shift: int | None = None
    """pixels that pictures are moved by at most, three of four of them, and the network is told; 0 for none; if not given, 1, of no pictures at first and of more and more, up to three of four, as they are seen again and again"""

    width: int = 32
    """channels of the network at full size, a multiple of 8; for points, a quarter of its width"""
    levels: int | None = None
    """how many sizes the network sees a picture in; if not given, it is halved down to 4 pixels, while halves are whole"""
    blocks: int = 1
    """residual blocks at each size"""
    norm: Annotated[
        str, one_of("what channels are normalised over", CHOICES["norm"], "; batch not for a batch in parts")
    ] = "group"
    time: Annotated[str, one_of("embedding of the times", CHOICES["time"])] = "sinusoidal"
    skips: Annotated[str, one_of("how the way up meets the way down", CHOICES["skips"])] = "concatenate"
    attention: bool = True
    """whether places look at each other, at the smallest size"""
    dropout: float | None = None
    """share of a block's numbers that are left out in training; if not given, 0.05 more for each 200 times that pictures were seen, up to 0.2"""
    conditional: str | None = None
    """what the network is told of a picture: labels, clusters (groups of like pictures), nothing; if not given, labels where there are some, else clusters, and nothing of points"""
    label_dropout: float = 0.1
    """share of the labels that are hidden, for guidance"""

    device: str = "auto"
    """auto, cpu, cuda: auto takes the GPU if there is one"""
    precision: str = "auto"
    """of the network: auto, float32, bfloat16; auto trains in bfloat16 where it pays: on a GPU or CPU that has it, there for pictures above 16x16. Samples are drawn in float32, on a GPU by way of TF32; with float32 all its digits count, in training and afterwards"""
    compile: bool = False
    """compile the network, and only that, not the whole step; on a GPU with CUDA graphs: worth a minute's wait in a long run"""

    def check(self) -> Config:
        """Refuse what cannot be run, before anything is computed or written; gives the config back.

        Raises:
            ValueError: naming the field, what it was and what is allowed.
        """
        check_data(self.data)
        return self.check_choices()

    def check_choices(self) -> Config:
        """`check`, but for the data: a run can be sampled after they have gone."""
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) is not None:
                check_name(name, value, allowed)
        check_seed(self.seed)
        self.noise_schedule()
        check_lowest(self, steps=1, batch=1, accumulate=1, warm_up=0, shift=0, levels=1, blocks=1)
        for name in ("seconds", "lr", "clip", "save_every", "grid_every"):
            value = getattr(self, name)
            if not value > 0 or (value == math.inf and name in ("seconds", "lr")):
                raise ValueError(f"{name} must be a number above 0, got {value}")
        for name in ("held_out", "ema", "dropout", "label_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {value}")
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width must be a multiple of 8, got {self.width}")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate must divide the batch of {self.batch}, got {self.accumulate}")
        if self.zero_terminal_snr and self.predicts == "noise":
            raise ValueError(
                "predicts must be x_0 or velocity with zero_terminal_snr: at T, noise tells nothing of x_0"
            )
        if self.learned_variance and (self.weighting != "equal" or self.T < 2):
            raise ValueError(
                "weighting must be equal with learned_variance, and T at least 2: the bound is in the loss already"
            )
        if self.resume and self.out is None:
            raise ValueError("resume needs out, the folder of the run")
        return self

    @property
    def max_shift(self) -> int:
        """By how many pixels a picture can be moved."""
        return 1 if self.shift is None else self.shift

    def noise_schedule(self) -> Schedule:
        """The noise schedule that is asked for."""
        schedule = forward.schedule(self.schedule, self.T)
        return forward.zero_terminal_snr(schedule) if self.zero_terminal_snr else schedule

    def saved(self) -> dict[str, Any]:
        """As it is written beside a run."""
        return {**asdict(self), "out": None if self.out is None else str(self.out)}

    @classmethod
    def of(cls, saved: dict[str, Any]) -> Config:
        """The config that `saved` wrote.

        Raises:
            ValueError: when it has fields that this version does not know, or values that it does not allow.
        """
        try:
            return cls(**{**saved, "out": None if saved["out"] is None else Path(saved["out"])}).check_choices()
        except (TypeError, KeyError) as problem:
            raise ValueError(f"the config was not written by this version: {problem}") from None
