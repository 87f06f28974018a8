"""Let neighbour solicitations for IPv6 VIPs through a NIC's multicast filter.

The kernel joins the groups of its own addresses only, and a VIP is not an address of the balancer.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path

from pydsr.model.addresses import IPAddress
from pydsr.model.interfaces import Interface

_log = logging.getLogger(__name__)

_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0")
_SIOCADDMULTI = 0x8931
_SIOCDELMULTI = 0x8932
_MULTICASTS = Path("/proc/thread-self/net/dev_mcast")
"""A line for each group that a device has joined: index, name, users, and the MAC."""


def multicast_mac(group: IPv6Address) -> bytes:
    """Return the MAC that an IPv6 group is sent to (RFC 2464, section 7)."""
    return b"\x33\x33" + group.packed[12:]


def solicited_node_address(address: IPv6Address) -> IPv6Address:
    """Return the group that solicitations for an address are sent to (RFC 4291, 2.7.1)."""
    return IPv6Address(int(_SOLICITED_NODE) | (int(address) & 0xFFFFFF))


def receive_solicitations(interface: Interface, vips: Iterable[IPAddress]) -> None:
    """Make a NIC receive solicitations for the IPv6 VIPs; failures are only logged."""
    for group in _groups(vips):
        try:
            _change_filter(interface, _SIOCADDMULTI, group)
        except OSError as error:
            _log.warning(
                "%s may not receive neighbour solicitations for IPv6 VIPs: %s",
                interface.name,
                error.strerror,
            )


def stop_receiving(
    interface: Interface, gone: Iterable[IPAddress], left: Iterable[IPAddress] = ()
) -> None:
    """Leave the groups of removed VIPs, except groups shared with remaining VIPs."""
    for group in _groups(gone) - _groups(left):
        # Another program may have left the group.
        with suppress(OSError):
            _change_filter(interface, _SIOCDELMULTI, group)


def unheard(device: str, vips: Iterable[IPAddress]) -> set[IPv6Address]:
    """Return the IPv6 VIPs whose solicitations a NIC may filter out."""
    lines = _MULTICASTS.read_text(encoding="utf-8").splitlines()
    joined = {octets for _, name, *_, octets in map(str.split, lines) if name == device}
    return {vip for vip in vips if isinstance(vip, IPv6Address) and _group(vip).hex() not in joined}


def _group(vip: IPv6Address) -> bytes:
    return multicast_mac(solicited_node_address(vip))


def _groups(vips: Iterable[IPAddress]) -> set[bytes]:
    return {_group(vip) for vip in vips if isinstance(vip, IPv6Address)}


def _change_filter(interface: Interface, request: int, group: bytes) -> None:
    argument = struct.pack("16sH6s8x", interface.name.encode(), 0, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, argument)
