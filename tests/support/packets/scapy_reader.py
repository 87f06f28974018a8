"""Read frames with scapy, one layer at a time, for ``reference.py``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether

Address = IPv4Address | IPv6Address
Tags = tuple[tuple[int, int], ...]

_TAGGED = (0x8100, 0x88A8)
_TCP, _UDP, _FRAGMENT, _SCTP = 6, 17, 44, 132
_OPTIONS_HEADERS = (0, 43, 60)
_MOST_EXTENSIONS, _FURTHEST_L4 = 6, 1023
_LEAST_L4 = {_TCP: 20, _UDP: 8, _SCTP: 16}
_NOBODY = IPv4Address(0)


@dataclass
class Packet:
    """A packet as it was read; offsets are of the frame."""

    tags: Tags = ()
    priority: int = 0
    l3: int = 14
    version: int = 4
    source: Address = _NOBODY
    destination: Address = _NOBODY
    protocol: int = 0
    l4: int = 0
    end: int = 0
    place: str = "whole"  # or first, later
    identity: int = 0
    ports: tuple[int, int] = (0, 0)


class MalformedError(Exception):
    """The headers cannot be those of an intact packet."""


def own_fields(layer: Any, octets: bytes) -> Any:
    """Read one layer's own fields, and nothing behind them."""
    read = layer()
    read.do_dissect(octets)
    return read


def _plain(address: IPv6Address) -> Address:
    return address.ipv4_mapped or address


def kind_of(frame: bytes) -> tuple[int, Tags, int, int]:
    """Return the EtherType behind up to two tags, these, the priority bits, and where it ends."""
    kind, offset, priority = own_fields(Ether, frame[:14]).type, 14, 0
    tags: list[tuple[int, int]] = []
    while kind in _TAGGED and len(tags) < 2:
        if len(frame) < offset + 4:
            return 0, (), 0, 14
        tag = own_fields(Dot1Q, frame[offset : offset + 4])
        if not tags:
            priority = int.from_bytes(frame[offset : offset + 2], "big") & 0xF000
        tags.append((kind, tag.vlan))
        kind, offset = tag.type, offset + 4
    return kind, tuple(tags), priority, offset


def read_ipv4(frame: bytes, packet: Packet) -> None:
    """Fill in what an IPv4 header says.

    Raises:
        MalformedError: it is cut short, or contradicts the frame.
    """
    if len(frame) < packet.l3 + 20:
        raise MalformedError
    ip = own_fields(IP, frame[packet.l3 : packet.l3 + 20])
    packet.source, packet.destination = IPv4Address(ip.src), IPv4Address(ip.dst)
    packet.protocol = ip.proto
    packet.l4 = packet.l3 + 4 * ip.ihl
    packet.end = packet.l3 + ip.len
    if ip.frag:
        packet.place = "later"
    elif "MF" in str(ip.flags):
        packet.place = "first"
    packet.identity = ip.id
    if ip.version != 4 or ip.ihl < 5 or packet.end < packet.l4 or packet.end > len(frame):
        raise MalformedError


def read_ipv6(frame: bytes, packet: Packet) -> None:
    """Fill in what an IPv6 header says, and those behind it up to the transport's.

    Raises:
        MalformedError: they are cut short, or contradict the frame.
    """
    packet.version = 6
    packet.destination = IPv6Address(0)
    if len(frame) < packet.l3 + 40:
        raise MalformedError
    ip = own_fields(IPv6, frame[packet.l3 : packet.l3 + 40])
    packet.source, destination = _plain(IPv6Address(ip.src)), IPv6Address(ip.dst)
    packet.destination = _plain(destination)
    packet.protocol = ip.nh
    packet.l4 = packet.l3 + 40
    packet.end = packet.l4 + ip.plen
    _skip_extensions(frame, packet)
    if ip.version != 6 or destination.ipv4_mapped or packet.end > len(frame):
        raise MalformedError


