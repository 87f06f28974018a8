"""Tell the network where a VIP is: gratuitous ARP and unsolicited neighbour advertisements.

Also lets the interface receive the solicitations for IPv6 VIPs, which are multicast.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface

_log = logging.getLogger(__name__)

_BROADCAST = b"\xff" * 6
_ETH_ARP = 0x0806
_ETH_IPV6 = 0x86DD
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_SOLICITED_NODE = ipaddress.IPv6Address("ff02::1:ff00:0")
_SIOCADDMULTI = 0x8931
_SIOCDELMULTI = 0x8932
_MULTICASTS = Path("/proc/thread-self/net/dev_mcast")
"""Index, name, users, and the address; a line for each that a device listens to."""


def announce(device: str, mac: MacAddress, vips: Iterable[IPAddress]) -> None:
    """Send one announcement for each VIP out of a device; failures are only logged.

    Args:
        device: its name.
        mac: where the VIPs are: that of the attached interface, which is what the program takes.
        vips: what is announced.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        try:
            raw.bind((device, 0))
            for vip in vips:
                raw.send(announcement(mac.octets, vip))
        except OSError as error:
            _log.warning("%s: VIPs not announced: %s", device, error.strerror)


def announcement(mac: bytes, vip: IPAddress) -> bytes:
    """Return the frame that tells every host that a VIP is at a MAC.

    For IPv4 a gratuitous ARP request (RFC 5944, section 4.6: the form every host takes), for
    IPv6 an unsolicited, overriding neighbour advertisement (RFC 4861, section 7.2.6).
    """
    if isinstance(vip, ipaddress.IPv4Address):
        header = _BROADCAST + mac + struct.pack("!H", _ETH_ARP)
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        return header + arp + mac + vip.packed + bytes(6) + vip.packed
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + vip.packed + b"\x02\x01" + mac
    pseudo_header = vip.packed + _ALL_NODES.packed + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo_header + body)) + body[4:]
    header = multicast_mac(_ALL_NODES) + mac + struct.pack("!H", _ETH_IPV6)
    return (
        header
        + struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
        + vip.packed
        + _ALL_NODES.packed
        + body
    )


def _checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def multicast_mac(group: ipaddress.IPv6Address) -> bytes:
    """Return the MAC that an IPv6 group is sent to (RFC 2464, section 7)."""
    return b"\x33\x33" + group.packed[12:]


def solicited_node_address(vip: ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    """Return the group that solicitations for an address are sent to (RFC 4291, 2.7.1)."""
    return ipaddress.IPv6Address(int(_SOLICITED_NODE) | (int(vip) & 0xFFFFFF))


def solicited_node_mac(vip: ipaddress.IPv6Address) -> bytes:
    """Return the MAC that solicitations for an address are sent to."""
    return multicast_mac(solicited_node_address(vip))


def receive_solicitations(interface: Interface, vips: Iterable[IPAddress]) -> None:
    """Have the NIC let solicitations for IPv6 VIPs through its filter.

    The kernel does that for its own addresses only, and a VIP is none. Doing it twice is
    doing it once.
    """
    for group in solicited_groups(vips):
        try:
            _change_filter(interface, _SIOCADDMULTI, group)
        except OSError as error:
            _log.warning(
                "%s: neighbour solicitations for IPv6 VIPs may not be received: %s",
                interface.name,
                error.strerror,
            )


def stop_receiving(
    interface: Interface, vips: Iterable[IPAddress], left: Iterable[IPAddress] = ()
) -> None:
    """Undo it for VIPs that are gone, but for the groups that those left share with them."""
    for group in solicited_groups(vips) - solicited_groups(left):
        # One that somebody removed by hand is gone already.
        with suppress(OSError):
            _change_filter(interface, _SIOCDELMULTI, group)


def solicited_groups(vips: Iterable[IPAddress]) -> set[bytes]:
    """Return the MACs that solicitations for the IPv6 ones among some VIPs are sent to."""
    return {solicited_node_mac(vip) for vip in vips if isinstance(vip, ipaddress.IPv6Address)}


def unheard(device: str, vips: Iterable[IPAddress]) -> set[ipaddress.IPv6Address]:
    """Return the IPv6 ones among some VIPs whose solicitations a NIC may keep to itself."""
    lines = _MULTICASTS.read_text(encoding="utf-8").splitlines()
    heard = {octets for _, name, *_, octets in map(str.split, lines) if name == device}
    return {
        vip
        for vip in vips
        if isinstance(vip, ipaddress.IPv6Address) and solicited_node_mac(vip).hex() not in heard
    }


def _change_filter(interface: Interface, request: int, group: bytes) -> None:
    argument = struct.pack("16sH6s8x", interface.name.encode(), 0, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, argument)
