"""The task of health: after a reload, after a lock held too long, in a slow start."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest

from pydsr.daemon import health_monitor
from pydsr.daemon.health_monitor import ROUTES_SECONDS, SUSPECT_SECONDS, HealthMonitor
from pydsr.daemon.health_state import HealthChange, Key
from pydsr.health.check_health import CheckHealth
from pydsr.health.passive import Suspicion
from pydsr.health.targets import CheckTarget, Job, Route
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.agent_report import parse_agent
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import Check, IcmpCheck, TcpCheck
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import BusyError, EnvironmentCannotError, NotAttachedError, PydsrError
from pydsr.model.events import Event
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, DesiredBackend, Service
from tests.support.virtual_time import run_in_virtual_time

WEB = Endpoint.parse("10.66.0.80:80")
A, B = ip_address("10.66.0.11"), ip_address("10.66.0.12")
TCP, PING = TcpCheck(type="tcp"), IcmpCheck(type="icmp")
CLOSED = Result(Outcome.PORT_CLOSED, "nothing listens", "start it")
BUSY, NONE = BusyError("another command"), NotAttachedError("no balancer")
REFUSED = EnvironmentCannotError("no memory")


def file_of(*checks: Check, **policy: Any) -> DesiredState:
    """Return a file with one service of two backends; without checks, if none are given."""
    backends = tuple(DesiredBackend(address, 10, BackendState.UP) for address in (A, B))
    health = HealthPolicy(checks, **policy) if checks else None
    return DesiredState(services=(DesiredService(WEB, backends=backends, health=health),))


@dataclass
class Bench:
    """A monitor whose checks and data plane the test plays.

    Attributes:
        checks: the health of each backend by its check.
        results: of the next changes of the data plane; after them all succeed.
        made: the states and weights that were written, with their times since the start.
        watched: the checks that were watched, with their times since the start.
        looked_up: when routes were looked up.
        checkers: how many checkers there were; ``closed`` how often the data plane was.
        checked_now: the backends that were checked at once.
    """

    checks: dict[IPAddress, bool] = field(default_factory=lambda: {A: True, B: True})
    results: deque[PydsrError | None] = field(default_factory=deque)
    routes_results: deque[PydsrError | None] = field(default_factory=deque)
    suspicious: deque[list[Suspicion]] = field(default_factory=deque)
    made: list[tuple[float, str, str, int]] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    watched: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    looked_up: list[float] = field(default_factory=list)
    snapshots: list[float] = field(default_factory=list)
    checkers: int = 0
    closed: int = 0
    steered: list[PydsrError | None] = field(default_factory=list)
    checked_now: list[IPAddress] = field(default_factory=list)
    happened: list[Event] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    initially: dict[IPAddress, bool] = field(default_factory=dict)
    report: Callable[..., object] = lambda *_: None
    present: dict[Endpoint, Service] = field(default_factory=dict)
    began: float = 0.0
    live: dict[IPAddress, tuple[str, str, int]] = field(default_factory=dict)
    moves: int = 0

    def __post_init__(self) -> None:
        self.monitor = HealthMonitor(
            Path("/nowhere"), self.happened.append, lambda kind, *_: self.observed.append(kind)
        )

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return round(time.monotonic() - self.began, 3)

    async def run(self, *steps: Callable[[], Any] | float) -> None:
        """Run the monitor, and call steps or let seconds pass meanwhile."""
        self.began = time.monotonic()
        running = asyncio.ensure_future(self.monitor.run())
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                result = step()
                if asyncio.iscoroutine(result):
                    await result
        assert not running.done(), running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def reload(self, file: DesiredState, *during: Callable[[], object]) -> Callable[[], Any]:
        """Return a step that reloads a file, in which something else happens."""

        async def step() -> None:
            async with self.monitor.reloading(file) as by_health:
                for call in during:
                    call()
                for service in by_health.services:
                    for backend in service.backends:
                        self.note(backend.address, backend.state, backend.weight)

        return step

    def note(self, address: IPAddress, state: BackendState, weight: int) -> None:
        """Note a backend that was written, by health or a reload; the first time it is new."""
        written = str(address).rpartition(".")[2], state.value, weight
        if self.live.setdefault(address, written) != written:
            self.made.append((self.now, *written))
            self.live[address] = written

    def says(self, address: IPAddress, result: Result, check: Check = TCP) -> Callable[[], None]:
        """Return a step in which a check of a backend ends and changes its health by that."""

        def step() -> None:
            has_changed = self.checks[address] != result.passed
            self.checks[address] = result.passed
            job = Job(check, CheckTarget(WEB.address, 80, Route(address, 2)))
            self.report(job, result, has_changed, frozenset({WEB}))

        return step

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """The events so far, with the last byte of the backend."""
        return [(e.kind.value, e.object.rpartition(".")[2], e.cause) for e in self.happened]


class _DataPlane:
    """The data plane that a bench plays."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._benches = benches

    @property
    def _bench(self) -> Bench:
        return self._benches[0]

    def close(self) -> None:
        self._bench.closed += 1

    def services(self, endpoints: Collection[Endpoint]) -> dict[Endpoint, Service]:
        assert {WEB} == set(endpoints)
        return self._bench.present

    def routes(self, services: Iterable[DesiredService]) -> dict[Endpoint, tuple[Route, ...]]:
        self._bench.looked_up.append(self._bench.now)
        error = self._bench.routes_results.popleft() if self._bench.routes_results else None
        if error is not None:
            raise error
        index = 2 + self._bench.moves
        return {s.endpoint: tuple(Route(b.address, index) for b in s.backends) for s in services}

    def make(self, changes: Iterable[HealthChange]) -> set[Key]:
        changes = [change for change in changes if change.changes_data_plane]
        if not changes:
            return set()
        self._bench.attempts.append(self._bench.now)
        error = self._bench.results.popleft() if self._bench.results else None
        if error is not None:
            raise error
        for change in changes:
            self._bench.note(change.address, change.after.state, change.after.weight)
        return {change.key for change in changes}

    def snapshot(self) -> object:
        self._bench.snapshots.append(self._bench.now)
        return object()


