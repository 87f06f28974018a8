"""Traces of packets through the loaded program, as lines and tables."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydsr.captures.pcap import CapturedFrame
from pydsr.model.reasons import all_reasons
from pydsr.views.json.documents import explain_document
from pydsr.views.text.capture import summary
from pydsr.views.text.tables import VERDICT_STYLES, new_table, or_dash, segment

if TYPE_CHECKING:
    from pydsr.control.trace import Trace
    from pydsr.views.json.report_types import FrameDocument


@dataclass(frozen=True)
class TracedFrame:
    """A frame and the program's answer.

    Attributes:
        answer: None if the program cannot be asked.
        egress: name of the egress interface, or None.
        note: why the program cannot be asked, or empty.
    """

    captured: CapturedFrame
    answer: Trace | None
    egress: str | None = None
    note: str = ""


def trace_table(trace: Trace, egress: str | None = None) -> RenderableType:
    """Show what the program would do with a packet, and the egress interface."""
    table = Table.grid(padding=(0, 2))
    meanings = {reason.name: reason.text for reason in all_reasons()}
    for name, value, style in (
        ("service", trace.service, "bold"),
        ("verdict", trace.verdict, VERDICT_STYLES.get(trace.verdict, "")),
        ("reason", trace.reason, ""),
        ("why", meanings.get(trace.reason), ""),
        ("backend", trace.backend, "bold"),
        ("mac", trace.mac, ""),
        ("interface", segment(egress, trace.tags), ""),
        ("slot", trace.slot, ""),
    ):
        table.add_row(Text(name, style="dim"), Text(or_dash(value), style=style))
    return table


def outcomes_table(packets: Mapping[str | None, int]) -> RenderableType:
    """Show the number of packets by reason, with its meaning; None counts those not traced."""
    table = new_table([], ["packets"], ["verdict", "reason", "why"])
    for reason in all_reasons():
        if packets.get(reason.name):
            verdict = Text(reason.verdict, style=VERDICT_STYLES.get(reason.verdict, ""))
            count = Text(str(packets[reason.name]))
            table.add_row(count, verdict, Text(reason.name), Text(reason.text))
    if packets.get(None):
        dash = or_dash(None)
        table.add_row(str(packets[None]), dash, dash, "the program cannot be asked about them")
    return table


def frame_table(frame: TracedFrame) -> RenderableType:
    """Show the trace of one frame."""
    if frame.answer is None:
        return Text(frame_line(frame).strip())
    packet = Text.assemble(("packet     ", "dim"), summary(frame.captured.frame))
    return Group(packet, trace_table(frame.answer, frame.egress))


def frame_line(frame: TracedFrame) -> str:
    """Return the trace of a frame as one line: number, local time, headers, length, verdict."""
    captured = frame.captured
    words = [f"{captured.number:>6}"]
    # The clock of a capture may count seconds beyond any date.
    with suppress(OverflowError, OSError, ValueError):
        if captured.time is not None:
            fraction = f"{captured.time % 1:.6f}"[1:]
            words.append(time.strftime("%H:%M:%S", time.localtime(captured.time)) + fraction)
    words.append(f"{summary(captured.frame)}, {captured.length} bytes: {_outcome(frame)}")
    return " ".join(words)


def _outcome(frame: TracedFrame) -> str:
    answer = frame.answer
    if answer is None:
        return f"unknown: {frame.note}"
    text = f"{answer.verdict} {answer.reason}"
    if answer.service is not None:
        text += f", {answer.service}"
    if answer.backend is not None:
        text += f" backend {answer.backend} ({answer.mac})"
    if answer.verdict == "redirect":
        text += f" by {frame.egress}"
    return text if answer.slot is None else f"{text} slot {answer.slot}"


def frame_document(frame: TracedFrame) -> FrameDocument:
    """Return the trace of a frame as a JSON document; ``time`` is seconds since the epoch."""
    return {
        "number": frame.captured.number,
        "time": frame.captured.time,
        "flow": summary(frame.captured.frame),
        "length": frame.captured.length,
        **explain_document(frame.answer, frame.egress),
        "note": frame.note or None,
    }
