"""Garbage collection: slots come to rest, records are deleted, ids are freed.

Every transaction begins with it. It also recovers from an interrupted change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from pydsr.hashing.table import rested_table
from pydsr.kernel.bpf.codec import STATE_NUMBERS
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.kernel.bpf.services import ServiceHead
from pydsr.model.addresses import Endpoint
from pydsr.model.change import Change, Impact
from pydsr.model.flow_records import HANDSHAKE_SECONDS, FlowRecord, backends_by_slot
from pydsr.model.service import BackendState, Service, Unserved


@dataclass(frozen=True)
class Collected:
    """What a garbage collection did; ``heads`` are all services after it, if all were read."""

    slots_rested: int = 0
    records_deleted: int = 0
    heads: tuple[ServiceHead, ...] = ()

    @property
    def impact(self) -> Impact:
        """The collection as changes for the user; no flow loses its backend."""
        done = (
            ("rest", f"{self.slots_rested} slots", self.slots_rested),
            ("forget", f"{self.records_deleted} flow records", self.records_deleted),
        )
        return Impact(tuple(Change(action, what) for action, what, number in done if number))


def collect_all(state: LiveState, *, plan_only: bool = False) -> Collected:
    """Bring slots to rest, delete old records, and free the ids of retired backends.

    If the last change was interrupted, everything else is first made to agree with the tables.
    With ``plan_only`` nothing is written.
    """
    interrupted = state.settings.is_marked and not plan_only
    heads = state.services.heads()
    retired = [*state.backends.ids(StateNumber.RETIRED)]
    changing = [state.services.with_backends(h) for h in heads if h.table.tracked_slots]
    if not (retired or changing or interrupted):
        return Collected(heads=heads)
    with nullcontext() if plan_only else state.settings.marked():
        if interrupted:
            _recover(state, [state.services.with_backends(head) for head in heads])
            retired = [*state.backends.ids(StateNumber.RETIRED)]
        records, half_open = state.flow_records.all(), state.half_open_flows.all()
        collected = _bring_to_rest(state, changing, records, half_open, plan_only)
        for backend_id in () if plan_only else retired:
            state.backends.write_state(backend_id, StateNumber.FREE)
    if collected.slots_rested and not plan_only:
        heads = state.services.heads()
    return replace(collected, heads=heads)


def collect_of_services(state: LiveState, endpoints: Iterable[Endpoint]) -> Collected:
    """Bring slots of some services to rest, and delete their old records."""
    heads = map(state.services.head, endpoints)
    changing = [state.services.with_backends(h) for h in heads if h and h.table.tracked_slots]
    if not changing:
        return Collected()
    ids = {service.id for service in changing}
    records = [record for record in state.flow_records.all() if record.service in ids]
    half_open = [flow for flow in state.half_open_flows.all() if flow.service in ids]
    with state.settings.marked():
        return _bring_to_rest(state, changing, records, half_open)


def _bring_to_rest(
    state: LiveState,
    changing: Sequence[Service],
    records: Iterable[FlowRecord],
    half_open: Iterable[FlowRecord],
    plan_only: bool = False,
) -> Collected:
    now = time.monotonic_ns()
    idle = {service.id: service.learn_seconds for service in changing}
    usable = {
        (service.id, backend.id)
        for service in changing
        for backend in service.backends
        if backend.state is not BackendState.DOWN
    }
    live, dead = _partition(
        records,
        lambda flow: (
            (flow.service, flow.backend) in usable and flow.is_live(now, idle[flow.service])
        ),
    )
    live_half_open, dead_half_open = _partition(
        half_open,
        lambda flow: (
            flow.service in idle and flow.is_live(now, min(idle[flow.service], HANDSHAKE_SECONDS))
        ),
    )
    flows: dict[int, list[FlowRecord]] = {service.id: [] for service in changing}
    for flow in (*live, *live_half_open):
        flows[flow.service].append(flow)

    slots_rested, slots_at_rest = 0, set()
    with state.tables.writer() as tables:
        for service_id, of_service in flows.items():
            before = state.tables.read(service_id)
            if before is None:
                continue
            after = rested_table(before, backends_by_slot(of_service), now)
            at_rest = {flow.slot for flow in of_service if not after.previous[flow.slot]}
            slots_at_rest |= {(service_id, slot) for slot in at_rest}
            if after is not before:
                slots_rested += before.tracked_slots - after.tracked_slots
                if not plan_only:
                    tables.write(service_id, after)

    def is_at_rest(flow: FlowRecord) -> bool:
        return (flow.service, flow.slot) in slots_at_rest

    dead += filter(is_at_rest, live)
    if not plan_only:
        # Last: until its slot is at rest, a record keeps its flow on its backend.
        for record in dead:
            state.flow_records.delete(record)
        # No packet of a slot at rest would ever confirm or replace a half-open flow.
        for flow in (*dead_half_open, *filter(is_at_rest, live_half_open)):
            state.half_open_flows.delete(flow)
    return Collected(slots_rested, len(dead))


def _partition(
    flows: Iterable[FlowRecord], matters: Callable[[FlowRecord], bool]
) -> tuple[list[FlowRecord], list[FlowRecord]]:
    kept: list[FlowRecord] = []
    others: list[FlowRecord] = []
    for flow in flows:
        (kept if matters(flow) else others).append(flow)
    return kept, others


def _recover(state: LiveState, services: Sequence[Service]) -> None:
    """Make everything else agree with the tables, which are what packets follow."""
    states: dict[int, StateNumber] = {
        backend.id: STATE_NUMBERS[backend.state]
        for service in services
        for backend in service.backends
    }
    for number in (StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN):
        for backend_id in list(state.backends.ids(number)):
            right = states.get(backend_id, StateNumber.RETIRED)
            if right != number:
                state.backends.write_state(backend_id, right)
    delete_orphans(state, services)
    state.index.write(services)
    state.tables.delete_except({service.id for service in services})


def forget_flows(state: LiveState, service_ids: Collection[int]) -> None:
    """Delete all flow records and half-open flows of services, by id."""
    if service_ids:
        for store in (state.flow_records, state.half_open_flows):
            for record in [each for each in store.all() if each.service in service_ids]:
                store.delete(record)


def delete_orphans(state: LiveState, services: Sequence[Service]) -> None:
    """Delete the rules and policies of services that no longer exist; ``services`` are all."""
    ids = {None, *(service.id for service in services)}
    scoped = state.source_rules.read()
    kept = {scope: rules for scope, rules in scoped.items() if scope in ids}
    if kept != scoped:
        state.source_rules.write(kept)
    vips = {service.endpoint.address for service in services}
    for address in state.vip_policies.read():
        if address not in vips:
            state.vip_policies.write(address, Unserved.COUNT)
