"""The benchmark: that it measures what it says, that nothing is measured twice, and what its tables say of it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tinyddpm import cli
from tinyddpm.checker import assert_equal
from tinyddpm.train import benchmark, data, judge, loop, metrics
from tinyddpm.train.benchmark import Options
from tinyddpm.train.peers import PEERS, Peer, matched
from tinyddpm.train.tables import renewed, table

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def quick(tmp_path_factory, monkeypatch):
    """Few samples, and a judge that has learned next to nothing: it only has to be the same always."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(judge, "STEPS", 2)
    monkeypatch.setattr(benchmark, "SAMPLES", 66)


def stub(width, edge, channels):
    """A peer whose network is one layer, which learns the mean picture and draws it."""
    if width % 16:
        raise ValueError("width must be a multiple of 16")
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * edge**2, width), nn.Linear(width, channels * edge**2))
    shape = (channels, edge, edge)
    return Peer(
        net,
        lambda x: (net(0 * x + 1) - x.flatten(1)).square().mean(),
        lambda n: net(torch.ones(n, *shape)).reshape(n, *shape) + 0.1 * torch.randn(n, *shape),
    )


def test_networks_are_matched_in_size():
    def size(width):
        return sum(value.numel() for value in stub(width, 4, 1).net.parameters())

    for parameters in (1, 700, 900, 10**5):
        nearest = min(range(16, 257, 16), key=lambda width: abs(size(width) - parameters))
        found = matched(lambda width: stub(width, 4, 1), parameters).net
        assert sum(value.numel() for value in found.parameters()) == size(nearest)


def test_the_time_of_a_call_is_told():
    calls = []
    lasts = benchmark.seconds(lambda: calls.append(sum(range(1000))), torch.device("cpu"), least=0.05)
    assert 0 < lasts < 0.05 and len(calls) > 9


def test_the_speed_of_a_peer_counts_its_work(monkeypatch):
    """A layer of weights W takes 2 |W| operations a picture, as many to correct W, and again for its input if that asks."""
    monkeypatch.setitem(PEERS, "stub", ("torch", stub))
    monkeypatch.setattr(benchmark, "SIZES", {"4x4": (4, 2, 5000)})
    monkeypatch.setattr(benchmark, "seconds", lambda *_: 0.5)
    found = benchmark.speed("stub", "4x4", "cpu", False)
    width = next(width for width in range(16, 257, 16) if 32 * width * 2 + width + 32 == found["parameters"])
    assert_equal(found["gflops"], 128 * 2 * 32 * width * (2 + 3) / 0.5 / 1e9)
    assert found["images_per_second"] == 256


def test_the_speed_of_ours_is_that_of_a_real_step(monkeypatch):
    monkeypatch.setattr(benchmark, "BATCH", 4)
    monkeypatch.setattr(benchmark, "SIZES", {"8x8": (8, 1, 35_000)})
    monkeypatch.setattr(benchmark, "seconds", lambda step, *_: step() or 0.5)
    stepped = []
    before = loop.Trainer.step
    monkeypatch.setattr(loop.Trainer, "step", lambda self, done: (stepped.append(1), before(self, done))[1])
    found = benchmark.speed("tinyddpm", "8x8", "cpu", False)
    assert len(stepped) == 2 and found["images_per_second"] == 8 and found["gflops"] > 0
    assert abs(found["parameters"] - 35_000) < 5_000


def test_a_peer_is_sampled_at_each_budget_with_its_average(monkeypatch, tmp_path, quick):
    monkeypatch.setitem(PEERS, "stub", ("torch", stub))
    figures = benchmark.quality("stub", [0.2, 0.05], 0, str(tmp_path), False)
    assert [*figures] == ["parameters", "0.05", "0.2"]
    early, late = figures["0.05"], figures["0.2"]
    assert 0 < early["steps"] < late["steps"] and late["frechet_distance"] > 0
    monkeypatch.setattr(benchmark, "KEPT", 1.0)  # the average then stays as it began: nothing of what was learned
    untrained = benchmark.quality("stub", [0.2], 0, str(tmp_path), False)["0.2"]
    assert untrained["frechet_distance"] != late["frechet_distance"]


@pytest.mark.parametrize("told", [True, False])
def test_ours_is_measured_by_the_commands_that_all_give(monkeypatch, tmp_path, quick, told):
    given = []

    def run(command, **_):
        assert command[:3] == [sys.executable, "-m", "tinyddpm"]
        given.append(command[3:])
        assert cli.main(command[3:]) == 0

    monkeypatch.setattr(subprocess, "run", run)
    figures = benchmark.quality("tinyddpm", [0.05], 3, str(tmp_path), told)["0.05"]
    name = "labels-0.05-3" if told else "pictures-0.05-3"
    assert [command[0] for command in given] == ["train", "sample"] and figures["steps"] > 0
    with np.load(tmp_path / f"{name}.npz") as file:
        assert ("labels" in file) == told and file["images"].shape == (898, 8, 8)
    with np.load(tmp_path / f"{name}-samples.npz") as file:
        found = data.load("digits")
        assert_equal(figures["frechet_distance"], judge.compare(file["samples"], found).frechet_distance)


