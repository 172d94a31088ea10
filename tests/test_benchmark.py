"""Chapter 6, the benchmark: what it counts, what it keeps, what its tables say; none of the other trainers is needed."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tinyddpm import cli, data
from tinyddpm.experiments import benchmark, peers
from tinyddpm.experiments.benchmark import LABELLED, OURS
from tinyddpm.runs import judge, run
from tinyddpm.tables import renewed, table
from tinyddpm.train import machine, metrics, trainer
from tinyddpm.train.config import Config
from tinyddpm.train.trainer import Trainer
from tinyddpm.train.unet import UNet, size_of

pytestmark = pytest.mark.usefixtures("one_thread")

DOCS = Path(__file__).parent.parent / "docs"


class Stub(nn.Module):
    """The smallest trainer there is: one weight for every pixel alike."""

    def __init__(self, edge, channels, parameters, device):
        super().__init__()
        self.layer, self.shape, self.drawn = nn.Conv2d(channels, channels, 1, bias=False), (channels, edge, edge), []
        self.kinds = set()
        self.layer.register_forward_hook(lambda _, __, answer: self.kinds.add(answer.dtype))

    def sample(self, n, steps):
        self.drawn.append((n, steps, self.training, self.layer.weight.item()))
        return torch.randn(n, *self.shape)


@pytest.fixture
def stubs(monkeypatch):
    """One that is installed and one that is not; gives those that were made."""
    made = []

    def make(*shape):
        made.append(net := Stub(*shape))
        return peers.Peer(net, lambda x: ((net.layer(x) - x) ** 2).mean(), net.sample, torch.optim.Adam)

    known = {"stub": peers.Known("json", make, 7, 3e-4), "absent": peers.Known("no_such_package", make, 7, 3e-4)}
    monkeypatch.setattr(benchmark, "PEERS", known)
    return made


# What is counted and measured. ---------------------------------------------------------------------------------------


def test_flops_are_those_counted_by_hand():
    x, conv, dense = torch.zeros(2, 3, 8, 8), nn.Conv2d(3, 5, 3, padding=1), nn.Linear(64, 10)
    assert benchmark.flops(lambda: conv(x)) == 3 * 2 * (2 * 5 * 64) * (3 * 9)
    assert benchmark.flops(lambda: dense(conv(x).flatten(2))) == 3 * 2 * (2 * 5 * 64 * 3 * 9 + 2 * 5 * 10 * 64)


def test_flops_of_the_network_are_those_of_its_layers():
    """Every number that a layer gives costs as many multiplications as it has weights for it."""
    model, counted = UNet(1, 8, classes=3, shift=1), []

    def count(layer, inputs, output):
        grows = isinstance(
            layer, nn.ConvTranspose2d
        )  # 2x2 with stride 2: one place of the input for each of the output
        counted.append(2 * output.numel() * (layer.in_channels if grows else layer.weight[0].numel()))

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    measured = benchmark.flops(lambda: model(torch.zeros(4, 1, 8, 8), torch.ones(4, dtype=torch.int64)))
    attention = 2 * 2 * 4 * 16 * 16 * 16  # two products of 4 pictures' 16 places, 16 channels each
    assert measured == 3 * (sum(counted) + attention)


def test_the_network_nearest_in_size_is_taken():
    widths = [lambda n=n: nn.Linear(n, 1, bias=False) for n in (3, 30, 12, 300)]
    for parameters, nearest in {1: 3, 20: 12, 22: 30, 9999: 300}.items():
        net = peers.nearest(parameters, widths)
        assert size_of(net) == nearest and net.weight.device.type == "cpu"


def test_the_speed_is_that_of_the_trainer_s_own_step(monkeypatch):
    steps = []
    monkeypatch.setattr(benchmark, "BATCH", 32)
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, done: (steps.append(self), step(self, done)))
    found = benchmark.speed(OURS, "8x8", "cpu", "float32", 1e-6)
    assert len(steps) == 3 + 2 + 5 and steps[0].steps == 10
    assert steps[0].config == Config(batch=32, precision="float32", dropout=0.0)
    assert found["parameters"] == benchmark.ours_size("8x8")
    per_step = found["gflops"] / found["images_per_second"] * 32
    x_0, t, _, told = steps[0].draw()
    assert per_step == pytest.approx(benchmark.flops(lambda: steps[0].model(x_0, t, *told)) / 1e9)


@pytest.mark.parametrize("way", benchmark.WAYS["cpu"])
def test_the_speed_of_a_peer(stubs, way):
    found = benchmark.speed("stub", "32x32", "cpu", way, 1e-6)
    assert found["parameters"] == 9 and getattr(torch, way) in stubs[0].kinds
    assert found["gflops"] / found["images_per_second"] == pytest.approx(3 * 2 * 32 * 32 * 9 / 1e9)


def test_the_most_that_a_machine_can_do(monkeypatch):
    monkeypatch.setattr(benchmark, "PRODUCT", {"cpu": 64})
    monkeypatch.setattr(benchmark, "COPY", {"cpu": 4096})
    monkeypatch.setattr(benchmark, "CONVOLUTIONS", ((8, 4),))
    found = benchmark.machine("cpu", 1e-6)
    assert found["threads"] == 1 and all(most > 0 for most in found["peaks"].values())
    kinds = [f"{what}, {kind}" for kind in ("float32", "bfloat16") for what in ("matrix product", "3x3 convolution")]
    assert [*found["peaks"]] == [*kinds, "copy"]


def test_the_floors(quick_judge, monkeypatch):
    monkeypatch.setattr(benchmark, "DRAWS", 30)
    found, floors = data.load("digits"), benchmark.floors()
    noise = np.random.default_rng(0).uniform(-1, 1, found.train.shape).astype(np.float32)
    features, _ = judge.classifier(found)
    far = metrics.frechet_distance(features.describe(found.held_out), features.describe(noise))
    for kind in benchmark.FLOORS:
        assert len(set(floors[kind])) == 30 and 0 < max(floors[kind]) < far / 10
    means = [np.mean(floors[kind]) for kind in ("halves", "by_class", "drawn")]
    assert means[0] < means[1] < 0.8 * means[2]  # drawn freely, they have not the shares of the digits quite right


def test_a_peer_is_drawn_from_with_the_average_and_goes_on_from_where_it_was(stubs, quick_judge, monkeypatch):
    """Each step of this one adds 1 to its weight, so every average can be told."""

    def learn(peer, adam, x):
        assert peer.net.training and x.shape == (128, 1, 8, 8)
        with torch.no_grad():
            peer.net.layer.weight += 1

    monkeypatch.setattr(benchmark, "learn", learn)
    found = benchmark.quality("stub", {"180": 9, "60": 3}, 0, 7, 1e-3)
    (stub,) = stubs
    first, second = found["budgets"]["60"], found["budgets"]["180"]
    assert (first["steps"], second["steps"]) == (3, 9)
    weight, averages = stub.layer.weight.item() - second["steps"], []
    average = weight
    for n in range(1, second["steps"] + 1):
        average += (1 - min(0.995, n / (n + 10))) * (weight + n - average)
        averages.append(average)
    expected = [averages[of["steps"] - 1] for of in (first, second)]
    assert [drawn[:3] for drawn in stub.drawn] == 2 * [(1000, 7, False)]
    np.testing.assert_allclose([drawn[3] for drawn in stub.drawn], expected, rtol=1e-4)  # float32
    assert first["frechet_distance"] > 0 and first["nearest_neighbours"] > 0


@pytest.mark.parametrize("name", [OURS, LABELLED])
def test_ours_is_measured_by_its_own_commands(name, quick_judge, quick_pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "SAMPLES", 40)
    said = []
    monkeypatch.setattr(benchmark, "command", lambda *arguments: said.append((arguments, cli.main(arguments))))
    monkeypatch.setattr(benchmark, "apart", lambda measure, settings: benchmark.MEASURES[measure](**settings))
    found = benchmark.ours(tmp_path, name, 60.0, 2, 3)
    assert [(arguments[0], code) for arguments, code in said] == [("train", 0)]
    folder = benchmark.folder_of(tmp_path, name, 60.0, 3)
    loaded = run.load(folder)
    assert (loaded.config.seed, loaded.config.steps, found["budgets"]["60"]["steps"]) == (3, 2, 2)
    assert len(loaded.counts) == (10 if name == LABELLED else data.CLUSTERS)
    digits = data.load("digits")
    assert np.array_equal(data.load(loaded.config.data).train, digits.train)  # and nothing of what is held out
    verdict = judge.compare(loaded.sample(40, 3, labels="random"), digits)
    (figures,) = found["budgets"].values()
    assert figures["frechet_distance"] == pytest.approx(verdict.frechet_distance)
    assert figures["nearest_neighbours"] == pytest.approx(verdict.nearest_neighbours)
    assert {*figures} >= {"steps", "memory_mb"}
    if name == LABELLED:
        monkeypatch.setattr(benchmark, "SEEDS", 2)
        drawn = benchmark.sampling(str(folder), "ancestral, beta", 2)
        options = {"sampler": "ancestral", "variance": "beta", "steps": 2, "labels": "random"}
        each = (loaded.sample(40, seed, **options) for seed in range(2))
        expected = [judge.compare(samples, digits).frechet_distance for samples in each]
        assert drawn["frechet_distances"] == pytest.approx(expected)


def test_the_pace_counts_all_that_belongs_to_a_step(stubs, monkeypatch):
    monkeypatch.setattr(benchmark, "SAMPLES", 20)
    monkeypatch.setattr(benchmark, "TIMED_CALLS", 5)
    counts, count = Counter(), lambda name, do: lambda *of, **more: (counts.update([name]), do(*of, **more))[1]
    for module, name in ((benchmark, "ema_update_"), (trainer, "ema_update_"), (torch, "randint")):
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    peer = benchmark.pace("stub", [7], 1e-6)
    (stub,) = stubs
    assert counts["ema_update_"] == counts["randint"] > 3 and peer["steps_per_second"] > 0
    assert [drawn[:3] for drawn in stub.drawn] == [(20, 2, False), (20, 5, False)]  # the time of seven follows
    counts.clear()
    mine = benchmark.pace(OURS, [3, 10], 1e-6)
    assert counts["ema_update_"] > 3 and counts["randint"] == 2 * counts["ema_update_"]  # a batch, and its shifts
    assert [*mine["sampling_seconds"]] == ["3", "10"] and min(mine["sampling_seconds"].values()) > 0


def test_the_steps_of_a_budget_follow_from_the_fastest_round():
    paces = {f"pace/stub/{block}": {"steps_per_second": pace} for block, pace in enumerate((9.0, 11.0))}
    results = {"measured": {**paces, "pace/other/0": {"steps_per_second": 1e-3}}}
    assert benchmark.steps_of(results, "stub", [60.0, 0.5]) == {"0.5": 6, "60": 660}
    assert benchmark.steps_of(results, "other", [60.0]) == {"60": 1}
    with pytest.raises(ValueError, match="parts must include pace, from which the steps of absent follow"):
        benchmark.steps_of(results, "absent", [60.0])


def test_all_are_compiled_in_the_same_mode(stubs, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: modes.append(mode) or model)
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: modes.append(mode))
    monkeypatch.setattr(benchmark, "BATCH", 2)
    for kind in ("default", "the same for all"):
        for module in (benchmark, trainer):
            monkeypatch.setattr(module, "compile_mode", lambda device, parts=1, kind=kind: kind)
        for name in (OURS, "stub"):
            benchmark.speed(name, "8x8", "cpu", "float32, compiled", 1e-6)
    assert modes == 2 * ["default"] + 2 * ["the same for all"]
    assert machine.compile_mode(torch.device("cuda")) == "reduce-overhead"
    assert machine.compile_mode(torch.device("cuda"), 2) == machine.compile_mode(torch.device("cpu")) == "default"


def test_a_process_has_all_threads_and_tells_why_it_failed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    benchmark.call([sys.executable, "-c", "import os; assert 'OMP_NUM_THREADS' not in os.environ"])
    with pytest.raises(RuntimeError, match=r"^ValueError: for a reason$"):
        benchmark.call([sys.executable, "-c", "raise ValueError('for a reason')"])


def test_a_measurement_in_a_process_of_its_own(tmp_path):
    settings = {"folder": str(tmp_path), "way": "ddim", "calls": 2}
    with pytest.raises(RuntimeError, match="run must be the folder of a run"):
        benchmark.apart("sampling", settings)


def test_a_job_answers_in_its_file(stubs, tmp_path):
    settings = {"name": "stub", "size": "8x8", "device": "cpu", "way": "float32", "timing": 1e-6}
    assert benchmark.main(["--job", "speed", json.dumps(settings), str(tmp_path / "answer")]) == 0
    assert json.loads((tmp_path / "answer").read_text())["parameters"] == 1


# What is kept. -------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(stubs, monkeypatch):
    """A benchmark whose measurements take no time; gives those that were made."""
    names = []

    def measure(name, settings):
        names.append(name)
        return {"figure": len(names), "steps_per_second": 10.0}

    monkeypatch.setattr(benchmark, "apart", measure)
    monkeypatch.setattr(benchmark, "ours", lambda work, **settings: measure("ours", settings))
    for name in benchmark.TABLES:
        monkeypatch.setitem(benchmark.TABLES, name, lambda results: "a table\n")
    return names


def ask(folder, *more):
    return benchmark.main(["--out", str(folder), "--peers", "stub", "absent", "--device", "cpu", *more])


def test_an_interrupted_benchmark_goes_on_where_it_was(measured, tmp_path, monkeypatch, capsys):
    go_on = benchmark.apart

    def stop(name, settings):
        if len(measured) == 4:
            raise KeyboardInterrupt
        return go_on(name, settings)

    monkeypatch.setattr(benchmark, "apart", stop)
    assert ask(tmp_path) == 130
    before = benchmark.load(tmp_path)["measured"]
    assert len(before) == 4 and "kept" in capsys.readouterr().err
    monkeypatch.setattr(benchmark, "apart", go_on)
    assert ask(tmp_path) == 0
    found = benchmark.load(tmp_path)["measured"]
    assert {name: found[name] for name in before} == before
    kinds = [name.split("/")[0] for name in found]
    expected = {
        "machine": 3,
        "speed": 3 * (4 * 2 * 2),
        "pace": 3 * 2,
        "floors": 1,
        "rates": 4,
        "quality": 3 * (2 * 3 + 1),
        "sampling": 3 * (len(benchmark.SAMPLERS) * 5 + 1),
    }
    assert {kind: kinds.count(kind) for kind in kinds} == expected and len(measured) == sum(expected.values())
    assert ask(tmp_path) == 0 and len(measured) == sum(expected.values())  # nothing is left to do


PACED = {"measured": {f"pace/{name}/0": {"steps_per_second": 10.0} for name in (OURS, "stub")}}


def test_all_of_a_block_comes_before_the_next_block_and_what_needs_quiet_before_the_rest():
    asked = benchmark.Options(seeds=3, peers=(), device="cpu", budgets=(9.0, 20.0), calls=(5,))
    names = [name.split("/") for name, _ in benchmark.jobs(asked, PACED)]
    quiet = [name for name in names if name[0] in ("machine", "speed", "pace")]
    assert names[: len(quiet)] == quiet
    for part in (quiet, [name for name in names[len(quiet) :] if name[0] != "floors"]):
        blocks = [int(name[2] if name[0] == "quality" else name[-1]) for name in part]
        assert blocks == sorted(blocks) and {*blocks} == {0, 1, 2}
    first, last = ([name for name in names if name[0] == "quality" and name[2] == block] for block in ("0", "2"))
    assert [(name, budget) for _, name, _, budget in first] == [(name, budget) for _, name, _, budget in last]
    of = [settings for name, settings in benchmark.jobs(asked, PACED) if name.startswith("quality")]
    assert {each["seed"] for each in of} == {0, 1, 2} and {each["steps"] for each in of} == {90, 200}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--peer-steps", "stub", "9"], "peer_steps must stay {'stub': 7, 'absent': 7}, got {'stub': 9, 'absent': 7}"),
        (["--budgets", "60", "20", "--parts", "quality"], "budgets must stay [60.0], got [20.0, 60.0]"),
        (["--peer-rate", "0.01"], "peer_rate must stay 0.001, got 0.01"),
        (["--run", "mine", "--parts", "sampling"], "seconds must stay 60.0, got None"),
        (["--timing", "3", "--parts", "speed"], "timing must stay 10.0, got 3.0"),
    ],
)
def test_what_was_measured_with_other_settings_is_not_mixed_with_these(more, said, measured, tmp_path, capsys):
    few = ["--budgets", "60", "--seeds", "1"]
    assert ask(tmp_path, *few) == 0
    before, done = (tmp_path / "results.json").read_bytes(), len(measured)
    assert ask(tmp_path, *few, *more) == 2
    error = capsys.readouterr().err
    assert said in error and "another --out begins anew" in error
    assert (tmp_path / "results.json").read_bytes() == before and len(measured) == done
    assert ask(tmp_path, *few, "--seeds", "2") == 0 and len(measured) > done  # more blocks are welcome


def test_what_was_measured_by_older_rules_is_not_mixed_with_these(measured, tmp_path, capsys):
    assert ask(tmp_path, "--seeds", "1") == 0
    found = benchmark.load(tmp_path)
    found["settings"]["quality"] |= benchmark.OLD
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert ask(tmp_path, "--parts", "quality") == 2
    assert "clock must stay 'command', got 'pace', as in the results on quality" in capsys.readouterr().err
    assert ask(tmp_path, "--parts", "speed") == 0


def test_the_runs_that_are_sampled():
    def folders(**options):
        asked = benchmark.Options(parts=("sampling",), device="cpu", calls=(5,), **options)
        return {settings["folder"] for _, settings in benchmark.jobs(asked, PACED)}

    assert folders() == {f"runs/benchmark/labels-360-{block}" for block in range(3)}
    assert folders(budgets=(20.0, 9.0), work=Path("w"), seeds=1) == {str(Path("w", "labels-20-0"))}
    assert folders(run=Path("mine")) == {"mine"}


def test_the_rates_that_are_tried(stubs):
    asked = benchmark.Options(parts=("rates",), peers=("stub", "absent"), device="cpu", budgets=(60.0, 20.0))
    expected = {f"rates/stub/{rate:g}": rate for rate in (3e-4, 5e-4, 1e-3, 2e-3)}
    found = dict(benchmark.jobs(asked, PACED))
    assert {name: settings["rate"] for name, settings in found.items()} == expected
    assert all(settings["steps"] == {"20": 200} and settings["calls"] == 7 for settings in found.values())


def test_a_trainer_that_is_not_installed_is_named_and_left_out(measured, tmp_path, capsys):
    assert ask(tmp_path, "--parts", "speed") == 0
    assert "absent is not installed, left out: pip install no-such-package\n" in capsys.readouterr().out
    names = [name for name in benchmark.load(tmp_path)["measured"] if "8x8/" in name and name.endswith("/0")]
    assert names == [f"speed/8x8/{way}/{name}/0" for way in ("float32", "bfloat16") for name in (OURS, "stub")]


def test_what_fails_is_told_and_left_out(measured, tmp_path, monkeypatch, capsys):
    def fail(name, settings):
        if settings.get("name") == "stub":
            raise RuntimeError("no reason")
        return {}

    monkeypatch.setattr(benchmark, "apart", fail)
    assert ask(tmp_path, "--parts", "speed") == 0
    assert "speed/32x32/float32/stub/0: failed, left out: no reason\n" in capsys.readouterr().out
    assert all("stub" not in name for name in benchmark.load(tmp_path)["measured"])


def test_results_of_another_machine_are_not_mixed_with_these(measured, tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"machine": {"name": "an abacus"}, "settings": {}, "measured": {}}))
    assert ask(tmp_path) == 2 and "got those of an abacus" in capsys.readouterr().err
    assert ask(tmp_path, "--parts") == 0  # they can be shown
    assert measured == []


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"machine": {}}'])
def test_results_that_are_missing_or_damaged(content, tmp_path):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"results.json is not"):
        benchmark.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--parts", "speed", "taste"],
            "parts must be one of machine, speed, pace, rates, quality, sampling, got 'taste'",
        ),
        (["--peers", "nobody"], "peers must be one of lucidrains, diffusers, smalldiffusion, got 'nobody'"),
        (
            ["--peer-steps", "nobody", "5"],
            "peer_steps must be one of lucidrains, diffusers, smalldiffusion, got 'nobody'",
        ),
        (["--peer-steps", "diffusers", "0"], "peer_steps must be above 0, got 1, 0"),
        (["--budgets"], "budgets must be above 0, got none"),
        (["--budgets", "60", "-1"], "budgets must be above 0, got 60.0, -1.0"),
        (["--budgets", "inf"], "budgets must be above 0"),
        (["--peer-rate", "nan"], "peer_rate must be above 0"),
        (["--calls", "0"], "calls must be above 0"),
        (["--calls", "1001"], "calls and peer_steps must be at most 1000"),
        (["--seeds", "0"], "seeds must be above 0"),
        (["--timing", "0"], "timing must be above 0"),
        (["--device", "abacus"], "device must be"),
    ],
    ids=lambda of: " ".join(of) if isinstance(of, list) else "",
)
def test_what_cannot_be_measured_is_refused(options, said, tmp_path, capsys):
    assert benchmark.main(["--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


# The tables and figures. ---------------------------------------------------------------------------------------------


def made_up():
    """Results as round numbers."""
    peaks = {"matrix product, float32": 100.0, "3x3 convolution, float32": 400.0, "matrix product, bfloat16": 1e3}

    def speed(images, gflops):
        return {"parameters": 523521, "images_per_second": images, "gflops": gflops, "memory_mb": 512.4}

    def quality(**far):
        figures = {"steps": 1500, "nearest_neighbours": 0.914, "memory_mb": 600.6}
        return {"budgets": {budget: {"frechet_distance": each, **figures} for budget, each in far.items()}}

    return {
        "machine": {"name": "an abacus", "device": "cpu", "cores": 2, "torch": "2.13.0"},
        "settings": {"quality": benchmark.RULES, "sampling": {"draws": 2}},
        "measured": {
            "machine/0": {"threads": 2, "peaks": {**peaks, "copy": 33.5}},
            "machine/1": {"threads": 2, "peaks": {**peaks, "3x3 convolution, float32": 500.0, "copy": 35.5}},
            f"speed/8x8/float32/{OURS}/0": speed(3264.4, 200.0),
            f"speed/8x8/float32/{OURS}/1": speed(3400.0, 200.0),
            "speed/8x8/float32/stub/0": speed(1000.0, 100.0),
            "speed/8x8/float32/other/0": speed(1632.2, 100.0),
            "speed/8x8/float32/other/1": speed(1700.0, 100.0),
            "speed/8x8/bfloat16, compiled/stub/0": speed(898.0, 115.0),
            f"pace/{OURS}/0": {"steps_per_second": 14.0, "sampling_seconds": {"20": 2.0, "1000": 99.0}},
            f"pace/{OURS}/1": {"steps_per_second": 16.0, "sampling_seconds": {"20": 2.08, "1000": 99.0}},
            "pace/stub/0": {"steps_per_second": 7.25, "sampling_seconds": {"250": 40.0}},
            "floors": {"halves": [0.001, 0.003], "drawn": [0.004, 0.006], "by_class": [0.003, 0.003], "accuracy": 0.99},
            f"quality/{LABELLED}/0/60": quality(**{"60": 0.005}),
            f"quality/{LABELLED}/1/60": quality(**{"60": 0.007}),
            f"quality/{OURS}/0/180": quality(**{"180": 0.0081}),
            "quality/stub/0": quality(**{"60": 0.11, "180": 0.0234}),
            "quality/other/0": quality(**{"60": 0.05}),
            "quality/other/1": quality(**{"60": 0.071}),
            "rates/stub/0.001": quality(**{"60": 0.02}),
            "rates/stub/0.002": quality(**{"60": 0.03}),
            "sampling/second_order/20/0": {"frechet_distances": [0.004, 0.006]},
            "sampling/ancestral/20/0": {"frechet_distances": [0.008, 0.008]},
            "sampling/ancestral/1000/0": {"frechet_distances": [0.0035, 0.0045]},
        },
    }


def cells(table):
    """The rows of a table under its head and rule."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_tables_say_what_was_measured():
    results = made_up()
    assert cells(benchmark.machine_table(results))[:5] == [
        ["processor", "an abacus, 2 cores"],
        ["PyTorch", "2.13.0"],
        ["threads", "2"],
        ["matrix product, float32", "100 ± 0 GFLOP/s"],
        ["3x3 convolution, float32", "450 ± 71 GFLOP/s"],
    ]
    assert cells(benchmark.machine_table(results))[-1] == ["copy", "34 ± 1 GB/s"]
    assert cells(benchmark.speed_table(results)) == [
        ["8x8", OURS, "0.52", "3,332 ± 96", "45%", "", "", "512"],  # of 400 in one block, of 500 in the other
        ["8x8", "stub", "0.52", "1,000", "25%", "898", "12%", "512"],
        ["8x8", "other", "0.52", "1,666 ± 48", "22%", "", "", "512"],
    ]
    ((*lead, times),) = cells(benchmark.lead_table(results))
    assert (lead == ["8x8", "float32", "other"] and times.startswith("2.00 (")) or times.startswith("**2.00**")
    assert cells(benchmark.quality_table(results)) == [
        [LABELLED, "60", "2", "1,500", "0.0060 ± 0.0014", "0.91", "601"],
        ["stub", "60", "1", "1,500", "0.1100", "0.91", "601"],
        ["other", "60", "2", "1,500", "0.0605 ± 0.0148", "0.91", "601"],
        [OURS, "180", "1", "1,500", "0.0081", "0.91", "601"],
        ["stub", "180", "1", "1,500", "0.0234", "0.91", "601"],
        ["*real half against real half*", "", "2", "", "0.0020 ± 0.0014", "", ""],
        ["*1,000 real digits, drawn freely*", "", "2", "", "0.0050 ± 0.0014", "", ""],
        ["*1,000 real digits, so many of each class*", "", "2", "", "0.0030 ± 0.0000", "", ""],
    ]
    assert cells(benchmark.pace_table(results)) == [
        [OURS, "2", "15.0 ± 1.4", "20", "2.0 ± 0.1"],
        ["stub", "1", "7.2", "250", "40.0"],
    ]
    assert cells(benchmark.rates_table(results)) == [["stub", "0.0200", "0.0300"]]


