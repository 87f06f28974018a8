"""Reload the file when it changes, and add backends that answer late."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydsr.daemon import file_apply
from pydsr.daemon.file_apply import Applied, WaitingBackends
from pydsr.daemon.health_monitor import HealthMonitor
from pydsr.daemon.instance import Instance
from pydsr.daemon.tasks import WarnOnce
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, PydsrError
from pydsr.model.events import Event, EventKind
from pydsr.views.json.documents import change_document

POLL_SECONDS = 0.5
"""How often the file is examined. That costs a microsecond, and unlike inotify it also works
behind a chain of symbolic links (as Kubernetes mounts files) and over NFS."""

WAITING_SECONDS = 5.0
"""How often backends that do not answer are asked again."""

_SHOWN_CHANGES = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stamp:
    """Identifies the content of a file without reading it."""

    device: int
    inode: int
    modified: int
    size: int


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file; None if it is missing or cannot be examined."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


class ChangeDetector:
    """Decides from successive stamps when to reload a file. Pure.

    A change counts once two stamps in a row are the same, so that a file is not read while an
    editor writes it, and only if the file exists: some editors remove it for a moment.
    """

    def __init__(self, loaded: Stamp | None) -> None:
        self._loaded = loaded
        self._last = loaded

    def needs_reload(self, now: Stamp | None) -> bool:
        """Return whether to reload the file; its present stamp then counts as loaded."""
        is_stable = now == self._last
        self._last = now
        if now is None or not is_stable or now == self._loaded:
            return False
        self._loaded = now
        return True


class FileReloader:
    """Applies the file at the start, when it changes, and on request.

    The instance is acquired before each apply, because a purge releases it.

    Args:
        directory: of the pins.
        file: the desired state.
        instance: to acquire.
        health: of the backends; it adopts each desired state.
        record: receives each event.
        stop: set when the daemon is to stop.
        changing: held while a desired state, or a part of it, is written. Another task that holds
            it writes nothing that a reload has already replaced.
        adopt: called with each desired state that was applied, while ``changing`` is held.
    """

    def __init__(
        self,
        directory: Path,
        file: Path,
        instance: Instance,
        health: HealthMonitor,
        record: Callable[[Event], object],
        stop: asyncio.Event,
        changing: asyncio.Lock,
        adopt: Callable[[DesiredState], object],
    ) -> None:
        self._directory = directory
        self._file = file
        self._instance = instance
        self._health = health
        self._record = record
        self._stop = stop
        self._changing = changing
        self._adopt = adopt
        self._warnings = WarnOnce(_log)
        self._stamp: Stamp | None = None
        self._requested = asyncio.Event()
        self._cause = ""
        self._waiting: WaitingBackends = {}

    @property
    def waiting_count(self) -> int:
        """The number of backends that are not added because they do not answer."""
        return sum(map(len, self._waiting.values()))

    @property
    def status(self) -> str:
        """The state of the file in words, for ``systemctl status``."""
        waiting = self.waiting_count
        return f"as in {self._file}" + (
            f", but {waiting} backends do not answer" if waiting else ""
        )

    async def load(self) -> DesiredState:
        """Load the file without applying it.

        Raises:
            InputError: it is invalid or cannot be read.
        """
        self._stamp = stamp_of(self._file)
        return await asyncio.to_thread(file_apply.load, self._file)

    async def start(self, desired: DesiredState) -> None:
        """Apply the file for the first time, unless the daemon is stopped before.

        Raises:
            PydsrError: it cannot be applied.
        """
        began = time.monotonic()
        applied = await self._apply(desired)
        if applied is not None:
            self._report(EventKind.APPLIED, "start", applied, began)

    async def _apply(self, desired: DesiredState) -> Applied | None:
        """Apply a desired state, after any command that holds the lock; None if stopped."""
        while not self._stop.is_set():
            await asyncio.to_thread(self._instance.acquire)
            try:
                async with self._changing:
                    async with self._health.reloading(desired) as by_health:
                        applied = await asyncio.to_thread(
                            file_apply.apply_without_silent, self._directory, by_health
                        )
                    self._waiting = applied.waiting
                    self._adopt(desired)
            except BusyError as error:
                self._warnings.warn("busy", f"{error.message}: waiting")
            else:
                self._warnings.clear("busy")
                return applied
        return None

    # -- reloads

    def request(self, cause: str) -> None:
        """Reload the file as soon as possible."""
        self._cause = cause
        self._requested.set()

    async def watch(self) -> None:
        """Request a reload whenever the file changes; never returns."""
        detector = ChangeDetector(self._stamp)
        while True:
            if detector.needs_reload(stamp_of(self._file)):
                self.request(f"{self._file} has changed")
            await asyncio.sleep(POLL_SECONDS)

    async def wait(self) -> None:
        """Wait until a reload is requested."""
        await self._requested.wait()
        self._requested.clear()

    async def reload(self) -> bool:
        """Reload the file; return False if that fails, which changes nothing."""
        began, cause = time.monotonic(), self._cause
        try:
            desired = await asyncio.to_thread(file_apply.load, self._file)
            applied = await self._apply(desired)
        except (PydsrError, OSError) as error:
            message = f"{cause}; nothing was changed: {_in_words(error)}"
            seconds = time.monotonic() - began
            self._record(Event(EventKind.RELOAD_FAILED, str(self._file), message, seconds))
            return False
        if applied is None:
            return False
        self._report(EventKind.RELOADED, cause, applied, began)
        return True

    def _report(self, kind: EventKind, cause: str, applied: Applied, began: float) -> None:
        impact = applied.impact
        if impact.notes:
            self._warnings.warn("notes", "; ".join(impact.notes))
        else:
            self._warnings.clear("notes")
        count = len(impact.changes)
        details = {
            "changes": [change_document(change) for change in impact.changes[:_SHOWN_CHANGES]],
            "changed": count,
            "slots_moved": impact.slots_moved,
        }
        changes = f"{count} change{'s' * (count > 1)}" if count else "nothing to change"
        seconds = time.monotonic() - began
        self._record(Event(kind, str(self._file), f"{cause}: {changes}", seconds, details))
        for endpoint, backends in applied.waiting.items():
            for backend in backends:
                message = "does not answer ARP/ND; it is added when it does"
                subject = f"{endpoint} {backend.address}"
                self._record(Event(EventKind.BACKEND_WAITING, subject, message))

    # -- backends that answer late

    async def add_waiting(self, added: Callable[[], None]) -> None:
        """Add backends once they answer, and call ``added`` after that; never returns."""
        while True:
            await asyncio.sleep(WAITING_SECONDS)
            waiting = self._waiting
            if not waiting:
                continue
            answering = await asyncio.to_thread(file_apply.find_answering, self._directory, waiting)
            async with self._changing:
                # The file may have been reloaded meanwhile.
                if not answering or self._waiting is not waiting:
                    continue
                ready = file_apply.select(waiting, answering)
                done = await asyncio.to_thread(file_apply.add_backends, self._directory, ready)
                silent = {b.address for backends in waiting.values() for b in backends} - answering
                self._waiting = file_apply.select(waiting, silent)
            for endpoint, address in done:
                subject = f"{endpoint} {address}"
                self._record(Event(EventKind.BACKEND_ADDED, subject, "answers ARP/ND now"))
            added()


def _in_words(error: PydsrError | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return f"{error.message}\n{error.hint}" if error.hint else error.message
