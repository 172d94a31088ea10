"""The answer boxes: what they hold, how the browser reads a formula, and that it judges as the command does."""

# ruff: noqa: RUF001 (letters as readers type them)

import ast
import gzip
import inspect
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tinyddpm import against, equations, forward
from tinyddpm.equation import CHAPTERS, find
from tinyddpm.exercises.classroom import Exercise, boxes, exercise, exercises, grader, judges
from tinyddpm.letters import Step

SCRIPT = Path(__file__).parent.parent / "docs" / "assets" / "boxes.js"
browser = pytest.mark.skipif(
    not SCRIPT.is_file() or shutil.which("node") is None, reason="needs Node.js and the pages, which do not travel"
)

LIMIT = 7500
"""How many bytes of values a box may have, compressed."""


def packed(box):
    return json.dumps(box, ensure_ascii=False, separators=(",", ":"))


def boxed():
    for each in exercises():
        try:
            yield each, boxes.box(each)
        except ValueError:
            continue


NAMES = ("posterior.variance", "posterior.mean")
LETTERS = ("beta", "alpha", "alpha_bar", "alpha_bar_prev", "noise_var", "noise_var_prev")


# What a box holds. ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_its_values_are_those_of_the_package(name):
    box, known = boxes.box(exercise(name)), find(name)
    named = {letter["name"]: place for place, letter in enumerate(box["letters"])}
    assert [*named] == [*(() if name == "posterior.variance" else ("x_t", "x_0")), *LETTERS]
    assert len({*map(tuple, box["given"])}) == len(box["given"]) > 10
    for given, expected, allowed in zip(box["given"], box["expected"], box["allowed"], strict=True):
        step = Step(*(given[named[letter]] for letter in LETTERS))  # which refuses numbers that do not belong together
        more = {letter: given[named[letter]] for letter in named if letter not in LETTERS}
        assert known.function(**more, step=step) == expected
        assert 0 < allowed < 1e-7


def test_the_first_is_simple_and_t_1_has_a_name():
    box = boxes.box(exercise("posterior.mean"))
    assert box["where"][0] == "t = 2 of betas 0.1, 0.2, 0.3, 0.4, 0.5" and box["given"][0][:2] == [1.0, 0.0]
    assert sum(where.startswith("t = 1 of") for where in box["where"]) >= 4


def test_its_slips_are_those_of_the_command():
    box = boxes.box(exercise("posterior.variance"))
    found, expected = dict(box["slips"]), [box["expected"][place] for place in box["slips_at"]]
    root = "with the square root of the whole: a standard deviation in the place of a variance"
    assert found["with the opposite sign"] == pytest.approx([-each for each in expected], rel=1e-6)
    assert found[root] == pytest.approx(np.sqrt(expected), rel=1e-6)
    at_1 = [box["where"][place].startswith("t = 1 ") for place in box["slips_at"]]
    assert [each is None for each in found["with one over the whole"]] == at_1  # it divides by 0 there


def test_a_box_is_small_and_does_not_hold_the_answer():
    shown = [*boxed()]
    assert {*NAMES} <= {each.name for each, _ in shown}
    for each, box in shown:
        text = packed(box)
        assert len(gzip.compress(text.encode())) <= LIMIT, each.name
        if each.known is None:
            continue
        known = each.known()
        body = inspect.getsource(inspect.unwrap(known.function)).rpartition("return ")[2].strip()
        assert len(body) < 12 or body not in text, each.name
        assert all(hint not in text for hint in each.hints) and (not known.latex or known.latex not in text), each.name


def test_every_formula_of_the_book_fits_into_a_box():
    found = []
    for known in equations():
        made = Exercise(known.name, "implement", "", "", 1, ("", "", ""), "", known=lambda known=known: known)
        try:
            box = boxes.box(made)
        except ValueError as problem:
            assert "has no box" in str(problem)
            continue
        found.append(known.name)
        assert len(gzip.compress(packed(box).encode())) <= LIMIT, known.name
        assert all(map(math.isfinite, box["expected"] + box["allowed"])), known.name
        spellings = [spelling for letter in box["letters"] for spelling in letter["spellings"]]
        assert len(spellings) == len({*spellings}), known.name
    assert len(found) > 60


