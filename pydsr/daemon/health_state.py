"""What the daemon knows about the health of backends, and the changes that follow. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydsr.health.check_health import CheckHealth, enough_are_healthy
from pydsr.health.service_health import BackendHealth, ServiceHealth, checked_backends, decide
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.check_result import Result
from pydsr.model.checks import Check
from pydsr.model.desired_state import DesiredService
from pydsr.model.service import DesiredBackend, Service

Key = tuple[Endpoint, IPAddress]
"""A service, and one of its backends."""


@dataclass(frozen=True)
class HealthChange:
    """A change of a backend's health, or of the state or weight that follow from it."""

    endpoint: Endpoint
    address: IPAddress
    before: BackendHealth
    after: BackendHealth

    @property
    def key(self) -> Key:
        """The service and the backend."""
        return self.endpoint, self.address

    @property
    def changes_data_plane(self) -> bool:
        """Whether the backend gets another state or weight."""
        before, after = self.before, self.after
        return (before.state, before.weight) != (after.state, after.weight)


@dataclass
class _Results:
    """What a backend's checks have returned.

    Attributes:
        failures: the latest result of each check that fails, the newest last.
        failing_since: the time of the first failure in a row.
        cause: the failure that made the backend unhealthy, and the time of the first in its row. It
            is separate because the check may pass again before the change is made.
        certificate_ends: the expiry of the certificate that each check last saw.
    """

    failures: dict[Check, Result] = field(default_factory=dict)
    failing_since: float | None = None
    cause: tuple[Result, float] | None = None
    certificate_ends: dict[Check, int] = field(default_factory=dict)

    def of_checks(self, checks: Collection[Check]) -> _Results:
        """Return a copy with the results of these checks only."""
        failures = {check: result for check, result in self.failures.items() if check in checks}
        ends = {check: end for check, end in self.certificate_ends.items() if check in checks}
        if not failures:
            return _Results(certificate_ends=ends)
        return _Results(failures, self.failing_since, self.cause, ends)

    def add(self, check: Check, result: Result, now: float, *, has_changed: bool) -> None:
        if result.passed:
            self.failures.pop(check, None)
        else:
            self.failures[check] = result
        if not self.failures:
            self.failing_since = None
        elif result.outcome.is_conclusive and not result.passed and self.failing_since is None:
            self.failing_since = now
        if has_changed and not result.passed:
            self.cause = result, now if self.failing_since is None else self.failing_since
        if result.certificate_ends is not None:
            self.certificate_ends[check] = result.certificate_ends


