"""What becomes of packets and why: in short below all services, and as a page of its own. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import cache

from pydsr.model.rates import ProgramRate, Rates, VerdictRate
from pydsr.model.reasons import Reason, all_reasons
from pydsr.views.text import figures, lines
from pydsr.views.text.lines import Line, line
from pydsr.views.top.moment import Moment

_ORDER = ("drop", "pass", "tx")
_MEANINGS = {
    "drop": "dropped",
    "pass": "passed on to this machine",
    "tx": "sent out",
}
_LEAST_TEXT_CELLS = 24
TIMING = "sysctl -w kernel.bpf_stats_enabled=1"
"""What has the kernel time programs."""


def happened(rates: Rates) -> list[VerdictRate]:
    """Return the reasons that packets have left by, those of drops first."""
    found = [one for one in rates.verdicts if one.total]
    return sorted(found, key=lambda one: _verdict(one.reason) != "drop")


@cache
def _reasons() -> Mapping[str, Reason]:
    return {reason.name: reason for reason in all_reasons()}


def _verdict(name: str) -> str:
    return _reasons()[name].verdict if name in _reasons() else ""


def _style(one: VerdictRate) -> str:
    """Return how a reason is drawn: drops of this moment stand out."""
    if not one.packets:
        return "dim" if _verdict(one.reason) == "drop" else ""
    return "bold red" if _verdict(one.reason) == "drop" else ""


def reason_lines(reasons: Sequence[VerdictRate], width: int, room: int | None) -> list[Line]:
    """Draw reasons side by side, as many as the width takes, below a blank line.

    Args:
        reasons: those to draw.
        width: cells of a row.
        room: rows, which are never exceeded; None for as many as it takes.
    """
    if not reasons or (room is not None and room < 2):
        return []
    longest = max(len(one.reason) for one in reasons)
    cells = [_short(one, longest) for one in reasons]
    gap = "    "
    abreast = max(1, (width + len(gap)) // (lines.cells(cells[0]) + len(gap)))
    drawn = [
        lines.joined(cells[start : start + abreast], gap) for start in range(0, len(cells), abreast)
    ]
    if room is not None and len(drawn) > room - 1:
        left = len(reasons) - (room - 2) * abreast
        more = line((f"  … {left} more reason{'' if left == 1 else 's'}", "dim"))
        drawn = [*drawn[: room - 2], more]
    return [lines.EMPTY, *drawn]


def _short(one: VerdictRate, reason_cells: int) -> Line:
    return line(
        (f"{one.reason:<{reason_cells}}", _style(one)),
        (f"  {figures.count(one.packets) + '/s':>7}", "bold" if one.packets else "dim"),
        (f"  {figures.count(one.total):>6}", "dim"),
    )


def reasons_page(moment: Moment, width: int, room: int | None, scrolled: int) -> list[Line]:
    """Draw every reason that packets have left by, with what it means, and what programs cost.

    Args:
        moment: what there is.
        width: cells of a row.
        room: rows, which are never exceeded; None for as many as it takes.
        scrolled: rows that are above the screen.
    """
    found = happened(moment.rates)
    longest = max((len(one.reason) for one in found), default=0)
    drawn: list[Line] = []
    for verdict in _ORDER:
        group = [one for one in found if _verdict(one.reason) == verdict]
        if group:
            drawn += [lines.EMPTY] if drawn else []
            total = sum(one.packets for one in group)
            drawn.append(
                line((_MEANINGS[verdict], "bold"), (f"  {figures.count(total)} pkt/s", "dim"))
            )
            for one in group:
                drawn += _explained(one, longest, width)
    if not found:
        drawn.append(line(("no packet has come by yet", "dim")))
    drawn += [lines.EMPTY, *_programs(moment)]
    start = 0 if room is None else min(scrolled, max(0, len(drawn) - room))
    return drawn[start:] if room is None else drawn[start : start + room]


def _explained(one: VerdictRate, reason_cells: int, width: int) -> list[Line]:
    short = (("  ", ""), *_short(one, reason_cells))
    text = _reasons()[one.reason].text
    beside = lines.cells(short) + 3
    if width - beside < _LEAST_TEXT_CELLS:
        wrapped = textwrap.wrap(text, max(1, width - 4))
        return [short, *(line((f"    {part}", "dim")) for part in wrapped)]
    first, *others = textwrap.wrap(text, width - beside)
    return [(*short, (f"   {first}", "")), *(line(" " * beside + part) for part in others)]


def _programs(moment: Moment) -> list[Line]:
    if moment.rates.snapshot.programs_timed:
        return [_program(one) for one in moment.rates.programs]
    return [
        line(
            (TIMING, "cyan"),
            (" has the kernel time what a packet costs", "dim"),
        )
    ]


def _program(one: ProgramRate) -> Line:
    name = f"program {one.program_id} on {', '.join(one.interfaces)}: "
    if one.nanoseconds is None:
        return line((name, "dim"), ("no packet timed", "dim"))
    cost = f"{one.nanoseconds:.0f} ns a packet"
    return line((name, "dim"), (cost, "bold"), f", {figures.percent(one.processor)} of a CPU")
