"""The columns of the live view: which ones a width has room for, and rows drawn in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pydsr.stats import ServiceRate

INDENT = "  "
"""Before a backend's address, under its service."""

LONG_BITS = 11
"""From this width on bits per second carry their unit: ``12.3 Mbit/s``, else ``12.3M``."""

_HEADINGS = {
    "name": "",
    "packets": "pkt/s",
    "bits": "bit/s",
    "flows": "new/s",
    "share": "share",
    "weight": "weight",
    "bar": "",
    "state": "state",
    "mac": "mac",
    "history": "history",
}
"""All columns, from left to right."""

_NUMBERS = {"packets", "bits", "flows", "share", "weight"}

_CORE = {"packets": 5, "share": 5, "state": 6, "bits": 6, "flows": 5, "weight": 6}
"""Columns with their widths, those that are given up last first."""

_EXTRAS = (("history", 8), ("bits", LONG_BITS), ("mac", 17), ("bar", 16))
"""What is added where there is room, in this order; a column named again is widened."""

_NAME_CELLS = 20
_LEAST_NAME_CELLS = 5
_HISTORY_CELLS = 60


@dataclass(frozen=True)
class Columns:
    """The columns that fit: their widths by name, and the blanks between them."""

    widths: Mapping[str, int]
    gap: int

    def headings(self) -> Text:
        """Draw the row of headings."""
        return self.row({name: Text(text, style="dim") for name, text in _HEADINGS.items()})

    def row(self, cells: Mapping[str, Text]) -> Text:
        """Draw one row; a column without a cell is left blank, a cell without one is left out."""
        drawn = []
        for name in _HEADINGS:
            if name in self.widths:
                cell = cells.get(name, Text()).copy()
                cell.truncate(self.widths[name], overflow="ellipsis")
                cell.align("right" if name in _NUMBERS else "left", self.widths[name])
                drawn.append(cell)
        return Text(" " * self.gap).join(drawn)


def service_title(service: ServiceRate, cells: int | None = None) -> Text:
    """Return a service's endpoint, and its name if it has one and there is room for some of it.

    Args:
        service: the service.
        cells: the room there is; None for as much as it takes.
    """
    title = Text(str(service.service.endpoint), style="bold")
    name = service.service.options.name
    # A name cut to nothing would still cost the endpoint its last character for the ellipsis.
    if name and (cells is None or cells >= title.cell_len + _LEAST_NAME_CELLS):
        title.append(f"  {name}", style="not bold cyan")
    return title


def fit_columns(services: Sequence[ServiceRate], width: int) -> Columns:
    """Choose the columns for a width.

    Endpoints and addresses stay whole as long as the packets, the share and the state fit beside
    them; before the other rates go, first the blanks and then the names of services are shortened.

    Args:
        services: what will be shown; long addresses leave less room.
        width: characters a row may have.
    """
    titles = [cell_len(service_title(service).plain) for service in services]
    addresses = [len(str(service.service.endpoint)) for service in services]
    addresses += [
        len(f"{INDENT}{each.backend.address}") for service in services for each in service.backends
    ]
    least = max(addresses, default=0)
    whole = max([least, *titles])
    named = min(whole, least + _NAME_CELLS)
    for name_cells, gap in ((named, 2), (named, 1), (least, 1)):
        columns = _fill(name_cells, whole, gap, width)
        if _CORE.keys() <= columns.widths.keys():
            break
    return columns


def _fill(name_cells: int, whole_name_cells: int, gap: int, width: int) -> Columns:
    least_beside = sum(gap + _CORE[name] for name in ("packets", "share", "state"))
    widths = {"name": max(1, min(name_cells, width - least_beside))}
    left = width - widths["name"]
    wishes = (*_CORE.items(), *_EXTRAS, ("name", whole_name_cells))
    for name, cells in wishes:
        more = cells - widths.get(name, -gap)
        if 0 <= more <= left:
            widths[name] = cells
            left -= more
    if "history" in widths:
        widths["history"] += min(left, _HISTORY_CELLS - widths["history"])
    return Columns(widths, gap)
