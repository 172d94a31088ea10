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
from .elbo import gaussian_kl
from .arrays import Array, sqrt
from .equation import equation
from .forward import Schedule, Step, reparameterize
from .mixture import Mixture


class Normal(NamedTuple):
    """A normal distribution of vectors: `mean`, shape (..., d), and `cov`, the covariance, shape (d, d)."""

    mean: np.ndarray
    cov: np.ndarray


class Linear(NamedTuple):
    """A linear-Gaussian conditional: given z, shape (k,), the output is N(weight z + bias, cov).

    Shapes: weight (d, k), bias (d,), cov (d, d).
    """

    weight: np.ndarray
    bias: np.ndarray
    cov: np.ndarray

    def __call__(self, given: Normal) -> Normal:
        """What becomes of a normal distribution: mean and covariance of the output."""
        return Normal(self.mean(given.mean), _spread(self.weight, given.cov) + self.cov)

    def mean(self, z: np.ndarray) -> np.ndarray:
        """The mean of the output for one z or many, shape (..., k)."""
        return z @ self.weight.T + self.bias


VECTORS = "mean_q (..., d), cov_q (d, d) or 0, mean_p (..., d) or (d) or 0, cov_p (d, d)"
"""The shapes of two normal distributions of vectors."""


# Normal distributions with full covariances. -------------------------------------------------------------------------


@equation(
    "Bishop 2006, Sec. 2.3",
    derived_from=[elbo.gaussian_log_prob],
    where={"mean_q": "table real", "mean_p": "table real", "cov_q": "table real"},
    shapes=VECTORS,
    unproved="matrices",
)
def expected_log_prob(mean_q: Array, cov_q: Array, mean_p: Array, cov_p: Array) -> Array:
    r"""The mean of log p under q, for two normal distributions of vectors.

    $$
    \mathbb E_q[\log p] = -\tfrac12\Big(\log\det(2\pi\Sigma_p) + \operatorname{tr}\big(\Sigma_p^{-1}\Sigma_q\big)
    + (\mu_q - \mu_p)^\top \Sigma_p^{-1} (\mu_q - \mu_p)\Big)
    $$

    With $\Sigma_q = 0$ it is the log-density of p at $\mu_q$.

    Args:
        mean_q: shape (..., d).
        cov_q: shape (d, d), or 0.
        mean_p: shape (..., d).
        cov_p: shape (d, d), positive definite.

    Returns:
        Shape (...).
    """
    off = mean_q - mean_p
    half = np.linalg.cholesky(cov_p)
    square = (np.linalg.solve(half, off[..., None])[..., 0] ** 2).sum(-1)
    spread = np.trace(np.linalg.solve(cov_p, cov_q + np.zeros_like(cov_p)))
    return -(2 * np.log(np.diag(half)).sum() + len(cov_p) * math.log(2 * math.pi) + spread + square) / 2


@equation(
    "Luo 2022, Eq. 86",
    derived_from=[expected_log_prob, gaussian_kl],
    where={"mean_q": "table real", "mean_p": "table real"},
    shapes=VECTORS,
    unproved="matrices",
)
def normal_kl(mean_q: Array, cov_q: Array, mean_p: Array, cov_p: Array) -> Array:
    r"""Divergence between two normal distributions of vectors.

    $$
    D_{\mathrm{KL}}(q \,\Vert\, p) = \frac{1}{2}\bigg(\log\frac{\det\Sigma_p}{\det\Sigma_q} - d
    + \operatorname{tr}\big(\Sigma_p^{-1}\Sigma_q\big) + (\mu_p - \mu_q)^\top \Sigma_p^{-1} (\mu_p - \mu_q)\bigg)
    $$

    Args:
        mean_q: shape (..., d).
        cov_q: shape (d, d), positive definite.
        mean_p: shape (..., d).
        cov_p: shape (d, d), positive definite.

    Returns:
        Shape (...).
    """
    return _neg_entropy(cov_q) - expected_log_prob(mean_q, cov_q, mean_p, cov_p)


# One latent: the VAE. ------------------------------------------------------------------------------------------------


