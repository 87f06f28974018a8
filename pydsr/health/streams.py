"""Bytes over a connected socket, plain or by TLS, without transports.

A check ends at any moment, by its timeout; so the socket is the check's own, and closing it is
all there is to do. asyncio's streams would close it later, and in their own time.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pydsr.health.sockets import WaitingSocket

_CHUNK = 16384
_T = TypeVar("_T")


class Stream(Protocol):
    """What can be written to and read from."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""

    async def receive(self) -> bytes:
        """Return what has come; empty at the end."""


class PlainStream:
    """Bytes as they are."""

    def __init__(self, connection: WaitingSocket) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            try:
                data = data[self._connection.send(data) :]
            except BlockingIOError:
                await self._connection.change()

    async def receive(self, most: int = _CHUNK) -> bytes:
        """Return what has come; empty at the end."""
        while True:
            try:
                return self._connection.recv(most)
            except BlockingIOError:
                await self._connection.change()

    async def read_exactly(self, length: int) -> bytes:
        """Return that many bytes.

        Raises:
            ConnectionResetError: the other side ended before.
        """
        data = b""
        while len(data) < length:
            more = await self.receive(length - len(data))
            if not more:
                raise ended()
            data += more
        return data


class TlsStream:
    """Bytes by TLS, over the memory of an SSL object (see "Memory BIO Support" of ``ssl``)."""

    def __init__(
        self,
        connection: WaitingSocket,
        context: ssl.SSLContext,
        name: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._plain = PlainStream(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=name, session=session
        )

    async def greet(self) -> None:
        """Do the handshake, which takes up the session if the server will.

        Raises:
            ssl.SSLError: the certificate is not trusted, or this is no TLS.
        """
        await self._until_done(self._tls.do_handshake)

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake took up a session, and so the server showed no certificate."""
        return bool(self._tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another handshake can take up; with TLS 1.3 there is one after the first answer."""
        return self._tls.session

    def certificate(self) -> dict[str, Any]:
        """Return the certificate as ``SSLObject.getpeercert`` has it; empty if not verified."""
        return dict(self._tls.getpeercert() or {})

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._until_done(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        """Return what has come; empty at the end."""
        try:
            return await self._until_done(lambda: self._tls.read(_CHUNK))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _until_done(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._plain.receive()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._plain.send(self._outgoing.read())


def ended() -> ConnectionResetError:
    """Return the error for a connection that the other side ended too soon."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
