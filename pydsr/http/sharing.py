"""What costs something to make, made once for all who ask at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

FRESH_SECONDS = 0.5
"""How old something may be that is given to another who asks."""

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """Makes something anew where what was made last is no longer fresh, one at a time.

    So those who ask, however many and often, cost no more than one of them.

    Args:
        make: makes it; an error that it raises is shared as well.
        fresh_seconds: from when it was asked for.
    """

    def __init__(
        self, make: Callable[[], Awaitable[_T]], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        self._make = make
        self._fresh_seconds = fresh_seconds
        self._making: asyncio.Future[_T] | None = None
        self._asked = 0.0

    async def get(self) -> _T:
        """Return it as it is now, or was a moment ago; raises what making it raises."""
        now = time.monotonic()
        making = self._making
        if making is None or (making.done() and now - self._asked > self._fresh_seconds):
            self._asked = now
            self._making = making = asyncio.ensure_future(self._make())
        # Whoever asked first may go; others may wait for the same.
        return await asyncio.shield(making)
