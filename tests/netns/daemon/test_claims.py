"""The daemon notices who else answers for a VIP: what a check of one backend cannot see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pydsr.daemon import claims
from pydsr.daemon.claims import ClaimWatcher
from pydsr.lab.network import enter_namespace
from pydsr.model.events import Event
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"
BACKEND = "10.66.0.11"


def events_until(pydsr: Pydsr, *steps: Callable[[], object]) -> list[Event]:
    """Take one step after the other while the watcher runs, each with one event to follow it."""
    happened: list[Event] = []

    async def run() -> None:
        watching = asyncio.create_task(ClaimWatcher(pydsr.bpffs, happened.append).run())
        async with asyncio.timeout(DEADLINE_SECONDS):
            for number, step in enumerate(steps, 1):
                step()
                while len(happened) < number:
                    await asyncio.sleep(0.02)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    with enter_namespace(pydsr.host.name):
        asyncio.run(run())
    return happened


def test_a_backend_that_leaks_arp_is_named_until_it_does_no_more(
    balancer: Pydsr, peer: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that mends it, and how long it lasted."""
    monkeypatch.setattr(claims, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(claims, "NEXT_SECONDS", 0.05)
    balancer.ok("backends", "set", SERVICE, BACKEND)
    address = (f"{VIP}/32", "dev", "lo")
    peer.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")
    peer.run("ip", "address", "add", *address)
    claimed, released = events_until(
        balancer,
        lambda: peer.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"),
        lambda: peer.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1"),
    )
    assert ("vip-claimed", VIP) == (claimed.kind, claimed.object)
    assert f"backend {BACKEND}" in claimed.cause
    assert "arp_ignore=1" in str(claimed.details["hint"])
    assert ("vip-released", VIP) == (released.kind, released.object)
    assert released.seconds is not None
    assert released.seconds > 0


def test_nobody_is_asked_where_nothing_is_attached(pydsr: Pydsr) -> None:
    with enter_namespace(pydsr.host.name):
        assert claims.find_claims(pydsr.bpffs) is None
