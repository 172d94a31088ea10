"""The registry: what it notes down, and what it refuses."""

import importlib
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import sympy
import torch

from tinyddpm import equation as book
from tinyddpm import equations, posterior

from .strategies import refused


@pytest.fixture(autouse=True)
def _registry_as_it_was():
    equations()
    before = dict(book.registry)
    yield
    book.registry.clear()
    book.registry.update(before)


def double(x, weight=2):
    r"""Twice
    the argument.

    $$
    y = 2 x
    $$

    $$ z = 0 $$
    """
    return weight * x


def test_a_function_is_registered_with_its_door():
    doubled = book.equation("Ho et al. 2020, Eq. 7", derived_from=[posterior.mean])(double)
    assert doubled.__wrapped__ is double and doubled(3) == 6.0
    known = book.find(doubled)
    assert known is book.find(double) is book.find("test_equation.double")
    assert (known.name, known.number, known.chapter) == ("test_equation.double", "T.1", "test_equation")
    assert (known.latex, known.summary) == ("y = 2 x", "Twice the argument.")
    assert known.signature == "(x, weight=2)"
    assert known.source == "Ho et al. 2020, Eq. 7"
    assert known.derived_from == (book.find(posterior.mean),)
    assert known not in equations()  # which are the book's own


def test_numbers_are_places_in_the_chapter():
    names = [known.name for known in equations() if known.chapter == "posterior"]
    assert [book.find(name).number for name in names] == [f"2.{place}" for place in range(1, len(names) + 1)]
    assert book.find("forward.to_unit_range").number == "1.1"
    assert book.find("train.training_loss").number == "6.1"
    assert book.find("mixture.Mixture.log_joint").number == "M.1"


def plain(x):
    """No formula here."""


def again():
    """Another function of the same name."""

    def double(x):
        """$$ y = x + x $$"""
        return x + x

    double.__qualname__ = "double"
    return double


def test_a_reloaded_module_registers_its_equations_again(tmp_path, monkeypatch):
    lines = [
        "from tinyddpm.equation import equation",
        "@equation('Ho et al. 2020')",
        "def f(x):",
        "    '$$ y = x $$'",
        "",
    ]
    path = tmp_path / "notebook_chapter.py"
    path.write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    chapter = importlib.import_module("notebook_chapter")
    first = chapter.f
    again = importlib.reload(chapter).f
    assert first is not again and book.find("notebook_chapter.f").function is again
    assert book.find("notebook_chapter.f").number == "N.1"
    path.write_text("\n".join([lines[0], "# an edit above it", *lines[1:]]))
    importlib.invalidate_caches()
    edited = importlib.reload(chapter).f
    assert book.find("notebook_chapter.f").function is edited is not again
    path.write_text("\n".join([*lines, *lines[1:]]))
    with refused(["notebook_chapter.f", "already"]):
        importlib.reload(chapter)


def test_a_chapter_can_be_loaded_again_in_a_notebook():
    """Its steps, schedules and checks go on working with those made before."""
    code = """
        import importlib, tinyddpm
        from tinyddpm import forward, posterior
        step, before = forward.linear()[5], posterior.mean(0.1, 0.2, forward.linear()[5])
        old = forward.linear(3)
        importlib.reload(forward), importlib.reload(posterior)
        assert posterior.mean(0.1, 0.2, step) == before
        assert len(forward.respace(old, [1, 3])) == 2 and old == forward.linear(3)
        assert len({known.name for known in tinyddpm.equations()}) == len(tinyddpm.equations())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cell_of_a_notebook_can_be_run_again():
    """A cell is no file that is loaded: its functions come again whenever it is run."""
    code = """
        from tinyddpm.equation import equation, find
        for _ in range(2):
            exec(compile("@equation('Ho et al. 2020')\\ndef f(x):\\n    '$$ y = x $$'\\n    return x", "cell", "exec"))
        assert find("__main__.f").function is f
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def described(x, beta):
    r"""Twice the argument.

    $$ y = 2 x $$

    Args:
        x: over two
            lines.

    Returns:
        The double.

    Raises:
        ValueError: never.
    """
    return 2 * x


def test_a_docstring_gets_the_missing_arguments_and_keeps_the_rest():
    text = book.equation("Ho et al. 2020")(described).__doc__
    tail = (
        "    x: over two\n        lines.\n    beta: beta_1..beta_T; in [0, 1]\n\nReturns:\n    The double.\n\nRaises:\n"
    )
    assert text.endswith(f"\nArgs:\n{tail}    ValueError: never.\n"), text


def stale(x):
    """Twice the input.

    $$ 2x $$

    Args:
        y: what the argument was called before.
    """
    return 2 * x


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, ["test_equation.stale", "describes y"], lambda: book.equation("Ho et al. 2020")(stale)),
        (ValueError, ["test_equation.plain", "formula"], lambda: book.equation("Ho et al. 2020")(plain)),
        (TypeError, ["source", "''"], lambda: book.equation("")(double)),
        (TypeError, ["source", "<function"], lambda: book.equation(double)),
        (TypeError, ["derived_from", "plain"], lambda: book.equation("Ho et al. 2020", derived_from=[plain])(double)),
        (ValueError, ["test_equation.double", "already"], lambda: [book.equation("Ho")(f) for f in (double, again())]),
        (ValueError, ["'posterior.maen'", "posterior.mean"], lambda: book.find("posterior.maen")),
        (ValueError, ["plain", "not a registered equation"], lambda: book.find(plain)),
    ],
)
def test_what_is_refused(error, words, call):
    with refused(words, error):
        call()


@pytest.mark.parametrize(
    ("helper", "value"), [(book.sqrt, math.sqrt(2.0)), (book.exp, math.exp(2.0)), (book.log, math.log(2.0))]
)
def test_the_helpers_read_four_ways(helper, value):
    assert helper(2.0) == pytest.approx(value, rel=1e-15)
    np.testing.assert_allclose(helper(np.full(2, 2.0)), np.full(2, value), rtol=1e-15)
    torch.testing.assert_close(helper(torch.full((2,), 2.0)), torch.full((2,), value))
    x = sympy.Symbol("x", positive=True)
    assert float(helper(x).subs(x, 2)) == pytest.approx(value, rel=1e-15)


def test_the_helpers_at_their_edges():
    assert book.log(0.0) == -math.inf
    assert book.exp(1j * math.pi) == pytest.approx(-1)


def test_no_two_functions_of_the_book_have_one_last_name():
    """So that a file of somebody else needs no chapter before the name of a function."""
    names = [known.name.rpartition(".")[2] for known in equations() if known.name.count(".") == 1]
    assert len(names) == len({*names})
