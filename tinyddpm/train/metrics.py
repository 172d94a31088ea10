r"""How good samples are: distances between two sets of them, each to be read beside its floor.

The floor is the distance between two sets of real samples: nothing can be told apart that lies below it.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from ..equation import equation


@equation(
    "Heusel et al. 2017, Fréchet inception distance",
    where={"real": "table real", "fake": "table real"},
    require={
        "real and fake must be at least two samples each": "shape(real)[0] >= 2 and shape(fake)[0] >= 2",
    },
    shapes="real (n, features), fake (m, features)",
    unproved="arrays",
)
def frechet_distance(real: Array, fake: Array) -> float:
    r"""How far apart two sets of features are, as Gaussians of their means and covariances.

    $$
    d = \frac{\lVert\mu - \mu'\rVert^2 + \operatorname{tr}\big(\Sigma + \Sigma' - 2\,(\Sigma\,\Sigma')^{1/2}\big)}
    {\operatorname{tr}\Sigma}
    $$

    Divided by the total variance of the real features, it has no unit: 0 is perfect, and 1 is what samples come
    to that all look like the mean of the real ones. (The published one is not divided.)

    Args:
        real: features of real samples, shape (n, features).
        fake: features of samples, shape (m, features).
    """
    (mean, cov), (mean_fake, cov_fake) = (
        (x.mean(0), np.cov(x.T, ddof=1).reshape(2 * x.shape[1:])) for x in (real, fake)
    )
    # With S = A A^T and S' = B B^T, the trace of the root is the sum of the singular values of A^T B.
    overlap = np.linalg.svd(_root(cov) @ _root(cov_fake), compute_uv=False).sum()
    total = np.trace(cov)
    if not total > 0:
        raise ValueError(f"real must have more than one value, got {len(real)} times the same")
    return float((((mean - mean_fake) ** 2).sum() + total + np.trace(cov_fake) - 2 * overlap) / total)


@equation(
    "Bonneel et al. 2015, sliced Wasserstein distance",
    where={"real": "table real", "fake": "table real"},
    require={"real must have at least two points": "shape(real)[0] >= 2"},
    shapes="real (n, d), fake (n, d)",
    unproved="arrays",
)
def sliced_wasserstein(real: Array, fake: Array, directions: Array | int = 100) -> float:
    r"""How far apart two sets of points are, seen from many sides; from one side, sorting pairs them best.

    $$
    d = \sqrt{\frac{1}{K\,n}\sum_{k=1}^K\sum_{i=1}^n \Big(\langle u_k, p\rangle_{(i)} - \langle u_k, q\rangle_{(i)}\Big)^2}
    $$

    Here $p$ are the real points and $q$ the others, and $\langle u, p\rangle_{(i)}$ is their i-th smallest coordinate along
    the direction u.

    Args:
        real: points, shape (n, d).
        fake: as many points.
        directions: unit vectors, shape (k, dimensions); or how many, spread evenly over the half circle in the plane.
    """
    u = _half_circle(directions, real.shape[1]) if isinstance(directions, int) else np.asarray(directions)
    return float(np.sqrt(((np.sort(real @ u.T, axis=0) - np.sort(fake @ u.T, axis=0)) ** 2).mean()))


@equation(
    "derived here",
    derived_from=[frechet_distance],
    where={"samples": "table real", "train": "table real", "held_out": "table real"},
    require={"all must be at least two samples": "min(shape(samples)[0], shape(train)[0], shape(held_out)[0]) >= 2"},
    shapes="samples (n, ...), train (m, ...), held_out (k, ...)",
    unproved="arrays",
)
def nearest_neighbours(samples: Array, train: Array, held_out: Array) -> float:
    r"""Whether samples are copies: how near they lie to what was trained on, against how near real ones do.

    $$
    r = \frac{\operatorname{median}_i\,\min_j\,\lVert x_i - y_j\rVert}{\operatorname{median}_i\,\min_j\,\lVert h_i - y_j\rVert}
    $$

    Near 1, samples are as new as the held-out ones; at 0.2 they are copies.

    Args:
        samples: x, shape (n, ...).
        train: y, what was trained on.
        held_out: h, real samples that were not.
    """
    from sklearn.neighbors import NearestNeighbors

    known = NearestNeighbors(n_neighbors=1).fit(train.reshape(len(train), -1))
    near, real = (float(np.median(known.kneighbors(x.reshape(len(x), -1))[0])) for x in (samples, held_out))
    if not real > 0:
        raise ValueError("held_out must not be in train")
    return near / real


def _root(cov: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _half_circle(count: int, d: int) -> np.ndarray:
    """Unit vectors spread evenly over the half circle in the plane; on a line there is one direction."""
    if d > 2:
        raise ValueError(f"directions must be given as vectors in {d} dimensions")
    angle = np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) if d == 2 else np.ones((1, 1))
