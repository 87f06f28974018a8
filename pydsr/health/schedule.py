"""Makes checks when they are due, and keeps what is held of each.

One task for each job sleeps until its next check. The first checks are spread over an interval,
the others jittered, so that a thousand of them never come at once.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from pydsr.health.judgement import Judgement, first_start, judge, next_start
from pydsr.health.targets import Job
from pydsr.health.waiting import waiting
from pydsr.model.check_result import Result

SPARE_FILES = 1024
"""How many open files are left to everything but checks."""


@dataclass(frozen=True)
class Verdict:
    """A result, and what is held since.

    Attributes:
        before: what was held until then.
    """

    job: Job
    result: Result
    judgement: Judgement
    before: Judgement

    @property
    def is_change(self) -> bool:
        """Whether the result has changed the health of the backend."""
        return self.judgement.is_up != self.before.is_up


@dataclass
class _Watch:
    """A job under way, and what is held of it."""

    job: Job
    judgement: Judgement
    task: asyncio.Task[None] | None = None
    is_asking: bool = False


class Scheduler:
    """Makes checks for the length of an ``async with`` block; nothing goes on after it.

    What a probe raises is a defect, and ends the block: failures are results.

    Args:
        probe: makes one check.
        report: is told of every result; quick, as checks wait for it.
    """

    def __init__(
        self,
        probe: Callable[[Job], Awaitable[Result]],
        report: Callable[[Verdict], None],
    ) -> None:
        self._probe = probe
        self._report = report
        self._watches: dict[Job, _Watch] = {}
        self._places = 0
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.keep({})
        await self._group.__aexit__(*raised)  # type: ignore[arg-type]

    def keep(self, jobs: Mapping[Job, object]) -> None:
        """Stop all jobs but these."""
        for job in self._watches.keys() - jobs.keys():
            task = self._watches.pop(job).task
            if task is not None:
                task.cancel()

    def add(self, jobs: Mapping[Job, bool]) -> None:
        """Start jobs; those there are already go on as they are.

        Args:
            jobs: with the health that is held of each before its first check.
        """
        now = asyncio.get_running_loop().time()
        allow_files(len(jobs) + SPARE_FILES)
        for job, is_up in jobs.items():
            if job not in self._watches:
                self._watches[job] = watch = _Watch(job, Judgement(is_up, since=now))
                due = first_start(now, self._places, job.check.pace)
                self._places += 1
                watch.task = self._group.create_task(self._repeat(watch, due))

    def hurry(self, jobs: Iterable[Job]) -> None:
        """Make checks now that would be made later; those under way are not made twice."""
        now = asyncio.get_running_loop().time()
        for job in jobs:
            watch = self._watches.get(job)
            if watch is not None and watch.task is not None and not watch.is_asking:
                watch.task.cancel()
                watch.task = self._group.create_task(self._repeat(watch, now))

    def judgement(self, job: Job) -> Judgement | None:
        """Return what is held of a job's target; None where there is no such job."""
        watch = self._watches.get(job)
        return watch.judgement if watch is not None else None

    async def _repeat(self, watch: _Watch, due: float) -> None:
        loop, waits = asyncio.get_running_loop(), waiting()
        pace = watch.job.check.pace
        while True:
            await waits.until(due)
            started = loop.time()
            watch.is_asking = True
            result = await self._probe(watch.job)
            watch.is_asking = False
            ended = loop.time()
            before = watch.judgement
            held = before
            if result.outcome.tells_of_backend:
                held = judge(before, result.is_good, pace, ended)
            watch.judgement = held
            due = next_start(started, ended, held, pace, random.random())  # noqa: S311
            self._report(Verdict(watch.job, result, held, before))


def allow_files(number: int) -> None:
    """Raise this process's limit of open files, as far as it may be; a check takes up to three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number * 3 if hard == resource.RLIM_INFINITY else min(number * 3, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