class _Checker:
    """A checker whose checks end when the test says so."""

    def __init__(self, bench: Bench, report: Callable[..., object]) -> None:
        self._bench = bench
        bench.report = report

    async def __aenter__(self) -> Self:
        self._bench.checkers += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bench.report = lambda *_: None

    async def watch(
        self,
        wanted: Iterable[tuple[Endpoint, Iterable[Check], Iterable[Route]]],
        is_healthy: Callable[[Endpoint, IPAddress], bool],
    ) -> None:
        for endpoint, checks, routes in wanted:
            kinds = tuple(check.type for check in checks)
            self._bench.watched.append((self._bench.now, kinds))
            for route in routes:
                self._bench.initially[route.backend] = is_healthy(endpoint, route.backend)

    def health(self, _: Endpoint, address: IPAddress) -> list[CheckHealth]:
        return [CheckHealth(self._bench.checks[address])]

    def check_now(self, _: Endpoint, address: IPAddress) -> None:
        self._bench.checked_now.append(address)


class _Steering:
    """Steering that may be refused."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def __aenter__(self) -> Self:
        error = self._bench.steered[0] if self._bench.steered else None
        self._bench.steered.append(None)
        if error is not None:
            raise error
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    benches: list[Bench] = []
    monkeypatch.setattr(health_monitor, "DataPlane", lambda _: _DataPlane(benches))
    benches.append(made := Bench())
    monkeypatch.setattr(health_monitor, "Checker", lambda report: _Checker(made, report))
    monkeypatch.setattr(health_monitor, "Steering", lambda: _Steering(made))

    def suspicions(_: object, __: object) -> list[Suspicion]:
        return made.suspicious.popleft() if made.suspicious else []

    monkeypatch.setattr(health_monitor, "suspicions", suspicions)
    return made


def test_a_failure_takes_a_backend_out_at_once(bench: Bench) -> None:
    steps = bench.reload(file_of(TCP)), 1.0, bench.says(B, CLOSED), 1.0, bench.says(B, PASSED), 1.0
    run_in_virtual_time(bench.run(*steps))
    assert [(1.0, "12", "down", 10), (2.0, "12", "up", 10)] == bench.made
    assert ["backend-unhealthy", "backend-healthy"] == [kind for kind, _, _ in bench.events]
    assert ["tcp", "tcp"] == bench.observed


def test_a_reload_changes_the_checks_and_keeps_health(bench: Bench) -> None:
    """An unhealthy backend is still out, and comes back by the new check."""
    steps = (
        *(bench.reload(file_of(TCP)), 1.0, bench.says(B, CLOSED), 1.0),
        *(bench.reload(file_of(PING)), 1.0, bench.says(B, PASSED, PING), 1.0),
    )
    run_in_virtual_time(bench.run(*steps))
    assert [(0.0, ("tcp",)), (2.0, ("icmp",))] == bench.watched
    assert {A: True, B: False} == bench.initially
    assert [(1.0, "12", "down", 10), (3.0, "12", "up", 10)] == bench.made
    assert 1 == bench.checkers


def test_a_reload_that_fails_changes_nothing(bench: Bench) -> None:
    def fail() -> None:
        raise REFUSED

    async def reload() -> None:
        with pytest.raises(EnvironmentCannotError):
            await bench.reload(file_of(PING), fail)()

    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 1.0, reload, 30.0))
    assert [(0.0, ("tcp",))] == bench.watched
    assert [] == bench.events


def test_a_check_that_fails_during_a_reload_keeps_its_cause(bench: Bench) -> None:
    """Nothing is written meanwhile, and the backend is out right after."""
    file = file_of(TCP)
    reload = bench.reload(file, lambda: bench.says(B, CLOSED)())
    run_in_virtual_time(bench.run(bench.reload(file), 1.0, reload, 1.0))
    assert [(1.0, "12", "down", 10)] == bench.made
    assert [("backend-unhealthy", "12", "nothing listens")] == bench.events
    (service,) = bench.monitor.document()["services"]
    assert ["nothing listens"] == [f["message"] for f in service["backends"][1]["failures"]]


def test_an_agents_report_during_a_reload_counts(bench: Bench) -> None:
    said = Result(Outcome.PASSED, report=parse_agent("50%"))
    reload = bench.reload(file_of(TCP), lambda: bench.says(B, said)())
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 1.0, reload, 1.0))
    assert [(1.0, "12", "up", 5)] == bench.made


def test_checks_end_with_the_file_and_begin_again(bench: Bench) -> None:
    """Without checks the data plane is not kept open."""
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP)), 9.0, bench.reload(file_of()), 61.0),
            *(bench.reload(file_of(PING)), 4.0),
        )
    )
    assert [(0.0, ("tcp",)), (70.0, ("icmp",))] == bench.watched
    assert 2 == bench.checkers
    assert 2 == bench.closed
    assert [0.0, 5.0, 70.0] == bench.looked_up


def test_routes_are_looked_up_regularly_and_on_request(bench: Bench) -> None:
    """The checks change only with them."""

    def move() -> None:
        bench.moves += 1

    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP)), ROUTES_SECONDS - 0.1),
            *(bench.monitor.update_routes, 2.0, move, ROUTES_SECONDS),
        )
    )
    assert [0.0, 4.9, 9.9] == bench.looked_up
    assert [(0.0, ("tcp",)), (9.9, ("tcp",))] == bench.watched


def test_a_lock_held_beyond_its_deadline_is_waited_for_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Checks go on meanwhile; the change is decided anew. A later wait is said again."""
    bench.results.extend([BUSY, BUSY, BUSY, None, BUSY])
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP)), 1.0, bench.says(B, CLOSED), 1.0),
            *(bench.says(B, PASSED), 1.0),
        )
    )
    assert [1.0, 1.1, 1.2, 1.3, 2.0, 2.1] == bench.attempts
    assert [(1.3, "12", "down", 10), (2.1, "12", "up", 10)] == bench.made
    assert ["another command: waiting for it"] * 2 == caplog.messages
    assert ["backend-unhealthy", "backend-healthy"] == [kind for kind, _, _ in bench.events]


