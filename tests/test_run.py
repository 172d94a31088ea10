"""A run that was trained: it is loaded, and samples are drawn from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyddpm import cli, data, train
from tinyddpm.runs import checkpoint, loop, run
from tinyddpm.train import machine
from tinyddpm.train.trainer import Trainer

from .runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_is_loaded_with_its_averaged_weights(trained):
    out, _ = trained
    before = torch.get_rng_state()
    loaded = run.load(out / "1")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == replace(TINY, out=out / "1") and loaded.shape == (1, 8, 8)
    assert torch.equal(
        loaded.model.enter.weight, checkpoint.read(out / "1" / checkpoint.LAST)[0]["average.enter.weight"]
    )
    samples = loaded.sample(5, seed=0, steps=10)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == np.float32 and abs(samples).max() <= 1
    assert np.array_equal(samples, loaded.sample(5, seed=0, steps=10))
    assert np.array_equal(samples, [*loaded.watch(5, seed=0, steps=10)][-1])
    with pytest.raises(ValueError, match=r"steps must lie in 1..20, got 21"):
        loaded.sample(5, seed=0, steps=21)
    with pytest.raises(ValueError, match=r"label must lie in 0..9, got 10"):
        loaded.sample(5, seed=0, steps=2, label=10)
    with pytest.raises(ValueError, match=r"sampler must be ancestral where variance is given, got 'second_order'"):
        loaded.sample(5, seed=0, steps=2, variance="beta")


def test_samples_made_in_parts_differ(trained, monkeypatch):
    monkeypatch.setattr(machine, "AT_ONCE", 2)
    samples = run.load(trained[0] / "1").sample(5, seed=0, steps=2)
    assert len({sample.tobytes() for sample in samples}) == 5


def test_points_are_learned_and_drawn(tmp_path, capsys):
    report = loop.fit(replace(TINY, data="ring", out=tmp_path, steps=200, batch=256, T=100, width=16, lr=5e-3))
    assert report.held_out_loss < 0.9
    samples = run.load(tmp_path).sample(500, seed=0, steps=50)
    assert samples.shape == (500, 2) and (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert 1 < abs(samples).max() < 4  # not clipped, as pictures are
    assert cli.main(["sample", str(tmp_path), "--states", "3", "--out", str(tmp_path / "way.png")]) == 2
    assert "states must not be given for a run of points, got 3" in capsys.readouterr().err
    assert not (tmp_path / "way.png").exists()


@pytest.mark.usefixtures("quick_pictures")
def test_a_learned_variance_need_not_be_used(tmp_path):
    loop.fit(replace(TINY, learned_variance=True, out=tmp_path))
    drawn = [run.load(tmp_path).sample(2, 0, sampler="ancestral", variance=of) for of in train.VARIANCES]
    assert all(samples.shape == (2, 1, 8, 8) for samples in drawn)
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])


@pytest.mark.usefixtures("quick_pictures")
def test_guidance_needs_a_network_that_can_answer_with_a_class_and_without(tmp_path):
    for name, choices in {"none": {"conditional": "nothing"}, "always": {"label_dropout": 0.0}}.items():
        loop.fit(replace(TINY, out=tmp_path / name, **choices))
        with pytest.raises(
            ValueError, match="guidance must be 0 for a run trained without classes, or never without them"
        ):
            run.load(tmp_path / name).sample(2, 0, guidance=1.0)


@pytest.mark.usefixtures("quick_pictures")
def test_a_class_can_be_asked_for(tmp_path):
    """Dark pictures are class 0 and bright ones class 1: what is asked for comes, and more so with guidance."""
    level = np.random.default_rng(0).uniform(0, 0.4, 200) + np.repeat([0.0, 0.6], 100)
    np.savez(tmp_path / "a.npz", images=level[:, None, None] * np.ones((1, 4, 4)), labels=np.repeat([0, 1], 100))
    chosen = {"steps": 80, "batch": 32, "lr": 1e-2, "warm_up": 10, "label_dropout": 0.2}
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


def test_classes_at_random_come_as_often_as_chance_has_it(trained):
    uneven, n = replace(run.load(trained[0] / "1"), counts=(10, 0, 25, 5)), 4000
    drawn = uneven.labels(n, how="random", seed=1)
    assert torch.equal(drawn, uneven.labels(n, how="random", seed=1))
    assert not torch.equal(drawn, uneven.labels(n, how="random", seed=2))
    shares, counts = np.array([10, 0, 25, 5]) / 40, np.bincount(drawn, minlength=4)
    deviation = np.sqrt(n * shares * (1 - shares))
    assert (
        counts[1] == 0 and (abs(counts - n * shares) <= 4 * deviation).all() and counts.tolist() != [1000, 0, 2500, 500]
    )
    neighbours = np.mean(drawn[1:].numpy() == drawn[:-1].numpy())
    assert abs(neighbours - (shares**2).sum()) < 0.05  # each by itself, not in turn
    with pytest.raises(ValueError, match="labels must be one of proportional, random, got 'sorted'"):
        uneven.labels(2, how="sorted")
    with pytest.raises(ValueError, match="labels must be left out where label is given, got 'random' and 1"):
        uneven.labels(2, 1, "random")


@pytest.mark.usefixtures("quick_pictures")
def test_samples_have_the_classes_that_were_drawn(trained):
    loaded, seen = run.load(trained[0] / "1"), []
    loaded.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    loaded.sample(6, 3, labels="random")
    expected = loaded.labels(6, how="random", seed=3)
    assert len(seen) and all(torch.equal(labels, expected) for labels in seen)
    [*loaded.watch(6, 3, labels="random")]
    assert torch.equal(seen[-1], expected)


def test_large_pictures_are_drawn_and_measured_few_at_a_time(trained, monkeypatch):
    assert machine.at_once((1, 8, 8)) == machine.at_once((2,)) == 500 and machine.at_once((3, 32, 32)) == 125
    assert machine.at_once((3, 1024, 1024)) == 1
    monkeypatch.setattr(machine, "PIXELS", 3 * 64)
    loaded, sizes = run.load(trained[0] / "1"), []
    loaded.model.register_forward_pre_hook(lambda _, told: sizes.append(len(told[0])))
    assert len(loaded.sample(7, 0, steps=2)) == 7 and sizes == [3, 3, 3, 3, 1, 1]
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(TINY, data.load("digits"), torch.device("cpu"))
    sizes.clear()
    trainer.average.register_forward_pre_hook(lambda _, told: sizes.append(len(told[0])))
    assert trainer.held_out_loss(repeats=2) > 0 and sizes == [6, 6]


@pytest.mark.usefixtures("quick_pictures")
def test_a_run_is_sampled_after_its_data_have_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=np.full((9, 8, 8), 0.5))
    loop.fit(replace(TINY, data="some.npz", steps=1, out=Path("run")))
    Path("some.npz").unlink()
    assert cli.main(["sample", "run", "--n", "2", "--steps", "2", "--out", "numbers.npz"]) == 0
    for arguments in (["judge", "run"], ["train", "--data", "some.npz", "--resume", "--out", "run"]):
        assert cli.main(arguments) == 2
        assert "data must be one of" in capsys.readouterr().err
