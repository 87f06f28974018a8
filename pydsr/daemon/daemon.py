"""The life of the daemon: apply the file, run tasks until stopped, clean up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydsr import __version__
from pydsr.control.detach import detach
from pydsr.daemon.arp_conflicts import ArpConflictWatcher
from pydsr.daemon.client import HEALTH, METRICS, socket_path
from pydsr.daemon.event_server import EventServer
from pydsr.daemon.exporter_process import ExporterProcess
from pydsr.daemon.file_reload import FileReloader
from pydsr.daemon.garbage_collector import collect_garbage
from pydsr.daemon.health_monitor import HealthMonitor
from pydsr.daemon.instance import Instance, prepare_runtime
from pydsr.daemon.journal import log_event
from pydsr.daemon.netlink_tracker import NetlinkTracker
from pydsr.daemon.notify_hook import NotifyHook
from pydsr.daemon.process_tuning import trim_memory_regularly, tune_process
from pydsr.daemon.statistics import Statistics
from pydsr.daemon.systemd import SystemdNotifier
from pydsr.daemon.tasks import Task, keep_running
from pydsr.daemon.vrrp_address import VrrpAddressWatcher
from pydsr.model.desired_state import DesiredState
from pydsr.model.errors import PydsrError
from pydsr.model.events import Event, EventKind, EventLog

if TYPE_CHECKING:
    from pydsr.http.page.status_page import StatusPage
    from pydsr.model.listen import Listen

_LAST_EVENTS_SECONDS = 2.0
"""How long the notify command may take for queued events when the daemon ends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The options of ``pydsr run``.

    Attributes:
        directory: of the pins.
        file: the desired state.
        runtime: directory of the socket.
        notify: a command to run for each event; empty for none.
        detach_on_exit: whether to detach when the daemon ends.
        metrics: where to serve metrics; None for nowhere.
        web: where to serve the status page; None for nowhere.
    """

    directory: Path
    file: Path
    runtime: Path
    notify: tuple[str, ...] = ()
    detach_on_exit: bool = False
    metrics: Listen | None = None
    web: Listen | None = None


class Daemon:
    """Keeps a file in force on one balancer."""

    def __init__(self, options: Options) -> None:
        self._options = options
        directory = options.directory
        self._stop = asyncio.Event()
        self._events = EventLog()
        self._events.subscribe(log_event)
        self._statistics = Statistics()
        self._events.subscribe(self._statistics.count_event)
        self._systemd = SystemdNotifier(os.environ)
        self._instance = Instance(directory)
        record, changing = self._events.record, asyncio.Lock()
        self._vrrp_address = VrrpAddressWatcher(directory, record, changing)
        self._health = HealthMonitor(directory, record, self._statistics.count_check)
        self._reloader = FileReloader(
            directory,
            options.file,
            self._instance,
            self._health,
            record,
            self._stop,
            changing,
            self._vrrp_address.adopt,
        )
        self._tracker = NetlinkTracker(directory, record)
        self._arp_conflicts = ArpConflictWatcher(directory, record)
        self._hook = NotifyHook(options.notify) if options.notify else None
        self._page = self._status_page()

    def _status_page(self) -> StatusPage | None:
        if self._options.web is None:
            return None
        # Imported here, so that a daemon without a page does not keep an HTTP server in memory.
        from pydsr.http.page.status_page import StatusPage

        directory, listen = self._options.directory, self._options.web
        return StatusPage(directory, listen, self._events, self._health.document)

    def _tasks(self) -> dict[str, Task]:
        """Return the tasks to run until the daemon ends, by name.

        Each is a coroutine that never returns. It is restarted if it fails, and cancelled at the
        end.
        """
        options = self._options
        tasks: dict[str, Task] = {
            "tracking neighbours and links": self._tracker.run,
            "watching the file": self._reloader.watch,
            "reloading the file": self._reload_on_request,
            "adding backends that answer": lambda: self._reloader.add_waiting(self._on_added),
            "checking health": self._health.run,
            "watching for ARP conflicts": self._arp_conflicts.run,
            "watching for the VRRP address": self._vrrp_address.run,
            "collecting garbage": lambda: collect_garbage(options.directory),
            "trimming memory": trim_memory_regularly,
        }
        if self._hook:
            tasks["running the notify command"] = self._hook.run
        if options.metrics:
            exporter = ExporterProcess(options.directory, options.runtime, options.metrics)
            tasks["serving metrics"] = exporter.run
        if self._page:
            tasks["serving the status page"] = self._page.run
        if self._systemd.watchdog_seconds:
            tasks["feeding the watchdog"] = self._systemd.feed_watchdog
        return tasks

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            InputError: the file is invalid or cannot be applied; nothing is changed.
            BusyError: another daemon runs for these pins.
            PydsrError: the file cannot be applied.
        """
        tune_process()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.request, "SIGHUP")
        options = self._options
        path = socket_path(options.runtime, options.directory)
        desired = await self._reloader.load()
        await asyncio.to_thread(self._instance.acquire)
        try:
            prepare_runtime(options.runtime)
            documents = {HEALTH: self._health.document, METRICS: self._metrics_document}
            server = EventServer(self._events, path, documents)
            async with _in_background("serving events", server.run):
                await self._live(desired)
        finally:
            await asyncio.to_thread(self._instance.close)

    async def _live(self, desired: DesiredState) -> None:
        if self._hook:
            self._events.subscribe(self._hook.add)
        self._record(EventKind.STARTED, str(self._options.file), f"pydsr {__version__}")
        await self._reloader.start(desired)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(keep_running(*task)) for task in self._tasks().items()]
            self._systemd.ready(self._reloader.status)
            await self._stop.wait()
            self._systemd.stopping()
            for task in running:
                task.cancel()
        await self._end()

    def _metrics_document(self) -> dict[str, Any]:
        """Return the document for the metrics exporter."""
        return {
            "pid": os.getpid(),
            "health": self._health.document(),
            "waiting": self._reloader.waiting_count,
            **self._statistics.document(self._health.checked_services),
        }

    async def _reload_on_request(self) -> None:
        while True:
            await self._reloader.wait()
            self._systemd.reloading()
            try:
                if await self._reloader.reload():
                    self._statistics.keep_only(self._health.checked_services)
                    self._tracker.request_survey()
            finally:
                self._systemd.ready(self._reloader.status)

    def _on_added(self) -> None:
        """Make the other tasks notice backends that were added."""
        self._tracker.request_survey()
        self._health.update_routes()
        self._systemd.status(self._reloader.status)

    async def _end(self) -> None:
        if self._options.detach_on_exit:
            try:
                names = await asyncio.to_thread(detach, self._options.directory, [])
            except PydsrError as error:
                _log.error("cannot detach: %s", error.message)
            else:
                self._record(EventKind.DETACHED, ", ".join(names) or "nothing", "--detach-on-exit")
        else:
            cause = "the data plane keeps running"
            self._record(EventKind.STOPPING, str(self._options.file), cause)
        if self._hook:
            await self._hook.finish(_LAST_EVENTS_SECONDS)

    def _record(self, kind: EventKind, subject: str, cause: str) -> None:
        self._events.record(Event(kind, subject, cause))


@asynccontextmanager
async def _in_background(name: str, start: Task) -> AsyncIterator[None]:
    """Keep a task running for the length of the block."""
    task = asyncio.create_task(keep_running(name, start))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
