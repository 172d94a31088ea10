"""Datasets: those that are at hand, files, folders, downloads; what has two readings is decided by a rule or refused."""

import http.client
import os
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from tinyddpm import data
from tinyddpm.checker import assert_equal

DOCS = Path(__file__).parent.parent / "docs"

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


def test_a_network_is_conditioned_on_labels_clusters_or_nothing():
    found, points = data.load("digits"), data.load("ring")
    assert data.conditioned(found, None) == data.conditioned(found, "labels") == found
    assert data.conditioned(found, "nothing").counts == data.conditioned(points, None).counts == ()
    bare = found._replace(train_labels=None, held_out_labels=None)
    groups = data.conditioned(bare, None)
    assert len(groups.counts) == data.CLUSTERS and sum(groups.counts) == len(found.train)
    assert np.array_equal(groups.train_labels, data.conditioned(found, "clusters").train_labels)
    # Each picture is in the group whose mean is nearest to it, held-out ones too.
    means = np.stack([found.train[groups.train_labels == k].mean(0) for k in range(data.CLUSTERS)])
    for x, labels in ((found.train, groups.train_labels), (found.held_out, groups.held_out_labels)):
        far = ((x[:, None] - means) ** 2).sum((2, 3, 4))
        assert (far.argmin(1) == labels).mean() > 0.99
    same = bare._replace(train=np.zeros((5, 1, 4, 4), np.float32))
    assert data.conditioned(same, None).counts == ()  # no groups to be found
    with pytest.raises(ValueError, match="conditional must be clusters or nothing for data without labels"):
        data.conditioned(bare, "labels")


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
        (
            {"images": np.zeros((64, 48, 3))},
            r"can be one picture or 64 grey ones: reshape them to \(1, 64, 48, 3\) or to \(64, 48, 3, 1\)",
        ),
        ({"images": np.zeros((2, 3, 8, 8))}, r"got \(2, 3, 8, 8\): channels come last, np.moveaxis"),
        ({"images": np.eye(8, dtype=np.uint8)[None]}, "brightest .* at least an eighth of white, 255, got 1: .*bool"),
        ({"images": np.eye(8)[None] / 255}, "brightest .* at least an eighth of white, 1, got 0.0039"),
        ({"images": np.full((2, 8, 8), 4095, np.uint16)}, "must be uint8 or floats in .*, or bool, got uint16"),
        (
            {"images": np.full((1, 8, 8, 4), [[1, 1, 1, 0]] * 7 + [[1.0, 1, 1, 1]])},
            "on which a white picture is not seen",
        ),
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


# What has two readings. ---------------------------------------------------------------------------------------------


def test_black_and_white_can_be_said_with_bool(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.eye(8, dtype=bool)[None])
    assert_equal(data.load(str(tmp_path / "a.npz")).train, 2 * np.eye(8, dtype=np.float32)[None, None] - 1)


def test_labels_with_gaps_keep_their_numbers_as_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.full((4, 8, 8), 0.5), labels=np.array([5, 1, 5, 5]), label=np.zeros(4))
    found = data.load(str(tmp_path / "a.npz"))
    assert found.names == ("1", "5") and found.counts == (1, 3) and found.train_labels.tolist() == [1, 0, 1, 1]
    assert str(found) == "4 pictures 8x8x1, 2 classes: 1 (1), 5 (3); 0 held out; not read: label"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digits", r"898 pictures 8x8x1, 10 classes: 0 \(\d+\), 1 \(\d+\), .*, 9 \(\d+\); 899 held out"),
        ("ring", "10000 points in 2 dimensions; 10000 held out"),
        ("two_classes", "10000 points in 1 dimension; 10000 held out"),
    ],
)
def test_a_dataset_says_what_it_is(name, said):
    assert re.fullmatch(said, str(data.load(name)))


