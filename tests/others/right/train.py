"""Chapter 6 as others might write it: right, and unusual."""

import numpy as np


def time_embedding(t, dims):
    out = np.zeros((len(t), dims))
    for i in range(dims // 2):
        out[:, i] = np.sin(t * np.exp(-np.log(10000) * 2 * i / dims))
        out[:, dims // 2 + i] = np.cos(t * np.exp(-np.log(10000) * 2 * i / dims))
    return out


def stratified_times(uniform, batch, T):
    place = np.mod(uniform + np.arange(batch) / batch, 1)
    return (np.floor(T * place) + 1).astype(int)


def ema_update(average, value, decay):
    return value + decay * (average - value)


def guided_noise(noise_cond, noise_uncond, w):
    return noise_uncond + (1 + w) * (noise_cond - noise_uncond)


def interpolate(noise_a, noise_b, share):
    def one(a, b):
        angle = np.arccos(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))
        return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)

    if noise_a.ndim == 1:
        return one(noise_a, noise_b)
    return np.array([one(a, b) for a, b in zip(noise_a, noise_b, strict=True)])


def frechet_distance(real, fake):
    from scipy import linalg

    cov, cov_fake = np.atleast_2d(np.cov(real, rowvar=False)), np.atleast_2d(np.cov(fake, rowvar=False))
    root = linalg.sqrtm(cov @ cov_fake)
    off = real.mean(0) - fake.mean(0)
    return float((off @ off + np.trace(cov + cov_fake - 2 * root.real)) / np.trace(cov))


def training_loss(model, x_0, t, noise, schedule, predicts="noise"):
    kept = np.cumprod(1 - schedule.beta)[t - 1].reshape(-1, *[1] * (x_0.ndim - 1))
    x_t = np.sqrt(kept) * x_0 + np.sqrt(1 - kept) * noise
    target = {"noise": noise, "x_0": x_0, "velocity": np.sqrt(kept) * noise - np.sqrt(1 - kept) * x_0}[predicts]
    return ((target - model(x_t, t)) ** 2).reshape(len(x_0), -1).sum(1)


def nearest_neighbours(samples, train, held_out):
    def distance(a, b):
        apart = np.sqrt(((a[:, None] - b[None]) ** 2).reshape(len(a), len(b), -1).sum(-1))
        return np.median(apart.min(1))

    return distance(samples, train) / distance(held_out, train)


def sliced_wasserstein(real, fake, directions=100):
    apart = np.sort(directions @ real.T, axis=1) - np.sort(directions @ fake.T, axis=1)
    return float(np.mean(apart**2) ** 0.5)


def second_order_step(x_t, x_0, x_0_before, step_u, step, step_s):
    lam = [0.5 * np.log(s.alpha_bar / (1 - s.alpha_bar)) for s in (step_u, step, step_s)]
    h, h_before = lam[2] - lam[1], lam[1] - lam[0]
    guess = x_0 + h / h_before / 2 * (x_0 - x_0_before)
    shrink = np.sqrt((1 - step_s.alpha_bar) / (1 - step.alpha_bar))
    return shrink * x_t - np.sqrt(step_s.alpha_bar) * np.expm1(-h) * guess
