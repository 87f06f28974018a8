"""Watch for other hosts that answer ARP or ND for VIPs.

Health checks do not notice them, because each asks the VIP on one backend. But clients whose router
hears the other host first never reach the balancer. Taking a leaking backend out would not help.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from pydsr.doctor.balancer import open_balancer
from pydsr.doctor.facts import examine_vips
from pydsr.doctor.network import judge_network
from pydsr.kernel.machine.findings import Finding, FindingKind
from pydsr.kernel.net import links
from pydsr.model.events import Event, EventKind

FIRST_SECONDS, NEXT_SECONDS = 5.0, 60.0
"""The delay after the start, and the period of queries."""

_CONFLICTS = (FindingKind.ARP_LEAK, FindingKind.VIP_CONTESTED)


class ArpConflictWatcher:
    """Asks the network regularly who answers for VIPs, and records changes as events."""

    def __init__(
        self,
        directory: Path,
        record: Callable[[Event], object],
        first_seconds: float = FIRST_SECONDS,
        next_seconds: float = NEXT_SECONDS,
    ) -> None:
        self._directory = directory
        self._record = record
        self._first_seconds, self._next_seconds = first_seconds, next_seconds
        self._since: dict[Finding, float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.sleep(self._first_seconds)
        while True:
            conflicts = await asyncio.to_thread(find_conflicts, self._directory)
            if conflicts is not None:
                self._record_changes(conflicts, time.monotonic())
            await asyncio.sleep(self._next_seconds)

    def _record_changes(self, conflicts: set[Finding], now: float) -> None:
        for conflict in conflicts - self._since.keys():
            details: dict[str, object] = {"finding": conflict.kind.id, "hint": conflict.remedy}
            event = Event(EventKind.VIP_CLAIMED, conflict.subject, conflict.what, None, details)
            self._record(event)
            self._since[conflict] = now
        for conflict in self._since.keys() - conflicts:
            seconds = now - self._since.pop(conflict)
            cause = f"no longer: {conflict.what}"
            self._record(Event(EventKind.VIP_RELEASED, conflict.subject, cause, seconds))


def find_conflicts(directory: Path) -> set[Finding] | None:
    """Return the doctor's findings about ARP conflicts; None if nothing is attached."""
    with open_balancer(directory) as balancer:
        if balancer.state is None or not balancer.attached:
            return None
        facts = examine_vips(balancer, balancer.state.services.all(), links.local_addresses())
    return {
        remark
        for remark in judge_network(facts)
        if isinstance(remark, Finding) and remark.kind in _CONFLICTS
    }
