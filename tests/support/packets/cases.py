"""Single packets and their verdicts, as tables; flow_cases.py has those of flows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scapy.layers.dot11 import LLC
from scapy.layers.inet import ICMP, IP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests.support.packets.case_services import (
    AWAY,
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    DNS,
    DNS4,
    DNS6,
    EMPTY,
    HOST4,
    HOST6,
    HTTP,
    LEARNING,
    LOOKED_UP,
    LOOKED_UP_NEW,
    MULTICAST_MAC,
    NEW,
    NEW6,
    NO_MAC,
    OLD,
    OLD6,
    OLD_UDP,
    OUR_MAC,
    QUIET4,
    QUIET6,
    QUIET_WEB4,
    QUIET_WEB6,
    SETTLING,
    SETTLING_NEW,
    UNSERVED,
    VIP4,
    VIP6,
    WEB4,
    WEB6,
    Packet,
    ether,
    forwarded,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.icmp_error_cases import STEERED, UNSTEERED

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_OPTIONS = [IPOption_Router_Alert(), IPOption_NOP()]
_DATA = Raw(b"hello, backend")


_LATER = IPv6ExtHdrFragment(offset=10, m=1, nh=6) / Raw(bytes(16))
_LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))])


def _hops(number: int) -> Packet:
    headers: Packet = IPv6ExtHdrHopByHop()
    for _ in range(number - 1):
        headers /= IPv6ExtHdrDestOpt()
    return headers


@dataclass(frozen=True)
class Case:
    """A packet, the reason it is counted under, and the frame that comes out.

    Attributes:
        answer: None where the frame is to stay as it is.
        verdict: None for the reason's own.
    """

    description: str
    frame: Packet
    reason: str
    answer: Packet | None = None
    verdict: str | None = None


def balanced(description: str, frame: Packet, backend: int, reason: str = "forwarded") -> Case:
    """Return the case of a packet that goes to a backend with nothing changed but its MACs."""
    return Case(description, frame, reason, forwarded(frame, backend))


def _to(mac: str, frame: Packet) -> Packet:
    frame.dst = mac
    return frame


def _cut(frame: Packet, size: int) -> bytes:
    return bytes(frame)[:size]


FORWARDED = (
    balanced("TCP over IPv4", tcp4() / _DATA, WEB4),
    balanced("TCP over IPv6", ip6() / tcp() / _DATA, WEB6),
    balanced("UDP over IPv4", ip4() / udp() / _DATA, DNS4),
    balanced("UDP over IPv6", ip6() / udp() / _DATA, DNS6),
    balanced("TCP SYN at rest", tcp4(flags="S"), WEB4),
    balanced("TCP SYN with ECN bits", tcp4(flags="SEC"), WEB4),
    balanced("TCP FIN", tcp4(flags="FA"), WEB4),
    balanced("TCP RST", tcp4(flags="R"), WEB4),
    balanced("TCP without any flag", tcp4(flags=""), WEB4),
    balanced("UDP without data", ip4() / udp(), DNS4),
    balanced("UDP without checksum", ip4() / udp(chksum=0) / _DATA, DNS4),
    balanced("IPv4 with options", ip4(options=_OPTIONS) / tcp() / _DATA, WEB4),
    balanced("IPv4 with 40 bytes of options", ip4(options=_OPTIONS * 8) / udp() / _DATA, DNS4),
    balanced("do-not-fragment flag", ip4(flags="DF") / tcp() / _DATA, WEB4),
    balanced("TTL of 1", ip4(ttl=1) / tcp(), WEB4),
    balanced("wrong IPv4 header checksum", ip4(chksum=0x1234) / tcp(), WEB4),
    balanced("padded to what Ethernet asks", Ether(bytes(tcp4()) + bytes(6)), WEB4),
    balanced("an IPv6 packet with bytes after it", Ether(bytes(ip6() / udp()) + b"etc"), DNS6),
    balanced("IPv6 with a traffic class", ip6(tc=0xB8) / tcp(), WEB6),
    balanced("source port 0", ip4() / tcp(source_port=0), WEB4),
    balanced("from the VIP itself", ip4(src=VIP4) / tcp(), WEB4),
    balanced("to a VIP that answers no ARP", ip4(dst=QUIET4) / tcp(), QUIET_WEB4),
    balanced("to an IPv6 VIP that answers no ND", ip6(dst=QUIET6) / tcp(), QUIET_WEB6),
    balanced("an IPv6 extension header", ip6() / _hops(1) / tcp(), WEB6),
    balanced("six IPv6 extension headers", ip6() / _hops(6) / udp(), DNS6),
    balanced("a long IPv6 extension header", ip6() / _LONG / tcp(), WEB6),
    balanced("an IPv6 fragment that is the whole", ip6() / IPv6ExtHdrFragment() / tcp(), WEB6),
    balanced("1,500 bytes", tcp4() / Raw(bytes(1460)), WEB4),
)

CHANGING = (
    balanced("learning: older than the change", tcp4(LEARNING), OLD, "forwarded_previous"),
    balanced("learning: a SYN", tcp4(LEARNING, "S"), NEW, "forwarded_current"),
    balanced(
        "learning: a SYN with ACK opens nothing", tcp4(LEARNING, "SA"), OLD, "forwarded_previous"
    ),
    balanced("learning: FIN", tcp4(LEARNING, "FA"), OLD, "forwarded_previous"),
    balanced("learning: IPv6, older", ip6() / tcp(LEARNING), OLD6, "forwarded_previous"),
    balanced("learning: IPv6, SYN", ip6() / tcp(LEARNING, "S"), NEW6, "forwarded_current"),
    balanced("learning: UDP", ip4() / udp(LEARNING), OLD_UDP, "forwarded_previous"),
    balanced("settling: no record", tcp4(SETTLING), SETTLING_NEW, "forwarded_current"),
    balanced("settling: a SYN", tcp4(SETTLING, "S"), SETTLING_NEW, "forwarded_current"),
    balanced("looked up: no record", tcp4(LOOKED_UP), LOOKED_UP_NEW, "forwarded_current"),
)

ERRORS = tuple(
    balanced(f"an error: {name}", frame, backend, "forwarded_error")
    for name, frame, backend in STEERED
)

# What a program without the feature does with what it is for.
LEAN = (
    Case("an 802.1Q tag", ether() / Dot1Q(vlan=7) / IP(dst=VIP4) / tcp(), "not_ip"),
    Case("a first fragment", ip4(flags="MF") / tcp() / _DATA, "fragment"),
    Case("a first IPv6 fragment", ip6() / IPv6ExtHdrFragment(m=1) / tcp() / _DATA, "fragment"),
)

PASSED = (
    Case("a host's TCP", ip4(dst=HOST4) / tcp(), "not_vip"),
    Case("a host's TCP over IPv6", ip6(dst=HOST6) / tcp(), "not_vip"),
    Case("a host's UDP", ip4(dst=HOST4) / udp(), "not_vip"),
    Case("a host's ping", ip4(dst=HOST4) / ICMP() / _DATA, "not_vip"),
    Case("a host's IPv6 ping", ip6(dst=HOST6) / ICMPv6EchoRequest(), "not_vip"),
    Case("a host's fragment", ip4(dst=HOST4, frag=100) / _DATA, "not_vip"),
    Case("a host's cut TCP", _cut(ip4(dst=HOST4) / tcp(), 40), "not_vip"),
    Case("a backend's reply from the VIP", ip4(src=VIP4, dst=CLIENT4) / tcp(), "not_vip"),
    Case("the VIP's IPv4 bits within an IPv6 address", ip6(dst="::c633:640a") / tcp(), "not_vip"),
    Case("a cut IPv4 header", _cut(tcp4(), 33), "not_vip"),
    Case("a cut IPv6 header", _cut(ip6() / tcp(), 53), "not_vip"),
    Case("a router solicitation", ip6(dst="ff02::2", hlim=255) / ICMPv6ND_RS(), "not_vip"),
    Case("an LLC frame", Dot3(src=CLIENT_MAC, dst=OUR_MAC) / LLC() / _DATA, "not_ip"),
    Case("an unknown EtherType", ether(type=0x88B5) / _DATA, "not_ip"),
    Case("nothing but an Ethernet header", ether(type=0x0800), "not_vip"),
    Case("a broadcast to a service", _to(BROADCAST, tcp4()), "not_our_mac"),
    Case("a multicast to a service", _to("01:00:5e:33:64:0a", tcp4()), "not_our_mac"),
    Case("an IPv6 multicast MAC", _to("33:33:00:00:00:10", ip6() / tcp()), "not_our_mac"),
    Case("a broadcast ping", _to(BROADCAST, ip4() / ICMP()), "not_our_mac"),
    Case("balanced already, and overheard", Ether(bytes(forwarded(tcp4(), WEB4))), "not_our_mac"),
)

DROPPED = (
    Case("no such port", tcp4(UNSERVED), "no_service"),
    Case("no such port, IPv6", ip6() / tcp(UNSERVED), "no_service"),
    Case("the other protocol's port", ip4() / udp(HTTP), "no_service"),
    Case("TCP to the UDP port", tcp4(DNS), "no_service"),
    Case("another transport protocol", ip4(proto=47) / _DATA, "no_service"),
    Case("a transport without its chunk", ip4() / SCTP(sport=1, dport=HTTP), "malformed"),
    Case("IP protocol 0", ip4(proto=0) / _DATA, "no_service"),
    Case("IPv6 that never ends in a transport", ip6() / _hops(6) / _hops(1), "no_service"),
    Case("an unknown IP protocol", ip4(proto=99) / _DATA, "no_service"),
    Case("too many IPv6 extension headers", ip6() / _hops(7) / tcp(), "no_service"),
    Case("a cut IPv6 extension header", _cut(ip6(plen=8) / _hops(1) / tcp(), 62), "malformed"),
    Case("a fragment behind extension headers", ip6() / _hops(2) / _LATER, "fragment"),
    *(Case(f"an error {name}", frame, "icmp_other") for name, frame in UNSTEERED),
    Case("a service without backends", tcp4(EMPTY), "no_backend"),
    Case("a SYN to a service without backends", tcp4(EMPTY, "S"), "no_backend"),
    Case("a backend whose MAC is zero", tcp4(NO_MAC), "no_mac"),
    Case("a backend whose MAC is multicast", tcp4(MULTICAST_MAC), "no_mac"),
    Case("a backend behind an interface of others", tcp4(AWAY), "other_interface"),
    Case("a middle fragment", ip4(flags="MF", frag=64) / _DATA, "fragment"),
    Case("a last fragment", ip4(frag=128) / _DATA, "fragment"),
    Case("a fragment to no port", ip4(frag=1, proto=99) / _DATA, "fragment"),
    Case("a fragment of a ping", ip4(flags="MF", proto=1) / _DATA, "fragment"),
    Case("an IPv6 fragment", ip6() / _LATER, "fragment"),
    Case("a cut IPv6 fragment header", _cut(ip6(plen=8) / _LATER, 61), "malformed"),
    Case("a cut TCP header", _cut(tcp4(), 53), "malformed"),
    Case("a cut UDP header", _cut(ip4() / udp(), 41), "malformed"),
    Case("a cut TCP header over IPv6", _cut(ip6() / tcp(), 73), "malformed"),
    Case("no transport header at all", _cut(tcp4(), 34), "malformed"),
    Case("cut behind options", _cut(ip4(options=_OPTIONS) / tcp(), 60), "malformed"),
    Case("IPv4 version 5", ip4(version=5) / tcp(), "malformed"),
    Case("IPv6 version 4", ip6(version=4) / tcp(), "malformed"),
    Case("header length below 20 bytes", ip4(ihl=4) / tcp(), "malformed"),
    Case("length below the IPv4 header's", ip4(len=19) / tcp(), "malformed"),
    Case("length below the header's, unknown protocol", ip4(len=19, proto=99), "malformed"),
    Case("length without the TCP header", ip4(len=39) / tcp(), "malformed"),
    Case("length without the UDP header", ip4(len=27) / udp(), "malformed"),
    Case("length of 0", ip4(len=0) / tcp(), "malformed"),
    Case("IPv6 length without the TCP header", ip6(plen=19) / tcp(), "malformed"),
    Case("IPv6 length of 0", ip6(plen=0) / tcp(), "malformed"),
    Case("the VIP in an IPv4-mapped address", ip6(dst=f"::ffff:{VIP4}") / tcp(), "malformed"),
    Case("a cut ping", _cut(ip4() / ICMP(), 41), "malformed"),
    Case("a ping longer than its IP packet", ip4(len=27) / ICMP(), "malformed"),
    Case("an echo reply", ip4() / ICMP(type=0), "icmp_other"),
    Case("destination unreachable", ip4() / ICMP(type=3, code=1) / _DATA, "icmp_other"),
    Case("an echo request with a code", ip4() / ICMP(code=1), "icmp_other"),
    Case("a ping in the VIP's own name", ip4(src=VIP4) / ICMP(), "icmp_other"),
    Case("an IPv6 echo reply", ip6() / ICMPv6EchoReply(), "icmp_other"),
    Case("packet too big", ip6() / ICMPv6PacketTooBig() / _DATA, "icmp_other"),
    Case(
        "an IPv6 ping in the VIP's own name",
        ip6(src=VIP6) / ICMPv6EchoRequest(),
        "icmp_other",
    ),
    Case("IPv6's ICMP in IPv4", ip4(proto=58) / Raw(b"\x80" + bytes(7)), "no_service"),
    Case("IPv4's ICMP in IPv6", ip6(nh=1) / Raw(b"\x08" + bytes(7)), "no_service"),
)


def arp(**fields: Any) -> Packet:
    """Return a client's broadcast ARP request for the VIP."""
    asked = {"op": 1, "hwsrc": CLIENT_MAC, "psrc": CLIENT4, "hwdst": "00:00:00:00:00:00"}
    return ether(dst=BROADCAST) / ARP(**{**asked, "pdst": VIP4, **fields})


