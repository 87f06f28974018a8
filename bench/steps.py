"""Measure each step of a packet's path: ``python -m bench.steps``, as root.

``steps.c`` cuts the program off after each step; all of these programs run in the same rounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cores import measured_core, on_one_core, undisturbed
from bench.figures import Figure, net, summarise
from bench.forwarder import Forwarder
from bench.harness import BALANCER, EMPTY, FORWARDER, Harness
from bench.kinds import FLOOR_SERVICES, Kind, all_kinds, serve_plain
from bench.report import machine
from pydsr.kernel.bpf import program
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.maps import TAP_PROGRAM_MAP, create_program_map, map_specs
from pydsr.kernel.bpf.placeholders import seed_ipv4
from pydsr.model.sources import xdp_directory
from tests.support.packets.data_plane import Rig

FLOWS = (1, 100_000)
TABLE_SIZE = 65537

STEPS = {
    "step_begin": "is it tapped? the index",
    "step_parse": "parse Ethernet, IPv4 and TCP",
    "step_vip": "is it for a VIP?",
    "step_service": "find the service",
    "step_own_mac": "is the frame for our MAC?",
    "step_slot": "hash the flow, read its slot",
    "step_deliver": "find the backend, check and rewrite MACs, count for it",
    BALANCER: "count the verdict",
}


def load_steps(rig: Rig) -> dict[str, Descriptor]:
    """Load the parts of the program, with the maps of a balancer."""
    maps = {spec.name: rig.state.pins[spec.name] for spec in map_specs()}
    with create_program_map() as tap_program:
        seed = rig.state.settings.seed
        definitions = program.balancer_definitions(
            {name: fd.number for name, fd in {**maps, TAP_PROGRAM_MAP: tap_program}.items()},
            rig.state.settings.table_size,
            (seed, seed_ipv4(seed)),
            rig.features,
        )
        compiled = program.compile_source(
            Path(__file__).with_name("steps.c"), [*definitions, f"-I{xdp_directory()}"]
        )
        return {name: program.load_function(compiled, name) for name in STEPS if name != BALANCER}


def measure(
    harness: Harness, kind: Kind, flows: int, rounds: int, repeat: int
) -> dict[str, Figure]:
    """Return what each program costs beyond the empty one."""
    harness.warm_up(kind, flows)
    names = (EMPTY, FORWARDER, *STEPS)
    times: dict[str, list[int]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(harness.measure(name, kind, flows, repeat))
    return {name: summarise(net(times[name], times[EMPTY])) for name in names if name != EMPTY}


def as_table(figures: Mapping[int, Mapping[str, Figure]], caption: str) -> Table:
    """Return what each step adds, and the sum so far; by the number of flows."""
    table = Table(title="Where the nanoseconds of a TCP packet over IPv4 go", caption=caption)
    table.add_column("step", no_wrap=True)
    for flows in figures:
        table.add_column(f"{flows:,} flows", justify="right")
        table.add_column("so far", justify="right")
    before = dict.fromkeys(figures, 0.0)
    for name, words in STEPS.items():
        cells = []
        for flows, of_flows in figures.items():
            cost = of_flows[name].low
            cells += [f"{cost - before[flows]:.0f}", f"{cost:.0f}"]
            before[flows] = cost
        table.add_row(words, *cells)
    table.add_section()
    cells = []
    for of_flows in figures.values():
        cells += ["", f"{of_flows[FORWARDER].low:.0f}"]
    table.add_row("the bare forwarder, for comparison", *cells)
    return table


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="interleaved rounds")
    parser.add_argument("--repeat", type=int, default=100_000, help="packets of a round")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.repeat < 1:
        parser.error("--rounds and --repeat are 1 or more")
    return arguments


def main() -> None:
    """Measure and show."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    kind = all_kinds()[0]
    with Rig(TABLE_SIZE) as rig:
        serve_plain(rig)
        harness = Harness({BALANCER: rig}, Forwarder(FLOOR_SERVICES))
        for name, part in load_steps(rig).items():
            harness.add_part(name, part)
        with console.status("measuring"), on_one_core(measured_core()), undisturbed():
            figures = {
                flows: measure(harness, kind, flows, arguments.rounds, arguments.repeat)
                for flows in FLOWS
            }
    about = machine()
    caption = (
        f"{about['cpu']}, {about['kernel']}; lower quartiles of {arguments.rounds} interleaved "
        f"rounds of {arguments.repeat:,} packets, beyond an empty program"
    )
    console.print(as_table(figures, caption))


if __name__ == "__main__":
    main()
