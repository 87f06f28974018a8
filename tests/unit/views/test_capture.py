"""Captured packets as lines of text, and as a pcapng file."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapNgReader

from pydsr.model.addresses import MacAddress
from pydsr.model.captured_packet import CapturedPacket
from pydsr.views.text.capture import CaptureFile, line, outcome, summary

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
IP4, IP6 = IP(src="192.0.2.1", dst="192.0.2.80"), IPv6(src="2001:db8::1", dst="2001:db8::80")


PACKET = CapturedPacket(
    time=1_700_000_000_123_456_789,
    frame=bytes(ETHER / IP4 / TCP(sport=1025, dport=80, flags="S")),
    frame_bytes=54,
    interface="eth0",
    egress="",
    verdict="tx",
    reason="forwarded",
    backend=ip_address("192.0.2.11"),
    mac=MacAddress.parse("02:00:00:00:00:0b"),
)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (IP4 / TCP(sport=1025, dport=80, flags="S"), "192.0.2.1:1025 > 192.0.2.80:80 tcp [S]"),
        (IP4 / TCP(sport=1, dport=2, flags="FA"), "192.0.2.1:1 > 192.0.2.80:2 tcp [F.]"),
        (IP4 / UDP(sport=1025, dport=53), "192.0.2.1:1025 > 192.0.2.80:53 udp"),
        (IP4 / SCTP(sport=1025, dport=9), "192.0.2.1:1025 > 192.0.2.80:9 sctp"),
        (IP4 / ICMP(type=8), "192.0.2.1 > 192.0.2.80 icmp type 8 code 0"),
        (IP4 / Raw(b"abcd"), "192.0.2.1 > 192.0.2.80 protocol 0"),
        (
            IP6 / TCP(sport=1025, dport=80, flags="A"),
            "[2001:db8::1]:1025 > [2001:db8::80]:80 tcp [.]",
        ),
        (IP6 / ICMPv6EchoRequest(), "2001:db8::1 > 2001:db8::80 icmpv6 type 128 code 0"),
        (
            Dot1AD(vlan=300) / Dot1Q(vlan=40) / IP4 / UDP(sport=1, dport=2),
            "vlan 300 vlan 40 192.0.2.1:1 > 192.0.2.80:2 udp",
        ),
        (ARP(pdst="192.0.2.80"), "02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x0806"),
        (Raw(b""), "02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x9000"),
    ],
)
def test_headers_are_summed_up(frame: Packet, expected: str) -> None:
    assert summary(bytes(ETHER / frame)) == expected


@pytest.mark.parametrize("size", range(54))
def test_a_frame_that_was_cut_is_shown_as_far_as_it_goes(size: int) -> None:
    assert summary(PACKET.frame[:size])


@given(
    st.binary(max_size=200), st.sampled_from((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x08\x06"))
)
def test_no_frame_is_too_strange(octets: bytes, kind: bytes) -> None:
    """Senders may write what they want: it is one line of printable text."""
    text = summary(bytes(12) + kind + octets)
    assert text.isprintable()
    assert text


def test_damaged_frames_are_shown_too() -> None:
    chance = random.Random(1)
    whole = bytes(ETHER / Dot1Q(vlan=5) / IP6 / ICMPv6EchoRequest(data=b"data"))
    for _ in range(5_000):
        frame = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(3):
            if frame:
                frame[chance.randrange(len(frame))] = chance.randrange(256)
        assert summary(bytes(frame)).isprintable()


def test_the_outcome_names_the_backend_and_the_way_out() -> None:
    assert outcome(PACKET) == "tx forwarded, backend 192.0.2.11 (02:00:00:00:00:0b)"
    assert outcome(replace(PACKET, egress="eth1", verdict="redirect")) == (
        "redirect forwarded, backend 192.0.2.11 (02:00:00:00:00:0b) by eth1"
    )
    dropped = replace(PACKET, verdict="drop", reason="no_service", backend=None, mac=None)
    assert outcome(dropped) == "drop no_service"


def test_a_line_has_time_interface_headers_length_and_outcome() -> None:
    shown = line(PACKET)
    assert shown.split(" ", 1)[0].endswith(".123456")
    assert shown.split(" ", 1)[1] == (
        "eth0 192.0.2.1:1025 > 192.0.2.80:80 tcp [S], 54 bytes: "
        "tx forwarded, backend 192.0.2.11 (02:00:00:00:00:0b)"
    )


def read_back(file: io.BytesIO) -> list[tuple[bytes, RawPcapNgReader.PacketMetadata]]:
    """Return the packets of a file with what it says of each, as scapy reads it."""
    file.seek(0)
    return list(RawPcapNgReader(file))


def test_a_file_has_packets_times_interfaces_and_comments() -> None:
    file = io.BytesIO()
    capture = CaptureFile(file, ["eth0", "eth1"])
    capture.write(PACKET)
    capture.write(replace(PACKET, interface="eth1", time=PACKET.time + 5_000))
    (first, metadata), (_, later) = read_back(file)
    assert first == PACKET.frame
    assert metadata.comments == [outcome(PACKET).encode()]
    assert (metadata.ifname, later.ifname) == (b"eth0", b"eth1")
    stamps = [(one.tshigh << 32) + one.tslow for one in (metadata, later)]
    assert stamps == [1_700_000_000_123_456, 1_700_000_000_123_461]


def test_a_packet_that_was_captured_in_part_says_so() -> None:
    file = io.BytesIO()
    CaptureFile(file, ["eth0"]).write(replace(PACKET, frame_bytes=8000))
    ((_, metadata),) = read_back(file)
    assert metadata.comments[0].endswith(b"; first 54 of 8000 bytes captured")


def test_a_reader_at_the_other_end_of_a_pipe_has_each_packet_at_once() -> None:
    raw = io.BytesIO()
    capture = CaptureFile(io.BufferedWriter(raw, 1 << 20), ["eth0"])
    header = len(raw.getvalue())
    assert header > 0
    capture.write(PACKET)
    assert len(raw.getvalue()) > header
