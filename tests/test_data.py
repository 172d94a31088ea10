"""What is learned from: the data sets that are at hand, files, folders, downloads."""

from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from tinyddpm.checker import assert_equal
from tinyddpm.train import data

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_digits_are_two_halves_between_minus_one_and_one():
    found = data.load("digits")
    pictures = np.concatenate([found.train, found.held_out])
    assert pictures.shape == (1797, 1, 8, 8) and pictures.dtype == np.float32
    assert (pictures.min(), pictures.max()) == (-1, 1) and len(np.unique(pictures)) == 17
    counts = np.bincount(found.train_labels) - np.bincount(found.held_out_labels)
    assert abs(counts).max() <= 1 and len(counts) == 10 == found.classes and not found.flips
    assert len({picture.tobytes() for picture in found.train} & {picture.tobytes() for picture in found.held_out}) < 10
    assert all(map(np.array_equal, found, data.load("digits")))


def test_what_a_network_is_told_is_labels_clusters_or_nothing():
    found, points = data.load("digits"), data.load("ring")
    assert data.told(found, None) == data.told(found, "labels") == found
    assert data.told(found, "nothing").counts == data.told(points, None).counts == ()
    bare = found._replace(train_labels=None, held_out_labels=None)
    groups = data.told(bare, None)
    assert len(groups.counts) == data.CLUSTERS and sum(groups.counts) == len(found.train)
    assert np.array_equal(groups.train_labels, data.told(found, "clusters").train_labels)
    # Each picture is in the group whose mean is nearest to it, held-out ones too.
    means = np.stack([found.train[groups.train_labels == k].mean(0) for k in range(data.CLUSTERS)])
    for x, labels in ((found.train, groups.train_labels), (found.held_out, groups.held_out_labels)):
        far = ((x[:, None] - means) ** 2).sum((2, 3, 4))
        assert (far.argmin(1) == labels).mean() > 0.99
    same = bare._replace(train=np.zeros((5, 1, 4, 4), np.float32))
    assert data.told(same, None).counts == ()  # no groups to be found
    with pytest.raises(ValueError, match="conditional must be clusters or nothing for data without labels"):
        data.told(bare, "labels")


@pytest.mark.parametrize("name", ["two_classes", "ring", "moons", "rings", "swiss_roll"])
def test_points_have_unit_variance_and_two_parts(name):
    found = data.load(name)
    assert found.train.shape == found.held_out.shape == (data.POINTS, 1 if name == "two_classes" else 2)
    assert found.train.dtype == np.float32 and not found.classes
    # The worst coordinate is a circle's: x^2 has variance 1/2 of its mean squared.
    assert abs(found.train.var() - 1) < 4 / data.POINTS**0.5 and abs(found.train.mean(0)).max() < 4 / data.POINTS**0.5
    assert not np.array_equal(found.train, found.held_out)


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 4, 2), (6, 4, 2, 1), (6, 4, 2, 3)])
def test_a_file_of_images(tmp_path, kind, shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    expected = np.moveaxis(images.reshape(6, 4, 2, -1) / 127.5 - 1, 3, 1)
    images = images if kind == "uint8" else (images / 255).astype(kind)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    found = data.load(str(tmp_path / "a.npz"))
    np.testing.assert_allclose(found.train, expected, atol=1e-6)
    assert found.train.dtype == np.float32 and np.array_equal(found.train_labels, labels) and found.classes == 3
    assert len(found.held_out) == len(found.held_out_labels) == 0
    np.save(tmp_path / "a.npy", images)
    assert np.array_equal(data.load(str(tmp_path / "a.npy")).train, found.train)
    parted = data.load(str(tmp_path / "a.npz"), 0.5)
    assert sorted(parted.train_labels) == sorted(parted.held_out_labels) == [0, 1, 2]
    rows = {row.tobytes() for part in (parted.train, parted.held_out) for row in part}
    assert rows == {row.tobytes() for row in found.train}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pixels": np.zeros((2, 4, 4))}, "must have an array `images`, it has .'pixels'."),
        ({"images": np.zeros((4, 4))}, r"images must be \(N, H, W\) or \(N, H, W, C\).* got \(4, 4\)"),
        ({"images": np.zeros((2, 3, 4, 5))}, r"C one of 1, 3, 4, got \(2, 3, 4, 5\)"),
        ({"images": np.zeros((0, 4, 4))}, "images must be"),
        ({"images": np.full((2, 4, 4), 1.5)}, r"must lie in \[0, 1\], got 1.5 to 1.5"),
        ({"images": np.full((2, 4, 4), np.nan)}, r"must lie in \[0, 1\], got nan"),
        ({"images": np.zeros((2, 4, 4), np.int64)}, "must be uint8 or floats"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(3, int)}, "labels must be a whole number from 0 for each"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.array([0, -1])}, "labels must be a whole number from 0 for each"),
        (
            {"images": np.zeros((2, 4, 4)), "labels": np.array([0, 10**11])},
            "labels must lie below 10000, got 100000000000",
        ),
        ({"images": np.array([{}, {}])}, "cannot be read: .*pickle"),
    ],
)
def test_a_file_that_cannot_be_trained_on(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        data.load(str(tmp_path / "a.npz"))


def test_a_damaged_file_and_shares_that_cannot_be(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8)))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "no.npz").write_bytes(b"not a zip")
    for name in ("cut.npz", "no.npz"):
        with pytest.raises(ValueError, match=rf"{name}' cannot be read"):
            data.load(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"held_out must lie in \[0, 1\), got 1.0"):
        data.load(str(tmp_path / "a.npz"), 1.0)
    with pytest.raises(ValueError, match=r"held_out = 0.99 cannot be put aside"):
        data.load(str(tmp_path / "a.npz"), 0.99)
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8)), labels=np.array([0] * 18 + [1] * 2))
    with pytest.raises(ValueError, match=r"held_out = 0.9 cannot be put aside: nothing is left to train on of class 1"):
        data.load(str(tmp_path / "a.npz"), 0.9)
    with pytest.raises(ValueError, match=r"data must be one of digits, .* or a folder, got 'letters'"):
        data.load("letters")


