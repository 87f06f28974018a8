"""Both ends of long-lived connections.

Run as ``python -m tests.support.lab.long_connections serve|keep``.

A server answers each line, or datagram, with its name; a datagram of a session that it has not
seen opened it answers otherwise. The client keeps many connections busy and takes orders on its
stdin, one line of JSON each, which it answers with the state of every connection; both are spoken
to by ``tests.support.lab.connections``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, cast

from pydsr.lab.server import READY
from pydsr.lab.topology import VIP4, VIP6

_ANSWER_SECONDS = 20.0
_DATAGRAM_SECONDS = 1.0
_OPEN_AT_ONCE = 50


@dataclass(frozen=True)
class Connection:
    """What became of one connection.

    Attributes:
        group: what it was opened as.
        protocol: tcp or udp.
        port: the client's.
        backend: the host that it is a connection to; empty if it never got an answer.
        answers: how many it got.
        error: what broke it; empty if nothing did.
    """

    group: str
    protocol: str
    port: int
    backend: str
    answers: int
    error: str


# -- the servers


class _Sessions(asyncio.DatagramProtocol):
    """Answers sessions that it has seen opened, and says so of others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: set[tuple[str | Any, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, source: tuple[str | Any, int]) -> None:
        number = data.decode()
        if number == "0":
            self._known.add(source)
        name = self._name if source in self._known else f"{self._name}, which knows no session,"
        self._transport.sendto(f"{name} {number}".encode(), source)


async def _serve(name: str, ports: Sequence[int]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                writer.write(f"{name} ".encode() + line)
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    for vip in (str(VIP4), str(VIP6)):
        for port in ports:
            await asyncio.start_server(answer, vip, port, backlog=4096)
            await loop.create_datagram_endpoint(lambda: _Sessions(name), local_addr=(vip, port))
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    await loop.create_future()


# -- the client


class _Stream:
    """Exchanges lines over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.port = int(writer.get_extra_info("sockname")[1])

    @classmethod
    async def opened(cls, address: str, port: int) -> _Stream:
        return cls(*await asyncio.open_connection(address, port))

    async def exchange(self, text: str) -> str:
        self._writer.write(f"{text}\n".encode())
        return (await self._reader.readuntil(b"\n")).decode().rstrip("\n")

    def close(self) -> None:
        self._writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Exchanges datagrams, again where one is lost."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[str | Exception] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, _source: tuple[str | Any, int]) -> None:
        self._answers.put_nowait(data.decode())

    def error_received(self, error: Exception) -> None:
        self._answers.put_nowait(error)

    @classmethod
    async def opened(cls, address: str, port: int) -> _Datagrams:
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(cls, remote_addr=(address, port)))[1]

    async def exchange(self, text: str) -> str:
        while True:
            self._transport.sendto(text.encode())
            with suppress(TimeoutError):
                async with asyncio.timeout(_DATAGRAM_SECONDS):
                    return await self._next_answer(text)

    async def _next_answer(self, text: str) -> str:
        while True:
            answer = await self._answers.get()
            if isinstance(answer, Exception):
                raise answer
            # An answer that was late, to a datagram sent twice, is no answer to this one.
            if answer.endswith(f" {text}"):
                return answer

    def close(self) -> None:
        self._transport.close()


class _Kept:
    """A connection that is asked again and again until it breaks."""

    def __init__(self, group: str, protocol: str) -> None:
        self.group = group
        self.protocol = protocol
        self.backend = ""
        self.answers = 0
        self.error = ""
        self._wire: _Stream | _Datagrams | None = None
        self._one_at_a_time = asyncio.Lock()
        self._busy: asyncio.Task[None] | None = None

    async def open(self, address: str, port: int, interval: float) -> None:
        opened: Callable[[str, int], Coroutine[Any, Any, _Stream | _Datagrams]]
        opened = _Stream.opened if self.protocol == "tcp" else _Datagrams.opened
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                self._wire = await opened(address, port)
        except OSError as error:
            self.error = f"not opened: {error!r}"
            return
        await self.ask()
        self._busy = asyncio.create_task(self._keep_busy(interval))

    async def ask(self) -> None:
        """Exchange one line, which must be answered by the host that answered the first."""
        async with self._one_at_a_time:
            if self.error or self._wire is None:
                return
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    answer = await self._wire.exchange(str(self.answers))
            except (OSError, EOFError) as error:
                self.error = repr(error)
                return
            backend, _, _ = answer.rpartition(" ")
            self.backend = self.backend or backend
            if answer != f"{self.backend} {self.answers}":
                self.error = f"answered by {backend}"
            self.answers += 1

    async def _keep_busy(self, interval: float) -> None:
        await asyncio.sleep(random.uniform(0, interval))
        while not self.error:
            await self.ask()
            await asyncio.sleep(interval)

    async def close(self) -> None:
        async with self._one_at_a_time:
            if self._busy is not None:
                self._busy.cancel()
            if self._wire is not None:
                self._wire.close()
            self._wire = None

    def state(self) -> Connection:
        port = self._wire.port if self._wire is not None else 0
        return Connection(self.group, self.protocol, port, self.backend, self.answers, self.error)


class _Client:
    """Carries out the orders."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._kept: list[_Kept] = []

    async def open(self, protocol: str, address: str, port: int, count: int, group: str) -> None:
        at_once = asyncio.Semaphore(_OPEN_AT_ONCE)

        async def open_one(connection: _Kept) -> None:
            async with at_once:
                await connection.open(address, port, self._interval)

        new = [_Kept(group, protocol) for _ in range(count)]
        await asyncio.gather(*map(open_one, new))
        self._kept += new

    async def close(self, group: str | None, backend: str | None) -> None:
        ended = [
            each
            for each in self._kept
            if not each.error and group in (None, each.group) and backend in (None, each.backend)
        ]
        await asyncio.gather(*(each.close() for each in ended))
        self._kept = [each for each in self._kept if each not in ended]

    async def check(self) -> None:
        await asyncio.gather(*(each.ask() for each in self._kept))

    async def run(self, orders: asyncio.StreamReader) -> None:
        while line := await orders.readline():
            order = json.loads(line)
            await getattr(self, order.pop("do"))(**order)
            states = [asdict(each.state()) for each in self._kept]
            sys.stdout.write(json.dumps(states) + "\n")
            sys.stdout.flush()


async def _keep(interval: float) -> None:
    orders = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(orders)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await _Client(interval).run(orders)


def main() -> None:
    """Be a server until ended by a signal, or a client until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    serve = kinds.add_parser("serve")
    serve.add_argument("name")
    serve.add_argument("ports", type=int, nargs="+")
    keep = kinds.add_parser("keep")
    keep.add_argument("interval", type=float)
    options = parser.parse_args()
    if options.kind == "serve":
        asyncio.run(_serve(options.name, options.ports))
    else:
        asyncio.run(_keep(options.interval))


if __name__ == "__main__":
    main()
