"""What is wished of a backend, and what is found there. Values only, no kernel."""

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
"""The name under which the kernel keeps a setting for all interfaces."""

_LONGEST_NAME = 15
"""IFNAMSIZ of linux/if.h has 16 bytes, one for the end."""


def parse_vip(text: str) -> Address:
    """Parse a virtual IP.

    Raises:
        InputError: it is no address, or one that no service can have.
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
    """Check the name of an interface.

    Raises:
        InputError: no interface can have it.
    """
    if not re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{_LONGEST_NAME}}}", text) or re.fullmatch(
        r"\.{1,2}|-.*|all|default", text
    ):
        raise InputError(
            f"{text!r} cannot be the name of an interface",
            f"use up to {_LONGEST_NAME} letters, digits and _.-",
        )
    return text


@dataclass(frozen=True)
class Wish:
    """What a backend is to be.

    Attributes:
        vips: the addresses it is to take packets for, without announcing them.
        device: what is to have them: the loopback, or a dummy that is made if it is not there.
        interfaces: by which the balancer's packets come in, where the host has several and
            filters by reverse path; none: where nothing is to be done about that.
    """

    vips: tuple[Address, ...]
    device: str = LOOPBACK
    interfaces: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, vips: Iterable[str], device: str = LOOPBACK, interfaces: Iterable[str] = ()
    ) -> Wish:
        """Return the wish of a command line; what is said twice counts once.

        Raises:
            InputError: something of it cannot be.
        """
        return cls(
            tuple(dict.fromkeys(parse_vip(vip) for vip in vips)),
            parse_interface(device),
            tuple(dict.fromkeys(parse_interface(interface) for interface in interfaces)),
        )

    def of(self, version: int) -> tuple[Address, ...]:
        """Return the VIPs of a version of IP."""
        return tuple(vip for vip in self.vips if vip.version == version)


class Setting(NamedTuple):
    """A sysctl of an interface: ``net.ipv4.conf.INTERFACE.NAME``."""

    version: int
    interface: str
    name: str

    @property
    def path(self) -> str:
        """Its file below /proc/sys; with slashes, sysctl and sysctl.d take it as well."""
        return f"net/ipv{self.version}/conf/{self.interface}/{self.name}"

    def __str__(self) -> str:
        """Return it as sysctl and sysctl.d read it, with dots where those are not ambiguous."""
        return self.path if "." in self.interface else self.path.replace("/", ".")

    @classmethod
    def parse(cls, path: str) -> Setting:
        """Return the setting of a path.

        Raises:
            ValueError: it is none of an interface.
        """
        found = re.fullmatch(r"net/ipv([46])/conf/([^/\s]+)/([a-z_0-9]+)", path)
        if found is None or found[2] in (".", ".."):
            raise ValueError(path)
        return cls(int(found[1]), found[2], found[3])


class Assigned(NamedTuple):
    """An address of an interface with the length of its prefix, in bits."""

    address: Address
    length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    @classmethod
    def alone(cls, vip: Address) -> Assigned:
        """Return a VIP as it has to be assigned: without any network around it."""
        return cls(vip, vip.max_prefixlen)

    @classmethod
    def parse(cls, text: str) -> Assigned:
        """Return the address of a text such as ``192.0.2.10/32``.

        Raises:
            ValueError: it is none.
        """
        found = ipaddress.ip_interface(text)
        return cls(found.ip, found.network.prefixlen)


@dataclass(frozen=True)
class Interface:
    """An interface as it is found.

    Attributes:
        name: its name.
        is_up: whether it is set up.
        announces: whether it answers ARP and neighbour discovery for its addresses; loopbacks
            and dummies do not.
        addresses: what it has.
    """

    name: str
    is_up: bool
    announces: bool
    addresses: tuple[Assigned, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A backend's network as it is found.

    Attributes:
        interfaces: by name.
        settings: the values of the sysctls that matter; a setting that is not here is not in
            this kernel.
        refusing: the interfaces that drop packets of clients behind routers, because routes to
            those lead elsewhere (rp_filter).
        dropping_chains: chains of nftables for what comes in which drop what they do not accept.
    """

    interfaces: Mapping[str, Interface]
    settings: Mapping[Setting, int]
    refusing: frozenset[str] = frozenset()
    dropping_chains: tuple[str, ...] = ()

    def holders(self, vip: Address) -> list[tuple[Interface, Assigned]]:
        """Return the interfaces that have an address, and how."""
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
