"""The daemon brings slots to rest some time after a change."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pydsr.control.balancer import Balancer
from pydsr.daemon import garbage_collector
from pydsr.lab.network import enter_namespace
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS

SERVICE = "10.66.0.80:80"


def changing(pydsr: Pydsr) -> int:
    """Return how many slots are not at rest."""
    with Balancer(pydsr.bpffs) as balancer:
        return sum(service.slots_changing for service in balancer.services())


async def until_rested(pydsr: Pydsr, seconds: float) -> None:
    """Collect garbage until all slots rest or some time has passed."""
    resting_now = asyncio.create_task(garbage_collector.collect_garbage(pydsr.bpffs, 0.05))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while changing(pydsr):
                await asyncio.sleep(0.02)
    resting_now.cancel()
    await asyncio.gather(resting_now, return_exceptions=True)


def test_slots_rest_when_they_have_learnt_for_long_enough(balancer: Pydsr) -> None:
    """And not while they are still learning."""
    balancer.ok("services", "add", SERVICE, "--learn", "5")
    balancer.ok("backends", "set", SERVICE, *BACKENDS[:2])
    balancer.ok("backends", "add", SERVICE, BACKENDS[2])
    learning = changing(balancer)
    with enter_namespace(balancer.host.name):
        asyncio.run(until_rested(balancer, 0.3))
        assert learning == changing(balancer) > 0
        asyncio.run(until_rested(balancer, DEADLINE_SECONDS))
    assert 0 == changing(balancer)
