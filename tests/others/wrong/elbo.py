"""Chapter 3 with mistakes that people make."""

import numpy as np


def information(p):
    return -np.log2(p)


def entropy(p):
    return (p * np.log(p)).sum(-1)


def cross_entropy(p, q):
    return -(q * np.log(p)).sum(-1)


def kl(p, q):
    return (q * np.log(q / p)).sum(-1)


def gaussian_log_prob(x, mean, var):
    each = -((x - mean) ** 2) / var / 2 - np.log(2 * np.pi * var)
    return each.reshape(len(x), -1).sum(1) if np.ndim(each) > 1 else each


def gaussian_entropy(var, dims):
    return 0.5 * np.log(2 * np.pi * np.e * var)


def gaussian_kl(mean_q, var_q, mean_p, var_p):
    each = (np.log(var_p / var_q) + (var_q + (mean_q - mean_p) ** 2) / var_p) / 2
    return each.reshape(len(each), -1).sum(1) if np.ndim(each) > 1 else each


def mean_weight(var):
    return 1 / (2 * var**2)


def noise_weight(step, var):
    return step.beta**2 / (2 * var * step.alpha_bar * step.noise_var)


def snr_weight(step):
    return step.alpha_bar / step.noise_var - step.alpha_bar_prev / step.noise_var_prev


def simple_loss(noise, noise_hat):
    return (noise - noise_hat) ** 2


def importance_weights(losses):
    root = np.sqrt((losses**2).mean(1))
    return root / root.mean()


def min_snr_weight(step, snr_cap=5.0, predicts="noise"):
    ratio = step.alpha_bar / step.noise_var
    return np.maximum(ratio, snr_cap) / ratio


def bits_per_dim(nats, dims, levels=None):
    return nats / dims + (0 if levels is None else np.log2(levels / 2))
