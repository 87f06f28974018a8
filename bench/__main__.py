"""Measure the cost of a packet; ``make bench`` runs this as root."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from bench.cores import measured_core, on_one_core, undisturbed
from bench.forwarder import Forwarder
from bench.harness import BALANCER, FULL, Harness, programs_for
from bench.kinds import FLOOR_SERVICES, Kind, all_kinds, serve_all
from bench.report import Result, as_json, as_table, machine, plot
from tests.support.packets.data_plane import EVERY_FEATURE, Rig

FLOWS = (1, 1_000, 100_000)
TABLE_SIZE = 65537


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Nanoseconds per packet of the balancer, beside an empty program, one that "
        "swaps MAC addresses, and a bare forwarder by hash map, table and counters.",
    )
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--repeat", type=int, default=300_000, help="packets of a round")
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds of 50,000 packets, at most 1,000 flows"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the costs there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.repeat = 3, 50_000
    if arguments.rounds < 1 or arguments.repeat < 1:
        parser.error("--rounds and --repeat are 1 or more")
    return arguments


def measure(harness: Harness, kind: Kind, flows: int, rounds: int, repeat: int) -> Result:
    """Measure one kind: in each round every program once, the one that begins in turn."""
    harness.warm_up(kind, flows)
    programs = programs_for(kind)
    times: dict[str, list[int]] = {name: [] for name in programs}
    for number in range(rounds):
        first = number % len(programs)
        for name in programs[first:] + programs[:first]:
            times[name].append(harness.measure(name, kind, flows, repeat))
    return Result(kind, flows, {name: tuple(values) for name, values in times.items()})


def measure_all(
    harness: Harness, numbers: Sequence[int], rounds: int, repeat: int
) -> Iterator[Result]:
    """Measure every kind in every number of flows."""
    for kind in all_kinds():
        for flows in numbers if kind.port_offset else numbers[:1]:
            if flows > kind.most_flows:
                continue
            yield measure(harness, kind, flows, rounds, repeat)


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    cpu = measured_core()
    numbers = FLOWS[:-1] if arguments.quick else FLOWS
    with Rig(TABLE_SIZE) as fit, Rig(TABLE_SIZE, features=EVERY_FEATURE) as full:
        for rig in (fit, full):
            serve_all(rig)
        harness = Harness({BALANCER: fit, FULL: full}, Forwarder(FLOOR_SERVICES))
        with console.status("measuring"), on_one_core(cpu), undisturbed():
            results = list(measure_all(harness, numbers, arguments.rounds, arguments.repeat))
    settings = {
        "rounds": arguments.rounds,
        "repeat": arguments.repeat,
        "table_size": TABLE_SIZE,
        "pinned_to_cpu": cpu,
    }
    about = machine()
    caption = (
        f"{about['cpu']}, {about['cpus']} CPUs, {about['kernel']}, JIT {about['jit']}; "
        f"{arguments.rounds} interleaved rounds of {arguments.repeat:,} packets by "
        f"BPF_PROG_TEST_RUN on CPU {cpu}"
    )
    console.print(as_table(results, caption))
    if arguments.json:
        text = json.dumps(as_json(results, settings), indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
