"""Single packets through the loaded program: the tables of cases.py, and general rules."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import pytest
from _pytest.mark import ParameterSet
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from pydsr.model.addresses import Endpoint
from pydsr.model.options import ServiceOptions
from pydsr.model.reasons import all_reasons
from pydsr.model.service import Service
from tests.support.packets import feature_cases, vlan_cases
from tests.support.packets.case_services import (
    VIP6,
    WEB4,
    Packet,
    forwarded,
    ip4,
    ip6,
    tcp,
    tcp4,
)
from tests.support.packets.cases import (
    CHANGING,
    FORWARDED,
    LEAN,
    TABLES,
    Case,
    all_cases,
    ping4,
    ping6,
    pong4,
    pong6,
    solicitation,
)
from tests.support.packets.data_plane import Rig
from tests.support.packets.flow_cases import STORIES

FEATURED: dict[str, tuple[Case, ...]] = {
    **feature_cases.TABLES,
    "tagged": vlan_cases.BALANCED,
    "tagged questions": vlan_cases.ANSWERED,
    "tagged, not balanced": vlan_cases.NOT_BALANCED,
}
_VERDICTS = {reason.name: reason.verdict for reason in all_reasons()}
_BALANCED = [case for table in (FORWARDED, CHANGING) for case in table]


def packet_end(frame: bytes) -> int:
    """Return where the IP packet of a frame ends; what follows is padding of Ethernet."""
    packet = Ether(frame)
    return 14 + int(packet[IP].len if IP in packet else 40 + packet[IPv6].plen)


def readable(frame: bytes) -> str:
    """Return a frame in words, for the messages of failed tests."""
    return str(Ether(frame).show(dump=True))


def _named(tables: Mapping[str, Sequence[Case]]) -> list[ParameterSet]:
    return [
        pytest.param(case, id=f"{name}-{case.description}")
        for name, cases in tables.items()
        for case in cases
    ]


def check(rig: Rig, case: Case) -> None:
    """Send a case's packet and compare what becomes of it."""
    outcome = rig.send(bytes(case.frame))
    assert outcome.reasons == (case.reason,)
    assert outcome.verdict == (case.verdict or _VERDICTS[case.reason])
    expected = bytes(case.frame if case.answer is None else case.answer)
    assert outcome.frame == expected, readable(outcome.frame)


@pytest.mark.parametrize("case", _named(TABLES))
def test_a_packet_leaves_for_its_reason_and_as_it_should(
    world: Rig, full_world: Rig, case: Case
) -> None:
    check(world, case)
    check(full_world, case)


