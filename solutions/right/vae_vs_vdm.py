"""Right answers of chapter 4 that are written in another way."""

import math

import numpy as np


def kl_to_standard_normal(mean, var):
    std = np.sqrt(var)
    each = (mean**2 + std**2) / 2 - 0.5 - np.log(std)
    return np.sum(each, axis=tuple(range(1, np.ndim(each))))


def narrow_latent():
    low, high = 0.01, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if middle - math.log(middle) > 2 else (low, middle)
    return np.array(high)


def vae_elbo(log_likelihood, mean, var):
    price = mean * mean + var - np.log(np.e * var)
    while np.ndim(price) > 1:
        price = price.sum(-1)
    return log_likelihood - 0.5 * price


def step_gradient(mean, var):
    std = math.sqrt(var)
    return math.exp(-((mean / std) ** 2) / 2 - math.log(std) - math.log(2 * math.pi) / 2)


def expected_log_prob(mean_q, cov_q, mean_p, cov_p):
    d = len(cov_p)
    root = np.linalg.cholesky(cov_p)
    off = np.moveaxis(np.linalg.solve(root, np.moveaxis(np.atleast_2d(mean_q - mean_p), -1, -2)), -1, -2)
    square = (off**2).sum(-1).reshape(np.shape(mean_q - mean_p)[:-1])
    trace = np.trace(np.linalg.solve(cov_p, cov_q))
    return -d / 2 * np.log(2 * np.pi) - np.log(np.diag(root)).sum() - (trace + square) / 2


def normal_kl(mean_q, cov_q, mean_p, cov_p):
    d = cov_q.shape[0]
    off = mean_p - mean_q
    ratio = np.linalg.solve(cov_p, cov_q)
    square = np.einsum("...i,ij,...j->...", off, np.linalg.inv(cov_p), off)
    return (square + np.trace(ratio) - d - np.linalg.slogdet(ratio)[1]) / 2


def width_price(var_q, var_p, dims):
    return sum((var_q - var_p) / var_p + math.log(var_p) - math.log(var_q) for _ in range(dims)) / 2


def latent_nats(eigenvalues, var):
    says = np.zeros_like(eigenvalues)
    for j, eigenvalue in enumerate(eigenvalues):
        if eigenvalue > var:
            says[j] = (math.log(eigenvalue) - math.log(var)) / 2
    return says


def dead_point(data_var, var):
    signal = data_var / var
    return np.linalg.det(np.array([[-1 / var, signal], [signal, -data_var]])) if data_var else 0.0


def fit(x):
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    var = values[:-1].mean()
    return np.append(-vectors[:, -1] * np.sqrt(values[-1] - var), var)


def rest_noise(eigenvalues, k):
    return (sum(eigenvalues) - sum(eigenvalues[:k])) / (len(eigenvalues) - k)


def tight_encoder(weights, variances):
    T = len(weights)
    spread = np.ones(T + 1)
    for t in range(T, 0, -1):
        spread[t - 1] = weights[t - 1] ** 2 * spread[t] + variances[t - 1]
    precision = 1 / spread[1:] + weights**2 / variances
    return np.stack([weights / variances / precision, 1 / precision], axis=1)


def printed_weight(data_var, step, step_next):
    up, after = math.sqrt(1 - step.beta), math.sqrt(1 - step_next.beta)
    var = step_next.alpha * step.alpha * (data_var - 1) + 1
    return up * up * after * data_var / var


def one_step_elbo(log_likelihood, x_0, step):
    mean, var = np.sqrt(step.alpha_bar) * x_0, 1 - step.alpha_bar
    each = (mean**2 + var - 1 - np.log(var)) / 2
    return log_likelihood - np.sum(each, axis=tuple(range(1, np.ndim(each))))


def single_step():
    return 1 / 11 + 0.003


def four_steps():
    return np.array([0.95, 0.85, 0.7, 0.06])
