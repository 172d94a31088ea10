"""A run as files: nothing is lost when it is stopped, and nothing goes on from what does not belong to it."""

import errno
import json
import random
import shutil
import signal
import sys
import time
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyddpm import data
from tinyddpm.runs import checkpoint, loop, run
from tinyddpm.train.trainer import Trainer

from .runs import TINY, child, same, stopped_after

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"ema": 0.9, "dropout": 0.1, "shift": 1, "conditional": "labels", "flip": True, "times": "uniform"},
        {"norm": "batch", "optimiser": "lamb"},
        {"data": "ring", "optimiser": "sgd"},
        {"data": "moons", "optimiser": "adamw", "accumulate": 2},
        {"data": "ring", "learned_variance": True, "times": "importance", "T": 4, "steps": 40},
    ],
    ids=str,
)
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(tmp_path, monkeypatch, choices):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    config = replace(TINY, **{"steps": 8, **choices})
    loop.fit(replace(config, out=tmp_path / "whole"))
    resumed = replace(config, out=tmp_path / "parts", resume=True)  # there is nothing yet: it begins
    stopped_after(monkeypatch, 3, resumed)
    assert run.load(tmp_path / "parts").sample(1, seed=0, steps=2).shape[0] == 1
    assert checkpoint.read(tmp_path / "parts" / checkpoint.LAST)[1]["steps"] == 3
    stopped_after(monkeypatch, 2, resumed)
    report = loop.fit(resumed)
    assert same(tmp_path / "whole", tmp_path / "parts")
    logs = [
        [json.loads(line) for line in (tmp_path / name / checkpoint.LOG).read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    for of in ("step", "loss", "gradient", "rate"):
        assert [line[of] for line in logs[0]] == [line[of] for line in logs[1]]
    seconds = [line["seconds"] for line in logs[1]]
    assert seconds == sorted(seconds) and report.seconds > seconds[-1] - 1e-3  # the log rounds
    again = loop.fit(resumed)  # a finished run only reports
    assert again.steps == config.steps and again.loss == report.loss and same(tmp_path / "whole", tmp_path / "parts")


def test_the_clock_runs_on_over_an_interruption(tmp_path, monkeypatch):
    config = replace(TINY, out=tmp_path, steps=None, seconds=0.3, resume=True)
    stopped_after(monkeypatch, 2, config)
    so_far = checkpoint.read(tmp_path / checkpoint.LAST)[1]["seconds"]
    begun = time.monotonic()
    report = loop.fit(config)
    assert 0 < so_far < report.seconds < 0.3 + 1
    assert report.seconds - so_far < time.monotonic() - begun


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path, forked):
    config = replace(TINY, data="ring", steps=24, resume=True, save_every=1e-9, out=tmp_path / "killed")
    chance, kills, seen = random.Random(0), 0, set()
    for _ in range(100):
        process = forked.Process(target=child, args=(config, int(chance.uniform(1, 300_000) * (1 + kills / 10))))
        process.start()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        kills += 1
        if (tmp_path / "killed" / checkpoint.LAST).is_file():
            seen.add(
                checkpoint.read(tmp_path / "killed" / checkpoint.LAST)[1]["steps"]
            )  # whole, whenever it was killed
    assert process.exitcode == 0 and kills >= 3 and len(seen) >= 2
    loop.fit(replace(config, out=tmp_path / "whole", resume=False, save_every=10.0))
    assert same(tmp_path / "killed", tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / checkpoint.LOG).read_text().splitlines()]
    assert steps == [*range(3, 25, 3)]


