"""Keep the rates of the last minutes for plots. Pure.

They are stored as one array for each moment, so that two thousand backends take a megabyte.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

from pydsr.model.addresses import Endpoint
from pydsr.model.rates import Rates
from pydsr.views.json.documents import Document

HISTORY_SECONDS = 300.0
"""The time that plots show."""

_Names = tuple[tuple[str, ...], ...]
"""Each service, followed by its backends."""


class History:
    """Packets per second of every service and backend, oldest first."""

    def __init__(self, seconds: float = HISTORY_SECONDS) -> None:
        self._seconds = seconds
        self._moments: deque[tuple[float, _Names, array[float]]] = deque()

    def record(self, rates: Rates) -> None:
        """Append rates and drop old ones."""
        now = rates.snapshot.time
        names: _Names = tuple(
            (str(rated.service.endpoint), *(str(each.backend.address) for each in rated.backends))
            for rated in rates.services
        )
        if self._moments and self._moments[-1][1] == names:
            # Moments share the same tuple, as backends seldom change.
            names = self._moments[-1][1]
        values = array("f")
        for rated in rates.services:
            values.append(rated.rate.packets)
            values.extend(each.rate.packets for each in rated.backends)
        self._moments.append((now, names, values))
        while self._moments[0][0] < now - self._seconds:
            self._moments.popleft()

    def services(self) -> Document:
        """Return ``{"times", "services": {SERVICE: [packets per second]}}``.

        Times are of the balancer's monotonic clock. Each has one number for each service; null if
        the service did not exist.
        """
        present = [group[0] for group in self._moments[-1][1]] if self._moments else []
        columns = [
            dict(zip((group[0] for group in names), _first_of_each(names, values), strict=True))
            for _, names, values in self._moments
        ]
        return {
            "times": self._times(),
            "services": {
                service: [_rounded(column.get(service)) for column in columns]
                for service in present
            },
        }

    def backends(self, endpoint: Endpoint) -> Document:
        """Return ``{"times", "service", "backends": {ADDRESS: [packets per second]}}``.

        An unknown service has no backends.
        """
        service = str(endpoint)
        columns = [_column(service, names, values) for _, names, values in self._moments]
        present = [*columns[-1]] if columns else []
        return {
            "times": self._times(),
            "service": service,
            "backends": {
                address: [_rounded(column.get(address)) for column in columns]
                for address in present
            },
        }

    def _times(self) -> list[float]:
        return [round(time, 3) for time, _, _ in self._moments]


def _first_of_each(names: _Names, values: Sequence[float]) -> list[float]:
    firsts, position = [], 0
    for group in names:
        firsts.append(values[position])
        position += len(group)
    return firsts


def _column(service: str, names: _Names, values: Sequence[float]) -> dict[str, float]:
    position = 0
    for group in names:
        if group[0] == service:
            return dict(zip(group[1:], values[position + 1 : position + len(group)], strict=True))
        position += len(group)
    return {}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
