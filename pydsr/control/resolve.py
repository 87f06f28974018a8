"""Where the frames of desired backends are to go: places found, kept or given by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pydsr.control.attached_interfaces import Attached
from pydsr.kernel.net import links, neighbours
from pydsr.kernel.net.netlink import netlink
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.desired import DesiredBackend
from pydsr.model.errors import BackendUnresolvedError, InputError, NotAttachedError
from pydsr.model.interfaces import Interface, Segment, find_segments
from pydsr.model.service import Backend, Service


@dataclass(frozen=True)
class PlacedBackend:
    """A desired backend with the place its frames go to."""

    desired: DesiredBackend
    place: Place
    by_hand: bool


Request = tuple[Service | None, Sequence[DesiredBackend]]
"""A service as it is, or None for a new one, and the backends it is to have."""


def place_backends(requests: Sequence[Request], network: Network) -> list[list[PlacedBackend]]:
    """Find the places of all backends that services are to have.

    A backend the service has keeps its place, but for a newer one that the kernel is sure of.

    Args:
        requests: the services.
        network: that the balancer is on.

    Returns:
        Those of each request, in the order of its backends.

    Raises:
        BackendUnresolvedError: the MAC of one or more cannot be found; names them.
        InputError: the MAC of one is the balancer's own.
        NotAttachedError: there is no interface to look for them on.
    """
    kept = []
    for service, desired in requests:
        present = {backend.address: backend for backend in service.backends} if service else {}
        kept.append(
            {item.address: _present_place(present.get(item.address), item) for item in desired}
        )
    unknown: dict[IPAddress, None] = {}
    by_itself: dict[IPAddress, None] = {}
    for (_, desired), places in zip(requests, kept, strict=True):
        for item in desired:
            if item.mac is None:
                (by_itself if places[item.address] else unknown)[item.address] = None
    found = network.resolve([*unknown])
    seen = network.seen([*by_itself])
    placed: list[list[PlacedBackend]] = []
    for (_, desired), places in zip(requests, kept, strict=True):
        placed.append([])
        for item in desired:
            place = places[item.address]
            if item.mac is not None:
                place = place or network.place_by_hand(item, item.mac)
            elif place is None:
                place = found[item.address]
            else:
                place = newer_place(place, seen.get(item.address, ())) or place
            network.refuse_own_mac(item.address, place)
            placed[-1].append(PlacedBackend(item, place, item.mac is not None))
    return placed


def newer_place(kept: Place, seen: Sequence[Place]) -> Place | None:
    """Return where a backend is by now, if it is seen in places of which none is the one kept."""
    return seen[0] if seen and kept not in seen else None


def _present_place(present: Backend | None, item: DesiredBackend) -> Place | None:
    """Return the place a backend may keep, or None where another was asked for."""
    if present is None or present.place is None:
        return None
    if not present.mac_by_hand:
        return present.place if item.mac is None else None
    wants_same = item.mac == present.mac and item.tags in ((), present.tags)
    return present.place if wants_same else None


class Network:
    """The networks that the balancer is on, and who is where in them.

    Args:
        attached: the balancer's interfaces.
        interfaces: all there are; None has them looked up when they are needed.
    """

    def __init__(
        self, attached: Sequence[Attached], interfaces: Sequence[Interface] | None = None
    ) -> None:
        self._attached = attached
        self._interfaces = interfaces
        self._here = {one.ifindex for one in attached}
        self._own_macs = {one.mac: one.name for one in attached}
        self._seen: dict[IPAddress, list[Place]] = {}
        self._ports: dict[tuple[int, MacAddress], int] | None = None

    @cached_property
    def _segments(self) -> Mapping[int, Segment]:
        if not self._attached:
            raise NotAttachedError(
                "the balancer is on no interface, so no backend can be found", "pydsr attach IFACE"
            )
        interfaces = links.all_interfaces() if self._interfaces is None else self._interfaces
        return find_segments(interfaces, self._here)

    def resolve(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, Place]:
        """Find backends by asking the networks for them.

        Raises:
            BackendUnresolvedError: one or more do not answer, or are elsewhere.
            NotAttachedError: there is no network to ask.
        """
        if not addresses:
            return {}
        found = neighbours.resolve(addresses, self._segments)
        return {address: self._at_port(address, place) for address, place in found.items()}

    def seen(self, addresses: Sequence[IPAddress]) -> Mapping[IPAddress, Sequence[Place]]:
        """Return where the kernel is sure that backends are at this moment."""
        new = [address for address in addresses if address not in self._seen]
        if new and self._attached:
            known = neighbours.confirmed_places(new, self._segments)
            for address in new:
                places = map(self._through_bridge, known.get(address, ()))
                self._seen[address] = [place for place in places if place is not None]
        return self._seen

    def place_at(self, device: int, mac: MacAddress) -> Place | None:
        """Return the place of a host behind a device; None where the balancer is not on that."""
        segment = self._segments.get(device)
        if segment is None:
            return None
        return self._through_bridge(Place(mac, segment.ifindex, segment.tags))

    @property
    def devices(self) -> Collection[int]:
        """The indices of the devices that backends can be behind."""
        return self._segments.keys() if self._attached else ()

    def device_of(self, address: IPAddress) -> int:
        """Return the index of the device that an address is directly behind.

        Raises:
            BackendUnresolvedError: it is routed, local, or behind another interface.
        """
        with netlink() as ip:
            return neighbours.device_of(ip, address, self._segments)

    def refuse_own_mac(self, address: IPAddress, place: Place) -> None:
        """Refuse a backend that is to have the MAC of one of the balancer's interfaces.

        Raises:
            InputError: it has.
        """
        if place.mac in self._own_macs:
            raise InputError(
                f"{place.mac} of backend {address} is the MAC of {self._own_macs[place.mac]}, "
                "the balancer's own",
                f"name the backend's own with {address}@MAC: `ip link` there shows it",
            )

    def place_by_hand(self, item: DesiredBackend, mac: MacAddress) -> Place:
        """Return the place of a backend whose MAC was given: by its route, or the only one."""
        if len(self._segments) == 1:
            return Place(mac, next(iter(self._here)), item.tags)
        try:
            with netlink() as ip:
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
