"""The counters of backends."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTPChunkData, SCTPChunkInit

from pydsr.kernel.bpf.counters import PerCpuArray
from pydsr.model.reasons import all_reasons
from pydsr.model.snapshot import Counters
from tests.support.packets import feature_cases
from tests.support.packets.case_services import (
    AWAY,
    DISTANT,
    DNS4,
    DNS6,
    EVERY4,
    EVERY_TCP4,
    GUARDED,
    GUARDED_WEB4,
    HTTP,
    LEARNING,
    NEIGHBOUR,
    NEW,
    NEW6,
    NEXT_DOOR,
    OLD,
    OLD6,
    SOURCE_PORT,
    STREAM4,
    STREAM6,
    STREAM_CHANGING,
    STREAM_NEW,
    STREAM_OLD,
    WEB4,
    WEB6,
    Packet,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.cases import CHANGING, DROPPED, ERRORS, FORWARDED, PASSED, TABLES
from tests.support.packets.data_plane import Rig
from tests.support.packets.feature_cases import sctp
from tests.support.packets.icmp_error_cases import error4, from_tcp, replied4, replied6, too_big
from tests.support.packets.vlan_cases import tag

COUNTED: tuple[tuple[str, Packet, int, Counters], ...] = (
    ("TCP", tcp4() / b"12345", WEB4, Counters(1, 14 + 45, 0)),
    ("a SYN", tcp4(flags="S"), WEB4, Counters(1, 14 + 40, 1)),
    ("a SYN with data", tcp4(flags="S") / b"123", WEB4, Counters(1, 14 + 43, 1)),
    ("a SYN with ACK", tcp4(flags="SA"), WEB4, Counters(1, 14 + 40, 0)),
    ("a FIN", tcp4(flags="FA"), WEB4, Counters(1, 14 + 40, 0)),
    ("IPv6", ip6() / tcp() / b"123", WEB6, Counters(1, 14 + 63, 0)),
    ("an IPv6 SYN", ip6() / tcp(flags="S"), WEB6, Counters(1, 14 + 60, 1)),
    ("UDP", ip4() / udp() / b"12", DNS4, Counters(1, 14 + 30, 0)),
    ("padding is not", Ether(bytes(tcp4()) + bytes(6)), WEB4, Counters(1, 14 + 40, 0)),
    ("1,500 bytes", tcp4() / bytes(1460), WEB4, Counters(1, 1514, 0)),
    ("an old flow", tcp4(LEARNING), OLD, Counters(1, 14 + 40, 0)),
    ("a new flow of a changing slot", tcp4(LEARNING, "S"), NEW, Counters(1, 14 + 40, 1)),
    ("dropped for its interface", tcp4(AWAY, "S"), DISTANT, Counters(0, 0, 0)),
)


def difference(after: Counters, before: Counters) -> Counters:
    """Return what was added between two readings."""
    assert after.new_flows is not None
    assert before.new_flows is not None
    return Counters(
        after.packets - before.packets,
        after.bytes - before.bytes,
        after.new_flows - before.new_flows,
    )


_FIRST4, _LATER4 = ip4(flags="MF", id=1), ip4(frag=9, id=1, proto=17) / bytes(100)
_FIRST6 = ip6() / IPv6ExtHdrFragment(id=1, m=1)
_LATER6 = ip6() / IPv6ExtHdrFragment(id=1, offset=9, nh=17) / bytes(100)
_INIT, _CHUNK = sctp(SCTPChunkInit()), sctp(SCTPChunkData(data=b"1234"))

# Description, packets before, the packet, its reason, its backend and what is added there.
BY_REASON: tuple[tuple[str, list[Packet], Packet, str, int, Counters], ...] = (
    ("INIT", [], ip4() / _INIT, "forwarded", STREAM4, Counters(1, 14 + 20 + 12 + 20, 1)),
    ("INIT, IPv6", [], ip6() / _INIT, "forwarded", STREAM6, Counters(1, 14 + 40 + 12 + 20, 1)),
    ("SCTP data", [], ip4() / _CHUNK, "forwarded", STREAM4, Counters(1, 14 + 20 + 12 + 20, 0)),
    (
        "an association that opens while its slot changes",
        [],
        ip4() / sctp(SCTPChunkInit(), STREAM_CHANGING),
        "forwarded_current",
        STREAM_NEW,
        Counters(1, 14 + 20 + 12 + 20, 1),
    ),
    (
        "an older association",
        [],
        ip4() / sctp(SCTPChunkData(data=b"1234"), STREAM_CHANGING),
        "forwarded_previous",
        STREAM_OLD,
        Counters(1, 14 + 20 + 12 + 20, 0),
    ),
    ("older", [], tcp4(LEARNING) / b"1", "forwarded_previous", OLD, Counters(1, 55, 0)),
    (
        "older, IPv6",
        [],
        ip6() / tcp(LEARNING) / b"1",
        "forwarded_previous",
        OLD6,
        Counters(1, 75, 0),
    ),
    ("opens", [], tcp4(LEARNING, "S"), "forwarded_current", NEW, Counters(1, 54, 1)),
    ("opens, IPv6", [], ip6() / tcp(LEARNING, "S"), "forwarded_current", NEW6, Counters(1, 74, 1)),
    (
        "recorded",
        [tcp4(LEARNING)],
        tcp4(LEARNING) / b"12",
        "forwarded_recorded",
        OLD,
        Counters(1, 56, 0),
    ),
    (
        "recorded after its SYN",
        [tcp4(LEARNING, "S")],
        tcp4(LEARNING) / b"12",
        "forwarded_recorded",
        NEW,
        Counters(1, 56, 0),
    ),
    (
        "recorded, IPv6",
        [ip6() / tcp(LEARNING)],
        ip6() / tcp(LEARNING),
        "forwarded_recorded",
        OLD6,
        Counters(1, 74, 0),
    ),
    ("first fragment", [], _FIRST4 / udp() / b"12345678", "forwarded", DNS4, Counters(1, 50, 0)),
    (
        "first fragment of a SYN",
        [],
        _FIRST4 / tcp(HTTP, "S"),
        "forwarded",
        WEB4,
        Counters(1, 54, 1),
    ),
    (
        "later fragment",
        [_FIRST4 / udp() / b"12345678"],
        _LATER4,
        "forwarded_fragment",
        DNS4,
        Counters(1, 14 + 20 + 100, 0),
    ),
    (
        "later fragment, IPv6",
        [_FIRST6 / udp() / b"12345678"],
        _LATER6,
        "forwarded_fragment",
        DNS6,
        Counters(1, 14 + 40 + 8 + 100, 0),
    ),
    (
        "ICMP error about a SYN",
        [],
        error4(replied4() / TCP(sport=HTTP, dport=SOURCE_PORT, flags="S")),
        "forwarded_error",
        WEB4,
        Counters(1, 14 + 20 + 8 + 40, 0),
    ),
    (
        "ICMPv6 error",
        [],
        too_big(replied6() / from_tcp()),
        "forwarded_error",
        WEB6,
        Counters(1, 14 + 40 + 8 + 60, 0),
    ),
    ("every port", [], ip4(dst=EVERY4) / tcp(7, "S"), "forwarded", EVERY_TCP4, Counters(1, 54, 1)),
    ("redirected", [], tcp4(NEXT_DOOR, "S"), "forwarded", NEIGHBOUR, Counters(1, 54, 1)),
    ("a limited source", [], tcp4(GUARDED, "S"), "forwarded", GUARDED_WEB4, Counters(1, 54, 1)),
    (
        "in a VLAN",
        [],
        Ether(tag(tcp4(flags="S"), (0x8100, 7))),
        "forwarded",
        WEB4,
        Counters(1, 58, 1),
    ),
    (
        "in two VLANs, IPv6",
        [],
        Ether(tag(ip6() / tcp(), (0x88A8, 7), (0x8100, 8))),
        "forwarded",
        WEB6,
        Counters(1, 82, 0),
    ),
)
NOT_SENT = [
    case
    for cases in (*TABLES.values(), *feature_cases.TABLES.values())
    for case in cases
    if not case.reason.startswith("forwarded")
]


def all_counters(rig: Rig) -> dict[int, Counters]:
    """Return the counters of every backend."""
    read = PerCpuArray(rig.state.pins["counters"], 3).read_many(range(1, 64))
    return {backend: Counters(*three) for backend, three in read.items()}


def test_every_reason_that_forwards_is_counted_here() -> None:
    reasons = {reason.name for reason in all_reasons() if reason.name.startswith("forwarded")}
    assert reasons == {case[3] for case in BY_REASON}


@pytest.mark.parametrize(
    ("before", "frame", "reason", "backend", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in BY_REASON],
)
def test_a_packet_counts_alike_for_whatever_reason_it_is_forwarded(
    full_world: Rig,
    before: list[Packet],
    frame: Packet,
    reason: str,
    backend: int,
    expected: Counters,
) -> None:
    """Its bytes with their tags, as one new flow only if it opens one; for no other backend."""
    for packet in before:
        full_world.send(bytes(packet))
    at_first = all_counters(full_world)
    assert full_world.send(bytes(frame)).reason == reason
    added = {
        number: difference(counters, at_first[number])
        for number, counters in all_counters(full_world).items()
        if counters != at_first[number]
    }
    assert added == {backend: expected}


def test_what_no_backend_gets_counts_for_none(full_world: Rig) -> None:
    before = all_counters(full_world)
    for case in NOT_SENT:
        assert full_world.send(bytes(case.frame)).reason == case.reason
    assert before == all_counters(full_world)


@pytest.mark.parametrize(
    ("frame", "backend", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in COUNTED],
)
def test_a_packet_counts_for_its_backend(
    world: Rig, frame: Packet, backend: int, expected: Counters
) -> None:
    before = world.counters(backend)
    world.send(bytes(frame))
    assert difference(world.counters(backend), before) == expected


def test_each_packet_counts_for_one_backend_and_one_reason(world: Rig) -> None:
    backends = range(1, 32)
    packets = sum(world.counters(backend).packets for backend in backends)
    verdicts = sum(world.verdict_counts())
    for case in (*FORWARDED, *CHANGING, *ERRORS):
        world.send(bytes(case.frame))
        packets += 1
        assert sum(world.counters(backend).packets for backend in backends) == packets
    for case in (*PASSED, *DROPPED):
        world.send(bytes(case.frame))
        assert sum(world.counters(backend).packets for backend in backends) == packets
    sent = sum(map(len, (FORWARDED, CHANGING, ERRORS, PASSED, DROPPED)))
    assert sum(world.verdict_counts()) == verdicts + sent


def test_a_backend_s_counters_start_at_zero(rig: Rig) -> None:
    rig.serve("198.51.100.10:80", [40])
    rig.send(bytes(tcp4()))
    assert rig.counters(40).packets == 1
    rig.clear()
    rig.serve("198.51.100.10:80", [40])
    assert rig.counters(40) == Counters(0, 0, 0)


def test_a_frame_shorter_than_its_header_says_is_not_balanced(world: Rig) -> None:
    before = world.counters(WEB4)
    frame = bytes(ip4(len=65535) / tcp())
    assert world.send(frame).reason == "malformed"
    assert world.counters(WEB4) == before


def test_counters_read_together_are_those_read_one_by_one(rig: Rig) -> None:
    """On both sides of where one call of the kernel ends, and up to the very last id."""
    ids = [1, 255, 256, 40, 65534]
    for port, backend in enumerate(ids, 80):
        rig.serve(f"198.51.100.10:{port}", [backend])
        for _ in range(port):
            rig.send(bytes(tcp4(port)))
    one_by_one = {backend: rig.counters(backend) for backend in ids}
    together = PerCpuArray(rig.state.pins["counters"], 3).read_many(ids)
    assert one_by_one == {backend: Counters(*three) for backend, three in together.items()}
    assert [80, 81, 82, 83, 84] == [one_by_one[backend].packets for backend in ids]
