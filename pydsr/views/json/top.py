"""Build the document of ``top --json``. Pure."""

from __future__ import annotations

from pydsr.model.rates import BackendRate, ProgramRate, Rate
from pydsr.model.service import Backend
from pydsr.views.json.documents import Document, counters_document, slot_share
from pydsr.views.top.choices import Choices, Page
from pydsr.views.top.moment import Moment
from pydsr.views.top.selection import Selected, in_order, select


def top_document(moment: Moment, choices: Choices) -> Document:
    """Return the document of the services that pass the filter, in the chosen order."""
    rates = moment.rates
    services = select(moment, choices.filter, choices.sort)
    if choices.page is Page.SERVICE:
        services = [each for each in services if each.endpoint == choices.service]
    return {
        "time": rates.snapshot.time,
        "interfaces": [{"name": name, "mode": mode} for name, mode in rates.snapshot.interfaces],
        **_rate(rates.total),
        "services": [_service(moment, choices, each) for each in services],
        "verdicts": {
            verdict.reason: {"packets": _rounded(verdict.packets), "total": verdict.total}
            for verdict in rates.verdicts
        },
        "programs": [_program(program) for program in rates.programs],
        "programs_timed": rates.snapshot.programs_timed,
    }


def _service(moment: Moment, choices: Choices, selected: Selected) -> Document:
    rated, service = selected.service, selected.service.service
    return {
        "service": str(service.endpoint),
        "name": service.options.name,
        **_rate(rated.rate),
        "imbalance": _rounded(rated.imbalance),
        "slots": service.table_size,
        "slots_changing": service.slots_changing,
        "records": moment.rates.snapshot.records.get(service.id, 0),
        "backends": [
            _backend(moment, selected, backend)
            for backend in in_order(moment, selected, choices.sort)
        ],
    }


def _backend(moment: Moment, selected: Selected, rated: BackendRate) -> Document:
    backend = rated.backend
    return {
        "address": str(backend.address),
        "state": str(backend.state),
        "weight": backend.weight,
        "mac": None if backend.mac is None else str(backend.mac),
        "mac_by_hand": backend.mac_by_hand,
        "mac_confirmed": _rounded(_mac_age(moment, backend)),
        **_rate(rated.rate),
        "share": _rounded(rated.share),
        "weight_share": _rounded(rated.weight_share),
        "slot_share": _rounded(slot_share(selected.service.service, backend)),
        "total": counters_document(rated.total),
        "health": moment.health_of(selected.endpoint, backend),
    }


def _mac_age(moment: Moment, backend: Backend) -> float | None:
    return moment.mac_ages.get((backend.address, backend.mac)) if backend.mac else None


def _program(program: ProgramRate) -> Document:
    return {
        "program_id": program.program_id,
        "interfaces": list(program.interfaces),
        "nanoseconds": _rounded(program.nanoseconds),
        "processor": _rounded(program.processor),
    }


def _rate(rate: Rate) -> Document:
    return {
        "packets": _rounded(rate.packets),
        "bits": _rounded(rate.bits),
        "new_flows": _rounded(rate.new_flows),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
