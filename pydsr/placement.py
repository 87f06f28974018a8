"""Where the frames of desired backends are to go: places found, kept or given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydsr.attached import Attached
from pydsr.errors import BackendUnresolvedError, InputError, NotAttachedError
from pydsr.kernel import links, neighbours
from pydsr.model import Backend, IPAddress, MacAddress, Place, Service
from pydsr.planner import DesiredBackend
from pydsr.segments import find_segments


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
        InputError: the MAC of one is the balancer's own.
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
    network = _Network(attached)
    found = network.resolve(unknown)
    for address, item in given.items():
        if item.mac is not None:
            found[address] = network.place_by_hand(item, item.mac)
    resolved = {item.address: kept[item.address] for item in desired if _is_resolved(item, kept)}
    found |= network.newer_places(resolved)
    _refuse_own_macs(found, attached)
    places = kept | found
    return [PlacedBackend(item, places[item.address], item.mac is not None) for item in desired]


def _is_resolved(item: DesiredBackend, kept: Mapping[IPAddress, Place]) -> bool:
    return item.mac is None and item.address in kept


def _present_place(present: Backend | None, item: DesiredBackend) -> Place | None:
    """Return the place a backend may keep, or None where another was asked for."""
    if present is None or present.place is None:
        return None
    if not present.mac_by_hand:
        return present.place if item.mac is None else None
    wants_same = item.mac == present.mac and item.tags in ((), present.tags)
    return present.place if wants_same else None


def _refuse_own_macs(places: Mapping[IPAddress, Place], attached: Sequence[Attached]) -> None:
    own = {one.mac: one.name for one in attached}
    for address, place in places.items():
        if place.mac in own:
            raise InputError(
                f"{place.mac} of backend {address} is the MAC of {own[place.mac]}, the balancer's "
                "own",
                f"name the backend's own with {address}@MAC: `ip link` there shows it",
            )


class _Network:
    """The networks that the balancer is on, and who is where in them."""

    def __init__(self, attached: Sequence[Attached]) -> None:
        self._here = {one.ifindex for one in attached}
        self._segments = find_segments(links.all_interfaces(), self._here)
        self._ports: dict[tuple[int, MacAddress], int] | None = None

    def resolve(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, Place]:
        """Find backends by asking the networks for them."""
        found = neighbours.resolve(addresses, self._segments)
        return {address: self._at_port(address, place) for address, place in found.items()}

    def newer_places(self, kept: Mapping[IPAddress, Place]) -> dict[IPAddress, Place]:
        """Return where backends are by now that are no longer where they were."""
        found = {}
        for address, seen in neighbours.known([*kept], self._segments).items():
            places = [place for place in map(self._through_bridge, seen) if place is not None]
            if places and kept[address] not in places:
                found[address] = places[0]
        return found

    def place_by_hand(self, item: DesiredBackend, mac: MacAddress) -> Place:
        """Return the place of a backend whose MAC was given: by its route, or the only one."""
        try:
            with links.netlink() as ip:
                device = neighbours.device_of(ip, item.address, self._segments)
            segment = self._segments[device]
            tags = item.tags or segment.tags
            return self._at_port(item.address, Place(mac, segment.ifindex, tags))
        except BackendUnresolvedError:
            if len(self._here) > 1:
                raise
            return Place(mac, next(iter(self._here)), item.tags)

    def _at_port(self, address: IPAddress, place: Place) -> Place:
        found = self._through_bridge(place)
        if found is None:
            port = self._port_of(place)
            names = links.interface_names()
            bridge = names.get(place.ifindex, "a bridge")
            raise BackendUnresolvedError(
                f"backend {address} ({place.mac}) is behind a port of {bridge} where pydsr is not "
                "attached",
                f"pydsr attach {names[port]}" if port in names else f"{bridge} has not met it yet",
            )
        return found

    def _through_bridge(self, place: Place) -> Place | None:
        """Return a place at the bridge's port instead of the bridge, if we are on that port."""
        if place.ifindex in self._here:
            return place
        port = self._port_of(place)
        return replace(place, ifindex=port) if port in self._here else None

    def _port_of(self, place: Place) -> int:
        if self._ports is None:
            self._ports = neighbours.bridge_ports()
        return self._ports.get((place.ifindex, place.mac), 0)
