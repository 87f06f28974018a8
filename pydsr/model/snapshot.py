"""Counters of a balancer at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pydsr.model.service import Service


class Counters(NamedTuple):
    """Totals since a backend or service was added; bytes count whole Ethernet frames.

    ``new_flows`` counts SYNs or INITs and is None for UDP, which does not mark new flows. A tuple,
    because live views make thousands of them every second.
    """

    packets: int = 0
    bytes: int = 0
    new_flows: int | None = 0

    def __add__(self, other: Counters) -> Counters:  # type: ignore[override]
        known = self.new_flows is not None and other.new_flows is not None
        return Counters(
            self.packets + other.packets,
            self.bytes + other.bytes,
            (self.new_flows or 0) + (other.new_flows or 0) if known else None,
        )


@dataclass(frozen=True)
class ProgramRun:
    """The CPU time of a program since it was loaded, while the kernel timed it.

    Attributes:
        interfaces: names of the interfaces that the program is attached to.
        seconds_total: CPU time.
        runs_total: packets handled in that time.
    """

    program_id: int
    interfaces: tuple[str, ...]
    seconds_total: float
    runs_total: int


@dataclass(frozen=True)
class Snapshot:
    """All counters at one moment.

    Attributes:
        time: monotonic seconds.
        services: every service with its backends.
        counters: totals by backend id.
        verdicts: packets by reason, in the order of ``xdp/reasons.h``.
        interfaces: names and modes of the attached interfaces.
        records: flow records by service id; a service at rest has none.
        pending: half-open flows among those.
        programs: the programs on those interfaces, by id.
        programs_timed: whether the kernel times programs (sysctl kernel.bpf_stats_enabled).
    """

    time: float
    services: tuple[Service, ...] = ()
    counters: dict[int, Counters] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    interfaces: tuple[tuple[str, str], ...] = ()
    records: dict[int, int] = field(default_factory=dict)
    pending: dict[int, int] = field(default_factory=dict)
    programs: tuple[ProgramRun, ...] = ()
    programs_timed: bool = False
