"""The JSON documents of ``--json``: their keys are a contract with scripts.

Every function returns what ``json.dumps`` takes as it is. Where a value comes from a module that
a view must not import, a protocol says which attributes are read.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydsr.model.addresses import Endpoint, IPAddress, MacAddress, Tag, format_tags
from pydsr.model.features import FeatureUse, names
from pydsr.model.rates import backend_counters, service_counters
from pydsr.model.reasons import Reason
from pydsr.model.service import Backend, Service, Unserved
from pydsr.model.snapshot import Counters, Snapshot
from pydsr.model.source_rules import Rules, scope_name, sort_key

if TYPE_CHECKING:
    from pydsr.views.json.document_types import (
        BackendsDocument,
        CountersDocument,
        ExplanationDocument,
        PlanDocument,
        ReasonDocument,
        ScopeDocument,
        ServiceDocument,
        StatsDocument,
        StatusDocument,
        VipDocument,
    )

Document = dict[str, Any]


class InterfaceStatus(Protocol):
    """An attached interface: ``mode`` is native or generic."""

    @property
    def name(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def mode(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def program_id(self) -> int: ...  # noqa: D102 - its name says it


class Change(Protocol):
    """One change of a plan; ``before`` is None for what is new, ``after`` for what goes."""

    @property
    def action(self) -> str: ...  # noqa: D102 - its name says it
    @property
    def object(self) -> builtins.object: ...  # noqa: D102 - its name says it
    @property
    def before(self) -> builtins.object: ...  # noqa: D102 - its name says it
    @property
    def after(self) -> builtins.object: ...  # noqa: D102 - its name says it


class Explanation(Protocol):
    """What the program would do with a packet; None where there is no such part."""

    @property
    def service(self) -> Endpoint | None: ...  # noqa: D102 - its name says it
    @property
    def backend(self) -> IPAddress | None: ...  # noqa: D102 - its name says it
    @property
    def mac(self) -> MacAddress | None: ...  # noqa: D102 - its name says it
    @property
    def verdict(self) -> str | None: ...  # noqa: D102 - its name says it
    @property
    def reason(self) -> str | None: ...  # noqa: D102 - its name says it
    @property
    def slot(self) -> int | None: ...  # noqa: D102 - its name says it
    @property
    def tags(self) -> tuple[Tag, ...]: ...  # noqa: D102 - its name says it


class Vip(Protocol):
    """A virtual IP; ``unserved`` is what becomes of ports without a service."""

    @property
    def address(self) -> IPAddress: ...  # noqa: D102 - its name says it
    @property
    def unserved(self) -> Unserved: ...  # noqa: D102 - its name says it
    @property
    def services(self) -> tuple[Endpoint, ...]: ...  # noqa: D102 - its name says it


def slot_share(service: Service, backend: Backend) -> float:
    """Return the part of the service's slots that a backend owns, 0 to 1."""
    return backend.slots / service.table_size if service.table_size else 0.0


def status_document(
    interfaces: Sequence[InterfaceStatus],
    services: int,
    backends: int,
    layout_version: int,
    features: FeatureUse,
) -> StatusDocument:
    """Return the document of ``status``; ``services`` and ``backends`` are how many there are."""
    return {
        "interfaces": [
            {"name": each.name, "mode": str(each.mode), "program_id": each.program_id}
            for each in interfaces
        ],
        "services": services,
        "backends": backends,
        "layout_version": layout_version,
        "features": names(features.compiled),
        "unused_features": names(features.unused),
        "refused_features": names(features.refused),
    }


def services_document(services: Sequence[Service]) -> list[ServiceDocument]:
    """Return the document of ``services list``; ``backends`` is how many, ``learn`` in seconds."""
    return [
        {
            "service": str(service.endpoint),
            "name": service.options.name,
            "affinity": str(service.options.affinity),
            "netmask4": service.options.netmask4,
            "netmask6": service.options.netmask6,
            "one_packet": service.options.one_packet,
            "learn": service.learn_seconds,
            "arp": service.options.arp,
            "max_new_flows": service.options.max_new_flows or None,
            "guard_netmask4": service.options.guard_netmask4,
            "guard_netmask6": service.options.guard_netmask6,
            "backends": len(service.backends),
            "table_size": service.table_size,
        }
        for service in services
    ]


