"""Chapter 6, its experiments: that each changes what it says, that nothing is measured twice, and what is said of it."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyddpm import data, forward, posterior, train
from tinyddpm.checker import assert_equal
from tinyddpm.experiments import ablations, mistakes
from tinyddpm.experiments.ablations import ABLATIONS, Job, Options
from tinyddpm.experiments.mistakes import MISTAKES, Mistake
from tinyddpm.experiments.ways import ENDS, drawn, ending
from tinyddpm.runs import checkpoint, judge, loop, run
from tinyddpm.tables import renewed, small
from tinyddpm.train import VARIANCES, visited_times
from tinyddpm.train.config import Config
from tinyddpm.train.samplers import Moment
from tinyddpm.train.trainer import Trainer
from tinyddpm.train.unet import network

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")

DOCS = Path(__file__).parent.parent / "docs"

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
        assert set(of.changes) <= known and (of.against in ABLATIONS or not of.against)
        config = replace(Config(), **of.changes).check()
        assert (config == Config()) == (name == "base" or (of.sampling is not None and of.network == "base"))
        assert all(config != other for other in seen) or of.sampling
        assert of.sampling or of.against or [*of.changes] == ["steps"]
        seen.append(config)
        if of.sampling:
            assert of.network in ABLATIONS and ("batches" in of.sampling or name.endswith(f"-{of.sampling['steps']}"))
            if of.against:
                assert ABLATIONS[of.against].group == of.group or of.against == name
        elif name != "base":  # a name is what would stand on a command line
            assert name == ",".join(f"{field}={getattr(config, field)}" for field in of.changes)
            against = ABLATIONS[of.against].changes if of.against else {}
            assert {*of.changes} > {*against} and all(of.changes[field] == value for field, value in against.items())
    for mistake in MISTAKES.values():
        replace(Config(), **mistake.changes).check()


def test_every_ablation_is_in_a_table_and_in_a_part():
    by_table = {name: of.part for name, of in ABLATIONS.items()}
    assert {*by_table.values()} == {part for parts in ablations.PARTS.values() for part in parts} < {*ablations.TABLES}
    assert by_table["running-averages"] == "batches" and by_table["beta-then-none-100"] == "less"
    assert by_table["beta-100"] == "sampling" and by_table["steps=6000,weighting=bound"] == "memorisation"
    assert by_table["base"] == by_table["norm=batch"] == "changes"
    assert sorted(ablations.KEPT) == ["base", "norm=batch"]


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
    assert [*ablations.load(tmp_path / "out")["runs"]] == measured == ["base/0", "norm=layer/0", "ddim-20/0"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["base-0"]

    def counted(job):
        measured.append(job.key)
        return measure(job)

    monkeypatch.setattr(ablations, "measure", counted)
    assert command(tmp_path, *only) == 0
    assert measured[3:] == ["base/1", "norm=layer/1", "ddim-20/1"]
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
    assert measured[6:] == ["beta-20/0", "base/1", "beta-20/1"]
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


def test_all_of_a_seed_comes_before_the_next_seed(tmp_path, tiny, monkeypatch):
    order = []
    monkeypatch.setattr(ablations, "measure", lambda job: order.append(job.key) or {"diverged": "soon"})
    only = ("--only", "norm=layer", "ddim-20", "batches-of-8", "steps=6000")
    assert command(tmp_path, *only) == 0
    block = ["base", "norm=layer", "steps=6000", "norm=batch", "ddim-20", "batches-of-8"]
    assert order == [f"{name}/{seed}" for seed in range(2) for name in block]
    order.clear()
    assert command(tmp_path, *only, "--part", "memorisation", "--seeds", "3") == 0
    assert order == ["steps=6000/2"]


def test_a_network_that_came_out_otherwise_takes_its_samples_with_it():
    results = {
        "runs": {
            f"{name}/{seed}": {"held_out_loss": 0.2} for name in ("base", "ddim-20", "clip=inf") for seed in (0, 1)
        }
    }
    ablations._put(results, Job("base", 0, Options()), {"held_out_loss": 0.2, "loss": 0.3})
    assert len(results["runs"]) == 6 and results["runs"]["base/0"]["loss"] == 0.3
    ablations._put(results, Job("base", 0, Options()), {"held_out_loss": 0.21})
    assert [*results["runs"]] == ["base/0", "base/1", "ddim-20/1", "clip=inf/0", "clip=inf/1"]


def test_a_longer_run_has_its_own_number_of_steps(tmp_path, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(
        loop, "fit", lambda config: seen.append(config) or loop.Report("", "", 1, 1, 1, 0.1, 0.2, 1, None)
    )
    monkeypatch.setattr(run, "load", lambda folder: None)
    for name in ("steps=3000,ladder=100.0", "base"):
        ablations.trained(Job(name, 2, Options(steps=7, runs=tmp_path)))
    assert [(config.steps, config.ladder, config.seed) for config in seen] == [(3000, 100.0, 2), (7, 200.0, 2)]


def test_less_variance_in_the_last_steps():
    """Down to the last steps the way is the same; there only the noise differs, by the factor that is named."""
    schedule = Config().noise_schedule()
    x_t, x_0, z = torch.full((2, 1), 0.3), torch.zeros(2, 1), torch.ones(2, 1)

    def noise(end, t, variance):
        at = Moment(schedule[t], schedule[t].before, None, z, VARIANCES[variance](schedule[t], None), 0.0, None)
        back = ending(end).step
        return (back(x_t, x_0, at) - back(x_t, x_0, at._replace(z=0 * z)))[0].item()

    for t in (2, 99, 100):
        beta, smaller = schedule[t].beta, posterior.variance(schedule[t])
        for variance, var in (("beta", beta), ("posterior", smaller)):
            expected = {"posterior": smaller**0.5, "half": (var / 2) ** 0.5, "none": 0.0}
            for end, std in expected.items():
                assert_equal(noise(end, t, variance), std, rtol=1e-5, atol=1e-7)
    for t in (101, 1000):
        assert_equal(np.array([noise(end, t, "beta") for end in ENDS]), np.full(3, schedule[t].beta ** 0.5), rtol=1e-5)
    visited = [t for t in visited_times(1000, 100) if t <= 100]
    respaced = forward.respace(schedule, visited_times(1000, 100))
    limit = schedule[100].noise_var * (1 + 1e-9)
    assert len(visited) == sum(respaced[i].noise_var <= limit for i in range(1, 101)) == 32


def test_a_batch_norm_normalises_by_the_batch_or_by_its_averages(tmp_path):
    found = data.load("digits")
    config = TINY(steps=2, norm="batch", out=tmp_path / "run", grid_every=math.inf)
    loop.fit(config)
    loaded = run.load(tmp_path / "run")
    before = {name: value.clone() for name, value in loaded.model.named_buffers() if "running" in name}
    alone, meant = (drawn(loaded, 12, 3, {"batches": size}) for size in (1, None))
    whole, twice = drawn(loaded, 12, 3, {"batches": 12}), drawn(loaded, 12, 3, {"batches": None})
    assert alone.shape == meant.shape == whole.shape == (12, *found.train.shape[1:])
    assert np.array_equal(meant, twice) and np.array_equal(meant, loaded.sample(12, 3, labels="random"))
    assert not np.allclose(meant, whole, atol=1e-3) and not np.allclose(alone, whole, atol=1e-3)
    after = {name: value for name, value in loaded.model.named_buffers() if "running" in name}
    assert before and all(torch.equal(before[name], after[name]) for name in before)
    assert not any(layer.training for layer in loaded.model.modules())


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
    far = {"base": (0.010, 0.012, 0.014), "norm=layer": (0.020, 0.026, 0.027), "clip=inf": (0.012, 0.011, 0.013)}
    far |= {"loss=sum,clip=inf": (0.011, 0.012, 0.015), "posterior-20": (0.4, 0.5, 0.6), "beta-20": (0.5, 0.62, 0.75)}
    far |= {"posterior-1000": (0.4, 0.5, 0.61)}
    runs = {
        f"{name}/{seed}": {"loss": 0.25, "held_out_loss": 0.2749, "frechet_distance": d, "nearest_neighbours": 0.9}
        for name, distances in far.items()
        for seed, d in enumerate(distances)
    }
    lost = {"diverged": "the loss is no longer finite"}
    runs |= {f"norm=batch/{seed}": lost for seed in range(3)}
    runs["norm=layer/3"] = lost
    near = {"steps=6000": (0.9, 0.91), "steps=6000,dropout=0.0,shift=0": (0.7, 0.69), "steps=3000": (0.95,)}
    for name, each in near.items():
        for seed, ratio in enumerate(each):
            runs[f"{name}/{seed}"] = {**runs["base/0"], "nearest_neighbours": ratio}
    wrong = {"loss": 0.253, "frechet_distance": 2.27, "nearest_neighbours": 0.741}
    return {"settings": {"steps": 1000}, "floor": 0.0016, "runs": runs, "mistakes": {"silent": wrong}}


def test_what_is_compared_together():
    results = made_up()
    groups, made = ablations.groups(results), ablations.compared(results)
    assert {*groups["changes", "frechet_distance", ""]} == {"base", "norm=layer", "clip=inf", "loss=sum,clip=inf"}
    assert {*groups["sampling", "frechet_distance", "base"]} == {"posterior-20", "beta-20", "posterior-1000"}
    assert groups["memorisation", "nearest_neighbours", ""]["steps=6000"] == {0: 0.9, 1: 0.91}
    expected = {"clip=inf", "loss=sum,clip=inf", "norm=layer", "posterior-20", "beta-20"}
    assert {*made} == expected | {"steps=6000,dropout=0.0,shift=0"}
    assert_equal(math.log(made["beta-20"].ratio), np.log([5 / 4, 6.2 / 5, 7.5 / 6]).mean())  # to posterior-20
    ratio = made["steps=6000,dropout=0.0,shift=0"].ratio
    assert_equal(math.log(ratio), np.log([0.7 / 0.9, 0.69 / 0.91]).mean())  # of the neighbours
    assert [name for name in made if made[name].sure] == ["norm=layer", "beta-20"]
    assert all(each.holm >= each.p for each in made.values())
    assert ablations.by_length(results, {}, "nearest_neighbours") == {1000: [0.9] * 3, 3000: [0.95], 6000: [0.9, 0.91]}
    assert ablations.by_length(results, ablations.NEITHER, "nearest_neighbours") == {6000: [0.7, 0.69]}


def cells(table):
    """Its rows, without what only fills."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_tables_say_what_was_measured():
    results = made_up()
    made, texts = ablations.compared(results), ablations.tables(results)
    changes, sampling, wrong = (cells(texts[name]) for name in ("changes", "sampling", "mistakes"))
    longer = cells(texts["memorisation"].partition("\n\n")[2])
    assert changes[0] == ["changed", "runs", "Fréchet distance", "ratio", "p", "Holm", "held out", "neighbours"]

    def compared(name, more=""):
        return [str(made[name]) + more, *small(made[name].p, made[name].holm)]

    above = " to the line above"
    assert changes[2:] == [
        ["the recipe", "3", "0.0120 ± 0.0020", "", "", "", "0.275", "0.900"],
        ["clip=inf", "3", "0.0120 ± 0.0010", *compared("clip=inf"), "0.275", "0.900"],
        ["loss=sum, clip=inf", "3", "0.0127 ± 0.0021", *compared("loss=sum,clip=inf", above), "0.275", "0.900"],
        ["norm=layer", "4", "0.0243 ± 0.0038, 1 diverged", *compared("norm=layer"), "0.275", "0.900"],
        ["norm=batch", "3", "3 diverged", "", "", "", "", ""],
    ]
    assert str(made["norm=layer"]).startswith("**2.0") and not str(made["clip=inf"]).startswith("**")
    assert [row[:6] for row in sampling[2:]] == [
        ["posterior-1000", "3", "0.5033 ± 0.1050", "", "", ""],
        ["posterior-20", "3", "0.5000 ± 0.1000", *compared("posterior-20", above)],
        ["beta-20", "3", "0.6233 ± 0.1250", *compared("beta-20", above)],
    ]
    neither = "steps=6000,dropout=0.0,shift=0"
    assert [row[:2] + row[3:6] for row in longer[2:]] == [
        ["steps=3000", "1", "", "", ""],
        ["steps=6000", "2", "", "", ""],
        ["steps=6000, dropout=0.0, shift=0", "2", *compared(neither, above)],
    ]
    assert wrong[2:] == [["no noise added", "0.253", "2.2700", "0.74"]]
    assert {made for name, made in ablations.tables({**results, "runs": {}}).items() if name != "mistakes"} == {""}
    assert "(figure:ablations.memorisation)" in texts["memorisation"] and texts["less"] == texts["batches"] == ""


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_figures_show_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from _site.figures import ablations as figures

    monkeypatch.setattr(figures, "MEASURED", tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(made_up()))
    neighbours, held_out = figures.memorisation().axes
    recipe, without = (line.get_xydata().tolist() for line in neighbours.lines if line.get_linestyle() == "-")
    assert recipe == [[1000, 0.9], [3000, 0.95], [6000, pytest.approx(0.905)]]
    assert without == [[6000, pytest.approx(0.695)]] and held_out.lines[0].get_ydata().tolist() == [0.2749] * 3
    (rows,) = figures.changes().axes
    colors = {str(line.get_color()) for line in rows.lines if line.get_marker() == "o" and 0.02 in line.get_xdata()}
    assert colors == {figures.ORANGE}  # norm=layer, which is significant


