"""Measure the cost of commands: ``python -m bench.control``, as root.

Commands run as a user runs them, in a network namespace of their own. Times are from exec to exit
unless said otherwise; the change is complete earlier. Beside each goal stands the time to start
Python and import click on the same machine in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_uint32
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.report import machine
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.python_process import PYTHON, environment
from tests.support.netns.namespaces import Host, made_directory, made_wire

SERVICE = "10.66.0.80:80"
_MEBI = 1 << 20
_WATCH_SECONDS, _DEADLINE_SECONDS = 0.001, 30.0


@dataclass(frozen=True)
class Command:
    """A command to measure.

    Attributes:
        name: what the table calls it.
        goal: milliseconds it may take; 0 where there is none.
        arguments: of pydsr; empty for the interpreter alone, a line in one text for a Tab at its
            end.
        before: puts everything where it was, unmeasured.
        watched: the command is measured until this has another value; None for until it exits.
    """

    name: str
    goal: float
    arguments: Sequence[str] | str
    before: Callable[[], None] = lambda: None
    watched: Callable[[], int] | None = None


@dataclass
class Cost:
    """What it cost.

    Attributes:
        milliseconds: from exec to exit, of each round.
        processor: milliseconds of a processor, which other work on the machine changes little.
        memory: the most of one round, in MiB.
    """

    command: Command
    milliseconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: float = 0.0


class Balancer:
    """The command in a namespace, with pins of its own."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self._prefix = [*host.prefix, *PYTHON]
        self.directory = directory

    def run(self, *arguments: str) -> None:
        """Run a command that must succeed.

        Raises:
            SystemExit: it did not: there is nothing to measure.
        """
        done = subprocess.run(
            self._command(arguments), capture_output=True, text=True, env=environment(), check=False
        )
        if done.returncode:
            raise SystemExit(f"pydsr {' '.join(arguments)}: {done.stderr}")

    def measure(self, command: Command, cost: Cost) -> None:
        """Run a command once, and add what it cost."""
        command.before()
        argv = self._command(command.arguments)
        with tempfile.TemporaryFile() as errors:
            at_first = command.watched() if command.watched else 0
            begun = time.perf_counter()
            process = subprocess.Popen(
                argv, stdout=subprocess.DEVNULL, stderr=errors, env=self._environment(command)
            )
            if command.watched:
                while command.watched() == at_first:
                    if time.perf_counter() - begun > _DEADLINE_SECONDS:
                        raise SystemExit(f"{' '.join(argv)}: nothing changed")
                    time.sleep(_WATCH_SECONDS)
                cost.milliseconds.append(1000 * (time.perf_counter() - begun))
            _, status, usage = os.wait4(process.pid, 0)
            if not command.watched:
                cost.milliseconds.append(1000 * (time.perf_counter() - begun))
            cost.processor.append(1000 * (usage.ru_utime + usage.ru_stime))
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                raise SystemExit(f"{' '.join(argv)}: {errors.read().decode()}")
        cost.memory = max(cost.memory, usage.ru_maxrss * 1024 / _MEBI)

    def table_in_place(self) -> int:
        """Return which map the first service's table is, by its id."""
        with libbpf.open_pin(self.directory / "tables") as tables:
            number = c_uint32()
            libbpf.map_lookup(tables, c_uint32(0), number)
            return number.value

    def _command(self, arguments: Sequence[str] | str) -> list[str]:
        if isinstance(arguments, str):
            return [*self._prefix, "pydsr"]
        if not arguments:
            return [*self._prefix[:-1], "-c", "import click"]
        return [*self._prefix, "pydsr", "--bpffs", str(self.directory), *arguments]

    def _environment(self, command: Command) -> dict[str, str]:
        """Return an environment that keeps compiled modules, as a user's does."""
        variables = {k: v for k, v in environment().items() if k != "PYTHONDONTWRITEBYTECODE"}
        if isinstance(command.arguments, str):
            variables |= {
                "PYDSR_BPFFS": str(self.directory),
                "_PYDSR_COMPLETE": "bash_complete",
                "COMP_LINE": command.arguments,
                "COMP_WORDBREAKS": " \"'@><=;|&(:",
            }
        return variables


