"""The page of all services, each with its backends, and the reasons below. Pure.

Rows are shared out first, then the columns are fitted to what is shown, then both are drawn.
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
"""What a service needs: its own row, and one for its only backend or for how many there are."""


def overview(
    moment: Moment, choices: Choices, width: int, room: int | None, *, marked: bool
) -> list[Line]:
    """Draw the page.

    Args:
        moment: what there is.
        choices: the filter, the order and the service that is marked.
        width: cells of a row.
        room: rows, which are never exceeded; None for as many as it takes.
        marked: whether a service is marked at all.
    """
    services = select(moment, choices.filter, choices.sort)
    reasons = happened(moment.rates)
    if not services:
        below = reason_lines(reasons, width, room and room - 1)
        return [_nothing(moment, choices), *below][:room]
    wanted = [_rows_of(one) for one in services]
    if room is None:
        drawn = _services(moment, choices, services, wanted, width, spaced=True, mark=None)
        return [*drawn, *reason_lines(reasons, width, None)]
    # The reasons keep a quarter whatever the services need: drops have to be seen.
    needed = 1 + sum(wanted)
    below = reason_lines(reasons, width, max(room // 4, room - needed))
    room -= len(below)
    here, rows = _page(services, wanted, choices.service, room - 1)
    mark = None
    if marked and here:
        mark = choices.service if choices.service in _endpoints(services) else here[0].endpoint
    drawn = _services(
        moment,
        choices,
        here,
        rows,
        width,
        spaced=sum(wanted) + len(wanted) <= room,
        mark=mark,
    )
    if len(here) < len(services):
        drawn.append(_more(len(services) - len(here), "service"))
    return [*drawn[:room], *[lines.EMPTY] * (room - len(drawn)), *below]


def _nothing(moment: Moment, choices: Choices) -> Line:
    if moment.rates.services:
        return line((f"nothing has {choices.filter!r}: Esc shows everything again", "yellow"))
    return line(("no services: `pydsr services add` adds one", "dim"))


def _rows_of(one: Selected) -> int:
    # Its own row, and its backends or the word that it has none.
    return 1 + max(1, one.number)


def _endpoints(services: Sequence[Selected]) -> list[Endpoint]:
    return [one.endpoint for one in services]


def _page(
    services: Sequence[Selected], wanted: Sequence[int], marked: Endpoint | None, room: int
) -> tuple[Sequence[Selected], list[int]]:
    """Return the services of the page that the marked one is on, and the rows of each.

    Where not all services find room, a row is left to say so.
    """
    if len(services) * _LEAST_ROWS <= room:
        return services, _allot(wanted, room)
    number = max(1, (room - 1) // _LEAST_ROWS)
    endpoints = _endpoints(services)
    place = endpoints.index(marked) if marked in endpoints else 0
    start = place // number * number
    here = services[start : start + number]
    return here, _allot(wanted[start : start + number], room - 1)


def _allot(wanted: Sequence[int], room: int) -> list[int]:
    """Share rows among services, of which each gets two at least; small ones get all they want."""
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
    shown = [_shown(moment, choices, one, limit) for one, limit in zip(services, rows, strict=True)]
    columns = _fitted(services, shown, width)
    drawn = [columns.headings()]
    for one, backends in zip(services, shown, strict=True):
        if spaced and len(drawn) > 1:
            drawn.append(lines.EMPTY)
        drawn += _one_service(moment, one, backends, columns, is_marked=one.endpoint == mark)
    return drawn


def _shown(moment: Moment, choices: Choices, one: Selected, limit: int) -> Sequence[BackendRate]:
    """Return the backends that find room below the service's row, with one that counts the rest."""
    number = one.number
    if number > limit - 1:
        number = max(0, limit - 2)
    return list(islice(in_order(moment, one, choices.sort), number))


def _fitted(
    services: Sequence[Selected], shown: Sequence[Sequence[BackendRate]], width: int
) -> Columns:
    addresses = [len(str(one.endpoint)) for one in services]
    addresses += [len(f"{INDENT}{each.backend.address}") for backends in shown for each in backends]
    titles = [lines.cells(service_title(one.service)) for one in services]
    least = max(addresses, default=0)
    return fit(OVERVIEW, least, max([least, *titles]), width)


def _one_service(
    moment: Moment,
    one: Selected,
    backends: Sequence[BackendRate],
    columns: Columns,
    *,
    is_marked: bool,
) -> list[Line]:
    service = one.service
    title = service_title(service, columns.widths["name"])
    cells = {
        **rate_cells(service.rate, columns),
        "off": deviation(service.imbalance),
        **_state_cells(moment, one, columns),
        "name": (*lines.styled(title[:1], "reverse"), *title[1:]) if is_marked else title,
    }
    drawn = [lines.styled(columns.row(cells), "bold")]
    if not service.backends:
        return [*drawn, line((f"{INDENT}no backends", "yellow"))]
    largest = largest_share(service.backends)
    for each in backends:
        row = backend_cells(moment, one.endpoint, each, largest, columns)
        drawn.append(backend_row(each, row, columns))
    if len(backends) < one.number:
        drawn.append(_more(one.number - len(backends), "backend"))
    return drawn


def _state_cells(moment: Moment, one: Selected, columns: Columns) -> dict[str, Line]:
    """Say how many backends are up where not all are, and that slots change; else nothing."""
    service = one.service.service
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
        counts = [f"{figures.count(slots)} slots", f"{figures.count(_records(moment, one))} flows"]
        # Backends have MACs there, of which a service has none.
        places = ("mac", "history") if "mac" in columns.widths else ("history",)
        texts = counts if len(places) == len(counts) else [" ".join(counts)]
        cells.update(
            {place: line((text, "yellow")) for place, text in zip(places, texts, strict=True)}
        )
    return cells


def _records(moment: Moment, one: Selected) -> int:
    return moment.rates.snapshot.records.get(one.service.service.id, 0)


def _more(number: int, noun: str) -> Line:
    return line((f"{INDENT}… {number} more {noun}{'' if number == 1 else 's'}", "dim"))
