"""An ARP conflict is reported once, until it changes."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest

from pydsr.daemon import arp_conflicts
from pydsr.kernel.machine.findings import Finding, FindingKind
from pydsr.model.events import Event

LEAK = Finding(FindingKind.ARP_LEAK, "192.0.2.80", "a backend answers", "mend it")
OTHER = Finding(FindingKind.VIP_CONTESTED, "192.0.2.81", "a stranger answers", "find it")


def test_a_lasting_conflict_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that could not be made says nothing of it."""
    looks = deque([{LEAK}, {LEAK}, None, {LEAK, OTHER}, {OTHER}, {LEAK, OTHER}])
    happened: list[Event] = []

    def find(_: Path) -> set[Finding] | None:
        if not looks:
            raise asyncio.CancelledError
        return looks.popleft()

    monkeypatch.setattr(arp_conflicts, "find_conflicts", find)
    watcher = arp_conflicts.ArpConflictWatcher(Path("/nowhere"), happened.append, 0, 0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watcher.run())
    expected = [
        ("vip-claimed", "192.0.2.80"),
        ("vip-claimed", "192.0.2.81"),
        ("vip-released", "192.0.2.80"),
        ("vip-claimed", "192.0.2.80"),
    ]
    assert expected == [(event.kind, event.object) for event in happened]
    assert {"finding": "arp-leak", "hint": "mend it"} == happened[0].details
