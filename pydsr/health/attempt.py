"""One attempt of a probe: its sockets, and the symptoms if it fails."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field
from typing import Self

from pydsr.health.diagnosis import IcmpError, Symptoms
from pydsr.health.sockets import PolledSocket, connect, icmp_error, marked_socket, receive
from pydsr.health.targets import CheckTarget
from pydsr.model.addresses import IPAddress


@dataclass
class Attempt:
    """The target of a probe, and its sockets, which ``with`` closes.

    Attributes:
        target: what to check.
        mark: of sockets that reach it.
        is_own_address: whether the probe asks the backend's own address, not the VIP.
        is_connected: whether a TCP connection was established.
        wrong_source: another address that answered a datagram.
    """

    target: CheckTarget
    mark: int
    is_own_address: bool = False
    is_connected: bool = False
    wrong_source: IPAddress | None = None
    _sockets: list[PolledSocket] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._sockets:
            opened.close()

    @property
    def address(self) -> IPAddress:
        """The address that the probe asks."""
        return self.target.route.backend if self.is_own_address else self.target.vip

    async def connect(self) -> PolledSocket:
        """Return a TCP connection to the target.

        Raises:
            OSError: the connection fails.
        """
        stream = self._open(socket.SOCK_STREAM)
        await connect(stream, self.address, self.target.port)
        self.is_connected = True
        return stream

    def send(self, payload: bytes) -> PolledSocket:
        """Send a datagram to the target, and return the socket that receives its answers.

        Raises:
            OSError: it cannot be sent.
        """
        datagrams = self._open(socket.SOCK_DGRAM)
        # Not connected: the kernel would hide answers from another address.
        datagrams.sendto(payload, (str(self.address), self.target.port))
        return datagrams

    async def receive(self, datagrams: PolledSocket) -> bytes:
        """Return the next datagram from the target.

        Raises:
            OSError: an ICMP error came back.
        """
        while True:
            answer, source = await receive(datagrams)
            if source == self.address:
                return answer
            self.wrong_source = source

    def _open(self, kind: int) -> PolledSocket:
        new = marked_socket(self.address, kind, self.mark)
        self._sockets.append(new)
        return new

    def symptoms(self, error: OSError, is_late: bool) -> Symptoms:
        """Return how the attempt failed; an error without a number is a timeout."""
        return Symptoms(
            error.errno or 0,
            self.is_connected,
            self._icmp_error(),
            self.wrong_source,
            self.is_own_address,
            not error.errno and (is_late or self._has_unread()),
        )

    def _has_unread(self) -> bool:
        """Return whether an answer has come that was not read yet."""
        pending = select.poll()
        for opened in self._sockets:
            is_connecting = opened.type == socket.SOCK_STREAM and not self.is_connected
            pending.register(opened, select.POLLOUT if is_connecting else select.POLLIN)
        return any(events & (select.POLLIN | select.POLLOUT) for _, events in pending.poll(0))

    def _icmp_error(self) -> IcmpError | None:
        errors = (icmp_error(opened) for opened in self._sockets)
        return next((error for error in errors if error is not None), None)
