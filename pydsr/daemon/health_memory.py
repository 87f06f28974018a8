"""What the daemon holds of the health of backends, and what follows when that changes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydsr.health.judgement import Judgement, enough
from pydsr.health.schedule import Verdict
from pydsr.health.standing import (
    Condition,
    Overlay,
    Standing,
    Standings,
    judged,
    standings,
)
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.check_result import Result
from pydsr.model.checks import Check
from pydsr.model.desired_state import DesiredService
from pydsr.model.service import BackendState, Service

Key = tuple[Endpoint, IPAddress]
Judgements = Callable[[Endpoint, IPAddress], list[Judgement]]


@dataclass(frozen=True)
class Turn:
    """What becomes of a backend whose health, or that of its peers, has changed.

    Attributes:
        was, condition: what was known of it, and what is.
        before, after: what it was in the data plane, and what it is to be.
    """

    endpoint: Endpoint
    address: IPAddress
    was: Condition
    condition: Condition
    before: Standing
    after: Standing

    @property
    def key(self) -> Key:
        """Which backend it is."""
        return self.endpoint, self.address

    @property
    def is_change(self) -> bool:
        """Whether there is something to do in the data plane."""
        before, after = self.before, self.after
        return (before.state, before.weight) != (after.state, after.weight)


class HealthMemory:
    """Everything by service and backend, for those that have checks."""

    def __init__(self) -> None:
        self.services: dict[Endpoint, DesiredService] = {}
        self._conditions: dict[Key, Condition] = {}
        self._standings: dict[Endpoint, Standings] = {}
        self._failures: dict[Key, dict[Check, Result]] = {}
        self._doubts: dict[Key, float] = {}
        self._turns: dict[Key, tuple[Result, float]] = {}
        self._certificates: dict[Key, dict[Check, int]] = {}

    # -- following the file

    def proposed(
        self, wanted: Iterable[DesiredService], present: Mapping[Endpoint, Service], now: float
    ) -> HealthMemory:
        """Return the memory that is to be this one's successor for another file.

        What is held of backends stays. Of those that are new here the data plane is the memory:
        where it has them out as failed ones are, a daemon before this one has put them there, and
        they stay out until their checks pass.

        Args:
            wanted: the services of the file that have checks.
            present: those of the data plane.
            now: seconds of the caller's clock.
        """
        new = HealthMemory()
        for service in wanted:
            endpoint = service.endpoint
            new.services[endpoint] = service
            there = present.get(endpoint)
            before = dict(self._standings.get(endpoint, {}))
            for item in judged(service):
                key = endpoint, item.address
                known = self._conditions.get(key)
                if known is None:
                    known = _as_left(service, there, item.address, now)
                    if not known.is_healthy and service.health is not None:
                        state = service.health.on_failure
                        before[item.address] = Standing(state, item.weight, item.weight)
                new._conditions[key] = known
                new._recall(self, key)
            new._standings[endpoint] = standings(service, new._conditions_of(endpoint), before, now)
        return new

    def _recall(self, earlier: HealthMemory, key: Key) -> None:
        """Take over what the checks of a backend have found, as far as they are still made."""
        health = self.services[key[0]].health
        checks = health.checks if health is not None else ()
        found = earlier._failures.get(key, {})
        failures = {check: result for check, result in found.items() if check in checks}
        if failures:
            self._failures[key] = failures
        if failures and key in earlier._doubts:
            self._doubts[key] = earlier._doubts[key]
        if failures and key in earlier._turns:
            self._turns[key] = earlier._turns[key]
        met = earlier._certificates.get(key, {})
        self._certificates[key] = {check: ends for check, ends in met.items() if check in checks}

    def new_failures(self, earlier: HealthMemory) -> list[Key]:
        """Return the backends that are taken for unhealthy without having been checked."""
        return [
            key
            for key, one in self._conditions.items()
            if not one.is_healthy and key not in earlier._conditions
        ]

    @property
    def overlay(self) -> Overlay:
        """What health makes of the services."""
        return self._standings

    # -- following the checks

    def hear(self, key: Key, verdict: Verdict, now: float) -> bool:
        """Take a result in; return whether the service is to be judged anew."""
        if key not in self._conditions:
            return False
        failures, result = self._failures.setdefault(key, {}), verdict.result
        if result.is_good:
            failures.pop(verdict.job.check, None)
        else:
            failures[verdict.job.check] = result
        if not failures:
            self._doubts.pop(key, None)
        elif result.outcome.tells_of_backend and not result.is_good:
            self._doubts.setdefault(key, now)
        if verdict.is_change and not result.is_good:
            self._turns[key] = result, self._doubts.get(key, now)
        if result.certificate_ends is not None:
            self._certificates.setdefault(key, {})[verdict.job.check] = result.certificate_ends
        condition = self._conditions[key]
        if result.report is None:
            return verdict.is_change
        report = result.report.after(condition.report)
        self._conditions[key] = replace(condition, report=report)
        said = (report.admission, report.percent)
        return verdict.is_change or said != (condition.report.admission, condition.report.percent)

    def judge(self, endpoint: Endpoint, judgements: Judgements, now: float) -> list[Turn]:
        """Return what becomes of the backends of a service; nothing is changed here.

        Args:
            endpoint: of a service that is remembered.
            judgements: what each check holds of a backend.
            now: seconds of the caller's clock.
        """
        service = self.services[endpoint]
        was = self._conditions_of(endpoint)
        conditions = {
            address: _judged(condition, judgements(endpoint, address), service, now)
            for address, condition in was.items()
        }
        before = self._standings[endpoint]
        after = standings(service, conditions, before, now)
        turns = [
            Turn(
                endpoint,
                address,
                was.get(address, Condition()),
                conditions.get(address, Condition()),
                before[address],
                standing,
            )
            for address, standing in after.items()
        ]
        return [one for one in turns if (one.was, one.before) != (one.condition, one.after)]

    def take(self, turns: Iterable[Turn]) -> None:
        """Hold what has become of backends."""
        for turn in turns:
            if turn.key in self._conditions:
                self._conditions[turn.key] = replace(
                    self._conditions[turn.key],
                    is_healthy=turn.condition.is_healthy,
                    since=turn.condition.since,
                )
            self._standings[turn.endpoint] = {
                **self._standings[turn.endpoint],
                turn.address: turn.after,
            }

    # -- what is held

    def is_healthy(self, endpoint: Endpoint, address: IPAddress) -> bool:
        """Return the health of a backend; one that is not known is healthy."""
        return self._conditions.get((endpoint, address), Condition()).is_healthy

    def conditions(self, endpoint: Endpoint) -> Iterable[Condition]:
        """Return what is known of the backends of a service."""
        return self._conditions_of(endpoint).values()

    def failure(self, key: Key) -> Result | None:
        """Return the newest failure of a check whose latest result it is; None without any."""
        return next(reversed(self._failures.get(key, {}).values()), None)

    def cause(self, key: Key) -> tuple[Result | None, float | None]:
        """Return the failure that made a backend unhealthy, and when the first in its row was.

        It is remembered beside what is found now: the next check may have passed already.
        """
        return self._turns.get(key, (self.failure(key), self.doubted_since(key)))

    def doubted_since(self, key: Key) -> float | None:
        """Return when the first of the failures in a row was; None where all checks pass."""
        return self._doubts.get(key)

    def _conditions_of(self, endpoint: Endpoint) -> dict[IPAddress, Condition]:
        service = self.services[endpoint]
        keys = ((endpoint, item.address) for item in judged(service))
        return {key[1]: self._conditions[key] for key in keys}

    def document(self, now: float) -> dict[str, Any]:
        """Return what is held as JSON has it; durations are seconds."""
        return {
            "services": [
                {
                    "service": str(endpoint),
                    "backends": [
                        self._backend_document((endpoint, address), standing, now)
                        for address, standing in self._standings[endpoint].items()
                    ],
                }
                for endpoint in self.services
            ]
        }

    def _backend_document(self, key: Key, standing: Standing, now: float) -> dict[str, Any]:
        condition = self._conditions.get(key)
        lasts = now - condition.since if condition else float("inf")
        failures = self._failures.get(key, {})
        return {
            "address": str(key[1]),
            "healthy": condition.is_healthy if condition else None,
            "seconds": round(lasts, 3) if lasts != float("inf") else None,
            "state": standing.state.value,
            "weight": standing.weight,
            "configured_weight": standing.configured,
            "held": standing.is_held,
            "certificate_ends": min(self._certificates.get(key, {}).values(), default=None),
            "failures": [
                {
                    "check": check.type,
                    "outcome": result.outcome.value,
                    "message": result.message,
                    "hint": result.hint,
                }
                for check, result in failures.items()
            ],
        }


def _as_left(
    service: DesiredService, there: Service | None, address: IPAddress, now: float
) -> Condition:
    backend = there.backend(address) if there else None
    left_out: BackendState | None = service.health.on_failure if service.health else None
    if backend is not None and backend.state is left_out:
        return Condition(is_healthy=False, since=now)
    return Condition()


def _judged(
    condition: Condition, held: list[Judgement], service: DesiredService, now: float
) -> Condition:
    if not held or service.health is None:
        return condition
    is_healthy = enough(held, service.health.needed)
    if is_healthy == condition.is_healthy:
        return condition
    return replace(condition, is_healthy=is_healthy, since=now)