def test_how_many_comparisons_there_are_is_said():
    said = ablations.comparisons_line(made_up())
    assert said.startswith(
        "All 6 comparisons of the ablations are corrected together: 2 are significant by Holm's method"
    )
    assert "The distances in the 4 rows on changes" in said and "3 rows on sampling of the recipe" in said
    assert ablations.comparisons_line({**made_up(), "runs": {}}) == ""


def test_a_page_gets_its_tables_anew_and_keeps_its_words(tmp_path, tiny, capsys):
    page = "Above.\n\n<!-- table: mistakes -->\nold\n<!-- end of table -->\n\nBelow.\n"
    results = made_up()
    assert ablations.mistakes_table(results) in renewed(page, ablations.tables(results))
    file = tmp_path / "page.md"
    file.write_text(page, "utf-8")
    assert command(tmp_path, "--part", "tables", "--page", str(file)) == 0
    assert file.read_text("utf-8") == renewed(page, dict.fromkeys(ablations.TABLES, ""))
    assert command(tmp_path, "--part", "tables", "--page", str(tmp_path / "none.md")) == 2
    assert "none.md" in capsys.readouterr().err


WORSE = (
    "optimiser=sgd,lr=0.002,clip=inf optimiser=lamb,lr=0.001 optimiser=lamb,lr=0.01 norm=instance time=learned "
    "weighting=bound schedule=linear conditional=clusters conditional=nothing shift=1 posterior-20"
)
"""What the page calls significantly worse than what it is compared with."""

