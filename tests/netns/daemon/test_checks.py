"""What the daemon makes of agents, certificates and name servers: nginx, dnsmasq and others."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pydsr.daemon.health_data_plane import DataPlane
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from tests.netns.health.test_tls import make_certificate, tls
from tests.support.netns.checked_host import BACKEND, VIP, Checked
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import Host, eventually

PACE = "interval: 0.5, timeout: 0.5, rise: 1, fall: 2"
AGENT_PORT = 7777


@pytest.fixture
def checked(lb: Host, peer: Host) -> Checked:
    """A backend without a server, which has the VIP."""
    made = Checked(lb, peer)
    made.add_vip()
    return made


@pytest.fixture
def daemon(balancer: Pydsr, tmp_path: Path) -> Daemon:
    """A daemon that was not started yet, of a balancer that is attached."""
    return Daemon(balancer, tmp_path)


@pytest.fixture
def says(checked: Checked) -> Iterator[list[bytes]]:
    """What the backend's agent says: the last of it."""
    lines = [b"ready up 100%\n"]
    with checked.taking(lambda connection: connection.sendall(lines[-1]), AGENT_PORT):
        yield lines


def file_of(endpoint: str, check: str, weight: int = 1) -> str:
    return f"""\
services:
  - endpoint: {endpoint}
    checks: [{{type: {check}, {PACE}}}]
    backends: ["{BACKEND[4]}={weight}"]
"""


def backend(daemon: Daemon) -> dict[str, Any]:
    """Return the backend as the data plane has it."""
    (service,) = json.loads(daemon.pydsr.ok("backends", "list", "--json"))
    (found,) = service["backends"]
    return dict(found)


def test_an_agent_changes_weight_and_state(daemon: Daemon, says: list[bytes]) -> None:
    """Each is an event, and no difference to the file."""
    daemon.write(file_of(f"{VIP[4]}:80", f"agent, port: {AGENT_PORT}", weight=10))
    with daemon.running():
        says.append(b"30%\n")
        assert eventually(lambda: backend(daemon)["weight"] == 3)
        assert 0 == daemon.pydsr("diff", str(daemon.file), *daemon.runtime).status
        says.append(b"drain # a new release\n")
        assert eventually(lambda: backend(daemon)["state"] == "drain")
        says.append(b"ready 100%\n")
        assert eventually(
            lambda: (backend(daemon)["state"], backend(daemon)["weight"]) == ("up", 10)
        )
        says.append(b"down # the disk is full\n")
        (event,) = daemon.until("backend-unhealthy")
        assert ("declared-down", "down") == (event["outcome"], event["to"])
        assert "the disk is full" in event["cause"]
        says.append(b"up\n")
        daemon.until("backend-healthy")
        changed = [(one["from"], one["to"]) for one in daemon.events("backend-changed")]
        assert ("weight 10", "weight 3") == changed[0]
        assert ("up", "drain") in changed


def test_a_certificate_that_will_expire_is_an_event(daemon: Daemon, checked: Checked) -> None:
    """Said once; the backend stays in service."""
    folder = daemon.folder
    make_certificate(folder, "good", 30)
    check = f"https, host: www.example, status: [200], ca-file: {folder}/good.crt"
    daemon.write(file_of(f"{VIP[4]}:443", f"{check}, certificate-days: 60"))
    with checked.nginx(folder, tls(folder, "good")), daemon.running():
        (event,) = daemon.until("check-warning")
        assert f"{VIP[4]}:443/tcp {BACKEND[4]}" == event["object"]
        assert "certificate" in event["cause"]
        assert "up" == backend(daemon)["state"]
    assert 1 == daemon.log.count("check-warning")


def test_a_stopped_name_server_is_out_until_it_continues(daemon: Daemon, checked: Checked) -> None:
    daemon.write(file_of(f"{VIP[4]}:53/udp", "dns, name: www.test, answers: [192.0.2.7]"))
    with checked.dnsmasq() as pid, daemon.running():
        os.kill(pid, signal.SIGSTOP)
        (event,) = daemon.until("backend-unhealthy")
        assert ("timed-out", "down") == (event["outcome"], event["to"])
        os.kill(pid, signal.SIGCONT)
        daemon.until("backend-healthy")
        assert "up" == backend(daemon)["state"]


def test_health_uses_a_newly_attached_balancer(balancer: Pydsr) -> None:
    """It keeps the maps open; those of before would show it services that are gone."""
    services = [Endpoint.parse(f"{VIP[4]}:{port}") for port in (80, 81)]
    plane = DataPlane(balancer.bpffs)
    with enter_namespace(balancer.host.name), closing(plane):
        balancer.ok("backends", "set", f"{VIP[4]}:80", BACKEND[4])
        assert [services[0]] == [*plane.services(services)]
        balancer.ok("detach", "--all", "--purge")
        assert {} == plane.services(services)
        balancer.ok("attach", "eth0")
        balancer.ok("backends", "set", f"{VIP[4]}:81", BACKEND[4])
        assert [services[1]] == [*plane.services(services)]
        balancer.ok("detach", "--all", "--purge")
        balancer.ok("attach", "eth0")
        assert {} == plane.services(services)
