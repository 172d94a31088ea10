"""What a training step costs: the changes do what they say, and the command measures and keeps them."""

import json

import pytest
import torch

from tinyddpm.experiments import steps
from tinyddpm.train.unet import Grow


def output(name):
    """What the changed network gives for a fixed input with fixed weights, none of them zero."""
    trainer = steps.trainer_of("float32", 8, *steps.CHANGES[name])
    torch.manual_seed(0)
    for value in trainer.model.parameters():
        value.data.copy_(0.1 * torch.randn(value.shape))  # not in place: that follows the layout
    x, t = torch.randn(4, steps.CHANNELS, 8, 8), torch.tensor([1, 10, 100, 1000])
    with torch.no_grad():
        return trainer.model(x, t, torch.zeros(4, dtype=torch.int64))


def test_changes_of_the_layout_alone_compute_the_same():
    same = output("Adam not fused")
    for name in ("channels last", "normalise, scale and shift in one pass"):
        torch.testing.assert_close(output(name), same, rtol=1e-3, atol=1e-4)
    for name in ("convolve, then enlarge", "transposed convolution"):
        assert (output(name) - same).abs().max() > 0.1 * same.abs().max()


def test_a_transposed_convolution_is_an_enlargement_with_four_filters():
    """Where all four of its weights are equal, it gives what the 1x1 convolution gives before it is enlarged."""
    grow = Grow(2, 3, 3, padding=1)
    with torch.no_grad():
        grow.weight.copy_(grow.weight[:, :, :1, :1].expand_as(grow.weight))

    class Holder:
        model = torch.nn.Sequential(grow)

    x = torch.randn(1, 2, 4, 4)
    small = torch.nn.functional.conv2d(x, grow.weight[:, :, :1, :1], grow.bias)
    steps.transposed(Holder)
    torch.testing.assert_close(grow(x), torch.nn.functional.interpolate(small, scale_factor=2.0))


def test_the_command_measures_keeps_and_prints(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: steps -->\n<!-- end of table -->\n")
    arguments = ["--out", str(tmp_path / "out"), "--edge", "8", "--pairs", "2", "--only", "width 40", "no attention"]
    arguments += ["--precisions", "float32", "--page", str(page)]
    assert steps.main(arguments) == 0
    file = tmp_path / "out" / "results.json"
    first = json.loads(file.read_text())
    assert [*first["measured"]] == ["width 40/float32", "no attention/float32"]
    assert (
        first["measured"]["width 40/float32"]["parameters"][1] > first["measured"]["width 40/float32"]["parameters"][0]
    )
    assert "| width 40 " in page.read_text() and "times as fast in float32" in capsys.readouterr().out
    assert steps.main(arguments) == 0 and json.loads(file.read_text()) == first


def test_how_many_times_as_fast_comes_with_its_interval():
    mean, half = steps.faster({"seconds": [2.0, 2.0, 4.0], "seconds_changed": [1.0, 2.0, 2.0]})
    assert mean == pytest.approx(5 / 3) and half == pytest.approx(
        4.302653 * (1 / 3)
    )  # t of 2 degrees, error of (2, 1, 2)


def test_what_cannot_be_measured_is_refused(capsys):
    assert steps.main(["--only", "magic"]) == 2
    assert "only must name some of: channels last" in capsys.readouterr().err
    assert steps.main(["--pairs", "1"]) == 2
