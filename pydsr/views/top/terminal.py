"""The terminal of the live view: keys from stdin, and frames to stdout."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from types import FrameType

from rich.console import Console

from pydsr.model.errors import ExitStatus
from pydsr.views.text import lines
from pydsr.views.text.lines import Line
from pydsr.views.top.choices import CTRL_D

REDRAW = "\x0c"
"""Ctrl-L: redraw everything, after another program has written on the screen."""

_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|[\s\S]")
"""What one key sends (ECMA-48, 5.4): an escape sequence, or a character."""

_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?$")
_LETTERS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_NAMES = {
    **{f"\x1b{mode}{letter}": name for mode in "[O" for letter, name in _LETTERS.items()},
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b": "esc",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_REST_SECONDS = 0.05
"""How long the rest of a sequence may take; later characters were typed after Esc."""


def split_keys(typed: str) -> list[str]:
    """Return the keys that were typed, without unknown escape sequences."""
    keys = (_NAMES.get(sequence, sequence) for sequence in _KEY.findall(typed))
    return [key for key in keys if not key.startswith("\x1b")]


class Keyboard:
    """The keys typed on stdin. If stdin is not a terminal, there are none, and time passes."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @contextlib.contextmanager
    def entered(self) -> Iterator[Keyboard]:
        """Read single keys without echo inside the block, and restore the terminal after it."""
        with _woken_by_resizing() as self._woken:
            if self._descriptor is None:
                yield self
                return
            saved = termios.tcgetattr(self._descriptor)
            try:
                tty.setcbreak(self._descriptor)
                yield self
            finally:
                # A closed terminal cannot be restored; the error that matters is the earlier one.
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, saved)

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys, or until the terminal is resized; return the keys."""
        typed = self._read(seconds)
        while _UNFINISHED.search(typed) and (rest := self._read(_REST_SECONDS)):
            typed += rest
        return split_keys(typed)

    def _read(self, seconds: float) -> str:
        stdin = [] if self._descriptor is None else [self._descriptor]
        ready, _, _ = select.select([self._woken, *stdin], [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 64)
        for descriptor in stdin:
            if descriptor in ready:
                octets = os.read(descriptor, 64)
                return self._decoder.decode(octets) if octets else CTRL_D
        return ""


@contextlib.contextmanager
def _woken_by_resizing() -> Iterator[int]:
    """Yield a descriptor that becomes readable when the terminal is resized."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        pass

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handler_before = signal.signal(signal.SIGWINCH, ignore)
    writer_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(writer_before)
        signal.signal(signal.SIGWINCH, handler_before)
        os.close(reader)
        os.close(writer)


class Screen:
    """The frame on the terminal; only lines that changed are written."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn_size = (0, 0)
        self._drawn: Sequence[Line] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal."""
        return self._console.size

    def forget(self) -> None:
        """Write the whole next frame."""
        self._drawn = ()

    def draw(self, frame: Sequence[Line], size: tuple[int, int]) -> None:
        """Show a frame that was made for a size."""
        if size != self._drawn_size:
            self._drawn_size = size
            self.forget()
        # One write for all lines, so that nothing flickers.
        with self._console:
            for row, line in enumerate(frame):
                if row >= len(self._drawn) or line != self._drawn[row]:
                    segments = lines.segments(lines.fitted(line, size[0]))
                    self._console.update_screen_lines([segments], 0, row)
        self._drawn = frame


@contextlib.contextmanager
def restored_on_sigterm() -> Iterator[None]:
    """Unwind the stack on SIGTERM as on Ctrl-C, so that the terminal is restored."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ExitStatus.INTERRUPTED)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
