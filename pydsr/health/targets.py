"""What is checked, and for whom: services that name one check share its work. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydsr.health.models import Check
from pydsr.model import EVERY_PORT, Endpoint, IPAddress, MacAddress


@dataclass(frozen=True)
class Route:
    """How frames get to a backend.

    Attributes:
        backend: its own address.
        ifindex: the index of the device it is directly behind: a VLAN device where it is in a VLAN.
        mac: where its frames go, if that is set by hand; None has the kernel find it.
    """

    backend: IPAddress
    ifindex: int
    mac: MacAddress | None = None


@dataclass(frozen=True)
class Target:
    """Where a check asks.

    Attributes:
        vip: the destination.
        port: of the VIP; 0 for checks that need none.
        route: which backend is asked.
    """

    vip: IPAddress
    port: int
    route: Route

    def __str__(self) -> str:
        host = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{host}:{self.port or '*'} on {self.route.backend}"


@dataclass(frozen=True)
class Job:
    """One check of one target, made once for all services that want it."""

    check: Check
    target: Target


def port_of(check: Check, endpoint: Endpoint) -> int:
    """Return which port a check asks: its own, or else the service's.

    Returns:
        0 for a check that needs none, and where a service of every port does not say which.
    """
    if not check.needs_port:
        return 0
    return check.port or (0 if endpoint.port == EVERY_PORT else endpoint.port)


def jobs_for(
    wanted: Iterable[tuple[Endpoint, Iterable[Check], Iterable[Route]]],
) -> Mapping[Job, frozenset[Endpoint]]:
    """Return every job there is to do, with the services it is done for.

    Args:
        wanted: services with their checks and the routes to their backends.
    """
    jobs: defaultdict[Job, set[Endpoint]] = defaultdict(set)
    for endpoint, checks, routes in wanted:
        checks = tuple(checks)
        for route in routes:
            for check in checks:
                target = Target(endpoint.address, port_of(check, endpoint), route)
                jobs[Job(check, target)].add(endpoint)
    return {job: frozenset(endpoints) for job, endpoints in jobs.items()}
