"""Snapshots are shared between clients, for a while, and follow a balancer that comes and goes."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest

from pydsr.http import snapshot_reader
from pydsr.http.snapshot_reader import FRESH_SECONDS, SharedResult, SnapshotReader
from pydsr.model.errors import EnvironmentCannotError, NotAttachedError
from tests.support.virtual_time import run_in_virtual_time


class Counted:
    """A computation that takes a second, and counts how often it is made."""

    def __init__(self) -> None:
        self.count = 0
        self.errors: deque[Exception | None] = deque()

    async def compute(self) -> int:
        self.count += 1
        number = self.count
        error = self.errors.popleft() if self.errors else None
        await asyncio.sleep(1)
        if error is not None:
            raise error
        return number


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 1), (1.1, 2)])
def test_a_result_is_shared_as_long_as_it_is_fresh(seconds: float, expected: int) -> None:
    """Counted from the start of its computation."""

    async def main() -> int:
        counted = Counted()
        shared = SharedResult(counted.compute, fresh_seconds=2.0)
        assert 1 == await shared.get()
        await asyncio.sleep(seconds)
        return await shared.get()

    assert expected == run_in_virtual_time(main())


def test_a_computation_under_way_is_shared_however_long_it_takes() -> None:
    """Also by a client after one that has disconnected."""

    async def main() -> tuple[list[int], int]:
        counted = Counted()
        shared = SharedResult(counted.compute, fresh_seconds=0.0)
        asking = []
        for _ in range(4):
            asking.append(asyncio.ensure_future(shared.get()))
            await asyncio.sleep(0.2)
        asking.pop(0).cancel()
        return await asyncio.gather(*asking), counted.count

    assert ([1, 1, 1], 1) == run_in_virtual_time(main())


def test_an_error_is_shared_and_not_for_longer_than_a_result() -> None:
    async def main() -> list[object]:
        counted = Counted()
        counted.errors.append(NotAttachedError("none"))
        shared = SharedResult(counted.compute, fresh_seconds=2.0)
        first = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
        await asyncio.sleep(1.5)
        return [*first, await shared.get()]

    first, second, third = run_in_virtual_time(main())
    assert first is second
    assert (NotAttachedError, 2) == (type(first), third)


class Balancer:
    """A balancer whose snapshots fail when the test says so."""

    opened: list[Balancer]
    errors: deque[Exception | None]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.closed = 0
        self.opened.append(self)

    def snapshot(self) -> int:
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error
        return self.opened.index(self)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def balancers(monkeypatch: pytest.MonkeyPatch) -> type[Balancer]:
    Balancer.opened, Balancer.errors = [], deque()
    monkeypatch.setattr(snapshot_reader, "Balancer", Balancer)
    return Balancer


def test_a_balancer_stays_open_until_it_cannot_be_read(
    balancers: type[Balancer], tmp_path: Path
) -> None:
    """Then it is closed, and opened again by the next reading."""
    reader = SnapshotReader(tmp_path, fresh_seconds=0)
    balancers.errors.extend([None, None, NotAttachedError("none"), None])

    async def main() -> list[object]:
        found: list[object] = []
        for _ in range(4):
            found.append((await asyncio.gather(reader.snapshot(), return_exceptions=True))[0])
            await asyncio.sleep(1)
        return found

    first, second, error, again = run_in_virtual_time(main())
    assert (0, 0, NotAttachedError, 1) == (first, second, type(error), again)
    assert [1, 0] == [each.closed for each in balancers.opened]
    assert {tmp_path} == {each.directory for each in balancers.opened}


@pytest.mark.parametrize(
    ("is_there", "kind", "words"),
    [
        (True, EnvironmentCannotError, "cannot be read: Input/output error"),
        (False, NotAttachedError, "no balancer is attached here"),
    ],
)
def test_an_error_of_the_kernel_may_mean_a_purge(
    balancers: type[Balancer],
    tmp_path: Path,
    is_there: bool,
    kind: type[Exception],
    words: str,
) -> None:
    if is_there:
        (tmp_path / "settings").write_text("")
    balancers.errors.append(OSError(5, "Input/output error"))
    with pytest.raises(kind, match=words):
        run_in_virtual_time(SnapshotReader(tmp_path).snapshot())
    assert [1] == [each.closed for each in balancers.opened]


def test_snapshots_are_shared_for_half_a_second(balancers: type[Balancer], tmp_path: Path) -> None:
    reader = SnapshotReader(tmp_path)
    balancers.errors.extend([None, NotAttachedError("read")])

    async def main() -> None:
        await reader.snapshot()
        await asyncio.sleep(0.5)
        await reader.snapshot()
        await asyncio.sleep(0.01)
        with pytest.raises(NotAttachedError):
            await reader.snapshot()

    assert 0.5 == FRESH_SECONDS
    run_in_virtual_time(main())