def test_a_backend_that_recovers_while_the_lock_is_held_stays_in(bench: Bench) -> None:
    bench.results.extend([BUSY, BUSY])
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP)), 1.0, bench.says(B, CLOSED), 0.05),
            *(bench.says(B, PASSED), 5.0),
        )
    )
    assert ([], []) == (bench.made, bench.events)


def test_a_refused_change_is_tried_every_second_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.results.extend([REFUSED, REFUSED, REFUSED])
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 1.0, bench.says(B, CLOSED), 5.0))
    assert [1.0, 2.0, 3.0, 4.0] == bench.attempts
    assert ["health cannot change the backends: no memory"] == caplog.messages
    assert 1 == len(bench.events)


def test_a_detached_balancer_is_no_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """When it is back, routes are looked up, and everything is watched again."""
    bench.routes_results.extend([None, NONE, NONE])
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 10.0))
    assert [0.0, 5.0, 6.0, 7.0] == bench.looked_up
    assert [(0.0, ("tcp",)), (7.0, ("tcp",))] == bench.watched
    assert [] == caplog.messages


def test_rules_of_a_killed_daemon_are_removed_without_checks_too(bench: Bench) -> None:
    """Once, unless another process has them."""

    async def main() -> None:
        bench.steered.append(BUSY)
        await bench.run(1.0)
        bench.steered[:] = []
        await bench.run(1.0)
        await bench.run(1.0)

    run_in_virtual_time(main())
    assert [None] == bench.steered


# Slow starts that a reload changes


def slow(seconds: float) -> DesiredState:
    return file_of(TCP, slow_start=seconds)


