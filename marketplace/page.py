"""The report as a page: one file, charts included."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from marketplace import words
from marketplace.charts import calibration_chart, lift_chart, pacing_chart


def render_html(content: dict[str, Any]) -> str:
    """A page that needs nothing beside it."""
    charts: dict[str, Any] = {}
    if "readout" in content:
        tasks = dict.fromkeys(row["task"] for row in content["calibration"])
        charts = {
            "lift": lift_chart(content["readout"]).to_html(full_html=False, include_plotlyjs=True),
            "calibration": [
                calibration_chart(content["calibration"], task).to_html(full_html=False, include_plotlyjs=False)
                for task in tasks
            ],
            "pacing": pacing_chart(content["pacing"]).to_html(full_html=False, include_plotlyjs=False),
        }
    environment = Environment(
        loader=PackageLoader("marketplace"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("report.html.j2")
    marked = {name: _safe(chart) for name, chart in charts.items()}
    return template.render(content=content, charts=marked, words=words)


def _safe(chart: Any) -> Any:
    """Charts are our own markup."""
    return [Markup(part) for part in chart] if isinstance(chart, list) else Markup(chart)
