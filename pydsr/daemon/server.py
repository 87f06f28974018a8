"""What the daemon answers over its unix socket, in lines of JSON.

Events, those of the past and then those that come; the health of backends; what metrics take.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydsr.model.errors import PermissionDeniedError, PydsrError
from pydsr.model.events import Event, EventLog

_log = logging.getLogger(__name__)

FOLLOW = b"follow\n"
PAST = b"past\n"
HEALTH = b"health\n"
METRICS = b"metrics\n"
"""What a client asks for, in one line."""

_ASK_SECONDS = 5.0
_WAITING_EVENTS = 1000
"""How many events a follower may be behind before it is let go."""


class NoDaemonError(PydsrError):
    """No daemon answers."""


class EventServer:
    """Serves an event log to whoever may open its socket.

    Args:
        log: the events.
        path: of the socket; what a dead daemon left there is replaced.
        documents: what is answered to other questions, as JSON has it.
    """

    def __init__(
        self, log: EventLog, path: Path, documents: Mapping[bytes, Callable[[], object]]
    ) -> None:
        self._documents = documents
        self._log = log
        self._path = path
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until it is cancelled; the socket is removed then."""
        server = await asyncio.start_unix_server(self._accept, sock=_listening(self._path))
        async with server:
            try:
                await server.serve_forever()
            finally:
                self._path.unlink(missing_ok=True)
                # Closing the server waits for them.
                for client in self._clients:
                    client.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients.add(task)
        try:
            await task
        except (OSError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            _log.debug("a reader of events has gone: %s", error)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_ASK_SECONDS):
            asked = await reader.readline()
        if asked in self._documents:
            writer.write(json.dumps(self._documents[asked]()).encode() + b"\n")
            await writer.drain()
            return
        follower = _Follower()
        end = self._log.subscribe(follower.hear) if asked == FOLLOW else None
        try:
            for event in self._log.past():
                writer.write(_line(event))
            await writer.drain()
            if end is not None:
                await _pass_on(follower, reader, writer)
        finally:
            if end is not None:
                end()


def _line(event: Event) -> bytes:
    return event.line().encode() + b"\n"


class _Follower:
    """Keeps events for one reader until it takes them."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Event] = asyncio.Queue(_WAITING_EVENTS)
        self.is_too_slow = asyncio.Event()

    def hear(self, event: Event) -> None:
        if self.waiting.full():
            self.is_too_slow.set()
        else:
            self.waiting.put_nowait(event)


async def _pass_on(
    follower: _Follower, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write events until the reader hangs up or is too slow."""

    async def write() -> None:
        while True:
            writer.write(_line(await follower.waiting.get()))
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
        while not follower.waiting.empty():
            writer.write(_line(follower.waiting.get_nowait()))


def _listening(path: Path) -> socket.socket:
    """Return a socket that listens at a path which only its owner may open."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    return listening


def read_events(path: Path, follow: bool) -> Iterator[str]:
    """Yield the events of a running daemon as lines of JSON.

    Args:
        path: of its socket.
        follow: go on with those that come, until the daemon ends.

    Raises:
        PydsrError: no daemon is there.
    """
    return _asked(path, FOLLOW if follow else PAST)


def read_health(path: Path) -> dict[str, Any]:
    """Return what a running daemon holds of the health of backends.

    Raises:
        NoDaemonError: no daemon is there.
        PermissionDeniedError: not privileged.
    """
    return _document(path, HEALTH)


def read_metrics(path: Path) -> dict[str, Any]:
    """Return what a running daemon says of itself, for metrics.

    Raises:
        NoDaemonError: no daemon is there, or it does not answer in time.
        PermissionDeniedError: not privileged.
    """
    return _document(path, METRICS)


def _document(path: Path, question: bytes) -> dict[str, Any]:
    try:
        # An answer that is cut off, as by the daemon's end, is no document.
        document: dict[str, Any] = json.loads(next(_asked(path, question, _ASK_SECONDS), ""))
    except (OSError, ValueError):
        raise NoDaemonError(
            f"the pydsr daemon at {path} does not answer", "its log may say why"
        ) from None
    return document


def _asked(path: Path, question: bytes, seconds: float | None = None) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path))
        except PermissionError:
            raise PermissionDeniedError(
                f"asking the daemon at {path} is not permitted", "run as root (sudo)"
            ) from None
        except OSError:
            raise NoDaemonError(
                f"no pydsr daemon answers at {path}",
                "start one: pydsr run FILE; --bpffs and --runtime-directory name another",
            ) from None
        connection.sendall(question)
        with connection.makefile(encoding="utf-8") as lines:
            for line in lines:
                yield line.rstrip("\n")
