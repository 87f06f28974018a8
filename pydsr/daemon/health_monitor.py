"""The task that checks backends and takes unhealthy ones out of the data plane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pydsr.daemon.health_data_plane import DataPlane
from pydsr.daemon.health_events import change_event, check_warning, suspected, unhealthy_at_start
from pydsr.daemon.health_state import HealthChange, HealthState, Key
from pydsr.daemon.tasks import WarnOnce
from pydsr.health.checker import Checker
from pydsr.health.passive import suspicions
from pydsr.health.service_health import apply_health, seconds_to_next_weight
from pydsr.health.steering import Steering
from pydsr.health.targets import Job, Route
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import Result
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, NotAttachedError, PydsrError
from pydsr.model.events import Event

ROUTES_SECONDS = 5.0
"""How often routes are looked up again: commands may add and move backends."""

SUSPECT_SECONDS = 10.0
"""The time between compared snapshots; clients without an answer repeat their SYN meanwhile."""

_BUSY_SECONDS, _RETRY_SECONDS = 0.1, 1.0

_log = logging.getLogger(__name__)


class HealthMonitor:
    """Checks the backends of the file's services, and makes the changes that follow.

    Args:
        directory: of the pins.
        record: receives each event.
        observe: receives the kind of each check, its result and its services.
        suspect_seconds: over how long traffic is compared.
    """

    def __init__(
        self,
        directory: Path,
        record: Callable[[Event], object],
        observe: Callable[[str, Result, Iterable[Endpoint]], object],
        suspect_seconds: float = SUSPECT_SECONDS,
    ) -> None:
        self._data_plane = DataPlane(directory)
        self._record = record
        self._observe = observe
        self._suspect_seconds = suspect_seconds
        self._warnings = WarnOnce(_log)
        self._state = HealthState()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._undecided: set[Endpoint] = set()
        self._next_weights: dict[Endpoint, float] = {}
        self._routes_due = 0.0
        self._routes: dict[Endpoint, tuple[Route, ...]] | None = None
        self._suspected: set[Key] = set()
        self._has_cleaned = False

    # -- the file

    @asynccontextmanager
    async def reloading(self, wanted: DesiredState) -> AsyncIterator[DesiredState]:
        """Yield a file's desired state with health applied, for the block to apply.

        Health changes nothing meanwhile. It adopts the new file once the block has succeeded.
        """
        services = [service for service in wanted.services if service.health is not None]
        async with self._lock:
            endpoints = {service.endpoint for service in services}
            live = (
                await asyncio.to_thread(self._data_plane.services, endpoints) if endpoints else {}
            )
            state = self._state.reloaded(services, live, time.monotonic())
            yield apply_health(wanted, state.health)
            # Checks have gone on during the block.
            state.keep_results(self._state)
            for key in state.unhealthy_since_start(self._state):
                self._record(unhealthy_at_start(key))
            self._state = state
            self._undecided = endpoints
            self._next_weights = {}
            self._routes = None
        self.update_routes()

    def update_routes(self) -> None:
        """Look up the routes to backends again soon: the data plane has changed."""
        self._routes_due = 0.0
        self._wake.set()

    @property
    def checked_services(self) -> Collection[Endpoint]:
        """The services that have checks."""
        return self._state.services.keys()

    def document(self) -> dict[str, Any]:
        """Return the health of every backend as a JSON document."""
        return self._state.document(time.monotonic())

    # -- the checks

    async def run(self) -> None:
        """Check backends and make the changes that follow, until cancelled."""
        if not self._has_cleaned:
            # Remove rules and routes of a killed daemon even if there is nothing to check.
            with suppress(BusyError):
                async with Steering():
                    self._has_cleaned = True
        while True:
            if self._state.services:
                try:
                    await self._check()
                finally:
                    self._data_plane.close()
            await self._wake.wait()
            self._wake.clear()

    async def _check(self) -> None:
        """Check as long as there are services with checks."""
        self._routes, self._routes_due = None, 0.0
        self._undecided |= self._state.services.keys()
        async with Checker(self._add_result) as checker, asyncio.TaskGroup() as tasks:
            watching_traffic = tasks.create_task(self._watch_traffic(checker))
            while self._state.services:
                try:
                    async with self._lock:
                        await self._watch_backends(checker)
                        await self._make_changes(checker)
                except PydsrError as error:
                    await self._wait_after(error)
                else:
                    self._warnings.clear("changes")
                    await self._wait()
            watching_traffic.cancel()

    async def _wait_after(self, error: PydsrError) -> None:
        """Log once why changes cannot be made, and wait; checks continue meanwhile."""
        self._routes, self._routes_due = None, 0.0
        if isinstance(error, BusyError):
            self._warnings.warn("changes", f"{error.message}: waiting for it")
            await asyncio.sleep(_BUSY_SECONDS)
            return
        # A detached balancer is not an error: it may be attached again.
        if not isinstance(error, NotAttachedError):
            self._warnings.warn("changes", f"health cannot change the backends: {error.message}")
        await asyncio.sleep(_RETRY_SECONDS)

    async def _wait(self) -> None:
        """Wait for the next change, weight or look-up of routes."""
        due = min([self._routes_due, *self._next_weights.values()])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(due - time.monotonic(), 0)):
                await self._wake.wait()
        self._wake.clear()

    async def _watch_backends(self, checker: Checker) -> None:
        now = time.monotonic()
        if now < self._routes_due:
            return
        services = self._state.services
        routes = await asyncio.to_thread(self._data_plane.routes, [*services.values()])
        self._routes_due = now + ROUTES_SECONDS
        if routes == self._routes:
            return
        wanted = [
            (endpoint, service.health.checks, routes[endpoint])
            for endpoint, service in services.items()
            if service.health is not None
        ]
        await checker.watch(wanted, self._state.is_healthy)
        self._routes = routes

    def _add_result(
        self, job: Job, result: Result, has_changed: bool, endpoints: frozenset[Endpoint]
    ) -> None:
        self._observe(job.check.type, result, endpoints)
        now, address = time.monotonic(), job.target.route.backend
        for endpoint in endpoints:
            key = endpoint, address
            if self._state.add_result(key, job.check, result, now, has_changed=has_changed):
                self._undecided.add(endpoint)
                self._wake.set()
            for warning in result.warnings:
                about = f"{endpoint} {address} {job.check.model_dump_json()}"
                if self._warnings.is_new(about, warning):
                    self._record(check_warning(key, warning))

    async def _make_changes(self, checker: Checker) -> None:
        """Change the backends whose health has changed, and those in a slow start."""
        now = time.monotonic()
        due = {endpoint for endpoint, at in self._next_weights.items() if at <= now}
        services = (self._undecided | due) & self._state.services.keys()
        self._undecided = set()
        changes = [
            change
            for endpoint in services
            for change in self._state.decide(endpoint, checker.health, now)
        ]
        try:
            changed = await asyncio.to_thread(self._data_plane.make, changes)
        except PydsrError:
            self._undecided |= services
            raise
        self._state.apply(changes)
        for change in changes:
            self._record_change(change, is_made=change.key in changed)
        for endpoint in services:
            self._plan_next_weight(endpoint, now)

    def _record_change(self, change: HealthChange, *, is_made: bool) -> None:
        cause = self._state.cause(change.key)
        event = change_event(change, cause, time.monotonic(), is_made=is_made)
        if event is not None:
            self._record(event)

    def _plan_next_weight(self, endpoint: Endpoint, now: float) -> None:
        policy = self._state.services[endpoint].health
        health = self._state.health[endpoint].values()
        seconds = seconds_to_next_weight(policy, health, now) if policy is not None else None
        if seconds is None:
            self._next_weights.pop(endpoint, None)
        else:
            self._next_weights[endpoint] = now + seconds

    # -- the traffic

    async def _watch_traffic(self, checker: Checker) -> None:
        """Check backends at once if none of their new connections is established."""
        before = None
        while True:
            services = self._state.services.items()
            watched = {
                endpoint
                for endpoint, service in services
                if service.health and service.health.suspects
            }
            after = await asyncio.to_thread(self._data_plane.snapshot) if watched else None
            if before is not None and after is not None:
                suspicious = {
                    (suspicion.endpoint, suspicion.address): suspicion
                    for suspicion in suspicions(before, after)
                    if suspicion.endpoint in watched
                }
                for key, suspicion in suspicious.items():
                    checker.check_now(*key)
                    if key not in self._suspected:
                        self._record(suspected(suspicion))
                self._suspected = set(suspicious)
            before = after
            await asyncio.sleep(self._suspect_seconds)
