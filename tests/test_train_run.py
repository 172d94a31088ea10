"""Chapter 6, the engine: networks, data, the trainer against itself and against what may go wrong, the command line."""

import io
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import sklearn.datasets
import torch
from PIL import Image
from scipy import stats

from tinyddpm import cli, elbo, forward, mixture, train
from tinyddpm.checker import assert_equal
from tinyddpm.files import write
from tinyddpm.train import data, judge, loop, plots, run, times
from tinyddpm.train.config import Config
from tinyddpm.train.lamb import Lamb
from tinyddpm.train.unet import MLP, NORMS, UNet

from .strategies import seeded

pytestmark = pytest.mark.usefixtures("one_thread")

# The networks. -------------------------------------------------------------------------------------------------------

KINDS = [
    {},
    {"levels": 3, "blocks": 2},
    {"levels": 1, "attention": False},
    {"skips": "add", "blocks": 2},
    {"time": "learned", "classes": 3},
    *({"norm": norm} for norm in NORMS if norm != "group"),
]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 4)])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_network_begins_at_zero_and_keeps_the_shape(shape, kind):
    model, x, t = (
        UNet(shape[0], 8, **kind),
        torch.randn(4, *shape, generator=seeded(0)),
        torch.tensor([1, 2, 500, 1000]),
    )
    assert torch.equal(model(x, t), torch.zeros(4, *shape))


