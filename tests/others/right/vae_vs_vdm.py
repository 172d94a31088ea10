"""Chapter 4 as others might write it: right, and unusual."""

import numpy as np


def kl_to_standard_normal(mean, var):
    each = -0.5 * (1 + np.log(var) - mean**2 - var)
    return each.reshape(len(each), -1).sum(1) if np.ndim(each) > 1 else each


def vae_elbo(log_likelihood, mean, var):
    return log_likelihood - kl_to_standard_normal(mean, var)


def reparameterized_gradient(df, mean, var, noise):
    std = np.sqrt(var)
    x = mean + std * noise
    return df(x), df(x) * noise * 0.5 / std


def score_function_gradient(f, mean, var, noise):
    x = mean + np.sqrt(var) * noise
    return f(x) * (x - mean) / var, f(x) * (((x - mean) ** 2 / var - 1) / var) / 2


def expected_log_prob(mean_q, cov_q, mean_p, cov_p):
    inverse = np.linalg.inv(cov_p)
    off = np.asarray(mean_q - mean_p)
    square = np.einsum("...i,ij,...j->...", off, inverse, off)
    log_det = np.log(np.linalg.det(cov_p)) + len(cov_p) * np.log(2 * np.pi)
    return -0.5 * (log_det + np.trace(inverse @ (cov_q * np.ones_like(cov_p))) + square)


def normal_kl(mean_q, cov_q, mean_p, cov_p):
    inverse = np.linalg.inv(cov_p)
    off = np.asarray(mean_q - mean_p)
    square = np.einsum("...i,ij,...j->...", off, inverse, off)
    logs = np.log(np.linalg.det(cov_p) / np.linalg.det(cov_q))
    return 0.5 * (np.trace(inverse @ cov_q) + square - len(cov_p) + logs)


def one_step_elbo(log_likelihood, x_0, step):
    return vae_elbo(log_likelihood, np.sqrt(step.alpha_bar) * x_0, 1 - step.alpha_bar + 0 * x_0)


def hierarchical_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return book.denoising_elbo(chain, x)


def consistency_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return book.hierarchical_elbo(chain, x)


def denoising_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return book.consistency_elbo(chain, x)
