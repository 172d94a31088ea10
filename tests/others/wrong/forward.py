"""Chapter 1 with mistakes that people make."""

import numpy as np


def to_unit_range(pixels):
    return pixels / 255


def reparameterize(mean, var, noise):
    return mean + var * noise


def transition(x_prev, step):
    return np.sqrt(step.alpha) * x_prev, np.sqrt(step.beta)


def diffuse_once(x_prev, noise, step):
    return np.sqrt(step.beta) * x_prev + np.sqrt(step.alpha) * noise


def variance_after(var, step):
    return step.alpha**2 * var + step.beta


def alpha_bar(beta):
    return np.cumsum(1 - beta)


def marginal(x_0, step):
    return np.sqrt(step.alpha) * x_0, step.noise_var


def diffuse(x_0, noise, step):
    return np.sqrt(step.alpha_bar) * x_0 + step.noise_var * noise


def predict_x0(x_t, noise, step):
    return (x_t - np.sqrt(step.noise_var) * noise) / step.alpha_bar


def predict_noise(x_t, x_0, step):
    return (np.sqrt(step.alpha_bar) * x_0 - x_t) / np.sqrt(step.noise_var)


def velocity(x_0, noise, step):
    return np.sqrt(step.alpha_bar) * noise + np.sqrt(step.noise_var) * x_0


def snr(step):
    return np.sqrt(step.alpha_bar / step.noise_var)


def log_snr(step):
    return np.log10(step.alpha_bar / step.noise_var)


def skip(x_s, step_s, step):
    return np.sqrt(step.alpha_bar) * x_s, step.noise_var
