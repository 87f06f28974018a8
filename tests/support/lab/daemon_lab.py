"""A lab whose balancer is kept by a daemon, and what can go wrong with one of its backends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, cast

from pyroute2 import IPRoute

from pydsr.daemon.client import NoDaemonError, read_events, read_health, socket_path
from pydsr.kernel.bpf.python_process import PYTHON
from pydsr.lab.lab import Lab
from pydsr.lab.network import enter_namespace
from pydsr.lab.server import READY
from tests.support.lab.requests import VIP4, VIP6, eventually

ADDRESSES = {
    VIP4: ("10.77.0.11", "10.77.0.12", "10.77.0.13"),
    VIP6: ("fd77::11", "fd77::12", "fd77::13"),
}
PORT = 8080
INTERVAL, TIMEOUT, FALL, RISE = 0.2, 0.15, 2, 2
CHECK = f"{{type: http, interval: {INTERVAL}, timeout: {TIMEOUT}, fall: {FALL}, rise: {RISE}}}"
TCP_CHECK = CHECK.replace("http", "tcp")

_START_SECONDS = 60.0


def service_of(
    health: str = "{}",
    vip: str = VIP4,
    backends: tuple[str, ...] = (),
    port: int = PORT,
    check: str = CHECK,
) -> str:
    """Return a checked service as a file has it."""
    endpoint = f"[{vip}]:{port}" if ":" in vip else f"{vip}:{port}"
    listed = ", ".join(f'"{one}"' for one in backends or ADDRESSES[vip])
    return f"""\
  - endpoint: "{endpoint}"
    checks: [{check}]
    health: {health}
    backends: [{listed}]
"""


def file_of(health: str = "{}", vip: str = VIP4, backends: tuple[str, ...] = ()) -> str:
    """Return a file with one checked service."""
    return "services:\n" + service_of(health, vip, backends)


@dataclass
class Kept:
    """A lab whose balancer is kept by a daemon.

    Attributes:
        lab: it.
        folder: of the daemon's file, socket and log.
        options: of the daemon.
        process: the daemon.
    """

    lab: Lab
    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def runtime(self) -> tuple[str, str]:
        """The option that names the directory of its socket."""
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

    def launch(self, python: Sequence[str] = PYTHON) -> None:
        """Start the daemon, and do not wait; ``python`` runs the modules of pydsr."""
        with (self.folder / "log").open("a") as log:
            command = ["pydsr", "--bpffs", str(self.lab.bpffs), "run"]
            command += [str(self.folder / "balancer.yaml"), *self.runtime, *self.options]
            self.process = self.lab.popen("lb", [*python, *command], stderr=log)

    def start(self, python: Sequence[str] = PYTHON) -> None:
        """Start the daemon, and wait until it has applied its file."""
        log = self.folder / "log"
        number = log.stat().st_size if log.exists() else 0
        self.launch(python)
        assert eventually(lambda: "applied:" in self.log[number:], _START_SECONDS), self.log

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None
        assert "Traceback" not in self.log, self.log

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return what the daemon says has happened."""
        lines = self.lab.pydsr("events", "--json", *self.runtime).splitlines()
        found = [json.loads(line) for line in lines]
        return [event for event in found if kind in ("", event["event"])]

    def until(self, kind: str, backend: str | None = None, count: int = 1) -> dict[str, Any]:
        """Wait for an event, of a backend if one is named, and return it."""

        def wanted(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
            return [e for e in events if (e["event"], e.get("backend")) == (kind, backend)]

        assert eventually(lambda: len(wanted(self._past())) >= count), (kind, backend, self.log)
        return wanted(self.events())[count - 1]

    def _past(self) -> Iterator[dict[str, Any]]:
        """Yield the events that the daemon sends; asking by a command takes longer."""
        with suppress(NoDaemonError):
            for line in read_events(socket_path(self.folder, self.lab.bpffs), follow=False):
                yield json.loads(line)

    def managed(self) -> set[str]:
        """Return the addresses whose neighbour entries the kernel keeps resolved."""
        lines = self.lab.run("lb", ["ip", "neighbour", "show"]).stdout.splitlines()
        return {line.split()[0] for line in lines if "managed" in line.split()}

    def is_well(self) -> bool:
        """Return whether every backend of every service is healthy."""
        try:
            document = read_health(socket_path(self.folder, self.lab.bpffs))
        except NoDaemonError:
            return False
        return all(one["healthy"] for each in document["services"] for one in each["backends"])

    def states(self) -> dict[str, str]:
        """Return the state of each backend in the data plane."""
        (service,) = json.loads(self.lab.pydsr("backends", "list", "--json"))
        return {one["address"]: one["state"] for one in service["backends"]}

    def health(self) -> dict[str, Any]:
        """Return what the daemon holds, by backend."""
        document = json.loads(self.lab.pydsr("health", "--json", *self.runtime))
        return {one["address"]: one for one in document["services"][0]["backends"]}

    def diff(self) -> list[Any]:
        """Return in what the state differs from the file."""
        file = str(self.folder / "balancer.yaml")
        command = ["pydsr", "--bpffs", str(self.lab.bpffs), "diff", file, "--json"]
        done = self.lab.run("lb", [*PYTHON, *command, *self.runtime])
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


@contextmanager
def keeping(lab: Lab, folder: Path, text: str, *options: str) -> Iterator[Kept]:
    """Have a daemon for the length of the block."""
    kept = Kept(lab, folder, options)
    kept.write(text)
    try:
        kept.start()
        yield kept
    finally:
        kept.end()


@contextmanager
def stopped(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have the server of the second backend take connections, and answer none."""
    del lab
    servers.signal("backend2", signal.SIGSTOP)
    try:
        yield
    finally:
        servers.signal("backend2", signal.SIGCONT)


@contextmanager
def closed(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have nothing listen on the second backend."""
    del lab
    servers.end("backend2")
    try:
        yield
    finally:
        servers.start("backend2")


@contextmanager
def without_vip(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have the VIPs gone from the second backend."""
    del servers
    addresses = [[f"{vip}/{ip_address(vip).max_prefixlen}", "dev", "lo"] for vip in (VIP4, VIP6)]
    for address in addresses:
        lab.run("backend2", ["ip", "address", "delete", *address])
    try:
        yield
    finally:
        for address in addresses:
            assert lab.run("backend2", ["ip", "address", "add", *address]).returncode == 0


@contextmanager
def unplugged(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have the second backend's cable out of the switch."""
    del servers
    with enter_namespace(lab.topology.switch), IPRoute() as route:
        (port,) = route.link_lookup(ifname="backend2")
        route.link("set", index=port, state="down")
        try:
            yield
        finally:
            route.link("set", index=port, state="up")


@contextmanager
def losing(lab: Lab, servers: Servers) -> Iterator[None]:
    """Have half of what the second backend sends lost, but for ARP and neighbour discovery."""
    del servers
    rules = """
        add table inet lossy
        add chain inet lossy out { type filter hook output priority 0; }
        add rule inet lossy out icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        add rule inet lossy out numgen random mod 2 == 0 drop
    """
    assert lab.run("backend2", ["nft", rules]).returncode == 0
    try:
        yield
    finally:
        assert lab.run("backend2", ["nft", "delete table inet lossy"]).returncode == 0
