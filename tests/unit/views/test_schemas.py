"""Every kind of document has a schema that describes its keys."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from docs.documents import DOCUMENT, reference
from pydsr.cli.configuration import schema
from pydsr.config.schema import json_schema
from pydsr.model.events import Event, EventKind
from pydsr.views.json.schemas import KINDS, document_schema


@pytest.mark.parametrize("name", KINDS)
def test_every_schema_is_valid(name: str) -> None:
    schema = document_schema(name)
    Draft202012Validator.check_schema(schema)
    assert f"pydsr {name}" == schema["title"]


def test_the_help_of_schema_names_every_document() -> None:
    _, _, names = (schema.help or "").partition("Documents: ")
    assert set(KINDS) == set(names.partition(".")[0].replace(",", " ").split())


def test_the_schema_of_the_file_has_a_title() -> None:
    assert "pydsr configuration" == json_schema()["title"]


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_matches_its_schema(kind: EventKind) -> None:
    event = Event(kind, "eth0", "because", seconds=0.25, details={"mac": "02:00:00:00:00:01"})
    Draft202012Validator(document_schema("event")).validate(event.document())


def test_the_documentation_is_up_to_date() -> None:
    assert reference() == DOCUMENT.read_text(encoding="utf-8"), "run: python -m docs.documents"
