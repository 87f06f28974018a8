"""Build the panels of a Grafana dashboard as JSON. Pure.

The JSON has the form that Grafana itself exports
(https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

Json = dict[str, Any]

_WIDTH = 24
"""Columns of Grafana's grid."""

SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    Attributes:
        queries: pairs of an expression and its legend.
        unit: as Grafana names units.
        more: further keys of the panel's JSON.
    """

    title: str
    kind: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    text: str = ""
    width: int = 12
    height: int = 8
    more: Json = field(default_factory=dict)


def plot(
    title: str, expression: str, legend: str, unit: str = "short", text: str = "", width: int = 12
) -> Panel:
    """Return a panel of lines over time."""
    return Panel(title, "timeseries", ((expression, legend),), unit, text, width)


def number(title: str, expression: str, unit: str = "short", text: str = "") -> Panel:
    """Return a small panel that shows the present value."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return Panel(title, "stat", ((expression, ""),), unit, text, 3, 4, {"options": options})


def table(title: str, expression: str, text: str, unit: str = "short") -> Panel:
    """Return a panel that lists labels, and values if a unit is given."""
    hidden = dict.fromkeys(("Time", "__name__", "job", "Value"), True)
    if unit != "short":
        del hidden["Value"]
    more = {"transformations": [{"id": "organize", "options": {"excludeByName": hidden}}]}
    return Panel(title, "table", ((expression, ""),), unit, text, 12, 8, more)


def states(title: str, expression: str, legend: str, words: dict[int, tuple[str, str]]) -> Panel:
    """Return a panel of states over time, with the word and colour of each value."""
    mapped = {
        str(value): {"text": word, "color": color, "index": value}
        for value, (word, color) in words.items()
    }
    more = {"fieldConfig": {"defaults": {"mappings": [{"type": "value", "options": mapped}]}}}
    return Panel(title, "state-timeline", ((expression, legend),), width=12, more=more)


Rows = Iterable[tuple[str, tuple[Panel, ...]]]


def laid_out(rows: Rows) -> Iterator[Json]:
    """Yield rows and their panels as JSON, placed from left to right and top to bottom."""
    numbers, top = count(1), 0
    for title, panels in rows:
        grid = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        yield {"id": next(numbers), "type": "row", "title": title, "gridPos": grid, "panels": []}
        top, left = top + 1, 0
        for panel in panels:
            if left + panel.width > _WIDTH:
                top, left = top + panel.height, 0
            grid = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(panel, next(numbers), grid)
            left += panel.width
        top += panels[-1].height


def _panel(panel: Panel, number: int, grid: Json) -> Json:
    shown = {"format": "table", "instant": True} if panel.kind == "table" else {}
    made = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": grid,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": letter, "datasource": SOURCE, "expr": query, "legendFormat": legend} | shown
            for letter, (query, legend) in zip("ABCD", panel.queries, strict=False)
        ],
    }
    return made | panel.more


def variable(name: str, label: str, query: str) -> Json:
    """Return a variable that users choose above the panels."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
