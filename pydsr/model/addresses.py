"""Addresses and endpoints: IP, MAC, VLAN tags, VIP with port and protocol.

Text forms are those of the command line: ``ADDR:PORT[/tcp|/udp|/sctp]`` for an endpoint.
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

_MAC = re.compile("[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")


class Protocol(StrEnum):
    """A transport protocol that can be balanced."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"

    @property
    def tells_new_flows(self) -> bool:
        """Whether a packet says that it opens a flow: a SYN, an INIT."""
        return self is not Protocol.UDP


def parse_address(text: str) -> IPAddress:
    """Parse an IP address, refusing those that no host can have.

    Raises:
        InputError: not an address, or unspecified, loopback, multicast or broadcast,
            or an IPv4-mapped IPv6 address.
    """
    try:
        # In C, which counts in files of many thousands; what it refuses is read at leisure.
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
            raise InputError(f"{text!r} carries a zone", "name the address without %zone")
        if address.ipv4_mapped is not None:
            raise InputError(f"{text!r} is an IPv4-mapped address", f"write {address.ipv4_mapped}")
    kind = _not_a_hosts(address)
    if kind:
        raise InputError(f"{text!r} is {kind}", "a host's own unicast address is needed")
    return address


def _not_a_hosts(address: IPAddress) -> str:
    """Return what an address is that no host can have; empty for one that a host can."""
    # By the number, which is several times faster than by the properties of ipaddress.
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
    """A virtual IP, port and protocol: what a service listens on."""

    address: IPAddress
    port: int
    protocol: Protocol = Protocol.TCP

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``ADDR:PORT[/tcp|/udp|/sctp]``, ``[V6]:PORT…``; PORT ``*`` is every port.

        Raises:
            InputError: the text is no endpoint; the message says which part is wrong.
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
                f"{text!r}: {protocol_text!r} is no protocol pydsr balances", "use tcp, udp or sctp"
            ) from None
        if port_text == "*":
            return cls(parse_address(host), EVERY_PORT, protocol)
        if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
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
        """What endpoints are sorted by; as the key of many, faster than to compare those."""
        return (self.address.version, int(self.address), self.port, self.protocol)


@dataclass(frozen=True, order=True)
class MacAddress:
    """A 48-bit Ethernet address; ``octets`` is in transmission order."""

    octets: bytes

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Parse ``aa:bb:cc:dd:ee:ff`` (or with dashes).

        Raises:
            InputError: malformed, zero, or multicast: no backend can have it.
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
    """A VLAN tag: the EtherType that announces it, and the VLAN."""

    protocol: int
    vlan: int


def parse_tags(text: str) -> tuple[Tag, ...]:
    """Parse ``200``, or ``100.200`` with the outer VLAN (of a provider, 802.1ad) first.

    Raises:
        InputError: no VLANs, or more than a frame carries.
    """
    numbers = text.split(".")
    if len(numbers) > MAX_TAGS or not all(
        re.fullmatch(r"[0-9]{1,4}", number) and 1 <= int(number) <= MAX_VLAN for number in numbers
    ):
        raise InputError(
            f"{text!r} names no VLAN", f"write it as 200, or as 100.200; each from 1 to {MAX_VLAN}"
        )
    protocols = (VLAN_8021Q,) if len(numbers) == 1 else (VLAN_8021AD, VLAN_8021Q)
    return tuple(Tag(p, int(number)) for p, number in zip(protocols, numbers, strict=True))


def format_tags(tags: tuple[Tag, ...]) -> str:
    """Return tags in the form that :func:`parse_tags` reads; empty for none."""
    return ".".join(str(tag.vlan) for tag in tags)


@dataclass(frozen=True)
class Place:
    """Where a backend's frames go: its MAC, the interface it is behind, the tags it takes."""

    mac: MacAddress
    ifindex: int
    tags: tuple[Tag, ...] = ()
