"""The trainer: its steps against what they should be, each choice, on a device that must not be waited for."""

import contextlib
import functools
import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyddpm import data, train
from tinyddpm.checker import assert_equal
from tinyddpm.runs import run
from tinyddpm.train.trainer import MEMORY, Trainer, _mixed

from .runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


def averages(ema):
    """The average after some steps, and the weights after each, of one number in the network."""
    with torch.random.fork_rng(devices=[]):
        config = replace(TINY, ema=ema, steps=30)
        trainer = Trainer(config, data.load("digits"), torch.device("cpu"))
        passed = [trainer.model.leave.bias.item()]
        for _ in range(30):
            trainer.step(0.0)
            passed.append(trainer.model.leave.bias.item())
    return trainer.average.leave.bias.item(), np.array(passed)


def test_the_average_is_of_the_last_tenth():
    average, passed = averages(None)
    k = np.arange(31)
    # The share of step k, by telescoping: what it enters with, times what later steps keep of it.
    shares = np.diff((k / 30) ** (MEMORY + 1), prepend=0.0)
    assert_equal(np.float64(average), shares @ passed, rtol=1e-5)
    assert 1 - 0.9 ** (MEMORY + 1) > 0.86


def test_the_average_with_a_decay_is_ema_update():
    average, passed = averages(0.9)
    expected = passed[0]
    for n in range(1, 31):
        expected = train.ema_update(expected, passed[n], min(0.9, n / (n + 10)))
    assert_equal(np.float64(average), np.float64(expected), rtol=1e-5)


def stepped(count=3, **choices):
    """The weights after some steps."""
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(replace(TINY, **choices), data.load("digits"), torch.device("cpu"))
        for _ in range(count):
            trainer.step(0.0)
        trainer.check()
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@functools.cache
def plainly_stepped():
    return stepped(2)


@pytest.mark.parametrize(
    "choices",
    [
        {"optimiser": "adamw"},
        {"optimiser": "lamb"},
        {"optimiser": "sgd"},
        {"norm": "batch"},
        {"time": "learned"},
        {"skips": "add"},
        {"times": "uniform"},
        {"predicts": "noise"},
        {"predicts": "x_0", "zero_terminal_snr": True},
        {"conditional": "clusters"},
        {"conditional": "nothing"},
        {"shift": 1},
        {"dropout": 0.2},
        {"flip": True},
        {"times": "importance"},
        {"weighting": "min_snr"},
        {"weighting": "bound", "predicts": "noise"},
        {"learned_variance": True},
        {"learned_variance": True, "weighting": "bound"},
        {"learned_variance": True, "weighting": "bound", "predicts": "x_0", "categorical": True},
    ],
    ids=str,
)
def test_every_choice_trains_in_its_own_way(choices):
    chosen, plain = stepped(2, **choices), plainly_stepped()
    assert torch.equal(chosen, stepped(2, **choices))
    assert chosen.shape != plain.shape or not torch.equal(chosen, plain)


def test_a_batch_is_made_of_the_data():
    """Half of it mirrored on request, a share of the labels hidden, every time within 1..T."""
    found, chosen = data.load("digits"), {"label_dropout": 0.25, "flip": True, "batch": 1000, "shift": 0}
    with torch.random.fork_rng(devices=[]):
        x_0, t, noise, (labels,) = Trainer(replace(TINY, **chosen), found, torch.device("cpu")).draw()
    known = {x.tobytes(): label for x, label in zip(found.train, found.train_labels, strict=True)}
    mirrored = hidden = 0
    for x, label in zip(x_0.numpy(), labels.tolist(), strict=True):
        mirror = np.ascontiguousarray(x[..., ::-1]).tobytes()
        mirrored += x.tobytes() not in known
        hidden += label == -1
        assert label in (-1, known.get(x.tobytes()), known.get(mirror))
    assert abs(mirrored / 1000 - 0.5) < 4 * 0.5 / 1000**0.5 and abs(hidden / 1000 - 0.25) < 4 * 0.44 / 1000**0.5
    assert t.min() == 1 and t.max() == 20 and noise.shape == x_0.shape and abs(noise.var() - 1) < 0.05


