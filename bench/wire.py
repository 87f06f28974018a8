"""Measure packets per second over veth: ``python -m bench.wire``, as root.

One core generates, balances and counts the frames, so rates are of the whole path. The work around
the balancer is the same for all, so ratios are nearer to 1 than in ``python -m bench``.

``xdp-bench tx`` is not among the contestants: version 1.3 (Debian 12) needs the tracepoint
``xdp_redirect_map_err``, which Linux 6.18 does not have. "MAC swap" does the same to a packet.
Rules of tc without BPF are missing too: this machine's kernel has no flower or flow classifier.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from bench.cores import on_one_core, undisturbed
from bench.forwarder import MAC_PREFIX
from bench.report import machine
from bench.wire_change import SWITCHES_PER_SECOND, Switcher
from bench.wire_contestants import CONTESTANTS, Contestant, UnavailableError, balanced
from bench.wire_flows import (
    BACKENDS,
    NUMBERS,
    Flows,
    Run,
    check,
    check_change,
    make_flows,
)
from bench.wire_load import Load
from bench.wire_network import Wire, made_outside, made_wire
from bench.wire_report import Changes, Result, as_json, as_table, describe_changes, plot
from pydsr.kernel.bpf.live_state import LiveState
from tests.support.netns.namespaces import Host

_CHANGE_FLOWS = max(NUMBERS)
_CHANGE_LENGTH = 8
"""How much longer a run under changes is, so that there are many."""


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.wire",
        description="Packets per second from veth to veth, beside a bare forwarder, tc and "
        "nftables, and under changes.",
    )
    parser.add_argument("--rounds", type=int, default=60, help="interleaved rounds")
    parser.add_argument(
        "--frames", type=int, default=200_000, help=f"of a run, a multiple of {_CHANGE_FLOWS:,}"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 100,000 frames")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.frames = 3, 100_000
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    if arguments.frames < 1 or arguments.frames % _CHANGE_FLOWS:
        parser.error(f"--frames is a multiple of {_CHANGE_FLOWS:,}")
    return arguments


@dataclass
class Bench:
    """Contestants, each at the end of its wire.

    Attributes:
        wires: those that are here.
        left_out: why the others are not, by name.
    """

    load: Load
    outside: Host
    wires: dict[Contestant, Wire] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def measure(self, rounds: int, frames: int) -> list[Result]:
        """Measure all: in each round everyone once, the one that begins in turn.

        Raises:
            WrongAnswerError: one did not do what it is measured doing.
        """
        kinds = [
            (contestant, make_flows(version, number))
            for number in NUMBERS
            for version in (4, 6)
            for contestant in self.wires
            if version in contestant.versions
        ]
        runs: dict[tuple[Contestant, Flows], list[Run]] = {kind: [] for kind in kinds}
        with self.load.attached(self.outside, list(self.wires.values())):
            for contestant, flows in kinds:
                self._run(contestant, flows, frames)
            for number in range(rounds):
                first = number % len(kinds)
                for contestant, flows in kinds[first:] + kinds[:first]:
                    runs[contestant, flows].append(self._run(contestant, flows, frames))
        return [
            Result(contestant.name, flows.version, flows.number, tuple(of_kind))
            for (contestant, flows), of_kind in runs.items()
        ]

    def _run(self, contestant: Contestant, flows: Flows, frames: int) -> Run:
        with undisturbed():
            run = self.load.run(self.wires[contestant], flows, frames, contestant.answer)
        check(run, flows.number, contestant.is_spread)
        return run


@contextmanager
def made_bench(outside: Host, load: Load) -> Iterator[Bench]:
    """Have every contestant that can be here attached to a wire of its own."""
    bench = Bench(load, outside)
    with ExitStack() as stack:
        for number, contestant in enumerate(CONTESTANTS):
            wire = stack.enter_context(made_wire(outside, number))
            try:
                stack.enter_context(contestant.attached(wire.balancer))
            except UnavailableError as error:
                bench.left_out[contestant.name] = str(error)
            else:
                bench.wires[contestant] = wire
        yield bench


def measure_changes(
    outside: Host, load: Load, rounds: int, frames: int, other_cpus: set[int]
) -> Changes:
    """Measure pydsr in native mode at rest and while its table is switched, in turn.

    Raises:
        WrongAnswerError: a frame was lost, or a flow went elsewhere.
    """
    flows = make_flows(4, _CHANGE_FLOWS)
    at_rest, changed = [], []
    switches, seconds = 0, 0.0
    with (
        made_wire(outside, len(CONTESTANTS)) as wire,
        balanced(wire.balancer, "--mode", "native") as bpffs,
        closing(LiveState(bpffs)) as state,
        load.attached(outside, [wire]),
    ):
        switcher = Switcher(state)
        for _ in range(rounds):
            switcher.put_to_rest()
            at_rest.append(load.run(wire, flows, frames, MAC_PREFIX))
            check(at_rest[-1], flows.number)
            with switcher.switching(other_cpus, SWITCHES_PER_SECOND) as count:
                changed.append(load.run(wire, flows, frames, MAC_PREFIX))
            check(changed[-1], flows.number)
            check_change(changed[-1], at_rest[-1])
            switches, seconds = switches + count.switches, seconds + count.seconds
    return Changes(tuple(at_rest), tuple(changed), switches, seconds, switcher.slots_changing)


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus)
    with (
        console.status("measuring") as status,
        made_outside() as outside,
        on_one_core(cpu),
    ):
        load = Load()
        with made_bench(outside, load) as bench:
            results = bench.measure(arguments.rounds, arguments.frames)
        status.update("measuring under changes")
        long = arguments.frames * _CHANGE_LENGTH
        changes = measure_changes(outside, load, arguments.rounds, long, cpus - {cpu} or cpus)
    settings = {
        "rounds": arguments.rounds,
        "frames": arguments.frames,
        "frames_under_change": long,
        "backends": BACKENDS,
        "pinned_to_cpu": cpu,
    }
    about = machine()
    caption = (
        f"{about['cpu']}, {about['cpus']} CPUs, {about['kernel']}; {arguments.rounds} interleaved "
        f"rounds of {arguments.frames:,} live frames; generator, balancer and sink on CPU {cpu}"
    )
    console.print(as_table(results, caption))
    for name, reason in bench.left_out.items():
        console.print(f"left out: {name}: {reason}")
    console.print(describe_changes(changes))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(results, changes, bench.left_out, settings), indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
