"""The picture on the first page."""

import numpy as np
import torch

from tinyddpm import forward, train
from tinyddpm.mixture import two_classes

from .style import GREY, INK, Figure, class_colour, density_of, figure

SCHEDULE = forward.linear()
MIXTURE = two_classes()


def _there(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paths x_0..x_T, shape (T + 1, n)."""
    path = [x]
    for step in SCHEDULE:
        path.append(forward.diffuse_once(path[-1], rng.standard_normal(x.shape), step))
    return np.stack(path)[..., 0]


def _back(n: int) -> np.ndarray:
    """Paths x_T..x_0, shape (T + 1, n), by the network that Algorithm 2 would like to have."""

    def exact(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return MIXTURE.noise(x, SCHEDULE.at(t, like=x))

    rng = torch.Generator().manual_seed(5)
    path = train.sample_path(exact, SCHEDULE, (n, 1), rng, variance="posterior", clip=None, dtype=torch.float64)
    return torch.stack([*path])[..., 0].numpy()


def there_and_back() -> Figure:
    rng = np.random.default_rng(5)
    fig, axes = figure(1, 5, height=3.0, sharey=True, width_ratios=[1, 3.6, 1, 3.6, 1])
    data, forth, noise, home, again = axes
    x = np.linspace(-3.2, 3.2, 500)
    shown = 12

    out = _there(MIXTURE.sample(shown, rng), rng)
    back = _back(3000)
    for ax, paths, ends in ((forth, out, out[0]), (home, back[:, :shown], back[-1, :shown])):
        t = np.arange(0, SCHEDULE.T + 1)
        for path, end in zip(paths.T, ends, strict=True):
            ax.plot(t[::5], path[::5], color=class_colour(end), linewidth=0.8, alpha=0.8)
        ax.margins(x=0)
        ax.set_xticks((0, 500, 1000))
    forth.set(xlabel="$t$", title="noise is added")
    home.set(xlabel="$t$", title="noise is removed", xticklabels=("1000", "500", "0"))

    for ax, mixture in ((data, MIXTURE), (noise, MIXTURE.diffuse(SCHEDULE[SCHEDULE.T])), (again, MIXTURE)):
        density = density_of(mixture, x)
        ax.plot(density, x, color=INK, linewidth=1.2)
        ax.fill_betweenx(x, density, color=GREY, alpha=0.3, linewidth=0)
        ax.set_xticks(())
        ax.set_xlim(0, None)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    again.hist(back[-1], bins=np.linspace(-2, 1.4, 60), density=True, orientation="horizontal", color=GREY, alpha=0.5)
    for ax, name in ((data, "data"), (noise, "noise"), (again, "data")):
        ax.set_xlabel(name, labelpad=20)  # in line with the t of its neighbours
    data.set(ylabel="$x$", ylim=(-3.2, 3.2))
    for ax in axes[[0, 2, 3, 4]]:
        ax.tick_params(axis="y", left=False)
    return fig
