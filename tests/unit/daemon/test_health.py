"""What the daemon remembers of health, and the events it makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from ipaddress import ip_address
from typing import Any

from rich.console import Console

from pydsr.daemon.health_events import event_of
from pydsr.daemon.health_memory import HealthMemory, Turn
from pydsr.health.judgement import Judgement
from pydsr.health.schedule import Verdict
from pydsr.health.standing import Standing, overlay_from
from pydsr.health.targets import Job, Route, Target
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.agent_report import parse_agent
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check, IcmpCheck, TcpCheck
from pydsr.model.desired import DesiredBackend
from pydsr.model.desired_state import DesiredService
from pydsr.model.events import EventKind
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, Service
from pydsr.views.text.health import health_table

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


def memory(wanted: DesiredService, state: BackendState = UP) -> HealthMemory:
    """Return what is held at the start, at second 0."""
    return HealthMemory().proposed([wanted], present(state), 0.0)


def verdict(result: Result, check: Check = TCP, change: bool = True) -> Verdict:
    """Return a result of the second backend."""
    job = Job(check, Target(WEB.address, 80, Route(B, 1)))
    held = Judgement(result.is_good)
    return Verdict(job, result, held, Judgement(result.is_good ^ change))


def failing(_: Endpoint, address: IPAddress) -> list[Judgement]:
    """Say that the second backend is down."""
    return [Judgement(address == A)]


def passing(_: Endpoint, __: IPAddress) -> list[Judgement]:
    """Say that all are up."""
    return [Judgement(True)]


def test_a_failure_takes_out_and_its_end_brings_back() -> None:
    held = memory(service())
    assert held.hear((WEB, B), verdict(CLOSED), 5.0)
    (turn,) = held.judge(WEB, failing, 6.0)
    assert (B, UP, DOWN) == (turn.address, turn.before.state, turn.after.state)
    event = event_of(turn, *held.cause(turn.key), 6.5, is_ours=True)
    assert event is not None
    assert (EventKind.BACKEND_UNHEALTHY, "nothing listens", 1.5) == (
        event.kind,
        event.cause,
        event.seconds,
    )
    assert ("up", "down", "port-closed") == tuple(
        event.details[name] for name in ("from", "to", "outcome")
    )
    held.take([turn])
    assert [] == held.judge(WEB, failing, 7.0)
    assert held.hear((WEB, B), verdict(Result.good()), 8.0)
    assert None is held.doubted_since((WEB, B))
    (turn,) = held.judge(WEB, passing, 9.0)
    event = event_of(turn, None, None, 9.0, is_ours=True)
    assert event is not None
    assert (EventKind.BACKEND_HEALTHY, 3.0) == (event.kind, event.seconds)


def test_the_cause_of_a_change_is_told_also_where_the_next_check_has_passed() -> None:
    """Changing the data plane takes time, in which checks go on."""
    held = memory(service())
    held.hear((WEB, B), verdict(CLOSED, change=False), 4.0)
    held.hear((WEB, B), verdict(CLOSED), 5.0)
    held.hear((WEB, B), verdict(Result.good(), change=False), 5.5)
    assert (CLOSED, 4.0) == held.cause((WEB, B))


def test_what_could_not_be_done_is_judged_again() -> None:
    held = memory(service())
    assert held.judge(WEB, failing, 1.0) == held.judge(WEB, failing, 1.0) != []


def test_a_result_that_changes_nothing_is_not_judged() -> None:
    held = memory(service())
    assert not held.hear((WEB, B), verdict(CLOSED, change=False), 5.0)
    assert held.doubted_since((WEB, B)) == 5.0


def test_as_many_checks_pass_as_are_needed() -> None:
    def one_of_two(_: Endpoint, __: IPAddress) -> list[Judgement]:
        return [Judgement(True), Judgement(False)]

    assert 2 == len(memory(service(TCP, PING)).judge(WEB, one_of_two, 1.0))
    assert [] == memory(service(TCP, PING, needed=1)).judge(WEB, one_of_two, 1.0)


def test_what_an_earlier_daemon_left_out_stays_out_until_it_passes() -> None:
    held = memory(service(), DOWN)
    assert not held.is_healthy(WEB, B)
    assert DOWN is held.overlay[WEB][B].state
    assert [(WEB, B)] == held.new_failures(HealthMemory())
    (turn,) = held.judge(WEB, passing, 4.0)
    assert (DOWN, UP) == (turn.before.state, turn.after.state)


def test_what_was_drained_by_hand_was_not_left_by_health() -> None:
    assert memory(service(), DRAIN).is_healthy(WEB, B)
    assert not memory(service(on_failure=DRAIN), DRAIN).is_healthy(WEB, B)


def test_another_file_leaves_what_is_held() -> None:
    held = memory(service(TCP, PING))
    held.hear((WEB, B), verdict(CLOSED), 5.0)
    held.hear((WEB, B), verdict(Result(Outcome.TIMED_OUT, "no ping"), PING), 5.0)
    held.take(held.judge(WEB, failing, 6.0))
    new = held.proposed([service(PING, minimum=Minimum(1))], present(UP), 7.0)
    assert not new.is_healthy(WEB, B)
    assert DOWN is new.overlay[WEB][B].state
    assert [] == new.new_failures(held)
    failure = new.failure((WEB, B))
    assert failure is not None
    assert "no ping" == failure.message
    assert 5.0 == new.doubted_since((WEB, B))


def test_a_service_without_checks_is_forgotten() -> None:
    assert {} == memory(service()).proposed([], {}, 1.0).overlay


def test_a_backend_held_by_the_minimum_is_said_to_be() -> None:
    held = memory(service(minimum=Minimum(2)))
    (turn,) = held.judge(WEB, failing, 1.0)
    event = event_of(turn, CLOSED, None, 1.0, is_ours=False)
    assert event is not None
    assert "nothing listens; it stays in service, as too few would be left" == event.cause


def test_what_a_command_has_changed_is_said_to_stay() -> None:
    (turn,) = memory(service()).judge(WEB, failing, 1.0)
    event = event_of(turn, CLOSED, None, 1.0, is_ours=False)
    assert event is not None
    assert event.cause.startswith("nothing listens; its state was changed by hand")


def test_an_agent_is_heard_once_for_what_it_says() -> None:
    held = memory(service())
    said = Result.good(report=parse_agent("50% # busy"))
    assert held.hear((WEB, B), verdict(said, change=False), 1.0)
    assert not held.hear((WEB, B), verdict(said, change=False), 2.0)
    (turn,) = held.judge(WEB, passing, 2.0)
    event = event_of(turn, None, None, 2.0, is_ours=True)
    assert event is not None
    assert (EventKind.BACKEND_CHANGED, "its agent asks for that: busy") == (event.kind, event.cause)
    assert ("weight 10", "weight 5") == (event.details["from"], event.details["to"])


def test_a_step_of_slow_start_is_no_event() -> None:
    held = memory(service(slow_start=10.0))
    held.take(held.judge(WEB, failing, 1.0))
    held.take(held.judge(WEB, passing, 2.0))
    (turn,) = held.judge(WEB, passing, 6.5)
    assert (1, 5) == (turn.before.weight, turn.after.weight)
    assert None is event_of(turn, None, None, 6.5, is_ours=True)


def test_a_failed_backend_that_is_held_no_more_is_an_event() -> None:
    held = memory(service(minimum=Minimum(2)))
    (turn,) = held.judge(WEB, failing, 1.0)
    let_go = Turn(WEB, B, turn.condition, turn.condition, turn.after, Standing(DOWN, 10, 10))
    event = event_of(let_go, CLOSED, None, 2.0, is_ours=True)
    assert event is not None
    assert "still fails its checks, and enough others are healthy again" == event.cause


def test_what_is_held_is_the_same_over_the_socket() -> None:
    held = memory(replace(service(), backends=service().backends))
    held.hear((WEB, B), verdict(CLOSED), 5.0)
    held.take(held.judge(WEB, failing, 6.0))
    document = json.loads(json.dumps(held.document(8.0)))
    assert held.overlay == overlay_from(document)
    first, second = document["services"][0]["backends"]
    assert (True, None, []) == (first["healthy"], first["seconds"], first["failures"])
    assert (False, 2.0, "down") == (second["healthy"], second["seconds"], second["state"])
    assert ["nothing listens"] == [one["message"] for one in second["failures"]]


def test_the_table_says_what_is_wrong() -> None:
    held = memory(service())
    held.hear((WEB, B), verdict(CLOSED), 5.0)
    held.take(held.judge(WEB, failing, 6.0))
    output = StringIO()
    Console(file=output, width=200).print(health_table(held.document(8.0)))
    (line,) = (line for line in output.getvalue().splitlines() if str(B) in line)
    for word in (str(WEB), "unhealthy", "2 s", "down", "tcp: nothing listens (start it)"):
        assert word in line


def test_the_end_of_a_certificate_is_remembered_as_long_as_its_check() -> None:
    """Of several it is the first; that a check fails later does not take it back."""
    ends: dict[Check, int] = {TCP: 2_000_000_000, PING: 1_900_000_000}
    held = memory(service(*ends))
    for check, second in ends.items():
        result = replace(Result.good(), certificate_ends=second)
        held.hear((WEB, B), verdict(result, check, change=False), 1.0)
        held.hear((WEB, B), verdict(CLOSED, check, change=False), 2.0)

    def told(held: HealthMemory) -> list[int | None]:
        (found,) = held.document(8.0)["services"]
        return [backend["certificate_ends"] for backend in found["backends"]]

    assert [None, 1_900_000_000] == told(held)
    assert [None, 2_000_000_000] == told(held.proposed([service(TCP)], present(UP), 9.0))
