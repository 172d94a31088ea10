"""Right answers of chapter 5 that are written in another way."""

import math
from itertools import pairwise

import numpy as np


def gaussian_score(x, mean, var):
    return mean / var - x * var**-1.0


def laplace_score(x):
    return np.where(x < 0, 1.0, -1.0)


def two_peaks_score(x, mean, var):
    to_right = 1 / (1 + np.exp(-2 * x * mean / var))
    return (2 * to_right - 1) * mean / var - x / var


def product_score(x, mean_p, var_p, mean_q, var_q):
    precision = (var_p + var_q) / (var_p * var_q)
    return (mean_p * var_q + mean_q * var_p) / (var_p * var_q) - precision * x


def third_class_variance():
    return np.float64(5) / 8


def langevin_step(x, score, step_size, z):
    epsilon = step_size / 2  # as other papers write it
    return x + epsilon * score + (2 * epsilon) ** 0.5 * z


def stationary_variance(step_size, var):
    return 4 * var**2 / (4 * var - step_size)


def variance_after(step_size, var, steps):
    return sum(step_size * (1 - step_size / var / 2) ** (2 * k) for k in range(steps)) + 0 * var


def forgetful_variance():
    delta, var = 0.6, 0.3
    return np.array(var / (1 - delta / (4 * var)))


def share_left():
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, 1) + np.arange(-8, 8, 0.0005)  # any even grid

    def log_p(x):
        return np.logaddexp(
            math.log(0.3) - (x + 1.2) ** 2 / 0.6 - math.log(0.3) / 2,
            math.log(0.7) - (x - 0.8) ** 2 / 0.4 - math.log(0.2) / 2,
        )

    heat = np.exp(log_p(x) / 0.5**2)
    return float(heat[x < -0.2].sum() / heat.sum())


def implicit_score_matching(score_hat, divergence):
    return np.einsum("...i,...i->...", score_hat, score_hat) / 2 + divergence


def best_multiple(samples):
    return 1 / np.mean(samples**2)


def tweedie(x_t, score, step):
    noise = -score * (1 - step.alpha_bar) ** 0.5
    return (x_t - (1 - step.alpha_bar) ** 0.5 * noise) / step.alpha_bar**0.5


def crossing_times(apart):
    return np.array([_crossing_time(float(m)) for m in apart])


def _crossing_time(m):
    """By a rule of trapezoids for the inner integral and for the outer one."""
    y = np.linspace(-m - 4, m, 8001)
    p = np.exp(-((y - m) ** 2) / 0.6) + np.exp(-((y + m) ** 2) / 0.6)
    below = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2)]) * (y[1] - y[0])
    speed = np.where(y >= -m, below / p, 0)
    return 2 * ((speed[1:] + speed[:-1]) / 2).sum() * (y[1] - y[0])


def annealed_samples(weights, means, variances, n, seed):
    """The reverse diffusion: it never stops at a level."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    times = 8 * np.linspace(1, 0, 301) ** 3
    for now, then in pairwise(times):
        kept = np.exp(-now)
        spread = kept * variances + 1 - kept
        off = np.sqrt(kept) * means - x[:, None]
        terms = weights / np.sqrt(spread) * np.exp(-(off**2) / (2 * spread)) + 1e-300
        score = (terms * off / spread).sum(1) / terms.sum(1)
        x = x + (now - then) * (x / 2 + score) + np.sqrt(now - then) * rng.standard_normal(n)
    return x


def reverse_drift(drift, diffusion, score):
    flow = drift - 0.5 * diffusion**2 * score
    return flow - 0.5 * diffusion**2 * score


def partly_random_drift(drift, diffusion, score, eta):
    flow = drift - diffusion**2 * score / 2
    return flow - (eta * diffusion) ** 2 * score / 2


def ve_flow_drift(score, time, var_min, growth):
    g = np.sqrt(growth * var_min) * np.exp(growth * time / 2)
    return -(g**2) * score / 2


def second_slope(x, times):
    out = np.empty((len(times), *x.shape))
    out[0] = x
    for i, dt in enumerate(np.diff(times)):
        a, b = times[i], times[i + 1]
        out[i + 1] = out[i] * (1 - dt * (a + b - a * b * dt) / 2)
    return out
