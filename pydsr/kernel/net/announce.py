"""Announcements of VIPs: gratuitous ARP and unsolicited neighbour advertisements."""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable

from pydsr.kernel.net.solicitations import multicast_mac
from pydsr.model.addresses import IPAddress, MacAddress

_log = logging.getLogger(__name__)

_BROADCAST = b"\xff" * 6
_ETH_ARP = 0x0806
_ETH_IPV6 = 0x86DD
_ALL_NODES = ipaddress.IPv6Address("ff02::1")


def announce(device: str, mac: MacAddress, vips: Iterable[IPAddress]) -> None:
    """Announce VIPs with the MAC of the attached interface; failures are only logged."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, 0))
            for vip in vips:
                raw.send(announcement(mac.octets, vip))
    except OSError as error:
        _log.warning("%s: the VIPs could not be announced: %s", device, error.strerror)


def announcement(mac: bytes, vip: IPAddress) -> bytes:
    """Return the frame that announces to every host that a VIP is at a MAC.

    For IPv4 a gratuitous ARP request (RFC 5944, section 4.6: the form that every host accepts), for
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
