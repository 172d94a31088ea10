"""The museum: mistakes in published diffusion code, each as a small wrong function in the place of an equation.

    EXHIBITS                              every exhibit, by name
    verdicts(EXHIBITS["missing_root"])    what the judge says of its functions

Each was in code that people used, and most left a falling loss and plausible pictures. The functions are written from the
description of the mistake, with NumPy and as other code is written: they form ``1 - alpha_bar`` themselves. The last ones
are false alarms: right code that was reported as wrong, which the judge must pass.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from .. import against, train
from ..arrays import sum_dims
from ..equation import find
from ..files import write
from ..tables import recorded

Function = Callable[..., Any]


@dataclass
class Exhibit:
    """One mistake, or one false alarm.

    Attributes:
        name: for good.
        title: in words.
        place: where it was.
        functions: the wrong functions, by the equations in whose place they stand.
        slips: of each that is a single slip or two, how the judge names it.
        checks: where comparing is not enough, the test of the book that fails with the function in its place.
        false_alarm: whether the function is right.
    """

    name: str
    title: str
    place: str
    functions: dict[str, Function] = field(default_factory=dict)
    slips: dict[str, str] = field(default_factory=dict)
    checks: str = ""
    false_alarm: bool = False

    @property
    def story(self) -> str:
        """What is wrong and what people saw, in two lines."""
        return inspect.getdoc(next(iter(self.functions.values()))) or ""


EXHIBITS: dict[str, Exhibit] = {}
"""Every exhibit, by name, in the order of the page."""


def exhibit(
    equation: str, title: str = "", place: str = "", slip: str = "", checks: str = "", alarm: bool = False, of: str = ""
) -> Callable[[Function], Function]:
    """Put the function below into the museum.

    Args:
        equation: in whose place it stands.
        title: of the exhibit.
        place: where it was.
        slip: the words of the judge, where it is a single slip or two.
        checks: the test that catches it, such as ``"test_elbo.test_name"``, where comparing does not.
        alarm: whether it is right after all.
        of: the exhibit that it belongs to, if not to one of its own name.
    """

    def register(function: Function) -> Function:
        name = of or function.__name__
        shown = EXHIBITS.setdefault(name, Exhibit(name, title, place, checks=checks, false_alarm=alarm))
        shown.functions[equation] = function
        if slip:
            shown.slips[equation] = slip
        return function

    return register


def verdicts(shown: Exhibit) -> list[against.Verdict]:
    """What the judge says of the functions of an exhibit."""
    return against.judge(shown.functions)


def record(shown: Exhibit) -> str:
    """The verdicts as the page shows them: without the numbers of the equations, which may change."""
    text = "\n\n".join(str(each).replace(f" ({find(each.name).number})", "", 1) for each in verdicts(shown))
    if shown.checks:
        text += against.wrapped(
            f"\n  With it this check fails: {shown.checks.partition('.test_')[2].replace('_', ' ')}."
        )
    return text + "\n"


def renewed(page: str) -> str:
    """A page whose blocks under ``<!-- record: NAME -->`` are what the judge says of these exhibits."""
    return recorded(page, lambda name: record(EXHIBITS[name]))


# Noising. ------------------------------------------------------------------------------------------------------------


@exhibit(
    "forward.diffuse",
    "A square root is missing",
    "a well-known short course, copied into at least ten repositories",
    slip="without the square root of var, in forward.reparameterize",
)
def missing_root(x_0, noise, step):
    """The noise is multiplied by its variance, not by its standard deviation.

    The loss falls and pictures come out: the network learns to remove too little noise, and the sampler adds its own.
    """
    return np.sqrt(step.alpha_bar) * x_0 + step.noise_var * noise


@exhibit(
    "forward.reparameterize",
    "A right root is removed, to follow a misprint",
    "the inpainting scheduler of a major library, for some weeks (reverted)",
    slip="without the square root of var",
)
def misprint_followed(mean, var, noise):
    """The algorithm box of a paper prints the variance where its own formula has a normal distribution.

    A reader reported the code, which was right, and it was changed to agree with the box; inpainting became visibly worse.
    """
    return mean + var * noise


@exhibit(
    "forward.diffuse",
    "The root of the wrong number",
    "a popular annotated implementation (fixed)",
    slip="with alpha_bar in the place of 1 - alpha_bar, in forward.marginal",
)
def wrong_root(x_0, noise, step):
    """A table that is called "square root of 1 - alpha_bar" holds the square root of alpha_bar.

    The noise gets weaker as t grows: at t = T there is neither picture nor noise.
    """
    return np.sqrt(step.alpha_bar) * x_0 + np.sqrt(step.alpha_bar) * noise


@exhibit("forward.diffuse_once", "Uniform noise, and beta without its root", "a university notebook series")
def uniform_noise(x_prev, noise, step):
    """`rand` for `randn`, and beta in the place of its square root. (Here the normal noise is made uniform.)

    The figures of the notebook still look like noise; after many steps the samples sit near one number.
    """
    return np.sqrt(1 - step.beta) * x_prev + step.beta * ndtr(noise)


@exhibit(
    "forward.marginal", "The noise is scaled by the data", "research code for guided sampling (fixed, and not in use)"
)
def noise_times_data(x_0, step):
    """The standard deviation of x_t is multiplied by x_0: dark pixels get no noise.

    The mean is right, and for data of variance 1 even the variance of all samples is. Only the shape is not.
    """
    return np.sqrt(step.alpha_bar) * x_0, (1 - step.alpha_bar) * x_0**2


# Schedules. ----------------------------------------------------------------------------------------------------------


@exhibit("forward.alpha_bar", "One factor too many in the product", "the same short course")
def one_factor_too_many(beta):
    """The table begins at t = 0 with a beta of its own, the sum of logarithms takes it in, and entry 0 is patched to 1.

    From t = 1 on every product has a factor too many. With the betas of the course, 1 - alpha_bar_1 is 1.72 times too large.
    """
    alpha = 1 - np.append(1e-4, beta)
    products = np.exp(np.cumsum(np.log(alpha)))
    products[0] = 1
    return products[1:]


@exhibit("forward.alpha_bar", "The table begins one time too early", "a medical imaging library (fixed)")
def one_time_too_early(beta):
    """The cosine schedule needs alpha_bar at t = 0, and the code keeps it as the first entry of the table.

    At the first time there is then no noise at all. Sampling divides by its variance, 0, and the picture is NaN.
    """
    return np.cumprod(np.append(1.0, 1 - beta))[:-1]


@exhibit("forward.respace", "Some times are skipped, but the betas are not merged", "a major library (fixed)")
def unmerged_betas(schedule, taus):
    """A sampler with 50 of 1000 steps takes, at each of them, the beta of one short step.

    Each step removes a twentieth of the noise that it should: the pictures stay noisy with few steps only.
    """
    return schedule.beta[np.asarray(taus) - 1]


@exhibit("forward.respace", "Every step is taken for equally long", "a major library, still so in version 0.42.1")
def equal_strides(schedule, taus):
    """The sampler has a list of times, but computes the next one as t minus T / n.

    Where the list is not even, the result is taken for a sample at a time at which it is not.
    """
    taus = np.asarray(taus)
    products = np.append(1.0, np.cumprod(1 - schedule.beta))
    before = np.maximum(taus - schedule.T // len(taus), 0)
    return 1 - products[taus] / products[before]


@exhibit("forward.marginal", "The schedule in single precision", "nearly everywhere")
def single_precision(x_0, step):
    """alpha_bar is kept as float32, and the variance of the noise is formed as 1 - alpha_bar.

    Near t = 1 that leaves four digits: with 1000 linear steps the first variance is off by 1.7e-4. Nobody sees it.
    """
    alpha_bar = np.float32(step.alpha_bar)
    return np.sqrt(alpha_bar) * x_0, 1 - alpha_bar


# One step back. ------------------------------------------------------------------------------------------------------


@exhibit(
    "forward.predict_noise",
    "A sign is turned",
    "a popular PyTorch implementation (fixed)",
    slip="with the opposite sign",
)
def turned_sign(x_t, x_0, step):
    """The noise that belongs to a predicted x_0 is computed with the two terms swapped.

    Networks that predict the noise never call it. With those that predict x_0, DDIM walks away from the data.
    """
    return (x_0 * np.sqrt(step.alpha_bar) - x_t) / np.sqrt(1 - step.alpha_bar)


@exhibit("forward.marginal", "Formulas that sampling never calls", "code for guidance, copied many times (open)")
def never_called(x_0, step):
    """Beside the functions in use stand others that are wrong: a variance that is 1 minus a root.

    Nothing calls them, so nothing fails. They are copied with the rest, and wait for the first who needs them.
    """
    return np.sqrt(step.alpha_bar) * x_0, 1 - np.sqrt(step.alpha_bar)


@exhibit("forward.predict_x0", of="never_called")
def never_called_either(x_t, noise, step):
    """And a predicted x_0 in which only one of two terms is divided."""
    return x_t / np.sqrt(step.alpha_bar) - np.sqrt(1 - step.alpha_bar) * noise


@exhibit(
    "posterior.ddim_renoise",
    "The picture in the place of the noise",
    "a major library, and two that were made after it (fixed)",
    slip="with x_0 in the place of noise",
)
def x_0_for_noise(x_0, noise, z, step, step_s, eta):
    """The sampler mixes in what the network says as noise, also when the network says x_0.

    With a network that predicts the noise all is well. With one that predicts x_0 the samples were "much worse".
    """
    a, a_s = step.alpha_bar, step_s.alpha_bar
    sigma = eta * np.sqrt((1 - a_s) / (1 - a) * (1 - a / a_s))
    direction = np.sqrt(np.maximum(1 - a_s - sigma**2, 0)) * x_0
    return np.sqrt(a_s) * x_0 + direction + sigma * z


@exhibit("posterior.ddim_renoise", "Noised to the neighbour's level", "a popular PyTorch implementation (fixed)")
def one_time_off(x_0, noise, z, step, step_s, eta):
    """The table of alpha_bar at t - 1 is used where that of alpha_bar at t is meant.

    Each step leads to the time before the one that the network is then asked about. Paths had "unnecessary bends".
    """
    a, a_s = step.alpha_bar_prev, step_s.alpha_bar_prev
    sigma = eta * np.sqrt((1 - a_s) / (1 - a) * (1 - a / a_s))
    direction = np.sqrt(1 - a_s - sigma**2) * noise
    return np.sqrt(a_s) * x_0 + direction + sigma * z


@exhibit(
    "posterior.ddim_renoise", "A factor that is not squared", "code for editing pictures, copied into several others"
)
def eta_not_squared(x_0, noise, z, step, step_s, eta):
    """sigma is eta times a standard deviation, but only the deviation is squared.

    With eta = 0 and eta = 1, which everybody uses, it makes no difference. In between the variance is too small.
    """
    a, a_s = step.alpha_bar, step_s.alpha_bar
    variance = (1 - a_s) / (1 - a) * (1 - a / a_s)
    direction = np.sqrt(1 - a_s - eta * variance) * noise
    return np.sqrt(a_s) * x_0 + direction + eta * np.sqrt(variance) * z


@exhibit(
    "posterior.variance",
    "A bar is missing",
    "a tutorial's notebooks (fixed)",
    slip="with beta in the place of 1 - alpha_bar",
)
def cancelled_variance(step):
    """The variance of a step back is divided by 1 - alpha in the place of 1 - alpha_bar, and beta cancels.

    What is left is the variance of all the noise so far: the sampler adds far too much.
    """
    return (1 - step.alpha_bar_prev) / (1 - step.alpha) * step.beta


@exhibit("posterior.interpolated_variance", "A learned variance without logarithms", "a major library (fixed)")
def linear_interpolation(v, step):
    """The network says where between two variances the right one is, on a logarithmic scale; the sampler reads it linearly.

    With many steps the two are nearly equal. With ten, the last step that adds noise gets a variance 2.8 times too large.
    """
    small = (1 - step.alpha_bar_prev) / (1 - step.alpha_bar) * step.beta
    return v * step.beta + (1 - v) * small


@exhibit(
    "posterior.sampling_step",
    "A logarithm that is none, and one too many",
    "two implementations (one fixed, one under review)",
)
def root_of_a_logarithm(x_t, x_0, z, step, var):
    """One setting of a library gives the logarithm of the variance, and the step takes its square root.

    The logarithm of a variance below 1 is negative, so every sample is NaN.
    """
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) * x_t
    mean = (from_x_0 + from_x_t) / (1 - step.alpha_bar)
    noisy = mean + np.sqrt(np.log(var)) * z
    return np.where(step.alpha_bar_prev == 1, mean, noisy)


@exhibit("elbo.prior_matching", of="root_of_a_logarithm")
def no_logarithm(x_0, step):
    """In the other one the variance is handed over where its logarithm is asked for: L_T is reported too large."""
    mean, log_var = np.sqrt(step.alpha_bar) * x_0, 1 - step.alpha_bar
    return sum_dims((np.exp(log_var) + mean**2 - 1 - log_var) / 2)


@exhibit(
    "posterior.sampling_step",
    "Noise in the last step",
    "several annotated implementations",
    slip="with fresh noise in the last step too",
)
def noise_at_the_end(x_t, x_0, z, step, var):
    """At t = 1 the mean is the picture, and noise is added to it all the same.

    With 1000 steps that noise has a standard deviation of 0.01, about a grey level. With 50 steps it is ten of them.
    """
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) * x_t
    return (from_x_0 + from_x_t) / (1 - step.alpha_bar) + np.sqrt(var) * z


# Losses and likelihoods. ---------------------------------------------------------------------------------------------


@exhibit(
    "elbo.min_snr_weight",
    "The larger for the smaller",
    "a popular implementation (fixed), and for three years in a copy of it",
    slip="with the maximum in the place of the minimum",
)
def larger_for_smaller(step, snr_cap, predicts):
    """A weight that should be capped from above is capped from below.

    At a signal-to-noise ratio of 0.1 the weight is 50 in the place of 1: the noisiest times rule the training.
    """
    snr = step.alpha_bar / (1 - step.alpha_bar)
    over = {"noise": snr, "x_0": 1, "velocity": snr + 1}
    return np.maximum(snr, snr_cap) / over[predicts]


@exhibit(
    "elbo.min_snr_weight",
    "One is added too early",
    "the training scripts of a major library, for three months (fixed)",
    checks="test_elbo.test_min_snr_is_one_weight_in_three_parametrisations",
)
def added_too_early(step, snr_cap, predicts):
    """For a network that predicts the velocity, 1 is added to the ratio before it is capped, not after.

    At nearly pure noise the weight is 1 in the place of nearly 0. Trainings went well, and the loss was lower.
    """
    snr = step.alpha_bar / (1 - step.alpha_bar)
    ratio = snr + 1 if predicts == "velocity" else snr
    return np.minimum(ratio, snr_cap) / (1 if predicts == "x_0" else ratio)


@exhibit("elbo.decoder_log_prob", "The decoder's tail", "the original code and four descendants")
def decoder_tail(x_0, mean, var, bins=256):
    """The normal distribution function by a formula with tanh, and no probability below 1e-12.

    At five standard deviations it is six times too small, and no pixel costs more than 39.9 bits, however wrong it is.
    """

    def cdf(z):
        return (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2

    half, off, std = 1 / (bins - 1), x_0 - mean, np.sqrt(var)
    upper = np.where(x_0 > 1 - half, 1.0, cdf((off + half) / std))
    lower = np.where(x_0 < half - 1, 0.0, cdf((off - half) / std))
    return sum_dims(np.log(np.maximum(upper - lower, 1e-12)))


@exhibit(
    "elbo.elbo",
    "A bound without its entropy",
    "the code of a published paper; its author corrected the number himself",
    slip="without the term with log_q",
)
def entropy_left_out(log_joint, log_q, weights):
    """The number of bits that a picture takes was computed without the entropy of the first small noise.

    It came out 0.92 bits for each coordinate too low, which looked like a record.
    """
    return (weights * log_joint).sum(-1)


@exhibit(
    "vae_vs_vdm.kl_to_standard_normal",
    "A mean for a sum",
    "two published models of molecules",
    slip="with a mean over the dimensions in the place of a sum, in elbo.gaussian_kl",
)
def mean_for_sum(mean, var):
    """The divergence from the prior is averaged over the latent's dimensions, and the likelihood is summed.

    With 300 dimensions the prior weighs 300 times too little. The reconstructions get better for it; samples do not.
    """
    terms = (mean**2 + var - 1 - np.log(var)) / 2
    return terms.mean(-1) if np.ndim(terms) > 1 else terms


@exhibit("vae_vs_vdm.kl_to_standard_normal", "The square of a logarithm", "the model collection of a framework (fixed)")
def squared_logarithm(mean, var):
    """In the place of minus the logarithm of a square stands plus the square of a logarithm.

    It is 0 for the prior, but least at a standard deviation of 0.65, where it is below 0: no divergence ever is.
    """
    log_std = np.log(var) / 2
    return sum_dims((var + mean**2 - 1 + log_std**2) / 2)


# Langevin dynamics. --------------------------------------------------------------------------------------------------


@exhibit(
    "langevin.langevin_step",
    "Noise in proportion to the step",
    "research code for energy-based models (reported, open)",
    slip="without the square root of step_size",
)
def noise_by_step(x, score, step_size, z):
    """The noise is multiplied by the step size, not by its square root.

    The smaller the steps, the less noise: the samples gather at the peaks, and look sharp.
    """
    return x + step_size * (0.5 * score + z)


@exhibit(
    "langevin.heun",
    "The second slope at the first time",
    "a major library (fixed)",
    checks="test_langevin.test_heun_for_a_drift_of_time_alone_is_the_trapezoidal_rule",
)
def second_slope_at_first_time(drift_field, x, times):
    """Heun's method asks for the slope again at the end of a step; it was told the noise level of the beginning.

    With predicted noise nothing changed, with predicted velocity the pictures were noisy.
    """
    path = [x]
    for start, end in pairwise(times):
        slope = drift_field(path[-1], start)
        again = drift_field(path[-1] + (end - start) * slope, start)
        path.append(path[-1] + (end - start) * (slope + again) / 2)
    return np.stack(path)


# Training and sampling. ----------------------------------------------------------------------------------------------


@exhibit(
    "train.stratified_times",
    "A time that is never trained",
    "two minimal implementations, and a popular one with t in [0, 0.999] (fixed)",
)
def never_trained(uniform, batch, T):
    """Random whole numbers that leave out their upper end, taken for ones that include it: T never comes.

    Sampling begins at T, so the first thing that the network is asked is the one that it has never seen.
    """
    place = (uniform + np.arange(batch) / batch) % 1
    return 1 + np.floor((T - 1) * place).astype(np.int64)


@exhibit("train.time_embedding", "The time embedding, along the batch", "two tutorials written from scratch")
def along_the_batch(t, dims):
    """Sines and cosines should alternate along the columns; they alternate along the rows.

    Every second sample of a batch gets sines alone, the others cosines alone. The networks learned all the same.
    """
    angle = t[:, None] / 10000 ** (2 * np.arange(dims) / dims)
    angle[::2] = np.sin(angle[::2])
    angle[1::2] = np.cos(angle[1::2])
    return angle


@exhibit("train.ema_update", "A decay that forgets itself", "the training example of a major library (fixed)")
def forgotten_decay(average, value, decay):
    """The decay of one step is stored where the decay that was asked for stood. After nine steps it is 1/2, for good.

    The "averaged" weights are those of the last two steps or so. Nothing is worse than without averaging.
    """
    return (average + value) / 2


@exhibit("train.ema_update", "An average that runs away", "a trainer for large models (fixed)")
def runaway_average(average, value, decay):
    """The difference to the new weights is added to the average in the place of being subtracted.

    With a decay of 0.99 the average grows by one percent a step. The loss, which is of the weights themselves, is normal.
    """
    return average + (1 - decay) * (average - value)


@exhibit(
    "train.sample",
    "The same noise for every batch",
    "a minimal implementation",
    checks="test_samplers.test_ddim_turns_unit_data_by_the_angles_between_the_times",
)
def same_start(model, schedule, shape, rng, sampler="ancestral", steps=None, **options):
    """x_T is drawn once, outside the loop over the batches.

    With DDIM every batch is the same. The figure of merit is computed from a thousand samples, of which 64 are different.
    """
    import torch

    once = torch.Generator().manual_seed(0)
    start = torch.randn(*shape, generator=once, dtype=options.get("dtype"))
    options = {"sampler": sampler, "steps": steps, "start": start, **options}
    return train.sample(model, schedule, shape, rng, **options)


# False alarms. -------------------------------------------------------------------------------------------------------


@exhibit("forward.cosine", 'The cosine schedule is "off by one"', "changed in one place, open in another", alarm=True)
def cosine_by_other_points(T=1000, s=0.008, beta_max=0.999):
    """T + 1 points from 0 to T + 1, divided by T + 1, and T + 1 points from 0 to T, divided by T, are the same points."""
    steps = T + 1
    x = np.linspace(0, steps, steps)
    products = np.cos((x / steps + s) / (1 + s) * np.pi / 2) ** 2
    return np.clip(1 - products[1:] / products[:-1], 0, beta_max)


@exhibit("forward.predict_x0", '"1 - alpha_bar is not the product of the betas"', "a major library", alarm=True)
def beta_prod(x_t, noise, step):
    """Nobody says it is: `beta_prod_t` is only the name of 1 - alpha_bar."""
    beta_prod_t = 1 - step.alpha_bar
    return (x_t - beta_prod_t**0.5 * noise) / step.alpha_bar**0.5


@exhibit(
    "forward.diffuse",
    '"Why square what is rooted again?"',
    "a well-known implementation of super-resolution",
    alarm=True,
)
def root_of_a_square(x_0, noise, step):
    """The table holds the square root of alpha_bar, so its square is alpha_bar."""
    root = np.sqrt(step.alpha_bar)
    return root * x_0 + np.sqrt(1 - root**2) * noise


@exhibit("posterior.mean_from_noise", '"Algorithm 2 has no predicted x_0"', "many threads", alarm=True)
def mean_by_x_0(x_t, noise, step):
    """Predict x_0, then take the mean of the posterior: it is the printed step, sorted otherwise."""
    x_0 = (x_t - np.sqrt(1 - step.alpha_bar) * noise) / np.sqrt(step.alpha_bar)
    one = np.sqrt(step.alpha_bar_prev) * step.beta / (1 - step.alpha_bar)
    two = np.sqrt(step.alpha) * (1 - step.alpha_bar_prev) / (1 - step.alpha_bar)
    return one * x_0 + two * x_t


@exhibit(
    "posterior.sampling_step", '"The first variance is another one"', "a popular implementation (open)", alarm=True
)
def other_first_variance(x_t, x_0, z, step, var):
    """In the table of variances the entry of t = 1 is replaced; no noise is added at t = 1, so nothing reads it."""
    var = np.where(step.noise_var_prev == 0, 1.0, var)
    z = np.where(step.noise_var_prev == 0, 0.0, z)
    from_x_0 = np.sqrt(step.alpha_bar_prev) * step.beta * x_0
    from_x_t = np.sqrt(step.alpha) * step.noise_var_prev * x_t
    return (from_x_0 + from_x_t) / step.noise_var + np.sqrt(var) * z


@exhibit("posterior.ddim_step", '"This step is not DDIM\'s"', "a library for videos (open)", alarm=True)
def ddim_by_two_samples(x_t, noise, z, step, step_s, eta):
    """DDIM's step as a sum of x_t and the predicted x_0: the noise is what is between them."""
    a, a_s = step.alpha_bar, step_s.alpha_bar
    x_0 = (x_t - np.sqrt(1 - a) * noise) / np.sqrt(a)
    variance = eta**2 * (1 - a_s) / (1 - a) * (1 - a / a_s)
    of_x_t = np.sqrt(np.maximum(1 - a_s - variance, 0) / (1 - a))
    of_x_0 = np.sqrt(a_s) - np.sqrt(a) * of_x_t
    return of_x_t * x_t + of_x_0 * x_0 + np.sqrt(variance) * z


