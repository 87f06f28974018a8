"""Sample the balancer for the page: often while somebody watches, otherwise seldom."""

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

from pydsr.http.page.documents import (
    About,
    Health,
    health_by_backend,
    problem_document,
    rates_document,
    structure_document,
)
from pydsr.http.page.history import History
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.errors import PydsrError
from pydsr.model.rates import Rates, rates_between
from pydsr.model.reasons import all_reasons
from pydsr.model.snapshot import Snapshot
from pydsr.views.json.documents import Document

WATCHED_SECONDS, UNWATCHED_SECONDS = 2.0, 10.0
"""Pauses between samples. Unwatched samples give a newly opened page its plots."""

WATCHED_SHARE, UNWATCHED_SHARE = 0.02, 0.01
"""Maximum share of a CPU; if a sample takes long, there are fewer."""

_LEAST_SECONDS, _LONGEST_SECONDS = 0.5, 60.0


@dataclass(frozen=True)
class Sample:
    """The documents of one moment.

    Attributes:
        number: counted from 1.
        structure_number: number of the first sample with this structure.
        structure: the keys that seldom change.
        rates: empty if the balancer cannot be read.
    """

    number: int
    structure_number: int
    structure: Document
    rates: Document

    @cached_property
    def state_json(self) -> str:
        """Structure and rates as JSON."""
        return to_json({**self.structure, "rates": self.rates})

    @cached_property
    def rates_json(self) -> str:
        """The rates as JSON."""
        return to_json(self.rates)


def to_json(document: object) -> str:
    """Return a document as compact JSON."""
    return json.dumps(document, separators=(",", ":"))


class Sampler:
    """Takes samples, and keeps the latest and the history of rates.

    Attributes:
        history: of the rates.
        sample: the latest; its number is 0 before the first.
        changed: set at the next sample or event, and then replaced.
    """

    def __init__(
        self, about: About, reader: SnapshotReader, health: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.history = History()
        self.sample = Sample(0, 0, {}, {})
        self.changed = asyncio.Event()
        self._about = about
        self._reader = reader
        self._health = health
        self._began = 0.0
        self._watchers = 0
        self._wake = asyncio.Event()
        self._before: Snapshot | None = None
        self._source: object = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sample often for the length of the block, starting at once."""
        self._watchers += 1
        self._wake.set()
        try:
            yield
        finally:
            self._watchers -= 1

    async def recent(self) -> Sample:
        """Return a sample as recent as watchers get; if nobody watches, wait for a new one."""
        number = self.sample.number
        if not number or time.monotonic() - self._began > WATCHED_SECONDS:
            with self.watched():
                while self.sample.number == number:
                    await self.changed.wait()
        return self.sample

    def wake(self) -> None:
        """Wake watchers after an event; if there are any, also take a sample."""
        self._wake_watchers()
        if self._watchers:
            self._wake.set()

    def _wake_watchers(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            # CPU time: a sample that waits on a busy host costs no more.
            began, before = time.monotonic(), time.process_time()
            self.sample = await self._take_sample()
            self._began = began
            self._wake_watchers()
            await self._pause(began, time.process_time() - before)

    async def _pause(self, began: float, took: float) -> None:
        seconds = max(UNWATCHED_SECONDS, took / UNWATCHED_SHARE)
        if self._watchers:
            seconds = max(WATCHED_SECONDS, took / WATCHED_SHARE)
        with suppress(TimeoutError):
            async with asyncio.timeout(began + min(seconds, _LONGEST_SECONDS) - time.monotonic()):
                await self._wake.wait()
        # Limit the rate of samples, however many events wake it.
        await asyncio.sleep(began + max(_LEAST_SECONDS, 10 * took) - time.monotonic())
        self._wake.clear()

    async def _take_sample(self) -> Sample:
        clock = datetime.now(UTC)
        health = health_by_backend(self._health(), clock)
        try:
            snapshot = await self._reader.snapshot()
        except PydsrError as error:
            self._before = None
            problem = problem_document(self._about, error, all_reasons())
            return self._next_sample(problem, lambda: problem, {})
        before, self._before = self._before, snapshot
        rates = await asyncio.to_thread(rates_between, before, snapshot)
        if before is not None:
            self.history.record(rates)
        return await asyncio.to_thread(self._build, rates, health, clock)

    def _build(self, rates: Rates, health: Health, clock: datetime) -> Sample:
        snapshot = rates.snapshot
        names = dict(socket.if_nameindex())
        return self._next_sample(
            (snapshot.services, snapshot.interfaces, names, health),
            lambda: structure_document(self._about, snapshot, names, health, all_reasons()),
            rates_document(rates, clock),
        )

    def _next_sample(
        self, source: object, structure: Callable[[], Document], rates: Document
    ) -> Sample:
        """Return the next sample; the structure is rebuilt only if its source has changed."""
        latest = self.sample
        number = latest.number + 1
        if source == self._source:
            return Sample(number, latest.structure_number, latest.structure, rates)
        self._source = source
        return Sample(number, number, structure(), rates)
