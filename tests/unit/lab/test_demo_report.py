"""The demo's output as people read it."""

from __future__ import annotations

import re

import pytest

from pydsr.lab.demo_report import to_text
from pydsr.lab.demo_results import (
    CommandOutput,
    Commands,
    Conclusion,
    DemoOutput,
    Expectation,
    Removal,
    RequestStats,
    ReturnPath,
    Step,
    Traffic,
)
from pydsr.views.text.figures import amount

_GOOD = RequestStats(2.0, {"backend1": 30, "backend2": 10, "backend3": 0}, 4_000_000, {})
_BAD = RequestStats(1.0, {"backend1": 5}, 500, {"TimeoutError: timed out": 3})


def lines_of(output: DemoOutput, width: int = 80) -> list[str]:
    """Render without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", to_text(output, width))
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (30_000_000, "30.0 MB"), (10**10, "10.0 GB")],
)
def test_amounts_have_decimal_units(count: int, expected: str) -> None:
    assert expected == amount(count)


def test_bars_are_as_long_as_the_replies_are_many() -> None:
    bars = {line.split()[0]: line.count("█") for line in lines_of(_GOOD)[:3]}
    assert bars == {"backend1": 24, "backend2": 8, "backend3": 0}
    assert "40 answered, 0 failed, in 2.0 s: 20 requests/s, 4.0 MB" in lines_of(_GOOD)[3]


def test_errors_are_shown_with_how_often() -> None:
    assert "  3 times TimeoutError: timed out" in lines_of(_BAD)


def test_the_bypass_says_what_crossed_the_balancer() -> None:
    bypass = ReturnPath(
        30_000_000, Traffic(9, 500_000, 9, 600_000), {"backend1": Traffic(sent_bytes=7)}
    )
    text = "\n".join(lines_of(bypass, 100))
    assert "clients received 30.0 MB; the balancer's interface sent 600 kB (2.0%)" in text


def test_a_removal_shows_both_rates_and_what_was_cut_off() -> None:
    text = "\n".join(lines_of(Removal("backend2", _GOOD, _BAD, 2), 100))
    assert "20 requests/s before, 5 after backend2 was removed" in text
    assert "Failed: 0 before, 2 in flight at the removal, 3 after" in text


@pytest.mark.parametrize(
    ("held", "title"), [(True, "all expectations met"), (False, "some expectations failed")]
)
def test_the_conclusion_says_whether_all_expectations_were_met(held: bool, title: str) -> None:
    conclusion = Conclusion((Expectation("one", True), Expectation("other", held)))
    text = "\n".join(lines_of(conclusion))
    assert held == conclusion.is_met
    assert title in text
    assert ("failed: other" in text) != held


def test_commands_to_copy_and_screens_are_never_broken() -> None:
    long = "nsenter " + "x" * 200
    assert f"  {long}" in lines_of(Commands("Try:", ((long, "why"),)), 40)
    assert long in lines_of(CommandOutput("command", f"{long}\n"), 40)


def test_square_brackets_are_text() -> None:
    assert "▸ to [fd77::80]:80" in lines_of(Step("to [fd77::80]:80"))
    assert (
        "curl 'http://[fd77::80]/'"
        in lines_of(Commands("Try:", (("curl 'http://[fd77::80]/'", "[bold]"),)))[-1]
    )
