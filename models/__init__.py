"""Predictors of clicks and conversions; they train on any log in the documented schema and know nothing of its origin."""

import os

# OpenMP's threads spin while they wait; beside another busy process that made training up to 100 times slower. The variable is
# read when torch, LightGBM or scikit-learn load their runtime, so it is set before any module of this room is.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
