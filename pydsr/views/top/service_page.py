"""The page of one service with everything about its backends. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydsr.model.rates import BackendRate, ServiceRate
from pydsr.model.service import Backend, BackendState, Service
from pydsr.model.snapshot import Counters
from pydsr.views.text import figures, lines
from pydsr.views.text.lines import Line, line
from pydsr.views.top.cells import (
    backend_cells,
    backend_row,
    deviation,
    largest_share,
    service_title,
)
from pydsr.views.top.choices import Choices
from pydsr.views.top.columns import INDENT, SERVICE, Columns, fit
from pydsr.views.top.moment import Moment
from pydsr.views.top.selection import Selected, in_order

_NANOSECONDS = 1_000_000_000
_LEAST_ROWS = 3


def service_page(
    moment: Moment, choices: Choices, width: int, room: int | None, now: float
) -> list[Line]:
    """Draw the page.

    Args:
        moment: what there is.
        choices: which service, in what order, and how far it is scrolled.
        width: cells of a row.
        room: rows, which are never exceeded; None for as many as it takes.
        now: monotonic seconds.
    """
    found = [one for one in moment.rates.services if one.service.endpoint == choices.service]
    if not found:
        return [line((f"the service {choices.service} is gone: Esc shows the others", "yellow"))]
    (service,) = found
    head = _head(moment, service, width, now)
    backends = in_order(moment, Selected(service), choices.sort)
    columns = _fitted(service, width)
    rows = [columns.headings(), *_rows(moment, service, backends, columns)]
    causes = _causes(moment, service, width)
    if room is None:
        return [*head, lines.EMPTY, *rows, *causes]
    # On a small screen the backends come first: the head, then the causes give way.
    head = head if room - len(head) - 1 >= _LEAST_ROWS else []
    left = room - len(head) - bool(head)
    causes = causes[: max(0, left - max(_LEAST_ROWS, min(len(rows), left * 2 // 3)))]
    body = _scrolled(rows, left - len(causes), choices.scrolled)
    return [*head, *[lines.EMPTY] * bool(head), *body, *causes][:room]


def _scrolled(rows: list[Line], room: int, scrolled: int) -> list[Line]:
    headings, backends = rows[0], rows[1:]
    room = max(0, room - 1)
    if len(backends) <= room:
        return rows
    number = max(0, room - 1)
    start = min(scrolled, len(backends) - number)
    end = start + number
    where = f"{INDENT}… {start + 1} to {end} of {len(backends)} backends"
    return [headings, *backends[start:end], line((where, "dim"))]


def _head(moment: Moment, one: ServiceRate, width: int, now: float) -> list[Line]:
    service = one.service
    up = sum(backend.state is BackendState.UP for backend in service.backends)
    number = len(service.backends)
    options = service.options
    affinity = f"affinity by {options.affinity}" + (", one-packet" if options.one_packet else "")
    title = lines.joined(
        [
            service_title(one),
            line((f"{up} of {number} backends up", "" if up == number else "yellow")),
            line((affinity, "dim")),
        ],
        "   ",
    )
    imbalance = (line(("off by at most ", "dim")) + deviation(one.imbalance)) if number > 1 else ()
    traffic = lines.joined(
        [
            line(
                (figures.count(one.rate.packets), "bold"),
                " pkt/s  ",
                (figures.bit_rate(one.rate.bits), "bold"),
                "  ",
                (figures.count(one.rate.new_flows), "bold"),
                " new/s",
            ),
            line((_totals(one.total), "dim")),
            imbalance,
        ],
        "   ",
    )
    return [lines.cropped(each, width) for each in (title, traffic, _slots(moment, service, now))]


def _totals(total: Counters) -> str:
    flows = "" if total.new_flows is None else f", {figures.count(total.new_flows)} flows"
    return (
        f"since they came: {figures.count(total.packets)} packets, "
        f"{figures.amount(total.bytes)}{flows}"
    )


def _slots(moment: Moment, service: Service, now: float) -> Line:
    changing, size = service.slots_changing, service.table_size
    if not changing:
        return line((f"all {size} slots at rest, no flow recorded", "dim"))
    records = moment.rates.snapshot.records.get(service.id, 0)
    learning = service.learn_until / _NANOSECONDS - now
    until = (
        f"older flows are learnt for {figures.duration(learning)} more"
        if learning > 0
        else "new flows no longer learnt, recorded ones stay until they end"
    )
    return line(
        (f"{changing} of {size} slots ({figures.percent(changing / size)}) changing", "yellow"),
        f", {figures.count(records)} flows recorded; {until}",
    )


def _fitted(service: ServiceRate, width: int) -> Columns:
    addresses = [len(f"{INDENT}{backend.address}") for backend in service.service.backends]
    least = max([len(f"{INDENT}backend"), *addresses])
    return fit(SERVICE, least, least, width)


def _rows(
    moment: Moment, service: ServiceRate, backends: Sequence[BackendRate], columns: Columns
) -> list[Line]:
    if not backends:
        return [line((f"{INDENT}no backends", "yellow"))]
    largest = largest_share(backends)
    drawn = []
    for each in backends:
        cells = {
            **backend_cells(moment, service.service.endpoint, each, largest, columns),
            **_more_cells(moment, service.service, each),
        }
        drawn.append(backend_row(each, cells, columns))
    return drawn


def _more_cells(moment: Moment, service: Service, each: BackendRate) -> dict[str, Line]:
    backend = each.backend
    held = moment.health_of(service.endpoint, backend)
    share = backend.slots / service.table_size if service.table_size else None
    return {
        "slots": line((figures.percent(share), "dim")),
        "set": _weight(backend, held),
        "since": line(figures.duration(held["seconds"]) if held else figures.UNKNOWN),
        "seen": _seen(moment, backend),
        "total": line(figures.count(each.total.packets)),
        "bytes": line(figures.amount(each.total.bytes)),
    }


def _weight(backend: Backend, held: Mapping[str, Any] | None) -> Line:
    """Return the weight in force, and beside it the file's where health has made it another."""
    if held is None or held["configured_weight"] == backend.weight:
        return line(str(backend.weight))
    return line((f"{backend.weight}/{held['configured_weight']}", "yellow"))


def _seen(moment: Moment, backend: Backend) -> Line:
    if backend.mac_by_hand:
        return line(("by hand", "dim"))
    if backend.mac is None:
        return line(figures.UNKNOWN)
    return line(figures.duration(moment.mac_ages.get((backend.address, backend.mac))))


def _causes(moment: Moment, service: ServiceRate, width: int) -> list[Line]:
    """Say what is wrong with each backend whose checks fail, below a blank line."""
    drawn: list[Line] = []
    for backend in service.service.backends:
        held = moment.health_of(service.service.endpoint, backend)
        if held is not None and held["failures"]:
            style = "red" if held["healthy"] is False else "yellow"
            text = f"{backend.address} {figures.failures(held)}"
            first, *others = textwrap.wrap(text, max(8, width - 4)) or [""]
            drawn.append(line(("✘ ", style), first))
            drawn += [line(f"  {other}") for other in others]
    return [lines.EMPTY, *drawn] if drawn else []
