"""Metrics from snapshots and from the daemon's counters."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pydsr import __version__
from pydsr.daemon.statistics import DURATION_BOUNDS, Statistics
from pydsr.http.metrics.catalogue import METRICS, Kind
from pydsr.http.metrics.families import View, families
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.events import Event, EventKind
from pydsr.model.options import ServiceOptions
from pydsr.model.reasons import Reason, all_reasons
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, ProgramRun, Snapshot
from tests.support.scraping import Scrape

WEB, DNS = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("[2001:db8::53]:53/udp")
A, B, C = map(ip_address, ("198.51.100.21", "198.51.100.22", "2001:db8::21"))
MAC = MacAddress.parse("02:00:00:00:00:01")
UP, DOWN = BackendState.UP, BackendState.DOWN
SERVICE = {"service": "198.51.100.10:80/tcp"}
OF_A, OF_B = ({**SERVICE, "backend": str(address)} for address in (A, B))
OF_C = {"service": "[2001:db8::53]:53/udp", "backend": "2001:db8::21"}

SNAPSHOT = Snapshot(
    time=1.0,
    services=(
        Service(
            1,
            WEB,
            ServiceOptions(name="shop"),
            (
                Backend(7, A, 3, MAC, False, UP, 2, slots=150),
                Backend(8, B, 1, None, False, DOWN, 2),
            ),
            table_size=251,
            slots_changing=40,
        ),
        Service(2, DNS, ServiceOptions(), (Backend(9, C, 1, MAC, True, UP, 2),)),
    ),
    counters={7: Counters(100, 6400, 10), 8: Counters(5, 320, 5), 9: Counters(50, 4000, None)},
    verdicts={"forwarded": 155, "no_service": 3},
    interfaces=(("eth0", "native"), ("eth1", "generic")),
    records={1: 12, 2: 0},
    pending={1: 4, 2: 0},
    programs=(ProgramRun(33, ("eth0", "eth1"), 0.25, 1000),),
    programs_timed=True,
)
REASONS = (Reason("forwarded", "tx", "sent"), Reason("no_service", "drop", "not served"))


def event(kind: EventKind, second: int = 0) -> Event:
    return Event(kind, "it", "so", time=datetime.fromtimestamp(second, UTC))


def backend_document(**found: Any) -> dict[str, Any]:
    return {
        "address": str(A),
        "healthy": True,
        "configured_weight": 3,
        "held": False,
        "certificate_ends": None,
        "failures": [],
    } | found


def daemon_document(*backends: dict[str, Any], statistics: Statistics | None = None) -> Any:
    """Return a daemon's document, after it went through the socket."""
    document = {
        "pid": 1,
        "health": {"services": [{"service": str(WEB), "backends": list(backends)}]},
        "waiting": 2,
        **(statistics or Statistics()).document({WEB}),
    }
    return json.loads(json.dumps(document))


class Page(Collector):
    def __init__(self, found: list[Family]) -> None:
        self.found = found

    def collect(self) -> list[Family]:
        return self.found


