"""The data plane as health sees it: routes to backends, and their states. All calls block."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydsr.control.balancer import Balancer
from pydsr.daemon.health_state import HealthChange, Key
from pydsr.health.service_health import checked_backends
from pydsr.health.targets import Route, route_to
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import NotAttachedError, PydsrError
from pydsr.model.service import Backend, DesiredBackend, Service, as_desired
from pydsr.model.snapshot import Snapshot

_log = logging.getLogger(__name__)


class DataPlane:
    """The balancer, which may be detached and attached again; for threads, one at a time.

    It stays open between calls: opening it reads all tables, which takes as long as a hundred
    changes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._balancer: Balancer | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close it; the next call opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
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
            except Exception:
                # Open purged maps would keep their memory, and after a failure everything is read
                # again.
                self._close()
                raise

    def services(self, endpoints: Collection[Endpoint]) -> dict[Endpoint, Service]:
        """Return the services that exist; none without a balancer."""
        try:
            with self._opened() as balancer:
                live = balancer.services()
        except NotAttachedError:
            return {}
        return {service.endpoint: service for service in live if service.endpoint in endpoints}

    def routes(self, services: Iterable[DesiredService]) -> dict[Endpoint, tuple[Route, ...]]:
        """Return the routes to each service's checked backends.

        Raises:
            NotAttachedError: there is no balancer.
        """
        interfaces = links.all_interfaces()
        with self._opened() as balancer:
            attached = {interface.ifindex for interface in balancer.interfaces()}
            live = {service.endpoint: service for service in balancer.services()}
        routes = {}
        for service in services:
            vip, present = service.endpoint.address, live.get(service.endpoint)
            candidates = (
                route_to(backend, vip, interfaces, attached)
                for item in checked_backends(service)
                if present is not None and (backend := present.backend(item.address)) is not None
            )
            routes[service.endpoint] = tuple(route for route in candidates if route is not None)
        return routes

    def make(self, changes: Iterable[HealthChange]) -> set[Key]:
        """Make all changes in one transaction, and return the backends that were changed.

        Backends that a command has changed since are left alone.

        Raises:
            BusyError: another process changes the data plane.
            PydsrError: the changes cannot be made.
        """
        by_service: defaultdict[Endpoint, dict[IPAddress, HealthChange]] = defaultdict(dict)
        for change in changes:
            if change.changes_data_plane:
                by_service[change.endpoint][change.address] = change
        if not by_service:
            return set()
        edits = [_HealthEdit(endpoint, of_service) for endpoint, of_service in by_service.items()]
        with self._opened() as balancer:
            before = balancer.change_several(edits)
        return {
            (service.endpoint, backend.address)
            for service in before
            for backend in service.backends
            if _applies(by_service[service.endpoint].get(backend.address), backend)
        }

    def snapshot(self) -> Snapshot | None:
        """Return the present counters; None if they cannot be read."""
        try:
            with self._opened() as balancer:
                return balancer.snapshot()
        except PydsrError as error:
            _log.debug("cannot read counters: %s", error)
            return None


@dataclass(frozen=True)
class _HealthEdit:
    """The changes of one service's backends, as an edit."""

    endpoint: Endpoint
    changes: Mapping[IPAddress, HealthChange]

    def desired_backends(self, service: Service) -> tuple[DesiredBackend, ...]:
        """Return the live backends, changed where no command has changed them since."""
        return tuple(_changed(live, self.changes.get(live.address)) for live in service.backends)


def _changed(live: Backend, change: HealthChange | None) -> DesiredBackend:
    item = as_desired(live)
    if change is None or not _applies(change, live):
        return item
    weight = change.after.weight if live.weight == change.before.weight else live.weight
    return replace(item, state=change.after.state, weight=weight)


def _applies(change: HealthChange | None, live: Backend) -> bool:
    """Return whether a backend is still in the state that a change starts from."""
    return change is not None and live.state is change.before.state
