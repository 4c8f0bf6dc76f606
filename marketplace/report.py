"""The report: what a team would read in its test, held against the truth."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from marketplace.curse import winners_curse_of
from marketplace.errors import Refused
from marketplace.market import WORLD, load_world
from marketplace.parted import parted
from marketplace.readings import READINGS, load_readings
from marketplace.readout import described, exposed_rows, metrics_of, readout
from marketplace.runs import read_json
from marketplace.scenario import Scenario
from marketplace.serving import SERVING
from marketplace.shape import Priced, Score, SimulationResult
from marketplace.stats import SRM_ALARM, sample_ratio_p
from synth.traffic import weekday_factor
from synth.types import CHECKOUT, HOUR_MS

_BINS = 20  # of the calibration curve, equally full


def build_report(folder: Path, scenario: Scenario, stages: dict[str, Any]) -> dict[str, Any]:
    """Everything that the terminal, the page and the dashboard show of a run, as JSON.

    Raises:
        Refused: If a file of the run is missing or damaged.
    """
    simulations = {
        name: read_json(folder / "simulations" / name / "result.json", SimulationResult)
        for name in stages["simulations"]
    }
    readings = {name: load_readings(folder / "simulations" / name / READINGS) for name in simulations}
    priced = read_json(folder / SERVING, Priced)
    content: dict[str, Any] = {
        "scenario": scenario.name, "description": scenario.description, "seed": scenario.seed,
        "log_days": scenario.calendar.log_days, "test_days": scenario.calendar.test_days,
        "experiment": _experiment(scenario),
        "models": read_json(folder / "models.json", list[Score]), "marginals": _marginals(folder, scenario),
        "stages": _stages(stages), "digests": _digests(stages), "serving": priced,
    }  # fmt: skip
    worlds = {name: days[-1] for name, days in readings.items() if name in scenario.arms}
    if "ab" in simulations:
        ab = folder / "simulations" / "ab"
        world = load_world(scenario, folder / "truth")
        rows, by_day = readout(readings["ab"], worlds, scenario)
        content |= {
            "readout": [*rows, *_cost(priced)], "by_day": by_day, "worth": _worth(priced, rows),
            "exposed": exposed_rows(readings["ab"][-1], scenario),
            "quantiles": [described(row["metric"]) | row for row in simulations["ab"]["quantiles"]],
            "srm": _srm(simulations["ab"]), "pacing": _pacing(ab),
            "calibration": _calibration(ab, simulations["ab"], scenario),
            "winners_curse": winners_curse_of(ab, [arm["name"] for arm in simulations["ab"]["arms"]], scenario, world),
            "segments": parted(folder / "simulations", list(simulations), scenario, world),
        }  # fmt: skip
    if "aa" in simulations:
        content["aa"] = [
            {"arm": arm, "metric": metric.name} | readings["aa"][-1].effect(metric, position)._asdict()
            for position, arm in enumerate(scenario.arms)
            if position > 0
            for metric in metrics_of(scenario)
        ]
    return content


def _experiment(scenario: Scenario) -> dict[str, Any]:
    own = scenario.experiment
    return {
        "design": own.design, "adjust": own.adjust, "monitor": own.monitor,
        "arms": [arm.model_dump(mode="json") | {"name": name} for name, arm in scenario.arms.items()],
        "ramp": [stage.model_dump(mode="json") for stage in own.ramp],
    }  # fmt: skip


def _cost(priced: dict[str, Any]) -> list[dict[str, Any]]:
    """Infra cost of the arms beside control's; a measurement of this machine, so it has no interval."""
    control, *others = priced["arms"]
    before, rows = control["usd_per_million"], []
    for arm in others:
        after = arm["usd_per_million"]
        lift = after / before - 1 if before and after is not None else None
        rows.append(
            {
                "arm": arm["arm"], "metric": "infra_cost", "group": "platform", "unit": "USD per million requests",
                "good": "down", "role": "guardrail", "control": before, "treatment": after,
                "lift": lift, "low": None, "high": None, "p_value": None, "p_holm": None,
                "p_benjamini_hochberg": None, "why": control["why"] or arm["why"] or "hosts for p99, training", "se": None,
                "variance_ratio": None, "stopped_day": None, "true_lift": None, "bias": None, "covered": None,
            }
        )  # fmt: skip
    return rows


