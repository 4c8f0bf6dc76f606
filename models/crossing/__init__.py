"""Crossing modules: each takes tokens (b, t, d) and gives tokens (b, t, d), so that any of them can stand in any layer."""
