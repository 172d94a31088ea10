"""Exercises of chapter 4, from the VAE to diffusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from .... import data, elbo, forward, vae_vs_vdm
from ....arrays import Array, exp
from ....forward import Schedule, Step
from ....mixture import two_classes
from ....vae_vs_vdm import Chain, Linear, LinearVAE, Normal
from .. import answer, derive, implement
from ..judges import Number, figure, numbers
from .elbo import SUMMED

implement(
    "vae_vs_vdm.kl_to_standard_normal",
    "What does a latent cost?",
    "The divergence of the encoder's Gaussian, which has the mean `mean` and the variance `var`, to the prior"
    f" N(0, 1), in nats. {SUMMED}",
    10,
    (
        "It is the divergence of two Gaussians, of which the second has the mean 0 and the variance 1.",
        "It has a part that grows with the square of the mean, and a part with the variance alone, which is 0 at 1.",
        "For each dimension: `(mean**2 + var - 1 - log(var)) / 2`.",
    ),
)


def _narrow_latent() -> float:
    from scipy.optimize import brentq

    price = vae_vs_vdm.kl_to_standard_normal(1.0, 1.0)
    return float(brentq(lambda var: vae_vs_vdm.kl_to_standard_normal(0.0, var) - price, 1e-6, 1.0))


answer(
    "vae_vs_vdm.narrow_latent",
    "Which narrow latent costs as much as a shifted one?",
    "A latent with the mean 1 and the variance 1 costs some nats. Two latents with the mean 0 cost as much, a"
    " narrow one and a wide one. Give the variance of the narrow one to three digits after the point.",
    10,
    (
        "Compute the price of a latent with the mean 0 for some variances from 0.05 to 1. Where is it too large, where too small?",
        "With the mean 0 the price is `(var - 1 - log(var)) / 2`; it must be 1/2. So `var - log(var) = 2`.",
        "Repeat `var = exp(var - 2)`, from 0.1 on, until it stays.",
    ),
    Number(_narrow_latent, 6e-4, "the variance of the narrow latent"),
    kind="number",
    needs=("vae_vs_vdm.kl_to_standard_normal",),
)

implement(
    "vae_vs_vdm.vae_elbo",
    "Good reconstructions, bad samples",
    "The bound of the VAE: `log_likelihood`, the mean of log p(x given z) over the encoder, one number for each"
    f" sample, less the divergence of the encoder's N(mean, var) to the prior, in nats. {SUMMED} Trained with the"
    " code below, a VAE with many latents restores well and makes bad samples. Find out why.",
    10,
    (
        "The mistake does not show for one latent. Try a sample with two.",
        "Latents are independent under the encoder and under the prior. What becomes of divergences then?",
        "`terms.sum(-1)` in the place of `terms.mean(-1)`, for an array with two axes.",
    ),
    kind="bug",
    start="""    terms = (mean**2 + var - 1 - np.log(var)) / 2
    return log_likelihood - (terms.mean(-1) if np.ndim(terms) > 1 else terms)""",
    needs=("vae_vs_vdm.kl_to_standard_normal",),
)


def step_gradient(mean: float, var: float) -> Array:
    """The derivative by the mean of the probability that z is above 0: what crosses 0 when the Gaussian moves."""
    return exp(elbo.gaussian_log_prob(0.0, mean, var))


derive(
    step_gradient,
    "The gradient of a step",
    "Let f(z) be 1 for z above 0 and 0 otherwise, and z from N(mean, var). Give the derivative of E f(z) by the"
    " mean. mean and var are single numbers. (Moving the sample finds 0 here, as f' is 0 at nearly every z."
    " Weighing it finds the right number.)",
    15,
    (
        "E f(z) is a probability. How does it change if the Gaussian is moved a little?",
        "E f(z) is the integral of the density of N(mean, var) over all z above 0. A shift by d brings in what lay between -d and 0.",
        "The density of N(mean, var) at 0: `exp(-mean**2 / (2 * var)) / sqrt(2 * pi * var)`.",
    ),
    where={"mean": "scalar real", "var": "scalar (0, inf)"},
)

implement(
    "vae_vs_vdm.expected_log_prob",
    "A mean that forgets how wide q is",
    "The mean of log p under q, in nats, for two normal distributions of vectors: q has the mean `mean_q`, shape"
    " (..., d), and the covariance `cov_q`, shape (d, d); p has the mean `mean_p`, which may be one number for all"
    " coordinates, and the covariance `cov_p`. The result has the shape (...). The code below gives the log-density of p at the"
    " mean of q, whatever `cov_q` is. Correct it.",
    20,
    (
        "For numbers, the mean of `(x - mean_p)**2` under q is a square and a variance. Which part is missing here?",
        "For a random vector y of mean 0 and covariance C, the mean of `y @ A @ y` is the trace of `A @ C`.",
        "Add the trace of `precision @ cov_q`, which is `(precision * cov_q).sum()`, to `square`.",
    ),
    kind="bug",
    start="""    off, precision = mean_q - mean_p, np.linalg.inv(cov_p)
    square = (off @ precision * off).sum(-1)
    log_det = np.linalg.slogdet(2 * np.pi * cov_p)[1]
    return -(log_det + square) / 2""",
)
implement(
    "vae_vs_vdm.normal_kl",
    "Divergence of two normal distributions of vectors",
    "The divergence D(q || p) of two normal distributions of vectors, in nats: q has the mean `mean_q` and the"
    " covariance `cov_q`, p has `mean_p` and `cov_p`; the mean is taken under q. Means have the shape (..., d), or"
    " are one number for all coordinates. Covariances have the shape (d, d). The result has the shape (...).",
    20,
    (
        "It is the mean of log q under q, less the mean of log p under q. You have the function for both.",
        "In the mean of log q under q the trace is d and the square is 0.",
        "With `off = mean_q - mean_p`: half of log det cov_p - log det cov_q - d, plus the trace of `inv(cov_p) @ cov_q`, plus `off @ inv(cov_p) @ off`.",
    ),
    needs=("vae_vs_vdm.expected_log_prob",),
)


def width_price(var_q: float, var_p: float, dims: int) -> Array:
    """What a linear VAE loses whose encoder is too wide or too narrow: log p(x) less the bound."""
    x = np.arange(1.0, dims + 1)
    vae = LinearVAE(np.eye(dims), 0 * x, var_p / (1 - var_p))
    return vae.log_prob(x) - vae.elbo(x, vae.posterior(x).mean, var_q * np.eye(dims))


derive(
    width_price,
    "An encoder that is too wide",
    "In a linear VAE the true posterior of each of `dims` latents has the variance `var_p`, below 1, and the"
    " latents are independent. The encoder has the right mean, but the variance `var_q`. By how many nats is its"
    " bound below log p(x)? Give it without x, W or b. All arguments are single numbers.",
    15,
    (
        "The gap between the bound and log p(x) is always a divergence. Of what to what?",
        "It is the divergence of the encoder to the true posterior. Their means are equal, and each latent adds the same.",
        "`dims / 2 * (r - 1 - log(r))`, with `r = var_q / var_p`.",
    ),
    where={"var_q": "scalar (0, inf)", "var_p": "scalar (0, 1)"},
    needs=("vae_vs_vdm.normal_kl",),
)


@cache
def _digits() -> np.ndarray:
    """The variances of the digits along their principal directions, largest first."""
    x = data.load("digits").train.reshape(-1, 64).astype(np.float64)
    return np.maximum(np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1], 0.0)


def _latent_nats(eigenvalues: np.ndarray, var: float) -> np.ndarray:
    """Mean KL of each latent of the best linear VAE: of the second moment of the codes, and their variance."""
    alive = np.flatnonzero(eigenvalues > var)
    says = np.zeros(len(eigenvalues))
    vae = LinearVAE(np.diag(np.sqrt(eigenvalues - var))[:, alive], 0 * eigenvalues, var) if len(alive) else None
    if vae is not None:
        gain, cov = vae.posterior(np.diag(np.sqrt(eigenvalues)))
        says[alive] = vae_vs_vdm.kl_to_standard_normal(np.sqrt((gain**2).sum(0)), np.diag(cov))
    return says


def _latents() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    few = np.array([2.0, 1.0, 0.5])
    for words, eigenvalues, var in (
        ("the variances [2, 1, 0.5] and var = 0.25", few, 0.25),
        ("the variances [2, 1, 0.5] and var = 0.8", few, 0.8),
        ("the variances [2, 1, 0.5] and var = 3", few, 3.0),
        ("the digits and var = 0.2", _digits(), 0.2),
    ):
        with np.errstate(invalid="ignore"):
            yield words, (eigenvalues, var), _latent_nats(eigenvalues, var)


answer(
    "vae_vs_vdm.latent_nats",
    "Which latents live?",
    'Compute the right panel of the figure "directions above a line have a living latent". `eigenvalues` is an'
    " array of shape (d,), the variances of the data along its principal directions, falling; var is the decoder's"
    " variance. Each direction may have a latent of the best linear VAE. Give the mean divergence of each latent"
    " to the prior, in nats, as an array of shape (d,): what the latent says. A latent that is dead says 0.",
    20,
    (
        "For which directions is a latent worth its price? Compare the variance of the data with that of the decoder's noise.",
        "A living latent has `w**2 = eigenvalue - var`. Its posterior has the variance `var / eigenvalue`, and the mean square of its mean is `1 - var / eigenvalue`.",
        "`log(eigenvalue / var) / 2` where the eigenvalue is above var, and 0 elsewhere.",
    ),
    figure(_latents),
    kind="figure",
    arguments="eigenvalues, var",
)


def _mean_bound(w: float, a: float, data_var: float, var: float) -> Any:
    """The bound of the linear VAE with the decoder w z and the encoder N(a x, 1), in the mean over N(0, data_var)."""
    x = np.array([[-1.0], [1.0]]) * data_var**0.5  # both points have the mean and the variance of the data
    return LinearVAE([[w]], [0.0], var).elbo(x, a * x, np.eye(1)).mean()


def dead_point(data_var: float, var: float) -> Array:
    """The determinant of the second derivatives of the mean bound at w = 0 and a = 0, by differences: it is a polynomial."""
    by_w = _mean_bound(1, 0, data_var, var) - 2 * _mean_bound(0, 0, data_var, var) + _mean_bound(-1, 0, data_var, var)
    by_a = _mean_bound(0, 1, data_var, var) - 2 * _mean_bound(0, 0, data_var, var) + _mean_bound(0, -1, data_var, var)
    mixed = (_mean_bound(1, 1, data_var, var) - _mean_bound(1, -1, data_var, var)) / 2
    return by_w * by_a - mixed**2


derive(
    dead_point,
    "Can training leave a dead latent?",
    "The data is N(0, `data_var`), the decoder N(w z, var), the encoder N(a x, 1), and all are numbers. The mean"
    " of the bound over the data is a function of w and a. At w = 0, a = 0 both its derivatives are 0: the latent"
    " is dead. Give the determinant of the second derivatives there, (by w twice) times (by a twice) less the"
    " square of (by w and by a). It is below 0 at a saddle, which training can leave, and above 0 at a maximum,"
    " which it cannot. All arguments are single numbers.",
    30,
    (
        "Write the mean bound as a function of w and a. The reconstruction needs the mean of `(x - w z)**2`, with `z = a x + noise`.",
        "Up to constants the mean bound is `-(data_var * (1 - w * a)**2 + w**2) / (2 * var) - a**2 * data_var / 2`. Take the second derivatives at 0.",
        "By w twice it is `-1 / var`, by a twice `-data_var`, mixed `data_var / var`: so `data_var / var - (data_var / var)**2`.",
    ),
    where={"data_var": "scalar [0, inf)", "var": "scalar (0, inf)"},
    needs=("vae_vs_vdm.kl_to_standard_normal",),
)


def _fit(asked: Callable[..., Any]) -> str:
    rng = np.random.default_rng(0)
    for words, noise, directions in (
        ("data along one direction", 0.3, [[2.0, 1.0]]),
        ("data in three dimensions", 0.2, [[1.0, -1.0, 0.5]]),
    ):
        W = np.array(directions)
        x = rng.normal(size=(400, 1)) @ W + noise * rng.normal(size=(400, W.shape[1]))
        x = x - x.mean(0)
        found = asked(x)
        if not isinstance(found, np.ndarray):
            return f"for {words} it gives {type(found).__name__}; an array is asked for"
        if found.shape != (W.shape[1] + 1,):
            return (
                f"for {words} it gives an array of shape {found.shape}; one of shape {(W.shape[1] + 1,)} is asked for"
            )
        if found.dtype.kind not in "fiu" or not np.isfinite(found).all() or found[-1] <= 0:
            return f"for {words} all numbers must be finite and the variance, the last one, above 0"
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        rest = values[:-1].mean()
        best = LinearVAE(vectors[:, -1:] * np.sqrt(values[-1] - rest), 0 * values, rest).log_prob(x).mean()
        try:
            reached = LinearVAE(found[:-1, None], 0 * values, found[-1]).log_prob(x).mean()
        except (ValueError, np.linalg.LinAlgError):
            return f"for {words} the covariance W W^T + var I has no inverse"
        if not best - reached <= 0.01:
            return f"for {words} the mean of log p(x) is {reached:.3f} nats; the best model of this kind has {best:.3f}"
    return ""


answer(
    "vae_vs_vdm.fit",
    "Train the smallest VAE",
    "Fit a linear VAE with one latent, p(x given z) = N(W z, var I) and z from N(0, 1), to data x of shape (n,"
    " d), whose mean is 0. The evidence is p(x) = N(0, W W^T + var I). Maximise the mean of log p(x) over the"
    " data, or of a bound that reaches it, by gradient descent or in any other way, from data alone. Give W and"
    " var in one array of shape (d + 1,): the d numbers of W, then var. The mean of log p(x) must come within 0.01"
    " nats of the best that is possible. One call may take 10 seconds.",
    45,
    (
        "Do not begin at W = 0: the gradient is 0 there, although it is not the best place. The encoder may be the true posterior at each step.",
        "With the posterior's mean `m = x @ W / (W @ W + var)` and its variance `s = var / (W @ W + var)`, the best W for fixed m and s is the mean of `x * m` over the mean of `m**2 + s`. Then var is the mean of `|x - m W|**2 + s * W @ W`, over d. Repeat.",
        "Or at once: take the eigenvalues and eigenvectors of the covariance. var is the mean of all eigenvalues but the largest, and W is the eigenvector of the largest times `sqrt(largest - var)`.",
    ),
    _fit,
    kind="train",
    arguments="x",
    needs=("vae_vs_vdm.dead_point",),
)


def _rest_noise() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    from scipy.optimize import minimize_scalar

    for eigenvalues, k in (([2.0, 1.0, 0.5], 2), ([2.0, 1.0, 0.6, 0.4, 0.1], 2), ([3.0, 0.9, 0.1], 1), ([1.5, 0.5], 0)):
        values = np.array(eigenvalues)

        def lost(log_var: float, values: np.ndarray = values, k: int = k) -> float:
            var = float(np.exp(log_var))
            W = np.diag(np.sqrt(np.maximum(values - var, 0)))[:, :k] if k else np.zeros((len(values), 1))
            vae = LinearVAE(W, 0 * values, var)
            return -float(
                vae.log_prob(np.diag(np.sqrt(len(values) * values))).mean()
            )  # these points have the data's covariance

        found = minimize_scalar(lost, bracket=(-2.0, 0.0), tol=1e-12)
        words = f"the variances {eigenvalues} and k = {k}"
        yield words, (values, k), float(np.exp(found.x))


answer(
    "vae_vs_vdm.rest_noise",
    "The best noise of a decoder",
    "A linear VAE has k latents, fewer than the data has dimensions, and its decoder's variance is learned as"
    " well. `eigenvalues` is an array of shape (d,), the variances of the data along its principal directions,"
    " falling. W is the best one for each variance. Give the best variance of the decoder, a number.",
    20,
    (
        "The k latents take the k largest directions. In the others the model has only its noise.",
        "In a direction without a latent, log p has the mean `-(log(2 * pi * var) + eigenvalue / var) / 2`. A living latent makes its direction right, whatever var is.",
        "The mean of `eigenvalues[k:]`.",
    ),
    figure(_rest_noise, 1e-6),
    kind="derive",
    arguments="eigenvalues, k",
    needs=("vae_vs_vdm.latent_nats",),
)


def _tight(asked: Callable[..., Any]) -> str:
    rng = np.random.default_rng(0)
    for words, weights, variances in (
        ("one step, weights [1] and variances [1]", np.ones(1), np.ones(1)),
        ("weights [0.8, 1, -0.5] and variances [0.3, 0.2, 1]", np.array([0.8, 1, -0.5]), np.array([0.3, 0.2, 1])),
        ("three random steps", rng.normal(size=3), rng.uniform(0.1, 1, 3)),
    ):
        found = asked(weights, variances)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
            return f"for {words} it gives {type(found).__name__}; an array of numbers is asked for"
        if found.shape != (len(weights), 2):
            return (
                f"for {words} it gives an array of shape {found.shape}; one of shape {(len(weights), 2)} is asked for"
            )
        if not np.isfinite(found).all() or (found[:, 1] <= 0).any():
            return f"for {words} all numbers must be finite and the variances, the second column, above 0"

        def steps(pairs: Any) -> list[Linear]:
            return [Linear(np.array([[weight]]), np.zeros(1), np.array([[var]])) for weight, var in pairs]

        for x in (0.0, 1.0, -2.0):
            try:
                chain = Chain(steps(found), steps(zip(weights, variances, strict=True)), Normal.standard(1))
                evidence = float(chain.log_prob(np.array([x])))
                bound = float(vae_vs_vdm.hierarchical_elbo(chain, np.array([x])))
            except (ValueError, np.linalg.LinAlgError) as problem:
                return f"for {words} the bound cannot be computed: {problem}"
            if not abs(bound - evidence) <= 1e-9 * (1 + abs(evidence)):
                return f"for {words} and x = {x:g}:\n  log p(x)  {evidence:.10g}\n  bound     {bound:.10g}"
    return ""


answer(
    "vae_vs_vdm.tight_encoder",
    "A chain whose bound is exact",
    "A hierarchical VAE of T steps on numbers: z_T is from N(0, 1), and z_{t-1} given z_t is N(`weights[t-1]`"
    " z_t, `variances[t-1]`), down to x = z_0. Both arrays have the shape (T,) and begin with t = 1. Find the"
    " encoder with which the bound equals log p(x): q(z_t given z_{t-1}) = N(w z_{t-1}, v). Give an array of shape"
    " (T, 2) with w and v for t = 1, ..., T.",
    30,
    (
        "The bound is exact if the encoder is the model's own posterior. For a Markov chain that is a chain too.",
        "Go down from N(0, 1) to know the variance of each z_t in the model. Then turn each step around by Bayes' rule.",
        "With S the variance of z_t, g and r those of the decoder, the variance of z_{t-1} is `g**2 * S + r`. So `w = g * S / (g**2 * S + r)` and `v = r * S / (g**2 * S + r)`.",
    ),
    _tight,
    kind="derive",
    arguments="weights, variances",
)


def printed_weight(data_var: float, step: Step, step_next: Step) -> Array:
    """The best weight of x_{t+1} for x_t if both are drawn from x_{t-1} alone: their covariance over the second variance."""
    before = Normal(np.zeros(1), data_var * np.eye(1))
    down, after = Linear.noising(step, 1), Linear.noising(step_next, 1)
    together = (after.weight @ down.weight @ before.cov @ down.weight.T).item()
    return together / after.marginal(down.marginal(before)).cov.item()


derive(
    printed_weight,
    "What would a model learn from the printed form?",
    "In print the consistency term is a divergence of q(x_t given x_{t-1}) to the model's step N(g x_{t+1}, r):"
    " x_t is drawn from x_{t-1} without regard to x_{t+1}, which is drawn from x_{t-1} as well. Let x_{t-1} be"
    " from N(0, `data_var`). Give the g for which the mean of `(x_t - g x_{t+1})**2` is least then. `data_var` is a"
    " single number; `step` is the schedule at t and `step_next` at t + 1, each with its beta and alpha. Compare"
    " it with the right weight afterwards.",
    20,
    (
        "The best weight is a covariance over a variance. Which of the two does the printed form change?",
        "Given x_{t-1}, both are independent. So their covariance is that of `sqrt(alpha_t) x_{t-1}` and `sqrt(alpha_{t+1} alpha_t) x_{t-1}`.",
        "`alpha_t * sqrt(alpha_{t+1}) * data_var` over `alpha_{t+1} * (alpha_t * data_var + beta_t) + beta_{t+1}`.",
    ),
    where={"data_var": "scalar [0, inf)"},
)

implement(
    "vae_vs_vdm.one_step_elbo",
    "A diffusion model of one step is a VAE",
    "The bound of a diffusion model with T = 1: `log_likelihood`, the mean of log p(x_0 given x_1), one number"
    " for each sample, less the divergence of q(x_1 given x_0) to N(0, 1), in nats. `step` is the schedule at the"
    " only step. Write the divergence with alpha_bar and noise_var: then it holds for a jump over any number of"
    f" steps, and it is checked on such jumps too. {SUMMED}",
    15,
    (
        "It is the bound of the VAE. What is its encoder here?",
        "The encoder is the forward step: its mean is `sqrt(alpha_bar) x_0`, its variance `1 - alpha_bar`.",
        "`log_likelihood` less the sum of `(alpha_bar * (x_0**2 - 1) - log(noise_var)) / 2` over the dimensions.",
    ),
    needs=("vae_vs_vdm.vae_elbo",),
)


@cache
def _single_step() -> float:
    from scipy.optimize import minimize_scalar

    data = two_classes()
    found = minimize_scalar(
        lambda beta: vae_vs_vdm.elbo_gap(data, Schedule([beta])), bounds=(0.01, 0.5), method="bounded"
    )
    return float(found.x)


answer(
    "vae_vs_vdm.single_step",
    "How much noise in a single step?",
    "A diffusion model of one step, of the running example, with the best decoder and one variance: how many nats"
    " it loses depends on its only beta, as the figure in the section on many small steps shows. For which beta does it lose"
    " least? Give it to within 0.01. You may read it off the figure, or compute it beside this file with"
    " `vae_vs_vdm.elbo_gap` and a Schedule of one beta.",
    15,
    (
        "In the figure the dip is where the two areas change over. But its horizontal axis is `beta / (1 - beta)`, and logarithmic.",
        "`vae_vs_vdm.elbo_gap(mixture.two_classes(), forward.Schedule([beta]))` is the loss. Evaluate it for beta at 0.02, 0.05, 0.1, 0.2 and 0.5.",
        "Take the least of these, and look between its neighbours in steps of 0.01: the answer lies between 0.05 and 0.2.",
    ),
    Number(_single_step, 0.0101, "the beta of the best single step"),
    kind="number",
)


def _four_steps(asked: Callable[..., Any]) -> str:
    alpha_bar = numbers(asked(), 4)
    if alpha_bar is None:
        return "four numbers are asked for, alpha_bar at t = 1, 2, 3, 4"
    if not all(later < before for before, later in zip([1.0, *alpha_bar], [*alpha_bar, 0.0], strict=True)):
        return "alpha_bar must fall from below 1 and stay above 0"
    allowed = vae_vs_vdm.elbo_gap(two_classes(), forward.cosine(4)) / 2
    lost = vae_vs_vdm.elbo_gap(two_classes(), Schedule.from_alpha_bar(alpha_bar))
    return "" if 0 < lost < allowed else f"they lose {lost:.3f} nats; {allowed:.3f} are allowed"


answer(
    "vae_vs_vdm.four_steps",
    "Place four steps by hand",
    "The four steps of the cosine schedule lose 0.63 nats on the running example, with one variance at each t."
    " Place four steps that lose less than half of that: give a list of alpha_bar at t = 1, 2, 3, 4, falling, all"
    " below 1 and above 0. The loss is `vae_vs_vdm.elbo_gap` of `mixture.two_classes()` and `Schedule.from_alpha_bar`"
    " of your list; compute it beside this file.",
    20,
    (
        "Begin with the four alpha_bar of the cosine schedule and change one of them at a time.",
        "The classes are sharp: steps near the data must be small, and the last one may be large. Must it end in pure noise?",
        "Near the best there is: the first three alpha_bar above 0.7 and evenly apart, such as 0.93, 0.85 and 0.73, and the last one between 0.02 and 0.1.",
    ),
    _four_steps,
    kind="train",
    needs=("vae_vs_vdm.single_step",),
)
