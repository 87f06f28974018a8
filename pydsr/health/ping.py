"""Ping addresses through marked sockets."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Container

from dpkt import UnpackError
from dpkt.icmp import ICMP
from dpkt.icmp6 import ICMP6
from dpkt.ip import IP

from pydsr.health.sockets import PolledSocket, marked_socket, receive
from pydsr.model.addresses import IPAddress

_numbers = itertools.count(1)
_PAYLOAD = b"pydsr health check"
_ECHO4, _REPLY4 = 8, 0
_ECHO6, _REPLY6 = 128, 129


def ping_socket(address: IPAddress, mark: int) -> PolledSocket:
    """Return a raw socket that sends to one address and receives from it only.

    Raises:
        OSError: there is no route to it, or the process lacks CAP_NET_RAW.
    """
    protocol = socket.IPPROTO_ICMPV6 if address.version == 6 else socket.IPPROTO_ICMP
    raw = marked_socket(address, socket.SOCK_RAW, mark, protocol)
    try:
        raw.connect((str(address), 0))
    except OSError:
        raw.close()
        raise
    return raw


async def ping(raw: PolledSocket, address: IPAddress) -> None:
    """Send an echo request through a :func:`ping_socket`, and wait for its reply.

    Raises:
        OSError: the request cannot be sent, or an ICMP error came back.
    """
    await reply_to({send_request(raw, address)}, raw, address)


def send_request(raw: PolledSocket, address: IPAddress) -> bytes:
    """Send an echo request, and return the bytes that its reply repeats.

    Raises:
        OSError: it cannot be sent, or an ICMP error came back to an earlier request.
    """
    identity, sequence = os.getpid() & 0xFFFF, next(_numbers) & 0xFFFF
    echo = bytes(ICMP.Echo(id=identity, seq=sequence, data=_PAYLOAD))
    if address.version == 6:
        # The kernel fills in the checksum of ICMPv6 (RFC 3542, section 3.1).
        raw.send(bytes(ICMP6(type=_ECHO6, sum=1, data=echo)))
    else:
        raw.send(bytes(ICMP(type=_ECHO4, data=echo)))
    return echo


async def reply_to(echoes: Container[bytes], raw: PolledSocket, address: IPAddress) -> bytes:
    """Wait for a reply to one of several requests, which may grow meanwhile, and return that one.

    Raises:
        OSError: an ICMP error came back.
    """
    while True:
        packet, _ = await receive(raw)
        echo = _echo_of_reply(packet, address.version)
        if echo in echoes:
            return echo


def _echo_of_reply(packet: bytes, version: int) -> bytes:
    """Return a reply's identifier, number and payload, as sent; empty if it is not a reply."""
    try:
        message = packet if version == 6 else bytes(IP(packet).data)
    except UnpackError:
        return b""
    wanted = _REPLY6 if version == 6 else _REPLY4
    # Type, code and checksum come first.
    return message[4:] if len(message) >= 4 and message[0] == wanted else b""
