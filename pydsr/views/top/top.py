"""The frame of the live view: a pure function of what there is and what was chosen.

Every line is laid out by hand and is exactly one row of the terminal, so that a frame of a given
height never loses its footer.
"""

from __future__ import annotations

from pydsr.views.text import figures
from pydsr.views.top import lines
from pydsr.views.top.choices import Choices, Page
from pydsr.views.top.help_page import help_page
from pydsr.views.top.lines import Line, Part, line
from pydsr.views.top.moment import Moment
from pydsr.views.top.overview import overview
from pydsr.views.top.reasons_page import reasons_page
from pydsr.views.top.service_page import service_page

_MODE_STYLES = {"native": "green", "generic": "yellow"}

_INTERFACE_CELLS = 20
"""What the header leaves for the interfaces before it drops totals."""


def frame(
    moment: Moment,
    choices: Choices,
    *,
    width: int,
    height: int | None = None,
    keys: bool = True,
) -> list[Line]:
    """Draw one frame.

    Args:
        moment: what to show.
        choices: how to show it.
        width: characters a line may have.
        height: rows of the terminal, which are filled and never exceeded; None shows all there is.
        keys: whether there is a footer that tells the keys.
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
            return help_page(width, room, choices.scrolled)
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
    cost = (_cost(moment), "bold")
    clock = ("paused", "black on yellow") if paused else (moment.clock, "dim")
    right = [part for part in (packets, bits, flows, cost, clock) if part[0]]
    # That the numbers stand still must be told however narrow the terminal is.
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


def _cost(moment: Moment) -> str:
    """Return what a packet costs the dearest program; empty where that is not known."""
    timed = [one.nanoseconds for one in moment.rates.programs if one.nanoseconds is not None]
    return f"{max(timed):.0f} ns/pkt" if timed else ""


def _problem(moment: Moment) -> Line:
    if moment.problem is None:
        return lines.EMPTY
    hint = f" ({moment.problem.hint})" if moment.problem.hint else ""
    return line((f"{moment.problem.message}{hint}", "bold red"))


def _footer(choices: Choices, width: int) -> Line:
    """Tell the keys that there is room for, the last of which is always that for help."""
    if choices.is_typing:
        return line(
            ("filter: ", "bold cyan"), choices.filter, ("▏", "bold"), ("  Enter keeps it", "dim"),
            (", Esc shows everything", "dim"),
        )  # fmt: skip
    kept = f"filter {choices.filter}" if choices.filter else "filter"
    sort, often = ("s", f"sort by {choices.sort}"), ("+-", f"every {choices.interval:g} s")
    scroll = ("↑↓", "scroll")
    keys = {
        Page.SERVICES: (
            ("Enter", "open"), ("/", kept), sort, often, ("r", "reasons"), ("p", "pause"),
        ),
        Page.SERVICE: (
            ("Esc", "back"), ("←→", "next service"), sort, often, scroll, ("p", "pause"),
        ),
        Page.REASONS: (("Esc", "back"), scroll, often, ("p", "pause")),
        Page.HELP: (("Esc", "back"), scroll),
    }[choices.page]  # fmt: skip
    quit_, help_ = _key("q", "quit"), _key("?", "help")
    footer = [quit_]
    for key, meaning in keys:
        footer.append(_key(key, meaning))
        if lines.cells(lines.joined([*footer, help_], "   ")) > width:
            footer.pop()
    return lines.joined([*footer, help_], "   ")


def _key(key: str, meaning: str) -> Line:
    return line((key, "bold cyan"), (f" {meaning}", "dim"))
