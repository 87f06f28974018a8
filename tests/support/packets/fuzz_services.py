"""The services of the fuzzer, for the program and for the reference."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from pydsr.model.options import ServiceOptions
from pydsr.model.service import Unserved
from pydsr.model.source_rules import Action
from tests.support.packets import case_services
from tests.support.packets.data_plane import (
    BALANCER_MAC,
    ELSEWHERE,
    ELSEWHERE_MAC,
    EVERY_FEATURE,
    INGRESS,
    NOWHERE,
    Rig,
    mac_of,
)
from tests.support.packets.reference import Backend, Knowledge, Vip

_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
DENIED = {"203.0.113.0/24": Action.DENY, "2001:db8:66::/48": Action.DENY}
_MULTICAST = bytes.fromhex("01005e000001")

# VIP, port or *, protocol, and where the backend is: its MAC if not its own, interface, tags.
_PLACES: dict[str, tuple[bytes | None, int, tuple[tuple[int, int], ...]]] = {
    "here": (None, INGRESS, ()),
    "vlan": (None, INGRESS, ((0x8100, 100),)),
    "stacked": (None, INGRESS, ((0x88A8, 200), (0x8100, 100))),
    "next door": (None, ELSEWHERE, ()),
    "next door, vlan": (None, ELSEWHERE, ((0x8100, 100),)),
    "nowhere": (None, NOWHERE, ()),
    "no mac": (bytes(6), INGRESS, ()),
    "multicast": (_MULTICAST, INGRESS, ()),
    "our mac": (BALANCER_MAC.octets, INGRESS, ()),
    "our other mac": (ELSEWHERE_MAC.octets, ELSEWHERE, ()),
}
_V4, _V6 = case_services.VIP4, case_services.VIP6
SERVICES = (
    *((vip, port, "tcp", place) for vip in (_V4, _V6) for port, place in enumerate(_PLACES, 80)),
    *((vip, 53, "udp", "here") for vip in (_V4, _V6)),
    *((vip, 54, "udp", "vlan") for vip in (_V4, _V6)),
    *((vip, 70, "sctp", "here") for vip in (_V4, _V6)),
    (_V4, 99, "tcp", None),
    (case_services.QUIET4, 80, "tcp", "here"),
    (case_services.QUIET6, 80, "tcp", "here"),
    (case_services.EVERY4, None, "tcp", "here"),
    (case_services.EVERY6, None, "tcp", "vlan"),
    (case_services.EVERY4, None, "udp", "next door"),
    (case_services.EVERY4, 80, "tcp", "stacked"),
    (case_services.PASSING4, 80, "tcp", "here"),
    (case_services.PASSING6, 80, "tcp", "here"),
    (case_services.CLOSED4, 53, "udp", "here"),
)
_POLICIES = {
    case_services.PASSING4: Unserved.PASS,
    case_services.PASSING6: Unserved.PASS,
    case_services.CLOSED4: Unserved.DROP,
}
_RULED = ((_V4, 80, "tcp"), (_V6, 80, "tcp"), (case_services.EVERY4, None, "udp"))


def build() -> tuple[Rig, Knowledge]:
    """Load a program with every feature, serve, and return what the reference has to know."""
    rig = Rig(features=EVERY_FEATURE)
    known = Knowledge(
        {INGRESS: BALANCER_MAC.octets, ELSEWHERE: ELSEWHERE_MAC.octets}, INGRESS, {}, {}
    )
    for number, (vip, port, protocol, place) in enumerate(SERVICES, 1):
        address = ip_address(vip)
        quiet = vip in (case_services.QUIET4, case_services.QUIET6)
        host = f"[{vip}]" if address.version == 6 else vip
        service = rig.serve(
            f"{host}:{'*' if port is None else port}/{protocol}",
            [number] if place else [],
            options=ServiceOptions(arp=not quiet),
        )
        key = (address, port, _NUMBERS[protocol])
        policy = _POLICIES.get(vip, Unserved.COUNT)
        known.vips[address] = Vip(policy.value, not quiet)
        known.services[key] = None
        if place:
            mac, ifindex, tags = _PLACES[place]
            rig.place(number, mac, ifindex, tags)
            known.services[key] = Backend(mac or mac_of(number).octets, ifindex, tags)
        if (vip, port, protocol) in _RULED:
            denied = {
                text: action
                for text, action in DENIED.items()
                if ip_network(text).version == address.version
            }
            rig.set_rules(service, denied)
            known.denied[key] = [ip_network(text) for text in denied]
    rig.set_rules(None, {"203.0.113.66": Action.DENY})
    known.denied_to_all = [ip_network("203.0.113.66/32")]
    for vip, policy in _POLICIES.items():
        rig.set_policy(vip, policy)
    return rig, known
