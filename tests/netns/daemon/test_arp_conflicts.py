"""The daemon notices other hosts that answer ARP for a VIP, which health checks cannot see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydsr.daemon import arp_conflicts
from pydsr.daemon.arp_conflicts import ArpConflictWatcher
from pydsr.lab.network import enter_namespace
from pydsr.model.events import Event
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host

SERVICE, VIP = "10.66.0.80:80", "10.66.0.80"
BACKEND = "10.66.0.11"


def events_until(pydsr: Pydsr, *steps: Callable[[], object]) -> list[Event]:
    """Run the watcher, take the steps in turn, and wait for one event after each."""
    happened: list[Event] = []

    async def run() -> None:
        watching = asyncio.create_task(
            ArpConflictWatcher(pydsr.bpffs, happened.append, 0.05, 0.05).run()
        )
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


def test_a_backend_that_leaks_arp_is_reported_until_it_stops(balancer: Pydsr, peer: Host) -> None:
    """With the command that fixes it, and how long it lasted."""
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


def test_nothing_is_asked_if_nothing_is_attached(pydsr: Pydsr) -> None:
    with enter_namespace(pydsr.host.name):
        assert arp_conflicts.find_conflicts(pydsr.bpffs) is None
