"""Summarise measured rounds as a figure with its spread. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Figure:
    """Nanoseconds for each packet: the median of the rounds, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.0f} ({self.low:.0f}-{self.high:.0f})"


def summarise(rounds: Sequence[float]) -> Figure:
    """Return the figure of some rounds.

    Raises:
        ValueError: there are none.
    """
    if not rounds:
        raise ValueError("no rounds to summarise")
    if len(rounds) == 1:
        return Figure(rounds[0], rounds[0], rounds[0])
    low, _, high = quantiles(rounds, n=4, method="inclusive")
    return Figure(median(rounds), low, high)


def net(rounds: Sequence[float], empty: Sequence[float]) -> tuple[float, ...]:
    """Return what each round cost beyond the empty program's run beside it.

    Raises:
        ValueError: they are not equally many.
    """
    return tuple(one - other for one, other in zip(rounds, empty, strict=True))