def test_no_room_to_save_keeps_what_was_saved(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")  # not on Windows
    config = replace(TINY, out=tmp_path, steps=10, resume=True)
    stopped_after(monkeypatch, 3, config)
    kept = (tmp_path / checkpoint.LAST).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"safetensors could not be written .* what was saved before is kept"):
            loop.fit(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / checkpoint.LAST).read_bytes() == kept and not list(tmp_path.glob(".*.part"))
    assert loop.fit(config).steps == 10


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    config = replace(TINY, out=tmp_path, resume=True)
    loop.fit(config)
    left = (
        checkpoint.LAST,
        checkpoint.BEST,
        checkpoint.LOG,
        "samples.png",
        "samples-50.png",
        "loss.png",
        "report.json",
    )
    for name in left:
        (tmp_path / f".{name}.123.part").write_bytes(b"half")
    with pytest.raises(ValueError, match="out must be a new or an empty folder"):  # it may be another's, who saves now
        loop.fit(replace(config, resume=False))
    assert len(list(tmp_path.glob(".*"))) == len(left)
    loop.fit(config)
    assert not list(tmp_path.glob(".*"))


def test_a_run_goes_on_with_another_kind_of_generator(tmp_path, monkeypatch):
    """Saved on a GPU and resumed on a CPU, say: not bit for bit, but it goes on, and the same way every time."""
    stopped_after(monkeypatch, 3, replace(TINY, out=tmp_path / "a", steps=6))
    tensors, state = checkpoint.read(tmp_path / "a" / checkpoint.LAST)
    checkpoint.save(tmp_path / "a" / checkpoint.LAST, {**tensors, "generator": tensors["generator"][:16]}, state)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        assert loop.fit(replace(TINY, out=tmp_path / name, steps=6, resume=True)).steps == 6
    a, b = (checkpoint.read(tmp_path / name / checkpoint.LAST)[0] for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    with torch.random.fork_rng(devices=[]):
        new, resumed = (Trainer(TINY, data.load("digits"), torch.device("cpu")) for _ in range(2))
        resumed.restore({**tensors, "generator": tensors["generator"][:16]}, state)
    assert not torch.equal(new.draw()[0], resumed.draw()[0])  # and not with the first batches again


def test_a_checkpoint_of_another_network_is_refused(run_folder):
    tensors, state = checkpoint.read(run_folder / checkpoint.LAST)
    tensors.pop("raw.leave.bias")
    checkpoint.save(run_folder / checkpoint.LAST, tensors, state)
    with pytest.raises(ValueError, match=r"last.safetensors does not belong to its config: .*raw.leave.bias"):
        loop.fit(replace(TINY, out=run_folder, resume=True))


def test_a_damaged_checkpoint_is_refused(run_folder):
    file, config = run_folder / checkpoint.LAST, replace(TINY, out=run_folder, resume=True)
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], content[:-1], b"x" * 1000):
        file.write_bytes(damaged)
        for attempt in (lambda: run.load(run_folder), lambda: loop.fit(config)):
            with pytest.raises(ValueError, match=r"last.safetensors' is damaged: .* or begin anew"):
                attempt()
        assert file.read_bytes() == damaged
    assert run.load(run_folder, best=True).sample(1, seed=0, steps=2).shape[0] == 1
    (run_folder / checkpoint.CONFIG).write_text('{"config": {"widht": 8}}')
    with pytest.raises(ValueError, match=r"config.json' is not the config of a run"):
        run.load(run_folder)


def test_a_single_flipped_bit_is_found(tmp_path):
    """In the header, in the numbers, in the state, in the checksum itself."""
    file = tmp_path / checkpoint.LAST
    tensors = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor(7), "c": torch.zeros(0), "d": torch.ones(1).bfloat16()}
    checkpoint.save(file, tensors, {"steps": 3})
    read, state = checkpoint.read(file)
    assert state == {"steps": 3} and all(torch.equal(read[name], value) for name, value in tensors.items())
    content = file.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << 3 * place % 8
        file.write_bytes(changed)
        with pytest.raises(ValueError, match="is damaged"):
            checkpoint.read(file)


