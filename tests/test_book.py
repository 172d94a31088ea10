"""The book against itself: formula and code, numbers and sources, pages and what they print."""

import ast
import contextlib
import io
import json
import math
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tinyddpm import bibliography, equations
from tinyddpm.equation import CHAPTERS, listing
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


def test_the_bibliography_is_in_order_and_every_work_is_cited():
    works = [*bibliography.REFERENCES.values()]
    assert [work.key for work in works] == sorted(bibliography.REFERENCES, key=str.casefold)
    assert len({work.anchor for work in works}) == len(works)
    if DOCS.is_dir():
        pages = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))
        cited = {work.key for known in equations() for work in bibliography.cite(known.source)}
        assert [w.key for w in works if w.key not in cited and f"bibliography.md#{w.anchor})" not in pages] == []


DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
@pytest.mark.parametrize("chapter", ["mixture", *CHAPTERS])
def test_numbers_run_in_reading_order(chapter):
    """Every equation stands alone on a line of its page once, and they stand as in the module, which numbers them."""
    shown = re.findall(rf"^\[\[eq:({chapter}\.[\w.]+)\]\]$", (DOCS / f"{chapter}.md").read_text("utf-8"), re.MULTILINE)
    assert shown == [known.name for known in equations() if known.chapter == chapter]


SNIPPET = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)


NEEDS = "<!-- needs: "
"""What stands before the first block of a page that needs another library: `<!-- needs: diffusers -->`."""


def snippets(page, end=NEEDS):
    """The Python blocks of a page, each with the text block under it; but those that `test_libraries.py` runs."""
    return SNIPPET.findall(page.read_text("utf-8").partition(end)[0])


def run(code, page, names):
    """What a snippet prints where the snippets before it have left these names."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page.name, "exec"), names)
    return printed.getvalue()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_runs_prints_what_the_page_says(page):
    """The Python blocks of a page, run one after the other as a reader would, each against the text block under it."""
    names = {}
    for code, expected in snippets(page):
        assert run(code, page, names) == expected, f"{page.name}:\n{code}"


# Whether what a page prints has converged. ---------------------------------------------------------------------------
# A line that ends in "# converged" has a number of points, samples or steps, or a width, that is large or small enough.
# A line that ends in "# fixed" has a seed or points that are meant as they are: what is printed is said of them alone.

CONVERGED, FIXED = re.compile(r"#.*\bconverged\b"), re.compile(r"#.*\bfixed\b")
NUMBER = re.compile(r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.])")
SEED = re.compile(r"((?:default_rng|manual_seed)\()(\d+)(?=\))")
DRAWS = re.compile(r"default_rng\(|Generator\(|manual_seed\(")
GRID = re.compile(r"(?:linspace|geomspace|logspace|mgrid|gauss)\b|arange\(.*\) *\+ *0\.5")
MEASURED = re.compile(r"(?P<value>[-+]?\d[\d.]*(?:e[-+]?\d+)?)(?: ± (?P<error>[\d.]+(?:e[-+]?\d+)?))?")


def finer(line):
    """A marked line with its largest number doubled, or halved where it is a width."""
    code, comment = line[: (at := CONVERGED.search(line).start())], line[at:]
    largest = max(NUMBER.findall(code), key=float, default=None)
    assert largest, f"what has converged must be a number on its line:\n{line}"
    value = 2 * int(largest.replace("_", "")) if float(largest) >= 1 else float(largest) / 2
    return NUMBER.sub(lambda number: str(value) if number[0] == largest else number[0], code) + comment


def with_more(code):
    """A snippet with twice the points and samples where it says that they are enough, and with other seeds."""
    lines = (finer(line) if CONVERGED.search(line) else line for line in code.splitlines())
    return "\n".join(
        line if FIXED.search(line) else SEED.sub(lambda seed: f"{seed[1]}{int(seed[2]) + 1}", line) for line in lines
    )


def agree(printed, again):
    """Whether two outputs are the same, to the digits printed; or to four standard errors where "± error" follows."""
    words, others = (MEASURED.sub(lambda number: "0 ±" if number["error"] else "0", text) for text in (printed, again))
    if words.split() != others.split():
        return False
    for one, two in zip(MEASURED.finditer(printed), MEASURED.finditer(again), strict=True):
        if one["error"]:
            last = 10.0 ** -len(one["value"].partition(".")[2])  # a unit of the last digit
            near = 4 * math.hypot(float(one["error"]), float(two["error"])) + last
            if abs(float(one["value"]) - float(two["value"])) > near:
                return False
        elif one["value"] != two["value"]:
            return False
    return True


def unmarked(code, printed):
    """The lines of a snippet that draw at random or lay a grid, where nothing says that it has converged."""
    if CONVERGED.search(code):
        return []
    drawn = [] if "±" in printed else [DRAWS]
    lines = [line for line in code.splitlines() if not FIXED.search(line)]
    return [line for line in lines if any(kind.search(line) for kind in [GRID, *drawn])]


def own_and_free(code):
    """The names that a snippet computes, all that it defines, and those that it takes from the snippets before it."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {(node.asname or node.name).split(".")[0] for node in nodes if isinstance(node, ast.alias)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
    return (
        own,
        own | imported,
        {node.id for node in names if isinstance(node.ctx, ast.Load)} - own - imported - arguments,
    )


