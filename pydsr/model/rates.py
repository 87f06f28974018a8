"""From totals to rates: what happened between two snapshots. Pure.

Every rate is per second and never negative: a backend that is new, whose id now means another
backend, or whose counters went backwards starts from zero at its new base.
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
"""How many rates of a backend are kept: more than the widest sparkline shows."""


_NOTHING = Counters()


class Rate(NamedTuple):
    """Traffic per second; ``new_flows`` is None where the protocol does not tell."""

    packets: float = 0.0
    bits: float = 0.0
    new_flows: float | None = 0.0


class BackendRate(NamedTuple):
    """What one backend of one service got.

    Attributes:
        rate: per second, over the time between the snapshots.
        total: since the backend was created.
        share: its part of the service's packets, 0 to 1; None while there were none.
        weight_share: the part its weight asks for, 0 to 1; 0 unless it is up.
    """

    backend: Backend
    rate: Rate
    total: Counters
    share: float | None
    weight_share: float

    @property
    def deviation(self) -> float | None:
        """By what part it gets more (or less, below 0) than its weight asks for; None if unknown.

        0.1 is a tenth more.
        """
        if self.share is None or not self.weight_share:
            return None
        return self.share / self.weight_share - 1


@dataclass(frozen=True)
class ServiceRate:
    """What one service got: the sums of its present backends.

    Attributes:
        totals: of each backend.
        bases: the same of before; None for a backend that has no earlier base.
        elapsed: seconds in between.
    """

    service: Service
    rate: Rate
    total: Counters
    totals: Sequence[Counters]
    bases: Sequence[Counters | None]
    elapsed: float

    @cached_property
    def backends(self) -> tuple[BackendRate, ...]:
        """What each backend got. Made when it is asked for: most of thousands are never seen."""
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
        """The deviation of the backend that is furthest from its weight; None without traffic."""
        known = [each.deviation for each in self.backends if each.deviation is not None]
        return max(known, key=abs, default=None)


@dataclass(frozen=True)
class VerdictRate:
    """How often packets left for one reason: ``packets`` per second, and the total."""

    reason: str
    packets: float
    total: int


@dataclass(frozen=True)
class ProgramRate:
    """What a program costs, as far as the kernel times it.

    Attributes:
        interfaces: names of those that it is on.
        nanoseconds: of a packet; None where none was timed.
        processor: the part of one CPU that it takes, 1 for all of it.
    """

    program_id: int
    interfaces: tuple[str, ...]
    nanoseconds: float | None
    processor: float


@dataclass(frozen=True)
class Rates:
    """All rates at one moment.

    Attributes:
        snapshot: the later of the two snapshots compared.
        services: in the snapshot's order.
        verdicts: in the snapshot's order, those that never happened included.
        total: the sum over the services; new flows of those that tell them.
        programs: what the programs cost, in the snapshot's order.
    """

    snapshot: Snapshot
    services: tuple[ServiceRate, ...]
    verdicts: tuple[VerdictRate, ...]
    total: Rate
    programs: tuple[ProgramRate, ...] = ()


class History:
    """The latest rates of every backend, oldest first, for sparklines.

    A column for each moment: two thousand backends take a megabyte.

    Args:
        length: how many rates are kept for each backend.
    """

    def __init__(self, length: int = HISTORY_LENGTH) -> None:
        self._columns: deque[_Column] = deque(maxlen=length)

    def record(self, rates: Rates) -> None:
        """Append the rates of every backend."""
        services = tuple(one.service for one in rates.services)
        places = self._columns[-1].places if self._columns else _Places(())
        if len(services) != len(places.services) or any(map(is_not, services, places.services)):
            places = _Places(services)
        packets = array("f")
        for one in rates.services:
            packets.extend(_packet_rates(one))
        self._columns.append(_Column(places, packets))

    def packets(
        self, endpoint: Endpoint, address: IPAddress, length: int = HISTORY_LENGTH
    ) -> tuple[float, ...]:
        """Return the latest packets per second of one backend, oldest first.

        None are from before it was last away; there are none where it is not there now.
        """
        found = deque[float]()
        places: _Places | None = None
        for column in islice(reversed(self._columns), length):
            if column.places is not places:
                places = column.places
                place = places.of_backend.get((endpoint, address))
            if place is None:
                break
            found.appendleft(column.packets[place])
        return tuple(found)


class _Places:
    """Where in a column each backend of some services is."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        self.services = services

    @cached_property
    def of_backend(self) -> Mapping[tuple[Endpoint, IPAddress], int]:
        keys = ((one.endpoint, each.address) for one in self.services for each in one.backends)
        return {key: place for place, key in enumerate(keys)}


