"""An ARP conflict is reported once, until it changes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from pydsr.daemon import arp_conflicts
from pydsr.kernel.machine.findings import Finding, FindingKind
from pydsr.kernel.net import links
from pydsr.model.events import Event
from tests.support.virtual_time import run_in_virtual_time

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


@pytest.mark.parametrize(
    ("state", "attached", "expected"),
    [
        (None, [], None),
        (None, ["eth0"], None),
        ("a state", [], None),
        ("a state", ["eth0"], {LEAK, OTHER}),
    ],
)
def test_only_conflicts_of_an_attached_balancer_count(
    monkeypatch: pytest.MonkeyPatch,
    state: object,
    attached: list[str],
    expected: set[Finding] | None,
) -> None:
    """Other findings and remarks of the doctor do not."""
    unrelated = Finding(FindingKind.VIP_LOCAL, "192.0.2.82", "it is local", "move it")
    services = SimpleNamespace(services=SimpleNamespace(all=tuple))
    balancer = SimpleNamespace(state=state and services, attached=attached)
    monkeypatch.setattr(arp_conflicts, "open_balancer", lambda _: nullcontext(balancer))
    monkeypatch.setattr(arp_conflicts, "examine_vips", lambda *_: "facts")
    monkeypatch.setattr(links, "local_addresses", lambda: ())
    monkeypatch.setattr(
        arp_conflicts, "judge_network", lambda _: [LEAK, unrelated, "a remark", OTHER]
    )
    assert expected == arp_conflicts.find_conflicts(Path("/nowhere"))


def test_the_first_look_is_soon_and_the_next_ones_a_minute_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The duration of a conflict counts from the look that found it."""
    looked: list[float] = []
    happened: list[Event] = []

    def find(_: Path) -> set[Finding]:
        looked.append(time.monotonic())
        return {LEAK} if len(looked) in (2, 3) else set()

    monkeypatch.setattr(arp_conflicts, "find_conflicts", find)

    async def main() -> list[float]:
        began = time.monotonic()
        watcher = arp_conflicts.ArpConflictWatcher(Path("/nowhere"), happened.append)
        watching = asyncio.ensure_future(watcher.run())
        await asyncio.sleep(200)
        watching.cancel()
        return [round(moment - began, 3) for moment in looked]

    assert [5.0, 65.0, 125.0, 185.0] == run_in_virtual_time(main())
    assert [("vip-claimed", None), ("vip-released", 120.0)] == [
        (event.kind.value, event.seconds and round(event.seconds, 3)) for event in happened
    ]
