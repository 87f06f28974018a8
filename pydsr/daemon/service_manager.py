"""What systemd is told, by the protocol of sd_notify(3).

The manual page gives the protocol as stable and simple enough to be spoken without a library; the
one on PyPI (sdnotify) has had no release since 2017.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class ServiceManager:
    """The service manager that started this process, or nobody where none did.

    Args:
        environment: with NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte that names in the abstract namespace begin with.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_seconds = _watchdog_seconds(environment)

    def ready(self, status: str) -> None:
        """Say that the configuration is in force."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun; its end is :meth:`ready`."""
        self._tell(
            f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading the file"
        )

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._tell(f"STATUS={text}")

    async def feed_watchdog(self) -> None:
        """Tell again and again that the event loop runs; never returns."""
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            _log.debug("the service manager cannot be told %r: %s", text, error.strerror)


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Return how long the service manager waits for a sign of life; 0 where it does not."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() else 0
