"""The backends a service is to have, and the changes that lead there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Place, Tag, format_tags
from pydsr.model.change import Change
from pydsr.model.errors import InputError
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendSpec, BackendState, Service


@dataclass(frozen=True)
class DesiredBackend:
    """A backend as it is to be; ``mac`` None is to be resolved or kept, ``tags`` go with it."""

    address: IPAddress
    weight: int
    state: BackendState
    mac: MacAddress | None = None
    tags: tuple[Tag, ...] = ()


Edit = Callable[[Service], tuple[DesiredBackend, ...]]
"""From a service to the backends it is to have; raises InputError where it cannot."""


def as_desired(backend: Backend) -> DesiredBackend:
    """Return a present backend as one that is to stay as it is."""
    mac, tags = (backend.mac, backend.tags) if backend.mac_by_hand else (None, ())
    return DesiredBackend(backend.address, backend.weight, backend.state, mac, tags)


def from_spec(spec: BackendSpec, present: Backend | None = None) -> DesiredBackend:
    """Return a backend as a user names it, where it may be present already."""
    state = BackendState.UP if spec.weight else BackendState.DRAIN
    mac, tags = spec.mac, spec.tags
    if mac is None and present is not None and present.mac_by_hand:
        mac, tags = present.mac, present.tags
    if present is not None and spec.weight and present.state is not BackendState.UP:
        # A new weight does not end a drain somebody asked for; a weight where there was
        # none does.
        state = present.state if present.weight else BackendState.UP
    return DesiredBackend(spec.address, spec.weight, state, mac, tags)


def check_specs(endpoint: Endpoint, specs: Sequence[BackendSpec]) -> None:
    """Refuse backends that cannot be together, or not behind that endpoint.

    Raises:
        InputError: an address twice, or a backend whose address is the VIP.
    """
    addresses: set[IPAddress] = set()
    for spec in specs:
        if spec.address in addresses:
            raise InputError(f"backend {spec.address} is named twice", "name it once")
        if spec.address == endpoint.address:
            raise InputError(
                f"backend {spec.address} is the VIP itself",
                "name the backend by an address of its own; the VIP stands on its loopback",
            )
        addresses.add(spec.address)


def backend_changes(
    service: Service, desired: Sequence[DesiredBackend], places: Sequence[Place | None]
) -> tuple[Change, ...]:
    """Compare a service's backends with the desired ones, whose places are given beside them."""
    changes: list[Change] = []
    wanted = {item.address for item in desired}
    for backend in service.backends:
        if backend.address not in wanted:
            name = f"{service.endpoint} {backend.address}"
            changes.append(Change("remove backend", name, f"weight {backend.weight}"))
    known = {backend.address: backend for backend in service.backends}
    for item, place in zip(desired, places, strict=True):
        name = f"{service.endpoint} {item.address}"
        present = known.get(item.address)
        if present is None:
            changes.append(Change("add backend", name, None, f"weight {item.weight}"))
            continue
        if present.weight != item.weight:
            changes.append(Change("set weight", name, present.weight, item.weight))
        if present.state != item.state:
            changes.append(Change("set state", name, present.state.value, item.state.value))
        if place is not None:
            changes += _place_changes(name, present, place)
        by_hand = item.mac is not None
        if present.mac_by_hand != by_hand:
            sources = ("by hand", "ARP/ND") if present.mac_by_hand else ("ARP/ND", "by hand")
            changes.append(Change("set mac source", name, *sources))
    return tuple(changes)


def _place_changes(name: str, present: Backend, place: Place) -> list[Change]:
    changes = []
    if present.mac != place.mac:
        changes.append(Change("set mac", name, str(present.mac), str(place.mac)))
    if present.tags != place.tags:
        before, after = format_tags(present.tags) or "none", format_tags(place.tags) or "none"
        changes.append(Change("set vlan", name, before, after))
    if present.ifindex != place.ifindex:
        changes.append(Change("set interface", name, present.ifindex, place.ifindex))
    return changes


def removal_changes(service: Service) -> tuple[Change, ...]:
    """Return the changes that a service and its backends go by."""
    name = service.options.name or str(service.endpoint)
    return (
        Change("remove service", str(service.endpoint), name),
        *(
            Change("remove backend", f"{service.endpoint} {b.address}", f"weight {b.weight}")
            for b in service.backends
        ),
    )


def option_changes(
    endpoint: Endpoint, before: ServiceOptions, after: ServiceOptions
) -> tuple[Change, ...]:
    """Compare the options of a service with what they are to be."""
    if before == after:
        return ()
    return tuple(
        Change(f"set {one.name.replace('_', '-')}", str(endpoint), *map(_shown, values))
        for one in fields(ServiceOptions)
        for values in [(getattr(before, one.name), getattr(after, one.name))]
        if values[0] != values[1]
    )


def _shown(value: str | int | bool | None) -> str | int:
    if value is None:
        return "default"
    return str(value).lower() if isinstance(value, bool) else value


def moves_flows(before: ServiceOptions, after: ServiceOptions) -> bool:
    """Return whether other options hash flows to other slots than before."""
    return any(
        getattr(before, name) != getattr(after, name)
        for name in ("affinity", "netmask4", "netmask6")
    )


def check_options(endpoint: Endpoint, options: ServiceOptions) -> None:
    """Refuse options that a service of an endpoint cannot have.

    Raises:
        InputError: it cannot.
    """
    if options.max_new_flows and not endpoint.protocol.tells_new_flows:
        raise InputError(
            f"new flows of {endpoint} cannot be limited: a datagram does not say that it opens one",
            "leave max-new-flows out, or limit sources with pydsr acl",
        )