def _worth(priced: dict[str, Any], readout: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each arm would cost and bring more than control in a year, by the test and in truth."""
    control, *others = priced["arms"]
    rows = []
    for arm in others:
        extra = (
            None
            if None in (control["usd_per_year"], arm["usd_per_year"])
            else arm["usd_per_year"] - control["usd_per_year"]
        )
        found: dict[str, Any] = {"arm": arm["arm"], "extra_usd": extra}
        (read,) = (row for row in readout if (row["arm"], row["metric"]) == (arm["arm"], "conversions"))
        for prefix, lift in (("", read["lift"]), ("true_", read["true_lift"])):
            more = None if lift is None else lift * priced["conversions_per_year"]
            found[f"{prefix}extra_conversions"] = more
            found[f"{prefix}usd_per_extra_conversion"] = (
                extra / more if extra is not None and more and more > 0 else None
            )
        rows.append(found)
    return rows


def _srm(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Units that came to each arm against the shares asked for: of all, and of parts of them."""
    rows = []
    for split in result["splits"]:
        p = sample_ratio_p(split["units"], split["shares"]) if split["by_chance"] and sum(split["units"]) else None
        rows.append(split | {"p_value": p, "alarm": p is not None and p < SRM_ALARM})
    return rows


def _marginals(folder: Path, scenario: Scenario) -> list[dict[str, Any]]:
    """Asked, solved for in the pilot, and found in the log; rates from the probabilities behind the log's impressions."""
    marginals = read_json(folder / "truth" / WORLD)["marginals"]
    log, truth = folder / "log", folder / "truth"
    (row,) = _rows(
        """
        WITH shown AS (
            SELECT known, examination * click AS clicks, examination * click * cart AS in_cart,
                   examination * click * cart * checkout AS orders,
                   examination * click * (1 - (1 - long_click) * (1 - cart)) AS long_clicks,
                   examination * (1 - click) * hide AS hides,
                   examination * click * sign_up AS sign_ups, examination * (1 - click) * post_view AS post_views
            FROM read_parquet(?)
        ), checkouts AS (SELECT * FROM read_parquet(?) WHERE event = ?)
        SELECT avg(clicks) AS ctr, sum(orders) / sum(clicks) AS cvr, sum(in_cart) / sum(clicks) AS carts,
               sum(sign_ups) / sum(clicks) AS sign_up_rate, avg(post_views) AS post_view_rate,
               sum(orders) FILTER (known) / sum(orders) AS repurchase_positives,
               sum(1 - orders) FILTER (known) / sum(1 - orders) AS repurchase_negatives,
               sum(long_clicks) / sum(clicks) AS long_click_share, avg(hides) AS hide_rate,
               (SELECT count(*) FROM read_parquet(?)) AS organic, sum(orders) + sum(post_views) AS bought,
               (SELECT avg(value_micros) / 1e6 FROM checkouts WHERE click_ms >= 0) AS basket_usd,
               (SELECT count(DISTINCT session) FROM read_parquet(?)) AS sessions
        FROM shown
        """,
        truth / "impressions" / "*.parquet", log / "conversions" / "*.parquet", CHECKOUT, log / "organic" / "*.parquet",
        log / "requests" / "*.parquet",
    )  # fmt: skip
    row["organic_share"] = row["organic"] / (row["organic"] + row["bought"])
    days = weekday_factor(scenario.world.traffic)[np.arange(scenario.calendar.log_days) % 7].sum()
    row["sessions_per_day"] = row["sessions"] / (scenario.world.population.users * days)
    looks = _rows(
        "SELECT slot, avg(examination) AS looked FROM read_parquet(?) GROUP BY slot ORDER BY slot",
        truth / "impressions" / "*.parquet",
    )
    row |= {f"slot_effect_{at['slot'] + 1}": at["looked"] / looks[0]["looked"] for at in looks}
    return [marginal | {"logged": row.get(marginal["name"])} for marginal in marginals]


def _pacing(simulation: Path) -> dict[str, list[float]]:
    """Spend against plan of all campaigns together, by hour of the test."""
    rows = _rows(
        f"""
        SELECT start_ms // {HOUR_MS} AS hour, sum(spent_usd) AS spent_usd, sum(planned_usd) AS planned_usd,
               avg(multiplier) AS multiplier
        FROM read_parquet(?) GROUP BY ALL ORDER BY hour
        """,
        simulation / "spending.parquet",
    )
    return {name: [row[name] for row in rows] for name in ("hour", "spent_usd", "planned_usd", "multiplier")}


def _calibration(simulation: Path, result: dict[str, Any], scenario: Scenario) -> list[dict[str, Any]]:
    """Predicted against real, in equally full bins, for each arm and task, on the impressions that the arm won."""
    effects = "[" + ", ".join(f"{x:g}" for x in scenario.world.feed.slot_effect) + "]"
    names = [arm["name"] for arm in result["arms"]]
    rows = _rows(
        f"""
        WITH won AS (
            SELECT i.arm, pctr * {effects}[slot + 1] AS click, pcvr AS conversion, clicked, c.request IS NOT NULL AS ordered
            FROM read_parquet(?) i
            LEFT JOIN (SELECT request, ad FROM read_parquet(?) WHERE attributed) c USING (request, ad)
        ), tasks AS (
            SELECT arm, 'click' AS task, click AS p, clicked AS y FROM won
            UNION ALL
            SELECT arm, 'conversion given click', conversion, ordered FROM won WHERE clicked
        ), binned AS (
            SELECT *, ntile({_BINS}) OVER (PARTITION BY arm, task ORDER BY p) AS bin FROM tasks
        )
        SELECT arm, task, bin, avg(p) AS predicted, avg(y::INT) AS real, count(*) AS n
        FROM binned GROUP BY ALL ORDER BY arm, task, bin
        """,
        simulation / "log" / "impressions" / "*.parquet", simulation / "log" / "conversions" / "*.parquet",
    )  # fmt: skip
    return [row | {"arm": names[row["arm"]]} for row in rows]


def _rows(query: str, *files: Path | int) -> list[dict[str, Any]]:
    with duckdb.connect() as db:
        try:
            found = db.execute(query, [str(file) if isinstance(file, Path) else file for file in files])
        except duckdb.Error as error:
            raise Refused(f"{Path(str(files[0])).parent} is damaged: {str(error).splitlines()[0]}") from error
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _stages(stages: dict[str, Any]) -> list[dict[str, Any]]:
    """Wall time of every stage; requests and their rate where the stage serves some."""
    own = "requests", "wall_s", "requests_per_s", "cpu_s"
    none = dict.fromkeys(("requests", "requests_per_s")) | {"cpu_s": {}}
    rows = [{"stage": "market", "wall_s": stages["log"]["market_s"]} | none]
    rows += [{"stage": "log"} | {key: stages["log"][key] for key in own}]
    rows += [{"stage": f"train {name}", "wall_s": s} | none for name, s in stages["models"]["train_s"].items()]
    for name, stage in stages["simulations"].items():
        rows.append({"stage": f"simulate {name}"} | {key: stage[key] for key in own})
    return rows


def _digests(stages: dict[str, Any]) -> dict[str, str]:
    return {"log": stages["log"]["digest"]} | {name: s["digest"] for name, s in stages["simulations"].items()}
