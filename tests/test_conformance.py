"""Other libraries beside the book: what makes a verdict, what a spread is, and the page, with libraries where they are installed."""

import json
import math
import re
import textwrap
from importlib.metadata import version
from itertools import pairwise

import numpy as np
import pytest
import torch

from tinyddpm import cli, forward, mixture, posterior, train
from tinyddpm.exercises import conformance
from tinyddpm.exercises.adapters.asked import Asked, Library, Stated, Walk, in_float64
from tinyddpm.exercises.conformance import Residual

from .test_book import DOCS, run

PAGE = DOCS / "conformance.md"


# Verdicts. -----------------------------------------------------------------------------------------------------------

FINE, OFF = Residual(1e-15, True), Residual(0.3, False)


@pytest.mark.parametrize(
    ("exact", "shipped", "undone", "said"),
    [
        (FINE, Residual(1e-7), None, conformance.HOLDS),
        (FINE, Residual(1.7e-4), None, conformance.ROUNDING),
        (OFF, Residual(0.3), FINE, conformance.CONVENTION),
        (OFF, Residual(0.3), OFF, conformance.WRONG),
        (OFF, Residual(0.3), None, conformance.WRONG),
        (Residual(math.inf, False), Residual(math.inf), None, conformance.WRONG),
    ],
)
def test_the_verdict_follows_from_the_residuals(exact, shipped, undone, said):
    assert conformance.verdict(exact, shipped, undone) == said


def mean(x_t, x_0, step):
    return posterior.mean(x_t, x_0, step)


def forgets_the_root(x_t, x_0, step):
    return posterior.mean(x_t, x_0, step) + (1 - step.alpha_bar_prev**0.5) * x_0


def in_single(x_t, x_0, step):
    """Right, with a table in the default precision."""
    kept = (1 - torch.tensor(step.noise_var, dtype=torch.float32)).double().item()
    return posterior.mean(x_t, x_0, step) * (step.noise_var / (1 - kept))


def not_a_number(x_t, x_0, step):
    return x_t * math.nan


def of_standard_deviation(step):
    return posterior.variance(step) ** 0.5


def squared(step):
    return of_standard_deviation(step) ** 2


def fake(questions, walks=()):
    return Library("tinyddpm", "tinyddpm", lambda find: list(questions), lambda: list(walks))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked("posterior.mean", "mean", mean), conformance.HOLDS),
        (Asked("posterior.mean", "mean", in_single), conformance.ROUNDING),
        (Asked("posterior.mean", "mean", forgets_the_root, claim="c"), conformance.WRONG),
        (Asked("posterior.mean", "mean", not_a_number, claim="c"), conformance.WRONG),
        (Asked("posterior.variance", "std", of_standard_deviation, claim="c"), conformance.WRONG),
        (
            Asked("posterior.variance", "std", of_standard_deviation, stated=Stated("a root", "its docs", squared)),
            conformance.CONVENTION,
        ),
        (
            Asked("posterior.variance", "std", of_standard_deviation, stated=Stated("?", "", of_standard_deviation)),
            conformance.WRONG,
        ),
    ],
    ids=lambda value: getattr(getattr(value, "function", None), "__name__", ""),
)
def test_a_function_is_judged(asked, said):
    (row,) = conformance.ask(fake([asked]))
    assert row["verdict"] == said and row["examples"] > 5
    assert (row["float64"] == "not finite") == (asked.function is not_a_number)
    if said == conformance.CONVENTION:
        assert row["convention"] == "a root" and row["naive"] > row["float64"]


# Precision. ----------------------------------------------------------------------------------------------------------


def test_a_library_computes_in_float64_and_then_no_more():
    with in_float64():
        assert torch.tensor([0.1], dtype=torch.float32).dtype == torch.tensor(0.1).dtype == torch.float64
        assert torch.ones(1).float().dtype == torch.float64 and np.float32 is np.float64
    assert torch.tensor([0.1], dtype=torch.float32).dtype == torch.tensor(0.1).dtype == torch.float32
    assert str(torch.float32) == "torch.float32" and np.float32(0.1) != np.float64(0.1)


