"""The daemon's socket: how long clients are served, and who may open it."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pydsr.daemon import client
from pydsr.daemon.client import FOLLOW, HEALTH, PAST, NoDaemonError, read_events, read_health
from pydsr.daemon.event_server import EventServer
from pydsr.model.errors import PermissionDeniedError
from pydsr.model.events import Event, EventKind, EventLog
from tests.support.virtual_time import run_in_virtual_time

HOUR = 3600.0
LONG = "x" * 5000
"""A cause: a hundred of them fill the buffers of a socket."""


def event(cause: str = "why") -> Event:
    return Event(EventKind.LINK_UP, "eth0", cause)


class CountedLog(EventLog):
    """A log that counts its listeners."""

    listeners = 0

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.listeners += 1
        unsubscribe = super().subscribe(listener)

        def end() -> None:
            self.listeners -= 1
            unsubscribe()

        return end


@dataclass
class Served:
    """A served log."""

    path: Path
    log: CountedLog = field(default_factory=CountedLog)
    task: asyncio.Task[None] | None = None
    clients: list[socket.socket] = field(default_factory=list)

    async def connect(self, request: bytes) -> socket.socket:
        """Return a client that has sent a request, and reads nothing by itself."""
        loop, connection = asyncio.get_running_loop(), socket.socket(socket.AF_UNIX)
        self.clients.append(connection)
        connection.setblocking(False)
        await loop.sock_connect(connection, str(self.path))
        await loop.sock_sendall(connection, request)
        # Until the request is read and answered as far as the buffers allow.
        await asyncio.sleep(0.01)
        return connection

    async def end(self) -> None:
        """End as the daemon does."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """Serve a log, and an empty document of health."""
    made = Served(folder / "socket")
    documents: dict[bytes, Callable[[], object]] = {HEALTH: lambda: {"services": []}}
    made.task = asyncio.create_task(EventServer(made.log, made.path, documents).run())
    while not made.path.is_socket():
        await asyncio.sleep(0.01)
    yield made
    await made.end()
    for connection in made.clients:
        connection.close()


async def rest_of(connection: socket.socket) -> list[int]:
    """Return the numbers of the events that a client gets until the end."""
    data, loop = b"", asyncio.get_running_loop()
    while more := await loop.sock_recv(connection, 1 << 20):
        data += more
    connection.close()
    return [json.loads(line)["number"] for line in data.splitlines()]


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed a connection."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not any(events & select.POLLHUP for _, events in poll.poll(0))


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o022])
def test_only_the_owner_may_open_the_socket(tmp_path: Path, umask: int) -> None:
    """Whatever the umask is, which stays as it was."""

    async def main() -> int:
        async with served(tmp_path) as server:
            return server.path.stat().st_mode & 0o7777

    before = os.umask(umask)
    try:
        mode = run_in_virtual_time(main())
    finally:
        after = os.umask(before)
    assert (0o600, umask) == (mode, after)


@pytest.mark.parametrize(("events", "received"), [(1000, 1001), (1001, 1000)])
def test_a_follower_may_fall_a_thousand_events_behind(
    tmp_path: Path, events: int, received: int
) -> None:
    """With one more it is disconnected, after those that it can still get."""

    async def main() -> list[int]:
        async with served(tmp_path) as server:
            follower = await server.connect(FOLLOW)
            for _ in range(events):
                server.log.record(event())
            reading = asyncio.ensure_future(rest_of(follower))
            await asyncio.sleep(1)
            server.log.record(event())
            await server.end()
            assert 0 == server.log.listeners
            return await reading

    assert [*range(1, received + 1)] == run_in_virtual_time(main())


def test_a_follower_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with served(tmp_path) as server:
            follower = await server.connect(FOLLOW)
            following = server.log.listeners
            follower.close()
            await asyncio.sleep(1)
            return following, server.log.listeners

    assert (1, 0) == run_in_virtual_time(main())


def test_past_events_can_be_read_page_by_page(tmp_path: Path) -> None:
    """Nothing is cut off, however long the user takes."""

    async def main() -> list[int]:
        async with served(tmp_path) as server:
            for _ in range(100):
                server.log.record(event(LONG))
            connection = await server.connect(PAST)
            await asyncio.sleep(HOUR)
            return await rest_of(connection)

    assert [*range(1, 101)] == run_in_virtual_time(main())


@pytest.mark.parametrize("request_sent", [PAST, FOLLOW, b""])
def test_a_client_that_reads_nothing_does_not_hold_up_the_end(
    tmp_path: Path, request_sent: bytes
) -> None:
    """Its connection is closed, and what it has not read is lost."""

    async def main() -> tuple[bool, bool]:
        async with served(tmp_path) as server:
            for _ in range(100):
                server.log.record(event(LONG))
            connection = await server.connect(request_sent)
            before = is_open(connection)
            await server.end()
            return before, is_open(connection)

    assert (True, False) == run_in_virtual_time(main())


def test_a_client_that_reads_gets_every_event_at_the_end(tmp_path: Path) -> None:
    """Even if they do not fit into the buffers of a socket."""

    async def main() -> list[int]:
        async with served(tmp_path) as server:
            follower = await server.connect(FOLLOW)
            for _ in range(100):
                server.log.record(event(LONG))
            reading = asyncio.ensure_future(rest_of(follower))
            await server.end()
            return await reading

    assert [*range(1, 101)] == run_in_virtual_time(main())


@pytest.mark.parametrize(("seconds", "still_open"), [(4.9, True), (5.1, False)])
def test_a_client_without_a_request_is_disconnected_after_five_seconds(
    tmp_path: Path, seconds: float, still_open: bool
) -> None:
    async def main() -> bool:
        async with served(tmp_path) as server:
            connection = await server.connect(b"pas")
            await asyncio.sleep(seconds - 0.01)
            return is_open(connection)

    assert still_open == run_in_virtual_time(main())


def test_a_request_without_an_end_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback is logged."""

    async def main() -> bool:
        async with served(tmp_path) as server:
            connection = await server.connect(b"x" * 100_000)
            await asyncio.sleep(0.1)
            return is_open(connection)

    assert not run_in_virtual_time(main())
    assert [] == caplog.messages


def test_a_document_is_one_line(tmp_path: Path) -> None:
    async def main() -> bytes:
        async with served(tmp_path) as server:
            connection = await server.connect(HEALTH)
            return await asyncio.get_running_loop().sock_recv(connection, 1000)

    assert b'{"services": []}\n' == run_in_virtual_time(main())


# Clients


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a daemon that hangs."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        yield server


@pytest.mark.usefixtures("listening")
def test_past_events_of_a_daemon_that_hangs_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(NoDaemonError, match="does not answer"):
        next(read_events(tmp_path / "socket", follow=False))


@pytest.mark.parametrize("follow", [False, True])
def test_a_daemon_that_ends_before_it_reads_the_request_is_none(
    tmp_path: Path, listening: socket.socket, follow: bool
) -> None:
    """The kernel resets such a connection."""

    def end() -> None:
        connection, _ = listening.accept()
        connection.recv(1)
        connection.close()

    daemon = threading.Thread(target=end)
    daemon.start()
    with pytest.raises(NoDaemonError, match="does not answer"):
        next(read_events(tmp_path / "socket", follow=follow))
    daemon.join()


def test_a_socket_that_may_not_be_opened_is_told_from_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoDaemonError, match="no pydsr daemon answers"):
        read_health(tmp_path / "none")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(PermissionDeniedError, match="no permission to ask the daemon"):
        read_health(tmp_path / "none")
