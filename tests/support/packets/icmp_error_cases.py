"""ICMP errors about packets of backends, as a table."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Raw

from tests.support.packets.case_services import (
    CLIENT4,
    CLIENT6,
    DNS,
    DNS4,
    DNS6,
    HTTP,
    LEARNING,
    OLD,
    QUIET4,
    SOURCE_PORT,
    UNSERVED,
    VIP4,
    VIP6,
    WEB4,
    WEB6,
    Packet,
    ip4,
    ip6,
)

ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:2::1"


def replied4(**fields: Any) -> Packet:
    """Return the IPv4 header of a backend's reply."""
    return IP(**{"src": VIP4, "dst": CLIENT4, **fields})


def replied6() -> Packet:
    """Return the IPv6 header of a backend's reply."""
    return IPv6(src=VIP6, dst=CLIENT6)


def from_tcp(port: int = HTTP) -> Packet:
    """Return the TCP header of a reply from a port of the VIP."""
    return TCP(sport=port, dport=SOURCE_PORT, flags="A")


def from_udp(port: int = DNS) -> Packet:
    """Return the UDP header of a reply from a port of the VIP."""
    return UDP(sport=port, dport=SOURCE_PORT) / Raw(b"reply")


def error4(reply: Packet, kind: int = 3, code: int = 4, **fields: Any) -> Packet:
    """Return a router's error to the VIP; by default that a reply needs to be fragmented."""
    return ip4(**{"src": ROUTER4, **fields}) / ICMP(type=kind, code=code, nexthopmtu=1280) / reply


def too_big(reply: Packet) -> Packet:
    """Return a router's word to the VIP that a reply is too big."""
    return ip6(src=ROUTER6) / ICMPv6PacketTooBig(mtu=1280) / reply


def as_routers_quote(reply: Packet) -> Raw:
    """Return the header of a reply and the 8 bytes after it, which is all RFC 792 promises."""
    return Raw(bytes(reply)[: 20 + 8])


# Description, frame, the backend whose reply it is about.
STEERED: tuple[tuple[str, Packet, int], ...] = (
    ("fragmentation needed", error4(replied4() / from_tcp()), WEB4),
    ("8 bytes of the reply", error4(as_routers_quote(replied4() / from_tcp())), WEB4),
    ("port unreachable, UDP", error4(replied4() / from_udp(), code=3), DNS4),
    ("time exceeded", error4(replied4() / from_tcp(), 11, 0), WEB4),
    ("parameter problem", error4(replied4() / from_tcp(), 12, 0), WEB4),
    ("options in the error", error4(replied4() / from_tcp(), options=[IPOption_NOP()]), WEB4),
    ("options in the reply", error4(replied4(options=[IPOption_NOP()] * 40) / from_tcp()), WEB4),
    ("a reply's first fragment", error4(replied4(flags="MF") / from_udp()), DNS4),
    ("about a flow older than a change", error4(replied4() / from_tcp(LEARNING)), OLD),
    ("packet too big", too_big(replied6() / from_tcp()), WEB6),
    ("packet too big, UDP", too_big(replied6() / from_udp()), DNS6),
    (
        "IPv6 port unreachable",
        ip6(src=ROUTER6) / ICMPv6DestUnreach(code=4) / replied6() / from_udp(),
        DNS6,
    ),
    (
        "extension headers in the reply",
        too_big(replied6() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / from_tcp()),
        WEB6,
    ),
    (
        "a reply's first fragment, IPv6",
        too_big(replied6() / IPv6ExtHdrFragment(m=1) / from_udp()),
        DNS6,
    ),
    (
        "an extension header in the error",
        ip6(src=ROUTER6)
        / IPv6ExtHdrHopByHop()
        / ICMPv6PacketTooBig(mtu=1280)
        / replied6()
        / from_tcp(),
        WEB6,
    ),
)

# Description, frame: errors that are no backend's.
UNSTEERED: tuple[tuple[str, Packet], ...] = (
    ("about a later fragment", error4(replied4(frag=100) / from_udp())),
    (
        "about a later fragment, IPv6",
        too_big(replied6() / IPv6ExtHdrFragment(offset=9) / from_udp()),
    ),
    ("about another sender's packet", error4(replied4(src=QUIET4) / from_tcp())),
    ("about a port without service", error4(replied4() / from_tcp(UNSERVED))),
    ("about another protocol", error4(replied4(proto=47) / Raw(bytes(20)))),
    ("whose ports are behind its end", error4(replied4() / from_tcp(), len=20 + 8 + 20 + 2)),
    ("about half a header", error4(Raw(bytes(replied4())[:12]))),
    ("about nothing", error4(Raw(b""))),
    ("of an unknown kind", error4(replied4() / from_tcp(), 4, 0)),
    ("about IPv6 in IPv4", error4(replied6() / from_tcp())),
    ("about IPv4 in IPv6", too_big(replied4() / from_tcp())),
)
