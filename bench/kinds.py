"""The kinds of packets that are measured, and their services."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether

from pydsr.model.options import MAX_NEW_FLOWS, ServiceOptions
from pydsr.model.service import Service
from pydsr.model.source_rules import Action
from tests.support.packets.data_plane import BALANCER_MAC, ELSEWHERE, EVERY_FEATURE, Rig

_CLIENT_MAC = "02:00:00:00:00:c1"
_CLIENT4, _CLIENT6 = "10.1.0.0", "2001:db8:1::"
_VIP4, _VIP6, _HOST4 = "198.51.100.10", "2001:db8::10", "198.51.100.99"
_EVERY4 = "198.51.100.12"
_HTTP, _DNS, _CHANGING = 80, 53, 90
_TAGGED, _NEXT_DOOR, _RULED, _GUARDED = 100, 101, 102, 103
_VLAN = 100
_BACKENDS = 16

FLOOR_SERVICES = ((_VIP4, _HTTP, 6), (_VIP4, _DNS, 17))
_FIRST_FEATURED = 1_000
_DAY = 86400 * 1_000_000_000


@dataclass(frozen=True)
class Kind:
    """Packets that are alike but for their flow.

    Attributes:
        name: what the table calls them.
        frame: one of them.
        reason: what the balancer counts them under.
        address_offset: where the low 16 bits of the source address are; 0 for no flows.
        port_offset: where the source port is; 0 for no flows.
        takes_features: whether only the program with every feature does this with it.
        before: what each flow sends first, without being measured.
        most_flows: how many are measured at most.
        is_redirected: whether its backend is behind another interface.
    """

    name: str
    frame: bytes
    reason: str = "forwarded"
    address_offset: int = 0
    port_offset: int = 0
    takes_features: bool = False
    before: bytes = b""
    most_flows: int = 1_000_000
    is_redirected: bool = False

    @property
    def has_floor(self) -> bool:
        """Whether the bare forwarder does the same with it: IPv4 to a service, at rest."""
        if self.takes_features:
            return False
        return self.reason == "forwarded" and self.frame[12:14] == b"\x08\x00"


def _frame(packet: object) -> bytes:
    frame: bytes = bytes(Ether(src=_CLIENT_MAC, dst=str(BALANCER_MAC)) / packet)
    return frame.ljust(60, b"\0")


def kind_of(name: str, packet: object, reason: str = "forwarded") -> Kind:
    """Return packets like one, in flows by source address and port if it is of IP."""
    frame = _frame(packet)
    if IP in packet:  # type: ignore[operator]
        return Kind(name, frame, reason, 14 + 14, 14 + 20)
    if IPv6 in packet:  # type: ignore[operator]
        return Kind(name, frame, reason, 14 + 22, 14 + 40)
    return Kind(name, frame, reason)


def _shifted(kind: Kind, by: int) -> Kind:
    """Return a kind whose flow is further behind in the frame."""
    return replace(kind, address_offset=kind.address_offset + by, port_offset=kind.port_offset + by)


def all_kinds() -> Sequence[Kind]:
    """Return every kind; the flow in the frame is the wrapper's to fill in."""
    ip4, ip6 = IP(src=_CLIENT4, dst=_VIP4), IPv6(src=_CLIENT6, dst=_VIP6)
    tcp, udp = TCP(dport=_HTTP, flags="A"), UDP(dport=_DNS)
    changing = TCP(dport=_CHANGING, flags="A")
    return (
        kind_of("TCP v4", ip4 / tcp),
        kind_of("TCP v6", ip6 / tcp),
        kind_of("UDP v4", ip4 / udp),
        kind_of("UDP v6", ip6 / udp),
        kind_of("SYN v4", ip4 / TCP(dport=_HTTP, flags="S")),
        kind_of("TCP v4, slot changing", ip4 / changing, "forwarded_recorded"),
        *_unusual_kinds(ip4, ip6),
        kind_of("TCP v4, for no VIP", IP(src=_CLIENT4, dst=_HOST4) / tcp, "not_vip"),
        kind_of("TCP v4, no such port", ip4 / TCP(dport=9), "no_service"),
        kind_of("ARP, for no VIP", ARP(op=1, psrc=_CLIENT4, pdst=_HOST4), "not_ip"),
    )


