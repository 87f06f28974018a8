"""Network interfaces, and which networks attached ones lead to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydsr.model.addresses import MAX_TAGS, MacAddress, Tag


@dataclass(frozen=True)
class Interface:
    """A network interface as netlink shows it.

    Attributes:
        xdp_mode: how an XDP program is attached; empty if there is none.
        xdp_program: that program's id, or 0.
        parent: index of the device it is on top of (macvlan, VLAN); 0 if there is none, or if it
            is in another network namespace.
        master: index of the bond or bridge it is part of, or 0.
        kind: the kernel's name of its type (vlan, bond, bridge, veth…); empty for hardware.
        tag: the tag on the frames of a VLAN device.
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
    """A network that an attached interface leads to.

    Attributes:
        ifindex: the attached interface; or the bridge that it is a port of, which knows the port
            of each MAC.
        tags: the VLAN tags of frames there, outermost first.
    """

    ifindex: int
    tags: tuple[Tag, ...] = ()


def find_segments(
    interfaces: Iterable[Interface], attached: Collection[int]
) -> Mapping[int, Segment]:
    """Return the segments of attached interfaces, of bridges over them, and of VLANs above those.

    Args:
        interfaces: all of this network namespace.
        attached: indices of the attached ones.

    Returns:
        The segment by the index of each device that hosts are behind.
    """
    by_index = {interface.index: interface for interface in interfaces}
    masters = {device.master for device in by_index.values() if device.index in attached}
    bridges = {index for index in masters & by_index.keys() if by_index[index].kind == "bridge"}
    ends = {*attached, *bridges}
    segments = {}
    for device in by_index.values():
        segment = _segment_of(device, by_index, ends)
        if segment is not None:
            segments[device.index] = segment
    return segments


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
    """Return whether attached interfaces have VLAN devices above them."""
    return any(segment.tags for segment in find_segments(interfaces, attached).values())


def find_own_macs(
    interfaces: Iterable[Interface], attached: Collection[int]
) -> dict[int, MacAddress]:
    """Return the MACs that packets for the balancer are sent to, by index of their ingress.

    A packet of a bond arrives by one of its parts, and the program sees that part.
    """
    by_index = {interface.index: interface for interface in interfaces}
    macs = {}
    for device in by_index.values():
        master = by_index.get(device.master)
        if device.index in attached:
            macs[device.index] = device.mac
        elif master is not None and master.kind == "bond" and master.index in attached:
            macs[device.index] = master.mac
    return macs


def lowest_parent(device: Interface, by_index: Mapping[int, Interface]) -> Interface:
    """Return the device below a stack of VLAN devices; any other device itself."""
    while device.kind == "vlan" and device.parent in by_index:
        device = by_index[device.parent]
    return device


def parts_of(device: Interface, by_index: Mapping[int, Interface]) -> list[str]:
    """Return the names of a bridge's ports or a bond's parts."""
    return [part.name for part in by_index.values() if part.master == device.index]
