"""One service as it is to be: planned as a whole, then written in steps a kill may fall between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from pydsr.control import edits, snapshot
from pydsr.control.resolve import Network, PlacedBackend, place_backends
from pydsr.hashing.table import Table, TableMember, empty_table, following_table
from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import NewBackend
from pydsr.kernel.bpf.codec import STATE_NUMBERS
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.store import State, monotonic_nanoseconds
from pydsr.kernel.net import links
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Change
from pydsr.model.desired import DesiredBackend, backend_changes, moves_flows, option_changes
from pydsr.model.desired_state import add_change
from pydsr.model.errors import InputError
from pydsr.model.features import NO_FEATURES, Feature, features_of
from pydsr.model.service import Service

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Target:
    """What a service is to become.

    Attributes:
        present: the service as it is, with its backends; None where it is to be created.
        wanted: its endpoint and options as they are to be; its backends mean nothing.
        desired: the backends it is to have.
    """

    present: Service | None
    wanted: Service
    desired: tuple[DesiredBackend, ...]


@dataclass(frozen=True)
class Revision:
    """A target that can be reached, and how.

    Attributes:
        target: it.
        service: the service under its id, with the wanted options and the present backends.
        placed: the backends with where their frames go.
        ids: the id of each backend.
        members: what its table is to be made of.
        changes_table: whether it gets another table, which is made when it is written.
        slots_moved: how many slots, or what hashes to them, give their flows to another backend;
            0 where that was not asked for.
        flows_moved: recorded flows that lose their backend.
        changes: what is done.
    """

    target: Target
    service: Service
    placed: tuple[PlacedBackend, ...]
    ids: Mapping[IPAddress, int]
    members: tuple[TableMember, ...]
    changes_table: bool
    slots_moved: int
    flows_moved: int
    changes: tuple[Change, ...]

    @property
    def is_new(self) -> bool:
        """Whether the service is to be created."""
        return self.target.present is None

    @property
    def sets_options(self) -> bool:
        """Whether a service that is there gets other options."""
        present = self.target.present
        return present is not None and present.options != self.service.options

    @property
    def features(self) -> Feature:
        """What it takes of the program."""
        used = features_of(self.service)
        return used | Feature.VLAN if any(one.place.tags for one in self.placed) else used

    def table(self, state: State) -> Table:
        """Return the table that follows the one that a state has."""
        before = None if self.is_new else state.read_table(self.service.id)
        return _following(before, self.members, self.service)


def _following(before: Table | None, members: tuple[TableMember, ...], service: Service) -> Table:
    return following_table(
        before or empty_table(service.table_size),
        members,
        monotonic_nanoseconds(),
        service.learn_seconds * _NANOSECONDS,
        keeps_connections=not service.options.one_packet,
    )


def refuse_local_vips(endpoints: Collection[Endpoint]) -> None:
    """Refuse VIPs that are addresses of this machine.

    Raises:
        InputError: one is.
    """
    vips = {endpoint.address for endpoint in endpoints}
    for vip in sorted(vips & links.local_addresses().keys() if vips else (), key=str):
        raise InputError(
            f"the VIP {vip} is an address of this machine",
            "all its other ports would be cut off: take it off here (ip address del) and have "
            "it on the loopback of the backends; the balancer answers for it all the same",
        )


def plan_revisions(
    state: State,
    targets: Sequence[Target],
    network: Network,
    vips: Collection[IPAddress],
    *,
    counts_moves: bool = True,
) -> list[Revision]:
    """Find out how targets can be reached; nothing is changed.

    Args:
        state: held by the lock.
        targets: of services, each once.
        network: that the balancer is on.
        vips: all there are to be.
        counts_moves: whether to find out how many slots and flows move, for which each table is
            made once more.

    Raises:
        InputError: backends that cannot be, or more of something than fit.
        BackendUnresolvedError: the MAC of a backend cannot be found.
    """
    for target in targets:
        _check_backends(state, target, vips)
    service_ids = iter(_new_service_ids(state, sum(t.present is None for t in targets)))
    backend_ids = _assign_ids(state, targets)
    placed = place_backends([(t.present, t.desired) for t in targets], network)
    return [
        _plan(
            state,
            target,
            target.present.id if target.present else next(service_ids),
            places,
            ids,
            counts_moves,
        )
        for target, places, ids in zip(targets, placed, backend_ids, strict=True)
    ]


def _check_backends(state: State, target: Target, vips: Collection[IPAddress]) -> None:
    room = layout.members_max(state.table_size)
    if len(target.desired) > room:
        raise InputError(
            f"{len(target.desired)} backends do not fit {target.wanted.endpoint}: tables of "
            f"{state.table_size} slots hold {room}",
            "attach with a larger --table-size",
        )
    for item in target.desired:
        if item.address in vips:
            raise InputError(
                f"backend {item.address} is a VIP of this balancer",
                "name the backend by an address of its own",
            )


def _new_service_ids(state: State, number: int) -> list[int]:
    found = state.free_service_ids(number) if number else []
    if len(found) < number:
        raise InputError(
            f"there are {layout.SERVICES_MAX} services, and no more fit",
            "remove one, or run another balancer with --bpffs",
        )
    return found


def _assign_ids(state: State, targets: Sequence[Target]) -> list[dict[IPAddress, int]]:
    """Return the ids of the backends of each target: those they have, and free ones."""
    free = state.backend_ids(StateNumber.FREE)
    assigned, new = [], 0
    for target in targets:
        present = target.present.backends if target.present else ()
        ids = {backend.address: backend.id for backend in present}
        for item in target.desired:
            if item.address not in ids:
                new += 1
                ids[item.address] = next(free, 0)
        assigned.append(ids)
    if any(0 in ids.values() for ids in assigned):
        raise InputError(
            f"{new} more backends do not fit: {layout.BACKENDS_MAX - 1} is all "
            "of all services together",
            "run another balancer with --bpffs",
        )
    return assigned


def _plan(
    state: State,
    target: Target,
    service_id: int,
    placed: Sequence[PlacedBackend],
    ids: Mapping[IPAddress, int],
    counts_moves: bool,
) -> Revision:
    present, wanted = target.present, target.wanted
    service = replace(
        present or wanted, id=service_id, options=wanted.options, table_size=state.table_size
    )
    members = tuple(
        TableMember(ids[item.address], layout.pack_address(item.address), item.weight, item.state)
        for item in target.desired
    )
    changes = backend_changes(service, target.desired, [one.place for one in placed])
    if present is None:
        changes = (add_change(service.endpoint, service.options), *changes)
        return Revision(target, service, tuple(placed), ids, members, True, 0, 0, changes)
    options = option_changes(service.endpoint, present.options, service.options)
    settles = service.options.one_packet and bool(present.slots_changing)
    changes_table = settles or set(members) != {
        TableMember(one.id, layout.pack_address(one.address), one.weight, one.state)
        for one in present.backends
    }
    slots_moved = flows_moved = 0
    if counts_moves:
        slots_moved = _slots_moved(state, present, service, members if changes_table else None)
        flows_moved = _flows_moved(state, present, members)
    return Revision(
        target,
        service,
        tuple(placed),
        ids,
        members,
        changes_table,
        slots_moved,
        flows_moved,
        (*options, *changes),
    )


def _slots_moved(
    state: State, present: Service, service: Service, members: tuple[TableMember, ...] | None
) -> int:
    """Return how many slots give their flows away; no members where the table stays."""
    if moves_flows(present.options, service.options):
        return sum(backend.slots for backend in present.backends)
    before = state.read_table(service.id) if members is not None else None
    if before is None or members is None:
        return 0
    return edits.slots_moved(before, _following(before, members, service))


def _flows_moved(state: State, present: Service, members: Sequence[TableMember]) -> int:
    if not present.slots_changing:
        return 0
    keeping = {member.id for member in members if member.keeps_flows}
    losing = {backend.id for backend in present.backends} - keeping
    return snapshot.count_recorded(state, present, losing)


def write_backends_and_tables(state: State, revisions: Sequence[Revision]) -> None:
    """Bring about what revisions change of services that are there, and prepare those that are not.

    Packets find a new service once it is written and in the index.
    """
    for revision in revisions:
        _write_places(state, revision)
    state.write_backends([one for revision in revisions for one in _new_backends(revision)])
    state.write_tables(
        (revision.service.id, revision.table(state))
        for revision in revisions
        if revision.changes_table
    )
    for revision in revisions:
        # Flow records follow only now, since the slots have new owners by then.
        for member in revision.members:
            if not revision.is_new:
                state.write_backend_state(member.id, STATE_NUMBERS[member.state])
        retire(state, revision.service, {member.id for member in revision.members})


def _new_backends(revision: Revision) -> Iterator[NewBackend]:
    known = {backend.address for backend in revision.service.backends}
    for one in revision.placed:
        item = one.desired
        if item.address not in known:
            yield NewBackend(
                revision.ids[item.address],
                revision.service.id,
                layout.pack_address(item.address),
                STATE_NUMBERS[item.state],
                one.place,
                one.by_hand,
            )


def _write_places(state: State, revision: Revision) -> None:
    known = {backend.address: backend for backend in revision.service.backends}
    for one in revision.placed:
        backend = known.get(one.desired.address)
        if backend and (backend.place, backend.mac_by_hand) != (one.place, one.by_hand):
            state.write_backend_place(backend.id, one.place, by_hand=one.by_hand)


def retire(state: State, service: Service, staying: Collection[int] = ()) -> None:
    """Give back the ids of a service's backends, but for those staying, when no flow has them."""
    for backend in service.backends:
        if backend.id not in staying:
            state.write_backend_state(backend.id, StateNumber.RETIRED)


def features_used(revisions: Iterable[Revision]) -> Feature:
    """Return what revisions take of the program."""
    return reduce(or_, (revision.features for revision in revisions), NO_FEATURES)
