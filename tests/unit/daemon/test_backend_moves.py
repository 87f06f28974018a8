"""Backends are moved to where they were seen, and interfaces attached again, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pydsr.control.attached_interfaces import Attached
from pydsr.control.transaction import Transaction
from pydsr.daemon import backend_moves, link_tracker
from pydsr.daemon.backend_moves import Move, Sighting, change_egress, move_backends, read_macs
from pydsr.daemon.link_tracker import _Reattached
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import BackendEntry
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.net import links, managed_neighbours
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.errors import (
    BackendUnresolvedError,
    EnvironmentCannotError,
    InputError,
    NotAttachedError,
)
from pydsr.model.interfaces import Interface
from pydsr.model.netlink_events import Confidence, Neighbour

NOWHERE = Path("/nowhere")
OLD, NEW, OWN = (MacAddress.parse(f"02:00:00:00:00:{n}") for n in ("01", "02", "99"))
MULTICAST = MacAddress(bytes.fromhex("010000000001"))
A, B, A6 = ip_address("10.66.0.11"), ip_address("10.66.0.12"), ip_address("fd66::11")
UP, DRAIN, DOWN, RETIRED = (
    *(StateNumber.UP, StateNumber.DRAIN),
    *(StateNumber.DOWN, StateNumber.RETIRED),
)


def entry(
    address: IPAddress,
    mac: MacAddress = OLD,
    state: StateNumber = UP,
    ifindex: int = 2,
    by_hand: bool = False,
) -> BackendEntry:
    packed = layout.pack_address(address)
    return BackendEntry(mac.octets, ifindex, 1, state, by_hand, packed, bytes(8))


@dataclass
class Host:
    """Backends in the maps, and the networks around them.

    Attributes:
        entries: the backends by id.
        seen: the places that the kernel has confirmed.
        written: the places that were written, by id, and whether they are by hand.
        collected: what transactions collect garbage of.
    """

    entries: dict[int, BackendEntry] = field(default_factory=dict)
    seen: dict[IPAddress, list[Place]] = field(default_factory=dict)
    written: list[tuple[int, Place, bool]] = field(default_factory=list)
    collected: list[object] = field(default_factory=list)
    neighbours: list[Neighbour] = field(default_factory=list)
    unroutable: set[IPAddress] = field(default_factory=set)
    refused_by_kernel: list[IPAddress] = field(default_factory=list)
    kept: list[tuple[IPAddress, int]] = field(default_factory=list)
    deleted: list[tuple[IPAddress, int]] = field(default_factory=list)
    closed: int = 0

    @property
    def state(self) -> Any:
        """The live state."""

        def ids(*states: StateNumber) -> Iterator[int]:
            return (number for number, each in self.entries.items() if each.state in states)

        def write(number: int, place: Place, by_hand: bool) -> None:
            self.written.append((number, place, by_hand))

        def close() -> None:
            self.closed += 1

        backends = SimpleNamespace(ids=ids, read=self.entries.__getitem__, write_place=write)
        return SimpleNamespace(backends=backends, close=close)

    @contextmanager
    def transaction(self, _: Path, *, collect: object) -> Iterator[SimpleNamespace]:
        self.collected.append(collect)
        yield SimpleNamespace(state=self.state)

    # -- as a Network

    devices = (2, 3)

    def place_at(self, device: int, mac: MacAddress) -> Place | None:
        return Place(mac, device) if device in self.devices else None

    def refuse_own_mac(self, address: IPAddress, place: Place) -> None:
        if place.mac == OWN:
            raise InputError(f"{address} has the balancer's own MAC")

    def device_of(self, address: IPAddress) -> int:
        if address in self.unroutable:
            raise BackendUnresolvedError(f"{address} is routed")
        return 2


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()

    def keep(wanted: Sequence[tuple[IPAddress, int]]) -> list[IPAddress]:
        made.kept += wanted
        return made.refused_by_kernel

    network = SimpleNamespace(
        seen=lambda _: made.seen,
        place_at=made.place_at,
        refuse_own_mac=made.refuse_own_mac,
        device_of=made.device_of,
        devices=made.devices,
    )
    monkeypatch.setattr(backend_moves, "LiveState", lambda _: made.state)
    monkeypatch.setattr(backend_moves, "Network", lambda _: network)
    monkeypatch.setattr(backend_moves, "attached", lambda _: [])
    monkeypatch.setattr(backend_moves, "transaction", made.transaction)
    monkeypatch.setattr(managed_neighbours, "find_neighbours", lambda _: made.neighbours)
    monkeypatch.setattr(managed_neighbours, "keep_resolved", keep)
    monkeypatch.setattr(managed_neighbours, "delete_entries", lambda e: made.deleted.extend(e))
    return made


def sighting(address: IPAddress = A, mac: MacAddress = NEW, device: int = 2) -> Sighting:
    return Sighting(address, device, mac, "announced")


def test_macs_of_backends_in_use_are_read(host: Host) -> None:
    """Not fixed ones, nor those of former backends."""
    host.entries = {
        1: entry(A),
        2: entry(A, NEW, DRAIN),
        3: entry(A6, OLD, DOWN),
        4: entry(B, OLD, RETIRED),
        5: entry(B, NEW, by_hand=True),
    }
    assert {A: {OLD, NEW}, A6: {OLD}} == read_macs(NOWHERE)
    assert 1 == host.closed


def test_a_backend_is_moved_in_all_its_services(host: Host) -> None:
    """Except where its MAC is fixed, or it is there already. Others stay."""
    host.entries = {
        1: entry(A),
        2: entry(A, state=DOWN),
        3: entry(A, NEW),
        4: entry(A, by_hand=True),
        5: entry(B),
    }
    moves, refused = move_backends(NOWHERE, [sighting()])
    place = Place(NEW, 2)
    assert [(1, place, False), (2, place, False)] == host.written
    assert ([Move(sighting(), Place(OLD, 2), place)], {}) == (moves, refused)
    assert [()] == host.collected


@pytest.mark.parametrize(
    ("seen", "is_moved"),
    [
        ([], True),
        # Confirmed at the old place on another network: it has two, and stays.
        ([Place(OLD, 3)], False),
        # On the same network it is what was seen before.
        ([Place(OLD, 2)], True),
    ],
)
def test_a_backend_that_is_seen_on_two_networks_stays(
    host: Host, seen: list[Place], is_moved: bool
) -> None:
    host.entries = {1: entry(A, OLD, ifindex=seen[0].ifindex if seen else 2)}
    host.seen = {A: seen}
    moves, _ = move_backends(NOWHERE, [sighting()])
    assert is_moved == bool(moves) == bool(host.written)


@pytest.mark.parametrize(
    ("what", "seen", "refused"),
    [
        ("the balancer's own MAC", sighting(mac=OWN), {A: f"{A} has the balancer's own MAC"}),
        ("a multicast MAC", sighting(mac=MULTICAST), {}),
        ("no network of the balancer", sighting(device=9), {}),
    ],
)
def test_a_place_that_cannot_be_is_not_written(
    host: Host, what: str, seen: Sighting, refused: dict[IPAddress, str]
) -> None:
    host.entries = {1: entry(A)}
    assert ([], refused) == move_backends(NOWHERE, [seen]), what
    assert [] == host.written


def test_one_refused_backend_does_not_hold_up_others(host: Host) -> None:
    host.entries = {1: entry(A), 2: entry(B)}
    moves, refused = move_backends(NOWHERE, [sighting(mac=OWN), sighting(B)])
    assert [B] == [move.sighting.address for move in moves]
    assert [A] == [*refused]


def neighbour(
    address: IPAddress = A,
    mac: MacAddress = OLD,
    confidence: Confidence = Confidence.SURE,
    device: int = 2,
    **flags: bool,
) -> Neighbour:
    return Neighbour(device, address, mac, confidence, **flags)


def test_a_look_up_keeps_entries_resolved_and_gives_up_those_of_former_backends(
    host: Host,
) -> None:
    """Fixed and managed entries are right already; those of others stay."""
    host.entries = {1: entry(A), 2: entry(B)}
    former, stranger = ip_address("10.66.0.98"), ip_address("10.66.0.99")
    host.neighbours = [
        neighbour(),
        neighbour(A6, is_managed=True, is_ours=True),
        neighbour(former, is_managed=True, is_ours=True),
        neighbour(stranger),
    ]
    found = backend_moves.survey(NOWHERE)
    assert [(A, 2), (B, 2)] == host.kept
    assert [(A6, 2), (former, 2)] == host.deleted
    assert ([neighbour()], [], {}) == (found.neighbours, found.sightings, found.unreachable)


@pytest.mark.parametrize(
    "kept", [neighbour(is_managed=True), neighbour(is_fixed=True)], ids=["managed", "fixed"]
)
def test_an_entry_that_the_kernel_keeps_is_left_alone(host: Host, kept: Neighbour) -> None:
    host.entries = {1: entry(A)}
    host.neighbours = [kept]
    assert not backend_moves.survey(NOWHERE).unreachable
    assert [] == host.kept


def test_a_backend_that_cannot_be_reached_has_its_reason(host: Host) -> None:
    """It is routed, or the kernel's table is full."""
    host.entries = {1: entry(A), 2: entry(B), 3: entry(A6)}
    host.unroutable, host.refused_by_kernel = {A}, [B, A6]
    reasons = backend_moves.survey(NOWHERE).unreachable
    assert f"{A} is routed" == reasons[A]
    assert f"backend {B}: is the table full (net.ipv4.neigh.default.gc_thresh3)?" in reasons[B]
    assert f"backend {A6}: is the table full (net.ipv6.neigh" in reasons[A6]