def scrape(snapshot: Snapshot | None = SNAPSHOT, daemon: Any = None) -> Scrape:
    view = View(snapshot, daemon, REASONS, layout_version=3)
    return Scrape.of(generate_latest(Page(list(families(view)))).decode())


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("build_info", {"version": __version__}, 1),
        ("up", {}, 1),
        ("daemon_up", {}, 0),
        ("layout_version", {}, 3),
        ("interface_mode", {"interface": "eth0", "mode": "native"}, 1),
        ("interface_mode", {"interface": "eth0", "mode": "generic"}, 0),
        ("interface_mode", {"interface": "eth1", "mode": "generic"}, 1),
        ("packets_total", {"reason": "forwarded", "verdict": "tx"}, 155),
        ("packets_total", {"reason": "no_service", "verdict": "drop"}, 3),
        ("program_seconds_total", {"interfaces": "eth0,eth1"}, 0.25),
        ("program_runs_total", {"interfaces": "eth0,eth1"}, 1000),
        ("program_timed", {}, 1),
        ("service_info", {**SERVICE, "name": "shop", "affinity": "flow"}, 1),
        ("service_slots", SERVICE, 251),
        ("service_slots_changing", SERVICE, 40),
        ("service_flow_records", SERVICE, 12),
        ("service_pending_flows", SERVICE, 4),
        ("backend_packets_total", OF_A, 100),
        ("backend_bytes_total", OF_A, 6400),
        ("backend_new_flows_total", OF_A, 10),
        ("backend_packets_total", OF_C, 50),
        ("backend_new_flows_total", OF_C, None),
        ("backend_weight", OF_A, 3),
        ("backend_slots_ratio", OF_A, 150 / 251),
        ("backend_slots_ratio", OF_B, 0),
        ("backend_slots_ratio", OF_C, 0),
        ("backend_state", {**OF_A, "state": "up"}, 1),
        ("backend_state", {**OF_B, "state": "up"}, 0),
        ("backend_state", {**OF_B, "state": "drain"}, 0),
        ("backend_state", {**OF_B, "state": "down"}, 1),
        ("backend_resolved", OF_A, 1),
        ("backend_resolved", OF_B, 0),
        ("backend_healthy", OF_A, None),
        ("waiting_backends", {}, None),
    ],
)
def test_the_maps_become_metrics(name: str, labels: dict[str, str], value: float | None) -> None:
    """Without a daemon, metrics that only it knows are left out."""
    assert value == scrape().value(f"pydsr_{name}", **labels)


def test_pydsr_up_is_zero_without_a_balancer() -> None:
    """And there are no series of services."""
    found = scrape(snapshot=None)
    assert (0, {"pydsr_up", "pydsr_daemon_up", "pydsr_build_info", "pydsr_layout_version"}) == (
        found.value("pydsr_up"),
        found.names,
    )


def test_health_becomes_metrics() -> None:
    """Equal failures of two checks of one type are one series; a sorry backend has none."""
    failure = {"check": "tcp", "outcome": "port-closed", "message": "no", "hint": ""}
    other = failure | {"check": "http", "outcome": "timed-out"}
    found = scrape(
        daemon=daemon_document(
            backend_document(healthy=False, held=True, failures=[failure, failure, other]),
            backend_document(address=str(B), healthy=None, certificate_ends=1_900_000_000),
        )
    )
    assert (1, 0, 1, 3, 2) == (
        found.value("pydsr_daemon_up"),
        found.value("pydsr_backend_healthy", **OF_A),
        found.value("pydsr_backend_held", **OF_A),
        found.value("pydsr_backend_configured_weight", **OF_A),
        found.value("pydsr_waiting_backends"),
    )
    assert {("tcp", "port-closed"): 1, ("http", "timed-out"): 1} == {
        (dict(labels)["check"], dict(labels)["outcome"]): value
        for labels, value in found.series("pydsr_backend_failing_check").items()
    }
    expiry = "pydsr_backend_certificate_expiry_timestamp_seconds"
    assert (None, None, 1_900_000_000) == (
        found.value("pydsr_backend_healthy", **OF_B),
        found.value(expiry, **OF_A),
        found.value(expiry, **OF_B),
    )


def test_checks_are_counted_by_outcome_and_duration() -> None:
    """For each service that a check concerns, in cumulative buckets."""
    statistics = Statistics()
    for seconds in (0.0005, 0.0006, 0.2, 60.0):
        statistics.count_check("tcp", Result(Outcome.PASSED, seconds=seconds), {WEB, DNS})
    statistics.count_check("tcp", Result(Outcome.TIMED_OUT, seconds=1.0), {WEB})
    statistics.count_check("icmp", PASSED, {WEB})
    found = scrape(daemon=daemon_document(statistics=statistics))
    labels = {**SERVICE, "check": "tcp"}
    name = "pydsr_check_duration_seconds"
    assert {"0.0005": 1, "0.001": 2, "0.25": 3, "1.0": 4, "10.0": 4, "+Inf": 5} == {
        bound: found.value(f"{name}_bucket", **labels, le=bound)
        for bound in ("0.0005", "0.001", "0.25", "1.0", "10.0", "+Inf")
    }
    assert len(DURATION_BOUNDS) + 1 == sum(
        {*labels.items()} < set(one) for one in found.series(f"{name}_bucket")
    )
    assert (5, 61.2011) == (
        found.value(f"{name}_count", **labels),
        found.value(f"{name}_sum", **labels),
    )
    assert (4, 1, 1) == (
        found.value("pydsr_checks_total", **labels, outcome="good"),
        found.value("pydsr_checks_total", **labels, outcome="timed-out"),
        found.value("pydsr_checks_total", **SERVICE, check="icmp", outcome="good"),
    )


