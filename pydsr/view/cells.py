"""The cells of the live view that all its pages have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydsr.model import BackendState, Endpoint
from pydsr.stats import BackendRate, Rate, ServiceRate
from pydsr.view import figures, lines
from pydsr.view.columns import INDENT, LONG_BITS, Columns
from pydsr.view.lines import Line, line
from pydsr.view.moment import Moment

_LEAST_NAME_CELLS = 5
_LEAST_CAUSE_CELLS = 12
_FAR_OFF = 0.25
"""From this deviation on it is coloured."""


def service_title(service: ServiceRate, width: int | None = None) -> Line:
    """Return a service's endpoint, and its name if it has one and there is room for some of it.

    Args:
        service: the service.
        width: the room there is; None for as much as it takes.
    """
    endpoint = str(service.service.endpoint)
    name = service.service.options.name
    # A name cut to nothing would still cost the endpoint its last character for the ellipsis.
    if name and (width is None or width >= len(endpoint) + _LEAST_NAME_CELLS):
        return line((endpoint, "bold"), (f"  {name}", "not bold cyan"))
    return line((endpoint, "bold"))


def rate_cells(rate: Rate, columns: Columns) -> dict[str, Line]:
    """Return the rates of a service or backend."""
    is_long = columns.widths.get("bits", 0) >= LONG_BITS
    return {
        "packets": line(figures.count(rate.packets)),
        "bits": line(figures.bit_rate(rate.bits) if is_long else figures.count(rate.bits)),
        "flows": line(figures.count(rate.new_flows)),
    }


def largest_share(backends: Sequence[BackendRate]) -> float:
    """Return what fills a bar of shares."""
    return max((max(each.share or 0.0, each.weight_share) for each in backends), default=0.0)


def deviation(part: float | None) -> Line:
    """Return how far a share is from what the weight asks for."""
    far = part is not None and abs(part) >= _FAR_OFF
    return line((figures.signed_percent(part), "yellow" if far else "dim"))


def backend_cells(
    moment: Moment, endpoint: Endpoint, each: BackendRate, largest: float, columns: Columns
) -> dict[str, Line]:
    """Return the cells of a backend that both pages have; its cause instead of a plot of nothing.

    Args:
        moment: what there is.
        endpoint: of its service.
        each: the backend.
        largest: the share that fills a bar.
        columns: those that fit.
    """
    widths = columns.widths
    return {
        "name": line(f"{INDENT}{each.backend.address}"),
        **rate_cells(each.rate, columns),
        "share": line(figures.percent(each.share)),
        "weight": line((figures.percent(each.weight_share), "dim")),
        "off": deviation(each.deviation),
        "bar": figures.share_bar(each.share, each.weight_share, largest, widths.get("bar", 0)),
        "state": figures.state(each.backend),
        "mac": figures.mac(each.backend),
        "history": _history(moment, endpoint, each, widths.get("history", 0)),
    }


def _history(moment: Moment, endpoint: Endpoint, each: BackendRate, width: int) -> Line:
    held = moment.health_of(endpoint, each.backend)
    if width >= _LEAST_CAUSE_CELLS and held is not None and held["healthy"] is False:
        lasting = "" if held["seconds"] is None else f" ({figures.duration(held['seconds'])})"
        return line((f"✘ {_first_message(held) or 'unhealthy'}{lasting}", "not dim red"))
    packets = moment.history.packets(endpoint, each.backend.address, width)
    return line((figures.sparkline(packets, width), "cyan"))


def _first_message(held: Mapping[str, Any]) -> str:
    failures = held["failures"]
    return f"{failures[0]['check']}: {failures[0]['message']}" if failures else ""


def backend_row(each: BackendRate, cells: Mapping[str, Line], columns: Columns) -> Line:
    """Draw the row of a backend, dimmed where it is down."""
    row = columns.row(cells)
    return lines.styled(row, "dim") if each.backend.state is BackendState.DOWN else row
