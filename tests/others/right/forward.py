"""Chapter 1 as others might write it: right, and unusual."""

import math

import numpy as np


def to_unit_range(pixels):
    return (pixels - 127.5) / 127.5


def reparameterize(noise, mean, var):  # another order, the same names
    return mean + np.power(var, 0.5) * noise


def transition(x_prev, step):
    return [np.sqrt(1 - step.beta) * x_prev, 1 - step.alpha]


def diffuse_once(x, eps, s):  # other names, the same order
    return (
        math.sqrt(1 - s.beta) * x + math.sqrt(s.beta) * eps
        if np.ndim(s.beta) == 0
        else (np.sqrt(s.alpha) * x + np.sqrt(s.beta) * eps)
    )


def linear(T=1000, beta_1=1e-4, beta_T=0.02):
    betas = []
    for i in range(T):
        betas.append(beta_1 + (beta_T - beta_1) * i / max(T - 1, 1))
    from tinyddpm.forward import Schedule

    return Schedule(betas)


def variance_after(var, step):
    return var - step.beta * (var - 1)


def alpha_bar(beta):
    kept, product = [], 1.0
    for b in beta:
        product *= 1 - b
        kept.append(product)
    return np.array(kept)


def marginal(x_0, step):
    return np.sqrt(step.alpha_bar) * x_0, 1 - step.alpha_bar


def diffuse(x_0, noise, step):
    signal = step.alpha_bar**0.5
    return signal * x_0 + (1 - signal**2) ** 0.5 * noise


def predict_x0(x_t, noise, step):
    return x_t / np.sqrt(step.alpha_bar) - np.sqrt(1 / step.alpha_bar - 1) * noise


def predict_noise(x_t, x_0, step):
    return (x_t - np.sqrt(step.alpha_bar) * x_0) * (1 - step.alpha_bar) ** -0.5


def velocity(x_0, noise, step):
    angle = np.arctan2(np.sqrt(1 - step.alpha_bar), np.sqrt(step.alpha_bar))
    return np.cos(angle) * noise - np.sin(angle) * x_0


def snr(step):
    return 1 / (1 / step.alpha_bar - 1)


def log_snr(step):
    return np.log(step.alpha_bar) - np.log1p(-step.alpha_bar)


def merged_variance(var_a, var_b, a, b):
    return (a * np.sqrt(var_a)) ** 2 + (b * np.sqrt(var_b)) ** 2


def alpha_bar_from_edm(edm_sigma):
    return np.exp(-np.log1p(edm_sigma * edm_sigma))
