"""Track the MACs of backends by netlink events, and make packets follow them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pydsr.daemon import backend_moves
from pydsr.daemon.backend_moves import Move, Sighting
from pydsr.daemon.netlink_decisions import (
    MacChange,
    MacHistory,
    NeighbourReaction,
    merge_neighbour,
    react_to_neighbour,
)
from pydsr.daemon.tasks import WarnOnce
from pydsr.kernel.net import managed_neighbours
from pydsr.model.addresses import IPAddress, MacAddress
from pydsr.model.events import Event, EventKind
from pydsr.model.netlink_events import Confidence, Neighbour

SURVEY_SECONDS = 60.0
"""The period of look-ups of all neighbours, even if no event was lost."""

UNREACHABLE_SECONDS = 10.0
"""The same while a backend has no route, which may appear."""

_SHOWN_MESSAGES = 3

_log = logging.getLogger(__name__)


class BackendTracker:
    """Records neighbour events in memory; its actions run in threads."""

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
        self._warnings = WarnOnce(_log)
        self._survey_due = 0.0
        self._macs: dict[IPAddress, set[MacAddress]] = {}
        self._neighbours: dict[tuple[int, IPAddress], Neighbour] = {}
        self._sightings: dict[IPAddress, tuple[Sighting, float]] = {}
        self._history = MacHistory()
        self._silent: dict[IPAddress, float] = {}

    def request_survey(self) -> None:
        """Look up all neighbours as soon as possible."""
        self._survey_due = 0.0
        self._wake()

    def reset(self) -> None:
        """Forget everything, because there is no balancer any more."""
        self._macs.clear()
        self._neighbours.clear()
        self._sightings.clear()
        self._silent.clear()

    # -- events, recorded in memory

    def on_neighbour(self, now: Neighbour) -> None:
        """Record a neighbour entry."""
        macs = self._macs.get(now.address)
        if macs is None:
            return
        key = now.device, now.address
        before = self._neighbours.get(key)
        self._neighbours[key] = merge_neighbour(before, now)
        reaction = react_to_neighbour(before, now, macs)
        if reaction is NeighbourReaction.FOLLOW and now.mac is not None:
            is_sure = now.confidence is Confidence.SURE
            cause = "confirmed by ARP/ND" if is_sure else "announced by ARP/ND, not confirmed yet"
            self._add_sighting(Sighting(now.address, now.device, now.mac, cause))
        elif reaction is NeighbourReaction.SILENT:
            self._report_silent(now.address, now.device)
        if now.confidence is Confidence.SURE:
            self._report_answering(now.address)

    def on_neighbour_gone(self, address: IPAddress) -> None:
        """Schedule a deleted entry to be recreated, so that the kernel keeps resolving it."""
        if address in self._macs:
            self.request_survey()

    def on_link_gone(self, device: int) -> None:
        """Forget the entries of a deleted interface; its index may never be used again."""
        for key in [key for key in self._neighbours if key[0] == device]:
            del self._neighbours[key]

    def on_port_learned(self, mac: MacAddress) -> None:
        """Look for a backend whose MAC a bridge has learned at a port."""
        if any(mac in macs for macs in self._macs.values()):
            self.request_survey()

    def _add_sighting(self, sighting: Sighting) -> None:
        _, since = self._sightings.get(sighting.address, (None, time.monotonic()))
        self._sightings[sighting.address] = sighting, since
        self._wake()

    def _report_silent(self, address: IPAddress, device: int) -> None:
        if address in self._silent:
            return
        self._silent[address] = time.monotonic()
        macs = ", ".join(map(str, sorted(self._macs[address])))
        interface = self._name_of(device)
        cause = f"stopped answering ARP/ND on {interface}; packets still go to {macs}"
        self._record(Event(EventKind.BACKEND_SILENT, str(address), cause))

    def _report_answering(self, address: IPAddress) -> None:
        since = self._silent.pop(address, None)
        if since is not None:
            seconds = time.monotonic() - since
            cause = "answers ARP/ND again"
            self._record(Event(EventKind.BACKEND_ANSWERS, str(address), cause, seconds))

    # -- actions, in threads

    async def move_backends(self) -> None:
        """Send packets to where backends were seen.

        Raises:
            BusyError: another command is changing the state, and did not end.
            NotAttachedError: there is no balancer any more.
        """
        sightings = dict(self._sightings)
        if not sightings:
            return
        moves, refused = await asyncio.to_thread(
            backend_moves.move_backends,
            self._directory,
            [sighting for sighting, _ in sightings.values()],
        )
        for address, seen in sightings.items():
            # A sighting that arrived meanwhile stays for the next run.
            if self._sightings.get(address) == seen:
                del self._sightings[address]
        for move in moves:
            _, since = sightings[move.sighting.address]
            self._report_move(move, time.monotonic() - since)
        for address, message in refused.items():
            if self._warnings.is_new(f"refused {address}", message):
                self._record(Event(EventKind.MAC_REFUSED, str(address), message))

    def _report_move(self, move: Move, seconds: float) -> None:
        address, before, after = move.sighting.address, move.before, move.after
        macs = self._macs.setdefault(address, set())
        macs.discard(before.mac)
        macs.add(after.mac)
        kind, cause = EventKind.MAC_CHANGED, move.sighting.cause
        details = {"from": str(before.mac), "to": str(after.mac)}
        if before.mac == after.mac:
            kind = EventKind.BACKEND_MOVED
            details = {"from": self._name_of(before.ifindex), "to": self._name_of(after.ifindex)}
        else:
            change = self._history.record(address, before.mac, after.mac, time.monotonic())
            if change is MacChange.STILL_DUPLICATE:
                _log.debug("%s: %s, again", address, after.mac)
                return
            if change is MacChange.DUPLICATE:
                kind = EventKind.DUPLICATE_ADDRESS
                cause = "two hosts answer for it in turn: one of them has the wrong address"
        self._record(Event(kind, str(address), cause, seconds, details))

    async def check(self) -> None:
        """Notice backends that commands have added or removed.

        Raises:
            NotAttachedError: there is no balancer any more.
        """
        macs = await asyncio.to_thread(backend_moves.read_macs, self._directory)
        if macs.keys() != self._macs.keys():
            self._survey_due = 0.0
        await self._release(self._macs.keys() - macs.keys())
        self._macs = macs

    async def _release(self, addresses: set[IPAddress]) -> None:
        """Stop the kernel from keeping former backends resolved, and forget them."""
        if not addresses:
            return
        entries = [
            (address, device) for device, address in self._neighbours if address in addresses
        ]
        managed = [
            (address, device)
            for address, device in entries
            if self._neighbours[device, address].is_managed
        ]
        await asyncio.to_thread(managed_neighbours.delete_entries, managed)
        for address, device in entries:
            self._neighbours.pop((device, address), None)
        for address in addresses:
            self._silent.pop(address, None)
            self._sightings.pop(address, None)
        self._history.keep_only(self._macs.keys() - addresses)

    async def survey(self, *, links_work: bool) -> None:
        """Look up all neighbours if that is due.

        Raises:
            NotAttachedError: there is no balancer any more.
        """
        if time.monotonic() < self._survey_due:
            return
        self._survey_due = time.monotonic() + SURVEY_SECONDS
        survey = await asyncio.to_thread(backend_moves.survey, self._directory)
        for neighbour in survey.neighbours:
            self.on_neighbour(neighbour)
        for sighting in survey.sightings:
            if sighting.address not in self._sightings:
                self._add_sighting(sighting)
        if not survey.unreachable:
            self._warnings.clear("unreachable")
            return
        # Another look-up may have been requested meanwhile.
        self._survey_due = min(self._survey_due, time.monotonic() + UNREACHABLE_SECONDS)
        if links_work:
            self._warnings.warn("unreachable", _in_short(survey.unreachable.values()))


def _in_short(messages: Collection[str]) -> str:
    distinct = [*dict.fromkeys(messages)]
    shown = "; ".join(distinct[:_SHOWN_MESSAGES])
    more = len(distinct) - _SHOWN_MESSAGES
    return f"{shown}; and {more} more" if more > 0 else shown
