"""Generated tables in documents, between two marks of the same name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def with_table(text: str, name: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a document with the table between its two marks replaced.

    Args:
        text: the document.
        name: of the marks, ``<!-- NAME:begin … -->`` and ``<!-- NAME:end -->``.
        headings: of the columns.
        rows: of the table.
    """
    before, begin, rest = text.partition(f"<!-- {name}:begin")
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition(f"<!-- {name}:end -->")
    lines = [_row(headings), "|" + "---|" * len(headings), *map(_row, rows)]
    table = "\n".join(lines)
    return f"{before}{begin}{mark}\n{table}\n{end}{after}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