def test_a_number_is_an_answer_too():
    judge = judges.Number(lambda: 1 / 3, 0.01, "the share")
    box = boxes.box(Exercise("posterior.third", "number", "", "", 1, ("", "", ""), "", judge=judge))
    assert (box["letters"], box["expected"], box["allowed"]) == ([], [1 / 3], [0.01])


def test_what_is_no_formula_has_no_box():
    made = Exercise("train.good", "train", "", "", 1, ("", "", ""), "", judge=lambda function: "")
    with pytest.raises(ValueError, match=r"train\.good has no box"):
        boxes.box(made)


def test_a_sum_over_coordinates_is_known():
    """A typed formula has no sum: it is that of one coordinate, and the page says so."""
    for name, expected in {"elbo.simple_loss": True, "posterior.mean": False, "posterior.variance": False}.items():
        made = Exercise(name, "implement", "", "", 1, ("", "", ""), "", known=lambda name=name: find(name))
        assert boxes.box(made)["coordinate"] is expected


@pytest.mark.parametrize(
    ("tex", "name"),
    [
        (r"\bar\alpha_{t-1}", "alpha_bar_t-1"),
        (r"\hat x_0", "x_hat_0"),
        (r"\bar{\alpha}_s", "alpha_bar_s"),
        ("x_t", "x_t"),
        (r"\epsilon", "epsilon"),
        (r"1-\bar\alpha_t", ""),
        (r"\nabla_x \log p(x)", ""),
        ("L_{vlb}", "L_vlb"),
    ],
)
def test_latex_as_a_name(tex, name):
    assert boxes.spelled(tex) == name


def test_a_variance_brings_its_root():
    letters = {letter["name"]: letter for letter in boxes.letters(find("forward.reparameterize"))}
    assert letters["var"]["tex"] == r"\sigma_t^2" and letters["sigma_t"]["root"] == [*letters].index("var")


# How the browser reads. ----------------------------------------------------------------------------------------------

DRIVER = """
const { read, show, judge } = require(process.argv[1]);
const { box, texts } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = texts.map((text) => {
  let tree;
  try { tree = read(text, box.letters); } catch (problem) {
    if (!("from" in problem)) throw problem;
    return { unreadable: problem.message, from: problem.from };
  }
  const begun = performance.now();
  const verdict = judge(tree, box);
  return { ...verdict, tree, mathml: show(tree, box.letters), milliseconds: performance.now() - begun };
});
console.log(JSON.stringify(answers));
"""


def in_browser(box, texts):
    """What the browser's half says of each text, run by Node."""
    asked = json.dumps({"box": box, "texts": [*texts]})
    command = ["node", "-e", DRIVER, str(SCRIPT)]
    return json.loads(subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout)


@browser
@pytest.mark.parametrize("name", [*NAMES, "posterior.ddim_step", "forward.reparameterize"])
def test_every_spelling_is_read(name):
    letters = boxes.letters(find(name))
    box = {"letters": letters, "given": [], "expected": [], "allowed": [], "slips_at": [], "slips": []}
    spelled = [(spelling.replace("_t-1", "_{t-1}").replace("_s-1", "_{s-1}"), place)
               for place, letter in enumerate(letters) for spelling in letter["spellings"]]  # fmt: skip
    spelled += [(letter["tex"], place) for place, letter in enumerate(letters) if boxes.spelled(letter["tex"])]
    for (text, place), answer in zip(spelled, in_browser(box, [text for text, _ in spelled]), strict=True):
        assert answer.get("tree") == {"op": "letter", "at": place}, (text, answer)


@browser
def test_every_greek_letter_is_read():
    letters = [{"name": name, "spellings": [name]} for name in boxes.GREEK]
    box = {"letters": letters, "given": [], "expected": [], "allowed": [], "slips_at": [], "slips": []}
    texts = [f"\\{name}" for name in boxes.GREEK] + [*"αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"]
    found = [answer["tree"]["at"] for answer in in_browser(box, texts)]
    assert found == [*range(len(letters))] * 2


