"""Write the table of reasons into docs/architecture.md: ``python -m docs.reasons``."""

from __future__ import annotations

from pathlib import Path

from pydsr.reasons import all_reasons

DOCUMENT = Path(__file__).with_name("architecture.md")
_BEGIN = "<!-- reasons:begin"
_END = "<!-- reasons:end -->"


def with_reasons(text: str) -> str:
    """Return the document with the table of today's reasons between its two marks."""
    before, begin, rest = text.partition(_BEGIN)
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition(_END)
    rows = [f"| `{r.name}` | {r.verdict} | {r.text} |" for r in all_reasons()]
    table = "\n".join(["| reason | packet | why |", "|---|---|---|", *rows])
    return f"{before}{begin}{mark}\n{table}\n{end}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_reasons(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
