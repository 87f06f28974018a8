"""Count events and health checks for the metrics. Pure.

Unlike the counters in the maps, these start at zero with the process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import Result
from pydsr.model.events import Event, EventKind

DURATION_BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the buckets of check durations, in seconds."""


@dataclass
class _Durations:
    """Checks of one kind and service; ``buckets`` are not cumulative, the last has no bound."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)


class Statistics:
    """Counters of the daemon."""

    def __init__(self) -> None:
        self._events = Counter({kind.value: 0 for kind in EventKind})
        self._checks: dict[tuple[Endpoint, str], _Durations] = {}
        self._is_in_force = False
        self._in_force_since: float | None = None

    def count_event(self, event: Event) -> None:
        """Count an event."""
        self._events[event.kind.value] += 1
        if event.kind in (EventKind.APPLIED, EventKind.RELOADED):
            self._is_in_force, self._in_force_since = True, event.time.timestamp()
        elif event.kind is EventKind.RELOAD_FAILED:
            self._is_in_force = False

    def count_check(self, kind: str, result: Result, endpoints: Iterable[Endpoint]) -> None:
        """Count a check for the services that it concerns."""
        for endpoint in endpoints:
            durations = self._checks.setdefault((endpoint, kind), _Durations())
            durations.buckets[bisect_left(DURATION_BOUNDS, result.seconds)] += 1
            durations.seconds += result.seconds
            durations.outcomes[result.outcome.value] += 1

    def keep_only(self, checked: Collection[Endpoint]) -> None:
        """Drop the counters of services that are no longer checked."""
        self._checks = {key: value for key, value in self._checks.items() if key[0] in checked}

    def document(self, checked: Collection[Endpoint]) -> dict[str, Any]:
        """Return the counters as JSON, after :meth:`keep_only`."""
        self.keep_only(checked)
        return {
            "events": dict(self._events),
            "in_force": self._is_in_force,
            "in_force_since": self._in_force_since,
            "bounds": list(DURATION_BOUNDS),
            "checks": [
                {
                    "service": str(endpoint),
                    "check": kind,
                    "buckets": list(durations.buckets),
                    "seconds": durations.seconds,
                    "outcomes": dict(durations.outcomes),
                }
                for (endpoint, kind), durations in self._checks.items()
            ],
        }