SAME = [
    ("1/2 x_t", "(1/2)*x_t"),
    ("2x_t x_0", "2*x_t*x_0"),
    ("-x_t^2", "-(x_t^2)"),
    ("2^-1", "2^(-1)"),
    ("2^3^2", "2^(3^2)"),
    ("x_t**2", "x_t²"),
    ("x_t / x_0 / 2", "(x_t / x_0) / 2"),
    (r"\frac12 x_t", "(1/2)*x_t"),
    (r"\dfrac{x_t}{2}", "x_t/2"),
    (r"\sqrt{\bar\alpha_t}\,x_0", "sqrt(alpha_bar)*x_0"),
    (r"\bar{\alpha_t}", "alpha_bar"),
    (r"\overline{\alpha}_{t - 1}", "alpha_bar_prev"),
    ("√ᾱₜ₋₁ x₀", "sqrt(alpha_bar_prev)*x_0"),
    ("α̅_{t−1}", "alpha_bar_prev"),
    ("x_t⁻¹", "x_t^(-1)"),
    ("β_t(1 − ᾱ_t)", "beta*(1-alpha_bar)"),
    ("np.sqrt(step.alpha)", "sqrt(alpha)"),
    (r"\left(1-\alpha_t\right)\cdot 2", "(1-alpha)*2"),
    ("{x_t} [x_0]", "x_t*x_0"),
    ("alpha_bar_{t-1}", "alpha_bar_prev"),
    ("alpha_bar_t-1", "alpha_bar - 1"),
]


@browser
def test_forms_that_are_the_same():
    box = boxes.box(exercise("posterior.mean"))
    left, right = (in_browser(box, [pair[side] for pair in SAME]) for side in (0, 1))

    def plain(tree):  # without how numbers were written
        return {key: plain(of) if isinstance(of, dict) else of for key, of in tree.items() if key != "text"}

    for pair, one, two in zip(SAME, left, right, strict=True):
        # A power in small figures is one number, a minus and a number elsewhere: there the values are compared.
        same = plain(one["tree"]) == plain(two["tree"]) if "⁻" not in pair[0] else one["got"] == two["got"]
        assert same, pair


@browser
def test_what_cannot_be_read_says_why_and_where():
    asked = {
        "0,5 x_t": ("write a decimal point, not a comma: 0.5", 1),
        "mu = x_t": ("write only what stands on the right of the equals sign", 3),
        "mu + x_t": ("there is no letter “mu” here", 0),
        "x_t = 2": ("write only what stands on the right of the equals sign", 4),
        "x_t + gamma": ("there is no letter “gamma” here", 6),
        "x_t +": ("something is missing at the end", 5),
        "2 (x_t": ("a “(” is not closed", 6),
        "x_t)": ("this “)” was never opened", 3),
        "(x_t]": ("a “)” is missing before this", 4),
        "x_t * / 2": ("something is missing before “/”", 6),
        "2 3": ("there is no sign between two numbers", 2),
        "sqrt + 1": ("sqrt needs something after it, in parentheses", 5),
        r"\sum x_t": (r"\sum is not known here", 0),
        "x_t ; 1": ("“;” has no meaning here", 4),
        "alert('x')": ("“'” has no meaning here", 6),
        "alert(x_t)": ("there is no letter “alert” here", 0),
        "constructor": ("there is no letter “constructor” here", 0),
        "__proto__": ("“_” has no meaning here", 0),
        "": ("write a formula", 0),
        "(" * 400 + "1" + ")" * 400: ("this is nested too deeply", 100),
        "-" * 900 + "1": ("this is nested too deeply", 101),
    }
    box = boxes.box(exercise("posterior.mean"))
    for (text, (words, place)), answer in zip(asked.items(), in_browser(box, asked), strict=True):
        assert answer.get("unreadable") == words, (text, answer)
        assert abs(answer["from"] - place) <= (2 if len(text) > 100 else 0), (text, answer)


@browser
def test_how_it_is_shown():
    box = boxes.box(exercise("posterior.mean"))
    shown = [answer["mathml"] for answer in in_browser(box, ["1/2 x_t", "(alpha + beta) x_0^2", "noise_var x_0"])]
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac><mo>\u2062</mo>" in shown[0]
    assert "<mo>(</mo>" in shown[1] and "<msup><mrow><mi>x_0</mi></mrow><mn>2</mn></msup>" in shown[1]
    assert "<mo>(</mo>" in shown[2]  # 1 - alpha_bar is a difference


def test_the_script_runs_nothing_and_asks_nobody():
    if not SCRIPT.is_file():
        pytest.skip("the pages do not travel with the package")
    text = SCRIPT.read_text("utf-8")
    for word in ("eval(", "Function(", "import(", "XMLHttpRequest", "http://", "https://", "document.write", "Worker("):
        assert word not in text
    assert text.count("fetch(") == 1 and text.count("innerHTML") == 1


