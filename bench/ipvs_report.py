"""Report the IPVS measurements as ratios, and pass them out of the virtual machine. Pure.

Only text leaves that machine, so the document is one line behind a marker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.figures import Figure
from bench.wire_flows import Run
from bench.wire_report import lost_share, ratio

DOCUMENT_MARKER = "pydsr-bench-ipvs-document "


@dataclass(frozen=True)
class Result:
    """What all contestants did with one workload, each round of each beside those of the others."""

    workload: str
    runs: Mapping[str, Sequence[Run]]

    def ratio(self, contestant: str, reference: str) -> Figure:
        """Return the frames that one brings to backends while another brings one."""
        return ratio(self.runs[contestant], self.runs[reference])

    def lost_percent(self, contestant: str) -> float:
        """Return the share of frames that came to no backend."""
        return 100 * lost_share(self.runs[contestant])


def as_table(results: Sequence[Result], reference: str, caption: str) -> Table:
    """Return the ratios, median and quartiles; where frames were lost, how many."""
    table = Table(title=f"frames in the same time, {reference} = 1", caption=caption)
    table.add_column("balancer", no_wrap=True)
    for result in results:
        table.add_column(result.workload, justify="right")
    for contestant in results[0].runs:
        table.add_row(contestant, *(_cell(result, contestant, reference) for result in results))
    return table


def _cell(result: Result, contestant: str, reference: str) -> str:
    figure = result.ratio(contestant, reference)
    lost = result.lost_percent(contestant)
    text = f"{figure.median:.3f} ({figure.low:.3f}-{figure.high:.3f})"
    return f"{text}, {lost:.2f} % lost" if lost else text


def as_document(
    results: Sequence[Result],
    references: Sequence[str],
    machine: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything measured, with the ratios that it comes to."""
    return {
        "machine": dict(machine),
        "settings": dict(settings),
        "results": [
            {
                "workload": result.workload,
                "ratios": {
                    reference: {name: asdict(result.ratio(name, reference)) for name in result.runs}
                    for reference in references
                },
                "lost_percent": {name: result.lost_percent(name) for name in result.runs},
                "rounds": {
                    name: [
                        {"sent": run.sent, "received": run.received, "seconds": run.seconds}
                        for run in runs
                    ]
                    for name, runs in result.runs.items()
                },
            }
            for result in results
        ],
    }


def document_line(document: Mapping[str, Any]) -> str:
    """Return a document as the one line that it leaves the machine by."""
    return DOCUMENT_MARKER + json.dumps(document)


class Output:
    """The lines that the machine prints, parted into those to show and the document.

    Args:
        lines: as they come.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.document: dict[str, Any] | None = None

    def shown(self) -> Iterator[str]:
        """Yield each line that is to be shown, and keep the document when it comes by."""
        for line in self._lines:
            if line.startswith(DOCUMENT_MARKER):
                self.document = json.loads(line.removeprefix(DOCUMENT_MARKER))
            else:
                yield line
