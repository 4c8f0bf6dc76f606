"""Hypothesis: the same examples every time by default, new and many more under HYPOTHESIS_PROFILE=deep."""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("deep", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
