"""Chapter 6, its experiments: that each changes what it says, that nothing is measured twice, and what is said of it."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from tinyddpm import data, forward, train
from tinyddpm.checker import assert_equal
from tinyddpm.experiments import ablations, mistakes
from tinyddpm.experiments.ablations import ABLATIONS, Job, Options
from tinyddpm.experiments.mistakes import MISTAKES, Mistake
from tinyddpm.experiments.tables import renewed
from tinyddpm.runs import checkpoint, judge, loop, run
from tinyddpm.train.config import Config
from tinyddpm.train.trainer import Trainer
from tinyddpm.train.unet import network

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")

TINY = partial(Config, T=20, width=8, levels=1, batch=16)


@pytest.fixture
def tiny(tmp_path_factory, monkeypatch):
    """A recipe that takes no time, few digits, and a judge that has learned next to nothing but is always the same."""
    few = data.Data(*(part[:100] for part in data.digits()[:4]))
    monkeypatch.setitem(data.LOADERS, "digits", lambda: few)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(judge, "STEPS", 2)
    monkeypatch.setattr(ablations, "Config", TINY)


def command(folder, *more, steps=2):
    options = f"--out {folder / 'out'} --runs {folder / 'runs'} --steps {steps} --seeds 2 --samples 40".split()
    return ablations.main([*options, *more])


# What is changed. ----------------------------------------------------------------------------------------------------


def test_every_change_is_one_that_the_trainer_takes():
    known, seen = {field.name for field in fields(Config)}, []
    for name, of in ABLATIONS.items():
        assert set(of.changes) <= known and of.against in ABLATIONS
        config = replace(Config(), **of.changes).check()
        assert (config == Config()) == (name == "base" or of.sampling is not None)
        assert all(config != other for other in seen) or of.sampling
        seen.append(config)
        if of.sampling:
            assert name.endswith(f"-{of.sampling['steps']}")
        elif name != "base":  # a name is what would stand on a command line
            assert name == ",".join(f"{field}={getattr(config, field)}" for field in of.changes)
            extra = set(of.changes) - set(ABLATIONS[of.against].changes)
            assert extra and all(of.changes[field] == value for field, value in ABLATIONS[of.against].changes.items())
    for mistake in MISTAKES.values():
        replace(Config(), **mistake.changes).check()


def test_what_the_recipe_does_already_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(ablations, "Config", lambda: Config(norm="layer", clip=math.inf))
    listed = ablations._listed()
    assert "norm=layer" not in listed and "norm=group" in listed and "clip=inf" not in listed
    assert listed["loss=sum,clip=inf"].against == "base"


# The experiments, very short ones. -----------------------------------------------------------------------------------


def test_what_is_measured_is_written_at_once_and_not_measured_again(tmp_path, tiny, monkeypatch, capsys):
    only = ("--only", "norm=layer", "ddim-20")
    measured, measure = [], ablations.measure

    def stopped(job):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(job.key)
        return measure(job)

    monkeypatch.setattr(ablations, "measure", stopped)
    assert command(tmp_path, *only) == 130
    assert [*ablations.load(tmp_path / "out")["runs"]] == measured == ["base/0", "norm=layer/0", "base/1"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["base-0", "base-1"]

    def counted(job):
        measured.append(job.key)
        return measure(job)

    monkeypatch.setattr(ablations, "measure", counted)
    assert command(tmp_path, *only) == 0
    assert measured[3:] == ["norm=layer/1", "ddim-20/0", "ddim-20/1"]
    results = ablations.load(tmp_path / "out")
    assert command(tmp_path, *only) == 0 and len(measured) == 6
    assert ablations.load(tmp_path / "out") == results
    assert "| norm=layer" in capsys.readouterr().out

    # A result is that of the samples of this network.
    found, loaded = data.load("digits"), run.load(tmp_path / "runs" / "base-1")
    assert loaded.config == TINY(steps=2, seed=1, out=loaded.path, resume=True, grid_every=math.inf)
    verdicts = [
        judge.compare(loaded.sample(40, seed, sampler="ddim", steps=20), found)
        for seed in range(ablations.DRAWS, 2 * ablations.DRAWS)
    ]
    told = results["runs"]["ddim-20/1"]
    assert_equal(told["frechet_distance"], np.mean([verdict.frechet_distance for verdict in verdicts]))
    assert_equal(told["nearest_neighbours"], np.mean([verdict.nearest_neighbours for verdict in verdicts]))
    assert_equal(results["floor"], verdicts[0].frechet_floor)
    assert (
        told["loss"]
        == results["runs"]["base/1"]["loss"]
        == json.loads((loaded.path / checkpoint.LOG).read_text())["loss"]
    )
    assert results["runs"]["norm=layer/1"]["frechet_distance"] != results["runs"]["base/1"]["frechet_distance"]

    # Networks that are gone are trained again for what needs them.
    (loaded.path / checkpoint.LAST).unlink()
    assert command(tmp_path, "--only", "beta-20") == 0
    assert measured[6:] == ["base/1", "beta-20/0", "beta-20/1"]
    assert ablations.load(tmp_path / "out")["runs"]["base/1"] == results["runs"]["base/1"]

    assert command(tmp_path, steps=3) == 2
    assert "steps must stay 2, got 3" in capsys.readouterr().err
    assert ablations.load(tmp_path / "out")["settings"]["steps"] == 2


def test_a_loss_that_is_not_finite_is_a_result(tmp_path, tiny, monkeypatch):
    def fit(config):
        raise FloatingPointError("the loss is no longer finite")

    monkeypatch.setattr(loop, "fit", fit)
    job = Job("loss=sum", 0, Options(runs=tmp_path))
    assert ablations.measure(job) == {"diverged": "the loss is no longer finite"}


def test_processes_side_by_side_measure_every_job_once():
    jobs = [Job("base", seed, Options()) for seed in range(4)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ablations, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers))
        patched.setattr(ablations, "measure", lambda job: {"loss": job.seed})
        done = dict(ablations._work(jobs, 2))
    assert done == {job: {"loss": job.seed} for job in jobs}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--only", "norm=layer", "norm=none"), "only must name changes, got 'norm=none'; there are: base"),
        (("--seeds", "0"), "seeds must be at least 1, got 0"),
        (("--workers", "0"), "workers must be at least 1, got 0"),
        (("--samples", "1"), "samples must be at least 2, got 1"),
    ],
)
def test_refusals_name_what_was_asked(more, words, tmp_path, capsys):
    assert command(tmp_path, *more) == 2
    assert words in capsys.readouterr().err and not [*tmp_path.iterdir()]


# The mistakes. -------------------------------------------------------------------------------------------------------


def test_without_a_mistake_the_walk_is_the_sampler_and_with_one_it_is_not():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network(Config(width=8), (1, 8, 8), 0).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.2)
    schedule, shape = forward.cosine(), (3, 1, 8, 8)

    def rng():
        return torch.Generator().manual_seed(1)

    options = {"predicts": "velocity", "steps": 7}
    right = train.sample(model, schedule, shape, rng(), variance="posterior", **options)
    assert torch.equal(mistakes.walk(model, schedule, shape, rng(), **options), right)
    made = {name: of.walk for name, of in MISTAKES.items() if of.walk}
    assert len(made) == 8
    for name, wrong in made.items():
        x = mistakes.walk(model, schedule, shape, rng(), **{**options, **wrong})
        assert x.shape == shape and not torch.allclose(x, right, atol=0.01), name
    config = Config(T=7)
    told = mistakes.draw(MISTAKES["none"], mistakes.blind(model), config, shape, seed=1)
    assert np.array_equal(mistakes.draw(MISTAKES["blind"], model, config, shape, seed=1), told)
    assert not np.array_equal(mistakes.draw(MISTAKES["none"], model, config, shape, seed=1), told)


def test_each_mistake_in_training_is_made():
    found, config = data.load("digits"), Config(steps=3, width=8, levels=1, batch=16)
    right, loss = mistakes.learn(Mistake("none"), config, found)
    young, same = mistakes.learn(MISTAKES["young"], config, found)
    assert same == loss
    first = Trainer(config, found, torch.device("cpu")).model.state_dict()
    for name, weight in young.state_dict().items():
        moved = (right.state_dict()[name] - first[name]).norm()
        assert (weight - first[name]).norm() <= 0.001 * moved
    assert mistakes.learn(MISTAKES["range"], config, found)[1] < 0.8 * loss  # half as far from each other
    blind, _ = mistakes.learn(MISTAKES["blind"], config, found)
    assert not torch.equal(blind.leave.weight, right.leave.weight)
    seen = []
    told = mistakes.blind(lambda x, t: seen.extend(t.tolist()))
    told(None, torch.tensor([3, 1000]))
    assert len(set(seen)) == 1


def test_the_loss_of_a_training_is_that_of_its_last_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    monkeypatch.setattr(mistakes, "LOG_EVERY", 10)
    config = TINY(steps=14, out=tmp_path / "run")
    loop.fit(config)
    _, loss = mistakes.learn(Mistake("none"), config, data.load("digits"))
    log = [json.loads(line)["loss"] for line in (tmp_path / "run" / checkpoint.LOG).read_text().splitlines()]
    assert_equal(np.float64(loss), np.mean(log[-5:]), rtol=1e-6)
    assert abs(loss - np.mean(log)) > 1e-4


def test_the_mistakes_are_drawn_once(tmp_path, tiny, monkeypatch):
    chosen = {name: MISTAKES[name] for name in ("none", "silent", "young", "range", "unclipped")}
    trained = []

    def learn(mistake, config, found):
        trained.append((mistake, config.predicts))
        return mistakes.learn(mistake, config, found)

    monkeypatch.setattr(ablations, "MISTAKES", chosen)
    monkeypatch.setattr(ablations, "learn", learn)
    assert command(tmp_path, "--part", "mistakes") == 0
    results, pictures = ablations.load(tmp_path / "out"), ablations.load_pictures(tmp_path / "out")
    assert [*results["mistakes"]] == [*pictures] == [*chosen]
    for name in chosen:
        assert pictures[name].shape == (ablations.SHOWN, 8, 8) and pictures[name].dtype == np.uint8
    assert not np.array_equal(pictures["none"], pictures["silent"])
    # What is only drawn wrongly needs no network of its own.
    networks = {"none": "velocity", "young": "velocity", "range": "velocity", "unclipped": "noise"}
    assert trained == [(chosen[name], predicts) for name, predicts in networks.items()]
    monkeypatch.delattr(ablations, "draw")
    assert command(tmp_path, "--part", "mistakes") == 0
    assert ablations.load(tmp_path / "out") == results


# The tables. ---------------------------------------------------------------------------------------------------------


def made_up():
    """Results of three seeds; of one that diverges once, and one that always does."""
    far = {"base": (0.010, 0.012, 0.014), "norm=layer": (0.011, 0.0132, 0.0148), "clip=inf": (0.02, 0.01, 0.013)}
    far |= {"loss=sum,clip=inf": (0.021, 0.0111, 0.0139), "beta-20": (0.5, 0.6, 0.7), "posterior-20": (0.4, 0.5, 0.6)}
    runs = {
        f"{name}/{seed}": {"loss": 0.25, "held_out_loss": 0.2749, "frechet_distance": d, "nearest_neighbours": 0.9}
        for name, distances in far.items()
        for seed, d in enumerate(distances)
    }
    lost = {"diverged": "the loss is no longer finite"}
    runs |= {f"norm=batch/{seed}": lost for seed in range(3)}
    runs["norm=layer/3"] = lost
    wrong = {"loss": 0.253, "frechet_distance": 2.27, "nearest_neighbours": 0.741}
    return {"settings": {}, "floor": 0.0016, "runs": runs, "mistakes": {"silent": wrong}}


def test_a_difference_is_paired_by_seed():
    results = made_up()
    each = np.array([0.011, 0.0132, 0.0148]) - np.array([0.010, 0.012, 0.014])
    mean, error, sure = ablations.difference(results, "norm=layer")
    assert_equal(mean, each.mean())
    assert_equal(error, np.sqrt(((each - each.mean()) ** 2).sum() / 2 / 3))
    assert sure
    assert_equal(ablations.difference(results, "loss=sum,clip=inf")[0], 0.001)  # against clip=inf
    assert_equal(ablations.difference(results, "beta-20")[0], 0.1)  # against posterior-20
    assert all(math.isnan(number) for number in ablations.difference(results, "norm=batch")[:2])
    results["runs"] = {key: of for key, of in results["runs"].items() if key.endswith("/0")}
    mean, error, sure = ablations.difference(results, "norm=layer")
    assert_equal(mean, 0.001)
    assert math.isnan(error) and not sure


@pytest.mark.parametrize("shift", [0.0, 0.0005, 0.001, 0.0015, 0.002])
def test_what_chance_explains_is_told_by_a_t_test(shift):
    each = shift + 0.001 * np.random.default_rng(0).standard_normal((20, 4))
    for seeds in each:
        runs = {f"base/{seed}": {"frechet_distance": 0.0} for seed in range(4)}
        runs |= {f"norm=layer/{seed}": {"frechet_distance": float(d)} for seed, d in enumerate(seeds)}
        likely = stats.ttest_1samp(seeds, 0).pvalue >= 0.05
        assert ablations.difference({"runs": runs}, "norm=layer")[2] != likely


def cells(table):
    """Its rows, without what only fills."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_tables_say_what_was_measured():
    results = made_up()
    changes, sampling, wrong = (cells(table(results)) for table in ablations.TABLES.values())
    assert changes[0] == ["changed", "Fréchet distance", "difference", "held out", "neighbours"]
    assert changes[2:] == [
        ["the recipe", "0.0120 ± 0.0020", "", "0.275", "0.900"],
        ["clip=inf", "0.0143 ± 0.0051", "+0.0023 ± 0.0038", "0.275", "0.900"],
        ["loss=sum, clip=inf", "0.0153 ± 0.0051", "**+0.0010 ± 0.0001** to the line above", "0.275", "0.900"],
        ["norm=layer", "0.0130 ± 0.0019, 1 diverged", "**+0.0010 ± 0.0001**", "0.275", "0.900"],
        ["norm=batch", "3 diverged", "", "", ""],
    ]
    assert [row[:3] for row in sampling[2:]] == [
        ["posterior-20", "0.5000 ± 0.1000", "**+0.4880 ± 0.0566**"],
        ["beta-20", "0.6000 ± 0.1000", "**+0.1000 ± 0.0000** to the line above"],
    ]
    assert wrong[2:] == [["no noise added", "0.253", "2.2700", "0.74"]]
    assert ablations.changes_table({**results, "runs": {}}) == "Nothing has been measured yet.\n"


def test_a_page_gets_its_tables_anew_and_keeps_its_words(tmp_path, tiny, capsys):
    page = "Above.\n\n<!-- table: mistakes -->\nold\n<!-- end of table -->\n\nBelow.\n"
    results = made_up()
    assert ablations.mistakes_table(results) in renewed(page, ablations.tables(results))
    file = tmp_path / "page.md"
    file.write_text(page, "utf-8")
    assert command(tmp_path, "--part", "tables", "--page", str(file)) == 0
    assert file.read_text("utf-8") == renewed(page, ablations.tables({"runs": {}, "mistakes": {}}))
    assert command(tmp_path, "--part", "tables", "--page", str(tmp_path / "none.md")) == 2
    assert "none.md" in capsys.readouterr().err
