r"""Errata: what is wrong in the notes that this book grew from, in Su's posts and in papers, and what is true.

An erratum is a function. Its name is permanent, its docstring says what was printed and what is true, and its body
decides, in one of two ways. A `Formula` puts the printed formula in the place of an equation of the book: the judge,
`against.compare`, must refuse it and must pass the true one. A `Number` is for words: what the statement implies, and
what is computed. `docs/errata.md` is made of these functions:

    python -m tinyddpm.exercises.errata docs/errata.md

An argument that is a whole number is the size of a grid: with twice as many points the same digits are printed.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.special import ndtr, ndtri

from .. import elbo, equations, forward, langevin, mixture, posterior, tables, vae_vs_vdm
from ..against import Function, Verdict, compare
from ..arrays import Array, log, log1p, sqrt, sum_dims
from ..elbo import gaussian_kl, gaussian_log_prob
from ..equation import CHAPTERS
from ..forward import Gaussian, Schedule, Step
from ..mixture import Mixture
from ..vae_vs_vdm import Chain, LinearVAE, Normal, expected_log_prob


class Formula(NamedTuple):
    """A printed formula and the true one, each as a function in the place of an equation of the book."""

    equation: str
    printed: Function
    true: Function

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """What the judge says of both: it must refuse the first and pass the second."""
        return compare(self.equation, self.printed), compare(self.equation, self.true)

    def row(self) -> tuple[str, str, str]:
        """The smallest counter-example as a row of a table.

        Raises:
            ValueError: when there is none, or when the true formula fails as well.
        """
        wrong, right = self.verdicts()
        if wrong.difference is None or right.outcome != "passes":
            raise ValueError(f"the printed formula must fail and the true one pass, got:\n{wrong}\n{right}")
        shown = wrong.difference
        at = "; ".join(filter(None, [shown.given.where, ", ".join(_arguments(shown.given))]))
        where = f" at {at}" if at else ""
        return (
            f"`{self.equation}`, [[eq:{self.equation}]]{where}",
            shown.wrong or _short(shown.got, shown.part),
            _short(shown.expected, shown.part),
        )


class Number(NamedTuple):
    """A number that decides: in words, as the statement implies it, and as it is."""

    what: str
    printed: float | str
    true: float
    digits: str = ".3g"

    def row(self) -> tuple[str, str, str]:
        """The number as a row of a table."""
        printed = self.printed if isinstance(self.printed, str) else in_digits(self.printed, self.digits)
        return self.what, printed or "-", in_digits(self.true, self.digits)


Decision: TypeAlias = Iterator[Formula | Number]


@dataclass(frozen=True)
class Erratum:
    """One erratum: where it stood, and the function that says and decides it."""

    source: str
    where: str
    decide: Callable[..., Decision]

    @property
    def name(self) -> str:
        """Its permanent name, also its anchor on the page."""
        return self.decide.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.decide) or "").partition("\n")[0].removesuffix(".")

    @property
    def text(self) -> str:
        """The docstring without its first line: what was printed and what is true, as Markdown."""
        return (inspect.getdoc(self.decide) or "").partition("\n")[2].strip()

    @property
    def sizes(self) -> dict[str, int]:
        """The grids that the decision is computed on."""
        return {name: each.default for name, each in inspect.signature(self.decide).parameters.items()}

    def rows(self, **sizes: int) -> tuple[tuple[str, str, str], ...]:
        """The decision as rows of a table; with other grids, if given."""
        return _rows(self, tuple(sizes.items()))

    def markdown(self) -> str:
        """The section of the page."""
        head = ("decided by", "printed", "true")
        lines = [f"| {' | '.join(row)} |" for row in (head, ("---", "---:", "---:"), *self.rows())]
        return "\n".join([f"### {self.title} {{#{self.name}}}", "", f"*{self.where}.*", "", self.text, "", *lines, ""])


@cache
def _rows(each: Erratum, sizes: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple(decided.row() for decided in each.decide(**dict(sizes)))


ERRATA: list[Erratum] = []
"""Every erratum, in the order of the page."""


def erratum(source: str, where: str) -> Callable[[Callable[..., Decision]], Callable[..., Decision]]:
    """Note down the function below as an erratum."""

    def register(decide: Callable[..., Decision]) -> Callable[..., Decision]:
        ERRATA.append(Erratum(source, where, decide))
        return decide

    return register


def in_digits(value: float, digits: str) -> str:
    """A number as it is printed on the page, with a power of ten where it has an exponent."""
    text = f"{value:{digits}}"
    mantissa, exponent, power = text.partition("e")
    return rf"${mantissa}\cdot10^{{{int(power)}}}$" if exponent else text.replace("inf", r"$\infty$")


def _short(value: str, part: int | None) -> str:
    """A result of the judge with fewer digits; of a Gaussian, say whether its mean or its variance differs."""
    number, of = value.partition(", value ")[0], "" if part is None else ("mean ", "variance ")[part - 1]
    try:
        return of + in_digits(float(number), ".4g")
    except ValueError:
        return f"`{value}`"


def _arguments(given: dict[str, Any]) -> Iterator[str]:
    """The arguments of an example that are numbers or short lists of them."""
    for name, value in given.items():
        if isinstance(value, float | int):
            yield f"`{name} = {value:g}`"
        elif isinstance(value, np.ndarray) and value.size <= 4:
            yield f"`{name} = {np.array2string(value, precision=4, separator=', ')}`"


# What several of them use. -------------------------------------------------------------------------------------------

LINEAR = forward.linear()
CLASSES = mixture.two_classes()


def exact_model(schedule: Schedule) -> Chain:
    """The diffusion model of data from N(0, 1) that is exact: its bound is the evidence."""
    return vae_vs_vdm.ideal_chain(schedule, np.zeros(1), np.eye(1))


def line(points: int, reach: float = 9.0) -> tuple[np.ndarray, float]:
    """Points on a line, shape (points, 1), and their distance."""
    x = np.linspace(-reach, reach, points)[:, None]
    return x, float(x[1, 0] - x[0, 0])


def density_of(classes: Mixture, step: Step, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on a line, and the share of x_t that lies at each."""
    x, width = line(points)
    return x, np.exp(classes.diffuse(step).log_prob(x)) * width


def differential_entropy(classes: Mixture, step: Step, points: int) -> float:
    """Entropy of x_t in nats."""
    x, share = density_of(classes, step, points)
    return float(-share @ classes.diffuse(step).log_prob(x))


# Notes 000. ----------------------------------------------------------------------------------------------------------


@erratum("000", "ELBO of DDPM")
def elbo_is_minus_the_sum() -> Decision:
    r"""The ELBO is minus the sum of the terms of the loss.

    **Printed.** The ELBO of DDPM is the sum of its terms, $\mathrm{ELBO} = L_0 + L_1 + \dots + L_T$.

    **True.** The sum is the loss $L$, an upper bound on $-\log p(x_0)$. The ELBO is minus the sum:

    $$
    -\mathrm{ELBO} = L = L_0 + L_1 + \dots + L_T
    $$

    [Chapter 3](elbo.md#the-second-way-bayes-rule-with-the-start) derives it.
    """
    yield Formula(
        "elbo.elbo",
        printed=lambda log_joint, log_q, weights: (weights * (log_q - log_joint)).sum(-1),
        true=lambda log_joint, log_q, weights: (weights * (log_joint - log_q)).sum(-1),
    )
    chain, x = exact_model(forward.cosine(10)), np.array([1.0])
    bound = float(vae_vs_vdm.denoising_elbo(chain, x))
    yield Number(
        r"ELBO of an exact model of $\mathcal N(0, 1)$ at $x_0 = 1$, where $\log p(x_0) = -1.419$", -bound, bound, ".4g"
    )


@erratum("000", "ELBO of DDPM")
def last_term_is_a_likelihood() -> Decision:
    r"""The last term of the loss is a likelihood, not a divergence.

    **Printed.** Every term of the sum is a divergence between two Gaussians.

    **True.** All are, except $L_0 = -\mathbb E_{q(x_1 \mid x_0)}[\log p_\theta(x_0 \mid x_1)]$. The divergence that
    would stand at $t = 1$ does not exist: $q(x_0 \mid x_1, x_0)$ is the single point $x_0$ and has no density. A
    divergence is never negative; $L_0$ can be.

    [Chapter 3](elbo.md#the-second-way-bayes-rule-with-the-start) separates the step $t = 1$ before it uses Bayes' rule.
    """
    chain = exact_model(Schedule(LINEAR.beta[:1]))
    term = -expected_log_prob(*chain.residuals(np.array([1.0]))[0], *chain.decoder[0].noise)
    yield Number(
        r"$L_0$ of an exact model of $\mathcal N(0, 1)$ at $x_0 = 1$, linear schedule", "at least 0", float(term), ".4g"
    )


@erratum("000", "DDPM and Brownian motion")
def forward_process_is_not_brownian_motion() -> Decision:
    r"""The forward process is not Brownian motion.

    **Printed.** The forward process is in essence a discretised Brownian motion: noise is added at each step. As a
    formula,

    $$
    q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ x_{t-1},\ \beta_t I\big)
    $$

    **True.** A step also shrinks what is there:

    $$
    q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big)
    $$

    That makes it a discretised Ornstein-Uhlenbeck process, [[eq:forward.ornstein_uhlenbeck]]: it forgets $x_0$, and its
    variance stays at 1. The variance of Brownian motion grows without bound, and its mean stays at $x_0$. Brownian
    motion belongs to another diffusion, the variance-exploding one.

    [Chapter 1](forward.md#why-shrink-the-picture) compares the two, [chapter 5](langevin.md#and-is-it-brownian-motion)
    measures them.
    """
    yield Formula(
        "forward.transition",
        printed=lambda x_prev, step: Gaussian(x_prev, step.beta),
        true=lambda x_prev, step: Gaussian(sqrt(step.alpha) * x_prev, step.beta),
    )
    kept, added = 1.0, 1.0
    for step in LINEAR:
        kept, added = forward.variance_after(kept, step), added + step.beta
    yield Number("variance of $x_T$, from 1 at the start", added, kept, ".4g")
    yield Number("correlation of $x_T$ and $x_0$", added**-0.5, LINEAR[1000].alpha_bar ** 0.5)


