"""Solutions of the exercises of chapter 5, langevin."""

from itertools import pairwise

import numpy as np


def gaussian_score(x, mean, var):
    return (mean - x) / var


def laplace_score(x):
    return -np.sign(x)


def two_peaks_score(x, mean, var):
    return (mean * np.tanh(mean * x / var) - x) / var


def product_score(x, mean_p, var_p, mean_q, var_q):
    return (mean_p - x) / var_p + (mean_q - x) / var_q


def third_class_variance():
    c = 0.5  # -1/4 + c/2 = 0
    return 1 - (1 / 4 + c**2 / 2)


def langevin_step(x, score, step_size, z):
    return x + step_size / 2 * score + np.sqrt(step_size) * z


def stationary_variance(step_size, var):
    return var / (1 - step_size / (4 * var))


def variance_after(step_size, var, steps):
    a = 1 - step_size / (2 * var)
    return stationary_variance(step_size, var) * (1 - a ** (2 * steps))


def forgetful_variance():
    return 2 * 0.3


def share_left():
    x = np.linspace(-8, 8, 10_001)
    p = 0.3 * np.exp(-((x + 1.2) ** 2) / 0.6) / np.sqrt(0.3) + 0.7 * np.exp(-((x - 0.8) ** 2) / 0.4) / np.sqrt(0.2)
    return (p**4)[x < -0.2].sum() / (p**4).sum()


def implicit_score_matching(score_hat, divergence):
    return divergence + (score_hat**2).sum(-1) / 2


def best_multiple(samples):
    return samples.size / (samples**2).sum()


def tweedie(x_t, score, step):
    return (x_t + step.noise_var * score) / np.sqrt(step.alpha_bar)


def crossing_times(apart):
    y = np.linspace(-6, 6, 20_001)
    width = y[1] - y[0]
    times = []
    for m in apart:
        p = np.exp(-((y - m) ** 2) / 0.6) + np.exp(-((y + m) ** 2) / 0.6)
        below = np.cumsum(p) * width
        between = abs(y) < m
        times.append(2 * (below / p)[between].sum() * width)
    return np.array(times)


def annealed_samples(weights, means, variances, n, seed):
    rng = np.random.default_rng(seed)
    x = 4 * rng.standard_normal(n)
    for var in np.geomspace(16, 0.01, 16):
        spread = variances + var
        step_size = var / 2
        for _ in range(50):
            off = means - x[:, None]
            log_terms = np.log(weights) - np.log(spread) / 2 - off**2 / (2 * spread)
            terms = np.exp(log_terms - log_terms.max(1, keepdims=True))
            score = (terms * off / spread).sum(1) / terms.sum(1)
            x = x + step_size / 2 * score + np.sqrt(step_size) * rng.standard_normal(n)
    return x


def reverse_drift(drift, diffusion, score):
    return drift - diffusion**2 * score


def partly_random_drift(drift, diffusion, score, eta):
    return drift - (1 + eta**2) / 2 * diffusion**2 * score


def ve_flow_drift(score, time, var_min, growth):
    return -growth * var_min * np.exp(growth * time) * score / 2


def second_slope(x, times):
    path = [x]
    for start, end in pairwise(times):
        dt = end - start
        slope = -start * path[-1]
        again = -end * (path[-1] + dt * slope)
        path.append(path[-1] + dt * (slope + again) / 2)
    return np.stack(path)