# The browser judges as the command does. -----------------------------------------------------------------------------

V, M = (
    "noise_var_prev / noise_var * beta",
    "(sqrt(alpha_bar_prev)*beta*x_0 + sqrt(alpha)*noise_var_prev*x_t) / noise_var",
)

# What is typed, and the same in Python where it is not that already.
RIGHT = {
    "posterior.variance": [
        (V, ""),
        ("(1 - alpha_bar_prev) * beta / (1 - alpha_bar)", ""),
        (r"\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t", "(1 - alpha_bar_prev) / (1 - alpha_bar) * beta"),
        ("β_t(1 − ᾱₜ₋₁)/(1 − ᾱₜ)", "beta * (1 - alpha_bar_prev) / (1 - alpha_bar)"),
        ("(1-alpha)(1-alpha_bar_{t-1})/(1-alphabar)", "(1 - alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar)"),
        ("beta - beta^2 alpha_bar_prev/noise_var", "beta - beta**2 * alpha_bar_prev / noise_var"),
        ("beta (1 - alpha_bar/alpha) / (1 - alpha_bar)", "beta * (1 - alpha_bar / alpha) / (1 - alpha_bar)"),
        (r"\left(1-\bar{\alpha}_{t-1}\right) \cdot \dfrac{\beta_t}{noise\_var}".replace(r"\_", "_"), V),
        ("step.beta * step.noise_var_prev / step.noise_var", V),
        ("√(β · noise_var_prev ÷ noise_var)²", "sqrt(beta * noise_var_prev / noise_var)**2"),
        ("½ beta · 2 noise_var_prev noise_var^-1", "0.5 * beta * 2 * noise_var_prev * noise_var**-1"),
        ("noise_var_prev - noise_var_prev^2 alpha / noise_var", "noise_var_prev - noise_var_prev**2 * alpha / noise_var"),
        ("exp(log(beta) - log(noise_var)) noise_var_prev", "exp(log(beta) - log(noise_var)) * noise_var_prev"),
        ("1 - ᾱ_prev - α (1-ᾱ_prev)**2 / (1-ᾱ)",
         "1 - alpha_bar_prev - alpha * (1 - alpha_bar_prev)**2 / (1 - alpha_bar)"),
    ],
    "posterior.mean": [
        (M, ""),
        (r"\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_t}x_0 + \frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t} x_t",
         "sqrt(alpha_bar_prev) * beta / (1 - alpha_bar) * x_0 + sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t"),
        ("√ᾱₜ₋₁ βₜ x₀/(1−ᾱₜ) + √αₜ (1−ᾱₜ₋₁) xₜ/(1−ᾱₜ)",
         "sqrt(alpha_bar_prev) * beta * x_0 / (1 - alpha_bar) + sqrt(alpha) * (1 - alpha_bar_prev) * x_t / (1 - alpha_bar)"),
        ("1/sqrt(alpha) (x_t - beta/(1-alpha_bar) (x_t - sqrt(alpha_bar) x_0))",
         "1 / sqrt(alpha) * (x_t - beta / (1 - alpha_bar) * (x_t - sqrt(alpha_bar) * x_0))"),
        ("sqrt(alpha_bar_prev) x0 + sqrt(alpha)(1-alpha_bar_prev)/(1-alpha_bar) (xt - sqrt(alpha_bar) x0)",
         "sqrt(alpha_bar_prev) * x_0 + sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * (x_t - sqrt(alpha_bar) * x_0)"),
        ("(alpha_bar_prev^0.5 (1-alpha) x_0 + alpha^½ noise_var_prev x_t) noise_var^{-1}",
         "(alpha_bar_prev**0.5 * (1 - alpha) * x_0 + alpha**0.5 * noise_var_prev * x_t) * noise_var**-1"),
        ("(sqrt(alpha_bar/alpha) beta x_0 + sqrt(alpha) (1 - alpha_bar/alpha) x_t)/noise_var",
         "(sqrt(alpha_bar / alpha) * beta * x_0 + sqrt(alpha) * (1 - alpha_bar / alpha) * x_t) / noise_var"),
        ("x_t/√α - β/(√α noise_var) (x_t - √ᾱ x_0)",
         "x_t / sqrt(alpha) - beta / (sqrt(alpha) * noise_var) * (x_t - sqrt(alpha_bar) * x_0)"),
        ("np.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var * x_0 + np.sqrt(step.alpha) * step.noise_var_prev / step.noise_var * x_t",
         "sqrt(alpha_bar_prev) * beta / noise_var * x_0 + sqrt(alpha) * noise_var_prev / noise_var * x_t"),
        ("exp(log(alpha_bar_prev)/2) beta x_{0}/noise_var + exp(ln(alpha)/2) noise_var_prev x_{t}/noise_var",
         "exp(log(alpha_bar_prev) / 2) * beta * x_0 / noise_var + exp(log(alpha) / 2) * noise_var_prev * x_t / noise_var"),
        ("sqrt(alpha) x_t + (1 - alpha) sqrt(alpha_bar_prev)/(1 - alpha_bar) (x_0 - sqrt(alpha_bar) x_t)",
         "sqrt(alpha) * x_t + (1 - alpha) * sqrt(alpha_bar_prev) / (1 - alpha_bar) * (x_0 - sqrt(alpha_bar) * x_t)"),
    ],
}  # fmt: skip

