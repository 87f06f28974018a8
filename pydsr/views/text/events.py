"""One line for an event. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def event_line(document: Mapping[str, Any]) -> str:
    """Return an event as people read it.

    Args:
        document: the event as JSON has it.
    """
    change = f"{document['from']} -> {document['to']}, " if "from" in document else ""
    cause = str(document["cause"]).replace("\n", "; ")
    duration = document.get("duration")
    took = "" if duration is None else f" ({_seconds(duration)})"
    return f"{document['time']}  {document['event']}  {document['object']}: {change}{cause}{took}"


def _seconds(duration: float) -> str:
    return f"{duration:.1f} s" if duration >= 1 else f"{1000 * duration:.1f} ms"
