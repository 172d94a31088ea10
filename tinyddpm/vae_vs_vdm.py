r"""Chapter 4. From the VAE to diffusion: one latent, then a chain of them, then a chain that is not learned.

Where everything is linear and Gaussian, the evidence, the posterior and the bound are all exact, so each statement of
the chapter is an equality of numbers. Here covariances may be full matrices; data has shape (..., d) and the last axis
is the vector. `VAE` and `AutoEncoder`, the networks of the chapter's experiments, are in `experiments.autoencoders`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from . import elbo, forward
from .arrays import Array, sqrt
from .door import check_covariance, check_finite
from .elbo import gaussian_kl, gaussian_log_prob
from .equation import equation
from .forward import Schedule, Step, reparameterize
from .mixture import Mixture

# One latent: the VAE. ------------------------------------------------------------------------------------------------


@equation("Kingma & Welling 2014, App. B", derived_from=[gaussian_kl])
def kl_to_standard_normal(mean: Array, var: Array) -> Array:
    r"""Prior matching of the VAE: the divergence from the encoder's answer to the prior.

    $$
    D_{\mathrm{KL}}\big(\mathcal N(\mu, \sigma^2) \,\Vert\, \mathcal N(0, 1)\big)
    = \frac{1}{2}\big(\mu^2 + \sigma^2 - 1 - \log\sigma^2\big)
    $$

    Args:
        mean: of the encoder, shape (batch, ...).
        var: its variance, above 0.

    Returns:
        Shape (batch,), summed over the latent's dimensions.
    """
    return gaussian_kl(mean, var, 0.0, 1.0)


@equation(
    "Kingma & Welling 2014, Eq. 3; Luo 2022, Eq. 19",
    derived_from=[elbo.elbo, kl_to_standard_normal],
    require={
        "log_likelihood must be one number for each sample": "shape(mean + var)[:1] in ((), shape(log_likelihood))"
    },
    shapes="log_likelihood (batch) or 0",
)
def vae_elbo(log_likelihood: Array, mean: Array, var: Array) -> Array:
    r"""The bound of the VAE: reconstruct well, and stay near the prior.

    $$
    \mathrm{ELBO} = \mathbb E_q[\log p(x \mid z)] - \frac{1}{2}\big(\mu^2 + \sigma^2 - 1 - \log\sigma^2\big)
    $$

    Args:
        log_likelihood: the mean of log p(x given z) over the encoder, or one draw of it, shape (batch,).
        mean: of the encoder, shape (batch, ...).
        var: its variance, above 0.

    Returns:
        Shape (batch,).
    """
    return log_likelihood - kl_to_standard_normal(mean, var)


# How to differentiate a mean. ----------------------------------------------------------------------------------------


@equation("Kingma & Welling 2014, Sec. 2.4", derived_from=[reparameterize], unproved="function")
def reparameterized_gradient(
    df: Callable[[Array], Array], mean: Array, var: Array, noise: Array
) -> tuple[Array, Array]:
    r"""The gradient of a mean over a Gaussian, one draw of it: move the sample with the parameters.

    $$
    \frac{\partial}{\partial\mu}\,\mathbb E[f(z)] = \mathbb E\,f'(z), \quad
    \frac{\partial}{\partial\sigma^2}\,\mathbb E[f(z)] = \mathbb E\,\frac{f'(z)\,\epsilon}{2\sigma}, \qquad
    z = \mu + \sigma\,\epsilon
    $$

    Args:
        noise: standard normal, any shape.

    Returns:
        By the mean and by the variance, in the shape of ``noise``.
    """
    slope = df(reparameterize(mean, var, noise))
    return slope, slope * noise / (2 * sqrt(var))


@equation(
    "Kingma & Welling 2014, Sec. 2.2",
    derived_from=[gaussian_log_prob],
    where={"f": "(x) -> fits x"},
    unproved="function",
)
def score_function_gradient(f: Callable[[Array], Array], mean: Array, var: Array, noise: Array) -> tuple[Array, Array]:
    r"""The same gradient without a derivative of f: weigh each sample by how its log-density changes.

    $$
    \frac{\partial}{\partial\mu}\,\mathbb E[f(z)] = \mathbb E\,\frac{f(z)\,\epsilon}{\sigma}, \quad
    \frac{\partial}{\partial\sigma^2}\,\mathbb E[f(z)] = \mathbb E\,\frac{f(z)\,(\epsilon^2 - 1)}{2\sigma^2}, \qquad
    z = \mu + \sigma\,\epsilon
    $$

    Args:
        f: any function, differentiable or not; of a vector, with a last axis of length 1.
        noise: standard normal, any shape.

    Returns:
        By the mean and by the variance, in the shape of ``noise``.
    """
    value = f(reparameterize(mean, var, noise))
    return value * noise / sqrt(var), value * (noise**2 - 1) / (2 * var)


# Normal distributions with full covariances. -------------------------------------------------------------------------


class Normal(NamedTuple):
    """A normal distribution of vectors: `mean`, shape (..., d), and `cov`, the covariance, shape (d, d)."""

    mean: np.ndarray
    cov: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the mean."""
        return np.shape(self.mean)

    @classmethod
    def standard(cls, d: int) -> Normal:
        """N(0, I) of d numbers."""
        return cls(np.zeros(d), np.eye(d))


@equation(
    "Bishop 2006, Sec. 2.3",
    derived_from=[gaussian_log_prob],
    where={"mean_q": "table real", "mean_p": "table real", "cov_q": "covariance [0, inf)"},
    shapes="mean_q (..., d), cov_q (d, d) or 0, mean_p (..., d) or (d) or 0, cov_p (d, d)",
    unproved="matrices",
)
def expected_log_prob(mean_q: Array, cov_q: Array, mean_p: Array, cov_p: Array) -> Array:
    r"""The mean of log p under q, for two normal distributions of vectors.

    $$
    \mathbb E_q[\log p] = -\tfrac12\Big(\log\det(2\pi\Sigma_p) + \operatorname{tr}\big(\Sigma_p^{-1}\Sigma_q\big)
    + (\mu_q - \mu_p)^\top \Sigma_p^{-1} (\mu_q - \mu_p)\Big)
    $$

    With $\Sigma_q = 0$ it is the log-density of p at $\mu_q$. The trace of a product of symmetric matrices is the sum of
    the products of their entries.

    Returns:
        Shape (...).
    """
    off, precision = mean_q - mean_p, np.linalg.inv(cov_p)
    trace = (precision * cov_q).sum()
    square = (off @ precision * off).sum(-1)
    log_det = np.linalg.slogdet(2 * math.pi * cov_p)[1]
    return -(log_det + trace + square) / 2


@equation(
    "Luo 2022, Eq. 86",
    derived_from=[expected_log_prob, gaussian_kl],
    where={"mean_q": "table real", "mean_p": "table real"},
    shapes="mean_q (..., d), cov_q (d, d), mean_p (..., d) or (d) or 0, cov_p (d, d)",
    unproved="matrices",
)
def normal_kl(mean_q: Array, cov_q: Array, mean_p: Array, cov_p: Array) -> Array:
    r"""Divergence between two normal distributions of vectors.

    $$
    D_{\mathrm{KL}}(q \,\Vert\, p) = \frac{1}{2}\bigg(\log\frac{\det\Sigma_p}{\det\Sigma_q} - d
    + \operatorname{tr}\big(\Sigma_p^{-1}\Sigma_q\big) + (\mu_p - \mu_q)^\top \Sigma_p^{-1} (\mu_p - \mu_q)\bigg)
    $$

    It is the mean of log q less the mean of log p, both under q.

    Returns:
        Shape (...).
    """
    own = expected_log_prob(mean_q, cov_q, mean_q, cov_q)
    return own - expected_log_prob(mean_q, cov_q, mean_p, cov_p)


# A VAE in which nothing is approximate. ------------------------------------------------------------------------------


class LinearVAE:
    r"""The VAE whose decoder is linear, $x = W z + b + \text{noise}$: probabilistic PCA. Nothing in it is approximate.

    Args:
        W: shape (d, k).
        b: shape (d,).
        var: variance of the noise, above 0.

    Raises:
        ValueError: when shapes do not fit, or a number is not finite or ``var`` not above 0.
    """

    def __init__(self, W: Array, b: Array, var: float) -> None:
        self.W, self.b = (check_finite(name, _float(value)) for name, value in {"W": W, "b": b}.items())
        if self.W.ndim != 2 or self.b.shape != self.W.shape[:1]:
            raise ValueError(f"W must be (d, k) and b (d,), got {self.W.shape} and {self.b.shape}")
        if not 0 < var < math.inf:
            raise ValueError(f"var must be above 0 and finite, got {var!r}")
        self.var = float(var)

    @property
    def sizes(self) -> dict[str, int]:
        """The lengths of data and code, for the door."""
        return {"d": self.W.shape[0], "k": self.W.shape[1]}

    @property
    def decoder(self) -> Linear:
        """p(x given z)."""
        return Linear(self.W, self.b, self.var * np.eye(len(self.b)))

    @equation(
        "Tipping & Bishop 1999, probability model",
        derived_from=[expected_log_prob],
        where={"x": "table real"},
        shapes="x (..., d)",
        unproved="matrices",
    )
    def log_prob(self, x: Array) -> Array:
        r"""The evidence: z is integrated out, and what is left is a Gaussian.

        $$
        p(x) = \mathcal N\big(x;\ b,\ W W^\top + \sigma^2 I\big)
        $$

        Returns:
            log p(x), shape (...).
        """
        cov = self.W @ self.W.T + self.var * np.eye(len(self.b))
        return expected_log_prob(x, 0.0, self.b, cov)

    @equation(
        "Tipping & Bishop 1999, probability model",
        derived_from=[log_prob],
        where={"x": "table real"},
        shapes="x (..., d)",
        unproved="matrices",
    )
    def posterior(self, x: Array) -> Normal:
        r"""The true posterior, which the encoder imitates.

        $$
        p(z \mid x) = \mathcal N\big(z;\ M^{-1} W^\top (x - b),\ \sigma^2 M^{-1}\big), \qquad M = W^\top W + \sigma^2 I
        $$
        """
        M = self.W.T @ self.W + self.var * np.eye(self.W.shape[1])
        mean = (x - self.b) @ np.linalg.solve(M, self.W.T).T
        return Normal(mean, self.var * np.linalg.inv(M))

    @equation(
        "Kingma & Welling 2014, Eq. 3",
        derived_from=[log_prob, vae_elbo, normal_kl],
        where={"x": "table real", "mean": "table real"},
        shapes="x (..., d), mean (..., k) or (k), cov (k, k)",
        unproved="matrices",
    )
    def elbo(self, x: Array, mean: Array, cov: Array) -> Array:
        r"""The bound for any Gaussian encoder; for the true posterior it is log p(x), for any other less by their divergence.

        $$
        \mathrm{ELBO} = \mathbb E_{q(z)}[\log p(x \mid z)] - D_{\mathrm{KL}}\big(q(z) \,\Vert\, \mathcal N(0, I)\big)
        $$

        Args:
            mean: of the encoder, shape (..., k).
            cov: its covariance, shape (k, k).

        Returns:
            Shape (...).
        """
        seen, spread = mean @ self.W.T + self.b, self.W @ cov @ self.W.T
        noise, prior = self.var * np.eye(len(self.b)), np.eye(len(cov))
        likelihood = expected_log_prob(x, spread, seen, noise)
        return likelihood - normal_kl(mean, cov, 0.0, prior)


# Many latents: the hierarchical VAE. ---------------------------------------------------------------------------------


class Linear(NamedTuple):
    """A linear-Gaussian conditional: given z, shape (k,), the output is N(weight z + bias, cov).

    Shapes: weight (d, k), bias (d,), cov (d, d). One step less another, ``back - up``, is what the first makes of z less
    the mean that the second makes of it.
    """

    weight: np.ndarray
    bias: np.ndarray
    cov: np.ndarray

    @classmethod
    def noising(cls, step: Step, d: int) -> Linear:
        """`forward.transition` of d numbers."""
        return cls(math.sqrt(step.alpha) * np.eye(d), np.zeros(d), step.beta * np.eye(d))

    @property
    def sizes(self) -> dict[str, int]:
        """The lengths of output and input, for the door."""
        return {"d": self.weight.shape[0], "k": self.weight.shape[1]}

    @property
    def noise(self) -> Normal:
        """What the step adds: N(0, cov)."""
        return Normal(0 * self.bias, self.cov)

    def mean(self, z: np.ndarray) -> np.ndarray:
        """The mean of the output for one z or many, shape (..., k)."""
        return z @ self.weight.T + self.bias

    def __sub__(self, other: Linear) -> Linear:
        return Linear(self.weight - other.weight, self.bias - other.bias, self.cov)

    @equation(
        "Bishop 2006, Sec. 2.3.3",
        derived_from=[forward.merged_variance],
        shapes="normal (..., k)",
        unproved="matrices",
    )
    def marginal(self, normal: Normal) -> Normal:
        r"""What a linear step makes of a normal distribution: again one.

        $$
        z \sim \mathcal N(m, S) \;\Rightarrow\; W z + b + \text{noise} \sim \mathcal N\big(W m + b,\ W S W^\top + C\big)
        $$
        """
        spread = self.weight @ normal.cov @ self.weight.T
        return Normal(self.mean(normal.mean), spread + self.cov)

    @equation(
        "Bishop 2006, Sec. 2.3.3",
        derived_from=[marginal, LinearVAE.posterior],
        shapes="normal (..., k)",
        unproved="matrices",
    )
    def posterior(self, normal: Normal) -> Linear:
        r"""Bayes' rule for a linear step: where z was, for one who sees y. It is linear in y.

        $$
        p(z \mid y) = \mathcal N\big(z;\ m + K\,(y - W m - b),\ S - K W S\big), \qquad
        K = S W^\top \big(W S W^\top + C\big)^{-1}
        $$

        The code writes $S - K W S$ as $(I - K W)\,S\,(I - K W)^\top + K C K^\top$, a sum of what is never negative.

        Args:
            normal: the distribution of z before y is seen.

        Returns:
            The step from y back to z.
        """
        seen = self.marginal(normal)
        gain = np.linalg.solve(seen.cov, self.weight @ normal.cov).T
        rest = np.eye(len(gain)) - gain @ self.weight
        cov = rest @ normal.cov @ rest.T + gain @ self.cov @ gain.T
        return Linear(gain, normal.mean - seen.mean @ gain.T, cov)


class Chain:
    """A Markovian hierarchical VAE x = z_0, z_1, .., z_T of which every step is linear and Gaussian.

    Args:
        encoder: q(z_t given z_{t-1}) for t = 1..T.
        decoder: p(z_{t-1} given z_t) for t = 1..T.
        prior: p(z_T).

    Raises:
        ValueError: when the steps do not fit together, or a number in them is not finite.
    """

    def __init__(self, encoder: Sequence[Linear], decoder: Sequence[Linear], prior: Normal) -> None:
        if not encoder or len(encoder) != len(decoder):
            raise ValueError(
                f"encoder and decoder need the same number of steps, got {len(encoder)} and {len(decoder)}"
            )
        self.encoder, self.decoder = ([Linear(*map(_float, step)) for step in steps] for steps in (encoder, decoder))
        self.prior = Normal(*map(_float, prior))
        sizes = [self.encoder[0].weight.shape[1], *(len(step.bias) for step in self.encoder)]
        for t, (down, up) in enumerate(self.steps, start=1):
            if down.weight.shape != (sizes[t], sizes[t - 1]) or up.weight.shape != (sizes[t - 1], sizes[t]):
                raise ValueError(
                    f"at t = {t} the encoder's weight must be {(sizes[t], sizes[t - 1])} and the decoder's its transpose's "
                    f"shape, got {down.weight.shape} and {up.weight.shape}"
                )
            _check_step(f"of the encoder at t = {t}", down, sizes[t])
            _check_step(f"of the decoder at t = {t}", up, sizes[t - 1])
        _check_normal("of the prior", self.prior, sizes[-1])

    @property
    def T(self) -> int:
        """The number of latents."""
        return len(self.encoder)

    @property
    def steps(self) -> list[tuple[Linear, Linear]]:
        """The encoder's step and the decoder's, for t = 1..T."""
        return list(zip(self.encoder, self.decoder, strict=True))

    @property
    def sizes(self) -> dict[str, int]:
        """The length of the data, for the door."""
        return {"d": self.encoder[0].weight.shape[1]}

    def marginals(self, x: Array) -> list[Normal]:
        """q(z_t given x) for t = 0..T, by `Linear.marginal`; z_0 is x itself, with covariance 0."""
        x, d = check_finite("x", _float(x)), self.sizes["d"]
        if x.shape[-1:] != (d,):
            raise ValueError(f"x must have the shape (..., {d}), got {x.shape}")
        z = [Normal(x, np.zeros((d, d)))]
        for step in self.encoder:
            z.append(step.marginal(z[-1]))
        return z

    @equation(
        "Luo 2022, Eqs. 1 and 23",
        derived_from=[expected_log_prob, Linear.marginal],
        where={"x": "table real"},
        shapes="x (..., d)",
        unproved="matrices",
    )
    def log_prob(self, x: Array) -> Array:
        r"""The evidence: the prior, pushed through all decoders.

        $$
        p(x) = \int p(z_T)\,p(x \mid z_1) \prod_{t=2}^T p(z_{t-1} \mid z_t)\,dz_{1:T}
        $$

        Returns:
            log p(x), shape (...).
        """
        z = self.prior
        for step in reversed(self.decoder):
            z = step.marginal(z)
        return expected_log_prob(x, 0.0, *z)

    @equation(
        "derived here",
        derived_from=[Linear.marginal],
        where={"x": "table real"},
        shapes="x (..., d)",
        unproved="matrices",
    )
    def residuals(self, x: Array) -> list[Normal]:
        r"""By how much the decoder's mean misses $z_{t-1}$ when it sees the $z_t$ that the encoder made of it.

        $$
        z_{t-1} - \hat W z_t - \hat b \sim \mathcal N\big(V m - \hat W b - \hat b,\
        V S V^\top + \hat W C \hat W^\top\big), \qquad
        V = I - \hat W W, \quad z_{t-1} \sim \mathcal N(m, S)
        $$

        $W, b, C$ are the encoder's at t, $\hat W, \hat b$ the decoder's.

        Returns:
            For t = 1..T.
        """
        found = []
        for z, (down, up) in zip(self.marginals(x)[:-1], self.steps, strict=True):
            left = np.eye(len(up.bias)) - up.weight @ down.weight
            noise = up.weight @ down.cov @ up.weight.T
            found.append(Linear(left, -up.mean(down.bias), noise).marginal(z))
        return found


@equation(
    "Luo 2022, Eqs. 25-29",
    derived_from=[elbo.elbo, Chain.log_prob, Chain.residuals, expected_log_prob],
    where={"x": "table real"},
    shapes="x (..., d)",
    unproved="matrices",
)
def hierarchical_elbo(chain: Chain, x: Array) -> Array:
    r"""The bound of a chain of latents, term by term as it stands: no decomposition, no Bayes.

    $$
    \mathrm{ELBO} = \mathbb E_{q(z_{1:T} \mid x)}\bigg[\log\frac{p(z_T)\,p(x \mid z_1)\prod_{t=2}^T p(z_{t-1} \mid z_t)}
    {q(z_1 \mid x)\prod_{t=2}^T q(z_t \mid z_{t-1})}\bigg]
    $$

    Returns:
        Shape (...).
    """
    top = expected_log_prob(*chain.marginals(x)[-1], *chain.prior)
    missed = zip(chain.residuals(x), chain.decoder, strict=True)
    p = [expected_log_prob(*miss, *step.noise) for miss, step in missed]
    q = [expected_log_prob(*step.noise, *step.noise) for step in chain.encoder]
    return top + sum(p) - sum(q)


@equation(
    "Luo 2022, Eqs. 34-44",
    derived_from=[hierarchical_elbo, elbo.consistency],
    where={"x": "table real"},
    shapes="x (..., d)",
    unproved="matrices",
)
def consistency_elbo(chain: Chain, x: Array) -> Array:
    r"""The first decomposition: at every z_t, what comes from below should agree with what comes from above.

    $$
    \begin{aligned}
    \mathrm{ELBO} ={}& \mathbb E_{q(z_1 \mid x)}[\log p(x \mid z_1)]
    - \mathbb E_{q(z_{T-1} \mid x)}\big[D_{\mathrm{KL}}\big(q(z_T \mid z_{T-1}) \,\Vert\, p(z_T)\big)\big] \\
    &- \sum_{t=1}^{T-1} \mathbb E_{q(z_{t-1}, z_t, z_{t+1} \mid x)}\bigg[
    \log\frac{q(z_t \mid z_{t-1})}{p(z_t \mid z_{t+1})}\bigg]
    \end{aligned}
    $$

    The means are those of `hierarchical_elbo`, in pairs that speak of the same z_t.

    Returns:
        Shape (...).
    """
    top = expected_log_prob(*chain.marginals(x)[-1], *chain.prior)
    missed = zip(chain.residuals(x), chain.decoder, strict=True)
    p = [expected_log_prob(*miss, *step.noise) for miss, step in missed]
    q = [expected_log_prob(*step.noise, *step.noise) for step in chain.encoder]
    agree = sum(q_t - p_t for q_t, p_t in zip(q[:-1], p[1:], strict=True))
    return p[0] - (q[-1] - top) - agree


@equation(
    "Luo 2022, Eqs. 47-58; Ho et al. 2020, Eq. 5",
    derived_from=[hierarchical_elbo, Linear.posterior, elbo.denoising_matching],
    where={"x": "table real"},
    shapes="x (..., d)",
    unproved="matrices",
)
def denoising_elbo(chain: Chain, x: Array) -> Array:
    r"""The second decomposition: a step back should be the one of somebody who knows x.

    $$
    \begin{aligned}
    \mathrm{ELBO} ={}& \mathbb E_{q(z_1 \mid x)}[\log p(x \mid z_1)]
    - D_{\mathrm{KL}}\big(q(z_T \mid x) \,\Vert\, p(z_T)\big) \\
    &- \sum_{t=2}^T \mathbb E_{q(z_t \mid x)}\big[
    D_{\mathrm{KL}}\big(q(z_{t-1} \mid z_t, x) \,\Vert\, p(z_{t-1} \mid z_t)\big)\big]
    \end{aligned}
    $$

    Each divergence is a mean of log q less a mean of log p.

    Returns:
        Shape (...).
    """
    z = chain.marginals(x)
    total = -normal_kl(*z[-1], *chain.prior)
    for t, (down, up) in enumerate(chain.steps):
        back = down.posterior(z[t])
        apart = (back - up).marginal(z[t + 1])
        total = total + expected_log_prob(*apart, *up.noise)
        if t > 0:
            total = total - expected_log_prob(*back.noise, *back.noise)
    return total


# A chain that is not learned: the diffusion model. -------------------------------------------------------------------


@equation("Luo 2022, Eqs. 30-33", derived_from=[forward.transition, forward.marginal], unproved="matrices")
def as_vdm(chain: Chain, alpha_bar_max: float = 0.01) -> Schedule:
    r"""Read a chain as a diffusion model, which is a hierarchical VAE under three restrictions.

    $$
    q(z_t \mid z_{t-1}) = \mathcal N\big(z_t;\ \sqrt{\alpha_t}\,z_{t-1},\ (1-\alpha_t) I\big), \qquad
    \dim z_t = \dim x, \qquad q(z_T \mid x) \approx p(z_T) = \mathcal N(0, I)
    $$

    Returns:
        Its schedule.

    Raises:
        ValueError: naming the first restriction that does not hold, and where.
    """
    d = chain.sizes["d"]
    schedule = Schedule([step.cov[0, 0] for step in chain.encoder])
    for t, step in enumerate(schedule, start=1):
        noising = Linear.noising(step, d)
        _check_same(f"the encoder at t = {t}", chain.encoder[t - 1], noising)
    _check_same("the prior", chain.prior, Normal.standard(d))
    _check_noise(step.alpha_bar, alpha_bar_max)
    return schedule


@equation(
    "derived here",
    derived_from=[as_vdm, forward.transition, Linear.posterior],
    where={"mean": "table real"},
    shapes="mean (d), cov (d, d)",
    unproved="matrices",
)
def ideal_chain(schedule: Schedule, mean: Array, cov: Array) -> Chain:
    r"""The diffusion model that knows its Gaussian data: every step back is the true one. Only the start from noise is off.

    $$
    p(x_{t-1} \mid x_t) = q(x_{t-1} \mid x_t), \qquad x_0 \sim \mathcal N(\mu, \Sigma)
    $$

    Args:
        mean: of the data, shape (d,).
        cov: of the data, shape (d, d).
    """
    encoder = [Linear.noising(step, len(mean)) for step in schedule]
    decoder, data = [], Normal(mean, cov)
    for down in encoder:
        decoder.append(down.posterior(data))
        data = down.marginal(data)
    return Chain(encoder, decoder, Normal.standard(len(mean)))


@equation(
    "derived here",
    derived_from=[vae_elbo, forward.marginal, elbo.prior_matching],
    require={"log_likelihood must be one number for each sample": "shape(x_0)[:1] in ((), shape(log_likelihood))"},
    shapes="log_likelihood (batch) or 0",
)
def one_step_elbo(log_likelihood: Array, x_0: Array, step: Step) -> Array:
    r"""A diffusion model of one step is a VAE: x_0 is x, x_1 is z, and the encoder is the forward step.

    $$
    \mathrm{ELBO} = \mathbb E_q[\log p(x \mid z)] - \frac{1}{2}\Big(\bar\alpha_1\,\big(x_0^2 - 1\big) - \log(1-\bar\alpha_1)\Big)
    $$

    Args:
        log_likelihood: the mean of log p(x_0 given x_1) over the forward step, or one draw of it, shape (batch,).
        x_0: clean samples, shape (batch, ...).
        step: the schedule at t = T = 1.

    Returns:
        Shape (batch,).
    """
    return vae_elbo(log_likelihood, *forward.marginal(x_0, step))


def quadrature(mixture: Mixture, n: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Points on the line, shape (n k, 1), and their weights under a mixture: the trapezoidal rule over each component.

    Exact for what is this smooth, and however narrow the components are.
    """
    z = np.linspace(-12, 12, n)[:, None]
    weight = mixture.weights * np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    return (mixture.means[:, 0] + np.sqrt(mixture.variances) * z).reshape(-1, 1), weight.ravel()


@equation(
    "Ho et al. 2020, Eq. 16",
    derived_from=[elbo.vlb, Mixture.reverse, elbo.gaussian_entropy],
    where={"variance": ("shared", "each")},
    require={
        "mixture must be a single one in one dimension": "shape(mixture.means)[1:] == (1,)",
        "mixture must have variances above 0": "mixture.variances > 0",
    },
    unproved="integral",
)
def elbo_gap(mixture: Mixture, schedule: Schedule, variance: str = "shared") -> float:
    r"""What T Gaussian steps still lose on a mixture, when each has the right mean and the best variance.

    $$
    \mathbb E[\log q(x_0) - \mathrm{ELBO}] = D_{\mathrm{KL}}\big(q(x_T) \,\Vert\, p(x_T)\big) + \sum_{t=1}^T
    \mathbb E\,D_{\mathrm{KL}}\big(q(x_{t-1} \mid x_t) \,\Vert\, p(x_{t-1} \mid x_t)\big)
    $$

    By the chain rule the entropy of $q(x_{t-1} \mid x_t)$ is that of $x_{t-1}$ plus that of the noise less that of $x_t$,
    so that in the sum only both ends stay, and $\tfrac12\,\mathbb E\log(v_t/\beta_t)$ for every step, where $v_t$ is the
    variance of the step back. All that is left are integrals over one number, by `quadrature`.

    Args:
        mixture: in one dimension, with variances above 0; where components overlap, none more than some forty times as
            wide as another, or digits are lost.
        variance: of the model's step: "shared" for one at each t, "each" for one at each x_t.

    Returns:
        In nats, at least 0.
    """
    x, weight = quadrature(mixture)
    loss = weight @ mixture.log_prob(x)
    for step in schedule:
        x, weight = quadrature(mixture.diffuse(step))
        back = mixture.reverse(x, step).var()[:, 0]
        if variance == "shared":
            back[:] = weight @ back
        loss += weight @ np.log(back / step.beta) / 2
    return float(loss - weight @ gaussian_log_prob(x[:, 0], 0.0, 1.0))


# What is refused. ----------------------------------------------------------------------------------------------------


def _float(value: Array) -> np.ndarray:
    return np.asarray(value, dtype=np.float64)


def _check_step(whose: str, step: Linear, d: int) -> None:
    check_finite(f"weight {whose}", step.weight)
    _check_normal(whose, Normal(step.bias, step.cov), d)


def _check_normal(whose: str, normal: Normal, d: int) -> None:
    """Refuse what is no normal distribution of d numbers, by name."""
    check_finite(f"mean {whose}", normal.mean)
    if normal.mean.shape != (d,):
        raise ValueError(f"mean {whose} must have the shape {(d,)}, got {normal.mean.shape}")
    check_covariance(f"cov {whose}", normal.cov)
    if normal.cov.shape != (d, d):
        raise ValueError(f"cov {whose} must have the shape {(d, d)}, got {normal.cov.shape}")


def _check_same(name: str, part: Linear | Normal, wanted: Linear | Normal) -> None:
    """Refuse a part of a chain that is not the one of a diffusion model."""
    if len(part[1]) != len(wanted[1]):
        raise ValueError(f"{name} must keep the {len(wanted[1])} dimensions of the data, got {len(part[1])}")
    law = "N(0, I)" if isinstance(wanted, Normal) else "N(sqrt(1 - beta) z, beta I)"
    for what, a, b in zip(part._fields, part, wanted, strict=True):
        off = abs(a - b).max()
        if off > 1e-12:
            raise ValueError(f"{name} must be {law}, but its {what} is off by {off:.3g}")


def _check_noise(left: float, alpha_bar_max: float) -> None:
    """Refuse a chain that does not end in noise."""
    if left > alpha_bar_max:
        raise ValueError(f"z_T must be pure noise: alpha_bar_T must be at most {alpha_bar_max}, got {left:.3g}")
