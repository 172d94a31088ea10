"""What a machine without a GPU can tell of one: nothing is read back, and no CPU tensor is mixed in.

Fake tensors have a shape, a dtype and a device but no numbers. Reading one fails, and so does an operation on tensors of
two devices. They are put on the device "meta", for which every build of torch can index and differentiate. What this
cannot see: a generator of the wrong device, and a CPU tensor indexed by one of another device.
"""

import pytest
import torch
from torch._functorch import config
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode

from tinyddpm import forward, train
from tinyddpm.train.unet import MLP, UNet

AWAY = torch.device("meta")


class Generator(torch.Generator):
    """One that says it is there; fake numbers need none."""

    device = AWAY


@pytest.fixture(autouse=True)
def _fake():
    with config.patch(fake_tensor_allow_meta=True), FakeTensorMode():
        yield


def network(shape, answers=1):
    with AWAY:
        kind = UNet if len(shape) == 3 else MLP
        return kind(shape[0], 8, classes=3, outputs=answers)


def batch(shape):
    with AWAY:
        return torch.randn(2, 4, *shape), torch.randint(1, 101, (4,)), torch.randint(-1, 3, (4,))


def is_away(x, shape):
    assert isinstance(x, FakeTensor) and x.device == AWAY and tuple(x.shape) == shape and x.dtype == torch.float32


SHAPES = pytest.mark.parametrize("shape", [(1, 8, 8), (2,)], ids=["pictures", "points"])


@SHAPES
@pytest.mark.parametrize("predicts", forward.PREDICTIONS)
def test_a_loss_and_its_gradients_stay_where_they_are(shape, predicts):
    model, ((x_0, noise), t, labels) = network(shape), batch(shape)
    loss = train.training_loss(train.guided(model, labels), x_0, t, noise, forward.cosine(100), predicts)
    is_away(loss, (4,))
    loss.sum().backward()
    for parameter in model.parameters():
        is_away(parameter.grad, tuple(parameter.shape))


@SHAPES
def test_so_do_those_of_a_learned_variance(shape):
    model, ((x_0, noise), t, labels) = network(shape, answers=2), batch(shape)
    loss = train.learned_variance_loss(train.guided(model, labels), x_0, t, noise, forward.cosine(100), "velocity")
    is_away(loss, (4,))
    loss.sum().backward()


def test_so_do_the_times_and_the_average():
    (average, value), *_ = batch((2,))
    train.ema_update_([average], [value], 0.9)
    is_away(train.ema_update(average, value, 0.9), (4, 2))
    uniform = torch.rand((), dtype=torch.float64, device=AWAY)
    is_away(train.stratified_times(uniform, 8, 100).float(), (8,))


@SHAPES
@pytest.mark.parametrize("variance", train.VARIANCES)
@pytest.mark.parametrize("sampler", train.SAMPLERS)
def test_a_whole_walk_stays_where_it_is(shape, sampler, variance):
    model = train.guided(network(shape, answers=2 if variance == "learned" else 1), batch(shape)[2], 1.0)
    options = {"variance": variance, "eta": 0.5, "predicts": "velocity", "corrections": 1}
    path = [*train.sample_path(model, forward.cosine(100), (4, *shape), Generator(), sampler, 3, **options)]
    assert len(path) == 4
    for state in path:
        is_away(state, (4, *shape))


@SHAPES
def test_so_does_the_way_there(shape):
    model, ((x_0, _), *_) = network(shape), batch(shape)
    is_away(train.encode(lambda x_t, t: model(x_t, t), forward.cosine(100), x_0, 5, "velocity"), (4, *shape))


def read(x_t, t):
    return x_t * t.max().item()


def mixed(x_t, t):
    return x_t + torch.ones(4, 1)


@pytest.mark.parametrize("model", [read, mixed])
def test_these_tests_can_fail(model):
    """A model that reads a number, and one with a tensor of another device in it."""
    (x_0, noise), t, _ = batch((2,))
    for asked in (
        lambda: train.training_loss(model, x_0, t, noise, forward.cosine(100)),
        lambda: train.sample(model, forward.cosine(100), (4, 2), Generator(), steps=2),
        lambda: train.encode(model, forward.cosine(100), x_0, 2),
    ):
        with pytest.raises((DataDependentOutputException, RuntimeError), match=r"_local_scalar_dense|two devices"):
            asked()
