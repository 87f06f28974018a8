"""Make one check: run the probe, and diagnose a failure.

While the probe waits for its answer for longer than usual, an investigation runs beside it. So a
failed check is explained at its timeout, and a check that passes takes no longer.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

from pydsr.health.attempt import Attempt
from pydsr.health.diagnosis import NOTHING_KNOWN, Evidence, diagnose, is_decided
from pydsr.health.investigation import Investigation, Investigations
from pydsr.health.kernel_state import has_failed_neighbour, probe_neighbour
from pydsr.health.poller import poller
from pydsr.health.probes import PROBES
from pydsr.health.targets import Job
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check, CommandCheck

PATIENCE = 0.4
"""The share of the timeout after which an investigation begins."""

LATE, LATE_SECONDS = 0.5, 0.1
"""How late the timeout may be noticed: a share of it, and at least so many seconds.

If it is later, the backend had no fair chance: the daemon or the whole machine stood still.
"""


async def check_once(job: Job, mark: int, investigations: Investigations) -> Result:
    """Make one check, which takes at most its timeout and some milliseconds.

    The mark comes from :class:`~pydsr.health.steering.Steering`; all checks share investigations.
    """
    check, target = job.check, job.target
    loop = asyncio.get_running_loop()
    started = loop.time()
    investigation = Investigation(
        investigations, target, mark, check.connects_to_vip, check.timeout * (1 - PATIENCE)
    )
    try:
        with Attempt(target, mark) as attempt:
            result = await _attempt(check, attempt, investigation, started + check.timeout)
    finally:
        await investigation.close()
    return result.lasting(loop.time() - started)


async def _attempt(
    check: Check, attempt: Attempt, investigation: Investigation, ends: float
) -> Result:
    try:
        return await _probe(check, attempt, investigation, ends)
    except OSError as error:  # TimeoutError is one
        lateness = asyncio.get_running_loop().time() - ends
        symptoms = attempt.symptoms(
            error, is_late=lateness > max(LATE * check.timeout, LATE_SECONDS)
        )
    target = attempt.target
    if isinstance(check, CommandCheck):
        return Result(Outcome.TIMED_OUT, f"{target}: {check.argv[0]} did not end in time")
    if symptoms.errno == errno.EACCES and await has_failed_neighbour(target.route):
        await probe_neighbour(target.route)
        symptoms = replace(symptoms, errno=errno.EHOSTUNREACH)
    if is_decided(symptoms):
        return diagnose(target, symptoms)
    evidence = await investigation.evidence()
    if symptoms.errno == errno.EHOSTUNREACH and evidence == NOTHING_KNOWN:
        # Without an ICMP error, the kernel itself reports it: its neighbour entry has failed.
        evidence = Evidence(has_neighbour=False)
    return diagnose(target, symptoms, evidence)


async def _probe(
    check: Check, attempt: Attempt, investigation: Investigation, ends: float
) -> Result:
    """Run the probe; raise TimeoutError at the end, and what the probe raises.

    Nearly every probe has its answer long before. So only those that have none yet when their
    investigation begins get a timer of the event loop.
    """
    limit = asyncio.timeout_at(None)
    has_ended = False

    def run_out_of_patience() -> None:
        if not has_ended:
            limit.reschedule(ends)
            if not isinstance(check, CommandCheck):
                investigation.begin()

    poller().call_at(ends - check.timeout * (1 - PATIENCE), run_out_of_patience)
    try:
        async with limit:
            return await PROBES[type(check)](check, attempt)
    finally:
        has_ended = True
