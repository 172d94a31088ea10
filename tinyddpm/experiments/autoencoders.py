"""The networks and experiments of chapter 4: what a VAE can do that an autoencoder cannot.

    python -m tinyddpm.experiments.autoencoders --out docs/assets/vae

trains both on the 8x8 digits, ten seeds in some ten minutes on one core, and writes every figure, with all numbers and
pictures shown. The drawings take their axes from whoever calls them, so that a page can draw the same ones in its own
style.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from ..data import digits
from ..door import unchecked
from ..elbo import gaussian_log_prob
from ..files import write
from ..forward import Gaussian, from_unit_range, reparameterize, to_unit_range
from ..palette import PALETTE
from ..tables import table
from ..train.config import check_lowest
from ..train.machine import one_thread
from ..vae_vs_vdm import (
    LinearVAE,
    kl_to_standard_normal,
    reparameterized_gradient,
    score_function_gradient,
    vae_elbo,
)
from .results import RESULTS, Results, exit_code, show
from .results import load as load_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures: TypeAlias = Mapping[str, np.ndarray]
"""Pictures in [-1, 1], shape (rows, columns, height, width), by name."""

PICTURES = "pictures.npz"

# The networks. -------------------------------------------------------------------------------------------------------


class AutoEncoder(nn.Module):
    """Encode a vector as a few numbers and decode it again. Nothing is random, and there is no prior on the codes.

    Args:
        dims: d, the numbers of a sample.
        latent: how many numbers a code has.
        width: of the hidden layers.
    """

    def __init__(self, dims: int = 64, latent: int = 2, width: int = 128) -> None:
        super().__init__()
        self.latent = latent
        self.encoder, self.decoder = _mlp(dims, width, latent), _mlp(latent, width, dims)

    def encode(self, x: Tensor) -> Tensor:
        """The codes, shape (batch, latent), of samples of shape (batch, d)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """The samples, shape (batch, d), that codes stand for."""
        return self.decoder(z)

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Squared error of the reconstruction, shape (batch,). The generator, which the VAE needs, is not used."""
        return ((x - self.decode(self.encode(x))) ** 2).sum(1)


class VAE(nn.Module):
    r"""The same network with both halves read as distributions, $q(z \mid x)$ and $p(x \mid z)$, and a prior on codes.

    Args:
        dims: d, the numbers of a sample.
        latent: how many numbers a code has.
        width: of the hidden layers.
        var: variance of the decoder, above 0; None to learn it, one for all coordinates.
    """

    def __init__(self, dims: int = 64, latent: int = 2, width: int = 128, var: float | None = None) -> None:
        super().__init__()
        if var is not None and not 0 < var < math.inf:
            raise ValueError(f"var must be above 0, or None to learn it, got {var!r}")
        self.latent = latent
        self.encoder, self.decoder = _mlp(dims, width, 2 * latent), _mlp(latent, width, dims)
        self.log_var = nn.Parameter(torch.tensor(math.log(var or 0.1)), requires_grad=var is None)

    def encode(self, x: Tensor) -> Gaussian:
        """q(z given x) of samples of shape (batch, d): mean and variance, shape (batch, latent)."""
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        return Gaussian(mean, log_var.exp())

    def decode(self, z: Tensor) -> Gaussian:
        """p(x given z) of codes of shape (..., latent): mean, shape (..., d), and the one variance."""
        return Gaussian(self.decoder(z), self.log_var.exp())

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        """The bound on log p(x), shape (batch,): one draw of the code, and the divergence exactly.

        Args:
            x: samples, shape (batch, d).
            noise: standard normal, shape (batch, latent).
        """
        return _bound(x, self.encode(x), self.decode, noise)

    def log_prob(self, x: Tensor, noise: Tensor) -> Tensor:
        """An estimate of log p(x), shape (batch,), by importance sampling: in the mean never above it, nor below the bound.

        Args:
            x: samples, shape (batch, d).
            noise: standard normal, shape (draws, batch, latent); with more draws the estimate comes closer.
        """
        code = self.encode(x)
        weights = []
        for one in noise:
            z = reparameterize(*code, one)
            joint = gaussian_log_prob(x, *self.decode(z)) + gaussian_log_prob(z, 0.0, 1.0)
            weights.append(joint - gaussian_log_prob(z, *code))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(len(weights))

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Minus the bound, with codes drawn by a generator, shape (batch,)."""
        return -self.elbo(x, _noise(rng, len(x), self.latent))