def awake(model):
    """A network none of whose weights are 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize(
    "model",
    [*(UNet(1, 8, **kind) for kind in KINDS), MLP(2, 16), MLP(2, 16, time="learned", classes=3)],
    ids=lambda model: type(model).__name__,
)
def test_each_answer_depends_on_its_own_sample_time_and_class_alone(model):
    awake(model)
    deaf = model.condition.label is None
    shape = (2,) if isinstance(model, MLP) else (1, 8, 8)
    x, t, labels = torch.randn(3, *shape, generator=seeded(0)), torch.tensor([3, 300, 900]), torch.tensor([0, 2, -1])
    together = model(x, t, labels)
    apart = torch.cat([model(x[i : i + 1], t[i : i + 1], labels[i : i + 1]) for i in range(3)])
    assert_equal(together, apart, rtol=1e-4, atol=1e-4)
    later = model(x, torch.tensor([3, 301, 900]), labels)
    assert torch.allclose(together[[0, 2]], later[[0, 2]], atol=1e-4)
    assert (together[1] - later[1]).abs().max() > 1e-3
    other = model(x, t, torch.tensor([0, 1, -1]))
    assert torch.equal(together[[0, 2]], other[[0, 2]]) and torch.equal(together[1], other[1]) == deaf
    untold = model(x, t)  # no label is -1
    assert torch.equal(untold[2], together[2]) and torch.equal(untold[0], together[0]) == deaf


def test_each_norm_is_over_what_its_name_says():
    x = torch.randn(4, 16, 3, 5, generator=seeded(0)) * 3 + 1
    for name, over in {"group": (2, 3, 4), "layer": (1, 2, 3, 4), "instance": (3, 4)}.items():
        y = NORMS[name](16)(x).reshape(4, 8, 2, 3, 5)
        assert_equal(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-5)
        assert_equal(y.var(over, correction=0), torch.ones_like(y.mean(over)), rtol=1e-3)
        assert name == "instance" or y.mean(over[1:]).abs().max() > 0.1  # and not over less
    y = NORMS["batch"](16)(x)
    assert_equal(y.mean((0, 2, 3)), torch.zeros(16), atol=1e-5)


def test_the_network_refuses_what_it_cannot_halve():
    for shape in ((2, 1, 7, 8), (2, 1, 8, 7), (2, 8, 8)):
        with pytest.raises(ValueError, match="x_t must be"):
            UNet(1, 8)(torch.zeros(shape), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="height and width multiples of 4"):
        UNet(1, 8, levels=3)(torch.zeros(2, 1, 6, 8), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 12"):
        UNet(1, 12)


@pytest.mark.parametrize(
    "sides, sizes",
    [((8, 8), 2), ((28, 28), 3), ((32, 32), 4), ((64, 16), 3), ((12, 8), 2), ((4, 4), 1), ((7, 8), 1), ((6, 6), 1)],
)
def test_a_picture_is_halved_down_to_four_pixels_if_nothing_else_is_asked_for(sides, sizes):
    model = awake(run.network(Config(width=8), (1, *sides), 0))
    assert len(model.shrink) == sizes - 1
    seen = []
    model.middle_in.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[2:]))
    assert model(torch.zeros(2, 1, *sides), torch.tensor([1, 2])).shape == (2, 1, *sides)
    assert seen == [tuple(side // 2 ** (sizes - 1) for side in sides)]
    assert len(run.network(Config(width=8, levels=1), (1, *sides), 0).shrink) == 0


# What is learned from. -----------------------------------------------------------------------------------------------


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


def test_pictures_with_transparency_are_shown_without(tmp_path):
    pixels_of = np.random.default_rng(0).uniform(-1, 1, (2, 4, 8, 8)).astype(np.float32)
    assert plots.grid(pixels_of) == plots.grid(pixels_of[:, :3])


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


# The trainer. --------------------------------------------------------------------------------------------------------

TINY = Config(steps=4, width=8, batch=8, T=20, device="cpu")


def same(a, b):
    """Whether two checkpoints hold the same tensors, bit for bit."""
    (a, of_a), (b, of_b) = run.read(a / run.LAST), run.read(b / run.LAST)
    assert a.keys() == b.keys() and of_a["steps"] == of_b["steps"]
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three short runs: twice the same, and once with another seed."""
    out, before = tmp_path_factory.mktemp("runs"), torch.get_rng_state()
    reports = [loop.fit(replace(TINY, out=out / str(number), seed=number // 3)) for number in (1, 2, 3)]
    assert torch.equal(torch.get_rng_state(), before)  # what is seeded and drawn globally is put back
    return out, reports


def test_a_seed_repeats_a_run_bit_for_bit(trained):
    out, _ = trained
    assert same(out / "1", out / "2") and not same(out / "1", out / "3")
    first, other = (run.read(out / number / run.LAST)[0]["raw.enter.weight"] for number in "13")
    assert (first - other).abs().max() > 0.05  # further than four steps could take it
    pictures = [(out / number / "samples.png").read_bytes() for number in "123"]
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_run_leaves_whole_files_and_a_report(trained):
    out, (report, *_) = trained
    files = {path.name for path in (out / "1").iterdir()}
    assert files == {run.CONFIG, run.LAST, run.BEST, run.LOG, "samples.png", "loss.png", "report.json"}
    assert json.loads((out / "1" / "report.json").read_text()) == vars(report)
    raw = [value for name, value in run.read(out / "1" / run.LAST)[0].items() if name.startswith("raw.")]
    assert report.parameters == sum(value.numel() for value in raw)
    assert report.steps == 4 and 0 < report.held_out_loss < 2
    assert str(out / "1") in str(report) and "samples.png" in str(report)
    (line,) = map(json.loads, (out / "1" / run.LOG).read_text().splitlines())
    assert line["step"] == 4 and line["loss"] == report.loss
    assert set(line) == {"step", "seconds", "loss", "gradient", "rate", "images_per_second"}


def test_a_run_is_loaded_with_its_averaged_weights(trained):
    out, _ = trained
    before = torch.get_rng_state()
    loaded = run.load(out / "1")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == replace(TINY, out=out / "1") and loaded.shape == (1, 8, 8)
    assert torch.equal(loaded.model.enter.weight, run.read(out / "1" / run.LAST)[0]["average.enter.weight"])
    samples = loaded.sample(5, seed=0, steps=10)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == np.float32 and abs(samples).max() <= 1
    assert np.array_equal(samples, loaded.sample(5, seed=0, steps=10))
    assert np.array_equal(samples, [*loaded.watch(5, seed=0, steps=10)][-1])
    with pytest.raises(ValueError, match=r"steps must lie in 1..20, got 21"):
        loaded.sample(5, seed=0, steps=21)
    with pytest.raises(ValueError, match=r"label must lie in 0..9, got 10"):
        loaded.sample(5, seed=0, steps=2, label=10)
    with pytest.raises(ValueError, match=r"sampler must be ancestral where a variance is given, got 'second_order'"):
        loaded.sample(5, seed=0, steps=2, variance="beta")


def test_samples_made_in_parts_differ(trained, monkeypatch):
    monkeypatch.setattr(run, "AT_ONCE", 2)
    samples = run.load(trained[0] / "1").sample(5, seed=0, steps=2)
    assert len({sample.tobytes() for sample in samples}) == 5


def averages(ema):
    """The average after some steps, and the weights after each, of one number in the network."""
    with torch.random.fork_rng(devices=[]):
        config = replace(TINY, ema=ema, steps=30)
        trainer = loop.Trainer(config, data.load("digits"), torch.device("cpu"))
        passed = [trainer.model.leave.bias.item()]
        for _ in range(30):
            trainer.step(0.0)
            passed.append(trainer.model.leave.bias.item())
    return trainer.average.leave.bias.item(), np.array(passed)


def test_the_average_is_of_the_last_tenth():
    average, passed = averages(None)
    k = np.arange(31)
    # The share of step k, by telescoping: what it enters with, times what later steps keep of it.
    shares = np.diff((k / 30) ** (loop.MEMORY + 1), prepend=0.0)
    assert_equal(np.float64(average), shares @ passed, rtol=1e-5)
    assert 1 - 0.9 ** (loop.MEMORY + 1) > 0.86


def test_the_average_with_a_decay_is_ema_update():
    average, passed = averages(0.9)
    expected = passed[0]
    for n in range(1, 31):
        expected = train.ema_update(expected, passed[n], min(0.9, n / (n + 10)))
    assert_equal(np.float64(average), np.float64(expected), rtol=1e-5)


def test_training_helps(tmp_path):
    pictures = torch.from_numpy(data.load("digits").held_out)
    report = loop.fit(replace(TINY, out=tmp_path, steps=60, batch=64, lr=5e-3))
    untrained = loop.evaluate(lambda x, t: 0 * x, pictures, forward.cosine(20), "velocity")
    assert report.held_out_loss < 0.8 * untrained
    assert 0.8 < untrained < 1.1  # velocity has about the variance of the data


def stepped(count=3, **choices):
    """The weights after some steps."""
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(replace(TINY, **choices), data.load("digits"), torch.device("cpu"))
        for _ in range(count):
            trainer.step(0.0)
        trainer.check()
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize(
    "choices",
    [
        {"optimiser": "adamw"},
        {"optimiser": "lamb"},
        {"optimiser": "sgd"},
        {"norm": "batch"},
        {"time": "learned"},
        {"skips": "add"},
        {"times": "uniform"},
        {"predicts": "noise"},
        {"predicts": "x_0", "zero_terminal_snr": True},
        {"conditional": "clusters"},
        {"conditional": "nothing"},
        {"shift": 1},
        {"dropout": 0.2},
        {"flip": True},
        {"times": "importance"},
        {"weighting": "min_snr"},
        {"weighting": "bound", "predicts": "noise"},
        {"learned_variance": True},
    ],
    ids=str,
)
def test_every_choice_trains_in_its_own_way(choices):
    chosen = stepped(**choices)
    assert torch.equal(chosen, stepped(**choices))
    plain = stepped()
    assert chosen.shape != plain.shape or not torch.equal(chosen, plain)


def test_a_batch_is_made_of_the_data():
    """Half of it mirrored on request, a share of the labels hidden, every time within 1..T."""
    found, chosen = data.load("digits"), {"label_dropout": 0.25, "flip": True, "batch": 1000, "shift": 0}
    with torch.random.fork_rng(devices=[]):
        x_0, t, noise, (labels,) = loop.Trainer(replace(TINY, **chosen), found, torch.device("cpu")).draw()
    known = {x.tobytes(): label for x, label in zip(found.train, found.train_labels, strict=True)}
    mirrored = hidden = 0
    for x, label in zip(x_0.numpy(), labels.tolist(), strict=True):
        mirror = np.ascontiguousarray(x[..., ::-1]).tobytes()
        mirrored += x.tobytes() not in known
        hidden += label == -1
        assert label in (-1, known.get(x.tobytes()), known.get(mirror))
    assert abs(mirrored / 1000 - 0.5) < 4 * 0.5 / 1000**0.5 and abs(hidden / 1000 - 0.25) < 4 * 0.44 / 1000**0.5
    assert t.min() == 1 and t.max() == 20 and noise.shape == x_0.shape and abs(noise.var() - 1) < 0.05


def test_most_of_a_batch_is_moved_and_the_network_told_by_how_much():
    found = data.load("digits")
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(replace(TINY, batch=1000, shift=2, label_dropout=0.0), found, torch.device("cpu"))
        x_0, _, _, (_, moved) = trainer.draw()
    wide = np.pad(found.train[:, 0], ((0, 0), (2, 2), (2, 2)), mode="edge")
    known = {
        (wide[:, 2 - down : 10 - down, 2 - right : 10 - right][i].tobytes(), down, right)
        for down, right in itertools.product(range(-2, 3), repeat=2)
        for i in range(len(wide))
    }
    assert all((x.tobytes(), *by) in known for x, by in zip(x_0[:, 0].numpy(), moved.tolist(), strict=True))
    unmoved = (moved == 0).all(1).double().mean()  # a quarter of them, and one in 25 of the others
    assert abs(unmoved - 0.28) < 4 * 0.45 / 1000**0.5 and moved.min() == -2 and moved.max() == 2


def test_the_network_hears_by_how_much_a_picture_was_moved():
    model, x, t = awake(UNet(1, 8, shift=1)), torch.randn(2, 1, 8, 8, generator=seeded(0)), torch.tensor([3, 300])
    places = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    answers = [model(x, t, None, place.expand(2, 2)) for place in places]
    assert torch.equal(answers[4], model(x, t))  # not moved, if nothing is said
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(answers, 2))


@pytest.mark.parametrize(
    ("shape", "able", "precision", "half"),
    [
        ((1, 8, 8), True, "auto", False),
        ((3, 16, 16), True, "auto", False),
        ((1, 16, 24), True, "auto", True),
        ((1, 16, 24), False, "auto", False),
        ((1, 16, 24), True, "float32", False),
        ((2,), True, "auto", False),
        ((1, 8, 8), False, "bfloat16", True),
    ],
)
def test_bfloat16_is_taken_where_it_pays_or_is_asked_for(shape, able, precision, half, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able}, raising=False)
    found, kinds = data.split(np.zeros((40, *shape), np.float32), None, 0.5), set()
    config = replace(TINY, precision=precision, conditional="nothing", batch=8)
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(config, found, torch.device("cpu"))
        trainer.model.enter.register_forward_hook(lambda _, __, answer: kinds.add(answer.dtype))
        trainer.step(0.0)
    assert kinds == {torch.bfloat16 if half else torch.float32}
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("seen, share", [(0, 0.0), (199, 0.0), (200, 0.05), (599, 0.1), (600, 0.15), (5000, 0.2)])
def test_the_more_often_pictures_were_seen_the_more_is_left_out(seen, share):
    found = data.split(np.zeros((40, 1, 8, 8), np.float32), None, 0.5)
    for asked, expected in ((None, share), (0.3, 0.3)):
        left_out = set()
        with torch.random.fork_rng(devices=[]):
            trainer = loop.Trainer(replace(TINY, dropout=asked), found, torch.device("cpu"))
            trainer.steps = seen * 20 // 8  # 20 pictures, 8 in a step
            for layer in trainer.model.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.register_forward_hook(lambda layer, _, __, seen=left_out: seen.add(layer.p))
            trainer.step(0.5)
        assert left_out == {expected}


@pytest.mark.parametrize(
    "asked, seen, share", [(None, 0, 0.0), (None, 100, 0.125), (None, 400, 0.5), (None, 5000, 0.75), (1, 0, 0.75)]
)
def test_the_more_often_pictures_were_seen_the_more_are_moved(asked, seen, share):
    found = data.split(np.zeros((40, 1, 8, 8), np.float32), None, 0.5)
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(replace(TINY, shift=asked, batch=2000), found, torch.device("cpu"))
        trainer.steps = seen // 100  # 20 pictures, 2000 in a step
        *_, (_, moved) = trainer.draw()
    by_some = (moved != 0).any(1).double().mean()  # one in nine is moved by nothing
    assert abs(by_some - share * 8 / 9) <= 4 * (share * (1 - share)) ** 0.5 / 2000**0.5


def test_the_average_does_not_remember_how_it_came_about():
    """Else every step would hang on the one before it, and a run would need more memory the longer it lasts."""
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(TINY, data.load("digits"), torch.device("cpu"))
        trainer.step(0.0)
    assert not any(weight.requires_grad or weight.grad_fn for weight in trainer.average.parameters())


def test_a_batch_in_parts_has_the_same_gradient():
    plain = {"optimiser": "sgd", "clip": math.inf}
    assert_equal(stepped(**plain, accumulate=4), stepped(**plain), rtol=1e-3, atol=1e-6)


def test_the_squared_norm_is_the_mean_square_times_the_pixels():
    """Adam divides the scale of the gradient out again, but for its epsilon; plain descent does not."""
    alike = {"clip": math.inf}
    assert_equal(stepped(1, **alike, loss="sum"), stepped(1, **alike), rtol=1e-3, atol=1e-5)
    begin = stepped(0)
    slow, fast = (stepped(1, **alike, loss=loss, optimiser="sgd") - begin for loss in ("mean", "sum"))
    assert_equal(fast, 64 * slow, rtol=1e-2, atol=1e-5)


def test_times_are_drawn_where_the_loss_is_large_and_the_mean_stays_the_same():
    drawn = times.Times(replace(TINY, T=4, times="importance"))
    t, sizes = torch.arange(1, 5), torch.tensor([1.0, 2.0, 3.0, 14.0])
    for step in range(times.HISTORY):
        drawn.draw(4, seeded(0), step * times.REFRESH)
        assert torch.equal(drawn.chances, torch.full((4,), 0.25))
        drawn.weigh(t, sizes)
    drawn.draw(4, seeded(0), 1)
    assert torch.equal(drawn.chances, torch.full((4,), 0.25))  # not in the middle of 50 steps
    drawn.draw(4, seeded(0), times.REFRESH)
    assert_equal(drawn.chances, 0.99 * sizes / 20 + 0.01 / 4, rtol=1e-6)
    fair = drawn.weigh(t, sizes)
    assert_equal((drawn.chances * fair).sum(), sizes.mean(), rtol=1e-6)
    often = torch.bincount(drawn.draw(10_000, seeded(0), 1) - 1) / 10_000
    assert (often - drawn.chances).abs().max() < 4 * 0.5 / 100


def test_a_time_that_comes_often_keeps_its_latest_losses():
    drawn = times.Times(replace(TINY, T=2, times="importance"))
    for losses in (range(6), range(6, 12)):
        drawn.weigh(torch.tensor([1, 1, 1, 2, 1, 1]), torch.tensor(losses, dtype=torch.float32))
    assert set(drawn.history[0, : times.HISTORY].tolist()) == {0, 1, 2, 4, 5, 6, 7, 8, 10, 11}
    assert drawn.seen.tolist() == [10, 2] and drawn.history[1].sum() == 3 + 9
    drawn.weigh(torch.ones(2, dtype=torch.int64), torch.tensor([20.0, 30.0]))
    assert set(drawn.history[0, : times.HISTORY].tolist()) == {2, 4, 5, 6, 7, 8, 10, 11, 20, 30}


def test_the_weights_of_the_times_are_those_of_the_bound():
    for predicts, weight in (("noise", elbo.noise_weight), ("x_0", elbo.x0_weight), ("velocity", elbo.velocity_weight)):
        config = replace(TINY, weighting="bound", predicts=predicts)
        with torch.random.fork_rng(devices=[]):
            weights = loop.Trainer(config, data.load("digits"), torch.device("cpu")).times.weights
        steps = list(config.noise_schedule())
        expected = torch.tensor([weight(step, step.beta) for step in steps])
        assert_equal(weights, (expected / expected.mean()).float(), rtol=1e-5)


def test_lamb_steps_as_far_as_the_weights_are_long():
    weights = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    lamb = Lamb([weights], lr=0.1)
    weights.grad = torch.tensor([1e-3, -1e3])
    lamb.step()
    # Adam's first step has only signs, (1, -1): of length sqrt(2), stretched to that of the weights, 5.
    assert_equal(weights.detach(), torch.tensor([3 - 0.5 / 2**0.5, 4 + 0.5 / 2**0.5]), rtol=2e-3)


def test_points_are_learned_and_drawn(tmp_path, capsys):
    report = loop.fit(replace(TINY, data="ring", out=tmp_path, steps=200, batch=256, T=100, width=16, lr=5e-3))
    assert report.held_out_loss < 0.9
    samples = run.load(tmp_path).sample(500, seed=0, steps=50)
    assert samples.shape == (500, 2) and (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert 1 < abs(samples).max() < 4  # not clipped, as pictures are
    assert cli.main(["sample", str(tmp_path), "--states", "3", "--out", str(tmp_path / "way.png")]) == 2
    assert "states must not be given for a run of points, got 3" in capsys.readouterr().err
    assert not (tmp_path / "way.png").exists()


def test_a_learned_variance_need_not_be_used(tmp_path):
    loop.fit(replace(TINY, learned_variance=True, out=tmp_path))
    drawn = [run.load(tmp_path).sample(2, 0, sampler="ancestral", variance=of) for of in train.VARIANCES]
    assert all(samples.shape == (2, 1, 8, 8) for samples in drawn)
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])


