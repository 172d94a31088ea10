r"""The running example: a Gaussian mixture, for which everything a network has to learn is a closed form.

Noise turns a mixture into a mixture, and so does Bayes' rule, so the marginals, the scores, the best possible denoiser
and the true reverse kernels are all exact, at every t. Whatever the book says of "the ideal model" is computed here.
"""

from __future__ import annotations

import bisect
import math

import array_api_compat
import numpy as np

from . import forward
from .arrays import Array, convert, exp, inner, is_tensor, log, log_sum_exp, sqrt, to_numpy
from .door import unchecked
from .equation import equation
from .forward import Schedule, Step

SPREAD = {"a mixture with a variance of 0 has no density: diffuse it first": "self.variances > 0"}
"""What a density asks of the mixture."""


class Mixture:
    r"""A mixture of Gaussians with isotropic components, $\sum_k w_k\,\mathcal N(m_k, v_k I)$, in any dimension.

    Samples have shape (..., d). The parameters may carry batch dimensions in front: then it is a mixture for each
    sample. They take the library of the samples they meet, NumPy or torch.

    Args:
        weights: shape (..., k), at least 0, summing to 1.
        means: shape (..., k, d).
        variances: shape (..., k), at least 0; a component of variance 0 is a single point.

    Raises:
        ValueError: when the mixture is empty, its weights do not sum to 1, a variance is negative, or shapes differ.
    """

    def __init__(self, weights: Array, means: Array, variances: Array) -> None:
        self.weights, self.means, self.variances = (_array(value) for value in (weights, means, variances))
        k, *rest = self.means.shape[-2:] if self.means.ndim >= 2 else (0,)
        if k == 0 or not rest or self.weights.shape[-1:] != (k,) or self.variances.shape[-1:] != (k,):
            shapes = ", ".join(str(tuple(p.shape)) for p in (self.weights, self.means, self.variances))
            raise ValueError(f"weights (..., k), means (..., k, d) and variances (..., k) must match, got {shapes}")
        xp = array_api_compat.array_namespace(self.weights)
        off = abs(xp.sum(self.weights, axis=-1) - 1)
        if not (bool(xp.all(self.weights >= 0)) and bool(xp.all(off <= _slack(weights, k)))):
            raise ValueError(f"weights must be at least 0 and sum to 1, got {weights!r}")
        if not bool(xp.all((self.variances >= 0) & xp.isfinite(self.variances))):
            raise ValueError(f"variances must be at least 0 and finite, got {variances!r}")
        if not bool(xp.all(xp.isfinite(self.means))):
            raise ValueError(f"means must be finite, got {means!r}")

    @property
    def sizes(self) -> dict[str, int]:
        """The number of coordinates: what the door compares samples with."""
        return {"d": self.means.shape[-1]}

    @equation("Bishop 2006, Sec. 2.3.9", require=SPREAD, shapes="x (..., d)", unproved="components")
    def log_joint(self, x: Array) -> Array:
        r"""Log-density of a component and a sample together: how often it is chosen, times its density.

        $$
        \log p(x, k) = \log w_k + \log \mathcal N(x;\ m_k,\ v_k I)
        $$

        Returns:
            Shape (..., k).
        """
        weights, means, variances = self._like(x)
        square = ((x[..., None, :] - means) ** 2).sum(-1)
        volume = self.sizes["d"] * log(2 * math.pi * variances)
        return log(weights) - (square / variances + volume) / 2

    @equation(
        "Bishop 2006, Sec. 2.3.9", derived_from=[log_joint], require=SPREAD, shapes="x (..., d)", unproved="components"
    )
    def log_prob(self, x: Array) -> Array:
        r"""Log-density, in nats: the sum over the components that it may have come from.

        $$
        \log p(x) = \log \sum_k w_k\,\mathcal N(x;\ m_k,\ v_k I)
        $$

        Returns:
            Shape (...).
        """
        return log_sum_exp(self.log_joint(x))

    @equation(
        "Bishop 2006, Sec. 2.3.9",
        derived_from=[log_joint, log_prob],
        require=SPREAD,
        shapes="x (..., d)",
        unproved="components",
    )
    def responsibilities(self, x: Array) -> Array:
        r"""Which component it was, for one who sees x: Bayes' rule, a probability for each.

        $$
        r_k(x) = \frac{w_k\,\mathcal N(x;\ m_k,\ v_k I)}{p(x)}
        $$

        Returns:
            Shape (..., k).
        """
        terms = self.log_joint(x)
        return exp(terms - log_sum_exp(terms)[..., None])

    @equation(
        "Bishop 2006, Sec. 2.3.9",
        derived_from=[log_prob, responsibilities],
        require=SPREAD,
        shapes="x (..., d)",
        unproved="components",
    )
    def score(self, x: Array) -> Array:
        r"""The gradient of the log-density: each component pulls towards its mean, by how responsible it is for x.

        $$
        \nabla_x \log p(x) = \sum_k r_k(x)\,\frac{m_k - x}{v_k}
        $$

        Returns:
            In the shape of ``x``.
        """
        _, means, variances = self._like(x)
        pulls = (means - x[..., None, :]) / variances[..., None]
        return (self.responsibilities(x)[..., None] * pulls).sum(-2)

    def __repr__(self) -> str:
        return f"Mixture(weights {tuple(self.weights.shape)}, means {tuple(self.means.shape)})"

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n samples, shape (n, d), from a mixture without batch dimensions."""
        weights, means, variances = (np.asarray(parameter) for parameter in self._parameters)
        if weights.ndim != 1:
            raise ValueError(f"only one mixture can be sampled at a time, this is a batch of {weights.shape[:-1]}")
        k = rng.choice(len(weights), size=n, p=weights / weights.sum())
        return forward.reparameterize(means[k], variances[k, None], rng.standard_normal((n, means.shape[-1])))

    @equation("Bishop 2006, Sec. 2.3.9", unproved="components")
    def mean(self) -> Array:
        r"""The mean.

        $$
        \mathbb E[x] = \sum_k w_k\,m_k
        $$

        Returns:
            Shape (..., d).
        """
        return (self.weights[..., None] * self.means).sum(-2)

    @equation("Bishop 2006, Sec. 2.3.9", derived_from=[mean], unproved="components")
    def var(self) -> Array:
        r"""The variance of each coordinate: the mean of the variances and the variance of the means.

        $$
        \operatorname{Var}(x) = \sum_k w_k\,\big(v_k + (m_k - \mathbb E[x])^2\big)
        $$

        Returns:
            Shape (..., d).
        """
        square = (self.means - self.mean()[..., None, :]) ** 2
        within_and_between = self.variances[..., None] + square
        return (self.weights[..., None] * within_and_between).sum(-2)

    @equation("derived here", derived_from=[forward.marginal], unproved="components")
    def diffuse(self, alpha_bar: Array) -> Mixture:
        r"""What noising makes of it: the marginal q(x_t), again a mixture.

        $$
        q(x_t) = \sum_k w_k\,\mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\,m_k,\ (\bar\alpha_t v_k + 1 - \bar\alpha_t) I\big)
        $$

        Args:
            alpha_bar: alpha_bar at t, in [0, 1], or shape (..., 1) for a batch of times; or the `Step` at t, which keeps
                the digits of 1 - alpha_bar.
        """
        kept, added = alpha_bar.alpha_bar, alpha_bar.noise_var
        weights, means, variances = self._like(kept)
        var = kept * variances + added
        return _trusted(weights + 0 * var, sqrt(inner(kept)) * means, var)

    @equation(
        "derived here",
        derived_from=[diffuse, forward.transition],
        shapes="x_t (..., d), step fits x_t",
        unproved="components",
    )
    def bayes(self, x_t: Array, step: Step) -> Mixture:
        r"""Bayes' rule, component by component: where x was before one step of noising, for one who sees it after.

        $$
        q(x_{t-1} \mid x_t) = \sum_k r_k(x_t)\,\mathcal N\Big(x_{t-1};\
        m_k + \frac{\sqrt{\alpha_t}\,v_k}{s_k}\big(x_t - \sqrt{\alpha_t}\,m_k\big),\
        \frac{v_k \beta_t}{s_k} I\Big), \qquad s_k = \alpha_t v_k + \beta_t
        $$

        The mixture is the distribution before the step; the responsibilities $r_k$ are those of the mixture after it, of
        which $s_k$ is the variance.
        """
        after = self.diffuse(step.alone)
        weights, (_, expected, seen) = after.responsibilities(x_t), after._like(x_t)
        _, means, variances = self._like(x_t)
        gain = sqrt(step.alpha) * variances / seen
        means = means + gain[..., None] * (x_t[..., None, :] - expected)
        return _trusted(weights, means, step.beta * variances / seen + 0 * weights)

    @equation(
        "derived here",
        derived_from=[bayes, forward.marginal],
        shapes="x_t (..., d), step fits x_t",
        unproved="components",
    )
    def posterior(self, x_t: Array, step: Step) -> Mixture:
        r"""The distribution of x_0 for one who sees x_t: all t steps taken as one, and Bayes' rule.

        $$
        q(x_0 \mid x_t) = \sum_k r_k(x_t)\,\mathcal N\Big(x_0;\
        m_k + \frac{\sqrt{\bar\alpha_t}\,v_k}{s_k}\big(x_t - \sqrt{\bar\alpha_t}\,m_k\big),\
        \frac{v_k (1-\bar\alpha_t)}{s_k} I\Big), \qquad s_k = \bar\alpha_t v_k + 1 - \bar\alpha_t
        $$
        """
        return self.bayes(x_t, step.whole)

    @equation("derived here", derived_from=[posterior], shapes="x_t (..., d), step fits x_t", unproved="components")
    def denoise(self, x_t: Array, step: Step) -> Array:
        r"""The best guess of x_0: what a perfect network would say.

        $$
        \hat x_0(x_t) = \mathbb E[x_0 \mid x_t]
        $$

        Returns:
            In the shape of ``x_t``.
        """
        return self.posterior(x_t, step).mean()

    @equation(
        "derived here",
        derived_from=[denoise, forward.predict_noise],
        shapes="x_t (..., d), step fits x_t",
        unproved="components",
    )
    def noise(self, x_t: Array, step: Step) -> Array:
        r"""The best guess of the noise: what a perfect network that predicts noise would say.

        $$
        \hat\epsilon(x_t) = \mathbb E[\epsilon \mid x_t]
        = \frac{x_t - \sqrt{\bar\alpha_t}\,\mathbb E[x_0 \mid x_t]}{\sqrt{1-\bar\alpha_t}}
        $$

        Returns:
            In the shape of ``x_t``.
        """
        return forward.predict_noise(x_t, self.denoise(x_t, step), step)

    @equation(
        "derived here", derived_from=[bayes, diffuse], shapes="x_t (..., d), step fits x_t", unproved="components"
    )
    def reverse(self, x_t: Array, step: Step) -> Mixture:
        r"""The true reverse kernel, where x was one step ago for one who sees x_t: a mixture for each sample.

        $$
        q(x_{t-1} \mid x_t) = \frac{q(x_t \mid x_{t-1})\,q(x_{t-1})}{q(x_t)}
        $$

        One Gaussian is all that a network's step can say; how far this is from one, the chapter on the posterior measures.
        """
        return self.diffuse(step.before).bayes(x_t, step)

    def modes(self) -> np.ndarray:
        r"""The peaks of the density: climb from every mean, and count as one what no valley divides.

        A round of the climb is $x \leftarrow \sum_k r_k m_k / v_k \big/ \sum_k r_k / v_k$, which solves score = 0 for fixed
        responsibilities and never goes down. A peak that no mean leads to, such as a wide bump between two narrow peaks
        that stand on its means, is found on a line. There every peak lies within a standard deviation of some mean:
        farther from all means the density curves upwards. So the climb also starts wherever the score changes from
        plus to minus between points 1/32 of a standard deviation apart. In the plane and beyond only the means are
        climbed from, and a peak may be missed: the centre of a triangle of three components can be one.

        Returns:
            Shape (number of peaks, d), for a mixture without batch dimensions.
        """
        means, variances = (to_numpy(parameter).astype(np.float64) for parameter in (self.means, self.variances))
        if means.ndim != 2:
            raise ValueError(f"only one mixture can be searched at a time, this is a batch of {means.shape[:-2]}")
        x = means
        if means.shape[-1] == 1:
            line = np.unique(means + np.sqrt(variances)[:, None] * np.linspace(-1, 1, 65))[:, None]
            rising = self.score(line)[:, 0] > 0
            x = np.concatenate([means, line[:-1][rising[:-1] & ~rising[1:]]])
        for _ in range(1000):
            with unchecked():
                pull = self.responsibilities(x) / variances
            before, x = x, pull @ means / pull.sum(-1, keepdims=True)
            if np.array_equal(before, x):
                break
        peaks: list[np.ndarray] = []
        for point in x[np.argsort(-self.log_prob(x))]:
            if all(self._valley(point, peak) for peak in peaks):
                peaks.append(point)
        return np.stack(peaks)

    def _valley(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether the density falls below both ends somewhere on the way from one point to the other."""
        way = np.linspace(0, 1, 65)[:, None]
        return bool(np.min(self.log_prob(low + way * (high - low))) < self.log_prob(low) - 1e-12)

    def merge_time(self, schedule: Schedule) -> int | None:
        """The first t at which `modes` finds a single peak in the diffused mixture; None if it finds several to the end.

        In more than one dimension noise can make a new peak. Then it is a t at which several become one.
        """

        def merged(t: int) -> bool:
            return len((self.diffuse(schedule[t]) if t else self).modes()) == 1

        # More noise never makes a new peak on a line, so the first t with a single one can be bisected.
        first = bisect.bisect_left(range(schedule.T + 1), True, key=merged)
        return first if first <= schedule.T else None

    @property
    def _parameters(self) -> tuple[Array, Array, Array]:
        return self.weights, self.means, self.variances

    def _like(self, x: Array) -> tuple[Array, ...]:
        """The parameters in the library, dtype and device of x; as they are where it is a number."""
        return tuple(convert(p, like=x) for p in self._parameters) if hasattr(x, "shape") else self._parameters


