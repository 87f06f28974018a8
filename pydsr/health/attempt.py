"""One try of a probe: the sockets it uses, and what is to be known of it when it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from pydsr.health.sockets import connect, icmp_error, marked_socket, receive
from pydsr.health.symptoms import IcmpError, Symptoms
from pydsr.health.targets import Target
from pydsr.model import IPAddress


@dataclass
class Attempt:
    """What a probe is given, and what it leaves behind.

    Attributes:
        target: what is asked.
        mark: of sockets that reach it.
        is_own_address: whether the backend's own address is asked instead of the VIP.
        is_connected: whether a TCP connection has come about.
        icmp: an ICMP error that a socket got.
        wrong_source: an address that answered a datagram in place of the one asked.
    """

    target: Target
    mark: int
    is_own_address: bool = False
    is_connected: bool = False
    icmp: IcmpError | None = None
    wrong_source: IPAddress | None = None

    @property
    def address(self) -> IPAddress:
        """The address that is asked."""
        return self.target.route.backend if self.is_own_address else self.target.vip

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[socket.socket]:
        """Have a TCP connection to the target for the length of the block."""
        with self._opened(socket.SOCK_STREAM) as stream:
            await connect(stream, self.address, self.target.port)
            self.is_connected = True
            yield stream

    async def exchange(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Send a datagram and yield what comes back from where it went; never ends by itself."""
        with self._opened(socket.SOCK_DGRAM) as datagrams:
            # Not connected: the kernel would hide what comes from another address.
            datagrams.sendto(payload, (str(self.address), self.target.port))
            while True:
                answer, source = await receive(datagrams)
                if source == self.address:
                    yield answer
                else:
                    self.wrong_source = source

    @contextmanager
    def _opened(self, kind: int) -> Iterator[socket.socket]:
        with marked_socket(self.address, kind, self.mark) as made:
            try:
                yield made
            except (OSError, asyncio.CancelledError):
                self.icmp = icmp_error(made)
                raise

    def symptoms(self, error: OSError) -> Symptoms:
        """Return how it failed: by an error; one without a number says that time ran out."""
        return Symptoms(
            error.errno or 0, self.is_connected, self.icmp, self.wrong_source, self.is_own_address
        )
