"""Checks the backends of services: policy routes, schedule and probes together."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Self

from pydsr.health.check_health import CheckHealth
from pydsr.health.investigation import Investigations
from pydsr.health.scheduler import Scheduler
from pydsr.health.single_check import check_once
from pydsr.health.steering import Steering
from pydsr.health.steering_netlink import RuleEvents
from pydsr.health.targets import Job, Route, jobs_for
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


class Checker:
    """Checks backends for the length of an ``async with`` block.

    Args:
        report: receives each result.

    Raises:
        BusyError: another process checks in this network namespace.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._steering = Steering()
        self._inquiries = Investigations()
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
            wanted: services with their checks and the routes to their backends.
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
        result = await check_once(job, self._steering.mark(job.target.route), self._inquiries)
        if result.outcome is Outcome.UNSTEERED:
            await self._refresh()
        return result

    async def _keep_rules(self) -> None:
        """Restore rules that others remove, as systemd-networkd does when it starts.

        Without its rule a check would be routed like other traffic, and could reach the VIP on
        another balancer.
        """
        with RuleEvents() as events:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_REFRESH_SECONDS):
                        await events.wait()
                await self._refresh()
                await asyncio.sleep(REFRESH_SECONDS)

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
