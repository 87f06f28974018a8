"""Collect what changes leave behind: what every change does first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydsr.flows import HANDSHAKE_SECONDS, FlowRecord, backends_by_slot
from pydsr.kernel.codec import STATE_NUMBERS
from pydsr.kernel.layout import StateNumber
from pydsr.kernel.state import ServiceHead, State, monotonic_nanoseconds
from pydsr.model import BackendState, Service
from pydsr.policies import forget_removed
from pydsr.table import Table, rested_table


@dataclass(frozen=True)
class Tidied:
    """What a tidying brought about; ``heads`` are all services after it."""

    slots_rested: int = 0
    records_deleted: int = 0
    heads: tuple[ServiceHead, ...] = ()


def tidy(state: State, interrupted: bool) -> Tidied:
    """Bring slots to rest, and forget records of the past and ids that were retired.

    Args:
        state: held by the lock.
        interrupted: a change before did not end, so everything is compared with the tables.
    """
    heads = state.heads()
    if interrupted:
        _recover(state, [state.whole(head) for head in heads])
    retired = list(state.backend_ids(StateNumber.RETIRED))
    changing = [state.whole(head) for head in heads if head.table.tracked_slots]
    if not (retired or changing or interrupted):
        return Tidied(heads=heads)
    now = monotonic_nanoseconds()
    live, deleted = _live_records(state, changing, now)
    pending = _live_pending(state, changing, now)
    tracked: dict[int, Table] = {}
    slots_rested = 0
    for service in changing:
        before = state.read_table(service.id)
        if before is None:
            continue
        recorded = backends_by_slot(
            flow for flow in (*live, *pending) if flow.service == service.id
        )
        rested = rested_table(before, recorded, now)
        if rested is not before:
            state.write_table(service.id, rested)
            slots_rested += before.tracked_slots - rested.tracked_slots
        tracked[service.id] = rested
    # Only now: until its slot is at rest, a record is what keeps its flow in place.
    for record in live:
        table = tracked.get(record.service)
        if table is not None and not table.previous[record.slot]:
            state.delete_record(record)
            deleted += 1
    for flow in pending:
        table = tracked.get(flow.service)
        if table is not None and not table.previous[flow.slot]:
            # Nothing in a slot at rest would ever claim or replace it.
            state.delete_pending(flow)
    for backend_id in retired:
        state.write_backend_state(backend_id, StateNumber.FREE)
    return Tidied(slots_rested, deleted, state.heads() if slots_rested else heads)


def _live_records(
    state: State, services: Sequence[Service], now: int
) -> tuple[list[FlowRecord], int]:
    """Return the records that still matter to services, and delete all others."""
    idle = {service.id: service.learn_seconds for service in services}
    usable = {
        (service.id, backend.id)
        for service in services
        for backend in service.backends
        if backend.state is not BackendState.DOWN
    }
    live, deleted = [], 0
    for record in list(state.flow_records()):
        if (record.service, record.backend) in usable and record.is_live(now, idle[record.service]):
            live.append(record)
        else:
            state.delete_record(record)
            deleted += 1
    return live, deleted


def _live_pending(state: State, services: Sequence[Service], now: int) -> list[FlowRecord]:
    """Return the flows that may still proceed after their SYN, and delete all others."""
    idle = {s.id: min(s.learn_seconds, HANDSHAKE_SECONDS) for s in services}
    live = []
    for flow in list(state.pending_flows()):
        if flow.service in idle and flow.is_live(now, idle[flow.service]):
            live.append(flow)
        else:
            state.delete_pending(flow)
    return live


def _recover(state: State, services: Sequence[Service]) -> None:
    """Make everything else agree with the tables again: they are what packets follow."""
    states: dict[int, StateNumber] = {
        backend.id: STATE_NUMBERS[backend.state]
        for service in services
        for backend in service.backends
    }
    for number in (StateNumber.UP, StateNumber.DRAIN, StateNumber.DOWN):
        for backend_id in list(state.backend_ids(number)):
            wanted = states.get(backend_id, StateNumber.RETIRED)
            if wanted != number:
                state.write_backend_state(backend_id, wanted)
    forget_removed(state, services)
    state.write_index(services)
    state.delete_tables_except({service.id for service in services})