@erratum("000", "Where the structure of the picture is kept")
def x_t_at_the_end_is_not_pure_noise() -> Decision:
    r"""The last state still holds a little of the picture.

    **Printed.** $x_T$ is pure noise and holds nothing of $x_0$.

    **True.** With the usual schedules something is left. For one pixel it is negligible. For many pixels together it
    need not be: with the schedule of latent diffusion a network can read the mean of the picture in $x_T$. Only a
    schedule with zero terminal signal-to-noise ratio, [[eq:forward.zero_terminal_snr]], makes the statement true.

    [Chapter 1](forward.md#is-the-end-pure-noise) asks how much is left.
    """
    yield Number("$\\mathrm{SNR}(T)$, linear schedule", 0, forward.snr(LINEAR[1000]), ".4g")
    yield Number(
        "$\\mathrm{SNR}(T)$, schedule of latent diffusion", 0, forward.snr(forward.scaled_linear()[1000]), ".4g"
    )


@erratum("000", "Whether a noised picture comes back")
def not_from_any_time(points: int = 2001) -> Decision:
    r"""A picture does not come back from every time.

    **Printed.** Noise a new picture to any $t$ and denoise it: the result is very close to the picture.

    **True.** It is so for small $t$ only. What comes back is a draw from $q(x_0 \mid x_t)$, which gets wider as $t$
    grows. At large $t$ it is a picture, but not this one. The numbers are those of the exact model of the two classes
    (variance 1), so no better network can do better; two independent samples differ by 2.

    [Chapter 2](posterior.md#how-much-of-the-picture-comes-back) derives them.
    [Chapter 6](model.md#how-much-of-a-new-picture-comes-back) measures the same for trained networks and digits.
    """
    for t in (50, 300, 600, 1000):
        x, share = density_of(CLASSES, LINEAR[t], points)
        squared = 2 * float(share @ CLASSES.posterior(x, LINEAR[t]).var()[:, 0])
        yield Number(f"mean squared difference, from $t = {t}$", "near 0", squared)


@erratum("000", "Forward process")
def schedule_begins_lower() -> Decision:
    r"""The schedule of DDPM begins at 0.0001.

    **Printed.** $\beta_t$ grows from 0.002 to 0.02, as an example.

    **True.** In DDPM it grows from 0.0001 to 0.02, [[eq:forward.linear]]. With 0.002 the first step already adds
    visible noise, and the last step of sampling would have to remove it.
    """
    other = forward.linear(1000, 0.002, 0.02)
    grey = [127.5 * schedule[1].beta ** 0.5 for schedule in (other, LINEAR)]
    yield Number("standard deviation of the first noise, in grey levels of 255", *grey)
    yield Number("$\\bar\\alpha_T$", other[1000].alpha_bar, LINEAR[1000].alpha_bar)


@erratum("000", "Range of the pixels")
def a_model_corrects_only_some_errors() -> Decision:
    r"""A model corrects its own errors only while it can pull back.

    **Printed.** Do not clip $\hat x_0$ between the steps. If a step leaves $[-1, 1]$, later steps bring the sample
    back.

    **True.** Both happen. An exact denoiser with a constant error in its noise does bring the sample back. A denoiser
    that never predicts a noise above some $c$ cannot: from a start far out the sample runs away, and clipping
    $\hat x_0$ at every step prevents it. The example is one grey pixel, $x_0 = 0$, with Algorithm 2 from $x_T = 3$ and
    $z = 0$.

    [Chapter 2](posterior.md#sampling) shows both for a denoiser made wrong on purpose;
    [chapter 6](model.md#must-the-guess-be-clipped) measures trained networks.
    """

    def end(noise_of: Callable[[float, Step], float], clip: float | None = None) -> float:
        x = 3.0
        for step in list(LINEAR)[::-1]:
            x = float(posterior.ancestral_step(x, noise_of(x, step), 0.0, step, step.beta, clip))
        return x

    def off(x: float, step: Step) -> float:
        return x / step.noise_var**0.5 + 0.1

    def capped(x: float, step: Step) -> float:
        return min(x / step.noise_var**0.5, 1.0)

    yield Number("end of a sample, 0.1 too much in every noise, not clipped", "near 0", end(off))
    yield Number("end of a sample, noise never above 1, not clipped", "near 0", end(capped))
    yield Number("the same, clipped to $[-1, 1]$ at every step", "near 0", end(capped, 1.0))


@erratum("000", "Why VAE and DDPM have a variational bound")
def evidence_is_fixed_for_the_encoder_only() -> Decision:
    r"""The log-likelihood is fixed for the encoder only.

    **Printed.** (Also in 001, 1.4.) For given data $\log p(x)$ is a fixed number. So to maximise the ELBO is to
    minimise the divergence from $q$ to the posterior.

    **True.** $\log p_\theta(x)$ does not depend on the encoder, but it does depend on the decoder. Training changes
    both. In the example the encoder is the true posterior, so the divergence is 0 all the time, and the ELBO still
    grows.

    [Chapter 3](elbo.md#a-bound-from-below) separates the two cases.
    """
    x = np.array([1.0])  # the mean over data from N(0, 1), since the bound is a square in x

    def bound(weight: float) -> float:
        vae = LinearVAE([[weight]], [0.0], 0.1)
        return float(vae.elbo(x, *vae.posterior(x)))

    yield Number(
        "gain of the ELBO from $w = 0$ to the best $w$, divergence 0 throughout", 0, bound(0.9**0.5) - bound(0.0), ".4g"
    )


@erratum("000", "Variational lower bound")
def a_bound_may_rise_while_the_evidence_falls() -> Decision:
    r"""A larger ELBO is not always a larger likelihood.

    **Printed.** To maximise the ELBO is to do two things at once: to maximise $\log p(x)$ and to minimise the gap.

    **True.** It maximises the difference of the two, $\log p(x) - \mathrm{KL}$. If the encoder cannot be the posterior,
    the best ELBO can have a smaller $\log p(x)$. The example is a linear VAE, [[eq:vae_vs_vdm.LinearVAE.elbo]], for
    data from $\mathcal N(0, 1)$ with decoder variance 0.1, whose encoder must keep the variance 0.5. A is the decoder
    with the best likelihood, B the one with the best ELBO.
    """
    x, spread = np.array([1.0]), np.array([[0.5]])
    found = []
    for square in (0.9, (0.1 / 0.5) ** 0.5 - 0.1):
        vae = LinearVAE([[square**0.5]], [0.0], 0.1)
        found.append((float(vae.elbo(x, vae.posterior(x).mean, spread)), float(vae.log_prob(x))))
    (bound_a, evidence_a), (bound_b, evidence_b) = found
    yield Number("ELBO of B less that of A", "above 0", bound_b - bound_a)
    yield Number("$\\log p$ of B less that of A", "above 0", evidence_b - evidence_a)


@erratum("000", "Why VAE and DDPM have a variational bound")
def variational_is_not_random() -> Decision:
    r""" "Variational" does not mean random.

    **Printed.** A VAE is called variational because it draws its latent at random, and so is the bound of DDPM, because
    noise is added.

    **True.** What is varied is the distribution $q$: the bound is made as large as possible over $q$. No random number
    is needed for that. In the example of chapter 3 the latent is a face or a tree, and the bound is a sum of two terms.
    It reaches $\log p(x)$ when $q$ is the posterior. (DDPM does not even vary its $q$.)

    [Chapter 3](elbo.md#a-bound-from-below) explains the name.
    """
    log_joint = np.log([1 / 3 * 0.60, 2 / 3 * 0.15])
    for face, words in ((1 / 3, "the prior"), (2 / 3, "the posterior")):
        q = np.array([face, 1 - face])
        yield Number(
            f"bound with $q$ = {words}, without a draw; $\\log p(x) = {math.log(0.3):.4f}$",
            "",
            float(elbo.elbo(log_joint, np.log(q), q)),
            ".5g",
        )


@erratum("000", "Sum of two Gaussians")
def sum_needs_independence() -> Decision:
    r"""Two Gaussian variables need not have a Gaussian sum.

    **Printed.** (Also in 001, 3.10.) The sum of two Gaussian variables is Gaussian. The proof names the condition, the
    statement does not.

    **True.** It is true if they are independent (or jointly Gaussian). Let $X$ be standard normal and $Y = SX$ with a
    fair random sign $S$. Both are standard normal and even uncorrelated, but $X + Y$ is 0 half of the time. The noises
    of different steps are independent, so the proof in [chapter 1](forward.md#is-it-gaussian) holds.
    """
    factor = 1 + np.array([1.0, -1.0])  # X + Y = (1 + S) X
    yield Number("probability of $X + Y = 0$", 0, float((factor == 0).mean()))
    yield Number(
        "fourth moment of $X + Y$ over its squared variance", 3, float(3 * (factor**4).mean() / (factor**2).mean() ** 2)
    )


@erratum("000", "Reverse process")
def step_back_is_not_the_posterior(points: int = 4001) -> Decision:
    r"""The model's step back cannot equal a posterior that knows the picture.

    **Printed.** (Also in 002.) $p_\theta(x_{t-1} \mid x_t) \approx q(x_{t-1} \mid x_t, x_0)$, with variance
    $\tilde\beta_t$. The posterior is the truth that the model fits.

    **True.** The posterior knows $x_0$ and the model does not. The best $p_\theta(x_{t-1} \mid x_t)$ is
    $q(x_{t-1} \mid x_t)$, the average of the posteriors over all $x_0$ that could be behind $x_t$. The divergence from
    the posterior stays above 0 even then. Summed over $t$ it is the information about $x_0$ in $x_1$, less that in
    $x_T$.

    [Chapter 2](posterior.md#which-distribution-does-what) lists the four distributions and their roles.
    """
    first, last = (
        differential_entropy(CLASSES, LINEAR[t], points) - float(elbo.gaussian_entropy(LINEAR[t].noise_var, 1))
        for t in (1, 1000)
    )
    yield Number("sum of all $L_{t-1}$, $t > 1$, at the best $p$, two classes, in nats", 0, first - last, ".4g")


