"""What the machine can do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tinyddpm.train import data, loop, machine

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
        trainer = loop.Trainer(config, found, torch.device("cpu"))
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
