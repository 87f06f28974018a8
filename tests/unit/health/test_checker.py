"""When checks are made: spread, in time, once for all who want them, and not after the end."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter

from pydsr.health.check_health import CheckHealth
from pydsr.health.checker import Scheduler
from pydsr.health.poller import TICK
from pydsr.health.targets import CheckTarget, Job, Route, jobs_for
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import Check
from tests.support.virtual_time import run_in_virtual_time

_CHECKS: TypeAdapter[Check] = TypeAdapter(Check)
VIP = ip_address("192.0.2.80")
BAD = Result(Outcome.TIMED_OUT)


def made_check(kind: str = "tcp", **settings: Any) -> Check:
    return _CHECKS.validate_python({"type": kind, **settings})


def routes(number: int) -> list[Route]:
    return [Route(ip_address("198.51.100.0") + n, 2) for n in range(number)]


def jobs(number: int, **settings: Any) -> list[Job]:
    check = made_check(**settings)
    return [Job(check, CheckTarget(VIP, 80, route)) for route in routes(number)]


async def good(_: Job) -> Result:
    return PASSED


async def silent(job: Job) -> Result:
    await asyncio.sleep(job.check.timeout)
    return BAD


def ignore(_: Job, __: Result, ___: bool) -> None:
    pass


def run(awaitable: Awaitable[None]) -> None:
    """Run in virtual time, of which an hour is the limit."""

    async def bounded() -> None:
        async with asyncio.timeout(3600):
            await awaitable

    run_in_virtual_time(bounded())


def test_checks_are_made_once_an_interval_and_never_in_a_burst() -> None:
    starts: defaultdict[Job, list[float]] = defaultdict(list)
    began: list[float] = []

    async def probe(job: Job) -> Result:
        starts[job].append(asyncio.get_running_loop().time() - began[0])
        return PASSED

    async def main() -> None:
        began.append(asyncio.get_running_loop().time())
        async with Scheduler(probe, ignore) as scheduler:
            wanted = jobs(200, interval=0.5, timeout=0.1, jitter=0)
            scheduler.add(dict.fromkeys(wanted, True))
            await asyncio.sleep(10)

    run(main())
    assert 200 == len(starts)
    for times in starts.values():
        # A start is up to a tick early, and the next one is an interval after it.
        assert 20 <= len(times) <= 21
        assert all(0.5 - TICK - 1e-6 <= later - one <= 0.5 for one, later in pairwise(times))
    in_tenth = Counter(int(time * 10) for times in starts.values() for time in times)
    # Evenly, it is 40 in each.
    assert {True} == {35 <= in_tenth[number] <= 45 for number in range(100)}, in_tenth


def test_a_dead_backend_is_down_in_time() -> None:
    down: list[float] = []
    results: list[bool] = []
    (job,) = jobs(1, interval=4, timeout=0.2, fall=3)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def report(_: Job, __: Result, has_changed: bool) -> None:
            results.append(has_changed)
            if has_changed:
                down.append(loop.time() - began)
                ended.set()

        async with Scheduler(silent, report) as scheduler:
            began = loop.time()
            scheduler.add({job: True})
            await ended.wait()

    run(main())
    assert [False, False, True] == results
    check = job.check
    # The first check is made at once.
    bound = 2 * max(check.fast_interval, check.timeout) + check.timeout
    assert 3 * check.timeout <= down[0] <= bound + TICK


def test_nothing_goes_on_after_the_end() -> None:
    under_way: set[Job] = set()
    wanted = jobs(20, interval=0.1, timeout=0.1)

    async def probe(job: Job) -> Result:
        under_way.add(job)
        try:
            return await silent(job)
        finally:
            under_way.remove(job)

    async def main() -> None:
        async with Scheduler(probe, ignore) as scheduler:
            scheduler.add(dict.fromkeys(wanted, True))
            while len(under_way) < 5:
                await asyncio.sleep(0.01)
        assert set() == under_way
        assert {asyncio.current_task()} == asyncio.all_tasks()

    run(main())


def test_an_exception_of_a_probe_ends_the_scheduler() -> None:
    async def probe(_: Job) -> Result:
        raise RuntimeError("a defect")

    async def main() -> None:
        async with Scheduler(probe, ignore) as scheduler:
            scheduler.add(dict.fromkeys(jobs(3, interval=0.1, timeout=0.1), True))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        run(main())
    assert raised.group_contains(RuntimeError, match="a defect")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_inconclusive_results_change_no_health(outcome: Outcome) -> None:
    (job,) = jobs(1, interval=1, timeout=1, fall=1)
    stays_healthy = outcome in (Outcome.PASSED, Outcome.UNCHECKED, Outcome.FILTERED_HERE)
    reported: list[Result] = []

    async def probe(_: Job) -> Result:
        return Result(outcome)

    async def main() -> None:
        async with Scheduler(probe, lambda _, result, __: reported.append(result)) as scheduler:
            scheduler.add({job: True})
            while len(reported) < 3:
                await asyncio.sleep(0.005)
            assert stays_healthy == health(scheduler, job).is_healthy

    run(main())


def test_a_job_that_stays_keeps_its_health() -> None:
    stays, goes = jobs(2, interval=2, timeout=1, fall=1)

    async def main() -> None:
        async with Scheduler(silent, ignore) as scheduler:
            scheduler.add({stays: True, goes: True})
            assert health(scheduler, goes).is_healthy
            while health(scheduler, stays).is_healthy or health(scheduler, goes).is_healthy:
                await asyncio.sleep(0.01)
            scheduler.stop_others({stays: None})
            assert scheduler.health(goes) is None
            scheduler.add({stays: True, goes: True})
            assert not health(scheduler, stays).is_healthy
            assert health(scheduler, goes).is_healthy

    run(main())


def health(scheduler: Scheduler, job: Job) -> CheckHealth:
    found = scheduler.health(job)
    assert found is not None
    return found


_Wanted = list[tuple[Endpoint, Iterable[Check], Iterable[Route]]]


def endpoint(text: str) -> Endpoint:
    return Endpoint.parse(text)


@pytest.mark.parametrize(
    ("services", "settings", "expected"),
    [
        (["192.0.2.80:80", "192.0.2.80:443"], {"port": 80}, 3),
        (["192.0.2.80:80", "192.0.2.80:443"], {}, 6),
        (["192.0.2.80:80", "192.0.2.81:80"], {}, 6),
        (["192.0.2.80:80", "192.0.2.80:80/udp"], {}, 3),
        (["192.0.2.80:80", "192.0.2.80:443"], {"kind": "icmp"}, 3),
    ],
)
def test_services_share_the_work_of_a_check(
    services: list[str], settings: dict[str, Any], expected: int
) -> None:
    wanted: _Wanted = [(endpoint(text), [made_check(**settings)], routes(3)) for text in services]
    shared = jobs_for(wanted)
    assert expected == len(shared)
    for text in services:
        assert 3 == sum(endpoint(text) in endpoints for endpoints in shared.values())


@pytest.mark.parametrize(
    ("check", "service", "expected"),
    [
        (made_check(), "192.0.2.80:80", 80),
        (made_check(port=8080), "192.0.2.80:80", 8080),
        (made_check(port=8080), "192.0.2.80:*", 8080),
        (made_check("icmp"), "192.0.2.80:80", 0),
        (made_check("command", argv=["true"]), "192.0.2.80:80", 80),
    ],
)
def test_a_check_asks_its_own_port_or_that_of_the_service(
    check: Check, service: str, expected: int
) -> None:
    (job,) = jobs_for([(endpoint(service), [check], routes(1))])
    assert expected == job.target.port


def test_a_check_can_be_made_at_once() -> None:
    job, other = jobs(2, interval=600)
    made: list[Job] = []

    async def main() -> None:
        async with Scheduler(good, lambda job, *_: made.append(job)) as scheduler:
            scheduler.add({job: True, other: True})
            while job not in made:
                await asyncio.sleep(0)
            assert [job] == made
            scheduler.check_now([other])
            while other not in made:
                await asyncio.sleep(0)
            assert [job, other] == made

    run(main())


def test_a_check_under_way_is_not_made_twice() -> None:
    (job,) = jobs(1, interval=600)
    began: list[Job] = []
    answered = asyncio.Event()

    async def slow(job: Job) -> Result:
        began.append(job)
        await answered.wait()
        return PASSED

    async def main() -> None:
        reports: list[Job] = []
        async with Scheduler(slow, lambda job, *_: reports.append(job)) as scheduler:
            scheduler.add({job: True})
            for _ in range(5):
                scheduler.check_now([job])
                await asyncio.sleep(0.01)
            answered.set()
            while not reports:
                await asyncio.sleep(0)

    run(main())
    assert [job] == began
