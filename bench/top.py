"""Measure the cost of the live view: ``python -m bench.top``, as root.

``pydsr top`` watches a balancer whose counters all change, once a second, in a terminal of 160 by
50. Its processor time is the kernel's count for the process. Beside it stands procps' ``top`` in
such a terminal, on the same machine in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import random
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.control import file_of, made_balancer
from bench.report import machine
from pydsr.control.balancer import Balancer
from pydsr.control.trace import flow_frame
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.python_process import PYTHON, environment
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint
from tests.support.netns.namespaces import Host

_ROWS, _COLUMNS = 50, 160
_WARM_UP_SECONDS = 3.0
_SOURCES = 120
"""Flows to each service in a round of traffic: every one of its twenty backends gets some."""

_ROUND_SECONDS = 0.5
_GOAL_PERCENT = 2.0


@dataclass
class Cost:
    """What a view takes of a processor, in percent, in each round."""

    name: str
    command: Sequence[str]
    percent: list[float] = field(default_factory=list)


class Traffic:
    """Has the attached program see packets to every service, from a thread of this process.

    Args:
        host: the balancer's.
        directory: of its pins.
    """

    def __init__(self, host: Host, directory: Path) -> None:
        self._host = host
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seeded = random.Random(1)
        with enter_namespace(self._host.name), Balancer(self._directory) as balancer:
            (interface,) = balancer.interfaces()
            frames = [
                interface.mac.octets + _frame(service.endpoint, seeded)[6:]
                for service in balancer.services()
                for _ in range(_SOURCES)
            ]
            with libbpf.program_by_id(interface.program_id) as program:
                while not self._stop.wait(_ROUND_SECONDS):
                    for frame in frames:
                        libbpf.run_program(program, frame, ifindex=interface.ifindex)


def _frame(endpoint: Endpoint, seeded: random.Random) -> bytes:
    source = IPv4Address(seeded.randrange(int(IPv4Address("11.0.0.0")), 1 << 28))
    return flow_frame(endpoint, source, seeded.randrange(1024, 65536), syn=False)


@contextmanager
def running(command: Sequence[str]) -> Iterator[int]:
    """Have a command run in a terminal of its own, whose output is thrown away; yields its pid."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (_ROWS, _COLUMNS))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment() | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    reader = threading.Thread(target=_drain, args=(master,), daemon=True)
    reader.start()
    os.close(slave)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        reader.join()
        os.close(master)


def _drain(master: int) -> None:
    try:
        while os.read(master, 1 << 16):
            pass
    except OSError:
        return  # The other end is closed.


def processor_seconds(pid: int) -> float:
    """Return what a process has taken of a processor.

    Raises:
        SystemExit: it has ended: there is nothing to measure.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        raise SystemExit(f"process {pid} has ended") from None
    if fields[0] == "Z":
        raise SystemExit(f"process {pid} has ended")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(cost: Cost, seconds: float) -> None:
    """Run a view, and add what it took of a processor after it has started."""
    with running(cost.command) as pid:
        time.sleep(_WARM_UP_SECONDS)
        begun, before = time.monotonic(), processor_seconds(pid)
        time.sleep(seconds)
        took = processor_seconds(pid) - before
        cost.percent.append(100 * took / (time.monotonic() - begun))


def views(host: Host, directory: Path) -> list[Cost]:
    """Return what is measured."""
    pydsr = [*host.prefix, *PYTHON, "pydsr", "--bpffs", str(directory), "top"]
    return [
        Cost("pydsr top", pydsr),
        Cost("pydsr top, sorted by packets", [*pydsr, "--sort", "packets"]),
        Cost("pydsr top --service", [*pydsr, "--service", "10.80.0.1:80"]),
        Cost("procps' top -d 1", ["top", "-d", "1"]),
    ]


def as_table(costs: Sequence[Cost], caption: str) -> Table:
    """Return the costs, those beyond the goal in red."""
    table = Table(title="Views at one frame a second", caption=caption)
    table.add_column("view")
    for heading in ("% of a processor", "least", "most"):
        table.add_column(heading, justify="right")
    for cost in costs:
        figures = (median(cost.percent), min(cost.percent), max(cost.percent))
        missed = cost.command[0] != "top" and figures[0] > _GOAL_PERCENT
        table.add_row(cost.name, *(f"{one:.2f}" for one in figures), style="red" if missed else "")
    return table


def as_json(costs: Sequence[Cost], services: int, backends: int) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "machine": machine(),
        "services": services,
        "backends": backends,
        "goal_percent": _GOAL_PERCENT,
        "views": [
            {"view": cost.name, "percent": [round(one, 2) for one in cost.percent]}
            for cost in costs
        ],
    }


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.top", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round")
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--backends", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds < 1 or not 1 <= arguments.services <= 10_000:
        parser.error("--rounds and --seconds are 1 or more, --services 1 to 10,000")
    return arguments


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 100)
    with tempfile.TemporaryDirectory() as folder, made_balancer() as balancer:
        file = Path(folder, "balancer.yaml")
        file.write_text(file_of(arguments.services, arguments.backends), encoding="utf-8")
        balancer.run("attach", "eth0")
        balancer.run("apply", str(file))
        costs = views(balancer.host, balancer.directory)
        with Traffic(balancer.host, balancer.directory), console.status("measuring"):
            for _ in range(arguments.rounds):
                for cost in costs:
                    measure(cost, arguments.seconds)
    about = machine()
    console.print(
        as_table(
            costs,
            f"{about['cpu']}, {about['kernel']}; {arguments.services} services of "
            f"{arguments.backends} backends, {arguments.rounds} rounds of "
            f"{arguments.seconds:g} s.",
        )
    )
    if arguments.json:
        document = as_json(costs, arguments.services, arguments.backends)
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
