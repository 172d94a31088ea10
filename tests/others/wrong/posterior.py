"""Chapter 2 with mistakes that people make."""

import numpy as np


def joint(prior, likelihood):
    return prior[:, None] + likelihood


def bayes(prior, likelihood):
    both = prior[:, None] * likelihood
    return both / both.sum(1, keepdims=True)


def total_probability(prior, likelihood):
    return (prior[:, None] * likelihood).mean(0)


def precision(step):
    return step.alpha / step.beta + 1 / step.noise_var


def variance(step):
    return np.sqrt(step.noise_var_prev / step.noise_var * step.beta)


def mean(x_t, x_0, step):
    from_x_0 = np.sqrt(step.alpha_bar) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    return (from_x_0 + from_x_t) / step.noise_var


def mean_from_noise(x_t, noise, step):
    return (x_t - np.sqrt(step.beta) / np.sqrt(step.noise_var) * noise) / np.sqrt(step.alpha)


def mean_from_score(x_t, score, step):
    return (x_t - step.beta * score) / np.sqrt(step.alpha)


def mean_from_velocity(x_t, velocity, step):
    pull = np.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var
    return np.sqrt(step.alpha) * x_t - pull * velocity


def interpolated_variance(v, step):
    return v * step.beta + (1 - v) * step.noise_var_prev / step.noise_var * step.beta


def sampling_step(x_t, x_0, z, step, var):
    back = np.sqrt(step.alpha_bar_prev) * step.beta * x_0 + np.sqrt(step.alpha) * step.noise_var_prev * x_t
    return back / step.noise_var + np.sqrt(var) * z


def ddim_sigma(step, step_s, eta):
    return np.sqrt(eta) * np.sqrt(step_s.noise_var / step.noise_var * (1 - step.alpha_bar / step_s.alpha_bar))
