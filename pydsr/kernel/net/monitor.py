"""News of neighbours, links and addresses from the kernel, by the multicast groups of rtnetlink."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any, Self

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import ndmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from pydsr.kernel.net.links import interface_from, netlink
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.errors import EnvironmentCannotError
from pydsr.model.netlink_events import (
    Confidence,
    Link,
    LinkGone,
    Neighbour,
    NeighbourGone,
    News,
    PortLearned,
)

_RECEIVE_BYTES = 1 << 18
_BUFFER_BYTES = 4 << 20
"""Room for some ten thousand messages that were not read yet."""

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_IFF_LOWER_UP = 1 << 16
_NTF_EXT_MANAGED = 1 << 0
_KEPT_PROTOCOL = 69
"""Marks entries as kept resolved for pydsr (NDA_PROTOCOL); free in iproute2's ``rt_protos``."""

_FIXED = ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_SURE = ndmsg.NUD_REACHABLE | _FIXED
_UNSURE = ndmsg.NUD_STALE | ndmsg.NUD_DELAY | ndmsg.NUD_PROBE


NEIGHBOURS_AND_LINKS = rtnl.RTMGRP_LINK | rtnl.RTMGRP_NEIGH
ADDRESSES = rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV6_IFADDR
"""Groups of rtnetlink; of addresses it is said that they changed, not how."""


class NewsLostError(Exception):
    """More happened than there was room for: what is known has to be looked up anew."""


class Monitor:
    """A socket that hears of every change of some kinds in this network namespace.

    Args:
        groups: which kinds.

    Raises:
        EnvironmentCannotError: the kernel does not let us listen.
    """

    def __init__(self, groups: int = NEIGHBOURS_AND_LINKS) -> None:
        self._marshal = MarshalRtnl()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((0, groups))
        except OSError as error:
            self._socket.close()
            raise EnvironmentCannotError(
                f"the kernel does not tell what changes in the network: {error.strerror}",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def read(self) -> list[News]:
        """Wait for news.

        Raises:
            NewsLostError: some were lost.
        """
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _RECEIVE_BYTES)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise NewsLostError from None
            raise
        decoded = (news_from(message) for message in self._marshal.parse(data))
        return [news for news in decoded if news is not None]


def news_from(message: Any) -> News | None:
    """Return what a decoded message of rtnetlink says; None for what is of no interest."""
    kind = message["header"]["type"]
    if kind == rtnl.RTM_NEWNEIGH and message["family"] == socket.AF_BRIDGE:
        return _port_learned(message)
    if kind == rtnl.RTM_NEWNEIGH:
        return neighbour_from(message)
    if kind == rtnl.RTM_DELNEIGH and message.get("dst"):
        return NeighbourGone(message["ifindex"], ip_address(message.get("dst")))
    # The same messages tell of ports of bridges, in the family of those.
    if kind == rtnl.RTM_NEWLINK and message["family"] == socket.AF_UNSPEC:
        return Link(interface_from(message), bool(message["flags"] & _IFF_LOWER_UP))
    if kind == rtnl.RTM_DELLINK and message["family"] == socket.AF_UNSPEC:
        return LinkGone(interface_from(message))
    return None


def _port_learned(message: Any) -> PortLearned | None:
    mac = _mac_from(message)
    if mac is None or not message.get("master"):
        return None
    return PortLearned(message.get("master"), message["ifindex"], mac)


def neighbour_from(message: Any) -> Neighbour | None:
    """Return the neighbour that a message tells of; None for one without an IP address."""
    if message["family"] not in (socket.AF_INET, socket.AF_INET6) or not message.get("dst"):
        return None
    state = message["state"]
    if state & _SURE:
        confidence = Confidence.SURE
    elif state & _UNSURE:
        confidence = Confidence.UNSURE
    elif state & ndmsg.NUD_FAILED:
        confidence = Confidence.FAILED
    else:
        confidence = Confidence.NONE
    is_managed = bool((message.get("flags_ext") or 0) & _NTF_EXT_MANAGED)
    return Neighbour(
        message["ifindex"],
        ip_address(message.get("dst")),
        _mac_from(message),
        confidence,
        is_managed=is_managed,
        is_ours=is_managed and message.get("protocol") == _KEPT_PROTOCOL,
        is_fixed=bool(state & _FIXED),
    )


def _mac_from(message: Any) -> MacAddress | None:
    try:
        octets = bytes.fromhex((message.get("lladdr") or "").replace(":", ""))
    except ValueError:
        # Of a tunnel: an IP address.
        return None
    return MacAddress(octets) if len(octets) == 6 else None


def all_links() -> list[Link]:
    """Return every interface of this network namespace."""
    with netlink() as ip:
        return [
            Link(interface_from(message), bool(message["flags"] & _IFF_LOWER_UP))
            for message in ip.get_links()
        ]


def find_neighbours(devices: Collection[int]) -> list[Neighbour]:
    """Return all neighbours behind devices, given by index, of both IP versions."""
    with netlink() as ip:
        decoded = [
            neighbour_from(message)
            for family in (socket.AF_INET, socket.AF_INET6)
            for message in ip.get_neighbours(family=family)
            if message["ifindex"] in devices
        ]
    return [one for one in decoded if one is not None]


def keep_resolved(wanted: Iterable[tuple[IPAddress, int]]) -> list[IPAddress]:
    """Have the kernel resolve addresses behind devices, and keep them so without traffic.

    Returns:
        Those it refused, such as where the device is down.
    """
    refused = []
    with netlink() as ip:
        for address, device in wanted:
            try:
                _manage(ip, address, device)
            except NetlinkError as error:
                if error.code in (errno.EPERM, errno.EACCES):
                    raise
                refused.append(address)
    return refused


def _manage(ip: IPRoute, address: IPAddress, device: int) -> None:
    ip.neigh(
        "replace",
        dst=str(address),
        ifindex=device,
        family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
        state=ndmsg.NUD_NONE,
        flags_ext=_NTF_EXT_MANAGED,
        protocol=_KEPT_PROTOCOL,
    )


def let_go(wanted: Iterable[tuple[IPAddress, int]]) -> None:
    """Delete entries that were kept resolved; the kernel makes them anew where it needs them."""
    with netlink() as ip:
        for address, device in wanted:
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            try:
                ip.neigh("del", dst=str(address), ifindex=device, family=family)
            except NetlinkError as error:
                if error.code != errno.ENOENT:
                    raise
