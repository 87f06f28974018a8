"""Announcements: what they say, and that a change is done where they cannot be sent."""

from __future__ import annotations

import errno
import logging
import os
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from pydsr.kernel.net import announce as announcements
from pydsr.kernel.net import solicitations
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.interfaces import Interface

MAC = MacAddress.parse("02:00:00:00:00:01")
VIPS: list[IPAddress] = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
INTERFACE = Interface(7, "eth7", MAC, 1500, True)


class Socket:
    """A raw socket with a step that fails."""

    def __init__(self, failing: str) -> None:
        self._failing = failing

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _step(self, name: str) -> None:
        if name == self._failing:
            raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))

    def bind(self, address: object) -> None:
        """Bind it, to receive nothing."""
        assert ("eth7", 0) == address
        self._step("bind")

    def send(self, _: object) -> None:
        """Send a frame."""
        self._step("send")


@pytest.mark.parametrize("step", ["bind", "send"])
def test_an_announcement_that_cannot_be_sent_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    monkeypatch.setattr("pydsr.kernel.net.announce.socket.socket", lambda *_: Socket(step))
    announcements.announce("eth7", MAC, VIPS)
    assert ["eth7: the VIPs could not be announced: Network is down"] == caplog.messages


def test_without_the_privilege_to_announce_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a container without NET_RAW: the VIP is served all the same."""

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pydsr.kernel.net.announce.socket.socket", refuse)
    announcements.announce("eth7", MAC, VIPS)
    assert ["eth7: the VIPs could not be announced: Operation not permitted"] == caplog.messages


def test_a_filter_that_cannot_be_changed_is_a_warning_once_for_each_group(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def refuse(_control: object, request: int, _argument: bytes) -> None:
        asked.append(request)
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pydsr.kernel.net.solicitations.fcntl.ioctl", refuse)
    caplog.set_level(logging.WARNING)
    solicitations.receive_solicitations(INTERFACE, VIPS)
    assert [
        "eth7 may not receive neighbour solicitations for IPv6 VIPs: Operation not permitted"
    ] == caplog.messages
    solicitations.stop_receiving(INTERFACE, VIPS)  # no warning: another program may have left it
    assert ([0x8931, 0x8932], 1) == (asked, len(caplog.messages))


@pytest.mark.parametrize("vip", ["192.0.2.1", "255.254.253.252"])
def test_an_ipv4_vip_is_announced_by_a_gratuitous_request(vip: str) -> None:
    frame = Ether(announcements.announcement(MAC.octets, ip_address(vip)))
    assert ("ff:ff:ff:ff:ff:ff", str(MAC)) == (frame.dst, frame.src)
    arp = frame[ARP]
    assert (1, 0x0800, 6, 4, 1) == (arp.hwtype, arp.ptype, arp.hwlen, arp.plen, arp.op)
    assert (str(MAC), vip, "00:00:00:00:00:00", vip) == (arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst)


@pytest.mark.parametrize(
    "vip", ["2001:db8::1", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "fd66::80:ff00"]
)
def test_an_ipv6_vip_is_announced_by_an_unsolicited_advertisement(vip: str) -> None:
    """With the checksum that scapy computes, whatever carries its sum has."""
    octets = announcements.announcement(MAC.octets, ip_address(vip))
    frame = Ether(octets)
    assert ("33:33:00:00:00:01", str(MAC)) == (frame.dst, frame.src)
    assert (vip, "ff02::1", 255) == (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim)
    advertisement = frame[ICMPv6ND_NA]
    assert (0, 0, 1) == (advertisement.R, advertisement.S, advertisement.O)
    assert (vip, str(MAC)) == (advertisement.tgt, frame[ICMPv6NDOptDstLLAddr].lladdr)
    del advertisement.cksum, frame[IPv6].plen
    assert octets == bytes(frame)


@pytest.mark.parametrize(
    ("vip", "group", "mac"),
    [
        ("2001:db8::1", "ff02::1:ff00:1", "3333ff000001"),
        ("2001:db8::12:3456:789a", "ff02::1:ff56:789a", "3333ff56789a"),
    ],
)
def test_solicitations_for_a_vip_go_to_the_group_of_its_last_octets(
    vip: str, group: str, mac: str
) -> None:
    found = solicitations.solicited_node_address(IPv6Address(vip))
    assert (group, mac) == (str(found), solicitations.multicast_mac(found).hex())
