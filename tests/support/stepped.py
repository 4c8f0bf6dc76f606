"""A station in whole seconds that looks at everything every second: slow, and plain enough to be checked by eye."""

from math import inf, nan

import numpy as np


class Stepped:
    """A twin of one station in whole seconds: looks at everything every second."""

    def __init__(self, arrived, service, s):
        n = len(arrived)
        self.s, self.service = s, service
        self.came, self.began, self.left = (np.full(n, nan) for _ in range(3))
        self.fallback = np.zeros(n, bool)
        self.area = self.busy = self.batches = 0
        self.waiting = [[] for _ in range(s.hosts)]
        self.serving = [[] for _ in range(s.hosts)]  # [requests, seconds left]
        self.stranded = []
        self.turn = list(range(s.hosts))
        comes = [i for i in range(n) if s.needed is None or s.needed[i]]
        t = 0
        while np.isnan(self.left[comes]).any() or any(self.serving):
            self.step(t, [i for i in comes if arrived[i] == t])
            t += 1

    def here(self, i):
        return not np.isnan(self.came[i]) and np.isnan(self.left[i])

    def down(self, host, t):
        return next((o for o in self.s.outages if o.host == host and o.start_s <= t < o.start_s + o.length_s), None)

    def send(self, i, t):
        up = [h for h in range(self.s.hosts) if not self.down(h, t)]
        as_drawn = self.s.host is not None and not (self.down(self.s.host[i], t) and self.down(self.s.host[i], t).lossy)
        if as_drawn:
            up = [self.s.host[i]]
        if up:
            held = [self.waiting[h] + [i for batch, _ in self.serving[h] for i in batch] for h in range(self.s.hosts)]
            best = min(up, key=lambda h: (sum(self.here(i) for i in held[h]), self.turn.index(h)))
            if not as_drawn:  # equals take turns
                self.turn = [h for h in self.turn if h != best] + [best]
            self.waiting[best].append(i)
        else:
            self.stranded.append(i)

    def step(self, t, arriving):
        for batches in self.serving:
            for batch in [b for b in batches if b[1] == 0]:
                batches.remove(batch)
                for i in batch[0]:
                    if self.here(i):
                        self.left[i] = t
        if any(o.start_s + o.length_s == t for o in self.s.outages):
            stranded, self.stranded = self.stranded, []
            for i in stranded:
                self.send(i, t)
        for h in range(self.s.hosts):
            if any(o == (h, t, o.length_s, True) for o in self.s.outages):
                lost = [i for batch, _ in self.serving[h] for i in batch] + self.waiting[h]
                self.serving[h], self.waiting[h] = [], []
                for i in filter(self.here, lost):
                    self.began[i] = nan
                    self.send(i, t)
        for i in range(len(self.came)):
            if self.here(i) and self.came[i] + self.s.timeout_s == t:
                self.left[i], self.fallback[i] = t, True
        for i in arriving:
            self.came[i] = t
            self.send(i, t)
        for h in range(self.s.hosts):
            self.waiting[h] = [i for i in self.waiting[h] if self.here(i)]
            self.stranded = [i for i in self.stranded if self.here(i)]
            while not self.down(h, t) and self.waiting[h] and len(self.serving[h]) < (self.s.workers or inf):
                batch, self.waiting[h] = self.waiting[h][: self.s.batch], self.waiting[h][self.s.batch :]
                self.began[batch] = t
                self.serving[h].append([batch, max(self.service[i] for i in batch) * self.s.slow[h]])
                self.batches += 1
            if not self.down(h, t):
                for batch in self.serving[h]:
                    batch[1] -= 1
                    self.busy += 1
        self.area += sum(self.here(i) for i in range(len(self.came)))
