"""The trainer: its steps against what they should be, on a CPU, on a GPU, in two processes."""

import contextlib
import itertools
import json
import math
import os
import signal
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyddpm import data, forward, train
from tinyddpm.checker import assert_equal
from tinyddpm.train import checkpoint, loop, run

from .runs import TINY, at_a_terminal, same, stopped_after, two_processes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_seed_repeats_a_run_bit_for_bit(trained):
    out, _ = trained
    assert same(out / "1", out / "2") and not same(out / "1", out / "3")
    first, other = (checkpoint.read(out / number / checkpoint.LAST)[0]["raw.enter.weight"] for number in "13")
    assert (first - other).abs().max() > 0.05  # further than four steps could take it
    pictures = [(out / number / "samples.png").read_bytes() for number in "123"]
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_run_leaves_whole_files_and_a_report(trained):
    out, (report, *_) = trained
    files = {path.name for path in (out / "1").iterdir()}
    assert files == {
        checkpoint.CONFIG,
        checkpoint.LAST,
        checkpoint.BEST,
        checkpoint.LOG,
        "samples.png",
        "loss.png",
        "report.json",
    }
    assert json.loads((out / "1" / "report.json").read_text()) == vars(report)
    raw = [value for name, value in checkpoint.read(out / "1" / checkpoint.LAST)[0].items() if name.startswith("raw.")]
    assert report.parameters == sum(value.numel() for value in raw)
    assert report.steps == 4 and 0 < report.held_out_loss < 2
    assert str(out / "1") in str(report) and "samples.png" in str(report)
    (line,) = map(json.loads, (out / "1" / checkpoint.LOG).read_text().splitlines())
    assert line["step"] == 4 and line["loss"] == report.loss
    assert set(line) == {"step", "seconds", "loss", "gradient", "rate", "images_per_second"}


def test_a_run_says_what_it_read_and_what_it_hardly_means(tmp_path, capsys):
    loop.fit(replace(TINY, out=tmp_path / "1", steps=1, schedule="linear", T=10))
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first.startswith("898 pictures 8x8x1, 10 classes: 0 (") and first.endswith("; 899 held out")
    # L_T by hand, from the mean square of the pictures.
    left = math.prod(1 - beta for beta in np.linspace(1e-4, 0.02, 10))
    bits = (left * ((data.load("digits").train.astype(float) ** 2).mean() - 1) - math.log(1 - left)) / 2 / math.log(2)
    assert f"with T = 10 the linear schedule ends at alpha_bar_T = {left:.3g}" in second and 0.903 < left < 0.905
    assert f"that costs {bits:.2f} bits per dimension (L_T)" in second and bits > 1
    for schedule in ("linear", "scaled_linear", "proportional", "cosine"):
        loop.fit(replace(TINY, out=tmp_path / schedule, steps=1, data="ring", schedule=schedule, T=1000))
    assert "warning" not in capsys.readouterr().err


def test_the_report_is_told_before_pictures_are_tried(tmp_path, monkeypatch, capsys):
    def full(path, writer, write=loop.write):
        if path.suffix == ".png":
            raise OSError(f"no room for {path.name}")
        write(path, writer)

    monkeypatch.setattr(loop, "write", full)
    monkeypatch.setattr(loop, "draw", lambda *a, draw=loop.draw: told.append("drawn") or draw(*a))
    told = []
    report = loop.fit(replace(TINY, out=tmp_path, grid_every=1e-9, steps=2), told.append)
    assert told == ["drawn", "drawn", report, "drawn"]  # two on the way
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == vars(report)
    assert "tinyddpm: no room for samples-1.png" in capsys.readouterr().err


