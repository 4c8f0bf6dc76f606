"""A pause of one second in a hundred: what users wait, and what a client that waits for its answers reads.

1,000 requests per second come to one worker that takes 0.1 ms each, and every 100 s it stands still for 1 s. Users do not stop
coming then. Beside it, three stages one after the other and side by side: percentiles of whole requests are not sums.
"""

import numpy as np

from marketplace.queueing import Outage, Station, run_stations
from synth.draws import Cause, uniform

N, RATE = 300_000, 1_000.0


def main() -> None:
    arrived = (np.arange(N) + 0.5) / RATE
    pauses = [Outage(host=0, start_s=100.0 * k + 50, length_s=1.0, lossy=False) for k in range(3)]
    flow = run_stations(arrived, [Station(name="worker", service_s=lambda jobs: 1e-4, outages=pauses)])
    took = 1e3 * (flow.left_s - flow.arrived_s)
    print("a pause of 1 s every 100 s, ms   p50      p99    p99.9")
    print(row("users, who come anyway", took))
    print(row("a client that waits its turn", waiting_client()))

    means = (1.0, 2.0, 3.0)
    times = [-m * np.log(uniform(1, Cause.STAGE_TIME, np.arange(N), stage)) for stage, m in enumerate(means)]
    print("\nthree exponential stages, ms     p50      p99    p99.9")
    print(row("one after the other", sum(times)))
    print(row("side by side", np.max(times, axis=0)))
    print(f"{'sum of the stages own p99':29s}{'':8s}{sum(np.quantile(t, 0.99) for t in times):9.2f}")


def waiting_client() -> np.ndarray:
    """Sends a request when the last is answered and 1 ms has passed: a pause holds up one of them, and nobody else."""
    took = np.full(N, 0.1)
    took[50_000::100_000] += 1_000.0
    return took


def row(name: str, ms: np.ndarray) -> str:
    p50, p99, p999 = np.quantile(ms, [0.5, 0.99, 0.999])
    return f"{name:29s}{p50:8.2f} {p99:8.2f} {p999:8.2f}"


if __name__ == "__main__":
    main()
