"""The book against itself: the formula in each docstring is proved to be what the function under it computes.

A formula is read left to right: whatever stands behind an `=` must equal the function. `N(x; mean, var I)` is compared
with a `Gaussian`, formulas divided by `\\quad` with the members of a tuple, and behind `\\qquad` comes explanation only.
"""

import contextlib
import inspect
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
from sympy.parsing.latex import parse_latex

from tinyddpm import bibliography, elbo, equations, forward, langevin, posterior, train, vae_vs_vdm
from tinyddpm.equation import to_numpy
from tinyddpm.forward import Step
from tinyddpm.vae_vs_vdm import Chain, LinearVAE

SCHEDULE = "it makes a whole schedule"
STEPS = "it runs over all steps"
OUTCOMES = "it runs over the outcomes of a discrete variable"
COMPONENTS = "it runs over the components of a mixture"
INTEGRALS = "it is an integral"
CASES = "it takes the smaller of two"
MATRICES = "it computes on matrices"
FUNCTIONS = "it takes a function"
ROUNDS = "it rounds and clips"
ARRAYS = "it computes on arrays or networks, not on single numbers"

UNPROVED = {
    forward.linear: SCHEDULE,
    forward.scaled_linear: SCHEDULE,
    forward.proportional: SCHEDULE,
    forward.cosine: SCHEDULE,
    forward.zero_terminal_snr: SCHEDULE,
    forward.respace: SCHEDULE,
    forward.alpha_bar: STEPS,
    forward.path_log_prob: STEPS,
    forward.from_unit_range: ROUNDS,
    posterior.joint: OUTCOMES,
    posterior.marginalize: OUTCOMES,
    posterior.total_probability: OUTCOMES,
    posterior.bayes: OUTCOMES,
    **dict.fromkeys((elbo.entropy, elbo.cross_entropy, elbo.kl, elbo.jensen_gap, elbo.elbo, elbo.vlb), OUTCOMES),
    **dict.fromkeys((elbo.joint_log_prob, elbo.telescope, elbo.diffusion_loss, elbo.vlb_terms), STEPS),
    elbo.consistency: FUNCTIONS,
    elbo.decoder_log_prob: INTEGRALS,
    elbo.diffusion_loss_continuous: INTEGRALS,
    elbo.importance_weights: STEPS,
    elbo.min_snr_weight: CASES,
    **dict.fromkeys((vae_vs_vdm.expected_log_prob, vae_vs_vdm.normal_kl), MATRICES),
    **dict.fromkeys((LinearVAE.log_prob, LinearVAE.posterior, LinearVAE.elbo, Chain.log_prob), MATRICES),
    **dict.fromkeys((vae_vs_vdm.hierarchical_elbo, vae_vs_vdm.consistency_elbo, vae_vs_vdm.denoising_elbo), MATRICES),
    **dict.fromkeys((vae_vs_vdm.as_vdm, vae_vs_vdm.ideal_chain), MATRICES),
    vae_vs_vdm.elbo_gap: INTEGRALS,
    vae_vs_vdm.reparameterized_gradient: FUNCTIONS,
    vae_vs_vdm.score_function_gradient: FUNCTIONS,
    **{known.function: COMPONENTS for known in equations() if known.chapter == "mixture"},
    **dict.fromkeys((langevin.score, langevin.hutchinson, langevin.divergence), FUNCTIONS),
    **dict.fromkeys((langevin.probability_flow_log_prob, langevin.predictor_corrector_step), FUNCTIONS),
    **dict.fromkeys((langevin.langevin, langevin.annealed_langevin, langevin.euler_maruyama, langevin.heun), STEPS),
    **dict.fromkeys((langevin.brownian_path, langevin.quadratic_variation), STEPS),
    **dict.fromkeys((langevin.minibatch_score, langevin.fokker_planck), ARRAYS),
    **dict.fromkeys((langevin.explicit_score_matching, langevin.implicit_score_matching), ARRAYS),
    langevin.denoising_score_matching: ARRAYS,
    train.time_embedding: ARRAYS,
    train.stratified_times: ARRAYS,
    train.training_loss: ARRAYS,
    train.learned_variance_loss: ARRAYS,
    train.sample_path: STEPS,
    train.sample: STEPS,
    train.encode: STEPS,
    train.interpolate: ARRAYS,
    train.frechet_distance: ARRAYS,
    train.sliced_wasserstein: ARRAYS,
    train.nearest_neighbours: ARRAYS,
}
"""The equations that are not plain algebra, and why; a test below holds that they could not be proved."""


