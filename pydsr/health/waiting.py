"""Waiting for many sockets and moments, at a fraction of what the event loop's own ways cost.

One epoll has the sockets of all checks. It is edge-triggered: a socket is registered when it is
made, and gone from there when it is closed, with nothing to do in between. Moments are rounded to
ticks, and all that is to be done in one tick takes one timer of the loop.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from weakref import ref

TICK = 0.01
"""Seconds that moments are multiples of."""

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
_EVENTS_AT_ONCE = 256


class Waiting:
    """What one event loop waits for; :func:`waiting` returns that of the running one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # To look the running loop up takes a system call in Python 3.11 (getpid).
        self.loop = loop
        self._epoll = select.epoll()
        self._changes: dict[int, asyncio.Future[int]] = {}
        self._moments: dict[int, list[tuple[Callable[..., object], tuple[object, ...]]]] = {}
        loop.add_reader(self._epoll.fileno(), self._hear)

    def register(self, made: socket.socket) -> None:
        """Have :meth:`change` hear of a socket, for as long as that is open."""
        self._epoll.register(made.fileno(), _EVENTS)

    async def change(self, of: socket.socket) -> int:
        """Wait for the next change of a socket that is registered, and return epoll's events.

        What was to be done without blocking is tried first, and again after each change: a change
        from before it was tried, which found nothing to do, is not told of.
        """
        number = of.fileno()
        heard: asyncio.Future[int] = self.loop.create_future()
        self._changes[number] = heard
        try:
            return await heard
        finally:
            del self._changes[number]

    def _hear(self) -> None:
        for number, events in self._epoll.poll(0, _EVENTS_AT_ONCE):
            heard = self._changes.get(number)
            if heard is not None and not heard.done():
                heard.set_result(events)

    async def until(self, when: float) -> None:
        """Wait for a moment of the loop's clock; up to a tick less, as :meth:`call_at`."""
        come = self.loop.create_future()
        self.call_at(when, _finish, come)
        await come

    def call_at(self, when: float, call: Callable[..., object], *arguments: object) -> None:
        """Have something called in the tick of a moment, that is, never later than that.

        It cannot be undone: what is called has to know whether it still matters. It may not raise,
        as others of that tick come after it.
        """
        tick = int(when / TICK)
        calls = self._moments.get(tick)
        if calls is None:
            calls = self._moments[tick] = []
            self.loop.call_at(tick * TICK, self._come, tick)
        calls.append((call, arguments))

    def _come(self, tick: int) -> None:
        for call, arguments in self._moments.pop(tick):
            call(*arguments)


def _finish(waited_for: asyncio.Future[None]) -> None:
    if not waited_for.done():
        waited_for.set_result(None)


class _Latest(threading.local):
    """What was last waited for in each thread; a loop holds its own, as long as it is there."""

    waiting: Callable[[], Waiting | None] = staticmethod(lambda: None)


_latest = _Latest()


def waiting() -> Waiting:
    """Return what the running event loop waits for."""
    loop = asyncio.get_running_loop()
    found = _latest.waiting()
    if found is None or found.loop is not loop:
        found = Waiting(loop)
        _latest.waiting = ref(found)
    return found
