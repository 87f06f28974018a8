"""Netlink events and what follows: reloads, held locks, detached balancers, and lifetimes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.control.attached_interfaces import Attached
from pydsr.daemon import backend_moves, link_tracker, netlink_tracker
from pydsr.daemon.backend_moves import Move, Sighting, Survey
from pydsr.daemon.backend_tracker import SURVEY_SECONDS, UNREACHABLE_SECONDS
from pydsr.daemon.link_tracker import _Reattached
from pydsr.daemon.netlink_tracker import CHECK_SECONDS, NetlinkTracker
from pydsr.kernel.net import managed_neighbours, monitor
from pydsr.kernel.net.monitor import EventsLostError
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.errors import BusyError, NotAttachedError, PydsrError
from pydsr.model.events import Event
from pydsr.model.interfaces import Interface
from pydsr.model.netlink_events import (
    Confidence,
    Link,
    LinkGone,
    Neighbour,
    NeighbourGone,
    NetlinkEvent,
    PortLearned,
)
from tests.support.virtual_time import run_in_virtual_time

OLD, NEW = MacAddress.parse("02:00:00:00:00:01"), MacAddress.parse("02:00:00:00:00:02")
OWN = MacAddress.parse("02:00:00:00:00:99")
A, B, STRANGER = (ip_address(f"10.66.0.{n}") for n in (11, 12, 99))
BUSY, NONE = BusyError("another command"), NotAttachedError("no balancer")
ETH0 = Link(Interface(2, "eth0", OWN, 1500, is_up=True), has_carrier=True)
ETH1 = Link(Interface(3, "eth1", OWN, 1500, is_up=True), has_carrier=True)
UNPLUGGED = replace(ETH0, has_carrier=False)
ATTACHED = Attached("eth0", 2, OWN, "native", 7)


def entry(address: IPAddress, mac: MacAddress | None, confidence: Confidence) -> Neighbour:
    return Neighbour(2, address, mac, confidence, is_managed=True)


@dataclass
class Bench:
    """A tracker on a host that the test plays.

    Attributes:
        macs: the MACs of the balancer's backends.
        found: what the next surveys find; the last one is repeated.
        errors: of the next calls that take the lock.
        calls: those calls with their times since the start.
        surveys: when there were surveys.
        deleted: the neighbour entries that were given up.
    """

    macs: dict[IPAddress, set[MacAddress]] = field(default_factory=lambda: {A: {OLD}, B: {OLD}})
    attached: list[Attached] = field(default_factory=lambda: [ATTACHED])
    links: list[Link] = field(default_factory=lambda: [ETH0])
    pins: set[int] = field(default_factory=lambda: {2})
    found: deque[Survey] = field(default_factory=lambda: deque([Survey([], [], {})]))
    errors: deque[PydsrError | None] = field(default_factory=deque)
    refused: dict[IPAddress, str] = field(default_factory=dict)
    reattached: deque[list[_Reattached]] = field(default_factory=deque)
    calls: list[tuple[float, str]] = field(default_factory=list)
    surveys: list[float] = field(default_factory=list)
    deleted: list[tuple[IPAddress, int]] = field(default_factory=list)
    happened: list[Event] = field(default_factory=list)
    incoming: asyncio.Queue[list[NetlinkEvent] | None] = field(default_factory=asyncio.Queue)
    is_there: bool = True
    began: float = 0.0
    on_survey: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.tracker = NetlinkTracker(Path("/nowhere"), self.happened.append)

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return round(time.monotonic() - self.began, 3)

    @property
    def events(self) -> list[tuple[str, str]]:
        """The events so far, with their objects."""
        return [(event.kind.value, event.object) for event in self.happened]

    async def run(self, *steps: Callable[[], object] | NetlinkEvent | float) -> None:
        """Run the tracker; meanwhile call steps, send netlink events, or let seconds pass."""
        self.began = time.monotonic()
        running = asyncio.ensure_future(self.tracker.run())
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif callable(step):
                step()
            else:
                self.incoming.put_nowait([step])
        assert not running.done(), running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def lock(self, call: str) -> None:
        """Take the lock for a call."""
        self.calls.append((self.now, call))
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error

    # -- the host

    def check(self) -> None:
        if not self.is_there:
            raise NONE

    def read_macs(self, _: Path) -> dict[IPAddress, set[MacAddress]]:
        self.check()
        return {address: set(macs) for address, macs in self.macs.items()}

    def survey(self, _: Path) -> Survey:
        self.check()
        self.surveys.append(self.now)
        self.on_survey()
        return self.found.popleft() if len(self.found) > 1 else self.found[0]

    def move(
        self, _: Path, sightings: Sequence[Sighting]
    ) -> tuple[list[Move], dict[IPAddress, str]]:
        self.lock("move " + " ".join(str(sighting.address) for sighting in sightings))
        moves = []
        for sighting in sightings:
            if sighting.address in self.refused or sighting.address not in self.macs:
                continue
            (before,) = self.macs[sighting.address]
            self.macs[sighting.address] = {sighting.mac}
            moves.append(Move(sighting, Place(before, 2), Place(sighting.mac, sighting.device)))
        return moves, dict(self.refused)

    def read_attached(self, _: Path) -> list[Attached]:
        self.check()
        return list(self.attached)

    def reattach(self, _: Path, lost: Mapping[str, Attached]) -> list[_Reattached]:
        self.lock("reattach " + " ".join(lost))
        results = self.reattached.popleft() if self.reattached else []
        for result in results:
            if not result.failure:
                self.attached.append(replace(ATTACHED, name=result.name, ifindex=9))
        return results

    def delete(self, entries: Sequence[tuple[IPAddress, int]]) -> None:
        self.deleted += entries


class _Monitor:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __enter__(self) -> _Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def read(self) -> list[NetlinkEvent]:
        events = await self._bench.incoming.get()
        if events is None:
            raise EventsLostError
        return events


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(netlink_tracker, "Monitor", lambda: _Monitor(made))
    monkeypatch.setattr(backend_moves, "read_macs", made.read_macs)
    monkeypatch.setattr(backend_moves, "survey", made.survey)
    monkeypatch.setattr(backend_moves, "move_backends", made.move)
    monkeypatch.setattr(managed_neighbours, "delete_entries", made.delete)
    monkeypatch.setattr(link_tracker, "attached", made.read_attached)
    monkeypatch.setattr(link_tracker, "_tell_program", lambda _: made.lock("tell program"))
    monkeypatch.setattr(link_tracker, "_reattach", made.reattach)
    monkeypatch.setattr(link_tracker, "_is_detached", lambda _: not made.pins)
    monkeypatch.setattr(monitor, "all_links", lambda: list(made.links))
    monkeypatch.setattr(
        link_tracker, "link_path", lambda _, index: Path("/proc" if index in made.pins else "/none")
    )
    return made


def tells(bench: Bench) -> list[float]:
    """Return when the program was told of changed interfaces."""
    return [moment for moment, call in bench.calls if call == "tell program"]


# Backends


def test_a_changed_mac_is_followed_at_once(bench: Bench) -> None:
    """And an event has where it came from; that of a stranger is ignored."""
    sure = entry(A, NEW, Confidence.SURE)
    stranger = entry(STRANGER, NEW, Confidence.SURE)
    run_in_virtual_time(bench.run(3.0, stranger, 1.0, sure, 1.0, sure, 1.0))
    assert [(4.0, f"move {A}")] == [call for call in bench.calls if "move" in call[1]]
    (event,) = bench.happened
    assert {"from": str(OLD), "to": str(NEW)} == event.details
    assert ("mac-changed", str(A), "confirmed by ARP/ND", 0.0) == (
        *(event.kind.value, event.object, event.cause),
        event.seconds,
    )


def test_a_lock_held_beyond_its_deadline_is_waited_for_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The move is made then, with the time that it took. A later wait is said again."""
    bench.errors.extend([None, BUSY, BUSY, BUSY, None, BUSY])
    run_in_virtual_time(
        bench.run(
            *(3.0, entry(A, NEW, Confidence.SURE), 3.0),
            *(entry(A, OLD, Confidence.SURE), 3.0),
        )
    )
    moved = [moment for moment, call in bench.calls if call == f"move {A}"]
    assert [3.0, 3.1, 3.2, 3.3, 6.0, 6.1] == moved
    assert ["another command: waiting"] * 2 == caplog.messages
    assert [0.3, 0.1] == [round(event.seconds or 0, 3) for event in bench.happened]


