"""The book against itself: formula and code, numbers and sources, pages and what they print."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from tinyddpm import bibliography, equations
from tinyddpm.equation import CHAPTERS
from tinyddpm.prover import NotAlgebra, prove


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(known, id=known.name, marks=pytest.mark.proves(known.name))
        for known in equations()
        if not known.unproved
    ],
)
def test_the_formula_is_the_code(known):
    prove(known)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(known, id=known.name, marks=pytest.mark.unproved(known.name, known.unproved))
        for known in equations()
        if known.unproved
    ],
)
def test_what_is_not_proved_could_not_be(known):
    with pytest.raises(NotAlgebra):
        prove(known)


def test_numbers_and_sources():
    numbers = [known.number for known in equations()]
    assert len(numbers) == len(set(numbers))
    for known in equations():
        works = bibliography.cite(known.source)
        assert works or known.derived_from, f"{known.name} is derived here, but from nothing"


DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
@pytest.mark.parametrize("chapter", ["mixture", *CHAPTERS])
def test_numbers_run_in_reading_order(chapter):
    """Every equation stands alone on a line of its page once, and they stand as in the module, which numbers them."""
    shown = re.findall(rf"^\[\[eq:({chapter}\.[\w.]+)\]\]$", (DOCS / f"{chapter}.md").read_text("utf-8"), re.MULTILINE)
    assert shown == [known.name for known in equations() if known.chapter == chapter]


SNIPPET = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_runs_prints_what_the_page_says(page):
    """The Python blocks of a page, run one after the other as a reader would, each against the text block under it."""
    names = {}
    for code, expected in SNIPPET.findall(page.read_text("utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), names)
        assert printed.getvalue() == expected, f"{page.name}:\n{code}"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_chapter_4_says_what_its_command_found():
    """The numbers that its page takes from `python -m tinyddpm.experiments.autoencoders`."""
    page = (DOCS / "vae_vs_vdm.md").read_text("utf-8")
    found = json.loads((DOCS / "assets" / "vae" / "results.json").read_text("utf-8"))
    samples, collapse = found["samples"], found["collapse"]
    for row, name in {
        "autoencoder, codes $\\mathcal N(0, I)$": "autoencoder_standard",
        "autoencoder, Gaussian fitted to its codes": "autoencoder_fitted",
        "VAE, codes from its prior": "vae",
        "nobody: other real digits": "other_digits",
    }.items():
        like, covered = (samples[kind][name] for kind in ("like_a_digit", "digits_covered"))
        assert f"| {row} | {100 * like:.0f} % | {100 * covered:.0f} % |" in page
    for number in (samples["vae_elbo"], samples["vae_log_prob"]):
        assert f"${number:.1f}$" in page
    counts = zip(collapse["variances"], collapse["vae_active"], collapse["linear_active"], strict=True)
    alive = {var: active for var, *active in counts}
    assert alive[3.0] == [0, 0] and alive[0.1] == [10, 16]
    assert "10 at a variance of 0.1, where the linear model keeps all 16" in page


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_tables_of_chapter_6_are_those_that_were_measured():
    """What the ablations and the benchmark wrote, and what the page says that they wrote."""
    from tinyddpm.experiments import ablations, benchmark  # with torch, which the proofs do without
    from tinyddpm.experiments.tables import renewed

    text, tables = "".join((DOCS / page).read_text("utf-8") for page in ("train.md", "experiments.md")), {}
    for command in (ablations, benchmark):
        folder = DOCS / "assets" / command.__name__.rpartition(".")[2]
        if (folder / command.RESULTS).is_file():
            tables |= command.tables(command.load(folder))
    named = re.findall(r"<!-- table: (\w+) -->", text)
    assert sorted(named) == sorted(tables) and renewed(text, tables) == text
