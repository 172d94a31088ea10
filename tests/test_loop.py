"""The training loop: whole runs, on a CPU, on a GPU, in two processes, and how they end."""

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
from tinyddpm.runs import checkpoint, loop, run
from tinyddpm.train.trainer import Trainer, evaluate

from .runs import TINY, at_a_terminal, same, stopped_after, two_processes

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")


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
    assert all((out / "1" / name).read_bytes().startswith(b"\x89PNG") for name in ("samples.png", "loss.png"))
    assert json.loads((out / "1" / "report.json").read_text()) == vars(report)
    raw = [value for name, value in checkpoint.read(out / "1" / checkpoint.LAST)[0].items() if name.startswith("raw.")]
    assert report.parameters == sum(value.numel() for value in raw)
    assert report.steps == 4 and 0 < report.held_out_loss < 2
    assert str(out / "1") in str(report) and "samples.png" in str(report)
    (line,) = map(json.loads, (out / "1" / checkpoint.LOG).read_text().splitlines())
    assert line["step"] == 4 and line["loss"] == report.loss
    assert set(line) == {"step", "seconds", "loss", "gradient", "rate", "images_per_second"}


def test_a_run_says_what_it_read_and_what_it_hardly_means(tmp_path, capsys):
    loop.fit(replace(TINY, data="digits", out=tmp_path / "1", steps=1, schedule="linear", T=10))
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
    monkeypatch.setattr(
        "tinyddpm.train.trainer.training_loss", lambda *a: losses.append(each := loss(*a)) or each
    )  # held-out ones too
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


def test_training_helps(tmp_path):
    pictures = torch.from_numpy(data.load("digits").held_out)
    report = loop.fit(replace(TINY, out=tmp_path, steps=40, batch=32, lr=1e-2))
    untrained = evaluate(lambda x, t: 0 * x, pictures, forward.cosine(20), "velocity")
    assert report.held_out_loss < 0.8 * untrained
    assert 0.8 < untrained < 1.1  # velocity has about the variance of the data


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
    monkeypatch.setattr("tinyddpm.train.trainer.training_loss", lambda *a: train.training_loss(*a) * math.nan)
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
        trainer = Trainer(config, data.load(config.data), torch.device("cuda", 0))
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


# More than one process. ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_two_processes_are_as_good_as_one(tmp_path, forked):
    """The same batch, shared out: the same gradient, but for the order of sums, and the same run when it is resumed."""
    config = replace(TINY, data="ring", accumulate=2, steps=6)
    loop.fit(replace(config, accumulate=1, out=tmp_path / "one"))
    shared = replace(config, out=tmp_path / "two", resume=True)
    assert two_processes(forked, shared, stop_at=3) == [3, 3]
    assert checkpoint.read(tmp_path / "two" / checkpoint.LAST)[1]["steps"] == 3
    assert two_processes(forked, shared) == [0, 0]
    assert_the_same_run(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_what_two_processes_leave_out_is_what_the_parts_of_one_leave_out(tmp_path, forked):
    digits = data.load("few_digits")
    np.savez(tmp_path / "digits.npz", images=(digits.train[:, 0] + 1) / 2, labels=digits.train_labels)
    plain = {"optimiser": "sgd", "clip": math.inf, "lr": 0.1, "warm_up": 0, "steps": 2}
    config = replace(TINY, data=str(tmp_path / "digits.npz"), dropout=0.3, **plain)
    loop.fit(replace(config, accumulate=4, out=tmp_path / "one"))
    assert two_processes(forked, replace(config, accumulate=2, out=tmp_path / "two")) == [0, 0]
    assert_the_same_run(tmp_path)


def assert_the_same_run(folder):
    one, two = (checkpoint.read(folder / name / checkpoint.LAST)[0] for name in ("one", "two"))
    assert one.keys() == two.keys() and torch.equal(one["generator"], two["generator"])
    for name in one:
        if name.startswith(("raw.", "average.")):
            assert_equal(two[name], one[name], rtol=1e-3, atol=1e-5)  # float32, and Adam magnifies
    logs = [(folder / name / checkpoint.LOG).read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line)["loss"] for line in log] for log in logs)
    assert_equal(np.array(two), np.array(one), rtol=1e-5)  # that of all processes, also of steps before an interruption


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_processes_that_find_different_saves_do_not_go_on(tmp_path, forked, monkeypatch):
    """On two machines, each with a folder of its own."""
    config = replace(TINY, data="ring", out=tmp_path / "run", resume=True, steps=6)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / "run" / checkpoint.LAST).read_bytes()
    said = "out must be a folder that all processes share, got .*, where they find runs of 0 and of 3 steps"
    assert two_processes(forked, config, refused=said, other=replace(config, out=tmp_path / "elsewhere")) == [4, 4]
    assert (tmp_path / "run" / checkpoint.LAST).read_bytes() == kept


# What may go wrong. --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_saved(tmp_path, monkeypatch):
    config = replace(TINY, out=tmp_path, steps=10, resume=True)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / checkpoint.LAST).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("tinyddpm.train.trainer.training_loss", lambda *a: train.training_loss(*a) * math.nan)
        with pytest.raises(FloatingPointError, match=r"no longer finite at step 10; try an lr below 0.002. What was"):
            loop.fit(config)
    assert (tmp_path / checkpoint.LAST).read_bytes() == kept
    assert loop.fit(config).steps == 10


def test_a_gradient_that_is_not_finite_is_noticed_too(tmp_path, monkeypatch):
    def cliff(*arguments):
        loss = train.training_loss(*arguments)
        return loss + 0 * (loss - loss.detach()).sqrt()  # the slope of a square root at 0 is infinite

    monkeypatch.setattr("tinyddpm.train.trainer.training_loss", cliff)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        loop.fit(replace(TINY, out=tmp_path, steps=1))
    with pytest.raises(ValueError, match="stopped before its first save"):
        run.load(tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that are closed")
def test_a_closed_terminal_saves_and_an_ignored_signal_is_left_alone(tmp_path, monkeypatch):
    steps, before = [], signal.getsignal(signal.SIGHUP)

    def drawn(trainer, draw=Trainer.draw):
        steps.append(trainer.steps)
        if trainer.steps == 2:
            os.kill(os.getpid(), signal.SIGHUP)
        return draw(trainer)

    monkeypatch.setattr(Trainer, "draw", drawn)
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
