"""Slips: every one of them can be made, and is said in words."""

import numpy as np
import pytest

from tinyddpm import equations, forward, posterior
from tinyddpm.equation import find
from tinyddpm.slips import Program, pairs, slips

STEP = forward.Schedule([0.1, 0.2, 0.3])[2]


@pytest.mark.parametrize("known", equations(), ids=lambda known: known.name)
def test_every_slip_of_every_equation_can_be_made(known):
    made = [*slips(known, own=True)]
    assert len({slip.code for slip in made}) == len(made)
    for slip in made:
        assert callable(slip.function) and slip.words.startswith("with") and slip.code, slip


def values(known, *arguments):
    made = ((slip.words, slip.function) for slip in slips(known))
    with np.errstate(all="ignore"):
        return {words: function(*arguments) for words, function in made}


def test_what_a_slip_computes():
    found = values(find("posterior.variance"), STEP)
    assert found["with the opposite sign"] == -posterior.variance(STEP)
    assert found["with alpha in the place of beta"] == pytest.approx(0.1 / 0.28 * 0.8)
    assert found["with 1 - alpha_bar in the place of 1 - alpha_bar of t - 1"] == pytest.approx(0.2)
    assert found["with a division in the place of a multiplication"] == pytest.approx(0.1 / 0.28 / 0.2)


def test_a_slip_may_be_in_an_equation_that_is_called():
    found = values(find("posterior.posterior"), 1.0, 0.5, STEP)
    mean, var = posterior.posterior(1.0, 0.5, STEP)
    assert found["with alpha in the place of beta, in posterior.variance"] == (mean, pytest.approx(0.1 / 0.28 * 0.8))
    swapped = found["with x_t and x_0 swapped"]
    assert swapped == (pytest.approx(posterior.mean(0.5, 1.0, STEP)), var)


def test_two_slips_at_once():
    words = {"with alpha in the place of beta", "with the opposite sign"}
    (both,) = [slip for slip in pairs(find("posterior.variance")) if {*slip.words.split(" and ")} == words]
    assert both.function(STEP) == pytest.approx(-0.1 / 0.28 * 0.8)
    assert both.code == "return -(step.noise_var_prev / step.noise_var * step.alpha)"


def test_without_a_slip_the_program_is_the_equation():
    for name, arguments in (("posterior.posterior", (1.0, 0.5, STEP)), ("forward.skip", (1.0, STEP.before, STEP))):
        assert Program(find(name)).build([]).function(*arguments) == find(name).function(*arguments)
