r"""The letters: what each argument of an equation is called, how formulas write it, what it means and what it may be.

`x_t`, `step`, `var`, `eta` mean the same in every equation, so they are declared once, in `LETTERS`. From this table come
what `@equation` admits (`door`), the arguments in every docstring, the prover's symbols, the examples of the property
tests and the tables of the page on notation. An equation with a letter that is not here does not import: the error
names the row that is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .arrays import TRUTH, Array, clipped, exp, expm1, is_symbolic, is_tensor, is_traced, log, log1p, to_numpy, where

LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Interval:
    """An interval of numbers, as closed bounds that a comparison can use: open ends are moved by one float.

    Attributes:
        low: the least number in it.
        high: the largest.
        words: what a number in it is, as in a docstring: "above 0", "in [0, 1]"; empty for any finite number.
    """

    low: float
    high: float
    words: str

    @classmethod
    def read(cls, text: str) -> Interval:
        """From ``real``, ``(0, 1]`` or the like; an infinite end is a number only where its bracket is square."""
        if text == "real":
            return cls(-LARGEST, LARGEST, "")
        low, high = (float(end) for end in text[1:-1].split(","))
        least = math.nextafter(low, math.inf) if text[0] == "(" else low
        most = math.nextafter(high, -math.inf) if text[-1] == ")" else high
        words = f"in {text}"
        if high == math.inf and low > -math.inf:
            words = f"above {low:g}" if text[0] == "(" else f"at least {low:g}"
        if low == -math.inf:
            words = "finite or minus infinity" if text[0] == "[" else "finite or infinity"
            words = words if high == math.inf else f"at most {high:g}" if text[-1] == "]" else f"below {high:g}"
        return cls(least, most, words)

    @property
    def must(self) -> str:
        """What a message asks for."""
        return (
            self.words.replace("in ", "lie in ", 1) if self.words.startswith("in ") else f"be {self.words or 'finite'}"
        )


@dataclass(frozen=True)
class Letter:
    """One letter of the book.

    Attributes:
        name: the argument in the code.
        latex: how formulas write it; several where it has several names there. A variance ends in ``^2``.
        meaning: in one line.
        kind: what it is: one of `KINDS`.
        domain: what it may be: an interval for numbers; the choices, the class or the call for other kinds.
        elsewhere: what other papers and libraries call it.
        section: where it stands in the table.
    """

    name: str
    latex: tuple[str, ...]
    meaning: str
    kind: str
    domain: Any
    elsewhere: str
    section: str


KINDS = {
    "number": "a number, an array or a tensor of floating point",
    "scalar": "a single number",
    "pixels": "a number or an array, of whole numbers or floating point",
    "step": "a `Step`",
    "noising": "a number in [0, 1], or a `Step`",
    "whole": "a whole number",
    "times": "whole numbers",
    "table": "a list or an array of numbers",
    "covariance": "a symmetric matrix; its domain is that of the eigenvalues",
    "distribution": "probabilities that sum to 1 over the last axis, or over all",
    "choice": "one of a few words",
    "function": "a function",
    "object": "an object of a class of the book",
    "any": "anything",
}
"""What a letter can be. All but `number`, `pixels` and `step` say nothing of the shape of the others."""

LETTERS: dict[str, Letter] = {}
"""Every letter, by the name of the argument."""


_section = ""


def section(title: str) -> None:
    """Begin a section of the table: the letters declared from here on belong to it."""
    global _section
    _section = title


def letter(
    name: str,
    latex: str | tuple[str, ...],
    meaning: str,
    kind: str = "number",
    domain: Any = "real",
    elsewhere: str = "",
) -> None:
    """Declare a letter. A second row of one name is an error: rename one of the two."""
    if name in LETTERS:
        raise ValueError(f"letter {name!r} has a row already: one letter, one meaning")
    if kind not in KINDS:
        raise ValueError(f"kind of letter {name!r} must be one of {', '.join(KINDS)}, got {kind!r}")
    LETTERS[name] = Letter(
        name, (latex,) if isinstance(latex, str) else latex, meaning, kind, domain, elsewhere, _section
    )


# The step: what an equation needs to know of the schedule. -----------------------------------------------------------


class _Fields(NamedTuple):
    beta: Array
    alpha: Array
    alpha_bar: Array
    alpha_bar_prev: Array
    noise_var: Array
    noise_var_prev: Array


SHARE = Interval.read("[0, 1]")
"""What every number of a step is in: a share of variance."""

SLACK = 1e-12
"""How far the numbers of a step may be from belonging together, in float64."""


class Step(_Fields):
    """The numbers that an equation needs at time t: all variances, or shares of variance.

    `noise_var` is 1 - alpha_bar, kept apart because subtracting would lose its digits where alpha_bar is near 1.
    `alpha_bar_prev` and `noise_var_prev` belong to t - 1; at t = 1 they are 1 and 0. A schedule gives its steps as
    ``schedule[t]`` and ``schedule.at(t, like=x)``; `from_alpha_bar`, `from_log_snr` and `from_sigma` make one without a
    schedule, `since` one that jumps over the times between two others.

    Raises:
        TypeError: when a field is not a real number or an array of them.
        ValueError: when a field is not a share of variance, or the six do not belong together.
    """

    __slots__ = ()

    def __new__(
        cls,
        beta: Array,
        alpha: Array,
        alpha_bar: Array,
        alpha_bar_prev: Array,
        noise_var: Array,
        noise_var_prev: Array,
    ) -> Step:
        """Make a step of six numbers that are not known to be right; `_make` trusts them."""
        made = super().__new__(cls, beta, alpha, alpha_bar, alpha_bar_prev, noise_var, noise_var_prev)
        made._check()
        return made

    def _check(self) -> None:
        if all(type(value) is float and 0 <= value <= 1 for value in self):  # the quick way, for loops
            beta, alpha, kept, kept_prev, added, added_prev = self
            off = alpha + beta - 1, kept + added - 1, kept_prev + added_prev - 1, kept - alpha * kept_prev
            if max(map(abs, off)) <= SLACK:
                return
        fields = zip(self._fields, self, strict=True)
        read = [found for name, value in fields if (found := _within(f"step.{name}", value, SHARE)) is not None]
        if len(read) < len(self):
            return
        if len({value.shape for value, _ in read}) > 1:
            raise ValueError(f"the fields of step must have one shape, got {[value.shape for value, _ in read]}")
        slack = max(SLACK, 8 * max(eps for _, eps in read))
        beta, alpha, kept, kept_prev, added, added_prev = (value for value, _ in read)
        for what, off in {
            "alpha_bar + noise_var must be 1": kept + added - 1,
            "alpha + beta must be 1": alpha + beta - 1,
            "alpha_bar_prev + noise_var_prev must be 1": kept_prev + added_prev - 1,
            "alpha_bar must be alpha alpha_bar_prev": kept - alpha * kept_prev,
        }.items():
            if not np.all(np.abs(off) <= slack):
                raise ValueError(f"{what} in a step, but it is off by {np.abs(off).max():.3g}")

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Array, noise_var: Array | None = None) -> Step:
        """The jump from x_0 to where this share of its variance is kept: a step of a schedule that has no other.

        Args:
            alpha_bar: in [0, 1].
            noise_var: 1 - alpha_bar, where more of its digits are known than subtracting leaves.
        """
        _within("alpha_bar", alpha_bar, SHARE)
        noise_var = 1 - alpha_bar if noise_var is None else noise_var
        one, zero = 1 + 0 * alpha_bar, 0 * alpha_bar
        return cls(noise_var, alpha_bar, alpha_bar, one, noise_var, zero)

    @classmethod
    def from_log_snr(cls, log_snr: Array) -> Step:
        """The jump from x_0 to a signal-to-noise ratio, given as its logarithm."""
        _within("log_snr", log_snr, Interval.read("real"))
        ratio = exp(-abs(log_snr))  # of the smaller share to the larger, so that it cannot overflow
        less, more = ratio / (1 + ratio), 1 / (1 + ratio)
        return cls.from_alpha_bar(where(log_snr < 0, less, more), where(log_snr < 0, more, less))

    @classmethod
    def from_sigma(cls, sigma: Array) -> Step:
        """The jump from x_0 to a noise level of Karras et al.: the std of the noise where x_0 is not shrunk."""
        _within("sigma", sigma, Interval.read("[0, 1e150]"))
        return cls.from_alpha_bar(1 / (1 + sigma**2), sigma**2 / (1 + sigma**2))

    @property
    def log_alpha_bar(self) -> Array:
        """log alpha_bar, from whichever of alpha_bar and noise_var has more digits."""
        return _log_of(self.alpha_bar, self.noise_var)

    @property
    def log_alpha(self) -> Array:
        """log alpha, from whichever of alpha and beta has more digits."""
        return _log_of(self.alpha, self.beta)

    @classmethod
    def from_log_alpha_bar(cls, log_alpha_bar: Array) -> Step:
        """The jump from x_0 to where this is log alpha_bar: minus the integral of beta, in continuous time."""
        _within("log_alpha_bar", log_alpha_bar, Interval.read("(-inf, 0]"))
        return cls.from_alpha_bar(exp(log_alpha_bar), -expm1(log_alpha_bar))

    @property
    def before(self) -> Step:
        """The time t - 1, as a jump from x_0; at t = 1 that is x_0 itself: alpha_bar 1, no noise."""
        kept, added = self.alpha_bar_prev, self.noise_var_prev
        return Step._make((added, kept, kept, 1 + 0 * kept, added, 0 * kept))

    @property
    def whole(self) -> Step:
        """All steps up to t as one: the jump from x_0."""
        kept, added = self.alpha_bar, self.noise_var
        return Step._make((added, kept, kept, 1 + 0 * kept, added, 0 * kept))

    @property
    def alone(self) -> Step:
        """This step by itself, as if t - 1 were the beginning."""
        return Step._make((self.beta, self.alpha, self.alpha, 1 + 0 * self.alpha, self.beta, 0 * self.alpha))

    def since(self, earlier: Step) -> Step:
        """The jump from an earlier time to this one, as one step: its beta is 1 - alpha_bar_t / alpha_bar_s.

        Where the other is the time before, it is this step itself, with all its digits. Else beta is the difference of
        whichever of noise_var and alpha_bar is smaller, over alpha_bar_s, so that no more digits cancel than must; what
        cancels in float32 is kept by ``schedule.at(t, like=x, since=s)``, which is such a jump already.
        """
        kept, added = earlier.alpha_bar, earlier.noise_var
        alpha, near = self.alpha_bar / kept, (self.noise_var - added) / kept
        far, adjacent = (kept - self.alpha_bar) / kept, kept == self.alpha_bar_prev
        if isinstance(kept, float) and isinstance(self.alpha_bar, float):
            if adjacent and added == self.noise_var_prev:
                return self
            return Step._make(
                (near if self.noise_var < 0.5 else far, alpha, self.alpha_bar, kept, self.noise_var, added)
            )
        if hasattr(adjacent, "shape"):  # near 1 and near 0 only one of the two numbers tells two times apart
            adjacent = adjacent & (added == self.noise_var_prev)
            beta = where(adjacent, self.beta, where(self.noise_var < 0.5, near, far))
            alpha = where(adjacent, self.alpha, alpha)
        else:  # symbols
            beta = 1 - alpha
        return Step._make((beta, alpha, self.alpha_bar, kept, self.noise_var, added))


def _within(name: str, value: Any, domain: Interval) -> tuple[Any, float] | None:
    """A number or an array as float64, and the precision in which it came; None of what should not be read.

    Raises:
        TypeError: when it is not a real number or an array of them, or is float16.
        ValueError: when it is out of the domain.
    """
    if is_symbolic(value):
        return None
    if type(value) is float and domain.low <= value <= domain.high:
        return np.float64(value), 0.0
    if is_tensor(value):
        if is_traced() or value.device.type != "cpu":  # reading it would stall the accelerator
            return None
        try:
            array, dtype = to_numpy(value), str(value.dtype).removeprefix("torch.")
        except (RuntimeError, NotImplementedError):  # under vmap, or of a fake tensor: there is nothing to read
            return None
    else:
        array = np.asarray(value)
        dtype = str(array.dtype)
    if isinstance(value, list | tuple) or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}")
    if dtype == "float16":
        raise TypeError(
            f"{name} must not be float16, in which 1 - alpha_bar near t = 1 is lost: take bfloat16 or float32"
        )
    array = array.astype(np.float64)
    if not np.all((array >= domain.low) & (array <= domain.high)):
        raise ValueError(f"{name} must {domain.must}, got {array}")
    return array, 2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps) if "float" in dtype else 0.0


def _log_of(share: Array, rest: Array) -> Array:
    """log(share) where share + rest = 1, from whichever of them has more digits."""
    small = rest < 0.5
    if isinstance(small, TRUTH):
        return log1p(-rest) if small else log(share)
    if not hasattr(small, "shape"):  # symbols
        return log(share)
    return where(small, log1p(-clipped(rest, 0.0, 0.5)), log(share))


class Gaussian(NamedTuple):
    """A normal distribution with independent coordinates: `mean`, and `var`, the variance of each coordinate."""

    mean: Array
    var: Array


# The letters. --------------------------------------------------------------------------------------------------------

section("Samples and their times")

letter("x", "x", "sample, any shape")
letter(
    "x_0",
    ("x_0", r"\mathbf x_0"),
    "clean sample, or a prediction of it",
    elsewhere="`pred_original_sample` (diffusers)",
)
letter("x_t", "x_t", "noisy sample at t", elsewhere="`sample` (diffusers), $z_t$ (VDM)")
letter("x_prev", "x_{t-1}", "sample at t - 1", elsewhere="`prev_sample` (diffusers)")
letter("x_prev_prev", "x_{t-2}", "sample at t - 2")
letter("x_next", "x_{t+1}", "sample at t + 1, from the same path")
letter("x_s", "x_s", "sample at s, before t")
letter("x_0_before", "x_0'", "the x_0 predicted one step before, at the time u after t")
letter("path", "x_{0:T}", "states stacked along the first axis")
letter(
    "step",
    r"\beta_t",
    "the schedule at t",
    "step",
    elsewhere="`timestep` (diffusers); $t$ in 1..T, 0-based in most code",
)
letter("step_prev", r"\beta_{t-1}", "the schedule at t - 1", "step")
letter("step_next", r"\beta_{t+1}", "the schedule at t + 1", "step")
letter("step_s", r"\bar\alpha_s", "the schedule at s, before t; `Step.before` is t - 1", "step")
letter("step_u", r"\bar\alpha_u", "the schedule at u, after t: where the sampler was before", "step")
letter("t", "t", "times in 1..T, one for each sample, shape (batch,)", "times")
letter("T", "T", "number of steps, at least 1", "whole", "[1, inf)", elsewhere="`num_train_timesteps` (diffusers)")
letter("taus", r"\tau_i", "the times to keep, rising, within 1..T", "times")
letter("times", r"\tau_i", "points in time, all rising or all falling, shape (n + 1,)", "table")
letter("time", r"\tau", "the time passed", domain="[0, inf)")
letter("schedule", r"\beta_{1:T}", "T steps", "object", "Schedule", elsewhere="`noise_scheduler` (diffusers)")

section("The schedule")

letter("beta", r"\beta_t", "beta_1..beta_T", "table", "[0, 1]", elsewhere="`betas` (diffusers)")
letter("beta_1", r"\beta_1", "the first variance", kind="scalar", domain="(0, 1]", elsewhere="`beta_start` (diffusers)")
letter("beta_T", r"\beta_T", "the last variance", kind="scalar", domain="(0, 1]", elsewhere="`beta_end` (diffusers)")
letter("beta_max", r"\beta_{\max}", "the largest variance", kind="scalar", domain="(0, 1]")
letter("s", "s", "the offset that keeps beta_1 from being too small", kind="scalar", domain="[0, inf)")
letter(
    "alpha_bar",
    r"\bar\alpha_t",
    "alpha_bar at t, in [0, 1], or the `Step` at t, which keeps the digits of 1 - alpha_bar",
    "noising",
    "[0, 1]",
    elsewhere="`alphas_cumprod` (diffusers), $\\alpha_t$ (DDIM)",
)
letter("su_alpha_bar", r"\bar\alpha_t^{\mathrm S}", "Su's alpha_bar, the root of ours", domain="[0, 1]")
letter("ddim_alpha", r"\alpha_t^{\mathrm{DDIM}}", "DDIM's alpha, which is our alpha_bar", domain="[0, 1]")
letter("vdm_alpha", r"\alpha_t^{\mathrm{VDM}}", "VDM's alpha", domain="[0, inf)")
letter("vdm_sigma", r"\sigma_t^{\mathrm{VDM}}", "VDM's sigma", domain="[0, inf)")
letter("edm_sigma", r"\sigma_t^{\mathrm{EDM}}", "the noise level of Karras et al.", domain="[0, inf)")
letter("integrated_beta", "B", "the integral of beta over the time passed", domain="[0, inf)")
letter(
    "rate", r"\beta(\tau)", "how fast B grows now: 1 if time is B", domain="[0, inf)", elsewhere="`beta(t)` (score-SDE)"
)

section("Noise and what a network predicts")

letter("noise", r"\epsilon", "standard normal noise in the sample, or a prediction of it", elsewhere="`model_output`")
letter("noise_prev", r"\epsilon_{t-1}", "the noise of the jump to t - 1, standard normal")
letter("noise_t", r"\epsilon_t", "the noise of the step to t, standard normal")
letter("unseen", r"\omega", "noise of which x_t holds nothing, so that no network can predict it")
letter("noise_hat", r"\epsilon_\theta(x_t, t)", "the predicted noise")
letter("noise_cond", r"\epsilon(x_t, c)", "the noise predicted for a class or a text c", elsewhere="`noise_pred_text`")
letter("noise_uncond", r"\epsilon(x_t)", "the noise predicted without a condition", elsewhere="`noise_pred_uncond`")
letter("z", "z", "fresh standard normal noise", elsewhere="`variance_noise` (diffusers)")
letter("velocity", "v", "the velocity of the sample, or a prediction of it", elsewhere="`v_prediction` (diffusers)")
letter(
    "score",
    (r"\nabla_{x_t} \log q(x_t)", r"\nabla_x \log p(x)", r"\nabla_x \log p_\tau(x)"),
    "the score at the sample, or a prediction of it",
)
letter("score_hat", r"s_\theta(x)", "the model's answer for the score at the samples")
letter("model_mean", r"\mu_\theta", "the mean of the model's step back")
letter("model_var", r"\sigma_t^2", "the variance of the model's step back", domain="(0, inf)")
letter("predicts", "y", "what the model predicts", "choice", "forward.PREDICTIONS", elsewhere="`prediction_type`")
letter("model", "f_\\theta", "the network", "function", "(x_t, t) -> x_t", elsewhere="`unet`")
letter("reverse_model", "p_\\theta", "the reverse model", "function", "(x_t, step) -> Gaussian")
letter("w", "w", "strength of guidance: 0 for none", elsewhere="`guidance_scale` - 1 (diffusers)")
letter("gamma", r"\gamma", "strength of guidance: 0 for none, 1 for Bayes' rule")
letter(
    "snr_cap",
    r"\gamma",
    "the largest weight of an error in x_0",
    domain="(0, inf)",
    elsewhere="`snr_gamma` (diffusers)",
)
letter("classifier_grad", r"\nabla_x \log p(y \mid x)", "the gradient of the classifier's log-probability of y")

section("Means and variances")

letter("mean", r"\mu", "a mean")
letter(
    "var", (r"\sigma_t^2", r"\sigma_{t-1}^2", r"\sigma^2"), "a variance, not a standard deviation", domain="(0, inf)"
)
letter("mean_q", r"\mu_q", "mean of q, over which the mean is taken")
letter("var_q", r"\sigma_q^2", "variance of q", domain="(0, inf)")
letter("mean_p", r"\mu_p", "mean of p")
letter("var_p", r"\sigma_p^2", "variance of p", domain="(0, inf)")
letter("var_a", r"\sigma_A^2", "variance of A", domain="[0, inf)")
letter("var_b", r"\sigma_B^2", "variance of B", domain="[0, inf)")
letter("a", "a", "weight of A")
letter("b", "b", "weight of B")
letter("data_var", r"\sigma_0^2", "variance of the data", domain="[0, inf)")
letter("var_min", r"\sigma_{\min}^2", "variance of the noise at time 0", domain="[0, inf)")
letter("growth", r"\lambda", "how fast the variance grows, on a log scale", domain="[0, inf)")
letter(
    "mean_square_score", r"\Gamma_t", "the mean of the squared score over samples and coordinates", domain="[0, inf)"
)
letter(
    "mean_square_error",
    r"\frac{1}{d} \mathbb E (\tilde\mu_t - \mu_\theta)^2",
    "squared error of the model's mean, averaged over samples and coordinates",
    domain="[0, inf)",
)
letter("v", "v", "which variance: 0 for the smaller, 1 for the larger", elsewhere="`model_var_values` (diffusers)")
letter("eta", r"\eta", "how much of the noise is fresh", domain="[0, 1]", elsewhere="`eta` (diffusers)")
letter(
    "clip", "c", "the predicted x_0 is clipped to [-clip, clip]; None for no clipping", kind="scalar", domain="(0, inf)"
)
letter("cov", r"\Sigma", "a covariance matrix", "covariance", "(0, inf)")
letter("cov_q", r"\Sigma_q", "covariance of q", "covariance", "(0, inf)")
letter("cov_p", r"\Sigma_p", "covariance of p", "covariance", "(0, inf)")
letter("normal", r"\mathcal N(m, S)", "a normal distribution of vectors", "object", "Normal")

section("Probabilities and bounds")

letter("p", "p", "probabilities of what happens, over the last axis", "distribution")
letter("q", "q", "probabilities believed in, over the last axis", "distribution")
letter("prior", "p(x)", "p(x), shape (n,)", "distribution")
letter("likelihood", r"p(y \mid x)", "p(y given x), shape (n, m), a row for each x", "distribution")
letter("joint", "p(x, y)", "p(x, y), shape (n, m), sums to 1", "distribution", "all axes")
letter("axis", "x", "the variable to sum over: 0 for x, 1 for y", "whole", "[0, 1]")
letter("f", "f", "a function of one number, for arrays", "function", "(x) -> x")
letter("df", "f'", "its derivative", "function", "(x) -> x")
letter("values", "x_i", "what X can be, shape (n,)", "table")
letter("weights", "w_i", "weights that sum to 1, shape (..., n); what has weight 0 does not count", "distribution")
letter("dims", "d", "number of coordinates", "whole", "[1, inf)")
letter("levels", "K", "how many values a pixel can have", "whole", "[2, inf)")
letter("bins", "K", "how many values a pixel can have", "whole", "[2, inf)")
letter("logits", r"\ell_k", "unnormalised log-probability of each of the K values of a pixel, over the last axis")
letter("x0_var", r"\mathrm{Var}[x_0 \mid x_t]", "variance of x_0 for one who sees x_t", domain="[0, inf)")
letter("pixels", "p", "pixel values, whole numbers from 0", "pixels", "[0, 255]")
letter("uniform", "u", "uniform random numbers in [0, 1)", domain="[0, 1)")
letter("u", "u", "the frequency")
letter("log_joint", r"\log p(x, z)", "log p(x, z)", domain="[-inf, inf)")
letter("log_posterior", r"\log p(z \mid x)", "log p(z given x)", domain="[-inf, inf)")
letter("log_likelihood", r"\mathbb E_q[\log p(x \mid z)]", "the mean of log p(x given z) over q", domain="[-inf, inf)")
letter("log_q", r"\log q", "log-density of q", domain="[-inf, inf)")
letter("log_p", r"\log p", "log-density of p", domain="[-inf, inf)")
letter("nats", "L", "minus the log-likelihood of one example, or a bound on it", domain="(-inf, inf]")
letter("simple", r"L_{simple}", "`simple_loss`", domain="[0, inf)")
letter("bound", r"L_{vlb}", "a term of the bound")
letter("weight", r"\lambda", "weight of the bound", kind="scalar", domain="[0, inf)")
letter("losses", "L_t", "the last few losses of every t, shape (T, history)", "table")
letter(
    "square_errors", r"\mathbb E\,\lVert x_0 - \hat x_0\rVert^2", "mean squared error of x_0 by t", "table", "[0, inf)"
)
letter(
    "square_error",
    r"\mathbb E\,\lVert x_0 - \hat x_0\rVert^2",
    "the mean squared error of x_0, as a function of the signal-to-noise ratio",
    "function",
    "(snr) -> number",
)
letter("snr_min", r"\mathrm{SNR}_{\min}", "signal-to-noise ratio at the noisy end", kind="scalar", domain="(0, inf)")
letter("snr_max", r"\mathrm{SNR}_{\max}", "signal-to-noise ratio at the clean end", kind="scalar", domain="(0, inf)")
letter("chain", r"q, p", "a chain of linear Gaussian steps", "object", "Chain")
letter(
    "alpha_bar_max",
    r"\bar\alpha_T",
    "the largest alpha_bar_T at which the end still counts as pure noise",
    domain="[0, 1]",
)
letter("mixture", r"q(x_0)", "the data, a mixture in one dimension", "object", "Mixture")
letter("variance", r"\sigma_t^2", "which variance a step of the model has", "choice", ("beta", "posterior", "learned"))
letter("rng", r"\epsilon", "a random generator", "any")

section("Langevin dynamics and the continuous limit")

letter("log_prob", r"\log p", "the log-density, for torch tensors", "function", "(x) -> x[:-1]")
letter("field", "f", "a field, for torch tensors; each arrow depends on its own sample alone", "function", "(x) -> x")
letter("score_field", r"\nabla \log p", "the score at any point", "function", "(x) -> x")
letter("drift_field", "f", "the drift at any point and time", "function", "(x, time) -> x")
letter("diffusion_field", "g", "how strong the noise is at any time", "function", "(time) -> number")

letter("predictor", r"\mathrm{predictor}", "takes samples to the time before", "function", "(x) -> x")
letter("log_prior", r"\log p_T", "the log-density of the noise at the end", "function", "(x) -> x[:-1]")
letter("step_size", r"\delta", "variance of the noise that a Langevin step adds", domain="[0, inf)")
letter("steps", "n", "how many steps", "whole", "[0, inf)")
letter("variances", r"\sigma_i^2", "variances of the noise, falling", "table", "(0, inf)")
letter("prior_score", r"\nabla_\theta \log p(\theta)", "the gradient of log p(theta)")
letter("likelihood_scores", r"\nabla_\theta \log p(x_i \mid \theta)", "a gradient for each observation, shape (n, ...)")
letter("total", "N", "how many observations there are", "whole", "[1, inf)")
letter("divergence", r"\nabla \cdot s_\theta(x)", "divergence of the answer at the samples, shape (...)")
letter("probe", "v", "random signs, or standard normal noise, in the shape of x")
letter("drift", "f", "the drift at x")
letter("diffusion", "g", "how strong the noise is; its square is the variance added in a unit of time")
letter("drift_divergence", r"\nabla \cdot f", "divergence of the drift, shape (...)")
letter("score_divergence", r"\nabla \cdot s", "divergence of the score, shape (...)")
letter("dt", r"\Delta\tau", "the time that passes, below 0 for a step back")
letter("dw", r"\Delta w", "how far Brownian motion goes meanwhile: of variance abs(dt)")
letter("wiener", "w", "Brownian motion at the same times, shape (n + 1, ..., d)")
letter("tolerance", r"\varepsilon", "of the integration, relative and absolute", kind="scalar", domain="(0, 1)")

section("The trainer")

letter("average", r"\bar\theta", "the average so far")
letter("value", r"\theta", "the new weights")
letter("decay", r"\lambda", "how much of the average is kept", domain="[0, 1]")
letter("batch", "B", "how many samples", "whole", "[1, inf)")
letter("shape", "n", "shape of the samples, (batch, ...)", "any")
letter("sampler", "x_s", "which step back", "choice", "train.SAMPLERS")
letter("clip_noise", "", "whether the noise is that of the clipped x_0", "any")
letter("corrections", "n", "how many steps of Langevin dynamics follow each step", "whole", "[0, inf)")
letter(
    "corrector_size",
    r"\delta / (1-\bar\alpha_s)",
    "step size of these, in units of the variance of the noise",
    kind="scalar",
    domain="(0, inf)",
)
letter("dtype", "", "dtype of the samples; torch's default if None", "any")
letter("start", "x_T", "the first state, if it is not to be drawn")
letter("options", "", "what else is passed on", "any")
letter("noise_a", "a", "one noise")
letter("noise_b", "b", "another noise, in the same shape")
letter("share", "s", "how much of the way, from 0 to 1", domain="[0, 1]")
letter("real", "p", "real samples, shape (n, ...)")
letter("fake", "q", "samples of a model, shape (m, ...)")
letter("directions", r"\theta", "directions to project on, or how many", "any")
letter("samples", "x_i", "samples of a model, shape (n, ...)")
letter("train", "y_j", "the data it was trained on, shape (m, ...)")
letter("held_out", "y_j'", "other data, shape (k, ...)")


# The same process in other papers. -----------------------------------------------------------------------------------

FIELDS = {
    "beta": (r"\beta_t", "variance that step t adds", "$(0, 1]$"),
    "alpha": (r"\alpha_t", "share of variance that step t keeps, $1-\\beta_t$", "$[0, 1)$"),
    "alpha_bar": (r"\bar\alpha_t", "share kept since the start", "$[0, 1)$; $\\bar\\alpha_0=1$"),
    "alpha_bar_prev": (r"\bar\alpha_{t-1}", "the same, one step earlier", "1 at $t=1$"),
    "noise_var": (r"1-\bar\alpha_t", "variance of the noise in $x_t$, with all its digits", "$(0, 1]$"),
    "noise_var_prev": (r"1-\bar\alpha_{t-1}", "the same, one step earlier", "0 at $t=1$"),
}
"""What each field of a `Step` is: its letter, its meaning, its range."""


class Paper(NamedTuple):
    r"""How a paper writes $x_t = a\,x_0 + b\,\epsilon$: in words, for a and b, and the equations that translate."""

    name: str
    says: str
    signal: str
    noise: str
    ours: tuple[str, ...]


PAPERS = (
    Paper(
        "Ho et al. 2020; Nichol & Dhariwal 2021; Luo 2022; Weng 2021",
        "the same as here",
        r"\sqrt{\bar\alpha_t}",
        r"\sqrt{1-\bar\alpha_t}",
        ("forward.marginal",),
    ),
    Paper(
        "DDIM (Song, Meng & Ermon 2021)",
        r"$\alpha_t$ is our $\bar\alpha_t$",
        r"\sqrt{\alpha_t}",
        r"\sqrt{1-\alpha_t}",
        ("forward.ddim_coefficients", "forward.alpha_bar_from_ddim"),
    ),
    Paper(
        "Score-SDE (Song et al. 2021), discrete part",
        r"$\alpha_i$ is our $\bar\alpha_i$",
        r"\sqrt{\alpha_i}",
        r"\sqrt{1-\alpha_i}",
        ("forward.ddim_coefficients", "forward.alpha_bar_from_ddim"),
    ),
    Paper(
        "Score-SDE, continuous part",
        r"$\int\beta = -\log\bar\alpha_t$",
        r"e^{-\frac12\int\beta}",
        r"\sqrt{1-e^{-\int\beta}}",
        ("forward.sde_coefficients", "forward.alpha_bar_from_sde"),
    ),
    Paper(
        "VDM (Kingma et al. 2021); classifier-free guidance; progressive distillation; DPM-Solver",
        r"$z_t=\alpha_t x+\sigma_t\epsilon$",
        r"\alpha_t",
        r"\sigma_t",
        ("forward.vdm_coefficients", "forward.alpha_bar_from_vdm"),
    ),
    Paper(
        "EDM (Karras et al. 2022)",
        r"$x_t=s_t\,(x_0+\sigma_t\epsilon)$",
        "s_t",
        r"s_t\,\sigma_t",
        ("forward.edm_coefficients", "forward.alpha_bar_from_edm"),
    ),
    Paper(
        "Su 2022",
        r"$\alpha_t^2+\beta_t^2=1$, all are roots of ours",
        r"\bar\alpha_t",
        r"\bar\beta_t",
        ("forward.su_coefficients", "forward.alpha_bar_from_su"),
    ),
    Paper(
        "Analytic-DPM (Bao et al. 2022)",
        r"$\bar\beta_n$ is our $1-\bar\alpha_n$",
        r"\sqrt{\bar\alpha_n}",
        r"\sqrt{\bar\beta_n}",
        ("forward.marginal",),
    ),
)
"""Every paper whose letters the book translates."""
