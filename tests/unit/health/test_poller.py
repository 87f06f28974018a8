"""Sockets and times: in time, and for nothing that is gone."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable
from ipaddress import ip_address
from typing import TypeVar

import pytest

from pydsr.health.poller import TICK, poller
from pydsr.health.sockets import PlainStream, PolledSocket, connect
from tests.support.virtual_time import run_in_virtual_time

LOCALHOST = ip_address("127.0.0.1")
_T = TypeVar("_T")


def run(awaitable: Awaitable[_T]) -> _T:
    async def bounded() -> _T:
        async with asyncio.timeout(60):
            return await awaitable

    return asyncio.run(bounded())


def stream() -> PolledSocket:
    return PolledSocket(socket.AF_INET, socket.SOCK_STREAM)


def test_a_sleep_ends_in_its_tick() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        early = []
        for part in range(5):
            when = loop.time() + 3 * TICK + part * TICK / 5
            await poller().sleep_until(when)
            early.append(when - loop.time())
        return early

    early = run_in_virtual_time(main())
    assert [True] * 5 == [-1e-4 <= seconds <= TICK for seconds in early], early


def test_calls_of_one_tick_share_a_timer_and_keep_their_order() -> None:
    called: list[int] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()
        timers: list[float] = []
        call_at = loop.call_at
        loop.call_at = lambda when, *rest, **more: (  # type: ignore[method-assign]
            timers.append(when) or call_at(when, *rest, **more)  # type: ignore[func-returns-value]
        )
        # Well inside of a tick: at its edge, rounding says which it is in.
        when = (int(loop.time() / TICK) + 2.25) * TICK
        for number in range(100):
            poller().call_at(when + number * TICK / 200, called.append, number)
        await poller().sleep_until(when + TICK)
        return len(timers)

    assert 2 == run_in_virtual_time(main())
    assert [*range(100)] == called


def test_a_sleep_until_the_past_ends_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for _ in range(3):
            await poller().sleep_until(now - 5)
        assert loop.time() < now + TICK

    run_in_virtual_time(main())


def test_a_cancelled_sleep_is_not_woken() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(poller().sleep_until(loop.time() + 2 * TICK))
        await asyncio.sleep(0)
        task.cancel()
        await poller().sleep_until(loop.time() + 4 * TICK)
        assert task.cancelled()

    run_in_virtual_time(main())


def test_a_socket_with_a_reused_descriptor_gets_its_events() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            numbers = set()
            for number in range(20):
                with stream() as client:
                    numbers.add(client.fileno())
                    await connect(client, LOCALHOST, port)
                    other, _ = server.accept()
                    with other:
                        answer = asyncio.create_task(PlainStream(client).receive())
                        await asyncio.sleep(0)
                        other.sendall(b"%d" % number)
                        assert b"%d" % number == await answer
            assert 1 == len(numbers)

    run(main())


def test_data_that_came_early_is_received() -> None:
    async def main() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server, stream() as client:
            await connect(client, LOCALHOST, server.getsockname()[1])
            other, _ = server.accept()
            with other:
                other.sendall(b"early")
                # Its event arrives while nobody waits.
                await poller().sleep_until(asyncio.get_running_loop().time() + 3 * TICK)
                return await PlainStream(client).receive()

    assert b"early" == run(main())


def test_more_than_the_send_buffer_is_sent() -> None:
    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server, stream() as client:
            await connect(client, LOCALHOST, server.getsockname()[1])
            other, _ = server.accept()
            with other:
                sending = asyncio.create_task(PlainStream(client).send(bytes(20_000_000)))
                left = 20_000_000
                other.setblocking(False)
                while left:
                    try:
                        left -= len(other.recv(1_000_000))
                    except BlockingIOError:
                        await asyncio.sleep(0)
                await sending
                return left

    assert 0 == run(main())


def test_a_refused_connection_raises() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with stream() as client:
            await connect(client, LOCALHOST, port)

    with pytest.raises(ConnectionRefusedError):
        run(main())


def test_every_loop_has_its_own_poller() -> None:
    async def main() -> int:
        first, second = socket.socketpair()
        with first, second:
            made = poller()
            made.register(first)
            assert made is poller()
            second.send(b"x")
            return await made.wait_for_event(first) & select.EPOLLIN

    assert [1, 1] == [run(main()) for _ in range(2)]
