"""The reference: the verdict about any frame, decided from the RFCs in plain Python.

scapy reads the headers, one layer at a time, and no code of pydsr is used, neither for maps nor for
parsing. tests/fuzz compares the reference with the loaded program, frame by frame.

It does not decide which of several backends a flow goes to, nor what changing slots do with it;
tests/support/consistency_model.py models that. So each service has one backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP

from tests.support.packets.scapy_reader import (
    Address,
    MalformedError,
    Packet,
    Tags,
    flow_of_error,
    kind_of,
    own_fields,
    read_ipv4,
    read_ipv6,
    read_ports,
)

Network = IPv4Network | IPv6Network

_ARP, _IP4, _IP6 = 0x0806, 0x0800, 0x86DD
_ICMP, _ICMP6 = 1, 58
_SOLICITATION = 135
_HOPS = 64


@dataclass(frozen=True)
class Backend:
    """Where a service's frames go; `mac` as six bytes."""

    mac: bytes
    ifindex: int
    tags: Tags = ()


@dataclass(frozen=True)
class Vip:
    """A virtual IP: `unserved` is count, pass or drop; `arp` whether it is answered for."""

    unserved: str = "count"
    arp: bool = True


@dataclass
class Knowledge:
    """What a balancer knows: services by (VIP, port or None for every port, protocol)."""

    interfaces: dict[int, bytes]
    ingress: int
    vips: dict[Address, Vip]
    services: dict[tuple[Address, int | None, int], Backend | None]
    denied: dict[tuple[Address, int | None, int], list[Network]] = field(default_factory=dict)
    denied_to_all: list[Network] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What is to become of a frame."""

    verdict: str
    reason: str
    frame: bytes


class Reference:
    """Decides frame after frame, remembering fragments as a balancer does."""

    def __init__(self, network: Knowledge) -> None:
        self.network = network
        self._first: dict[tuple[Any, ...], Backend | None] = {}

    def forget_fragments(self) -> None:
        """Forget where first fragments went."""
        self._first.clear()

    def decide(self, frame: bytes) -> Answer:
        """Return what is to become of a frame of at least an Ethernet header."""
        packet = Packet()
        kind, packet.tags, packet.priority, packet.l3 = kind_of(frame)
        if kind == _ARP:
            return self._arp(frame, packet)
        if kind not in (_IP4, _IP6):
            return _passed(frame, "not_ip")
        try:
            read = read_ipv4 if kind == _IP4 else read_ipv6
            read(frame, packet)
            if packet.place != "later":
                packet.ports = read_ports(frame, packet)
        except MalformedError:
            known = packet.destination in self.network.vips
            return _dropped(frame, "malformed") if known else _passed(frame, "not_vip")
        return self._ip(frame, packet)

    # -- packets

    def _ip(self, frame: bytes, packet: Packet) -> Answer:
        network = self.network
        vip = network.vips.get(packet.destination)
        if packet.place == "later":
            return self._later(frame, packet, vip)
        key = (packet.destination, packet.ports[1], packet.protocol)
        if key in network.services:
            return self._forward(frame, packet, key, "forwarded")
        asks = packet.protocol == (_ICMP if packet.version == 4 else _ICMP6)
        if asks and packet.version == 6:
            answer = self._solicitation(frame, packet)
            if answer is not None:
                return answer
        if vip is None:
            return _passed(frame, "not_vip")
        if asks:
            return self._icmp(frame, packet)
        every = (packet.destination, None, packet.protocol)
        if every in network.services:
            return self._forward(frame, packet, every, "forwarded")
        return _unserved(frame, vip)

    def _later(self, frame: bytes, packet: Packet, vip: Vip | None) -> Answer:
        if vip is None:
            return _passed(frame, "not_vip")
        backend = self._first.get(_identity(packet))
        if backend is not None:
            if not self._is_ours(frame):
                return _passed(frame, "not_our_mac")
            return self._deliver(frame, packet, backend, "forwarded_fragment")
        if vip.unserved == "pass":
            return _passed(frame, "unserved_passed")
        return _dropped(frame, "fragment")

    def _forward(
        self, frame: bytes, packet: Packet, key: tuple[Address, int | None, int], reason: str
    ) -> Answer:
        network = self.network
        if not self._is_ours(frame):
            return _passed(frame, "not_our_mac")
        for rules in (network.denied_to_all, network.denied.get(key, [])):
            if any(packet.source in denied for denied in rules):
                return _dropped(frame, "denied")
        backend = network.services[key]
        if backend is None:
            return _dropped(frame, "no_backend")
        answer = self._deliver(frame, packet, backend, reason)
        if answer.reason == "forwarded" and packet.place == "first":
            self._first[_identity(packet)] = backend
        return answer

    def _deliver(self, frame: bytes, packet: Packet, backend: Backend, reason: str) -> Answer:
        here = self.network.ingress
        own = self.network.interfaces.get(backend.ifindex)
        if not any(backend.mac) or backend.mac[0] & 1:
            return _dropped(frame, "no_mac")
        if own is None:
            return _dropped(frame, "other_interface")
        if backend.mac == own:
            return _dropped(frame, "no_mac")
        if frame[6:12] == backend.mac:
            return _dropped(frame, "bounced")
        header = backend.mac + own
        if packet.tags == backend.tags:
            header += frame[12 : packet.l3]
        else:
            for number, (protocol, vlan) in enumerate(backend.tags):
                control = vlan if number else vlan | packet.priority
                header += protocol.to_bytes(2, "big") + control.to_bytes(2, "big")
            header += frame[packet.l3 - 2 : packet.l3]
        verdict = "tx" if backend.ifindex == here else "redirect"
        return Answer(verdict, reason, header + frame[packet.l3 :])

    def _is_ours(self, frame: bytes) -> bool:
        return frame[:6] == self.network.interfaces[self.network.ingress]

    # -- ICMP

    def _icmp(self, frame: bytes, packet: Packet) -> Answer:
        if packet.place == "first":
            return _dropped(frame, "fragment")
        flow = flow_of_error(frame, packet)
        if flow is not None:
            for port in (flow.ports[1], None):
                key = (flow.destination, port, flow.protocol)
                if key in self.network.services:
                    return self._forward(frame, flow, key, "forwarded_error")
        return self._echo(frame, packet)

    def _echo(self, frame: bytes, packet: Packet) -> Answer:
        if min(len(frame), packet.end) < packet.l4 + 8:
            return _dropped(frame, "malformed")
        if not self._is_ours(frame):
            return _passed(frame, "not_our_mac")
        asked, answered = (8, 0) if packet.version == 4 else (128, 129)
        kind, code = frame[packet.l4], frame[packet.l4 + 1]
        if (kind, code) != (asked, 0) or packet.source == packet.destination:
            return _dropped(frame, "icmp_other")
        reply = bytearray(frame)
        reply[0:6], reply[6:12] = frame[6:12], frame[0:6]
        size, start = (4, packet.l3 + 12) if packet.version == 4 else (16, packet.l3 + 8)
        reply[start : start + size] = frame[start + size : start + 2 * size]
        reply[start + size : start + 2 * size] = frame[start : start + size]
        hops = packet.l3 + (8 if packet.version == 4 else 7)
        reply[hops], reply[packet.l4] = _HOPS, answered
        if packet.version == 4:
            _follow_sum(frame, reply, packet.l3 + 10, packet.l3 + 8)
        _follow_sum(frame, reply, packet.l4 + 2, packet.l4)
        return Answer("tx", "echo_answered", bytes(reply))

    # -- what a VIP is asked for

    def _asked(self, frame: bytes, address: Address) -> str:
        """Return yes, no, or that it was another who was asked."""
        vip = self.network.vips.get(address)
        if vip is None or not vip.arp:
            return "no"
        return "yes" if frame[0] & 1 or self._is_ours(frame) else "another"

    def _arp(self, frame: bytes, packet: Packet) -> Answer:
        octets = frame[packet.l3 : packet.l3 + 28]
        # Ethernet, IPv4, addresses of 6 and 4 bytes, a request; else fields are elsewhere.
        if len(octets) < 28 or octets[:8] != bytes.fromhex("0001080006040001"):
            return _passed(frame, "not_ip")
        arp = own_fields(ARP, octets)
        if arp.psrc == arp.pdst:
            return _passed(frame, "not_ip")
        asked = self._asked(frame, IPv4Address(arp.pdst))
        if asked != "yes":
            return _passed(frame, "not_ip" if asked == "no" else "not_our_mac")
        own = self.network.interfaces[self.network.ingress]
        sender, start = frame[packet.l3 + 8 : packet.l3 + 14], packet.l3
        ip_sender, ip_target = frame[start + 14 : start + 18], frame[start + 24 : start + 28]
        answer = frame[start : start + 6] + b"\0\2" + own + ip_target + sender + ip_sender
        return Answer(
            "tx", "arp_answered", sender + own + frame[12:start] + answer + frame[start + 28 :]
        )

    def _solicitation(self, frame: bytes, packet: Packet) -> Answer | None:
        start = packet.l3 + 40
        message = frame[start : start + 24]
        ip = own_fields(IPv6, frame[packet.l3 : start])
        if (
            len(message) < 24
            or ip.nh != _ICMP6
            or (message[0], message[1], ip.hlim) != (_SOLICITATION, 0, 255)
            or ip.plen < 24
        ):
            return None
        target = IPv6Address(message[8:24])
        asked = self._asked(frame, target)
        if asked != "yes":
            return None if asked == "no" else _passed(frame, "not_our_mac")
        return Answer("tx", "nd_answered", self._advertisement(frame, packet, target))

    def _advertisement(self, frame: bytes, packet: Packet, target: IPv6Address) -> bytes:
        own = self.network.interfaces[self.network.ingress]
        to, mac, flags = packet.source, frame[6:12], 0x60
        if to == IPv6Address("::"):
            to, mac, flags = IPv6Address("ff02::1"), bytes.fromhex("333300000001"), 0x20
        body = bytes([136, 0, 0, 0, flags, 0, 0, 0]) + target.packed + b"\x02\x01" + own
        pseudo = target.packed + to.packed + len(body).to_bytes(4, "big") + bytes([0, 0, 0, _ICMP6])
        total = _residue(pseudo + body)
        body = body[:2] + (0xFFFF - total if total else 0xFFFF).to_bytes(2, "big") + body[4:]
        header = frame[packet.l3 : packet.l3 + 4] + len(body).to_bytes(2, "big")
        header += frame[packet.l3 + 6 : packet.l3 + 8] + target.packed + to.packed
        return mac + own + frame[12 : packet.l3] + header + body


def _identity(packet: Packet) -> tuple[Any, ...]:
    protocol = packet.protocol if packet.version == 4 else None
    return packet.source, packet.destination, packet.identity, protocol


def _passed(frame: bytes, reason: str) -> Answer:
    return Answer("pass", reason, frame)


def _dropped(frame: bytes, reason: str) -> Answer:
    return Answer("drop", reason, frame)


def _unserved(frame: bytes, vip: Vip) -> Answer:
    if vip.unserved == "pass":
        return _passed(frame, "unserved_passed")
    return _dropped(frame, "unserved_dropped" if vip.unserved == "drop" else "no_service")


def _residue(octets: Sequence[int] | bytes) -> int:
    """Return the one's complement sum of 16-bit words, 0 to 0xfffe."""
    raw = bytes(octets)
    raw += bytes(len(raw) % 2)
    return sum(int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)) % 0xFFFF


def _follow_sum(before: bytes, after: bytearray, at: int, word: int) -> None:
    """Change a checksum as one word that it covers was changed: right stays right, wrong wrong."""
    old, new = (int.from_bytes(octets[word : word + 2], "big") for octets in (before, after))
    checksum = (int.from_bytes(before[at : at + 2], "big") + old - new) % 0xFFFF
    after[at : at + 2] = checksum.to_bytes(2, "big")


def same_frame(one: bytes, other: bytes) -> bool:
    """Compare frames, taking the two forms of zero in a checksum for one (RFC 1624)."""
    if one == other:
        return True
    if len(one) != len(other):
        return False
    differing = [at for at in range(len(one)) if one[at] != other[at]]
    return all(
        {one[start : start + 2], other[start : start + 2]} == {b"\0\0", b"\xff\xff"}
        for start in {at - at % 2 for at in differing}
    )
