"""Keeps the unhealthy out: makes the checks of the file, and has the data plane follow them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pydsr.daemon.health_changing import DataPlane
from pydsr.daemon.health_events import event_of, left_out, suspected, warned
from pydsr.daemon.health_memory import HealthMemory, Key, Turn
from pydsr.daemon.supervision import Complaints
from pydsr.health.checker import Checker
from pydsr.health.passive import suspicions
from pydsr.health.schedule import Verdict
from pydsr.health.standing import next_change, overlaid
from pydsr.health.steering import Steering
from pydsr.health.targets import Route
from pydsr.model.addresses import Endpoint
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, NotAttachedError, PydsrError
from pydsr.model.events import Event

LOOK_SECONDS = 5.0
"""How often it is looked whether commands have brought or moved backends."""

SUSPECT_SECONDS = 10.0
"""Over how long traffic is judged: clients have sent their SYN again by then."""

_BUSY_SECONDS, _RETRY_SECONDS = 0.1, 1.0

_log = logging.getLogger(__name__)


class HealthKeeper:
    """Owns what is known of health; the file and the checks both change the data plane by it.

    Args:
        directory: of the pins.
        record: what is told of every event.
        observe: what is told of every check, with the services that it matters to.
    """

    def __init__(
        self,
        directory: Path,
        record: Callable[[Event], object],
        observe: Callable[[Verdict, Iterable[Endpoint]], object],
    ) -> None:
        self._plane = DataPlane(directory)
        self._record = record
        self._observe = observe
        self._complaints = Complaints(_log)
        self._memory = HealthMemory()
        self._changing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._unjudged: set[Endpoint] = set()
        self._rises: dict[Endpoint, float] = {}
        self._look_due = 0.0
        self._watched: dict[Endpoint, tuple[Route, ...]] | None = None
        self._suspected: set[Key] = set()
        self._has_cleaned = False

    # -- the file

    @asynccontextmanager
    async def following(self, wanted: DesiredState) -> AsyncIterator[DesiredState]:
        """Yield what a file comes to by health; it is followed once the block has applied that.

        No judgement changes the data plane meanwhile.
        """
        services = [service for service in wanted.services if service.health is not None]
        async with self._changing:
            endpoints = {service.endpoint for service in services}
            present = await asyncio.to_thread(self._plane.services, endpoints) if endpoints else {}
            memory = self._memory.proposed(services, present, time.monotonic())
            yield overlaid(wanted, memory.overlay)
            for key in memory.new_failures(self._memory):
                self._record(left_out(key))
            self._memory = memory
            self._unjudged = endpoints
            self._rises = {}
            self._watched = None
        self.look_again()

    def look_again(self) -> None:
        """Have the ways to backends looked up: something else has changed the state."""
        self._look_due = 0.0
        self._wake.set()

    @property
    def checked(self) -> Collection[Endpoint]:
        """The services that have checks."""
        return self._memory.services.keys()

    def document(self) -> dict[str, Any]:
        """Return what is held of every backend, as JSON has it."""
        return self._memory.document(time.monotonic())

    # -- the checks

    async def run(self) -> None:
        """Make checks, and do what follows from them, until cancelled."""
        if not self._has_cleaned:
            # What a killed daemon left goes also where nothing is to be checked now.
            with suppress(BusyError):
                async with Steering():
                    self._has_cleaned = True
        while True:
            if self._memory.services:
                try:
                    await self._check()
                finally:
                    self._plane.close()
            await self._wake.wait()
            self._wake.clear()

    async def _check(self) -> None:
        """Go on as long as there are services with checks."""
        self._watched, self._look_due = None, 0.0
        self._unjudged |= self._memory.services.keys()
        async with Checker(self._hear) as checker, asyncio.TaskGroup() as tasks:
            suspecting = tasks.create_task(self._suspect(checker))
            while self._memory.services:
                try:
                    async with self._changing:
                        await self._look(checker)
                        await self._judge(checker)
                except PydsrError as error:
                    await self._retry(error)
                else:
                    self._complaints.forget("changes")
                    await self._rest()
            suspecting.cancel()

    async def _retry(self, error: PydsrError) -> None:
        """Say once what keeps the data plane from following, and wait; checks go on meanwhile."""
        self._watched, self._look_due = None, 0.0
        if isinstance(error, BusyError):
            self._complaints.say("changes", f"{error.message}: waiting for that")
            await asyncio.sleep(_BUSY_SECONDS)
            return
        # Without a balancer there is nothing to say: it is taken off, and may come back.
        if not isinstance(error, NotAttachedError):
            self._complaints.say("changes", f"health cannot be followed: {error.message}")
        await asyncio.sleep(_RETRY_SECONDS)

    async def _rest(self) -> None:
        """Wait until there is something to do."""
        due = min([self._look_due, *self._rises.values()])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._wake.wait()
        self._wake.clear()

    async def _look(self, checker: Checker) -> None:
        now = time.monotonic()
        if now < self._look_due:
            return
        services = self._memory.services
        found = await asyncio.to_thread(self._plane.routes, [*services.values()])
        self._look_due = now + LOOK_SECONDS
        if found == self._watched:
            return
        wanted = [
            (endpoint, service.health.checks, found[endpoint])
            for endpoint, service in services.items()
            if service.health is not None
        ]
        await checker.watch(wanted, self._memory.is_healthy)
        self._watched = found

    def _hear(self, verdict: Verdict, endpoints: Iterable[Endpoint]) -> None:
        self._observe(verdict, endpoints)
        now, address = time.monotonic(), verdict.job.target.route.backend
        for endpoint in endpoints:
            key = endpoint, address
            if self._memory.hear(key, verdict, now):
                self._unjudged.add(endpoint)
                self._wake.set()
            for warning in verdict.result.warnings:
                about = f"{endpoint} {address} {verdict.job.check.model_dump_json()}"
                if self._complaints.is_new(about, warning):
                    self._record(warned(key, warning))

    async def _judge(self, checker: Checker) -> None:
        """Do what follows from what checks hold now, for services where that has changed."""
        now = time.monotonic()
        due = {endpoint for endpoint, at in self._rises.items() if at <= now}
        judged = (self._unjudged | due) & self._memory.services.keys()
        self._unjudged = set()
        turns = [
            turn
            for endpoint in judged
            for turn in self._memory.judge(endpoint, checker.judgements, now)
        ]
        try:
            changed = await asyncio.to_thread(self._plane.change, turns)
        except BaseException:
            self._unjudged |= judged
            raise
        self._memory.take(turns)
        for turn in turns:
            self._tell(turn, is_ours=turn.key in changed)
        for endpoint in judged:
            self._plan_rise(endpoint, now)

    def _tell(self, turn: Turn, *, is_ours: bool) -> None:
        failure, since = self._memory.cause(turn.key)
        event = event_of(turn, failure, since, time.monotonic(), is_ours=is_ours)
        if event is not None:
            self._record(event)

    def _plan_rise(self, endpoint: Endpoint, now: float) -> None:
        policy = self._memory.services[endpoint].health
        conditions = self._memory.conditions(endpoint)
        step = next_change(policy, conditions, now) if policy is not None else None
        if step is None:
            self._rises.pop(endpoint, None)
        else:
            self._rises[endpoint] = now + step

    # -- the traffic

    async def _suspect(self, checker: Checker) -> None:
        """Have backends checked at once that get connections of which none comes about."""
        before = None
        while True:
            services = self._memory.services.values()
            suspecting = {one.endpoint for one in services if one.health and one.health.suspects}
            after = None
            if suspecting:
                after = await asyncio.to_thread(self._plane.snapshot)
            if before is not None and after is not None:
                found = [one for one in suspicions(before, after) if one.endpoint in suspecting]
                for suspicion in found:
                    checker.hurry(suspicion.endpoint, suspicion.address)
                    if (suspicion.endpoint, suspicion.address) not in self._suspected:
                        self._record(suspected(suspicion))
                self._suspected = {(one.endpoint, one.address) for one in found}
            before = after
            await asyncio.sleep(SUSPECT_SECONDS)
