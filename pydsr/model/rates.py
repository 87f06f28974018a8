"""Rates: the difference between two snapshots of counters. Pure.

Rates are per second and never negative. A backend without an earlier base has the rate 0: a new
backend, one whose id meant another backend before, or one whose counters were reset.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import gt, is_not
from typing import NamedTuple

from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, ProgramRun, Snapshot

HISTORY_LENGTH = 120
"""Rates kept for each backend: more than the widest sparkline shows."""

_NOTHING = Counters()


class Rate(NamedTuple):
    """Traffic per second; ``new_flows`` is None for protocols without a SYN."""

    packets: float = 0.0
    bits: float = 0.0
    new_flows: float | None = 0.0


class BackendRate(NamedTuple):
    """The traffic of one backend of one service.

    Attributes:
        total: since the backend was created.
        share: its share of the service's packets, 0 to 1; None without packets.
        weight_share: the part that its weight asks for, 0 to 1; 0 unless it is up.
    """

    backend: Backend
    rate: Rate
    total: Counters
    share: float | None
    weight_share: float

    @property
    def deviation(self) -> float | None:
        """Share relative to what the weight asks for: 0.1 is a tenth more; None if unknown."""
        if self.share is None or not self.weight_share:
            return None
        return self.share / self.weight_share - 1


@dataclass(frozen=True)
class ServiceRate:
    """The traffic of one service: the sums of its present backends.

    Attributes:
        totals: of each backend.
        bases: earlier totals of each backend, None without a base.
        elapsed: seconds between the snapshots.
    """

    service: Service
    rate: Rate
    total: Counters
    totals: Sequence[Counters]
    bases: Sequence[Counters | None]
    elapsed: float

    @cached_property
    def backends(self) -> tuple[BackendRate, ...]:
        """The rates of each backend, computed at the first access: few of thousands are shown."""
        rates = _backend_rates(self.bases, self.totals, self.elapsed)
        shares = weight_shares(self.service.backends)
        packets = self.rate.packets
        return tuple(
            BackendRate(
                backend,
                rate,
                total,
                rate.packets / packets if packets else None,
                shares[backend.id],
            )
            for backend, rate, total in zip(self.service.backends, rates, self.totals, strict=True)
        )

    @property
    def imbalance(self) -> float | None:
        """The largest deviation of a backend from its weight; None without traffic."""
        known = [each.deviation for each in self.backends if each.deviation is not None]
        return max(known, key=abs, default=None)


@dataclass(frozen=True)
class VerdictRate:
    """Packets per second with one reason, and their total."""

    reason: str
    packets: float
    total: int


@dataclass(frozen=True)
class ProgramRate:
    """The run time of a program, as far as the kernel measures it.

    Attributes:
        interfaces: names of the interfaces it is attached to.
        nanoseconds: per packet; None if none was measured.
        processor: the part of one CPU that it takes, 0 to 1.
    """

    program_id: int
    interfaces: tuple[str, ...]
    nanoseconds: float | None
    processor: float


@dataclass(frozen=True)
class Rates:
    """All rates at one moment.

    Services, reasons and programs are in the order of the snapshot.

    Attributes:
        snapshot: the later of the two snapshots.
        verdicts: of every reason, also those that never occurred.
        total: the sum over services; new flows of those that count them.
    """

    snapshot: Snapshot
    services: tuple[ServiceRate, ...]
    verdicts: tuple[VerdictRate, ...]
    total: Rate
    programs: tuple[ProgramRate, ...] = ()


class History:
    """The latest packet rates of every backend, for sparklines.

    It keeps one array for each moment, at most ``length`` of them. Two thousand backends take a
    megabyte.
    """

    def __init__(self, length: int = HISTORY_LENGTH) -> None:
        self._columns: deque[_Column] = deque(maxlen=length)

    def record(self, rates: Rates) -> None:
        """Append the rates of every backend."""
        services = tuple(each.service for each in rates.services)
        index = self._columns[-1].backends if self._columns else _BackendIndex(())
        if len(services) != len(index.services) or any(map(is_not, services, index.services)):
            index = _BackendIndex(services)
        packets = array("f")
        for each in rates.services:
            packets.extend(_packet_rates(each))
        self._columns.append(_Column(index, packets))

    def packets(
        self, endpoint: Endpoint, address: IPAddress, length: int = HISTORY_LENGTH
    ) -> tuple[float, ...]:
        """Return the latest packets per second of one backend, oldest first.

        The rates end where the backend was absent; there are none if it is absent now.
        """
        rates = deque[float]()
        index: _BackendIndex | None = None
        for column in islice(reversed(self._columns), length):
            if column.backends is not index:
                index = column.backends
                position = index.positions.get((endpoint, address))
            if position is None:
                break
            rates.appendleft(column.packets[position])
        return tuple(rates)


class _BackendIndex:
    """The positions of backends in a column; consecutive columns share one."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        self.services = services

    @cached_property
    def positions(self) -> Mapping[tuple[Endpoint, IPAddress], int]:
        keys = (
            (service.endpoint, backend.address)
            for service in self.services
            for backend in service.backends
        )
        return {key: position for position, key in enumerate(keys)}


class _Column(NamedTuple):
    """The packets per second of all backends at one moment."""

    backends: _BackendIndex
    packets: array[float]


def backend_counters(snapshot: Snapshot, service: Service, backend: Backend) -> Counters:
    """Return a backend's totals, with ``new_flows`` None for protocols without a SYN."""
    counted = snapshot.counters.get(backend.id, _NOTHING)
    if service.endpoint.protocol.marks_new_flows:
        return counted
    return Counters(counted.packets, counted.bytes, None)


def service_counters(snapshot: Snapshot, service: Service) -> Counters:
    """Return the sum over a service's present backends."""
    return _sum_counters(service, _totals(snapshot, service))


