"""The command line: what it prints, what it refuses, what it does not wait for."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyddpm import cli, forward, train
from tinyddpm.experiments.ways import ways
from tinyddpm.runs import judge, loop, plots, run
from tinyddpm.train.config import Config

from .runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread", "quick_pictures")


def test_a_run_is_judged_from_the_command_line(run_folder, quick_judge, monkeypatch, capsys):
    monkeypatch.setattr(judge, "plots", plots)
    assert cli.main(["judge", str(run_folder), "--n", "50", "--steps", "3", "--labels", "random"]) == 0
    said = capsys.readouterr().out
    written = json.loads((run_folder / "judge.json").read_text("utf-8"))
    assert written["drawn"] == {"seed": 0, "best": False, "sampler": "second_order", "steps": 3, "labels": "random"}
    assert "bound" in said and "50 samples" in said and "real against real" in said and "nearest neighbours" in said
    assert (run_folder / "bound.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["judge", str(run_folder / "9")]) == 2


@pytest.mark.parametrize(
    ("arguments", "judged"),
    [
        ([], True),
        (["--judge", "False"], False),
        (["--no-judge"], False),
        (["--data", "some.npz"], False),
    ],
)
def test_train_prints_where_the_samples_are_and_what_they_are_worth(
    quick_judge, tmp_path, monkeypatch, capsys, arguments, judged
):
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=np.full((9, 8, 8), 0.5), labels=np.arange(9) % 3)
    tiny = ["--steps", "1", "--width", "8", "--batch", "2", "--T", "5", "--out", "run"]
    assert cli.main(["train", *tiny, *arguments]) == 0
    said = capsys.readouterr().out
    assert os.path.join("run", "samples.png") in said
    files = {(tmp_path / "run" / name).is_file() for name in ("judge.json", "bound.png")}
    assert {judged} == {"real against real" in said, "t = 2..5" in said, *files}


def test_sample_writes_a_picture_or_numbers(trained, tmp_path, capsys):
    folder = str(trained[0] / "1")
    for file in ("grid.png", "film.gif", "numbers.npz"):
        assert cli.main(["sample", folder, "--n", "3", "--steps", "5", "--out", str(tmp_path / file)]) == 0
        assert str(tmp_path / file) in capsys.readouterr().out
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert Image.open(tmp_path / "film.gif").n_frames == 6
    assert (
        cli.main(["sample", folder, "--n", "2", "--states", "4", "--steps", "20", "--out", str(tmp_path / "way.png")])
        == 0
    )
    assert Image.open(tmp_path / "way.png").size == (4 * 50, 2 * 50)
    numbers = np.load(tmp_path / "numbers.npz")
    assert numbers["samples"].shape == (3, 1, 8, 8) and abs(numbers["samples"]).max() <= 1
    assert numbers["labels"].tolist() == run.load(folder).labels(3).tolist() == [1, 4, 8]
    file = str(tmp_path / "random.npz")
    assert cli.main(["sample", folder, "--n", "9", "--seed", "2", "--labels", "random", "--out", file]) == 0
    assert np.load(file)["labels"].tolist() == run.load(folder).labels(9, how="random", seed=2).tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "--schedule", "sine"],
            "schedule must be one of linear, scaled_linear, proportional, cosine, got 'sine'",
        ),
        (["train", "--T", "0"], "T must be a whole number of at least 1, got 0"),
        (["train", "--data", "letters"], "or a folder, got 'letters'"),
        (["sample", "RUNS/9"], "/3"),
        (["sample", "RUNS/1", "--steps", "21"], "steps must lie in 1..20, got 21"),
        (
            ["sample", "RUNS/1", "--sampler", "euler"],
            "sampler must be one of ancestral, ddim, second_order, reverse_sde, got 'euler'",
        ),
        (["sample", "RUNS/1", "--n", "0"], "n must be at least 1, got 0"),
        (["sample", "RUNS/1", "--out", "samples.jpg"], "out must end in .png, .gif or .npz, got 'samples.jpg'"),
        (["sample", "RUNS/1", "--out", "nowhere/a.png"], "out must be in a folder that exists"),
        (
            ["sample", "RUNS/1", "--states", "1"],
            "states must be at least 2, with a .png as out, got 1 and 'samples.png'",
        ),
        (["sample", "RUNS/1", "--states", "3", "--out", "a.gif"], "with a .png as out, got 3 and 'a.gif'"),
        (["sample", "RUNS/1", "--guidance", "nan"], "guidance must be a finite number, got nan"),
        (["sample", "RUNS/1", "--eta", "0.5"], "sampler must be ddim where eta is given, got 'second_order'"),
        (
            ["sample", "RUNS/1", "--sampler", "ancestral", "--variance", "learned"],
            "variance must be beta or posterior for a run that has not learned one, got 'learned'",
        ),
        (["sample", "RUNS/1", "--seed", str(2**64)], "seed must lie in [0, 2**63), got 18446744073709551616"),
        (["train", "--seed", str(2**63)], "seed must lie in [0, 2**63), got 9223372036854775808"),
        (["train", "--levels", "5"], "levels must be fewer for pictures of 8x8, which halve to whole pixels, got 5"),
        (["train", "--data", "ring", "--flip", "True"], "flip must be False or left out for points, got True"),
        (["cite", "posterior.meen"], "posterior.mean"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(trained, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main([argument.replace("RUNS", str(trained[0])) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not list(tmp_path.iterdir())


@pytest.fixture
def a_row_more(monkeypatch):
    """One row more in each table of the book."""
    toys = {
        "toy_schedule": (forward.SCHEDULES, lambda T: forward.linear(T, 1e-3, 0.5)),
        "toy_prediction": (
            forward.PREDICTIONS,
            forward.Prediction(
                lambda x_0, noise, step: -noise, lambda x, answer, step: x + step.noise_var**0.5 * answer
            ),
        ),
        "toy_sampler": (train.SAMPLERS, train.Sampler(lambda x_t, x_0, at: x_0 + at.var**0.5 * at.z, ("variance",))),
        "toy_variance": (train.VARIANCES, lambda step, v: 0 * step.beta),
    }
    for name, (table, toy) in toys.items():
        monkeypatch.setitem(table, name, toy)


def test_a_row_more_in_a_table_is_known_everywhere(a_row_more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = {
        "train": ("toy_schedule", "toy_prediction"),
        "sample": ("toy_sampler", "toy_variance"),
        "judge": ("toy_sampler",),
    }
    for command, toys in shown.items():
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        said = capsys.readouterr().out
        assert all(toy in said for toy in toys), said
    loop.fit(replace(TINY, steps=1, schedule="toy_schedule", predicts="toy_prediction", out=tmp_path / "run"))
    asked = ["sample", "run", "--n", "2", "--sampler", "toy_sampler", "--out", "a.npz"]
    assert cli.main([*asked, "--variance", "toy_variance"]) == 0
    without = np.load("a.npz")["samples"]
    assert cli.main([*asked, "--variance", "posterior"]) == 0
    assert not np.array_equal(np.load("a.npz")["samples"], without)
    for wrong, said in (
        (
            ["--sampler", "ddim", "--variance", "beta"],
            "sampler must be ancestral or toy_sampler where variance is given",
        ),
        (
            ["--sampler", "no"],
            "sampler must be one of ancestral, ddim, second_order, reverse_sde, toy_sampler, got 'no'",
        ),
        (
            ["--sampler", "ancestral", "--variance", "no"],
            "variance must be one of beta, posterior, learned, toy_variance",
        ),
        (["--sampler", "ancestral", "--variance", "learned"], "variance must be beta or posterior or toy_variance for"),
    ):
        assert cli.main(["sample", "run", *wrong]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"schedule must be one of linear, .*, toy_schedule, got 'no'"):
        Config(schedule="no").check()
    with pytest.raises(ValueError, match="predicts must be one of noise, x_0, velocity, toy_prediction, got 'no'"):
        Config(predicts="no").check()
    assert ways()["toy_sampler", "beta"] == {"sampler": "toy_sampler", "variance": "beta"}


def test_a_class_is_asked_for_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, level in (("cat", 0), ("dog", 250), ("10", 120)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("L", (8, 8), level).save(tmp_path / "pets" / name / "a.png")
    loop.fit(replace(TINY, data="pets", steps=1, out=tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["data"]["names"] == ["10", "cat", "dog"]
    for label, number in (("dog", 2), ("10", 0)):
        assert cli.main(["sample", "run", "--n", "2", "--label", label, "--out", "a.npz"]) == 0
        assert np.load("a.npz")["labels"].tolist() == [number] * 2
    capsys.readouterr()
    assert cli.main(["sample", "run", "--n", "2", "--label", "0"]) == 2
    assert "label must be one of 10, cat, dog, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "flip"),
    [
        ([], None),
        (["--flip"], True),
        (["--no-flip"], False),
        (["--flip", "None"], None),
        (["--flip=False"], False),
        (["--flip", "--no-judge"], True),
        (["--no-judge", "--flip", "True"], True),
    ],
)
def test_an_option_that_can_be_left_open_is_written_as_all_others_are(monkeypatch, arguments, flip):
    chosen = []
    monkeypatch.setattr(cli, "train", chosen.append)
    assert cli.main(["train", "--no-attention", *arguments, "--compile"]) == 0
    assert chosen == [
        Config(flip=flip, judge=False if "--no-judge" in arguments else None, compile=True, attention=False)
    ]


def test_a_judge_on_another_device(run_folder, quick_judge, capsys):
    assert cli.main(["judge", str(run_folder), "--n", "9", "--steps", "2", "--device", "cpu"]) == 0
    assert "9 samples" in capsys.readouterr().out
    assert cli.main(["judge", str(run_folder), "--device", "tpu"]) == 2
    assert "device must be one of auto, cpu, cuda, got 'tpu'" in capsys.readouterr().err


class OutOfMemoryError(RuntimeError):
    """Called as PyTorch's is."""


