"""Check the VIP on every backend once, on the path of the daemon's checks.

For a TCP service, the check opens a connection, which harms no server. For other services it pings
the VIP, because it knows no valid datagram.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydsr.health.investigation import Investigations
from pydsr.health.single_check import check_once
from pydsr.health.steering import Steering
from pydsr.health.targets import CheckTarget, Job, route_to
from pydsr.model.addresses import Endpoint, IPAddress, Protocol, parse_address
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import TcpCheck, VipPingCheck, port_of
from pydsr.model.errors import BusyError, PydsrError
from pydsr.model.interfaces import Interface
from pydsr.model.service import Backend, Service

Key = tuple[Endpoint, IPAddress]
Checked = Result | str
"""The result of a check, or why there is none."""

_CONCURRENT = 64
_TIMEOUT_SECONDS = 1.0


def check_backends(
    wanted: Iterable[tuple[Service, Backend]],
    interfaces: Collection[Interface],
    attached: Collection[int],
) -> dict[Key, Checked]:
    """Return the results of checking the VIP on backends of services."""
    jobs: dict[Key, Job] = {}
    checked: dict[Key, Checked] = {}
    for service, backend in wanted:
        key = service.endpoint, backend.address
        job = _job(service.endpoint, backend, interfaces, attached)
        if job is None:
            checked[key] = "not checked: no device of this machine is in its network and VLAN"
        else:
            jobs[key] = job
    try:
        results = asyncio.run(_run(set(jobs.values()))) if jobs else {}
    except BusyError:
        reason = "not checked: another process makes health checks here"
        return checked | dict.fromkeys(jobs, reason)
    except PydsrError as error:
        return checked | dict.fromkeys(jobs, f"not checked: {error.message}")
    return checked | {key: results[job] for key, job in jobs.items()}


def _job(
    endpoint: Endpoint,
    backend: Backend,
    interfaces: Collection[Interface],
    attached: Collection[int],
) -> Job | None:
    route = route_to(backend, endpoint.address, interfaces, attached)
    if route is None:
        return None
    tcp = TcpCheck(type="tcp", timeout=_TIMEOUT_SECONDS)
    port = port_of(tcp, endpoint)
    if endpoint.protocol is Protocol.TCP and port:
        return Job(tcp, CheckTarget(endpoint.address, port, route))
    ping = VipPingCheck(type="icmp", timeout=_TIMEOUT_SECONDS)
    return Job(ping, CheckTarget(endpoint.address, 0, route))


async def _run(jobs: Collection[Job]) -> Mapping[Job, Result]:
    investigations, limit = Investigations(), asyncio.Semaphore(_CONCURRENT)

    async def run(job: Job) -> Result:
        async with limit:
            return await check_once(job, steering.mark(job.target.route), investigations)

    async with Steering() as steering:
        await steering.steer(job.target for job in jobs)
        results = await asyncio.gather(*map(run, jobs))
    return dict(zip(jobs, results, strict=True))


def daemon_results(document: Mapping[str, Any]) -> dict[Key, Checked]:
    """Return the results in a daemon's health, as ``pydsr health --json`` prints it."""
    return {
        (Endpoint.parse(service["service"]), parse_address(backend["address"])): _result(backend)
        for service in document.get("services", ())
        for backend in service["backends"]
    }


def _result(backend: Mapping[str, Any]) -> Checked:
    if backend["healthy"] is None:
        return "not checked: it is the sorry backend, used when all others fail"
    for failure in backend["failures"]:
        return Result(Outcome(failure["outcome"]), failure["message"], failure["hint"])
    return PASSED
