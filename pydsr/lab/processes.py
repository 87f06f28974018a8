"""Records of the processes that a lab has started, so that a later command can end them.

A record is an empty file named ``PID@STARTTIME``: the kernel reuses pids, but with the start time
one names a single process. Signals go through a pidfd, so that they hit no other process even if
the recorded one ends meanwhile (pidfd_open(2)).
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessRecords:
    """The records in a directory, which the first record creates."""

    directory: Path

    def add(self, pid: int) -> None:
        """Record a running process, or a child that has not been waited for."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / f"{pid}@{start_time(pid)}").touch(mode=0o600)

    def forget(self, pid: int) -> None:
        """Remove the record of a process that has ended."""
        for record in self.directory.glob(f"{pid}@*"):
            record.unlink(missing_ok=True)

    def end_all(self, grace_seconds: float = _GRACE_SECONDS) -> int:
        """End all recorded processes, delete their records, and return how many were running."""
        records = sorted(self.directory.glob("*@*"))
        with ExitStack() as stack:
            running = []
            for record in records:
                pid, _, started = record.name.partition("@")
                if (handle := _open(int(pid), started)) is not None:
                    stack.callback(os.close, handle)
                    running.append(handle)
            remaining = running
            for number in (signal.SIGTERM, signal.SIGKILL):
                remaining = _signal_and_wait(remaining, number, grace_seconds)
        for record in records:
            record.unlink(missing_ok=True)
        return len(running)


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since boot (proc_pid_stat(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    return stat.rpartition(")")[2].split()[19]


def _open(pid: int, started: str) -> int | None:
    """Return a pidfd of a recorded process; None if it has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    with suppress(ProcessLookupError):
        if start_time(pid) == started:
            return handle
    os.close(handle)
    return None


def _signal_and_wait(handles: list[int], number: signal.Signals, seconds: float) -> list[int]:
    """Signal processes, wait for their end, and return those that still run."""
    poller = select.poll()
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        poller.register(handle, select.POLLIN)
    remaining = set(handles)
    deadline = time.monotonic() + seconds
    while remaining and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(left * 1000):
            poller.unregister(handle)
            remaining.discard(handle)
    return [handle for handle in handles if handle in remaining]
