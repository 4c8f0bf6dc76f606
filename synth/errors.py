"""What the world refuses."""


class Impossible(ValueError):
    """No world has what is asked for."""
