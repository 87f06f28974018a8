"""Decide what to do about netlink events of neighbours and links. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Segment, find_own_macs, find_segments
from pydsr.model.netlink_events import Confidence, Link, Neighbour


class NeighbourReaction(Enum):
    """What to do about a change of a backend's neighbour entry."""

    NOTHING = auto()
    FOLLOW = auto()
    """Send packets to its new MAC."""

    SILENT = auto()
    """Report that it stopped answering."""


def react_to_neighbour(
    before: Neighbour | None, now: Neighbour, known_macs: Collection[MacAddress]
) -> NeighbourReaction:
    """Return what to do about a change of a neighbour entry.

    A MAC that the kernel has confirmed is followed. An unconfirmed MAC is followed only if it
    replaces another one: then the backend announced it itself, and the kernel uses it as well. An
    old entry that was never confirmed is ignored, because the kernel is asking again.

    Args:
        before: the last entry; None if there was none.
        now: the present entry.
        known_macs: the MACs to which packets for this backend are sent.
    """
    if now.confidence is Confidence.FAILED:
        was_silent = before is not None and before.confidence is Confidence.FAILED
        return NeighbourReaction.NOTHING if was_silent else NeighbourReaction.SILENT
    if now.mac is None or not now.mac.is_unicast or now.confidence is Confidence.NONE:
        return NeighbourReaction.NOTHING
    is_replaced = before is not None and before.mac is not None and before.mac != now.mac
    if now.mac not in known_macs and (now.confidence is Confidence.SURE or is_replaced):
        return NeighbourReaction.FOLLOW
    return NeighbourReaction.NOTHING


def merge_neighbour(before: Neighbour | None, now: Neighbour) -> Neighbour:
    """Return the entry to remember: the last MAC and failure survive while the kernel asks again.

    A failed entry is asked for again and again, without a MAC in between.
    """
    if before is None or now.confidence is Confidence.SURE:
        return now
    is_asking = now.confidence is Confidence.NONE
    confidence = before.confidence if is_asking else now.confidence
    return replace(now, mac=now.mac or before.mac, confidence=confidence)


class MacChange(Enum):
    """The meaning of a MAC change, given the changes before it."""

    NEW = auto()
    DUPLICATE = auto()
    """The MAC changed back: two hosts use the address."""

    STILL_DUPLICATE = auto()
    """The same again, shortly after a DUPLICATE."""


class MacHistory:
    """Distinguishes a backend with a new NIC from two hosts that use the same address."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._replaced: dict[IPAddress, tuple[MacAddress, float]] = {}
        self._reported: dict[IPAddress, float] = {}

    def record(
        self, address: IPAddress, before: MacAddress, after: MacAddress, now: float
    ) -> MacChange:
        """Record a change and return its meaning; ``now`` is monotonic seconds."""
        replaced, when = self._replaced.get(address, (before, now))
        self._replaced[address] = before, now
        if replaced != after or now - when > self._seconds:
            return MacChange.NEW
        reported = self._reported.get(address)
        if reported is not None and now - reported <= self._seconds:
            return MacChange.STILL_DUPLICATE
        self._reported[address] = now
        return MacChange.DUPLICATE

    def keep_only(self, addresses: Collection[IPAddress]) -> None:
        """Forget all other addresses."""
        for known in (self._replaced, self._reported):
            for address in known.keys() - set(addresses):
                del known[address]


class LinkReaction(Enum):
    """What to do about a change of a link."""

    NOTHING = auto()
    BACK = auto()
    """Attach to an interface that was lost and exists again."""

    DOWN = auto()
    """Report that an attached interface is down."""

    UP = auto()
    """Report that it is up again."""


def react_to_link(
    before: Link | None, now: Link, attached: Collection[int], lost: Collection[str]
) -> LinkReaction:
    """Return what to do about a change of an interface.

    Args:
        before: the last state; None if it was unknown.
        now: the present state.
        attached: indices of attached interfaces.
        lost: names of interfaces that vanished while attached.
    """
    if now.interface.name in lost and now.interface.index not in attached:
        return LinkReaction.BACK
    if now.interface.index in attached and before is not None and _works(before) != _works(now):
        return LinkReaction.UP if _works(now) else LinkReaction.DOWN
    return LinkReaction.NOTHING


def _works(link: Link) -> bool:
    return link.interface.is_up and link.has_carrier


def why_down(link: Link) -> str:
    """Return why a link is down."""
    return "no carrier" if link.interface.is_up else "set down"


@dataclass(frozen=True)
class Topology:
    """The networks behind each interface, and the destination MACs of the balancer's packets."""

    segments: Mapping[int, Segment]
    own_macs: Mapping[int, MacAddress]


def topology_of(links: Iterable[Link], attached: Collection[int]) -> Topology:
    """Return the topology around attached interfaces."""
    interfaces = [link.interface for link in links]
    return Topology(find_segments(interfaces, attached), find_own_macs(interfaces, attached))
