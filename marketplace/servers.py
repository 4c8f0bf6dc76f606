"""Settings of what serves: how large the platform is, the stages of a request, hosts and their prices."""

from itertools import pairwise
from math import exp, log
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from synth.config import Count, NonNegative, Positive, Share, Strict

_Z99 = 2.3263478740408408  # of the standard normal law
TopologyName = Literal["sequential", "parallel"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class LawConfig(Strict):
    """How long a stage takes."""

    law: Literal["constant", "exponential", "lognormal"] = "lognormal"
    mean_ms: Positive
    sigma: NonNegative = Field(0.5, description="lognormal: standard deviation of the logarithm")

    @property
    def p99_ms(self) -> float:
        """What 1% of the requests take longer than."""
        factor = {
            "constant": 1.0, "exponential": log(100), "lognormal": exp(self.sigma * _Z99 - self.sigma**2 / 2)
        }  # fmt: skip
        return self.mean_ms * factor[self.law]


class CurveConfig(Strict):
    """How long a batch takes, by its candidates: flat before the first point, then linear, and on beyond the last two."""

    rows: Annotated[tuple[Count, ...], Field(min_length=2)] = Field(description="candidates of a batch, rising")
    ms: Annotated[tuple[Positive, ...], Field(min_length=2)] = Field(description="of a batch with so many, not falling")

    @model_validator(mode="after")
    def _has_no_holes(self) -> Self:
        if len(self.rows) != len(self.ms):
            raise ValueError(f"rows has {len(self.rows)} points and ms {len(self.ms)}, a curve must have no holes")
        for name, values, step in (("rows", self.rows, 1), ("ms", self.ms, 0)):
            for before, after in pairwise(values):
                if after - before < step:
                    rule = "rise" if step else "not fall"
                    raise ValueError(f"{name} goes from {before:g} to {after:g}, it must {rule}")
        return self


class ServingConfig(Strict):
    """The platform that the market stands for, and how it serves a request."""

    scale: Positive = Field(1000.0, description="how many times as many users come as in the market")
    target_p99_ms: Positive = Field(50.0, description="of a request, end to end, in the busiest hour")
    topology: TopologyName = Field(
        "sequential",
        description="bidding, then prediction of the candidates that have a bid; or both in parallel, of all",
    )
    fetch: LawConfig = Field(LawConfig(mean_ms=4.0), description="of a request's features")
    bidding: LawConfig = Field(LawConfig(mean_ms=6.0), description="pacing, throttling and automatic bids")
    curve: CurveConfig | None = Field(None, description="of every model, instead of the curves that are measured")
    batch_requests: int = Field(16, ge=1, le=4096, description="most requests that a worker scores at once")
    timeout_ms: Positive | None = Field(
        None, description="a prediction that takes longer is not waited for: the request gets a fallback score"
    )
    most_late: Share = Field(0.001, description="share of the requests that may get a fallback score")
    slow_hosts: float = Field(0.0, ge=0, lt=1, description="share of the hosts that are slow")
    slow_factor: Positive = Field(2.0, description="of their service times")
    failures_per_minute: float = Field(
        0.0, ge=0, le=600, description="of each host; what it holds begins again elsewhere"
    )
    repair_s: Positive = Field(30.0, description="mean time that a host is away after a failure")
    spare_hosts: int = Field(1, ge=0, description="hosts of each kind beyond those that the target needs")
    sample_requests: int = Field(
        20_000, ge=1000, le=100_000_000, description="that are simulated, or more, each time a number of hosts is tried"
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        for name, least in (
            ("fetch", self.fetch.p99_ms), ("bidding", self.bidding.p99_ms), ("curve", self.curve.ms[0] if self.curve else 0.0)
        ):  # fmt: skip
            if self.target_p99_ms < least:
                raise ValueError(
                    f"target_p99_ms is {self.target_p99_ms:g}, it cannot be met: p99 of {name} alone is {least:.4g} ms"
                )
        return self


class HostConfig(Strict):
    """A host that can be hired."""

    usd_per_hour: Positive
    cores: Count
    gpus: int = Field(0, ge=0)
    source: str = ""


_HOSTS: dict[str, dict[str, Any]] = {
    "t3_2xlarge": {"usd_per_hour": 0.334, "cores": 8, "source": "t3.2xlarge, 8 vCPU, 32 GiB, on demand"},
    "g4dn_12xlarge": {
        "usd_per_hour": 3.912, "cores": 48, "gpus": 4, "source": "g4dn.12xlarge, 4 T4, 48 vCPU, 192 GiB, on demand"
    },
}  # fmt: skip


class CostConfig(Strict):
    """What serving and training cost."""

    hosts: dict[Name, HostConfig] = Field(
        {name: HostConfig(**host) for name, host in _HOSTS.items()},
        description="by name; figures given for t3_2xlarge and g4dn_12xlarge replace theirs, others are added",
    )
    trainings_per_year: NonNegative = Field(365.0, description="of every model that an arm ranks with")
    trained_share: float = Field(1.0, gt=0, le=1, description="of the platform's log that a training reads")

    @field_validator("hosts", mode="before")
    @classmethod
    def _over_the_known_ones(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        known = {name: host | given[name] for name, host in _HOSTS.items() if isinstance(given.get(name), dict)}
        return _HOSTS | given | known
