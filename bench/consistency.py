"""Count the connections that changes of backends break: ``python -m bench.consistency``, as root.

Real TCP connections stay busy through a lab while its backends change. The contestants are pydsr,
the same Maglev table without flow records, and nftables.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench import plots
from bench.contestants import LEARN_SECONDS, SERVICE, SYSTEMS, Balancing, WrongAnswerError
from bench.report import machine
from pydsr.lab.lab import Lab
from pydsr.lab.topology import Role
from tests.support.lab.connections import Connections, broken, start_servers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKENDS = 5
CONNECTIONS = 500
CHANGED = "backend2"
SPARE = f"backend{BACKENDS + 1}"
"""A backend that is there, but not in the service at first."""

_INTERVAL_SECONDS = 0.5
_OPENED_BETWEEN = 100
_TITLE = "Established connections broken by a change"


def _add(balancing: Balancing, _: Connections) -> None:
    balancing.add(SPARE)


def _reweight(balancing: Balancing, _: Connections) -> None:
    balancing.add(CHANGED, weight=3)


def _remove_drained(balancing: Balancing, connections: Connections) -> None:
    balancing.drain(CHANGED)
    balancing.settle()
    connections.check()
    connections.close(backend=CHANGED)
    balancing.settle()
    balancing.remove(CHANGED)


def _remove(balancing: Balancing, _: Connections) -> None:
    balancing.remove(CHANGED)


def _down(balancing: Balancing, _: Connections) -> None:
    balancing.down(CHANGED)


def _overlapping(balancing: Balancing, connections: Connections) -> None:
    balancing.add(SPARE)
    connections.open(SERVICE, _OPENED_BETWEEN)
    balancing.remove(CHANGED)


@dataclass(frozen=True)
class Change:
    """A kind of change; connections to the backend that it ``loses`` cannot be kept."""

    name: str
    make: Callable[[Balancing, Connections], None]
    loses: str = ""


CHANGES = (
    Change("add one", _add),
    Change("weight 1 to 3", _reweight),
    Change("drain one, remove it", _remove_drained),
    Change("remove one undrained", _remove, CHANGED),
    Change("one goes down", _down, CHANGED),
    Change("add one, remove another", _overlapping, CHANGED),
)


# -- the measurement


@dataclass(frozen=True)
class Result:
    """What one change broke.

    Attributes:
        connections: how many there were.
        broken: how many of them broke that need not have.
        unavoidable: how many broke because their backend was taken away.
    """

    change: str
    system: str
    connections: int
    broken: int
    unavoidable: int

    @property
    def broken_percent(self) -> float:
        """The share that broke and need not have."""
        return 100 * self.broken / self.connections

    @property
    def unavoidable_percent(self) -> float:
        """The share that broke and had to."""
        return 100 * self.unavoidable / self.connections


@contextmanager
def made(system: type[Balancing]) -> Iterator[Balancing]:
    """Make a lab in which a system balances."""
    with Lab(f"bench-{os.getpid()}", backends=BACKENDS + 1) as lab:
        start_servers(lab, [SERVICE.port])
        balancing = system(lab)
        hosts = [host.name for host in lab.topology.hosts_of(Role.BACKEND)]
        balancing.begin([host for host in hosts if host != SPARE])
        yield balancing


def measure(system: type[Balancing], change: Change, count: int) -> Result:
    """Open connections, make a change, and count what it broke.

    Raises:
        WrongAnswerError: connections broke without a change, or not all backends had some.
    """
    with made(system) as balancing, Connections(balancing.lab, _INTERVAL_SECONDS) as connections:
        connections.open(SERVICE, count)
        state = connections.check()
        if broken(state) or len({each.backend for each in state}) != BACKENDS:
            raise WrongAnswerError(f"{system.name} does not balance: {broken(state)[:3]}")
        change.make(balancing, connections)
        balancing.settle()
        lost = broken(connections.check())
    unavoidable = sum(each.backend == change.loses for each in lost)
    total = count + (_OPENED_BETWEEN if change.make is _overlapping else 0)
    return Result(change.name, system.name, total, len(lost) - unavoidable, unavoidable)


# -- the report


def as_table(results: Sequence[Result]) -> Table:
    """Return the shares in percent, those that had to break in a column of their own."""
    table = Table(
        title=f"{_TITLE}, in percent", caption="beside those whose own backend was taken away"
    )
    table.add_column("change", no_wrap=True)
    for system in SYSTEMS:
        table.add_column(system.name, justify="right")
    table.add_column("had to", justify="right")
    for change in CHANGES:
        of_change = [result for result in results if result.change == change.name]
        had_to = sum(result.unavoidable_percent for result in of_change) / len(of_change)
        shares = [f"{result.broken_percent:.1f}" for result in of_change]
        table.add_row(change.name, *shares, f"{had_to:.1f}" if change.loses else "")
    return table


def as_json(results: Sequence[Result], count: int) -> dict[str, Any]:
    """Return everything measured, as numbers of connections."""
    return {
        "machine": machine(),
        "settings": {
            "backends": BACKENDS,
            "connections": count,
            "learn_seconds": LEARN_SECONDS,
            "interval_seconds": _INTERVAL_SECONDS,
        },
        "results": [asdict(result) for result in results],
    }


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw the shares as bars, one group a change."""
    with plots.drawing(file, _TITLE, height_inches=7) as axes:
        for number, (system, colour) in enumerate(zip(SYSTEMS, plots.COLOURS, strict=True)):
            of_system = [result for result in results if result.system == system.name]
            _draw_bars(axes, of_system, number, colour)
        plots.name_rows(axes, [change.name for change in CHANGES])
        axes.set_xlim(0, 100)
        axes.set_xlabel(
            f"percent of the TCP connections to {BACKENDS} backends; "
            "the number says those that need not have broken"
        )


def _draw_bars(axes: Axes, results: Sequence[Result], number: int, colour: str) -> None:
    """Draw the bars of one system, the given one in each group of bars."""
    height = 0.8 / len(SYSTEMS)
    places = [row + (number - (len(SYSTEMS) - 1) / 2) * height for row in range(len(CHANGES))]
    shares = [result.broken_percent for result in results]
    had_to = [result.unavoidable_percent for result in results]
    axes.barh(places, shares, 0.9 * height, color=colour, label=results[0].system)
    is_last = number == len(SYSTEMS) - 1
    axes.barh(
        places,
        had_to,
        0.9 * height,
        left=shares,
        color="#eeeeee",
        edgecolor="#999999",
        hatch="////",
        linewidth=0,
        label="unavoidable: its own backend was taken away" if is_last else None,
    )
    for place, share, more in zip(places, shares, had_to, strict=True):
        # A bar of no length has no colour to tell whose it is.
        text = f"{share:.1f} %" if share else f"{results[0].system}: 0 %"
        plots.label_bar(axes, share + more + 0.8, place, text)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.consistency",
        description="The share of established connections that changes of backends break.",
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="50 or more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the shares there")
    arguments = parser.parse_args()
    if arguments.connections < 50:
        parser.error("--connections is 50 or more")
    return arguments


def main() -> None:
    """Measure, show, and write."""
    arguments = parse_arguments()
    console = Console()
    results = []
    with console.status("measuring") as status:
        for change in CHANGES:
            for system in SYSTEMS:
                status.update(f"{change.name}: {system.name}")
                results.append(measure(system, change, arguments.connections))
    console.print(as_table(results))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(results, arguments.connections), indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