def test_a_second_sighting_while_the_lock_is_held_is_the_one_that_counts(bench: Bench) -> None:
    bench.errors.extend([None, BUSY])
    third = MacAddress.parse("02:00:00:00:00:03")
    run_in_virtual_time(
        bench.run(
            *(3.0, entry(A, NEW, Confidence.SURE), 0.05),
            *(entry(A, third, Confidence.SURE), 1.0),
        )
    )
    assert {third} == bench.macs[A]
    assert [("mac-changed", str(A))] == bench.events


def test_a_silent_backend_is_reported_until_it_answers(bench: Bench) -> None:
    """An entry that only comes and goes is neither."""
    failed, sure = entry(A, None, Confidence.FAILED), entry(A, OLD, Confidence.SURE)
    asking = entry(A, None, Confidence.NONE)
    run_in_virtual_time(bench.run(3.0, sure, failed, asking, failed, 5.0, sure, sure, 1.0))
    assert [("backend-silent", str(A)), ("backend-answers", str(A))] == bench.events
    silent, answers = bench.happened
    assert f"stopped answering ARP/ND on eth0; packets still go to {OLD}" == silent.cause
    assert 5.0 == answers.seconds


def test_a_refused_mac_is_reported_once_until_the_reason_changes(bench: Bench) -> None:
    new, old = entry(A, NEW, Confidence.SURE), entry(A, OLD, Confidence.SURE)

    def refuse(reason: str) -> Callable[[], object]:
        return lambda: bench.refused.update({A: reason})

    run_in_virtual_time(
        bench.run(
            *(3.0, refuse("own"), new, 1.0, old, new, 1.0),
            *(refuse("other"), old, new, 1.0),
        )
    )
    assert [("mac-refused", "own"), ("mac-refused", "other")] == [
        (event.kind.value, event.cause) for event in bench.happened
    ]


