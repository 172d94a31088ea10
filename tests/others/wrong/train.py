"""Chapter 6 with mistakes that people make."""

import numpy as np


def time_embedding(t, dims):
    i = np.arange(dims // 2)
    angle = t[:, None] * 10000 ** (-i / dims)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def stratified_times(uniform, batch, T):
    return np.floor(T * np.mod(uniform + np.arange(batch) / batch, 1)).astype(int)


def ema_update(average, value, decay):
    return (1 - decay) * average + decay * value


def guided_noise(noise_cond, noise_uncond, w):
    return (1 + w) * noise_uncond - w * noise_cond


def interpolate(noise_a, noise_b, share):
    return (1 - share) * noise_a + share * noise_b


def frechet_distance(real, fake):
    off = real.mean(0) - fake.mean(0)
    return float(off @ off / real.var(0).sum())


def training_loss(model, x_0, t, noise, schedule, predicts="noise"):
    kept = np.cumprod(1 - schedule.beta)[t - 1].reshape(-1, *[1] * (x_0.ndim - 1))
    x_t = np.sqrt(kept) * x_0 + (1 - kept) * noise
    return ((noise - model(x_t, t)) ** 2).reshape(len(x_0), -1).sum(1)


def nearest_neighbours(samples, train, held_out):
    apart = np.sqrt(((samples[:, None] - train[None]) ** 2).reshape(len(samples), len(train), -1).sum(-1))
    return np.median(apart.min(1))


def sliced_wasserstein(real, fake, directions=100):
    apart = np.sort(real, axis=0) @ directions.T - np.sort(fake, axis=0) @ directions.T
    return float(np.sqrt((apart**2).mean()))


def second_order_step(x_t, x_0, x_0_before, step_u, step, step_s):
    lam = [0.5 * np.log(s.alpha_bar / (1 - s.alpha_bar)) for s in (step_u, step, step_s)]
    h, h_before = lam[2] - lam[1], lam[1] - lam[0]
    guess = x_0 - h / h_before / 2 * (x_0 - x_0_before)
    shrink = np.sqrt((1 - step_s.alpha_bar) / (1 - step.alpha_bar))
    return shrink * x_t - np.sqrt(step_s.alpha_bar) * np.expm1(-h) * guess