@exhibit("vae_vs_vdm.kl_to_standard_normal", '"The 2 before the logarithm is wrong"', "two implementations", alarm=True)
def twice_the_log_std(mean, var):
    """The logarithm of a variance is twice that of its square root."""
    std = np.sqrt(var)
    return sum_dims((mean**2 + std**2 - 2 * np.log(std) - 1) / 2)


@exhibit("train.guided_noise", '"Guidance begins at the wrong prediction"', "many threads", alarm=True)
def guidance_scale(noise_cond, noise_uncond, w):
    """From the unconditional prediction with 1 + w, or from the conditional one with w: two conventions."""
    scale = 1 + w
    return noise_uncond + scale * (noise_cond - noise_uncond)


@exhibit("train.time_embedding", '"Sines and cosines must alternate"', "many threads", alarm=True)
def alternating(t, dims):
    """They may: it is another order of the columns. In the order of the book the same numbers come out."""
    angle = t[:, None] / 10000 ** (2 * np.arange(dims // 2) / dims)
    pairs = np.stack([np.sin(angle), np.cos(angle)], axis=2)
    embedded = pairs.reshape(len(t), dims)
    return embedded[:, np.r_[0:dims:2, 1:dims:2]]


@exhibit("train.ema_update", '"The average keeps the wrong share"', "a well-known implementation", alarm=True)
def moved_average(average, value, decay):
    """It is the average that is multiplied by 0.9999, not the new weights."""
    return average * decay + value * (1 - decay)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    new = renewed(page.read_text("utf-8")).encode()
    write(page, lambda file: file.write(new))
