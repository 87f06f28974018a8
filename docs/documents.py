"""Write the reference of the JSON documents: ``python -m docs.documents``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydsr.views.json.schemas import KINDS, document_schema

DOCUMENT = Path(__file__).with_name("json.md")
_HEAD = """\
# JSON

<!-- made from pydsr/views/json by `python -m docs.documents`; a test compares -->

The documents that commands print with `--json`. Keys may be added; existing keys stay.
`pydsr schema --of NAME` prints the JSON Schema of a document, for programs that validate it.
"""
Schema = dict[str, Any]


def reference() -> str:
    """Return the reference of all documents."""
    return "\n".join([_HEAD, *map(_kind, KINDS)])


def _kind(name: str) -> str:
    schema = document_schema(name)
    defined = schema.pop("$defs", {})
    lines = [f"## {name}", "", f"`{KINDS[name].commands}`", ""]
    if schema["type"] == "array":
        lines += [f"A list of **{_form(schema['items'])}** documents.", ""]
    else:
        lines += _table(schema)
    for title, shape in defined.items():
        lines += [f"**{_words(title)}**", "", *_table(shape)]
    return "\n".join(lines)


def _table(shape: Schema) -> list[str]:
    lines = [shape["description"], ""] if "description" in shape else []
    lines += ["| key | value | meaning |", "|---|---|---|"]
    for key, value in shape["properties"].items():
        lines.append(f"| `{key}` | {_form(value)} | {value.get('description', '')} |")
    return [*lines, ""]


def _form(value: Schema) -> str:
    """Return the type of a value in words."""
    if "$ref" in value:
        return _words(value["$ref"].rpartition("/")[2])
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "anyOf" in value:
        return " or ".join(_form(each) for each in value["anyOf"])
    if value["type"] == "array":
        return f"list of {_form(value['items'])}"
    if value["type"] == "object":
        return f"mapping to {_form(value['additionalProperties'])}"
    return str(value["type"])


def _words(title: str) -> str:
    """Return ``backend stats`` for ``BackendStatsDocument``."""
    name = title.removesuffix("Document")
    return "".join(f" {each.lower()}" if each.isupper() else each for each in name).strip()


if __name__ == "__main__":
    DOCUMENT.write_text(reference(), encoding="utf-8")
