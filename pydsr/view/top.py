"""The frame of the live view: a pure function of rates to lines of text.

Every line is laid out by hand and is exactly one row of the terminal, so that a frame of a given
height never loses its footer. The columns are fitted to the width, the rows to the height, then
both are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.text import Text

from pydsr.model import BackendState, Endpoint
from pydsr.stats import BackendRate, History, Rate, Rates, ServiceRate, VerdictRate
from pydsr.view import figures
from pydsr.view.columns import INDENT, LONG_BITS, Columns, fit_columns, service_title

_MODE_STYLES = {"native": "green", "generic": "yellow"}

_LEAST_ROWS = 2
"""What a service needs: its own row, and one for its only backend or for how many there are."""

_INTERFACE_CELLS = 20
"""What the header leaves for the interfaces before it drops totals."""


class Sort(StrEnum):
    """What rows are ordered by; all but the name put the largest first."""

    NAME = "name"
    PACKETS = "packets"
    BITS = "bits"
    FLOWS = "flows"
    SHARE = "share"


def frame(
    rates: Rates,
    history: History,
    *,
    width: int,
    height: int | None = None,
    sort: Sort = Sort.NAME,
    paused: bool = False,
    interval: float = 1.0,
    clock: str = "",
    keys: bool = True,
) -> RenderableType:
    """Draw one frame.

    Args:
        rates: what to show.
        history: earlier rates, for the sparklines.
        width: characters a line may have.
        height: rows of the terminal, which are filled and never exceeded; None shows all there is.
        sort: the order of services and backends.
        paused: says so in place of the clock.
        interval: seconds between frames, for the footer.
        clock: the time of day.
        keys: whether there is a footer that tells the keys.
    """
    header = [_header(rates, width, clock, paused), Text("")]
    footer = [_footer(sort, interval)] if keys else []
    services = _sorted_services(rates.services, sort)
    records = rates.snapshot.records
    happened = [verdict for verdict in rates.verdicts if verdict.total]

    if height is None:
        body = _service_lines(services, records, history, width, sort, None)
        body += _verdict_lines(happened, width, None)
        footer = [Text(""), *footer] if keys else []
    else:
        room = max(0, height - len(header) - len(footer))
        # The reasons keep a quarter whatever the services need: drops have to be seen.
        verdict_room = max(room // 4, room - _rows_wanted(services))
        verdicts = _verdict_lines(happened, width, verdict_room)
        body = _service_lines(services, records, history, width, sort, room - len(verdicts))
        body += verdicts
        body = body[:room] + [Text("")] * (room - len(body))

    lines = [*header, *body, *footer][:height]
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Group(*lines)


def _header(rates: Rates, width: int, clock: str, paused: bool) -> Text:
    left = Text("pydsr", style="bold")
    interfaces = rates.snapshot.interfaces
    for index, (name, mode) in enumerate(interfaces):
        left.append("  " if index == 0 else ", ")
        left.append(f"{name} ").append(mode, style=_MODE_STYLES.get(mode, ""))
    if not interfaces:
        left.append("  not attached", style="yellow")
    total = rates.total
    packets = Text(f"{figures.count(total.packets)} pkt/s", style="bold")
    bits = Text(figures.bit_rate(total.bits), style="bold")
    flows = Text(f"{figures.count(total.new_flows)} new/s", style="bold")
    moment = Text("paused", style="black on yellow") if paused else Text(clock, style="dim")
    right = [part for part in (packets, bits, flows, moment) if part.plain]
    # That the numbers stand still must be told however narrow the terminal is.
    dispensable = [bits, flows] if paused else [bits, flows, moment]
    while dispensable and sum(part.cell_len + 2 for part in right) > width - _INTERFACE_CELLS:
        dropped = dispensable.pop()
        right = [part for part in right if part is not dropped]
    totals = Text("  ").join(right)
    left.truncate(max(0, width - totals.cell_len - 2), overflow="ellipsis", pad=True)
    return Text.assemble(left, "  ", totals)


def _footer(sort: Sort, interval: float) -> Text:
    footer = Text()
    for key, meaning in (
        ("q", "quit"),
        ("p", "pause"),
        ("s", f"sort by {sort}"),
        ("+-", f"every {interval:g} s"),
    ):
        footer.append(key, style="bold cyan").append(f" {meaning}   ", style="dim")
    return footer


def _sorted_services(services: Iterable[ServiceRate], sort: Sort) -> list[ServiceRate]:
    # Sorting by size keeps the order by name among equals, so that rows at rest stand still.
    by_name = sorted(services, key=lambda each: each.service.endpoint)
    if sort in (Sort.NAME, Sort.SHARE):
        return by_name
    return sorted(by_name, key=lambda each: -_size(each.rate, sort))


def _sorted_backends(service: ServiceRate, sort: Sort) -> list[BackendRate]:
    by_name = sorted(service.backends, key=lambda each: Endpoint(each.backend.address, 0))
    if sort is Sort.NAME:
        return by_name
    if sort is Sort.SHARE:
        return sorted(by_name, key=lambda each: -(each.share or 0.0))
    return sorted(by_name, key=lambda each: -_size(each.rate, sort))


def _size(rate: Rate, sort: Sort) -> float:
    sizes = {Sort.PACKETS: rate.packets, Sort.BITS: rate.bits, Sort.FLOWS: rate.new_flows or 0.0}
    return sizes[sort]


def _rows_wanted(services: Sequence[ServiceRate]) -> int:
    # A row of headings, then every service with its backends, or the word that it has none.
    return 1 + sum(map(_service_rows, services)) if services else 1


def _service_rows(service: ServiceRate) -> int:
    return 1 + max(1, len(service.backends))


def _service_lines(
    services: Sequence[ServiceRate],
    records: Mapping[int, int],
    history: History,
    width: int,
    sort: Sort,
    room: int | None,
) -> list[Text]:
    if not services:
        return [Text("no services: `pydsr services add` adds one", style="dim")][:room]
    columns = fit_columns(services, width)
    wanted = [_service_rows(service) for service in services]
    if room is None:
        rows, spacing = wanted, True
    else:
        rows = _allot(wanted, room - 1)
        spacing = sum(wanted) + len(wanted) <= room
    lines = [columns.headings()]
    for service, limit in zip(services, rows, strict=False):
        if spacing and len(lines) > 1:
            lines.append(Text(""))
        recorded = records.get(service.service.id, 0)
        lines += _one_service(service, recorded, history, columns, sort, limit)
    if len(rows) < len(services):
        lines.append(_more(len(services) - len(rows), "service"))
    return lines


def _allot(wanted: Sequence[int], room: int) -> list[int]:
    """Share the rows of the screen among services, small ones getting all they want.

    Returns:
        The rows of each service, none below two; shorter than ``wanted`` where not all services
        find room, with a row then left to say so.
    """
    shown = len(wanted)
    if shown * _LEAST_ROWS > room:
        shown = max(0, (room - 1) // _LEAST_ROWS)
        room -= 1
    rows = [0] * shown
    by_size = sorted(range(shown), key=lambda index: wanted[index])
    for place, index in enumerate(by_size):
        rows[index] = min(wanted[index], room // (shown - place))
        room -= rows[index]
    return rows


def _one_service(
    service: ServiceRate,
    records: int,
    history: History,
    columns: Columns,
    sort: Sort,
    limit: int,
) -> list[Text]:
    name = service_title(service, columns.widths["name"])
    title = columns.row(
        {"name": name, **_rate_cells(service.rate, columns), **_change_cells(service, records)}
    )
    title.stylize("bold")
    if not service.backends:
        return [title, Text(f"{INDENT}no backends", style="yellow")]
    shown = len(service.backends)
    if shown > limit - 1:
        shown = limit - 2
    largest = max(max(each.share or 0.0, each.weight_share) for each in service.backends)
    lines = [title]
    for each in _sorted_backends(service, sort)[:shown]:
        past = history.packets(service.service.endpoint, each.backend.address)
        lines.append(_backend_row(each, past, largest, columns))
    if shown < len(service.backends):
        lines.append(_more(len(service.backends) - shown, "backend"))
    return lines


def _change_cells(service: ServiceRate, records: int) -> dict[str, Text]:
    """Say that slots are changing, how many, and how many flows are recorded; at rest, nothing."""
    slots = service.service.slots_changing
    if not slots:
        return {}
    counts = f"{figures.count(slots)} slots {figures.count(records)} flows"
    return {"state": Text("change", style="yellow"), "history": Text(counts, style="yellow")}


def _backend_row(
    each: BackendRate, past: Sequence[float], largest: float, columns: Columns
) -> Text:
    widths = columns.widths
    row = columns.row(
        {
            "name": Text(f"{INDENT}{each.backend.address}"),
            **_rate_cells(each.rate, columns),
            "share": Text(figures.percent(each.share)),
            "weight": Text(figures.percent(each.weight_share), style="dim"),
            "bar": figures.share_bar(each.share, each.weight_share, largest, widths.get("bar", 0)),
            "state": figures.state(each.backend),
            "mac": figures.mac(each.backend),
            "history": Text(figures.sparkline(past, widths.get("history", 0)), style="cyan"),
        }
    )
    if each.backend.state is BackendState.DOWN:
        row.stylize("dim")
    return row


def _rate_cells(rate: Rate, columns: Columns) -> dict[str, Text]:
    is_long = columns.widths.get("bits", 0) >= LONG_BITS
    return {
        "packets": Text(figures.count(rate.packets)),
        "bits": Text(figures.bit_rate(rate.bits) if is_long else figures.count(rate.bits)),
        "flows": Text(figures.count(rate.new_flows)),
    }


def _verdict_lines(verdicts: Sequence[VerdictRate], width: int, room: int | None) -> list[Text]:
    """Draw the reasons side by side, as many as the width takes, below a blank line."""
    if not verdicts or (room is not None and room < _LEAST_ROWS):
        return []
    longest = max(len(verdict.reason) for verdict in verdicts)
    cells = [_verdict_cell(verdict, longest) for verdict in verdicts]
    gap = Text("    ")
    abreast = max(1, (width + len(gap)) // (cells[0].cell_len + len(gap)))
    lines = [gap.join(cells[start : start + abreast]) for start in range(0, len(cells), abreast)]
    if room is not None and len(lines) > room - 1:
        shown = room - 2
        lines = [*lines[:shown], _more(len(verdicts) - shown * abreast, "reason")]
    return [Text(""), *lines]


def _verdict_cell(verdict: VerdictRate, reason_cells: int) -> Text:
    rate = f"{figures.count(verdict.packets)}/s"
    total = figures.count(verdict.total)
    return Text.assemble(
        f"{verdict.reason:<{reason_cells}}",
        (f"  {rate:>7}", "bold" if verdict.packets else "dim"),
        (f"  {total:>6}", "dim"),
    )


def _more(number: int, noun: str) -> Text:
    return Text(f"{INDENT}… {number} more {noun}{'' if number == 1 else 's'}", style="dim")
