"""Present packet rates as a table, JSON and a plot, with ratios to the bare forwarder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import plots
from bench.figures import Figure, summarise
from bench.report import machine
from bench.wire_contestants import FORWARDER
from bench.wire_flows import Run

_TITLE = "Packets per second over veth"


@dataclass(frozen=True)
class Result:
    """The runs of one contestant, one for each round, with one kind of packets."""

    contestant: str
    version: int
    flows: int
    runs: tuple[Run, ...]

    @property
    def kind(self) -> str:
        """What the table calls the packets."""
        return f"TCP v{self.version}"

    @property
    def mpps(self) -> Figure:
        """Millions of packets a second."""
        return summarise([run.mpps for run in self.runs])

    @property
    def loss(self) -> float:
        """The share of all frames that did not come back."""
        return lost_share(self.runs)

    def ratio(self, other: Result) -> Figure:
        """Return how much faster it was than another, round by round.

        Raises:
            ValueError: their rounds are not equally many.
        """
        return ratio(self.runs, other.runs)


@dataclass(frozen=True)
class Changes:
    """What a switching table does to the rate.

    Attributes:
        at_rest: runs without a switch, one for each round.
        changed: runs beside them, with switches.
        switches: how many there were.
        seconds: how long tables were switched, of all rounds.
        slots_changing: how many slots of the table were not at rest.
    """

    at_rest: tuple[Run, ...]
    changed: tuple[Run, ...]
    switches: int
    seconds: float
    slots_changing: int

    @property
    def per_second(self) -> float:
        """Switches a second."""
        return self.switches / self.seconds

    @property
    def sent(self) -> int:
        """How many frames were sent while tables were switched."""
        return sum(run.sent for run in self.changed)

    @property
    def received(self) -> int:
        """How many of them came back."""
        return sum(run.received for run in self.changed)


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> Figure:
    """Return the ratio of two rates, each round's taken for itself.

    Raises:
        ValueError: the rounds are not equally many.
    """
    return summarise([one.mpps / other.mpps for one, other in zip(ours, theirs, strict=True)])


def lost_share(runs: Sequence[Run]) -> float:
    """Return the share of what was sent in some runs that did not come back."""
    sent = sum(run.sent for run in runs)
    return 1 - sum(run.received for run in runs) / sent


def floor_of(result: Result, results: Sequence[Result]) -> Result:
    """Return the bare forwarder's result in as many flows, which is of IPv4 always."""
    return next(one for one in results if (one.contestant, one.flows) == (FORWARDER, result.flows))


def shown(figure: Figure) -> str:
    """Return a figure with two decimals, and its quartiles."""
    return f"{figure.median:.2f} ({figure.low:.2f}-{figure.high:.2f})"


def shown_loss(share: float) -> str:
    """Return a loss in percent; none at all is 0."""
    return f"{100 * share:.4f} %" if share else "0"


def as_table(results: Sequence[Result], caption: str) -> Table:
    """Return the figures as they are shown: medians with quartiles."""
    table = Table(title=f"{_TITLE}: median (quartiles)", caption=caption)
    table.add_column("packet")
    table.add_column("flows", justify="right")
    table.add_column("by", no_wrap=True)
    for heading in ("Mpps", f"of the {FORWARDER}", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result.kind,
            f"{result.flows:,}",
            result.contestant,
            shown(result.mpps),
            shown(result.ratio(floor_of(result, results))),
            shown_loss(result.loss),
        )
    return table


def describe_changes(changes: Changes) -> str:
    """Return what the changes did, as a sentence."""
    return (
        f"Under {changes.per_second:.0f} table switches a second, "
        f"{changes.slots_changing:,} slots changing: {changes.sent:,} frames sent, "
        f"{changes.received:,} received, every flow on its backend; "
        f"rate {shown(ratio(changes.changed, changes.at_rest))} of that at rest"
    )


def as_json(
    results: Sequence[Result],
    changes: Changes,
    left_out: dict[str, str],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Return everything measured; rates are millions of packets a second."""
    return {
        "machine": machine(),
        "settings": settings,
        "left_out": left_out,
        "results": [
            {
                "contestant": result.contestant,
                "packet": result.kind,
                "flows": result.flows,
                "mpps": asdict(result.mpps),
                "ratio": asdict(result.ratio(floor_of(result, results))),
                "loss": result.loss,
                **_runs_document(result.runs),
            }
            for result in results
        ],
        "under_change": {
            "switches_per_second": changes.per_second,
            "switches": changes.switches,
            "slots_changing": changes.slots_changing,
            "ratio_to_rest": asdict(ratio(changes.changed, changes.at_rest)),
            "at_rest": _runs_document(changes.at_rest),
            "changed": _runs_document(changes.changed),
        },
    }


def _runs_document(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "sent": sum(run.sent for run in runs),
        "received": sum(run.received for run in runs),
        "rounds": [round(run.mpps, 4) for run in runs],
    }


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw the ratios as bars with their quartiles, one group for each contestant."""
    names = list(dict.fromkeys(result.contestant for result in results))
    kinds = sorted({(result.version, result.flows) for result in results})
    height = 0.8 / len(kinds)
    of_contestant = {
        name: sorted((one.version, one.flows) for one in results if one.contestant == name)
        for name in names
    }
    title = f"{_TITLE}, as a ratio to a bare forwarder"
    with plots.drawing(file, title, height_inches=8, legend_columns=2) as axes:
        for kind, colour in zip(kinds, plots.COLOURS, strict=False):
            of_kind = [result for result in results if (result.version, result.flows) == kind]
            ratios = [result.ratio(floor_of(result, results)) for result in of_kind]
            rows = [
                _row(names.index(result.contestant), kind, of_contestant[result.contestant], height)
                for result in of_kind
            ]
            axes.barh(
                rows,
                [each.median for each in ratios],
                0.9 * height,
                xerr=[
                    [each.median - each.low for each in ratios],
                    [each.high - each.median for each in ratios],
                ],
                ecolor="#666666",
                color=colour,
                label=f"{of_kind[0].kind}, {kind[1]:,} flow{'s' if kind[1] > 1 else ''}",
            )
            for row, each in zip(rows, ratios, strict=True):
                plots.label_bar(axes, each.high + 0.01, row, f"{each.median:.2f}")
        plots.name_rows(axes, names)
        axes.axvline(1, color="#666666", linewidth=1)
        axes.set_xlabel(
            "packets a second: median and quartiles of the ratio to the forwarder's "
            "with IPv4 and as many flows"
        )


def _row(
    group: int, kind: tuple[int, int], kinds: Sequence[tuple[int, int]], height: float
) -> float:
    """Return where a bar is in its group, whose bars are around its name."""
    return group + (kinds.index(kind) - (len(kinds) - 1) / 2) * height
