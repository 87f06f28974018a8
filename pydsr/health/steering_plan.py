"""The rules, routes and neighbours that route a marked socket to the VIP on one backend. Pure.

Each route to a backend has a number, which makes its firewall mark and its routing table::

    ip rule add pref 440 not fwmark 0x70440000/0xffff0000 goto 442
    ip rule add pref 441 fwmark 0x70440001 lookup 0x70440001
    ip rule add pref 442 nop
    ip route add VIP via BACKEND dev IF onlink table 0x70440001 hoplimit 1
    ip route add BACKEND dev IF table 0x70440001
    ip route add prohibit default table 0x70440001 metric 4278190080

- The first rule takes all other traffic past the rest, however many backends there are.
- ``hoplimit 1`` is enough for a host in the same network. A backend that lacks the VIP and forwards
  the packet must report that its time is exceeded. Otherwise another backend could answer by way of
  the balancer, as if the answer were its own.
- ``prohibit`` keeps a check from taking another route to the VIP while the interface is down. It
  gives the error EACCES, which nothing else gives.
- Two kinds of backends get an invented link-local address with a permanent neighbour entry: one
  with a fixed MAC, and one with an IPv4 address for an IPv6 VIP, which the kernel cannot
  route.

The VIP is not an address of this machine. Answers from it need no setting but one: a reverse path
filter drops them unless the VIP is routed to the backend's interface (see
:mod:`pydsr.health.kernel_state`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from pydsr.health.targets import Route
from pydsr.model.addresses import IPAddress, MacAddress, family_of
from pydsr.model.errors import InputError

PROTOCOL = 68
"""Marks our rules, routes and neighbours; unused in iproute2's ``rt_protos``."""

MARKS, MARK_MASK = 0x70440000, 0xFFFF0000
"""Marks of sockets and numbers of tables; the lower half is the number of the route."""

MAX_ROUTES = 0xFFFE

PRIORITY = 440
"""Of the first rule: after the table ``local``, before the usual rules of others."""

LAST_METRIC = 0xFF000000

_INVENTED4 = ipaddress.IPv4Address("169.254.0.0")
_INVENTED6 = ipaddress.IPv6Address("fe80::7044:0")


class RuleKind(Enum):
    """What a rule does; the value is added to the first rule's priority."""

    PAST = 0
    LOOKUP = 1
    END = 2


@dataclass(frozen=True)
class RuleEntry:
    """A rule; ``mark`` is 0 except in lookup rules."""

    family: int
    kind: RuleKind
    mark: int = 0

    @property
    def priority(self) -> int:
        """The priority of the rule."""
        return PRIORITY + self.kind.value


@dataclass(frozen=True)
class RouteEntry:
    """A route in one of our tables.

    Without a destination it prohibits all others. Without a gateway, the destination is in the
    device's network.
    """

    family: int
    table: int
    destination: IPAddress | None = None
    gateway: IPAddress | None = None
    ifindex: int = 0


@dataclass(frozen=True)
class NeighbourEntry:
    """A permanent neighbour of an invented address."""

    address: IPAddress
    ifindex: int
    mac: MacAddress


Entry = RuleEntry | RouteEntry | NeighbourEntry


def mark_of(number: int) -> int:
    """Return the mark of a route, which is also the number of its table."""
    return MARKS | number


def next_hop(vip: IPAddress, route: Route, number: int) -> tuple[IPAddress, MacAddress | None]:
    """Return the next hop of packets to a VIP, and its MAC unless the kernel resolves it.

    Raises:
        InputError: an IPv6 VIP, and a backend with an IPv4 address and an unknown MAC.
    """
    if route.mac is None and vip.version == 6 and route.backend.version == 4:
        raise InputError(
            f"{vip} on backend {route.backend} cannot be checked without a MAC",
            "the kernel cannot route IPv6 by an IPv4 address: use the backend's IPv6 address",
        )
    if route.mac is None:
        return route.backend, None
    return (_INVENTED6 if vip.version == 6 else _INVENTED4) + number, route.mac


def entries(numbers: Mapping[Route, int], vips: Mapping[Route, Iterable[IPAddress]]) -> set[Entry]:
    """Return all entries that must be in the kernel, from each route's number and VIPs.

    Raises:
        InputError: a backend cannot be reached by its route.
    """
    needed: set[Entry] = set()
    for route, wanted in vips.items():
        number = numbers[route]
        table = mark_of(number)
        for address in {*wanted, route.backend}:
            family = family_of(address)
            gateway, mac = next_hop(address, route, number)
            if mac is not None:
                needed.add(NeighbourEntry(gateway, route.ifindex, mac))
            needed.add(
                RouteEntry(
                    family, table, address, None if gateway == address else gateway, route.ifindex
                )
            )
            needed.add(RouteEntry(family, table))
            needed.add(RuleEntry(family, RuleKind.LOOKUP, table))
            needed |= {RuleEntry(family, RuleKind.PAST), RuleEntry(family, RuleKind.END)}
    return needed


def in_order(changes: Collection[Entry]) -> list[Entry]:
    """Return entries in the order to add them, so that no table is used before it is complete.

    Delete them in the reverse order.
    """
    kinds = (RuleKind.END, RuleKind.PAST, RuleKind.LOOKUP)

    def rank(entry: Entry) -> tuple[int, str]:
        if isinstance(entry, NeighbourEntry):
            return 0, str(entry)
        if isinstance(entry, RouteEntry):
            # Prohibit routes come first: the main table is never used instead.
            return 1 + (entry.destination is not None), str(entry)
        return 3 + kinds.index(entry.kind), str(entry)

    return sorted(changes, key=rank)
