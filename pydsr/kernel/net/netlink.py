"""Netlink requests, in pyroute2's messages.

pyroute2's IPRoute imports asyncio and every message that the library knows, and its package even
more. A command would spend a fifth of its time on that. So the requests that commands need are
sent here, and :mod:`pydsr.kernel.net.async_netlink` is for the daemon. Submodules of pyroute2 work
without its ``__init__``, but importing one runs the package's ``__init__`` first, and importlib's
LazyLoader runs it as soon as the import system reads the package's ``__path__``. So
:func:`parts_of_pyroute2` puts an empty package in its place for the length of one block.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import Any

from pydsr.model.addresses import IPAddress, MacAddress, family_of
from pydsr.model.errors import EnvironmentCannotError, PermissionDeniedError


@contextmanager
def parts_of_pyroute2() -> Iterator[None]:
    """Import submodules of pyroute2 in the block, without its ``__init__``.

    Importing pyroute2 later runs its ``__init__``, and reuses the submodules that are there.
    """
    spec = find_spec("pyroute2") if "pyroute2" not in sys.modules else None
    if spec is None:
        yield
        return
    sys.modules["pyroute2"] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules["pyroute2"]


with parts_of_pyroute2():
    from pyroute2.netlink import (
        NLM_F_ACK,
        NLM_F_CREATE,
        NLM_F_DUMP,
        NLM_F_DUMP_INTR,
        NLM_F_REPLACE,
        NLM_F_REQUEST,
        NLMSG_DONE,
        NLMSG_ERROR,
        rtnl,
    )
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.marshal import Marshal
    from pyroute2.netlink.rtnl import ndmsg, rt_type
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = [
    "Messages",
    "Netlink",
    "NetlinkError",
    "NetlinkMessage",
    "error_text",
    "mac_of",
    "ndmsg",
    "netlink",
    "parts_of_pyroute2",
    "rt_type",
    "rtnl",
]

NetlinkMessage = Any
"""A decoded message; pyroute2 has no types."""

_RECEIVE_BYTES = 1 << 18
"""More than the kernel puts into one datagram of a dump."""

_DUMPS_MAX = 20
"""How often a dump is repeated during which something changed."""


class Messages(Marshal):  # type: ignore[misc] # pyroute2 has no types
    """Decodes the messages about links, addresses, neighbours, routes and rules."""

    msg_map = {  # noqa: RUF012 - as in pyroute2
        getattr(rtnl, f"RTM_{verb}{noun}"): decoder
        for noun, decoder in (
            ("LINK", ifinfmsg),
            ("ADDR", ifaddrmsg),
            ("NEIGH", ndmsg.ndmsg),
            ("ROUTE", rtmsg),
            ("RULE", fibmsg),
        )
        for verb in ("NEW", "DEL")
    }


class Netlink:
    """A netlink socket for requests.

    Every method raises NetlinkError if the kernel refuses, and EnvironmentCannotError if the
    answer changes all the time.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._messages = Messages()
        self._number = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> list[NetlinkMessage]:
        """Return all interfaces of this network namespace."""
        return self._request(rtnl.RTM_GETLINK, NLM_F_DUMP, ifinfmsg())

    def addresses(self) -> list[NetlinkMessage]:
        """Return the addresses of all interfaces."""
        return self._request(rtnl.RTM_GETADDR, NLM_F_DUMP, ifaddrmsg())

    def neighbours(self, family: int) -> list[NetlinkMessage]:
        """Return all neighbours of an address family; those of AF_BRIDGE are behind ports."""
        return self._request(rtnl.RTM_GETNEIGH, NLM_F_DUMP, ndmsg.ndmsg(), family=family)

    def route(self, address: IPAddress) -> NetlinkMessage:
        """Return the route to an address."""
        (route,) = self._request(
            rtnl.RTM_GETROUTE,
            NLM_F_ACK,
            rtmsg(),
            family=family_of(address),
            dst_len=address.max_prefixlen,
            attrs=[["RTA_DST", str(address)]],
        )
        return route

    def replace_neighbour(
        self, address: IPAddress, device: int, *, flags: int = 0, **attributes: int
    ) -> None:
        """Create or change a neighbour entry without a state, by flags and attributes NDA_…."""
        self._request(
            rtnl.RTM_NEWNEIGH,
            NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
            ndmsg.ndmsg(),
            family=family_of(address),
            ifindex=device,
            state=ndmsg.NUD_NONE,
            flags=flags,
            attrs=[["NDA_DST", str(address)], *map(list, attributes.items())],
        )

    def delete_neighbour(self, address: IPAddress, device: int) -> None:
        """Delete a neighbour entry."""
        self._request(
            rtnl.RTM_DELNEIGH,
            NLM_F_ACK,
            ndmsg.ndmsg(),
            family=family_of(address),
            ifindex=device,
            attrs=[["NDA_DST", str(address)]],
        )

    def _request(
        self, kind: int, flags: int, message: NetlinkMessage, /, **fields: Any
    ) -> list[NetlinkMessage]:
        for _ in range(_DUMPS_MAX):
            self._send(kind, flags, message, fields)
            *replies, end = self._receive()
            # If something changed during a dump, it may lack an entry or have one twice.
            if not any(reply["header"]["flags"] & NLM_F_DUMP_INTR for reply in (*replies, end)):
                return replies
        raise EnvironmentCannotError(
            "interfaces or neighbours of this machine change faster than they can be read",
            "`ip monitor all` shows what changes; try again later",
        )

    def _send(self, kind: int, flags: int, message: NetlinkMessage, fields: Any) -> None:
        self._number += 1
        message.reset()
        message.update(fields)
        message["header"] |= {
            "type": kind,
            "flags": NLM_F_REQUEST | flags,
            "sequence_number": self._number,
        }
        message.encode()
        self._socket.send(message.data)

    def _receive(self) -> Iterator[NetlinkMessage]:
        """Yield the replies to the last request, and then the message that ends them."""
        while True:
            for reply in self._messages.parse(self._socket.recv(_RECEIVE_BYTES)):
                header = reply["header"]
                if header["error"] is not None:
                    raise header["error"]
                yield reply
                if header["type"] in (NLMSG_DONE, NLMSG_ERROR):
                    return


@contextmanager
def netlink() -> Iterator[Netlink]:
    """Open a netlink socket in the network namespace of this process.

    Raises:
        PermissionDeniedError: a request in the block needs a privilege that the process lacks.
        EnvironmentCannotError: the kernel refused a request in the block.
    """
    ip = Netlink()
    try:
        yield ip
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDeniedError(
                "reading neighbours and links from the kernel is not permitted",
                "run as root (sudo); a container needs the capability NET_ADMIN",
            ) from None
        raise EnvironmentCannotError(
            f"the kernel refused a netlink request: {error_text(error)}"
        ) from None
    finally:
        ip.close()


def error_text(error: NetlinkError) -> str:
    """Return the kernel's words for a netlink error."""
    return str(error.args[1] if len(error.args) > 1 else error)


def mac_of(message: NetlinkMessage) -> MacAddress | None:
    """Return the MAC in a neighbour message; None where it has none.

    The link-layer address of a tunnel's neighbour is an IP address.
    """
    try:
        octets = bytes.fromhex((message.get("lladdr") or "").replace(":", ""))
    except ValueError:
        return None
    return MacAddress(octets) if len(octets) == 6 else None
