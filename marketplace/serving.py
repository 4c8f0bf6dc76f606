"""Serving: every arm priced as if it served the whole platform: hosts for a p99 target at the peak, latency, dollars."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from marketplace.capacity import Curve, Demand, Latency, Ranker, arrivals, curve, rows_of, serve, smallest_fleet
from marketplace.cost import HOURS_PER_YEAR, cheapest, training_usd, usd_per_year, workers_of
from marketplace.curves import stages_of
from marketplace.errors import Refused
from marketplace.scenario import FIRST_RANKER, Scenario
from marketplace.servers import HostConfig, TopologyName
from synth.types import HOUR_MS

SERVING = "serving.json"
_OTHER: dict[TopologyName, TopologyName] = {"sequential": "parallel", "parallel": "sequential"}
_PREDICTED = {"sequential": "predicted_after_bids", "parallel": "predicted"}  # of a load
_LONG = 10  # times the target that a sample lasts at least, or queues would not have grown to what they come to
Row = dict[str, Any]


class Traffic(NamedTuple):
    """Of the market."""

    peak_per_s: float  # requests, in the busiest hour
    mean_per_s: float
    conversions: float  # attributed ones, per request


class Trained(NamedTuple):
    """What training took on this machine."""

    seconds: Mapping[str, float]  # by model
    threads: int


class _Hired(NamedTuple):
    """A stage of ranking and what it runs on."""

    model: str
    device: str
    curve: Curve
    host: str
    of: HostConfig

    @property
    def workers(self) -> int:
        return workers_of(self.of, self.device)


def traffic_of(simulation: Path) -> Traffic:
    """Requests and conversions of a simulation.

    Raises:
        Refused: If its log is missing or damaged.
    """
    log = simulation / "log"
    try:
        with duckdb.connect() as db:
            hours = db.execute(
                "SELECT time_ms // ?, count(*) FROM read_parquet(?) GROUP BY ALL",
                [HOUR_MS, str(log / "requests/*.parquet")],
            ).fetchall()
            ((conversions,),) = db.execute(
                "SELECT count(*) FROM read_parquet(?) WHERE attributed", [str(log / "conversions/*.parquet")]
            ).fetchall()
    except duckdb.Error as error:
        raise Refused(f"{simulation} is damaged: {str(error).splitlines()[0]}") from error
    by_hour = dict(hours)
    requests, days = sum(by_hour.values()), {hour // 24 for hour in by_hour}
    span = max(days) - min(days) + 1 if days else 1
    peak = max(by_hour.values(), default=0)
    return Traffic(peak / 3600, requests / (span * 86_400), conversions / max(requests, 1))


def price(
    scenario: Scenario, simulations: Mapping[str, Any], curves: Sequence[Row], traffic: Traffic, trained: Trained,
    progress: Callable[[float], None] = lambda share: None,
) -> Row:  # fmt: skip
    """Size and price the platform for every arm whose load is known, as if the arm served all requests.

    Args:
        scenario: Of the run.
        simulations: What they came to, by name: an arm's load is that of the test, or else of its own world; the other way
            round where advertisers are split.
        curves: Of `measure_curves`.
        traffic: Of the market.
        trained: The arms' models.
        progress: Called with the share of the arms that are done.

    Returns:
        The platform's traffic, and a row for each arm: what its requests ask for, its fleet under its own topology, how the
        same hosts would do under the other one, and dollars.
    """
    own = scenario.serving
    yearly = traffic.mean_per_s * own.scale * 3600 * HOURS_PER_YEAR
    rows: list[Row] = []
    for done, name in enumerate(scenario.arms, start=1):
        load = _load_of(name, simulations, apart=scenario.experiment.design == "advertisers")
        if load is not None:
            rows.append(_priced(name, load, scenario, curves, traffic, trained) | {"arm": name})
            usd = rows[-1]["usd_per_year"]
            rows[-1]["usd_per_million"] = usd / yearly * 1e6 if usd is not None and yearly else None
        progress(done / len(scenario.arms))
    return {
        "scale": own.scale, "peak_requests_per_s": traffic.peak_per_s * own.scale, "requests_per_year": yearly,
        "conversions_per_year": traffic.conversions * yearly, "target_p99_ms": own.target_p99_ms, "arms": rows,
    }  # fmt: skip


def _load_of(arm: str, simulations: Mapping[str, Any], *, apart: bool) -> Row | None:
    """Of its own world first, if `apart`: where arms meet in one auction, each predicts for its own campaigns alone."""
    for simulation in (arm, "ab") if apart else ("ab", arm):
        for result in simulations[simulation]["arms"] if simulation in simulations else ():
            if result["name"] == arm:
                return dict(result)
    return None


def _priced(
    name: str, result: Row, scenario: Scenario, curves: Sequence[Row], traffic: Traffic, trained: Trained
) -> Row:  # fmt: skip
    arm, load, own = scenario.arms[name], result["load"], scenario.serving
    topology = arm.topology or own.topology
    requests, predictions = max(load["requests"], 1), np.arange(len(load["predicted"])) @ load["predicted"]
    asked = {
        "model": str(arm.model), "topology": topology, "retrieved": load["retrieved"] / requests,
        "reused": load["reused"] / max(load["reused"] + int(predictions), 1), "late_share": load["late"] / requests,
        "recall": result["recall"],
    }  # fmt: skip
    none: Row = {"fleets": [], "training_usd_per_year": None, "usd_per_year": None}
    stages: dict[str, _Hired] = {}
    for stage, which in stages_of(arm, scenario).items():
        timed = next(c for c in curves if (c["model"], c["candidates"]) == which)
        host = cheapest(scenario.cost.hosts, timed["device"])
        if host is None:
            return asked | none | {"why": f"cost.hosts has no host with a GPU, which {which[0]} runs on"}
        given = own.curve
        rows, ms = (timed["rows"], timed["ms"]) if given is None else (given.rows, given.ms)
        points = curve(rows, [x / 1e3 for x in ms])
        stages[stage] = _Hired(which[0], timed["device"], points, host, scenario.cost.hosts[host])
    demand = _demand(topology, load, stages, traffic.peak_per_s * own.scale, scenario)
    fleet = smallest_fleet(demand, own)
    fleets = [_fleet(demand, fleet.hosts, fleet.latency, stages, scenario)]
    if not fleet.hosts:
        return asked | none | {"fleets": fleets, "why": fleet.why}
    other = _demand(_OTHER[topology], load, stages, demand.rate, scenario)
    fleets.append(_fleet(other, fleet.hosts, serve(other, fleet.hosts, own), stages, scenario))
    training = own.scale * scenario.cost.trained_share * scenario.cost.trainings_per_year * sum(
        training_usd(trained.seconds[at.model], trained.threads if at.device == "cpu" else 1, at.of, at.device)
        for at in {at.model: at for at in stages.values()}.values() if at.model != FIRST_RANKER
    )  # fmt: skip
    serving = sum(host["usd_per_year"] for host in fleets[0]["hosts"])
    return asked | {"fleets": fleets, "training_usd_per_year": training, "usd_per_year": serving + training, "why": ""}


def _demand(topology: TopologyName, load: Row, stages: Mapping[str, _Hired], rate: float, scenario: Scenario) -> Demand:
    own, seed = scenario.serving, scenario.seed
    n = max(own.sample_requests, ceil(_LONG * own.target_p99_ms / 1e3 * rate))
    light = None
    if "light" in stages:
        rows = np.full(n, round(load["retrieved"] / max(load["requests"], 1)))
        light = Ranker(name="light", curve=stages["light"].curve, rows=rows, workers=stages["light"].workers)
    at = stages["model"]
    model = Ranker(name="model", curve=at.curve, rows=rows_of(load[_PREDICTED[topology]], n, seed), workers=at.workers)
    return Demand(arrived_s=arrivals(n, rate, seed), rate=rate, light=light, model=model, topology=topology, seed=seed)


def _fleet(
    demand: Demand, hosts: Sequence[int], latency: Latency, stages: Mapping[str, _Hired], scenario: Scenario
) -> Row:  # fmt: skip
    """A topology on its hosts, those to spare among what is paid."""
    spare = scenario.serving.spare_hosts
    return {
        "topology": demand.topology, "predictions": float(demand.model.rows.mean()), "late": latency.late,
        **{f"{name}_ms": ms for name, ms in latency.ms.items()},
        "hosts": [
            {
                "stage": ranker.name, "host": stages[ranker.name].host, "needed": needed, "spare": spare,
                "utilisation": latency.utilisation[ranker.name],
                "usd_per_year": usd_per_year(needed + spare, stages[ranker.name].of),
            }
            for ranker, needed in zip(demand.rankers, hosts, strict=False)
        ],
    }  # fmt: skip
