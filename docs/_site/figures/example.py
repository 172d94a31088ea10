"""A figure for trying the machinery."""
import numpy as np
from tinyddpm import forward
from .style import *


def schedules() -> Figure:
    fig, (left, right) = figure(1, 2)
    t = np.arange(1, 1001)
    for name in forward.SCHEDULES:
        s = forward.schedule(name)
        left.plot(t, s.steps.alpha_bar, label=name)
        right.plot(t, np.log(s.steps.alpha_bar / s.steps.noise_var))
    left.set(xlabel="$t$", ylabel=r"$\bar\alpha_t$", title="what is left")
    right.set(xlabel="$t$", ylabel=r"$\log\,\mathrm{SNR}(t)$", title=r"$\sqrt{1-\bar\alpha_t}\,\epsilon$")
    left.legend()
    return fig


def noisy() -> Figure:
    rng = np.random.default_rng(0)
    fig, axes = figure(1, 6, height=1.4)
    x = np.linspace(-1, 1, 16)[None] * np.ones((16, 1))
    for ax, a in zip(axes, np.linspace(1, 0, 6)):
        picture(ax, a**.5 * x + (1 - a)**.5 * rng.normal(size=x.shape))
        ax.set_title(rf"$\bar\alpha={a:.1f}$")
    return fig
