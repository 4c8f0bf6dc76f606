"""Cost: what it takes to predict for a million requests, in dollars."""

from marketplace.scenario import CostConfig


def usd_per_million(seconds: float, n_requests: int, device: str, config: CostConfig) -> float:
    """Price of the measured scoring time of `n_requests` requests, for a million of them.

    A second of one CPU core costs its share of the CPU host; on a GPU, a second costs the share of one GPU.
    """
    if device == "cpu":
        per_hour = config.cpu_host_usd_per_hour / config.cpu_host_cores
    else:
        per_hour = config.gpu_host_usd_per_hour / config.gpu_host_gpus
    return 1e6 * seconds / n_requests * per_hour / 3600
