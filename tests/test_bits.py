"""Where the bits go: that each code is what it says, and that the page says what was measured."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tinyddpm import data, elbo, forward
from tinyddpm.checker import assert_equal
from tinyddpm.experiments import bits
from tinyddpm.runs import judge, loop, run
from tinyddpm.train.config import Config

from .strategies import seeded

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")

TINY = partial(Config, T=20, width=8, levels=1, batch=16, device="cpu")
DOCS = Path(__file__).parent.parent / "docs"


class Replay:
    """Noise that was drawn before, in the place of a generator."""

    def __init__(self, noises):
        self.noises = iter(noises)

    def standard_normal(self, shape):
        return next(self.noises).numpy()


@pytest.fixture
def few(monkeypatch):
    """Few digits, of which only four pixels are left."""
    whole = data.digits()
    few = whole._replace(
        **{
            name: part[:60, ..., 2:4, 2:4] if part.ndim == 4 else part[:60]
            for name, part in zip(whole._fields[:4], whole[:4], strict=True)
        }
    )
    monkeypatch.setitem(data.LOADERS, "digits", lambda: few)
    monkeypatch.setattr(bits, "Config", TINY)
    return few


@pytest.mark.parametrize("name", bits.RECIPES)
def test_the_bits_of_a_network_are_its_bound(name, few, tmp_path):
    """With one part, every picture at every time: draw by draw what `vlb_terms` gives."""
    loop.fit(TINY(**bits.RECIPES[name], steps=3, out=tmp_path / "run"))
    loaded, rng = run.load(tmp_path / "run"), seeded(5)
    spent = bits.spend(loaded, few, bits.Options(pictures=10, parts=1), 5)
    learned = loaded.config.learned_variance
    x_0, noises = torch.from_numpy(few.held_out[:10]), []
    for _ in range(20):
        drawn = [
            torch.randn(x_0.shape, generator=rng) for _ in range(1 if learned else 2)
        ]  # first for the training ones
        noises.append(drawn[-1])
    labels = torch.from_numpy(few.held_out_labels[:10])
    schedule, predicts = loaded.config.noise_schedule(), loaded.config.predicts
    for code in ["learned"] if learned else ["beta", "posterior"]:
        with torch.no_grad():
            terms = elbo.vlb_terms(
                lambda x_t, t: loaded.model(x_t, t, labels), x_0, schedule, Replay(noises), predicts, code, 1.0, 17
            )
        assert_equal(spent[code], elbo.bits_per_dim(terms[:-1], 4).double().numpy(), rtol=1e-4, atol=1e-6)


def test_with_several_parts_each_picture_is_asked_at_some_times(few, tmp_path):
    loop.fit(TINY(**bits.RECIPES["likelihood"], steps=1, out=tmp_path / "run"))
    spent = bits.spend(run.load(tmp_path / "run"), few, bits.Options(pictures=10, parts=5), 0)["learned"]
    asked = ~np.isnan(spent)
    assert asked[0].all() and (asked[1:].sum(1) == 2).all() and (asked[1:].sum(0) >= 3).all()


def test_a_prediction_is_rounded_as_bayes_rule_has_it():
    step, guess = forward.cosine()[50], torch.tensor([[0.03, -0.3, 0.9, 1.0]], dtype=torch.float64)
    values = np.linspace(-1, 1, 5)
    chances = stats.norm.pdf(guess.numpy()[..., None], values, 0.2)
    chances /= chances.sum(-1, keepdims=True)
    mean, var = bits.rounded(0.04, 5)(guess, None, step)
    assert_equal(mean.numpy(), chances @ values)
    spread = chances @ values**2 - (chances @ values) ** 2
    factor = math.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var
    assert_equal(var.numpy(), step.beta * step.noise_var_prev / step.noise_var + factor**2 * spread, rtol=1e-9)
    mean, _ = bits.rounded(1e-4, 5)(guess, None, step)
    assert_equal(mean.numpy(), np.array([[0.0, -0.5, 1.0, 1.0]]), atol=1e-9)


def test_the_histogram_as_a_denoiser_costs_a_little_more_than_the_histogram(few):
    """And the sum over the noise has converged: with twice the nodes it is the same."""
    few = few._replace(held_out=few.train)
    schedule = forward.cosine(400)
    terms = list(bits.histogram_terms(few, schedule))
    total = {name: sum(term[name] for term in terms) for name in terms[0]}
    histogram = judge.histogram_bits(few, 60).mean()
    assert 0 < total["best"] - histogram < 0.05 < total["posterior"] - histogram < total["beta"] - histogram
    respaced = forward.respace(schedule, [4, 40, 100, 200, 400])
    coarse, fine = (list(bits.histogram_terms(few, respaced, nodes)) for nodes in (41, 82))
    for one, other in zip(coarse, fine, strict=True):
        assert all(abs(one[name] - other[name]) < 2e-3 for name in one)


def test_what_is_measured_is_kept_and_not_measured_again(few, tmp_path, monkeypatch, capsys):
    options = f"--out {tmp_path / 'out'} --runs {tmp_path / 'runs'} --steps 2 --pictures 30 --parts 3".split()
    assert bits.main(options) == 0
    results = bits.load(tmp_path / "out")
    assert [*results["runs"]] == ["recipe/0", "likelihood/0", "recipe/1", "likelihood/1"]
    assert "| trained on the bound" in capsys.readouterr().out
    monkeypatch.setattr(bits.loop, "fit", lambda *_: pytest.fail("it was kept"))
    assert bits.main(options) == 0 and bits.load(tmp_path / "out") == results
    assert bits.main([*options, "--seeds", "0"]) == 2
    # The sum of a code: its groups, the end of the noising, the name of the class.
    one = results["runs"]["recipe/0"]
    total = sum(one["codes"]["beta"]["groups"]) + one["last"] + one["naming"]
    assert_equal(total, np.mean(one["codes"]["beta"]["bits"]))
    assert_equal(bits.column(one["codes"]["beta"]["groups"], 0, 1000), sum(one["codes"]["beta"]["groups"]))


def test_a_summary_adds_up():
    spent = np.array([[1.0, 3.0], [0.5, np.nan], [np.nan, 0.25], [0.5, np.nan]])
    found = bits.summary(spent, 0.1, np.zeros(2))
    assert_equal(sum(found["groups"]), 2 + 0.5 + 0.25 + 0.5)
    assert_equal(found["bits"], 2 + 0.5 + 0.25 + 0.5 + 0.1)
    assert_equal(found["difference_error"], abs((1 + 1.5) - (3 + 0.75)) / 2)


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_page_says_what_was_measured():
    results, page = bits.load(DOCS / "assets" / "bits"), (DOCS / "experiments.md").read_text("utf-8")
    section = page[page.index("## How many bits?") :]
    exact, histogram = results["exact"], results["histogram"]
    assert f"cost {exact['best']['bits'] - histogram:.3f} bits more than the histogram itself" in section
    assert f"with $\\beta_t$ they cost {exact['beta']['bits'] - histogram:.1f} bits more" in section
    assert all(of["steps"] == 1000 for of in results["runs"].values())
    totals = {
        code: [np.mean(of["bits"]) for of in bits.of_code(results, kind, code)]
        for kind, code in bits.CODES
        if kind != "exact"
    }
    assert len(totals["learned"]) > 1 and max(totals["learned"]) < 2.2 < histogram < min(totals["beta"])
    groups = {code: bits.of_code(results, "recipe", code)[0]["groups"] for code in ("beta", "rounded")}
    few, many = (bits.column(groups[code], 1, 10) for code in ("rounded", "beta"))
    assert few < many / 20  # "nearly all bits of t = 2 to 10"
    assert bits.column(groups["rounded"], 100, 1000) > bits.column(groups["beta"], 100, 1000)  # "loses a little"
    assert max(totals["rounded"]) < min(2 / 3 * min(totals["beta"]), results["histogram_class"])
    assert abs(np.mean(totals["learned"]) - np.mean(totals["fine"])) < 0.05  # "about the same"
