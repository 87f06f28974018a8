"""The types of the other JSON documents: traces, captures, plans, events and findings.

See ``document_types`` for how they are used.
"""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from pydsr.views.json.document_types import Verdict, documented, one_of

Scalar = str | int | float | bool | None


@documented
class ExplanationDocument(TypedDict):
    """What the loaded program would do with a packet."""

    service: str | None
    backend: str | None
    mac: str | None
    verdict: Verdict | None
    reason: str | None
    """As in `pydsr stats`; null if the program cannot be asked."""
    slot: int | None
    """Slot in the service's table; null if none was chosen."""
    vlan: str | None
    """VLAN of the outgoing frame."""
    interface: str | None
    """The egress interface."""


@documented
class FrameDocument(ExplanationDocument):
    """A captured frame and what the loaded program would do with it; one line per frame."""

    number: int
    """Position in the capture, from 1."""
    time: float | None
    """Seconds since the epoch."""
    flow: str
    """Its headers, as tcpdump prints them."""
    length: int
    """Original length in bytes."""
    note: str | None
    """Why the program cannot be asked about it."""


@documented
class PacketDocument(TypedDict):
    """A captured packet with its verdict; one line per packet."""

    time: float
    """Seconds since the epoch."""
    interface: str
    """The ingress interface."""
    flow: str
    """Its headers, as tcpdump prints them."""
    length: int
    """Length of the frame in bytes."""
    verdict: Verdict
    reason: str
    backend: str | None
    mac: str | None
    egress: str | None
    """The interface it was redirected to."""


# "from" cannot be a name in a class body. It is null for additions, "to" for removals.
ChangeDocument = TypedDict(
    "ChangeDocument", {"action": str, "object": str, "from": Scalar, "to": Scalar}
)


@documented
class PlanDocument(TypedDict):
    """The changes that a command made, or would make (`--plan`, `pydsr diff`)."""

    changes: list[ChangeDocument]
    """In the order in which they are made."""
    slots_moved: int
    """Slots that get another owner."""
    slots: int
    """Slots of the changed services."""
    flows_moved: int
    """Flow records that lose their backend."""
    notes: list[str]
    """Differences that are left alone."""


@documented
class EventDocument(TypedDict):
    """An event of the daemon; one line per event. Its details are further keys."""

    number: int
    """Counted from the start of the daemon."""
    time: str
    """ISO 8601, in UTC."""
    event: str
    """Kind of event."""
    object: str
    """What it happened to."""
    cause: str
    duration: float | None
    """Seconds."""


@documented
class FindingDocument(TypedDict):
    """A fault of a backend host."""

    level: Annotated[str, one_of("miss", "warning")]
    """A miss keeps the service from working; a warning needs a person's judgement."""
    subject: str
    """The VIP, interface or chain concerned."""
    what: str
    """What is wrong."""
    why: str
    """Why it matters."""
    commands: list[str]
    """Commands that fix it, in order."""


@documented
class RealserverCheckDocument(TypedDict):
    """Whether a host is set up as a backend."""

    vips: list[str]
    as_desired: bool
    """Whether there is no miss."""
    findings: list[FindingDocument]


@documented
class RealserverChangeDocument(TypedDict):
    """The commands that set up a backend host or undo that."""

    commands: list[str]
    """In order."""
    notes: list[str]
    """Remarks for the operator."""
    findings: list[FindingDocument]
    """What is still wrong after setup."""


@documented
class FileDocument(TypedDict):
    """A file of a backend host."""

    path: str
    """Where to put it."""
    text: str
    """Its content."""
    mode: int
    """Its permissions."""


@documented
class RealserverFilesDocument(TypedDict):
    """Files that keep a backend host set up across reboots."""

    files: list[FileDocument]


@documented
class DoctorFindingDocument(TypedDict):
    """Something that is wrong or could be better."""

    id: str
    """Kind of finding, as listed in docs/doctor.md."""
    severity: Annotated[str, one_of("error", "warning", "advice")]
    subject: str
    """The host, interface, VIP, service or backend concerned."""
    what: str
    """What is wrong."""
    why: str
    """Why it matters."""
    remedy: str
    """The command that fixes it, or other advice."""


@documented
class DoctorCheckDocument(TypedDict):
    """Something that is fine, or could not be examined."""

    subject: str
    """As for a finding."""
    text: str
    """The observation, or why there is none."""
    looked: bool
    """Whether it was examined."""


@documented
class DoctorDocument(TypedDict):
    """Findings about a host, its interfaces, VIPs and backends."""

    findings: list[DoctorFindingDocument]
    """Worst first."""
    checks: list[DoctorCheckDocument]
