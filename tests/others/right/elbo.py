"""Chapter 3 as others might write it: right, and unusual."""

import math

import numpy as np
from scipy import stats


def information(p):
    return -np.log2(p) * math.log(2)


def entropy(p):
    q = np.where(p > 0, p, 1)
    return np.sum(-p * np.log(q), axis=-1)


def kl(p, q):
    return stats.entropy(p, q, axis=-1)


def gaussian_log_prob(x, mean, var):
    each = stats.norm.logpdf(x, mean, np.sqrt(var))
    return each.reshape(len(x), -1).sum(1) if np.ndim(each) > 1 else each


def gaussian_entropy(var, dims):
    return dims * (1 + math.log(2 * math.pi) + np.log(var)) / 2


def gaussian_kl(mean_q, var_q, mean_p, var_p):
    each = 0.5 * (np.log(var_p) - np.log(var_q) + (var_q + (mean_q - mean_p) ** 2) / var_p - 1)
    return np.sum(each, axis=tuple(range(1, np.ndim(each)))) if np.ndim(each) > 1 else each


def evidence(log_joint, log_posterior):
    return -(log_posterior - log_joint)


def mean_weight(var):
    return 0.5 * var**-1


def noise_weight(step, var):
    return (1 - step.alpha) ** 2 / (2 * var * step.alpha * (1 - step.alpha_bar))


def snr_weight(step):
    before = step.alpha_bar_prev / (1 - step.alpha_bar_prev)
    now = step.alpha_bar / (1 - step.alpha_bar)
    return 0.5 * (before - now)


def best_variance(step, mean_square_error):
    return step.beta * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar) + mean_square_error


def simple_loss(noise, noise_hat):
    off = noise - noise_hat
    return np.sum(off * off, axis=tuple(range(1, np.ndim(off)))) if np.ndim(off) > 1 else off**2


def importance_weights(losses):
    norm = np.linalg.norm(losses, axis=1)
    return norm / norm.sum()


def min_snr_weight(step, snr_cap=5.0, predicts="noise"):
    ratio = step.alpha_bar / (1 - step.alpha_bar)
    return (
        np.minimum(1, snr_cap / ratio)
        if predicts == "noise"
        else np.minimum(ratio, snr_cap)
        / {
            "x_0": 1,
            "velocity": 1 + ratio,
        }[predicts]
    )


def bits_per_dim(nats, dims, levels=None):
    return nats / dims / np.log(2) + (0 if levels is None else np.log2(levels) - 1)
