"""Netlink events: changes of neighbours, links and addresses, from rtnetlink's multicast groups."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_address
from typing import Self

from pydsr.kernel.net.links import interface_from
from pydsr.kernel.net.managed_neighbours import decode_neighbour
from pydsr.kernel.net.netlink import Messages, NetlinkMessage, mac_of, netlink, rtnl
from pydsr.model.errors import EnvironmentCannotError
from pydsr.model.netlink_events import Link, LinkGone, NeighbourGone, NetlinkEvent, PortLearned

_RECEIVE_BYTES = 1 << 18
_BUFFER_BYTES = 4 << 20
"""Room for some ten thousand unread messages."""

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_IFF_LOWER_UP = 1 << 16

NEIGHBOURS_AND_LINKS = rtnl.RTMGRP_LINK | rtnl.RTMGRP_NEIGH
ADDRESSES = rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV6_IFADDR
RULES = rtnl.RTMGRP_IPV4_RULE | rtnl.RTMGRP_IPV6_RULE
"""Multicast groups. Address and rule events are not decoded: they only say that one changed."""


class EventsLostError(Exception):
    """The socket's buffer overflowed: the reader has to look everything up again."""


class Monitor:
    """A socket that receives the netlink events of this network namespace."""

    def __init__(self, groups: int = NEIGHBOURS_AND_LINKS) -> None:
        self._messages = Messages()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((0, groups))
        except OSError as error:
            self._socket.close()
            raise EnvironmentCannotError(
                f"the kernel does not send netlink events: {error.strerror}",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def read(self) -> list[NetlinkEvent]:
        """Wait for events and return them.

        Raises:
            EventsLostError: the buffer overflowed.
        """
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _RECEIVE_BYTES)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise EventsLostError from None
            raise
        decoded = (_decode_event(message) for message in self._messages.parse(data))
        return [event for event in decoded if event is not None]


def all_links() -> list[Link]:
    """Return all interfaces of this network namespace, each with its carrier."""
    with netlink() as ip:
        return [_link(message) for message in ip.links()]


def _decode_event(message: NetlinkMessage) -> NetlinkEvent | None:
    kind, family = message["header"]["type"], message["family"]
    if kind == rtnl.RTM_NEWNEIGH and family == socket.AF_BRIDGE:
        return _port_learned(message)
    if kind == rtnl.RTM_NEWNEIGH:
        return decode_neighbour(message)
    if kind == rtnl.RTM_DELNEIGH and message.get("dst"):
        return NeighbourGone(message["ifindex"], ip_address(message.get("dst")))
    # Bridges send the same messages about their ports, in the family AF_BRIDGE.
    if kind == rtnl.RTM_NEWLINK and family == socket.AF_UNSPEC:
        return _link(message)
    if kind == rtnl.RTM_DELLINK and family == socket.AF_UNSPEC:
        return LinkGone(interface_from(message))
    return None


def _port_learned(message: NetlinkMessage) -> PortLearned | None:
    mac, bridge = mac_of(message), message.get("master")
    return PortLearned(bridge, message["ifindex"], mac) if mac and bridge else None


def _link(message: NetlinkMessage) -> Link:
    return Link(interface_from(message), bool(message["flags"] & _IFF_LOWER_UP))
