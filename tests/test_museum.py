"""The museum: every mistake is refused, with a counter-example; every false alarm passes; the page says what the judge does."""

import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import against, door, elbo, forward, posterior, train
from tinyddpm.against import substitutes
from tinyddpm.equation import WIDTH, find, listing
from tinyddpm.exercises import museum
from tinyddpm.exercises.museum import EXHIBITS
from tinyddpm.forward import Step

PAGE = Path(__file__).parent.parent / "docs" / "museum.md"

MISTAKES = [shown for shown in EXHIBITS.values() if not shown.false_alarm]
ALARMS = [shown for shown in EXHIBITS.values() if shown.false_alarm]
COMPARED = [shown for shown in MISTAKES if not shown.checks]


def named(exhibits):
    return pytest.mark.parametrize("shown", [pytest.param(shown, id=shown.name) for shown in exhibits])


@pytest.fixture(scope="module")
def verdicts():
    """Of every exhibit, once for all tests, by exhibit and equation; pairs of slips, which take long, describe none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(against, "pairs", lambda known: iter(()))
        found = {name: museum.verdicts(shown) for name, shown in EXHIBITS.items()}
    return {name: {verdict.name: verdict for verdict in each} for name, each in found.items()}


@named(COMPARED)
def test_a_mistake_is_refused_with_a_counter_example(shown, verdicts):
    for verdict in verdicts[shown.name].values():
        assert verdict.outcome == "fails" and verdict.difference and not verdict.difference.wrong, verdict
        assert verdict.difference.expected != verdict.difference.got


@named(COMPARED)
def test_the_counter_example_is_the_simplest(shown, verdicts):
    """Single numbers wherever the equation takes them, and the function needs no more to differ."""
    for name, verdict in verdicts[shown.name].items():
        free = not find(name).shapes and name != "vae_vs_vdm.kl_to_standard_normal"
        free = free and not any(argument.kind == "table" for argument in find(name).arguments)
        if free or shown.name == "squared_logarithm":
            assert not any(
                np.ndim(value) for value in verdict.difference.given.values() if not isinstance(value, tuple)
            )


@named(MISTAKES)
def test_a_slip_is_named_where_it_is_one(shown, verdicts):
    for name, verdict in verdicts[shown.name].items():
        assert verdict.slip == shown.slips.get(name, "")


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("added_too_early", {"error": 1.0, "step": forward.linear()[1000], "gamma": 5.0}),
        ("second_slope_at_first_time", {}),
        ("same_start", {"schedule": forward.Schedule([0.1, 0.2, 0.3]), "part": 1.0}),
    ],
)
def test_what_comparing_does_not_see_the_checks_do(name, example):
    shown = EXHIBITS[name]
    module, _, test = shown.checks.rpartition(".")
    check = getattr(importlib.import_module(f"{__package__}.{module}"), test)
    check = check.hypothesis.inner_test if hasattr(check, "hypothesis") else check
    check(**example)
    with door.replacing(substitutes(shown.functions)), pytest.raises(AssertionError):
        check(**example)


def test_all_that_is_not_compared_is_checked():
    assert [shown.name for shown in MISTAKES if shown.checks] == [
        "added_too_early",
        "second_slope_at_first_time",
        "same_start",
    ]


@named(ALARMS)
def test_a_false_alarm_passes(shown, verdicts):
    for verdict in verdicts[shown.name].values():
        assert verdict.outcome == "passes", verdict


def test_every_exhibit_has_its_story():
    for shown in EXHIBITS.values():
        assert shown.title and shown.place and shown.functions, shown.name
        assert len(shown.story.split()) > 8, shown.name
        assert shown.name in {function.__name__ for function in shown.functions.values()}
        for name, function in shown.functions.items():
            assert find(name).name == name
            assert max(map(len, listing(function).splitlines())) <= WIDTH, shown.name
    functions = [function.__name__ for shown in EXHIBITS.values() for function in shown.functions.values()]
    assert len(functions) == len({*functions}) and len({shown.title for shown in EXHIBITS.values()}) == len(EXHIBITS)


# What the stories say. -----------------------------------------------------------------------------------------------


def test_the_numbers_in_the_stories():
    linear, betas = forward.linear(), np.linspace(1e-4, 0.02, 501)[1:]
    assert round((1 - museum.one_factor_too_many(betas)[0]) / betas[0], 2) == 1.72
    assert round(museum.single_precision(0.0, linear[1])[1] / linear[1].noise_var - 1, 5) == 1.7e-4
    noisy = Step.from_log_snr(math.log(0.1))
    weights = museum.larger_for_smaller(noisy, 5.0, "noise"), elbo.min_snr_weight(noisy)
    assert [round(float(weight), 9) for weight in weights] == [50, 1]
    assert round(museum.no_logarithm(1.0, linear[1000]), 2) == 0.36
    assert round(elbo.prior_matching(1.0, linear[1000]), 5) == 2e-5
    second = forward.respace(linear, train.visited_times(1000, 10))[2]
    ratio = museum.linear_interpolation(0.5, second) / posterior.interpolated_variance(0.5, second)
    assert round(ratio, 1) == 2.8
    stds = np.linspace(0.01, 2, 200)
    least = museum.squared_logarithm(np.zeros(200), stds**2)
    assert round(stds[np.argmin(least)], 2) == 0.65 and round(min(least), 1) == -0.2
    left = [math.sqrt(linear[t].noise_var) for t in (1, 20)]
    assert round(left[0], 2) == 0.01 and round(127.5 * left[1]) == 10


# The page. -----------------------------------------------------------------------------------------------------------


def sections(page):
    """The text under each heading, by the heading."""
    parts = re.split(r"^##+ (.*)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_page_shows_every_exhibit_in_order():
    found = sections(PAGE.read_text("utf-8"))
    titles = [title for title in found if title in {shown.title for shown in EXHIBITS.values()}]
    assert titles == [shown.title for shown in EXHIBITS.values()]
    for shown in EXHIBITS.values():
        text = found[shown.title]
        for name, function in shown.functions.items():
            assert f"[[code:exercises.museum.{function.__name__}]]" in text and f"[[eq:{name}]]" in text, shown.name
        assert (f"<!-- record: {shown.name} -->" in text) != shown.false_alarm, shown.name


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_page_says_what_the_judge_says(verdicts, monkeypatch):
    """If not: python -m tinyddpm.exercises.museum docs/museum.md"""
    monkeypatch.setattr(museum, "verdicts", lambda shown: list(verdicts[shown.name].values()))
    page = PAGE.read_text("utf-8")
    assert museum.renewed(page) == page
