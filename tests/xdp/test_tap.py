"""Captures: what an event says of a packet, and that packets are balanced as before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from scapy.packet import Raw

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.layout import TapEvent
from pydsr.kernel.bpf.tap import Sampling, Tapping, forget_killed
from pydsr.model.features import Feature
from pydsr.model.reasons import all_reasons
from tests.support.packets import case_services as worlds
from tests.support.packets.case_services import Packet, ip4, ip6, tcp, tcp4, udp
from tests.support.packets.cases import TABLES, Case
from tests.support.packets.data_plane import ELSEWHERE, EVERY_FEATURE, INGRESS, Rig
from tests.xdp.test_packets import FEATURED, check

REASONS = tuple(reason.name for reason in all_reasons())
ALL = frozenset(range(len(REASONS)))
SNAP = 2047
CASES = [
    pytest.param(case, id=f"{name}-{case.description}")
    for name, cases in {**TABLES, **FEATURED}.items()
    for case in cases
]


@contextmanager
def tapping(
    rig: Rig, take: Callable[[TapEvent], None], every: int = 1, reasons: frozenset[int] = ALL
) -> Iterator[Tapping]:
    """Capture for the length of the block."""
    number = libbpf.program_info(rig.programs.balance).id
    with Tapping(rig.state, number, Sampling(every, reasons), take) as begun:
        yield begun


@pytest.fixture(scope="module")
def tapped() -> Iterator[tuple[Rig, Callable[[], list[TapEvent]]]]:
    """A data plane with every feature whose packets are captured, and what asks for them."""
    events: list[TapEvent] = []
    with Rig(features=EVERY_FEATURE) as rig:
        worlds.build(rig)
        worlds.build_more(rig)
        with tapping(rig, events.append) as begun:

            def taken() -> list[TapEvent]:
                events.clear()
                begun.poll(0)
                return events

            yield rig, taken


@pytest.fixture(scope="module")
def lean() -> Iterator[Rig]:
    """A data plane of its own that can be captured from, and has nothing else."""
    with Rig(features=Feature.TAP) as rig:
        worlds.build(rig)
        yield rig


@pytest.mark.parametrize("case", CASES)
def test_what_a_capture_tells_is_what_became_of_the_packet(
    tapped: tuple[Rig, Callable[[], list[TapEvent]]], case: Case
) -> None:
    """The packet is captured as it came in, and leaves as it would have without."""
    rig, taken = tapped
    rig.forget_flows()
    check(rig, case)
    (event,) = taken()
    assert REASONS[event.reason] == case.reason
    assert event.frame_bytes == len(bytes(case.frame))
    assert bytes(event.frame[: event.captured_bytes]) == bytes(case.frame)[:SNAP]


def test_the_backend_is_told(tapped: tuple[Rig, Callable[[], list[TapEvent]]]) -> None:
    rig, taken = tapped
    rig.send(bytes(tcp4()))
    assert [event.backend for event in taken()] == [worlds.WEB4]


@pytest.mark.parametrize(
    ("frame", "egress", "backend"),
    [
        (tcp4(), 0, worlds.WEB4),
        (ip6() / tcp(), 0, worlds.WEB6),
        (tcp4(worlds.NEXT_DOOR), ELSEWHERE, worlds.NEIGHBOUR),
    ],
    ids=["IPv4", "IPv6", "to another interface"],
)
def test_an_event_says_when_and_by_which_ways_and_to_whom(
    tapped: tuple[Rig, Callable[[], list[TapEvent]]], frame: Packet, egress: int, backend: int
) -> None:
    rig, taken = tapped
    before = time.monotonic_ns()
    rig.send(bytes(frame))
    after = time.monotonic_ns()
    (event,) = taken()
    assert before <= event.time <= after
    service = rig.state.backends.read(backend).service
    assert (INGRESS, egress) == (event.ingress, event.egress)
    assert (service, backend) == (event.service, event.backend)


@pytest.mark.parametrize("size", [60, SNAP - 1, SNAP, SNAP + 1])
def test_so_much_of_a_frame_is_captured(
    tapped: tuple[Rig, Callable[[], list[TapEvent]]], size: int
) -> None:
    rig, taken = tapped
    frame = bytes(tcp4() / Raw(bytes(number % 251 for number in range(size - 54))))
    assert size == len(frame)
    rig.send(frame)
    (event,) = taken()
    assert (size, min(size, SNAP)) == (event.frame_bytes, event.captured_bytes)
    assert bytes(event.frame[: event.captured_bytes]) == frame[:SNAP]


def test_a_jumbo_frame_is_captured_in_part(
    tapped: tuple[Rig, Callable[[], list[TapEvent]]],
) -> None:
    rig, taken = tapped
    frame = bytes(tcp4() / Raw(bytes(number % 251 for number in range(8000))))
    assert rig.send(frame).reason == "forwarded"
    (event,) = taken()
    assert event.frame_bytes == len(frame)
    assert bytes(event.frame[: event.captured_bytes]) == frame[:SNAP]


def test_one_of_so_many_is_captured(lean: Rig) -> None:
    """By chance; the bounds are six standard deviations away."""
    events: list[TapEvent] = []
    with tapping(lean, events.append, every=4) as begun:
        for _ in range(4000):
            lean.send_only(bytes(ip4() / udp()))
        begun.poll(0)
        assert begun.lost() == 0
    assert 835 < len(events) < 1165


def test_only_what_leaves_for_a_wanted_reason_is_captured(lean: Rig) -> None:
    events: list[TapEvent] = []
    with tapping(lean, events.append, reasons=frozenset({REASONS.index("no_service")})) as begun:
        for frame in (tcp4(), tcp4(9999), ip4() / udp()):
            lean.send(bytes(frame))
        begun.poll(0)
    assert [REASONS[event.reason] for event in events] == ["no_service"]


def test_packets_go_on_where_a_capture_is_not_read(lean: Rig) -> None:
    """The ring has room for some thousands; how many more there were is counted."""
    frame = bytes(tcp4() / Raw(bytes(3000)))
    events: list[TapEvent] = []
    with tapping(lean, events.append) as begun:
        outcomes = {lean.send(frame).reason for _ in range(5000)}
        begun.poll(0)
        assert outcomes == {"forwarded"}
        assert begun.lost() > 0
        assert begun.lost() + len(events) == 5000


def test_a_switch_that_was_left_on_changes_nothing_and_is_cleared(lean: Rig) -> None:
    """As a killed process leaves it: the kernel has taken its program out."""
    number = libbpf.program_info(lean.programs.balance).id
    lean.state.tap_switch.write(True)
    assert lean.send(bytes(tcp4())).reason == "forwarded"
    forget_killed(lean.state, {number})
    assert not lean.state.tap_switch.is_on()


def test_a_capture_under_way_is_not_taken_for_a_killed_one(lean: Rig) -> None:
    number = libbpf.program_info(lean.programs.balance).id
    events: list[TapEvent] = []
    with tapping(lean, events.append):
        forget_killed(lean.state, {number})
        assert lean.state.tap_switch.is_on()
    assert not lean.state.tap_switch.is_on()
