"""Traces: what the loaded program would do with a packet. Nothing is sent, counted or recorded."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydsr.control.attached_interfaces import Attached, find_attached
from pydsr.control.program_upgrade import load_traced
from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.codec import unpack_tags
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import EVERY_PORT, Endpoint, IPAddress, MacAddress, Protocol, Tag
from pydsr.model.errors import InputError
from pydsr.model.reasons import all_reasons

_ETHERNET_BYTES = 14
FRAME_BYTES_MIN = 60
"""The shortest frame on the wire, without its check sequence (IEEE 802.3)."""

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
_FRAME_BYTES_MAX = 262144  # A test run takes no more; longer frames of a file are not padded.


@dataclass(frozen=True)
class Trace:
    """Where the loaded program would send a packet, and why.

    Attributes:
        verdict: tx, redirect, pass or drop.
        interface: index of the egress interface; None if it would not leave.
    """

    service: Endpoint | None
    backend: IPAddress | None
    mac: MacAddress | None
    verdict: str
    reason: str
    slot: int | None
    tags: tuple[Tag, ...] = ()
    interface: int | None = None


class UntraceableError(InputError):
    """A frame cannot be traced; the message says why."""


class Tracer:
    """Traces packets through a copy of the attached program; use it with ``with``.

    Raises:
        EnvironmentCannotError: the program for traces cannot be compiled or loaded.
    """

    def __init__(self, state: LiveState, attached: Sequence[Attached]) -> None:
        self._state = state
        self._attached = attached
        self._program = load_traced(state, attached[0].program_id if attached else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.close()

    def trace_flow(
        self,
        endpoint: Endpoint,
        source: IPAddress,
        source_port: int,
        syn: bool,
        ingress: str | None = None,
    ) -> Trace:
        """Return where a packet of a flow would go.

        Args:
            endpoint: the destination, with one port.
            source: the client's address.
            source_port: the client's port.
            syn: whether the packet opens a connection.
            ingress: the attached interface where it arrives; None for its backend's interface.

        Raises:
            InputError: the source is of the other IP version than the endpoint, the endpoint has
                no port, or the interface is not attached.
        """
        if endpoint.port == EVERY_PORT:
            raise InputError(
                f"a packet to {endpoint} has one port",
                "name it: the service of every port is found",
            )
        if source.version != endpoint.address.version:
            raise InputError(
                f"a packet from {source} to {endpoint.address} cannot be",
                "name a source of the VIP's IP version",
            )
        receiver = find_attached(self._attached, ingress) if ingress else None
        to = receiver.mac if receiver else None
        return self._run(flow_frame(endpoint, source, source_port, syn, to), receiver)

    def trace_frame(
        self, frame: bytes, length: int, ingress: str | None = None, to_us: bool = False
    ) -> Trace:
        """Return what would happen to a frame.

        Args:
            frame: its captured bytes, from the Ethernet header on.
            length: of the frame on the wire.
            ingress: the attached interface where it arrives; None for the one with its destination
                MAC, or else the first.
            to_us: treat it as sent to that interface's MAC, unless it is multicast.

        Raises:
            InputError: the interface is not attached.
            UntraceableError: it is too short or too long, or the part that decides was not
                captured.
        """
        if len(frame) < _ETHERNET_BYTES:
            raise UntraceableError(f"{len(frame)} bytes are less than an Ethernet header")
        if length > _FRAME_BYTES_MAX:
            raise UntraceableError(f"no frame has {length} bytes")
        receiver = find_attached(self._attached, ingress) if ingress else self._receiver(frame)
        if to_us and receiver is not None:
            frame = sent_to(frame, receiver.mac)
        if len(frame) < min(length, headers_bytes(frame)):
            raise UntraceableError(f"only {len(frame)} of its {length} bytes were captured")
        return self._run(frame.ljust(max(length, FRAME_BYTES_MIN), b"\0"), receiver)

    def _receiver(self, frame: bytes) -> Attached | None:
        """Return the interface that a frame was sent to, or else the first."""
        for interface in self._attached:
            if interface.mac.octets == frame[:6]:
                return interface
        return self._attached[0] if self._attached else None

    def _run(self, frame: bytes, ingress: Attached | None) -> Trace:
        ifindex = ingress.ifindex if ingress else 0
        try:
            _, answer, _ = libbpf.run_program(self._program, frame, ifindex=ifindex)
        except OSError as error:
            raise UntraceableError(
                f"the kernel runs no program on {len(frame)} bytes: {error.strerror}"
            ) from None
        explanation = layout.Explanation.from_buffer_copy(answer)
        reason = all_reasons()[explanation.reason]
        service = self._services.get(explanation.service)
        slot = None if explanation.slot == layout.NO_SLOT else explanation.slot
        if not explanation.backend:
            return Trace(service, None, None, reason.verdict, reason.name, slot)
        entry = self._state.backends.read(explanation.backend)
        mac = MacAddress(bytes(entry.mac))
        leaves = reason.verdict == "tx"
        return Trace(
            service=service,
            backend=layout.unpack_address(bytes(entry.address)),
            mac=mac if mac.is_unicast else None,
            verdict="redirect" if leaves and explanation.egress else reason.verdict,
            reason=reason.name,
            slot=slot,
            tags=unpack_tags(entry.tags),
            interface=entry.ifindex if leaves else None,
        )

    @cached_property
    def _services(self) -> dict[int, Endpoint]:
        return {each.id: each.endpoint for each in self._state.services.configs()}


def flow_frame(
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
    """Return a frame with another destination MAC; a multicast frame is returned unchanged."""
    return frame if frame[0] & 1 else mac.octets + frame[6:]


def headers_bytes(frame: bytes) -> int:
    """Return how many bytes of a frame decide where it goes.

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
