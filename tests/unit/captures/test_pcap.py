"""Capture files are read frame by frame, and broken ones refused with what is wrong."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pydsr.captures.pcap import FRAME_BYTES_MAX, CapturedFrame, read_capture
from pydsr.model.errors import InputError
from tests.support.examples import examples

FRAMES = [bytes([number] * size) for number, size in ((1, 60), (2, 1514), (3, 61))]
EPOCH = 1_700_000_000
_SHB = 0x0A0D0D0A


def read(data: bytes) -> list[CapturedFrame]:
    """Read a whole file from a stream that cannot be sought in."""
    stream = io.BufferedReader(_Stream(data))  # type: ignore[type-var]
    return list(read_capture(stream, "it"))


class _Stream(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._data.readinto(buffer)


class File:
    """Writes captures, byte by byte as the formats say."""

    def __init__(self, order: str) -> None:
        self._order = order

    def number(self, value: int, size: int = 4) -> bytes:
        return value.to_bytes(size, "little" if self._order == "<" else "big")

    def pcap(self, magic: int = 0xA1B2C3D4, link: int = 1, snaplen: int = 262144) -> bytes:
        head = self.number(magic) + self.number(2, 2) + self.number(4, 2) + bytes(8)
        head += self.number(snaplen) + self.number(link)
        for number, frame in enumerate(FRAMES):
            kept = frame[:snaplen]
            head += self.number(EPOCH + number) + self.number(500)
            head += self.number(len(kept)) + self.number(len(frame)) + kept
        return head

    def block(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = self.number(12 + len(body))
        return self.number(kind) + size + body + size

    def section(self) -> bytes:
        return self.block(
            _SHB, self.number(0x1A2B3C4D) + self.number(1, 2) + bytes(2) + b"\xff" * 8
        )

    def interface(self, link: int = 1, snaplen: int = 0, options: bytes = b"") -> bytes:
        return self.block(1, self.number(link, 2) + bytes(2) + self.number(snaplen) + options)

    def packet(self, frame: bytes, interface: int = 0, time: int = 0, length: int = 0) -> bytes:
        head = self.number(interface) + self.number(time >> 32) + self.number(time & 0xFFFFFFFF)
        head += self.number(len(frame)) + self.number(length or len(frame))
        return self.block(6, head + frame)


BOTH = pytest.mark.parametrize("file", [File("<"), File(">")], ids=["little", "big"])


@BOTH
def test_pcap_is_read_in_both_byte_orders(file: File) -> None:
    found = read(file.pcap())
    assert FRAMES == [each.frame for each in found]
    assert [1, 2, 3] == [each.number for each in found]
    assert [EPOCH + n + 0.0005 for n in range(3)] == pytest.approx([each.time for each in found])


def test_pcap_in_nanoseconds_is_read() -> None:
    found = read(File("<").pcap(0xA1B23C4D))
    assert EPOCH + 0.0000005 == pytest.approx(found[0].time, abs=2e-7)


def test_a_frame_that_was_cut_keeps_its_length() -> None:
    found = read(File("<").pcap(snaplen=60))
    assert [(60, 60), (60, 1514), (60, 61)] == [(len(each.frame), each.length) for each in found]


@BOTH
def test_pcapng_is_read_in_both_byte_orders(file: File) -> None:
    """Blocks of other kinds are passed over; a simple packet has no time."""
    microseconds = EPOCH * 1_000_000
    simple = file.block(3, file.number(len(FRAMES[2])) + FRAMES[2])
    data = file.section() + file.interface() + file.block(0xBAD, b"some")
    found = read(data + file.packet(FRAMES[0], time=microseconds, length=90) + simple)
    assert [FRAMES[0], FRAMES[2]] == [each.frame for each in found]
    assert [EPOCH, None] == [each.time for each in found]
    assert [90, 61] == [each.length for each in found]


def test_the_clock_of_each_interface_counts() -> None:
    file = File("<")
    nanoseconds = file.number(9, 2) + file.number(1, 2) + b"\x09\0\0\0"
    binary = file.number(9, 2) + file.number(1, 2) + b"\x81\0\0\0"
    data = file.section() + file.interface(options=nanoseconds) + file.interface(options=binary)
    found = read(data + file.packet(FRAMES[0], 0, 3 * 10**9) + file.packet(FRAMES[0], 1, 7))
    assert [3.0, 3.5] == [each.time for each in found]


def test_sections_may_differ_in_their_byte_order() -> None:
    parts = [f.section() + f.interface() + f.packet(FRAMES[0]) for f in (File("<"), File(">"))]
    assert 2 == len(read(b"".join(parts)))


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_what_wireshark_writes_is_read(kind: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(File("<").pcap())
    subprocess.run(["editcap", "-F", kind, str(source), str(target)], check=True)
    assert FRAMES == [each.frame for each in read(target.read_bytes())]


LINKS = {
    113: ("Linux cooked", "-i eth0"),
    276: ("cooked v2", "-i any"),
    101: ("raw IP", "Ethernet"),
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_another_link_type_is_refused_with_what_to_do(link: int, kind: str) -> None:
    file = File("<")
    data = file.pcap(link=link)
    if kind == "pcapng":
        data = file.section() + file.interface(link) + file.packet(FRAMES[0])
    with pytest.raises(InputError) as refused:
        read(data)
    name, hint = LINKS[link]
    assert name in refused.value.message
    assert hint in refused.value.hint


def broken(data: bytes) -> tuple[list[bytes], str]:
    """Return the frames before the error, and the error."""
    frames: list[bytes] = []
    with pytest.raises(InputError) as refused:
        frames.extend(each.frame for each in read_capture(io.BytesIO(data), "it"))
    return frames, refused.value.message


_F = File("<")
BROKEN: dict[str, tuple[Sequence[bytes], int, str]] = {
    "empty": ([b""], 0, "no pcap"),
    "text": ([b"root:x:0:0:root"], 0, "no pcap"),
    "its head alone": ([_F.pcap()[:20]], 0, "broken after packet 0"),
    "cut in a packet": ([_F.pcap()[:-3]], 2, "broken after packet 2"),
    "cut in a packet's head": ([_F.pcap()[: 24 + 76 + 7]], 1, "broken after packet 1"),
    "a huge packet": ([_F.pcap()[:32], b"\xff" * 8], 0, "4294967295 bytes"),
    "a huge block": ([_F.section(), _F.number(6), b"\xfc\xff\xff\xff"], 0, "4294967292 bytes"),
    "a block of no size": ([_F.section(), _F.number(6), bytes(4)], 0, "cannot have 0 bytes"),
    "a cut block": ([_F.section(), _F.interface()[:-2]], 0, "in the middle"),
    "two lengths": ([_F.section(), _F.interface()[:-4], _F.number(9)], 0, "differ"),
    "no interface": ([_F.section(), _F.packet(FRAMES[0])], 0, "no interface has the number 0"),
    "longer than its block": (
        [_F.section(), _F.interface(), _F.block(3, _F.number(1000) + b"few")], 0, "than its block",
    ),
    "a section without an order": ([_F.number(_SHB), _F.number(28), b"x"], 0, "in the middle"),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "before", "words"), list(BROKEN.values()), ids=list(BROKEN))
def test_a_broken_file_is_read_up_to_there(parts: Sequence[bytes], before: int, words: str) -> None:
    frames, message = broken(b"".join(parts))
    assert FRAMES[:before] == frames
    assert words in message


_WHOLE = (
    _F.section() + _F.interface(options=_F.number(9, 2) + b"\1\0\6\0\0\0") + _F.packet(FRAMES[0])
)


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from([_WHOLE, _F.pcap(), File(">").pcap()]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    end=st.integers(0, 2000),
)
@example(data=b"", changes=[], end=0)
def test_a_file_of_any_bytes_is_read_or_refused(
    data: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    """Nothing else is raised, and no frame is longer than it may be."""
    changed = bytearray(data)
    for at, value in changes:
        if at < len(changed):
            changed[at] = value
    with suppress(InputError):
        for each in read_capture(io.BytesIO(bytes(changed[:end])), "it"):
            assert len(each.frame) <= min(each.length, FRAME_BYTES_MAX)
