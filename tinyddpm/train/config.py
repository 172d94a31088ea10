"""The options of a run, and what each may be."""

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
"""The allowed values of each option that is one of a few words."""

LABELS = ("proportional", "random")
"""How the classes of samples are chosen: in turn, each as often as in the data; or each by itself, at random."""

FREE = ("out", "resume", "device", "compile", "save_every", "grid_every", "judge")
"""The options that may change when a run is resumed: they say where and how it runs, not what it learns."""


def one_of(words: str, choices: Collection[str], more: str = "") -> Doc:
    """The help text of an option that is one of a few words."""
    return Doc(f"{words}: {', '.join(choices)}{more}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")


def check_lowest(options: Any, **lowest: int) -> None:
    """Refuse an option below its lowest allowed value; None is always allowed."""
    for name, low in lowest.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


@dataclass(frozen=True)
class Config:
    """Train a small network to make pictures or points, draw samples from it and report.

    With --steps, the same seed gives the same weights, bit for bit, on the CPU of the same machine. With --seconds, the
    number of steps depends on how fast the machine is, so two runs differ. Started by torchrun, the same
    command trains in several processes, each on a part of every batch.
    """

    data: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, two_classes, ring, moons, rings, swiss_roll, an .npz, or a folder"""
    held_out: float = 0.0
    """fraction of a file or folder that is held out from training; the built-in datasets have a held-out part already"""
    seconds: float = 60.0
    """how long to train, earlier parts of a resumed run included; the learning rate falls to 0 over this time"""
    steps: int | None = None
    """how many steps to train; if given, --seconds is ignored"""
    seed: int = 0
    """seed of the first weights, the noise and the samples"""
    out: Path | None = None
    """folder of the run; if not given, a new numbered folder in runs"""
    resume: bool = False
    """continue the run in --out, or begin it if there is none yet"""
    save_every: float = 10.0
    """seconds between two saves: a run that is killed loses no more than this"""
    grid_every: float = 60.0
    """seconds between two pictures of samples during training"""
    judge: bool | None = None
    """--judge or --no-judge: whether to measure the samples at the end, as `tinyddpm judge` does; if not given, only those of digits and points, where it is quick"""

    T: int = 1000
    """how many noise steps"""
    schedule: Annotated[str, one_of("noise schedule", CHOICES["schedule"])] = "cosine"
    zero_terminal_snr: bool = False
    """rescale the schedule so that x_T is noise alone; not for noise prediction"""
    predicts: Annotated[str, one_of("what the network predicts", CHOICES["predicts"])] = "velocity"
    times: Annotated[str, one_of("how the times of a batch are drawn", CHOICES["times"])] = "stratified"
    loss: Annotated[str, one_of("mean of the squared errors over the pixels, or their sum", CHOICES["loss"])] = "mean"
    weighting: Annotated[str, one_of("weight of the loss at each time", CHOICES["weighting"])] = "equal"
    learned_variance: bool = False
    """let the network predict the variance of a step too"""
    categorical: bool = False
    """let the network give each value of a pixel a probability, from which x_0 and the variance follow; for --predicts x_0 with --learned-variance, and for few grey levels: memory grows with their number"""

    batch: int = 128
    """how many pictures in a step"""
    accumulate: int = 1
    """gradient accumulation: how many parts a batch is split into, to save memory"""
    optimiser: Annotated[str, one_of("optimiser", CHOICES["optimiser"])] = "adam"
    lr: float = 2e-3
    """highest learning rate"""
    warm_up: int = 50
    """how many steps the learning rate rises for"""
    clip: float = 1.0
    """largest norm of the gradient; inf for no clipping"""
    ema: float | None = None
    """decay of the moving average of the weights; if not given, it averages over about the last tenth of the steps"""
    ladder: float = 200.0
    """how many epochs before dropout and shifts, where they are not given, grow by one stage"""
    flip: bool | None = None
    """augmentation, --flip or --no-flip: whether to mirror half of the pictures; if not given, where the dataset allows it"""
    shift: int | None = None
    """augmentation: three quarters of the pictures are shifted by up to so many pixels, and the network is conditioned on the shift; 0 for no shifts; if not given, by up to 1 pixel, no pictures at first, then more with every epoch, up to three quarters"""

    width: int = 32
    """channels of the network at full size, a multiple of 8; for points, a quarter of its width"""
    levels: int | None = None
    """how many sizes of a picture the network works on, each half the one before; if not given, down to 4 pixels, as long as the halves are whole"""
    blocks: int = 1
    """residual blocks at each size"""
    norm: Annotated[
        str,
        one_of("normalisation of the channels", CHOICES["norm"], "; batch not with --accumulate or several processes"),
    ] = "group"
    time: Annotated[str, one_of("embedding of the time", CHOICES["time"])] = "sinusoidal"
    skips: Annotated[str, one_of("how skip connections join the way up", CHOICES["skips"])] = "concatenate"
    attention: bool = True
    """whether there is self-attention, at the smallest size"""
    zero_init: bool = True
    """whether the last layer of each block and of the network begins at 0"""
    dropout: float | None = None
    """dropout rate; if not given, 0 at first and 0.05 more after every --ladder epochs, up to 0.2"""
    conditional: str | None = None
    """what the network is conditioned on: labels, clusters (groups of similar pictures), nothing; if not given, labels where there are some, else clusters for pictures and nothing for points"""
    label_dropout: float = 0.1
    """fraction of the labels that are hidden in training, for classifier-free guidance"""

    device: str = "auto"
    """auto, cpu, cuda; auto takes the GPU if there is one"""
    precision: str = "auto"
    """number format of the network: auto, float32, bfloat16; auto trains in bfloat16 on a GPU that has it, and on a CPU that has it for pictures above 16x16. Samples are always drawn in float32. On a GPU, float32 means TF32 unless --precision float32 is given"""
    compile: bool = False
    """compile the network (not the whole step), on a GPU with CUDA graphs; this takes about a minute, and long runs gain by it"""

    def check(self) -> Config:
        """Refuse what cannot be run, before anything is computed or written; gives the config back.

        Raises:
            ValueError: naming the field, what it was and what is allowed.
        """
        check_data(self.data)
        return self.check_choices()

    def check_choices(self) -> Config:
        """`check` without the data: a run can be sampled after its data were deleted."""
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) is not None:
                check_name(name, value, allowed)
        check_seed(self.seed)
        self.noise_schedule()
        check_lowest(self, steps=1, batch=1, accumulate=1, warm_up=0, shift=0, levels=1, blocks=1)
        for name in ("seconds", "lr", "clip", "ladder", "save_every", "grid_every"):
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
        if self.learned_variance and (self.weighting == "min_snr" or self.T < 2):
            raise ValueError("weighting must be equal or bound with learned_variance, and T at least 2")
        if self.categorical and not (self.predicts == "x_0" and self.learned_variance):
            raise ValueError(
                f"predicts must be x_0, and learned_variance True, with categorical, got {self.predicts!r} and "
                f"{self.learned_variance}"
            )
        if self.resume and self.out is None:
            raise ValueError("resume needs out, the folder of the run")
        return self

    @property
    def max_shift(self) -> int:
        """The most pixels that a picture can be shifted by."""
        return 1 if self.shift is None else self.shift

    def noise_schedule(self) -> Schedule:
        """The noise schedule of this config."""
        schedule = forward.schedule(self.schedule, self.T)
        return forward.zero_terminal_snr(schedule) if self.zero_terminal_snr else schedule

    def saved(self) -> dict[str, Any]:
        """The config as JSON, for the folder of a run."""
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
