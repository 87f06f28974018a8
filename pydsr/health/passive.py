"""Which backends look like black holes, by the traffic they get. Pure.

The balancer sees one direction only and keeps no flow records at rest, so it cannot know a SYN
that is sent again from a new one. The counters of a backend still tell: ``new_flows`` counts every
SYN, ``packets`` everything. A client whose connection comes about sends at least an
acknowledgement after its SYN, mostly a request, acknowledgements of what it gets and a FIN: three
to many packets for each SYN. A client that is never answered sends SYNs alone. So the packets for
each new flow come down to 1 where no flow ever proceeds, and stay well above where they do.

What this cannot tell, and what is done about it:

- A flood of SYNs looks the same. It comes to all backends of a service by their weights, so a
  backend is suspected only beside others of its service whose flows do proceed; a service of
  one backend, or one where none proceeds, is left alone.
- Old connections to a backend that went dark send their data again, and hide for some time that
  nothing new comes about. Retransmissions back off (RFC 6298, section 5.5), and the ratio falls.
- UDP says nothing of new flows, and SCTP's counter of INITs has no such ratio to go by: neither
  is judged.

Hence it is a suspicion, which a check should confirm before a backend is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydsr.model.addresses import Endpoint, IPAddress, Protocol
from pydsr.model.rates import backend_counters
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot

MIN_NEW_FLOWS = 20
"""How many SYNs must have come between the snapshots before they mean anything."""

STUCK_RATIO = 1.25
"""Packets for each SYN up to which flows do not proceed: one SYN in four may be more than that."""

PROCEEDING_RATIO = 2.5
"""Packets for each SYN from which flows proceed; the shortest whole connection has 3."""


@dataclass(frozen=True)
class Suspicion:
    """A backend whose new flows seem never to proceed.

    Attributes:
        endpoint: of the service.
        address: of the backend.
        new_flows: how many SYNs it got between the snapshots.
        ratio: packets for each of them.
        peers_ratio: the same of the other backends of the service, taken together.
    """

    endpoint: Endpoint
    address: IPAddress
    new_flows: int
    ratio: float
    peers_ratio: float


def suspicions(before: Snapshot, after: Snapshot) -> list[Suspicion]:
    """Return the backends that got new flows between two snapshots of which none proceeded.

    Args:
        before: the earlier snapshot; some ten seconds earlier, so that clients which wait for
            an answer have sent their SYN again (after 1, 3 and 7 seconds; RFC 6298, section 2).
        after: the later one, whose services and backends are judged.
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
        # A backend that drains gets no new flows but by slots that change: nothing to judge.
        if backend.state is BackendState.UP
        if (increase := _increase(before, after, earlier, service, backend)) is not None
    }
    for address, (packets, new_flows) in got.items():
        if new_flows < MIN_NEW_FLOWS or packets > STUCK_RATIO * new_flows:
            continue
        peers = [increase for other, increase in got.items() if other != address]
        # Other black holes among the peers must not hide each other.
        proceeding = [(p, n) for p, n in peers if n and p >= PROCEEDING_RATIO * n]
        flows = sum(n for _, n in proceeding)
        if flows >= MIN_NEW_FLOWS:
            peers_ratio = sum(p for p, _ in proceeding) / flows
            yield Suspicion(service.endpoint, address, new_flows, packets / new_flows, peers_ratio)


def _increase(
    before: Snapshot, after: Snapshot, earlier: Service, service: Service, backend: Backend
) -> tuple[int, int] | None:
    """Return the packets and new flows between snapshots; None where they cannot be compared."""
    base = earlier.backend(backend.address)
    if base is None or base.id != backend.id or not {backend.id} <= before.counters.keys():
        return None
    then: Counters = backend_counters(before, earlier, base)
    now = backend_counters(after, service, backend)
    packets = now.packets - then.packets
    new_flows = (now.new_flows or 0) - (then.new_flows or 0)
    return (packets, new_flows) if packets >= 0 and new_flows >= 0 else None
