"""The winner's curse of a simulation: what its auctions' candidates and winners were predicted, beside the truth."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from marketplace.chances import attention_of, conversion_chance
from marketplace.errors import Refused
from marketplace.scenario import Scenario
from models.errors import Unusable
from models.winners import curse_intervals
from synth.types import BoolArray, FloatArray
from synth.world import World


def winners_curse_of(simulation: Path, arms: list[str], scenario: Scenario, world: World) -> list[dict[str, Any]]:
    """Predicted over true clicks and conversions, among all that competed in the auctions logged whole, and among winners.

    A click is one in the top slot, which is what an auction bids on: its truth is the probability of a click given examination
    times that the top slot of the surface is looked at. A conversion is one that is attributed in the end.

    Args:
        simulation: Folder with the log and the truth.
        arms: Names of its arms, by position.
        scenario: Of the run.
        world: Of the run.

    Returns:
        A row per arm and task: how many auctions and candidates there are, and `candidates`, `winners` and `curse`, the winners'
        over the candidates', each with the ends of its 95% interval by users; None where there are too few for one.

    Raises:
        Refused: If a file is missing or damaged.
    """
    found = _competed(simulation)
    campaign = world.population.ads.campaign[found["ad"]]
    clicks = attention_of(scenario)[found["surface"]] * found["click"]
    conversions = conversion_chance(
        scenario, world, campaign, found["cart"], found["checkout"], found["sign_up"]
    )  # fmt: skip
    pctr = found["pctr"].astype(np.float64)
    tasks = {"click": (pctr, clicks), "conversion": (pctr * found["pcvr"], clicks * conversions)}
    won = found["slot"] >= 0
    rows = []
    for position, arm in enumerate(arms):
        own = found["arm"] == position
        sizes = {
            "auctions": len(np.unique(found["request"][own])), "competed": int(own.sum()), "won": int(won[own].sum())
        }  # fmt: skip
        for task, (predicted, true) in tasks.items():
            figures = _figures(predicted[own], true[own], won[own], found["user"][own])
            rows.append({"arm": arm, "task": task} | sizes | figures)
    return rows


def _competed(simulation: Path) -> dict[str, np.ndarray]:
    """Candidates with a bid, of the requests whose whole auction was logged, by request and rank."""
    log, truth = simulation / "log", simulation / "truth"
    parts = log / "candidates", truth / "candidates", log / "requests"
    try:
        with duckdb.connect() as db:
            return db.execute(
                """SELECT request, c.ad, c.pctr, c.pcvr, c.slot, t.click, t.cart, t.checkout, t.sign_up, r.arm, r.user, r.surface
                FROM read_parquet(?) c JOIN read_parquet(?) t USING (request, rank) JOIN read_parquet(?) r USING (request)
                WHERE c.bid_usd > 0 ORDER BY request, rank""",
                [str(part / "*.parquet") for part in parts],
            ).fetchnumpy()
    except duckdb.Error as error:
        raise Refused(f"{simulation} is damaged or of another version: {str(error).splitlines()[0]}") from error


def _figures(predicted: FloatArray, true: FloatArray, won: BoolArray, user: np.ndarray) -> dict[str, float | None]:
    names = "candidates", "winners", "curse"
    ends = "", "_low", "_high"
    try:
        found = curse_intervals(predicted, true, won, user)
    except Unusable:
        return {name + end: None for name in names for end in ends}
    return {
        name + end: x for name, interval in zip(names, found, strict=True) for end, x in zip(ends, interval, strict=True)
    }  # fmt: skip
