"""ICMP: the backend's own address answers ping."""

from __future__ import annotations

from pydsr.health.attempt import Attempt
from pydsr.health.echo import echo_socket, ping
from pydsr.health.models import IcmpCheck
from pydsr.health.outcome import Result


async def probe(_: IcmpCheck, attempt: Attempt) -> Result:
    """Ping the backend.

    Raises:
        OSError: it cannot be reached.
    """
    attempt.is_own_address = True
    with echo_socket(attempt.address, attempt.mark) as raw:
        await ping(raw, attempt.address)
    return Result.good()
