"""Events about the health of backends. Pure."""

from __future__ import annotations

import math

from pydsr.daemon.health_state import HealthChange, Key
from pydsr.health.passive import Suspicion
from pydsr.model.check_result import Result
from pydsr.model.events import Event, EventKind
from pydsr.model.service import BackendState

_BY_COMMAND = "; a command has changed its state, which stays until the file is loaded again"


def change_event(
    change: HealthChange,
    cause: tuple[Result | None, float | None],
    now: float,
    *,
    is_made: bool,
) -> Event | None:
    """Return the event of a change; None for a step of a slow start.

    The cause is a failure, and the time of the first failure in its row. A change is not made if a
    command has changed the backend since.
    """
    before, after = change.before, change.after
    details: dict[str, object] = {
        "from": before.state.value,
        "to": after.state.value,
        "service": str(change.endpoint),
        "backend": str(change.address),
    }
    kind, seconds = EventKind.BACKEND_CHANGED, None
    if before.is_healthy and not after.is_healthy:
        failure, since = cause
        kind, text = EventKind.BACKEND_UNHEALTHY, "its checks failed"
        seconds = now - since if since is not None else None
        if failure is not None:
            text = failure.message
            details |= {"outcome": failure.outcome.value, "hint": failure.hint}
        if after.is_kept:
            text += "; it stays in service, as too few would be left"
    elif after.is_healthy and not before.is_healthy:
        kind, text = EventKind.BACKEND_HEALTHY, "passes its checks"
        seconds = now - before.since if before.since > -math.inf else None
    elif before.state is not after.state or before.is_kept != after.is_kept:
        text = _reason(change)
    elif after.report.percent is not None and change.changes_data_plane:
        text = _reason(change)
        details |= {"from": f"weight {before.weight}", "to": f"weight {after.weight}"}
    else:
        return None
    if change.changes_data_plane and not is_made:
        text += _BY_COMMAND
    return Event(kind, f"{change.endpoint} {change.address}", text, seconds, details)


def _reason(change: HealthChange) -> str:
    report = change.after.report
    if change.before.is_kept:
        return "still fails its checks, and enough others are healthy again"
    if change.after.is_kept:
        return "still fails its checks, but too few others are left"
    if report.state is not None or report.percent is not None:
        return "requested by its agent" + (f": {report.description}" if report.description else "")
    if change.after.state is BackendState.UP:
        return "takes over, as no other backend is healthy"
    return "not needed any more, as other backends are healthy again"


def unhealthy_at_start(key: Key) -> Event:
    """Return the event of a backend that was out before its first check."""
    endpoint, address = key
    cause = "was out already when checks began; it is back when they pass"
    details = {"service": str(endpoint), "backend": str(address)}
    return Event(EventKind.BACKEND_UNHEALTHY, f"{endpoint} {address}", cause, None, details)


def suspected(suspicion: Suspicion) -> Event:
    """Return the event of a backend that looks like a black hole."""
    cause = (
        f"{suspicion.new_flows} new connections, and hardly any was established "
        f"({suspicion.ratio:.1f} packets each, {suspicion.peers_ratio:.1f} on other backends); "
        "checking it now"
    )
    what = f"{suspicion.endpoint} {suspicion.address}"
    return Event(EventKind.BACKEND_SUSPECTED, what, cause)


def check_warning(key: Key, warning: str) -> Event:
    """Return the event of a check that will soon fail."""
    return Event(EventKind.CHECK_WARNING, f"{key[0]} {key[1]}", warning)
