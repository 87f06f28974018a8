"""The columns of the live view: which of them fit a width, and how rows are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydsr.views.text import lines
from pydsr.views.text.lines import Line

INDENT = "  "
"""Before a backend's address, below its service."""

LONG_BITS = 11
"""Least width for bits per second with their unit: ``12.3 Mbit/s`` instead of ``12.3M``."""

_NUMBERS = {
    "packets", "bits", "flows", "share", "weight", "off", "slots", "set", "since", "seen",
    "total", "bytes",
}  # fmt: skip
"""Columns that are aligned to the right."""

_NAME_CELLS = 20
_HISTORY_CELLS = 60


_HEADINGS = {
    "name": "",
    "packets": "pkt/s",
    "bits": "bit/s",
    "flows": "new/s",
    "share": "share",
    "weight": "weight",
    "off": "off",
    "bar": "",
    "slots": "slots",
    "set": "set to",
    "state": "state",
    "since": "for",
    "mac": "mac",
    "seen": "confirmed",
    "total": "packets",
    "bytes": "bytes",
    "history": "history",
}
"""The headings of all columns, from left to right."""

_CORE = {"packets": 5, "share": 5, "state": 6, "bits": 6, "flows": 5, "weight": 6}
"""Widths of the important columns, the most important first."""


@dataclass(frozen=True)
class Layout:
    """The possible columns of a page.

    Attributes:
        name: the heading of the column of names.
        extras: columns added in this order while there is room; a column named again is widened.
    """

    name: str
    extras: tuple[tuple[str, int], ...]


OVERVIEW = Layout("", (("history", 8), ("bits", LONG_BITS), ("off", 5), ("mac", 17), ("bar", 16)))
"""The page of all services."""

SERVICE = Layout(
    "backend",
    (
        ("since", 6),
        ("off", 5),
        ("history", 8),
        ("set", 7),
        ("mac", 17),
        ("seen", 9),
        ("bits", LONG_BITS),
        ("slots", 6),
        ("total", 7),
        ("bytes", 7),
        ("bar", 16),
    ),
)
"""The page of one service."""


@dataclass(frozen=True)
class Columns:
    """The columns that fit: widths by name, and the blanks between them."""

    layout: Layout
    widths: Mapping[str, int]
    gap: int

    def headings(self) -> Line:
        """Draw the headings."""
        headings = {**_HEADINGS, "name": self.layout.name}
        return self.row({name: ((text, "dim"),) for name, text in headings.items()})

    def row(self, cells: Mapping[str, Line]) -> Line:
        """Draw a row from cells by column; missing cells are blank."""
        return lines.joined(
            (
                lines.fitted(cells.get(name, lines.EMPTY), width, right=name in _NUMBERS)
                for name, width in self.widths.items()
            ),
            " " * self.gap,
        )


def fit(layout: Layout, least: int, whole: int, width: int) -> Columns:
    """Choose the columns for a width.

    Endpoints and addresses are not cut while packets, share and state fit beside them. To keep the
    other rates, gaps are narrowed first, and names of services cut next.

    Args:
        layout: the possible columns.
        least: width of the longest endpoint or address.
        whole: width of the longest title, including the service's name.
        width: of a row.
    """
    named = min(whole, least + _NAME_CELLS)
    for name_cells, gap in ((named, 2), (named, 1), (least, 1)):
        columns = _fill(layout, name_cells, whole, gap, width)
        if _CORE.keys() <= columns.widths.keys():
            break
    return columns


def _fill(layout: Layout, name_cells: int, whole: int, gap: int, width: int) -> Columns:
    least_beside = sum(gap + _CORE[name] for name in ("packets", "share", "state"))
    widths = {"name": max(1, min(name_cells, width - least_beside))}
    left = width - widths["name"]
    for name, cells in (*_CORE.items(), *layout.extras, ("name", whole)):
        more = cells - widths.get(name, -gap)
        if 0 <= more <= left:
            widths[name] = cells
            left -= more
    if "history" in widths:
        widths["history"] += min(left, _HISTORY_CELLS - widths["history"])
    return Columns(layout, {name: widths[name] for name in _HEADINGS if name in widths}, gap)
