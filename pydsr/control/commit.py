"""Commit plans, in an order that a kill may interrupt anywhere.

Each write is one step for the packets that pass meanwhile. A kill between two of them leaves each
service in its old or its new state, and garbage for the next change to collect. The tables are
authoritative, and the index is rebuilt from the services.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from pydsr.control.garbage_collection import delete_orphans, forget_flows
from pydsr.control.plan import Plan, ScopedRules
from pydsr.control.program_upgrade import add_features
from pydsr.control.service_plan import ServicePlan
from pydsr.control.snapshot import count_recorded
from pydsr.control.vip_ownership import announce_services, withdraw_services
from pydsr.hashing import slots
from pydsr.hashing.table import Table, empty_table, following_table, with_learning_time
from pydsr.kernel.bpf.codec import STATE_NUMBERS
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import Endpoint
from pydsr.model.service import BackendState

_NANOSECONDS = 1_000_000_000

SlotsMoved = Mapping[Endpoint, int]
"""The number of slots of each service whose new flows go to another backend than before."""


def commit(state: LiveState, plan: Plan) -> SlotsMoved:
    """Write a plan, and return how many slots of each service it moved.

    Raises:
        InputError: attach excluded a feature that the plan needs.
        EnvironmentCannotError: the program cannot be compiled with such a feature.
    """
    if not plan.changes:
        return {}
    add_features(state, plan.features)
    with state.settings.marked():
        moved = _write_backends_and_tables(state, plan)
        _write_services(state, plan)
        _delete_leftovers(state, plan)
    _tell_network(state, plan)
    return moved


def _write_backends_and_tables(state: LiveState, plan: Plan) -> SlotsMoved:
    """Bring live services to their new backends, and prepare new services."""
    for service in plan.services:
        for backend in service.moved_backends:
            state.backends.write_place(backend.id, backend.place, by_hand=backend.mac_by_hand)
    state.backends.write_new([(s.service.id, b) for s in plan.services for b in s.new_backends])
    moved = _removed_slots(plan)
    with state.tables.writer() as tables:
        for service in plan.services:
            before, after = _tables(state, service)
            if after is not None:
                tables.write(service.service.id, after)
            moved |= _moved(service, before, after)
    for service in plan.services:
        # Only now, because the slots have their new owners.
        for backend in service.backends:
            if backend.id in service.live_backends:
                state.backends.write_state(backend.id, STATE_NUMBERS[backend.desired.state])
        _retire(state, service.leaving_ids)
    return moved


def _tables(state: LiveState, service: ServicePlan) -> tuple[Table | None, Table | None]:
    """Return the table of a service before and after; None if there is none, or no new one."""
    if not service.changes_table:
        return None, None
    now, learn = time.monotonic_ns(), service.service.learn_seconds * _NANOSECONDS
    before = None if service.before is None else state.tables.read(service.service.id)
    after = before
    if service.before is not None and before is not None:
        after = with_learning_time(before, now, service.before.learn_seconds * _NANOSECONDS, learn)
    if service.changes_members or service.comes_to_rest:
        after = following_table(
            after or empty_table(state.settings.table_size),
            service.members,
            now,
            learn,
            keeps_connections=not service.service.options.one_packet,
        )
    return before, None if after is before else after


def _moved(service: ServicePlan, before: Table | None, after: Table | None) -> dict[Endpoint, int]:
    if service.before is None:
        return {}
    moved = 0
    if service.rehashes:
        moved = sum(backend.slots for backend in service.before.backends)
    elif before is not None and after is not None:
        moved = slots.count_moved(before.current, after.current)
    return {service.service.endpoint: moved}


def _removed_slots(plan: Plan) -> dict[Endpoint, int]:
    return {
        service.endpoint: sum(backend.slots for backend in service.backends)
        for service in plan.removed
    }


def _retire(state: LiveState, backend_ids: Iterable[int]) -> None:
    """Give back the ids of backends, which garbage collection frees once no flow has them."""
    for backend_id in backend_ids:
        state.backends.write_state(backend_id, StateNumber.RETIRED)


def _write_services(state: LiveState, plan: Plan) -> None:
    for service in plan.removed:
        state.services.delete(service.endpoint)
    written = [service.service for service in plan.services if service.writes_service]
    for service in written:
        state.services.write(service)
    for vip, policy in plan.policies.items():
        state.vip_policies.write(vip, policy)
    if plan.rules is not None:
        _write_rules(state, plan.rules)
    if plan.removed or written or plan.policies or plan.rules is not None:
        # Packets see this step: services and VIPs appear and disappear at once.
        state.index.write(state.services.configs())


def _write_rules(state: LiveState, rules: ScopedRules) -> None:
    ids = {service.endpoint: service.id for service in state.services.configs()}
    state.source_rules.write(
        {ids[scope] if scope else None: of_scope for scope, of_scope in rules.items() if of_scope}
    )


def _delete_leftovers(state: LiveState, plan: Plan) -> None:
    # Their slots are at rest, so no packet would renew these records before the next change.
    forget_flows(state, {service.service.id for service in plan.services if service.comes_to_rest})
    if plan.removed:
        state.tables.delete([service.id for service in plan.removed])
        delete_orphans(state, state.services.configs())
        for service in plan.removed:
            _retire(state, (backend.id for backend in service.backends))


def _tell_network(state: LiveState, plan: Plan) -> None:
    """Announce new VIPs, and stop receiving solicitations for removed ones."""
    new = [
        service.service
        for service in plan.services
        if service.service.options.arp
        if service.before is None or not service.before.options.arp
    ]
    announce_services(state.directory, new)
    if plan.removed:
        withdraw_services(state.directory, plan.removed, state.services.configs())


# -- the effect of a plan on traffic


def slots_moved(state: LiveState, plan: Plan) -> SlotsMoved:
    """Return how many slots of each service a commit would move; nothing is written.

    Each new table is built and discarded: the tables of a large file do not fit in memory.
    """
    moved = _removed_slots(plan)
    for service in plan.services:
        moved |= _moved(service, *_tables(state, service))
    return moved


def flows_moved(state: LiveState, plan: Plan) -> int:
    """Return how many recorded flows lose their backend by a plan."""
    changing = [s for s in plan.services if s.before is not None and s.before.slots_changing]
    losing = {
        backend_id
        for service in changing
        for backend_id in service.live_backends.keys()
        - {b.id for b in service.backends if b.desired.state is not BackendState.DOWN}
    }
    return count_recorded(state, [s.service for s in changing], losing) if losing else 0