def test_only_trainers_that_ran_several_times_are_compared():
    """Two of two, in two blocks: a paired t test of the logarithms."""
    results = made_up()
    ((key, each),) = benchmark.compared(results).items()
    assert key == (60.0, "other", LABELLED)
    expected = stats.ttest_rel(np.log([0.05, 0.071]), np.log([0.005, 0.007]))
    assert (each.p, each.holm, each.df) == (pytest.approx(expected.pvalue), pytest.approx(expected.pvalue), 1)
    assert each.ratio == pytest.approx(np.sqrt(10 * 71 / 7))
    (row,) = cells(benchmark.differences_table(results))
    assert row == ["60", "other", LABELLED, str(each), f"{each.p:.2g}", f"{each.holm:.2g}"]
    said = benchmark.differences_line(results)
    assert said == f"{int(each.sure)} of these 1 differences are significant at 5% by Holm's method (bold).\n"


def test_each_pair_is_compared_once():
    results = made_up()
    results["measured"] |= {f"quality/{OURS}/{block}/60": results["measured"]["quality/other/0"] for block in (0, 1)}
    pairs = [(LABELLED, other) for other in (OURS, "other")] + [(OURS, "other")]
    assert sorted((mine, other) for _, other, mine in benchmark.compared(results)) == sorted(pairs)


