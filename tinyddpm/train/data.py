"""What to learn from: pictures scaled to [-1, 1], or points; one part to train on, another held out."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import mixture
from ..files import write
from ..forward import to_unit_range

LABELS = 10_000
"""How many classes a file can tell of."""

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The files that a folder of pictures is made of, by their endings."""


class Data(NamedTuple):
    """Pictures of shape (number, channels, height, width), or points, (number, dimensions): float32; the class of each."""

    train: np.ndarray
    train_labels: np.ndarray | None
    held_out: np.ndarray
    held_out_labels: np.ndarray | None
    flips: bool = False
    """whether a mirrored picture could be one of them"""
    levels: int = 256
    """how many values a pixel can have"""
    truth: mixture.Mixture | None = None
    """the distribution that points were drawn from, where it is known"""

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each class is in the training data; empty without labels."""
        return () if self.train_labels is None else tuple(np.bincount(self.train_labels).tolist())

    @property
    def classes(self) -> int:
        """How many classes there are; 0 without labels."""
        return len(self.counts)


def digits() -> Data:
    """The 1,797 handwritten digits, 8x8, that come with scikit-learn; no download. A half of them is held out."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = to_unit_range(found.images[:, None] * (255 / 16)).astype(np.float32)  # its pixels are 0..16
    return split(pictures, found.target, held_out=0.5)._replace(levels=17)


def split(x: np.ndarray, labels: np.ndarray | None, held_out: float) -> Data:
    """Put a share aside, the same in every run whatever its seed; both parts hold every class equally often."""
    from sklearn.model_selection import train_test_split

    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must lie in [0, 1), got {held_out}")
    chosen, rest = np.arange(len(x)), np.arange(0)
    if held_out:
        try:
            chosen, rest = train_test_split(chosen, test_size=held_out, stratify=labels, random_state=0)
        except ValueError as problem:
            raise ValueError(f"held_out = {held_out} cannot be put aside: {problem}") from None
        if labels is not None and len(gone := set(labels[rest]) - set(labels[chosen])):
            raise ValueError(
                f"held_out = {held_out} cannot be put aside: nothing is left to train on of class {min(gone)}"
            )
    of = (lambda rows: None) if labels is None else (lambda rows: labels[rows])
    return Data(x[chosen], of(chosen), x[rest], of(rest))


def checksum(found: Data) -> int:
    """A number that other pictures, or other labels, would almost certainly change."""
    labels = b"" if found.train_labels is None else found.train_labels.tobytes()
    return zlib.crc32(labels, zlib.crc32(found.train.tobytes()))


CONDITIONS = ("labels", "clusters", "nothing")
"""What a network can be told of a picture."""

CLUSTERS = 20
"""How many groups pictures without labels are put into."""


def told(found: Data, condition: str | None) -> Data:
    """The data with the labels that a network is to be told of; none if it is to be told nothing.

    Even k-means on the pixels finds groups that help, as its like on features does in SCDM (Bao et al. 2022): they can be
    drawn in the very proportions of the data, which a network that is told nothing gets wrong.

    Raises:
        ValueError: when labels are to be told and there are none.
    """
    if condition is None:
        condition = "labels" if found.classes else "clusters" if found.train.ndim == 4 else "nothing"
    if condition == "labels":
        if not found.classes:
            raise ValueError("conditional must be clusters or nothing for data without labels, got 'labels'")
        return found
    train, held_out = (x.reshape(len(x), math.prod(x.shape[1:])) for x in (found.train, found.held_out))
    groups = min(CLUSTERS, len(np.unique(train, axis=0))) if condition == "clusters" else 1
    if groups == 1:
        return found._replace(train_labels=None, held_out_labels=None)
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads add up in any order, and a resumed run needs the same groups
        means = KMeans(groups, max_iter=50, random_state=0).fit(train)
        held_out_labels = means.predict(held_out).astype(np.int64) if len(held_out) else None
    return found._replace(train_labels=means.labels_.astype(np.int64), held_out_labels=held_out_labels)


