"""Read and write the kernel's rules, routes and neighbours of health checks by netlink."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pydsr.health.steering_plan import (
    LAST_METRIC,
    MARK_MASK,
    MARKS,
    PRIORITY,
    PROTOCOL,
    Entry,
    NeighbourEntry,
    RouteEntry,
    RuleEntry,
    RuleKind,
)
from pydsr.kernel.net.async_netlink import AsyncIPRoute
from pydsr.kernel.net.netlink import NetlinkError, error_text, ndmsg, rt_type
from pydsr.model.addresses import MacAddress, family_of
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError

_log = logging.getLogger(__name__)

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_INVERTED = 2
"""FIB_RULE_INVERT of linux/fib_rules.h."""

_ON_LINK = 4
"""RTNH_F_ONLINK of linux/rtnetlink.h."""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                "adding rules and routes for health checks is not permitted",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None
        raise EnvironmentCannotError(
            f"the kernel refused a rule or route for health checks: {error_text(error)}",
            "it needs policy routing (CONFIG_IP_MULTIPLE_TABLES), and the interface up",
        ) from None


@asynccontextmanager
async def netlink() -> AsyncIterator[AsyncIPRoute]:
    """Open a netlink socket whose errors are raised as errors of pydsr.

    Raises:
        PermissionDeniedError: CAP_NET_ADMIN is missing.
        EnvironmentCannotError: the kernel refuses an entry.
    """
    with _explained():
        async with AsyncIPRoute() as ip:
            yield ip


async def present(ip: AsyncIPRoute) -> AsyncIterator[Entry]:
    """Yield our entries in the kernel."""
    for family in _FAMILIES:
        try:
            rules = [message async for message in await ip.get_rules(family=family)]
        except NetlinkError as error:
            # A kernel without IPv6 has no entries for it.
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
            # A deleted neighbour stays, without its MAC, while a packet refers to it.
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


async def add(ip: AsyncIPRoute, entry: Entry) -> None:
    """Add an entry, unless its interface is down or gone: its prohibit route tells every check."""
    try:
        # Replaced, as a neighbour's MAC may have changed.
        await _change(ip, "replace" if isinstance(entry, NeighbourEntry) else "add", entry)
    except NetlinkError as error:
        if error.code not in (errno.ENETDOWN, errno.ENODEV, errno.ENETUNREACH):
            raise
        _log.debug("%s: %s", entry, error)


async def delete(ip: AsyncIPRoute, entry: Entry) -> None:
    """Delete an entry, unless it is gone."""
    try:
        await _change(ip, "del", entry)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO):
            raise


async def _change(ip: AsyncIPRoute, command: str, entry: Entry) -> None:
    match entry:
        case NeighbourEntry():
            await ip.neigh(command, **_neighbour(entry))
        case RouteEntry():
            await ip.route(command, **_route(entry))
        case RuleEntry():
            await ip.rule(command, **_rule(entry))


def _neighbour(entry: NeighbourEntry) -> dict[str, Any]:
    return {
        "family": family_of(entry.address),
        "dst": str(entry.address),
        "lladdr": str(entry.mac),
        "ifindex": entry.ifindex,
        "protocol": PROTOCOL,
        "state": ndmsg.NUD_PERMANENT,
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
