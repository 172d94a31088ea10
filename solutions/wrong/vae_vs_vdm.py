"""Wrong answers of chapter 4."""

import numpy as np

SLIPS = {
    "vae_elbo": "with a plus in the place of a minus",
    "dead_point": "with a plus in the place of a minus",
}
STARTERS = {
    "vae_elbo": "with a mean over the dimensions in the place of a sum, in elbo.gaussian_kl",
    "expected_log_prob": "without the term with trace",
}


def _summed(x):
    return x.reshape(len(x), -1).sum(1) if np.ndim(x) > 1 else x


def kl_to_standard_normal(mean, var):  # the square of a logarithm
    return _summed((mean**2 + var - 1 + (np.log(var) / 2) ** 2) / 2)


def narrow_latent():  # the wide one
    return 3.146


def vae_elbo(log_likelihood, mean, var):  # a loss and a bound
    return log_likelihood + _summed((mean**2 + var - 1 - np.log(var)) / 2)


def step_gradient(mean, var):  # what moving the sample finds
    return 0.0


def expected_log_prob(mean_q, cov_q, mean_p, cov_p):  # the covariance for the precision
    off = mean_q - mean_p
    log_det = np.linalg.slogdet(2 * np.pi * cov_p)[1]
    return -(log_det + (cov_p * cov_q).sum() + (off @ cov_p * off).sum(-1)) / 2


def normal_kl(mean_q, cov_q, mean_p, cov_p):  # the other way round
    off, d = mean_p - mean_q, len(cov_q)
    ratio = np.linalg.solve(cov_q, cov_p)
    square = (off @ np.linalg.inv(cov_q) * off).sum(-1)
    return (square + np.trace(ratio) - d - np.linalg.slogdet(ratio)[1]) / 2


def width_price(var_q, var_p, dims):  # the ratio upside down
    r = var_p / var_q
    return dims / 2 * (r - 1 - np.log(r))


def latent_nats(eigenvalues, var):  # dead latents below 0
    return np.log(eigenvalues / var) / 2


def dead_point(data_var, var):  # the sign of the second part
    return data_var / var + (data_var / var) ** 2


def fit(x):  # it begins where it cannot leave
    n, d = x.shape
    W, var = np.zeros(d), 1.0
    for _ in range(200):
        M = W @ W + var
        mean, spread = x @ W / M, var / M
        W = (x * mean[:, None]).sum(0) / (mean**2 + spread).sum()
        var = (((x - mean[:, None] * W) ** 2).sum() / n + spread * W @ W) / d
    return np.append(W, var)


def rest_noise(eigenvalues, k):  # the largest one that got no latent
    return eigenvalues[k]


def tight_encoder(weights, variances):  # the decoder, taken for the encoder
    return np.stack([weights, variances], axis=1)


def printed_weight(data_var, step, step_next):  # the right weight for N(0, 1)
    return np.sqrt(step_next.alpha)


def one_step_elbo(log_likelihood, x_0, step):  # without the logarithm
    return log_likelihood - _summed((step.alpha_bar * (x_0**2 - 1)) / 2)


def single_step():  # where the figure's axis is read as beta, from a linear one
    return 0.5


def four_steps():  # the cosine schedule's
    return [0.847, 0.494, 0.144, 0.0002]
