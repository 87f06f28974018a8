"""Who is served, and for how long: streams, idle and slow clients, in virtual time."""

from __future__ import annotations

import asyncio
import errno
import gzip
import itertools
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

import pydsr.http.page as page_package
from pydsr.http import server
from pydsr.http.metrics.exposition import serve_metrics
from pydsr.http.page.status_page import STREAMS_MAX, StatusPage
from pydsr.http.server import (
    CONNECTIONS_MAX,
    IDLE_SECONDS,
    AddressTakenError,
    new_application,
    serve,
)
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import (
    EnvironmentCannotError,
    NotAttachedError,
    PermissionDeniedError,
    PydsrError,
)
from pydsr.model.events import Event, EventKind, EventLog
from pydsr.model.listen import Listen
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Service
from pydsr.model.snapshot import Snapshot
from tests.support.virtual_time import run_in_virtual_time

STATIC = Path(page_package.__file__).with_name("static")
GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
LISTEN = Listen.parse("127.0.0.1:9")
"""Not used: each test listens at a port of its own."""


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port at which a server of this test listens."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    listening.setblocking(False)
    # Connections inherit it, so that a client that takes nothing is soon noticed.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    monkeypatch.setattr(server, "_listening_socket", lambda _: listening)
    yield listening.getsockname()[1]
    listening.close()


@dataclass
class Client:
    """A client with its connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, path: str) -> bytes:
        """Send a request, and return the head of the answer; empty if there is none."""
        self.writer.write(GET.format(path).encode())
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def status(self, path: str) -> str:
        """Return the status of an answer; empty if there is none."""
        head = await self.ask(path)
        return head[9:12].decode()

    async def messages(self, until: float) -> list[tuple[float, str, Any]]:
        """Return the messages of a stream until a time, with their times and kinds."""
        loop = asyncio.get_running_loop()
        found: list[tuple[float, str, Any]] = []
        while True:
            try:
                async with asyncio.timeout_at(until):
                    size = int(await self.reader.readline(), 16)
                    chunk = await self.reader.readexactly(size + 2)
            except TimeoutError:
                return found
            for message in chunk.decode().strip().split("\n\n"):
                kind, data = message.split("\n", 1)
                found.append(
                    (
                        round(loop.time(), 1),
                        kind.removeprefix("event: "),
                        json.loads(data.removeprefix("data: ")),
                    )
                )

    async def is_closed(self) -> bool:
        """Return whether the server has closed the connection, and nothing is left to read."""
        await asyncio.sleep(0.01)
        return self.reader.at_eof() or self.reader.exception() is not None


@dataclass
class Clients:
    """Clients of one server."""

    port: int
    opened: list[Client] = field(default_factory=list)

    async def connect(self, buffer: int = 0) -> Client:
        """Return a new client; with a buffer size, it reads nothing by itself."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        limit = buffer or 1 << 20
        client = Client(*await asyncio.open_connection(sock=sock, limit=limit))
        self.opened.append(client)
        return client


@asynccontextmanager
async def page(port: int, log: EventLog) -> AsyncIterator[Clients]:
    """Serve the status page of a balancer that does not exist."""
    async with running(StatusPage(Path("/nowhere"), LISTEN, log, dict).run(), port) as clients:
        yield clients


@asynccontextmanager
async def hello(port: int) -> AsyncIterator[Clients]:
    """Serve a greeting."""
    app = new_application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app.router.add_get("/", answer)
    async with running(serve(app, LISTEN), port) as clients:
        yield clients


@asynccontextmanager
async def running(serving: Any, port: int) -> AsyncIterator[Clients]:
    task, clients = asyncio.ensure_future(serving), Clients(port)
    try:
        yield clients
    finally:
        for client in clients.opened:
            client.writer.transport.abort()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def event(cause: str = "why") -> Event:
    return Event(EventKind.LINK_UP, "eth0", cause)


def test_a_stream_begins_with_everything_and_is_never_silent_for_long(port: int) -> None:
    """The past events come first; then an event within a moment, and else a sign of life."""

    async def main() -> list[tuple[float, str, Any]]:
        log = EventLog()
        log.record(event("past"))
        async with page(port, log) as clients:
            client = await clients.connect()
            assert b"text/event-stream" in await client.ask("/api/stream")
            began = asyncio.get_running_loop().time()
            first = await client.messages(began + 12)
            log.record(event("new"))
            second = await client.messages(began + 13)
            return [(round(at - began, 1), kind, data) for at, kind, data in first + second]

    found = run_in_virtual_time(main())
    assert ["state", "events"] == [kind for _, kind, _ in found[:2]]
    assert ["past"] == [each["cause"] for each in found[1][2]]
    moments = [at for at, _, _ in found[1:]]
    assert max(now - before for before, now in itertools.pairwise(moments)) <= 5.2
    assert {"alive"} == {kind for _, kind, _ in found[2:-1]}
    at, kind, data = found[-1]
    assert ("events", ["new"]) == (kind, [each["cause"] for each in data])
    assert at < 12.2


