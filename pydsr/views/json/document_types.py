"""The shapes of the documents that ``--json`` prints: their JSON Schemas are made from these.

What is said of a key is its description in the schema and in the documentation. Keys may be added;
those that are here stay.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, WithJsonSchema, with_config
from typing_extensions import TypedDict

_shape = with_config(ConfigDict(use_attribute_docstrings=True))


def _one_of(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"enum": list(words), "type": "string"})


Verdict = Annotated[str, _one_of("tx", "redirect", "pass", "drop")]
State = Annotated[str, _one_of("up", "drain", "down")]
Scalar = str | int | float | bool | None


@_shape
class InterfaceDocument(TypedDict):
    """An interface that the balancer is on."""

    name: str
    mode: Annotated[str, _one_of("native", "generic")]
    program_id: int
    """The kernel's id of the XDP program."""


@_shape
class StatusDocument(TypedDict):
    """Where the balancer is, and what it has."""

    interfaces: list[InterfaceDocument]
    services: int
    """How many there are."""
    backends: int
    """How many there are in all services."""
    layout_version: int
    """Of the pinned maps."""
    features: list[str]
    """Parts that are compiled into the program."""
    unused_features: list[str]
    """Those of them that nothing uses now."""
    refused_features: list[str]
    """Parts that attach was told to leave out."""


@_shape
class ServiceDocument(TypedDict):
    """A service with its options."""

    service: str
    """ADDR:PORT/PROTOCOL; PORT * is every port without a service."""
    name: str
    affinity: Annotated[str, _one_of("flow", "source", "destination")]
    netmask4: int
    netmask6: int
    one_packet: bool
    learn: int
    """Seconds that flows are learnt after a change."""
    arp: bool
    """Whether ARP and ND for its VIP are answered."""
    max_new_flows: int | None
    """New flows a second of one source network; null is no limit."""
    guard_netmask4: int
    guard_netmask6: int
    backends: int
    """How many it has."""
    table_size: int
    """Slots of its table."""


@_shape
class BackendDocument(TypedDict):
    """A backend of a service."""

    address: str
    mac: str | None
    mac_by_hand: bool
    """Whether the MAC was given, and not found by ARP or ND."""
    vlan: str | None
    """Of its frames; 100.200 for QinQ."""
    weight: int
    state: State
    interface: str | None
    """The one it is behind."""
    share: float
    """The part of the service's slots it owns, 0 to 1."""


@_shape
class BackendsDocument(TypedDict):
    """A service with its backends."""

    service: str
    name: str
    backends: list[BackendDocument]


@_shape
class CountersDocument(TypedDict):
    """Counters since the backends were added."""

    packets: int
    bytes: int
    new_flows: int | None
    """SYNs of TCP, INITs of SCTP; null where a protocol does not tell."""


@_shape
class BackendStatsDocument(CountersDocument):
    """Counters of a backend."""

    address: str


@_shape
class ServiceStatsDocument(CountersDocument):
    """Counters of a service, the sum of its backends'."""

    service: str
    name: str
    slots_changing: int
    """Slots that are not at rest."""
    records: int
    """Flows that are recorded, while slots change."""
    backends: list[BackendStatsDocument]


@_shape
class StatsDocument(TypedDict):
    """Counters, of this moment."""

    time: float
    """Seconds of a monotonic clock, for rates of two documents."""
    services: list[ServiceStatsDocument]
    verdicts: dict[str, int]
    """Packets by the reason they left for."""


@_shape
class ReasonDocument(TypedDict):
    """A way out of the program."""

    reason: str
    verdict: Verdict
    text: str
    """What it means."""


@_shape
class RuleDocument(TypedDict):
    """A source rule."""

    source: str
    """A network."""
    action: Annotated[str, _one_of("allow", "deny")]


@_shape
class ScopeDocument(TypedDict):
    """The rules of a scope, in the order of their sources."""

    scope: str
    """A service, or all."""
    rules: list[RuleDocument]


@_shape
class VipDocument(TypedDict):
    """A virtual IP."""

    vip: str
    unserved: Annotated[str, _one_of("count", "drop", "pass")]
    """What becomes of ports without a service."""
    services: list[str]


@_shape
class ExplanationDocument(TypedDict):
    """What the loaded program would do with a packet."""

    service: str | None
    backend: str | None
    mac: str | None
    verdict: Verdict | None
    reason: str | None
    """As in pydsr stats; null where the program cannot be asked."""
    slot: int | None
    """Of the service's table; null where none was chosen."""
    vlan: str | None
    """Of the frame that leaves."""
    interface: str | None
    """The one it would leave by."""


