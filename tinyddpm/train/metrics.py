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
        "real must have more than one value": "(real != real[0]).any()",
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
    mean, cov = real.mean(0), np.atleast_2d(np.cov(real.T))
    mean_fake, cov_fake = fake.mean(0), np.atleast_2d(np.cov(fake.T))
    # The trace of the root is the sum of the singular values of A^T B.
    roots = _root(cov) @ _root(cov_fake)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    apart = ((mean - mean_fake) ** 2).sum() + np.trace(cov + cov_fake)
    return float((apart - 2 * overlap) / np.trace(cov))


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
    u = _directions(directions, real.shape[1])
    apart = np.sort(real @ u.T, axis=0) - np.sort(fake @ u.T, axis=0)
    return float(np.sqrt((apart**2).mean()))


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
    return _distance(samples, train) / _floor(held_out, train)


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    """The median over x of the distance to the nearest of y."""
    from sklearn.neighbors import NearestNeighbors  # here, since it takes long to import

    known = NearestNeighbors(n_neighbors=1).fit(y.reshape(len(y), -1))
    return float(np.median(known.kneighbors(x.reshape(len(x), -1))[0]))


def _floor(held_out: np.ndarray, train: np.ndarray) -> float:
    """The same distance between real samples, which must not be the same ones."""
    distance = _distance(held_out, train)
    if not distance > 0:
        raise ValueError("held_out must not be in train")
    return distance


def _root(cov: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _directions(given: np.ndarray | int, d: int) -> np.ndarray:
    """Unit vectors as they are given, or so many spread evenly over the half circle; on a line there is one."""
    if not isinstance(given, int):
        return np.asarray(given)
    if d > 2:
        raise ValueError(f"directions must be given as vectors in {d} dimensions")
    angle = np.pi * np.arange(given) / given
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) if d == 2 else np.ones((1, 1))