@pytest.mark.parametrize("t", [1, 2, 500])
def test_a_step_has_its_place_in_a_table(t):
    step = forward.linear()[t]
    for place in (conformance.place_in_float64(step), conformance.place_as_shipped(step)):
        kept = np.cumprod(1 - place.beta)
        np.testing.assert_allclose(kept[place.t], step.alpha_bar, rtol=1e-12)
        assert (place.s == -1) == (t == 1)
        if t > 1:
            np.testing.assert_allclose(kept[place.s], step.alpha_bar_prev, rtol=1e-12)


def test_a_step_of_no_known_schedule_has_no_place():
    with pytest.raises(ValueError, match="step must be of linear, cosine"):
        conformance.place_as_shipped(conformance.ODD[2])


# The spread. ---------------------------------------------------------------------------------------------------------


def test_the_ideal_network_is_the_one_of_the_mixture():
    ideal, x = conformance.IDEAL, np.array([[-1.0], [0.3], [2.0]])
    data = mixture.Mixture([1.0], [[ideal.mean]], [ideal.var])
    for t in (1, 30, 1000):
        step = forward.linear()[t]
        np.testing.assert_allclose(ideal.noise(x, step.alpha_bar), data.noise(x, step), rtol=1e-9)
        np.testing.assert_allclose(ideal.x_0(x, step.alpha_bar), data.denoise(x, step), rtol=1e-9)


def walk_of(function, kind="", **options):
    """A sampler of this test: from the first noise, and one more a step."""

    def run(ideal, rows, steps):
        x = torch.randn(rows, 1, 1, 1)
        for _ in range(steps):
            x = function(x, torch.randn_like(x))
        return x, [0.5, 1.0], 1.0

    return Walk("of this test", run, kind, **options)


def test_the_moments_of_a_linear_sampler_are_exact():
    (mean, std, off), *_ = conformance.walked(walk_of(lambda x, z: 0.9 * x + 0.2 * z + 0.1), 20)
    var, centre = 1.0, 0.0
    for _ in range(20):
        var, centre = 0.81 * var + 0.04, 0.9 * centre + 0.1
    assert off < 1e-4
    np.testing.assert_allclose([mean, std], [centre, var**0.5], rtol=1e-5)


def test_a_sampler_that_is_not_linear_shows():
    (*_, off), _, _ = conformance.walked(walk_of(lambda x, z: 0.9 * x + 0.2 * z + 10 * x**2), 3)
    assert off > 1e-2


