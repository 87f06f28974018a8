"""The kinds of packets that are measured, and the services they are for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from tests.xdp.rig import BALANCER_MAC, Rig

_CLIENT_MAC = "02:00:00:00:00:c1"
_CLIENT4, _CLIENT6 = "10.1.0.0", "2001:db8:1::"
_VIP4, _VIP6, _HOST4 = "198.51.100.10", "2001:db8::10", "198.51.100.99"
_HTTP, _DNS, _CHANGING = 80, 53, 90
_BACKENDS = 16

FLOOR_SERVICES = ((_VIP4, _HTTP, 6), (_VIP4, _DNS, 17))
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
    """

    name: str
    frame: bytes
    reason: str = "forwarded"
    address_offset: int = 0
    port_offset: int = 0

    @property
    def has_floor(self) -> bool:
        """Whether the bare forwarder does the same with it: IPv4 to a service, at rest."""
        return self.reason == "forwarded" and self.frame[12:14] == b"\x08\x00"


def _kind(name: str, packet: object, reason: str = "forwarded") -> Kind:
    ethernet = Ether(src=_CLIENT_MAC, dst=str(BALANCER_MAC))
    frame = bytes(ethernet / packet).ljust(60, b"\0")
    if IP in packet:  # type: ignore[operator]
        return Kind(name, frame, reason, 14 + 14, 14 + 20)
    if IPv6 in packet:  # type: ignore[operator]
        return Kind(name, frame, reason, 14 + 22, 14 + 40)
    return Kind(name, frame, reason)


def all_kinds() -> Sequence[Kind]:
    """Return every kind; the flow in the frame is the wrapper's to fill in."""
    ip4, ip6 = IP(src=_CLIENT4, dst=_VIP4), IPv6(src=_CLIENT6, dst=_VIP6)
    tcp, udp = TCP(dport=_HTTP, flags="A"), UDP(dport=_DNS)
    changing = TCP(dport=_CHANGING, flags="A")
    return (
        _kind("TCP v4", ip4 / tcp),
        _kind("TCP v6", ip6 / tcp),
        _kind("UDP v4", ip4 / udp),
        _kind("UDP v6", ip6 / udp),
        _kind("SYN v4", ip4 / TCP(dport=_HTTP, flags="S")),
        _kind("TCP v4, slot changing", ip4 / changing, "forwarded_recorded"),
        _kind("TCP v4, for no VIP", IP(src=_CLIENT4, dst=_HOST4) / tcp, "not_vip"),
        _kind("ARP, for no VIP", ARP(op=1, psrc=_CLIENT4, pdst=_HOST4), "not_ip"),
    )


def serve_all(rig: Rig) -> None:
    """Create the services, with sixteen backends each."""
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
