"""Announcements that cannot be sent: the change that they follow is done."""

from __future__ import annotations

import errno
import logging
import os
from ipaddress import ip_address
from typing import Any

import pytest

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

    def bind(self, _: object) -> None:
        """Bind it."""
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
