"""Chapter 4 with mistakes that people make."""

import numpy as np


def kl_to_standard_normal(mean, var):
    each = -0.5 * (1 + np.log(var) - mean**2 - np.sqrt(var))
    return each.reshape(len(each), -1).sum(1) if np.ndim(each) > 1 else each


def vae_elbo(log_likelihood, mean, var):
    each = 0.5 * (var + mean**2 - 1 - np.log(var))
    return log_likelihood + (each.reshape(len(each), -1).sum(1) if np.ndim(each) > 1 else each)


def reparameterized_gradient(df, mean, var, noise):
    slope = df(mean + np.sqrt(var) * noise)
    return slope, slope * noise


def score_function_gradient(f, mean, var, noise):
    value = f(mean + np.sqrt(var) * noise)
    return value * noise / np.sqrt(var), value * noise**2 / (2 * var)


def expected_log_prob(mean_q, cov_q, mean_p, cov_p):
    inverse = np.linalg.inv(cov_p)
    off = np.asarray(mean_q - mean_p)
    return -0.5 * (np.linalg.slogdet(2 * np.pi * cov_p)[1] + np.einsum("...i,ij,...j->...", off, inverse, off))


def normal_kl(mean_q, cov_q, mean_p, cov_p):
    inverse = np.linalg.inv(cov_q)
    off = np.asarray(mean_q - mean_p)
    logs = np.log(np.linalg.det(cov_q) / np.linalg.det(cov_p))
    return 0.5 * (np.trace(inverse @ cov_p) + np.einsum("...i,ij,...j->...", off, inverse, off) - len(cov_p) + logs)


def one_step_elbo(log_likelihood, x_0, step):
    mean, var = step.alpha_bar * x_0, step.noise_var
    each = 0.5 * (var + mean**2 - 1 - np.log(var))
    return log_likelihood - (each.reshape(len(each), -1).sum(1) if np.ndim(each) > 1 else each)


def hierarchical_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return -book.hierarchical_elbo(chain, x)


def denoising_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return book.denoising_elbo(chain, x) + book.normal_kl(*chain.marginals(x)[-1], *chain.prior)


def consistency_elbo(chain, x):
    from tinyddpm import vae_vs_vdm as book

    return book.consistency_elbo(chain, x) / 2