def test_most_of_a_batch_is_moved_and_the_network_told_by_how_much():
    found = data.load("digits")
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(replace(TINY, batch=1000, shift=2, label_dropout=0.0), found, torch.device("cpu"))
        x_0, _, _, (_, moved) = trainer.draw()
    wide = np.pad(found.train[:, 0], ((0, 0), (2, 2), (2, 2)), mode="edge")
    known = {
        (wide[:, 2 - down : 10 - down, 2 - right : 10 - right][i].tobytes(), down, right)
        for down, right in itertools.product(range(-2, 3), repeat=2)
        for i in range(len(wide))
    }
    assert all((x.tobytes(), *by) in known for x, by in zip(x_0[:, 0].numpy(), moved.tolist(), strict=True))
    unmoved = (moved == 0).all(1).double().mean()  # a quarter of them, and one in 25 of the others
    assert abs(unmoved - 0.28) < 4 * 0.45 / 1000**0.5 and moved.min() == -2 and moved.max() == 2


@pytest.mark.parametrize("seen, share", [(0, 0.0), (199, 0.0), (200, 0.05), (599, 0.1), (600, 0.15), (5000, 0.2)])
def test_the_more_often_pictures_were_seen_the_more_is_left_out(seen, share):
    found = data.split(np.zeros((40, 1, 8, 8), np.float32), None, 0.5)
    for asked, expected in ((None, share), (0.3, 0.3)):
        left_out = set()
        with torch.random.fork_rng(devices=[]):
            trainer = Trainer(replace(TINY, dropout=asked), found, torch.device("cpu"))
            trainer.steps = seen * 20 // 8  # 20 pictures, 8 in a step
            for layer in trainer.model.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.register_forward_hook(lambda layer, _, __, seen=left_out: seen.add(layer.p))
            trainer.step(0.5)
        assert left_out == {expected}


@pytest.mark.parametrize(
    "asked, seen, share", [(None, 0, 0.0), (None, 100, 0.125), (None, 400, 0.5), (None, 5000, 0.75), (1, 0, 0.75)]
)
def test_the_more_often_pictures_were_seen_the_more_are_moved(asked, seen, share):
    found = data.split(np.zeros((40, 1, 8, 8), np.float32), None, 0.5)
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(replace(TINY, shift=asked, batch=2000), found, torch.device("cpu"))
        trainer.steps = seen // 100  # 20 pictures, 2000 in a step
        *_, (_, moved) = trainer.draw()
    by_some = (moved != 0).any(1).double().mean()  # one in nine is moved by nothing
    assert abs(by_some - share * 8 / 9) <= 4 * (share * (1 - share)) ** 0.5 / 2000**0.5


def test_the_average_does_not_remember_how_it_came_about():
    """Else every step would hang on the one before it, and a run would need more memory the longer it lasts."""
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(TINY, data.load("digits"), torch.device("cpu"))
        trainer.step(0.0)
    assert not any(weight.requires_grad or weight.grad_fn for weight in trainer.average.parameters())


def test_a_batch_in_parts_has_the_same_gradient():
    plain = {"optimiser": "sgd", "clip": math.inf}
    assert_equal(stepped(**plain, accumulate=4), stepped(**plain), rtol=1e-3, atol=1e-6)


def test_the_squared_norm_is_the_mean_square_times_the_pixels():
    """Adam divides the scale of the gradient out again, but for its epsilon; plain descent does not."""
    alike = {"clip": math.inf}
    assert_equal(stepped(1, **alike, loss="sum"), stepped(1, **alike), rtol=1e-3, atol=1e-5)
    begin = stepped(0)
    slow, fast = (stepped(1, **alike, loss=loss, optimiser="sgd") - begin for loss in ("mean", "sum"))
    assert_equal(fast, 64 * slow, rtol=1e-2, atol=1e-5)


def test_dropout_and_shifts_climb_a_ladder_of_epochs():
    """TINY trains on 100 pictures with batches of 8: 25 steps are two epochs."""

    def rates(epochs, **changes):
        trainer = Trainer(replace(TINY, **{"ladder": 50.0, **changes}), data.load("few_digits"), torch.device("cpu"))
        trainer.steps = round(epochs * 12.5)
        return trainer.dropout_rate(), trainer.shift_rate()

    assert rates(48) == (0.0, 0.25 * 0.96) and rates(50) == (0.05, 0.25) and rates(100) == (0.1, 0.5)
    assert rates(150) == (0.15, 0.75) and rates(1000) == (0.2, 0.75)
    assert rates(100, dropout=0.3, shift=2) == (0.3, 0.75) == rates(0, dropout=0.3, shift=2)
    assert rates(100, dropout=0.0) == (0.0, 0.5) and rates(100, shift=1) == (0.1, 0.75)
    assert rates(1000, ladder=math.inf) == (0.0, 0.0)