def _unusual_kinds(ip4: IP, ip6: IPv6) -> tuple[Kind, ...]:
    """Return those that are seldom in front of most balancers, or take a feature."""
    tcp = TCP(dport=_HTTP, flags="A")
    reply = IP(src=_VIP4, dst=_CLIENT4) / TCP(sport=_HTTP, flags="A")
    error = IP(src="203.0.113.1", dst=_VIP4) / ICMP(type=3, code=4, nexthopmtu=1280) / reply
    inner = 14 + 20 + 8
    # A fragment's flow is its id, 4 bytes into the header.
    first = ip4.copy()
    first.flags = "MF"
    later = IP(src=_CLIENT4, dst=_VIP4, frag=10, proto=17)
    fragment = replace(
        kind_of("later fragment v4", later / bytes(20), "forwarded_fragment"),
        port_offset=14 + 4,
        before=_frame(first / UDP(dport=_DNS) / bytes(20)),
        most_flows=1_000,
    )
    tagged, moved = _frame(Dot1Q(vlan=_VLAN) / ip4 / TCP(dport=_TAGGED)), Dot1Q(vlan=7)
    featured = (
        _shifted(replace(kind_of("TCP v4, in a VLAN", ip4 / tcp), frame=tagged), 4),
        _shifted(
            replace(
                kind_of("TCP v4, to another VLAN", ip4 / tcp),
                frame=_frame(moved / ip4 / TCP(dport=_TAGGED)),
            ),
            4,
        ),
        replace(
            kind_of("TCP v4, to another interface", ip4 / TCP(dport=_NEXT_DOOR)),
            is_redirected=True,
        ),
        kind_of("TCP v4, every port", IP(src=_CLIENT4, dst=_EVERY4) / TCP(dport=7)),
        kind_of("TCP v4, source rules", ip4 / TCP(dport=_RULED)),
        kind_of("SYN v4, guarded", ip4 / TCP(dport=_GUARDED, flags="S")),
    )
    return (
        replace(
            kind_of("ICMP error v4", error, "forwarded_error"),
            address_offset=inner + 18,
            port_offset=inner + 20 + 2,
        ),
        fragment,
        replace(
            kind_of("TCP v6, extension header", ip6 / IPv6ExtHdrDestOpt() / tcp),
            port_offset=14 + 40 + 8,
        ),
        *(replace(kind, takes_features=True) for kind in featured),
    )


def serve_all(rig: Rig) -> None:
    """Create the services of all kinds, with sixteen backends each."""
    serve_plain(rig)
    if rig.features == EVERY_FEATURE:
        serve_featured(rig)


def serve_plain(rig: Rig) -> None:
    """Create the services that any program can have."""
    endpoints = (
        f"{_VIP4}:{_HTTP}",
        f"[{_VIP6}]:{_HTTP}",
        f"{_VIP4}:{_DNS}/udp",
        f"[{_VIP6}]:{_DNS}/udp",
    )
    for number, endpoint in enumerate(endpoints):
        rig.serve(endpoint, range(1 + number * _BACKENDS, 1 + (number + 1) * _BACKENDS))
    first = 1 + len(endpoints) * _BACKENDS
    rig.serve(
        f"{_VIP4}:{_CHANGING}",
        range(first + 1, first + 1 + _BACKENDS),
        previous=first,
        learn_until=time.monotonic_ns() + _DAY,
    )


def serve_featured(rig: Rig) -> None:
    """Create the services that take features."""
    first = _FIRST_FEATURED

    def serve(endpoint: str, options: ServiceOptions | None = None) -> tuple[Service, range]:
        nonlocal first
        backends = range(first, first + _BACKENDS)
        first += _BACKENDS
        return rig.serve(endpoint, backends, options=options), backends

    for backend in serve(f"{_VIP4}:{_TAGGED}")[1]:
        rig.place(backend, tags=((0x8100, _VLAN),))
    for backend in serve(f"{_VIP4}:{_NEXT_DOOR}")[1]:
        rig.place(backend, ifindex=ELSEWHERE)
    serve(f"{_EVERY4}:*")
    rig.set_rules(serve(f"{_VIP4}:{_RULED}")[0], {"192.0.2.0/24": Action.DENY})
    # More than a loop of packets can be: none of them is kept out.
    serve(f"{_VIP4}:{_GUARDED}", ServiceOptions(max_new_flows=MAX_NEW_FLOWS))