def arp_reply(to: str = CLIENT4, tail: bytes = b"") -> Packet:
    """Return the VIP's answer to a client."""
    answer = Ether(src=OUR_MAC, dst=CLIENT_MAC) / ARP(
        op=2, hwsrc=OUR_MAC, psrc=VIP4, hwdst=CLIENT_MAC, pdst=to
    )
    return answer / Raw(tail) if tail else answer


ARP_CASES = (
    Case("a request", arp(), "arp_answered", arp_reply()),
    Case(
        "a request padded by the NIC",
        arp() / Raw(bytes(18)),
        "arp_answered",
        arp_reply(tail=bytes(18)),
    ),
    Case("a request by unicast", _to(OUR_MAC, arp()), "arp_answered", arp_reply()),
    Case("a probe (RFC 5227)", arp(psrc="0.0.0.0"), "arp_answered", arp_reply("0.0.0.0")),
    Case("a gratuitous request", arp(psrc=VIP4), "not_ip"),
    Case("a gratuitous reply", arp(op=2, psrc=VIP4, hwdst=BROADCAST), "not_ip"),
    Case("a reply to the VIP", arp(op=2, hwdst=OUR_MAC), "not_ip"),
    Case("a request for a host", arp(pdst=HOST4), "not_ip"),
    Case("a request for a host by the VIP", arp(psrc=VIP4, pdst=HOST4), "not_ip"),
    Case("a request for a VIP with --no-arp", arp(pdst=QUIET4), "not_ip"),
    Case("another hardware type", arp(hwtype=6), "not_ip"),
    Case("another protocol type", arp(ptype=0x86DD), "not_ip"),
    Case("another hardware length", arp(hwlen=8, hwsrc=CLIENT_MAC), "not_ip"),
    Case("a cut request", _cut(arp(), 41), "not_ip"),
)


