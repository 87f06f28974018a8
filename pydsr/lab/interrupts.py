"""Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt, deferred where it would do harm.

A lab is built completely or not at all: a signal may interrupt between two steps of building it,
but not between starting a process and recording it, nor while the lab is being removed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Gate:
    """Whether signals interrupt.

    Attributes:
        depth: how many blocks that defer signals the main thread is in.
        pending: a signal waits for the end of those blocks.
        passed: a signal has interrupted, and the clean-up is running.
    """

    depth: int = 0
    pending: bool = False
    passed: bool = False


_gate = _Gate()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal interrupt the block.

    Later signals are ignored, so that an impatient user does not stop the clean-up, which takes a
    bounded time. Signals that the process ignores stay ignored.
    """
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
    _gate.passed = False
    try:
        for number in heeded:
            signal.signal(number, _receive)
        yield
    finally:
        for number in heeded:
            signal.signal(number, previous[number])


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer signals until the end of the outermost such block."""
    _gate.depth += 1
    try:
        yield
    finally:
        _gate.depth -= 1
        if _gate.pending and not _gate.depth:
            _gate.pending = False
            _interrupt()


def _receive(_number: int, _frame: FrameType | None) -> None:
    if _gate.depth:
        _gate.pending = True
    else:
        _interrupt()


def _interrupt() -> None:
    if not _gate.passed:
        _gate.passed = True
        raise KeyboardInterrupt
