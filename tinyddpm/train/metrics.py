r"""How good samples are: distances between two sets of them, each to be read beside its floor.

The floor is the distance between two sets of real samples: nothing can be told apart that lies below it.
"""

from __future__ import annotations

import numpy as np

from ..equation import Array, equation


@equation("Heusel et al. 2017, Fréchet inception distance")
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
    real, fake = _sets(real=real, fake=fake)
    (mean, cov), (mean_fake, cov_fake) = (
        (x.mean(0), np.cov(x.T, ddof=1).reshape(2 * x.shape[1:])) for x in (real, fake)
    )
    # With S = A A^T and S' = B B^T, the trace of the root is the sum of the singular values of A^T B.
    overlap = np.linalg.svd(_root(cov) @ _root(cov_fake), compute_uv=False).sum()
    total = np.trace(cov)
    if not total > 0:
        raise ValueError("real must have more than one value")
    return float((((mean - mean_fake) ** 2).sum() + total + np.trace(cov_fake) - 2 * overlap) / total)


@equation("Bonneel et al. 2015, sliced Wasserstein distance")
def sliced_wasserstein(a: Array, b: Array, directions: Array | int = 100) -> float:
    r"""How far apart two sets of points are, seen from many sides; from one side, sorting pairs them best.

    $$
    d = \sqrt{\frac{1}{K\,n}\sum_{k=1}^K\sum_{i=1}^n \Big(\langle u_k, a\rangle_{(i)} - \langle u_k, b\rangle_{(i)}\Big)^2}
    $$

    Here $\langle u, a\rangle_{(i)}$ is the i-th smallest coordinate of the points along the direction u.

    Args:
        a: points, shape (n, dimensions).
        b: as many points.
        directions: unit vectors, shape (k, dimensions); or how many, spread evenly over the half circle in the plane.
    """
    a, b = _sets(a=a, b=b)
    if len(a) != len(b):
        raise ValueError(f"a and b must have equally many points, got {len(a)} and {len(b)}")
    if isinstance(directions, int):
        if a.shape[1] > 2:
            raise ValueError(f"directions must be given as vectors in {a.shape[1]} dimensions")
        angle = np.pi * np.arange(directions) / directions
        directions = np.stack([np.cos(angle), np.sin(angle)], axis=1) if a.shape[1] == 2 else np.ones((1, 1))
    apart = np.sort(a @ np.asarray(directions).T, axis=0) - np.sort(b @ np.asarray(directions).T, axis=0)
    return float(np.sqrt((apart**2).mean()))


@equation("derived here", derived_from=[frechet_distance])
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

    x, y, h = _sets(samples=samples, train=train, held_out=held_out)
    known = NearestNeighbors(n_neighbors=1).fit(y)
    near, real = (float(np.median(known.kneighbors(points)[0])) for points in (x, h))
    if not real > 0:
        raise ValueError("held_out must not be in train")
    return near / real


def _root(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _sets(**named: Array) -> list[np.ndarray]:
    """As float64, a row for each sample; refuses NaN, too few of them, and rows of different lengths."""
    rows = []
    for name, value in named.items():
        x = np.asarray(value, dtype=np.float64)
        if x.ndim < 2 or len(x) < 2 or not np.isfinite(x).all():
            raise ValueError(f"{name} must be at least two samples of finite numbers, shape (n, ...), got {x.shape}")
        rows.append(x.reshape(len(x), -1))
    if len({x.shape[1] for x in rows}) > 1:
        sizes = ", ".join(f"{name} {x.shape[1]}" for name, x in zip(named, rows, strict=True))
        raise ValueError(f"all samples must have equally many numbers, got {sizes}")
    return rows