@erratum("000", "How DDPM uses the ELBO")
def simple_loss_is_not_the_bound() -> Decision:
    r"""The simple loss is not the bound.

    **Printed.** (Also in 003, Eq. 75.) Minimising the divergences is the same as minimising the mean squared error of
    the noise at every $t$, summed with equal weights.

    **True.** The bound has a weight for each $t$, [[eq:elbo.noise_weight]]. $L_{\mathrm{simple}}$ puts 1 in its place.
    With a network that is not perfect the two have different minima.

    [Chapter 3](elbo.md#what-one-trains-on) shows the weights.
    """
    weights = [elbo.noise_weight(LINEAR[t], LINEAR[t].beta) for t in (1, 1000)]
    yield Number("weight at $t = 1$ over weight at $t = 1000$, variance $\\beta_t$", 1, weights[0] / weights[1])


# Notes 001. ----------------------------------------------------------------------------------------------------------


@erratum("001", "Section 1.3")
def jensen_is_not_strict() -> Decision:
    r"""Jensen's inequality is not strict.

    **Printed.** For a convex function the mean of the function is greater than the function of the mean.

    **True.** It is at least as great, [[eq:elbo.jensen_gap]]. They are equal for a straight line, and for any function
    if $X$ does not vary. The ELBO needs the case of equality: the bound is tight when $q$ is the posterior.
    """
    gap = elbo.jensen_gap(lambda x: 3 * x + 1, np.array([0.5, 4.0]), np.array([0.5, 0.5]))
    yield Number("gap of $f(x) = 3x + 1$ for $X = 0.5$ or 4", "above 0", float(gap))


@erratum("001", "Section 1.5")
def a_density_is_not_bounded_by_one() -> Decision:
    r"""A density is not bounded by 1.

    **Printed.** At best the reconstruction has $p(x \mid z) = 1$, so that $\log p(x \mid z) = 0$.

    **True.** $p(x \mid z)$ is a density and has no upper bound. With a small variance its logarithm is far above 0.

    [Chapter 3](elbo.md#gaussians) explains why.
    """
    best = gaussian_log_prob(0.0, 0.0, 1e-4)
    yield Number("$\\log p(x \\mid z)$ at the mean, variance $10^{-4}$", "at most 0", float(best))


@erratum("001", "Sections 1.5 and 1.6")
def a_perfect_prior_match_is_a_collapse() -> Decision:
    r"""Prior matching of 0 is a collapsed code, not a perfect encoder.

    **Printed.** The encoder is perfect when the prior matching is 0, that is, when it gives mean 0 and variance 1 for
    every picture.

    **True.** Then the code says nothing about the picture. The two terms of the ELBO pull against each other, and at
    its maximum neither of them is at its best value. The example is a linear VAE for data from $\mathcal N(0, 1)$ with
    decoder variance 0.1.

    [Chapter 4](vae_vs_vdm.md#why-do-latents-die) is about latents that die.
    """
    x = np.array([1.0])
    good, blind = LinearVAE([[0.9**0.5]], [0.0], 0.1), LinearVAE([[0.0]], [0.0], 0.1)
    code = good.posterior(x)
    cost = float(vae_vs_vdm.normal_kl(*code, 0.0, np.eye(1)))
    yield Number(
        "best ELBO with prior matching 0, mean over the data",
        "the greatest",
        float(blind.elbo(x, np.zeros(1), np.eye(1))),
        ".4g",
    )
    yield Number(f"best ELBO, with prior matching {cost:.3f}", "less", float(good.elbo(x, *code)), ".4g")


@erratum("001", "Section 1.5")
def codes_can_be_fitted_afterwards() -> Decision:
    r"""An autoencoder can be sampled, if its codes are given a distribution.

    **Printed.** (Also in the table of 002.) An autoencoder has no ability to generate, because it does not map its data
    to a Gaussian.

    **True.** It does not *say* which codes to draw. Codes from $\mathcal N(0, 1)$ are wrong. But a distribution can be
    fitted to the codes after training. The example is the simplest autoencoder: code $z = 10x$, decoder $z/10$, data
    from $\mathcal N(0, 1)$.

    [Chapter 4](vae_vs_vdm.md#why-can-an-autoencoder-not-be-sampled) does this with trained networks.
    """
    for words, var in (("codes from $\\mathcal N(0, 1)$", 1.0), ("codes from the Gaussian fitted to the codes", 100.0)):
        yield Number(
            f"divergence from the data to the samples, {words}", "large", float(gaussian_kl(0.0, 1.0, 0.0, var / 100))
        )


@erratum("001", "Section 1.7")
def noise_times_standard_deviation() -> Decision:
    r"""The noise is multiplied by the standard deviation.

    **Printed.** A sample is the noise times the variance, plus the mean:

    $$
    z = \mu + \sigma^2\,\epsilon
    $$

    **True.** A factor comes out of a variance squared, so the factor must be $\sigma$:

    $$
    z = \mu + \sigma\,\epsilon
    $$

    [Chapter 1](forward.md#how-is-a-gaussian-sample-made) derives it.
    """
    yield Formula(
        "forward.reparameterize",
        printed=lambda mean, var, noise: mean + var * noise,
        true=lambda mean, var, noise: mean + var**0.5 * noise,
    )


@erratum("001", "Section 1.7")
def a_drawn_number_can_be_differentiated(points: int = 24) -> Decision:
    r"""Without the reparameterization there is still a gradient.

    **Printed.** (Also in 002, appendix.) A draw whose distribution has parameters cannot be differentiated by them;
    only the reparameterization makes it possible.

    **True.** The *mean* over the draws can be differentiated without it, by [[eq:vae_vs_vdm.score_function_gradient]].
    Both ways have the same mean. What the reparameterization buys is a smaller variance. The example is $f(z) = z^2$
    with $z$ from $\mathcal N(\mu, 1)$ at $\mu = 1$, where the derivative by $\mu$ is 2.

    [Chapter 4](vae_vs_vdm.md#how-does-one-differentiate-a-mean) compares the two.
    """
    noise, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    by_score = vae_vs_vdm.score_function_gradient(lambda z: z**2, 1.0, 1.0, noise)[0]
    by_path = vae_vs_vdm.reparameterized_gradient(lambda z: 2 * z, 1.0, 1.0, noise)[0]
    yield Number("derivative of $\\mathbb E f(z)$ without reparameterization", "none", float(weights @ by_score))
    for words, slope in (("without", by_score), ("with", by_path)):
        yield Number(f"variance of one draw of the gradient, {words}", "", float(weights @ (slope - 2) ** 2))


@erratum("001", "Section 1.8")
def new_samples_come_from_the_prior() -> Decision:
    r"""A new sample begins with a draw from the prior.

    **Printed.** To generate, draw $z$ from what the encoder gives.

    **True.** Draw $z$ from the prior $p(z)$. The encoder needs a picture, and a draw from $q(z \mid x)$ gives something
    like that picture again. The example is the linear VAE that fits $\mathcal N(0, 1)$ exactly; the encoder was shown
    $x = 1$.

    [Chapter 4](vae_vs_vdm.md#the-vae-three-distributions-and-one-bound) says what the prior matching is for.
    """
    vae = LinearVAE([[0.9**0.5]], [0.0], 0.1)
    again = vae.decoder.marginal(vae.posterior(np.array([1.0])))
    new = vae.decoder.marginal(Normal.standard(1))
    yield Number("mean of what is generated; the data has 0", float(again.mean[0]), float(new.mean[0]))
    yield Number("variance of what is generated; the data has 1", float(again.cov[0, 0]), float(new.cov[0, 0]))


@erratum("001", "Section 3.1")
def variance_of_a_step_is_not_times_t() -> Decision:
    r"""The variance of a step has no factor t.

    **Printed.** $q(x_t \mid x_{t-1})$ has the variance $(1-\alpha_t)\,t$.

    **True.** It has the variance $(1-\alpha_t)\,I$, [[eq:forward.transition]], with the identity matrix. With a factor
    $t$ the variance would not stay at 1.
    """
    printed = kept = 1.0
    for t, step in enumerate(LINEAR, start=1):
        printed, kept = step.alpha * printed + t * step.beta, step.alpha * kept + step.beta
    yield Number("variance of $x_T$, from 1 at the start, linear schedule", printed, kept)


@erratum("001", "Section 3.1")
def the_product_goes_to_zero() -> Decision:
    r"""It is the product of the alphas that goes to 0.

    **Printed.** For the end to be noise, $\alpha_t \to 0$.

    **True.** $\bar\alpha_T = \alpha_1 \cdots \alpha_T$ goes to 0. Each $\alpha_t$ stays near 1, so that each step is
    small.

    [Chapter 4](vae_vs_vdm.md#from-the-hierarchy-to-diffusion-three-restrictions) states the three restrictions.
    """
    yield Number("$\\alpha_T$, linear schedule", "near 0", LINEAR[1000].alpha)
    yield Number("$\\bar\\alpha_T$, linear schedule", "", LINEAR[1000].alpha_bar)


@erratum("001", "Sections 3.4 and 3.9")
def the_single_term_is_not_small() -> Decision:
    r"""The single reconstruction term is not small.

    **Printed.** The third term is a sum over $t$, so it dominates. The reconstruction is one term only, and not the
    point of the optimisation.

    **True.** Most of the sum is small. In DDPM's model for CIFAR-10 the one term $L_0$ is more than half of the bound:
    1.97 of 3.75 bits per dimension, and all other terms together are 1.78
    ([Ho et al. 2020](bibliography.md#hoetal2020), Sec. 4.3).

    [Chapter 3](elbo.md#a-pixel-from-first-to-last) adds up all terms for one pixel.
    """
    yield Number("share of $L_0$ in the bound of DDPM on CIFAR-10, in percent", "below 50", 100 * 1.97 / (1.97 + 1.78))


