"""The page on other libraries, where they are installed (`pip install -e ".[peers]"`)."""

import shutil

import numpy as np
import pytest

from tinyddpm import forward

from .test_book import DOCS, NEEDS, run, snippets

PAGE = DOCS / "libraries.md"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the pages do not travel with the package")


def test_only_the_pages_on_libraries_need_one():
    """The other one is run by `test_conformance.py`."""
    needy = [page.name for page in sorted(DOCS.glob("*.md")) if NEEDS in page.read_text("utf-8")]
    assert needy == ["conformance.md", PAGE.name]


def test_the_page_runs_with_diffusers(trained, tmp_path, monkeypatch):
    """Both roads, ours and theirs, on a run in the place of the reader's; and what its table of names says."""
    library = pytest.importorskip("diffusers")
    shutil.copytree(trained[0] / "1", tmp_path / "runs" / "digits-1")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, expected in snippets(PAGE, end="<!-- end -->"):
        assert run(code, PAGE, names) == expected, code
    for steps in (2, 7, 30, 1000):
        for rule in ("leading", "trailing", "linspace"):
            theirs = library.DDIMScheduler(timestep_spacing=rule)
            theirs.set_timesteps(steps)
            assert names["spacing"](rule, 1000, steps) == (theirs.timesteps.flip(0) + 1).tolist()
    for name, schedule in {
        "linear": forward.linear(beta_1=1e-4, beta_T=0.02),
        "scaled_linear": forward.scaled_linear(beta_1=1e-4, beta_T=0.02),
        "squaredcos_cap_v2": forward.cosine(),
    }.items():
        theirs = library.DDIMScheduler(beta_schedule=name).alphas_cumprod.double().numpy()
        np.testing.assert_allclose(theirs, schedule.steps.alpha_bar, rtol=1e-4, atol=1e-8)
