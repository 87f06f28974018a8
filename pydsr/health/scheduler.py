"""Runs each check when it is due, and keeps a backend's health by it.

Each job has a task, which sleeps until the next check. First checks are spread over an interval
and later ones jittered, so that a thousand checks never start at once.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from pydsr.health.check_health import CheckHealth, apply_result, first_start, next_start
from pydsr.health.poller import poller
from pydsr.health.targets import Job
from pydsr.model.check_result import Result

SPARE_FILES = 1024
"""How many open files are reserved for everything but checks."""


@dataclass
class _Running:
    """A job's task, and the health by its check."""

    job: Job
    health: CheckHealth
    task: asyncio.Task[None] | None = None
    is_asking: bool = False


class Scheduler:
    """Runs checks for the length of an ``async with`` block.

    An exception from the probe is a defect, and ends the block: a failed check is a result.

    Args:
        probe: runs one check.
        report: receives each result, and whether it changed the health. Checks wait for it, so it
            must be quick.
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
        """Start jobs; those that run already are left alone.

        Args:
            jobs: each with whether its backend is healthy before the first check.
        """
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
