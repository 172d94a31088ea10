"""The network: a small U-Net of two resolutions, which is told the time in every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import time_embedding

GROUPS = 8
"""In how many groups the channels are normalised; the width must be a multiple of it."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; between them the time scales and shifts every channel."""

    def __init__(self, channels_in: int, channels_out: int, time_dims: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.scale_and_shift = nn.Linear(time_dims, 2 * channels_out)
        self.norm_out = nn.GroupNorm(GROUPS, channels_out)
        self.conv_out = _zero(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_in(functional.silu(self.norm_in(x)))
        scale, shift = self.scale_and_shift(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(functional.silu(self.norm_out(h) * (1 + scale) + shift))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Every place looks at every other: what two convolutions are too short-sighted for. One head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        places = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2)  # (batch, places, 3 channels)
        seen = functional.scaled_dot_product_attention(*places.chunk(3, dim=2))
        return x + self.out(seen.transpose(1, 2).reshape(x.shape))


class UNet(nn.Module):
    """Down to half the size and back up, with a bridge at each of the two sizes.

    ``model(x_t, t)`` takes pictures of shape (batch, channels, height, width), both sides even, and their
    times. The last convolution of each part starts at zero: every block begins as its shortcut alone, and the
    network by answering 0.

    Args:
        channels: of the pictures: 1 for grey.
        width: channels inside at the full size, twice as many at half of it; a multiple of 8.
    """

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
        wide, time_dims = 2 * width, 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, time_dims), nn.SiLU(), nn.Linear(time_dims, time_dims), nn.SiLU())
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = ResidualBlock(width, width, time_dims)
        self.shrink = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.down_half = ResidualBlock(width, wide, time_dims)
        self.middle_in = ResidualBlock(wide, wide, time_dims)
        self.attention = Attention(wide)
        self.middle_out = ResidualBlock(wide, wide, time_dims)
        self.up_half = ResidualBlock(wide + wide, wide, time_dims)
        self.grow = nn.Conv2d(wide, width, 3, padding=1)
        self.up = ResidualBlock(width + width, width, time_dims)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.leave = _zero(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        if x_t.ndim != 4 or x_t.shape[2] % 2 or x_t.shape[3] % 2:
            raise ValueError(f"x_t must be (batch, channels, even height, even width), got {tuple(x_t.shape)}")
        time = self.time(time_embedding(t, self.width).to(x_t.dtype))
        full = self.down(self.enter(x_t), time)
        half = self.down_half(self.shrink(full), time)
        h = self.middle_out(self.attention(self.middle_in(half, time)), time)
        h = self.up_half(torch.cat([h, half], dim=1), time)
        h = self.grow(functional.interpolate(h, scale_factor=2.0))
        h = self.up(torch.cat([h, full], dim=1), time)
        return self.leave(functional.silu(self.norm(h)))


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
