"""Who answers for an address on the wire: ARP and neighbour discovery, asked by hand.

The kernel is not asked, because it keeps one answer of several, and none of an address of its own.
What this machine's program answers is not heard: it takes what comes in, not what goes out.

Questions change nothing in those who hear them. For IPv4 they are probes without a sender's address
(RFC 5227, section 2.1). For IPv6 they have one, so that answers come to this machine alone:
those to questions without are sent to all, and make them forget where the VIP is (RFC 4861, 7.2.4).
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from dpkt import UnpackError
from dpkt.arp import ARP, ARP_OP_REPLY, ARP_OP_REQUEST
from dpkt.ethernet import ETH_TYPE_ARP, Ethernet

from pydsr.kernel.machine.facts import Claim
from pydsr.kernel.net.announce import solicited_node_address
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface

_ROUNDS = 2
_ROUND_SECONDS = 0.25
_AT_ONCE = 64
"""How many addresses are asked for in one burst."""

_BROADCAST, _NOBODY = b"\xff" * 6, bytes(4)
_SO_BINDTODEVICE = 25
_ICMP6_FILTER = 1
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_MAC, _TARGET_MAC = b"\x01\x01", b"\x02\x01"
"""The options' types and lengths, in units of eight bytes (RFC 4861, section 4.6.1)."""

_ND_HOPS = 255
_ALL_NODES = "ff02::1"
_LONGEST, _ANCILLARY_BYTES = 2048, 64
_ADVERTISEMENT_FORMAT = struct.Struct("!BBHI16s2s6s")


@dataclass
class Answers:
    """What came of asking for addresses.

    Attributes:
        claims: of each address, who answers for it.
        asked: of each IP version, by which devices its addresses were asked for.
        refused: of each IP version, why those were not asked for by some device.
    """

    claims: dict[IPAddress, set[Claim]] = field(default_factory=dict)
    asked: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    refused: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})


class _Asker:
    """Asks one network for addresses of one IP version."""

    version = 0

    def __init__(self, device: Interface, source: socket.socket) -> None:
        self.device = device
        self.socket = source
        self.socket.setblocking(False)

    def send(self, addresses: Iterable[IPAddress]) -> None:
        """Ask for addresses."""
        for address in addresses:
            # What has no room, or no way now, is asked again in the next round.
            with suppress(OSError):
                self._send(address)

    def receive(self) -> Iterator[tuple[IPAddress, MacAddress]]:
        """Yield who has answered until now."""
        with suppress(BlockingIOError):
            while True:
                answer = self._receive()
                if answer is not None:
                    yield answer

    def _send(self, address: IPAddress) -> None:
        raise NotImplementedError

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        raise NotImplementedError


class _ArpAsker(_Asker):
    version = 4

    def __init__(self, device: Interface) -> None:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_TYPE_ARP))
        super().__init__(device, made)
        _or_closed(made, lambda: made.bind((device.name, ETH_TYPE_ARP)))

    def _send(self, address: IPAddress) -> None:
        mac = self.device.mac.octets
        question = ARP(op=ARP_OP_REQUEST, sha=mac, spa=_NOBODY, tpa=address.packed)
        frame = Ethernet(dst=_BROADCAST, src=mac, type=ETH_TYPE_ARP, data=question)
        self.socket.send(bytes(frame))

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        frame = self.socket.recv(_LONGEST)
        try:
            answer = Ethernet(frame).data
        except UnpackError:
            return None
        if not isinstance(answer, ARP) or answer.op != ARP_OP_REPLY:
            return None
        return ipaddress.IPv4Address(answer.spa), MacAddress(answer.sha)


class _NdAsker(_Asker):
    version = 6

    def __init__(self, device: Interface) -> None:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        super().__init__(device, made)
        _or_closed(made, self._prepare)

    def _prepare(self) -> None:
        options = (
            (socket.SOL_SOCKET, _SO_BINDTODEVICE, self.device.name.encode()),
            (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _ND_HOPS),
            (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1),
            (socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _all_but(_ADVERTISEMENT)),
        )
        for level, name, value in options:
            self.socket.setsockopt(level, name, value)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as chooser:
            chooser.connect((_ALL_NODES, 1, 0, self.device.index))
            source = chooser.getsockname()
        self.socket.bind((source[0], 0, 0, source[3]))

    def _send(self, address: IPAddress) -> None:
        # The kernel completes the checksum of ICMPv6 (RFC 3542, section 3.1).
        message = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
        group = str(solicited_node_address(ipaddress.IPv6Address(address)))
        self.socket.sendto(
            message + _SOURCE_MAC + self.device.mac.octets, (group, 0, 0, self.device.index)
        )

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        message, ancillary, *_ = self.socket.recvmsg(_LONGEST, _ANCILLARY_BYTES)
        hops = [int.from_bytes(data, sys.byteorder) for *_, data in ancillary]
        # Whatever a router has passed on is from no host of this network.
        if hops != [_ND_HOPS] or len(message) < _ADVERTISEMENT_FORMAT.size:
            return None
        *_, target, option, mac = _ADVERTISEMENT_FORMAT.unpack_from(message)
        if option != _TARGET_MAC:
            return None
        return ipaddress.IPv6Address(target), MacAddress(mac)


def _or_closed(made: socket.socket, prepare: Callable[[], None]) -> None:
    try:
        prepare()
    except BaseException:
        made.close()
        raise


def _all_but(kind: int) -> bytes:
    """Return the filter that lets one type of ICMPv6 through (RFC 3542, section 3.2)."""
    blocked = [0xFFFFFFFF] * 8
    blocked[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *blocked)


def ask(devices: Sequence[Interface], addresses: Iterable[IPAddress]) -> Answers:
    """Ask the networks of some devices for addresses, and hear who answers within half a second.

    Args:
        devices: that are up.
        addresses: half a second for each 64 of them.

    Raises:
        PermissionError: CAP_NET_RAW is missing.
    """
    wanted = list(addresses)
    answers = Answers({address: set() for address in wanted})
    with ExitStack() as stack:
        listeners: dict[socket.socket, _Asker] = {}
        for version, kind in ((4, _ArpAsker), (6, _NdAsker)):
            if not any(address.version == version for address in wanted):
                continue
            for device in devices:
                try:
                    asker = kind(device)
                except PermissionError:
                    raise
                except OSError as error:
                    answers.refused[version].append(f"{device.name}: {error.strerror}")
                    continue
                listeners[stack.enter_context(asker.socket)] = asker
                answers.asked[version].append(device.name)
        for start in range(0, len(wanted), _AT_ONCE):
            _ask_some(wanted[start : start + _AT_ONCE], listeners, answers)
    return answers


def _ask_some(
    addresses: Sequence[IPAddress],
    listeners: Mapping[socket.socket, _Asker],
    answers: Answers,
) -> None:
    for _ in range(_ROUNDS):
        for asker in listeners.values():
            asker.send(address for address in addresses if address.version == asker.version)
        until = time.monotonic() + _ROUND_SECONDS
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select(list(listeners), [], [], left)
            for source in readable:
                asker = listeners[source]
                for address, mac in asker.receive():
                    if address in answers.claims:
                        answers.claims[address].add(Claim(mac, asker.device.name))
