"""How often the balancer is sampled for the page, and what of it is kept."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, cast

import pytest

from pydsr.http.page.documents import About, rates_document
from pydsr.http.page.history import HISTORY_SECONDS, History
from pydsr.http.page.sampler import Sample, Sampler
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.options import ServiceOptions
from pydsr.model.rates import Rates, rates_between
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot
from tests.support.virtual_time import run_in_virtual_time

CLOCK = datetime(2026, 3, 4, 12, tzinfo=UTC)
ABOUT = About("lb1", "1.2", datetime(2026, 3, 4, tzinfo=UTC))
WEB, MAIL = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("198.51.100.10:25")


def service(endpoint: Endpoint = WEB, number: int = 1) -> Service:
    address = ip_address(f"198.51.100.{20 + number}")
    backend = Backend(number, address, 1, None, False, BackendState.UP, 7, slots=10)
    return Service(number, endpoint, ServiceOptions(), (backend,), table_size=20)


def snapshot(moment: float, *services: Service, packets: int = 0) -> Snapshot:
    counters = {
        backend.id: Counters(packets, 0, 0) for each in services for backend in each.backends
    }
    return Snapshot(moment, services, counters, {}, (("eth0", "native"),))


class Reader:
    """A reader of a balancer with one service."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.errors: deque[PydsrError | None] = deque()
        self.services: tuple[Service, ...] = (service(),)
        self.began = time.monotonic()

    async def snapshot(self) -> Snapshot:
        now = round(time.monotonic() - self.began, 3)
        self.moments.append(now)
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error
        return snapshot(now, *self.services, packets=round(100 * now))


