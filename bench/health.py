"""Measure health checks: ``python -m bench.health``, as root.

First their cost: 1,000 checks per second of each kind, of real servers in another namespace, in
percent of a core. It is the processor time of the checking process with all its threads, including
the kernel's work for both ends of each connection, because both are on this machine. Beside it
stand the bare system calls of a connection, as often, from the same interpreter.

Then the time until a dead host is out of all services: a daemon checks 1,000 pairs of service and
backend once a second, half of them on one host, which stops. The host is out of a service when the
service's next table is in place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.health_costs import CHECKS, KINDS, Cost, measure_costs
from bench.health_deaths import BOUND_SECONDS, SERVICES, Death, measure_death, stop, unplug
from bench.report import machine

GOAL_PERCENT = 30


def show(console: Console, costs: Sequence[Cost], deaths: Sequence[Death]) -> None:
    """Print what was measured."""
    about = machine()
    caption = f"{about['cpu']}, {about['kernel']}"
    table = Table(title=f"{CHECKS:,} checks a second, percent of a core", caption=caption)
    for heading in ("kind", "median", "least", "to bare connections", "failed"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for cost in costs:
        middle = median(cost.rounds)
        ratio = middle / median(costs[0].rounds)
        style = "red" if min(cost.rounds) > GOAL_PERCENT else ""
        cells = (f"{middle:.1f}", f"{min(cost.rounds):.1f}", f"{ratio:.2f}", str(cost.failed))
        table.add_row(cost.kind, *cells, style=style)
    console.print(table)
    table = Table(title=f"A host dies that is in {SERVICES} services; bound {BOUND_SECONDS:g} s")
    for heading in ("how", "first out, s", "median", "last", "to the bound", "daemon, %", "MiB"):
        table.add_column(heading, justify="left" if heading == "how" else "right")
    for death in deaths:
        first, last = death.seconds[0], death.seconds[-1]
        times = (f"{first:.2f}", f"{median(death.seconds):.2f}", f"{last:.2f}")
        more = (f"{last / BOUND_SECONDS:.2f}", f"{death.percent:.0f}", f"{death.memory:.0f}")
        style = "red" if last > BOUND_SECONDS else ""
        table.add_row(death.how, *times, *more, style=style)
    console.print(table)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.health", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds is 1 or more, --seconds above 0")
    return arguments


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 100)
    costs = measure_costs(arguments.kinds, arguments.rounds, arguments.seconds)
    deaths = [measure_death("server stopped", stop), measure_death("link down", unplug)]
    show(console, costs, deaths)
    if arguments.json:
        found = {
            "machine": machine(),
            "costs": [asdict(cost) for cost in costs],
            "deaths": [asdict(death) for death in deaths],
        }
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
