"""Numbers for people: short counts, rates, shares, durations, sparklines and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydsr.model.service import Backend, BackendState
from pydsr.views.text.lines import Line

if TYPE_CHECKING:
    from pydsr.views.json.document_types import BackendHealthDocument

UNKNOWN = "–"  # noqa: RUF001 - a dash is meant
"""Stands for a value that is unknown or has no meaning."""

_LEVELS = "▁▂▃▄▅▆▇█"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_STATE_STYLES = {
    BackendState.UP: "green",
    BackendState.DRAIN: "yellow",
    BackendState.DOWN: "bold red",
}


def scaled(value: float) -> tuple[str, str]:
    """Return a number in at most four characters, and the decimal prefix it was divided by."""
    for prefix in _PREFIXES:
        # Compare with the rounded value: 999.6 is 1.0k, never 1000.
        if value < 99.95:
            whole = round(value, 1) == round(value) and (prefix == "" or value == 0)
            return f"{value:.0f}" if whole else f"{value:.1f}", prefix
        if value < 999.5 or prefix == _PREFIXES[-1]:
            break
        value /= 1000
    return f"{value:.0f}", prefix


def count(value: float | None) -> str:
    """Return a count or rate such as ``7``, ``1.2k`` or ``3.4M``; a dash for None."""
    return UNKNOWN if value is None else "".join(scaled(value))


def bit_rate(bits: float) -> str:
    """Return bits per second such as ``12.3 Mbit/s``."""
    number, prefix = scaled(bits)
    return f"{number} {prefix}bit/s"


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 as ``48%`` or ``4.8%``; a dash for None."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    return f"{value:.1f}%" if 0 < value < 9.95 else f"{value:.0f}%"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw the latest values, newest at the right, relative to the largest; none is negative."""
    latest = values[-width:] if width > 0 else ()
    largest = max(latest, default=0.0)
    top = len(_LEVELS) - 1
    # Rounded up, so that a little traffic does not look like none.
    levels = (math.ceil(value / largest * top) if largest else 0 for value in latest)
    return "".join(_LEVELS[level] for level in levels).rjust(width)


def signed_percent(part: float | None) -> str:
    """Return a deviation as ``+12%`` or ``-3.5%``; a dash for None."""
    if part is None:
        return UNKNOWN
    value = 100 * part
    if abs(value) >= 999.5:
        return f"{'+' if value > 0 else '-'}>999%"
    return "0%" if abs(value) < 0.05 else f"{value:+.{1 if abs(value) < 9.95 else 0}f}%"


def duration(seconds: float | None) -> str:
    """Return a duration as ``12 s``, ``5 min``, ``3 h`` or ``2 d``; a dash for None."""
    if seconds is None:
        return UNKNOWN
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def amount(size: float) -> str:
    """Return a number of bytes such as ``30.0 MB``."""
    number, prefix = scaled(size)
    return f"{number} {prefix}B"


def share_bar(share: float | None, weight_share: float, largest: float, width: int) -> Line:
    """Draw a share as a bar, with a mark at the share that the weight asks for.

    Args:
        share: part of the traffic, 0 to 1; None for an empty bar.
        weight_share: part that the weight asks for, 0 to 1.
        largest: the share that fills the bar, so that many small shares can be compared.
        width: number of characters.
    """
    per_share = width / largest if largest else 0.0
    filled = min(width, round((share or 0.0) * per_share))
    bar = "━" * filled + "─" * (width - filled)
    if not (weight_share > 0 and per_share):
        return _bar(bar, filled)
    mark = min(width - 1, max(0, round(weight_share * per_share) - 1))
    style = "bold" if filled > mark else "bright_black"
    after = _bar(bar[mark + 1 :], max(0, filled - mark - 1))
    return (*_bar(bar[:mark], min(mark, filled)), ("┿", style), *after)


def _bar(bar: str, filled: int) -> Line:
    return (bar[:filled], "cyan"), (bar[filled:], "bright_black")


def state(backend: Backend) -> Line:
    """Return a backend's state in its colour; ``no MAC`` if it is up but unresolved."""
    if backend.state is BackendState.UP and backend.mac is None:
        return (("no MAC", "bold red"),)
    return ((backend.state.value, _STATE_STYLES[backend.state]),)


def mac(backend: Backend) -> Line:
    """Return a backend's MAC address, or ``unresolved``."""
    return (("unresolved", "red"),) if backend.mac is None else ((str(backend.mac), ""),)


def failures(health: BackendHealthDocument) -> str:
    """Return the failed checks of a backend with their messages; empty if none failed."""
    return "; ".join(
        f"{each['check']}: {each['message']}" + (f" ({each['hint']})" if each["hint"] else "")
        for each in health["failures"]
    )