class NotAlgebra(Exception):
    """A formula that cannot be parsed, or a function that cannot be evaluated on symbols."""


def symbol(name):
    return sympy.Symbol(name, positive=True)


def share(name):
    """A number in (0, 1), with the root of it and what it leaves of 1 written so that SymPy sees that they are positive."""
    return symbol(name) ** 2 / (1 + symbol(name) ** 2)


ALPHA, KEPT, ALPHA_PREV, ALPHA_NEXT, ETA = share("a"), share("b"), share("c"), share("f"), symbol("eta")
ALPHA_BAR = sympy.factor(ALPHA * KEPT)
STEP = Step(*map(sympy.factor, (1 - ALPHA, ALPHA, ALPHA_BAR, KEPT, 1 - ALPHA_BAR, 1 - KEPT)))
BEFORE = sympy.factor(ALPHA_BAR * share("d"))
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

ARGUMENTS = {
    "step": (STEP, {}),
    "step_prev": (Step(1 - ALPHA_PREV, ALPHA_PREV, *[symbol("unused")] * 4), {r"\alpha_{t-1}": ALPHA_PREV}),
    "step_next": (
        Step(1 - ALPHA_NEXT, ALPHA_NEXT, *[symbol("unused")] * 4),
        {
            r"\alpha_{t+1}": ALPHA_NEXT,
            r"\beta_{t+1}": 1 - ALPHA_NEXT,
            "v": (1 - ALPHA) * (1 - ALPHA_NEXT) / (1 - ALPHA * ALPHA_NEXT),
        },
    ),
    "alpha_bar_t": (ALPHA_BAR, {}),
    "alpha_bar_s": (KEPT, {r"\bar\alpha_s": KEPT}),
    "alpha_bar_before": (
        BEFORE,
        {
            rf"\lambda_{at}": sympy.log(kept / (1 - kept)) / 2
            for at, kept in {"u": BEFORE, "t": ALPHA_BAR, "s": KEPT}.items()
        },
    ),
    "eta": (
        ETA,
        {
            r"\eta": ETA,
            r"\sigma": ETA * sympy.sqrt((1 - KEPT) / (1 - ALPHA_BAR)) * sympy.sqrt(1 - ALPHA),
        },
    ),
    "alpha": (symbol("alpha"), {r"\alpha_t^{DDIM}": symbol("alpha"), r"\alpha_t^{VDM}": symbol("alpha")}),
    "sigma": (symbol("sigma"), {r"\sigma_t^{VDM}": symbol("sigma"), r"\sigma_t^{EDM}": symbol("sigma")}),
    "beta_T": (share("g"), {r"\beta_T": share("g")}),
    "alpha_bar": (symbol("alpha_bar"), {r"\bar\alpha_t^{S}": symbol("alpha_bar")}),
    "step_size": (share("h"), {r"\delta": share("h")}),
    "score": (
        symbol("score"),
        dict.fromkeys(
            (r"\nabla_{x_t} \log q(x_t)", r"\nabla_x \log p(x)", r"\nabla_x \log p_\tau(x)"), symbol("score")
        ),
    ),
}
for name, letter in {
    "p": "p",
    "x": "x",
    "dims": "d",
    "nats": "L",
    "levels": "K",
    "log_joint": r"\log p(x, z)",
    "log_posterior": r"\log p(z \mid x)",
    "mean_q": r"\mu_q",
    "mean_p": r"\mu_p",
    "model_mean": r"\mu_\theta",
    "mean_square_error": r"\frac{1}{d} \mathbb E (\tilde\mu_t - \mu_\theta)^2",
    "noise_hat": r"\epsilon_\theta(x_t, t)",
    "simple": r"L_{simple}",
    "bound": r"L_{vlb}",
    "weight": r"\lambda",
    "noise_prev": r"\epsilon_{t-1}",
    "noise_t": r"\epsilon_t",
    "unseen": r"\omega",
    "x_0": "x_0",
    "x_0_before": "x_0'",
    "x_t": "x_t",
    "x_s": "x_s",
    "x_prev": "x_{t-1}",
    "x_next": "x_{t+1}",
    "log_likelihood": r"\mathbb E_q[\log p(x \mid z)]",
    "x_prev_prev": "x_{t-2}",
    "noise": r"\epsilon",
    "noise_cond": r"\epsilon(x_t, c)",
    "noise_uncond": r"\epsilon(x_t)",
    "z": "z",
    "v": "v",
    "velocity": "v",
    "mean_square_score": r"\Gamma_t",
    "mean": r"\mu",
    "a": "a",
    "b": "b",
    "u": "u",
    "T": "T",
    "w": "w",
    "integrated_beta": "B",
    "time": r"\tau",
    "pixels": "p",
    "average": r"\bar\theta",
    "value": r"\theta",
    "decay": r"\lambda",
    "drift": "f",
    "diffusion": "g",
    "dt": r"\Delta\tau",
    "dw": r"\Delta w",
    "beta": r"\beta(\tau)",
    "growth": r"\lambda",
    "gamma": r"\gamma",
    "classifier_grad": r"\nabla_x \log p(y \mid x)",
}.items():
    ARGUMENTS[name] = (symbol(name), {letter: symbol(name)})
