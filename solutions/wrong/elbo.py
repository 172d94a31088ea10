"""Wrong answers of chapter 3."""

import numpy as np

SLIPS = {
    "elbo": "with the opposite sign",
    "denoising_matching": "without a factor, in posterior.variance",
    "noise_weight": "with a factor of 2 too much",
    "posterior_velocity_weight": "with alpha_bar in the place of alpha_bar of t - 1, in elbo.velocity_weight",
    "min_snr_weight": "without a division",
    "information_between": "with a factor of 2 too much",
}
STARTERS = {
    "elbo": "without the term with log_q",
    "min_snr_weight": "with the maximum in the place of the minimum",
}


def _summed(x):
    return x.reshape(len(x), -1).sum(1) if np.ndim(x) > 1 else x


def kl(p, q):  # the other way round
    return (q * np.log(q / p)).sum(-1)


def coin():  # in nats
    return np.log(1 / 0.6) - (np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1))


def gaussian_kl(mean_q, var_q, mean_p, var_p):  # the logarithm of a standard deviation
    return _summed((var_q / var_p - 1 + np.log(var_p / var_q) / 2 + (mean_q - mean_p) ** 2 / var_p) / 2)


def both_ways(mean_q, var_q, mean_p, var_p):  # one way, twice
    return _summed(var_q / var_p - 1 + np.log(var_p / var_q) + (mean_q - mean_p) ** 2 / var_p)


def prior_gap(prior, likelihood):  # the evidence alone
    return np.log(prior @ likelihood)


def elbo(log_joint, log_q, weights):  # a loss
    return (weights * (log_q - log_joint)).sum(-1)


def belief_curve(face):  # without the prior
    return face * (np.log(0.6) - np.log(face)) + (1 - face) * (np.log(0.15) - np.log(1 - face))


def average_first(log_joint, log_q):  # right on paper
    return np.log(np.exp(log_joint - log_q).mean())


def path_loss(path, beta):  # without the start from noise
    def log_prob(x, mean, var):
        return -((x - mean) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2

    shrink, before, after = np.sqrt(1 - beta), path[:-1], path[1:]
    return (log_prob(after, shrink * before, beta) - log_prob(before, shrink * after, beta)).sum()


def below_zero():
    return [1.0, 1.0]


def telescoped(x_0, path, alpha_bar):  # the wrong way round
    def log_prob(t):
        var = 1 - alpha_bar[t]
        return -((path[t] - np.sqrt(alpha_bar[t]) * x_0) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2

    return log_prob(-1) - log_prob(0)


def denoising_matching(x_t, x_0, model_mean, model_var, step):  # beta for the variance of the forward posterior
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    mean = (from_x_0 + from_x_t) / step.noise_var
    return _summed(
        (step.beta / model_var - 1 + np.log(model_var / step.beta) + (mean - model_mean) ** 2 / model_var) / 2
    )


def noise_weight(step, var):  # the half is missing
    return step.beta**2 / (var * step.alpha * step.noise_var)


def posterior_velocity_weight(step):  # alpha_bar at t
    return step.alpha_bar * step.beta / (2 * step.noise_var_prev)


def variance_price():  # begins at t = 3
    noise_var = 1 - np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    r = noise_var[2:] / noise_var[1:-1]
    return (r - 1 - np.log(r)).sum() / 2


def min_snr_weight(step, snr_cap):  # the weight of x_0
    return np.minimum(step.alpha_bar / step.noise_var, snr_cap)


def information_between(snr_min, snr_max, data_var):  # without the half
    return np.log((1 + data_var * snr_max) / (1 + data_var * snr_min))
