"""The page of all services with their backends, and the reasons below. Pure.

First each service gets its rows, then columns are fitted to what these rows show, then both are
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from pydsr.model.addresses import Endpoint
from pydsr.model.rates import BackendRate
from pydsr.model.service import BackendState
from pydsr.views.text import figures, lines
from pydsr.views.text.lines import Line, line
from pydsr.views.top.cells import (
    backend_cells,
    backend_row,
    deviation,
    largest_share,
    rate_cells,
    service_title,
)
from pydsr.views.top.choices import Choices
from pydsr.views.top.columns import INDENT, OVERVIEW, Columns, fit
from pydsr.views.top.moment import Moment
from pydsr.views.top.reasons_page import happened, reason_lines
from pydsr.views.top.selection import Selected, in_order, select

_LEAST_ROWS = 2
"""Least rows of a service: its own, and one for its only backend or for their number."""


def overview(
    moment: Moment, choices: Choices, width: int, room: int | None, *, marked: bool
) -> list[Line]:
    """Draw the page, filtered and sorted; one service is marked if ``marked``."""
    services = select(moment, choices.filter, choices.sort)
    reasons = happened(moment.rates)
    if not services:
        below = reason_lines(reasons, width, room and room - 1)
        return [_nothing(moment, choices), *below][:room]
    wanted = [_wanted_rows(each) for each in services]
    if room is None:
        drawn = _services(moment, choices, services, wanted, width, spaced=True, mark=None)
        return [*drawn, *reason_lines(reasons, width, None)]
    # A quarter is always for reasons: drops must be visible.
    needed = 1 + sum(wanted)
    below = reason_lines(reasons, width, max(room // 4, room - needed))
    room -= len(below)
    on_page, rows = _page(services, wanted, choices.service, room - 1)
    mark = None
    if marked and on_page:
        mark = choices.service if choices.service in _endpoints(services) else on_page[0].endpoint
    drawn = _services(
        moment,
        choices,
        on_page,
        rows,
        width,
        spaced=sum(wanted) + len(wanted) <= room,
        mark=mark,
    )
    if len(on_page) < len(services):
        drawn.append(_more(len(services) - len(on_page), "service"))
    return [*drawn[:room], *[lines.EMPTY] * (room - len(drawn)), *below]


def _nothing(moment: Moment, choices: Choices) -> Line:
    if moment.rates.services:
        return line((f"nothing matches {choices.filter!r}: press Esc to show everything", "yellow"))
    return line(("no services: add one with `pydsr services add`", "dim"))


def _wanted_rows(selected: Selected) -> int:
    # The service's row, and its backends or the words "no backends".
    return 1 + max(1, selected.number)


def _endpoints(services: Sequence[Selected]) -> list[Endpoint]:
    return [each.endpoint for each in services]


def _page(
    services: Sequence[Selected], wanted: Sequence[int], marked: Endpoint | None, room: int
) -> tuple[Sequence[Selected], list[int]]:
    """Return the services on the page with the marked one, and the rows of each.

    If not all services fit, a row is left to say so.
    """
    if len(services) * _LEAST_ROWS <= room:
        return services, _allot(wanted, room)
    number = max(1, (room - 1) // _LEAST_ROWS)
    endpoints = _endpoints(services)
    place = endpoints.index(marked) if marked in endpoints else 0
    start = place // number * number
    return services[start : start + number], _allot(wanted[start : start + number], room - 1)


def _allot(wanted: Sequence[int], room: int) -> list[int]:
    """Divide rows among services: small services get all their rows, large ones share the rest."""
    rows = [0] * len(wanted)
    by_size = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for place, index in enumerate(by_size):
        rows[index] = min(wanted[index], max(0, room) // (len(wanted) - place))
        room -= rows[index]
    return rows


def _services(
    moment: Moment,
    choices: Choices,
    services: Sequence[Selected],
    rows: Sequence[int],
    width: int,
    *,
    spaced: bool,
    mark: Endpoint | None,
) -> list[Line]:
    shown = [
        _shown_backends(moment, choices, each, limit)
        for each, limit in zip(services, rows, strict=True)
    ]
    columns = _fitted(services, shown, width)
    drawn = [columns.headings()]
    for each, backends in zip(services, shown, strict=True):
        if spaced and len(drawn) > 1:
            drawn.append(lines.EMPTY)
        drawn += _service_rows(moment, each, backends, columns, is_marked=each.endpoint == mark)
    return drawn


def _shown_backends(
    moment: Moment, choices: Choices, selected: Selected, limit: int
) -> Sequence[BackendRate]:
    """Return the backends that fit below the service's row; one row may count the rest."""
    number = selected.number
    if number > limit - 1:
        number = max(0, limit - 2)
    return list(islice(in_order(moment, selected, choices.sort), number))


def _fitted(
    services: Sequence[Selected], shown: Sequence[Sequence[BackendRate]], width: int
) -> Columns:
    addresses = [len(str(each.endpoint)) for each in services]
    addresses += [len(f"{INDENT}{each.backend.address}") for backends in shown for each in backends]
    titles = [lines.cells(service_title(each.service)) for each in services]
    least = max(addresses, default=0)
    return fit(OVERVIEW, least, max([least, *titles]), width)


def _service_rows(
    moment: Moment,
    selected: Selected,
    backends: Sequence[BackendRate],
    columns: Columns,
    *,
    is_marked: bool,
) -> list[Line]:
    service = selected.service
    title = service_title(service, columns.widths["name"])
    cells = {
        **rate_cells(service.rate, columns),
        "off": deviation(service.imbalance),
        **_state_cells(moment, selected, columns),
        "name": (*lines.styled(title[:1], "reverse"), *title[1:]) if is_marked else title,
    }
    drawn = [lines.styled(columns.row(cells), "bold")]
    if not service.backends:
        return [*drawn, line((f"{INDENT}no backends", "yellow"))]
    largest = largest_share(service.backends)
    for each in backends:
        row = backend_cells(moment, selected.endpoint, each, largest, columns)
        drawn.append(backend_row(each, row, columns))
    if len(backends) < selected.number:
        drawn.append(_more(selected.number - len(backends), "backend"))
    return drawn


def _state_cells(moment: Moment, selected: Selected, columns: Columns) -> dict[str, Line]:
    """Return the number of backends up if not all are, and of changing slots and flow records."""
    service = selected.service.service
    up = sum(
        backend.state is BackendState.UP and backend.mac is not None for backend in service.backends
    )
    cells = {}
    if up < len(service.backends):
        style = "yellow" if up else "bold red"
        cells["state"] = line((f"{up}/{len(service.backends)}", style))
    slots = service.slots_changing
    if slots:
        cells.setdefault("state", line(("change", "yellow")))
        records = moment.rates.snapshot.records.get(service.id, 0)
        counts = [f"{figures.count(slots)} slots", f"{figures.count(records)} flows"]
        # A service has no MAC and no history: their columns are free.
        names = ("mac", "history") if "mac" in columns.widths else ("history",)
        texts = counts if len(names) == len(counts) else [" ".join(counts)]
        cells |= {name: line((text, "yellow")) for name, text in zip(names, texts, strict=True)}
    return cells


def _more(number: int, noun: str) -> Line:
    return line((f"{INDENT}… {number} more {noun}{'' if number == 1 else 's'}", "dim"))
