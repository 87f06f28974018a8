"""What health makes of the backends that a file wants: their states and weights. Pure.

A file says what is wanted; its backends that are to be up are up, down or lighter by health. That
is laid over the file whenever it is applied or compared, and nothing of it is ever written there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydsr.health.membership import Candidate, choose, next_step, ramped
from pydsr.model.addresses import Endpoint, IPAddress, parse_address
from pydsr.model.agent_report import Admission, AgentReport
from pydsr.model.desired import DesiredBackend
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.health_policy import HealthPolicy
from pydsr.model.service import BackendState


@dataclass(frozen=True)
class Condition:
    """What is known of a backend.

    Attributes:
        is_healthy: by its checks.
        since: when that began, in seconds of the caller's clock; minus infinity where it was so
            before anything was checked.
        report: what its agent has said.
    """

    is_healthy: bool = True
    since: float = -math.inf
    report: AgentReport = field(default_factory=AgentReport)


@dataclass(frozen=True)
class Standing:
    """What a backend is to be in the data plane.

    Attributes:
        state: as the data plane has it.
        weight: the one it has now.
        configured: the one it has in the file.
        is_held: whether it is in service only because too few would be left.
    """

    state: BackendState
    weight: int
    configured: int
    is_held: bool = False


Standings = Mapping[IPAddress, Standing]
Overlay = Mapping[Endpoint, Standings]
"""What health makes of each service that has checks."""


def judged(service: DesiredService) -> tuple[DesiredBackend, ...]:
    """Return the backends that are checked: those that the file wants up."""
    return tuple(item for item in service.backends if item.state is BackendState.UP)


def standings(
    service: DesiredService,
    conditions: Mapping[IPAddress, Condition],
    before: Standings,
    now: float,
) -> dict[IPAddress, Standing]:
    """Decide what a service's backends are to be.

    Args:
        service: as the file has it.
        conditions: what is known of its backends; of others it is that they are healthy.
        before: what they are.
        now: seconds of the caller's clock.

    Returns:
        For each backend that is checked, and the sorry one.
    """
    policy = service.health
    if policy is None:
        return {}
    wanted = {item.address: item for item in judged(service)}
    known = {address: conditions.get(address, Condition()) for address in wanted}
    refused = {address: _refusal(one.report) for address, one in known.items()}
    membership = choose(
        (
            Candidate(address, one.is_healthy, one.since, _is_up(before.get(address)))
            for address, one in known.items()
            if refused[address] is None
        ),
        policy.minimum,
        has_sorry=policy.sorry is not None,
    )
    found = {}
    for address, item in wanted.items():
        state, weight = refused[address] or policy.on_failure, item.weight
        is_held = address in membership.held
        if address in membership.in_service:
            state, weight = BackendState.UP, known[address].report.weight(item.weight)
        if state is BackendState.UP and not is_held:
            weight = ramped(weight, now - known[address].since, policy.slow_start)
        found[address] = Standing(state, weight, item.weight, is_held)
    if policy.sorry is not None:
        state = BackendState.UP if membership.is_sorry else BackendState.DOWN
        weight = policy.sorry.weight
        found[policy.sorry.address] = Standing(state, weight, weight)
    return found


def _is_up(standing: Standing | None) -> bool:
    return standing is None or standing.state is BackendState.UP


def _refusal(report: AgentReport) -> BackendState | None:
    """Return the state that an agent wants its backend in, whatever its health; None for none."""
    if report.admission is Admission.MAINTENANCE:
        return BackendState.DOWN
    if report.admission is Admission.DRAIN or report.percent == 0:
        return BackendState.DRAIN
    return None


def next_change(policy: HealthPolicy, conditions: Iterable[Condition], now: float) -> float | None:
    """Return in how many seconds the weight of a backend rises next; None where none does."""
    steps = (next_step(now - one.since, policy.slow_start) for one in conditions if one.is_healthy)
    return min((step for step in steps if step is not None), default=None)


def overlaid(configuration: DesiredState, overlay: Overlay) -> DesiredState:
    """Return what a configuration comes to by health.

    What the file itself takes out stays out, and a weight that it has changed meanwhile holds.
    """
    return replace(
        configuration,
        services=tuple(
            replace(
                service,
                backends=tuple(
                    _overlaid(item, service.health, overlay[service.endpoint].get(item.address))
                    for item in service.backends
                ),
            )
            if service.health is not None and service.endpoint in overlay
            else service
            for service in configuration.services
        ),
    )


def _overlaid(
    item: DesiredBackend, policy: HealthPolicy, standing: Standing | None
) -> DesiredBackend:
    is_sorry = policy.sorry is not None and policy.sorry.address == item.address
    if standing is None or not (is_sorry or item.state is BackendState.UP):
        return item
    weight = standing.weight if standing.configured == item.weight else item.weight
    return replace(item, state=standing.state, weight=weight)


def overlay_from(document: Mapping[str, Any]) -> Overlay:
    """Return the overlay in what a daemon says of health (``pydsr health --json``)."""
    return {
        Endpoint.parse(service["service"]): {
            parse_address(one["address"]): Standing(
                BackendState(one["state"]), one["weight"], one["configured_weight"], one["held"]
            )
            for one in service["backends"]
        }
        for service in document["services"]
    }