def test_the_samplers_are_compared_over_networks_or_over_the_seeds_of_one():
    results = made_up()
    rows, networks = benchmark.sampled(results)
    assert networks == 1 and rows["second_order/20"] == {0: 0.004, 1: 0.006}
    assert benchmark.sampled_line(results).startswith("One network was sampled in each way with the same 2 seeds.")
    first, *_, truth = cells(benchmark.sampling_table(results))
    assert first[:4] == ["second_order", "20", "2.0", "0.0050 ± 0.0014"] and first[4].startswith("1.23 (") and first[5]
    assert truth == ["ancestral", "1000", "99.0", "0.0040 ± 0.0007", "", "", ""]
    second = {name.replace("/0", "/1"): of for name, of in results["measured"].items() if name.startswith("sampling")}
    results["measured"] |= {name: {**of, "frechet_distances": [0.002, 0.004]} for name, of in second.items()}
    rows, networks = benchmark.sampled(results)
    assert networks == 2 and rows["second_order/20"] == {0: 0.005, 1: 0.003}
    assert benchmark.sampled_line(results).startswith("2 networks were sampled in each way, with 2 seeds each.")


def test_a_page_says_by_which_rules_it_was_measured():
    results = made_up()
    assert benchmark.rules_line(results) == ""
    results["settings"]["quality"] = {**benchmark.OLD, "samples": 1000}
    assert benchmark.rules_line(results).startswith("The figures below were measured by older rules")


