"""What corrections are worth: calibration against the truth offline, and the twin worlds' CPA, revenue and iCVR, over seeds.

    python benchmarks/corrections.py SCENARIO [--seeds 4] [--users 20000] [--days 14] [--only none fsiw ...]
        [--logs FOLDER] [--json FILE]

Each seed is another world with a log of its own, in which the winners of a twentieth of the requests are put in the slots at
random. A network is trained on the log's days but two with each correction alone, calibrated on the next day and held against
the true probabilities of the last: sum of predictions over sum of truth, of clicks in the top slot (all shown ads), of
conversions given a click (clicked ads; of these the ads held to checkouts), and given a click over all shown ads, clicked or not.
Then everyone is served by it for a week, from the same state and with the same luck: lifts are over the world that the
uncorrected network serves. Figures are means with 95% intervals over seeds (t).

`removed` is the share of a bias that a correction takes away: 1 - |ratio / ideal - 1| / |ratio of what has the bias / ideal - 1|,
ideal being the ratio of the oracle for delays, for clicks 1.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.line_up import log_of, network
from marketplace.assignment import everyone
from marketplace.market import load_world, model_arm
from marketplace.metrics import METRICS, Moments, moments_by_arm
from marketplace.record import Tick
from marketplace.scenario import Scenario, load_scenario
from marketplace.simulate import simulate
from marketplace.state import load_state
from marketplace.stats import true_lift
from marketplace.training import Split, ratio, targets, within_window
from marketplace.truth import Rates, true_rates
from models.config import CorrectConfig, NetworkConfig
from models.errors import Unusable
from models.predictor import Model
from models.schema import Kind, Side
from models.scores import score
from synth.campaigns import GOALS
from synth.world import World

BASE = network(epochs=3)  # in one or two the curve of the slots takes what is not yet learned of the relevance
ARMS: dict[str, dict[str, str]] = {
    "none": {},
    **{
        name: {"delay": name}
        for name in ("window", "dfm", "dfm_weibull", "fsiw", "fnw", "fnc", "es_dfm", "defer", "oracle")
    },
    "ignored": {"position": "ignored"},
    **{name: {"position": name} for name in ("tower", "pal", "ipw")},
    "uncalibrated": {"calibrate": "none"},
    **{name: {"calibrate": name} for name in ("temperature", "beta", "isotonic", "segment")},
    "segment by goal": {"calibrate": "segment", "calibrate_by": "goal"},
    "selection ipw": {"selection": "ipw"},
    "selection dr": {"selection": "dr"},
    "fsiw, pal, isotonic": {"delay": "fsiw", "position": "pal", "calibrate": "isotonic"},
}
DAILY = ("none", "dfm", "fsiw", "fnw", "fnc", "es_dfm", "oracle")
FIRST = 7  # days that daily training begins with
LATE = (
    GOALS.index("click"),
    GOALS.index("checkout"),
)  # held to checkouts, which come late; carts and sign-ups come soon
SHOWN = ("CPA", "revenue", "iCVR", "conversions", "click_calibration", "conversion_calibration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=14)
    names = [*ARMS, *(f"daily {name}" for name in DAILY)]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--logs", type=Path, default=Path("runs/corrections"))
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    if args.json and args.json.exists():
        kept = json.loads(args.json.read_text())
    overrides = [
        f"calendar.log_days={args.days}", f"world.population.users={args.users}", "log.candidate_share=0",
        "log.randomised_share=0.05", *args.overrides,
    ]  # fmt: skip
    for seed in range(1, args.seeds + 1):
        found = kept.setdefault(str(seed), {})
        wanted = [name for name in args.only if name not in found]
        if not wanted:
            continue
        bench = Bench(log_of(args.scenario, seed, overrides, args.logs, args.threads), args.days, args.threads)
        for name in wanted:
            try:
                found[name] = bench.daily(name.removeprefix("daily ")) if name.startswith("daily ") else bench.arm(name)
            except Unusable as error:
                print(seed, name, "is refused:", error, file=sys.stderr, flush=True)
                continue
            print(seed, name, {k: v for k, v in found[name].items() if k != "mean"}, file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps(kept, indent=1) + "\n")
    show(list(kept.values()))


class Nobody:
    """A recorder that takes no note."""

    def tick(self, tick: Tick) -> None: ...

    def end_day(self, day: int) -> None: ...


class Bench:
    """One seed's world, log and truth."""

    def __init__(self, run: Path, days: int, threads: int) -> None:
        self.run, self.days, self.threads = run, days, threads
        self.scenario: Scenario = load_scenario(run / "scenario.json")
        self.world: World = load_world(self.scenario, run / "truth")
        self.split = Split.of(run / "log", days, [BASE])
        self.truth = true_rates(self.scenario, run, self.split.evaluation)

    def config(self, correct: dict[str, str]) -> NetworkConfig:
        config = BASE.model_copy(update={"correct": CorrectConfig.model_validate(correct)})
        return within_window(config, self.scenario)  # type: ignore[return-value]

    def arm(self, name: str) -> dict[str, Any]:
        learned = self.split.learn(self.config(ARMS[name]), seed=0, threads=self.threads, progress=lambda share: None)
        found = offline(learned.model, self.split, self.truth)
        if learned.model.slots is not None:
            found["slots"] = np.asarray(learned.model.slots.values).round(4).tolist()
        return found | {"effective": learned.effective, "mean": self.served(learned.model)}

    def daily(self, name: str) -> dict[str, Any]:
        """Train on the first days, then day by day, each time from yesterday's network and with the last day alone."""
        config, learned = self.config({"delay": name} if name != "none" else {}), None
        for days in range(FIRST, self.days + 1):
            split = Split.of(self.run / "log", days, [config], last=None if learned is None else 1)
            learned = split.learn(
                config, seed=days, threads=self.threads, progress=lambda share: None,
                start=None if learned is None else learned.predictor,
            )  # fmt: skip
        assert learned is not None
        return offline(learned.model, self.split, self.truth)

    def served(self, model: Model) -> list[float]:
        """Means of the counters over users, if everyone is served by a model."""
        scenario, n_users = self.scenario, self.scenario.world.population.users
        first, days = scenario.calendar.log_days, scenario.calendar.test_days
        state = load_state(scenario, self.world, self.run / "state")
        result = simulate(
            scenario, self.world, (model_arm(scenario, "all", model),), everyone(n_users), state, Nobody(), first_day=first,
            days=days, threads=self.threads,
        )  # fmt: skip
        (moments,) = moments_by_arm(result.counters.table(), everyone(n_users).of_unit, 1.0, 1)
        return moments.mean.tolist()  # type: ignore[no-any-return]