@erratum("001", "Sections 3.6 and 3.7")
def one_random_variable_is_not_always_less_noisy(nodes: int = 6) -> Decision:
    r"""A term with one random variable is not always less noisy than one with two.

    **Printed.** The consistency term has two random variables and the denoising matching term has one, so an estimate
    of the second has the smaller variance.

    **True.** That is so for the gradient, and for the value at most times. But the two values are not averages of each
    other, and at $t = 2$ it is the other way round. The numbers are for the two classes, the exact denoiser and the
    linear schedule.

    [Chapter 3](elbo.md#how-noisy-are-the-two) measures values and gradients, and says what a theorem says about them.
    """
    node, share = np.polynomial.hermite_e.hermegauss(nodes)
    kind, *noise = (axis.ravel() for axis in np.meshgrid([0, 1], *[node] * 4, indexing="ij"))
    weights = CLASSES.weights[kind]
    for each in np.meshgrid([1.0, 1.0], *[share / share.sum()] * 4, indexing="ij"):
        weights = weights * each.ravel()
    x_0 = CLASSES.means[kind, 0] + CLASSES.variances[kind] ** 0.5 * noise[0]

    def model(x_t: Array, step: Step) -> Gaussian:
        guess = CLASSES.noise(x_t[:, None], step)[:, 0]
        return Gaussian(posterior.mean_from_noise(x_t, guess, step), step.beta)

    for t in (2, 20):
        step, after = LINEAR[t], LINEAR[t + 1]
        x_prev = forward.diffuse(x_0, noise[1], LINEAR[t - 1])
        x_next = forward.diffuse_once(forward.diffuse_once(x_prev, noise[2], step), noise[3], after)
        two = elbo.consistency(x_prev, x_next, step, after, model)
        one = elbo.denoising_matching(x_next, x_0, *model(x_next, after), after)
        for words, value, rank in (("two variables", two, "the larger"), ("one variable", one, "the smaller")):
            spread = float(weights @ (value - weights @ value) ** 2) ** 0.5
            yield Number(f"standard deviation of one draw at $t = {t}$, {words}", rank, spread)


@erratum("001", "Section 3.9")
def a_logarithm_is_no_distribution() -> Decision:
    r"""The mean of the first term is taken under the forward step.

    **Printed.** The first term is a mean under $\log p_\theta(x_0 \mid x_1)$ of $\log p_\theta(x_0 \mid x_1)$ itself.

    **True.** It is $\mathbb E_{q(x_1 \mid x_0)}[\log p_\theta(x_0 \mid x_1)]$: $x_1$ is made from $x_0$ by the forward
    step. A logarithm is not a distribution. The example is the exact model of $\mathcal N(0, 1)$ at $x_0 = 1$.

    [Chapter 3](elbo.md#the-second-way-bayes-rule-with-the-start) has the term $L_0$.
    """
    step = LINEAR[1]
    flat = expected_log_prob(np.array([1.0]), np.array([[step.alpha * 100 / 3]]), 0.0, np.array([[step.beta]]))
    inside = float(np.diff(ndtr((np.array([-10, 10]) - step.alpha**0.5) / step.beta**0.5))[0])
    yield Number("integral over $x_1$ from $-10$ to 10 of what the mean is taken under", 20 * float(flat), inside)


@erratum("001", "Section 3.9")
def the_model_runs_from_noise_to_data() -> Decision:
    r"""The model runs from noise to data.

    **Printed.** $q$ is the noising process, and $p$ goes from $x_0$ to $x_T$.

    **True.** $p_\theta$ goes from $x_T$ to $x_0$: it draws $x_T$ from $\mathcal N(0, I)$ and then each $x_{t-1}$ given
    $x_t$. That is the product [[eq:elbo.joint_log_prob]].
    """

    def printed(path: Array, reverse_model: Any, schedule: Schedule) -> Array:
        total = gaussian_log_prob(path[0], 0.0, 1.0)
        for x_prev, x_t, step in zip(path[:-1], path[1:], schedule, strict=True):
            total = total + gaussian_log_prob(x_t, *reverse_model(x_prev, step))
        return total

    def true(path: Array, reverse_model: Any, schedule: Schedule) -> Array:
        total = gaussian_log_prob(path[schedule.T], 0.0, 1.0)
        for t in range(schedule.T, 0, -1):
            total = total + gaussian_log_prob(path[t - 1], *reverse_model(path[t], schedule[t]))
        return total

    yield Formula("elbo.joint_log_prob", printed, true)


@erratum("001", "Section 3.10")
def the_square_is_that_of_the_step_back() -> Decision:
    r"""The square that is completed is that of the step back.

    **Printed.** The Gaussian found by completing the square is $q(x_t \mid x_{t-1})$. That would have the variance

    $$
    \sigma^2 = \beta_t
    $$

    **True.** It is $q(x_{t-1} \mid x_t, x_0)$, the step back. The step forward needs no derivation; its variance is
    $\beta_t$ by choice. That of the step back is

    $$
    \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t
    $$

    [Chapter 2](posterior.md#completing-the-square) completes it.
    """
    yield Formula(
        "posterior.variance",
        printed=lambda step: step.beta,
        true=lambda step: step.beta * step.noise_var_prev / step.noise_var,
    )


@erratum("001", "Section 3.10")
def x_0_must_not_be_dropped() -> Decision:
    r"""Bayes' rule for the step back needs the picture, or all of the data.

    **Printed.** One looks for $q(x_{t-1} \mid x_t)$ and finds it with Bayes' rule, from $q(x_t \mid x_0)$ and
    $q(x_{t-1} \mid x_0)$.

    **True.** With these two, Bayes' rule gives $q(x_{t-1} \mid x_t, x_0)$. Without $x_0$ it would need $q(x_{t-1})$,
    which contains the unknown distribution of the data. The example is $x_t = 0$ at $t = 150$, with $x_0 = 0.7$ in the
    first column and the two classes in the second.

    [Chapter 2](posterior.md#why-the-step-back-needs-the-data) compares more data sets.
    """
    back = CLASSES.reverse(np.array([0.0]), LINEAR[150])
    given = posterior.posterior(0.0, 0.7, LINEAR[150])
    yield Number("mean of $x_{t-1}$", given.mean, float(back.mean()[0]))
    yield Number("variance of $x_{t-1}$", given.var, float(back.var()[0]), ".4g")


# Notes 002. ----------------------------------------------------------------------------------------------------------


@erratum("002", "Notations and the table of four distributions")
def the_prior_is_the_models() -> Decision:
    r"""The prior belongs to the model.

    **Printed.** The prior is $q(x_T) = \mathcal N(0, I)$.

    **True.** $p(x_T) = \mathcal N(0, I)$ is chosen and belongs to the model. $q(x_T)$ is what noising makes of the
    data. The two differ by the prior matching, [[eq:elbo.prior_matching]], and for large pictures that can be many
    nats.
    """
    for name, schedule, dims in (
        (
            "an array of $64 \\times 64 \\times 4$ ones, schedule of latent diffusion",
            forward.scaled_linear(),
            64 * 64 * 4,
        ),
        ("a white pixel, linear schedule", LINEAR, 1),
    ):
        apart = dims * float(elbo.prior_matching(1.0, schedule[1000]))
        yield Number(f"$D_{{\\mathrm{{KL}}}}(q(x_T \\mid x_0) \\,\\Vert\\, p(x_T))$ in nats, {name}", 0, apart)


@erratum("002", "Notations")
def the_data_are_not_their_distribution(points: int = 8001) -> Decision:
    r"""The training set is not the distribution of the data.

    **Printed.** $q(x)$ is the distribution of real data, also called the empirical distribution, such as that of the
    training set.

    **True.** The empirical distribution consists of the training samples alone, each with the same probability. A model
    that is perfect for it can only copy them. What one wants to learn is the distribution that they were drawn from.
    The example has the two classes and a training set of 20 values (evenly spaced quantiles), both noised to $t = 1$.

    [What is open](open.md#why-do-they-not-just-copy) asks why trained networks do not just copy.
    """
    values = np.sort(
        np.concatenate(
            [
                m + v**0.5 * ndtri((np.arange(n) + 0.5) / n)
                for m, v, n in zip(CLASSES.means[:, 0], CLASSES.variances, (7, 13), strict=True)
            ]
        )
    )
    training = Mixture(np.full(20, 1 / 20), values[:, None], np.zeros(20))
    x, width = line(points, 3.0)
    log_q, log_p = (each.diffuse(LINEAR[1]).log_prob(x) for each in (CLASSES, training))
    yield Number(
        "$D_{\\mathrm{KL}}(\\text{classes} \\,\\Vert\\, \\text{training set})$ in nats",
        0,
        float(np.exp(log_q) @ (log_q - log_p)) * width,
    )


@erratum("002", "Forward process, closed form")
def variances_stand_in_the_normal() -> Decision:
    r"""Variances add, standard deviations do not.

    **Printed.** Two noises are written as $\mathcal N\big(0, \sqrt{\alpha_t(1-\alpha_{t-1})}\big)$ and
    $\mathcal N\big(0, \sqrt{1-\alpha_t}\big)$, and their sum is put into

    $$
    q(x_t \mid x_{t-2}) = \mathcal N\big(x_t;\ \sqrt{\alpha_t \alpha_{t-1}}\,x_{t-2},\ \sqrt{1-\alpha_t \alpha_{t-1}} I\big)
    $$

    Elsewhere in the same notes the second number is a variance.

    **True.** The second number is a variance, so the roots must go. $\alpha_t(1-\alpha_{t-1})$ and $1-\alpha_t$ add up
    to $1-\alpha_t\alpha_{t-1}$; of the numbers as printed, the third is not the sum of the first two.

    $$
    q(x_t \mid x_{t-2}) = \mathcal N\big(x_t;\ \sqrt{\alpha_t \alpha_{t-1}}\,x_{t-2},\ (1-\alpha_t \alpha_{t-1}) I\big)
    $$

    [Chapter 1](forward.md#its-variance) adds the variances.
    """

    def mean(x_prev_prev: Array, step_prev: Step, step: Step) -> Array:
        return (step.alpha * step_prev.alpha) ** 0.5 * x_prev_prev

    def merged(step_prev: Step, step: Step) -> Array:
        return step.alpha * step_prev.beta + step.beta

    yield Formula(
        "forward.two_steps",
        printed=lambda x_prev_prev, step_prev, step: Gaussian(
            mean(x_prev_prev, step_prev, step), merged(step_prev, step) ** 0.5
        ),
        true=lambda x_prev_prev, step_prev, step: Gaussian(mean(x_prev_prev, step_prev, step), merged(step_prev, step)),
    )
    old, new = LINEAR[1000].alpha * LINEAR[999].beta, LINEAR[1000].beta
    yield Number("first two numbers added at $t = 1000$; printed: the third", (old + new) ** 0.5, old**0.5 + new**0.5)


