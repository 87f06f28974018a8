"""Follows what the kernel says of backends and links, and has packets follow it.

One task listens and decides, in memory; another does what was decided, in threads, so that
nothing is missed meanwhile. Where news may have been missed all the same, everything is looked up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pydsr.attached import Attached
from pydsr.daemon import following, link_keeping
from pydsr.daemon.events import Event, EventKind
from pydsr.daemon.following import Sighting, Survey
from pydsr.daemon.reactions import (
    LinkReaction,
    MacChange,
    MacHistory,
    NeighbourReaction,
    Shape,
    react_to_link,
    react_to_neighbour,
    remembered,
    shape_of,
    why_down,
)
from pydsr.daemon.supervision import Complaints
from pydsr.errors import BusyError, NotAttachedError
from pydsr.kernel import monitor
from pydsr.kernel.monitor import Monitor, NewsLostError
from pydsr.model import IPAddress, MacAddress
from pydsr.news import Confidence, Link, LinkGone, Neighbour, NeighbourGone, News, PortLearned

CHECK_SECONDS = 2.0
"""How often it is looked whether commands have brought backends or interfaces."""

SURVEY_SECONDS = 60.0
"""How often everything is looked up although nothing seems to have been missed."""

_UNREACHABLE_SECONDS = 10.0
"""How soon everything is looked up where a backend has no route, which may come back."""

_RETRY_SECONDS = 0.1
_SHOWN_MESSAGES = 3

_log = logging.getLogger(__name__)


class Tracker:
    """Keeps the places of backends and the interfaces of a balancer living.

    Args:
        directory: of the pins.
        record: what is told of every event.
    """

    def __init__(self, directory: Path, record: Callable[[Event], object]) -> None:
        self._directory = directory
        self._record = record
        self._complaints = Complaints(_log)
        self._wake = asyncio.Event()
        self._survey_due = 0.0
        self._kept: dict[IPAddress, set[MacAddress]] = {}
        self._neighbours: dict[tuple[int, IPAddress], Neighbour] = {}
        self._sightings: dict[IPAddress, tuple[Sighting, float]] = {}
        self._history = MacHistory()
        self._silent: dict[IPAddress, float] = {}
        self._links: dict[int, Link] = {}
        self._shape: Shape | None = None
        self._attached: dict[int, Attached] = {}
        self._lost: dict[str, tuple[Attached, float]] = {}
        self._down: dict[int, float] = {}

    def look_again(self) -> None:
        """Have everything looked up: something else has changed the state."""
        self._survey_due = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        with Monitor() as news:
            for link in await asyncio.to_thread(monitor.all_links):
                self._links[link.interface.index] = link
            self.look_again()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(news))
                tasks.create_task(self._work())

    # -- listening: decisions in memory

    async def _listen(self, news: Monitor) -> None:
        while True:
            try:
                for one in await news.read():
                    self._hear(one)
            except NewsLostError:
                self._complaints.say("news", "news of the kernel were lost; all is looked up anew")
                self._links.clear()
                for link in await asyncio.to_thread(monitor.all_links):
                    self._hear(link)
                self.look_again()

    def _hear(self, news: News) -> None:
        match news:
            case Neighbour():
                self._hear_neighbour(news)
            case NeighbourGone():
                # Without its entry the kernel does not ask for it: it is to be kept again.
                if news.address in self._kept:
                    self.look_again()
            case PortLearned():
                if any(news.mac in macs for macs in self._kept.values()):
                    self.look_again()
            case Link():
                self._hear_link(news)
            case LinkGone():
                self._hear_link_gone(news)

    def _hear_neighbour(self, now: Neighbour) -> None:
        kept = self._kept.get(now.address)
        if kept is None:
            return
        key = now.device, now.address
        before = self._neighbours.get(key)
        self._neighbours[key] = remembered(before, now)
        reaction = react_to_neighbour(before, now, kept)
        if reaction is NeighbourReaction.FOLLOW and now.mac is not None:
            sure = now.confidence is Confidence.SURE
            cause = "confirmed by ARP/ND" if sure else "announced by ARP/ND, not confirmed yet"
            self._sight(Sighting(now.address, now.device, now.mac, cause))
        elif reaction is NeighbourReaction.SILENT:
            self._fall_silent(now.address, now.device)
        if now.confidence is Confidence.SURE:
            self._answer_again(now.address)

    def _sight(self, sighting: Sighting) -> None:
        _, since = self._sightings.get(sighting.address, (None, time.monotonic()))
        self._sightings[sighting.address] = sighting, since
        self._wake.set()

    def _fall_silent(self, address: IPAddress, device: int) -> None:
        if address in self._silent:
            return
        self._silent[address] = time.monotonic()
        link = self._links.get(device)
        where = f" on {link.interface.name}" if link else ""
        macs = ", ".join(map(str, sorted(self._kept[address])))
        cause = f"does not answer ARP/ND{where} any more; packets still go to {macs}"
        self._record(Event(EventKind.BACKEND_SILENT, str(address), cause))

    def _answer_again(self, address: IPAddress) -> None:
        since = self._silent.pop(address, None)
        if since is not None:
            seconds = time.monotonic() - since
            cause = "answers ARP/ND"
            self._record(Event(EventKind.BACKEND_ANSWERS, str(address), cause, seconds))

    def _hear_link(self, now: Link) -> None:
        index = now.interface.index
        before = self._links.get(index)
        self._links[index] = now
        reaction = react_to_link(before, now, self._attached, self._lost)
        name = now.interface.name
        if reaction is LinkReaction.BACK:
            self._wake.set()
        elif reaction is LinkReaction.DOWN:
            self._down[index] = time.monotonic()
            self._record(Event(EventKind.LINK_DOWN, name, why_down(now)))
        elif reaction is LinkReaction.UP:
            since = self._down.pop(index, None)
            seconds = None if since is None else time.monotonic() - since
            self._record(Event(EventKind.LINK_UP, name, "carries frames again", seconds))
            self.look_again()
        self._compare_shape()

    def _hear_link_gone(self, gone: LinkGone) -> None:
        index = gone.interface.index
        self._links.pop(index, None)
        self._down.pop(index, None)
        attached = self._attached.pop(index, None)
        if attached and link_keeping.went_by_itself(self._directory, index):
            self._lose(attached)
        self._compare_shape()

    def _lose(self, attached: Attached) -> None:
        self._lost[attached.name] = attached, time.monotonic()
        cause = "the interface was deleted; the program comes back when it does"
        self._record(Event(EventKind.LINK_LOST, attached.name, cause))

    def _compare_shape(self) -> None:
        if self._shape != shape_of(self._links.values(), self._attached):
            self.look_again()

    # -- working: what was decided, in threads

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._work_once()
            except NotAttachedError:
                self._forget()
            except BusyError as error:
                self._complaints.say("busy", error.message)
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()
            else:
                self._complaints.forget("busy")

    async def _work_once(self) -> None:
        if self._sightings:
            await self._follow()
        if self._lost:
            await self._bring_back()
        await self._check()
        if time.monotonic() >= self._survey_due:
            await self._survey()
        if self._sightings:
            await self._follow()

    async def _follow(self) -> None:
        sightings = dict(self._sightings)
        moves, refused = await asyncio.to_thread(
            following.follow, self._directory, [one for one, _ in sightings.values()]
        )
        for address, seen in sightings.items():
            # What was seen meanwhile stays for the next time.
            if self._sightings.get(address) == seen:
                del self._sightings[address]
        for move in moves:
            _, since = sightings[move.sighting.address]
            self._tell_move(move, time.monotonic() - since)
        for message in refused:
            if self._complaints.is_new("refused", message):
                self._record(Event(EventKind.MAC_REFUSED, message.split(" ")[0], message))

    def _tell_move(self, move: following.Move, seconds: float) -> None:
        address, before, after = move.sighting.address, move.before, move.after
        macs = self._kept.setdefault(address, set())
        macs.discard(before.mac)
        macs.add(after.mac)
        details = {"from": str(before.mac), "to": str(after.mac)}
        kind, cause = EventKind.MAC_CHANGED, move.sighting.cause
        if before.mac == after.mac:
            names = {index: link.interface.name for index, link in self._links.items()}
            kind = EventKind.BACKEND_MOVED
            details = {
                "from": names.get(before.ifindex, "an interface that is gone"),
                "to": names.get(after.ifindex, str(after.ifindex)),
            }
        else:
            change = self._history.changed(address, before.mac, after.mac, time.monotonic())
            if change is MacChange.STILL_DUPLICATE:
                _log.debug("%s: %s, again", address, after.mac)
                return
            if change is MacChange.DUPLICATE:
                kind = EventKind.DUPLICATE_ADDRESS
                cause = "two hosts answer for it in turn: one of them has the wrong address"
        self._record(Event(kind, str(address), cause, seconds, details))

    async def _bring_back(self) -> None:
        if await asyncio.to_thread(link_keeping.is_given_up, self._directory):
            self._lost.clear()
            return
        lost = {name: attached for name, (attached, _) in self._lost.items()}
        for one in await asyncio.to_thread(link_keeping.bring_back, self._directory, lost):
            if one.failure:
                self._complaints.say(f"link {one.name}", f"{one.name} is back, but {one.failure}")
                continue
            self._complaints.forget(f"link {one.name}")
            _, since = self._lost.pop(one.name)
            cause = f"attached again, in {one.mode} mode"
            seconds = time.monotonic() - since
            self._record(Event(EventKind.LINK_BACK, one.name, cause, seconds))
            self._survey_due = 0.0

    async def _check(self) -> None:
        """See what commands have changed meanwhile."""
        kept = await asyncio.to_thread(following.kept_macs, self._directory)
        if kept.keys() != self._kept.keys():
            self._survey_due = 0.0
        await self._let_go(self._kept.keys() - kept.keys())
        self._kept = kept
        before, attached = (
            self._attached,
            await asyncio.to_thread(link_keeping.here, self._directory),
        )
        self._attached = attached
        for index in before.keys() - attached.keys():
            known = self._links.get(index)
            if known is None and link_keeping.went_by_itself(self._directory, index):
                self._lose(before[index])
        shape = shape_of(self._links.values(), attached)
        if shape != self._shape:
            await asyncio.to_thread(link_keeping.tell_program, self._directory)
            self._shape = shape
            self._survey_due = 0.0

    async def _let_go(self, addresses: set[IPAddress]) -> None:
        if not addresses:
            return
        managed = [
            (address, device)
            for (device, address), one in self._neighbours.items()
            if address in addresses and one.is_managed
        ]
        await asyncio.to_thread(monitor.let_go, managed)
        for device, address in [*self._neighbours]:
            if address in addresses:
                del self._neighbours[device, address]
        for address in addresses:
            self._silent.pop(address, None)
            self._sightings.pop(address, None)
        self._history.keep_only(self._kept.keys() - addresses)

    async def _survey(self) -> None:
        self._survey_due = time.monotonic() + SURVEY_SECONDS
        found: Survey = await asyncio.to_thread(following.survey, self._directory)
        for one in found.neighbours:
            self._hear_neighbour(one)
        for sighting in found.sightings:
            if sighting.address not in self._sightings:
                self._sight(sighting)
        if found.unreachable:
            self._survey_due = time.monotonic() + _UNREACHABLE_SECONDS
            # Of a link that is away it was said already.
            if not self._lost and not self._down:
                self._complaints.say("unreachable", _in_short(found.unreachable.values()))
        else:
            self._complaints.forget("unreachable")

    def _forget(self) -> None:
        """There is no balancer any more, until the file is applied again."""
        self._kept.clear()
        self._neighbours.clear()
        self._sightings.clear()
        self._attached.clear()
        self._lost.clear()
        self._silent.clear()
        self._shape = None


def _in_short(messages: Collection[str]) -> str:
    different = [*dict.fromkeys(messages)]
    shown = "; ".join(different[:_SHOWN_MESSAGES])
    more = len(different) - _SHOWN_MESSAGES
    return f"{shown}; and {more} more" if more > 0 else shown
