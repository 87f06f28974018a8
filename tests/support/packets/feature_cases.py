"""Packets through a program with every feature, as tables; vlan_cases.py has those with tags."""

from __future__ import annotations

from scapy.layers.inet import ICMP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkShutdownComplete,
)
from scapy.packet import Raw

from tests.support.packets.case_services import (
    BOUNCING,
    BOUNCING_WEB4,
    CLOSED4,
    DENIED4,
    DENIED6,
    DENYING,
    DENYING_WEB4,
    DENYING_WEB6,
    DNS,
    DNS4,
    EVERY4,
    EVERY6,
    EVERY_HTTP4,
    EVERY_TCP4,
    EVERY_TCP6,
    EVERY_UDP4,
    GUARDED,
    GUARDED_WEB4,
    HTTP,
    NEIGHBOUR,
    NEIGHBOUR6,
    NEXT_DOOR,
    OWN_MAC,
    PASSING4,
    PASSING6,
    PASSING_WEB4,
    SOURCE_PORT,
    STREAM,
    STREAM4,
    STREAM6,
    STREAM_CHANGING,
    STREAM_NEW,
    STREAM_OLD,
    UNSERVED,
    Packet,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)
from tests.support.packets.cases import Case, balanced, ping4, pong4
from tests.support.packets.data_plane import ELSEWHERE_MAC, mac_of
from tests.support.packets.icmp_error_cases import (
    error4,
    from_tcp,
    from_udp,
    replied4,
    replied6,
    too_big,
)

_DATA = Raw(bytes(range(32)))


def sctp(chunk: Packet, port: int = STREAM) -> Packet:
    """Return an SCTP packet's headers to a port of the VIP, with one chunk."""
    return SCTP(sport=SOURCE_PORT, dport=port, tag=7) / chunk


def redirected(frame: Packet, backend: int) -> Packet:
    """Return the frame as a backend behind the other interface gets it."""
    sent = Ether(bytes(frame))
    sent.src, sent.dst = str(ELSEWHERE_MAC), str(mac_of(backend))
    return sent


def _redirected(description: str, frame: Packet, backend: int, reason: str = "forwarded") -> Case:
    return Case(description, frame, reason, redirected(frame, backend), "redirect")


def _from(mac: str, frame: Packet) -> Packet:
    frame.src = mac
    return frame


_INIT, _CHUNK = SCTPChunkInit(init_tag=1), SCTPChunkData(data=b"data")

REDIRECTED = (
    _redirected("a backend behind another interface", tcp4(NEXT_DOOR) / _DATA, NEIGHBOUR),
    _redirected("the same by IPv6", ip6() / tcp(NEXT_DOOR) / _DATA, NEIGHBOUR6),
    _redirected(
        "an ICMP error about its flow",
        error4(replied4() / from_tcp(NEXT_DOOR)),
        NEIGHBOUR,
        "forwarded_error",
    ),
    _redirected(
        "an ICMPv6 error about its flow",
        too_big(replied6() / from_tcp(NEXT_DOOR)),
        NEIGHBOUR6,
        "forwarded_error",
    ),
)

EVERY_PORT = (
    balanced("one port of them", ip4(dst=EVERY4) / tcp(1), EVERY_TCP4),
    balanced("another port of them", ip4(dst=EVERY4) / tcp(65535, "S"), EVERY_TCP4),
    balanced("port 0", ip4(dst=EVERY4) / tcp(0), EVERY_TCP4),
    balanced("a port of its own comes first", ip4(dst=EVERY4) / tcp(HTTP), EVERY_HTTP4),
    balanced("every port of UDP", ip4(dst=EVERY4) / udp(7), EVERY_UDP4),
    balanced("every port by IPv6", ip6(dst=EVERY6) / tcp(7), EVERY_TCP6),
    balanced(
        "an ICMP error about one of them",
        error4(replied4(src=EVERY4) / from_udp(7), dst=EVERY4),
        EVERY_UDP4,
        "forwarded_error",
    ),
    Case("a protocol that has no service", ip6(dst=EVERY6) / udp(7), "no_service"),
    Case(
        "a ping of a VIP of every port",
        ping4(dst=EVERY4),
        "echo_answered",
        pong4(src=EVERY4),
    ),
)

