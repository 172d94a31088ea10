"""The errata: every printed formula fails, every true one passes, every number is the one on the page."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from tinyddpm import against, elbo, forward, vae_vs_vdm
from tinyddpm.equation import registry
from tinyddpm.exercises import errata
from tinyddpm.prover import prove

PAGE = Path(__file__).parent.parent / "docs" / "errata.md"


@pytest.fixture(autouse=True)
def no_slips(monkeypatch):
    """To name the slip of a formula takes a while, and the page does not print it."""
    monkeypatch.setattr(against, "named", lambda *_: "")


@pytest.mark.parametrize("each", errata.ERRATA, ids=lambda each: each.name)
def test_what_was_printed_is_refused_and_what_is_true_passes(each):
    decided = list(each.decide())
    assert decided, "an erratum without a decision"
    for row in decided:
        if isinstance(row, errata.Formula):
            assert row.true is not registry[row.equation].function  # it is written out, or takes another route
            printed, true = row.verdicts()
            assert printed.outcome == "fails" and printed.name == row.equation and printed.difference is not None
            assert true.outcome == "passes" and true.examples >= 3, str(true)
        else:
            assert np.isfinite(row.true)
    # something implied is not what is computed
    assert any(isinstance(row, errata.Formula) or row.row()[1] not in ("-", row.row()[2]) for row in decided) or (
        each.name == "variational-is-not-random"
    )


@pytest.mark.parametrize("each", [each for each in errata.ERRATA if each.sizes], ids=lambda each: each.name)
def test_a_finer_grid_changes_no_digit(each):
    assert each.rows(**{name: 2 * size for name, size in each.sizes.items()}) == each.rows()


def test_a_grid_is_a_default_that_can_be_made_finer():
    """No decision lays a grid or draws at random without an argument for its size."""
    for each in errata.ERRATA:
        code = inspect.getsource(each.decide)
        assert "default_rng" not in code and "RandomState" not in code
        if re.search(r"linspace|hermegauss|line\(|density_of\(|differential_entropy\(", code):
            assert each.sizes, each.name


ALGEBRA = [
    (each, row)
    for each in errata.ERRATA
    if "Formula(" in inspect.getsource(each.decide)
    for row in each.decide()
    if isinstance(row, errata.Formula) and not registry[row.equation].unproved
]
"""The errata on an equation whose formula is proved."""


@pytest.mark.parametrize(("each", "row"), ALGEBRA, ids=lambda value: getattr(value, "name", ""))
def test_the_formulas_on_the_page_are_the_functions(each, row):
    """The first display of the text is the printed function, the second the true one; Su's letters are roots of ours."""
    shown = re.findall(r"\$\$(.+?)\$\$", each.text, re.DOTALL)
    assert len(shown) == 2
    for latex, function in zip(shown, (row.printed, row.true), strict=True):
        if "In Su's letters" in each.text:
            latex = re.sub(r"((?:\\bar)?\\(?:alpha|beta)_t)", r"(\1^{S})", latex)
        prove(replace(registry[row.equation], function=function, latex=latex))


def test_names_are_permanent_and_their_own():
    names = [each.name for each in errata.ERRATA]
    assert len(names) == len(set(names))
    assert {each.source for each in errata.ERRATA} == {*errata.SOURCES}
    order = [errata.SOURCES.index(each.source) for each in errata.ERRATA]
    assert order == sorted(order)


def test_every_erratum_says_what_was_printed_and_what_is_true():
    for each in errata.ERRATA:
        assert each.title and "$" not in each.title, f"{each.name}: a heading is in words"
        assert each.text.startswith("**Printed.** ") and "\n\n**True.** " in each.text, each.name
        for name in re.findall(r"\[\[eq:([\w.]+)\]\]", each.text):
            assert name in registry, name


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages do not travel with the package")
def test_the_page_is_what_the_errata_say():
    page = PAGE.read_text("utf-8")
    assert re.findall(r"<!-- errata: (\w+) -->", page) == [*errata.SOURCES]
    assert errata.renewed(page) == page, "make it again: python -m tinyddpm.exercises.errata docs/errata.md"
    assert re.findall(r"^### .* \{#([\w-]+)\}$", page, re.MULTILINE) == [each.name for each in errata.ERRATA]


