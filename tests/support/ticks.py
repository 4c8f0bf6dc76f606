"""A recorder for tests."""


class Ticks:
    """Keeps what happened, tick by tick."""

    def __init__(self):
        self.ticks = []

    def tick(self, tick):
        self.ticks.append(tick)

    def end_day(self, day):
        pass
