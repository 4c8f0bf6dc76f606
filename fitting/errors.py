"""What fitting refuses."""


class Unfit(ValueError):
    """A log, a column or a setting that nothing can be fitted to; the message is one line."""
