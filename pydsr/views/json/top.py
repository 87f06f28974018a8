"""The document of ``top --json``: rates, and whatever else the view knows. Pure."""

from __future__ import annotations

from pydsr.model.rates import BackendRate, ProgramRate, Rate
from pydsr.model.service import Backend
from pydsr.views.json.documents import Document, slot_share
from pydsr.views.top.choices import Choices, Page
from pydsr.views.top.moment import Moment
from pydsr.views.top.selection import Selected, in_order, select


def top_document(moment: Moment, choices: Choices) -> Document:
    """Return the document: what the filter lets through, in the order that was chosen."""
    rates = moment.rates
    services = select(moment, choices.filter, choices.sort)
    if choices.page is Page.SERVICE:
        services = [one for one in services if one.endpoint == choices.service]
    return {
        "time": rates.snapshot.time,
        "interfaces": [{"name": name, "mode": mode} for name, mode in rates.snapshot.interfaces],
        **_rate(rates.total),
        "services": [_service(moment, choices, one) for one in services],
        "verdicts": {
            one.reason: {"packets": _rounded(one.packets), "total": one.total}
            for one in rates.verdicts
        },
        "programs": [_program(one) for one in rates.programs],
        "programs_timed": rates.snapshot.programs_timed,
    }


def _service(moment: Moment, choices: Choices, one: Selected) -> Document:
    service = one.service.service
    return {
        "service": str(service.endpoint),
        "name": service.options.name,
        **_rate(one.service.rate),
        "imbalance": _rounded(one.service.imbalance),
        "slots": service.table_size,
        "slots_changing": service.slots_changing,
        "records": moment.rates.snapshot.records.get(service.id, 0),
        "backends": [_backend(moment, one, each) for each in in_order(moment, one, choices.sort)],
    }


def _backend(moment: Moment, one: Selected, each: BackendRate) -> Document:
    backend = each.backend
    return {
        "address": str(backend.address),
        "state": str(backend.state),
        "weight": backend.weight,
        "mac": None if backend.mac is None else str(backend.mac),
        "mac_by_hand": backend.mac_by_hand,
        "mac_confirmed": _rounded(_mac_age(moment, backend)),
        **_rate(each.rate),
        "share": _rounded(each.share),
        "weight_share": _rounded(each.weight_share),
        "slot_share": _rounded(slot_share(one.service.service, backend)),
        "total": {
            "packets": each.total.packets,
            "bytes": each.total.bytes,
            "new_flows": each.total.new_flows,
        },
        "health": moment.health_of(one.endpoint, backend),
    }


def _mac_age(moment: Moment, backend: Backend) -> float | None:
    return moment.mac_ages.get((backend.address, backend.mac)) if backend.mac else None


def _program(one: ProgramRate) -> Document:
    return {
        "program_id": one.program_id,
        "interfaces": list(one.interfaces),
        "nanoseconds": _rounded(one.nanoseconds),
        "processor": _rounded(one.processor),
    }


def _rate(rate: Rate) -> Document:
    return {
        "packets": _rounded(rate.packets),
        "bits": _rounded(rate.bits),
        "new_flows": _rounded(rate.new_flows),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
