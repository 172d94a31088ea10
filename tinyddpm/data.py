"""Datasets: pictures scaled to [-1, 1], or points; one part to train on, another held out. They must fit into memory.

What can be read in two ways is decided by a rule or refused: "Which data can it read?" on the page of chapter 6 has the rules.
"""

from __future__ import annotations

import http.client
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import mixture
from .files import optional, write
from .forward import to_unit_range

LABELS = 10_000
"""Labels must lie below it."""

PICTURES = (
    ".apng .avif .bmp .dib .gif .j2k .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .qoi .tga .tif .tiff .webp"
)
"""The files that are read in a folder of pictures, by their endings."""

SYSTEM = ("__macosx", "$recycle.bin", "@eadir", "desktop.ini", "lost+found", "system volume information", "thumbs.db")
"""What operating systems leave in folders. It is skipped, as are files and folders whose names begin with a dot."""

PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Folders of these names are parts of a dataset, not classes."""

DARKEST = 32
"""Some pixel must be as bright as this, of 255: else the numbers are most likely of another range, such as 0 and 1."""


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
    names: tuple[str, ...] = ()
    """of the classes; empty if they are called by their numbers"""
    skipped: tuple[str, ...] = ()
    """files, or arrays of a file, that were not read"""

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each class is in the training data; empty without labels."""
        return () if self.train_labels is None else tuple(np.bincount(self.train_labels).tolist())

    @property
    def classes(self) -> int:
        """How many classes there are; 0 without labels."""
        return len(self.counts)

    def __str__(self) -> str:
        """What was read, in one line."""
        count, *shape = self.train.shape
        if len(shape) == 1:
            text = f"{count} points in {shape[0]} dimension{'s' * (shape[0] > 1)}"
        else:
            text = f"{count} picture{'s' * (count > 1)} {'x'.join(map(str, [*shape[1:], shape[0]]))}"
        if self.classes:
            names = self.names or tuple(map(str, range(self.classes)))
            text += f", {self.classes} class{'es' * (self.classes > 1)}: "
            text += _listed([f"{name} ({number})" for name, number in zip(names, self.counts, strict=True)])
        text += f"; {len(self.held_out)} held out"
        return text + (f"; not read: {_listed(self.skipped)}" if self.skipped else "")


def _listed(words: list[str] | tuple[str, ...], most: int = 12) -> str:
    return ", ".join([*words[:most], *([f"and {len(words) - most} more"] if len(words) > most else [])])


def digits() -> Data:
    """The 1,797 handwritten digits, 8x8, that come with scikit-learn; no download. A half of them is held out."""
    from sklearn.datasets import load_digits

    dataset = load_digits()
    pictures = to_unit_range(dataset.images[:, None] * (255 / 16)).astype(np.float32)  # its pixels are 0..16
    return split(pictures, dataset.target, held_out=0.5)._replace(levels=17)


def split(x: np.ndarray, labels: np.ndarray | None, held_out: float) -> Data:
    """Hold a share out, the same in every run whatever its seed; both parts have every class equally often."""
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must lie in [0, 1), got {held_out}")
    chosen, rest = np.arange(len(x)), np.arange(0)
    if held_out:
        from sklearn.model_selection import train_test_split  # here, since it takes long to import

        try:
            chosen, rest = train_test_split(chosen, test_size=held_out, stratify=labels, random_state=0)
        except ValueError as problem:
            raise ValueError(f"held_out = {held_out} cannot be put aside: {problem}") from None
        if labels is not None and len(gone := set(labels[rest]) - set(labels[chosen])):
            raise ValueError(
                f"held_out = {held_out} cannot be put aside: nothing is left to train on of class {min(gone)}"
            )
    train_labels, held_out_labels = (None if labels is None else labels[rows] for rows in (chosen, rest))
    return Data(x[chosen], train_labels, x[rest], held_out_labels)


def checksum(dataset: Data) -> int:
    """A number that other pictures, or other labels, would almost certainly change; of both parts."""
    total = 0
    for part in dataset[:4]:
        total = zlib.crc32(b"none" if part is None else f"{part.shape}".encode() + part.tobytes(), total)
    return total


SMOOTHING = 0.5
"""Added to every count of a histogram, so that a value that was never seen is not impossible (Krichevsky and Trofimov 1981)."""


def numbered(pictures: np.ndarray, levels: int) -> np.ndarray:
    """Pictures in [-1, 1] as whole numbers from 0 to levels - 1."""
    return np.rint((pictures + 1) * ((levels - 1) / 2)).astype(np.int64)


