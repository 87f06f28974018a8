"""Health checks as a whole: what a daemon starts, tells of its services, and hears from."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Self

from pydsr.health.inquiries import Inquiries
from pydsr.health.judgement import Judgement
from pydsr.health.probing import check_once
from pydsr.health.schedule import Scheduler, Verdict
from pydsr.health.steering import Steering
from pydsr.health.steering_netlink import RuleNews
from pydsr.health.targets import Job, Route, jobs_for
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check
from pydsr.model.errors import PydsrError

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
"""How often rules and routes are looked at, at most."""

LOOK_SECONDS = 60.0
"""How often they are where nothing calls for it."""

Wanted = Iterable[tuple[Endpoint, Iterable[Check], Iterable[Route]]]


class Checker:
    """Checks the backends of services, for the length of an ``async with`` block.

    Args:
        report: is told of every result, with the services it matters to.

    Raises:
        BusyError: another process makes checks in this network namespace.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
    """

    def __init__(self, report: Callable[[Verdict, frozenset[Endpoint]], None]) -> None:
        self._report = report
        self._steering = Steering()
        self._inquiries = Inquiries()
        self._scheduler = Scheduler(self._probe, self._tell)
        self._services: Mapping[Job, frozenset[Endpoint]] = {}
        self._jobs: dict[tuple[Endpoint, IPAddress], list[Job]] = {}
        self._changing = asyncio.Lock()
        self._refreshed = float("-inf")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._steering)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(group.create_task(self._keep_up()).cancel)
            await stack.enter_async_context(self._scheduler)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.__aexit__(*raised)  # type: ignore[arg-type]

    async def watch(
        self, wanted: Wanted, is_up: Callable[[Endpoint, IPAddress], bool] = lambda *_: True
    ) -> None:
        """Check just these; what was checked before goes on, and keeps what is held of it.

        Args:
            wanted: services with their checks and the routes to their backends.
            is_up: what is held of a backend before its first check.

        Raises:
            InputError: a backend cannot be reached that way.
            EnvironmentCannotError: the kernel refuses a rule or route.
        """
        services = jobs_for(wanted)
        async with self._changing:
            self._steering.check(job.target for job in services)
            # No check is under way whose route is taken from it.
            self._scheduler.keep(services)
            self._services = services
            self._jobs = _by_backend(services)
            await self._steering.steer(job.target for job in services)
            self._scheduler.add(
                {
                    job: all(is_up(one, job.target.route.backend) for one in endpoints)
                    for job, endpoints in services.items()
                }
            )

    def judgements(self, endpoint: Endpoint, backend: IPAddress) -> list[Judgement]:
        """Return what each check of a service holds of a backend; none where nothing is checked."""
        held = map(self._scheduler.judgement, self._jobs.get((endpoint, backend), ()))
        return [judgement for judgement in held if judgement is not None]

    def hurry(self, endpoint: Endpoint, backend: IPAddress) -> None:
        """Make the checks of a service on a backend now, as something speaks against it."""
        self._scheduler.hurry(self._jobs.get((endpoint, backend), ()))

    async def _probe(self, job: Job) -> Result:
        result = await check_once(job, self._steering.mark(job.target.route), self._inquiries)
        if result.outcome is Outcome.UNSTEERED:
            await self._refresh()
        return result

    async def _keep_up(self) -> None:
        """Put back what others remove, as systemd-networkd does with rules when it starts.

        Without its rule a check would take the way of all traffic, and might find the VIP there:
        that of another balancer.
        """
        with RuleNews() as news:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await news.wait()
                await self._refresh()
                await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self) -> None:
        """Put back routes, which the kernel removes when an interface goes down."""
        async with self._changing:
            now = asyncio.get_running_loop().time()
            if now < self._refreshed + REFRESH_SECONDS:
                return
            self._refreshed = now
            try:
                await self._steering.refresh()
            except PydsrError as error:
                # It is tried again; until then checks fail, and say that they are not steered.
                _log.warning("%s", error)

    def _tell(self, verdict: Verdict) -> None:
        self._report(verdict, self._services[verdict.job])


def _by_backend(
    services: Mapping[Job, Iterable[Endpoint]],
) -> dict[tuple[Endpoint, IPAddress], list[Job]]:
    found: defaultdict[tuple[Endpoint, IPAddress], list[Job]] = defaultdict(list)
    for job, endpoints in services.items():
        for endpoint in endpoints:
            found[endpoint, job.target.route.backend].append(job)
    return dict(found)
