"""The frames that are sent over a wire, and what happened to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

BACKENDS = 16
VIP4, VIP6, PORT = "198.51.100.10", "2001:db8::10", 80
NUMBERS = (1, 100_000)
_CLIENT4, _CLIENT6 = "10.1.0.0", "2001:db8:1::"
_SHORTEST_FRAME = 60
_ETHERNET, _HEADER4, _HEADER6 = 14, 20, 40


class WrongAnswerError(Exception):
    """What is measured does not work: its figures mean nothing."""


@dataclass(frozen=True)
class Flows:
    """TCP flows to a service, alike but for the source's low 16 bits and its port.

    Attributes:
        version: of IP.
        number: how many flows.
        frame: one of them, whose source ends in 16 zero bits and whose port is 0.
    """

    version: int
    number: int
    frame: bytes

    @property
    def _transport(self) -> int:
        return _ETHERNET + (_HEADER4 if self.version == 4 else _HEADER6)

    @property
    def address_offset(self) -> int:
        """Where the source's low 16 bits are."""
        return _ETHERNET + (14 if self.version == 4 else 22)

    @property
    def port_offset(self) -> int:
        """Where the source port is."""
        return self._transport

    @property
    def ip_check_offset(self) -> int:
        """Where the checksum of IPv4 is; 0 for IPv6, which has none."""
        return _ETHERNET + 10 if self.version == 4 else 0

    @property
    def tcp_check_offset(self) -> int:
        """Where the checksum of TCP is."""
        return self._transport + 16

    @property
    def ip_sum(self) -> int:
        """The sum that the checksum of IPv4 is of, without the flow."""
        return self._sum_at(self.ip_check_offset) if self.ip_check_offset else 0

    @property
    def tcp_sum(self) -> int:
        """The sum that the checksum of TCP is of, without the flow."""
        return self._sum_at(self.tcp_check_offset)

    def _sum_at(self, offset: int) -> int:
        # The flow's words are 0 in the frame, so that its checksums leave them out.
        return 0xFFFF ^ int.from_bytes(self.frame[offset : offset + 2], "big")


def make_flows(version: int, number: int) -> Flows:
    """Return flows of TCP segments that carry nothing but an acknowledgement."""
    ip = IP(src=_CLIENT4, dst=VIP4) if version == 4 else IPv6(src=_CLIENT6, dst=VIP6)
    # The MACs are the generator's to write.
    frame = Ether(src="02:00:00:00:00:00", dst="02:00:00:00:00:00")
    whole = bytes(frame / ip / TCP(sport=0, dport=PORT, flags="A"))
    return Flows(version, number, whole.ljust(_SHORTEST_FRAME, b"\0"))


@dataclass(frozen=True)
class Run:
    """What became of the frames of one run.

    Attributes:
        sent: how many were sent.
        seconds: how long that took, what came back included.
        by_backend: how many came back for each backend's MAC.
        others: how many frames arrived that should not have.
    """

    sent: int
    seconds: float
    by_backend: tuple[int, ...]
    others: int = 0

    @property
    def received(self) -> int:
        """How many came back as they should."""
        return sum(self.by_backend)

    @property
    def mpps(self) -> float:
        """Millions of packets a second that came back."""
        return self.received / self.seconds / 1e6

    @property
    def loss(self) -> float:
        """The share of what was sent that did not come back."""
        return 1 - self.received / self.sent


def check(run: Run, flows: int, is_spread: bool = True) -> None:
    """See that a run was what it is taken for.

    Args:
        run: the run.
        flows: of how many flows.
        is_spread: whether flows are for backends; all are for one otherwise.

    Raises:
        WrongAnswerError: a frame arrived that should not have, or more than were sent; or a flow
            had several backends, or a backend none of many flows.
    """
    if run.others:
        raise WrongAnswerError(f"{run.others} frames arrived that were not of the flows sent")
    if not 0 < run.received <= run.sent:
        raise WrongAnswerError(f"{run.received} frames arrived of {run.sent}")
    used = sum(1 for frames in run.by_backend if frames)
    wanted = min(flows, len(run.by_backend)) if is_spread else 1
    if used != wanted:
        raise WrongAnswerError(f"{used} backends had frames of {flows} flows, not {wanted}")


def check_change(changed: Run, at_rest: Run) -> None:
    """See that changes lost no frame, and sent every flow where it had been.

    Args:
        changed: a run of whole turns of its flows, under changes.
        at_rest: the same without them.

    Raises:
        WrongAnswerError: a frame is lost, or a backend had more or fewer than it had at rest.
    """
    if lost := changed.sent - changed.received:
        raise WrongAnswerError(f"{lost} frames of {changed.sent} were lost under changes")
    if changed.by_backend != at_rest.by_backend:
        raise WrongAnswerError("under changes, flows went to other backends than before")
