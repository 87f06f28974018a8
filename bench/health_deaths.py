"""Measure how soon a dead host is out of every service of a daemon with 1,000 checks."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ctypes import c_uint32
from dataclasses import dataclass
from pathlib import Path

from bench.health_server import web_server
from pydsr.kernel.bpf import libbpf
from tests.support.netns.checked_host import VIP
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import Host, connect, made_directory, made_host, made_wire

SERVICES, FIRST_PORT = 500, 2000
INTERVAL, TIMEOUT, FALL = 1.0, 0.5, 3
BOUND_SECONDS = FALL * INTERVAL + TIMEOUT
_DEADLINE_SECONDS, _WATCH_SECONDS = 60.0, 0.005
_SETTLING, _MEASURED = 3 * INTERVAL, 5 * INTERVAL


@dataclass(frozen=True)
class Death:
    """How a host died, and after how many seconds it was out of each service.

    Attributes:
        percent: of a core that the daemon took before.
        memory: that it had then, in MiB.
    """

    how: str
    seconds: Sequence[float]
    percent: float
    memory: float


def measure_death(how: str, die: Callable[[Host, int], None]) -> Death:
    """Have a host die that is in every service, and return how soon each has it out."""
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(3)]
        lb, living = stack.enter_context(made_wire())
        dying = stack.enter_context(made_host())
        connect(lb, dying, "eth1", [("10.67.0.1/24", "10.67.0.11/24")])
        ports = range(FIRST_PORT, FIRST_PORT + SERVICES)
        servers = []
        for host, folder in zip((living, dying), folders[:2], strict=True):
            host.run("ip", "address", "add", f"{VIP[4]}/32", "dev", "lo")
            file = web_server(folder, [80, *ports])
            servers.append(stack.enter_context(host.running("nginx", "-c", str(file))))
        directory = stack.enter_context(made_directory())
        daemon = Daemon(Pydsr(lb, directory), folders[2])
        daemon.write(configuration(ports))
        process = stack.enter_context(daemon.running())
        time.sleep(_SETTLING)
        used = processor_seconds(process.pid)
        time.sleep(_MEASURED)
        percent = 100 * (processor_seconds(process.pid) - used) / _MEASURED
        memory = resident_mebibytes(process.pid)
        before = tables(directory)
        begun = time.monotonic()
        die(dying, servers[1].pid)
        out: dict[int, float] = {}
        while len(out) < SERVICES:
            now = time.monotonic() - begun
            for number, table in tables(directory).items():
                if table != before[number]:
                    out.setdefault(number, now)
            if now > _DEADLINE_SECONDS:
                raise SystemExit(f"only {len(out)} services have the dead host out: {daemon.log}")
            time.sleep(_WATCH_SECONDS)
        servers[1].send_signal(signal.SIGCONT)
    return Death(how, sorted(out.values()), percent, memory)


def configuration(ports: Sequence[int]) -> str:
    """Return a file of services with a living and a dying backend."""
    check = f"{{type: http, interval: {INTERVAL}, timeout: {TIMEOUT}, fall: {FALL}}}"
    services = (
        f"  - endpoint: {VIP[4]}:{port}\n    checks: [{check}]\n"
        "    backends: [10.66.0.11, 10.67.0.11]\n"
        for port in ports
    )
    return "interfaces: [eth0, eth1]\nservices:\n" + "".join(services)


def tables(directory: Path) -> dict[int, int]:
    """Return which map the table of each service is, by ids."""
    found = {}
    with libbpf.open_pin(directory / "tables") as pinned:
        for service in range(SERVICES):
            number = c_uint32()
            if libbpf.map_lookup(pinned, c_uint32(service), number):
                found[service] = number.value
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(pid: int) -> float:
    """Return the memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def unplug(host: Host, _: int) -> None:
    """Take the host's interface down."""
    host.run("ip", "link", "set", "eth1", "down")


def stop(_: Host, server: int) -> None:
    """Stop the server, whose kernel goes on taking connections."""
    os.kill(server, signal.SIGSTOP)
