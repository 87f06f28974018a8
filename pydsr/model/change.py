"""What a command changes, or with --plan would change. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from pydsr.model.addresses import Endpoint, Place, format_tags
from pydsr.model.errors import InputError
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, DesiredBackend, Service


@dataclass(frozen=True)
class Change:
    """One difference: what happens to which object, and its value before and after."""

    action: str
    object: str
    before: str | int | None = None
    after: str | int | None = None


@dataclass(frozen=True)
class Impact:
    """What a change of tables means for traffic.

    Attributes:
        changes: what is done.
        slots_moved: slots whose new flows go to another backend than before.
        slots: slots of the service.
        flows_moved: recorded flows that lose their backend. Flows are recorded only while
            slots change: at rest, what a removal moves is known by its slots alone.
        notes: what differs and is left alone.
    """

    changes: tuple[Change, ...]
    slots_moved: int = 0
    slots: int = 0
    flows_moved: int = 0
    notes: tuple[str, ...] = ()


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
