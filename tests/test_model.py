"""The page on what the trained model does: what its command computes, that nothing is measured twice, what is said of it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyddpm import data, forward
from tinyddpm.checker import assert_equal
from tinyddpm.experiments import model
from tinyddpm.experiments.model import EXACT, TIMES, WEIGHTS, Kernel, Subject
from tinyddpm.runs import judge
from tinyddpm.tables import renewed
from tinyddpm.train.config import Config
from tinyddpm.train.unet import network

pytestmark = pytest.mark.usefixtures("one_thread")

DOCS = Path(__file__).parent.parent / "docs"
SCHEDULE = forward.cosine()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def kernel():
    """The exact denoiser around forty digits."""
    digits = data.digits()
    return Kernel(digits.train[:40], digits.train_labels[:40], 0.08, SCHEDULE)


# The exact denoiser. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1, 100, 500, 1000])
def test_the_exact_denoiser_is_that_of_the_mixture(kernel, t):
    x_0, _ = kernel.sample(6, seeded())
    x_t, times = model.noised(x_0, t, SCHEDULE, seeded(1)), torch.full((6,), t)
    flat = x_t.flatten(1).double().numpy()
    assert_equal(
        kernel(x_t, times).flatten(1).double().numpy(), kernel.mixture.denoise(flat, SCHEDULE[t]), rtol=1e-4, atol=1e-5
    )
    spread = kernel.mixture.posterior(flat, SCHEDULE[t]).var().mean(-1)
    assert_equal(kernel.uncertainty(x_t, times).double().numpy(), spread, rtol=1e-3, atol=1e-6)


def test_with_a_label_it_is_that_of_the_class(kernel):
    chosen = (kernel.labels == 3).numpy()
    alone = Kernel(kernel.means[chosen].numpy(), kernel.labels[chosen].numpy(), kernel.var, SCHEDULE)
    x_0, _ = kernel.sample(6, seeded())
    x_t, times = model.noised(x_0, 600, SCHEDULE, seeded(1)), torch.full((6,), 600)
    told = kernel(x_t, times, torch.full((6,), 3))
    assert_equal(told.numpy(), alone(x_t, times).numpy(), rtol=1e-4, atol=1e-5)
    assert (told - kernel(x_t, times)).abs().max() > 0.05


def test_the_bandwidth_is_the_likeliest_of_leaving_one_out():
    x = data.digits().train[:60]
    flat = x.reshape(60, -1).astype(float)

    def likelihood(var):
        total = 0.0
        for i in range(60):
            square = ((np.delete(flat, i, 0) - flat[i]) ** 2).sum(1)
            total += np.logaddexp.reduce(-square / (2 * var)) - 32 * math.log(var)
        return total

    best = model.bandwidth(x)
    assert likelihood(best) == max(likelihood(var) for var in (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2))


def test_a_draw_of_the_exact_denoiser_has_twice_the_error_of_its_mean(kernel):
    """A sample and the picture are two draws from one distribution; the sampler's error with 20 steps is below a tenth."""
    subject, x_0 = Subject(EXACT, kernel, "x_0", SCHEDULE), kernel.sample(600, seeded())[0]
    for t in (200, 500):
        x_t = model.noised(x_0, t, SCHEDULE, seeded(1))
        nature = kernel.uncertainty(x_t, torch.full((1,), t)).mean().item()
        drawn = model.back(subject, x_t, t, seeded(2), clip=None)
        assert abs(model.square(drawn, x_0) / (2 * nature) - 1) < 0.1
        assert abs(model.square(model.guess(subject, x_t, t), x_0) / nature - 1) < 0.1


# What the experiments begin with. ------------------------------------------------------------------------------------


def test_letters_and_drawings_are_pictures_like_the_digits():
    letters, drawings, static = model.letters(), model.drawings(), model.static(50)
    assert letters.shape == (78, 1, 8, 8) and drawings.shape == (10, 1, 8, 8)
    for x in (letters, drawings, static):
        levels = (x + 1) * 8
        assert torch.equal(levels, levels.round()) and levels.min() == 0 and levels.max() == 16
    o = letters[string_place("O"), 0]
    assert o[3, 3] == -1 and o[3, 1] == 1  # the hole is a hole
    for flat in (letters[:26].flatten(1), drawings.flatten(1)):  # in two fonts a letter can be the same
        assert (torch.cdist(flat, flat) + torch.eye(len(flat))).min() > 0
    assert abs(static.mean()) < 0.05


def string_place(letter):
    return ord(letter) - ord("A")