@_shape
class FrameDocument(ExplanationDocument):
    """A frame with what the loaded program would do with it; one line for each of a capture."""

    number: int
    """In the capture, from 1 on."""
    time: float | None
    """Seconds since the epoch."""
    flow: str
    """Its headers in the manner of tcpdump."""
    length: int
    """Bytes that it had."""
    note: str | None
    """Why the program cannot be asked about it."""


@_shape
class PacketDocument(TypedDict):
    """A packet that was tapped, with what became of it; one line each."""

    time: float
    """Seconds since the epoch."""
    interface: str
    """The one it came in by."""
    flow: str
    """Its headers in the manner of tcpdump."""
    length: int
    """Bytes of its frame."""
    verdict: Verdict
    reason: str
    backend: str | None
    mac: str | None
    egress: str | None
    """The interface it was redirected to."""


# Its keys are no names that a class could have; "from" is null for what is new, "to" for what goes.
ChangeDocument = TypedDict(
    "ChangeDocument", {"action": str, "object": str, "from": Scalar, "to": Scalar}
)


@_shape
class PlanDocument(TypedDict):
    """What a command changes, or with --plan would change; and pydsr diff."""

    changes: list[ChangeDocument]
    """In the order in which they are made."""
    slots_moved: int
    """Slots that get another owner."""
    slots: int
    """Slots of the services concerned."""
    flows_moved: int
    """Recorded flows that lose their backend."""
    notes: list[str]
    """What differs and is left alone."""


@_shape
class FailureDocument(TypedDict):
    """A check that fails."""

    check: str
    """Its type."""
    outcome: str
    message: str
    """What is wrong."""
    hint: str
    """What to do about it; empty where there is nothing to add."""


@_shape
class BackendHealthDocument(TypedDict):
    """The health of a backend."""

    address: str
    healthy: bool | None
    """Null for a sorry backend."""
    seconds: float | None
    """For how long it has been so."""
    state: State
    weight: int
    configured_weight: int
    held: bool
    """Whether it is in service although it fails."""
    certificate_ends: float | None
    """When the first of its certificates ends, in seconds since the epoch."""
    failures: list[FailureDocument]


@_shape
class ServiceHealthDocument(TypedDict):
    """The health of a service's backends."""

    service: str
    backends: list[BackendHealthDocument]


@_shape
class HealthDocument(TypedDict):
    """What the daemon's checks hold of backends."""

    services: list[ServiceHealthDocument]


@_shape
class EventDocument(TypedDict):
    """Something that happened to the daemon; one line each. Its details are keys of their own."""

    number: int
    """Counted from the start of the daemon."""
    time: str
    """ISO 8601, in UTC."""
    event: str
    """Its kind."""
    object: str
    """What it happened to."""
    cause: str
    duration: float | None
    """Seconds."""


@_shape
class FindingDocument(TypedDict):
    """Something on a backend that is not as it has to be."""

    level: Annotated[str, _one_of("miss", "warning")]
    """A miss keeps the service from working; a warning is for a person to judge."""
    subject: str
    """The VIP, interface or chain that it is about."""
    what: str
    """What is the case."""
    why: str
    """Why that matters."""
    commands: list[str]
    """Those that mend it, in their order."""


@_shape
class RealserverCheckDocument(TypedDict):
    """Whether a host is what a backend has to be."""

    vips: list[str]
    as_desired: bool
    """Whether there is no miss."""
    findings: list[FindingDocument]


@_shape
class RealserverChangeDocument(TypedDict):
    """What a host's setup or undo does, or would do."""

    commands: list[str]
    """In their order."""
    notes: list[str]
    """What a person should know."""
    findings: list[FindingDocument]
    """What is not as it has to be after setup."""


@_shape
class FileDocument(TypedDict):
    """A file of a backend."""

    path: str
    """Where it belongs."""
    text: str
    """What is in it."""
    mode: int
    """Its permissions."""


@_shape
class RealserverFilesDocument(TypedDict):
    """Files that keep a host set up over reboots."""

    files: list[FileDocument]


@_shape
class DoctorFindingDocument(TypedDict):
    """Something that is wrong, or could be better."""

    id: str
    """Its kind: a name of the table in docs/doctor.md."""
    severity: Annotated[str, _one_of("error", "warning", "advice")]
    subject: str
    """The host, interface, VIP, service or backend that it is about."""
    what: str
    """What is wrong."""
    why: str
    """Why that matters."""
    remedy: str
    """The command that mends it, or what else does."""


@_shape
class DoctorCheckDocument(TypedDict):
    """Something that is well, or could not be looked at."""

    subject: str
    """As of a finding."""
    text: str
    """What was seen, or why nothing was."""
    looked: bool
    """Whether it was looked at."""


@_shape
class DoctorDocument(TypedDict):
    """What is wrong with a host, its interfaces, VIPs and backends."""

    findings: list[DoctorFindingDocument]
    """The worst first."""
    checks: list[DoctorCheckDocument]
