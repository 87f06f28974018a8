"""Listen to netlink, and make packets follow backends and links.

One task listens and records events in memory. Another acts on them in threads, so that no event is
missed meanwhile. If events are lost nevertheless, everything is looked up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydsr.daemon.backend_tracker import BackendTracker
from pydsr.daemon.link_tracker import LinkTracker
from pydsr.daemon.tasks import WarnOnce
from pydsr.kernel.net.monitor import EventsLostError, Monitor
from pydsr.model.errors import BusyError, NotAttachedError
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import (
    Link,
    LinkGone,
    Neighbour,
    NeighbourGone,
    NetlinkEvent,
    PortLearned,
)

CHECK_SECONDS = 2.0
"""How often the balancer is checked for backends and interfaces that commands have added."""

_RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)


class NetlinkTracker:
    """Keeps the places of backends and the attached interfaces up to date."""

    def __init__(self, directory: Path, record: Callable[[Event], object]) -> None:
        self._record = record
        self._warnings = WarnOnce(_log)
        self._wake = asyncio.Event()
        self._links = LinkTracker(directory, record, self._wake.set)
        self._backends = BackendTracker(directory, record, self._wake.set, self._links.name_of)

    def request_survey(self) -> None:
        """Look up all neighbours soon, because the daemon has changed the balancer."""
        self._backends.request_survey()

    async def run(self) -> None:
        """Track until cancelled."""
        with Monitor() as monitor:
            await self._links.look_up()
            self.request_survey()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(monitor))
                tasks.create_task(self._work())

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            try:
                for event in await monitor.read():
                    self._note(event)
            except EventsLostError:
                if self._warnings.is_new("lost", "lost"):
                    cause = "more events than could be read; everything is looked up"
                    self._record(Event(EventKind.NEWS_LOST, "neighbours and links", cause))
                await self._links.look_up()
                self.request_survey()

    def _note(self, event: NetlinkEvent) -> None:
        match event:
            case Neighbour():
                self._backends.on_neighbour(event)
            case NeighbourGone():
                self._backends.on_neighbour_gone(event.address)
            case PortLearned():
                self._backends.on_port_learned(event.mac)
            case Link():
                self._links.on_link(event)
            case LinkGone():
                self._links.on_link_gone(event)
                self._backends.on_link_gone(event.interface.index)

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._work_once()
            except NotAttachedError:
                self._links.reset()
                self._backends.reset()
            except BusyError as error:
                self._warnings.warn("busy", f"{error.message}: waiting")
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()
            else:
                self._warnings.clear("busy")

    async def _work_once(self) -> None:
        # First the most urgent: backends that do not get their packets.
        await self._backends.move_backends()
        await self._links.reattach()
        await self._backends.check()
        if await self._links.check():
            self._backends.request_survey()
        await self._backends.survey(links_work=self._links.all_work)
        await self._backends.move_backends()