def test_guidance_needs_a_network_that_can_answer_with_a_class_and_without(tmp_path):
    for name, choices in {"none": {"conditional": "nothing"}, "always": {"label_dropout": 0.0}}.items():
        loop.fit(replace(TINY, out=tmp_path / name, **choices))
        with pytest.raises(
            ValueError, match="guidance must be 0 for a run that was told no classes, or always told them"
        ):
            run.load(tmp_path / name).sample(2, 0, guidance=1.0)


def test_a_class_can_be_asked_for(tmp_path):
    """Dark pictures are class 0 and bright ones class 1: what is asked for comes, and more so with guidance."""
    level = np.random.default_rng(0).uniform(0, 0.4, 200) + np.repeat([0.0, 0.6], 100)
    np.savez(tmp_path / "a.npz", images=level[:, None, None] * np.ones((1, 4, 4)), labels=np.repeat([0, 1], 100))
    chosen = {"steps": 150, "batch": 64, "lr": 5e-3, "label_dropout": 0.2}
    loop.fit(replace(TINY, data=str(tmp_path / "a.npz"), out=tmp_path / "run", **chosen))
    loaded = run.load(tmp_path / "run")
    assert loaded.counts == (100, 100)
    dark, bright, brighter = (
        loaded.sample(20, seed=0, steps=20, label=label, guidance=w).mean()
        for label, w in ((0, 0.0), (1, 0.0), (1, 1.0))
    )
    assert dark < -0.2 < 0.2 < bright < brighter
    means = loaded.sample(20, seed=0, steps=20).mean((1, 2, 3))
    assert means[:10].mean() < -0.2 < 0.2 < means[10:].mean()  # no label: all in turn
    with pytest.raises(ValueError, match=r"label must lie in 0..1, got 2"):
        loaded.sample(1, seed=0, label=2)


