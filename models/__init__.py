"""Predictors of clicks and conversions; they train on any log in the documented schema and know nothing of its origin."""