# Points with which a run takes seconds, and where the truth can be computed. -----------------------------------------

POINTS = 10_000
"""How many points are made to train on, and how many to be held out."""


def points(name: str) -> Data:
    """Points on a line or in the plane; each coordinate, or the plane as a whole, of variance 1."""
    from sklearn import datasets

    truth = {"ring": mixture.ring(8), "two_classes": mixture.two_classes()}.get(name)
    if truth is not None:
        x = truth.sample(2 * POINTS, np.random.default_rng(0))
    else:
        makers: dict[str, Callable[..., Any]] = {
            "moons": partial(datasets.make_moons, noise=0.05),
            "rings": partial(datasets.make_circles, noise=0.05, factor=0.5),
            "swiss_roll": partial(datasets.make_swiss_roll, noise=0.5),
        }
        x = makers[name](2 * POINTS, random_state=0)[0][:, [0, -1]]
        x = (x - x.mean(0)) / x.std()
    x = x.astype(np.float32)
    return Data(x[:POINTS], None, x[POINTS:], None, truth=truth)


# Pictures from elsewhere. --------------------------------------------------------------------------------------------


def openml(name: str, channels: int, edge: int, train: int, flips: bool) -> Data:
    """A data set of openml.org, by way of scikit-learn's loader, which keeps it; its last pictures are held out.

    Raises:
        OSError: when it is not kept yet and cannot be fetched.
    """
    from sklearn.datasets import fetch_openml, get_data_home

    kept = Path(get_data_home()) / f"tinyddpm-{name.lower()}.npz"  # what openml sends takes a minute to read
    if kept.is_file():
        images, labels = read_npz(kept)
        assert labels is not None
    else:
        try:
            found = fetch_openml(name, version=1, as_frame=False)
        except ImportError as problem:
            raise ValueError(f"{name} is read with pandas: pip install pandas ({problem})") from None
        except OSError as problem:
            raise OSError(f"{name} could not be fetched from openml.org: {problem}") from problem
        shape = (-1, channels, edge, edge)
        images = np.moveaxis(found.data.reshape(shape), 1, 3).astype(np.uint8)
        labels = found.target.astype(np.int64)
        write(kept, lambda file: np.savez_compressed(file, images=images, labels=labels))
    x = scaled(images)
    return Data(x[:train], labels[:train], x[train:], labels[train:], flips)


def file(path: Path, held_out: float = 0.0) -> Data:
    """An .npz with `images` and, if there are any, `labels`; or an .npy that is the images alone.

    Raises:
        ValueError: when what is in it cannot be trained on, or is more than numbers.
    """
    images, labels = read_npz(path)
    return split(scaled(images), labels, held_out)


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays of a file, checked: images (N, H, W) or (N, H, W, C), uint8 or float in [0, 1]; labels (N,)."""
    try:
        found = np.load(path)  # refuses pickles: reading numbers never runs code
        arrays = {"images": found} if isinstance(found, np.ndarray) else dict(found)
    except Exception as problem:  # a damaged zip raises what it likes
        raise ValueError(f"data {str(path)!r} cannot be read: {problem}") from None
    if "images" not in arrays:
        raise ValueError(f"data {str(path)!r} must have an array `images`, it has {sorted(arrays)}")
    images, labels = arrays["images"], arrays.get("labels")
    if images.ndim not in (3, 4) or 0 in images.shape or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        raise ValueError(f"images must be (N, H, W) or (N, H, W, C), C one of 1, 3, 4, got {images.shape}")
    if images.dtype.kind == "f":
        if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
            raise ValueError(f"images of floats must lie in [0, 1], got {images.min():g} to {images.max():g}")
    elif images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 or floats in [0, 1], got {images.dtype}")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0):
        raise ValueError(f"labels must be a whole number from 0 for each image, got {labels.dtype} {labels.shape}")
    if labels is not None and labels.max() >= LABELS:
        raise ValueError(
            f"labels must lie below {LABELS}, got {labels.max()}: the network has a row of weights for each"
        )
    return images, None if labels is None else labels.astype(np.int64)


def scaled(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W) or (N, H, W, C), uint8 or in [0, 1], as float32 (N, C, H, W) in [-1, 1]."""
    images = images[..., None] if images.ndim == 3 else images
    pixels = images if images.dtype == np.uint8 else 255 * images
    return np.ascontiguousarray(np.moveaxis(to_unit_range(pixels.astype(np.float32)), 3, 1))