def _mlp(dims_in: int, width: int, dims_out: int) -> nn.Sequential:
    if min(dims_in, width, dims_out) < 1:
        raise ValueError(f"dims, latent and width must be at least 1, got layers of {dims_in}, {width}, {dims_out}")
    return nn.Sequential(
        nn.Linear(dims_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dims_out)
    )


def _noise(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng)


def _bound(x: Tensor, code: Gaussian, decode: Callable[[Tensor], Gaussian], noise: Tensor) -> Tensor:
    return vae_elbo(gaussian_log_prob(x, *decode(reparameterize(*code, noise))), *code)


# The experiments. ----------------------------------------------------------------------------------------------------

VARIANCES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Of the decoder, for posterior collapse."""

CHECKPOINTS = 16
"""How often a network is measured during training, before the first step and after the last included; more often at first."""

DRAWS = 2000
"""Of the noise, for the variance of a gradient."""

ACTIVE = 0.01
"""A latent dimension has collapsed if its mean divergence from the prior is below this, in nats."""

GRID = 12
"""Codes in a row of the figure of the plane."""


@dataclass(frozen=True)
class Config:
    """Train an autoencoder and VAEs on handwritten digits; write the figures of chapter 4, their numbers and pictures.

    The same seed gives the same files on the same machine.
    """

    out: Path = Path("vae")
    """folder for the files; created if it does not exist"""
    page: Path | None = None
    """Markdown page whose table is replaced"""
    steps: int = 2000
    """how many steps to train each network"""
    latent: int = 16
    """how many numbers a code has; the figure of the plane always has 2"""
    seed: int = 0
    """seed of the first weights, the batches, the noise and the samples"""
    seeds: int = 10
    """how often all of it is repeated, each time with the next seed; the pictures are those of the first"""
    batch: int = 128
    """how many pictures in a step"""
    lr: float = 1e-3
    """learning rate"""
    width: int = 128
    """width of the hidden layers"""

    def check(self) -> Config:
        """Refuse what cannot be run, before anything is computed or written; gives the config back.

        Raises:
            ValueError: naming the field, what it was and what is allowed.
        """
        check_lowest(self, steps=1, latent=1, seed=0, seeds=1, batch=1, width=1)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be a number above 0, got {self.lr}")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"out must be a folder, got {str(self.out)!r}")
        return self


def run(config: Config) -> tuple[Results, Pictures]:
    """All experiments: the numbers and the pictures.

    Raises:
        ValueError: when the config asks for what is not allowed.
        FloatingPointError: when a loss is no longer finite.
    """
    config.check()
    data = digits()
    train, held_out = (torch.from_numpy(part).flatten(1) for part in (data.train, data.held_out))
    chosen = [int(np.flatnonzero(data.held_out_labels == digit)[0]) for digit in range(10)]  # one of each
    plane, pictures = _plane(train, held_out, config)
    repeated = []
    for seed in range(config.seed, config.seed + config.seeds):
        found, made = _repeat(train, held_out, chosen, replace(config, seed=seed))
        pictures = {**made, **pictures}  # those of the first seed stay
        repeated.append(found)
    results: Results = {
        "config": {name: value for name, value in asdict(config).items() if name not in ("out", "page")},
        "stops": _stops(config),
        "other_digits": judged(train, held_out),
        "linear": linear_results(train.double().numpy(), config.latent),
        **_listed(repeated),
        "plane": {**plane, "labels": np.asarray(data.held_out_labels).tolist()},
    }
    return results, pictures


def _repeat(
    train: Tensor, held_out: Tensor, chosen: Sequence[int], config: Config
) -> tuple[Results, dict[str, np.ndarray]]:
    """Everything that is done once for each seed."""
    plain, vae = (_make(kind, config, config.latent) for kind in (AutoEncoder, VAE))
    curves: Results = {"vae": [], "vae_train": [], "autoencoder": [], "autoencoder_train": []}
    gradients: list[dict[str, float]] = []

    def watch_vae(step: int) -> None:
        for name, x in (("vae", held_out), ("vae_train", train)):
            curves[name].append(_average(vae.elbo(x, noise) for noise in _draws(vae, x)))
        gradients.append(gradient_variances(vae, held_out[chosen], config.seed, DRAWS))

    def watch_plain(step: int) -> None:
        for name, x in (("autoencoder", held_out), ("autoencoder_train", train)):
            code, decode = read_as_vae(plain, train, x)
            curves[name].append(_average(_bound(x, code, decode, noise) for noise in _draws(plain, x)))

    fit(vae, train, config, watch_vae)
    fit(plain, train, config, watch_plain)
    samples, pictures = _sampling(plain, vae, train, held_out, chosen, config)
    results: Results = {
        "samples": samples,
        "collapse": collapse(train, config),
        "bound": curves,
        "gradients": {name: [at[name] for at in gradients] for name in gradients[0]},
    }
    return results, pictures


def _listed(repeated: Sequence[Results]) -> Results:
    """Results of the same form as one: in the place of each value the list of all, one for each seed."""
    first = repeated[0]
    return {
        name: _listed([one[name] for one in repeated]) if isinstance(value, dict) else [one[name] for one in repeated]
        for name, value in first.items()
    }


def _stops(config: Config) -> list[int]:
    """After how many steps a network is measured."""
    return sorted({round(config.steps * share**2) for share in np.linspace(0, 1, CHECKPOINTS).tolist()})


def fit(
    model: AutoEncoder | VAE, x: Tensor, config: Config, watch: Callable[[int], None] = lambda step: None
) -> list[float]:
    """Train a network; gives the loss of every step.

    Args:
        model: changed in place.
        x: samples, shape (n, d).
        config: steps, batch, learning rate and seed.
        watch: called with how many steps are done, `CHECKPOINTS` times if there are as many.
    """
    rng = torch.Generator().manual_seed(config.seed)
    adam = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    stops, losses = set(_stops(config)), []
    for step in range(config.steps + 1):
        if step in stops:
            with torch.no_grad():
                watch(step)
        if step == config.steps:
            break
        with unchecked():  # a loss that is lost is seen below
            loss = model.loss(x[torch.randint(len(x), (config.batch,), generator=rng)], rng).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]:g} at step {step + 1}; try an lr below {config.lr}")
    return losses


@torch.no_grad()
def read_as_vae(model: AutoEncoder, train: Tensor, x: Tensor) -> tuple[Gaussian, Callable[[Tensor], Gaussian]]:
    """An autoencoder as the best VAE that can be made of it without training: encoder of x, and decoder.

    The codes of the training data are shifted and stretched to mean 0 and covariance I; one variance for the encoder
    is searched for, and the decoder's is the mean square error that comes with it.
    """
    codes = model.encode(train)
    centre, root = _fitted(codes)
    best = (-math.inf, 0.0, 1.0)
    for var in np.geomspace(1e-4, 1, 17).tolist():
        code = Gaussian(_standardized(codes, centre, root), torch.full_like(codes, var))
        noise = _draws(model, train)[0]
        error = ((train - model.decode(centre + reparameterize(*code, noise) @ root.T)) ** 2).mean().item()
        bound = -train.shape[1] / 2 * (math.log(2 * math.pi * error) + 1) - kl_to_standard_normal(*code).mean().item()
        best = max(best, (bound, var, error))
    _, var, error = best
    mean = _standardized(model.encode(x), centre, root)
    return (
        Gaussian(mean, torch.full_like(mean, var)),
        lambda z: Gaussian(model.decode(centre + z @ root.T), torch.tensor(error)),
    )


def gradient_variances(model: VAE, x: Tensor, seed: int, draws: int) -> dict[str, float]:
    """How uncertain one draw of the gradient of E[log p(x given z)] by the encoder's mean is, for both estimators.

    The other part of the bound, the divergence, is exact and adds nothing. Each number is summed over the latent
    dimensions and averaged over the samples.

    Args:
        model: a VAE.
        x: samples, shape (n, d).
        seed: for the noise.
        draws: how many.

    Returns:
        `reparameterized` and `score_function`: variances. `centred`: of the second, for log p(x given z) less its value at
        the encoder's mean, which changes no expectation. `square`: the squared gradient itself.
    """
    rng = torch.Generator().manual_seed(seed)
    total = dict.fromkeys(("reparameterized", "score_function", "centred", "square"), 0.0)
    with torch.no_grad():
        codes = model.encode(x)
    for one, mean, var in zip(x, *codes, strict=True):

        def log_p(z: Tensor, one: Tensor = one) -> Tensor:
            mean, var = model.decode(z)
            return gaussian_log_prob(one.expand_as(mean), mean, var)

        def f(z: Tensor, log_p: Callable[[Tensor], Tensor] = log_p) -> Tensor:
            return log_p(z)[:, None]

        def df(z: Tensor, log_p: Callable[[Tensor], Tensor] = log_p) -> Tensor:
            with torch.enable_grad():
                z = z.detach().requires_grad_()
                return torch.autograd.grad(log_p(z).sum(), z)[0]

        noise = _noise(rng, draws, model.latent)
        with torch.no_grad():
            code = mean[None], var[None]
            smooth, _ = reparameterized_gradient(df, *code, noise)
            plain, _ = score_function_gradient(f, *code, noise)
            centred, _ = score_function_gradient(partial(_above, f, f(code[0])), *code, noise)
        for name, drawn in (("reparameterized", smooth), ("score_function", plain), ("centred", centred)):
            total[name] += drawn.double().var(0).sum().item() / len(x)
        total["square"] += (smooth.double().mean(0) ** 2).sum().item() / len(x)
    return total


def _above(f: Callable[[Tensor], Tensor], level: Tensor, z: Tensor) -> Tensor:
    return f(z) - level


def collapse(train: Tensor, config: Config) -> Results:
    """Posterior collapse: the divergence of each latent dimension from the prior, in nats, for each of `VARIANCES`."""
    found = []
    for var in VARIANCES:
        model = _make(VAE, config, config.latent, var=var)
        fit(model, train, config)
        with torch.no_grad():
            found.append(kl_to_standard_normal_by_dimension(model.encode(train)))
    return {"nats": found, "active": _active(found)}


def _active(divergences: Sequence[Sequence[float]]) -> list[int]:
    """How many dimensions are above `ACTIVE`, for each variance."""
    return [sum(nats > ACTIVE for nats in row) for row in divergences]


def linear_results(x: np.ndarray, latent: int) -> Results:
    """`linear_collapse` for `VARIANCES`, for finer ones, and the eigenvalues that it follows from."""
    fine = np.geomspace(VARIANCES[0] / 1.5, VARIANCES[-1] * 1.5, 121).tolist()
    return {
        "variances": fine,
        "nats": linear_collapse(x, fine, latent),
        "active": _active(linear_collapse(x, VARIANCES, latent)),
        "eigenvalues": _principal(x)[0][:latent].tolist(),
    }


def linear_collapse(x: np.ndarray, variances: Sequence[float], latent: int) -> list[list[float]]:
    """The same for the linear VAE that makes the data, shape (n, d), most likely: no training, and nothing approximate.

    Its columns are the data's principal directions, and one is 0 where the eigenvalue is not above the variance
    (Tipping & Bishop 1999).
    """
    values, directions = _principal(x)
    divergences = []
    for var in variances:
        W = directions[:, :latent] * np.sqrt(np.maximum(values[:latent] - var, 0))
        mean, cov = LinearVAE(W, x.mean(0), var).posterior(x)
        divergences.append(kl_to_standard_normal_by_dimension(Gaussian(mean, np.diag(cov) + 0 * mean)))
    return divergences


def kl_to_standard_normal_by_dimension(code: Gaussian) -> list[float]:
    """The divergence of an encoder from the prior, in the mean over samples, for each latent dimension; largest first."""
    by_dimension = (kl_to_standard_normal(m, v).mean().item() for m, v in zip(code.mean.T, code.var.T, strict=True))
    return sorted(by_dimension, reverse=True)


def energy_distance(x: Tensor, y: Tensor) -> float:
    r"""How far apart the distributions of two sets of samples are: $2\,\mathbb E|x - y| - \mathbb E|x - x'| - \mathbb E|y - y'|$.

    The estimate is unbiased: for two sets from one distribution it is near 0, and can be below.
    """
    x, y = x.double(), y.double()
    within = (torch.cdist(s, s).sum().item() / (len(s) * (len(s) - 1)) for s in (x, y))
    return 2 * torch.cdist(x, y).mean().item() - sum(within)


def near(x: Tensor, y: Tensor) -> float:
    """The fraction of x within the third-nearest-neighbour radius of some y, the distance to the third nearest other y.

    Precision, if x are samples and y real digits: how many samples look real. Recall, if they are exchanged: how many real
    digits have a sample that is near.
    """
    reach = torch.cdist(y, y).kthvalue(4).values  # the nearest is itself
    return (torch.cdist(x, y) <= reach).any(1).double().mean().item()


def judged(x: Tensor, held_out: Tensor) -> dict[str, float]:
    """Three ways to compare samples with held-out digits; none of them alone says whether the samples are good."""
    return {
        "like_a_digit": near(x, held_out),
        "digits_covered": near(held_out, x),
        "energy_distance": energy_distance(x, held_out),
    }


@torch.no_grad()
def _sampling(
    plain: AutoEncoder, vae: VAE, train: Tensor, held_out: Tensor, chosen: Sequence[int], config: Config
) -> tuple[Results, dict[str, np.ndarray]]:
    """Reconstructions and samples of both networks, and of one Gaussian of the pixels: the figures and the pictures."""
    rng = torch.Generator().manual_seed(config.seed)
    z = _noise(rng, len(held_out), config.latent)
    restored = {
        "autoencoder": plain.decode(plain.encode(held_out)),
        "vae": vae.decode(vae.encode(held_out).mean).mean,
    }
    made = {
        "autoencoder_standard": plain.decode(z),
        "autoencoder_fitted": plain.decode(_like(plain.encode(train), z)),
        "vae": vae.decode(z).mean,
    }
    pixels = _noise(rng, *held_out.shape)
    others = {"vae_noisy": reparameterize(*vae.decode(z), pixels), "gaussian": _like(train, pixels)}
    noise = torch.stack(_draws(vae, held_out, 100))
    results = {
        "square_error": {name: ((x - held_out) ** 2).mean().item() for name, x in restored.items()},
        "made": {name: judged(x, held_out) for name, x in {**made, **others}.items()},
        "vae_var": vae.log_var.exp().item(),
        "vae_elbo": _average(vae.elbo(held_out, one) for one in noise),
        "vae_log_prob": vae.log_prob(held_out, noise).mean().item(),
    }
    rows = [held_out[chosen], *(x[chosen] for x in restored.values()), *(x[:10] for x in made.values())]
    return results, {"samples": torch.stack(rows).reshape(len(rows), -1, 8, 8).numpy()}


def _plane(train: Tensor, held_out: Tensor, config: Config) -> tuple[Results, dict[str, np.ndarray]]:
    """Codes of two numbers: those of the held-out digits, and the pictures decoded at the quantiles of a Gaussian."""
    results: Results = {}
    pictures = {}
    quantile = torch.special.ndtri((torch.arange(GRID) + 0.5) / GRID)
    z = torch.stack([quantile.expand(GRID, GRID), -quantile[:, None].expand(GRID, GRID)], -1)
    for name, kind in (("autoencoder", AutoEncoder), ("vae", VAE)):
        model = _make(kind, config, 2)
        fit(model, train, config)
        with torch.no_grad():
            if isinstance(model, VAE):
                centre, root = torch.zeros(2), torch.eye(2)
                codes, decoded = model.encode(held_out).mean, model.decode(z).mean
            else:
                centre, root = _fitted(model.encode(train))
                codes, decoded = model.encode(held_out), model.decode(centre + z @ root.T)
        results[name] = {"codes": codes.tolist(), "centre": centre.tolist(), "root": root.tolist()}
        pictures[f"plane_{name}"] = decoded.reshape(GRID, GRID, 8, 8).numpy()
    return results, pictures


def _make(kind: type[Any], config: Config, latent: int, **options: Any) -> Any:
    """A network whose first weights come from the seed."""
    with torch.random.fork_rng(devices=[]):  # layers draw them from the global generator
        torch.manual_seed(config.seed)
        return kind(64, latent, config.width, **options)


def _draws(model: AutoEncoder | VAE, x: Tensor, count: int = 10) -> list[Tensor]:
    """Noise for codes, the same every time."""
    return [*_noise(torch.Generator().manual_seed(1), count, len(x), model.latent)]


def _average(bounds: Any) -> float:
    return torch.stack([*bounds]).mean().item()


def _fitted(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of some codes and a root of their covariance: z becomes such a code as centre + root z."""
    # A direction in which all codes are equal has no variance to divide by.
    cov = torch.atleast_2d(torch.cov(codes.T)) + 1e-6 * torch.eye(codes.shape[1])
    return codes.mean(0), torch.linalg.cholesky(cov)


