"""An event loop whose clock is virtual: tests of hours take milliseconds, on a busy machine too."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

_HUNG_SECONDS = 60.0
"""Real seconds after which a loop that waits for a thread or a socket counts as hung."""

_POLL_SECONDS = 0.01

_T = TypeVar("_T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is work, and otherwise jumps to the next timer.

    A call in a thread is work: a test decides by events alone how long it takes. Sockets work, but
    the loop does not wait for them while a timer is pending.

    Args:
        may_jump: returns whether the clock may jump now; until then the loop waits for real.
    """

    def __init__(self, may_jump: Callable[[], bool]) -> None:
        self._clock = _Clock(may_jump)
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock.now

    def pass_time(self, seconds: float) -> None:
        """Advance the clock without running anything."""
        self._clock.now += seconds

    def run_in_executor(
        self, executor: Executor | None, function: Callable[..., _T], *arguments: object
    ) -> asyncio.Future[_T]:
        """Call a function in a thread."""
        self._clock.threads += 1
        future = super().run_in_executor(executor, function, *arguments)
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the threads without a timeout, which virtual time reaches at once (Python 3.12)."""
        del timeout
        await super().shutdown_default_executor()

    def _thread_ended(self, _: object) -> None:
        self._clock.threads -= 1


class _Clock(selectors.DefaultSelector):
    """A selector that advances the clock instead of waiting."""

    def __init__(self, may_jump: Callable[[], bool]) -> None:
        super().__init__()
        self._may_jump = may_jump
        self.now = 1000.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if that is nothing, the time is over at once."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            ready = super().select(_HUNG_SECONDS)
            assert ready, "nothing is due, and nothing happens"
            return ready
        if not self._may_jump():
            return super().select(_POLL_SECONDS)
        self.now += max(0.0, timeout)
        return []


def run_in_virtual_time(
    main: Coroutine[Any, Any, _T], may_jump: Callable[[], bool] = lambda: True
) -> _T:
    """Run a coroutine as ``asyncio.run`` does, in virtual time, which ``time.monotonic`` shows."""
    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, may_jump)) as runner:
        loop = runner.get_loop()
        with (
            patch("time.monotonic", loop.time),
            patch("time.monotonic_ns", lambda: round(loop.time() * 1e9)),
        ):
            return runner.run(main)


def pass_time(seconds: float) -> None:
    """Let virtual time pass in which nothing happens, as if the machine stood still."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.pass_time(seconds)


class Meeting:
    """A point in a thread: a coroutine waits until the thread is there, and then lets it go on.

    Attributes:
        reached: set when it is there.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wait_for(self, event: threading.Event) -> None:
        """Wait in the thread until an event is set."""
        self._loop.call_soon_threadsafe(self.reached.set)
        assert event.wait(_HUNG_SECONDS)
