"""What servers know of a balancer: one reading of its maps for all who ask at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.http.sharing import FRESH_SECONDS, Shared
from pydsr.kernel.bpf.lock import not_attached
from pydsr.model.errors import EnvironmentCannotError, PydsrError
from pydsr.model.snapshot import Snapshot


class Observer:
    """Reads a balancer's maps, in a thread, one reading at a time.

    The balancer stays open from one to the next, and is opened anew after an error. What is open is
    closed with the observer.

    Args:
        directory: of the pins; there need be none yet.
        fresh_seconds: how old a reading may be, that of an error included.
    """

    def __init__(self, directory: Path, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._directory = directory
        self._reading = Shared(lambda: asyncio.to_thread(self._read), fresh_seconds)
        self._balancer: Balancer | None = None

    async def snapshot(self) -> Snapshot:
        """Return all counters as they are now, or were a moment ago.

        Raises:
            NotAttachedError: there is no balancer.
            PydsrError: it cannot be read.
        """
        return await self._reading.get()

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
            # It is taken off in this very moment.
            if not (self._directory / "settings").exists():
                raise not_attached(self._directory) from None
            raise EnvironmentCannotError(
                f"the balancer in {self._directory} cannot be read: {error.strerror}"
            ) from None

    def _close(self) -> None:
        if self._balancer is not None:
            self._balancer.close()
            self._balancer = None
