"""A frame out of the hex text that people copy, of Wireshark, tcpdump or their own. Pure."""

from __future__ import annotations

import re

from pydsr.model.errors import InputError

_LINE_BYTES = 16
_OFFSET = re.compile(r"\s*(?:0x)?([0-9a-f]{3,8})(?::\s*|\s{2,}|\s*$)", re.IGNORECASE)
_GAP = re.compile(r"\s{3,}|\s*\|")
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.IGNORECASE)
_EXAMPLE = "as Wireshark, tcpdump -xx or hexdump -C print it, or its bytes alone: 02 00 5e …"


def parse_frame(text: str) -> bytes:
    """Return the frame that a text shows, whatever dumped it.

    Raises:
        InputError: it is none.
    """
    frame = bytearray()
    for line in text.splitlines():
        offset = _OFFSET.match(line)
        if offset and int(offset[1], 16) == len(frame):
            # What follows the bytes is the same as characters.
            shown = _GAP.split(line[offset.end() :].strip(), maxsplit=1)[0]
            frame += _parse_bytes(shown)[:_LINE_BYTES]
        else:
            frame += _parse_bytes(line)
    if not frame:
        raise InputError("there are no bytes of a frame", f"give it {_EXAMPLE}")
    if _is_packet(bytes(frame)):
        raise InputError(
            "this begins with an IP header, where a frame begins with MAC addresses",
            "tcpdump -xx shows the whole frame; -x leaves its start out",
        )
    return bytes(frame)


def _parse_bytes(text: str) -> bytes:
    found = bytearray()
    for word in re.split(r"[\s:.-]+", text.strip()):
        digits = word.removeprefix("0x").removeprefix("0X")
        if not digits:
            continue
        if not _HEX.fullmatch(digits):
            if len(found) >= _LINE_BYTES:
                break
            raise InputError(f"{word!r} is no byte in hex", f"give the frame {_EXAMPLE}")
        found += bytes.fromhex(digits)
    return bytes(found)


def _is_packet(frame: bytes) -> bool:
    """Return whether bytes are an IPv4 or IPv6 packet that has just the length it says."""
    if frame[0] >> 4 == 4:
        return len(frame) >= 20 and int.from_bytes(frame[2:4], "big") == len(frame)
    return frame[0] >> 4 == 6 and len(frame) == 40 + int.from_bytes(frame[4:6], "big")
