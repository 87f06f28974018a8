"""Numbers of routes, the differences that are made, and rules that are kept for hours."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from pydantic import TypeAdapter

from pydsr.health import checker, steering, steering_netlink
from pydsr.health.checker import IDLE_REFRESH_SECONDS, REFRESH_SECONDS, Checker
from pydsr.health.steering import Steering
from pydsr.health.steering_plan import (
    MARKS,
    MAX_ROUTES,
    Entry,
    RouteEntry,
    RuleEntry,
    RuleKind,
    in_order,
)
from pydsr.health.targets import CheckTarget, Job, Route
from pydsr.kernel.net.monitor import EventsLostError
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import Check
from pydsr.model.errors import BusyError, EnvironmentCannotError, InputError
from tests.support.virtual_time import run_in_virtual_time

VIP = ip_address("192.0.2.80")
WEB, MAIL = Endpoint.parse("192.0.2.80:80"), Endpoint.parse("192.0.2.80:25")
CHECK: Check = TypeAdapter(Check).validate_python({"type": "tcp"})


def route(number: int) -> Route:
    return Route(ip_address("198.51.100.0") + number, 2)


def target(number: int) -> CheckTarget:
    return CheckTarget(VIP, 80, route(number))


class Kernel:
    """The kernel's entries; each of the next changes may be refused.

    Attributes:
        changes: the changes so far.
        reads: when all entries were read, in seconds since the start.
    """

    def __init__(self) -> None:
        self.entries: set[Entry] = set()
        self.errors: deque[Exception | None] = deque()
        self.changes: list[tuple[str, Entry]] = []
        self.reads: list[float] = []
        self.began = 0.0

    @asynccontextmanager
    async def netlink(self) -> AsyncIterator[None]:
        self.reads.append(round(asyncio.get_running_loop().time() - self.began, 3))
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error
        yield

    async def present(self, _: object) -> AsyncIterator[Entry]:
        for entry in tuple(self.entries):
            yield entry

    async def add(self, _: object, entry: Entry) -> None:
        self.changes.append(("add", entry))
        self.entries.add(entry)

    async def delete(self, _: object, entry: Entry) -> None:
        self.changes.append(("delete", entry))
        self.entries.remove(entry)

    def made(self, action: str) -> list[Entry]:
        """Return the entries that were added or deleted, in order, and forget them."""
        found = [entry for each, entry in self.changes if each == action]
        self.changes = [change for change in self.changes if change[0] != action]
        return found

    @property
    def marks(self) -> set[int]:
        """The marks for which there are rules."""
        lookups = (entry for entry in self.entries if isinstance(entry, RuleEntry))
        return {entry.mark - MARKS for entry in lookups if entry.kind is RuleKind.LOOKUP}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    for name in ("netlink", "present", "add", "delete"):
        monkeypatch.setattr(steering_netlink, name, getattr(made, name))
    monkeypatch.setattr(steering, "_lock", lambda: socket.socket(socket.AF_UNIX))
    return made


def test_entries_are_added_and_removed_in_an_order_that_misleads_nobody(kernel: Kernel) -> None:
    """Those that are right already stay."""

    async def main() -> None:
        async with Steering() as steered:
            await steered.steer([target(1)])
            added = kernel.made("add")
            assert in_order(added) == added
            await steered.steer([target(1), target(2)])
            assert {2 + MARKS} == {
                entry.table for entry in kernel.made("add") if isinstance(entry, RouteEntry)
            }
            await steered.steer([target(2)])
            removed = kernel.made("delete")
            assert in_order(removed)[::-1] == removed
        assert (set(), True) == (kernel.entries, bool(kernel.made("delete")))

    run_in_virtual_time(main())


def test_numbers_stay_and_new_ones_follow_the_latest(kernel: Kernel) -> None:
    """So that a late answer reaches no other backend, until all numbers were used."""

    async def main() -> list[int]:
        async with Steering() as steered:
            numbers = []
            for wanted in ([1, 2], [2], [2, 3], [3], [3, 4, 1]):
                await steered.steer(map(target, wanted))
                assert kernel.marks == {steered.mark(route(n)) - MARKS for n in wanted}
                numbers.append(steered.mark(route(wanted[-1])) - MARKS)
            steered._latest = MAX_ROUTES
            await steered.steer(map(target, [3, 4, 1, 5, 6]))
            numbers += [steered.mark(route(n)) - MARKS for n in (5, 6)]
            return numbers

    assert [2, 2, 3, 3, 5, 1, 2] == run_in_virtual_time(main())


def test_after_everything_has_gone_numbers_still_go_on(kernel: Kernel) -> None:
    async def main() -> int:
        async with Steering() as steered:
            await steered.steer([target(1)])
            await steered.steer([])
            assert not kernel.entries
            await steered.steer([target(1)])
            return steered.mark(route(1)) - MARKS

    assert 2 == run_in_virtual_time(main())


@pytest.mark.parametrize(("number", "fits"), [(MAX_ROUTES, True), (MAX_ROUTES + 1, False)])
def test_more_backends_than_numbers_are_refused(number: int, fits: bool) -> None:
    routes = dict.fromkeys(map(route, range(number)))
    steered = Steering()
    if fits:
        assert {*range(1, MAX_ROUTES + 1)} == {*steered._numbered(routes).values()}
    else:
        with pytest.raises(InputError, match=f"{number} backends are too many to check"):
            steered._numbered(routes)


@pytest.mark.usefixtures("kernel")
def test_a_refused_target_changes_nothing(kernel: Kernel) -> None:
    """An IPv6 VIP cannot be reached by an IPv4 address without a MAC."""
    vip6 = CheckTarget(ip_address("2001:db8::80"), 80, route(2))

    async def main() -> None:
        async with Steering() as steered:
            await steered.steer([target(1)])
            kernel.changes = []
            with pytest.raises(InputError, match="cannot be checked without a MAC"):
                steered.check([target(1), vip6])
            with pytest.raises(InputError, match="cannot be checked without a MAC"):
                await steered.steer([target(1), vip6])
            assert [] == kernel.changes
            assert MARKS + 1 == steered.mark(route(1))

    run_in_virtual_time(main())


def test_one_process_at_a_time_has_the_rules() -> None:
    """The name belongs to the network namespace, and is free again at the end."""
    name = f"\0pydsr-test-{id(object())}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steering, "_LOCK", name)
        with steering._lock(), pytest.raises(BusyError, match="makes health checks"):
            steering._lock()
        steering._lock().close()
        patch.setattr(steering, "_LOCK", "x" * 200)
        with pytest.raises(OSError, match="too long"):
            steering._lock()


# The checker, for hours


class Monitor:
    """A monitor of rules, which change when the test says so."""

    reports: asyncio.Queue[bool]
    opened = 0

    def __init__(self, _: int) -> None:
        Monitor.opened += 1

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def read(self) -> None:
        if await self.reports.get():
            raise EventsLostError


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> deque[Result]:
    """The results of the next checks; the last one is repeated."""
    Monitor.reports, Monitor.opened = asyncio.Queue(), 0
    made = deque([PASSED])

    async def check(_: Job, mark: int, __: object) -> Result:
        assert mark >= MARKS
        return made.popleft() if len(made) > 1 else made[0]

    monkeypatch.setattr(checker, "Monitor", Monitor)
    monkeypatch.setattr(checker, "check_once", check)
    return made


async def checked(kernel: Kernel, *steps: float | bool) -> list[float]:
    """Run a checker without work; let seconds pass, or rules change. Return when it read them."""
    kernel.began = asyncio.get_running_loop().time()
    async with Checker(lambda *_: None):
        kernel.reads = []
        for step in steps:
            if isinstance(step, bool):
                Monitor.reports.put_nowait(step)
            else:
                await asyncio.sleep(step)
        return list(kernel.reads)


@pytest.mark.usefixtures("results")
def test_rules_are_compared_once_a_minute(kernel: Kernel) -> None:
    assert (1.0, 60.0) == (REFRESH_SECONDS, IDLE_REFRESH_SECONDS)
    assert [0.0, 60.0, 120.0] == run_in_virtual_time(checked(kernel, 150.0))


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.usefixtures("results")
def test_rules_are_compared_after_a_change_but_not_more_than_once_a_second(
    kernel: Kernel, is_lost: bool
) -> None:
    """Also if the kernel had more events than could be read."""
    steps: list[float | bool] = [10.0, *[is_lost, 0.3] * 10, 5.0]
    reads = run_in_virtual_time(checked(kernel, *steps))
    assert [0.0, 10.0, 11.0, 12.0, 13.0] == reads[:5]


@pytest.mark.usefixtures("results")
def test_a_refused_refresh_is_tried_again(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    error = EnvironmentCannotError("the kernel refuses")
    kernel.errors.extend([None, None, error])
    assert [0.0, 60.0, 120.0] == run_in_virtual_time(checked(kernel, 150.0))
    assert ["the kernel refuses"] == caplog.messages


def test_an_unsteered_check_restores_the_routes(kernel: Kernel, results: deque[Result]) -> None:
    """The kernel removes them when an interface goes down."""
    results.clear()
    results.extend([Result(Outcome.UNSTEERED), PASSED])
    reported: list[str] = []

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        kernel.began = loop.time()
        async with Checker(lambda *a: reported.append(a[1].outcome.value)) as made:
            await asyncio.sleep(5)
            await made.watch([(WEB, [CHECK], [route(1)])])
            kernel.reads, kernel.entries = [], set()
            await asyncio.sleep(0.5)
            assert {1} == kernel.marks
            return list(kernel.reads)

    assert 1 == len(run_in_virtual_time(main()))
    assert Outcome.UNSTEERED.value == reported[0]


@pytest.mark.usefixtures("kernel", "results")
def test_services_are_told_the_health_by_their_own_checks() -> None:
    """A reload that takes a service away leaves the check to the other one."""
    reported: list[frozenset[Endpoint]] = []

    async def main() -> None:
        async with Checker(lambda *a: reported.append(a[3])) as made:
            mail80 = Endpoint.parse("192.0.2.80:80/tcp")
            await made.watch([(WEB, [CHECK], [route(1), route(2)])], lambda *_: False)
            assert [False] == [each.is_healthy for each in made.health(WEB, route(1).backend)]
            assert [] == made.health(MAIL, route(1).backend)
            assert [] == made.health(WEB, route(3).backend)
            await asyncio.sleep(30)
            assert [True] == [each.is_healthy for each in made.health(WEB, route(1).backend)]
            await made.watch([(mail80, [CHECK], [route(1)])])
            assert [] == made.health(WEB, route(2).backend)
            made.check_now(MAIL, route(1).backend)
            count = len(reported)
            made.check_now(WEB, route(1).backend)
            await asyncio.sleep(0.05)
            assert count + 1 == len(reported)
            await made.watch([])
            count = len(reported)
            await asyncio.sleep(60)
            assert count == len(reported)

    run_in_virtual_time(main())
    assert {frozenset({WEB})} == set(reported)
