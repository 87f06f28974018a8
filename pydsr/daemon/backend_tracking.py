"""Backends whose MACs are not by hand: what is known of them, and packets that follow it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pydsr.daemon import following
from pydsr.daemon.following import Move, Sighting
from pydsr.daemon.reactions import (
    MacChange,
    MacHistory,
    NeighbourReaction,
    react_to_neighbour,
    remembered,
)
from pydsr.daemon.supervision import Complaints
from pydsr.kernel.net import managed_neighbours
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import Confidence, Neighbour

SURVEY_SECONDS = 60.0
"""How often everything is looked up although nothing seems to have been missed."""

_UNREACHABLE_SECONDS = 10.0
"""How soon everything is looked up where a backend has no route, which may come back."""

_SHOWN_MESSAGES = 3

_log = logging.getLogger(__name__)


class BackendTracker:
    """Decides in memory what news of neighbours mean, and does it when it is told to.

    Args:
        directory: of the pins.
        record: what is told of every event.
        wake: called when there is something to do.
        name_of: the name of an interface by its index.
    """

    def __init__(
        self,
        directory: Path,
        record: Callable[[Event], object],
        wake: Callable[[], None],
        name_of: Callable[[int], str],
    ) -> None:
        self._directory = directory
        self._record = record
        self._wake = wake
        self._name_of = name_of
        self._complaints = Complaints(_log)
        self._survey_due = 0.0
        self._kept: dict[IPAddress, set[MacAddress]] = {}
        self._neighbours: dict[tuple[int, IPAddress], Neighbour] = {}
        self._sightings: dict[IPAddress, tuple[Sighting, float]] = {}
        self._history = MacHistory()
        self._silent: dict[IPAddress, float] = {}

    def look_again(self) -> None:
        """Have everything looked up at the next opportunity, which is now."""
        self._survey_due = 0.0
        self._wake()

    def forget(self) -> None:
        """Forget everything: there is no balancer any more."""
        self._kept.clear()
        self._neighbours.clear()
        self._sightings.clear()
        self._silent.clear()

    # -- decisions in memory

    def hear(self, now: Neighbour) -> None:
        """Decide what an entry asks for, as it is now."""
        kept = self._kept.get(now.address)
        if kept is None:
            return
        key = now.device, now.address
        before = self._neighbours.get(key)
        self._neighbours[key] = remembered(before, now)
        reaction = react_to_neighbour(before, now, kept)
        if reaction is NeighbourReaction.FOLLOW and now.mac is not None:
            is_sure = now.confidence is Confidence.SURE
            cause = "confirmed by ARP/ND" if is_sure else "announced by ARP/ND, not confirmed yet"
            self._sight(Sighting(now.address, now.device, now.mac, cause))
        elif reaction is NeighbourReaction.SILENT:
            self._fall_silent(now.address, now.device)
        if now.confidence is Confidence.SURE:
            self._answer_again(now.address)

    def hear_gone(self, address: IPAddress) -> None:
        """Have an entry made again: without it the kernel does not ask for the backend."""
        if address in self._kept:
            self.look_again()

    def hear_port(self, mac: MacAddress) -> None:
        """Look where a backend is that a bridge has met at one of its ports."""
        if any(mac in macs for macs in self._kept.values()):
            self.look_again()

    def _sight(self, sighting: Sighting) -> None:
        _, since = self._sightings.get(sighting.address, (None, time.monotonic()))
        self._sightings[sighting.address] = sighting, since
        self._wake()

    def _fall_silent(self, address: IPAddress, device: int) -> None:
        if address in self._silent:
            return
        self._silent[address] = time.monotonic()
        macs = ", ".join(map(str, sorted(self._kept[address])))
        where = self._name_of(device)
        cause = f"does not answer ARP/ND on {where} any more; packets still go to {macs}"
        self._record(Event(EventKind.BACKEND_SILENT, str(address), cause))

    def _answer_again(self, address: IPAddress) -> None:
        since = self._silent.pop(address, None)
        if since is not None:
            seconds = time.monotonic() - since
            cause = "answers ARP/ND again"
            self._record(Event(EventKind.BACKEND_ANSWERS, str(address), cause, seconds))

    # -- what was decided, in threads

    async def follow(self) -> None:
        """Send packets to where backends were seen.

        Raises:
            BusyError: another command is changing the state, and did not end.
            NotAttachedError: there is no balancer any more.
        """
        sightings = dict(self._sightings)
        if not sightings:
            return
        moves, refused = await asyncio.to_thread(
            following.follow, self._directory, [one for one, _ in sightings.values()]
        )
        for address, seen in sightings.items():
            # What was seen meanwhile stays for the next time.
            if self._sightings.get(address) == seen:
                del self._sightings[address]
        for move in moves:
            _, since = sightings[move.sighting.address]
            self._tell(move, time.monotonic() - since)
        for address, message in refused.items():
            if self._complaints.is_new(f"refused {address}", message):
                self._record(Event(EventKind.MAC_REFUSED, str(address), message))

    def _tell(self, move: Move, seconds: float) -> None:
        address, before, after = move.sighting.address, move.before, move.after
        macs = self._kept.setdefault(address, set())
        macs.discard(before.mac)
        macs.add(after.mac)
        kind, cause = EventKind.MAC_CHANGED, move.sighting.cause
        details = {"from": str(before.mac), "to": str(after.mac)}
        if before.mac == after.mac:
            kind = EventKind.BACKEND_MOVED
            details = {"from": self._name_of(before.ifindex), "to": self._name_of(after.ifindex)}
        else:
            change = self._history.changed(address, before.mac, after.mac, time.monotonic())
            if change is MacChange.STILL_DUPLICATE:
                _log.debug("%s: %s, again", address, after.mac)
                return
            if change is MacChange.DUPLICATE:
                kind = EventKind.DUPLICATE_ADDRESS
                cause = "two hosts answer for it in turn: one of them has the wrong address"
        self._record(Event(kind, str(address), cause, seconds, details))

    async def check(self) -> None:
        """See which backends commands have brought or taken.

        Raises:
            NotAttachedError: there is no balancer any more.
        """
        kept = await asyncio.to_thread(following.kept_macs, self._directory)
        if kept.keys() != self._kept.keys():
            self._survey_due = 0.0
        await self._let_go(self._kept.keys() - kept.keys())
        self._kept = kept

    async def _let_go(self, addresses: set[IPAddress]) -> None:
        """Have the kernel keep those no longer resolved that are no backends any more."""
        if not addresses:
            return
        theirs = [(address, device) for device, address in self._neighbours if address in addresses]
        managed = [
            (address, device)
            for address, device in theirs
            if self._neighbours[device, address].is_managed
        ]
        await asyncio.to_thread(managed_neighbours.delete_entries, managed)
        for address, device in theirs:
            self._neighbours.pop((device, address), None)
        for address in addresses:
            self._silent.pop(address, None)
            self._sightings.pop(address, None)
        self._history.keep_only(self._kept.keys() - addresses)

    async def survey(self, *, links_work: bool) -> None:
        """Look everything up, if that is due.

        Args:
            links_work: no interface is away, which would explain what cannot be reached.

        Raises:
            NotAttachedError: there is no balancer any more.
        """
        if time.monotonic() < self._survey_due:
            return
        self._survey_due = time.monotonic() + SURVEY_SECONDS
        found = await asyncio.to_thread(following.survey, self._directory)
        for neighbour in found.neighbours:
            self.hear(neighbour)
        for sighting in found.sightings:
            if sighting.address not in self._sightings:
                self._sight(sighting)
        if not found.unreachable:
            self._complaints.forget("unreachable")
            return
        self._survey_due = time.monotonic() + _UNREACHABLE_SECONDS
        if links_work:
            self._complaints.say("unreachable", _in_short(found.unreachable.values()))


def _in_short(messages: Collection[str]) -> str:
    different = [*dict.fromkeys(messages)]
    shown = "; ".join(different[:_SHOWN_MESSAGES])
    more = len(different) - _SHOWN_MESSAGES
    return f"{shown}; and {more} more" if more > 0 else shown
