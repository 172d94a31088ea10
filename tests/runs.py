"""What the tests of the trainer share: tiny runs, whole, interrupted, in processes of their own; models that know the truth."""

import functools
import itertools
import math
import os
import re
import signal
import socket
import sys
import types

import pytest
import torch

from tinyddpm import data
from tinyddpm.runs import checkpoint, loop
from tinyddpm.train.config import Config
from tinyddpm.train.trainer import Trainer


@functools.cache
def few_digits():
    """A hundred digits to train on and as many held out: whoever trains for four steps needs no more."""
    digits = data.load("digits")
    return digits._replace(**{name: part[:100] for name, part in zip(digits._fields[:4], digits[:4], strict=True)})


data.LOADERS["few_digits"] = few_digits  # also in the processes that tests start
data.LOADERS["digits"] = functools.cache(data.digits)  # read once

TINY = Config(data="few_digits", steps=4, width=8, levels=1, batch=8, T=20, device="cpu")


def same(a, b):
    """Whether two checkpoints hold the same tensors, bit for bit."""
    (a, of_a), (b, of_b) = checkpoint.read(a / checkpoint.LAST), checkpoint.read(b / checkpoint.LAST)
    assert a.keys() == b.keys() and of_a["steps"] == of_b["steps"]
    return all(torch.equal(a[name], b[name]) for name in a)


def stopped_after(monkeypatch, steps, config):
    """Train, and be interrupted in the middle of a step."""
    calls, draw = itertools.count(1), Trainer.draw

    def interrupted(trainer):
        if next(calls) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.fit(config)


def draw_nothing():
    """In a process of its own: it would have to import Matplotlib."""
    loop.draw, loop.plots = lambda *_: None, types.SimpleNamespace(loss=lambda log: b"")


def child(config, killed_at=None):
    """Train in a process of its own, which may be killed at a certain call or return of a function."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no bar
    draw_nothing()
    loop.LOG_EVERY, events = 3, itertools.count(1)

    def counted(*_):
        if next(events) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(counted if killed_at else None)
    loop.fit(config)


def at_a_terminal(config, name):
    """Train in a process whose terminal is of this name, as if it had been started there."""
    torch.set_num_threads(1)
    loop.LOG_EVERY = 3
    os.setsid()
    terminal = os.open(name, os.O_RDWR)  # the first one that is opened is the terminal
    os.dup2(terminal, 2)
    os.close(terminal)
    try:
        loop.fit(config)
    except KeyboardInterrupt:
        os._exit(130)


def member(config, rank, port, stop_at, refused):
    """One of two processes, told so by what torchrun sets; the first may be interrupted, or both refuse."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no bar
    draw_nothing()
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    calls, draw = itertools.count(1), Trainer.draw

    def counted(trainer):
        if next(calls) == stop_at and rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(trainer)

    Trainer.draw = counted
    try:
        report = loop.fit(config)
    except KeyboardInterrupt:
        sys.exit(3)
    except ValueError as problem:
        sys.exit(4 if refused and re.search(refused, str(problem)) else 1)
    assert (report is None) == (rank == 1)


def two_processes(forked, config, stop_at=None, refused="", other=None):
    """Train in two processes, the second with another config if one is given; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configs = enumerate((config, other or config))
    crew = [forked.Process(target=member, args=(of, rank, port, stop_at, refused)) for rank, of in configs]
    for process in crew:
        process.start()
    for process in crew:
        process.join(60)
        process.kill()  # one that still waits for the other would wait for ever
        process.join()
    return [process.exitcode for process in crew]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kept(schedule, t):
    """The cumulative product at t, multiplied out."""
    return math.prod(1 - beta for beta in schedule.beta[:t])


def ideal(schedule, mean, var, predicts="noise"):
    """The exact model for data from N(mean, var): what is expected of the noise, x_0 or velocity, given x_t."""

    def model(x_t, t):
        a = torch.tensor([kept(schedule, time) for time in t.tolist()], dtype=x_t.dtype)
        a = a.reshape(-1, *[1] * (x_t.ndim - 1))
        off = (x_t - a**0.5 * mean) / (a * var + 1 - a)
        noise, x_0 = (1 - a) ** 0.5 * off, mean + a**0.5 * var * off
        return {"noise": noise, "x_0": x_0, "velocity": a**0.5 * noise - (1 - a) ** 0.5 * x_0}[predicts]

    return model


def with_variance(model, v):
    """A model that also says v, the same for all samples and all times."""
    return lambda x_t, t: torch.cat([model(x_t, t), torch.full_like(x_t, 2 * v - 1)], dim=1)
