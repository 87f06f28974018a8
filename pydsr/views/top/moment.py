"""What the live view knows at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.errors import PydsrError
from pydsr.model.rates import History, Rates
from pydsr.model.service import Backend

Health = Mapping[tuple[str, str], Mapping[str, Any]]
"""What the daemon holds of the health of backends, by service and address."""

MacAges = Mapping[tuple[IPAddress, MacAddress], float]
"""Seconds since the kernel last heard a neighbour with its MAC."""


def health_by_backend(document: Mapping[str, Any]) -> Health:
    """Return the health of each backend out of what the daemon says, as JSON has it."""
    return {
        (service["service"], one["address"]): one
        for service in document.get("services", ())
        for one in service["backends"]
    }


@dataclass(frozen=True)
class Moment:
    """What is shown.

    Attributes:
        rates: of all services.
        history: earlier rates, for the sparklines.
        health: of backends; those without checks are not in it, without a daemon none is.
        mac_ages: of backends whose neighbour entry the kernel has.
        clock: the time of day.
        problem: why there are no newer rates.
    """

    rates: Rates
    history: History = field(default_factory=History)
    health: Health = field(default_factory=dict)
    mac_ages: MacAges = field(default_factory=dict)
    clock: str = ""
    problem: PydsrError | None = None

    def health_of(self, endpoint: Endpoint, backend: Backend) -> Mapping[str, Any] | None:
        """Return what is held of a backend's health; None where it has no checks."""
        if not self.health:
            return None
        return self.health.get((str(endpoint), str(backend.address)))

    def is_unhealthy(self, endpoint: Endpoint, backend: Backend) -> bool:
        """Return whether checks of a backend have failed."""
        held = self.health_of(endpoint, backend)
        return held is not None and held["healthy"] is False
