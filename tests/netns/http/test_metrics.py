"""``pydsr exporter`` and ``pydsr run --metrics`` when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pydsr.lab.network import enter_namespace
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import AS_NOBODY, Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS, Host, eventually
from tests.support.scraping import Scrape, promtool

ADDRESS = "127.0.0.1:9477"
SERVICE = "10.66.0.80:80/tcp"


def scrape(host: Host, path: str = "/metrics") -> Scrape | None:
    """Return the metrics; None if none are served."""
    done = host.attempt("curl", "--silent", "--fail", f"http://{ADDRESS}{path}")
    return Scrape.of(done.stdout) if done.returncode == 0 else None


def until(host: Host, name: str, value: float) -> Scrape:
    """Scrape until a metric without labels has a value."""
    found = eventually(lambda: (now := scrape(host)) and now.value(name) == value and now)
    assert found, (name, value)
    return found


@contextmanager
def exporting(pydsr: Pydsr, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run an exporter for the length of the block; it must print no traceback."""
    process = pydsr.start("exporter", "--runtime-directory", str(tmp_path))
    with process:
        try:
            assert eventually(lambda: scrape(pydsr.host) or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()
            assert "Traceback" not in process.communicate()[1]


@contextmanager
def taken(host: Host) -> Iterator[None]:
    """Run another server at the address."""
    with enter_namespace(host.name):
        server = socket.create_server(("127.0.0.1", 9477))
    with server:
        yield


def test_an_exporter_follows_a_balancer_that_is_purged_and_attached_again(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    """It reports that there is none; counters of the new one start at zero."""
    with exporting(pydsr, tmp_path) as process:
        found = until(pydsr.host, "pydsr_up", 0)
        assert (0, set()) == (
            found.value("pydsr_daemon_up"),
            {name for name in found.names if name.startswith("pydsr_backend")},
        )
        for backend in BACKENDS[:2]:
            pydsr.ok("attach", "eth0", "--table-size", "251")
            pydsr.ok("backends", "set", SERVICE, f"{backend}=3")
            found = until(pydsr.host, "pydsr_up", 1)
            labels = {"service": SERVICE, "backend": backend}
            assert {frozenset(labels.items()): 3} == found.series("pydsr_backend_weight")
            assert 1 == found.value("pydsr_backend_slots_ratio", **labels)
            assert 251 == found.value("pydsr_service_slots", service=SERVICE)
            assert 1 == found.value("pydsr_interface_mode", interface="eth0", mode="native")
            assert "" == promtool("check", "metrics", page=found.text)
            pydsr.ok("detach", "--all", "--purge")
            until(pydsr.host, "pydsr_up", 0)
        assert process.poll() is None


def test_slots_not_at_rest_are_counted(quick: Pydsr, tmp_path: Path) -> None:
    """Some slots are not at rest after a backend was added."""
    quick.ok("backends", "set", SERVICE, BACKENDS[0])
    with exporting(quick, tmp_path):
        assert 0 == until(quick.host, "pydsr_up", 1).value(
            "pydsr_service_slots_changing", service=SERVICE
        )
        quick.ok("backends", "add", SERVICE, BACKENDS[1])
        assert eventually(
            lambda: (
                (now := scrape(quick.host))
                and now.value("pydsr_service_slots_changing", service=SERVICE)
            )
        )


def test_an_exporter_says_why_it_cannot_listen(lb: Host, pydsr: Pydsr) -> None:
    """With the address, and what to do."""
    with taken(lb):
        done = pydsr("exporter")
    assert (ExitStatus.FAILED, True, True) == (
        done.status,
        f"another process listens at {ADDRESS}" in done.stderr,
        "ss -ltnp" in done.stderr,
    )


def test_an_exporter_that_may_not_read_the_maps_ends_at_once(quick: Pydsr) -> None:
    """Instead of serving nothing forever."""
    done = replace(quick, wrapper=AS_NOBODY)("exporter")
    assert (ExitStatus.CANNOT, True) == (done.status, "not permitted" in done.stderr)


@pytest.mark.parametrize("address", ["9477", "localhost:9477", "127.0.0.1:0", "::1:9477"])
def test_an_invalid_address_is_refused(pydsr: Pydsr, tmp_path: Path, address: str) -> None:
    """By both commands, before anything is done."""
    file = tmp_path / "balancer.yaml"
    for arguments in (("exporter", "--listen", address), ("run", str(file), "--metrics", address)):
        done = pydsr(*arguments)
        assert (ExitStatus.BAD_INPUT, True) == (done.status, repr(address) in done.stderr)


def test_a_killed_exporter_leaves_its_address_to_the_next(pydsr: Pydsr, tmp_path: Path) -> None:
    """Even if connections to it were open."""
    with (
        exporting(pydsr, tmp_path) as process,
        enter_namespace(pydsr.host.name),
        socket.create_connection(("127.0.0.1", 9477)),
    ):
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
        with exporting(pydsr, tmp_path) as following:
            following.send_signal(signal.SIGTERM)
            assert 0 == following.wait(DEADLINE_SECONDS)


def exporter_of(daemon: subprocess.Popen[str]) -> int:
    """Return the process id of the exporter that a daemon has started."""
    (child,) = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    return int(child)


def test_a_daemon_runs_even_if_its_metrics_cannot_be_served(
    lb: Host, pydsr: Pydsr, tmp_path: Path
) -> None:
    """It logs that once, serves them once the address is free, and restarts a killed exporter."""
    daemon = Daemon(pydsr, tmp_path)
    daemon.write(f"""\
interfaces: [eth0]
table-size: 251
services:
  - endpoint: {SERVICE}
    backends: [{BACKENDS[0]}]
""")
    with ExitStack() as stack:
        with taken(lb):
            process = stack.enter_context(daemon.running("--metrics", ADDRESS))
            assert eventually(lambda: "has ended with status 1; trying again" in daemon.log)
            assert {BACKENDS[0]} == daemon.pydsr.addresses(SERVICE)
        until(lb, "pydsr_daemon_up", 1)
        assert 1 == daemon.log.count(f"another process listens at {ADDRESS}")
        os.kill(exporter_of(process), signal.SIGKILL)
        assert eventually(lambda: scrape(lb) is None)
        found = until(lb, "pydsr_daemon_up", 1)
        assert found.value("pydsr_daemon_process_resident_memory_bytes")
        assert 0 == daemon.stop(process)
        assert scrape(lb) is None


def test_an_exporter_ends_with_its_daemon_however_that_ends(quick: Pydsr, tmp_path: Path) -> None:
    """So that the address is free for the next one."""
    daemon = Daemon(quick, tmp_path)
    daemon.write("services: []\n")
    with daemon.running("--metrics", ADDRESS) as process:
        until(quick.host, "pydsr_daemon_up", 1)
        process.kill()
        process.wait()
        assert eventually(lambda: scrape(quick.host) is None)
