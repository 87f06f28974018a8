"""Lines of a terminal: texts with styles, fitted to a number of cells.

The live view draws some fifty lines a second. Lines are tuples: they cost a tenth of rich's texts,
and a comparison shows which have changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

Part = tuple[str, str]
"""A text and its style, as rich names styles; an empty style for none."""

Line = tuple[Part, ...]

EMPTY: Line = ()
_ELLIPSIS = "…"


def line(*parts: Part | str) -> Line:
    """Return a line; a plain string has no style."""
    return tuple((part, "") if isinstance(part, str) else part for part in parts)


def cells(parts: Line) -> int:
    """Return the width of a line in cells."""
    return sum(cell_len(text) for text, _ in parts)


def plain(parts: Line) -> str:
    """Return a line without its styles."""
    return "".join(text for text, _ in parts)


def styled(parts: Line, style: str) -> Line:
    """Return a line in a style, below the styles of its parts."""
    return tuple((text, f"{style} {own}".rstrip()) for text, own in parts)


def cropped(parts: Line, width: int) -> Line:
    """Return a line cut to a width, with an ellipsis if it was wider."""
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
    """Return a line cut or padded to a width, aligned to the left or to the right."""
    wanted = cells(parts)
    if wanted > width:
        return cropped(parts, width)
    if wanted == width:
        return parts
    blank = (" " * (width - wanted), "")
    return (blank, *parts) if right else (*parts, blank)


def joined(lines: Iterable[Line], gap: str) -> Line:
    """Return lines side by side."""
    parts: list[Part] = []
    for each in lines:
        if parts:
            parts.append((gap, ""))
        parts += each
    return tuple(parts)


def hanging(head: Line, text: str, width: int, style: str = "") -> list[Line]:
    """Return a heading and a text that wraps beside it, in a column of at least 8 cells."""
    indent = cells(head)
    first, *others = textwrap.wrap(text, max(8, width - indent)) or [""]
    return [(*head, (first, style)), *(line((" " * indent + each, style)) for each in others)]


def window(lines: Sequence[Line], room: int | None, scrolled: int) -> list[Line]:
    """Return the lines that fit the room (None for any) below those scrolled away."""
    if room is None:
        return list(lines)
    start = min(scrolled, max(0, len(lines) - room))
    return list(lines[start : start + room])


def segments(parts: Line) -> list[Segment]:
    """Return a line as rich draws it, with ``?`` for characters that would control the terminal."""
    return [
        Segment(_printable("".join(text for text, _ in same)), _parsed_style(style))
        for style, same in groupby(parts, key=itemgetter(1))
    ]


_parsed_style = cache(Style.parse)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


class Lines:
    """Lines, from the top, as a renderable for rich."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> RenderResult:
        for each in self.lines:
            yield from segments(each)
            yield Segment.line()
