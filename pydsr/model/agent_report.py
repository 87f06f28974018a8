"""What an agent on a backend says of it: the words that HAProxy's agent checks use. Pure.

The format is that of ``agent-check`` in HAProxy's configuration manual (section 5.2): words up to
the end of the line, parted by spaces, tabs or commas; a description may follow ``#``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydsr.model.errors import InputError
from pydsr.model.service import MAX_WEIGHT

MAX_PERCENT = 10_000
"""The largest share of its weight that an agent can ask for."""

_HEALTH = {"up": True, "down": False, "failed": False, "stopped": False, "fail": False}


class Admission(StrEnum):
    """What an agent wants to be done with its backend, whatever its health."""

    READY = "ready"
    DRAIN = "drain"
    MAINTENANCE = "maint"


@dataclass(frozen=True)
class AgentReport:
    """What an agent has said; None is what it did not speak of, which stays as it was.

    Attributes:
        is_up: whether the server is to be taken for healthy.
        admission: whether it is to have traffic at all.
        percent: of its configured weight; 0 drains.
        description: its words to a human.
    """

    is_up: bool | None = None
    admission: Admission | None = None
    percent: int | None = None
    description: str = ""

    def after(self, earlier: AgentReport) -> AgentReport:
        """Return what holds now: this report, and what an earlier one said of the rest."""
        return AgentReport(
            earlier.is_up if self.is_up is None else self.is_up,
            earlier.admission if self.admission is None else self.admission,
            earlier.percent if self.percent is None else self.percent,
            self.description,
        )

    def weight(self, configured: int) -> int:
        """Return the weight that is asked for; never 0 by rounding, only by 0 %."""
        if self.percent is None or not configured:
            return configured
        asked = (configured * self.percent + 50) // 100
        return min(max(asked, 1 if self.percent else 0), MAX_WEIGHT)


def parse_agent(text: str) -> AgentReport:
    """Read the first line of what an agent sends.

    Words that are not known are passed over, as ``maxconn:`` is, which means nothing here.

    Raises:
        InputError: there is no word in it that says anything.
    """
    line = (text.splitlines() or [""])[0]
    words, _, description = line.partition("#")
    is_up: bool | None = None
    admission: Admission | None = None
    percent: int | None = None
    for word in re.split(r"[ \t,]+", words.strip().lower()):
        if word in _HEALTH:
            is_up = _HEALTH[word]
        elif word in set(Admission):
            admission = Admission(word)
        elif re.fullmatch(r"[0-9]{1,5}%", word):
            percent = min(int(word[:-1]), MAX_PERCENT)
    if is_up is None and admission is None and percent is None:
        raise InputError(
            f"{line[:60]!r} is no report of an agent",
            "it sends a line of: up, down, ready, drain, maint, 50%",
        )
    return AgentReport(is_up, admission, percent, description.strip())
