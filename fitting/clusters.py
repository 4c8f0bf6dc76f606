"""Totals by key, and by cluster and key: what errors of ratios need where rows of one user go together.

Totals are of all rows. Totals by cluster are of at most so many clusters, drawn by a hash of the id: they serve for
standard errors alone, which are scaled up to all clusters.
"""

from typing import NamedTuple

import numpy as np

from fitting.checks import HOUR_MS
from fitting.quadrature import FloatArray
from fitting.source import Log, reading

MOST_CLUSTERS = 200_000
_MOST_CELLS = 4_000_000


class Totals(NamedTuple):
    """Sums over K keys."""

    rows: FloatArray  # (K,)
    value: FloatArray  # (K,)
    cluster_rows: FloatArray  # (m, K) of the m clusters that were drawn
    cluster_value: FloatArray  # (m, K)
    clusters: int  # all of them

    @property
    def freedom(self) -> float:
        """Clusters of equal size that would tell as much, less one."""
        size = self.cluster_rows.sum(axis=1)
        return float(size.sum() ** 2 / (size**2).sum() * self.clusters / len(size) - 1)

    def error(self, influence: FloatArray) -> FloatArray:
        """Standard errors (q,) of q estimates, from what each drawn cluster adds to their errors, (m, q).

        That of a ratio a / b is (a_c - ratio b_c) / b. Clusters are independent draws: the sandwich with the correction
        m / (m - 1).
        """
        m = len(influence)
        return np.sqrt(np.square(influence).sum(axis=0) * self.clusters / max(m - 1, 1))


def cluster_of(log: Log) -> tuple[str, str]:
    """SQL of the cluster that a row of impressions belongs to, and its name: user, else session, request or hour."""
    for name, called in (("user", "users"), ("session", "sessions"), ("request", "requests")):
        if log.has(name):
            return f'"{name}"', called
    return f"time_ms // {HOUR_MS}", "hours"


def totals(log: Log, source: str, cluster: str, key: str, n_keys: int, *, rows: str = "1", value: str = "0") -> Totals:
    """Sums of SQL expressions over a source by key, 0 to n_keys - 1.

    Args:
        log: Opened.
        source: What SQL reads, a view or a query in brackets.
        cluster: SQL of the cluster.
        key: SQL of the key.
        n_keys: K.
        rows: SQL of what a row counts for.
        value: SQL of its value.
    """
    with reading("impressions"):
        all_rows, all_value = np.zeros(n_keys), np.zeros(n_keys)
        for at, n, v in log.con.execute(
            f"SELECT {key} AS k, sum({rows}), sum({value}) FROM {source} GROUP BY k"
        ).fetchall():
            all_rows[at], all_value[at] = n, v
        (clusters,) = log.con.execute(f"SELECT approx_count_distinct({cluster}) FROM {source}").fetchall()[0]
        most = min(MOST_CLUSTERS, _MOST_CELLS // n_keys)
        keep = -(-clusters // most)
        if keep == 1:
            (clusters,) = log.con.execute(f"SELECT count(DISTINCT {cluster}) FROM {source}").fetchall()[0]
        drawn = "true" if keep == 1 else f"hash({cluster}) % {keep} = 0"
        cells = log.con.execute(
            f"WITH t AS (SELECT hash({cluster}) AS c, {key} AS k, sum({rows}) AS n, sum({value}) AS v FROM {source} "
            f"WHERE {drawn} GROUP BY ALL) SELECT dense_rank() OVER (ORDER BY c) - 1 AS c, k, n::DOUBLE AS n, v::DOUBLE "
            "AS v FROM t"
        ).fetchnumpy()
    m = int(cells["c"].max()) + 1 if len(cells["c"]) else 0
    by_rows, by_value = np.zeros((m, n_keys)), np.zeros((m, n_keys))
    by_rows[cells["c"], cells["k"]], by_value[cells["c"], cells["k"]] = cells["n"], cells["v"]
    return Totals(all_rows, all_value, by_rows, by_value, int(clusters))
