"""The report and the portrait of a world in the terminal."""

from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from marketplace import realism_words, words
from marketplace.blocks import bars, skyline
from marketplace.serving_words import Sheet, reasons, serving_sheets

_SLOTS = 8  # most of a surface that are drawn
_PROMISE = {"BROKEN": "bold red", "cautious": "yellow"}
_STYLE = {"better": "bold green", "worse": "bold red", "": ""}


def print_report(console: Console, content: dict[str, Any]) -> None:
    """Everything but the charts."""
    console.print()
    console.print(Text(words.headline(content), style="bold"))
    for name, text in words.summary(content).items():
        console.print(Text(f"  {name}: {text}"))
    for line in reasons(content):
        console.print(Text(f"  serving, {line}", style="yellow"))
    parts: list[RenderableType] = []
    if "readout" in content:
        parts += [_readout(arm, rows, content["quantiles"]) for arm, rows in words.by_arm(content["readout"]).items()]
    parts += [_exposed(arm, rows) for arm, rows in words.by_arm(content.get("exposed", [])).items()]
    if content.get("winners_curse"):
        parts.append(_winners_curse(content["winners_curse"]))
    parts += [_sheet(sheet) for sheet in serving_sheets(content)]
    parts += [_models(content["models"]), _marginals(content["marginals"])]
    if "aa" in content:
        parts.append(_aa(content["aa"]))
    parts.append(_stages(content["stages"]))
    console.print(Group(*(Padding(part, (1, 0, 0, 0)) for part in parts)))


