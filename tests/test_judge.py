"""What a run is worth: its judge, its figures beside their floors, its bound."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy import stats

from tinyddpm import data, forward, mixture
from tinyddpm.checker import assert_equal
from tinyddpm.runs import judge, loop, run
from tinyddpm.train import machine

from .runs import TINY
from .strategies import seeded

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")


def test_the_judge_is_trained_once_and_draws_nothing_from_outside(new_judge, tmp_path, monkeypatch):
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
    parts = [slice(i, 200, 8) for i in range(8)]
    bounds = [
        judge.bound(loaded, found._replace(held_out=found.held_out[p], held_out_labels=found.held_out_labels[p]))
        for p in parts
    ]
    spread = np.std([each["bound"] for each in bounds], ddof=1)
    assert 0.4 < spread / np.mean([each["bound_error"] for each in bounds]) < 2


def test_a_figure_that_cannot_be_measured_says_why_and_leaves_the_others(quick_judge):
    found = data.load("digits")
    one = np.repeat(found.train[:1], 9, 0)
    alike = judge.compare(found.train, found._replace(held_out=one, held_out_labels=found.held_out_labels[:9]))
    assert alike.frechet_distance is None and alike.frechet_floor is None and alike.nearest_neighbours is None
    assert "Fréchet distance     not measured: real must have more than one value" in str(alike)
    assert "nearest neighbours   not measured: held_out must not be in train" in str(alike)
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
    found, loaded = data.load(TINY.data), run.load(trained[0] / "1")
    figures = judge.bound(loaded, found, n=50)
    assert_equal(figures["bound"], sum(figures["bound_terms"]) + figures["bound_class"])
    labels = found.held_out_labels[:50]  # each is named by its share of the training data
    assert_equal(figures["bound_class"], -np.log2(np.bincount(found.train_labels)[labels] / 100).mean() / 64)
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


def test_a_histogram_codes_the_same_pictures_as_the_bound(trained):
    """Pixel by pixel: every count, half of one more for each of the 17 values, and the class named before its own."""
    found, loaded = data.load(TINY.data), run.load(trained[0] / "1")
    figures = judge.bound(loaded, found, n=20)
    train, held_out = (np.rint(8 * (x[:, 0] + 1)).astype(int) for x in (found.train, found.held_out[:20]))
    plain, by_class = 0.0, 0.0
    for picture, label in zip(held_out, found.held_out_labels, strict=False):
        same = train[found.train_labels == label]
        by_class -= math.log2(len(same) / len(train))
        for i, j in np.ndindex(8, 8):
            plain -= math.log2(((train[:, i, j] == picture[i, j]).sum() + 0.5) / (len(train) + 8.5))
            by_class -= math.log2(((same[:, i, j] == picture[i, j]).sum() + 0.5) / (len(same) + 8.5))
    assert_equal(figures["histogram"], plain / 20 / 64)
    assert_equal(figures["histogram_class"], by_class / 20 / 64)
    said = str(judge.Verdict(9, bound=2.0, bound_terms=[0.0] * 5, histogram=2.4361, histogram_class=2.2804))
    assert said.endswith("histogram            2.436   (of each pixel; 2.280 if the class is named first)")
    bare = found._replace(train_labels=None, held_out_labels=None)
    assert_equal(judge.histogram_bits(bare, 20, by_class=True), judge.histogram_bits(found, 20))


def test_pictures_of_bytes_are_coded_as_256_values():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (50, 3, 2, 2)).astype(np.float32) / 127.5 - 1
    found = data.Data(pictures[:40], None, pictures[40:], None)
    train, x = (np.rint((part + 1) * 127.5).astype(int) for part in (found.train, found.held_out))
    chances = ((train[None] == x[:, None]).sum(1) + 0.5) / (40 + 128)
    assert_equal(judge.histogram_bits(found, 10), -np.log2(chances).mean((1, 2, 3)))


def test_a_network_of_probabilities_is_judged_with_its_own_variance(tmp_path):
    """Untrained it is the histogram, and its bound that of the histogram as a denoiser, a little above it."""
    config = replace(TINY, data="digits", out=tmp_path, T=300, steps=1, lr=1e-9, conditional="nothing")
    config = replace(config, predicts="x_0", learned_variance=True, categorical=True, weighting="bound")
    loop.fit(config)
    figures = judge.bound(run.load(tmp_path), data.load("digits"), n=50)
    assert abs(figures["bound"] - figures["histogram"]) < 0.1 and "histogram_class" not in figures
    assert figures["bound_terms"][0] < 1e-3


def test_the_bound_of_points_stands_beside_the_truth(tmp_path):
    loop.fit(replace(TINY, data="ring", out=tmp_path, steps=50, batch=256, T=50, width=16, lr=5e-3))
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

    figures = judge.bound(replace(run.load(tmp_path), model=exact), data.load("ring"), n=1000)
    assert abs(figures["bound"] - figures["bound_floor"]) < 4 * figures["bound_error"] < 0.2


def test_the_bound_is_told_by_its_times():
    said = str(judge.Verdict(9, bound=0.933, bound_error=0.01, bound_terms=[0.4, *12 * [0.04], 3e-5], bound_class=0.05))
    parts = ["L_0 0.400", "t = 2..10 0.360", "t = 11..13 0.120", "L_T 3e-05", "naming the class 0.050"]
    assert [" ".join(line.split()) for line in said.splitlines()[2:]] == parts


def strict(path):
    """The content of a JSON file in which every number is one."""
    return json.loads(path.read_text("utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in {path.name}"))


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 1, 1), (20, 1, 12), (20, 3, 2)])
def test_one_held_out_picture_and_pictures_of_one_pixel_are_judged(quick_judge, tmp_path, shape):
    images = np.random.default_rng(0).uniform(0, 1, shape)
    np.savez(tmp_path / "a.npz", images=images[..., None], labels=np.zeros(20, int))
    loop.fit(replace(TINY, data=str(tmp_path / "a.npz"), held_out=0.05, width=16, out=tmp_path / "run"))
    verdict = judge.judge(tmp_path / "run", n=9, steps=2)
    assert verdict.bound is not None and verdict.bound_error is None and "±" not in str(verdict)
    assert len(verdict.unmeasured) == 2 and verdict.frechet_distance is None
    assert strict(tmp_path / "run" / "judge.json")["bound"] == verdict.bound
    strict(tmp_path / "run" / "report.json")
    found = data.load(str(tmp_path / "a.npz"), 0.5)
    assert judge.compare(found.train, found).frechet_distance > 0


def test_one_sample_of_points_is_not_measured(trained, tmp_path):
    assert judge.compare(np.zeros((1, 2), np.float32), data.load("ring")).sliced_wasserstein is None


def test_data_that_have_changed_since_are_refused(quick_judge, tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (20, 8, 8))
    np.savez(tmp_path / "a.npz", images=images)
    loop.fit(replace(TINY, data=str(tmp_path / "a.npz"), held_out=0.5, out=tmp_path / "run"))
    for changed in (images[:-1], images[::-1], 1 - images):
        np.savez(tmp_path / "a.npz", images=changed)
        with pytest.raises(ValueError, match=rf"a.npz' has changed since the run .*now it is {len(changed) - 10} p"):
            judge.judge(tmp_path / "run", n=9, steps=2)
    assert not (tmp_path / "run" / "judge.json").exists()
    np.savez(tmp_path / "a.npz", images=images)
    assert judge.judge(tmp_path / "run", n=9, steps=2).bound > 0


def test_the_verdict_is_told_before_anything_is_written(trained, new_judge, tmp_path, monkeypatch, capsys):
    def full(path, writer):
        raise OSError(f"no room for {path.name}")

    monkeypatch.setattr(judge.checkpoint, "write", full)  # of the cache
    monkeypatch.setattr("tinyddpm.files.write", full)  # of the figures
    told = []
    with pytest.raises(OSError, match=r"no room for judge.json"):
        judge.judge(trained[0] / "1", n=9, steps=2, announce=told.append)
    assert told[0].accuracy > 0 and "tinyddpm: no room for judge-" in capsys.readouterr().err


def test_a_run_is_asked_in_the_precision_that_it_was_trained_in(trained, monkeypatch):
    asked, in_precision = [], machine.in_precision

    def noted(precision, device):
        asked.append((precision, device.type))
        return in_precision(precision, torch.device("cuda", 0))

    seen = []
    for module in (run, judge):
        monkeypatch.setattr(module, "in_precision", noted)
    loaded = run.load(trained[0] / "1")
    loaded = replace(loaded, config=replace(loaded.config, precision="float32"))
    loaded.model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    loaded.sample(2, 0, steps=2)
    judge.bound(loaded, data.load("digits"), n=2)
    assert asked == [("float32", "cpu")] * 2 and seen == [False] * 22 and torch.backends.cudnn.allow_tf32
