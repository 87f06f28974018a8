"""The daemon as a service manager runs it, in a namespace."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydsr.kernel.bpf.python_process import environment
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import DEADLINE_SECONDS, eventually


@dataclass(frozen=True)
class Daemon:
    """A daemon with its files.

    Attributes:
        pydsr: the command for its balancer.
        folder: of its configuration, its log and its socket.
    """

    pydsr: Pydsr
    folder: Path

    @property
    def file(self) -> Path:
        """The file that it applies."""
        return self.folder / "balancer.yaml"

    @property
    def log(self) -> str:
        """Its log."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def runtime(self) -> tuple[str, str]:
        """The option with the directory of its socket."""
        return "--runtime-directory", str(self.folder)

    def write(self, text: str) -> None:
        """Replace the file as editors do, by renaming another one."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(self.file)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it without waiting."""
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [
                    *self.pydsr.host.prefix,
                    *self.pydsr.command("run", str(self.file), *self.runtime, *options),
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                text=True,
                env=environment(),
            )

    @contextmanager
    def running(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Run it in the block, with its file applied."""
        number = len(self.log)
        process = self.start(*options)
        try:
            assert eventually(lambda: "applied:" in self.log[number:] or process.poll() is not None)
            assert process.poll() is None, self.log
            yield process
        finally:
            process.kill()
            process.wait()
            assert "Traceback" not in self.log, self.log

    def ends(self) -> int:
        """Start it, wait for its end, and return its exit status."""
        process = self.start()
        try:
            return process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        """Stop it, and return its exit status."""
        process.send_signal(number)
        return process.wait(DEADLINE_SECONDS)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return its events."""
        done = self.pydsr("events", "--json", *self.runtime)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [event for event in found if kind in ("", event["event"])]

    def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for events of a kind, and return them."""
        found = eventually(lambda: (now := self.events(kind))[count - 1 :] and now)
        assert len(found) >= count, (kind, self.log)
        return found