@pytest.mark.parametrize("case", _named({"lean": LEAN}))
def test_a_program_without_a_feature_leaves_alone_what_it_is_for(world: Rig, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("case", _named(FEATURED))
def test_a_program_with_every_feature_does_more(full_world: Rig, case: Case) -> None:
    check(full_world, case)


def test_every_reason_has_a_case() -> None:
    used = {case.reason for cases in (*TABLES.values(), *FEATURED.values()) for case in cases}
    used |= {step.reason for story in STORIES for step in story.steps}
    # No driver here leaves too little room; test_fragments.py and test_admission.py have the rest.
    assert used == set(_VERDICTS) - {"no_headroom", "forwarded_fragment", "flow_rate"}


def test_no_two_cases_of_a_table_have_one_description() -> None:
    for cases in (*TABLES.values(), *FEATURED.values()):
        descriptions = [case.description for case in cases]
        assert sorted(set(descriptions)) == sorted(descriptions)


@pytest.mark.parametrize("case", _BALANCED, ids=lambda case: case.description)
def test_a_balanced_frame_differs_in_its_macs_only(world: Rig, case: Case) -> None:
    frame = bytes(case.frame)
    sent = world.send(frame).frame
    assert sent[12:] == frame[12:]
    assert sent[6:12] == frame[0:6]
    assert sent[0:6] not in (frame[0:6], frame[6:12])


@pytest.mark.parametrize("case", _BALANCED, ids=lambda case: case.description)
def test_a_frame_that_was_cut_is_not_forwarded(world: Rig, case: Case) -> None:
    frame = bytes(case.frame)
    whole = packet_end(frame)
    for size in range(14, len(frame)):
        outcome = world.send(frame[:size])
        assert (outcome.verdict == "tx") == (size >= whole), size
        if size < whole:
            assert outcome.reason in ("malformed", "not_vip"), size
            assert outcome.frame == frame[:size]


@pytest.mark.parametrize("name", ["arp", "nd", "echo"])
def test_a_request_cut_short_is_never_answered_beyond_its_bytes(world: Rig, name: str) -> None:
    needed = {"arp": 42, "nd": 78, "echo": 42}[name]
    for case in TABLES[name]:
        frame = bytes(case.frame)
        for size in range(14, len(frame)):
            outcome = world.send(frame[:size])
            if size < needed:
                assert outcome.verdict != "tx", (case.description, size)
                assert outcome.frame == frame[:size]


def test_random_frames_leave_by_one_counted_reason(world: Rig) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    starts = [bytes(case.frame) for _, case in all_cases()]
    for _ in range(5000):
        frame = bytearray(chance.choice(starts))
        for _ in range(chance.randrange(1, 6)):
            frame[chance.randrange(12, len(frame))] = chance.randrange(256)
        outcome = world.send(bytes(frame))
        assert outcome.verdict == _VERDICTS[outcome.reason], frame.hex()
        if outcome.verdict != "tx":
            assert outcome.frame == frame, frame.hex()


@pytest.mark.parametrize("size", [1500, 4096, 9000])
@pytest.mark.parametrize("header", [ip4, ip6], ids=["IPv4", "IPv6"])
def test_a_frame_that_ends_before_its_packet_is_malformed(
    world: Rig, header: Callable[[], Packet], size: int
) -> None:
    """Also where only the first part of the frame is in one piece."""
    frame = bytes(header() / tcp() / Raw(bytes(size - len(header() / tcp()))))
    assert size == len(frame)
    assert "forwarded" == world.send(frame).reason
    assert "malformed" == world.send(frame[:-1]).reason


def test_every_service_of_many_is_found(rig: Rig) -> None:
    """Whichever of its two buckets a service is in, and whatever else is there."""
    chance = random.Random(1)
    places = [(chance.randrange(1, 255), chance.randrange(1, 65536)) for _ in range(3000)]
    served = {*places[::2]}
    endpoints = (Endpoint.parse(f"198.51.100.{host}:{port}") for host, port in sorted(served))
    rig.state.index.write(
        [Service(number, endpoint, ServiceOptions()) for number, endpoint in enumerate(endpoints)]
    )
    frame = bytearray(bytes(tcp4()))
    found = set()
    for host, port in places:
        frame[33], frame[36:38] = host, port.to_bytes(2, "big")
        reason = rig.send(bytes(frame)).reason
        assert reason in ("no_backend", "no_service")  # there are no tables
        if reason == "no_backend":
            found.add((host, port))
    assert served == found


@pytest.mark.parametrize("size", [1501, 3000, 4096, 9000])
def test_jumbo_frames_are_balanced(world: Rig, size: int) -> None:
    frame = tcp4() / Raw(bytes(number % 251 for number in range(size - 40)))
    before = world.counters(WEB4)
    outcome = world.send(bytes(frame))
    assert outcome.reason == "forwarded"
    assert outcome.frame == bytes(forwarded(frame, WEB4))
    assert world.counters(WEB4).bytes - before.bytes == size + 14


def answered(pong: Packet) -> bytes:
    """Return an echo reply with the form of zero that the program writes as a checksum.

    One's complement has two zeros. 0xffff verifies over any data, 0 not over zeros alone.
    """
    frame = bytearray(bytes(pong))
    at = 14 + (40 if pong.type == 0x86DD else 20) + 2
    if not any(frame[at : at + 2]):
        frame[at : at + 2] = b"\xff\xff"
    return bytes(frame)


# Identifiers that take the checksum of the request or of the reply to 0 and past its carries.
_EDGES = [0x0000, 0x0001, 0x07FF, 0x0800, 0xF7FE, 0xF7FF, 0xF800, 0xFFFE, 0xFFFF]


@pytest.mark.parametrize("sequence", [0, 1, 0xFFFF])
@pytest.mark.parametrize("identifier", _EDGES)
def test_echo_checksums_carry(world: Rig, identifier: int, sequence: int) -> None:
    assert world.send(bytes(ping4(identifier, sequence))).frame == answered(
        pong4(identifier, sequence)
    )
    assert world.send(bytes(ping6(identifier, sequence))).frame == answered(
        pong6(identifier, sequence)
    )


def test_an_echo_of_nothing_but_zeros_has_a_checksum_that_verifies(world: Rig) -> None:
    assert world.send(bytes(ping4(0, 0))).frame == answered(pong4(0, 0))


def test_echo_checksums_of_random_pings_are_right(world: Rig) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    for _ in range(500):
        numbers = (chance.randrange(1 << 16), chance.randrange(1, 1 << 16))
        data = chance.randbytes(chance.randrange(64))
        ttl = chance.randrange(1, 256)
        assert world.send(bytes(ping4(*numbers, data, ttl=ttl))).frame == answered(
            pong4(*numbers, data)
        )
        assert world.send(bytes(ping6(*numbers, data, hlim=ttl))).frame == answered(
            pong6(*numbers, data)
        )


def test_a_neighbour_that_probes_by_unicast_is_answered(world: Rig) -> None:
    probe: Packet = solicitation(dst=VIP6)
    probe.dst = "02:00:00:00:00:01"
    assert world.send(bytes(probe)).reason == "nd_answered"


@pytest.mark.parametrize("frame", [tcp4(), ping4(), ping6()], ids=["TCP", "ping", "IPv6 ping"])
def test_a_frame_for_another_host_s_mac_is_left_alone(world: Rig, frame: Packet) -> None:
    overheard = Ether(bytes(frame))
    overheard.dst = "02:00:00:00:00:99"
    assert world.send(bytes(overheard)).reason == "not_our_mac"
