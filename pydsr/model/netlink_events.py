"""Netlink events about neighbours and links, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface


class Confidence(Enum):
    """The certainty of a neighbour's MAC, from its state in linux/neighbour.h."""

    SURE = "reachable, permanent or noarp"
    UNSURE = "stale, delay or probe"
    FAILED = "failed"
    NONE = "incomplete"


@dataclass(frozen=True)
class Neighbour:
    """An entry of the kernel's neighbour table.

    Attributes:
        device: index of its interface.
        mac: None if it is unknown.
        is_managed: the kernel keeps it resolved without traffic (NTF_EXT_MANAGED).
        is_ours: it is managed because pydsr asked for that.
        is_fixed: somebody configured it (permanent or noarp).
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
    """A deleted neighbour entry."""

    device: int
    address: IPAddress


@dataclass(frozen=True)
class PortLearned:
    """A bridge has learned a MAC at one of its ports."""

    bridge: int
    port: int
    mac: MacAddress


@dataclass(frozen=True)
class Link:
    """An interface; ``has_carrier`` says whether it can send frames."""

    interface: Interface
    has_carrier: bool


@dataclass(frozen=True)
class LinkGone:
    """An interface that was deleted or left the network namespace."""

    interface: Interface


NetlinkEvent = Neighbour | NeighbourGone | PortLearned | Link | LinkGone