@erratum("002", "Langevin dynamics")
def the_forward_step_is_langevin_dynamics() -> Decision:
    r"""The forward step is Langevin dynamics, to first order.

    **Printed.** The drift $\tfrac\delta2 \nabla \log p(x_{t-1})$ of Langevin dynamics can be compared with the term
    $\sqrt{1-\beta_t}\,x_{t-1}$ of the forward step.

    **True.** It is more than a comparison. Let the target be $\mathcal N(0, I)$. Its score is $-x$, so with
    $\delta = \beta$ the drift is $-\tfrac\beta2 x$, and $x + \text{drift} = (1 - \tfrac\beta2)\,x$ is
    $\sqrt{1-\beta}\,x$ to first order. The rest is [[eq:langevin.langevin_gap]], about $\tfrac18\beta^2 x$.

    [Chapter 5](langevin.md#is-the-forward-step-langevin-dynamics) derives it.
    """
    beta = 0.02
    drift = langevin.forward_as_langevin(1.0, beta, 0.0) - 1
    yield Number("drift at $x = 1$, $\\beta = 0.02$", (1 - beta) ** 0.5, drift)
    yield Number("its difference from that of the forward step", "", langevin.langevin_gap(1.0, beta))


@erratum("002", "Langevin dynamics")
def noise_keeps_the_spread() -> Decision:
    r"""The noise in Langevin dynamics is not there to escape local maxima.

    **Printed.** The random term keeps the sample from being caught in a local maximum.

    **True.** It may do that, but it is needed where there is one maximum only. Without it the steps are gradient
    ascent, and all samples end at the peak. The noise keeps them spread, in balance with the drift. The example is
    $\mathcal N(0, 1)$, which has one maximum, after 1000 steps of $\delta = 0.04$.

    [Chapter 5](langevin.md#how-does-a-speck-of-dust-draw-samples) derives the balance.
    """
    with_noise = without = 1.0
    for _ in range(1000):
        factor = langevin.langevin_step(1.0, langevin.gaussian_score(1.0, 0.0, 1.0), 0.04, 0.0)
        with_noise, without = factor**2 * with_noise + 0.04, factor**2 * without
    yield Number("variance of the samples without noise", "near 1", without)
    yield Number("variance of the samples with noise", "near 1", with_noise)


@erratum("002", "Reverse process")
def why_the_step_back_is_gaussian(points: int = 801, nodes: int = 201) -> Decision:
    r"""The step back is nearly Gaussian because the step is small, not because it is linear.

    **Printed.** With small $\beta_t$ the relation of $x_t$ and $x_{t-1}$ is nearly linear, and a linear map keeps a
    Gaussian Gaussian. So the step back is Gaussian.

    **True.** The forward step is exactly linear with Gaussian noise at *every* $\beta$, also where the step back has
    two peaks. The reason is another: over one small step $\log q(x_{t-1})$ is nearly a straight line in $x_{t-1}$. The
    divergence from the step back to the best Gaussian then falls like $\beta^3$. The numbers are for the two classes,
    from $\bar\alpha_{t-1} = 0.8$.

    [Chapter 2](posterior.md#is-the-step-back-a-gaussian-at-all) derives the rate.
    """
    x, width = line(points, 5.0)
    u = np.linspace(-10, 10, nodes)[:, None, None]
    for beta in (0.5, 0.02, 0.01):
        step = Schedule.from_alpha_bar([0.8, 0.8 * (1 - beta)])[2]
        share = np.exp(CLASSES.diffuse(step).log_prob(x)) * width
        back = CLASSES.reverse(x, step)
        var = back.var()[:, 0]
        log_q = back.log_prob(back.mean() + var[:, None] ** 0.5 * u)
        log_g = -(u[..., 0] ** 2 + np.log(2 * np.pi * var)) / 2
        apart = share @ (np.exp(log_q) * (log_q - log_g) * var**0.5).sum(0) * (u[1, 0, 0] - u[0, 0, 0])
        yield Number(f"divergence in nats, $\\beta = {beta}$, where the step is linear", 0, float(apart), ".2g")


@erratum("002", "Posterior, step two")
def the_bracket_is_the_precision() -> Decision:
    r"""The bracket is the precision, and one over it is the variance.

    **Printed.** The bracket in front of $x_{t-1}^2$ is compared with $\frac{1}{\sigma^2}$, and then

    $$
    \frac{1}{\sigma^2} = \frac{1}{\frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}} = \tilde\beta_t
    $$

    **True.** The bracket is $\frac{1}{\sigma^2}$, and $\sigma^2 = \tilde\beta_t$ is one over it:

    $$
    \frac{1}{\sigma^2} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}} = \frac{1}{\tilde\beta_t}
    $$

    [Chapter 2](posterior.md#the-variance) derives both.
    """
    yield Formula(
        "posterior.precision",
        printed=lambda step: 1 / (step.alpha / step.beta + 1 / step.noise_var_prev),
        true=lambda step: step.alpha / step.beta + 1 / step.noise_var_prev,
    )


@erratum("002", "Variational bound")
def the_bound_has_no_minus() -> Decision:
    r"""The upper bound has no minus.

    **Printed.** The right side of the bound has the minus of the left side:

    $$
    -\mathbb E \log p_\theta(x_0) \le -\mathbb E_q\Big[\log\frac{q(x_{1:T} \mid x_0)}{p_\theta(x_{0:T})}\Big]
    $$

    **True.** The right side has no minus:

    $$
    -\mathbb E \log p_\theta(x_0) \le \mathbb E_q\Big[\log\frac{q(x_{1:T} \mid x_0)}{p_\theta(x_{0:T})}\Big]
    $$

    With the minus it is the ELBO, which lies below $\log p$ and is no bound on $-\log p$ from above. The last line of the
    printed derivation has the right sign again.

    [Chapter 3](elbo.md#the-bound-for-a-whole-path) derives it in two ways.
    """
    yield Formula(
        "elbo.vlb",
        printed=lambda log_q, log_p, weights: -(weights * (log_q - log_p)).sum(-1),
        true=lambda log_q, log_p, weights: (weights * (log_q - log_p)).sum(-1),
    )


@erratum("002", "Variational bound by Jensen's inequality")
def minus_log_is_convex() -> Decision:
    r"""Minus the logarithm is convex.

    **Printed.** $-\log$ is an example of a concave function, so $-\log \mathbb E[X] \ge \mathbb E[-\log X]$.

    **True.** $\log$ is concave and $-\log$ is convex, so $\mathbb E[-\log X] \ge -\log \mathbb E[X]$. With the printed
    sign the bound would point the wrong way.

    [Chapter 3](elbo.md#why-a-divergence-is-never-negative) proves the inequality.
    """
    gap = elbo.jensen_gap(lambda x: -np.log(x), np.array([0.5, 4.0]), np.array([0.5, 0.5]))
    yield Number(
        "$\\mathbb E[-\\log X] + \\log \\mathbb E[X]$ for $X = 0.5$ or 4, evenly", "at most 0", float(gap), ".4f"
    )


@erratum("002", "Appendix, Gaussian distribution and reparameterization")
def one_convention_for_the_normal() -> Decision:
    r"""The second number of a normal distribution is a variance, and a density is not a sample.

    **Printed.** $\mathcal N(\mu, \sigma)$ has a density with $\sigma^2$ in it, while in the same notes
    $\mathcal N(\mu, \sigma^2)$ is written elsewhere. Who reads the second number of $\mathcal N(\mu, \sigma^2)$ by the
    first convention gets

    $$
    \log \mathcal N = -\frac{(x-\mu)^2}{2\sigma^4} - \frac{1}{2}\log(2\pi\sigma^4)
    $$

    A sample is written as
    $\mathcal N(z; \mu, \sigma^2) = \mu + \mathcal N(\epsilon'; 0, \sigma^2) = \mu + \sigma\,\mathcal N(\epsilon; 0, 1)$.

    **True.** One convention is needed. Here the second number is the variance:

    $$
    \log \mathcal N = -\frac{(x-\mu)^2}{2\sigma^2} - \frac{1}{2}\log(2\pi\sigma^2)
    $$

    And $\mathcal N(z; \mu, \sigma^2)$ is the value of a density at $z$. Samples are added, $z = \mu + \sigma\epsilon$;
    densities are not. As values of densities the printed equation is false.

    [Chapter 1](forward.md#how-is-a-gaussian-sample-made) keeps the two kinds of statement apart.
    """

    def log_prob(square: int) -> Function:
        return lambda x, mean, var: sum_dims(-((x - mean) ** 2) / var**square / 2 - log(2 * math.pi * var**square) / 2)

    yield Formula("elbo.gaussian_log_prob", printed=log_prob(2), true=log_prob(1))
    density, unit = (math.exp(gaussian_log_prob(0.0, 0.0, var)) for var in (0.01, 1.0))
    yield Number(
        "$\\mathcal N(0; 0, \\sigma^2)$ for $\\sigma = 0.1$; printed: $\\sigma\\,\\mathcal N(0; 0, 1)$",
        0.1 * unit,
        density,
    )


@erratum("002", "Appendix, prior, likelihood and posterior")
def roles_in_bayes_rule() -> Decision:
    r"""The likelihood of the step back is the forward step.

    **Printed.** In the diffusion model the prior is $q(x_t)$, a standard normal, the likelihood is
    $p_\theta(x_{t-1} \mid x_t)$, and the posterior is $q(x_{t-1} \mid x_t, x_0)$.

    With a standard normal as prior, the precision of the posterior would be

    $$
    \frac{1}{\sigma^2} = \frac{\alpha_t}{\beta_t} + 1
    $$

    **True.** Bayes' rule for that posterior has the likelihood $q(x_t \mid x_{t-1})$, the prior $q(x_{t-1} \mid x_0)$
    and the evidence $q(x_t \mid x_0)$. $p_\theta$ does not occur in it: it is the model that imitates the result. The
    precision is

    $$
    \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
    $$

    [Chapter 2](posterior.md#three-gaussians) has the three parts.
    """
    yield Formula(
        "posterior.precision",
        printed=lambda step: step.alpha / step.beta + 1,
        true=lambda step: step.alpha / step.beta + 1 / step.noise_var_prev,
    )


