"""Collect what changes leave behind: what every change does first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pydsr.control.vip_policies import forget_removed
from pydsr.hashing.table import Table, rested_table
from pydsr.kernel.bpf.codec import STATE_NUMBERS
from pydsr.kernel.bpf.layout import StateNumber
from pydsr.kernel.bpf.store import ServiceHead, State, monotonic_nanoseconds
from pydsr.model.addresses import Endpoint
from pydsr.model.change import Change, Impact
from pydsr.model.flow_records import HANDSHAKE_SECONDS, FlowRecord, backends_by_slot
from pydsr.model.service import BackendState, Service


@dataclass(frozen=True)
class Tidied:
    """What a tidying brought about; ``heads`` are all services after it."""

    slots_rested: int = 0
    records_deleted: int = 0
    heads: tuple[ServiceHead, ...] = ()

    @property
    def impact(self) -> Impact:
        """The same as what a command changes; no flow loses its backend."""
        done = (
            ("rest", f"{self.slots_rested} slots", self.slots_rested),
            ("forget", f"{self.records_deleted} flow records", self.records_deleted),
        )
        return Impact(tuple(Change(action, what) for action, what, number in done if number))


def tidy(state: State, interrupted: bool, plan_only: bool = False) -> Tidied:
    """Bring slots to rest, and forget records of the past and ids that were retired.

    Args:
        state: held by the lock.
        interrupted: a change before did not end, so everything is compared with the tables.
        plan_only: change nothing; say what would be.
    """
    heads = state.heads()
    if interrupted and not plan_only:
        _recover(state, [state.whole(head) for head in heads])
    retired = list(state.backend_ids(StateNumber.RETIRED))
    changing = [state.whole(head) for head in heads if head.table.tracked_slots]
    if not (retired or changing or interrupted):
        return Tidied(heads=heads)
    done = _bring_to_rest(state, changing, state.flow_records(), state.pending_flows(), plan_only)
    if plan_only:
        return replace(done, heads=heads)
    for backend_id in retired:
        state.write_backend_state(backend_id, StateNumber.FREE)
    return replace(done, heads=state.heads() if done.slots_rested else heads)


def tidy_services(state: State, endpoints: Iterable[Endpoint]) -> None:
    """Bring slots of some services to rest, and forget their records of the past.

    Args:
        state: held by the lock.
        endpoints: of those that are to be changed.
    """
    heads = map(state.head, endpoints)
    changing = [state.whole(head) for head in heads if head and head.table.tracked_slots]
    if changing:
        ids = {service.id for service in changing}
        records = [one for one in state.flow_records() if one.service in ids]
        pending = [one for one in state.pending_flows() if one.service in ids]
        _bring_to_rest(state, changing, records, pending)


def _bring_to_rest(
    state: State,
    changing: Sequence[Service],
    records: Iterable[FlowRecord],
    pending: Iterable[FlowRecord],
    plan_only: bool = False,
) -> Tidied:
    now = monotonic_nanoseconds()
    live, dead = _sort_records(records, changing, now)
    live_pending, dead_pending = _sort_pending(pending, changing, now)
    rest = _Rest(state, changing, (*live, *live_pending), now)
    if plan_only:
        for _ in rest.tables():
            pass
    else:
        state.write_tables(rest.tables())
    past = [record for record in live if rest.has(record)]
    done = Tidied(rest.slots, len(dead) + len(past))
    if plan_only:
        return done
    # Only now: until its slot is at rest, a record is what keeps its flow in place.
    for record in (*dead, *past):
        state.delete_record(record)
    # Nothing in a slot at rest would ever claim or replace what is pending.
    for flow in (*dead_pending, *filter(rest.has, live_pending)):
        state.delete_pending(flow)
    return done


class _Rest:
    """The slots of services that come to rest, and flows that are in such slots.

    Tables are made one after the other, as they are written: together they would be large.
    """

    def __init__(
        self, state: State, services: Sequence[Service], flows: Iterable[FlowRecord], now: int
    ) -> None:
        self.slots = 0
        self._state = state
        self._now = now
        self._flows: dict[int, list[FlowRecord]] = {service.id: [] for service in services}
        for flow in flows:
            self._flows[flow.service].append(flow)
        self._at_rest: set[tuple[int, int]] = set()

    def tables(self) -> Iterator[tuple[int, Table]]:
        """Make the tables that are to replace others, by service."""
        for service_id, flows in self._flows.items():
            before = self._state.read_table(service_id)
            if before is None:
                continue
            rested = rested_table(before, backends_by_slot(flows), self._now)
            found = {flow.slot for flow in flows if not rested.previous[flow.slot]}
            self._at_rest |= {(service_id, slot) for slot in found}
            if rested is not before:
                self.slots += before.tracked_slots - rested.tracked_slots
                yield service_id, rested

    def has(self, flow: FlowRecord) -> bool:
        """Return whether the slot of a flow is at rest, once all tables were made."""
        return (flow.service, flow.slot) in self._at_rest


def _sort_records(
    records: Iterable[FlowRecord], services: Sequence[Service], now: int
) -> tuple[list[FlowRecord], list[FlowRecord]]:
    """Return the records that still matter to services, and all others."""
    idle = {service.id: service.learn_seconds for service in services}
    usable = {
        (service.id, backend.id)
        for service in services
        for backend in service.backends
        if backend.state is not BackendState.DOWN
    }

    def matters(record: FlowRecord) -> bool:
        is_usable = (record.service, record.backend) in usable
        return is_usable and record.is_live(now, idle[record.service])

    return _sort(records, matters)


def _sort_pending(
    flows: Iterable[FlowRecord], services: Sequence[Service], now: int
) -> tuple[list[FlowRecord], list[FlowRecord]]:
    """Return the flows that may still proceed after their SYN, and all others."""
    idle = {s.id: min(s.learn_seconds, HANDSHAKE_SECONDS) for s in services}
    return _sort(
        flows,
        lambda flow: flow.service in idle and flow.is_live(now, idle[flow.service]),
    )


def _sort(
    flows: Iterable[FlowRecord], matters: Callable[[FlowRecord], bool]
) -> tuple[list[FlowRecord], list[FlowRecord]]:
    kept: list[FlowRecord] = []
    others: list[FlowRecord] = []
    for flow in flows:
        (kept if matters(flow) else others).append(flow)
    return kept, others


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
