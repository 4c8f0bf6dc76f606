"""The report, the portrait of a world and a search over architectures as pages: one file each, charts included."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from marketplace import words
from marketplace.charts import calibration_chart, days_chart, lift_chart, pacing_chart
from marketplace.pareto_chart import pareto_chart
from marketplace.portrait_charts import portrait_charts
from marketplace.serving_words import reasons, serving_sheets


def render_html(content: dict[str, Any]) -> str:
    """A page that needs nothing beside it."""
    charts: dict[str, Any] = {}
    if "readout" in content:
        tasks = dict.fromkeys(row["task"] for row in content["calibration"])
        charts = {
            "lift": {
                arm: lift_chart(rows).to_html(full_html=False, include_plotlyjs=place == 0)
                for place, (arm, rows) in enumerate(words.by_arm(content["readout"]).items())
            },
            "days": {
                arm: days_chart(rows, [look for look in content["by_day"] if look["arm"] == arm]).to_html(
                    full_html=False, include_plotlyjs=False
                )
                for arm, rows in words.by_arm(content["readout"]).items()
            },
            "calibration": [
                calibration_chart(content["calibration"], task).to_html(full_html=False, include_plotlyjs=False)
                for task in tasks
            ],
            "pacing": pacing_chart(content["pacing"]).to_html(full_html=False, include_plotlyjs=False),
        }
    return _render(
        "report.html.j2", content, {name: _safe(chart) for name, chart in charts.items()},
        serving=serving_sheets(content), reasons=reasons(content),
    )  # fmt: skip


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
    return _render("pareto.html.j2", content, _safe(chart))


def _render(template: str, content: dict[str, Any], charts: Any, **more: Any) -> str:
    environment = Environment(
        loader=PackageLoader("marketplace"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(content=content, charts=charts, words=words, **more)


def _safe(chart: Any) -> Any:
    """Charts are our own markup."""
    if isinstance(chart, dict):
        return {name: Markup(part) for name, part in chart.items()}
    return [Markup(part) for part in chart] if isinstance(chart, list) else Markup(chart)