def folder(path: Path, held_out: float = 0.0) -> Data:
    """A folder of pictures of one size; where they lie in subfolders, the first of them names the class.

    Raises:
        ValueError: when there are no pictures, they differ in size, or one cannot be read.
    """
    from PIL import Image

    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
    if not found:
        raise ValueError(f"data {str(path)!r} has no pictures ({', '.join(PICTURES)})")
    pictures = []
    for name in found:
        try:
            with Image.open(name) as picture:
                pictures.append(_pixels(picture))
        except Exception as problem:  # a damaged picture raises what it likes
            raise ValueError(f"picture {str(name)!r} cannot be read: {problem}") from None
    if len({picture.ndim for picture in pictures}) > 1:
        pictures = [picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1) for picture in pictures]
    for name, pixels in zip(found, pictures, strict=True):
        if pixels.shape != pictures[0].shape:
            sizes = " and ".join("x".join(map(str, shape[:2])) for shape in (pictures[0].shape, pixels.shape))
            raise ValueError(f"all pictures must have one size, {found[0].name} and {name.name} have {sizes}")
    parents = [name.relative_to(path).parts[0] if name.parent != path else "" for name in found]
    classes = sorted(set(parents))
    labels = np.array([classes.index(parent) for parent in parents]) if len(classes) > 1 else None
    return split(scaled(np.stack(pictures)), labels, held_out)


def _pixels(picture: Any) -> np.ndarray:
    """The pixels of a picture, grey or in colour, as uint8."""
    if picture.mode.startswith("I;16"):
        return (np.asarray(picture) // 257).astype(np.uint8)
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {picture.mode}, which has no largest value; 8 or 16 bits have")
    grey = picture.mode in ("1", "L", "LA", "La")
    return np.asarray(picture.convert("L" if grey else "RGB"))


AT_HAND = ("digits", "two_classes", "ring", "moons", "rings", "swiss_roll")
"""The data sets that nothing is fetched for, and whose samples are judged in seconds."""

LOADERS: dict[str, Callable[[], Data]] = {
    "digits": digits,
    "mnist": partial(openml, "mnist_784", 1, 28, 60_000, False),
    "fashion_mnist": partial(openml, "Fashion-MNIST", 1, 28, 60_000, False),
    "cifar10": partial(openml, "CIFAR_10", 3, 32, 50_000, True),
    **{name: partial(points, name) for name in AT_HAND if name != "digits"},
}
"""The data sets, by name."""


def check_data(name: str) -> None:
    """Refuse what is neither the name of a data set nor a file or folder that is there."""
    if name not in LOADERS and not (Path(name).is_dir() or (Path(name).is_file() and name.endswith((".npz", ".npy")))):
        raise ValueError(f"data must be one of {', '.join(LOADERS)}, an .npz or .npy, or a folder, got {name!r}")


def load(name: str, held_out: float = 0.0) -> Data:
    """The data set of a name, a file or a folder; of the last two the share `held_out` is put aside.

    Raises:
        ValueError: when there is none of that name, or what is there cannot be trained on.
        OSError: when it has to be fetched and cannot be.
    """
    check_data(name)
    if name in LOADERS:
        return LOADERS[name]()
    return folder(Path(name), held_out) if Path(name).is_dir() else file(Path(name), held_out)
