"""Makes one check: asks, and finds out what is wrong where no good answer comes.

While an attempt has no answer for part of its time, an investigation looks around beside it. So a
check that fails is explained when its time is up, and one that passes costs nothing more.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydsr.health import neighbour
from pydsr.health.attempt import Attempt
from pydsr.health.diagnosis import diagnose, is_decided
from pydsr.health.evidence import Investigation
from pydsr.health.inquiries import Inquiries, Inquiry
from pydsr.health.probes import agent, command, dns, icmp, tcp, udp, web
from pydsr.health.symptoms import NOTHING_KNOWN, Evidence
from pydsr.health.targets import Job
from pydsr.health.waiting import waiting
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import (
    AgentCheck,
    Check,
    CommandCheck,
    DnsCheck,
    HttpCheck,
    HttpsCheck,
    IcmpCheck,
    TcpCheck,
    UdpCheck,
    VipPingCheck,
)

_Probe = Callable[[Any, Attempt], Awaitable[Result]]

_PROBES: dict[type, _Probe] = {
    TcpCheck: tcp.probe,
    HttpCheck: web.probe_http,
    HttpsCheck: web.probe_https,
    DnsCheck: dns.probe,
    UdpCheck: udp.probe,
    IcmpCheck: icmp.probe,
    VipPingCheck: icmp.probe_vip,
    CommandCheck: command.probe,
    AgentCheck: agent.probe,
}

PATIENCE = 0.4
"""After what part of the timeout without an answer an investigation begins."""

LATE, LATE_SECONDS = 0.5, 0.1
"""By what part of a timeout, and by how much at least, its end may be seen late.

Beyond that the backend had no fair chance: the daemon, or the whole machine, stood still.
"""


async def check_once(job: Job, mark: int, inquiries: Inquiries) -> Result:
    """Make one check, which takes no longer than its timeout and some milliseconds.

    Args:
        job: what is checked, and where.
        mark: of sockets that reach it; from :meth:`pydsr.health.steering.Steering.mark`.
        inquiries: of all checks that are made beside it.
    """
    check, target = job.check, job.target
    loop = asyncio.get_running_loop()
    started = loop.time()
    looking = check.timeout * (1 - PATIENCE)
    inquiry = Inquiry(inquiries, Investigation(target, mark, _is_stream(check), looking))
    try:
        with Attempt(target, mark) as attempt:
            result = await _attempted(check, attempt, inquiry, started + check.timeout)
    finally:
        await inquiry.close()
    return result.lasting(loop.time() - started)


async def _attempted(check: Check, attempt: Attempt, inquiry: Inquiry, ends: float) -> Result:
    try:
        return await _answered(check, attempt, inquiry, ends)
    except OSError as error:  # TimeoutError is one
        lateness = asyncio.get_running_loop().time() - ends
        symptoms = attempt.symptoms(
            error, is_late=lateness > max(LATE * check.timeout, LATE_SECONDS)
        )
    if isinstance(check, CommandCheck):
        return Result(Outcome.TIMED_OUT, f"{attempt.target}: {check.argv[0]} did not end in time")
    if symptoms.errno == errno.EACCES and await neighbour.is_given_up(attempt.target):
        await neighbour.ask_again(attempt.target)
        symptoms = replace(symptoms, errno=errno.EHOSTUNREACH)
    if is_decided(symptoms):
        return diagnose(attempt.target, symptoms)
    evidence = await inquiry.evidence()
    if symptoms.errno == errno.EHOSTUNREACH and evidence == NOTHING_KNOWN:
        # No other host has said so: this machine's kernel has given up on the neighbour.
        evidence = Evidence(has_neighbour=False)
    return diagnose(attempt.target, symptoms, evidence)


async def _answered(check: Check, attempt: Attempt, inquiry: Inquiry, ends: float) -> Result:
    """Ask, until a moment at most; raises TimeoutError, and what the probe raises.

    Nearly every check has its answer long before. So the event loop gets a timer for those alone
    that have none yet when their inquiry begins.
    """
    limit = asyncio.timeout_at(None)
    is_over = False

    def lose_patience() -> None:
        if not is_over:
            limit.reschedule(ends)
            if not isinstance(check, CommandCheck):
                inquiry.begin()

    waiting().call_at(ends - check.timeout * (1 - PATIENCE), lose_patience)
    try:
        async with limit:
            return await _PROBES[type(check)](check, attempt)
    finally:
        is_over = True


def _is_stream(check: Check) -> bool:
    return isinstance(check, TcpCheck | HttpCheck | HttpsCheck) or (
        isinstance(check, DnsCheck) and check.transport == "tcp"
    )
