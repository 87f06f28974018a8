"""Has VIPs answered for while this machine has the address that the file names.

VRRP moves that address from one balancer to another; VIPs follow it within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydsr.control.vip_ownership import announce_again, follow_address
from pydsr.daemon.supervision import Complaints
from pydsr.kernel.net.monitor import ADDRESSES, EventsLostError, Monitor
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, NotAttachedError
from pydsr.model.events import Event, EventKind

_RETRY_SECONDS = 0.1

_AGAIN_SECONDS = (1.0, 4.0)
"""How long after a takeover, and then after each other, VIPs are announced again."""

_log = logging.getLogger(__name__)


class AddressFollower:
    """Hears of this machine's addresses, and has VIPs follow the one that matters.

    Args:
        directory: of the pins.
        record: what is told of every event.
    """

    def __init__(self, directory: Path, record: Callable[[Event], object]) -> None:
        self._directory = directory
        self._record = record
        self._complaints = Complaints(_log)
        self._wanted = DesiredState()
        self._wake = asyncio.Event()

    def follow(self, wanted: DesiredState) -> None:
        """Go by a configuration that was applied; an address may have moved meanwhile."""
        self._wanted = wanted
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        with Monitor(ADDRESSES) as monitor:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(monitor))
                tasks.create_task(self._work(tasks))

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            # It is looked up what the addresses are: it does not matter what was lost.
            with suppress(EventsLostError):
                await monitor.read()
            self._wake.set()

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._wanted.answer_while is not None and await self._look():
                tasks.create_task(self._announce_again())

    async def _announce_again(self) -> None:
        for seconds in _AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(NotAttachedError):
                await asyncio.to_thread(announce_again, self._directory)

    async def _look(self) -> bool:
        """Do what the addresses ask for; return whether VIPs were taken over."""
        began = time.monotonic()
        wanted = self._wanted
        try:
            changed = await asyncio.to_thread(follow_address, self._directory, wanted)
        except NotAttachedError:
            return False
        except BusyError as error:
            self._complaints.say("busy", f"{error.message}: waiting for that")
            await asyncio.sleep(_RETRY_SECONDS)
            self._wake.set()
            return False
        self._complaints.forget("busy")
        if not changed:
            return False
        # All of them turn the same way.
        taken = changed[0].options.arp
        services = f"{len(changed)} service{'s' * (len(changed) > 1)}"
        kind, cause = (
            (EventKind.VIPS_TAKEN, f"is here now: ARP/ND for {services} is answered and announced")
            if taken
            else (EventKind.VIPS_LEFT, f"is not here: ARP/ND for {services} is not answered")
        )
        seconds = time.monotonic() - began
        self._record(Event(kind, str(wanted.answer_while), cause, seconds))
        return taken
