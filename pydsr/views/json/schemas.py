"""The JSON Schemas of what ``--json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from pydsr.views.json import document_types as types
from pydsr.views.json.top_types import TopDocument

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class DocumentKind:
    """A kind of document.

    Attributes:
        shape: its type; of one line, where a command prints documents line by line.
        commands: what prints it.
    """

    shape: Any
    commands: str


KINDS = {
    "status": DocumentKind(types.StatusDocument, "pydsr status --json"),
    "services": DocumentKind(list[types.ServiceDocument], "pydsr services list --json"),
    "backends": DocumentKind(list[types.BackendsDocument], "pydsr backends list --json"),
    "vips": DocumentKind(list[types.VipDocument], "pydsr vips list --json"),
    "acl": DocumentKind(list[types.ScopeDocument], "pydsr acl list --json"),
    "stats": DocumentKind(types.StatsDocument, "pydsr stats --json"),
    "top": DocumentKind(TopDocument, "pydsr top --json"),
    "reasons": DocumentKind(list[types.ReasonDocument], "pydsr stats --explain --json"),
    "explain": DocumentKind(types.ExplanationDocument, "pydsr explain ENDPOINT --json"),
    "frame": DocumentKind(types.FrameDocument, "pydsr explain --pcap FILE --json"),
    "packet": DocumentKind(types.PacketDocument, "pydsr tap --json"),
    "plan": DocumentKind(types.PlanDocument, "pydsr diff FILE --json"),
    "health": DocumentKind(types.HealthDocument, "pydsr health --json"),
    "doctor": DocumentKind(types.DoctorDocument, "pydsr doctor --json"),
    "event": DocumentKind(types.EventDocument, "pydsr events --json"),
    "realserver-check": DocumentKind(
        types.RealserverCheckDocument, "pydsr realserver check VIP --json"
    ),
    "realserver-change": DocumentKind(
        types.RealserverChangeDocument, "pydsr realserver setup or undo VIP --json"
    ),
    "realserver-files": DocumentKind(
        types.RealserverFilesDocument, "pydsr realserver setup VIP --script sh --json"
    ),
}
"""By the name that ``pydsr schema`` calls them by."""


def document_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document."""
    schema = TypeAdapter(KINDS[name].shape).json_schema()
    return {"$schema": _DIALECT, **schema, "title": f"pydsr {name}"}
