"""Notices who else answers for VIPs: a backend that leaks ARP, or a host with that address.

Health checks do not see it, for they ask the VIP on one backend. Clients do: those whose router
hears the other host first never reach the balancer. Taking that backend out would not help them.
"""

from __future__ import annotations

import asyncio
import logging
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
"""When the network is asked, after the start and then again and again."""

_CLAIMS = (FindingKind.ARP_LEAK, FindingKind.VIP_CONTESTED)

_log = logging.getLogger(__name__)


class ClaimWatcher:
    """Asks the network again and again who answers for VIPs, and tells what changes.

    Args:
        directory: of the pins.
        record: what is told of every event.
    """

    def __init__(self, directory: Path, record: Callable[[Event], object]) -> None:
        self._directory = directory
        self._record = record
        self._since: dict[Finding, float] = {}

    async def run(self) -> None:
        """Go on until cancelled."""
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            found = await asyncio.to_thread(find_claims, self._directory)
            if found is not None:
                self._tell(found, time.monotonic())
            pause = NEXT_SECONDS

    def _tell(self, found: set[Finding], now: float) -> None:
        for claim in found - self._since.keys():
            details: dict[str, object] = {"finding": claim.kind.value, "hint": claim.remedy}
            self._record(Event(EventKind.VIP_CLAIMED, claim.subject, claim.what, None, details))
            self._since[claim] = now
        for claim in self._since.keys() - found:
            lasted = now - self._since.pop(claim)
            cause = f"no more: {claim.what}"
            self._record(Event(EventKind.VIP_RELEASED, claim.subject, cause, lasted))


def find_claims(directory: Path) -> set[Finding] | None:
    """Return what the doctor says of others that answer for VIPs; None where nobody was asked."""
    with open_balancer(directory) as balancer:
        if balancer.state is None or not balancer.attached:
            return None
        facts = examine_vips(balancer, balancer.state.services.all(), links.local_addresses())
    remarks = judge_network(facts)
    return {one for one in remarks if isinstance(one, Finding) and one.kind in _CLAIMS}