def test_a_batch_norm_is_not_split_into_parts():
    with pytest.raises(ValueError, match="norm must not be batch for a batch in 2 parts"):
        Trainer(replace(TINY, norm="batch", accumulate=2), data.load("digits"), torch.device("cpu"))


def test_only_the_generators_that_are_put_back_are_seeded(monkeypatch):
    """`torch.manual_seed` seeds every GPU of the machine."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("other GPUs were seeded"))
    with pytest.raises(pytest.fail.Exception):
        torch.manual_seed(0)
    stepped(1, dropout=0.3)


def test_the_rates_of_dropout_are_compiled_once_each(monkeypatch):
    """A rate is a constant in the compiled network: there may be as many of them as there are rates, and no more."""
    from torch._dynamo.testing import CompileCounter

    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, mode: compile(model, backend=counter))
    monkeypatch.setattr("tinyddpm.train.trainer.DROPOUT", rates := (0.0, 0.1))
    found = data.split(np.zeros((8, 1, 8, 8), np.float32), None, 0.0)
    with torch.random.fork_rng(devices=[]):
        config = replace(TINY, compile=True, conditional="nothing", attention=False)
        trainer = Trainer(config, found, torch.device("cpu"))
        for steps in sorted([int(k * config.ladder) + i for k in range(3) for i in (0, 1)]):
            trainer.steps = steps
            trainer.step(0.5)
    torch._dynamo.reset()
    assert counter.frame_count == len(rates)


# A device that is not waited for. --------------------------------------------------------------------------------------


class Generator(torch.Generator):
    """Draws on the device without numbers, of which no generator knows."""

    def __new__(cls, device=None, new=torch.Generator.__new__):
        return new(cls)

    device = torch.device("meta")


@pytest.fixture
def without_numbers(monkeypatch):
    """A device whose tensors have a shape and nothing in it: to read one fails, as does a CPU's tensor in between."""
    import torch._dynamo
    import torch.distributed.tensor  # which would not take our generator's type

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())
    name = "_get_fused_kernels_supported_devices"
    for module in (module for path, module in sys.modules.items() if path.startswith("torch.optim.")):
        if hasattr(module, name):
            kinds = [*getattr(module, name)(), "meta"]
            monkeypatch.setattr(module, name, lambda kinds=kinds: kinds)
    return torch.device("meta")


@pytest.mark.parametrize(
    "choices",
    [
        {"flip": True, "conditional": "clusters"},
        {"learned_variance": True, "dropout": 0.1, "accumulate": 2, "loss": "sum"},
        {"learned_variance": True, "weighting": "bound", "predicts": "x_0", "categorical": True},
        {
            "norm": "batch",
            "optimiser": "lamb",
            "time": "learned",
            "times": "uniform",
            "weighting": "bound",
            "predicts": "noise",
        },
        {"data": "ring", "optimiser": "sgd", "ema": 0.9},
    ],
    ids=str,
)
def test_nothing_in_a_step_or_a_sampler_waits_for_the_device(without_numbers, choices):
    config, dims = replace(TINY, **choices), 2 if choices.get("data") else 4
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(config, data.load(config.data), without_numbers)
        for done in (0.1, 0.2):
            trainer.step(done)
    with pytest.raises(RuntimeError, match="item"):
        trainer.line()  # a line of the log does
    drawn = run.Run(None, config, trainer.shape, trainer.counts, trainer.averaged())
    labels = drawn.labels(4)
    for options in ({}, {"sampler": "ancestral"}, {"sampler": "ddim", "eta": 0.5}, {"guidance": 1.0}):
        if options.get("guidance") and labels is None:
            continue
        *_, x = drawn.states(4, Generator(), labels, steps=2, **options)
        assert x.device == without_numbers and x.shape == (4, *trainer.shape) and x.ndim == dims


# Several processes. ----------------------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_shared_out(tmp_path):
    with pytest.raises(ValueError, match="batch must be a multiple of 6, processes times accumulate, got 8"):
        Trainer(replace(TINY, accumulate=2), data.load("digits"), torch.device("cpu"), processes=3)


def test_neighbouring_seeds_leave_out_other_numbers():
    assert len({_mixed(seed, step, part) for seed in range(5) for step in range(5) for part in range(5)}) == 125
