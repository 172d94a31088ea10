"""Solutions of the exercises of chapter 2, the posterior."""

from itertools import pairwise
from math import erf

import numpy as np


def bayes(prior, likelihood):
    joint = prior[:, None] * likelihood
    return joint / joint.sum(axis=0)


def illness():
    ill, healthy = 100 * 0.99, 99_900 * 0.02
    return ill / (ill + healthy)


def variance(step):
    return step.beta * step.noise_var_prev / step.noise_var


def mean(x_t, x_0, step):
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    return (from_x_0 + from_x_t) / step.noise_var


def weight_of_start(step):
    # (1 / noise_var_prev) / (alpha / beta + 1 / noise_var_prev), brought to one fraction.
    return step.beta / step.noise_var


def mean_from_velocity(x_t, velocity, step):
    pull = np.sqrt(step.alpha_bar_prev) * step.beta / np.sqrt(step.noise_var)
    return np.sqrt(step.alpha) * x_t - pull * velocity


def data_variance_at_beta():
    return 1


def few_step_times():
    # Up to here the two variances differ by more than a tenth. With ten steps that is nearly all of them.
    last = []
    for T in (10, 100, 1000):
        f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
        beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
        kept = np.append(1.0, np.cumprod(1 - beta))
        last.append(np.flatnonzero((1 - kept[:-1]) / (1 - kept[1:]) < 0.9)[-1] + 1)
    return np.array(last)


def interpolated_variance(v, step):
    return step.beta**v * variance(step) ** (1 - v)


def variance_of_start(step, data_var):
    # It never falls as t grows: it is data_var / (1 + SNR data_var), and the signal-to-noise ratio falls.
    return data_var * step.noise_var / (step.alpha_bar * data_var + step.noise_var)


def variance_of_step_back(step, x0_var):
    coefficient = np.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var
    return variance(step) + coefficient**2 * x0_var


def mean_square_score():
    kept = np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:150])
    x = np.linspace(-6, 6, 4001)
    var = kept * 0.02 + 1 - kept
    parts = [np.exp(-((x - np.sqrt(kept) * mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var) for mean in (-1.4, 0.7)]
    q = parts[0] / 3 + 2 * parts[1] / 3
    return np.sum(np.gradient(q, x) ** 2 / q) * (x[1] - x[0])


def sampling_step(x_t, x_0, z, step, var):
    back = mean(x_t, x_0, step)
    return np.where(step.noise_var_prev == 0, back, back + np.sqrt(var) * z)


def variance_without_noise(beta, data_var):
    kept = np.append(1.0, np.cumprod(1 - beta))
    var = kept * data_var + 1 - kept
    factor = (1 - beta) * (var[:-1] / var[1:]) ** 2
    return np.cumprod(factor[::-1])[::-1]


def share_clipped():
    def below(u):
        return (1 + erf(u / np.sqrt(2))) / 2

    std = np.sqrt(0.02)
    return below((-1 + 1.4) / std) / 3 + 2 * below((0.7 - 1) / std) / 3


def ddim_step(x_t, noise, z, step, step_s, eta):
    x_0 = (x_t - np.sqrt(step.noise_var) * noise) / np.sqrt(step.alpha_bar)
    var = eta**2 * step_s.noise_var / step.noise_var * (1 - step.alpha_bar / step_s.alpha_bar)
    return np.sqrt(step_s.alpha_bar) * x_0 + np.sqrt(step_s.noise_var - var) * noise + np.sqrt(var) * z


def heun_round_trip(alpha_bar, data_var):
    # The error falls with the square of the number of steps; that of DDIM itself in proportion to one over it.
    x = 1.0
    for way in (alpha_bar, alpha_bar[::-1]):
        for old, new in pairwise(way):
            first = _noise(x, old, data_var)
            second = _noise(_moved(x, first, old, new), new, data_var)
            x = _moved(x, (first + second) / 2, old, new)
    return abs(x - 1)


def _noise(x, alpha_bar, data_var):
    return np.sqrt(1 - alpha_bar) * x / (alpha_bar * data_var + 1 - alpha_bar)


def _moved(x, noise, old, new):
    r_old, r_new = np.sqrt((1 - old) / old), np.sqrt((1 - new) / new)
    return np.sqrt(new) * (x / np.sqrt(old) + (r_new - r_old) * noise)