def test_a_report_without_its_log_is_refused_by_name(tmp_path):
    config = replace(TINY, out=tmp_path, resume=True)
    loop.fit(config)
    (tmp_path / checkpoint.LOG).unlink()
    with pytest.raises(ValueError, match=r"log.jsonl' has gone"):
        loop.fit(config)


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path, monkeypatch):
    """Also where the log has been lost in between: the sums know how many steps they are of."""
    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    losses, loss = [], train.training_loss
    monkeypatch.setattr(loop, "training_loss", lambda *a: losses.append(each := loss(*a)) or each)  # held-out ones too
    config = replace(TINY, out=tmp_path, steps=8, resume=True)
    stopped_after(monkeypatch, 5, config)
    (tmp_path / checkpoint.LOG).unlink()
    loop.fit(config)
    means = [each.mean().item() / 64 for each in losses if len(each) == config.batch]
    lines = [json.loads(line) for line in (tmp_path / checkpoint.LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [6, 8]
    assert_equal(
        np.array([line["loss"] for line in lines]), np.array([np.mean(means[3:6]), np.mean(means[6:])]), rtol=1e-5
    )


def averages(ema):
    """The average after some steps, and the weights after each, of one number in the network."""
    with torch.random.fork_rng(devices=[]):
        config = replace(TINY, ema=ema, steps=30)
        trainer = loop.Trainer(config, data.load("digits"), torch.device("cpu"))
        passed = [trainer.model.leave.bias.item()]
        for _ in range(30):
            trainer.step(0.0)
            passed.append(trainer.model.leave.bias.item())
    return trainer.average.leave.bias.item(), np.array(passed)


def test_the_average_is_of_the_last_tenth():
    average, passed = averages(None)
    k = np.arange(31)
    # The share of step k, by telescoping: what it enters with, times what later steps keep of it.
    shares = np.diff((k / 30) ** (loop.MEMORY + 1), prepend=0.0)
    assert_equal(np.float64(average), shares @ passed, rtol=1e-5)
    assert 1 - 0.9 ** (loop.MEMORY + 1) > 0.86


def test_the_average_with_a_decay_is_ema_update():
    average, passed = averages(0.9)
    expected = passed[0]
    for n in range(1, 31):
        expected = train.ema_update(expected, passed[n], min(0.9, n / (n + 10)))
    assert_equal(np.float64(average), np.float64(expected), rtol=1e-5)


def test_training_helps(tmp_path):
    pictures = torch.from_numpy(data.load("digits").held_out)
    report = loop.fit(replace(TINY, out=tmp_path, steps=60, batch=64, lr=5e-3))
    untrained = loop.evaluate(lambda x, t: 0 * x, pictures, forward.cosine(20), "velocity")
    assert report.held_out_loss < 0.8 * untrained
    assert 0.8 < untrained < 1.1  # velocity has about the variance of the data


def stepped(count=3, **choices):
    """The weights after some steps."""
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(replace(TINY, **choices), data.load("digits"), torch.device("cpu"))
        for _ in range(count):
            trainer.step(0.0)
        trainer.check()
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


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
    ],
    ids=str,
)
def test_every_choice_trains_in_its_own_way(choices):
    chosen = stepped(**choices)
    assert torch.equal(chosen, stepped(**choices))
    plain = stepped()
    assert chosen.shape != plain.shape or not torch.equal(chosen, plain)


def test_a_batch_is_made_of_the_data():
    """Half of it mirrored on request, a share of the labels hidden, every time within 1..T."""
    found, chosen = data.load("digits"), {"label_dropout": 0.25, "flip": True, "batch": 1000, "shift": 0}
    with torch.random.fork_rng(devices=[]):
        x_0, t, noise, (labels,) = loop.Trainer(replace(TINY, **chosen), found, torch.device("cpu")).draw()
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
        trainer = loop.Trainer(replace(TINY, batch=1000, shift=2, label_dropout=0.0), found, torch.device("cpu"))
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
            trainer = loop.Trainer(replace(TINY, dropout=asked), found, torch.device("cpu"))
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
        trainer = loop.Trainer(replace(TINY, shift=asked, batch=2000), found, torch.device("cpu"))
        trainer.steps = seen // 100  # 20 pictures, 2000 in a step
        *_, (_, moved) = trainer.draw()
    by_some = (moved != 0).any(1).double().mean()  # one in nine is moved by nothing
    assert abs(by_some - share * 8 / 9) <= 4 * (share * (1 - share)) ** 0.5 / 2000**0.5


def test_the_average_does_not_remember_how_it_came_about():
    """Else every step would hang on the one before it, and a run would need more memory the longer it lasts."""
    with torch.random.fork_rng(devices=[]):
        trainer = loop.Trainer(TINY, data.load("digits"), torch.device("cpu"))
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


def test_a_batch_norm_is_not_split_into_parts():
    with pytest.raises(ValueError, match="norm must not be batch for a batch in 2 parts"):
        loop.Trainer(replace(TINY, norm="batch", accumulate=2), data.load("digits"), torch.device("cpu"))


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
    found, epochs = data.split(np.zeros((8, 1, 8, 8), np.float32), None, 0.0), loop.SEEN
    with torch.random.fork_rng(devices=[]):
        config = replace(TINY, compile=True, conditional="nothing", attention=False)
        trainer = loop.Trainer(config, found, torch.device("cpu"))
        for steps in sorted([k * epochs + i for k in range(6) for i in (0, 1)]):
            trainer.steps = steps
            trainer.step(0.5)
    torch._dynamo.reset()
    assert counter.frame_count <= len(loop.DROPOUT)


