"""Recorded flows are counted by service, backend and age."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import cast

from pydsr.control.snapshot import count_recorded
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.addresses import Endpoint
from pydsr.model.flow_records import FlowRecord
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Service

SECOND = 1_000_000_000


def record(service: int, backend: int, silent: float = 0) -> FlowRecord:
    """Return the record of a flow that was silent for some seconds."""
    last_seen = time.monotonic_ns() - round(silent * SECOND)
    return FlowRecord(b"", service, 0, backend, last_seen, closing=False)


def test_recorded_flows_are_counted_by_service_backend_and_age() -> None:
    records = [record(1, 1), record(1, 2), record(1, 3), record(1, 3, silent=11), record(2, 3)]
    store = SimpleNamespace(all=lambda: iter(records))
    state = cast(LiveState, SimpleNamespace(flow_records=store))
    options = ServiceOptions(learn=10)
    service = Service(1, Endpoint.parse("198.51.100.10:80"), options)
    assert count_recorded(state, [service], {1, 3}) == 2
