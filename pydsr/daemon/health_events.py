"""Events of health: what has become of a backend, and why. Pure."""

from __future__ import annotations

import math

from pydsr.daemon.health_memory import Key, Turn
from pydsr.health.passive import Suspicion
from pydsr.model.check_result import Result
from pydsr.model.events import Event, EventKind
from pydsr.model.service import BackendState

_BY_HAND = "; its state was changed by hand, and stays so until the file is loaded again"


def event_of(
    turn: Turn, failure: Result | None, doubted_since: float | None, now: float, *, is_ours: bool
) -> Event | None:
    """Return the event of a turn; None where it is no more than a step of slow start.

    Args:
        turn: what became of a backend.
        failure: what its checks have found, if they fail.
        doubted_since: when that began.
        now: seconds of the same clock.
        is_ours: whether the backend was as the daemon had left it, and so was changed.
    """
    details: dict[str, object] = {
        "from": turn.before.state.value,
        "to": turn.after.state.value,
        "service": str(turn.endpoint),
        "backend": str(turn.address),
    }
    kind, cause, seconds = EventKind.BACKEND_CHANGED, "", None
    if turn.was.is_healthy and not turn.condition.is_healthy:
        kind, cause = EventKind.BACKEND_UNHEALTHY, "its checks failed"
        seconds = now - doubted_since if doubted_since is not None else None
        if failure is not None:
            cause = failure.message
            details |= {"outcome": failure.outcome.value, "hint": failure.hint}
        if turn.after.is_held:
            cause += "; it stays in service, as too few would be left"
    elif turn.condition.is_healthy and not turn.was.is_healthy:
        kind, cause = EventKind.BACKEND_HEALTHY, "passes its checks"
        seconds = now - turn.was.since if turn.was.since > -math.inf else None
    elif turn.before.state is not turn.after.state or turn.before.is_held != turn.after.is_held:
        cause = _why(turn)
    elif turn.condition.report.percent is not None and turn.is_change:
        cause = _why(turn)
        details |= {"from": f"weight {turn.before.weight}", "to": f"weight {turn.after.weight}"}
    else:
        return None
    if not is_ours and turn.is_change:
        cause += _BY_HAND
    return Event(kind, f"{turn.endpoint} {turn.address}", cause, seconds, details)


def _why(turn: Turn) -> str:
    report = turn.condition.report
    if turn.before.is_held:
        return "still fails its checks, and enough others are healthy again"
    if turn.after.is_held:
        return "still fails its checks, but too few others are left"
    if report.admission is not None or report.percent is not None:
        words = f": {report.description}" if report.description else ""
        return f"its agent asks for that{words}"
    if turn.after.state is BackendState.UP:
        return "stands in, as no healthy backend is left"
    return "stood in, and healthy backends are back"


def left_out(key: Key) -> Event:
    """Return the event of a backend that was out before anything was checked."""
    endpoint, address = key
    cause = "was out already when checks began; it is back when they pass"
    details = {"service": str(endpoint), "backend": str(address)}
    return Event(EventKind.BACKEND_UNHEALTHY, f"{endpoint} {address}", cause, None, details)


def suspected(suspicion: Suspicion) -> Event:
    """Return the event of a backend whose traffic speaks against it."""
    cause = (
        f"{suspicion.new_flows} new connections, and hardly one came about "
        f"({suspicion.ratio:.1f} packets for each, {suspicion.peers_ratio:.1f} elsewhere); "
        "it is checked at once"
    )
    what = f"{suspicion.endpoint} {suspicion.address}"
    return Event(EventKind.BACKEND_SUSPECTED, what, cause)


def warned(key: Key, warning: str) -> Event:
    """Return the event of a check that passes, but will not for long."""
    return Event(EventKind.CHECK_WARNING, f"{key[0]} {key[1]}", warning)
