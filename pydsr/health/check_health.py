"""A backend's health by one check, and when that check runs next. Pure.

Only results in a row count: a result of the other kind starts the count again. The caller gives the
health before the first check, so starting the daemon changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydsr.model.checks import BaseCheck


@dataclass(frozen=True)
class CheckHealth:
    """A backend's health by one check.

    Attributes:
        contrary: how many of the latest results in a row contradict it.
        since: when it began, in seconds of the caller's clock.
    """

    is_healthy: bool
    contrary: int = 0
    since: float = 0.0

    @property
    def is_in_doubt(self) -> bool:
        """Whether the latest result contradicts the health."""
        return self.contrary > 0


def apply_result(health: CheckHealth, passed: bool, check: BaseCheck, now: float) -> CheckHealth:
    """Return the health after one more result, at ``now`` seconds of the caller's clock."""
    if passed == health.is_healthy:
        return replace(health, contrary=0) if health.contrary else health
    contrary = health.contrary + 1
    if contrary < (check.rise if passed else check.fall):
        return replace(health, contrary=contrary)
    return CheckHealth(passed, since=now)


def next_start(
    started: float, ended: float, health: CheckHealth, check: BaseCheck, fraction: float
) -> float:
    """Return when the next check starts: never before the last one has ended.

    A random ``fraction`` from 0 to 1 of the jitter is taken off.
    """
    interval = check.fast_interval if health.is_in_doubt else check.interval
    return max(ended, started + interval * (1 - check.jitter * fraction))


def first_start(begun: float, number: int, check: BaseCheck) -> float:
    """Return when a check that is added as the ``number``-th starts, so that starts spread evenly.

    Multiples of the golden ratio (Knuth, The Art of Computer Programming, vol. 3, 6.4) put each
    new check into the widest gap so far, however many more will come.
    """
    return begun + check.interval * (number * 0.6180339887498949 % 1)


def enough_are_healthy(checks: Iterable[CheckHealth], needed: int | None) -> bool:
    """Return whether as many checks as needed say healthy; None, or too many, means all."""
    healthy = [check.is_healthy for check in checks]
    return sum(healthy) >= (len(healthy) if needed is None else min(needed, len(healthy)))
