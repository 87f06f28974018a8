"""Change a service's table again and again while frames pass."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint32
from dataclasses import dataclass, replace

from bench.cores import undisturbed
from bench.wire_contestants import ENDPOINTS
from pydsr.hashing.table import Table, following_table
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.service import BackendState

SWITCHES_PER_SECOND = 100
_DAY_NANOSECONDS = 86400 * 1_000_000_000


@dataclass
class Count:
    """What was switched in a block that has ended."""

    switches: int = 0
    seconds: float = 0.0


class Switcher:
    """Two tables of the IPv4 service, each as a change from the other leaves it.

    Both are written as a change writes them. A switch is the last step of it, the map update that
    packets see; planning a table of 65,537 slots takes longer than the time between switches.

    Args:
        state: of the balancer, which has the service.
    """

    def __init__(self, state: LiveState) -> None:
        self._state = state
        service = state.services.get(ENDPOINTS[0])
        table = state.tables.read(service.id) if service else None
        if service is None or table is None:
            raise LookupError(f"there is no service {ENDPOINTS[0]}")
        self._service_id = c_uint32(service.id)
        self.rest = table
        one, two = _alternatives(table)
        self._tables = [self._write(each) for each in (one, two)]
        self.slots_changing = one.tracked_slots

    def _write(self, table: Table) -> Descriptor:
        """Write a table, and return the map that it is in."""
        self._state.tables.write(self._service_id.value, table)
        inner = c_uint32()
        libbpf.map_lookup(self._state.pins["tables"], self._service_id, inner)
        return libbpf.map_by_id(inner.value)

    @contextmanager
    def switching(self, cpus: set[int], per_second: int) -> Iterator[Count]:
        """Switch between them for the length of the block, on other CPUs than the load's.

        Each table has a thread that puts it in place, since the map update returns only after a
        grace period of RCU, which under load is longer than the time between two switches.
        """
        began, ended = time.monotonic(), threading.Event()
        period = len(self._tables) / per_second
        switches = [0] * len(self._tables)

        def switch(number: int) -> None:
            os.sched_setaffinity(0, cpus)
            table = c_uint32(self._tables[number].number)
            due = began + number / per_second
            # On time, whatever else this machine does.
            with undisturbed():
                while not ended.wait(max(0.0, due - time.monotonic())):
                    libbpf.map_update(self._state.pins["tables"], self._service_id, table)
                    switches[number] += 1
                    due += period

        threads = [threading.Thread(target=switch, args=[n]) for n in range(len(self._tables))]
        for thread in threads:
            thread.start()
        count = Count()
        try:
            yield count
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            count.switches, count.seconds = sum(switches), time.monotonic() - began

    def put_to_rest(self) -> None:
        """Have the table of before again."""
        self._state.tables.write(self._service_id.value, self.rest)


def _alternatives(table: Table) -> tuple[Table, Table]:
    """Return the tables with the last backend drained, and with it back: each learns flows."""
    now = time.monotonic_ns()
    last = replace(table.members[-1], state=BackendState.DRAIN)
    drained = following_table(table, (*table.members[:-1], last), now, _DAY_NANOSECONDS)
    return drained, following_table(drained, table.members, now, _DAY_NANOSECONDS)
