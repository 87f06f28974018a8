"""Build the JSON documents that commands print with ``--json``.

Each function returns a value for ``json.dumps``. Its return type in ``document_types`` describes
the keys; ``schemas`` makes the JSON Schema from that type. The types need pydantic, which takes
0.1 s to import, so they are imported for type checkers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydsr.model.addresses import Endpoint, format_tags
from pydsr.model.change import Change, Impact
from pydsr.model.features import FeatureUse, names
from pydsr.model.options import OPTIONS, Option, ServiceOptions
from pydsr.model.rates import backend_counters, service_counters
from pydsr.model.reasons import Reason
from pydsr.model.service import Backend, Service
from pydsr.model.snapshot import Counters, Snapshot
from pydsr.model.source_rules import Rules, scope_name, sort_key

if TYPE_CHECKING:
    from pydsr.control.attached_interfaces import Attached
    from pydsr.control.balancer import Vip
    from pydsr.control.trace import Trace
    from pydsr.views.json.document_types import (
        BackendsDocument,
        CountersDocument,
        ReasonDocument,
        ScopeDocument,
        ServiceDocument,
        StatsDocument,
        StatusDocument,
        VipDocument,
    )
    from pydsr.views.json.report_types import ChangeDocument, ExplanationDocument, PlanDocument

Document = dict[str, Any]


def slot_share(service: Service, backend: Backend) -> float:
    """Return the share of the service's slots that a backend owns, from 0 to 1."""
    return backend.slots / service.table_size if service.table_size else 0.0


def counters_document(counters: Counters) -> CountersDocument:
    """Return counters as JSON."""
    return {
        "packets": counters.packets,
        "bytes": counters.bytes,
        "new_flows": counters.new_flows,
    }


def status_document(
    interfaces: Sequence[Attached],
    services: int,
    backends: int,
    layout_version: int,
    features: FeatureUse,
) -> StatusDocument:
    """Return the document of ``status``; ``services`` and ``backends`` are counts."""
    return {
        "interfaces": [
            {"name": each.name, "mode": each.mode, "program_id": each.program_id}
            for each in interfaces
        ],
        "services": services,
        "backends": backends,
        "layout_version": layout_version,
        "features": names(features.compiled),
        "unused_features": names(features.unused),
        "refused_features": names(features.excluded),
    }


def services_document(services: Sequence[Service]) -> list[ServiceDocument]:
    """Return the document of ``services list``."""
    return [
        {
            "service": str(service.endpoint),
            **{option.name: _option_value(service.options, option) for option in OPTIONS},
            "learn": service.learn_seconds,
            "backends": len(service.backends),
            "table_size": service.table_size,
        }
        for service in services
    ]


def _option_value(options: ServiceOptions, option: Option) -> Any:
    value = getattr(options, option.name)
    return None if option.zero_means and not value else value


def backends_document(
    services: Sequence[Service], interface_names: Mapping[int, str]
) -> list[BackendsDocument]:
    """Return the document of ``backends list``; interface names are by index."""
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
    """Return the document of ``stats``."""
    return {
        "time": snapshot.time,
        "services": [
            {
                "service": str(service.endpoint),
                "name": service.options.name,
                **counters_document(service_counters(snapshot, service)),
                "slots_changing": service.slots_changing,
                "records": snapshot.records.get(service.id, 0),
                "backends": [
                    {
                        "address": str(backend.address),
                        **counters_document(backend_counters(snapshot, service, backend)),
                    }
                    for backend in service.backends
                ],
            }
            for service in snapshot.services
        ],
        "verdicts": dict(snapshot.verdicts),
    }


def change_document(change: Change) -> ChangeDocument:
    """Return a change of a plan as JSON; values keep their types."""
    return {
        "action": change.action,
        "object": change.object,
        "from": change.before,
        "to": change.after,
    }


def plan_document(impact: Impact) -> PlanDocument:
    """Return the document of ``--plan`` and ``diff``."""
    return {
        "changes": [change_document(change) for change in impact.changes],
        "slots_moved": impact.slots_moved,
        "slots": impact.slots,
        "flows_moved": impact.flows_moved,
        "notes": list(impact.notes),
    }


def explain_document(
    explanation: Trace | None, interface: str | None = None
) -> ExplanationDocument:
    """Return the document of ``explain``; without an explanation, all but the interface is null."""
    if explanation is None:
        return {
            "service": None,
            "backend": None,
            "mac": None,
            "verdict": None,
            "reason": None,
            "slot": None,
            "vlan": None,
            "interface": interface,
        }
    return {
        "service": _text(explanation.service),
        "backend": _text(explanation.backend),
        "mac": _text(explanation.mac),
        "verdict": explanation.verdict,
        "reason": explanation.reason,
        "slot": explanation.slot,
        "vlan": format_tags(explanation.tags) or None,
        "interface": interface,
    }


def reasons_document(reasons: Sequence[Reason]) -> list[ReasonDocument]:
    """Return the document of ``stats --explain``."""
    return [
        {"reason": reason.name, "verdict": reason.verdict, "text": reason.text}
        for reason in reasons
    ]


def rules_document(rules: Mapping[Endpoint | None, Rules]) -> list[ScopeDocument]:
    """Return the document of ``acl list``, rules sorted by source."""
    return [
        {
            "scope": scope_name(scope),
            "rules": [
                {"source": str(network), "action": str(of_scope[network])}
                for network in sorted(of_scope, key=sort_key)
            ],
        }
        for scope, of_scope in rules.items()
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


def _text(value: object) -> str | None:
    return None if value is None else str(value)
