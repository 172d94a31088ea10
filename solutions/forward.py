"""Solutions of the exercises of chapter 1, the forward process."""

import numpy as np
from scipy.optimize import brentq


def reparameterize(mean, var, noise):
    return mean + np.sqrt(var) * noise


def diffuse_once(x_prev, noise, step):
    return np.sqrt(step.alpha) * x_prev + np.sqrt(step.beta) * noise


def factor_keeping_variance(var, step):
    # The variance after the step is c^2 var + beta.
    return np.sqrt(1 - step.beta / var)


def alpha_bar(beta):
    return np.cumprod(1 - beta)


def diffuse(x_0, noise, step):
    return np.sqrt(step.alpha_bar) * x_0 + np.sqrt(step.noise_var) * noise


def variance_without_root(beta):
    # It is least, 3/4, where alpha_bar is 1/2.
    kept = alpha_bar(beta)
    return kept + (1 - kept) ** 2


def uniform_kurtosis(beta):
    # The central limit theorem makes it small, but not after the first few steps.
    fourth, result = 0.0, []
    for now, kept in zip(beta, alpha_bar(beta), strict=True):
        fourth = (1 - now) ** 2 * fourth - 1.2 * now**2
        result.append(fourth / (1 - kept) ** 2)
    return np.array(result)


def _cosine_alpha_bar():
    t = np.arange(1001)
    f = np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    return f / f[0]


def cosine_merge_time():
    return int(np.argmax(_cosine_alpha_bar() < 0.6158))


def merged_noise(noise_a, noise_b, step_s, step):
    kept = step.alpha_bar / step_s.alpha_bar
    older = np.sqrt(kept * step_s.noise_var) * noise_a
    return (older + np.sqrt(1 - kept) * noise_b) / np.sqrt(step.noise_var)


def path_correlation(step):
    # The covariance is sqrt(alpha) noise_var_prev. It is 0 only where alpha is.
    return np.sqrt(step.alpha * step.noise_var_prev / step.noise_var)


def x0_from_velocity(x_t, velocity, step):
    return np.sqrt(step.alpha_bar) * x_t - np.sqrt(step.noise_var) * velocity


def cosine_even_time():
    return int(np.argmax(_cosine_alpha_bar() < 0.5))


def matching_beta():
    wanted = np.log1p(-np.linspace(1e-4, 0.02, 1000)).sum()
    return brentq(lambda beta_T: np.log1p(-beta_T * np.arange(1, 101) / 100).sum() - wanted, 0.1, 0.3)


def respaced_betas(beta, taus):
    kept = np.append(1.0, alpha_bar(beta))
    return 1 - kept[taus] / kept[[0, *taus[:-1]]]
