"""Where on the network a device is: behind which attached interface, in which VLANs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydsr.model.addresses import MAX_TAGS, MacAddress, Tag


@dataclass(frozen=True)
class Interface:
    """A network interface as netlink shows it.

    Attributes:
        xdp_mode: how an XDP program is attached; empty where there is none.
        xdp_program: that program's id, or 0.
        parent: index of the device it is on top of (macvlan, VLAN), or 0; also 0 where that one
            is in another network namespace.
        master: index of the bond or bridge it is part of, or 0.
        kind: what the kernel calls its type (vlan, bond, bridge, veth…); empty for hardware.
        tag: of a VLAN device, the tag on its frames.
    """

    index: int
    name: str
    mac: MacAddress
    mtu: int
    is_up: bool
    xdp_mode: str = ""
    xdp_program: int = 0
    parent: int = 0
    master: int = 0
    kind: str = ""
    tag: Tag | None = None


@dataclass(frozen=True)
class Segment:
    """A network that the balancer is on.

    Attributes:
        ifindex: the attached interface that leads there; or a bridge with one among its ports,
            which knows by the MAC behind which port a host is.
        tags: those of frames there, outermost first.
    """

    ifindex: int
    tags: tuple[Tag, ...] = ()


def find_segments(
    interfaces: Iterable[Interface], attached: Collection[int]
) -> Mapping[int, Segment]:
    """Return the segments of attached interfaces, of bridges over them, and of VLANs above those.

    Args:
        interfaces: all of this network namespace.
        attached: indices of those the balancer is on.

    Returns:
        By index of the device.
    """
    by_index = {interface.index: interface for interface in interfaces}
    masters = {device.master for device in by_index.values() if device.index in attached}
    bridges = {index for index in masters & by_index.keys() if by_index[index].kind == "bridge"}
    ends = {*attached, *bridges}
    found = {}
    for device in by_index.values():
        segment = _segment_of(device, by_index, ends)
        if segment is not None:
            found[device.index] = segment
    return found


def _segment_of(
    device: Interface, by_index: Mapping[int, Interface], ends: Collection[int]
) -> Segment | None:
    tags: tuple[Tag, ...] = ()
    while device.index not in ends:
        below = by_index.get(device.parent)
        if device.tag is None or below is None or len(tags) == MAX_TAGS:
            return None
        # The device nearest to the wire puts its tag outermost.
        tags = (device.tag, *tags)
        device = below
    return Segment(device.index, tags)


def has_vlans(interfaces: Iterable[Interface], attached: Collection[int]) -> bool:
    """Return whether there are VLAN devices above attached interfaces."""
    return any(segment.tags for segment in find_segments(interfaces, attached).values())


def find_own_macs(
    interfaces: Iterable[Interface], attached: Collection[int]
) -> dict[int, MacAddress]:
    """Return the MAC that packets for the balancer have, by index of what they come in by.

    What comes in by a bond comes in by one of its parts: that is what a program in the driver sees.
    """
    by_index = {interface.index: interface for interface in interfaces}
    found = {}
    for device in by_index.values():
        master = by_index.get(device.master)
        if device.index in attached:
            found[device.index] = device.mac
        elif master is not None and master.kind == "bond" and master.index in attached:
            found[device.index] = master.mac
    return found


def lowest_parent(device: Interface, by_index: Mapping[int, Interface]) -> Interface:
    """Return the device that a stack of VLAN devices stands on; itself for any other."""
    while device.kind == "vlan" and device.parent in by_index:
        device = by_index[device.parent]
    return device


def parts_of(device: Interface, by_index: Mapping[int, Interface]) -> list[str]:
    """Return the names of a bridge's ports or a bond's parts."""
    return [one.name for one in by_index.values() if one.master == device.index]
