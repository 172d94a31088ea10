"""The pictures to learn from, scaled to [-1, 1]: a half to train on, the other half held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..forward import to_unit_range


class Data(NamedTuple):
    """Pictures of shape (number, channels, height, width), float32, and the class of each."""

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def digits() -> Data:
    """The 1,797 handwritten digits, 8x8, that come with scikit-learn; no download."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    pictures = to_unit_range(found.images[:, None] * (255 / 16)).astype(np.float32)  # its pixels are 0..16
    # Both halves hold every digit equally often, and the same ones in every run whatever its seed.
    train, held_out, train_labels, held_out_labels = train_test_split(
        pictures, found.target, test_size=0.5, stratify=found.target, random_state=0
    )
    return Data(train, train_labels, held_out, held_out_labels)


LOADERS = {"digits": digits}
"""The data sets, by name."""


def load(name: str) -> Data:
    """The data set of a name.

    Raises:
        ValueError: when the name is not one of `LOADERS`.
    """
    if name not in LOADERS:
        raise ValueError(f"data must be one of {', '.join(LOADERS)}, got {name!r}")
    return LOADERS[name]()