def histogram(pictures: np.ndarray, levels: int, smoothing: float = SMOOTHING) -> np.ndarray:
    """How probable each value of each pixel is, by how often it is seen there; shape (channels, height, width, levels)."""
    pixels = numbered(pictures, levels).reshape(len(pictures), -1).T
    counts = np.stack([np.bincount(values, minlength=levels) for values in pixels]) + smoothing
    return (counts / counts.sum(1, keepdims=True)).reshape(*pictures.shape[1:], levels)


CONDITIONS = ("labels", "clusters", "nothing")
"""What a network can be conditioned on."""

CLUSTERS = 20
"""How many clusters pictures without labels are put into."""


def conditioned(dataset: Data, condition: str | None) -> Data:
    """The dataset with the labels that a network is conditioned on; without any for "nothing".

    Even k-means on the pixels finds clusters that help, as those of features do in SCDM (Bao et al. 2022): they can be
    drawn in the very proportions of the data, which an unconditional network gets wrong.

    Raises:
        ValueError: when it is to be labels and there are none.
    """
    if condition is None:
        condition = "labels" if dataset.classes else "clusters" if dataset.train.ndim == 4 else "nothing"
    if condition == "labels":
        if not dataset.classes:
            raise ValueError("conditional must be clusters or nothing for data without labels, got 'labels'")
        return dataset
    train, held_out = (x.reshape(len(x), math.prod(x.shape[1:])) for x in (dataset.train, dataset.held_out))
    clusters = min(CLUSTERS, len(np.unique(train, axis=0))) if condition == "clusters" else 1
    if clusters == 1:
        return dataset._replace(train_labels=None, held_out_labels=None, names=())
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads add up in any order, and a resumed run needs the same clusters
        means = KMeans(clusters, max_iter=50, random_state=0).fit(train)
        held_out_labels = means.predict(held_out).astype(np.int64) if len(held_out) else None
    labels = means.labels_.astype(np.int64)
    return dataset._replace(train_labels=labels, held_out_labels=held_out_labels, names=())


# Points with which a run takes seconds, and where the truth can be computed. -----------------------------------------

POINTS = 10_000
"""How many points are made to train on, and how many to be held out."""


def points(name: str) -> Data:
    """Points on a line or in the plane; each coordinate, or the plane as a whole, of variance 1."""
    truth = {"ring": mixture.ring(8), "two_classes": mixture.two_classes()}.get(name)
    if truth is not None:
        x = truth.sample(2 * POINTS, np.random.default_rng(0))
    else:
        from sklearn import datasets  # here, since it takes long to import

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
    """A dataset of openml.org, by way of scikit-learn's loader, which keeps it; its last pictures are held out.

    Raises:
        OSError: when it is not kept yet and cannot be fetched whole.
    """
    from sklearn.datasets import fetch_openml, get_data_home

    kept = Path(get_data_home()) / f"tinyddpm-{name.lower()}.npz"  # what openml sends takes a minute to read
    try:
        arrays = _arrays(kept)
        images, labels = arrays["images"], arrays["labels"]
    except (ValueError, KeyError):  # not there, or damaged
        try:
            sent = fetch_openml(name, version=1, as_frame=False)
            images = np.moveaxis(sent.data.reshape(-1, channels, edge, edge), 1, 3).astype(np.uint8)
            labels = sent.target.astype(np.int64)
        except ImportError as problem:
            raise ValueError(f"{name} is read with pandas: pip install pandas ({problem})") from None
        except (OSError, EOFError, ValueError, http.client.HTTPException, zlib.error) as problem:  # or half of it came
            raise OSError(f"{name} could not be fetched from openml.org: {problem!r}") from problem
        with optional():
            write(kept, lambda file: np.savez_compressed(file, images=images, labels=labels))
    x = scaled(images)
    return Data(x[:train], labels[:train], x[train:], labels[train:], flips)


def file(path: Path, held_out: float = 0.0) -> Data:
    """An .npz with `images` and, if there are any, `labels`; or an .npy that is the images alone.

    Raises:
        ValueError: when what is in it cannot be trained on, or is more than numbers.
    """
    arrays = _arrays(path)
    if "images" not in arrays:
        raise ValueError(f"data {str(path)!r} must have an array `images`, it has {sorted(arrays)}")
    images, labels = arrays.pop("images"), arrays.pop("labels", None)
    x, names = scaled(images), list[str]()
    if labels is not None:
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
            raise ValueError(f"labels must be a whole number from 0 for each image, got {labels.dtype} {labels.shape}")
        if labels.max() >= LABELS:
            raise ValueError(f"labels must lie below {LABELS}, got {labels.max()}")
        numbers, labels = np.unique(labels, return_inverse=True)  # there is no class without pictures
        names = [str(number) for number in numbers]
    return split(x, labels, held_out)._replace(names=tuple(names), skipped=tuple(sorted(arrays)))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    try:
        with open(path, "rb") as content:
            loaded = np.load(content)  # refuses pickles: reading numbers never runs code
            return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as problem:  # a damaged zip raises what it likes
        raise ValueError(f"data {str(path)!r} cannot be read: {problem}") from None


