"""What is seen of a check that failed, and of the backend beside. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from pydsr.model.addresses import IPAddress


@dataclass(frozen=True)
class IcmpError:
    """An ICMP error about a packet of a socket.

    Attributes:
        offender: who sent it.
        version: of IP, which the numbers of type and code depend on.
    """

    offender: IPAddress
    version: int
    type: int
    code: int

    @property
    def is_time_exceeded(self) -> bool:
        """Whether a hop limit came to its end: somebody forwards the packet."""
        return self.type == (3 if self.version == 6 else 11)

    @property
    def is_prohibited(self) -> bool:
        """Whether a filter refused the packet (RFC 1812, 5.2.7.1; RFC 4443, 3.1)."""
        if self.version == 6:
            return self.type == 1 and self.code in (1, 5, 6)
        return self.type == 3 and self.code in (9, 10, 13)

    @property
    def is_port_unreachable(self) -> bool:
        """Whether nothing listens at the port."""
        return (self.type, self.code) == ((1, 4) if self.version == 6 else (3, 3))


@dataclass(frozen=True)
class Symptoms:
    """How a probe failed.

    Attributes:
        errno: of the error it ended with; 0 where time ran out.
        is_connected: whether there was a TCP connection before.
        icmp: the ICMP error that it got.
        wrong_source: an address that answered in place of the one that was asked.
        is_own_address: whether it was the backend's own address that was asked, not the VIP.
        is_late: whether time ran out because this machine was too busy to look at an answer.
    """

    errno: int = 0
    is_connected: bool = False
    icmp: IcmpError | None = None
    wrong_source: IPAddress | None = None
    is_own_address: bool = False
    is_late: bool = False


@dataclass(frozen=True)
class Evidence:
    """What was found out beside; None is what nobody asked, or what is not known.

    Attributes:
        has_neighbour: whether the kernel has a MAC for the backend, or may still get it.
        backend_answers: whether the backend's own address answers ping.
        vip_answers: whether the VIP on that backend answers ping.
        wrong_source: an address that answered a connection made to the VIP.
        filter: what to set for a reverse path filter of this machine that drops the answers.
        pings_sent: to the addresses that have answered at least one.
        pings_lost: how many of those got no answer.
        is_blocked: whether a filter of this machine drops what is sent to the VIP.
    """

    has_neighbour: bool | None = None
    backend_answers: bool | None = None
    vip_answers: bool | None = None
    wrong_source: IPAddress | None = None
    filter: str = ""
    pings_sent: int = 0
    pings_lost: int = 0
    is_blocked: bool = False

    @property
    def is_lossy(self) -> bool:
        """Whether packets get lost: more pings than one, which may only have been late."""
        return self.pings_lost > 1


NOTHING_KNOWN = Evidence()
