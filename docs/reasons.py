"""Write the table of reasons into docs/reasons.md: ``python -m docs.reasons``."""

from __future__ import annotations

from pathlib import Path

from docs.tables import with_table
from pydsr.model.reasons import all_reasons

DOCUMENT = Path(__file__).with_name("reasons.md")


def with_reasons(text: str) -> str:
    """Return the document with the current table of reasons between its two marks."""
    rows = [(f"`{reason.name}`", reason.verdict, reason.text) for reason in all_reasons()]
    return with_table(text, "reasons", ("reason", "verdict", "meaning"), rows)


if __name__ == "__main__":
    DOCUMENT.write_text(with_reasons(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
