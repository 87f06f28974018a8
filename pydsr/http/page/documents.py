"""What the status page is told, as JSON has it. Pure.

``GET /api/state`` answers with all of it (more keys may be added)::

    balancer    {"host", "version", "started"}
    problem     {"message", "hint"} where the balancer cannot be read, or null
    attention   [{"level": "trouble"|"warning", "service", "backend", "since", "message", "hint"}]
    interfaces  [{"name", "mode"}]
    services    as in `pydsr services list`; "backends": as in `pydsr backends list`, and for each
                "weight_share" and "health": {"healthy", "since", "held", "configured_weight",
                "failures": [{"check", "outcome", "message", "hint"}]}, or null without checks
    reasons     as in `pydsr stats --explain`
    rates       {"time", "clock", "total": RATE, "services": {SERVICE: RATE + {"slots_changing",
                "records", "learning", "backends": {ADDRESS: RATE + {"share"}}}},
                "verdicts": {REASON: {"packets", "total"}}}; empty where there is a problem
    events      [{"number", "time", "event", "trouble", "object", "cause", "duration", "hint",
                "from", "to"}], oldest first

RATE is {"packets", "bits", "new_flows"} per second; ``new_flows`` is null where the protocol does
not tell. Shares are 0 to 1. ``time`` is seconds of the balancer's monotonic clock, everything else
that is a time ISO 8601 in UTC; ``learning`` and ``duration`` are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydsr.http.page.attention import needing_attention
from pydsr.model.errors import PydsrError
from pydsr.model.events import TROUBLES, Event, EventKind
from pydsr.model.rates import Rate, Rates, ServiceRate, weight_shares
from pydsr.model.reasons import Reason
from pydsr.model.service import Service
from pydsr.model.snapshot import Snapshot
from pydsr.views.json.documents import (
    Document,
    backends_document,
    reasons_document,
    services_document,
)

Health = Mapping[tuple[str, str], Document]
"""What is held of the health of backends, by service and address."""

_NANOSECONDS = 1_000_000_000
_SHOWN_OF_EVENTS = ("from", "to", "hint")
"""What is shown of an event's details; of others it is not known what they hold."""


@dataclass(frozen=True)
class About:
    """Which balancer it is.

    Attributes:
        host: the machine's name.
        started: when its daemon was.
    """

    host: str
    version: str
    started: datetime

    def document(self) -> Document:
        """Return it as JSON has it."""
        return {"host": self.host, "version": self.version, "started": _moment(self.started)}


def health_by_backend(document: Mapping[str, Any], clock: datetime) -> Health:
    """Return what the daemon holds of health, with times in place of durations.

    Args:
        document: as ``pydsr health --json`` has it.
        clock: the moment it is of; the times are to the second, so that they stay the same.
    """
    return {
        (service["service"], one["address"]): {
            "healthy": one["healthy"],
            "since": _since(one["seconds"], clock),
            "held": one["held"],
            "configured_weight": one["configured_weight"],
            "failures": one["failures"],
        }
        for service in document.get("services", ())
        for one in service["backends"]
    }


def _since(seconds: float | None, clock: datetime) -> str | None:
    return None if seconds is None else _moment(clock - timedelta(seconds=seconds))


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def structure_document(
    about: About,
    snapshot: Snapshot,
    interface_names: Mapping[int, str],
    health: Health,
    reasons: Sequence[Reason],
) -> Document:
    """Return what seldom changes: all but rates and events.

    Args:
        about: the balancer.
        snapshot: its services and interfaces.
        interface_names: by interface index.
        health: of those backends that are checked.
        reasons: every way out of the program.
    """
    return {
        "balancer": about.document(),
        "problem": None,
        "attention": needing_attention(snapshot.interfaces, snapshot.services, health),
        "interfaces": [{"name": name, "mode": mode} for name, mode in snapshot.interfaces],
        "services": _services(snapshot.services, interface_names, health),
        "reasons": reasons_document(reasons),
    }


def problem_document(about: About, error: PydsrError, reasons: Sequence[Reason]) -> Document:
    """Return the same where the balancer cannot be read."""
    return {
        "balancer": about.document(),
        "problem": {"message": error.message, "hint": error.hint},
        "attention": [],
        "interfaces": [],
        "services": [],
        "reasons": reasons_document(reasons),
    }


def _services(
    services: Sequence[Service], interface_names: Mapping[int, str], health: Health
) -> list[Document]:
    options = services_document(services)
    backends = backends_document(services, interface_names)
    return [
        {
            **option,
            "backends": [
                {
                    **one,
                    "weight_share": round(share, 4),
                    "health": health.get((option["service"], one["address"])),
                }
                for one, share in zip(
                    listed["backends"], weight_shares(service.backends).values(), strict=True
                )
            ],
        }
        for service, option, listed in zip(services, options, backends, strict=True)
    ]


def rates_document(rates: Rates, clock: datetime) -> Document:
    """Return what changes all the time.

    Args:
        rates: the latest.
        clock: the moment they are of.
    """
    snapshot = rates.snapshot
    return {
        "time": round(snapshot.time, 3),
        "clock": _moment(clock),
        "total": _rate(rates.total),
        "services": {
            str(one.service.endpoint): _service_rate(one, snapshot) for one in rates.services
        },
        "verdicts": {
            one.reason: {"packets": _rounded(one.packets), "total": one.total}
            for one in rates.verdicts
        },
    }


def _service_rate(one: ServiceRate, snapshot: Snapshot) -> Document:
    service = one.service
    learns_for = service.learn_until / _NANOSECONDS - snapshot.time
    return {
        **_rate(one.rate),
        "slots_changing": service.slots_changing,
        "records": snapshot.records.get(service.id, 0),
        "learning": max(0, round(learns_for)) if service.slots_changing else 0,
        "backends": {
            str(each.backend.address): {
                **_rate(each.rate),
                "share": None if each.share is None else round(each.share, 4),
            }
            for each in one.backends
        },
    }


def _rate(rate: Rate) -> Document:
    new_flows = None if rate.new_flows is None else _rounded(rate.new_flows)
    return {
        "packets": _rounded(rate.packets),
        "bits": round(rate.bits),
        "new_flows": new_flows,
    }


def _rounded(number: float) -> float:
    """Return a rate as short as it is useful: a whole number from 100 on."""
    return round(number) if number >= 100 else round(number, 1)


def events_document(events: Iterable[Event]) -> list[Document]:
    """Return events as the page shows them."""
    return [
        {
            "number": event.number,
            "time": event.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event.kind.value,
            "trouble": event.kind in TROUBLES,
            "object": event.object,
            "cause": _cause(event),
            "duration": None if event.seconds is None else round(event.seconds, 3),
            **{key: event.details.get(key) for key in _SHOWN_OF_EVENTS},
        }
        for event in events
    ]


def _cause(event: Event) -> str:
    """Return why it happened; what is wrong with a file quotes it, and that may be its secrets."""
    if event.kind is EventKind.RELOAD_FAILED:
        return "nothing was changed; `pydsr events` on the balancer says what is wrong with it"
    return event.cause