def test_a_flipped_bit_in_the_weights_is_found_when_a_run_is_used(run_folder):
    content = bytearray((run_folder / checkpoint.LAST).read_bytes())
    content[-1000] ^= 1
    (run_folder / checkpoint.LAST).write_bytes(content)
    for attempt in (
        lambda: run.load(run_folder),
        lambda: loop.fit(replace(TINY, out=run_folder, resume=True)),
    ):
        with pytest.raises(ValueError, match=r"last.safetensors' is damaged: its checksum"):
            attempt()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 1e-3}, "lr must stay 0.002, as in the run .*, got 0.001"),
        ({"width": 16}, "width must stay 8"),
        ({"seed": 1}, "seed must stay 0"),
        ({"steps": 5}, "steps must stay 4"),
        ({"data": "ring"}, "data must stay"),
    ],
)
def test_a_run_goes_on_only_as_what_it_is(run_folder, changed, said):
    before = (run_folder / checkpoint.LAST).read_bytes()
    with pytest.raises(ValueError, match=said):
        loop.fit(replace(TINY, out=run_folder, resume=True, **changed))
    with pytest.raises(ValueError, match="out must be a new or an empty folder"):
        loop.fit(replace(TINY, out=run_folder))
    assert (run_folder / checkpoint.LAST).read_bytes() == before
    assert loop.fit(replace(TINY, out=run_folder, resume=True, save_every=5.0)).steps == 4


def test_each_other_choice_has_a_line(run_folder):
    with pytest.raises(ValueError) as refused:
        loop.fit(replace(TINY, out=run_folder, resume=True, lr=1e-3, width=16, data="ring", save_every=1.0))
    lines = str(refused.value).splitlines()
    assert lines[:2] == [
        f"lr must stay 0.002, as in the run {str(run_folder)!r}, got 0.001",
        f"width must stay 8, as in the run {str(run_folder)!r}, got 16",
    ]
    assert lines[2:4] == [
        "data must stay the same: its shape was [1, 8, 8], now [2]",
        "data must stay the same: its examples were 100, now 10000",
    ]
    assert [line.partition(" w")[0] for line in lines[4:]] == [
        f"data must stay the same: its {name}" for name in ("classes", "levels", "checksum")
    ]


def test_other_pictures_under_the_same_name_are_noticed(tmp_path):
    images = np.zeros((20, 4, 4))
    np.savez(tmp_path / "a.npz", images=images)
    config = replace(TINY, data=str(tmp_path / "a.npz"), out=tmp_path / "run", resume=True)
    assert loop.fit(config).held_out_loss is None
    np.savez(tmp_path / "a.npz", images=images + 0.5)
    with pytest.raises(ValueError, match="data must stay"):
        loop.fit(config)
    with pytest.raises(ValueError, match=r"best.safetensors: nothing was held out"):
        run.load(tmp_path / "run", best=True)


def test_the_best_is_kept_when_the_last_is_worse(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr(Trainer, "held_out_loss", lambda *a, **k: next(losses))
    loop.fit(replace(TINY, out=tmp_path, steps=4, save_every=1e-9))
    assert checkpoint.read(tmp_path / checkpoint.BEST)[1] == {
        **checkpoint.read(tmp_path / checkpoint.BEST)[1],
        "steps": 2,
        "best": 1.0,
    }
    best, last = (run.load(tmp_path, best=best).model.leave.weight for best in (True, False))
    assert not torch.equal(best, last)


def test_the_state_is_saved_before_the_best_weights(tmp_path, monkeypatch):
    """On a full disk, the room is for what resumes; what was the best is then written when there is room again."""
    config, save = replace(TINY, out=tmp_path, steps=6, resume=True), checkpoint.save

    def full(path, tensors, state):
        if path.name == checkpoint.BEST:
            raise OSError("no room")
        save(path, tensors, state)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        patch.setattr(loop, "LOG_EVERY", 2)
        with pytest.raises(OSError, match="no room"):
            loop.fit(replace(config, save_every=1e-9))
    assert checkpoint.read(tmp_path / checkpoint.LAST)[1]["steps"] == 1 and not (tmp_path / checkpoint.BEST).exists()
    losses = iter([1.0, 2.0, 3.0])  # the state that was saved is better than what comes later
    monkeypatch.setattr(Trainer, "held_out_loss", lambda *a, **k: next(losses))
    loop.fit(config)
    best = checkpoint.read(tmp_path / checkpoint.BEST)[1]
    assert (best["steps"], best["best"]) == (1, 1.0) and checkpoint.read(tmp_path / checkpoint.LAST)[1]["steps"] == 6


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_the_best_weights_come_back_when_they_have_gone(tmp_path, monkeypatch, content):
    losses = iter([1.0, 2.0, 3.0, 4.0, 5.0])

    def measured(trainer, **_):
        if trainer.steps == 2:  # before the second save is done
            (tmp_path / checkpoint.BEST).unlink()
        return next(losses)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "held_out_loss", measured)
        loop.fit(replace(TINY, out=tmp_path, steps=4, save_every=1e-9))
    best = checkpoint.read(tmp_path / checkpoint.BEST)[1]
    assert (best["steps"], best["best"]) == (3, 3.0)
    (tmp_path / checkpoint.BEST).unlink()
    if content is not None:
        (tmp_path / checkpoint.BEST).write_bytes(content)
    loop.fit(replace(TINY, out=tmp_path, steps=4, resume=True))
    assert checkpoint.read(tmp_path / checkpoint.BEST)[1]["steps"] == 4
    assert run.load(tmp_path, best=True).sample(1, seed=0, steps=2).shape[0] == 1