@pytest.mark.parametrize(
    ("what", "neighbours", "expected"),
    [
        ("at another place", [neighbour(mac=NEW)], [NEW]),
        ("where it was", [neighbour()], []),
        ("at both", [neighbour(), neighbour(mac=NEW, device=3)], []),
        ("elsewhere, unconfirmed", [neighbour(mac=NEW, confidence=Confidence.UNSURE)], []),
        # The bridge has learned it at another port, though ARP is not confirmed.
        (
            "its MAC behind another interface",
            [neighbour(confidence=Confidence.UNSURE, device=3)],
            [OLD],
        ),
        ("being asked", [replace(neighbour(), mac=None, confidence=Confidence.NONE)], []),
        ("behind no attached interface", [neighbour(mac=NEW, device=9)], []),
    ],
)
def test_a_look_up_finds_backends_that_have_moved(
    host: Host, what: str, neighbours: list[Neighbour], expected: list[MacAddress]
) -> None:
    host.entries = {1: entry(A)}
    host.neighbours = neighbours
    assert expected == [each.mac for each in backend_moves.survey(NOWHERE).sightings], what


def test_packets_leave_by_another_interface_to_the_same_macs(host: Host) -> None:
    """Also to fixed ones; backends without a MAC have no place."""
    host.entries = {
        1: entry(A),
        2: entry(B, NEW, DRAIN, by_hand=True),
        3: entry(A, ifindex=3),
        4: entry(B, MacAddress(bytes(6))),
        5: entry(B, OLD, RETIRED),
    }
    change_egress(cast(LiveState, host.state), 2, 9)
    assert [(1, Place(OLD, 9), False), (2, Place(NEW, 9), True)] == host.written


