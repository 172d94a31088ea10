"""Wrong answers of chapter 6, and how the judge names those that are a single slip."""

import numpy as np

STARTERS: dict[str, str] = {}

SLIPS = {
    "zero_velocity_loss": "with data_var and 1.0 swapped",
    "time_embedding": "without a factor or an exponent of 2",
    "stratified_times": "without the term with 1",
    "ring_radius": "without dividing by between",
}


def noisy_batch(x_0, t, noise, beta):
    """Counted from 0."""
    kept = np.append(1.0, np.cumprod(1 - beta))[t - 1][:, None]
    return np.sqrt(kept) * x_0 + np.sqrt(1 - kept) * noise


def zero_velocity_loss(data_var, step):
    return step.alpha_bar * data_var + step.noise_var


def zero_loss():
    """Of the cosine schedule."""
    return 0.86


def time_embedding(t, dims):
    angle = t[:, None] / 10000 ** (np.arange(dims // 2) / dims)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def stratified_times(uniform, batch, T):
    """From 0 to T - 1."""
    return np.floor(T * ((uniform + np.arange(batch) / batch) % 1)).astype(np.int64)


def scatter_of_times():
    return np.sqrt(12.8)


def linear_denoiser(x_0, x_t):
    """Through the origin."""
    return np.array([0.0, (x_0 * x_t).sum() / (x_t**2).sum()])


def curved_denoiser(x_0, x_t, places):
    """A straight line."""
    return np.polyval(np.polyfit(x_t, x_0, 1), places)


def error_floor(weights, means, variances, alpha_bars):
    """Of a single Gaussian with the same variance."""
    mean = (weights * means).sum()
    var = (weights * (variances + (means - mean) ** 2)).sum()
    return var * (1 - alpha_bars) / (alpha_bars * var + 1 - alpha_bars)


def ema_update(average, value, decay):
    return (1 - decay) * average + decay * value


def half_life_decay(steps):
    return 1 - 0.5 / steps


def draw(start, z, beta, mean, var):
    """Noise in the last step too."""
    kept, x = np.cumprod(1 - beta), start
    for i in reversed(range(len(beta))):
        noise = np.sqrt(1 - kept[i]) * (x - np.sqrt(kept[i]) * mean) / (kept[i] * var + 1 - kept[i])
        x = (x - beta[i] / np.sqrt(1 - kept[i]) * noise) / np.sqrt(1 - beta[i]) + np.sqrt(beta[i]) * z[i]
    return x


def learn_ring(points, beta, n, seed):
    """Noise in the last step too."""
    rng = np.random.default_rng(seed)
    kept = np.cumprod(1 - beta)
    before = np.append(1.0, kept)
    x = rng.standard_normal((n, 2))
    for i in reversed(range(len(beta))):
        clean = np.tile(points, (3, 1))
        noisy = np.sqrt(kept[i]) * clean + np.sqrt(1 - kept[i]) * rng.standard_normal(clean.shape)
        waves, phases = rng.standard_normal((2, 300)) * 2.5, rng.uniform(0, 2 * np.pi, 300)
        seen = np.cos(noisy @ waves + phases)
        weights = np.linalg.solve(seen.T @ seen + 0.1 * np.eye(300), seen.T @ clean)
        x_0 = np.cos(x @ waves + phases) @ weights
        x = (np.sqrt(before[i]) * beta[i] * x_0 + np.sqrt(1 - beta[i]) * (1 - before[i]) * x) / (1 - kept[i])
        x = x + np.sqrt(beta[i]) * rng.standard_normal((n, 2))
    return x


def ring_radius(var):
    return np.sqrt(1 - var)


def far_share():
    """On a line."""
    return 0.0027


def centre_time():
    """Of two classes."""
    return 216


def same_noise_time():
    """The same t."""
    return 400


def guided_noise(noise_cond, noise_uncond, w):
    return (1 + w) * noise_uncond - w * noise_cond


def missing_variance(share):
    return 1 - ((1 - share) + share) ** 2


def interpolate(noise_a, noise_b, share):
    """On the straight line."""
    return (1 - share) * noise_a + share * noise_b


def sliced_wasserstein(real, fake, directions):
    """Not sorted."""
    return np.sqrt(((real @ directions.T - fake @ directions.T) ** 2).mean())
