"""The command that is run for every event, which it gets as JSON on its stdin."""

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
WAITING_EVENTS = 1000
"""How many may wait for the command; the oldest go beyond that."""


class Hook:
    """Runs a command for one event after the other, so that nothing ever waits for it.

    Args:
        command: the program and its arguments.
        timeout: seconds until a run is killed, with all that it has started.
    """

    def __init__(self, command: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> None:
        self._command = command
        self._timeout = timeout
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(WAITING_EVENTS)
        self._dropped = 0
        self._complaint = ""

    def tell(self, event: Event) -> None:
        """Have the command run for an event, after those that wait."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self._dropped += 1
        self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Run the command for each event; never returns, and kills it when it is cancelled."""
        while True:
            event = await self._waiting.get()
            self._complain(await self._run_once(event))

    async def finish(self, seconds: float) -> None:
        """Run the command for the events that still wait, as many as fit into a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiting.empty():
                    self._complain(await self._run_once(self._waiting.get_nowait()))

    async def _run_once(self, event: Event) -> str:
        """Return what went wrong; empty where nothing did."""
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
                    # A command that has not read it all is right to: nobody is to hear of that.
                    with suppress(ConnectionError):
                        await process.stdin.wait_closed()
        except TimeoutError:
            return f"had not ended after {self._timeout:g} seconds, and was killed"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return f"ended with status {process.returncode}" if process.returncode else ""

    def _complain(self, complaint: str) -> None:
        """Say what is wrong with the command, once until that changes."""
        if self._dropped:
            complaint = complaint or f"is too slow: {self._dropped} events were not told to it"
            self._dropped = 0
        if complaint and complaint != self._complaint:
            _log.warning("the notify command %s %s", self._command[0], complaint)
        self._complaint = complaint
