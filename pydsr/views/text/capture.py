"""Captured packets as lines of text, and as a pcapng file that Wireshark reads.

Headers are read, and the file is written, by dpkt. Packets are as hostile as their senders: what
cannot be read is shown by its length.
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
from pydsr.model.captured_packet import TappedPacket

if TYPE_CHECKING:
    from pydsr.views.json.report_types import PacketDocument

_IF_NAME = 2  # an option of an interface (pcapng, section 4.2)
_LITTLE = sys.byteorder == "little"
_Packet = EnhancedPacketBlockLE if _LITTLE else EnhancedPacketBlock
_Interface = InterfaceDescriptionBlockLE if _LITTLE else InterfaceDescriptionBlock
_Option = PcapngOptionLE if _LITTLE else PcapngOption
_MICROSECONDS = 1_000
_ETHERNET, _SNAPLEN = 1, 2047
_TCP_FLAGS = (("S", tcp.TH_SYN), ("F", tcp.TH_FIN), ("R", tcp.TH_RST), ("P", tcp.TH_PUSH),
              (".", tcp.TH_ACK))  # fmt: skip


def outcome(packet: TappedPacket) -> str:
    """Return what became of a packet: ``tx forwarded, backend 10.0.0.1 (02:…)``."""
    told = f"{packet.verdict} {packet.reason}"
    if packet.backend is not None:
        told += f", backend {packet.backend} ({packet.mac})"
    if packet.egress:
        told += f" by {packet.egress}"
    return told


def line(packet: TappedPacket) -> str:
    """Return a packet as one line: local time, interface, headers, length, outcome."""
    seconds, nanoseconds = divmod(packet.time, 1_000_000_000)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return (
        f"{clock}.{nanoseconds // 1_000:06d} {packet.interface} {summary(packet.frame)}, "
        f"{packet.frame_bytes} bytes: {outcome(packet)}"
    )


def packet_document(packet: TappedPacket) -> PacketDocument:
    """Return the document of a packet; ``time`` is seconds since the epoch."""
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
    """Return the headers of a frame in the manner of tcpdump; whatever it holds, it is one line."""
    try:
        parsed = ethernet.Ethernet(frame)
        vlans = "".join(f"vlan {tag.id} " for tag in getattr(parsed, "vlan_tags", ()))
        inner = parsed.data
        if isinstance(inner, ip.IP | ip6.IP6):
            return vlans + _summary_ip(inner)
        return f"{vlans}{_mac(parsed.src)} > {_mac(parsed.dst)} type {parsed.type:#06x}"
    except (Error, UnpackError, IndexError, ValueError, TypeError, AttributeError, KeyError):
        return "unreadable"


def _summary_ip(packet: Any) -> str:
    source, destination = ip_address(packet.src), ip_address(packet.dst)
    inner = packet.data
    if isinstance(inner, tcp.TCP | udp.UDP | sctp.SCTP):
        name = type(inner).__name__.lower()
        flags = f" [{_flags(inner.flags)}]" if isinstance(inner, tcp.TCP) else ""
        return f"{_end(source, inner.sport)} > {_end(destination, inner.dport)} {name}{flags}"
    if isinstance(inner, icmp.ICMP | icmp6.ICMP6):
        name = type(inner).__name__.lower().replace("icmp6", "icmpv6")
        return f"{source} > {destination} {name} type {inner.type} code {inner.code}"
    return f"{source} > {destination} protocol {packet.p}"


def _end(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _flags(flags: int) -> str:
    return "".join(name for name, bit in _TCP_FLAGS if flags & bit)


def _mac(octets: bytes) -> str:
    return octets.hex(":")


class CaptureFile:
    """A pcapng file being written: one interface block for each, a comment on each packet.

    Args:
        file: opened for bytes.
        interfaces: their names.
    """

    def __init__(self, file: IO[bytes], interfaces: Sequence[str]) -> None:
        self._file = file
        self._numbers = {name: number for number, name in enumerate(interfaces)}
        blocks = [
            _Interface(
                linktype=_ETHERNET,
                snaplen=_SNAPLEN,
                opts=[_Option(code=_IF_NAME, data=name.encode()), _Option()],
            )
            for name in interfaces
        ]
        self._writer = Writer(file, idb=blocks)
        file.flush()

    def write(self, packet: TappedPacket) -> None:
        """Append a packet, so that a reader at the other end of a pipe has it at once."""
        comment = outcome(packet)
        if packet.frame_bytes > len(packet.frame):
            comment += f"; {packet.frame_bytes} bytes, of which {len(packet.frame)} are here"
        stamp = packet.time // _MICROSECONDS
        block = _Packet(
            iface_id=self._numbers.get(packet.interface, 0),
            ts_high=stamp >> 32,
            ts_low=stamp & 0xFFFFFFFF,
            pkt_data=packet.frame,
            opts=[_Option(code=PCAPNG_OPT_COMMENT, text=comment), _Option()],
        )
        self._writer.writepkt(block)
        self._file.flush()
