"""Cost: what hosts and trainings come to, in dollars."""

from marketplace.servers import HostConfig

HOURS_PER_YEAR = 8760


def workers_of(host: HostConfig, device: str) -> int:
    """How many models run on a host beside one another: one per core, or one per GPU; 0 where it has no such device."""
    return host.gpus if device == "cuda" else host.cores


def cheapest(hosts: dict[str, HostConfig], device: str) -> str | None:
    """The host whose workers cost the least, the first of equals; None where none has the device."""
    price = {
        name: host.usd_per_hour / workers_of(host, device) for name, host in hosts.items() if workers_of(host, device)
    }
    return min(price, key=lambda name: price[name]) if price else None


def usd_per_year(hosts: int, host: HostConfig) -> float:
    """Of so many hosts, all the year."""
    return hosts * host.usd_per_hour * HOURS_PER_YEAR


def training_usd(seconds: float, workers: int, host: HostConfig, device: str) -> float:
    """Of a training that kept so many workers of a host busy."""
    return seconds / 3600 * workers * host.usd_per_hour / workers_of(host, device)
