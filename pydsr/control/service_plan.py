"""The plans of services: how each gets from its live to its desired state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydsr.control.resolve import BeforeAfter, Network, place_backends
from pydsr.hashing.maglev import Member
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import IPAddress, Place
from pydsr.model.change import Change, backend_changes, option_changes
from pydsr.model.desired_state import DesiredService, add_change
from pydsr.model.errors import InputError
from pydsr.model.features import Feature
from pydsr.model.options import moves_flows
from pydsr.model.service import Backend, PlacedBackend, Service


@dataclass(frozen=True)
class ServicePlan:
    """The writes for one service.

    Attributes:
        before: the live service; None if it will be created.
        service: the service as it will be written, without backends.
        backends: all backends it will have.
        changes_members: whether the members of its table change.
        changes: the differences, for the user.
    """

    before: Service | None
    service: Service
    backends: tuple[PlacedBackend, ...]
    changes_members: bool
    changes: tuple[Change, ...]

    @property
    def writes_service(self) -> bool:
        """Whether the service is new or gets other options."""
        return self.before is None or self.before.options != self.service.options

    @property
    def rehashes(self) -> bool:
        """Whether other options move flows to other slots."""
        return self.before is not None and moves_flows(self.before.options, self.service.options)

    @property
    def changes_table(self) -> bool:
        """Whether it may get another table, which is built when it is written."""
        return self.changes_members or self.comes_to_rest or self.changes_learning

    @property
    def comes_to_rest(self) -> bool:
        """Whether changing slots come to rest at once: it stops keeping connections."""
        return self.service.options.one_packet and bool(self.before and self.before.slots_changing)

    @property
    def changes_learning(self) -> bool:
        """Whether it has another learning time while slots are changing."""
        return (
            self.before is not None
            and self.before.slots_changing > 0
            and self.before.learn_seconds != self.service.learn_seconds
        )

    @cached_property
    def live_backends(self) -> Mapping[int, Backend]:
        """Its live backends, by id."""
        return {backend.id: backend for backend in self.before.backends} if self.before else {}

    @property
    def new_backends(self) -> list[PlacedBackend]:
        """The backends that it gains."""
        return [backend for backend in self.backends if backend.id not in self.live_backends]

    @property
    def moved_backends(self) -> list[PlacedBackend]:
        """Its backends that move to another place."""
        return [
            backend
            for backend in self.backends
            if (live := self.live_backends.get(backend.id)) is not None
            if (live.place, live.mac_by_hand) != (backend.place, backend.mac_by_hand)
        ]

    @property
    def leaving_ids(self) -> set[int]:
        """The ids of the backends that it will lose."""
        return self.live_backends.keys() - {backend.id for backend in self.backends}

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The members of its table."""
        return tuple(
            Member(
                layout.pack_address(backend.desired.address),
                backend.desired.weight,
                backend.id,
                backend.desired.state,
            )
            for backend in self.backends
        )

    @property
    def features(self) -> Feature:
        """The program features that it needs."""
        used = self.service.features
        return used | Feature.VLAN if any(b.place.tags for b in self.backends) else used


def plan_services(
    state: LiveState,
    services: Sequence[BeforeAfter],
    network: Network,
    vips: Collection[IPAddress],
) -> tuple[ServicePlan, ...]:
    """Return the plans of the services that differ from the desired state.

    ``vips`` are all VIPs after the change.

    Raises:
        InputError: backends are invalid, or a limit is exceeded.
        BackendUnresolvedError: the MAC of a backend cannot be found.
    """
    for _, desired in services:
        _check_backends(state, desired, vips)
    service_ids = iter(_new_service_ids(state, sum(before is None for before, _ in services)))
    backends = _with_ids(state, services, place_backends(services, network))
    plans = (
        _plan_service(state, before, desired, before.id if before else next(service_ids), placed)
        for (before, desired), placed in zip(services, backends, strict=True)
    )
    return tuple(plan for plan in plans if plan.changes)


def _check_backends(state: LiveState, desired: DesiredService, vips: Collection[IPAddress]) -> None:
    table_size = state.settings.table_size
    room = layout.members_max(table_size)
    if len(desired.backends) > room:
        raise InputError(
            f"{len(desired.backends)} backends do not fit {desired.endpoint}: tables of "
            f"{table_size} slots hold {room}",
            "attach with a larger --table-size",
        )
    for backend in desired.backends:
        if backend.address in vips:
            raise InputError(
                f"backend {backend.address} is a VIP of this balancer",
                "name the backend by an address of its own",
            )


def _new_service_ids(state: LiveState, number: int) -> list[int]:
    ids = state.services.free_ids(number) if number else []
    if len(ids) < number:
        raise InputError(
            f"there are {layout.SERVICES_MAX} services, and no more fit",
            "remove one, or run another balancer with --bpffs",
        )
    return ids


def _with_ids(
    state: LiveState,
    services: Sequence[BeforeAfter],
    places: Sequence[Sequence[Place]],
) -> list[tuple[PlacedBackend, ...]]:
    """Give the backends of each service the ids they have, or free ones."""
    free = state.backends.ids(StateNumber.FREE)
    with_ids, new = [], 0
    for (before, desired), of_service in zip(services, places, strict=True):
        ids = {backend.address: backend.id for backend in (before.backends if before else ())}
        placed = []
        for backend, place in zip(desired.backends, of_service, strict=True):
            if backend.address not in ids:
                new += 1
                ids[backend.address] = next(free, 0)
            placed.append(PlacedBackend(ids[backend.address], backend, place))
        with_ids.append(tuple(placed))
    if any(backend.id == 0 for placed in with_ids for backend in placed):
        raise InputError(
            f"{new} more backends do not fit: {layout.BACKENDS_MAX - 1} is all "
            "of all services together",
            "run another balancer with --bpffs",
        )
    return with_ids


def _plan_service(
    state: LiveState,
    before: Service | None,
    desired: DesiredService,
    service_id: int,
    backends: tuple[PlacedBackend, ...],
) -> ServicePlan:
    service = Service(
        service_id, desired.endpoint, desired.options, table_size=state.settings.table_size
    )
    places = [backend.place for backend in backends]
    changes = backend_changes(before or service, desired.backends, places)
    if before is None:
        changes = (add_change(service.endpoint, service.options), *changes)
        return ServicePlan(None, service, backends, True, changes)
    changes = (*option_changes(service.endpoint, before.options, service.options), *changes)
    live = {(b.id, b.weight, b.state) for b in before.backends}
    changes_members = live != {(b.id, b.desired.weight, b.desired.state) for b in backends}
    return ServicePlan(before, service, backends, changes_members, changes)
