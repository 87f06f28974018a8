"""VIPs follow the VRRP address: after a reload, and after a lock held too long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from pydsr.daemon import vrrp_address
from pydsr.daemon.vrrp_address import VrrpAddressWatcher
from pydsr.kernel.net.monitor import EventsLostError
from pydsr.model.addresses import Endpoint
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, NotAttachedError
from pydsr.model.events import Event
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Service
from tests.support.virtual_time import Meeting, run_in_virtual_time

DIRECTORY = Path("/nowhere")
VRRP = DesiredState(seed=1, answer_while=ip_address("192.0.2.1"))
OTHER = DesiredState(seed=2, answer_while=ip_address("192.0.2.2"))
WITHOUT = DesiredState(seed=3)
BUSY, NONE = BusyError("another command"), NotAttachedError("no balancer")


def services(number: int, *, arp: bool) -> list[Service]:
    options = ServiceOptions(arp=arp)
    return [
        Service(n, Endpoint.parse(f"10.66.0.80:{n}"), options, ()) for n in range(1, number + 1)
    ]


TAKEN, LEFT = services(2, arp=True), services(1, arp=False)


class Bench:
    """A watcher on a host whose addresses change when the test says so.

    Attributes:
        results: of the next checks; after them nothing changes.
        followed: the desired states of the checks, with their times since the start.
        announced: when VIPs were announced again.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: deque[list[Service] | Exception] = deque()
        self.followed: list[tuple[int | None, float]] = []
        self.announced: list[float] = []
        self.announcements: deque[Exception] = deque()
        self.happened: list[Event] = []
        self.on_follow: Callable[[], object] = lambda: None
        self.changing, self.address_event = asyncio.Lock(), asyncio.Event()
        self.lost = False
        self.watcher = VrrpAddressWatcher(DIRECTORY, self.happened.append, self.changing)
        monkeypatch.setattr(vrrp_address, "Monitor", lambda _: _Monitor(self))
        monkeypatch.setattr(vrrp_address, "follow_address", self._follow)
        monkeypatch.setattr(vrrp_address, "announce_again", self._announce)
        self._began = 0.0

    def _follow(self, _: Path, desired: DesiredState) -> list[Service]:
        self.followed.append((desired.seed, self.now))
        self.on_follow()
        result = self.results.popleft() if self.results else []
        if isinstance(result, Exception):
            raise result
        return result

    def _announce(self, _: Path) -> None:
        self.announced.append(self.now)
        if self.announcements:
            raise self.announcements.popleft()

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return round(time.monotonic() - self._began, 3)

    async def run(self, *steps: Callable[[], object], seconds: float = 30.0) -> None:
        """Run the watcher and the steps, with some virtual time after each."""
        self._began = time.monotonic()
        running = asyncio.ensure_future(self.watcher.run())
        for step in steps:
            step()
            await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()

    def adopt(self, desired: DesiredState) -> Callable[[], None]:
        """Return a step that adopts a desired state."""
        return lambda: self.watcher.adopt(desired)

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """The events so far."""
        return [(event.kind.value, event.object, event.cause) for event in self.happened]


class _Monitor:
    """A monitor that reports whenever the test sets the event."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __enter__(self) -> _Monitor:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        pass

    async def read(self) -> list[Any]:
        await self._bench.address_event.wait()
        self._bench.address_event.clear()
        if self._bench.lost:
            raise EventsLostError
        return []


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_vips_that_are_taken_over_are_announced_again(bench: Bench) -> None:
    """After one and five seconds: announcements can be lost. There may be no balancer any more."""
    bench.results.append(TAKEN)
    bench.announcements.append(NONE)
    run_in_virtual_time(bench.run(bench.adopt(VRRP)))
    cause = "is on this host: answering ARP/ND for 2 services"
    assert [("vips-taken", "192.0.2.1", cause)] == bench.events
    assert [1.0, 5.0] == bench.announced


def test_vips_that_are_left_are_not(bench: Bench) -> None:
    bench.results.append(LEFT)
    run_in_virtual_time(bench.run(bench.adopt(VRRP)))
    cause = "is not on this host: no ARP/ND for 1 service"
    assert [("vips-left", "192.0.2.1", cause)] == bench.events
    assert [] == bench.announced


@pytest.mark.parametrize("lost", [False, True])
def test_each_change_of_addresses_is_followed_by_a_check(bench: Bench, lost: bool) -> None:
    """Also if the kernel had more events than could be read, and without a balancer."""
    bench.lost = lost
    bench.results.extend([NONE, TAKEN, [], LEFT])
    run_in_virtual_time(bench.run(bench.adopt(VRRP), *[bench.address_event.set] * 3))
    assert [(1, 0.0), (1, 30.0), (1, 60.0), (1, 90.0)] == bench.followed
    assert ["vips-taken", "vips-left"] == [event.kind.value for event in bench.happened]
    assert [31.0, 35.0] == bench.announced


def test_a_lock_held_beyond_its_deadline_is_waited_for_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A reload may come between two attempts; the next wait is said again."""
    bench.results.extend([BUSY, BUSY, BUSY, TAKEN, BUSY, LEFT])
    run_in_virtual_time(bench.run(bench.adopt(VRRP), bench.address_event.set))
    assert [(1, 0.0), (1, 0.1), (1, 0.2), (1, 0.3), (1, 30.0), (1, 30.1)] == bench.followed
    assert ["another command: waiting"] * 2 == caplog.messages
    assert [1.3, 5.3] == bench.announced
    assert ["vips-taken", "vips-left"] == [event.kind.value for event in bench.happened]
    assert not bench.changing.locked()


def test_a_reload_is_followed_with_its_own_desired_state(bench: Bench) -> None:
    """And a file without a VRRP address ends that, until another one has it again."""
    steps = [bench.adopt(VRRP), bench.adopt(OTHER), bench.adopt(WITHOUT), bench.address_event.set]
    run_in_virtual_time(bench.run(*steps, bench.adopt(OTHER), bench.address_event.set))
    assert [(1, 0.0), (2, 30.0), (2, 120.0), (2, 150.0)] == bench.followed
    assert ([], []) == (bench.events, bench.announced)


def test_a_check_under_way_ends_before_a_reload_is_applied(bench: Bench) -> None:
    """Otherwise the file before it would be written after it, and nobody would notice."""
    order: list[str] = []

    async def main() -> None:
        checking, go_on = Meeting(), threading.Event()

        def check() -> None:
            checking.wait_for(go_on)
            order.append("checked")

        bench.on_follow = check

        async def reload() -> None:
            async with bench.changing:
                order.append("applied")
                bench.watcher.adopt(WITHOUT)

        running = asyncio.ensure_future(bench.run(bench.adopt(VRRP)))
        await checking.reached.wait()
        reloading = asyncio.ensure_future(reload())
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(reloading, running)

    run_in_virtual_time(main())
    assert ["checked", "applied"] == order
    assert [1] == [seed for seed, _ in bench.followed]


def test_before_a_desired_state_is_adopted_nothing_is_followed(bench: Bench) -> None:
    run_in_virtual_time(bench.run(bench.address_event.set, bench.adopt(VRRP)))
    assert [(1, 30.0)] == bench.followed
