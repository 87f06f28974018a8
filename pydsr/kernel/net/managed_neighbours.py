"""Neighbour entries that the kernel keeps resolved for pydsr, without traffic (NTF_EXT_MANAGED)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address

from pydsr.kernel.net.netlink import NetlinkError, NetlinkMessage, mac_of, ndmsg, netlink
from pydsr.model.addresses import IPAddress
from pydsr.model.netlink_events import Confidence, Neighbour

_NTF_EXT_MANAGED = 1 << 0
_PROTOCOL = 69
"""Marks an entry as pydsr's (NDA_PROTOCOL); unused in iproute2's ``rt_protos``."""

_FIXED = ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP
_SURE = ndmsg.NUD_REACHABLE | _FIXED
_UNSURE = ndmsg.NUD_STALE | ndmsg.NUD_DELAY | ndmsg.NUD_PROBE


def decode_neighbour(message: NetlinkMessage) -> Neighbour | None:
    """Return the neighbour in a decoded message; None where it has no IP address."""
    if message["family"] not in (socket.AF_INET, socket.AF_INET6) or not message.get("dst"):
        return None
    state = message["state"]
    if state & _SURE:
        confidence = Confidence.SURE
    elif state & _UNSURE:
        confidence = Confidence.UNSURE
    elif state & ndmsg.NUD_FAILED:
        confidence = Confidence.FAILED
    else:
        confidence = Confidence.NONE
    is_managed = bool((message.get("flags_ext") or 0) & _NTF_EXT_MANAGED)
    return Neighbour(
        message["ifindex"],
        ip_address(message.get("dst")),
        mac_of(message),
        confidence,
        is_managed=is_managed,
        is_ours=is_managed and message.get("protocol") == _PROTOCOL,
        is_fixed=bool(state & _FIXED),
    )


def find_neighbours(devices: Collection[int]) -> list[Neighbour]:
    """Return all neighbours behind devices, given by index, of both IP versions."""
    with netlink() as ip:
        decoded = [
            decode_neighbour(message)
            for family in (socket.AF_INET, socket.AF_INET6)
            for message in ip.neighbours(family)
            if message["ifindex"] in devices
        ]
    return [neighbour for neighbour in decoded if neighbour is not None]


def keep_resolved(wanted: Iterable[tuple[IPAddress, int]]) -> list[IPAddress]:
    """Make the kernel keep addresses behind devices resolved; return the refused ones."""
    refused = []
    with netlink() as ip:
        for address, device in wanted:
            try:
                ip.replace_neighbour(
                    address, device, NDA_FLAGS_EXT=_NTF_EXT_MANAGED, NDA_PROTOCOL=_PROTOCOL
                )
            except NetlinkError as error:
                if error.code in (errno.EPERM, errno.EACCES):
                    raise
                refused.append(address)
    return refused


def delete_entries(entries: Iterable[tuple[IPAddress, int]]) -> None:
    """Delete entries that were kept resolved; the kernel resolves them again on demand."""
    with netlink() as ip:
        for address, device in entries:
            try:
                ip.delete_neighbour(address, device)
            except NetlinkError as error:
                if error.code not in (errno.ENOENT, errno.ENODEV):
                    raise
