"""Follows what the kernel says of backends and links, and has packets follow it.

One task listens and decides, in memory; another does what was decided, in threads, so that
nothing is missed meanwhile. Where news may have been missed all the same, everything is looked up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydsr.daemon.backend_tracking import BackendTracker
from pydsr.daemon.link_tracking import LinkTracker
from pydsr.daemon.supervision import Complaints
from pydsr.kernel.net.monitor import EventsLostError, Monitor
from pydsr.model.errors import BusyError, NotAttachedError
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import Link, LinkGone, Neighbour, NeighbourGone, News, PortLearned

CHECK_SECONDS = 2.0
"""How often it is looked whether commands have brought backends or interfaces."""

_RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Tracker:
    """Keeps the places of backends and the interfaces of a balancer living.

    Args:
        directory: of the pins.
        record: what is told of every event.
    """

    def __init__(self, directory: Path, record: Callable[[Event], object]) -> None:
        self._record = record
        self._complaints = Complaints(_log)
        self._wake = asyncio.Event()
        self._links = LinkTracker(directory, record, self._wake.set)
        self._backends = BackendTracker(directory, record, self._wake.set, self._links.name_of)

    def look_again(self) -> None:
        """Have everything looked up: something else has changed the state."""
        self._backends.look_again()

    async def run(self) -> None:
        """Follow until cancelled."""
        with Monitor() as monitor:
            await self._links.look_up()
            self.look_again()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(monitor))
                tasks.create_task(self._work())

    async def _listen(self, monitor: Monitor) -> None:
        while True:
            try:
                for news in await monitor.read():
                    self._hear(news)
            except EventsLostError:
                if self._complaints.is_new("news", "lost"):
                    cause = "more happened than could be read; everything is looked up"
                    self._record(Event(EventKind.NEWS_LOST, "neighbours and links", cause))
                await self._links.look_up()
                self.look_again()

    def _hear(self, news: News) -> None:
        match news:
            case Neighbour():
                self._backends.hear(news)
            case NeighbourGone():
                self._backends.hear_gone(news.address)
            case PortLearned():
                self._backends.hear_port(news.mac)
            case Link():
                self._links.hear(news)
            case LinkGone():
                self._links.hear_gone(news)

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._work_once()
            except NotAttachedError:
                self._links.forget()
                self._backends.forget()
            except BusyError as error:
                self._complaints.say("busy", f"{error.message}: waiting for that")
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()
            else:
                self._complaints.forget("busy")

    async def _work_once(self) -> None:
        # What is urgent comes first: a backend that packets are sent past.
        await self._backends.follow()
        await self._links.bring_back()
        await self._backends.check()
        if await self._links.check():
            self._backends.look_again()
        await self._backends.survey(links_work=self._links.all_work)
        await self._backends.follow()