@erratum("002", "Appendix, information")
def a_code_word_has_whole_bits() -> Decision:
    r"""A code word has a whole number of bits.

    **Printed.** $-\log p(x)$ is the length of the best binary code word for $x$, and the entropy is the mean length of
    the best code.

    **True.** A code word has a whole number of bits, and $-\log_2 p$ need not be whole. The best code for single
    letters needs at least the entropy and less than one bit more. Codes for blocks of letters come as near as one
    likes. The example is a coin that shows heads with probability 0.9.

    [Chapter 3](elbo.md#how-long-is-a-message) has a code that reaches the entropy.
    """
    coin = np.array([0.9, 0.1])
    entropy = float(elbo.entropy(coin)) / math.log(2)
    yield Number("bits for a throw, one code word for each throw", entropy, huffman([0.9, 0.1]))
    for size in (2, 8):
        block = [float(np.prod(coin[[n >> i & 1 for i in range(size)]])) for n in range(2**size)]
        yield Number(f"bits for a throw, one code word for {size} throws", entropy, huffman(block) / size)


@erratum("002", "Appendix, divergence")
def a_sum_over_samples_has_no_weights() -> Decision:
    r"""A sum over samples has no weights.

    **Printed.** In the proof that a divergence is never negative, a mean under $p$ becomes a sum over samples
    $x \sim p$ of $p(x)\,\frac{q(x)}{p(x)}$, and the sum is 1. (The proof of the bound writes a mean in the same way.)

    **True.** The sum runs over the outcomes with $p(x) > 0$, each once. A mean over samples has no factor $p$; with
    both, $p$ is counted twice. For $p = (\tfrac12, \tfrac14, \tfrac18, \tfrac18)$ and $q = \tfrac14$:

    [Chapter 3](elbo.md#why-a-divergence-is-never-negative) proves it with the support.
    """
    p, q = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8]), np.full(4, 1 / 4)
    yield Number("mean over samples of $p(x)\\,q(x)/p(x)$", 1, float(p @ (p * q / p)))
    yield Number("sum over outcomes of $p(x)\\,q(x)/p(x)$", 1, float((p * q / p).sum()))


@erratum("002", "Appendix, from AE to VQ-VAE")
def the_divergence_of_a_vq_vae_is_constant() -> Decision:
    r"""The divergence of a VQ-VAE is a constant.

    **Printed.** A VQ-VAE has no probabilities and no divergence; other losses stand in its place.

    **True.** Its encoder chooses one of $K$ vectors with certainty, and the prior during training is even. So the
    divergence is there: it is $\log K$ for each code, whatever the picture. A constant trains nothing.

    [Chapter 4](vae_vs_vdm.md#ddpm-seen-as-a-vae) compares five models.
    """
    chosen, even = np.eye(512)[0], np.full(512, 1 / 512)
    yield Number("divergence for $K = 512$, in nats", "none", float(elbo.kl(chosen, even)), ".4g")


# Notes 003. ----------------------------------------------------------------------------------------------------------


@erratum("003", "Sections 1.1 and 10.1")
def one_learned_step_can_be_enough(points: int = 601) -> Decision:
    r"""One step with an arbitrary encoder and decoder can be enough.

    **Printed.** Even if the means and variances of encoder and decoder are arbitrary functions, a single step can
    express little.

    **True.** A single step is weak if its encoder is *fixed*, as in diffusion. With arbitrary functions one step can
    come as near as one likes. The example has the two classes on a line: the encoder takes $x$ to its quantile and adds
    a little noise, and the decoder takes the mean back.

    [Chapter 4](vae_vs_vdm.md#why-do-many-small-steps-beat-a-big-one) derives the encoder and says why diffusion fixes
    it.
    """
    x = np.linspace(-2.3, 1.6, points)
    density, width = np.exp(CLASSES.log_prob(x[:, None])), x[1] - x[0]
    x, density = x[density > 1e-12], density[density > 1e-12]
    below = (CLASSES.weights * ndtr((x[:, None] - CLASSES.means[:, 0]) / CLASSES.variances**0.5)).sum(1)
    mean, share = ndtri(below), density / density.sum()
    slope = density / np.exp(gaussian_log_prob(mean, 0.0, 1.0))
    noise = 1e-4 * slope**2
    joint = (
        share[:, None]
        * np.exp(-((mean - mean[:, None]) ** 2) / noise[:, None] / 2)
        / np.sqrt(2 * np.pi * noise)[:, None]
    )
    best = (joint * x[:, None]).sum(0) / joint.sum(0)
    rest = float((joint * (x[:, None] - best) ** 2).sum(0) @ slope * width)
    matching = share @ vae_vs_vdm.kl_to_standard_normal(mean, noise)
    lost = share @ CLASSES.log_prob(x[:, None]) + elbo.gaussian_entropy(rest, 1) + matching
    fixed = vae_vs_vdm.elbo_gap(CLASSES, forward.cosine(1))
    yield Number("nats lost by one step, encoder fixed", "many", fixed)
    yield Number("nats lost by one step, encoder and decoder free", "many", float(lost), ".2g")


@erratum("003", "Eq. 11")
def equal_up_to_a_constant_is_not_proportional() -> Decision:
    r"""The simplified objective differs by a constant that is added.

    **Printed.** $\mathcal L \propto -\mathbb E_p \sum_t \log q(x_{t-1} \mid x_t)$, after constants are dropped (in the
    letters of 003).

    **True.** What is dropped was added, not multiplied, so the two sides are equal up to a constant and not
    proportional. The example is the one-step chain of $\mathcal N(0, 1)$ with $\beta = 0.5$, with the exact model and
    with one that has twice the variance.
    """
    step = Schedule([0.5])[1]
    exact = float(elbo.gaussian_entropy(step.beta, 1))  # the cross-entropy of the exact step back
    other = float(np.log(2 * math.pi * 2 * step.beta) / 2 + 1 / 4)  # and of one with twice the variance
    whole = [mean - exact for mean in (exact, other)]
    yield Number("left side of the exact model over that of the other", exact / other, whole[0] / whole[1])


@erratum("003", "Eq. 55, and the sampling algorithm in 8.2")
def the_square_of_beta_in_su_letters() -> Decision:
    r"""In Su's letters the step back has the square of beta.

    **Printed.** In Su's letters, where $\alpha_t^2 + \beta_t^2 = 1$ and $\bar\alpha_t^2 + \bar\beta_t^2 = 1$, with the
    predicted noise $\epsilon$:

    $$
    \mu = \frac{1}{\alpha_t}\Big(x_t - \frac{\beta_t}{\bar\beta_t}\,\epsilon\Big)
    $$

    **True.** $\beta_t$ is a standard deviation in these letters and must be squared. As printed, the noise counts
    $1/\beta_t$ times too much.

    $$
    \mu = \frac{1}{\alpha_t}\Big(x_t - \frac{\beta_t^2}{\bar\beta_t}\,\epsilon\Big)
    $$

    [Chapter 3](elbo.md#sus-way-two-noises) translates the letters, and so does
    [Notation](notation.md#sus-p-and-q-and-his-network).
    """

    def step_back(power: int) -> Function:
        def mean(x_t: Array, noise: Array, step: Step) -> Array:
            su = forward.su_coefficients(step)
            return (x_t - su.beta**power / su.beta_bar * noise) / su.alpha

        return mean

    yield Formula("posterior.mean_from_noise", printed=step_back(1), true=step_back(2))
    first = forward.su_coefficients(LINEAR[1])
    yield Number(
        "factor of the noise at $\\beta_t^2 = 10^{-4}$", first.beta / first.beta_bar, first.beta**2 / first.beta_bar
    )


@erratum("003", "Sections 6.4 and 11.1")
def better_for_pictures_only() -> Decision:
    r"""The simple loss is better for pictures, not for the likelihood.

    **Printed.** Without the weights the loss works better.

    **True.** It depends on what is measured. In [Ho et al. 2020](bibliography.md#hoetal2020), Table 1, the model
    trained on the simple loss has the better Fréchet distance, 3.17 against 13.51 (less is better), and the worse
    bound: at most 3.75 bits per dimension against 3.70.

    [What is open](open.md#likelihood-or-quality) asks whether the two are one goal.
    """
    yield Number("bits per dimension, simple loss less bound; Ho et al., Table 1", "below 0", 3.75 - 3.70)
    yield Number("Fréchet distance, simple loss less bound; Ho et al., Table 1", "below 0", 3.17 - 13.51, ".4g")


@erratum("003", "Eqs. 63 to 66")
def the_integral_of_the_logarithm() -> Decision:
    r"""The integral of the logarithm is -0.01, not -1.

    **Printed.** For $\beta_t = 0.02\,t/T$ the logarithm of $\bar\alpha_T$ is about $T$ times the integral of
    $\log(1 - 0.02\,u)$ from 0 to 1, and that is $-1$. So, in our letters,

    $$
    \log\bar\alpha_T \approx -T
    $$

    Su's $\bar\alpha_T$ is the root of ours: $e^{-T/2}$, which is $e^{-500}$ for $T = 1000$.

    **True.** $\log(1 - 0.02\,u)$ is about $-0.02\,u$, and the mean of that is $-0.01$. Exactly, with $\beta_T$ for
    0.02,

    $$
    \log\bar\alpha_T \approx -T\,\frac{(1-\beta_T)\log(1-\beta_T) + \beta_T}{\beta_T}
    $$

    [Chapter 1](forward.md#how-small-does-it-get) computes the integral.
    """
    yield Formula(
        "forward.log_alpha_bar_limit",
        printed=lambda T, beta_T: -T + 0 * beta_T,
        true=lambda T, beta_T: -T * ((1 - beta_T) / beta_T * log1p(-beta_T) + 1),
    )
    yield Number("the integral", "-1", forward.log_alpha_bar_limit(1, 0.02), ".6f")
    last = forward.su_coefficients(forward.proportional()[1000])
    yield Number("$\\bar\\alpha_{1000}$ in Su's letters", math.exp(-500), last.alpha_bar)


@erratum("003", "Section 7.4")
def ddpm_samples_with_the_larger_variance() -> Decision:
    r"""DDPM has both variances, and its samples use the larger one.

    **Printed.** DDPM uses the smaller variance, $\tilde\beta_t$.

    **True.** Both are in the paper (Sec. 3.2), with similar results. The samples for CIFAR-10 use
    $\sigma_t^2 = \beta_t$: the released program says so, and so does Sec. 5 of [DDIM](bibliography.md#ddim). The two
    differ by a factor that is large only near $t = 1$.

    [Chapter 2](posterior.md#which-variance) derives when each of them is right.
    """
    step = LINEAR[2]
    yield Number("$\\sigma_t^2$ at $t = 2$, linear schedule", posterior.variance(step), step.beta)


