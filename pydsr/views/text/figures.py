"""Numbers as people read them: short counts, rates, shares, sparklines and bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydsr.model.service import Backend, BackendState
from pydsr.views.top.lines import Line

UNKNOWN = "–"  # noqa: RUF001 - a dash is meant
"""Shown where a value is not known or has no meaning."""

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
        # The comparisons are with what rounding would show: 999.6 is 1.0k, never 1000.
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
    """Draw the latest values, newest at the right, against the largest of those drawn.

    Args:
        values: oldest first, none negative.
        width: how many characters to fill; missing values are left blank.
    """
    shown = values[-width:] if width > 0 else ()
    largest = max(shown, default=0.0)
    top = len(_LEVELS) - 1
    # Rounded up, so that a little traffic never looks like none.
    levels = (math.ceil(value / largest * top) if largest else 0 for value in shown)
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
    """Write a number of bytes with a decimal unit: ``30.0 MB``."""
    number, prefix = scaled(size)
    return f"{number} {prefix}B"


def share_bar(share: float | None, weight_share: float, largest: float, width: int) -> Line:
    """Draw a share as a bar with a mark where the weight would have it.

    Args:
        share: the part of the traffic, 0 to 1; None draws no bar.
        weight_share: the part its weight asks for, 0 to 1.
        largest: the share that fills the bar, so that a hundred small ones can be compared.
        width: how many characters to fill.
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
    """Return a backend's state in its colour; an up one that no frame can reach says so."""
    if backend.state is BackendState.UP and backend.mac is None:
        return (("no MAC", "bold red"),)
    return ((backend.state.value, _STATE_STYLES[backend.state]),)


def mac(backend: Backend) -> Line:
    """Return a backend's MAC address, or that it is not resolved."""
    return (("unresolved", "red"),) if backend.mac is None else ((str(backend.mac), ""),)


def failures(health: Mapping[str, Any]) -> str:
    """Return what checks of a backend find wrong, in words; empty where nothing is."""
    return "; ".join(
        f"{one['check']}: {one['message']}" + (f" ({one['hint']})" if one["hint"] else "")
        for one in health["failures"]
    )
