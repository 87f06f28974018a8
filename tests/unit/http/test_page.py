"""The documents of the status page, its history, and the Host headers it accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from pydsr.http.page.documents import (
    About,
    attention,
    events_document,
    health_by_backend,
    problem_document,
    rates_document,
    structure_document,
)
from pydsr.http.page.history import History
from pydsr.http.server import is_own_name
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.errors import NotAttachedError
from pydsr.model.events import Event, EventKind, EventLog
from pydsr.model.options import ServiceOptions
from pydsr.model.rates import rates_between
from pydsr.model.reasons import all_reasons
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN
WEB, DNS = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("198.51.100.10:53/udp")
CLOCK = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
ABOUT = About("lb1", "1.2", datetime(2026, 3, 4, tzinfo=UTC))
FAILURE = {
    "check": "http",
    "outcome": "port-closed",
    "message": "nothing listens",
    "hint": "start it",
}


def backend(number: int, state: BackendState = UP, mac: bool = True) -> Backend:
    """Return a backend by its number."""
    address = ip_address(f"198.51.100.{20 + number}")
    found = MacAddress(bytes((2, 0, 0, 0, 0, number))) if mac else None
    return Backend(number, address, 1, found, False, state, 7, slots=10)


def service(*backends: Backend, endpoint: Endpoint = WEB) -> Service:
    """Return a service with some backends."""
    options = ServiceOptions(name="<b>shop</b>")
    return Service(backends[0].id if backends else 9, endpoint, options, backends, table_size=20)


def snapshot(time: float, packets: int, *services: Service) -> Snapshot:
    """Return a snapshot in which all backends have the same counters."""
    counters = {
        each.id: Counters(packets, 100 * packets, packets)
        for one in services
        for each in one.backends
    }
    return Snapshot(time, services, counters, {"forwarded": packets}, (("eth0", "native"),))


def held(healthy: bool | None, *failures: dict[str, str], is_held: bool = False) -> dict[str, Any]:
    """Return the document of `pydsr health --json` for the second backend, since 30 seconds."""
    one = {
        "address": "198.51.100.22",
        "healthy": healthy,
        "seconds": 30.0,
        "state": "down",
        "weight": 1,
        "configured_weight": 10,
        "held": is_held,
        "failures": [*failures],
    }
    return {"services": [{"service": str(WEB), "backends": [one]}]}


# -- documents


def test_the_structure_has_every_backend_with_its_health() -> None:
    seen = snapshot(5.0, 0, service(backend(1), backend(2, DOWN)))
    health = health_by_backend(held(False, FAILURE), CLOCK)
    document = structure_document(ABOUT, seen, {7: "eth0"}, health, all_reasons())
    assert document == json.loads(json.dumps(document))
    assert {"host": "lb1", "version": "1.2", "started": "2026-03-04T00:00:00Z"} == (
        document["balancer"]
    )
    (shown,) = document["services"]
    first, second = shown["backends"]
    assert ("<b>shop</b>", "198.51.100.10:80/tcp") == (shown["name"], shown["service"])
    assert ("198.51.100.21", "02:00:00:00:00:01", "eth0", 1.0, None) == tuple(
        first[key] for key in ("address", "mac", "interface", "weight_share", "health")
    )
    assert ("down", 0.0) == (second["state"], second["weight_share"])
    assert {
        "healthy": False,
        "since": "2026-03-04T12:00:00Z",
        "held": False,
        "configured_weight": 10,
        "failures": [FAILURE],
    } == second["health"]


def test_a_problem_document_has_the_same_keys() -> None:
    whole = structure_document(ABOUT, snapshot(0.0, 0), {}, {}, all_reasons())
    broken = problem_document(ABOUT, NotAttachedError("not attached", "attach"), all_reasons())
    assert whole.keys() == broken.keys()
    assert {"message": "not attached", "hint": "attach"} == broken["problem"]


def test_rates_are_named_by_service_and_backend() -> None:
    tcp = replace(service(backend(1), backend(2)), slots_changing=3, learn_until=int(65.4 * 10**9))
    udp = service(backend(3), endpoint=DNS)
    rates = rates_between(snapshot(3.0, 0, tcp, udp), snapshot(5.0, 25, tcp, udp))
    document = rates_document(rates, CLOCK)
    assert document == json.loads(json.dumps(document))
    assert (5.0, "2026-03-04T12:00:30Z") == (document["time"], document["clock"])
    one = {"packets": 12.5, "bits": 10000, "new_flows": 12.5}
    found = document["services"]
    assert {
        "packets": 25.0,
        "bits": 20000,
        "new_flows": 25.0,
        "slots_changing": 3,
        "records": 0,
        "learning": 60,
        "backends": {
            "198.51.100.21": {**one, "share": 0.5},
            "198.51.100.22": {**one, "share": 0.5},
        },
    } == found[str(WEB)]
    assert (None, 0) == (found[str(DNS)]["new_flows"], found[str(DNS)]["learning"])
    assert {"forwarded": {"packets": 12.5, "total": 25}} == document["verdicts"]


def test_only_harmless_details_of_an_event_are_shown() -> None:
    log = EventLog()
    log.record(Event(EventKind.RELOAD_FAILED, "/etc/b.yaml", "line 1: the seed 'x1' is not …"))
    log.record(Event(EventKind.MAC_CHANGED, "x", "y", 0.25, {"from": "a", "to": "b", "token": "t"}))
    failed, changed = events_document(log.past())
    assert "x1" not in failed["cause"]
    assert failed["trouble"]
    assert ("a", "b", None, 0.25, False) == tuple(
        changed[key] for key in ("from", "to", "hint", "duration", "trouble")
    )
    assert "token" not in changed


# -- what needs attention


def said(*services: Service, health: Any = None, mode: str = "native") -> list[tuple[str, str]]:
    """Return level and message of each item."""
    of_backends = health_by_backend(health or {}, CLOCK)
    found = attention((("eth0", mode),), services, of_backends)
    return [(one["level"], one["message"]) for one in found]


def test_a_healthy_balancer_needs_no_attention() -> None:
    assert [] == said(service(backend(1), backend(2, DRAIN)), health=held(True))


def test_a_failing_check_has_its_message_and_time() -> None:
    health = health_by_backend(held(False, FAILURE), CLOCK)
    (found,) = attention((("eth0", "native"),), (service(backend(1), backend(2, DOWN)),), health)
    assert {
        "level": "trouble",
        "service": str(WEB),
        "backend": "198.51.100.22",
        "since": "2026-03-04T12:00:00Z",
        "message": "nothing listens",
        "hint": "start it",
    } == found


@pytest.mark.parametrize(
    ("services", "health", "expected"),
    [
        ([service(backend(1, DOWN))], None, "no backend takes new flows"),
        ([service()], None, "the service has no backends"),
        (
            [service(backend(1, mac=False))],
            None,
            "its MAC address is unknown, so its packets are dropped",
        ),
        (
            [service(backend(1), backend(2))],
            held(False, FAILURE, is_held=True),
            "nothing listens; it stays in service because too few would be left",
        ),
        (
            [service(backend(1), backend(2, DOWN))],
            held(False),
            "it was out of service when checks began",
        ),
    ],
)
def test_every_problem_needs_attention(services: list[Service], health: Any, expected: str) -> None:
    assert [("trouble", expected)] == said(*services, health=health)


def test_the_worst_comes_first() -> None:
    assert ["trouble", "warning"] == [level for level, _ in said(service(), mode="generic")]
    (found,) = attention((), (), {})
    assert "no interface is attached, so no packet is balanced" == found["message"]


# -- history


def test_history_has_the_last_minutes_of_present_services() -> None:
    history = History(seconds=10)
    both, one = service(backend(1), backend(2)), service(backend(1))
    before = snapshot(0.0, 0, both)
    for time, packets, now in ((5.0, 50, both), (12.0, 120, both), (14.0, 200, one)):
        after = snapshot(time, packets, now)
        history.record(rates_between(before, after))
        before = after
    assert {"times": [5.0, 12.0, 14.0], "services": {str(WEB): [20.0, 20.0, 40.0]}} == (
        history.services()
    )
    assert {"198.51.100.21": [10.0, 10.0, 40.0]} == history.backends(WEB)["backends"]
    history.record(
        rates_between(before, snapshot(15.5, 200, one, service(backend(3), endpoint=DNS)))
    )
    assert {
        "times": [12.0, 14.0, 15.5],
        "services": {str(WEB): [20.0, 40.0, 0.0], str(DNS): [None, None, 0.0]},
    } == history.services()


def test_an_empty_history_has_no_times() -> None:
    assert {"times": [], "services": {}} == History().services()
    assert {"times": [], "service": str(WEB), "backends": {}} == History().backends(WEB)


# -- who may ask


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.0.0.1:8080", True),
        ("[2001:db8::1]:8080", True),
        ("localhost", True),
        ("LB1:8080", True),
        ("lb1.attacker.example:8080", False),
        ("rebound.example", False),
        ("", False),
    ],
)
def test_the_page_accepts_addresses_and_the_hosts_name(host: str, expected: bool) -> None:
    assert expected == is_own_name(host, "lb1")
