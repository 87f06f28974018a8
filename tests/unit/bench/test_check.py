"""What the regression guard of the benchmarks calls dearer."""

from __future__ import annotations

import pytest

from bench.check import compare


@pytest.mark.parametrize(
    ("stored", "measured", "change"),
    [(0.5, 0.5, 0), (0.5, 0.6, 20), (0.5, 0.4, -20), (2.0, 3.0, 50)],
)
def test_a_change_is_told_in_percent_of_what_was_stored(
    stored: float, measured: float, change: float
) -> None:
    (verdict,) = compare({"TCP": stored}, {"TCP": measured})
    assert verdict.change_percent == pytest.approx(change)


def test_what_costs_next_to_nothing_is_not_measured_by_its_ratio() -> None:
    """A nanosecond more is noise, though it may be twice as much."""
    (verdict,) = compare({"ARP": 0.04}, {"ARP": 0.08})
    assert verdict.change_percent == 0


def test_what_costs_next_to_nothing_may_not_become_dear() -> None:
    (verdict,) = compare({"ARP": 0.02}, {"ARP": 0.2})
    assert verdict.change_percent == pytest.approx(100)


def test_kinds_that_were_not_there_are_not_compared() -> None:
    assert [each.name for each in compare({"TCP": 1, "UDP": 1}, {"TCP": 1, "new": 5})] == ["TCP"]
