"""What the machine can do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyddpm import data
from tinyddpm.runs import loop
from tinyddpm.train import machine
from tinyddpm.train.trainer import Trainer

from .runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("shape", "able", "precision", "half"),
    [
        ((1, 8, 8), True, "auto", False),
        ((3, 16, 16), True, "auto", False),
        ((1, 16, 24), True, "auto", True),
        ((1, 16, 24), False, "auto", False),
        ((1, 16, 24), True, "float32", False),
        ((2,), True, "auto", False),
        ((1, 8, 8), False, "bfloat16", True),
    ],
)
def test_bfloat16_is_taken_where_it_pays_or_is_asked_for(shape, able, precision, half, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able}, raising=False)
    found, kinds = data.split(np.zeros((40, *shape), np.float32), None, 0.5), set()
    config = replace(TINY, precision=precision, conditional="nothing", batch=8)
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(config, found, torch.device("cpu"))
        trainer.model.enter.register_forward_hook(lambda _, __, answer: kinds.add(answer.dtype))
        trainer.step(0.0)
    assert kinds == {torch.bfloat16 if half else torch.float32}
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


def test_one_thread_is_for_a_while():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), machine.one_thread():
        torch.set_num_threads(2)
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("number", "said"), [("one", "must be a whole number from 0, got 'one'"), ("2", "got 2")])
def test_a_place_that_torchrun_cannot_have_given_is_refused(monkeypatch, number, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", number)
    with pytest.raises(ValueError, match=f"LOCAL_RANK .*{said}"):
        machine.device_of("auto")
    assert machine.device_of("cpu").type == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert machine.device_of("auto") == torch.device("cuda", 1)


@pytest.mark.parametrize(("variable", "lowest"), [("WORLD_SIZE", 1), ("RANK", 0)])
def test_numbers_of_processes_that_are_none_are_refused(tmp_path, monkeypatch, variable, lowest):
    number = str(lowest - 1)
    monkeypatch.setenv(variable, number)
    with pytest.raises(ValueError, match=f"{variable} in .* must be a whole number from {lowest}, got '{number}'"):
        loop.fit(replace(TINY, out=tmp_path / "run"))


class On:
    """In the place of `torch.cuda.device`: notes which GPU is the current one."""

    current = 0

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        On.current = self.device.index

    def __exit__(self, *_):
        On.current = 0


def test_whether_bfloat16_pays_is_asked_of_the_device_that_is_meant(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", On)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: On.current == 1)
    assert [machine.half_pays(torch.device("cuda", number), (1, 8, 8)) for number in range(2)] == [False, True]


def test_the_gpu_that_is_meant_is_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "device", On)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeded.append((On.current, seed)))
    before = torch.get_rng_state()
    machine.seed_here(5, torch.device("cuda", 1))
    ours = torch.rand(3)
    torch.manual_seed(5)
    assert seeded == [(1, 5)] and torch.equal(ours, torch.rand(3))
    torch.set_rng_state(before)


@pytest.mark.parametrize(("precision", "all_digits"), [("float32", True), ("auto", False), ("bfloat16", False)])
def test_float32_on_a_gpu_has_all_its_digits_where_it_was_asked_for(precision, all_digits):
    def now():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = now()
    with machine.in_precision(precision, torch.device("cuda", 0)):
        assert now() == (("highest", False) if all_digits else ("high", True))
    assert now() == before
    with machine.in_precision(precision, torch.device("cpu")):
        assert now() == before