def test_of_many_classes_the_first_are_named():
    labels = np.arange(30)
    found = data.Data(np.zeros((30, 1, 8, 8)), labels, np.zeros((0, 1, 8, 8)), labels[:0])
    assert str(found).endswith("10 (1), 11 (1), and 18 more; 0 held out")


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def loaded(path):
    """The pixels of a folder's pictures, 0..255."""
    return np.rint((data.load(str(path)).train + 1) * 127.5)


def test_transparency_becomes_white(tmp_path):
    rng = np.random.default_rng(0)
    colour, opaque = rng.integers(0, 256, (2, 8, 8, 3)), np.full((8, 8, 1), 255)
    icon = np.zeros((8, 8, 4))
    icon[2:6, 2:6, 3] = 255  # black all over, drawn by its opacity alone
    save(tmp_path / "1.png", np.concatenate([colour[0], 0 * opaque], -1))  # two that are not seen at all
    save(tmp_path / "2.png", np.concatenate([colour[1], 0 * opaque], -1))
    save(tmp_path / "3.png", np.concatenate([colour[1], opaque], -1))
    save(tmp_path / "4.png", icon)
    save(tmp_path / "5.png", np.concatenate([colour[1], opaque // 5], -1))
    one, two, three, four, five = loaded(tmp_path)
    assert (one == 255).all() and (two == 255).all()
    assert np.array_equal(three, np.moveaxis(colour[1], 2, 0))
    assert np.array_equal(four, np.broadcast_to(255 - icon[..., 3], (3, 8, 8)))
    white = Image.new("RGBA", (8, 8), "white")
    white.alpha_composite(Image.open(tmp_path / "5.png"))
    assert abs(five - np.moveaxis(np.asarray(white.convert("RGB")), 2, 0)).max() <= 1  # Pillow's own rounding


@pytest.mark.parametrize("kind", ["LA", "P", "L"])
def test_every_kind_of_transparency_becomes_white(tmp_path, kind):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    picture = Image.fromarray(grey)
    if kind == "LA":
        picture.putalpha(Image.fromarray(np.where(grey < 90, 0, 255).astype(np.uint8)))
        picture.save(tmp_path / "a.png")
        hidden = grey < 90
    else:
        picture = picture.convert("P") if kind == "P" else picture
        picture.save(tmp_path / "a.png", transparency=int(grey[3, 3]))  # one of the colours is clear
        hidden = grey == grey[3, 3]
    (seen,) = loaded(tmp_path)
    assert np.array_equal(seen, np.broadcast_to(np.where(hidden, 255, grey), seen.shape))
    assert len(seen) == (3 if kind == "P" else 1)


def test_arrays_of_four_channels_are_put_on_white_too(tmp_path):
    pixels = np.zeros((2, 8, 8, 4))
    pixels[1, ..., 3] = 0.4
    np.save(tmp_path / "a.npy", pixels)
    assert_equal(data.load(str(tmp_path / "a.npy")).train[:, :, 0, 0], np.float32([[1] * 3, [0.2] * 3]), rtol=1e-6)


def test_a_white_picture_drawn_by_its_opacity_is_refused(tmp_path):
    icon = np.full((8, 8, 4), 255)
    icon[:4, :, 3] = 0
    save(tmp_path / "a.png", icon)
    with pytest.raises(
        ValueError, match=r"a.png' cannot be read: transparency becomes white, on which a white picture"
    ):
        data.load(str(tmp_path))


def test_pictures_are_turned_as_the_camera_was_held(tmp_path):
    pixels = np.zeros((8, 6, 3))
    pixels[0, 0] = 255
    upright, exif = Image.fromarray(pixels.astype(np.uint8)), Image.Exif()
    upright.save(tmp_path / "1.png")
    exif[0x0112] = 6  # saved a quarter to the left, to be shown a quarter to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "2.png", exif=exif)
    one, two = loaded(tmp_path)
    assert np.array_equal(one, two) and one[0, 0, 0] == 255


def test_hidden_and_system_files_are_skipped_and_others_are_named(tmp_path):
    pictures_in(tmp_path / "1")
    pictures_in(tmp_path / "2")
    for name in ("1/.DS_Store", "1/Thumbs.db", "2/._0.png", "__MACOSX/1/0.png", ".thumbnails/0.png", "2/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    found = data.load(str(tmp_path))
    assert found.names == ("1", "2") and found.counts == (2, 2)
    assert str(found).endswith(f"; not read: {os.path.join('2', 'notes.txt')}")


def test_class_10_comes_after_class_9(tmp_path):
    for name in range(11):
        pictures_in(tmp_path / str(name), count=1)
    found = data.load(str(tmp_path))
    assert found.names == tuple(map(str, range(11))) and found.train_labels.tolist() == [*range(11)]


@pytest.mark.parametrize("suffix", ["jfif", "JPG", "webp", "tga", "bmp", "pnm"])
def test_every_usual_ending_is_read(tmp_path, suffix):
    kind = {"jfif": "JPEG", "JPG": "JPEG", "pnm": "PPM"}.get(suffix, suffix)
    Image.new("RGB", (8, 8), "white").save(tmp_path / f"a.{suffix}", kind)
    assert (loaded(tmp_path) == 255).all()


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    pictures_in(tmp_path / "elsewhere")
    pictures_in(tmp_path / "data" / "a")
    try:
        (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    assert data.load(str(tmp_path / "data")).counts == (2, 2)
    (tmp_path / "data" / "a" / "2.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    assert data.load(str(tmp_path / "data")).counts == (3, 2)
    (tmp_path / "data" / "a" / "3.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"3.png' cannot be read"):
        data.load(str(tmp_path / "data"))
    (tmp_path / "data" / "a" / "3.png").unlink()
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data", target_is_directory=True)
    with pytest.raises(ValueError, match=r"a link that leads back to a folder around it: .*back'"):
        data.load(str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a/0.png", "b/0.png", "0.png"), "0.png lies beside the folders a, b, which would be classes"),
        (("train/a/0.png", "test/a/0.png"), r"has the parts test, train: give one of them, '.*test'"),
        (("train/0.png",), r"has the parts train"),
        (("all/a/0.png", "all/b/0.png"), r"all classes of '.*' are in one folder: give that one, '.*all'"),
    ],
)
def test_folders_that_may_be_classes_or_not_are_refused(tmp_path, files, said):
    for name in files:
        save(tmp_path / name, np.full((8, 8), 255))
    with pytest.raises(ValueError, match=said):
        data.load(str(tmp_path))


def test_pictures_of_16_bits_that_use_12_are_refused(tmp_path):
    for name, largest in (("1.png", 4095), ("2.png", 3000)):
        Image.fromarray(np.full((8, 8), largest, np.uint16)).save(tmp_path / name)
    with pytest.raises(ValueError, match="of 16 bits must use them all, the brightest pixel is 4095 of 65535"):
        data.load(str(tmp_path))
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "3.png")  # then a dark one is dark
    assert loaded(tmp_path)[:, 0, 0, 0].tolist() == [15, 11, 255]


def test_pictures_of_two_levels_saved_as_0_and_1_are_refused(tmp_path):
    save(tmp_path / "a.png", np.eye(8))
    with pytest.raises(ValueError, match="brightest of all pixels must be at least an eighth of white, 255, got 1"):
        data.load(str(tmp_path))
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")  # of one bit, though, 1 is white
    assert np.array_equal(loaded(tmp_path)[0, 0], 255 * np.eye(8))


@pytest.mark.parametrize("kind", ["gif", "png", "tiff", "webp"])
def test_a_film_is_no_picture(tmp_path, kind):
    frames = [Image.new("L", (8, 8), 80 * i) for i in range(3)]
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"cannot be read: it has 3 frames; save the one to learn from"):
        data.load(str(tmp_path))
    frames[2].save(tmp_path / f"a.{kind}")
    assert abs(loaded(tmp_path) - 160).max() <= 1


def test_a_folder_with_the_name_of_a_built_in_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures_in(tmp_path / "rings")
    with pytest.raises(ValueError, match=r"'rings' is a built-in dataset and a folder here: .* write \./rings for it"):
        data.load("rings")
    assert data.load("./rings").train.shape == (2, 3, 6, 8)
    (tmp_path / "rings" / "config.json").write_text("{}")  # a run of that name is no dataset
    assert data.load("rings").train.shape == (data.POINTS, 2)


@pytest.mark.parametrize("name", ["", " "])
def test_no_name_is_no_dataset(name):
    with pytest.raises(ValueError, match="data must be one of digits"):
        data.load(name)


def test_of_a_built_in_dataset_the_part_that_is_held_out_is_fixed():
    with pytest.raises(
        ValueError, match=r"held_out must be 0 for digits, of which a part is held out anyway, got 0\.1"
    ):
        data.load("digits", 0.1)


def test_the_checksum_is_of_every_part():
    rng = np.random.default_rng(0)
    one = data.split(rng.uniform(-1, 1, (20, 1, 4, 4)).astype(np.float32), np.arange(20) % 2, 0.5)
    others = [one._replace(**{name: 1 - getattr(one, name)}) for name in one._fields[:4]]
    others += [one._replace(train=one.train.reshape(-1, 1, 2, 8)), one._replace(held_out_labels=None)]
    assert len({data.checksum(each) for each in (one, *others)}) == 7
    assert data.checksum(one) == data.checksum(one._replace(train=one.train.copy()))


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_page_on_formats_says_what_is_read(tmp_path):
    page = (DOCS / "train.md").read_text("utf-8")
    page = page[page.index("## Which data can it read?") :].partition("\n## ")[0]
    assert f"`{data.PICTURES}`" in page and f"below {data.LABELS:,}" in page and data.DARKEST == 256 // 8
    for name, count in (("cat", 3), ("dog", 2)):
        pictures_in(tmp_path / name, (32, 32), count)
    (tmp_path / "cat" / "notes.txt").touch()
    assert str(data.load(str(tmp_path))).replace(os.sep, "/") in page


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


@pytest.mark.parametrize("problem", [http.client.IncompleteRead(b"half"), EOFError("ended early"), ValueError("md5")])
def test_a_download_that_breaks_off_is_named(tmp_path, monkeypatch, problem):
    def broken(name, **options):
        raise problem

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", broken)
    with pytest.raises(OSError, match=rf"TINY could not be fetched from openml.org: {type(problem).__name__}"):
        data.openml("TINY", 3, 2, train=4, flips=True)


def test_a_cache_that_cannot_be_written_or_read_costs_nothing(tmp_path, monkeypatch, capsys):
    def fetched(name, **options):
        return sklearn.utils.Bunch(data=np.full((6, 12), 255), target=np.array(["0", "1"] * 3))

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetched)
    (tmp_path / "tinyddpm-tiny.npz").write_bytes(b"damaged")
    assert data.openml("TINY", 3, 2, train=4, flips=True).counts == (2, 2)
    assert (tmp_path / "tinyddpm-tiny.npz").read_bytes() != b"damaged"
    (tmp_path / "tinyddpm-tiny.npz").unlink()
    (tmp_path / "tinyddpm-tiny.npz").mkdir()
    assert data.openml("TINY", 3, 2, train=4, flips=True).counts == (2, 2)
    assert "tinyddpm-tiny.npz could not be written" in capsys.readouterr().err


def test_a_histogram_counts_the_values_of_each_pixel():
    found = data.load("digits")
    for levels, smoothing in ((17, 0.5), (256, 1.0)):
        chances = data.histogram(found.train, levels, smoothing)
        assert chances.shape == (1, 8, 8, levels)
        for row, column in ((0, 0), (3, 4), (7, 2)):
            counts = np.zeros(levels)
            for value in found.train[:, 0, row, column]:
                counts[round((float(value) + 1) / 2 * (levels - 1))] += 1
            assert_equal(chances[0, row, column], (counts + smoothing) / (898 + levels * smoothing))
