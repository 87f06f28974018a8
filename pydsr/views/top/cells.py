"""Cells that several pages of the live view have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydsr.model.addresses import Endpoint
from pydsr.model.rates import BackendRate, Rate, ServiceRate
from pydsr.model.service import BackendState
from pydsr.views.text import figures, lines
from pydsr.views.text.lines import Line, line
from pydsr.views.top.columns import INDENT, LONG_BITS, Columns
from pydsr.views.top.moment import Moment

if TYPE_CHECKING:
    from pydsr.views.json.document_types import BackendHealthDocument

_LEAST_NAME_CELLS = 5
_LEAST_CAUSE_CELLS = 16
_MESSAGE_CELLS = 40
"""Least width for a failure's message; narrower columns show its outcome in one word."""

_LARGE_DEVIATION = 0.25
"""Deviations from this on are coloured."""


def service_title(service: ServiceRate, width: int | None = None) -> Line:
    """Return a service's endpoint, and its name if the width (None for any) has room for it."""
    endpoint = str(service.service.endpoint)
    name = service.service.options.name
    # A name cut to nothing would cost the endpoint its last character, for the ellipsis.
    if name and (width is None or width >= len(endpoint) + _LEAST_NAME_CELLS):
        return line((endpoint, "bold"), (f"  {name}", "not bold cyan"))
    return line((endpoint, "bold"))


def rate_cells(rate: Rate, columns: Columns) -> dict[str, Line]:
    """Return the cells with the rates of a service or backend."""
    is_long = columns.widths.get("bits", 0) >= LONG_BITS
    return {
        "packets": line(figures.count(rate.packets)),
        "bits": line(figures.bit_rate(rate.bits) if is_long else figures.count(rate.bits)),
        "flows": line(figures.count(rate.new_flows)),
    }


def largest_share(backends: Sequence[BackendRate]) -> float:
    """Return the share that fills a bar."""
    return max((max(each.share or 0.0, each.weight_share) for each in backends), default=0.0)


def deviation(part: float | None) -> Line:
    """Return the deviation of a share from what the weight asks for."""
    is_large = part is not None and abs(part) >= _LARGE_DEVIATION
    return line((figures.signed_percent(part), "yellow" if is_large else "dim"))


def backend_cells(
    moment: Moment, endpoint: Endpoint, each: BackendRate, largest: float, columns: Columns
) -> dict[str, Line]:
    """Return the cells of a backend that both pages have; ``largest`` fills a bar."""
    widths = columns.widths
    past = moment.history.packets(endpoint, each.backend.address, widths.get("history", 0))
    return {
        "name": line(f"{INDENT}{each.backend.address}"),
        **rate_cells(each.rate, columns),
        "share": line(figures.percent(each.share)),
        "weight": line((figures.percent(each.weight_share), "dim")),
        "off": deviation(each.deviation),
        "bar": figures.share_bar(each.share, each.weight_share, largest, widths.get("bar", 0)),
        "state": figures.state(each.backend),
        "mac": figures.mac(each.backend),
        "history": line((figures.sparkline(past, widths.get("history", 0)), "cyan")),
        **_cause(moment.health_of(endpoint, each.backend), widths),
    }


def _cause(health: BackendHealthDocument | None, widths: Mapping[str, int]) -> dict[str, Line]:
    """Return why a backend is unhealthy, in the column of its history or, if narrow, its MAC."""
    if health is None or health["healthy"] is not False:
        return {}
    column = "history" if widths.get("history", 0) >= _LEAST_CAUSE_CELLS else "mac"
    width = widths.get(column, 0)
    text = "✘ unhealthy"
    if health["failures"]:
        failure = health["failures"][0]
        text = f"✘ {failure['message'] if width >= _MESSAGE_CELLS else failure['outcome']}"
    duration = f" {figures.duration(health['seconds'])}"
    if len(text + duration) <= width and health["seconds"] is not None:
        text += duration
    return {column: line((text, "not dim red"))}


def backend_row(each: BackendRate, cells: Mapping[str, Line], columns: Columns) -> Line:
    """Draw the row of a backend, dimmed if it is down."""
    row = columns.row(cells)
    return lines.styled(row, "dim") if each.backend.state is BackendState.DOWN else row
