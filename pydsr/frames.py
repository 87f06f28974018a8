"""Frames that ask the loaded program a question; they are never sent. Pure."""

from __future__ import annotations

import struct

from pydsr.model import Endpoint, IPAddress, Protocol

# The program only asks that they are not multicast.
_MACS = b"\x02\x00\x00\x00\x00\x01" + b"\x02\x00\x00\x00\x00\x02"
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
_SCTP_DATA, _SCTP_INIT = 0, 1
_TCP_SYN = 0x02
_TCP_ACK = 0x10


def question(endpoint: Endpoint, source: IPAddress, source_port: int, syn: bool = False) -> bytes:
    """Return a frame of a flow to an endpoint.

    Args:
        endpoint: where it goes.
        source: the client; of the endpoint's IP version.
        source_port: the client's port.
        syn: a packet that opens a connection (SYN, INIT) rather than one within it.

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
        eth_proto = 0x0800
    else:
        network = struct.pack("!IHBB", 6 << 28, len(transport), number, 64)
        eth_proto = 0x86DD
    addresses = source.packed + endpoint.address.packed
    header = _MACS + struct.pack("!H", eth_proto)
    return (header + network + addresses + transport).ljust(64, b"\0")