def solicitation(*options: Packet, target: str = VIP6, code: int = 0, **fields: Any) -> Packet:
    """Return a client's neighbour solicitation for a VIP (RFC 4861, section 4.3)."""
    group = "ff02::1:ff00:" + target.rpartition(":")[2]
    frame = ether(dst="33:33:ff:00:00:" + target.rpartition(":")[2]) / IPv6(
        **{"src": CLIENT6, "dst": group, "hlim": 255, **fields}
    )
    frame /= ICMPv6ND_NS(tgt=target, code=code)
    for option in options:
        frame /= option
    return frame


def advertisement(
    to: str = CLIENT6, mac: str = CLIENT_MAC, solicited: int = 1, target: str = VIP6
) -> Packet:
    """Return the VIP's answer to a client (RFC 4861, section 4.4)."""
    return (
        Ether(src=OUR_MAC, dst=mac)
        / IPv6(src=target, dst=to, hlim=255)
        / ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=OUR_MAC)
    )


_FROM = ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)
_NONCE = ICMPv6NDOptUnknown(type=14, len=1, data=b"\x01\x02\x03\x04\x05\x06")

ND_CASES = (
    Case("a solicitation", solicitation(_FROM), "nd_answered", advertisement()),
    Case("without the sender's MAC", solicitation(), "nd_answered", advertisement()),
    Case("with one option more", solicitation(_FROM, _NONCE), "nd_answered", advertisement()),
    Case(
        "a probe for duplicates",
        solicitation(src="::"),
        "nd_answered",
        advertisement(ALL_NODES, ALL_NODES_MAC, 0),
    ),
    Case(
        "a probe for duplicates with a nonce (RFC 7527)",
        solicitation(_NONCE, src="::"),
        "nd_answered",
        advertisement(ALL_NODES, ALL_NODES_MAC, 0),
    ),
    Case("forwarded by a router", solicitation(_FROM, hlim=254), "not_vip"),
    Case("with a code", solicitation(_FROM, code=1), "not_vip"),
    Case("for a host", solicitation(_FROM, target=HOST6), "not_vip"),
    Case("for a VIP with --no-arp", solicitation(_FROM, target=QUIET6), "not_vip"),
    Case("shorter than its header says", _cut(solicitation(), 77), "not_vip"),
    Case("payload length of 23", solicitation(plen=23), "not_vip"),
    Case(
        "an advertisement of the VIP",
        ether(dst=ALL_NODES_MAC) / IPv6(src=VIP6, dst=ALL_NODES, hlim=255) / ICMPv6ND_NA(tgt=VIP6),
        "not_vip",
    ),
)


