"""The report and the portrait of a world in the terminal."""

from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from marketplace import words
from marketplace.blocks import bars, skyline

_SLOTS = 8  # most of a surface that are drawn
_STYLE = {"better": "bold green", "worse": "bold red", "": ""}


def print_report(console: Console, content: dict[str, Any]) -> None:
    """Everything but the charts."""
    console.print()
    console.print(Text(words.headline(content), style="bold"))
    for name, text in words.summary(content).items():
        console.print(Text(f"  {name}: {text}"))
    parts: list[RenderableType] = []
    if "readout" in content:
        parts.append(_readout(content["readout"]))
    if content.get("winners_curse"):
        parts.append(_winners_curse(content["winners_curse"]))
    parts += [_models(content["models"]), _marginals(content["marginals"])]
    if "aa" in content:
        parts.append(_aa(content["aa"]))
    parts.append(_stages(content["stages"]))
    console.print(Group(*(Padding(part, (1, 0, 0, 0)) for part in parts)))


def print_models(console: Console, rows: list[dict[str, Any]]) -> None:
    """The offline table alone."""
    console.print()
    console.print(_models(rows))


def print_comparison(console: Console, rows: list[dict[str, Any]], seeds: int) -> None:
    """Models on one log: AUC by task with intervals, and what they cost."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    title = f"AUC on the log's last day with its 95% interval, labels as known by then; {seeds} seed{'s' if seeds > 1 else ''}"
    table = _table(title, ("model",), tuple(cell for task in tasks[:2] for cell in (task, "less the first's")))
    scored = tuple(
        f"{score}, {task.split()[0]}" for task in tasks[:2] for score in ("Norm-BCE", "pred/real", "pred/true")
    )
    scores = _table("Scores; pred/true is what is served over the truth, where the log has one", ("model",), scored)
    cost = _table("Cost", ("model",), ("parameters", "train rows/s", "score rows/s"))
    for name in dict.fromkeys(row["model"] for row in rows):
        own = {row["task"]: row for row in rows if row["model"] == name}
        table.add_row(
            name, *(cell for task in tasks[:2] for cell in (_auc(own[task]["auc"]), _auc(own[task]["auc_less_first"], sign=True)))
        )  # fmt: skip
        names = "norm_bce", "calibration", "true_calibration"
        scores.add_row(name, *(words.figure(own[task][score]) for task in tasks[:2] for score in names))
        any_task = own[tasks[0]]
        cost.add_row(
            name, f"{any_task['parameters']:,}", f"{any_task['train_rows_per_s']:,.0f}",
            f"{any_task['score_rows_per_s']:,.0f}",
        )  # fmt: skip
    console.print()
    console.print(Group(table, Padding(scores, (1, 0, 0, 0)), Padding(cost, (1, 0, 0, 0))))
    console.print(_warnings(rows))


def print_importance(console: Console, content: dict[str, Any]) -> None:
    """Features by what they are worth to a model, and how models trained on the first of them do."""
    methods = content["methods"]
    title = (
        f"Importance of {len(content['features'])} features to {content['model']}, {content['task']}, on the day before "
        f"the log's last: loss of the AUC {_auc(content['auc'])}, or mean absolute attribution to the logit"
    )
    table = _table(title, ("feature", "side", "kind"), tuple(cell for name in methods for cell in (name, "rank")))
    for row in sorted(content["features"], key=lambda row: row["rank"][methods[0]]):
        cells = ((f"{row['importance'][name]:.5f}", str(row["rank"][name])) for name in methods)
        table.add_row(row["feature"], row["side"], row["kind"], *(cell for pair in cells for cell in pair))
    parts = [table]
    if content["kept"]:
        title = "AUC on the log's last day of models trained on the first features of each order, with its 95% interval"
        counts = list(dict.fromkeys(row["features"] for row in content["kept"]))
        kept = _table(title, ("order",), tuple(str(n) for n in counts))
        for order in dict.fromkeys(row["order"] for row in content["kept"]):
            kept.add_row(order, *(_auc(row["auc"]) for row in content["kept"] if row["order"] == order))
        parts.append(kept)
    console.print()
    console.print(Group(*(Padding(part, (0, 0, 1, 0)) for part in parts)))


def _warnings(rows: list[dict[str, Any]]) -> Text:
    found = words.warnings(rows)
    return Text("\n".join(found), style="yellow", end="\n" if found else "")


def _auc(interval: tuple[float, float, float] | None, *, sign: bool = False) -> str:
    if interval is None:
        return "–"
    estimate, low, high = (f"{value:{'+' if sign else ''}.4f}" for value in interval)
    return f"{estimate} [{low}, {high}]"


def print_portrait(console: Console, content: dict[str, Any]) -> None:
    """Tables, and small plots of block characters."""
    console.print()
    console.print(Text(f"{content['scenario']}: {content['description']} (seed {content['seed']})", style="bold"))
    parts: list[RenderableType] = [
        Columns([_counts(name, rows) for name, rows in content["counts"].items()], padding=(0, 4)),
        _obtained(content["marginals"]), _solved(content["solved"]), _mechanisms(content["mechanisms"]),
    ]  # fmt: skip
    console.print(Group(*(Padding(part, (1, 0, 0, 0)) for part in parts)))
    for title, plot in _plots(content).items():
        console.print()
        console.print(Text(title, style="bold"))
        console.print(plot, markup=False, highlight=False, no_wrap=True)


def _counts(name: str, rows: dict[str, float]) -> Table:
    table = _table(name.capitalize(), ("",), ("",))
    table.show_header = False
    for what, number in rows.items():
        table.add_row(what, words.figure(number))
    return table


def _obtained(rows: list[dict[str, Any]]) -> Table:
    table = _table("Marginals: what the scenario asks, and what the solved world gives", ("marginal",),
                   ("asked", "obtained", "error"))  # fmt: skip
    table.add_column("of what")
    for row in rows:
        figures = words.figure(row["asked"]), words.figure(row["obtained"]), words.percent(row["error"])
        table.add_row(row["name"], *figures, words.marginal_unit(row["name"]))
    return table


def _solved(values: dict[str, float | None]) -> Table:
    table = _table("Solved for them", ("name",), ("value",))
    table.add_column("what it is")
    for name, value in values.items():
        table.add_row(name, "off" if value is None else words.figure(value), words.solved_unit(name))
    return table


def _mechanisms(rows: list[dict[str, Any]]) -> Table:
    table = _table("Mechanisms", ("section", ""), ())
    table.add_column("settings")
    for row in rows:
        table.add_row(row["section"], "on" if row["on"] else "off", words.settings(row["settings"]))
    return table


def _plots(content: dict[str, Any]) -> dict[str, str]:
    """Plots by title."""
    traffic, checkouts, habits = content["traffic"], content["delays"]["milestones"], content["habits"]
    weekdays = dict(zip(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), traffic["weekday"], strict=True))
    tenths = {f"tenth {i}": share for i, share in enumerate(content["activity"]["tenths"], start=1)}
    within = {f"{h} h" if h < 48 else f"{h // 24} d": s for h, s in zip(*checkouts.values(), strict=True)}
    looks = {
        f"{row['surface']}, platform {', '.join(map(str, row['platforms']))}, slot {slot}": look
        for row in content["examination"] for slot, look in enumerate(row["effect"][:_SLOTS], start=1)
    }  # fmt: skip
    every_third = [str(hour) if hour % 3 == 0 else "" for hour in range(24)]
    return {
        "Requests by hour of the day, share": skyline(traffic["hour"], every_third, _share(max(traffic["hour"]))),
        "Requests by day of the first week": bars(weekdays, [words.figure(n) for n in weekdays.values()]),
        "Requests by tenth of users, the most active last": _shares(tenths),
        "Probability that a slot is looked at": _shares(looks),
        "Checkouts placed within, of all that follow a click": _shares(within),
        "Stores ordered from before the start, share of users": skyline(
            habits["share"], [str(n) if n % 2 == 0 else "" for n in habits["stores"]], _share(max(habits["share"]))
        ),
        "Stores looked at before requests": _shares(content["need"]["views"]),
        "What shows the need of a request first": _shares(content["need"]["requests"]),
    }


def _shares(values: dict[str, float]) -> str:
    return bars(values, [_share(x) for x in values.values()])


def _share(x: float) -> str:
    return f"{x:.1%}"


def _table(title: str, text: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for name in text:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _readout(rows: list[dict[str, Any]]) -> Table:
    columns = "control", "treatment", "lift", "95% interval", "p", "true lift", "covered"
    table = _table("Readout: lift of treatment over control, beside the true lift", ("metric",), columns)
    for row in rows:
        table.add_row(
            row["metric"], words.figure(row["control"]), words.figure(row["treatment"]),
            Text(words.percent(row["lift"]), style=_STYLE[words.verdict(row)]),
            words.interval(row["low"], row["high"]) if not row["why"] else Text(row["why"], style="dim"),
            words.p_value(row["p_value"]), words.percent(row["true_lift"]),
            Text(words.covered(row["covered"]), style="bold red" if row["covered"] is False else ""),
        )  # fmt: skip
    return table


def _winners_curse(rows: list[dict[str, Any]]) -> Table:
    columns = "auctions", "competed", "won", "all that competed", "winners", "winners over all"
    table = _table("Winner's curse: predicted over true, with 95% intervals", ("arm", "task"), columns)
    table.add_column("auctions pick")
    for row in rows:
        ratios = (
            words.around(*(row[name + end] for end in ("", "_low", "_high")))
            for name in ("candidates", "winners", "curse")
        )
        sizes = (words.count(row[name]) for name in ("auctions", "competed", "won"))
        table.add_row(row["arm"], row["task"], *sizes, *ratios, words.picked(row))
    return table


def _models(rows: list[dict[str, Any]]) -> Group:
    """A table per model."""
    names = "auc", "pr_auc", "norm_bce", "calibration", "true_calibration", "ece", "ece_null"
    columns = "rows", "positives", "AUC", "PR-AUC", "Norm-BCE", "pred/real", "pred/true", "ECE", "ECE null"
    tables: dict[str, Table] = {}
    for row in (row for row in rows if row["cohort"] in words.FIRST_COHORTS):
        table = tables.setdefault(words.model(row), _table(words.model(row), ("task", "segment"), columns))
        scores = (words.figure(row[name]) for name in names)
        table.add_row(row["task"], row["segment"], f"{row['rows']:,}", f"{row['positives']:,}", *scores)
    title = Text(
        "Models, on the log's last day, labels as known by then; pred/true is what is served over the truth", "bold"
    )
    return Group(title, *tables.values(), _warnings(rows))


def _marginals(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "The market: what the scenario asks, and what it got", ("marginal",), ("asked", "solved", "in the log")
    )
    for row in rows:
        table.add_row(row["name"], *(words.figure(row[name]) for name in ("asked", "obtained", "logged")))
    return table


def _aa(rows: list[dict[str, Any]]) -> Table:
    table = _table("A/A: control against itself", ("metric",), ("lift", "95% interval", "p"))
    for row in rows:
        table.add_row(
            row["metric"],
            words.percent(row["lift"]),
            words.interval(row["low"], row["high"]),
            words.p_value(row["p_value"]),
        )
    return table


def _stages(rows: list[dict[str, Any]]) -> Table:
    table = _table("Time", ("stage",), ("requests", "seconds", "requests/s"))
    for row in rows:
        table.add_row(
            row["stage"], words.count(row["requests"]), f"{row['wall_s']:.1f}", words.count(row["requests_per_s"])
        )
    return table