def test_mixed_noise_is_too_thin_unless_it_is_mended():
    zero, t = torch.zeros(2000, 1, 8, 8), 500
    for weight in (0.25, 0.5):
        for thin, share in ((True, (1 - weight) ** 2 + weight**2), (False, 1.0)):
            x_t = model.mixture_at(zero, zero, t, weight, SCHEDULE, seeded(), thin)
            assert abs(x_t.var().item() / (share * SCHEDULE[t].noise_var) - 1) < 0.02
    one = torch.ones_like(zero)
    mean = model.mixture_at(zero, one, t, 0.25, SCHEDULE, seeded(), False).mean()
    assert abs(mean - 0.25 * SCHEDULE[t].alpha_bar ** 0.5) < 0.01


@pytest.fixture(scope="module")
def net():
    """A network whose output depends on what it is given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = network(Config(width=8), (1, 8, 8), 10).eval()
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.2)
    return made


def test_half_way_is_the_mean_of_two_embeddings(net):
    halves = model.half_way(net, [(3, 8), (4, 4)])
    x_t, t = torch.randn(5, 1, 8, 8, generator=seeded()), torch.full((5,), 400)
    with torch.no_grad():
        four = torch.full((5,), 4)
        assert_equal(halves(x_t, t, torch.full((5,), 11)).numpy(), net(x_t, t, four).numpy(), rtol=1e-5, atol=1e-6)
        between = halves(x_t, t, torch.full((5,), 10))
        assert all((between - net(x_t, t, torch.full((5,), c))).abs().max() > 0.01 for c in (3, 8))
    rows = net.condition.label.weight
    assert_equal(halves.condition.label.weight[11].numpy(), ((rows[4] + rows[9]) / 2).detach().numpy(), rtol=1e-6)


def test_an_error_of_zero_changes_nothing_and_another_pushes_the_guess(net):
    subject = Subject("0", net, "velocity", SCHEDULE)
    x_t = torch.randn(4, 1, 8, 8, generator=seeded())
    guess = model.guess(subject, x_t, 300)
    step = SCHEDULE[300]
    pushes = {"velocity": step.noise_var**0.5, "noise": (step.noise_var / step.alpha_bar) ** 0.5}
    for predicts, push in pushes.items():
        same, pushed = (model.guess(model.spoilt(subject, predicts, error), x_t, 300) for error in (0.0, 0.1))
        assert_equal(same.numpy(), guess.numpy(), rtol=1e-3, atol=1e-4)
        moved = (guess - pushed).double().numpy()
        assert_equal(moved, np.full(moved.shape, 0.1 * push), rtol=1e-3, atol=1e-4)


# The command. --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path_factory, monkeypatch):
    """A recipe that takes no time, few digits, and a judge that has learned next to nothing but is always the same."""
    few = data.Data(*(part[:100] for part in data.digits()[:4]))
    monkeypatch.setitem(data.LOADERS, "digits", lambda: few)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache-model"))
    monkeypatch.setattr(judge, "STEPS", 2)
    monkeypatch.setattr(model, "Config", lambda **options: Config(**{"width": 8, "levels": 1, "batch": 16, **options}))
    for name, value in {"WALK": 1, "CODE": 2, "AVERAGED": 2, "POINTS": 50, "LONGER": 1, "TIMES": (400, 800)}.items():
        monkeypatch.setattr(model, name, value)
    monkeypatch.setattr(model, "FEWER", (500,))


def command(folder, *more, steps=1):
    options = f"--out {folder / 'out'} --runs {folder / 'runs'} --steps {steps} --seeds 2 --pictures 20".split()
    return model.main([*options, *more])


def test_what_is_measured_is_written_at_once_and_not_measured_again(tmp_path, tiny, monkeypatch, capsys):
    measured, parts = [], dict(model.PARTS)

    def counted(name, part):
        def measure(lab, subject):
            measured.append(f"{name}/{subject.name}")
            if len(measured) == 3:
                raise KeyboardInterrupt
            return part.measure(lab, subject)

        return part._replace(measure=measure)

    monkeypatch.setattr(model, "PARTS", {name: counted(name, part) for name, part in parts.items()})
    assert command(tmp_path, "--parts", "known", "between") == 130
    assert [*model.load(tmp_path / "out")["runs"]] == measured[:2] == ["known/0", "between/0"]
    assert command(tmp_path, "--parts", "known", "between") == 0
    assert measured[3:] == ["known/1", "between/1", "between/exact"]
    results = model.load(tmp_path / "out")
    assert command(tmp_path, "--parts", "known", "between") == 0 and len(measured) == 6
    assert model.load(tmp_path / "out") == results
    assert "| no label" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"digits-0", "digits-1", "ring-0", "ring-1"}
    assert command(tmp_path, steps=2) == 2
    assert "steps must stay 1, got 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--seeds", "0"), "seeds must be at least 1, got 0"),
        (("--pictures", "19"), "pictures must be at least 20, got 19"),
        (("--parts", "back", "forth"), "parts must be one of back, known, mix, between, edit, clip, got 'forth'"),
    ],
)
def test_refusals_name_what_was_asked(more, words, tmp_path, capsys):
    assert command(tmp_path, *more) == 2
    assert words in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_every_experiment_gives_its_numbers_and_every_table_a_row(tmp_path, tiny, capsys):
    assert command(tmp_path, "--seeds", "1") == 0
    results = model.load(tmp_path / "out")
    assert {key.partition("/")[0] for key in results["runs"]} == model.PARTS.keys()
    shown = model.load_pictures(tmp_path / "out")
    assert {name: part.shape[:2] for name, part in shown.items()} == {
        "back": (5, 6),
        "mix": (5, 5),
        "between": (3, 10),
        "edit": (5, 10),
    }
    for name, text in model.tables(results).items():
        assert len(text.splitlines()) > 2 and "nan" not in text, name


# The page. -----------------------------------------------------------------------------------------------------------

pages = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")


@pytest.fixture(scope="module")
def recorded():
    """What was measured, and how to look it up: the mean over the networks, at a time or in a row of its own."""
    results = model.load(DOCS / "assets" / "model")

    def figure(part, *keys, t=None, times=TIMES):
        values = model.over_networks(results, part, *keys).mean(0)
        return values if t is None else values[times.index(t)]

    return results, figure


@pages
def test_the_tables_are_those_that_were_measured(recorded):
    page, tables = (DOCS / "model.md").read_text("utf-8"), model.tables(recorded[0])
    assert sorted(re.findall(r"<!-- table: (\w+) -->", page)) == sorted(tables)
    assert renewed(page, tables) == page
    assert recorded[0]["settings"]["pictures"] == 100
    assert all(len(model.over_networks(recorded[0], part)) >= 3 for part in model.PARTS)


@pages
def test_the_numbers_in_the_words_are_those_that_were_measured(recorded):
    page, (results, figure) = (DOCS / "model.md").read_text("utf-8"), recorded
    floors, code = results["floors"], {name: figure("mix", "code", name) for name in ("half", "arc", "variance")}
    average = {name: figure("back", "average", name) for name in ("sample", "average", "guess")}
    exact = results["runs"][f"between/{EXACT}"]["predictions"]
    for words in (
        f"it is right on {100 * floors['accuracy']:.1f} % of the held-out digits",
        f"a probability of {floors['noise']['sure']:.2f} on average for pictures that are noise",
        f"100 training digits are at {floors['training digits']['frechet']:.2f}",
        f"the variance {floors['variance']:g} per pixel",
        f"one draw {average['sample']:.3f}, the average of ten draws {average['average']:.3f}, the guess "
        f"{average['guess']:.3f}",
        f"the mean square of a code is {code['half']:.2f}, where on the arc it is {code['arc']:.2f}",
        f"{code['variance']:.2f} in the place of 1",
        f"in {100 * (exact['first'] + exact['second']):.0f} % of all draws",
        f"The classifier sees the right digit in {10 * floors['drawings']['meant']:.0f} of them",
    ):
        assert words in page, words
    ratio = average["average"] / average["guess"]
    assert abs(ratio - 1.1) < 0.1 and 1.6 < average["sample"] / average["guess"] < 2.2


@pages
def test_what_comes_back_is_as_the_page_says(recorded):
    results, figure = recorded
    plain, label = ("back", "digits"), ("back", "digits, label")
    assert figure(*plain, "itself", t=200) > 0.85 > 0.2 > figure(*plain, "itself", t=500)
    assert figure(*plain, "same", t=400) > 0.6 and figure(*plain, "same", t=900) < 0.2
    assert 0.8 < figure(*plain, "sample", t=900) / results["floors"]["strangers"] < 1
    assert figure(*label, "same").min() > 0.93
    assert abs(figure(*label, "itself", t=500) - figure(*plain, "itself", t=500)) < 0.12
    simplest = model.exactly(results, *plain, "guess")
    assert 1.6 < simplest[TIMES.index(200)] / figure(*plain, "guess", t=200) < 2.4
    assert abs(simplest[TIMES.index(500)] / figure(*plain, "guess", t=500) - 1) < 0.15


@pages
def test_letters_and_noise_are_lost_as_the_page_says(recorded):
    results, figure = recorded
    letters, noise = ("back", "letters"), ("back", "noise")
    assert figure(*letters, "itself", t=200) > 0.5 > figure(*letters, "itself", t=300) > 0.1
    assert figure(*letters, "itself", t=400) < 0.1
    assert figure(*letters, "like", t=200) < 0.4 < figure(*letters, "like", t=400)
    assert abs(figure(*letters, "like", t=900) - figure("between", "none", "like")) < 0.12
    assert figure(*noise, "itself", t=200) < 0.1 and figure(*noise, "itself", t=300) == 0
    assert figure(*noise, "like", t=300) < 0.5 < figure(*noise, "like", t=900)
    assert model.exactly(results, *letters, "like")[TIMES.index(200)] > 0.8
    assert model.exactly(results, *noise, "like")[TIMES.index(300)] > 0.5


@pages
def test_mixing_does_as_the_page_says(recorded):
    results, figure = recorded
    floor, average = results["floors"]["training digits"]["frechet"], results["floors"]["pixel average"]["frechet"]
    far = {t: figure("mix", "right", "frechet", t=t, times=model.FEWER) for t in model.FEWER}
    either = {
        t: sum(figure("mix", "right", which, t=t, times=model.FEWER) for which in ("first", "second"))
        for t in model.FEWER
    }
    unmixed = (figure("mix", "weights", "frechet")[0] + figure("mix", "weights", "frechet")[-1]) / 2
    assert 0.25 < (far[200] - floor) / (average - floor) < 0.65
    assert all(abs(far[t] - unmixed) < 0.06 for t in model.FEWER[1:])
    assert either[200] > either[500] > either[800] and either[800] < 0.35
    thin = figure("mix", "thin", "frechet") - figure("mix", "right", "frechet")
    assert abs(thin.mean()) < 0.02
    half = WEIGHTS.index(0.5)
    arc = {name: figure("mix", "arc", name)[half] for name in ("first", "second", "sure", "frechet")}
    both = arc["first"] + arc["second"]
    assert 0.65 < both < either[200] + 0.05 and both > max(either[t] for t in model.FEWER[1:]) + 0.05
    assert all(abs(far[t] - arc["frechet"]) < 0.02 for t in model.FEWER[1:])
    assert arc["sure"] < results["floors"]["training digits"]["sure"] - 0.05
    assert abs(figure("mix", "line", "frechet") - arc["frechet"]) < 0.02
    assert abs(figure("mix", "line", "first") + figure("mix", "line", "second") - both) < 0.05


@pages
def test_between_classes_it_is_as_the_page_says(recorded):
    _, figure = recorded

    def look(way, name):
        return figure("between", way, name)

    for way in ("embedding", "predictions"):
        assert 0.15 < 1 - look(way, "first") - look(way, "second") < 0.27
        assert look(way, "sure") < look("label", "sure") - 0.05
    assert look("embedding", "sure") > look("predictions", "sure")
    assert look("embedding", "frechet") < look("predictions", "frechet")
    assert look("none", "like") < look("label", "like") - 0.05 and look("none", "sure") < look("label", "sure")


@pages
def test_drawings_become_digits_as_the_page_says(recorded):
    results, figure = recorded
    floor = results["floors"]["training digits"]["frechet"]

    def look(kind, name, t):
        return figure("edit", kind, name, t=t, times=model.FEWER)

    assert results["floors"]["drawings"]["like"] == 0
    assert look("label", "meant", 500) > 0.9 and look("label", "frechet", 500) < floor + 0.05
    assert all(look("no label", "meant", t) < 0.7 for t in model.FEWER)
    assert look("no label", "meant", 800) < 0.4
    assert look("label", "meant", 800) > 0.95


@pages
def test_clipping_is_as_the_page_says(recorded):
    _, figure = recorded
    errors = model.ERRORS
    each, end = (dict(zip(errors, figure("clip", way, "frechet"), strict=True)) for way in ("each", "end"))
    outside = dict(zip(errors, figure("clip", "end", "outside"), strict=True))
    none, noise = ("velocity", 0.0), ("noise", 0.1)
    assert abs(each[none] - end[none]) < 0.01 and outside[none] < 0.02
    assert outside[noise] > 0.99 and end[noise] > 1 and each[noise] < each[none] + 0.05
    last = SCHEDULE[1000]
    assert round(last.alpha_bar**0.5, 5) == 0.00005 and abs(0.1 / last.alpha_bar**0.5 - 2000) < 100


@pages
def test_the_networks_on_the_ring_add_little(recorded):
    results, figure = recorded
    nature, fault = (figure("known", name) for name in ("nature", "fault"))
    each = np.array([model.over_networks(results, "known", name) for name in ("guess", "fault", "nature")])
    mixed = (each[0] - each[1] - each[2]) / nature  # 0 on average: within four errors, one spread for all times
    assert np.all(abs(mixed.mean(0)) < 4 * np.sqrt(mixed.var(0, ddof=1).mean() / len(mixed)))
    assert round(100 * fault[0] / nature[0]) == 3 and np.all(fault[1:] < 0.01 * nature[1:])
    assert np.all(abs(figure("known", "same") - figure("known", "exact same")) < 0.02)
    assert np.all(abs(figure("known", "sample") / (2 * nature) - 1) < 0.1)  # a walk of 20 steps
