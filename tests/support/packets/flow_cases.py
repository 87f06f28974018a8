"""The packets of a flow while its slot is changing, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.packets.case_services import (
    LEARNING,
    LEARNING_BY_SOURCE,
    LOOKED_UP,
    LOOKED_UP_NEW,
    NEW,
    NEW6,
    OLD,
    OLD6,
    OLD_BY_SOURCE,
    OLD_UDP,
    SETTLING,
    SETTLING_NEW,
    Packet,
    ip4,
    ip6,
    tcp,
    tcp4,
    udp,
)

PREVIOUS, CURRENT, RECORDED = "forwarded_previous", "forwarded_current", "forwarded_recorded"


@dataclass(frozen=True)
class Step:
    """A packet of the story, the reason it is forwarded for, and the backend it goes to."""

    frame: Packet
    reason: str
    backend: int


@dataclass(frozen=True)
class Story:
    """Packets in their order, and what is remembered after them.

    Attributes:
        recorded: the backends that flow records name in the end.
        pending: those that SYNs wait for.
    """

    description: str
    steps: tuple[Step, ...]
    recorded: tuple[int, ...] = ()
    pending: tuple[int, ...] = ()


_SYN, _ACK = tcp4(LEARNING, "S"), tcp4(LEARNING, "A")

STORIES = (
    Story(
        "an old flow is recorded at its first packet and followed from then on",
        (Step(_ACK, PREVIOUS, OLD), Step(_ACK, RECORDED, OLD), Step(_ACK, RECORDED, OLD)),
        recorded=(OLD,),
    ),
    Story(
        "a SYN alone is pending, and is no record",
        (Step(_SYN, CURRENT, NEW),),
        pending=(NEW,),
    ),
    Story(
        "a repeated SYN is pending still",
        (Step(_SYN, CURRENT, NEW), Step(_SYN, CURRENT, NEW)),
        pending=(NEW,),
    ),
    Story(
        "the packet after the SYN promotes the flow to a record",
        (Step(_SYN, CURRENT, NEW), Step(_ACK, RECORDED, NEW)),
        recorded=(NEW,),
    ),
    Story(
        "a new flow stays where its SYN went",
        (Step(_SYN, CURRENT, NEW), Step(_ACK, RECORDED, NEW), Step(_ACK, RECORDED, NEW)),
        recorded=(NEW,),
    ),
    Story(
        "a client that reuses its port gets a new flow",
        (
            Step(_ACK, PREVIOUS, OLD),
            Step(_ACK, RECORDED, OLD),
            Step(_SYN, CURRENT, NEW),
            Step(_ACK, RECORDED, NEW),
            Step(_ACK, RECORDED, NEW),
        ),
        recorded=(NEW,),
    ),
    Story(
        "flows of other ports are flows of their own",
        (
            Step(_SYN, CURRENT, NEW),
            Step(tcp4(LEARNING, source_port=1), PREVIOUS, OLD),
            Step(_ACK, RECORDED, NEW),
            Step(tcp4(LEARNING, source_port=1), RECORDED, OLD),
        ),
        recorded=(OLD, NEW),
    ),
    Story(
        "a reset of an old flow goes to its backend",
        (Step(_ACK, PREVIOUS, OLD), Step(tcp4(LEARNING, "R"), RECORDED, OLD)),
        recorded=(OLD,),
    ),
    Story(
        "an old flow over IPv6 is followed",
        (
            Step(ip6() / tcp(LEARNING), PREVIOUS, OLD6),
            Step(ip6() / tcp(LEARNING), RECORDED, OLD6),
        ),
        recorded=(OLD6,),
    ),
    Story(
        "a new flow over IPv6 is followed",
        (
            Step(ip6() / tcp(LEARNING, "S"), CURRENT, NEW6),
            Step(ip6() / tcp(LEARNING), RECORDED, NEW6),
        ),
        recorded=(NEW6,),
    ),
    Story(
        "UDP has no SYN: every flow is old while the service learns",
        (
            Step(ip4() / udp(LEARNING), PREVIOUS, OLD_UDP),
            Step(ip4() / udp(LEARNING), RECORDED, OLD_UDP),
        ),
        recorded=(OLD_UDP,),
    ),
    Story(
        "with affinity by source a SYN opens nothing: the client is known or old",
        (
            Step(tcp4(LEARNING_BY_SOURCE, "S"), PREVIOUS, OLD_BY_SOURCE),
            Step(tcp4(LEARNING_BY_SOURCE, "A"), RECORDED, OLD_BY_SOURCE),
            Step(tcp4(LEARNING_BY_SOURCE, "S", 1), RECORDED, OLD_BY_SOURCE),
        ),
        recorded=(OLD_BY_SOURCE,),
    ),
    Story(
        "settling: what has no record goes to the current backend, and gets none",
        (
            Step(tcp4(SETTLING), CURRENT, SETTLING_NEW),
            Step(tcp4(SETTLING), CURRENT, SETTLING_NEW),
        ),
    ),
    Story(
        "settling: a new flow is followed",
        (
            Step(tcp4(SETTLING, "S"), CURRENT, SETTLING_NEW),
            Step(tcp4(SETTLING), RECORDED, SETTLING_NEW),
        ),
        recorded=(SETTLING_NEW,),
    ),
    Story(
        "looked up: what has no record goes to the current backend, and gets none",
        (Step(tcp4(LOOKED_UP), CURRENT, LOOKED_UP_NEW),) * 2,
    ),
)
