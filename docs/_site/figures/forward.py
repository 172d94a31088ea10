"""The figures of chapter 1."""

from __future__ import annotations

import math

import numpy as np
from sklearn.datasets import load_digits

from tinyddpm import forward, mixture
from tinyddpm.equation import sqrt

from .style import BLUE, GREEN, GREY, INK, ORANGE, PINK, VIOLET, Figure, density_of, figure, picture

COLOURS = {"linear": BLUE, "scaled_linear": GREEN, "proportional": ORANGE, "cosine": PINK}


def digit() -> Figure:
    """One digit, noised step by step."""
    rng = np.random.default_rng(0)
    x = _digit(3)
    kept = {0: x}
    for t, step in enumerate(forward.linear(), start=1):
        x = forward.diffuse_once(x, rng.standard_normal(x.shape), step)
        kept[t] = x
    fig, axes = figure(1, 6, height=1.35)
    for ax, t in zip(axes, (0, 20, 100, 250, 500, 1000), strict=True):
        picture(ax, kept[t])
        ax.set_title(f"$t={t}$")
    return fig


def two_classes() -> Figure:
    """The running example: its density over t, and slices of it."""
    data, schedule = mixture.two_classes(), forward.linear()
    merge = data.merge_time(schedule)
    fig, (wide, narrow) = figure(1, 2, height=3.1, width_ratios=[1.7, 1], sharey=True)
    t, x = np.linspace(0, 1000, 251).astype(int), np.linspace(-2.9, 2.9, 301)
    density = np.stack([_density(data, schedule, int(when), x) for when in t], axis=1)
    shade = np.zeros((*density.shape, 4))
    shade[..., :3] = np.array([0x33, 0x80, 0xCC]) / 255
    shade[..., 3] = (density / density.max(axis=0)) ** 0.8
    wide.imshow(shade, origin="lower", aspect="auto", extent=(0, 1000, x[0], x[-1]), interpolation="bilinear")
    rng = np.random.default_rng(3)
    for start in (-1.4, 0.7):
        path = [start]
        for step in schedule:
            path.append(forward.diffuse_once(path[-1], rng.standard_normal(), step))
        wide.plot(path, color=ORANGE, linewidth=0.9)
    wide.axvline(merge, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    wide.text(merge + 18, -2.5, "one peak from here", va="center")
    wide.set(xlabel="$t$", ylabel="$x_t$", ylim=(x[0], x[-1]))
    for when, colour in ((60, VIOLET), (merge, GREEN), (1000, BLUE)):
        narrow.plot(_density(data, schedule, when, x), x, color=colour)
    narrow.text(0.62, 0.06, "$t=60$", color=VIOLET)
    narrow.text(0.43, 1.4, f"$t={merge}$", color=GREEN)
    narrow.text(0.2, 2.05, "$t=1000$", color=BLUE)
    narrow.set(xlabel="density of $x_t$", xlim=(0, None))
    return fig


def ranges() -> Figure:
    """One digit in three scalings of its pixels, noised alike."""
    schedule, pixels = forward.linear(), (_digit(3) + 1) * 127.5
    noise = np.random.default_rng(5).standard_normal(pixels.shape)
    fig, axes = figure(3, 4, height=4.4)
    scales = (("$[0,255]$", pixels), ("$[0,1]$", pixels / 255), ("$[-1,1]$", forward.to_unit_range(pixels)))
    for row, (name, x_0) in zip(axes, scales, strict=True):
        for ax, t in zip(row, (100, 200, 400, 1000), strict=True):
            x_t = forward.diffuse(x_0, noise, schedule[t])
            picture(ax, 2 * (x_t - x_t.min()) / (x_t.max() - x_t.min()) - 1)  # from its own darkest to its brightest
            if x_0 is pixels:
                ax.set_title(f"$t={t}$")
        row[0].text(-0.1, 0.5, name, rotation=90, ha="right", va="center", transform=row[0].transAxes)
    return fig


def brownian_and_ou() -> Figure:
    """The same noise added without and with the shrinking factor."""
    schedule, start = forward.linear(), 3.0
    rng = np.random.default_rng(1)
    free = [np.full(12, start)]
    kept = [np.full(12, start)]
    for step in schedule:
        noise = rng.standard_normal(12)
        free.append(forward.reparameterize(*forward.brownian(free[-1], step.beta), noise))
        kept.append(forward.diffuse_once(kept[-1], noise, step))
    fig, (left, right) = figure(1, 2, height=3.0, sharey=True)
    t = np.arange(1, schedule.T + 1)
    for ax, paths, law, name in (
        (left, free, forward.brownian(start, np.cumsum(schedule.beta)), "without the factor"),
        (right, kept, forward.marginal(start, schedule.steps), "with the factor"),
    ):
        ax.plot(np.stack(paths), color=GREY, linewidth=0.5, alpha=0.75)
        mean, std = law.mean + 0 * t, sqrt(law.var)
        ax.plot(t, mean, color=BLUE)
        for side in (-1, 1):
            ax.plot(t, mean + side * std, color=ORANGE)
        ax.set(xlabel="$t$", title=name)
    left.set(ylabel="$x_t$")
    left.text(10, 6.7, r"mean $\pm$ std", color=ORANGE)
    left.text(40, -0.4, "mean", color=BLUE)
    right.text(420, 3.6, r"mean $\pm$ std", color=ORANGE)
    right.text(40, -0.4, "mean", color=BLUE)
    return fig


def two_noises() -> Figure:
    """Two Gaussian noises added, and two uniform ones."""
    rng = np.random.default_rng(0)
    share = sqrt(0.5)
    gaussian = share * rng.standard_normal(200_000) + share * rng.standard_normal(200_000)
    wide = sqrt(3)
    uniform = share * rng.uniform(-wide, wide, 200_000) + share * rng.uniform(-wide, wide, 200_000)
    sum_ = mixture.Mixture([1.0], [[0.0]], [forward.merged_variance(1.0, 1.0, share, share)])
    x = np.linspace(-3.4, 3.4, 300)
    fig, axes = figure(1, 2, height=2.7, sharey=True)
    for ax, sample, name in ((axes[0], gaussian, "two Gaussian noises"), (axes[1], uniform, "two uniform noises")):
        ax.hist(sample, bins=90, range=(-3.4, 3.4), density=True, color=BLUE, alpha=0.5)
        ax.plot(x, density_of(sum_, x), color=ORANGE)
        ax.set(xlabel="their sum", title=name)
    axes[0].set(ylabel="density")
    axes[1].text(1.15, 0.31, r"$\mathcal{N}(0,1)$", color=ORANGE)
    return fig


def one_jump() -> Figure:
    """Many chains against the closed form."""
    schedule, rng = forward.linear(), np.random.default_rng(2)
    x = np.full(20_000, -1.4)
    fig, axes = figure(1, 3, height=2.4, sharex=True)
    shown = dict(zip((40, 200, 1000), axes, strict=True))
    grid = np.linspace(-3.8, 3.4, 400)
    for t, step in enumerate(schedule, start=1):
        x = forward.diffuse_once(x, rng.standard_normal(x.shape), step)
        if t in shown:
            law = mixture.one_point(-1.4).diffuse(step)
            shown[t].hist(x, bins=70, range=(-3.8, 3.4), density=True, color=BLUE, alpha=0.5)
            shown[t].plot(grid, density_of(law, grid), color=ORANGE)
            shown[t].set(xlabel="$x_t$", title=f"after {t} steps")
    axes[0].set(ylabel="density")
    return fig


def rotation() -> Figure:
    """Sample and velocity as a rotated pair; what an error in each prediction costs."""
    schedule = forward.linear()
    step = schedule[150]
    fig, (left, right) = figure(1, 2, height=3.2)
    left.plot(*_circle(0, 0.8 * math.pi), color=GREY, linewidth=0.7)
    x_0, noise = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    x_t, v = forward.diffuse(x_0, noise, step), forward.velocity(x_0, noise, step)
    for tip, colour, name, place in (
        (x_0, GREY, "$x_0$", (1.09, -0.07)),
        (noise, GREY, r"$\epsilon$", (-0.04, 1.09)),
        (x_t, BLUE, "$x_t$", 1.1 * x_t + (-0.02, -0.03)),
        (v, ORANGE, "$v$", 1.12 * v + (-0.08, -0.05)),
    ):
        left.annotate(
            "", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
        )
        left.text(*place, name, color=colour if colour != GREY else INK, fontsize=14)
    left.plot([x_t[0], x_t[0]], [0, x_t[1]], color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    left.text(x_t[0] / 2, -0.2, r"$\sqrt{\bar\alpha_t}$", ha="center")
    left.text(1.02, x_t[1] / 2, r"$\sqrt{1-\bar\alpha_t}$", va="center")
    angle = math.atan2(x_t[1], x_t[0])
    left.plot(*(0.3 * _circle(0, angle)), color=BLUE, linewidth=1)
    left.plot(*(0.3 * _circle(math.pi / 2, math.pi / 2 + angle)), color=ORANGE, linewidth=1)
    left.text(0.34 * math.cos(angle / 2), 0.34 * math.sin(angle / 2) - 0.03, r"$\varphi_t$", color=BLUE)
    left.set(aspect="equal", xlim=(-0.85, 1.55), ylim=(-0.4, 1.25))
    left.set_axis_off()

    t = np.arange(1, schedule.T + 1)
    right.semilogy(t, np.abs(forward.predict_x0(0.0, 1.0, schedule.steps)), color=BLUE)
    right.semilogy(t, np.abs(forward.predict_noise(0.0, 1.0, schedule.steps)), color=GREEN)
    right.semilogy(t, np.abs(forward.x0_from_velocity(0.0, 1.0, schedule.steps)), color=ORANGE)
    right.semilogy(t, np.abs(forward.noise_from_velocity(0.0, 1.0, schedule.steps)), color=PINK)
    right.text(960, 130, r"$\epsilon$ to $x_0$", color=BLUE, ha="right")
    right.text(45, 40, r"$x_0$ to $\epsilon$", color=GREEN)
    right.text(990, 1.25, "$v$ to $x_0$", color=ORANGE, ha="right")
    right.text(440, 0.045, r"$v$ to $\epsilon$", color=PINK)
    right.set(xlabel="$t$", title="error out for an error of 1 in")
    return fig


def schedules() -> Figure:
    """The four schedules."""
    fig, (left, right) = figure(1, 2, height=3.1)
    for name, colour in COLOURS.items():
        schedule = forward.schedule(name)
        time = np.arange(1, schedule.T + 1) / schedule.T
        style = {"color": colour, "linestyle": (0, (2, 2)) if name == "proportional" else "-"}
        left.plot(np.append(0, time), np.append(1, schedule.steps.alpha_bar), **style)
        right.plot(time, forward.log_snr(schedule.steps), **style)
    left.set(xlabel="$t/T$", ylabel=r"$\bar\alpha_t$")
    for row, (name, colour) in enumerate(reversed(COLOURS.items())):
        left.text(1.02, 0.99 - 0.105 * row, name.replace("_", " "), color=colour, ha="right", va="center")
    right.set(xlabel="$t/T$", ylabel=r"$\log\,\mathrm{SNR}(t)$", ylim=(-13, 12))
    right.axhline(0, color=GREY, linewidth=0.6)
    return fig


def steps_spent() -> Figure:
    """Where on the scale of log SNR the linear and the cosine schedule spend their steps."""
    fig, axes = figure(2, 1, height=3.6, sharex=True, sharey=True)
    bins = np.arange(-13, 12)
    for ax, name in zip(axes, ("linear", "cosine"), strict=True):
        steps = forward.schedule(name).steps
        kept = forward.log_snr(steps)
        ax.hist(kept, bins=bins, color=COLOURS[name], alpha=0.75)
        lost = np.mean(kept < math.log(0.01))
        ax.axvline(math.log(0.01), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.text(math.log(0.01) - 0.3, 136, f"{lost:.0%} of the steps", va="center")
        ax.text(11, 136, name, color=COLOURS[name], va="center")
        ax.set(ylabel="steps", xlim=(11.2, -13), ylim=(0, 160))  # as time does, noise grows to the right
    axes[1].set(xlabel=r"$\log\,\mathrm{SNR}(t)$")
    return fig


def precision() -> Figure:
    """The relative error of the noise's variance in a float32 schedule, both ways."""
    schedule = forward.linear()
    exact = schedule.steps.noise_var
    t = np.arange(1, schedule.T + 1)
    subtracted = 1 - np.cumprod(1 - schedule.beta.astype(np.float32))
    apart = schedule.at(t, like=np.zeros(schedule.T, np.float32)).noise_var
    fig, ax = figure(height=2.8)
    ax.loglog(t, np.abs(subtracted / exact - 1), ".", markersize=4, color=ORANGE)
    ax.loglog(t, np.abs(apart / exact - 1), ".", markersize=4, color=BLUE)
    ax.text(12, 8e-5, r"$1-\bar\alpha_t$ subtracted in float32", color=ORANGE)
    ax.text(1, 2.5e-11, "kept apart, rounded to float32 at the end", color=BLUE)
    ax.set(xlabel="$t$", ylabel="relative error", ylim=(1e-11, 1e-3))
    return fig


def _digit(label: int) -> np.ndarray:
    """The first digit of a label, 8 by 8, scaled to [-1, 1]."""
    digits = load_digits()
    return forward.to_unit_range(digits.images[np.argmax(digits.target == label)] * (255 / 16))


def _density(data: mixture.Mixture, schedule: forward.Schedule, t: int, x: np.ndarray) -> np.ndarray:
    """The density of x_t; at t = 0 that of the data."""
    return density_of(data.diffuse(schedule[t] if t else 1.0), x)


def _circle(begin: float, end: float) -> np.ndarray:
    """Points of the unit circle between two angles."""
    angle = np.linspace(begin, end, 100)
    return np.stack([np.cos(angle), np.sin(angle)])