@erratum("003", "Eq. 71")
def the_prior_over_the_top_latent() -> Decision:
    r"""The joint of a hierarchical model has a prior over the top latent.

    **Printed.** In the letters of 003, $q(x \mid z) = q(x \mid z_1) \prod_{l=1}^{L-1} q(z_l \mid z_{l+1})$, as the
    generative process of NVAE.

    **True.** The prior of $z_L$ is part of the joint. Without it the product does not integrate to 1, and the bound
    lacks a term. NVAE also decodes $x$ from *all* latents, and each latent depends on all above it. The book's chain,
    [[eq:vae_vs_vdm.hierarchical_elbo]], has the printed form plus the prior.

    [Chapter 4](vae_vs_vdm.md#ddpm-seen-as-a-vae) writes NVAE's joint.
    """

    def printed(chain: Chain, x: Array) -> Array:
        return vae_vs_vdm.denoising_elbo(chain, x) - expected_log_prob(*chain.marginals(x)[-1], *chain.prior)

    yield Formula("vae_vs_vdm.hierarchical_elbo", printed, vae_vs_vdm.denoising_elbo)


@erratum("003", "Eq. 73")
def a_theorem_needs_conditions() -> Decision:
    r"""A theorem on chains of Gaussian steps needs conditions.

    **Printed.** Any two continuous distributions are joined by a path of $T$ steps of which each can be approximated by
    a simple normal distribution. This is called a universal approximation theorem.

    **True.** It must say for which data, how nearly, and with how many steps. For data with a density and the right
    means, what a chain of $T$ steps loses falls like $1/T$. How much that is depends on the data. For data without a
    density, such as pixels, a chain that ends in a Gaussian step is infinitely far away at every $T$.

    [Chapter 4](vae_vs_vdm.md#why-do-many-small-steps-beat-a-big-one) measures the loss and names the theorems.
    """
    for T in (16, 64):
        lost = vae_vs_vdm.elbo_gap(CLASSES, forward.cosine(T))
        yield Number(f"nats lost by {T} steps, two classes, cosine schedule", "small", lost, ".2g")
    nine = Mixture(np.full(9, 1 / 9), np.arange(-4, 5)[:, None] / 4, np.full(9, 1e-4))
    lost = vae_vs_vdm.elbo_gap(nine, forward.cosine(16))
    yield Number("nats lost by 16 steps, nine classes from $-1$ to 1 with variance $10^{-4}$", "small", lost, ".2g")


@erratum("003", "Section 10.2")
def the_times_are_coupled() -> Decision:
    r"""The steps are not trained independently of each other.

    **Printed.** Each step is optimised independently, without coupling.

    **True.** Each *term* has its own $t$, but one network serves all of them, and what it learns at one $t$ changes its
    answer at others. Only a network that is perfect at every $t$ has no conflict. The example is a network with one
    weight, $\epsilon_\theta = \theta\,x_t$, on data from $\mathcal N(0, 1)$: the best weight at $t$ is
    $\sqrt{1-\bar\alpha_t}$.
    """
    best = np.sqrt(LINEAR.steps.noise_var)
    yield Number("loss added by sharing the weight, mean over $t$, linear schedule", 0, float(best.var()))


@erratum("003", "Section 10.2")
def the_last_latent_has_collapsed() -> Decision:
    r"""The posterior of the last state has collapsed by design.

    **Printed.** DDPM has no posterior collapse.

    **True.** Collapse means that $q(z \mid x)$ is the prior, so that the code says nothing. That is what the schedule
    is chosen for: $q(x_T \mid x_0) \approx \mathcal N(0, I)$. Training cannot make it worse, because the encoder is
    fixed. It does no harm, because the picture comes in through the states between.

    [Chapter 4](vae_vs_vdm.md#ddpm-seen-as-a-vae) discusses it.
    """
    most = float(elbo.prior_matching(1.0, LINEAR[1000]))
    yield Number("most that $x_T$ can say of a pixel, in nats", "much", most)


@erratum("003", "Eq. 77")
def the_score_points_back() -> Decision:
    r"""The mean adds the score, without a root.

    **Printed.** In Su's letters, with $q$ for the noised data:

    $$
    \mu^* = \frac{1}{\alpha_t}\Big(x_t - \frac{\beta_t^2}{\bar\beta_t}\,\nabla_{x_t}\!\log q(x_t)\Big)
    $$

    **True.** The score is $-\mathbb E[\epsilon \mid x_t]/\bar\beta_t$, as the same notes say. Put into the mean, both
    the sign and the $\bar\beta_t$ go:

    $$
    \mu^* = \frac{1}{\alpha_t}\Big(x_t + \beta_t^2\,\nabla_{x_t}\!\log q(x_t)\Big)
    $$

    [Chapter 2](posterior.md#four-ways-to-say-the-same-mean) derives it.
    """

    def printed(x_t: Array, score: Array, step: Step) -> Array:
        su = forward.su_coefficients(step)
        return (x_t - su.beta**2 / su.beta_bar * score) / su.alpha

    def true(x_t: Array, score: Array, step: Step) -> Array:
        su = forward.su_coefficients(step)
        return (x_t + su.beta**2 * score) / su.alpha

    yield Formula("posterior.mean_from_score", printed, true)


@erratum("003", "Section 12.1, and the last part of Su's post")
def a_deterministic_code_exists(points: int = 400) -> Decision:
    r"""The same network has a deterministic code.

    **Printed.** There is no deterministic relation between the noise and the sample, so there is no latent to edit.

    **True.** That is so for Algorithm 2. DDIM without fresh noise, [[eq:posterior.ddim_step]], uses the same network
    and is deterministic. It also runs forwards, [[eq:posterior.ddim_encode_step]], and gives each picture one code.
    What is true is that the code is as large as the picture, and that its coordinates have no separate meaning. The
    example has the two classes, the exact denoiser and 50 steps, from $t = 20$ to $T$ and back. The first number is the
    mean difference of two independent samples.

    [Chapter 2](posterior.md#the-way-there-encoding) measures the round trip.
    """
    schedule = forward.respace(LINEAR, range(20, 1001, 20))
    inside = ndtri((np.arange(points) + 0.5) / points)
    start = np.concatenate(
        [mean + var**0.5 * inside for mean, var in zip(CLASSES.means[:, 0], CLASSES.variances, strict=True)]
    )
    weights, x = np.repeat(CLASSES.weights, points) / points, start[:, None]
    for t in range(2, schedule.T + 1):
        x = posterior.ddim_encode_step(x, CLASSES.noise(x, schedule[t - 1]), schedule[t - 1], schedule[t])
    for t in range(schedule.T, 1, -1):
        x = posterior.ddim_step(x, CLASSES.noise(x, schedule[t]), 0 * x, schedule[t], schedule[t - 1], 0.0)
    apart = abs(CLASSES.means - CLASSES.means.T) + np.eye(2) * (4 * CLASSES.variances / math.pi) ** 0.5
    strangers = float(CLASSES.weights @ apart @ CLASSES.weights)
    yield Number("mean difference after encoding and decoding", strangers, float(weights @ abs(x[:, 0] - start)), ".1g")


# Su's posts. ---------------------------------------------------------------------------------------------------------


@erratum("su", "Part 2, Eq. 8")
def the_half_of_the_weight() -> Decision:
    r"""The weight of the squared error has a half.

    **Printed.** In Su's letters, the weight of the squared error of the noise is

    $$
    w = \frac{\beta_t^4}{\bar\beta_t^2\,\alpha_t^2\,\sigma_t^2}
    $$

    **True.** As a term of the bound it has half of this weight, because $-\log$ of a Gaussian is a square over
    $2\sigma_t^2$:

    $$
    w = \frac{\beta_t^4}{2\,\bar\beta_t^2\,\alpha_t^2\,\sigma_t^2}
    $$

    For the minimum the half makes no difference. It does where the term is added to others, such as $L_0$, or compared
    with them.

    [Chapter 3](elbo.md#sus-way-two-noises) compares the two derivations.
    """

    def weight(half: float) -> Function:
        def of(step: Step, var: Array) -> Array:
            su = forward.su_coefficients(step)
            return half * su.beta**4 / (su.beta_bar**2 * su.alpha**2 * var)

        return of

    yield Formula("elbo.noise_weight", printed=weight(1.0), true=weight(0.5))


@erratum("su", "Parts 1 and 2, choice of the schedule")
def the_proportional_schedule_is_not_ddpms() -> Decision:
    r"""The proportional schedule is close to that of DDPM, not equal.

    **Printed.** (Also in 003, 7.3.) DDPM takes $\alpha_t = \sqrt{1 - 0.02\,t/T}$, in Su's letters.

    **True.** DDPM's $\beta_t$ grows linearly from $10^{-4}$ to 0.02, [[eq:forward.linear]]. The printed one,
    [[eq:forward.proportional]], leaves out $\beta_1$. Their signal-to-noise ratios differ most at $t = 1$.

    [Chapter 1](forward.md#which-schedule) compares all schedules.
    """
    ratio = forward.snr(forward.proportional().steps) / forward.snr(LINEAR.steps)
    t = int(abs(np.log(ratio)).argmax()) + 1
    yield Number(f"SNR of the printed schedule over that of DDPM at $t = {t}$, where it is largest", 1, ratio.max())
    yield Number("the same at $t = 1000$", 1, ratio[-1])


@erratum("su", "Part 2, first piece of practical advice")
def adam_does_not_see_the_scale() -> Decision:
    r"""The scale of the loss hardly matters to Adam.

    **Printed.** The loss must be the squared norm. Divided by the number of pixels it is so small that some gradients
    get lost, and the training first converges and then diverges.

    **True.** Adam divides each gradient by its own size, so the scale cancels, up to the small number $10^{-8}$ in its
    denominator. For plain gradient descent the scale is a factor of the learning rate. In half precision (float16)
    small gradients can indeed become 0; there the loss is scaled for that reason. The example is a gradient of size 1
    for the squared norm and pictures of $128 \times 128 \times 3$.

    [The experiments](experiments.md#what-is-the-practical-advice-worth) train with both losses and find no significant
    difference with Adam.
    """
    pixels, size = 128 * 128 * 3, 1.0
    for name, update in (("Adam", lambda g: g / (abs(g) + 1e-8)), ("gradient descent", lambda g: g)):
        yield Number(
            f"update for the mean over that for the norm, {name}", "too small", update(size / pixels) / update(size)
        )


