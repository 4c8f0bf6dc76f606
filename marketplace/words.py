"""Words: how figures and answers are written, the same in the terminal, on the page and in the dashboard."""

from math import exp
from typing import Any

DASH = "–"
_MARGINALS = {
    "ctr": "clicks per ad impression",
    "cvr": "orders per click, however late",
    "carts": "add-to-carts per click",
    "sign_up_rate": "sign-ups per click",
    "post_view_rate": "orders after an ad was seen and not clicked, per impression",
    "repurchase_positives": "share of ordering impressions whose user knew the store",
    "repurchase_negatives": "the same share among the other impressions",
    "long_click_share": "long clicks per click",
    "hide_rate": "hides per impression",
    "organic_share": "share of orders that follow no ad",
    "sessions_per_day": "sessions per user and day",
    "basket_usd": "USD per order that follows an ad click",
}
_SOLVED = {
    "click": "logit of a click on an ad that is looked at, tastes being neutral",
    "long_click": "logit of a long click, given a click and no add-to-cart",
    "hide": "logit of a hide, given a look and no click",
    "cart": "logit of an add-to-cart, given a click",
    "checkout": "logit of a checkout, given an add-to-cart",
    "sign_up": "logit of a sign-up of a new user, given a click",
    "post_view": "logit of an order, given a look and no click",
    "organic": "logit of an order at a store looked at without an ad",
    "habit": "logits of a store that the user had ordered from, beside its appetite",
    "familiar": "probability that the ad of a known store is a candidate",
    "visits": "factor of sessions that makes up for those that fatigue costs",
    "basket_usd": "USD, mean order at a store of price level 1",
    "checkout_fast_share": "share of checkouts with the fast delay",
    "checkout_fast_mean_h": "hours, mean of the fast delay",
    "checkout_slow_mean_h": "hours, mean of the slow delay",
}


def figure(x: float | None) -> str:
    """Four significant digits, thousands separated."""
    if x is None:
        return DASH
    if x and abs(x) < 0.001:
        return f"{x:.3g}"
    return f"{x:,.0f}" if abs(x) >= 10_000 else f"{x:.4g}"


def two_decimals(x: float | None) -> str:
    """A number around 1, such as a correlation."""
    return DASH if x is None else f"{x:.2f}"


def count(n: int | None) -> str:
    """A whole number with thousands separated."""
    return DASH if n is None else f"{n:,}"


def seconds(s: float | None) -> str:
    """Whole seconds."""
    return DASH if s is None else f"{s:,.0f}"


def signed(x: float | None) -> str:
    """A difference of scores with its sign and four decimals."""
    return DASH if x is None else f"{x:+.4f}"


def percent(x: float | None, *, sign: bool = True) -> str:
    """A share as a percentage with two decimals."""
    if x is None:
        return DASH
    return f"{x:+.2%}" if sign else f"{x:.2%}"


def interval(low: float | None, high: float | None) -> str:
    """Both ends of an interval of a relative lift."""
    return DASH if low is None or high is None else f"[{low:+.2%}, {high:+.2%}]"


def around(x: float | None, low: float | None, high: float | None) -> str:
    """A ratio with both ends of its interval."""
    return DASH if x is None or low is None or high is None else f"{x:.3f} [{low:.3f}, {high:.3f}]"


def picked(row: dict[str, Any]) -> str:
    """What auctions pick, relative to all that competed: the over-predicted, the under-predicted, or nothing beyond chance."""
    if row["curse"] is None or row["curse_low"] <= 1 <= row["curse_high"]:
        return ""
    return "over-predicted" if row["curse"] > 1 else "under-predicted"


def p_value(p: float | None) -> str:
    """Four decimals, down to <0.0001."""
    if p is None:
        return DASH
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def covered(answer: bool | None) -> str:
    """Whether the interval holds the truth."""
    return {True: "yes", False: "NO", None: DASH}[answer]


def verdict(row: dict[str, Any]) -> str:
    """What the reading of a metric says: better, worse, or nothing yet."""
    if row["low"] is None or row["low"] <= 0 <= row["high"]:
        return ""
    up = row["lift"] > 0
    return "" if not row["good"] else ("better" if up == (row["good"] == "up") else "worse")


