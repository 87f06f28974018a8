"""The types of the JSON documents about the balancer's state and traffic.

The JSON Schemas and docs/json.md are made from these types. A key's docstring is its description.
Keys are a contract with scripts: they may be added, but never renamed or removed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict

from pydsr.model.options import OPTIONS, Option

documented = with_config(ConfigDict(use_attribute_docstrings=True))


def one_of(*words: str) -> WithJsonSchema:
    """Return the schema of a string that is one of some words."""
    return WithJsonSchema({"enum": list(words), "type": "string"})


Verdict = Annotated[str, one_of("tx", "redirect", "pass", "drop")]
State = Annotated[str, one_of("up", "drain", "down")]


@documented
class InterfaceDocument(TypedDict):
    """An attached interface."""

    name: str
    mode: Annotated[str, one_of("native", "generic")]
    program_id: int
    """The kernel's ID of the XDP program."""


@documented
class StatusDocument(TypedDict):
    """The attached interfaces and the size of the live state."""

    interfaces: list[InterfaceDocument]
    services: int
    """Number of services."""
    backends: int
    """Number of backends in all services."""
    layout_version: int
    """Layout version of the pinned maps."""
    features: list[str]
    """Features compiled into the program."""
    unused_features: list[str]
    """Compiled features that nothing uses now."""
    refused_features: list[str]
    """Features left out by `attach --without`."""


def _option_type(option: Option) -> Any:
    """Return the type of an option in JSON, where a zero without meaning as a number is null."""
    kind: Any = option.type
    if issubclass(option.type, StrEnum):
        kind = Annotated[str, one_of(*option.type)]
    elif option.zero_means:
        kind = int | None
    return Annotated[kind, Field(description=option.describe(zero="Null"))]


if TYPE_CHECKING:
    ServiceDocument = dict[str, Any]
else:
    ServiceDocument = TypedDict(
        "ServiceDocument",
        {
            "service": Annotated[
                str,
                Field(
                    description="ADDR:PORT/PROTOCOL; PORT is * for every port without a service "
                    "of its own."
                ),
            ],
            **{option.name: _option_type(option) for option in OPTIONS},
            "backends": Annotated[int, Field(description="Number of backends.")],
            "table_size": Annotated[int, Field(description="Number of slots in its table.")],
        },
    )
    ServiceDocument.__doc__ = "A service with its options; those that were not given have defaults."


@documented
class BackendDocument(TypedDict):
    """A backend of a service."""

    address: str
    mac: str | None
    mac_by_hand: bool
    """Whether the MAC is fixed rather than resolved by ARP or ND."""
    vlan: str | None
    """VLAN of its frames; 100.200 for QinQ."""
    weight: int
    state: State
    interface: str | None
    """The interface that leads to it."""
    share: float
    """Share of the service's slots, 0 to 1."""


@documented
class BackendsDocument(TypedDict):
    """A service with its backends."""

    service: str
    name: str
    backends: list[BackendDocument]


@documented
class CountersDocument(TypedDict):
    """Counters since the backends were added."""

    packets: int
    bytes: int
    new_flows: int | None
    """TCP SYNs or SCTP INITs; null for UDP."""


@documented
class BackendStatsDocument(CountersDocument):
    """Counters of a backend."""

    address: str


@documented
class ServiceStatsDocument(CountersDocument):
    """Counters of a service: the sum of its backends'."""

    service: str
    name: str
    slots_changing: int
    """Slots that are not at rest."""
    records: int
    """Flow records, kept while slots change."""
    backends: list[BackendStatsDocument]


@documented
class StatsDocument(TypedDict):
    """A snapshot of all counters."""

    time: float
    """Seconds of a monotonic clock, for rates between two documents."""
    services: list[ServiceStatsDocument]
    verdicts: dict[str, int]
    """Packets by reason."""


@documented
class ReasonDocument(TypedDict):
    """A reason for a verdict."""

    reason: str
    verdict: Verdict
    text: str
    """What it means."""


@documented
class RuleDocument(TypedDict):
    """A source rule."""

    source: str
    """A network."""
    action: Annotated[str, one_of("allow", "deny")]


@documented
class ScopeDocument(TypedDict):
    """The source rules of one scope, sorted by source."""

    scope: str
    """A service, or `all`."""
    rules: list[RuleDocument]


@documented
class VipDocument(TypedDict):
    """A virtual IP."""

    vip: str
    unserved: Annotated[str, one_of("count", "drop", "pass")]
    """What happens to packets for ports without a service."""
    services: list[str]


@documented
class FailureDocument(TypedDict):
    """A failing check."""

    check: str
    """Type of the check."""
    outcome: str
    message: str
    """What is wrong."""
    hint: str
    """What to do about it; may be empty."""


@documented
class BackendHealthDocument(TypedDict):
    """The health of a backend."""

    address: str
    healthy: bool | None
    """Null for a sorry backend, which is not checked."""
    seconds: float | None
    """Seconds since its health last changed."""
    state: State
    weight: int
    configured_weight: int
    held: bool
    """Whether it stays in service although it fails."""
    certificate_ends: float | None
    """When the first of its certificates expires, in seconds since the epoch."""
    failures: list[FailureDocument]


@documented
class ServiceHealthDocument(TypedDict):
    """The health of a service's backends."""

    service: str
    backends: list[BackendHealthDocument]


@documented
class HealthDocument(TypedDict):
    """The results of the daemon's health checks."""

    services: list[ServiceHealthDocument]


@documented
class RateDocument(TypedDict):
    """Traffic per second."""

    packets: float
    bits: float
    new_flows: float | None
    """Null for UDP."""


@documented
class BackendRateDocument(RateDocument):
    """Traffic and state of a backend."""

    address: str
    state: State
    weight: int
    """The weight in force, which health checks may have lowered."""
    mac: str | None
    mac_by_hand: bool
    mac_confirmed: float | None
    """Seconds since the kernel last confirmed that MAC; null if the kernel does not track it."""
    share: float | None
    """Share of its service's packets, 0 to 1; null while there are none."""
    weight_share: float
    """Share that its weight asks for, 0 to 1."""
    slot_share: float
    """Share of its service's slots, 0 to 1."""
    total: CountersDocument
    health: BackendHealthDocument | None
    """Null without checks, or if no daemon answers."""


@documented
class ServiceRateDocument(RateDocument):
    """Traffic and state of a service."""

    service: str
    name: str
    imbalance: float | None
    """Largest deviation of a backend from its weight: 0.2 is a fifth more, -0.2 a fifth less."""
    slots: int
    slots_changing: int
    """Slots that are not at rest."""
    records: int
    """Flow records, kept while slots change."""
    backends: list[BackendRateDocument]


@documented
class VerdictRateDocument(TypedDict):
    """Packets of one reason."""

    packets: float
    """Per second."""
    total: int


@documented
class ModeDocument(TypedDict):
    """An attached interface."""

    name: str
    mode: str


@documented
class ProgramRateDocument(TypedDict):
    """CPU use of an XDP program."""

    program_id: int
    interfaces: list[str]
    nanoseconds: float | None
    """Per packet; null if the kernel timed none."""
    processor: float
    """CPUs used: 1 is all of one CPU."""


@documented
class TopDocument(RateDocument):
    """The rates over one interval, in total and for each service."""

    time: float
    """Seconds of a monotonic clock."""
    interfaces: list[ModeDocument]
    services: list[ServiceRateDocument]
    verdicts: dict[str, VerdictRateDocument]
    """By reason."""
    programs: list[ProgramRateDocument]
    programs_timed: bool
    """Whether the kernel times programs (sysctl kernel.bpf_stats_enabled)."""
