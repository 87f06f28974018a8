"""Which failing checks are investigated when there are many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from pydsr.health.diagnosis import NOTHING_KNOWN, Evidence
from pydsr.health.investigation import (
    KEPT_SECONDS,
    MOST_AT_ONCE,
    MOST_PER_BACKEND,
    Investigation,
    Investigations,
)
from pydsr.health.targets import CheckTarget, Route

EVIDENCE = Evidence(has_neighbour=True, backend_answers=True)


def target(number: int) -> CheckTarget:
    return CheckTarget(ip_address("192.0.2.80"), 80, Route(ip_address("198.51.100.0") + number, 2))


def test_a_number_of_investigations_run_at_once() -> None:
    investigations = Investigations()
    routes = [target(number).route for number in range(MOST_AT_ONCE + 5)]
    begun = [investigations.reserve(route) for route in routes]
    assert [True] * MOST_AT_ONCE + [False] * 5 == begun
    investigations.release(routes[0])
    assert investigations.reserve(routes[-1])
    assert not investigations.reserve(routes[0])


def test_a_backend_in_many_services_leaves_room_for_others() -> None:
    investigations = Investigations()
    dead, other = target(1).route, target(2).route
    begun = [investigations.reserve(dead) for _ in range(MOST_PER_BACKEND + 5)]
    assert [True] * MOST_PER_BACKEND + [False] * 5 == begun
    assert investigations.reserve(other)
    investigations.release(dead)
    assert investigations.reserve(dead)


def test_an_investigation_without_room_uses_earlier_evidence() -> None:
    async def main() -> None:
        investigations = Investigations()
        investigations.keep(target(1), EVIDENCE)
        for number in range(MOST_AT_ONCE):
            assert investigations.reserve(target(number + 10).route)
        investigation = Investigation(investigations, target(1), 0, True, 1.0)
        investigation.begin()
        assert {asyncio.current_task()} == asyncio.all_tasks()
        assert EVIDENCE == await investigation.evidence()
        await investigation.close()
        assert not investigations.reserve(target(1).route)

    asyncio.run(main())


def test_evidence_is_kept_for_a_while() -> None:
    async def main() -> None:
        investigations = Investigations()
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.time = lambda: now  # type: ignore[method-assign]
        assert investigations.recent(target(1)) == NOTHING_KNOWN
        investigations.keep(target(1), EVIDENCE)
        assert investigations.recent(target(1)) == EVIDENCE
        assert investigations.recent(target(2)) == NOTHING_KNOWN
        now += KEPT_SECONDS
        assert investigations.recent(target(1)) == NOTHING_KNOWN

    asyncio.run(main())


def test_evidence_holds_for_other_ports_except_for_a_wrong_source() -> None:
    async def main() -> None:
        investigations = Investigations()
        of_one_server = replace(EVIDENCE, wrong_source=ip_address("192.0.2.99"))
        investigations.keep(target(1), of_one_server)
        assert investigations.recent(target(1)) == of_one_server
        assert investigations.recent(replace(target(1), port=81)) == EVIDENCE
        elsewhere = replace(target(1), port=81, vip=ip_address("192.0.2.81"))
        assert investigations.recent(elsewhere) == NOTHING_KNOWN

    asyncio.run(main())
