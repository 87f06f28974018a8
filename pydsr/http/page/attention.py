"""What of a balancer needs somebody's attention, and what helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydsr.model.service import Backend, BackendState, Service

TROUBLE, WARNING = "trouble", "warning"

Finding = dict[str, Any]


def needing_attention(
    interfaces: Sequence[tuple[str, str]],
    services: Sequence[Service],
    health: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[Finding]:
    """Return what is wrong, the worst first.

    Args:
        interfaces: names with the mode of each.
        services: with their backends.
        health: of those that are checked, by service and address.
    """
    found = [*_of_interfaces(interfaces)]
    for service in services:
        found += _of_service(service)
        for backend in service.backends:
            held = health.get((str(service.endpoint), str(backend.address)))
            found += _of_backend(service, backend, held)
    # Sorting is stable: within a level the order is that of the services.
    return sorted(found, key=lambda one: one["level"] != TROUBLE)


def _finding(
    level: str,
    message: str,
    hint: str,
    service: Service | None = None,
    backend: Backend | None = None,
    since: str | None = None,
) -> Finding:
    return {
        "level": level,
        "service": str(service.endpoint) if service else None,
        "backend": str(backend.address) if backend else None,
        "since": since,
        "message": message,
        "hint": hint,
    }


def _of_interfaces(interfaces: Sequence[tuple[str, str]]) -> Iterable[Finding]:
    if not interfaces:
        hint = "`pydsr attach IFACE`, or name them in the file"
        yield _finding(TROUBLE, "no interface is attached: no packet is balanced", hint)
    for name, mode in interfaces:
        if mode != "native":
            message = f"{name} is attached in {mode} mode, at a fraction of the native speed"
            hint = f"`pydsr attach {name} --mode native` says what is in its way"
            yield _finding(WARNING, message, hint)


def _of_service(service: Service) -> Iterable[Finding]:
    if any(backend.state is BackendState.UP for backend in service.backends):
        return
    message, hint = "no backend takes new flows", f"`pydsr backends undrain {service.endpoint} …`"
    if not service.backends:
        message, hint = "it has no backends", f"`pydsr backends add {service.endpoint} BACKEND`"
    yield _finding(TROUBLE, message, hint, service)


def _of_backend(
    service: Service, backend: Backend, held: Mapping[str, Any] | None
) -> Iterable[Finding]:
    if backend.state is BackendState.UP and backend.mac is None:
        message = "it has no MAC address: what is for it is dropped"
        hint = "is it up, and in the same network and VLAN?"
        yield _finding(TROUBLE, message, hint, service, backend)
    if held is None or held["healthy"] is not False:
        return
    failure = next(iter(held["failures"]), None)
    message = failure["message"] if failure else "it was out already when checks began"
    if held["held"]:
        message += "; it stays in service, as too few would be left"
    hint = failure["hint"] if failure else ""
    yield _finding(TROUBLE, message, hint, service, backend, held["since"])
