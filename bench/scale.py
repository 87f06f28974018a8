"""Measure packets with many flows, services and backends: ``python -m bench.scale``, as root.

At rest no flow is looked up and other services' tables are not read: the cost should be constant.
All rows of a group are measured in the same interleaved rounds, beside the bare forwarder with as
many services and backends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scapy.layers.inet import IP, TCP

from bench.cores import measured_core, on_one_core, undisturbed
from bench.figures import Figure, net, summarise
from bench.forwarder import Forwarder
from bench.harness import BALANCER, EMPTY, FORWARDER, Harness
from bench.kinds import Kind, kind_of
from bench.report import machine
from tests.support.packets.data_plane import Rig

PROGRAMS = (EMPTY, FORWARDER, BALANCER)
LARGE_TABLE, SMALL_TABLE = 65537, 1009
"""Ten thousand tables of the large size would take 2.6 GB."""

_CLIENT, _VIP = "10.1.0.0", "198.51.0.0"
_FIRST_PORT, _PORTS = 1024, 1024
_TCP = 6
_SERVICE_BACKENDS = 4
_FLOWS = 1_000
_TO_DESTINATION4 = 4
_TO_DESTINATION_PORT = 2


@dataclass(frozen=True)
class Row:
    """One size of a group.

    Attributes:
        size: what the group is about, as a number.
        services: how many there are.
        backends: how many each has.
        kind: what is sent.
        flows: how many, one after the other.
        table_size: slots of each service's table.
    """

    size: int
    services: int
    backends: int
    kind: Kind
    flows: int
    table_size: int = LARGE_TABLE


@dataclass(frozen=True)
class Result:
    """Nanoseconds of each round by program, of one row."""

    group: str
    row: Row
    rounds: dict[str, tuple[int, ...]]

    def net(self, program: str) -> Figure:
        """Return what a program costs beyond the empty one."""
        return summarise(net(self.rounds[program], self.rounds[EMPTY]))


def endpoint(number: int) -> tuple[str, int]:
    """Return VIP and port of a service; the wrapper counts through them as through flows."""
    return f"198.51.{number // _PORTS >> 8}.{number // _PORTS & 255}", _FIRST_PORT + number % _PORTS


def to_service(number: int) -> Kind:
    """Return packets to one service, in flows by source."""
    vip, port = endpoint(number)
    return kind_of("TCP v4", IP(src=_CLIENT, dst=vip) / TCP(dport=port, flags="A"))


def to_all_services() -> Kind:
    """Return packets of one client to service after service."""
    kind = kind_of("TCP v4", IP(src=_CLIENT, dst=_VIP) / TCP(dport=_FIRST_PORT, flags="A"))
    return replace(
        kind,
        address_offset=kind.address_offset + _TO_DESTINATION4,
        port_offset=kind.port_offset + _TO_DESTINATION_PORT,
    )


def groups(most_services: int) -> dict[str, tuple[Row, ...]]:
    """Return what is measured, by the name of what grows."""
    sizes = (1, most_services // 10, most_services)
    one = to_service(0)
    return {
        "flows": tuple(Row(n, 1, 16, one, n) for n in (1, 1_000, 100_000, 10_000_000)),
        "services, one of them asked": tuple(
            Row(n, n, _SERVICE_BACKENDS, to_service(n - 1), _FLOWS, SMALL_TABLE) for n in sizes
        ),
        "services, all asked in turn": tuple(
            Row(n, n, _SERVICE_BACKENDS, to_all_services(), n, SMALL_TABLE) for n in sizes
        ),
        "backends": tuple(Row(n, 1, n, one, 100_000) for n in (1, 16, 256, 4_000)),
    }


@contextmanager
def made(row: Row) -> Iterator[Harness]:
    """Make the balancer and the forwarder of a row."""
    with Rig(row.table_size) as rig:
        names = [endpoint(number) for number in range(row.services)]
        for number, (vip, port) in enumerate(names):
            first = 1 + number * row.backends
            rig.serve(
                f"{vip}:{port}",
                range(first, first + row.backends),
                publish=number == row.services - 1,
            )
        yield Harness(
            {BALANCER: rig}, Forwarder([(vip, port, _TCP) for vip, port in names], row.backends)
        )


def measure(
    group: str, rows: Sequence[Row], rounds: int, repeat: int, tell: Callable[[str], None]
) -> list[Result]:
    """Measure the rows of a group in the same rounds."""
    with ExitStack() as stack:
        harnesses = []
        for row in rows:
            tell(f"{group}: {row.size:,}, making")
            harnesses.append(stack.enter_context(made(row)))
            harnesses[-1].warm_up(row.kind, row.flows)
        tell(f"{group}: measuring")
        stack.enter_context(on_one_core(measured_core()))
        stack.enter_context(undisturbed())
        times: list[dict[str, list[int]]] = [{name: [] for name in PROGRAMS} for _ in rows]
        for number in range(rounds):
            turn = number % len(PROGRAMS)
            for row, harness, of_row in zip(rows, harnesses, times, strict=True):
                first = number * repeat % row.flows
                for name in PROGRAMS[turn:] + PROGRAMS[:turn]:
                    of_row[name].append(harness.measure(name, row.kind, row.flows, repeat, first))
    return [
        Result(group, row, {name: tuple(values) for name, values in of_row.items()})
        for row, of_row in zip(rows, times, strict=True)
    ]


def as_table(results: Sequence[Result], caption: str) -> Table:
    """Return nanoseconds, and how they grow within each group."""
    table = Table(title="ns/packet beyond an empty program, at rest", caption=caption)
    table.add_column("what grows", no_wrap=True)
    for heading in ("number", FORWARDER, BALANCER, "to the first", "to the forwarder"):
        table.add_column(heading, justify="right", no_wrap=True)
    first: dict[str, float] = {}
    for result in results:
        ours, floor = result.net(BALANCER), result.net(FORWARDER)
        base = first.setdefault(result.group, ours.median)
        table.add_row(
            result.group,
            f"{result.row.size:,}",
            str(floor),
            str(ours),
            f"{ours.median / base:.2f}",
            f"{ours.median / floor.median:.2f}",
        )
    return table


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--repeat", type=int, default=300_000, help="packets of a round")
    parser.add_argument("--services", type=int, default=10_000, help="the most there are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    arguments = parser.parse_args()
    if not 10 <= arguments.services <= 16_000 or arguments.rounds < 1 or arguments.repeat < 1:
        parser.error("--services is 10 to 16,000, --rounds and --repeat are 1 or more")
    return arguments


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    cpu = measured_core()
    results: list[Result] = []
    with console.status("measuring") as status:
        for group, rows in groups(arguments.services).items():
            results += measure(group, rows, arguments.rounds, arguments.repeat, status.update)
    about = machine()
    caption = (
        f"{about['cpu']}, {about['kernel']}; {arguments.rounds} interleaved rounds of "
        f"{arguments.repeat:,} packets by BPF_PROG_TEST_RUN on CPU {cpu}"
    )
    console.print(as_table(results, caption))
    if arguments.json:
        document = {
            "machine": about,
            "settings": {"rounds": arguments.rounds, "repeat": arguments.repeat},
            "results": [
                {
                    "group": result.group,
                    "size": result.row.size,
                    "services": result.row.services,
                    "backends": result.row.backends,
                    "flows": result.row.flows,
                    "table_size": result.row.table_size,
                    "rounds": result.rounds,
                }
                for result in results
            ],
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
