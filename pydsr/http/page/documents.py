"""Build the JSON documents of the status page. Pure.

``GET /api/state`` returns all of these keys; more may be added::

    balancer    {"host", "version", "started"}
    problem     {"message", "hint"} if the balancer cannot be read, otherwise null
    attention   [{"level": "trouble"|"warning", "service", "backend", "since", "message", "hint"}]
    interfaces  [{"name", "mode"}]
    services    as in `pydsr services list`; "backends": as in `pydsr backends list`, and for each
                "weight_share" and "health": {"healthy", "since", "held", "configured_weight",
                "failures": [{"check", "outcome", "message", "hint"}]}, or null without checks
    reasons     as in `pydsr stats --explain`
    rates       {"time", "clock", "total": RATE, "services": {SERVICE: RATE + {"slots_changing",
                "records", "learning", "backends": {ADDRESS: RATE + {"share"}}}},
                "verdicts": {REASON: {"packets", "total"}}}; empty if there is a problem
    events      [{"number", "time", "event", "trouble", "object", "cause", "duration", "hint",
                "from", "to"}], oldest first

RATE is {"packets", "bits", "new_flows"} per second; ``new_flows`` is null for UDP. Shares are 0 to
1. ``time`` is seconds of the balancer's monotonic clock; all other times are ISO 8601 in UTC.
``learning`` and ``duration`` are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydsr.model.errors import PydsrError
from pydsr.model.events import TROUBLES, Event, EventKind
from pydsr.model.rates import Rate, Rates, ServiceRate, weight_shares
from pydsr.model.reasons import Reason
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Snapshot
from pydsr.views.json.documents import (
    Document,
    backends_document,
    reasons_document,
    services_document,
)

Health = Mapping[tuple[str, str], Document]
"""The health of checked backends, by service and address."""

_NANOSECONDS = 1_000_000_000
_SHOWN_DETAILS = ("from", "to", "hint")
"""Details of events to show; others might contain secrets."""


@dataclass(frozen=True)
class About:
    """The identity of a balancer: its host name, version and the start of its daemon."""

    host: str
    version: str
    started: datetime

    def document(self) -> Document:
        """Return it as JSON."""
        return {
            "host": self.host,
            "version": self.version,
            "started": _to_seconds(self.started),
        }


def _to_seconds(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


# The structure: everything but rates and events


def structure_document(
    about: About,
    snapshot: Snapshot,
    interface_names: Mapping[int, str],
    health: Health,
    reasons: Sequence[Reason],
) -> Document:
    """Return the keys that seldom change: all but rates and events."""
    return {
        "balancer": about.document(),
        "problem": None,
        "attention": attention(snapshot.interfaces, snapshot.services, health),
        "interfaces": [{"name": name, "mode": mode} for name, mode in snapshot.interfaces],
        "services": _services(snapshot.services, interface_names, health),
        "reasons": reasons_document(reasons),
    }


def problem_document(about: About, error: PydsrError, reasons: Sequence[Reason]) -> Document:
    """Return the keys of :func:`structure_document` for a balancer that cannot be read."""
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
    listed = backends_document(services, interface_names)
    return [
        {
            **option,
            "backends": [
                {
                    **backend,
                    "weight_share": round(share, 4),
                    "health": health.get((option["service"], backend["address"])),
                }
                for backend, share in zip(
                    backends["backends"], weight_shares(service.backends).values(), strict=True
                )
            ],
        }
        for service, option, backends in zip(services, options, listed, strict=True)
    ]


def health_by_backend(document: Mapping[str, Any], clock: datetime) -> Health:
    """Return the health of backends, with times in place of durations.

    Args:
        document: as ``pydsr health --json`` prints it.
        clock: its moment. Times are rounded to seconds, so that they stay the same.
    """
    return {
        (service["service"], backend["address"]): {
            "healthy": backend["healthy"],
            "since": None
            if backend["seconds"] is None
            else _to_seconds(clock - timedelta(seconds=backend["seconds"])),
            "held": backend["held"],
            "configured_weight": backend["configured_weight"],
            "failures": backend["failures"],
        }
        for service in document.get("services", ())
        for backend in service["backends"]
    }


# What needs attention


def attention(
    interfaces: Sequence[tuple[str, str]], services: Sequence[Service], health: Health
) -> list[Document]:
    """Return what needs attention, the worst first."""
    items = [*_of_interfaces(interfaces)]
    for service in services:
        items += _of_service(service)
        for backend in service.backends:
            key = str(service.endpoint), str(backend.address)
            items += _of_backend(service, backend, health.get(key))
    # Sorting is stable: within a level, the order of the services stays.
    return sorted(items, key=lambda item: item["level"] != "trouble")


def _item(
    message: str,
    hint: str,
    service: Service | None = None,
    backend: Backend | None = None,
    *,
    level: str = "trouble",
    since: str | None = None,
) -> Document:
    return {
        "level": level,
        "service": str(service.endpoint) if service else None,
        "backend": str(backend.address) if backend else None,
        "since": since,
        "message": message,
        "hint": hint,
    }


def _of_interfaces(interfaces: Sequence[tuple[str, str]]) -> Iterable[Document]:
    if not interfaces:
        hint = "`pydsr attach IFACE`, or name interfaces in the file"
        yield _item("no interface is attached, so no packet is balanced", hint)
    for name, mode in interfaces:
        if mode != "native":
            message = f"{name} is attached in {mode} mode, at a fraction of native speed"
            hint = f"`pydsr attach {name} --mode native` says why native mode fails"
            yield _item(message, hint, level="warning")


def _of_service(service: Service) -> Iterable[Document]:
    if not service.backends:
        hint = f"`pydsr backends add {service.endpoint} BACKEND`"
        yield _item("the service has no backends", hint, service)
    elif all(backend.state is not BackendState.UP for backend in service.backends):
        hint = f"`pydsr backends undrain {service.endpoint} …`"
        yield _item("no backend takes new flows", hint, service)


def _of_backend(service: Service, backend: Backend, health: Document | None) -> Iterable[Document]:
    if backend.state is BackendState.UP and backend.mac is None:
        message = "its MAC address is unknown, so its packets are dropped"
        hint = "is it up, and in the same network and VLAN?"
        yield _item(message, hint, service, backend)
    if health is None or health["healthy"] is not False:
        return
    failure = next(iter(health["failures"]), None)
    message = failure["message"] if failure else "it was out of service when checks began"
    if health["held"]:
        message += "; it stays in service because too few would be left"
    hint = failure["hint"] if failure else ""
    yield _item(message, hint, service, backend, since=health["since"])


# Rates and events


def rates_document(rates: Rates, clock: datetime) -> Document:
    """Return the rates at a moment of the wall clock."""
    snapshot = rates.snapshot
    return {
        "time": round(snapshot.time, 3),
        "clock": _to_seconds(clock),
        "total": _rate(rates.total),
        "services": {
            str(rated.service.endpoint): _service_rate(rated, snapshot) for rated in rates.services
        },
        "verdicts": {
            verdict.reason: {"packets": _rounded(verdict.packets), "total": verdict.total}
            for verdict in rates.verdicts
        },
    }


def _service_rate(rated: ServiceRate, snapshot: Snapshot) -> Document:
    service = rated.service
    learning_seconds = service.learn_until / _NANOSECONDS - snapshot.time
    return {
        **_rate(rated.rate),
        "slots_changing": service.slots_changing,
        "records": snapshot.records.get(service.id, 0),
        "learning": max(0, round(learning_seconds)) if service.slots_changing else 0,
        "backends": {
            str(backend.backend.address): {
                **_rate(backend.rate),
                "share": None if backend.share is None else round(backend.share, 4),
            }
            for backend in rated.backends
        },
    }


def _rate(rate: Rate) -> Document:
    return {
        "packets": _rounded(rate.packets),
        "bits": round(rate.bits),
        "new_flows": None if rate.new_flows is None else _rounded(rate.new_flows),
    }


def _rounded(number: float) -> float:
    """Return a rate with the digits that are useful: none after the point from 100 on."""
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
            **{key: event.details.get(key) for key in _SHOWN_DETAILS},
        }
        for event in events
    ]


def _cause(event: Event) -> str:
    """Return the cause, unless it quotes the file, which may contain secrets."""
    if event.kind is EventKind.RELOAD_FAILED:
        return "nothing was changed; `pydsr events` on the balancer shows the error"
    return event.cause
