"""Brings marked sockets to the VIP on one backend each, by rules and routes of the kernel.

The kernel is compared with what is to be there, and the difference made. So whatever a killed
process left goes with the next start, and what the kernel removed with a link that was down
comes back by :meth:`Steering.refresh`. All that is made here has the protocol number
``steering_plan.PROTOCOL``, and nothing else is touched.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Collection, Iterable
from typing import Self

from pydsr.health import steering_netlink
from pydsr.health.steering_plan import MAX_ROUTES, entries, in_order, mark_of
from pydsr.health.targets import CheckTarget, Route
from pydsr.model.addresses import IPAddress
from pydsr.model.errors import BusyError, InputError

_log = logging.getLogger(__name__)

_LOCK = "\0pydsr-health"
"""An abstract socket: its name is of this network namespace, and gone with the process."""


class Steering:
    """Owns the rules and routes of this network namespace; to be used by ``async with``.

    Raises:
        BusyError: another process has them.
        PermissionDeniedError: CAP_NET_ADMIN is missing.
        EnvironmentCannotError: the kernel refuses.
    """

    def __init__(self) -> None:
        self._numbers: dict[Route, int] = {}
        self._vips: dict[Route, set[IPAddress]] = {}
        self._latest = 0
        self._lock: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._lock = _locked()
        try:
            await self.refresh()
        except BaseException:
            self._lock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.steer(())
        finally:
            if self._lock is not None:
                self._lock.close()

    def check(self, targets: Iterable[CheckTarget]) -> None:
        """Find what is wrong with targets before anything is changed.

        Raises:
            InputError: a backend cannot be reached that way, or there are too many.
        """
        vips = _vips_by_route(targets)
        entries(self._numbered(vips), vips)

    async def steer(self, targets: Iterable[CheckTarget]) -> None:
        """Have just these targets reached by their marks; those that stay keep theirs.

        Raises:
            InputError: as :meth:`check`; nothing was changed.
            EnvironmentCannotError: the kernel refuses; :meth:`refresh` tries again.
        """
        vips = _vips_by_route(targets)
        numbers = self._numbered(vips)
        entries(numbers, vips)
        self._numbers, self._vips = numbers, vips
        self._latest = list(numbers.values())[-1] if numbers else self._latest
        await self.refresh()

    def mark(self, route: Route) -> int:
        """Return the mark of sockets that are to reach a backend."""
        return mark_of(self._numbers[route])

    async def refresh(self) -> None:
        """Make what is missing in the kernel, and remove what is too much."""
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
        """Return a number for each route: the one it has, or one that is free.

        New ones go on from the latest, so that a late answer to a removed one finds no new owner.
        """
        if len(routes) > MAX_ROUTES:
            raise InputError(
                f"{len(routes)} backends are too many to check",
                f"at most {MAX_ROUTES} in one network namespace",
            )
        numbers = {route: self._numbers[route] for route in routes if route in self._numbers}
        taken = set(numbers.values())
        circle = (self._latest + step for step in range(MAX_ROUTES))
        free = (number % MAX_ROUTES + 1 for number in circle)
        unused = (number for number in free if number not in taken)
        return numbers | {route: next(unused) for route in routes if route not in numbers}


def _vips_by_route(targets: Iterable[CheckTarget]) -> dict[Route, set[IPAddress]]:
    vips: dict[Route, set[IPAddress]] = {}
    for target in targets:
        vips.setdefault(target.route, set()).add(target.vip)
    return vips


def _locked() -> socket.socket:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(_LOCK)
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise BusyError(
            "another process makes health checks in this network namespace",
            "ss -xlp | grep pydsr-health shows which; end it first",
        ) from None
    return lock
