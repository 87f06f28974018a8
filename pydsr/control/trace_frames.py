"""Frames that ask the loaded program a question; they are never sent. Pure."""

from __future__ import annotations

import struct

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Protocol

FRAME_BYTES_MIN = 60
"""What the shortest frame is filled up to on the wire (IEEE 802.3, without its check sequence)."""

# Any two that are not multicast.
_TO, _FROM = b"\x02\x00\x00\x00\x00\x01", b"\x02\x00\x00\x00\x00\x02"
_MAC_BYTES, _ARP_BYTES, _TO_TCP_FLAGS = 6, 28, 14
_EXTENSIONS_BYTES = 128  # the packet in an ICMP error, or extension headers of IPv6
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_TAGS = (b"\x81\x00", b"\x88\xa8")
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_SCTP_DATA, _SCTP_INIT = 0, 1
_TCP_SYN = 0x02
_TCP_ACK = 0x10


def question(
    endpoint: Endpoint,
    source: IPAddress,
    source_port: int,
    syn: bool = False,
    to: MacAddress | None = None,
) -> bytes:
    """Return a frame of a flow to an endpoint.

    Args:
        endpoint: where it goes.
        source: the client; of the endpoint's IP version.
        source_port: the client's port.
        syn: a packet that opens a connection (SYN, INIT) rather than one within it.
        to: the MAC it is sent to; None where that does not matter.

    Returns:
        Ethernet, IPv4 (RFC 791) or IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768) or SCTP
        (RFC 9260), without checksums, which the program does not look at.
    """
    ports = struct.pack("!HH", source_port, endpoint.port)
    number = _NUMBERS[endpoint.protocol]
    if endpoint.protocol is Protocol.TCP:
        flags = _TCP_SYN if syn else _TCP_ACK
        transport = ports + struct.pack("!IIBBHHH", 0, 0, 5 << 4, flags, 0, 0, 0)
    elif endpoint.protocol is Protocol.SCTP:
        chunk = _SCTP_INIT if syn else _SCTP_DATA
        transport = ports + struct.pack("!IIBBH", 0, 0, chunk, 0, 4)
    else:
        transport = ports + struct.pack("!HH", 8, 0)
    if endpoint.address.version == 4:
        total = 20 + len(transport)
        network = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0, 64, number, 0)
        eth_proto = _IPV4
    else:
        network = struct.pack("!IHBB", 6 << 28, len(transport), number, 64)
        eth_proto = _IPV6
    addresses = source.packed + endpoint.address.packed
    header = (_TO if to is None else to.octets) + _FROM + eth_proto
    return (header + network + addresses + transport).ljust(64, b"\0")


def sent_to(frame: bytes, mac: MacAddress) -> bytes:
    """Return a frame as if it was sent to a MAC; one that was sent to many stays as it is."""
    return frame if frame[0] & 1 else mac.octets + frame[6:]


def headers_bytes(frame: bytes) -> int:
    """Return how much of a frame is enough to tell where it goes.

    Args:
        frame: from its Ethernet header on; what was captured of it.
    """
    at = 2 * _MAC_BYTES
    while frame[at : at + 2] in _TAGS:
        at += 4
    kind, at = frame[at : at + 2], at + 2
    if kind not in (_IPV4, _IPV6):
        return at + _ARP_BYTES
    if len(frame) < at + 20:
        return at + 20
    if kind == _IPV4:
        end, protocol = at + (frame[at] & 15) * 4, frame[at + 9]
    else:
        end, protocol = at + 40, frame[at + 6]
    return end + (_TO_TCP_FLAGS if protocol in _NUMBERS.values() else _EXTENSIONS_BYTES)
