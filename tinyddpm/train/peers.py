"""Other trainers, each as it comes: its network, its loss, its sampler. For the benchmark, where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Peer:
    """What a trainer needs to be measured. Pictures are in [-1, 1], shape (batch, channels, edge, edge)."""

    net: nn.Module
    loss: Callable[[Tensor], Tensor]
    """of a batch of clean pictures"""
    sample: Callable[[int], Tensor]
    """draws so many pictures with `net`"""


Maker: TypeAlias = Callable[[int, int, int], Peer]
"""Makes a peer of a width for pictures of an edge and some channels."""


def lucidrains(width: int, edge: int, channels: int) -> Peer:
    """denoising-diffusion-pytorch, with the 250 steps of its README."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    net = Unet(width, dim_mults=(1, 2) if edge < 16 else (1, 2, 2), channels=channels)
    diffusion = GaussianDiffusion(net, image_size=edge, timesteps=1000, sampling_timesteps=250, auto_normalize=False)
    return Peer(net, diffusion, lambda n: diffusion.sample(batch_size=n))


def diffusers(width: int, edge: int, channels: int) -> Peer:
    """Diffusers, as in its tutorial on unconditional training; sampled with DDPM in 250 steps."""
    from diffusers import DDPMScheduler, UNet2DModel

    widths = (width, 2 * width) if edge < 16 else (width, 2 * width, 2 * width)
    net = UNet2DModel(
        sample_size=edge,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=(len(widths) - 1) * ("DownBlock2D",) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D", *(len(widths) - 1) * ("UpBlock2D",)),
        norm_num_groups=8,
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000)

    def loss(x: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (len(x),), device=x.device)
        return nn.functional.mse_loss(net(scheduler.add_noise(x, noise, t), t, return_dict=False)[0], noise)

    def sample(n: int) -> Tensor:
        x = torch.randn(n, channels, edge, edge, device=next(net.parameters()).device)
        scheduler.set_timesteps(250)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x

    return Peer(net, loss, sample)


def smalldiffusion(width: int, edge: int, channels: int) -> Peer:
    """Smalldiffusion, with its accelerated sampler in 20 steps."""
    from smalldiffusion import ScheduleDDPM, generate_train_sample, samples
    from smalldiffusion.model import Scaled
    from smalldiffusion.model_unet import Unet

    multiples = (1, 2) if edge < 16 else (1, 2, 2)
    net = Scaled(Unet)(
        edge, channels, channels, ch=width, ch_mult=multiples, num_res_blocks=1, attn_resolutions=(edge // 2,)
    )
    schedule = ScheduleDDPM(1000)

    def loss(x: Tensor) -> Tensor:
        x, sigma, noise, _ = generate_train_sample(x, schedule)
        found: Tensor = net.get_loss(x, sigma, noise)
        return found

    def sample(n: int) -> Tensor:
        *_, x = samples(net, schedule.sample_sigmas(20), gam=2, batchsize=n)
        return x

    return Peer(net, loss, sample)


PEERS: dict[str, tuple[str, Maker]] = {
    "lucidrains": ("denoising_diffusion_pytorch", lucidrains),
    "diffusers": ("diffusers", diffusers),
    "smalldiffusion": ("smalldiffusion", smalldiffusion),
}
"""By name: the package, and what makes the peer."""


def matched(make: Callable[[int], Any], parameters: int) -> Any:
    """What `make` makes, in that width of 8, 16, 24, ... with which its `net` has nearest to so many parameters."""
    best: Any = None
    for width in range(8, 257, 8):
        try:
            made = make(width)
        except ValueError:  # some want multiples of 32
            continue
        off = abs(sum(value.numel() for value in made.net.parameters()) - parameters)
        if best is not None and off > best[0]:
            break
        best = (off, made)
    return best[1]
