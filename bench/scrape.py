"""Measure the cost of a scrape: ``python -m bench.scrape``, as root.

A daemon in a network namespace serves the metrics of many services with checked backends. Beside
the time of a scrape stands the daemon's answer time to a small request; while that waits, health
checks would wait too. The metrics are read anew for every scrape.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.control import file_of
from bench.report import machine
from pydsr.daemon.client import PAST, socket_path
from pydsr.http.snapshot_reader import FRESH_SECONDS
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.lab.network import enter_namespace
from tests.support.netns.namespaces import eventually, made_directory, made_wire

ADDRESS = "127.0.0.1:9477"
_CHECKS = "    checks: [{type: tcp, interval: 10, timeout: 1}]\n    backends:\n"
_SERVER = "import socket; s = socket.create_server(('', 80))\nwhile True: s.accept()[0].close()"
_START_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What scrapes cost.

    Attributes:
        scrapes: milliseconds of each.
        alone, meanwhile: milliseconds until the daemon answered something small, without scrapes
            and beside them.
        size: bytes of a page.
        exporter, daemon: milliseconds of a processor that each took for a scrape.
    """

    scrapes: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    size: int = 0
    exporter: float = 0.0
    daemon: float = 0.0


@dataclass(frozen=True)
class Running:
    """A daemon and its exporter, by their process ids, and the daemon's socket."""

    namespace: str
    daemon: int
    exporter: int
    socket: Path


@contextmanager
def daemon(services: int, backends: int) -> Iterator[Running]:
    """Have a daemon that serves metrics."""
    with (
        made_wire() as (host, peer),
        made_directory() as directory,
        tempfile.TemporaryDirectory() as folder,
        peer.running(sys.executable, "-c", _SERVER),
    ):
        host.run("ip", "route", "add", "10.66.0.0/16", "dev", "eth0")
        # The peer is every backend, and has every VIP.
        peer.run("ip", "route", "add", "local", "10.80.0.0/16", "dev", "lo")
        file, log = Path(folder, "balancer.yaml"), Path(folder, "log")
        checked = file_of(services, backends).replace("    backends:\n", _CHECKS)
        file.write_text(re.sub("@[0-9a-f:]+", f"@{peer.mac()}", checked))
        command = [*host.prefix, *PYTHON, "pydsr", "--bpffs", str(directory), "run", str(file)]
        command += ["--metrics", ADDRESS, "--runtime-directory", folder]
        with log.open("w") as stream:
            process = subprocess.Popen(command, stderr=stream, env=environment())
        try:
            page = ("curl", "--silent", "--fail", f"http://{ADDRESS}/")
            if not eventually(lambda: host.attempt(*page).returncode == 0, _START_SECONDS):
                raise SystemExit(log.read_text())
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            socket = socket_path(Path(folder), directory)
            yield Running(host.name, process.pid, int(children.split()[0]), socket)
        finally:
            process.kill()
            process.wait()


def processor_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _scrape(client: aiohttp.ClientSession, cost: Cost) -> None:
    begun = time.perf_counter()
    async with client.get(f"http://{ADDRESS}/metrics") as answer:
        cost.size = len(await answer.read())
    cost.scrapes.append(1000 * (time.perf_counter() - begun))


async def _ask(socket: Path, into: list[float]) -> None:
    """Ask the daemon for its first event again and again."""
    while True:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(PAST)
        await reader.readline()
        into.append(1000 * (time.perf_counter() - begun))
        writer.close()
        await asyncio.sleep(0.005)


async def measured(running: Running, rounds: int) -> Cost:
    """Scrape again and again, and ask the daemon for something small all the time."""
    cost = Cost()
    async with aiohttp.ClientSession() as client:
        await _scrape(client, Cost())
        asking = asyncio.create_task(_ask(running.socket, cost.alone))
        began, before = time.monotonic(), processor_seconds(running.daemon)
        await asyncio.sleep(rounds * FRESH_SECONDS)
        at_rest = (processor_seconds(running.daemon) - before) / (time.monotonic() - began)
        asking.cancel()

        asking = asyncio.create_task(_ask(running.socket, cost.meanwhile))
        began, before = time.monotonic(), processor_seconds(running.daemon)
        of_exporter = processor_seconds(running.exporter)
        for _ in range(rounds):
            await _scrape(client, cost)
            await asyncio.sleep(FRESH_SECONDS + 0.01)
        used = processor_seconds(running.daemon) - before - at_rest * (time.monotonic() - began)
        asking.cancel()
        cost.daemon = 1000 * used / rounds
        cost.exporter = 1000 * (processor_seconds(running.exporter) - of_exporter) / rounds
    return cost


def as_table(cost: Cost, title: str) -> Table:
    """Return what was measured."""
    about = machine()
    table = Table(title=title, caption=f"{about['cpu']}, {about['kernel']}")
    for heading in ("", "ms", "most"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, times in (
        (f"a scrape of {cost.size / 1e6:.1f} MB", cost.scrapes),
        ("the daemon answers, without scrapes", cost.alone),
        ("the daemon answers, beside scrapes", cost.meanwhile),
    ):
        table.add_row(name, f"{median(times):.1f}", f"{max(times):.1f}")
    table.add_row("of a processor in the exporter, a scrape", f"{cost.exporter:.0f}", "")
    table.add_row("of a processor in the daemon, a scrape", f"{cost.daemon:.0f}", "")
    return table


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--backends", type=int, default=20)
    asked = parser.parse_args()
    with daemon(asked.services, asked.backends) as running, enter_namespace(running.namespace):
        cost = asyncio.run(measured(running, asked.rounds))
    title = f"Metrics of {asked.services} services of {asked.backends} backends"
    Console(width=None if sys.stdout.isatty() else 100).print(as_table(cost, title))


if __name__ == "__main__":
    main()
