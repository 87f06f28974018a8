"""The whole: backends that die and return, shared checks, and a thousand checks a second."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

from pydsr.health.checker import Checker
from pydsr.health.targets import Job, Route
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check
from tests.support.netns.checked_host import Checked, made_check
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS, Host

VIP = ip_address("10.66.0.80")
WEB = Endpoint(VIP, 80)

Reports = list[tuple[Job, Result, bool, frozenset[Endpoint]]]


def run(lb: Host, main: Callable[[Checker, Reports], Awaitable[None]]) -> Reports:
    """Have a checker on the balancer's host for the length of a coroutine; return its reports."""
    reports: Reports = []

    async def bounded() -> None:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            Checker(lambda *report: reports.append(report)) as checker,
        ):
            await main(checker, reports)

    with enter_namespace(lb.name):
        asyncio.run(bounded())
    return reports


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something; the test's own timeout ends it."""
    while not is_so():
        await asyncio.sleep(0.005)


def routes(lb: Host, *backends: str) -> list[Route]:
    """Return the ways to backends."""
    ifindex = int(lb.link("eth0")["ifindex"])
    return [Route(ip_address(address), ifindex) for address in backends or BACKENDS[:3]]


def quick(kind: str, **settings: float | str) -> Check:
    """Return a check of short intervals."""
    return made_check(kind, **{"interval": 0.3, "timeout": 0.3, "fall": 3, **settings})


def states(checker: Checker, endpoint: Endpoint, backends: list[Route]) -> list[bool]:
    """Return the health of backends by their only check."""
    return [checker.health(endpoint, one.backend)[0].is_healthy for one in backends]


def test_a_server_that_stops_answering_is_down_after_its_last_allowed_failure(
    lb: Host, peer: Host, tmp_path: Path
) -> None:
    """And healthy again after as many good answers as it needs."""
    checked = Checked(lb, peer)
    checked.add_vip()
    backends, check = routes(lb), quick("http", rise=2)

    async def main(checker: Checker, reports: Reports) -> None:
        await checker.watch([(WEB, [check], backends)])
        await until(lambda: len(reports) >= 6)
        assert [True] * 3 == states(checker, WEB, backends)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: states(checker, WEB, backends) == [False] * 3)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: states(checker, WEB, backends) == [True] * 3)

    with checked.nginx(tmp_path) as pid:
        reports = run(lb, main)
    assert {Outcome.PASSED, Outcome.TIMED_OUT} <= {result.outcome for _, result, _, _ in reports}
    for backend in backends:
        conclusive = [
            (result.passed, has_changed)
            for job, result, has_changed, _ in reports
            if job.target.route == backend and result.outcome.is_conclusive
        ]
        down, up = [number for number, (_, has_changed) in enumerate(conclusive) if has_changed]
        before_down = [passed for passed, _ in conclusive[down - 3 : down + 1]]
        before_up = [passed for passed, _ in conclusive[up - 2 : up + 1]]
        assert ([True, False, False, False], [False, True, True]) == (before_down, before_up)


def test_services_with_equal_checks_share_connections(lb: Host, peer: Host) -> None:
    checked = Checked(lb, peer)
    checked.add_vip()
    backends = routes(lb, "10.66.0.11")
    services = [Endpoint(VIP, port) for port in (80, 443, 8080)]
    connections: list[socket.socket] = []

    async def main(checker: Checker, reports: Reports) -> None:
        check = quick("tcp", port=80)
        await checker.watch([(one, [check], backends) for one in services])
        await until(lambda: len(reports) >= 3)
        assert [[True]] * 3 == [states(checker, one, backends) for one in services]

    with checked.taking(connections.append):
        reports = run(lb, main)
    assert {frozenset(services)} == {endpoints for *_, endpoints in reports}
    assert len(connections) <= len(reports) + 1


def test_watching_other_backends_keeps_known_health(lb: Host, peer: Host, tmp_path: Path) -> None:
    checked = Checked(lb, peer)
    checked.add_vip()
    good, bad = routes(lb, "10.66.0.11", "10.66.0.12")
    closed, other = Endpoint(VIP, 81), Endpoint(VIP, 82)
    check = quick("tcp")

    def is_healthy(endpoint: Endpoint, address: IPAddress) -> bool:
        return (endpoint, address) != (other, bad.backend)

    async def main(checker: Checker, reports: Reports) -> None:
        await checker.watch([(WEB, [check], [good, bad]), (closed, [check], [good])])
        await until(lambda: states(checker, closed, [good]) == [False])
        await checker.watch([(closed, [check], [good]), (other, [check], [bad])], is_healthy)
        assert [] == checker.health(WEB, good.backend)
        assert [False] == states(checker, closed, [good])
        assert [False] == states(checker, other, [bad])
        before = len(reports)
        await until(lambda: len(reports) >= before + 6)
        assert {81, 82} == {job.target.port for job, *_ in reports[before:]}

    with checked.nginx(tmp_path):
        run(lb, main)


def test_a_thousand_checks_an_interval_are_all_made(lb: Host, peer: Host, tmp_path: Path) -> None:
    """What they cost is measured by ``bench.health``."""
    checked = Checked(lb, peer)
    checked.add_vip()
    addresses = [f"10.66.0.{low}" for low in range(150, 160)]
    for address in addresses:
        peer.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    backends = routes(lb, *addresses)
    services = [Endpoint(VIP, 1000 + number) for number in range(100)]
    # The jitter tells them apart, or else all services would share ten checks.
    checks = [
        made_check("tcp", interval=1.0, port=80, jitter=0.001 * number)
        for number in range(len(services))
    ]

    async def main(checker: Checker, reports: Reports) -> None:
        await checker.watch(
            (service, [check], backends) for service, check in zip(services, checks, strict=True)
        )
        await until(lambda: len(reports) >= 3000)

    with checked.nginx(tmp_path):
        reports = run(lb, main)
    outcomes = Counter(result.outcome for _, result, *_ in reports if result.outcome.is_conclusive)
    assert {Outcome.PASSED} == outcomes.keys(), outcomes
    times_made = Counter(job for job, *_ in reports)
    assert 1000 == len(times_made)
    # Each is made about once an interval: none is left out, and none is made over and over.
    assert 2 <= min(times_made.values()) <= max(times_made.values()) <= 4
