"""Right answers to the exercises of chapter 1, written in another way than the solutions."""

import math
from itertools import pairwise

import numpy as np


def reparameterize(m, v, e):
    return v**0.5 * e + m


def diffuse_once(x_prev, noise, step):
    angle = np.arcsin(np.sqrt(step.beta))
    return np.cos(angle) * x_prev + np.sin(angle) * noise


def factor_keeping_variance(step, var):
    return ((var - step.beta) / var) ** 0.5


def alpha_bar(beta):
    kept, result = 1.0, np.empty(len(beta))
    for t, each in enumerate(beta):
        kept = kept - kept * each
        result[t] = kept
    return result


def diffuse(x_0, noise, step):
    # Two jumps, of which the second is the step itself; the noises are not the same, so their variances are merged.
    var = step.alpha * (1 - step.alpha_bar_prev) + (1 - step.alpha)
    return (step.alpha * step.alpha_bar_prev) ** 0.5 * x_0 + noise * var**0.5


def variance_without_root(beta):
    noise_var = -np.expm1(np.cumsum(np.log1p(-beta)))
    return 0.75 + (noise_var - 0.5) ** 2


def uniform_kurtosis(beta):
    # As a sum over the noises of all steps, each with its own share of the variance.
    kept = np.cumprod(1 - beta)
    shares = np.tril(beta * kept[:, None] / kept)
    return -1.2 * (shares**2).sum(1) / (1 - kept) ** 2


def cosine_merge_time():
    return 419.6  # solved for a t that is not whole


def merged_noise(noise_a, noise_b, step_s, step):
    # A rotation: the squares of the two weights add up to 1.
    sin = np.sqrt((1 / step_s.alpha_bar - 1) / (1 / step.alpha_bar - 1))
    return sin * noise_a + np.sqrt(1 - sin**2) * noise_b


def path_correlation(step):
    # What is not explained by x_{t-1} is the share beta / (1 - alpha_bar) of the variance.
    return np.sqrt(1 - step.beta / step.noise_var)


def x0_from_velocity(x_t, velocity, step):
    phi = np.arctan2(np.sqrt(step.noise_var), np.sqrt(step.alpha_bar))
    return ((x_t + 1j * velocity) * np.exp(1j * phi)).real


def cosine_even_time():
    first = math.pi / 2 * 0.008 / 1.008
    angle = math.acos(math.cos(first) / math.sqrt(2))
    return math.ceil(1000 * (angle * 2 / math.pi * 1.008 - 0.008))


def matching_beta():
    return np.array(0.1873)


def respaced_betas(beta, taus):
    ends = [0, *taus]
    return np.array([1 - math.prod(1 - beta[s:t]) for s, t in pairwise(ends)])
