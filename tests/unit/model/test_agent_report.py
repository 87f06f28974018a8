"""What agents say, as HAProxy's do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.model.agent_report import AgentReport, parse_agent
from pydsr.model.errors import InputError
from pydsr.model.service import BackendState


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("up\n", AgentReport(is_up=True)),
        ("UP", AgentReport(is_up=True)),
        ("down # no disk\r\n", AgentReport(is_up=False, description="no disk")),
        ("failed", AgentReport(is_up=False)),
        ("stopped", AgentReport(is_up=False)),
        ("50%\n", AgentReport(percent=50)),
        ("0%", AgentReport(percent=0)),
        ("drain", AgentReport(state=BackendState.DRAIN)),
        ("maint", AgentReport(state=BackendState.DOWN)),
        ("up,ready, 75% maxconn:30\n", AgentReport(True, BackendState.UP, 75)),
        ("up\ndown\n", AgentReport(is_up=True)),
    ],
)
def test_a_line_is_understood(text: str, expected: AgentReport) -> None:
    assert expected == parse_agent(text)


@pytest.mark.parametrize("text", ["", "\n", "hello", "# up", "50", "-5%", "maxconn:30"])
def test_a_line_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not an agent's report"):
        parse_agent(text)


@given(st.text())
def test_no_text_is_worse_than_refused(text: str) -> None:
    try:
        report = parse_agent(text)
    except InputError:
        return
    assert report != AgentReport(description=report.description)


def test_what_is_not_spoken_of_stays() -> None:
    held = parse_agent("up drain 30%").after(AgentReport())
    assert AgentReport(False, BackendState.DRAIN, 30, "oh") == parse_agent("down #oh").after(held)


@given(st.integers(0, 65535), st.integers(0, 10_000))
def test_a_percentage_is_of_the_configured_weight(weight: int, percent: int) -> None:
    asked = AgentReport(percent=percent).weight(weight)
    assert (asked == 0) == (weight == 0 or percent == 0)
    assert asked <= 65535
    if percent == 100:
        assert weight == asked
    if 1 <= weight * percent / 100 <= 65535:
        assert abs(asked - weight * percent / 100) <= 0.5
