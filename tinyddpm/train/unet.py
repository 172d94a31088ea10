"""The networks: a small U-Net for pictures, a few layers for points. The time enters every block of both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import elbo
from ..arrays import grid
from ..data import Data, histogram
from ..forward import Schedule
from . import Model, time_embedding
from .config import Config

GROUPS = 8
"""In how many groups the channels are normalised; the width must be a multiple of it."""

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "group": lambda channels: nn.GroupNorm(GROUPS, channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.GroupNorm(channels, channels),
    "batch": nn.BatchNorm2d,
}
"""How channels are normalised: in groups, all together, each alone, or each over the whole batch."""

CHOSEN = ("width", "levels", "blocks", "T", "norm", "time", "skips", "attention")
"""The fields of a config that the network takes unchanged."""


class Condition(nn.Module):
    """The embedding that conditions every block: of the time and, where the data has them, of the class and the shift."""

    def __init__(self, width: int, dims: int, T: int, classes: int, time: str, shift: int = 0) -> None:
        super().__init__()
        self.width, self.shift = width, shift
        learned = time == "learned"
        self.table = nn.Embedding(T + 1, width) if learned else None
        self.layers = nn.Sequential(nn.Linear(width, dims), nn.SiLU(), nn.Linear(dims, dims))
        self.label = nn.Embedding(classes + 1, dims) if classes else None
        self.place = nn.Embedding((2 * shift + 1) ** 2, dims) if shift else None

    def forward(self, t: Tensor, labels: Tensor | None, dtype: torch.dtype, shifts: Tensor | None = None) -> Tensor:
        time = self.table(t) if self.table is not None else time_embedding(t, self.width).to(dtype)
        embedding = self.layers(time)
        if self.label is not None:  # -1, or no labels at all, stands for no class: the first row
            embedding = embedding + self.label(torch.zeros_like(t) if labels is None else labels + 1)
        if self.place is not None:
            down, right = (0 * t, 0 * t) if shifts is None else shifts.unbind(1)
            embedding = embedding + self.place((down + self.shift) * (2 * self.shift + 1) + right + self.shift)
        return functional.silu(embedding)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; between them the embedding scales and shifts every channel."""

    def __init__(self, channels_in: int, channels_out: int, dims: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm_in = NORMS[norm](channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.scale_and_shift = nn.Linear(dims, 2 * channels_out)
        self.norm_out = NORMS[norm](channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _zero(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(functional.silu(self.norm_in(x)))
        scale, shift = self.scale_and_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(self.dropout(functional.silu(self.norm_out(h) * (1 + scale) + shift)))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Self-attention between all places of a picture, with one head: it reaches further than two convolutions."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.norm = NORMS[norm](channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        places = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2)  # (batch, places, 3 channels)
        heads = places.unsqueeze(1).chunk(3, dim=3)  # one head: the fast kernels of a GPU want four axes
        return x + self.out(functional.scaled_dot_product_attention(*heads).transpose(2, 3).reshape(x.shape))


class UNet(nn.Module):
    """Down to smaller and smaller pictures and back up, with skip connections at each size.

    ``model(x_t, t)`` takes pictures of shape (batch, channels, height, width) and their times, and
    ``model(x_t, t, labels)`` their classes too, -1 for none; ``shifts``, shape (batch, 2), are the
    pixels by which each was shifted down and to the right, none if not given. The last convolution of each part starts at
    zero: every block begins as its shortcut alone, and the output of the network as 0.

    Args:
        channels: of the pictures: 1 for grey.
        width: channels inside at the full size, twice as many at all smaller ones; a multiple of 8.
        levels: how many sizes; each halves the sides.
        blocks: residual blocks at each size on the way down, and as many on the way up.
        T: the last time, for a learned embedding of the times.
        classes: how many; 0 for an unconditional network.
        norm: one of `NORMS`.
        time: "sinusoidal" for `time_embedding`, or "learned" for a row of numbers for each time.
        skips: "concatenate" or "add": how the skip connections join the way up.
        attention: whether there is self-attention at the smallest size.
        dropout: the dropout rate of a block.
        shift: the most pixels that a picture can have been shifted by.
        outputs: output channels for each input channel: 2 to predict a variance too.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        levels: int = 2,
        blocks: int = 1,
        T: int = 1000,
        classes: int = 0,
        norm: str = "group",
        time: str = "sinusoidal",
        skips: str = "concatenate",
        attention: bool = True,
        dropout: float = 0.0,
        shift: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
        self.multiple, self.concatenate = 2 ** (levels - 1), skips == "concatenate"
        dims, sizes = 4 * width, [width] + (levels - 1) * [2 * width]

        def block(channels_in: int, channels_out: int) -> ResidualBlock:
            return ResidualBlock(channels_in, channels_out, dims, norm, dropout)

        self.condition = Condition(width, dims, T, classes, time, shift)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        for level, inside in enumerate(sizes):
            above = sizes[max(level - 1, 0)]
            if level:
                self.shrink.append(nn.Conv2d(above, above, 3, stride=2, padding=1))
                self.grow.append(nn.ConvTranspose2d(inside, above, 2, stride=2))
            for i in range(blocks):
                self.down.append(block(inside if i else above, inside))
                self.up.append(block(2 * inside if self.concatenate else inside, inside))
        self.middle_in, self.middle_out = block(sizes[-1], sizes[-1]), block(sizes[-1], sizes[-1])
        self.attention = Attention(sizes[-1], norm) if attention else nn.Identity()
        self.norm = NORMS[norm](width)
        self.leave = _zero(nn.Conv2d(width, outputs * channels, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, shifts: Tensor | None = None) -> Tensor:
        if x_t.ndim != 4 or x_t.shape[2] % self.multiple or x_t.shape[3] % self.multiple:
            sides = f"height and width multiples of {self.multiple}"
            raise ValueError(f"x_t must be (batch, channels, height, width), {sides}, got {tuple(x_t.shape)}")
        embedding = self.condition(t, labels, x_t.dtype, shifts)
        blocks = len(self.down) // (len(self.shrink) + 1)
        h, skips = self.enter(x_t), []
        for i, block in enumerate(self.down):
            if i and i % blocks == 0:
                h = self.shrink[i // blocks - 1](h)
            h = block(h, embedding)
            skips.append(h)
        h = self.middle_out(self.attention(self.middle_in(h, embedding)), embedding)
        for i in reversed(range(len(self.up))):
            h = torch.cat([h, skips[i]], dim=1) if self.concatenate else h + skips[i]
            h = self.up[i](h, embedding)
            if i and i % blocks == 0:
                h = self.grow[i // blocks - 1](h)
        return self.leave(functional.silu(self.norm(h)))


class MLP(nn.Module):
    """For points: some layers, each beside a shortcut, and each conditioned on the time.

    Args:
        dims: coordinates of a point.
        width: numbers inside.
        blocks: how many layers.
        T: the last time, for a learned embedding of the times.
        classes: how many; 0 for an unconditional network.
        time: "sinusoidal" or "learned".
        outputs: output numbers for each coordinate: 2 to predict a variance too.
    """

    def __init__(
        self,
        dims: int,
        width: int = 128,
        blocks: int = 3,
        T: int = 1000,
        classes: int = 0,
        time: str = "sinusoidal",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.condition = Condition(width, width, T, classes, time)
        self.enter = nn.Linear(dims, width)
        self.scale_and_shift = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.SiLU()) for _ in range(blocks))
        self.leave = _zero(nn.Linear(width, outputs * dims))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self.condition(t, labels, x_t.dtype)
        h = self.enter(x_t)
        for linear, layer in zip(self.scale_and_shift, self.layers, strict=True):
            scale, shift = linear(embedding).chunk(2, dim=1)
            h = h + layer(h * (1 + scale) + shift)
        return self.leave(functional.silu(h))


class Categorical(nn.Module):
    """A network that gives each value of a pixel a probability: x_0 is predicted as their mean, and v from their variance.

    What the network has to learn is what the other pixels say of this one. What the pixel says itself, through its noise,
    is Bayes' rule.

    Args:
        net: gives as many channels for each of the pictures' as a pixel has values.
        schedule: of the noise.
        shape: of a picture.
        values: how many a pixel has.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, shape: tuple[int, ...], values: int) -> None:
        super().__init__()
        self.net, self.schedule = net, schedule
        self.log_prior = nn.Parameter(torch.zeros(*shape, values))

    def start(self, dataset: Data) -> None:
        """Begin as the histogram of each pixel."""
        self.log_prior.data.copy_(torch.from_numpy(histogram(dataset.train, dataset.levels)).log())

    def forward(self, x_t: Tensor, t: Tensor, *condition: Tensor | None) -> Tensor:
        output = self.net(x_t, t, *condition).unflatten(1, (x_t.shape[1], -1)).movedim(2, -1)
        logits, step = self.log_prior + output, self.schedule.at(t, like=x_t)
        chances, values = elbo.value_log_prob(x_t, logits, step).exp(), grid(logits)
        x_0 = (chances * values).sum(-1)
        var = (chances * (values - x_0[..., None]) ** 2).sum(-1)
        v = elbo.best_v(var, self.schedule.at(t.clamp(min=2), like=x_t))
        return torch.cat([x_0, 2 * v.clamp(max=1) - 1], dim=1)


def network(config: Config, shape: tuple[int, ...], classes: int, values: int = 256) -> nn.Module:
    """The network that a config asks for, for data of this shape; pixels have so many values."""
    outputs = values if config.categorical else 2 if config.learned_variance else 1
    if len(shape) == 1 and config.categorical:
        raise ValueError("categorical must be False for points, which have no grey levels, got True")
    if len(shape) == 1:
        return MLP(shape[0], 4 * config.width, T=config.T, classes=classes, time=config.time, outputs=outputs)
    chosen = {name: getattr(config, name) for name in CHOSEN}
    halved = 2 ** ((config.levels or 1) - 1)
    if any(edge % halved for edge in shape[1:]):
        size = "x".join(map(str, shape[1:]))
        raise ValueError(
            f"levels must be fewer for pictures of {size}, which halve to whole pixels, got {config.levels}"
        )
    chosen |= {
        "levels": config.levels or levels(*shape[1:]),
        "dropout": config.dropout or 0.0,
        "shift": config.max_shift,
    }
    net = UNet(shape[0], classes=classes, outputs=outputs, **chosen)
    if not config.zero_init:
        net.apply(_ordinary)
    return Categorical(net, config.noise_schedule(), shape, values) if config.categorical else net


def prediction(model: Model, channels: int) -> Model:
    """The model without its variance channels, if it has any."""
    return lambda x_t, t: model(x_t, t)[:, :channels]


def fill(model: nn.Module, tensors: dict[str, Tensor], prefix: str, source: str) -> None:
    """Load the weights of a model from tensors whose names begin with a prefix; ``source`` is named in the message.

    Raises:
        ValueError: when they are those of another network.
    """
    try:
        model.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in model.state_dict()})
    except (KeyError, RuntimeError) as problem:
        raise ValueError(f"{source} does not belong to its config: {problem}") from None


def levels(height: int, width: int) -> int:
    """How many sizes to see a picture in: halved while halves are whole and at least 4, as DDPM halved 32 to 16, 8 and 4."""
    return 1 if height % 2 or width % 2 or min(height, width) < 8 else 1 + levels(height // 2, width // 2)


def size_of(model: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(value.numel() for value in model.parameters())


def _ordinary(layer: nn.Module) -> None:
    """PyTorch's own first weights for a layer that `_zero` has set to 0."""
    if isinstance(layer, nn.Conv2d) and not layer.weight.any():
        layer.reset_parameters()


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
