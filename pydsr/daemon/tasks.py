"""Keep tasks running despite errors, and log each problem once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pydsr.model.errors import PydsrError

_log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[None]]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0

KEPT_TOPICS = 1000
"""How many topics are remembered: some name backends, which come and go."""


class WarnOnce:
    """Logs a warning about a topic when it first occurs, and again only if its text changes.

    Args:
        log: receives the warnings.
        kept: the maximum number of topics; beyond it, the one without a message for longest is
            forgotten.
    """

    def __init__(self, log: logging.Logger, kept: int = KEPT_TOPICS) -> None:
        self._log = log
        self._kept = kept
        self._last: dict[str, str] = {}

    def is_new(self, topic: str, message: str) -> bool:
        """Record a message and return whether it differs from the topic's last one."""
        is_new = self._last.pop(topic, None) != message
        self._last[topic] = message
        if len(self._last) > self._kept:
            del self._last[next(iter(self._last))]
        return is_new

    def warn(self, topic: str, message: str) -> None:
        """Log a message unless it was the topic's last one."""
        if self.is_new(topic, message):
            self._log.warning("%s", message)

    def clear(self, topic: str) -> None:
        """Forget a topic whose problem is solved."""
        self._last.pop(topic, None)


async def keep_running(name: str, start: Task, first_pause: float = FIRST_PAUSE_SECONDS) -> None:
    """Run a task that never returns; if it fails, log that once and start it again.

    Only OSError and PydsrError count as failures. Other exceptions are defects and propagate.

    Args:
        name: of the task, for the log.
        start: starts it.
        first_pause: seconds before the first restart; the pause doubles with each.
    """
    warnings = WarnOnce(_log)
    pause = first_pause
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await start()
        except* (OSError, PydsrError) as errors:
            words = "; ".join(_words(error) for error in errors.exceptions)
            if loop.time() - began > LONGEST_PAUSE_SECONDS:
                pause = first_pause
                warnings.clear(name)
            warnings.warn(name, f"{name}: {words}; trying again")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_words, error.exceptions))
    return error.message if isinstance(error, PydsrError) else str(error)
