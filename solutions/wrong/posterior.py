"""Wrong answers to the exercises of chapter 2, one each."""

from itertools import pairwise

import numpy as np

STARTERS = {"sampling_step": "with fresh noise in the last step too"}

SLIPS = {
    "bayes": "without a factor, in posterior.joint",
    "variance": "with the square root of the whole: a standard deviation in the place of a variance",
    "mean": "without the square root of alpha",
    "mean_from_velocity": "with a plus in the place of a minus",
    "sampling_step": "with no fresh noise in any step",
}


def bayes(prior, likelihood):
    return likelihood / likelihood.sum(axis=0)  # without the prior


def illness():
    return 0.99


def variance(step):
    return np.sqrt(step.beta * step.noise_var_prev / step.noise_var)


def mean(x_t, x_0, step):
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    return (from_x_0 + step.alpha * step.noise_var_prev * x_t) / step.noise_var


def weight_of_start(step):
    return np.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var  # the coefficient


def mean_from_velocity(x_t, velocity, step):
    pull = np.sqrt(step.alpha_bar_prev) * step.beta / np.sqrt(step.noise_var)
    return np.sqrt(step.alpha) * x_t + pull * velocity


def data_variance_at_beta():
    return 0  # there it is beta tilde


def few_step_times():
    return np.array([9, 18, 14])


def interpolated_variance(v, step):
    small = step.noise_var_prev / step.noise_var * step.beta
    return step.beta ** (1 - v) * small**v


def variance_of_start(step, data_var):
    return step.noise_var * data_var  # right for data of variance 1 alone


def variance_of_step_back(step, x0_var):
    coefficient = np.sqrt(step.alpha_bar_prev) * step.beta / step.noise_var
    return step.beta * step.noise_var_prev / step.noise_var + coefficient * x0_var


def mean_square_score():
    return 1 / (1 - np.prod(1 - np.linspace(1e-4, 0.02, 150)))  # with these betas alpha_bar is another


def sampling_step(x_t, x_0, z, step, var):
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    return (from_x_0 + from_x_t) / step.noise_var


def variance_without_noise(beta, data_var):
    return np.cumprod(1 - beta)  # of the last steps, not of the first


def share_clipped():
    return 1 / 3


def ddim_step(x_t, noise, z, step, step_s, eta):
    x_0 = (x_t - np.sqrt(step.noise_var) * noise) / np.sqrt(step.alpha_bar)
    var = step_s.noise_var / step.noise_var * (1 - step.alpha_bar / step_s.alpha_bar)
    return np.sqrt(step_s.alpha_bar) * x_0 + np.sqrt(step_s.noise_var - eta * var) * noise + eta * np.sqrt(var) * z


def heun_round_trip(alpha_bar, data_var):
    # Euler's method: the noise of the beginning alone.
    x = 1.0
    for way in (alpha_bar, alpha_bar[::-1]):
        for old, new in pairwise(way):
            noise = np.sqrt(1 - old) * x / (old * data_var + 1 - old)
            x = np.sqrt(new) * (x / np.sqrt(old) + (np.sqrt(1 / new - 1) - np.sqrt(1 / old - 1)) * noise)
    return abs(x - 1)
