"""Hypothesis draws the same examples in every run; `HYPOTHESIS_PROFILE=explore pytest` looks for new ones."""

import multiprocessing
import os
import shutil
import types
from dataclasses import replace

import mpmath
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]  # for the tests of the checker
collect_ignore = ["site"]  # which needs a browser, and the site

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "repeatable", max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW
)
settings.register_profile("explore", max_examples=2000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure(config):
    """With xdist, a worker that has nothing left takes tests from the other, so that both end together."""
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "worksteal"


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small gain nothing from more, and tests that run beside each other lose much."""
    from tinyddpm.train import machine  # here, since some files of tests do without torch

    with machine.one_thread():
        yield


@pytest.fixture
def fifty_digits():
    """For what mpmath computes."""
    with mpmath.workdps(50):
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Three short runs: twice the same, and once with another seed. Tests that write into one take a copy."""
    import torch

    from tinyddpm.runs import loop, run
    from tinyddpm.train import machine

    from .runs import TINY

    out, before = tmp_path_factory.mktemp("runs"), torch.get_rng_state()
    with machine.one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "STEPS", 2)
        reports = [loop.fit(replace(TINY, out=out / "1"))]
        patch.setattr(loop.plots, "loss", lambda log: b"")  # one figure of this kind is enough
        reports += [loop.fit(replace(TINY, out=out / str(number), seed=number - 2)) for number in (2, 3)]
    assert torch.equal(torch.get_rng_state(), before)  # what is seeded and drawn globally is put back
    return out, reports


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of one of them."""
    return shutil.copytree(trained[0] / "1", tmp_path / "run")


@pytest.fixture
def quick_pictures(monkeypatch):
    """Runs whose samples come in two steps and whose figures are empty files: both take longer than to train."""
    from tinyddpm.runs import judge, loop, run

    monkeypatch.setattr(run, "STEPS", 2)
    monkeypatch.setattr(loop, "plots", types.SimpleNamespace(loss=lambda log: b"", grid=lambda samples: b""))
    monkeypatch.setattr(judge, "plots", types.SimpleNamespace(bound=lambda terms: b""))


@pytest.fixture(scope="session")
def forked():
    """Processes that begin with PyTorch imported: a new one would take seconds for that. scikit-learn is not there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.runs", "torch._dynamo"])
    return context


@pytest.fixture
def quick_judge(tmp_path_factory, monkeypatch):
    """A judge that learns for a moment, once for all tests of these data, and is kept where nobody else looks."""
    from tinyddpm.runs import judge

    monkeypatch.setattr(judge, "STEPS", 12)
    monkeypatch.setattr(judge, "BATCH", 64)
    monkeypatch.setattr(judge, "PICTURES", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "quick_judge"))


@pytest.fixture
def new_judge(quick_judge, tmp_path, monkeypatch):
    """One that nobody has trained yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
