"""Write results into the tables of docs/compatibility.md.

    python -m docs.compatibility build/compatibility

`make test-vm` and `make test-python` leave a file for each run there. Rows without a file stay.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.tables import with_table
from tests.vm.image import DEBIANS

DOCUMENT = Path(__file__).with_name("compatibility.md")
SYSTEMS = {name: debian.title for name, debian in DEBIANS.items()}
PYTHONS = {f"python-{version}": f"Python {version}" for version in ("3.11", "3.12", "3.13")}
COUNTS = ("passed", "failed", "date")

Record = Mapping[str, Any]


def with_results(text: str, records: Mapping[str, Record]) -> str:
    """Return the document with new rows for some runs.

    Args:
        text: the document.
        records: what tests.support.record writes, by the run: ``bookworm``, ``python-3.12``.
    """
    versions = ("kernel", "bcc", "LLVM", "Python")
    text = _with_rows(text, "systems", SYSTEMS, versions, records)
    return _with_rows(text, "pythons", PYTHONS, ("Python",), records)


def _with_rows(
    text: str,
    table: str,
    titles: Mapping[str, str],
    versions: Sequence[str],
    records: Mapping[str, Record],
) -> str:
    headings = ("run", *versions, *COUNTS)
    rows = _rows(text)
    for run, title in titles.items():
        if (record := records.get(run)) is not None:
            counted = {
                **record,
                "failed": sum(record[key] for key in ("failed", "error", "skipped")),
            }
            cells = [str(counted[heading.lower()]) for heading in headings[1:]]
            rows[title] = [title, *cells]
    none = ["not run", *[""] * (len(headings) - 2)]
    return with_table(text, table, headings, [rows.get(t, [t, *none]) for t in titles.values()])


def _rows(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells for cells in rows}


def main() -> None:
    """Update the document by the files of a directory."""
    (directory,) = sys.argv[1:]
    records = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in Path(directory).glob("*.json")
    }
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_results(text, records), encoding="utf-8")


if __name__ == "__main__":
    main()
