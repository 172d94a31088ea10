"""The networks: what they begin as, what each answer depends on, what they refuse."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tinyddpm import data
from tinyddpm.checker import assert_equal
from tinyddpm.train.config import Config
from tinyddpm.train.unet import MLP, NORMS, Attention, UNet, network

from .strategies import seeded

pytestmark = pytest.mark.usefixtures("one_thread")


KINDS = [
    {},
    {"levels": 3, "blocks": 2},
    {"levels": 1, "attention": False},
    {"skips": "add", "blocks": 2},
    {"time": "learned", "classes": 3},
    *({"norm": norm} for norm in NORMS if norm != "group"),
]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 4)])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_network_begins_at_zero_and_keeps_the_shape(shape, kind):
    model, x, t = (
        UNet(shape[0], 8, **kind),
        torch.randn(4, *shape, generator=seeded(0)),
        torch.tensor([1, 2, 500, 1000]),
    )
    assert torch.equal(model(x, t), torch.zeros(4, *shape))


def awake(model):
    """A network none of whose weights are 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize(
    "model",
    [*(UNet(1, 8, **kind) for kind in KINDS), MLP(2, 16), MLP(2, 16, time="learned", classes=3)],
    ids=lambda model: type(model).__name__,
)
def test_each_answer_depends_on_its_own_sample_time_and_class_alone(model):
    awake(model)
    deaf = model.condition.label is None
    shape = (2,) if isinstance(model, MLP) else (1, 8, 8)
    x, t, labels = torch.randn(3, *shape, generator=seeded(0)), torch.tensor([3, 300, 900]), torch.tensor([0, 2, -1])
    together = model(x, t, labels)
    apart = torch.cat([model(x[i : i + 1], t[i : i + 1], labels[i : i + 1]) for i in range(3)])
    assert_equal(together, apart, rtol=1e-4, atol=1e-4)
    later = model(x, torch.tensor([3, 301, 900]), labels)
    assert torch.allclose(together[[0, 2]], later[[0, 2]], atol=1e-4)
    assert (together[1] - later[1]).abs().max() > 1e-3
    other = model(x, t, torch.tensor([0, 1, -1]))
    assert torch.equal(together[[0, 2]], other[[0, 2]]) and torch.equal(together[1], other[1]) == deaf
    untold = model(x, t)  # no label is -1
    assert torch.equal(untold[2], together[2]) and torch.equal(untold[0], together[0]) == deaf


def test_each_norm_is_over_what_its_name_says():
    x = torch.randn(4, 16, 3, 5, generator=seeded(0)) * 3 + 1
    for name, over in {"group": (2, 3, 4), "layer": (1, 2, 3, 4), "instance": (3, 4)}.items():
        y = NORMS[name](16)(x).reshape(4, 8, 2, 3, 5)
        assert_equal(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-5)
        assert_equal(y.var(over, correction=0), torch.ones_like(y.mean(over)), rtol=1e-3)
        assert name == "instance" or y.mean(over[1:]).abs().max() > 0.1  # and not over less
    y = NORMS["batch"](16)(x)
    assert_equal(y.mean((0, 2, 3)), torch.zeros(16), atol=1e-5)


