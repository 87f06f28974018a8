"""From totals to rates: what happened between two snapshots. Pure.

Every rate is per second and never negative: a backend that is new, whose id now means another
backend, or whose counters went backwards starts from zero at its new base.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydsr.model import (
    Backend,
    BackendState,
    Counters,
    Endpoint,
    IPAddress,
    Service,
    Snapshot,
)

HISTORY_LENGTH = 120
"""How many rates of a backend are kept: more than the widest sparkline shows."""


@dataclass(frozen=True)
class Rate:
    """Traffic per second; ``new_flows`` is None where the protocol does not tell."""

    packets: float = 0.0
    bits: float = 0.0
    new_flows: float | None = 0.0


@dataclass(frozen=True)
class BackendRate:
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


@dataclass(frozen=True)
class ServiceRate:
    """What one service got: the sums of its present backends, and each of them."""

    service: Service
    rate: Rate
    total: Counters
    backends: tuple[BackendRate, ...]


@dataclass(frozen=True)
class VerdictRate:
    """How often packets left for one reason: ``packets`` per second, and the total."""

    reason: str
    packets: float
    total: int


@dataclass(frozen=True)
class Rates:
    """All rates at one moment.

    Attributes:
        snapshot: the later of the two snapshots compared.
        services: in the snapshot's order.
        verdicts: in the snapshot's order, those that never happened included.
        total: the sum over the services; new flows of those that tell them.
    """

    snapshot: Snapshot
    services: tuple[ServiceRate, ...]
    verdicts: tuple[VerdictRate, ...]
    total: Rate


class History:
    """The latest rates of every backend, oldest first, for sparklines.

    Args:
        length: how many rates are kept for each backend.
    """

    def __init__(self, length: int = HISTORY_LENGTH) -> None:
        self._length = length
        self._packets: dict[tuple[Endpoint, IPAddress], deque[float]] = {}

    def record(self, rates: Rates) -> None:
        """Append the rates of every backend; backends that are gone are forgotten."""
        # Rebuilt each time, so that a view left open for weeks holds present backends only.
        kept: dict[tuple[Endpoint, IPAddress], deque[float]] = {}
        for service in rates.services:
            for each in service.backends:
                key = (service.service.endpoint, each.backend.address)
                kept[key] = self._packets.get(key) or deque(maxlen=self._length)
                kept[key].append(each.rate.packets)
        self._packets = kept

    def packets(self, endpoint: Endpoint, address: IPAddress) -> tuple[float, ...]:
        """Return the packets per second of one backend, oldest first; empty if unknown."""
        return tuple(self._packets.get((endpoint, address), ()))


def backend_counters(snapshot: Snapshot, service: Service, backend: Backend) -> Counters:
    """Return a backend's totals, with ``new_flows`` None for UDP, which has no SYN."""
    counted = snapshot.counters.get(backend.id, Counters())
    new_flows = counted.new_flows if service.endpoint.protocol.tells_new_flows else None
    return Counters(counted.packets, counted.bytes, new_flows)


def service_counters(snapshot: Snapshot, service: Service) -> Counters:
    """Return the sum of the totals of a service's present backends."""
    tells_flows = service.endpoint.protocol.tells_new_flows
    start = Counters(new_flows=0 if tells_flows else None)
    return sum((backend_counters(snapshot, service, b) for b in service.backends), start)


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
    bases = _backend_bases(before)
    services = tuple(_service_rate(service, after, bases, elapsed) for service in after.services)
    verdicts = tuple(
        VerdictRate(reason, _per_second(before.verdicts.get(reason), total, elapsed), total)
        for reason, total in after.verdicts.items()
    )
    return Rates(after, services, verdicts, _sum_rates(s.rate for s in services))


_Bases = Mapping[tuple[int, Endpoint, IPAddress], Counters]


def _backend_bases(snapshot: Snapshot) -> _Bases:
    # An id may be given to another backend later: only the same id of the same backend is a base.
    return {
        (backend.id, service.endpoint, backend.address): backend_counters(
            snapshot, service, backend
        )
        for service in snapshot.services
        for backend in service.backends
        if backend.id in snapshot.counters
    }


def _service_rate(service: Service, after: Snapshot, bases: _Bases, elapsed: float) -> ServiceRate:
    totals = [backend_counters(after, service, b) for b in service.backends]
    rates = [
        _rate(bases.get((b.id, service.endpoint, b.address)), total, elapsed)
        for b, total in zip(service.backends, totals, strict=True)
    ]
    # Rates are summed rather than totals compared: a total falls when a backend is removed.
    whole = _sum_rates(rates) if rates else _rate(None, service_counters(after, service), elapsed)
    shares = weight_shares(service.backends)
    return ServiceRate(
        service,
        whole,
        service_counters(after, service),
        tuple(
            BackendRate(
                backend,
                rate,
                total,
                rate.packets / whole.packets if whole.packets else None,
                shares[backend.id],
            )
            for backend, rate, total in zip(service.backends, rates, totals, strict=True)
        ),
    )


def _rate(base: Counters | None, now: Counters, elapsed: float) -> Rate:
    if base is None or _was_reset(base, now):
        base = now
    new_flows = _per_second(base.new_flows, now.new_flows, elapsed)
    return Rate(
        _per_second(base.packets, now.packets, elapsed),
        8 * _per_second(base.bytes, now.bytes, elapsed),
        None if now.new_flows is None else new_flows,
    )


def _was_reset(base: Counters, now: Counters) -> bool:
    # One counter that fell means all began anew: the others' differences mean nothing either.
    return (
        now.packets < base.packets
        or now.bytes < base.bytes
        or (now.new_flows or 0) < (base.new_flows or 0)
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
