"""Right answers to the exercises of chapter 2, written in another way than the solutions."""

import numpy as np


def bayes(p, table):
    result = np.zeros_like(table)
    for y in range(table.shape[1]):
        evidence = sum(table[x, y] * p[x] for x in range(len(p)))
        for x in range(len(p)):
            result[x, y] = table[x, y] * p[x] / evidence
    return result


def illness():
    odds = 0.001 / 0.999 * 0.99 / 0.02
    return np.float32(odds / (1 + odds))


def variance(step):
    return step.beta - step.beta**2 * step.alpha_bar_prev / step.noise_var  # at t = 1 two equal numbers


def mean(x_t, x_0, step):
    # Where the picture would be at t - 1, and the noise that is left of that in x_t.
    noise = x_t - np.sqrt(step.alpha_bar) * x_0
    gain = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar)
    return np.sqrt(step.alpha_bar_prev) * x_0 + gain * noise


def weight_of_start(step):
    return 1 - step.alpha * step.noise_var_prev / (1 - step.alpha_bar)


def mean_from_velocity(x_t, velocity, step):
    return mean(x_t, np.sqrt(step.alpha_bar) * x_t - np.sqrt(step.noise_var) * velocity, step)


def data_variance_at_beta():
    return np.array(1.0002)


def few_step_times():
    return np.array([8.0, 18.0, 14.0])


def interpolated_variance(v, step):
    return step.beta * (step.noise_var_prev / step.noise_var) ** (1 - v)


def variance_of_start(step, data_var):
    snr = step.alpha_bar / step.noise_var
    return data_var - data_var**2 * snr / (1 + snr * data_var)


def variance_of_step_back(step, x0_var):
    weight = step.beta / step.noise_var
    return weight * (step.noise_var_prev + weight * step.alpha_bar_prev * x0_var)


def mean_square_score():
    # By Gauss-Hermite quadrature in each class, with the score as an average of those of the classes.
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[149]
    var, means, weights = 1 - 0.98 * kept, np.sqrt(kept) * np.array([-1.4, 0.7]), np.array([1, 2]) / 3
    nodes, shares = np.polynomial.hermite_e.hermegauss(40)

    def score(x):
        parts = weights * np.exp(-((x[:, None] - means) ** 2) / 2 / var)
        return (parts * (means - x[:, None])).sum(1) / parts.sum(1) / var

    total = [w * shares @ score(m + np.sqrt(var) * nodes) ** 2 for w, m in zip(weights, means, strict=True)]
    return sum(total) / np.sqrt(2 * np.pi)


def sampling_step(x_t, x_0, z, step, var):
    return mean(x_t, x_0, step) + (step.noise_var_prev > 0) * np.sqrt(var) * z


def variance_without_noise(beta, data_var):
    # A telescope: what is between two times is the ratio of their alpha_bar, and of their variances.
    kept = np.append(1.0, np.cumprod(1 - beta))
    var = data_var * kept + (1 - kept)
    return (kept[-1] / kept * (var / var[-1]) ** 2)[:-1]


def share_clipped():
    return 0.344


def ddim_step(x_t, noise, z, step, step_s, eta):
    a, a_s = step.alpha_bar, step_s.alpha_bar
    x_0 = (x_t - (1 - a) ** 0.5 * noise) / a**0.5
    sigma = eta * ((1 - a_s) / (1 - a)) ** 0.5 * (1 - a / a_s) ** 0.5
    of_x_t = np.sqrt(np.maximum(1 - a_s - sigma**2, 0) / (1 - a))
    return of_x_t * x_t + (np.sqrt(a_s) - np.sqrt(a) * of_x_t) * x_0 + sigma * z


def heun_round_trip(alpha_bar, data_var):
    # The prediction is linear in y, so a step is a factor.
    r = np.sqrt(1 / alpha_bar - 1)
    slope = r / (data_var + r**2)
    h = np.diff(r)
    there = 1 + h * (slope[:-1] + slope[1:] * (1 + h * slope[:-1])) / 2
    back = 1 - h * (slope[1:] + slope[:-1] * (1 - h * slope[1:])) / 2
    return float(abs(np.prod(there) * np.prod(back) - 1))
