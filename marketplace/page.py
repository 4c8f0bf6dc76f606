"""The report, the portrait of a world, a search and a comparison as pages: one file each, charts included."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from marketplace import realism_words, words
from marketplace.charts import calibration_chart, lift_chart, multiplier_chart, pacing_chart
from marketplace.cost_charts import (
    dollars_chart,
    hosts,
    hosts_chart,
    latency_chart,
    recall_chart,
    scoring_chart,
    worth_chart,
)
from marketplace.experiment_charts import days_chart, truth_chart
from marketplace.pareto_chart import pareto_chart
from marketplace.portrait_charts import portrait_charts
from marketplace.readout_words import guardrails
from marketplace.realism_charts import realism_charts
from marketplace.serving_words import reasons, serving_sheets


def render_html(content: dict[str, Any], curves: Sequence[dict[str, Any]] = ()) -> str:
    """A page that needs nothing beside it.

    Args:
        content: Of `build_report`.
        curves: Of `measure_curves`; nothing is drawn of them where there are none.
    """
    charts = {"cost": _cost(content, curves)}
    if "readout" in content:
        charts |= _test(content)
    return _render(
        "report.html.j2", content, charts, serving=serving_sheets(content), reasons=reasons(content),
        plotly=Markup(get_plotlyjs()),
    )  # fmt: skip


def _test(content: dict[str, Any]) -> dict[str, Any]:
    """Charts of the A/B, by arm where they are of one."""
    arms = words.by_arm(content["readout"])
    looks, parts = words.by_arm(content["by_day"]), words.by_arm(_parts(content))
    tasks = dict.fromkeys(row["task"] for row in content["calibration"])
    return {
        "lift": {arm: _markup(lift_chart(rows)) for arm, rows in arms.items()},
        "truth": {
            arm: _markup(truth_chart(rows)) for arm, rows in arms.items() if any(r["covered"] is not None for r in rows)
        },
        "days": {arm: _markup(days_chart(_goals(rows), looks.get(arm, []))) for arm, rows in arms.items()},
        "parts": {arm: _markup(lift_chart(rows, by="place")) for arm, rows in parts.items()},
        "calibration": [_markup(calibration_chart(content["calibration"], task)) for task in tasks],
        "pacing": _markup(pacing_chart(content["pacing"])), "multiplier": _markup(multiplier_chart(content["pacing"])),
    }  # fmt: skip


def _goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["role"] == "goal" and row["low"] is not None]


def _parts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """CPA in every part of the test."""
    rows = [row for row in content["segments"] if row["metric"] == "CPA"]
    return [row | {"place": f"{row['segment'].replace('_', ' ')}: {row['part']}"} for row in rows]


def _cost(content: dict[str, Any], curves: Sequence[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """Charts of serving with their titles."""
    priced = content.get("serving")
    if not priced:
        return []
    figures = {"Dollars a year": dollars_chart(priced)}
    if content.get("worth") and content.get("readout"):
        figures["Dollars against lift"] = worth_chart(content["worth"], content["readout"], "conversions")
    if hosts(priced):
        figures["Hosts by stage"] = hosts_chart(priced)
    figures["Milliseconds from request to answer"] = latency_chart(priced)
    if curves:
        figures["Scoring on one worker, as measured"] = scoring_chart(curves)
    if any(arm["recall"] for arm in priced["arms"]):
        figures["Recall by stage"] = recall_chart(priced["arms"])
    return [(title, _markup(figure)) for title, figure in figures.items()]


def _markup(figure: go.Figure) -> Markup:
    """A chart for a page that has Plotly."""
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False))


def render_portrait(content: dict[str, Any]) -> str:
    """The page of a world, which needs nothing beside it."""
    charts = [
        {"title": title, "caption": caption, "markup": Markup(
            figure.to_html(full_html=False, include_plotlyjs=place == 0, div_id=f"chart-{place}")
        )}
        for place, (title, caption, figure) in enumerate(portrait_charts(content))
    ]  # fmt: skip
    return _render("world.html.j2", content, charts)


def render_pareto(content: dict[str, Any]) -> str:
    """The page of a search over architectures, which needs nothing beside it."""
    chart = pareto_chart(content).to_html(full_html=False, include_plotlyjs=True, div_id="chart-0")
    return _render("pareto.html.j2", content, Markup(chart))


def render_realism(content: dict[str, Any]) -> str:
    """The page of a real log beside a simulated one, which needs nothing beside it."""
    charts = [
        chart | {"markup": Markup(
            chart["figure"].to_html(full_html=False, include_plotlyjs=place == 0, div_id=f"chart-{place}")
        )}
        for place, chart in enumerate(realism_charts(content))
    ]  # fmt: skip
    return _render("realism.html.j2", content, charts, lines=realism_words.lines(content))


def _render(template: str, content: dict[str, Any], charts: Any, **more: Any) -> str:
    environment = Environment(
        loader=PackageLoader("marketplace"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(
        content=content, charts=charts, words=words, guardrails=guardrails, **more
    )
