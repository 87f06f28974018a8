"""The pages of the reference that are generated from the code, as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from docs.manual_file import EXAMPLE, described, shapes_of
from pydsr.config.schema import json_schema
from pydsr.http.metrics.catalogue import METRICS

_COMMANDS = """\
# Commands

The help of every command (`pydsr COMMAND --help`). `make man` writes it to `build/man` as manual
pages.

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

Every key of the configuration file. `pydsr diff`, `apply` and `run` read it, `pydsr export` writes
one, and `pydsr schema` prints its JSON Schema for editors. Only `services` is required.
"""

_METRICS = """\
# Metrics

Every metric that `pydsr run --metrics` and `pydsr exporter` serve.
"""


def pages() -> dict[str, str]:
    """Return the text of each page, keyed by its path in the site's sources."""
    return {
        "reference/commands.md": _COMMANDS,
        "reference/file.md": file_page(),
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
    return _table(("key", "meaning"), ((f"`{key}`", text) for key, text in described(shape)))


def metrics_page() -> str:
    """Return the page of metrics."""
    rows = (
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.text)
        for one in METRICS
    )
    return _METRICS + "\n" + _table(("metric", "kind", "labels", "meaning"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