@equation("Kingma & Welling 2014, App. B", derived_from=[gaussian_kl])
def kl_to_standard_normal(mean: Array, var: Array) -> Array:
    r"""Prior matching of the VAE: how far what the encoder says is from the prior.

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


@equation("Kingma & Welling 2014, Eq. 3; Luo 2022, Eq. 19", derived_from=[elbo.elbo, kl_to_standard_normal])
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


class LinearVAE:
    r"""The VAE whose decoder is linear, $x = W z + b + \text{noise}$: probabilistic PCA. Nothing in it is approximate.

    Args:
        W: shape (d, k).
        b: shape (d,).
        var: variance of the noise, above 0.
    """

    def __init__(self, W: Array, b: Array, var: float) -> None:
        self.W, self.b = np.asarray(W, dtype=np.float64), np.asarray(b, dtype=np.float64)
        if self.W.ndim != 2 or self.b.shape != self.W.shape[:1]:
            raise ValueError(f"W must be (d, k) and b (d,), got {self.W.shape} and {self.b.shape}")
        if not var > 0:
            raise ValueError(f"var must be above 0, got {var!r}")
        self.var = float(var)

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

        Args:
            x: shape (..., d).

        Returns:
            log p(x), shape (...).
        """
        return expected_log_prob(x, 0.0, *self.decoder(_standard(self.W.shape[1])))

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

        Args:
            x: shape (..., d).
        """
        M = self.W.T @ self.W + self.var * np.eye(self.W.shape[1])
        return Normal((x - self.b) @ np.linalg.solve(M, self.W.T).T, self.var * np.linalg.inv(M))

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
            x: shape (..., d).
            mean: of the encoder, shape (..., k).
            cov: its covariance, shape (k, k).

        Returns:
            Shape (...).
        """
        seen = Linear(self.W, self.b, np.zeros((len(self.b),) * 2))(Normal(mean, cov))
        prior = _standard(self.W.shape[1])
        return expected_log_prob(x, seen.cov, seen.mean, self.decoder.cov) - normal_kl(mean, cov, *prior)


# Many latents: the hierarchical VAE. ---------------------------------------------------------------------------------


class Chain:
    """A Markovian hierarchical VAE x = z_0, z_1, .., z_T of which every step is linear and Gaussian.

    Args:
        encoder: q(z_t given z_{t-1}) for t = 1..T.
        decoder: p(z_{t-1} given z_t) for t = 1..T.
        prior: p(z_T).

    Raises:
        ValueError: when the steps do not fit together.
    """

    def __init__(self, encoder: Sequence[Linear], decoder: Sequence[Linear], prior: Normal) -> None:
        if not encoder or len(encoder) != len(decoder):
            raise ValueError(
                f"encoder and decoder need the same number of steps, got {len(encoder)} and {len(decoder)}"
            )
        self.encoder, self.decoder = ([Linear(*map(_float, step)) for step in steps] for steps in (encoder, decoder))
        self.prior = Normal(*map(_float, prior))
        sizes = [self.encoder[0].weight.shape[1], *(len(step.bias) for step in self.encoder)]
        for t, (down, up) in enumerate(zip(self.encoder, self.decoder, strict=True), start=1):
            if down.weight.shape != (sizes[t], sizes[t - 1]) or up.weight.shape != (sizes[t - 1], sizes[t]):
                raise ValueError(
                    f"at t = {t} the encoder's weight must be {(sizes[t], sizes[t - 1])} and the decoder's its transpose's "
                    f"shape, got {down.weight.shape} and {up.weight.shape}"
                )
            _covariance(f"cov of the encoder at t = {t}", down.cov, sizes[t])
            _covariance(f"cov of the decoder at t = {t}", up.cov, sizes[t - 1])
        _covariance("cov of the prior", self.prior.cov, sizes[-1])

    @property
    def T(self) -> int:
        """The number of latents."""
        return len(self.encoder)

    def marginals(self, x: Array) -> list[Normal]:
        """q(z_t given x) for t = 0..T; z_0 is x itself, with covariance 0."""
        x = np.asarray(x, dtype=np.float64)
        d = self.encoder[0].weight.shape[1]
        if x.shape[-1:] != (d,):
            raise ValueError(f"x must have shape (..., {d}), got {x.shape}")
        known = [Normal(x, np.zeros((d, d)))]
        for step in self.encoder:
            known.append(step(known[-1]))
        return known

    @equation(
        "Luo 2022, Eqs. 1 and 23",
        derived_from=[expected_log_prob],
        where={"x": "table real"},
        shapes="x (..., d)",
        unproved="matrices",
    )
    def log_prob(self, x: Array) -> Array:
        r"""The evidence: the prior, pushed through all decoders.

        $$
        p(x) = \int p(z_T)\,p(x \mid z_1) \prod_{t=2}^T p(z_{t-1} \mid z_t)\,dz_{1:T}
        $$

        Args:
            x: shape (..., d).

        Returns:
            log p(x), shape (...).
        """
        z = self.prior
        for step in reversed(self.decoder):
            z = step(z)
        return expected_log_prob(x, 0.0, *z)


