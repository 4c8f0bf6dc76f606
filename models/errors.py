"""What models refuse."""


class Unusable(ValueError):
    """A log, a setting or a saved model that cannot be worked with; the message is one line."""
