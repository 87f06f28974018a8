"""What the doctor found, on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydsr.kernel.machine.finding import Finding, Note, Report
from pydsr.kernel.machine.finding_kinds import Severity

if TYPE_CHECKING:
    from pydsr.views.json.report_types import DoctorDocument

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.ADVICE: "cyan"}
_WELL, _UNSEEN = "✓", "?"


def doctor_report(report: Report) -> RenderableType:
    """Show what was looked at, then what was found, the worst last: where the eye is."""
    parts = [_notes(report.notes), Text("")]
    if report.findings:
        parts += [_findings(reversed(report.findings)), Text("")]
    return Group(*parts, _summary(report))


def doctor_document(report: Report) -> DoctorDocument:
    """Return the same for scripts."""
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


def _notes(notes: Iterable[Note]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    by_subject: dict[str, list[Note]] = {}
    for note in notes:
        by_subject.setdefault(note.subject, []).append(note)
    for subject, of_it in by_subject.items():
        table.add_row(Text(subject, style="bold"), Text("  ").join(map(_note, of_it)))
    return table


def _note(note: Note) -> Text:
    if note.looked:
        return Text.assemble((_WELL, "green"), " ", note.text)
    return Text(f"{_UNSEEN} {note.text}", style="dim")


def _findings(findings: Iterable[Finding]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        kind = finding.kind
        severity = Text(kind.severity, style=_STYLES[kind.severity])
        table.add_row(severity, Text.assemble(finding.what, (f"  [{kind.id}]", "dim")))
        table.add_row(Text(""), Text(f"why: {kind.why}", style="dim"))
        table.add_row(Text(""), Text(f"mend: {finding.remedy}"))
    return table


def _summary(report: Report) -> Text:
    counts = [
        (sum(finding.kind.severity is severity for finding in report.findings), severity)
        for severity in Severity
    ]
    plurals = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.ADVICE: "advice"}
    said = [
        f"{count} {severity if count == 1 else plurals[severity]}"
        for count, severity in counts
        if count
    ]
    if not said:
        return Text("nothing is wrong", style="green")
    return Text(", ".join(said), style="bold")
