"""A frame is read out of the hex text that tools print, and people write."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from pydsr.captures.hexdump import parse_frame
from pydsr.model.errors import InputError

FRAME = bytes(
    Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01")
    / IP(src="192.0.2.1", dst="198.51.100.10")
    / TCP(sport=1000, dport=80, flags="A")
    / b"abcdef 0123 ffff"
)


@pytest.mark.parametrize("options", [("-xx",), ("-XX",)])
def test_what_tcpdump_prints_is_read(options: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    wrpcap(str(path), [Ether(FRAME)])
    command = ["tcpdump", "-n", "-r", str(path), *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert FRAME == parse_frame(printed.partition("\n")[2])


def test_what_wireshark_prints_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    wrpcap(str(path), [Ether(FRAME)])
    command = ["tshark", "-r", str(path), "-x"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert FRAME == parse_frame(printed)


@pytest.mark.parametrize("separator", ["", " ", ":", "-", "."])
def test_bytes_alone_are_read(separator: str) -> None:
    digits = FRAME.hex(separator) if separator else FRAME.hex()
    assert FRAME == parse_frame(f" 0x{digits.upper()}\n")


@given(frame=st.binary(min_size=1, max_size=80), width=st.sampled_from([1, 2]))
def test_any_frame_is_read_with_the_offsets_and_characters_of_a_dump(
    frame: bytes, width: int
) -> None:
    lines = []
    for offset in range(0, len(frame), 16):
        part = frame[offset : offset + 16]
        digits = part.hex(" ", -width).ljust(48)
        shown = "".join(chr(each) if 32 < each < 127 else "." for each in part)
        lines.append(f"{offset:04x}:  {digits}   {shown}")
    assume(frame[0] >> 4 not in (4, 6))
    assert frame == parse_frame("\n".join(lines))


MISTAKES = {
    "nothing": ("", "no bytes"),
    "blanks": (" \n ", "no bytes"),
    "words": ("hello", "'hello' is no byte"),
    "half a byte": ("02 0", "'0' is no byte"),
    "an IPv4 packet": (FRAME[14:].hex(), "starts with an IP header"),
    "an IPv6 packet": ("60" + "00" * 39, "starts with an IP header"),
}


@pytest.mark.parametrize(("text", "words"), list(MISTAKES.values()), ids=list(MISTAKES))
def test_what_is_no_frame_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_frame(text)


@given(st.text(max_size=200))
def test_any_text_is_a_frame_or_refused(text: str) -> None:
    with suppress(InputError):
        assert parse_frame(text)
