"""The shape of the document that ``top --json`` prints (see ``document_types``)."""

from __future__ import annotations

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from pydsr.views.json.document_types import BackendHealthDocument, CountersDocument, State

_shape = with_config(ConfigDict(use_attribute_docstrings=True))


@_shape
class RateDocument(TypedDict):
    """Traffic per second."""

    packets: float
    bits: float
    new_flows: float | None
    """Null where a protocol does not tell."""


@_shape
class BackendRateDocument(RateDocument):
    """What a backend gets, and what is known of it."""

    address: str
    state: State
    weight: int
    """In force: health may have lowered it."""
    mac: str | None
    mac_by_hand: bool
    mac_confirmed: float | None
    """Seconds since the kernel last heard from that MAC; null where it does not ask."""
    share: float | None
    """Of its service's packets, 0 to 1; null while there are none."""
    weight_share: float
    """What its weight asks for, 0 to 1."""
    slot_share: float
    """Of its service's slots, 0 to 1."""
    total: CountersDocument
    health: BackendHealthDocument | None
    """Null without checks, or where no daemon answers."""


@_shape
class ServiceRateDocument(RateDocument):
    """What a service gets."""

    service: str
    name: str
    imbalance: float | None
    """How far the furthest backend is from its weight: 0.2 is a fifth more, -0.2 a fifth less."""
    slots: int
    slots_changing: int
    """Slots that are not at rest."""
    records: int
    """Flows that are recorded, while slots change."""
    backends: list[BackendRateDocument]


@_shape
class VerdictRateDocument(TypedDict):
    """How often packets leave for a reason."""

    packets: float
    """Per second."""
    total: int


@_shape
class ModeDocument(TypedDict):
    """An interface that the balancer is on."""

    name: str
    mode: str


@_shape
class ProgramRateDocument(TypedDict):
    """What an XDP program costs."""

    program_id: int
    interfaces: list[str]
    nanoseconds: float | None
    """Of a packet; null where the kernel timed none."""
    processor: float
    """Of one CPU, 1 for all of it."""


@_shape
class TopDocument(RateDocument):
    """The rates of one interval, for all services together and for each."""

    time: float
    """Seconds of a monotonic clock."""
    interfaces: list[ModeDocument]
    services: list[ServiceRateDocument]
    verdicts: dict[str, VerdictRateDocument]
    """By the reason that packets leave for."""
    programs: list[ProgramRateDocument]
    programs_timed: bool
    """Whether the kernel times programs (sysctl kernel.bpf_stats_enabled)."""
