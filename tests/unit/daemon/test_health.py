"""What the daemon knows about health, and the events it records."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from pydsr.daemon import client
from pydsr.daemon.client import with_daemon_health
from pydsr.daemon.health_events import change_event, suspected
from pydsr.daemon.health_state import HealthChange, HealthState
from pydsr.health.check_health import CheckHealth
from pydsr.health.passive import Suspicion
from pydsr.health.service_health import BackendHealth, health_from_document
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.agent_report import parse_agent
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import Check, IcmpCheck, TcpCheck
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.events import Event, EventKind
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, DesiredBackend, Service
from pydsr.views.json.document_types import HealthDocument
from pydsr.views.text.diagnosis import health_table

UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN
WEB = Endpoint.parse("198.51.100.10:80")
A, B = ip_address("198.51.100.21"), ip_address("198.51.100.22")
TCP, PING = TcpCheck(type="tcp"), IcmpCheck(type="icmp")
CLOSED = Result(Outcome.PORT_CLOSED, "nothing listens", "start it")


def service(*checks: Check, **policy: Any) -> DesiredService:
    """Return a service of two backends."""
    backends = tuple(DesiredBackend(address, 10, UP) for address in (A, B))
    return DesiredService(WEB, backends=backends, health=HealthPolicy(checks or (TCP,), **policy))


def present(state: BackendState) -> dict[Endpoint, Service]:
    """Return the data plane with the second backend in a state."""
    backends = tuple(
        Backend(number, address, 10, None, False, found, 1)
        for number, address, found in ((1, A, UP), (2, B, state))
    )
    return {WEB: Service(1, WEB, ServiceOptions(), backends)}


def initial(wanted: DesiredService, state: BackendState = UP) -> HealthState:
    """Return the state at the start, at second 0."""
    return HealthState().reloaded([wanted], present(state), 0.0)


def add(
    state: HealthState, now: float, result: Result, check: Check = TCP, change: bool = True
) -> bool:
    """Add a result of the second backend."""
    return state.add_result((WEB, B), check, result, now, has_changed=change)


def event_of(state: HealthState, change: HealthChange, now: float, is_made: bool = True) -> Event:
    """Return the event of a change, which has one."""
    event = change_event(change, state.cause(change.key), now, is_made=is_made)
    assert event is not None
    return event


def failures(state: HealthState) -> list[dict[str, Any]]:
    """Return the failures of the second backend."""
    (found,) = state.document(8.0)["services"]
    return list(found["backends"][1]["failures"])


def failing(_: Endpoint, address: IPAddress) -> list[CheckHealth]:
    """Say that the second backend is down."""
    return [CheckHealth(address == A)]


def passing(_: Endpoint, __: IPAddress) -> list[CheckHealth]:
    """Say that all are up."""
    return [CheckHealth(True)]


def test_a_failure_takes_out_and_its_end_brings_back() -> None:
    state = initial(service())
    assert add(state, 5.0, CLOSED)
    (change,) = state.decide(WEB, failing, 6.0)
    assert (B, UP, DOWN) == (change.address, change.before.state, change.after.state)
    event = event_of(state, change, 6.5)
    assert (EventKind.BACKEND_UNHEALTHY, "nothing listens", 1.5) == (
        event.kind,
        event.cause,
        event.seconds,
    )
    assert ("up", "down", "port-closed") == tuple(
        event.details[name] for name in ("from", "to", "outcome")
    )
    state.apply([change])
    assert [] == state.decide(WEB, failing, 7.0)
    assert add(state, 8.0, PASSED)
    assert [] == failures(state)
    (change,) = state.decide(WEB, passing, 9.0)
    event = event_of(state, change, 9.0)
    assert (EventKind.BACKEND_HEALTHY, 3.0) == (event.kind, event.seconds)


def test_the_cause_of_a_change_is_kept_when_the_next_check_passes() -> None:
    """Changing the data plane takes time, in which checks go on."""
    state = initial(service())
    add(state, 4.0, CLOSED, change=False)
    add(state, 5.0, CLOSED)
    add(state, 5.5, PASSED, change=False)
    assert (CLOSED, 4.0) == state.cause((WEB, B))


def test_a_change_that_was_not_made_is_decided_again() -> None:
    state = initial(service())
    assert state.decide(WEB, failing, 1.0) == state.decide(WEB, failing, 1.0) != []


def test_a_result_that_changes_nothing_needs_no_decision() -> None:
    state = initial(service())
    assert not add(state, 5.0, CLOSED, change=False)
    assert (CLOSED, 5.0) == state.cause((WEB, B))


def test_as_many_checks_pass_as_are_needed() -> None:
    def one_of_two(_: Endpoint, __: IPAddress) -> list[CheckHealth]:
        return [CheckHealth(True), CheckHealth(False)]

    assert 2 == len(initial(service(TCP, PING)).decide(WEB, one_of_two, 1.0))
    assert [] == initial(service(TCP, PING, needed=1)).decide(WEB, one_of_two, 1.0)


def test_a_backend_that_an_earlier_daemon_took_out_stays_out_until_it_passes() -> None:
    state = initial(service(), DOWN)
    assert not state.is_healthy(WEB, B)
    assert DOWN is state.health[WEB][B].state
    assert [(WEB, B)] == state.unhealthy_since_start(HealthState())
    (change,) = state.decide(WEB, passing, 4.0)
    assert (DOWN, UP) == (change.before.state, change.after.state)


def test_a_backend_drained_by_hand_is_not_unhealthy() -> None:
    assert initial(service(), DRAIN).is_healthy(WEB, B)
    assert not initial(service(on_failure=DRAIN), DRAIN).is_healthy(WEB, B)


def test_a_reload_keeps_known_health() -> None:
    state = initial(service(TCP, PING))
    add(state, 5.0, CLOSED)
    no_ping = Result(Outcome.TIMED_OUT, "no ping")
    add(state, 5.0, no_ping, PING)
    state.apply(state.decide(WEB, failing, 6.0))
    new = state.reloaded([service(PING, minimum=Minimum(1))], present(UP), 7.0)
    assert not new.is_healthy(WEB, B)
    assert DOWN is new.health[WEB][B].state
    assert [] == new.unhealthy_since_start(state)
    assert (no_ping, 5.0) == new.cause((WEB, B))
    assert ["no ping"] == [one["message"] for one in failures(new)]


def test_a_service_without_checks_is_forgotten() -> None:
    assert {} == initial(service()).reloaded([], {}, 1.0).health


def test_the_event_says_that_the_minimum_keeps_a_backend() -> None:
    state = initial(service(minimum=Minimum(2)))
    add(state, 1.0, CLOSED)
    (change,) = state.decide(WEB, failing, 1.0)
    event = event_of(state, change, 1.0, is_made=False)
    assert "nothing listens; it stays in service, as too few would be left" == event.cause


def test_the_event_says_that_a_change_by_hand_stays() -> None:
    state = initial(service())
    add(state, 1.0, CLOSED)
    (change,) = state.decide(WEB, failing, 1.0)
    event = event_of(state, change, 1.0, is_made=False)
    assert event.cause.startswith("nothing listens; a command has changed its state")


def test_an_agents_report_is_decided_once() -> None:
    state = initial(service())
    said = Result(Outcome.PASSED, report=parse_agent("50% # busy"))
    assert add(state, 1.0, said, change=False)
    assert not add(state, 2.0, said, change=False)
    (change,) = state.decide(WEB, passing, 2.0)
    event = event_of(state, change, 2.0)
    assert (EventKind.BACKEND_CHANGED, "requested by its agent: busy") == (event.kind, event.cause)
    assert ("weight 10", "weight 5") == (event.details["from"], event.details["to"])


def test_a_step_of_slow_start_is_no_event() -> None:
    state = initial(service(slow_start=10.0))
    state.apply(state.decide(WEB, failing, 1.0))
    state.apply(state.decide(WEB, passing, 2.0))
    (change,) = state.decide(WEB, passing, 6.5)
    assert (1, 5) == (change.before.weight, change.after.weight)
    assert None is change_event(change, (None, None), 6.5, is_made=True)


def test_a_backend_that_the_minimum_no_longer_keeps_is_an_event() -> None:
    state = initial(service(minimum=Minimum(2)))
    (change,) = state.decide(WEB, failing, 1.0)
    out = replace(change.after, state=DOWN, is_kept=False)
    event = event_of(state, HealthChange(WEB, B, change.after, out), 2.0)
    assert "still fails its checks, and enough others are healthy again" == event.cause


def test_health_is_the_same_over_the_socket() -> None:
    state = initial(service())
    add(state, 5.0, CLOSED)
    state.apply(state.decide(WEB, failing, 6.0))
    document = json.loads(json.dumps(state.document(8.0)))
    expected = {
        address: replace(health, since=-math.inf) for address, health in state.health[WEB].items()
    }
    assert {WEB: expected} == health_from_document(document)
    first, second = document["services"][0]["backends"]
    assert (True, None, []) == (first["healthy"], first["seconds"], first["failures"])
    assert (False, 2.0, "down") == (second["healthy"], second["seconds"], second["state"])
    assert ["nothing listens"] == [one["message"] for one in second["failures"]]


def test_the_table_says_what_is_wrong() -> None:
    state = initial(service())
    add(state, 5.0, CLOSED)
    state.apply(state.decide(WEB, failing, 6.0))
    output, document = StringIO(), cast(HealthDocument, state.document(8.0))
    Console(file=output, width=200).print(health_table(document))
    (line,) = (line for line in output.getvalue().splitlines() if str(B) in line)
    for word in (str(WEB), "unhealthy", "2 s", "down", "tcp: nothing listens (start it)"):
        assert word in line


def test_the_end_of_a_certificate_is_kept_with_its_check() -> None:
    """Of several it is the first; that a check fails later does not take it back."""
    ends: dict[Check, int] = {TCP: 2_000_000_000, PING: 1_900_000_000}
    state = initial(service(*ends))
    for check, second in ends.items():
        result = replace(PASSED, certificate_ends=second)
        add(state, 1.0, result, check, change=False)
        add(state, 2.0, CLOSED, check, change=False)

    def ends_of(state: HealthState) -> list[int | None]:
        (found,) = state.document(8.0)["services"]
        return [backend["certificate_ends"] for backend in found["backends"]]

    assert [None, 1_900_000_000] == ends_of(state)
    assert [None, 2_000_000_000] == ends_of(state.reloaded([service(TCP)], present(UP), 9.0))


def changed(before: BackendHealth, after: BackendHealth) -> str | None:
    """Return the cause of a change that was made, without a failure."""
    event = change_event(HealthChange(WEB, B, before, after), (None, None), 5.0, is_made=True)
    return event.cause if event is not None else None


HEALTHY = BackendHealth(UP, 10, 10)
FAILED = BackendHealth(DOWN, 10, 10, is_healthy=False, since=2.0)
SORRY = BackendHealth(DOWN, 10, 10, is_healthy=None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (SORRY, replace(SORRY, state=UP), "takes over, as no other backend is healthy"),
        (
            replace(SORRY, state=UP),
            SORRY,
            "not needed any more, as other backends are healthy again",
        ),
        (
            replace(FAILED, state=UP, is_kept=True),
            FAILED,
            "still fails its checks, and enough others are healthy again",
        ),
        (
            FAILED,
            replace(FAILED, state=UP, is_kept=True),
            "still fails its checks, but too few others are left",
        ),
        (
            HEALTHY,
            replace(HEALTHY, state=DRAIN, report=parse_agent("drain")),
            "requested by its agent",
        ),
        (
            HEALTHY,
            replace(HEALTHY, state=DRAIN, report=parse_agent("drain # upgrade")),
            "requested by its agent: upgrade",
        ),
        (
            replace(HEALTHY, state=DRAIN, report=parse_agent("drain")),
            replace(HEALTHY, report=parse_agent("ready 50%")),
            "requested by its agent",
        ),
        (HEALTHY, replace(HEALTHY, weight=5, report=parse_agent("50%")), "requested by its agent"),
        (HEALTHY, replace(HEALTHY, report=parse_agent("50%")), None),
        (HEALTHY, replace(HEALTHY, weight=5), None),
        (HEALTHY, FAILED, "its checks failed"),
        (
            HEALTHY,
            replace(FAILED, state=UP, is_kept=True),
            "its checks failed; it stays in service, as too few would be left",
        ),
        (FAILED, HEALTHY, "passes its checks"),
    ],
)
def test_every_change_has_its_reason(
    before: BackendHealth, after: BackendHealth, expected: str | None
) -> None:
    """Except a step of a slow start, and a report that changes nothing."""
    assert expected == changed(before, after)


def test_the_duration_of_a_change_is_known_only_with_its_beginning() -> None:
    def seconds(before: BackendHealth, after: BackendHealth, since: float | None) -> float | None:
        change = HealthChange(WEB, B, before, after)
        event = change_event(change, (None, since), 5.0, is_made=True)
        assert event is not None
        return event.seconds

    assert (None, 4.0) == (seconds(HEALTHY, FAILED, None), seconds(HEALTHY, FAILED, 1.0))
    always = replace(FAILED, since=-math.inf)
    assert (3.0, None) == (seconds(FAILED, HEALTHY, 1.0), seconds(always, HEALTHY, 1.0))


def test_a_change_of_weight_names_both() -> None:
    after = replace(HEALTHY, weight=5, report=parse_agent("50%"))
    event = change_event(HealthChange(WEB, B, HEALTHY, after), (None, None), 5.0, is_made=True)
    assert event is not None
    assert {
        "from": "weight 10",
        "to": "weight 5",
        "service": str(WEB),
        "backend": str(B),
    } == event.details


def test_only_a_change_that_was_due_can_have_been_prevented() -> None:
    kept = replace(FAILED, state=UP, is_kept=True)
    event = change_event(HealthChange(WEB, B, HEALTHY, kept), (None, None), 5.0, is_made=False)
    assert event is not None
    assert "a command" not in event.cause


def test_a_suspicion_has_its_figures() -> None:
    event = suspected(Suspicion(WEB, B, 40, 1.04, 4.26))
    assert event.cause.startswith(
        "40 new connections, and hardly any was established (1.0 packets each, 4.3 on other"
    )
    assert f"{WEB} {B}" == event.object


# Beside a daemon, commands ask it for health


def with_checks(*endpoints: Endpoint) -> DesiredState:
    return DesiredState(services=tuple(replace(service(), endpoint=each) for each in endpoints))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], f"nobody checks the health of {WEB}: start pydsr run; backends are as in the file"),
        (["81"], f"nobody checks the health of {WEB} and 1 more services: start pydsr run"),
    ],
)
def test_without_a_daemon_a_note_says_that_nobody_checks(
    tmp_path: Path, more: list[str], words: str
) -> None:
    endpoints = [WEB, *(Endpoint.parse(f"198.51.100.10:{port}") for port in more)]
    wanted = with_checks(*endpoints)
    state, (note,) = with_daemon_health(wanted, tmp_path, Path("/sys/fs/bpf/pydsr"))
    assert wanted is state
    assert note.startswith(words)


def test_without_checks_no_daemon_is_asked() -> None:
    wanted = DesiredState(services=(replace(service(), health=None),))
    assert (wanted, ()) == with_daemon_health(wanted, Path("/" + "x" * 200), Path("/nowhere"))


def test_the_daemons_health_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = initial(service())
    state.apply(state.decide(WEB, failing, 1.0))
    monkeypatch.setattr(client, "read_health", lambda _: state.document(2.0))
    applied, notes = with_daemon_health(with_checks(WEB), tmp_path, Path("/sys/fs/bpf/pydsr"))
    assert ([UP, DOWN], ()) == ([b.state for b in applied.services[0].backends], notes)


def test_a_result_of_an_unknown_backend_decides_nothing() -> None:
    """It was removed while its check was under way."""
    state = initial(service())
    unknown = WEB, ip_address("198.51.100.99")
    said = Result(Outcome.PASSED, report=parse_agent("drain"))
    assert not state.add_result(unknown, TCP, CLOSED, 1.0, has_changed=True)
    assert not state.add_result(unknown, TCP, said, 1.0, has_changed=True)
