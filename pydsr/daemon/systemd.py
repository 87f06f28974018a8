"""Notify systemd of the daemon's state by the protocol of sd_notify(3).

The manual page calls the protocol stable and simple enough to use without a library; sdnotify on
PyPI has had no release since 2017.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class SystemdNotifier:
    """Sends notifications to the service manager, if one started this process.

    Args:
        environment: with NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte at the start of abstract socket names.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_seconds = _watchdog_seconds(environment)

    def ready(self, status: str) -> None:
        """Report that the file is in force."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun; :meth:`ready` ends it."""
        self._send(
            f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading the file"
        )

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(f"STATUS={text}")

    async def feed_watchdog(self) -> None:
        """Report again and again that the event loop runs; never returns."""
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            _log.debug("cannot send %r to the service manager: %s", text, error.strerror)


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Return the watchdog's timeout; 0 without a watchdog for this process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() else 0
