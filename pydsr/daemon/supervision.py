"""Tasks that go on whatever happens to them, and complaints that are made once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pydsr.model.errors import PydsrError

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0


class Complaints:
    """Logs what is wrong when it begins to be, and not again until something else is.

    Args:
        log: where to.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def is_new(self, about: str, message: str) -> bool:
        """Return whether this was not the last that was said about something; it is then."""
        is_new = self._said.get(about) != message
        self._said[about] = message
        return is_new

    def say(self, about: str, message: str) -> None:
        """Log a message about something, if it is new."""
        if self.is_new(about, message):
            self._log.warning("%s", message)

    def forget(self, about: str) -> None:
        """Note that nothing is wrong with something any more."""
        self._said.pop(about, None)


async def keep_running(name: str, start: Callable[[], Awaitable[None]]) -> None:
    """Run something that never returns; where it fails, log that once and start it again.

    What is no error of the system or of pydsr's own tree is a defect, and goes on up.

    Args:
        name: what it does, for the log.
        start: starts it.
    """
    complaints = Complaints(_log)
    pause = FIRST_PAUSE_SECONDS
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await start()
        except* (OSError, PydsrError) as errors:
            words = "; ".join(_words(error) for error in errors.exceptions)
            if loop.time() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
                complaints.forget(name)
            complaints.say(name, f"{name}: {words}; trying again")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_words, error.exceptions))
    return error.message if isinstance(error, PydsrError) else str(error)
