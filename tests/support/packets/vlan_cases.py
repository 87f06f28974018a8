"""Frames with VLAN tags, as tables: the frame, and the tags that its backend gives it."""

from __future__ import annotations

from scapy.layers.inet import ICMP
from scapy.layers.inet6 import IPv6ExtHdrHopByHop
from scapy.layers.l2 import Ether

from tests.support.packets.case_services import (
    DNS4,
    EMPTY,
    HOST4,
    HTTP,
    ON_VLAN,
    ON_VLAN6,
    ON_VLAN_WEB4,
    ON_VLAN_WEB6,
    STACKED,
    STACKED_WEB4,
    UNSERVED,
    VLAN_TAGS,
    WEB4,
    WEB6,
    Packet,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.cases import (
    Case,
    advertisement,
    arp,
    arp_reply,
    ping4,
    ping6,
    pong4,
    pong6,
    solicitation,
)
from tests.support.packets.data_plane import BALANCER_MAC, mac_of
from tests.support.packets.icmp_error_cases import error4, from_tcp, replied4, replied6, too_big

Q, AD = 0x8100, 0x88A8
"""The EtherTypes of IEEE 802.1Q (customer) and 802.1ad (service) tags."""

_PRIORITY5 = 5 << 13
_MACS = 12


def tag(frame: Packet | bytes, *tags: tuple[int, int]) -> bytes:
    """Return a frame with tags before its own EtherType.

    Args:
        frame: without tags.
        tags: EtherType and control information (priority, DEI, VLAN) of each, outermost first.
    """
    raw = bytes(frame)
    header = b"".join(
        protocol.to_bytes(2, "big") + control.to_bytes(2, "big") for protocol, control in tags
    )
    return raw[:_MACS] + header + raw[_MACS:]


def delivered(frame: Packet | bytes, backend: int, *tags: tuple[int, int]) -> bytes:
    """Return an untagged frame as a backend gets it, with its tags."""
    raw = bytes(frame)
    return tag(mac_of(backend).octets + BALANCER_MAC.octets + raw[_MACS:], *tags)


def _case(
    description: str,
    frame: Packet,
    tags: tuple[tuple[int, int], ...],
    backend: int,
    leaves: tuple[tuple[int, int], ...],
    reason: str = "forwarded",
) -> Case:
    sent = delivered(frame, backend, *leaves)
    return Case(description, Ether(tag(frame, *tags)), reason, Ether(sent))


_HTTP4, _HTTP6, _DNS4 = tcp4(), ip6() / tcp(), ip4() / udp()
_HERE4, _HERE6, _STACKED4 = tcp4(ON_VLAN), ip6() / tcp(ON_VLAN6), tcp4(STACKED)
_ONE, _TWO = VLAN_TAGS[ON_VLAN_WEB4], VLAN_TAGS[STACKED_WEB4]

BALANCED = (
    _case("from a VLAN to no VLAN", _HTTP4, ((Q, 7),), WEB4, ()),
    _case("from a VLAN to no VLAN, IPv6", _HTTP6, ((Q, 7),), WEB6, ()),
    _case("from a VLAN to no VLAN, UDP", _DNS4, ((Q, 4094),), DNS4, ()),
    _case("from no VLAN to one", _HERE4, (), ON_VLAN_WEB4, _ONE),
    _case("from no VLAN to one, IPv6", _HERE6, (), ON_VLAN_WEB6, _ONE),
    _case("within a VLAN", _HERE4, _ONE, ON_VLAN_WEB4, _ONE),
    _case("within a VLAN, IPv6", _HERE6, _ONE, ON_VLAN_WEB6, _ONE),
    _case("from one VLAN to another", _HERE4, ((Q, 7),), ON_VLAN_WEB4, _ONE),
    _case("from one VLAN to another, IPv6", _HERE6, ((Q, 7),), ON_VLAN_WEB6, _ONE),
    _case(
        "with a priority, within a VLAN",
        _HERE4,
        ((Q, _PRIORITY5 | 100),),
        ON_VLAN_WEB4,
        ((Q, _PRIORITY5 | 100),),
    ),
    _case(
        "with a priority, to another VLAN",
        _HERE4,
        ((Q, _PRIORITY5 | 7),),
        ON_VLAN_WEB4,
        ((Q, _PRIORITY5 | 100),),
    ),
    _case("a priority tag, which names no VLAN", _HTTP4, ((Q, _PRIORITY5),), WEB4, ()),
    _case("a tag of a service provider", _HERE4, ((AD, 100),), ON_VLAN_WEB4, _ONE),
    _case("from two tags to none", _HTTP4, ((AD, 300), (Q, 7)), WEB4, ()),
    _case("from two tags to none, IPv6", _HTTP6, ((AD, 300), (Q, 7)), WEB6, ()),
    _case("from two tags to one", _HERE4, ((AD, 300), (Q, 7)), ON_VLAN_WEB4, _ONE),
    _case("from no tag to two", _STACKED4, (), STACKED_WEB4, _TWO),
    _case("from one tag to two", _STACKED4, ((Q, 7),), STACKED_WEB4, _TWO),
    _case("within two tags", _STACKED4, _TWO, STACKED_WEB4, _TWO),
    _case("other two tags", _STACKED4, ((AD, 1), (Q, 2)), STACKED_WEB4, _TWO),
    _case("two tags of one kind", _HTTP4, ((Q, 1), (Q, 2)), WEB4, ()),
    _case(
        "behind an IPv6 extension header",
        ip6() / IPv6ExtHdrHopByHop() / tcp(ON_VLAN6),
        ((Q, 7),),
        ON_VLAN_WEB6,
        _ONE,
    ),
    _case(
        "an ICMP error",
        error4(replied4() / from_tcp(ON_VLAN)),
        ((Q, 7),),
        ON_VLAN_WEB4,
        _ONE,
        "forwarded_error",
    ),
    _case(
        "an ICMPv6 error",
        too_big(replied6() / from_tcp(ON_VLAN6)),
        ((AD, 300), (Q, 7)),
        ON_VLAN_WEB6,
        _ONE,
        "forwarded_error",
    ),
)


def _answered(description: str, question: Packet, reason: str, answer: Packet) -> tuple[Case, Case]:
    """Return the cases of a question in one tag and in two, which the answer has as well."""
    one, two = ((Q, _PRIORITY5 | 7),), ((AD, 300), (Q, 7))
    return (
        Case(description, tag(question, *one), reason, tag(answer, *one)),
        Case(f"{description} in two tags", tag(question, *two), reason, tag(answer, *two)),
    )


ANSWERED = (
    *_answered("an ARP request", arp(), "arp_answered", arp_reply()),
    *_answered("a solicitation", solicitation(), "nd_answered", advertisement()),
    *_answered("a ping", ping4(data=b"123"), "echo_answered", pong4(data=b"123")),
    *_answered("an IPv6 ping", ping6(data=b"123"), "echo_answered", pong6(data=b"123")),
)

NOT_BALANCED = (
    Case("three tags", tag(_HTTP4, (AD, 1), (Q, 2), (Q, 3)), "not_ip"),
    Case("a cut tag", tag(_HTTP4, (Q, 7))[:17], "not_ip"),
    Case("a tag and nothing in it", tag(_HTTP4, (Q, 7))[:18], "not_vip"),
    Case("a host's packet in a VLAN", tag(ip4(dst=HOST4) / tcp(), (Q, 7)), "not_vip"),
    Case("a host's ping in two tags", tag(ip4(dst=HOST4) / ICMP(), (AD, 1), (Q, 2)), "not_vip"),
    Case("an ARP request for a host", tag(arp(pdst=HOST4), (Q, 7)), "not_ip"),
    Case("no such port", tag(tcp4(UNSERVED), (Q, 7)), "no_service"),
    Case("no backend", tag(tcp4(EMPTY), (Q, 7)), "no_backend"),
    Case("longer than the frame", tag(ip4(len=41) / tcp(HTTP), (Q, 7)), "malformed"),
    Case("a cut TCP header", tag(_HTTP4, (AD, 1), (Q, 2))[:61], "malformed"),
)
