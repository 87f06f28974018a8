"""The page of one service, with all columns of its backends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pydsr.views.json.document_types import BackendHealthDocument

_NANOSECONDS = 1_000_000_000
_LEAST_ROWS = 3


def service_page(
    moment: Moment, choices: Choices, width: int, room: int | None, now: float
) -> list[Line]:
    """Draw the page; ``now`` is in monotonic seconds."""
    services = {each.service.endpoint: each for each in moment.rates.services}
    service = services.get(choices.service) if choices.service else None
    if service is None:
        text = f"the service {choices.service} was removed: press Esc to show the others"
        return [line((text, "yellow"))]
    head = _head(moment, service, width, now)
    backends = in_order(moment, Selected(service), choices.sort)
    columns = _fitted(service, width)
    rows = [columns.headings(), *_rows(moment, service, backends, columns)]
    causes = _causes(moment, service, width)
    if room is None:
        return [*head, lines.EMPTY, *rows, *causes]
    # On a small screen backends matter most: first the head is left out, then causes.
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


def _head(moment: Moment, rated: ServiceRate, width: int, now: float) -> list[Line]:
    service = rated.service
    up = sum(backend.state is BackendState.UP for backend in service.backends)
    number = len(service.backends)
    options = service.options
    affinity = f"affinity by {options.affinity}" + (", one-packet" if options.one_packet else "")
    title = lines.joined(
        [
            service_title(rated),
            line((f"{up} of {number} backends up", "" if up == number else "yellow")),
            line((affinity, "dim")),
        ],
        "   ",
    )
    imbalance = (
        (line(("largest deviation ", "dim")) + deviation(rated.imbalance)) if number > 1 else ()
    )
    traffic = lines.joined(
        [
            line(
                (figures.count(rated.rate.packets), "bold"),
                " pkt/s  ",
                (figures.bit_rate(rated.rate.bits), "bold"),
                "  ",
                (figures.count(rated.rate.new_flows), "bold"),
                " new/s",
            ),
            line((_totals(rated.total), "dim")),
            imbalance,
        ],
        "   ",
    )
    return [lines.cropped(each, width) for each in (title, traffic, _slots(moment, service, now))]


def _totals(total: Counters) -> str:
    flows = "" if total.new_flows is None else f", {figures.count(total.new_flows)} flows"
    return f"in total: {figures.count(total.packets)} packets, {figures.amount(total.bytes)}{flows}"


def _slots(moment: Moment, service: Service, now: float) -> Line:
    changing, size = service.slots_changing, service.table_size
    if not changing:
        return line((f"all {size} slots at rest, no flow records", "dim"))
    records = moment.rates.snapshot.records.get(service.id, 0)
    learning = service.learn_until / _NANOSECONDS - now
    until = (
        f"existing flows are learnt for another {figures.duration(learning)}"
        if learning > 0
        else "learning has ended, recorded flows stay until they end"
    )
    return line(
        (f"{changing} of {size} slots ({figures.percent(changing / size)}) changing", "yellow"),
        f", {figures.count(records)} flow records; {until}",
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
    health = moment.health_of(service.endpoint, backend)
    share = backend.slots / service.table_size if service.table_size else None
    return {
        "slots": line((figures.percent(share), "dim")),
        "set": _weight(backend, health),
        "since": line(figures.duration(health["seconds"]) if health else figures.UNKNOWN),
        "seen": _seen(moment, backend),
        "total": line(figures.count(each.total.packets)),
        "bytes": line(figures.amount(each.total.bytes)),
    }


def _weight(backend: Backend, health: BackendHealthDocument | None) -> Line:
    """Return the weight in force, and after it the file's weight if health has changed it."""
    if health is None or health["configured_weight"] == backend.weight:
        return line(str(backend.weight))
    return line((f"{backend.weight}/{health['configured_weight']}", "yellow"))


def _seen(moment: Moment, backend: Backend) -> Line:
    if backend.mac_by_hand:
        return line(("fixed", "dim"))
    if backend.mac is None:
        return line(figures.UNKNOWN)
    return line(figures.duration(moment.mac_ages.get((backend.address, backend.mac))))


def _causes(moment: Moment, service: ServiceRate, width: int) -> list[Line]:
    """Return the failed checks of each backend, below a blank line."""
    drawn: list[Line] = []
    for backend in service.service.backends:
        health = moment.health_of(service.service.endpoint, backend)
        if health is not None and health["failures"]:
            style = "red" if health["healthy"] is False else "yellow"
            text = f"{backend.address} {figures.failures(health)}"
            drawn += lines.hanging(line(("✘ ", style)), text, width)
    return [lines.EMPTY, *drawn] if drawn else []