# One process a run. --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked from one that has imported PyTorch")
def test_a_run_is_trained_by_one_process_at_a_time(tmp_path, forked):
    config = replace(TINY, data="ring", steps=10**6, resume=True, save_every=1e-9, out=tmp_path)
    process = forked.Process(target=child, args=(config,))
    process.start()
    try:
        while not (tmp_path / checkpoint.LAST).is_file():
            assert process.is_alive()
            time.sleep(0.01)
        for resume in (True, False):
            with pytest.raises(ValueError, match=f"run '{tmp_path}' is being trained by another process"):
                loop.fit(replace(config, resume=resume))
    finally:
        process.kill()
        process.join()
    assert (tmp_path / checkpoint.LOCK).is_file()  # a killed process cannot clear it away, but keeps nobody out
    facts = checkpoint.read_config(tmp_path)[1]
    with (
        checkpoint.opened(config, facts),
        pytest.raises(ValueError, match="another process"),
        checkpoint.opened(config, facts),
    ):
        pass
    assert not (tmp_path / checkpoint.LOCK).exists()


def test_the_lock_of_windows(tmp_path, monkeypatch):
    """There a locked file is told by another error, and cannot be removed while it is open."""
    held, unlink = [], type(tmp_path).unlink

    def locking(handle, mode, size):
        if held:
            raise PermissionError(errno.EACCES, "locked")
        held.append(handle)

    def closed(handle, close=checkpoint.os.close):
        close(handle)
        held[:] = [other for other in held if other != handle]

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(checkpoint.os, "close", closed)
    monkeypatch.setattr(type(tmp_path), "unlink", lambda path, **k: None if held else unlink(path, **k))
    monkeypatch.setattr(checkpoint, "sys", types.SimpleNamespace(platform="win32"))
    with checkpoint._locked(tmp_path):
        with pytest.raises(ValueError, match="another process"), checkpoint._locked(tmp_path):
            pass
        assert (tmp_path / checkpoint.LOCK).exists()
    assert not (tmp_path / checkpoint.LOCK).exists()


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with checkpoint._locked(tmp_path), checkpoint._locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_who_waits_for_a_lock_that_was_just_removed_takes_a_new_one(tmp_path, monkeypatch):
    file, lock, tries = tmp_path / checkpoint.LOCK, checkpoint._lock, []

    def late(handle):
        tries.append(handle)
        if len(tries) == 1:
            file.unlink()  # by the one who had it
        lock(handle)

    monkeypatch.setattr(checkpoint, "_lock", late)
    with checkpoint._locked(tmp_path):
        assert len(tries) == 2 and file.exists()
        with pytest.raises(ValueError, match="another process"), checkpoint._locked(tmp_path):
            pass
