"""Find backends that look like black holes from their traffic. Pure.

The balancer sees one direction only, and keeps no flow records at rest, so it cannot tell a
repeated SYN from a new one. But a backend's counters can: ``new_flows`` counts SYNs, ``packets``
everything. A client whose connection is established sends at least an ACK after its SYN, and
usually a request, more ACKs and a FIN: three packets or more for each SYN. A client without an
answer sends SYNs only. So the ratio of packets to new flows falls to 1 if no connection is
established.

Limits:

- A SYN flood looks the same. But it hits all backends of a service by their weights. So a backend
  is suspected only if other backends of its service establish connections.
- Old connections to a backend that went dark retransmit their data, which hides for a while that no
  new one is established. Retransmissions back off (RFC 6298, section 5.5), and the ratio falls.
- UDP has no new flows to count, and SCTP's INITs no such ratio: neither is examined.

Hence this is a suspicion only: a check must confirm it before a backend is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydsr.model.addresses import Endpoint, IPAddress, Protocol
from pydsr.model.rates import backend_counters
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot

MIN_NEW_FLOWS = 20
"""How many SYNs between the snapshots are enough to compare."""

STUCK_RATIO = 1.25
"""The largest ratio of a black hole: one SYN in four may have one more packet."""

WORKING_RATIO = 2.5
"""The smallest ratio of a working backend; the shortest complete connection has 3."""


@dataclass(frozen=True)
class Suspicion:
    """A backend whose connections seem not to be established.

    ``ratio`` is its packets for each new flow, ``peers_ratio`` the same for working backends.
    """

    endpoint: Endpoint
    address: IPAddress
    new_flows: int
    ratio: float
    peers_ratio: float


def suspicions(before: Snapshot, after: Snapshot) -> list[Suspicion]:
    """Return the backends that got new flows between two snapshots, and established none.

    The snapshots should be ten seconds apart: clients without an answer repeat their SYN after 1, 3
    and 7 seconds (RFC 6298, section 2).
    """
    services = {service.endpoint: service for service in before.services}
    return [
        suspicion
        for service in after.services
        if service.endpoint.protocol is Protocol.TCP and service.endpoint in services
        for suspicion in _in_service(before, after, services[service.endpoint], service)
    ]


def _in_service(
    before: Snapshot, after: Snapshot, earlier: Service, service: Service
) -> Iterator[Suspicion]:
    got = {
        backend.address: increase
        for backend in service.backends
        # A draining backend gets hardly any new flows.
        if backend.state is BackendState.UP
        if (increase := _increase(before, after, earlier, service, backend)) is not None
    }
    for address, (packets, new_flows) in got.items():
        if new_flows < MIN_NEW_FLOWS or packets > STUCK_RATIO * new_flows:
            continue
        peers = [increase for other, increase in got.items() if other != address]
        # Several black holes must not hide each other.
        working = [(p, n) for p, n in peers if n and p >= WORKING_RATIO * n]
        flows = sum(n for _, n in working)
        if flows >= MIN_NEW_FLOWS:
            peers_ratio = sum(p for p, _ in working) / flows
            yield Suspicion(service.endpoint, address, new_flows, packets / new_flows, peers_ratio)


def _increase(
    before: Snapshot, after: Snapshot, earlier: Service, service: Service, backend: Backend
) -> tuple[int, int] | None:
    """Return the packets and new flows between snapshots; None if they cannot be compared."""
    base = earlier.backend(backend.address)
    if base is None or base.id != backend.id or not {backend.id} <= before.counters.keys():
        return None
    then: Counters = backend_counters(before, earlier, base)
    now = backend_counters(after, service, backend)
    packets = now.packets - then.packets
    new_flows = (now.new_flows or 0) - (then.new_flows or 0)
    return (packets, new_flows) if packets >= 0 and new_flows >= 0 else None
