"""The connections of the IPVS benchmark: established ones and new ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from bench.wire_flows import PORT, Flows, Run, WrongAnswerError, make_flows

_CLIENTS = 10
"""First octet of every client's address; the second is the round's, the others are the flow's."""

_OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 1))]
_SYN_OPTIONS = [
    ("MSS", 1460),
    ("SAckOK", b""),
    ("Timestamp", (1, 0)),
    ("NOP", None),
    ("WScale", 7),
]


@dataclass(frozen=True)
class Workload:
    """What is sent in every round.

    Attributes:
        name: what the table calls it.
        number: of connections; 0 where they begin all the time.
        begins: whether every frame begins a connection that was not there before.
    """

    name: str
    number: int = 0
    begins: bool = False

    def flows(self, round_number: int, frames: int = 0) -> Flows:
        """Return what is sent in a round of so many frames."""
        if self.begins:
            return _make(frames, "S", 1 + round_number)
        return _make(self.number, "A", 0)

    def opening(self) -> Flows:
        """Return what opens the connections that are to stay."""
        return _make(self.number, "S", 0)


def _make(number: int, flags: str, network: int) -> Flows:
    """Return flows of segments with the options that Linux gives them.

    By the options frames are longer than the shortest of Ethernet: the padding of shorter ones
    would not leave a host's IP again.
    """
    flows = make_flows(4, number)
    packet = Ether(flows.frame)
    packet[IP].src = f"{_CLIENTS}.{network}.0.0"
    options = _SYN_OPTIONS if flags == "S" else _OPTIONS
    packet[IP].remove_payload()
    packet /= TCP(sport=0, dport=PORT, flags=flags, options=options)
    del packet[IP].chksum, packet[IP].len
    return replace(flows, frame=bytes(packet))


def check_kept(run: Run, cycle: Run) -> None:
    """See that every flow had the backend it had before, where no frame was lost.

    Args:
        run: of whole cycles, each a frame of every flow.
        cycle: one such cycle of before.

    Raises:
        WrongAnswerError: the backends' shares are others.
    """
    if run.loss or cycle.loss:
        return
    wanted = tuple(frames * (run.sent // cycle.sent) for frames in cycle.by_backend)
    if run.by_backend != wanted:
        raise WrongAnswerError("flows have other backends than before")


def check_connections(kept: int | None, least: int, most: int) -> None:
    """See that a balancer keeps as many connections as it should, if it says how many.

    Raises:
        WrongAnswerError: they are fewer or more.
    """
    if kept is not None and not least <= kept <= most:
        raise WrongAnswerError(f"{kept} connections are kept, not {least} to {most}")