def test_the_network_refuses_what_it_cannot_halve():
    for shape in ((2, 1, 7, 8), (2, 1, 8, 7), (2, 8, 8)):
        with pytest.raises(ValueError, match="x_t must be"):
            UNet(1, 8)(torch.zeros(shape), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="height and width multiples of 4"):
        UNet(1, 8, levels=3)(torch.zeros(2, 1, 6, 8), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 12"):
        UNet(1, 12)


@pytest.mark.parametrize(
    "sides, sizes",
    [((8, 8), 2), ((28, 28), 3), ((32, 32), 4), ((64, 16), 3), ((12, 8), 2), ((4, 4), 1), ((7, 8), 1), ((6, 6), 1)],
)
def test_a_picture_is_halved_down_to_four_pixels_if_nothing_else_is_asked_for(sides, sizes):
    model = awake(network(Config(width=8), (1, *sides), 0))
    assert len(model.shrink) == sizes - 1
    seen = []
    model.middle_in.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[2:]))
    assert model(torch.zeros(2, 1, *sides), torch.tensor([1, 2])).shape == (2, 1, *sides)
    assert seen == [tuple(side // 2 ** (sizes - 1) for side in sides)]
    assert len(network(Config(width=8, levels=1), (1, *sides), 0).shrink) == 0


def test_the_network_hears_by_how_much_a_picture_was_moved():
    model, x, t = awake(UNet(1, 8, shift=1)), torch.randn(2, 1, 8, 8, generator=seeded(0)), torch.tensor([3, 300])
    places = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    answers = [model(x, t, None, place.expand(2, 2)) for place in places]
    assert torch.equal(answers[4], model(x, t))  # not moved, if nothing is said
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(answers, 2))


def test_attention_has_four_axes_as_fast_kernels_want_it(monkeypatch):
    """And is what it should be: places weighted by the softmax of their products, by hand."""
    attention, shapes, x = awake(Attention(8, "group")), [], torch.randn(2, 8, 3, 2, generator=seeded(0))
    chosen = torch.nn.functional.scaled_dot_product_attention

    def noted(*parts):
        shapes.extend(part.shape for part in parts)
        return chosen(*parts)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    y = attention(x)
    assert shapes == [(2, 1, 6, 8)] * 3
    query, key, value = attention.query_key_value(attention.norm(x)).reshape(2, 3, 8, 6).unbind(1)
    weights = torch.softmax(torch.einsum("bci,bcj->bij", query, key) / 8**0.5, dim=2)
    seen = torch.einsum("bij,bcj->bci", weights, value).reshape(x.shape)
    assert_equal(y, x + attention.out(seen), rtol=1e-4, atol=1e-5)


def test_the_last_layers_begin_at_zero_or_as_pytorch_has_them():
    """Nine layers are set to 0: the second convolution of each block, the output of the attention and of the network."""

    def zeros(**changes):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = network(Config(**changes), (1, 8, 8), 0)
        return [
            name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d) and not layer.weight.any()
        ]

    blocks = [name for name in zeros() if name.endswith(".conv_out")]
    assert len(blocks) == 6 and {*zeros()} == {*blocks, "attention.out", "leave"}
    assert zeros(zero_init=False) == []
    model = network(Config(zero_init=False), (1, 8, 8), 0)
    bound = 1 / math.sqrt(9 * 32)  # PyTorch's own: uniform up to one over the root of the inputs
    assert 0.9 * bound < model.leave.weight.abs().max() <= bound and model.leave.bias.any()


def test_a_network_of_probabilities_begins_as_the_histogram_and_rounds():
    """Against Bayes' rule on scipy's densities, for three values of a pixel."""
    pictures = np.array([-1, -1, 0, 1], np.float32).reshape(4, 1, 1, 1) * np.ones((1, 1, 4, 4), np.float32)
    pictures[0, 0, 0, 0] = 1
    dataset = data.Data(pictures, None, pictures, None, levels=3)
    config = Config(width=8, predicts="x_0", learned_variance=True, categorical=True)
    model, schedule = network(config, (1, 4, 4), 0, 3), config.noise_schedule()
    model.start(dataset)
    x_t, t = 1.5 * torch.randn(2, 1, 4, 4, generator=seeded(0)), torch.tensor([400, 700])
    output = model(x_t, t).detach().numpy()
    for row, step in zip(range(2), (schedule[400], schedule[700]), strict=True):
        chances = np.array([[[2.5, 1.5, 1.5]] * 4] * 4) / 5.5
        chances[0, 0] = np.array([1.5, 1.5, 2.5]) / 5.5
        means = step.alpha_bar**0.5 * np.array([-1.0, 0.0, 1.0])
        chances = chances * stats.norm.pdf(x_t[row, 0].numpy()[..., None], means, step.noise_var**0.5)
        chances /= chances.sum(-1, keepdims=True)
        x_0 = chances @ np.array([-1.0, 0.0, 1.0])
        var = chances @ np.array([1.0, 0.0, 1.0]) - x_0**2
        assert_equal(output[row, 0], x_0.astype(np.float32), rtol=1e-4, atol=1e-5)
        share = np.minimum(var / step.noise_var, 1)  # of steps as short as these
        assert np.allclose((output[row, 1] + 1) / 2, share, rtol=0.02, atol=1e-4)
    clean = torch.from_numpy(pictures)
    rounded = model(clean + 0.02, torch.ones(4, dtype=torch.int64))
    assert_equal(rounded[:, :1], clean, atol=1e-6)
    assert (rounded[:, 1:] + 1).abs().max() < 1e-6


def test_points_have_no_grey_levels():
    with pytest.raises(ValueError, match="categorical must be False for points"):
        network(Config(predicts="x_0", learned_variance=True, categorical=True), (2,), 0)
