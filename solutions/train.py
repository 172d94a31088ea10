"""Solutions of the exercises of chapter 6, train."""

import math

import numpy as np


def noisy_batch(x_0, t, noise, beta):
    kept = np.cumprod(1 - beta)[t - 1][:, None]
    return np.sqrt(kept) * x_0 + np.sqrt(1 - kept) * noise


def zero_velocity_loss(data_var, step):
    return step.alpha_bar + step.noise_var * data_var


def zero_loss():
    kept = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))
    return np.mean(kept + (1 - kept) * 0.72)


def time_embedding(t, dims):
    angle = t[:, None] / 10000 ** (2 * np.arange(dims // 2) / dims)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def stratified_times(uniform, batch, T):
    place = (uniform + np.arange(batch) / batch) % 1
    return 1 + np.floor(T * place).astype(np.int64)


def scatter_of_times():
    return math.sqrt(128 * 0.1 * 0.9)


def linear_denoiser(x_0, x_t):
    columns = np.stack([np.ones_like(x_t), x_t], axis=1)
    return np.linalg.lstsq(columns, x_0, rcond=None)[0]


def curved_denoiser(x_0, x_t, places):
    order = np.argsort(x_t)
    middles = [each.mean() for each in np.array_split(x_t[order], 50)]
    guesses = [each.mean() for each in np.array_split(x_0[order], 50)]
    return np.interp(places, middles, guesses)


def error_floor(weights, means, variances, alpha_bars):
    x_t = np.linspace(-8, 8, 4001)[:, None]
    mean = (weights * means).sum()
    data_var = (weights * (variances + (means - mean) ** 2)).sum()
    floors = []
    for kept in alpha_bars:
        seen = kept * variances + 1 - kept
        off = x_t - np.sqrt(kept) * means
        terms = weights * np.exp(-(off**2) / (2 * seen)) / np.sqrt(2 * np.pi * seen)
        density = terms.sum(1)
        guess = (terms * (means + np.sqrt(kept) * variances / seen * off)).sum(1) / density
        floors.append(data_var - (density * (guess - mean) ** 2).sum() / density.sum())
    return np.array(floors)


def ema_update(average, value, decay):
    return decay * average + (1 - decay) * value


def half_life_decay(steps):
    return 0.5 ** (1 / steps)


def draw(start, z, beta, mean, var):
    alpha_bar = np.cumprod(1 - beta)
    x = start
    for t in range(len(beta), 0, -1):
        b, kept = beta[t - 1], alpha_bar[t - 1]
        noise = np.sqrt(1 - kept) * (x - np.sqrt(kept) * mean) / (kept * var + 1 - kept)
        x = (x - b / np.sqrt(1 - kept) * noise) / np.sqrt(1 - b)
        if t > 1:
            x = x + np.sqrt(b) * z[t - 1]
    return x


def learn_ring(points, beta, n, seed):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    T = len(beta)
    points, beta = torch.tensor(points).float(), torch.tensor(beta).float()
    kept = torch.cumprod(1 - beta, 0)
    before = torch.cat([torch.ones(1), kept[:-1]])
    clock = torch.eye(T)
    layers = torch.nn.Sequential(
        *(torch.nn.Linear(2 + 8 + T, 64), torch.nn.SiLU()),
        *(torch.nn.Linear(64, 64), torch.nn.SiLU()),
        *(torch.nn.Linear(64, 64), torch.nn.SiLU()),
        torch.nn.Linear(64, 2),
    )

    def network(x_t, t):
        waves = [wave(k * x_t) for k in (2, 4) for wave in (torch.sin, torch.cos)]
        return layers(torch.cat([x_t, *waves, clock[t - 1]], dim=1))

    batches = 1500
    optimiser = torch.optim.Adam(layers.parameters(), lr=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, batches)
    for _ in range(batches):
        x_0 = points[torch.randint(len(points), (256,))]
        t, noise = torch.randint(1, T + 1, (256,)), torch.randn(256, 2)
        share = kept[t - 1][:, None]
        x_t = share.sqrt() * x_0 + (1 - share).sqrt() * noise
        loss = ((network(x_t, t) - noise) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()

    x = torch.randn(n, 2)
    with torch.no_grad():
        for t in range(T, 0, -1):
            b, share = beta[t - 1], kept[t - 1]
            noise = network(x, torch.full((n,), t))
            x = (x - b / (1 - share).sqrt() * noise) / (1 - b).sqrt()
            if t > 1:
                var = b * (1 - before[t - 1]) / (1 - share)
                x = x + var.sqrt() * torch.randn(n, 2)
    return x


def ring_radius(var):
    return np.sqrt(2 * (1 - var))


def far_share():
    return math.exp(-9 / 2)


def centre_time():
    kept = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))
    peak = kept * 1.4**2 / 2 <= kept * 0.02 + 1 - kept
    return 1 + int(np.argmax(peak))


def same_noise_time():
    s = 0.008
    level = (np.cos((0.4 + s) / (1 + s) * np.pi / 2) / np.cos(s / (1 + s) * np.pi / 2)) ** 2
    kept = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))
    return 1 + int(np.argmin(abs(kept - level)))


def guided_noise(noise_cond, noise_uncond, w):
    return (1 + w) * noise_cond - w * noise_uncond


def missing_variance(share):
    return 2 * share * (1 - share)


def interpolate(noise_a, noise_b, share):
    axes = tuple(range(1, noise_a.ndim)) or (0,)
    dot = (noise_a * noise_b).sum(axes, keepdims=True)
    lengths = np.sqrt((noise_a**2).sum(axes, keepdims=True) * (noise_b**2).sum(axes, keepdims=True))
    angle = np.arccos(dot / lengths)
    return (np.sin((1 - share) * angle) * noise_a + np.sin(share * angle) * noise_b) / np.sin(angle)


def sliced_wasserstein(real, fake, directions):
    apart = np.sort(real @ directions.T, axis=0) - np.sort(fake @ directions.T, axis=0)
    return np.sqrt((apart**2).mean())