def offline(model: Model, split: Split, truth: Rates) -> dict[str, Any]:
    """Ratios of predictions to the truth, and AUC by the labels so far."""
    data = split.evaluation
    top = model.predict(replace(data.batch, slot=np.zeros_like(data.batch.slot)))
    there = model.predict(data.batch)
    label, clicked = targets(data)["conversion given click"]
    column = [c.name for c in data.schema.columns(Kind.CATEGORICAL, Side.AD)].index("goal")
    buying = clicked & np.isin(data.batch.ads.categorical[data.batch.row, column], LATE)
    return {
        "checkout of clicks": ratio(there.conversion[buying], truth.conversion[buying]),
        "click on top": ratio(top.click[data.shown], truth.click_on_top[data.shown]),
        "conversion of clicks": ratio(there.conversion[clicked], truth.conversion[clicked]),
        "conversion of all": ratio(there.conversion[data.shown], truth.conversion[data.shown]),
        "click AUC": score(there.click[data.shown], data.click[data.shown]).auc,
        "conversion AUC": score(there.conversion[clicked], label[clicked]).auc,
    }


def show(seeds: list[dict[str, dict[str, Any]]]) -> None:
    """Offline, then online."""
    console = Console(width=170)
    names = [name for name in (*ARMS, *(f"daily {name}" for name in DAILY)) if all(name in seed for seed in seeds)]
    columns = (
        "click on top",
        "conversion of clicks",
        "checkout of clicks",
        "conversion of all",
        "click AUC",
        "conversion AUC",
    )
    table = Table("", *columns, "removed", box=None, title=f"Predicted over true, {len(seeds)} seeds")
    for name in names:
        cells = [interval([seed[name][column] for seed in seeds]) for column in columns]
        table.add_row(name, *cells, removed(name, seeds))
    console.print(table)
    table = Table("", *SHOWN, box=None, title="\nServed to everyone, lift over none in %")
    for name in names:
        if name == "none" or "mean" not in seeds[0][name]:
            continue
        lifts = [[lift(metric, seed["none"]["mean"], seed[name]["mean"]) for seed in seeds] for metric in SHOWN]
        table.add_row(name, *(interval([100 * x for x in own], "+.2f") for own in lifts))
    console.print(table)


def removed(name: str, seeds: list[dict[str, dict[str, Any]]]) -> str:
    """Share of a bias that is gone, of what a correction is for."""
    daily = "daily " if name.startswith("daily ") else ""
    plain = name.removeprefix("daily ")
    correct = ARMS[plain]
    if "position" in correct and plain != "ignored" and all("ignored" in seed for seed in seeds):
        gone = [1 - abs(seed[name]["click on top"] - 1) / abs(seed["ignored"]["click on top"] - 1) for seed in seeds]
        return interval(gone, ".2f")
    task, none, oracle = "checkout of clicks", f"{daily}none", f"{daily}oracle"
    if "delay" in correct and plain != "oracle" and all(none in seed and oracle in seed for seed in seeds):
        gone = [
            1 - abs(seed[name][task] / seed[oracle][task] - 1) / abs(seed[none][task] / seed[oracle][task] - 1)
            for seed in seeds
        ]
        return interval(gone, ".2f")
    return ""


def lift(name: str, before: list[float], after: list[float]) -> float:
    """Of a metric, between two worlds."""

    metric = next(metric for metric in METRICS if metric.name == name)
    none = np.empty((0, 0))
    found = true_lift(metric, Moments(1, np.array(before), none), Moments(1, np.array(after), none))
    return float("nan") if found is None else found


def interval(values: list[float], form: str = ".3f") -> str:
    """Mean and 95% interval over seeds."""
    x = np.array(values, float)
    if len(x) < 2:
        return f"{x.mean():{form}}"
    half = student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return f"{x.mean():{form}} [{x.mean() - half:{form}}, {x.mean() + half:{form}}]"


if __name__ == "__main__":
    main()
