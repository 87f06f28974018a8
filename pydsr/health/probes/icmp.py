"""ICMP: the backend's own address answers ping, or the VIP on it does."""

from __future__ import annotations

from pydsr.health.attempt import Attempt
from pydsr.health.echo import echo_socket, ping
from pydsr.model.check_result import PASSED, Result
from pydsr.model.checks import IcmpCheck, VipPingCheck


async def probe(_: IcmpCheck, attempt: Attempt) -> Result:
    """Ping the backend.

    Raises:
        OSError: it cannot be reached.
    """
    attempt.is_own_address = True
    return await _pinged(attempt)


async def probe_vip(_: VipPingCheck, attempt: Attempt) -> Result:
    """Ping the VIP on the backend.

    Raises:
        OSError: it cannot be reached.
    """
    return await _pinged(attempt)


async def _pinged(attempt: Attempt) -> Result:
    with echo_socket(attempt.address, attempt.mark) as raw:
        await ping(raw, attempt.address)
    return PASSED
