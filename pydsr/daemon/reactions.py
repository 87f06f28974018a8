"""Which reaction follows which news of the kernel. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Segment, find_own_macs, find_segments
from pydsr.model.netlink_events import Confidence, Link, Neighbour


class NeighbourReaction(Enum):
    """What news of a backend's neighbour entry asks for."""

    NOTHING = auto()
    FOLLOW = auto()
    """It has another MAC than packets are sent to."""

    SILENT = auto()
    """It has stopped answering."""

    ANSWERS = auto()
    """It answers again."""


def react_to_neighbour(
    before: Neighbour | None, now: Neighbour, kept: Collection[MacAddress]
) -> NeighbourReaction:
    """Return what a change of a neighbour entry asks for.

    A MAC the kernel is sure of is followed. One it is not sure of is followed only if the entry
    had another until now: then the backend itself has announced it, and the kernel uses it as
    well. An old entry that was never confirmed tells nothing; the kernel is asking.

    Args:
        before: the entry as it was known; None if it was not.
        now: the entry.
        kept: the MACs that packets to this backend are sent to.
    """
    was_silent = before is not None and before.confidence is Confidence.FAILED
    if now.confidence is Confidence.FAILED:
        return NeighbourReaction.NOTHING if was_silent else NeighbourReaction.SILENT
    if now.mac is None or not now.mac.is_unicast or now.confidence is Confidence.NONE:
        return NeighbourReaction.NOTHING
    is_news = before is not None and before.mac is not None and before.mac != now.mac
    if now.mac not in kept and (now.confidence is Confidence.SURE or is_news):
        return NeighbourReaction.FOLLOW
    return NeighbourReaction.ANSWERS if was_silent else NeighbourReaction.NOTHING


def remembered(before: Neighbour | None, now: Neighbour) -> Neighbour:
    """Return what to remember of an entry: also the MAC and the silence from before it is asked.

    An entry that failed is asked for again and again, without a MAC in between.
    """
    if before is None or now.confidence is Confidence.SURE:
        return now
    is_asked = now.confidence is Confidence.NONE
    confidence = before.confidence if is_asked else now.confidence
    return replace(now, mac=now.mac or before.mac, confidence=confidence)


class MacChange(Enum):
    """What a change of a backend's MAC is, seen beside those before."""

    NEW = auto()
    DUPLICATE = auto()
    """It went back to the MAC of before: two hosts have the address."""

    STILL_DUPLICATE = auto()
    """The same, not long after that was said."""


class MacHistory:
    """Tells a backend that has another card from two hosts that fight for an address.

    Args:
        seconds: how long a change is remembered.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._left: dict[IPAddress, tuple[MacAddress, float]] = {}
        self._said: dict[IPAddress, float] = {}

    def changed(
        self, address: IPAddress, before: MacAddress, after: MacAddress, now: float
    ) -> MacChange:
        """Return what a change is; ``now`` is in seconds of a monotonic clock."""
        left, when = self._left.get(address, (before, now))
        self._left[address] = before, now
        if left != after or now - when > self._seconds:
            return MacChange.NEW
        said = self._said.get(address)
        if said is not None and now - said <= self._seconds:
            return MacChange.STILL_DUPLICATE
        self._said[address] = now
        return MacChange.DUPLICATE

    def keep_only(self, addresses: Collection[IPAddress]) -> None:
        """Forget what is no backend any more."""
        for known in (self._left, self._said):
            for address in known.keys() - set(addresses):
                del known[address]


class LinkReaction(Enum):
    """What news of a link asks for."""

    NOTHING = auto()
    BACK = auto()
    """An interface the balancer was on is there again."""

    DOWN = auto()
    """An interface the balancer is on carries no frames any more."""

    UP = auto()
    """It does again."""


def react_to_link(
    before: Link | None, now: Link, attached: Collection[int], lost: Collection[str]
) -> LinkReaction:
    """Return what news of an interface asks for.

    Args:
        before: the interface as it was known; None if it was not.
        now: the interface.
        attached: indices of those the balancer is on.
        lost: names of those it was on when they went.
    """
    if now.interface.name in lost and now.interface.index not in attached:
        return LinkReaction.BACK
    if now.interface.index in attached and before is not None:
        worked, works = _works(before), _works(now)
        if worked != works:
            return LinkReaction.UP if works else LinkReaction.DOWN
    return LinkReaction.NOTHING


def _works(link: Link) -> bool:
    return link.interface.is_up and link.has_carrier


def why_down(link: Link) -> str:
    """Return why an interface carries no frames."""
    return "no carrier" if link.interface.is_up else "set down"


@dataclass(frozen=True)
class Shape:
    """Which networks are where, and which MACs packets for the balancer have."""

    segments: Mapping[int, Segment]
    own_macs: Mapping[int, MacAddress]


def shape_of(links: Iterable[Link], attached: Collection[int]) -> Shape:
    """Return the shape of the networks around attached interfaces."""
    interfaces = [link.interface for link in links]
    return Shape(find_segments(interfaces, attached), find_own_macs(interfaces, attached))
