"""A terminal for programs that draw on one."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_UNWANTED = ("COLUMNS", "LINES", "NO_COLOR")


class Terminal:
    """A pseudo-terminal of 24 lines with a program in it.

    Args:
        command: what to run.
        columns: characters of a line.
    """

    def __init__(self, command: Sequence[str], columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, columns))
        self.attributes = termios.tcgetattr(self.slave)
        self.shown = ""
        plain = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=plain | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Read what is shown until the text has come, from now on."""
        self.shown = ""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            assert ready, f"{text!r} did not come within {seconds} s: {self.shown[-2000:]!r}"
            self.shown += os.read(self.master, 65536).decode(errors="replace")

    def type(self, keys: str) -> None:
        """Type keys, as a terminal sends them."""
        os.write(self.master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size."""
        termios.tcsetwinsize(self.slave, (rows, columns))
        self.process.send_signal(signal.SIGWINCH)

    def left(self) -> int:
        """Wait until the alternate screen is left and the program has ended; return its status."""
        self.wait_for("\x1b[?1049l")
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """End the program."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def in_terminal(command: Sequence[str], columns: int = 80) -> Iterator[Terminal]:
    """Have a program in a terminal for the length of the block."""
    terminal = Terminal(command, columns)
    try:
        yield terminal
    finally:
        terminal.close()