def test_a_slow_start_raises_the_weight_step_by_step(bench: Bench) -> None:
    steps = bench.says(B, CLOSED), 1.0, bench.says(B, PASSED), 20.0
    run_in_virtual_time(bench.run(bench.reload(slow(10.0)), 1.0, *steps))
    weights = [(moment, weight) for moment, _, state, weight in bench.made if state == "up"]
    assert [(2.0 + n, n + 1) for n in range(10)] == weights


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # Four seconds are over, and the weight is 4.
        (5.0, [(6.0, 9), (6.5, 10)]),
        (4.0, [(6.0, 10)]),
        (2.5, [(6.0, 10)]),
        (0.0, [(6.0, 10)]),
        # Of a longer one, less is over: the weight falls, and rises at the new pace.
        (20.0, [(6.0, 3), (8.0, 4), (10.0, 5)]),
    ],
)
def test_a_reload_in_a_slow_start_counts_at_once(
    bench: Bench, seconds: float, expected: list[tuple[float, int]]
) -> None:
    """Shortened, ended or prolonged, the time since the backend passed its checks stays."""
    steps = bench.reload(slow(10.0)), 1.0, bench.says(B, CLOSED), 1.0, bench.says(B, PASSED), 4.0
    run_in_virtual_time(bench.run(*steps, bench.reload(slow(seconds)), 4.5))
    weights = [(moment, weight) for moment, _, state, weight in bench.made if state == "up"]
    assert [(2.0, 1), (3.0, 2), (4.0, 3), (5.0, 4)] == weights[:4]
    assert expected == weights[4:]


# Traffic

SUSPICION = Suspicion(WEB, B, 40, 1.0, 4.0)


def test_a_suspected_backend_is_checked_at_once_and_reported_until_it_is_none(
    bench: Bench,
) -> None:
    bench.suspicious.extend([[SUSPICION], [SUSPICION], [], [SUSPICION]])
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 4.5 * SUSPECT_SECONDS))
    assert [B, B, B] == bench.checked_now
    assert ["backend-suspected"] * 2 == [kind for kind, _, _ in bench.events]
    assert [0.0, 10.0, 20.0, 30.0, 40.0] == bench.snapshots


def test_traffic_is_not_watched_without_the_option(bench: Bench) -> None:
    """A reload that sets it is followed, and needs two snapshots again."""
    bench.suspicious.extend([[SUSPICION]])
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP, suspects=False)), 2.5 * SUSPECT_SECONDS),
            *(bench.reload(file_of(TCP)), 2 * SUSPECT_SECONDS),
        )
    )
    assert [30.0, 40.0] == bench.snapshots
    assert [B] == bench.checked_now


def test_a_suspicion_of_another_service_is_ignored(bench: Bench) -> None:
    bench.suspicious.append([replace(SUSPICION, endpoint=Endpoint.parse("10.66.0.99:80"))])
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 15.0))
    assert ([], []) == (bench.checked_now, bench.events)


def test_a_warning_is_an_event_until_it_changes(bench: Bench) -> None:
    soon, sooner = (replace(PASSED, warnings=(f"ends in {n} days",)) for n in (9, 8))
    steps = [bench.says(B, result) for result in (soon, soon, sooner, PASSED, sooner)]
    run_in_virtual_time(bench.run(bench.reload(file_of(TCP)), 1.0, *steps))
    assert [
        ("check-warning", "12", "ends in 9 days"),
        ("check-warning", "12", "ends in 8 days"),
    ] == bench.events


def test_a_late_result_of_a_removed_service_is_ignored(bench: Bench) -> None:
    """Its check was under way when the file was reloaded."""
    late: list[Callable[..., object]] = []
    job = Job(TCP, CheckTarget(WEB.address, 80, Route(B, 2)))
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file_of(TCP)), 1.0, lambda: late.append(bench.report)),
            *(bench.reload(DesiredState()), 1.0),
            lambda: late[0](job, CLOSED, True, frozenset({WEB})),
            1.0,
        )
    )
    assert {"services": []} == bench.monitor.document()
    assert [] == bench.events


def test_a_backend_that_an_earlier_daemon_took_out_is_reported_once(bench: Bench) -> None:
    """It stays out until its checks pass, also over a reload."""
    backends = tuple(
        Backend(number, address, 10, None, False, state, 1)
        for number, address, state in ((1, A, BackendState.UP), (2, B, BackendState.DOWN))
    )
    bench.present = {WEB: Service(1, WEB, ServiceOptions(), backends)}
    bench.checks[B] = False
    file = file_of(TCP)
    run_in_virtual_time(
        bench.run(
            *(bench.reload(file), 1.0, bench.reload(file), 1.0),
            *(bench.says(B, PASSED), 1.0),
        )
    )
    assert {A: True, B: False} == bench.initially
    assert [
        ("backend-unhealthy", "12", "was out already when checks began; it is back when they pass"),
        ("backend-healthy", "12", "passes its checks"),
    ] == bench.events
    assert [(2.0, "12", "up", 10)] == bench.made
