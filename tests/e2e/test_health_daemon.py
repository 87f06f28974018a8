"""The daemon keeps the unhealthy out: real servers that stop, close or lose their VIP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, cast

import pytest

from pydsr.config.loading import load_file
from pydsr.daemon import health_keeping
from pydsr.daemon.events import Event, EventKind
from pydsr.daemon.health_keeping import HealthKeeper
from pydsr.lab.lab import Lab
from pydsr.lab.network import entered
from pydsr.lab.processes import PYTHON
from pydsr.lab.server import READY
from pydsr.model import Endpoint
from tests.e2e.connections import Connections, broken, start_servers
from tests.e2e.requests import VIP4, VIP6, answers, eventually, running, running_lab

ADDRESSES = {
    VIP4: ("10.77.0.11", "10.77.0.12", "10.77.0.13"),
    VIP6: ("fd77::11", "fd77::12", "fd77::13"),
}
PORT = 8080
INTERVAL, TIMEOUT, FALL, RISE = 0.2, 0.15, 2, 2
CHECK = f"{{type: http, interval: {INTERVAL}, timeout: {TIMEOUT}, fall: {FALL}, rise: {RISE}}}"

_START_SECONDS = 30.0


def file_of(health: str = "{}", vip: str = VIP4, backends: tuple[str, ...] = ()) -> str:
    """Return a file with one checked service."""
    endpoint = f"[{vip}]:{PORT}" if ":" in vip else f"{vip}:{PORT}"
    listed = ", ".join(f'"{one}"' for one in backends or ADDRESSES[vip])
    return f"""\
services:
  - endpoint: "{endpoint}"
    checks: [{CHECK}]
    health: {health}
    backends: [{listed}]
"""


@dataclass
class Kept:
    """A lab whose balancer is kept by a daemon.

    Attributes:
        lab: it.
        folder: of the daemon's file, socket and log.
        process: the daemon.
    """

    lab: Lab
    folder: Path
    process: subprocess.Popen[str] | None = None

    @property
    def _runtime(self) -> tuple[str, str]:
        return "--runtime-directory", str(self.folder)

    @property
    def log(self) -> str:
        """What daemons have logged."""
        return (self.folder / "log").read_text()

    def write(self, text: str) -> None:
        """Replace the file at once, as editors do."""
        new = self.folder / "new"
        new.write_text(text)
        new.rename(self.folder / "balancer.yaml")

    def start(self) -> None:
        """Start the daemon, and wait until it has applied its file."""
        with (self.folder / "log").open("a") as log:
            number = log.tell()
            command = ["pydsr", "--bpffs", str(self.lab.bpffs), "run"]
            command += [str(self.folder / "balancer.yaml"), *self._runtime]
            self.process = self.lab.popen("lb", [*PYTHON, *command], stderr=log)
        assert eventually(lambda: "applied:" in self.log[number:], _START_SECONDS), self.log

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None
        assert "Traceback" not in self.log, self.log

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return what the daemon says has happened."""
        lines = self.lab.pydsr("events", "--json", *self._runtime).splitlines()
        found = [json.loads(line) for line in lines]
        return [event for event in found if kind in ("", event["event"])]

    def until(self, kind: str, backend: str, count: int = 1) -> dict[str, Any]:
        """Wait for an event of a backend, and return it."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.events(kind) if one.get("backend") == backend]

        assert eventually(lambda: len(found()) >= count), (kind, backend, self.log)
        return found()[count - 1]

    def states(self) -> dict[str, str]:
        """Return the state of each backend in the data plane."""
        (service,) = json.loads(self.lab.pydsr("backends", "list", "--json"))
        return {one["address"]: one["state"] for one in service["backends"]}

    def health(self) -> dict[str, Any]:
        """Return what the daemon holds, by backend."""
        document = json.loads(self.lab.pydsr("health", "--json", *self._runtime))
        return {one["address"]: one for one in document["services"][0]["backends"]}

    def diff(self) -> list[Any]:
        """Return in what the state differs from the file."""
        file = str(self.folder / "balancer.yaml")
        command = ["pydsr", "--bpffs", str(self.lab.bpffs), "diff", file, "--json"]
        done = self.lab.run("lb", [*PYTHON, *command, *self._runtime])
        assert done.returncode in (0, 5), done.stderr
        return list(json.loads(done.stdout)["changes"])

    def steering(self) -> list[str]:
        """Return the rules there are for checks, of both IP versions."""
        found = []
        for version in ("-4", "-6"):
            lines = self.lab.run("lb", ["ip", version, "rule", "list"]).stdout.splitlines()
            found += [line for line in lines if line.split(":")[0] in ("440", "441", "442")]
            marked = self.lab.run("lb", ["ip", version, "route", "list", "table", "all"])
            found += [line for line in marked.stdout.splitlines() if "proto 68" in line]
        return found


class Servers:
    """A server on each backend, at a port of the tests' own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, *names: str) -> None:
        """Start them, and wait until they listen."""
        for name in names:
            command = [*PYTHON, "pydsr.lab.server", "--name", name, "--port", str(PORT)]
            self._running[name] = self._lab.popen(name, command, stdout=subprocess.PIPE)
        for name in names:
            with cast("IO[str]", self._running[name].stdout) as output:
                assert READY == output.readline().strip()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one."""
        os.kill(self._running[name].pid, number)

    def end(self, name: str) -> None:
        """End one, so that nothing listens at its port."""
        process = self._running.pop(name)
        process.kill()
        process.wait()


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


@contextmanager
def keeping(lab: Lab, folder: Path, text: str) -> Iterator[Kept]:
    """Have a daemon for the length of the block."""
    kept = Kept(lab, folder)
    kept.write(text)
    try:
        kept.start()
        yield kept
    finally:
        kept.end()


def out_in_time(event: dict[str, Any]) -> bool:
    """Return whether a backend was out as soon as its checks promise, and the machine allows.

    The duration counts from the first failed check; a second is for a busy machine.
    """
    return float(event["duration"]) <= FALL * INTERVAL + TIMEOUT + 1.0


@contextmanager
def stopped(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have the server of the second backend take connections, and answer none."""
    del lab
    servers.signal("backend2", signal.SIGSTOP)
    yield
    servers.signal("backend2", signal.SIGCONT)


