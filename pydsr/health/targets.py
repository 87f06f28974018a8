"""The checks to make and their services: services with equal checks share them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.checks import Check, port_of
from pydsr.model.interfaces import Interface, find_segments
from pydsr.model.service import Backend


@dataclass(frozen=True)
class Route:
    """How frames reach a backend: by a device in its network, or its VLAN.

    The MAC is None unless it is fixed: the kernel resolves it.
    """

    backend: IPAddress
    ifindex: int
    mac: MacAddress | None = None


@dataclass(frozen=True)
class CheckTarget:
    """What a check asks: a VIP on one backend. The port is 0 for checks without one."""

    vip: IPAddress
    port: int
    route: Route

    def __str__(self) -> str:
        host = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{host}:{self.port or '*'} on {self.route.backend}"


@dataclass(frozen=True)
class Job:
    """One check of one target, for all services that want it."""

    check: Check
    target: CheckTarget

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Cached: hashing some forty values several times for each check is slow.
        return hash((self.check, self.target))


def route_to(
    backend: Backend, vip: IPAddress, interfaces: Collection[Interface], attached: Collection[int]
) -> Route | None:
    """Return how this kernel reaches a backend through the same device as the program.

    Args:
        backend: as in the data plane.
        vip: to check on it.
        interfaces: all of this network namespace.
        attached: indices of the attached ones.

    Returns:
        None if no device of this machine has the backend's VLAN tags, or its MAC is unknown.
    """
    if backend.mac is None:
        return None
    masters = {interface.index: interface.master for interface in interfaces}
    behind = (backend.ifindex, masters.get(backend.ifindex))
    devices = [
        index
        for index, segment in sorted(find_segments(interfaces, attached).items())
        if segment.ifindex in behind and segment.tags == backend.tags
        # A bridge port has no addresses; the bridge has them.
        if index not in attached or not masters.get(index)
    ]
    if not devices:
        return None
    # The kernel cannot route IPv6 by an IPv4 next hop.
    needs_mac = backend.mac_by_hand or vip.version > backend.address.version
    return Route(backend.address, devices[0], backend.mac if needs_mac else None)


def jobs_for(
    wanted: Iterable[tuple[Endpoint, Iterable[Check], Iterable[Route]]],
) -> Mapping[Job, frozenset[Endpoint]]:
    """Return each job with its services, from services with their checks and routes."""
    jobs: defaultdict[Job, set[Endpoint]] = defaultdict(set)
    for endpoint, checks, routes in wanted:
        checks = tuple(checks)
        for route in routes:
            for check in checks:
                target = CheckTarget(endpoint.address, port_of(check, endpoint), route)
                jobs[Job(check, target)].add(endpoint)
    return {job: frozenset(endpoints) for job, endpoints in jobs.items()}
