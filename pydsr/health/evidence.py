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

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import rt_type

from pydsr.health import neighbour
from pydsr.health.echo import echo_socket, ping
from pydsr.health.sockets import connect, marked_socket, receive, segments_for
from pydsr.health.steering_plan import family_of
from pydsr.health.symptoms import Evidence
from pydsr.health.targets import Target
from pydsr.model import IPAddress

_log = logging.getLogger(__name__)


_Part = Callable[[], Awaitable[None]]

_PINGS = 5
"""How many each address gets: where half of all packets are lost, one of 32 loses them all."""


@dataclass
class Pings:
    """Those to one address: how many were sent and answered, and whether this machine let them."""

    sent: int = 0
    answered: int = 0
    is_blocked: bool = False


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
        answering = [pings for pings in (self._backend, self._vip) if pings and pings.answered]
        return Evidence(
            has_neighbour=await neighbour.has_neighbour(self.target),
            backend_answers=bool(self._backend.answered) if self._backend else None,
            vip_answers=bool(self._vip.answered) if self._vip else None,
            wrong_source=self._wrong_source,
            filter=self._filter,
            pings_sent=sum(pings.sent for pings in answering),
            pings_lost=sum(pings.sent - pings.answered for pings in answering),
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

        async def once(number: int) -> None:
            await asyncio.sleep(number * pause)
            with echo_socket(address, self.mark) as raw:
                pings.sent += 1
                try:
                    await ping(raw, address)
                except OSError as error:
                    # No other host says so: a filter of this machine has dropped the request.
                    pings.is_blocked |= error.errno == errno.EPERM
                    raise
            pings.answered += 1

        await asyncio.gather(*(_quiet(partial(once, number)) for number in range(_PINGS)))

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
