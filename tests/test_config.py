"""What can be chosen for a run, and what is refused before anything is written."""

import math
from dataclasses import replace

import pytest

from tinyddpm.runs import loop

from .runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("field", "value"),
    {
        "data": "letters",
        "schedule": "sine",
        "predicts": "score",
        "T": 0,
        "batch": 0,
        "steps": 0,
        "seconds": 0.0,
        "lr": math.nan,
        "ema": 1.0,
        "width": 12,
        "seed": -1,
        "times": "even",
        "loss": "norm",
        "optimiser": "rprop",
        "norm": "weight",
        "time": "none",
        "skips": "none",
        "device": "tpu",
        "accumulate": 3,
        "warm_up": -1,
        "clip": 0.0,
        "save_every": math.nan,
        "dropout": 1.0,
        "label_dropout": -0.1,
        "held_out": 1.0,
    }.items(),
)
def test_a_config_that_cannot_be_run_is_refused_before_anything_is_written(tmp_path, field, value):
    with pytest.raises(ValueError, match=f"{field} must"):
        loop.fit(replace(TINY, out=tmp_path / "runs", **{field: value}))
    assert not (tmp_path / "runs").exists()


def test_choices_that_do_not_go_together(tmp_path):
    for choices, said in (
        ({"zero_terminal_snr": True, "predicts": "noise"}, "predicts must be x_0 or velocity with zero_terminal_snr"),
        ({"resume": True, "out": None}, "resume needs out"),
        ({"learned_variance": True, "weighting": "min_snr"}, "weighting must be equal or bound with learned_variance"),
        (
            {"categorical": True},
            "predicts must be x_0, and learned_variance True, with categorical, got 'velocity' and",
        ),
        ({"categorical": True, "predicts": "x_0"}, "learned_variance True, with categorical, got 'x_0' and False"),
        ({"conditional": "labels", "data": "ring"}, "conditional must be clusters or nothing for data without labels"),
    ):
        with pytest.raises(ValueError, match=said):
            loop.fit(replace(TINY, **{"out": tmp_path / "runs", **choices}))
        assert not (tmp_path / "runs").exists()