def test_the_floors_are_distances_between_real_pictures(quick):
    found, floors = data.load("digits"), benchmark.floors()
    features, accuracy = judge.classifier(found)
    real, train = features.describe(found.held_out), features.describe(found.train)
    assert floors["half"] == metrics.frechet_distance(real, train) < floors["drawn"] and floors["accuracy"] == accuracy


def test_what_was_measured_is_not_measured_again(monkeypatch, tmp_path):
    measured = []

    def apart(measure, arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append((measure, arguments))
        return {"measure": measure}

    monkeypatch.setattr(benchmark, "apart", apart)
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name == "diffusers")
    options = Options(out=tmp_path, parts=("machine", "speed", "quality"), seeds=1, budgets=(1.0, 2.0), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        benchmark.benchmark(options)
    kept = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert [*kept] == ["machine", "speed/8x8/tinyddpm", "speed/8x8/diffusers"]
    monkeypatch.setattr(benchmark, "apart", lambda measure, arguments: measured.append((measure, arguments)) or {})
    found = benchmark.benchmark(options)
    assert len(measured) == len(found) == len(dict(benchmark.jobs(options))) == 11
    benchmark.benchmark(options)
    assert len(measured) == 11
    assert ("quality", ["diffusers", [1.0, 2.0], 0, str(options.work), False]) in measured


def test_a_peer_that_is_missing_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "apart", lambda *_: {})
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    benchmark.benchmark(Options(out=tmp_path, parts=("machine",), peers=("lucidrains",)))
    assert "lucidrains is not installed: left out (pip install denoising-diffusion-pytorch)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"parts": ("noise",)}, "parts must be of machine, speed, quality, sampling, got 'noise'"),
        ({"peers": ("me",)}, "peers must be of lucidrains, diffusers, smalldiffusion, got 'me'"),
        ({"budgets": (0.0,)}, "budgets must be above 0"),
        ({"seeds": 0}, "seeds at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, chosen, said):
    with pytest.raises(ValueError, match=said):
        benchmark.benchmark(Options(out=tmp_path / "out", **chosen))
    assert not (tmp_path / "out").exists()


def test_the_tables_say_what_was_measured():
    def run(distance):
        figures = {"frechet_distance": distance, "nearest_neighbours": 0.9}
        return {"60": {"steps": 1500, "sampling_seconds": 2.0, "memory_mb": 700.4, **figures}}

    found = {
        "machine": {"peaks": {"3x3 convolution, float32": 400.0}},
        "speed/8x8/tinyddpm": {"parameters": 5.2e5, "images_per_second": 3264.4, "gflops": 200.0, "memory_mb": 500.0},
        "quality/tinyddpm, pictures/60/0": run(0.004),
        "quality/tinyddpm, pictures/60/1": run(0.006),
        "quality/them/60/0": {"parameters": 1, **run(0.1)},
        "sampling/ddim/20": {"seconds": 1.25, "frechet_distances": [0.004, 0.006]},
    }
    rows = {name: [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
            for name, text in benchmark.tables(found).items()}  # fmt: skip
    assert rows["speed"][2:] == [["8x8", "tinyddpm", "0.52", "3,264", "200", "50%", "500"]]
    assert rows["quality"][2:] == [
        ["tinyddpm, pictures", "60", "2", "1,500", "0.0050 ± 0.0014", "0.90", "2.0", "700"],
        ["them", "60", "1", "1,500", "0.1000", "0.90", "2.0", "700"],
    ]
    assert rows["calls"][2:] == [["ddim", "20", "1.2", "0.0050 ± 0.0014"]]


def test_a_page_shows_the_tables_that_it_names():
    page = "a\n<!-- table: one -->\nold\n<!-- end of table -->\nb\n<!-- table: two -->\nleft\n<!-- end of table -->\n"
    made = table(["name", "value:"], [["x", "1"]])
    assert made == "| name | value |\n| ---- | ----: |\n| x    | 1     |\n"
    new = renewed(page, {"one": made})
    assert f"<!-- table: one -->\n\n{made}\n<!-- end of table -->" in new and "old" not in new and "left" in new
    assert renewed(new, {"one": made}) == new
    assert table(["name"], []) == "Nothing has been measured yet.\n"