def test_a_stream_has_rates_regularly_and_the_structure_when_it_changes(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[float] = []

    async def read(_: SnapshotReader) -> Snapshot:
        moments.append(asyncio.get_running_loop().time())
        endpoints = [Endpoint.parse("10.66.0.80:80")] * (len(moments) > 3)
        services = tuple(Service(1, each, ServiceOptions(), ()) for each in endpoints)
        return Snapshot(moments[-1], services, {}, {}, (("eth0", "native"),))

    monkeypatch.setattr(SnapshotReader, "snapshot", read)

    async def main() -> list[tuple[float, str, Any]]:
        async with page(port, EventLog()) as clients:
            client = await clients.connect()
            await client.ask("/api/stream")
            return await client.messages(asyncio.get_running_loop().time() + 9)

    found = run_in_virtual_time(main())
    assert ["state", "rates", "rates", "state", "rates", "rates"] == [kind for _, kind, _ in found]
    clocks = [data["rates"]["time"] if kind == "state" else data["time"] for _, kind, data in found]
    assert clocks == sorted(set(clocks))
    assert [0, 1] == [len(data["services"]) for _, kind, data in found if kind == "state"]


def test_events_in_short_succession_are_one_message_and_only_the_newest(port: int) -> None:
    async def main() -> list[tuple[float, str, Any]]:
        log = EventLog()
        async with page(port, log) as clients:
            client = await clients.connect()
            await client.ask("/api/stream")
            now = asyncio.get_running_loop().time()
            await client.messages(now + 1)
            for _ in range(300):
                log.record(event())
            return await client.messages(now + 2)

    found = run_in_virtual_time(main())
    numbers = [each["number"] for _, kind, data in found if kind == "events" for each in data]
    assert [*range(101, 301)] == numbers


def test_as_many_pages_as_allowed_may_be_open(port: int) -> None:
    """One more is told to come again, and is served when another is closed."""

    async def main() -> tuple[list[str], bytes, str]:
        async with page(port, EventLog()) as clients:
            opened = [await clients.connect() for _ in range(STREAMS_MAX)]
            statuses = [await client.status("/api/stream") for client in opened]
            refused = await (await clients.connect()).ask("/api/stream")
            opened[0].writer.close()
            # The server notices with its next message.
            await asyncio.sleep(6)
            return statuses, refused, await (await clients.connect()).status("/api/stream")

    statuses, refused, again = run_in_virtual_time(main())
    assert ["200"] * STREAMS_MAX == statuses
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 5" in refused
    assert "200" == again


@pytest.mark.parametrize(
    ("seconds", "status"), [(IDLE_SECONDS - 1, "503"), (IDLE_SECONDS + 1, "200")]
)
def test_a_page_that_takes_nothing_loses_its_place(
    port: int, monkeypatch: pytest.MonkeyPatch, seconds: float, status: str
) -> None:
    """It is not the path that is slow: nothing at all is taken for so long."""
    monkeypatch.setattr("pydsr.http.page.status_page.STREAMS_MAX", 1)

    async def main() -> str:
        log = EventLog()
        async with page(port, log) as clients:
            stuck = await clients.connect(buffer=4096)
            await stuck.ask("/api/stream")
            # More than the buffers of both ends hold.
            for _ in range(150):
                log.record(event("x" * 2000))
            await asyncio.sleep(seconds)
            return await (await clients.connect()).status("/api/stream")

    assert status == run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("seconds", "is_closed"), [(IDLE_SECONDS - 1, False), (IDLE_SECONDS + 1, True)]
)
@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHost: local", GET.format("/")])
def test_an_idle_connection_is_closed_after_half_a_minute(
    port: int, sent: str, seconds: float, is_closed: bool
) -> None:
    """Before a request, within one, and after one."""

    async def main() -> bool:
        async with hello(port) as clients:
            client = await clients.connect()
            client.writer.write(sent.encode())
            if sent.endswith("\r\n\r\n"):
                await client.reader.readuntil(b"hello")
            await asyncio.sleep(seconds)
            return await client.is_closed()

    assert is_closed == run_in_virtual_time(main())


def test_as_many_clients_as_allowed_are_served(port: int) -> None:
    """One more is disconnected at once, until another ends."""

    async def main() -> tuple[list[str], str, str]:
        async with hello(port) as clients:
            opened = [await clients.connect() for _ in range(CONNECTIONS_MAX)]
            statuses = [await client.status("/") for client in opened]
            refused = await (await clients.connect()).status("/")
            opened[0].writer.close()
            await asyncio.sleep(1)
            return statuses, refused, await (await clients.connect()).status("/")

    assert (["200"] * CONNECTIONS_MAX, "", "200") == run_in_virtual_time(main())


