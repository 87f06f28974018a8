"""Brings marked sockets to the VIP on one backend each, by rules and routes of the kernel.

The kernel is compared with what is to be there, and the difference made. So whatever a killed
process left goes with the next start, and what the kernel removed with a link that was down
comes back by :meth:`Steering.refresh`. All that is made here has the protocol number
``steering_plan.PROTOCOL``, and nothing else is touched.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import ndmsg, rt_type

from pydsr.errors import BusyError, EnvironmentCannotError, InputError, PermissionDeniedError
from pydsr.health.steering_plan import (
    LAST_METRIC,
    MARK_MASK,
    MARKS,
    MAX_ROUTES,
    PRIORITY,
    PROTOCOL,
    Entry,
    NeighbourEntry,
    RouteEntry,
    RuleEntry,
    RuleKind,
    entries,
    family_of,
    in_order,
    mark_of,
)
from pydsr.health.targets import Route, Target
from pydsr.model import IPAddress, MacAddress

_log = logging.getLogger(__name__)

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_INVERTED = 2
"""FIB_RULE_INVERT of linux/fib_rules.h."""

_ON_LINK = 4
"""RTNH_F_ONLINK of linux/rtnetlink.h."""

_LOCK = "\0pydsr-health"
"""An abstract socket: its name is of this network namespace, and gone with the process."""


class Steering:
    """Owns the rules and routes of this network namespace; to be used by ``async with``.

    Raises:
        BusyError: another process has them.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
        EnvironmentCannotError: the kernel refuses.
    """

    def __init__(self) -> None:
        self._numbers: dict[Route, int] = {}
        self._vips: dict[Route, set[IPAddress]] = {}
        self._latest = 0
        self._lock: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._lock = _locked()
        try:
            await self.refresh()
        except BaseException:
            self._lock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.steer(())
        finally:
            if self._lock is not None:
                self._lock.close()

    def check(self, targets: Iterable[Target]) -> None:
        """Find what is wrong with targets before anything is changed.

        Raises:
            InputError: a backend cannot be reached that way, or there are too many.
        """
        vips = _vips_by_route(targets)
        entries(self._numbered(vips), vips)

    async def steer(self, targets: Iterable[Target]) -> None:
        """Have just these targets reached by their marks; those that stay keep theirs.

        Raises:
            InputError: as :meth:`check`; nothing was changed.
            EnvironmentCannotError: the kernel refuses; :meth:`refresh` tries again.
        """
        vips = _vips_by_route(targets)
        numbers = self._numbered(vips)
        entries(numbers, vips)
        self._numbers, self._vips = numbers, vips
        self._latest = list(numbers.values())[-1] if numbers else self._latest
        await self.refresh()

    def mark(self, route: Route) -> int:
        """Return the mark of sockets that are to reach a backend."""
        return mark_of(self._numbers[route])

    async def refresh(self) -> None:
        """Make what is missing in the kernel, and remove what is too much."""
        wanted = entries(self._numbers, self._vips)
        async with _netlink() as ip:
            present = {entry async for entry in _present(ip)}
            for entry in reversed(in_order(present - wanted)):
                _log.debug("removing %s", entry)
                await _delete(ip, entry)
            for entry in in_order(wanted - present):
                _log.debug("adding %s", entry)
                await _add(ip, entry)

    def _numbered(self, routes: Collection[Route]) -> dict[Route, int]:
        """Return a number for each route: the one it has, or one that is free.

        New ones go on from the latest, so that a late answer to a removed one finds no new owner.
        """
        if len(routes) > MAX_ROUTES:
            raise InputError(
                f"{len(routes)} backends are too many to check",
                f"at most {MAX_ROUTES} in one network namespace",
            )
        numbers = {route: self._numbers[route] for route in routes if route in self._numbers}
        taken = set(numbers.values())
        circle = (self._latest + step for step in range(MAX_ROUTES))
        free = (number % MAX_ROUTES + 1 for number in circle)
        unused = (number for number in free if number not in taken)
        return numbers | {route: next(unused) for route in routes if route not in numbers}


def _vips_by_route(targets: Iterable[Target]) -> dict[Route, set[IPAddress]]:
    vips: dict[Route, set[IPAddress]] = {}
    for target in targets:
        vips.setdefault(target.route, set()).add(target.vip)
    return vips


def _locked() -> socket.socket:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(_LOCK)
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise BusyError(
            "another process makes health checks in this network namespace",
            "ss -xlp | grep pydsr-health shows which; end it first",
        ) from None
    return lock


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                "making rules and routes for health checks is not permitted",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None
        reason = error.args[1] if len(error.args) > 1 else error
        raise EnvironmentCannotError(
            f"the kernel refused a rule or route for health checks: {reason}",
            "it needs policy routing (CONFIG_IP_MULTIPLE_TABLES), and the interface up",
        ) from None


@asynccontextmanager
async def _netlink() -> AsyncIterator[AsyncIPRoute]:
    with _explained():
        async with AsyncIPRoute() as ip:
            yield ip


async def _present(ip: AsyncIPRoute) -> AsyncIterator[Entry]:
    """Yield what there is of ours in the kernel."""
    for family in _FAMILIES:
        try:
            rules = [message async for message in await ip.get_rules(family=family)]
        except NetlinkError as error:
            # A kernel that was started without IPv6 has none of ours either.
            if error.code not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise
            continue
        for message in rules:
            if message.get("protocol") == PROTOCOL:
                yield _rule_from(message)
        async for message in await ip.get_routes(family=family):
            if message["proto"] == PROTOCOL:
                yield _route_from(message)
        async for message in await ip.get_neighbours(family=family):
            # Without a MAC it is on its way out: a deleted entry stays while a packet holds it.
            if message.get("NDA_PROTOCOL") == PROTOCOL and message.get("lladdr"):
                mac = MacAddress.parse(message.get("lladdr"))
                address = ipaddress.ip_address(message.get("dst"))
                yield NeighbourEntry(address, message["ifindex"], mac)


def _rule_from(message: Any) -> RuleEntry:
    kind = RuleKind((message.get("priority") or 0) - PRIORITY)
    mark = message.get("fwmark") or 0
    return RuleEntry(message["family"], kind, mark if kind is RuleKind.LOOKUP else 0)


def _route_from(message: Any) -> RouteEntry:
    via = message.get("via")
    gateway = message.get("gateway") or (via and via["addr"])
    destination = message.get("dst")
    is_rest = not destination or message["type"] == rt_type["prohibit"]
    return RouteEntry(
        message["family"],
        message.get("table") or message["table"],
        None if is_rest else ipaddress.ip_address(destination.partition("/")[0]),
        ipaddress.ip_address(gateway) if gateway else None,
        0 if is_rest else message.get("oif") or 0,
    )


async def _add(ip: AsyncIPRoute, entry: Entry) -> None:
    down = (errno.ENETDOWN, errno.ENODEV, errno.ENETUNREACH)
    try:
        match entry:
            case NeighbourEntry():
                # Replaced, as its MAC may have changed.
                await ip.neigh("replace", state=ndmsg.NUD_PERMANENT, **_neighbour(entry))
            case RouteEntry():
                await ip.route("add", **_route(entry))
            case RuleEntry():
                await ip.rule("add", **_rule(entry))
    except NetlinkError as error:
        # The interface is down or gone: what is prohibited says so to every check.
        if error.code not in down:
            raise
        _log.debug("%s: %s", entry, error)


async def _delete(ip: AsyncIPRoute, entry: Entry) -> None:
    # What is gone with its interface meanwhile need not be deleted.
    gone = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO)
    try:
        match entry:
            case NeighbourEntry():
                await ip.neigh("del", **_neighbour(entry))
            case RouteEntry():
                await ip.route("del", **_route(entry))
            case RuleEntry():
                await ip.rule("del", **_rule(entry))
    except NetlinkError as error:
        if error.code not in gone:
            raise


def _neighbour(entry: NeighbourEntry) -> dict[str, Any]:
    return {
        "family": family_of(entry.address),
        "dst": str(entry.address),
        "lladdr": str(entry.mac),
        "ifindex": entry.ifindex,
        "protocol": PROTOCOL,
    }


def _route(entry: RouteEntry) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": entry.family,
        "table": entry.table,
        "proto": PROTOCOL,
    }
    if entry.destination is None:
        everything = "::/0" if entry.family == socket.AF_INET6 else "0.0.0.0/0"
        return request | {"dst": everything, "type": "prohibit", "priority": LAST_METRIC}
    request["dst"] = f"{entry.destination}/{entry.destination.max_prefixlen}"
    request["oif"] = entry.ifindex
    request["metrics"] = {"hoplimit": 1}
    if entry.gateway is None:
        return request | {"scope": "link"}
    request["flags"] = _ON_LINK
    if family_of(entry.gateway) == entry.family:
        return request | {"gateway": str(entry.gateway)}
    return request | {"via": {"family": family_of(entry.gateway), "addr": str(entry.gateway)}}


def _rule(entry: RuleEntry) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": entry.family,
        "priority": entry.priority,
        "protocol": PROTOCOL,
    }
    match entry.kind:
        case RuleKind.PAST:
            end = PRIORITY + RuleKind.END.value
            past = {"action": "goto", "goto": end, "flags": _INVERTED}
            return request | past | {"fwmark": MARKS, "fwmask": MARK_MASK}
        case RuleKind.LOOKUP:
            return request | {"fwmark": entry.mark, "fwmask": 0xFFFFFFFF, "table": entry.mark}
        case RuleKind.END:
            return request | {"action": "nop"}
