"""The figures of the running example."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from tinyddpm import forward
from tinyddpm.mixture import Mixture, ring, two_classes

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, Figure, figure

SCHEDULE = forward.linear()
MIXTURE = two_classes()
MERGE = MIXTURE.merge_time(SCHEDULE)
X = np.linspace(-3, 3, 301)[:, None]


def _at(t: int, mixture: Mixture = MIXTURE) -> Mixture:
    return mixture.diffuse(SCHEDULE[t]) if t else mixture


def _density(mixture: Mixture, x: np.ndarray = X) -> np.ndarray:
    return np.exp(mixture.log_prob(x))


def merging() -> Figure:
    fig, (left, right) = figure(1, 2, height=4.2, width_ratios=[1.25, 1])
    times = (1, 50, 100, 150, MERGE, 300, 400, 600, 1000)
    for row, t in enumerate(times):
        density = _density(_at(t)) / 1.1
        colour = ORANGE if t == MERGE else BLUE
        left.fill_between(X[:, 0], -row, -row + density, color=colour, alpha=0.3, linewidth=0, zorder=row)
        left.plot(X[:, 0], -row + density, color=colour, linewidth=1.3, zorder=row)
        for peak in _at(t).modes():
            height = _density(_at(t), peak[None])[0] / 1.1
            left.plot(peak[0], -row + height, "o", color=INK, markersize=3, zorder=row + 0.5)
    left.set(xlabel="$x_t$", ylabel="$t$", xlim=(-3, 3), title="density of $x_t$")
    left.set_yticks([-row for row in range(len(times))], [str(t) for t in times])
    left.tick_params(axis="y", length=0)
    left.spines["left"].set_visible(False)

    times = np.array(
        sorted({*range(0, 200, 20), *range(200, MERGE, 3), MERGE - 1, *range(220, 500, 20), 600, 800, 1000})
    )
    found = {t: np.sort(_at(t).modes()[:, 0]) for t in times}
    two = times[times < MERGE]
    right.plot(two, [found[t][0] for t in two], color=ORANGE)
    right.plot(times, [found[t][-1] for t in times], color=BLUE)
    right.plot(two[-1], found[two[-1]][0], "o", color=ORANGE, markersize=5)
    right.annotate(
        f"gone at\n$t = {MERGE}$",
        (two[-1], found[two[-1]][0]),
        (400, -1.1),
        va="center",
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkB": 5},
    )
    right.text(330, 0.42, "trees", color=BLUE)
    right.text(20, -1.68, "faces", color=ORANGE)
    right.set(xlabel="$t$", ylabel="position", ylim=(-1.8, 1.2), title="its peaks")
    return fig


def score_field() -> Figure:
    fig, axes = figure(2, 3, height=3.9, sharex=True, sharey="row", height_ratios=[1, 1.5])
    for (top, bottom), t in zip(axes.T, (50, MERGE, 600), strict=True):
        mixture = _at(t)
        score = mixture.score(X)[:, 0]
        top.fill_between(X[:, 0], _density(mixture), color=BLUE, alpha=0.3, linewidth=0)
        top.plot(X[:, 0], _density(mixture), color=BLUE, linewidth=1.3)
        top.set_title(f"$t = {t}$")
        bottom.axhline(0, color=GREY, linewidth=0.8)
        bottom.plot(X[:, 0], score, color=ORANGE)
        rising = (score[:-1] < 0) & (score[1:] >= 0)
        falling = (score[:-1] > 0) & (score[1:] <= 0)
        bottom.plot(X[:-1, 0][falling], 0 * X[:-1, 0][falling], "o", color=INK, markersize=5)
        bottom.plot(
            X[:-1, 0][rising], 0 * X[:-1, 0][rising], "o", markeredgecolor=INK, markerfacecolor="none", markersize=5
        )
        bottom.set(xlabel="$x_t$", xlim=(-2.6, 2.6), ylim=(-18, 18), xticks=(-2, 0, 2))
    axes[0, 0].set_ylabel("density")
    axes[1, 0].set_ylabel("score")
    return fig


def denoiser() -> Figure:
    fig, ax = figure(height=3.4)
    labels = ((10, 1.89), (100, 1.0), (300, 0.68), (600, 0.3), (1000, 0.0))
    x = X[np.abs(X[:, 0]) <= 2]
    for (t, height), colour in zip(labels, (GREY, BLUE, GREEN, ORANGE, PINK), strict=True):
        ax.plot(x[:, 0], MIXTURE.denoise(x, SCHEDULE[t])[:, 0], color=colour)
        ax.text(2.06, height, f"$t = {t}$", color=colour, va="center")
    for mean, name, end, side in zip(
        MIXTURE.means[:, 0], ("faces", "trees"), (2, -1.95), ("right", "left"), strict=True
    ):
        ax.plot([-2, 2], [mean, mean], color=INK, linewidth=0.6, linestyle=(0, (2, 4)))
        ax.text(end, mean + 0.06, name, ha=side)
    ax.set(xlabel="what is seen, $x_t$", ylabel="best guess of $x_0$", xlim=(-2, 2.55), xticks=(-2, -1, 0, 1, 2))
    return fig


def posterior() -> Figure:
    t = 300
    fig, axes = figure(1, 3, height=2.7, sharey=True)
    x_0 = np.linspace(-2.1, 1.6, 600)[:, None]
    for ax, x_t in zip(axes, (-1.0, -0.3, 0.4), strict=True):
        given = MIXTURE.posterior(np.array([x_t]), SCHEDULE[t])
        ax.fill_between(x_0[:, 0], _density(given, x_0), color=BLUE, alpha=0.3, linewidth=0)
        ax.plot(x_0[:, 0], _density(given, x_0), color=BLUE)
        ax.plot([given.mean()[0]] * 2, [0, 2.9], color=ORANGE)
        for k, mean in enumerate(given.means[:, 0]):
            ax.text(mean, 3.15, f"{given.weights[k]:.0%}", ha="center", color=BLUE)
        ax.set(xlabel="$x_0$", title=f"$x_t = {x_t:g}$", ylim=(0, 3.5), xticks=(-1.4, 0.7))
    axes[0].set_ylabel("density of $x_0$ given $x_t$")
    return fig


def reverse() -> Figure:
    fig, axes = figure(1, 3, height=2.7)
    x_t = np.array([-0.3])
    shorter, longer = (forward.respace(SCHEDULE, times)[2] for times in ([200, 300], [1, 300]))
    steps = ((SCHEDULE[300], 299), (shorter, 200), (longer, 1))
    for ax, (step, s) in zip(axes, steps, strict=True):
        kernel = MIXTURE.reverse(x_t, step)
        mean, var = kernel.mean(), kernel.var()
        half = (2 if s == 1 else 3.2) * var[0] ** 0.5
        x = np.linspace(mean[0] - half, mean[0] + half, 400)[:, None]
        ax.fill_between(x[:, 0], _density(kernel, x), color=BLUE, alpha=0.3, linewidth=0)
        ax.plot(x[:, 0], _density(kernel, x), color=BLUE)
        ax.plot(x[:, 0], _density(Mixture([1.0], mean[None], var), x), color=ORANGE, linestyle=(0, (3, 2)))
        ax.set(xlabel=f"$x_{{{s}}}$", title=f"300 to {s}", ylim=(0, None), yticks=())
    axes[0].set_ylabel(r"density given $x_{300} = -0.3$")
    return fig


def floor() -> Figure:
    fig, (left, right) = figure(1, 2, height=2.7)
    x = np.linspace(-8, 8, 4001)[:, None]
    times = np.unique(np.concatenate([[1, 2, 3, 5, 7], np.arange(10, 1001, 10)]))
    lost = []
    for t in times:
        lost.append(np.trapezoid(_density(_at(t), x) * MIXTURE.posterior(x, SCHEDULE[t]).var()[:, 0], x[:, 0]))
    lost = np.array(lost)
    snr = forward.snr(SCHEDULE.steps)[times - 1]
    left.plot(times, lost, color=BLUE)
    right.plot(times, lost * snr, color=ORANGE)
    left.set(xlabel="$t$", ylim=(0, 1.05), xticks=(0, 500, 1000), title="error in $x_0$", ylabel="mean squared error")
    right.set(xlabel="$t$", ylim=(0, 1.05), xticks=(0, 500, 1000), title="error in the noise")
    right.plot([MERGE, MERGE], [0, 0.46], color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    right.text(MERGE + 15, 0.52, "the classes merge")
    return fig


def ring_score() -> Figure:
    fig, axes = figure(1, 3, height=2.5)
    example = ring()
    shade = LinearSegmentedColormap.from_list("shade", [to_rgba(BLUE, 0), to_rgba(BLUE, 0.85)])
    side = np.linspace(-2.4, 2.4, 121)
    fine = np.stack(np.meshgrid(side, side), -1)
    coarse = np.stack(np.meshgrid(side[6::12], side[6::12]), -1)
    for ax, t in zip(axes, (50, 200, 500), strict=True):
        mixture = _at(t, example)
        density = _density(mixture, fine)
        ax.imshow(
            density / density.max(), extent=(-2.4, 2.4, -2.4, 2.4), origin="lower", cmap=shade, interpolation="bilinear"
        )
        score = mixture.score(coarse)
        size = np.linalg.norm(score, axis=-1, keepdims=True)
        # The short ones are lengthened, so that one sees where they point.
        arrow = score / size * (0.35 + np.tanh(size / 5))
        arrow[size[..., 0] < 0.2] = 0
        ax.quiver(
            *coarse.transpose(2, 0, 1),
            *arrow.transpose(2, 0, 1),
            color=ORANGE,
            scale=13,
            width=0.011,
            headwidth=3.6,
            headlength=4,
            headaxislength=4,
            minlength=0,
        )
        ax.set(title=f"$t = {t}$", aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    return fig
