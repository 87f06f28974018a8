"""The daemon under a real systemd, as the Debian package installs it, with all its restrictions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clean_root import CleanRoot, made_root
from tests.support.netns.namespaces import Host, eventually, made_wire
from tests.support.packages import another_version, install
from tests.support.umask import mode_of

VIP = "10.66.0.80"
BACKENDS = ("10.66.0.11", "10.66.0.12")
FILE = "/etc/pydsr/balancer.yaml"
CONFIGURATION = f"""\
interfaces: [eth0]
services:
  - endpoint: {VIP}:80
    checks: [{{type: http, interval: 0.5, timeout: 0.4, rise: 1, fall: 2}}]
    backends: [{", ".join(BACKENDS)}]
"""
BOOT_SECONDS, START_SECONDS = 60.0, 60.0


@dataclass(frozen=True)
class Balancer:
    """A booted system with the package, and the host at the other end of its eth0."""

    root: CleanRoot
    host: Host
    peer: Host

    def property_of(self, name: str) -> str:
        """Return what systemd says of the service."""
        return self.root.run("systemctl", "show", "pydsr", "--value", f"--property={name}").strip()

    def json(self, *command: str) -> Any:
        """Return the document that a command prints."""
        return json.loads(self.root.run("pydsr", *command, "--json"))

    def backends(self) -> dict[str, Any]:
        """Return what is known of each backend."""
        (service,) = self.json("backends", "list")
        return {backend["address"]: backend for backend in service["backends"]}

    def health(self) -> list[Any]:
        """Return whether each backend is healthy."""
        (service,) = self.json("health")["services"]
        return [backend["healthy"] for backend in service["backends"]]

    @property
    def log(self) -> str:
        """What the service has logged."""
        return self.root.run("journalctl", "--unit=pydsr", "--no-pager")

    def write(self, text: str) -> None:
        """Write the configuration."""
        self.root.path(FILE).write_text(text)

    def override(self, setting: str) -> None:
        """Change a setting of the service, as ``systemctl edit`` does."""
        directory = self.root.path("/etc/systemd/system/pydsr.service.d")
        directory.mkdir()
        (directory / "override.conf").write_text(f"[Service]\n{setting}\n")
        self.root.run("systemctl", "daemon-reload")

    def start(self) -> None:
        """Start it with the configuration."""
        self.write(CONFIGURATION)
        done = self.root.attempt("systemctl", "start", "pydsr", timeout=START_SECONDS)
        assert done.returncode == 0, self.log


@pytest.fixture
def balancer(clean_system: Path, package_installed: Path) -> Iterator[Balancer]:
    """A booted system with the package and two backends that serve; the service has no file."""
    with (
        made_wire() as (lb, peer),
        peer.serving("backend"),
        made_root(clean_system, lb.namespace, changes=package_installed, booted=True) as root,
    ):
        peer.run("ip", "address", "add", f"{VIP}/32", "dev", "lo")
        running = ("systemctl", "is-active", "multi-user.target")
        assert eventually(lambda: root.attempt(*running).returncode == 0, BOOT_SECONDS)
        yield Balancer(root, lb, peer)


def becomes(expected: object, ask: Callable[[], object]) -> None:
    """Wait for an answer."""
    eventually(lambda: ask() == expected, START_SECONDS)
    assert expected == ask()


def test_it_is_enabled_and_waits_for_a_configuration(balancer: Balancer) -> None:
    assert "enabled\n" == balancer.root.run("systemctl", "is-enabled", "pydsr")
    balancer.root.run("systemctl", "start", "pydsr")
    assert "inactive" == balancer.property_of("ActiveState")
    assert "no" == balancer.property_of("ConditionResult")


def test_it_does_its_work_with_the_rights_it_has(balancer: Balancer) -> None:
    """It attaches, checks, follows a MAC and answers commands, and nothing of that fails."""
    balancer.override("Environment=PYDSR_WEB=127.0.0.1:8080 PYDSR_METRICS=127.0.0.1:9477")
    balancer.start()
    assert "active" == balancer.property_of("ActiveState")
    assert balancer.host.xdp_program("eth0") is not None
    becomes([True, True], balancer.health)
    balancer.peer.run("ip", "address", "delete", f"{VIP}/32", "dev", "lo")
    becomes([False, False], balancer.health)
    balancer.peer.run("ip", "address", "add", f"{VIP}/32", "dev", "lo")
    becomes([True, True], balancer.health)
    balancer.peer.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    balancer.peer.run("ping", "-c1", "-W20", "-I", BACKENDS[0], "10.66.0.1")
    becomes("02:00:00:00:00:99", lambda: balancer.backends()[BACKENDS[0]]["mac"])
    for address in ("127.0.0.1:8080/api/state", "127.0.0.1:9477/metrics"):
        assert VIP in balancer.host.run("curl", "--silent", "--fail", f"http://{address}")
    assert "Traceback" not in balancer.log
    assert "0" == balancer.property_of("NRestarts")
    cache = balancer.root.path("/var/cache/pydsr")
    assert [*cache.iterdir()]
    assert 0o700 == mode_of(cache)


def test_reload_applies_the_file_and_reports_one_that_is_wrong(balancer: Balancer) -> None:
    balancer.start()
    balancer.write(CONFIGURATION.replace(f", {BACKENDS[1]}", ""))
    balancer.root.run("systemctl", "reload", "pydsr")
    becomes({BACKENDS[0]}, lambda: set(balancer.backends()))
    balancer.write("services: nonsense\n")
    balancer.root.run("systemctl", "reload", "pydsr")
    assert eventually(lambda: f"{FILE}:1" in balancer.log)
    assert {BACKENDS[0]} == set(balancer.backends())
    assert "active" == balancer.property_of("ActiveState")


def test_it_feeds_the_watchdog(balancer: Balancer) -> None:
    balancer.override("WatchdogSec=10")
    balancer.start()
    first = balancer.property_of("WatchdogTimestampMonotonic")
    assert eventually(lambda: balancer.property_of("WatchdogTimestampMonotonic") != first)
    assert "0" == balancer.property_of("NRestarts")


def test_stopped_it_leaves_the_data_plane(balancer: Balancer) -> None:
    balancer.start()
    program = balancer.host.xdp_program("eth0")
    becomes([True, True], balancer.health)
    rules = balancer.host.run("ip", "rule")
    balancer.root.run("systemctl", "stop", "pydsr")
    assert "inactive" == balancer.property_of("ActiveState")
    assert program is not None
    assert program == balancer.host.xdp_program("eth0")
    assert "fwmark" in rules
    assert "fwmark" not in balancer.host.run("ip", "rule")


def test_an_upgrade_of_the_package_takes_over_without_losing_a_packet(
    balancer: Balancer, debian_package: Path, tmp_path: Path
) -> None:
    balancer.start()
    becomes([True, True], balancer.health)
    process, program = balancer.property_of("MainPID"), balancer.host.xdp_program("eth0")
    newer = another_version(debian_package, "99.0", tmp_path)
    with balancer.peer.flooding(VIP) as flood:
        install(balancer.root, newer)
    assert "active" == balancer.property_of("ActiveState")
    assert process != balancer.property_of("MainPID")
    assert f"{FILE}: pydsr 99.0" in balancer.log
    assert balancer.host.xdp_program("eth0") not in (None, program)
    becomes([True, True], balancer.health)
    assert len(flood.answered) > 100
    assert set() == flood.lost


def test_removing_the_package_ends_the_daemon_and_purging_it_all(balancer: Balancer) -> None:
    balancer.start()
    balancer.root.run("dpkg", "--remove", "pydsr")
    assert "inactive" == balancer.property_of("ActiveState")
    assert balancer.host.xdp_program("eth0") is not None
    balancer.root.run("dpkg", "--purge", "pydsr")
    assert balancer.host.xdp_program("eth0") is None


def test_its_exposure_is_what_the_documentation_says(balancer: Balancer) -> None:
    said = balancer.root.run("systemd-analyze", "security", "pydsr", "--no-pager")
    (exposure,) = re.findall(r"exposure level for pydsr.service: ([0-9.]+)", said)
    assert 3.0 > float(exposure)
