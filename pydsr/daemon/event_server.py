"""Answer clients on the daemon's unix socket with lines of JSON: events, health and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from pydsr.daemon.client import FOLLOW
from pydsr.model.events import Event, EventLog

_log = logging.getLogger(__name__)

_REQUEST_SECONDS = 5.0
_LAST_LINES_SECONDS = 1.0
"""How long clients may take for their last lines when the daemon ends."""

_QUEUED_EVENTS_MAX = 1000
"""A follower that falls further behind is disconnected."""


class EventServer:
    """Serves the event log and other documents to clients that may open the socket.

    Args:
        log: the events.
        path: of the socket; a dead daemon's socket is replaced.
        documents: by request, a function that returns the document to reply with.
    """

    def __init__(
        self, log: EventLog, path: Path, documents: Mapping[bytes, Callable[[], object]]
    ) -> None:
        self._documents = documents
        self._log = log
        self._path = path
        self._clients: set[asyncio.Task[object]] = set()

    async def run(self) -> None:
        """Serve until cancelled, then remove the socket."""
        server = await asyncio.start_unix_server(self._accept, sock=_listening_socket(self._path))
        try:
            # Server.serve_forever() and `async with` wait for clients since Python 3.12, and a
            # follower stays until it is cancelled.
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            self._path.unlink(missing_ok=True)
            # Even a client that reads nothing does not delay the end.
            clients = [*self._clients]
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
            writer.close()
            # As long as the client takes: a user may read its output page by page.
            await writer.wait_closed()
        except (OSError, asyncio.LimitOverrunError, ValueError) as error:
            _log.debug("a client of the daemon disconnected: %s", error)
        finally:
            await _close(writer)
            self._clients.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_REQUEST_SECONDS):
            request = await reader.readline()
        if request in self._documents:
            writer.write(json.dumps(self._documents[request]()).encode() + b"\n")
            await writer.drain()
            return
        follower = _Follower()
        unsubscribe = self._log.subscribe(follower.add) if request == FOLLOW else None
        try:
            for event in self._log.past():
                writer.write(_line(event))
            await writer.drain()
            if unsubscribe is not None:
                await _forward(follower, reader, writer)
        finally:
            if unsubscribe is not None:
                unsubscribe()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and drop what its client does not read in time."""
    writer.close()
    # Not asyncio.timeout: in a cancelled task, Python 3.11 raises no TimeoutError.
    closing = asyncio.ensure_future(writer.wait_closed())
    await asyncio.wait([closing], timeout=_LAST_LINES_SECONDS)
    if not closing.done():
        writer.transport.abort()
    await asyncio.gather(closing, return_exceptions=True)


def _line(event: Event) -> bytes:
    return event.line().encode() + b"\n"


class _Follower:
    """The queue of events for one client."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUED_EVENTS_MAX)
        self.is_too_slow = asyncio.Event()

    def add(self, event: Event) -> None:
        if self.queue.full():
            self.is_too_slow.set()
        else:
            self.queue.put_nowait(event)


async def _forward(
    follower: _Follower, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write events until the client hangs up or falls too far behind."""

    async def write() -> None:
        while True:
            writer.write(_line(await follower.queue.get()))
            await writer.drain()

    tasks = [
        asyncio.ensure_future(write()),
        asyncio.ensure_future(reader.read()),
        asyncio.ensure_future(follower.is_too_slow.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while not follower.queue.empty():
            writer.write(_line(follower.queue.get_nowait()))


def _listening_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Only root may open the socket, from the moment it exists.
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    return listening
