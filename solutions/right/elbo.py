"""Right answers of chapter 3 that are written in another way."""

import math

import numpy as np


def kl(p, q):
    cross_entropy, entropy = -np.dot(p, np.log(q)), -np.dot(p, np.log(p))
    return cross_entropy - entropy


def coin():
    return np.float32(math.log2(1 / 0.6) - (1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)))


def gaussian_kl(mean_q, var_q, mean_p, var_p):
    std_q, std_p = np.sqrt(var_q), np.sqrt(var_p)
    each = np.log(std_p) - np.log(std_q) + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 1 / 2
    return np.sum(each, axis=tuple(range(1, np.ndim(each))))


def both_ways(mean_q, var_q, mean_p, var_p):
    widths, means = (var_q - var_p) ** 2, (var_q + var_p) * (mean_q - mean_p) ** 2
    each = np.asarray((widths + means) / (2 * var_q * var_p))
    return each if each.ndim < 2 else each.sum(axis=tuple(range(1, each.ndim)))


def prior_gap(prior, likelihood):
    gaps = []
    for row in likelihood.T:
        gaps.append(math.log(sum(prior * row)) - sum(p * math.log(seen) for p, seen in zip(prior, row, strict=True)))
    return np.array(gaps)


def elbo(log_joint, log_q, weights):
    return weights @ log_joint - np.einsum("z,z", weights, log_q)


def belief_curve(face):
    posterior = np.array([2 / 3, 1 / 3])
    beliefs = np.stack([face, 1 - face])
    return np.log(0.3) - (beliefs * np.log(beliefs / posterior[:, None])).sum(0)


def average_first(log_joint, log_q):
    total = -math.inf
    for ratio in log_joint - log_q:
        total = np.logaddexp(total, ratio)
    return total - math.log(len(log_q))


def path_loss(path, beta):
    return path[0] ** 2 / 2 + math.log(2 * math.pi) / 2  # this model is exact: the same for every path


def below_zero():
    return np.array([-85.0, -100.0])


def telescoped(x_0, path, alpha_bar):
    def log_prob(t):
        return -((path[t] - alpha_bar[t] ** 0.5 * x_0) ** 2) / (1 - alpha_bar[t]) / 2 - np.log(1 - alpha_bar[t]) / 2

    return sum(log_prob(t - 1) - log_prob(t) for t in range(1, len(path)))


def denoising_matching(x_t, x_0, model_mean, model_var, step):
    precision = step.alpha / step.beta + 1 / step.noise_var_prev
    mean = step.alpha**0.5 / step.beta * x_t + step.alpha_bar_prev**0.5 / step.noise_var_prev * x_0
    return gaussian_kl(mean / precision, 1 / precision, model_mean, model_var)


def noise_weight(step, var):
    return (step.beta / np.sqrt(step.alpha * (1 - step.alpha_bar))) ** 2 / var / 2


def posterior_velocity_weight(step):
    before, now = (alpha_bar / (1 - alpha_bar) for alpha_bar in (step.alpha_bar_prev, step.alpha_bar))
    return (before - now) / (now + 1) / 2


def variance_price():
    total, kept = 0.0, 1 - 1e-4
    for t in range(2, 1001):
        beta = 1e-4 + (0.02 - 1e-4) * (t - 1) / 999
        smaller = beta * (1 - kept) / (1 - kept * (1 - beta))
        kept *= 1 - beta
        total += (beta / smaller - 1 - math.log(beta / smaller)) / 2
    return round(total, 2)


def min_snr_weight(step, snr_cap):
    over_cap = snr_cap * (1 - step.alpha_bar) / step.alpha_bar
    return np.where(over_cap > 1, 1.0, over_cap)


def information_between(snr_min, snr_max, data_var):
    x = np.polynomial.legendre.leggauss(80)
    middle, half = (snr_max + snr_min) / 2, (snr_max - snr_min) / 2
    snr = middle + half * x[0]
    return half * (x[1] * data_var / (1 + data_var * snr)).sum() / 2
