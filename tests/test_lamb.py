"""LAMB."""

import pytest
import torch

from tinyddpm.checker import assert_equal
from tinyddpm.train.lamb import Lamb

pytestmark = pytest.mark.usefixtures("one_thread")


def test_lamb_steps_as_far_as_the_weights_are_long():
    weights = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    lamb = Lamb([weights], lr=0.1)
    weights.grad = torch.tensor([1e-3, -1e3])
    lamb.step()
    # Adam's first step has only signs, (1, -1): of length sqrt(2), stretched to that of the weights, 5.
    assert_equal(weights.detach(), torch.tensor([3 - 0.5 / 2**0.5, 4 + 0.5 / 2**0.5]), rtol=2e-3)
