"""The daemon's life: apply the file, keep tasks running, reload, end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pydsr import __version__
from pydsr.control.detach import detach
from pydsr.daemon import configuring, watching
from pydsr.daemon.answering import AddressFollower
from pydsr.daemon.claims import ClaimWatcher
from pydsr.daemon.configuring import Applied, Waiting
from pydsr.daemon.exporter import Exporter
from pydsr.daemon.health_monitor import HealthMonitor
from pydsr.daemon.hook import Hook
from pydsr.daemon.journal import log_event
from pydsr.daemon.memory import give_back_memory, share_one_arena
from pydsr.daemon.options import Options
from pydsr.daemon.resting import bring_to_rest
from pydsr.daemon.runtime import Instance, prepare_runtime, socket_path
from pydsr.daemon.server import HEALTH, METRICS, EventServer
from pydsr.daemon.service_manager import ServiceManager
from pydsr.daemon.statistics import Statistics
from pydsr.daemon.supervision import Complaints, keep_running
from pydsr.daemon.tracking import Tracker
from pydsr.kernel.bpf.program import compile_apart
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import BusyError, PydsrError
from pydsr.model.events import Event, EventKind, EventLog

if TYPE_CHECKING:
    from pydsr.http.page.page import StatusPage

_SWITCH_SECONDS = 0.0005
"""How long one thread may keep the interpreter from another: a tenth of what is usual."""

_WAITING_SECONDS = 5.0
"""How often backends that do not answer are asked for again."""

_LAST_WORDS_SECONDS = 2.0
"""How long the notify command may take for the events that wait at the end."""

_log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[None]]


class Daemon:
    """Keeps one balancer as its file says.

    Args:
        options: what it is told.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._events = EventLog()
        self._events.subscribe(log_event)
        self._statistics = Statistics()
        self._events.subscribe(self._statistics.hear_event)
        self._manager = ServiceManager(os.environ)
        self._tracker = Tracker(options.directory, self._events.record)
        self._health = HealthMonitor(
            options.directory, self._events.record, self._statistics.hear_check
        )
        self._addresses = AddressFollower(options.directory, self._events.record)
        self._claims = ClaimWatcher(options.directory, self._events.record)
        self._hook = Hook(options.notify) if options.notify else None
        self._page = self._made_page()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._reload_cause = ""
        self._waiting: Waiting = {}
        self._complaints = Complaints(_log)

    def _made_page(self) -> StatusPage | None:
        if self._options.web is None:
            return None
        # Imported when it is used: a daemon that serves nothing does without a server in memory.
        from pydsr.http.page.page import StatusPage

        directory, listen = self._options.directory, self._options.web
        return StatusPage(directory, listen, self._events, self._health.document)

    def _tasks(self) -> dict[str, Task]:
        """Return what runs as long as the daemon does, by what it is for.

        Whatever is to run beside the rest is added here: a coroutine that never returns. It is
        started again where it fails, and cancelled at the end.
        """
        tasks: dict[str, Task] = {
            "following neighbours and links": self._tracker.run,
            "reloading": self._reload_when_asked,
            "adding backends that answer": self._add_waiting,
            "checking health": self._health.run,
            "asking who answers for VIPs": self._claims.run,
            "following this machine's addresses": self._addresses.run,
            "bringing slots to rest": lambda: bring_to_rest(self._options.directory),
            "giving memory back": give_back_memory,
        }
        if self._hook:
            tasks["notifying"] = self._hook.run
        if self._options.metrics:
            tasks["serving metrics"] = Exporter(self._options).run
        if self._page:
            tasks["serving the status page"] = self._page.run
        if self._manager.watchdog_seconds:
            tasks["feeding the watchdog"] = self._manager.feed_watchdog
        return tasks

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            InputError: the file is no configuration, or cannot be as it says; nothing is changed.
            BusyError: another daemon runs for these pins.
            PydsrError: the file cannot be applied.
        """
        share_one_arena()
        compile_apart()
        # A thread that changes tables waits for the interpreter after each call of the kernel.
        sys.setswitchinterval(_SWITCH_SECONDS)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._ask_for_reload, "SIGHUP")
        options = self._options
        path = socket_path(options.runtime, options.directory)
        stamp = watching.stamp_of(options.file)
        wanted = await asyncio.to_thread(configuring.load, options.file)
        instance = await asyncio.to_thread(Instance, options.directory)
        self._instance = instance
        try:
            prepare_runtime(options.runtime)
            documents = {HEALTH: self._health.document, METRICS: self._document}
            server = EventServer(self._events, path, documents)
            async with _in_background("serving events", server.run):
                await self._live(wanted, stamp)
        finally:
            await asyncio.to_thread(instance.close)

    async def _live(self, wanted: DesiredState, stamp: watching.Stamp | None) -> None:
        file = self._options.file
        if self._hook:
            self._events.subscribe(self._hook.tell)
        await self._start(wanted)
        tasks = self._tasks()
        tasks["watching the file"] = lambda: watching.watch(
            file, stamp, lambda: self._ask_for_reload(f"{file} has changed")
        )
        await self._run_until_stopped(tasks)
        await self._end()

    async def _run_until_stopped(self, tasks: dict[str, Task]) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(keep_running(*task)) for task in tasks.items()]
            self._manager.ready(self._status())
            await self._stop.wait()
            self._manager.stopping()
            for task in running:
                task.cancel()

    def _status(self) -> str:
        waiting = self._waiting_backends()
        return f"as in {self._options.file}" + (
            f", but {waiting} backends do not answer" if waiting else ""
        )

    def _waiting_backends(self) -> int:
        return sum(map(len, self._waiting.values()))

    # -- what is said of it

    def _document(self) -> dict[str, Any]:
        """Return what metrics say of the daemon and of health, as JSON has it."""
        return {
            "pid": os.getpid(),
            "health": self._health.document(),
            "waiting": self._waiting_backends(),
            **self._statistics.document(self._health.checked_services),
        }

    # -- the file

    async def _start(self, wanted: DesiredState) -> None:
        began = time.monotonic()
        file = str(self._options.file)
        self._event(EventKind.STARTED, file, f"pydsr {__version__}")
        applied = await self._apply(wanted)
        if applied is not None:
            self._tell_applied(EventKind.APPLIED, "start", applied, began)
            self._addresses.follow(wanted)

    async def _apply(self, wanted: DesiredState) -> Applied | None:
        """Apply a configuration, after any command that is at it; None where the end came first."""
        while not self._stop.is_set():
            await asyncio.to_thread(self._instance.hold)
            try:
                async with self._health.reloading(wanted) as by_health:
                    return await asyncio.to_thread(
                        configuring.apply_to_answering, self._options.directory, by_health
                    )
            except BusyError as error:
                self._complaints.say("busy", f"{error.message}: waiting for that")
        return None

    def _ask_for_reload(self, cause: str) -> None:
        self._reload_cause = cause
        self._reload.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._manager.reloading()
            try:
                await self._reload_now(self._reload_cause)
            finally:
                self._manager.ready(self._status())

    async def _reload_now(self, cause: str) -> None:
        began = time.monotonic()
        file = self._options.file
        try:
            wanted = await asyncio.to_thread(configuring.load, file)
            applied = await self._apply(wanted)
        except (PydsrError, OSError) as error:
            said = f"{cause}; nothing was changed: {_in_words(error)}"
            seconds = time.monotonic() - began
            self._event(EventKind.RELOAD_FAILED, str(file), said, seconds)
            return
        if applied is not None:
            self._tell_applied(EventKind.RELOADED, cause, applied, began)
            self._addresses.follow(wanted)
            self._tracker.look_again()

    def _tell_applied(self, kind: EventKind, cause: str, applied: Applied, began: float) -> None:
        changes = applied.impact.changes
        for note in applied.impact.notes:
            self._complaints.say(note, note)
        details = {
            "changes": configuring.described(changes),
            "changed": len(changes),
            "slots_moved": applied.impact.slots_moved,
        }
        said = f"{cause}: {configuring.in_words(changes)}"
        self._event(kind, str(self._options.file), said, time.monotonic() - began, details)
        self._waiting = applied.waiting
        for endpoint, backends in applied.waiting.items():
            for backend in backends:
                cause = "does not answer ARP/ND; it is added when it does"
                self._event(EventKind.BACKEND_WAITING, f"{endpoint} {backend.address}", cause)

    async def _add_waiting(self) -> None:
        directory = self._options.directory
        while True:
            await asyncio.sleep(_WAITING_SECONDS)
            waiting = self._waiting
            if not waiting:
                continue
            found = await asyncio.to_thread(configuring.answering, directory, waiting)
            # Another file may have been loaded meanwhile.
            if not found or self._waiting is not waiting:
                continue
            self._waiting, changes = await asyncio.to_thread(
                configuring.add_answering, directory, waiting, found
            )
            for change in changes:
                self._event(EventKind.BACKEND_ADDED, change.object, "answers ARP/ND now")
            self._tracker.look_again()
            self._health.update_routes()
            self._manager.status(self._status())

    # -- the end

    async def _end(self) -> None:
        file = str(self._options.file)
        if self._options.detach_on_exit:
            try:
                names = await asyncio.to_thread(detach, self._options.directory, [])
            except PydsrError as error:
                _log.error("the data plane cannot be detached: %s", error.message)
            else:
                self._event(EventKind.DETACHED, ", ".join(names) or "nothing", "--detach-on-exit")
        else:
            self._event(EventKind.STOPPING, file, "the data plane goes on")
        if self._hook:
            await self._hook.finish(_LAST_WORDS_SECONDS)

    def _event(
        self,
        kind: EventKind,
        what: str,
        cause: str,
        seconds: float | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        self._events.record(Event(kind, what, cause, seconds, details or {}))


def _in_words(error: PydsrError | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return f"{error.message}\n{error.hint}" if error.hint else error.message


@asynccontextmanager
async def _in_background(name: str, start: Task) -> AsyncIterator[None]:
    """Keep something running for the length of the block."""
    task = asyncio.create_task(keep_running(name, start))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
