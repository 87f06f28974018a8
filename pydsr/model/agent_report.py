"""The report of an agent on a backend. Pure.

HAProxy's configuration manual, section 5.2 (``agent-check``), defines the format: words up to
the end of the line, separated by spaces, tabs or commas; a description may follow ``#``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydsr.model.errors import InputError
from pydsr.model.service import MAX_WEIGHT, BackendState

MAX_PERCENT = 10_000
"""The largest percentage of its weight that an agent can request."""

_HEALTH = {"up": True, "down": False, "failed": False, "stopped": False, "fail": False}
_STATES = {"ready": BackendState.UP, "drain": BackendState.DRAIN, "maint": BackendState.DOWN}


@dataclass(frozen=True)
class AgentReport:
    """An agent's report. None means that it did not mention this, which then stays unchanged.

    Attributes:
        is_up: whether the server is healthy.
        state: the state that it requests, independent of health.
        percent: of its configured weight; 0 drains.
        description: for people.
    """

    is_up: bool | None = None
    state: BackendState | None = None
    percent: int | None = None
    description: str = ""

    def after(self, earlier: AgentReport) -> AgentReport:
        """Return this report, completed from an earlier one."""
        return AgentReport(
            earlier.is_up if self.is_up is None else self.is_up,
            earlier.state if self.state is None else self.state,
            earlier.percent if self.percent is None else self.percent,
            self.description,
        )

    @property
    def out_state(self) -> BackendState | None:
        """The state that keeps the backend from new flows, whatever its health; None for none."""
        if self.state in (BackendState.DRAIN, BackendState.DOWN):
            return self.state
        return BackendState.DRAIN if self.percent == 0 else None

    def weight(self, configured: int) -> int:
        """Return the weight that the agent requests; 0 only for 0 %, never by rounding."""
        if self.percent is None or not configured:
            return configured
        weight = (configured * self.percent + 50) // 100
        return min(max(weight, 1 if self.percent else 0), MAX_WEIGHT)


def parse_agent(text: str) -> AgentReport:
    """Parse the first line that an agent sends.

    Unknown words are ignored, such as ``maxconn:``.

    Raises:
        InputError: it has no known word.
    """
    line = (text.splitlines() or [""])[0]
    words, _, description = line.partition("#")
    is_up: bool | None = None
    state: BackendState | None = None
    percent: int | None = None
    for word in re.split(r"[ \t,]+", words.strip().lower()):
        if word in _HEALTH:
            is_up = _HEALTH[word]
        elif word in _STATES:
            state = _STATES[word]
        elif re.fullmatch(r"[0-9]{1,5}%", word):
            percent = min(int(word[:-1]), MAX_PERCENT)
    if is_up is None and state is None and percent is None:
        raise InputError(
            f"{line[:60]!r} is not an agent's report",
            "an agent sends a line of: up, down, ready, drain, maint, 50%",
        )
    return AgentReport(is_up, state, percent, description.strip())