WRONG = {
    "posterior.variance": [
        (f"{V} + 1e-10", ""),
        (f"{V} + 1e-13", ""),
        (f"1.000000001 * {V}", ""),
        ("beta", ""),
        ("0", "0.0"),
        (f"sqrt({V})", ""),
        ("noise_var / noise_var_prev * beta", ""),
        ("1 / (alpha/beta + 1/noise_var_prev)", ""),
        ("noise_var_prev / noise_var * alpha", ""),
        ("noise_var_prev / noise_var", ""),
        ("(1 - alpha_bar) / (1 - alpha_bar_prev) * beta", ""),
        (f"-({V})", ""),
        (r"\frac{\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t", "alpha_bar_prev / (1 - alpha_bar) * beta"),
        ("1 - ᾱₜ₋₁ / (1 - ᾱₜ) βₜ", "1 - alpha_bar_prev / (1 - alpha_bar) * beta"),
        ("sqrt(-beta)", ""),
        (f"2 * {V}", ""),
    ],
    "posterior.mean": [
        (f"{M} + 1e-10", ""),
        (M.replace("x_t", "x").replace("x_0", "x_t").replace("*x)", "*x_0)"), ""),
        (M.replace("alpha_bar_prev", "alpha_bar"), ""),
        (M.replace("sqrt(alpha)", "alpha"), ""),
        (M.replace("sqrt(alpha_bar_prev)", "alpha_bar_prev"), ""),
        (M.replace("+", "-"), ""),
        (M.replace("noise_var_prev", "noise_var"), ""),
        (M.replace("/ noise_var", "/ noise_var_prev"), ""),
        (M.replace("/ noise_var", ""), ""),
        ("sqrt(alpha)*noise_var_prev*x_t / noise_var", ""),
        ("√αₜ xₜ", "sqrt(alpha) * x_t"),
        ("(sqrt(alpha)/beta x_t + sqrt(alpha_bar_prev)/noise_var_prev x_0) / (alpha/beta + 1/noise_var_prev)",
         "(sqrt(alpha)/beta * x_t + sqrt(alpha_bar_prev)/noise_var_prev * x_0) / (alpha/beta + 1/noise_var_prev)"),
        ("(x_t - beta/sqrt(noise_var) x_0)/sqrt(alpha)", "(x_t - beta/sqrt(noise_var) * x_0)/sqrt(alpha)"),
    ],
}  # fmt: skip


def function(expression):
    """A formula as a student would write it in Python."""

    def answer(**given):
        step = given.pop("step")
        known = {"sqrt": np.sqrt, "exp": np.exp, "log": np.log, **given, **step._asdict()}
        return eval(expression, known)

    return answer


@browser
@pytest.mark.parametrize("name", NAMES)
def test_right_answers_pass_here_and_there(name):
    answers = in_browser(boxes.box(exercise(name)), [typed for typed, _ in RIGHT[name]])
    assert len(answers) >= 10
    for (typed, python), answer in zip(RIGHT[name], answers, strict=True):
        assert answer.get("right") is True, (typed, answer)
        assert against.compare(name, function(python or typed)).outcome == "passes", typed


