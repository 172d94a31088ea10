"""The house: who may import whom. Read from the source, imports inside functions too."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import tinyddpm
from tinyddpm import equations
from tinyddpm.equation import CHAPTERS, WIDTH

HOME = Path(tinyddpm.__file__).parent

GROUND = ("arrays", "files", "palette", "bibliography", "tables")
"""They import nothing of the package."""

ORDERS = (
    *(f"{first} forward" for first in GROUND),
    "arrays letters door equation forward examples against checker mutants",
    "equation slips against",
    " ".join(CHAPTERS),
    "forward mixture langevin",
    "files data train",
    "mixture data",
    *(f"train runs {judge} exercises experiments cli __main__" for judge in ("checker", "prover")),
    "mutants cli",
)
"""In each of them nobody imports who comes later. A folder counts as one; a room need not be there yet."""

ALONE = {"experiments": ("experiments",), "cli": ("__main__",), "__main__": ()}
"""Who alone may import these."""

UNKNOWN = {"pytest", "_pytest", "hypothesis", "mkdocs", "griffe", "tinyddpm.checker", "tinyddpm.prover"}
"""What the six chapters and the running example know nothing of: tests, the site, whatever checks them."""


PROCESS = {"runs", "files", "experiments", "cli", "json", "matplotlib", "PIL", "safetensors", "signal", "tqdm"}
"""What chapter 6 knows nothing of: how a run is stopped, shown, and kept in files."""


def name_of(file):
    """The module that a file is, such as tinyddpm.train.unet."""
    return ".".join((HOME.name, *file.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__")


FILES = {name_of(file): file for file in HOME.rglob("*.py") if "tests" not in file.relative_to(HOME).parts}


@cache
def imports(name):
    """What a module imports: the names, each with whether it does so as soon as it is imported itself."""
    return [*_imports(name)]


def _imports(name):
    file = FILES[name]
    package, tree = name if file.stem == "__init__" else name.rpartition(".")[0], ast.parse(file.read_text("utf-8"))
    later = {
        id(node)
        for part in ast.walk(tree)
        if isinstance(part, ast.FunctionDef) or (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test))
        for node in ast.walk(part)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            inside = (f"{base}.{alias.name}" for alias in node.names)  # a module, or what is in one
            names = [module if module in FILES else base for module in inside]
        else:
            continue
        yield from ((imported, id(node) not in later) for imported in names)


def room(name):
    """The file or folder of the package that a module is in; none for other packages and for the package itself."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == HOME.name else ""


@cache
def rooms():
    """The pairs of rooms of which the first imports the second."""
    return {(room(name), room(other)) for name in FILES for other, _ in imports(name) if room(name) and room(other)}


def before():
    """The pairs of rooms of which the first comes before the second, in an order or by way of several."""
    known = {pair for order in ORDERS for pair in pairwise(order.split())}
    while more := {(a, d) for a, b in known for c, d in known if b == c} - known:
        known |= more
    return known


def test_the_reader_of_imports_sees_what_is_there():
    assert ("tinyddpm.train.metrics", True) in imports("tinyddpm.train")
    assert ("tinyddpm.train.machine", False) in imports("tinyddpm.cli")
    assert ("tinyddpm.equation", True) in imports("tinyddpm")
    assert ("torch", False) in imports("tinyddpm.arrays") and ("numpy", True) in imports("tinyddpm.elbo")
    assert {("experiments", "train"), ("langevin", "forward"), ("__main__", "cli")} <= rooms()


def test_chapter_6_is_short():
    count = sum(len(FILES[name].read_text("utf-8").splitlines()) for name in FILES if room(name) == "train")
    assert 1000 < count <= 2000


@pytest.mark.parametrize("name", sorted(name for name in FILES if room(name) == "train"))
def test_chapter_6_knows_nothing_of_a_run_as_a_process_and_a_folder(name):
    used = {other for other, _ in imports(name)}
    assert not ({room(other) for other in used} | {other.partition(".")[0] for other in used}) & PROCESS


def test_nobody_imports_in_a_circle():
    TopologicalSorter(
        {name: {other for other, first in imports(name) if first} & FILES.keys() for name in FILES}
    ).prepare()


def test_nobody_imports_upwards():
    assert not {(user, used) for user, used in rooms() if (user, used) in before() or (user in GROUND and user != used)}


@pytest.mark.parametrize("name", ALONE)
def test_these_are_imported_by_nobody_else(name):
    assert {user for user, used in rooms() if used == name} <= {*ALONE[name]}


def test_a_chapter_knows_nothing_of_who_checks_or_shows_it():
    for name in (name for name in FILES if room(name) in (*CHAPTERS, "mixture")):
        known = {other for other, _ in imports(name)}
        assert not (known | {other.partition(".")[0] for other in known}) & UNKNOWN, name


# Bodies are formulas. ------------------------------------------------------------------------------------------------

SHORT = 6
"""Lines of code that a formula may take."""

LONG = {
    "elbo.vlb_terms": "a loop over all times, with the options of released code",
    "vae_vs_vdm.denoising_elbo": "a loop over all latents",
    "vae_vs_vdm.as_vdm": "three restrictions, each with its message",
    "vae_vs_vdm.elbo_gap": "a loop over all times",
    "train.learned_variance_loss": "Algorithm 1 with two losses",
    "train.sample_path": "Algorithm 2: a loop over all times",
    "train.encode": "a loop over all times",
}
"""The equations whose code is longer, and why."""


def body(known):
    """The lines of an equation's code, without comments."""
    code = known.code.splitlines()
    start = next(i for i, line in enumerate(code) if line.endswith(":") and line.count(")") + code[0].count("(")) + 1
    return [line for line in code[start:] if line.strip() and not line.strip().startswith("#")]


def test_a_body_is_a_formula():
    for known in equations():
        assert max(map(len, known.code.splitlines())) <= WIDTH, known.name
        assert (len(body(known)) > SHORT) == (known.name in LONG), known.name
        assert "raise " not in known.code, f"{known.name}: a guard belongs to the door"


# Digits: what a step holds is not formed again by subtraction. ---------------------------------------------------------

SUBTRACT = {
    "letters.Step.from_alpha_bar": "where nobody knows more digits",
    "letters.Step.since": "on symbols, which have all of them",
}
"""Who alone may form 1 - alpha or 1 - alpha_bar."""


def differences(tree, path=()):
    """Each `1 - alpha` or `1 - alpha_bar` in a file, however it is reached, with the place where it stands."""
    for node in ast.iter_child_nodes(tree):
        inside = (*path, node.name) if isinstance(node, ast.FunctionDef | ast.ClassDef) else path
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) in ("1", "1.0"):
            last = re.split(r"[.\[]", ast.unparse(node.right))[-1]
            if re.match(r"(alpha|alpha_bar|kept)(_\w+)?$", last):
                yield ".".join(inside), ast.unparse(node)
        yield from differences(node, inside)


def test_the_reader_of_differences_sees_them():
    found = [
        text for _, text in differences(ast.parse("def f(step): return 1 - step.alpha_bar, 1.0 - alpha_bar_t, 1 - eta"))
    ]
    assert found == ["1 - step.alpha_bar", "1.0 - alpha_bar_t"]


def test_one_minus_alpha_bar_is_formed_nowhere():
    found = {
        f"{name.removeprefix('tinyddpm.')}.{place}": text
        for name, file in FILES.items()
        if room(name) not in ("prover", "experiments", "exercises")
        for place, text in differences(ast.parse(file.read_text("utf-8")))
    }
    assert {place: text for place, text in found.items() if place not in SUBTRACT} == {}
