"""Chapter 5 with mistakes that people make."""

import numpy as np


def gaussian_score(x, mean, var):
    return (x - mean) / var


def langevin_step(x, score, step_size, z):
    return x + step_size * score + np.sqrt(step_size) * z


def stationary_variance(step_size, var):
    return var / (1 - step_size / (2 * var))


def minibatch_score(prior_score, likelihood_scores, total):
    return prior_score + likelihood_scores.sum(0)


def forward_as_langevin(x, step_size, z):
    return x - step_size / 2 * x + step_size * z


def brownian_path(times, z):
    dt = np.diff(times).reshape(-1, *[1] * (z.ndim - 1))
    return np.concatenate([0 * z[:1], np.cumsum(dt * z, axis=0)])


def quadratic_variation(path):
    return np.abs(path[1:] - path[:-1]).sum(0)


def explicit_score_matching(score_hat, score):
    return ((score_hat - score) ** 2).sum(-1)


def implicit_score_matching(score_hat, divergence):
    return divergence - (score_hat**2).sum(-1) / 2


def score_from_noise(noise, step):
    return noise / np.sqrt(step.noise_var)


def tweedie(x_t, score, step):
    return (x_t + step.noise_var * score) / step.alpha_bar


def probability_flow_drift(drift, diffusion, score):
    return drift - diffusion**2 * score


def reverse_drift(drift, diffusion, score):
    return drift - diffusion * score