for name, letters in {
    "var": (r"\sigma_t", r"\sigma_{t-1}", r"\sigma"),
    "var_q": (r"\sigma_q",),
    "var_p": (r"\sigma_p",),
    "model_var": (r"\sigma_t",),
    "var_a": (r"\sigma_A",),
    "var_b": (r"\sigma_B",),
    "data_var": (r"\sigma_0",),
    "var_min": (r"\sigma_{\min}",),
}.items():
    ARGUMENTS[name] = (symbol(name), {letter: sympy.sqrt(symbol(name)) for letter in letters})
"""What each argument is on symbols, and the letters by which formulas call it; a variance is its letter squared."""


def wanted(known):
    """The arguments that a formula speaks of: all that have no default, and those that it has a letter for."""
    parameters = inspect.signature(known.function).parameters.items()
    return [n for n, p in parameters if p.default is p.empty or n == "weight"]


def evaluate(known):
    """The function on symbols, and the letters of its formula."""
    names = wanted(known)
    if not set(names) <= set(ARGUMENTS):
        raise NotAlgebra(f"arguments without a symbol: {sorted(set(names) - set(ARGUMENTS))}")
    letters = dict(LETTERS)
    for name in names:
        letters |= ARGUMENTS[name][1]
    try:
        return known.function(*(ARGUMENTS[name][0] for name in names)), letters
    except (TypeError, AttributeError) as problem:
        raise NotAlgebra(f"not to be evaluated on symbols: {problem}") from None


def formulas(latex):
    """What the function must equal: for each of its results, the formulas behind the equality signs."""
    latex = re.sub(r"\\q?quad$", "", latex.split(r"\qquad")[0].strip().rstrip(",;. "))
    latex = re.sub(r"\\lVert(.*?)\\rVert", r"(\1)", latex)  # of a single number
    latex = re.sub(r"\\mathrm(?:\{(\w+)\}| (\w))", r"\1\2", re.sub(r"\s+", " ", latex))
    latex = re.sub(r"\\(?:[bB]ig+[lr]?|left|right)(?![a-zA-Z])|\\[,;!: ]|\s+", " ", latex)
    for one in re.split(r",?\s*\\quad", latex):
        sides = re.split(r"=|\\approx|\\leftarrow", one)[1:]
        gaussian = re.fullmatch(r"\s*\\mathcal N *\((.*?);(.*),(.*) I *\)\s*", sides[0], re.DOTALL) if sides else None
        yield from ([part] for part in gaussian.groups()[1:]) if gaussian else [sides]


def parse(latex, letters):
    """A formula as a SymPy expression of the primitive symbols."""
    values = {}
    for number, letter in enumerate(sorted(letters, key=len, reverse=True)):
        pattern = re.escape(letter).replace(r"\ ", " +") + r"(?![a-zA-Z_{])"
        if letter[0] != "\\":
            pattern = r"(?<![a-zA-Z_\\])(?<!_\{)" + pattern
        latex, found = re.subn(pattern, lambda _, n=number: f" v_{{{n}}} ", latex)
        if found:
            values[sympy.Symbol(f"v_{{{number}}}")] = letters[letter]
    latex = re.sub(r"(v_\{\d+\}\s*)\(", r"\1\\cdot (", latex)  # a product, not a function
    try:
        parsed = parse_latex(latex)
    except Exception as problem:
        raise NotAlgebra(f"{latex}: {problem}") from None
    constants = {sympy.Symbol("e"): sympy.E, sympy.Symbol("i"): sympy.I, sympy.Symbol("pi"): sympy.pi}
    parsed = parsed.subs(constants).subs(values, simultaneous=True).doit()
    unknown = parsed.free_symbols - {symbol for value in values.values() for symbol in value.free_symbols}
    if unknown:
        raise NotAlgebra(f"{latex}: letters without a meaning: {sorted(map(str, unknown))}")
    return parsed


