"""The interfaces a balancer is on: lost, down and back, and the program told of what changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pydsr.control.attached_interfaces import Attached
from pydsr.daemon import link_keeping
from pydsr.daemon.reactions import LinkReaction, Shape, react_to_link, shape_of, why_down
from pydsr.daemon.supervision import Complaints
from pydsr.kernel.net import monitor
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import Link, LinkGone

_log = logging.getLogger(__name__)


class LinkTracker:
    """Decides in memory what news of links mean, and does it when it is told to.

    Args:
        directory: of the pins.
        record: what is told of every event.
        wake: called when there is something to do.
    """

    def __init__(
        self, directory: Path, record: Callable[[Event], object], wake: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._record = record
        self._wake = wake
        self._complaints = Complaints(_log)
        self._links: dict[int, Link] = {}
        self._attached: dict[int, Attached] = {}
        self._lost: dict[str, tuple[Attached, float]] = {}
        self._down: dict[int, float] = {}
        self._shape: Shape | None = None

    def name_of(self, index: int) -> str:
        """Return the name of an interface."""
        link = self._links.get(index)
        return link.interface.name if link else "an interface that is gone"

    @property
    def all_work(self) -> bool:
        """Whether none is away."""
        return not self._lost and not self._down

    async def look_up(self) -> None:
        """Take notice of every interface there is, and of those that went unnoticed."""
        links = await asyncio.to_thread(monitor.all_links)
        present = {link.interface.index for link in links}
        for index in self._links.keys() - present:
            self.hear_gone(LinkGone(self._links[index].interface))
        for link in links:
            self.hear(link)

    def forget(self) -> None:
        """Forget what the balancer was on: there is none any more."""
        self._attached.clear()
        self._lost.clear()
        self._down.clear()
        self._shape = None

    # -- decisions in memory

    def hear(self, now: Link) -> None:
        """Decide what an interface asks for, as it is now."""
        interface = now.interface
        before = self._links.get(interface.index)
        self._links[interface.index] = now
        reaction = react_to_link(before, now, self._attached, self._lost)
        if reaction is LinkReaction.DOWN:
            self._down[interface.index] = time.monotonic()
            self._record(Event(EventKind.LINK_DOWN, interface.name, why_down(now)))
        elif reaction is LinkReaction.UP:
            since = self._down.pop(interface.index, None)
            seconds = None if since is None else time.monotonic() - since
            self._record(Event(EventKind.LINK_UP, interface.name, "carries frames again", seconds))
            # What was known of its networks is gone with their neighbours.
            self._shape = None
        if reaction is not LinkReaction.NOTHING or self._has_other_shape():
            self._wake()

    def hear_gone(self, gone: LinkGone) -> None:
        """Note that an interface is gone."""
        index = gone.interface.index
        self._links.pop(index, None)
        self._down.pop(index, None)
        attached = self._attached.pop(index, None)
        if attached and link_keeping.went_by_itself(self._directory, index):
            self._lose(attached)
        if self._has_other_shape():
            self._wake()

    def _lose(self, attached: Attached) -> None:
        self._lost[attached.name] = attached, time.monotonic()
        cause = "the interface was deleted; the program comes back when it does"
        self._record(Event(EventKind.LINK_LOST, attached.name, cause))

    def _has_other_shape(self) -> bool:
        return self._shape != shape_of(self._links.values(), self._attached)

    # -- what was decided, in threads

    async def bring_back(self) -> None:
        """Put the program on interfaces that were lost and are there again.

        Raises:
            BusyError: another command is changing the state, and did not end.
        """
        if not self._lost:
            return
        if await asyncio.to_thread(link_keeping.is_given_up, self._directory):
            self._lost.clear()
            return
        lost = {name: attached for name, (attached, _) in self._lost.items()}
        for one in await asyncio.to_thread(link_keeping.bring_back, self._directory, lost):
            if one.failure:
                self._complaints.say(one.name, f"{one.name} is there again, but {one.failure}")
                continue
            self._complaints.forget(one.name)
            _, since = self._lost.pop(one.name)
            cause = f"attached again, in {one.mode} mode"
            seconds = time.monotonic() - since
            self._record(Event(EventKind.LINK_BACK, one.name, cause, seconds))

    async def check(self) -> bool:
        """See what the balancer is on by now, and tell the program where that differs.

        Returns:
            Whether it did.

        Raises:
            BusyError: another command is changing the state, and did not end.
            NotAttachedError: there is no balancer any more.
        """
        before = self._attached
        self._attached = await asyncio.to_thread(link_keeping.here, self._directory)
        for index in before.keys() - self._attached.keys():
            # What was deleted so soon that its end was heard before it was known to be attached.
            if index not in self._links and link_keeping.went_by_itself(self._directory, index):
                self._lose(before[index])
        shape = shape_of(self._links.values(), self._attached)
        if shape == self._shape:
            return False
        await asyncio.to_thread(link_keeping.tell_program, self._directory)
        self._shape = shape
        return True
