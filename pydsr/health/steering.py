"""Route marked sockets to the VIP on one backend each, by rules and routes of the kernel.

:meth:`Steering.refresh` compares the kernel's entries with the wanted ones and makes the
difference. So the next start removes what a killed process left, and a refresh restores what the
kernel removed with a link. All entries have the protocol number ``steering_plan.PROTOCOL``; others
are left alone.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Self

from pydsr.health import steering_netlink
from pydsr.health.steering_plan import MAX_ROUTES, entries, in_order, mark_of
from pydsr.health.targets import CheckTarget, Route
from pydsr.model.addresses import IPAddress
from pydsr.model.errors import BusyError, InputError

_log = logging.getLogger(__name__)

_LOCK = "\0pydsr-health"
"""An abstract socket: its name belongs to the network namespace, and disappears with the
process."""


class Steering:
    """The rules and routes of this network namespace, for the length of an ``async with`` block.

    Raises:
        BusyError: another process has them.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
        EnvironmentCannotError: the kernel refuses an entry.
    """

    def __init__(self) -> None:
        self._numbers: dict[Route, int] = {}
        self._vips: dict[Route, set[IPAddress]] = {}
        self._latest = 0
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_lock())
            await self.refresh()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._stack:
            await self.steer(())

    def check(self, targets: Iterable[CheckTarget]) -> None:
        """Check targets before anything is changed.

        Raises:
            InputError: a backend cannot be reached by its route, or there are too many.
        """
        vips = _vips_by_route(targets)
        entries(self._numbered(vips), vips)

    async def steer(self, targets: Iterable[CheckTarget]) -> None:
        """Make marks for these targets and no others; those that stay keep theirs.

        Raises:
            InputError: as :meth:`check`; nothing was changed.
            EnvironmentCannotError: the kernel refuses an entry; :meth:`refresh` tries again.
        """
        vips = _vips_by_route(targets)
        numbers = self._numbered(vips)
        entries(numbers, vips)
        self._numbers, self._vips = numbers, vips
        self._latest = list(numbers.values())[-1] if numbers else self._latest
        await self.refresh()

    def mark(self, route: Route) -> int:
        """Return the mark of sockets that reach a backend."""
        return mark_of(self._numbers[route])

    async def refresh(self) -> None:
        """Add missing entries to the kernel, and remove others of ours."""
        wanted = entries(self._numbers, self._vips)
        async with steering_netlink.netlink() as ip:
            present = {entry async for entry in steering_netlink.present(ip)}
            for entry in reversed(in_order(present - wanted)):
                _log.debug("removing %s", entry)
                await steering_netlink.delete(ip, entry)
            for entry in in_order(wanted - present):
                _log.debug("adding %s", entry)
                await steering_netlink.add(ip, entry)

    def _numbered(self, routes: Collection[Route]) -> dict[Route, int]:
        """Return the number of each route: its present one, or a free one.

        New numbers follow the latest, so that a late answer cannot reach the new owner of a number.
        """
        if len(routes) > MAX_ROUTES:
            raise InputError(
                f"{len(routes)} backends are too many to check",
                f"at most {MAX_ROUTES} in one network namespace",
            )
        numbers = {route: self._numbers[route] for route in routes if route in self._numbers}
        used = set(numbers.values())
        circle = (self._latest + step for step in range(MAX_ROUTES))
        free = (number % MAX_ROUTES + 1 for number in circle)
        unused = (number for number in free if number not in used)
        return numbers | {route: next(unused) for route in routes if route not in numbers}


def _vips_by_route(targets: Iterable[CheckTarget]) -> dict[Route, set[IPAddress]]:
    vips: dict[Route, set[IPAddress]] = {}
    for target in targets:
        vips.setdefault(target.route, set()).add(target.vip)
    return vips


def _lock() -> socket.socket:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(_LOCK)
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise BusyError(
            "another process makes health checks in this network namespace",
            "ss -xlp | grep pydsr-health shows which; stop it first",
        ) from None
    return lock
