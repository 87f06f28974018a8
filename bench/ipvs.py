"""Measure IPVS beside pydsr over a wire: ``python -m bench.ipvs``, as root.

The kernel must have IPVS; ``make bench-ipvs`` runs this in a virtual machine that has it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from bench.cores import on_one_core
from bench.ipvs_contestants import (
    ALL,
    CONNECTION_TABLE_BITS,
    ORDINARY_FORWARDER,
    SCHEDULERS,
    count_connections,
    forget_connections,
)
from bench.ipvs_flows import Workload, check_connections, check_kept
from bench.ipvs_report import Result, as_document, as_table, document_line
from bench.report import machine
from bench.wire_contestants import FORWARDER, Contestant
from bench.wire_flows import Flows, Run, WrongAnswerError, check
from bench.wire_load import Load
from bench.wire_network import Wire, made_outside, made_wire

WORKLOADS = (
    Workload("1,000 connections", 1_000),
    Workload("100,000 connections", 100_000),
    Workload("new connections", begins=True),
)
_OPENING_ATTEMPTS = 5
_BATCH = 16
"""Frames made at once: few, so that a slow processor takes them in before the next."""

_REFERENCES = (FORWARDER, ORDINARY_FORWARDER)


class Bench:
    """Every contestant at the end of a wire of its own.

    Args:
        load: the generator and the sink.
        wires: by contestant.
    """

    def __init__(self, load: Load, wires: Mapping[str, Wire]) -> None:
        self._load = load
        self._wires = wires
        self._cycles: dict[str, Run] = {}

    def prepare(self, contestant: Contestant, workload: Workload) -> None:
        """Open the connections of a workload, if it is of established ones."""
        if workload.begins:
            return
        # Again for those whose SYN was lost.
        for _ in range(_OPENING_ATTEMPTS):
            self._send(contestant, workload.opening(), workload.number)
            if self._connections(contestant) in (None, workload.number):
                break
        # The first segment after a SYN makes it an established connection to IPVS.
        flows = workload.flows(0)
        self._cycles[contestant.name] = self._send(contestant, flows, workload.number)

    def measure(self, contestant: Contestant, workload: Workload, number: int, frames: int) -> Run:
        """Run one round.

        Raises:
            WrongAnswerError: frames went where they should not, or flows changed their backends.
        """
        flows = workload.flows(number, frames)
        run = self._send(contestant, flows, frames)
        kept = self._connections(contestant)
        if workload.begins:
            check_connections(kept, run.received, run.sent)
            self.forget(contestant)
        else:
            check_kept(run, self._cycles[contestant.name])
            check_connections(kept, workload.number, workload.number)
        return run

    def forget(self, contestant: Contestant) -> None:
        """Have a contestant forget its connections, so that their ends disturb nobody."""
        if contestant.name in SCHEDULERS:
            forget_connections(self._wires[contestant.name].balancer)

    def _send(self, contestant: Contestant, flows: Flows, frames: int) -> Run:
        wire = self._wires[contestant.name]
        run = self._load.run(wire, flows, frames, contestant.answer, _BATCH)
        try:
            check(run, flows.number, contestant.is_spread)
        except WrongAnswerError as error:
            raise WrongAnswerError(f"{contestant.name}: {error}") from None
        return run

    def _connections(self, contestant: Contestant) -> int | None:
        """Return how many connections a contestant keeps; None where it keeps none."""
        if contestant.name not in SCHEDULERS:
            return None
        return count_connections(self._wires[contestant.name].balancer)


@contextmanager
def made(contestants: Sequence[Contestant]) -> Iterator[Bench]:
    """Make the wires, and have each contestant balance at the end of its own."""
    load = Load()
    with ExitStack() as stack:
        outside = stack.enter_context(made_outside())
        wires = {}
        for number, contestant in enumerate(contestants):
            wires[contestant.name] = stack.enter_context(made_wire(outside, number))
        for contestant in contestants:
            stack.enter_context(contestant.attached(wires[contestant.name].balancer))
        # Last, since it leaves this thread outside, where frames are sent from.
        stack.enter_context(load.attached(outside, list(wires.values())))
        yield Bench(load, wires)


def measure(
    bench: Bench, workload: Workload, contestants: Sequence[Contestant], rounds: int, frames: int
) -> Result:
    """Measure one workload: in each round every contestant once, the one that begins in turn."""
    for contestant in contestants:
        bench.prepare(contestant, workload)
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in [*contestants[first:], *contestants[:first]]:
            runs[contestant.name].append(bench.measure(contestant, workload, number, frames))
    for contestant in contestants:
        bench.forget(contestant)
    return Result(workload.name, runs)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ipvs",
        description="Frames that pydsr, IPVS and nftables bring to backends, beside a bare "
        "forwarder.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (%(default)s)")
    parser.add_argument(
        "--frames", type=int, default=100_000, help="of a round, a multiple of 100,000"
    )
    arguments = parser.parse_args()
    most = max(workload.number for workload in WORKLOADS)
    if arguments.rounds < 1 or arguments.frames < 1 or arguments.frames % most:
        parser.error(f"--rounds is 1 or more, --frames a multiple of {most}")
    if not shutil.which("ipvsadm"):
        parser.error("there is no ipvsadm here; `make bench-ipvs` has a machine with it")
    return arguments


def main() -> None:
    """Measure and show; the document is the last line."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)
    cpu = max(os.sched_getaffinity(0))
    results = []
    console.print("having everybody balance")
    with on_one_core(cpu), made(ALL) as bench:
        for workload in WORKLOADS:
            console.print(f"measuring {workload.name}")
            results.append(measure(bench, workload, ALL, arguments.rounds, arguments.frames))
    settings = {
        "rounds": arguments.rounds,
        "frames": arguments.frames,
        "pinned_to_cpu": cpu,
        "kernel_command_line": Path("/proc/cmdline").read_text(encoding="ascii").strip(),
        "ipvs_connection_table_bits": CONNECTION_TABLE_BITS,
    }
    about = machine()
    caption = (
        f"{about['cpu']}, {about['kernel']}; one core for generator, balancer and sink; "
        f"{arguments.rounds} interleaved rounds of {arguments.frames:,} frames; "
        "median (quartiles)"
    )
    for reference in _REFERENCES:
        console.print(as_table(results, reference, caption))
    sys.stdout.write(document_line(as_document(results, _REFERENCES, about, settings)) + "\n")


if __name__ == "__main__":
    main()
