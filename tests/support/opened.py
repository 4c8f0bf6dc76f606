"""The dashboard as tests open it, and what is on a page of it."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

import dashboard

ROOT = Path(dashboard.__file__).parent


def copy_json(source: Path, target: Path) -> Path:
    """A run without its Parquet."""
    target.mkdir(parents=True)
    for path in source.glob("*.json"):
        shutil.copy(path, target)
    return target


def whole(run: Path, runs: Path, name: str = "good") -> Path:
    """A copy of a run in a runs folder; Parquet files are links, to be replaced and not changed."""
    shutil.copytree(run, runs / name, copy_function=_link)
    return runs / name


def _link(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        Path(target).hardlink_to(source)
    else:
        shutil.copy2(source, target)


def replace(file: Path, content: bytes) -> None:
    """Put another file in the place of a link."""
    file.unlink()
    file.write_bytes(content)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def report_of(runs: Path, run: str = "good") -> dict[str, Any]:
    return json.loads((runs / run / "report.json").read_text())


def opened(monkeypatch: Any, view: str, *args: Any, **address: str) -> AppTest:
    """A view of the dashboard on these folders, at an address with these parameters."""
    monkeypatch.setattr("sys.argv", ["app.py", *(str(arg) for arg in args)])
    at = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    for name, value in address.items():
        at.query_params[name] = value
    if view != "readout":
        at.switch_page(f"views/{view}.py")
    at.run()
    assert not at.exception
    return at


def said(at: AppTest) -> str:
    """What the page says in boxes."""
    return " ".join(message.value for message in (*at.error, *at.info, *at.warning, *at.success)).replace("\\", "")


def written(at: AppTest) -> str:
    """What the page says in text."""
    return " ".join(part.value for part in (*at.markdown, *at.caption)).replace("\\", "")


def drawn(at: AppTest, chart: int = 0) -> list[dict[str, Any]]:
    """The series of a chart."""
    return json.loads(at.get("plotly_chart")[chart].proto.spec)["data"]


def layouts(at: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec)["layout"] for chart in at.get("plotly_chart")]


def untitled(at: AppTest) -> list[str]:
    """Axes of the page's charts without a title, but for those of names and those that share the title of their row or column."""
    found = []
    for place, layout in enumerate(layouts(at)):
        titled = {
            (name[0], str(axis.get("domain"))) for name, axis in _axes(layout) if axis.get("title", {}).get("text")
        }
        for name, axis in _axes(layout):
            of_names = name[0] == "y" and ("categoryarray" in axis or axis.get("autorange") == "reversed")
            if not (of_names or (name[0], str(axis.get("domain"))) in titled):
                found.append(f"chart {place}: {name}")
    return found


def _axes(layout: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, axis) for name, axis in layout.items() if name.startswith(("xaxis", "yaxis"))]


def numbers(values: Any) -> list[float]:
    """Of a Plotly array, which may travel as base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return list(values)
