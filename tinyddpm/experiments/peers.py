"""Other trainers for the benchmark, unchanged: the network, the loss and the sampler of each package that is installed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from ..train.unet import size_of


@dataclass(frozen=True)
class Peer:
    """The parts of a trainer that are measured. Pictures are in [-1, 1], shape (batch, channels, edge, edge)."""

    net: nn.Module
    loss: Callable[[Tensor], Tensor]
    """of a batch of clean pictures"""
    sample: Callable[[int, int], Tensor]
    """draws so many pictures with so many calls of `net`"""
    optimiser: Callable[..., Optimizer]
    """made of the parameters and a learning rate"""
    clip: float = 1.0
    """largest norm of a gradient"""


def lucidrains(edge: int, channels: int, parameters: int, device: torch.device) -> Peer:
    """denoising-diffusion-pytorch, as in its README: DDIM, where it draws with fewer than all 1000 calls."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    multiples = (1, 2) if edge < 16 else (1, 2, 2, 2)
    widths = (partial(Unet, width, dim_mults=multiples, channels=channels) for width in range(8, 129, 2))
    net = nearest(parameters, widths)
    diffusion = GaussianDiffusion(net, image_size=edge, timesteps=1000, auto_normalize=False).to(device)

    def sample(n: int, steps: int) -> Tensor:
        diffusion.sampling_timesteps, diffusion.is_ddim_sampling = steps, steps < 1000
        return diffusion.sample(batch_size=n)

    return Peer(net, diffusion, sample, partial(Adam, betas=(0.9, 0.99)))


def diffusers(edge: int, channels: int, parameters: int, device: torch.device) -> Peer:
    """Diffusers, as in its tutorial on unconditional training, with one layer in a block and fewer groups to normalise."""
    from diffusers import DDPMScheduler, UNet2DModel

    def make(width: int) -> nn.Module:
        widths = (width, *(1 if edge < 16 else 3) * (2 * width,))
        return UNet2DModel(
            sample_size=edge,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=widths,
            down_block_types=(len(widths) - 1) * ("DownBlock2D",) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D", *(len(widths) - 1) * ("UpBlock2D",)),
            norm_num_groups=4,
        )

    net = nearest(parameters, (partial(make, width) for width in range(8, 129, 4))).to(device)
    scheduler = DDPMScheduler(num_train_timesteps=1000)

    def loss(x: Tensor) -> Tensor:
        noise, t = torch.randn_like(x), torch.randint(0, 1000, (len(x),), device=device)
        return nn.functional.mse_loss(net(scheduler.add_noise(x, noise, t), t, return_dict=False)[0], noise)

    def sample(n: int, steps: int) -> Tensor:
        x = torch.randn(n, channels, edge, edge, device=device)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x

    return Peer(net, loss, sample, AdamW)


def smalldiffusion(edge: int, channels: int, parameters: int, device: torch.device) -> Peer:
    """Smalldiffusion, with its accelerated sampler; it normalises 32 groups of channels, so there are few widths to choose."""
    from smalldiffusion import ScheduleDDPM, generate_train_sample, samples
    from smalldiffusion.model import Scaled
    from smalldiffusion.model_unet import Unet

    above, options = (1,) if edge < 16 else (1, 2, 2), {"ch": 32, "num_res_blocks": 1, "attn_resolutions": ()}
    make = partial(Scaled(Unet), edge, channels, channels, **options)
    sizes = ((top, embedding) for top in (1, 2, 3, 4) for embedding in (1, 2, 4, 6, 8))
    net = nearest(
        parameters, (partial(make, ch_mult=(*above, top), embed_ch_mult=embedding) for top, embedding in sizes)
    ).to(device)
    schedule = ScheduleDDPM(1000)

    def loss(x: Tensor) -> Tensor:
        x, sigma, noise, _ = generate_train_sample(x, schedule)
        return net.get_loss(x, sigma, noise)

    def sample(n: int, steps: int) -> Tensor:
        *_, x = samples(net, schedule.sample_sigmas(steps), gam=2, batchsize=n)
        return x

    return Peer(net, loss, sample, AdamW, math.inf)


class Known(NamedTuple):
    """A trainer: its package, the function that makes it (of edge, channels, parameters, device), its network calls for a sample, its learning rate."""

    package: str
    make: Callable[[int, int, int, torch.device], Peer]
    steps: int
    rate: float

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        return find_spec(self.package) is not None


PEERS: dict[str, Known] = {
    "lucidrains": Known("denoising_diffusion_pytorch", lucidrains, 250, 8e-5),
    "diffusers": Known("diffusers", diffusers, 250, 1e-4),
    "smalldiffusion": Known("smalldiffusion", smalldiffusion, 20, 7e-4),
}
"""The trainers that can be measured, by name."""


def nearest(parameters: int, makers: Iterable[Callable[[], nn.Module]]) -> Any:
    """The network whose number of parameters is nearest to this one."""

    def off(make: Callable[[], nn.Module]) -> int:
        with torch.device("meta"):
            return abs(size_of(make()) - parameters)

    return min(makers, key=off)()
