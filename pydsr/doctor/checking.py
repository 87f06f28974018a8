"""Asks every backend for its VIP, once: by the same way as the daemon's checks.

A service of TCP is asked for a connection, which harms no server. What a datagram would have to say
is not known, so of other services the VIP is pinged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydsr.health.inquiries import Inquiries
from pydsr.health.probing import check_once
from pydsr.health.steering import Steering
from pydsr.health.targets import Job, Target, route_to
from pydsr.model.addresses import Endpoint, IPAddress, Protocol, parse_address
from pydsr.model.check_result import PASSED, Outcome, Result
from pydsr.model.checks import TcpCheck, VipPingCheck, port_of
from pydsr.model.errors import BusyError, PydsrError
from pydsr.model.interfaces import Interface
from pydsr.model.service import Backend, Service

Key = tuple[Endpoint, IPAddress]
Checked = Result | str
"""What came of a check, or why none was made."""

_AT_ONCE = 64
_TIMEOUT_SECONDS = 1.0


def check_backends(
    wanted: Iterable[tuple[Service, Backend]],
    interfaces: Collection[Interface],
    attached: Collection[int],
) -> dict[Key, Checked]:
    """Check the VIPs on backends of services.

    Args:
        wanted: services with one of their backends each.
        interfaces: all of this network namespace.
        attached: indices of those the balancer is on.
    """
    jobs: dict[Key, Job] = {}
    found: dict[Key, Checked] = {}
    for service, backend in wanted:
        key = service.endpoint, backend.address
        job = _job(service.endpoint, backend, interfaces, attached)
        if job is None:
            found[key] = "not asked: no device of this machine is in its network and VLAN"
        else:
            jobs[key] = job
    try:
        results = asyncio.run(_make(set(jobs.values()))) if jobs else {}
    except BusyError:
        return found | dict.fromkeys(jobs, "not asked: another process makes health checks here")
    except PydsrError as error:
        return found | dict.fromkeys(jobs, f"not asked: {error.message}")
    return found | {key: results[job] for key, job in jobs.items()}


def _job(
    endpoint: Endpoint,
    backend: Backend,
    interfaces: Collection[Interface],
    attached: Collection[int],
) -> Job | None:
    route = route_to(backend, endpoint.address, interfaces, attached)
    if route is None:
        return None
    check = TcpCheck(type="tcp", timeout=_TIMEOUT_SECONDS)
    port = port_of(check, endpoint)
    if endpoint.protocol is Protocol.TCP and port:
        return Job(check, Target(endpoint.address, port, route))
    return Job(
        VipPingCheck(type="icmp", timeout=_TIMEOUT_SECONDS), Target(endpoint.address, 0, route)
    )


async def _make(jobs: Collection[Job]) -> Mapping[Job, Result]:
    inquiries, room = Inquiries(), asyncio.Semaphore(_AT_ONCE)

    async def make(job: Job) -> Result:
        async with room:
            return await check_once(job, steering.mark(job.target.route), inquiries)

    async with Steering() as steering:
        await steering.steer(job.target for job in jobs)
        results = await asyncio.gather(*map(make, jobs))
    return dict(zip(jobs, results, strict=True))


def results_of_daemon(document: Mapping[str, Any]) -> dict[Key, Checked]:
    """Return what a daemon's checks hold of backends.

    Args:
        document: what it says, as JSON has it.
    """
    return {
        (Endpoint.parse(service["service"]), parse_address(backend["address"])): _held(backend)
        for service in document.get("services", ())
        for backend in service["backends"]
    }


def _held(backend: Mapping[str, Any]) -> Checked:
    if backend["healthy"] is None:
        return "not checked: it stands in when others fail"
    for failure in backend["failures"]:
        return Result(Outcome(failure["outcome"]), failure["message"], failure["hint"])
    return PASSED
