"""Frames out of capture files, one after the other; files are as hostile as their packets.

Sources: the formats pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng). dpkt knows
their blocks; its own readers drop the length that a packet had, and trust those in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from dpkt import Error, pcap, pcapng

from pydsr.model.errors import InputError

FRAME_BYTES_MAX = 262144
"""What tcpdump takes of a packet at most (MAXIMUM_SNAPLEN of libpcap)."""

_BLOCK_BYTES_MAX = 16 << 20
_ETHERNET = 1
_COOKED = {113: "Linux cooked", 276: "Linux cooked v2"}
_OTHERS = {0: "BSD loopback", 101: "raw IP", 105: "802.11", 127: "802.11 with radiotap"}
_LITTLE_ENDIAN = pcapng.BYTE_ORDER_MAGIC.to_bytes(4, "little")
_SECTION = pcapng.PCAPNG_BT_SHB.to_bytes(4, "big")
_MICROSECONDS = 6


@dataclass(frozen=True)
class CapturedFrame:
    """A frame of a capture.

    Attributes:
        number: from 1 on, as Wireshark counts.
        time: seconds since the epoch; None where the file does not say.
        frame: what was captured, from its Ethernet header on.
        length: how many bytes it had.
    """

    number: int
    time: float | None
    frame: bytes
    length: int


class _BrokenError(Exception):
    """What is wrong with a file."""


def read_capture(file: IO[bytes], name: str) -> Iterator[CapturedFrame]:
    """Read a pcap or pcapng file frame by frame; it need not be one that can be sought in.

    Args:
        file: opened for bytes.
        name: what errors call it.

    Raises:
        InputError: it is no such file, not of Ethernet, or broken; what comes before is read.
    """
    number = 0
    try:
        magic = file.read(len(_SECTION))
        read = _read_pcapng if magic == _SECTION else _read_pcap
        for number, found in enumerate(read(file, magic), 1):
            yield CapturedFrame(number, *found)
    except _LinkTypeError as error:
        raise InputError(f"{name} was captured as {error}, not as Ethernet", error.hint) from None
    except _NoCaptureError:
        raise InputError(
            f"{name} is no pcap or pcapng file", "tcpdump -w FILE and pydsr tap -w FILE make one"
        ) from None
    except (_BrokenError, Error, struct.error) as error:
        raise InputError(
            f"{name} is broken after packet {number}: {error or 'its lengths contradict'}",
            "what is before that was read; capture it anew for the rest",
        ) from None


class _NoCaptureError(Exception):
    """It does not begin as a capture does."""


class _LinkTypeError(Exception):
    """A link type that is not Ethernet's."""

    def __init__(self, number: int) -> None:
        super().__init__((_COOKED | _OTHERS).get(number, f"link type {number}"))
        self.hint = (
            "capture on one interface, as tcpdump -i eth0 does, and not on all (-i any)"
            if number in _COOKED
            else "capture on an Ethernet interface: the program sees frames"
        )


_Found = tuple[float | None, bytes, int]


def _exactly(file: IO[bytes], number: int) -> bytes:
    """Return so many bytes; raises _BrokenError where there are fewer."""
    found = file.read(number)
    if len(found) < number:
        raise _BrokenError("it ends in the middle of one")
    return found


def _sized(number: int, limit: int) -> int:
    if number > limit:
        raise _BrokenError(f"{number} bytes are said to be in one")
    return number


def _check_link(number: int) -> None:
    # The upper bits say how long the check sequence at the end of frames is.
    if number & 0xFFFF != _ETHERNET:
        raise _LinkTypeError(number & 0xFFFF)


def _read_pcap(file: IO[bytes], magic: bytes) -> Iterator[_Found]:
    number = int.from_bytes(magic, "big")
    if number not in pcap.MAGIC_TO_PKT_HDR:
        raise _NoCaptureError
    header_type = pcap.MAGIC_TO_PKT_HDR[number]
    is_little = number in (pcap.PMUDPCT_MAGIC, pcap.PMUDPCT_MAGIC_NANO, pcap.PACPDOM_MAGIC)
    kind = pcap.LEFileHdr if is_little else pcap.FileHdr
    _check_link(kind(magic + _exactly(file, kind.__hdr_len__ - len(magic))).linktype)
    unit = 1e-9 if number in (pcap.TCPDUMP_MAGIC_NANO, pcap.PMUDPCT_MAGIC_NANO) else 1e-6
    while first := file.read(1):
        header = header_type(first + _exactly(file, header_type.__hdr_len__ - 1))
        frame = _exactly(file, _sized(header.caplen, FRAME_BYTES_MAX))
        yield header.tv_sec + header.tv_usec * unit, frame, max(header.len, len(frame))