def _like(samples: Tensor, noise: Tensor) -> Tensor:
    """Standard normal noise as a draw from the Gaussian with the mean and the covariance of some samples."""
    centre, root = _fitted(samples)
    return centre + noise @ root.T


def _standardized(codes: Tensor, centre: Tensor, root: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(root, (codes - centre).T, upper=False).T


def _principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the data's covariance, largest first, and directions, shape (d, d)."""
    values, directions = np.linalg.eigh(np.cov(x.T, bias=True))
    return values[::-1], directions[:, ::-1]


def _short(value: Any) -> Any:
    """The same with every number to six digits."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


# The drawings. -------------------------------------------------------------------------------------------------------

Axes: TypeAlias = Callable[..., tuple["Figure", Any]]
"""``axes(rows, cols, height, **options)`` gives an empty figure and its axes, whose colours are C0, C1, and so on."""

ROWS = ("digits", "restored,\nautoencoder", "restored,\nVAE", "made, AE,\nN(0, I)", "made, AE,\nfitted", "made,\nVAE")


def draw_samples(results: Results, pictures: Pictures, axes: Axes) -> Figure:
    """Reconstructions of held-out digits, and samples from random codes."""
    fig, rows = axes(len(ROWS), 1, 3.4)
    layout: Any = fig.get_layout_engine()
    layout.set(h_pad=0.01, hspace=0)
    for ax, name, row in zip(rows, ROWS, pictures["samples"], strict=True):
        _tiles(ax, row[None])
        ax.text(-0.02, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=11, linespacing=1)
    return fig


def draw_plane(results: Results, pictures: Pictures, axes: Axes) -> Figure:
    """The codes of two numbers with two standard deviations of each Gaussian, and the pictures at its quantiles."""
    import matplotlib

    fig, panels = axes(2, 2, 5.6)
    labels = np.array(results["plane"]["labels"])
    angle = np.linspace(0, 2 * np.pi, 100)
    for (above, below), name, title in zip(panels.T, ("autoencoder", "vae"), ("autoencoder", "VAE"), strict=True):
        plane = results["plane"][name]
        codes, root = np.array(plane["codes"]), np.array(plane["root"])
        for digit in range(10):
            one = codes[labels == digit]
            above.scatter(*one.T, s=3, color=matplotlib.colormaps["tab10"](digit), linewidths=0)
            above.annotate(str(digit), np.median(one, 0), ha="center", va="center", fontweight="bold")
        ring = np.array(plane["centre"]) + 2 * np.stack([np.cos(angle), np.sin(angle)], -1) @ root.T
        above.plot(*ring.T, color="C5", linewidth=1.2)
        above.set_title(title)
        _tiles(below, pictures[f"plane_{name}"])
    return fig


def draw_collapse(results: Results, pictures: Pictures, axes: Axes) -> Figure:
    """Nats in each latent dimension against the decoder's variance, and how many are active: linear, and trained."""
    measured = results["collapse"]
    exact = results["linear"]
    fig, (linear, trained) = axes(1, 2, 3.0, sharey=True)
    for dimension, nats in enumerate(zip(*exact["nats"], strict=True)):
        linear.plot(exact["variances"], nats, color=f"C{dimension % 5}", linewidth=1.2)
    for dimension, nats in enumerate(zip(*measured["nats"][0], strict=True)):
        trained.plot(VARIANCES, nats, "o-", color=f"C{dimension % 5}", linewidth=1.2, markersize=3.5)
    top = max(exact["nats"][0][0], measured["nats"][0][0][0])
    alive = [range_of(counts) for counts in zip(*measured["active"], strict=True)]
    for ax, title, active in ((linear, "linear, exact", exact["active"]), (trained, "VAE, trained", alive)):
        ax.set(xscale="log", xlabel="decoder's variance", title=title, ylim=(-0.05 * top, 1.25 * top))
        ax.set(xlim=(0.6 * exact["variances"][0], exact["variances"][-1]))  # room for "14-16"
        ax.set_xticks(VARIANCES, [f"{var:g}" for var in VARIANCES])
        ax.minorticks_off()
        for var, count in zip(VARIANCES, active, strict=True):
            ax.annotate(str(count), (var, 1.15 * top), ha="center", va="center", fontsize=11)
    linear.set_ylabel("nats per dimension")
    return fig


def draw_bound(results: Results, pictures: Pictures, axes: Axes) -> Figure:
    """The bound as training goes on, for the VAE and for the autoencoder read as one."""
    fig, ax = axes(1, 1, 3.0)
    curves = results["bound"]
    for name, label, color in (("vae", "VAE", "C0"), ("autoencoder", "autoencoder read as a VAE", "C1")):
        _band(ax, results["stops"], curves[name], "o-", label, color)
        _band(ax, results["stops"], curves[f"{name}_train"], ":", "on training digits", color)
    ax.locator_params(axis="x", nbins=4)
    # The VAE's first steps, with a variance that is only a guess, are far below.
    ax.set(xlabel="steps of training", ylabel="bound, in nats", ylim=(1.1 * min(map(min, curves["autoencoder"])), None))
    fig.legend(loc="outside lower center", ncols=2)
    return fig


def draw_gradients(results: Results, pictures: Pictures, axes: Axes) -> Figure:
    """The variance of one draw of the gradient, for both estimators, as training goes on."""
    fig, ax = axes(1, 1, 3.2)
    gradients = results["gradients"]
    for name, label, style, color in (
        ("score_function", "score function", "o-", "C1"),
        ("centred", "score function, centred", "o-", "C3"),
        ("reparameterized", "reparameterised", "o-", "C0"),
        ("square", "the gradient, squared", "--", "C5"),
    ):
        _band(ax, results["stops"], gradients[name], style, label, color)
    ax.set(xlabel="steps of training", ylabel="variance of one draw", yscale="log")
    ax.locator_params(axis="x", nbins=4)
    fig.legend(loc="outside lower center", ncols=2)
    return fig


DRAWINGS: dict[str, Callable[[Results, Pictures, Axes], Figure]] = {
    "samples": draw_samples,
    "plane": draw_plane,
    "collapse": draw_collapse,
    "bound": draw_bound,
    "gradients": draw_gradients,
}
"""Every figure, by the name of its file."""


def _band(ax: Any, steps: Sequence[int], runs: Sequence[Sequence[float]], style: str, label: str, color: str) -> None:
    """The median over the seeds at every step, and the range from the least to the greatest."""
    ax.plot(steps, np.median(runs, 0), style, markersize=3.5, label=label, color=color)
    ax.fill_between(steps, np.min(runs, 0), np.max(runs, 0), color=color, alpha=0.2, linewidth=0)


def range_of(counts: Sequence[int]) -> str:
    """Whole numbers from the least to the greatest, "9-11", or the one that all are."""
    low, high = min(counts), max(counts)
    return f"{low}-{high}" if low < high else f"{low}"


def _tiles(ax: Any, pictures: np.ndarray) -> None:
    """Pictures in [-1, 1], shape (rows, columns, height, width), side by side."""
    rows, _, height, _ = pictures.shape
    framed = np.pad(pictures.clip(-1, 1), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    ax.imshow(framed.swapaxes(1, 2).reshape(rows * (height + 1), -1), cmap="gray", vmin=-1, vmax=1)
    ax.set_axis_off()


# The tables. ---------------------------------------------------------------------------------------------------------

MADE = {
    "autoencoder_standard": "autoencoder, codes $\\mathcal N(0, I)$",
    "autoencoder_fitted": "autoencoder, Gaussian fitted to its codes",
    "vae": "VAE, the decoder's mean",
    "vae_noisy": "VAE, with the decoder's noise",
    "gaussian": "no network: a Gaussian fitted to the pixels",
}
"""Where samples come from, in words."""


def tables(results: Results) -> dict[str, str]:
    """How the samples compare with held-out digits, and the bounds: means and standard deviations over the seeds."""
    floor = results["other_digits"]
    rows = [[words, *_cells(results["samples"]["made"][name])] for name, words in MADE.items()]
    rows.append(["nobody: other real digits", *_cells({kind: [value] for kind, value in floor.items()})])
    samples, plain = results["samples"], results["bound"]["autoencoder"]
    bounds = {
        "VAE: bound": samples["vae_elbo"],
        "VAE: estimate of $\\log p(x)$ from 100 codes": samples["vae_log_prob"],
        "autoencoder read as a VAE: bound": [curve[-1] for curve in plain],
        "the same, at its best step": [max(curve) for curve in plain],
    }
    return {
        "made": table(["made by", "like a digit:", "digits covered:", "energy distance:"], rows),
        "bounds": table(
            ["held-out digits", "nats a picture:"], [[name, _spread(values, 1)] for name, values in bounds.items()]
        ),
    }


def _cells(kinds: Mapping[str, Sequence[float]]) -> list[str]:
    percent = [f"{_spread([100 * value for value in kinds[kind]], 0)} %" for kind in ("like_a_digit", "digits_covered")]
    return [*percent, _spread(kinds["energy_distance"], 3)]


def _spread(values: Sequence[float], digits: int) -> str:
    """A mean and, of several values, their standard deviation."""
    of_several = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{round(float(np.mean(values)), digits) + 0.0:.{digits}f}{of_several}"


# The command. --------------------------------------------------------------------------------------------------------

PAPER: Any = {
    # A sheet of its own, so that it can be read on a light page and on a dark one.
    "figure.facecolor": "white",
    "font.size": 12,
    "axes.prop_cycle": f"cycler('color', {PALETTE})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def save(results: Results, pictures: Pictures, folder: Path) -> list[Path]:
    """Write numbers, pictures and figures, each file whole or not at all; gives their paths."""
    import matplotlib
    from matplotlib.figure import Figure as NewFigure

    def axes(rows: int, cols: int, height: float, **options: Any) -> tuple[Figure, Any]:
        fig = NewFigure(figsize=(6.0, height), layout="constrained")
        return fig, fig.subplots(rows, cols, **options)

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, BytesIO] = {name: BytesIO() for name in (RESULTS, PICTURES)}
    files[RESULTS].write((json.dumps(_short(results)) + "\n").encode())
    pixels: dict[str, Any] = {name: from_unit_range(part) for name, part in pictures.items()}
    np.savez_compressed(files[PICTURES], **pixels)
    with matplotlib.rc_context(PAPER):
        for name, draw in DRAWINGS.items():
            files[f"{name}.png"] = BytesIO()
            draw(results, pictures, axes).savefig(files[f"{name}.png"], dpi=160, metadata={"Software": None})
    for name, content in files.items():
        write(folder / name, lambda file, content=content: file.write(content.getvalue()))  # type: ignore[misc]
    return [folder / name for name in files]


def load(folder: Path) -> tuple[Results, Pictures]:
    """What `save` has written: the numbers and the pictures, as the drawings take them."""
    with np.load(folder / PICTURES) as file:
        pictures = {name: to_unit_range(file[name].astype(np.float64)) for name in file.files}
    return load_results(folder, "autoencoders", tuple(DRAWINGS)), pictures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    config = tyro.cli(Config, prog="python -m tinyddpm.experiments.autoencoders", args=arguments)

    def work() -> None:
        with one_thread():  # networks this small gain nothing from more
            results, pictures = run(config)
        print(*save(results, pictures, config.out), sep="\n")
        show(tables(results), config.page)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
