"""What views are tested with: a balancer's traffic, and what a terminal would show of it."""

from __future__ import annotations

import dataclasses
import io
import ipaddress
from typing import Any

from rich.console import Console, RenderableType

from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.options import ServiceOptions
from pydsr.model.rates import History, Rates, rates_between
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters, Snapshot
from pydsr.views.json.document_types import (
    BackendHealthDocument,
    FailureDocument,
    HealthDocument,
)
from pydsr.views.text.lines import Lines
from pydsr.views.top.choices import Choices
from pydsr.views.top.frame import frame
from pydsr.views.top.moment import Moment, health_by_backend

LONGEST_V6 = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
MAC = MacAddress.parse("02:00:00:00:00:01")
INTERFACES = (("eth0", "native"), ("eth1", "generic"))


def backend(id_: int, address: str = "", **values: Any) -> Backend:
    """Make a backend whose address follows from its id where none is given."""
    place = ipaddress.ip_address(address or f"10.0.{id_ // 256}.{id_ % 256}")
    usual = Backend(id_, place, 1, MAC, False, BackendState.UP, ifindex=3)
    return dataclasses.replace(usual, **values)


def service(endpoint: str, *backends: Backend, name: str = "", **values: Any) -> Service:
    """Make a service of some backends."""
    usual = Service(1, Endpoint.parse(endpoint), ServiceOptions(name=name), backends, 65537)
    return dataclasses.replace(usual, **values)


def rates_of(
    *services: Service,
    per_second: dict[int, Counters] | None = None,
    verdicts: dict[str, int] | None = None,
    **values: Any,
) -> Rates:
    """Return the rates of counters that were zero one second ago."""
    ids = [each.id for every in services for each in every.backends]
    zero = Snapshot(
        1.0, services, {id_: Counters() for id_ in ids}, dict.fromkeys(verdicts or {}, 0)
    )
    now = Snapshot(2.0, services, per_second or {}, verdicts or {}, INTERFACES)
    return rates_between(zero, dataclasses.replace(now, **values))


def busy_web() -> Rates:
    """Return the rates of a service whose third backend is draining."""
    web = service(
        "198.51.100.10:80",
        backend(1, weight=1),
        backend(2, weight=3),
        backend(3, state=BackendState.DRAIN),
        name="web",
    )
    return rates_of(
        web,
        per_second={
            1: Counters(1200, 900_000, 90),
            2: Counters(2400, 200_000, 30),
            3: Counters(400, 500_000, 0),
        },
        verdicts={"forwarded": 4000, "no_service": 0, "no_backend": 7},
    )


def unhealthy(endpoint: str, address: str, message: str, seconds: float = 12.0) -> HealthDocument:
    """Return the daemon's health document of a service with one failing backend."""
    failure: FailureDocument = {
        "check": "http", "outcome": "refused", "message": message, "hint": "",
    }  # fmt: skip
    document: BackendHealthDocument = {
        "address": address,
        "healthy": False,
        "seconds": seconds,
        "state": "down",
        "weight": 1,
        "configured_weight": 4,
        "held": False,
        "certificate_ends": None,
        "failures": [failure],
    }
    return {"services": [{"service": endpoint, "backends": [document]}]}


def lines_of(renderable: RenderableType, width: int = 80) -> list[str]:
    """Return what a terminal of that width would show, one string a row."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False, record=True)
    console.print(renderable)
    return [line.rstrip() for line in console.export_text().splitlines()]


def draw(
    rates: Rates,
    width: int = 80,
    *,
    height: int | None = None,
    keys: bool = True,
    choices: Choices | None = None,
    health: HealthDocument | None = None,
    history: History | None = None,
    **moment: Any,
) -> list[str]:
    """Return the frame of the live view."""
    by_backend = health_by_backend(health) if health else {}
    shown = Moment(rates, history or History(), by_backend, **moment)
    drawn = frame(shown, choices or Choices(), width=width, height=height, keys=keys)
    return lines_of(Lines(drawn), width)


def line_with(lines: list[str], text: str) -> str:
    """Return the only line that has a text."""
    [found] = [line for line in lines if text in line]
    return found