def ping4(identifier: int = 0x1234, sequence: int = 1, data: bytes = b"", **fields: Any) -> Packet:
    """Return a client's ping of the IPv4 VIP."""
    return ip4(**fields) / ICMP(id=identifier, seq=sequence) / Raw(data)


def pong4(identifier: int = 0x1234, sequence: int = 1, data: bytes = b"", **fields: Any) -> Packet:
    """Return the IPv4 VIP's answer; scapy computes its checksums."""
    return (
        Ether(src=OUR_MAC, dst=CLIENT_MAC)
        / IP(**{"src": VIP4, "dst": CLIENT4, "id": 4711, "ttl": 64, **fields})
        / ICMP(type=0, id=identifier, seq=sequence)
        / Raw(data)
    )


def ping6(identifier: int = 0x1234, sequence: int = 1, data: bytes = b"", **fields: Any) -> Packet:
    """Return a client's ping of the IPv6 VIP."""
    return ip6(**fields) / ICMPv6EchoRequest(id=identifier, seq=sequence, data=data)


def pong6(identifier: int = 0x1234, sequence: int = 1, data: bytes = b"") -> Packet:
    """Return the IPv6 VIP's answer; scapy computes its checksum."""
    return (
        Ether(src=OUR_MAC, dst=CLIENT_MAC)
        / IPv6(src=VIP6, dst=CLIENT6, hlim=64, fl=0xBEEF)
        / ICMPv6EchoReply(id=identifier, seq=sequence, data=data)
    )