def again(codes):
    """Which snippets of a page change with more points or other seeds, or use what such a one computes; and which of the
    others these need."""
    parts, changed, affected = [own_and_free(code) for code in codes], set(), []
    for code, (own, _, free) in zip(codes, parts, strict=True):
        affected.append(with_more(code).split() != code.split() or bool(free & changed))
        changed = changed | own if affected[-1] else changed - own
    needed, names = [], set()
    for is_affected, (_, defined, free) in zip(affected[::-1], parts[::-1], strict=True):
        needed.append(is_affected or bool(defined & names))
        if needed[-1]:
            names = names - defined | free
    return affected, needed[::-1]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_prints_has_converged(page):
    """With twice the points, half the width, twice the samples and other seeds every digit is the same, or within its
    error. Only such snippets run again, and those that they need or that use what they compute."""
    blocks, names = snippets(page), {}
    forgotten = [line for code, printed in blocks for line in unmarked(code, printed)]
    assert not forgotten, "\n".join([f'{page.name}: "# converged", "# fixed" or "± error" is missing:', *forgotten])
    for (code, expected), affected, needed in zip(blocks, *again([code for code, _ in blocks]), strict=True):
        printed = run(with_more(code), page, names) if needed else ""
        assert not affected or agree(expected, printed), (
            f"{page.name} has not converged:\n{with_more(code)[:400]}...\n\n{expected}\n{printed}"
        )


def test_only_what_changes_and_what_it_needs_runs_again():
    codes = [
        "import numpy as np\ny = 1",
        "n = 3  # converged\nprint(np.ones(n))",
        "print(y)",
        "def f(n):\n    return n\nprint(f(1))",
        "m = n + f(2)",
        "n = 1",
        "print(m, n)",
        "print(n)",
    ]
    affected, needed = again(codes)
    assert affected == [False, True, False, False, True, False, True, False]
    assert needed == [True, True, False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("line", "doubled"),
    [
        ("points = 6_001  # converged", "points = 12002  # converged"),
        ("h = 1e-4  # has converged", "h = 5e-05  # has converged"),
        ("x = np.linspace(-3, 3, 801)[:, None]  # converged", "x = np.linspace(-3, 3, 1602)[:, None]  # converged"),
        ("u = (np.arange(50) + 0.5) / 50  # converged", "u = (np.arange(100) + 0.5) / 100  # converged"),
        ("x2 = rng.normal(0, 2.5, (4, 90))  # converged", "x2 = rng.normal(0, 2.5, (4, 180))  # converged"),
        ("rng = np.random.default_rng(0)", "rng = np.random.default_rng(1)"),
        ("rng = torch.Generator().manual_seed(7)  # fixed", "rng = torch.Generator().manual_seed(7)  # fixed"),
        ("x = np.linspace(-1, 1, 5)", "x = np.linspace(-1, 1, 5)"),
    ],
)
def test_what_has_converged_is_doubled_or_halved(line, doubled):
    assert with_more(line) == doubled


