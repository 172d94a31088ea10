"""Hypothesis draws the same examples in every run; `HYPOTHESIS_PROFILE=explore pytest` looks for new ones."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]  # for the tests of the checker

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("explore", max_examples=2000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