@pytest.mark.parametrize(("variance", "kind"), [("posterior", "ancestral"), ("beta", "ancestral")])
@pytest.mark.parametrize("steps", [10, 1000])
def test_the_book_has_the_moments_of_its_recursion(variance, kind, steps):
    """x_s = a x_t + b + sigma z, with a and b from the coefficients of Bayes' rule, and variances that add."""
    schedule, ideal = forward.linear(), conformance.IDEAL
    kept = [*schedule.steps.alpha_bar[np.arange(0, 1000, 1000 // steps)][::-1], 1.0]
    centre, var = 0.0, 1.0
    for here, there in pairwise(kept):
        alpha, rest = here / there, 1 - here
        beta = 1 - alpha
        from_x_0, from_x_t = there**0.5 * beta / rest, alpha**0.5 * (1 - there) / rest
        whole = here * ideal.var + rest
        a = from_x_t + from_x_0 * ideal.var * here**0.5 / whole
        b = from_x_0 * rest * ideal.mean / whole
        fresh = 0.0 if there == 1 else beta if variance == "beta" else beta * (1 - there) / rest
        centre, var = a * centre + b, a**2 * var + fresh
    found = conformance.booked(kept, 1.0, kind, variance, 0.0)
    np.testing.assert_allclose(found, [centre, var**0.5], rtol=1e-8)


def test_the_book_has_the_moments_of_its_own_sampler():
    """The whole of `train.sample`, probed as another library is."""
    schedule, times = forward.linear(), [1, 101, 401, 901]
    step = forward.respace(schedule, times)

    def run(ideal, rows, steps):
        def network(x, t):
            return ideal.noise(x, float(schedule.steps.alpha_bar[int(t[0]) - 1]))

        rng = torch.Generator().manual_seed(0)
        return train.sample(network, schedule, (rows, 1), rng, "ddim", times=times, eta=0.5), [], 1.0

    (mean, std, off), *_ = conformance.walked(Walk("", run, ""), 10)
    wanted = conformance.booked([*step.steps.alpha_bar[::-1], 1.0], 1.0, "ddim", "posterior", 0.5)
    assert off < 1e-4
    np.testing.assert_allclose([mean, std], wanted, rtol=1e-4)


def test_a_sampler_is_judged():
    ideal, kept = conformance.IDEAL, 0.5

    def right(ideal, rows, steps):
        x = torch.randn(rows, 1, 1, 1)
        return ideal.x_0(x, kept), [kept, 1.0], 1.0

    def short(ideal, rows, steps):
        return right(ideal, rows, steps)[0] * 1.1, [kept, 1.0], 1.0

    def empty(ideal, rows, steps):
        return right(ideal, rows, steps)[0] * math.nan, [kept, 1.0], 1.0

    for function, kind, said in [
        (right, "ancestral", conformance.HOLDS),
        (right, "", conformance.NOT_ASKED),
        (short, "ancestral", conformance.WRONG),
        (empty, "ancestral", conformance.WRONG),
    ]:
        row = conformance.spread(Walk("", function, kind, claim="c"))
        assert row["verdict"] == said
        assert row["std"][0] is None if function is empty else 0.1 < row["std"][0] < ideal.var**0.5


# The command. --------------------------------------------------------------------------------------------------------


def test_a_library_that_is_not_known_or_not_here_is_an_error(capsys, monkeypatch):
    assert cli.main(["check", "--library", "nothing"]) == 2
    assert "library must be one of diffusers, monai" in capsys.readouterr().err
    monkeypatch.setattr(conformance, "find_spec", lambda name: None)
    assert cli.main(["check", "--library", "diffusers"]) == 2
    assert "pip install diffusers" in capsys.readouterr().err


def test_the_command_measures_keeps_and_prints(tmp_path, monkeypatch, capsys):
    walk = walk_of(lambda x, z: 0.5 * x + 0.01 * z)
    wrong = Asked("posterior.mean", "mean", forgets_the_root, claim="c")
    monkeypatch.setitem(conformance.LIBRARIES, "azula", fake([Asked("posterior.mean", "mean", mean)], [walk]))
    monkeypatch.setitem(conformance.LIBRARIES, "monai", fake([wrong]))
    page, report = tmp_path / "page.md", tmp_path / "new" / "results.json"
    page.write_text("<!-- table: azula_equations -->\n<!-- end of table -->\n")
    assert conformance.main(["azula", "--report", str(report), "--page", str(page)]) == 0
    assert conformance.main(["monai", "--report", str(report)]) == 0
    libraries = json.loads(report.read_text())["libraries"]
    assert [*libraries] == ["monai", "azula"] and libraries["azula"]["version"] == version("tinyddpm")
    assert "| [[eq:posterior.mean]] `posterior.mean` | `mean`         | holds   |" in page.read_text()
    assert "posterior.mean" in capsys.readouterr().out
    assert cli.main(["check", "--library", "azula"]) == 0 and cli.main(["check", "--library=monai"]) == 1


# The page. -----------------------------------------------------------------------------------------------------------

needs_page = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")


@needs_page
def test_the_page_says_what_was_measured():
    text, report = PAGE.read_text("utf-8"), conformance.load(DOCS / "assets" / "conformance" / "results.json")
    made = conformance.tables(report)
    assert sorted(re.findall(r"<!-- table: (\w+) -->", text)) == sorted(made)
    assert conformance.renewed(text, made) == text
    for of in report["libraries"].values():
        assert f"{of['distribution']} {of['version']}" in text


@needs_page
def test_every_mistake_has_its_section_and_every_section_its_mistake():
    report = conformance.load(DOCS / "assets" / "conformance" / "results.json")
    rows = [row for of in report["libraries"].values() for row in [*of["equations"], *of["samplers"]]]
    wrong = {row["claim"] for row in rows if row["verdict"] == conformance.WRONG}
    assert {*re.findall(r"^###.*\{#([\w-]+)\}$", PAGE.read_text("utf-8"), re.MULTILINE)} == wrong


@needs_page
def test_the_numbers_in_the_sentences_are_those_that_were_measured():
    """Each is on the page in words, so that a new measurement that changes it cannot pass unseen."""
    text, report = PAGE.read_text("utf-8"), conformance.load(DOCS / "assets" / "conformance" / "results.json")

    def of(library, sampler, steps, name="std", schedule="linear"):
        rows = report["libraries"][library]["samplers"]
        (row,) = (row for row in rows if (row["sampler"], row["schedule"]) == (sampler, schedule))
        return row[name][row["steps"].index(steps)]

    for library, sampler, steps in [
        ("diffusers", "DDIMScheduler, trailing", 300),
        ("diffusers", "DDPMScheduler, fixed_large, trailing", 10),
        ("monai", "DDPMScheduler, fixed_small", 50),
        ("monai", "DDIMScheduler", 300),
        ("moco", "step", 1000),
    ]:
        theirs, ours = (of(library, sampler, steps, name) for name in ("std", "ours"))
        assert f"{theirs:.3f} at {steps} steps, not {ours:.3f}" in text
    assert f"and the mean, 0.2 in the data, is {of('monai', 'DDPMScheduler, fixed_small', 50, 'mean'):.2f}" in text
    assert f"goes from {of('labml', 'p_sample', 1000, 'ours'):.5f} to {of('labml', 'p_sample', 1000):.5f}" in text
    samplers = [row for each in report["libraries"].values() for row in each["samplers"]]
    assert all(row["linear_to"] < 1e-3 for row in samplers)  # each sampler is a sum of its noises


def sections(text):
    """The parts of the page that need a library, with their Python blocks, indented or not, and what these print."""
    block = re.compile(r"^( *)```python\n(.*?)^\1```\n(?:\s*^\1```text\n(.*?)^\1```)?", re.DOTALL | re.MULTILINE)
    for package, part in re.findall(r"<!-- needs: ([\w.]+) -->(.*?)(?=<!-- needs: |\Z)", text, re.DOTALL):
        yield package, [(textwrap.dedent(code), textwrap.dedent(printed)) for _, code, printed in block.findall(part)]


@needs_page
@pytest.mark.parametrize(
    ("package", "blocks"),
    [pytest.param(*each, id=each[0]) for each in (sections(PAGE.read_text("utf-8")) if PAGE.is_file() else ())],
)
def test_every_example_prints_what_the_page_says(package, blocks):
    """Each block alone, as somebody who is sent it would run it."""
    pytest.importorskip(package)
    assert blocks
    for code, printed in blocks:
        assert run(code, PAGE, {}) == printed, code


@needs_page
@pytest.mark.parametrize("name", [*conformance.LIBRARIES])
def test_the_report_is_of_the_library_that_is_here(name):
    """With the same version, the same verdicts."""
    library = conformance.LIBRARIES[name]
    report = conformance.load(DOCS / "assets" / "conformance" / "results.json")["libraries"]
    if name not in report or not conformance.is_here(name):
        pytest.skip("not here or not measured")
    if version(library.distribution) != report[name]["version"]:
        pytest.skip("another version")
    measured = conformance.ask(library)
    was = report[name]["equations"]
    assert [(row["equation"], row["option"], row["verdict"]) for row in measured] == [
        (row["equation"], row["option"], row["verdict"]) for row in was
    ]
