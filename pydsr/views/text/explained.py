"""What the loaded program says of captured frames, as lines, tables and documents."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from pydsr.captures.pcap import CapturedFrame
from pydsr.views.json.documents import explain_document
from pydsr.views.text.capture import summary
from pydsr.views.text.tables import explain_table

if TYPE_CHECKING:
    from pydsr.control.trace import Explanation
    from pydsr.views.json.report_types import FrameDocument


@dataclass(frozen=True)
class ExplainedFrame:
    """A frame with what would become of it.

    Attributes:
        answer: None where the program cannot be asked.
        interface: the one it would leave by; None where it would not.
        note: why it cannot be asked; empty where it can.
    """

    captured: CapturedFrame
    answer: Explanation | None
    interface: str | None = None
    note: str = ""


def frame_document(frame: ExplainedFrame) -> FrameDocument:
    """Return the document of a frame; ``time`` is seconds since the epoch."""
    return {
        "number": frame.captured.number,
        "time": frame.captured.time,
        "flow": summary(frame.captured.frame),
        "length": frame.captured.length,
        **explain_document(frame.answer, frame.interface),
        "note": frame.note or None,
    }


def frame_line(frame: ExplainedFrame) -> str:
    """Return a frame of a capture as one line: number, local time, headers, length, outcome."""
    captured = frame.captured
    words = [f"{captured.number:>6}"]
    if captured.time is not None:
        fraction = f"{captured.time % 1:.6f}"[1:]
        words.append(time.strftime("%H:%M:%S", time.localtime(captured.time)) + fraction)
    words.append(f"{summary(captured.frame)}, {captured.length} bytes: {_outcome(frame)}")
    return " ".join(words)


def _outcome(frame: ExplainedFrame) -> str:
    answer = frame.answer
    if answer is None:
        return f"cannot be told, {frame.note}"
    told = f"{answer.verdict} {answer.reason}"
    if answer.service is not None:
        told += f", {answer.service}"
    if answer.backend is not None:
        told += f" backend {answer.backend} ({answer.mac})"
    if answer.verdict == "redirect":
        told += f" by {frame.interface}"
    return told if answer.slot is None else f"{told} slot {answer.slot}"


def frame_table(frame: ExplainedFrame) -> RenderableType:
    """Show one frame, as one of a flow."""
    if frame.answer is None:
        return Text(frame_line(frame).strip())
    told = Text.assemble(("packet     ", "dim"), summary(frame.captured.frame))
    return Group(told, explain_table(frame.answer, frame.interface))
