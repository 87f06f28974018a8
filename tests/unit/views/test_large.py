"""A table of thousands of rows has the same words as a small one, and is there at once."""

from __future__ import annotations

import io

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pydsr.views.text.tables import LARGE_TABLE_ROWS as ROWS
from pydsr.views.text.tables import is_large, plain_lines


def table(rows: int) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("name")
    made.add_column("packets", justify="right")
    made.add_column("note")
    made.add_row(Text("a title that is alone", style="bold"))
    for number in range(rows - 1):
        made.add_row(Text(f"漢 {number}"), str(number * 1000), "[red]" if number % 2 else "")
    return made


def test_from_some_rows_on_a_table_is_large_wherever_it_is() -> None:
    assert [False, True] == [is_large(table(rows)) for rows in (ROWS - 1, ROWS)]
    assert is_large(Group(Text("before"), table(ROWS)))
    assert not is_large(Text("x" * 100_000))


def test_a_large_table_is_drawn_as_rich_draws_it_where_it_has_room() -> None:
    console = Console(file=io.StringIO(), width=200, record=True, markup=False)
    console.print(table(60), Text("after it"))
    drawn = [line.rstrip() for line in console.export_text().splitlines()]
    assert drawn == list(plain_lines(Group(table(60), Text("after it"))))