def test_the_clock_ends_a_run(tmp_path):
    report = loop.fit(replace(TINY, out=tmp_path, steps=None, seconds=0.05))
    assert 0.05 <= report.seconds < 5 and report.steps >= 1


def test_there_is_time_for_one_step(tmp_path):
    assert loop.fit(replace(TINY, out=tmp_path, steps=None, seconds=1e-9)).steps == 1


def test_grids_on_the_way(tmp_path):
    loop.fit(replace(TINY, out=tmp_path, grid_every=1e-9, steps=2))
    assert {path.name for path in tmp_path.glob("samples-*.png")} == {
        "samples-0.png",
        "samples-1.png",
    }  # then samples.png


def test_no_grid_is_drawn_of_what_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "training_loss", lambda *a: train.training_loss(*a) * math.nan)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 1; try an lr"):
        loop.fit(replace(TINY, out=tmp_path, grid_every=1e-9))


# A GPU. --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "choices", [{}, {"conditional": "labels", "flip": True, "times": "uniform"}, {"data": "ring"}], ids=str
)
def test_a_gpu_trains_without_being_waited_for(tmp_path, choices):
    config = replace(TINY, device="cuda", **choices)
    with torch.random.fork_rng():
        trainer = loop.Trainer(config, data.load(config.data), torch.device("cuda", 0))
        trainer.step(0.0)  # the first one may set things up
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.step(0.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        trainer.check()
    report = loop.fit(replace(config, out=tmp_path, steps=30))
    assert math.isfinite(report.held_out_loss) and report.peak_memory_mb > 0
    assert math.isfinite(run.load(tmp_path, device="cuda").sample(4, seed=0, steps=5).sum())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("choices", [{}, {"compile": True}, {"compile": True, "accumulate": 2}], ids=str)
def test_a_gpu_learns_what_a_cpu_learns(tmp_path, choices):
    config = replace(TINY, steps=60, batch=64, lr=5e-3)
    losses = [
        loop.fit(replace(config, out=tmp_path / of["device"], **of)).held_out_loss
        for of in ({"device": "cpu"}, {"device": "cuda", **choices})
    ]
    assert abs(losses[0] - losses[1]) < 0.1 * losses[0]


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
        trainer = loop.Trainer(config, data.load(config.data), without_numbers)
        for done in (0.1, 0.2):
            trainer.step(done)
    with pytest.raises(RuntimeError, match="item"):
        trainer.line()  # a line of the log does
    drawn = run.Run(None, config, trainer.shape, trainer.counts, trainer.averaged())
    labels = drawn.labels(4)
    for options in ({}, {"sampler": "ancestral"}, {"sampler": "ddim", "eta": 0.5}, {"guidance": 1.0}):
        if options.get("guidance") and labels is None:
            continue
        *_, x = drawn.states(4, Generator(), labels, steps=3, **options)
        assert x.device == without_numbers and x.shape == (4, *trainer.shape) and x.ndim == dims


# More than one process. ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
@pytest.mark.parametrize(
    "choices",
    [
        {"optimiser": "sgd", "accumulate": 2, "clip": math.inf, "steps": 1},
        {"data": "ring", "accumulate": 2, "steps": 6},
    ],
)
def test_two_processes_are_as_good_as_one(tmp_path, forked, choices):
    """The same batch, shared out: the same gradient, but for the order of sums, and the same run when it is resumed."""
    config = replace(TINY, **choices)
    loop.fit(replace(config, accumulate=1, out=tmp_path / "one"))
    shared = replace(config, out=tmp_path / "two", resume=True)
    if config.steps > 1:
        assert two_processes(forked, shared, stop_at=3) == [3, 3]
        assert checkpoint.read(tmp_path / "two" / checkpoint.LAST)[1]["steps"] == 3
    assert two_processes(forked, shared) == [0, 0]
    one, two = (checkpoint.read(tmp_path / name / checkpoint.LAST)[0] for name in ("one", "two"))
    assert one.keys() == two.keys() and torch.equal(one["generator"], two["generator"])
    for name in one:
        if name.startswith(("raw.", "average.")):
            assert_equal(two[name], one[name], rtol=1e-3, atol=1e-5)  # float32, and Adam magnifies
    logs = [(tmp_path / name / checkpoint.LOG).read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line)["loss"] for line in log] for log in logs)
    assert_equal(np.array(two), np.array(one), rtol=1e-5)  # that of all processes, also of steps before an interruption


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_what_two_processes_leave_out_is_what_two_parts_of_one_leave_out(tmp_path, forked):
    config = replace(TINY, dropout=0.3, steps=4)
    loop.fit(replace(config, accumulate=2, out=tmp_path / "one"))
    assert two_processes(forked, replace(config, out=tmp_path / "two")) == [0, 0]
    one, two = (checkpoint.read(tmp_path / name / checkpoint.LAST)[0] for name in ("one", "two"))
    assert torch.equal(one["generator"], two["generator"])
    for name in one:
        if name.startswith("raw."):
            assert_equal(two[name], one[name], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_processes_that_find_different_saves_do_not_go_on(tmp_path, forked):
    """On two machines, each with a folder of its own."""
    config = replace(TINY, out=tmp_path / "run", resume=True, steps=6)
    assert two_processes(forked, config, stop_at=3) == [3, 3]
    kept = (tmp_path / "run" / checkpoint.LAST).read_bytes()
    said = "out must be a folder that all processes share, got .*, where they find runs of 0 and of 3 steps"
    assert two_processes(forked, config, refused=said, other=replace(config, out=tmp_path / "elsewhere")) == [4, 4]
    assert (tmp_path / "run" / checkpoint.LAST).read_bytes() == kept


def test_a_batch_that_cannot_be_shared_out(tmp_path):
    with pytest.raises(ValueError, match="batch must be a multiple of 6, processes times accumulate, got 8"):
        loop.Trainer(replace(TINY, accumulate=2), data.load("digits"), torch.device("cpu"), processes=3)


# What may go wrong. --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_saved(tmp_path, monkeypatch):
    config = replace(TINY, out=tmp_path, steps=10, resume=True)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / checkpoint.LAST).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_loss", lambda *a: train.training_loss(*a) * math.nan)
        with pytest.raises(FloatingPointError, match=r"no longer finite at step 10; try an lr below 0.002. What was"):
            loop.fit(config)
    assert (tmp_path / checkpoint.LAST).read_bytes() == kept
    assert loop.fit(config).steps == 10