def test_a_service_without_checks_is_dropped() -> None:
    """So that the daemon does not grow with its age."""
    statistics = Statistics()
    statistics.count_check("tcp", PASSED, {WEB, DNS})
    assert [str(WEB)] == [one["service"] for one in statistics.document({WEB})["checks"]]
    assert [] == statistics.document({DNS})["checks"]


def test_events_are_counted_from_zero() -> None:
    """Every kind has a series from the start, as ``increase`` needs it."""
    statistics = Statistics()
    before = scrape(daemon=daemon_document(statistics=statistics)).series("pydsr_events_total")
    statistics.count_event(event(EventKind.LINK_LOST))
    statistics.count_event(event(EventKind.LINK_LOST))
    after = scrape(daemon=daemon_document(statistics=statistics))
    assert ({0}, len(EventKind)) == (set(before.values()), len(before))
    assert 2 == after.value("pydsr_events_total", event="link-lost")


@pytest.mark.parametrize(
    ("happened", "successful", "when"),
    [
        ((), 0, None),
        ((EventKind.APPLIED,), 1, 100),
        ((EventKind.APPLIED, EventKind.RELOADED), 1, 101),
        ((EventKind.APPLIED, EventKind.RELOAD_FAILED), 0, 100),
        ((EventKind.APPLIED, EventKind.RELOAD_FAILED, EventKind.RELOADED), 1, 102),
        ((EventKind.APPLIED, EventKind.MAC_CHANGED), 1, 100),
    ],
)
def test_a_failed_reload_is_shown_until_one_succeeds(
    happened: tuple[EventKind, ...], successful: int, when: int | None
) -> None:
    """Meanwhile the time of the last success stays."""
    statistics = Statistics()
    for second, kind in enumerate(happened, 100):
        statistics.count_event(event(kind, second))
    found = scrape(daemon=daemon_document(statistics=statistics))
    name = "pydsr_configuration_last_reload"
    assert (successful, when) == (
        found.value(f"{name}_successful"),
        found.value(f"{name}_success_timestamp_seconds"),
    )


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "Straße 東京", "{a=b},c"])
def test_any_name_of_a_service_is_escaped(name: str) -> None:
    """Even with characters that are special in the format."""
    service = replace(SNAPSHOT.services[0], options=ServiceOptions(name=name))
    found = scrape(replace(SNAPSHOT, services=(service,)))
    assert 1 == found.value("pydsr_service_info", **SERVICE, name=name, affinity="flow")


def test_series_are_unique_and_in_the_catalogue() -> None:
    """With the labels of the catalogue, and in its order."""
    statistics = Statistics()
    statistics.count_check("tcp", PASSED, {WEB})
    daemon = daemon_document(backend_document(), statistics=statistics)
    found = list(families(View(SNAPSHOT, daemon, all_reasons(), 3)))
    series = [(one.name, *sorted(one.labels.items())) for each in found for one in each.samples]
    assert len(series) == len(set(series))
    by_name = {
        metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name: metric
        for metric in METRICS
    }
    assert [name for name in by_name if name in {one.name for one in found}] == [
        one.name for one in found
    ]
    for family in found:
        for sample in family.samples:
            assert set(by_name[family.name].labels) == sample.labels.keys() - {"le"}


def test_a_service_without_records_has_none() -> None:
    """Services whose slots are at rest are not in the snapshot's counts."""
    found = scrape(replace(SNAPSHOT, records={}, pending={}))
    for name in ("service_flow_records", "service_pending_flows"):
        assert 0 == found.value(f"pydsr_{name}", **SERVICE)