# Interfaces that return


ETH0 = Attached("eth0", 2, OWN, "generic", 7)
BACK = Interface(9, "eth0", OWN, 1500, is_up=True)


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch, host: Host) -> Callable[..., list[_Reattached]]:
    """Attach to lost interfaces again; the argument says how that fails."""
    changed: list[tuple[int, int]] = []

    def run(
        error: Exception | None = None,
        present: Sequence[Interface] = (BACK,),
        already: bool = False,
    ) -> list[_Reattached]:
        modes: list[str] = []

        def attach_interfaces(_: object, interfaces: Sequence[Interface], options: Any) -> None:
            assert [BACK] == interfaces
            modes.append(options.mode)
            if error is not None:
                raise error

        @contextmanager
        def transaction(_: Path, *, collect: object) -> Iterator[Transaction]:
            on = [replace(ETH0, ifindex=9)] if already else []
            interfaces = SimpleNamespace(attached=on)
            yield cast(
                Transaction, SimpleNamespace(state=host.state, interfaces=interfaces, c=collect)
            )

        monkeypatch.setattr(links, "all_interfaces", lambda: present)
        monkeypatch.setattr(links, "find_interface", lambda _: BACK)
        monkeypatch.setattr(link_tracker, "transaction", transaction)
        monkeypatch.setattr(link_tracker, "attach_interfaces", attach_interfaces)
        monkeypatch.setattr(
            link_tracker, "change_egress", lambda _, before, after: changed.append((before, after))
        )
        results = link_tracker._reattach(NOWHERE, {"eth0": ETH0})
        assert ([] if already or not present else ["generic"]) == modes
        assert ([(2, 9)] if results and not results[0].failure else []) == changed
        return results

    return run


def test_a_returned_interface_is_attached_in_its_mode(
    attach: Callable[..., list[_Reattached]],
) -> None:
    assert [_Reattached("eth0", "generic")] == attach()


def test_an_interface_that_a_command_has_attached_is_not_attached_twice(
    attach: Callable[..., list[_Reattached]],
) -> None:
    assert [_Reattached("eth0", "generic")] == attach(already=True)


def test_an_interface_that_is_still_away_is_waited_for(
    attach: Callable[..., list[_Reattached]],
) -> None:
    assert [] == attach(present=())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("there is no interface eth0"), []),
        (EnvironmentCannotError("refused"), ["refused"]),
        (EnvironmentCannotError("refused", "lower the MTU"), ["refused (lower the MTU)"]),
    ],
)
def test_an_interface_that_cannot_be_attached_again_has_a_reason(
    attach: Callable[..., list[_Reattached]], error: Exception, expected: list[str]
) -> None:
    """Unless it has vanished again."""
    assert expected == [each.failure for each in attach(error)]


def test_without_links_everything_is_detached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert link_tracker._is_detached(tmp_path)
    (tmp_path / "links").mkdir()
    assert link_tracker._is_detached(tmp_path)
    (tmp_path / "links" / "2").write_text("")
    assert not link_tracker._is_detached(tmp_path)

    def none(_: Path) -> list[Attached]:
        raise NotAttachedError("none")

    monkeypatch.setattr(link_tracker, "attached", none)
    assert {} == link_tracker._attached_by_index(tmp_path)


def test_the_program_is_told_of_all_attached_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    @contextmanager
    def transaction(_: Path, *, collect: object) -> Iterator[SimpleNamespace]:
        assert () == collect
        yield SimpleNamespace(state="state", interfaces=SimpleNamespace(attached=[ETH0]))

    monkeypatch.setattr(link_tracker, "transaction", transaction)
    monkeypatch.setattr(link_tracker, "write_egress", lambda *told_now: told.extend(told_now))
    link_tracker._tell_program(NOWHERE)
    assert ["state", [ETH0]] == told
