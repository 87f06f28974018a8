"""Changes that a command made or, with --plan, would make, for display. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydsr.model.addresses import Endpoint, Place, format_tags
from pydsr.model.options import OPTIONS, ServiceOptions
from pydsr.model.service import Backend, DesiredBackend, Service


@dataclass(frozen=True)
class Change:
    """One difference: the action, its object, and the value before and after."""

    action: str
    object: str
    before: str | int | None = None
    after: str | int | None = None


@dataclass(frozen=True)
class Impact:
    """The changes of a command, and their effect on traffic.

    Attributes:
        changes: every difference.
        slots_moved: slots whose new flows go to another backend than before.
        slots: all slots of the services concerned.
        flows_moved: recorded flows that lose their backend. Flows are recorded only while slots
            change; at rest, only ``slots_moved`` shows an effect.
        notes: differences that are left alone.
    """

    changes: tuple[Change, ...]
    slots_moved: int = 0
    slots: int = 0
    flows_moved: int = 0
    notes: tuple[str, ...] = ()


def backend_changes(
    service: Service, desired: Sequence[DesiredBackend], places: Sequence[Place | None]
) -> tuple[Change, ...]:
    """Return the changes from a service's backends to desired ones.

    Args:
        service: the service with its live backends.
        desired: all backends it will have.
        places: where the frames of each will go; None if not known yet.
    """
    changes: list[Change] = []
    staying = {backend.address for backend in desired}
    for live in service.backends:
        if live.address not in staying:
            name = f"{service.endpoint} {live.address}"
            changes.append(Change("remove backend", name, f"weight {live.weight}"))
    by_address = {live.address: live for live in service.backends}
    for backend, place in zip(desired, places, strict=True):
        name = f"{service.endpoint} {backend.address}"
        before = by_address.get(backend.address)
        if before is None:
            changes.append(Change("add backend", name, None, f"weight {backend.weight}"))
            continue
        if before.weight != backend.weight:
            changes.append(Change("set weight", name, before.weight, backend.weight))
        if before.state != backend.state:
            changes.append(Change("set state", name, before.state.value, backend.state.value))
        if place is not None:
            changes += _place_changes(name, before, place)
        by_hand = backend.mac is not None
        if before.mac_by_hand != by_hand:
            sources = ("by hand", "ARP/ND") if before.mac_by_hand else ("ARP/ND", "by hand")
            changes.append(Change("set mac source", name, *sources))
    return tuple(changes)


def _place_changes(name: str, live: Backend, place: Place) -> list[Change]:
    changes = []
    if live.mac != place.mac:
        changes.append(Change("set mac", name, str(live.mac), str(place.mac)))
    if live.tags != place.tags:
        before, after = format_tags(live.tags) or "none", format_tags(place.tags) or "none"
        changes.append(Change("set vlan", name, before, after))
    if live.ifindex != place.ifindex:
        changes.append(Change("set interface", name, live.ifindex, place.ifindex))
    return changes


def removal_changes(service: Service) -> tuple[Change, ...]:
    """Return the changes that remove a service with its backends."""
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
    """Return the changes from the options of a service to others."""
    if before == after:
        return ()
    values = (
        (option.key, getattr(before, option.name), getattr(after, option.name))
        for option in OPTIONS
    )
    return tuple(
        Change(f"set {key}", str(endpoint), _shown(old), _shown(new))
        for key, old, new in values
        if old != new
    )


def _shown(value: str | int | bool | None) -> str | int:
    if value is None:
        return "default"
    return str(value).lower() if isinstance(value, bool) else value
