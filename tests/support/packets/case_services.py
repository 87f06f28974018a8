"""The services of the case tables, and packets to them."""

from __future__ import annotations

import time
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.model.options import Affinity, ServiceOptions
from pydsr.model.service import Unserved
from pydsr.model.source_rules import Action
from tests.support.packets.data_plane import BALANCER_MAC, ELSEWHERE, NOWHERE, Rig, mac_of

Packet = Any
"""A scapy packet; scapy has no types."""

CLIENT_MAC = "02:00:00:00:00:c1"
OUR_MAC = str(BALANCER_MAC)
CLIENT4, CLIENT6 = "192.0.2.7", "2001:db8:1::7"
VIP4, VIP6 = "198.51.100.10", "2001:db8::10"
QUIET4, QUIET6 = "198.51.100.11", "2001:db8::11"
HOST4, HOST6 = "198.51.100.99", "2001:db8::99"
SOURCE_PORT = 40_000

HTTP, DNS, UNSERVED = 80, 53, 9
EMPTY, NO_MAC, MULTICAST_MAC, AWAY = 81, 82, 83, 84
LEARNING, SETTLING, LOOKED_UP, LEARNING_BY_SOURCE = 90, 91, 92, 94

# Backend ids, named by what they serve. OLD and NEW are those of a slot that changes.
WEB4, WEB6, DNS4, DNS6, QUIET_WEB4, QUIET_WEB6 = 1, 2, 3, 4, 5, 6
MACLESS, GROUP, DISTANT = 7, 8, 9
OLD, NEW = 10, 11
OLD6, NEW6 = 12, 13
OLD_UDP, NEW_UDP = 14, 15
OLD_BY_SOURCE, NEW_BY_SOURCE = 16, 17
SETTLING_OLD, SETTLING_NEW = 18, 19
LOOKED_UP_NEW = 20

# What only a program with every feature serves: see build_more().
ON_VLAN, ON_VLAN6, STACKED, NEXT_DOOR, STREAM, STREAM_CHANGING = 100, 101, 102, 103, 104, 105
BOUNCING, OWN_MAC, DENYING, GUARDED = 106, 107, 108, 109
EVERY4, EVERY6 = "198.51.100.12", "2001:db8::12"
PASSING4, PASSING6, CLOSED4 = "198.51.100.13", "2001:db8::13", "198.51.100.14"
DENIED4, DENIED6 = "203.0.113.66", "2001:db8:66::66"

ON_VLAN_WEB4, ON_VLAN_WEB6, STACKED_WEB4, NEIGHBOUR, NEIGHBOUR6 = 31, 32, 33, 34, 35
EVERY_TCP4, EVERY_TCP6, EVERY_UDP4, EVERY_HTTP4 = 36, 37, 38, 39
STREAM4, STREAM6, STREAM_OLD, STREAM_NEW = 40, 41, 42, 43
PASSING_WEB4, PASSING_WEB6, CLOSED_WEB4 = 44, 45, 46
DENYING_WEB4, DENYING_WEB6, GUARDED_WEB4, BOUNCING_WEB4, OURSELVES = 47, 48, 49, 50, 51
VLAN_TAGS = {
    ON_VLAN_WEB4: ((0x8100, 100),),
    ON_VLAN_WEB6: ((0x8100, 100),),
    STACKED_WEB4: ((0x88A8, 200), (0x8100, 100)),
}

HOUR = 3600 * 1_000_000_000


def build(rig: Rig) -> None:
    """Create the services."""
    later, earlier = time.monotonic_ns() + HOUR, 1
    quiet = ServiceOptions(arp=False)
    rig.serve(f"{VIP4}:{HTTP}", [WEB4])
    rig.serve(f"[{VIP6}]:{HTTP}", [WEB6])
    rig.serve(f"{VIP4}:{DNS}/udp", [DNS4])
    rig.serve(f"[{VIP6}]:{DNS}/udp", [DNS6])
    rig.serve(f"{QUIET4}:{HTTP}", [QUIET_WEB4], options=quiet)
    rig.serve(f"[{QUIET6}]:{HTTP}", [QUIET_WEB6], options=quiet)

    rig.serve(f"{VIP4}:{EMPTY}", [])
    rig.serve(f"{VIP4}:{NO_MAC}", [MACLESS])
    rig.place(MACLESS, bytes(6))
    rig.serve(f"{VIP4}:{MULTICAST_MAC}", [GROUP])
    rig.place(GROUP, bytes.fromhex("01005e000001"))
    rig.serve(f"{VIP4}:{AWAY}", [DISTANT])
    rig.place(DISTANT, ifindex=NOWHERE)

    rig.serve(f"{VIP4}:{LEARNING}", [NEW], OLD, later)
    rig.serve(f"[{VIP6}]:{LEARNING}", [NEW6], OLD6, later)
    rig.serve(f"{VIP4}:{LEARNING}/udp", [NEW_UDP], OLD_UDP, later)
    rig.serve(
        f"{VIP4}:{LEARNING_BY_SOURCE}",
        [NEW_BY_SOURCE],
        OLD_BY_SOURCE,
        later,
        ServiceOptions(affinity=Affinity.SOURCE),
    )
    rig.serve(f"{VIP4}:{SETTLING}", [SETTLING_NEW], SETTLING_OLD, earlier)
    rig.serve(f"{VIP4}:{LOOKED_UP}", [LOOKED_UP_NEW], LOOK_UP_ONLY, later)