def backends_document(
    services: Sequence[Service], interface_names: Mapping[int, str]
) -> list[BackendsDocument]:
    """Return the document of ``backends list``.

    Args:
        services: those to list.
        interface_names: by interface index; a backend behind an unknown one gets null.
    """
    return [
        {
            "service": str(service.endpoint),
            "name": service.options.name,
            "backends": [
                {
                    "address": str(backend.address),
                    "mac": _text(backend.mac),
                    "mac_by_hand": backend.mac_by_hand,
                    "vlan": format_tags(backend.tags) or None,
                    "weight": backend.weight,
                    "state": str(backend.state),
                    "interface": interface_names.get(backend.ifindex),
                    "share": round(slot_share(service, backend), 4),
                }
                for backend in service.backends
            ],
        }
        for service in services
    ]


def stats_document(snapshot: Snapshot) -> StatsDocument:
    """Return the document of ``stats``; ``time`` is monotonic seconds, for rates of two of them."""
    return {
        "time": snapshot.time,
        "services": [
            {
                "service": str(service.endpoint),
                "name": service.options.name,
                **_counters(service_counters(snapshot, service)),
                "slots_changing": service.slots_changing,
                "records": snapshot.records.get(service.id, 0),
                "backends": [
                    {
                        "address": str(backend.address),
                        **_counters(backend_counters(snapshot, service, backend)),
                    }
                    for backend in service.backends
                ],
            }
            for service in snapshot.services
        ],
        "verdicts": dict(snapshot.verdicts),
    }


def plan_document(
    changes: Sequence[Change],
    slots_moved: int,
    slots: int,
    flows_moved: int = 0,
    notes: Sequence[str] = (),
) -> PlanDocument:
    """Return the document of ``--plan`` and ``diff``.

    Args:
        changes: in the order they would be made.
        slots_moved: how many slots get another owner.
        slots: how many slots the services concerned have in all.
        flows_moved: how many recorded flows lose their backend.
        notes: what differs and is left alone.
    """
    return {
        "changes": [
            {
                "action": str(change.action),
                "object": str(change.object),
                "from": _scalar(change.before),
                "to": _scalar(change.after),
            }
            for change in changes
        ],
        "slots_moved": slots_moved,
        "slots": slots,
        "flows_moved": flows_moved,
        "notes": list(notes),
    }


def explain_document(explanation: Explanation, interface: str | None = None) -> ExplanationDocument:
    """Return the document of ``explain``; the packet would leave by the interface."""
    return {
        "service": _text(explanation.service),
        "backend": _text(explanation.backend),
        "mac": _text(explanation.mac),
        "verdict": _text(explanation.verdict),
        "reason": _text(explanation.reason),
        "slot": explanation.slot,
        "vlan": format_tags(explanation.tags) or None,
        "interface": interface,
    }


def reasons_document(reasons: Sequence[Reason]) -> list[ReasonDocument]:
    """Return the document of ``stats --explain``: every way out of the program."""
    return [
        {"reason": reason.name, "verdict": reason.verdict, "text": reason.text}
        for reason in reasons
    ]


def rules_document(rules: Mapping[Endpoint | None, Rules]) -> list[ScopeDocument]:
    """Return the document of ``acl list``: rules in the order of their sources."""
    return [
        {
            "scope": scope_name(scope),
            "rules": [
                {"source": str(network), "action": str(found[network])}
                for network in sorted(found, key=sort_key)
            ],
        }
        for scope, found in rules.items()
    ]


def vips_document(vips: Sequence[Vip]) -> list[VipDocument]:
    """Return the document of ``vips list``."""
    return [
        {
            "vip": str(vip.address),
            "unserved": str(vip.unserved),
            "services": [str(endpoint) for endpoint in vip.services],
        }
        for vip in vips
    ]


def _counters(counters: Counters) -> CountersDocument:
    return {
        "packets": counters.packets,
        "bytes": counters.bytes,
        "new_flows": counters.new_flows,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _scalar(value: object) -> str | int | float | bool | None:
    # Numbers stay numbers for scripts; model values have a text form of their own.
    if value is None or type(value) in (bool, int, float):
        return value  # type: ignore[return-value]
    return str(value)
