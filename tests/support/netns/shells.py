"""Interactive shells on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydsr.kernel.bpf.python_process import environment
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import DEADLINE_SECONDS

SHELLS = {
    "bash": (
        ("bash", "--norc", "--noprofile", "-i"),
        "source <(pydsr completion bash)",
    ),
    "zsh": (
        ("zsh", "-f", "-i"),
        "autoload -U compinit; compinit -u -D; source <(pydsr completion zsh)",
    ),
    "fish": (
        ("fish", "--no-config", "-i"),
        "pydsr completion fish | source",
    ),
}
"""How to start each shell, and to load the completion of pydsr in it."""

_TAB, _LINE_START, _ENTER = "\t", "\x01", "\r"
# In two parts, so that only what is printed has it whole, and not the line that is typed.
_MARK, _ECHO = "COMPLETED:", "echo 'COMPLE''TED:' "


@dataclass
class Shell:
    """A running shell; ``terminal`` is the descriptor of our end."""

    terminal: int
    seen: str = ""

    def complete(self, line: str) -> str:
        """Return the words of a line after pressing Tab at its end."""
        before = self.seen.count(_MARK)
        self.type(line + _TAB + _LINE_START + _ECHO + _ENTER)
        found = self._wait(rf"(?s)(?:.*?{_MARK}){{{before + 1}}} (.*?)\r?\n")
        return found.strip()

    def type(self, text: str) -> None:
        """Type keys."""
        os.write(self.terminal, text.encode())

    def _wait(self, pattern: str) -> str:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := re.match(pattern, self.seen)):
            left = deadline - time.monotonic()
            assert left > 0, f"nothing came: {self.seen!r}"
            if select.select([self.terminal], [], [], left)[0]:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        return found[1]


@contextmanager
def shell(name: str, pydsr: Pydsr, home: Path, wrapper: Sequence[str] = ()) -> Iterator[Shell]:
    """Run a shell with the completion loaded, on a balancer's host."""
    command, prepare = SHELLS[name]
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(home), "TERM": "dumb", "PYDSR_BPFFS": str(pydsr.bpffs)}
    process = subprocess.Popen(
        [*pydsr.host.prefix, *wrapper, "setsid", "--ctty", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment() | variables,
    )
    os.close(theirs)
    try:
        made = Shell(ours)
        made.type(prepare + _ENTER)
        yield made
    finally:
        process.kill()
        process.wait()
        os.close(ours)