def file_of(services: int, backends: int, changed: bool = False) -> str:
    """Return a file of services whose backends have MACs by hand; `changed` adds one to one."""
    lines = ["interfaces: [eth0]", "services:"]
    for number in range(services):
        lines.append(f"  - endpoint: 10.80.{number // 250}.{1 + number % 250}:80")
        lines.append("    backends:")
        count = backends + (changed and number == services // 2)
        for backend in range(count):
            mac = f"02:00:{number >> 8:02x}:{number & 255:02x}:00:{backend:02x}"
            lines.append(f"      - 10.66.{1 + backend}.{1 + number % 250}@{mac}")
    return "\n".join(lines) + "\n"


def commands(balancer: Balancer, folder: Path, services: int, backends: int) -> list[Command]:
    """Return what is measured, in the order of a balancer's life."""
    whole, changed, single = (folder / name for name in ("whole", "changed", "single"))
    programs = folder / "programs"
    os.environ["PYDSR_CACHE_DIRECTORY"] = str(programs)
    whole.write_text(file_of(services, backends))
    changed.write_text(file_of(services, backends, changed=True))
    single.write_text(file_of(1, 2))

    def detached() -> None:
        if balancer.directory.exists():
            balancer.run("detach", "--all", "--purge")

    def not_compiled() -> None:
        detached()
        shutil.rmtree(programs, ignore_errors=True)

    def attached() -> None:
        detached()
        balancer.run("attach", "eth0")

    def with_one() -> None:
        attached()
        balancer.run("backends", "set", SERVICE, "10.66.0.11")

    def with_all() -> None:
        balancer.run("apply", str(whole))

    many = f"{services:,} services of {backends} backends"
    return [
        Command("Python with click", 0, ()),
        Command("help", 0, ("--help",)),
        Command("Tab: a command", 150, "pydsr "),
        Command("attach, compiling", 0, ("attach", "eth0"), not_compiled),
        Command("attach, program cached", 600, ("attach", "eth0"), detached),
        Command(
            "backends set, until its table is in place",
            150,
            ("backends", "set", SERVICE, "10.66.0.12"),
            with_one,
            balancer.table_in_place,
        ),
        Command("Tab: a backend of a service", 150, f"pydsr backends drain {SERVICE} ", with_one),
        Command("services list", 0, ("services", "list")),
        # A frame shows rates: it waits for one interval, here the shortest.
        Command("top, its first frame", 300, ("top", "--once", "--interval", "0.1"), with_one),
        Command(f"apply {many}", 3000, ("apply", str(whole)), attached),
        Command("apply the same again", 0, ("apply", str(whole))),
        Command("apply one change among them", 200, ("apply", str(changed)), with_all),
        Command("backends add among them", 0, (
            "backends", "add", "10.80.0.1:80", "10.66.0.12",
        ), with_all),
        Command("Tab: a service among them", 150, "pydsr backends drain 10.80.0.2"),
        Command("Tab: a backend among them", 150, "pydsr backends add 10.80.0.1:80 10.66.1.2"),
    ]  # fmt: skip


def map_bytes(directory: Path) -> dict[str, int]:
    """Return the memory that each pinned map takes, as the kernel counts it."""
    sizes = {}
    for path in sorted(directory.iterdir()):
        if path.is_file():
            with libbpf.open_pin(path) as pinned:
                information = Path(f"/proc/self/fdinfo/{pinned.number}").read_text("ascii")
            fields = dict(
                line.split(":\t", 1) for line in information.splitlines() if ":\t" in line
            )
            if "memlock" in fields:
                sizes[path.name] = int(fields["memlock"])
    return sizes


@contextmanager
def made_balancer() -> Iterator[Balancer]:
    """Make a balancer's namespace beside its backends."""
    with made_wire() as (host, _), made_directory() as directory:
        yield Balancer(host, directory)


def as_table(costs: Sequence[Cost], caption: str) -> Table:
    """Return the costs beside the goals."""
    table = Table(title="Commands, from exec to exit", caption=caption)
    table.add_column("command", no_wrap=True)
    for heading in ("ms", "least", "of a processor", "goal", "MiB"):
        table.add_column(heading, justify="right")
    for cost in costs:
        middle = median(cost.milliseconds)
        missed = cost.command.goal and min(cost.milliseconds) > cost.command.goal
        table.add_row(
            cost.command.name,
            f"{middle:.0f}",
            f"{min(cost.milliseconds):.0f}",
            f"{median(cost.processor):.0f}",
            f"{cost.command.goal:.0f}" if cost.command.goal else "",
            f"{cost.memory:.0f}",
            style="red" if missed else "",
        )
    return table


def as_json(costs: Sequence[Cost], maps: dict[str, int]) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "machine": machine(),
        "commands": [
            {
                "command": cost.command.name,
                "goal_ms": cost.command.goal,
                "ms": [round(each, 1) for each in cost.milliseconds],
                "processor_ms": [round(each, 1) for each in cost.processor],
                "memory_mib": round(cost.memory, 1),
            }
            for cost in costs
        ],
        "map_bytes": maps,
    }


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.control", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--services", type=int, default=1_000)
    parser.add_argument("--backends", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 1 <= arguments.services <= 10_000:
        parser.error("--rounds is 1 or more, --services 1 to 10,000")
    return arguments


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 100)
    with tempfile.TemporaryDirectory() as folder, made_balancer() as balancer:
        wanted = commands(balancer, Path(folder), arguments.services, arguments.backends)
        costs = [Cost(command) for command in wanted]
        with console.status("measuring") as status:
            for number in range(arguments.rounds):
                for cost in costs:
                    status.update(f"round {number + 1}: {cost.command.name}")
                    balancer.measure(cost.command, cost)
        maps = map_bytes(balancer.directory)
    about = machine()
    total = sum(maps.values()) / _MEBI
    console.print(
        as_table(
            costs,
            f"{about['cpu']}, {about['kernel']}; {arguments.rounds} rounds. "
            f"The pinned maps take {total:.0f} MiB, and each service its table.",
        )
    )
    if arguments.json:
        text = json.dumps(as_json(costs, maps), indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
