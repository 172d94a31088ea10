r"""The prover: the formula in an equation's docstring is what the function under it computes.

A formula is read left to right: whatever stands behind an `=` must equal the function. `N(x; mean, var I)` is compared
with a `Gaussian`, formulas divided by `\quad` with the members of a tuple, and behind `\qquad` comes explanation only.
The letters are those of `letters`: each argument becomes a positive symbol, and a letter that ends in `^2` the square of
what formulas write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import sympy
from sympy.parsing.latex import parse_latex

from .door import Argument
from .equation import Equation
from .letters import Step

Expression: TypeAlias = Any
"""A SymPy expression."""


class NotAlgebra(Exception):
    """A formula that cannot be parsed, or a function that cannot be evaluated on symbols."""


def prove(known: Equation) -> None:
    """Show that the formula is the function.

    Raises:
        NotAlgebra: when one of them cannot be read.
        AssertionError: when they are not the same.
    """
    result, letters = evaluate(known)
    results = result if isinstance(result, tuple) else (result,)
    claims = list(formulas(known.latex))
    if not all(claims) or len(claims) != len(results):
        raise NotAlgebra(f"{len(claims)} formulas for {len(results)} results: {claims}")
    for value, sides in zip(results, claims, strict=True):
        for side in sides:
            if not is_zero(value - parse(side, letters)):
                raise AssertionError(f"{side.strip()} is not {value}")


# The letters as symbols. ---------------------------------------------------------------------------------------------


def symbol(name: str) -> Expression:
    """A positive number."""
    return sympy.Symbol(name, positive=True)


def share(name: str) -> Expression:
    """A number in (0, 1), with the root of it and what it leaves of 1 written so that SymPy sees that they are positive."""
    return symbol(name) ** 2 / (1 + symbol(name) ** 2)


def tidy(latex: str) -> str:
    """A formula without what only spaces it or sets its type."""
    latex = re.sub(r"\\lVert(.*?)\\rVert", r"(\1)", latex)  # of a single number
    latex = re.sub(r"\\mathrm(?:\{(\w+)\}| (\w))", r"\1\2", re.sub(r"\s+", " ", latex))
    return re.sub(r"\\(?:[bB]ig+[lr]?|left|right)(?![a-zA-Z])|\\[,;!: ]|\s+", " ", latex)


ALPHA, KEPT, ALPHA_PREV, ALPHA_NEXT, ETA = share("a"), share("b"), share("c"), share("f"), symbol("eta")
ALPHA_BAR = sympy.factor(ALPHA * KEPT)
LATER = sympy.factor(ALPHA_BAR * share("d"))
STEP = Step(*map(sympy.factor, (1 - ALPHA, ALPHA, ALPHA_BAR, KEPT, 1 - ALPHA_BAR, 1 - KEPT)))
X_0, X_T = symbol("x_0"), symbol("x_t")

LETTERS = {
    r"\alpha_t": STEP.alpha,
    r"\beta_t": STEP.beta,
    r"\bar\alpha_t": STEP.alpha_bar,
    r"\bar\alpha_{t-1}": STEP.alpha_bar_prev,
    r"\beta_t^{S}": sympy.sqrt(STEP.beta),
    r"\bar\beta_t^{S}": sympy.sqrt(STEP.noise_var),
    r"\alpha_t^{S}": sympy.sqrt(STEP.alpha),
    r"\tilde\beta_t": (1 - KEPT) * (1 - ALPHA) / (1 - ALPHA_BAR),
    r"\tilde\mu_t": (sympy.sqrt(KEPT) * (1 - ALPHA) * X_0 + sympy.sqrt(ALPHA) * (1 - KEPT) * X_T) / (1 - ALPHA_BAR),
}
"""The letters that mean the same in every formula."""


def _time(kept: Expression) -> Step:
    """A step of which only alpha_bar matters."""
    return Step(*map(sympy.factor, (1 - kept, kept, kept, sympy.Integer(1), 1 - kept, sympy.Integer(0))))


def _half_log_snr(kept: Expression) -> Expression:
    return sympy.log(kept / (1 - kept)) / 2


SPECIAL: Mapping[str, tuple[Any, Mapping[str, Expression]]] = {
    "step": (
        STEP,
        {
            r"\lambda_t": _half_log_snr(ALPHA_BAR),
            r"SNR(t)": ALPHA_BAR / (1 - ALPHA_BAR),
            **dict.fromkeys((r"\bar\alpha_1", r"\bar\alpha_T"), ALPHA_BAR),  # where the step is that of t = 1 or T
        },
    ),
    "step_prev": (Step(1 - ALPHA_PREV, ALPHA_PREV, *[symbol("unused")] * 4), {r"\alpha_{t-1}": ALPHA_PREV}),
    "step_next": (
        Step(1 - ALPHA_NEXT, ALPHA_NEXT, *[symbol("unused")] * 4),
        {
            r"\alpha_{t+1}": ALPHA_NEXT,
            r"\beta_{t+1}": 1 - ALPHA_NEXT,
            "v": (1 - ALPHA) * (1 - ALPHA_NEXT) / (1 - ALPHA * ALPHA_NEXT),
        },
    ),
    "step_s": (
        _time(KEPT),
        {r"\bar\alpha_s": KEPT, r"\lambda_s": _half_log_snr(KEPT), r"\Delta B": -sympy.log(ALPHA)},
    ),
    "step_u": (_time(LATER), {r"\lambda_u": _half_log_snr(LATER)}),
    "eta": (
        ETA,
        {r"\eta": ETA, r"\sigma": ETA * sympy.sqrt((1 - KEPT) / (1 - ALPHA_BAR)) * sympy.sqrt(1 - ALPHA)},
    ),
    "beta_T": (share("g"), {r"\beta_T": share("g")}),
    "step_size": (share("h"), {r"\delta": share("h")}),
    "T": (symbol("T"), {"T": symbol("T")}),
    "dims": (symbol("d"), {"d": symbol("d")}),
    "levels": (symbol("K"), {"K": symbol("K")}),
    "total": (symbol("N"), {"N": symbol("N")}),
}
"""The arguments that are more than one positive number, and the letters by which formulas call them."""


def symbols(argument: Argument) -> tuple[Any, dict[str, Expression]]:
    """An argument on symbols, and the letters by which formulas call it."""
    if argument.name in SPECIAL:
        value, letters = SPECIAL[argument.name]
        return value, dict(letters)
    if argument.kind not in ("number", "scalar", "pixels"):
        raise NotAlgebra(f"{argument.name} is {argument.kind}, not a number")
    value = symbol(argument.name)
    return value, dict(_named(letter, value) for letter in argument.letter.latex)


def _named(latex: str, value: Expression) -> tuple[str, Expression]:
    """A letter and its value; of a variance, the letter that is squared, and its root."""
    latex = tidy(latex)
    plain = latex.startswith("\\sigma") and latex.endswith("^2")
    return (latex[:-2], sympy.sqrt(value)) if plain else (latex, value)


def arguments(known: Equation) -> tuple[dict[str, Any], dict[str, Expression]]:
    """The arguments of an equation on symbols, and the letters of its formula.

    Raises:
        NotAlgebra: when one of them is no number.
    """
    parameters = inspect.signature(known.function).parameters
    given, letters = dict[str, Any](), dict(LETTERS)
    for argument in known.arguments:
        if parameters[argument.name].default is inspect.Parameter.empty or argument.name == "weight":
            given[argument.name], more = symbols(argument)
            letters |= more
    return given, letters


def evaluate(known: Equation) -> tuple[Any, dict[str, Expression]]:
    """The function on symbols, and the letters of its formula."""
    given, letters = arguments(known)
    try:
        return known.function(**given), letters
    except (TypeError, AttributeError, ValueError) as problem:
        raise NotAlgebra(f"not to be evaluated on symbols: {problem}") from None


# Formulas. -----------------------------------------------------------------------------------------------------------


def formulas(latex: str) -> Iterator[list[str]]:
    """What the function must equal: for each of its results, the formulas behind the equality signs."""
    latex = tidy(re.sub(r"\\q?quad$", "", latex.split(r"\qquad")[0].strip().rstrip(",;. ")))
    for one in re.split(r",?\s*\\quad", latex):
        sides = re.split(r"=|\\approx|\\leftarrow", one)[1:]
        gaussian = re.fullmatch(r"\s*\\mathcal N *\((.*?);(.*),(.*) I *\)\s*", sides[0], re.DOTALL) if sides else None
        yield from ([part] for part in gaussian.groups()[1:]) if gaussian else [sides]


def parse(latex: str, letters: Mapping[str, Expression]) -> Expression:
    """A formula as a SymPy expression of the primitive symbols."""
    values = {}
    for number, letter in enumerate(sorted(letters, key=len, reverse=True)):
        pattern = re.escape(letter).replace(r"\ ", " +") + r"(?![a-zA-Z_{])"
        if letter[0] != "\\":
            pattern = r"(?<![a-zA-Z_\\])(?<!_\{)" + pattern
        latex, found = re.subn(pattern, lambda _, n=number: f" v_{{{n}}} ", latex)  # type: ignore[misc]
        if found:
            values[sympy.Symbol(f"v_{{{number}}}")] = letters[letter]
    latex = re.sub(r"(v_\{\d+\}\s*)\(", r"\1\\cdot (", latex)  # a product, not a function
    try:
        parsed = parse_latex(latex)
    except Exception as problem:
        raise NotAlgebra(f"{latex}: {problem}") from None
    constants = {sympy.Symbol("e"): sympy.E, sympy.Symbol("i"): sympy.I, sympy.Symbol("pi"): sympy.pi}
    parsed = parsed.subs(constants).subs(values, simultaneous=True).doit()
    unknown = parsed.free_symbols - {free for value in values.values() for free in value.free_symbols}
    if unknown:
        raise NotAlgebra(f"{latex}: letters without a meaning: {sorted(map(str, unknown))}")
    return parsed


CONSTANTS = (sympy.pi, sympy.pi * sympy.E, sympy.log(2))
"""What a float in an expression may be a fraction of."""


def is_zero(difference: Expression) -> bool:
    """Whether an expression is 0 for all values of its symbols, which are all positive."""
    steps: tuple[tuple[Any, Callable[..., Expression]], ...] = (
        (lambda e: e.is_Float, lambda e: sympy.nsimplify(e, CONSTANTS, rational=e == round(e, 6))),
        (lambda e: e.is_Pow, lambda e: sympy.expand_power_base(sympy.factor(e.base) ** e.exp)),
        (sympy.log, lambda x: sympy.expand_log(sympy.log(sympy.factor(x)))),
    )
    for what, how in steps:
        difference = difference.replace(what, how)
    return bool(sympy.factor(difference) == 0 or sympy.simplify(sympy.expand(difference)) == 0)
