"""What the daemon counts for the metrics, and for how long it keeps that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pydsr.daemon.statistics import DURATION_BOUNDS, Statistics
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.events import Event, EventKind

WEB, MAIL = Endpoint.parse("10.66.0.80:80"), Endpoint.parse("10.66.0.80:25")


def event(kind: EventKind) -> Event:
    return Event(kind, "balancer.yaml", "why")


def test_events_are_counted_by_kind() -> None:
    """Every kind is there from the start, so that its rate is known."""
    statistics = Statistics()
    before = statistics.document([])
    for kind in (EventKind.STARTED, EventKind.LINK_UP, EventKind.LINK_UP):
        statistics.count_event(event(kind))
    after = statistics.document([])["events"]
    assert {kind.value: 0 for kind in EventKind} == before["events"]
    assert {"started": 1, "link-up": 2} == {kind: n for kind, n in after.items() if n}


def test_the_file_is_in_force_from_its_last_apply_until_a_reload_fails() -> None:
    """The time of the apply stays."""
    statistics = Statistics()

    def state() -> tuple[bool, float | None]:
        document = statistics.document([])
        return document["in_force"], document["in_force_since"]

    assert (False, None) == state()
    applied, reloaded = event(EventKind.APPLIED), event(EventKind.RELOADED)
    statistics.count_event(applied)
    assert (True, applied.time.timestamp()) == state()
    statistics.count_event(event(EventKind.RELOAD_FAILED))
    assert (False, applied.time.timestamp()) == state()
    statistics.count_event(event(EventKind.LINK_UP))
    assert (False, applied.time.timestamp()) == state()
    statistics.count_event(reloaded)
    assert (True, reloaded.time.timestamp()) == state()


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (DURATION_BOUNDS[0], 0),
        (DURATION_BOUNDS[0] + 1e-9, 1),
        (DURATION_BOUNDS[-1], len(DURATION_BOUNDS) - 1),
        (DURATION_BOUNDS[-1] + 1e-9, len(DURATION_BOUNDS)),
    ],
)
def test_a_duration_counts_up_to_its_bound(seconds: float, bucket: int) -> None:
    statistics = Statistics()
    statistics.count_check("tcp", replace(PASSED, seconds=seconds), [WEB])
    (checks,) = statistics.document([WEB])["checks"]
    expected = [int(number == bucket) for number in range(len(DURATION_BOUNDS) + 1)]
    assert (expected, seconds) == (checks["buckets"], checks["seconds"])


def test_checks_are_counted_for_each_service_and_kind() -> None:
    statistics = Statistics()
    statistics.count_check("tcp", replace(PASSED, seconds=0.5), [WEB, MAIL])
    statistics.count_check("tcp", Result(Outcome.TIMED_OUT, "late", seconds=1.0), [WEB])
    statistics.count_check("icmp", PASSED, [WEB])
    found = {
        (checks["service"], checks["check"]): (checks["outcomes"], checks["seconds"])
        for checks in statistics.document([WEB, MAIL])["checks"]
    }
    assert {
        (str(WEB), "tcp"): ({"good": 1, "timed-out": 1}, 1.5),
        (str(MAIL), "tcp"): ({"good": 1}, 0.5),
        (str(WEB), "icmp"): ({"good": 1}, 0.0),
    } == found


def test_counters_of_services_without_checks_are_dropped() -> None:
    """At a reload, and those of a check that ended after it when they are read."""
    statistics = Statistics()
    for endpoint in (WEB, MAIL):
        statistics.count_check("tcp", PASSED, [endpoint])
    statistics.keep_only([MAIL])
    assert [str(MAIL)] == [each["service"] for each in statistics.document([WEB, MAIL])["checks"]]
    statistics.count_check("tcp", PASSED, [WEB])
    assert [str(MAIL)] == [each["service"] for each in statistics.document([MAIL])["checks"]]
    assert [str(MAIL)] == [each["service"] for each in statistics.document([WEB, MAIL])["checks"]]
