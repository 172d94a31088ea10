"""What a training step costs: the changes do what they say, and the command measures and keeps them."""

import json
from pathlib import Path

import pytest
import torch

from tinyddpm.experiments import steps

DOCS = Path(__file__).parent.parent / "docs"


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
    for name in ("convolve, then enlarge", "enlarge, then convolve"):
        assert (output(name) - same).abs().max() > 0.1 * same.abs().max()


def test_the_order_of_enlarging_and_convolving_matters_only_beside_edges():
    """With weights in the middle of the 3x3 alone there is nothing to reach over, and the two orders agree."""
    outputs = []
    for change in (steps.small_first, steps.large_first):
        trainer = steps.trainer_of("float32", 8, {}, change)
        (grow,) = trainer.model.grow
        conv = next(layer for layer in grow if isinstance(layer, torch.nn.Conv2d))
        torch.manual_seed(0)
        with torch.no_grad():
            conv.weight.copy_(
                torch.randn_like(conv.weight) * torch.tensor([0, 1, 0])[:, None] * torch.tensor([0, 1, 0])
            )
            outputs.append(grow(torch.randn(1, conv.in_channels, 4, 4)) - conv.bias[:, None, None])
    assert outputs[0].shape == (1, 32, 8, 8)
    torch.testing.assert_close(outputs[0], outputs[1])


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
    assert steps.main([*arguments, "--pairs", "3"]) == 2 and json.loads(file.read_text()) == first
    assert f"pairs must stay 2, got 3, as in the results in {str(tmp_path / 'out')!r}" in capsys.readouterr().err


def test_how_many_times_as_fast_comes_with_its_interval():
    mean, half = steps.faster({"seconds": [2.0, 2.0, 4.0], "seconds_changed": [1.0, 2.0, 2.0]})
    assert mean == pytest.approx(5 / 3) and half == pytest.approx(
        4.302653 * (1 / 3)
    )  # t of 2 degrees, error of (2, 1, 2)


def test_what_cannot_be_measured_is_refused(capsys):
    assert steps.main(["--only", "magic"]) == 2
    assert "only must name some of: channels last" in capsys.readouterr().err
    assert steps.main(["--pairs", "1"]) == 2


@pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")
def test_the_page_says_what_was_measured():
    """What is faster, what is slower, and how the time grows with the width."""
    results, page = steps.load(DOCS / "assets" / "steps"), (DOCS / "experiments.md").read_text("utf-8")
    ratio = {key: steps.faster(figures) for key, figures in results["measured"].items()}
    assert ratio["normalise, scale and shift in one pass/float32"][0] < 1 < ratio["compiled/bfloat16"][0]
    for key in ("normalise, scale and shift in one pass/bfloat16", "compiled/bfloat16"):
        mean, half = ratio[key]
        assert mean - half > 1
    for kind in ("float32", "bfloat16"):
        for name, faster in {"skip connections added": True, "enlarge, then convolve": False}.items():
            mean, half = ratio[f"{name}/{kind}"]
            assert (mean - half > 1) if faster else (mean + half < 1)
    for width in (40, 48):
        mean = f"{ratio[f'width {width}/float32'][0]:.2f}"
        assert f"$1/{mean} = {1 / float(mean):.2f}$" in page