def marginal_unit(name: str) -> str:
    """What a marginal of the market counts, and per what."""
    if name.startswith("ordered_within_"):
        hours = name.removeprefix("ordered_within_").removesuffix("h")
        return f"share of orders placed within {hours} h of the click"
    if name.startswith("slot_effect_"):
        return f"looks at slot {name.removeprefix('slot_effect_')} per look at slot 1"
    return _MARGINALS.get(name, DASH)


def solved_unit(name: str) -> str:
    """What a figure stands for that was solved for."""
    if name.startswith("slot_effect_"):
        return "looks over those of slot 1, at depth 1 and with no click above"
    return _SOLVED[name]


def settings(rows: list[dict[str, Any]]) -> str:
    """Names and values in one line."""
    return ", ".join(f"{row['name']} {row['value']:g}" for row in rows)


def headline(content: dict[str, Any]) -> str:
    """One sentence: did treatment lower CPA, and was the test right about it?"""
    row = next((row for row in content.get("readout", []) if row["metric"] == "CPA"), None)
    if row is None or row["lift"] is None:
        return (
            "No A/B test has been read in this run." if row is None else f"The test could not read CPA: {row['why']}."
        )
    if row["low"] is None or row["low"] <= 0 <= row["high"]:
        read = f"The test found no significant change of CPA ({percent(row['lift'])})"
    else:
        did = "raised" if row["lift"] > 0 else "lowered"
        read = f"The test says that {row['arm']} {did} CPA by {abs(row['lift']):.2%}"
    if row["true_lift"] is None:
        return f"{read}; the truth was not simulated."
    right = "its interval holds the truth" if row["covered"] else "its interval misses the truth"
    return f"{read}; in truth CPA changes by {percent(row['true_lift'])}: {right}."


BEYOND_LOG = "*"  # marks what is not read from the log, but taken from how variances fall with time


def foreseen_days(row: dict[str, Any]) -> str:
    """Days that a test needs, marked where the log is shorter."""
    return count(row["days_needed"]) + (BEYOND_LOG if row["days_beyond_log"] else "")


def foreseen_effect(row: dict[str, Any]) -> str:
    """The least lift that a test finds, marked where the log is shorter than the test."""
    return percent(row["minimum_effect"], sign=False) + (BEYOND_LOG if row["beyond_log"] else "")


def promise(row: dict[str, Any]) -> str:
    """Whether splits of equal arms keep what a metric's reading promises.

    Broken on the cautious side are too few rejections, and p-values that are uneven where neither the rejections nor the
    intervals that miss are too many.
    """
    if row["passed"] is None:
        return str(row["why"])
    if row["passed"]:
        return "kept"
    missed = 0 if row["coverage"] is None else round((1 - row["coverage"]) * row["runs"])
    return "BROKEN" if max(row["rejected"], missed) > row["most"] else "cautious"


_DESIGNS = {
    "users": "users split at random",
    "sessions": "sessions split at random, read by user",
    "requests": "requests split at random, read by user",
    "advertisers": "campaigns split at random",
    "budgets": "users split at random, every budget with them",
    "switchback": "blocks of time split at random",
    "clusters": "clusters of users split at random",
}
_ADJUSTED = {"none": "", "cuped": "CUPED", "strata": "post-stratified"}
_MONITORED = {
    "fixed": "", "pocock": "read every day (Pocock)", "obrien_fleming": "read every day (O'Brien-Fleming)",
    "msprt": "read every day (mSPRT)",
}  # fmt: skip


def design(experiment: dict[str, Any]) -> str:
    """Who was split and how the test was read, in one line."""
    stages = f"shares rising in {len(experiment['ramp'])} stages" if experiment["ramp"] else ""
    more = stages, _ADJUSTED[experiment["adjust"]], _MONITORED[experiment["monitor"]]
    arms = " : ".join(f"{arm['name']} {arm['share']:.3g}" for arm in experiment["arms"])
    return ", ".join([_DESIGNS[experiment["design"]], *(word for word in more if word), arms])


