"""The hosts of a lab, their names and addresses. Pure.

Namespaces are isolated, so every lab uses the same addresses::

    10.77.0.1    fd77::1     lb          10.77.0.80   fd77::80    the VIPs
    10.77.0.2    fd77::2     lb2
    10.77.0.11   fd77::11    backend1    10.77.0.101  fd77::101   client1
    10.77.0.12   fd77::12    backend2    10.77.0.102  fd77::102   client2

The network is a /23, so that two hundred clients and backends fit: backend 70 and later have
addresses from 10.77.1.114 on, after the VIP and the last client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.errors import InputError

NETWORK4 = IPv4Network("10.77.0.0/23")
NETWORK6 = IPv6Network("fd77::/64")
VIP4 = IPv4Address("10.77.0.80")
VIP6 = IPv6Address("fd77::80")
SERVICES = (Endpoint(VIP4, 80), Endpoint(VIP6, 80))
"""The services of the lab's balancer: HTTP over IPv4 and IPv6."""

MAX_HOSTS = 200
"""The largest number of backends, and of clients."""

MAX_BALANCERS = 9

RECORDS = Path("/run/pydsr-lab")
"""The directory with the records of all labs."""

_BPFFS = Path("/sys/fs/bpf")
_LAST_BACKEND_BELOW_VIP = 69


class Role(StrEnum):
    """The role of a host, which its name begins with."""

    BALANCER = "lb"
    CLIENT = "client"
    BACKEND = "backend"


@dataclass(frozen=True)
class Host:
    """A host of the lab; ``number`` is its offset in the networks, as in 10.77.0.NUMBER."""

    name: str
    role: Role
    number: int

    @property
    def address4(self) -> IPv4Address:
        """The host's IPv4 address."""
        return NETWORK4.network_address + self.number

    @property
    def address6(self) -> IPv6Address:
        """The host's IPv6 address, with the number's decimal digits: 101 is ``fd77::101``."""
        return NETWORK6.network_address + int(str(self.number), 16)

    @property
    def mac(self) -> MacAddress:
        """A locally administered address that contains the IPv4 address."""
        return MacAddress(b"\x02\x77" + self.address4.packed)

    def address_for(self, endpoint: Endpoint) -> IPv4Address | IPv6Address:
        """Return the address with the IP version of an endpoint."""
        return self.address4 if endpoint.address.version == 4 else self.address6


@dataclass(frozen=True)
class Topology:
    """The hosts of a lab around one switch.

    Args:
        name: 1 to 20 of ``a-z0-9-``; it is part of the namespaces' names.
        backends, clients: the number of hosts, 1 to 200.
        balancers: the number of balancers, 1 to 9: ``lb``, ``lb2`` and so on.
    """

    name: str
    backends: int = 3
    clients: int = 1
    balancers: int = 1

    def __post_init__(self) -> None:
        check_name(self.name)
        for what, count, most in (
            ("backends", self.backends, MAX_HOSTS),
            ("clients", self.clients, MAX_HOSTS),
            ("balancers", self.balancers, MAX_BALANCERS),
        ):
            if not 1 <= count <= most:
                raise InputError(f"a lab cannot have {count} {what}", f"use 1 to {most}")

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts: the balancers, the clients, the backends."""
        return tuple(host for role in Role for host in self.hosts_of(role))

    def hosts_of(self, role: Role) -> tuple[Host, ...]:
        """Return the hosts of a role, ordered by number."""
        if role is Role.BALANCER:
            numbers = range(1, self.balancers + 1)
            return tuple(Host(f"lb{n}" if n > 1 else "lb", role, n) for n in numbers)
        if role is Role.CLIENT:
            return tuple(Host(f"client{n}", role, 100 + n) for n in range(1, self.clients + 1))
        return tuple(
            Host(f"backend{n}", role, (10 if n <= _LAST_BACKEND_BELOW_VIP else 300) + n)
            for n in range(1, self.backends + 1)
        )

    @property
    def switch(self) -> str:
        """The namespace of the switch that connects all hosts."""
        return namespace_of(self.name, "switch")

    def namespace(self, host: str) -> str:
        """Return the namespace of a host."""
        if all(host != known.name for known in self.hosts):
            raise InputError(
                f"the lab {self.name!r} has no host {host!r}", "hosts are lb, client1…, backend1…"
            )
        return namespace_of(self.name, host)


def check_name(name: str) -> None:
    """Refuse a name that is not 1 to 20 of ``a-z0-9-``."""
    if not re.fullmatch(r"[a-z0-9-]{1,20}", name):
        raise InputError(
            f"{name!r} cannot be a lab's name", "use 1 to 20 of the characters a-z, 0-9 and -"
        )


def namespace_of(lab: str, host: str) -> str:
    """Return the name of the network namespace of a lab's host (or switch)."""
    return f"pydsr-{lab}-{host}"


def records_of(lab: str) -> Path:
    """Return the directory with the records of a lab, which also claims its name."""
    return RECORDS / lab


def bpffs_of(lab: str) -> Path:
    """Return the directory with the pins of a lab's balancer."""
    return _BPFFS / f"pydsr-{lab}"


def belongs_to(lab: str, namespace: str) -> bool:
    """Return whether a namespace belongs to a lab; lab ``a`` does not include lab ``a-b``."""
    hosts = r"(switch|lb[2-9]?|client[0-9]+|backend[0-9]+)"
    return re.fullmatch(namespace_of(re.escape(lab), hosts), namespace) is not None
