"""What can be chosen for a run, and what is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .. import forward
from . import PREDICTS, _check_name
from .data import LOADERS


@dataclass(frozen=True)
class Config:
    """Train a small U-Net on handwritten digits, draw samples from it and report.

    A run stopped by its clock (--seconds) is never quite the same twice; with a number of steps (--steps) the
    same seed gives the same weights, bit for bit, on the same machine's CPU.
    """

    data: str = "digits"
    """what to learn from: digits"""
    seconds: float = 60.0
    """how long to train; the learning rate falls to 0 over this time"""
    steps: int | None = None
    """how many steps to train; if given, the clock is not looked at"""
    seed: int = 0
    """for the first weights, the noise and the samples"""
    out: Path = Path("runs")
    """folder in which the run gets a new numbered folder of its own"""
    T: int = 1000
    """how many noise steps"""
    schedule: str = "cosine"
    """noise schedule: linear, scaled_linear, proportional, cosine"""
    predicts: str = "velocity"
    """what the network predicts: noise, x_0, velocity"""
    batch: int = 128
    """how many pictures in a step"""
    lr: float = 2e-3
    """learning rate at its highest"""
    ema: float = 0.995
    """how much of the average of the weights is kept in a step"""
    width: int = 32
    """channels of the network at full size, a multiple of 8"""

    def check(self) -> Config:
        """Refuse what cannot be run, before anything is computed or written; gives the config back.

        Raises:
            ValueError: naming the field, what it was and what is allowed.
        """
        _check_name("data", self.data, tuple(LOADERS))
        _check_name("predicts", self.predicts, PREDICTS)
        forward.schedule(self.schedule, self.T)
        for name, low in {"batch": 1, "seed": 0, "steps": 1}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        for name in ("seconds", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number above 0, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), got {self.ema}")
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width must be a multiple of 8, got {self.width}")
        return self
