"""The daemon keeps the unhealthy out: real servers that stop, close or lose their VIP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.config.load import load_file
from pydsr.daemon.health_monitor import HealthMonitor
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from pydsr.model.events import Event, EventKind
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.daemon_lab import (
    ADDRESSES,
    CHECK,
    PORT,
    TCP_CHECK,
    Servers,
    closed,
    file_of,
    keeping,
    losing,
    service_of,
    stopped,
    unplugged,
    without_vip,
)
from tests.support.lab.requests import VIP4, VIP6, answers, eventually, running, running_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this file's own, since a daemon takes all services for its own."""
    with running_lab() as made:
        yield made


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Servers:
    """Servers at every backend."""
    made = Servers(lab)
    made.start("backend1", "backend2", "backend3")
    return made


@pytest.fixture(scope="module")
def talkers(lab: Lab) -> Endpoint:
    """A service of the backends whose connections live long."""
    start_servers(lab, [7007])
    return Endpoint(ip_address(VIP4), 7007)


TROUBLES = {
    "timed-out": stopped,
    "port-closed": closed,
    "vip-missing": without_vip,
    "no-neighbour": unplugged,
}


@pytest.mark.parametrize("outcome", TROUBLES)
@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])
def test_a_failed_backend_is_out_and_the_event_says_why(
    lab: Lab, servers: Servers, tmp_path: Path, outcome: str, vip: str
) -> None:
    """The others go on, and it comes back."""
    second = ADDRESSES[vip][1]
    service = f"[{vip}]:{PORT}" if ":" in vip else f"{vip}:{PORT}"
    with keeping(lab, tmp_path, file_of(vip=vip)) as kept:
        with TROUBLES[outcome](lab, servers):
            event = kept.until("backend-unhealthy", second)
            assert (outcome, "up", "down") == (event["outcome"], event["from"], event["to"])
            assert event["duration"] > 0, "since the first of its failed checks"
            assert {"backend1", "backend3"} == answers(lab, service, 60).keys()
            assert [] == kept.diff()
        event = kept.until("backend-healthy", second)
        assert 1 == len(kept.events("backend-unhealthy"))
        assert ("down", "up") == (event["from"], event["to"])
        assert {"backend1", "backend2", "backend3"} == answers(lab, service, 60).keys(), kept.log
        assert {"up"} == set(kept.states().values()), kept.log


@pytest.mark.parametrize("outcome", [*TROUBLES, "packets-lost"])
def test_connections_to_other_backends_survive(
    lab: Lab, servers: Servers, talkers: Endpoint, tmp_path: Path, outcome: str
) -> None:
    """Those to the backend that is lost break, and new ones go where somebody answers."""
    trouble = {**TROUBLES, "packets-lost": losing}[outcome]
    text = file_of() + service_of(port=talkers.port, check=TCP_CHECK)
    with keeping(lab, tmp_path, text) as kept, Connections(lab, 0.1) as connections:
        before = connections.open(talkers, 60, "before")
        assert {"backend1", "backend2", "backend3"} == {one.backend for one in before}
        connections.close(backend="backend2")
        with trouble(lab, servers):
            event = kept.until("backend-unhealthy", "10.77.0.12")
            assert outcome == event["outcome"]
        kept.until("backend-healthy", "10.77.0.12")
        assert [] == broken(connections.check())


def test_new_connections_go_to_healthy_backends(
    lab: Lab, servers: Servers, talkers: Endpoint, tmp_path: Path
) -> None:
    text = "services:\n" + service_of(port=talkers.port, check=TCP_CHECK)
    with keeping(lab, tmp_path, text) as kept, Connections(lab, 0.1) as connections:
        with without_vip(lab, servers):
            kept.until("backend-unhealthy", "10.77.0.12")
            opened = connections.open(talkers, 60)
            assert {"backend1", "backend3"} == {one.backend for one in opened}
        kept.until("backend-healthy", "10.77.0.12")
        assert [] == broken(connections.check())