def test_classes_come_as_often_as_in_the_data(trained):
    uneven = replace(run.load(trained[0] / "1"), counts=(10, 0, 25, 5))
    assert np.bincount(uneven.labels(8)).tolist() == [2, 0, 5, 1]
    assert np.bincount(uneven.labels(4000)).tolist() == [1000, 0, 2500, 500]
    assert uneven.labels(3, 1).tolist() == [1, 1, 1]


def test_the_clock_ends_a_run(tmp_path):
    report = loop.fit(replace(TINY, out=tmp_path, steps=None, seconds=0.05))
    assert 0.05 <= report.seconds < 5 and report.steps >= 1


def test_there_is_time_for_one_step(tmp_path):
    assert loop.fit(replace(TINY, out=tmp_path, steps=None, seconds=1e-9)).steps == 1


def test_large_pictures_are_drawn_and_measured_few_at_a_time(trained, monkeypatch):
    assert run.at_once((1, 8, 8)) == run.at_once((2,)) == 500 and run.at_once((3, 32, 32)) == 125
    assert run.at_once((3, 1024, 1024)) == 1
    monkeypatch.setattr(run, "PIXELS", 3 * 64)
    loaded, sizes = run.load(trained[0] / "1"), []
    loaded.model.register_forward_pre_hook(lambda _, told: sizes.append(len(told[0])))
    assert len(loaded.sample(7, 0, steps=2)) == 7 and sizes == [3, 3, 3, 3, 1, 1]
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(TINY, data.load("digits"), torch.device("cpu"))
    sizes.clear()
    trainer.average.register_forward_pre_hook(lambda _, told: sizes.append(len(told[0])))
    assert loop.held_out_loss(trainer, repeats=2) > 0 and sizes == [6, 6]


def test_grids_on_the_way(tmp_path):
    loop.fit(replace(TINY, out=tmp_path, grid_every=1e-9, steps=2))
    assert {path.name for path in tmp_path.glob("samples-*.png")} == {
        "samples-0.png",
        "samples-1.png",
    }  # then samples.png


def test_no_grid_is_drawn_of_what_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "training_loss", lambda *a: train.training_loss(*a) * math.nan)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 1; try an lr"):
        loop.fit(replace(TINY, out=tmp_path, grid_every=1e-9))


# Nothing lost. -------------------------------------------------------------------------------------------------------


