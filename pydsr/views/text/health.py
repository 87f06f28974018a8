"""The health of backends, as the daemon tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pydsr.views.text.figures import failures

_STYLES = {True: "green", False: "red", None: "dim"}


def health_table(document: Mapping[str, Any]) -> RenderableType:
    """Show every backend that is checked, with what is wrong.

    Args:
        document: what the daemon says, as JSON has it.
    """
    if not document["services"]:
        return Text("no service has checks", style="yellow")
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("service", "backend", "health", "for", "state", "weight", "what is wrong"):
        table.add_column(name, justify="right" if name in ("for", "weight") else "left")
    for service in document["services"]:
        for one in service["backends"]:
            table.add_row(
                Text(service["service"]),
                Text(one["address"]),
                Text(_health(one), style=_STYLES[one["healthy"]]),
                Text("" if one["seconds"] is None else f"{one['seconds']:.0f} s"),
                Text(one["state"]),
                Text(str(one["weight"])),
                Text(failures(one)),
            )
    return table


def _health(backend: Mapping[str, Any]) -> str:
    if backend["healthy"] is None:
        return "sorry backend"
    if backend["held"]:
        return "unhealthy, held"
    return "healthy" if backend["healthy"] else "unhealthy"
