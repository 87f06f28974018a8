"""Share one result, such as a snapshot of the maps, between clients that ask at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydsr.control.balancer import Balancer
from pydsr.kernel.bpf.lock import not_attached
from pydsr.model.errors import EnvironmentCannotError, PydsrError
from pydsr.model.snapshot import Snapshot

FRESH_SECONDS = 0.5
"""How old a shared result may be."""

_T = TypeVar("_T")


class SharedResult(Generic[_T]):
    """Computes a result again if the last one is too old, one computation at a time.

    Many clients cost no more than one.

    Args:
        compute: returns the result; its exceptions are shared as well.
        fresh_seconds: the maximum age, counted from the start of the computation.
    """

    def __init__(
        self, compute: Callable[[], Awaitable[_T]], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        self._compute = compute
        self._fresh_seconds = fresh_seconds
        self._result: asyncio.Future[_T] | None = None
        self._began = 0.0

    async def get(self) -> _T:
        """Return a fresh result; raises what computing it raises."""
        now = time.monotonic()
        result = self._result
        if result is None or (result.done() and now - self._began > self._fresh_seconds):
            self._began = now
            self._result = result = asyncio.ensure_future(self._compute())
        # A client that disconnects must not cancel the computation for the others.
        return await asyncio.shield(result)


class SnapshotReader:
    """Reads snapshots of a balancer's maps in a thread, one at a time.

    The balancer stays open between snapshots, and is opened again after an error.
    """

    def __init__(self, directory: Path, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._directory = directory
        self._snapshot = SharedResult(lambda: asyncio.to_thread(self._read), fresh_seconds)
        self._balancer: Balancer | None = None

    async def snapshot(self) -> Snapshot:
        """Return a snapshot of all counters.

        Raises:
            NotAttachedError: there is no balancer.
            PydsrError: it cannot be read.
        """
        return await self._snapshot.get()

    def _read(self) -> Snapshot:
        try:
            if self._balancer is None:
                self._balancer = Balancer(self._directory)
            return self._balancer.snapshot()
        except PydsrError:
            self._close()
            raise
        except OSError as error:
            self._close()
            # A purge may be under way.
            if not (self._directory / "settings").exists():
                raise not_attached(self._directory) from None
            raise EnvironmentCannotError(
                f"the balancer in {self._directory} cannot be read: {error.strerror}"
            ) from None

    def _close(self) -> None:
        if self._balancer is not None:
            self._balancer.close()
            self._balancer = None