def test_two_hosts_with_one_address_are_reported_once(bench: Bench) -> None:
    steps = [step for mac in (NEW, OLD, NEW, OLD) for step in (entry(A, mac, Confidence.SURE), 1.0)]
    run_in_virtual_time(bench.run(3.0, *steps))
    assert [("mac-changed", str(A)), ("duplicate-address", str(A))] == bench.events


def test_former_backends_are_given_up_and_forgotten(bench: Bench) -> None:
    """The kernel need not keep them resolved any more; new ones are looked up at once."""
    bench.found = deque([Survey([entry(A, OLD, Confidence.SURE)], [], {})])
    unmanaged = Neighbour(3, A, OLD, Confidence.SURE)
    failed = entry(A, None, Confidence.FAILED)

    def change() -> None:
        bench.macs = {B: {OLD}}

    run_in_virtual_time(
        bench.run(3.0, unmanaged, failed, 1.0, change, 2 * CHECK_SECONDS, failed, 1.0)
    )
    assert [(A, 2)] == bench.deleted
    assert [("backend-silent", str(A))] == bench.events
    assert [0.0, 4.0] == bench.surveys


# Look-ups


@pytest.mark.parametrize("unreachable", [False, True])
def test_backends_are_looked_up_regularly(
    bench: Bench, unreachable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """More often while one has no route, which is said once."""
    reasons = {A: "no route to A"} if unreachable else {}
    bench.found = deque([Survey([], [], reasons)])
    period = UNREACHABLE_SECONDS if unreachable else SURVEY_SECONDS
    run_in_virtual_time(bench.run(2.5 * period))
    assert [0.0, period, 2 * period] == bench.surveys
    assert ["no route to A"] * unreachable == caplog.messages


def test_no_route_is_expected_while_an_interface_is_down(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.found = deque([Survey([], [], {}), Survey([], [], {A: "no route to A"})])
    run_in_virtual_time(bench.run(3.0, UNPLUGGED, 100.0))
    assert [("link-down", "eth0")] == bench.events
    assert [] == caplog.messages


def test_many_reasons_are_shortened(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    reasons = {ip_address(f"10.66.1.{n}"): f"reason {n % 5}" for n in range(20)}
    bench.found = deque([Survey([], [], reasons)])
    run_in_virtual_time(bench.run(3.0))
    assert ["reason 0; reason 1; reason 2; and 2 more"] == caplog.messages


@pytest.mark.parametrize(
    ("what", "event", "is_looked_up"),
    [
        ("a deleted entry", NeighbourGone(2, A), True),
        ("a deleted entry of a stranger", NeighbourGone(2, STRANGER), False),
        ("a port that has learned a backend", PortLearned(4, 3, OLD), True),
        ("a port that has learned another host", PortLearned(4, 3, NEW), False),
    ],
)
def test_events_lead_to_a_look_up(
    bench: Bench, what: str, event: NetlinkEvent, is_looked_up: bool
) -> None:
    run_in_virtual_time(bench.run(3.5, event, 1.0))
    assert ([0.0, 3.5] if is_looked_up else [0.0]) == bench.surveys, what


def test_a_reload_leads_to_a_look_up(bench: Bench) -> None:
    run_in_virtual_time(bench.run(3.5, bench.tracker.request_survey, 1.0))
    assert [0.0, 3.5] == bench.surveys


def test_a_look_up_that_is_requested_during_another_follows_it(bench: Bench) -> None:
    """Even if the first says to look again later."""
    bench.found = deque([Survey([], [], {A: "no route"})])
    requests = iter([bench.tracker.request_survey])

    def on_survey() -> None:
        for request in requests:
            request()

    bench.on_survey = on_survey
    run_in_virtual_time(bench.run(3.0))
    assert [0.0, 0.0] == bench.surveys


def test_a_backend_that_a_look_up_finds_elsewhere_is_moved(bench: Bench) -> None:
    """Unless an event has said more meanwhile."""
    sighting = Sighting(A, 2, NEW, "found in the kernel's neighbour table")
    bench.found = deque([Survey([], [sighting], {}), Survey([], [], {})])
    run_in_virtual_time(bench.run(1.0))
    (event,) = bench.happened
    assert ("mac-changed", "found in the kernel's neighbour table") == (event.kind, event.cause)


def test_lost_events_are_made_up_for(bench: Bench) -> None:
    """Reported once; an interface that vanished is noticed."""

    def lose() -> None:
        bench.links = [ETH1]
        bench.attached = []
        bench.incoming.put_nowait(None)

    run_in_virtual_time(bench.run(3.0, lose, 1.0, lose, 1.0))
    assert [("news-lost", "neighbours and links"), ("link-lost", "eth0")] == bench.events
    assert [0.0, 3.0, 4.0] == bench.surveys


# Interfaces


def test_the_program_is_told_when_interfaces_change(bench: Bench) -> None:
    """Again after a lock that was held too long."""
    changed = replace(ETH0, interface=replace(ETH0.interface, mac=NEW))
    bench.errors.extend([None, BUSY])
    run_in_virtual_time(bench.run(3.0, changed, 5.0, changed, 5.0))
    assert [0.0, 3.0, 3.1] == tells(bench)
    assert [0.0, 3.1] == bench.surveys


def test_a_link_that_is_down_is_an_event_and_up_again_too(bench: Bench) -> None:
    """The kernel has dropped its neighbours, so the program is told anew."""
    run_in_virtual_time(bench.run(3.0, UNPLUGGED, 4.0, ETH0, 1.0))
    down, up = bench.happened
    assert ("link-down", "eth0", "no carrier") == (down.kind, down.object, down.cause)
    assert ("link-up", "eth0", 4.0) == (up.kind, up.object, up.seconds)
    assert [0.0, 7.0] == tells(bench)


def test_a_deleted_interface_is_attached_again_when_it_returns(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after a lock that was held too long, and a first attempt that failed."""
    failed = _Reattached("eth0", "native", "no memory")
    bench.errors.extend([None, BUSY])
    bench.reattached.extend([[failed], [failed], [_Reattached("eth0", "native")]])

    def vanish() -> None:
        bench.links, bench.attached = [], []

    back = replace(ETH0, interface=replace(ETH0.interface, index=9))
    run_in_virtual_time(bench.run(3.0, vanish, LinkGone(ETH0.interface), 0.05, back, 10.0))
    lost, again = bench.happened
    assert ("link-lost", "eth0") == (lost.kind, lost.object)
    assert ("link-back", "eth0", "attached again, in native mode") == (
        *(again.kind, again.object),
        again.cause,
    )
    assert ["another command: waiting", "eth0 is back, but no memory"] == caplog.messages
    attempts = [moment for moment, call in bench.calls if call == "reattach eth0"]
    assert 4 == len(attempts)
    assert again.seconds == pytest.approx(attempts[-1] - 3.0)


def test_a_detached_interface_is_not_lost(bench: Bench) -> None:
    """Its pin is gone before the interface."""

    def detach() -> None:
        bench.pins, bench.attached = set(), []

    run_in_virtual_time(bench.run(3.0, detach, LinkGone(ETH0.interface), 5.0))
    assert [] == bench.events


def test_a_lost_interface_is_forgotten_when_everything_is_detached(bench: Bench) -> None:
    def detach() -> None:
        bench.pins, bench.attached = set(), []

    back = replace(ETH0, interface=replace(ETH0.interface, index=9))
    run_in_virtual_time(bench.run(3.0, LinkGone(ETH0.interface), 1.0, detach, 5.0, back, 5.0))
    assert [("link-lost", "eth0")] == bench.events
    assert max(moment for moment, call in bench.calls if "reattach" in call) < 4.0


def test_entries_of_a_deleted_interface_are_forgotten(bench: Bench) -> None:
    """Only its own: the former backend's entry elsewhere is given up later."""
    elsewhere = Neighbour(3, A, OLD, Confidence.SURE, is_managed=True)

    def change() -> None:
        bench.macs = {B: {OLD}}

    run_in_virtual_time(
        bench.run(
            *(3.0, entry(A, OLD, Confidence.SURE), elsewhere, 1.0),
            *(LinkGone(ETH0.interface), change, 5.0),
        )
    )
    assert [(A, 3)] == bench.deleted


def test_without_a_balancer_everything_is_forgotten_until_there_is_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no trouble. Then backends are looked up at once, and nothing old is reported."""
    failed = entry(A, None, Confidence.FAILED)

    def purge() -> None:
        bench.is_there = False

    def attach() -> None:
        bench.is_there = True

    run_in_virtual_time(
        bench.run(3.0, failed, UNPLUGGED, 1.0, purge, 7.0, ETH0, 1.0, attach, 3.0, failed, 1.0)
    )
    assert [("backend-silent", str(A)), ("link-down", "eth0"), ("backend-silent", str(A))] == (
        bench.events
    )
    assert [0.0, 13.0] == bench.surveys
    assert [] == caplog.messages


def test_after_a_restart_backends_are_looked_up_at_once(bench: Bench) -> None:
    """Nobody has listened meanwhile."""

    async def main() -> None:
        await bench.run(3.0)
        bench.surveys = []
        await bench.run(1.0)

    run_in_virtual_time(main())
    assert [0.0] == bench.surveys


def test_a_backend_that_is_silent_on_two_networks_is_reported_once(bench: Bench) -> None:
    here = entry(A, None, Confidence.FAILED)
    run_in_virtual_time(bench.run(3.0, here, replace(here, device=3), 1.0))
    assert [("backend-silent", str(A))] == bench.events


def test_a_backend_behind_another_interface_has_moved(bench: Bench) -> None:
    """With its MAC; a look-up does not overrule what an event said meanwhile."""
    bench.links = [ETH0, ETH1]
    moved = Sighting(A, 3, OLD, "found in the kernel's neighbour table")
    bench.found = deque([Survey([], [moved], {}), Survey([], [], {})])
    run_in_virtual_time(bench.run(1.0))
    (event,) = bench.happened
    assert ("backend-moved", {"from": "eth0", "to": "eth1"}) == (event.kind, event.details)


def test_a_deleted_interface_has_no_name(bench: Bench) -> None:
    bench.links = []
    bench.attached = []
    run_in_virtual_time(bench.run(3.0, entry(A, None, Confidence.FAILED), 1.0))
    (event,) = bench.happened
    assert "on a deleted interface;" in event.cause


def test_a_former_backend_that_is_added_again_is_reported_anew(bench: Bench) -> None:
    failed = entry(A, None, Confidence.FAILED)

    def remove() -> None:
        bench.macs = {B: {OLD}}

    def add() -> None:
        bench.macs = {A: {OLD}, B: {OLD}}

    run_in_virtual_time(bench.run(3.0, failed, 1.0, remove, 5.0, add, 5.0, failed, 1.0))
    assert [("backend-silent", str(A))] * 2 == bench.events
