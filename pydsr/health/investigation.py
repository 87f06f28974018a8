"""Gather evidence while a check gets no answer: pings, neighbour, answers from another address.

An investigation costs as much as forty checks, and if a network fails, a thousand checks may fail
in a second. So only some are investigated at once. Other checks use the evidence of an earlier
investigation: of the same target, or of the same VIP on the same backend at another port.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from pydsr.health.diagnosis import NOTHING_KNOWN, Evidence
from pydsr.health.kernel_state import filter_remedy, has_neighbour, probe_neighbour
from pydsr.health.ping import ping_socket, reply_to, send_request
from pydsr.health.sockets import PolledSocket, connect, marked_socket, receive, segment_socket
from pydsr.health.targets import CheckTarget, Route
from pydsr.kernel.net.netlink import NetlinkError
from pydsr.model.addresses import IPAddress

_log = logging.getLogger(__name__)

MOST_AT_ONCE = 16
"""How many investigations run at once."""

MOST_PER_BACKEND = 4
"""How many run for one backend: a dead backend fails in many services for the same reason."""

KEPT_SECONDS = 60.0
"""How long evidence is used for investigations that could not run."""

_PINGS = 8
"""Pings for each address: if half of all packets are lost, all of these are once in 256 times."""

_Part = Callable[[], Awaitable[None]]


class Investigations:
    """The limits of a set of checks, and their evidence so far."""

    def __init__(self) -> None:
        self._running: Counter[Route] = Counter()
        self._evidence: dict[CheckTarget, tuple[float, Evidence]] = {}

    def reserve(self, route: Route) -> bool:
        """Return whether one more investigation of a backend may run; if so, count it."""
        if self._running.total() >= MOST_AT_ONCE or self._running[route] >= MOST_PER_BACKEND:
            return False
        self._running[route] += 1
        return True

    def release(self, route: Route) -> None:
        """Count the end of an investigation."""
        self._running[route] -= 1
        self._running += Counter()  # drops zeros

    def keep(self, target: CheckTarget, evidence: Evidence) -> None:
        """Keep the evidence of an investigation, and drop what is too old."""
        now = asyncio.get_running_loop().time()
        recent = {key: kept for key, kept in self._evidence.items() if kept[0] > now - KEPT_SECONDS}
        # A wrong source is the server's at that port, not the backend's.
        of_vip = replace(evidence, wrong_source=None)
        self._evidence = recent | {target: (now, evidence), _any_port(target): (now, of_vip)}

    def recent(self, target: CheckTarget) -> Evidence:
        """Return the latest evidence on a target; NOTHING_KNOWN if it is old or missing."""
        since = asyncio.get_running_loop().time() - KEPT_SECONDS
        for key in (target, _any_port(target)):
            kept_at, evidence = self._evidence.get(key, (float("-inf"), NOTHING_KNOWN))
            if kept_at > since:
                return evidence
        return NOTHING_KNOWN


def _any_port(target: CheckTarget) -> CheckTarget:
    return replace(target, port=0)


@dataclass
class _Pings:
    """The pings of one address; the unanswered ones with the time when they were sent."""

    address: IPAddress
    answered: int = 0
    unanswered: dict[bytes, float] = field(default_factory=dict)
    is_blocked: bool = False

    def lost(self, since: float) -> int:
        """Return how many were sent before a time and have no answer."""
        return sum(sent_at <= since for sent_at in self.unanswered.values())

    async def run(self, mark: int, pause: float) -> None:
        """Send pings with pauses, and count replies until cancelled."""
        with ping_socket(self.address, mark) as raw:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send_requests(raw, pause))
                both.create_task(self._count_replies(raw, pause))

    async def _send_requests(self, raw: PolledSocket, pause: float) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_PINGS):
            try:
                self.unanswered[send_request(raw, self.address)] = loop.time()
            except OSError as error:
                # Only a firewall of this host does this.
                self.is_blocked |= error.errno == errno.EPERM
            await asyncio.sleep(pause)

    async def _count_replies(self, raw: PolledSocket, pause: float) -> None:
        while True:
            try:
                del self.unanswered[await reply_to(self.unanswered, raw, self.address)]
                self.answered += 1
            except OSError:  # an ICMP error, which is no reply
                await asyncio.sleep(pause)


@dataclass
class Investigation:
    """The investigation of one check, which may begin while the check waits for its answer.

    If the check connects by TCP (``is_stream``), answers may come from another address. Pings are
    sent in the first half of ``seconds``.
    """

    all_of_them: Investigations
    target: CheckTarget
    mark: int
    is_stream: bool
    seconds: float
    _is_running: bool = False
    _backend: _Pings = field(init=False)
    _vip: _Pings = field(init=False)
    _wrong_source: IPAddress | None = None
    _filter: str = ""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Begin, unless too many investigations run."""
        if not self.all_of_them.reserve(self.target.route):
            return
        self._is_running = True
        self._backend, self._vip = _Pings(self.target.route.backend), _Pings(self.target.vip)
        pause = self.seconds / 2 / _PINGS
        parts: list[_Part] = [
            partial(self._backend.run, self.mark, pause),
            partial(self._vip.run, self.mark, pause),
            partial(probe_neighbour, self.target.route),
            self._read_filter,
        ]
        if self.is_stream:
            parts.append(self._connect_and_listen)
        self._tasks = [asyncio.create_task(_run_part(part)) for part in parts]

    async def evidence(self) -> Evidence:
        """End, and return the evidence: an earlier investigation's if this one did not run."""
        if not self._is_running:
            return self.all_of_them.recent(self.target)
        await self._cancel()
        # If this host stood still, a ping may have been sent only a moment ago.
        since = asyncio.get_running_loop().time() - self.seconds / 4
        answering = [pings for pings in (self._backend, self._vip) if pings.answered]
        lost = sum(pings.lost(since) for pings in answering)
        evidence = Evidence(
            has_neighbour=await has_neighbour(self.target.route),
            backend_answers=bool(self._backend.answered),
            vip_answers=bool(self._vip.answered),
            wrong_source=self._wrong_source,
            filter=self._filter,
            pings_sent=lost + sum(pings.answered for pings in answering),
            pings_lost=lost,
            is_blocked=self._vip.is_blocked,
        )
        self.all_of_them.keep(self.target, evidence)
        return evidence

    async def close(self) -> None:
        """End it if it is running."""
        if self._is_running:
            self._is_running = False
            self.all_of_them.release(self.target.route)
            await self._cancel()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _read_filter(self) -> None:
        self._filter = await filter_remedy(self.target.vip, self.target.route.ifindex)

    async def _connect_and_listen(self) -> None:
        vip, port = self.target.vip, self.target.port
        with marked_socket(vip, socket.SOCK_STREAM, self.mark) as stream:
            # Bound first: the raw socket needs its port before the first answer comes.
            stream.bind(("", 0))
            with segment_socket(vip, port, stream.getsockname()[1]) as raw:
                connecting = asyncio.create_task(_run_part(partial(connect, stream, vip, port)))
                try:
                    source = vip
                    while source == vip:
                        _, source = await receive(raw)
                finally:
                    connecting.cancel()
                    await asyncio.gather(connecting, return_exceptions=True)
                self._wrong_source = source


async def _run_part(part: _Part) -> None:
    """Run a part of an investigation; its own failure is not evidence."""
    try:
        await part()
    except (OSError, NetlinkError) as error:
        _log.debug("investigating: %s", error)
