"""What is checked, and for whom: services that name one check share its work. Pure."""

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
class CheckTarget:
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
    target: CheckTarget

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Of some forty values, and asked for several times with each check.
        return hash((self.check, self.target))


def route_to(
    backend: Backend, vip: IPAddress, interfaces: Collection[Interface], attached: Collection[int]
) -> Route | None:
    """Return how this machine's kernel gets frames to where the balancer's program sends them.

    Args:
        backend: as the data plane has it.
        vip: which is to be checked on it.
        interfaces: all of this network namespace.
        attached: indices of those the balancer is on.

    Returns:
        None where no device of this machine has the backend's tags, or its MAC is not known.
    """
    if backend.mac is None:
        return None
    masters = {one.index: one.master for one in interfaces}
    behind = (backend.ifindex, masters.get(backend.ifindex))
    devices = [
        index
        for index, segment in sorted(find_segments(interfaces, attached).items())
        if segment.ifindex in behind and segment.tags == backend.tags
        # A port of a bridge has no addresses: the bridge itself has.
        if index not in attached or not masters.get(index)
    ]
    if not devices:
        return None
    # The kernel has no route for an IPv6 VIP by an IPv4 address.
    takes_mac = backend.mac_by_hand or vip.version > backend.address.version
    return Route(backend.address, devices[0], backend.mac if takes_mac else None)


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
                target = CheckTarget(endpoint.address, port_of(check, endpoint), route)
                jobs[Job(check, target)].add(endpoint)
    return {job: frozenset(endpoints) for job, endpoints in jobs.items()}
