"""Ask the network who answers for an address, by ARP and neighbour discovery.

The kernel's own tables do not say: they keep one of several answers, and none for an address of
this machine. Answers of this machine's own XDP program are not received: they only go out.

The queries change nothing on other hosts. For IPv4 they are probes without a sender address
(RFC 5227, section 2.1). For IPv6 they have a sender, so that answers come to this machine alone:
answers to solicitations without a sender go to all nodes, which then forget where the VIP is
(RFC 4861, section 7.2.4).
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from dpkt import UnpackError
from dpkt.arp import ARP, ARP_OP_REPLY, ARP_OP_REQUEST
from dpkt.ethernet import ETH_TYPE_ARP, Ethernet

from pydsr.kernel.net.solicitations import solicited_node_address
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface

_ROUNDS = 2
_ROUND_SECONDS = 0.25
_BURST = 64
"""The number of addresses asked for at once."""

_BROADCAST, _NO_SENDER = b"\xff" * 6, bytes(4)
_SO_BINDTODEVICE = 25
_ICMP6_FILTER = 1
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_MAC, _TARGET_MAC = b"\x01\x01", b"\x02\x01"
"""Type and length of the options, in units of eight bytes (RFC 4861, section 4.6.1)."""

_ND_HOPS = 255
_ALL_NODES = "ff02::1"
_FRAME_BYTES, _ANCILLARY_BYTES = 2048, 64
_ADVERTISEMENT_FORMAT = struct.Struct("!BBHI16s2s6s")


@dataclass(frozen=True)
class Claim:
    """A host that answers for an address: its MAC, and the device its answer came in by."""

    mac: MacAddress
    device: str


@dataclass
class Answers:
    """The answers to a query.

    Attributes:
        claims: who answers, by address.
        queried: the devices that queries were sent from, by IP version.
        failed: why other devices could not send them, by IP version.
    """

    claims: dict[IPAddress, set[Claim]] = field(default_factory=dict)
    queried: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})
    failed: dict[int, list[str]] = field(default_factory=lambda: {4: [], 6: []})


class _Query:
    """A socket that asks one network for addresses of one IP version."""

    version = 0

    def __init__(self, device: Interface, source: socket.socket) -> None:
        self.device = device
        self.socket = source
        self.socket.setblocking(False)
        try:
            self._configure()
        except OSError:
            source.close()
            raise

    def send(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            # Queries that fail for lack of room or a route are sent again in the next round.
            with suppress(OSError):
                self._send(address)

    def receive(self) -> Iterator[tuple[IPAddress, MacAddress]]:
        """Yield the answers that have arrived."""
        with suppress(BlockingIOError):
            while True:
                answer = self._receive()
                if answer is not None:
                    yield answer

    def _configure(self) -> None:
        raise NotImplementedError

    def _send(self, address: IPAddress) -> None:
        raise NotImplementedError

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        raise NotImplementedError


class _ArpQuery(_Query):
    version = 4

    def __init__(self, device: Interface) -> None:
        super().__init__(
            device, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_TYPE_ARP))
        )

    def _configure(self) -> None:
        self.socket.bind((self.device.name, ETH_TYPE_ARP))

    def _send(self, address: IPAddress) -> None:
        mac = self.device.mac.octets
        request = ARP(op=ARP_OP_REQUEST, sha=mac, spa=_NO_SENDER, tpa=address.packed)
        frame = Ethernet(dst=_BROADCAST, src=mac, type=ETH_TYPE_ARP, data=request)
        self.socket.send(bytes(frame))

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        frame = self.socket.recv(_FRAME_BYTES)
        try:
            answer = Ethernet(frame).data
        except UnpackError:
            return None
        if not isinstance(answer, ARP) or answer.op != ARP_OP_REPLY:
            return None
        return ipaddress.IPv4Address(answer.spa), MacAddress(answer.sha)


class _NdQuery(_Query):
    version = 6

    def __init__(self, device: Interface) -> None:
        super().__init__(
            device, socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        )

    def _configure(self) -> None:
        options = (
            (socket.SOL_SOCKET, _SO_BINDTODEVICE, self.device.name.encode()),
            (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _ND_HOPS),
            (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1),
            (socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _all_but(_ADVERTISEMENT)),
        )
        for level, name, value in options:
            self.socket.setsockopt(level, name, value)
        # Connecting a datagram socket sends nothing; the kernel chooses the source address.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((_ALL_NODES, 1, 0, self.device.index))
            source, _, _, scope = probe.getsockname()
        self.socket.bind((source, 0, 0, scope))

    def _send(self, address: IPAddress) -> None:
        # The kernel fills in the checksum of ICMPv6 (RFC 3542, section 3.1).
        message = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
        group = str(solicited_node_address(ipaddress.IPv6Address(address)))
        self.socket.sendto(
            message + _SOURCE_MAC + self.device.mac.octets, (group, 0, 0, self.device.index)
        )

    def _receive(self) -> tuple[IPAddress, MacAddress] | None:
        message, ancillary, *_ = self.socket.recvmsg(_FRAME_BYTES, _ANCILLARY_BYTES)
        hops = [int.from_bytes(data, sys.byteorder) for *_, data in ancillary]
        # A lower hop limit means that a router has forwarded it (RFC 4861, section 7.1.2).
        if hops != [_ND_HOPS] or len(message) < _ADVERTISEMENT_FORMAT.size:
            return None
        *_, target, option, mac = _ADVERTISEMENT_FORMAT.unpack_from(message)
        if option != _TARGET_MAC:
            return None
        return ipaddress.IPv6Address(target), MacAddress(mac)


def _all_but(icmp_type: int) -> bytes:
    """Return the filter that accepts one type of ICMPv6 (RFC 3542, section 3.2)."""
    blocked = [0xFFFFFFFF] * 8
    blocked[icmp_type >> 5] &= ~(1 << (icmp_type & 31))
    return struct.pack("=8I", *blocked)


def query(devices: Sequence[Interface], addresses: Iterable[IPAddress]) -> Answers:
    """Ask the networks of devices that are up for addresses, half a second for each 64 of them.

    Raises:
        PermissionError: CAP_NET_RAW is missing.
    """
    wanted = list(addresses)
    answers = Answers({address: set() for address in wanted})
    with ExitStack() as stack:
        queries: dict[socket.socket, _Query] = {}
        for kind in (_ArpQuery, _NdQuery):
            if not any(address.version == kind.version for address in wanted):
                continue
            for device in devices:
                try:
                    query = kind(device)
                except PermissionError:
                    raise
                except OSError as error:
                    answers.failed[kind.version].append(f"{device.name}: {error.strerror}")
                    continue
                queries[stack.enter_context(query.socket)] = query
                answers.queried[kind.version].append(device.name)
        for start in range(0, len(wanted), _BURST):
            _query_burst(wanted[start : start + _BURST], queries, answers)
    return answers


def _query_burst(
    addresses: Sequence[IPAddress], queries: Mapping[socket.socket, _Query], answers: Answers
) -> None:
    for _ in range(_ROUNDS):
        for query in queries.values():
            query.send(address for address in addresses if address.version == query.version)
        deadline = time.monotonic() + _ROUND_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select(list(queries), [], [], left)
            for source in readable:
                query = queries[source]
                for address, mac in query.receive():
                    if address in answers.claims:
                        answers.claims[address].add(Claim(mac, query.device.name))