ECHO_CASES = (
    Case("a ping", ping4(), "echo_answered", pong4()),
    Case("with data", ping4(data=b"12345678"), "echo_answered", pong4(data=b"12345678")),
    Case("with odd data", ping4(data=b"123"), "echo_answered", pong4(data=b"123")),
    Case("a TTL of 1", ping4(ttl=1), "echo_answered", pong4()),
    Case("a TTL of 255", ping4(ttl=255), "echo_answered", pong4()),
    Case("with options", ping4(options=_OPTIONS), "echo_answered", pong4(options=_OPTIONS)),
    Case(
        "with a TOS and DF",
        ping4(tos=0xB8, flags="DF"),
        "echo_answered",
        pong4(tos=0xB8, flags="DF"),
    ),
    Case("a VIP with --no-arp", ping4(dst=QUIET4), "echo_answered", pong4(src=QUIET4)),
    Case("1,400 bytes", ping4(data=b"\xff" * 1400), "echo_answered", pong4(data=b"\xff" * 1400)),
    Case("a ping by IPv6", ping6(), "echo_answered", pong6()),
    Case("IPv6 with odd data", ping6(data=b"12345"), "echo_answered", pong6(data=b"12345")),
    Case("a hop limit of 1", ping6(hlim=1), "echo_answered", pong6()),
)

TABLES: dict[str, tuple[Case, ...]] = {
    "forwarded": FORWARDED,
    "changing": CHANGING,
    "passed": PASSED,
    "dropped": DROPPED,
    "arp": ARP_CASES,
    "nd": ND_CASES,
    "echo": ECHO_CASES,
    "errors": ERRORS,
}


def all_cases() -> Iterable[tuple[str, Case]]:
    """Yield every case with the name of its table."""
    for name, cases in TABLES.items():
        for case in cases:
            yield name, case
