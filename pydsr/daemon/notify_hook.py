"""Run the ``--notify`` command for every event, with the event as JSON on its stdin."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from pydsr.model.events import Event

_log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
QUEUED_EVENTS_MAX = 1000


class NotifyHook:
    """Runs a command for one event after another, without delaying anything else.

    Args:
        command: the program and its arguments.
        timeout: seconds after which a run is killed, with all processes that it started.
        queued_max: events that may wait for the command; beyond that the oldest are dropped.
    """

    def __init__(
        self,
        command: Sequence[str],
        timeout: float = TIMEOUT_SECONDS,
        queued_max: int = QUEUED_EVENTS_MAX,
    ) -> None:
        self._command = command
        self._timeout = timeout
        self._queue: asyncio.Queue[Event] = asyncio.Queue(queued_max)
        self._dropped = 0
        self._last_problem = ""

    def add(self, event: Event) -> None:
        """Queue an event for the command."""
        if self._queue.full():
            self._queue.get_nowait()
            self._dropped += 1
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Run the command for queued events until cancelled, which kills it."""
        while True:
            event = await self._queue.get()
            self._warn(await self._run_once(event))

    async def finish(self, seconds: float) -> None:
        """Run the command for events that are still queued, for at most some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._queue.empty():
                    self._warn(await self._run_once(self._queue.get_nowait()))

    async def _run_once(self, event: Event) -> str:
        """Return what went wrong; empty if nothing did."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be run: {error.strerror}"
        try:
            async with asyncio.timeout(self._timeout):
                await process.communicate(event.line().encode() + b"\n")
                if process.stdin is not None:
                    # A command need not read all of its input.
                    with suppress(ConnectionError):
                        await process.stdin.wait_closed()
        except TimeoutError:
            return f"did not end within {self._timeout:g} seconds and was killed"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return f"ended with status {process.returncode}" if process.returncode else ""

    def _warn(self, problem: str) -> None:
        """Log a problem with the command, once until it changes."""
        if self._dropped:
            problem = problem or f"is too slow: {self._dropped} events were dropped"
            self._dropped = 0
        if problem and problem != self._last_problem:
            _log.warning("the notify command %s %s", self._command[0], problem)
        self._last_problem = problem
