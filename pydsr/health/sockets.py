"""Sockets that reach one backend by their mark, and the ICMP errors that came back to them."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import select
import socket
import struct

from pydsr.health.steering_plan import family_of
from pydsr.health.symptoms import IcmpError
from pydsr.health.waiting import waiting
from pydsr.model.addresses import IPAddress

_IP_RECVERR, _IPV6_RECVERR = 11, 25
"""Of linux/in.h and linux/in6.h; Python 3.11 does not name them."""

_SO_ATTACH_FILTER = 26
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info, data."""

_ORIGIN_LOCAL = 1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WaitingSocket(socket.socket):
    """A socket that does not block, and says when there is something to do."""

    def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
        super().__init__(family, kind | socket.SOCK_NONBLOCK, protocol)
        self._waiting = waiting()
        self._waiting.register(self)

    async def change(self) -> int:
        """Wait for the next change; see :meth:`pydsr.health.waiting.Waiting.change`."""
        return await self._waiting.change(self)


def marked_socket(address: IPAddress, kind: int, mark: int, protocol: int = 0) -> WaitingSocket:
    """Return a socket for an address, with a mark, which keeps ICMP errors.

    Args:
        address: whose family it is for.
        kind: SOCK_STREAM, SOCK_DGRAM or SOCK_RAW.
        mark: of its packets; 0 is none.
        protocol: of IP; 0 is the usual one.

    Raises:
        PermissionError: CAP_NET_ADMIN or CAP_NET_RAW is missing.
    """
    family = family_of(address)
    made = WaitingSocket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if kind == socket.SOCK_STREAM:
            # A check leaves no TIME_WAIT behind, of which a thousand a second would use up the
            # ports: closing resets, as it does in HAProxy's checks.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except BaseException:
        made.close()
        raise
    return made


async def connect(stream: WaitingSocket, address: IPAddress, port: int) -> None:
    """Connect without blocking.

    Raises:
        OSError: as connect(2).
    """
    try:
        stream.connect((str(address), port))
        return
    except BlockingIOError:
        pass
    events = 0
    while not events & select.EPOLLOUT:
        events = await stream.change()
        error = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))


def icmp_error(of: socket.socket) -> IcmpError | None:
    """Return the first ICMP error that another host has sent to a socket, or None.

    This machine's own, such as of a neighbour that is not found, is none.
    """
    own = ipaddress.ip_address(of.getsockname()[0].partition("%")[0])
    while True:
        try:
            _, ancillary, _, _ = of.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            return None
        for level, kind, data in ancillary:
            if (level, kind) not in (
                (socket.IPPROTO_IP, _IP_RECVERR),
                (socket.IPPROTO_IPV6, _IPV6_RECVERR),
            ):
                continue
            _, origin, type_, code, *_ = _EXTENDED_ERROR.unpack_from(data)
            if origin > _ORIGIN_LOCAL:
                version = 6 if level == socket.IPPROTO_IPV6 else 4
                # A sockaddr follows: sockaddr_in has the address at 4, sockaddr_in6 at 8.
                start = _EXTENDED_ERROR.size + (8 if version == 6 else 4)
                packed = data[start : start + (16 if version == 6 else 4)]
                offender = ipaddress.ip_address(packed)
                if offender != own:
                    return IcmpError(offender, version, type_, code)


def segments_for(address: IPAddress, source_port: int, port: int) -> WaitingSocket:
    """Return a socket that hears TCP segments from one port to another, whoever sends them.

    Args:
        address: whose IP version is heard.
        source_port: which they come from.
        port: of this machine.

    Raises:
        PermissionError: CAP_NET_RAW is missing.
    """
    family = family_of(address)
    raw = WaitingSocket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    # A raw IPv4 socket's packets begin with the IP header, an IPv6 one's with TCP's.
    load_x = (0xB1, 0, 0, 0) if family == socket.AF_INET else (0x01, 0, 0, 0)
    program = (
        load_x,  # x = 4 * (byte 0 & 0xf), or 0
        (0x48, 0, 0, 0),  # a = source port
        (0x15, 0, 3, source_port),
        (0x48, 0, 0, 2),  # a = destination port
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFFFFFF),  # whole
        (0x06, 0, 0, 0),  # nothing
    )
    instructions = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(instructions)
    # struct sock_fprog of linux/filter.h
    pointer = struct.pack("HP", len(program), ctypes.addressof(buffer))
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    except BaseException:
        raw.close()
        raise
    return raw


async def receive(of: WaitingSocket) -> tuple[bytes, IPAddress]:
    """Return the next packet with the address it came from.

    Raises:
        OSError: an ICMP error, among others.
    """
    while True:
        try:
            data, source = of.recvfrom(65536)
        except BlockingIOError:
            await of.change()
        else:
            return data, ipaddress.ip_address(source[0].partition("%")[0])