@pytest.mark.parametrize(
    ("printed", "again", "same"),
    [
        ("mean 0.503", "mean 0.503", True),
        ("mean 0.503", "mean 0.504", False),
        ("mean 0.503", "var 0.503", False),
        ("mean 0.503 ± 0.010", "mean 0.551 ± 0.007", True),
        ("mean 0.503 ± 0.010", "mean 0.556 ± 0.007", False),
        ("mean -1.2e-03 ± 1e-04", "mean -1.1e-03 ± 1e-04", True),
        ("mean 0.503 ± 0.010", "mean 0.503", False),
        ("mean 0.687 ± 0.000, all of 3", "mean 0.688 ± 0.000, all of 3", True),
        ("mean 0.687 ± 0.000, all of 3", "mean 0.687 ± 0.000, all of 4", False),
        ("[1.05 2]", "[1.05  2]", True),
        ("[1.05 2]", "[1.05 2 3]", False),
    ],
)
def test_what_is_printed_again_agrees_or_not(printed, again, same):
    assert agree(printed, again) == same


@pytest.mark.parametrize(
    ("code", "printed", "lines"),
    [
        ("x = np.linspace(0, 1, 9)\nprint(x.sum())", "4.5", 1),
        ("x = np.linspace(0, 1, 9)  # converged\nprint(x.mean())", "0.5", 0),
        ("x = np.linspace(0, 1, 9)  # fixed\nprint(x.sum())", "4.5", 0),
        ("rng = np.random.default_rng(0)\nprint(rng.normal())", "0.1", 1),
        ("rng = np.random.default_rng(0)\nx = rng.normal(size=9)\nprint(x.mean(), x.std() / 3)", "0.1 ± 0.3", 0),
        ("rng = np.random.default_rng(0)\nx = np.linspace(0, 1, 9)\nprint(x.mean())", "0.5 ± 0.1", 1),
        ("u = (np.arange(9) + 0.5) / 9", "", 1),
        ("print(1 + 1)", "2", 0),
    ],
)
def test_a_grid_or_a_draw_without_a_mark_is_seen(code, printed, lines):
    assert len(unmarked(code, printed)) == lines


