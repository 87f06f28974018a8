"""The live view's loop: it reads counters and keys; what they look like is ``view.top``'s."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType

from rich.console import Console
from rich.live import Live

from pydsr.errors import ExitStatus, InputError
from pydsr.model import Snapshot
from pydsr.stats import History, rates_between
from pydsr.view.top import Sort, frame

MIN_INTERVAL = 0.1
MAX_INTERVAL = 60.0

_INTERVALS = (MIN_INTERVAL, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, MAX_INTERVAL)
"""Seconds that the keys + and - step through."""

_FIRST_WAIT = 0.5
"""Seconds until the first rates: nobody wants to look at zeros for a whole long interval."""

_PAUSE_WAIT = 1.0
"""Seconds between frames while paused: they only follow the size of the terminal."""

_CTRL_D = "\x04"
"""Quits; a closed terminal is read as this, too."""

_QUIT_KEYS = ("q", "Q", _CTRL_D)

_ESCAPE_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What arrow and function keys type (ECMA-48, 5.4): some of its characters are keys here."""

WaitForKeys = Callable[[float], str]
"""Waits up to so many seconds and returns the keys typed meanwhile, empty for none."""


@dataclass(frozen=True)
class Choices:
    """What the user has chosen with the keys."""

    interval: float
    sort: Sort = Sort.NAME
    paused: bool = False
    done: bool = False


def press(choices: Choices, key: str) -> Choices:
    """Return the choices after one key; a key without a meaning changes nothing."""
    if key in _QUIT_KEYS:
        return replace(choices, done=True)
    match key:
        case "p" | " ":
            return replace(choices, paused=not choices.paused)
        case "s":
            order = list(Sort)
            following = (order.index(choices.sort) + 1) % len(order)
            return replace(choices, sort=order[following])
        case "+" | "=":
            longer = (step for step in _INTERVALS if step > choices.interval)
            return replace(choices, interval=next(longer, MAX_INTERVAL))
        case "-":
            shorter = (step for step in reversed(_INTERVALS) if step < choices.interval)
            return replace(choices, interval=next(shorter, MIN_INTERVAL))
    return choices


def run_live(read: Callable[[], Snapshot], interval: float, once: bool, console: Console) -> None:
    """Show the counters until the user quits, or one frame of them.

    Args:
        read: reads all counters now.
        interval: seconds between reads.
        once: print one frame, made of two reads at most a second apart, and return; this works
            where stdout is no terminal, too.
        console: where to draw.

    Raises:
        InputError: the interval is out of range, or stdout is no terminal that can be redrawn.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is restored by then.
    """
    if not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise InputError(
            f"the interval {interval:g} is out of range",
            f"use {MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds",
        )
    if once:
        _show_once(read, min(interval, 1.0), console)
    elif not console.file.isatty() or console.is_dumb_terminal:
        raise InputError(
            "the live view needs a terminal that can be redrawn",
            "use `pydsr top --once` for one frame, or `pydsr stats --watch 1`",
        )
    else:
        with _restoring_when_terminated(), _typed_keys() as wait_for_keys:
            _show_live(read, Choices(interval), wait_for_keys, console)


def _show_once(read: Callable[[], Snapshot], wait: float, console: Console) -> None:
    before = read()
    time.sleep(wait)
    rates = rates_between(before, read())
    history = History()
    history.record(rates)
    clock = time.strftime("%H:%M:%S")
    console.print(frame(rates, history, width=console.width, clock=clock, keys=False))


def _show_live(
    read: Callable[[], Snapshot], choices: Choices, wait_for_keys: WaitForKeys, console: Console
) -> None:
    history = History()
    latest = read()
    rates = rates_between(None, latest)
    clock = time.strftime("%H:%M:%S")
    wait = min(_FIRST_WAIT, choices.interval)
    last_read = time.monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not choices.done:
            live.update(
                frame(
                    rates,
                    history,
                    width=console.width,
                    height=console.height,
                    sort=choices.sort,
                    paused=choices.paused,
                    interval=choices.interval,
                    clock=clock,
                ),
                refresh=True,
            )
            due = last_read + wait - time.monotonic()
            for key in wait_for_keys(_PAUSE_WAIT if choices.paused else max(0.0, due)):
                choices = press(choices, key)
                wait = choices.interval
            if not choices.paused and time.monotonic() >= last_read + wait:
                before, latest = latest, read()
                last_read = time.monotonic()
                rates = rates_between(before, latest)
                history.record(rates)
                clock = time.strftime("%H:%M:%S")
                wait = choices.interval


@contextlib.contextmanager
def _typed_keys() -> Iterator[WaitForKeys]:
    """Have the terminal hand over keys one by one and unseen; it is restored at the end."""
    if not sys.stdin.isatty():
        # Nobody can type: the view runs until it is interrupted.
        yield _wait_without_keys
        return
    descriptor = sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield lambda seconds: _read_keys(descriptor, seconds)
    finally:
        # A terminal that is gone cannot be restored; what made it go is the error to report.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


def _wait_without_keys(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _read_keys(descriptor: int, seconds: float) -> str:
    ready, _, _ = select.select([descriptor], [], [], seconds)
    if not ready:
        return ""
    typed = os.read(descriptor, 64)
    if not typed:
        return _CTRL_D
    return _ESCAPE_SEQUENCE.sub("", typed.decode(errors="replace"))


@contextlib.contextmanager
def _restoring_when_terminated() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, so that it too leaves a usable terminal."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ExitStatus.INTERRUPTED)

    previous = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
