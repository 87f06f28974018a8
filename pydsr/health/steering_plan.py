"""Which rules, routes and neighbours bring a marked socket to the VIP on one backend. Pure.

Each route to a backend has a number, which is in a firewall mark and the table of that name::

    ip rule add pref 440 not fwmark 0x70440000/0xffff0000 goto 442
    ip rule add pref 441 fwmark 0x70440001 lookup 0x70440001
    ip rule add pref 442 nop
    ip route add VIP via BACKEND dev IF onlink table 0x70440001 hoplimit 1
    ip route add BACKEND dev IF table 0x70440001
    ip route add prohibit default table 0x70440001 metric 4278190080

- The first rule takes all other traffic past the rest, however many backends there are.
- ``hoplimit 1`` is enough for a host on the same network. A backend that lacks the VIP and
  forwards the packet has to say that its time is exceeded, and cannot have another backend
  answer by way of the balancer, which would pass for its own answer.
- ``prohibit`` keeps a check from another way to the VIP while the interface is down, and the error
  it gives (EACCES) is one that nothing else gives.
- A backend whose MAC is set by hand, and an IPv6 VIP on one with an IPv4 address (for which the
  kernel has no route), has a link-local address made up for it, with a permanent neighbour.

The VIP is no address of this machine, and replies from it need no setting but one: where the VIP
is not routed to the backend's interface, a reverse path filter drops them (see
:mod:`pydsr.health.investigation`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from pydsr.health.targets import Route
from pydsr.kernel.net.netlink import family_of
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.errors import InputError

PROTOCOL = 68
"""What marks rules, routes and neighbours as made here; free in iproute2's ``rt_protos``."""

MARKS, MARK_MASK = 0x70440000, 0xFFFF0000
"""Marks of sockets, and numbers of tables: the lower half is the number of the route."""

MAX_ROUTES = 0xFFFE

PRIORITY = 440
"""Of the first rule: after the table ``local``, before those that others usually make."""

LAST_METRIC = 0xFF000000

_MADE_UP4 = ipaddress.IPv4Address("169.254.0.0")
_MADE_UP6 = ipaddress.IPv6Address("fe80::7044:0")


class RuleKind(Enum):
    """What a rule does, and by how much its priority is after the first one's."""

    PAST = 0
    LOOKUP = 1
    END = 2


@dataclass(frozen=True)
class RuleEntry:
    """A rule; ``mark`` is that of a route, or 0 in those that are there once."""

    family: int
    kind: RuleKind
    mark: int = 0

    @property
    def priority(self) -> int:
        """When it is looked at."""
        return PRIORITY + self.kind.value


@dataclass(frozen=True)
class RouteEntry:
    """A route in a table of ours.

    Attributes:
        destination: one address; None for the rest, which is prohibited.
        gateway: None where the destination is on the network itself.
        ifindex: 0 where it is prohibited.
    """

    family: int
    table: int
    destination: IPAddress | None = None
    gateway: IPAddress | None = None
    ifindex: int = 0


@dataclass(frozen=True)
class NeighbourEntry:
    """A permanent neighbour that was made up."""

    address: IPAddress
    ifindex: int
    mac: MacAddress


Entry = RuleEntry | RouteEntry | NeighbourEntry


def mark_of(number: int) -> int:
    """Return the mark of a route, which is also its table."""
    return MARKS | number


def next_hop(vip: IPAddress, route: Route, number: int) -> tuple[IPAddress, MacAddress | None]:
    """Return where packets for a VIP go, with its MAC where the kernel is not to ask for it.

    Raises:
        InputError: an IPv6 VIP on a backend with an IPv4 address, whose MAC is not known.
    """
    if route.mac is None and vip.version == 6 and route.backend.version == 4:
        raise InputError(
            f"{vip} on backend {route.backend} cannot be checked without a MAC",
            "the kernel has no IPv6 route by an IPv4 address: use the backend's IPv6 address",
        )
    if route.mac is None:
        return route.backend, None
    return (_MADE_UP6 if vip.version == 6 else _MADE_UP4) + number, route.mac


def entries(numbers: Mapping[Route, int], vips: Mapping[Route, Iterable[IPAddress]]) -> set[Entry]:
    """Return all that has to be in the kernel.

    Args:
        numbers: of every route, from 1 to MAX_ROUTES.
        vips: which VIPs are checked by each route.

    Raises:
        InputError: a backend cannot be reached that way.
    """
    found: set[Entry] = set()
    for route, wanted in vips.items():
        number = numbers[route]
        table = mark_of(number)
        for address in {*wanted, route.backend}:
            family = family_of(address)
            gateway, mac = next_hop(address, route, number)
            if mac is not None:
                found.add(NeighbourEntry(gateway, route.ifindex, mac))
            found.add(
                RouteEntry(
                    family, table, address, None if gateway == address else gateway, route.ifindex
                )
            )
            found.add(RouteEntry(family, table))
            found.add(RuleEntry(family, RuleKind.LOOKUP, table))
            found |= {RuleEntry(family, RuleKind.PAST), RuleEntry(family, RuleKind.END)}
    return found


def in_order(changes: Collection[Entry]) -> list[Entry]:
    """Return entries in an order to add them in: nothing is used before it is whole.

    The other way round is an order to delete them in.
    """
    kinds = (RuleKind.END, RuleKind.PAST, RuleKind.LOOKUP)

    def rank(entry: Entry) -> tuple[int, str]:
        if isinstance(entry, NeighbourEntry):
            return 0, str(entry)
        if isinstance(entry, RouteEntry):
            # What is prohibited comes first: there is no moment at which the main table is asked.
            return 1 + (entry.destination is not None), str(entry)
        return 3 + kinds.index(entry.kind), str(entry)

    return sorted(changes, key=rank)