@pytest.mark.parametrize(
    "problem",
    [
        OutOfMemoryError("CUDA out of memory"),
        MemoryError("Unable to allocate 7.11 PiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes"),
    ],
)
def test_too_little_memory_is_named(monkeypatch, capsys, problem):
    def large(config):
        raise problem

    monkeypatch.setattr(cli, "train", large)
    assert cli.main(["train"]) == 2
    said = capsys.readouterr().err
    assert "tinyddpm: out of memory; to train, take a smaller --batch" in said and str(problem) in said
    problem.args = ("a bug",)
    if type(problem) is RuntimeError:
        with pytest.raises(RuntimeError, match="a bug"):
            cli.main(["train"])


def test_a_place_that_torchrun_cannot_have_given_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert cli.main(["train", "--steps", "1"]) == 2
    assert "WORLD_SIZE in the environment must be a whole number from 1, got 'two'" in capsys.readouterr().err


def test_letters_that_a_terminal_has_not_cost_no_result(run_folder, quick_judge, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", "strict", write_through=True))
    assert cli.main(["judge", str(run_folder), "--n", "20", "--steps", "2"]) == 0
    assert b"Fr?chet distance" in written.getvalue() and b" ? " in written.getvalue()


def test_a_result_that_nobody_reads_is_written_all_the_same(run_folder, quick_judge, monkeypatch):
    def closed(result):
        raise BrokenPipeError

        monkeypatch.setattr(cli, "_print", closed)

    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert cli.main(["judge", str(run_folder), "--n", "9", "--steps", "2"]) == 0
    assert json.loads((run_folder / "judge.json").read_text("utf-8"))["samples"] == 9


def test_check_is_deaf_to_the_project_around_it(tmp_path):
    """The package in a virtual environment inside of a project with settings, and a conftest.py, of its own."""
    home, project = Path(cli.__file__).parent, tmp_path / "project"
    library = project / ".venv" / "lib"
    shutil.copytree(home, library / "tinyddpm", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    (library / "tinyddpm" / "tests").mkdir()
    for name in ("__init__.py", "conftest.py", "test_files.py"):
        shutil.copy(Path(__file__).parent / name, library / "tinyddpm" / "tests" / name)
    (project / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "--no-such-option"\npython_files = "nothing_*.py"\n'
    )
    (project / "conftest.py").write_text("raise RuntimeError('of another project')\n")
    done = subprocess.run(
        [sys.executable, "-m", "tinyddpm", "check", "-q", "-k", "whole_or_not"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_an_unknown_option_exits_with_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["train", "--stps", "3"])
    assert exit_.value.code == 2 and "--steps" in capsys.readouterr().err


def test_equations_fit_the_screen(capsys):
    assert cli.main(["equations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    (row,) = (line for line in lines if "posterior.mean(" in line)
    assert row.split()[1:5] == ["posterior.mean(x_t,", "x_0,", "step)", "Ho"] and row.endswith("Ho et al. 2020, Eq. 7")


def test_cite_prints_reference_and_bibtex(capsys):
    assert cli.main(["cite", "train.guided_noise"]) == 0
    printed = capsys.readouterr().out
    assert "Classifier-Free Diffusion Guidance" in printed and "@misc{" in printed and "Eq. 6" in printed


def test_check_passes_its_arguments_to_pytest(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(pytest, "main", lambda arguments, plugins: asked.append(arguments) or 1)
    assert cli.main(["check", "-k", "mean", "--equation", "posterior.mean"]) == 1
    assert asked[0][-4:] == ["-k", "mean", "--equation", "posterior.mean"] and "tinyddpm.checker" in asked[0]
    assert not any("ignore" in argument for argument in asked[0])  # or the run would be partial, and could miss checks
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(["check"]) == 2
    assert 'pip install "tinyddpm[test]"' in capsys.readouterr().err


def test_commands_do_not_wait_for_what_they_do_not_need(trained, tmp_path):
    """Help does without torch, and numbers without what draws or compiles."""
    arguments = ["sample", str(trained[0] / "1"), "--n", "3", "--steps", "5", "--out", str(tmp_path / "numbers.npz")]
    script = (
        "import sys\nfrom tinyddpm import cli\n"
        "for arguments in (['--help'], ['train', '--help'], ['check', '--help']):\n"
        "    try: cli.main(arguments)\n    except SystemExit: pass\n"
        "assert not {'torch', 'sklearn', 'pytest'} & set(sys.modules)\n"
        f"assert cli.main({arguments}) == 0\n"
        "assert not {'matplotlib', 'sklearn', 'torch._dynamo'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.count("usage: tinyddpm") == 3, done.stderr
    assert (tmp_path / "numbers.npz").is_file()
