"""Chapter 5 as others might write it: right, and unusual."""

import numpy as np


def gaussian_score(x, mean, var):
    return -(x - mean) * (1 / var)


def langevin_step(x, score, step_size, z):
    half = 0.5 * step_size
    return x + half * score + np.sqrt(2 * half) * z


def stationary_variance(step_size, var):
    return 4 * var**2 / (4 * var - step_size)


def minibatch_score(prior_score, likelihood_scores, total):
    return prior_score + total * np.mean(likelihood_scores, axis=0)


def forward_as_langevin(x, step_size, z):
    return (1 - step_size / 2) * x + step_size**0.5 * z


def langevin_gap(x, step_size):
    return (1 - step_size / 2 - np.sqrt(1 - step_size)) * x


def brownian_path(times, z):
    path = [np.zeros_like(z[0])]
    for before, after, noise in zip(times[:-1], times[1:], z, strict=True):
        path.append(path[-1] + np.sqrt(abs(after - before)) * noise)
    return np.array(path)


def quadratic_variation(path):
    return np.square(np.diff(path, axis=0)).sum(axis=0)


def explicit_score_matching(score_hat, score):
    return 0.5 * np.linalg.norm(score_hat - score, axis=-1) ** 2


def implicit_score_matching(score_hat, divergence):
    return 0.5 * np.einsum("...i,...i->...", score_hat, score_hat) + divergence


def score_from_noise(noise, step):
    return -noise * (1 - step.alpha_bar) ** -0.5


def tweedie(x_t, score, step):
    return x_t / np.sqrt(step.alpha_bar) + (1 - step.alpha_bar) / np.sqrt(step.alpha_bar) * score


def vp_drift(x, rate):
    return -0.5 * rate * x


def reverse_drift(drift, diffusion, score):
    return -(diffusion * diffusion * score - drift)


def ve_diffusion(time, var_min, growth):
    return np.sqrt(var_min * growth * np.exp(growth * time))
