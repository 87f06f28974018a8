"""HTTP over a path with delay and loss: whole answers for curl, and nobody is shut out."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import pydsr.http.page as page_package
from pydsr.http import server
from pydsr.http.metrics.exposition import serve_metrics
from pydsr.http.page.status_page import StatusPage
from pydsr.http.snapshot_reader import SnapshotReader
from pydsr.lab.network import enter_namespace
from pydsr.model.events import Event, EventKind, EventLog
from pydsr.model.listen import Listen
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host
from tests.support.netns.slow_path import NEAR, SlowPath, slow_path

LISTEN = Listen.parse("0.0.0.0:9477")
URL = f"http://{NEAR}:9477"
STATIC = Path(page_package.__file__).with_name("static")
DELAY_SECONDS, LOSS = 0.05, 0.05
_T = TypeVar("_T")


def run_on(host: Host, main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine whose sockets belong to a host."""
    with enter_namespace(host.name):
        return asyncio.run(asyncio.wait_for(main, DEADLINE_SECONDS))


async def curl(host: Host, *arguments: str) -> tuple[int, bytes]:
    """Return the exit status of curl and what it has received."""
    process = await asyncio.create_subprocess_exec(
        *(*host.prefix, "curl", "--silent", "--no-buffer", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output


@asynccontextmanager
async def page(log: EventLog) -> AsyncIterator[None]:
    """Serve the status page of a balancer that does not exist."""
    async with running(StatusPage(Path("/nowhere"), LISTEN, log, dict).run()):
        yield


@asynccontextmanager
async def running(serving: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(serving)
    try:
        while (await curl_here("/"))[0]:
            assert not task.done(), task
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def curl_here(path: str) -> tuple[int, bytes]:
    """Ask the server on its own host."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", f"http://127.0.0.1:9477{path}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output


def test_every_file_of_the_page_arrives_whole(lb: Host, peer: Host) -> None:
    """All clients ask at the same moment, each for all files."""
    files = sorted(path for path in STATIC.iterdir() if path.suffix != ".html")

    async def main() -> tuple[list[tuple[int, bytes]], SlowPath]:
        async with slow_path(lb, peer, DELAY_SECONDS, LOSS) as path, page(EventLog()):
            urls = [f"{URL}/static/{file.name}" for file in files]
            return await asyncio.gather(*(curl(peer, *urls) for _ in range(12))), path

    answers, path = run_on(lb, main())
    whole = b"".join(file.read_bytes() for file in files)
    assert [(0, whole)] * 12 == answers
    assert path.lost


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_every_scrape_is_whole(lb: Host, peer: Host, encoding: str) -> None:
    """Compressed or not, by the end mark of OpenMetrics."""

    async def no_daemon() -> None:
        return None

    async def main() -> list[tuple[int, bytes]]:
        reader = SnapshotReader(Path("/nowhere"))
        serving = serve_metrics(reader, no_daemon, lambda _: None, LISTEN)
        accept = "Accept: application/openmetrics-text"
        options = ("--compressed",) if encoding == "gzip" else ()
        async with slow_path(lb, peer, DELAY_SECONDS, LOSS), running(serving):
            asked = (curl(peer, *options, "-H", accept, f"{URL}/metrics") for _ in range(12))
            return await asyncio.gather(*asked)

    answers = run_on(lb, main())
    assert [0] * 12 == [status for status, _ in answers]
    for _, text in answers:
        assert b"pydsr_up 0" in text
        assert text.endswith(b"# EOF\n")


def test_a_stream_has_every_event_in_order(lb: Host, peer: Host) -> None:
    """And every page that is open gets them."""

    async def main() -> list[bytes]:
        log = EventLog()
        async with slow_path(lb, peer, DELAY_SECONDS, LOSS), page(log):
            opened = [asyncio.create_task(until_event(peer, 60)) for _ in range(6)]
            for _ in range(60):
                log.record(Event(EventKind.LINK_UP, "eth0", "x" * 500))
                await asyncio.sleep(DELAY_SECONDS / 2)
            return await asyncio.gather(*opened)

    for text in run_on(lb, main()):
        lines = text.decode().splitlines()
        events = [
            event["number"]
            for kind, data in itertools.pairwise(lines)
            if kind == "event: events"
            for event in json.loads(data.removeprefix("data: "))
        ]
        assert [*range(1, 61)] == events


async def until_event(host: Host, number: int) -> bytes:
    """Return what a stream has sent until an event, in whole lines."""
    process = await asyncio.create_subprocess_exec(
        *(*host.prefix, "curl", "--silent", "--no-buffer", f"{URL}/api/stream"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert process.stdout is not None
    received = b""
    while f'"number":{number},'.encode() not in received:
        line = await process.stdout.readline()
        assert line, received[-1000:]
        received += line
    process.kill()
    await process.wait()
    return received


def test_clients_that_vanish_give_their_places_to_others(
    lb: Host, peer: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word: their path is cut while they are being answered."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 3)

    async def main() -> tuple[int, bytes]:
        log = EventLog()
        async with slow_path(lb, peer, 0.01, 0) as path, page(log):
            vanishing = [
                await asyncio.create_subprocess_exec(
                    *(*peer.prefix, "curl", "--silent", "--no-buffer", f"{URL}/api/stream"),
                    stdout=asyncio.subprocess.PIPE,
                )
                for _ in range(3)
            ]
            for process in vanishing:
                assert process.stdout is not None
                await process.stdout.readline()
            assert (await curl_here("/"))[0]
            path.is_cut = True
            while (answer := await curl_here("/"))[0]:
                log.record(Event(EventKind.LINK_UP, "eth0", "x"))
            for process in vanishing:
                process.kill()
                await process.wait()
            return answer

    status, index = run_on(lb, main())
    assert (0, STATIC.joinpath("index.html").read_bytes()) == (status, index)
