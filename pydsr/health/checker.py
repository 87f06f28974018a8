"""Check the backends of services: schedule checks, route them, and keep the health by each.

Each check of a backend has a task, which sleeps until the next check is due. First checks are
spread over an interval and later ones jittered, so that a thousand checks never start at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Self

from pydsr.health.check_health import CheckHealth, apply_result, first_start, next_start
from pydsr.health.investigation import Investigations
from pydsr.health.poller import poller
from pydsr.health.single_check import check_once
from pydsr.health.steering import Steering
from pydsr.health.targets import Job, Route, jobs_for
from pydsr.kernel.net.monitor import RULES, EventsLostError, Monitor
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check
from pydsr.model.errors import PydsrError

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
"""The shortest time between two comparisons of the kernel's rules and routes with ours."""

IDLE_REFRESH_SECONDS = 60.0
"""The longest, while no rule changes."""

Wanted = Iterable[tuple[Endpoint, Iterable[Check], Iterable[Route]]]
"""Services with their checks and the routes to their backends."""

Report = Callable[[Job, Result, bool, frozenset[Endpoint]], None]
"""Receives a result, whether it changed the health by its check, and the services it is for."""

SPARE_FILES = 1024
"""How many open files are reserved for everything but checks."""


class Checker:
    """Checks backends for the length of an ``async with`` block, and reports each result.

    Raises:
        BusyError: another process checks in this network namespace.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._steering = Steering()
        self._investigations = Investigations()
        self._scheduler = Scheduler(self._probe, self._report_for_services)
        self._services: Mapping[Job, frozenset[Endpoint]] = {}
        self._jobs: dict[tuple[Endpoint, IPAddress], list[Job]] = {}
        self._steering_lock = asyncio.Lock()
        self._refreshed = float("-inf")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._steering)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(group.create_task(self._keep_rules()).cancel)
            await stack.enter_async_context(self._scheduler)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.__aexit__(*raised)  # type: ignore[arg-type]

    async def watch(
        self, wanted: Wanted, is_healthy: Callable[[Endpoint, IPAddress], bool] = lambda *_: True
    ) -> None:
        """Check these backends and no others; jobs that were running keep running.

        Args:
            wanted: what to check.
            is_healthy: returns a backend's health before its first check.

        Raises:
            InputError: a backend cannot be reached by its route.
            EnvironmentCannotError: the kernel refuses a rule or route.
        """
        services = jobs_for(wanted)
        async with self._steering_lock:
            self._steering.check(job.target for job in services)
            # Jobs stop before their routes go.
            self._scheduler.stop_others(services)
            self._services = services
            self._jobs = _by_backend(services)
            await self._steering.steer(job.target for job in services)
            self._scheduler.add(
                {
                    job: all(
                        is_healthy(endpoint, job.target.route.backend) for endpoint in endpoints
                    )
                    for job, endpoints in services.items()
                }
            )

    def health(self, endpoint: Endpoint, backend: IPAddress) -> list[CheckHealth]:
        """Return a backend's health by each check of a service; empty if nothing checks it."""
        by_job = map(self._scheduler.health, self._jobs.get((endpoint, backend), ()))
        return [health for health in by_job if health is not None]

    def check_now(self, endpoint: Endpoint, backend: IPAddress) -> None:
        """Run a service's checks of a backend at once."""
        self._scheduler.check_now(self._jobs.get((endpoint, backend), ()))

    async def _probe(self, job: Job) -> Result:
        result = await check_once(job, self._steering.mark(job.target.route), self._investigations)
        if result.outcome is Outcome.UNSTEERED:
            await self._refresh()
        return result

    async def _keep_rules(self) -> None:
        """Restore rules that others remove, as systemd-networkd does when it starts.

        Without its rule a check would be routed like other traffic, and could reach the VIP on
        another balancer.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._refreshed + REFRESH_SECONDS - loop.time())
            # A new monitor each time: one event is enough, and a change may make thousands.
            with Monitor(RULES) as monitor, suppress(TimeoutError, EventsLostError):
                await self._refresh()
                async with asyncio.timeout(IDLE_REFRESH_SECONDS):
                    await monitor.read()

    async def _refresh(self) -> None:
        """Restore routes too: the kernel removes them when an interface goes down."""
        async with self._steering_lock:
            now = asyncio.get_running_loop().time()
            if now < self._refreshed + REFRESH_SECONDS:
                return
            self._refreshed = now
            try:
                await self._steering.refresh()
            except PydsrError as error:
                # Retried later. Until then checks fail with the outcome "unsteered".
                _log.warning("%s", error)

    def _report_for_services(self, job: Job, result: Result, has_changed: bool) -> None:
        self._report(job, result, has_changed, self._services[job])


def _by_backend(
    services: Mapping[Job, Iterable[Endpoint]],
) -> dict[tuple[Endpoint, IPAddress], list[Job]]:
    jobs: defaultdict[tuple[Endpoint, IPAddress], list[Job]] = defaultdict(list)
    for job, endpoints in services.items():
        for endpoint in endpoints:
            jobs[endpoint, job.target.route.backend].append(job)
    return dict(jobs)


@dataclass
class _Running:
    """A job's task, and the backend's health by its check."""

    job: Job
    health: CheckHealth
    task: asyncio.Task[None] | None = None
    is_asking: bool = False


class Scheduler:
    """Runs checks for the length of an ``async with`` block.

    An exception from the probe is a defect, and ends the block: a failed check is a result. Checks
    wait for the report, which gets each result and whether it changed the health.
    """

    def __init__(
        self,
        probe: Callable[[Job], Awaitable[Result]],
        report: Callable[[Job, Result, bool], None],
    ) -> None:
        self._probe = probe
        self._report = report
        self._running: dict[Job, _Running] = {}
        self._added = 0
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.stop_others({})
        await self._group.__aexit__(*raised)  # type: ignore[arg-type]

    def stop_others(self, jobs: Mapping[Job, object]) -> None:
        """Stop all jobs but these."""
        for job in self._running.keys() - jobs.keys():
            task = self._running.pop(job).task
            if task is not None:
                task.cancel()

    def add(self, jobs: Mapping[Job, bool]) -> None:
        """Start jobs, each with its backend's health so far; running jobs are left alone."""
        now = asyncio.get_running_loop().time()
        allow_files(len(jobs) + SPARE_FILES)
        for job, is_healthy in jobs.items():
            if job not in self._running:
                running = _Running(job, CheckHealth(is_healthy, since=now))
                self._running[job] = running
                due = first_start(now, self._added, job.check)
                self._added += 1
                running.task = self._group.create_task(self._repeat(running, due))

    def check_now(self, jobs: Iterable[Job]) -> None:
        """Run the next check of each job at once, unless one is being made."""
        now = asyncio.get_running_loop().time()
        for job in jobs:
            running = self._running.get(job)
            if running is not None and running.task is not None and not running.is_asking:
                running.task.cancel()
                running.task = self._group.create_task(self._repeat(running, now))

    def health(self, job: Job) -> CheckHealth | None:
        """Return the health by a job; None if there is no such job."""
        running = self._running.get(job)
        return running.health if running is not None else None

    async def _repeat(self, running: _Running, due: float) -> None:
        loop, polled = asyncio.get_running_loop(), poller()
        check = running.job.check
        while True:
            await polled.sleep_until(due)
            started = loop.time()
            running.is_asking = True
            result = await self._probe(running.job)
            running.is_asking = False
            ended = loop.time()
            before = health = running.health
            if result.outcome.is_conclusive:
                health = apply_result(before, result.passed, check, ended)
            running.health = health
            due = next_start(started, ended, health, check, random.random())  # noqa: S311
            self._report(running.job, result, health.is_healthy != before.is_healthy)


def allow_files(number: int) -> None:
    """Raise this process's limit of open files as far as allowed; a check takes up to three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number * 3 if hard == resource.RLIM_INFINITY else min(number * 3, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
