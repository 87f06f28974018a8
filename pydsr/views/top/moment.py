"""The data of the live view at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress
from pydsr.model.errors import PydsrError
from pydsr.model.rates import History, Rates
from pydsr.model.service import Backend

if TYPE_CHECKING:
    from pydsr.views.json.document_types import BackendHealthDocument, HealthDocument

Health = Mapping[tuple[str, str], "BackendHealthDocument"]
"""The daemon's health documents of backends, by service and address."""

MacAges = Mapping[tuple[IPAddress, MacAddress], float]
"""Seconds since the kernel last confirmed a neighbour's MAC."""


def health_by_backend(document: HealthDocument) -> Health:
    """Return the health document of each backend from the daemon's document."""
    return {
        (service["service"], backend["address"]): backend
        for service in document["services"]
        for backend in service["backends"]
    }


@dataclass(frozen=True)
class Moment:
    """The data to show.

    Attributes:
        history: earlier rates, for sparklines.
        health: of backends with checks; empty without a daemon.
        mac_ages: of backends with a neighbour entry.
        clock: the time of day.
        problem: why the rates are not current, or None.
    """

    rates: Rates
    history: History = field(default_factory=History)
    health: Health = field(default_factory=dict)
    mac_ages: MacAges = field(default_factory=dict)
    clock: str = ""
    problem: PydsrError | None = None

    def health_of(self, endpoint: Endpoint, backend: Backend) -> BackendHealthDocument | None:
        """Return the health document of a backend; None if it has no checks."""
        if not self.health:
            return None
        return self.health.get((str(endpoint), str(backend.address)))

    def is_unhealthy(self, endpoint: Endpoint, backend: Backend) -> bool:
        """Return whether a backend is unhealthy by its checks."""
        health = self.health_of(endpoint, backend)
        return health is not None and health["healthy"] is False
