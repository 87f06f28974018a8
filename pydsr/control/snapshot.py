"""Take snapshots of the counters, count the flows left on backends, and list problems."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydsr.control.attached_interfaces import Attached
from pydsr.kernel.bpf import program_stats
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.flow_records import HANDSHAKE_SECONDS
from pydsr.model.reasons import all_reasons
from pydsr.model.service import BackendState, Service
from pydsr.model.snapshot import Counters, ProgramRun, Snapshot

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class RemainingFlows:
    """The flows that drained backends still have.

    Attributes:
        recorded: flows that were seen since the drain and have not ended.
        learning_seconds: how long flows that were silent since the drain may still show up; 0
            once that is over.
    """

    recorded: int
    learning_seconds: float

    @property
    def is_none(self) -> bool:
        """Whether removing the backends would break nothing."""
        return not self.recorded and not self.learning_seconds


def take_snapshot(state: LiveState, interfaces: Sequence[Attached]) -> Snapshot:
    """Return a snapshot of all counters; the interfaces are given."""
    services, counters = _read_consistently(state)
    reasons = all_reasons()
    counts = state.counters.verdicts(len(reasons))
    return Snapshot(
        time=time.monotonic(),
        services=services,
        counters=counters,
        verdicts={reason.name: n for reason, n in zip(reasons, counts, strict=True)},
        interfaces=tuple((interface.name, interface.mode) for interface in interfaces),
        records=_count_by_service(state.flow_records.count_by_service, services),
        pending=_count_by_service(state.half_open_flows.count_by_service, services),
        programs=_program_runs(interfaces),
        programs_timed=program_stats.is_on(),
    )


def _read_consistently(state: LiveState) -> tuple[tuple[Service, ...], dict[int, Counters]]:
    """Return every service, and the totals of its backends by id, of one moment.

    An id may go to another backend between the two readings, so a reading that a change interrupted
    is repeated.
    """
    while True:
        services = state.services.all()
        counters = state.counters.of_services(services)
        if state.services.is_unchanged():
            return services, counters


def _program_runs(interfaces: Sequence[Attached]) -> tuple[ProgramRun, ...]:
    names: defaultdict[int, list[str]] = defaultdict(list)
    for interface in interfaces:
        names[interface.program_id].append(interface.name)
    costs = ((number, program_stats.program_cost(number)) for number in sorted(names))
    return tuple(
        ProgramRun(number, tuple(names[number]), cost.nanoseconds / _NANOSECONDS, cost.runs)
        for number, cost in costs
        if cost is not None
    )


def _count_by_service(
    count: Callable[[], Mapping[int, int]], services: Sequence[Service]
) -> dict[int, int]:
    if not any(service.slots_changing for service in services):
        return {service.id: 0 for service in services}
    counts = count()
    return {service.id: counts.get(service.id, 0) for service in services}


def count_recorded(state: LiveState, services: Iterable[Service], backends: Collection[int]) -> int:
    """Return how many recorded flows some backends of services have; backends by id."""
    now, idle = time.monotonic_ns(), {service.id: service.learn_seconds for service in services}
    return sum(
        flow.backend in backends and flow.service in idle and flow.is_live(now, idle[flow.service])
        for flow in state.flow_records.all()
    )


def count_remaining(
    state: LiveState, service: Service, backends: Collection[int]
) -> RemainingFlows:
    """Return the flows that drained backends of a service still have; backends by id."""
    now = time.monotonic_ns()
    table = state.tables.read(service.id)
    learning = 0.0
    if table is not None and any(table.previous.count(number) for number in backends):
        learning = max(0, table.learn_until - now) / _NANOSECONDS
    handshake = min(service.learn_seconds, HANDSHAKE_SECONDS)
    half_open = sum(
        flow.backend in backends and flow.is_live(now, handshake)
        for flow in state.half_open_flows.all()
    )
    return RemainingFlows(count_recorded(state, [service], backends) + half_open, learning)


def find_problems(interfaces: Sequence[Attached], services: Sequence[Service]) -> list[str]:
    """Return the problems that keep a balancer from working, one sentence each."""
    problems = [] if interfaces else ["no interface is attached"]
    problems += [
        f"{interface.name} is attached in {interface.mode} mode, at a fraction of the native speed"
        for interface in interfaces
        if interface.mode != "native"
    ]
    for service in services:
        taking = [b for b in service.backends if b.state is BackendState.UP]
        if not taking:
            problems.append(f"{service.endpoint} has no backend that takes new flows")
        problems += [
            f"backend {backend.address} of {service.endpoint} has no MAC address"
            for backend in taking
            if backend.mac is None
        ]
    return problems
