"""Resolve backends: find the MAC, VLAN and interface for their frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from pydsr.control.attached_interfaces import Attached
from pydsr.kernel.net import links, neighbours
from pydsr.kernel.net.netlink import netlink
from pydsr.model.addresses import IPAddress, MacAddress, Place
from pydsr.model.desired_state import DesiredService
from pydsr.model.errors import BackendUnresolvedError, InputError, NotAttachedError
from pydsr.model.interfaces import Interface, Segment, find_segments
from pydsr.model.service import Backend, DesiredBackend, Service

BeforeAfter = tuple[Service | None, DesiredService]
"""A live service, or None if it does not exist, and the desired service."""


def place_backends(services: Sequence[BeforeAfter], network: Network) -> list[list[Place]]:
    """Resolve all backends that services will have.

    A live backend keeps its place unless the kernel has confirmed another one.

    Returns for each service the places of its desired backends, in their order.

    Raises:
        BackendUnresolvedError: the MAC of one or more cannot be found; the message names them.
        InputError: a backend has the balancer's own MAC.
        NotAttachedError: there is no interface to look for them on.
    """
    kept = [_kept_places(before, desired) for before, desired in services]
    unknown: dict[IPAddress, None] = {}
    resolved: dict[IPAddress, None] = {}
    for (_, desired), places in zip(services, kept, strict=True):
        for backend in desired.backends:
            if backend.mac is None:
                (resolved if places[backend.address] else unknown)[backend.address] = None
    answers = network.resolve([*unknown])
    seen = network.seen([*resolved])

    def place_of(backend: DesiredBackend, place: Place | None) -> Place:
        if backend.mac is not None:
            place = place or network.place_by_hand(backend, backend.mac)
        elif place is None:
            place = answers[backend.address]
        else:
            place = newer_place(place, seen.get(backend.address, ())) or place
        network.refuse_own_mac(backend.address, place)
        return place

    return [
        [place_of(backend, places[backend.address]) for backend in desired.backends]
        for (_, desired), places in zip(services, kept, strict=True)
    ]


def newer_place(kept: Place, seen: Sequence[Place]) -> Place | None:
    """Return the new place of a backend; None if it is still seen at the kept one."""
    return seen[0] if seen and kept not in seen else None


def _kept_places(before: Service | None, desired: DesiredService) -> dict[IPAddress, Place | None]:
    live = {backend.address: backend for backend in before.backends} if before else {}
    return {b.address: _kept_place(live.get(b.address), b) for b in desired.backends}


def _kept_place(live: Backend | None, desired: DesiredBackend) -> Place | None:
    """Return the place that a live backend may keep; None if another was requested."""
    if live is None or live.place is None:
        return None
    if not live.mac_by_hand:
        return live.place if desired.mac is None else None
    same = desired.mac == live.mac and desired.tags in ((), live.tags)
    return live.place if same else None


class Network:
    """The networks behind attached interfaces; by default all interfaces are read."""

    def __init__(
        self, attached: Sequence[Attached], interfaces: Sequence[Interface] | None = None
    ) -> None:
        self._attached = attached
        self._interfaces = interfaces
        self._ifindexes = {interface.ifindex for interface in attached}
        self._own_macs = {interface.mac: interface.name for interface in attached}
        self._seen: dict[IPAddress, list[Place]] = {}
        self._ports: dict[tuple[int, MacAddress], int] | None = None

    @cached_property
    def _segments(self) -> Mapping[int, Segment]:
        if not self._attached:
            raise NotAttachedError(
                "the balancer is on no interface, so no backend can be found", "pydsr attach IFACE"
            )
        interfaces = links.all_interfaces() if self._interfaces is None else self._interfaces
        return find_segments(interfaces, self._ifindexes)

    def resolve(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, Place]:
        """Resolve backends by asking the networks for them.

        Raises:
            BackendUnresolvedError: one or more do not answer, or are on another network.
            NotAttachedError: there is no network to ask.
        """
        if not addresses:
            return {}
        places = neighbours.resolve(addresses, self._segments)
        return {address: self._at_port(address, place) for address, place in places.items()}

    def seen(self, addresses: Sequence[IPAddress]) -> Mapping[IPAddress, Sequence[Place]]:
        """Return the places of backends that the kernel has confirmed, by address."""
        new = [address for address in addresses if address not in self._seen]
        if new and self._attached:
            confirmed = neighbours.confirmed_places(new, self._segments)
            for address in new:
                places = map(self._through_bridge, confirmed.get(address, ()))
                self._seen[address] = [place for place in places if place is not None]
        return self._seen

    def place_at(self, device: int, mac: MacAddress) -> Place | None:
        """Return the place of a host behind a device; None if no attached interface leads there."""
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
        """Refuse a backend with the MAC of one of the balancer's interfaces.

        Raises:
            InputError: it has that MAC.
        """
        if place.mac in self._own_macs:
            raise InputError(
                f"{place.mac} of backend {address} is the MAC of {self._own_macs[place.mac]}, "
                "the balancer's own",
                f"name the backend's own with {address}@MAC: `ip link` there shows it",
            )

    def place_by_hand(self, backend: DesiredBackend, mac: MacAddress) -> Place:
        """Return the place of a backend with a fixed MAC: by its route, or the only interface.

        Raises:
            BackendUnresolvedError: no route says which of several interfaces leads there.
        """
        if len(self._segments) == 1:
            return Place(mac, next(iter(self._ifindexes)), backend.tags)
        try:
            with netlink() as ip:
                device = neighbours.device_of(ip, backend.address, self._segments)
            segment = self._segments[device]
            tags = backend.tags or segment.tags
            return self._at_port(backend.address, Place(mac, segment.ifindex, tags))
        except BackendUnresolvedError:
            if len(self._ifindexes) > 1:
                raise
            return Place(mac, next(iter(self._ifindexes)), backend.tags)

    def _at_port(self, address: IPAddress, place: Place) -> Place:
        at_port = self._through_bridge(place)
        if at_port is None:
            port = self._port_of(place)
            names = links.interface_names()
            bridge = names.get(place.ifindex, "a bridge")
            raise BackendUnresolvedError(
                f"backend {address} ({place.mac}) is behind a port of {bridge} where pydsr is not "
                "attached",
                f"pydsr attach {names[port]}" if port in names else f"{bridge} has not met it yet",
            )
        return at_port

    def _through_bridge(self, place: Place) -> Place | None:
        """Return a place at the port of a bridge; None if the balancer is not on that port."""
        if place.ifindex in self._ifindexes:
            return place
        port = self._port_of(place)
        return replace(place, ifindex=port) if port in self._ifindexes else None

    def _port_of(self, place: Place) -> int:
        if self._ports is None:
            self._ports = neighbours.bridge_ports()
        return self._ports.get((place.ifindex, place.mac), 0)