BETTER = "loss=sum,optimiser=sgd,lr=0.002,clip=inf ddim-20 second_order-20"
"""And better."""

EQUAL = (
    "loss=sum clip=inf loss=sum,clip=inf norm=layer norm=batch skips=add attention=False optimiser=adamw,lr=0.002 "
    "times=uniform times=importance weighting=min_snr predicts=noise predicts=x_0 ema=0.9999 ema=0.0 dropout=0.1 "
    "posterior-1000 beta-1000 beta-100 beta-20 unclipped-100 unclipped-20"
)
"""Of these it says that there is no significant difference."""


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_page_says_of_each_change_what_its_networks_show():
    made = ablations.compared(ablations.load(DOCS / "assets" / "ablations"))
    assert {name for name in WORSE.split() if not (made[name].sure and made[name].ratio > 1)} == set()
    assert {name for name in BETTER.split() if not (made[name].sure and made[name].ratio < 1)} == set()
    assert {name for name in EQUAL.split() if made[name].sure} == set()
    reach = [made[name].high / made[name].ratio for name in EQUAL.split() if ABLATIONS[name].part == "changes"]
    assert min(reach) > 1.05 and max(reach) < 1.15  # about a tenth both ways
    assert 3.5 < made["conditional=nothing"].ratio < 4.5 and 3.5 < made["weighting=bound"].ratio < 4
    assert 1 < made["conditional=clusters"].ratio < 1.5  # most of the difference is made up for
    lamb = ablations.by_seed(ablations.load(DOCS / "assets" / "ablations"), "optimiser=lamb,lr=0.001", "held_out_loss")
    assert min(lamb.values()) > 0.84  # 0.86 is that of a network that outputs 0
