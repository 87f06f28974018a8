"""Flow records: the backends of flows whose slots are changing. Pure.

A half-open flow, of which only the SYN was seen, becomes a record with its next packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CLOSING_SECONDS = 60
"""How long a flow may continue after its client sent FIN or RST.

The Linux default of tcp_fin_timeout: by then one end has dropped the connection.
"""

HANDSHAKE_SECONDS = 60
"""How long a half-open flow may still be confirmed.

Linux repeats its SYN-ACK for 63 seconds (tcp_synack_retries, five times, doubling from one).
"""

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class FlowRecord:
    """The record of one flow.

    Attributes:
        key: the flow's key in the map, as bytes.
        service: id of its service.
        slot: the slot it hashes to.
        backend: id of the backend it stays on.
        last_seen: nanoseconds of CLOCK_MONOTONIC.
        closing: its client has sent FIN or RST.
    """

    key: bytes
    service: int
    slot: int
    backend: int
    last_seen: int
    closing: bool

    def is_live(self, now: int, idle_seconds: int) -> bool:
        """Return whether the flow may still send.

        Args:
            now: nanoseconds of CLOCK_MONOTONIC.
            idle_seconds: the longest silence expected of a flow of its service.
        """
        if self.closing:
            idle_seconds = min(idle_seconds, CLOSING_SECONDS)
        return now - self.last_seen < idle_seconds * _NANOSECONDS


def backends_by_slot(records: Iterable[FlowRecord]) -> dict[int, set[int]]:
    """Return the backends that the records of each slot name."""
    backends: dict[int, set[int]] = {}
    for record in records:
        backends.setdefault(record.slot, set()).add(record.backend)
    return backends
