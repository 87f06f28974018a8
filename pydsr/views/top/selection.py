"""Select and sort the services and backends that the live view shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydsr.model.addresses import Endpoint
from pydsr.model.rates import BackendRate, Rate, ServiceRate
from pydsr.model.service import BackendState
from pydsr.views.top.choices import Sort
from pydsr.views.top.moment import Moment

_RATES: Mapping[Sort, Callable[[Rate], float]] = {
    Sort.PACKETS: lambda rate: rate.packets,
    Sort.BITS: lambda rate: rate.bits,
    Sort.FLOWS: lambda rate: rate.new_flows or 0.0,
}
_STATE_TROUBLE = {BackendState.UP: 0, BackendState.DRAIN: 1, BackendState.DOWN: 2}


@dataclass(frozen=True)
class Selected:
    """A service with the backends to show, in no order.

    Attributes:
        matching: the backends that match a filter; None for all.
    """

    service: ServiceRate
    matching: Sequence[BackendRate] | None = None

    @property
    def backends(self) -> Sequence[BackendRate]:
        """The backends to show, whose rates are computed at the first access."""
        return self.service.backends if self.matching is None else self.matching

    @property
    def number(self) -> int:
        """The number of backends to show."""
        return len(self.service.totals if self.matching is None else self.matching)

    @property
    def endpoint(self) -> Endpoint:
        """The service's endpoint."""
        return self.service.service.endpoint


def select(moment: Moment, words: str = "", sort: Sort = Sort.NAME) -> list[Selected]:
    """Return the services and backends that match all words, in order.

    A word matches a part of the service's endpoint or name, or of the backend's address, MAC, state
    or health. A service that matches all words itself is shown with all its backends.
    """
    wanted = words.casefold().split()
    matches = [_matching(moment, service, wanted) for service in moment.rates.services]
    # Equal services stay sorted by name, so that rows do not jump.
    by_name = sorted((each for each in matches if each is not None), key=lambda each: each.endpoint)
    size = _service_size(moment, sort)
    return by_name if size is None else sorted(by_name, key=size, reverse=True)


def _matching(moment: Moment, service: ServiceRate, wanted: Sequence[str]) -> Selected | None:
    if not wanted:
        return Selected(service)
    endpoint = service.service.endpoint
    text = f"{endpoint} {service.service.options.name}".casefold()
    left = [word for word in wanted if word not in text]
    if not left:
        return Selected(service)
    backends = [
        each
        for each in service.backends
        if all(word in _backend_text(moment, endpoint, each) for word in left)
    ]
    return Selected(service, backends) if backends else None


def _backend_text(moment: Moment, endpoint: Endpoint, each: BackendRate) -> str:
    backend = each.backend
    health = "unhealthy" if moment.is_unhealthy(endpoint, backend) else ""
    mac = "no mac" if backend.mac is None else str(backend.mac)
    return f"{backend.address} {backend.state} {mac} {health}"


def in_order(moment: Moment, selected: Selected, sort: Sort) -> list[BackendRate]:
    """Return the backends to show in order."""
    by_name = sorted(
        selected.backends,
        key=lambda each: (each.backend.address.version, int(each.backend.address)),
    )
    size = _backend_size(moment, selected.endpoint, sort)
    return by_name if size is None else sorted(by_name, key=size, reverse=True)


def _service_size(moment: Moment, sort: Sort) -> Callable[[Selected], float] | None:
    if sort is Sort.IMBALANCE:
        return lambda each: abs(each.service.imbalance or 0.0)
    if sort is Sort.TROUBLE:
        return lambda each: _service_trouble(moment, each)
    rate = _RATES.get(sort)
    return None if rate is None else lambda each: rate(each.service.rate)


def _backend_size(
    moment: Moment, endpoint: Endpoint, sort: Sort
) -> Callable[[BackendRate], float] | None:
    if sort is Sort.SHARE:
        return lambda each: each.share or 0.0
    if sort is Sort.IMBALANCE:
        return lambda each: abs(each.deviation or 0.0)
    if sort is Sort.TROUBLE:
        return lambda each: _trouble(moment, endpoint, each)
    rate = _RATES.get(sort)
    return None if rate is None else lambda each: rate(each.rate)


def _service_trouble(moment: Moment, selected: Selected) -> float:
    """Return the mean trouble of a service's backends, and 10 more if none takes new flows."""
    backends = selected.service.backends
    troubles = [_trouble(moment, selected.endpoint, each) for each in backends]
    return sum(troubles) / max(1, len(troubles)) + (10 if all(troubles) else 0)


def _trouble(moment: Moment, endpoint: Endpoint, each: BackendRate) -> int:
    if each.backend.mac is None or moment.is_unhealthy(endpoint, each.backend):
        return 2
    return _STATE_TROUBLE[each.backend.state]