def scaled(images: np.ndarray) -> np.ndarray:
    """Images as float32 (N, C, H, W) in [-1, 1], C one of 1, 3; from (N, H, W) or (N, H, W, C): uint8, bool or in [0, 1].

    Raises:
        ValueError: when they are anything else, or could be.
    """
    shape = images.shape
    if images.ndim not in (3, 4) or 0 in shape or (images.ndim == 4 and shape[3] not in (1, 3, 4)):
        last = images.ndim == 4 and shape[1] in (1, 3, 4)
        hint = ": channels come last, np.moveaxis(images, 1, 3)" if last else ""
        raise ValueError(f"images must be (N, H, W) or (N, H, W, C), C one of 1, 3, 4, got {shape}{hint}")
    if images.ndim == 3 and shape[2] in (1, 3, 4) and shape[1] != shape[2]:
        raise ValueError(
            f"images of shape {shape} can be one picture or {shape[0]} grey ones: "
            f"reshape them to {(1, *shape)} or to {(*shape, 1)}"
        )
    if images.dtype.kind == "f":
        if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
            raise ValueError(f"images of floats must lie in [0, 1], got {images.min():g} to {images.max():g}")
    elif images.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"images must be uint8 or floats in [0, 1], or bool, got {images.dtype}")
    pixels = images if images.dtype == np.uint8 else 255 * images
    if 0 < pixels.max() < DARKEST:
        white = 255 if images.dtype == np.uint8 else 1
        raise ValueError(
            f"the brightest of all pixels must be at least an eighth of white, {white}, got {images.max():g}: "
            "scale them to the whole range, or make 0 and 1 bool"
        )
    pixels = pixels[..., None] if images.ndim == 3 else pixels
    pixels = on_white(pixels) if pixels.shape[3] == 4 else pixels
    return np.ascontiguousarray(np.moveaxis(to_unit_range(pixels.astype(np.float32)), 3, 1))


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Pictures without their transparency: as they look on white paper. The last axis ends in the opacity; 0..255.

    Raises:
        ValueError: when nothing of a picture is seen there because it is white itself.
    """
    opacity = pixels[..., -1:].astype(np.float32)
    seen = np.rint(255 - (255 - pixels[..., :-1].astype(np.float32)) * opacity / 255)
    axes = (-3, -2, -1)
    if ((seen.min(axes) == 255) & (opacity.min(axes) != opacity.max(axes))).any():
        raise ValueError("transparency becomes white, on which a white picture is not seen: put it on black first")
    return seen


def folder(path: Path, held_out: float = 0.0) -> Data:
    """A folder of pictures of one size; where they lie in subfolders, the first of them names the class.

    Raises:
        ValueError: when there are no pictures, they differ in size, one cannot be read, or the classes are not clear.
    """
    from PIL import Image

    entries = [*_files(path)]
    files = [file for file in entries if file.suffix.lower() in PICTURES.split()]
    if not files:
        raise ValueError(f"data {str(path)!r} has no pictures ({PICTURES})")
    names, labels = _classes(path, files)  # before the pictures, which may take long
    pictures = []
    for file in files:
        try:
            with Image.open(file) as picture:
                pictures.append(_pixels(picture))
        except Exception as problem:  # a damaged picture raises what it likes
            raise ValueError(f"picture {str(file)!r} cannot be read: {problem}") from None
    for file, pixels in zip(files, pictures, strict=True):
        if pixels.shape[:2] != pictures[0].shape[:2]:
            sizes = " and ".join("x".join(map(str, each.shape[:2])) for each in (pictures[0], pixels))
            raise ValueError(f"all pictures must have one size, {files[0].name} and {file.name} have {sizes}")
    brightest = max((pixels.max() for pixels in pictures if pixels.dtype == np.uint16), default=0)
    if 0 < brightest < 2**15:
        raise ValueError(
            f"pictures of 16 bits must use them all, the brightest pixel is {brightest} of 65535: scale them, or to 8 bits"
        )
    channels = max(pixels.shape[2] for pixels in pictures)  # grey ones among coloured ones become coloured
    pictures = [np.repeat(pixels, channels // pixels.shape[2], axis=2) for pixels in pictures]
    pictures = [pixels // 257 if pixels.dtype == np.uint16 else pixels for pixels in pictures]
    dataset = split(scaled(np.stack(pictures).astype(np.uint8)), labels, held_out)
    skipped = tuple(str(entry.relative_to(path)) for entry in entries if entry.suffix.lower() not in PICTURES.split())
    return dataset._replace(names=names, skipped=skipped)


def _files(path: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and in its subfolders, also where these are links; 10 comes after 9."""
    real = os.path.realpath(path)
    if real in above:
        raise ValueError(f"data has a link that leads back to a folder around it: {str(path)!r}")
    for entry in sorted(path.iterdir(), key=lambda entry: _natural(entry.name)):
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
            continue
        if entry.is_dir():
            yield from _files(entry, (*above, real))
        else:
            yield entry


