"""What the kernel says of neighbours and links, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface


class Confidence(Enum):
    """How sure the kernel is of a neighbour's MAC (its states are in linux/neighbour.h)."""

    SURE = "reachable, permanent or without ARP"
    UNSURE = "stale, or being asked again"
    FAILED = "did not answer"
    NONE = "not known yet"


@dataclass(frozen=True)
class Neighbour:
    """An entry of the kernel's neighbour tables.

    Attributes:
        device: index of the interface it is behind.
        mac: None where there is none.
        is_managed: the kernel keeps it resolved without traffic (NTF_EXT_MANAGED).
        is_ours: because pydsr has asked for that.
        is_fixed: somebody wrote it, for good (permanent, noarp).
    """

    device: int
    address: IPAddress
    mac: MacAddress | None
    confidence: Confidence
    is_managed: bool = False
    is_ours: bool = False
    is_fixed: bool = False


@dataclass(frozen=True)
class NeighbourGone:
    """An entry that was deleted."""

    device: int
    address: IPAddress


@dataclass(frozen=True)
class PortLearned:
    """A bridge has met a MAC at one of its ports."""

    bridge: int
    port: int
    mac: MacAddress


@dataclass(frozen=True)
class Link:
    """An interface; ``has_carrier`` tells whether frames can leave it."""

    interface: Interface
    has_carrier: bool


@dataclass(frozen=True)
class LinkGone:
    """An interface that was deleted, or has left the network namespace."""

    interface: Interface


News = Neighbour | NeighbourGone | PortLearned | Link | LinkGone
