"""Solutions of chapter 3, the bound."""

import numpy as np


def _summed(x):
    """The sum over the dimensions of each sample: over all axes but the first."""
    return x.reshape(len(x), -1).sum(1) if np.ndim(x) > 1 else x


def kl(p, q):
    return (p * (np.log(p) - np.log(q))).sum()


def coin():
    fair, biased = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    return (kl(fair, biased) - kl(biased, fair)) / np.log(2)


def gaussian_kl(mean_q, var_q, mean_p, var_p):
    return _summed((var_q / var_p - 1 + np.log(var_p / var_q) + (mean_q - mean_p) ** 2 / var_p) / 2)


def both_ways(mean_q, var_q, mean_p, var_p):
    return _summed((var_q / var_p + var_p / var_q - 2 + (mean_q - mean_p) ** 2 * (1 / var_q + 1 / var_p)) / 2)


def prior_gap(prior, likelihood):
    return np.log(prior @ likelihood) - prior @ np.log(likelihood)


def elbo(log_joint, log_q, weights):
    return (weights * (log_joint - log_q)).sum()


def belief_curve(face):
    tree = 1 - face
    return face * (np.log(1 / 3 * 0.6) - np.log(face)) + tree * (np.log(2 / 3 * 0.15) - np.log(tree))


def average_first(log_joint, log_q):
    ratio = log_joint - log_q
    return ratio.max() + np.log(np.exp(ratio - ratio.max()).mean())


def path_loss(path, beta):
    def log_prob(x, mean, var):
        return -((x - mean) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2

    shrink, before, after = np.sqrt(1 - beta), path[:-1], path[1:]
    into, back = log_prob(after, shrink * before, beta), log_prob(before, shrink * after, beta)
    return (into - back).sum() - log_prob(path[-1], 0, 1)


def below_zero():
    return [2.55, 3.0]


def telescoped(x_0, path, alpha_bar):
    def log_prob(t):
        var = 1 - alpha_bar[t]
        return -((path[t] - np.sqrt(alpha_bar[t]) * x_0) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2

    return log_prob(0) - log_prob(-1)


def denoising_matching(x_t, x_0, model_mean, model_var, step):
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    variance = step.beta * step.noise_var_prev / step.noise_var
    return gaussian_kl((from_x_0 + from_x_t) / step.noise_var, variance, model_mean, model_var)


def noise_weight(step, var):
    return step.beta**2 / (2 * var * step.alpha * step.noise_var)


def posterior_velocity_weight(step):
    return step.alpha_bar_prev * step.beta / (2 * step.noise_var_prev)


def variance_price():
    noise_var = 1 - np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    r = noise_var[1:] / noise_var[:-1]
    return (r - 1 - np.log(r)).sum() / 2


def min_snr_weight(step, snr_cap):
    snr = step.alpha_bar / step.noise_var
    return np.minimum(snr, snr_cap) / snr


def information_between(snr_min, snr_max, data_var):
    return np.log((1 + data_var * snr_max) / (1 + data_var * snr_min)) / 2