STREAMS = (
    balanced("an association's first packet", ip4() / sctp(_INIT), STREAM4),
    balanced("SCTP data", ip4() / sctp(_CHUNK), STREAM4),
    balanced("SCTP data by IPv6", ip6() / sctp(_CHUNK), STREAM6),
    balanced("an abort", ip4() / sctp(SCTPChunkAbort()), STREAM4),
    balanced(
        "changing: an association's first packet",
        ip4() / sctp(_INIT, STREAM_CHANGING),
        STREAM_NEW,
        "forwarded_current",
    ),
    balanced(
        "changing: an older association",
        ip4() / sctp(_CHUNK, STREAM_CHANGING),
        STREAM_OLD,
        "forwarded_previous",
    ),
    balanced(
        "changing: an older association that ends",
        ip4() / sctp(SCTPChunkShutdownComplete(), STREAM_CHANGING),
        STREAM_OLD,
        "forwarded_previous",
    ),
    Case("SCTP to no such port", ip4() / sctp(_INIT, UNSERVED), "no_service"),
    Case("SCTP without a chunk", ip4() / SCTP(sport=1, dport=STREAM), "malformed"),
    Case("a cut SCTP header", bytes(ip4() / sctp(_INIT))[:45], "malformed"),
)

POLICIES = (
    Case("a port that may pass", ip4(dst=PASSING4) / tcp(UNSERVED), "unserved_passed"),
    Case("a protocol that may pass", ip4(dst=PASSING4, proto=47) / _DATA, "unserved_passed"),
    Case("a port that may pass, IPv6", ip6(dst=PASSING6) / udp(UNSERVED), "unserved_passed"),
    Case("a later fragment that may pass", ip4(dst=PASSING4, frag=9) / _DATA, "unserved_passed"),
    Case("a closed port", ip4(dst=CLOSED4) / tcp(UNSERVED), "unserved_dropped"),
    Case("a later fragment to a closed VIP", ip4(dst=CLOSED4, frag=9) / _DATA, "fragment"),
    Case("a cut header for a VIP that passes", bytes(ip4(dst=PASSING4) / tcp(9))[:50], "malformed"),
    balanced("the service of a VIP that passes", ip4(dst=PASSING4) / tcp(HTTP), PASSING_WEB4),
)

ADMISSION = (
    Case("a denied source", ip4(src=DENIED4) / tcp(DENYING), "denied"),
    Case("a denied source that opens", ip4(src=DENIED4) / tcp(DENYING, "S"), "denied"),
    Case("a denied source, IPv6", ip6(src=DENIED6) / tcp(DENYING), "denied"),
    balanced("another source", tcp4(DENYING), DENYING_WEB4),
    balanced("another source, IPv6", ip6() / tcp(DENYING), DENYING_WEB6),
    balanced("a source within its rate", tcp4(GUARDED, "S"), GUARDED_WEB4),
    Case(
        "an ICMP error about a denied source's flow",
        error4(replied4(dst=DENIED4) / from_tcp(DENYING)),
        "denied",
    ),
)

GUARDS = (
    Case("sent back by its backend", _from(str(mac_of(BOUNCING_WEB4)), tcp4(BOUNCING)), "bounced"),
    Case(
        "sent back with a lower TTL",
        _from(str(mac_of(BOUNCING_WEB4)), ip4(ttl=1) / tcp(BOUNCING)),
        "bounced",
    ),
    balanced("the same packet from a client", tcp4(BOUNCING), BOUNCING_WEB4),
    balanced(
        "a backend that is the client of another",
        _from(str(mac_of(NEIGHBOUR)), tcp4(BOUNCING)),
        BOUNCING_WEB4,
    ),
    Case("a backend with the balancer's own MAC", tcp4(OWN_MAC), "no_mac"),
    Case("a first fragment of a ping", ip4(flags="MF") / ICMP() / _DATA, "fragment"),
    Case("a fragment that was not announced", ip4(frag=3, proto=17) / _DATA, "fragment"),
    balanced("a first fragment", ip4(flags="MF") / UDP(sport=1, dport=DNS) / _DATA, DNS4),
)

TABLES: dict[str, tuple[Case, ...]] = {
    "redirected": REDIRECTED,
    "every port": EVERY_PORT,
    "streams": STREAMS,
    "policies": POLICIES,
    "admission": ADMISSION,
    "guards": GUARDS,
}