def test_tables_of_a_benchmark_that_has_just_begun():
    results = {**made_up(), "measured": {}, "settings": {}}
    for name, made in benchmark.TABLES.items():
        assert (made(results) == "") == (name != "machine")
    results["measured"] = {name: of for name, of in made_up()["measured"].items() if name.startswith(("speed", "samp"))}
    del results["measured"]["sampling/ancestral/1000/0"], results["measured"]["sampling/ancestral/20/0"]
    assert [row[4] + row[6] for row in cells(benchmark.speed_table(results))] == ["", "", ""]
    assert [(row[2], row[4]) for row in cells(benchmark.sampling_table(results))] == [("", "")]


def test_a_page_shows_the_tables_that_it_names(tmp_path, capsys):
    page = tmp_path / "page.md"
    text = "Before.\n\n<!-- table: speed -->\n\nan old table\n\n<!-- end of table -->\n\nAfter.\n"
    page.write_text(text + "<!-- table: of others -->\n<!-- end of table -->\n")
    (tmp_path / "results.json").write_text(json.dumps(made_up()))
    assert benchmark.main(["--out", str(tmp_path), "--parts", "--page", str(page)]) == 0
    new = page.read_text()
    assert new.startswith(text.replace("an old table\n", benchmark.speed_table(made_up()))) and "of others" in new
    assert (
        renewed(new, benchmark.tables(made_up())) == new and benchmark.speed_table(made_up()) in capsys.readouterr().out
    )


