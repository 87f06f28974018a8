"""Echo requests (ping) by marked sockets."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Container

from dpkt import UnpackError
from dpkt.icmp import ICMP
from dpkt.icmp6 import ICMP6
from dpkt.ip import IP

from pydsr.health.sockets import WaitingSocket, marked_socket, receive
from pydsr.model.addresses import IPAddress

_numbers = itertools.count(1)
_PAYLOAD = b"pydsr health check"
_ECHO4, _REPLY4 = 8, 0
_ECHO6, _REPLY6 = 128, 129


def echo_socket(address: IPAddress, mark: int) -> WaitingSocket:
    """Return a socket that pings one address, and hears of it alone.

    Raises:
        OSError: this machine has no way there, or the process lacks CAP_NET_RAW.
    """
    protocol = socket.IPPROTO_ICMPV6 if address.version == 6 else socket.IPPROTO_ICMP
    raw = marked_socket(address, socket.SOCK_RAW, mark, protocol)
    try:
        raw.connect((str(address), 0))
    except BaseException:
        raw.close()
        raise
    return raw


async def ping(raw: WaitingSocket, address: IPAddress) -> None:
    """Send an echo request and wait for its reply.

    Args:
        raw: made by :func:`echo_socket` for that address.
        address: which is pinged.

    Raises:
        OSError: it cannot be sent, or an ICMP error came back.
    """
    await reply_to({send_request(raw, address)}, raw, address)


def send_request(raw: WaitingSocket, address: IPAddress) -> bytes:
    """Send an echo request, and return what its reply is known by.

    Raises:
        OSError: it cannot be sent, or an ICMP error came back to one before.
    """
    identity, sequence = os.getpid() & 0xFFFF, next(_numbers) & 0xFFFF
    echo = bytes(ICMP.Echo(id=identity, seq=sequence, data=_PAYLOAD))
    if address.version == 6:
        # The kernel completes the checksum of ICMPv6 (RFC 3542, section 3.1).
        raw.send(bytes(ICMP6(type=_ECHO6, sum=1, data=echo)))
    else:
        raw.send(bytes(ICMP(type=_ECHO4, data=echo)))
    return echo


async def reply_to(echoes: Container[bytes], raw: WaitingSocket, address: IPAddress) -> bytes:
    """Wait for a reply to one of several requests, and return which it is to.

    Args:
        echoes: from :func:`send_request`; more may be added meanwhile.
        raw: that they were sent by.
        address: which is pinged.

    Raises:
        OSError: an ICMP error came back.
    """
    while True:
        packet, _ = await receive(raw)
        echo = _echo_of_reply(packet, address.version)
        if echo in echoes:
            return echo


def _echo_of_reply(packet: bytes, version: int) -> bytes:
    """Return identity, number and payload of a reply, as they were sent; nothing of no reply."""
    try:
        message = packet if version == 6 else bytes(IP(packet).data)
    except UnpackError:
        return b""
    wanted = _REPLY6 if version == 6 else _REPLY4
    # Type, code and checksum come first.
    return message[4:] if len(message) >= 4 and message[0] == wanted else b""