class _Column(NamedTuple):
    """The packets per second of all backends at one moment."""

    places: _Places
    packets: array[float]


def backend_counters(snapshot: Snapshot, service: Service, backend: Backend) -> Counters:
    """Return a backend's totals, with ``new_flows`` None for UDP, which has no SYN."""
    counted = snapshot.counters.get(backend.id, _NOTHING)
    if service.endpoint.protocol.tells_new_flows:
        return counted
    return Counters(counted.packets, counted.bytes, None)


def service_counters(snapshot: Snapshot, service: Service) -> Counters:
    """Return the sum of the totals of a service's present backends."""
    return _sum_counters(service, _totals(snapshot, service))


def _totals(snapshot: Snapshot, service: Service) -> list[Counters]:
    counted = [snapshot.counters.get(backend.id, _NOTHING) for backend in service.backends]
    if service.endpoint.protocol.tells_new_flows:
        return counted
    return [Counters(one.packets, one.bytes, None) for one in counted]


def _sum_counters(service: Service, totals: Sequence[Counters]) -> Counters:
    packets, size, new_flows = zip(*totals, strict=True) if totals else ((), (), ())
    tells_flows = service.endpoint.protocol.tells_new_flows
    return Counters(sum(packets), sum(size), sum(new_flows) if tells_flows else None)


def weight_shares(backends: Iterable[Backend]) -> dict[int, float]:
    """Return by backend id the share its weight asks for among the backends that are up."""
    weights = {b.id: b.weight if b.state is BackendState.UP else 0 for b in backends}
    whole = sum(weights.values())
    return {id_: weight / whole if whole else 0.0 for id_, weight in weights.items()}


def rates_between(before: Snapshot | None, after: Snapshot) -> Rates:
    """Compare two snapshots.

    Args:
        before: the earlier one; None where there is none yet, which makes every rate 0.
        after: the later one; its services and backends are those reported.

    Returns:
        Rates per second; 0 for all that has no earlier base, and if no time has passed.
    """
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
    """Return the earlier totals of each backend of a service."""
    if earlier is None:
        return [None] * len(service.backends)
    if earlier.backends is service.backends:
        return [before.counters.get(backend.id) for backend in service.backends]
    # An id may be given to another backend later: only the same id of the same backend is a base.
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
        # Rates are summed rather than totals compared: a total falls when a backend is removed.
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


def _packet_rates(one: ServiceRate) -> Iterable[float]:
    """Return the packets per second of each backend of a service, with the least of work."""
    elapsed = one.elapsed
    if elapsed <= 0:
        return [0.0] * len(one.totals)
    return [
        0.0 if base is None or _was_reset(base, now) else (now.packets - base.packets) / elapsed
        for base, now in zip(one.bases, one.totals, strict=True)
    ]


def _program_rates(
    before: Iterable[ProgramRun], after: Iterable[ProgramRun], elapsed: float
) -> tuple[ProgramRate, ...]:
    earlier = {run.program_id: run for run in before}
    found = []
    for run in after:
        base = earlier.get(run.program_id, run)
        seconds, runs = run.seconds_total - base.seconds_total, run.runs_total - base.runs_total
        timed = runs > 0 and elapsed > 0
        found.append(
            ProgramRate(
                run.program_id,
                run.interfaces,
                1e9 * seconds / runs if timed else None,
                seconds / elapsed if timed else 0.0,
            )
        )
    return tuple(found)


def _rate(base: Counters | None, now: Counters, elapsed: float) -> Rate:
    if base is None or elapsed <= 0 or _was_reset(base, now):
        return Rate(0.0, 0.0, None if now.new_flows is None else 0.0)
    return Rate(
        (now.packets - base.packets) / elapsed,
        8 * (now.bytes - base.bytes) / elapsed,
        None if now.new_flows is None else (now.new_flows - (base.new_flows or 0)) / elapsed,
    )


def _was_reset(base: Counters, now: Counters) -> bool:
    # One counter that fell means all began anew: the others' differences mean nothing either.
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
