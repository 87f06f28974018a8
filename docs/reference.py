"""The pages of the reference that the code itself knows, as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from docs.manual_file import EXAMPLE, described, shapes_of
from pydsr.config.schema import json_schema
from pydsr.http.metrics.catalogue import METRICS
from pydsr.model.reasons import all_reasons

_COMMANDS = """\
# Commands

What `pydsr COMMAND --help` says; as manual pages, `make man` writes it to `build/man`.

::: mkdocs-click
    :module: pydsr.cli.main
    :command: cli
    :prog_name: pydsr
    :depth: 1
    :style: table
    :list_subcommands: true
"""

_FILE = """\
# The file

`pydsr diff`, `apply` and `run` read it, `pydsr export` writes one, and `pydsr schema` prints its
JSON Schema for editors. Only `services` has to be there.
"""

_REASONS = """\
# Reasons

Every packet that the program sees leaves it for one of these, and is counted: `pydsr stats` and
`top` show how many, `pydsr tap` which, and `pydsr explain` what would become of one.
"""

_METRICS = """\
# Metrics

What `pydsr run --metrics` and `pydsr exporter` serve.
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the site's sources."""
    return {
        "reference/commands.md": _COMMANDS,
        "reference/file.md": file_page(),
        "reference/reasons.md": reasons_page(),
        "reference/metrics.md": metrics_page(),
    }


def file_page() -> str:
    """Return the page of the configuration file, from its JSON Schema and the example."""
    schema = json_schema()
    parts = [_FILE, _keys(schema)]
    for title, shape in shapes_of(schema):
        text = inspect.cleandoc(shape.get("description", ""))
        parts += [f"## {title.capitalize()}\n\n{text}\n", _keys(shape)]
    parts.append(f"## Example\n\n```yaml\n{EXAMPLE.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def _keys(shape: dict[str, Any]) -> str:
    return _table(("key", "what it says"), ((f"`{key}`", text) for key, text in described(shape)))


def reasons_page() -> str:
    """Return the page of all that can become of a packet."""
    rows = ((f"`{one.name}`", one.verdict, one.text) for one in all_reasons())
    return _REASONS + "\n" + _table(("reason", "packet", "why"), rows)


def metrics_page() -> str:
    """Return the page of what Prometheus is served."""
    rows = (
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.text)
        for one in METRICS
    )
    return _METRICS + "\n" + _table(("metric", "kind", "labels", "what it says"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
