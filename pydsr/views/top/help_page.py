"""What the keys of the live view do, and what its columns say. Pure."""

from __future__ import annotations

import textwrap

from pydsr.views.top import lines
from pydsr.views.top.lines import Line, line
from pydsr.views.top.reasons_page import TIMING

_KEYS = (
    ("↑ ↓  PgUp PgDn", "mark a service; on other pages, scroll"),
    ("Enter", "show the marked service alone; ← → go to the next one, Esc back"),
    ("/", "filter: words of endpoint, name, address, state (down, no mac, unhealthy); Esc ends it"),
    ("s", "sort by the next of: name, packets, bits, flows, share, imbalance, trouble"),
    ("N P B F S I T", "sort by that one at once"),
    ("r", "what becomes of packets and why, and what one costs"),
    ("p, space", "pause"),
    ("+ -", "read less often, more often"),
    ("q", "quit"),
)

_LEAST_TEXT_CELLS = 20

_COLUMNS = (
    ("share", "of the service's packets that this backend gets"),
    ("weight", "what its weight asks for; the mark in the bar (┿) stands there"),
    ("off", "share against weight: +20% is a fifth more than asked for"),
    ("slots", "of the service's table that it owns"),
    ("set to", "the weight in force, and after / the file's where health has lowered it"),
    ("for", "how long its health has been what it is"),
    ("confirmed", "when the kernel last heard from this MAC"),
)


def help_page(width: int, room: int | None, scrolled: int) -> list[Line]:
    """Draw the page.

    Args:
        width: cells of a row.
        room: rows, which are never exceeded; None for as many as it takes.
        scrolled: rows that are above the screen.
    """
    drawn = [line(("keys", "bold")), *_rows(_KEYS, "bold cyan", width), lines.EMPTY]
    drawn += [line(("columns", "bold")), *_rows(_COLUMNS, "bold", width), lines.EMPTY]
    drawn += [
        line(("health and what is wrong are known where ", "dim"), "pydsr run", (" is", "dim")),
        line(("what a packet costs is known after ", "dim"), TIMING),
    ]
    start = 0 if room is None else min(scrolled, max(0, len(drawn) - room))
    shown = drawn[start:] if room is None else drawn[start : start + room]
    return [lines.cropped(each, width) for each in shown]


def _rows(rows: tuple[tuple[str, str], ...], style: str, width: int) -> list[Line]:
    longest = max(lines.cells(line(name)) for name, _ in rows)
    beside = longest + 5
    drawn = []
    for name, meaning in rows:
        first, *others = textwrap.wrap(meaning, max(_LEAST_TEXT_CELLS, width - beside))
        drawn.append(line("  ", (f"{name:<{longest}}", style), f"   {first}"))
        drawn += [line(" " * beside + other) for other in others]
    return drawn
