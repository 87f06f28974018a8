"""Keys typed at a terminal: characters, and names for those that send more than one."""

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
from collections.abc import Iterator
from types import FrameType

from pydsr.views.top.choices import CTRL_D

REDRAW = "\x0c"
"""Ctrl-L: draws everything again, where something else has written on the screen."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|[\s\S]")
"""What a key types (ECMA-48, 5.4): a sequence, or a character."""

_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?$")
_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
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
"""How long the rest of a sequence may take: what comes later was typed after the key Esc."""


def split_keys(typed: str) -> list[str]:
    """Return the keys that were typed; those that have no name here are left out."""
    keys = (_NAMES.get(found, found) for found in _SEQUENCE.findall(typed))
    return [key for key in keys if not key.startswith("\x1b")]


class Keyboard:
    """The terminal on stdin, handing over keys one by one and unseen while it is entered.

    Where stdin is no terminal nobody can type: only time passes.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @contextlib.contextmanager
    def entered(self) -> Iterator[Keyboard]:
        """Take the terminal over; it is restored at the end."""
        with _woken_by_resizing() as self._woken:
            if self._descriptor is None:
                yield self
                return
            saved = termios.tcgetattr(self._descriptor)
            try:
                tty.setcbreak(self._descriptor)
                yield self
            finally:
                # A terminal that is gone cannot be restored; what made it go is the error to tell.
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, saved)

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys, or until the terminal has another size; return the keys."""
        typed = self._read(seconds)
        while _UNFINISHED.search(typed) and (rest := self._read(_REST_SECONDS)):
            typed += rest
        return split_keys(typed)

    def _read(self, seconds: float) -> str:
        """Return what is typed within some seconds; empty for nothing."""
        typing = [] if self._descriptor is None else [self._descriptor]
        ready, _, _ = select.select([self._woken, *typing], [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 64)
        for descriptor in typing:
            if descriptor in ready:
                octets = os.read(descriptor, 64)
                return self._decoder.decode(octets) if octets else CTRL_D
        return ""


@contextlib.contextmanager
def _woken_by_resizing() -> Iterator[int]:
    """Yield a descriptor that can be read once the terminal has another size."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """Only wake."""

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGWINCH, ignore)
    woken_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken_before)
        signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)
