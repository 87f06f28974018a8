"""Read frames from pcap and pcapng files, one at a time.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Files are untrusted: every length in
them is checked before it is used. docs/decisions/0014-libraries-kept-and-replaced.md compares the
libraries that read these formats.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from pydsr.model.errors import InputError

FRAME_BYTES_MAX = 262144
"""The most bytes that tcpdump captures of a packet (MAXIMUM_SNAPLEN of libpcap)."""

_BLOCK_BYTES_MAX = 16 << 20
_ETHERNET = 1
_COOKED = {113: "Linux cooked", 276: "Linux cooked v2"}
_OTHERS = {0: "BSD loopback", 101: "raw IP", 105: "802.11", 127: "802.11 with radiotap"}

_PCAP_VARIANTS = {0xA1B2C3D4: (1e-6, 0), 0xA1B23C4D: (1e-9, 0), 0xA1B2CD34: (1e-6, 8)}
"""By magic number: the unit of fractions of a second, and extra bytes of each packet's header."""

_SECTION_HEADER = bytes.fromhex("0a0d0d0a")
_BYTE_ORDERS = {bytes.fromhex("4d3c2b1a"): "<", bytes.fromhex("1a2b3c4d"): ">"}
_INTERFACE, _SIMPLE_PACKET = 1, 3
_PACKET_LAYOUTS = {2: "H2x4I", 6: "5I"}
"""Obsolete and enhanced packets: interface, time (upper and lower half), captured, length."""

_END_OF_OPTIONS, _TIME_RESOLUTION = 0, 9


@dataclass(frozen=True)
class CapturedFrame:
    """A frame of a capture.

    Attributes:
        number: counted from 1, as Wireshark does.
        time: seconds since the epoch; None if the file does not say.
        frame: the captured bytes, from the Ethernet header on.
        length: the frame's length on the wire.
    """

    number: int
    time: float | None
    frame: bytes
    length: int


_Packet = tuple[float | None, bytes, int]
"""Time, captured bytes and length on the wire."""


class _BrokenError(Exception):
    """The file contradicts itself or ends early; the message says how."""


class _NoCaptureError(Exception):
    """The file has the magic number of neither format."""


class _LinkTypeError(Exception):
    """The capture is not of Ethernet."""

    def __init__(self, number: int) -> None:
        super().__init__((_COOKED | _OTHERS).get(number, f"link type {number}"))
        self.hint = (
            "capture on one interface (tcpdump -i eth0), not on all of them (-i any)"
            if number in _COOKED
            else "capture on an Ethernet interface: the XDP program sees Ethernet frames"
        )


def read_capture(file: IO[bytes], name: str) -> Iterator[CapturedFrame]:
    """Yield the frames of a pcap or pcapng file, which may be a pipe.

    Args:
        file: opened for bytes.
        name: the name that errors use.

    Raises:
        InputError: the file is no capture, not of Ethernet, or broken; frames before the broken
            place have been yielded.
    """
    number = 0
    try:
        magic = file.read(len(_SECTION_HEADER))
        read = _read_pcapng if magic == _SECTION_HEADER else _read_pcap
        for number, packet in enumerate(read(file, magic), 1):
            yield CapturedFrame(number, *packet)
    except _LinkTypeError as error:
        raise InputError(f"{name} is a capture of {error}, not of Ethernet", error.hint) from None
    except _NoCaptureError:
        raise InputError(
            f"{name} is no pcap or pcapng file",
            "make one with tcpdump -w FILE or pydsr tap -w FILE",
        ) from None
    except (_BrokenError, struct.error) as error:
        reason = error if isinstance(error, _BrokenError) else "a block is too short"
        raise InputError(
            f"{name} is broken after packet {number}: {reason}",
            "the packets before it were read; capture again for the rest",
        ) from None


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    octets = file.read(size)
    if len(octets) < size:
        raise _BrokenError("the file ends in the middle of a packet or block")
    return octets


def _checked_size(size: int, limit: int) -> int:
    if size > limit:
        raise _BrokenError(f"a length of {size} bytes is more than the possible {limit}")
    return size