def print_excerpt(console: Console, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Tables of the readout for each arm, and for each segmentation and arm."""
    arms = list(words.by_arm(rows["readout"] + rows["quantiles"]))
    tables = [_readout(arm, words.by_arm(rows["readout"]).get(arm, []), rows["quantiles"]) for arm in arms]
    segments = dict.fromkeys(row["segment"] for row in rows["segments"])
    for segment in segments:
        own = words.by_arm([row for row in rows["segments"] if row["segment"] == segment])
        tables += [_parts(segment, arm, own[arm]) for arm in own]
    for table in tables:
        console.print()
        console.print(table)


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


def print_profile(console: Console, content: dict[str, Any]) -> None:
    """What calls take, a table for each number of threads, and what formats cost; the fastest of each size stands out."""
    k, best = content["candidates"], {(row["threads"], row["requests"]): row["format"] for row in content["best"]}
    sizes = list(dict.fromkeys(row["requests"] for row in content["rows"]))
    console.print()
    console.print(
        Text(f"{content['model']} ({content['kind']}) on {content['device']}: {content['device_name']}", "bold")
    )
    parts: list[RenderableType] = []
    for threads in dict.fromkeys(row["threads"] for row in content["rows"]):
        title = f"{_threads(threads)}: milliseconds of a call and candidates scored per second, by requests of {k} in a call"
        columns = [cell for n in sizes for cell in (f"{n}: ms", "rows/s")]
        table = _table("", ("format",), (*columns, f"requests/s at {sizes[-1]}"))
        for form in dict.fromkeys(row["format"] for row in content["rows"]):
            own = [row for row in content["rows"] if (row["format"], row["threads"]) == (form, threads)]
            cells: list[RenderableType] = []
            for row in own:
                style = _STYLE["better"] if best[threads, row["requests"]] == form else ""
                cells += [Text(f"{1e3 * row['seconds']:.3g}", style), f"{row['rows_per_s']:,.0f}"]
            table.add_row(form, *cells, f"{own[-1]['requests_per_s']:,.0f}")
        fastest = "; ".join(f"{best[threads, n]} at {n}" for n in sizes)
        parts.append(Group(Text(title, "bold"), table, Text(f"Fastest with {_threads(threads)}: {fastest}")))
    title = "Formats: seconds until calls of every size were scored, and how far the probability of a click is from float32's"
    table = _table("", ("format",), ("ready, s", "largest error", "mean error"))
    table.add_column("cannot run here, since")
    for row in content["formats"]:
        errors = ("–" if row[name] is None else f"{row[name]:.1e}" for name in ("largest_error", "mean_error"))
        seconds = "–" if row["ready_s"] is None else f"{row['ready_s']:.2f}"
        table.add_row(row["format"], seconds, *errors, Text(row["why"] or "", "dim"))
    console.print(Group(*(Padding(part, (1, 0, 0, 0)) for part in (*parts, Group(Text(title, "bold"), table)))))


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _warnings(rows: list[dict[str, Any]]) -> Text:
    found = words.warnings(rows)
    return Text("\n".join(found), style="yellow", end="\n" if found else "")


def _auc(interval: tuple[float, float, float] | None, *, sign: bool = False) -> str:
    if interval is None:
        return "–"
    estimate, low, high = (f"{value:{'+' if sign else ''}.4f}" for value in interval)
    return f"{estimate} [{low}, {high}]"


def print_pareto(console: Console, content: dict[str, Any]) -> None:
    """Every trained architecture, the verified front first, and what was promised of those verified."""
    space = content["space"]
    title = (
        f"AUC of {words.task(content['task'])} on the log's last day ({content['rows_evaluated']:,} rows, "
        f"{content['positives']:,} positive) and candidates scored per second on one thread, {content['candidates']} per request"
    )
    columns = "AUC", "true AUC", "less next faster", "rows/s", "parameters", "train rows/s"
    table = _table(title, ("model", "front"), columns)
    table.add_column("differs from the base in")
    for row in content["rows"]:
        table.add_row(
            row["name"], "yes" if row["front"] else "", _auc(row["auc"]), f"{row['expected_auc']:.4f}",
            Text(_auc(row["auc_less_faster"], sign=True) if row["auc_less_faster"] else "", "yellow" if words.noise(row) else ""),
            f"{row['rows_per_s']:,.0f}", f"{row['parameters']:,}", f"{row['train_rows_per_s']:,.0f}",
            words.architecture(row["settings"], space), style="" if row["front"] else "dim",
        )  # fmt: skip
    promises = _table(
        "Promised and measured, of those verified", ("model", "front"),
        ("AUC predicted", "measured", "held", "rows/s predicted", "measured", "held"),
    )  # fmt: skip
    for row in content["promises"]:
        promises.add_row(
            row["name"], words.kept_front(row), _auc(row["auc_predicted"]), f"{row['auc']:.4f}", words.covered(row["auc_held"]),
            words.rates(row["rows_per_s_predicted"]), f"{row['rows_per_s']:,.0f}", words.covered(row["rows_per_s_held"]),
        )  # fmt: skip
    console.print()
    console.print(Group(table, Padding(promises, (1, 0, 0, 0))))
    for line in words.pareto(content):
        console.print(Text(f"  {line}", style="yellow" if words.alarms(line) else ""))


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


def _readout(arm: str, rows: list[dict[str, Any]], quantiles: list[dict[str, Any]]) -> Table:
    columns = "control", "treatment", "lift", "95% interval", "p", "Holm p", "true lift", "covered"
    table = _table(f"Readout: lift of {arm} over control, beside the true lift", ("metric", "role"), columns)
    for row in rows:
        ps = words.p_value(row["p_value"]), words.p_value(row["p_holm"])
        table.add_row(row["metric"], row["role"], *_lift(row), *ps, *_against_truth(row))
    for row in (row for row in quantiles if row["arm"] == arm):
        table.add_row(row["metric"], row["role"], *_lift(row), *[words.DASH] * 4)
    return table


def print_serving(console: Console, content: dict[str, Any]) -> None:
    """What serving costs, alone."""
    for sheet in serving_sheets(content):
        console.print()
        console.print(_sheet(sheet))


def _sheet(sheet: Sheet) -> Table:
    table = _table(sheet.title, sheet.names, sheet.figures)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def _exposed(arm: str, rows: list[dict[str, Any]]) -> Table:
    control, treated = rows[0]["units"]
    title = f"Incrementality: {treated:,} users of {arm} who saw an ad under test, {control:,} of control who did or would have"
    table = _table(title, ("metric",), ("control", "treatment", "lift", "95% interval", "p"))
    for row in rows:
        table.add_row(row["metric"], *_lift(row), words.p_value(row["p_value"]))
    return table


def _parts(segment: str, arm: str, rows: list[dict[str, Any]]) -> Table:
    columns = "control", "treatment", "lift", "95% interval", "p", "true lift", "covered"
    table = _table(
        f"By {segment}: lift of {arm} over control, beside the true lift of the part", ("metric", "part"), columns
    )
    for row in rows:
        table.add_row(row["metric"], row["part"], *_lift(row), words.p_value(row["p_value"]), *_against_truth(row))
    return table


def _lift(row: dict[str, Any]) -> list[RenderableType]:
    """Both arms, the lift and its interval, or why there is none."""
    return [
        words.figure(row["control"]), words.figure(row["treatment"]),
        Text(words.percent(row["lift"]), style=_STYLE[words.verdict(row)]),
        words.interval(row["low"], row["high"]) if row["low"] is not None else Text(row["why"], style="dim"),
    ]  # fmt: skip


def _against_truth(row: dict[str, Any]) -> list[RenderableType]:
    covered = Text(words.covered(row["covered"]), style="bold red" if row["covered"] is False else "")
    return [words.percent(row["true_lift"]), covered]


def print_study(console: Console, content: dict[str, Any], metrics: list[str] | None) -> None:
    """Designs side by side, a table for each arm and metric: those that are asked for, or the goals."""
    came = f"{content['users']:,} users" if content["users"] else "all users"
    console.print()
    console.print(
        Text(
            f"{content['scenario']}: {content['seeds']} fortnights of {content['test_days']} days, {came}", style="bold"
        )
    )
    tables: dict[tuple[str, str], Table] = {}
    columns = "reading", "truth", "bias", "95% interval", "s.e.", "spread", "covered", "A/A p < 5%", "days needed"
    for row in content["rows"]:
        if row["metric"] not in metrics if metrics else row["role"] != "goal":
            continue
        place = row["metric"], row["arm"]
        if place not in tables:
            title = f"{row['metric']} ({row['unit']}): {row['arm']} over control"
            tables[place] = _table(title, ("design",), columns)
        tables[place].add_row(row["design"], *_study_cells(row))
    console.print(Group(*(Padding(table, (1, 0, 0, 0)) for table in tables.values())))


def _study_cells(row: dict[str, Any]) -> list[RenderableType]:
    if row["why"]:
        return [Text(row["why"], style="dim"), *[words.DASH] * 8]
    biased = row["bias_low"] is not None and not row["bias_low"] <= 0 <= row["bias_high"]
    return [
        words.percent(row["lift"]), words.percent(row["true_lift"]),
        Text(words.percent(row["bias"]), style="bold red" if biased else ""),
        words.interval(row["bias_low"], row["bias_high"]), words.percent(row["se"], sign=False),
        words.percent(row["spread"], sign=False), f"{row['covered']} of {row['fortnights']}",
        f"{row['rejected']} of {row['equal']}", words.count(row["days_needed"]),
    ]  # fmt: skip


def print_power(console: Console, content: dict[str, Any], metrics: list[str] | None) -> None:
    """What a test would find, a table for each arm: the metrics that are asked for, or the goals."""
    lift, shares = content["lift"], content["shares"]
    found = f"{content['power']:.4g} of tests, p below 5%, from {content['log_days']} days of log"
    columns = [f"least lift in {content['test_days']} days", *([f"days for {lift:+.2%}"] if lift is not None else [])]
    shown = [row for row in content["rows"] if (row["metric"] in metrics if metrics else row["role"] == "goal")]
    for arm, rows in words.by_arm(shown).items():
        split = f"{shares[next(iter(shares))]:.3g} : {shares[arm]:.3g} of users"
        table = _table(
            f"{arm} against control, {split}: found by {found}", ("metric", "role"), ("in the log", *columns)
        )
        table.add_column("unit")
        for row in rows:
            least = Text(row["why"], style="dim") if row["why"] else words.foreseen_effect(row)
            needed = [words.foreseen_days(row)] if lift is not None else []
            table.add_row(row["metric"], row["role"], words.figure(row["value"]), least, *needed, row["unit"])
        console.print()
        console.print(table)
    if any(row["beyond_log"] or row["days_beyond_log"] for row in shown):
        console.print()
        console.print(
            f"{words.BEYOND_LOG} longer than the log: the variance is taken to fall as 1 / days; the same users come back, so "
            "the lift can be a tenth off"
        )


def print_realism(console: Console, content: dict[str, Any]) -> None:
    """A real log beside a simulated one: what gives the simulation away, and a row per statistic."""
    console.print()
    for line in realism_words.lines(content):
        console.print(line, highlight=False)
    days = content["days"] or content["purchase_days"]
    title = f"Not fitted, {days} days of each log, {content['seeds']} simulated: distance, and that by sampling alone"
    table = _table(title, ("statistic",), ("distance", "by sampling", "outside", "figures", "events", "simulated"))
    table.add_column("not compared, as")
    for row in content["statistics"]:
        table.add_row(
            row["title"], words.percent(row["distance"], sign=False), words.percent(row["by_sampling"], sign=False),
            words.count(row["outside"]), words.count(row["figures"]), *(words.count(n) for n in row["events"]), row["why"],
        )  # fmt: skip
    console.print()
    console.print(table)


def print_equal(console: Console, content: dict[str, Any]) -> None:
    """What many splits of equal arms say of each metric, a table for each design."""
    for design in dict.fromkeys(row["design"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["design"] == design]
        title = f"A/A by {design}, {content['runs']:,} splits: p below 5%, distance of p from uniform, intervals that hold 0"
        table = _table(title, ("metric",), ("splits", "below 5%", "band", "distance", "at most", "coverage"))
        table.add_column("promise")
        for row in rows:
            said = words.promise(row)
            coverage = words.percent(row["coverage"], sign=False)
            band = f"{row['least']} to {row['most']}" if row["runs"] else words.DASH
            table.add_row(
                row["metric"], words.count(row["runs"]), words.count(row["rejected"]), band, words.figure(row["distance"]),
                words.figure(row["critical"]), coverage,
                Text(said, style=_PROMISE.get(said, "dim" if row["passed"] is None else "")),
            )  # fmt: skip
        console.print()
        console.print(table)


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
