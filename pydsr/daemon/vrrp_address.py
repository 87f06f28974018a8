"""Answer for VIPs while this host has the VRRP address (``answer-while`` in the file).

VRRP moves that address from one balancer to another; the VIPs follow within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydsr.control.vip_ownership import announce_again, follow_address
from pydsr.daemon.tasks import WarnOnce
from pydsr.kernel.net.monitor import ADDRESSES, EventsLostError, Monitor
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, NotAttachedError
from pydsr.model.events import Event, EventKind

_RETRY_SECONDS = 0.1

_ANNOUNCE_AGAIN_SECONDS = (1.0, 4.0)
"""The pauses before VIPs are announced again after a takeover, since announcements can be lost."""

_log = logging.getLogger(__name__)


class VrrpAddressWatcher:
    """Watches this host's addresses, and starts or stops answering for VIPs.

    Args:
        directory: of the pins.
        record: receives each event.
        changing: held during each change, and by whoever calls :meth:`adopt`. So a change that
            follows an older desired state ends before a newer one is applied.
    """

    def __init__(
        self, directory: Path, record: Callable[[Event], object], changing: asyncio.Lock
    ) -> None:
        self._directory = directory
        self._record = record
        self._changing = changing
        self._warnings = WarnOnce(_log)
        self._desired = DesiredState()
        self._wake = asyncio.Event()

    def adopt(self, desired: DesiredState) -> None:
        """Adopt a desired state that was applied, and check the addresses again."""
        self._desired = desired
        self._wake.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        with Monitor(ADDRESSES) as monitor:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(monitor))
                tasks.create_task(self._work(tasks))

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            # Lost events do not matter: every event only triggers a check of all addresses.
            with suppress(EventsLostError):
                await monitor.read()
            self._wake.set()

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._check():
                tasks.create_task(self._announce_again())

    async def _announce_again(self) -> None:
        for seconds in _ANNOUNCE_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(NotAttachedError):
                await asyncio.to_thread(announce_again, self._directory)

    async def _check(self) -> bool:
        """Start or stop answering for VIPs; return whether they were taken over."""
        began = time.monotonic()
        try:
            async with self._changing:
                desired = self._desired
                if desired.answer_while is None:
                    return False
                changed = await asyncio.to_thread(follow_address, self._directory, desired)
        except NotAttachedError:
            return False
        except BusyError as error:
            self._warnings.warn("busy", f"{error.message}: waiting")
            await asyncio.sleep(_RETRY_SECONDS)
            self._wake.set()
            return False
        self._warnings.clear("busy")
        if not changed:
            return False
        # All services change in the same direction.
        taken = changed[0].options.arp
        services = f"{len(changed)} service{'s' * (len(changed) > 1)}"
        kind, cause = (
            (EventKind.VIPS_TAKEN, f"is on this host: answering ARP/ND for {services}")
            if taken
            else (EventKind.VIPS_LEFT, f"is not on this host: no ARP/ND for {services}")
        )
        seconds = time.monotonic() - began
        self._record(Event(kind, str(desired.answer_while), cause, seconds))
        return taken