def test_a_gradient_that_is_not_finite_is_noticed_too(tmp_path, monkeypatch):
    def cliff(*arguments):
        loss = train.training_loss(*arguments)
        return loss + 0 * (loss - loss.detach()).sqrt()  # the slope of a square root at 0 is infinite

    monkeypatch.setattr(loop, "training_loss", cliff)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        loop.fit(replace(TINY, out=tmp_path, steps=1))
    with pytest.raises(ValueError, match="stopped before its first save"):
        run.load(tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that are closed")
def test_a_closed_terminal_saves_and_an_ignored_signal_is_left_alone(tmp_path, monkeypatch):
    steps, before = [], signal.getsignal(signal.SIGHUP)

    def drawn(trainer, draw=loop.Trainer.draw):
        steps.append(trainer.steps)
        if trainer.steps == 2:
            os.kill(os.getpid(), signal.SIGHUP)
        return draw(trainer)

    monkeypatch.setattr(loop.Trainer, "draw", drawn)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(replace(TINY, out=tmp_path / "closed"))
    assert checkpoint.read(tmp_path / "closed" / checkpoint.LAST)[1]["steps"] == 3
    assert signal.getsignal(signal.SIGHUP) is before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert loop.fit(replace(TINY, out=tmp_path / "nohup")).steps == 4
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals that are closed")
def test_a_terminal_that_is_closed_takes_nothing_along(tmp_path, forked):
    """Its bar can no longer be drawn then."""
    import fcntl
    import pty
    import select
    import termios

    terminal, name = pty.openpty()
    fcntl.ioctl(name, termios.TIOCSWINSZ, struct.pack("4H", 24, 500, 0, 0))
    config = replace(TINY, data="ring", steps=10**6, save_every=1e9, out=tmp_path)
    process = forked.Process(target=at_a_terminal, args=(config, os.ttyname(name)))
    process.start()
    shown = b""
    while b"loss" not in shown:  # the bar, after some lines of the log
        assert select.select([terminal], [], [], 60)[0] and process.is_alive()
        shown += os.read(terminal, 1000)
    os.close(terminal)
    process.join(30)
    process.kill()
    os.close(name)
    assert process.exitcode == 130 and checkpoint.read(tmp_path / checkpoint.LAST)[1]["steps"] >= 3


def test_neighbouring_seeds_leave_out_other_numbers():
    assert len({loop._mixed(seed, step, part) for seed in range(5) for step in range(5) for part in range(5)}) == 125
