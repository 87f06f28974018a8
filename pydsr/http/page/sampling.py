"""Looks at the balancer for the page: often while somebody watches, seldom while nobody does."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydsr.http.observer import Observer
from pydsr.http.page.documents import (
    About,
    Health,
    health_by_backend,
    problem_document,
    rates_document,
    structure_document,
)
from pydsr.http.page.history import History
from pydsr.model.errors import PydsrError
from pydsr.model.rates import Rates, rates_between
from pydsr.model.reasons import all_reasons
from pydsr.model.snapshot import Snapshot
from pydsr.views.json.documents import Document

WATCHED_SECONDS, UNWATCHED_SECONDS = 2.0, 10.0
"""How often it is looked; a page that is opened has plots of what nobody watched."""

WATCHED_SHARE, UNWATCHED_SHARE = 0.02, 0.01
"""How much of a processor that may take: where a look takes long, there are fewer."""

_LEAST_SECONDS, _LONGEST_SECONDS = 0.5, 60.0


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment.

    Attributes:
        number: counted from 1.
        structure_number: that of the sample with which the structure came to be as it is.
        structure: what seldom changes.
        rates: what changes all the time; empty where the balancer cannot be read.
    """

    number: int
    structure_number: int
    structure: Document
    rates: Document

    @cached_property
    def state_json(self) -> str:
        """All of it."""
        return to_json({**self.structure, "rates": self.rates})

    @cached_property
    def rates_json(self) -> str:
        """The rates alone."""
        return to_json(self.rates)


def to_json(document: object) -> str:
    """Return a document in one short line."""
    return json.dumps(document, separators=(",", ":"))


class Sampler:
    """Keeps the latest sample, and the history of rates.

    Attributes:
        history: of the rates.
        sample: the latest; its number is 0 before the first.
        changed: is set at the next sample, or when something has happened; another follows it.

    Args:
        about: the balancer.
        observer: reads its maps.
        health: what is held of the health of backends, as ``pydsr health --json`` has it.
    """

    def __init__(
        self, about: About, observer: Observer, health: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.history = History()
        self.sample = Sample(0, 0, {}, {})
        self.changed = asyncio.Event()
        self._about = about
        self._observer = observer
        self._health = health
        self._began = 0.0
        self._watchers = 0
        self._wake = asyncio.Event()
        self._before: Snapshot | None = None
        self._seen: object = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have it looked often for the length of the block, beginning at once."""
        self._watchers += 1
        self._wake.set()
        try:
            yield
        finally:
            self._watchers -= 1

    async def recent(self) -> Sample:
        """Return a sample as those who watch have it: where nobody does, wait for another."""
        number = self.sample.number
        if not number or time.monotonic() - self._began > WATCHED_SECONDS:
            with self.watched():
                while self.sample.number == number:
                    await self.changed.wait()
        return self.sample

    def tell(self) -> None:
        """Say that something has happened; if somebody watches, it is looked at once as well."""
        self._wake_watchers()
        if self._watchers:
            self._wake.set()

    def _wake_watchers(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            # Of the processor, not of the clock: on a busy machine a look waits, and costs no more.
            began, before = time.monotonic(), time.process_time()
            self.sample = await self._look()
            self._began = began
            self._wake_watchers()
            await self._rest(began, time.process_time() - before)

    async def _rest(self, began: float, took: float) -> None:
        seconds = max(UNWATCHED_SECONDS, took / UNWATCHED_SHARE)
        if self._watchers:
            seconds = max(WATCHED_SECONDS, took / WATCHED_SHARE)
        with suppress(TimeoutError):
            async with asyncio.timeout(began + min(seconds, _LONGEST_SECONDS) - time.monotonic()):
                await self._wake.wait()
        # However much happens, it is not looked all the time.
        await asyncio.sleep(began + max(_LEAST_SECONDS, 10 * took) - time.monotonic())
        self._wake.clear()

    async def _look(self) -> Sample:
        clock = datetime.now(UTC)
        health = health_by_backend(self._health(), clock)
        try:
            snapshot = await self._observer.snapshot()
        except PydsrError as error:
            self._before = None
            problem = problem_document(self._about, error, all_reasons())
            return self._next_sample(problem, lambda: problem, {})
        before, self._before = self._before, snapshot
        rates = await asyncio.to_thread(rates_between, before, snapshot)
        if before is not None:
            self.history.record(rates)
        return await asyncio.to_thread(self._sample_of, rates, health, clock)

    def _sample_of(self, rates: Rates, health: Health, clock: datetime) -> Sample:
        snapshot = rates.snapshot
        names = dict(socket.if_nameindex())
        return self._next_sample(
            (snapshot.services, snapshot.interfaces, names, health),
            lambda: structure_document(self._about, snapshot, names, health, all_reasons()),
            rates_document(rates, clock),
        )

    def _next_sample(
        self, seen: object, structure: Callable[[], Document], rates: Document
    ) -> Sample:
        """Return the next sample; its structure is made anew only where something differs."""
        latest = self.sample
        number = latest.number + 1
        if seen == self._seen:
            return Sample(number, latest.structure_number, latest.structure, rates)
        self._seen = seen
        return Sample(number, number, structure(), rates)
