"""Which flow records still matter."""

from __future__ import annotations

import pytest

from pydsr.model.flow_records import CLOSING_SECONDS, FlowRecord, backends_by_slot

SECOND = 1_000_000_000
NOW = 10_000 * SECOND


def record(silent: float = 0, closing: bool = False, slot: int = 1, backend: int = 1) -> FlowRecord:
    """Return a record of a flow that was silent for some seconds."""
    return FlowRecord(b"", 0, slot, backend, NOW - round(silent * SECOND), closing)


@pytest.mark.parametrize(
    ("silent", "closing", "idle", "expected"),
    [
        (899, False, 900, True),
        (900, False, 900, False),
        (CLOSING_SECONDS - 1, True, 900, True),
        (CLOSING_SECONDS, True, 900, False),
        (5, True, 3, False),
        (0, False, 0, False),
    ],
)
def test_a_flow_lives_until_it_was_silent_for_too_long(
    silent: float, closing: bool, idle: int, expected: bool
) -> None:
    assert record(silent, closing).is_live(NOW, idle) is expected


def test_a_record_written_after_the_clock_was_read_is_live() -> None:
    assert record(-0.004).is_live(NOW, 1)


def test_backends_are_gathered_by_slot() -> None:
    records = [record(slot=1), record(slot=1, backend=2), record(slot=5), record(slot=5)]
    assert backends_by_slot(records) == {1: {1, 2}, 5: {1}}