@pytest.mark.parametrize(
    ("printed", "true", "wrong"),
    [
        (lambda var: 1 / (2 * var), lambda var: 1 / (2 * var), "the printed formula must fail"),
        (lambda var: 1 / (2 * var**2), lambda var: 1 / var, "and the true one pass"),
    ],
)
def test_a_false_erratum_is_refused(printed, true, wrong):
    with pytest.raises(ValueError, match=wrong):
        errata.Formula("elbo.mean_weight", printed, true).row()


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.9048, ".3g", "0.905"),
        (4.04e-5, ".3g", r"$4.04\cdot10^{-5}$"),
        (float("inf"), ".3g", r"$\infty$"),
        (-1.0, ".4g", "-1"),
    ],
)
def test_numbers_in_digits(value, digits, text):
    assert errata.in_digits(value, digits) == text


# Some of the numbers, by another route. --------------------------------------------------------------------------------


def numbers(name):
    (each,) = (each for each in errata.ERRATA if each.name == name)
    return [row.true for row in each.decide() if isinstance(row, errata.Number)]


def test_the_excess_of_the_printed_consistency_term():
    """For data from N(0, 1) and the exact model: the mean of the printed divergence, less that of the log-ratio."""
    schedule = forward.linear(6, 0.1, 0.3)
    excess = 0.0
    for t in range(1, 6):
        step, after = schedule[t], schedule[t + 1]
        # the means are sqrt(alpha_t) x_{t-1} and sqrt(alpha_{t+1}) x_{t+1}, of variables with correlation sqrt(alpha_t alpha_{t+1})
        apart = step.alpha + after.alpha - 2 * step.alpha * after.alpha
        printed = (step.beta / after.beta - 1 - np.log(step.beta / after.beta) + apart / after.beta) / 2
        excess += printed - np.log(after.beta / step.beta) / 2  # in truth a difference of two entropies
    assert np.isclose(excess, sum(schedule[t + 1].alpha * schedule[t].beta / schedule[t + 1].beta for t in range(1, 6)))


def test_the_best_bound_of_a_narrow_family_is_where_the_erratum_says():
    """By search over the decoder's weight."""
    x, spread = np.array([1.0]), np.array([[0.5]])

    def bound(weight):
        vae = vae_vs_vdm.LinearVAE([[weight]], [0.0], 0.1)
        return float(vae.elbo(x, vae.posterior(x).mean, spread))

    def evidence(weight):
        return float(vae_vs_vdm.LinearVAE([[weight]], [0.0], 0.1).log_prob(x))

    def best(f):
        return optimize.minimize_scalar(lambda w: -f(w), bounds=(0.4, 1.1), method="bounded", options={"xatol": 1e-9}).x

    a, b = best(evidence), best(bound)
    found = numbers("a-bound-may-rise-while-the-evidence-falls")
    assert np.allclose(found, [bound(b) - bound(a), evidence(b) - evidence(a)], atol=1e-7)


def test_the_least_sum_of_divergences_is_a_mutual_information():
    """Against the sum over t, term by term, of a shorter schedule."""
    classes, schedule = errata.CLASSES, forward.cosine(8)
    x = np.linspace(-6, 6, 2001)[:, None]
    width = x[1, 0] - x[0, 0]
    total = 0.0
    for t in range(2, 9):
        step = schedule[t]
        share = np.exp(classes.diffuse(step).log_prob(x)) * width
        back = classes.reverse(x[::8], step)
        log_q = back.log_prob(x[:, None])
        entropy = -(np.exp(log_q) * log_q).sum(0) * width
        total += float(
            (share[::8] * 8) @ entropy - elbo.gaussian_entropy(step.noise_var_prev / step.noise_var * step.beta, 1)
        )
    first, last = (
        errata.differential_entropy(classes, schedule[t], 4001) - float(elbo.gaussian_entropy(schedule[t].noise_var, 1))
        for t in (1, 8)
    )
    assert np.isclose(total, first - last, rtol=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "bits"), [([0.5, 0.25, 0.125, 0.125], 1.75), ([0.9, 0.1], 1.0), ([1.0], 0.0)]
)
def test_the_best_code(probabilities, bits):
    assert errata.huffman(probabilities) == bits


def test_the_printed_digits_of_lin_et_al_are_single_precision():
    kept = np.prod((1 - forward.cosine().beta.astype(np.float32)).astype(np.float64))
    (each,) = (each for each in errata.ERRATA if each.name == "rounding-in-a-table")
    assert [f"{row.printed:.6e}" for row in each.decide()] == [f"{kept / (1 - kept):.6e}", f"{kept**0.5:.6e}"]