def two_classes() -> Mixture:
    """The example of most chapters, on a line: a third "faces" at -1.4, two thirds "trees" at 0.7; mean 0, variance 1."""
    return Mixture([1 / 3, 2 / 3], [[-1.4], [0.7]], [0.02, 0.02])


def ring(k: int = 8) -> Mixture:
    """k equal components on a circle in the plane; for k > 2 every coordinate has mean 0 and variance 1."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k!r}")
    angle = 2 * math.pi * np.arange(k) / k
    return Mixture(np.full(k, 1 / k), 1.4 * np.stack([np.cos(angle), np.sin(angle)], -1), np.full(k, 0.02))


def one_point(x: Array) -> Mixture:
    """All data is the one point x, shape (d,): the case in which the smaller of the two variances is the true one."""
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    return Mixture([1.0], x[None], [0.0])


def standard_normal(d: int = 1) -> Mixture:
    """Data that is noise already: the case in which the larger of the two variances is the true one."""
    return Mixture([1.0], np.zeros((1, d)), [1.0])


def _array(value: Array) -> Array:
    """As an array, float64 in NumPy; a tensor stays as it is, of whole numbers in torch's default dtype."""
    if is_tensor(value):
        return value if value.is_floating_point() else 1.0 * value
    return np.asarray(value, dtype=np.float64)


def _slack(weights: Array, k: int) -> float:
    """How far from 1 a sum of k weights may be, by the precision in which they came."""
    dtype = to_numpy(weights).dtype
    return max(1e-9, 4 * k * float(np.finfo(dtype).eps)) if dtype.kind == "f" else 1e-9


def _trusted(weights: Array, means: Array, variances: Array) -> Mixture:
    """A mixture of parameters that are right by construction; checking them could stall their device."""
    mixture = object.__new__(Mixture)
    mixture.weights, mixture.means, mixture.variances = weights, means, variances
    return mixture
