"""One try of a probe: the sockets it uses, and what is to be known of it when it fails."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pydsr.health.sockets import (
    WaitingSocket,
    connect,
    icmp_error,
    marked_socket,
    receive,
)
from pydsr.health.symptoms import IcmpError, Symptoms
from pydsr.health.targets import Target
from pydsr.model.addresses import IPAddress


@dataclass
class Attempt:
    """What a probe is given, and what it leaves behind; its sockets are closed by ``with``.

    Attributes:
        target: what is asked.
        mark: of sockets that reach it.
        is_own_address: whether the backend's own address is asked instead of the VIP.
        is_connected: whether a TCP connection has come about.
        wrong_source: an address that answered a datagram in place of the one asked.
    """

    target: Target
    mark: int
    is_own_address: bool = False
    is_connected: bool = False
    wrong_source: IPAddress | None = None
    _opened: list[WaitingSocket] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._opened:
            one.close()

    @property
    def address(self) -> IPAddress:
        """The address that is asked."""
        return self.target.route.backend if self.is_own_address else self.target.vip

    async def connect(self) -> WaitingSocket:
        """Return a TCP connection to the target.

        Raises:
            OSError: there is none.
        """
        stream = self._open(socket.SOCK_STREAM)
        await connect(stream, self.address, self.target.port)
        self.is_connected = True
        return stream

    def send(self, payload: bytes) -> WaitingSocket:
        """Send a datagram to the target, and return the socket that its answers come to.

        Raises:
            OSError: this machine cannot.
        """
        datagrams = self._open(socket.SOCK_DGRAM)
        # Not connected: the kernel would hide what comes from another address.
        datagrams.sendto(payload, (str(self.address), self.target.port))
        return datagrams

    async def receive(self, datagrams: WaitingSocket) -> bytes:
        """Return the next datagram from where one was sent.

        Raises:
            OSError: an ICMP error came back.
        """
        while True:
            answer, source = await receive(datagrams)
            if source == self.address:
                return answer
            self.wrong_source = source

    def _open(self, kind: int) -> WaitingSocket:
        made = marked_socket(self.address, kind, self.mark)
        self._opened.append(made)
        return made

    def symptoms(self, error: OSError, is_late: bool) -> Symptoms:
        """Return how it failed.

        Args:
            error: that it ended with; one without a number says that time ran out.
            is_late: whether that was seen long after.
        """
        return Symptoms(
            error.errno or 0,
            self.is_connected,
            self._icmp(),
            self.wrong_source,
            self.is_own_address,
            not error.errno and (is_late or self._has_unread()),
        )

    def _has_unread(self) -> bool:
        """Return whether something has come that was not looked at yet."""
        come = select.poll()
        for one in self._opened:
            is_waiting = one.type == socket.SOCK_STREAM and not self.is_connected
            come.register(one, select.POLLOUT if is_waiting else select.POLLIN)
        return any(events & (select.POLLIN | select.POLLOUT) for _, events in come.poll(0))

    def _icmp(self) -> IcmpError | None:
        """Return an ICMP error that a socket got."""
        found = (icmp_error(one) for one in self._opened)
        return next((one for one in found if one is not None), None)
