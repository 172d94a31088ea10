"""Solutions of chapter 4, from the VAE to diffusion."""

import numpy as np


def _summed(x):
    """The sum over the dimensions of each sample: over all axes but the first."""
    return x.reshape(len(x), -1).sum(1) if np.ndim(x) > 1 else x


def kl_to_standard_normal(mean, var):
    return _summed((mean**2 + var - 1 - np.log(var)) / 2)


def narrow_latent():
    var = 0.1
    for _ in range(100):  # var - log(var) = 2, solved for the var in the logarithm
        var = np.exp(var - 2)
    return var


def vae_elbo(log_likelihood, mean, var):
    return log_likelihood - kl_to_standard_normal(mean, var)


def step_gradient(mean, var):
    return np.exp(-(mean**2) / (2 * var)) / np.sqrt(2 * np.pi * var)


def expected_log_prob(mean_q, cov_q, mean_p, cov_p):
    off, precision = mean_q - mean_p, np.linalg.inv(cov_p)
    square, trace = (off @ precision * off).sum(-1), (precision * cov_q).sum()
    log_det = np.linalg.slogdet(2 * np.pi * cov_p)[1]
    return -(log_det + trace + square) / 2


def normal_kl(mean_q, cov_q, mean_p, cov_p):
    return expected_log_prob(mean_q, cov_q, mean_q, cov_q) - expected_log_prob(mean_q, cov_q, mean_p, cov_p)


def width_price(var_q, var_p, dims):
    r = var_q / var_p
    return dims / 2 * (r - 1 - np.log(r))


def latent_nats(eigenvalues, var):
    return np.log(np.maximum(eigenvalues, var) / var) / 2


def dead_point(data_var, var):
    by_w, by_a, mixed = -1 / var, -data_var, data_var / var
    return by_w * by_a - mixed**2


def fit(x):
    n, d = x.shape
    W, var = x[np.argmax((x**2).sum(1))].copy(), 1.0
    for _ in range(500):
        M = W @ W + var
        mean, spread = x @ W / M, var / M  # the posterior of each z
        W = (x * mean[:, None]).sum(0) / (mean**2 + spread).sum()
        var = (((x - mean[:, None] * W) ** 2).sum() / n + spread * W @ W) / d
    return np.append(W, var)


def rest_noise(eigenvalues, k):
    return eigenvalues[k:].mean()


def tight_encoder(weights, variances):
    found, spread = [], 1.0  # the variance of z_T in the model
    for weight, var in zip(weights[::-1], variances[::-1], strict=True):
        before = weight**2 * spread + var
        found.append([weight * spread / before, var * spread / before])
        spread = before
    return np.array(found[::-1])


def printed_weight(data_var, step, step_next):
    together = step.alpha * np.sqrt(step_next.alpha) * data_var
    return together / (step_next.alpha * (step.alpha * data_var + step.beta) + step_next.beta)


def one_step_elbo(log_likelihood, x_0, step):
    price = step.alpha_bar * (x_0**2 - 1) - np.log(step.noise_var)
    return log_likelihood - _summed(price / 2)


def single_step():
    return 0.10


def four_steps():
    return [0.93, 0.85, 0.73, 0.04]
