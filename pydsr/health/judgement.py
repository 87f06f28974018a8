"""From results to health: thresholds, and when to look again. Pure: values in, values out.

Failures count while they follow each other, as passes do: one in between starts over. A
backend's health is taken as it was before the first check, so that starting changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydsr.model.checks import Pace


@dataclass(frozen=True)
class Judgement:
    """What is held of one backend by one check.

    Attributes:
        is_up: its health.
        against: how many results in a row, the latest included, spoke against that.
        since: when that health began, in seconds of the caller's clock.
    """

    is_up: bool
    against: int = 0
    since: float = 0.0

    @property
    def is_in_doubt(self) -> bool:
        """Whether the latest result spoke against it."""
        return self.against > 0


def judge(judgement: Judgement, passed: bool, pace: Pace, now: float) -> Judgement:
    """Return what is held after one more result.

    Args:
        judgement: what was held before.
        passed: the result.
        pace: whose thresholds hold.
        now: seconds of the caller's clock.
    """
    if passed == judgement.is_up:
        return replace(judgement, against=0) if judgement.against else judgement
    against = judgement.against + 1
    if against < (pace.rise if passed else pace.fall):
        return replace(judgement, against=against)
    return Judgement(passed, since=now)


def next_start(
    started: float, ended: float, judgement: Judgement, pace: Pace, fraction: float
) -> float:
    """Return when the next check starts.

    Args:
        started: when the last one did.
        ended: when it was done; the next never starts before.
        judgement: what is held now.
        pace: the intervals.
        fraction: a random number from 0 to 1, which is what part of the jitter is taken off.
    """
    interval = pace.fast if judgement.is_in_doubt else pace.interval
    return max(ended, started + interval * (1 - pace.jitter * fraction))


def first_start(begun: float, place: int, pace: Pace) -> float:
    """Return when a check that is new starts first: any number of them are spread evenly.

    Places are laid out by the golden ratio (Knuth, The Art of Computer Programming, vol. 3, 6.4):
    wherever the next one falls is the widest gap there was, however many come later.

    Args:
        begun: when it became known.
        place: its number, counted over all checks.
        pace: whose interval they are spread over.
    """
    return begun + pace.interval * (place * 0.6180339887498949 % 1)


def enough(judgements: Iterable[Judgement], needed: int | None) -> bool:
    """Return whether a backend is healthy by several checks.

    Args:
        judgements: one for each check of the service; by none, it is.
        needed: how many must be up; None is all. More than there are is all.
    """
    held = [judgement.is_up for judgement in judgements]
    return sum(held) >= (len(held) if needed is None else min(needed, len(held)))