def _read_pcapng(file: IO[bytes], first: bytes) -> Iterator[_Found]:
    section = _Section()
    while first:
        first += _exactly(file, 4 - len(first))
        size = _exactly(file, 4)
        if first == _SECTION:
            bom = _exactly(file, 4)
            section = _Section(bom == _LITTLE_ENDIAN)
            size += bom
        head = first + size
        length = _sized(section.number(size[:4]), _BLOCK_BYTES_MAX)
        if length < len(head) + 4 or length % 4:
            raise _BrokenError(f"a block of {length} bytes cannot be")
        block = head + _exactly(file, length - len(head))
        if block[-4:] != size[:4]:
            raise _BrokenError("the two lengths of a block differ")
        read = section.readers.get(section.number(first))
        if read is not None and (found := read(block)) is not None:
            yield found
        first = file.read(1)


class _Section:
    """The interfaces of a section, and how its packets are read; blocks are whole."""

    def __init__(self, little: bool = True) -> None:
        self._order: Any = "little" if little else "big"
        self._suffix = "LE" if little else ""
        self._interfaces: list[tuple[int, float, int]] = []
        self.readers: dict[int, Callable[[bytes], _Found | None]] = {
            pcapng.PCAPNG_BT_IDB: self._interface,
            pcapng.PCAPNG_BT_EPB: lambda block: self._packet("EnhancedPacketBlock", block),
            pcapng.PCAPNG_BT_PB: lambda block: self._packet("PacketBlock", block),
            pcapng.PCAPNG_BT_SPB: self._simple_packet,
        }

    def number(self, octets: bytes) -> int:
        """Return a number in the byte order of the section."""
        return int.from_bytes(octets, self._order)

    def _parsed(self, kind: str, block: bytes) -> Any:
        parsed = getattr(pcapng, kind + self._suffix)()
        parsed.unpack_hdr(block)
        return parsed

    def _interface(self, block: bytes) -> None:
        head = self._parsed("InterfaceDescriptionBlock", block)
        self._interfaces.append((head.linktype, self._unit(block), head.snaplen))

    def _unit(self, block: bytes) -> float:
        """Return the seconds that a step of an interface's clock is."""
        options = block[pcapng.InterfaceDescriptionBlock.__hdr_len__ - 4 : -4]
        while len(options) >= 4:
            code, size = self.number(options[:2]), self.number(options[2:4])
            if code == pcapng.PCAPNG_OPT_ENDOFOPT:
                break
            if code == pcapng.PCAPNG_OPT_IF_TSRESOL and size:
                exponent = options[4] & 0x7F
                return float(2.0**-exponent if options[4] & 0x80 else 10.0**-exponent)
            options = options[4 + (size + 3 & ~3) :]
        return 10.0**-_MICROSECONDS

    def _packet(self, kind: str, block: bytes) -> _Found:
        head = self._parsed(kind, block)
        unit = self._ethernet(head.iface_id)[1]
        begin = head.__hdr_len__ - 4
        frame = self._frame(block, begin, head.caplen)
        return (head.ts_high << 32 | head.ts_low) * unit, frame, max(head.pkt_len, len(frame))

    def _simple_packet(self, block: bytes) -> _Found:
        length, snaplen = self.number(block[8:12]), self._ethernet(0)[2]
        captured = min(length, snaplen) if snaplen else length
        return None, self._frame(block, 12, captured), length

    def _frame(self, block: bytes, begin: int, captured: int) -> bytes:
        if begin + _sized(captured, FRAME_BYTES_MAX) > len(block) - 4:
            raise _BrokenError("a packet is longer than its block")
        return block[begin : begin + captured]

    def _ethernet(self, interface: int) -> tuple[int, float, int]:
        if interface >= len(self._interfaces):
            raise _BrokenError(f"no interface has the number {interface}")
        found = self._interfaces[interface]
        _check_link(found[0])
        return found
