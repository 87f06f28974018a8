"""The HTTP server with clients of every kind, and snapshots of a balancer that comes and goes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from pydsr.control.balancer import Balancer
from pydsr.http import server
from pydsr.http.server import AddressTakenError, new_application, serve
from pydsr.http.snapshot_reader import FRESH_SECONDS, SnapshotReader
from pydsr.lab.network import enter_namespace
from pydsr.model.errors import (
    EnvironmentCannotError,
    NotAttachedError,
    PermissionDeniedError,
    PydsrError,
)
from pydsr.model.listen import Listen
from pydsr.model.snapshot import Snapshot
from tests.support.netns.command import Pydsr
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host
from tests.support.virtual_time import run_in_virtual_time

HERE = Listen.parse("127.0.0.1:9477")
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
_T = TypeVar("_T")


def in_namespace(host: Host, run: Callable[[], Awaitable[_T]]) -> _T:
    async def whole() -> _T:
        return await run()

    with enter_namespace(host.name):
        return asyncio.run(whole())


def open_files() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def application() -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = new_application()
    app.router.add_get("/", answer)
    return app


@asynccontextmanager
async def served(listen: Listen = HERE) -> AsyncIterator[None]:
    """Serve for the length of the block."""
    task = asyncio.create_task(serve(application(), listen))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await is_listening(listen):
                await asyncio.sleep(0.01)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def is_listening(listen: Listen) -> bool:
    try:
        _, writer = await asyncio.open_connection(str(listen.address), listen.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def answer_to(sent: bytes) -> bytes:
    """Return the reply until the server closes the connection; empty after a reset."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(str(HERE.address), HERE.port)
        try:
            writer.write(sent)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (REQUEST + b"Connection: close\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9477\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"421"),
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
        (REQUEST + b"A: " + b"a" * 10_000 + b"\r\n\r\n", b"400"),
        (REQUEST + b"A: b\r\n" * 1000 + b"\r\n", b"400"),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"405"),
    ],
)
def test_a_request_gets_the_right_answer(
    lb: Host, sent: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """However odd it is, it causes no traceback in the log."""

    async def run() -> bytes:
        async with served():
            return await answer_to(sent)

    caplog.set_level(logging.DEBUG)
    answer = in_namespace(lb, run)
    assert (status, False) == (answer.split(b" ")[1][:3], "Traceback" in caplog.text)


def test_an_answer_does_not_name_the_software(lb: Host) -> None:
    """Scanners for vulnerable versions learn nothing."""

    async def run() -> bytes:
        async with served():
            return await answer_to(REQUEST + b"Connection: close\r\n\r\n")

    assert b"server:" not in in_namespace(lb, run).lower()


def test_a_connection_without_a_whole_request_is_closed(
    lb: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word, or without an end of the headers."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)

    async def run() -> tuple[bytes, bytes]:
        async with served():
            silent, endless = await asyncio.gather(answer_to(b""), answer_to(REQUEST))
            return silent, endless

    assert (b"", b"") == in_namespace(lb, run)


def test_connections_above_the_limit_are_closed_at_once(
    lb: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stay served, and new ones are accepted when these end."""
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 2)
    last = REQUEST + b"Connection: close\r\n\r\n"

    async def run() -> tuple[bytes, bytes, bytes]:
        async with served():
            await asyncio.sleep(0)
            held = [await asyncio.open_connection("127.0.0.1", HERE.port) for _ in range(2)]
            for reader, writer in held:
                writer.write(REQUEST + b"\r\n")
                await reader.readuntil(b"hello")
            refused = await answer_to(last)
            held[0][1].write(last)
            served_still = await held[0][0].read()
            while not (again := await answer_to(last)):
                pass
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            return refused, served_still[:15], again[:15]

    assert (b"", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK") == in_namespace(lb, run)


@pytest.mark.parametrize(
    ("listen", "kind", "words"),
    [
        ("127.0.0.1:9477", AddressTakenError, "another process listens at 127.0.0.1:9477"),
        ("192.0.2.9:9477", EnvironmentCannotError, "this host does not have the address 192.0.2.9"),
        ("[::1]:9477", AddressTakenError, r"another process listens at \[::1\]:9477"),
    ],
)
def test_a_server_that_cannot_listen_says_why(
    lb: Host, listen: str, kind: type[PydsrError], words: str
) -> None:
    """And leaves nothing open."""
    with enter_namespace(lb.name):
        taken = [
            socket.create_server(("127.0.0.1", HERE.port)),
            socket.create_server(("::1", HERE.port), family=socket.AF_INET6),
        ]
    before = open_files()
    with pytest.raises(kind, match=words):
        in_namespace(lb, lambda: serve(application(), Listen.parse(listen)))
    for each in taken:
        each.close()
    assert before - 2 == open_files()


def test_a_refused_privileged_port_is_named(lb: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's refusal for an ordinary user."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PermissionDeniedError, match=r"listening at 127\.0\.0\.1:80"):
        in_namespace(lb, lambda: serve(application(), Listen.parse("127.0.0.1:80")))


def test_snapshots_follow_a_balancer_that_is_purged_and_attached_again(pydsr: Pydsr) -> None:
    """The new state is read, and nothing is left open."""
    reader = SnapshotReader(pydsr.bpffs, fresh_seconds=0)

    def services() -> list[str] | None:
        try:
            snapshot = in_namespace(pydsr.host, reader.snapshot)
        except NotAttachedError:
            return None
        return [str(service.endpoint) for service in snapshot.services]

    assert services() is None
    closed = open_files()
    pydsr.ok("attach", "eth0", "--table-size", "251")
    assert [] == services()
    pydsr.ok("services", "add", "10.66.0.80:80")
    assert ["10.66.0.80:80/tcp"] == services()
    # Nobody looks while it is made anew.
    pydsr.ok("detach", "--all", "--purge")
    pydsr.ok("attach", "eth0", "--table-size", "509")
    assert [] == services()
    pydsr.ok("services", "add", "10.66.0.81:80")
    assert ["10.66.0.81:80/tcp"] == services()
    pydsr.ok("detach", "--all", "--purge")
    assert services() is None
    assert closed == open_files()


def test_concurrent_clients_share_one_snapshot(
    quick: Pydsr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that disconnects does not cancel it; a later client gets a new one."""
    read: list[Path] = []
    snapshot = Balancer.snapshot

    def counted(self: Balancer) -> Snapshot:
        read.append(self.directory)
        return snapshot(self)

    monkeypatch.setattr(Balancer, "snapshot", counted)
    reader = SnapshotReader(quick.bpffs)

    async def run() -> tuple[int, int, int]:
        asking = [asyncio.ensure_future(reader.snapshot()) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.gather(*asking[1:])
        await reader.snapshot()
        at_once = len(read)
        await asyncio.sleep(FRESH_SECONDS)
        await reader.snapshot()
        just_fresh = len(read)
        await asyncio.sleep(0.01)
        await reader.snapshot()
        return at_once, just_fresh, len(read)

    with enter_namespace(quick.host.name):
        assert (1, 1, 2) == run_in_virtual_time(run())


def test_programs_have_run_times_while_the_kernel_times_them(
    quick: Pydsr, lasting: tuple[Pydsr, Host]
) -> None:
    """Runs are counted from the sysctl on, and the figures stay when it is off again."""
    _, peer = lasting
    quick.ok("services", "add", "10.66.0.80:80")
    reader = SnapshotReader(quick.bpffs, fresh_seconds=0)
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = in_namespace(quick.host, reader.snapshot)
    was = switch.read_text()
    switch.write_text("1")
    try:
        assert peer.pings("10.66.0.80")
        timed = in_namespace(quick.host, reader.snapshot)
    finally:
        switch.write_text(was)
    after = in_namespace(quick.host, reader.snapshot)
    (first,), (program,), (last,) = before.programs, timed.programs, after.programs
    assert (("eth0",), True) == (program.interfaces, timed.programs_timed)
    assert program.runs_total > first.runs_total
    assert program.seconds_total > first.seconds_total
    assert last.runs_total >= program.runs_total
    assert (was.strip() == "1") == after.programs_timed
    assert quick.host.xdp_program("eth0") == program.program_id
