"""Right answers of chapter 6 that are written in another way."""

import numpy as np


def noisy_batch(x_0, t, noise, beta):
    out = np.empty_like(x_0)
    for row, time in enumerate(t):
        kept = 1.0
        for b in beta[:time]:
            kept *= 1 - b
        out[row] = kept**0.5 * x_0[row] + (1 - kept) ** 0.5 * noise[row]
    return out


def zero_velocity_loss(data_var, step):
    return data_var + step.alpha_bar * (1 - data_var)


def zero_loss():
    kept, total = 1.0, 0.0
    for t in range(1000):
        kept *= 1 - (1e-4 + t * (0.02 - 1e-4) / 999)
        total += kept + (1 - kept) * 0.72
    return total / 1000


def time_embedding(t, dims):
    """Alternating first, then in the order of the book."""
    angle = t[:, None] * np.exp(-np.log(10000) * np.arange(0, dims, 2) / dims)
    both = np.stack([np.sin(angle), np.sin(angle + np.pi / 2)], axis=2).reshape(len(t), dims)
    return np.concatenate([both[:, 0::2], both[:, 1::2]], axis=1)


def stratified_times(uniform, batch, T):
    shares = (uniform + np.arange(batch) / batch) % 1
    return np.searchsorted(np.arange(1, T) / T, shares, side="right") + 1


def scatter_of_times():
    rng = np.random.default_rng(0)
    return float(np.std(rng.binomial(128, 0.1, 4_000_000)))


def linear_denoiser(x_0, x_t):
    b, a = np.polyfit(x_t, x_0, 1)
    return np.array([a, b])


def curved_denoiser(x_0, x_t, places):
    """Kernel regression."""
    near = np.exp(-0.5 * ((places[:, None] - x_t) / 0.06) ** 2)
    return near @ x_0 / near.sum(1)


def error_floor(weights, means, variances, alpha_bars):
    """The two variances within and between the components of the posterior, for each x_t."""
    x_t, floors = np.arange(-9, 9, 0.003), []
    for kept in np.asarray(alpha_bars, dtype=float):
        seen = kept * variances + (1 - kept)
        log_terms = np.log(weights) - np.log(seen) / 2 - (x_t[:, None] - kept**0.5 * means) ** 2 / seen / 2
        density = np.exp(log_terms).sum(1)
        share = np.exp(log_terms) / density[:, None]
        centre = means + kept**0.5 * variances / seen * (x_t[:, None] - kept**0.5 * means)
        within = (share * variances * (1 - kept) / seen).sum(1)
        between = (share * centre**2).sum(1) - (share * centre).sum(1) ** 2
        floors.append(np.average(within + between, weights=density))
    return np.array(floors)


def ema_update(average, value, decay):
    return average - (1 - decay) * (average - value)


def half_life_decay(steps):
    return np.exp(-np.log(2) / steps)


def draw(start, z, beta, mean, var):
    """By the predicted x_0 and the mean of the posterior."""
    alpha, kept = 1 - beta, np.cumprod(1 - beta)
    before = np.append(1.0, kept)
    x, z = start, np.where(np.arange(len(beta))[:, None] == 0, 0.0, z)
    for i in reversed(range(len(beta))):
        x_0 = mean + np.sqrt(kept[i]) * var * (x - np.sqrt(kept[i]) * mean) / (kept[i] * var + 1 - kept[i])
        x = (np.sqrt(before[i]) * beta[i] * x_0 + np.sqrt(alpha[i]) * (1 - before[i]) * x) / (1 - kept[i])
        x = x + np.sqrt(beta[i]) * z[i]
    return x


def learn_ring(points, beta, n, seed):
    """Without torch: for each time a ridge regression of x_0 on random waves."""
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
        x = x + np.sqrt(beta[i] * (1 - before[i]) / (1 - kept[i])) * rng.standard_normal((n, 2))
    return x


def ring_radius(var):
    return (2 - 2 * var) ** 0.5


def far_share():
    radius = np.linspace(3, 30, 100_001)
    return np.sum(radius * np.exp(-(radius**2) / 2)) * (radius[1] - radius[0])


def centre_time():
    """By the density itself, a little off the centre."""
    angle = 2 * np.pi * np.arange(8) / 8
    means = 1.4 * np.stack([np.cos(angle), np.sin(angle)], 1)
    kept = 1.0
    for t in range(1, 1001):
        kept *= 1 - (1e-4 + (t - 1) * (0.02 - 1e-4) / 999)
        var = kept * 0.02 + 1 - kept
        centre, beside = (
            np.exp(-((x - kept**0.5 * means) ** 2).sum(1) / (2 * var)).sum() for x in (np.zeros(2), np.array([0.01, 0]))
        )
        if centre > beside:
            return t
    return None


def same_noise_time():
    return 205.0  # read off


def guided_noise(noise_cond, noise_uncond, w):
    return noise_uncond + w * (noise_cond - noise_uncond)  # where 1 is no guidance


def missing_variance(share):
    return 1 - (1 - share) ** 2 - share**2


def interpolate(noise_a, noise_b, share):
    """By the part of noise_b that is at a right angle to noise_a."""
    pairs = (noise_a[None], noise_b[None]) if noise_a.ndim == 1 else (noise_a, noise_b)
    a, b = (each.reshape(len(each), -1) for each in pairs)
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b)]
    along, there = a / lengths[0], b / lengths[1]
    across = there - (there * along).sum(1, keepdims=True) * along
    angle = np.arctan2(np.linalg.norm(across, axis=1, keepdims=True), (there * along).sum(1, keepdims=True))
    mixed = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return mixed.reshape(noise_a.shape)


def sliced_wasserstein(real, fake, directions):
    total = 0.0
    for u in directions:
        total += np.mean((np.sort(real @ u) - np.sort(fake @ u)) ** 2)
    return (total / len(directions)) ** 0.5
