"""Sockets that reach one backend by their mark, and the ICMP errors they receive.

They replace asyncio's streams: a timeout may end a check at any moment, and must close its sockets
at once. asyncio's streams would close later.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import select
import socket
import struct
from typing import Protocol

from pydsr.health.diagnosis import IcmpError
from pydsr.health.poller import poller
from pydsr.model.addresses import IPAddress, family_of

_IP_RECVERR, _IPV6_RECVERR = 11, 25
"""Of linux/in.h and linux/in6.h; Python 3.11 does not name them."""

_SO_ATTACH_FILTER = 26
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info, data."""

_ORIGIN_LOCAL = 1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK = 16384


class PolledSocket(socket.socket):
    """A non-blocking socket whose events can be waited for."""

    def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
        super().__init__(family, kind | socket.SOCK_NONBLOCK, protocol)
        self._poller = poller()
        self._poller.register(self)

    async def wait_for_event(self) -> int:
        """Return epoll's events at the next change: see :meth:`Poller.wait_for_event`."""
        return await self._poller.wait_for_event(self)


def marked_socket(address: IPAddress, kind: int, mark: int, protocol: int = 0) -> PolledSocket:
    """Return a socket of an address's family that marks its packets and queues ICMP errors.

    Raises:
        PermissionError: CAP_NET_ADMIN or CAP_NET_RAW is missing.
    """
    family = family_of(address)
    new = PolledSocket(family, kind, protocol)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if family == socket.AF_INET6:
            new.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            new.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if kind == socket.SOCK_STREAM:
            # Close by RST, as HAProxy's checks do: a thousand TIME_WAITs a second would use up the
            # ports.
            new.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        new.close()
        raise
    return new


async def connect(stream: PolledSocket, address: IPAddress, port: int) -> None:
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
        events = await stream.wait_for_event()
        error = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))


class Stream(Protocol):
    """A connection, plain or over TLS."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""

    async def receive(self) -> bytes:
        """Return the next bytes; empty at the end."""


class PlainStream:
    """The bytes of a TCP connection."""

    def __init__(self, connection: PolledSocket) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            try:
                data = data[self._connection.send(data) :]
            except BlockingIOError:
                await self._connection.wait_for_event()

    async def receive(self, most: int = _CHUNK) -> bytes:
        """Return the next bytes; empty at the end."""
        while True:
            try:
                return self._connection.recv(most)
            except BlockingIOError:
                await self._connection.wait_for_event()

    async def read_exactly(self, length: int) -> bytes:
        """Return that many bytes.

        Raises:
            ConnectionResetError: the connection ends before.
        """
        data = b""
        while len(data) < length:
            more = await self.receive(length - len(data))
            if not more:
                raise connection_ended()
            data += more
        return data


def connection_ended() -> ConnectionResetError:
    """Return the error of a connection that the other side has closed too early."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


async def receive(of: PolledSocket) -> tuple[bytes, IPAddress]:
    """Return the next packet and its source address.

    Raises:
        OSError: an ICMP error, among others.
    """
    while True:
        try:
            data, source = of.recvfrom(65536)
        except BlockingIOError:
            await of.wait_for_event()
        else:
            return data, ipaddress.ip_address(source[0].partition("%")[0])


def icmp_error(of: socket.socket) -> IcmpError | None:
    """Return the first ICMP error that another host has sent to a socket, or None.

    Errors of this host itself, such as a neighbour that does not answer, do not count.
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


def segment_socket(address: IPAddress, source_port: int, port: int) -> PolledSocket:
    """Return a raw socket that receives TCP segments from any address, from one port to another.

    Raises:
        PermissionError: CAP_NET_RAW is missing.
    """
    family = family_of(address)
    raw = PolledSocket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    # A raw IPv4 socket's packets begin with the IP header, an IPv6 socket's with TCP's.
    load_x = (0xB1, 0, 0, 0) if family == socket.AF_INET else (0x01, 0, 0, 0)
    program = (
        load_x,  # x = 4 * (byte 0 & 0xf), or 0
        (0x48, 0, 0, 0),  # a = source port
        (0x15, 0, 3, source_port),
        (0x48, 0, 0, 2),  # a = destination port
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFFFFFF),  # accept
        (0x06, 0, 0, 0),  # drop
    )
    instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions)
    # struct sock_fprog of linux/filter.h
    pointer = struct.pack("HP", len(program), ctypes.addressof(buffer))
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    except OSError:
        raw.close()
        raise
    return raw