def pictures_in(folder, size=(8, 6), count=2, mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, size, 40 * i if mode == "L" else (40 * i, 0, 255)).save(folder / f"{i}.png")


def test_a_folder_of_pictures(tmp_path):
    pictures_in(tmp_path / "a")
    pictures_in(tmp_path / "b" / "deep", count=1)
    found = data.load(str(tmp_path))
    assert found.train.shape == (3, 3, 6, 8) and found.train_labels.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.train[1, :, 0, 0], [40 / 127.5 - 1, -1, 1], atol=1e-6)
    grey = data.load(str(tmp_path / "b" / "deep"))
    assert grey.train_labels is None
    pictures_in(tmp_path / "c", mode="L")
    assert data.load(str(tmp_path / "c")).train.shape == (2, 1, 6, 8)
    assert data.load(str(tmp_path)).train.shape == (5, 3, 6, 8)  # grey ones among coloured ones become coloured


def test_grey_pictures_of_other_kinds_stay_grey(tmp_path):
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(grey).save(tmp_path / "16.png")
    Image.fromarray((grey // 257).astype(np.uint8)).convert("LA").save(tmp_path / "8.png")
    loaded = data.load(str(tmp_path)).train
    assert loaded.shape == (2, 1, 8, 8)
    for picture in loaded:
        assert_equal(picture[0], (grey // 257 / 127.5 - 1).astype(np.float32), atol=1e-6)


def test_a_folder_that_cannot_be_trained_on(tmp_path):
    with pytest.raises(ValueError, match="has no pictures"):
        data.load(str(tmp_path))
    pictures_in(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"one size, 0.png and small.png have 6x8 and 4x4"):
        data.load(str(tmp_path))
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "small.tiff")
    with pytest.raises(ValueError, match=r"small.tiff' cannot be read: its pixels are of mode I, which has no largest"):
        data.load(str(tmp_path))
    (tmp_path / "small.tiff").unlink()
    (tmp_path / "small.ppm").write_bytes(b"P6 x")
    with pytest.raises(ValueError, match=r"small.ppm' cannot be read"):
        data.load(str(tmp_path))
    (tmp_path / "small.ppm").unlink()
    (tmp_path / "small.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"small.png' cannot be read"):
        data.load(str(tmp_path))


def test_openml_is_asked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    calls = []

    def fetched(name, **options):
        calls.append(name)
        pixels = np.arange(6 * 12).reshape(6, 12)
        return sklearn.utils.Bunch(data=pixels, target=np.array(["0", "1", "2", "0", "1", "2"]))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetched)
    first, again = (data.openml("TINY", 3, 2, train=4, flips=True) for _ in range(2))
    assert calls == ["TINY"] and all(map(np.array_equal, first, again)) and first.flips
    assert first.train.shape == (4, 3, 2, 2) and first.held_out_labels.tolist() == [1, 2]
    np.testing.assert_allclose(first.train[0, 1].ravel(), np.arange(4, 8) / 127.5 - 1, atol=1e-6)  # plane by plane

    def unreachable(name, **options):
        raise URLError("no internet")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)
    with pytest.raises(OSError, match=r"OTHER could not be fetched from openml.org: .*no internet"):
        data.openml("OTHER", 3, 2, train=4, flips=True)