def test_a_reload_keeps_health(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    with keeping(lab, tmp_path, file_of()) as kept, closed(lab, servers):
        kept.until("backend-unhealthy", "10.77.0.12")
        weighted = ("10.77.0.11=2", "10.77.0.12=3", "10.77.0.13")
        kept.write(file_of(backends=weighted))
        reloaded = kept.until("reloaded")
        assert {"set weight"} == {one["action"] for one in reloaded["changes"]}
        assert "down" == kept.states()["10.77.0.12"]
        assert 1 == len(kept.events("backend-unhealthy"))


def test_health_survives_a_killed_daemon(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    """It is in the data plane; rules and routes for checks are made anew, and go at the end."""
    with keeping(lab, tmp_path, file_of()) as kept:
        with closed(lab, servers):
            kept.until("backend-unhealthy", "10.77.0.12")
            kept.end(signal.SIGKILL)
            left = kept.steering()
            assert left
            kept.start()
            assert "down" == kept.states()["10.77.0.12"]
            kept.until("backend-unhealthy", "10.77.0.12")
            assert eventually(lambda: len(kept.steering()) == len(left)), kept.steering()
        kept.until("backend-healthy", "10.77.0.12")
        kept.end(signal.SIGKILL)
        kept.write(file_of().replace(f"checks: [{CHECK}]\n    health: {{}}\n", "name: web\n"))
        kept.start()
        assert eventually(lambda: not kept.steering()), kept.steering()


def test_rules_and_routes_go_with_the_daemon(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    del servers
    with keeping(lab, tmp_path, file_of()) as kept:
        assert eventually(kept.steering)
        kept.end()
        assert [] == kept.steering()


def test_the_sorry_backend_takes_over(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    text = file_of("{sorry: 10.77.0.13}", backends=("10.77.0.12",))
    service = f"{VIP4}:{PORT}"
    with keeping(lab, tmp_path, text) as kept:
        assert {"10.77.0.12": "up", "10.77.0.13": "down"} == kept.states()
        with closed(lab, servers):
            kept.until("backend-changed", "10.77.0.13")
            assert {"10.77.0.12": "down", "10.77.0.13": "up"} == kept.states()
            assert {"backend3"} == answers(lab, service, 10).keys()
            assert [] == kept.diff()
        kept.until("backend-changed", "10.77.0.13", 2)
        assert {"backend2"} == answers(lab, service, 10).keys()


def test_below_the_minimum_no_backend_is_taken_out(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    with keeping(lab, tmp_path, file_of("{minimum-healthy: 3}")) as kept, closed(lab, servers):
        event = kept.until("backend-unhealthy", "10.77.0.12")
        assert ("up", "up") == (event["from"], event["to"])
        assert "it stays in service, as too few would be left" in event["cause"]
        held = kept.health()["10.77.0.12"]
        assert (False, True, "up") == (held["healthy"], held["held"], held["state"])
        assert ["port-closed"] == [failure["outcome"] for failure in held["failures"]]


def test_weights_rise_slowly_to_the_configured_weight(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    weighted = ("10.77.0.11=10", "10.77.0.12=10", "10.77.0.13=10")
    text = file_of("{slow-start: 6, on-failure: drain}", backends=weighted)
    with keeping(lab, tmp_path, text) as kept:
        with closed(lab, servers):
            event = kept.until("backend-unhealthy", "10.77.0.12")
            assert "drain" == event["to"]
        kept.until("backend-healthy", "10.77.0.12")
        assert eventually(lambda: 0 < kept.health()["10.77.0.12"]["weight"] < 10)
        assert eventually(lambda: kept.health()["10.77.0.12"]["weight"] == 10)
        assert [] == kept.diff()


def test_what_was_changed_by_hand_stays(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    with keeping(lab, tmp_path, file_of()) as kept:
        assert eventually(kept.is_well)
        lab.pydsr("backends", "drain", f"{VIP4}:{PORT}", "10.77.0.12")
        with closed(lab, servers):
            event = kept.until("backend-unhealthy", "10.77.0.12")
            assert "a command has changed its state" in event["cause"]
        kept.until("backend-healthy", "10.77.0.12")
        assert "drain" == kept.states()["10.77.0.12"]


def test_without_a_daemon_the_files_states_hold(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    with keeping(lab, tmp_path, file_of()) as kept, closed(lab, servers):
        kept.until("backend-unhealthy", "10.77.0.12")
        kept.end()
        (change,) = kept.diff()
        assert ("set state", "down", "up") == (change["action"], change["from"], change["to"])
        command = ["pydsr", "--bpffs", str(lab.bpffs), "apply", str(tmp_path / "balancer.yaml")]
        done = lab.run("lb", [*PYTHON, *command])
        assert f"note: nobody checks the health of {VIP4}:{PORT}/tcp" in done.stderr
        assert "up" == kept.states()["10.77.0.12"]


def test_the_traffic_of_a_black_hole_causes_a_check_at_once(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    """Its next check would be in minutes."""
    file = tmp_path / "balancer.yaml"
    file.write_text(file_of().replace(CHECK, "{type: tcp, interval: 600, timeout: 0.5, fall: 1}"))
    lab.pydsr("apply", str(file), "--runtime-directory", str(tmp_path))
    happened: list[Event] = []

    async def monitored() -> None:
        monitor = HealthMonitor(lab.bpffs, happened.append, lambda *_: None, suspect_seconds=2.0)
        async with monitor.reloading(load_file(str(file))):
            pass
        task = asyncio.create_task(monitor.run())
        async with asyncio.timeout(60):
            while EventKind.BACKEND_UNHEALTHY not in {event.kind for event in happened}:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    curl = ["curl", "--silent", "--parallel", "--parallel-immediate", "--parallel-max", "150"]
    curl += ["--max-time", "3", "--header", "Connection: close"]
    with (
        without_vip(lab, servers),
        running(lab, "client1", [*curl, f"http://{VIP4}:{PORT}/#[1-2000]"]),
        enter_namespace(lab.topology.namespace("lb")),
    ):
        asyncio.run(monitored())
    suspected, unhealthy = happened
    assert EventKind.BACKEND_SUSPECTED is suspected.kind
    assert f"{VIP4}:{PORT}/tcp 10.77.0.12" == suspected.object == unhealthy.object
    assert "vip-missing" == unhealthy.details["outcome"]