def _skip_extensions(frame: bytes, packet: Packet) -> None:
    """Go on to the transport's header; what has too many of them keeps the number of the last."""
    for _ in range(_MOST_EXTENSIONS):
        if packet.protocol == _FRAGMENT:
            if len(frame) < packet.l4 + 8:
                raise MalformedError
            header = own_fields(IPv6ExtHdrFragment, frame[packet.l4 : packet.l4 + 8])
            packet.protocol, packet.identity = header.nh, header.id
            packet.l4 += 8
            if header.offset:
                packet.place = "later"
                return
            if header.m:
                packet.place = "first"
        elif packet.protocol in _OPTIONS_HEADERS:
            if len(frame) < packet.l4 + 2:
                raise MalformedError
            packet.protocol, length = frame[packet.l4], frame[packet.l4 + 1]
            packet.l4 += 8 * (length + 1)
        else:
            return
        if packet.l4 > _FURTHEST_L4:
            raise MalformedError


def read_ports(frame: bytes, packet: Packet) -> tuple[int, int]:
    """Return source and destination port; zeros where the protocol has none.

    Raises:
        MalformedError: the header is cut short.
    """
    least = _LEAST_L4.get(packet.protocol)
    if least is None:
        return (0, 0)
    if min(len(frame), packet.end) < packet.l4 + least:
        raise MalformedError
    # All three begin with the ports.
    header = own_fields(UDP, frame[packet.l4 : packet.l4 + 8])
    return header.sport, header.dport


def flow_of_error(frame: bytes, error: Packet) -> Packet | None:
    """Return the client's packet whose answer an ICMP error is about, as the error is framed."""
    octets = frame[error.l4 : error.l4 + 4]
    if not octets:
        return None
    known = (3, 11, 12) if error.version == 4 else (1, 2, 3, 4)
    if own_fields(ICMP, octets.ljust(32, b"\0")).type not in known:
        return None
    inner = Packet(tags=error.tags, priority=error.priority, l3=error.l4 + 8)
    quoted = frame[: error.end]
    try:
        if error.version == 4:
            _read_quoted_ipv4(quoted, inner)
        else:
            _read_quoted_ipv6(quoted, inner)
    except MalformedError:
        return None
    ports = quoted[inner.l4 : inner.l4 + 4]
    if inner.place == "later" or len(ports) < 4 or inner.l4 > _FURTHEST_L4:
        return None
    # What the VIP sent is what it is about; so client and VIP change places.
    inner.source, inner.destination = inner.destination, inner.source
    inner.ports = int.from_bytes(ports[2:4], "big"), int.from_bytes(ports[0:2], "big")
    if inner.destination != error.destination:
        return None
    inner.l3, inner.place = error.l3, "whole"
    return inner


def _read_quoted_ipv4(quoted: bytes, inner: Packet) -> None:
    if len(quoted) < inner.l3 + 20:
        raise MalformedError
    ip = own_fields(IP, quoted[inner.l3 : inner.l3 + 20])
    if ip.version != 4 or ip.ihl < 5 or ip.frag:
        raise MalformedError
    inner.source, inner.destination = IPv4Address(ip.src), IPv4Address(ip.dst)
    inner.protocol, inner.l4 = ip.proto, inner.l3 + 4 * ip.ihl


def _read_quoted_ipv6(quoted: bytes, inner: Packet) -> None:
    if len(quoted) < inner.l3 + 40:
        raise MalformedError
    ip = own_fields(IPv6, quoted[inner.l3 : inner.l3 + 40])
    if ip.version != 6:
        raise MalformedError
    inner.source, inner.destination = _plain(IPv6Address(ip.src)), _plain(IPv6Address(ip.dst))
    inner.protocol, inner.l4 = ip.nh, inner.l3 + 40
    if inner.l4 > _FURTHEST_L4:
        raise MalformedError
    _skip_extensions(quoted, inner)