class HealthState:
    """The health of all services that have checks."""

    def __init__(self) -> None:
        self.services: dict[Endpoint, DesiredService] = {}
        self._health: dict[Endpoint, dict[IPAddress, BackendHealth]] = {}
        self._results: dict[Key, _Results] = {}

    @property
    def health(self) -> Mapping[Endpoint, ServiceHealth]:
        """The health of each service's backends."""
        return self._health

    def reloaded(
        self, wanted: Iterable[DesiredService], live: Mapping[Endpoint, Service], now: float
    ) -> HealthState:
        """Return the state after a reload, keeping known health.

        A backend that is new here counts as unhealthy if the data plane has it in the state of
        failed backends: an earlier daemon has put it there. It stays out until its checks pass.
        """
        new = HealthState()
        for service in wanted:
            endpoint = service.endpoint
            new.services[endpoint] = service
            known = self._health.get(endpoint, {})
            health = {}
            for item in checked_backends(service):
                backend = known.get(item.address)
                if backend is None or backend.is_healthy is None:
                    backend = _health_in_data_plane(service, live.get(endpoint), item, now)
                health[item.address] = backend
                new._results[endpoint, item.address] = _Results()
            new._health[endpoint] = decide(service, health, now)
        new.keep_results(self)
        return new

    def keep_results(self, earlier: HealthState) -> None:
        """Copy results and reports from an earlier state, for the checks that both have."""
        for endpoint, address in self._results.keys() & earlier._results.keys():
            policy = self.services[endpoint].health
            results = earlier._results[endpoint, address]
            self._results[endpoint, address] = results.of_checks(policy.checks if policy else ())
            report = earlier._health[endpoint][address].report
            health = self._health[endpoint]
            health[address] = replace(health[address], report=report)

    def unhealthy_since_start(self, earlier: HealthState) -> list[Key]:
        """Return the backends that are unhealthy before any check, and new since ``earlier``."""
        return [
            key
            for key in self._results
            if not self.is_healthy(*key) and key not in earlier._results
        ]

    def add_result(
        self, key: Key, check: Check, result: Result, now: float, *, has_changed: bool
    ) -> bool:
        """Record a result, and whether it changed the health by its check.

        Returns:
            Whether the backend's service must be decided again.
        """
        if key not in self._results:
            return False
        self._results[key].add(check, result, now, has_changed=has_changed)
        if result.report is None:
            return has_changed
        endpoint, address = key
        health = self._health[endpoint][address]
        before, after = health.report, result.report.after(health.report)
        self._health[endpoint][address] = replace(health, report=after)
        return has_changed or (before.state, before.percent) != (after.state, after.percent)

    def decide(
        self,
        endpoint: Endpoint,
        checks: Callable[[Endpoint, IPAddress], list[CheckHealth]],
        now: float,
    ) -> list[HealthChange]:
        """Return how the backends of a service must change, from their health by each check."""
        service, before = self.services[endpoint], self._health[endpoint]
        checked = {
            address: _combined(health, checks(endpoint, address), service, now)
            for address, health in before.items()
            if (endpoint, address) in self._results
        }
        return [
            HealthChange(endpoint, address, before[address], after)
            for address, after in decide(service, checked, now).items()
            if before[address] != after
        ]

    def apply(self, changes: Iterable[HealthChange]) -> None:
        """Record changes that were made; an agent's report that came meanwhile stays."""
        for change in changes:
            health = self._health[change.endpoint]
            report = health[change.address].report
            health[change.address] = replace(change.after, report=report)

    def is_healthy(self, endpoint: Endpoint, address: IPAddress) -> bool:
        """Return the health of a backend; an unknown backend is healthy."""
        health = self._health.get(endpoint, {}).get(address)
        return health is None or health.is_healthy is not False

    def cause(self, key: Key) -> tuple[Result | None, float | None]:
        """Return the failure that made a backend unhealthy, and when its row began."""
        results = self._results.get(key, _Results())
        newest = next(reversed(results.failures.values()), None)
        return results.cause or (newest, results.failing_since)

    def document(self, now: float) -> dict[str, Any]:
        """Return the health of every backend as a JSON document; durations are in seconds."""
        return {
            "services": [
                {
                    "service": str(endpoint),
                    "backends": [
                        self._backend_document((endpoint, address), health, now)
                        for address, health in self._health[endpoint].items()
                    ],
                }
                for endpoint in self.services
            ]
        }

    def _backend_document(self, key: Key, health: BackendHealth, now: float) -> dict[str, Any]:
        results = self._results.get(key, _Results())
        return {
            "address": str(key[1]),
            "healthy": health.is_healthy,
            "seconds": round(now - health.since, 3) if health.since > -math.inf else None,
            "state": health.state.value,
            "weight": health.weight,
            "configured_weight": health.configured_weight,
            "held": health.is_kept,
            "certificate_ends": min(results.certificate_ends.values(), default=None),
            "failures": [
                {
                    "check": check.type,
                    "outcome": result.outcome.value,
                    "message": result.message,
                    "hint": result.hint,
                }
                for check, result in results.failures.items()
            ],
        }


def _health_in_data_plane(
    service: DesiredService, live: Service | None, item: DesiredBackend, now: float
) -> BackendHealth:
    health = BackendHealth.of(item)
    backend = live.backend(item.address) if live else None
    if service.health is None or backend is None or backend.state is not service.health.on_failure:
        return health
    return replace(health, state=backend.state, is_healthy=False, since=now)


def _combined(
    health: BackendHealth, checks: list[CheckHealth], service: DesiredService, now: float
) -> BackendHealth:
    if not checks or service.health is None:
        return health
    is_healthy = enough_are_healthy(checks, service.health.needed)
    if is_healthy == health.is_healthy:
        return health
    return replace(health, is_healthy=is_healthy, since=now)
