"""What a daemon counts while it runs: events, and checks with how long they took. Pure.

The maps count packets over any restart; these begin at zero with the process, as counters may.
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
    """Checks of one kind of one service; ``buckets`` are apart, the last is above every bound."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)


class Statistics:
    """Counts what it hears of."""

    def __init__(self) -> None:
        self._events = Counter({kind.value: 0 for kind in EventKind})
        self._checks: dict[tuple[Endpoint, str], _Durations] = {}
        self._is_in_force = False
        self._in_force_since: float | None = None

    def hear_event(self, event: Event) -> None:
        """Count an event."""
        self._events[event.kind.value] += 1
        if event.kind in (EventKind.APPLIED, EventKind.RELOADED):
            self._is_in_force, self._in_force_since = True, event.time.timestamp()
        elif event.kind is EventKind.RELOAD_FAILED:
            self._is_in_force = False

    def hear_check(self, kind: str, result: Result, endpoints: Iterable[Endpoint]) -> None:
        """Count a check of a kind for the services that it matters to."""
        for endpoint in endpoints:
            durations = self._checks.setdefault((endpoint, kind), _Durations())
            durations.buckets[bisect_left(DURATION_BOUNDS, result.seconds)] += 1
            durations.seconds += result.seconds
            durations.outcomes[result.outcome.value] += 1

    def document(self, checked: Collection[Endpoint]) -> dict[str, Any]:
        """Return what was counted, as JSON has it.

        Args:
            checked: the services that have checks now; others are forgotten.
        """
        self._checks = {key: one for key, one in self._checks.items() if key[0] in checked}
        return {
            "events": dict(self._events),
            "in_force": self._is_in_force,
            "in_force_since": self._in_force_since,
            "bounds": list(DURATION_BOUNDS),
            "checks": [
                {
                    "service": str(endpoint),
                    "check": kind,
                    "buckets": list(one.buckets),
                    "seconds": one.seconds,
                    "outcomes": dict(one.outcomes),
                }
                for (endpoint, kind), one in self._checks.items()
            ],
        }
