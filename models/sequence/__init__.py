"""Encoders of a user's lists of events, and losses that learn from the lists alone."""
