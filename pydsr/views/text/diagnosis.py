"""Reports of the doctor and the daemon: findings, health and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydsr.kernel.machine.findings import Finding, Note, Report, Severity
from pydsr.views.text import figures

if TYPE_CHECKING:
    from pydsr.views.json.document_types import BackendHealthDocument, HealthDocument
    from pydsr.views.json.report_types import DoctorDocument

_SEVERITY_STYLES = {
    Severity.ERROR: "bold red",
    Severity.WARNING: "yellow",
    Severity.ADVICE: "cyan",
}
_PLURALS = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.ADVICE: "advice"}
_HEALTH_STYLES = {True: "green", False: "red", None: "dim"}
_PASSED, _NOT_CHECKED = "✓", "?"


def doctor_report(report: Report) -> RenderableType:
    """Show the notes, then the findings, the worst last, next to the prompt."""
    parts: list[RenderableType] = [_notes_table(report.notes), Text("")]
    if report.findings:
        parts += [_findings_table(reversed(report.findings)), Text("")]
    return Group(*parts, _summary(report))


def doctor_document(report: Report) -> DoctorDocument:
    """Return a report as a JSON document."""
    return {
        "findings": [
            {
                "id": finding.kind.id,
                "severity": finding.kind.severity.value,
                "subject": finding.subject,
                "what": finding.what,
                "why": finding.kind.why,
                "remedy": finding.remedy,
            }
            for finding in report.findings
        ],
        "checks": [
            {"subject": note.subject, "text": note.text, "looked": note.looked}
            for note in report.notes
        ],
    }


def _notes_table(notes: Iterable[Note]) -> Table:
    table = Table.grid(padding=(0, 2))
    by_subject: dict[str, list[Note]] = {}
    for note in notes:
        by_subject.setdefault(note.subject, []).append(note)
    for subject, group in by_subject.items():
        table.add_row(Text(subject, style="bold"), Text("  ").join(map(_note, group)))
    return table


def _note(note: Note) -> Text:
    if note.looked:
        return Text.assemble((_PASSED, "green"), " ", note.text)
    return Text(f"{_NOT_CHECKED} {note.text}", style="dim")


def _findings_table(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        kind = finding.kind
        severity = Text(kind.severity, style=_SEVERITY_STYLES[kind.severity])
        table.add_row(severity, Text.assemble(finding.what, (f"  [{kind.id}]", "dim")))
        table.add_row(Text(""), Text(f"why: {kind.why}", style="dim"))
        table.add_row(Text(""), Text(f"fix: {finding.remedy}"))
    return table


def _summary(report: Report) -> Text:
    counts = []
    for severity in Severity:
        count = sum(finding.kind.severity is severity for finding in report.findings)
        if count:
            counts.append(f"{count} {severity if count == 1 else _PLURALS[severity]}")
    if not counts:
        return Text("no problems found", style="green")
    return Text(", ".join(counts), style="bold")


def health_table(document: HealthDocument) -> RenderableType:
    """Show the health of every checked backend, from the daemon's document."""
    if not document["services"]:
        return Text("no service has checks", style="yellow")
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("service", "backend", "health", "for", "state", "weight", "failed checks"):
        table.add_column(name, justify="right" if name in ("for", "weight") else "left")
    for service in document["services"]:
        for backend in service["backends"]:
            seconds = backend["seconds"]
            table.add_row(
                Text(service["service"]),
                Text(backend["address"]),
                Text(_health(backend), style=_HEALTH_STYLES[backend["healthy"]]),
                Text("" if seconds is None else f"{seconds:.0f} s"),
                Text(backend["state"]),
                Text(str(backend["weight"])),
                Text(figures.failures(backend)),
            )
    return table


def _health(backend: BackendHealthDocument) -> str:
    if backend["healthy"] is None:
        return "sorry backend"
    if backend["held"]:
        return "unhealthy, kept in service"
    return "healthy" if backend["healthy"] else "unhealthy"


def event_line(document: Mapping[str, Any]) -> str:
    """Return an event, given as its JSON document, as one line."""
    change = f"{document['from']} -> {document['to']}, " if "from" in document else ""
    cause = str(document["cause"]).replace("\n", "; ")
    seconds = document.get("duration")
    took = "" if seconds is None else f" ({_duration(seconds)})"
    return f"{document['time']}  {document['event']}  {document['object']}: {change}{cause}{took}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
