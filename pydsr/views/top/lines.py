"""Lines of a terminal laid out by hand: texts with their styles, fitted to a number of cells.

The live view draws some fifty of them every second. They are tuples, which cost a tenth of rich's
own texts, and equal ones need not be drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

Part = tuple[str, str]
"""A text and its style, as rich names styles; empty for none."""

Line = tuple[Part, ...]

EMPTY: Line = ()
_ELLIPSIS = "…"


def line(*parts: Part | str) -> Line:
    """Return a line; what is no pair has no style."""
    return tuple((part, "") if isinstance(part, str) else part for part in parts)


def cells(parts: Line) -> int:
    """Return how many cells a line takes."""
    return sum(cell_len(text) for text, _ in parts)


def plain(parts: Line) -> str:
    """Return a line without its styles."""
    return "".join(text for text, _ in parts)


def styled(parts: Line, style: str) -> Line:
    """Return a line in a style, over which its own go."""
    return tuple((text, f"{style} {own}".rstrip()) for text, own in parts)


def cropped(parts: Line, width: int) -> Line:
    """Return a line that takes no more than some cells; an ellipsis tells what was cut."""
    if cells(parts) <= width:
        return parts
    kept: list[Part] = []
    left = max(0, width - 1)
    for text, style in parts:
        needed = cell_len(text)
        if needed > left:
            kept.append((set_cell_size(text, left) + _ELLIPSIS, style))
            break
        kept.append((text, style))
        left -= needed
    return tuple(kept) if width > 0 else EMPTY


def fitted(parts: Line, width: int, *, right: bool = False) -> Line:
    """Return a line that takes exactly some cells, its text at the left or at the right."""
    taken = cells(parts)
    if taken > width:
        return cropped(parts, width)
    if taken == width:
        return parts
    blank = (" " * (width - taken), "")
    return (blank, *parts) if right else (*parts, blank)


def joined(lines: Iterable[Line], gap: str) -> Line:
    """Return lines beside each other."""
    parts: list[Part] = []
    for one in lines:
        if parts:
            parts.append((gap, ""))
        parts += one
    return tuple(parts)


def segments(parts: Line) -> list[Segment]:
    """Return a line as rich draws it; what would command the terminal is shown as ``?``."""
    found: list[Segment] = []
    for style, same in groupby(parts, key=itemgetter(1)):
        text = "".join(text for text, _ in same)
        found.append(Segment(_harmless(text), _parsed(style)))
    return found


_parsed = cache(Style.parse)


def _harmless(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


class Lines:
    """Lines as something to print.

    Args:
        lines: from the top.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> RenderResult:
        for one in self.lines:
            yield from segments(one)
            yield Segment.line()
