"""Looks around while a check gets no answer: neighbour, pings, answers from elsewhere.

The reverse path filter (``rp_filter``) is the one setting of this machine that replies from a VIP
depend on. Strict (1), it drops them where the way back to the VIP is not by the interface they
came in by; loose (2), where there is no way at all. A VIP in the network of the backends has such a
way. One that is routed to the balancer may not have.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydsr.health import neighbour
from pydsr.health.echo import echo_socket, reply_to, send_request
from pydsr.health.sockets import WaitingSocket, connect, marked_socket, receive, segments_for
from pydsr.health.steering_plan import family_of
from pydsr.health.symptoms import Evidence
from pydsr.health.targets import Target
from pydsr.kernel.net.netlink import AsyncIPRoute, NetlinkError, rt_type
from pydsr.model.addresses import IPAddress

_log = logging.getLogger(__name__)


_Part = Callable[[], Awaitable[None]]

_PINGS = 8
"""How many each address gets: where half of all packets are lost, one of 256 loses them all."""


@dataclass
class Pings:
    """Those to one address.

    Attributes:
        answered: how many were.
        unanswered: when each of the others was sent, by what its reply will be known by; seconds
            of the event loop's clock.
        is_blocked: whether this machine did not let one go.
    """

    answered: int = 0
    unanswered: dict[bytes, float] = field(default_factory=dict)
    is_blocked: bool = False

    def lost(self, since: float) -> int:
        """Return how many have waited for a reply since a moment of that clock, or longer."""
        return sum(sent_at <= since for sent_at in self.unanswered.values())


@dataclass
class Investigation:
    """One look around, which runs until it is ended.

    Args:
        target: where a check gets no answer.
        mark: of sockets that reach it.
        stream: whether it was asked by TCP: answers to a connection may come from elsewhere.
        seconds: how long it will last; pings are sent in the first half.
    """

    target: Target
    mark: int
    stream: bool
    seconds: float
    _backend: Pings | None = None
    _vip: Pings | None = None
    _wrong_source: IPAddress | None = None
    _filter: str = ""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        self._backend, self._vip = Pings(), Pings()
        parts: list[_Part] = [
            partial(self._ping, self.target.route.backend, self._backend),
            partial(self._ping, self.target.vip, self._vip),
            self._ask_neighbour,
            self._read_filter,
        ]
        if self.stream:
            parts.append(self._connect_and_listen)
        self._tasks = [asyncio.create_task(_quiet(part)) for part in parts]

    async def end(self) -> Evidence:
        """Return what was found up to now."""
        await self.cancel()
        # One that was sent a moment ago, as this machine stood still before, may still be answered.
        since = asyncio.get_running_loop().time() - self.seconds / 4
        answering = [pings for pings in (self._backend, self._vip) if pings and pings.answered]
        lost = sum(pings.lost(since) for pings in answering)
        return Evidence(
            has_neighbour=await neighbour.has_neighbour(self.target),
            backend_answers=bool(self._backend.answered) if self._backend else None,
            vip_answers=bool(self._vip.answered) if self._vip else None,
            wrong_source=self._wrong_source,
            filter=self._filter,
            pings_sent=lost + sum(pings.answered for pings in answering),
            pings_lost=lost,
            is_blocked=self._vip is not None and self._vip.is_blocked,
        )

    async def cancel(self) -> None:
        """End it without a look at what it found."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _ping(self, address: IPAddress, pings: Pings) -> None:
        pause = self.seconds / 2 / _PINGS
        with echo_socket(address, self.mark) as raw:
            async with asyncio.TaskGroup() as both:
                both.create_task(_send_requests(raw, address, pings, pause))
                both.create_task(_count_replies(raw, address, pings, pause))

    async def _ask_neighbour(self) -> None:
        await neighbour.ask_again(self.target)

    async def _read_filter(self) -> None:
        self._filter = await reverse_path_obstacle(self.target.vip, self.target.route.ifindex)

    async def _connect_and_listen(self) -> None:
        vip, port = self.target.vip, self.target.port
        with marked_socket(vip, socket.SOCK_STREAM, self.mark) as stream:
            # Bound first: its port is needed before the first answer can come.
            stream.bind(("", 0))
            with segments_for(vip, port, stream.getsockname()[1]) as raw:
                connecting = asyncio.create_task(_quiet(partial(connect, stream, vip, port)))
                try:
                    source = vip
                    while source == vip:
                        _, source = await receive(raw)
                finally:
                    connecting.cancel()
                    await asyncio.gather(connecting, return_exceptions=True)
                self._wrong_source = source


async def _send_requests(
    raw: WaitingSocket, address: IPAddress, pings: Pings, pause: float
) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(_PINGS):
        try:
            pings.unanswered[send_request(raw, address)] = loop.time()
        except OSError as error:
            # No other host says so: a filter of this machine has dropped the request.
            pings.is_blocked |= error.errno == errno.EPERM
        await asyncio.sleep(pause)


async def _count_replies(
    raw: WaitingSocket, address: IPAddress, pings: Pings, pause: float
) -> None:
    while True:
        try:
            del pings.unanswered[await reply_to(pings.unanswered, raw, address)]
            pings.answered += 1
        except OSError:  # an ICMP error, which is no reply
            await asyncio.sleep(pause)


async def _quiet(part: _Part) -> None:
    """Run one part; what it fails with is no evidence."""
    try:
        await part()
    except (OSError, NetlinkError) as error:
        _log.debug("looking around: %s", error)


async def reverse_path_obstacle(vip: IPAddress, ifindex: int) -> str:
    """Return what to set so that replies from a VIP are not dropped here; empty if they are not.

    IPv6 has no such filter but in nftables.

    Args:
        vip: the source of the replies.
        ifindex: the index of the device they come in by.
    """
    if vip.version == 6:
        return ""
    try:
        name = socket.if_indextoname(ifindex)
        settings = Path("/proc/sys/net/ipv4/conf")
        # The larger of the two holds (ip-sysctl of the kernel's documentation).
        mode = max(int((settings / of / "rp_filter").read_text()) for of in ("all", name))
    except OSError:
        return ""
    if not mode:
        return ""
    back = await _way_back(vip)
    if back == ifindex or (mode == 2 and back):
        return ""
    if back:
        return f"sysctl -w net.ipv4.conf.{name}.rp_filter=2"
    return (
        f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0, or give this "
        "machine a default route and use 2"
    )


async def _way_back(vip: IPAddress) -> int:
    """Return the device by which the kernel would send to an address; 0 for none."""
    try:
        async with AsyncIPRoute() as ip:
            (route,) = await ip.route("get", dst=str(vip), family=family_of(vip))
    except NetlinkError:
        return 0
    return int(route.get("oif") or 0) if route["type"] == rt_type["unicast"] else 0