@browser
@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_fail_here_and_there_on_the_same_example(name):
    box = boxes.box(exercise(name))
    answers, words = in_browser(box, [typed for typed, _ in WRONG[name]]), [words for words, _ in box["slips"]]
    assert len(answers) >= 10
    named = 0
    for (typed, python), answer in zip(WRONG[name], answers, strict=True):
        verdict = against.compare(name, function(python or typed))
        assert verdict.outcome == "fails" and answer.get("right") is False, (typed, answer)
        assert answer["where"] == verdict.difference.given.where, typed
        if verdict.difference.expected:
            assert against._number(answer["expected"]) == verdict.difference.expected, typed
        if verdict.difference.got and "got" in answer:
            assert against._number(answer["got"]) == verdict.difference.got, typed
        # The command tries pairs of slips, too.
        assert answer["slip"] == (verdict.slip if verdict.slip in words else ""), (typed, verdict.slip)
        named += bool(answer["slip"])
    assert named >= 6


OTHERS = Path(__file__).parent / "others"


def as_formulas(file):
    """The functions of a file as single expressions: names that are set before the return are put in their places."""
    for function_ in ast.parse(file.read_text("utf-8")).body:
        names = {}

        class Put(ast.NodeTransformer):
            def visit_Name(self, node, names=names):
                return names.get(node.id, node)

        for line in function_.body if isinstance(function_, ast.FunctionDef) else ():
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                names[line.targets[0].id] = Put().visit(line.value)
            elif isinstance(line, ast.Return) and line.value is not None:
                yield function_.name, ast.unparse(Put().visit(line.value))


@browser
@pytest.mark.parametrize("folder", ["right", "wrong"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_other_people_s_functions_get_the_same_verdict(folder, chapter):
    """The functions that `test_against` judges, typed into boxes, as far as a box can read them."""
    equations()
    file, tried = OTHERS / folder / f"{chapter}.py", 0
    for name, text in as_formulas(file):
        try:
            known = find(f"{chapter}.{name}")
            made = Exercise(known.name, "implement", "", "", 1, ("", "", ""), "", known=lambda known=known: known)
            box = boxes.box(made)
        except ValueError:  # no equation, or one without a box
            continue
        (answer,) = in_browser(box, [text])
        if "unreadable" not in answer and not box["coordinate"]:
            assert answer["right"] == (folder == "right"), (name, text, answer)
            tried += 1
    assert tried >= {"forward": 8, "posterior": 6}.get(chapter, 0)


@browser
def test_a_wrong_answer_shows_only_the_letters_used():
    (answer,) = in_browser(boxes.box(exercise("posterior.mean")), ["sqrt(alpha) x_t"])
    assert answer["used"] == [["x_t", 0.0], ["alpha", 0.8]] or answer["used"] == [["x_t", 1.0], ["alpha", 0.8]]


@browser
def test_a_number_is_judged():
    made = Exercise(
        "posterior.third", "number", "", "", 1, ("", "", ""), "", judge=judges.Number(lambda: 1 / 3, 0.01, "it")
    )
    answers = in_browser(boxes.box(made), ["1/3", "0.34", "sqrt(1/9)", "0.35", "x_t", "1/0"])
    assert [answer.get("right") for answer in answers] == [True, True, True, False, None, False]


@browser
def test_the_grader_agrees(tmp_path):
    right, wrong = RIGHT["posterior.mean"][3][1], WRONG["posterior.variance"][5][0]
    fields = "beta, alpha, alpha_bar, alpha_bar_prev, noise_var, noise_var_prev = step"
    (tmp_path / "posterior.py").write_text(
        "from numpy import sqrt\n"
        f"def mean(x_t, x_0, step):\n    {fields}\n    return {right}\n"
        f"def variance(step):\n    {fields}\n    return {wrong}\n"
    )
    grades = grader.grade(tmp_path / "posterior.py", [exercise(name) for name in NAMES])
    said = [in_browser(boxes.box(exercise(name)), [text])[0] for name, text in zip(NAMES, (wrong, right), strict=True)]
    assert [grade.passed for grade in grades] == [answer["right"] for answer in said] == [False, True]
    assert said[0]["slip"] in " ".join(grades[0].words.split())


def test_the_step_of_a_formula_is_a_step_of_a_schedule():
    assert boxes.box(exercise("posterior.variance"))["given"][0] == [*forward.Schedule([0.1, 0.2, 0.3, 0.4, 0.5])[2]]
