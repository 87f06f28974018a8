"""What may take long to find out: asked in a thread, so that nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pydsr.model.errors import PydsrError

_REST_SECONDS = 2.0
_TIMES = 200
"""For this many times of the CPU time that a question took nothing is asked: a half percent."""

_T = TypeVar("_T")


class Background(Generic[_T]):
    """The latest answer to a question that is asked again and again.

    Args:
        ask: may take long, or fail with an error of pydsr or the system.
        nothing: what is known before the first answer, and after one that failed.
        rest: seconds between two questions, at least.
    """

    def __init__(self, ask: Callable[[], _T], nothing: _T, rest: float = _REST_SECONDS) -> None:
        self._ask = ask
        self._nothing = nothing
        self._answer = nothing
        self._rest = rest
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def latest(self) -> _T:
        """Return the latest answer at once, and have the question asked again where it is due."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and time.monotonic() >= self._due:
            # A thread that hangs is no reason for the program not to end.
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self._answer

    def wait(self, seconds: float) -> None:
        """Wait until the question under way is answered, but not for ever."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        begun = time.thread_time()
        try:
            self._answer = self._ask()
        except (PydsrError, OSError):
            self._answer = self._nothing
        took = time.thread_time() - begun
        self._due = time.monotonic() + max(self._rest, _TIMES * took)
