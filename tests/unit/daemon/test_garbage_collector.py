"""Garbage is collected when learning ends, less often while records keep slots, after any delay."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import pytest

from pydsr.control.garbage_collection import Collected
from pydsr.daemon import garbage_collector
from pydsr.daemon.garbage_collector import FIRST_SECONDS, LONGEST_SECONDS, collect_garbage
from pydsr.model.errors import BusyError, NotAttachedError
from tests.support.virtual_time import run_in_virtual_time


@dataclass
class _Service:
    slots_changing: int
    learn_until: int


class Bench:
    """A balancer whose garbage is collected.

    Attributes:
        services: its services.
        results: of the next collections; the last one is repeated.
        collected: when garbage was collected, in seconds since the start.
    """

    def __init__(self) -> None:
        self.services = [_Service(1, 0)]
        self.results: deque[int | Exception] = deque([1])
        self.collected: list[float] = []
        self.opened: list[float] = []
        self.began = 0.0

    def __call__(self, _: Path) -> _Balancer:
        self.opened.append(time.monotonic() - self.began)
        return _Balancer(self)

    async def run(self, seconds: float) -> None:
        self.began = time.monotonic()
        task = asyncio.ensure_future(collect_garbage(Path("/nowhere")))
        await asyncio.sleep(seconds)
        assert not task.done()
        task.cancel()


class _Balancer:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __enter__(self) -> _Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def services(self) -> list[_Service]:
        return self._bench.services

    def collect_garbage(self) -> Collected:
        bench = self._bench
        bench.collected.append(round(time.monotonic() - bench.began, 6))
        result = bench.results.popleft() if len(bench.results) > 1 else bench.results[0]
        if isinstance(result, Exception):
            raise result
        return Collected(result)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(garbage_collector, "Balancer", made)
    return made


def test_it_is_collected_less_often_while_records_keep_slots(bench: Bench) -> None:
    """And as often as at first once a slot has come to rest."""
    bench.results = deque([0, 0, 0, 0, 0, 5, 0, 5])
    run_in_virtual_time(bench.run(60.0 + 120 + 240 + 480 + 960 + 960 + 60 + 120 + 60 + 1))
    assert (60.0, 960.0) == (FIRST_SECONDS, LONGEST_SECONDS)
    pauses = [60.0, 120.0, 240.0, 480.0, 960.0, 960.0, 60.0, 120.0, 60.0]
    assert pauses == [
        now - before for before, now in zip([0.0, *bench.collected], bench.collected, strict=False)
    ]


@pytest.mark.parametrize("error", [BusyError("held"), NotAttachedError("none")])
def test_it_goes_on_after_a_lock_that_was_held_and_without_a_balancer(
    bench: Bench, error: Exception
) -> None:
    """The pause stays as it was."""
    bench.results = deque([0, error, error, 5])
    run_in_virtual_time(bench.run(60.0 + 3 * 120 + 60 + 1))
    assert [60.0, 180.0, 300.0, 420.0, 480.0] == bench.collected


@pytest.mark.parametrize(("late", "expected"), [(0, [60.0]), (-1, [60.0]), (1, [120.0])])
def test_slots_rest_when_learning_has_ended_and_not_before(
    bench: Bench, late: int, expected: list[float]
) -> None:
    """To the nanosecond; until then nothing takes the lock."""

    async def main() -> None:
        bench.services = [
            _Service(0, 0),
            _Service(1, time.monotonic_ns() + 60 * 10**9 + late),
        ]
        await bench.run(121.0)

    run_in_virtual_time(main())
    assert expected == bench.collected[:1]
    assert [60.0, 120.0] == bench.opened


def test_a_service_without_changing_slots_is_left_alone(bench: Bench) -> None:
    bench.services = [_Service(0, 0)]
    run_in_virtual_time(bench.run(200.0))
    assert ([], [60.0, 120.0, 180.0]) == (bench.collected, bench.opened)


def test_a_learning_time_that_changes_under_way_counts_at_the_next_run(bench: Bench) -> None:
    """A reload that prolongs it is waited for, and one that ends it is seen a period later."""

    async def main() -> None:
        now = time.monotonic_ns()
        bench.services = [_Service(1, now + 50 * 10**9)]
        running = asyncio.ensure_future(bench.run(400.0))
        await asyncio.sleep(30)
        bench.services = [_Service(1, now + 250 * 10**9)]
        await asyncio.sleep(120)
        bench.services = [_Service(1, now + 179 * 10**9)]
        await running

    run_in_virtual_time(main())
    assert 180.0 == bench.collected[0]
