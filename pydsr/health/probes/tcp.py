"""TCP: the connection is the answer."""

from __future__ import annotations

from pydsr.health.attempt import Attempt
from pydsr.model.check_result import PASSED, Result
from pydsr.model.checks import TcpCheck


async def probe(_: TcpCheck, attempt: Attempt) -> Result:
    """Connect.

    Raises:
        OSError: there is no connection.
    """
    await attempt.connect()
    return PASSED
