"""The manual page of the configuration file, made from its JSON Schema and the example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.roff import Page
from pydsr.config.schema import json_schema

EXAMPLE = Path(__file__).with_name("example.yaml")
_REFERENCE = "#/$defs/"
Schema = dict[str, Any]


def file_page(source: str) -> str:
    """Return the page; ``source`` names the program and its version."""
    schema = json_schema()
    page = Page("pydsr.yaml", 5, source, "configuration of a pydsr balancer")
    page.section("DESCRIPTION")
    page.paragraph(
        "The file describes the whole desired state of a balancer, in YAML. `pydsr diff` compares "
        "it with the live state, `pydsr apply` makes the live state match it, `pydsr run` applies "
        "it again whenever it changes, and `pydsr export` writes one from the live state. Only "
        "`services` is required. Every error is reported with its line; a file with an error "
        "changes nothing."
    )
    page.section("KEYS")
    _keys(page, schema)
    for title, shape in shapes_of(schema):
        page.section(title.upper())
        for paragraph in shape.get("description", "").split("\n\n"):
            page.paragraph(" ".join(paragraph.split()))
        _keys(page, shape)
    page.section("EXAMPLES")
    page.verbatim(EXAMPLE.read_text(encoding="utf-8").splitlines())
    page.section("FILES")
    page.item("/etc/pydsr/balancer.yaml", "The file that pydsr.service applies.")
    page.section("SEE ALSO")
    page.paragraph("`pydsr-apply(1)`, `pydsr-diff(1)`, `pydsr-run(1)`, `pydsr-schema(1)`")
    return str(page)


def shapes_of(schema: Schema) -> list[tuple[str, Schema]]:
    """Return the mappings in a file, each with its title."""
    return [
        (name.removesuffix("Shape").lower().replace("check", " check"), shape)
        for name, shape in sorted(schema["$defs"].items())
        if "properties" in shape
    ]


def _keys(page: Page, shape: Schema) -> None:
    for key, words in described(shape):
        page.item(key, words)


def described(shape: Schema) -> Iterator[tuple[str, str]]:
    """Yield the keys of a mapping with their description, form and default."""
    required = shape.get("required", [])
    for key, value in shape["properties"].items():
        words = [value.get("description", ""), _form(value)]
        if key in required:
            words.append("Required.")
        elif value.get("default") not in (None, "", {}) and not isinstance(value["default"], dict):
            words.append(f"Default: {json.dumps(value['default'])}.")
        yield key, " ".join(word for word in words if word)


def _form(value: Schema) -> str:
    """Return the possible words of a value, or examples."""
    choices = [json.dumps(each) for each in _choices(value)]
    if choices:
        return f"One of {', '.join(choices)}."
    examples = [str(each) for each in _collected(value, "examples")]
    return f"For example: {', '.join(examples)}." if examples else ""


def _choices(value: Schema) -> list[Any]:
    name = value.get("$ref", "").removeprefix(_REFERENCE)
    if name:
        value = json_schema()["$defs"][name]
    return _collected(value, "enum")


def _collected(value: Schema, key: str) -> list[Any]:
    parts = [value, *value.get("anyOf", ())]
    return [each for part in parts for each in part.get(key, ())]
