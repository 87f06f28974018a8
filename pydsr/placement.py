"""Where the frames of desired backends are to go: places found, kept or given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydsr.attached import Attached
from pydsr.errors import BackendUnresolvedError, InputError, NotAttachedError
from pydsr.kernel import links, neighbours
from pydsr.model import Backend, IPAddress, MacAddress, Place, Service
from pydsr.planner import DesiredBackend
from pydsr.segments import Segment, find_segments


@dataclass(frozen=True)
class PlacedBackend:
    """A desired backend with the place its frames go to."""

    desired: DesiredBackend
    place: Place
    by_hand: bool


def place_backends(
    service: Service, desired: Sequence[DesiredBackend], attached: Sequence[Attached]
) -> list[PlacedBackend]:
    """Find the place of every backend a service is to have.

    A backend the service has keeps its place, but for a newer one that the kernel is sure of.

    Args:
        service: the service as it is.
        desired: the backends it is to have.
        attached: the balancer's interfaces.

    Raises:
        BackendUnresolvedError: the MAC of one or more cannot be found; names them.
        InputError: a MAC that was given is the balancer's own.
        NotAttachedError: there is no interface to look for them on.
    """
    kept: dict[IPAddress, Place] = {}
    given: dict[IPAddress, DesiredBackend] = {}
    unknown: list[IPAddress] = []
    for item in desired:
        place = _present_place(service.backend(item.address), item)
        if place is not None:
            kept[item.address] = place
        elif item.mac is not None:
            given[item.address] = item
        else:
            unknown.append(item.address)
    if (given or unknown) and not attached:
        raise NotAttachedError(
            "the balancer is on no interface, so no backend can be found", "pydsr attach IFACE"
        )
    segments = find_segments(links.all_interfaces(), {one.ifindex for one in attached})
    places = kept | neighbours.resolve(unknown, segments)
    resolved = [item.address for item in desired if item.mac is None and item.address in kept]
    places |= neighbours.known(resolved, segments)
    for address, item in given.items():
        if item.mac is not None:
            _check_mac(address, item.mac, attached)
            places[address] = _place_by_hand(item, item.mac, segments, attached)
    return [PlacedBackend(item, places[item.address], item.mac is not None) for item in desired]


def _present_place(present: Backend | None, item: DesiredBackend) -> Place | None:
    """Return the place a backend may keep, or None where another was asked for."""
    if present is None or present.place is None:
        return None
    if not present.mac_by_hand:
        return present.place if item.mac is None else None
    wants_same = item.mac == present.mac and item.tags in ((), present.tags)
    return present.place if wants_same else None


def _check_mac(address: IPAddress, mac: MacAddress, attached: Sequence[Attached]) -> None:
    for one in attached:
        if one.mac == mac:
            raise InputError(
                f"{mac} of backend {address} is the MAC of {one.name}, the balancer's own",
                "name the backend's: `ip link` there shows it",
            )


def _place_by_hand(
    item: DesiredBackend,
    mac: MacAddress,
    segments: Mapping[int, Segment],
    attached: Sequence[Attached],
) -> Place:
    """Return the place of a backend whose MAC was given: by its route, or the only one there is."""
    try:
        with links.netlink() as ip:
            segment = segments[neighbours.device_of(ip, item.address, segments)]
    except BackendUnresolvedError:
        if len(attached) > 1:
            raise
        segment = Segment(attached[0].ifindex)
    return Place(mac, segment.ifindex, item.tags or segment.tags)
