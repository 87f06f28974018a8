"""The counters that the program keeps: of backends, and of reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.percpu import PerCpuArray
from pydsr.model.service import Service
from pydsr.model.snapshot import Counters


class CounterStore:
    """The maps ``counters``, by backend id, and ``verdicts``, by the number of a reason."""

    def __init__(self, counters: Descriptor, verdicts: Descriptor) -> None:
        self._counters = PerCpuArray(counters, 3)
        self._verdicts = PerCpuArray(verdicts, 1)

    def of_services(self, services: Iterable[Service]) -> dict[int, Counters]:
        """Return the totals of every backend of some services, by backend id."""
        services = tuple(services)
        ids = [backend.id for service in services for backend in service.backends]
        totals = self._counters.read_many(ids)
        counters = dict(zip(totals, map(Counters._make, totals.values()), strict=True))
        for service in services:
            if not service.endpoint.protocol.tells_new_flows:
                for backend in service.backends:
                    counters[backend.id] = counters[backend.id]._replace(new_flows=None)
        return counters

    def verdicts(self, number: int) -> list[int]:
        """Return the packets of each of the first ``number`` reasons."""
        totals = self._verdicts.read_many(range(number))
        return [totals[reason][0] for reason in range(number)]

    def zero(self, backend_ids: Sequence[int]) -> None:
        """Set the counters of backends to zero."""
        self._counters.zero(backend_ids)