@equation(
    "Luo 2022, Eqs. 25-29",
    derived_from=[elbo.elbo, Chain.log_prob, expected_log_prob],
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

    Args:
        chain: T latents.
        x: shape (..., d).

    Returns:
        Shape (...).
    """
    z = chain.marginals(x)
    total = expected_log_prob(*z[-1], *chain.prior)
    for t, (down, up) in enumerate(zip(chain.encoder, chain.decoder, strict=True), start=1):
        off = z[t - 1].mean - up.mean(z[t].mean)  # z_{t-1} less what the decoder makes of z_t
        spread = _spread(np.eye(len(up.bias)) - up.weight @ down.weight, z[t - 1].cov) + _spread(up.weight, down.cov)
        total = total + expected_log_prob(off, spread, 0.0, up.cov) - _neg_entropy(down.cov)
    return total


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

    The code takes the mean over z_t by itself, as in `elbo.consistency`: given z_{t-1} and z_{t+1}.

    Args:
        chain: T latents.
        x: shape (..., d).

    Returns:
        Shape (...).
    """
    z, last = chain.marginals(x), chain.encoder[-1]
    total = _reconstruction(chain, z)
    total = total - _mean_kl(z[-1].mean - chain.prior.mean, _spread(last.weight, z[-2].cov), last.cov, chain.prior.cov)
    for t in range(1, chain.T):
        down, after, up = chain.encoder[t - 1], chain.encoder[t], chain.decoder[t]
        seen = _spread(after.weight, down.cov) + after.cov  # of z_{t+1} given z_{t-1}
        gain, cov = _back(after, down.cov)  # of q(z_t given z_{t-1}, z_{t+1})
        off = z[t].mean - up.mean(z[t + 1].mean)
        known = (np.eye(len(gain)) - up.weight @ after.weight) @ down.weight
        spread = _spread(known, z[t - 1].cov) + _spread(gain - up.weight, seen)
        total = total - _mean_kl(off, spread, cov, up.cov) + _mean_kl(0 * off, _spread(gain, seen), cov, down.cov)
    return total


@equation(
    "Luo 2022, Eqs. 47-58; Ho et al. 2020, Eq. 5",
    derived_from=[hierarchical_elbo, elbo.denoising_matching],
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

    Args:
        chain: T latents.
        x: shape (..., d).

    Returns:
        Shape (...).
    """
    z = chain.marginals(x)
    total = _reconstruction(chain, z) - normal_kl(*z[-1], *chain.prior)
    for t in range(2, chain.T + 1):
        down, up = chain.encoder[t - 1], chain.decoder[t - 1]
        gain, cov = _back(down, z[t - 1].cov)  # of q(z_{t-1} given z_t, x)
        off = z[t - 1].mean - up.mean(z[t].mean)
        total = total - _mean_kl(off, _spread(gain - up.weight, z[t].cov), cov, up.cov)
    return total


# A chain that is not learned: the diffusion model. -------------------------------------------------------------------


@equation("Luo 2022, Eqs. 30-33", derived_from=[forward.transition, forward.marginal], unproved="matrices")
def as_vdm(chain: Chain, alpha_bar_max: float = 0.01) -> Schedule:
    r"""Read a chain as a diffusion model, which is a hierarchical VAE under three restrictions.

    $$
    q(z_t \mid z_{t-1}) = \mathcal N\big(z_t;\ \sqrt{\alpha_t}\,z_{t-1},\ (1-\alpha_t) I\big), \qquad
    \dim z_t = \dim x, \qquad q(z_T \mid x) \approx p(z_T) = \mathcal N(0, I)
    $$

    Args:
        chain: T latents.
        alpha_bar_max: the largest alpha_bar_T at which the end still counts as pure noise.

    Returns:
        Its schedule.

    Raises:
        ValueError: naming the first restriction that does not hold, and where.
    """
    d = chain.encoder[0].weight.shape[1]
    for t, step in enumerate(chain.encoder, start=1):
        if len(step.bias) != d:
            raise ValueError(f"the latents must have the {d} dimensions of the data, but z_{t} has {len(step.bias)}")
    for t, step in enumerate(chain.encoder, start=1):
        var = step.cov[0, 0]
        fixed = (math.sqrt(max(1 - var, 0)) * np.eye(d), np.zeros(d), var * np.eye(d))
        if var > 1 or not all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(step, fixed, strict=True)):
            raise ValueError(
                f"the encoder must shrink by sqrt(1 - beta) and add noise of variance beta, but not at t = {t}"
            )
    schedule = Schedule([step.cov[0, 0] for step in chain.encoder])
    left = schedule[chain.T].alpha_bar
    if not all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(chain.prior, _standard(d), strict=True)):
        raise ValueError(f"the prior must be N(0, I), got {chain.prior}")
    if left > alpha_bar_max:
        raise ValueError(f"z_T must be pure noise: alpha_bar_T must be at most {alpha_bar_max}, got {left:.3g}")
    return schedule


@equation(
    "derived here",
    derived_from=[as_vdm, forward.transition, LinearVAE.posterior],
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
        schedule: T steps.
        mean: of the data, shape (d,).
        cov: of the data, shape (d, d), positive definite.
    """
    eye = np.eye(len(mean))
    encoder, decoder, data = [], [], Normal(mean, cov)
    for step in schedule:
        down = Linear(math.sqrt(step.alpha) * eye, np.zeros(len(eye)), step.beta * eye)
        noised = down(data)
        gain, rest = _back(down, data.cov)
        decoder.append(Linear(gain, data.mean - gain @ noised.mean, rest))
        encoder.append(down)
        data = noised
    return Chain(encoder, decoder, _standard(len(eye)))


@equation("derived here", derived_from=[vae_elbo, forward.marginal, elbo.prior_matching])
def one_step_elbo(log_likelihood: Array, x_0: Array, step: Step) -> Array:
    r"""A diffusion model of one step is a VAE: x_0 is x, x_1 is z, and the encoder is the forward step.

    $$
    \mathrm{ELBO} = \mathbb E_q[\log p(x \mid z)] - \frac{1}{2}\Big(\bar\alpha_t\,\big(x_0^2 - 1\big) - \log(1-\bar\alpha_t)\Big)
    $$

    Args:
        log_likelihood: the mean of log p(x_0 given x_1) over the forward step, or one draw of it, shape (batch,).
        x_0: clean samples, shape (batch, ...).
        step: the schedule at t = T = 1.

    Returns:
        Shape (batch,).
    """
    return vae_elbo(log_likelihood, *forward.marginal(x_0, step))


@equation(
    "Ho et al. 2020, Eq. 16",
    derived_from=[elbo.vlb, Mixture.reverse, elbo.gaussian_entropy],
    where={"variance": ("shared", "each")},
    require={"mixture must be a single one in one dimension": "mixture.means.ndim == 2 and mixture.means.shape[1] == 1"},
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
    variance of the step back. All that is left are integrals over one number.

    Args:
        mixture: in one dimension, with variances above 0; where components overlap, none more than some forty times as
            wide as another, or digits are lost.
        schedule: T steps.
        variance: of the model's step: "shared" for one at each t, "each" for one at each x_t.

    Returns:
        In nats, at least 0.
    """
    x, weight = _grid(mixture)
    loss = weight @ mixture.log_prob(x)
    for step in schedule:
        x, weight = _grid(mixture.diffuse(step))
        back = mixture.reverse(x, step).var()[:, 0]
        log_var = math.log(weight @ back) if variance == "shared" else weight @ np.log(back)
        loss += (log_var - math.log(step.beta)) / 2
    return float(loss + (math.log(2 * math.pi) + weight @ x[:, 0] ** 2) / 2)


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
        df: the derivative f'.
        mean: $\mu$.
        var: $\sigma^2$, above 0.
        noise: standard normal, any shape.

    Returns:
        By the mean and by the variance, in the shape of ``noise``.
    """
    slope = df(reparameterize(mean, var, noise))
    return slope, slope * noise / (2 * sqrt(var))


@equation("Kingma & Welling 2014, Sec. 2.2", derived_from=[elbo.gaussian_log_prob], unproved="function")
def score_function_gradient(f: Callable[[Array], Array], mean: Array, var: Array, noise: Array) -> tuple[Array, Array]:
    r"""The same gradient without a derivative of f: weigh each sample by how its log-density changes.

    $$
    \frac{\partial}{\partial\mu}\,\mathbb E[f(z)] = \mathbb E\,\frac{f(z)\,\epsilon}{\sigma}, \quad
    \frac{\partial}{\partial\sigma^2}\,\mathbb E[f(z)] = \mathbb E\,\frac{f(z)\,(\epsilon^2 - 1)}{2\sigma^2}, \qquad
    z = \mu + \sigma\,\epsilon
    $$

    Args:
        f: any function, differentiable or not.
        mean: $\mu$.
        var: $\sigma^2$, above 0.
        noise: standard normal, any shape.

    Returns:
        By the mean and by the variance, in the shape of ``noise``.
    """
    value = f(reparameterize(mean, var, noise))
    return value * noise / sqrt(var), value * (noise**2 - 1) / (2 * var)


# Matrices. -----------------------------------------------------------------------------------------------------------


def _float(value: Array) -> np.ndarray:
    return np.asarray(value, dtype=np.float64)


def _standard(d: int) -> Normal:
    return Normal(np.zeros(d), np.eye(d))


def _spread(weight: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """The covariance of weight z."""
    return weight @ cov @ weight.T


def _back(step: Linear, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bayes: the weight of the step back from what `step` makes of z, and the covariance that is left of `cov`, that of z."""
    gain = np.linalg.solve(_spread(step.weight, cov) + step.cov, step.weight @ cov).T
    return gain, _spread(np.eye(len(cov)) - gain @ step.weight, cov) + _spread(gain, step.cov)


def _neg_entropy(cov: np.ndarray) -> float:
    """E[log q] of a normal distribution."""
    return -(len(cov) * math.log(2 * math.pi * math.e) + np.linalg.slogdet(cov)[1]) / 2


def _mean_kl(off: np.ndarray, spread: np.ndarray, cov_q: np.ndarray, cov_p: np.ndarray) -> Array:
    """The mean of a divergence whose means differ by something random, of mean `off` and covariance `spread`."""
    return normal_kl(off, cov_q, 0.0, cov_p) + np.trace(np.linalg.solve(cov_p, spread)) / 2


def _reconstruction(chain: Chain, z: Sequence[Normal]) -> Array:
    """E[log p(x given z_1)]."""
    seen = chain.decoder[0]
    return expected_log_prob(z[0].mean, _spread(seen.weight, z[1].cov), seen.mean(z[1].mean), seen.cov)


def _grid(mixture: Mixture, n: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Points on the line and their weights under a mixture, by the trapezoidal rule over each component.

    Exact for what is this smooth, and however narrow the components are.
    """
    z = np.linspace(-12, 12, n)[:, None]
    weight = mixture.weights * np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    return (mixture.means[:, 0] + np.sqrt(mixture.variances) * z).reshape(-1, 1), weight.ravel()


def _covariance(name: str, cov: Array, d: int | None = None) -> np.ndarray:
    """Refuse what is no covariance, by name."""
    cov = _float(cov)
    if cov.ndim != 2 or cov.shape != (d or len(cov),) * 2 or not np.allclose(cov, cov.T, rtol=1e-9, atol=0):
        raise ValueError(f"{name} must be a symmetric matrix{f' of size {d}' if d else ''}, got {cov!r}")
    if not np.linalg.eigvalsh(cov)[0] > 0:
        raise ValueError(f"{name} must be positive definite, got {cov!r}")
    return cov