def _totals(snapshot: Snapshot, service: Service) -> list[Counters]:
    counted = [snapshot.counters.get(backend.id, _NOTHING) for backend in service.backends]
    if service.endpoint.protocol.marks_new_flows:
        return counted
    return [Counters(each.packets, each.bytes, None) for each in counted]


def _sum_counters(service: Service, totals: Sequence[Counters]) -> Counters:
    packets, size, new_flows = zip(*totals, strict=True) if totals else ((), (), ())
    tells_flows = service.endpoint.protocol.marks_new_flows
    return Counters(sum(packets), sum(size), sum(new_flows) if tells_flows else None)


def weight_shares(backends: Iterable[Backend]) -> dict[int, float]:
    """Return the share that each backend's weight asks for among those up, by backend id."""
    weights = {b.id: b.weight if b.state is BackendState.UP else 0 for b in backends}
    whole = sum(weights.values())
    return {id_: weight / whole if whole else 0.0 for id_, weight in weights.items()}


def rates_between(before: Snapshot | None, after: Snapshot) -> Rates:
    """Return the rates of the services and backends in ``after``; without ``before`` they are 0."""
    before = before or Snapshot(after.time)
    elapsed = after.time - before.time
    earlier = {service.endpoint: service for service in before.services}
    services = tuple(
        _service_rate(
            service, after, _bases(before, earlier.get(service.endpoint), service), elapsed
        )
        for service in after.services
    )
    verdicts = tuple(
        VerdictRate(reason, _per_second(before.verdicts.get(reason), total, elapsed), total)
        for reason, total in after.verdicts.items()
    )
    programs = _program_rates(before.programs, after.programs, elapsed)
    return Rates(after, services, verdicts, _sum_rates(s.rate for s in services), programs)


def _bases(
    before: Snapshot, earlier: Service | None, service: Service
) -> Sequence[Counters | None]:
    if earlier is None:
        return [None] * len(service.backends)
    if earlier.backends is service.backends:
        return [before.counters.get(backend.id) for backend in service.backends]
    # Ids are reused: a base must have the same id and the same address.
    same = {backend.id: backend.address for backend in earlier.backends}
    return [
        before.counters.get(backend.id) if same.get(backend.id) == backend.address else None
        for backend in service.backends
    ]


def _service_rate(
    service: Service, after: Snapshot, bases: Sequence[Counters | None], elapsed: float
) -> ServiceRate:
    totals = _totals(after, service)
    total = _sum_counters(service, totals)
    known = [base for base in bases if base is not None]
    if known and len(known) == len(totals) and not _any_was_reset(known, totals):
        rate = _rate(_sum_counters(service, known), total, elapsed)
    else:
        # Totals cannot be compared here: they fall when a backend is removed.
        rates = _backend_rates(bases, totals, elapsed)
        rate = _sum_rates(rates) if rates else _rate(None, total, elapsed)
    return ServiceRate(service, rate, total, totals, bases, elapsed)


def _any_was_reset(bases: Sequence[Counters], totals: Sequence[Counters]) -> bool:
    return any(
        any(map(gt, before, now))
        for before, now in zip(zip(*bases, strict=True), zip(*totals, strict=True), strict=True)
        if None not in now
    )


def _backend_rates(
    bases: Sequence[Counters | None], totals: Sequence[Counters], elapsed: float
) -> list[Rate]:
    return [_rate(base, total, elapsed) for base, total in zip(bases, totals, strict=True)]


def _packet_rates(service: ServiceRate) -> Iterable[float]:
    """Return packets per second of each backend, without making all of its rates."""
    elapsed = service.elapsed
    if elapsed <= 0:
        return [0.0] * len(service.totals)
    return [
        0.0 if base is None or _was_reset(base, now) else (now.packets - base.packets) / elapsed
        for base, now in zip(service.bases, service.totals, strict=True)
    ]


def _program_rates(
    before: Iterable[ProgramRun], after: Iterable[ProgramRun], elapsed: float
) -> tuple[ProgramRate, ...]:
    earlier = {run.program_id: run for run in before}
    rates = []
    for run in after:
        base = earlier.get(run.program_id, run)
        seconds, runs = run.seconds_total - base.seconds_total, run.runs_total - base.runs_total
        timed = runs > 0 and elapsed > 0
        rates.append(
            ProgramRate(
                run.program_id,
                run.interfaces,
                1e9 * seconds / runs if timed else None,
                seconds / elapsed if timed else 0.0,
            )
        )
    return tuple(rates)


def _rate(base: Counters | None, now: Counters, elapsed: float) -> Rate:
    if base is None or elapsed <= 0 or _was_reset(base, now):
        return Rate(0.0, 0.0, None if now.new_flows is None else 0.0)
    return Rate(
        (now.packets - base.packets) / elapsed,
        8 * (now.bytes - base.bytes) / elapsed,
        None if now.new_flows is None else (now.new_flows - (base.new_flows or 0)) / elapsed,
    )


def _was_reset(base: Counters, now: Counters) -> bool:
    # If one counter fell, all were reset.
    return (
        now.packets < base.packets
        or now.bytes < base.bytes
        or (now.new_flows is not None and now.new_flows < (base.new_flows or 0))
    )


def _per_second(base: int | None, now: int | None, elapsed: float) -> float:
    if base is None or now is None or now < base or elapsed <= 0:
        return 0.0
    return (now - base) / elapsed


def _sum_rates(rates: Iterable[Rate]) -> Rate:
    rates = list(rates)
    flows = [rate.new_flows for rate in rates if rate.new_flows is not None]
    return Rate(
        sum(rate.packets for rate in rates),
        sum(rate.bits for rate in rates),
        sum(flows) if flows or not rates else None,
    )
