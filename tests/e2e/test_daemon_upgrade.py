"""An upgrade of pydsr under a running daemon: attach of the new version, then a restart."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

import pydsr
from pydsr.lab.lab import Lab
from pydsr.model.addresses import Endpoint
from pydsr.model.sources import xdp_directory
from tests.support.lab.connections import Connections, broken, start_servers
from tests.support.lab.daemon_lab import INTERVAL, PORT, Kept, Servers, closed, keeping, service_of
from tests.support.lab.requests import VIP4, answers, document, eventually, running_lab
from tests.support.netns.namespaces import Host

TALKERS = Endpoint(ip_address(VIP4), 7007)
NEW_VERSION = "9.9.9"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this file's own, since a daemon takes all services for its own."""
    with running_lab() as made:
        yield made


def new_version(folder: Path) -> list[str]:
    """Make another version of pydsr with another program; return the command that runs it."""
    package = folder / "pydsr"
    shutil.copytree(Path(pydsr.__file__).parent, package)  # with bytecode, which stays valid
    shutil.copytree(xdp_directory(), package / "xdp", dirs_exist_ok=True)
    version = package / "__init__.py"
    version.write_text(version.read_text().replace(pydsr.__version__, NEW_VERSION))
    program = package / "xdp" / "maps.h"
    program.write_text(program.read_text() + "\n/* of the new version */\n")
    return ["env", f"PYTHONPATH={folder}", sys.executable, "-P", "-m"]


def run_new(lab: Lab, python: Sequence[str], *arguments: str) -> str:
    """Run a command of the new version on the balancer."""
    done = lab.run("lb", [*python, "pydsr", "--bpffs", str(lab.bpffs), *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


def count_checks(lab: Lab) -> int:
    """Return the number of check connections to the first backend."""
    rules = lab.run("backend1", ["nft", "list", "counter", "inet", "storm", "checks"]).stdout
    return int(re.search(r"packets (\d+)", rules)[1])  # type: ignore[index]


def watch_checks(lab: Lab) -> None:
    """Count check connections on the first backend; clients open none to that port."""
    rules = f"""
        add table inet storm
        add counter inet storm checks
        add chain inet storm in {{ type filter hook input priority 0; }}
        add rule inet storm in tcp dport {PORT} tcp flags == syn counter name checks
    """
    assert lab.run("backend1", ["nft", rules]).returncode == 0


def test_an_upgrade_loses_no_packet_and_no_state(lab: Lab, tmp_path: Path) -> None:
    """Pings and flows continue, an unhealthy backend stays out, checks keep their pace."""
    servers = Servers(lab)
    servers.start("backend1", "backend2", "backend3")
    start_servers(lab, [TALKERS.port])
    python = new_version(tmp_path / "package")
    assert NEW_VERSION in run_new(lab, python, "--version")
    text = f'services:\n  - endpoint: "{TALKERS}"\n    backends: [10.77.0.11, 10.77.0.13]\n'
    with (
        keeping(lab, tmp_path, text + service_of()) as kept,
        closed(lab, servers),
        Connections(lab, 0.1) as connections,
        Host(lab.topology.namespace("client1")).flooding(VIP4) as flood,
    ):
        kept.until("backend-unhealthy", "10.77.0.12")
        connections.open(TALKERS, 60)
        before = document(lab, "status")["interfaces"][0]["program_id"]
        watch_checks(lab)

        assert "upgraded in place" in run_new(lab, python, "attach", "eth0")
        after = document(lab, "status")["interfaces"][0]["program_id"]
        assert before != after
        assert "down" == state_of_second(kept)
        kept.end()
        assert "down" == state_of_second(kept)
        kept.start(python)
        assert f"pydsr {NEW_VERSION}" in kept.events("started")[0]["cause"]
        assert after == document(lab, "status")["interfaces"][0]["program_id"]
        counted, began = count_checks(lab), time.monotonic()
        assert not eventually(lambda: state_of_second(kept) != "down", 10 * INTERVAL)
        # It was not even in for the moment until its checks had failed.
        (out,) = kept.events("backend-unhealthy")
        assert "was out already" in out["cause"]
        checks = count_checks(lab) - counted
        # An interval may be a tenth shorter. A busy machine makes fewer checks, never more.
        assert checks <= (time.monotonic() - began) / INTERVAL * 1.2 + 2

        assert [] == broken(connections.check())
    assert len(flood.answered) > 100
    assert set() == flood.lost
    assert {"backend1", "backend2", "backend3"} >= answers(lab, f"{VIP4}:{PORT}", 30).keys()


def state_of_second(kept: Kept) -> str:
    """Return the state of the backend that was taken out."""
    services = document(kept.lab, "backends", "list")
    states = {
        one["address"]: one["state"]
        for service in services
        if service["service"] == f"{VIP4}:{PORT}/tcp"
        for one in service["backends"]
    }
    return str(states["10.77.0.12"])
