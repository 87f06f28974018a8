"""Reloads: after a change of the file, after a lock held too long, beside late backends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest

from pydsr.daemon import file_apply
from pydsr.daemon.file_apply import Applied, WaitingBackends
from pydsr.daemon.file_reload import POLL_SECONDS, WAITING_SECONDS, FileReloader
from pydsr.daemon.health_monitor import HealthMonitor
from pydsr.daemon.instance import Instance
from pydsr.daemon.tasks import keep_running
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Impact
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, InputError
from pydsr.model.events import Event, EventKind
from pydsr.model.service import BackendState, DesiredBackend
from tests.support.virtual_time import Meeting, run_in_virtual_time

DIRECTORY, FILE = Path("/nowhere"), Path("balancer.yaml")
WEB, MAIL = Endpoint.parse("10.66.0.80:80"), Endpoint.parse("10.66.0.80:25")
A, B = ip_address("10.66.0.11"), ip_address("10.66.0.12")
BUSY = BusyError("another pydsr command is changing /nowhere")
OLD, NEW = DesiredState(seed=1), DesiredState(seed=2)


def backends(*addresses: IPAddress) -> tuple[DesiredBackend, ...]:
    return tuple(DesiredBackend(address, 1, BackendState.UP) for address in addresses)


def applied(waiting: WaitingBackends | None = None, *notes: str) -> Applied:
    return Applied(Impact((), notes=notes), waiting or {})


class _Health:
    """Health that changes nothing."""

    @asynccontextmanager
    async def reloading(self, wanted: DesiredState) -> AsyncIterator[DesiredState]:
        yield wanted


class _Instance:
    """An instance that counts how often it was acquired."""

    acquired = 0

    def acquire(self) -> None:
        self.acquired += 1


class Bench:
    """A reloader with everything that it calls.

    Attributes:
        results: of the next calls that apply; the last one is repeated.
        answering: the backends that answer.
        calls: the calls in their order.
        adopted: the desired states adopted so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path = FILE) -> None:
        self.results: deque[Applied | Exception] = deque([applied()])
        self.files: deque[DesiredState | Exception] = deque([NEW])
        self.answering: set[IPAddress] = set()
        self.calls: list[str] = []
        self.adopted: list[DesiredState] = []
        self.happened: list[Event] = []
        self.instance = _Instance()
        self.stop, self.changing = asyncio.Event(), asyncio.Lock()
        self.on_find: Callable[[], object] = lambda: None
        self.on_add: Callable[[], object] = lambda: None
        self.reloader = FileReloader(
            DIRECTORY,
            file,
            cast(Instance, self.instance),
            cast(HealthMonitor, _Health()),
            self.happened.append,
            self.stop,
            self.changing,
            self._adopt,
        )
        monkeypatch.setattr(file_apply, "load", lambda _: self._next(self.files))
        monkeypatch.setattr(file_apply, "apply_without_silent", self._apply)
        monkeypatch.setattr(file_apply, "find_answering", self._find)
        monkeypatch.setattr(file_apply, "add_backends", self._add)

    def _next(self, results: deque[Any]) -> Any:
        result = results.popleft() if len(results) > 1 else results[0]
        if isinstance(result, Exception):
            raise result
        return result

    def _adopt(self, desired: DesiredState) -> None:
        assert self.changing.locked()
        self.adopted.append(desired)

    def _apply(self, directory: Path, desired: DesiredState) -> Applied:
        assert (DIRECTORY, True) == (directory, self.changing.locked())
        self.calls.append(f"apply {desired.seed}")
        return cast(Applied, self._next(self.results))

    def _find(self, _: Path, waiting: WaitingBackends) -> set[IPAddress]:
        self.calls.append("find")
        self.on_find()
        return self.answering & {b.address for items in waiting.values() for b in items}

    def _add(self, _: Path, ready: WaitingBackends) -> list[tuple[Endpoint, IPAddress]]:
        self.on_add()
        names = [(endpoint, b.address) for endpoint, items in ready.items() for b in items]
        self.calls.append("add " + " ".join(str(address) for _, address in names))
        return names

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The events so far, with their objects."""
        return [(event.kind.value, event.object) for event in self.happened]

    async def run(self, task: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Keep a task running for some virtual time."""
        running = asyncio.ensure_future(keep_running("adding", task))
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def add_waiting(self, seconds: float) -> None:
        """Add backends that answer for some virtual time."""

        def added() -> None:
            self.calls.append("added")

        await self.run(lambda: self.reloader.add_waiting(added), seconds)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_a_lock_held_beyond_its_deadline_is_waited_for_and_said_once_each_time(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The next time is another one, even with the same words."""

    async def main() -> None:
        bench.results.extendleft([BUSY, BUSY, BUSY])
        await bench.reloader.start(OLD)
        bench.results.extendleft([BUSY, BUSY])
        assert await bench.reloader.reload()

    run_in_virtual_time(main())
    assert ["apply 1"] * 4 + ["apply 2"] * 3 == bench.calls
    assert [f"{BUSY.message}: waiting"] * 2 == caplog.messages
    assert [OLD, NEW] == bench.adopted
    assert ["applied", "reloaded"] == [kind for kind, _ in bench.kinds]
    # A purge while it waits releases the instance, so each attempt acquires it.
    assert 7 == bench.instance.acquired
    assert not bench.changing.locked()


def test_a_daemon_that_is_stopped_waits_no_longer(bench: Bench) -> None:
    async def main() -> None:
        bench.results = deque([BUSY])
        starting = asyncio.ensure_future(bench.reloader.start(OLD))
        while len(bench.calls) < 3:
            await asyncio.sleep(0)
        bench.stop.set()
        await starting
        assert not await bench.reloader.reload()

    run_in_virtual_time(main())
    assert ([], []) == (bench.happened, bench.adopted)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("line 3: nonsense", "write sense"), "line 3: nonsense\nwrite sense"),
        (InputError("line 3: nonsense"), "line 3: nonsense"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
    ],
)
def test_a_reload_that_fails_changes_nothing_and_the_next_one_works(
    bench: Bench, error: Exception, words: str
) -> None:
    """Backends that wait go on waiting."""

    async def main() -> None:
        bench.results.appendleft(applied({WEB: backends(A)}))
        await bench.reloader.start(OLD)
        bench.reloader.request("SIGHUP")
        await bench.reloader.wait()
        bench.files.appendleft(error)
        assert not await bench.reloader.reload()
        assert (1, "as in balancer.yaml, but 1 backends do not answer") == (
            bench.reloader.waiting_count,
            bench.reloader.status,
        )
        assert await bench.reloader.reload()
        assert (0, "as in balancer.yaml") == (
            bench.reloader.waiting_count,
            bench.reloader.status,
        )

    run_in_virtual_time(main())
    (_, waiting, failed, reloaded) = bench.happened
    assert (EventKind.BACKEND_WAITING, f"{WEB} {A}") == (waiting.kind, waiting.object)
    assert f"SIGHUP; nothing was changed: {words}" == failed.cause
    assert "SIGHUP: nothing to change" == reloaded.cause
    assert [OLD, NEW] == bench.adopted


def test_notes_are_said_until_they_change(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A note that comes back is said again."""
    bench.results.extendleft(
        [applied(None, *notes) for notes in reversed([("a",), ("a",), ("a", "b"), (), ("a",)])]
    )

    async def main() -> None:
        for _ in range(5):
            await bench.reloader.reload()

    run_in_virtual_time(main())
    assert ["a", "a; b", "a"] == caplog.messages


def test_the_file_is_watched_after_each_reload(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A change counts once it was seen twice; one that a reload has read is no other change."""
    file = tmp_path / "balancer.yaml"
    file.write_text("one")
    bench = Bench(monkeypatch, file)
    requested: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        monkeypatch.setattr(
            bench.reloader, "request", lambda _: requested.append(loop.time() - began)
        )
        await bench.reloader.load()
        watching = asyncio.ensure_future(bench.reloader.watch())
        for number in (1, 2):
            await asyncio.sleep(10.1 * POLL_SECONDS)
            file.write_text("x" * number)
            os.utime(file, ns=(number, number))
        await asyncio.sleep(10 * POLL_SECONDS)
        watching.cancel()

    run_in_virtual_time(main())
    assert [12 * POLL_SECONDS, 22 * POLL_SECONDS] == pytest.approx(requested)


def test_a_request_names_its_cause(bench: Bench) -> None:
    async def main() -> None:
        bench.reloader.request("balancer.yaml has changed")
        bench.reloader.request("SIGHUP")
        await bench.reloader.wait()
        await bench.reloader.reload()
        again = asyncio.ensure_future(bench.reloader.wait())
        await asyncio.sleep(1)
        assert not again.done()
        again.cancel()

    run_in_virtual_time(main())
    (event,) = bench.happened
    assert "SIGHUP: nothing to change" == event.cause


def test_backends_are_added_when_they_answer(bench: Bench) -> None:
    """Each once, and the others go on waiting."""
    bench.results.appendleft(applied({WEB: backends(A, B), MAIL: backends(B)}))

    async def main() -> None:
        await bench.reloader.start(OLD)
        await bench.add_waiting(2.5 * WAITING_SECONDS)
        assert 3 == bench.reloader.waiting_count
        bench.answering = {B}
        await bench.add_waiting(2.5 * WAITING_SECONDS)
        assert 1 == bench.reloader.waiting_count
        bench.answering = {A, B}
        await bench.add_waiting(2.5 * WAITING_SECONDS)
        assert 0 == bench.reloader.waiting_count

    run_in_virtual_time(main())
    silent = ["find", "find"]
    both = ["find", f"add {B} {B}", "added", "find"]
    assert ["apply 1", *silent, *both, "find", f"add {A}", "added"] == bench.calls
    assert [f"{WEB} {B}", f"{MAIL} {B}", f"{WEB} {A}"] == [
        name for kind, name in bench.kinds if kind == "backend-added"
    ]


def test_late_backends_wait_for_a_lock_as_well(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; the task goes on when the lock is free."""
    bench.results.appendleft(applied({WEB: backends(A)}))
    bench.answering = {A}
    busy = deque([BUSY, BUSY, BUSY])

    def raise_busy() -> None:
        if busy:
            raise busy.pop()

    bench.on_add = raise_busy

    async def main() -> None:
        await bench.reloader.start(OLD)
        await bench.add_waiting(60)

    run_in_virtual_time(main())
    assert [f"adding: {BUSY.message}; trying again"] == caplog.messages
    assert 1 == bench.calls.count(f"add {A}")
    assert ("backend-added", f"{WEB} {A}") == bench.kinds[-1]
    assert not bench.changing.locked()


def test_a_reload_while_backends_are_sought_decides_which_are_added(bench: Bench) -> None:
    """One that the new file does not have stays out."""
    bench.results.extendleft([applied({WEB: backends(B)}), applied({WEB: backends(A)})])
    bench.answering = {A}

    async def main() -> None:
        seeking, reloaded = Meeting(), threading.Event()
        bench.on_find = lambda: seeking.wait_for(reloaded)
        await bench.reloader.start(OLD)
        adding = asyncio.ensure_future(bench.add_waiting(1.5 * WAITING_SECONDS))
        await seeking.reached.wait()
        await bench.reloader.reload()
        reloaded.set()
        await adding

    run_in_virtual_time(main())
    assert ["apply 1", "find", "apply 2"] == bench.calls
    assert 1 == bench.reloader.waiting_count


def test_a_reload_while_backends_are_added_comes_after_them(bench: Bench) -> None:
    """And its list of waiting backends is the one that counts."""
    bench.results.extendleft([applied({MAIL: backends(B)}), applied({WEB: backends(A)})])
    bench.answering = {A}

    async def main() -> None:
        adding, reloads = Meeting(), threading.Event()
        bench.on_add = lambda: adding.wait_for(reloads)
        await bench.reloader.start(OLD)
        task = asyncio.ensure_future(bench.add_waiting(1.5 * WAITING_SECONDS))
        await adding.reached.wait()
        reload = asyncio.ensure_future(bench.reloader.reload())
        # The file is loaded in a thread; after that the reload has to wait.
        await asyncio.to_thread(lambda: None)
        for _ in range(10):
            await asyncio.sleep(0)
        reloads.set()
        assert await reload
        await task

    run_in_virtual_time(main())
    bench.calls.remove("added")
    assert ["apply 1", "find", f"add {A}", "apply 2"] == bench.calls
    assert 1 == bench.reloader.waiting_count
