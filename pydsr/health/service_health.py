"""Derive states and weights from the health of a service's backends. Pure.

The file says which backends are up. Health makes some of them down, drained or lighter. It is
applied to the desired state before each apply or diff, and never written to the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydsr.model.addresses import Endpoint, IPAddress, parse_address
from pydsr.model.agent_report import AgentReport
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.health_policy import NO_MINIMUM, HealthPolicy, Minimum
from pydsr.model.service import BackendState, DesiredBackend

SLOW_START_STEPS = 10
"""How many weights a backend has during a slow start: every change of a weight moves slots."""


@dataclass(frozen=True)
class BackendHealth:
    """A backend's health, with the state and weight that follow from it.

    Attributes:
        state: in the data plane.
        weight: in the data plane.
        configured_weight: in the file.
        is_healthy: by its checks; None, unknown, for a sorry backend, which nobody checks.
        since: when that began, in seconds of the caller's clock; minus infinity if the backend has
            been healthy since before the first check.
        report: what its agent reports.
        is_kept: whether it is unhealthy and stays in service, as too few others are healthy.
    """

    state: BackendState
    weight: int
    configured_weight: int
    is_healthy: bool | None = True
    since: float = -math.inf
    report: AgentReport = field(default_factory=AgentReport)
    is_kept: bool = False

    @classmethod
    def of(cls, backend: DesiredBackend) -> BackendHealth:
        """Return the health of a backend before any check: healthy."""
        return cls(backend.state, backend.weight, backend.weight)


ServiceHealth = Mapping[IPAddress, BackendHealth]
"""The health of a service's checked backends, and of its sorry backend."""


def checked_backends(service: DesiredService) -> tuple[DesiredBackend, ...]:
    """Return the backends to check: those that are up in the file."""
    return tuple(item for item in service.backends if item.state is BackendState.UP)


def decide(
    service: DesiredService, health: ServiceHealth, now: float
) -> dict[IPAddress, BackendHealth]:
    """Return the health of a service's backends with the states and weights that follow from it.

    A checked backend that is missing in ``health`` is healthy.
    """
    policy = service.health
    if policy is None:
        return {}
    wanted = {item.address: item for item in checked_backends(service)}
    current = {
        address: health.get(address, BackendHealth.of(item)) for address, item in wanted.items()
    }
    healthy, kept = choose_in_service(
        {
            address: backend
            for address, backend in current.items()
            if backend.report.out_state is None
        },
        policy.minimum,
        has_sorry=policy.sorry is not None,
    )
    decided = {}
    for address, item in wanted.items():
        backend = current[address]
        state, weight = backend.report.out_state or policy.on_failure, item.weight
        if address in healthy | kept:
            state, weight = BackendState.UP, backend.report.weight(item.weight)
        if address in healthy:
            weight = slow_start_weight(weight, now - backend.since, policy.slow_start)
        decided[address] = replace(
            backend,
            state=state,
            weight=weight,
            configured_weight=item.weight,
            is_kept=address in kept,
        )
    if policy.sorry is not None:
        state = BackendState.DOWN if healthy else BackendState.UP
        sorry = replace(policy.sorry, state=state)
        decided[sorry.address] = replace(BackendHealth.of(sorry), is_healthy=None)
    return decided


def choose_in_service(
    health: ServiceHealth, minimum: Minimum = NO_MINIMUM, has_sorry: bool = False
) -> tuple[frozenset[IPAddress], frozenset[IPAddress]]:
    """Return the healthy backends, and the unhealthy ones that stay in service beside them.

    If fewer are healthy than the minimum, those that failed last stay: checks that fail everywhere
    at once are more likely wrong than the servers. A backend that is already out stays out. If all
    have failed and there is a sorry backend, none stays: the sorry backend takes over.
    """
    healthy = frozenset(address for address, backend in health.items() if backend.is_healthy)
    if not healthy and has_sorry:
        return healthy, frozenset()
    missing = max(0, minimum.of(len(health)) - len(healthy))
    failed = [
        address
        for address, backend in health.items()
        if not backend.is_healthy and backend.state is BackendState.UP
    ]
    latest_first = sorted(failed, key=lambda ip: (-health[ip].since, ip.version, ip.packed))
    return healthy, frozenset(latest_first[:missing])


def slow_start_weight(
    weight: int, elapsed: float, duration: float, steps: int = SLOW_START_STEPS
) -> int:
    """Return a backend's weight some time after it became healthy: at least 1, or 0 of 0."""
    if elapsed >= duration or not weight:
        return weight
    return max(1, min(weight, weight * _step(elapsed, duration, steps) // steps))


def seconds_to_next_step(
    elapsed: float, duration: float, steps: int = SLOW_START_STEPS
) -> float | None:
    """Return how many seconds from now a slow start's weight rises; None once it is full."""
    if elapsed >= duration:
        return None
    return duration * _step(elapsed, duration, steps) / steps - elapsed


def _step(elapsed: float, duration: float, steps: int) -> int:
    return math.floor(max(elapsed, 0) / duration * steps) + 1


def seconds_to_next_weight(
    policy: HealthPolicy, health: Iterable[BackendHealth], now: float
) -> float | None:
    """Return in how many seconds a slow start raises a weight next; None if it raises none."""
    waits = (
        seconds_to_next_step(now - backend.since, policy.slow_start)
        for backend in health
        if backend.is_healthy
    )
    return min((wait for wait in waits if wait is not None), default=None)


def apply_health(desired: DesiredState, health: Mapping[Endpoint, ServiceHealth]) -> DesiredState:
    """Return a desired state in which backends have the states and weights that health gives them.

    A backend that is out in the file stays out. If the file has changed a backend's weight since
    health was decided, the file's weight holds.
    """
    services = (_apply(service, health.get(service.endpoint)) for service in desired.services)
    return replace(desired, services=tuple(services))


def _apply(service: DesiredService, health: ServiceHealth | None) -> DesiredService:
    if service.health is None or health is None:
        return service
    backends = (
        _with_health(item, service.health, health.get(item.address)) for item in service.backends
    )
    return replace(service, backends=tuple(backends))


def _with_health(
    item: DesiredBackend, policy: HealthPolicy, health: BackendHealth | None
) -> DesiredBackend:
    is_sorry = policy.sorry is not None and policy.sorry.address == item.address
    if health is None or not (is_sorry or item.state is BackendState.UP):
        return item
    weight = health.weight if health.configured_weight == item.weight else item.weight
    return replace(item, state=health.state, weight=weight)


def health_from_document(document: Mapping[str, Any]) -> dict[Endpoint, ServiceHealth]:
    """Return the states and weights in a daemon's answer (``pydsr health --json``)."""
    return {
        Endpoint.parse(service["service"]): {
            parse_address(backend["address"]): BackendHealth(
                BackendState(backend["state"]),
                backend["weight"],
                backend["configured_weight"],
                backend["healthy"],
                is_kept=backend["held"],
            )
            for backend in service["backends"]
        }
        for service in document["services"]
    }