def stopped_after(monkeypatch, steps, config):
    """Train, and be interrupted in the middle of a step."""
    calls, draw = itertools.count(1), loop.Trainer.draw

    def interrupted(trainer):
        if next(calls) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.fit(config)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"ema": 0.9, "dropout": 0.1, "shift": 1, "conditional": "labels", "flip": True, "times": "uniform"},
        {"norm": "batch", "optimiser": "lamb"},
        {"data": "ring", "optimiser": "sgd"},
        {"data": "moons", "optimiser": "adamw", "accumulate": 2},
        {"data": "ring", "learned_variance": True, "times": "importance", "T": 4, "steps": 40},
    ],
    ids=str,
)
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(tmp_path, monkeypatch, choices):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    config = replace(TINY, **{"steps": 8, **choices})
    loop.fit(replace(config, out=tmp_path / "whole"))
    resumed = replace(config, out=tmp_path / "parts", resume=True)  # there is nothing yet: it begins
    stopped_after(monkeypatch, 3, resumed)
    assert run.load(tmp_path / "parts").sample(1, seed=0, steps=2).shape[0] == 1
    assert run.read(tmp_path / "parts" / run.LAST)[1]["steps"] == 3
    stopped_after(monkeypatch, 2, resumed)
    report = loop.fit(resumed)
    assert same(tmp_path / "whole", tmp_path / "parts")
    logs = [
        [json.loads(line) for line in (tmp_path / name / run.LOG).read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    for of in ("step", "loss", "gradient", "rate"):
        assert [line[of] for line in logs[0]] == [line[of] for line in logs[1]]
    seconds = [line["seconds"] for line in logs[1]]
    assert seconds == sorted(seconds) and report.seconds > seconds[-1] - 1e-3  # the log rounds
    again = loop.fit(resumed)  # a finished run only reports
    assert again.steps == config.steps and again.loss == report.loss and same(tmp_path / "whole", tmp_path / "parts")


def test_the_clock_runs_on_over_an_interruption(tmp_path, monkeypatch):
    config = replace(TINY, out=tmp_path, steps=None, seconds=0.3, resume=True)
    stopped_after(monkeypatch, 2, config)
    so_far = run.read(tmp_path / run.LAST)[1]["seconds"]
    begun = time.monotonic()
    report = loop.fit(config)
    assert 0 < so_far < report.seconds < 0.3 + 1
    assert report.seconds - so_far < time.monotonic() - begun


@pytest.fixture(scope="module")
def forked():
    """Processes that begin with everything imported: a new one would take seconds for that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "sklearn.datasets", "torch._dynamo", "torch.nn.parallel"])
    return context


def child(config):
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no bar
    loop.LOG_EVERY, draw = 3, loop.Trainer.draw
    loop.Trainer.draw = lambda trainer: time.sleep(0.01) or draw(trainer)  # so that it can be killed at many a step
    loop.fit(config)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path, forked):
    config = replace(TINY, data="ring", steps=45, resume=True, save_every=1e-9, out=tmp_path / "killed")

    def begin():
        process = forked.Process(target=child, args=(config,))
        process.start()
        return process

    chance, kills, seen = random.Random(0), 0, set()
    for _ in range(100):
        process = begin()
        process.join(chance.uniform(0.0, 0.4) * (1 + kills / 10))  # on a slow machine too, it gets on in the end
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        if (tmp_path / "killed" / run.LAST).is_file():
            seen.add(run.read(tmp_path / "killed" / run.LAST)[1]["steps"])  # whole, whenever it was killed
    assert process.exitcode == 0 and kills >= 3 and len(seen) >= 2
    loop.fit(replace(config, out=tmp_path / "whole", resume=False, save_every=10.0))
    assert same(tmp_path / "killed", tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / run.LOG).read_text().splitlines()]
    assert steps == [*range(3, 46, 3)]


# A GPU. --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "choices", [{}, {"conditional": "labels", "flip": True, "times": "uniform"}, {"data": "ring"}], ids=str
)
def test_a_gpu_trains_without_being_waited_for(tmp_path, choices):
    config = replace(TINY, device="cuda", **choices)
    with torch.random.fork_rng():
        trainer = loop.Trainer(config, data.load(config.data), torch.device("cuda", 0))
        trainer.step(0.0)  # the first one may set things up
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.step(0.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        trainer.check()
    report = loop.fit(replace(config, out=tmp_path, steps=30))
    assert math.isfinite(report.held_out_loss) and report.peak_memory_mb > 0
    assert math.isfinite(run.load(tmp_path, device="cuda").sample(4, seed=0, steps=5).sum())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("choices", [{}, {"compile": True}, {"compile": True, "accumulate": 2}], ids=str)
def test_a_gpu_learns_what_a_cpu_learns(tmp_path, choices):
    config = replace(TINY, steps=60, batch=64, lr=5e-3)
    losses = [
        loop.fit(replace(config, out=tmp_path / of["device"], **of)).held_out_loss
        for of in ({"device": "cpu"}, {"device": "cuda", **choices})
    ]
    assert abs(losses[0] - losses[1]) < 0.1 * losses[0]


# More than one process. ----------------------------------------------------------------------------------------------


def member(config, rank, port, stop_at, refused):
    """One of two processes, told so by what torchrun sets; the first may be interrupted, or both refuse."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no bar
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    calls, draw = itertools.count(1), loop.Trainer.draw

    def counted(trainer):
        if next(calls) == stop_at and rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(trainer)

    loop.Trainer.draw = counted
    try:
        report = loop.fit(config)
    except KeyboardInterrupt:
        sys.exit(3)
    except ValueError as problem:
        sys.exit(4 if refused and re.search(refused, str(problem)) else 1)
    assert (report is None) == (rank == 1)


def two_processes(forked, config, stop_at=None, refused="", other=None):
    """Train in two processes, the second with another config if one is given; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configs = enumerate((config, other or config))
    crew = [forked.Process(target=member, args=(of, rank, port, stop_at, refused)) for rank, of in configs]
    for process in crew:
        process.start()
    for process in crew:
        process.join(60)
        process.kill()  # one that still waits for the other would wait for ever
        process.join()
    return [process.exitcode for process in crew]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
@pytest.mark.parametrize(
    "choices",
    [
        {"optimiser": "sgd", "accumulate": 2, "clip": math.inf, "steps": 1},
        {"data": "ring", "accumulate": 2, "steps": 6},
    ],
)
def test_two_processes_are_as_good_as_one(tmp_path, forked, choices):
    """The same batch, shared out: the same gradient, but for the order of sums, and the same run when it is resumed."""
    config = replace(TINY, **choices)
    loop.fit(replace(config, accumulate=1, out=tmp_path / "one"))
    shared = replace(config, out=tmp_path / "two", resume=True)
    if config.steps > 1:
        assert two_processes(forked, shared, stop_at=3) == [3, 3]
        assert run.read(tmp_path / "two" / run.LAST)[1]["steps"] == 3
    assert two_processes(forked, shared) == [0, 0]
    one, two = (run.read(tmp_path / name / run.LAST)[0] for name in ("one", "two"))
    assert one.keys() == two.keys() and torch.equal(one["generator"], two["generator"])
    for name in one:
        if name.startswith(("raw.", "average.")):
            assert_equal(two[name], one[name], rtol=1e-3, atol=1e-5)  # float32, and Adam magnifies


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_what_two_processes_leave_out_is_what_two_parts_of_one_leave_out(tmp_path, forked):
    config = replace(TINY, dropout=0.3, steps=4)
    loop.fit(replace(config, accumulate=2, out=tmp_path / "one"))
    assert two_processes(forked, replace(config, out=tmp_path / "two")) == [0, 0]
    one, two = (run.read(tmp_path / name / run.LAST)[0] for name in ("one", "two"))
    assert torch.equal(one["generator"], two["generator"])
    for name in one:
        if name.startswith("raw."):
            assert_equal(two[name], one[name], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_processes_that_find_different_saves_do_not_go_on(tmp_path, forked):
    """On two machines, each with a folder of its own."""
    config = replace(TINY, out=tmp_path / "run", resume=True, steps=6)
    assert two_processes(forked, config, stop_at=3) == [3, 3]
    kept = (tmp_path / "run" / run.LAST).read_bytes()
    said = "out must be a folder that all processes share, got .*, where they find runs of 0 and of 3 steps"
    assert two_processes(forked, config, refused=said, other=replace(config, out=tmp_path / "elsewhere")) == [4, 4]
    assert (tmp_path / "run" / run.LAST).read_bytes() == kept


def test_a_batch_that_cannot_be_shared_out(tmp_path):
    with pytest.raises(ValueError, match="batch must be a multiple of 6, processes times accumulate, got 8"):
        loop.Trainer(replace(TINY, accumulate=2), data.load("digits"), torch.device("cpu"), processes=3)


# What may go wrong. --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_saved(tmp_path, monkeypatch):
    config = replace(TINY, out=tmp_path, steps=10, resume=True)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / run.LAST).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_loss", lambda *a: train.training_loss(*a) * math.nan)
        with pytest.raises(FloatingPointError, match=r"no longer finite at step 10; try an lr below 0.002. What was"):
            loop.fit(config)
    assert (tmp_path / run.LAST).read_bytes() == kept
    assert loop.fit(config).steps == 10


def test_a_gradient_that_is_not_finite_is_noticed_too(tmp_path, monkeypatch):
    def cliff(*arguments):
        loss = train.training_loss(*arguments)
        return loss + 0 * (loss - loss.detach()).sqrt()  # the slope of a square root at 0 is infinite

    monkeypatch.setattr(loop, "training_loss", cliff)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        loop.fit(replace(TINY, out=tmp_path, steps=1))
    with pytest.raises(ValueError, match="stopped before its first save"):
        run.load(tmp_path)


def test_no_room_to_save_keeps_what_was_saved(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")  # not on Windows
    config = replace(TINY, out=tmp_path, steps=10, resume=True)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / run.LAST).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"safetensors could not be written .* what was saved before is kept"):
            loop.fit(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / run.LAST).read_bytes() == kept and not list(tmp_path.glob(".*.part"))
    assert loop.fit(config).steps == 10


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    config = replace(TINY, out=tmp_path, resume=True)
    loop.fit(config)
    for name in (run.LAST, run.BEST):
        (tmp_path / f".{name}.123.part").write_bytes(b"half")
    with pytest.raises(ValueError, match="out must be a new or an empty folder"):  # it may be another's, who saves now
        loop.fit(replace(config, resume=False))
    assert len(list(tmp_path.glob(".*"))) == 2
    loop.fit(config)
    assert not list(tmp_path.glob(".*"))


def test_a_run_goes_on_with_another_kind_of_generator(tmp_path, monkeypatch):
    """Saved on a GPU and resumed on a CPU, say: not bit for bit, but it goes on, and the same way every time."""
    stopped_after(monkeypatch, 3, replace(TINY, out=tmp_path / "a", steps=6))
    tensors, state = run.read(tmp_path / "a" / run.LAST)
    run.save(tmp_path / "a" / run.LAST, {**tensors, "generator": tensors["generator"][:16]}, state)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        assert loop.fit(replace(TINY, out=tmp_path / name, steps=6, resume=True)).steps == 6
    a, b = (run.read(tmp_path / name / run.LAST)[0] for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    with torch.random.fork_rng(devices=[]):
        new, resumed = (loop.Trainer(TINY, data.load("digits"), torch.device("cpu")) for _ in range(2))
        resumed.restore({**tensors, "generator": tensors["generator"][:16]}, state)
    assert not torch.equal(new.draw()[0], resumed.draw()[0])  # and not with the first batches again


def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path):
    shutil.copytree(trained[0] / "1", tmp_path / "run")
    tensors, state = run.read(tmp_path / "run" / run.LAST)
    tensors.pop("raw.leave.bias")
    run.save(tmp_path / "run" / run.LAST, tensors, state)
    with pytest.raises(ValueError, match=r"last.safetensors does not belong to its config: .*raw.leave.bias"):
        loop.fit(replace(TINY, out=tmp_path / "run", resume=True))


def test_a_damaged_checkpoint_is_refused(trained, tmp_path):
    shutil.copytree(trained[0] / "1", tmp_path / "run")
    file, config = tmp_path / "run" / run.LAST, replace(TINY, out=tmp_path / "run", resume=True)
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], content[:-1], b"x" * 1000):
        file.write_bytes(damaged)
        for attempt in (lambda: run.load(tmp_path / "run"), lambda: loop.fit(config)):
            with pytest.raises(ValueError, match=r"last.safetensors' is damaged: .* or begin anew"):
                attempt()
        assert file.read_bytes() == damaged
    assert run.load(tmp_path / "run", best=True).sample(1, seed=0, steps=2).shape[0] == 1
    (tmp_path / "run" / run.CONFIG).write_text('{"config": {"widht": 8}}')
    with pytest.raises(ValueError, match=r"config.json' is not the config of a run"):
        run.load(tmp_path / "run")


def test_a_run_is_sampled_after_its_data_have_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=np.full((9, 8, 8), 0.5))
    loop.fit(replace(TINY, data="some.npz", steps=1, out=Path("run")))
    Path("some.npz").unlink()
    assert cli.main(["sample", "run", "--n", "2", "--steps", "2", "--out", "numbers.npz"]) == 0
    for arguments in (["judge", "run"], ["train", "--data", "some.npz", "--resume", "--out", "run"]):
        assert cli.main(arguments) == 2
        assert "data must be one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 1e-3}, "lr must stay 0.002, as in the run .*, got 0.001"),
        ({"width": 16}, "width must stay 8"),
        ({"seed": 1}, "seed must stay 0"),
        ({"steps": 5}, "steps must stay 4"),
        ({"data": "ring"}, "data must stay"),
    ],
)
def test_a_run_goes_on_only_as_what_it_is(trained, changed, said):
    folder = trained[0] / "1"
    before = (folder / run.LAST).read_bytes()
    with pytest.raises(ValueError, match=said):
        loop.fit(replace(TINY, out=folder, resume=True, **changed))
    with pytest.raises(ValueError, match="out must be a new or an empty folder"):
        loop.fit(replace(TINY, out=folder))
    assert (folder / run.LAST).read_bytes() == before
    assert loop.fit(replace(TINY, out=folder, resume=True, save_every=5.0)).steps == 4


def test_other_pictures_under_the_same_name_are_noticed(tmp_path):
    images = np.zeros((20, 4, 4))
    np.savez(tmp_path / "a.npz", images=images)
    config = replace(TINY, data=str(tmp_path / "a.npz"), out=tmp_path / "run", resume=True)
    assert loop.fit(config).held_out_loss is None
    np.savez(tmp_path / "a.npz", images=images + 0.5)
    with pytest.raises(ValueError, match="data must stay"):
        loop.fit(config)
    with pytest.raises(ValueError, match=r"best.safetensors: nothing was held out"):
        run.load(tmp_path / "run", best=True)


def test_the_best_is_kept_when_the_last_is_worse(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr(loop, "held_out_loss", lambda *a, **k: next(losses))
    loop.fit(replace(TINY, out=tmp_path, steps=4, save_every=1e-9))
    assert run.read(tmp_path / run.BEST)[1] == {**run.read(tmp_path / run.BEST)[1], "steps": 2, "best": 1.0}
    best, last = (run.load(tmp_path, best=best).model.leave.weight for best in (True, False))
    assert not torch.equal(best, last)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "kept"
    write(path, lambda file: file.write(b"old"))
    with open(path, "rb") as reader:
        write(path, lambda file: file.write(b"new"))
        assert reader.read() == b"old"  # who has it open keeps the old file, whole
    assert path.read_bytes() == b"new"

    def fails(file):
        file.write(b"ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write(path, fails)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


# What is looked at. --------------------------------------------------------------------------------------------------


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_grid_shows_every_sample_in_its_place():
    samples = np.linspace(-1, 1, 5).reshape(5, 1, 1, 1) * np.ones((5, 1, 4, 6))
    picture = pixels(plots.grid(samples))[..., 0]
    assert picture.shape == (2 * (4 * 12 + 2), 3 * (6 * 12 + 2))
    shades = picture.reshape(2, 50, 3, 74)[:, 10, :, 10].ravel()
    np.testing.assert_allclose(shades, 255 * np.array([0, 0.25, 0.5, 0.75, 1, 1]), atol=1)


def test_the_way_shows_the_first_and_the_last_state_of_every_sample():
    states = [np.stack([np.full((1, 4, 4), level), np.full((1, 4, 4), -level)]) for level in np.linspace(-1, 1, 9)]
    with pytest.raises(ValueError, match="states must be at most 9, got 10"):
        plots.way(states, 10)
    picture = pixels(plots.way(states, 3))[..., 0]
    assert picture.shape == (2 * 50, 3 * 50)
    shades = picture.reshape(2, 50, 3, 50)[:, 10, :, 10]
    np.testing.assert_allclose(shades, [[0, 127.5, 255], [255, 127.5, 0]], atol=1)


@pytest.mark.parametrize("dims", [1, 2])
def test_points_are_shown_where_they_lie(dims):
    left, right = (pixels(plots.grid(np.full((50, dims), at))) for at in (-1.5, 1.5))
    assert left.shape == right.shape and (left != right).any()
    marked = [np.nonzero((image != 255).any(-1)[40:360])[1].mean() for image in (left, right)]
    assert marked[0] < marked[1]


def test_the_gif_has_every_state():
    film = Image.open(io.BytesIO(plots.gif(np.full((2, 1, 8, 8), level) for level in np.linspace(-1, 1, 7))))
    assert film.n_frames == 7
    film.seek(6)
    assert film.info["duration"] == 2000 and film.convert("L").getpixel((10, 10)) == 255


@pytest.mark.parametrize(
    ("field", "value"),
    {
        "data": "letters",
        "schedule": "sine",
        "predicts": "score",
        "T": 0,
        "batch": 0,
        "steps": 0,
        "seconds": 0.0,
        "lr": math.nan,
        "ema": 1.0,
        "width": 12,
        "seed": -1,
        "times": "even",
        "loss": "norm",
        "optimiser": "rprop",
        "norm": "weight",
        "time": "none",
        "skips": "none",
        "device": "tpu",
        "accumulate": 3,
        "warm_up": -1,
        "clip": 0.0,
        "save_every": math.nan,
        "dropout": 1.0,
        "label_dropout": -0.1,
        "held_out": 1.0,
    }.items(),
)
def test_a_config_that_cannot_be_run_is_refused_before_anything_is_written(tmp_path, field, value):
    with pytest.raises(ValueError, match=f"{field} must"):
        loop.fit(replace(TINY, out=tmp_path / "runs", **{field: value}))
    assert not (tmp_path / "runs").exists()


def test_choices_that_do_not_go_together(tmp_path):
    for choices, said in (
        ({"zero_terminal_snr": True, "predicts": "noise"}, "predicts must be x_0 or velocity with zero_terminal_snr"),
        ({"resume": True, "out": None}, "resume needs out"),
        ({"learned_variance": True, "weighting": "min_snr"}, "weighting must be equal with learned_variance"),
        ({"conditional": "labels", "data": "ring"}, "conditional must be clusters or nothing for data without labels"),
    ):
        with pytest.raises(ValueError, match=said):
            loop.fit(replace(TINY, **{"out": tmp_path / "runs", **choices}))
        assert not (tmp_path / "runs").exists()


# What a run is worth. ------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_judge(tmp_path, monkeypatch):
    """A judge that learns for a moment, and is kept where nobody else looks."""
    monkeypatch.setattr(judge, "STEPS", 12)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_judge_is_trained_once_and_draws_nothing_from_outside(quick_judge, tmp_path, monkeypatch):
    found, before = data.load("digits"), torch.get_rng_state()
    threads = []  # it learns with one, so that it is the same on any number of cores
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(judge, "_learn", lambda *told, learn=judge._learn: learn(*told) or threads.append("learns"))
    first, accuracy = judge.classifier(found)
    assert torch.equal(torch.get_rng_state(), before) and not first.training
    assert threads == [1, "learns", 7]
    assert 0.1 < accuracy < 1  # better than chance, after so short a time
    monkeypatch.setattr(judge, "_learn", lambda *_: pytest.fail("it was kept"))
    again, kept = judge.classifier(found)
    features = first.describe(found.train[:7])
    assert np.array_equal(features, again.describe(found.train[:7])) and kept == accuracy
    assert features.shape == (7, 64)
    monkeypatch.undo()  # the judge of another version, or a damaged one, is replaced
    monkeypatch.setattr(judge, "STEPS", 1)
    (file,) = (tmp_path / "cache").rglob("judge-*")
    for content in (b"damaged", safetensors.torch.save({"see.0.weight": torch.zeros(1)}, {"state": "{}"})):
        file.write_bytes(content)
        assert judge.classifier(found, file.parent)[1] > 0 and len(file.read_bytes()) > 1000


def test_a_verdict_has_every_figure_beside_its_floor(quick_judge):
    found = data.load("digits")
    copies = judge.compare(found.train, found)
    assert copies.frechet_distance == copies.frechet_floor > 0 and copies.nearest_neighbours < 0.01
    noise = judge.compare(np.random.default_rng(0).uniform(-1, 1, (100, 1, 8, 8)).astype(np.float32), found)
    assert noise.frechet_distance > 5 * noise.frechet_floor and noise.nearest_neighbours > 1.5
    said = str(noise)
    for figure in ("frechet_distance", "frechet_floor"):
        assert f"{getattr(noise, figure):.4f}" in said
    assert f"{noise.accuracy:.1%}" in said


def test_a_judge_is_of_its_labels_too(quick_judge, tmp_path):
    found = data.load("digits")
    judge.classifier(found, tmp_path)
    judge.classifier(found._replace(train_labels=(found.train_labels + 1) % 10), tmp_path)
    assert len(list(tmp_path.glob("judge-*"))) == 2


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="samples must be finite numbers"):
        judge.compare(np.full((9, 1, 8, 8), np.nan, np.float32), data.load("digits"))


def test_the_error_of_the_bound_is_that_of_its_mean(trained):
    loaded, found = run.load(trained[0] / "1"), data.load("digits")
    bounds = [
        judge.bound(loaded, found._replace(held_out=found.held_out[i::8], held_out_labels=found.held_out_labels[i::8]))
        for i in range(8)
    ]
    spread = np.std([each["bound"] for each in bounds], ddof=1)
    assert 0.4 < spread / np.mean([each["bound_error"] for each in bounds]) < 2


def test_neighbouring_seeds_leave_out_other_numbers():
    assert len({loop._mixed(seed, step, part) for seed in range(5) for step in range(5) for part in range(5)}) == 125


def test_a_figure_that_cannot_be_told_says_why_and_leaves_the_others(quick_judge):
    found = data.load("digits")
    one = np.repeat(found.train[:1], 9, 0)
    alike = judge.compare(found.train, found._replace(held_out=one, held_out_labels=found.held_out_labels[:9]))
    assert alike.frechet_distance is None and alike.frechet_floor is None and alike.nearest_neighbours is None
    assert "Fréchet distance     untold: real must have more than one value" in str(alike)
    assert "nearest neighbours   untold: held_out must not be in train" in str(alike)
    flat = np.zeros((9, 1, 8, 8), np.float32)
    assert judge.compare(flat, found).nearest_neighbours > 0


def test_copies_are_found_wherever_in_the_training_data_they_come_from():
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-1, 1, (7000, 1, 4, 4)).astype(np.float32)
    found = data.Data(pictures[:6000], None, pictures[6000:], None)
    assert judge.compare(pictures[5500:6000], found).nearest_neighbours == 0


def test_points_that_come_class_by_class_are_judged_as_one():
    found = data.load("ring")
    real = mixture.ring(8).sample(20_000, np.random.default_rng(5)).astype(np.float32)
    real = real[np.argsort(np.arctan2(*real.T))]
    verdict = judge.compare(real, found)
    assert verdict.sliced_wasserstein < 2 * verdict.sliced_floor


def test_points_are_judged_by_their_sliced_distance():
    found = data.load("ring")
    real = mixture.ring(8).sample(5000, np.random.default_rng(5)).astype(np.float32)
    good, bad = judge.compare(real, found), judge.compare(0.8 * real, found)
    assert good.sliced_wasserstein < 2 * good.sliced_floor < bad.sliced_wasserstein
    assert good.frechet_distance is None and "real against real" in str(good)


def test_the_bound_of_a_run_is_the_bound_of_its_network(trained):
    found, loaded = data.load("digits"), run.load(trained[0] / "1")
    figures = judge.bound(loaded, found, n=50)
    assert_equal(figures["bound"], sum(figures["bound_terms"]) + figures["bound_class"])
    labels = found.held_out_labels[:50]  # each is named by its share of the training data
    assert_equal(figures["bound_class"], -np.log2(np.bincount(found.train_labels)[labels] / 898).mean() / 64)
    # L_0 by hand: a pixel is one of 17 values, and its bin reaches half-way to the next.
    first, rng, step = found.held_out[:50], seeded(0), loaded.config.noise_schedule()[1]
    noise = torch.randn(first.shape, generator=rng).numpy()
    x_t, t = (step.alpha_bar**0.5 * first + step.noise_var**0.5 * noise).astype(np.float32), torch.ones(50)
    with torch.no_grad():
        velocity = loaded.model(torch.from_numpy(x_t), t.long(), torch.from_numpy(labels)).numpy()
    mean = np.clip(step.alpha_bar**0.5 * x_t - step.noise_var**0.5 * velocity, -1, 1).astype(np.float64)
    std = step.beta**0.5
    low, high = (np.where(first == side, side * np.inf, first + side / 16) for side in (-1, 1))
    chance = stats.norm.cdf(high, mean, std) - stats.norm.cdf(low, mean, std)
    assert_equal(figures["bound_terms"][0], -np.log2(chance).mean(), rtol=1e-3)
    assert len(figures["bound_terms"]) == 21 and "bound_floor" not in figures and 0.5 < figures["bound"] < 20
    # L_T needs no network: by hand, from the mean square of the pictures.
    left, x = loaded.config.noise_schedule()[20].alpha_bar, found.held_out[:50].astype(np.float64)
    last = (left * (x**2).mean() - left - math.log(1 - left)) / 2 / math.log(2)
    assert_equal(figures["bound_terms"][-1], last, rtol=1e-3)  # float32, where left is small


def test_the_bound_of_points_stands_beside_the_truth(tmp_path):
    loop.fit(replace(TINY, data="ring", out=tmp_path, steps=100, batch=256, T=50, width=16, lr=5e-3))
    figures = judge.bound(run.load(tmp_path), data.load("ring"), n=1000)
    # The truth by hand: eight corners far apart, in each of which the entropy is a Gaussian's.
    exact = (math.log(8) / 2 + math.log(2 * math.pi * math.e * 0.02) / 2) / math.log(2)
    assert abs(figures["bound_floor"] - exact) < 4 * 0.5 / 1000**0.5 / math.log(2)
    assert figures["bound"] > figures["bound_floor"]


def test_the_bound_of_exact_answers_is_close_to_the_truth(tmp_path):
    """Twice as wide with the smaller variance."""
    config = replace(TINY, data="ring", out=tmp_path, T=500)
    loop.fit(config)
    truth, schedule = mixture.ring(8), config.noise_schedule()

    def exact(x_t, t, labels=None):
        step, x = schedule[int(t[0])], x_t.double().numpy()
        noise = truth.noise(x, step)
        x_0 = forward.predict_x0(x, noise, step)
        return torch.from_numpy(step.alpha_bar**0.5 * noise - step.noise_var**0.5 * x_0).float()

    figures = judge.bound(replace(run.load(tmp_path), model=exact), data.load("ring"))
    assert abs(figures["bound"] - figures["bound_floor"]) < 4 * figures["bound_error"] < 0.2


def test_a_run_is_judged_from_the_command_line(trained, quick_judge, capsys):
    assert cli.main(["judge", str(trained[0] / "1"), "--n", "50", "--steps", "3"]) == 0
    said = capsys.readouterr().out
    written = json.loads((trained[0] / "1" / "judge.json").read_text("utf-8"))
    assert written["drawn"] == {"seed": 0, "best": False, "sampler": "second_order", "steps": 3}
    assert "bound" in said and "50 samples" in said and "real against real" in said and "nearest neighbours" in said
    assert cli.main(["judge", str(trained[0] / "9")]) == 2


# The command line. ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "judged"), [([], True), (["--judge", "False"], False), (["--data", "some.npz"], False)]
)
def test_train_prints_where_the_samples_are_and_what_they_are_worth(
    quick_judge, tmp_path, monkeypatch, capsys, arguments, judged
):
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=np.full((9, 8, 8), 0.5), labels=np.arange(9) % 3)
    tiny = ["--steps", "1", "--width", "8", "--batch", "2", "--T", "5", "--out", "run"]
    assert cli.main(["train", *tiny, *arguments]) == 0
    said = capsys.readouterr().out
    assert os.path.join("run", "samples.png") in said
    files = {(tmp_path / "run" / name).is_file() for name in ("judge.json", "bound.png")}
    assert {judged} == {"real against real" in said, "t = 2..5" in said, *files}


def test_the_bound_is_told_by_its_times():
    said = str(judge.Verdict(9, bound=0.933, bound_error=0.01, bound_terms=[0.4, *12 * [0.04], 3e-5], bound_class=0.05))
    parts = ["L_0 0.400", "t = 2..10 0.360", "t = 11..13 0.120", "L_T 3e-05", "naming the class 0.050"]
    assert [" ".join(line.split()) for line in said.splitlines()[2:]] == parts


def test_sample_writes_a_picture_or_numbers(trained, tmp_path, capsys):
    folder = str(trained[0] / "1")
    for file in ("grid.png", "film.gif", "numbers.npz"):
        assert cli.main(["sample", folder, "--n", "3", "--steps", "5", "--out", str(tmp_path / file)]) == 0
        assert str(tmp_path / file) in capsys.readouterr().out
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert Image.open(tmp_path / "film.gif").n_frames == 6
    assert cli.main(["sample", folder, "--n", "2", "--states", "4", "--out", str(tmp_path / "way.png")]) == 0
    assert Image.open(tmp_path / "way.png").size == (4 * 50, 2 * 50)
    numbers = np.load(tmp_path / "numbers.npz")
    assert numbers["samples"].shape == (3, 1, 8, 8) and abs(numbers["samples"]).max() <= 1
    assert numbers["labels"].tolist() == run.load(folder).labels(3).tolist() == [1, 4, 8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "--schedule", "sine"],
            "schedule must be one of linear, scaled_linear, proportional, cosine, got 'sine'",
        ),
        (["train", "--T", "0"], "T must be a whole number of at least 1, got 0"),
        (["train", "--data", "letters"], "or a folder, got 'letters'"),
        (["sample", "RUNS/9"], "/3"),
        (["sample", "RUNS/1", "--steps", "21"], "steps must lie in 1..20, got 21"),
        (
            ["sample", "RUNS/1", "--sampler", "euler"],
            "sampler must be one of ancestral, ddim, second_order, got 'euler'",
        ),
        (["sample", "RUNS/1", "--n", "0"], "n must be at least 1, got 0"),
        (["sample", "RUNS/1", "--out", "samples.jpg"], "out must end in .png, .gif or .npz, got 'samples.jpg'"),
        (["sample", "RUNS/1", "--out", "nowhere/a.png"], "out must be in a folder that exists"),
        (
            ["sample", "RUNS/1", "--states", "1"],
            "states must be at least 2, with a .png as out, got 1 and 'samples.png'",
        ),
        (["sample", "RUNS/1", "--states", "3", "--out", "a.gif"], "with a .png as out, got 3 and 'a.gif'"),
        (["sample", "RUNS/1", "--guidance", "nan"], "guidance must be a finite number, got nan"),
        (["sample", "RUNS/1", "--eta", "0.5"], "sampler must be ddim where an eta is given, got 'second_order'"),
        (
            ["sample", "RUNS/1", "--sampler", "ancestral", "--variance", "learned"],
            "variance must be beta or posterior for a run that has not learned one, got 'learned'",
        ),
        (["sample", "RUNS/1", "--seed", str(2**64)], "seed must lie in [0, 2**63), got 18446744073709551616"),
        (["train", "--seed", str(2**63)], "seed must lie in [0, 2**63), got 9223372036854775808"),
        (["train", "--levels", "5"], "levels must be fewer for pictures of 8x8, which halve to whole pixels, got 5"),
        (["train", "--data", "ring", "--flip", "True"], "flip must be False or left out for points, got True"),
        (["cite", "posterior.meen"], "posterior.mean"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(trained, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main([argument.replace("RUNS", str(trained[0])) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_exits_with_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--stps", "3"])
    assert exit_.value.code == 2 and "--steps" in capsys.readouterr().err


def test_equations_fit_the_screen(capsys):
    assert cli.main(["equations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    (row,) = (line for line in lines if "posterior.mean(" in line)
    assert row.split()[1:5] == ["posterior.mean(x_t,", "x_0,", "step)", "Ho"] and row.endswith("Ho et al. 2020, Eq. 7")


def test_cite_prints_reference_and_bibtex(capsys):
    assert cli.main(["cite", "train.guided_noise"]) == 0
    printed = capsys.readouterr().out
    assert "Classifier-Free Diffusion Guidance" in printed and "@misc{" in printed and "Eq. 6" in printed


def test_check_passes_its_arguments_to_pytest(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(pytest, "main", lambda arguments: asked.append(arguments) or 1)
    assert cli.main(["check", "-k", "mean", "--equation", "posterior.mean"]) == 1
    assert asked[0][-4:] == ["-k", "mean", "--equation", "posterior.mean"] and "tinyddpm.checker" in asked[0]
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(["check"]) == 2
    assert 'pip install "tinyddpm[test]"' in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["check", "--help"]])
def test_help_does_not_wait_for_torch(arguments):
    script = (
        "import sys\nfrom tinyddpm import cli\n"
        f"try: cli.main({arguments})\nfinally: assert not {{'torch', 'sklearn', 'pytest'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "usage: tinyddpm" in done.stdout, done.stderr


def test_numbers_do_not_wait_for_what_draws_or_compiles(trained, tmp_path):
    arguments = ["sample", str(trained[0] / "1"), "--n", "3", "--steps", "5", "--out", str(tmp_path / "numbers.npz")]
    script = (
        f"import sys\nfrom tinyddpm import cli\nassert cli.main({arguments}) == 0\n"
        "assert not {'matplotlib', 'sklearn', 'torch._dynamo'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
