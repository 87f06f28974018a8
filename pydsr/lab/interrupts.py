"""SIGINT, SIGTERM and SIGHUP as KeyboardInterrupt, which never lands inside a held block.

A lab is all or nothing: an interrupt may come between two steps of building it, but not between
starting a process and recording it, nor while the lab is being removed.
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
    """Where signals are let through.

    Attributes:
        depth: how many held blocks the main thread is in.
        pending: a signal waits for their end.
        passed: a signal has interrupted; what runs now is cleaning up.
    """

    depth: int = 0
    pending: bool = False
    passed: bool = False


_gate = _Gate()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the signals interrupt the block; those the process ignores stay ignored.

    The first one does. Later ones are ignored, so that an impatient user does not stop the
    cleaning up, which takes a bounded time.

    Raises:
        KeyboardInterrupt: a signal came.
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
def held() -> Iterator[None]:
    """Put signals off until the end of the block.

    Raises:
        KeyboardInterrupt: at the end of the outermost held block, if a signal came.
    """
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
