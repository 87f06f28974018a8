"""Fragments: later ones follow the recorded choice of the first."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.maps import HashMap
from pydsr.model.source_rules import Action
from tests.support.packets.case_services import CLIENT4, VIP4, VIP6, Packet, ip4, ip6
from tests.support.packets.data_plane import ELSEWHERE, Rig, mac_of
from tests.support.packets.vlan_cases import delivered, tag

_DATA = Raw(bytes(range(256)) * 16)
_PORT = 5001


def datagram4(**fields: object) -> list[Packet]:
    """Return the fragments of a 4 kB datagram over IPv4, as scapy cuts it."""
    whole = ip4(**fields) / UDP(sport=9, dport=_PORT) / _DATA
    fragments: list[Packet] = fragment(whole, 1480)
    return fragments


def datagram6(identification: int = 7) -> list[Packet]:
    """Return the fragments of a 4 kB datagram over IPv6."""
    whole = ip6() / IPv6ExtHdrFragment(id=identification) / UDP(sport=9, dport=_PORT) / _DATA
    fragments: list[Packet] = fragment6(whole, 1294)
    return [Ether(bytes(one)) for one in fragments]


@pytest.fixture
def served(rig: Rig) -> Rig:
    """Return a data plane with a service of UDP that a hundred backends share."""
    rig.serve(f"{VIP4}:{_PORT}/udp", range(1, 51))
    rig.serve(f"[{VIP6}]:{_PORT}/udp", range(51, 101))
    return rig


def destinations(rig: Rig, frames: list[Packet]) -> set[str]:
    """Send frames and return the MACs they were sent to."""
    return {Ether(rig.send(bytes(frame)).frame).dst for frame in frames}


@pytest.mark.parametrize("frames", [datagram4(), datagram6()], ids=["IPv4", "IPv6"])
def test_all_fragments_of_a_packet_go_to_one_backend(served: Rig, frames: list[Packet]) -> None:
    assert len(frames) >= 3
    outcomes = [served.send(bytes(frame)) for frame in frames]
    assert [one.reason for one in outcomes] == [
        "forwarded",
        *["forwarded_fragment"] * len(frames[1:]),
    ]
    assert len({one.frame[:6] for one in outcomes}) == 1
    for frame, one in zip(frames, outcomes, strict=True):
        assert one.verdict == "tx"
        assert one.frame[12:] == bytes(frame)[12:]


def test_each_packet_s_fragments_follow_their_own_first_one(served: Rig) -> None:
    packets = [datagram4(src=f"192.0.2.{number}") for number in range(1, 30)]
    firsts = [Ether(served.send(bytes(packet[0])).frame).dst for packet in packets]
    assert len(set(firsts)) > 5
    for packet, first in zip(packets, firsts, strict=True):
        assert destinations(served, packet[1:]) == {first}


@pytest.mark.parametrize("frames", [datagram4(), datagram6()], ids=["IPv4", "IPv6"])
def test_a_fragment_before_its_first_one_is_counted(served: Rig, frames: list[Packet]) -> None:
    assert served.send(bytes(frames[1])).reason == "fragment"
    assert served.send(bytes(frames[0])).reason == "forwarded"
    assert served.send(bytes(frames[1])).reason == "forwarded_fragment"


@pytest.mark.parametrize(
    "other",
    [{"id": 4712}, {"src": "192.0.2.8"}, {"dst": "198.51.100.11"}, {"proto": 6}],
    ids=["id", "source", "destination", "protocol"],
)
def test_a_fragment_of_another_packet_does_not_follow(
    served: Rig, other: dict[str, object]
) -> None:
    served.serve(f"198.51.100.11:{_PORT}/udp", [101])
    served.send(bytes(datagram4()[0]))
    later = ip4(**{"frag": 185, "proto": 17, **other}) / Raw(bytes(64))
    assert served.send(bytes(later)).reason == "fragment"


def test_ipv6_tells_packets_apart_by_their_id(served: Rig) -> None:
    served.send(bytes(datagram6(7)[0]))
    assert served.send(bytes(datagram6(8)[1])).reason == "fragment"


def test_later_ipv6_fragments_may_name_another_header(served: Rig) -> None:
    """The next header of a later fragment says nothing (RFC 8200, section 4.5)."""
    first = ip6() / IPv6ExtHdrFragment(id=9, m=1) / IPv6ExtHdrDestOpt() / UDP(dport=_PORT) / _DATA
    later = ip6() / IPv6ExtHdrFragment(id=9, offset=600, nh=17) / Raw(bytes(64))
    assert served.send(bytes(first)).reason == "forwarded"
    assert served.send(bytes(later)).reason == "forwarded_fragment"


def test_fragments_stay_together_when_the_table_changes(served: Rig) -> None:
    frames = datagram4()
    first = destinations(served, frames[:1])
    served.write_table(served.services[0], range(25, 51))
    served.write_table(served.services[0], [50])
    assert destinations(served, frames[1:]) == first


def test_fragments_of_a_backend_that_went_down_are_not_sent(served: Rig) -> None:
    frames = datagram4()
    (mac,) = destinations(served, frames[:1])
    backend = next(number for number in range(1, 51) if str(mac_of(number)) == mac)
    served.state.backends.write_state(backend, StateNumber.DOWN)
    assert served.send(bytes(frames[1])).reason == "fragment"


def test_fragments_of_a_denied_packet_are_not_sent(served: Rig) -> None:
    served.set_rules(served.services[0], {CLIENT4: Action.DENY})
    outcomes = [served.send(bytes(frame)).reason for frame in datagram4()]
    assert outcomes == ["denied", *["fragment"] * (len(outcomes) - 1)]


def test_fragments_count_for_their_backend(served: Rig) -> None:
    frames = datagram4()
    (mac,) = destinations(served, frames)
    backend = next(number for number in range(1, 51) if str(mac_of(number)) == mac)
    counted = served.counters(backend)
    assert (counted.packets, counted.bytes) == (len(frames), sum(map(len, map(bytes, frames))))


def test_fragments_in_a_vlan_are_sent_to_their_backend_s(rig: Rig) -> None:
    rig.serve(f"{VIP4}:{_PORT}/udp", [1])
    rig.place(1, tags=((0x8100, 300),))
    for frame in datagram4():
        outcome = rig.send(tag(frame, (0x8100, 7)))
        assert outcome.frame == delivered(frame, 1, (0x8100, 300))


def test_fragments_are_redirected(rig: Rig) -> None:
    rig.serve(f"{VIP4}:{_PORT}/udp", [1])
    rig.place(1, ifindex=ELSEWHERE)
    assert {rig.send(bytes(frame)).verdict for frame in datagram4()} == {"redirect"}


def test_fragments_for_another_host_s_mac_are_left_alone(served: Rig) -> None:
    frames = datagram4()
    served.send(bytes(frames[0]))
    frames[1].dst = "02:00:00:00:00:99"
    assert served.send(bytes(frames[1])).reason == "not_our_mac"


def test_every_fragment_is_dropped_where_they_are_not_followed(world: Rig) -> None:
    whole = ip4() / UDP(sport=9, dport=53) / _DATA
    assert {world.send(bytes(one)).reason for one in fragment(whole, 1480)} == {"fragment"}


def test_remembered_fragments_are_bounded(served: Rig) -> None:
    first = bytearray(bytes(datagram4()[0]))
    for number in range(40_000):
        first[26:30] = (0x0A000000 + number).to_bytes(4, "big")
        served.send_only(bytes(first))
    kept = served.state.pins["fragments"]
    assert len(HashMap(kept, layout.FragmentKey, layout.FragmentValue).all_keys()) <= 1 << 15
