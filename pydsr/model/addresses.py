"""Addresses and endpoints: IP, MAC, VLAN tags, VIP with port and protocol.

Text forms are as on the command line: ``ADDR:PORT[/tcp|/udp|/sctp]`` for an endpoint.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from functools import total_ordering

from pydsr.model.errors import InputError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

EVERY_PORT = 0
"""The port of a service for all ports of its VIP that have no service of their own."""

VLAN_8021Q = 0x8100
VLAN_8021AD = 0x88A8
"""EtherTypes of the inner (customer) and outer (provider) VLAN tag, IEEE 802.1Q."""


MAX_VLAN = 4094
MAX_TAGS = 2

_PORT = re.compile("[0-9]{1,5}")
_VLAN = re.compile("[0-9]{1,4}")
_MAC = re.compile("[:-]".join(["[0-9A-Fa-f]{2}"] * 6))


class Protocol(StrEnum):
    """A transport protocol that services can have."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"

    @property
    def marks_new_flows(self) -> bool:
        """Whether packets mark new flows: TCP by SYN, SCTP by INIT."""
        return self is not Protocol.UDP


def family_of(address: IPAddress) -> int:
    """Return the address family of sockets and netlink for an address."""
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def parse_address(text: str) -> IPAddress:
    """Parse an IP address that a host can have.

    Raises:
        InputError: the text is not an address, or is an unspecified, loopback, multicast, broadcast
            or IPv4-mapped one.
    """
    try:
        # inet_pton is in C and fast, which counts in files with thousands of addresses.
        address: IPAddress = ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise InputError(
                f"{text!r} is not an IP address", "write it as 192.0.2.10 or 2001:db8::10"
            ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise InputError(f"{text!r} has a zone", "write the address without %zone")
        if address.ipv4_mapped is not None:
            raise InputError(f"{text!r} is an IPv4-mapped address", f"write {address.ipv4_mapped}")
    kind = _special_kind(address)
    if kind:
        raise InputError(f"{text!r} is {kind}", "a host's own unicast address is needed")
    return address


def _special_kind(address: IPAddress) -> str:
    """Return the kind of an address that no host can have, or an empty text."""
    # Comparing numbers is several times faster than the properties of ipaddress.
    number = int(address)
    if address.version == 4:
        loopback, multicast = number >> 24 == 127, number >> 28 == 0xE
    else:
        loopback, multicast = number == 1, number >> 120 == 0xFF
    if number == 0:
        return "the unspecified address"
    if loopback:
        return "a loopback address"
    if multicast:
        return "a multicast address"
    return "the broadcast address" if number == 0xFFFFFFFF and address.version == 4 else ""


@total_ordering
@dataclass(frozen=True)
class Endpoint:
    """The virtual IP, port and protocol of a service."""

    address: IPAddress
    port: int
    protocol: Protocol = Protocol.TCP

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``ADDR:PORT[/tcp|/udp|/sctp]``, ``[V6]:PORT…``; PORT ``*`` is every port.

        Raises:
            InputError: the text is not an endpoint; the message names the wrong part.
        """
        form = "write it as 198.51.100.10:80, 198.51.100.10:53/udp or [2001:db8::10]:80"
        place, _, protocol_text = text.partition("/")
        host, colon, port_text = place.rpartition(":")
        if not colon or not host:
            raise InputError(f"{text!r} is not an endpoint: no port", form)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if ":" not in host:
                raise InputError(f"{text!r}: brackets are for IPv6 addresses", form)
        elif ":" in host:
            raise InputError(f"{text!r}: an IPv6 address needs brackets", form)
        try:
            protocol = Protocol(protocol_text) if "/" in text else Protocol.TCP
        except ValueError:
            raise InputError(
                f"{text!r}: unknown protocol {protocol_text!r}", "use tcp, udp or sctp"
            ) from None
        if port_text == "*":
            return cls(parse_address(host), EVERY_PORT, protocol)
        if not _PORT.fullmatch(port_text) or not 1 <= int(port_text) <= 65535:
            raise InputError(
                f"{text!r}: the port must be a number from 1 to 65535, or * for every port", form
            )
        return cls(parse_address(host), int(port_text), protocol)

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port or '*'}/{self.protocol}"

    def __lt__(self, other: Endpoint) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, int, int, str]:
        """The key to sort by; sorting many endpoints by it is faster than comparing them."""
        return (self.address.version, int(self.address), self.port, self.protocol)


@dataclass(frozen=True, order=True)
class MacAddress:
    """A 48-bit Ethernet address; ``octets`` is in transmission order."""

    octets: bytes

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Parse ``aa:bb:cc:dd:ee:ff`` (or with dashes).

        Raises:
            InputError: the text is malformed, or the address zero or multicast.
        """
        if not _MAC.fullmatch(text):
            raise InputError(f"{text!r} is not a MAC address", "write it as 02:00:00:00:00:01")
        mac = cls(bytes.fromhex(text.replace(":", "").replace("-", "")))
        if not mac.is_unicast:
            raise InputError(
                f"{text!r} is a {'multicast' if any(mac.octets) else 'zero'} MAC address",
                "a backend has a unicast one; `ip link` on the backend shows it",
            )
        return mac

    @property
    def is_unicast(self) -> bool:
        """Whether a single host can have this address."""
        return any(self.octets) and not self.octets[0] & 1

    def __str__(self) -> str:
        return self.octets.hex(":")


@dataclass(frozen=True, order=True)
class Tag:
    """A VLAN tag: its EtherType and the VLAN."""

    protocol: int
    vlan: int


def parse_tags(text: str) -> tuple[Tag, ...]:
    """Parse ``200``, or ``100.200`` with the outer VLAN (of a provider, 802.1ad) first.

    Raises:
        InputError: the text names no VLAN, or more than two.
    """
    numbers = text.split(".")
    if len(numbers) > MAX_TAGS or not all(
        _VLAN.fullmatch(number) and 1 <= int(number) <= MAX_VLAN for number in numbers
    ):
        raise InputError(
            f"{text!r} is not a VLAN", f"write it as 200, or as 100.200; each from 1 to {MAX_VLAN}"
        )
    protocols = (VLAN_8021Q,) if len(numbers) == 1 else (VLAN_8021AD, VLAN_8021Q)
    return tuple(Tag(p, int(number)) for p, number in zip(protocols, numbers, strict=True))


def format_tags(tags: tuple[Tag, ...]) -> str:
    """Return tags as :func:`parse_tags` reads them; an empty text for none."""
    return ".".join(str(tag.vlan) for tag in tags)


@dataclass(frozen=True)
class Place:
    """Where a backend's frames go: its MAC, the interface that leads to it, its VLAN tags."""

    mac: MacAddress
    ifindex: int
    tags: tuple[Tag, ...] = ()