# Notes 004. ----------------------------------------------------------------------------------------------------------


@erratum("004", "Forward process")
def nothing_is_learned_forwards() -> Decision:
    r"""Nothing is learned in the forward process.

    **Printed.** In the forward process the model learns to add noise step by step.

    **True.** The forward process has no parameters. Its schedule is chosen, and the noise is drawn. Only the way back
    is learned.

    [Chapter 4](vae_vs_vdm.md#ddpm-seen-as-a-vae) lists what is learned.
    """
    asked = [argument.kind for known in equations() if known.chapter == CHAPTERS[0] for argument in known.arguments]
    yield Number("arguments in all equations of chapter 1 that are a network", "some", asked.count("function"))


@erratum("004", "Letters")
def q_is_the_forward_process() -> Decision:
    r"""q is the forward process, and p is the model.

    **Printed.** $p$ stands for the forward process and $q_\theta$ for the way back. (003 has the same letters; there
    they are Su's convention, and it is stated.)

    **True.** In DDPM it is the other way round ([Ho et al. 2020](bibliography.md#hoetal2020), Eqs. 1 and 2). Both are
    conventions. But whoever reads DDPM's formulas with the other letters takes means under the wrong distribution. The
    bound contains $D_{\mathrm{KL}}(q \,\Vert\, p)$, with the mean under the forward process.

    [Notation](notation.md#which-distribution-is-whose) has a table.
    """

    def divergence(first: Array, second: Array) -> Array:
        return np.where(first > 0, first * np.log(np.where(first > 0, first, 1) / second), 0).sum(-1)

    yield Formula("elbo.kl", printed=lambda p, q: divergence(q, p), true=divergence)


@erratum("004", "Training")
def the_elbo_is_maximised() -> Decision:
    r"""The ELBO is maximised.

    **Printed.** Maximise the likelihood or, equivalently, minimise the ELBO.

    **True.** The ELBO is a lower bound on $\log p(x)$ and is maximised. What is minimised is minus the ELBO, the loss
    $L$. (And the two aims are not equivalent, only near where the bound is tight.) The example has data from
    $\mathcal N(0, 1)$ and two exact models of one step, for $\mathcal N(0, 1)$ and for $\mathcal N(10, 1)$; the printed
    rule takes the second.

    [Chapter 3](elbo.md#a-bound-from-below) has a box on the two signs.
    """
    bounds = []
    for mean in (0.0, 10.0):
        chain = vae_vs_vdm.ideal_chain(Schedule([0.9999]), np.array([mean]), np.eye(1))
        bounds.append(float(np.mean([vae_vs_vdm.denoising_elbo(chain, np.array([x])) for x in (-1.0, 1.0)])))
    printed, true = min(bounds), max(bounds)
    yield Number("ELBO of the chosen model, mean over the data", printed, true, ".4g")


@erratum("004", "Training")
def the_noise_cannot_be_known(points: int = 4001) -> Decision:
    r"""The noise cannot be predicted accurately, and need not be.

    **Printed.** The network should predict the added noise accurately; if it can, the diffusion can be reversed
    accurately.

    **True.** $x_t$ does not determine the noise. The best prediction is the mean $\mathbb E[\epsilon \mid x_t]$, and
    its error has a lower limit that no network can pass. Sampling needs this mean, and small steps. The numbers are the
    least possible mean squared error for the two classes; predicting 0 always has the error 1.

    [Chapter 6](train.md#what-does-the-network-learn) says what the network learns, the
    [running example](mixture.md#what-a-perfect-network-would-learn) where the limit is.
    """
    for t in (1, 100, 300):
        step = LINEAR[t]
        x, share = density_of(CLASSES, step, points)
        unknown = float(share @ CLASSES.posterior(x, step).var()[:, 0]) * step.alpha_bar / step.noise_var
        yield Number(f"least mean squared error of the noise at $t = {t}$, linear schedule", "near 0", unknown)


@erratum("004", "Reverse process and training")
def the_loss_does_not_train_a_variance() -> Decision:
    r"""The loss for the noise does not train a variance.

    **Printed.** The network gives mean and covariance of the step back, and both are trained with the squared error of
    the noise.

    **True.** No variance occurs in that loss, so it cannot train one. DDPM fixes the variance. A learned one needs a
    term of the bound in the loss, [[eq:elbo.hybrid_loss]]. The example is one step of the linear schedule with the
    right mean and twice the right variance.
    """
    step = LINEAR[500]
    mean = posterior.mean(0.3, 0.7, step)
    once, twice = (
        elbo.denoising_matching(0.3, 0.7, mean, factor * posterior.variance(step), step) for factor in (1, 2)
    )
    loss = elbo.simple_loss(np.zeros(1), np.zeros(1))  # the noise of the right mean; the variance is no argument
    yield Number(
        "loss added by twice the variance; printed: the squared error, true: the bound",
        float(loss.sum()),
        float(twice - once),
    )


# Papers and pages in print. ------------------------------------------------------------------------------------------


@erratum("papers", "Luo 2022, Eq. 45")
def the_future_is_part_of_the_condition() -> Decision:
    r"""The consistency term is no divergence from the forward step.

    **Printed.** ([Luo 2022](bibliography.md#luo2022), Eq. 45, and after it 001, 3.3 to 3.6.) The middle term of the
    first decomposition is

    $$
    \mathbb E_{q(x_{t-1}, x_{t+1} \mid x_0)}\big[D_{\mathrm{KL}}\big(q(x_t \mid x_{t-1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\big)\big]
    $$

    **True.** $x_{t+1}$ was made from $x_t$. So the mean over $x_t$ must be taken under $q(x_t \mid x_{t-1}, x_{t+1})$,
    [[eq:elbo.bridge]], and the term is the difference [[eq:elbo.consistency]]. Eq. 44 there, the mean of the logarithm
    over all three, is right. The step to Eq. 45 drops the covariance $\sqrt{\alpha_{t+1}}\,\beta_t$ of $x_t$ and
    $x_{t+1}$.

    [Chapter 4](vae_vs_vdm.md#a-kl-that-does-not-add-up) derives the difference and what a model trained on it would do.
    """

    def printed(x_prev: Array, x_next: Array, step: Step, step_next: Step, reverse_model: Any) -> Array:
        return gaussian_kl(*forward.transition(x_prev, step), *reverse_model(x_next, step_next))

    def true(x_prev: Array, x_next: Array, step: Step, step_next: Step, reverse_model: Any) -> Array:
        mean, var = elbo.bridge(x_prev, x_next, step, step_next)
        (m_q, v_q), (m_p, v_p) = forward.transition(x_prev, step), reverse_model(x_next, step_next)
        # the mean of log q(x_t | x_{t-1}) - log p(x_t | x_{t+1}) under the bridge, without a divergence
        return sum_dims((log(v_p / v_q) - ((mean - m_q) ** 2 + var) / v_q + ((mean - m_p) ** 2 + var) / v_p) / 2)

    yield Formula("elbo.consistency", printed, true)
    excess = sum(LINEAR[t + 1].alpha * LINEAR[t].beta / LINEAR[t + 1].beta for t in range(1, 1000))
    yield Number(
        "sum of the terms less that of the bound, exact model of $\\mathcal N(0, 1)$, linear schedule, in nats",
        0,
        excess,
        ".5g",
    )


@erratum("papers", "Weng 2021, the loss of the means")
def the_prefactor_of_the_loss() -> Decision:
    r"""The squared error of the mean is divided by the variance.

    **Printed.** (Weng's page, which 002 annotates.) $\lVert\tilde\mu_t - \mu_\theta\rVert^2$ has a factor with the
    squared norm of the covariance. For $\Sigma_\theta = \sigma_t^2 I$ that is

    $$
    \frac{1}{2\,\lVert\Sigma_\theta\rVert_2^2} = \frac{1}{2\,\sigma_t^4}
    $$

    **True.** It is the inverse of the covariance that stands there, so for $\Sigma_\theta = \sigma_t^2 I$ the factor is

    $$
    w = \frac{1}{2\,\sigma_t^2}
    $$

    [Chapter 3](elbo.md#from-a-divergence-to-a-squared-error) derives the prefactor.
    """
    yield Formula("elbo.mean_weight", printed=lambda var: 1 / (2 * var**2), true=lambda var: 1 / (2 * var))
    var = posterior.variance(LINEAR[1000])
    yield Number("the prefactor at $t = 1000$, variance $\\tilde\\beta_t$", 1 / (2 * var**2), 1 / (2 * var))


@erratum("papers", "Lin et al. 2023, Table 1")
def rounding_in_a_table() -> Decision:
    r"""The row of the cosine schedule has five right digits of seven.

    **Printed.** In the table of [Lin et al. 2023](bibliography.md#linetal2023), the row of the cosine schedule has
    $\mathrm{SNR}(T) = 2.428735 \cdot 10^{-9}$ and $\sqrt{\bar\alpha_T} = 4.928220 \cdot 10^{-5}$.

    **True.** The last two digits of both are rounding: with the alphas in single precision one gets just the printed
    numbers. The second column is computed in double precision. All printed digits of the row of the linear schedule are
    right.
    """
    last = forward.cosine()[1000]
    yield Number(r"$\mathrm{SNR}(T)$, cosine schedule, $T = 1000$", 2.428735e-9, forward.snr(last), ".6e")
    yield Number(r"$\sqrt{\bar\alpha_T}$, cosine schedule, $T = 1000$", 4.928220e-5, last.alpha_bar**0.5, ".6e")


# The page. -----------------------------------------------------------------------------------------------------------


def huffman(probabilities: list[float]) -> float:
    """The mean length, in bits, of the best code with a word for each outcome: join the two rarest until one is left."""
    total, left = 0.0, sorted(probabilities)
    while len(left) > 1:
        joined = left[0] + left[1]
        total, left = total + joined, sorted([*left[2:], joined])
    return total


SOURCES = ("000", "001", "002", "003", "su", "004", "papers")
"""The sections of the page, in its order."""


def renewed(page: str) -> str:
    """The page with every section made again, between `<!-- errata: SOURCE -->` and `<!-- end of errata -->`."""

    parts = {source: "\n".join(each.markdown() for each in ERRATA if each.source == source) for source in SOURCES}
    return tables.renewed(page, parts, "errata")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(renewed(path.read_text("utf-8")), "utf-8")
