"""Predictors of clicks and conversions; they train on any log in the documented schema and know nothing of its origin."""

import os

# OpenMP's threads spin while they wait; beside another busy process that made training up to 100 times slower. The variable is
# read when torch, LightGBM or scikit-learn load their runtime, so it is set before any module of this room is.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# GNU's runtime may wait some ten microseconds before a thread sleeps: waking it for every operator took a fifth of the speed
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
