"""The desired settings of a backend, and facts about its network. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Union

from pydsr.model.errors import InputError

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

LOOPBACK = "lo"
EVERY_INTERFACE = "all"
"""The kernel's name for a setting that applies to all interfaces."""

_MAX_NAME = 15
"""IFNAMSIZ of linux/if.h, without the terminating zero."""


def parse_vip(text: str) -> Address:
    """Parse a virtual IP.

    Raises:
        InputError: it is not an address, or not one that a service can have.
    """
    try:
        vip = ipaddress.ip_address(text)
    except ValueError:
        hint = "write it as 192.0.2.10 or 2001:db8::10"
        if "/" in text:
            hint = "write it without a prefix length: a VIP is one address"
        raise InputError(f"{text!r} is not an IP address", hint) from None
    mapped = vip.ipv4_mapped if isinstance(vip, ipaddress.IPv6Address) else None
    kinds = {
        "the unspecified address": vip.is_unspecified,
        "a loopback address": vip.is_loopback,
        "a multicast address": vip.is_multicast,
        "a link-local address": vip.is_link_local,
        "the broadcast address": vip == ipaddress.IPv4Address("255.255.255.255"),
        f"an IPv4-mapped address of {mapped}": mapped is not None,
        "an address with a zone": "%" in text,
    }
    for kind, applies in kinds.items():
        if applies:
            raise InputError(f"{text!r} is {kind}", "a VIP is an address that clients can reach")
    return vip


def parse_interface(text: str) -> str:
    """Return a valid name of an interface, which may not exist."""
    if not re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{_MAX_NAME}}}", text) or re.fullmatch(
        r"\.{1,2}|-.*|all|default", text
    ):
        raise InputError(
            f"{text!r} is not the name of an interface",
            f"use up to {_MAX_NAME} letters, digits and _.-",
        )
    return text


@dataclass(frozen=True)
class BackendSpec:
    """The desired settings of a backend.

    Attributes:
        vips: the addresses it accepts packets for, without announcing them.
        device: the device with the VIPs: the loopback, or a dummy that setup creates.
        interfaces: where the balancer's packets arrive, on a host with several interfaces whose
            reverse path filter would drop them.
    """

    vips: tuple[Address, ...]
    device: str = LOOPBACK
    interfaces: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, vips: Iterable[str], device: str = LOOPBACK, interfaces: Iterable[str] = ()
    ) -> BackendSpec:
        """Return the spec of a command line, without duplicates."""
        return cls(
            tuple(dict.fromkeys(parse_vip(vip) for vip in vips)),
            parse_interface(device),
            tuple(dict.fromkeys(parse_interface(interface) for interface in interfaces)),
        )

    def of(self, version: int) -> tuple[Address, ...]:
        """Return the VIPs of an IP version."""
        return tuple(vip for vip in self.vips if vip.version == version)


class Setting(NamedTuple):
    """A sysctl of an interface: ``net.ipv4.conf.INTERFACE.NAME``."""

    version: int
    interface: str
    name: str

    @property
    def path(self) -> str:
        """Its file below /proc/sys, which sysctl and sysctl.d accept as a name, too."""
        return f"net/ipv{self.version}/conf/{self.interface}/{self.name}"

    def __str__(self) -> str:
        """Return its name for sysctl and sysctl.d, with dots where they are not ambiguous."""
        return self.path if "." in self.interface else self.path.replace("/", ".")

    @classmethod
    def parse(cls, path: str) -> Setting:
        """Parse a path; ValueError if it is not the path of an interface's setting."""
        match = re.fullmatch(r"net/ipv([46])/conf/([^/\s]+)/([a-z_0-9]+)", path)
        if match is None or match[2] in (".", ".."):
            raise ValueError(path)
        return cls(int(match[1]), match[2], match[3])


class Assigned(NamedTuple):
    """An address of an interface, with its prefix length."""

    address: Address
    length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    @classmethod
    def alone(cls, vip: Address) -> Assigned:
        """Return a VIP with the longest prefix, which a backend needs: it adds no network."""
        return cls(vip, vip.max_prefixlen)

    @classmethod
    def parse(cls, text: str) -> Assigned:
        """Parse a text such as ``192.0.2.10/32``."""
        interface = ipaddress.ip_interface(text)
        return cls(interface.ip, interface.network.prefixlen)


@dataclass(frozen=True)
class Interface:
    """An interface; it announces its addresses by ARP and ND unless it is a loopback or dummy."""

    name: str
    is_up: bool
    announces: bool
    addresses: tuple[Assigned, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Facts about a backend's network.

    Attributes:
        interfaces: by name.
        settings: the relevant sysctls; one that is missing does not exist in this kernel.
        filtering: interfaces whose rp_filter drops packets of clients behind routers, because
            the route to those clients leads elsewhere.
        dropping_chains: nftables input chains that drop by default.
    """

    interfaces: Mapping[str, Interface]
    settings: Mapping[Setting, int]
    filtering: frozenset[str] = frozenset()
    dropping_chains: tuple[str, ...] = ()

    def holders(self, vip: Address) -> list[tuple[Interface, Assigned]]:
        """Return the interfaces that have an address, each with its prefix length."""
        return [
            (interface, assigned)
            for interface in self.interfaces.values()
            for assigned in interface.addresses
            if assigned.address == vip
        ]

    @property
    def announcing(self) -> list[str]:
        """The interfaces that answer ARP, by name."""
        return [name for name, interface in self.interfaces.items() if interface.announces]