def test_the_end_waits_for_no_client(port: int) -> None:
    """Within seconds, streams and idle connections are closed."""

    async def main() -> tuple[float, list[bool]]:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(StatusPage(Path("/nowhere"), LISTEN, EventLog(), dict).run())
        clients = Clients(port)
        stream, idle = [await clients.connect() for _ in range(2)]
        await stream.ask("/api/stream")
        await idle.ask("/api/state")
        began = loop.time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        took = loop.time() - began
        closed = []
        for client in (stream, idle):
            await client.reader.read()
            closed.append(client.reader.at_eof())
            client.writer.close()
        return took, closed

    took, closed = run_in_virtual_time(main())
    assert [True, True] == closed
    assert took < 5


# What is answered, and to whom


async def answer_of(client: Client, method: str, path: str, **headers: str) -> tuple[bytes, bytes]:
    """Return the head and the body of an answer, after which the connection is closed."""
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    client.writer.write("\r\n".join([*lines, "", ""]).encode())
    head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Host": "localhost"}, "200"),
        ("/", {"Host": "127.0.0.1:9477"}, "200"),
        ("/", {"Host": "evil.example"}, "421"),
        ("/static/page.js", {"Host": "localhost"}, "200"),
        ("/static/none.js", {"Host": "localhost"}, "404"),
        ("/static/..%2Fsampler.py", {"Host": "localhost"}, "404"),
        ("/api/history", {"Host": "localhost"}, "200"),
        ("/api/history?service=10.66.0.80:80", {"Host": "localhost"}, "200"),
        ("/api/history?service=nonsense", {"Host": "localhost"}, "400"),
        ("/api/state", {"Host": "localhost", "Sec_Fetch_Site": "cross-site"}, "403"),
        ("/api/state", {"Host": "localhost", "Sec_Fetch_Site": "same-site"}, "403"),
        ("/api/state", {"Host": "localhost", "Sec_Fetch_Site": "same-origin"}, "200"),
        (
            "/",
            {"Host": "localhost", "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
            "200",
        ),
    ],
)
def test_each_request_gets_its_status_and_the_protecting_headers(
    port: int, path: str, headers: dict[str, str], status: str
) -> None:
    """Refusals too; none names the software."""

    async def main() -> tuple[bytes, bytes]:
        async with page(port, EventLog()) as clients:
            return await answer_of(await clients.connect(), "GET", path, **headers)

    head, _ = run_in_virtual_time(main())
    assert status == head[9:12].decode()
    for name, value in server.PAGE_HEADERS.items():
        assert f"{name}: {value}".encode() in head
    assert b"server:" not in head.lower()


