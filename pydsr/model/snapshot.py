"""Counters of a balancer at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pydsr.model.service import Service


class Counters(NamedTuple):
    """Totals since a backend or service was created; bytes count whole Ethernet frames.

    ``new_flows`` counts TCP SYNs and is None where the protocol does not tell. A tuple, since a
    view makes thousands of them every second.
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
    """What a loaded program has cost since it was loaded, as far as the kernel timed it.

    Attributes:
        interfaces: names of those that it is on.
        seconds_total: of CPU time.
        runs_total: how many packets that was.
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
        interfaces: names of the attached interfaces with the mode of each.
        records: how many flow records each service id has; none at rest.
        pending: the same of flows of which no more than the SYN has come.
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
