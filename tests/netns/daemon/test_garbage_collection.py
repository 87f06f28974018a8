"""The daemon brings slots to rest some time after a change."""

from __future__ import annotations

import asyncio

from pydsr.control.balancer import Balancer
from pydsr.daemon import garbage_collector
from pydsr.lab.network import enter_namespace
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS

SERVICE, LONGER = "10.66.0.80:80", "10.66.0.81:80"


def changing(pydsr: Pydsr) -> list[int]:
    """Return how many slots of each service are not at rest."""
    with Balancer(pydsr.bpffs) as balancer:
        services = sorted(balancer.services(), key=lambda service: str(service.endpoint))
        return [service.slots_changing for service in services]


async def until_rested(pydsr: Pydsr) -> None:
    """Collect garbage until all slots of the first service rest."""
    resting_now = asyncio.create_task(garbage_collector.collect_garbage(pydsr.bpffs, 0.05))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while changing(pydsr)[0]:
            await asyncio.sleep(0.02)
    resting_now.cancel()
    await asyncio.gather(resting_now, return_exceptions=True)


def test_slots_rest_when_they_have_learnt_for_long_enough(balancer: Pydsr) -> None:
    """And not while they are still learning."""
    for service, seconds in ((LONGER, "600"), (SERVICE, "1")):
        balancer.ok("services", "add", service, "--learn", seconds)
        balancer.ok("backends", "set", service, *BACKENDS[:2])
        balancer.ok("backends", "add", service, BACKENDS[2])
    learning, longer = changing(balancer)
    assert learning > 0
    with enter_namespace(balancer.host.name):
        asyncio.run(until_rested(balancer))
    assert [0, longer] == changing(balancer)
    assert longer > 0
