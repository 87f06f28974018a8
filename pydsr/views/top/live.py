"""The loop of the live view: read counters and keys, and draw frames."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from rich.console import Console

from pydsr.model.errors import InputError, PydsrError
from pydsr.model.rates import History, rates_between
from pydsr.model.snapshot import Snapshot
from pydsr.views.text.lines import Line, Lines
from pydsr.views.top.choices import MAX_INTERVAL, MIN_INTERVAL, Choices, Page, press
from pydsr.views.top.frame import frame
from pydsr.views.top.moment import Health, MacAges, Moment, health_by_backend
from pydsr.views.top.selection import select
from pydsr.views.top.terminal import REDRAW, Keyboard, Screen, restored_on_sigterm

if TYPE_CHECKING:
    from pydsr.views.json.document_types import HealthDocument

_FIRST_WAIT = 0.5
"""Seconds until the first rates, even if the interval is longer."""

_HEALTH_WAIT = 1.0
"""Seconds that a single frame waits for the daemon."""

_OBJECTS_BETWEEN_COLLECTIONS = 100_000

_PAUSE_SECONDS = 2.0
_PAUSE_TIMES = 200
"""The pause after a background query, times its CPU time: it uses half a percent of a CPU."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Sources:
    """The functions that provide the data.

    Attributes:
        snapshot: reads all counters.
        health: returns the daemon's health document; raises PydsrError if no daemon runs.
        mac_ages: returns when the kernel last confirmed each neighbour.
    """

    snapshot: Callable[[], Snapshot]
    health: Callable[[], HealthDocument] = lambda: {"services": []}
    mac_ages: Callable[[], MacAges] = dict


class BackgroundQuery(Generic[_Answer]):
    """A slow query, repeated in a thread, so that no frame waits for it.

    Args:
        query: may take long, or raise PydsrError or OSError.
        default: the answer before the first query ends, and after one that failed.
        pause: least seconds between two queries.
    """

    def __init__(
        self, query: Callable[[], _Answer], default: _Answer, pause: float = _PAUSE_SECONDS
    ) -> None:
        self._query = query
        self._default = default
        self._answer = default
        self._pause = pause
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def latest(self) -> _Answer:
        """Return the latest answer, and start the next query if it is due."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and time.monotonic() >= self._due:
            # A daemon thread: a query that hangs does not keep the program from ending.
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self._answer

    def wait(self, seconds: float) -> None:
        """Wait for the running query, at most some seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        begun = time.thread_time()
        try:
            self._answer = self._query()
        except (PydsrError, OSError):
            self._answer = self._default
        took = time.thread_time() - begun
        self._due = time.monotonic() + max(self._pause, _PAUSE_TIMES * took)


class _Watch:
    """The current moment, updated from the sources."""

    def __init__(self, sources: Sources) -> None:
        self._read = sources.snapshot
        self._health = BackgroundQuery[Health](lambda: health_by_backend(sources.health()), {})
        self._ages = BackgroundQuery[MacAges](sources.mac_ages, {})
        self._latest: Snapshot | None = sources.snapshot()
        self._history = History()
        self.moment = Moment(rates_between(None, self._latest), self._history, clock=_clock())
        self.update_background(with_ages=True)

    def read(self) -> None:
        """Read the counters; if that fails, keep the last ones and note the problem."""
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
        """Wait for the background queries, at most some seconds each."""
        for query in (self._health, self._ages):
            query.wait(seconds)
        self.update_background(with_ages=True)

    def update_background(self, *, with_ages: bool) -> None:
        """Adopt the latest answers; MAC ages only if a page shows them."""
        self.moment = replace(self.moment, health=self._health.latest())
        if with_ages:
            self.moment = replace(self.moment, mac_ages=self._ages.latest())


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def take_moment(sources: Sources, choices: Choices) -> Moment:
    """Return the rates over one interval of at most a second, with health and MAC ages.

    Raises:
        InputError: the interval is out of range.
    """
    _check_interval(choices)
    watch = _Watch(sources)
    time.sleep(min(choices.interval, 1.0))
    watch.read()
    watch.wait(_HEALTH_WAIT)
    return watch.moment


def _check_interval(choices: Choices) -> None:
    if not MIN_INTERVAL <= choices.interval <= MAX_INTERVAL:
        raise InputError(
            f"the interval {choices.interval:g} is out of range",
            f"use {MIN_INTERVAL:g} to {MAX_INTERVAL:g} seconds",
        )


def show_once(sources: Sources, choices: Choices, console: Console) -> None:
    """Print one frame, on a terminal or not; raises InputError as :func:`take_moment` does."""
    drawn = frame(take_moment(sources, choices), choices, width=console.width, keys=False)
    console.print(Lines([_right_stripped(line) for line in drawn]), soft_wrap=True, end="")


def _right_stripped(line: Line) -> Line:
    while line and not line[-1][0].rstrip():
        line = line[:-1]
    return (*line[:-1], (line[-1][0].rstrip(), line[-1][1])) if line else line


def run_live(sources: Sources, choices: Choices, console: Console) -> None:
    """Show the live view until the user quits.

    Raises:
        InputError: the interval is out of range, or stdout is no terminal that can be redrawn.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal has been restored.
    """
    _check_interval(choices)
    if not console.file.isatty() or console.is_dumb_terminal:
        raise InputError(
            "the live view needs a terminal that can be redrawn",
            "use `pydsr top --once` for one frame, or `pydsr stats --watch 1`",
        )
    watch = _Watch(sources)
    with (
        restored_on_sigterm(),
        _rare_garbage_collection(),
        Keyboard().entered() as keyboard,
        console.screen(),
    ):
        _follow(watch, choices, keyboard, Screen(console))


def _follow(watch: _Watch, choices: Choices, keyboard: Keyboard, screen: Screen) -> None:
    last_read = time.monotonic()
    wait = min(_FIRST_WAIT, choices.interval)
    while not choices.done:
        watch.update_background(with_ages=choices.page is Page.SERVICE)
        width, height = size = screen.size
        screen.draw(frame(watch.moment, choices, width=width, height=height), size)
        due = last_read + wait - time.monotonic()
        for key in keyboard.wait(choices.interval if choices.paused else max(0.0, due)):
            if key == REDRAW:
                screen.forget()
            visible = select(watch.moment, choices.filter, choices.sort)
            choices = press(choices, key, [service.endpoint for service in visible])
            wait = choices.interval
        if not choices.paused and time.monotonic() >= last_read + wait:
            watch.read()
            last_read, wait = time.monotonic(), choices.interval


@contextlib.contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Collect cycles rarely: a frame has thousands of objects, and they form no cycles."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
