"""What health asks of the data plane: ways to backends, and their states. All of it blocks."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.daemon.health_memory import Key, Turn
from pydsr.health.standing import judged
from pydsr.health.targets import Route, route_to
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.desired import DesiredBackend, Edit, as_desired
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.service import Backend, Service
from pydsr.model.snapshot import Snapshot

_log = logging.getLogger(__name__)


class DataPlane:
    """The balancer as health sees it, which may come and go; for threads, one at a time each.

    It is kept open: opened anew, each change would read all tables again, which takes as long as to
    make a hundred.

    Args:
        directory: of the pins.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._balancer: Balancer | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._balancer is not None:
            self._balancer.close()
            self._balancer = None

    @contextmanager
    def _opened(self) -> Iterator[Balancer]:
        with self._lock:
            try:
                if self._balancer is None:
                    self._balancer = Balancer(self._directory)
                self._balancer.follow_pins()
                yield self._balancer
            except BaseException:
                # What was purged would keep its memory; and after a failure it is read anew.
                self._let_go()
                raise

    def services(self, endpoints: Collection[Endpoint]) -> dict[Endpoint, Service]:
        """Return those services that are there, if there is a balancer."""
        try:
            with self._opened() as balancer:
                present = balancer.services()
        except NotAttachedError:
            return {}
        return {one.endpoint: one for one in present if one.endpoint in endpoints}

    def routes(self, services: Iterable[DesiredService]) -> dict[Endpoint, tuple[Route, ...]]:
        """Return the ways to the backends that are checked, as the data plane has them.

        Raises:
            NotAttachedError: there is no balancer.
        """
        interfaces = links.all_interfaces()
        found = {}
        with self._opened() as balancer:
            attached = {one.ifindex for one in balancer.interfaces()}
            present = {one.endpoint: one for one in balancer.services()}
        for service in services:
            there = present.get(service.endpoint)
            backends = (there.backend(item.address) for item in judged(service)) if there else ()
            ways = (
                route_to(backend, service.endpoint.address, interfaces, attached)
                for backend in backends
                if backend is not None
            )
            found[service.endpoint] = tuple(way for way in ways if way is not None)
        return found

    def change(self, turns: Iterable[Turn]) -> set[Key]:
        """Bring the data plane to what has become of backends, all in one go.

        Only what is as it was left is changed: what a command has done since stays.

        Returns:
            The backends that were as they were left.

        Raises:
            BusyError: another command is at it.
            PydsrError: it could not be done.
        """
        by_service: defaultdict[Endpoint, dict[IPAddress, Turn]] = defaultdict(dict)
        for turn in turns:
            if turn.is_change:
                by_service[turn.endpoint][turn.address] = turn
        changed: set[Key] = set()
        if by_service:
            with self._opened() as balancer:
                balancer.change_several(
                    {endpoint: _edit(theirs, changed) for endpoint, theirs in by_service.items()}
                )
        return changed

    def snapshot(self) -> Snapshot | None:
        """Return the counters of this moment; None where they cannot be read."""
        try:
            with self._opened() as balancer:
                return balancer.snapshot()
        except PydsrError as error:
            _log.debug("no counters to suspect by: %s", error)
            return None


def _edit(turns: Mapping[IPAddress, Turn], changed: set[Key]) -> Edit:
    def edit(service: Service) -> tuple[DesiredBackend, ...]:
        return tuple(
            _turned(backend, turns.get(backend.address), changed) for backend in service.backends
        )

    return edit


def _turned(present: Backend, turn: Turn | None, changed: set[Key]) -> DesiredBackend:
    item = as_desired(present)
    if turn is None or present.state is not turn.before.state:
        return item
    changed.add(turn.key)
    weight = turn.after.weight if present.weight == turn.before.weight else present.weight
    return replace(item, state=turn.after.state, weight=weight)
