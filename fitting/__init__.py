"""Fitting: what a log says of the market that it comes from, each figure with its interval."""
