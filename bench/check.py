"""Report whether packets became more expensive: ``make bench-check``, as root.

The cost of each kind of packet is divided by the bare forwarder's cost in the same rounds, and the
ratio is compared with the stored one. Times differ between machines, ratios hardly. A difference
above the margin is caused by a change of the program.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cores import measured_core, on_one_core, undisturbed
from bench.figures import net, summarise
from bench.forwarder import Forwarder
from bench.harness import BALANCER, EMPTY, FORWARDER, FULL, Harness
from bench.kinds import FLOOR_SERVICES, Kind, all_kinds, serve_all
from bench.report import machine
from tests.support.packets.data_plane import EVERY_FEATURE, Rig

BASELINE = Path(__file__).parents[1] / "docs" / "benchmarks" / "baseline.json"
MARGIN_PERCENT = 25.0
TABLE_SIZE = 65537

_FLOWS = 1_000
_SECOND_THOUGHTS = 2
"""How often what seems dearer is measured once more, and the least taken."""

_LEAST_PART = 0.1
"""Of the forwarder's time: a kind that is cheaper is not told from noise by its ratio."""


@dataclass(frozen=True)
class Verdict:
    """How one kind compares; ratios are to the bare forwarder."""

    name: str
    stored: float
    measured: float

    @property
    def change_percent(self) -> float:
        """How much dearer it became; less than zero is cheaper."""
        stored, measured = (max(ratio, _LEAST_PART) for ratio in (self.stored, self.measured))
        return 100 * (measured / stored - 1)


def compare(stored: Mapping[str, float], measured: Mapping[str, float]) -> list[Verdict]:
    """Return how each kind compares that is in both. Pure."""
    return [
        Verdict(name, stored[name], ratio) for name, ratio in measured.items() if name in stored
    ]


def program_of(kind: Kind) -> str:
    """Return the program that a kind is for."""
    return FULL if kind.takes_features else BALANCER


def measure(harness: Harness, kinds: Sequence[Kind], rounds: int, repeat: int) -> dict[str, float]:
    """Return the ratio of each kind, of the lower quartiles: noise only ever adds."""
    floor = next(kind for kind in all_kinds() if kind.has_floor)
    for kind in kinds:
        harness.warm_up(kind, _FLOWS)
    cost: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    floor_cost: list[float] = []

    def beyond_empty(program: str, kind: Kind) -> float:
        times = [(harness.measure(name, kind, _FLOWS, repeat),) for name in (program, EMPTY)]
        return net(*times)[0]

    for _ in range(rounds):
        floor_cost.append(beyond_empty(FORWARDER, floor))
        for kind in kinds:
            cost[kind.name].append(beyond_empty(program_of(kind), kind))
    least = summarise(floor_cost).low
    return {name: summarise(values).low / least for name, values in cost.items()}


def store(measured: Mapping[str, float]) -> None:
    """Make what was measured the baseline."""
    document = {"machine": machine(), "ratios": {k: round(v, 3) for k, v in measured.items()}}
    BASELINE.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def as_table(verdicts: list[Verdict], margin: float) -> Table:
    """Return the comparison as it is shown."""
    table = Table(title="ns/packet, as parts of the bare forwarder's")
    table.add_column("packet", no_wrap=True)
    for heading in ("stored", "measured", "change"):
        table.add_column(heading, justify="right")
    for verdict in verdicts:
        style = "bold red" if verdict.change_percent > margin else ""
        table.add_row(
            verdict.name,
            f"{verdict.stored:.2f}",
            f"{verdict.measured:.2f}",
            f"{verdict.change_percent:+.0f} %",
            style=style,
        )
    return table


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="interleaved rounds")
    parser.add_argument("--repeat", type=int, default=50_000, help="packets of a round")
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN_PERCENT,
        help="percent by which a kind may be dearer (%(default)s)",
    )
    parser.add_argument("--store", action="store_true", help="make what is measured the baseline")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.repeat < 1:
        parser.error("--rounds and --repeat are 1 or more")
    return arguments


def main() -> int:
    """Measure and compare; the exit status is 1 where a kind became dearer."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 100)
    with Rig(TABLE_SIZE) as fit, Rig(TABLE_SIZE, features=EVERY_FEATURE) as full:
        for rig in (fit, full):
            serve_all(rig)
        harness = Harness({BALANCER: fit, FULL: full}, Forwarder(FLOOR_SERVICES))
        with console.status("measuring"), on_one_core(measured_core()), undisturbed():
            measured = measure(harness, all_kinds(), arguments.rounds, arguments.repeat)
            if arguments.store:
                store(measured)
            stored = json.loads(BASELINE.read_text(encoding="utf-8"))["ratios"]
            verdicts = compare(stored, measured)
            for _ in range(_SECOND_THOUGHTS):
                doubtful = {v.name for v in verdicts if v.change_percent > arguments.margin}
                kinds = [kind for kind in all_kinds() if kind.name in doubtful]
                again = measure(harness, kinds, arguments.rounds, arguments.repeat)
                measured |= {name: min(ratio, measured[name]) for name, ratio in again.items()}
                verdicts = compare(stored, measured)
    console.print(as_table(verdicts, arguments.margin))
    dearer = [each.name for each in verdicts if each.change_percent > arguments.margin]
    if dearer:
        console.print(
            f"Dearer by more than {arguments.margin:g} %: {', '.join(dearer)}. Measure again on a "
            "quiet machine; if it stays, the change is the program's."
        )
    return 1 if dearer else 0


if __name__ == "__main__":
    sys.exit(main())
