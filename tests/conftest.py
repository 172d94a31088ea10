"""Hypothesis draws the same examples in every run; `HYPOTHESIS_PROFILE=explore pytest` looks for new ones."""

import os

import mpmath
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]  # for the tests of the checker

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("explore", max_examples=2000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small gain nothing from more, and tests that run beside each other lose much."""
    import torch  # here, since some files of tests do without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fifty_digits():
    """For what mpmath computes."""
    with mpmath.workdps(50):
        yield