class Bench:
    """A sampler that runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reader = Reader()
        self.sampler = Sampler(ABOUT, cast(SnapshotReader, self.reader), dict)
        self.cpu_seconds = 0.0
        self._cpu = 0.0
        monkeypatch.setattr(time, "process_time", self._process_time)

    def _process_time(self) -> float:
        """Return the CPU time, which rises by what a sample costs every second time."""
        self._cpu += self.cpu_seconds / 2
        return self._cpu

    async def run(self, main: Callable[[], Any]) -> Any:
        self.reader.began = time.monotonic()
        running = asyncio.ensure_future(self.sampler.run())
        try:
            return await main()
        finally:
            running.cancel()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.mark.parametrize(
    ("watched", "cpu_seconds", "period"),
    [
        (False, 0.0, 10.0),
        (True, 0.0, 2.0),
        # One percent of a CPU, and two while somebody watches; at least once a minute.
        (False, 0.2, 20.0),
        (True, 0.2, 10.0),
        (False, 5.0, 60.0),
    ],
)
def test_samples_are_seldom_unless_somebody_watches(
    bench: Bench, watched: bool, cpu_seconds: float, period: float
) -> None:
    bench.cpu_seconds = 2 * cpu_seconds

    async def main() -> None:
        await asyncio.sleep(0.001)
        if watched:
            with bench.sampler.watched():
                await asyncio.sleep(7.5 * period)
        else:
            await asyncio.sleep(7.5 * period)

    run_in_virtual_time(bench.run(main))
    moments = bench.reader.moments
    assert period == pytest.approx(moments[-1] - moments[-2], abs=0.01)


def test_a_watcher_gets_a_sample_at_once_and_no_more_than_two_a_second(bench: Bench) -> None:
    """However many events there are; without a watcher they cause none."""

    async def main() -> None:
        await asyncio.sleep(5)
        for _ in range(100):
            bench.sampler.wake()
            await asyncio.sleep(0.01)
        assert [0.0] == bench.reader.moments
        with bench.sampler.watched():
            for _ in range(100):
                bench.sampler.wake()
                await asyncio.sleep(0.02)

    run_in_virtual_time(bench.run(main))
    assert [0.0, 6.0, 6.5, 7.0, 7.5] == [round(n, 1) for n in bench.reader.moments]


def test_a_recent_sample_is_at_most_two_seconds_old(bench: Bench) -> None:
    async def main() -> list[int]:
        numbers = [(await bench.sampler.recent()).number]
        # Watching causes the second sample after half a second.
        for seconds in (2.49, 0.02, 5.0):
            await asyncio.sleep(seconds)
            numbers.append((await bench.sampler.recent()).number)
        return numbers

    assert [1, 2, 3, 5] == run_in_virtual_time(bench.run(main))


def test_an_event_wakes_watchers_before_the_next_sample(bench: Bench) -> None:
    async def main() -> bool:
        await bench.sampler.recent()
        changed = bench.sampler.changed
        bench.sampler.wake()
        return changed.is_set() and not bench.sampler.changed.is_set()

    assert run_in_virtual_time(bench.run(main))


def test_the_structure_is_built_again_only_if_it_changes(bench: Bench) -> None:
    """A problem is a structure too, and rates need two samples without one between."""
    bench.reader.errors.extend([None, None, None, NotAttachedError("none"), None, None])

    async def main() -> list[Sample]:
        found = []
        for number in range(7):
            if number == 2:
                bench.reader.services = (service(), service(MAIL, 2))
            found.append(bench.sampler.sample)
            await asyncio.sleep(10)
        return [*found[1:], bench.sampler.sample]

    samples = run_in_virtual_time(bench.run(main))
    assert [1, 2, 3, 4, 5, 6, 7] == [sample.number for sample in samples]
    assert [1, 1, 3, 4, 5, 5, 5] == [sample.structure_number for sample in samples]
    problem = samples[3]
    assert ("none", {}) == (problem.structure["problem"]["message"], problem.rates)
    totals = [sample.rates.get("total", {}).get("packets") for sample in samples]
    assert [0, 100, 100, None, 0, 200, 200] == [n and round(n) for n in totals]
    assert [10.0, 20.0, 50.0, 60.0] == bench.sampler.history.services()["times"]


def rates(moment: float, *services: Service) -> Rates:
    before = snapshot(moment - 1, *services)
    return rates_between(before, snapshot(moment, *services, packets=10))


@pytest.mark.parametrize(("later", "kept"), [(HISTORY_SECONDS, 2), (HISTORY_SECONDS + 0.1, 1)])
def test_history_is_kept_for_five_minutes(later: float, kept: int) -> None:
    history = History()
    history.record(rates(1000.0, service()))
    history.record(rates(1000.0 + later, service()))
    assert 300.0 == HISTORY_SECONDS
    assert kept == len(history.services()["times"])
    assert kept == len(history.backends(WEB)["times"])


def test_history_of_services_that_come_and_go() -> None:
    """Only present ones are shown, with gaps where they did not exist."""
    history = History()
    for moment, services in ((1.0, [1]), (2.0, [1, 2]), (3.0, [2])):
        named = [service((WEB, MAIL)[n - 1], n) for n in services]
        history.record(rates(moment, *named))
    assert {
        "times": [1.0, 2.0, 3.0],
        "services": {str(MAIL): [None, 10.0, 10.0]},
    } == history.services()
    address = str(service(MAIL, 2).backends[0].address)
    assert {
        "times": [1.0, 2.0, 3.0],
        "service": str(MAIL),
        "backends": {address: [None, 10.0, 10.0]},
    } == history.backends(MAIL)
    assert {} == history.backends(WEB)["backends"]


def test_one_watcher_of_two_is_enough(bench: Bench) -> None:
    async def main() -> None:
        with bench.sampler.watched():
            with bench.sampler.watched():
                await asyncio.sleep(4)
            await asyncio.sleep(10)

    run_in_virtual_time(bench.run(main))
    assert [2.0] * 5 == [
        round(now - before, 1) for before, now in itertools.pairwise(bench.reader.moments[-6:])
    ]


def test_rates_are_rounded_to_what_is_useful() -> None:
    """None after the point from a hundred on; shares have four digits."""
    three = tuple(
        replace(service().backends[0], id=n, address=ip_address(f"198.51.100.{n}"))
        for n in (1, 2, 3)
    )
    before = snapshot(0.0, replace(service(), backends=three))
    counters = {1: Counters(10044, 0, 0), 2: Counters(9999, 0, 0), 3: Counters(1004, 0, 0)}
    after = replace(before, time=100.0, counters=counters)
    (found,) = rates_document(rates_between(before, after), CLOCK)["services"].values()
    backends = found["backends"].values()
    assert [100, 100.0, 10.0] == [each["packets"] for each in backends]
    assert [int, float, float] == [type(each["packets"]) for each in backends]
    assert [0.4772, 0.4751, 0.0477] == [each["share"] for each in backends]


def test_moments_of_the_history_have_milliseconds() -> None:
    history = History()
    history.record(rates(1000.12345, service()))
    assert [1000.123] == history.services()["times"] == history.backends(WEB)["times"]
