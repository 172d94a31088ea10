"""Wrong answers of chapter 5, and how the judge names those that are a single slip."""

from itertools import pairwise

import numpy as np

SLIPS = {
    "gaussian_score": "with the opposite sign",
    "two_peaks_score": "without the term with mean, in langevin.gaussian_score",
    "product_score": "with a factor of 1/2 too much",
    "langevin_step": "with a multiplication in the place of a division",
    "stationary_variance": "with a plus in the place of a minus",
    "implicit_score_matching": "without dividing by 2",
    "best_multiple": "without the factor d",
    "tweedie": "with a standard deviation in the place of a variance: the square root of 1 - alpha_bar in its place",
    "reverse_drift": "without a square",
    "ve_flow_drift": "with a factor of 2 too much",
}

STARTERS = {
    "langevin_step": "without the square root of step_size",
    "reverse_drift": "with a plus in the place of a minus",
}


def gaussian_score(x, mean, var):
    return (x - mean) / var


def laplace_score(x):
    return -x


def two_peaks_score(x, mean, var):
    """The pulls are averaged by the weights, not by the responsibilities."""
    return ((mean - x) / var + (-mean - x) / var) / 2


def product_score(x, mean_p, var_p, mean_q, var_q):
    return ((mean_p - x) / var_p + (mean_q - x) / var_q) / 2


def third_class_variance():
    return 1 - (1 / 4 + 1 / 4)


def langevin_step(x, score, step_size, z):
    return x + 2 * step_size * score + np.sqrt(step_size) * z


def stationary_variance(step_size, var):
    return var / (1 + step_size / (4 * var))


def variance_after(step_size, var, steps):
    return var / (1 - step_size / (4 * var)) * (1 - (1 - step_size / (2 * var)) ** steps)


def forgetful_variance():
    return 0.3


def share_left():
    """Weights and widths are forgotten: the powers of the weights alone."""
    return 0.3**4 / (0.3**4 + 0.7**4)


def implicit_score_matching(score_hat, divergence):
    return divergence + (score_hat**2).sum(-1)


def best_multiple(samples):
    return 1 / (samples**2).sum(-1).mean()


def tweedie(x_t, score, step):
    return (x_t + np.sqrt(step.noise_var) * score) / np.sqrt(step.alpha_bar)


def crossing_times(apart):
    """The height of the pass alone."""
    return np.exp(apart**2 / 0.6)


def annealed_samples(weights, means, variances, n, seed):
    """Plain Langevin dynamics."""
    rng = np.random.default_rng(seed)
    x = 4 * rng.standard_normal(n)
    for _ in range(500):
        off = means - x[:, None]
        terms = weights * np.exp(-(off**2) / (2 * variances)) + 1e-300
        score = (terms * off / variances).sum(1) / terms.sum(1)
        x = x + 0.01 * score + np.sqrt(0.02) * rng.standard_normal(n)
    return x


def reverse_drift(drift, diffusion, score):
    return drift - diffusion * score


def partly_random_drift(drift, diffusion, score, eta):
    return drift - (1 + eta) / 2 * diffusion**2 * score


def ve_flow_drift(score, time, var_min, growth):
    return -growth * var_min * np.exp(growth * time) * score


def second_slope(x, times):
    """Euler's method."""
    path = [x]
    for start, end in pairwise(times):
        path.append(path[-1] - (end - start) * start * path[-1])
    return np.stack(path)
