"""The JSON Schemas of the documents that ``--json`` prints."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import TypeAdapter

from pydsr.views.json import document_types as types
from pydsr.views.json import report_types as reports

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class DocumentKind(NamedTuple):
    """A kind of document: its type (of one line, for line-by-line output) and its command."""

    shape: Any
    commands: str


KINDS = {
    "status": DocumentKind(types.StatusDocument, "pydsr status --json"),
    "services": DocumentKind(list[types.ServiceDocument], "pydsr services list --json"),
    "backends": DocumentKind(list[types.BackendsDocument], "pydsr backends list --json"),
    "vips": DocumentKind(list[types.VipDocument], "pydsr vips list --json"),
    "acl": DocumentKind(list[types.ScopeDocument], "pydsr acl list --json"),
    "stats": DocumentKind(types.StatsDocument, "pydsr stats --json"),
    "top": DocumentKind(types.TopDocument, "pydsr top --json"),
    "reasons": DocumentKind(list[types.ReasonDocument], "pydsr stats --explain --json"),
    "explain": DocumentKind(reports.ExplanationDocument, "pydsr explain ENDPOINT --json"),
    "frame": DocumentKind(reports.FrameDocument, "pydsr explain --pcap FILE --json"),
    "packet": DocumentKind(reports.PacketDocument, "pydsr tap --json"),
    "plan": DocumentKind(reports.PlanDocument, "pydsr diff FILE --json"),
    "health": DocumentKind(types.HealthDocument, "pydsr health --json"),
    "doctor": DocumentKind(reports.DoctorDocument, "pydsr doctor --json"),
    "event": DocumentKind(reports.EventDocument, "pydsr events --json"),
    "realserver-check": DocumentKind(
        reports.RealserverCheckDocument, "pydsr realserver check VIP --json"
    ),
    "realserver-change": DocumentKind(
        reports.RealserverChangeDocument, "pydsr realserver setup or undo VIP --json"
    ),
    "realserver-files": DocumentKind(
        reports.RealserverFilesDocument, "pydsr realserver setup VIP --script sh --json"
    ),
}
"""By the name that ``pydsr schema --of`` takes."""


def document_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document."""
    schema = TypeAdapter(KINDS[name].shape).json_schema()
    return {"$schema": _DIALECT, **schema, "title": f"pydsr {name}"}