def test_a_sum_that_has_not_converged_is_caught(tmp_path):
    """Also where a later snippet prints what an earlier one computed."""
    page = tmp_path / "page.md"
    for points, right in ((3, False), (1000, True)):
        grid = f"import numpy as np\nx = np.linspace(0, 1, {points})  # converged\n"
        end = "print(f'{np.trapezoid(x**2, x):.2f}')\n"
        value = {3: "0.38", 1000: "0.33"}[points]
        for parts in ([grid + end], [grid, end]):
            texts = [""] * (len(parts) - 1) + [f"\n```text\n{value}\n```\n"]
            page.write_text("".join(f"```python\n{a}```\n{b}\n" for a, b in zip(parts, texts, strict=True)), "utf-8")
            test_what_a_page_runs_prints_what_the_page_says(page)
            with contextlib.nullcontext() if right else pytest.raises(AssertionError, match="has not converged"):
                test_what_a_page_prints_has_converged(page)


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_chapter_4_says_what_its_command_found():
    """The tables and what its page says of each seed of `python -m tinyddpm.experiments.autoencoders`."""
    from tinyddpm.experiments import autoencoders
    from tinyddpm.tables import renewed

    page = (DOCS / "vae_vs_vdm.md").read_text("utf-8")
    found = json.loads((DOCS / "assets" / "vae" / "results.json").read_text("utf-8"))
    assert renewed(page, autoencoders.tables(found)) == page
    made, bound, exact = found["samples"]["made"], found["bound"], found["linear"]["active"]
    assert found["config"]["seeds"] == len(found["samples"]["vae_elbo"]) == 10
    for seed, active in enumerate(found["collapse"]["active"]):
        like, covered, distance = (
            {name: kinds[kind][seed] for name, kinds in made.items() if name != "autoencoder_standard"}
            for kind in ("like_a_digit", "digits_covered", "energy_distance")
        )
        assert max(like, key=like.get) == min(covered, key=covered.get) == "vae" and covered["vae"] < 0.5
        assert min(like, key=like.get) == min(distance, key=distance.get) == "gaussian"
        assert distance["autoencoder_fitted"] < distance["vae_noisy"] < distance["vae"]
        assert like["vae_noisy"] < like["vae"] and covered["vae_noisy"] > covered["vae"]
        plain, vae = bound["autoencoder"][seed], bound["vae"][seed]
        assert vae[-1] > max(plain) > plain[-1] + 1
        assert bound["vae_train"][seed][-1] < bound["autoencoder_train"][seed][-1]
        assert active[-1] == exact[-1] == 0 and all(a < b for a, b in zip(active[1:3], exact[1:3], strict=True))
    fewest = [active[0] for active in found["collapse"]["active"]]
    assert exact[0] == max(fewest) and sum(each < exact[0] for each in fewest) == 7


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_tables_of_chapter_6_are_those_that_were_measured():
    """What the ablations and the benchmark wrote, and what the page says that they wrote."""
    from tinyddpm.experiments import ablations, benchmark, bits, steps  # with torch, which the proofs do without
    from tinyddpm.tables import renewed

    text, tables = "".join((DOCS / page).read_text("utf-8") for page in ("train.md", "experiments.md")), {}
    for command in (ablations, benchmark, bits, steps):
        folder = DOCS / "assets" / command.__name__.rpartition(".")[2]
        if (folder / command.RESULTS).is_file():
            tables |= command.tables(command.load(folder))
    named = re.findall(r"<!-- table: (\w+) -->", text)
    assert sorted(named) == sorted(tables) and renewed(text, tables) == text


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_reports_of_chapter_6_are_those_that_were_printed():
    """Each block under `<!-- record: NAME -->` is the file that the command above it was written to, in docs/assets/runs."""
    page, printed = (DOCS / "train.md").read_text("utf-8"), {}
    for name, block in re.findall(r"<!-- record: (\w+) -->\n+```text\n(.*?)```", page, re.DOTALL):
        printed[name] = block
        assert block == (DOCS / "assets" / "runs" / f"{name}.txt").read_text("utf-8"), name
    assert sorted(printed) == sorted(path.stem for path in (DOCS / "assets" / "runs").glob("*.txt"))
    (right,) = re.findall(r"the judge is right on ([\d.]+)%", printed["digits"])
    assert f"it is right on {right} percent" in page
    ((bound, error, truth),) = re.findall(r"bound +([\d.]+) ± ([\d.]+) .* the truth itself ([\d.]+)", printed["ring"])
    more = float(bound) - float(truth)
    assert f"cost {bound} bits for each coordinate, {more:.3f} more than the truth, give or take {error}" in page
    ((exact, twice),) = re.findall(r"^beta +([\d.]+) ± .*\nposterior +([\d.]+) ±", page, re.MULTILINE)
    assert f"the network costs {more - float(exact):.2f} bits more" in page
    assert f"is {float(twice):.2f} bits larger for each coordinate" in page


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_code_that_a_page_shows_is_there():
    """`[[code:NAME]]` is the source of a function or class without what a reader need not see."""
    names = [
        name for page in DOCS.glob("*.md") for name in re.findall(r"^\[\[code:(.*)\]\]$", page.read_text("utf-8"), re.M)
    ]
    for name in names:
        code = listing(resolve_name(f"tinyddpm.{name}"))
        compile(code, name, "exec")
        assert '"""' not in code and " -> " not in code and name.rpartition(".")[2] in code
    assert "train.unet.ResidualBlock" in names
