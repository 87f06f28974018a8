"""Read a frame from a hex dump, as Wireshark, tcpdump and hexdump print it, or from plain hex."""

from __future__ import annotations

import re

from pydsr.model.errors import InputError

_LINE_BYTES = 16
_OFFSET = re.compile(r"\s*(?:0x)?([0-9a-f]{3,8})(?::\s*|\s{2,}|\s*$)", re.IGNORECASE)
_GAP = re.compile(r"\s{3,}|\s*\|")
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.IGNORECASE)
_EXAMPLE = "as Wireshark, tcpdump -xx or hexdump -C print it, or as plain bytes: 02 00 5e …"


def parse_frame(text: str) -> bytes:
    """Return the frame that a text shows in hex.

    Raises:
        InputError: the text shows no frame.
    """
    frame = bytearray()
    for line in text.splitlines():
        offset = _OFFSET.match(line)
        if offset and int(offset[1], 16) == len(frame):
            # A wide gap or a bar ends the bytes; their characters follow.
            octets = _GAP.split(line[offset.end() :].strip(), maxsplit=1)[0]
            frame += _parse_bytes(octets)[:_LINE_BYTES]
        else:
            frame += _parse_bytes(line)
    if not frame:
        raise InputError("the text has no bytes of a frame", f"give a frame {_EXAMPLE}")
    if _is_ip_packet(bytes(frame)):
        raise InputError(
            "the text starts with an IP header instead of an Ethernet header",
            "use tcpdump -xx, which prints whole frames; -x leaves the Ethernet header out",
        )
    return bytes(frame)


def _parse_bytes(text: str) -> bytes:
    octets = bytearray()
    for word in re.split(r"[\s:.-]+", text.strip()):
        digits = word.removeprefix("0x").removeprefix("0X")
        if not digits:
            continue
        if not _HEX.fullmatch(digits):
            if len(octets) >= _LINE_BYTES:
                break  # the characters after a full line
            raise InputError(f"{word!r} is no byte in hex", f"give a frame {_EXAMPLE}")
        octets += bytes.fromhex(digits)
    return bytes(octets)


def _is_ip_packet(octets: bytes) -> bool:
    """Return whether the bytes are an IPv4 or IPv6 packet of exactly the length in its header."""
    if octets[0] >> 4 == 4:
        return len(octets) >= 20 and int.from_bytes(octets[2:4], "big") == len(octets)
    return octets[0] >> 4 == 6 and len(octets) == 40 + int.from_bytes(octets[4:6], "big")
