"""Packets by verdict and reason: in short below all services, and as a page. Pure."""

from __future__ import annotations

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
    "pass": "passed to this host",
    "tx": "sent out",
}
_LEAST_TEXT_CELLS = 24
TIMING = "sysctl -w kernel.bpf_stats_enabled=1"
"""Makes the kernel measure the run time of programs."""


def happened(rates: Rates) -> list[VerdictRate]:
    """Return the reasons that were counted, drops first."""
    counted = [each for each in rates.verdicts if each.total]
    return sorted(counted, key=lambda each: _verdict(each.reason) != "drop")


@cache
def _reasons() -> Mapping[str, Reason]:
    return {reason.name: reason for reason in all_reasons()}


def _verdict(name: str) -> str:
    return _reasons()[name].verdict if name in _reasons() else ""


def _style(rate: VerdictRate) -> str:
    if _verdict(rate.reason) != "drop":
        return ""
    return "bold red" if rate.packets else "dim"


def reason_lines(reasons: Sequence[VerdictRate], width: int, room: int | None) -> list[Line]:
    """Draw reasons side by side below a blank line, in at most ``room`` rows if that is given."""
    if not reasons or (room is not None and room < 2):
        return []
    longest = max(len(each.reason) for each in reasons)
    cells = [_short(each, longest) for each in reasons]
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


def _short(rate: VerdictRate, reason_cells: int) -> Line:
    return line(
        (f"{rate.reason:<{reason_cells}}", _style(rate)),
        (f"  {figures.count(rate.packets) + '/s':>7}", "bold" if rate.packets else "dim"),
        (f"  {figures.count(rate.total):>6}", "dim"),
    )


def reasons_page(moment: Moment, width: int, room: int | None, scrolled: int) -> list[Line]:
    """Draw every counted reason with its meaning, and the time per packet of programs."""
    counted = happened(moment.rates)
    longest = max((len(each.reason) for each in counted), default=0)
    drawn: list[Line] = []
    for verdict in _ORDER:
        group = [each for each in counted if _verdict(each.reason) == verdict]
        if group:
            drawn += [lines.EMPTY] if drawn else []
            total = sum(each.packets for each in group)
            drawn.append(
                line((_MEANINGS[verdict], "bold"), (f"  {figures.count(total)} pkt/s", "dim"))
            )
            for each in group:
                drawn += _explained(each, longest, width)
    if not counted:
        drawn.append(line(("no packets counted yet", "dim")))
    drawn += [lines.EMPTY, *_programs(moment)]
    return lines.window(drawn, room, scrolled)


def _explained(rate: VerdictRate, reason_cells: int, width: int) -> list[Line]:
    short = (("  ", ""), *_short(rate, reason_cells))
    text = _reasons()[rate.reason].text
    head = (*short, ("   ", ""))
    if width - lines.cells(head) < _LEAST_TEXT_CELLS:
        return [short, *lines.hanging(line("    "), text, width, "dim")]
    return lines.hanging(head, text, width)


def _programs(moment: Moment) -> list[Line]:
    if moment.rates.snapshot.programs_timed:
        return [_program(each) for each in moment.rates.programs]
    return [line(("to measure the time per packet: ", "dim"), (TIMING, "cyan"))]


def _program(rate: ProgramRate) -> Line:
    name = f"program {rate.program_id} on {', '.join(rate.interfaces)}: "
    if rate.nanoseconds is None:
        return line((name, "dim"), ("no packets measured", "dim"))
    cost = f"{rate.nanoseconds:.0f} ns per packet"
    return line((name, "dim"), (cost, "bold"), f", {figures.percent(rate.processor)} of a CPU")
