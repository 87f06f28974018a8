"""The counters of backends."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import Ether

from pydsr.kernel.bpf.counters import PerCpuArray
from pydsr.model.snapshot import Counters
from tests.support.packets.case_services import (
    AWAY,
    DISTANT,
    DNS4,
    LEARNING,
    NEW,
    OLD,
    WEB4,
    WEB6,
    Packet,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.cases import CHANGING, DROPPED, ERRORS, FORWARDED, PASSED
from tests.support.packets.data_plane import Rig

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
