"""Tables of so many rows that rich takes seconds to lay them out, in lines of fixed widths.

Rich measures, wraps and styles each cell by itself, which is worth it for what people look at. Of
thousands of rows they search.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

ROWS = 1000
"""From here on a table is large."""

_GAP = "  "


def is_large(shown: RenderableType) -> bool:
    """Return whether what is to be shown has a large table in it."""
    if isinstance(shown, Group):
        return any(map(is_large, shown.renderables))
    return isinstance(shown, Table) and shown.row_count >= ROWS


def plain_lines(shown: RenderableType) -> Iterator[str]:
    """Return tables and texts as lines without styles, as wide as they are."""
    if isinstance(shown, Group):
        for each in shown.renderables:
            yield from plain_lines(each)
    elif isinstance(shown, Table):
        columns = [_cells(column) for column in shown.columns]
        for row in zip(*columns, strict=True):
            yield _GAP.join(row).rstrip()
    else:
        yield _plain(shown)


def _cells(column: Column) -> list[str]:
    """Return the heading and the cells of a column, all of one width."""
    texts = [_plain(column.header), *map(_plain, column.cells)]
    widths = [cell_len(text) for text in texts]
    width = max(widths)
    blanks = [" " * (width - each) for each in widths]
    if column.justify == "right":
        return [blank + text for blank, text in zip(blanks, texts, strict=True)]
    return [text + blank for blank, text in zip(blanks, texts, strict=True)]


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
