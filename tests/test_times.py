"""Which times a batch is trained at, and how much each counts."""

from dataclasses import replace

import pytest
import torch

from tinyddpm import data, elbo
from tinyddpm.checker import assert_equal
from tinyddpm.train import times
from tinyddpm.train.trainer import Trainer

from .runs import TINY
from .strategies import seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def test_times_are_drawn_where_the_loss_is_large_and_the_mean_stays_the_same():
    drawn = times.Times(replace(TINY, T=4, times="importance"))
    t, sizes = torch.arange(1, 5), torch.tensor([1.0, 2.0, 3.0, 14.0])
    for step in range(times.HISTORY):
        drawn.draw(4, seeded(0), step * times.REFRESH)
        assert torch.equal(drawn.chances, torch.full((4,), 0.25))
        drawn.weigh(t, sizes)
    drawn.draw(4, seeded(0), 1)
    assert torch.equal(drawn.chances, torch.full((4,), 0.25))  # not in the middle of 50 steps
    drawn.draw(4, seeded(0), times.REFRESH)
    assert_equal(drawn.chances, 0.99 * sizes / 20 + 0.01 / 4, rtol=1e-6)
    fair = drawn.weigh(t, sizes)
    assert_equal((drawn.chances * fair).sum(), sizes.mean(), rtol=1e-6)
    often = torch.bincount(drawn.draw(10_000, seeded(0), 1) - 1) / 10_000
    assert (often - drawn.chances).abs().max() < 4 * 0.5 / 100


def test_a_time_that_comes_often_keeps_its_latest_losses():
    drawn = times.Times(replace(TINY, T=2, times="importance"))
    for losses in (range(6), range(6, 12)):
        drawn.weigh(torch.tensor([1, 1, 1, 2, 1, 1]), torch.tensor(losses, dtype=torch.float32))
    assert set(drawn.history[0, : times.HISTORY].tolist()) == {0, 1, 2, 4, 5, 6, 7, 8, 10, 11}
    assert drawn.seen.tolist() == [10, 2] and drawn.history[1].sum() == 3 + 9
    drawn.weigh(torch.ones(2, dtype=torch.int64), torch.tensor([20.0, 30.0]))
    assert set(drawn.history[0, : times.HISTORY].tolist()) == {2, 4, 5, 6, 7, 8, 10, 11, 20, 30}


def test_the_weights_of_the_times_are_those_of_the_bound():
    for predicts, weight in (("noise", elbo.noise_weight), ("x_0", elbo.x0_weight), ("velocity", elbo.velocity_weight)):
        config = replace(TINY, weighting="bound", predicts=predicts)
        with torch.random.fork_rng(devices=[]):
            weights = Trainer(config, data.load("digits"), torch.device("cpu")).times.weights
        steps = list(config.noise_schedule())
        expected = torch.tensor([weight(step, step.beta) for step in steps])
        assert_equal(weights, (expected / expected.mean()).float(), rtol=1e-5)
    learned = replace(TINY, weighting="bound", learned_variance=True)  # whose loss is the bound already
    with torch.random.fork_rng(devices=[]):
        assert_equal(Trainer(learned, data.load("digits"), torch.device("cpu")).times.weights, torch.ones(TINY.T))
