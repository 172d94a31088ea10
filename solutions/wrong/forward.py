"""Wrong answers to the exercises of chapter 1, one each."""

import numpy as np

STARTERS = {"reparameterize": "without the square root of var"}

SLIPS = {
    "reparameterize": "with a minus in the place of a plus",
    "diffuse_once": "without the square root of var, in forward.reparameterize",
    "diffuse": "with alpha in the place of alpha_bar, in forward.marginal",
    "x0_from_velocity": "with a plus in the place of a minus",
}


def reparameterize(mean, var, noise):
    return mean - np.sqrt(var) * noise


def diffuse_once(x_prev, noise, step):
    return np.sqrt(step.alpha) * x_prev + step.beta * noise


def factor_keeping_variance(var, step):
    return np.sqrt(step.alpha)  # right for data of variance 1 alone


def alpha_bar(beta):
    return np.cumprod(np.append(1.0, 1 - beta))[:-1]  # one time too early


def diffuse(x_0, noise, step):
    return np.sqrt(step.alpha) * x_0 + np.sqrt(step.noise_var) * noise


def variance_without_root(beta):
    kept = np.cumprod(1 - beta)
    return kept + (1 - kept)  # the root not forgotten


def uniform_kurtosis(beta):
    return -1.2 / np.arange(1, len(beta) + 1)  # right for equal weights alone


def cosine_merge_time():
    return 216


def merged_noise(noise_a, noise_b, step_s, step):
    return (noise_a + noise_b) / np.sqrt(2)


def path_correlation(step):
    return np.sqrt(step.alpha)


def x0_from_velocity(x_t, velocity, step):
    return np.sqrt(step.alpha_bar) * x_t + np.sqrt(step.noise_var) * velocity


def cosine_even_time():
    return 260


def matching_beta():
    return 0.2


def respaced_betas(beta, taus):
    kept = np.append(0.0, np.cumprod(1 - beta))
    return kept[[0, *taus[:-1]]] - kept[taus]