def build_more(rig: Rig) -> None:
    """Create what a program with every feature serves beside."""
    later = time.monotonic_ns() + HOUR
    rig.serve(f"{VIP4}:{ON_VLAN}", [ON_VLAN_WEB4])
    rig.serve(f"[{VIP6}]:{ON_VLAN6}", [ON_VLAN_WEB6])
    rig.serve(f"{VIP4}:{STACKED}", [STACKED_WEB4])
    for backend, tags in VLAN_TAGS.items():
        rig.place(backend, tags=tags)
    rig.serve(f"{VIP4}:{NEXT_DOOR}", [NEIGHBOUR])
    rig.serve(f"[{VIP6}]:{NEXT_DOOR}", [NEIGHBOUR6])
    for backend in (NEIGHBOUR, NEIGHBOUR6):
        rig.place(backend, ifindex=ELSEWHERE)

    rig.serve(f"{EVERY4}:*", [EVERY_TCP4])
    rig.serve(f"[{EVERY6}]:*", [EVERY_TCP6])
    rig.serve(f"{EVERY4}:*/udp", [EVERY_UDP4])
    rig.serve(f"{EVERY4}:{HTTP}", [EVERY_HTTP4])
    rig.serve(f"{VIP4}:{STREAM}/sctp", [STREAM4])
    rig.serve(f"[{VIP6}]:{STREAM}/sctp", [STREAM6])
    rig.serve(f"{VIP4}:{STREAM_CHANGING}/sctp", [STREAM_NEW], STREAM_OLD, later)

    rig.serve(f"{PASSING4}:{HTTP}", [PASSING_WEB4])
    rig.serve(f"[{PASSING6}]:{HTTP}", [PASSING_WEB6])
    rig.serve(f"{CLOSED4}:{HTTP}", [CLOSED_WEB4])
    for vip, policy in (
        (PASSING4, Unserved.PASS),
        (PASSING6, Unserved.PASS),
        (CLOSED4, Unserved.DROP),
    ):
        rig.set_policy(vip, policy)

    rig.serve(f"{VIP4}:{BOUNCING}", [BOUNCING_WEB4])
    rig.serve(f"{VIP4}:{OWN_MAC}", [OURSELVES])
    rig.place(OURSELVES, BALANCER_MAC.octets)
    rig.serve(f"{VIP4}:{GUARDED}", [GUARDED_WEB4], options=ServiceOptions(max_new_flows=1000))
    for endpoint, backend in (
        (f"{VIP4}:{DENYING}", DENYING_WEB4),
        (f"[{VIP6}]:{DENYING}", DENYING_WEB6),
    ):
        denied = DENIED4 if backend == DENYING_WEB4 else DENIED6
        rig.set_rules(rig.serve(endpoint, [backend]), {denied: Action.DENY})


def ether(**fields: Any) -> Packet:
    """Return the Ethernet header of a client's frame to the balancer."""
    return Ether(**{"src": CLIENT_MAC, "dst": OUR_MAC, **fields})


def ip4(**fields: Any) -> Packet:
    """Return a client's frame to the VIP, up to its IPv4 header."""
    return ether() / IP(**{"src": CLIENT4, "dst": VIP4, "id": 4711, **fields})


def ip6(**fields: Any) -> Packet:
    """Return a client's frame to the VIP, up to its IPv6 header."""
    return ether() / IPv6(**{"src": CLIENT6, "dst": VIP6, "fl": 0xBEEF, **fields})


def tcp(port: int = HTTP, flags: str = "A", source_port: int = SOURCE_PORT) -> Packet:
    """Return a TCP header to a port of the VIP."""
    return TCP(sport=source_port, dport=port, flags=flags, seq=1000)


def udp(port: int = DNS, **fields: Any) -> Packet:
    """Return a UDP header to a port of the VIP."""
    return UDP(**{"sport": SOURCE_PORT, "dport": port, **fields})


def tcp4(port: int = HTTP, flags: str = "A", source_port: int = SOURCE_PORT) -> Packet:
    """Return a TCP packet over IPv4 to a port of the VIP."""
    return ip4() / tcp(port, flags, source_port)


def forwarded(frame: Packet, backend: int) -> Packet:
    """Return the frame as a backend gets it: its MACs changed and not a byte more."""
    sent = Ether(bytes(frame))
    sent.src, sent.dst = sent.dst, str(mac_of(backend))
    return sent
