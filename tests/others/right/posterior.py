"""Chapter 2 as others might write it: right, and unusual."""

import numpy as np


def joint(prior, likelihood):
    return np.einsum("i,ij->ij", prior, likelihood)


def bayes(prior, likelihood):
    out = np.empty_like(likelihood)
    for j in range(likelihood.shape[1]):
        column = prior * likelihood[:, j]
        out[:, j] = column / np.sum(column)
    return out


def total_probability(prior, likelihood):
    return likelihood.T @ prior


def precision(step):
    return (1 - step.alpha_bar) / (step.beta * (1 - step.alpha_bar_prev))


def variance(step):
    return step.beta * (1 - step.alpha_bar / step.alpha) / (1 - step.alpha_bar)


def mean(x_t, x_0, step):
    gain = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar)
    return np.sqrt(step.alpha_bar_prev) * x_0 + gain * (x_t - np.sqrt(step.alpha_bar) * x_0)


def posterior(x_t, x_0, step):
    var = variance(step)
    by_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta / (1 - step.alpha_bar)
    by_x_t = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar)
    return np.add(by_x_0 * x_0, by_x_t * x_t), var


def mean_from_noise(x_t, noise, step):
    return x_t / np.sqrt(step.alpha) - step.beta * noise / np.sqrt(step.alpha * (1 - step.alpha_bar))


def mean_from_score(x_t, score, step):
    return np.power(step.alpha, -0.5) * (x_t + (1 - step.alpha) * score)


def mean_from_velocity(x_t, velocity, step):
    x_0 = np.sqrt(step.alpha_bar) * x_t - np.sqrt(step.noise_var) * velocity
    return mean(x_t, x_0, step)


def optimal_variance(step, data_var):
    seen = step.alpha_bar * data_var + step.noise_var
    before = step.alpha_bar_prev * data_var + step.noise_var_prev
    return before - step.alpha * before**2 / seen


def interpolated_variance(v, step):
    small = step.beta * step.noise_var_prev / step.noise_var
    return small * (step.beta / small) ** v if np.all(small > 0) else step.beta**v * small ** (1 - v)


def sampling_step(x_t, x_0, z, step, var):
    last = step.alpha_bar_prev == 1
    return mean(x_t, x_0, step) + np.sqrt(var) * z * np.where(last, 0.0, 1.0)


def ddim_sigma(step, step_s, eta):
    return eta * np.sqrt((1 - step_s.alpha_bar) / (1 - step.alpha_bar) * (1 - step.alpha_bar / step_s.alpha_bar))