@contextmanager
def closed(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have nothing listen on the second backend."""
    del lab
    servers.end("backend2")
    yield
    servers.start("backend2")


@contextmanager
def without_vip(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have the VIPs gone from the second backend."""
    del servers
    for vip in (VIP4, VIP6):
        address = [f"{vip}/{ip_address(vip).max_prefixlen}", "dev", "lo"]
        lab.run("backend2", ["ip", "address", "delete", *address])
    yield
    for vip in (VIP4, VIP6):
        address = [f"{vip}/{ip_address(vip).max_prefixlen}", "dev", "lo"]
        assert lab.run("backend2", ["ip", "address", "add", *address]).returncode == 0


TROUBLES = {
    "timed-out": stopped,
    "port-closed": closed,
    "vip-missing": without_vip,
}


@pytest.mark.parametrize("outcome", TROUBLES)
@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["IPv4", "IPv6"])
def test_a_backend_that_fails_is_out_in_time_and_said_why(
    lab: Lab, servers: Servers, tmp_path: Path, outcome: str, vip: str
) -> None:
    """The others go on, and it comes back."""
    second = ADDRESSES[vip][1]
    service = f"[{vip}]:{PORT}" if ":" in vip else f"{vip}:{PORT}"
    with keeping(lab, tmp_path, file_of(vip=vip)) as kept:
        with TROUBLES[outcome](lab, servers):
            event = kept.until("backend-unhealthy", second)
            assert (outcome, "up", "down") == (event["outcome"], event["from"], event["to"])
            assert out_in_time(event), event
            assert {"backend1", "backend3"} == answers(lab, service, 60).keys()
            assert [] == kept.diff()
        event = kept.until("backend-healthy", second)
        assert ("down", "up") == (event["from"], event["to"])
        assert {"backend1", "backend2", "backend3"} == answers(lab, service, 60).keys()
        assert {"up"} == set(kept.states().values())


def test_connections_to_the_others_live_through_it(lab: Lab, tmp_path: Path) -> None:
    """Those to the backend that is lost break, and new ones go where somebody answers."""
    port = 7007
    start_servers(lab, [port])
    text = file_of().replace(f":{PORT}", f":{port}").replace("type: http", "type: tcp")
    service = Endpoint(ip_address(VIP4), port)
    address = [f"{VIP4}/32", "dev", "lo"]
    with keeping(lab, tmp_path, text) as kept, Connections(lab, 0.1) as connections:
        before = connections.open(service, 60, "before")
        assert {"backend1", "backend2", "backend3"} == {one.backend for one in before}
        connections.close(backend="backend2")
        lab.run("backend2", ["ip", "address", "delete", *address])
        try:
            kept.until("backend-unhealthy", "10.77.0.12")
            connections.open(service, 60, "after")
        finally:
            assert lab.run("backend2", ["ip", "address", "add", *address]).returncode == 0
        kept.until("backend-healthy", "10.77.0.12")
        after = connections.check()
        assert [] == broken(after)
        assert {"backend1", "backend3"} == {one.backend for one in after}