def test_elsewhere_only_addresses_and_the_hosts_name_are_accepted(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of others, which resolve to this host (DNS rebinding), are not."""
    monkeypatch.setattr(socket, "gethostname", lambda: "lb1")
    everywhere = Listen.parse("0.0.0.0:9")

    async def main() -> list[str]:
        serving = StatusPage(Path("/nowhere"), everywhere, EventLog(), dict).run()
        async with running(serving, port) as clients:
            return [
                (await answer_of(await clients.connect(), "GET", "/", Host=host))[0][9:12].decode()
                for host in ("192.0.2.1", "lb1:9477", "evil.example")
            ]

    assert ["200", "200", "421"] == run_in_virtual_time(main())


def test_the_state_and_the_files_are_whole(port: int) -> None:
    """With the newest two hundred events; the history is empty without a balancer."""

    async def main() -> list[bytes]:
        log = EventLog()
        for _ in range(201):
            log.record(event())
        async with page(port, log) as clients:
            return [
                (await answer_of(await clients.connect(), "GET", path, Host="localhost"))[1]
                for path in ("/", "/api/state", "/api/history")
            ]

    index, state, history = run_in_virtual_time(main())
    assert STATIC.joinpath("index.html").read_bytes() == index
    document = json.loads(state)
    assert [*range(2, 202)] == [each["number"] for each in document["events"]]
    assert {} == document["rates"]
    assert document["problem"]["message"].startswith("no balancer is attached here")
    assert {"times": [], "services": {}} == json.loads(history)


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/state"), ("HEAD", "/api/stream")])
def test_other_methods_are_refused(port: int, method: str, path: str) -> None:
    async def main() -> bytes:
        async with page(port, EventLog()) as clients:
            return (await answer_of(await clients.connect(), method, path, Host="localhost"))[0]

    assert b"405" == run_in_virtual_time(main())[9:12]


def test_a_scrape_may_be_compressed_and_in_either_format(port: int) -> None:
    """The same metrics; clients at one moment share them."""
    views = 0

    async def no_daemon() -> None:
        nonlocal views
        views += 1

    async def main() -> list[tuple[bytes, bytes]]:
        reader = SnapshotReader(Path("/nowhere"))
        serving = serve_metrics(reader, no_daemon, lambda _: None, LISTEN)
        async with running(serving, port) as clients:
            kinds = {"Host": "localhost", "Accept": "application/openmetrics-text"}
            return [
                await answer_of(await clients.connect(), "GET", "/metrics", **headers)
                for headers in (
                    {"Host": "localhost"},
                    {"Host": "localhost", "Accept_Encoding": "gzip"},
                    kinds,
                    kinds,
                )
            ]

    (plain_head, plain), (zipped_head, zipped), (open_head, first), (_, second) = (
        run_in_virtual_time(main())
    )
    assert gzip.decompress(zipped) == plain
    assert b"pydsr_up 0.0" in plain
    assert first == second
    assert first.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")
    assert b"Content-Encoding: gzip" in zipped_head
    assert b"Content-Encoding" not in plain_head
    assert b"Vary: Accept, Accept-Encoding" in plain_head
    assert b"application/openmetrics-text" in open_head
    assert 2 == views


@pytest.mark.parametrize(
    ("error", "warnings"),
    [
        (NotAttachedError("none"), []),
        (
            EnvironmentCannotError("of another version"),
            ["cannot read the balancer for metrics: of another version"],
        ),
    ],
)
def test_a_balancer_that_cannot_be_read_is_down(
    port: int, error: PydsrError, warnings: list[str]
) -> None:
    """A missing one is no reason for a warning. The root names the path of the metrics."""
    warned: list[str] = []

    class Reader:
        async def snapshot(self) -> None:
            raise error

    async def no_daemon() -> None:
        return None

    async def main() -> list[bytes]:
        serving = serve_metrics(cast(SnapshotReader, Reader()), no_daemon, warned.append, LISTEN)
        async with running(serving, port) as clients:
            return [
                (await answer_of(await clients.connect(), "GET", path, Host="localhost"))[1]
                for path in ("/metrics", "/")
            ]

    metrics, root = run_in_virtual_time(main())
    assert b"pydsr_up 0.0" in metrics
    assert b"The metrics of pydsr are at /metrics\n" == root
    assert warnings == warned


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"X{n}": "x" for n in range(60)}, "200"),
        ({f"X{n}": "x" for n in range(70)}, "400"),
        ({"X": "x" * 4000}, "200"),
        ({"X": "x" * 4200}, "400"),
    ],
)
def test_headers_are_limited(port: int, headers: dict[str, str], status: str) -> None:
    """To 64, and each to 4096 bytes; versions of aiohttp count a little differently."""

    async def main() -> str:
        async with hello(port) as clients:
            client = await clients.connect()
            head, _ = await answer_of(client, "GET", "/", Host="localhost", **headers)
            return head[9:12].decode()

    assert status == run_in_virtual_time(main())


# Where it listens


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1", socket.AF_INET), ("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)],
)
def test_it_listens_with_the_options_that_its_clients_need(
    monkeypatch: pytest.MonkeyPatch, address: str, family: socket.AddressFamily
) -> None:
    """A client that acknowledges nothing for half a minute is given up: milliseconds, not less."""
    monkeypatch.undo()
    with server._listening_socket(Listen(ip_address(address), 0)) as made:
        assert family == made.family
        assert not made.getblocking()
        assert 1 == made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert 1 == made.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert 30_000 == made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        if family == socket.AF_INET6:
            # IPv4 clients are served too.
            assert 0 == made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EADDRINUSE, AddressTakenError, "another process listens at 127.0.0.1:80"),
        (errno.EACCES, PermissionDeniedError, "listening at 127.0.0.1:80 is not permitted"),
        (errno.EPERM, PermissionDeniedError, "listening at 127.0.0.1:80 is not permitted"),
        (errno.EADDRNOTAVAIL, EnvironmentCannotError, "does not have the address 127.0.0.1"),
        (errno.ENOBUFS, EnvironmentCannotError, "cannot listen at 127.0.0.1:80: No buffer"),
    ],
)
def test_each_refusal_to_listen_is_explained(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PydsrError], words: str
) -> None:
    """And the socket is closed."""
    monkeypatch.undo()
    made: list[socket.socket] = []
    bind = socket.socket.bind

    def refuse(self: socket.socket, address: Any) -> None:
        if address == ("127.0.0.1", 80):
            made.append(self)
            raise OSError(number, os.strerror(number))
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(kind, match=words):
        asyncio.run(serve(new_application(), Listen.parse("127.0.0.1:80")))
    assert [-1] == [each.fileno() for each in made]