def _check_link_type(number: int) -> None:
    # The upper 16 bits say how long the frame check sequence is.
    if number & 0xFFFF != _ETHERNET:
        raise _LinkTypeError(number & 0xFFFF)


def _read_pcap(file: IO[bytes], magic: bytes) -> Iterator[_Packet]:
    numbers = {"<": int.from_bytes(magic, "little"), ">": int.from_bytes(magic, "big")}
    order = next((each for each, number in numbers.items() if number in _PCAP_VARIANTS), None)
    if order is None:
        raise _NoCaptureError
    unit, extra = _PCAP_VARIANTS[numbers[order]]
    (link_type,) = struct.unpack(f"{order}16xI", _read_exactly(file, 20))
    _check_link_type(link_type)
    header = struct.Struct(f"{order}4I{extra}x")
    while first := file.read(1):
        octets = first + _read_exactly(file, header.size - 1)
        seconds, fraction, captured, length = header.unpack(octets)
        frame = _read_exactly(file, _checked_size(captured, FRAME_BYTES_MAX))
        yield seconds + fraction * unit, frame, max(length, len(frame))


def _read_pcapng(file: IO[bytes], start: bytes) -> Iterator[_Packet]:
    section = _Section("<")
    while start:
        head = start + _read_exactly(file, 8 - len(start))
        if head[:4] == _SECTION_HEADER:
            head += _read_exactly(file, 4)
            section = _Section(_BYTE_ORDERS.get(head[8:], ">"))
        kind, size = struct.unpack_from(f"{section.order}2I", head)
        _checked_size(size, _BLOCK_BYTES_MAX)
        if size < len(head) + 4 or size % 4:
            raise _BrokenError(f"a block cannot have {size} bytes")
        block = head + _read_exactly(file, size - len(head))
        if block[-4:] != block[4:8]:
            raise _BrokenError("the two lengths of a block differ")
        packet = section.read_block(kind, block)
        if packet is not None:
            yield packet
        start = file.read(1)


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    time_unit: float


class _Section:
    """A section of a pcapng file: its byte order, "<" or ">", and its interfaces so far."""

    def __init__(self, order: str) -> None:
        self.order = order
        self._interfaces: list[_Interface] = []

    def read_block(self, kind: int, block: bytes) -> _Packet | None:
        """Return the packet of a whole block; None for a block without one."""
        if kind == _INTERFACE:
            link_type, snap_length = self._unpack("H2xI", block)
            unit = self._time_unit(block[16:-4])
            self._interfaces.append(_Interface(link_type, snap_length, unit))
            return None
        if kind == _SIMPLE_PACKET:
            (length,) = self._unpack("I", block)
            captured = min(length, self._interface(0).snap_length or length)
            return None, _frame(block, 12, captured), length
        if kind not in _PACKET_LAYOUTS:
            return None
        number, high, low, captured, length = self._unpack(_PACKET_LAYOUTS[kind], block)
        frame = _frame(block, 28, captured)
        time = (high << 32 | low) * self._interface(number).time_unit
        return time, frame, max(length, len(frame))

    def _unpack(self, layout: str, octets: bytes, offset: int = 8) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, octets, offset)

    def _time_unit(self, options: bytes) -> float:
        """Return the seconds of one step of an interface's clock."""
        while len(options) >= 4:
            code, size = self._unpack("2H", options, 0)
            if code == _END_OF_OPTIONS:
                break
            if code == _TIME_RESOLUTION and size:
                (resolution,) = self._unpack("B", options, 4)
                base = 2.0 if resolution & 0x80 else 10.0
                return float(base ** -(resolution & 0x7F))
            options = options[4 + (size + 3 & ~3) :]
        return 1e-6

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise _BrokenError(f"no interface has the number {number}")
        interface = self._interfaces[number]
        _check_link_type(interface.link_type)
        return interface


def _frame(block: bytes, begin: int, captured: int) -> bytes:
    if begin + _checked_size(captured, FRAME_BYTES_MAX) > len(block) - 4:
        raise _BrokenError("a packet is longer than its block")
    return block[begin : begin + captured]