def _natural(name: str) -> tuple[list[Any], str]:
    """What to sort by, so that numbers in names come in their order."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", name))], name


def _classes(path: Path, files: list[Path]) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The names of the classes, those of the subfolders, and the class of each file; none where all lie in one folder."""
    places = [file.relative_to(path).parts[:-1] for file in files]
    names = tuple(sorted({place[0] for place in places if place}, key=_natural))
    if names and () in places:
        raise ValueError(
            f"{files[places.index(())].name} lies beside the folders {_listed(names)}, which would be classes: "
            "put all pictures into folders, or none"
        )
    first = str(path / names[0]) if names else ""
    if {name.lower() for name in names} & PARTS:
        raise ValueError(f"data {str(path)!r} has the parts {_listed(names)}: give one of them, {first!r}")
    if len(names) == 1 and len({place[:2] for place in places}) > 1:
        raise ValueError(f"all classes of {str(path)!r} are in one folder: give that one, {first!r}")
    if len(names) < 2:
        return (), None
    numbers = {name: number for number, name in enumerate(names)}
    return names, np.array([numbers[place[0]] for place in places])


def _pixels(picture: Any) -> np.ndarray:
    """The pixels of a picture, shape (height, width, 1) if it is grey, else (height, width, 3); 0..255, or 16 bits if it has them."""
    from PIL import ImageOps

    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # a camera's, whose others are previews
        raise ValueError(f"it has {picture.n_frames} frames; save the one to learn from as a picture of its own")
    deep = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if picture.mode in ("I", "F") and not deep:
        raise ValueError(f"its pixels are of mode {picture.mode}, which has no largest value; 8 or 16 bits have")
    grey = picture.mode in ("1", "L", "LA", "La")
    clear = picture.mode.upper().endswith("A") or "transparency" in picture.info
    picture = ImageOps.exif_transpose(picture)  # as the camera was held
    if deep:
        return np.asarray(picture).astype(np.uint16)[..., None]
    pixels = np.atleast_3d(np.asarray(picture.convert(("L" if grey else "RGB") + "A" * clear)))
    return on_white(pixels) if clear else pixels


AT_HAND = ("digits", "two_classes", "ring", "moons", "rings", "swiss_roll")
"""The datasets that nothing is fetched for, and whose samples are judged in seconds."""

LOADERS: dict[str, Callable[[], Data]] = {
    "digits": digits,
    "mnist": partial(openml, "mnist_784", 1, 28, 60_000, False),
    "fashion_mnist": partial(openml, "Fashion-MNIST", 1, 28, 60_000, False),
    "cifar10": partial(openml, "CIFAR_10", 3, 32, 50_000, True),
    **{name: partial(points, name) for name in AT_HAND if name != "digits"},
}
"""The built-in datasets, by name."""


def check_data(name: str) -> None:
    """Refuse what is neither the name of a built-in dataset nor a file or folder that is there, and what is both."""
    path = Path(name)
    if name in LOADERS:
        if path.is_dir() and not (path / "config.json").is_file():  # a run is no dataset
            raise ValueError(
                f"data {name!r} is a built-in dataset and a folder here: rename it, or write ./{name} for it"
            )
    elif not name.strip() or not (path.is_dir() or (path.is_file() and name.endswith((".npz", ".npy")))):
        raise ValueError(f"data must be one of {', '.join(LOADERS)}, an .npz or .npy, or a folder, got {name!r}")


def load(name: str, held_out: float = 0.0) -> Data:
    """The dataset of a name, a file or a folder; of the last two the share `held_out` is put aside.

    Raises:
        ValueError: when there is none of that name, or what is there cannot be trained on.
        OSError: when it has to be fetched and cannot be.
    """
    check_data(name)
    if name in LOADERS:
        if held_out:
            raise ValueError(f"held_out must be 0 for {name}, of which a part is held out anyway, got {held_out}")
        return LOADERS[name]()
    return folder(Path(name), held_out) if Path(name).is_dir() else file(Path(name), held_out)