def test_a_table_and_a_page():
    page = "a\n<!-- table: one -->\nold\n<!-- end of table -->\nb\n<!-- table: two -->\nleft\n<!-- end of table -->\n"
    made = table(["name", "value:"], [["x", "1"]])
    assert made == "| name | value |\n| ---- | ----: |\n| x    | 1     |\n"
    new = renewed(page, {"one": made})
    assert f"<!-- table: one -->\n\n{made}\n<!-- end of table -->" in new and "old" not in new and "left" in new
    assert renewed(new, {"one": made}) == new
    assert table(["name"], []) == "" and table(["p:"], [["1"]]).splitlines()[1] == "| --: |"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
@pytest.mark.parametrize("name", ["quality", "sampling"])
def test_the_figures_show_what_was_measured(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from _site.figures import benchmark as figures

    monkeypatch.setattr(figures, "MEASURED", tmp_path)
    for name_ in ("stub", "other"):
        monkeypatch.setitem(figures.COLORS, name_, "red")
    with pytest.raises(ValueError, match=r"results\.json is not there"):
        getattr(figures, name)()
    (tmp_path / "results.json").write_text(json.dumps(made_up()))
    ax = getattr(figures, name)().axes[0]
    lines = [[*map(tuple, line.get_xydata().round(6))] for line in ax.lines]
    truth = round(np.mean([0.0035, 0.0045]), 6)
    far = [(60, 0.11), (180, 0.0234)] if name == "quality" else [(20, 0.008), (1000, truth)]
    assert far in lines and ax.get_xscale() == ax.get_yscale() == "log"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_page_says_what_the_benchmark_shows():
    results = benchmark.load(DOCS / "assets" / "benchmark")
    floor = {kind: np.mean(results["measured"]["floors"][kind]) for kind in benchmark.FLOORS}
    assert floor["halves"] < floor["by_class"] < floor["drawn"] / 1.5

    def means(figure):
        by_name = benchmark.runs(results).items()
        return {
            name: {budget: np.mean([each[figure] for each in of]) for budget, of in by.items()} for name, by in by_name
        }

    far, near = means("frechet_distance"), means("nearest_neighbours")
    others = [name for name in far if name not in (OURS, LABELLED)]
    assert len(others) == 3 and min(far[name][60.0] for name in others) > 3 * floor["drawn"]
    assert max(far[name][budget] for name in (OURS, LABELLED) for budget in far[name]) < floor["drawn"]
    assert far["lucidrains"][360.0] < floor["drawn"]
    assert all(ratios[360.0] < ratios[60.0] for ratios in near.values())
    for name, ratios in near.items():
        assert (ratios[180.0] - ratios[360.0] < 0.02) == (name not in others)
    ten = benchmark.compared_samplers(results)["second_order/10"]
    assert benchmark.sampled(results)[1] == 1 and ten.sure and ten.ratio < 1