def test_a_reload_keeps_what_is_held(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    with keeping(lab, tmp_path, file_of()) as kept, closed(lab, servers):
        kept.until("backend-unhealthy", "10.77.0.12")
        weighted = ("10.77.0.11=2", "10.77.0.12=3", "10.77.0.13")
        kept.write(file_of(backends=weighted))
        assert eventually(lambda: kept.events("reloaded"))
        (reloaded,) = kept.events("reloaded")
        assert {"set weight"} == {one["action"] for one in reloaded["changes"]}
        assert "down" == kept.states()["10.77.0.12"]
        assert 1 == len(kept.events("backend-unhealthy"))


def test_what_a_killed_daemon_knew_the_next_one_knows(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
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


def test_the_sorry_backend_stands_in(lab: Lab, servers: Servers, tmp_path: Path) -> None:
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


def test_below_the_minimum_nobody_is_taken_out(lab: Lab, servers: Servers, tmp_path: Path) -> None:
    with keeping(lab, tmp_path, file_of("{minimum-healthy: 3}")) as kept, closed(lab, servers):
        event = kept.until("backend-unhealthy", "10.77.0.12")
        assert ("up", "up") == (event["from"], event["to"])
        assert "it stays in service, as too few would be left" in event["cause"]
        held = kept.health()["10.77.0.12"]
        assert (False, True, "up") == (held["healthy"], held["held"], held["state"])
        assert ["port-closed"] == [failure["outcome"] for failure in held["failures"]]


def test_weights_rise_slowly_and_as_configured_in_the_end(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    weighted = ("10.77.0.11=10", "10.77.0.12=10", "10.77.0.13=10")
    text = file_of("{slow-start: 2, on-failure: drain}", backends=weighted)
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
        lab.pydsr("backends", "drain", f"{VIP4}:{PORT}", "10.77.0.12")
        with closed(lab, servers):
            event = kept.until("backend-unhealthy", "10.77.0.12")
            assert "changed by hand" in event["cause"]
        kept.until("backend-healthy", "10.77.0.12")
        assert "drain" == kept.states()["10.77.0.12"]


def test_without_a_daemon_states_are_those_of_the_file(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    with keeping(lab, tmp_path, file_of()) as kept, closed(lab, servers):
        kept.until("backend-unhealthy", "10.77.0.12")
        kept.end()
        (change,) = kept.diff()
        assert ("set state", "down", "up") == (change["action"], change["from"], change["to"])
        command = ["pydsr", "--bpffs", str(lab.bpffs), "apply", str(tmp_path / "balancer.yaml")]
        done = lab.run("lb", [*PYTHON, *command])
        assert f"note: nobody checks the health of {VIP4}:{PORT}/tcp" in done.stderr
        assert "up" == kept.states()["10.77.0.12"]


def test_a_black_hole_is_checked_at_once_by_its_traffic(
    lab: Lab, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next check would be in minutes."""
    del servers
    monkeypatch.setattr(health_keeping, "SUSPECT_SECONDS", 2.0)
    file = tmp_path / "balancer.yaml"
    file.write_text(file_of().replace(CHECK, "{type: tcp, interval: 600, timeout: 0.5, fall: 1}"))
    lab.pydsr("apply", str(file), "--runtime-directory", str(tmp_path))
    happened: list[Event] = []

    async def keep() -> None:
        keeper = HealthKeeper(lab.bpffs, happened.append)
        async with keeper.following(load_file(str(file))):
            pass
        keeping = asyncio.create_task(keeper.run())
        async with asyncio.timeout(20):
            while EventKind.BACKEND_UNHEALTHY not in {event.kind for event in happened}:
                await asyncio.sleep(0.05)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    curl = ["curl", "--silent", "--parallel", "--parallel-immediate", "--parallel-max", "150"]
    curl += ["--max-time", "3", "--header", "Connection: close"]
    with (
        without_vip(lab, Servers(lab)),
        running(lab, "client1", [*curl, f"http://{VIP4}:{PORT}/#[1-2000]"]),
        entered(lab.topology.namespace("lb")),
    ):
        asyncio.run(keep())
    suspected, unhealthy = happened
    assert EventKind.BACKEND_SUSPECTED is suspected.kind
    assert f"{VIP4}:{PORT}/tcp 10.77.0.12" == suspected.object == unhealthy.object
    assert "vip-missing" == unhealthy.details["outcome"]
