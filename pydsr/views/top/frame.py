"""The frame of the live view, and its help page: a pure function of the moment and the choices.

Every line is exactly one row of the terminal, so that a frame never loses its footer.
"""

from __future__ import annotations

from pydsr.views.text import figures, lines
from pydsr.views.text.lines import Line, Part, line
from pydsr.views.top.choices import Choices, Page
from pydsr.views.top.moment import Moment
from pydsr.views.top.overview import overview
from pydsr.views.top.reasons_page import TIMING, reasons_page
from pydsr.views.top.service_page import service_page

_MODE_STYLES = {"native": "green", "generic": "yellow"}

_INTERFACE_CELLS = 20
"""Width that the header keeps for interfaces before it drops totals."""

_HELP_KEYS = (
    ("↑ ↓  PgUp PgDn", "mark a service; scroll on the other pages"),
    ("Enter", "open the marked service; ← → go to the next one, Esc goes back"),
    ("/", "filter by words of endpoint, name, address, state (down, no mac, unhealthy)"),
    ("s", "sort by the next of name, packets, bits, flows, share, imbalance, trouble"),
    ("N P B F S I T", "sort by one of these"),
    ("r", "show packets by verdict and reason, and the time per packet"),
    ("p, space", "pause"),
    ("+ -", "read less often, more often"),
    ("q", "quit"),
)
_HELP_COLUMNS = (
    ("share", "the backend's share of the service's packets"),
    ("weight", "the share that its weight asks for, marked in the bar (┿)"),
    ("off", "share compared with weight: +20% is a fifth more than the weight asks for"),
    ("slots", "the share of the service's table that it owns"),
    ("set to", "the weight in force; after / the file's weight, if health has lowered it"),
    ("for", "time since its health last changed"),
    ("confirmed", "time since the kernel last confirmed the MAC"),
)
_LEAST_TEXT_CELLS = 20


def frame(
    moment: Moment,
    choices: Choices,
    *,
    width: int,
    height: int | None = None,
    keys: bool = True,
) -> list[Line]:
    """Draw one frame, with a footer for the keys.

    It fills all rows of a height; without a height it has as many rows as it needs. Pages also take
    the width in cells and the room in rows, or None.
    """
    header = [_header(moment, width, paused=choices.paused), _problem(moment)]
    footer = [_footer(choices, width)] if keys else []
    room = None if height is None else max(0, height - len(header) - len(footer))
    body = _body(moment, choices, width, room, marked=keys)
    if height is None:
        footer = [lines.EMPTY, *footer] if keys else []
    elif room is not None:
        body = body[:room] + [lines.EMPTY] * (room - len(body))
    drawn = [*header, *body, *footer][:height]
    return [lines.cropped(each, width) for each in drawn]


def _body(
    moment: Moment, choices: Choices, width: int, room: int | None, *, marked: bool
) -> list[Line]:
    match choices.page:
        case Page.SERVICE:
            return service_page(moment, choices, width, room, moment.rates.snapshot.time)
        case Page.REASONS:
            return reasons_page(moment, width, room, choices.scrolled)
        case Page.HELP:
            return _help_page(width, room, choices.scrolled)
        case _:
            return overview(moment, choices, width, room, marked=marked)


def _header(moment: Moment, width: int, *, paused: bool) -> Line:
    rates = moment.rates
    left: list[Part] = [("pydsr", "bold")]
    for index, (name, mode) in enumerate(rates.snapshot.interfaces):
        left += [("  " if index == 0 else ", ", ""), (f"{name} ", "")]
        left.append((mode, _MODE_STYLES.get(mode, "")))
    if not rates.snapshot.interfaces:
        left.append(("  not attached", "yellow"))
    total = rates.total
    packets = (f"{figures.count(total.packets)} pkt/s", "bold")
    bits = (figures.bit_rate(total.bits), "bold")
    flows = (f"{figures.count(total.new_flows)} new/s", "bold")
    cost = (_packet_cost(moment), "bold")
    clock = ("paused", "black on yellow") if paused else (moment.clock, "dim")
    right = [part for part in (packets, bits, flows, cost, clock) if part[0]]
    # "paused" is never dropped: the figures are not current.
    dispensable = [bits, flows, cost] if paused else [bits, flows, clock, cost]
    while dispensable and sum(len(text) + 2 for text, _ in right) > width - _INTERFACE_CELLS:
        dropped = dispensable.pop()
        right = [part for part in right if part is not dropped]
    totals = lines.joined(((part,) for part in right), "  ")
    return (
        *lines.fitted(tuple(left), max(0, width - lines.cells(totals) - 2)),
        ("  ", ""),
        *totals,
    )


def _packet_cost(moment: Moment) -> str:
    """Return the time per packet of the slowest program; empty if unknown."""
    timed = [each.nanoseconds for each in moment.rates.programs if each.nanoseconds is not None]
    return f"{max(timed):.0f} ns/pkt" if timed else ""


def _problem(moment: Moment) -> Line:
    if moment.problem is None:
        return lines.EMPTY
    hint = f" ({moment.problem.hint})" if moment.problem.hint else ""
    return line((f"{moment.problem.message}{hint}", "bold red"))


def _footer(choices: Choices, width: int) -> Line:
    """Return the keys that fit; the last is always help."""
    if choices.is_typing:
        return line(
            ("filter: ", "bold cyan"), choices.filter, ("▏", "bold"), ("  Enter keeps it", "dim"),
            (", Esc shows everything", "dim"),
        )  # fmt: skip
    filter_ = ("/", f"filter {choices.filter}" if choices.filter else "filter")
    sort, interval = ("s", f"sort by {choices.sort}"), ("+-", f"every {choices.interval:g} s")
    scroll, pause = ("↑↓", "scroll"), ("p", "pause")
    keys = {
        Page.SERVICES: (("Enter", "open"), filter_, sort, interval, ("r", "reasons"), pause),
        Page.SERVICE: (("Esc", "back"), ("←→", "next service"), sort, interval, scroll, pause),
        Page.REASONS: (("Esc", "back"), scroll, interval, pause),
        Page.HELP: (("Esc", "back"), scroll),
    }[choices.page]
    quit_, help_ = _key("q", "quit"), _key("?", "help")
    footer = [quit_]
    for key, meaning in keys:
        footer.append(_key(key, meaning))
        if lines.cells(lines.joined([*footer, help_], "   ")) > width:
            footer.pop()
    return lines.joined([*footer, help_], "   ")


def _key(key: str, meaning: str) -> Line:
    return line((key, "bold cyan"), (f" {meaning}", "dim"))


def _help_page(width: int, room: int | None, scrolled: int) -> list[Line]:
    drawn = [line(("keys", "bold")), *_help_rows(_HELP_KEYS, "bold cyan", width), lines.EMPTY]
    drawn += [line(("columns", "bold")), *_help_rows(_HELP_COLUMNS, "bold", width), lines.EMPTY]
    drawn += [
        line(("health is shown while ", "dim"), "pydsr run", (" runs", "dim")),
        line(("the time per packet is shown after ", "dim"), TIMING),
    ]
    return [lines.cropped(each, width) for each in lines.window(drawn, room, scrolled)]


def _help_rows(rows: tuple[tuple[str, str], ...], style: str, width: int) -> list[Line]:
    longest = max(lines.cells(line(name)) for name, _ in rows)
    drawn = []
    for name, meaning in rows:
        head = line("  ", (f"{name:<{longest}}", style), "   ")
        drawn += lines.hanging(head, meaning, max(width, lines.cells(head) + _LEAST_TEXT_CELLS))
    return drawn
