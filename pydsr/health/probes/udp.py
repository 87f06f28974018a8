"""UDP: a datagram is answered."""

from __future__ import annotations

import re

from pydsr.health.attempt import Attempt
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import UdpCheck

_SHOWN = 40


async def probe(check: UdpCheck, attempt: Attempt) -> Result:
    """Send a datagram, and compare the first answer with what is expected.

    Raises:
        OSError: an ICMP error came back.
    """
    answer = await attempt.receive(attempt.send(check.payload))
    if check.expect is None or re.match(check.expect, answer.decode("latin-1"), re.DOTALL):
        return PASSED
    return Result(
        Outcome.WRONG_ANSWER,
        f"{attempt.target} answers {answer[:_SHOWN]!r}, which is not {check.expect!r}",
    )
