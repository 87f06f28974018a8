"""Where the frames of desired backends are to go: MACs found, kept or given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydsr.errors import NotAttachedError
from pydsr.kernel import links, neighbours
from pydsr.kernel.neighbours import Neighbour
from pydsr.model import Backend, IPAddress, MacAddress, Service
from pydsr.planner import DesiredBackend


@dataclass(frozen=True)
class PlacedBackend:
    """A desired backend with the MAC and the interface its frames go to."""

    desired: DesiredBackend
    mac: MacAddress
    ifindex: int
    by_hand: bool


def place_backends(
    service: Service, desired: Sequence[DesiredBackend], attached: Mapping[int, str]
) -> list[PlacedBackend]:
    """Find the place of every backend a service is to have.

    A backend the service has keeps its place, but for a newer MAC that the kernel is sure of.

    Args:
        service: the service as it is.
        desired: the backends it is to have.
        attached: names of the balancer's interfaces, by index.

    Raises:
        BackendUnresolvedError: the MAC of one or more cannot be found; names them.
        NotAttachedError: there is no interface to look for them on.
    """
    kept: dict[IPAddress, Neighbour] = {}
    given: list[DesiredBackend] = []
    unknown: list[IPAddress] = []
    for item in desired:
        place = _present_place(service.backend(item.address), item)
        if place is not None:
            kept[item.address] = place
        elif item.mac is not None:
            given.append(item)
        else:
            unknown.append(item.address)
    if (given or unknown) and not attached:
        raise NotAttachedError(
            "the balancer is on no interface, so no backend can be found", "pydsr attach IFACE"
        )
    places = kept | neighbours.resolve(unknown, attached)
    resolved = [item.address for item in desired if item.mac is None and item.address in kept]
    places |= neighbours.known(resolved, attached)
    for item in given:
        if item.mac is not None:
            places[item.address] = Neighbour(item.mac, _link_by_hand(item.address, attached))
    return [
        PlacedBackend(item, place.mac, place.ifindex, item.mac is not None)
        for item in desired
        for place in (places[item.address],)
    ]


def _present_place(present: Backend | None, item: DesiredBackend) -> Neighbour | None:
    """Return the place a backend may keep, or None where another was asked for."""
    if present is None or present.mac is None:
        return None
    wants_same = item.mac == present.mac if present.mac_by_hand else item.mac is None
    return Neighbour(present.mac, present.ifindex) if wants_same else None


def _link_by_hand(address: IPAddress, attached: Mapping[int, str]) -> int:
    """Return the interface of a backend whose MAC was given: the only one, or by route."""
    if len(attached) == 1:
        return next(iter(attached))
    with links.netlink() as ip:
        return neighbours.link_of(ip, address, attached)
