"""The live view's loop: it reads counters and keys; what they look like is ``view.top``'s."""

from __future__ import annotations

import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from rich.console import Console

from pydsr.model.addresses import Endpoint
from pydsr.model.errors import ExitStatus, InputError, PydsrError
from pydsr.model.rates import History, rates_between
from pydsr.model.snapshot import Snapshot
from pydsr.views.top import lines
from pydsr.views.top.background import Background
from pydsr.views.top.choices import MAX_INTERVAL, MIN_INTERVAL, Choices, Page, press
from pydsr.views.top.keys import REDRAW, Keyboard
from pydsr.views.top.lines import Line, Lines
from pydsr.views.top.moment import Health, MacAges, Moment, health_by_backend
from pydsr.views.top.selection import select
from pydsr.views.top.top import frame

_FIRST_WAIT = 0.5
"""Seconds until the first rates: nobody wants to look at zeros for a whole long interval."""

_HEALTH_WAIT = 1.0
"""Seconds that one frame waits for the daemon."""

_OBJECTS_BETWEEN_COLLECTIONS = 100_000


@dataclass(frozen=True)
class Sources:
    """Where the view has its data from.

    Attributes:
        snapshot: reads all counters now.
        health: asks the daemon, whose document it returns; fails where there is none.
        mac_ages: asks the kernel when it last heard which neighbour.
    """

    snapshot: Callable[[], Snapshot]
    health: Callable[[], Mapping[str, Any]] = dict
    mac_ages: Callable[[], MacAges] = dict


class _Watch:
    """Follows the sources.

    Args:
        sources: where the data comes from.
    """

    def __init__(self, sources: Sources) -> None:
        self._read = sources.snapshot
        self._health = Background[Health](lambda: health_by_backend(sources.health()), {})
        self._ages = Background[MacAges](sources.mac_ages, {})
        self._latest: Snapshot | None = sources.snapshot()
        self._history = History()
        self.moment = Moment(rates_between(None, self._latest), self._history, clock=_clock())
        self.ask(with_ages=True)

    def read(self) -> None:
        """Read the counters; where that fails, say so beside the last ones that were read."""
        try:
            now = self._read()
        except PydsrError as problem:
            self._latest = None
            self.moment = replace(self.moment, problem=problem, clock=_clock())
            return
        rates = rates_between(self._latest, now)
        self._latest = now
        self._history.record(rates)
        self.moment = replace(self.moment, rates=rates, clock=_clock(), problem=None)

    def wait(self, seconds: float) -> None:
        """Give the slower sources so much time to answer."""
        for source in (self._health, self._ages):
            source.wait(seconds)
        self.ask(with_ages=True)

    def ask(self, *, with_ages: bool) -> None:
        """Add what the slower sources have answered; of ages only where they are shown."""
        self.moment = replace(self.moment, health=self._health.latest())
        if with_ages:
            self.moment = replace(self.moment, mac_ages=self._ages.latest())


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def take_moment(sources: Sources, choices: Choices) -> Moment:
    """Return the rates of the next interval, at most a second, and whatever is known by then.

    Raises:
        InputError: the interval is out of range.
    """
    _check(choices)
    watch = _Watch(sources)
    time.sleep(min(choices.interval, 1.0))
    watch.read()
    watch.wait(_HEALTH_WAIT)
    return watch.moment


def _check(choices: Choices) -> None:
    if not MIN_INTERVAL <= choices.interval <= MAX_INTERVAL:
        raise InputError(
            f"the interval {choices.interval:g} is out of range",
            f"use {MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds",
        )


def show_once(sources: Sources, choices: Choices, console: Console) -> None:
    """Print one frame, made of two readings at most a second apart; no terminal is needed.

    Raises:
        InputError: the interval is out of range.
    """
    drawn = frame(take_moment(sources, choices), choices, width=console.width, keys=False)
    console.print(Lines([_without_end(one) for one in drawn]), soft_wrap=True, end="")


def _without_end(one: Line) -> Line:
    """Return a line without the blanks at its end."""
    while one and not one[-1][0].rstrip():
        one = one[:-1]
    return (*one[:-1], (one[-1][0].rstrip(), one[-1][1])) if one else one


def run_live(sources: Sources, choices: Choices, console: Console) -> None:
    """Show the counters until the user quits.

    Args:
        sources: where the data comes from.
        choices: what is shown first.
        console: where to draw.

    Raises:
        InputError: the interval is out of range, or stdout is no terminal that can be redrawn.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is restored by then.
    """
    _check(choices)
    if not console.file.isatty() or console.is_dumb_terminal:
        raise InputError(
            "the live view needs a terminal that can be redrawn",
            "use `pydsr top --once` for one frame, or `pydsr stats --watch 1`",
        )
    watch = _Watch(sources)
    with (
        _restoring_when_terminated(),
        _collecting_seldom(),
        Keyboard().entered() as keyboard,
        console.screen(),
    ):
        _follow(watch, choices, keyboard, _Screen(console))


def _follow(watch: _Watch, choices: Choices, keyboard: Keyboard, screen: _Screen) -> None:
    last_read = time.monotonic()
    wait = min(_FIRST_WAIT, choices.interval)
    while not choices.done:
        watch.ask(with_ages=choices.page is Page.SERVICE)
        screen.draw(watch.moment, choices)
        due = last_read + wait - time.monotonic()
        for key in keyboard.wait(choices.interval if choices.paused else max(0.0, due)):
            if key == REDRAW:
                screen.forget()
            choices = press(choices, key, _shown(watch.moment, choices))
            wait = choices.interval
        if not choices.paused and time.monotonic() >= last_read + wait:
            watch.read()
            last_read, wait = time.monotonic(), choices.interval


def _shown(moment: Moment, choices: Choices) -> list[Endpoint]:
    return [one.endpoint for one in select(moment, choices.filter, choices.sort)]


class _Screen:
    """What is on the terminal: of a frame, only the lines are written that are not there yet."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = (0, 0)
        self._drawn: list[Line] = []

    def forget(self) -> None:
        """Have the next frame written as a whole."""
        self._size = (0, 0)

    def draw(self, moment: Moment, choices: Choices) -> None:
        """Show a frame."""
        width, height = self._console.size
        if (width, height) != self._size:
            self._size = (width, height)
            self._drawn = []
        found = frame(moment, choices, width=width, height=height)
        # By one write: nothing flickers.
        with self._console:
            for row, one in enumerate(found):
                if row >= len(self._drawn) or one != self._drawn[row]:
                    segments = lines.segments(lines.fitted(one, width))
                    self._console.update_screen_lines([segments], 0, row)
        self._drawn = found


@contextlib.contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for cycles in memory seldom: a frame is of thousands of objects, which form none."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


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
