"""Captured packets as lines, and as a pcapng file for Wireshark.

dpkt parses the headers and writes the file. Senders write what they like into packets: a frame that
cannot be parsed is shown as "unreadable".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import IO, TYPE_CHECKING, Any

from dpkt import Error, UnpackError, ethernet, icmp, icmp6, ip, ip6, sctp, tcp, udp
from dpkt.pcapng import (
    PCAPNG_OPT_COMMENT,
    EnhancedPacketBlock,
    EnhancedPacketBlockLE,
    InterfaceDescriptionBlock,
    InterfaceDescriptionBlockLE,
    PcapngOption,
    PcapngOptionLE,
    Writer,
)

from pydsr.model.addresses import IPAddress
from pydsr.model.captured_packet import CapturedPacket

if TYPE_CHECKING:
    from pydsr.views.json.report_types import PacketDocument

_IF_NAME = 2  # an option of an interface (pcapng, section 4.2)
_LITTLE = sys.byteorder == "little"
_Packet = EnhancedPacketBlockLE if _LITTLE else EnhancedPacketBlock
_Interface = InterfaceDescriptionBlockLE if _LITTLE else InterfaceDescriptionBlock
_Option = PcapngOptionLE if _LITTLE else PcapngOption
_NANOSECONDS_PER_MICROSECOND = 1_000
_ETHERNET, _SNAP_LENGTH = 1, 2047
_TCP_FLAGS = (("S", tcp.TH_SYN), ("F", tcp.TH_FIN), ("R", tcp.TH_RST), ("P", tcp.TH_PUSH),
              (".", tcp.TH_ACK))  # fmt: skip


def outcome(packet: CapturedPacket) -> str:
    """Return the verdict, as in ``tx forwarded, backend 10.0.0.1 (02:…)``."""
    text = f"{packet.verdict} {packet.reason}"
    if packet.backend is not None:
        text += f", backend {packet.backend} ({packet.mac})"
    if packet.egress:
        text += f" by {packet.egress}"
    return text


def line(packet: CapturedPacket) -> str:
    """Return a packet as one line: local time, interface, headers, length, verdict."""
    seconds, nanoseconds = divmod(packet.time, 1_000_000_000)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return (
        f"{clock}.{nanoseconds // 1_000:06d} {packet.interface} {summary(packet.frame)}, "
        f"{packet.frame_bytes} bytes: {outcome(packet)}"
    )


def packet_document(packet: CapturedPacket) -> PacketDocument:
    """Return a packet as a JSON document; ``time`` is seconds since the epoch."""
    return {
        "time": packet.time / 1_000_000_000,
        "interface": packet.interface,
        "flow": summary(packet.frame),
        "length": packet.frame_bytes,
        "verdict": packet.verdict,
        "reason": packet.reason,
        "backend": None if packet.backend is None else str(packet.backend),
        "mac": None if packet.mac is None else str(packet.mac),
        "egress": packet.egress or None,
    }


def summary(frame: bytes) -> str:
    """Return the headers of a frame in one line, as tcpdump does."""
    try:
        parsed = ethernet.Ethernet(frame)
        vlans = "".join(f"vlan {tag.id} " for tag in getattr(parsed, "vlan_tags", ()))
        if isinstance(parsed.data, ip.IP | ip6.IP6):
            return vlans + _ip_summary(parsed.data)
        source, destination = parsed.src.hex(":"), parsed.dst.hex(":")
        return f"{vlans}{source} > {destination} type {parsed.type:#06x}"
    except (Error, UnpackError, IndexError, ValueError, TypeError, AttributeError, KeyError):
        return "unreadable"


def _ip_summary(packet: Any) -> str:
    source, destination = ip_address(packet.src), ip_address(packet.dst)
    inner = packet.data
    name = type(inner).__name__.lower()
    if isinstance(inner, tcp.TCP | udp.UDP | sctp.SCTP):
        ends = f"{_endpoint(source, inner.sport)} > {_endpoint(destination, inner.dport)}"
        if not isinstance(inner, tcp.TCP):
            return f"{ends} {name}"
        flags = "".join(letter for letter, bit in _TCP_FLAGS if inner.flags & bit)
        return f"{ends} {name} [{flags}]"
    if isinstance(inner, icmp.ICMP | icmp6.ICMP6):
        name = name.replace("icmp6", "icmpv6")
        return f"{source} > {destination} {name} type {inner.type} code {inner.code}"
    return f"{source} > {destination} protocol {packet.p}"


def _endpoint(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


class CaptureFile:
    """A pcapng file with a block for each interface, and the verdict as comment of each packet."""

    def __init__(self, file: IO[bytes], interfaces: Sequence[str]) -> None:
        self._file = file
        self._numbers = {name: number for number, name in enumerate(interfaces)}
        blocks = [
            _Interface(
                linktype=_ETHERNET,
                snaplen=_SNAP_LENGTH,
                opts=[_Option(code=_IF_NAME, data=name.encode()), _Option()],
            )
            for name in interfaces
        ]
        self._writer = Writer(file, idb=blocks)
        file.flush()

    def write(self, packet: CapturedPacket) -> None:
        """Append a packet and flush, so that a reader of the pipe gets it at once."""
        comment = outcome(packet)
        if packet.frame_bytes > len(packet.frame):
            comment += f"; first {len(packet.frame)} of {packet.frame_bytes} bytes captured"
        stamp = packet.time // _NANOSECONDS_PER_MICROSECOND
        block = _Packet(
            iface_id=self._numbers.get(packet.interface, 0),
            ts_high=stamp >> 32,
            ts_low=stamp & 0xFFFFFFFF,
            pkt_data=packet.frame,
            opts=[_Option(code=PCAPNG_OPT_COMMENT, text=comment), _Option()],
        )
        self._writer.writepkt(block)
        self._file.flush()