CONSTANTS = (sympy.pi, sympy.pi * sympy.E, sympy.log(2))
"""What a float in an expression may be a fraction of."""


def is_zero(difference):
    """Whether an expression is 0 for all values of its symbols, which are all positive."""
    tidy = difference.replace(lambda e: e.is_Float, lambda e: sympy.nsimplify(e, CONSTANTS, rational=e == round(e, 6)))
    tidy = tidy.replace(lambda e: e.is_Pow, lambda e: sympy.expand_power_base(sympy.factor(e.base) ** e.exp))
    tidy = tidy.replace(sympy.log, lambda x: sympy.expand_log(sympy.log(sympy.factor(x))))
    return sympy.simplify(sympy.expand(tidy)) == 0


def prove(known):
    """Show that the formula is the function, or raise `NotAlgebra` or `AssertionError`."""
    result, letters = evaluate(known)
    results = result if isinstance(result, tuple) else (result,)
    claims = list(formulas(known.latex))
    if not all(claims) or len(claims) != len(results):
        raise NotAlgebra(f"{len(claims)} formulas for {len(results)} results: {claims}")
    for value, sides in zip(results, claims, strict=True):
        for side in sides:
            assert is_zero(value - parse(side, letters)), f"{side.strip()} is not {value}"


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(known, id=known.name, marks=pytest.mark.proves(known.name))
        for known in equations()
        if known.function not in UNPROVED
    ],
)
def test_the_formula_is_the_code(known):
    prove(known)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(known, id=known.name, marks=pytest.mark.unproved(known.name, UNPROVED[known.function]))
        for known in equations()
        if known.function in UNPROVED
    ],
)
def test_what_is_not_proved_could_not_be(known):
    with pytest.raises(NotAlgebra):
        prove(known)


def numbers_for(known, convert):
    """Admissible numbers for the arguments of an equation, by way of `convert`, and the step at t = 40 of 100."""
    rng, given = np.random.default_rng(7), {}
    for name in wanted(known):
        value = rng.uniform(0.3, 0.8, 6)
        given[name] = 3 if name == "dims" else convert(value / 3 if name == "alpha_bar_t" else value)
    return given


@pytest.mark.parametrize(
    "known",
    [pytest.param(known, id=known.name) for known in equations() if known.function not in UNPROVED],
)
def test_one_body_reads_numbers_arrays_and_tensors(known):
    """Python floats, NumPy and torch give the same, in the dtype that came in."""
    import torch  # here, since the proofs do without it

    t, schedule = np.full(6, 40), forward.linear(100)
    index = 4
    single = numbers_for(known, lambda value: float(value[index]))
    single |= {name: schedule[40] for name in single if name in ("step", "step_prev", "step_next")}
    expected = known.function(**single)
    for convert, rtol in (
        (np.float64, 1e-13),
        (np.float32, 1e-5),
        (torch.tensor, 1e-13),
        (lambda value: torch.tensor(value, dtype=torch.float32, requires_grad=True), 1e-5),
    ):
        arrays = numbers_for(known, convert)
        like = convert(np.zeros(6))
        arrays |= {name: schedule.at(t, like=like) for name in arrays if name in ("step", "step_prev", "step_next")}
        result = known.function(**arrays)
        for value, truth in zip(*(r if isinstance(r, tuple) else (r,) for r in (result, expected)), strict=True):
            assert type(value) is type(like)
            assert (value.real if isinstance(truth, complex) else value).dtype == like.dtype
            value = np.broadcast_to(to_numpy(value), 6)[index]
            np.testing.assert_allclose(value, truth, rtol=rtol)


def test_numbers_and_sources():
    numbers = [known.number for known in equations()]
    assert len(numbers) == len(set(numbers))
    for known in equations():
        works = bibliography.cite(known.source)
        assert works or known.derived_from, f"{known.name} is derived here, but from nothing"


DOCS = Path(__file__).parent.parent / "docs"
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

    text, tables = (DOCS / "train.md").read_text("utf-8"), {}
    for command in (ablations, benchmark):
        folder = DOCS / "assets" / command.__name__.rpartition(".")[2]
        if (folder / command.RESULTS).is_file():
            tables |= command.tables(command.load(folder))
    named = re.findall(r"<!-- table: (\w+) -->", text)
    assert sorted(named) == sorted(tables) and renewed(text, tables) == text
