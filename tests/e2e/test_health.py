"""Health checks and suspicions on a real balancer, whose program answers for the VIP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import repeat

import pytest

from pydsr.control.balancer import Balancer
from pydsr.health.investigation import Investigations
from pydsr.health.passive import Suspicion, suspicions
from pydsr.health.single_check import check_once
from pydsr.health.steering import Steering
from pydsr.health.targets import CheckTarget, Job, Route
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from pydsr.model.check_result import Outcome
from pydsr.model.service import Service
from pydsr.model.snapshot import Snapshot
from tests.support.lab.requests import DEADLINE_SECONDS, VIP4, VIP6, answers, running
from tests.support.netns.checked_host import made_check

ADDRESSES = {
    VIP4: ("10.77.0.11", "10.77.0.12", "10.77.0.13"),
    VIP6: ("fd77::11", "fd77::12", "fd77::13"),
}


def snapshot(lab: Lab) -> Snapshot:
    """Return the balancer's counters."""
    with enter_namespace(lab.topology.namespace("lb")), Balancer(lab.bpffs) as balancer:
        return balancer.snapshot()


def service_at(lab: Lab, vip: str) -> Service:
    """Return the service at port 80 of a VIP."""
    wanted = Endpoint(ip_address(vip), 80)
    return next(one for one in snapshot(lab).services if one.endpoint == wanted)


def outcomes(lab: Lab, vip: str) -> list[Outcome]:
    """Check the page of a VIP on each backend at once."""
    check = made_check("http", timeout=1.0)
    service = service_at(lab, vip)
    backends = [service.backend(ip_address(address)) for address in ADDRESSES[vip]]
    jobs = [
        Job(
            check,
            CheckTarget(service.endpoint.address, 80, Route(backend.address, backend.ifindex)),
        )
        for backend in backends
        if backend is not None
    ]

    async def run() -> list[Outcome]:
        async with Steering() as steering:
            await steering.steer(job.target for job in jobs)
            marks = [steering.mark(job.target.route) for job in jobs]
            results = map(check_once, jobs, marks, repeat(Investigations()))
            return [result.outcome for result in await asyncio.gather(*results)]

    with enter_namespace(lab.topology.namespace("lb")):
        return asyncio.run(run())


@contextmanager
def without(lab: Lab, host: str, vip: str) -> Iterator[None]:
    """Have a VIP gone from a backend for the length of the block."""
    address = [f"{vip}/{ip_address(vip).max_prefixlen}", "dev", "lo"]
    lab.run(host, ["ip", "address", "delete", *address])
    try:
        yield
    finally:
        assert lab.run(host, ["ip", "address", "add", *address]).returncode == 0


@contextmanager
def forwarding(lab: Lab, host: str) -> Iterator[None]:
    """Have a host forward packets, as routers do, for the length of the block."""
    settings = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    lab.run(host, ["sysctl", "-qw", *(f"{setting}=1" for setting in settings)])
    try:
        yield
    finally:
        lab.run(host, ["sysctl", "-qw", *(f"{setting}=0" for setting in settings)])


@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])
def test_each_check_reaches_its_own_backend(shared_lab: Lab, vip: str) -> None:
    """Also where another would answer in its place, by way of the balancer."""
    assert [Outcome.PASSED] * 3 == outcomes(shared_lab, vip)
    expected = [Outcome.PASSED, Outcome.VIP_MISSING, Outcome.PASSED]
    with without(shared_lab, "backend2", vip):
        assert expected == outcomes(shared_lab, vip)
        with forwarding(shared_lab, "backend2"):
            for _ in range(5):
                assert expected == outcomes(shared_lab, vip)
    assert [Outcome.PASSED] * 3 == outcomes(shared_lab, vip)


def test_a_black_hole_is_suspected_by_its_traffic(shared_lab: Lab) -> None:
    """Clients that get no answer send their SYN again, and nothing else."""
    service = f"{VIP4}:80"
    before = snapshot(shared_lab)
    answers(shared_lab, service, 150)
    between = snapshot(shared_lab)
    assert [] == suspicions(before, between)
    # Connections that nobody takes are given up after two seconds, two SYNs each.
    curl = ["curl", "--silent", "--parallel", "--parallel-max", "100", "--max-time", "2"]
    curl += ["--parallel-immediate", "--header", "Connection: close"]
    with (
        without(shared_lab, "backend2", VIP4),
        running(shared_lab, "client1", [*curl, f"http://{service}/#[1-100]"]) as client,
    ):
        client.communicate(timeout=DEADLINE_SECONDS)
    (found,) = suspicions(between, snapshot(shared_lab))
    assert isinstance(found, Suspicion)
    assert ip_address("10.77.0.12") == found.address
    assert found.ratio == pytest.approx(1.0, abs=0.1)
    assert found.peers_ratio > 3