def by_arm(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each arm, in order."""
    return {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}


def by_segment(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each segmentation, metric by metric, with what their metrics are."""
    about = {
        row["metric"]: {name: row[name] for name in ("role", "unit", "good")} for row in content.get("readout", [])
    }
    place = {metric: i for i, metric in enumerate(about)}
    rows = [row | about[row["metric"]] for row in content.get("segments", [])]
    rows.sort(key=lambda row: place[row["metric"]])
    return {name: [row for row in rows if row["segment"] == name] for name in dict.fromkeys(r["segment"] for r in rows)}


def srm_alarms(content: dict[str, Any]) -> list[str]:
    """Splits that are not as asked, a line each."""
    return [_split(row) for row in content.get("srm", []) if row["alarm"]]


def _split(row: dict[str, Any]) -> str:
    where = f"{row['segment']} {row['part']}: " if row["segment"] else ""
    units = " : ".join(f"{n:,}" for n in row["units"])
    if not row["by_chance"]:
        return f"{where}{units} {row['unit']}, in exact shares"
    state = "ALARM, the split is not the one asked for" if row["alarm"] else "as asked"
    return f"{where}{units} {row['unit']}, p = {p_value(row['p_value'])}: {state}"


def summary(content: dict[str, Any]) -> dict[str, str]:
    """Checks that a reader makes first."""
    out = {}
    if content.get("readout"):
        out["design"] = design(content["experiment"])
    if rows := content.get("srm", []):
        parts, alarms = len(rows) - 1, len([row for row in rows[1:] if row["alarm"]])
        more = f"; {alarms} alarms in {parts} parts of them" if parts else ""
        out["sample ratio"] = _split(rows[0]) + more
    if "aa" in content:
        ps = [row["p_value"] for row in content["aa"] if row["p_value"] is not None]
        low = sum(p < 0.05 for p in ps)
        out["A/A"] = f"{low} of {len(ps)} metrics below p = 0.05, smallest p = {p_value(min(ps, default=None))}"
    rows = [row for row in content.get("readout", []) if row["covered"] is not None]
    if rows:
        out["coverage"] = f"{sum(row['covered'] for row in rows)} of {len(rows)} intervals hold the true lift"
    if stopped := [row for row in content.get("readout", []) if row["stopped_day"] is not None]:
        first = min(stopped, key=lambda row: row["stopped_day"])
        out["first stop"] = f"day {first['stopped_day']}, by {first['metric']} of {first['arm']}"
    if curse := _winners_curse(content.get("winners_curse", [])):
        out["winner's curse"] = curse
    return out


def _winners_curse(rows: list[dict[str, Any]]) -> str:
    """Predicted over true clicks of winners and of all that competed; empty where no auction was logged whole."""
    own = [row for row in rows if row["task"] == "click" and row["curse"] is not None]
    if not own:
        return ""
    picks = {picked(row) for row in own} - {""}
    lead = f"auctions pick what is {' or '.join(sorted(picks))} relative to the rest" if picks else "none beyond chance"
    figures = (f"{figure(row['winners'])} against {figure(row['candidates'])} in {row['arm']}" for row in own)
    return f"{lead}; predicted over true clicks of winners against all that competed: {', '.join(figures)}"


FIRST_COHORTS = (
    "",
    "familiarity",
)  # of the offline table, shown first: all impressions, and repurchase apart from exploration
FEW_EFFECTIVE = 0.1  # of the rows, below which weights are said to be uneven


def model(row: dict[str, Any]) -> str:
    """A model of the offline table, with what is corrected."""
    correct = f", {row['correct']}" if row["correct"] else ""
    return f"{row['model']} ({row['kind']}{correct})"


def warnings(rows: list[dict[str, Any]]) -> list[str]:
    """What to know of the models of an offline table, a line each."""
    found = []
    for row in rows:
        found += [f"{row['model']}: {note}" for note in row["notes"]]
        share = row["effective_share"]
        if share is not None and share < FEW_EFFECTIVE:
            found.append(
                f"{row['model']}: the weights of its labels of {row['task']} are so uneven that they tell as much as {share:.1%} "
                "of them would with equal weights"
            )
    return list(dict.fromkeys(found))


def task(name: str) -> str:
    """What a task's AUC is of."""
    return "conversion given click" if name == "conversion" else name


def architecture(settings: dict[str, Any], space: dict[str, list[Any]]) -> str:
    """The settings in which a model differs from the base, whose values come first in the space."""
    other = [f"{name} {value(own)}" for name, own in settings.items() if own != space[name][0]]
    return ", ".join(other) or "the base"


def value(setting: Any) -> str:
    """A setting's value: layers and parts by their kinds."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, list | tuple):
        between = "+" if any(isinstance(part, dict) for part in setting) else "-"
        return between.join(value(part) for part in setting) if setting else "none"
    if isinstance(setting, dict):
        kind = [str(setting["kind"])] if "kind" in setting else []
        return " ".join([*kind, *(f"{name}={value(own)}" for name, own in setting.items() if name != "kind")])
    return str(setting)


def trust(name: str, found: dict[str, float | None], n: int) -> str:
    """How well one goal is predicted from the choices, leaving out each of n trials in turn."""
    errors = f"RMSE {figure(found['rmse'])}, where the mean of the others is off by {figure(found['spread'])}"
    r2, rank = found["r2"], found["rank"]
    if r2 is None:
        return f"{name}: all trials are equal, there was nothing to learn"
    ranked = "no ranks" if rank is None else f"rank correlation {rank:+.2f}"
    knows = "" if r2 > 0 and rank is not None else ": the predictor knows NOTHING of it, what it proposes is a guess"
    return f"{name}, each of {n} trials predicted from the others: {errors}, R2 {r2:+.2f}, {ranked}{knows}"


def noise(row: dict[str, Any]) -> str:
    """Whether a model on the front is better than the next faster one beyond chance."""
    more = row["auc_less_faster"]
    return "" if more is None or more[1] > 0 else "within noise"


def kept_front(row: dict[str, Any]) -> str:
    """Whether a verified model was promised to lie on the front, and does."""
    promised = "promised" if row["promised_front"] else "not promised"
    return f"{promised}, {'is on it' if row['front'] else 'is not'}"


def rates(interval: list[float]) -> str:
    """Rows per second with both ends of an interval."""
    estimate, low, high = (f"{rate:,.0f}" for rate in interval)
    return f"{estimate} [{low}, {high}]"


def pareto(content: dict[str, Any]) -> list[str]:
    """What must be known of a search to read it."""
    trusted, n = content["trust"], content["trials"]
    verified, proposed = len(content["promises"]), len(content["proposals"])
    front = [row for row in content["rows"] if row["front"]]
    seeds = "; with one training of each, no interval has what a seed changes" if content["seeds"] == 1 else ""
    unsure, more = sum(noise(row) != "" for row in front), content["gain"]
    gain = (
        f"; the {verified} verified add {more:.1%} to the area that is dominated"
        if verified and more is not None
        else ""
    )
    return [
        trust("AUC", trusted["auc"], n),
        trust("log of rows/s", trusted["log_rows_per_s"], n),
        f"space: {count(content['combinations'])} combinations, {n} trained at random, {count(proposed)} "
        f"proposed, {sum(row['front'] for row in content['proposals'])} of them predicted to lie on the front; "
        f"{count(content['do_not_fit'])} of those drawn do not fit together",
        f"front: {len(front)} models, {unsure} of them no better than the next faster one beyond noise (95% interval of the "
        f"difference on the same rows){seeds}{gain}",
        f"speed: measured twice, the trials' rows/s differ by a factor of {exp(content['speed_repeats']):.2f} (median)",
        *(untrained(row, content["space"]) for row in content["failed"]),
    ]


def untrained(row: dict[str, Any], space: dict[str, list[Any]]) -> str:
    """An architecture that could not be had, and why."""
    return f"NOT trained: {row['name']} ({architecture(row['settings'], space)}): {row['why']}"


def alarms(line: str) -> bool:
    """Whether a line about a search says that something failed."""
    return "NOT" in line
